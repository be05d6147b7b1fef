"""Change notifications: subscriptions to Graph, the two paths that are told of changes, and who is not listened to."""

import base64
import datetime
import json

import pytest
from harness import eventually

NEVER = "1d"  # between polls: what happens sooner was told
SECRET = "jamf's+secret/with=signs"


def headers(**more):
    return {"Content-Type": "application/json", **more}


@pytest.fixture
def hooked(graph, synced):
    """A server that polls once a day and is told of changes; its public name is the fake's to know."""
    def make(**settings):
        server = synced(start=False, REVLINE_BASE_URL="https://pki.example.test", REVLINE_SYNC_ENTRA_INTERVAL=NEVER,
                        REVLINE_HTTP_LISTEN="127.0.0.1:0", **settings)
        server.start()
        graph.switch("deliver_to", server.url)
        subscribed(graph, 1)
        eventually(lambda: all(server.sync(s)["lastSuccess"] for s in ("entra-user", "entra-device")), "the first rounds are over")
        return server
    return make


def subscribed(graph, count):
    eventually(lambda: len(graph.subscriptions()) == count, "%d subscriptions; now %s" % (count, graph.subscriptions()))


def changed(user):
    return {"changeType": "updated", "resource": "Users/" + user["id"],
            "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": user["id"]}}


def test_a_notification_brings_the_change_at_once(hooked, graph):
    user = graph.add("users", "ada")
    server = hooked()
    _, serial = server.sign_for_user(user)
    for enabled, status in ((False, "hold"), (True, "good")):
        graph.update("users", user["id"], accountEnabled=enabled)
        assert graph.notify(server.url, [changed(user)]) == [202]
        eventually(lambda: server.status_of(serial) == status, "the certificate is " + status)


def test_a_burst_is_one_or_two_rounds(hooked, graph):
    user = graph.add("users", "ada")
    server = hooked()
    since = len(graph.requests())
    graph.switch("hold", on="users.delta.link")
    for _ in range(40):
        graph.notify(server.url, [changed(user)] * 5)
    graph.clear("hold")
    graph.update("users", user["id"], accountEnabled=False)
    _, serial = server.sign_for_user(user)
    graph.notify(server.url, [changed(user)])
    eventually(lambda: server.status_of(serial) == "hold", "the last change has come")
    assert len(graph.requests(since=since, on="users.delta")) <= 4


@pytest.mark.parametrize("wrong", [{"clientState": "wrong"}, {"clientState": None}, {"clientState": ""}])
def test_a_stranger_wakes_nobody(hooked, graph, wrong):
    user = graph.add("users", "ada")
    server = hooked()
    since = len(graph.requests())
    assert graph.notify(server.url, [{**changed(user), **wrong}]) == [403]
    assert graph.notify(server.url, [{**changed(user), **wrong}, changed(user)]) == [202]  # of two one is known
    eventually(lambda: graph.requests(since=since, on="users.delta"), "the known one woke the source")
    assert len(graph.requests(since=since, on="users.delta")) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"value": 1}', b'{"value": []}', b'{"value": [1, null, []]}',
                                  b'{"value": [{"clientState": 7}]}', b"\xff" * 100])
def test_nonsense_is_refused(hooked, body):
    server = hooked()
    status, _, text = server.http("POST", "/hooks/graph", body, headers())
    assert status in (400, 403) and text
    assert server.http("GET", "/hooks/graph")[0] == 405


def test_the_validation_token_comes_back_decoded(hooked):
    server = hooked()
    for query, token in (("validationToken=a%20b%2Bc+d%C3%A9", "a b+c dé"), ("x=1&validationToken=plain&y=2", "plain")):
        status, got, text = server.http("POST", "/hooks/graph?" + query, b"", {"Content-Type": "text/plain; charset=utf-8"})
        assert (status, text.decode()) == (200, token)
        assert got["Content-Type"].startswith("text/plain") and got["X-Content-Type-Options"] == "nosniff"
    assert server.http("POST", "/hooks/graph?validationToken=%zz", b"", {})[0] == 400


def test_a_removed_subscription_is_made_again_and_everything_compared(hooked, graph):
    user = graph.add("users", "ada")
    server = hooked()
    old = graph.subscriptions()[0]["id"]
    since = len(graph.requests())
    assert graph.notify(server.url, [{"lifecycleEvent": "subscriptionRemoved"}]) == [202]
    eventually(lambda: [s["id"] for s in graph.subscriptions()] not in ([], [old]), "there is another subscription")
    eventually(lambda: graph.requests(since=since, on="users.delta.first"), "the users are compared as a whole")
    graph.update("users", user["id"], accountEnabled=False)
    assert graph.notify(server.url, [changed(user)]) == [202]


def test_a_subscription_is_renewed_when_graph_asks_for_it(hooked, graph):
    server = hooked()
    since = len(graph.requests())
    assert graph.notify(server.url, [{"lifecycleEvent": "reauthorizationRequired"}]) == [202]
    eventually(lambda: [r["method"] for r in graph.requests(since=since, on="subscriptions")] == ["PATCH"], "it is renewed")
    # One that fails is tried again: until then Graph tells nothing.
    graph.switch("fail", {"status": 503}, on="subscriptions", times=1)
    since = len(graph.requests())
    assert graph.notify(server.url, [{"lifecycleEvent": "reauthorizationRequired"}]) == [202]
    eventually(lambda: [r["status"] for r in graph.requests(since=since, on="subscriptions")] == [503, 200], "it is renewed at the second try")
    eventually(lambda: server.sync("graph-hook")["state"] == "idle", "and all is well")
    graph.unsubscribe()
    server.cli("sync", "graph-hook")
    assert graph.subscriptions() == []  # nobody has told yet
    server.cli("sync", "graph-hook", "--full")
    subscribed(graph, 1)


def test_a_subscription_is_renewed_at_half_of_the_life_that_it_was_granted(hooked, graph):
    graph.switch("granted_life", 600)
    server = hooked()

    def ends():
        return datetime.datetime.fromisoformat(graph.subscriptions()[0]["expirationDateTime"][:19] + "+00:00").timestamp()

    def next_look():
        return server.sync("graph-hook")["nextRun"]
    eventually(lambda: ends() - 340 <= next_look() <= ends() - 260, "the next look is in five minutes, more or less a tenth")
    graph.switch("granted_life", 60)  # less than is waited for
    assert graph.notify(server.url, [{"lifecycleEvent": "reauthorizationRequired"}]) == [202]
    eventually(lambda: 40 <= next_look() - server.sync("graph-hook")["lastSuccess"] <= 70, "the next look is in a minute")
    assert [r["method"] for r in graph.requests(on="subscriptions")].count("PATCH") == 1


def test_a_restarted_server_takes_the_place_of_its_predecessor(hooked, graph):
    server = hooked()
    old = graph.subscriptions()[0]["id"]
    server.kill()
    server.start()
    graph.switch("deliver_to", server.url)
    eventually(lambda: [s["id"] for s in graph.subscriptions()] not in ([], [old]), "there is another subscription")
    subscribed(graph, 1)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_a_predecessor_left_and_may_not_be_deleted_is_in_nobodys_way(hooked, graph, status):
    """Such as another application's, when the application was replaced."""
    server = hooked()
    old = graph.subscriptions()[0]["id"]
    server.kill()
    graph.switch("fail", {"status": status}, on="subscriptions", times=2 if status == 401 else 1)  # a 401 costs a token first
    since = len(graph.requests())
    server.start()
    graph.switch("deliver_to", server.url)
    subscribed(graph, 2)
    assert "DELETE" not in [r["method"] for r in graph.requests(since=since, on="subscriptions") if r["status"] == 204]
    assert old in [s["id"] for s in graph.subscriptions()]
    eventually(lambda: not server.sync("graph-hook")["lastError"], "nothing is the matter")


def test_a_missing_permission_for_the_subscription_is_named(graph, synced):
    graph.switch("fail", {"status": 403}, on="subscriptions")
    server = synced(REVLINE_BASE_URL="https://pki.example.test")
    eventually(lambda: "User.Read.All" in server.sync("graph-hook")["advice"], "the advice names the permission")


def test_polling_goes_on_while_there_is_no_subscription(graph, synced):
    user = graph.add("users", "ada")
    server = synced(REVLINE_BASE_URL="https://pki.example.test")
    eventually(lambda: "REVLINE_BASE_URL" in server.sync("graph-hook")["lastError"], "the failure is told")
    assert "/hooks/graph" in server.sync("graph-hook")["advice"]
    eventually(lambda: server.sync("entra-user")["objects"], "the user is known")
    _, serial = server.sign_for_user(user)
    graph.update("users", user["id"], accountEnabled=False)
    eventually(lambda: server.status_of(serial) == "hold", "the poll has seen the change")
    assert server.http("GET", "/probe")[0] == 200


def test_a_server_that_graph_cannot_reach_can_do_without(graph, synced):
    server = synced(REVLINE_BASE_URL="https://pki.example.test", REVLINE_SYNC_NOTIFICATIONS="false")
    assert server.sync("graph-hook")["needs"] == "REVLINE_SYNC_NOTIFICATIONS"
    server.sync_round()
    assert graph.requests(on="subscriptions") == [] and server.cli_json("status")["status"] == "ok"


def test_plain_http_has_no_subscription(synced):
    assert synced(REVLINE_BASE_URL="http://pki.example.test").sync("graph-hook")["state"] == "off"


def test_jamf_needs_its_secret(make_server):
    server = make_server(REVLINE_JAMF_WEBHOOK_SECRET=SECRET)
    event = json.dumps({"webhook": {"webhookEvent": "ComputerAdded"}, "event": {"jssID": 13}}).encode()
    basic = "Basic " + base64.b64encode(b"jamf:" + SECRET.encode()).decode()
    for good in ({"Authorization": basic}, {"X-Webhook-Secret": SECRET}):
        assert server.http("POST", "/hooks/jamf", event, headers(**good))[0] == 202
    for bad in ({}, {"Authorization": "Basic " + base64.b64encode(b"jamf:no").decode()}, {"Authorization": "Basic !"},
                {"Authorization": "Basic " + base64.b64encode(b"x" * 900).decode()}, {"Authorization": "Bearer " + SECRET},
                {"X-Webhook-Secret": ""}, {"X-Webhook-Secret": SECRET[:-1]}, {"X-Webhook-Secret": "no", "Authorization": basic}):
        assert server.http("POST", "/hooks/jamf", event, headers(**bad))[0] == 401
    assert SECRET not in server.log()


def test_without_a_secret_there_is_no_hook_for_jamf(make_server):
    assert make_server().http("POST", "/hooks/jamf", b"{}", headers(**{"X-Webhook-Secret": ""}))[0] == 404
