"""A disk without space, or that cannot make sure what it was given: writes are refused, reads go on, nothing acknowledged
is lost, and the same process writes again once the disk does. What fails is `failing_disk.c`, preloaded."""

import json
import pathlib
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from cryptography.x509.ocsp import OCSPResponseStatus
from harness import BINARY, CHALLENGE, CommandFailed, OcspClient, eventually, graph_settings, ocsp_request
from test_intune_enrollment import FAILURE, SUCCESS, VALIDATE, enroll, issued, said

NO_SPACE = "No space left on device"


class Disk:
    """The faults of the disk under one server's database."""

    def __init__(self, server):
        self.server, self.db = server, server.data_dir / "db"

    def switch(self, fault, on):
        path = pathlib.Path("%s-%s" % (self.db, fault))
        path.touch() if on else path.unlink(missing_ok=True)


@pytest.fixture
def make_disk(make_server):
    """make_disk(NAME="value", …): a server that runs, and its disk."""
    def make(**settings):
        server = make_server(start=False, **settings)
        server.settings.update({"LD_PRELOAD": str(pathlib.Path(BINARY).resolve().parent / "tests/failing_disk.so"),
                                "FAILING_DISK": str(server.data_dir / "db"),
                                "ASAN_OPTIONS": "detect_leaks=1:verify_asan_link_order=0"})
        return server.start(), Disk(server)
    return make


def probe(server):
    status, _, body = server.http("GET", "/probe")
    return status, json.loads(body)["parts"]["store"]["status"]


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def refused(server, command, **arguments):
    with pytest.raises(CommandFailed) as refusal:
        server.control(command, **arguments)
    return str(refusal.value)


def check_same(server, statuses, deltas):
    assert server.statuses() == statuses and last_delta(server) == deltas


@pytest.mark.parametrize("writes_before", [0, 3])
def test_a_full_disk_refuses_writes_and_nothing_else(make_disk, writes_before):
    """With and without something in the log that a restart has to read: RocksDB's own recovery differs."""
    server, disk = make_disk()
    made = [server.sign("before-%d.example" % i) for i in range(3)]
    if not writes_before:
        server.stop()
        server.start()
    assert server.ocsp(made[0][0]) == "good"
    statuses, deltas = server.statuses(), last_delta(server)
    disk.switch("full", True)
    assert NO_SPACE in refused(server, "revoke", serial=made[0][1], reason="superseded")
    for _ in range(3):
        assert NO_SPACE in refused(server, "revoke", serial=made[1][1], reason="superseded")
    with pytest.raises(Exception):  # noqa: B017 - whatever the client makes of no certificate
        scep_client.enroll(server.url + "/static", CHALLENGE, "refused.example")
    assert probe(server) == (503, "failed")
    assert [server.ocsp(c) for c, _ in made] == ["good"] * 3, "answers from memory, and others"
    check_same(server, statuses, deltas)

    disk.switch("full", False)
    eventually(lambda: probe(server) == (200, "ok"), "the probe is green before anybody writes")
    check_same(server, statuses, deltas)
    server.control("revoke", serial=made[0][1], reason="superseded")
    after = server.sign("after.example")
    assert last_delta(server) == deltas + 2, "the numbers of refused writes are given out again"
    assert [server.ocsp(c) for c, _ in made + [after]] == ["revoked", "good", "good", "good"]
    assert server.starts == (1 if writes_before else 2)
    statuses, deltas = server.statuses(), last_delta(server)
    server.kill()
    server.start()
    check_same(server, statuses, deltas)
    assert [server.ocsp(c) for c, _ in made + [after]] == ["revoked", "good", "good", "good"]


def test_a_kill_while_the_disk_is_full_loses_nothing(make_disk):
    server, disk = make_disk()
    made = [server.sign("k%d.example" % i) for i in range(5)]
    statuses, deltas = server.statuses(), last_delta(server)
    disk.switch("full", True)
    refused(server, "revoke", serial=made[0][1], reason="superseded")  # cut in the middle, on the disk
    server.kill()
    server.spawn()
    assert server.process.wait(60) == 1
    server.check_log()
    assert re.search("serve.failed.*" + NO_SPACE, server.log()[server.log_from:])
    disk.switch("full", False)
    server.start()
    check_same(server, statuses, deltas)
    assert server.ocsp(made[0][0]) == "good"


def test_a_server_with_a_full_disk_stops_in_order(make_disk):
    server, disk = make_disk()
    certificate, serial = server.sign("stop.example")
    disk.switch("full", True)
    assert NO_SPACE in refused(server, "revoke", serial=serial, reason="superseded")
    server.stop()
    disk.switch("full", False)
    server.start()
    assert server.ocsp(certificate) == "good"


def test_a_refused_revocation_that_is_on_the_disk_counts_when_the_disk_works_again(make_disk):
    """The log has the record, only syncing it failed: whether it is there is not known before the database is opened
    anew. Nobody may be told the old status after that."""
    server, disk = make_disk()
    certificate, serial = server.sign("doubtful.example")
    assert server.ocsp(certificate) == "good"
    deltas = last_delta(server)
    disk.switch("unsynced", True)
    assert "Input/output error" in refused(server, "revoke", serial=serial, reason="superseded")
    assert probe(server) == (503, "failed")
    assert server.ocsp(certificate) == "good" and server.status_of(serial) == "good"
    disk.switch("unsynced", False)
    eventually(lambda: probe(server) == (200, "ok"), "the database is open anew")
    assert server.status_of(serial) == "revoked" and last_delta(server) == deltas + 1
    assert server.ocsp(certificate) == "revoked"
    server.kill()
    server.start()
    assert server.status_of(serial) == "revoked" and server.ocsp(certificate) == "revoked"


def test_a_database_that_cannot_be_opened_anew_is_opened_when_it_can(make_disk):
    server, disk = make_disk()
    (cached, serial), (other, _) = server.sign("cached.example"), server.sign("other.example")
    assert server.ocsp(cached) == "good"
    statuses, deltas = server.statuses(), last_delta(server)
    disk.switch("full", True)
    refused(server, "revoke", serial=serial, reason="superseded")
    manifest, = disk.db.glob("MANIFEST-*")
    manifest.rename(disk.db / "hidden")
    disk.switch("full", False)
    eventually(lambda: "cannot be opened" in server.log(), "it has been tried")
    assert probe(server) == (503, "failed")
    assert server.ocsp(cached) == "good", "answers go on from memory"
    with OcspClient(server) as client:
        assert client.post(ocsp_request(other, server.ca)).response_status == OCSPResponseStatus.INTERNAL_ERROR
    assert "cannot be opened" in refused(server, "revoke", serial=serial, reason="superseded")
    (disk.db / "hidden").rename(manifest)
    eventually(lambda: probe(server) == (200, "ok"), "the database is open again")
    check_same(server, statuses, deltas)
    assert server.ocsp(other) == "good"
    server.control("revoke", serial=serial, reason="superseded")
    assert server.ocsp(cached) == "revoked" and server.starts == 1


def test_intunes_enrollments_while_the_disk_is_full(make_disk, graph):
    """Nobody gets a certificate that is not stored, and no notification says that he did."""
    server, disk = make_disk(**graph_settings(graph, REVLINE_SYNC_ENTRA_INTERVAL="0"))
    device, signer = graph.add("devices", "pc-1"), scep_client.make_signer()
    assert enroll(server, device, signer, transaction_id="before").pki_status == "SUCCESS"
    disk.switch("full", True)
    result = enroll(server, device, signer, transaction_id="full")
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and "try again later" in result.fail_text
    assert said(graph, "failureNotification") == []  # it will get one yet
    graph.switch("scep_code", "ChallengeExpired", on=VALIDATE)
    assert "ChallengeExpired" in enroll(server, device, signer, transaction_id="refused").fail_text
    graph.clear("scep_code")
    assert len(issued(server)) == 1 == len(said(graph, "successNotification")) and said(graph, "failureNotification") == []

    disk.switch("full", False)
    eventually(lambda: probe(server) == (200, "ok"), "the probe is green before anybody writes")
    result = enroll(server, device, signer, transaction_id="full")
    assert result.pki_status == "SUCCESS" and server.ocsp(result.certificate) == "good"
    assert [t["transactionId"] for t in said(graph, "successNotification")] == ["before", "full"]
    assert server.metrics()["revline_scep_intune_queue"] == 0 and server.starts == 1


def test_a_disk_that_is_full_when_intune_has_been_told(make_disk, graph):
    server, disk = make_disk(**graph_settings(graph, REVLINE_SYNC_ENTRA_INTERVAL="0"))
    device, signer = graph.add("devices", "pc-1"), scep_client.make_signer()
    graph.switch("hold", True, on=SUCCESS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(enroll, server, device, signer, transaction_id="told")
        eventually(lambda: [r for r in graph.requests() if "successNotification" in r["path"]], "Intune is told")
        disk.switch("full", True)
        graph.clear("hold")
        result = waiting.result()
    assert result.pki_status == "FAILURE" and "try again" in result.fail_text
    (kept,) = issued(server)
    disk.switch("full", False)
    eventually(lambda: server.metrics()["revline_scep_intune_queue"] == 0, "it is told again, without the client")
    result = enroll(server, device, signer, transaction_id="told")
    assert result.pki_status == "SUCCESS" and result.serial_hex == kept["serial"] and server.ocsp(result.certificate) == "good"
    assert {t["transactionId"] for t in said(graph, "successNotification")} == {"told"}
    assert {t["certificateSerialNumber"] for t in said(graph, "successNotification")} == {kept["serial"]}
