"""SCEP's other operations with the tests' own client: renewal, CertPoll, GetCert, GetCRL, rollover; and every form in
which clients write their messages."""

import base64
import datetime
import urllib.parse

import pytest
import scep_client
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import AttributeOID
from harness import AAD_CHALLENGE, CHALLENGE, eventually
from scep_client import Form, Signer

STRANGER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Stranger")])
KEY_TYPES = ["rsa2048", "ec-p256"]


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


@pytest.fixture(params=KEY_TYPES)
def any_server(request, make_server):
    return make_server(key_type=request.param)


def static(server):
    return server.url + "/static"


def enrolled(server, signer, cn="host", **more):
    """A client with a certificate of ours."""
    result = scep_client.enroll(static(server), CHALLENGE, cn, signer=signer, **more)
    assert result.pki_status == "SUCCESS", result.fail_text
    return Signer(signer.key, result.certificate)


def refused(result, info, text):
    assert (result.pki_status, result.fail_info, result.certificate) == ("FAILURE", info, None)
    assert text in result.fail_text


# ---- renewal ----
@pytest.mark.parametrize("message_type", [scep_client.RENEWAL_REQ, scep_client.PKCS_REQ], ids=["RenewalReq", "PKCSReq"])
@pytest.mark.parametrize("rekey", [True, False])
def test_renewal(any_server, signer, message_type, rekey):
    assert "Renewal" in scep_client.get_ca_caps(static(any_server))
    old = enrolled(any_server, signer, dns="host.example")
    key = scep_client.make_key() if rekey else old.key
    renewal = {"message_type": message_type, "key": key, "dns": "host.example", "transaction_id": "renewal-1"}
    result = scep_client.renew(static(any_server), old, "host", **renewal)
    assert result.pki_status == "SUCCESS" and result.certificate != old.certificate
    assert result.certificate.subject == old.certificate.subject
    shown = any_server.control("show", serial=result.serial_hex)
    assert (shown["profile"], shown["status"]) == ("static", "good")
    any_server.stop()
    any_server.start()
    assert scep_client.renew(static(any_server), old, "host", **renewal).certificate == result.certificate
    assert len([c for c in any_server.all_certificates() if c["subject"] == "CN=host"]) == 2
    # The new certificate renews in its turn, and the old one is good to its end.
    assert scep_client.renew(static(any_server), Signer(key, result.certificate), "host", dns="host.example").pki_status == "SUCCESS"
    assert any_server.ocsp(old.certificate) == "good"


def test_the_store_decides_whether_a_certificate_renews(module_server, signer):
    old = enrolled(module_server, signer, "host-hold")
    serial = "%X" % old.certificate.serial_number
    module_server.control("revoke", serial=serial, reason="certificateHold")
    refused(scep_client.renew(static(module_server), old, "host-hold"), "badRequest", "on hold")
    module_server.control("unrevoke", serial=serial)
    assert scep_client.renew(static(module_server), old, "host-hold").pki_status == "SUCCESS"
    module_server.control("revoke", serial=serial, reason="superseded")
    for kind in (scep_client.RENEWAL_REQ, scep_client.PKCS_REQ):
        refused(scep_client.renew(static(module_server), old, "host-hold", message_type=kind, transaction_id="later"), "badRequest", "revoked")


def alternatives(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [core.UTF8String.load(name.value).native for name in names]


def test_a_renewal_cannot_change_who_one_is(module_server, signer):
    url = module_server.url + "/static/aad"
    result = scep_client.enroll(url, AAD_CHALLENGE, "user", upn="who@example.com", signer=signer)
    old = Signer(signer.key, result.certificate)
    text = "subject and alternative names"
    refused(scep_client.renew(url, old, "admin", upn="who@example.com"), "badRequest", text)
    refused(scep_client.renew(url, old, "user", upn="admin@example.com"), "badRequest", text)
    refused(scep_client.renew(url, old, "user", upn=["who@example.com", "admin@example.com"]), "badRequest", text)
    refused(scep_client.renew(static(module_server), old, "user", upn="who@example.com"), "badRequest", "challenge")
    for upn in ("who@example.com", None):  # who says nothing of alternative names keeps them
        renewed = scep_client.renew(url, old, "user", upn=upn)
        assert module_server.control("show", serial=renewed.serial_hex)["bindings"] == module_server.control("show", serial=result.serial_hex)["bindings"]
        assert alternatives(renewed.certificate) == alternatives(result.certificate) == ["who@example.com"]


def test_a_renewal_needs_a_certificate_of_this_ca(module_server, make_server, signer):
    refused(scep_client.renew(static(module_server), signer, "scep client"), "badRequest", "signed by a certificate of this CA")
    elsewhere = enrolled(make_server(key_type="rsa2048"), signer)
    refused(scep_client.renew(static(module_server), elsewhere, "host"), "badRequest", "signed by a certificate of this CA")
    with_challenge = scep_client.enroll(static(module_server), CHALLENGE, "host", signer=elsewhere)
    assert with_challenge.pki_status == "SUCCESS"  # an enrolment is authorised by its challenge, whoever signs


def test_renewals_can_be_turned_off(make_server, signer):
    server = make_server(REVLINE_STATIC_RENEWALS="false")
    assert "Renewal" not in scep_client.get_ca_caps(static(server))
    assert "Renewal" in scep_client.get_ca_caps(server.url + "/static/aad")
    old = enrolled(server, signer)
    refused(scep_client.renew(static(server), old, "host"), "badRequest", "without a challenge")
    assert scep_client.renew(static(server), old, "host", challenge=CHALLENGE).pki_status == "SUCCESS"


# ---- CertPoll, GetCert, GetCRL ----
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_poll_gets_the_transactions_certificate(any_server, signer, method):
    made = enrolled(any_server, signer, transaction_id="poll-1").certificate
    enrolled(any_server, scep_client.make_signer(), transaction_id="poll-1")
    poll = lambda transaction="poll-1", issuer=made.issuer, subject=made.subject: scep_client.cert_poll(
        static(any_server), signer, transaction, issuer, subject, method=method)
    found = poll()
    assert found.pki_status == "SUCCESS" and found.certificates == [made, any_server.ca]
    for wrong in (poll("poll-2"), poll(issuer=STRANGER), poll(subject=STRANGER)):
        refused(wrong, "badCertId", "no certificate of this CA")
    any_server.stop()
    any_server.start()
    assert poll().certificates == [made, any_server.ca]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_any_certificate_of_ours_can_be_got(any_server, signer, method):
    certificate, _ = any_server.sign("by-the-admin.example", profile="server")
    for wanted in (certificate, any_server.ca):
        found = scep_client.get_cert(static(any_server), signer, wanted, method=method)
        assert found.pki_status == "SUCCESS" and found.certificates == [wanted] and found.crls == []
    unknown = scep_client.issuer_and_serial(any_server.ca.subject, 4711)
    refused(scep_client.ask(static(any_server), signer, scep_client.GET_CERT, unknown), "badCertId", "no certificate of this CA")
    # A client asks with the certificate that it got as well as with a self-signed one.
    own = enrolled(any_server, signer)
    assert scep_client.get_cert(static(any_server), own, certificate).certificates == [certificate]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_revocation_list_can_be_got(any_server, signer, method):
    certificate = enrolled(any_server, signer).certificate
    serial = "%X" % certificate.serial_number
    any_server.control("revoke", serial=serial, reason="superseded")
    newest = lambda: x509.load_der_x509_crl(any_server.http("GET", "/crl")[2])
    eventually(lambda: newest().get_revoked_certificate_by_serial_number(certificate.serial_number), "the list has it")
    got = scep_client.get_crl(static(any_server), signer, certificate, method=method)
    assert got.pki_status == "SUCCESS" and got.certificates == [] and len(got.crls) == 1
    assert got.crls[0].is_signature_valid(any_server.ca.public_key())
    assert got.crls[0].public_bytes(serialization.Encoding.DER) == newest().public_bytes(serialization.Encoding.DER)
    assert got.crls[0].get_revoked_certificate_by_serial_number(certificate.serial_number)
    unknown = scep_client.issuer_and_serial(STRANGER, certificate.serial_number)
    refused(scep_client.ask(static(any_server), signer, scep_client.GET_CRL, unknown), "badCertId", "no certificate of this CA")


def test_a_question_is_no_oracle(module_server, signer):
    """Another's ciphertext in one's own question: whatever becomes of it, the answer is the same."""
    url = static(module_server)
    ca = scep_client.get_ca_cert(url)
    certificate = enrolled(module_server, signer).certificate
    questions = [(scep_client.CERT_POLL, scep_client.issuer_and_subject(certificate.issuer, STRANGER)),
                 (scep_client.GET_CERT, scep_client.issuer_and_serial(certificate.issuer, 4711)),
                 (scep_client.GET_CRL, scep_client.issuer_and_serial(STRANGER, 4711))]
    for kind, content in questions:
        answers = {(r.pki_status, r.fail_info, r.fail_text)
                   for tamper in (None, "ciphertext", "padding", "key")
                   for r in [scep_client.ask(url, signer, kind, content, ca=ca, tamper=tamper)]}
        csr = scep_client.make_csr(signer.key, "host", CHALLENGE)
        other = scep_client.ask(url, signer, kind, csr, ca=ca)
        assert answers == {(other.pki_status, other.fail_info, other.fail_text)}


# ---- rollover ----
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_rollover(make_server, signer, key_type):
    server = make_server(key_type=key_type)
    before, held = server.ca, scep_client.get_ca_cert(static(server))
    old = enrolled(server, signer)
    assert "GetNextCACert" not in scep_client.get_ca_caps(static(server))
    assert server.http("GET", "/static?operation=GetNextCACert")[0] == 404
    server.stop()
    server.cli("init", "--rollover")
    server.start()
    assert "GetNextCACert" in scep_client.get_ca_caps(static(server))
    after = scep_client.get_ca_cert(static(server))
    assert after.issuer != before
    told = [after.issuer] if after.recipient == after.issuer else [after.recipient, after.issuer]
    assert scep_client.get_next_ca_cert(static(server), before) == told  # RFC 8894 §4.7.1: and any new RA's
    renewed = scep_client.renew(static(server), old, "host", ca=after)
    assert renewed.pki_status == "SUCCESS"
    assert scep_client.get_cert(static(server), signer, old.certificate).certificates == [old.certificate]
    # who still holds the root (or the RA's certificate) before encrypts to it, and is answered by it
    known = scep_client.Ca(after.issuer, held.recipient, held.content_type)
    assert scep_client.enroll(static(server), CHALLENGE, "late", signer=signer, ca=known).pki_status == "SUCCESS"
    server.stop()
    server.cli("init", "--rollover", "--key", "rsa2048")  # which receives envelopes itself
    server.start()
    for older in (held, after):
        known = scep_client.Ca(scep_client.get_ca_cert(static(server)).issuer, older.recipient, older.content_type)
        assert scep_client.enroll(static(server), CHALLENGE, "later", signer=signer, ca=known).pki_status == "SUCCESS"


# ---- every form of a message ----
def forms():
    yield from (Form(signer_by_ski=True), Form(recipient_by_ski=True), Form(ber=True), Form(ber=True, signer_by_ski=True, recipient_by_ski=True),
                Form(transport="oaep-sha1"), Form(transport="oaep-sha256"), Form(transport="oaep-sha256-mgf1-sha1"),
                Form(transport="oaep-sha512"), Form(transport="oaep-sha256", ber=True),
                Form(signing_time=datetime.datetime.now(datetime.timezone.utc)))


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_every_form_is_read_and_answered_in_kind(any_server, signer, method):
    ca = scep_client.get_ca_cert(static(any_server))
    for form in forms():
        how = {"signer": signer, "form": form, "method": method, "ca": ca}
        result = scep_client.enroll(static(any_server), CHALLENGE, "host", **how)
        assert (result.pki_status, result.transport) == ("SUCCESS", form.transport), (form, result.fail_text)
        asked = scep_client.get_cert(static(any_server), certificate=result.certificate, **how)
        assert asked.certificates == [result.certificate] and asked.transport == form.transport


def test_every_fail_info(module_server, signer):
    url = static(module_server)
    ask = lambda **more: scep_client.enroll(url, CHALLENGE, "host", signer=signer, **more)
    month = datetime.timedelta(days=30)
    now = datetime.datetime.now(datetime.timezone.utc)
    refused(ask(form=Form(transport="oaep-sha224")), "badAlg", "key transport")
    refused(ask(digest="sha1"), "badAlg", "SHA-1")
    refused(ask(cipher="3des"), "badAlg", "3DES")
    refused(ask(tamper="signature"), "badMessageCheck", "signature")
    refused(ask(tamper="key"), "badMessageCheck", "does not open")
    refused(ask(message_type=3), "badRequest", "messageType")
    refused(scep_client.enroll(url, "wrong-challenge", "host", signer=signer), "badRequest", "challenge")
    refused(ask(form=Form(signing_time=now - month)), "badTime", "signingTime")
    refused(ask(form=Form(signing_time=now + month)), "badTime", "signingTime")
    refused(scep_client.cert_poll(url, signer, "nobody's", module_server.ca.subject, STRANGER), "badCertId", "no certificate of this CA")
    assert ask().pki_status == "SUCCESS"


# ---- clients' HTTP ----
def message_for(server, signer, transaction="http"):
    ca = scep_client.get_ca_cert(static(server))
    nonce = b"fedcba9876543210"
    csr = scep_client.make_csr(signer.key, "http", CHALLENGE)
    read = lambda raw: scep_client.read_reply(raw, ca, signer, transaction, nonce, signer.key.public_key())
    return scep_client.make_message(csr, signer, ca.recipient, transaction, nonce), read


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-pki-message"}, {"Content-Type": "application/octet-stream"},
                                     {"Content-Type": "text/plain; charset=utf-8"}, {"Content-Type": "application/x-www-form-urlencoded"},
                                     {"Content-Type": ""}], ids=lambda h: h.get("Content-Type") or ("empty" if h else "none"))
@pytest.mark.parametrize("target", ["/static?operation=PKIOperation", "/static/pkiclient.exe?operation=pkioperation",
                                    "/static?message=&operation=PKIOperation", "/static?operation=PKIOperation&message=ignored"])
def test_a_post_is_its_body(module_server, signer, target, headers):
    message, read = message_for(module_server, signer)
    status, answered, body = module_server.http("POST", target, message, headers)
    assert status == 200 and answered.get_content_type() == "application/x-pki-message"
    assert read(body).pki_status == "SUCCESS"


def as_lines(text):
    return "\n".join(text[i:i + 64] for i in range(0, len(text), 64)) + "\n"


@pytest.mark.parametrize("write", [
    lambda text: urllib.parse.quote(text, safe=""), lambda text: urllib.parse.quote(text, safe="+/="), lambda text: text.replace("+", "%20"),
    lambda text: urllib.parse.quote(as_lines(text)), lambda text: urllib.parse.quote(as_lines(text).replace("\n", "\r\n"), safe="+/="),
    lambda text: text.rstrip("="), lambda text: "%" .join([""] + ["%02x" % ord(c) for c in text])],
    ids=["escaped", "bare", "plus-became-blank", "lines", "crlf", "unpadded", "all-escaped"])
@pytest.mark.parametrize("target", ["/static?operation=PKIOperation&message=%s", "/static/pkiclient.exe?operation=pkioperation&message=%s",
                                    "/static?message=%s&operation=PKIOperation"])
def test_a_get_carries_base64_as_clients_write_it(module_server, signer, target, write):
    message, read = message_for(module_server, signer)
    status, _, body = module_server.http("GET", target % write(base64.b64encode(message).decode()))
    assert status == 200, body
    assert read(body).pki_status == "SUCCESS"


@pytest.mark.parametrize("operation", ["GetCACaps", "getcacaps", "GETCACAPS", "GetCACert", "getcacert"])
@pytest.mark.parametrize("path", ["/static", "/static/pkiclient.exe"])
@pytest.mark.parametrize("message", ["", "&message=", "&message=Revline%20Root%20CA", "&message=0"])
def test_what_is_told_of_the_ca_with_any_message(module_server, operation, path, message):
    status, headers, body = module_server.http("GET", "%s?operation=%s%s" % (path, operation, message))
    plain = module_server.http("GET", "/static?operation=" + operation)
    assert status == 200 and body == plain[2] and headers["Content-Type"] == plain[1]["Content-Type"]


# ---- golden: what an answer is, field by field ----
def test_the_issued_certificate_field_by_field(module_server, signer):
    csr = (x509.CertificateSigningRequestBuilder()
           .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"), x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Example"),
                                    x509.NameAttribute(x509.NameOID.COMMON_NAME, "host-7")]))
           .add_extension(x509.SubjectAlternativeName([x509.DNSName("host-7.example")]), critical=False)
           .add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode())
           .sign(signer.key, scep_client.hashes.SHA256()))
    before = datetime.datetime.utcnow()
    first = scep_client.enroll(static(module_server), None, None, signer=signer, csr=csr.public_bytes(serialization.Encoding.DER)).certificate
    old = Signer(signer.key, first)
    key = scep_client.make_key("ec-p256")
    again = x509.CertificateSigningRequestBuilder().subject_name(csr.subject).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("host-7.example")]), critical=False).sign(key, scep_client.hashes.SHA256())
    second = scep_client.renew(static(module_server), old, None, key=key, csr=again.public_bytes(serialization.Encoding.DER)).certificate
    for certificate, public_key in ((first, signer.key.public_key()), (second, key.public_key())):
        assert certificate.version == x509.Version.v3
        assert certificate.subject == csr.subject and certificate.issuer == module_server.ca.subject
        assert certificate.public_key().public_numbers() == public_key.public_numbers()
        assert certificate.not_valid_before <= before
        assert datetime.timedelta(days=729) < certificate.not_valid_after - certificate.not_valid_before < datetime.timedelta(days=732)
        extensions = {e.oid._name: e for e in certificate.extensions}
        assert not extensions["basicConstraints"].value.ca and extensions["basicConstraints"].critical
        assert extensions["subjectAltName"].value.get_values_for_type(x509.DNSName) == ["host-7.example"]
        assert extensions["subjectKeyIdentifier"].value == x509.SubjectKeyIdentifier.from_public_key(public_key)
        ski = module_server.ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert extensions["authorityKeyIdentifier"].value.key_identifier == ski.digest
        assert extensions["keyUsage"].critical and extensions["keyUsage"].value.digital_signature
    assert first.serial_number != second.serial_number
