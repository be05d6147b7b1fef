"""The command line: with a running server and without, exit codes 0, 1 and 2, and what it says when something is wrong."""

import json
import re
import stat

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from harness import client_key, fake_graph, make_csr, openssl

COMMANDS = ["serve", "init", "config", "status", "issue", "sign", "revoke", "unrevoke", "show", "list", "search", "issuers", "crl", "import",
            "export", "backup", "restore", "sync", "events", "ocsp"]


@pytest.fixture(params=["running", "stopped"])
def any_server(request, make_server):
    return make_server(start=request.param == "running")


def issue(server, tmp_path, name="host.example", *more):
    server.cli("issue", "--cn", name, "--out", str(tmp_path / "c.pem"), "--key-out", str(tmp_path / (name + ".key")), *more)
    certificate = x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    return certificate, "%X" % certificate.serial_number


def test_a_certificates_life(any_server, tmp_path):
    server = any_server
    certificate, serial = issue(server, tmp_path, "host.example", "--profile", "server", "--san", "DNS:host.example", "--san", "IP:10.0.0.1",
                                "--validity", "90d", "--key", "ec-p256")
    assert (certificate.not_valid_after - certificate.not_valid_before).days in (90, 91)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host.example"] and str(names.get_values_for_type(x509.IPAddress)[0]) == "10.0.0.1"
    key = serialization.load_pem_private_key((tmp_path / "host.example.key").read_bytes(), None)
    assert key.public_key().public_numbers() == certificate.public_key().public_numbers()
    assert stat.S_IMODE((tmp_path / "host.example.key").stat().st_mode) == 0o600
    assert "status      good" in server.cli("show", serial).stdout
    assert server.cli_json("revoke", serial, "--reason", "certificateHold")["status"] == "hold"
    assert server.cli_json("unrevoke", serial)["status"] == "good"
    assert server.cli_json("revoke", serial.lower(), "--reason=keyCompromise")["reason"] == "keyCompromise"
    shown = server.cli_json("show", serial)
    assert shown["status"] == "revoked" and shown["why"] == ["manual"] and shown["requester"] == "admin"
    assert x509.load_pem_x509_certificate(shown["certificate"].encode()) == certificate
    assert server.cli("unrevoke", serial, code=1).stderr
    assert server.cli("revoke", serial, code=1).stderr


def test_sign_takes_pem_and_der(any_server, tmp_path):
    csr = make_csr(client_key(), "from.csr")
    (tmp_path / "csr.pem").write_text(csr)
    (tmp_path / "csr.der").write_bytes(x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER))
    for name in ("csr.pem", "csr.der"):
        printed = any_server.cli("sign", str(tmp_path / name)).stdout
        assert x509.load_pem_x509_certificate(printed.encode()).subject.rfc4514_string() == "CN=from.csr"
    reply = any_server.cli_json("sign", str(tmp_path / "csr.pem"), "--out", str(tmp_path / "out.pem"), "--profile", "static")
    assert "BEGIN CERTIFICATE" in any_server.cli("sign", str(tmp_path / "csr.pem"), "--out", "/dev/stdout").stdout
    assert reply["profile"] == "static" and (tmp_path / "out.pem").read_text() == reply["certificate"]


def test_list_pages_and_filters(any_server, tmp_path):
    (tmp_path / "csr.pem").write_text(make_csr(client_key(), "listed"))
    made = [any_server.cli_json("sign", str(tmp_path / "csr.pem"))["serial"] for _ in range(3)]
    any_server.cli("revoke", made[0])
    any_server.cli("revoke", made[1], "--reason", "certificateHold")
    seen, after = [], []
    while True:
        page = any_server.cli_json("list", "--limit", "2", *after)
        seen += [c["serial"] for c in page["items"]]
        if not page["next"]:
            break
        after = ["--after", page["next"]]
    assert set(made) <= set(seen) and len(seen) == len(set(seen)) and seen == sorted(seen, key=lambda s: (len(s), s))
    by_status = lambda s: [c["serial"] for c in any_server.cli_json("list", "--status", s)["items"]]
    assert by_status("revoked") == [made[0]] and by_status("hold") == [made[1]] and set(made[2:]) <= set(by_status("good"))
    text = any_server.cli("list").stdout
    assert text.splitlines()[0].split() == ["SERIAL", "STATUS", "EXPIRES", "SUBJECT"] and "CN=listed" in text
    for limit in ("0", "1001", "x", "5x", ""):
        assert "limit must be 1 to 1000" in any_server.cli("list", "--limit", limit, code=2).stderr
    assert any_server.cli("list", "--status", "bad", code=2).stderr


def test_search_looks_at_what_a_certificate_says(any_server, tmp_path):
    device = "0F0E0D0C-1111-4222-8333-444455556666"
    (tmp_path / "csr.pem").write_text(make_csr(client_key(), "Needle [1].example"))
    (tmp_path / "device.pem").write_text(make_csr(client_key(), device))
    (tmp_path / "other.pem").write_text(make_csr(client_key(), "hay"))
    first, second = [any_server.cli_json("sign", str(tmp_path / "csr.pem"))["serial"] for _ in range(2)]
    bound = any_server.cli_json("sign", str(tmp_path / "device.pem"), "--profile", "static-aad")
    any_server.cli("sign", str(tmp_path / "other.pem"))
    any_server.cli("revoke", second)
    found = lambda *arguments: {c["serial"] for c in any_server.cli_json("search", *arguments)["items"]}
    assert found("needle [1]") == {first, second} and found("NEEDLE", "--status", "revoked") == {second}
    assert found(first.lower()[2:30]) == {first} and found("nothing has this") == set() and {first, second, bound["serial"]} <= found("admin")
    assert found(device.lower()) == {bound["serial"]} and found(bound["bindings"][0]["id"]) == {bound["serial"]}
    page = any_server.cli_json("search", "needle", "--limit", "1")
    rest = any_server.cli_json("search", "needle", "--after", page["next"])
    assert {c["serial"] for c in page["items"] + rest["items"]} == {first, second} and rest["next"] is None
    assert "more: revline search TEXT --limit 1 --after " in any_server.cli("search", "needle", "--limit", "1").stdout
    after = any_server.cli_json("list", "--limit", "1")["next"]
    more = any_server.cli("list", "--issuer", "1", "--limit", "1", "--after", after).stdout
    assert "more: revline list --issuer 1 --limit 1 --after " in more and more.count("--after") == 1
    assert any_server.cli("search", code=2).stderr and any_server.cli("search", "x", "--status", "bad", code=2).stderr


@pytest.mark.parametrize("arguments, said", [
    (["show", "zz"], "not a serial number"), (["show", "12345678"], "no certificate has this serial"),
    (["revoke", "12345678"], "serial"), (["unrevoke", "12345678"], "serial"),
    (["sign", "/nonexistent"], "cannot be read"), (["sign", "/"], "cannot be read"), (["sign", "/etc/passwd"], ""),
])
def test_failures_exit_1_and_say_why(any_server, arguments, said):
    done = any_server.cli(*arguments, code=1)
    assert said in done.stderr and done.stderr.startswith("revline ") and done.stdout == ""
    as_json = json.loads(any_server.cli(*arguments, "--json", code=1).stdout)
    assert as_json["error"] and said in as_json["message"]


def test_a_wrong_reason_is_refused(any_server, tmp_path):
    _, serial = issue(any_server, tmp_path)
    for reason in ("nonsense", "removeFromCRL"):
        assert reason in any_server.cli("revoke", serial, "--reason", reason, code=2).stderr
    assert any_server.cli_json("show", serial)["status"] == "good"


@pytest.mark.parametrize("arguments", [["nonsense"], ["show"], ["show", "1", "2"], ["list", "--nonsense"], ["list", "--limit"], ["issue"],
                                       ["config", "--check=yes"], ["init", "--key", "rsa512"], ["list", "--status", "good", "--status", "hold"],
                                       ["revoke", "1", "--reason", "keyCompromise", "--reason", "superseded"]])
def test_wrong_usage_exits_2(module_server, arguments):
    assert module_server.cli(*arguments, code=2).stderr
    if arguments != ["nonsense"]:
        assert module_server.cli_json(*arguments, code=2)["error"] == "wrong usage"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(module_server, command):
    for flag in ("--help", "-h"):
        text = module_server.cli(command, flag).stdout
        assert text.startswith("usage: revline " + command) and "--json" in text


def test_general_help_names_every_command(module_server):
    text = module_server.cli("--help").stdout
    assert all(re.search(r"^  %s " % c, text, re.M) for c in COMMANDS) and module_server.cli("help").stdout == text
    assert re.fullmatch(r"revline \d+\.\d+\.\d+\n", module_server.cli("--version").stdout)


def test_an_existing_key_file_is_never_overwritten(module_server, tmp_path):
    (tmp_path / "key").write_text("precious")
    module_server.cli("issue", "--cn", "x", "--key-out", str(tmp_path / "key"), code=1)
    assert (tmp_path / "key").read_text() == "precious"


@pytest.mark.parametrize("json_", [False, True])
def test_a_certificate_that_cannot_be_written_is_not_lost(module_server, tmp_path, json_):
    """It is issued: it goes to standard output, and the key that was made for it stays."""
    arguments = ("issue", "--cn", "x", "--key-out", str(tmp_path / "key"), "--out", str(tmp_path / "nowhere" / "c.pem"))
    done = module_server.cli(*arguments, *(["--json"] if json_ else []), code=1)
    pem = json.loads(done.stdout)["certificate"] if json_ else done.stdout
    certificate = x509.load_pem_x509_certificate(pem.encode())
    key = serialization.load_pem_private_key((tmp_path / "key").read_bytes(), None)
    assert key.public_key().public_numbers() == certificate.public_key().public_numbers()
    assert "cannot be written" in done.stderr and "%X" % certificate.serial_number in done.stderr


@pytest.mark.parametrize("san", ["nonsense", "DNS:", "BAD:x", "IP:999.1.1.1", pytest.param("URI:https://host.example/" + 500 * "x", id="too long")])
def test_a_wrong_san_leaves_nothing_behind(module_server, tmp_path, san):
    before = len(module_server.all_certificates())
    module_server.cli("issue", "--cn", "x", "--san", san, "--key-out", str(tmp_path / "key"), code=1)
    assert not (tmp_path / "key").exists() and len(module_server.all_certificates()) == before


# ---- init ----
def test_init_once(make_server):
    server = make_server(start=False, fresh=True)
    done = server.cli_json("init", "--subject", "CN=Test Root,O=Contoso", "--key", "ec-p384")
    ca = x509.load_pem_x509_certificate(done["certificate"].encode())
    assert ca.public_key().curve.name == "secp384r1" and ca.subject == ca.issuer
    assert {a.value for a in ca.subject} == {"Test Root", "Contoso"}
    assert done["fingerprint"].replace(":", "").lower() in openssl(
        "x509", "-noout", "-fingerprint", "-sha256", input=done["certificate"]).stdout.replace(":", "").lower()
    assert "already" in server.cli("init", code=1).stderr
    server.start()
    assert server.ca == ca
    for more in ([], ["--rollover"], ["--intermediate", "--rollover"]):
        assert "a server is running" in server.cli("init", *more, code=1).stderr


def test_commands_before_init_say_what_to_do(make_server):
    server = make_server(start=False, fresh=True)
    said = server.cli("list", code=1).stderr
    assert "revline init" in said and "REVLINE_DATA_DIR" in said


# ---- config ----
def test_config_in_three_forms(make_server):
    server = make_server(start=False)
    settings = {"REVLINE_SYNC_ENTRA_INTERVAL": "45s", "AZURE_CLIENT_SECRET": fake_graph.CLIENT_SECRET}
    text = server.cli("config", settings=settings).stdout
    assert "REVLINE_SYNC_ENTRA_INTERVAL=45s" in text and "REVLINE_STATIC_CHALLENGE=********" in text
    assert "AZURE_CLIENT_SECRET=********" in text and fake_graph.CLIENT_SECRET not in text
    listed = {row["name"]: row for row in json.loads(server.cli("config", "--json", settings=settings).stdout)}
    assert listed["REVLINE_SYNC_ENTRA_INTERVAL"]["value"] == "45s" and listed["REVLINE_SYNC_ENTRA_INTERVAL"]["default"] == "30s"
    assert listed["REVLINE_STATIC_CHALLENGE"]["secret"] is True and listed["REVLINE_STATIC_CHALLENGE"]["value"] == "********"
    assert listed["REVLINE_HTTP_HEADER_LIMIT"]["source"] == "default" != listed["REVLINE_SYNC_ENTRA_INTERVAL"]["source"]
    markdown = server.cli("config", "--markdown").stdout
    assert all("| `%s` |" % name in markdown for name in listed)


def test_check_reports_every_error_at_once(make_server):
    server = make_server(start=False)
    assert "valid" in server.cli("config", "--check").stdout and server.cli_json("config", "--check") == {"valid": True}
    wrong = {"REVLINE_SYNC_ENTRA_INTERVALL": "5s", "REVLINE_WORKERS": "many", "REVLINE_OCSP_NONCE": "maybe", "REVLINE_HTTP_LISTEN": "nowhere",
             "REVLINE_STATIC_CHALLENGE": "short", "REVLINE_OCSP_CACHE_SIZE": "12 bananas", "REVLINE_SCEP_CONCURRENT_LIMIT": "0"}
    assert {line.split(":")[0] for line in server.cli_json("config", "--check", code=1, settings=wrong)["errors"]} == set(wrong)
    for command in (["config", "--check"], ["serve"], ["list"]):
        said = server.cli(*command, code=1, settings=wrong).stderr
        assert all(name in said for name in wrong), said
        assert "the nearest is REVLINE_SYNC_ENTRA_INTERVAL" in said and "echo" in said and "many" in said
        assert "'short'" not in said and "=short" not in said  # a secret's value is not told


def test_a_setting_from_a_file_and_under_its_old_name(make_server, tmp_path):
    server = make_server(start=False, REVLINE_STATIC_CHALLENGE=None)
    (tmp_path / "challenge").write_text("from-a-file-01\n")
    listed = lambda **s: {r["name"]: r for r in json.loads(server.cli("config", "--json", settings=s).stdout)}
    rows = listed(REVLINE_STATIC_CHALLENGE_FILE=str(tmp_path / "challenge"), AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists="600",
                  AppConfig__ValidityPeriodDays="365")
    assert rows["REVLINE_STATIC_CHALLENGE"]["value"] == "********"
    assert rows["REVLINE_OCSP_VALIDITY_GOOD"]["value"] == "10m" and rows["REVLINE_CERT_VALIDITY"]["value"] == "365d"
    both = listed(AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists="600", REVLINE_OCSP_VALIDITY_GOOD="7m")
    assert both["REVLINE_OCSP_VALIDITY_GOOD"]["value"] == "7m"
    assert server.cli("config", "--check", code=1, settings={"REVLINE_STATIC_CHALLENGE_FILE": "/nonexistent"}).stderr


def test_the_generated_challenge_is_shown(make_server):
    """As core/run leaves it: a file in the data folder, its owner's alone."""
    server = make_server(start=False, REVLINE_STATIC_CHALLENGE=None, REVLINE_STATIC_AAD_CHALLENGE=None)
    path = server.data_dir / "static-challenge"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    path.chmod(0o600)
    shown = server.cli("config").stdout
    assert "REVLINE_STATIC_CHALLENGE=0123456789abcdef0123456789abcdef" in shown and str(path) in shown
    server.start("--banner")
    log = server.log()
    assert "0123456789abcdef0123456789abcdef" in log and server.url + "/ocsp" in log and "Revline is serving" in log
    assert scep_client.enroll(server.url + "/static", "0123456789abcdef0123456789abcdef", "x").pki_status == "SUCCESS"


# ---- two at once ----
def test_a_second_server_on_the_same_folder_is_told_so(make_server):
    server = make_server()
    done = server.cli("serve", code=1)
    assert "serve.failed" in done.stderr and re.search(r"another|in use|held|lock", done.stderr)
    assert server.control("list")["items"] is not None


def test_status_and_sync(make_server):
    server = make_server()
    assert re.search(r"revline \S+: ok, up \d+s", server.cli("status").stdout) and server.cli_json("status")["parts"]["store"]["status"] == "ok"
    certificate, _ = server.sign("host.example")
    assert [server.ocsp(certificate) for _ in range(3)] == ["good"] * 3
    said = server.cli("status").stdout
    assert re.search(r"http +ok, 2 loops, ", said)
    assert "ok, 1 answers in memory (" in said and " KiB), 2 hits, 1 misses, 1 signatures" in said
    assert server.cli("sync", "no-such-source", code=1).stderr
    server.stop()
    assert "running server" in server.cli("sync", code=1).stderr
    assert re.search(r"revline \S+: ok, no server is running\n", server.cli("status").stdout)


def test_status_counts_the_certificates(make_server):
    server = make_server()
    ours = server.cli_json("status")["certificates"]["good"]
    serials = [server.sign("host-%d.example" % i)[1] for i in range(6)]
    for serial, reason in zip(serials, ["certificateHold", "superseded", "certificateHold", "keyCompromise"]):
        server.control("revoke", serial=serial, reason=reason)
    server.control("unrevoke", serial=serials[0])
    wanted = {"good": ours + 3, "hold": 1, "revoked": 2, "exact": True}
    assert server.cli_json("status")["certificates"] == wanted
    assert "%d good, 1 on hold, 2 revoked" % wanted["good"] in server.cli("status").stdout
    server.stop()
    assert server.cli_json("status")["certificates"] == wanted


def test_an_address_that_cannot_be_bound_is_named(make_server):
    server = make_server(start=False, REVLINE_HTTP_LISTEN="203.0.113.77:80")
    assert "203.0.113.77:80" in server.cli("serve", code=1).stderr


def test_a_leftover_socket_of_a_killed_server_is_no_obstacle(make_server):
    server = make_server()
    _, serial = server.sign("x")
    server.kill()
    assert (server.data_dir / "control.sock").exists()
    assert server.cli_json("show", serial)["status"] == "good"
    server.start()
    assert server.status_of(serial) == "good"
