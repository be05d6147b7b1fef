"""Jamf Pro's computers, mobile devices and users: what they do to certificates, and what does nothing."""

import json
import shutil

import pytest
import scep_client
from harness import JAMF_CHALLENGE, CommandFailed, Revline, eventually, fake_jamf, jamf_settings, openssl_ocsp

GONE = ("revoked", "cessationOfOperation")
SOURCES = ("jamf-computer", "jamf-device", "jamf-user")


class Fleet:
    """One object of each kind, with a certificate for each of the four subjects."""

    def __init__(self, server, jamf, prefix=""):
        self.server, self.jamf = server, jamf
        self.mac, self.phone = jamf.add("computers", prefix + "mac"), jamf.add("devices", prefix + "phone")
        self.ada = jamf.add("users", prefix + "Ada@contoso.example")
        self.round()
        self.serials = {
            "computers": self.sign(self.mac, "computers"),
            "devices": self.sign(self.phone, "devices"),
            "users-on-computers": self.sign(self.mac, "users-on-computers", self.ada["name"].upper()),
            "users-on-devices": self.sign(self.phone, "users-on-devices", self.ada["name"])}

    def sign(self, item, ou, upn=None):
        return self.server.sign(str(item["id"]), "jamf", upn, ou=ou)[1]

    def round(self):
        self.server.sync_round()

    def delete(self):
        """The computer and the user: all but the mobile device's own certificate end by it."""
        self.jamf.delete("computers", self.mac["id"])
        self.jamf.delete("users", self.ada["id"])

    def revoked(self):
        return {kind for kind, serial in self.serials.items() if self.server.status_of(serial) == "revoked"}

    def become(self, *kinds):
        eventually(lambda: self.revoked() == set(kinds), "revoked are %s; now %s, %s" % (kinds, self.revoked(), self.server.sync()))


ALL_BUT_THE_DEVICE = ("computers", "users-on-computers", "users-on-devices")


def populate(jamf):
    for collection in ("computers", "devices", "users"):
        for i in range(4):
            jamf.add(collection, "always there %d" % i)


@pytest.fixture
def watched(jamf, make_server):
    """watched(NAME="value", …): a server that watches the fake, in which there are objects already."""
    populate(jamf)
    yield lambda start=True, **settings: make_server(start=start, **jamf_settings(jamf, **settings))
    assert jamf.violations() == []


@pytest.fixture(scope="module")
def shared(templates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jamf") / "data"
    shutil.copytree(templates("ec-p256"), folder)
    folder.chmod(0o700)
    jamf = fake_jamf.Jamf().start()
    populate(jamf)
    server = Revline(folder, jamf_settings(jamf, REVLINE_SYNC_PAGE_LIMIT="4MiB", REVLINE_SYNC_RETRY_MAX="100ms")).start()
    yield server, jamf
    server.stop()
    assert jamf.violations() == []
    jamf.stop()
    shutil.rmtree(folder.parent, ignore_errors=True)


@pytest.fixture
def fleet(shared, request):
    server, jamf = shared
    yield Fleet(server, jamf, prefix=request.node.name + "/")
    jamf.clear()


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


def enroll(server, signer, number, ou, upn=None, challenge=JAMF_CHALLENGE, path="/jamf"):
    csr = scep_client.make_csr(signer.key, str(number), challenge, upn, ou=ou)
    return scep_client.enroll(server.url + path, challenge, str(number), signer=signer, csr=csr)


# ---- what counts ----
@pytest.mark.parametrize("ou, deleted", [
    ("computers", "computers"), ("devices", "devices"), ("users-on-computers", "computers"), ("users-on-computers", "users"),
    ("users-on-devices", "devices"), ("users-on-devices", "users")])
def test_enrolled_then_deleted(fleet, signer, tmp_path, ou, deleted):
    server, jamf = fleet.server, fleet.jamf
    bearer, user = (fleet.mac if "computers" in ou else fleet.phone), (fleet.ada["name"] if "users" in ou else None)
    result = enroll(server, signer, bearer["id"], ou, user, path="/jamf/pkiclient.exe")
    assert openssl_ocsp(server, result.certificate, tmp_path) == "good"
    assert server.control("show", serial=result.serial_hex)["profile"] == "jamf"
    seen, item = len(jamf.requests()), {"computers": fleet.mac, "devices": fleet.phone, "users": fleet.ada}[deleted]
    jamf.delete(deleted, item["id"])
    eventually(lambda: server.status_of(result.serial_hex) == "revoked", "revoked")
    assert openssl_ocsp(server, result.certificate, tmp_path) == GONE
    assert server.control("show", serial=result.serial_hex)["why"] == ["deleted"]
    # It was asked for by its number, and after that one that is there.
    asked = jamf.requests(since=seen, on=deleted + ".one")
    assert [r["status"] for r in asked[:2]] == [404, 200] and asked[0]["path"].endswith("/%d" % item["id"])
    # Nobody gets a certificate in its name any more.
    again = enroll(server, signer, bearer["id"], ou, user, path="/jamf")
    assert again.certificate is None or again.certificate == result.certificate
    with pytest.raises(CommandFailed, match="deleted"):
        fleet.sign(bearer, ou, user)


def test_others_stay_good(fleet):
    fleet.delete()
    fleet.become(*ALL_BUT_THE_DEVICE)
    fleet.round()
    assert fleet.server.status_of(fleet.serials["devices"]) == "good"


def test_what_a_request_must_name(fleet, signer):
    for number, ou, upn in [("mac-1", "computers", None), ("0", "computers", None), ("01", "devices", None), ("1", "laptops", None), ("1", None, None),
                            ("1", "users-on-computers", None)]:
        result = enroll(fleet.server, signer, number, ou, upn)
        assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest"), (number, ou)
    assert enroll(fleet.server, signer, "1", "computers", challenge="another-challenge-4").pki_status == "FAILURE"


def test_objects_that_are_seen_after_their_certificates(fleet):
    """A user is bound by the name until Jamf Pro has one of that name; a number needs no look."""
    server, jamf = fleet.server, fleet.jamf
    number = jamf.last["computers"] + 1
    serial = server.sign(str(number), "jamf", "later@contoso.example", ou="users-on-computers")[1]
    assert {b["source"] for b in server.control("show", serial=serial)["bindings"]} == {"jamf-computer", "jamf-user-name"}
    jamf.add("computers", "later")
    user = jamf.add("users", "Later@contoso.example")
    fleet.round()
    assert {b["source"] for b in server.control("show", serial=serial)["bindings"]} == {"jamf-computer", "jamf-user"}
    jamf.delete("users", user["id"])
    eventually(lambda: server.status_of(serial) == "revoked", "the user is gone")


def test_a_number_that_never_comes_loses_its_certificate_after_the_grace(watched, jamf):
    """Such as that of a computer that was deleted before a listing had it. Jamf Pro is asked for it before that."""
    server = watched(REVLINE_SYNC_NEW_DEVICE_GRACE="2s")
    later = jamf.last["devices"] + 1
    _, never = server.sign("4711", "jamf", ou="computers")
    _, comes = server.sign(str(later), "jamf", ou="devices")
    jamf.add("devices", "later")
    eventually(lambda: server.status_of(never) == "revoked", "nobody knows it")
    assert [r["status"] for r in jamf.requests(on="computers.one") if r["path"].endswith("/4711")] == [404]
    server.sync_round()
    assert server.status_of(comes) == "good"


def test_a_number_of_a_collection_without_any_breaks_nothing(jamf, make_server):
    """Mobile devices of a Jamf Pro that has computers alone: there is no 200 beside which a 404 would count."""
    jamf.add("computers", "mac")
    server = make_server(**jamf_settings(jamf, REVLINE_SYNC_NEW_DEVICE_GRACE="1s"))
    _, serial = server.sign("4711", "jamf", ou="devices")
    _, other = server.sign("4711", "jamf", ou="computers")
    eventually(lambda: server.status_of(other) == "revoked", "the grace is over")
    server.sync_round()
    server.sync_round()
    assert (server.status_of(serial), server.sync("jamf-device")["failures"]) == ("good", 0)
    jamf.add("devices", "phone")
    eventually(lambda: server.status_of(serial) == "revoked", "there is one, and not this one")


def test_a_number_that_is_not_known_is_good_within_the_grace(watched, jamf):
    server = watched()
    _, serial = server.sign("4711", "jamf", ou="computers")
    for _ in range(3):
        server.sync_round()
    assert server.status_of(serial) == "good" and jamf.requests(on="computers.one") == []


def test_a_renamed_user_is_not_gone(fleet):
    fleet.jamf.update("users", fleet.ada["id"], name="married@contoso.example")
    fleet.round()
    fleet.round()
    assert fleet.revoked() == set()
    fleet.jamf.delete("users", fleet.ada["id"])
    fleet.become("users-on-computers", "users-on-devices")


def test_more_are_gone_than_one_round_asks_for(watched, jamf):
    """The rest waits for rounds that follow at once."""
    server = watched(REVLINE_SYNC_JAMF_INTERVAL="1h")
    macs = [jamf.add("computers", "mac-%d" % i) for i in range(450)]
    server.sync_round()
    serials = [server.sign(str(mac["id"]), "jamf", ou="computers")[1] for mac in macs[::50]]
    for mac in macs:
        jamf.delete("computers", mac["id"])
    seen = len(jamf.requests())
    server.control("sync", source="jamf-computer")
    eventually(lambda: all(server.status_of(serial) == "revoked" for serial in serials), "all are gone")
    eventually(lambda: len([r for r in jamf.requests(since=seen, on="computers.one") if r["status"] == 404]) == 450, "each was asked for")
    assert len(jamf.requests(since=seen, on="computers.list")) >= 3


# ---- a listing proves nothing by what it leaves out ----
def test_left_out_of_listings_but_there(fleet):
    seen = len(fleet.jamf.requests())
    fleet.jamf.switch("leave_out", [fleet.mac["id"]], on="computers")
    rounds = fleet.server.sync("jamf-computer")["rounds"]
    eventually(lambda: fleet.server.sync("jamf-computer")["rounds"] > rounds + 3, "some rounds later")
    asked = fleet.jamf.requests(since=seen, on="computers.one")
    assert asked and {r["status"] for r in asked} == {200} and fleet.revoked() == set()
    fleet.jamf.delete("computers", fleet.mac["id"])
    fleet.become("computers", "users-on-computers")


def test_many_that_are_left_out_do_not_keep_one_that_is_gone(watched, jamf):
    """More than one round asks for are there though no listing has them: the deletion among them is settled all the same."""
    server = watched()
    macs = [jamf.add("computers", "mac-%d" % i) for i in range(230)]
    server.sync_round()
    _, serial = server.sign(str(macs[0]["id"]), "jamf", ou="computers")
    jamf.switch("leave_out", [mac["id"] for mac in macs], on="computers")
    jamf.delete("computers", macs[0]["id"])
    eventually(lambda: server.status_of(serial) == "revoked", "it is gone")
    assert server.control("sync-hold")["changes"] == []


def test_404_to_everything_is_no_deletion(fleet):
    """An upgrade, a lost site: the listing has gaps, and no number is found."""
    for collection in ("computers", "devices", "users"):
        fleet.jamf.switch("not_found", on=".one")
    fleet.delete()
    for source in ("jamf-computer", "jamf-user"):
        eventually(lambda: "just listed" in fleet.server.sync(source)["lastError"], "its answers do not add up")
    failed = fleet.server.sync("jamf-user")["failures"]
    eventually(lambda: fleet.server.sync("jamf-user")["failures"] > failed + 2, "again and again")
    assert fleet.revoked() == set()
    fleet.jamf.clear()
    fleet.become(*ALL_BUT_THE_DEVICE)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_broken_record_keeps_nobody_from_being_found_gone(watched, jamf, status):
    broken, gone = jamf.add("computers", "broken"), jamf.add("computers", "gone")
    server = watched()
    server.sync_round()
    serials = [server.sign(str(mac["id"]), "jamf", ou="computers")[1] for mac in (broken, gone)]
    jamf.switch("bad_record", {str(broken["id"]): status}, on="computers")
    jamf.switch("leave_out", [broken["id"]], on="computers")
    eventually(lambda: "asked for number %d" % broken["id"] in server.sync("jamf-computer")["lastError"], "it is told")
    jamf.delete("computers", gone["id"])
    eventually(lambda: server.status_of(serials[1]) == "revoked", "the other one is gone")
    assert server.status_of(serials[0]) == "good"


def test_pages_that_shift_while_they_are_read(fleet):
    """An object goes from the first page, so one of the second is on no page: it stays."""
    doomed = fleet.jamf.add("computers", "doomed")
    for i in range(3):
        fleet.jamf.add("computers", "behind %d" % i)
    fleet.round()
    fleet.jamf.switch("page_cap", 2)
    fleet.jamf.switch("shift", {"collection": "computers", "id": 1 if any(o["id"] == 1 for o in fleet.jamf.objects("computers")) else doomed["id"]},
                      on="computers.list", times=1)
    fleet.round()
    fleet.round()
    assert fleet.revoked() == set() and fleet.jamf.applied("shift") == 1


# ---- odd, but true ----
@pytest.mark.parametrize("switch, value", [
    ("page_cap", 1), ("page_cap", 3), ("padding", 3_000_000), ("json", "unknown_members"), ("json", "null_members"), ("json", "escapes"),
    ("json", "bom"), ("json", "id_form"), ("token_uses", 1), ("token_life", 2), ("expires_in_string", True), ("gzip", "asked"), ("chunked", 7),
    ("close", True), ("versions", ["v3"]), ("date_skew", 600), ("cluster", True)], ids=str)
def test_odd_answers_are_understood(fleet, switch, value):
    fleet.jamf.switch(switch, value)
    fleet.jamf.revoke_tokens()
    fleet.delete()
    fleet.become(*ALL_BUT_THE_DEVICE)
    assert fleet.jamf.applied(switch) > 0


# ---- broken, or lies ----
FAILURES = [("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 503, "html": True}), ("fail", {"status": 500}), ("fail", {"status": 403}),
            ("fail", {"status": 401}), ("fail", {"status": 204}), ("reset", 0), ("truncate", "wrong"), ("redirect", "http://localhost:9")]


@pytest.mark.parametrize("switch, value", FAILURES + [
    ("fail", {"status": 404}), ("fail", {"status": 200}), ("truncate", "short"), ("json", "html"), ("json", "empty_body"), ("json", "not_object"),
    ("json", "no_list"), ("json", "wrong_types"), ("json", "deep"), ("empty_list", True), ("padding", 5_000_000)], ids=str)
def test_broken_listings_change_nothing(fleet, switch, value):
    fleet.jamf.switch(switch, value, on="list")
    fleet.delete()
    failing_changes_nothing(fleet, SOURCES[::2])
    if switch == "empty_list":
        assert "revoke the certificates that are left by hand" in fleet.server.sync("jamf-computer")["advice"]
    fleet.jamf.clear()
    recovers(fleet)


@pytest.mark.parametrize("switch, value", [f for f in FAILURES if f[1] not in ({"status": 500}, {"status": 204}, "wrong")], ids=str)
def test_broken_answers_about_a_number_change_nothing(fleet, switch, value):
    fleet.jamf.switch(switch, value, on="one")
    fleet.delete()
    failing_changes_nothing(fleet, SOURCES[::2])
    fleet.jamf.clear()
    recovers(fleet)


def failing_changes_nothing(fleet, sources):
    for source in sources:
        failed = fleet.server.sync(source)["failures"]
        eventually(lambda: fleet.server.sync(source)["failures"] > failed + 1, source + " fails again and again")
    assert fleet.revoked() == set()
    assert fleet.server.http("GET", "/probe")[0] == 200


def recovers(fleet):
    fleet.become(*ALL_BUT_THE_DEVICE)
    eventually(lambda: not any(s["lastError"] for s in fleet.server.sync().values()), "no error is left")


@pytest.mark.parametrize("switch, value, words", [("same_page", True, "circle"), ("total_off", 1, "end after"), ("json", "no_count", "totalCount")],
                         ids=str)
def test_pages_that_do_not_add_up_change_nothing(fleet, switch, value, words):
    fleet.jamf.switch("page_cap", 2)
    fleet.jamf.switch(switch, value, on="computers.list")
    fleet.jamf.delete("computers", fleet.mac["id"])
    eventually(lambda: words in fleet.server.sync("jamf-computer")["lastError"], "refused")
    assert fleet.revoked() == set()
    fleet.jamf.clear()
    fleet.become("computers", "users-on-computers")


def test_one_collection_does_not_wait_for_another(fleet):
    fleet.jamf.switch("hold", on="computers")
    fleet.jamf.delete("users", fleet.ada["id"])
    fleet.become("users-on-computers", "users-on-devices")


def test_retry_after_is_obeyed(fleet):
    seen = len(fleet.jamf.requests())
    fleet.jamf.switch("fail", {"status": 429, "retry_after": 2}, on="computers", times=1)
    eventually(lambda: any(r["status"] == 429 for r in fleet.jamf.requests(since=seen, on="computers")), "throttled")
    first = len(fleet.jamf.requests())
    fleet.jamf.wait(6, since=first, on="users")  # the other sources are the clock
    assert fleet.jamf.requests(since=first, on="computers") == []
    fleet.round()


@pytest.mark.parametrize("source, on, privilege", [
    ("jamf-computer", "computers", "Read Computers"), ("jamf-device", "devices", "Read Mobile Devices"), ("jamf-user", "users", "Read User")])
def test_a_missing_privilege_is_named(fleet, source, on, privilege):
    fleet.jamf.switch("fail", {"status": 403}, on=on)
    eventually(lambda: privilege in fleet.server.sync(source)["lastError"], "the privilege is named")
    assert fleet.revoked() == set()


def test_a_webhook_wakes_the_sources(watched, jamf):
    fleet = Fleet(watched(REVLINE_SYNC_JAMF_INTERVAL="1h", REVLINE_JAMF_WEBHOOK_SECRET="hook-secret-0004"), jamf)
    fleet.delete()
    assert fleet.server.http("POST", "/hooks/jamf", b"{}", {"X-Webhook-Secret": "hook-secret-0004"})[0] == 202
    fleet.become(*ALL_BUT_THE_DEVICE)


def test_a_webhook_wakes_the_source_that_it_is_about(watched, jamf):
    server = watched(REVLINE_SYNC_JAMF_INTERVAL="1h", REVLINE_JAMF_WEBHOOK_SECRET="hook-secret-0005")
    server.sync_round()

    def rounds():
        return {source: server.sync(source)["rounds"] for source in SOURCES}

    for event, about, woken in [("ComputerInventoryCompleted", {}, SOURCES[:1]), ("computerAdded", {}, SOURCES[:1]), ("MobileDeviceUnEnrolled", {}, SOURCES[1:2]),
                                ("RestAPIOperation", {"restAPIOperationType": "DELETE"}, SOURCES), ("RestAPIOperation", {}, SOURCES), (7, {}, SOURCES),
                                (None, {}, SOURCES), ("RestAPIOperation", {"restAPIOperationType": "GET"}, []), ("computerCheckin", {}, []),
                                ("MobileDevicePushSent", {}, []), ("SmartGroupUserMembershipChange", {}, [])]:
        before = rounds()
        body = json.dumps({"webhook": {"webhookEvent": event}, "event": {"jssID": 13, **about}}).encode() if event else b"<xml/>"
        assert server.http("POST", "/hooks/jamf", body, {"X-Webhook-Secret": "hook-secret-0005"})[0] == 202
        eventually(lambda: all(rounds()[source] > before[source] for source in woken), "%s wakes %s" % (event, woken))
        server.sync_round()  # one more of each; whoever was woken has had two
        assert {source for source in SOURCES if rounds()[source] == before[source] + 2} == set(woken), event


# ---- logins and settings ----
BY_USER = {"REVLINE_JAMF_CLIENT_ID": None, "REVLINE_JAMF_CLIENT_SECRET": None, "REVLINE_JAMF_USER": fake_jamf.USER, "REVLINE_JAMF_PASSWORD": fake_jamf.PASSWORD}


@pytest.mark.parametrize("skew", [0, 86400, -86400])
def test_a_user_and_a_password(watched, jamf, skew):
    """The time of expiry is the server's own: its clock may be wrong."""
    jamf.switch("date_skew", skew)
    fleet = Fleet(watched(**BY_USER), jamf)
    logins = len(jamf.requests(on="token.user"))
    assert 1 <= logins <= 3 and jamf.requests(on="token.client") == []
    jamf.revoke_tokens()
    fleet.delete()
    fleet.become(*ALL_BUT_THE_DEVICE)
    log = fleet.server.log()
    assert fake_jamf.PASSWORD not in log and not any(token in log for token in jamf.tokens)


@pytest.mark.parametrize("settings, words", [
    ({"REVLINE_JAMF_CLIENT_SECRET": "wrong"}, "REVLINE_JAMF_CLIENT_SECRET"), ({**BY_USER, "REVLINE_JAMF_PASSWORD": "wrong"}, "REVLINE_JAMF_PASSWORD")],
    ids=["client", "user"])
def test_a_refused_login_says_what_to_check(watched, settings, words):
    server = watched(**settings)
    for source in SOURCES:
        eventually(lambda: words in server.sync(source)["lastError"], "the setting is named")


@pytest.mark.parametrize("off, needs", [({"REVLINE_SYNC_JAMF_INTERVAL": "0"}, "REVLINE_SYNC_JAMF_INTERVAL"), ({"REVLINE_JAMF_URL": None}, "REVLINE_JAMF_URL")],
                         ids=["interval", "url"])
def test_a_source_that_is_off_says_so_once(watched, jamf, off, needs):
    server = watched(**off)
    assert server.sync() == {} and jamf.requests() == []
    lines = [line for line in server.log().splitlines() if "sync.off" in line and "jamf-" in line]
    assert len(lines) == 3 and all(needs in line for line in lines)


def test_scepmans_names(watched, jamf):
    """An admin brings the settings along."""
    names = {"URL": "REVLINE_JAMF_URL", "ClientID": "REVLINE_JAMF_CLIENT_ID", "ClientSecret": "REVLINE_JAMF_CLIENT_SECRET",
             "RequestPassword": "REVLINE_JAMF_CHALLENGE"}
    ours = jamf_settings(jamf)
    server = watched(**{"AppConfig__JamfValidation__" + theirs: ours[name] for theirs, name in names.items()}, **{name: None for name in names.values()})
    server.sync_round()
    assert set(server.sync()) == set(SOURCES)


def test_a_data_folder_follows_one_server(watched, jamf):
    """The numbers of another server mean other machines."""
    fleet = Fleet(watched(), jamf)
    other = fake_jamf.Jamf().start()
    try:
        populate(other)
        fleet.server.stop()
        fleet.server.settings["REVLINE_JAMF_URL"] = other.url
        fleet.server.start()
        for source in SOURCES:
            eventually(lambda: "follows one server" in fleet.server.sync(source)["lastError"], "refused")
        assert other.requests() == [] and fleet.revoked() == set()
        assert "REVLINE_JAMF_FORMER_URL" in fleet.server.sync("jamf-user")["advice"]
    finally:
        other.stop()


def test_a_server_that_has_moved_is_the_same(watched, jamf):
    fleet = Fleet(watched(), jamf)
    server, here = fleet.server, "http://127.0.0.1:%d" % jamf.port
    before = server.settings["REVLINE_JAMF_URL"]
    assert here != before

    def restart(**settings):
        server.stop()
        server.settings.update(settings)
        server.start()

    restart(REVLINE_JAMF_URL=here, REVLINE_JAMF_FORMER_URL=before)
    fleet.round()
    restart(REVLINE_JAMF_FORMER_URL=None)
    fleet.round()
    fleet.delete()
    fleet.become(*ALL_BUT_THE_DEVICE)
    restart(REVLINE_JAMF_URL=before)
    eventually(lambda: "follows one server" in server.sync("jamf-user")["lastError"], "the one before is another now")


def test_stop_is_quick_while_the_upstream_hangs(watched, jamf):
    jamf.switch("hold")
    server = watched(REVLINE_SYNC_REQUEST_TIMEOUT="10m")
    jamf.wait(1, held=True)
    server.stop(within=15)
