"""SCEP by Intune's challenge: what Intune refuses gets no certificate, and what became of a request reaches Intune."""

import base64
import datetime
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from harness import CHALLENGE, DER, eventually

PATH = "/certsrv/mscep/mscep.dll"
WORD = "opaque+challenge=of/Intune's"
CODES = ["Unknown", "CertificateRequestDecodingFailed", "ChallengePasswordMissing", "ChallengeDeserializationError",
         "ChallengeDecryptionError", "ChallengeDecodingError", "ChallengeInvalidTimestamp", "ChallengeExpired", "SubjectNameMissing",
         "SubjectNameMismatch", "SubjectAltNameMissing", "SubjectAltNameMismatch", "KeyUsageMismatch", "KeyLengthMismatch",
         "EnhancedKeyUsageMissing", "EnhancedKeyUsageMismatch", "AadKeyIdentifierListMissing", "RegisteredKeyMismatch",
         "SigningCertThumbprintMismatch", "ScepProfileNoLongerTargetedToTheClient", "SignatureValidationFailed",
         "BadCertificateRequestIdInChallenge", "BadDeviceIdInChallenge", "BadUserIdInChallenge"]
VALIDATE, SUCCESS, FAILURE = "intune.scep.validateRequest", "intune.scep.successNotification", "intune.scep.failureNotification"


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


@pytest.fixture
def world(graph, synced):
    """A server that does not watch anything, only enrolls; and a device."""
    def make(**settings):
        server = synced(REVLINE_INTUNE_URL="http://localhost:%d/intune-api" % graph.port, REVLINE_SYNC_ENTRA_INTERVAL="0", **settings)
        return server, graph.add("devices", "pc-1")
    return make


def enroll(server, device, signer, challenge=WORD, **more):
    return scep_client.enroll(server.url + PATH, challenge, device["deviceId"], signer=signer, **more)


def issued(server):
    """Those that the profile has issued, whatever their state."""
    return [c for c in server.all_certificates() if c["profile"] == "intune"]


def said(graph, action):
    return [what for name, what, code in graph.scep_actions() if name == action]


def test_a_validated_request_gets_its_certificate_and_intune_knows(world, graph, signer):
    server, device = world()
    csr = scep_client.make_csr(signer.key, device["deviceId"], WORD)
    result = enroll(server, device, signer, csr=csr, transaction_id="0A1B2C")
    assert result.pki_status == "SUCCESS", result
    (asked,) = said(graph, "validateRequest")
    assert asked["transactionId"] == "0A1B2C" and base64.b64decode(asked["certificateRequest"]) == csr
    assert asked["callerInfo"].startswith("Revline/")
    (told,) = said(graph, "successNotification")
    certificate = result.certificate
    assert told["transactionId"] == "0A1B2C" and base64.b64decode(told["certificateRequest"]) == csr
    assert told["certificateThumbprint"] == hashlib.sha1(certificate.public_bytes(DER)).hexdigest().upper()
    assert int(told["certificateSerialNumber"], 16) == certificate.serial_number
    assert told["certificateExpirationDateUtc"] == certificate.not_valid_after.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert told["issuingCertificateAuthority"] == "CN=Revline Root CA" and told["certificateAuthority"]
    assert server.ocsp(certificate) == "good"
    shown = server.control("show", serial=result.serial_hex)
    assert shown["profile"] == "intune" and shown["requester"] == "scep"
    assert certificate.not_valid_after - certificate.not_valid_before < datetime.timedelta(days=367)


@pytest.mark.parametrize("url, host", [("https://ca.contoso.example:8443/pki", "ca.contoso.example"), ("http://[2001:db8::1]:8080", "2001:db8::1")])
def test_intune_is_told_our_host(world, graph, signer, url, host):
    server, device = world(REVLINE_BASE_URL=url)
    assert enroll(server, device, signer).pki_status == "SUCCESS"
    (told,) = said(graph, "successNotification")
    assert told["certificateAuthority"] == host


def test_a_challenge_may_be_as_long_as_intune_makes_it(world, graph, signer):
    server, device = world()
    long = WORD * 700  # 20 kB
    csr = scep_client.make_csr(signer.key, device["deviceId"], long)
    assert enroll(server, device, signer, csr=csr).pki_status == "SUCCESS"
    (asked,) = said(graph, "validateRequest")
    assert base64.b64decode(asked["certificateRequest"]) == csr


def test_alternative_names_are_intunes_to_judge(world, graph, signer):
    """Also a security identifier, which Intune writes there itself; an extension of the request's own it does not look at."""
    server, device = world()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-1105")])
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device["deviceId"])]))
           .add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.7"), WORD.encode()).add_extension(names, False)
           .sign(signer.key, hashes.SHA256()).public_bytes(DER))
    graph.switch("scep_code", "SubjectAltNameMismatch", on=VALIDATE)
    assert "SubjectAltNameMismatch" in enroll(server, device, signer, csr=csr, transaction_id="not theirs").fail_text
    graph.clear("scep_code")
    result = enroll(server, device, signer, csr=csr, transaction_id="theirs")
    assert result.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names


def test_a_renewal_by_certificate_has_no_usage_that_intune_has_not_seen(world, graph, signer):
    """Intune is not asked then. What the profile grants to nobody is left out, as ever."""
    server, device = world(REVLINE_INTUNE_RENEWALS="true")
    first = enroll(server, device, signer).certificate

    def renewed(*usages):
        builder = x509.CertificateSigningRequestBuilder().subject_name(first.subject)
        csr = builder.add_extension(x509.ExtendedKeyUsage(usages), False).sign(signer.key, hashes.SHA256()).public_bytes(DER)
        return scep_client.renew(server.url + PATH, scep_client.Signer(signer.key, first), device["deviceId"], csr=csr)
    refused = renewed(Usage.CLIENT_AUTH, Usage.SMARTCARD_LOGON)
    assert refused.pki_status == "FAILURE" and "extended key usage" in refused.fail_text
    granted = renewed(Usage.CLIENT_AUTH, Usage.OCSP_SIGNING).certificate
    assert list(granted.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [Usage.CLIENT_AUTH]
    assert len(said(graph, "validateRequest")) == 1 and len(issued(server)) == 2


@pytest.mark.parametrize("code", CODES)
def test_what_intune_refuses_gets_no_certificate(world, graph, signer, code):
    server, device = world()
    graph.switch("scep_code", code, on=VALIDATE)
    result = enroll(server, device, signer, transaction_id="refused-1")
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and code in result.fail_text
    assert issued(server) == []
    told = eventually(lambda: said(graph, "failureNotification"), "Intune is told")
    assert told[0]["transactionId"] == "refused-1" and code in told[0]["errorDescription"] and told[0]["hResult"] == 0x80070005


def test_without_a_challenge_intune_is_not_asked(world, graph, signer):
    server, device = world()
    for challenge in (None, ""):
        result = enroll(server, device, signer, challenge=challenge)
        assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest")
    assert graph.scep_actions() == [] and issued(server) == []


def test_another_profiles_challenge_is_nothing_here(world, graph, signer):
    """It is Intune's to judge."""
    server, device = world()
    graph.switch("scep_code", "ChallengeDecodingError", on=VALIDATE)
    assert enroll(server, device, signer, challenge=CHALLENGE).pki_status == "FAILURE"
    assert scep_client.enroll(server.url + "/static", WORD, "host", signer=signer).pki_status == "FAILURE"


@pytest.mark.parametrize("answer", [{"status": 500}, {"status": 403}, {"status": 200, "body": "<html>"}, {"status": 200, "body": "{}"},
                                    {"status": 200, "body": '{"code":null}'}, {"status": 200, "body": '{"code":7}'},
                                    {"status": 200, "body": '["Success"]'}, {"status": 200, "body": '{"code":"no word"}'}],
                         ids=["500", "403", "html", "empty", "null", "number", "list", "words"])
def test_intune_that_cannot_answer_gives_a_failure_and_the_client_comes_again(world, graph, signer, answer):
    server, device = world()
    graph.switch("scep_answer", answer, on=VALIDATE)
    result = enroll(server, device, signer, transaction_id="again")
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and "try again" in result.fail_text
    assert issued(server) == [] and said(graph, "failureNotification") == []
    graph.clear("scep_answer")
    assert enroll(server, device, signer, transaction_id="again").pki_status == "SUCCESS"


def test_a_server_that_is_away_too(world, graph, signer):
    server, device = world(REVLINE_GRAPH_URL="http://127.0.0.1:9")
    result = enroll(server, device, signer)
    assert result.pki_status == "FAILURE" and "try again" in result.fail_text and issued(server) == []


def test_a_request_that_the_profile_refuses_is_told(world, graph, signer):
    server, device = world()
    result = enroll(server, {"deviceId": "no-device"}, signer)
    assert result.pki_status == "FAILURE" and "Entra" in result.fail_text
    told = eventually(lambda: said(graph, "failureNotification"), "Intune is told")
    assert "Entra" in told[0]["errorDescription"] and said(graph, "successNotification") == []


# ---- the notification of success ----
def test_a_certificate_that_intune_refuses_afterwards_is_never_handed_out(world, graph, signer):
    server, device = world()
    graph.switch("scep_code", "BadDeviceIdInChallenge", on=SUCCESS)
    result = enroll(server, device, signer, transaction_id="late")
    assert result.pki_status == "FAILURE" and "BadDeviceIdInChallenge" in result.fail_text
    (certificate,) = issued(server)
    assert (certificate["status"], certificate["reason"]) == ("revoked", "cessationOfOperation")
    eventually(lambda: said(graph, "failureNotification"), "Intune is told")
    graph.clear("scep_code")
    assert enroll(server, device, signer, transaction_id="late").pki_status == "FAILURE"  # not this transaction
    assert enroll(server, device, signer, transaction_id="another").pki_status == "SUCCESS"


def test_a_refusal_that_comes_when_the_client_is_gone_is_a_failure_too(world, graph, signer):
    server, device = world()
    csr = scep_client.make_csr(signer.key, device["deviceId"], WORD)
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    assert "try again" in enroll(server, device, signer, csr=csr, transaction_id="gone").fail_text
    graph.switch("scep_code", "BadDeviceIdInChallenge", on=SUCCESS)
    graph.clear("scep_answer")
    (told,) = eventually(lambda: said(graph, "failureNotification"), "Intune is told")
    assert told["transactionId"] == "gone" and base64.b64decode(told["certificateRequest"]) == csr
    assert "BadDeviceIdInChallenge" in told["errorDescription"] and told["hResult"] == 0x80070005
    eventually(lambda: waiting(server) == 0, "that was all")
    assert [c["status"] for c in issued(server)] == ["revoked"]
    assert "begin another" in enroll(server, device, signer, csr=csr, transaction_id="gone").fail_text
    assert len(said(graph, "failureNotification")) == 1


def poll(server, device, signer, transaction):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device["deviceId"])])
    return scep_client.cert_poll(server.url + PATH, signer, transaction, server.ca.subject, subject)


def test_a_poll_gets_nothing_that_waits_for_intunes_word(world, graph, signer):
    server, device = world()
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    assert enroll(server, device, signer, transaction_id="early").pki_status == "FAILURE"
    assert len(issued(server)) == 1
    result = poll(server, device, signer, "early")
    assert (result.pki_status, result.fail_info, result.certificates) == ("FAILURE", "badCertId", None)
    graph.switch("scep_code", "BadUserIdInChallenge", on=SUCCESS)
    graph.clear("scep_answer")
    eventually(lambda: issued(server)[0]["status"] == "revoked", "Intune has refused it")
    assert poll(server, device, signer, "early").pki_status == "FAILURE"


def test_a_poll_gets_what_waits_for_nobody(world, graph, signer):
    server, device = world(REVLINE_INTUNE_WAIT="false")
    made = enroll(server, device, signer, transaction_id="at once")
    assert poll(server, device, signer, "at once").certificates[0] == made.certificate


def test_intune_is_told_again_until_it_knows(world, graph, signer):
    server, device = world()
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    first = enroll(server, device, signer, transaction_id="slow")
    assert first.pki_status == "FAILURE" and "try again" in first.fail_text
    graph.clear("scep_answer")
    eventually(lambda: said(graph, "successNotification"), "Intune is told without the client")
    second = enroll(server, device, signer, transaction_id="slow")
    assert second.pki_status == "SUCCESS" and len(issued(server)) == 1
    assert len(said(graph, "validateRequest")) == 1 and server.ocsp(second.certificate) == "good"


def test_without_waiting_the_device_gets_its_certificate_at_once(world, graph, signer):
    server, device = world(AppConfig__IntuneValidation__WaitForSuccessNotificationResponse="false")
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    result = enroll(server, device, signer)
    assert result.pki_status == "SUCCESS"
    graph.clear("scep_answer")
    (told,) = eventually(lambda: said(graph, "successNotification"), "Intune is told")
    assert int(told["certificateSerialNumber"], 16) == result.certificate.serial_number


def test_what_was_not_told_is_told_after_a_kill(world, graph, signer):
    server, device = world()
    graph.switch("scep_answer", {"status": 503}, on="intune.scep.successNotification")
    assert enroll(server, device, signer, transaction_id="killed").pki_status == "FAILURE"
    graph.switch("scep_answer", {"status": 503}, on="intune.scep")
    assert enroll(server, device, signer, transaction_id="killed-2").pki_status == "FAILURE"  # nothing is owed of this one
    server.kill()
    graph.clear("scep_answer")
    server.start()
    (told,) = eventually(lambda: said(graph, "successNotification"), "Intune is told after the restart")
    (certificate,) = issued(server)
    assert told["transactionId"] == "killed" and int(told["certificateSerialNumber"], 16) == int(certificate["serial"], 16)
    result = enroll(server, device, signer, transaction_id="killed")
    assert result.pki_status == "SUCCESS" and len(issued(server)) == 1


def test_a_refusal_that_was_not_told_is_told_after_a_kill(world, graph, signer):
    server, device = world()
    graph.switch("scep_code", "ChallengeExpired", on=VALIDATE)
    graph.switch("scep_answer", {"status": 503}, on=FAILURE)
    assert enroll(server, device, signer, transaction_id="owed").pki_status == "FAILURE"
    server.kill()
    graph.clear("scep_answer")
    server.start()
    told = eventually(lambda: said(graph, "failureNotification"), "Intune is told after the restart")
    assert [t["transactionId"] for t in told] == ["owed"]


def test_a_retransmission_is_neither_validated_nor_told_again(world, graph, signer):
    server, device = world()
    first = enroll(server, device, signer, transaction_id="twice")
    second = enroll(server, device, signer, transaction_id="twice")
    assert first.certificate == second.certificate
    assert [name for name, what, code in graph.scep_actions()] == ["validateRequest", "successNotification"]


# ---- the limits of what waits to be told ----
def waiting(server):
    return server.metrics()["revline_scep_intune_queue"]


def test_a_full_queue_issues_nothing(world, graph, signer):
    server, device = world(REVLINE_INTUNE_QUEUE_LIMIT="2", REVLINE_INTUNE_WAIT="false")
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    first = [enroll(server, device, signer, transaction_id="room-%d" % i).certificate for i in range(2)]
    for again in range(2):
        result = enroll(server, device, signer, transaction_id="no-room")
        assert result.pki_status == "FAILURE" and "try again" in result.fail_text
        assert len(issued(server)) == 2 and waiting(server) == 2 and len(said(graph, "validateRequest")) == 2
        assert enroll(server, device, signer, transaction_id="room-0").certificate == first[0]  # its answer again
        if not again:
            server.kill()
            server.start()
    graph.clear("scep_answer")
    eventually(lambda: waiting(server) == 0, "Intune is told")
    assert enroll(server, device, signer, transaction_id="no-room").pki_status == "SUCCESS"
    eventually(lambda: len(said(graph, "successNotification")) >= 3 and waiting(server) == 0, "of each")


def test_strangers_take_no_room_from_certificates(world, graph, signer):
    """Whoever is refused fills a tenth of the queue and no more; one transaction's refusals are one entry."""
    server, device = world(REVLINE_INTUNE_QUEUE_LIMIT="20", REVLINE_INTUNE_WAIT="false")
    graph.switch("scep_code", "ChallengeExpired", on=VALIDATE)
    graph.switch("scep_answer", {"status": 503}, on=FAILURE)
    for transaction in ("one", "one", "one", "two", "three", "four", "five"):
        assert "ChallengeExpired" in enroll(server, device, signer, transaction_id=transaction).fail_text
    assert waiting(server) == 2 and server.log().count("scep.intune_untold") == 3
    graph.clear("scep_code")
    assert enroll(server, device, signer).pki_status == "SUCCESS"
    assert enroll(server, {"deviceId": "no-device"}, signer, transaction_id="validated").pki_status == "FAILURE"
    graph.clear("scep_answer")
    eventually(lambda: waiting(server) == 0, "all that waits is told")
    assert {t["transactionId"] for t in said(graph, "failureNotification")} == {"one", "two", "validated"}


def test_what_intune_refuses_is_a_guess_and_what_it_cannot_say_is_none(world, graph, signer):
    server, device = world(REVLINE_GUESS_LIMIT="3", REVLINE_GUESS_WINDOW="1h")
    graph.switch("scep_answer", {"status": 503}, on=VALIDATE)
    for _ in range(5):
        assert "try again" in enroll(server, device, signer).fail_text
    graph.clear("scep_answer")
    assert enroll(server, {"deviceId": "no-device"}, signer).pki_status == "FAILURE"  # ours to refuse
    graph.switch("scep_code", "ChallengeDecryptionError", on=VALIDATE)
    for _ in range(3):
        assert "ChallengeDecryptionError" in enroll(server, device, signer).fail_text
    graph.clear("scep_code")
    asked = len(said(graph, "validateRequest"))
    with pytest.raises(scep_client.HttpError) as refusal:
        enroll(server, device, signer)
    assert refusal.value.status == 429 and int(refusal.value.headers["Retry-After"]) <= 1200
    assert len(said(graph, "validateRequest")) == asked


def csr_with(signer, cn, octets):
    """A request that is larger by an extension of so many octets."""
    key = signer.key
    return (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn)]))
            .add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.7"), WORD.encode())
            .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes([4, 0x82, *octets.to_bytes(2, "big")]) + b"x" * octets), False)
            .sign(key, hashes.SHA256()).public_bytes(DER))


def move(server, change):
    """The database goes into another folder as JSON lines, of which `change` may make others; the server is stopped."""
    server.stop()
    export = "".join(json.dumps(change(json.loads(line))) + "\n" for line in server.cli("export").stdout.splitlines())
    old = server.data_dir.rename(server.data_dir.with_name("exported"))
    server.data_dir.mkdir(0o700)
    for key in old.glob("*.key"):
        shutil.copy(key, server.data_dir)
    (old / "export.jsonl").write_text(export)
    server.cli("import", str(old / "export.jsonl"))


def test_the_largest_requests(world, graph, signer):
    """All that can wait can be exported and imported; what is larger is not begun."""
    server, device = world(REVLINE_INTUNE_WAIT="false")
    larger = csr_with(signer, device["deviceId"], 33 * 1024)
    assert "larger" in enroll(server, device, signer, csr=larger).fail_text and graph.scep_actions() == []
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    large = csr_with(signer, device["deviceId"], 31 * 1024)
    assert enroll(server, device, signer, csr=large, transaction_id="a" * 255).pki_status == "SUCCESS"
    assert waiting(server) > 40 / 4
    (entry,) = [line for line in map(json.loads, server.cli("export").stdout.splitlines()) if line["type"] == "queue"]
    assert len(base64.b64decode(entry["value"])) > 40 * 1024
    move(server, lambda line: line)
    graph.clear("scep_answer")
    server.start()
    (told,) = eventually(lambda: said(graph, "successNotification"), "Intune is told by the server that has imported it")
    assert base64.b64decode(told["certificateRequest"]) == large and told["transactionId"] == "a" * 255
    eventually(lambda: waiting(server) == 0, "it is told")


def a_week_older(line):
    if line["type"] == "queue":
        entry = json.loads(base64.b64decode(line["value"]))
        entry["at"] -= 7 * 24 * 3600 + 60
        line["value"] = base64.b64encode(json.dumps(entry).encode()).decode()
    return line


@pytest.mark.parametrize("wait", ["true", "false"])
def test_what_could_not_be_told_for_a_week_is_forgotten(world, graph, signer, wait):
    """And what nobody has got then is got by nobody: Intune does not know of it."""
    server, device = world(REVLINE_INTUNE_WAIT=wait)
    graph.switch("scep_answer", {"status": 503}, on=SUCCESS)
    first = enroll(server, device, signer, transaction_id="old")
    assert first.pki_status == ("FAILURE" if wait == "true" else "SUCCESS")
    move(server, a_week_older)
    graph.clear("scep_answer")
    server.start()
    eventually(lambda: "scep.intune_forgotten" in server.log() and waiting(server) == 0, "it is forgotten")
    (certificate,) = issued(server)
    assert said(graph, "successNotification") == []
    assert [t["transactionId"] for t in said(graph, "failureNotification")] == (["old"] if wait == "true" else [])
    if wait == "true":
        assert (certificate["status"], certificate["reason"]) == ("revoked", "cessationOfOperation")
        assert "begin another" in enroll(server, device, signer, transaction_id="old").fail_text
    else:
        assert certificate["status"] == "good"
        assert enroll(server, device, signer, transaction_id="old").certificate == first.certificate
    assert enroll(server, device, signer, transaction_id="new").pki_status == "SUCCESS"


# ---- around it ----
def test_the_services_move(world, graph, signer):
    server, device = world()
    assert enroll(server, device, signer).pki_status == "SUCCESS"
    graph.move_services()
    assert enroll(server, device, signer).pki_status == "SUCCESS"


def test_a_slow_intune_slows_nobody_else(world, graph, signer):
    server, device = world(REVLINE_SYNC_REQUEST_TIMEOUT="60s")
    graph.switch("hold", True, on=VALIDATE)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(enroll, server, device, scep_client.make_signer(), transaction_id="held-%d" % i) for i in range(8)]
        eventually(lambda: len([r for r in graph.requests() if "validateRequest" in r["path"]]) == 8, "all are asked")
        assert scep_client.enroll(server.url + "/static", CHALLENGE, "host", signer=signer).pki_status == "SUCCESS"
        assert not any(w.done() for w in waiting)
        graph.clear("hold")
        assert all(w.result().pki_status == "SUCCESS" for w in waiting)


def test_stopping_while_intune_is_asked(world, graph, signer):
    server, device = world(REVLINE_STOP_TIMEOUT="1s")
    graph.switch("hold", True, on=VALIDATE)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(enroll, server, device, signer)
        eventually(lambda: [r for r in graph.requests() if "validateRequest" in r["path"]], "it is asked")
        server.stop()
        graph.clear("hold")
        assert waiting.exception() is not None or waiting.result().pki_status == "FAILURE"


def test_the_profile_is_off_without_a_login_or_by_setting(make_server, synced):
    assert make_server().http("GET", PATH + "?operation=GetCACaps")[0] == 404
    assert synced(REVLINE_INTUNE_ENROLLMENT="false").http("GET", PATH + "?operation=GetCACaps")[0] == 404
    status, _, body = synced().http("GET", PATH + "/pkiclient.exe?operation=GetCACaps")
    assert status == 200 and b"Renewal" not in body  # only by its setting
