"""Other CAs' revocation lists: polled and imported, what OCSP says of them, and that a list which is wrong changes nothing."""

import datetime
import shutil
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from files import Files
from foreign_ca import ForeignCA
from harness import Revline, eventually

FAST = {"REVLINE_SYNC_CRL_INTERVAL": "50ms", "REVLINE_SYNC_RETRY_MAX": "100ms", "REVLINE_OCSP_VALIDITY_GOOD": "1h"}
GOOD, HOLD, REVOKED = ("good", None), ("revoked", "certificateHold"), ("revoked", "keyCompromise")


@pytest.fixture
def files():
    fake = Files().start()
    yield fake
    fake.stop()


@pytest.fixture
def polled(files, make_server, tmp_path):
    """A CA with the certificates alice (imported), bob and carol (not), its list published, and a server that follows it."""
    def make(crl_arguments=(), **settings):
        ca = ForeignCA(tmp_path / "other")
        for cn in ("alice", "bob", "carol"):
            ca.issue(cn)
        url = files.put("/other.crl", ca.crl(*crl_arguments))
        server = make_server(**{**FAST, "REVLINE_SYNC_CRL_URLS": url, **settings})
        ca.adopt(server, "alice")
        eventually(lambda: the_list(server, ca), "the list is known")
        return server, ca
    return make


def the_list(server, ca):
    """How far the CA's list is known: None until one is whole."""
    found = next(i for i in server.control("issuers")["items"] if i["subject"] == "CN=" + ca.name)["list"]
    return found if found and found["whole"] else None


def publish(server, ca, files, *more, **numbers):
    """A new list, and waits until it is known."""
    before = the_list(server, ca)["number"]
    files.put("/other.crl", ca.crl(*more, **numbers))
    eventually(lambda: (the_list(server, ca) or {"number": before})["number"] != before, "the new list is known")


def statuses(server, ca):
    return {cn: ca.ask(server, cn) for cn in ("alice", "bob", "carol")}


def test_what_the_ca_revokes_is_revoked_here(polled, files):
    server, ca = polled()
    assert statuses(server, ca) == {"alice": GOOD, "bob": GOOD, "carol": GOOD}
    ca.revoke("alice")
    ca.revoke("bob", "certificateHold")
    publish(server, ca, files)
    assert statuses(server, ca) == {"alice": REVOKED, "bob": HOLD, "carol": GOOD}
    # The date is the list's.
    listed = x509.load_der_x509_crl(ca.crl(number=90)).get_revoked_certificate_by_serial_number(0x2A00)
    shown = server.control("show", serial="2A00", issuer=2)
    assert shown["revokedAt"] == listed.revocation_date.isoformat() + "Z" and shown["why"] == ["foreignCrl"]
    assert shown["profile"] == "imported" and server.control("show", serial="2A01", issuer=2)["profile"] == "crl"
    # A hold ends when it is listed no more, a revocation does not: CAs take what has expired off their lists.
    ca.unrevoke("alice")
    ca.unrevoke("bob")
    publish(server, ca, files, number=100)
    assert statuses(server, ca) == {"alice": REVOKED, "bob": GOOD, "carol": GOOD}
    ca.revoke("bob")
    publish(server, ca, files)
    assert ca.ask(server, "bob") == REVOKED


def test_a_certificate_that_was_listed_first_is_imported_under_its_status(polled, files):
    server, ca = polled()
    ca.revoke("bob")
    publish(server, ca, files)
    assert server.cli_json("import", ca.path("bob.pem"))[0]["newCertificates"] == 1
    shown = server.control("show", serial="2A01", issuer=2)
    assert (shown["subject"], shown["profile"], shown["status"]) == ("CN=bob", "imported", "revoked")
    assert "BEGIN CERTIFICATE" in shown["certificate"]
    assert ca.ask(server, "bob") == REVOKED


def test_lists_are_fetched_only_when_they_changed(polled, files):
    server, ca = polled()
    before = server.sync("crl-1")["rounds"]
    eventually(lambda: server.sync("crl-1")["rounds"] > before + 2, "further rounds")
    assert files.requests()[-1]["status"] == 304
    assert {"if-none-match", "if-modified-since"} <= set(files.requests()[-1]["headers"])
    count = len(files.requests())
    server.control("sync", source="crl-1", full=True)
    eventually(lambda: any(r["status"] == 200 for r in files.requests(count)), "the whole list again")


WRONG = {
    "signature": ("not by the key", lambda ca, good: good[:-5] + bytes([good[-5] ^ 1]) + good[-4:]),
    "older number": ("smaller than", lambda ca, good: ca.crl(number=1)),
    "future": ("in the future", lambda ca, good: ca.crl("-crl_lastupdate", stamp(3600), "-crl_nextupdate", stamp(7200), number=200)),
    "past": ("nextUpdate passed", lambda ca, good: ca.crl("-crl_lastupdate", stamp(-7200), "-crl_nextupdate", stamp(-3600), number=200)),
    "html": ("no certificate revocation list", lambda ca, good: b"<html><body>Sign in</body></html>"),
    "truncated": ("no certificate revocation list", lambda ca, good: good[:-20]),
    "empty": ("no certificate revocation list", lambda ca, good: b""),
}


def stamp(seconds):
    return (datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)).strftime("%Y%m%d%H%M%SZ")


def test_a_wrong_list_changes_nothing_and_the_status_says_why(polled, files):
    server, ca = polled()
    ca.revoke("alice")
    ca.revoke("bob", "certificateHold")
    publish(server, ca, files, number=50)
    expected, known = statuses(server, ca), the_list(server, ca)
    ca.unrevoke("bob")
    ca.revoke("carol")
    good = ca.crl(number=60)
    for name, (why, make) in WRONG.items():
        files.put("/other.crl", make(ca, good))
        eventually(lambda: why in server.sync("crl-1")["lastError"], "%s: %r" % (name, why))
        assert statuses(server, ca) == expected and the_list(server, ca) == known, name
    del files.files["/other.crl"]
    eventually(lambda: "answered 404" in server.sync("crl-1")["lastError"], "404")
    # Each failure is there before the one before it goes: between them the good list would be taken.
    before = None
    for switch, value, why in (("fail", {"status": 503, "retry_after": 0}, "answered 503"), ("truncate", "wrong", "bytes remaining"),
                               ("redirect", "http://127.0.0.1:9", "answered 307")):
        files.switch(switch, value)
        files.put("/other.crl", good)
        files.clear(before) if before else None
        eventually(lambda: why in server.sync("crl-1")["lastError"], switch)
        assert statuses(server, ca) == expected and the_list(server, ca) == known, switch
        before = switch
    files.clear()
    eventually(lambda: not server.sync("crl-1")["lastError"], "it recovers")
    assert statuses(server, ca) == {"alice": REVOKED, "bob": GOOD, "carol": REVOKED}


def test_a_ca_that_counts_again_is_followed_when_an_admin_says_so(polled, files):
    server, ca = polled()
    publish(server, ca, files, number=50)
    ca.revoke("bob")
    files.put("/other.crl", ca.crl("-crl_lastupdate", stamp(60), "-crl_nextupdate", stamp(3600), number=1))
    eventually(lambda: "though it was made later" in server.sync("crl-1")["lastError"], "it is refused")
    assert "revline sync SOURCE --full" in server.cli("sync", "crl-1", code=1).stderr and ca.ask(server, "bob") == GOOD
    server.cli("sync", "crl-1", "--full")
    assert ca.ask(server, "bob") == REVOKED and the_list(server, ca)["number"] == "1"
    eventually(lambda: not server.sync("crl-1")["lastError"], "it goes on from there")


def test_a_stranger_and_our_own_ca_are_refused(files, make_server, tmp_path):
    stranger = ForeignCA(tmp_path / "stranger", "Stranger")
    server = make_server(**FAST, REVLINE_SYNC_CRL_URLS=files.put("/s.crl", stranger.crl()) + " , " + files.put("/own.crl", b"x"))
    eventually(lambda: "'CN=Stranger', is not known here" in server.sync("crl-1")["lastError"], "a stranger's list")
    assert "revline import" in server.sync("crl-1")["advice"]
    key = serialization.load_pem_private_key((server.data_dir / "ca-1.key").read_bytes(), None)
    now = datetime.datetime.utcnow()
    own = x509.CertificateRevocationListBuilder().issuer_name(server.ca.subject).last_update(now).next_update(
        now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    files.put("/own.crl", own.public_bytes(serialization.Encoding.DER))
    eventually(lambda: "our own" in server.sync("crl-2")["lastError"], "our own list")


def test_a_ca_with_a_new_key_lists_with_it_what_the_old_one_certified(files, make_server, tmp_path):
    """RFC 5280 §5: a certificate is its CA's by name and serial number, whichever key signed the list."""
    old = ForeignCA(tmp_path / "old")
    for cn in ("alice", "bob", "carol"):
        old.issue(cn)
    server = make_server(**FAST, REVLINE_SYNC_CRL_URLS=files.put("/other.crl", b""))
    old.adopt(server, "alice", "bob")
    shutil.copytree(old.dir, tmp_path / "new")
    new = ForeignCA(tmp_path / "new", rolled_over=True)
    new.issue("dave")
    server.cli("import", new.path("ca.pem"))
    new.revoke("alice")
    new.revoke("bob", "certificateHold")
    new.revoke("carol")
    listed = lambda number: [i["id"] for i in server.control("issuers")["items"] if i["list"] and i["list"]["whole"] and i["list"]["number"] == number]
    files.put("/other.crl", new.crl(number=0x10))
    assert eventually(lambda: listed("10"), "the list is known") == [3]
    assert statuses(server, old) == {"alice": REVOKED, "bob": HOLD, "carol": REVOKED}
    new.unrevoke("bob")
    new.unrevoke("alice")
    files.put("/other.crl", new.crl(number=0x11))
    eventually(lambda: listed("11"), "the new list is known")
    assert statuses(server, old) == {"alice": REVOKED, "bob": GOOD, "carol": REVOKED}
    # With a list of its own the old key's issuer follows that one.
    old.crl(number=0x12)
    server.cli("import", old.path("crl.pem"))
    new.revoke("bob")
    files.put("/other.crl", new.crl(number=0x13))
    eventually(lambda: listed("13"), "a third one")
    assert old.ask(server, "bob") == GOOD


def overdue(server, ca):
    due = datetime.datetime.fromisoformat(the_list(server, ca)["nextUpdate"][:-1])
    return lambda: datetime.datetime.utcnow() > due + datetime.timedelta(seconds=1)


@pytest.mark.parametrize("policy", ["serve", "trylater"])
def test_a_list_that_is_overdue(polled, files, policy):
    server, ca = polled(REVLINE_SYNC_STALE_POLICY=policy, REVLINE_SYNC_STALE_AFTER="0")
    ca.revoke("alice")
    publish(server, ca, files, "-crlsec", "4")
    due = overdue(server, ca)
    if not due():
        assert ca.ask(server, "bob") in (GOOD, ("trylater", None))  # cached; it must not outlive the list
    eventually(due, "the list is overdue")
    assert ca.ask(server, "alice") == REVOKED
    assert ca.ask(server, "bob") == (GOOD if policy == "serve" else ("trylater", None))
    assert "ocsp.stale_list" in server.log()
    assert 0 < server.metrics()['revline_crl_next_update_seconds{issuer="2"}'] < time.time()
    eventually(lambda: server.sync("crl-1")["stale"], "its source says so, though its server gives out the old one and fails at nothing")
    assert not server.sync("crl-1")["lastError"] and server.sync("crl-1")["status"] == "degraded"
    assert server.metrics()['revline_sync_stale{source="crl-1"}'] == 1 and "sync.stale" in server.log()
    assert "was the list's end, and there is no newer one" in server.cli("sync").stdout
    publish(server, ca, files)
    eventually(lambda: not server.sync("crl-1")["stale"], "with the next list it is fresh")
    assert ca.ask(server, "bob") == GOOD


def test_without_a_list_the_rest_is_unknown_and_a_partial_one_says_nothing_of_it(make_server, tmp_path):
    server = make_server()
    ca = ForeignCA(tmp_path / "other", crl="issuingDistributionPoint = critical,@idp\n[idp]\nonlyuser = TRUE")
    for cn in ("alice", "bob"):
        ca.issue(cn)
    ca.adopt(server, "alice")
    assert (ca.ask(server, "alice"), ca.ask(server, "bob")) == (GOOD, ("unknown", None))
    ca.revoke("alice")
    ca.crl()
    server.cli("import", ca.path("crl.pem"))
    assert (ca.ask(server, "alice"), ca.ask(server, "bob")) == (REVOKED, ("unknown", None))
    assert server.control("issuers")["items"][1]["list"]["partial"] is True


def test_a_list_is_imported(make_server, tmp_path):
    server = make_server(start=False)
    ca = ForeignCA(tmp_path / "other")
    ca.issue("alice")
    ca.issue("bob")
    ca.revoke("alice")
    ca.crl()
    server.cli("import", ca.path("crl.pem"), code=1)  # nobody knows the CA yet
    server.cli("import", ca.path("ca.pem"))
    first = server.cli_json("import", ca.path("crl.pem"))[0]
    assert (first["number"], first["entries"], first["changed"], first["known"]) == ("1", 1, 1, False)
    assert server.cli_json("import", ca.path("crl.out"))[0]["known"] is True
    server.start()
    ca.adopt(server)
    assert (ca.ask(server, "alice"), ca.ask(server, "bob")) == (REVOKED, GOOD)
    ca.crl(number=0)
    assert "smaller than" in server.cli("import", ca.path("crl.pem"), code=1).stderr


def test_an_index_is_imported(server, tmp_path):
    ca = ForeignCA(tmp_path / "other")
    for cn in ("alice", "bob", "carol", "dave"):
        ca.issue(cn)
    ca.revoke("bob")
    ca.revoke("carol", "certificateHold")
    index = ca.dir / "index.txt"
    # An expired one, and OpenSSL's longer reasons.
    index.write_text(index.read_text() + "E\t200101000000Z\t\t0ABC\tunknown\t/CN=old\n"
                     "R\t491231235959Z\t200101000000Z,keyTime,20191231000000Z\t0ABD\tunknown\t/CN=key\n"
                     "R\t20501231235959Z\t200101000000Z,holdInstruction,holdInstructionReject\t0ABE\tunknown\t/CN=held\n")
    assert "--issuer" in server.cli("import", ca.path("index.txt"), code=1).stderr
    ca.adopt(server, "dave")
    assert "our own" in server.cli("import", "--issuer", "1", ca.path("index.txt"), code=1).stderr
    first = server.cli_json("import", "--issuer", ca.name, ca.path("index.txt"))[0]
    assert (first["certificates"], first["added"], first["changed"]) == (7, 6, 0)
    again = server.cli_json("import", "--issuer", ca.name, ca.path("index.txt"))[0]
    assert (again["added"], again["changed"]) == (0, 0)
    assert {cn: ca.ask(server, cn) for cn in ("alice", "bob", "carol", "dave")} == {
        "alice": GOOD, "bob": REVOKED, "carol": HOLD, "dave": GOOD}
    shown = server.control("show", serial="0ABD", issuer=2)
    assert (shown["status"], shown["reason"], shown["revokedAt"]) == ("revoked", "keyCompromise", "2020-01-01T00:00:00Z")
    assert server.control("show", serial="0ABE", issuer=2)["status"] == "hold"
    assert server.control("show", serial="0ABC", issuer=2)["notAfter"] == "2020-01-01T00:00:00Z"
    ca.revoke("alice", "superseded")
    index.write_text(index.read_text() + "V\tnonsense\n")
    assert "line 8" in server.cli("import", "--issuer", ca.name, ca.path("index.txt"), code=1).stderr
    assert ca.ask(server, "alice") == GOOD
    index.write_text(index.read_text().replace("V\tnonsense\n", ""))
    assert server.cli_json("import", "--issuer", ca.name, ca.path("index.txt"))[0]["changed"] == 1
    assert ca.ask(server, "alice") == ("revoked", "superseded")


# ---- many entries ----
def large_list(ca, entries, number=1, holds=0):
    """Made by python-cryptography: serial numbers 1 to `entries`, times 2^64; the last ones on hold."""
    key = serialization.load_pem_private_key((ca.dir / "ca.key").read_bytes(), None)
    now = datetime.datetime.utcnow().replace(microsecond=0)
    name = x509.load_pem_x509_certificate((ca.dir / "ca.pem").read_bytes()).subject
    builder = x509.CertificateRevocationListBuilder(
        name, now, now + datetime.timedelta(days=1), [x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(number))],
        [entry(i, now, i > entries - holds) for i in range(1, entries + 1)])
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def entry(i, now, hold):
    builder = x509.RevokedCertificateBuilder().serial_number(i << 64).revocation_date(now)
    reason = x509.ReasonFlags.certificate_hold if hold else x509.ReasonFlags.superseded
    return builder.add_extension(x509.CRLReason(reason), False).build()


def everything(server):
    return sorted((c["serial"], c["status"], c["reason"], c["revokedAt"]) for c in server.all_certificates() if c["profile"] == "crl")


def test_killed_while_it_applies_a_list(files, make_server, tmp_path):
    """kill -9 at different points of the way: the database is that of a server that was left alone."""
    ca = ForeignCA(tmp_path / "other")
    lists = [large_list(ca, 4000, 1, holds=2000), large_list(ca, 3500, 2)]
    url = files.put("/other.crl", lists[0])
    calm = make_server(start=False)
    calm.cli("import", ca.path("ca.pem"))
    folders = []
    for i in range(3):
        folder = tmp_path / ("killed%d" % i)
        shutil.copytree(calm.data_dir, folder)
        folders.append(folder)
    for der in lists:
        (ca.dir / "list.der").write_bytes(der)
        calm.cli("import", ca.path("list.der"))
    calm.start()
    expected = everything(calm)
    assert len(expected) == 4000 and sum(1 for c in expected if c[1] == "good") == 500
    for i, folder in enumerate(folders):
        server = Revline(folder, {**FAST, "REVLINE_CA_KEY": "ec-p256", "REVLINE_SYNC_CRL_URLS": url})
        changes = 0
        for number, der in enumerate(lists, 1):
            files.put("/other.crl", der)
            server.start()
            eventually(lambda: progress(server) >= changes + 900 * i, "some of the list", pause=0.001)
            server.kill()
            server.start()
            eventually(lambda: (the_list(server, ca) or {}).get("number") == "%d" % number, "list %d is whole" % number)
            changes = progress(server)
            server.stop()
        server.start()
        assert everything(server) == expected, i
        server.stop()


def progress(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


def test_speed_of_a_large_list(files, make_server, tmp_path):
    """100,000 entries: seconds, and memory that the list's own size bounds. The bounds are an order of magnitude away."""
    ca = ForeignCA(tmp_path / "other")
    server = make_server(**{**FAST, "REVLINE_SYNC_CRL_URLS": files.put("/other.crl", b""), "REVLINE_SYNC_CRL_INTERVAL": "1d"})
    server.cli("import", ca.path("ca.pem"))
    before = server.rss()
    files.put("/other.crl", large_list(ca, 100000))
    began = time.monotonic()
    server.control("sync", source="crl-1")
    eventually(lambda: the_list(server, ca), "the list is whole", deadline=120)
    took = time.monotonic() - began
    print("100,000 entries in %.2f s, %d MiB more" % (took, (server.rss() - before) // 1024))
    # The source hears of it a moment after the database has it.
    eventually(lambda: server.sync("crl-1")["changed"] == 100000, "the source has counted them")
