"""OCSP answers as real clients see them: openssl ocsp, curl, and python-cryptography as a second reader."""

import base64
import datetime
import os
import subprocess
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from asn1crypto import core as asn1
from asn1crypto import ocsp as asn1_ocsp
from cryptography.x509 import ocsp
from harness import PEM, OcspClient, base64_path, eventually, ocsp_request, ocsp_word, openssl, openssl_ocsp, verify_ocsp_signature

OCSP_REQUEST = {"Content-Type": "application/ocsp-request"}
ALGORITHMS = [hashes.SHA1, hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512]


@pytest.fixture(scope="module")
def certificate(module_server):
    return module_server.sign("asked.example")[0]


def ask(server, body, path="/ocsp"):
    status, headers, answer = server.http("POST", path, body, OCSP_REQUEST)
    assert status == 200 and headers["Content-Type"] == "application/ocsp-response"
    return headers, ocsp.load_der_ocsp_response(answer)


def stranger(issuer_name="CN=Somebody Else"):
    """(certificate, issuer) of another CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(issuer_name)
    now = datetime.datetime.utcnow()
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(4711)
                   .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
    return certificate, certificate


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa2048"])
def test_openssl_agrees_on_the_whole_life_of_a_certificate(make_server, key_type, tmp_path):
    server = make_server(key_type=key_type)
    certificate, serial = server.sign("host.example")
    assert openssl_ocsp(server, certificate, tmp_path) == "good"
    assert openssl_ocsp(server, certificate, tmp_path, "-no_nonce") == "good"
    server.control("revoke", serial=serial, reason="certificateHold")
    assert openssl_ocsp(server, certificate, tmp_path) == ("revoked", "certificateHold")
    server.control("unrevoke", serial=serial)
    assert openssl_ocsp(server, certificate, tmp_path) == "good"
    server.control("revoke", serial=serial, reason="keyCompromise")
    assert openssl_ocsp(server, certificate, tmp_path) == ("revoked", "keyCompromise")
    assert openssl_ocsp(server, certificate, tmp_path, "-no_nonce") == ("revoked", "keyCompromise")


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa2048"])
def test_openssl_verify_accepts_the_certificates(make_server, key_type, tmp_path):
    server = make_server(key_type=key_type)
    server.cli("issue", "--profile", "server", "--cn", "www.example", "--san", "DNS:www.example", "--out", str(tmp_path / "tls.pem"),
               "--key-out", str(tmp_path / "tls.key"))
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.example", "-CAfile", server.ca_file(),
            str(tmp_path / "tls.pem"))
    openssl("verify", "-x509_strict", "-CAfile", server.ca_file(), server.ca_file())
    text = openssl("x509", "-in", str(tmp_path / "tls.pem"), "-noout", "-text").stdout
    assert "/ocsp" in text and "/ca" in text and "Authority Key Identifier" in text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("nonce", [None, b"\x07" * 16])
def test_every_hash_of_a_cert_id(module_server, certificate, algorithm, nonce):
    headers, response = ask(module_server, ocsp_request(certificate, module_server.ca, algorithm(), nonce))
    verify_ocsp_signature(response, module_server.ca)
    assert ocsp_word(response) == "good" and response.serial_number == certificate.serial_number
    assert isinstance(response.hash_algorithm, algorithm)
    if nonce is None:
        assert len(response.extensions) == 0
    else:
        assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


def test_the_hashes_are_of_our_issuer(module_server, certificate):
    request = ocsp.load_der_ocsp_request(ocsp_request(certificate, module_server.ca))
    _, response = ask(module_server, ocsp_request(certificate, module_server.ca))
    assert response.issuer_name_hash == request.issuer_name_hash and response.issuer_key_hash == request.issuer_key_hash


@pytest.mark.parametrize("length", [1, 32, 128])
def test_nonces_of_rfc_9654_are_echoed(module_server, certificate, length):
    nonce = os.urandom(length)
    _, response = ask(module_server, ocsp_request(certificate, module_server.ca, nonce=nonce))
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


@pytest.mark.parametrize("length", [0, 129, 1000])
def test_nonces_outside_rfc_9654_are_malformed(module_server, certificate, length):
    """RFC 9654 §2.1: 1 to 128 octets; anything else is a malformedRequest."""
    _, response = ask(module_server, ocsp_request(certificate, module_server.ca, nonce=b"n" * length))
    assert response.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_a_nonce_can_be_ignored_by_setting(make_server):
    server = make_server(REVLINE_OCSP_NONCE="ignore")
    certificate, _ = server.sign("host.example")
    _, response = ask(server, ocsp_request(certificate, server.ca, nonce=b"n" * 16))
    assert ocsp_word(response) == "good" and len(response.extensions) == 0


def test_curl_get(module_server, certificate, tmp_path):
    for path in ("/ocsp/", "/"):
        for request in (ocsp_request(certificate, module_server.ca), ocsp_request(certificate, module_server.ca, nonce=b"n" * 16)):
            done = subprocess.run(["curl", "-sS", "-D", str(tmp_path / "head"), module_server.url + path + base64_path(request)],
                                  capture_output=True, check=True)
            response = ocsp.load_der_ocsp_response(done.stdout)
            verify_ocsp_signature(response, module_server.ca)
            assert ocsp_word(response) == "good"
            assert "content-type: application/ocsp-response" in (tmp_path / "head").read_text().lower()


def test_get_forms_that_clients_send(module_server, certificate):
    """Percent-encoded or not, with a trailing slash of the configured URL doubled, from many requests so that '/' and '+' occur."""
    for nonce in [None] + [bytes([i]) * 32 for i in range(0xf8, 0x100)]:
        request = ocsp_request(certificate, module_server.ca, nonce=nonce)
        for path in (base64.b64encode(request).decode(), base64_path(request)):
            status, _, body = module_server.http("GET", "/ocsp/" + path)
            assert status == 200 and ocsp_word(ocsp.load_der_ocsp_response(body)) == "good", path


def lower_hex(escaped):
    return escaped.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")


def test_get_forms_of_clients_and_proxies(module_server, certificate):
    """What ocsp/get.h takes, through the whole server: the same answer as to the plain form."""
    for nonce in (None, b"\xff" * 31, b"\xfb\xff\xbf" * 10):
        request = ocsp_request(certificate, module_server.ca, nonce=nonce)
        text, escaped = base64.b64encode(request).decode(), base64_path(request)
        forms = [lower_hex(escaped), escaped.replace("%", "%25"), text + "/", escaped + "/", text.rstrip("="),
                 base64.urlsafe_b64encode(request).decode(), base64.urlsafe_b64encode(request).decode().rstrip("="),
                 text.replace("+", "%20"), "%0D%0A".join(text[i:i + 64] for i in range(0, len(text), 64)) + "%0A",
                 "ca1/" + text, "some/longer/path/" + escaped, "/" + text]
        for path in forms:
            for before in ("/ocsp/", "/"):
                status, _, body = module_server.http("GET", before + path)
                assert status == 200 and ocsp_word(ocsp.load_der_ocsp_response(body)) == "good", before + path


def test_get_is_not_limited_to_255_octets(module_server, certificate):
    """RFC 5019 §5 bids clients POST what is longer; who does not is answered, as far as headers go."""
    request = ocsp_request(certificate, module_server.ca, hashes.SHA512(), nonce=b"n" * 128)
    path = "/ocsp/" + base64_path(request)
    assert len(path) > 255
    status, _, body = module_server.http("GET", path)
    assert status == 200 and ocsp_word(ocsp.load_der_ocsp_response(body)) == "good"


def test_post_at_the_root(module_server, certificate):
    assert ocsp_word(ask(module_server, ocsp_request(certificate, module_server.ca), "/")[1]) == "good"


@pytest.mark.parametrize("media_type", [None, "application/ocsp-request; charset=utf-8", "Application/OCSP-Request", "text/plain"])
@pytest.mark.parametrize("path", ["/", "/OCSP", "/pki/responder", "/ocsp/pki"])
def test_post_at_any_path_under_any_media_type(module_server, certificate, path, media_type):
    headers = {"Content-Type": media_type} if media_type else {}
    status, _, body = module_server.http("POST", path, ocsp_request(certificate, module_server.ca), headers)
    assert status == 200 and ocsp_word(ocsp.load_der_ocsp_response(body)) == "good"


def test_what_is_no_request_is_not_found(module_server, certificate):
    """A message of another protocol that was sent astray gets no OCSP answer, a request only by the methods of A.1."""
    assert module_server.http("POST", "/pki/responder", b"\x30\x00", {"Content-Type": "application/x-pki-message"})[0] == 404
    assert module_server.http("PUT", "/pki/responder", ocsp_request(certificate, module_server.ca), OCSP_REQUEST)[0] == 404


def test_any_host_is_answered(module_server, certificate):
    status, _, body = module_server.http("POST", "/ocsp", ocsp_request(certificate, module_server.ca), {**OCSP_REQUEST, "Host": "ise.example:99"})
    assert status == 200 and ocsp_word(ocsp.load_der_ocsp_response(body)) == "good"


def test_several_certificates_in_one_request(make_server, tmp_path):
    server = make_server()
    names = ["good", "hold", "revoked"]
    made = {name: server.sign(name + ".example") for name in names}
    server.control("revoke", serial=made["hold"][1], reason="certificateHold")
    server.control("revoke", serial=made["revoked"][1], reason="superseded")
    arguments = ["ocsp", "-issuer", server.ca_file(), "-url", server.url + "/ocsp", "-CAfile", server.ca_file()]
    for name in names:
        (tmp_path / name).write_bytes(made[name][0].public_bytes(PEM))
        arguments += ["-cert", str(tmp_path / name)]
    done = openssl(*arguments, "-serial", "0x1234567890")
    assert "Response verify OK" in done.stderr
    assert [line.split(": ")[-1] for line in done.stdout.splitlines() if line.startswith((str(tmp_path), "0x"))] == [
        "good", "revoked", "revoked", "unknown"]
    assert "certificateHold" in done.stdout and "superseded" in done.stdout


def test_too_many_certificates_are_malformed(make_server, tmp_path):
    server = make_server(REVLINE_OCSP_MAX_CERT_IDS="2")
    request = tmp_path / "request"
    serials = [x for n in range(3) for x in ("-serial", str(n + 1))]
    openssl("ocsp", "-issuer", server.ca_file(), *serials, "-reqout", str(request), code=None)
    _, response = ask(server, request.read_bytes())
    assert response.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_an_unissued_serial_is_never_good(make_server):
    server, strict = make_server(), make_server(REVLINE_OCSP_UNISSUED="revoked")
    for s, expected in ((server, "unknown"), (strict, "hold")):
        body = unissued_request(s.ca, 0x7fffffffffff)
        _, response = ask(s, body)
        verify_ocsp_signature(response, s.ca)
        assert ocsp_word(response) == expected
    # RFC 6960 §4.4.8: certificateHold since 1970, and the extended-revoke extension says what it means.
    assert response.revocation_time == datetime.datetime(1970, 1, 1)
    assert any(e.oid.dotted_string == "1.3.6.1.5.5.7.48.1.9" for e in response.extensions)


@pytest.mark.parametrize("unissued", ["unknown", "revoked"])
def test_the_responder_is_good_itself(make_server, unissued):
    """id-pkix-ocsp-nocheck says that nobody has to ask. Who does is not told that it was never issued."""
    server = make_server(REVLINE_OCSP_UNISSUED=unissued, REVLINE_OCSP_RESPONDER_VALIDITY="12s")
    certificate, _ = server.sign("host.example")
    signer = lambda nonce: ask(server, ocsp_request(certificate, server.ca, nonce=nonce))[1].certificates[0]
    first = signer(b"1" * 16)
    for responder in (first, eventually(lambda: (lambda s: s if s != first else None)(signer(b"2" * 16)), "its successor")):
        answer = ask(server, ocsp_request(responder, server.ca))[1]
        verify_ocsp_signature(answer, server.ca)
        assert ocsp_word(answer) == "good" and answer.next_update <= responder.not_valid_after
    assert ocsp_word(ask(server, unissued_request(server.ca, first.serial_number + 1))[1]) != "good"


def unissued_request(ca, serial):
    """A request about a serial for which there is no certificate: openssl makes it from the number."""
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/ca.pem", "wb") as f:
            f.write(ca.public_bytes(PEM))
        openssl("ocsp", "-issuer", d + "/ca.pem", "-serial", str(serial), "-no_nonce", "-reqout", d + "/request", code=None)
        with open(d + "/request", "rb") as f:
            return f.read()


def test_a_foreign_issuer_is_unauthorized(module_server):
    certificate, issuer = stranger()
    _, response = ask(module_server, ocsp_request(certificate, issuer))
    assert response.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_an_issuer_of_our_name_with_another_key_is_unauthorized(module_server):
    certificate, issuer = stranger(module_server.ca.subject.rfc4514_string())
    _, response = ask(module_server, ocsp_request(certificate, issuer))
    assert response.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("body", [b"", b"\x30\x00", b"not DER", b"\x30\x80\x00\x00", b"\x00" * 100], ids=["empty", "nothing", "text", "indefinite", "zeros"])
def test_malformed(module_server, body):
    _, response = ask(module_server, body)
    assert response.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_caching_headers(make_server):
    """RFC 5019 §6.2: a GET's answer may be cached until nextUpdate, and says by Last-Modified, ETag and Expires which it is."""
    server = make_server(REVLINE_OCSP_VALIDITY_GOOD="20m")
    certificate, _ = server.sign("host.example")
    _, headers, body = server.http("GET", "/ocsp/" + base64_path(ocsp_request(certificate, server.ca)))
    response = ocsp.load_der_ocsp_response(body)
    assert response.next_update - response.this_update == datetime.timedelta(minutes=20)
    directives = dict(d.strip().partition("=")[::2] for d in headers["Cache-Control"].split(","))
    assert 0 < int(directives["max-age"]) <= 1200
    parse = lambda name: datetime.datetime.strptime(headers[name], "%a, %d %b %Y %H:%M:%S GMT")
    assert parse("Expires") == response.next_update and parse("Last-Modified") == response.this_update
    assert headers["ETag"]
    with_nonce = server.http("GET", "/ocsp/" + base64_path(ocsp_request(certificate, server.ca, nonce=b"n" * 16)))
    assert "max-age" not in (with_nonce[1]["Cache-Control"] or "")


def test_validity_by_status(make_server):
    server = make_server(REVLINE_OCSP_VALIDITY_GOOD="11m", REVLINE_OCSP_VALIDITY_HOLD="12m", REVLINE_OCSP_VALIDITY_REVOKED="13m",
                         REVLINE_OCSP_VALIDITY_UNKNOWN="14m")
    certificate, serial = server.sign("host.example")
    minutes = lambda body: (lambda r: (r.next_update - r.this_update).seconds / 60)(ask(server, body)[1])
    request = ocsp_request(certificate, server.ca)
    assert minutes(request) == 11
    server.control("revoke", serial=serial, reason="certificateHold")
    assert minutes(request) == 12
    server.control("revoke", serial=serial, reason="keyCompromise")
    assert minutes(request) == 13
    assert minutes(unissued_request(server.ca, 99)) == 14


def test_an_answer_never_outlives_the_responder_and_the_responder_rolls_over(make_server):
    server = make_server(REVLINE_OCSP_RESPONDER_VALIDITY="4s", REVLINE_OCSP_VALIDITY_GOOD="10m")
    certificate, _ = server.sign("host.example")
    seen = set()

    def three_responders():
        _, response = ask(server, ocsp_request(certificate, server.ca))
        verify_ocsp_signature(response, server.ca)
        assert response.next_update <= response.certificates[0].not_valid_after
        seen.add(response.certificates[0].serial_number)
        return len(seen) >= 3
    eventually(three_responders, "the responder certificate changed twice", pause=0.1)


def test_the_responder_certificate_is_the_delegate_that_rfc_6960_asks_for(module_server, certificate):
    _, response = ask(module_server, ocsp_request(certificate, module_server.ca))
    responder = response.certificates[0]
    assert responder.issuer == module_server.ca.subject
    assert list(responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING]
    assert responder.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert response.responder_key_hash or response.responder_name == responder.subject


def test_times_are_sane(module_server, certificate):
    with OcspClient(module_server) as client:
        response = client.post(ocsp_request(certificate, module_server.ca))
    now = datetime.datetime.utcnow()
    assert response.this_update <= response.produced_at <= now + datetime.timedelta(seconds=1)
    assert response.next_update > now


def test_answers_survive_a_restart(make_server):
    server = make_server()
    good, _ = server.sign("good.example")
    bad, serial = server.sign("bad.example")
    server.control("revoke", serial=serial, reason="keyCompromise")
    before = ask(server, ocsp_request(bad, server.ca))[1].revocation_time
    server.stop()
    server.start()
    assert server.ocsp(good) == "good" and server.ocsp(bad) == "revoked"
    assert ask(server, ocsp_request(bad, server.ca))[1].revocation_time == before


# ---- the setting's forms of an answer ----
def test_the_responder_is_named_by_key_or_by_name(make_server, tmp_path):
    """RFC 6960 §4.2.1 ResponderID: the SHA-1 of the key, or the subject, of the certificate that comes along."""
    for by, server in (("key", make_server()), ("name", make_server(REVLINE_OCSP_RESPONDER_ID="name"))):
        certificate, _ = server.sign("host.example")
        _, response = ask(server, ocsp_request(certificate, server.ca))
        verify_ocsp_signature(response, server.ca)
        responder = response.certificates[0]
        if by == "key":
            assert response.responder_name is None
            assert response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(responder.public_key()).digest
        else:
            assert response.responder_key_hash is None and response.responder_name == responder.subject
        assert openssl_ocsp(server, certificate, tmp_path) == "good"
        assert openssl_ocsp(server, certificate, tmp_path, "-no_nonce") == "good"


def with_extensions(request, extensions=(), single=()):
    """The request with more extensions: (name as asn1crypto has it, critical, value)."""
    parsed = asn1_ocsp.OCSPRequest.load(request)["tbs_request"]
    item = parsed["request_list"][0]
    listed = lambda items: [{"extn_id": i, "critical": c, "extn_value": v} for i, c, v in items]
    tbs = {"request_list": [{"req_cert": item["req_cert"], **({"single_request_extensions": listed(single)} if single else {})}]}
    if extensions:
        tbs["request_extensions"] = listed(extensions)
    return asn1_ocsp.OCSPRequest({"tbs_request": tbs}).dump(force=True)


def preferred(*algorithms):
    return [{"sig_identifier": {"algorithm": a}} for a in algorithms]


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("extension", [
    ("preferred_signature_algorithms", preferred("sha256_ecdsa", "sha256_rsa")),
    ("preferred_signature_algorithms", preferred("sha512_rsa", "sha1_dsa")),
    ("acceptable_responses", ["basic_ocsp_response"]),
    ("acceptable_responses", ["1.2.3.4"]),
], ids=["ours", "others", "basic", "not-basic"])
def test_wishes_are_understood_and_answered_from_the_cache(module_server, certificate, extension, critical):
    """RFC 6960 §4.4.3: basic is what every client takes. §4.4.7.2.1: a supported algorithm signs, and there is one."""
    request = ocsp_request(certificate, module_server.ca)
    signed = lambda: module_server.metrics()["revline_ocsp_signatures_total"]
    ask(module_server, request)
    before = signed()
    _, response = ask(module_server, with_extensions(request, [(extension[0], critical, extension[1])]))
    verify_ocsp_signature(response, module_server.ca)
    assert ocsp_word(response) == "good" and isinstance(response.signature_hash_algorithm, hashes.SHA256)
    assert len(response.extensions) == 0 and signed() == before


@pytest.mark.parametrize("critical", [False, True])
def test_a_service_locator_changes_nothing(module_server, certificate, critical):
    """RFC 6960 §4.4.6: this is the responder in charge of its own certificates, and it asks no other about others."""
    locator = asn1_ocsp.ServiceLocator.load(x509_locator(module_server.ca))
    ours = with_extensions(ocsp_request(certificate, module_server.ca), single=[("service_locator", critical, locator)])
    _, response = ask(module_server, ours)
    assert ocsp_word(response) == "good" and len(response.single_extensions) == 0
    other, issuer = stranger()
    foreign = with_extensions(ocsp_request(other, issuer), single=[("service_locator", critical, locator)])
    assert ask(module_server, foreign)[1].response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


def x509_locator(issuer):
    name = issuer.subject.public_bytes()
    access = x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://elsewhere.example"))]).public_bytes()
    body = name + access
    assert len(body) < 0x80 + 0x80
    return b"\x30" + (bytes([len(body)]) if len(body) < 0x80 else b"\x81" + bytes([len(body)])) + body


# ---- certificates apart from the ordinary ----
def test_the_ca_certificate_itself_is_good(module_server, tmp_path):
    _, response = ask(module_server, ocsp_request(module_server.ca, module_server.ca))
    verify_ocsp_signature(response, module_server.ca)
    assert ocsp_word(response) == "good" and response.serial_number == module_server.ca.serial_number
    assert openssl_ocsp(module_server, module_server.ca, tmp_path) == "good"


def request_with_serial(server, certificate, integer):
    """A request whose serialNumber is this DER, byte for byte."""
    plain = asn1_ocsp.OCSPRequest.load(ocsp_request(certificate, server.ca))
    cert_id = plain["tbs_request"]["request_list"][0]["req_cert"]
    seq = lambda *parts: (lambda body: b"\x30" + bytes([len(body)]) + body)(b"".join(parts))
    fields = [cert_id[name].dump() for name in ("hash_algorithm", "issuer_name_hash", "issuer_key_hash")]
    return seq(seq(seq(seq(seq(*fields, integer)))))


@pytest.mark.parametrize("unissued,word", [("unknown", "unknown"), ("revoked", "hold")])
def test_a_serial_that_no_certificate_has(make_server, unissued, word):
    """Negative, zero and the longest of RFC 5280 §4.1.2.2: answered like any that was not issued, and never another's."""
    server = make_server(REVLINE_OCSP_UNISSUED=unissued)
    certificate, _ = server.sign("host.example")
    magnitude = certificate.serial_number.to_bytes(16, "big").lstrip(b"\0")
    negative = (-certificate.serial_number).to_bytes(17, "big", signed=True)
    while negative[0] == 0xff and negative[1] >= 0x80:
        negative = negative[1:]
    for content in (b"\x00", b"\xff", b"\x80", negative, b"\x7f" * 20, b"\x00" + b"\xff" * 20):
        _, response = ask(server, request_with_serial(server, certificate, bytes([2, len(content)]) + content))
        verify_ocsp_signature(response, server.ca)
        assert ocsp_word(response) == word, content.hex()
        assert response.serial_number == int.from_bytes(content, "big", signed=True)
    good = (b"\0" if magnitude[0] >= 0x80 else b"") + magnitude
    assert ocsp_word(ask(server, request_with_serial(server, certificate, bytes([2, len(good)]) + good))[1]) == "good"


@pytest.mark.parametrize("content", [b"", b"\x00\x2a", b"\x00\x00", b"\xff\x80", b"\x01" * 21], ids=bytes.hex)
def test_a_serial_that_is_no_der_integer_of_rfc_5280_is_malformed(module_server, certificate, content):
    """Leading zeros and ones that DER does not have, nothing at all, and more than 20 octets."""
    body = request_with_serial(module_server, certificate, bytes([2, len(content)]) + content)
    assert ask(module_server, body)[1].response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def expiring(server, seconds):
    """Certificates that end that soon: [good, revoked, on hold]."""
    made = [server.sign(name + ".example", validity="%ds" % seconds) for name in ("good", "revoked", "hold")]
    server.control("revoke", serial=made[1][1], reason="keyCompromise")
    server.control("revoke", serial=made[2][1], reason="certificateHold")
    return [certificate for certificate, _ in made]


def words(server, certificates):
    return [server.ocsp(c) for c in certificates]


def test_an_expired_certificate_is_unknown_unless_it_was_revoked(make_server):
    server = make_server(REVLINE_CERT_VALIDITY="1d")
    certificates = expiring(server, 3)
    eventually(lambda: words(server, certificates) == ["unknown", "revoked", "hold"], "the certificates expire")
    for certificate in certificates:
        assert len(ask(server, ocsp_request(certificate, server.ca))[1].single_extensions) == 0


def archive_cutoff(response):
    """The singleExtension of RFC 6960 §4.4.4, not critical, or None."""
    for extension in response.single_extensions:
        assert extension.oid.dotted_string == "1.3.6.1.5.5.7.48.1.6" and not extension.critical
        return asn1.GeneralizedTime.load(extension.value.value).native.replace(tzinfo=None)


def test_an_archived_status_comes_with_its_cutoff(make_server, tmp_path):
    """RFC 6960 §4.4.4: as long as the archive reaches, the status stays what it was, with producedAt less the retention."""
    server = make_server(REVLINE_OCSP_ARCHIVE="3650d", REVLINE_OCSP_VALIDITY_HOLD="1s", REVLINE_OCSP_VALIDITY_REVOKED="1s")
    certificates = expiring(server, 3)
    answers = lambda: [ask(server, ocsp_request(c, server.ca))[1] for c in certificates]
    for certificate, response in zip(certificates, answers()):
        assert archive_cutoff(response) is None or response.produced_at >= certificate.not_valid_after
    eventually(lambda: all(archive_cutoff(r) for r in answers()), "the certificates are in the archive")
    for response, word in zip(answers(), ("good", "revoked", "hold")):
        verify_ocsp_signature(response, server.ca)
        assert ocsp_word(response) == word
        assert response.produced_at - archive_cutoff(response) == datetime.timedelta(days=3650)
        assert response.next_update > response.this_update
    assert openssl_ocsp(server, certificates[0], tmp_path) == "good"
    server.control("revoke", serial="%X" % certificates[0].serial_number, reason="keyCompromise")
    response = answers()[0]
    assert ocsp_word(response) == "revoked" and archive_cutoff(response)


def test_a_certificate_leaves_the_archive(make_server):
    server = make_server(REVLINE_OCSP_ARCHIVE="2s")
    certificates = expiring(server, 2)
    eventually(lambda: words(server, certificates) == ["unknown", "revoked", "hold"], "they are out of the archive")
    eventually(lambda: archive_cutoff(ask(server, ocsp_request(certificates[0], server.ca))[1]) is None, "no cutoff any more")
