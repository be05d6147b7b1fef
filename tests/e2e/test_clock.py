"""A machine whose clock is wrong, at a start and later. It is moved by `moved_clock.c`, preloaded."""

import datetime
import json

import pytest
from cryptography import x509
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


def test_a_revocation_under_a_clock_that_was_ahead_is_not_told_for_the_future(timed):
    """Java, for one, takes a certificate until the date of its revocation has come, by OCSP and by list."""
    server, clock = timed
    certificate, serial = server.sign("gone.example")
    clock.move(10 * DAY)
    server.control("revoke", serial=serial, reason="keyCompromise")
    clock.move(0)
    eventually(lambda: is_well(server), "the probe is green")
    with OcspClient(server) as client:
        answer = client.post(ocsp_request(certificate, client.issuer))
    assert answer.revocation_time <= answer.this_update - datetime.timedelta(days=1)

    def listed():
        crl = x509.load_der_x509_crl(server.http("GET", "/crl")[2])
        return crl if crl.last_update <= datetime.datetime.utcnow() and len(crl) else None
    entry = eventually(listed, "the list is of the time that it is again").get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert entry.revocation_date <= datetime.datetime.utcnow() - datetime.timedelta(days=1)


def test_the_uptime_is_no_matter_of_the_clock(timed):
    server, clock = timed
    before = probe(server)[1]["uptimeSeconds"]
    for days in (-1, 1):
        clock.move(days * DAY)
        assert before <= probe(server)[1]["uptimeSeconds"] < DAY / 2
