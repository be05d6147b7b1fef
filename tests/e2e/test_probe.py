"""/probe, /probe/live, /probe/ready and /metrics."""

import datetime
import json

from cryptography.hazmat.primitives import hashes
from harness import eventually


def probe(server, path="/probe"):
    status, headers, body = server.http("GET", path)
    assert headers["Content-Type"].startswith("application/json")
    return status, json.loads(body)


def test_every_part_is_named(synced, graph):
    server = synced()
    server.sync_round()
    for path in ("/probe", "/probe/ready"):
        status, body = probe(server, path)
        assert status == 200 and body["status"] == "ok" and body["version"]
        assert {part: body["parts"][part]["status"] for part in ("store", "ca", "ocsp")} == {"store": "ok", "ca": "ok", "ocsp": "ok"}
        sources = body["parts"]["sync"]
        off = {"intune-device", "user-risk", "endpoint-list", "endpoint-profiles", "endpoint-report", "revocation-requests", "jamf-computer", "jamf-device", "jamf-user", "graph-hook"}
        assert {name: s["status"] for name, s in sources.items()} == dict.fromkeys({"reweigh", "guard", "entra-device", "entra-user"} | off, "ok")
        assert {name for name, s in sources.items() if s["state"] == "off"} == off
    assert probe(server, "/probe/live") == (200, {"status": "ok"})


def test_when_the_ca_ends_is_told(make_server):
    server = make_server()
    end = server.ca.not_valid_after.replace(tzinfo=datetime.timezone.utc)
    assert server.metrics()["revline_ca_not_after_seconds"] == probe(server)[1]["parts"]["ca"]["notAfter"] == end.timestamp()
    assert "ok, until %s" % end.strftime("%Y-%m-%dT%H:%M:%SZ") in server.cli("status").stdout


def test_a_dead_upstream_is_degraded_but_200(synced, graph):
    server = synced()
    server.sync_round()
    graph.switch("fail", {"status": 503}, on="devices")
    eventually(lambda: probe(server)[1]["status"] == "degraded", "degraded")
    status, body = probe(server)
    assert status == 200 and body["parts"]["sync"]["entra-device"]["status"] == "degraded"
    assert body["parts"]["sync"]["entra-device"]["lastError"] and body["parts"]["sync"]["entra-user"]["status"] == "ok"
    assert probe(server, "/probe/ready")[0] == 200 and probe(server, "/probe/live")[0] == 200
    graph.clear()
    eventually(lambda: probe(server)[1]["status"] == "ok", "ok again")


def test_the_homepage_can_be_turned_off(make_server):
    with_it = make_server()
    status, headers, page = with_it.http("GET", "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"Revline" in page
    for name in ("REVLINE_HOMEPAGE", "AppConfig__AnonymousHomePageAccess"):
        server = make_server(**{name: "false"})
        status, headers, page = server.http("GET", "/")
        assert status == 405 and headers["Allow"] == "POST" and b"Revline" not in page
        assert server.http("GET", "/probe")[0] == server.http("GET", "/ca")[0] == 200
        assert server.ocsp(server.sign("asked.example")[0]) == "good"


def test_head_of_a_probe(module_server):
    status, headers, body = module_server.http("HEAD", "/probe")
    assert status == 200 and body == b"" and int(headers["Content-Length"]) > 0


def test_metrics_are_prometheus_text_and_count(make_server):
    server = make_server()
    certificate, serial = server.sign("counted.example")
    before = server.metrics()
    for _ in range(5):
        assert server.ocsp(certificate) == "good"
    after = server.metrics()
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert any("ocsp" in name for name in grown), sorted(after)
    status, headers, text = server.http("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {name.split("{")[0] for name in after}
    typed = {line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE ")}
    base = lambda n: next((n[:-len(s)] for s in ("_bucket", "_sum", "_count") if n.endswith(s) and n[:-len(s)] in typed), n)
    assert {base(n) for n in names} <= typed


def test_the_homepage_shows_the_fingerprint(module_server):
    fingerprint = ":".join("%02X" % b for b in module_server.ca.fingerprint(hashes.SHA256()))
    status, _, body = module_server.http("GET", "/")
    assert status == 200 and fingerprint in body.decode()


def test_the_number_of_certificates_is_known_after_a_start(make_server):
    """It is an estimate: a certificate that was written twice may count twice."""
    server = make_server()
    for name in ("one", "two", "three"):
        server.sign(name)
    counted = lambda: (server.metrics()["revline_store_certificates"], probe(server)[1]["parts"]["store"]["certificates"])
    assert min(counted()) >= 3
    for end in (server.stop, server.stop, server.kill):  # the first start moves what is in the log to tables
        end()
        server.start()
        assert min(counted()) >= 3
