"""Attacks on enrollment that no other file has a test for; and that the table of all of them (scep/README.md) is true."""

import datetime
import re

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from harness import AAD_CHALLENGE, CHALLENGE, PEM, ROOT, client_key
from scep_client import Signer
from test_api import API, api
from test_est import EST, csr_der, est, lines, serial_of


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


@pytest.fixture
def server(make_server):
    return make_server(**API)


def static(server):
    return server.url + "/static"


def count(server):
    return len(server.all_certificates())


def refused_by_scep(server, old, cn, **more):
    """A renewal that `old` signs."""
    before = count(server)
    for kind in (scep_client.RENEWAL_REQ, scep_client.PKCS_REQ):
        result = scep_client.renew(static(server), old, cn, message_type=kind, **more)
        assert (result.pki_status, result.fail_info, result.certificate) == ("FAILURE", "badRequest", None)
    assert count(server) == before


def refused_by_est(server, folder, certificate, key, cn):
    before = count(server)
    for label in ("", "static/"):
        answer = est(server, label + "simplereenroll", folder, lines(csr_der(key, cn)), listener="est", client=(certificate, key))
        assert answer.status == 403, (label, answer.status, answer.body)
    assert count(server) == before


def issue_below(issuer_name, issuer_key, cn, key, serial):
    """A certificate that somebody signs who calls himself so."""
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn)])).issuer_name(issuer_name)
            .public_key(key.public_key()).serial_number(serial).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False).sign(issuer_key, hashes.SHA256()))


def test_a_ca_of_the_same_name_renews_nothing(server, signer, tmp_path):
    """With our CA's name, and the serial number of a certificate that there is, and its subject."""
    victim = scep_client.enroll(static(server), CHALLENGE, "victim", signer=signer).certificate
    forged = issue_below(server.ca.subject, client_key(), "victim", signer.key, victim.serial_number)
    refused_by_scep(server, Signer(signer.key, forged), "victim")
    refused_by_est(server, tmp_path, forged, signer.key, "victim")


def test_certificates_of_a_subordinate_ca_renew_nothing(server, signer, tmp_path):
    """Neither what it certifies, though our root is above it, nor its own, nor what it says it were our root's."""
    victim = scep_client.enroll(static(server), CHALLENGE, "victim", signer=signer).certificate
    key = scep_client.make_key()
    csr = x509.load_der_x509_csr(csr_der(key, "Sub CA")).public_bytes(PEM).decode()
    sub = x509.load_pem_x509_certificate(server.control("sign", csr=csr, profile="subca", **{"any-name": True, "eku": ["clientAuth"]})["certificate"].encode())
    leaf = issue_below(sub.subject, key, "victim", signer.key, victim.serial_number)
    lie = issue_below(server.ca.subject, key, "victim", signer.key, victim.serial_number)
    for imported in (False, True):  # then it is an issuer that is answered for
        for certificate in (leaf, lie):
            refused_by_scep(server, Signer(signer.key, certificate), "victim")
            refused_by_est(server, tmp_path, certificate, signer.key, "victim")
        if not imported:
            (tmp_path / "both.pem").write_bytes(sub.public_bytes(PEM) + leaf.public_bytes(PEM))
            server.cli("import", str(tmp_path / "both.pem"))
    refused_by_scep(server, Signer(key, sub), "Sub CA")
    refused_by_est(server, tmp_path, sub, key, "Sub CA")


@pytest.mark.parametrize("profile", ["client", "server"])
def test_an_admins_certificates_renew_nothing(server, signer, tmp_path, profile):
    """No profile of enrollment has made them."""
    certificate, _ = server.sign("by hand", profile, key=signer.key)
    refused_by_scep(server, Signer(signer.key, certificate), "by hand")
    refused_by_est(server, tmp_path, certificate, signer.key, "by hand")


def test_a_compromised_key_is_never_certified_again(server, tmp_path):
    """By no way, whoever asks and in whatever name; nor does it renew its other certificates."""
    thief, other = scep_client.make_signer(), scep_client.make_signer()
    first, second = (scep_client.enroll(static(server), CHALLENGE, cn, signer=thief).certificate for cn in ("first", "second"))
    server.control("revoke", serial="%X" % first.serial_number, reason="keyCompromise")
    before = count(server)
    result = scep_client.enroll(static(server), CHALLENGE, "third", signer=thief)
    assert (result.pki_status, result.fail_info, result.certificate) == ("FAILURE", "badRequest", None)
    answer = est(server, "simpleenroll", tmp_path, lines(csr_der(thief.key, "third")), CHALLENGE)
    assert (answer.status, b"make another key" in answer.body) == (400, True)
    request = tmp_path / "third.csr"
    request.write_bytes(x509.load_der_x509_csr(csr_der(thief.key, "third")).public_bytes(PEM))
    for profile in ("client", "server"):
        assert "make another key" in server.cli("sign", str(request), "--profile", profile, code=1).stderr
    assert count(server) == before
    refused_by_scep(server, Signer(thief.key, second), "second", key=other.key)
    answer = est(server, "simplereenroll", tmp_path, lines(csr_der(other.key, "second")), listener="est", client=(second, thief.key))
    assert answer.status == 403
    assert scep_client.enroll(static(server), CHALLENGE, "third", signer=other).pki_status == "SUCCESS"


def test_nobody_enrolls_as_this_server(make_server, signer, tmp_path):
    """Other servers' names are what a fleet's challenge is for."""
    server = make_server(**API, REVLINE_BASE_URL="https://pki.contoso.example")

    def request(name):
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")]))
        return (builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
                .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
                .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode()).sign(signer.key, hashes.SHA256()))
    for name, refused in (("pki.contoso.example", True), ("www.contoso.example", False)):
        csr = request(name).public_bytes(serialization.Encoding.DER)
        result = scep_client.enroll(static(server), CHALLENGE, "web", signer=signer, csr=csr)
        assert (result.pki_status, result.fail_info) == (("FAILURE", "badRequest") if refused else ("SUCCESS", None))
        assert est(server, "simpleenroll", tmp_path, lines(csr), CHALLENGE).status == (400 if refused else 200)
    assert server.cli_json("issue", "--cn", "pki", "--profile", "server", "--san", "DNS:pki.contoso.example", "--out", str(tmp_path / "own.pem"),
                           "--key-out", str(tmp_path / "own.key"))


@pytest.mark.parametrize("label", ["server", "client", "subca", "ocsp", "scep-ra", "ca", "intune", "jamf", "static%00", "STATIC", "static/wifi", "wif", "wifi2"])
def test_labels_that_nobody_enrolls_by(server, tmp_path, label):
    """Profiles of the admin and the CA, Intune's without Intune, and what is none."""
    request = lines(csr_der(client_key(), "thief"))
    assert est(server, label + "/simpleenroll", tmp_path, request, CHALLENGE).status in (400, 404)
    assert server.http("GET", "/scep/%s?operation=GetCACaps" % label)[0] == 404
    assert api(server, "POST", "/api/challenge", {"profile": label})[0] == 400
    assert "CN=thief" not in [c["subject"] for c in server.all_certificates()]


def test_a_message_that_somebody_has_recorded(server, signer):
    """Sent again it makes no second certificate, and its answer is encrypted to who sent it first."""
    recorded = []

    def record(message):
        recorded.append(message)
        return message
    first = scep_client.enroll(static(server), CHALLENGE, "victim", signer=signer, tamper=record)
    before = count(server)
    answer = scep_client.pki_operation(static(server), recorded[0])
    assert count(server) == before
    ca, thief = scep_client.get_ca_cert(static(server)), scep_client.make_signer()
    with pytest.raises((scep_client.ScepError, ValueError)):
        scep_client.read_reply(answer, ca, thief, first.transaction_id, b"", thief.key.public_key())


def test_a_challenge_of_another_profile_by_est(server, tmp_path):
    before = count(server)
    for label, challenge in (("static-aad/", CHALLENGE), ("wifi/", CHALLENGE), ("static/", AAD_CHALLENGE), ("", "wifi-challenge")):
        for operation in ("simpleenroll", "serverkeygen"):
            answer = est(server, label + operation, tmp_path, lines(csr_der(client_key(), "7f9a2b14-0000-4000-8000-000000000009")), challenge)
            assert answer.status == 401
    assert count(server) == before


def test_a_certificate_renews_no_other_ones_name(server, signer, tmp_path):
    """By EST under the label of another profile, and for a subject that another has."""
    mine = scep_client.enroll(static(server), CHALLENGE, "mine", signer=signer).certificate
    scep_client.enroll(static(server), CHALLENGE, "victim", signer=scep_client.make_signer())
    refused_by_scep(server, Signer(signer.key, mine), "victim")
    refused_by_est(server, tmp_path, mine, signer.key, "victim")
    assert est(server, "wifi/simplereenroll", tmp_path, lines(csr_der(signer.key, "mine")), listener="est",
               client=(mine, signer.key)).status == 403


def test_a_name_that_was_ones_own_is_not_renewed(graph, synced, signer, tmp_path):
    """Who was renamed keeps a certificate with the old name, which the directory gives to the next one."""
    ada = graph.add("users", "ada", onPremisesSecurityIdentifier="S-1-5-21-1-2-3-1105")
    server, upn = synced(**EST, REVLINE_CERT_SID_EXTENSION="true"), ada["userPrincipalName"]
    server.sync_round()
    url = server.url + "/static/aad"
    old = scep_client.enroll(url, AAD_CHALLENGE, "Ada", upn=upn, signer=signer).certificate

    def renewed():
        """By SCEP and by EST."""
        by_scep = scep_client.renew(url, Signer(signer.key, old), "Ada", upn=upn)
        request = lines(csr_der(scep_client.make_key(), "Ada", upn=upn))
        by_est = est(server, "simplereenroll", tmp_path, request, listener="est", client=(old, signer.key))
        return (by_scep.pki_status, by_est.status)
    assert renewed() == ("SUCCESS", 200)
    before = count(server)
    graph.update("users", ada["id"], userPrincipalName="lovelace@contoso.example")
    server.sync_round()
    assert renewed() == ("FAILURE", 403)
    graph.add("users", "another ada", userPrincipalName=upn, onPremisesSecurityIdentifier="S-1-5-21-1-2-3-500")
    server.sync_round()
    assert renewed() == ("FAILURE", 403)
    assert count(server) == before and server.ocsp(old) == "good"


def test_a_renewal_without_the_old_key(server, signer):
    """Certificates are public: GetCert gives them to anybody. (In TLS the handshake asks for the key.)"""
    mine = scep_client.enroll(static(server), CHALLENGE, "mine", signer=signer).certificate
    thief = scep_client.make_key()
    before = count(server)
    result = scep_client.renew(static(server), Signer(thief, mine), "mine", key=thief)
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badMessageCheck")
    assert count(server) == before and server.status_of(serial_of(mine)) == "good"


def test_the_table_of_attacks_is_true():
    """Each attack has a test, and the tests are there."""
    text = (ROOT / "scep/README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Attacks$(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
    rows = [row for row in re.findall(r"^\| (.*) \|$", section, re.M)[2:] if not row.startswith("**")]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(test_\w+)\.(py|c)::(test_\w+)`", row)
        assert named, "no test shows this: " + row
        for file, kind, test in named:
            found = [p for p in (ROOT / "tests").rglob("%s.%s" % (file, kind)) if re.search(r"\b%s\(" % test, p.read_text(encoding="utf-8"))]
            assert found, "%s.%s::%s" % (file, kind, test)
