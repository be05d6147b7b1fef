"""Every committed change is an event: counted in the metrics, told to whoever follows."""

import json
import socket
import subprocess

import pytest
from foreign_ca import ForeignCA
from harness import eventually


class Follower:
    """A connection that follows, as `revline events` has it."""

    def __init__(self, server):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(server.data_dir / "control.sock"))
        self.socket.sendall(b'{"command":"events"}\n')
        self.lines = self.socket.makefile("rb")
        self.first = json.loads(self.lines.readline())

    def next(self):
        return json.loads(self.lines.readline())

    def close(self):
        self.lines.close()
        self.socket.close()


@pytest.fixture
def follow():
    open_ones = []

    def make(server):
        open_ones.append(Follower(server))
        return open_ones[-1]
    yield make
    for one in open_ones:
        one.close()


def test_changes_by_an_admin_are_followed_in_their_order(server, follow):
    feed, other = follow(server), follow(server)
    assert "ok" in feed.first and "ok" in other.first
    serial = server.sign("laptop")[1]
    server.control("revoke", serial=serial, reason="certificateHold")
    server.control("unrevoke", serial=serial)
    server.control("revoke", serial=serial, reason="keyCompromise")
    events = [feed.next() for _ in range(4)]
    assert events == [other.next() for _ in range(4)]
    assert [(e["event"], e["from"], e["to"], e["reason"], e["why"]) for e in events] == [
        ("issued", None, "good", None, []), ("status", "good", "hold", "certificateHold", ["manual"]),
        ("status", "hold", "good", None, []), ("status", "good", "revoked", "keyCompromise", ["manual"])]
    assert {(e["serial"], e["issuer"], e["origin"]) for e in events} == {(serial, 1, "admin")}
    assert [e["sequence"] for e in events] == list(range(events[0]["sequence"], events[0]["sequence"] + 4))


def test_changes_by_a_directory_are_followed_and_counted(graph, synced, follow):
    device = graph.add("devices", "laptop")
    server = synced()
    server.sync_round()
    serial = server.sign_for_device(device)[1]
    feed = follow(server)
    graph.update("devices", device["id"], accountEnabled=False)
    event = feed.next()
    assert (event["serial"], event["to"], event["why"], event["origin"]) == (serial, "hold", ["disabled"], "sync:entra-device")
    assert server.status_of(serial) == "hold"
    graph.delete("devices", device["id"])
    event = feed.next()
    assert (event["from"], event["to"], event["why"]) == ("hold", "revoked", ["deleted"])
    metrics = server.metrics()
    changes = {name: value for name, value in metrics.items() if name.startswith("revline_certificate_changes_total")}
    assert changes['revline_certificate_changes_total{source="entra-device",to="hold"}'] == 1
    assert changes['revline_certificate_changes_total{source="entra-device",to="revoked"}'] == 1
    assert changes['revline_certificate_changes_total{source="admin",to="issued"}'] == 1


def test_the_command_follows_and_ends_with_the_server(make_server):
    server = make_server()
    process = subprocess.Popen([server.binary, "events"], env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: "command=events" in server.log(), "it follows")
    serial = server.sign("laptop")[1]
    assert json.loads(process.stdout.readline())["serial"] == serial
    server.stop()
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 1) and "the server has ended" in err
    done = server.cli("events", code=1)
    assert "no server listens" in done.stderr


def test_a_slow_reader_is_told_what_it_missed_and_blocks_nobody(make_server, follow, tmp_path):
    server, ca, number = make_server(), ForeignCA(tmp_path / "ca"), 20000
    server.cli("import", ca.path("ca.pem"))
    slow, fast = follow(server), follow(server)
    (ca.dir / "index.txt").write_text("".join("V\t390101000000Z\t\t%06X\tunknown\t/CN=c-%d\n" % (n + 0x100000, n) for n in range(number)))
    importing = subprocess.Popen([server.binary, "import", "--issuer", ca.name, ca.path("index.txt")], env=server.environment,
                                 stdout=subprocess.PIPE)
    seen = missed = 0
    while seen + missed < number:
        event = fast.next()
        seen, missed = seen + ("sequence" in event), missed + event.get("missed", 0)
    assert importing.wait(60) == 0
    seen = missed = 0
    while seen + missed < number:
        event = slow.next()
        if "missed" in event:
            missed += event["missed"]
        else:
            seen, last = seen + 1, event
    assert missed > 0 and seen + missed == number and last["serial"].lower().endswith("%06x" % (number - 1 + 0x100000))


def test_followers_are_few_and_their_places_are_free_again(server, follow):
    feeds = [follow(server) for _ in range(8)]
    assert "8 follow the events already" in follow(server).first["message"]
    for feed in feeds:
        feed.close()
    eventually(lambda: "ok" in follow(server).first, "a place is free")


def test_old_records_are_removed_and_the_numbers_go_on(make_server, follow):
    server = make_server(REVLINE_DELTA_KEEP="1s", REVLINE_AUDIT_KEEP="1s")
    serials = [server.sign("laptop")[1] for _ in range(3)]
    eventually(lambda: "family=delta" in server.log() and "family=audit" in server.log(), "both are trimmed")
    last = server.control("status")["parts"]["store"]["lastDelta"]
    server.kill()
    server.start()
    feed = follow(server)
    server.control("revoke", serial=serials[0])
    event = feed.next()
    assert event["sequence"] == last + 1 and event["serial"] == serials[0]
    assert [server.status_of(s) for s in serials] == ["revoked", "good", "good"]
