"""The CA below another one: openssl is the CA above, and verifies what comes from ours up to its root."""

import base64
import dataclasses
import re
import subprocess

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from harness import CHALLENGE, DER, PEM, eventually, openssl

SETTINGS = {"REVLINE_HTTPS_LISTEN": "127.0.0.1:0", "REVLINE_BASE_URL": "http://ca.example.test", "REVLINE_CRL_INTERVAL": "100ms"}
BARE = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"


class Above:
    """Two CAs, one below the other."""

    def __init__(self, folder):
        self.folder = folder
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self("root.key"), "-subj", "/CN=Root", "-days", "100", "-out", self("root.pem"))
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", self("policy.key"), "-subj", "/CN=Policy", "-out", self("policy.csr"))
        self.sign("root", "policy.csr", "policy.pem", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")

    def __call__(self, name):
        return str(self.folder / name)

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self(name)

    def read(self, *names):
        return "".join((self.folder / name).read_text() for name in names)

    def sign(self, ca, csr, out, extensions=None):
        how = ["-extfile", self.write("extensions", extensions)] if extensions else ["-copy_extensions", "copyall"]
        openssl("x509", "-req", "-in", self(csr), "-CA", self(ca + ".pem"), "-CAkey", self(ca + ".key"), "-days", "50", "-CAcreateserial", "-out", self(out), *how)

    def certify(self, csr, extensions=None):
        """chain.pem: what the CA above sends back."""
        self.write("ca.csr", csr)
        self.sign("policy", "ca.csr", "ca.pem", extensions)
        return self.write("chain.pem", self.read("ca.pem", "policy.pem", "root.pem"))

    def verify(self, *arguments):
        self.write("between.pem", self.read("ca.pem", "policy.pem"))
        return openssl("verify", "-CAfile", self("root.pem"), "-untrusted", self("between.pem"), *arguments)


@pytest.fixture
def above(tmp_path):
    folder = tmp_path / "above"
    folder.mkdir()
    return Above(folder)


def key_of(holder):
    return holder.public_key().public_numbers()


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("extensions", [None, BARE], ids=["as asked", "bare"])
@pytest.mark.parametrize("key", ["ec-p384", "rsa2048"])
def test_from_the_request_to_a_revocation(make_server, above, key, extensions):
    server = make_server(start=False, fresh=True, **SETTINGS)
    csr = server.cli("init", "--intermediate", "--subject", "CN=Issuing,O=Example", "--key", key).stdout
    assert "verify OK" in openssl("req", "-verify", "-noout", input=csr).stderr
    assert mode(server.data_dir / "ca-1.key") == mode(server.data_dir / "ca-1.csr") == 0o600 and mode(server.data_dir) == 0o700
    again = server.cli_json("init", "--intermediate")["csr"]
    assert key_of(x509.load_pem_x509_csr(again.encode())) == key_of(x509.load_pem_x509_csr(csr.encode()))
    for command in (["serve"], ["init"]):
        assert "ca-1.csr" in server.cli(*command, code=1).stderr

    done = server.cli_json("init", "--intermediate", "--chain", above.certify(csr, extensions))
    ca = x509.load_pem_x509_certificate(above.read("ca.pem").encode())
    assert x509.load_pem_x509_certificate(done["certificate"].encode()) == ca
    assert done["issuer"] == "CN=Policy" and set(done["subject"].split(",")) == {"CN=Issuing", "O=Example"}
    assert "already" in server.cli("init", "--intermediate", code=1).stderr and "already" in server.cli("init", code=1).stderr
    server.start()
    assert server.ca == ca and server.http("GET", "/ca/1.cer")[2] == ca.public_bytes(DER)

    certificate, serial = server.sign("laptop")
    above.write("laptop.pem", certificate.public_bytes(PEM).decode())
    above.verify(above("laptop.pem"))
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {d.access_location.value for d in access} == {"http://ca.example.test/ocsp", "http://ca.example.test/ca/1.cer"}

    assert ocsp(server, above, "laptop.pem") == "good"
    server.cli("revoke", serial, "--reason", "keyCompromise")
    assert ocsp(server, above, "laptop.pem") == "revoked"
    eventually(lambda: "revoked" in listed(server, above, "laptop.pem"), "its revocation is on the list")


def listed(server, above, name):
    """What openssl says of it by our revocation list, which the CA's certificate verifies."""
    above.write("list.pem", server.cli("crl").stdout)
    return openssl("verify", "-crl_check", "-CAfile", above("root.pem"), "-untrusted", above("between.pem"), "-CRLfile", above("list.pem"),
                   above(name), code=None).stderr


def ocsp(server, above, name):
    done = openssl("ocsp", "-issuer", above("ca.pem"), "-CAfile", above("chain.pem"), "-cert", above(name), "-url", server.url + "/ocsp")
    assert "Response verify OK" in done.stderr, done.stderr
    return re.search(r"\.pem: (\w+)", done.stdout).group(1)


@pytest.fixture
def intermediate(make_server, above):
    """intermediate(key, extensions): a server below the other CA."""
    def make(key, extensions=None):
        server = make_server(start=False, fresh=True, **SETTINGS)
        csr = server.cli("init", "--intermediate", "--key", key).stdout
        server.cli("init", "--intermediate", "--chain", above.certify(csr, extensions))
        return server.start()
    return make


@pytest.mark.parametrize("extensions", [None, BARE], ids=["as asked", "bare"])
@pytest.mark.parametrize("key", ["ec-p256", "rsa2048"])
def test_scep_tells_the_chain_and_enrolls(intermediate, above, key, extensions):
    """An RSA CA whose certificate lacks keyEncipherment has a recipient of its own, like an EC one."""
    server = intermediate(key, extensions)
    url = server.url + "/static"
    ca = scep_client.get_ca_cert(url)
    chain = pkcs7.load_der_pkcs7_certificates(server.http("GET", "/static?operation=GetCACert")[2])
    wanted = [x509.load_pem_x509_certificate(above.read(name).encode()) for name in ("ca.pem", "policy.pem", "root.pem")]
    assert [c for c in chain if c in wanted] == wanted and ca.issuer == wanted[0]
    assert (ca.recipient == ca.issuer) == (key == "rsa2048" and extensions is None)
    above.write("leaf.pem", scep_client.enroll(url, CHALLENGE, "scep-1", ca=ca).certificate.public_bytes(PEM).decode())
    above.verify(above("leaf.pem"))
    if key == "rsa2048":  # a client that takes the CA for the recipient
        careless = dataclasses.replace(ca, recipient=ca.issuer)
        assert scep_client.enroll(url, CHALLENGE, "scep-2", ca=careless).pki_status == "SUCCESS"


def test_est_and_tls_lead_to_the_root(intermediate, above):
    server = intermediate("ec-p256")
    body = subprocess.run(["curl", "-sS", "--fail", "--cacert", above("root.pem"), "https://127.0.0.1:%d/.well-known/est/cacerts" % server.tls_port()],
                          capture_output=True, check=True).stdout
    names = {c.subject.rfc4514_string() for c in pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))}
    assert names == {"CN=Revline Intermediate CA", "CN=Policy", "CN=Root"}


def test_what_the_ca_above_does_not_allow_is_not_issued(intermediate, above):
    """Nor does the server's own certificate have a name that spoils it."""
    server = intermediate("ec-p256", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
                          "nameConstraints=critical,permitted;DNS:example.test,excluded;IP:0.0.0.0/0.0.0.0\n")
    port = server.tls_port()
    subprocess.run(["curl", "-sS", "--fail", "--cacert", above("root.pem"), "--resolve", "ca.example.test:%d:127.0.0.1" % port,
                    "https://ca.example.test:%d/.well-known/est/cacerts" % port], capture_output=True, check=True)
    url = server.url + "/static"
    outside = scep_client.enroll(url, CHALLENGE, "laptop", dns=["laptop.example.test", "laptop.example.net"])
    assert (outside.pki_status, outside.fail_info) == ("FAILURE", "badRequest")
    above.write("leaf.pem", scep_client.enroll(url, CHALLENGE, "laptop", dns="laptop.example.test").certificate.public_bytes(PEM).decode())
    above.verify(above("leaf.pem"))


def test_a_bundle_from_standard_input(make_server, above):
    server = make_server(start=False, fresh=True, **SETTINGS)
    chain = above.certify(server.cli("init", "--intermediate").stdout)
    openssl("crl2pkcs7", "-nocrl", "-certfile", chain, "-outform", "DER", "-out", above("chain.p7b"))
    with open(above("chain.p7b"), "rb") as bundle:
        done = subprocess.run([server.binary, "init", "--intermediate", "--chain", "-"], stdin=bundle, env=server.environment, cwd=server.data_dir.parent,
                              capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and re.search(r"^issuer +CN=Policy$", done.stdout, re.M), done.stderr


def test_wrong_usage_and_wrong_chains(make_server, above):
    server = make_server(start=False, fresh=True, **SETTINGS)
    assert "no data folder" in server.cli("init", "--intermediate", "--chain", above("root.pem"), code=1).stderr
    csr = server.cli("init", "--intermediate").stdout
    for wrong in (["--chain", "x"], ["--intermediate", "--chain", "x", "--key", "ec-p256"], ["--intermediate", "--chain"], ["--intermediate", "--key", "dsa"]):
        server.cli("init", *wrong, code=2)
    above.certify(csr)
    for name, why in (("nothing.pem", "cannot be read"), ("ca.csr", "no certificate"), ("root.pem", "for the key"), ("ca.pem", "is missing")):
        assert why in server.cli("init", "--intermediate", "--chain", above(name), code=1).stderr
    assert server.cli_json("init", "--intermediate", "--chain", above("root.pem"), code=1)["error"] == "invalid"
    server.cli("init", "--intermediate", "--chain", above("chain.pem"))
    assert "no request" in server.cli("init", "--intermediate", "--chain", above("chain.pem"), code=1).stderr


def test_not_while_a_server_runs(server, above):
    for options in ([], ["--rollover"], ["--chain", above("root.pem")]):
        assert "a server is running" in server.cli("init", "--intermediate", *options, code=1).stderr


def test_a_new_key_below_the_same_root(intermediate, above):
    server = intermediate("ec-p256")
    certificate, _ = server.sign("laptop")
    above.write("before.pem", above.read("ca.pem"))
    server.stop()
    assert "--intermediate --rollover" in server.cli("init", "--rollover", code=1).stderr
    csr = server.cli("init", "--intermediate", "--rollover").stdout
    server.start()
    before = server.ca
    assert server.sign("meanwhile")[0].issuer == before.subject
    server.stop()
    server.cli("init", "--intermediate", "--chain", above.certify(csr))
    server.start()
    after = x509.load_der_x509_certificate(server.http("GET", "/ca")[2])
    assert key_of(after) != key_of(before) and after.subject == before.subject
    assert server.http("GET", "/ca/1.cer")[2] == before.public_bytes(DER)
    above.write("laptop.pem", certificate.public_bytes(PEM).decode())
    above.write("ca.pem", above.read("before.pem"))
    above.write("chain.pem", above.read("before.pem", "policy.pem", "root.pem"))
    assert ocsp(server, above, "laptop.pem") == "good"
