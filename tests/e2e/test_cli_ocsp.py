"""`revline ocsp`: what it says of our answers and of others', and that it never says "good" of an answer that is not to be believed.

The others are answers that python-cryptography makes, right and wrong in one point each, and OpenSSL's responder.
"""

import base64
import contextlib
import datetime
import http.server
import json
import os
import random
import re
import subprocess
import threading
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from harness import BINARY, DER, PEM, eventually, openssl

GOOD, ERROR, REVOKED, UNKNOWN = 0, 1, 3, 4
SECOND = datetime.timedelta(seconds=1)
HOUR = datetime.timedelta(hours=1)
OCSP_RESPONSE = {"Content-Type": "application/ocsp-response"}


def now():
    return datetime.datetime.utcnow().replace(microsecond=0)


def run(*arguments, code, **more):
    """The command where there are no valid settings and there is no data folder."""
    env = {**os.environ, "REVLINE_DATA_DIR": "/nonexistent", "REVLINE_WORKERS": "nonsense", "ASAN_OPTIONS": "detect_leaks=1"}
    done = subprocess.run([BINARY, "ocsp", *map(str, arguments)], env=env, capture_output=True, timeout=60,
                          **{"stdin": subprocess.DEVNULL, **more})
    said, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, "%s: exit code %s, expected %s\n%s%s" % (arguments, done.returncode, code, said, errors)
    assert code == ERROR or errors == "" or code == 2
    return said, errors


def report(*arguments, code, **more):
    return json.loads(run(*arguments, "--json", code=code, **more)[0])


def refused(*arguments, because, **more):
    """Exit code 1, the reason in words and in JSON, and nowhere a status."""
    said, errors = run(*arguments, code=ERROR, **more)
    assert re.search(because, said) and re.search(because, errors) and errors.startswith("revline ocsp: "), said + errors
    assert "good" not in said + errors and "verdict       error" in said
    answer = report(*arguments, code=ERROR, **more)
    assert answer["verdict"] == "error" and re.search(because, answer["message"]) and answer["message"] in answer["problems"]
    assert all(c["status"] is None for c in answer.get("certificates", []))
    assert "good" not in json.dumps(answer)
    return answer


# ---- an authority of the tests' own ----
class Holder:
    """A key with its certificate."""

    def __init__(self, cn, issuer=None, ca=False, usages=(), no_check=False, url=None, start=None, end=None, serial=None, key=None):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string("CN=" + cn)
        start, end = start or now() - HOUR, end or now() + 24 * HOUR
        builder = (x509.CertificateBuilder().subject_name(name).issuer_name(issuer.cert.subject if issuer else name)
                   .public_key(self.key.public_key()).serial_number(serial or x509.random_serial_number())
                   .not_valid_before(start).not_valid_after(end)
                   .add_extension(x509.BasicConstraints(ca, None), critical=True))
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        if no_check:
            builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
        if url:
            description = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
            builder = builder.add_extension(x509.AuthorityInformationAccess([description]), critical=False)
        self.cert = builder.sign((issuer or self).key, hashes.SHA256())

    def save(self, path):
        path.write_bytes(self.cert.public_bytes(PEM))
        return path


class Answer:
    """An answer that is right unless told otherwise."""

    def __init__(self, root, signer, cert, **other):
        self.root, self.signer, self.cert = root, signer, cert
        self.status = ocsp.OCSPCertStatus.GOOD
        self.reason, self.revoked_at = None, None
        self.this_update, self.next_update = now() - SECOND, now() + HOUR
        self.nonce, self.embed, self.by = "repeat", True, ocsp.OCSPResponderEncoding.HASH
        self.extension, self.critical = None, False  # an OID besides the nonce
        self.digest = hashes.SHA256()
        self.__dict__.update(other)

    def der(self, request):
        builder = (ocsp.OCSPResponseBuilder()
                   .add_response(self.cert.cert, self.root.cert, request.hash_algorithm if request else hashes.SHA1(), self.status,
                                 self.this_update, self.next_update, self.revoked_at, self.reason)
                   .responder_id(self.by, self.signer.cert))
        if self.embed and self.signer is not self.root:
            builder = builder.certificates([self.signer.cert])
        sent = [e.value.nonce for e in request.extensions if isinstance(e.value, x509.OCSPNonce)] if request else []
        nonce = sent[0] if self.nonce == "repeat" and sent else self.nonce if isinstance(self.nonce, bytes) else None
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        if self.extension:
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(self.extension), b"\x05\x00"), self.critical)
        return builder.sign(self.signer.key, self.digest).public_bytes(DER)


@contextlib.contextmanager
def responder(answer):
    """A URL below which `answer(request)` is asked for (status, headers, body), or just a body. The requests are in `.seen`."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.reply(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self):
            self.reply(base64.b64decode(urllib.parse.unquote(self.path.rsplit("/", 1)[1]), validate=True))

        def reply(self, der):
            request = ocsp.load_der_ocsp_request(der)
            server.seen.append((self.command, self.path, dict(self.headers), request))
            made = answer(request)
            status, headers, body = made if isinstance(made, tuple) else (200, OCSP_RESPONSE, made)
            with contextlib.suppress(ConnectionError):
                self.send_response_only(status)
                for name, value in {"Content-Length": len(body), "Date": self.date_time_string(), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.seen = True, []
    server.url = "http://127.0.0.1:%d/ocsp" % server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A root with a delegate and a certificate to ask about, and their files."""
    class World:
        folder = tmp_path_factory.mktemp("world")
        root = Holder("Test Root", ca=True)
        delegate = Holder("Test Responder", root, usages=[ExtendedKeyUsageOID.OCSP_SIGNING], no_check=True)
        leaf = Holder("leaf.example", root)
        other = Holder("other.example", root)
        stranger = Holder("Stranger", ca=True)

        def answer(self, signer=None, cert=None, **other):
            return Answer(self.root, signer or self.delegate, cert or self.leaf, **other)

    w = World()
    w.files = ["--cert", w.leaf.save(w.folder / "leaf.pem"), "--issuer", w.root.save(w.folder / "root.pem")]
    return w


def ask(world, answer, *more, code):
    """The report on the answer, and the request that was sent."""
    with responder(answer if callable(answer) else answer.der) as r:
        made = report(r.url, *world.files, *more, code=code)
        assert len(r.seen) == 1
        return made, r.seen[0]


# ---- our own server ----
@pytest.fixture(scope="module")
def asked(module_server, tmp_path_factory):
    path = tmp_path_factory.mktemp("asked") / "asked.pem"
    certificate, serial = module_server.sign("asked.example")
    path.write_bytes(certificate.public_bytes(PEM))
    return [module_server.url + "/ocsp", "--cert", path, "--issuer", module_server.ca_file()], serial


def test_good_in_words(asked):
    said, _ = run(*asked[0], code=GOOD)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[-1] == "verdict good" and "status good: it is not revoked" in lines and "certificate " + asked[1] in lines
    for pattern in (r"^asked http://.*/ocsp \(POST, a request of \d+ octets\)$", r"^answer successful: ", r"^producedAt .*Z, (now|\d+ s ago)$",
                    r"^responder byKey: [0-9a-f]{40}$", r"^signer CN=OCSP responder", r"a delegate that the issuer has certified; OCSPSigning: yes; "
                    r"ocsp-nocheck: yes", r"^valid from .* to ", r"^signature ecdsa-with-SHA256, verifies", r"^nonce repeated",
                    r"^nextUpdate .*Z, .* min .*from now$", r"^Cache-Control: no-store$"):
        assert any(re.search(pattern, line) for line in lines), pattern + "\n" + said
    assert not re.search("^(problem|not verified)", said, re.M)


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("more", [[], ["--nonce"], ["--no-nonce"], ["--get"], ["--get", "--no-nonce"]], ids=" ".join)
def test_every_way_of_asking(asked, name, more):
    answer = report(*asked[0], "--hash", name, *more, code=GOOD)
    assert answer["verdict"] == "good" and answer["problems"] == [] and answer["notVerified"] == []
    assert answer["certificates"][0]["hash"] == name and answer["certificates"][0]["serial"] == asked[1]
    assert answer["method"] == ("GET" if "--get" in more else "POST")
    assert answer["nonce"] == ("none" if "--no-nonce" in more else "repeated")
    assert answer["signer"]["kind"] == "delegate" and answer["signature"]["verified"] is True
    if more == ["--get", "--no-nonce"]:
        assert answer["http"]["etag"] and answer["http"]["expires"] and answer["http"]["lastModified"]
        assert 0 < answer["http"]["maxAgeSeconds"] <= answer["certificates"][0]["nextUpdateFromNowSeconds"] + 1


def test_certificates_from_a_pipe(asked):
    """As a shell's process substitution gives them: each can be read once."""
    question = asked[0][:1]
    for at in (1, 3):
        files = list(asked[0][1:])
        pipe = subprocess.Popen(["cat", str(files[at])], stdout=subprocess.PIPE)
        files[at] = "/dev/stdin"
        with pipe:
            assert report(*question, *files, code=GOOD, stdin=pipe.stdout)["verdict"] == "good"


def test_hold_and_revoked_with_the_reason(make_server, tmp_path):
    server = make_server()
    certificate, serial = server.sign("host.example")
    (tmp_path / "c.pem").write_bytes(certificate.public_bytes(PEM))
    (tmp_path / "c.der").write_bytes(certificate.public_bytes(DER))
    question = [server.url + "/ocsp", "--issuer", server.ca_file(), "--cert"]
    server.control("revoke", serial=serial, reason="certificateHold")
    said, _ = run(*question, tmp_path / "c.pem", code=REVOKED)
    assert "on hold (certificateHold)" in said and said.endswith("verdict       revoked\n")
    server.control("unrevoke", serial=serial)
    run(*question, tmp_path / "c.der", code=GOOD)
    server.control("revoke", serial=serial, reason="keyCompromise")
    assert "revoked for ever, reason keyCompromise" in run(*question, tmp_path / "c.der", code=REVOKED)[0]
    answer = report(*question, tmp_path / "c.pem", code=REVOKED)
    single = answer["certificates"][0]
    assert answer["verdict"] == single["status"] == "revoked" and single["reason"] == "keyCompromise"
    assert -60 < single["revokedAtFromNowSeconds"] <= 0 and single["revokedAt"].endswith("Z")


def test_unknown(module_server, asked, tmp_path):
    """Signed with the CA's key, but not by the CA: nobody knows its serial number."""
    class Ca:
        cert = module_server.ca
        key = serialization.load_pem_private_key((module_server.data_dir / "ca-1.key").read_bytes(), None)
    question = [asked[0][0], "--issuer", module_server.ca_file(), "--cert", Holder("forged.example", Ca).save(tmp_path / "forged.pem")]
    assert "unknown: the responder does not know it" in run(*question, code=UNKNOWN)[0]
    assert report(*question, code=UNKNOWN)["verdict"] == "unknown"


def test_a_foreign_issuer_is_refused_as_unauthorized(asked, world):
    answer = refused(asked[0][0], *world.files, because="unauthorized: the responder does not answer for this issuer")
    assert answer["responseStatus"] == "unauthorized"


def test_another_path_is_no_responder(module_server, asked):
    assert refused(module_server.url + "/ca", *asked[0][1:], because="HTTP status 405")["http"]["status"] == 405


# ---- answers that are to be believed ----
@pytest.mark.parametrize("signer", ["root", "delegate"])
@pytest.mark.parametrize("by", list(ocsp.OCSPResponderEncoding))
def test_issuer_and_delegate_by_key_and_by_name(world, signer, by):
    holder = getattr(world, signer)
    answer, _ = ask(world, world.answer(holder, by=by), code=GOOD)
    assert answer["signer"]["kind"] == {"root": "issuer", "delegate": "delegate"}[signer]
    assert answer["signer"]["subject"] == holder.cert.subject.rfc4514_string()
    assert answer["responderId"]["by"] == ("key" if by == ocsp.OCSPResponderEncoding.HASH else "name")
    if by == ocsp.OCSPResponderEncoding.NAME:
        assert answer["responderId"]["value"] == holder.cert.subject.rfc4514_string()


def test_the_request_is_what_was_asked_for(world):
    _, (method, path, headers, request) = ask(world, world.answer(), code=GOOD)
    assert (method, path, headers["Content-Type"]) == ("POST", "/ocsp", "application/ocsp-request")
    assert request.serial_number == world.leaf.cert.serial_number and isinstance(request.hash_algorithm, hashes.SHA1)
    expected = ocsp.OCSPRequestBuilder().add_certificate(world.leaf.cert, world.root.cert, hashes.SHA384()).build()
    _, (method, path, headers, request) = ask(world, world.answer(), "--get", "--no-nonce", "--hash", "sha384", code=GOOD)
    assert method == "GET" and request.public_bytes(DER) == expected.public_bytes(DER)
    nonces = set()
    for _ in range(2):
        _, (_, _, _, request) = ask(world, world.answer(), code=GOOD)
        nonces.add(request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce)
    assert len(nonces) == 2 and {len(n) for n in nonces} == {32}


def test_a_nonce_that_is_missing_is_only_mentioned(world):
    assert ask(world, world.answer(nonce=None), code=GOOD)[0]["nonce"] == "absent"
    with responder(world.answer(nonce=None).der) as r:
        assert re.search(r"^nonce +not repeated", run(r.url, *world.files, code=GOOD)[0], re.M)
    assert ask(world, world.answer(nonce=b"n" * 16), "--no-nonce", code=GOOD)[0]["nonce"] == "unasked"


@pytest.mark.parametrize("reason", [x509.ReasonFlags.ca_compromise, x509.ReasonFlags.superseded, None])
def test_revoked_elsewhere(world, reason):
    answer, _ = ask(world, world.answer(status=ocsp.OCSPCertStatus.REVOKED, reason=reason, revoked_at=now() - 2 * HOUR), code=REVOKED)
    assert answer["certificates"][0].get("reason") == (reason.value if reason else None)
    assert 7190 < -answer["certificates"][0]["revokedAtFromNowSeconds"] < 7260


def test_no_next_update(world):
    answer, _ = ask(world, world.answer(next_update=None), code=GOOD)
    assert any("there is no nextUpdate" in note for note in answer["notes"]) and "nextUpdate" not in answer["certificates"][0]
    ask(world, world.answer(next_update=None, this_update=now() - 23 * HOUR), code=GOOD)
    unbelievable(world, world.answer(next_update=None, this_update=now() - 25 * HOUR), "is not recent: it has no nextUpdate, and its thisUpdate was 1 d 1 h ago")


def test_a_signature_with_sha1_is_mentioned(world):
    assert any("made with SHA-1" in note for note in ask(world, world.answer(digest=hashes.SHA1()), code=GOOD)[0]["notes"])
    assert ask(world, world.answer(digest=hashes.SHA384()), code=GOOD)[0]["notes"] == []


def test_extensions(world):
    """RFC 6960 §4.4: an unknown one is ignored unless it is critical."""
    assert ask(world, world.answer(extension="1.2.3.4"), code=GOOD)[0]["notes"] == []
    answer, _ = ask(world, world.answer(extension="1.3.6.1.5.5.7.48.1.9"), code=GOOD)
    assert any("never issued" in note for note in answer["notes"])
    unbelievable(world, world.answer(extension="1.2.3.4", critical=True), "critical extension that is not understood here: 1.2.3.4")


def test_a_clock_that_is_a_little_behind(world):
    answer, _ = ask(world, world.answer(this_update=now() + datetime.timedelta(seconds=200)), code=GOOD)
    assert any("clock is behind" in note for note in answer["notes"])


def test_the_url_comes_from_the_certificate(world, tmp_path):
    with responder(lambda request: answer.der(request)) as r:
        leaf = Holder("aia.example", world.root, url=r.url)
        answer = world.answer(cert=leaf)
        question = ["--cert", leaf.save(tmp_path / "leaf.pem"), "--issuer", world.files[3]]
        assert report(*question, code=GOOD)["url"] == r.url
    refused(*world.files, because="names no responder")


def http_answer(world, **headers):
    return lambda request: (200, {**OCSP_RESPONSE, **{name.replace("_", "-"): value for name, value in headers.items()}},
                            world.answer().der(request))


def http_date(seconds):
    return (now() + seconds * SECOND).strftime("%a, %d %b %Y %H:%M:%S GMT")


def test_caching_headers_and_clocks_are_looked_at(world):
    good, _ = ask(world, http_answer(world, Cache_Control="public, max-age=60", ETag='"abc"', Age="7"), code=GOOD)
    assert good["http"]["maxAgeSeconds"] == 60 and good["http"]["etag"] == '"abc"' and good["http"]["age"] == "7"
    late, _ = ask(world, http_answer(world, Cache_Control="s-max-age=1,max-age=86400"), code=GOOD)
    assert any("beyond nextUpdate" in note for note in late["notes"]) and late["http"]["maxAgeSeconds"] == 86400
    slow, _ = ask(world, http_answer(world, Date=http_date(3600)), code=GOOD)
    assert -3660 < slow["http"]["clockSkewSeconds"] < -3540 and any("clock is" in note and "behind" in note for note in slow["notes"])
    fast, _ = ask(world, http_answer(world, Date=http_date(-3600), Age="1800"), code=GOOD)
    assert 1740 < fast["http"]["clockSkewSeconds"] < 1860 and any("ahead of" in note for note in fast["notes"])
    wrong, _ = ask(world, lambda request: (200, {"Content-Type": "text/html"}, world.answer().der(request)), code=GOOD)
    assert any("Content-Type" in note for note in wrong["notes"])


# ---- answers that are not ----
def unbelievable(world, answer, because, *more):
    with responder(answer if callable(answer) else answer.der) as r:
        return refused(r.url, *world.files, *more, because=because)


@pytest.mark.parametrize("body", [b"", b"garbage", b"<html>good</html>", b"\x30\x03\x0a\x01\x00\x00", b"\x30\x80", b"\x00" * 5000],
                         ids=["empty", "text", "html", "trailing", "indefinite", "zeros"])
def test_what_is_no_response(world, body):
    unbelievable(world, lambda _: body, "no OCSP response: %d octets" % len(body))


@pytest.mark.parametrize("status, because", [(1, "malformedRequest"), (2, "internalError"), (3, "tryLater"), (5, "sigRequired"),
                                             (6, "unauthorized"), (4, "response status 4"), (9, "response status 9")])
def test_refusals(world, status, because):
    unbelievable(world, lambda _: bytes([0x30, 3, 0x0a, 1, status]), because)


def test_success_without_an_answer(world):
    unbelievable(world, lambda _: b"\x30\x03\x0a\x01\x00", "holds no basic OCSP response")


def test_http_errors(world):
    unbelievable(world, lambda request: (503, OCSP_RESPONSE, world.answer().der(request)), "HTTP status 503")
    answer = unbelievable(world, lambda request: (302, {"Location": "http://127.0.0.1:1/"}, b""), "HTTP status 302")
    assert any("redirected to http://127.0.0.1:1/" in note for note in answer["notes"])


def test_another_nonce(world):
    answer = unbelievable(world, world.answer(nonce=b"n" * 32), "another nonce")
    assert answer["nonce"] == "different"


def test_another_certificate(world):
    answer = unbelievable(world, world.answer(cert=world.other), "says nothing about the certificate that was asked for")
    assert [c["asked"] for c in answer["certificates"]] == [False]


def test_the_same_serial_of_another_issuer(world):
    twin = Holder("leaf.example", world.stranger, serial=world.leaf.cert.serial_number)
    unbelievable(world, Answer(world.stranger, world.delegate, twin), "says nothing about the certificate")


def test_a_stranger_signs(world):
    assert unbelievable(world, world.answer(world.stranger), "signed by somebody else")["signer"]["kind"] == "stranger"
    unbelievable(world, world.answer(world.stranger, embed=False), "signed by somebody else.*not in the answer")


def test_a_certificate_of_the_issuer_that_is_no_delegate(world):
    answer = unbelievable(world, world.answer(world.other), "lacks the extended key usage OCSPSigning")
    assert answer["signer"] == {**answer["signer"], "kind": "delegate", "ocspSigning": False, "noCheck": False}
    server = Holder("web.example", world.root, usages=[ExtendedKeyUsageOID.SERVER_AUTH])
    unbelievable(world, world.answer(server), "lacks the extended key usage OCSPSigning")


def test_a_delegate_of_another_ca_with_the_issuers_name(world):
    twin = Holder("Test Root", ca=True)
    delegate = Holder("Test Responder", twin, usages=[ExtendedKeyUsageOID.OCSP_SIGNING], no_check=True)
    unbelievable(world, world.answer(delegate), "signed by somebody else")


def test_a_delegate_below_a_delegate(world):
    """RFC 6960 §4.2.2.2: the issuer itself has to have issued it."""
    between = Holder("Between", world.root, ca=True)
    delegate = Holder("Far Responder", between, usages=[ExtendedKeyUsageOID.OCSP_SIGNING])
    unbelievable(world, world.answer(delegate), "signed by somebody else")


@pytest.mark.parametrize("hours, because", [((-48, -24), "has expired"), ((24, 48), "is not valid yet")])
def test_a_delegate_outside_its_validity(world, hours, because):
    delegate = Holder("Old Responder", world.root, usages=[ExtendedKeyUsageOID.OCSP_SIGNING], start=now() + hours[0] * HOUR,
                      end=now() + hours[1] * HOUR)
    unbelievable(world, world.answer(delegate), "the signer's certificate " + because)


def test_a_signature_by_another_key_in_the_issuers_name(world):
    forger = Holder("Test Root", ca=True)
    answer = unbelievable(world, world.answer(forger, embed=False, by=ocsp.OCSPResponderEncoding.NAME), "the signature is wrong")
    assert answer["signer"]["kind"] == "issuer" and answer["signature"]["verified"] is False


def test_a_changed_answer(world):
    """One bit of the status: good becomes unknown."""
    def changed(request):
        der = world.answer(status=ocsp.OCSPCertStatus.UNKNOWN, nonce=None).der(request)
        at = der.index(b"\x82\x00\x18\x0f")  # unknown [2] NULL, then thisUpdate
        return der[:at] + b"\x80" + der[at + 1:]
    unbelievable(world, changed, "the signature is wrong")


def test_expired_and_from_the_future(world):
    unbelievable(world, world.answer(this_update=now() - 3 * HOUR, next_update=now() - 2 * HOUR), r"has expired: its nextUpdate was \d+ h")
    unbelievable(world, world.answer(this_update=now() - HOUR, next_update=now() - 10 * SECOND), "has expired.*compare the two clocks")
    unbelievable(world, world.answer(this_update=now() + 2 * HOUR, next_update=now() + 3 * HOUR), "thisUpdate is .* in the future")


def test_too_large_and_too_slow(world):
    unbelievable(world, lambda _: b"\x30" * 300000, "larger than the 262144 octets allowed")
    release = threading.Event()
    def late(request):
        release.wait(60)
        return b""
    with responder(late) as r:
        try:
            refused(r.url, *world.files, "--timeout", "200ms", because="could not be asked: .*(timed out|time-out|timeout)")
        finally:
            release.set()


def test_nobody_listens(world):
    with responder(world.answer().der) as r:
        url = r.url
    refused(url, *world.files, because="could not be asked")


# ---- issuers and trust ----
def test_an_intermediate_and_its_root(world, tmp_path):
    root, stranger = Holder("Top", ca=True), Holder("Top", ca=True)
    issuer = Holder("Middle", root, ca=True)
    delegate, leaf = Holder("R", issuer, usages=[ExtendedKeyUsageOID.OCSP_SIGNING]), Holder("leaf", issuer)
    files = ["--cert", leaf.save(tmp_path / "leaf.pem"), "--issuer", issuer.save(tmp_path / "issuer.pem")]
    root.save(tmp_path / "root.pem")
    stranger.save(tmp_path / "stranger.pem")
    (tmp_path / "both.pem").write_bytes(world.stranger.cert.public_bytes(PEM) + root.cert.public_bytes(PEM))
    for signer in (delegate, issuer):
        with responder(Answer(issuer, signer, leaf).der) as r:
            run(r.url, *files, code=GOOD)
            run(r.url, *files, "--trust", tmp_path / "root.pem", code=GOOD)
            run(r.url, *files, "--trust", tmp_path / "both.pem", code=GOOD)
            refused(r.url, *files, "--trust", tmp_path / "stranger.pem", because="the signer's chain does not verify")
    with responder(Answer(issuer, root, leaf, embed=True).der) as r:  # trusted, but neither issuer nor its delegate
        refused(r.url, *files, "--trust", tmp_path / "root.pem", because="signed by somebody else")


@pytest.mark.parametrize("order", ["leaf issuer root", "root issuer", "issuer root"])
def test_the_issuer_is_found_in_a_chain(tmp_path, order):
    holders = {"root": Holder("Top", ca=True)}
    holders["issuer"] = Holder("Middle", holders["root"], ca=True)
    holders["leaf"] = Holder("leaf", holders["issuer"])
    (tmp_path / "chain.pem").write_bytes(b"".join(holders[name].cert.public_bytes(PEM) for name in order.split()))
    leaf = holders["leaf"].save(tmp_path / "leaf.pem")
    with responder(Answer(holders["issuer"], holders["issuer"], holders["leaf"]).der) as r:
        run(r.url, "--cert", leaf, "--issuer", tmp_path / "chain.pem", code=GOOD)
        run(r.url, "--cert", leaf, "--issuer", tmp_path / "chain.pem", "--trust", tmp_path / "chain.pem", code=GOOD)
    with responder(Answer(holders["issuer"], holders["root"], holders["leaf"]).der) as r:  # in the chain, but not the issuer
        refused(r.url, "--cert", leaf, "--issuer", tmp_path / "chain.pem", because="signed by somebody else")


def test_the_wrong_issuer_is_noticed_before_asking(world, tmp_path):
    Holder("Test Root", ca=True).save(tmp_path / "twin.pem")
    world.stranger.save(tmp_path / "stranger.pem")
    with responder(world.answer().der) as r:
        for name in ("twin.pem", "stranger.pem"):
            refused(r.url, *world.files[:2], "--issuer", tmp_path / name, because="was not issued by")
        assert r.seen == []


# ---- OpenSSL's responder, and stored answers ----
@contextlib.contextmanager
def openssl_responder(world, folder, index):
    (folder / "index.txt").write_text(index)
    (folder / "ca.key").write_bytes(world.root.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(["openssl", "ocsp", "-port", "0", "-index", str(folder / "index.txt"), "-CA", world.files[3], "-rsigner",
                                    world.files[3], "-rkey", str(folder / "ca.key"), "-nmin", "10"], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
    try:
        said = eventually(lambda: re.search(r"ACCEPT \S+:(\d+) [^$]*waiting for OCSP", (folder / "log").read_text()),
                          "openssl ocsp listens")
        yield "http://127.0.0.1:" + said.group(1)
    finally:
        process.kill()
        process.wait()


def index_line(status, holder, revoked=""):
    return "%s\t%s\t%s\t%X\tunknown\t/CN=x\n" % (status, "491231235959Z", revoked, holder.cert.serial_number)


def test_openssl_as_the_responder(world, tmp_path):
    revoked = Holder("revoked.example", world.root)
    index = index_line("V", world.leaf) + index_line("R", revoked, "260101000000Z,superseded")
    with openssl_responder(world, tmp_path, index) as url:
        answer = report(url, *world.files, code=GOOD)
        assert answer["signer"]["kind"] == "issuer" and answer["nonce"] == "repeated"
        run(url, *world.files, "--get", "--no-nonce", "--hash", "sha256", code=GOOD)
        question = [url, *world.files[2:], "--cert"]
        single = report(*question, revoked.save(tmp_path / "revoked.pem"), code=REVOKED)["certificates"][0]
        assert single["reason"] == "superseded" and single["revokedAt"] == "2026-01-01T00:00:00Z"
        run(*question, world.other.save(tmp_path / "other.pem"), code=UNKNOWN)


@pytest.fixture(scope="module")
def stored(module_server, asked, tmp_path_factory):
    """Our answer as openssl stored it."""
    path = tmp_path_factory.mktemp("stored") / "answer.der"
    openssl("ocsp", "-issuer", module_server.ca_file(), "-cert", str(asked[0][2]), "-url", asked[0][0], "-CAfile", module_server.ca_file(),
            "-respout", str(path))
    return path


def test_a_stored_answer(stored, asked, world, tmp_path):
    files = asked[0][1:]
    answer = report(stored, *files, code=GOOD)
    assert answer["file"] == str(stored) and "http" not in answer and answer["nonce"] == "unchecked" and answer["notVerified"] == []
    assert report("-", *files, code=GOOD, stdin=open(stored, "rb"))["verdict"] == "good"
    assert report(stored, *files[2:], code=GOOD)["certificates"][0]["serial"] == asked[1]
    refused(stored, *world.files, because="says nothing about the certificate")
    refused(stored, "--issuer", world.files[3], because="signed by somebody else")


def test_without_the_issuer_nothing_is_verified(stored, asked):
    """It is explained, and the exit code is no success that a script could take for one."""
    for cert in ([], asked[0][1:3]):
        said, errors = run(stored, *cert, code=ERROR)
        assert "(not verified) good" in said and re.search("^not verified .*no --issuer", said, re.M) and "not verified: give" in errors
        answer = report(stored, *cert, code=ERROR)
        assert answer["verdict"] == "not verified" and answer["problems"] == [] and answer["signature"]["verified"] is True
        assert answer["certificates"][0]["status"] == "good" and answer["error"] == "denied"


def test_several_certificates_the_worst_counts(make_server, tmp_path):
    server = make_server()
    made = {name: server.sign(name + ".example") for name in ("one", "two")}
    arguments = ["ocsp", "-issuer", server.ca_file(), "-url", server.url + "/ocsp", "-CAfile", server.ca_file(), "-respout", str(tmp_path / "r")]
    for name, (certificate, _) in made.items():
        (tmp_path / name).write_bytes(certificate.public_bytes(PEM))
        arguments += ["-cert", str(tmp_path / name)]
    server.control("revoke", serial=made["two"][1], reason="superseded")
    openssl(*arguments)
    question = [tmp_path / "r", "--issuer", server.ca_file()]
    run(*question, "--cert", tmp_path / "one", code=GOOD)
    run(*question, "--cert", tmp_path / "two", code=REVOKED)
    answer = report(*question, code=REVOKED)
    assert [c["status"] for c in answer["certificates"]] == ["good", "revoked"] and any("worst" in note for note in answer["notes"])


def test_stored_answers_that_are_none(world, tmp_path):
    (tmp_path / "large").write_bytes(b"\x30" * 300000)
    for path, because in ((world.files[1], "no OCSP response"), (tmp_path / "missing", "cannot be read"), (tmp_path, "cannot be read"),
                          (tmp_path / "large", "larger than"), ("/dev/null", "no OCSP response: 0 octets")):
        refused(path, *world.files, because=because)
    assert "begins with http://" in refused("localhost:8080/ocsp", *world.files, because="cannot be read")["notes"][0]
    (tmp_path / "answer").write_bytes(world.answer(nonce=None).der(None))
    refused(tmp_path / "answer", "--issuer", tmp_path / "missing", because="cannot be read")
    refused(tmp_path / "answer", "--issuer", "/etc/passwd", because="holds no certificate")


def test_spoilt_answers_are_never_good(world, tmp_path):
    chance, whole = random.Random(6960), world.answer(nonce=None).der(None)
    (tmp_path / "answer").write_bytes(whole)
    run(tmp_path / "answer", *world.files, code=GOOD)
    tbs = range(40, whole.rindex(b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", 0, whole.index(world.delegate.cert.public_bytes(DER))))
    for _ in range(25):
        spoilt = bytearray(whole)
        spoilt[chance.choice(tbs)] ^= 1 << chance.randrange(8)
        (tmp_path / "answer").write_bytes(spoilt[:chance.randrange(len(spoilt))] if chance.random() < 0.2 else spoilt)
        said, _ = run(tmp_path / "answer", *world.files, code=ERROR)
        assert "good" not in said and "verdict       error" in said


# ---- usage ----
@pytest.mark.parametrize("arguments", [
    [], ["http://127.0.0.1:1/"], ["http://127.0.0.1:1/", "--cert", "x"], ["http://127.0.0.1:1/", "--issuer", "x"], ["--issuer", "x"],
    ["ldap://127.0.0.1/", "--cert", "x", "--issuer", "x"], ["file", "--get"], ["file", "--nonce"], ["file", "--hash", "sha1"],
    ["file", "--timeout", "1s"], ["file", "--trust", "x"], ["file", "file"], ["--cert", "x", "--cert", "y", "--issuer", "z"],
    ["--cert", "x", "--issuer", "z", "--nonce", "--no-nonce"], ["--cert", "x", "--issuer", "z", "--hash", "md5"],
    ["--cert", "x", "--issuer", "z", "--timeout", "soon"], ["--cert", "x", "--issuer", "z", "--timeout", "0"],
    ["--cert", "x", "--issuer", "z", "--timeout", "1d"], ["--nonsense"]], ids=" ".join)
def test_wrong_usage(arguments):
    said, errors = run(*arguments, code=2)
    assert said == "" and errors.startswith("revline ocsp: ") and "--help" in errors


def test_help_names_options_and_exit_codes():
    said, _ = run("--help", code=0)
    assert said.startswith("usage: revline ocsp [URL|FILE] [OPTIONS]")
    assert all(option in said for option in ("--cert FILE", "--issuer FILE", "--trust FILE", "--hash NAME", "--nonce", "--no-nonce", "--get",
                                             "--timeout TIME", "--json"))
    assert all(word in said for word in ("0 good", "3 revoked", "4 unknown", "1 no answer", "2 wrong usage"))
