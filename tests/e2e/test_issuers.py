"""Several issuers: other CAs whose certificates were imported, and the own CA's keys before and after a rollover.
openssl is the other CA, and the client that verifies each answer against the CA it belongs to."""

import pathlib
import re
import urllib.parse

import pytest
import scep_client
from cryptography import x509
from harness import CHALLENGE, PEM, openssl

LEAF = 0x1001
KEYS = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}


class OtherCa:
    """A CA by openssl, with its files in a folder of its own."""

    def __init__(self, directory, name="Other CA", key="ec"):
        self.folder, self.name, self.key = directory / name.replace(" ", "-"), name, KEYS[key]
        self.folder.mkdir()
        openssl("req", "-x509", "-newkey", *self.key, "-nodes", "-keyout", self.path("ca.key"), "-out", self.path("ca.pem"),
                "-subj", "/CN=" + name, "-days", "100")

    def path(self, name):
        return str(self.folder / name)

    @property
    def ca(self):
        return self.path("ca.pem")

    def sign(self, csr, out, *more):
        openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.path("ca.key"), "-days", "30", "-out", out, *more)
        return out

    def leaf(self, serial, name="leaf"):
        csr = self.path(name + ".csr")
        openssl("req", "-newkey", *self.key, "-nodes", "-keyout", self.path(name + ".key"), "-subj", "/CN=" + name, "-out", csr)
        return self.sign(csr, self.path(name + ".pem"), "-set_serial", "0x%X" % serial)

    def certify(self, server):
        """The way of the README from the request to the answer."""
        csr = self.folder / "ocsp.csr"
        csr.write_text(server.cli("ocsp", "csr", self.name).stdout)
        server.cli("ocsp", "install", self.sign(str(csr), self.path("ocsp.pem"), "-copy_extensions", "copyall"))


def ask(server, ca, *what):
    """What `openssl ocsp` says of one certificate after it verified the answer, or the responder's error."""
    done = openssl("ocsp", "-issuer", ca, *what, "-url", server.url + "/ocsp", "-CAfile", ca, code=None)
    error = re.search(r"Responder Error: (\w+)", done.stdout + done.stderr)
    if error:
        return error.group(1)
    assert done.returncode == 0 and "Response verify OK" in done.stderr, done.stdout + done.stderr
    status = re.search(r"^\S+: (good|revoked|unknown)$", done.stdout, re.M).group(1)
    reason = re.search(r"Reason: (\w+)", done.stdout)
    return (status, reason.group(1)) if reason else status


def file_of(directory, name, certificate):
    path = directory / name
    path.write_bytes(certificate.public_bytes(PEM))
    return str(path)


def issuers(server):
    return {i["id"]: i for i in server.cli_json("issuers")["items"]}


def import_counts(server, *files):
    return [(f["newIssuers"], f["newCertificates"]) for f in server.cli_json("import", *files)]


def imported(server, other):
    """Imports the CA; its number."""
    return server.cli_json("import", other.ca)[0]["items"][0]["issuer"]


# ---- other CAs ----
@pytest.mark.parametrize("key", KEYS)
def test_another_ca_from_import_to_revocation(server, tmp_path, key):
    other = OtherCa(tmp_path, key=key)
    leaf = other.leaf(LEAF)
    assert import_counts(server, other.ca, leaf) == [(1, 1), (0, 1)]
    number = next(i for i, issuer in issuers(server).items() if issuer["kind"] == "foreign")
    assert issuers(server)[number]["delegateNotAfter"] is None
    assert ask(server, other.ca, "-cert", leaf) == "unauthorized"

    other.certify(server)
    assert issuers(server)[number]["delegateNotAfter"]
    assert ask(server, other.ca, "-cert", leaf) == "good"
    assert ask(server, other.ca, "-serial", "0x2002") == "unknown"

    server.cli("revoke", "%X" % LEAF, "--issuer", str(number))
    assert ask(server, other.ca, "-cert", leaf) == "revoked"
    assert ask(server, other.ca, "-cert", leaf, "-no_nonce") == "revoked"
    assert import_counts(server, other.ca, leaf) == [(0, 0), (0, 0)]
    assert ask(server, other.ca, "-cert", leaf) == "revoked"

    late = other.leaf(0x2002, "late")
    assert import_counts(server, late) == [(0, 1)]
    assert ask(server, other.ca, "-cert", late) == "good"


def test_an_import_that_comes_twice_changes_nothing(server, tmp_path):
    other = OtherCa(tmp_path)
    files = other.ca, other.leaf(LEAF)
    assert import_counts(server, *files) == [(1, 1), (0, 1)]
    before = server.all_certificates(), issuers(server)
    assert import_counts(server, *files) == [(0, 0), (0, 0)]
    assert (server.all_certificates(), issuers(server)) == before


@pytest.mark.parametrize("form", ["DER", "PEM", "PEM called a certificate"])
def test_a_bundle_as_windows_makes_it(server, tmp_path, form):
    """PKCS #7; the web pages of AD CS put it between lines that say CERTIFICATE."""
    other = OtherCa(tmp_path)
    bundle = tmp_path / "certnew.p7b"
    openssl("crl2pkcs7", "-nocrl", "-certfile", other.leaf(LEAF), "-certfile", other.ca, "-outform", form[:3], "-out", str(bundle))
    if "called" in form:
        bundle.write_text(bundle.read_text().replace("PKCS7", "CERTIFICATE"))
    assert import_counts(server, str(bundle)) == [(1, 2)]
    assert import_counts(server, other.ca, other.path("leaf.pem")) == [(0, 0), (0, 0)]
    openssl("crl2pkcs7", "-nocrl", "-out", str(bundle))
    assert "no certificate" in server.cli("import", str(bundle), code=1).stderr


def test_a_certificate_of_a_ca_that_is_not_known_is_refused(server, tmp_path):
    before = server.all_certificates()
    assert "import its CA first" in server.cli("import", OtherCa(tmp_path).leaf(LEAF), code=1).stderr
    assert server.all_certificates() == before


@pytest.mark.parametrize("content", ["", "\n", "text"])
def test_a_file_without_a_certificate_is_told_so(module_server, tmp_path, content):
    (tmp_path / "file").write_text(content)
    for command in (["import"], ["ocsp", "install"]):
        said = module_server.cli(*command, str(tmp_path / "file"), code=1).stderr
        assert said == "revline %s: '%s': no certificate in it, PEM or DER\n" % (command[0], tmp_path / "file")


@pytest.mark.parametrize("form", ["chain", "reversed", "pkcs7"])
def test_the_responders_certificate_comes_with_its_chain(server, tmp_path, form):
    other, chain = OtherCa(tmp_path), str(tmp_path / "chain")
    leaf = other.leaf(LEAF)
    server.cli("import", other.ca, leaf)
    (tmp_path / "ocsp.csr").write_text(server.cli("ocsp", "csr", other.name).stdout)
    files = [other.sign(str(tmp_path / "ocsp.csr"), other.path("ocsp.pem"), "-copy_extensions", "copyall"), other.ca]
    if form == "pkcs7":
        openssl("crl2pkcs7", "-nocrl", *[word for f in files for word in ("-certfile", f)], "-out", chain)
    else:
        pathlib.Path(chain).write_text("".join(pathlib.Path(f).read_text() for f in (files if form == "chain" else reversed(files))))
    server.cli("ocsp", "install", chain)
    assert ask(server, other.ca, "-cert", leaf) == "good"


def test_an_installed_responder_survives_kill_9(server, tmp_path):
    other = OtherCa(tmp_path)
    good, bad = other.leaf(LEAF), other.leaf(LEAF + 1, "bad")
    imported(server, other)
    import_counts(server, good, bad)
    other.certify(server)
    server.kill()
    server.start()
    assert ask(server, other.ca, "-cert", good) == ask(server, other.ca, "-cert", bad) == "good"
    server.cli("revoke", "%X" % (LEAF + 1), "--reason", "keyCompromise")
    server.kill()
    server.start()
    assert ask(server, other.ca, "-cert", good) == "good"
    assert ask(server, other.ca, "-cert", bad) == ("revoked", "keyCompromise")


def test_a_serial_number_of_two_issuers_needs_the_issuer(server, tmp_path):
    own, serial = server.sign("own.example")
    other = OtherCa(tmp_path)
    leaf = other.leaf(own.serial_number)
    number = imported(server, other)
    import_counts(server, leaf)
    other.certify(server)
    own_ca, own_file = server.ca_file(), file_of(tmp_path, "own.pem", own)
    both = lambda: (ask(server, own_ca, "-cert", own_file), ask(server, other.ca, "-cert", leaf))
    assert both() == ("good", "good")

    for command in ("revoke", "show"):
        message = server.cli(command, serial, code=1).stderr
        assert serial in message and "--issuer" in message and "issuers 1 and %d" % number in message
    assert both() == ("good", "good")
    server.cli("revoke", serial, "--issuer", other.name, "--reason", "superseded")
    assert both() == ("good", ("revoked", "superseded"))
    server.cli("revoke", serial, "--issuer", "1", "--reason", "certificateHold")
    assert both() == (("revoked", "certificateHold"), ("revoked", "superseded"))
    server.cli("unrevoke", serial, "--issuer", "1")
    assert both() == ("good", ("revoked", "superseded"))


# ---- rollover ----
def test_a_rolled_over_key_is_still_answered_for(server, tmp_path):
    (first, first_serial), (second, second_serial) = server.sign("first.example"), server.sign("second.example")
    old_ca = file_of(tmp_path, "old-ca.pem", server.ca)
    first_file, second_file = file_of(tmp_path, "first.pem", first), file_of(tmp_path, "second.pem", second)
    assert ask(server, old_ca, "-cert", first_file) == "good"
    server.cli("init", "--rollover", code=1)  # not while it runs
    server.stop()
    server.cli("init", "--rollover")
    server.start()
    new = x509.load_der_x509_certificate(server.http("GET", "/ca")[2])
    new_ca = file_of(tmp_path, "new-ca.pem", new)
    assert new.subject == server.ca.subject and new.public_key().public_numbers() != server.ca.public_key().public_numbers()

    for path in (first_file, second_file):
        assert ask(server, old_ca, "-cert", path) == "good"
    server.cli("revoke", first_serial, "--reason", "superseded")
    server.cli("revoke", second_serial, "--reason", "certificateHold")
    assert ask(server, old_ca, "-cert", first_file) == ("revoked", "superseded")
    assert ask(server, old_ca, "-cert", second_file) == ("revoked", "certificateHold")
    server.cli("unrevoke", second_serial)
    assert ask(server, old_ca, "-cert", second_file) == "good"
    assert ask(server, old_ca, "-serial", "0x1234") == "unknown"

    certificate, _ = server.sign("third.example")
    third = file_of(tmp_path, "third.pem", certificate)
    openssl("verify", "-CAfile", new_ca, third)
    openssl("verify", "-CAfile", old_ca, third, code=2)
    openssl("verify", "-CAfile", old_ca, second_file)
    assert ask(server, new_ca, "-cert", third) == "good"
    assert ask(server, old_ca, "-cert", third) == "unknown"
    assert ask(server, new_ca, "-cert", second_file) == "unknown"
    for path, ca in ((second_file, server.ca), (third, new)):
        assert issuer_by_aia(server, path) == ca


def issuer_by_aia(server, path):
    """RFC 5280 §4.2.2.1: the certificate that a client without it finds by the authority information access."""
    with open(path, "rb") as f:
        certificate = x509.load_pem_x509_certificate(f.read())
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    url, = [a.access_location.value for a in access if a.access_method == x509.AuthorityInformationAccessOID.CA_ISSUERS]
    status, headers, der = server.http("GET", urllib.parse.urlsplit(url).path)
    assert status == 200 and headers["Content-Type"] == "application/pkix-cert"
    return x509.load_der_x509_certificate(der)


@pytest.mark.parametrize("path", ["/ca/2.cer", "/ca/0.cer", "/ca/01.cer", "/ca/1", "/ca/1.crl", "/ca/.cer", "/ca/1.cer/",
                                  "/ca/99999999999999999999.cer"])
def test_there_is_no_other_ca_certificate(module_server, path):
    assert module_server.http("GET", path)[0] == 404


@pytest.mark.parametrize("key_type", ["rsa2048", "ec-p256"])
def test_scep_goes_on_with_the_new_key(make_server, tmp_path, key_type):
    server, signer = make_server(key_type=key_type), scep_client.make_signer()
    old = scep_client.enroll(server.url + "/static", CHALLENGE, "old", signer=signer).certificate
    old_ca, old_file = file_of(tmp_path, "old-ca.pem", server.ca), file_of(tmp_path, "old.pem", old)
    server.stop()
    server.cli("init", "--rollover")
    server.start()
    new_ca = file_of(tmp_path, "new-ca.pem", x509.load_der_x509_certificate(server.http("GET", "/ca")[2]))
    result = scep_client.enroll(server.url + "/static", CHALLENGE, "new", signer=signer)
    assert result.pki_status == "SUCCESS"
    new_file = file_of(tmp_path, "new.pem", result.certificate)
    openssl("verify", "-CAfile", new_ca, new_file)
    assert ask(server, new_ca, "-cert", new_file) == "good" and ask(server, old_ca, "-cert", old_file) == "good"
