"""Bootstrap certificates: a device that is still enrolling gets one that compliance does not count against, and that soon ends."""

import datetime

import pytest
import scep_client
from harness import AAD_CHALLENGE, eventually, openssl_ocsp

CHECKED = {"REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_COMPLIANCE_CHECK": "always"}
BY_INTUNE = "/certsrv/mscep/mscep.dll"
HOLD = ("revoked", "certificateHold")


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


@pytest.fixture
def fleet(graph, synced):
    """A server that has listed both directories, and what adds a device that enrolled so long ago."""
    def make(**settings):
        server = synced(REVLINE_INTUNE_URL="http://localhost:%d/intune-api" % graph.port, **{**CHECKED, **settings})
        graph.add("devices", "another"), graph.add("managedDevices", "another")
        server.sync_round(full=True)
        return server
    return make


def add(graph, name, ago=datetime.timedelta(), **properties):
    device = graph.add("devices", name)
    enrolled = datetime.datetime.utcnow() - ago
    managed = graph.add("managedDevices", name, azureADDeviceId=device["deviceId"], enrolledDateTime=enrolled.isoformat() + "Z",
                        **{"complianceState": "noncompliant", **properties})
    return device, managed


def enroll(server, device_id, signer, path="/static/aad", **more):
    result = scep_client.enroll(server.url + path, AAD_CHALLENGE, device_id, signer=signer, **more)
    assert result.pki_status == "SUCCESS", result
    return result


def left(certificate):
    return certificate.not_valid_after - datetime.datetime.utcnow()


def is_short(result):
    return datetime.timedelta(hours=23) < left(result.certificate) <= datetime.timedelta(hours=24)


def is_ordinary(result):
    return left(result.certificate) > datetime.timedelta(days=300)


@pytest.mark.parametrize("path", ["/static/aad", BY_INTUNE])
def test_until_the_device_is_compliant(fleet, graph, signer, tmp_path, path):
    server = fleet()
    device, managed = add(graph, "pc")
    server.sync_round()
    first = enroll(server, device["deviceId"], signer, path)
    assert is_short(first) and openssl_ocsp(server, first.certificate, tmp_path) == "good"
    shown = server.control("show", serial=first.serial_hex)
    assert shown["bootstrap"] and shown["why"] == [] and shown["profile"] in ("static-aad", "intune")
    assert "bootstrap   its device was enrolling" in server.cli("show", first.serial_hex).stdout
    graph.update("managedDevices", managed["id"], complianceState="compliant")
    server.sync_round()
    second = enroll(server, device["deviceId"], signer, path)
    assert is_ordinary(second) and openssl_ocsp(server, second.certificate, tmp_path) == "good"
    assert not server.control("show", serial=second.serial_hex)["bootstrap"]
    assert "bootstrap" not in server.cli("show", second.serial_hex).stdout
    graph.update("managedDevices", managed["id"], complianceState="noncompliant")
    server.sync_round()
    assert openssl_ocsp(server, second.certificate, tmp_path) == HOLD
    assert openssl_ocsp(server, first.certificate, tmp_path) == "good"  # to its end, soon


def test_it_is_renewed_by_an_ordinary_one(fleet, graph, signer):
    server = fleet()
    device, managed = add(graph, "pc")
    server.sync_round()
    first = enroll(server, device["deviceId"], signer)
    graph.update("managedDevices", managed["id"], complianceState="compliant")
    server.sync_round()
    second = scep_client.renew(server.url + "/static/aad", scep_client.Signer(signer.key, first.certificate), device["deviceId"])
    assert second.pki_status == "SUCCESS" and is_ordinary(second)


def test_from_before_the_device_is_known(fleet, graph, signer):
    """Its Intune id as common name, as on iOS; the device comes, and is not compliant yet."""
    server, phone = fleet(), "5c6d0000-0000-4000-8000-000000000001"
    result = enroll(server, phone, signer)
    assert is_short(result)
    graph.add("managedDevices", "phone", id=phone, complianceState="noncompliant")
    server.sync_round()
    assert server.ocsp(result.certificate) == "good"
    graph.update("managedDevices", phone, managementState="wipeIssued")
    eventually(lambda: server.ocsp(result.certificate) == "revoked", "a wipe counts")


def test_a_device_of_long_ago_is_on_hold_as_ever(fleet, graph, signer, tmp_path):
    server = fleet()
    device, _ = add(graph, "pc", ago=datetime.timedelta(days=1))
    server.sync_round()
    result = enroll(server, device["deviceId"], signer)
    assert is_ordinary(result) and openssl_ocsp(server, result.certificate, tmp_path) == HOLD


def test_the_end_is_counted_from_the_enrolment(fleet, graph, signer):
    server = fleet(REVLINE_COMPLIANCE_BOOTSTRAP="3h")
    device, _ = add(graph, "pc", ago=datetime.timedelta(hours=2))
    server.sync_round()
    result = enroll(server, device["deviceId"], signer)
    assert datetime.timedelta(minutes=59) < left(result.certificate) <= datetime.timedelta(hours=1)


@pytest.mark.parametrize("settings", [{"REVLINE_COMPLIANCE_BOOTSTRAP": "0"}, {"REVLINE_COMPLIANCE_GRACE": "1h"},
                                      {"REVLINE_COMPLIANCE_CHECK": "never"}], ids=["off", "grace", "unchecked"])
def test_settings_without_such_certificates(fleet, graph, signer, settings):
    server = fleet(**settings)
    device, _ = add(graph, "pc")
    server.sync_round()
    result = enroll(server, device["deviceId"], signer)
    assert is_ordinary(result)
    assert server.ocsp(result.certificate) == ("hold" if "REVLINE_COMPLIANCE_BOOTSTRAP" in settings else "good")


def test_a_device_that_is_disabled_or_gone(fleet, graph, signer):
    server = fleet()
    device, managed = add(graph, "pc")
    graph.update("devices", device["id"], accountEnabled=False)
    server.sync_round()
    result = enroll(server, device["deviceId"], signer)
    assert is_short(result) and server.ocsp(result.certificate) == "hold"
    graph.update("managedDevices", managed["id"], managementState="wipeIssued")
    server.sync_round()
    assert server.ocsp(result.certificate) == "revoked"
    refused = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, device["deviceId"], signer=scep_client.make_signer())
    assert refused.pki_status == "FAILURE" and "wiped" in refused.fail_text


def test_the_same_request_again_is_the_same_certificate(fleet, graph, signer):
    server = fleet()
    device, _ = add(graph, "pc")
    server.sync_round()
    csr = scep_client.make_csr(signer.key, device["deviceId"], AAD_CHALLENGE)
    first = enroll(server, device["deviceId"], signer, csr=csr, transaction_id="again")
    assert enroll(server, device["deviceId"], signer, csr=csr, transaction_id="again").certificate == first.certificate


def test_it_is_in_an_export(fleet, graph, signer, make_server, tmp_path):
    server = fleet()
    device, _ = add(graph, "pc")
    server.sync_round()
    result = enroll(server, device["deviceId"], signer)
    path = tmp_path / "export.jsonl"
    path.write_text(server.cli("export").stdout)
    other = make_server(start=False, fresh=True)
    other.cli("import", str(path))
    other.start()
    assert other.control("show", serial=result.serial_hex)["bootstrap"] is True
