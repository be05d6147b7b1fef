"""Malformed, truncated, oversized and random input to every endpoint: a proper error, no crash, the next request served.

The fixtures stop each server and fail on a leak or any sanitizer report. Random input is seeded.
"""

import json
import os
import random
import socket
import struct

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AttributeOID, NameOID
from harness import CHALLENGE, base64_path, ocsp_request

MALFORMED = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "300"))


@pytest.fixture(scope="module")
def certificate(module_server):
    return module_server.sign("hostile.example")[0]


@pytest.fixture(autouse=True)
def still_serving(module_server, certificate):
    yield
    assert module_server.ocsp(certificate) == "good" and module_server.http("GET", "/probe")[0] == 200


def mutations(seed_text, octets, n):
    """Truncated, flipped, lengthened, spliced."""
    rng = random.Random(seed_text)
    for _ in range(n):
        data = bytearray(octets)
        for _ in range(rng.randint(1, 3)):
            kind, at = rng.randrange(6), rng.randrange(len(data)) if data else 0
            if kind == 0:
                del data[at:]
            elif kind == 1 and data:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 2 and data:
                data[at] = rng.choice([0x00, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xff])
            elif kind == 3:
                data[at:at] = rng.randbytes(rng.randint(1, 20))
            elif kind == 4:
                data += data[at:]
            else:
                del data[at:at + rng.randint(1, 10)]
        yield bytes(data)


def noise(seed_text, n, size):
    rng = random.Random(seed_text)
    return [rng.randbytes(rng.randint(0, size)) for _ in range(n)]


# ---- OCSP ----
def check_ocsp_answer(status, body):
    assert status == 200
    response = ocsp.load_der_ocsp_response(body)
    if response.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL:
        assert response.certificates is not None
    else:
        assert response.response_status in (MALFORMED, ocsp.OCSPResponseStatus.UNAUTHORIZED)


def test_ocsp_post(module_server, certificate):
    plain = ocsp_request(certificate, module_server.ca, nonce=b"n" * 20)
    for body in [*mutations("ocsp", plain, ROUNDS), *noise("ocsp-noise", ROUNDS // 3, 300)]:
        status, _, answer = module_server.http("POST", "/ocsp", body)
        check_ocsp_answer(status, answer)


def test_ocsp_every_truncation(module_server, certificate):
    plain = ocsp_request(certificate, module_server.ca)
    for n in range(len(plain)):
        answer = ocsp.load_der_ocsp_response(module_server.http("POST", "/ocsp", plain[:n])[2])
        assert answer.response_status == MALFORMED, n
    assert ocsp.load_der_ocsp_response(module_server.http("POST", "/ocsp", plain + b"\0")[2]).response_status == MALFORMED


def test_ocsp_get(module_server, certificate):
    plain = ocsp_request(certificate, module_server.ca)
    paths = ["%", "%zz", "====", "A" * 5000, "M", "%00", "../../etc/passwd", base64_path(plain)[:-5], base64_path(plain) + "AAAA"]
    paths += [base64_path(m) for m in mutations("ocsp-get", plain, ROUNDS // 3)]
    for path in paths:
        status, _, answer = module_server.http("GET", "/ocsp/" + path)
        check_ocsp_answer(status, answer)


# ---- SCEP ----
@pytest.fixture(scope="module")
def scep_message(module_server):
    signer = scep_client.make_signer()
    ca = scep_client.get_ca_cert(module_server.url + "/static")
    return scep_client.make_message(scep_client.make_csr(signer.key, "hostile", "wrong-challenge-3"), signer, ca.recipient, "0123", b"n" * 16)


@pytest.mark.parametrize("path", ["/static", "/static/aad"])
def test_scep_post(module_server, scep_message, path):
    before = len(module_server.all_certificates())
    for body in [b"", *mutations("scep" + path, scep_message, ROUNDS), *noise("scep-noise", ROUNDS // 3, 2000)]:
        status, _, answer = module_server.http("POST", path + "?operation=PKIOperation", body)
        assert status in (200, 400), (status, answer[:200])
    assert len(module_server.all_certificates()) == before, "something was issued"


def test_scep_get(module_server, scep_message):
    before = len(module_server.all_certificates())
    for body in mutations("scep-get", scep_message, ROUNDS // 10):
        status, _, answer = module_server.http("GET", "/static?operation=PKIOperation&message=" + base64_path(body))
        assert status in (200, 400), (status, answer[:200])
    for target in ("/static?" + "&" * 1000, "/static?operation=PKIOperation&message=%", "/static?operation=PKIOperation&message=AA=A",
                   "/static?operation=GetCACert&message=" + "x" * 8000, "/static?operation=PKIOperation&operation=GetCACaps", "/static?" + "a=b&" * 2000):
        assert 200 <= module_server.http("GET", target)[0] < 500, target
    assert len(module_server.all_certificates()) == before, "something was issued"


def odd_csrs():
    """Requests that are well-formed and bad: no name, a giant name, a weak key, names with NUL or line breaks."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    strong = scep_client.make_key()

    def csr(key, cn, sans=()):
        b = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else []))
        b = b.add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode())
        if sans:
            b = b.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
        return b.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    yield "weak key", strong, csr(weak, "weak")
    yield "many names", strong, csr(strong, "many", [x509.DNSName("h%d.example" % i) for i in range(3000)])
    yield "NUL", strong, csr(strong, "nul\0.example")
    broken = bytearray(csr(strong, "proof"))
    broken[-1] ^= 1
    yield "proof of possession", strong, bytes(broken)


def test_scep_bad_requests_inside_good_messages(module_server):
    signer = scep_client.make_signer()
    ca = scep_client.get_ca_cert(module_server.url + "/static")
    for what, key, csr in odd_csrs():
        before = len(module_server.all_certificates())
        result = scep_client.enroll(module_server.url + "/static", CHALLENGE, "x", signer=signer, ca=ca, key=key, csr=csr)
        assert result.pki_status == "FAILURE" and result.fail_info in ("badRequest", "badAlg", "badMessageCheck"), what
        assert len(module_server.all_certificates()) == before, what


# ---- the rest of HTTP ----
@pytest.mark.parametrize("path", ["/ca", "/probe", "/probe/live", "/probe/ready", "/metrics", "/"])
def test_reading_endpoints_take_anything(module_server, path):
    for suffix in ("?" + "x" * 3000, "?%", "?a=%00", "?" + "&=" * 500):
        assert module_server.http("GET", path + suffix)[0] == 200
    status, _, _ = module_server.http("GET", path, b"a body nobody asked for", {"Content-Type": "x/y"})
    assert status in (200, 400, 413)


def test_random_octets_at_the_socket(module_server):
    rng = random.Random("socket")
    starts = [b"", b"GET ", b"POST /ocsp HTTP/1.1\r\n", b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
              b"POST /static?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    for _ in range(ROUNDS):
        with socket.create_connection(("127.0.0.1", module_server.port), timeout=30) as s:
            try:
                s.sendall(rng.choice(starts) + rng.randbytes(rng.randint(0, 400)))
                if rng.random() < 0.3:  # gone with a reset, in the middle
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(65536)
            except OSError:
                continue
            assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:100]


def test_clients_that_leave_before_the_answer(module_server, scep_message, certificate):
    body = ocsp_request(certificate, module_server.ca, nonce=os.urandom(16))
    for path, octets in ((b"/ocsp", body), (b"/static?operation=PKIOperation", scep_message)):
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", module_server.port)) as s:
                s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(octets), octets))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_client_that_does_not_read(make_server):
    server = make_server(REVLINE_HTTP_BODY_TIMEOUT="500ms")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(0.5)
        ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        before = server.rss()
        try:
            for _ in range(20000):
                s.sendall(ask * 10)
        except OSError:
            pass  # the server stopped reading, or has cut the connection
        assert server.rss() - before < 64 * 1024
        assert server.http("GET", "/probe/live")[0] == 200


def test_log_lines_of_hostile_clients_are_limited_and_on_one_line(make_server):
    server = make_server(REVLINE_LOG_LEVEL="info")
    for i in range(2000):
        server.http("POST", "/static?operation=PKIOperation", b"evil\nlevel=error event=forged %d" % i)
    log = server.log()
    assert "\nlevel=error" not in log and all(line.startswith("ts=") for line in log.splitlines())
    assert len(log) < 500_000


# ---- the control socket ----
def control_raw(server, octets, shutdown=True):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(server.data_dir / "control.sock"))
        try:
            s.sendall(octets)
            if shutdown:
                s.shutdown(socket.SHUT_WR)
            with s.makefile("rb") as f:
                return f.read()
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_control_socket(module_server):
    good = json.dumps({"command": "show", "serial": "12"}).encode() + b"\n"
    deep = b'{"command":"list","x":' + b"[" * 100000 + b"]" * 100000 + b"}\n"
    for octets in [b"\n", b"{}\n", b"[]\n", b"null\n", b"7\n", b'"x"\n', b'{"command":7}\n', b'{"command":"nonsense"}\n', b'{"command":"show"}\n',
                   b'{"command":"show","serial":7}\n', b'{"command":"show","serial":"%s"}\n' % (b"F" * 100), b'{"command":"list","limit":-1}\n',
                   b'{"command":"list","limit":"x"}\n', b'{"command":"list","after":"zz"}\n', b'{"command":"sign"}\n', b'{"command":"sign","csr":"x"}\n',
                   b'{"command":"sign","csr":"x","profile":"ca"}\n', b'{"command":"sync","source":"x"}\n', b'{"command":"revoke"}\n', deep,
                   b"x" * 1_000_000, b"\xff\xfe\n", *mutations("control", good, ROUNDS // 3)]:
        answer = control_raw(module_server, octets)
        if answer:
            reply = json.loads(answer)
            assert ("ok" in reply) != ("error" in reply), octets[:80]
    assert module_server.control("list", limit=1)["items"] is not None


def test_a_silent_control_client_does_not_block_others_for_long(module_server):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(module_server.data_dir / "control.sock"))
        assert module_server.control("list", limit=1)["items"] is not None
