"""The same by EST, which has no transactions: there it is the request itself that comes again."""

import base64
import dataclasses
import random
import ssl
import urllib.error
import urllib.request

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from harness import CHALLENGE, PEM
from test_est import EST, csr_der, lines
from test_scep_kill import Client, Fleet

BASIC = "Basic " + base64.b64encode(("device:" + CHALLENGE).encode()).decode()


@dataclasses.dataclass
class Answered:
    certificate: object
    pki_status: str = "SUCCESS"


def ask(url, operation, name, key, chain, ca, transaction_id):
    """`chain`: the file of the certificate that is renewed and its key, or None. Each request's signature is another."""
    context = ssl.create_default_context(cafile=ca)
    if chain:
        context.load_cert_chain(chain)
    request = urllib.request.Request(url + operation, lines(csr_der(key, name)), {} if chain else {"Authorization": BASIC})
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return Answered(pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.read()))[0])
    except urllib.error.HTTPError as error:
        assert error.code == 503, (error.code, error.read())  # it is being stopped
        raise


class EstClient(Client):
    def enroll(self, name):
        return self.until_answered(name, ask, "simpleenroll", name, self.signer.key, None)

    def renew(self, name, certificate):
        chain = self.fleet.folder / (name + ".pem")
        chain.write_bytes(certificate.public_bytes(PEM) + self.signer.key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return self.until_answered(name + "-renewal", ask, "simplereenroll", name, self.signer.key, chain)


def test_no_certificate_is_lost_and_none_is_made_twice(make_server, tmp_path):
    rng = random.Random("est kills")
    server = make_server(**EST)
    fleet = Fleet(server, lambda: "https://127.0.0.1:%d/.well-known/est/" % server.tls_port("est"), EstClient, server.ca_file())
    fleet.folder = tmp_path
    fleet.kill_again_and_again(rng)
    fleet.check_certificates()
    made = len(server.all_certificates())
    assert len(list(fleet.ask_again(rng))) == 20 and len(server.all_certificates()) == made
