"""REVLINE_ENROLL_LOOKUP: an enrollment looks an object up that no source has seen yet. The sources rest for an hour after their first
round, so whatever is known after that was looked up."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from harness import AAD_CHALLENGE, JAMF_CHALLENGE, eventually, fake_intune, jamf_settings
from test_est import EST, client_key, csr_der, est, lines, serial_of

RESTS = {"REVLINE_SYNC_ENTRA_INTERVAL": "1h", "REVLINE_SYNC_INTUNE_INTERVAL": "1h", "REVLINE_SYNC_JAMF_INTERVAL": "1h"}
PREFER = {**RESTS, "REVLINE_ENROLL_LOOKUP": "prefer"}
REQUIRE = {**RESTS, "REVLINE_ENROLL_LOOKUP": "require"}
NOBODY = "0a0b0c0d-1111-2222-3333-444455556666"
AWAY = "cannot be asked now"


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


def enroll(server, signer, cn, path="/static/aad", challenge=AAD_CHALLENGE, upn=None, ou=None):
    csr = scep_client.make_csr(signer.key, cn, challenge, upn, ou=ou)
    return scep_client.enroll(server.url + path, challenge, cn, signer=signer, csr=csr)


def issued(result):
    assert result.pki_status == "SUCCESS", result
    return serial_of(result.certificate)


def refused(result, text):
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and text in result.fail_text, result


def known(server, serial):
    """The source and kind of object that it is bound to."""
    return {b["source"] for b in server.control("show", serial=serial)["bindings"]}


@pytest.fixture
def world(graph, synced):
    """A server whose sources have made their first round over a directory with one of each kind."""
    def make(**settings):
        server = synced(**{**PREFER, **settings})
        eventually(lambda: all(s["rounds"] for s in server.sync().values()), "the first rounds")
        return server
    for collection in ("devices", "users", "managedDevices"):
        graph.add(collection, "another")
    return make


@pytest.fixture(scope="module")
def shared(watching):
    def fill(graph):
        for collection in ("devices", "users", "managedDevices"):
            graph.add(collection, "another")

    server, graph = watching(fill, **{**PREFER, **EST})
    eventually(lambda: all(s["rounds"] for s in server.sync().values()), "the first rounds")
    return server, graph


@pytest.fixture
def prefer(shared):
    yield shared
    shared[1].clear()


# ---- found ----
def test_a_device_that_is_found_is_known_from_then_on(prefer, signer):
    server, graph = prefer
    device = graph.add("devices", "pc-1")
    serial = issued(enroll(server, signer, device["deviceId"].upper()))
    assert known(server, serial) == {"entra-device"}
    asked = len(graph.requests(on="devices.list"))
    issued(enroll(server, signer, device["deviceId"]))
    assert len(graph.requests(on="devices.list")) == asked, "what is known is not asked for"


def test_a_disabled_device_gets_a_certificate_on_hold(prefer, signer):
    server, graph = prefer
    device = graph.add("devices", "off", accountEnabled=False)
    assert server.status_of(issued(enroll(server, signer, device["deviceId"]))) == "hold"


@pytest.mark.parametrize("switch", ["no_device_sid", "id_form", "json"])
def test_answers_in_other_forms(prefer, signer, switch):
    server, graph = prefer
    device = graph.add("devices", "pc-" + switch)
    graph.switch(switch, {"no_device_sid": True, "id_form": "braces", "json": "unknown_members"}[switch])
    assert known(server, issued(enroll(server, signer, device["deviceId"]))) == {"entra-device"}
    assert graph.applied(switch) > 0


@pytest.mark.parametrize("name", ["ada@contoso.example", "o'hara@contoso.example", "guest_b.example#ext#@contoso.example", "$x@contoso.example"])
def test_a_user_by_any_name(prefer, signer, name):
    server, graph = prefer
    graph.add("users", name, userPrincipalName=name)
    assert known(server, issued(enroll(server, signer, "a person", upn=name.upper()))) == {"entra-user"}


def test_a_user_by_a_mail_address(prefer, signer):
    """It is as good a name as the user principal name: the certificate is bound to the user."""
    server, graph = prefer
    graph.add("users", "eve", mail="eve.e@contoso.example")
    assert known(server, issued(enroll(server, signer, "a person", upn="eve.e@contoso.example"))) == {"entra-user"}


def test_a_managed_device_by_intunes_id(prefer, signer):
    server, graph = prefer
    phone = graph.add("managedDevices", "phone", complianceState="compliant")
    assert "intune-device" in known(server, issued(enroll(server, signer, phone["id"])))


def test_intune_alone_knows_a_device_by_both_ids(world, graph, signer):
    server = world(REVLINE_DEVICE_DIRECTORY="Intune")
    phone = graph.add("managedDevices", "phone", azureADDeviceId="5c6d0000-0000-4000-8000-000000000001")
    issued(enroll(server, signer, phone["azureADDeviceId"]))
    issued(enroll(server, signer, phone["id"]))
    refused(enroll(server, signer, NOBODY), "has no " + NOBODY)
    assert not graph.requests(on="devices.list")


def test_a_round_that_has_begun_before_does_not_take_it_for_deleted(world, graph, signer):
    """A full round lists what was there when it began. The second one has its say."""
    server = world(REVLINE_SYNC_FULL_INTERVAL="1h")
    seen = len(graph.requests())
    graph.switch("hold_answer", on="devices.delta.first")
    server.control("sync", source="entra-device", full=True)
    graph.wait(1, since=seen, on="devices.delta.first", held=True)
    device = graph.add("devices", "new")
    serial = issued(enroll(server, signer, device["deviceId"]))
    rounds = server.sync("entra-device")["rounds"]
    graph.clear("hold_answer")
    eventually(lambda: server.sync("entra-device")["rounds"] > rounds, "it is over")
    assert server.status_of(serial) == "good"
    graph.forget("devices", device["id"])
    server.control("sync", source="entra-device", full=True)
    eventually(lambda: server.status_of(serial) == "revoked", "it is gone by the next")


# ---- not found ----
def test_what_another_directory_has_known_is_asked_for_all_the_same(world, graph, signer):
    pc = graph.add("devices", "pc")
    server = world(REVLINE_DEVICE_DIRECTORY="AAD")
    issued(enroll(server, signer, pc["deviceId"]))
    server.stop()
    server.settings["REVLINE_DEVICE_DIRECTORY"] = "Intune"
    server.start()
    eventually(lambda: server.sync("intune-device")["rounds"], "the first round")
    refused(enroll(server, scep_client.make_signer(), pc["deviceId"]), "has no " + pc["deviceId"])


def test_what_the_directory_does_not_have_gets_no_certificate(prefer, signer, tmp_path):
    server, graph = prefer
    before = len(server.all_certificates())
    refused(enroll(server, signer, NOBODY), "has no " + NOBODY)
    refused(enroll(server, signer, "a person", upn="nobody@contoso.example"), "has no nobody@contoso.example")
    device = graph.add("devices", "with a user")
    refused(enroll(server, signer, device["deviceId"], upn="nobody@contoso.example"), "has no nobody@contoso.example")
    answer = est(server, "static-aad/simpleenroll", tmp_path, lines(csr_der(client_key(), NOBODY)), AAD_CHALLENGE)
    assert answer.status == 403 and NOBODY.encode() in answer.body
    assert len(server.all_certificates()) == before
    # it comes, and is found at the next try
    device = graph.add("devices", "late", deviceId=NOBODY)
    issued(enroll(server, signer, NOBODY))
    answer = est(server, "static-aad/simpleenroll", tmp_path, lines(csr_der(client_key(), NOBODY)), AAD_CHALLENGE)
    assert answer.status == 200


def test_a_profile_that_binds_to_nothing_asks_nobody(prefer, signer):
    server, graph = prefer
    seen = len(graph.requests())
    issued(enroll(server, signer, NOBODY.replace("6666", "7777"), "/static", server.settings["REVLINE_STATIC_CHALLENGE"]))
    assert graph.requests(since=seen) == []


def test_intunes_challenge_comes_first_and_hears_of_the_refusal(world, graph, signer):
    server = world(REVLINE_INTUNE_URL="http://localhost:%d%s" % (graph.port, fake_intune.API))
    device = graph.add("devices", "pc")
    path = "/certsrv/mscep/mscep.dll"
    refused(enroll(server, signer, NOBODY, path, "opaque"), "has no " + NOBODY)
    eventually(lambda: [a for a in graph.scep_actions() if a[0] == "failureNotification"], "Intune knows")
    assert known(server, issued(enroll(server, signer, device["deviceId"], path, "opaque"))) == {"entra-device"}


# ---- away ----
FAILURES = [("fail", {"status": 503}), ("fail", {"status": 429, "retry_after": 1}), ("fail", {"status": 403, "code": "Forbidden"}), ("reset", 0),
            ("json", "html"), ("fail", {"status": 400})]


@pytest.mark.parametrize("switch, value", FAILURES, ids=str)
def test_a_directory_that_cannot_be_asked(world, graph, signer, tmp_path, switch, value):
    """prefer goes on as without; require has the client come again."""
    device = graph.add("devices", "known before")
    for settings in (PREFER, {**REQUIRE, **EST}):
        server = world(**settings)
        graph.switch(switch, value, on="devices.list")
        if settings is PREFER:
            assert known(server, issued(enroll(server, signer, NOBODY))) == {"entra-device-name"}
        else:
            refused(enroll(server, signer, NOBODY), AWAY)
            answer = est(server, "static-aad/simpleenroll", tmp_path, lines(csr_der(client_key(), NOBODY)), AAD_CHALLENGE)
            assert answer.status == 503 and answer.headers["retry-after"]
            graph.clear()
            graph.add("devices", "here", deviceId=NOBODY)
            eventually(lambda: enroll(server, signer, NOBODY).pki_status == "SUCCESS", "and then it can")
        issued(enroll(server, signer, device["deviceId"]))
        graph.clear()
        server.stop()


def test_a_permission_that_lacks_for_intune_holds_back_nobody_in_entra(world, graph, signer):
    """Of one that Entra ID does not have it is not known then whether it exists."""
    server = world(**REQUIRE)
    graph.switch("fail", {"status": 403, "code": "Forbidden"}, on="managedDevices.one")
    for i in range(5):
        refused(enroll(server, signer, NOBODY), AWAY)
        issued(enroll(server, signer, graph.add("devices", "pc-%d" % i)["deviceId"]))


def test_it_waits_no_longer_than_it_may(world, graph, signer):
    for settings, status in ((PREFER, "SUCCESS"), (REQUIRE, "FAILURE")):
        server = world(**settings, REVLINE_ENROLL_LOOKUP_TIMEOUT="300ms", REVLINE_SYNC_REQUEST_TIMEOUT="10m")
        graph.switch("hold", on="devices.list")
        assert enroll(server, signer, NOBODY).pki_status == status
        graph.clear()
        server.stop()


def test_no_token(world, graph, signer):
    server = world(**REQUIRE)
    graph.revoke_tokens()
    graph.switch("fail", {"status": 500}, on="token")
    refused(enroll(server, signer, NOBODY), AWAY)
    graph.clear()
    device = graph.add("devices", "pc")
    eventually(lambda: enroll(server, signer, device["deviceId"]).pki_status == "SUCCESS", "tokens are back")


def test_a_stop_lets_everybody_go(world, graph, signer):
    server = world(**REQUIRE, REVLINE_ENROLL_LOOKUP_TIMEOUT="2s")
    seen = len(graph.requests())
    graph.switch("hold", on="devices.list")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(enroll, server, signer, NOBODY[:-1] + str(i)) for i in range(4)]
        graph.wait(1, since=seen, on="devices.list", held=True)
        server.stop()
        for one in waiting:
            one.exception()  # an answer, or none
    graph.clear()


def test_many_at_once(world, graph, signer):
    server = world(**REQUIRE)
    devices = [graph.add("devices", "pc-%d" % i) for i in range(40)]
    graph.revoke_tokens()
    ca = scep_client.get_ca_cert(server.url + "/static/aad")

    def one(device):
        return scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, device["deviceId"], signer=signer, ca=ca)
    with ThreadPoolExecutor(16) as pool:
        for result in pool.map(one, devices):
            assert known(server, issued(result)) == {"entra-device"}
    assert server.metrics()['revline_enroll_lookups_total{result="found"}'] == 40


def test_off_asks_nobody(world, graph, signer):
    server = world(REVLINE_ENROLL_LOOKUP="off")
    seen = len(graph.requests())
    issued(enroll(server, signer, NOBODY))
    assert graph.requests(since=seen) == []


def test_a_directory_that_is_not_watched_is_not_asked(graph, synced, signer):
    server = synced(**{**REQUIRE, "REVLINE_SYNC_ENTRA_INTERVAL": "0", "REVLINE_SYNC_INTUNE_INTERVAL": "0"})
    issued(enroll(server, signer, NOBODY))
    assert graph.requests() == []


# ---- Jamf Pro ----
@pytest.fixture
def macs(jamf, make_server):
    def make(**settings):
        server = make_server(**jamf_settings(jamf, **{**PREFER, **settings}))
        eventually(lambda: all(s["rounds"] for s in server.sync().values()), "the first rounds")
        return server
    for collection in ("computers", "devices", "users"):
        jamf.add(collection, "always there")
    yield make
    assert jamf.violations() == []


@pytest.mark.parametrize("collection, unit", [("computers", "computers"), ("devices", "devices"), ("computers", "users-on-computers")])
def test_jamf_pros_objects(macs, jamf, signer, collection, unit):
    server = macs()
    upn = "ada@contoso.example" if unit.startswith("users") else None
    refused(enroll(server, signer, "7", "/jamf", JAMF_CHALLENGE, upn, unit), "has no 7")
    item = jamf.add(collection, "new")
    jamf.revoke_tokens()
    serial = issued(enroll(server, signer, str(item["id"]), "/jamf", JAMF_CHALLENGE, upn, unit))
    asked = len(jamf.requests(on=collection + ".one"))
    issued(enroll(server, signer, str(item["id"]), "/jamf", JAMF_CHALLENGE, upn, unit))
    assert len(jamf.requests(on=collection + ".one")) == asked and server.status_of(serial) == "good"
    server.control("sync", full=False)
    eventually(lambda: server.sync("jamf-computer")["rounds"] >= 2 and server.sync("jamf-device")["rounds"] >= 2, "another round")
    assert server.status_of(serial) == "good"


def test_jamf_pro_that_cannot_be_asked(macs, jamf, signer):
    server = macs(**REQUIRE)
    for value, on in (({"status": 503}, "computers.one"), ({"status": 401}, "token"), ({"status": 200, "html": True}, "computers.one")):
        jamf.revoke_tokens()
        jamf.switch("fail", value, on=on)
        refused(enroll(server, signer, "8", "/jamf", JAMF_CHALLENGE, ou="computers"), AWAY)
        jamf.clear()
    while jamf.add("computers", "new")["id"] < 8:
        pass
    eventually(lambda: enroll(server, signer, "8", "/jamf", JAMF_CHALLENGE, ou="computers").pki_status == "SUCCESS", "and then it can")


def test_404_while_jamf_pro_fails_is_no_answer(macs, jamf, signer):
    """During an upgrade it says 404 to everything: its source notices, and then nobody is refused by that."""
    server = macs()
    jamf.switch("fail", {"status": 404, "html": True})
    server.control("sync", full=False)
    eventually(lambda: server.sync("jamf-computer")["lastError"], "its source fails")
    issued(enroll(server, signer, "9", "/jamf", JAMF_CHALLENGE, ou="computers"))


def test_a_version_that_jamf_pro_may_not_have_is_not_asked_by(macs, jamf, signer):
    """It says 404 to it. Which version it has, its source finds out in its first round."""
    jamf.switch("versions", ["v3"])
    server = macs()
    server.stop()
    new = jamf.add("computers", "new")
    since = len(jamf.requests())
    jamf.switch("hold", on="computers.list")
    server.start()
    assert jamf.wait(1, since=since, on="computers.list", held=True) == 1
    issued(enroll(server, signer, str(new["id"]), "/jamf", JAMF_CHALLENGE, ou="computers"))
    assert jamf.requests(since=since, on="computers.one") == []
    jamf.clear("hold")
    eventually(lambda: server.sync("jamf-computer")["rounds"], "it has found out")
    refused(enroll(server, signer, "4711", "/jamf", JAMF_CHALLENGE, ou="computers"), "has no 4711")
