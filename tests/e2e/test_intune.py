"""Intune's managed devices and Identity Protection's risky users: what they do to certificates, and what does nothing."""

import datetime
import re

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from harness import AAD_CHALLENGE, PEM, CommandFailed, eventually, openssl_ocsp

QUICK = {"REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_SYNC_USER_RISK_INTERVAL": "100ms", "REVLINE_COMPLIANCE_CHECK": "always",
         "REVLINE_COMPLIANCE_BOOTSTRAP": "0", "REVLINE_USER_RISK_CHECK": "always"}
HOLD, GONE = ("revoked", "certificateHold"), ("revoked", "cessationOfOperation")


class Fleet:
    """A managed device that is certified by its Intune id, and one that is by its Entra id."""

    def __init__(self, server, graph, prefix=""):
        self.server, self.graph = server, graph
        graph.add("managedDevices", prefix + "another")
        self.entra = graph.add("devices", prefix + "pc")
        self.phone = graph.add("managedDevices", prefix + "phone")
        self.pc = graph.add("managedDevices", prefix + "pc", azureADDeviceId=self.entra["deviceId"])
        self.wait()
        self.phone_certificate, self.phone_serial = server.sign(self.phone["id"].upper(), "static-aad")
        self.pc_certificate, self.pc_serial = server.sign_for_device(self.entra)

    def wait(self):
        """Until all that is in the directories now has had its effect."""
        self.server.sync_round()

    def update(self, **properties):
        for device in (self.phone, self.pc):
            self.graph.update("managedDevices", device["id"], **properties)

    def statuses(self):
        return self.server.status_of(self.phone_serial), self.server.status_of(self.pc_serial)

    def become(self, *statuses):
        eventually(lambda: self.statuses() == statuses, "certificates are %s; now %s" % (statuses, self.statuses()))


@pytest.fixture
def fleet(graph, synced):
    return lambda **settings: Fleet(synced(**{**QUICK, **settings}), graph)


@pytest.fixture(scope="module")
def shared(watching):
    return watching(**QUICK)


@pytest.fixture
def shared_fleet(shared, request):
    server, graph = shared
    yield Fleet(server, graph, prefix=request.node.name + "/")
    graph.clear()


# ---- what counts ----
def test_compliance_is_a_hold_while_it_lasts(shared_fleet, tmp_path):
    fleet = shared_fleet
    for state, answer in [("noncompliant", HOLD), ("compliant", "good"), ("error", HOLD), ("inGracePeriod", "good"),
                          ("conflict", HOLD), ("configManager", "good")]:
        fleet.update(complianceState=state)
        fleet.wait()
        for certificate in (fleet.phone_certificate, fleet.pc_certificate):
            assert openssl_ocsp(fleet.server, certificate, tmp_path) == answer, state
    fleet.update(complianceState="noncompliant")
    fleet.wait()
    fleet.update(complianceState="a word of tomorrow")
    fleet.wait()
    assert fleet.statuses() == ("hold", "hold")


@pytest.mark.parametrize("state", ["retirePending", "wipeIssued", "unhealthy"])
def test_a_wipe_is_for_good(shared_fleet, tmp_path, state):
    fleet = shared_fleet
    fleet.update(managementState=state)
    fleet.wait()
    for certificate in (fleet.phone_certificate, fleet.pc_certificate):
        assert openssl_ocsp(fleet.server, certificate, tmp_path) == GONE
    fleet.update(managementState="managed")
    fleet.wait()
    assert fleet.statuses() == ("revoked", "revoked")
    assert fleet.server.control("show", serial=fleet.phone_serial)["why"] == ["wiped"]


def test_deleted_in_intune(shared_fleet, tmp_path):
    """The phone is in no other directory; the pc is in Entra ID still."""
    fleet = shared_fleet
    fleet.graph.delete("managedDevices", fleet.phone["id"])
    fleet.graph.delete("managedDevices", fleet.pc["id"])
    fleet.become("revoked", "good")
    assert openssl_ocsp(fleet.server, fleet.phone_certificate, tmp_path) == GONE
    assert fleet.server.control("show", serial=fleet.phone_serial)["why"] == ["deleted"]
    fleet.graph.delete("devices", fleet.entra["id"])
    fleet.become("revoked", "revoked")


def test_disabled_in_entra_and_not_compliant_in_intune(shared_fleet):
    fleet = shared_fleet
    fleet.graph.update("devices", fleet.entra["id"], accountEnabled=False)
    fleet.update(complianceState="noncompliant")
    fleet.become("hold", "hold")
    fleet.graph.update("devices", fleet.entra["id"], accountEnabled=True)
    fleet.wait()
    assert fleet.statuses() == ("hold", "hold")
    fleet.update(complianceState="compliant")
    fleet.become("good", "good")


def test_a_new_certificate_is_weighed_before_it_is_given_out(shared_fleet):
    fleet, url = shared_fleet, shared_fleet.server.url + "/static/aad"
    fleet.graph.update("managedDevices", fleet.pc["id"], complianceState="noncompliant")
    fleet.graph.update("managedDevices", fleet.phone["id"], managementState="wipePending")
    fleet.wait()
    assert fleet.server.ocsp(fleet.server.sign_for_device(fleet.entra)[0]) == "hold"
    with pytest.raises(CommandFailed, match="wiped"):
        fleet.server.sign(fleet.phone["id"], "static-aad")
    assert scep_client.enroll(url, AAD_CHALLENGE, fleet.phone["id"]).certificate is None


def test_a_certificate_from_before_its_device_was_seen(shared_fleet):
    fleet = shared_fleet
    later = {"id": "5c6d0000-0000-4000-8000-%012x" % len(fleet.graph.requests())}
    _, serial = fleet.server.sign(later["id"], "static-aad")
    fleet.wait()
    assert fleet.server.status_of(serial) == "good"
    fleet.graph.add("managedDevices", "later/" + later["id"], id=later["id"], complianceState="noncompliant")
    eventually(lambda: fleet.server.status_of(serial) == "hold", "the device was seen")


def test_a_device_named_by_its_uri(shared_fleet):
    """The subject is the device's name; Intune's profiles say by IntuneDeviceId:// which one it is, known or not yet."""
    fleet = shared_fleet
    later = {"id": "5c6e0000-0000-4000-8000-%012x" % len(fleet.graph.requests())}
    serials = []
    for device in (fleet.phone, later):
        key = scep_client.make_key()
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "LAPTOP-1")]))
        names = [x509.DNSName("laptop-1.contoso.example"), x509.UniformResourceIdentifier("IntuneDeviceId://" + device["id"])]
        csr = csr.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
        reply = fleet.server.control("sign", csr=csr.public_bytes(PEM).decode(), profile="static-aad")
        certificate = x509.load_pem_x509_certificate(reply["certificate"].encode())
        assert "1.2.840.113556.1.5.284.2" not in [e.oid.dotted_string for e in certificate.extensions]  # Entra's id, which it is not
        serials.append(reply["serial"])
    fleet.graph.update("managedDevices", fleet.phone["id"], complianceState="noncompliant")
    fleet.graph.add("managedDevices", "later/" + later["id"], id=later["id"], complianceState="noncompliant")
    statuses = lambda: [fleet.server.status_of(serial) for serial in serials]
    eventually(lambda: statuses() == ["hold", "hold"], "both devices are not compliant")
    fleet.graph.delete("managedDevices", fleet.phone["id"])
    eventually(lambda: statuses() == ["revoked", "hold"], "the phone is gone")


def test_the_grace_ends_by_itself(fleet, graph):
    now = datetime.datetime.utcnow()
    fleet = fleet(REVLINE_COMPLIANCE_GRACE="1h")
    for device, ago in ((fleet.phone, datetime.timedelta(minutes=59, seconds=55)), (fleet.pc, datetime.timedelta(minutes=5))):
        graph.update("managedDevices", device["id"], complianceState="noncompliant", enrolledDateTime=(now - ago).isoformat() + "Z")
    fleet.become("hold", "good")


@pytest.mark.parametrize("directory, on", [
    ("AAD", {"entra-device", "entra-user"}), ("Intune", {"entra-user", "intune-device"}),
    ("AADAndIntuneOpportunistic", {"entra-device", "entra-user", "intune-device"})])
def test_the_directory_decides_what_is_watched(graph, synced, directory, on):
    server = synced(REVLINE_DEVICE_DIRECTORY=directory, REVLINE_SYNC_INTUNE_INTERVAL="100ms")
    server.sync_round()
    assert set(server.sync()) == on
    assert server.log().count("sync.off source=user-risk needs=REVLINE_USER_RISK_CHECK") == 1


def test_without_the_users_risk_is_off_and_says_why(graph, synced):
    server = synced(**{**QUICK, "REVLINE_SYNC_ENTRA_INTERVAL": "0"})
    assert server.log().count("sync.off source=user-risk needs=REVLINE_SYNC_ENTRA_INTERVAL") == 1
    assert re.search(r"user-risk +off: turned on by REVLINE_SYNC_ENTRA_INTERVAL", server.cli("status").stdout)


def test_compliance_as_entra_has_it(graph, synced):
    server = synced(REVLINE_DEVICE_DIRECTORY="AAD", REVLINE_COMPLIANCE_CHECK="always")
    device = graph.add("devices", "pc", isCompliant=False)
    server.sync_round()
    _, serial = server.sign_for_device(device)
    assert server.status_of(serial) == "hold"
    graph.update("devices", device["id"], isCompliant=True)
    server.sync_round()
    assert server.status_of(serial) == "good"


def test_leaving_intune_is_no_way_out_of_a_hold(graph, synced):
    """Entra ID still says that the device is not compliant."""
    server = synced(**QUICK)
    graph.add("managedDevices", "another")
    device = graph.add("devices", "pc", isCompliant=False)
    managed = graph.add("managedDevices", "pc", azureADDeviceId=device["deviceId"], complianceState="inGracePeriod")
    server.sync_round()
    _, serial = server.sign_for_device(device)
    assert server.status_of(serial) == "good", "Intune has a word, and that counts"
    graph.update("managedDevices", managed["id"], complianceState="noncompliant")
    server.sync_round()
    assert server.status_of(serial) == "hold"
    graph.delete("managedDevices", managed["id"])
    server.sync_round()
    server.sync_round()  # two lists in a row have left it out
    assert server.status_of(serial) == "hold"
    graph.update("devices", device["id"], isCompliant=True)
    server.sync_round()
    assert server.status_of(serial) == "good"


def test_a_device_that_only_entra_knows_waits_for_the_first_list(graph, synced):
    """As long as Intune was never listed, nobody knows whether it has a word to say."""
    graph.switch("fail", {"status": 503}, on="managedDevices")
    server = synced(**QUICK)
    device = graph.add("devices", "pc", isCompliant=False)
    graph.add("managedDevices", "another")
    eventually(lambda: server.sync("entra-device")["rounds"] > 1, "Entra ID was read")
    server.control("sync", source="entra-device")
    eventually(lambda: server.sync("entra-device")["objects"], "the device was seen")
    _, serial = server.sign_for_device(device)
    assert server.status_of(serial) == "good"
    graph.clear()
    eventually(lambda: server.status_of(serial) == "hold", "Intune was listed, and does not know it")


# ---- users at risk ----
def test_a_user_at_risk_is_a_hold_while_it_lasts(shared_fleet, tmp_path):
    server, graph = shared_fleet.server, shared_fleet.graph
    user = graph.add("users", "ada")
    server.sync_round()
    certificate, _ = server.sign_for_user(user)
    for change, answer in [({"riskLevel": "high"}, HOLD), ({"riskLevel": "medium"}, "good"),
                           ({"riskLevel": "high", "riskState": "confirmedCompromised"}, HOLD), ({"riskState": "remediated"}, "good"),
                           ({"riskState": "atRisk"}, HOLD), ({"riskState": "dismissed", "riskLevel": "none"}, "good")]:
        if answer == HOLD and not graph.objects("riskyUsers"):
            graph.add("riskyUsers", "ada", id=user["id"], **change)
        else:
            graph.update("riskyUsers", user["id"], **change)
        server.sync_round()
        assert openssl_ocsp(server, certificate, tmp_path) == answer, change
    graph.update("riskyUsers", user["id"], riskState="atRisk", riskLevel="high")
    server.sync_round()
    graph.switch("fail", {"status": 429}, on="riskyUsers")
    eventually(lambda: server.sync("user-risk")["lastError"], "throttled")
    assert openssl_ocsp(server, certificate, tmp_path) == HOLD


def test_a_user_left_out_of_one_list_of_pages_stays_at_risk(graph, synced):
    """Somebody before was taken off the list while it was read, so one moved to a page that was read already."""
    server = synced(**{**QUICK, "REVLINE_SYNC_USER_RISK_INTERVAL": "1h"})
    users = [graph.add("users", name) for name in ("ada", "bob", "eve")]
    for user in users:
        graph.add("riskyUsers", user["id"], id=user["id"], riskLevel="high")
    server.sync_round()
    _, serial = server.sign_for_user(users[0])
    assert server.status_of(serial) == "hold"
    before = server.control("status")["parts"]["store"]["lastDelta"]
    graph.switch("page_size", 1)
    graph.switch("leave_out", [users[0]["id"]], on="riskyUsers", times=1)
    rounds = server.sync("user-risk")["rounds"]
    server.control("sync", source="user-risk")
    eventually(lambda: server.sync("user-risk")["rounds"] > rounds + 1, "the second list follows at once")
    assert graph.applied("leave_out") == 1
    assert server.status_of(serial) == "hold" and server.control("status")["parts"]["store"]["lastDelta"] == before
    graph.delete("riskyUsers", users[0]["id"])
    server.control("sync", source="user-risk")
    eventually(lambda: server.status_of(serial) == "good", "two lists in a row have left it out")


# ---- odd, but true ----
@pytest.mark.parametrize("switch, value", [
    ("page_size", [1, 3, 2]), ("empty_pages", True), ("repeat_item", True), ("link_encoded", True), ("shuffle", 7), ("id_form", "braces"),
    ("token_uses", 1), ("json", "escapes"), ("gzip", "asked")], ids=str)
def test_odd_lists_are_understood(shared_fleet, switch, value):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch(switch, value)
    if switch in ("empty_pages", "repeat_item", "link_encoded"):
        graph.switch("page_size", 2)
    graph.revoke_tokens()
    graph.delete("managedDevices", fleet.phone["id"])
    graph.update("managedDevices", fleet.pc["id"], complianceState="noncompliant")
    fleet.become("revoked", "hold")
    assert graph.applied(switch) > 0


def test_v1_without_the_management_state(fleet, graph):
    """Graph's beta version is asked from then on."""
    graph.switch("no_management_state", on="managedDevices")
    fleet = fleet()
    fleet.update(managementState="wipeIssued")
    fleet.become("revoked", "revoked")
    asked = [r["path"].split("/")[1] for r in graph.requests(on="managedDevices")]
    assert asked[0] == "v1.0" and set(asked[1:]) == {"beta"}


def test_a_tenant_without_intune_is_told_what_to_set(shared_fleet):
    """Graph says 400 then, as to a property that it does not know."""
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("fail", {"status": 400, "code": "BadRequest"}, on="managedDevices")
    eventually(lambda: "both its versions" in fleet.server.sync("intune-device")["lastError"], "it is refused")
    shown = fleet.server.sync("intune-device")
    assert "400 BadRequest" in shown["lastError"] and "REVLINE_DEVICE_DIRECTORY=AAD" in shown["advice"]
    assert fleet.statuses() == ("good", "good")


# ---- broken, or lies ----
@pytest.mark.parametrize("switch, value", [
    ("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 503, "html": True}), ("fail", {"status": 404, "code": "ResourceNotFound"}),
    ("fail", {"status": 401, "code": "InvalidAuthenticationToken"}), ("fail", {"status": 200}), ("truncate", "wrong"),
    ("foreign_link", "http://localhost:9"), ("loop", True), ("json", "html"), ("json", "no_value"), ("json", "wrong_types"),
    ("empty_list", True)], ids=str)
def test_broken_lists_change_nothing(shared_fleet, switch, value):
    fleet, graph = shared_fleet, shared_fleet.graph
    failed = fleet.server.sync("intune-device")["failures"]
    if switch in ("foreign_link", "loop"):
        graph.switch("page_size", 1)
    graph.switch(switch, value, on="managedDevices")
    eventually(lambda: fleet.server.sync("intune-device")["failures"] > failed, "it fails")  # a page may have been right before
    failed = fleet.server.sync("intune-device")["failures"]
    graph.delete("managedDevices", fleet.phone["id"])
    if switch not in ("foreign_link", "loop"):  # their first page is true
        graph.update("managedDevices", fleet.pc["id"], managementState="wipeIssued")
    eventually(lambda: fleet.server.sync("intune-device")["failures"] >= failed + 3, "it fails again and again")
    assert fleet.statuses() == ("good", "good")
    assert fleet.server.http("GET", "/probe")[0] == 200
    graph.clear()
    fleet.become("revoked", "good" if switch in ("foreign_link", "loop") else "revoked")
    eventually(lambda: not fleet.server.sync("intune-device")["lastError"], "no error is left")


@pytest.mark.parametrize("source, on, permission", [
    ("intune-device", "managedDevices", "DeviceManagementManagedDevices.Read.All"), ("user-risk", "riskyUsers", "IdentityRiskyUser.Read.All"),
    ("entra-device", "devices", "Device.Read.All"), ("entra-user", "users", "User.Read.All")])
def test_a_missing_permission_is_named(shared_fleet, source, on, permission):
    fleet, graph = shared_fleet, shared_fleet.graph
    graph.switch("fail", {"status": 403, "code": "Forbidden"}, on=on)
    eventually(lambda: permission in fleet.server.sync(source)["lastError"], "the permission is named")
    assert fleet.statuses() == ("good", "good")


def test_a_device_left_out_of_one_list_is_looked_for_again(shared_fleet):
    """No list of many pages is of one moment: something may move behind the reader's back."""
    fleet, graph = shared_fleet, shared_fleet.graph
    rounds = fleet.server.sync("intune-device")["rounds"]
    graph.switch("leave_out", [fleet.phone["id"]], on="managedDevices", times=1)
    eventually(lambda: graph.applied("leave_out") and fleet.server.sync("intune-device")["rounds"] > rounds + 3, "some rounds later")
    assert fleet.statuses() == ("good", "good")


def test_no_round_waits_for_an_interval_to_find_out(fleet, graph):
    """What the first list leaves out is gone by the second, which follows at once."""
    fleet = fleet(REVLINE_SYNC_INTUNE_INTERVAL="1h")
    graph.delete("managedDevices", fleet.phone["id"])
    fleet.server.control("sync", source="intune-device")
    fleet.become("revoked", "good")


# ---- other rules at the next start ----
def restart(server, **settings):
    server.stop()
    server.settings.update(settings)
    server.start()


def test_other_rules_count_for_certificates_that_are_there(fleet, graph):
    fleet = fleet(REVLINE_COMPLIANCE_CHECK="never", REVLINE_REVOKE_ON_WIPE="false")
    fleet.graph.update("managedDevices", fleet.phone["id"], managementState="wipeIssued")
    fleet.graph.update("managedDevices", fleet.pc["id"], complianceState="noncompliant")
    fleet.wait()
    assert fleet.statuses() == ("good", "good")
    graph.switch("fail", {"status": 503})  # what follows is from the database alone
    restart(fleet.server, REVLINE_COMPLIANCE_CHECK="always")
    fleet.become("good", "hold")
    restart(fleet.server, REVLINE_COMPLIANCE_CHECK="never", REVLINE_REVOKE_ON_WIPE="true")
    fleet.become("revoked", "good")
    restart(fleet.server, REVLINE_COMPLIANCE_CHECK="always", REVLINE_DEVICE_DIRECTORY="AAD")
    eventually(lambda: fleet.server.sync("reweigh")["rounds"], "weighed")
    assert fleet.statuses() == ("revoked", "good")
    weighed = fleet.server.log().count("sync.reweigh")
    restart(fleet.server)
    eventually(lambda: fleet.server.sync("reweigh")["rounds"], "asked")
    assert fleet.server.log().count("sync.reweigh") == weighed, "the same rules: nothing to do"


def test_other_rules_count_when_no_directory_is_watched_any_more(fleet, graph):
    fleet = fleet()
    fleet.graph.update("managedDevices", fleet.pc["id"], complianceState="noncompliant")
    fleet.become("good", "hold")
    off = {"AZURE_TENANT_ID": None, "AZURE_CLIENT_ID": None, "AZURE_CLIENT_SECRET": None}
    restart(fleet.server, **off)
    eventually(lambda: fleet.server.sync("reweigh")["rounds"], "it has been looked at")
    assert fleet.statuses() == ("good", "hold")
    # Whoever has lost the setting by mistake sees that there was a directory.
    assert re.search(r"level=warn .*sync\.off.* source=intune-device .*last_success=\d{10}", fleet.server.log())
    assert re.search(r"intune-device +off +turned on by AZURE_TENANT_ID.*; last success 20", fleet.server.cli("sync").stdout)
    restart(fleet.server, REVLINE_COMPLIANCE_CHECK="never")
    fleet.become("good", "good")
    assert fleet.server.sync("guard")["state"] != "off"  # what becomes worse by other rules is a mass change like any


def test_the_rules_are_printed(make_server):
    server = make_server(REVLINE_DEVICE_DIRECTORY="Intune", REVLINE_COMPLIANCE_CHECK="Always")
    rules = {(r["object"], r["state"]): r for r in server.cli_json("sync", "rules")["rules"]}
    assert rules["Entra device", "deleted"]["effect"] == "-"
    assert rules["Intune device", "wiped or retired"] == {
        "object": "Intune device", "state": "wiped or retired", "effect": "revoked", "reason": "wiped", "setting": "REVLINE_REVOKE_ON_WIPE"}
    assert rules["Intune device", "not compliant"]["effect"] == "on hold"
    text = server.cli("sync", "rules").stdout
    assert re.search(r"^Intune device +not compliant +on hold +notCompliant +REVLINE_COMPLIANCE_CHECK$", text, re.M)
