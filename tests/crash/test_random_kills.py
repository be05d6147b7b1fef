"""kill -9 at random instants while all sources change: in the end the database is that of a server which nobody ever killed.

Two servers begin with the same data folder and watch the same fakes. One is left alone. The other is killed again and again,
at instants drawn over the time that a start and a round take, so that they fall into all that these do.

CRASH_KILLS (24) says how many kills, CRASH_SEED which.
"""

import json
import os
import random
import shutil
import time

import pytest
from files import Files
from harness import eventually
from scenario import MASS, Scenario, comparable, seen_all, statuses

KILLS = int(os.environ.get("CRASH_KILLS", "24"))
SEED = os.environ.get("CRASH_SEED", "random kills")
STEPS = 6


@pytest.fixture
def files():
    fake = Files().start()
    yield fake
    fake.stop()


@pytest.fixture
def scenario(graph, jamf, files, make_server, tmp_path):
    made = Scenario(SEED, graph, jamf, files, tmp_path)
    template = make_server(start=False, **made.settings())
    made.prepare(template)
    made.template = template
    return made


def like(scenario, make_server):
    """Another server with a copy of the prepared folder."""
    server = make_server(start=False, fresh=True, **scenario.settings())
    shutil.copytree(scenario.template.data_dir, server.data_dir)
    return server


def export(server):
    return [json.loads(line) for line in server.cli("export").stdout.splitlines()]


class Killer:
    """Kills one server at random moments, and counts how far it had come."""

    def __init__(self, server, rng):
        self.server, self.rng = server, rng
        self.kills = self.before_ready = 0
        begin = time.monotonic()
        server.start()
        self.start_takes = time.monotonic() - begin
        server.sync_round()
        begin = time.monotonic()
        server.sync_round()
        self.round_takes = time.monotonic() - begin

    def kill(self, within):
        moment = time.monotonic() + self.rng.uniform(0, within)
        eventually(lambda: time.monotonic() >= moment, "the moment has come", pause=0.001)
        self.before_ready += "serve.ready" not in self.server.log()[self.server.log_from:]
        self.server.kill()
        self.kills += 1

    def while_it_runs(self):
        self.kill(self.round_takes)

    def while_it_starts(self):
        self.server.spawn()
        self.kill(self.start_takes + self.round_takes)


def assert_same(killed, untouched):
    assert killed.keys() == untouched.keys(), "other families, or certificates, have records"
    for kind in untouched:
        different = [pair for pair in zip(killed[kind], untouched[kind]) if pair[0] != pair[1]]
        assert len(killed[kind]) == len(untouched[kind]) and not different, "%s: killed, untouched: %s" % (kind, different[:3])


def test_a_server_that_is_killed_again_and_again(scenario, make_server):
    rng = random.Random("%s, the moments" % SEED)
    untouched, killed = like(scenario, make_server).start(), like(scenario, make_server)
    killer = Killer(killed, rng)
    for step in range(STEPS):
        mass = step == STEPS - 1
        if mass:
            killer.while_it_runs()
            untouched.stop()
            scenario.mass_deletion()
            untouched.start()
        else:
            scenario.step()
            killer.while_it_runs()
        while killer.kills < KILLS * (step + 1) // STEPS:
            killer.while_it_starts()
        killed.start()
        seen_all(untouched)
        seen_all(killed)
        eventually(lambda: statuses(killed) == statuses(untouched), "step %d has had its effect" % step)
    for server in (untouched, killed):
        held = eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "the mass deletion is held")
        assert [c["certificates"] for c in held] == [MASS]
    before = killed.control("status")["parts"]["store"]["lastDelta"]
    killed.sync_round(full=True)
    assert killed.control("status")["parts"]["store"]["lastDelta"] == before, "a settled state is written again"
    untouched.sync_round(full=True)
    untouched.stop()
    killed.stop()
    assert_same(comparable(export(killed)), comparable(export(untouched)))
    print("\n%d kills, %d of them before the server was ready" % (killer.kills, killer.before_ready))
