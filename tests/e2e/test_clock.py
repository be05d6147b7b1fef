"""A machine whose clock is wrong, at a start and later. It is moved by `moved_clock.c`, preloaded."""

import json

import pytest
from cryptography.x509.ocsp import OCSPResponseStatus
from harness import CommandFailed, MovedClock, OcspClient, eventually, ocsp_request

DAY = 24 * 3600


@pytest.fixture
def timed(make_server):
    """A server that runs, and its clock."""
    server = make_server(start=False)
    clock = MovedClock(server)
    return server.start(), clock


def probe(server):
    status, _, body = server.http("GET", "/probe")
    return status, json.loads(body)


def told(server, certificate):
    with OcspClient(server) as client:
        return client.post(ocsp_request(certificate, client.issuer)).response_status


def is_behind(server):
    """Before the CA's own time: nothing can be answered or issued, and the probe says so."""
    status, body = probe(server)
    return status == 503 and body["status"] == body["parts"]["ca"]["status"] == body["parts"]["ocsp"]["status"] == "failed"


def is_well(server):
    return probe(server)[0] == 200


def test_a_clock_behind_the_ca_is_told_and_heals(timed):
    server, clock = timed
    certificate = server.sign("asked.example")[0]
    assert is_well(server)
    for restart in (False, True):
        if restart:
            server.stop()
        clock.move(-10 * DAY)
        if restart:
            server.start()
        eventually(lambda: is_behind(server), "the probe is red")
        assert told(server, certificate) == OCSPResponseStatus.TRY_LATER
        with pytest.raises(CommandFailed, match="not valid yet: this machine's clock is behind"):
            server.sign("early.example")
        clock.move(0)
        eventually(lambda: is_well(server), "the probe is green")
        assert server.ocsp(certificate) == "good" and server.sign("in-time.example")


def test_the_uptime_is_no_matter_of_the_clock(timed):
    server, clock = timed
    before = probe(server)[1]["uptimeSeconds"]
    for days in (-1, 1):
        clock.move(days * DAY)
        assert before <= probe(server)[1]["uptimeSeconds"] < DAY / 2
