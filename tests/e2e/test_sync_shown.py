"""`revline sync`: the table of the sources, a round now, what fails and what to do about it; the same in /probe and /metrics."""

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import threading

import pytest
from harness import eventually, jamf_settings

SELDOM = {"REVLINE_SYNC_ENTRA_INTERVAL": "1h"}  # only rounds that are asked for


@pytest.fixture
def watching(graph, synced):
    """A server that has made its first rounds, and a device and a user there."""
    def make(**settings):
        graph.bulk("devices", 3)
        graph.bulk("users", 2)
        server = synced(**{**SELDOM, **settings})
        eventually(lambda: all(s["rounds"] for s in server.sync().values()), "the first rounds")
        return server
    return make


def row(text, source):
    return next(line for line in text.splitlines() if line.startswith(source + " ")).split()


def shown(server, source):
    return server.cli_json("sync")["sources"][source]


# ---- the table ----
def test_the_table_shows_each_source_and_why_others_are_off(watching):
    server = watching()
    text = server.cli("sync").stdout
    assert text.splitlines()[0].split() == "SOURCE STATE LAST SUCCESS LAG OBJECTS CHANGES REQUESTS THROTTLED NEXT RUN".split()
    cells = row(text, "entra-device")
    assert cells[1] == "idle" and re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", cells[2])
    assert cells[5:8] == ["3", "0", "1"]  # objects, changes, requests, behind the lag and its unit
    assert re.search(r"^jamf-user +off +turned on by REVLINE_JAMF_URL", text, re.M)
    assert re.search(r"^intune-device +off +turned on by REVLINE_SYNC_INTUNE_INTERVAL", text, re.M)
    assert server.log().count("sync.off source=jamf-user") == 1
    states = {line.index(word) for line in text.splitlines()[1:] for word in (" idle ", " off ", " running ") if word in line}
    assert len(states) == 1, "the columns are columns: %s" % states


def test_the_same_in_json_probe_and_metrics(watching):
    server = watching()
    source, probe = shown(server, "entra-device"), json.loads(server.http("GET", "/probe")[2])["parts"]["sync"]["entra-device"]
    for name in ("state", "lastSuccess", "objects", "changed", "requests", "throttledSeconds", "lastError", "advice", "needs", "stale"):
        assert source[name] == probe[name], name
    assert source["state"] == "idle" and source["advice"] == "" and source["needs"] is None and not source["stale"]
    metrics, labels = server.metrics(), '{source="entra-device"}'
    assert metrics["revline_sync_objects_total" + labels] == source["objects"] == 3
    assert metrics["revline_sync_throttled_seconds" + labels] == metrics["revline_sync_failing" + labels] == 0
    assert metrics["revline_sync_next_run_seconds" + labels] == source["nextRun"] > source["lastSuccess"]
    said = server.cli("status").stdout
    assert "off: turned on by REVLINE_JAMF_URL" in said
    assert len({re.match(r"  \S+ +", line).end() for line in said.splitlines()[1:]}) == 1, "the columns are columns"


# ---- a round now ----
def test_a_round_now_is_waited_for(watching, graph):
    server = watching()
    serial = server.sign_for_device(graph.objects("devices")[0])[1]
    graph.delete("devices", graph.objects("devices")[0]["id"])
    done = server.cli("sync", "entra-device")
    assert re.fullmatch(r"entra-device: done in \d+\.\d s: 1 page, 1 object, 1 certificate changed\n", done.stdout)
    assert server.status_of(serial) == "revoked"
    graph.update("users", graph.objects("users")[0]["id"], accountEnabled=False)
    lines = server.cli("sync", "all").stdout.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["entra-device", "entra-user", "guard", "reweigh"]
    sources = server.cli_json("sync", "entra-user", "--full")["sources"]
    assert list(sources) == ["entra-user"] and sources["entra-user"]["round"]["objects"] == 2
    assert set(server.cli_json("sync", "--full")["sources"]) == {"entra-device", "entra-user", "guard", "reweigh"}


def test_a_full_round_is_waited_for_to_its_end(watching, graph):
    """While it is held at its second page the command has not ended."""
    server = watching()
    graph.switch("page_size", 2)
    graph.switch("hold", on="devices.delta.next")
    seen = len(graph.requests())
    process = subprocess.Popen([server.binary, "sync", "entra-device", "--full"], env=server.environment, stdout=subprocess.PIPE, text=True)
    graph.wait(1, since=seen, on="devices.delta.first")
    eventually(lambda: shown(server, "entra-device")["round"]["pages"] == 1, "the first page is in")
    assert process.poll() is None
    graph.clear()
    assert "2 pages, 3 objects" in process.communicate(timeout=60)[0] and process.returncode == 0


def test_on_a_terminal_there_is_progress(watching, graph):
    server = watching()
    graph.switch("page_size", 2)
    graph.switch("hold", on="devices.delta.next")
    master, terminal = pty.openpty()
    process = subprocess.Popen([server.binary, "sync", "entra-device", "--full"], env=server.environment, stdout=terminal)
    os.close(terminal)
    text = b""
    while b"entra-device: 1 page, 2 objects, " not in text:
        text += os.read(master, 4096)
    graph.clear()
    while b"done in" not in text:
        text += os.read(master, 4096)
    assert process.wait(60) == 0 and b"2 pages, 3 objects" in text
    os.close(master)


def test_asked_for_without_waiting(watching, graph):
    server = watching()
    graph.switch("hold", on="devices")
    assert server.cli("sync", "entra-device", "--no-wait").stdout == "asked for a round\n"
    graph.clear()
    eventually(lambda: shown(server, "entra-device")["rounds"] == 2, "the round was made")


def test_wrong_usage(watching):
    server = watching()
    assert "go with a source, or all" in server.cli("sync", "rules", "--full", code=2).stderr
    server.cli("sync", "all", "all", code=2)
    assert "no source" in server.cli("sync", "entra-devices", code=1).stderr
    assert re.search(r"\"jamf-user\" is off: it is turned on by REVLINE_JAMF_URL", server.cli("sync", "jamf-user", code=1).stderr)


# ---- what fails, and what to do ----
def test_a_missing_permission_is_named(watching, graph):
    server = watching()
    graph.switch("fail", {"status": 403, "code": "Authorization_RequestDenied"}, on="users")
    done = server.cli("sync", "entra-user", code=1)
    assert "403" in done.stderr and "to do:" in done.stderr and "User.Read.All" in done.stderr and done.stdout == ""
    server.cli("sync", "entra-device")
    source = shown(server, "entra-user")
    assert "User.Read.All" in source["advice"] and "admin consent" in source["advice"] and source["lastError"]
    text = server.cli("sync").stdout
    assert re.search(r"^    failing   Graph answered 403", text, re.M) and re.search(r"^    to do     In Entra ID, .*User\.Read\.All", text, re.M)
    assert server.metrics()['revline_sync_failing{source="entra-user"}'] == 1
    assert "User.Read.All" in json.loads(server.http("GET", "/probe")[2])["parts"]["sync"]["entra-user"]["advice"]
    assert 'advice="In Entra ID' in server.log()
    graph.clear()
    server.cli("sync", "entra-user")
    assert shown(server, "entra-user")["advice"] == ""


def test_jamf_pros_privilege_is_named(make_server, jamf):
    jamf.add("computers", "mac")
    server = make_server(**jamf_settings(jamf, REVLINE_SYNC_JAMF_INTERVAL="1h"))
    jamf.switch("fail", {"status": 403}, on="computers")
    done = server.cli("sync", "jamf-computer", "--full", code=1)
    assert "Read Computers" in done.stderr.split("to do:")[1]


def test_a_refused_login_says_what_to_check(watching, graph):
    server = watching()
    graph.switch("fail", {"status": 401, "code": "invalid_client"}, on="token")
    graph.revoke_tokens()
    assert "AZURE_CLIENT_ID" in server.cli("sync", "entra-device", code=1).stderr


def test_time_spent_throttled_is_told_and_nobody_waits_for_it(watching, graph):
    """The command ends with the upstream's word instead of waiting as long as that says."""
    server = watching(REVLINE_SYNC_RETRY_MAX="100ms")
    graph.switch("fail", {"status": 429, "retry_after": 2}, on="devices", times=1)
    done = server.cli("sync", "entra-device", code=1)
    assert "429" in done.stderr and "limits how often" in done.stderr
    eventually(lambda: shown(server, "entra-device")["rounds"] == 2, "it came again by itself")
    source = shown(server, "entra-device")
    assert source["throttledSeconds"] >= 2 and source["waitsUntil"] == 0 and source["lastError"] == ""
    assert server.metrics()['revline_sync_throttled_seconds{source="entra-device"}'] >= 2
    assert shown(server, "entra-user")["throttledSeconds"] == 0


def test_each_way_not_to_get_an_answer_has_its_advice(make_server):
    """No such name, nobody there, no TLS there."""
    server = make_server(start=False, REVLINE_SYNC_RETRY_MAX="200ms", REVLINE_SYNC_REQUEST_TIMEOUT="20s")
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))
        plain.listen()
        threading.Thread(target=no_tls, args=(plain,), daemon=True).start()
        server.settings["REVLINE_SYNC_CRL_URLS"] = ",".join(
            ("http://nowhere.invalid/a.crl", "http://localhost:1/b.crl", "https://localhost:%d/c.crl" % plain.getsockname()[1]))
        server.start()
        for n, words in ((1, "DNS"), (2, "firewall"), (3, "SSL_CERT_FILE")):
            eventually(lambda: shown(server, "crl-%d" % n)["failures"], "it fails")
            assert words in shown(server, "crl-%d" % n)["advice"], shown(server, "crl-%d" % n)
        server.stop()


def no_tls(listener):
    """Answers as a web server without TLS does, until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
