"""Intune's list of certificates: what it says to be revoked is, for good; and what else is in it, or wrong with it, does nothing."""

import hashlib
import time

import pytest
from cryptography import x509
from harness import DER, OcspClient, client_key, eventually, ocsp_request, openssl_ocsp
from test_est import EST, csr_der, est, lines

LISTED = {"REVLINE_DEVICE_DIRECTORY": "AADAndIntuneAndEndpointlist", "REVLINE_SYNC_ENDPOINT_LIST_INTERVAL": "100ms"}
COLLECTION = "certificateStates"


def thumbprint(certificate):
    return hashlib.sha1(certificate.public_bytes(DER)).hexdigest().upper()


def enlist(graph, certificate, status="none", **more):
    """The certificate as Intune has it; the entry's id."""
    numbers = {"certificateSerialNumber": "%X" % certificate.serial_number, "certificateThumbprint": thumbprint(certificate)}
    entry = graph.add(COLLECTION, "entry/%x" % certificate.serial_number, certificateRevokeStatus=status, **{**numbers, **more})
    return entry["id"]


def catch_up(server):
    """Until a round that began after this call has ended: one may be under way, and the other follows it."""
    server.sync_round()
    server.sync_round()


@pytest.fixture(scope="module")
def shared(watching):
    server, graph = watching(**LISTED)
    device = graph.add("devices", "pc")
    catch_up(server)
    return server, graph, device


@pytest.fixture
def world(shared):
    yield shared
    graph = shared[1]
    graph.clear()
    for entry in graph.objects(COLLECTION):
        graph.forget(COLLECTION, entry["id"])


# ---- what counts ----
@pytest.mark.parametrize("status, answer", [
    ("none", "good"), ("failed", "good"), ("a word of tomorrow", "good"), (None, "good"),
    ("pending", "revoked"), ("issued", "revoked"), ("revoked", "revoked"), ("Revoked", "revoked")])
def test_the_states_of_a_certificate(world, tmp_path, status, answer):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    entry = enlist(graph, certificate)
    catch_up(server)
    assert openssl_ocsp(server, certificate, tmp_path) == "good"
    graph.update(COLLECTION, entry, certificateRevokeStatus=status)
    catch_up(server)
    assert openssl_ocsp(server, certificate, tmp_path) == answer
    with OcspClient(server) as client:
        reason = client.post(ocsp_request(certificate, server.ca)).revocation_reason
    assert reason == (None if answer == "good" else x509.ReasonFlags.privilege_withdrawn)
    assert server.control("show", serial=serial)["why"] == ([] if answer == "good" else ["endpointList"])


def test_it_is_for_good(world):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    entry = enlist(graph, certificate, "revoked")
    catch_up(server)
    assert server.status_of(serial) == "revoked"
    graph.update(COLLECTION, entry, certificateRevokeStatus="none")
    catch_up(server)
    graph.forget(COLLECTION, entry)
    catch_up(server)
    assert server.status_of(serial) == "revoked"


def test_a_certificate_that_is_bound_to_nothing(world):
    server, graph, _ = world
    certificate, serial = server.sign("kiosk", "static")
    enlist(graph, certificate, "issued")
    catch_up(server)
    assert server.status_of(serial) == "revoked"


def colons(text):
    return ":".join(text[i:i + 2] for i in range(0, len(text), 2))


@pytest.mark.parametrize("write", [
    str.lower, colons, lambda t: colons(t.lower()), lambda t: "00" + t, lambda t: "0x" + t.lower(), lambda t: " " + colons(t).replace(":", " ") + " ",
    lambda t: colons("0000" + t).replace(":", "-"), lambda t: t.lstrip("0")],
    ids=["lower", "colons", "lower colons", "leading zeros", "0x", "spaces", "hyphens", "no zeros"])
def test_numbers_in_any_writing(world, write):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    enlist(graph, certificate, "revoked", certificateSerialNumber=write(serial), certificateThumbprint=write(thumbprint(certificate)))
    catch_up(server)
    assert server.status_of(serial) == "revoked"


@pytest.mark.parametrize("wrong", [
    {"certificateThumbprint": "00" * 20}, {"certificateThumbprint": None}, {"certificateThumbprint": ""}, {"certificateThumbprint": "FF" * 32},
    {"certificateSerialNumber": "4A00000012AB"}, {"certificateSerialNumber": None}, {"certificateSerialNumber": "n/a"},
    {"certificateSerialNumber": "1" * 300}], ids=str)
def test_what_is_not_ours_is_skipped_and_counted(world, wrong):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    metric = 'revline_sync_skipped_total{source="endpoint-list"}'
    before = server.metrics().get(metric, 0)
    enlist(graph, certificate, "revoked", certificateIssuerName="CN=Contoso Device CA", **wrong)
    other, other_serial = server.sign_for_device(device)
    enlist(graph, other, "revoked")
    catch_up(server)
    assert server.status_of(other_serial) == "revoked", "the rest of the page counts"
    eventually(lambda: server.metrics().get(metric, 0) > before, "it is counted")
    assert not server.sync("endpoint-list")["lastError"]
    assert server.status_of(serial) == "good"


def test_the_cas_own_certificate_is_not_its_to_revoke(world):
    server, graph, _ = world
    enlist(graph, server.ca, "revoked")
    catch_up(server)
    assert server.control("show", serial="%X" % server.ca.serial_number)["status"] == "good"
    assert not server.sync("endpoint-list")["lastError"]


# ---- odd, but true ----
@pytest.mark.parametrize("switch, value", [
    ("page_size", [1, 3, 2]), ("empty_pages", True), ("repeat_item", True), ("link_encoded", True), ("shuffle", 7), ("id_form", "braces"),
    ("token_uses", 1), ("json", "escapes"), ("json", "unknown_members"), ("json", "surrogates"), ("json", "bom"), ("gzip", "asked")], ids=str)
def test_odd_lists_are_understood(world, switch, value):
    server, graph, device = world
    made = [server.sign_for_device(device) for _ in range(5)]
    entries = [enlist(graph, certificate) for certificate, _ in made]
    graph.switch(switch, value)
    if switch in ("empty_pages", "repeat_item", "link_encoded"):
        graph.switch("page_size", 2)
    graph.revoke_tokens()
    graph.update(COLLECTION, entries[1], certificateRevokeStatus="pending")
    graph.update(COLLECTION, entries[4], certificateRevokeStatus="revoked")
    expected = ["good", "revoked", "good", "good", "revoked"]
    eventually(lambda: [server.status_of(serial) for _, serial in made] == expected, "two are revoked")
    assert graph.applied(switch) > 0


# ---- broken, or lies ----
@pytest.mark.parametrize("switch, value", [
    ("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 503, "html": True}), ("fail", {"status": 404, "code": "ResourceNotFound"}),
    ("fail", {"status": 403, "code": "Forbidden"}), ("fail", {"status": 200}), ("truncate", "wrong"), ("json", "html"), ("json", "no_value"),
    ("json", "wrong_types"), ("json", "deep"), ("loop", True), ("foreign_link", "http://localhost:9")], ids=str)
def test_broken_lists_change_nothing(world, switch, value):
    server, graph, device = world
    good, good_serial = server.sign_for_device(device)
    lost, lost_serial = server.sign_for_device(device)
    enlist(graph, good)
    enlist(graph, lost)
    catch_up(server)
    if switch in ("loop", "foreign_link"):
        graph.switch("page_size", 1)
    graph.switch(switch, value, on=COLLECTION)
    failures = server.sync("endpoint-list")["failures"]
    eventually(lambda: server.sync("endpoint-list")["failures"] > failures, "it fails")
    failures = server.sync("endpoint-list")["failures"]
    graph.update(COLLECTION, graph.objects(COLLECTION)[1]["id"], certificateRevokeStatus="revoked")
    eventually(lambda: server.sync("endpoint-list")["failures"] >= failures + 3, "it fails again and again")
    assert (server.status_of(good_serial), server.status_of(lost_serial)) == ("good", "good")
    if switch == "fail" and value["status"] == 403:
        assert "DeviceManagementConfiguration.Read.All" in server.sync("endpoint-list")["lastError"]
    graph.clear()
    eventually(lambda: server.status_of(lost_serial) == "revoked", "and then it is read")
    assert server.status_of(good_serial) == "good"


def test_an_empty_list_is_an_answer_that_changes_nothing(world):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    enlist(graph, certificate, "revoked")
    catch_up(server)
    graph.switch("empty_list", on=COLLECTION)
    catch_up(server)
    assert server.status_of(serial) == "revoked" and not server.sync("endpoint-list")["lastError"]


# ---- the brake ----
def test_a_mass_of_them_is_held(graph, synced, tmp_path):
    server = synced(REVLINE_SYNC_MASS_LIMIT="2", **LISTED, **EST)
    device = graph.add("devices", "pc")
    catch_up(server)
    made = [server.sign_for_device(device) for _ in range(4)]
    renewed = lambda i: est(server, "simplereenroll", tmp_path, lines(csr_der(client_key(), device["deviceId"])), listener="est",
                            client=(made[i][0], client_key()))
    assert renewed(1).status == 200
    seen = len(graph.requests())
    graph.switch("hold", on=COLLECTION)
    graph.wait(1, since=seen, on=COLLECTION, held=True)
    entries = [enlist(graph, certificate, "revoked") for certificate, _ in made]
    graph.clear("hold")  # one round finds all of them
    change = eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "it is held")[0]
    assert (change["source"], change["certificates"]) == ("endpoint-list", 4)
    assert {server.status_of(serial) for _, serial in made} == {"good"}
    answer = renewed(0)  # by another serial number it would not be revoked with them
    assert answer.status == 403 and b"to be decided" in answer.body
    graph.update(COLLECTION, entries[0], certificateRevokeStatus="none")
    eventually(lambda: server.control("sync-hold")["changes"][0]["certificates"] == 3, "its cause has ended")
    assert renewed(0).status == 200
    server.control("sync-release", id=str(change["id"]))
    assert [server.status_of(serial) for _, serial in made] == ["good", "revoked", "revoked", "revoked"]


# ---- settings ----
def test_it_is_watched_with_its_directory_only(graph, synced):
    server = synced(REVLINE_SYNC_ENDPOINT_LIST_INTERVAL="100ms", REVLINE_SYNC_INTUNE_INTERVAL="100ms")
    device = graph.add("devices", "pc")
    catch_up(server)
    certificate, serial = server.sign_for_device(device)
    enlist(graph, certificate, "revoked")
    catch_up(server)
    assert "endpoint-list" not in server.sync() and graph.requests(on=COLLECTION) == [] and server.status_of(serial) == "good"
    server.stop()
    server.settings.update(LISTED)
    server.start()
    eventually(lambda: server.status_of(serial) == "revoked", "the list is read")
    server.stop()
    server.settings["REVLINE_DEVICE_DIRECTORY"] = "AADAndIntune"
    server.start()
    eventually(lambda: server.sync("reweigh")["rounds"], "weighed")
    assert server.status_of(serial) == "revoked"


def test_the_rule_is_printed(make_server):
    rows = {directory: {(r["object"], r["state"]): r for r in make_server(REVLINE_DEVICE_DIRECTORY=directory).cli_json("sync", "rules")["rules"]}
            for directory in ("AADAndIntune", "AADAndIntuneAndEndpointlist")}
    key = ("certificate in Intune", "revoked")
    assert rows["AADAndIntune"][key]["effect"] == "-"
    assert rows["AADAndIntuneAndEndpointlist"][key] == {
        "object": key[0], "state": key[1], "effect": "revoked", "reason": "endpointList", "setting": "REVLINE_DEVICE_DIRECTORY"}


# ---- AADAndIntuneOpportunistic ----
OPPORTUNISTIC = {"REVLINE_DEVICE_DIRECTORY": "AADAndIntuneOpportunistic", "REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_COMPLIANCE_CHECK": "always"}
FORBIDDEN = {"status": 403, "code": "Forbidden"}


def test_opportunistic_without_permission_is_as_aad(graph, synced):
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    server = synced(**OPPORTUNISTIC)
    graph.add("devices", "another")
    kept, lost, bad, unmanaged = (graph.add("devices", name, isCompliant=name in ("kept", "lost")) for name in ("kept", "lost", "bad", "unmanaged"))
    catch_up(server)
    serials = [server.sign_for_device(d)[1] for d in (kept, lost, bad, unmanaged)]
    graph.delete("devices", lost["id"])
    catch_up(server)
    assert [server.status_of(s) for s in serials] == ["good", "revoked", "hold", "hold"]
    assert not server.sync("intune-device")["lastError"]
    assert server.log().count("sync.without source=intune-device permission=DeviceManagementManagedDevices.Read.All") == 1
    # the permission is given: Intune's word counts, and Entra ID's where it has none
    graph.add("managedDevices", "bad", azureADDeviceId=bad["deviceId"], complianceState="compliant")
    graph.clear()
    eventually(lambda: [server.status_of(s) for s in serials] == ["good", "revoked", "good", "hold"], "as with AADAndIntune")
    server.stop()
    server.start()
    catch_up(server)
    assert [server.status_of(s) for s in serials] == ["good", "revoked", "good", "hold"]


def test_what_opportunistic_does_without_is_not_stale(graph, synced):
    """Or else OCSP would answer tryLater for ever."""
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    server = synced(**OPPORTUNISTIC, REVLINE_SYNC_STALE_AFTER="3s", REVLINE_SYNC_STALE_POLICY="trylater")
    device = graph.add("devices", "pc")
    certificate, _ = server.sign("5c6d0000-0000-4000-8000-000000000001", "static-aad")  # waits for its device in both
    moment = time.monotonic() + 5
    eventually(lambda: time.monotonic() > moment, "it would be stale by now")
    assert "sync.stale source=intune-device" not in server.log()
    graph.update("devices", device["id"], accountEnabled=False)
    catch_up(server)
    assert server.ocsp(certificate) == "good"


def test_opportunistic_with_permission_that_is_taken_back(graph, synced):
    server = synced(**OPPORTUNISTIC)
    device = graph.add("managedDevices", "phone")
    graph.add("managedDevices", "another")
    catch_up(server)
    _, serial = server.sign(device["id"], "static-aad")
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    eventually(lambda: "DeviceManagementManagedDevices.Read.All" in (server.sync("intune-device")["lastError"] or ""), "that is a failure")
    assert server.status_of(serial) == "good"


def test_both_without_permission_is_a_failure(graph, synced):
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    server = synced(**{**OPPORTUNISTIC, "REVLINE_DEVICE_DIRECTORY": "AADAndIntune"})
    eventually(lambda: "DeviceManagementManagedDevices.Read.All" in (server.sync("intune-device")["lastError"] or ""), "it is told")
