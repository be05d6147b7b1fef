"""strongSwan's pki as a client: enrollment and renewal by SCEP and EST.

The program looks for its plugins where the package would be installed, and before that among the symbols of its process. So they
are preloaded from where they are unpacked.
"""

import os
import pathlib
import subprocess

import pytest
from checkers import beside, environment, program
from cryptography import x509
from harness import CHALLENGE, eventually
from test_est import EST

PLUGINS = ("random", "openssl", "x509", "pem", "pkcs1", "pkcs7", "pkcs8", "curl", "pubkey")


class Pki:
    def __init__(self, folder):
        self.folder, self.binary = pathlib.Path(folder), program("pki")
        (self.folder / "strongswan.conf").write_text("pki { load = %s }\n" % " ".join(PLUGINS))
        libraries = beside(self.binary, "usr/lib/ipsec")
        env = environment()
        self.environment = {**env, "STRONGSWAN_CONF": str(self.folder / "strongswan.conf"),
                            "LD_LIBRARY_PATH": libraries + os.pathsep + env["LD_LIBRARY_PATH"],
                            "LD_PRELOAD": " ".join("%s/plugins/libstrongswan-%s.so" % (libraries, name) for name in PLUGINS)}

    def __call__(self, *arguments, out=None, code=0):
        done = subprocess.run([self.binary, *arguments], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=60)
        assert done.returncode == code, done.stderr.decode()
        if out:
            (self.folder / out).write_bytes(done.stdout)
        return done.stderr.decode()

    def certificate(self, name):
        return x509.load_pem_x509_certificate((self.folder / name).read_bytes())


@pytest.fixture
def pki(tmp_path):
    pki = Pki(tmp_path)
    pki("--gen", "--type", "rsa", "--size", "2048", "--outform", "pem", out="key.pem")
    pki("--gen", "--type", "rsa", "--size", "2048", "--outform", "pem", out="new.pem")
    return pki


@pytest.mark.parametrize("key_type", ["rsa2048", "ec-p256"])
def test_scep(make_server, pki, key_type):
    """An EC CA has a registration authority, which strongSwan writes to another file."""
    server = make_server(key_type=key_type)
    url = server.url + "/static"
    pki("--scepca", "--url", url, "--caout", "ca.pem", "--raout", "ra.pem", "--outform", "pem")
    assert pki.certificate("ca.pem") == server.ca
    ra = "ra.pem" if (pki.folder / "ra.pem").exists() else "ca.pem"
    assert (ra == "ra.pem") == (key_type == "ec-p256")
    common = ("--scep", "--url", url, "--dn", "CN=swan-1", "--san", "swan-1.example", "--cacert-enc", ra, "--cacert-sig", ra,
              "--cacert", "ca.pem", "--outform", "pem")
    assert "badRequest" in pki(*common, "--in", "key.pem", "--password", "wrong-challenge", code=1)
    pki(*common, "--in", "key.pem", "--password", CHALLENGE, out="cert.pem")
    first = pki.certificate("cert.pem")
    assert first.subject.rfc4514_string() == "CN=swan-1" and server.ocsp(first) == "good"
    pki(*common, "--in", "new.pem", "--cert", "cert.pem", "--key", "key.pem", out="renewed.pem")
    second = pki.certificate("renewed.pem")
    assert second.subject == first.subject and second.public_key() != first.public_key() and server.ocsp(second) == "good"
    server.control("revoke", serial="%X" % first.serial_number)
    assert "badRequest" in pki(*common, "--in", "key.pem", "--cert", "cert.pem", "--key", "key.pem", code=1)


@pytest.mark.parametrize("key_type", ["rsa2048", "ec-p256"])
def test_est(make_server, pki, key_type):
    server = make_server(key_type=key_type, **EST)
    for key, out in (("key.pem", "req.pem"), ("new.pem", "new-req.pem")):
        pki("--req", "--type", "rsa", "--in", key, "--dn", "CN=swan-2", "--outform", "pem", out=out)

    def url(listener, label=""):
        return "https://127.0.0.1:%d%s" % (server.tls_port(listener), label)
    common = ("--est", "--cacert", server.ca_file(), "--outform", "pem")
    pki(*common, "--url", url("https"), "--in", "req.pem", "--userpass", "x:wrong-challenge", code=1)
    pki(*common, "--url", url("https"), "--in", "req.pem", "--userpass", "x:" + CHALLENGE, out="cert.pem")
    first = pki.certificate("cert.pem")
    assert first.subject.rfc4514_string() == "CN=swan-2" and server.ocsp(first) == "good"
    pki(*common, "--url", url("est"), "--in", "new-req.pem", "--cert", "cert.pem", "--key", "key.pem", out="renewed.pem")
    second = pki.certificate("renewed.pem")
    assert second.subject == first.subject and second.public_key() != first.public_key() and server.ocsp(second) == "good"
    server.control("revoke", serial="%X" % first.serial_number)
    pki(*common, "--url", url("est"), "--in", "req.pem", "--cert", "cert.pem", "--key", "key.pem", code=1)
    eventually(lambda: "est.refused" in server.log(), "it is in the log")
