"""Makes the data of a benchmark in a folder: a Revline database with certificates, and files of OCSP requests for them.

    DIR/data        Revline's data folder, EC P-256 CA
    DIR/post.req    the requests by POST       DIR/get.req   the same by GET
    DIR/nonce.req   by POST, each with a nonce of its own, which no cache can answer
    DIR/ca.pem, DIR/index.txt                 for `openssl ocsp`

A requests file is a row of records: u32 length of the request, u32 length of what its answer's first SingleResponse
begins with (both big-endian), the raw HTTP request, those octets (CertID and certStatus in DER).
"""
import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

GOOD = b"\x80\x00"  # certStatus [0] IMPLICIT NULL
SHA1 = bytes.fromhex("06052b0e03021a")
NONCE = bytes.fromhex("06092b0601050507300102")  # id-pkix-ocsp-nonce


def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else b"\x82" + n.to_bytes(2, "big")
    return bytes([tag]) + length + body


class Revline:
    """A running `revline serve` on the data folder, with one worker."""

    def __init__(self, binary, folder, command=(), **settings):
        self.data = os.path.join(folder, "data")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REVLINE_", "AppConfig__", "AZURE_"))}
        env |= {"REVLINE_DATA_DIR": self.data, "REVLINE_HTTP_LISTEN": "127.0.0.1:0", "REVLINE_WORKERS": "1",
                "REVLINE_CA_KEY": "ec-p256", "REVLINE_LOG_FORMAT": "json", **settings}
        self.log = os.path.join(folder, "revline.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, binary, "serve"], env=env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.pid = self.process.pid
        try:
            self.port = self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                for line in log:
                    if '"serve.ready"' in line and line.endswith("\n"):
                        return int(json.loads(line)["http_port"])
            time.sleep(0.02)
        with open(self.log, encoding="utf-8", errors="replace") as log:
            raise SystemExit("revline does not start:\n" + log.read())

    def ask(self, **request):
        """One command through the control socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(self.data, "control.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(b"".join(iter(lambda: s.recv(65536), b"")))
        if "ok" not in reply:
            raise SystemExit(f"revline refuses {request['command']}: {reply.get('message')}")
        return reply["ok"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Requests:
    """Builds OCSP requests (RFC 6960 section 4.1) for serial numbers of one issuer, CertIDs by SHA-1."""

    def __init__(self, ca):
        def sha1(data):
            digest = hashes.Hash(hashes.SHA1())
            digest.update(data)
            return digest.finalize()

        key = ca.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        self.issuer = (der(0x30, SHA1, b"\x05\x00") + der(0x04, sha1(ca.subject.public_bytes())) +
                       der(0x04, sha1(key)))

    def cert_id(self, serial):
        return der(0x30, self.issuer, der(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big")))

    def request(self, serial, nonce=None):
        extensions = b""
        if nonce:
            extensions = der(0xA2, der(0x30, der(0x30, NONCE, der(0x04, der(0x04, nonce)))))
        return der(0x30, der(0x30, der(0x30, der(0x30, self.cert_id(serial))), extensions))


def by_post(body):
    return (b"POST /ocsp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/ocsp-request\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


def by_get(body):
    path = urllib.parse.quote(base64.b64encode(body), safe="")
    return f"GET /ocsp/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def write_requests(folder, ca, serials):
    build = Requests(ca)
    with contextlib.ExitStack() as stack:
        post, get, nonce = (stack.enter_context(open(os.path.join(folder, f"{name}.req"), "wb"))
                            for name in ("post", "get", "nonce"))
        for serial in serials:
            expect = build.cert_id(serial) + GOOD
            plain = build.request(serial)
            for file, request in ((post, by_post(plain)), (get, by_get(plain)),
                                  (nonce, by_post(build.request(serial, os.urandom(32))))):
                file.write(struct.pack(">II", len(request), len(expect)) + request + expect)


def write_index(folder, ca_pem, certificates):
    """The CA's files as `openssl ocsp` reads them."""
    with open(os.path.join(folder, "ca.pem"), "w", encoding="ascii") as file:
        file.write(ca_pem)
    with open(os.path.join(folder, "index.txt"), "w", encoding="ascii") as file:
        for n, (serial, not_after) in enumerate(certificates):
            file.write(f"V\t{not_after:%y%m%d%H%M%S}Z\t\t{serial:032X}\tunknown\t/CN=device {n}\n")


def issue(revline, count):
    """`count` certificates from one request: each gets a serial number of its own."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench device")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()),
                                                                           hashes.SHA256())
    pem = csr.public_bytes(serialization.Encoding.PEM).decode()
    for _ in range(count):
        reply = revline.ask(command="sign", csr=pem, profile="client")
        certificate = x509.load_pem_x509_certificate(reply["certificate"].encode())
        yield certificate.serial_number, certificate.not_valid_after


def prepare(binary, folder, count, command=()):
    revline = Revline(binary, folder, command)
    try:
        ca_pem = revline.ask(command="ca")["certificate"]
        certificates = list(issue(revline, count))
    finally:
        revline.stop()
    write_requests(folder, x509.load_pem_x509_certificate(ca_pem.encode()), [serial for serial, _ in certificates])
    write_index(folder, ca_pem, certificates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes a Revline database and requests files for the load generator.")
    parser.add_argument("--revline", default="build/release/revline", help="the program (build/release/revline)")
    parser.add_argument("--certificates", type=int, default=1000, help="how many (1000)")
    parser.add_argument("folder", help="an existing folder")
    options = parser.parse_args()
    prepare(options.revline, options.folder, options.certificates)
