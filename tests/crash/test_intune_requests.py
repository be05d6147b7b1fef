"""kill -9 while Intune's requests to revoke are fetched, carried out and answered, and while its list of certificates is read."""

import hashlib
import random
import time

import pytest
from harness import DER, eventually

ASKED = {"REVLINE_SYNC_REVOCATION_REQUESTS_INTERVAL": "50ms"}
LISTED = {"REVLINE_DEVICE_DIRECTORY": "AADAndIntuneAndEndpointlist", "REVLINE_SYNC_ENDPOINT_LIST_INTERVAL": "100ms"}


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def statuses(server, serials):
    listed = {c["serial"]: c["status"] for c in server.all_certificates()}
    return [listed[serial] for serial in serials]


def codes(graph):
    """Context -> its result; a context has one, however often it was uploaded."""
    found = {}
    for context, results in graph.revocation_results().items():
        assert all(r == results[0] for r in results), results
        found[context] = results[0]["errorCode"]
    return found


# Where the server is stopped; whether the certificates are revoked by then; how often their results reach Intune: a
# request that waits at the fake is answered there, though nobody hears it any more.
@pytest.mark.parametrize("switch, on, revoked, uploads", [
    ("hold", "intune.download", False, {1}), ("hold_answer", "intune.download", False, {1}),
    ("hold", "intune.upload", True, {2}), ("hold_answer", "intune.upload", True, {2})])
def test_killed_at_each_step(graph, synced, switch, on, revoked, uploads):
    server = synced(**ASKED)
    serials = [server.sign("kiosk %d" % i)[1] for i in range(3)]
    start, seen = last_delta(server), len(graph.requests())
    graph.switch("hold", on="intune.download")
    graph.wait(1, since=seen, on="intune.download", held=True)
    for i, serial in enumerate(serials):
        graph.request_revocation("r%d" % i, serial)
    graph.request_revocation("unknown", "4A00000012AB")
    if revoked:
        graph.switch("deliver_once")  # what was fetched is not told again
    if (switch, on) != ("hold", "intune.download"):
        seen = len(graph.requests()) - (on == "intune.download")  # the one that waits is that one
        graph.switch(switch, on=on)
        if switch == "hold_answer":
            graph.clear("hold")
            eventually(lambda: [r for r in graph.requests(since=seen, on=on) if r["held"] and r["status"]], "it was carried out")
        else:
            graph.wait(1, since=seen, on=on, held=True)
    assert set(statuses(server, serials)) == {"revoked" if revoked else "good"}
    server.kill()
    graph.clear("hold")
    graph.clear("hold_answer")
    if on == "intune.upload":
        eventually(lambda: len(codes(graph)) == 4, "the fake has taken what waited there")
    server.start()
    expected = {"r0": "None", "r1": "None", "r2": "None", "unknown": "CertificateNotFoundError"}
    eventually(lambda: codes(graph) == expected, "all are answered, and as if nothing had happened")
    rounds = server.sync("revocation-requests")["rounds"]
    eventually(lambda: server.sync("revocation-requests")["rounds"] > rounds + 2, "some rounds later")
    assert codes(graph) == expected and {len(r) for r in graph.revocation_results().values()} == uploads
    assert set(statuses(server, serials)) == {"revoked"} and last_delta(server) - start == 3


def test_killed_at_any_instant(graph, synced):
    rng = random.Random("Intune's requests")
    server = synced(**ASKED)
    serials = [server.sign("kiosk %d" % i)[1] for i in range(120)]
    start = last_delta(server)
    for turn in range(6):
        for i in range(20 * turn, 20 * turn + 20):
            graph.request_revocation("r%d" % i, serials[i])
            if rng.random() < 0.2:
                graph.request_revocation("unknown %d" % i, "AA%06X" % i)
        moment = time.monotonic() + rng.uniform(0, 0.25)
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        server.kill()
        server.start()
    eventually(lambda: len(codes(graph)) >= 120 and sum(c == "None" for c in codes(graph).values()) == 120, "all are answered")
    eventually(lambda: not server.sync("revocation-requests")["lastError"], "nothing is left")
    assert {c for context, c in codes(graph).items() if context.startswith("unknown")} <= {"CertificateNotFoundError"}
    assert set(statuses(server, serials)) == {"revoked"} and last_delta(server) - start == 120


@pytest.mark.parametrize("page", [0, 1, 2])
def test_killed_between_the_pages_of_the_list(graph, synced, page):
    graph.switch("page_size", 3)
    server = synced(**LISTED)
    device = graph.add("devices", "pc")
    server.sync_round()
    made = [server.sign_for_device(device) for _ in range(9)]
    start, seen = last_delta(server), len(graph.requests())
    graph.switch("hold", on="certificateStates")
    graph.wait(1, since=seen, on="certificateStates", held=True)
    for certificate, serial in made:
        graph.add("certificateStates", serial, certificateRevokeStatus="revoked", certificateSerialNumber=serial,
                  certificateThumbprint=hashlib.sha1(certificate.public_bytes(DER)).hexdigest())
    seen = len(graph.requests())
    graph.switch("hold", on="certificateStates", after=page)
    graph.wait(1, since=seen, on="certificateStates", held=True)
    server.kill()
    graph.clear("hold")
    server.start()
    serials = [serial for _, serial in made]
    eventually(lambda: set(statuses(server, serials)) == {"revoked"}, "all are revoked")
    server.sync_round()
    assert last_delta(server) - start == 9
