"""What every end-to-end and crash test stands on: one server process with a data folder of its own, and clients.

Nothing here sleeps to wait for something: `eventually` polls a condition until its deadline.
"""

import base64
import contextlib
import datetime
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "fakes"))

import graph as fake_graph  # noqa: E402
import intune as fake_intune  # noqa: E402
import jamf as fake_jamf  # noqa: E402
from remote import Remote  # noqa: E402

BINARY = os.environ.get("REVLINE_BIN", str(ROOT / "build/debug/revline"))
RELEASE_BINARY = os.environ.get("REVLINE_RELEASE_BIN", str(ROOT / "build/release/revline"))
CHALLENGE = "static-challenge-0001"
AAD_CHALLENGE = "static-aad-challenge-0002"
JAMF_CHALLENGE = "jamf-challenge-0003"
DEADLINE = 30  # seconds; generous, because two cores carry everything
DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def eventually(condition, what, deadline=DEADLINE, pause=0.02):
    """The condition's first true value; fails with what it last was after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %s s: %s (last: %r)" % (deadline, what, value))
        time.sleep(pause)


class CommandFailed(Exception):
    """The control socket's refusal."""


class Revline:
    """A server. `settings` are environment variables; the rest of the environment has no REVLINE_ or AZURE_ names."""

    def __init__(self, data_dir, settings=None, binary=None):
        self.data_dir, self.binary = pathlib.Path(data_dir), binary or BINARY
        self.settings = {"REVLINE_DATA_DIR": str(data_dir), "REVLINE_HTTP_LISTEN": "127.0.0.1:0", "REVLINE_CA_KEY": "ec-p256",
                         "REVLINE_STATIC_CHALLENGE": CHALLENGE, "REVLINE_STATIC_AAD_CHALLENGE": AAD_CHALLENGE,
                         "REVLINE_WORKERS": "2", "REVLINE_LOG_LEVEL": "debug", **(settings or {})}
        self.process, self.port, self.starts = None, None, 0
        self.log_path = self.data_dir.with_name(self.data_dir.name + ".log")

    @property
    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REVLINE_", "AZURE_"))}
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        return {**env, **{k: v for k, v in self.settings.items() if v is not None}}

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def tls_port(self, listener="https"):
        """Of REVLINE_HTTPS_LISTEN, or with "est" of REVLINE_EST_LISTEN, as the last start bound it."""
        return int(re.search(r'%s_port"?[=:](\d+)' % listener, self.log()[self.log_from:]).group(1))

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- life ----
    def spawn(self, *arguments):
        """Starts without waiting; a later start of the same server appends to the log."""
        self.log_from = len(self.log())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, "serve", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, cwd=self.data_dir.parent)
        self.starts += 1
        return self

    def start(self, *arguments):
        self.spawn(*arguments)
        self.port = int(eventually(self._ready, "the server says serve.ready", deadline=60).group(1))
        return self

    def _ready(self):
        text = self.log()[self.log_from:]
        if self.process.poll() is not None:
            raise AssertionError("the server ended with %s:\n%s" % (self.process.returncode, text[-4000:]))
        return re.search(r'serve\.ready"?[ ,]"?http_port"?[=:](\d+)', text)

    def stop(self, within=30):
        """SIGTERM; fails when the exit code or the log shows a leak, a race or any other report of a sanitizer."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(within)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait(10)
            raise AssertionError("the server did not stop within %s s:\n%s" % (within, self.log()[-4000:])) from None
        self.check_log()
        assert code == 0, "exit code %s:\n%s" % (code, self.log()[-4000:])

    def check_log(self):
        text = self.log()
        report = re.search(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:).*", text, re.S)
        assert not report, report.group(0)[:6000]

    def kill(self):
        """kill -9"""
        process, self.process = self.process, None
        process.kill()
        process.wait()
        self.check_log()

    # ---- commands ----
    def control(self, command, **arguments):
        """One command over the control socket, without the cost of a process."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(str(self.data_dir / "control.sock"))
            s.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with s.makefile("rb") as f:
                line = f.readline()
        envelope = json.loads(line)
        if "ok" not in envelope:
            raise CommandFailed(envelope["message"])
        return envelope["ok"]

    def cli(self, *arguments, code=0, settings=None):
        """Runs a command as a person does; the finished process. `code` is the exit code it must have."""
        done = subprocess.run([self.binary, *arguments], env={**self.environment, **(settings or {})}, cwd=self.data_dir.parent,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, "%s: exit code %s, expected %s\n%s%s" % (
            arguments, done.returncode, code, done.stdout, done.stderr)
        return done

    def cli_json(self, *arguments, **more):
        return json.loads(self.cli(*arguments, "--json", **more).stdout)

    def sign(self, cn, profile="client", upn=None, key=None, ou=None, **more):
        """A certificate from a CSR through the control socket: (certificate, serial as the commands write it)."""
        reply = self.control("sign", csr=make_csr(key or client_key(), cn, upn, ou), profile=profile, **more)
        return x509.load_pem_x509_certificate(reply["certificate"].encode()), reply["serial"]

    def sign_for_device(self, device):
        return self.sign(device["deviceId"], "static-aad")

    def sign_for_user(self, user):
        return self.sign("someone", "static-aad", upn=user["userPrincipalName"])

    def status_of(self, serial):
        return self.control("show", serial=serial)["status"]

    def all_certificates(self):
        items, after = [], {}
        while True:
            page = self.control("list", limit=1000, **after)
            items += page["items"]
            if not page["next"]:
                return items
            after = {"after": page["next"]}

    def statuses(self):
        return {c["serial"]: (c["status"], c["reason"], tuple(c["why"])) for c in self.all_certificates()}

    def sync(self, source=None):
        """What /probe says of the upstreams that are watched, or of one source."""
        parts = self.control("status")["parts"]["sync"]
        return parts[source] if source else {name: s for name, s in parts.items() if s["state"] != "off" and name not in ("reweigh", "guard")}

    def sync_round(self, full=False):
        """Asks for a round of every source and waits until one that began after this call ended well."""
        asked = self.control("sync", full=full)["asked"]
        eventually(lambda: all(s["asked"]["answeredWell"] >= asked[name] for name, s in self.sync().items()),
                   "every source made a round; now: %s" % (self.sync(),))

    # ---- clients ----
    def http(self, method, path, body=None, headers=None):
        """(status, headers, body) over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    @functools.cached_property
    def ca(self):
        return x509.load_der_x509_certificate(self.http("GET", "/ca")[2])

    def ca_file(self):
        path = self.data_dir.with_name(self.data_dir.name + "-ca.pem")
        path.write_bytes(self.ca.public_bytes(PEM))
        return str(path)

    def ocsp(self, certificate, **more):
        """What a python-cryptography client makes of the answer, its signature checked: 'good', 'hold', 'revoked', 'unknown'."""
        with OcspClient(self, **more) as client:
            return client.ask(certificate)

    def rss(self):
        """Resident memory in KiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path("/proc/%d/status" % self.pid).read_text()).group(1))

    def metrics(self):
        return parse_metrics(self.http("GET", "/metrics")[2].decode())


# ---- certificate requests ----
@functools.lru_cache(None)
def client_key():
    """One key for the certificates of tests that do not care."""
    return ec.generate_private_key(ec.SECP256R1())


def utf8_der(text):
    octets = text.encode()
    assert len(octets) < 128
    return bytes([0x0c, len(octets)]) + octets


def make_csr(key, cn, upn=None, ou=None):
    names = [x509.NameAttribute(NameOID.COMMON_NAME, cn)] + [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in [ou] if unit]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if upn:
        name = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), utf8_der(upn))
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM).decode()


# ---- OCSP ----
def ocsp_request(certificate, issuer, algorithm=None, nonce=None):
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm or hashes.SHA1())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(DER)


def verify_ocsp_signature(response, issuer):
    """The responder's certificate is the issuer's delegate (RFC 6960 §4.2.2.2) and has signed the answer."""
    responder = response.certificates[0] if response.certificates else issuer
    if response.certificates:
        check_signature(issuer.public_key(), responder.signature, responder.tbs_certificate_bytes, responder.signature_hash_algorithm)
        usages = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING in usages
        assert responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
        now = datetime.datetime.utcnow()
        assert responder.not_valid_before <= now <= responder.not_valid_after
    check_signature(responder.public_key(), response.signature, response.tbs_response_bytes, response.signature_hash_algorithm)


def check_signature(public_key, signature, data, algorithm):
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, data, ec.ECDSA(algorithm))
    else:
        public_key.verify(signature, data, padding.PKCS1v15(), algorithm)


def ocsp_word(response):
    assert response.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL, response.response_status
    if response.certificate_status == ocsp.OCSPCertStatus.REVOKED:
        return "hold" if response.revocation_reason == x509.ReasonFlags.certificate_hold else "revoked"
    return {ocsp.OCSPCertStatus.GOOD: "good", ocsp.OCSPCertStatus.UNKNOWN: "unknown"}[response.certificate_status]


class MovedClock:
    """The wall clock of one server, before its start: `moved_clock.c`, preloaded."""

    def __init__(self, server):
        self.path = server.data_dir.parent / "clock"
        self.path.write_bytes(bytes(8))
        server.settings.update({"LD_PRELOAD": str(pathlib.Path(BINARY).resolve().parent / "tests/moved_clock.so"),
                                "MOVED_CLOCK": str(self.path), "ASAN_OPTIONS": "detect_leaks=1:verify_asan_link_order=0"})

    def move(self, seconds):
        with self.path.open("r+b") as f:
            f.write(struct.pack("<q", seconds))


class OcspClient:
    """A kept-alive connection that asks about certificates."""

    def __init__(self, server, algorithm=None, verify=True):
        self.issuer, self.algorithm, self.verify = server.ca, algorithm, verify
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.close()

    def post(self, body):
        self.connection.request("POST", "/ocsp", body, {"Content-Type": "application/ocsp-request"})
        reply = self.connection.getresponse()
        assert reply.status == 200, reply.status
        return ocsp.load_der_ocsp_response(reply.read())

    def ask(self, certificate):
        response = self.post(ocsp_request(certificate, self.issuer, self.algorithm))
        if self.verify:
            verify_ocsp_signature(response, self.issuer)
        assert response.serial_number == certificate.serial_number
        return ocsp_word(response)


def openssl(*arguments, code=0, text=True, **more):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=text, timeout=60, **more)
    if code is not None:
        assert done.returncode == code, "openssl %s: %s\n%s%s" % (" ".join(arguments), done.returncode, done.stdout, done.stderr)
    return done


def openssl_ocsp(server, certificate, directory, *more):
    """The status line that `openssl ocsp` prints after it verified the answer: 'good', 'revoked', 'unknown', with the reason."""
    path = pathlib.Path(directory) / "asked.pem"
    path.write_bytes(certificate.public_bytes(PEM))
    ca = server.ca_file()
    done = openssl("ocsp", "-issuer", ca, "-cert", str(path), "-url", server.url + "/ocsp", "-CAfile", ca, *more)
    assert "Response verify OK" in done.stderr, done.stderr
    status = re.search(r"asked\.pem: (\w+)", done.stdout).group(1)
    reason = re.search(r"Reason: (\w+)", done.stdout)
    return (status, reason.group(1)) if reason else status


def base64_path(octets):
    """The GET form of RFC 6960 appendix A: base64, percent-encoded."""
    return base64.b64encode(octets).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


# ---- metrics ----
def parse_metrics(text):
    """Prometheus text: {name{labels}: value}; fails on a line that is none."""
    out = {}
    for line in text.splitlines():
        if not line or line.startswith("# HELP ") or line.startswith("# TYPE "):
            continue
        match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?) (-?[0-9.eE+-]+|\+Inf|NaN)', line)
        assert match, "no Prometheus sample: %r" % line
        assert match.group(1) not in out, "twice: %s" % match.group(1)
        out[match.group(1)] = float(match.group(2))
    return out


# ---- sync settings ----
def graph_settings(graph, **more):
    """A server that watches this fake, quickly. `localhost` so that a host name in another case means the same."""
    return {"AZURE_TENANT_ID": fake_graph.TENANT, "AZURE_CLIENT_ID": fake_graph.CLIENT_ID,
            "AZURE_CLIENT_SECRET": fake_graph.CLIENT_SECRET, "AZURE_AUTHORITY_HOST": "http://localhost:%d" % graph.port,
            "REVLINE_GRAPH_URL": "http://localhost:%d" % graph.port,
            "REVLINE_INTUNE_URL": "http://localhost:%d%s" % (graph.port, fake_intune.API), "REVLINE_SYNC_ENTRA_INTERVAL": "100ms", "REVLINE_SYNC_INTUNE_INTERVAL": "0",
            "REVLINE_SYNC_USER_RISK_PACE": "0",
            "REVLINE_SYNC_RETRY_MAX": "300ms", "REVLINE_SYNC_REQUEST_TIMEOUT": "5s", **more}


def jamf_settings(jamf, **more):
    """A server that watches this fake of Jamf Pro, quickly, and has its SCEP profile."""
    return {"REVLINE_JAMF_URL": "http://localhost:%d/" % jamf.port, "REVLINE_JAMF_CLIENT_ID": fake_jamf.CLIENT_ID,
            "REVLINE_JAMF_CLIENT_SECRET": fake_jamf.CLIENT_SECRET, "REVLINE_JAMF_CHALLENGE": JAMF_CHALLENGE,
            "REVLINE_SYNC_JAMF_INTERVAL": "100ms", "REVLINE_SYNC_RETRY_MAX": "300ms", "REVLINE_SYNC_REQUEST_TIMEOUT": "5s", **more}


# ---- data folders ----
@contextlib.contextmanager
def initialised_folder(parent, key_type):
    """A data folder with a CA in it, made once and copied by the tests: key generation is slow."""
    folder = pathlib.Path(parent) / ("template-" + key_type)
    server = Revline(folder, {"REVLINE_CA_KEY": key_type})
    server.cli("init")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def one_round(graph):
    """What is changed inside is seen by one and the same round of entra-device."""
    seen = len(graph.requests())
    graph.switch("hold", on="devices.delta")
    graph.wait(1, since=seen, on="devices.delta", held=True)
    yield
    graph.clear("hold")
