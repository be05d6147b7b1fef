"""Subordinate CAs: what they certify is believed inside their constraints, and by nobody outside of them.

The subordinate CA is run by openssl, which also makes its certificates, whatever they say; `openssl verify` is the client.
"""

import datetime
import pathlib
import re

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AttributeOID, NameOID

from harness import CHALLENGE, eventually, openssl, openssl_ocsp

LEAF_USAGES = "extendedKeyUsage=serverAuth,clientAuth,emailProtection\n"


@pytest.fixture(scope="module")
def server(module_server):
    return module_server


class SubCa:
    """A key and its certificate below `server`, by the command line."""

    def __init__(self, server, folder, name, *options):
        self.folder, self.server = pathlib.Path(folder), server
        self.key, self.cert = self.folder / "sub.key", self.folder / "sub.pem"
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(self.key),
                "-out", str(self.folder / "sub.csr"), "-subj", "/CN=" + name)
        server.cli("sign", str(self.folder / "sub.csr"), "--profile", "subca", "--out", str(self.cert), *options)

    @property
    def certificate(self):
        return x509.load_pem_x509_certificate(self.cert.read_bytes())

    def issue(self, sans, cn="/O=Leaf", extensions=LEAF_USAGES):
        """A certificate with these alternative names, which the CA makes without asking anybody."""
        key, csr, cert, ext = (str(self.folder / ("leaf." + kind)) for kind in ("key", "csr", "pem", "ext"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr, "-subj", cn)
        pathlib.Path(ext).write_text(extensions + ("subjectAltName=%s\n" % sans if sans else ""))
        openssl("x509", "-req", "-in", csr, "-CA", str(self.cert), "-CAkey", str(self.key), "-CAcreateserial", "-extfile", ext,
                "-days", "1", "-out", cert)
        return cert

    def verify(self, cert, *more):
        """What `openssl verify` says against it: '' when it believes."""
        done = openssl("verify", "-x509_strict", "-CAfile", self.server.ca_file(), "-untrusted", str(self.cert), *more, cert, code=None)
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def constrained(server, tmp_path_factory):
    return SubCa(server, tmp_path_factory.mktemp("constrained"), "Constrained Sub CA", "--permit", "dns:example.com", "--permit", "ip:10.0.0.0/8",
                 "--permit", "email:example.com", "--exclude", "dns:secret.example.com", "--exclude", "ip:10.66.0.0/16")


@pytest.mark.parametrize("sans", ["DNS:example.com", "DNS:a.b.example.com,DNS:EXAMPLE.com", "IP:10.1.2.3", "email:you@example.com", ""])
def test_names_inside_the_constraints(constrained, sans):
    assert constrained.verify(constrained.issue(sans)) == ""


@pytest.mark.parametrize("sans", ["DNS:example.org", "DNS:example.com.example.org", "DNS:notexample.com", "DNS:com",
                                  "DNS:a.example.com,DNS:example.org", "IP:11.0.0.1", "IP:2001:db8::1", "email:you@example.org",
                                  "email:you@mail.example.com"])
def test_names_that_are_not_permitted(constrained, sans):
    assert re.search("(permitted|excluded) subtree violation", constrained.verify(constrained.issue(sans)))


@pytest.mark.parametrize("sans", ["DNS:secret.example.com", "DNS:x.secret.example.com", "IP:10.66.7.8", "DNS:example.com,IP:10.66.7.8"])
def test_names_that_are_excluded(constrained, sans):
    assert "excluded subtree violation" in constrained.verify(constrained.issue(sans))


def test_a_host_as_common_name_is_constrained_too(constrained):
    assert constrained.verify(constrained.issue("", cn="/CN=www.example.com")) == ""
    assert "permitted subtree violation" in constrained.verify(constrained.issue("", cn="/CN=www.example.org"))


@pytest.mark.parametrize("sans", ["IP:10.1.2.3", "IP:2001:db8::1", "email:you@example.com", "DNS:example.com,IP:127.0.0.1"])
def test_kinds_of_names_of_which_nothing_is_permitted(server, tmp_path, sans):
    sub = SubCa(server, tmp_path, "DNS Sub CA", "--permit", "dns:example.com")
    assert sub.verify(sub.issue("DNS:example.com")) == ""
    assert "subtree violation" in sub.verify(sub.issue(sans))


def test_any_name_has_to_be_asked_for(server, tmp_path):
    with pytest.raises(AssertionError, match="--permit dns:example.com"):
        SubCa(server, tmp_path, "Careless Sub CA")
    sub = SubCa(server, tmp_path, "Trusted Sub CA", "--any-name")
    assert sub.verify(sub.issue("DNS:example.org,IP:192.0.2.1")) == ""
    with pytest.raises(x509.ExtensionNotFound):
        sub.certificate.extensions.get_extension_for_class(x509.NameConstraints)


def test_only_for_servers_unless_more_was_asked_for(server, constrained, tmp_path):
    leaf = constrained.issue("DNS:example.com")
    assert constrained.verify(leaf, "-purpose", "sslserver") == ""
    assert "purpose" in constrained.verify(leaf, "-purpose", "sslclient")
    both = SubCa(server, tmp_path, "Client Sub CA", "--permit", "dns:example.com", "--eku", "serverAuth", "--eku", "clientAuth")
    leaf = both.issue("DNS:example.com")
    assert both.verify(leaf, "-purpose", "sslserver") == "" and both.verify(leaf, "-purpose", "sslclient") == ""


CA_BELOW = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"


def test_no_ca_follows_below_it_unless_it_was_asked_for(server, constrained, tmp_path):
    """Two below: a CA certificate that the subordinate one makes, and a certificate of that."""
    def second(sub):
        below = SubCa.__new__(SubCa)
        below.folder, below.server = pathlib.Path(sub.folder), server
        below.cert, below.key = sub.folder / "below.pem", sub.folder / "below.key"
        made = pathlib.Path(sub.issue("", cn="/CN=Below", extensions=CA_BELOW + "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"))
        below.cert.write_bytes(made.read_bytes())
        below.key.write_bytes((sub.folder / "leaf.key").read_bytes())
        leaf = below.issue("DNS:example.com")
        return openssl("verify", "-CAfile", server.ca_file(), "-untrusted", str(sub.cert), "-untrusted", str(below.cert), leaf, code=None)
    assert "path length constraint exceeded" in second(constrained).stderr
    done = second(SubCa(server, tmp_path, "Deep Sub CA", "--permit", "dns:example.com", "--path-length", "1"))
    assert done.returncode == 0, done.stderr


def test_its_validity(server, tmp_path):
    """Longer than other certificates', and not longer than the CA's."""
    sub = SubCa(server, tmp_path, "Long Sub CA", "--permit", "dns:example.com")
    assert sub.certificate.not_valid_after - datetime.datetime.utcnow() > datetime.timedelta(days=1824)
    server.cli("sign", str(tmp_path / "sub.csr"), "--profile", "subca", "--any-name", "--validity", "30d", "--out", str(tmp_path / "short.pem"))
    short = x509.load_pem_x509_certificate((tmp_path / "short.pem").read_bytes())
    assert short.not_valid_after - datetime.datetime.utcnow() < datetime.timedelta(days=31)


def test_it_is_answered_for_and_revoked_like_any_other(server, tmp_path):
    sub = SubCa(server, tmp_path, "Doomed Sub CA", "--permit", "dns:example.com")
    assert openssl_ocsp(server, sub.certificate, tmp_path) == "good"
    serial = "%X" % sub.certificate.serial_number
    assert server.control("show", serial=serial)["profile"] == "subca"
    server.cli("revoke", serial, "--reason", "cACompromise")
    assert openssl_ocsp(server, sub.certificate, tmp_path) == ("revoked", "cACompromise")
    crl = tmp_path / "list.pem"

    def is_listed():
        crl.write_text(server.cli("crl").stdout)
        return "certificate revoked" in sub.verify(str(sub.cert), "-crl_check", "-CRLfile", str(crl))
    eventually(is_listed, "the published list has it")


def test_what_it_certifies_is_answered_for_after_an_import(server, tmp_path):
    """As with any other CA: its own certificate stays what it is, and it has to certify our responder."""
    sub = SubCa(server, tmp_path, "Imported Sub CA", "--permit", "dns:example.com")
    leaf = sub.issue("DNS:example.com")
    server.cli("import", str(sub.cert), leaf)
    assert "CN=Imported Sub CA" in server.cli("issuers").stdout
    serial = "%X" % x509.load_pem_x509_certificate(pathlib.Path(leaf).read_bytes()).serial_number
    assert server.control("show", serial=serial)["status"] == "good"
    assert server.control("show", serial="%X" % sub.certificate.serial_number)["profile"] == "subca"
    assert openssl_ocsp(server, sub.certificate, tmp_path) == "good"


def test_a_key_and_a_ca_by_form(server, tmp_path):
    server.cli("issue", "--profile", "subca", "--cn", "Form Sub CA", "--key", "ec-p384", "--permit", "dns:example.com", "--key-out",
               str(tmp_path / "sub.key"), "--out", str(tmp_path / "sub.pem"))
    sub = SubCa.__new__(SubCa)
    sub.folder, sub.server, sub.key, sub.cert = tmp_path, server, tmp_path / "sub.key", tmp_path / "sub.pem"
    assert sub.verify(sub.issue("DNS:www.example.com")) == ""


@pytest.mark.parametrize("options, message", [
    (("--permit", "example.com"), "is no name constraint"), (("--permit", "dns:.example.com"), "is no domain"),
    (("--permit", "ip:10.0.0.1/8"), "bits behind its prefix"), (("--any-name", "--permit", "dns:example.com"), "either"),
    (("--any-name", "--eku", "OCSPSigning"), "no extended key usage"), (("--any-name", "--path-length", "many"), "path length"),
    (("--any-name", "--path-length", "10"), "path length")])
def test_what_it_may_not_be(server, tmp_path, options, message):
    with pytest.raises(AssertionError, match=message):
        SubCa(server, tmp_path, "Odd Sub CA", *options)


def test_options_of_a_ca_are_for_no_other_certificate(server, tmp_path):
    done = server.cli("issue", "--cn", "x", "--key-out", str(tmp_path / "key"), "--permit", "dns:example.com", code=2)
    assert "--permit is for a subordinate CA" in done.stderr


def test_no_client_enrolls_one(server):
    """Over SCEP there is no such profile, and a request for a CA gets an ordinary certificate."""
    assert server.http("GET", "/subca?operation=GetCACaps")[0] == 404
    assert server.http("GET", "/scep/subca?operation=GetCACaps")[0] == 404
    signer = scep_client.make_signer()
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "no-ca")]))
           .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
           .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
           .add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode()).sign(signer.key, hashes.SHA256()))
    certificate = scep_client.enroll(server.url + "/static", CHALLENGE, "no-ca", signer=signer,
                                     csr=csr.public_bytes(serialization.Encoding.DER)).certificate
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign and not usage.crl_sign
