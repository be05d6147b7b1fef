#!/usr/bin/python3
"""Writes the OCSP request vectors of this folder and their index.

Well-formed requests come from python-cryptography and asn1crypto, or are put together here octet by octet after
the RFC section that the file is named after. Run it again to get the same files; serial numbers and hashes are fixed.

index.txt, a line for each file:  NAME  OUTCOME  CERTIDS  NONCE
  OUTCOME   ok, or the reason for malformedRequest: malformed, limit, unsupported
  CERTIDS   how many, and NONCE its length in octets; "-" unless ok
"""
import datetime
import hashlib
import pathlib

from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

HERE = pathlib.Path(__file__).parent
MAX_IDS = 16  # what the reading test allows

NAME_HASH = hashlib.sha1(b"name").digest()
KEY_HASH = hashlib.sha1(b"key").digest()
OIDS = {
    "sha1": "2b0e03021a", "sha256": "608648016503040201", "sha384": "608648016503040202", "sha512": "608648016503040203",
    "sha224": "608648016503040204", "md5": "2a864886f70d0205", "nonce": "2b0601050507300102", "response": "2b0601050507300104", "locator": "2b0601050507300107",
    "basic": "2b0601050507300101", "pref-algs": "2b0601050507300108", "archive": "2b0601050507300106", "unknown": "2a0304",
    "unknown-2": "2a0305", "ecdsa-sha256": "2a8648ce3d040302", "ec-key": "2a8648ce3d0201", "p256": "2a8648ce3d030107",
}


def tlv(tag, *parts):
    value = b"".join(parts)
    n = len(value)
    length = bytes([n]) if n < 0x80 else (lambda b: bytes([0x80 | len(b)]) + b)(n.to_bytes((n.bit_length() + 7) // 8, "big"))
    return bytes([tag]) + length + value


def seq(*parts): return tlv(0x30, *parts)
def oid(name): return tlv(0x06, bytes.fromhex(OIDS[name]))
def octets(value): return tlv(0x04, value)
NULL, TRUE, FALSE = b"\x05\x00", b"\x01\x01\xff", b"\x01\x01\x00"


def cert_id(algorithm="sha1", parameters=NULL, name=NAME_HASH, key=KEY_HASH, serial=b"\x02\x01\x2a", tail=b""):
    return seq(seq(oid(algorithm), parameters), octets(name), octets(key), serial, tail)


def hashed_id(algorithm, parameters=b""):
    h = lambda data: hashlib.new(algorithm, data).digest()
    return cert_id(algorithm, parameters, h(b"name"), h(b"key"))


def single(*ids, extensions=b""): return seq(*[seq(i, extensions) for i in (ids or [cert_id()])])
def ext(name, value, critical=b""): return seq(oid(name), critical, octets(value))
def exts(*items): return tlv(0xa2, seq(*items))
def single_exts(*items): return tlv(0xa0, seq(*items))
def tbs(*parts): return seq(*parts)
def request(*parts, signature=b""): return seq(tbs(*parts), signature)
def nonce(n): return ext("nonce", octets(bytes(range(n))))
def signature(bits=b"\x00\x30\x00", certs=b"", parameters=b""):
    return tlv(0xa0, seq(seq(oid("ecdsa-sha256"), parameters), tlv(0x03, bits), certs))


def from_libraries():
    """Requests as other implementations write them."""
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime.datetime(2026, 1, 1)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(0x7f00112233445566778899aabbccddee).not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650)).sign(key, hashes.SHA256()))
    der = serialization.Encoding.DER
    for h in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        plain = ocsp.OCSPRequestBuilder().add_certificate(cert, cert, h)
        yield f"rfc6960-4.1.1-cryptography-{h.name}", plain.build().public_bytes(der), ("ok", 1, 0)
        with_nonce = plain.add_extension(x509.OCSPNonce(bytes(range(32))), False)
        yield f"rfc9654-2.1-cryptography-{h.name}-nonce32", with_nonce.build().public_bytes(der), ("ok", 1, 32)
    parsed = asn1_ocsp.OCSPRequest.load(with_nonce.build().public_bytes(der))
    item = parsed["tbs_request"]["request_list"][0]
    three = asn1_ocsp.OCSPRequest({"tbs_request": {"request_list": [item, item, item]}})
    yield "rfc6960-4.1.1-asn1crypto-three", three.dump(force=True), ("ok", 3, 0)
    preferred = [{"sig_identifier": {"algorithm": a}} for a in ("sha256_ecdsa", "sha256_rsa", "sha512_rsa")]
    extensions = [{"extn_id": "preferred_signature_algorithms", "extn_value": preferred},
                  {"extn_id": "acceptable_responses", "extn_value": ["basic_ocsp_response"]}]
    preferring = asn1_ocsp.OCSPRequest({"tbs_request": {"request_list": [item], "request_extensions": extensions}})
    yield "rfc6960-4.4.7.1-asn1crypto-preferred-algorithms", preferring.dump(force=True), ("ok", 1, 0)


def rdn_sequence(): return seq(tlv(0x31, seq(tlv(0x06, b"\x55\x04\x03"), tlv(0x0c, b"client"))))
def preferred(*more, curve=b""): return seq(seq(oid("ecdsa-sha256")), curve, *more)


GENERAL_NAMES = {  # RFC 5280 §4.2.1.6
    "other-name": tlv(0xa0, oid("unknown"), tlv(0xa0, tlv(0x0c, b"a"))), "mail": tlv(0x81, b"a@example.org"),
    "dns-name": tlv(0x82, b"example.org"), "x400": tlv(0xa3, seq()), "name": tlv(0xa4, rdn_sequence()),
    "edi-party": tlv(0xa5, tlv(0xa1, tlv(0x0c, b"a"))), "uri": tlv(0x86, b"http://example.org"), "ip": tlv(0x87, b"\x7f\x00\x00\x01"),
    "registered-id": tlv(0x88, b"\x2a\x03\x04"),
}


def well_formed():
    serial20 = tlv(0x02, b"\x7f" * 20)
    serial21 = tlv(0x02, b"\x00" + b"\xff" * 20)
    version = tlv(0xa0, b"\x02\x01\x00")
    requestor = tlv(0xa1, GENERAL_NAMES["name"])
    basic = seq(oid("basic"))
    yield "rfc6960-4.1.1-minimal", request(single()), (1, 0)
    yield "rfc6960-4.1.1-version-written-out", request(version, single()), (1, 0)
    for kind, name in GENERAL_NAMES.items():
        yield f"rfc6960-4.1.1-requestor-{kind}", request(tlv(0xa1, name), single()), (1, 0)
    yield "rfc6960-4.1.1-at-the-limit", request(single(*[cert_id()] * MAX_IDS)), (MAX_IDS, 0)
    yield "rfc6960-4.1.1-hash-parameters-absent", request(single(cert_id(parameters=b""))), (1, 0)
    yield "rfc6960-4.1.1-unknown-hash", request(single(cert_id("md5", name=b"n" * 16, key=b"k" * 16))), (1, 0)
    yield "rfc6960-4.1.1-mixed-hashes", request(single(cert_id(), hashed_id("sha256"), hashed_id("sha512", NULL))), (3, 0)
    yield "rfc5280-4.1.2.2-serial-zero", request(single(cert_id(serial=b"\x02\x01\x00"))), (1, 0)
    yield "rfc5280-4.1.2.2-serial-20-octets", request(single(cert_id(serial=serial20))), (1, 0)
    yield "rfc5280-4.1.2.2-serial-20-octets-and-sign", request(single(cert_id(serial=serial21))), (1, 0)
    yield "rfc5280-4.1.2.2-serial-negative", request(single(cert_id(serial=b"\x02\x01\x80"))), (1, 0)
    yield "rfc6960-4.1.2-signed-by-nobody", request(single(), signature=signature()), (1, 0)
    yield "rfc6960-4.1.2-signed", request(requestor, single(), signature=signature()), (1, 0)
    yield "rfc6960-4.1.2-signed-with-certificates", request(
        requestor, single(), exts(nonce(16)), signature=signature(certs=tlv(0xa0, seq(seq(NULL), seq(NULL))), parameters=NULL)), (1, 16)
    yield "rfc9654-2.1-nonce-1", request(single(), exts(nonce(1))), (1, 1)
    yield "rfc9654-2.1-nonce-128", request(single(), exts(nonce(128))), (1, 128)
    yield "rfc9654-2.1-nonce-critical", request(single(), exts(ext("nonce", octets(b"n" * 32), TRUE))), (1, 32)
    yield "rfc6960-4.4.1-nonce-of-a-single-request-is-ignored", request(
        single(extensions=single_exts(nonce(8)))), (1, 0)
    yield "rfc6960-4.4.3-acceptable-responses-critical", request(single(), exts(ext("response", basic, TRUE), nonce(32))), (1, 32)
    yield "rfc6960-4.4.3-acceptable-responses-without-basic", request(single(), exts(ext("response", seq(oid("unknown"))))), (1, 0)
    yield "rfc6960-4.4.3-acceptable-responses-none", request(single(), exts(ext("response", seq()))), (1, 0)
    yield "rfc6960-4.4.3-acceptable-responses-of-a-single-request-are-ignored", request(
        single(extensions=single_exts(ext("response", b"x")))), (1, 0)
    access = seq(seq(oid("basic"), tlv(0x86, b"http://example.org")))
    yield "rfc6960-4.4.6-service-locator", request(single(extensions=single_exts(ext("locator", seq(rdn_sequence(), access))))), (1, 0)
    yield "rfc6960-4.4.6-service-locator-of-an-issuer", request(single(extensions=single_exts(ext("locator", seq(rdn_sequence()))))), (1, 0)
    yield "rfc6960-4.4.6-service-locator-critical", request(
        single(extensions=single_exts(ext("locator", seq(rdn_sequence(), access), TRUE)))), (1, 0)
    yield "rfc6960-4.4.7.1-preferred-algorithms-critical", request(
        single(), exts(ext("pref-algs", seq(preferred(), preferred(curve=seq(oid("ec-key"), oid("p256")))), TRUE), nonce(32))), (1, 32)
    yield "rfc6960-4.4.7.1-preferred-algorithms-none", request(single(), exts(ext("pref-algs", seq()))), (1, 0)
    yield "rfc6960-4.4-unknown-extension", request(single(), exts(ext("unknown", b"anything"), ext("unknown-2", b""))), (1, 0)
    yield "rfc6960-4.4-same-extension-in-both-lists", request(
        single(extensions=single_exts(ext("unknown", b""))), exts(ext("unknown", b""))), (1, 0)
    # As a client writes it that always puts both lists (SIZE (1..MAX) notwithstanding).
    yield "rfc5280-4.2-no-extension-in-either-list", request(single(extensions=single_exts()), exts()), (1, 0)
    yield "rfc5280-4.2-extensions-at-the-limit", request(single(), exts(*many_extensions(32))), (1, 0)
    yield "rfc6960-4.4-critical-false-written-out", request(single(), exts(ext("unknown", b"x", FALSE))), (1, 0)


def many_extensions(n): return [seq(tlv(0x06, bytes([0x2a, i])), octets(b"")) for i in range(n)]


def refused():
    good = request(single())
    bad = "malformed"
    yield "rfc6960-4.1.1-empty", b"", bad
    yield "rfc6960-4.1.1-trailing-octet", good + b"\x00", bad
    yield "rfc6960-4.1.1-trailing-in-request", seq(tbs(single()), NULL), bad
    yield "rfc6960-4.1.1-trailing-in-tbs", request(single(), NULL), bad
    yield "rfc6960-4.1.1-trailing-in-certid", request(single(cert_id(tail=NULL))), bad
    yield "rfc6960-4.1.1-not-a-sequence", b"\x31" + good[1:], bad
    yield "rfc6960-4.1.1-empty-request", seq(), bad
    yield "rfc6960-4.1.1-empty-tbs", request(), bad
    yield "rfc6960-4.1.1-no-certid", request(seq()), bad
    yield "rfc6960-4.1.1-empty-single-request", request(seq(seq())), bad
    yield "rfc6960-4.1.1-over-the-limit", request(single(*[cert_id()] * (MAX_IDS + 1))), "limit"
    yield "rfc6960-4.1.1-version-2", request(tlv(0xa0, b"\x02\x01\x01"), single()), "unsupported"
    yield "rfc6960-4.1.1-version-not-an-integer", request(tlv(0xa0, TRUE), single()), bad
    yield "rfc6960-4.1.1-version-twice", request(tlv(0xa0, b"\x02\x01\x00"), tlv(0xa0, b"\x02\x01\x00"), single()), bad
    yield "rfc6960-4.1.1-requestor-empty", request(tlv(0xa1), single()), bad
    yield "rfc6960-4.1.1-requestor-not-a-general-name", request(tlv(0xa1, NULL), single()), bad
    yield "rfc6960-4.1.1-requestor-two-names", request(tlv(0xa1, tlv(0x81, b"a"), tlv(0x81, b"b")), single()), bad
    yield "rfc6960-4.1.1-fields-out-of-order", request(single(), tlv(0xa1, tlv(0x81, b"a"))), bad
    yield "rfc6960-4.1.1-sha1-hash-of-19-octets", request(single(cert_id(name=b"n" * 19))), bad
    yield "rfc6960-4.1.1-sha256-with-sha1-lengths", request(single(cert_id("sha256"))), bad
    yield "rfc6960-4.1.1-key-hash-of-21-octets", request(single(cert_id(key=b"k" * 21))), bad
    yield "rfc5754-2-hash-parameters-not-null", request(single(cert_id(parameters=TRUE))), bad
    yield "rfc5754-2-hash-parameters-twice", request(single(cert_id(parameters=NULL + NULL))), bad
    yield "rfc5280-4.1.2.2-serial-21-octets", request(single(cert_id(serial=tlv(0x02, b"\x7f" * 21)))), "limit"
    yield "x690-8.3.2-serial-empty", request(single(cert_id(serial=b"\x02\x00"))), bad
    yield "x690-8.3.2-serial-leading-zero", request(single(cert_id(serial=b"\x02\x02\x00\x2a"))), bad
    yield "x690-8.3.2-serial-leading-ff", request(single(cert_id(serial=b"\x02\x02\xff\x80"))), bad
    yield "x690-8.1.3.6-indefinite-length", b"\x30\x80" + good[2:] + b"\x00\x00", bad
    yield "x690-10.1-length-not-minimal", b"\x30\x81" + good[1:], bad
    yield "x690-10.1-length-beyond-the-end", bytes([0x30, good[1] + 1]) + good[2:], bad
    yield "x690-10.1-length-of-four-octets", b"\x30\x84\xff\xff\xff\xff" + good[2:], bad
    yield "x690-11.1-boolean-of-one", request(single(), exts(ext("unknown", b"x", b"\x01\x01\x01"))), bad
    yield "x690-8.1.2.4-high-tag-number", b"\x3f\x81\x00" + good[1:], bad
    yield "rfc9654-2.1-nonce-empty", request(single(), exts(nonce(0))), bad
    yield "rfc9654-2.1-nonce-129", request(single(), exts(ext("nonce", octets(b"n" * 129)))), bad
    yield "rfc9654-2.1-nonce-twice", request(single(), exts(nonce(16), nonce(16))), bad
    yield "rfc9654-2.1-nonce-not-wrapped", request(single(), exts(ext("nonce", b"n" * 16))), bad
    yield "rfc9654-2.1-nonce-trailing-octet", request(single(), exts(ext("nonce", octets(b"n" * 16) + b"\x00"))), bad
    yield "rfc5280-4.2-extension-twice", request(single(), exts(ext("unknown", b"x"), nonce(8), ext("unknown", b"y"))), bad
    yield "rfc5280-4.2-single-extension-twice", request(single(extensions=single_exts(*[ext("unknown", b"x")] * 2))), bad
    yield "rfc5280-4.2-extensions-over-the-limit", request(single(), exts(*many_extensions(33))), "limit"
    yield "rfc5280-4.2-extensions-empty-tag", request(single(), tlv(0xa2)), bad
    yield "rfc6960-4.1.1-requestor-mail-constructed", request(tlv(0xa1, tlv(0xa1, b"a")), single()), bad
    yield "rfc6960-4.1.1-requestor-name-primitive", request(tlv(0xa1, tlv(0x84, b"a")), single()), bad
    yield "rfc6960-4.1.1-requestor-tenth-kind", request(tlv(0xa1, tlv(0x89, b"a")), single()), bad
    yield "rfc6960-4.4.3-acceptable-responses-no-list", request(single(), exts(ext("response", oid("basic")))), bad
    yield "rfc6960-4.4.3-acceptable-responses-no-oid", request(single(), exts(ext("response", seq(NULL)))), bad
    yield "rfc6960-4.4.3-acceptable-responses-trailing-octet", request(single(), exts(ext("response", seq(oid("basic")) + NULL))), bad
    yield "rfc6960-4.4.4-archive-cutoff-is-for-responses", request(
        single(extensions=single_exts(ext("archive", tlv(0x18, b"20200101000000Z"), TRUE)))), "unsupported"
    yield "rfc6960-4.4.6-service-locator-without-a-name", request(single(extensions=single_exts(ext("locator", seq(NULL))))), bad
    yield "rfc6960-4.4.6-service-locator-trailing", request(
        single(extensions=single_exts(ext("locator", seq(rdn_sequence(), seq(), seq()))))), bad
    yield "rfc6960-4.4.6-service-locator-of-the-request-critical", request(
        single(), exts(ext("locator", seq(rdn_sequence()), TRUE))), "unsupported"
    yield "rfc6960-4.4.7.1-preferred-algorithms-no-list", request(single(), exts(ext("pref-algs", oid("ecdsa-sha256")))), bad
    yield "rfc6960-4.4.7.1-preferred-algorithms-bare", request(single(), exts(ext("pref-algs", seq(seq(oid("ecdsa-sha256")))))), bad
    yield "rfc6960-4.4.7.1-preferred-algorithms-three-parts", request(
        single(), exts(ext("pref-algs", seq(preferred(seq(oid("ec-key")), seq(oid("ec-key"))))))), bad
    yield "rfc6960-4.4.7.1-preferred-algorithms-of-a-single-request-critical", request(
        single(extensions=single_exts(ext("pref-algs", seq(preferred()), TRUE)))), "unsupported"
    yield "rfc5280-4.2-extension-without-value", request(single(), exts(seq(oid("unknown")))), bad
    yield "rfc5280-4.2-extension-without-oid", request(single(), exts(seq(octets(b"x")))), bad
    yield "rfc5280-4.2-extensions-twice", request(single(), exts(nonce(8)), exts(nonce(8))), bad
    yield "rfc6960-4.4-unknown-critical-extension", request(single(), exts(ext("unknown", b"x", TRUE))), "unsupported"
    yield "rfc6960-4.4-unknown-critical-single-extension", request(
        single(extensions=single_exts(ext("unknown", b"x", TRUE)))), "unsupported"
    yield "rfc6960-4.1.2-signature-empty", request(single(), signature=tlv(0xa0)), bad
    yield "rfc6960-4.1.2-signature-without-bits", request(single(), signature=signature(bits=b"")), bad
    yield "rfc6960-4.1.2-signature-eight-unused-bits", request(single(), signature=signature(bits=b"\x08\x00")), bad
    yield "rfc6960-4.1.2-certificates-not-sequences", request(single(), signature=signature(certs=tlv(0xa0, seq(NULL)))), bad
    yield "rfc6960-4.1.2-trailing-after-signature", request(single(), signature=signature() + NULL), bad


def main():
    for old in HERE.glob("*.der"):
        old.unlink()
    lines = []

    def put(name, der, outcome, ids="-", nonce_octets="-"):
        (HERE / f"{name}.der").write_bytes(der)
        lines.append(f"{name} {outcome} {ids} {nonce_octets}\n")

    for name, der, (outcome, ids, nonce_octets) in from_libraries():
        put(name, der, outcome, ids, nonce_octets)
    for name, der, (ids, nonce_octets) in well_formed():
        put(name, der, "ok", ids, nonce_octets)
    for name, der, outcome in refused():
        put(name, der, outcome)
    (HERE / "index.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
