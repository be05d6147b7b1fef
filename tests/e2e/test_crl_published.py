"""Our own revocation lists, read by python3-cryptography and openssl."""

import datetime
import pathlib
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from harness import eventually, openssl

SOON = {"REVLINE_CRL_INTERVAL": "100ms"}


def fetch(server, path="/crl"):
    def there():
        status, headers, body = server.http("GET", path)
        return (headers, body) if status == 200 else None
    headers, body = eventually(there, "the list is published")
    return headers, x509.load_der_x509_crl(body)


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def serials(server):
    return {entry.serial_number for entry in fetch(server)[1]}


@pytest.mark.parametrize("key_type", ["rsa2048", "ec-p256"])
def test_a_new_ca_publishes_an_empty_list(make_server, key_type):
    server = make_server(key_type=key_type)
    headers, crl = fetch(server)
    ca = server.ca
    assert headers["Content-Type"] == "application/pkix-crl"
    assert crl.is_signature_valid(ca.public_key()) and crl.issuer == ca.subject and list(crl) == []
    assert crl.next_update - crl.last_update == datetime.timedelta(hours=24, minutes=10)
    key_id = ca.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_KEY_IDENTIFIER).value.digest
    assert crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == key_id
    assert fetch(server, "/crl/1.crl")[1] == crl


def test_what_is_revoked_is_on_the_next_list_and_what_is_taken_back_is_not(make_server, tmp_path):
    server = make_server(**SOON)
    before = number(fetch(server)[1])
    gone, held, good = [server.sign(name)[0] for name in ("gone", "held", "good")]
    server.cli("revoke", "%X" % gone.serial_number, "--reason", "keyCompromise")
    server.cli("revoke", "%X" % held.serial_number, "--reason", "certificateHold")
    eventually(lambda: serials(server) == {gone.serial_number, held.serial_number}, "both are on the list")
    crl = fetch(server)[1]
    reasons = {e.serial_number: e.extensions.get_extension_for_class(x509.CRLReason).value.reason for e in crl}
    assert reasons == {gone.serial_number: x509.ReasonFlags.key_compromise,
                       held.serial_number: x509.ReasonFlags.certificate_hold}
    assert number(crl) > before

    (tmp_path / "ca.pem").write_bytes(pathlib.Path(server.ca_file()).read_bytes())
    (tmp_path / "list.pem").write_text(server.cli("crl").stdout)
    for certificate, code in ((gone, 2), (held, 2), (good, 0)):
        (tmp_path / "c.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        openssl("verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "list.pem", "c.pem", code=code, cwd=tmp_path)

    server.cli("unrevoke", "%X" % held.serial_number)
    eventually(lambda: serials(server) == {gone.serial_number}, "the hold has left the list")


def test_what_a_directory_deletes_is_on_the_list(graph, synced):
    device = graph.add("devices", "gone")
    server = synced(**SOON)
    server.sync_round()
    certificate = server.sign_for_device(device)[0]
    graph.delete("devices", device["id"])
    server.sync_round()
    eventually(lambda: serials(server) == {certificate.serial_number}, "the deleted device's certificate is on the list")


def test_its_number_grows_over_a_kill(make_server):
    server = make_server(**SOON)
    certificate = server.sign("gone")[0]
    server.cli("revoke", "%X" % certificate.serial_number)
    eventually(lambda: serials(server), "it is on the list")
    before = number(fetch(server)[1])
    server.kill()
    server.start()
    after = fetch(server)[1]
    assert number(after) > before and [e.serial_number for e in after] == [certificate.serial_number]
    server.stop()
    stopped = x509.load_pem_x509_crl(server.cli("crl").stdout.encode())
    assert number(stopped) > number(after) and [e.serial_number for e in stopped] == [certificate.serial_number]


def delta_of(server, complete):
    """The delta of that complete list's moment, by serial number with its reason."""
    def of_the_same_moment():
        headers, delta = fetch(server, "/crl/1/delta.crl")
        assert number(delta) >= number(complete)
        return (headers, delta) if number(delta) == number(complete) else None
    headers, delta = eventually(of_the_same_moment, "the delta with the list's number")
    assert headers["Content-Type"] == "application/pkix-crl" and delta.is_signature_valid(server.ca.public_key())
    assert (delta.issuer, delta.last_update, delta.next_update) == (complete.issuer, complete.last_update, complete.next_update)
    base = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert base.critical
    key_id = ExtensionOID.AUTHORITY_KEY_IDENTIFIER
    assert delta.extensions.get_extension_for_oid(key_id).value == complete.extensions.get_extension_for_oid(key_id).value
    return base.value.crl_number, {e.serial_number: e.extensions.get_extension_for_class(x509.CRLReason).value.reason for e in delta}


def test_the_delta_says_what_has_changed_since_the_base(make_server):
    server = make_server(**SOON)
    first = fetch(server)[1]
    assert delta_of(server, first) == (number(first), {})
    gone, held = server.sign("gone")[1], server.sign("held")[1]
    server.cli("revoke", gone, "--reason", "keyCompromise")
    server.cli("revoke", held, "--reason", "certificateHold")
    both = {int(gone, 16), int(held, 16)}
    eventually(lambda: serials(server) == both, "both are on the list")
    base, changed = delta_of(server, fetch(server)[1])
    assert base == number(first)
    assert changed == {int(gone, 16): x509.ReasonFlags.key_compromise, int(held, 16): x509.ReasonFlags.certificate_hold}
    server.cli("unrevoke", held)
    eventually(lambda: serials(server) == {int(gone, 16)}, "the hold has left the list")
    base, changed = delta_of(server, fetch(server)[1])
    assert base == number(first)
    assert changed == {int(gone, 16): x509.ReasonFlags.key_compromise, int(held, 16): x509.ReasonFlags.remove_from_crl}
    server.stop()
    server.start()
    again = fetch(server)[1]
    assert delta_of(server, again) == (number(again), {})


def test_openssl_joins_a_delta_with_an_older_list(make_server, tmp_path):
    server = make_server(REVLINE_CRL_DISTRIBUTION_POINT="true", REVLINE_BASE_URL="http://pki.example.com", **SOON)
    certificates = {name: server.sign(name)[0] for name in ("gone", "held", "good")}
    serial = {name: "%X" % c.serial_number for name, c in certificates.items()}
    server.cli("revoke", serial["held"], "--reason", "certificateHold")
    eventually(lambda: serials(server) == {certificates["held"].serial_number}, "the hold is on the list")
    before = fetch(server)[1]
    point = before.extensions.get_extension_for_class(x509.FreshestCRL).value
    assert [p.full_name[0].value for p in point] == ["http://pki.example.com/crl/1/delta.crl"]
    server.cli("unrevoke", serial["held"])
    server.cli("revoke", serial["gone"], "--reason", "keyCompromise")
    eventually(lambda: serials(server) == {certificates["gone"].serial_number}, "the list has changed")
    delta = fetch(server, "/crl/1/delta.crl")[1]
    (tmp_path / "ca.pem").write_bytes(pathlib.Path(server.ca_file()).read_bytes())
    (tmp_path / "old.pem").write_bytes(before.public_bytes(Encoding.PEM))
    (tmp_path / "both.pem").write_bytes(before.public_bytes(Encoding.PEM) + delta.public_bytes(Encoding.PEM))
    for lists, codes in (("old.pem", {"gone": 0, "held": 2, "good": 0}), ("both.pem", {"gone": 2, "held": 0, "good": 0})):
        for name, code in codes.items():
            (tmp_path / "c.pem").write_bytes(certificates[name].public_bytes(Encoding.PEM))
            openssl("verify", "-crl_check", "-extended_crl", "-use_deltas", "-CAfile", "ca.pem", "-CRLfile", lists, "c.pem", code=code,
                    cwd=tmp_path)


@pytest.mark.parametrize("skew, code", [("24h", 0), ("0", 2)])
def test_a_client_whose_clock_is_slow_takes_the_list_of_this_moment(make_server, tmp_path, skew, code):
    """OpenSSL takes none of the future, and with it no certificate."""
    server = make_server(REVLINE_CERT_CLOCK_SKEW=skew)
    fetch(server)
    (tmp_path / "crl.der").write_bytes(server.http("GET", "/crl")[2])
    openssl("crl", "-inform", "DER", "-in", "crl.der", "-out", "crl.pem", cwd=tmp_path)
    crl = x509.load_der_x509_crl((tmp_path / "crl.der").read_bytes())
    made = crl.next_update - datetime.timedelta(hours=24)
    slow = int(made.replace(tzinfo=datetime.timezone.utc).timestamp()) - 300
    done = openssl("verify", "-crl_check", "-attime", str(slow), "-CAfile", server.ca_file(), "-CRLfile", "crl.pem", server.ca_file(),
                   code=code, cwd=tmp_path)
    assert code == 0 or "not yet valid" in done.stderr


def test_caches_are_told_what_they_have(server):
    headers, crl = fetch(server)
    assert headers["Cache-Control"] == "max-age=5,public"
    for condition in ({"If-None-Match": headers["ETag"]}, {"If-Modified-Since": headers["Last-Modified"]}):
        status, _, body = server.http("GET", "/crl", headers=condition)
        assert (status, body) == (304, b"")
    assert server.http("GET", "/crl", headers={"If-None-Match": '"other"'})[0] == 200
    status, head, body = server.http("HEAD", "/crl")
    assert (status, body, head["ETag"]) == (200, b"", headers["ETag"])


def test_a_date_does_not_hide_the_second_list_of_a_second(make_server):
    server = make_server(**SOON)

    def two_of_one_second():
        serial = server.sign("gone")[1]
        headers, first = fetch(server)
        server.control("revoke", serial=serial)
        eventually(lambda: number(fetch(server)[1]) > number(first), "there is another list")
        if fetch(server)[0]["Last-Modified"] != headers["Last-Modified"]:
            return False
        status, _, body = server.http("GET", "/crl", headers={"If-Modified-Since": headers["Last-Modified"]})
        assert status == 200 and x509.load_der_x509_crl(body) != first
        return True
    eventually(two_of_one_second, "two lists were made in one second")


@pytest.mark.parametrize("path", ["/crl/1.crl", "/crl/1/delta.crl"])
def test_a_tag_is_no_other_lists_though_a_copied_folder_gives_its_number_again(make_server, tmp_path, path):
    server = make_server(**SOON)
    serial = [server.sign(cn)[1] for cn in ("one", "other")]
    fetch(server)
    server.stop()
    shutil.copytree(server.data_dir, tmp_path / "copy")
    lists = []
    for s in serial:
        server.start()
        first = number(fetch(server)[1])
        server.control("revoke", serial=s)
        lists.append(eventually(lambda: (lambda got: got if number(got[1]) == first + 1 else None)(fetch(server, path)), "the next list"))
        status = server.http("GET", path, headers={"If-None-Match": lists[0][0]["ETag"]})[0]
        assert status == (304 if len(lists) == 1 else 200)
        server.stop()
        shutil.rmtree(server.data_dir)
        shutil.copytree(tmp_path / "copy", server.data_dir)
    assert number(lists[0][1]) == number(lists[1][1]) and [[e.serial_number for e in l[1]] for l in lists] == [[int(s, 16)] for s in serial]


@pytest.mark.parametrize("path", ["/crl/2.crl", "/crl/0.crl", "/crl/", "/crl/1", "/crl/1.crl.crl", "/crl/-1.crl",
                                  "/crl/99999999999999999999.crl", "/crl/2/delta.crl", "/crl/1/delta",
                                  "/crl/1/", "/crl/delta.crl"])
def test_there_is_no_other_list(module_server, path):
    assert module_server.http("GET", path)[0] == 404


def test_after_a_rollover_the_end_of_either_list_is_shown(make_server):
    server = make_server()
    server.stop()
    server.cli("init", "--rollover")
    server.start()
    for path, label in (("/crl/1.crl", '{issuer="1"}'), ("/crl/2.crl", "")):
        crl = fetch(server, path)[1]
        assert server.metrics()["revline_crl_next_update_seconds" + label] == crl.next_update.replace(tzinfo=datetime.timezone.utc).timestamp()
    assert 'revline_crl_next_update_seconds{issuer="2"}' not in server.metrics()


def test_certificates_name_the_list_when_it_is_wanted(make_server):
    server = make_server(REVLINE_CRL_DISTRIBUTION_POINT="true", REVLINE_BASE_URL="http://pki.example.com")
    points = server.sign("it")[0].extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [p.full_name[0].value for p in points] == ["http://pki.example.com/crl/1.crl"]
    plain = make_server()
    with pytest.raises(x509.ExtensionNotFound):
        plain.sign("it")[0].extensions.get_extension_for_class(x509.CRLDistributionPoints)


def test_no_list_is_made_within_the_interval_of_the_last(make_server):
    """Deterministic, since the interval is longer than any test: OCSP has the change at once, the list is the first one."""
    server = make_server(REVLINE_CRL_INTERVAL="1d")
    first = fetch(server)[1]
    certificate, serial = server.sign("gone")
    server.control("revoke", serial=serial)
    assert server.ocsp(certificate) == "revoked"
    assert fetch(server)[1] == first
