"""`revline backup` copies the data folder as it is at one moment, while serving too, and `revline restore` makes one of it."""

import fcntl
import json
import os
import subprocess
import threading

import pytest
from cryptography import x509
from harness import Revline, eventually


def lines(server, *types):
    out = [json.loads(line) for line in server.cli("export").stdout.splitlines()]
    return [line for line in out if not types or line["type"] in types]


def crl_number(server):
    crl = x509.load_pem_x509_crl(server.cli("crl").stdout.encode())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def restored(server, backup, folder):
    other = Revline(folder, {**server.settings, "REVLINE_DATA_DIR": str(folder)})
    other.restored = other.cli_json("restore", str(backup))
    return other


def modes(folder):
    return {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_backup_is_restored_whole(make_server, tmp_path, running):
    server = make_server()
    made = {word: server.sign(word + ".example") for word in ("good", "hold", "revoked")}
    server.control("revoke", serial=made["hold"][1], reason="certificateHold")
    server.control("revoke", serial=made["revoked"][1], reason="superseded")
    (server.data_dir / "note").write_text("beside the database")
    numbers, ca = crl_number(server), server.ca
    if not running:
        server.stop()
    backup = tmp_path / "backup"
    told = server.cli_json("backup", str(backup))
    assert told["files"] == len([p for p in backup.rglob("*") if p.is_file()]) and told["octets"] > 1000
    assert modes(backup) == {0o600} and {d.stat().st_mode & 0o777 for d in (backup, backup / "db")} == {0o700}
    assert sorted(p.name for p in backup.iterdir()) == ["ca-1.key", "db", "note", "scep-ra.key"]
    assert not (server.data_dir / "export" / "db").exists()
    late = server.sign("late.example")[0] if running else None
    if running:
        server.stop()
    other = restored(server, backup, tmp_path / "other")
    assert (other.data_dir.stat().st_mode & 0o777) == 0o700 and (other.data_dir / "ca-1.key").stat().st_mode & 0o777 == 0o600
    if not running:
        kinds = ("certificate", "revoked", "binding", "delta")
        assert lines(other, *kinds) == lines(server, *kinds) != []
    assert lines(other, "audit")[-1]["what"] == "restore"
    other.start()
    try:
        assert other.ca == ca and {word: other.ocsp(c) for word, (c, _) in made.items()} == {word: word for word in made}
        assert late is None or other.ocsp(late) == "unknown"
        assert other.ocsp(other.sign("new.example")[0]) == "good"
        # RFC 5280 §5.2.3: lists that were made after the backup have had the next numbers.
        eventually(lambda: other.http("GET", "/crl")[0] == 200, "the list is made")
        assert crl_number(other) > numbers + 1000
    finally:
        other.stop()


def test_one_moment_while_serving(make_server, tmp_path):
    """Statuses change all the time; in each backup the families agree."""
    server = make_server()
    serials = [server.sign("busy%d.example" % i)[1] for i in range(10)]
    stop = threading.Event()

    def change():
        while not stop.is_set():
            for command in ({"command": "revoke", "reason": "certificateHold"}, {"command": "unrevoke"}):
                for serial in serials:
                    server.control(**command, serial=serial)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for i in range(3):
            server.cli("backup", str(tmp_path / ("backup%d" % i)))
    finally:
        stop.set()
        thread.join()
    for i in range(3):
        other = restored(server, tmp_path / ("backup%d" % i), tmp_path / ("other%d" % i))
        certificates = lines(other, "certificate")
        assert {r["serial"] for r in lines(other, "revoked")} == {c["serial"] for c in certificates if c["status"] != "good"}
        last = {d["serial"]: d["status"] for d in lines(other, "delta")}
        assert last == {c["serial"]: c["status"] for c in certificates} and set(serials) <= set(last)


def test_nothing_is_written_over(make_server, tmp_path):
    server = make_server()
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("mine")
    assert "is not empty" in server.cli("backup", str(used), code=1).stderr
    server.cli("backup", str(tmp_path / "backup"))
    assert "is not empty" in server.cli("backup", str(tmp_path / "backup"), code=1).stderr
    assert "is not empty" in server.cli("restore", str(tmp_path / "backup"), code=1).stderr  # the server's own folder
    assert "is not empty" in server.cli("restore", str(tmp_path / "backup"), code=1, settings={"REVLINE_DATA_DIR": str(used)}).stderr
    assert [p.name for p in used.iterdir()] == ["file"] and (used / "file").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    server.cli("restore", str(tmp_path / "backup"), settings={"REVLINE_DATA_DIR": str(empty)})
    assert (empty / "db").is_dir() and (empty.stat().st_mode & 0o777) == 0o700


def test_what_is_no_backup_leaves_nothing_behind(make_server, tmp_path):
    server = make_server()
    other = {"REVLINE_DATA_DIR": str(tmp_path / "other")}
    assert "no backup" in server.cli("restore", str(tmp_path / "nowhere"), code=1, settings=other).stderr
    assert "revline backup" in server.cli("restore", str(server.data_dir), code=1, settings=other).stderr
    server.cli("backup", str(tmp_path / "backup"))
    (tmp_path / "backup" / "db" / "CURRENT").write_text("MANIFEST-999999\n")
    server.cli("restore", str(tmp_path / "backup"), code=1, settings=other)
    assert not (tmp_path / "other").exists()
    assert "no database" in server.cli("backup", str(tmp_path / "copy"), code=1, settings=other).stderr
    assert not (tmp_path / "copy").exists()


def test_a_failure_on_the_way_leaves_nothing_behind(make_server, tmp_path):
    """A file of more than the shell lets a process write is as good as a full disk."""
    server = make_server()
    (server.data_dir / "large").write_bytes(b"x" * 4000000)
    done = subprocess.run(["bash", "-c", 'trap "" XFSZ; ulimit -f 2000; exec "$0" backup "$1"', server.binary, str(tmp_path / "backup")],
                          env=server.environment, capture_output=True, text=True)
    assert done.returncode == 1 and "large cannot be copied" in done.stderr, done.stderr
    assert not (tmp_path / "backup").exists() and not (server.data_dir / "export" / "db").exists()
    server.cli("backup", str(tmp_path / "backup"))


def test_one_at_a_time(make_server, tmp_path):
    server = make_server()
    fd = os.open(server.data_dir / "export", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert "is running" in server.cli("backup", str(tmp_path / "backup"), code=1).stderr
    os.close(fd)
    server.cli("backup", str(tmp_path / "backup"))
