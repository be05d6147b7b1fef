"""Signed answers survive a restart, and none survives a change of its certificate's status, whatever kills the server."""

import random

import pytest
from harness import eventually

FLEET = 40


@pytest.fixture
def fleet(make_server):
    server = make_server()
    return server, [server.sign("w%02d.example" % i) for i in range(FLEET)]


def ask_all(server, made):
    return [server.ocsp(certificate) for certificate, _ in made]


def metric(server, name):
    return server.metrics()[name]


def saved(server):
    return metric(server, "revline_ocsp_answers_saved_total")


def test_a_restart_takes_the_answers_over(fleet):
    server, made = fleet
    assert ask_all(server, made) == ["good"] * FLEET
    server.stop()
    server.start()
    assert metric(server, "revline_ocsp_answers_loaded_total") == FLEET
    assert ask_all(server, made) == ["good"] * FLEET
    assert metric(server, "revline_ocsp_signatures_total") == 0


def test_a_kill_loses_no_saved_answer(fleet):
    server, made = fleet
    assert ask_all(server, made) == ["good"] * FLEET
    eventually(lambda: saved(server) == FLEET, "all answers are saved")
    server.kill()
    server.start()
    assert ask_all(server, made) == ["good"] * FLEET
    assert metric(server, "revline_ocsp_signatures_total") == 0


def test_an_acknowledged_revocation_outlives_a_kill(fleet):
    """Answers are saved, certificates are revoked, and the server is killed at once, before or after the answers of
    their new status are saved: no later start says good."""
    rng = random.Random("warm kills")
    server, made = fleet
    good, revoked = list(made), []
    while len(good) > 4:
        ask_all(server, good + revoked)
        if rng.random() < 0.5:
            before = saved(server)
            eventually(lambda: saved(server) > before or before >= FLEET, "answers are saved")
        for certificate, serial in [good.pop() for _ in range(4)]:
            server.control("revoke", serial=serial, reason="keyCompromise")
            revoked.append((certificate, serial))
        server.kill()
        server.start()
        assert ask_all(server, revoked) == ["revoked"] * len(revoked)
        assert ask_all(server, good) == ["good"] * len(good)


def test_a_revocation_while_no_server_runs_counts(fleet):
    server, made = fleet
    ask_all(server, made)
    server.stop()
    server.cli("revoke", made[0][1])
    server.start()
    assert server.ocsp(made[0][0]) == "revoked"
    assert ask_all(server, made[1:]) == ["good"] * (FLEET - 1)
