"""kill -9 at random moments under concurrent enrolments and renewals, each repeated until it is answered.

What a client has is in the store, and no transaction has two certificates.
"""

import collections
import http.client
import random
import threading
import time

import pytest
import scep_client
from harness import CHALLENGE, eventually
from scep_client import Signer

CLIENTS, KILLS = 6, 10
NO_ANSWER = (OSError, http.client.HTTPException, scep_client.HttpError)


class Client(threading.Thread):
    """Enrolls and renews in turn, again and again, each until there is an answer; keeps what it got."""

    def __init__(self, fleet, number, signer):
        super().__init__()
        self.fleet, self.number, self.signer = fleet, number, signer
        self.received, self.asked, self.failure = [], set(), None

    def run(self):
        try:
            turn = 0
            while not self.fleet.over.is_set():
                name = "c-%d-%d" % (self.number, turn)
                certificate = self.enroll(name)
                if certificate:
                    self.renew(name, certificate)
                turn += 1
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failure = error

    def enroll(self, name):
        return self.until_answered(name, scep_client.enroll, CHALLENGE, name, signer=self.signer)

    def renew(self, name, certificate):
        return self.until_answered(name + "-renewal", scep_client.renew, Signer(self.signer.key, certificate), name)

    def until_answered(self, transaction, ask, *arguments, **more):
        """The certificate; None when the test is over before an answer came."""
        self.asked.add(transaction)
        while not self.fleet.over.is_set():
            try:
                result = ask(self.fleet.url, *arguments, ca=self.fleet.ca, transaction_id=transaction, **more)
            except NO_ANSWER:
                self.fleet.back.wait(1)
                continue
            assert result.pki_status == "SUCCESS", result.fail_text
            self.received.append((transaction, ask, arguments, more, result.certificate))
            return result.certificate
        return None


class Fleet:
    """What the clients share; `where` tells the URL after each start."""

    def __init__(self, server, where, client, ca):
        self.server, self.where, self.ca = server, where, ca
        self.over, self.back = threading.Event(), threading.Event()
        self.back.set()
        self.moved()
        self.own = len(server.all_certificates())
        signers = [scep_client.make_signer() for _ in range(2)]  # two clients of one key: the names tell them apart
        self.clients = [client(self, n, signers[n % 2]) for n in range(CLIENTS)]

    def moved(self):
        self.url = self.where()

    def received(self):
        return [one for client in self.clients for one in client.received]

    def check(self):
        assert [c.failure for c in self.clients if c.failure] == []

    def kill_again_and_again(self, rng):
        for client in self.clients:
            client.start()
        try:
            for _ in range(KILLS):
                enough = len(self.received()) + rng.randint(1, 12)
                eventually(lambda: len(self.received()) >= enough or self.check(), "clients get certificates")
                moment = time.monotonic() + rng.uniform(0, 0.02)  # anywhere in a request, not only behind an answer
                eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
                self.back.clear()
                self.server.kill()
                self.server.start()
                self.moved()
                self.back.set()
            enough = len(self.received()) + 2 * CLIENTS
            eventually(lambda: len(self.received()) >= enough or self.check(), "all go on")
        finally:
            self.over.set()
            self.back.set()
            for client in self.clients:
                client.join()
        self.check()

    def check_certificates(self):
        received = self.received()
        assert len({certificate.serial_number for *_, certificate in received}) == len(received), "two transactions share a certificate"
        listed = self.server.all_certificates()
        assert self.server.cli_json("list", "--limit", "1000")["items"] == listed[:1000]
        status = {int(c["serial"], 16): c["status"] for c in listed}
        assert all(status[certificate.serial_number] == "good" for *_, certificate in received)
        # A name is asked for by one transaction, and by one more to renew it.
        asked = collections.Counter("CN=" + t.removesuffix("-renewal") for client in self.clients for t in client.asked)
        made = collections.Counter(c["subject"] for c in listed if c["subject"].startswith("CN=c-"))
        assert sum(made.values()) == len(listed) - self.own
        assert not made - asked, "a transaction has two certificates"

    def ask_again(self, rng):
        """Each transaction, asked once more, gets what it got."""
        for transaction, ask, arguments, more, certificate in rng.sample(self.received(), 20):
            again = ask(self.url, *arguments, ca=self.ca, transaction_id=transaction, **more)
            assert again.certificate == certificate, transaction
            yield transaction, arguments, more, certificate


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa2048"])
def test_no_certificate_is_lost_and_none_is_made_twice(make_server, key_type):
    rng = random.Random("scep kills " + key_type)
    server = make_server(key_type=key_type)
    where = lambda: server.url + "/static"
    fleet = Fleet(server, where, Client, scep_client.get_ca_cert(where()))
    fleet.kill_again_and_again(rng)
    fleet.check_certificates()
    made = len(server.all_certificates())
    for transaction, arguments, more, certificate in fleet.ask_again(rng):
        assert scep_client.cert_poll(fleet.url, more.get("signer") or arguments[0], transaction, certificate.issuer,
                                     certificate.subject, ca=fleet.ca).certificates[0] == certificate
    assert len(server.all_certificates()) == made
