"""kill -9 in the middle of a list of managed devices, and while certificates are weighed under other rules."""

import random
import time

import pytest
from harness import eventually

QUICK = {"REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_COMPLIANCE_CHECK": "always"}


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def statuses(server, serials):
    listed = {c["serial"]: c["status"] for c in server.all_certificates()}
    return [listed[serial] for serial in serials]


@pytest.mark.parametrize("page", [0, 1, 2, 3])
def test_killed_between_the_pages_of_a_list(graph, synced, page):
    """Twelve devices on four pages: some change, some go. Wherever the list breaks off, each change counts once."""
    graph.switch("page_size", 3)
    server = synced(**QUICK)
    devices = [graph.add("managedDevices", "d%02d" % i) for i in range(12)]
    server.sync_round()
    serials = [server.sign(d["id"], "static-aad")[1] for d in devices]
    start, seen = last_delta(server), len(graph.requests())
    graph.switch("hold", on="managedDevices", after=page)
    graph.wait(1, since=seen, on="managedDevices", held=True)
    expected = ["good"] * 12
    for i, change, status in [(0, {"complianceState": "error"}, "hold"), (5, {"managementState": "wipeIssued"}, "revoked"),
                              (11, {"complianceState": "noncompliant"}, "hold")]:
        graph.update("managedDevices", devices[i]["id"], **change)
        expected[i] = status
    for i in (3, 7):
        graph.delete("managedDevices", devices[i]["id"])
        expected[i] = "revoked"
    server.kill()
    graph.clear("hold")
    server.start()
    eventually(lambda: statuses(server, serials) == expected, "the state is what an uninterrupted run would give")
    assert last_delta(server) - start == 5
    server.sync_round()
    assert last_delta(server) - start == 5


def test_killed_while_certificates_are_weighed_anew(graph, synced):
    """More certificates than one transaction takes; in the end each is on hold, by one change."""
    rng = random.Random("weigh kills")
    server = synced(**{**QUICK, "REVLINE_COMPLIANCE_CHECK": "never", "REVLINE_SYNC_MASS_LIMIT": "0"})
    devices = [graph.add("managedDevices", "d%02d" % i, complianceState="noncompliant") for i in range(20)]
    server.sync_round()
    serials = [server.sign(d["id"], "static-aad")[1] for d in devices for _ in range(28)]
    before = last_delta(server)
    server.stop()
    graph.switch("fail", {"status": 503})
    server.settings["REVLINE_COMPLIANCE_CHECK"] = "always"
    for _ in range(8):
        moment = time.monotonic() + rng.uniform(0.05, 0.6)
        server.spawn()
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        server.kill()
    server.start()
    eventually(lambda: set(statuses(server, serials)) == {"hold"}, "every certificate is weighed by the new rules")
    assert last_delta(server) - before == len(serials)
