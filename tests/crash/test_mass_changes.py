"""kill -9 while a mass change is collected, decided and applied: nothing of it is lost, and nothing is applied twice."""

import random
import threading
import time

import pytest
from harness import CommandFailed, eventually

LIMIT = {"REVLINE_SYNC_MASS_LIMIT": "5"}


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def statuses(server, serials):
    listed = {c["serial"]: c["status"] for c in server.all_certificates()}
    return {listed[serial] for serial in serials}


def held(server):
    return eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "it is held")


@pytest.mark.parametrize("page", [0, 1, 2])
def test_killed_between_the_pages_of_a_mass_deletion(graph, synced, page):
    graph.switch("page_size", 3)
    server = synced(**LIMIT)
    devices = [graph.add("devices", "d%02d" % i) for i in range(12)]
    server.sync_round()
    serials = [server.sign_for_device(d)[1] for d in devices]
    start, seen = last_delta(server), len(graph.requests())
    graph.switch("hold", on="devices.delta")
    graph.wait(1, since=seen, on="devices.delta", held=True)
    for device in devices[:10]:
        graph.delete("devices", device["id"])
    graph.switch("hold", on="devices.delta.next", after=page)
    graph.wait(1, since=seen, on="devices.delta.next", held=True)
    server.kill()
    graph.clear("hold")
    server.start()
    changes = held(server)
    assert [c["certificates"] for c in changes] == [10] and statuses(server, serials) == {"good"}
    assert last_delta(server) == start
    server.control("sync-release", id=str(changes[0]["id"]))
    assert statuses(server, serials[:10]) == {"revoked"} and statuses(server, serials[10:]) == {"good"}
    assert last_delta(server) - start == 10


def test_killed_while_it_is_released(graph, synced):
    """More certificates than one transaction takes; after each kill the server goes on by itself."""
    rng = random.Random("release kills")
    server = synced(**LIMIT)
    device = graph.add("devices", "d")
    graph.add("devices", "another")
    server.sync_round()
    serials = [server.sign_for_device(device)[1] for _ in range(1100)]
    start = last_delta(server)
    graph.delete("devices", device["id"])
    change = held(server)[0]
    assert change["certificates"] == len(serials) and last_delta(server) == start

    def release():
        try:
            server.control("sync-release", id=str(change["id"]))
        except (OSError, ValueError, CommandFailed):
            pass  # the server was killed under it
    for _ in range(5):
        thread = threading.Thread(target=release)
        thread.start()
        moment = time.monotonic() + rng.uniform(0.01, 0.3)
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        server.kill()
        thread.join()
        server.start()
    release()
    eventually(lambda: statuses(server, serials) == {"revoked"}, "all are revoked")
    eventually(lambda: server.control("sync-hold")["changes"] == [], "nothing waits")
    assert last_delta(server) - start == len(serials)
