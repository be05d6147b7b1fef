"""Writes the seed corpus of fuzz_scep_message: real messages at each of the three layers that the target reads.

    /usr/bin/python3 tests/fuzz/scep/make_corpus.py
"""
import pathlib
import re
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent.parent / "e2e"))
import scep_client as scep  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402


def pem(name):
    body = re.search(name + r"\[\] =(.*?);", (here / "fuzz_key.h").read_text(), re.S).group(1)
    return "\n".join(re.findall(r'"(.*?)\\n"', body)).encode()


def load():
    return scep.Signer(serialization.load_pem_private_key(pem("fuzz_key_pem"), None),
                       x509.load_pem_x509_certificate(pem("fuzz_cert_pem")))


def main():
    out = here.parent / "corpus" / "fuzz_scep_message"
    out.mkdir(parents=True, exist_ok=True)
    ca = load()
    client = scep.make_signer()
    csr = scep.make_csr(client.key, "device", "challenge-word", upn="user@example.com", dns="host.example.com")
    own = scep.make_csr(ca.key, "device", "challenge-word", upn="user@example.com")  # what the target signs is signed by this key
    nonce = b"0123456789abcdef"
    files = {
        "message-aes256": scep.make_message(csr, client, ca.certificate, "txn", nonce),
        "message-3des-sha1": scep.make_message(csr, client, ca.certificate, "txn", nonce, "sha1", "3des"),
        "message-sha512": scep.make_message(csr, client, ca.certificate, "txn", nonce, "sha512", "aes128"),
        "message-ec": scep.make_message(csr, scep.make_signer(scep.make_key("ec-p256")), ca.certificate, "txn", nonce),
        "message-poll": scep.make_message(csr, client, ca.certificate, "txn", nonce, message_type=scep.CERT_POLL),
        "envelope-aes128": scep.envelope(own, ca.certificate, "aes128"),
        "envelope-3des": scep.envelope(own, ca.certificate, "3des"),
        "csr": own,
        "csr-other-key": csr,
        "csr-plain": scep.make_csr(ca.key, "device"),
    }
    for name, octets in files.items():
        (out / name).write_bytes(octets)


if __name__ == "__main__":
    main()
