"""Intune's requests to revoke: each is carried out and answered, once in effect, whatever happens on the way."""


import pytest
from harness import Remote, eventually, openssl_ocsp

ASKED = {"REVLINE_SYNC_REVOCATION_REQUESTS_INTERVAL": "100ms"}
SOURCE = "revocation-requests"
DONE = {"succeeded": True, "errorCode": "None", "errorMessage": None}


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def result(graph, context):
    """What was recorded for it, once it was; without the context."""
    found = eventually(lambda: graph.revocation_results().get(context), "there is a result for %s" % context)
    assert all(r == found[0] for r in found)
    return {k: v for k, v in found[0].items() if k != "requestContext"}


def code(graph, context):
    answer = result(graph, context)
    assert answer["succeeded"] is False and answer["errorMessage"]
    return answer["errorCode"]


@pytest.fixture(scope="module")
def shared(watching):
    return watching(**ASKED)


@pytest.fixture
def world(shared):
    yield shared
    shared[1].clear()


# ---- what Intune asks for ----
def test_a_request_revokes(world, tmp_path):
    server, graph = world
    certificate, serial = server.sign("kiosk")
    graph.request_revocation("one", serial, issuerName="CN=Revline Root CA", caConfiguration="ca01")
    assert result(graph, "one") == DONE
    assert openssl_ocsp(server, certificate, tmp_path) == "revoked"
    shown = server.control("show", serial=serial)
    assert (shown["why"], shown["reason"]) == (["endpointList"], "privilegeWithdrawn")


@pytest.mark.parametrize("write", [
    str.lower, lambda t: "00" + t, lambda t: ":".join(t[i:i + 2] for i in range(0, len(t), 2)), lambda t: " " + t.lower()],
    ids=["lower", "zeros", "colons", "space"])
@pytest.mark.parametrize("issuer", [{}, {"issuerName": None}, {"issuerName": "CN=a name nobody knows"}], ids=str)
def test_numbers_and_names_in_any_writing(world, write, issuer):
    """A long serial number says whose it is, however Intune writes the CA's name."""
    server, graph = world
    _, serial = server.sign("kiosk")
    graph.request_revocation("writing " + serial, write(serial), **issuer)
    assert result(graph, "writing " + serial) == DONE
    assert server.status_of(serial) == "revoked"


def test_what_cannot_be_carried_out_is_answered(world):
    server, graph = world
    _, revoked = server.sign("revoked before")
    server.control("revoke", serial=revoked, reason="superseded")
    _, held = server.sign("on hold")
    server.control("revoke", serial=held, reason="certificateHold")
    for context, serial in [("unknown", "4A00000012AB"), ("already", revoked), ("nonsense", "no number"), ("long", "12" * 200), ("empty", ""),
                            ("held", held), ("the CA's own", "%X" % server.ca.serial_number)]:
        graph.request_revocation(context, serial)
    assert code(graph, "unknown") == "CertificateNotFoundError"
    assert code(graph, "already") == "ConflictError"
    assert code(graph, "nonsense") == code(graph, "long") == code(graph, "empty") == "ParameterDataInvalidError"
    assert code(graph, "the CA's own") == "CertificateNotFoundError"
    assert result(graph, "held") == DONE and server.status_of(held) == "revoked"
    assert server.control("show", serial=revoked)["reason"] == "superseded"
    assert server.control("show", serial="%X" % server.ca.serial_number)["status"] == "good"


def test_two_requests_for_one_certificate(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    graph.request_revocation("first", serial)
    assert result(graph, "first") == DONE
    start = last_delta(server)
    graph.request_revocation("second", serial)
    assert code(graph, "second") == "ConflictError"
    assert last_delta(server) == start


def test_requests_to_other_cas_are_left_to_them(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    metric = 'revline_sync_skipped_total{source="revocation-requests"}'
    before = server.metrics().get(metric, 0)
    graph.request_revocation("another's", "4A00000012AC", issuerName="CN=Contoso Device CA")
    graph.request_revocation("ours", "4A00000012AD", issuerName="cn = revline root ca".replace(" = ", "="))
    graph.request_revocation("known", serial, issuerName="CN=Revline Root CA")
    assert result(graph, "known") == DONE and code(graph, "ours") == "CertificateNotFoundError"
    eventually(lambda: server.metrics().get(metric, 0) > before, "it is counted")
    assert "another's" not in graph.revocation_results()


def test_odd_members(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    for number in range(3):
        graph.request_revocation("nameless %d" % number, serial, requestContext=[None, 7, "c" * 20000][number])
    graph.request_revocation("\u4f60 context/with \"everything\" & \\ \U0001f4bb " + "x" * 3000, serial, caConfiguration=None, novelty=[{"a": 1}])
    context = "\u4f60 context/with \"everything\" & \\ \U0001f4bb " + "x" * 3000
    assert result(graph, context) == DONE
    assert not any(c.startswith("nameless") for c in graph.revocation_results())


def test_more_than_one_download_brings(graph, synced):
    """The next follows at once, not after the interval; results go up in pieces."""
    server = synced(REVLINE_SYNC_REVOCATION_REQUESTS_INTERVAL="1h")
    eventually(lambda: server.sync(SOURCE)["rounds"], "there was nothing to do")
    serials = [server.sign("kiosk %d" % i)[1] for i in range(3)]
    for number in range(1050):
        graph.request_revocation("r%d" % number, "AA%06X" % number if number % 500 else serials[number // 500])
    start = last_delta(server)
    server.control("sync", source=SOURCE)
    eventually(lambda: len(graph.revocation_results()) == 1050, "all are answered")
    assert {server.status_of(s) for s in serials} == {"revoked"} and last_delta(server) - start == 3
    assert all(len(r) == 1 for r in graph.revocation_results().values())
    assert len(graph.requests(on="intune.services")) == 1, "the address is kept"


# ---- twice ----
def test_delivered_again_after_its_result(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    graph.request_revocation("again", serial)
    assert result(graph, "again") == DONE
    start = last_delta(server)
    graph.switch("redeliver")
    eventually(lambda: len(graph.revocation_results()["again"]) >= 3, "it is answered again")
    assert result(graph, "again") == DONE, "by the same, though it is revoked already"
    assert last_delta(server) == start and server.control("show", serial=serial)["status"] == "revoked"


def test_an_upload_that_is_not_recorded(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    graph.switch("not_recorded")
    graph.switch("deliver_once")
    start = last_delta(server)
    graph.request_revocation("patience", serial)
    failures = server.sync(SOURCE)["failures"]
    eventually(lambda: server.sync(SOURCE)["failures"] >= failures + 3, "it is tried again and again")
    assert "recorded" in server.sync(SOURCE)["lastError"] and server.status_of(serial) == "revoked"
    graph.clear("not_recorded")
    assert result(graph, "patience") == DONE
    assert last_delta(server) - start == 1 and graph.revocations_delivered().count("patience") == 1


@pytest.mark.parametrize("on", ["intune.upload", "intune.download"])
@pytest.mark.parametrize("switch, value", [
    ("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 500}), ("fail", {"status": 503, "html": True}), ("fail", {"status": 200, "html": True}),
    ("fail", {"status": 403}), ("truncate", "wrong"), ("truncate", "short"), ("reset", 3), ("fail", {"status": 401})], ids=str)
def test_failures_on_the_way(world, on, switch, value):
    server, graph = world
    _, serial = server.sign("kiosk")
    start, failures = last_delta(server), server.sync(SOURCE)["failures"]
    context = "failing %s %s %s" % (on, switch, value)
    graph.switch(switch, value, on=on)
    graph.request_revocation(context, serial)
    eventually(lambda: server.sync(SOURCE)["failures"] >= failures + 2, "it fails")
    assert server.status_of(serial) == ("revoked" if on == "intune.upload" else "good")
    assert server.http("GET", "/probe")[0] == 200
    graph.clear()
    assert result(graph, context) == DONE
    assert server.status_of(serial) == "revoked" and last_delta(server) - start == 1
    eventually(lambda: not server.sync(SOURCE)["lastError"], "no error is left")


@pytest.mark.parametrize("kind", ["html", "not_object", "no_value", "deep", "empty_body"])
def test_broken_lists_of_requests(world, kind):
    server, graph = world
    _, serial = server.sign("kiosk")
    failures = server.sync(SOURCE)["failures"]
    graph.switch("json", kind, on="intune.download")
    graph.request_revocation("broken " + kind, serial)
    eventually(lambda: server.sync(SOURCE)["failures"] >= failures + 2, "it fails")
    assert server.status_of(serial) == "good"
    graph.clear()
    assert result(graph, "broken " + kind) == DONE


# ---- services and tokens ----
def test_a_service_that_has_moved_is_looked_up_again(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    seen, failures = len(graph.requests()), server.sync(SOURCE)["failures"]
    graph.move_services()
    graph.request_revocation("moved", serial)
    assert result(graph, "moved") == DONE
    assert len(graph.requests(since=seen, on="intune.services")) == 1 and server.sync(SOURCE)["failures"] == failures


def test_tokens_that_are_refused_are_replaced(world):
    server, graph = world
    _, serial = server.sign("kiosk")
    graph.move_services()
    graph.revoke_tokens()
    failures = server.sync(SOURCE)["failures"]
    graph.request_revocation("new tokens", serial)
    assert result(graph, "new tokens") == DONE
    assert server.sync(SOURCE)["failures"] == failures


@pytest.mark.parametrize("switch, value", [
    ("token_uses", 1), ("token_life", 1), ("expires_in_string", True), ("gzip", "always"), ("chunked", 7), ("close", True), ("json", "escapes"),
    ("json", "bom"), ("json", "unknown_members")], ids=str)
def test_odd_ways_of_saying_it(world, switch, value):
    server, graph = world
    _, serial = server.sign("kiosk")
    context = "odd %s %s" % (switch, value)
    graph.switch(switch, value)
    graph.revoke_tokens()
    graph.request_revocation(context, serial)
    assert result(graph, context) == DONE and graph.applied(switch) > 0
    eventually(lambda: not server.sync(SOURCE)["lastError"], "no error is left")


def test_no_token_goes_where_a_redirect_points(world):
    server, graph = world
    other = Remote()
    try:
        failures = server.sync(SOURCE)["failures"]
        graph.switch("redirect", other.url, on="intune.download")
        eventually(lambda: server.sync(SOURCE)["failures"] > failures, "it is a failure")
        assert "307" in server.sync(SOURCE)["lastError"]
        assert other.requests() == []
    finally:
        other.stop()


@pytest.mark.parametrize("services", [
    [], [{"providerName": "PkiConnectorFEService"}], [{"providerName": "PkiConnectorFEService", "uri": 7}, None, "x"],
    [{"providerName": "PkiConnectorFEService", "uri": "ftp://localhost/x"}], [{"providerName": "PkiConnectorFEService", "uri": "http://u:p@localhost/x"}],
    [{"providerName": "PkiConnectorFEService", "uri": "http://localhost/x?y"}]], ids=str)
def test_lists_of_services_without_a_usable_address(graph, synced, services):
    graph.switch("services", services)
    server = synced(**ASKED)
    eventually(lambda: "no usable address of Intune's PkiConnectorFEService" in (server.sync(SOURCE)["lastError"] or ""), "it is told")
    graph.clear()
    eventually(lambda: server.sync(SOURCE)["rounds"] and not server.sync(SOURCE)["lastError"], "and found later")


def test_addresses_without_tls_are_refused(graph, synced):
    """The setting's scheme decides: what Graph tells by plain http is no address of Microsoft's."""
    server = synced(**{**ASKED, "REVLINE_INTUNE_URL": "https://localhost:%d/intune-api" % graph.port})
    eventually(lambda: "no usable address" in (server.sync(SOURCE)["lastError"] or ""), "it is told")
    assert graph.requests(on="intune.download") == []


@pytest.mark.parametrize("fail, text", [({"status": 403, "code": "Authorization_RequestDenied"}, "Application.Read.All"), ({"status": 404}, "404")])
def test_a_look_up_that_is_refused(graph, synced, fail, text):
    graph.switch("fail", fail, on="intune.services")
    server = synced(**ASKED)
    eventually(lambda: text in (server.sync(SOURCE)["lastError"] or ""), "it is told")
    assert ("Application.Read.All" in server.sync(SOURCE)["advice"]) == (fail["status"] == 403)


# ---- settings ----
def test_it_is_off_unless_asked_for(graph, synced):
    server = synced()
    server.sync_round()
    assert SOURCE not in server.sync() and graph.requests(on="intune") == []


def test_another_tenant_gets_no_results(graph, synced):
    server = synced(**ASKED)
    eventually(lambda: server.sync(SOURCE)["rounds"], "a round")
    server.stop()
    seen = len(graph.requests())
    server.settings["AZURE_TENANT_ID"] = "bbbbbbbb-0000-4000-8000-ccccddddeeee"
    server.start()
    eventually(lambda: "tenant" in (server.sync(SOURCE)["lastError"] or ""), "it is told")
    assert graph.requests(since=seen, on="intune") == []
