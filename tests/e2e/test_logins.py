"""Every way to log in to Entra ID, each against what its endpoint checks, and what is said when it fails."""

import base64
import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from harness import DER, PEM, eventually
from logins import APP_SERVICE_PATH, APP_SERVICE_SECRET, IMDS_PATH, USER_ASSIGNED

NO_SECRET = {"AZURE_CLIENT_SECRET": None}


class Identity:
    """An application's key and certificate."""

    def __init__(self, key=None):
        self.key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "revline application")])
        now = datetime.datetime.utcnow()
        self.certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
                            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                            .not_valid_after(now + datetime.timedelta(days=1)).sign(self.key, hashes.SHA256()))

    def pem(self, password=None):
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.certificate.public_bytes(PEM) + self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)

    def pfx(self, password):
        return pkcs12.serialize_key_and_certificates(b"app", self.key, self.certificate, None,
                                                     serialization.BestAvailableEncryption(password))

    @property
    def known(self):
        """What the fake has to know of it."""
        numbers = self.key.public_key().public_numbers()
        digest = hashlib.sha256(self.certificate.public_bytes(DER)).digest()
        return {"n": "%x" % numbers.n, "e": numbers.e, "x5t": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}


@pytest.fixture(scope="module")
def identity():
    return Identity()


def has_synced(server):
    server.sync_round()
    return True


def says(server, part):
    eventually(lambda: part in (server.sync("entra-device")["lastError"] or ""), "entra-device says %r; now %s" % (part, server.sync("entra-device")))


def write(path, octets):
    new = path.with_name(path.name + ".new")
    new.write_bytes(octets)
    new.rename(path)


# ---- certificate ----
@pytest.mark.parametrize("form", ["pem", "pem with password", "pkcs12"])
def test_a_certificate(synced, graph, identity, tmp_path, form):
    path, password = tmp_path / "app", None if form == "pem" else "pass word"
    write(path, identity.pfx(b"pass word") if form == "pkcs12" else identity.pem(password.encode() if password else None))
    graph.switch("client_certificate", identity.known)
    server = synced(**NO_SECRET, AZURE_CLIENT_CERTIFICATE_PATH=str(path), AZURE_CLIENT_CERTIFICATE_PASSWORD=password)
    assert has_synced(server)


def test_the_chain_goes_along(synced, graph, identity, tmp_path):
    above = Identity()
    write(tmp_path / "app.pem", identity.pem() + above.certificate.public_bytes(PEM))
    chain = [base64.b64encode(i.certificate.public_bytes(DER)).decode() for i in (identity, above)]
    graph.switch("client_certificate", {**identity.known, "x5c": chain})
    server = synced(**NO_SECRET, AZURE_CLIENT_CERTIFICATE_PATH=str(tmp_path / "app.pem"), AZURE_CLIENT_SEND_CERTIFICATE_CHAIN="true")
    assert has_synced(server)


def test_a_renewed_certificate_is_used_at_the_next_token(synced, graph, identity, tmp_path):
    path, second = tmp_path / "app.pem", Identity()
    write(path, identity.pem())
    graph.switch("client_certificate", identity.known)
    graph.switch("token_uses", 3)  # so that tokens are asked for again and again
    server = synced(**NO_SECRET, AZURE_CLIENT_CERTIFICATE_PATH=str(path))
    assert has_synced(server)
    graph.switch("client_certificate", second.known)
    says(server, "AADSTS700027")
    says(server, "not among the application's")
    write(path, second.pem())
    assert has_synced(server)


@pytest.mark.parametrize("content, message", [
    (b"", "holds no private key"), (b"nonsense", "holds no private key"), (None, "cannot be read"),
    ("no key", "holds no private key"), ("another key", "holds no private key"), ("password", "PASSWORD"), ("ec", "RSA keys only")])
def test_a_file_that_is_no_certificate(synced, graph, identity, tmp_path, content, message):
    path = tmp_path / "app.pem"
    other = Identity()
    made = {"no key": identity.certificate.public_bytes(PEM), "another key": identity.certificate.public_bytes(PEM) + other.pem().split(b"-----END CERTIFICATE-----\n")[1],
            "password": identity.pem(b"secret"), "ec": Identity(ec.generate_private_key(ec.SECP256R1())).pem()}
    if content is not None:
        write(path, made.get(content, content) if isinstance(content, str) else content)
    server = synced(**NO_SECRET, AZURE_CLIENT_CERTIFICATE_PATH=str(path))
    says(server, message)
    graph.switch("client_certificate", identity.known)
    write(path, identity.pem())  # it is read again at the next try
    assert has_synced(server)


# ---- federated ----
def test_a_federated_token_is_read_anew_for_each_token(synced, graph, tmp_path):
    path = tmp_path / "token"
    write(path, b"eyJ.first.token\n")
    graph.switch("federated_token", "eyJ.first.token")
    graph.switch("token_uses", 3)
    server = synced(**NO_SECRET, AZURE_FEDERATED_TOKEN_FILE=str(path))
    assert has_synced(server)
    graph.switch("federated_token", "eyJ.second.token")
    says(server, "no federated credential")
    write(path, b"eyJ.second.token")
    assert has_synced(server)
    write(path, b"  two words\n")
    says(server, "holds no token")
    path.unlink()
    says(server, "cannot be read")
    write(path, b"eyJ.second.token")
    assert has_synced(server)


# ---- managed identity ----
def identity_settings(graph, imds, **more):
    url = "http://localhost:%d" % graph.port
    here = {"REVLINE_IMDS_URL": url} if imds else {"IDENTITY_ENDPOINT": url + APP_SERVICE_PATH, "IDENTITY_HEADER": APP_SERVICE_SECRET}
    return {**NO_SECRET, "AZURE_CLIENT_ID": None, "REVLINE_ENTRA_LOGIN": "managed-identity" if imds else "auto",
            "http_proxy": "http://127.0.0.1:9", **here, **more}  # a proxy that nobody serves


@pytest.mark.parametrize("imds", [True, False])
@pytest.mark.parametrize("client", [None, USER_ASSIGNED])
def test_a_managed_identity(synced, graph, imds, client):
    server = synced(**identity_settings(graph, imds, AZURE_CLIENT_ID=client, no_proxy="localhost" if client else None,
                                        http_proxy=None if not client else "http://127.0.0.1:9"))
    assert has_synced(server)
    asked = [r for r in graph.requests() if r["path"] in (APP_SERVICE_PATH, IMDS_PATH)]
    assert asked and all(r["path"] == (IMDS_PATH if imds else APP_SERVICE_PATH) for r in asked)


def test_a_managed_identity_never_goes_through_a_proxy(synced, graph):
    server = synced(**identity_settings(graph, True))
    eventually(lambda: any(r["path"] == IMDS_PATH for r in graph.requests()), "the metadata service was asked")
    says(server, "cannot be")  # Graph itself would go through it


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_the_metadata_service_is_away_for_a_while(synced, graph, status):
    graph.switch("identity_error", {"status": status}, times=3)
    server = synced(**identity_settings(graph, True, http_proxy=None))
    assert has_synced(server)


@pytest.mark.parametrize("imds", [True, False])
def test_no_such_identity(synced, graph, imds):
    server = synced(**identity_settings(graph, imds, http_proxy=None, AZURE_CLIENT_ID="33333333-3333-4333-8333-333333333333"))
    says(server, "is an identity assigned to this machine")


# ---- which ----
def test_what_is_not_configured_is_said(synced, graph, tmp_path):
    server = synced(**NO_SECRET)
    assert server.sync("entra-device")["state"] == "off"
    shown = server.log() if callable(server.log) else server.log
    assert "AZURE_CLIENT_SECRET (or another login: see REVLINE_ENTRA_LOGIN)" in shown


def test_a_login_that_was_chosen_is_the_one(synced, graph, identity, tmp_path):
    """The secret would be taken first."""
    path = tmp_path / "app.pem"
    write(path, identity.pem())
    graph.switch("client_certificate", identity.known)
    server = synced(REVLINE_ENTRA_LOGIN="certificate", AZURE_CLIENT_SECRET="wrong", AZURE_CLIENT_CERTIFICATE_PATH=str(path))
    assert has_synced(server)


@pytest.mark.parametrize("cloud, authority, graph_url", [
    ("public", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
    ("us-government", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
    ("us-dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    ("china", "https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn")])
def test_national_clouds(make_server, cloud, authority, graph_url):
    server = make_server(start=False, REVLINE_CLOUD=cloud)
    shown = {s["name"]: s["value"] for s in server.cli_json("config")}
    assert (shown["AZURE_AUTHORITY_HOST"], shown["REVLINE_GRAPH_URL"]) == (authority, graph_url)
    own = {s["name"]: s["value"] for s in server.cli_json("config", settings={"REVLINE_GRAPH_URL": "https://graph.example"})}
    assert (own["AZURE_AUTHORITY_HOST"], own["REVLINE_GRAPH_URL"]) == (authority, "https://graph.example")
