"""`revline export` tells the whole database in a fixed order, while serving too, and `revline import` makes the same one of it."""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from foreign_ca import ForeignCA
from harness import Revline, eventually, one_round

KEYS = ("ca-1.key", "scep-ra.key", "ocsp-2.key")
# What an import takes over as it is; the rest is history, or begins anew.
TAKEN = ("issuer", "change", "certificate", "held", "revoked", "binding", "object")


def lines(server):
    out = [json.loads(line) for line in server.cli("export").stdout.splitlines()]
    assert out[-1] == {"type": "end", "records": len(out) - 1}
    return out


def key_name(line):
    key = x509.load_der_x509_certificate(base64.b64decode(line["certificate"])).public_key()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def of_type(exported, *types):
    return [line for line in exported if line["type"] in types]


@pytest.fixture
def fleet(graph, synced):
    """Every status by every cause, a held mass change, and another CA's certificates; not running any more."""
    server = synced(REVLINE_SYNC_MASS_LIMIT="5")
    devices = [graph.add("devices", "d%02d" % i) for i in range(12)]
    users = [graph.add("users", "u%d" % i) for i in range(3)]
    server.sync_round()
    made = [server.sign_for_device(d) for d in devices] + [server.sign_for_user(u) for u in users]
    made += [server.sign("hand%d.example" % i) for i in range(4)]
    waiting = server.sign("11111111-2222-4333-8444-555555555555", "static-aad")
    server.control("revoke", serial=made[15][1], reason="keyCompromise")
    server.control("revoke", serial=made[16][1], reason="certificateHold")
    server.control("revoke", serial=made[0][1], reason="certificateHold")
    graph.update("devices", devices[0]["id"], accountEnabled=False)
    graph.delete("users", users[0]["id"])
    graph.update("users", users[1]["id"], accountEnabled=False)
    server.sync_round()
    with one_round(graph):
        for device in devices[4:11]:
            graph.delete("devices", device["id"])
    eventually(lambda: [c for c in server.control("sync-hold")["changes"] if c["state"] == "held"], "the mass change is held")
    server.certificates = [certificate for certificate, _ in made + [waiting]]
    return server


def add_foreign_ca(server, tmp_path):
    """Certificates of another CA that made us its responder, one of them known by its list alone."""
    ca = ForeignCA(tmp_path / "foreign")
    for cn in ("known.example", "listed.example", "good.example"):
        ca.issue(cn)
    ca.adopt(server, "known.example", "good.example")
    ca.revoke("known.example", "superseded")
    ca.revoke("listed.example", "certificateHold")
    ca.crl()
    server.cli("import", ca.path("crl.out"))
    return ca


def taken_over(server, folder, exported, keys=KEYS, **more):
    """A server in a new data folder into which the export was imported."""
    folder.mkdir(mode=0o700)
    for key in keys:
        if (server.data_dir / key).exists():
            shutil.copy(server.data_dir / key, folder)
    other = Revline(folder, server.settings | {"REVLINE_DATA_DIR": str(folder), "REVLINE_SYNC_ENTRA_INTERVAL": "0", **more})
    file = folder.with_name(folder.name + ".jsonl")
    file.write_text("".join(json.dumps(line) + "\n" for line in exported))
    other.imported = other.cli_json("import", str(file))[0]
    return other


def test_an_export_becomes_the_same_database(fleet, tmp_path):
    server = fleet
    before = {c.serial_number: server.ocsp(c) for c in server.certificates}
    assert set(before.values()) == {"good", "hold", "revoked"}
    server.stop()
    ca = add_foreign_ca(server, tmp_path)
    exported = lines(server)
    assert lines(server) == exported, "it is not always the same"
    listed = server.cli_json("list", "--limit", "1000")
    other = taken_over(server, tmp_path / "other", exported)
    assert other.imported["issuers"] == 2 and other.imported["withoutKey"] == [] == other.imported["withoutDelegate"]
    assert other.cli_json("list", "--limit", "1000") == listed
    again = lines(other)
    for kind in TAKEN:
        assert of_type(again, kind) == of_type(exported, kind) != [], kind
    assert other.cli_json("sync", "hold") == server.cli_json("sync", "hold")
    try:
        other.start()
        assert other.ca == server.ca
        assert {c.serial_number: other.ocsp(c) for c in server.certificates} == before
        assert ca.ask(other, "known.example") == ("revoked", "superseded") and ca.ask(other, "good.example") == ("good", None)
        assert ca.ask(other, "listed.example") == ("revoked", "certificateHold")
        assert [c["serial"] for c in other.all_certificates()] == [c["serial"] for c in listed["items"]]
    finally:
        other.stop()


def test_the_directories_go_on_where_they_were(fleet, graph, tmp_path):
    """What was deleted in the directory between export and import is noticed, since the objects are taken over."""
    server = fleet
    server.stop()
    other = taken_over(server, tmp_path / "other", lines(server), REVLINE_SYNC_ENTRA_INTERVAL="100ms")
    gone = graph.objects("devices")[-1]
    graph.delete("devices", gone["id"])
    serial = next(line["serial"] for line in of_type(lines(other), "certificate") if {"source": "entra-device", "id": gone["id"]} in line["bindings"])
    try:
        other.start()
        eventually(lambda: other.status_of(serial) == "revoked", "the deleted device's certificate is revoked")
        assert [c["certificates"] for c in other.control("sync-hold")["changes"]] == [7], "what was held is held still"
    finally:
        other.stop()


def test_an_export_from_before_compromised_keys_were_kept(make_server, tmp_path):
    """Whose they are follows from its certificates."""
    server = make_server()
    server.control("revoke", serial=server.sign("stolen.example")[1], reason="keyCompromise")
    server.stop()
    whole = lines(server)
    before = [line for line in whole if line.get("source") != "compromised-key"]
    assert len(before) == len(whole) - 1
    before[-1] = {"type": "end", "records": len(before) - 1}
    other = taken_over(server, tmp_path / "other", before)
    assert of_type(lines(other), "binding") == of_type(whole, "binding")


def test_each_family_says_the_same(fleet):
    """The lines by independent reading: certificates against their own DER, and the derived families against them."""
    fleet.stop()
    exported = lines(fleet)
    certificates = {(c["issuer"], c["serial"]): c for c in of_type(exported, "certificate")}
    for (_, serial), line in certificates.items():
        certificate = x509.load_der_x509_certificate(base64.b64decode(line["certificate"]))
        assert "%X" % certificate.serial_number == serial.lstrip("0")
        assert certificate.not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ") == line["notAfter"]
    bad = {key: (c["reason"], c["revokedAt"]) for key, c in certificates.items() if c["status"] != "good"}
    assert {(r["issuer"], r["serial"]): (r["reason"], r["revokedAt"]) for r in of_type(exported, "revoked")} == bad != {}
    bound = {(b["source"], b["id"], key) for key, c in certificates.items() for b in c["bindings"]}
    keys = {("compromised-key", key_name(c), key) for key, c in certificates.items() if c["reason"] == "keyCompromise"}
    assert {(b["source"], b["id"], (b["issuer"], b["serial"])) for b in of_type(exported, "binding") if b["source"] != "transaction"} == bound | keys
    assert keys
    held = {key for key, c in certificates.items() if c["held"]}
    assert {(h["issuer"], h["serial"]) for h in of_type(exported, "held")} == held
    assert [c["certificates"] for c in of_type(exported, "change")] == [len(held)] == [7]
    last = {}
    for delta in of_type(exported, "delta"):
        last[delta["issuer"], delta["serial"]] = delta["status"]
    assert last == {key: c["status"] for key, c in certificates.items()}
    assert {a["what"] for a in of_type(exported, "audit")} >= {"ca.init", "cert.revoke"}


def test_a_copy_of_one_moment_while_serving(make_server):
    """Statuses change all the time; in each export the families agree, and the server's folder is clean afterwards."""
    server = make_server()
    serials = [server.sign("busy%d.example" % i)[1] for i in range(20)]
    stop = threading.Event()

    def change():
        while not stop.is_set():
            for serial in serials:
                server.control("revoke", serial=serial, reason="certificateHold")
            for serial in serials:
                server.control("unrevoke", serial=serial)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        seen = set()
        for _ in range(6):
            exported = lines(server)
            certificates = of_type(exported, "certificate")
            bad = {c["serial"] for c in certificates if c["status"] != "good"}
            assert {r["serial"] for r in of_type(exported, "revoked")} == bad
            last = {d["serial"]: d["status"] for d in of_type(exported, "delta")}
            assert last == {c["serial"]: c["status"] for c in certificates}
            assert set(serials) <= set(last)
            seen.add(len(bad))
        assert not list((server.data_dir / "export").iterdir())
    finally:
        stop.set()
        thread.join()
    server.stop()


def test_one_export_at_a_time_and_no_leftovers(make_server):
    server = make_server()
    folder = server.data_dir / "export"
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert "another export" in server.cli("export", code=1).stderr
    os.close(fd)
    # A client that was killed has left its copy: the next export and the next start are rid of it.
    server.control("export")
    assert (folder / "db").is_dir() and (folder.stat().st_mode & 0o777) == 0o700
    assert of_type(lines(server), "issuer") and not (folder / "db").exists()
    server.control("export")
    server.stop()
    server.start()
    assert not (folder / "db").exists()


def test_a_reader_that_stops_reading(make_server):
    """A closed pipe is a failure that is told, and leaves no copy."""
    server = make_server()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([server.binary, "export"], env=server.environment, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1 and "standard output" in done.stderr
    assert not (server.data_dir / "export" / "db").exists()


def octets_of(value):
    """Every text of a line, and what it is the base64 of."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return b"\n".join(map(octets_of, value))
    text = value if isinstance(value, str) else ""
    try:
        return text.encode() + base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def test_private_keys_are_in_no_export(fleet):
    exported = b"\n".join(map(octets_of, lines(fleet)))
    keys = list(fleet.data_dir.glob("*.key"))
    assert len(keys) == 2 and b"PRIVATE KEY" not in exported
    for key in keys:
        numbers = serialization.load_pem_private_key(key.read_bytes(), None).private_numbers()
        secret = numbers.d if hasattr(numbers, "d") else numbers.private_value
        octets = secret.to_bytes((secret.bit_length() + 7) // 8, "big")
        assert octets not in exported and octets.hex().encode() not in exported.lower()
    assert fleet.settings["AZURE_CLIENT_SECRET"].encode() not in exported


def test_without_its_key_an_issuer_is_another_cas(make_server, tmp_path):
    server = make_server()
    _, serial = server.sign("left.example")
    server.control("revoke", serial=serial, reason="superseded")
    server.stop()
    other = taken_over(server, tmp_path / "other", lines(server), keys=())
    assert other.imported["withoutKey"] == [1]
    said = taken_over(server, tmp_path / "third", lines(server), keys=())
    shutil.rmtree(said.data_dir / "db")
    text = said.cli("import", str(tmp_path / "other.jsonl")).stdout
    assert "issuer 1: its private key is not here" in text and "copy the key file" in text
    try:
        other.start()  # makes a CA of its own
        kinds = {i["id"]: i["kind"] for i in other.control("issuers")["items"]}
        assert kinds == {1: "foreign", 2: "own"}
        shown = other.control("show", serial=serial)
        assert (shown["issuer"], shown["status"], shown["reason"]) == (1, "revoked", "superseded")
        assert other.ocsp(other.sign("new.example")[0]) == "good"
    finally:
        other.stop()


def edited(exported, kind, **members):
    out = [dict(line) for line in exported]
    target = next(line for line in out if line["type"] == kind)
    target.update(members)
    return out


@pytest.mark.parametrize("change, words", [
    (lambda e: e[:-1], "cut off"),
    (lambda e: e[:-2] + e[-1:], "records"),
    (lambda e: e + e[-2:-1], "behind the export's last line"),
    (lambda e: edited(e, "certificate", status="revoked"), "'status'"),
    (lambda e: edited(e, "certificate", why=["nonsense"]), "'why'"),
    (lambda e: edited(e, "certificate", serial="7A"), "another serial number"),
    (lambda e: edited(e, "certificate", issuer=9), "issuer 9"),
    (lambda e: edited(e, "certificate", held={"change": 3, "why": [], "kept": []}), "change that is not in the export"),
    (lambda e: edited(e, "issuer", issuer=2), "out of order"),
    (lambda e: edited(e, "issuer", certificate="AAAA"), "line 2"),
    (lambda e: edited(e, "meta", value=99), "newer program"),
    (lambda e: edited(e, "delta", type="novelty"), "'novelty'"),
    (lambda e: [e[0], {"no": "type"}] + e[1:], "no line of an export"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_export_leaves_nothing(make_server, tmp_path, change, words):
    server = make_server(start=False)
    exported = lines(server)
    folder = tmp_path / "other"
    folder.mkdir(mode=0o700)
    file = tmp_path / "wrong.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in change(exported)))
    other = Revline(folder, {**server.settings, "REVLINE_DATA_DIR": str(folder)})
    assert words in other.cli("import", str(file), code=1).stderr
    assert list(folder.iterdir()) == []


def test_only_an_empty_folder_takes_an_export(make_server, tmp_path):
    server = make_server(start=False)
    file = tmp_path / "export.jsonl"
    file.write_text(server.cli("export").stdout)
    assert "there is a database" in server.cli("import", str(file), code=1).stderr
    empty = Revline(tmp_path / "empty", {**server.settings, "REVLINE_DATA_DIR": str(tmp_path / "empty")})
    assert "no database" in empty.cli("export", code=1).stderr
