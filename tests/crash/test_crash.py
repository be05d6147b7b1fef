"""kill -9 at any instant, then a restart: nothing acknowledged is lost, nothing is applied twice.

Instants are chosen by the fake's `hold` switch or by a seeded clock; the outcome must not depend on them.
"""

import random
import threading
import time

import pytest
import scep_client
from cryptography import x509
from harness import AAD_CHALLENGE, CHALLENGE, eventually

FLEET = 24


class Fleet:
    """Devices with certificates, and a scripted history of the directory."""

    def __init__(self, server, graph):
        self.server, self.graph = server, graph
        self.devices = [graph.add("devices", "d%02d" % i) for i in range(FLEET)]

    def enroll(self):
        self.serials = [self.server.sign_for_device(d)[1] for d in self.devices]

    def change(self, step):
        """The same changes for the same step, whoever watches."""
        rng = random.Random("step %d" % step)
        for device in rng.sample(self.devices, 8):
            if device["id"] not in {o["id"] for o in self.graph.objects("devices")}:
                continue
            if rng.random() < 0.2:
                self.graph.delete("devices", device["id"])
            else:
                self.graph.update("devices", device["id"], accountEnabled=rng.random() < 0.5)

    def expected(self):
        live = {o["id"]: o["accountEnabled"] for o in self.graph.objects("devices")}
        return [("revoked" if d["id"] not in live else "good" if live[d["id"]] else "hold") for d in self.devices]

    def actual(self):
        listed = {c["serial"]: c["status"] for c in self.server.all_certificates()}
        return [listed[serial] for serial in self.serials]

    def settles(self):
        eventually(lambda: self.actual() == self.expected(), "the state is what an uninterrupted run would give: %s" % self.expected())

    def check_answers(self):
        """OCSP says what the list says."""
        for serial, status in zip(self.serials, self.expected()):
            pem = self.server.control("show", serial=serial)["certificate"]
            assert self.server.ocsp(x509.load_pem_x509_certificate(pem.encode())) == status


@pytest.fixture
def fleet(graph, synced):
    graph.switch("page_size", 3)
    server = synced(start=False)
    fleet = Fleet(server, graph)
    server.start()
    server.sync_round()
    fleet.enroll()
    return fleet


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


@pytest.mark.parametrize("page", [0, 1, 2, 3])
@pytest.mark.parametrize("full", [False, True], ids=["delta", "full"])
def test_killed_between_pages(fleet, graph, page, full):
    server = fleet.server
    start = last_delta(server)
    seen = len(graph.requests())
    graph.switch("hold", on="devices.delta")
    assert graph.wait(1, since=seen, on="devices.delta", held=True) >= 1
    if full:
        server.stop()
        graph.forget("devices", fleet.devices[0]["id"])
        graph.switch("gone", {"status": 410, "location": True}, on="devices.delta.link")
    fleet.change(page)
    fleet.change(page + 10)
    # From here on the request for one page is held: the server dies while it waits for it.
    graph.switch("hold", on="devices.delta.next", after=page)
    if full:
        server.start()
    assert graph.wait(1, since=seen, on="devices.delta.next", held=True) >= 1
    if full:  # the stored link is the one that Graph has lost until the first page is committed, and the fake would take it again
        eventually(lambda: server.sync("entra-device")["round"]["pages"] == page + 1, "the page before is committed")
    server.kill()
    graph.clear("hold")
    graph.clear("gone")
    server.start()
    fleet.settles()
    fleet.check_answers()
    before = last_delta(server)
    assert before - start == sum(1 for status in fleet.expected() if status != "good"), "not one delta for each change"
    server.sync_round()
    server.sync_round(full=True)
    assert last_delta(server) == before, "a settled state is written again"


def test_killed_at_random_instants_while_syncing(fleet, graph):
    """Twenty kills; afterwards the state is the directory's, and each change of a certificate made one delta at most."""
    rng = random.Random("sync kills")
    server = fleet.server
    for step in range(20):
        fleet.change(100 + step)
        moment = time.monotonic() + rng.uniform(0, 0.25)
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        server.kill()
        fleet.change(200 + step)
        server.start()
    fleet.settles()
    fleet.check_answers()
    before = last_delta(server)
    server.sync_round(full=True)
    assert last_delta(server) == before


def test_killed_while_issuing(make_server):
    """Concurrent enrolments: every certificate that a client received is there after the restart, and so is its transaction."""
    rng = random.Random("issue kills")
    server = make_server()
    signer, received, lock = scep_client.make_signer(), {}, threading.Lock()
    ca = scep_client.get_ca_cert(server.url + "/static")
    start = last_delta(server) - len(server.all_certificates())
    for step in range(8):
        stop = threading.Event()

        def enroll_forever(worker):
            n = 0
            while not stop.is_set():
                transaction, n = "t-%d-%d-%d" % (step, worker, n), n + 1
                try:
                    result = scep_client.enroll(server.url + "/static", CHALLENGE, transaction, signer=signer, ca=ca, transaction_id=transaction)
                except Exception:  # noqa: BLE001 - the server was killed under it
                    continue
                with lock:
                    received[transaction] = result.certificate
        threads = [threading.Thread(target=enroll_forever, args=(w,)) for w in range(4)]
        for t in threads:
            t.start()
        enough = len(received) + rng.randint(1, 25)
        eventually(lambda: len(received) >= enough, "some certificates are out")
        server.kill()
        stop.set()
        for t in threads:
            t.join()
        server.start()
    listed = {c["serial"]: c for c in server.all_certificates()}
    assert last_delta(server) - len(listed) == start, "not one delta for each certificate"
    assert not [t for t, c in received.items() if "%X" % c.serial_number not in {s.lstrip("0") for s in listed}]
    subjects = [c["subject"] for c in listed.values() if c["subject"].startswith("CN=t-")]
    assert len(subjects) == len(set(subjects)), "a transaction has two certificates"
    for transaction, certificate in random.Random(1).sample(sorted(received.items()), 10):
        again = scep_client.enroll(server.url + "/static", CHALLENGE, transaction, signer=signer, ca=ca, transaction_id=transaction)
        assert again.certificate == certificate and server.ocsp(certificate) == "good"


def test_acknowledged_revocations_survive(make_server):
    rng = random.Random("revoke kills")
    server = make_server()
    made = [server.sign("r%d.example" % i) for i in range(80)]
    acknowledged, todo = {}, list(made)
    while todo:
        enough = rng.randint(1, 20)
        done = threading.Event()

        def revoke_some():
            try:
                while todo:
                    certificate, serial = todo[-1]
                    reason = rng.choice(["keyCompromise", "certificateHold", "superseded"])
                    server.control("revoke", serial=serial, reason=reason)
                    acknowledged[serial] = (certificate, reason)
                    todo.pop()
                    if len(acknowledged) % enough == 0:
                        done.set()
            except Exception:  # noqa: BLE001 - the server was killed under it
                if todo:
                    todo.pop()  # this one was not acknowledged: either state is right
            done.set()
        thread = threading.Thread(target=revoke_some)
        thread.start()
        done.wait(30)
        server.kill()
        thread.join()
        server.start()
        statuses = server.statuses()
        assert not [s for s, (_, reason) in acknowledged.items() if statuses[s][1] != reason]
    for certificate, reason in random.Random(2).sample(list(acknowledged.values()), 10):
        assert server.ocsp(certificate) == ("hold" if reason == "certificateHold" else "revoked")


def test_killed_during_the_first_start(make_server):
    """The CA is made whole or made again: after any kill the next start serves, with one CA from then on."""
    rng = random.Random("first start")
    server = make_server(start=False, fresh=True)
    for _ in range(10):
        moment = time.monotonic() + rng.uniform(0, 0.4)
        server.spawn()
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        server.kill()
    server.start()
    first, (certificate, _) = server.ca, server.sign("x.example")
    server.kill()
    server.start()
    assert x509.load_der_x509_certificate(server.http("GET", "/ca")[2]) == first and server.ocsp(certificate) == "good"


def test_a_device_enrolled_while_sync_is_killed_is_not_forgotten(fleet, graph):
    """Enrolment and sync race for the same object; the binding must be seen by whichever comes second."""
    rng = random.Random("race")
    server = fleet.server
    signer = scep_client.make_signer()
    for step in range(6):
        device = graph.add("devices", "new-%d" % step, accountEnabled=False)
        result = scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, device["deviceId"], signer=signer)
        if rng.random() < 0.5:
            server.kill()
            server.start()
        eventually(lambda: server.status_of(result.serial_hex) == "hold", "the disabled device's certificate is on hold")
