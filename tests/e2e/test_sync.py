"""The fake Graph misbehaves: no certificate may change by a lie, and afterwards sync recovers and converges."""

import json

import pytest
from harness import Remote, eventually


class Fleet:
    """Objects of both kinds with certificates: enabled, disabled, and one that will be deleted."""

    def __init__(self, server, graph, prefix=""):
        self.server, self.graph = server, graph
        self.objects, self.serials, self.expected = {}, {}, {}
        for collection in ("devices", "users"):
            for name, enabled in (("on", True), ("off", False), ("doomed", True)):
                key = (collection, name)
                self.objects[key] = graph.add(collection, prefix + name, accountEnabled=enabled)
                self.expected[key] = "good" if enabled else "hold"

    def enroll(self):
        for key, item in self.objects.items():
            sign = self.server.sign_for_device if key[0] == "devices" else self.server.sign_for_user
            self.serials[key] = sign(item)[1]

    def actual(self):
        return {key: self.server.status_of(serial) for key, serial in self.serials.items()}

    def settled(self):
        return self.actual() == self.expected

    def settles(self):
        eventually(self.settled, "certificates are %s; sources: %s" % (self.expected, self.server.sync()))

    def set_enabled(self, key, enabled):
        self.graph.update(key[0], self.objects[key]["id"], accountEnabled=enabled)
        self.expected[key] = "good" if enabled else "hold"

    def change_everything(self):
        """Every kind of change; the state that follows is new for each object."""
        for collection in ("devices", "users"):
            self.set_enabled((collection, "on"), False)
            self.set_enabled((collection, "off"), True)
            if self.expected[collection, "doomed"] != "revoked":
                self.graph.delete(collection, self.objects[collection, "doomed"]["id"])
            self.expected[collection, "doomed"] = "revoked"


@pytest.fixture
def fleet(graph, synced):
    def make(**settings):
        server = synced(start=False, **settings)
        fleet = Fleet(server, graph)
        server.start()
        server.sync_round()
        fleet.enroll()
        fleet.settles()
        return fleet
    return make


@pytest.fixture(scope="module")
def shared(watching):
    """One fake and one server for most tests; each test has a fleet of its own there, and leaves no switch on."""
    def fill(graph):
        for collection in ("devices", "users"):
            graph.bulk(collection, 6, "always there")

    return watching(fill)


@pytest.fixture
def shared_fleet(shared, request):
    server, graph = shared
    fleet = Fleet(server, graph, prefix=request.node.name.replace("@", "") + "/")
    server.sync_round()
    fleet.enroll()
    fleet.settles()
    yield fleet
    graph.clear()
    for (collection, name), item in fleet.objects.items():
        if fleet.expected[collection, name] != "revoked":
            graph.delete(collection, item["id"])


def failures(server):
    return {name: s["failures"] for name, s in server.sync().items()}


def all_failed_since(server, before, times=1):
    return lambda: all(n >= before[name] + times for name, n in failures(server).items())


# ---- odd, but true: everything arrives while it lasts ----
ODD = [
    ("page_size", 1, {}), ("page_size", [1, 3, 2], {}), ("empty_pages", True, {}), ("repeat_item", True, {}),
    ("delta_link_alone", True, {}), ("link_case", True, {}), ("link_encoded", True, {}),
    ("shuffle", 7, {}), ("repeat_states", True, {}), ("replay", 5, {}), ("minimal", True, {}), ("absent_as_null", True, {}), ("lag", 1, {}),
    ("token_life", 2, {}), ("token_uses", 1, {}), ("expires_in_string", True, {}),
    ("chunked", 7, {}), ("gzip", "asked", {}), ("close", True, {}), ("drip", 0.005, {}),
    ("date_skew", 600, {}), ("date_skew", -600, {}),
    ("json", "unknown_members", {}), ("json", "null_members", {}), ("json", "escapes", {}), ("json", "surrogates", {}),
    ("json", "bom", {}), ("json", "duplicate_keys", {}),
    ("padding", 3_000_000, {"times": 2}),
    ("id_form", "upper", {}), ("id_form", "braces", {}), ("upn_upper", True, {}),
]


def name_of(row):
    return "%s=%s" % (row[0], json.dumps(row[1], separators=(",", ":"))) if not isinstance(row[1], bool) else row[0]


@pytest.mark.parametrize("switch, value, limits", ODD, ids=map(name_of, ODD))
def test_odd_answers_are_understood(shared_fleet, switch, value, limits):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch(switch, value, **limits)
    if switch in ("empty_pages", "repeat_item", "delta_link_alone", "link_case", "link_encoded"):
        graph.switch("page_size", 1)
    fleet.server.control("sync", full=True)
    if switch.startswith("token") or switch == "expires_in_string":
        graph.revoke_tokens()
    fleet.change_everything()
    fleet.settles()
    eventually(lambda: graph.applied(switch) > 0, "the fake has answered so")
    if switch.startswith("token"):
        graph.revoke_tokens()
        fleet.set_enabled(("users", "on"), True)
        fleet.settles()


# ---- broken, or lies: nothing changes while it lasts, everything arrives afterwards ----
BROKEN = [
    ("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 429}), ("fail", {"status": 429, "retry_after": "date-60"}),
    ("fail", {"status": 503, "html": True}), ("fail", {"status": 503, "retry_after": 0}), ("fail", {"status": 504}), ("fail", {"status": 500}),
    ("fail", {"status": 403, "code": "Authorization_RequestDenied"}), ("fail", {"status": 404, "code": "Request_ResourceNotFound"}),
    ("fail", {"status": 401, "code": "InvalidAuthenticationToken"}), ("fail", {"status": 200}), ("fail", {"status": 204}),
    ("reset", 0), ("reset", 50), ("truncate", "short"), ("truncate", "wrong"), ("redirect", "http://localhost:9"),
    ("json", "lone_surrogate"), ("json", "huge_numbers"), ("json", "deep"), ("json", "empty_body"),
    ("json", "html"), ("json", "not_object"), ("json", "no_value"), ("json", "no_links"), ("json", "both_links"), ("json", "wrong_types"),
]


@pytest.mark.parametrize("switch, value", BROKEN, ids=map(name_of, BROKEN))
def test_broken_answers_change_nothing(shared_fleet, switch, value):
    fleet, graph = shared_fleet, shared_fleet.graph
    before, certificates = failures(fleet.server), fleet.actual()
    graph.switch(switch, value, on="delta")
    fleet.change_everything()
    fleet.server.control("sync", full=True)
    eventually(all_failed_since(fleet.server, before, 2), "the failure shows in status")
    assert graph.applied(switch) > 0 and fleet.actual() == certificates
    assert fleet.server.control("status")["status"] == "degraded"
    assert fleet.server.http("GET", "/probe")[0] == 200
    graph.clear()
    fleet.settles()
    eventually(lambda: not any(s["lastError"] for s in fleet.server.sync().values()), "no error is left")


@pytest.mark.parametrize("value", [{"status": 401, "code": "invalid_client"}, {"status": 400}, {"status": 429}, {"status": 500}, {"status": 503, "html": True}],
                         ids=lambda v: str(v["status"]))
def test_no_token(shared_fleet, value):
    fleet, graph = shared_fleet, shared_fleet.graph
    before, certificates = failures(fleet.server), fleet.actual()
    graph.switch("fail", value, on="token")
    graph.revoke_tokens()
    eventually(all_failed_since(fleet.server, before), "no token: a failure")
    assert fleet.actual() == certificates
    graph.clear()
    fleet.change_everything()
    fleet.settles()


def test_retry_after_is_obeyed(shared_fleet):
    """Seconds and HTTP dates; meanwhile there is not one more request."""
    fleet, graph = shared_fleet, shared_fleet.graph
    for after in (2, "date+3"):
        seen = len(graph.requests())
        graph.switch("fail", {"status": 429, "retry_after": after}, on="devices")
        eventually(lambda: any(r["status"] == 429 for r in graph.requests(since=seen, on="devices")), "devices are throttled")
        first = len(graph.requests())
        # The other source goes on: count its requests as the clock.
        graph.wait(6, since=first, on="users")
        assert graph.requests(since=first, on="devices") == []
        graph.clear()
        graph.wait(1, since=first, on="devices.delta")
    fleet.change_everything()
    fleet.settles()


def test_an_absurd_retry_after_holds_back_only_its_source(fleet, graph):
    fleet = fleet()
    graph.switch("fail", {"status": 429, "retry_after": 86400}, on="devices", times=1)
    eventually(lambda: fleet.server.sync("entra-device")["state"] == "backing off", "devices back off")
    fleet.set_enabled(("users", "on"), False)
    fleet.settles()


def test_a_long_outage_is_survived(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    before = failures(fleet.server)
    graph.switch("fail", {"status": 503}, times=10)
    fleet.change_everything()
    eventually(all_failed_since(fleet.server, before, 2), "a burst of failures")
    fleet.settles()


def test_token_expiry_in_the_middle_of_paging_resumes_the_same_link(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("page_size", 2)
    graph.switch("token_uses", 2)
    graph.revoke_tokens()

    def refused_and_resumed():
        seen = len(graph.requests())  # a round that others take two tokens from begins anew, and its link is not asked for again
        fleet.server.sync_round(full=True)
        asked = graph.requests(since=seen)
        refused = [r["query"]["$skiptoken"] for r in asked if r["status"] == 401 and r["route"].endswith("next")]
        answered = [r["query"].get("$skiptoken") for r in asked if r["status"] == 200]
        return refused and all(link in answered for link in refused)

    eventually(refused_and_resumed, "a token ends between two pages, and the link is asked for again")
    fleet.settles()


@pytest.mark.parametrize("switch, value", [("empty_list", True), ("fail", {"status": 403}), ("fail", {"status": 404})], ids=lambda v: str(v))
def test_a_suddenly_empty_directory_revokes_nothing(shared_fleet, switch, value):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch(switch, value, on="delta")
    before = failures(fleet.server)
    fleet.server.control("sync", full=True)
    eventually(all_failed_since(fleet.server, before), "refused")
    assert fleet.settled()
    if switch == "empty_list":
        assert "revoke the certificates that are left by hand" in fleet.server.sync("entra-device")["advice"]
    graph.clear()
    fleet.change_everything()
    fleet.server.sync_round(full=True)
    fleet.settles()


def test_pages_then_a_failure_revoke_nothing(shared_fleet):
    """A full round that breaks off has not seen the rest: that is not a deletion."""
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("page_size", 2)
    graph.switch("fail", {"status": 500}, on="delta.next")
    before = failures(fleet.server)
    fleet.server.control("sync", full=True)
    eventually(all_failed_since(fleet.server, before, 2), "the second page fails")
    assert fleet.settled()
    graph.clear()
    fleet.change_everything()
    fleet.settles()


GONE = [{"status": 410, "location": True}, {"status": 410}, {"status": 400, "code": "syncStateNotFound"}, {"status": 404, "code": "SyncStateNotFound"},
        {"status": 400, "code": "resyncRequired"}]


@pytest.mark.parametrize("where", ["link", "next"])
@pytest.mark.parametrize("value", GONE, ids=lambda v: "%s-%s" % (v["status"], v.get("code", v.get("location", ""))))
def test_an_expired_token_leads_to_a_full_reconciliation(shared_fleet, value, where):
    """What vanished meanwhile without a trace in the delta is revoked; what is there stays."""
    fleet, graph = shared_fleet, shared_fleet.graph
    vanished = ("devices", "doomed")
    graph.switch("page_size", 2)
    seen = len(graph.requests())
    graph.forget("devices", fleet.objects[vanished]["id"])
    fleet.expected[vanished] = "revoked"
    graph.switch("gone", value, on="devices.delta." + where, times=1)
    graph.bulk("devices", 5, "more because of %s %s" % (value, where))  # a round of more than one page
    fleet.settles()
    assert [r for r in graph.requests(since=seen) if r["route"] == "devices.delta.first"]
    fleet.change_everything()
    fleet.settles()


def test_a_next_link_loop_ends(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("page_size", 2)
    graph.switch("loop", on="devices")
    before = fleet.server.sync("entra-device")["failures"]
    fleet.server.control("sync", full=True)
    eventually(lambda: fleet.server.sync("entra-device")["failures"] > before, "the loop is noticed")
    assert fleet.settled()
    graph.clear()
    fleet.change_everything()
    fleet.settles()


def test_a_link_to_another_host_is_not_followed(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    other = Remote()
    try:
        before = failures(fleet.server)
        graph.switch("page_size", 2)
        graph.switch("foreign_link", other.url)
        fleet.server.control("sync", full=True)
        eventually(all_failed_since(fleet.server, before), "refused")
        graph.clear()
        graph.switch("redirect", other.url, on="delta")
        before = failures(fleet.server)
        eventually(all_failed_since(fleet.server, before), "redirects are refused too")
        assert other.requests() == [] and fleet.settled()
    finally:
        other.stop()
    graph.clear()
    fleet.change_everything()
    fleet.settles()


def test_removed_in_the_first_round_then_restored(graph, synced):
    server = synced(start=False)
    device = graph.add("devices", "back-again")
    graph.delete("devices", device["id"], reason="changed")
    graph.switch("removed_first")
    server.start()
    server.sync_round()
    graph.restore("devices", device["id"])
    server.sync_round()
    assert server.status_of(server.sign_for_device(device)[1]) == "good"


def test_soft_deleted_then_deleted(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    key = ("users", "on")
    graph.delete("users", fleet.objects[key]["id"], reason="changed")
    fleet.expected[key] = "revoked"
    fleet.settles()
    since = fleet.server.control("show", serial=fleet.serials[key])["revokedAt"]
    graph.delete("users", fleet.objects[key]["id"], reason="deleted")
    fleet.server.sync_round()
    assert fleet.settled() and fleet.server.control("show", serial=fleet.serials[key])["revokedAt"] == since


def test_changed_back_within_one_round_is_no_change(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("hold")
    graph.wait(1, on="devices", since=len(graph.requests()), held=True)
    fleet.set_enabled(("devices", "on"), False)
    fleet.set_enabled(("devices", "on"), True)
    graph.switch("repeat_states")
    last_delta = fleet.server.control("status")["parts"]["store"]["lastDelta"]
    graph.clear("hold")
    fleet.server.sync_round()
    assert fleet.settled() and fleet.server.control("status")["parts"]["store"]["lastDelta"] == last_delta


def test_replay_writes_no_second_delta(shared_fleet):
    fleet, graph = shared_fleet, shared_fleet.graph
    fleet.change_everything()
    fleet.settles()
    last_delta = fleet.server.control("status")["parts"]["store"]["lastDelta"]
    graph.switch("replay", 100)
    graph.switch("repeat_states")
    fleet.server.sync_round()
    fleet.server.sync_round(full=True)
    assert fleet.settled() and fleet.server.control("status")["parts"]["store"]["lastDelta"] == last_delta


def test_a_renamed_user_keeps_the_certificate(shared_fleet):
    """The certificate names the user by an old UPN: the binding is to the object."""
    fleet, graph = shared_fleet, shared_fleet.graph
    key = ("users", "on")
    graph.update("users", fleet.objects[key]["id"], userPrincipalName="married@contoso.example")
    fleet.server.sync_round()
    assert fleet.settled()
    fleet.set_enabled(key, False)
    fleet.settles()


def test_a_mail_address_names_the_user_too(graph, synced):
    server = synced()
    before = server.sign("someone", "static-aad", upn="ada.lovelace@contoso.example")[1]
    ada = graph.add("users", "ada", mail="Ada.Lovelace@contoso.example")
    bob = graph.add("users", "bob", mail="eve@contoso.example")
    server.sync_round()
    after = server.sign("someone", "static-aad", upn="ada.lovelace@contoso.example")[1]
    for enabled, status in ((False, "hold"), (True, "good")):
        graph.update("users", ada["id"], accountEnabled=enabled)
        server.sync_round()
        assert [server.status_of(s) for s in (before, after)] == [status, status]
    # a new address; the old one is free for another
    graph.update("users", ada["id"], mail="countess@contoso.example")
    server.sync_round()
    graph.update("users", bob["id"], mail="ada.lovelace@contoso.example")
    server.sync_round()
    other = server.sign("someone", "static-aad", upn="ada.lovelace@contoso.example")[1]
    third = server.sign("someone", "static-aad", upn="countess@contoso.example")[1]
    graph.delete("users", ada["id"])
    server.sync_round()
    assert [server.status_of(s) for s in (before, after, third, other)] == ["revoked", "revoked", "revoked", "good"]
    # the user principal name comes first
    eve = graph.add("users", "eve")
    graph.update("users", bob["id"], mail="eve@contoso.example")
    server.sync_round()
    hers = server.sign("someone", "static-aad", upn=eve["userPrincipalName"])[1]
    graph.delete("users", bob["id"])
    server.sync_round()
    assert [server.status_of(s) for s in (other, hers)] == ["revoked", "good"]


def test_a_slow_upstream_times_out_and_blocks_nobody(fleet, graph):
    fleet = fleet(REVLINE_SYNC_REQUEST_TIMEOUT="300ms")
    graph.switch("hold", on="devices")
    before = fleet.server.sync("entra-device")["failures"]
    fleet.set_enabled(("users", "on"), False)
    fleet.settles()
    eventually(lambda: fleet.server.sync("entra-device")["failures"] > before, "the held request timed out")
    graph.clear()
    fleet.change_everything()
    fleet.settles()


def test_a_page_above_the_limit_is_refused(fleet, graph):
    fleet = fleet(REVLINE_SYNC_PAGE_LIMIT="1MiB")
    for packed in (False, True):
        before = failures(fleet.server)
        graph.switch("padding", 2_000_000)
        if packed:
            graph.switch("gzip", "asked")  # a bomb: small on the wire
        eventually(all_failed_since(fleet.server, before), "too large")
        assert fleet.settled()
        graph.clear()
    fleet.change_everything()
    fleet.settles()


def test_an_absent_upstream_at_the_start(synced, graph):
    server = synced(REVLINE_GRAPH_URL="http://localhost:9", AZURE_AUTHORITY_HOST="http://localhost:9")
    eventually(lambda: all(s["failures"] for s in server.sync().values()), "both sources fail")
    assert server.http("GET", "/probe")[0] == 200 and server.ocsp(server.sign("still.works")[0]) == "good"


def test_stop_is_quick_while_the_upstream_hangs(graph, synced):
    graph.switch("hold")
    server = synced(REVLINE_SYNC_REQUEST_TIMEOUT="10m")
    graph.wait(1, held=True)
    server.stop(within=15)


def test_cursor_survives_a_restart(fleet, graph):
    """After a restart there is a delta request, not a full round."""
    fleet = fleet()
    fleet.server.stop()
    fleet.change_everything()
    seen = len(graph.requests())
    fleet.server.start()
    fleet.settles()
    assert {r["route"].split(".")[-1] for r in graph.requests(since=seen) if r["route"] != "token"} == {"link"}


def test_the_interval_comes_from_the_environment(graph, synced):
    synced(REVLINE_SYNC_ENTRA_INTERVAL="50ms", REVLINE_SYNC_JITTER="0%")
    seen = len(graph.requests())
    assert graph.wait(20, since=seen, on="devices", timeout=20) >= 20


def test_interval_zero_turns_the_source_off(graph, synced):
    server = synced(REVLINE_SYNC_ENTRA_INTERVAL="0")
    assert server.ocsp(server.sign("x.example")[0]) == "good"
    assert graph.requests() == []


def test_full_interval_reconciles_by_itself(graph, synced):
    server = synced(REVLINE_SYNC_FULL_INTERVAL="1s")
    vanishing, _ = graph.add("devices", "vanishing"), graph.add("devices", "staying")
    server.sync_round()
    _, serial = server.sign_for_device(vanishing)
    graph.forget("devices", vanishing["id"])
    eventually(lambda: server.status_of(serial) == "revoked", "the next full round notices")
