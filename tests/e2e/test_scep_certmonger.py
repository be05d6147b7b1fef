"""certmonger as people run it, in a session of its own: enrolls by the challenge, renews by its certificate without one."""

import os
import re
import subprocess

import pytest
import scep_client
from cryptography import x509
from harness import CHALLENGE, PEM, eventually, openssl

SESSION = "/usr/lib/certmonger/certmonger-session"


class Certmonger:
    """A message bus and a certmonger on it. Its folders are below `home`."""

    def __init__(self, home):
        config = home / ".config"
        (config / "certmonger").mkdir(parents=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(config), "XDG_RUNTIME_DIR": str(home)}
        self.bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address"], env=self.env, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.env["DBUS_SESSION_BUS_ADDRESS"] = self.bus.stdout.readline().strip()
        self.log = open(home / "certmonger.log", "wb")
        self.daemon = subprocess.Popen([SESSION, "-n", "-d", "2"], env=self.env, cwd=home, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        eventually(lambda: self.getcert("list-cas", check=False).returncode == 0, "certmonger is on the bus")

    def stop(self):
        for process in (self.daemon, self.bus):
            process.terminate()
            process.wait(10)
        self.bus.stdout.close()
        self.log.close()

    def getcert(self, command, *arguments, check=True):
        done = subprocess.run(["getcert", command, "-s", *arguments], env=self.env, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, (command, arguments, done.stdout, done.stderr)
        return done

    def status(self, name):
        """The request's state and certmonger's own word on an error."""
        text = self.getcert("list", "-i", name).stdout
        error = re.search(r"ca-error: (.*)", text)
        return re.search(r"status: (\S+)", text).group(1), error and error.group(1)


@pytest.fixture
def certmonger(tmp_path):
    home = tmp_path / "certmonger"
    home.mkdir()
    running = Certmonger(home)
    yield running
    running.stop()


@pytest.mark.parametrize("key_type", ["rsa2048", "ec-p256"])
def test_certmonger_enrolls_and_renews(make_server, certmonger, tmp_path, key_type):
    server = make_server(key_type=key_type)
    url = server.url + "/static"
    ca = scep_client.get_ca_cert(url)
    for name, certificate in (("ca", ca.issuer), ("ra", ca.recipient)):
        (tmp_path / (name + ".pem")).write_bytes(certificate.public_bytes(PEM))
    certmonger.getcert("add-scep-ca", "-c", "revline", "-u", url, "-N", str(tmp_path / "ca.pem"), "-r", str(tmp_path / "ra.pem"))
    file, key_file = tmp_path / "host.pem", tmp_path / "host.key"

    def settled(other_than=None):
        """The certificate once certmonger has one that is another than this."""
        def arrived():
            state, error = certmonger.status("host")
            assert state != "CA_REJECTED", error
            if state != "MONITORING":
                return None
            got = x509.load_pem_x509_certificate(file.read_bytes())
            return got if got != other_than else None
        got = eventually(arrived, "certmonger has the certificate")
        openssl("verify", "-x509_strict", "-CAfile", server.ca_file(), str(file))
        assert server.ocsp(got) == "good" and got.subject.rfc4514_string() == "CN=host"
        assert got.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == ["host.example"]
        return got

    certmonger.getcert("request", "-c", "revline", "-I", "host", "-f", str(file), "-k", str(key_file), "-N", "CN=host", "-D", "host.example",
                       "-L", CHALLENGE)
    first = settled()
    # Without the challenge from here on: certmonger signs with the certificate that it has.
    certmonger.getcert("resubmit", "-i", "host", "-L", "")
    second = settled(first)
    assert second.public_key().public_numbers() == first.public_key().public_numbers()
    certmonger.getcert("rekey", "-i", "host", "-L", "")
    third = settled(second)
    assert third.public_key().public_numbers() != second.public_key().public_numbers()
    issued = re.findall(r"event=scep\.issued .*serial=(\w+) renews=(\S+) repeated=false", server.log())
    assert [(int(new, 16), old) for new, old in issued] == [
        (first.serial_number, "-"), (second.serial_number, issued[0][0]), (third.serial_number, issued[1][0])]
    # On hold it does not renew.
    server.control("revoke", serial="%X" % third.serial_number, reason="certificateHold")
    certmonger.getcert("resubmit", "-i", "host", "-L", "")
    eventually(lambda: "is on hold" in server.log(), "the renewal is refused")
    eventually(lambda: certmonger.status("host")[1], "certmonger tells of it")
    assert x509.load_pem_x509_certificate(file.read_bytes()) == third
