"""Programs of others that ask for a certificate's status before they trust it: OpenSSL, GnuTLS, nginx, stunnel, FreeRADIUS.

Each is a class; `check(credential)` lets it decide once and says how it decided and why, by the program's own words.
Unless its name says otherwise it asks at the address that the certificate names (AIA). Servers run in the foreground as
the user of the tests, with configuration, files and ports of their own; tests/run unpacks them, nothing is installed.
"""

import functools
import glob
import os
import pathlib
import re
import shutil
import socket
import subprocess

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from harness import PEM, ROOT, eventually

ACCEPTED, REVOKED, UNKNOWN, NO_ANSWER = "accepted", "revoked", "unknown", "no answer"
UNPACKED = ROOT / "build/checkers"
SECRET = "radius-secret-0003"


# ---- programs ----
def program(name):
    """A program that is unpacked, or else installed."""
    folders = [str(root / folder) for root in (UNPACKED, pathlib.Path("/")) for folder in ("usr/bin", "usr/sbin")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    assert found, "no %s in %s: `bash tests/run e2e` unpacks it" % (name, UNPACKED)
    return found


def beside(path, part):
    """A folder of the package that the program at `path` came with."""
    return path.replace(re.search(r"usr/s?bin/[^/]+$", path).group(), part)


def environment():
    parts = ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "usr/lib/freeradius")
    libraries = [path for part in parts for path in glob.glob(str(UNPACKED / part))]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def run(*command):
    """The finished process; its standard output and error as one text, as a person would see them."""
    return subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- certificates with their keys, as files ----
@functools.lru_cache(None)
def key_of(key_type):
    return rsa.generate_private_key(65537, 2048) if key_type == "rsa2048" else ec.generate_private_key(ec.SECP256R1())


class Credential:
    """A certificate that Revline signed, and its key, of the CA's kind: `cert` and `key` are paths."""

    def __init__(self, server, folder, name, profile="client"):
        key = key_of(server.settings["REVLINE_CA_KEY"])
        self.name = name
        self.certificate, self.serial = server.sign(name, profile, key=key)
        self.cert, self.key = str(folder / (name + ".pem")), str(folder / (name + ".key"))
        pathlib.Path(self.cert).write_bytes(self.certificate.public_bytes(PEM))
        pathlib.Path(self.key).write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Checker:
    """Trusts the CA; has a folder, and a certificate of its own for when it is a server. `url` is the responder's."""

    def __init__(self, ca_file, url, identity, folder):
        self.ca, self.url, self.identity, self.folder = ca_file, url, identity, pathlib.Path(folder)
        self.start()

    def start(self):
        pass

    def stop(self):
        pass

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


class Service(Checker):
    """A checker that is a server of its own. `reasons`: what its log says for each verdict."""

    def launch(self, *command, ready):
        """Starts it and waits until its log matches `ready`."""
        self.log_path = self.folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, env=environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(lambda: self.running() and re.search(ready, self.log()), "%s is ready" % command[0])
        except AssertionError:
            self.stop()
            raise

    def running(self):
        assert self.process.poll() is None, "ended with %s:\n%s" % (self.process.returncode, self.log()[-4000:])
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def why(self, since):
        """The reason that the log gives from `since` on; it may be written after the client was told."""
        def said():
            return next((verdict for verdict, words in self.reasons.items() if re.search(words, self.log()[since:])), None)
        try:
            return eventually(said, "a reason", deadline=10)
        except AssertionError:
            raise AssertionError("no known reason for the refusal in:\n" + self.log()[since:]) from None


# ---- clients that ask and tell ----
class OpensslOcsp(Checker):
    """`openssl ocsp`, as scripts use it."""

    def check(self, credential):
        url = run("openssl", "x509", "-in", credential.cert, "-noout", "-ocsp_uri").stdout.strip()
        done = run("openssl", "ocsp", "-issuer", self.ca, "-CAfile", self.ca, "-cert", credential.cert, "-url", url)
        if done.returncode != 0:
            assert "Connection refused" in done.stdout, done.stdout
            return NO_ANSWER
        assert "Response verify OK" in done.stdout and "no nonce" not in done.stdout, done.stdout
        status = re.search(re.escape(credential.cert) + r": (\w+)", done.stdout).group(1)
        return {"good": ACCEPTED, "revoked": REVOKED, "unknown": UNKNOWN}[status]


class Ocsptool(Checker):
    """GnuTLS, without a nonce."""

    arguments = ()

    def check(self, credential):
        done = run(program("ocsptool"), "--ask", *self.arguments, "--load-cert", credential.cert, "--load-issuer", self.ca,
                   "--load-trust", self.ca, "--outfile", str(self.folder / "answer"))
        status = re.search(r"Certificate Status: (\w+)", done.stdout)
        if not status:
            assert "Connection refused" in done.stdout, done.stdout
            return NO_ANSWER
        assert "Verifying OCSP Response: Success." in done.stdout, done.stdout
        return {"good": ACCEPTED, "revoked": REVOKED, "unknown": UNKNOWN}[status.group(1)]


class OcsptoolWithNonce(Ocsptool):
    arguments = ("--nonce",)


# ---- servers that ask about their clients ----
NGINX = """
daemon off;
worker_processes 1;
pid %(folder)s/pid;
error_log stderr info;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  server {
    listen 127.0.0.1:%(port)d ssl;
    ssl_certificate %(cert)s;
    ssl_certificate_key %(key)s;
    location / { return 200 welcome; }
    %(tls)s
  }
}
"""


class NginxServer(Service):
    def start(self):
        self.port = free_port()
        # curl finds the issuer of a stapled answer only in what the server sends
        chain = self.file("chain.pem", "".join(pathlib.Path(p).read_text() for p in (self.identity.cert, self.ca)))
        values = {"folder": self.folder, "port": self.port, "cert": chain, "key": self.identity.key, "ca": self.ca}
        config = self.file("nginx.conf", NGINX % {**values, "tls": self.tls % values})
        self.launch(program("nginx"), "-p", str(self.folder), "-e", "stderr", "-c", config, ready="start worker process ")

    def curl(self, *arguments):
        return run("curl", "-sS", "--cacert", self.ca, "--connect-to", "::127.0.0.1:%d" % self.port, *arguments,
                   "https://%s/" % self.identity.name)


class Nginx(NginxServer):
    """`ssl_ocsp on`: client certificates."""

    tls = "ssl_client_certificate %(ca)s; ssl_verify_client on; ssl_ocsp on; ssl_ocsp_cache off;"
    reasons = {REVOKED: "verify error: certificate revoked", UNKNOWN: "verify error: certificate status unknown",
               NO_ANSWER: "verify error: certificate status request failed"}

    def check(self, credential):
        since = len(self.log())
        done = self.curl("--cert", credential.cert, "--key", credential.key)
        return ACCEPTED if done.stdout == "welcome" else self.why(since)


class StaplingNginx(NginxServer):
    """`ssl_stapling on`: shows its clients our answer about its own certificate."""

    tls = "ssl_trusted_certificate %(ca)s; ssl_stapling on; ssl_stapling_verify on;"

    def s_client(self):
        return run("openssl", "s_client", "-connect", "127.0.0.1:%d" % self.port, "-status", "-CAfile", self.ca).stdout

    def gnutls_cli(self):
        return run(program("gnutls-cli"), "--x509cafile", self.ca, "--verify-hostname", self.identity.name, "-p", str(self.port),
                   "127.0.0.1").stdout


STUNNEL = """
foreground = yes
pid =
debug = info
[checked]
accept = 127.0.0.1:%(port)d
exec = /usr/bin/printf
execArgs = printf welcome
cert = %(cert)s
key = %(key)s
CAfile = %(ca)s
verifyChain = yes
OCSPaia = yes
OCSPnonce = yes
"""


class Stunnel(Service):
    """`OCSPaia = yes` with a nonce: client certificates. `openssl s_client` is the client."""

    reasons = {REVOKED: "OCSP: Status: revoked", UNKNOWN: "OCSP: Status: unknown", NO_ANSWER: "Connection refused"}

    def start(self):
        self.port = free_port()
        config = self.file("stunnel.conf", STUNNEL % {
            "port": self.port, "cert": self.identity.cert, "key": self.identity.key, "ca": self.ca})
        self.launch(program("stunnel4"), config, ready=r"bound to 127\.0\.0\.1")

    def check(self, credential):
        since = len(self.log())
        done = run("openssl", "s_client", "-quiet", "-connect", "127.0.0.1:%d" % self.port, "-CAfile", self.ca, "-verify_return_error",
                   "-cert", credential.cert, "-key", credential.key)
        return ACCEPTED if "welcome" in done.stdout else self.why(since)


# ---- network access control ----
RADIUSD = """
name = radiusd
libdir = %(libdir)s
logdir = %(folder)s
run_dir = %(folder)s
max_request_time = 30
cleanup_delay = 2
proxy_requests = no
security {
  reject_delay = 0
  status_server = no
}
client supplicant {
  ipaddr = 127.0.0.1
  secret = %(secret)s
}
modules {
  eap {
    default_eap_type = tls
    tls-config checked {
      private_key_file = %(key)s
      certificate_file = %(cert)s
      ca_file = %(ca)s
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      cache {
        enable = no
      }
      ocsp {
        enable = yes
        %(ocsp)s
        timeout = 5
        softfail = no
      }
    }
    tls {
      tls = checked
    }
  }
}
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = %(port)d
  }
  authorize {
    eap
  }
  authenticate {
    eap
  }
}
"""
SUPPLICANT = """
network={
  key_mgmt=WPA-EAP
  eap=TLS
  identity="%(name)s"
  ca_cert="%(ca)s"
  client_cert="%(cert)s"
  private_key="%(key)s"
}
"""


class FreeRadius(Service):
    """EAP-TLS with a nonce, as at a switch port; eapol_test is supplicant and switch."""

    ocsp = "override_cert_url = no\nuse_nonce = yes"
    reasons = {REVOKED: "ocsp: Cert status: revoked", UNKNOWN: "ocsp: Cert status: unknown", NO_ANSWER: "ocsp: Couldn't get OCSP response"}

    def start(self):
        self.port = free_port(socket.SOCK_DGRAM)
        radiusd = program("freeradius")
        self.file("radiusd.conf", RADIUSD % {
            "libdir": beside(radiusd, "usr/lib/freeradius"), "folder": self.folder, "secret": SECRET, "port": self.port,
            "cert": self.identity.cert, "key": self.identity.key, "ca": self.ca, "ocsp": self.ocsp % {"url": self.url}})
        self.launch(radiusd, "-X", "-d", str(self.folder), "-D", beside(radiusd, "usr/share/freeradius"), ready="Ready to process requests")

    def check(self, credential):
        since = len(self.log())
        config = self.file("supplicant.conf", SUPPLICANT % {
            "name": credential.name, "ca": self.ca, "cert": credential.cert, "key": credential.key})
        done = run(program("eapol_test"), "-c", config, "-a", "127.0.0.1", "-p", str(self.port), "-s", SECRET, "-t", "20")
        if done.returncode == 0:
            assert "code=2 (Access-Accept)" in done.stdout
            return ACCEPTED
        assert "code=3 (Access-Reject)" in done.stdout, done.stdout[-2000:]
        return self.why(since)


class FreeRadiusWithUrl(FreeRadius):
    """The responder's address from the configuration, without a nonce."""

    ocsp = 'override_cert_url = yes\nurl = "%(url)s"\nuse_nonce = no'
