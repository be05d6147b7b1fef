"""EST with curl: enrollment by the profile's challenge, renewal by the certificate itself."""

import base64
import email
import pathlib
import re
import shutil
import ssl
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from asn1crypto import core
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from harness import AAD_CHALLENGE, CHALLENGE, DER, PEM, OcspClient, Revline, client_key, make_csr, openssl

EST = {"REVLINE_HTTPS_LISTEN": "127.0.0.1:0", "REVLINE_EST_LISTEN": "127.0.0.1:0", "REVLINE_SCEP_PROFILES": "wifi",
       "REVLINE_SCEP_WIFI_CHALLENGE": "wifi-challenge", "REVLINE_SCEP_WIFI_KEYS": "rsa3072,ec-p384", "REVLINE_SCEP_WIFI_RENEWALS": "false"}


@pytest.fixture(scope="module")
def shared(templates, tmp_path_factory):
    folder = pathlib.Path(tmp_path_factory.mktemp("est")) / "data"
    shutil.copytree(templates("ec-p256"), folder)
    folder.chmod(0o700)
    server = Revline(folder, {"REVLINE_CA_KEY": "ec-p256", **EST}).start()
    yield server
    server.stop()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def certificates(self):
        assert self.status == 200, (self.status, self.body)
        assert self.headers["content-type"].startswith("application/pkcs7-mime")
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(self.body))


def est(server, operation, folder, data=None, password=None, listener="https", client=None, method=None, token=None):
    """One request by curl, which verifies our TLS certificate. `client`: (certificate, key) of the connection."""
    url = "https://127.0.0.1:%d/.well-known/est/%s" % (server.tls_port(listener), operation)
    command = ["curl", "-sS", "--cacert", server.ca_file(), "-D", str(folder / "head"), "-o", str(folder / "body"), "-w", "%{http_code}"]
    if data is not None:
        (folder / "request").write_bytes(data)
        command += ["-H", "Content-Type: application/pkcs10", "--data-binary", "@" + str(folder / "request")]
    if password is not None:
        (folder / "netrc").write_text("machine 127.0.0.1 login device password %s\n" % password)
        command += ["--netrc-file", str(folder / "netrc")]
    if token is not None:
        (folder / "token").write_text("Authorization: Bearer " + token)
        command += ["-H", "@" + str(folder / "token")]
    if client:
        (folder / "client.pem").write_bytes(client[0].public_bytes(PEM) + client[1].private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        command += ["--cert", str(folder / "client.pem")]
    if method:
        command += ["-X", method]
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=True)
    head = (folder / "head").read_text().strip().split("\r\n\r\n")[-1].split("\n")[1:]
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head if ":" in line)}
    return Answer(int(done.stdout), headers, (folder / "body").read_bytes() if (folder / "body").exists() else b"")


def csr_der(key, cn, **more):
    return x509.load_pem_x509_csr(make_csr(key, cn, **more).encode()).public_bytes(DER)


def serial_of(certificate):
    text = "%X" % certificate.serial_number
    return text if len(text) % 2 == 0 else "0" + text


def lines(octets):
    return base64.encodebytes(octets)


def enrolled(server, folder, cn="est-1", label="", password=CHALLENGE, key=None, **more):
    key = key or client_key()
    answer = est(server, label + "simpleenroll", folder, lines(csr_der(key, cn, **more)), password)
    (certificate,) = answer.certificates
    return certificate, key


def test_the_ca_certificates(shared, tmp_path):
    assert est(shared, "cacerts", tmp_path).certificates == [shared.ca]
    assert est(shared, "static/cacerts", tmp_path).certificates == [shared.ca]


def test_after_a_rollover_each_root_leads_to_the_other(make_server, tmp_path):
    """RFC 7030 §4.1.3. The TLS certificate is below the new root already, and who knows only the old one has to get here."""
    server = make_server(**EST)
    old_ca = pathlib.Path(server.ca_file()).read_bytes()
    old, old_key = enrolled(server, tmp_path, "before")
    server.stop()
    server.cli("init", "--rollover")
    server.start()
    (tmp_path / "old-ca.pem").write_bytes(old_ca)
    before = x509.load_pem_x509_certificate(old_ca)
    after = x509.load_der_x509_certificate(server.http("GET", "/ca")[2])

    def asked(operation, *arguments):
        done = subprocess.run(["curl", "-sS", "--fail", "--cacert", str(tmp_path / "old-ca.pem"), *arguments,
                               "https://127.0.0.1:%d/.well-known/est/%s" % (server.tls_port("est"), operation)], capture_output=True, check=True)
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(done.stdout))
    told = asked("cacerts")
    assert told[0] == after and before in told and len(told) == 4
    new_with_old, = [c for c in told if c not in (before, after) and c.public_key().public_numbers() == after.public_key().public_numbers()]
    old_with_new, = [c for c in told if c not in (before, after) and c.public_key().public_numbers() == before.public_key().public_numbers()]
    assert new_with_old.subject == old_with_new.subject == after.subject == before.subject
    (tmp_path / "key.pem").write_bytes(old_key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (tmp_path / "req").write_bytes(lines(csr_der(old_key, "before")))
    for name, certificate in (("old.pem", old), ("ca.pem", after), ("new-with-old.pem", new_with_old), ("old-with-new.pem", old_with_new)):
        (tmp_path / name).write_bytes(certificate.public_bytes(PEM))
    new, = asked("simplereenroll", "--cert", str(tmp_path / "old.pem"), "--key", str(tmp_path / "key.pem"), "--data-binary", "@" + str(tmp_path / "req"))
    (tmp_path / "new.pem").write_bytes(new.public_bytes(PEM))
    openssl("verify", "-x509_strict", "-CAfile", str(tmp_path / "old-ca.pem"), "-untrusted", str(tmp_path / "new-with-old.pem"), str(tmp_path / "new.pem"))
    openssl("verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.pem"), "-untrusted", str(tmp_path / "old-with-new.pem"), str(tmp_path / "old.pem"))
    for issuer, link in ((after, old_with_new), (before, new_with_old)):
        with OcspClient(server) as client:
            client.issuer = issuer
            assert client.ask(link) == "good"

    server.control("revoke", serial=serial_of(before), reason="keyCompromise")
    assert est(server, "cacerts", tmp_path).certificates == [after]


def test_in_clear_there_is_none(shared):
    for method, path in (("GET", "cacerts"), ("POST", "simpleenroll")):
        status, _, body = shared.http(method, "/.well-known/est/" + path, b"" if method == "POST" else None)
        assert status == 403 and b"TLS" in body


def pem(octets):
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines(octets) + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("form, one_line", [
    (lines, False), (base64.b64encode, True), (lambda d: d, False), (lambda d: lines(d).replace(b"\n", b"\r\n"), False), (pem, False),
    (lambda d: b"\nCertificate Request:\n    Data:\n" + pem(d), False), (lambda d: pem(d).replace(b"\n", b""), True)],
    ids=["lines", "one line", "der", "crlf", "pem", "openssl req -text", "curl --data @pem"])
def test_enrollment(shared, tmp_path, form, one_line):
    key = client_key()
    answer = est(shared, "simpleenroll", tmp_path, form(csr_der(key, "est-device")), CHALLENGE)
    (certificate,) = answer.certificates
    assert (b"\n" in answer.body) != one_line  # in one line to who writes one
    (tmp_path / "p7").write_bytes(b"-----BEGIN PKCS7-----\n" + answer.body.rstrip() + b"\n-----END PKCS7-----")  # as scripts make a file of it
    assert "BEGIN CERTIFICATE" in openssl("pkcs7", "-print_certs", "-in", str(tmp_path / "p7")).stdout
    assert certificate.public_key().public_numbers() == key.public_key().public_numbers()
    (tmp_path / "c.pem").write_bytes(certificate.public_bytes(PEM))
    openssl("verify", "-x509_strict", "-CAfile", shared.ca_file(), str(tmp_path / "c.pem"))
    shown = shared.control("show", serial=serial_of(certificate))
    assert (shown["profile"], shown["requester"], shown["subject"]) == ("static", "est", "CN=est-device")
    assert shared.ocsp(certificate) == "good"


def test_labels_are_profiles(shared, tmp_path):
    request = lines(csr_der(client_key(), "no device"))
    assert est(shared, "nothing/simpleenroll", tmp_path, request, CHALLENGE).status == 404
    assert est(shared, "jamf/simpleenroll", tmp_path, request, CHALLENGE).status == 404  # it is off
    assert est(shared, "static-aad/simpleenroll", tmp_path, request, CHALLENGE).status == 401  # another profile's challenge
    answer = est(shared, "static-aad/simpleenroll", tmp_path, request, AAD_CHALLENGE)
    assert answer.status == 400 and b"Entra" in answer.body
    certificate, _ = enrolled(shared, tmp_path, "7f9a2b14-0000-4000-8000-000000000001", "static-aad/", AAD_CHALLENGE)
    assert shared.ocsp(certificate) == "good"
    answer = est(shared, "wifi/simpleenroll", tmp_path, request, "wifi-challenge")  # its key is P-256
    assert answer.status == 400 and b"accepts none" in answer.body


@pytest.mark.parametrize("password", [None, "", "wrong-challenge", CHALLENGE + "x", CHALLENGE[:-1]])
def test_a_wrong_password_gets_nothing(shared, tmp_path, password):
    before = len(shared.all_certificates())
    answer = est(shared, "simpleenroll", tmp_path, lines(csr_der(client_key(), "thief")), password)
    assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Basic")
    assert len(shared.all_certificates()) == before


@pytest.mark.parametrize("body", [b"", b"nonsense!", base64.b64encode(b"nonsense"), b"\x30\x03\x02\x01\x01", b"=" * 1000])
def test_what_is_no_request_is_refused(shared, tmp_path, body):
    assert est(shared, "simpleenroll", tmp_path, body, CHALLENGE).status == 400


def test_operations_and_methods(shared, tmp_path):
    answer = est(shared, "simpleenroll", tmp_path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert est(shared, "cacerts", tmp_path, b"").status == 404
    assert est(shared, "fullcmc", tmp_path, b"x").status == 404
    assert est(shared, "static/simpleenroll/more", tmp_path, b"x").status == 404
    assert est(shared, "cacerts", tmp_path, method="DELETE").status == 405


# ---- renewal ----
def test_renewal_by_the_certificate(shared, tmp_path):
    certificate, key = enrolled(shared, tmp_path, "renewed-1")
    new = client_key()
    answer = est(shared, "simplereenroll", tmp_path, lines(csr_der(new, "renewed-1")), listener="est", client=(certificate, key))
    (second,) = answer.certificates
    assert second.serial_number != certificate.serial_number and second.subject == certificate.subject
    assert second.public_key().public_numbers() == new.public_key().public_numbers()
    (same_key,) = est(shared, "static/simplereenroll", tmp_path, lines(csr_der(key, "renewed-1")), listener="est", client=(certificate, key)).certificates
    # Who revokes a stolen certificate finds there what came of it.
    renewed = dict(re.findall(r"event=est\.issued .*serial=(\w+) renews=(\S+) repeated=false", shared.log()))
    assert {renewed[serial_of(c)] for c in (second, same_key)} == {serial_of(certificate)} and renewed[serial_of(certificate)] == "-"


def test_renewal_needs_the_certificate(shared, tmp_path):
    request = lines(csr_der(client_key(), "nobody"))
    certificate, key = enrolled(shared, tmp_path, "nobody")
    for more in ({"listener": "est"}, {"listener": "https"}, {"listener": "https", "client": (certificate, key)},
                 {"listener": "est", "password": CHALLENGE}):
        assert est(shared, "simplereenroll", tmp_path, request, **more).status == 401


def test_renewal_is_for_the_same_names_by_the_same_profile(shared, tmp_path):
    certificate, key = enrolled(shared, tmp_path, "mine")
    def renewed(operation, cn, **more):
        return est(shared, operation, tmp_path, lines(csr_der(key, cn, **more)), listener="est", client=(certificate, key))
    assert b"names of the signer" in renewed("simplereenroll", "somebody else").body
    assert renewed("simplereenroll", "mine", upn="admin@contoso.example").status == 403
    assert renewed("static-aad/simplereenroll", "mine").status == 403
    assert renewed("simplereenroll", "mine").status == 200


def test_a_renewal_that_wants_other_names_is_refused(shared, tmp_path):
    """RFC 7030 §4.2.2: ChangeSubjectName beside the old names."""
    certificate, key = enrolled(shared, tmp_path, "old name")
    builder = x509.CertificateSigningRequestBuilder().subject_name(certificate.subject)
    builder = builder.add_attribute(x509.ObjectIdentifier("1.3.6.1.5.5.7.7.36"), b"another name")
    request = lines(builder.sign(key, hashes.SHA256()).public_bytes(DER))
    answer = est(shared, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key))
    assert answer.status == 403 and b"ChangeSubjectName" in answer.body


def test_renewal_by_a_request_of_the_subject_alone(shared, tmp_path):
    """PowerShell's clients of SCEPman make such ones; the alternative names, and whose it is, stay."""
    key = scep_client.make_key()
    old, _ = enrolled(shared, tmp_path, "Ada", "static-aad/", AAD_CHALLENGE, key=key, upn="ada@contoso.example")
    renewed = lambda **more: est(shared, "simplereenroll", tmp_path, lines(csr_der(client_key(), "Ada", **more)), listener="est", client=(old, key))
    (new,) = renewed().certificates
    names = [c.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for c in (old, new)]
    assert names[0] == names[1] and old.subject == new.subject
    shown = [shared.control("show", serial=serial_of(c)) for c in (old, new)]
    assert shown[0]["bindings"] == shown[1]["bindings"] and shown[1]["bindings"]
    assert renewed(upn="eve@contoso.example").status == 403


def test_renewal_needs_a_certificate_that_is_good_now(shared, tmp_path):
    certificate, key = enrolled(shared, tmp_path, "held", key=scep_client.make_key())
    serial = serial_of(certificate)
    request = lines(csr_der(key, "held"))
    shared.control("revoke", serial=serial, reason="certificateHold")
    answer = est(shared, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key))
    assert answer.status == 403 and b"on hold" in answer.body
    shared.control("unrevoke", serial=serial)
    assert est(shared, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key)).status == 200
    shared.control("revoke", serial=serial, reason="keyCompromise")
    answer = est(shared, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key))
    assert answer.status == 403 and b"revoked" in answer.body


def test_renewal_by_a_strangers_certificate(shared, tmp_path):
    stranger = scep_client.make_signer(common_name="mine")
    answer = est(shared, "simplereenroll", tmp_path, lines(csr_der(stranger.key, "mine")), listener="est",
                 client=(stranger.certificate, stranger.key))
    assert answer.status == 403


# ---- retransmission ----
def test_who_asks_again_gets_the_certificate_that_there_is(make_server, tmp_path):
    """An answer was lost. Each request's signature is another, since the key is EC."""
    server = make_server(**EST)
    key, other = client_key(), scep_client.make_key()

    def asked(cn="again", key=key, **more):
        return est(server, "simpleenroll", tmp_path, lines(csr_der(key, cn, **more)), CHALLENGE).certificates[0]
    first = asked()
    assert asked() == first
    server.stop()
    server.start()
    assert asked() == first
    assert len({c.serial_number for c in (first, asked(key=other), asked("another"), asked(upn="again@contoso.example"))}) == 4
    assert asked() == first
    metrics = server.metrics()
    assert metrics['revline_est_requests_total{operation="simpleenroll",result="repeated"}'] == 2  # since the start
    assert metrics['revline_est_requests_total{operation="simpleenroll",result="issued"}'] == 3

    def renewed(old):
        return est(server, "simplereenroll", tmp_path, lines(csr_der(key, "again")), listener="est", client=(old, key)).certificates[0]
    second = renewed(first)
    assert renewed(first) == second != first and renewed(second) not in (first, second)
    server.control("revoke", serial=serial_of(first), reason="superseded")
    third = asked()
    assert third not in (first, second) and server.ocsp(third) == "good"
    assert est(server, "simpleenroll", tmp_path, lines(csr_der(key, "again")), "wrong").status == 401


def test_who_asks_twice_at_once_gets_one(make_server):
    server = make_server(**EST)
    request = lines(csr_der(client_key(), "twice"))
    context = ssl.create_default_context(cafile=server.ca_file())
    basic = "Basic " + base64.b64encode(("device:" + CHALLENGE).encode()).decode()

    def ask(_):
        url = "https://127.0.0.1:%d/.well-known/est/simpleenroll" % server.tls_port("https")
        with urllib.request.urlopen(urllib.request.Request(url, request, {"Authorization": basic}), context=context, timeout=60) as answer:
            return answer.read()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(16)))) == 1


# ---- the rest ----
def test_a_key_made_by_the_server(shared, tmp_path):
    answer = est(shared, "serverkeygen", tmp_path, lines(csr_der(client_key(), "keyless")), CHALLENGE)
    assert answer.status == 200, answer.body
    message = email.message_from_bytes(b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.body)
    key_part, certificate_part = message.get_payload()
    assert key_part.get_content_type() == "application/pkcs8"
    key = serialization.load_der_private_key(key_part.get_payload(decode=True), None)
    (certificate,) = pkcs7.load_der_pkcs7_certificates(certificate_part.get_payload(decode=True))
    assert certificate.public_key().public_numbers() == key.public_key().public_numbers()
    assert certificate.subject.rfc4514_string() == "CN=keyless" and shared.ocsp(certificate) == "good"
    assert answer.headers["cache-control"] == "no-store"
    assert est(shared, "serverkeygen", tmp_path, lines(csr_der(client_key(), "keyless")), "wrong").status == 401


def test_a_key_made_by_the_server_is_for_what_any_request_may_ask(shared, tmp_path):
    """RFC 7030 §4.4.1: of the request only key and signature are ignored."""
    def asked(add):
        builder = add(x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string("CN=keyless")))
        request = lines(builder.sign(client_key(), hashes.SHA256()).public_bytes(DER))
        return [est(shared, operation, tmp_path, request, CHALLENGE).status for operation in ("simpleenroll", "serverkeygen")]
    dns = lambda name: x509.SubjectAlternativeName([x509.DNSName(name)])
    assert asked(lambda b: b.add_extension(dns("keyless.example"), False)) == [200, 200]
    assert asked(lambda b: b.add_extension(dns("*.example"), False)) == [400, 400]
    assert asked(lambda b: b.add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.14"), b"no extensions")) == [400, 400]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string("CN=keyless"))
    for last in "12":  # Windows has several of one type
        builder = builder.add_attribute(x509.ObjectIdentifier("1.3.6.1.4.1.311.13.2." + last), b"a pair")
    request = builder.sign(client_key(), hashes.SHA256()).public_bytes(DER)
    pair = bytes.fromhex("2b0601040182370d02")
    assert est(shared, "serverkeygen", tmp_path, lines(request.replace(pair + b"\2", pair + b"\1")), CHALLENGE).status == 200


@pytest.mark.parametrize("attribute", ["37", "54"])
def test_a_key_that_would_have_to_be_encrypted_is_not_made(shared, tmp_path, attribute):
    """RFC 7030 §4.4.1: DecryptKeyIdentifier, AsymmetricDecryptKeyIdentifier."""
    key = client_key()
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string("CN=keyless"))
           .add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.16.2." + attribute), b"a key of ours")
           .sign(key, hashes.SHA256()).public_bytes(DER))
    before = len(shared.all_certificates())
    answer = est(shared, "serverkeygen", tmp_path, lines(csr), CHALLENGE)
    assert answer.status == 400 and b"encrypted" in answer.body and len(shared.all_certificates()) == before
    assert est(shared, "simpleenroll", tmp_path, lines(csr), CHALLENGE).status == 200  # there it says nothing


def test_what_keys_are_certified(shared, tmp_path):
    def said(label):
        answer = est(shared, label + "csrattrs", tmp_path)
        assert answer.status == 200 and answer.headers["content-type"] == "application/csrattrs"
        attributes = asn1_csr.CRIAttributes.load(base64.b64decode(answer.body).replace(b"\x30", b"\x31", 1))  # there a SET
        return [(a["type"].dotted, a["values"].contents) for a in attributes]
    assert said("wifi/") == [("1.2.840.113549.1.1.1", core.Integer(3072).dump()),
                             ("1.2.840.10045.2.1", core.ObjectIdentifier("1.3.132.0.34").dump())]
    assert said("")[0] == ("1.2.840.113549.1.1.1", core.Integer(2048).dump()) and len(said("")) == 4


def test_other_profiles_certificates_are_renewed_where_a_setting_says_so(make_server, tmp_path):
    """SCEPman's ReenrollmentAllowedCertificateTypes."""
    server = make_server(**EST, AppConfig__DCValidation__RequestPassword="dc-challenge",
                         AppConfig__DCValidation__ReenrollmentAllowedCertificateTypes="IntuneDevice,Static")
    device = "7f9a2b14-0000-4000-8000-000000000002"
    for label, password, cn, more, status in (("", CHALLENGE, "host", {}, 200), ("static-aad/", AAD_CHALLENGE, device, {}, 200),
                                              ("static-aad/", AAD_CHALLENGE, "Ada", {"upn": "ada@contoso.example"}, 403)):
        certificate, key = enrolled(server, tmp_path, cn, label, password, **more)
        answer = est(server, "dc/simplereenroll", tmp_path, lines(csr_der(key, cn, **more)), listener="est", client=(certificate, key))
        assert answer.status == status, (cn, answer.body)
    certificate, key = enrolled(server, tmp_path, "host", "dc/", "dc-challenge")
    answer = est(server, "static/simplereenroll", tmp_path, lines(csr_der(key, "host")), listener="est", client=(certificate, key))
    assert answer.status == 403
