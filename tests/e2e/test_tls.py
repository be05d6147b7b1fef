"""The TLS listeners, by clients of others: curl, openssl, GnuTLS, Python's ssl."""

import concurrent.futures
import datetime
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess

import pytest
import scep_client
from checkers import environment, program
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness import CHALLENGE, DEADLINE, MovedClock, PEM, RELEASE_BINARY, Revline, client_key, eventually, ocsp_request, openssl

TLS = {"REVLINE_HTTPS_LISTEN": "127.0.0.1:0", "REVLINE_EST_LISTEN": "127.0.0.1:0"}
GET = b"GET /probe/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def tls_server(make_server):
    return lambda **settings: make_server(**{**TLS, **settings})


@pytest.fixture(scope="module")
def shared(templates, tmp_path_factory):
    """A server for the tests that leave it as it was."""
    folder = pathlib.Path(tmp_path_factory.mktemp("tls")) / "data"
    shutil.copytree(templates("ec-p256"), folder)
    folder.chmod(0o700)
    server = Revline(folder, {"REVLINE_CA_KEY": "ec-p256", **TLS}).start()
    yield server
    server.stop()


# ---- clients ----
def context(server=None, verify=True, **attributes):
    ctx = ssl.create_default_context(cafile=server.ca_file() if verify else None)
    if not verify:
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    for name, value in attributes.items():
        setattr(ctx, name, value)
    return ctx


class Wire:
    """A TLS connection that reads whole answers."""

    def __init__(self, server, listener="https", ctx=None, session=None, host="127.0.0.1"):
        raw = socket.create_connection(("127.0.0.1", server.tls_port(listener)), timeout=60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = (ctx or context(server)).wrap_socket(raw, server_hostname=host, session=session)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.tls.close()

    def send(self, octets):
        self.tls.sendall(octets)
        return self

    def answer(self):
        """(status, headers, body)"""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        n = int(headers["content-length"])
        while len(self.buffer) < n:
            self._more()
        body, self.buffer = self.buffer[:n], self.buffer[n:]
        return int(lines[0].split()[1]), headers, body

    def _more(self):
        octets = self.tls.recv(65536)
        if not octets:
            raise EOFError(self.buffer)
        self.buffer += octets


def curl(server, path, *arguments, listener="https", host="127.0.0.1", code=0):
    url = "https://%s:%d%s" % (host, server.tls_port(listener), path)
    done = subprocess.run(["curl", "-sS", "--max-time", "60", "--cacert", server.ca_file(), *arguments, url], capture_output=True, timeout=90)
    assert done.returncode == code, "curl: %s\n%s%s" % (done.returncode, done.stdout, done.stderr)
    return done.stdout


def s_client(server, *arguments, listener="https", code=0, sent=""):
    return openssl("s_client", "-connect", "127.0.0.1:%d" % server.tls_port(listener), "-CAfile", server.ca_file(), *arguments,
                   code=code, input=sent).stdout


def served(server, listener="https"):
    """The certificate that a new connection gets."""
    with Wire(server, listener, context(verify=False)) as wire:
        return x509.load_der_x509_certificate(wire.tls.getpeercert(True))


def handshake_failures(server):
    return {re.search('reason="(.*)"', name).group(1): value for name, value in server.metrics().items()
            if name.startswith("revline_http_tls_handshake_failures_total")}


# ---- certificates of another CA ----
def self_signed(path, cn="tls.example", key=None, days=30, password=None, key_path=None):
    """Writes PEM files; the certificate."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    now = datetime.datetime.utcnow()
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=40)).not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(cn)]), critical=False).sign(key, hashes.SHA256()))
    cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key_pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, cipher)
    if key_path:
        replace(key_path, key_pem)
        replace(path, cert.public_bytes(PEM))
    else:
        replace(path, cert.public_bytes(PEM) + key_pem)
    return cert


def replace(path, octets):
    fresh = pathlib.Path(str(path) + ".new")
    fresh.write_bytes(octets)
    os.replace(fresh, path)


# ---- what is served ----
def test_everything_of_http_is_served_over_tls(shared):
    certificate, _ = shared.sign("tls.client")
    for path in ("/", "/probe", "/probe/live", "/metrics", "/crl", "/static?operation=GetCACaps"):
        assert curl(shared, path), path
        assert curl(shared, path, listener="est"), path
    assert curl(shared, "/ca") == shared.http("GET", "/ca")[2]
    request = ocsp_request(certificate, shared.ca)
    with Wire(shared) as wire:
        for _ in range(3):  # the second one comes from the cache
            wire.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n" % len(request) + request)
            status, headers, body = wire.answer()
            assert status == 200 and headers["content-type"] == "application/ocsp-response" and body
    assert curl(shared, "/nothing", "-o", "/dev/null", "-w", "%{http_code}") == b"404"


def test_scep_enrolls_over_tls(shared, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", shared.ca_file())
    url = "https://127.0.0.1:%d/static" % shared.tls_port()
    result = scep_client.enroll(url, CHALLENGE, "tls.scep", ca=scep_client.get_ca_cert(url))
    assert result.pki_status == "SUCCESS" and result.certificate


def test_the_own_certificate_is_trusted_through_the_own_ca(shared):
    cert = served(shared)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "127.0.0.1" in [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    assert ExtendedKeyUsageOID.SERVER_AUTH in cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert cert.not_valid_after - datetime.datetime.utcnow() <= datetime.timedelta(days=90)
    assert "Verification: OK" in s_client(shared, "-verify_ip", "127.0.0.1", "-verify_return_error")
    listed = shared.control("show", serial="%X" % cert.serial_number)
    assert listed["profile"] == "server" and listed["status"] == "good"
    path = shared.data_dir / "tls.pem"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("base, host", [(None, "127.0.0.1"), ("http://[::1]:8080", "[::1]"), ("http://pki.example.com/x", "pki.example.com")])
def test_the_banner_has_the_urls(tls_server, base, host):
    server = tls_server(start=False, REVLINE_BASE_URL=base).start("--banner")
    for what, listener in (("HTTPS", "https"), ("EST, HTTPS", "est")):
        line = "  %-15s https://%s:%d" % (what, host, server.tls_port(listener))
        eventually(lambda line=line: line in server.log().splitlines(), line)


def test_gnutls_is_a_client_too(shared):
    done = subprocess.run([program("gnutls-cli"), "--x509cafile", shared.ca_file(), "--port", str(shared.tls_port()), "127.0.0.1"],
                          input=GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), env=environment(), capture_output=True, timeout=60)
    assert b'{"status":"ok"}' in done.stdout and b"Status: The certificate is trusted" in done.stdout, done.stdout + done.stderr


# ---- versions, ciphers, ALPN ----
@pytest.mark.parametrize("version, works", [("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_versions(shared, version, works):
    out = s_client(shared, version, "-cipher", "DEFAULT@SECLEVEL=0", code=None)
    assert ("Verify return code: 0 (ok)" in out and "Cipher is (NONE)" not in out) == works, out


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_aead_are_refused(shared, cipher):
    before = handshake_failures(shared)["no_match"]
    assert "Cipher is (NONE)" in s_client(shared, "-tls1_2", "-cipher", cipher, code=1)
    assert handshake_failures(shared)["no_match"] == before + 1


def test_alpn(shared):
    assert "ALPN protocol: http/1.1" in s_client(shared, "-alpn", "h2,http/1.1")
    assert "No ALPN negotiated" in s_client(shared)
    assert "no application protocol" in openssl("s_client", "-connect", "127.0.0.1:%d" % shared.tls_port(), "-alpn", "h2", code=1, input="").stderr


def test_a_client_certificate_is_asked_for_on_the_est_listener_only(shared, tmp_path):
    assert "No client certificate CA names sent" in s_client(shared, listener="est")
    certificate, _ = shared.sign("tls.device")
    (tmp_path / "device.pem").write_bytes(certificate.public_bytes(PEM) + client_key().private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    for listener, asked in (("https", False), ("est", True)):
        for version in ("-tls1_2", "-tls1_3"):
            trace = s_client(shared, version, "-msg", "-cert", str(tmp_path / "device.pem"), listener=listener)
            assert ("CertificateRequest" in trace) == asked, (listener, version)
    assert curl(shared, "/probe/live", "--cert", str(tmp_path / "device.pem"), listener="est") == b'{"status":"ok"}\n'
    assert curl(shared, "/probe/live", listener="est") == b'{"status":"ok"}\n'


# ---- sessions ----
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed_on_every_loop(tls_server, tmp_path, version):
    server = tls_server(REVLINE_WORKERS="3")
    session = str(tmp_path / "session")
    # TLS 1.3's ticket comes behind the handshake: it is there when an answer is.
    close = GET.decode().replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    first = s_client(server, version, "-sess_out", session, "-ign_eof", sent=close)
    assert "New, TLSv1" in first and os.path.getsize(session) > 0
    for _ in range(8):
        again = s_client(server, version, "-sess_in", session, "-ign_eof", sent=close)
        assert "Reused, TLSv1" in again and '{"status":"ok"}' in again
    metrics = server.metrics()
    assert metrics['revline_http_tls_handshakes_total{kind="resumed"}'] == 8
    assert metrics['revline_http_tls_handshakes_total{kind="full"}'] == 1
    assert "New, TLSv1" in s_client(server, version, "-sess_in", session, "-ign_eof", listener="est", sent=close)


def test_openssl_reconnect(shared):
    out = s_client(shared, "-reconnect", "-tls1_2")
    assert out.count("Reused, TLSv1.2") == 5 and out.count("New, TLSv1.2") == 1


# ---- the stream ----
def test_pipelining_and_records_of_every_size(shared):
    rng = random.Random(4)
    certificate, _ = shared.sign("tls.stream")
    request = ocsp_request(certificate, shared.ca)
    post = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(request) + request
    chunked = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(request), request)
    nonce = ocsp_request(certificate, shared.ca, nonce=b"0123456789abcdef")
    fresh = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(nonce) + nonce  # is signed on another thread
    kinds = [(GET, "application/json"), (post, "application/ocsp-response"), (chunked, "application/ocsp-response"),
             (fresh, "application/ocsp-response"), (GET.replace(b"/probe/live", b"/metrics"), "text/plain"), (GET.replace(b"/probe/live", b"/ca"), "application/pkix-cert")]
    for round_ in range(12):
        asked = [rng.choice(kinds) for _ in range(60)]
        octets = b"".join(text for text, _ in asked)
        with Wire(shared) as wire:
            while octets:
                n = rng.choice((1, 7, 100, 1000, 16384, 40000)) if round_ else len(octets)
                wire.send(octets[:n])
                octets = octets[n:]
            for _, kind in asked:
                status, headers, _ = wire.answer()
                assert status == 200 and headers["content-type"].split(";")[0] == kind


def test_many_connections(tls_server):
    server = tls_server(REVLINE_LOG_LEVEL="info")
    ctx = context(server)

    def use(seed):
        session = None
        for i in range(8):
            with Wire(server, ctx=ctx, session=session) as wire:
                for _ in range(1 + (seed + i) % 4):
                    assert wire.send(GET * 3).answer()[0] == 200
                    assert wire.answer()[0] == 200 and wire.answer()[0] == 200
                session = wire.tls.session
                if (seed + i) % 3 == 0:
                    wire.tls.unwrap()
        return True
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(use, range(64)))
    metrics = server.metrics()
    assert metrics['revline_http_tls_handshakes_total{kind="full"}'] + metrics['revline_http_tls_handshakes_total{kind="resumed"}'] == 64 * 8
    eventually(lambda: server.metrics()["revline_http_connections"] == 1, "only the asking connection is open")


def test_idle_connections_are_small(tls_server):
    if not os.path.exists(RELEASE_BINARY):
        pytest.skip("sanitizers have memory of their own: needs the release build")
    server = tls_server(REVLINE_LOG_LEVEL="info", binary=RELEASE_BINARY)
    ctx, wires = context(server), []
    try:
        for i in range(600):
            wires.append(Wire(server, ctx=ctx))
            assert wires[-1].send(GET).answer()[0] == 200
            if i == 200:
                before = server.rss()
        assert (server.rss() - before) / 400 < 40  # KiB each
        assert wires[0].send(GET).answer()[0] == 200
    finally:
        for wire in wires:
            wire.tls.close()


# ---- what is no handshake ----
def test_http_to_the_tls_port_is_told_so(shared):
    before = handshake_failures(shared)["http"]
    done = subprocess.run(["curl", "-sS", "-i", "http://127.0.0.1:%d/probe" % shared.tls_port()], capture_output=True, text=True, timeout=60)
    assert "HTTP/1.1 400 Bad Request" in done.stdout and "text/plain" in done.stdout and "speaks TLS" in done.stdout
    assert handshake_failures(shared)["http"] == before + 1


def test_slow_handshakes_and_garbage_are_ended(tls_server):
    server = tls_server(REVLINE_HTTP_HEADER_TIMEOUT="500ms")
    silent, slow = [socket.create_connection(("127.0.0.1", server.tls_port()), timeout=DEADLINE) for _ in range(2)]
    slow.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    assert silent.recv(1) == b"" and slow.recv(1) == b""
    with Wire(server) as wire:  # the handshake is done, and then nothing comes
        assert wire.tls.recv(1) == b""
    rng = random.Random(7)
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", server.tls_port()), timeout=DEADLINE) as s:
            noise = rng.randbytes(rng.randrange(1, 600))
            try:
                s.sendall((b"\x16\x03\x01" if rng.random() < .5 else b"") + noise)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    failures = handshake_failures(server)
    assert failures["timeout"] == 2 and sum(failures.values()) == 102
    with Wire(server) as wire:
        assert wire.send(GET).answer()[0] == 200


# ---- a certificate of one's own ----
def test_a_chain_from_files(tls_server, tmp_path):
    """The chain of the file is sent as it is; the key in a file of its own."""
    ca_key, key = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    now, name = datetime.datetime.utcnow(), lambda cn: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])

    def issue(subject, issuer, public, signer, ca):
        return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(public).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
                .add_extension(x509.BasicConstraints(ca, None), True).add_extension(x509.SubjectAlternativeName([x509.DNSName("tls.example")]), False)
                .sign(signer, hashes.SHA256()))
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = issue("root", "root", root_key.public_key(), root_key, True)
    chain = [issue("leaf", "middle", key.public_key(), ca_key, False), issue("middle", "root", ca_key.public_key(), root_key, True)]
    (tmp_path / "chain.pem").write_bytes(b"".join(c.public_bytes(PEM) for c in chain))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
    (tmp_path / "root.pem").write_bytes(root.public_bytes(PEM))
    server = tls_server(REVLINE_TLS_CERT=str(tmp_path / "chain.pem"), REVLINE_TLS_KEY=str(tmp_path / "key.pem"))
    with Wire(server, ctx=ssl.create_default_context(cafile=str(tmp_path / "root.pem")), host="tls.example") as wire:
        assert wire.send(GET).answer()[0] == 200
    assert not (server.data_dir / "tls.pem").exists()


@pytest.mark.parametrize("fault, says", [
    ("missing", "cannot be read: No such file or directory"), ("other key", "is not that of the certificate in"),
    ("no key", "no private key in PEM without a pass phrase"), ("pass phrase", "no private key in PEM without a pass phrase"),
    ("garbage", "no certificate in PEM")])
def test_a_certificate_that_cannot_be_used_stops_the_start(tls_server, tmp_path, fault, says):
    path, other = tmp_path / "tls.pem", tmp_path / "other.pem"
    settings = {"REVLINE_TLS_CERT": str(path)}
    if fault == "other key":
        self_signed(path)
        self_signed(other)
        settings["REVLINE_TLS_KEY"] = str(other)
    elif fault == "no key":
        replace(path, self_signed(path).public_bytes(PEM))
    elif fault == "pass phrase":
        self_signed(path, password=b"secret")
    elif fault == "garbage":
        path.write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    server = tls_server(start=False, **settings)
    server.spawn()
    assert server.process.wait(60) == 1
    server.process = None
    failed = [line for line in server.log().splitlines() if "serve.failed" in line]
    assert len(failed) == 1 and says in failed[0] and str(path) in failed[0]


def test_a_key_setting_without_a_certificate_is_an_error(server):
    done = server.cli("config", "--check", code=1, settings={"REVLINE_TLS_KEY": "/somewhere/key.pem"})
    assert "REVLINE_TLS_KEY: '/somewhere/key.pem' is set without REVLINE_TLS_CERT" in done.stdout + done.stderr


# ---- a new certificate while serving ----
def test_files_that_change_are_taken_over(tls_server, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first = self_signed(cert, "one.example", key_path=key)
    server = tls_server(REVLINE_TLS_CERT=str(cert), REVLINE_TLS_KEY=str(key))
    assert served(server) == first
    with Wire(server, ctx=context(verify=False)) as open_before:
        second = self_signed(cert, "two.example", key_path=key)
        eventually(lambda: served(server) == second, "the new certificate is served")
        assert open_before.send(GET).answer()[0] == 200
    # A broken one: the old one stays, said once.
    replace(cert, b"nonsense")
    eventually(lambda: "tls.kept" in server.log(), "the broken file was seen")
    third_key = ec.generate_private_key(ec.SECP256R1())
    assert served(server) == second
    assert server.log().count("event=tls.kept") == 1
    third = self_signed(cert, "three.example", key=third_key, key_path=key)
    eventually(lambda: served(server) == third, "the mended certificate is served")
    assert server.log().count("event=tls.kept") == 1
    assert server.metrics()["revline_http_tls_certificate_not_after_seconds"] == third.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()


def test_sighup_reads_the_files(tls_server, tmp_path):
    """A link that is turned, as Kubernetes and certbot do, without any file of ours written."""
    first, second, link = self_signed(tmp_path / "1.pem"), self_signed(tmp_path / "2.pem"), tmp_path / "live.pem"
    link.symlink_to("1.pem")
    server = tls_server(REVLINE_TLS_CERT=str(link))
    assert served(server) == first
    link.unlink()
    link.symlink_to("2.pem")
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: served(server) == second, "the new certificate is served")
    (tmp_path / "2.pem").unlink()
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: "event=tls.kept" in server.log(), "it says that the file is missing")
    assert served(server) == second


def test_sighup_without_tls_ends_nothing(server):
    os.kill(server.pid, signal.SIGHUP)
    assert server.http("GET", "/probe/live")[0] == 200
    assert server.process.poll() is None


def test_the_own_certificate_stays_and_follows_names_and_revocation(tls_server):
    server = tls_server()
    first = served(server)
    server.stop()
    assert served(server.start()) == first
    server.stop()
    server.settings["REVLINE_BASE_URL"] = "https://pki.example.com:8443/x"
    server.start()
    second = served(server)
    assert second != first
    assert "pki.example.com" in second.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    server.control("revoke", serial="%X" % second.serial_number, reason="keyCompromise")
    os.kill(server.pid, signal.SIGHUP)
    third = eventually(lambda: [c for c in [served(server)] if c != second], "a certificate in the place of the revoked one")[0]
    assert third.public_key().public_numbers() != second.public_key().public_numbers()


def test_the_own_certificate_is_renewed_before_its_end(tls_server):
    server = tls_server(REVLINE_CERT_VALIDITY="1m")
    first = served(server)
    second = eventually(lambda: [c for c in [served(server)] if c != first], "another certificate", deadline=55, pause=0.5)[0]
    assert second.not_valid_after > first.not_valid_after
    assert datetime.datetime.utcnow() < first.not_valid_after


def test_an_own_certificate_of_the_future_is_replaced(tls_server):
    server = tls_server(start=False)
    clock = MovedClock(server)
    clock.move(30 * 86400)
    first = served(server.start())
    assert first.not_valid_before > datetime.datetime.utcnow()
    server.stop()
    clock.move(0)
    assert served(server.start()).not_valid_before < datetime.datetime.utcnow()


def test_a_clock_that_is_set_back_does_not_put_off_the_look_at_the_own_certificate(tls_server):
    server = tls_server(start=False, REVLINE_CERT_VALIDITY="1m")
    clock = MovedClock(server)
    clock.move(3600)
    first = served(server.start())
    server.control("revoke", serial="%X" % first.serial_number, reason="keyCompromise")
    clock.move(0)
    eventually(lambda: served(server) != first, "another certificate", deadline=55, pause=0.5)


def test_a_revline_below_a_new_root_gets_a_new_certificate(tls_server):
    server = tls_server()
    first = served(server)
    server.stop()
    server.cli("init", "--rollover", "--subject", "CN=Another Root")
    assert served(server.start()).issuer != first.issuer
