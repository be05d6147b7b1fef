"""Writes the seed corpora: for fuzz_scep_message real messages at each of the three layers that the target reads, for
fuzz_scep_content what is in them.

    /usr/bin/python3 tests/fuzz/scep/make_corpus.py
"""
import datetime
import pathlib
import re
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent.parent / "e2e"))
import scep_client as scep  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402


def pem(name):
    body = re.search(name + r"\[\] =(.*?);", (here / "fuzz_key.h").read_text(), re.S).group(1)
    return "\n".join(re.findall(r'"(.*?)\\n"', body)).encode()


def load():
    return scep.Signer(serialization.load_pem_private_key(pem("fuzz_key_pem"), None),
                       x509.load_pem_x509_certificate(pem("fuzz_cert_pem")))


def write(target, files):
    out = here.parent / "corpus" / target
    out.mkdir(parents=True, exist_ok=True)
    for name, octets in files.items():
        (out / name).write_bytes(octets)


def main():
    ca = load()
    client = scep.make_signer()
    csr = scep.make_csr(client.key, "device", "challenge-word", upn="user@example.com", dns="host.example.com")
    own = scep.make_csr(ca.key, "device", "challenge-word", upn="user@example.com")  # what the target signs is signed by this key
    nonce = b"0123456789abcdef"
    long_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Zwölf Boxkämpfer"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
                           x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")])
    poll = scep.issuer_and_subject(ca.certificate.subject, client.certificate.subject)
    number = scep.issuer_and_serial(ca.certificate.issuer, ca.certificate.serial_number)

    def message(content=csr, digest="sha256", cipher="aes256", signer=client, kind=scep.PKCS_REQ, **form):
        return scep.make_message(content, signer, ca.certificate, "txn", nonce, digest, cipher, kind, form=scep.Form(**form))

    streaming = {"ber": True, "transport": "oaep-sha1"}
    write("fuzz_scep_message", {
        "message-aes256": message(),
        "message-3des-sha1": message(digest="sha1", cipher="3des"),
        "message-sha512": message(digest="sha512", cipher="aes128"),
        "message-ec": message(signer=scep.make_signer(scep.make_key("ec-p256"))),
        "message-renewal": message(kind=scep.RENEWAL_REQ),
        "message-poll": message(poll, kind=scep.CERT_POLL),
        "message-get-cert": message(number, kind=scep.GET_CERT),
        "message-get-crl": message(number, kind=scep.GET_CRL),
        "message-oaep": message(transport="oaep-sha256"),
        "message-ski": message(signer_by_ski=True),
        "message-ber": message(**streaming),
        "message-time": message(signing_time=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)),
        "envelope-aes128": scep.envelope(own, ca.certificate, "aes128"),
        "envelope-3des": scep.envelope(own, ca.certificate, "3des"),
        "envelope-oaep-ber": scep.envelope(own, ca.certificate, form=scep.Form(**streaming)),
        "envelope-poll": scep.envelope(poll, ca.certificate),
        "envelope-number": scep.envelope(number, ca.certificate),
        "csr": own,
        "csr-other-key": csr,
        "csr-plain": scep.make_csr(ca.key, "device"),
        "poll": poll,
        "number": number,
    })
    write("fuzz_scep_content", {
        "poll": poll,
        "poll-long": scep.issuer_and_subject(long_name, long_name),
        "poll-empty": scep.issuer_and_subject(x509.Name([]), x509.Name([])),
        "number": number,
        "number-long": scep.issuer_and_serial(long_name, 2 ** 159 - 1),
        "number-high-bit": scep.issuer_and_serial(long_name, 128),
        "number-negative": scep.issuer_and_serial(long_name, -129),
        "number-too-long": scep.issuer_and_serial(long_name, 2 ** 160),
    })


if __name__ == "__main__":
    main()
