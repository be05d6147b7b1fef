"""Secrets stay where they belong: not in logs, the process list, the probes; files are their owner's alone."""

import pathlib
import stat

import pytest
import scep_client
from harness import AAD_CHALLENGE, CHALLENGE, eventually, fake_graph


@pytest.fixture(params=["logfmt", "json"])
def busy_server(request, graph, synced):
    """A server that has used each of its secrets, at debug level: tokens, challenges right and wrong, keys."""
    device = graph.add("devices", "pc")
    server = synced(REVLINE_LOG_FORMAT=request.param)
    server.sync_round()
    graph.switch("token_uses", 1)
    graph.revoke_tokens()
    server.sync_round()
    graph.switch("fail", {"status": 401, "code": "invalid_client"}, on="token")
    eventually(lambda: any(s["lastError"] for s in server.sync().values()), "a failure is logged")
    graph.clear()
    server.sync_round()
    scep_client.enroll(server.url + "/static/aad", AAD_CHALLENGE, device["deviceId"])
    scep_client.enroll(server.url + "/static", "wrong-challenge-3", "pc")
    return server


def private_key_material(server):
    """Each line of the PEM key files: none of it may be anywhere else."""
    lines = []
    for path in server.data_dir.glob("*.key"):
        lines += [line for line in path.read_text().splitlines() if line and not line.startswith("-----")]
    assert lines
    return lines


def test_no_secret_leaves(busy_server, graph):
    server = busy_server
    secrets = [CHALLENGE, AAD_CHALLENGE, "wrong-challenge-3", fake_graph.CLIENT_SECRET, "eyJ0eXAiOiJKV1QifQ", *private_key_material(server)]
    proc = pathlib.Path("/proc/%d" % server.pid)
    places = {"log": server.log(), "command line": (proc / "cmdline").read_text(),
              "config": server.cli("config").stdout, "config --json": server.cli("config", "--json").stdout,
              "status": server.cli("status", "--json").stdout, "list": server.cli("list", "--json").stdout}
    for path in ("/probe", "/probe/ready", "/metrics", "/"):
        places[path] = server.http("GET", path)[2].decode()
    assert "event=sync" in places["log"] or '"event":"sync' in places["log"]
    leaks = [(place, secret[:8]) for place, text in places.items() for secret in secrets if secret in text]
    assert leaks == []


def test_no_secret_is_in_the_database_in_clear(busy_server):
    server = busy_server
    secrets = [s.encode() for s in (CHALLENGE, AAD_CHALLENGE, fake_graph.CLIENT_SECRET, "eyJ0eXAiOiJKV1QifQ", *private_key_material(server))]
    server.stop()
    for path in (server.data_dir / "db").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [s[:8] for s in secrets if s in data], path


def test_modes_of_files(make_server):
    server = make_server(start=False, fresh=True, key_type="ec-p256").start()
    server.sign("x.example")
    mode = lambda path: stat.S_IMODE(path.stat().st_mode)
    assert mode(server.data_dir) == 0o700
    assert mode(server.data_dir / "control.sock") == 0o600
    keys = list(server.data_dir.glob("*.key"))
    assert {p.name for p in keys} >= {"ca-1.key"} and {mode(p) for p in keys} == {0o600}
    assert mode(server.data_dir / "db") == 0o700
    others = [p for p in server.data_dir.rglob("*") if p.is_file() and p.suffix == ".key" and mode(p) & 0o077]
    assert others == []
