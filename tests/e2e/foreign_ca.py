"""Another CA, run by `openssl ca` in a folder of its own: certificates, revocations, lists, and the certificate for our
responder."""

import pathlib
import re

from cryptography import x509
from harness import openssl

CONFIG = """
[ca]
default_ca = this
[this]
dir = %(dir)s
database = $dir/index.txt
new_certs_dir = $dir
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
default_days = 365
default_crl_days = 7
policy = any
unique_subject = no
crl_extensions = crl
[any]
commonName = supplied
[crl]
%(crl)s
"""


class ForeignCA:
    def __init__(self, folder, name="Other CA", crl="authorityKeyIdentifier = keyid", rolled_over=False):
        """With `rolled_over` the CA whose files are in the folder gets a new key, and goes on."""
        self.dir, self.name = pathlib.Path(folder), name
        self.dir.mkdir(exist_ok=rolled_over)
        (self.dir / "ca.cnf").write_text(CONFIG % {"dir": self.dir, "crl": crl})
        if not rolled_over:
            (self.dir / "index.txt").write_text("")
            (self.dir / "serial").write_text("2A00\n")
            (self.dir / "crlnumber").write_text("01\n")
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-subj",
                 "/CN=" + name, "-days", "3650", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", "ca.pem")

    def run(self, *arguments, **more):
        return openssl(*arguments, cwd=self.dir, **more)

    def path(self, name):
        return str(self.dir / name)

    # ---- certificates ----
    def issue(self, cn):
        """NAME.pem, the certificate."""
        self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", cn + ".key", "-subj",
                 "/CN=" + cn, "-out", cn + ".csr")
        self.run("ca", "-config", "ca.cnf", "-batch", "-notext", "-in", cn + ".csr", "-out", cn + ".pem")
        return x509.load_pem_x509_certificate((self.dir / (cn + ".pem")).read_bytes())

    def revoke(self, cn, reason="keyCompromise"):
        self.run("ca", "-config", "ca.cnf", "-revoke", cn + ".pem", "-crl_reason", reason)

    def unrevoke(self, cn):
        """What `openssl ca` cannot: the certificate's line is a valid one's again."""
        lines = (self.dir / "index.txt").read_text().splitlines()
        lines = [re.sub(r"^R\t([^\t]*)\t[^\t]*\t", r"V\t\1\t\t", line) if line.endswith("/CN=" + cn) else line for line in lines]
        (self.dir / "index.txt").write_text("\n".join(lines) + "\n")

    # ---- lists ----
    def crl(self, *more, number=None, form="DER"):
        if number is not None:
            (self.dir / "crlnumber").write_text("%04X\n" % number)
        self.run("ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem", *more)
        self.run("crl", "-in", "crl.pem", "-outform", form, "-out", "crl.out")
        return (self.dir / "crl.out").read_bytes()

    # ---- our responder ----
    def adopt(self, server, *certificates):
        """The server knows the CA and these certificates, and has a responder certificate of it."""
        server.cli("import", self.path("ca.pem"), *[self.path(cn + ".pem") for cn in certificates])
        (self.dir / "responder.csr").write_text(server.cli("ocsp", "csr", self.name).stdout)
        (self.dir / "responder.ext").write_text("extendedKeyUsage=OCSPSigning\nnoCheck=ignored\n")
        self.run("x509", "-req", "-in", "responder.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "99", "-days", "30",
                 "-extfile", "responder.ext", "-out", "responder.pem")
        server.cli("ocsp", "install", self.path("responder.pem"))
        return self

    def ask(self, server, cn):
        """What `openssl ocsp` makes of the answer, which it has verified: (status, reason or None)."""
        done = self.run("ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-cert", cn + ".pem", "-url", server.url + "/ocsp",
                        "-no_nonce", code=None)
        if "Response verify OK" not in done.stderr:
            return re.search(r"Responder Error: (\w+)", done.stdout + done.stderr).group(1), None
        status = re.search(re.escape(cn) + r"\.pem: (\w+)", done.stdout).group(1)
        reason = re.search(r"Reason: (\w+)", done.stdout)
        return status, reason.group(1) if reason else None
