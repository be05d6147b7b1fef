"""After a change is acknowledged no loop sends the old answer: threads hammer OCSP on all loops meanwhile.

Each asking thread notes when it sends a request and what comes back. A request sent after the acknowledgement must
get the new status; requests that were under way may get either.
"""

import http.client
import random
import threading
import time

import pytest
from cryptography.x509 import ocsp
from harness import eventually, ocsp_request, ocsp_word

CONNECTIONS = 12  # more than loops: the kernel spreads them
CERTIFICATES = 30


class Hammer:
    """Asks about one certificate after the other, over connections that are spread over the loops."""

    def __init__(self, server):
        self.server, self.target, self.stop = server, None, threading.Event()
        self.answers, self.broken = [], []
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CONNECTIONS)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert self.broken == []

    def _run(self, i):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            while not self.stop.is_set():
                target = self.target
                if target is None:
                    self.stop.wait(0.001)
                    continue
                sent = time.monotonic()
                connection.request("POST", "/ocsp", target)
                word = ocsp_word(ocsp.load_der_ocsp_response(connection.getresponse().read()))
                self.answers.append((target, sent, word, i))
        except Exception as error:  # noqa: BLE001 - reported by the test's thread
            self.broken.append(repr(error))
        finally:
            connection.close()

    def aim(self, target):
        self.target = target

    def asked(self, target, since):
        """Every connection has an answer to a request that it sent after `since`."""
        return len({i for t, sent, _, i in list(self.answers) if t is target and sent > since}) == CONNECTIONS

    def check(self, target, since, expected):
        wrong = [(word, sent - since) for t, sent, word, _ in list(self.answers) if t is target and sent > since and word != expected]
        assert wrong == [], wrong[:5]

    def settled(self, target, since, expected):
        eventually(lambda: self.asked(target, since) or self.broken, "every connection asked again", pause=0.002)
        assert self.broken == []
        self.check(target, since, expected)


@pytest.fixture
def four_loops():
    return {"REVLINE_WORKERS": "4", "REVLINE_LOG_LEVEL": "info"}


def test_revoke_and_unrevoke_by_hand(make_server, four_loops):
    server = make_server(**four_loops)
    made = [server.sign("h%d.example" % i) for i in range(CERTIFICATES)]
    requests = [ocsp_request(c, server.ca) for c, _ in made]
    with Hammer(server) as hammer:
        for (_, serial), request in zip(made, requests):
            begun = time.monotonic()
            hammer.aim(request)
            hammer.settled(request, begun, "good")
            for command, arguments, expected in (("revoke", {"reason": "certificateHold"}, "hold"), ("unrevoke", {}, "good"),
                                                 ("revoke", {"reason": "keyCompromise"}, "revoked")):
                server.control(command, serial=serial, **arguments)
                acknowledged = time.monotonic()
                hammer.settled(request, acknowledged, expected)


def test_revoke_by_the_command_line(make_server, four_loops):
    server = make_server(**four_loops)
    with Hammer(server) as hammer:
        for i in range(3):
            certificate, serial = server.sign("c%d.example" % i)
            request = ocsp_request(certificate, server.ca)
            begun = time.monotonic()
            hammer.aim(request)
            hammer.settled(request, begun, "good")
            server.cli("revoke", serial)
            hammer.settled(request, time.monotonic(), "revoked")


def changes(server):
    """Counted when the OCSP cache has heard of them. The database shows a change a moment before."""
    return sum(n for name, n in server.metrics().items() if name.startswith("revline_certificate_changes_total"))


def test_changes_by_sync(synced, graph, four_loops):
    """Once a change is counted no loop says the old thing."""
    devices = [graph.add("devices", "d%d" % i) for i in range(10)]
    server = synced(**four_loops)
    server.sync_round()
    rng = random.Random("sync")
    with Hammer(server) as hammer:
        for device in devices:
            certificate, serial = server.sign_for_device(device)
            request = ocsp_request(certificate, server.ca)
            begun = time.monotonic()
            hammer.aim(request)
            hammer.settled(request, begun, "good")
            steps = [(lambda: graph.update("devices", device["id"], accountEnabled=False), "hold"),
                     (lambda: graph.update("devices", device["id"], accountEnabled=True), "good"),
                     (lambda: graph.delete("devices", device["id"]), "revoked")]
            for change, expected in steps[rng.choice([0, 2]):]:
                before = changes(server)
                change()
                eventually(lambda: changes(server) > before, "the delta is applied", pause=0.002)
                hammer.settled(request, time.monotonic(), expected)
                assert server.status_of(serial) == expected


def test_cache_under_pressure_keeps_the_promise(make_server):
    """A cache that holds next to nothing: entries are evicted and signed again all the time."""
    server = make_server(REVLINE_WORKERS="4", REVLINE_LOG_LEVEL="info", REVLINE_OCSP_CACHE_SIZE="64KiB")
    made = [server.sign("p%d.example" % i) for i in range(200)]
    noise = [ocsp_request(c, server.ca) for c, _ in made]
    stop, broken = threading.Event(), []

    def churn(seed):
        rng = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            while not stop.is_set():
                connection.request("POST", "/ocsp", rng.choice(noise))
                ocsp_word(ocsp.load_der_ocsp_response(connection.getresponse().read()))
        except Exception as error:  # noqa: BLE001
            broken.append(repr(error))
        finally:
            connection.close()
    threads = [threading.Thread(target=churn, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        with Hammer(server) as hammer:
            for (_, serial), request in list(zip(made, noise))[:8]:
                hammer.aim(request)
                server.control("revoke", serial=serial, reason="superseded")
                hammer.settled(request, time.monotonic(), "revoked")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert broken == []
