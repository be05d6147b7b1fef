"""A SCEP client (RFC 8894) of the tests' own: messages are built and read with asn1crypto and python3-cryptography.

It shares nothing with the server's code. A successful CertRep is verified whole before it is returned: signer,
signature, message digest, nonces, transactionID, and that the certificate is for our key.

    ca = get_ca_cert(url)                       # fetch once
    signer = make_signer()                      # one key and self-signed certificate for many requests
    result = enroll(url, challenge, "host-1", ca=ca, signer=signer)
    result.pki_status == "SUCCESS"; result.certificate
    renew(url, Signer(signer.key, result.certificate), "host-1")
    get_cert(url, signer, result.certificate).certificates

Messages can be written in every form that clients write: see Form.
"""
import argparse
import base64
import dataclasses
import datetime
import hashlib
import http.client
import os
import pathlib
import sys
import threading
import urllib.parse

from asn1crypto import algos, cms, core
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import AttributeOID, NameOID, ObjectIdentifier

# RFC 8894 §3.2.1 and §3.2.1.4: attributes
MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
PKI_STATUS = "2.16.840.1.113733.1.9.3"
FAIL_INFO = "2.16.840.1.113733.1.9.4"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"

PKCS_REQ, CERT_REP, RENEWAL_REQ, CERT_POLL, GET_CERT, GET_CRL = 19, 3, 17, 20, 21, 22
STATUS = {"0": "SUCCESS", "2": "FAILURE", "3": "PENDING"}
FAILURES = {"0": "badAlg", "1": "badMessageCheck", "2": "badRequest", "3": "badTime", "4": "badCertId"}

UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
DIGESTS = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}
# RSA key transport: None is PKCS #1 v1.5, else RSA-OAEP with this hash and this one in MGF1
TRANSPORTS = {"pkcs1": None, "oaep-sha1": ("sha1", "sha1"), "oaep-sha256": ("sha256", "sha256"), "oaep-sha256-mgf1-sha1": ("sha256", "sha1"),
              "oaep-sha512": ("sha512", "sha512"), "oaep-sha224": ("sha224", "sha224")}
HASHES = {**DIGESTS, "sha224": hashes.SHA224}
# name: asn1crypto's name, key octets, block cipher
CIPHERS = {
    "aes128": ("aes128_cbc", 16, algorithms.AES),
    "aes192": ("aes192_cbc", 24, algorithms.AES),
    "aes256": ("aes256_cbc", 32, algorithms.AES),
    "3des": ("tripledes_3key", 24, algorithms.TripleDES),
}


class ScepError(Exception):
    """The server's answer breaks the protocol."""


class HttpError(Exception):
    """An answer other than 200."""

    def __init__(self, status, body, headers):
        super().__init__(f"HTTP {status}: {body[:200]!r}")
        self.status, self.body, self.headers = status, body, headers


@dataclasses.dataclass
class Ca:
    """What GetCACert gave: `recipient` decrypts and signs messages, `issuer` issues; the same for an RSA CA."""
    issuer: x509.Certificate
    recipient: x509.Certificate
    content_type: str


@dataclasses.dataclass
class Signer:
    key: object
    certificate: x509.Certificate


@dataclasses.dataclass
class Form:
    """How a message is written, beside its algorithms."""
    transport: str = "pkcs1"
    recipient_by_ski: bool = False
    signer_by_ski: bool = False
    ber: bool = False  # indefinite lengths and strings in pieces, outside and inside
    signing_time: datetime.datetime = None


@dataclasses.dataclass
class Result:
    pki_status: str
    fail_info: str = None
    fail_text: str = None
    certificate: x509.Certificate = None
    chain: list = None
    certificates: list = None  # all that came, and the revocation lists
    crls: list = None
    transaction_id: str = None
    digest: str = None
    cipher: str = None
    transport: str = None
    raw: bytes = None

    @property
    def serial_hex(self):
        text = f"{self.certificate.serial_number:X}"
        return text if len(text) % 2 == 0 else "0" + text


# ---- HTTP: one kept-alive connection per thread and server ----
_local = threading.local()


def _connection(scheme, netloc, fresh):
    pool = _local.__dict__.setdefault("pool", {})
    if fresh and netloc in pool:
        pool.pop(netloc).close()
    if netloc not in pool:
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        pool[netloc] = kind(netloc, timeout=30)
    return pool[netloc]


def request(method, url, body=None, headers=None):
    """(status, headers, body). A kept connection that the server has closed meanwhile is replaced once."""
    parts = urllib.parse.urlsplit(url)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    for fresh in (False, True):
        connection = _connection(parts.scheme, parts.netloc, fresh)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionResetError):
            if fresh:
                raise
    raise AssertionError("unreachable")


def _get(url, operation, **more):
    query = urllib.parse.urlencode({"operation": operation, **more})
    status, headers, body = request("GET", f"{url}?{query}")
    if status != 200:
        raise HttpError(status, body, headers)
    return headers, body


def get_ca_caps(url):
    """The set of capabilities, RFC 8894 §3.5.2."""
    _, body = _get(url, "GetCACaps")
    return {line.strip() for line in body.decode("ascii").splitlines() if line.strip()}


def get_ca_cert(url):
    headers, body = _get(url, "GetCACert")
    kind = headers.get_content_type()
    if kind == "application/x-x509-ca-cert":
        only = x509.load_der_x509_certificate(body)
        return Ca(only, only, kind)
    if kind != "application/x-x509-ca-ra-cert":
        raise ScepError(f"GetCACert answered {kind}")
    certificates = _certificates(cms.ContentInfo.load(body, strict=True)["content"])
    issuer = next(c for c in certificates if _is_ca(c))
    recipients = [c for c in certificates if not _is_ca(c)]
    return Ca(issuer, recipients[0] if recipients else issuer, kind)


def get_next_ca_cert(url, held):
    """The rollover's certificates, RFC 8894 §4.7.1, signed by the CA certificate that the client holds."""
    headers, body = _get(url, "GetNextCACert")
    if headers.get_content_type() != "application/x-x509-next-ca-cert":
        raise ScepError(f"GetNextCACert answered {headers.get_content_type()}")
    data = cms.ContentInfo.load(body, strict=True)["content"]
    if len(data["signer_infos"]) != 1:
        raise ScepError("the answer has not exactly one signer")
    _, octets, _ = _verify_signature(data, data["signer_infos"][0], held)
    return _degenerate(octets)[0]


def _is_ca(certificate):
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _certificates(signed_data):
    return [x509.load_der_x509_certificate(choice.chosen.dump()) for choice in signed_data["certificates"] or []]


def _degenerate(octets):
    """Certificates and lists of a degenerate SignedData, RFC 8894 §3.4."""
    content = cms.ContentInfo.load(octets, strict=True)
    inner = content["content"]
    if content["content_type"].native != "signed_data" or inner["encap_content_info"]["content_type"].native != "data":
        raise ScepError("this is no SignedData over data")
    if len(inner["signer_infos"]) or inner["encap_content_info"]["content"].native is not None:
        raise ScepError("the certificates are not in a degenerate SignedData")
    lists = [choice.chosen.dump() for choice in inner["crls"] or []]
    return _certificates(inner), [x509.load_der_x509_crl(der) for der in lists if asn1_crl.CertificateList.load(der, strict=True)]


# ---- keys, signer certificates, CSRs ----
def make_key(kind="rsa2048"):
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    return ec.generate_private_key({"ec-p256": ec.SECP256R1(), "ec-p384": ec.SECP384R1()}[kind])


def make_signer(key=None, common_name="scep client"):
    """A key and the self-signed certificate by which the client signs and receives, RFC 8894 §2.3."""
    key = key or make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
               .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=7)))
    return Signer(key, builder.sign(key, hashes.SHA256()))


def make_csr(key, subject_cn, challenge=None, upn=None, dns=None, ou=None):
    """PKCS#10 in DER. `dns` and `upn` are one name or a list."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in
                   ((NameOID.COMMON_NAME, subject_cn), (NameOID.ORGANIZATIONAL_UNIT_NAME, ou)) if value]))
    listed = lambda value: [value] if isinstance(value, str) else list(value or [])
    names = [x509.DNSName(name) for name in listed(dns)]
    names += [x509.OtherName(UPN, core.UTF8String(name).dump()) for name in listed(upn)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# ---- building a pkiMessage ----
def _issuer_and_serial(certificate):
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
    return cms.IssuerAndSerialNumber({"issuer": parsed.issuer, "serial_number": parsed.serial_number})


def _ski(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _name(name):
    return asn1_x509.Name.load(name.public_bytes())


def issuer_and_subject(issuer, subject):
    """What CertPoll asks by, RFC 8894 §3.3.3. Two x509.Name."""
    contents = issuer.public_bytes() + subject.public_bytes()
    return core.Sequence(contents=contents).dump()


def issuer_and_serial(issuer, serial_number):
    """What GetCert and GetCRL ask by. An x509.Name and a number."""
    return cms.IssuerAndSerialNumber({"issuer": _name(issuer), "serial_number": serial_number}).dump()


# ---- BER, X.690 §8.1.3.6 and §8.7.3 ----
def _indefinite(tag, *parts):
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def _pieces(tag, octets, size=1000):
    """A string in pieces."""
    return _indefinite(tag, *(core.OctetString(octets[i:i + size]).dump() for i in range(0, len(octets), size)))


def _ber_content_info(kind, *parts):
    return _indefinite(0x30, cms.ContentType(kind).dump(), _indefinite(0xa0, _indefinite(0x30, *parts)))


def _flip(octets, at):
    out = bytearray(octets)
    out[at] ^= 1
    return bytes(out)


def _transport(key, public_key, name):
    """The content key, encrypted, and how: encrypted key and AlgorithmIdentifier."""
    if TRANSPORTS[name] is None:
        return public_key.encrypt(key, rsa_padding.PKCS1v15()), {"algorithm": "rsaes_pkcs1v15", "parameters": core.Null()}
    digest, mgf1 = TRANSPORTS[name]
    wrapped = public_key.encrypt(key, rsa_padding.OAEP(rsa_padding.MGF1(HASHES[mgf1]()), HASHES[digest](), None))
    parameters = algos.RSAESOAEPParams({"hash_algorithm": {"algorithm": digest},
                                        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": mgf1}}})
    return wrapped, {"algorithm": "rsaes_oaep", "parameters": parameters}


def envelope(plain, recipient, cipher="aes256", tamper=None, form=Form()):
    """pkcsPKIEnvelope: EnvelopedData with RSA key transport, RFC 8894 §3.2.2."""
    name, key_size, block = CIPHERS[cipher]
    key, iv = os.urandom(key_size), os.urandom(block.block_size // 8)
    padder = padding.PKCS7(block.block_size).padder()
    encryptor = Cipher(block(key), modes.CBC(iv)).encryptor()
    content = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    wrapped, algorithm = _transport(key, recipient.public_key(), form.transport)
    if tamper == "ciphertext":
        content = _flip(content, len(content) // 2)
    elif tamper == "padding":
        content = _flip(content, len(content) - 17)
    elif tamper == "key":
        wrapped = _flip(wrapped, len(wrapped) // 2)
    if form.recipient_by_ski:
        rid = cms.RecipientIdentifier("subject_key_identifier", core.OctetString(_ski(recipient)))
    else:
        rid = cms.RecipientIdentifier("issuer_and_serial_number", _issuer_and_serial(recipient))
    info = cms.KeyTransRecipientInfo({"version": "v2" if form.recipient_by_ski else "v0", "rid": rid,
                                      "key_encryption_algorithm": algorithm, "encrypted_key": wrapped})
    encrypted = cms.EncryptedContentInfo({
        "content_type": "data",
        "content_encryption_algorithm": {"algorithm": name, "parameters": core.OctetString(iv)},
        "encrypted_content": content,
    })
    enveloped = cms.EnvelopedData({"version": "v2" if form.recipient_by_ski else "v0",
                                   "recipient_infos": [cms.RecipientInfo("ktri", info)], "encrypted_content_info": encrypted})
    if form.ber:
        return _ber_content_info("enveloped_data", enveloped["version"].dump(), enveloped["recipient_infos"].dump(),
                                 _indefinite(0x30, encrypted["content_type"].dump(), encrypted["content_encryption_algorithm"].dump(),
                                             _pieces(0xa0, content)))
    return cms.ContentInfo({"content_type": "enveloped_data", "content": enveloped}).dump()


def _signature(signer, signed, digest):
    if isinstance(signer.key, rsa.RSAPrivateKey):
        return (signer.key.sign(signed, rsa_padding.PKCS1v15(), DIGESTS[digest]()),
                {"algorithm": "rsassa_pkcs1v15", "parameters": core.Null()})
    return signer.key.sign(signed, ec.ECDSA(DIGESTS[digest]())), {"algorithm": f"{digest}_ecdsa"}


def sign(content, signer, attributes, digest="sha256", tamper=None, form=Form()):
    """The pkiMessage around `content` (None: absent). `attributes`: list of (oid, asn1crypto value)."""
    hasher = hashlib.new(digest, content or b"")
    all_attributes = [("content_type", cms.ContentType("data")), ("message_digest", core.OctetString(hasher.digest()))]
    if form.signing_time is not None:
        all_attributes.append(("signing_time", cms.Time({"utc_time": form.signing_time})))
    all_attributes += attributes
    signed = cms.CMSAttributes([cms.CMSAttribute({"type": oid, "values": [value]}) for oid, value in all_attributes])
    signature, algorithm = _signature(signer, signed.dump(), digest)
    if tamper == "signature":
        signature = _flip(signature, len(signature) // 2)
    digest_algorithm = {"algorithm": digest, "parameters": core.Null()}
    if content is not None and tamper == "content":
        content = _flip(content, len(content) // 2)
    encapsulated = {"content_type": "data"}
    if content is not None:
        kind = core.ParsableOctetString if form.signer_by_ski else core.OctetString  # asn1crypto's, by the version
        encapsulated["content"] = kind(content)
    if form.signer_by_ski:
        sid = cms.SignerIdentifier("subject_key_identifier", core.OctetString(_ski(signer.certificate)))
    else:
        sid = cms.SignerIdentifier("issuer_and_serial_number", _issuer_and_serial(signer.certificate))
    version = "v3" if form.signer_by_ski else "v1"
    data = cms.SignedData({
        "version": version,
        "digest_algorithms": [digest_algorithm],
        "encap_content_info": encapsulated,
        "certificates": [cms.CertificateChoices(
            "certificate", asn1_x509.Certificate.load(signer.certificate.public_bytes(serialization.Encoding.DER)))],
        "signer_infos": [{
            "version": version,
            "sid": sid,
            "digest_algorithm": digest_algorithm,
            "signed_attrs": signed,
            "signature_algorithm": algorithm,
            "signature": signature,
        }],
    })
    if form.ber:
        return _ber_content_info("signed_data", data["version"].dump(), data["digest_algorithms"].dump(),
                                 _indefinite(0x30, cms.ContentType("data").dump(), _indefinite(0xa0, _pieces(0x24, content))),
                                 data["certificates"].dump(), data["signer_infos"].dump())
    return cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()


def make_message(content, signer, recipient, transaction_id, nonce, digest="sha256", cipher="aes256",
                 message_type=PKCS_REQ, tamper=None, form=Form()):
    """A message ready to send; `content` is a CSR, or what the type asks by. `tamper` breaks one thing: 'signature' or
    'content' (outer, after signing), 'ciphertext', 'padding' or 'key' (envelope, before signing), 'no-transaction',
    'no-nonce', 'no-type' (attribute left out)."""
    attributes = []
    if tamper != "no-transaction":
        attributes.append((TRANSACTION_ID, core.PrintableString(transaction_id)))
    if tamper != "no-nonce":
        attributes.append((SENDER_NONCE, core.OctetString(nonce)))
    if tamper != "no-type":
        attributes.append((MESSAGE_TYPE, core.PrintableString(str(message_type))))
    return sign(envelope(content, recipient, cipher, tamper, form), signer, attributes, digest, tamper, form)


# ---- reading a CertRep ----
def _attributes(signer_info):
    out = {}
    for attribute in signer_info["signed_attrs"]:
        oid = attribute["type"].dotted
        if oid in out or len(attribute["values"]) != 1:
            raise ScepError(f"signed attribute {oid} is not there exactly once")
        value = attribute["values"][0]
        out[oid] = value.parse() if isinstance(value, core.Any) else value
    return out


def _check_signature(public_key, signature, octets, digest):
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, octets, rsa_padding.PKCS1v15(), digest)
    else:
        public_key.verify(signature, octets, ec.ECDSA(digest))


def _verify_signature(signed_data, signer_info, recipient):
    """RFC 5652 §5.4: the digest of the content is in the attributes, the signature is over their SET OF encoding."""
    digest = signer_info["digest_algorithm"]["algorithm"].native
    expected = _issuer_and_serial(recipient)
    if signer_info["sid"].chosen.dump() != expected.dump():
        raise ScepError("the CertRep is not signed by the CA's SCEP certificate")
    attributes = _attributes(signer_info)
    content = signed_data["encap_content_info"]["content"]
    octets = content.native if content.native is not None else b""
    if attributes["1.2.840.113549.1.9.4"].native != hashlib.new(digest, octets).digest():
        raise ScepError("the CertRep's message digest is wrong")
    signed = signer_info["signed_attrs"].dump()
    _check_signature(recipient.public_key(), signer_info["signature"].native, b"\x31" + signed[1:], DIGESTS[digest]())
    return attributes, octets, digest


def _transport_of(algorithm):
    if algorithm["algorithm"].native == "rsaes_pkcs1v15":
        return "pkcs1"
    given = algorithm["parameters"]
    used = (given["hash_algorithm"]["algorithm"].native, given["mask_gen_algorithm"]["parameters"]["algorithm"].native)
    return next(name for name, hashes_used in TRANSPORTS.items() if hashes_used == used)


def open_envelope(octets, signer):
    """(plain text, name of the cipher, name of the key transport) of an EnvelopedData for `signer`."""
    content_info = cms.ContentInfo.load(octets, strict=True)
    if content_info["content_type"].native != "enveloped_data":
        raise ScepError("the CertRep's content is no EnvelopedData")
    data = content_info["content"]
    wanted = _issuer_and_serial(signer.certificate).dump()
    infos = [info.chosen for info in data["recipient_infos"]
             if info.name == "ktri" and info.chosen["rid"].chosen.dump() == wanted]
    if len(infos) != 1:
        raise ScepError("the CertRep is not encrypted for the request's signer")
    transport = _transport_of(infos[0]["key_encryption_algorithm"])
    pad = rsa_padding.PKCS1v15()
    if TRANSPORTS[transport]:
        pad = rsa_padding.OAEP(rsa_padding.MGF1(HASHES[TRANSPORTS[transport][1]]()), HASHES[TRANSPORTS[transport][0]](), None)
    key = signer.key.decrypt(infos[0]["encrypted_key"].native, pad)
    encrypted = data["encrypted_content_info"]
    algorithm = encrypted["content_encryption_algorithm"]
    cipher = next((n for n, c in CIPHERS.items() if c[0] == algorithm["algorithm"].native), None)
    if cipher is None:
        raise ScepError(f"unknown cipher {algorithm['algorithm'].native}")
    block = CIPHERS[cipher][2]
    decryptor = Cipher(block(key), modes.CBC(algorithm["parameters"].native)).decryptor()
    unpadder = padding.PKCS7(block.block_size).unpadder()
    plain = decryptor.update(encrypted["encrypted_content"].native) + decryptor.finalize()
    return unpadder.update(plain) + unpadder.finalize(), cipher, transport


def read_reply(raw, ca, signer, transaction_id, nonce, public_key=None):
    """Verifies a CertRep whole and returns the Result; ScepError or InvalidSignature when it breaks a promise. With a
    `public_key` one certificate has to be for it."""
    content_info = cms.ContentInfo.load(raw, strict=True)
    if content_info["content_type"].native != "signed_data":
        raise ScepError("the answer is no SignedData")
    data = content_info["content"]
    if len(data["signer_infos"]) != 1:
        raise ScepError("the answer has not exactly one signer")
    attributes, octets, digest = _verify_signature(data, data["signer_infos"][0], ca.recipient)
    text = lambda oid: attributes[oid].native if oid in attributes else None
    if text(MESSAGE_TYPE) != str(CERT_REP):
        raise ScepError(f"messageType {text(MESSAGE_TYPE)} is no CertRep")
    if text(TRANSACTION_ID) != transaction_id:
        raise ScepError("the transactionID is another one")
    if text(RECIPIENT_NONCE) != nonce:
        raise ScepError("recipientNonce is not the request's senderNonce")
    if len(text(SENDER_NONCE) or b"") != 16 or text(SENDER_NONCE) == nonce:
        raise ScepError("senderNonce is not fresh")
    status = STATUS.get(text(PKI_STATUS))
    result = Result(status, transaction_id=transaction_id, digest=digest, raw=raw)
    if status == "FAILURE":
        result.fail_info, result.fail_text = FAILURES.get(text(FAIL_INFO)), text(FAIL_INFO_TEXT)
        if octets or result.fail_info is None:
            raise ScepError("a FAILURE has a failInfo and no content")
    elif status == "SUCCESS":
        if FAIL_INFO in attributes:
            raise ScepError("a SUCCESS with a failInfo")
        plain, result.cipher, result.transport = open_envelope(octets, signer)
        result.certificates, result.crls = _degenerate(plain)
        if public_key is not None:
            _pick(result, ca, public_key)
    else:
        raise ScepError(f"pkiStatus {text(PKI_STATUS)}")
    return result


def _pick(result, ca, public_key):
    certificates = result.certificates
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ours = [c for c in certificates if c.public_key().public_bytes(*spki) == public_key.public_bytes(*spki)]
    if len(ours) != 1:
        raise ScepError("the answer has no certificate for our key")
    result.certificate, result.chain = ours[0], [c for c in certificates if c is not ours[0]]
    _check_signature(ca.issuer.public_key(), ours[0].signature, ours[0].tbs_certificate_bytes, ours[0].signature_hash_algorithm)


# ---- the whole way ----
def pki_operation(url, message, method="POST"):
    """The raw CertRep; HttpError when the answer is not 200 with the right type."""
    if method == "POST":
        status, headers, body = request("POST", f"{url}?operation=PKIOperation", body=message,
                                        headers={"Content-Type": "application/x-pki-message"})
    else:
        query = urllib.parse.urlencode({"operation": "PKIOperation", "message": base64.b64encode(message).decode()})
        status, headers, body = request("GET", f"{url}?{query}")
    if status != 200:
        raise HttpError(status, body, headers)
    if headers.get_content_type() != "application/x-pki-message":
        raise ScepError(f"PKIOperation answered {headers.get_content_type()}")
    return body


def enroll(url, challenge, subject_cn, upn=None, dns=None, key=None, digest="sha256", cipher="aes256", method="POST",
           transaction_id=None, tamper=None, signer=None, ca=None, message_type=PKCS_REQ, nonce=None, csr=None, form=Form()):
    """Enrolls once and returns a Result. For many requests pass `ca` (from get_ca_cert) and `signer` (from make_signer).

    `key` is the CSR's key; it and the signer's are the same unless both are given. `tamper`: see make_message, or a
    function from the finished message to what is sent instead."""
    ca = ca or get_ca_cert(url)
    signer = signer or make_signer(key, subject_cn or "scep client")
    key = key or signer.key
    transaction_id = transaction_id or os.urandom(16).hex()
    nonce = nonce if nonce is not None else os.urandom(16)
    csr = csr or make_csr(key, subject_cn, challenge, upn, dns)
    message = make_message(csr, signer, ca.recipient, transaction_id, nonce, digest, cipher, message_type,
                           tamper if isinstance(tamper, str) else None, form)
    if callable(tamper):
        message = tamper(message)
    return read_reply(pki_operation(url, message, method), ca, signer, transaction_id, nonce, key.public_key())


def renew(url, old, subject_cn, challenge=None, message_type=RENEWAL_REQ, **more):
    """A RenewalReq signed by the certificate that is to be renewed (a Signer); `key`: the new one."""
    return enroll(url, challenge, subject_cn, signer=old, message_type=message_type, **more)


def ask(url, signer, message_type, content, ca=None, transaction_id=None, method="POST", nonce=None, **more):
    """CertPoll, GetCert or GetCRL."""
    ca = ca or get_ca_cert(url)
    transaction_id, nonce = transaction_id or os.urandom(16).hex(), nonce or os.urandom(16)
    message = make_message(content, signer, ca.recipient, transaction_id, nonce, message_type=message_type, **more)
    return read_reply(pki_operation(url, message, method), ca, signer, transaction_id, nonce)


def cert_poll(url, signer, transaction_id, issuer, subject, **more):
    return ask(url, signer, CERT_POLL, issuer_and_subject(issuer, subject), transaction_id=transaction_id, **more)


def get_cert(url, signer, certificate, **more):
    return ask(url, signer, GET_CERT, issuer_and_serial(certificate.issuer, certificate.serial_number), **more)


def get_crl(url, signer, certificate, **more):
    return ask(url, signer, GET_CRL, issuer_and_serial(certificate.issuer, certificate.serial_number), **more)


def main():
    """Enrolls once from the command line: the challenge comes from a file, never from an argument."""
    options = argparse.ArgumentParser(description="Enroll one certificate by SCEP.")
    options.add_argument("url", help="such as http://localhost:8080/static")
    options.add_argument("cn", help="common name: for /static/aad an Entra device id")
    options.add_argument("--challenge-file", required=True, help="file that holds the challenge password")
    options.add_argument("--upn", help="user principal name for the alternative names")
    options.add_argument("--dns", help="DNS name for the alternative names")
    options.add_argument("--out", default="device", help="writes OUT.pem and OUT.key (default: device)")
    given = options.parse_args()
    key = make_key()
    challenge = pathlib.Path(given.challenge_file).read_text(encoding="utf-8").strip()
    result = enroll(given.url, challenge, given.cn, given.upn, given.dns, key)
    if result.pki_status != "SUCCESS":
        sys.exit(f"{result.pki_status} {result.fail_info}: {result.fail_text}")
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    with open(os.open(f"{given.out}.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private)
    pathlib.Path(f"{given.out}.pem").write_bytes(result.certificate.public_bytes(serialization.Encoding.PEM))
    print(f"serial  {result.serial_hex}")


if __name__ == "__main__":
    main()
