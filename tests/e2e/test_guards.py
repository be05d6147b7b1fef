"""The brake on mass changes and the grace for new devices: what is held, what goes on meanwhile, and what an admin decides."""
import time

import pytest
from harness import CommandFailed, eventually, jamf_settings, one_round

LIMIT = {"REVLINE_SYNC_MASS_LIMIT": "5"}


class Fleet:
    """Ten devices and a user, each with a certificate."""

    def __init__(self, server, graph):
        self.server, self.graph = server, graph
        self.devices = [graph.add("devices", "d%02d" % i) for i in range(10)]
        self.user = graph.add("users", "u")
        server.sync_round()
        self.made = [server.sign_for_device(d) for d in self.devices]
        self.user_serial = server.sign_for_user(self.user)[1]

    def delete(self, devices, **more):
        with one_round(self.graph):
            for device in devices:
                self.graph.delete("devices", device["id"], **more)

    def statuses(self):
        return [self.server.status_of(serial) for _, serial in self.made]

    def changes(self, state=None):
        return [c for c in self.server.control("sync-hold")["changes"] if state in (None, c["state"])]

    def held(self):
        return eventually(lambda: self.changes("held"), "a change is held; now %s" % self.changes())[0]


@pytest.fixture
def fleet(graph, synced):
    return lambda **settings: Fleet(synced(**{**LIMIT, **settings}), graph)


@pytest.mark.parametrize("page_size", [None, 3])
def test_a_mass_deletion_waits_and_holds_nothing_else_back(fleet, graph, page_size):
    fleet = fleet()
    server = fleet.server
    if page_size:
        graph.switch("page_size", page_size)
    fleet.delete(fleet.devices[:8])
    change = fleet.held()
    assert (change["source"], change["certificates"]) == ("entra-device", 8)
    assert {c["serial"] for c in change["sample"]} == {serial for _, serial in fleet.made[:8]}
    assert {(c["wouldBe"], *c["why"]) for c in change["sample"]} == {("revoked", "deleted")}
    waits = server.control("show", serial=fleet.made[0][1])
    assert (waits["status"], waits["held"]) == ("good", {"change": change["id"], "why": ["deleted"]})
    assert "revoked (deleted)" in server.cli("sync", "hold").stdout
    assert "held        deleted waits in change %d" % change["id"] in server.cli("show", fleet.made[0][1]).stdout
    assert fleet.statuses() == ["good"] * 10
    assert server.ocsp(fleet.made[0][0]) == "good"
    # Another source, and a later and smaller round of the same.
    graph.update("users", fleet.user["id"], accountEnabled=False)
    graph.update("devices", fleet.devices[9]["id"], accountEnabled=False)
    eventually(lambda: server.status_of(fleet.user_serial) == "hold" and fleet.statuses() == ["good"] * 9 + ["hold"], "they go on")
    # It is seen.
    body = server.control("status")
    assert body["status"] == "degraded" and body["parts"]["sync"]["entra-device"]["heldCertificates"] == 8
    assert server.metrics()['revline_sync_held_changes{source="entra-device"}'] == 1
    assert "event=sync.held source=entra-device" in server.log()
    assert "8 certificates held: revline sync hold" in server.cli("status").stdout
    assert "and 1 more" not in server.cli("sync", "hold").stdout
    # Decided.
    reply = server.cli_json("sync", "release", str(change["id"]))
    assert reply["changed"] == 8 and fleet.statuses() == ["revoked"] * 8 + ["good", "hold"]
    assert server.ocsp(fleet.made[0][0]) == "revoked"
    assert fleet.changes() == [] and server.metrics()['revline_sync_held_changes{source="entra-device"}'] == 0
    assert server.control("status")["status"] == "ok"
    assert server.cli("sync", "hold").stdout == "no mass change waits\n"


def test_up_to_the_limit_is_applied(fleet, graph):
    fleet = fleet()
    graph.switch("page_size", 2)
    fleet.delete(fleet.devices[:5])
    eventually(lambda: fleet.statuses() == ["revoked"] * 5 + ["good"] * 5, "five are revoked")
    eventually(lambda: fleet.changes() == [], "nothing waits")


def test_dropped_until_a_full_round_finds_the_same(fleet, graph):
    fleet = fleet()
    server = fleet.server
    fleet.delete(fleet.devices[:8], reason="changed")
    first = fleet.held()
    assert "8 certificates stay" in server.cli("sync", "drop", str(first["id"])).stdout
    server.sync_round()
    assert fleet.changes("held") == [] and fleet.statuses() == ["good"] * 10
    assert server.control("status")["status"] == "ok"
    server.sync_round(full=True)
    assert fleet.held()["certificates"] == 8 and fleet.statuses() == ["good"] * 10
    # The directory has them again: there is nothing to decide any more.
    with one_round(fleet.graph):
        for device in fleet.devices[:8]:
            graph.restore("devices", device["id"])
    eventually(lambda: fleet.changes() == [], "the change is gone")
    assert fleet.statuses() == ["good"] * 10


def test_a_share_of_the_certificates_of_the_source(graph, synced):
    """52 of 532 are less than a tenth; 480 of 480 are not. Users' certificates do not count."""
    server = synced()
    devices = [graph.add("devices", "d%02d" % i) for i in range(53)]
    user = graph.add("users", "u")
    server.sync_round()
    for _ in range(60):
        server.sign_for_user(user)
    kept = [server.sign_for_device(devices[52])[1] for _ in range(480)]
    fleet = Fleet.__new__(Fleet)
    fleet.server, fleet.graph, fleet.made = server, graph, [server.sign_for_device(d) for d in devices[:52]]
    fleet.delete(devices[:52])
    eventually(lambda: set(fleet.statuses()) == {"revoked"}, "all are revoked; waiting: %s" % fleet.changes())
    fleet.delete(devices[52:])
    assert fleet.held()["certificates"] == 480
    assert {server.status_of(serial) for serial in kept} == {"good"}


def test_other_rules_that_hit_many_are_held(fleet, graph):
    fleet = fleet(REVLINE_SYNC_INTUNE_INTERVAL="100ms")
    server = fleet.server
    for device in fleet.devices[:8]:
        graph.add("managedDevices", device["id"], azureADDeviceId=device["deviceId"], complianceState="noncompliant")
    server.sync_round()
    server.stop()
    server.settings["REVLINE_COMPLIANCE_CHECK"] = "always"
    server.start()
    change = fleet.held()
    assert (change["source"], change["certificates"]) == ("reweigh", 8) and fleet.statuses() == ["good"] * 10
    server.cli("sync", "release", str(change["id"]))
    assert fleet.statuses() == ["hold"] * 8 + ["good"] * 2


def test_a_mass_deletion_in_jamf_pro_is_held(jamf, make_server):
    server = make_server(**jamf_settings(jamf, **LIMIT))
    macs = [jamf.add("computers", "mac %d" % i) for i in range(9)]
    jamf.add("devices", "a phone"), jamf.add("users", "Ada@contoso.example")
    server.sync_round()
    serials = [server.sign(str(mac["id"]), "jamf", ou="computers")[1] for mac in macs]
    server.stop()
    for mac in macs[:8]:
        jamf.delete("computers", mac["id"])
    server.start()
    changes = eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "it is held")
    assert [(c["source"], c["certificates"]) for c in changes] == [("jamf-computer", 8)]
    assert {server.status_of(serial) for serial in serials} == {"good"}
    server.control("sync-release", id=str(changes[0]["id"]))
    assert [server.status_of(serial) for serial in serials] == ["revoked"] * 8 + ["good"]


def test_decided_while_no_server_runs(fleet, graph):
    fleet = fleet()
    server = fleet.server
    fleet.delete(fleet.devices[:8])
    change = fleet.held()
    server.stop()
    assert [c["id"] for c in server.cli_json("sync", "hold")["changes"]] == [change["id"]]
    assert server.cli_json("sync", "release", str(change["id"]))["changed"] == 8
    server.start()
    assert fleet.statuses() == ["revoked"] * 8 + ["good"] * 2


def test_wrong_calls(fleet):
    server = fleet().server
    for arguments, code in [(("release",), 2), (("drop",), 2), (("hold", "1"), 2), (("entra-device", "1"), 2),
                            (("release", "1"), 1), (("drop", "x"), 1), (("release", "99999999999999999999"), 1)]:
        server.cli("sync", *arguments, code=code)
    with pytest.raises(CommandFailed, match="no number of a held change"):
        server.control("sync-release")


# ---- new devices ----
def test_a_device_that_never_comes_loses_its_certificate_after_the_grace(graph, synced):
    server = synced(REVLINE_DEVICE_DIRECTORY="AAD", REVLINE_SYNC_NEW_DEVICE_GRACE="1s", REVLINE_SYNC_FULL_INTERVAL="1s")
    device = graph.add("devices", "known")
    _, known = server.sign_for_device(device)
    certificate, unknown = server.sign("0a0b0c0d-1111-2222-3333-444455556666", "static-aad")
    eventually(lambda: server.status_of(unknown) == "revoked", "it is revoked")
    assert server.ocsp(certificate) == "revoked" and server.status_of(known) == "good"
    assert server.control("show", serial=unknown)["why"] == ["deleted"]


@pytest.mark.parametrize("directory, gone", [("Intune", "tablet"), ("AAD", "phone"), ("AADAndIntuneOpportunistic", None)])
def test_what_a_directory_that_is_watched_no_longer_has_known_vouches_for_nobody(graph, synced, directory, gone):
    """A tablet that Entra ID alone knows, a phone that Intune alone knows, a computer in both; then one of the two is the directory."""
    tablet, computer, phone = graph.add("devices", "tablet"), graph.add("devices", "computer"), graph.add("managedDevices", "phone")
    graph.add("managedDevices", "computer", azureADDeviceId=computer["deviceId"])
    server = synced(REVLINE_SYNC_NEW_DEVICE_GRACE="1s", REVLINE_SYNC_FULL_INTERVAL="1s", REVLINE_SYNC_INTUNE_INTERVAL="100ms")
    server.sync_round()
    serials = {"tablet": server.sign_for_device(tablet)[1], "computer": server.sign_for_device(computer)[1], "phone": server.sign(phone["id"], "static-aad")[1]}
    looked(server)
    assert {server.status_of(serial) for serial in serials.values()} == {"good"}
    server.stop()
    server.settings["REVLINE_DEVICE_DIRECTORY"] = directory
    server.start()
    eventually(lambda: {name for name, serial in serials.items() if server.status_of(serial) == "revoked"} == ({gone} - {None}), "revoked is " + str(gone))
    looked(server)
    assert {name for name, serial in serials.items() if server.status_of(serial) == "revoked"} == ({gone} - {None})


def test_many_of_them_are_held(graph, synced):
    """Their grace ends for all at once: the server is started anew with a shorter one, and no full round has been since the first."""
    server = synced(REVLINE_DEVICE_DIRECTORY="AAD", **LIMIT)
    graph.add("devices", "known")
    serials = [server.sign("0a0b0c0d-1111-2222-3333-44445555666%d" % i, "static-aad")[1] for i in range(8)]
    last = time.time()
    eventually(lambda: time.time() > last + 3, "each of them, of whatever second, is older than the grace")
    server.sync_round(full=True)  # has looked for them all
    server.stop()
    server.settings.update({"REVLINE_SYNC_NEW_DEVICE_GRACE": "1s", "REVLINE_SYNC_FULL_INTERVAL": "1s"})
    server.start()
    changes = eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "they are held")
    assert (changes[0]["source"], changes[0]["certificates"]) == ("guard", 8)
    assert {server.status_of(serial) for serial in serials} == {"good"}


WITHOUT = {"REVLINE_SYNC_NEW_DEVICE_GRACE": "1s", "REVLINE_SYNC_FULL_INTERVAL": "1s", "REVLINE_SYNC_INTUNE_INTERVAL": "100ms"}
FORBIDDEN = {"status": 403, "code": "Forbidden"}


def looked(server, times=4):
    before = server.sync("guard")["rounds"]
    eventually(lambda: server.sync("guard")["rounds"] >= before + times, "the guard has looked after the grace")


def test_opportunistic_judges_by_entra_alone_when_intune_may_not_be_read(graph, synced):
    server = synced(start=False, REVLINE_DEVICE_DIRECTORY="AADAndIntuneOpportunistic", **WITHOUT)
    device = graph.add("devices", "known")
    graph.switch("hold", on="managedDevices")
    server.start()
    _, known = server.sign_for_device(device)
    _, unknown = server.sign("0a0b0c0d-1111-2222-3333-444455556666", "static-aad")
    looked(server)
    assert server.status_of(unknown) == "good", "whether Intune may be read is not known yet"
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    graph.clear("hold")
    eventually(lambda: server.status_of(unknown) == "revoked", "it is revoked")
    assert server.status_of(known) == "good" and server.control("show", serial=unknown)["why"] == ["deleted"]
    # what is known of the permission survives a restart; and the permission comes
    server.stop()
    server.start()
    _, second = server.sign("0a0b0c0d-1111-2222-3333-444455556667", "static-aad")
    eventually(lambda: server.status_of(second) == "revoked", "that one, too")
    phone = graph.add("managedDevices", "phone")
    graph.clear()
    eventually(lambda: server.sync("intune-device")["objects"] > 0, "Intune is read")
    _, managed = server.sign(phone["id"], "static-aad")
    looked(server)
    assert server.status_of(managed) == "good", "Intune counts"


def test_who_wants_intune_too_judges_nobody_without_it(graph, synced):
    graph.switch("fail", FORBIDDEN, on="managedDevices")
    server = synced(REVLINE_DEVICE_DIRECTORY="AADAndIntune", **WITHOUT)
    graph.add("devices", "known")
    _, unknown = server.sign("0a0b0c0d-1111-2222-3333-444455556666", "static-aad")
    looked(server)
    assert server.status_of(unknown) == "good"


def test_a_directory_that_cannot_be_asked_revokes_nobody(graph, synced):
    server = synced(REVLINE_DEVICE_DIRECTORY="AAD", REVLINE_SYNC_NEW_DEVICE_GRACE="1s", REVLINE_SYNC_FULL_INTERVAL="1s")
    graph.add("devices", "known")
    server.sync_round()
    graph.switch("fail", {"status": 503})
    _, unknown = server.sign("0a0b0c0d-1111-2222-3333-444455556666", "static-aad")
    before = server.sync("guard")["rounds"]
    eventually(lambda: server.sync("guard")["rounds"] >= before + 4, "the guard has looked after the grace")
    assert server.status_of(unknown) == "good"
