"""The spine: enroll, good, disabled upstream, on hold, enabled, good, deleted, revoked. `openssl ocsp` is the judge."""

import scep_client
from harness import AAD_CHALLENGE, eventually, openssl_ocsp


def follow(server, graph, certificate, change, delete, tmp_path):
    def status(expected):
        eventually(lambda: openssl_ocsp(server, certificate, tmp_path) == expected, "openssl ocsp says %s" % (expected,))

    assert openssl_ocsp(server, certificate, tmp_path) == "good"
    change(False)
    status(("revoked", "certificateHold"))
    change(True)
    status("good")
    delete()
    eventually(lambda: openssl_ocsp(server, certificate, tmp_path)[0] == "revoked"
               and openssl_ocsp(server, certificate, tmp_path)[1] != "certificateHold", "openssl ocsp says revoked for good")


def test_a_device_from_enrolment_to_revocation(graph, synced, tmp_path):
    device = graph.add("devices", "laptop-1")
    server = synced()
    server.sync_round()
    result = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, device["deviceId"])
    assert result.pki_status == "SUCCESS"
    follow(server, graph, result.certificate, lambda on: graph.update("devices", device["id"], accountEnabled=on),
           lambda: graph.delete("devices", device["id"]), tmp_path)
    shown = server.control("show", serial=result.serial_hex)
    assert shown["status"] == "revoked" and shown["why"] == ["deleted"]
    # Gone for good: the object's return does not bring the certificate back.
    graph.add("devices", "laptop-1")
    server.sync_round()
    assert openssl_ocsp(server, result.certificate, tmp_path)[0] == "revoked"


def test_a_user_from_enrolment_to_revocation(graph, synced, tmp_path):
    user = graph.add("users", "Ada.Lovelace@contoso.example")
    server = synced()
    server.sync_round()
    # Names are compared without case.
    result = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, "Ada", upn="ada.lovelace@CONTOSO.example")
    assert result.pki_status == "SUCCESS"
    follow(server, graph, result.certificate, lambda on: graph.update("users", user["id"], accountEnabled=on),
           lambda: graph.delete("users", user["id"], reason="changed"), tmp_path)


def test_an_object_that_appears_after_the_certificate_is_bound_to_it(graph, synced, tmp_path):
    server = synced()
    server.sync_round()
    new = {"id": "0a0a0a0a-0000-4000-8000-000000000001", "deviceId": "0b0b0b0b-0000-4000-8000-000000000002"}
    result = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, new["deviceId"])
    assert openssl_ocsp(server, result.certificate, tmp_path) == "good"
    graph.add("devices", "late", accountEnabled=False, **new)
    eventually(lambda: openssl_ocsp(server, result.certificate, tmp_path) == ("revoked", "certificateHold"), "on hold")


def test_a_disabled_device_starts_on_hold_and_a_deleted_one_gets_nothing(graph, synced, tmp_path):
    disabled = graph.add("devices", "off", accountEnabled=False)
    deleted = graph.add("devices", "gone")
    server = synced()
    server.sync_round()
    graph.delete("devices", deleted["id"])
    server.sync_round()
    result = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, disabled["deviceId"])
    assert openssl_ocsp(server, result.certificate, tmp_path) == ("revoked", "certificateHold")
    refused = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, deleted["deviceId"])
    assert (refused.pki_status, refused.certificate) == ("FAILURE", None)


def test_a_certificate_of_static_is_bound_to_nothing(graph, synced):
    device = graph.add("devices", "laptop-2")
    server = synced()
    server.sync_round()
    _, serial = server.sign(device["deviceId"], "static")
    graph.delete("devices", device["id"])
    server.sync_round()
    assert server.control("show", serial=serial)["bindings"] == [] and server.status_of(serial) == "good"


def test_admin_and_directory_reasons_are_ored(graph, synced):
    """A manual hold outlives the directory's all-clear, and the other way round."""
    device = graph.add("devices", "laptop-3")
    server = synced()
    server.sync_round()
    _, serial = server.sign_for_device(device)
    server.control("revoke", serial=serial, reason="certificateHold")
    graph.update("devices", device["id"], accountEnabled=False)
    eventually(lambda: server.control("show", serial=serial)["why"] == ["manual", "disabled"], "both reasons")
    server.control("unrevoke", serial=serial)
    assert server.status_of(serial) == "hold"
    graph.update("devices", device["id"], accountEnabled=True)
    eventually(lambda: server.status_of(serial) == "good", "good again")
