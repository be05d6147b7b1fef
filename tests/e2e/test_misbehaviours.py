"""What directories do wrong that no other test has: each is a switch of the fakes (tests/fakes/README.md). No certificate changes
by a lie, what is true arrives, and afterwards everything does."""

import pytest
from harness import eventually, fake_graph, graph_settings, jamf_settings

WATCHED = {"REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_SYNC_USER_RISK_INTERVAL": "100ms", "REVLINE_COMPLIANCE_CHECK": "always",
           "REVLINE_USER_RISK_CHECK": "always", "REVLINE_SYNC_MASS_LIMIT": "5"}
N = 8  # of each kind: more than the limit


class Fleet:
    """Devices, users and phones with certificates, one of each kind on hold."""

    def __init__(self, server, graph):
        self.server, self.graph = server, graph
        self.devices = [graph.add("devices", "pc%d" % i, accountEnabled=i != 0) for i in range(N)]
        self.users = [graph.add("users", "user%d" % i, accountEnabled=i != 0) for i in range(N)]
        self.phones = [graph.add("managedDevices", "phone%d" % i, complianceState="compliant" if i else "noncompliant") for i in range(N)]
        graph.add("riskyUsers", "risky", id=self.users[1]["id"])
        server.start()
        server.sync_round()
        self.serials = ([server.sign_for_device(d)[1] for d in self.devices] + [server.sign_for_user(u)[1] for u in self.users] +
                        [server.sign(p["id"], "static-aad")[1] for p in self.phones])
        self.expected = ["good"] * (3 * N)
        for i in (0, N, N + 1, 2 * N):
            self.expected[i] = "hold"
        self.settles()

    def actual(self):
        listed = {c["serial"]: c["status"] for c in self.server.all_certificates()}
        return [listed[serial] for serial in self.serials]

    def settles(self):
        eventually(lambda: self.actual() == self.expected, "certificates are %s; now %s, %s" % (self.expected, self.actual(), self.server.sync()))

    def change(self):
        """True changes of every kind."""
        self.graph.update("devices", self.devices[2]["id"], accountEnabled=False)
        self.graph.delete("users", self.users[2]["id"])
        self.graph.delete("managedDevices", self.phones[2]["id"])
        self.graph.update("managedDevices", self.phones[0]["id"], complianceState="compliant")
        self.graph.delete("riskyUsers", self.users[1]["id"])
        self.expected[2], self.expected[N + 2], self.expected[2 * N + 2] = "hold", "revoked", "revoked"
        self.expected[2 * N] = self.expected[N + 1] = "good"

    def clean(self):
        """The fake tells the truth again, and all of it arrives."""
        self.graph.clear()
        self.change()
        self.settles()
        eventually(lambda: not any(s["lastError"] for s in self.server.sync().values()), "no error is left")

    def fails(self, *sources, times=2):
        before = {name: self.server.sync(name)["failures"] for name in sources}
        eventually(lambda: all(self.server.sync(name)["failures"] >= before[name] + times for name in sources), "%s fail" % (sources,))

    def rounds(self, *sources, times=2):
        before = {name: self.server.sync(name)["rounds"] for name in sources}
        eventually(lambda: all(self.server.sync(name)["rounds"] >= before[name] + times for name in sources), "%s make rounds" % (sources,))


ENTRA, INTUNE = ("entra-device", "entra-user"), ("intune-device",)


@pytest.fixture
def fleet(graph, synced):
    return Fleet(synced(start=False, **WATCHED), graph)


# ---- what could revoke a fleet ----
def test_a_directory_full_of_strangers_is_held(fleet, graph):
    """The tenant's name leads to another directory: nothing that is known is there any more, and the list is not empty."""
    graph.switch("strangers", 3, on="devices.delta.first")
    fleet.server.control("sync", source="entra-device", full=True)
    held = eventually(lambda: [c for c in fleet.server.control("sync-hold")["changes"] if c["state"] == "held"], "it is held")
    assert graph.applied("strangers") > 0 and [(c["source"], c["certificates"]) for c in held] == [("entra-device", N)]
    assert fleet.actual() == fleet.expected
    graph.clear()
    fleet.server.control("sync", source="entra-device", full=True)
    eventually(lambda: not fleet.server.control("sync-hold")["changes"], "everything is there again: nothing waits")
    fleet.clean()


def test_managed_devices_that_are_all_strangers_are_held(fleet, graph):
    graph.switch("strangers", 3, on="managedDevices")
    held = eventually(lambda: [c for c in fleet.server.control("sync-hold")["changes"] if c["state"] == "held"], "it is held")
    assert [(c["source"], c["certificates"]) for c in held] == [("intune-device", N)] and fleet.actual() == fleet.expected
    graph.clear()
    eventually(lambda: not fleet.server.control("sync-hold")["changes"], "everything is there again: nothing waits")
    fleet.clean()


@pytest.mark.parametrize("fail", [{"status": 403, "code": "Authorization_RequestDenied"}, {"status": 404}, {"status": 404, "html": True},
                                  {"status": 429}, {"status": 200}], ids=str)
def test_a_round_whose_second_page_fails(fleet, graph, fail):
    """Consent is withdrawn, or the service goes away, in the middle: the half that was read is no directory."""
    graph.switch("page_size", 3)
    graph.switch("fail", fail, on="delta.next")
    fleet.server.control("sync", full=True)
    fleet.fails(*ENTRA)
    assert fleet.actual() == fleet.expected and fleet.server.control("sync-hold")["changes"] == []
    fleet.clean()


def test_a_tenant_that_is_switched_in_the_settings(fleet, graph):
    fleet.server.stop()
    fleet.server.settings["AZURE_TENANT_ID"] = "bbbbbbbb-0000-4000-8000-ccccddddeeee"
    fleet.server.start()
    eventually(lambda: all("follows one tenant" in fleet.server.sync(name)["lastError"] for name in ENTRA + INTUNE), "it is told")
    assert all("Set AZURE_TENANT_ID back" in fleet.server.sync(name)["advice"] for name in ENTRA + INTUNE)
    assert fleet.actual() == fleet.expected
    fleet.server.stop()
    fleet.server.settings["AZURE_TENANT_ID"] = fake_graph.TENANT
    fleet.server.start()
    fleet.clean()


@pytest.fixture
def macs(jamf, make_server):
    """A server, and the serial numbers of eight computers' certificates."""
    for i in range(N):
        jamf.add("computers", "mac%d" % i)
    server = make_server(**jamf_settings(jamf))
    server.sync_round()
    return server, [server.sign(str(i + 1), "jamf", ou="computers")[1] for i in range(N)]


@pytest.mark.parametrize("switch, value", [("fail", {"status": 404, "html": True}), ("fail", {"status": 503, "html": True}), ("total_off", -2),
                                           ("total_off", 5), ("nonsense", "tls_alert")], ids=str)
def test_jamf_pro_during_an_upgrade(macs, jamf, switch, value):
    """404 as HTML to whatever is asked for, or totals that are not those of the items: nothing is deleted that is there."""
    server, serials = macs
    jamf.switch("page_cap", 3)
    jamf.switch(switch, value, on="computers")
    seen = len(jamf.requests())
    jamf.wait(12, since=seen, on="computers")
    assert jamf.applied(switch) > 0 and {server.status_of(serial) for serial in serials} == {"good"}
    jamf.clear()
    jamf.delete("computers", 1)
    eventually(lambda: server.status_of(serials[0]) == "revoked", "what is really gone is revoked")
    assert {server.status_of(serial) for serial in serials[1:]} == {"good"}


# ---- tokens ----
def test_a_secret_that_was_changed(fleet, graph):
    """The old one is refused until the new one is set; certificates stay as they are."""
    graph.switch("secret", "another+secret&of=2027")
    graph.revoke_tokens()
    fleet.fails(*ENTRA, *INTUNE)
    assert fleet.actual() == fleet.expected
    fleet.server.stop()
    fleet.server.settings["AZURE_CLIENT_SECRET"] = "another+secret&of=2027"
    fleet.server.start()
    fleet.change()
    fleet.settles()


def test_tokens_of_one_second(fleet, graph):
    graph.switch("token_life", 1)
    graph.revoke_tokens()
    fleet.change()
    fleet.settles()
    assert graph.applied("token_life") > 0


# ---- deltas, pages, words ----
def test_nulls_say_nothing(fleet, graph):
    """All that was asked for is null: no hold begins or ends by it, and nobody loses a certificate."""
    graph.switch("null_properties")
    fleet.server.control("sync", full=True)
    eventually(lambda: graph.applied("null_properties") > 6 * N, "the fake has answered so")
    fleet.server.sync_round()
    assert fleet.actual() == fleet.expected
    fleet.clean()


def test_words_of_another_year_say_nothing(fleet, graph):
    graph.switch("new_words", on="managedDevices")
    fleet.rounds(*INTUNE)
    assert graph.applied("new_words") > 0 and fleet.actual() == fleet.expected
    fleet.clean()


@pytest.mark.parametrize("collection, index", [("devices", 0), ("managedDevices", 2)])
def test_deleted_between_two_pages(fleet, graph, collection, index):
    """One is gone that the first page had: it alone is revoked, by this round or the next."""
    items = fleet.devices if collection == "devices" else fleet.phones
    graph.switch("page_size", 3)
    graph.switch("vanish", {"collection": collection, "id": items[3]["id"]}, on=collection, times=1)
    fleet.server.control("sync", full=True)
    fleet.expected[index * N + 3] = "revoked"
    fleet.settles()
    fleet.clean()


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "2026-01-01T00:00:00.1234567-08:00"])
def test_dates_of_every_kind(fleet, graph, date):
    graph.switch("dates", date, on="managedDevices")
    fleet.rounds(*INTUNE)
    assert graph.applied("dates") > 0 and fleet.actual() == fleet.expected
    fleet.change()
    fleet.settles()


def test_two_records_of_one_device(fleet, graph):
    """A device that has enrolled again: the newer record speaks for it, and the older one's end is not the device's."""
    server = fleet.server
    device = graph.add("devices", "again")
    old = graph.add("managedDevices", "again", azureADDeviceId=device["deviceId"], enrolledDateTime="2026-01-01T08:00:00Z")
    server.sync_round()
    serial = server.sign_for_device(device)[1]
    graph.add("managedDevices", "again, newer", azureADDeviceId=device["deviceId"].upper(), enrolledDateTime="2026-02-01T08:00:00Z",
              complianceState="noncompliant")
    eventually(lambda: server.status_of(serial) == "hold", "the newer record counts")
    graph.update("managedDevices", old["id"], managementState="retirePending")
    graph.delete("managedDevices", old["id"])
    fleet.rounds(*INTUNE, times=3)
    assert server.status_of(serial) == "hold"


# ---- throttling ----
def test_a_whole_tenant_is_throttled(fleet, graph):
    graph.switch("rate", {"most": 6, "seconds": 1})
    fleet.change()
    fleet.settles()
    eventually(lambda: any(r["status"] == 429 for r in graph.requests()), "it was throttled")


def test_risky_users_once_a_second(fleet, graph):
    """Identity Protection's limit, and it names no time to wait: a list of many pages comes to its end all the same."""
    graph.switch("page_size", 2)
    for i in range(3, 8):
        graph.add("riskyUsers", "risky%d" % i, id=fleet.users[i]["id"])
        fleet.expected[N + i] = "hold"
    graph.switch("rate", {"most": 1, "seconds": 1, "quiet": True}, on="riskyUsers")
    eventually(lambda: fleet.actual() == fleet.expected, "the whole list has had its effect")
    assert any(r["status"] == 429 for r in graph.requests(on="riskyUsers"))


def test_risky_users_are_asked_for_within_the_limit(graph, synced):
    """Pages of a round and rounds in a row, as fast as may be: not one request is too much."""
    server = synced(start=False, **{**WATCHED, "REVLINE_SYNC_USER_RISK_PACE": "1s"})
    users = [graph.add("users", "user%d" % i) for i in range(5)]
    for user in users:
        graph.add("riskyUsers", "risky/" + user["id"], id=user["id"])
    graph.switch("page_size", 2, on="riskyUsers")
    graph.switch("rate", {"most": 1, "seconds": 1}, on="riskyUsers")
    server.start()
    eventually(lambda: server.sync("user-risk")["rounds"] >= 2, "two rounds")
    asked = [r["status"] for r in graph.requests(on="riskyUsers")]
    assert len(asked) >= 6 and set(asked) == {200}
    assert server.sync("user-risk")["failures"] == 0


def test_who_waits_for_its_turn_holds_back_nobody(graph, synced):
    server = synced(start=False, **{**WATCHED, "REVLINE_SYNC_USER_RISK_PACE": "1h"})
    users = [graph.add("users", "user%d" % i) for i in range(3)]
    for user in users:
        graph.add("riskyUsers", "risky/" + user["id"], id=user["id"])
    graph.switch("page_size", 2, on="riskyUsers")
    server.start()
    graph.wait(1, on="riskyUsers")
    eventually(lambda: all(server.sync(name)["rounds"] >= 3 for name in ("entra-device", "entra-user", "intune-device")), "the others go on")
    assert len(graph.requests(on="riskyUsers")) == 1 and server.sync("user-risk")["state"] == "running"
    server.stop()


def test_servers_that_fail_every_other_time(fleet, graph):
    graph.switch("flaky", {"seed": 11, "share": 0.4})
    graph.switch("page_size", 3)
    fleet.change()
    fleet.server.control("sync", full=True)
    fleet.settles()
    assert any(r["status"] in (500, 502, 503, 504) for r in graph.requests())


def test_a_retry_after_date_by_a_clock_that_is_wrong(fleet, graph):
    """The date is measured against the answer's own Date: a clock a day ahead makes nobody wait a day."""
    graph.switch("date_skew", 86400)
    graph.switch("fail", {"status": 503, "retry_after": "date+1"}, times=3)
    eventually(lambda: graph.applied("fail") == 3, "throttled")
    fleet.change()
    fleet.settles()


# ---- transport ----
@pytest.mark.parametrize("switch, value", [("interim", 100), ("interim", 103), ("gzip", "asked"), ("drip", 0.002)], ids=str)
def test_transport_that_is_odd(fleet, graph, switch, value):
    graph.switch(switch, value)
    fleet.change()
    fleet.settles()
    assert graph.applied(switch) > 0


@pytest.mark.parametrize("switch, value", [("nonsense", "tls_alert"), ("nonsense", "http2"), ("gzip", "always")], ids=str)
def test_transport_that_is_no_http(fleet, graph, switch, value):
    graph.switch(switch, value, on="delta")
    if switch == "gzip":  # understood or refused, whichever: never misread
        fleet.server.control("sync", full=True)
        eventually(lambda: graph.applied(switch) > 4, "the fake has answered so")
    else:
        fleet.fails(*ENTRA)
    assert fleet.actual() == fleet.expected
    fleet.clean()


def test_a_name_that_does_not_resolve(fleet, graph):
    fleet.server.stop()
    fleet.server.settings["REVLINE_GRAPH_URL"] = "http://no-such-host.invalid"
    fleet.server.start()
    fleet.fails(*ENTRA, *INTUNE)
    assert fleet.actual() == fleet.expected and fleet.server.http("GET", "/probe")[0] == 200
    fleet.server.stop()
    fleet.server.settings.update(graph_settings(graph, **WATCHED))
    fleet.server.start()
    fleet.clean()
