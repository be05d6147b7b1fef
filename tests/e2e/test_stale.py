"""A directory that has had no success for too long: shown, and by the policy its certificates get tryLater."""

import json

import pytest
from cryptography.x509 import ocsp
from harness import OcspClient, eventually, ocsp_request, ocsp_word

# Longer than a round takes on a busy machine: sources that answer must not become stale.
SOON = {"REVLINE_SYNC_STALE_AFTER": "4s", "REVLINE_SYNC_STALE_POLICY": "trylater"}


class Fleet:
    def __init__(self, server, graph):
        self.server = server
        device, user = graph.objects("devices")[0], graph.objects("users")[0]
        self.device = server.sign_for_device(device)[0]
        self.unseen = server.sign_for_device({"deviceId": "7d1d2a3c-0000-4000-8000-00000000abcd"})[0]  # waits under its name
        self.user = server.sign_for_user(user)[0]
        self.free = server.sign("bound to nothing")[0]
        self.gone, serial = server.sign_for_device(device)
        server.control("revoke", serial=serial)

    def ask(self, certificate):
        with OcspClient(self.server) as client:
            answer = client.post(ocsp_request(certificate, self.server.ca))
        return "trylater" if answer.response_status == ocsp.OCSPResponseStatus.TRY_LATER else ocsp_word(answer)

    def answers(self):
        return {name: self.ask(getattr(self, name)) for name in ("device", "unseen", "user", "free", "gone")}


@pytest.fixture
def fleet(graph, synced):
    def make(**settings):
        graph.bulk("devices", 2)
        graph.bulk("users", 2)
        server = synced(**{**SOON, **settings})
        server.sync_round()
        return Fleet(server, graph)
    return make


FRESH = {"device": "good", "unseen": "good", "user": "good", "free": "good", "gone": "revoked"}
STALE = {**FRESH, "device": "trylater", "unseen": "trylater"}


def is_stale(server):
    return server.sync("entra-device")["stale"]


def test_try_later_for_what_the_silent_directory_decides_and_back_at_once(fleet, graph):
    fleet = fleet()
    server = fleet.server
    eventually(lambda: fleet.answers() == FRESH, "answers as ever")  # and in the cache now
    graph.switch("fail", {"status": 503}, on="devices")
    eventually(lambda: fleet.answers() == STALE, "tryLater for the devices' alone, cached answers have ended too")
    eventually(lambda: is_stale(server), "it is shown")  # which is looked at once a second
    assert not server.sync("entra-user")["stale"]
    probe = json.loads(server.http("GET", "/probe")[2])
    assert probe["status"] == "degraded" and probe["parts"]["sync"]["entra-device"]["stale"]
    assert server.metrics()['revline_sync_stale{source="entra-device"}'] == 1
    assert server.metrics()['revline_sync_stale{source="entra-user"}'] == 0
    assert "OCSP says tryLater for its certificates" in server.cli("sync").stdout
    assert "silent since too long" in server.log()
    told, before = server.log().count("sync.stale source=entra-device"), server.sync("entra-device")["failures"]
    eventually(lambda: server.sync("entra-device")["failures"] > before + 2, "it goes on failing")
    assert server.log().count("sync.stale source=entra-device") == told, "told once"
    graph.clear()
    eventually(lambda: fleet.answers() == FRESH, "all is back")
    eventually(lambda: not is_stale(server), "fresh")
    assert server.log().count("sync.stale source=entra-device") == server.log().count("sync.fresh source=entra-device")


def test_a_restart_does_not_set_the_clock_back(fleet, graph):
    """By the stored time of the last success the source is stale the moment the server starts."""
    fleet = fleet()
    server = fleet.server
    graph.switch("fail", {"status": 503}, on="devices")
    eventually(lambda: is_stale(server), "stale")
    since = server.sync("entra-device")["lastSuccess"]
    server.kill()
    server.start()
    log = server.log()[server.log_from:]
    assert 0 <= log.find("sync.stale source=entra-device") < log.index("serve.ready") and is_stale(server)
    assert server.sync("entra-device")["lastSuccess"] == since
    assert fleet.answers() == STALE
    graph.clear()
    eventually(lambda: fleet.answers() == FRESH, "all is back")


def test_by_default_answers_go_on_and_it_is_shown(fleet, graph):
    fleet = fleet(REVLINE_SYNC_STALE_POLICY="serve")
    graph.switch("fail", {"status": 503}, on="devices")
    eventually(lambda: is_stale(fleet.server), "stale")
    assert fleet.answers() == FRESH
    assert "OCSP goes on as before" in fleet.server.cli("sync").stdout
    assert fleet.server.control("status")["status"] == "degraded"


def test_a_source_that_never_succeeded_is_told_too(graph, synced):
    graph.switch("fail", {"status": 503}, on="devices")
    server = synced(**SOON)
    eventually(lambda: is_stale(server), "stale")
    assert server.sync("entra-device")["lastSuccess"] == 0
    assert server.ocsp(server.sign("bound to nothing")[0]) == "good"


def test_no_answer_reaches_beyond_that_moment(fleet, graph):
    """Whoever has it, a cache between here and the client too, asks again by then."""
    fleet = fleet(REVLINE_SYNC_STALE_AFTER="60s")
    with OcspClient(fleet.server) as client:
        device, free = (client.post(ocsp_request(c, fleet.server.ca)) for c in (fleet.device, fleet.free))
    assert 0 < (device.next_update - device.this_update).total_seconds() <= 62
    assert (free.next_update - free.this_update).total_seconds() == 600
