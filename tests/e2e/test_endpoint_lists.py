"""Intune's further lists of certificates: those of single profiles, and the exported report. Each counts by itself, and none undoes
what another says; the list of all profiles is test_endpoint_list.py's."""

import hashlib
import time

import pytest
from harness import DER, eventually

PROFILES, REPORT = "endpoint-profiles", "endpoint-report"
LISTED = {"REVLINE_DEVICE_DIRECTORY": "AADAndIntuneAndEndpointlist", "REVLINE_SYNC_ENDPOINT_LIST_INTERVAL": "100ms",
          "REVLINE_SYNC_ENDPOINT_LISTS": "certificates,profiles,report"}


def thumbprint(certificate):
    return hashlib.sha1(certificate.public_bytes(DER)).hexdigest().upper()


def in_profile(graph, profile, certificate, status="revoked", **more):
    entry = {"certificateSerialNumber": "%X" % certificate.serial_number, "certificateThumbprint": thumbprint(certificate), **more}
    return graph.add("profileStates", "%s/%x" % (profile["id"], certificate.serial_number), profile=profile["id"],
                     certificateRevokeStatus=status, **entry)["id"]


def in_report(graph, certificate, status="Revoked", **more):
    row = {"SerialNumber": "%x" % certificate.serial_number, "Thumbprint": thumbprint(certificate), **more}
    return graph.add("reportRows", "row/%x" % certificate.serial_number, CertificateStatus=status, **row)["id"]


def profile_of(graph, name, kind="iosScepCertificateProfile"):
    return graph.add("deviceConfigurations", name, **{"@odata.type": "#microsoft.graph." + kind})


def fails(server, source, times=2):
    before = server.sync(source)["failures"]
    eventually(lambda: server.sync(source)["failures"] >= before + times, "%s fails" % source)


@pytest.fixture(scope="module")
def shared(watching):
    server, graph = watching(**LISTED)
    device = graph.add("devices", "pc")
    server.sync_round()
    return server, graph, device


@pytest.fixture
def world(shared):
    yield shared
    graph = shared[1]
    graph.clear()
    for collection in ("profileStates", "deviceConfigurations", "reportRows"):
        for entry in graph.objects(collection):
            graph.forget(collection, entry["id"])


def catch_up(server):
    server.sync_round()
    server.sync_round()


# ---- profiles ----
@pytest.mark.parametrize("kind", [
    "iosScepCertificateProfile", "macOSScepCertificateProfile", "androidDeviceOwnerScepCertificateProfile", "windowsPhone81SCEPCertificateProfile",
    "windows81SCEPCertificateProfile", "androidPkcsCertificateProfile", "windows10ImportedPFXCertificateProfile",
    "windowsWifiEnterpriseEAPConfiguration"])
def test_every_kind_of_profile_has_its_list(world, kind):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    in_profile(graph, profile_of(graph, "it", kind), certificate)
    catch_up(server)
    assert server.status_of(serial) == "revoked" and server.control("show", serial=serial)["why"] == ["endpointList"]


def test_what_is_no_certificate_profile_is_not_asked_for(world):
    server, graph, _ = world
    since = len(graph.requests())
    kinds = ("iosTrustedRootCertificate", "windows10GeneralConfiguration", "a/../b/ScepCertificateProfile", "", "CertificateProfile")
    for i, kind in enumerate(kinds):
        profile_of(graph, "other%d" % i, kind)
    graph.add("deviceConfigurations", "untyped", **{"@odata.type": None})
    catch_up(server)
    assert graph.requests(since=since, on="profileStates") == [] and not server.sync(PROFILES)["lastError"]


@pytest.mark.parametrize("status, answer", [("none", "good"), ("failed", "good"), ("pending", "revoked"), ("issued", "revoked"), ("revoked", "revoked")])
def test_the_states_in_a_profiles_list(world, status, answer):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    in_profile(graph, profile_of(graph, "ios"), certificate, status)
    catch_up(server)
    assert server.status_of(serial) == answer


@pytest.mark.parametrize("switch, value", [
    ("page_size", 1), ("empty_pages", True), ("repeat_item", True), ("link_encoded", True), ("id_form", "braces"), ("token_uses", 1),
    ("json", "escapes"), ("json", "unknown_members"), ("json", "bom"), ("gzip", "asked")], ids=str)
def test_profiles_over_many_odd_pages(world, switch, value):
    server, graph, device = world
    profiles = [profile_of(graph, "profile%d" % i) for i in range(3)]
    made = [server.sign_for_device(device) for _ in range(6)]
    graph.switch(switch, value)
    if switch in ("empty_pages", "repeat_item", "link_encoded"):
        graph.switch("page_size", 1)
    graph.revoke_tokens()
    for i, (certificate, _) in enumerate(made):
        in_profile(graph, profiles[i % 3], certificate, "revoked" if i in (1, 5) else "none")
    expected = ["good", "revoked", "good", "good", "good", "revoked"]
    eventually(lambda: [server.status_of(serial) for _, serial in made] == expected, "two are revoked")
    assert graph.applied(switch) > 0


def test_a_profile_without_a_list_is_passed_over(world):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    profiles = [profile_of(graph, "profile%d" % i) for i in range(3)]
    in_profile(graph, profiles[2], certificate)
    graph.switch("fail", {"status": 404, "code": "ResourceNotFound"}, on="profileStates", times=2)
    eventually(lambda: server.status_of(serial) == "revoked", "the others are read")


@pytest.mark.parametrize("route", ["deviceConfigurations", "profileStates"])
@pytest.mark.parametrize("switch, value", [
    ("fail", {"status": 429, "retry_after": 0}), ("fail", {"status": 503, "html": True}), ("fail", {"status": 403, "code": "Forbidden"}),
    ("truncate", "wrong"), ("json", "html"), ("json", "no_value"), ("loop", True), ("foreign_link", "http://localhost:9")], ids=str)
def test_broken_lists_of_profiles_change_nothing(world, route, switch, value):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    profiles = [profile_of(graph, "profile%d" % i) for i in range(2)]
    other = in_profile(graph, profiles[0], server.sign_for_device(device)[0], "none")
    entry = in_profile(graph, profiles[0], certificate, "none")
    catch_up(server)
    if switch in ("loop", "foreign_link"):
        graph.switch("page_size", 1)
    graph.switch(switch, value, on=route)
    fails(server, PROFILES)
    assert server.status_of(serial) == "good"
    graph.update("profileStates", other, certificateThumbprint="00")
    graph.update("profileStates", entry, certificateRevokeStatus="revoked")
    graph.clear()
    eventually(lambda: server.status_of(serial) == "revoked", "and then it is read")


# ---- the report ----
@pytest.mark.parametrize("status, answer", [("Active", "good"), ("Issued", "good"), ("Pending", "good"), ("Expired", "good"), ("", "good"),
                                            ("revoked", "revoked"), ("Revoked", "revoked")])
def test_the_states_in_the_report(world, status, answer):
    """`Issued` would be a certificate that was issued: one word alone revokes."""
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    in_report(graph, certificate, status)
    catch_up(server)
    assert server.status_of(serial) == answer


@pytest.mark.parametrize("switch, value", [("report_looks", 4), ("report_status", "complete"), ("report_form", "list"), ("report_form", "value"),
                                           ("report_numbers", True), ("report_zip", "stored"), ("token_uses", 1), ("gzip", "asked")], ids=str)
def test_odd_reports_are_understood(world, switch, value):
    server, graph, device = world
    good, good_serial = server.sign_for_device(device)
    lost, lost_serial = server.sign_for_device(device)
    graph.switch(switch, value)
    graph.revoke_tokens()
    in_report(graph, good, "Active")
    in_report(graph, lost)
    in_report(graph, server.ca, SerialNumber="4A00000012AB", IssuerName="CN=Contoso Device CA")
    eventually(lambda: server.status_of(lost_serial) == "revoked", "the report is read")
    assert server.status_of(good_serial) == "good" and graph.applied(switch) > 0


@pytest.mark.parametrize("switch, value, on", [
    ("fail", {"status": 403, "code": "Forbidden"}, "report.make"), ("fail", {"status": 429, "retry_after": 0}, "report.make"),
    ("fail", {"status": 404, "code": "NotFound"}, "report.look"), ("fail", {"status": 403}, "report.blob"),
    ("fail", {"status": 200}, "report.make"), ("report_status", "failed", "report.look"), ("report_url", "file:///etc/passwd", "report.look"),
    ("report_url", "http://user:secret@localhost/", "report.look"), ("report_url", "not a url", "report.look"),
    ("report_zip", "truncated", "report.blob"), ("report_zip", "wrong", "report.blob"), ("report_zip", "bomb", "report.blob"),
    ("report_zip", "csv", "report.blob"), ("report_zip", "encrypted", "report.blob"), ("report_zip", "text", "report.blob"),
    ("truncate", "wrong", "report.blob"), ("redirect", "http://localhost:9", "report.blob")], ids=str)
def test_broken_reports_change_nothing(world, switch, value, on):
    server, graph, device = world
    certificate, serial = server.sign_for_device(device)
    catch_up(server)
    graph.switch(switch, value, on=on)
    fails(server, REPORT, times=1)  # no round from before goes on any more
    in_report(graph, certificate)
    fails(server, REPORT)
    assert server.status_of(serial) == "good" and server.sync(REPORT)["advice"]
    for log in ("sig=", "secret@"):
        assert log not in server.log()
    graph.clear()
    eventually(lambda: server.status_of(serial) == "revoked", "and then it is read")


def test_where_the_report_lies_may_say_when_to_come_again(graph, synced):
    graph.switch("fail", {"status": 503, "retry_after": 600}, on="report.blob")
    server = synced(**LISTED)
    report = eventually(lambda: (lambda s: s["failures"] and s)(server.sync(REPORT)), "the report cannot be fetched")
    assert "503" in report["lastError"] and report["waitsUntil"] >= time.time() + 500


# ---- several lists ----
def test_no_list_undoes_what_another_says(graph, synced):
    """Held by the brake, a certificate waits as long as any of the lists has it."""
    server = synced(REVLINE_SYNC_MASS_LIMIT="1", **LISTED)
    device = graph.add("devices", "pc")
    catch_up(server)
    made = [server.sign_for_device(device) for _ in range(2)]
    profile = profile_of(graph, "ios")
    entries = {"profileStates": [], "reportRows": []}
    graph.switch("hold", on="token")
    graph.revoke_tokens()  # so that each list has both in one round
    graph.wait(1, on="token", held=True)
    for certificate, _ in made:
        entries["profileStates"].append(in_profile(graph, profile, certificate))
        entries["reportRows"].append(in_report(graph, certificate))
    graph.clear("hold")

    def waiting():
        return sum(c["certificates"] for c in server.control("sync-hold")["changes"])
    eventually(lambda: waiting() == 2, "both are held")
    catch_up(server)
    assert waiting() == 2 and {server.status_of(serial) for _, serial in made} == {"good"}
    for entry in entries["reportRows"]:
        graph.forget("reportRows", entry)
    catch_up(server)
    assert waiting() == 2, "the profile's list has them still"
    for entry in entries["profileStates"]:
        graph.forget("profileStates", entry)
    eventually(lambda: waiting() == 0, "nobody says it any more")


@pytest.mark.parametrize("status", [403, 404])
def test_a_list_that_may_not_be_read_disables_itself_alone(graph, synced, status):
    graph.switch("fail", {"status": status, "code": "Forbidden"}, on="report.make")
    server = synced(start=False, REVLINE_SYNC_STALE_AFTER="1s", REVLINE_SYNC_STALE_POLICY="trylater", **LISTED)
    device = graph.add("devices", "pc")
    server.start()
    fails(server, REPORT)
    certificate, serial = server.sign_for_device(device)
    other, other_serial = server.sign_for_device(device)
    in_profile(graph, profile_of(graph, "ios"), certificate)
    eventually(lambda: server.status_of(serial) == "revoked", "the others are read")
    report = server.sync(REPORT)
    assert str(status) in report["lastError"] and not report["stale"]
    if status == 403:
        assert "DeviceManagementConfiguration.ReadWrite.All" in report["lastError"] and "ReadWrite.All" in report["advice"]
    assert not server.sync(PROFILES)["lastError"] and server.ocsp(other) == "good"
    graph.clear()
    in_report(graph, other)
    eventually(lambda: server.status_of(other_serial) == "revoked", "permission that comes later counts")


def test_the_setting_says_which_lists_are_read(graph, synced):
    server = synced(**{**LISTED, "REVLINE_SYNC_ENDPOINT_LISTS": "profiles"})
    catch_up(server)
    assert PROFILES in server.sync() and not {"endpoint-list", REPORT} & set(server.sync())
    assert graph.requests(on="certificateStates") == graph.requests(on="report") == []
