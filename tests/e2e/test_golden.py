"""Each profile's certificate, field by field: it is what golden/{name}.txt says, and has nothing else in it.

A second client asks for whatever would be worth having (CA rights, OCSP signing, somebody's security identifier), and gets the
same certificate. Read by python3-cryptography. What differs from run to run is checked here and told in words.
"""

import datetime
import difflib
import pathlib
import shutil
import uuid

import pytest
import scep_client
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AttributeOID, AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from harness import (AAD_CHALLENGE, CHALLENGE, DER, JAMF_CHALLENGE, Remote, Revline, client_key, fake_jamf, graph_settings, jamf_settings,
                     ocsp_request)
from test_est import EST, est, lines
from test_profiles import A_SID, DEVICE_ID, SID, TENANT_ID, sid_extension
from scep_client import UPN

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
URL = "http://ca.example.com"
SETTINGS = {**EST, "REVLINE_BASE_URL": URL, "REVLINE_CRL_DISTRIBUTION_POINT": "true", "REVLINE_DC_CHALLENGE": "dc-challenge-0004", "REVLINE_COMPLIANCE_CHECK": "always",
            "REVLINE_CERT_SID_EXTENSION": "true", "REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_SCEP_PROFILES": "wifi,vpn",
            "REVLINE_SCEP_VPN_CHALLENGE": "vpn-challenge", "REVLINE_SCEP_VPN_VALIDITY": "90d", "REVLINE_SCEP_VPN_KEY_USAGE": "digitalSignature",
            "REVLINE_SCEP_VPN_EKU": "ipsecIKE,1.3.6.1.4.1.99999.7", "REVLINE_SCEP_VPN_ASKED_EKU": "", "REVLINE_SCEP_VPN_CN_ONLY": "true"}
KEY_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")


# ---- a certificate in words ----
def name_words(name):
    kind = {x509.DNSName: "DNS", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "URI", x509.IPAddress: "IP"}.get(type(name))
    if kind:
        return "%s:%s" % (kind, name.value)
    assert isinstance(name, x509.OtherName) and name.type_id == UPN, name
    return "UPN:" + core.UTF8String.load(name.value, strict=True).native


def guid_words(der):
    return str(uuid.UUID(bytes_le=core.OctetString.load(der, strict=True).native))


def sid_words(der):
    """As [MS-WCCE] has it, compared whole with one that is made here."""
    sid = der[der.index(b"S-1-"):].decode()
    assert der == sid_extension(sid)
    return sid


def constraints_words(value):
    return "; ".join("%s %s" % (word, ", ".join(name_words(tree) for tree in trees))
                     for word, trees in (("permitted", value.permitted_subtrees), ("excluded", value.excluded_subtrees)) if trees)


def extension_words(extension, certificate, issuer):
    value = extension.value
    if isinstance(value, x509.BasicConstraints):
        return "CA:%s%s" % (value.ca, "" if value.path_length is None else ", path length %d" % value.path_length)
    if isinstance(value, x509.KeyUsage):
        return ", ".join(usage for usage in KEY_USAGES if getattr(value, usage))
    if isinstance(value, x509.ExtendedKeyUsage):
        return ", ".join(oid._name if oid._name != "Unknown OID" else oid.dotted_string for oid in value)
    if isinstance(value, x509.SubjectAlternativeName):
        return ", ".join(map(name_words, value))
    if isinstance(value, x509.SubjectKeyIdentifier):
        return "of its key" if value == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()) else value.digest.hex()
    if isinstance(value, x509.AuthorityKeyIdentifier):
        assert value.authority_cert_issuer is None and value.authority_cert_serial_number is None
        theirs = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        return "the issuer's" if value.key_identifier == theirs else value.key_identifier.hex()
    if isinstance(value, x509.AuthorityInformationAccess):
        words = {AuthorityInformationAccessOID.OCSP: "OCSP", AuthorityInformationAccessOID.CA_ISSUERS: "CA"}
        return ", ".join("%s %s" % (words[d.access_method], d.access_location.value) for d in value)
    if isinstance(value, x509.CRLDistributionPoints):
        assert all(p.reasons is None and p.crl_issuer is None and p.relative_name is None for p in value)
        return ", ".join(name.value for point in value for name in point.full_name)
    if isinstance(value, x509.NameConstraints):
        return constraints_words(value)
    if isinstance(value, x509.OCSPNoCheck):
        return "yes"
    return {TENANT_ID: guid_words, DEVICE_ID: guid_words, SID: sid_words}[extension.oid](value.value)


def extension_name(oid):
    return {TENANT_ID: "tenant (Microsoft)", DEVICE_ID: "device (Microsoft)", SID: "SID (Microsoft)"}.get(oid) or oid._name


def describe(certificate, issuer, asked_at):
    """`asked_at`: None for what was made when the server began."""
    key, skew = certificate.public_key(), datetime.timedelta(days=1)
    made_at = certificate.not_valid_before + skew
    assert not asked_at or asked_at.replace(microsecond=0) <= made_at <= datetime.datetime.utcnow()
    life = certificate.not_valid_after - made_at
    with_issuer = certificate != issuer and certificate.not_valid_after == issuer.not_valid_after
    assert with_issuer or life % datetime.timedelta(days=1) == datetime.timedelta(), life
    assert certificate.version == x509.Version.v3
    assert 0 < certificate.serial_number and certificate.serial_number.bit_length() == 127  # 16 octets, the first one 4x to 7x
    rows = [("subject", certificate.subject.rfc4514_string()), ("issuer", certificate.issuer.rfc4514_string()),
            ("key", "RSA %d" % key.key_size if isinstance(key, rsa.RSAPublicKey) else "EC " + key.curve.name),
            ("signature", certificate.signature_algorithm_oid._name),
            ("begins", "1 day before it was made"), ("ends", "with its issuer" if with_issuer else "%d days after that" % life.days)]
    for extension in sorted(certificate.extensions, key=lambda e: extension_name(e.oid)):
        rows.append((extension_name(extension.oid), ("critical: " if extension.critical else "") + extension_words(extension, certificate, issuer)))
    return "".join("%-24s %s\n" % row for row in rows)


# ---- who asks ----
GREEDY = [(x509.BasicConstraints(ca=True, path_length=None), True),
          (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
          (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
          (x509.UnrecognizedExtension(SID, sid_extension("S-1-5-21-9-9-9-500")), False),
          (x509.NameConstraints([x509.DNSName("example.com")], None), True), (x509.OCSPNoCheck(), False),
          (x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP,
                                                                   x509.UniformResourceIdentifier("http://evil.example/ocsp"))]), False)]


class World:
    """A server with every profile, and what its certificates are bound to."""

    def __init__(self, server, graph, jamf):
        self.server, self.graph, self.jamf, self.signer = server, graph, jamf, scep_client.make_signer()
        self.pc, self.new = graph.add("devices", "pc-1"), graph.add("devices", "pc-2")
        self.ada = graph.add("users", "ada", onPremisesSecurityIdentifier=A_SID)
        graph.add("managedDevices", "pc-1", azureADDeviceId=self.pc["deviceId"])
        graph.add("managedDevices", "pc-2", azureADDeviceId=self.new["deviceId"], complianceState="noncompliant",
                  enrolledDateTime=(datetime.datetime.utcnow() + datetime.timedelta(days=1)).isoformat() + "Z")
        self.mac, self.phone, self.jane = jamf.add("computers", "mac"), jamf.add("devices", "phone"), jamf.add("users", "jane@contoso.example")
        server.sync_round(full=True)

    def csr(self, greedy, cn, challenge=None, sans=(), ou=None, key=None):
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, cn)] + [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, u) for u in [ou] if u]
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
        for extension, critical in GREEDY if greedy else []:
            builder = builder.add_extension(extension, critical)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
        if challenge:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
        return builder.sign(key or self.signer.key, hashes.SHA256())

    def scep(self, path, challenge, greedy, cn, **more):
        csr = self.csr(greedy, cn, challenge, **more)
        result = scep_client.enroll(self.server.url + path, challenge, cn, signer=self.signer, csr=csr.public_bytes(DER))
        assert result.pki_status == "SUCCESS", result
        return result.certificate

    def est(self, greedy, folder, operation="simpleenroll"):
        request = self.csr(greedy, "est-1", sans=[x509.DNSName("est-1.example")], key=client_key()).public_bytes(DER)
        (certificate,) = est(self.server, operation, folder, lines(request), CHALLENGE).certificates
        return certificate

    def sign(self, greedy, profile, cn, sans=(), **more):
        pem = self.csr(greedy, cn, sans=sans, key=client_key()).public_bytes(serialization.Encoding.PEM).decode()
        return x509.load_pem_x509_certificate(self.server.control("sign", csr=pem, profile=profile, **more)["certificate"].encode())

    def responder(self):
        answer = self.server.http("POST", "/ocsp", ocsp_request(self.server.ca, self.server.ca))[2]
        (certificate,) = ocsp.load_der_ocsp_response(answer).certificates
        return certificate


def upn(name):
    return x509.OtherName(UPN, core.UTF8String(name).dump())


INTUNE = "/certsrv/mscep/mscep.dll"
PROFILES = {
    "static": lambda w, g, f: w.scep("/static", CHALLENGE, g, "host-1", sans=[x509.DNSName("host-1.example"), x509.RFC822Name("a@example.com")]),
    "static-aad-device": lambda w, g, f: w.scep("/static/aad", AAD_CHALLENGE, g, w.pc["deviceId"]),
    "static-aad-user": lambda w, g, f: w.scep("/static/aad", AAD_CHALLENGE, g, "Ada", sans=[upn("ada@contoso.example")]),
    "jamf-computer": lambda w, g, f: w.scep("/jamf", JAMF_CHALLENGE, g, str(w.mac["id"]), ou="computers"),
    "jamf-device": lambda w, g, f: w.scep("/jamf", JAMF_CHALLENGE, g, str(w.phone["id"]), ou="devices"),
    "jamf-user-on-computer": lambda w, g, f: w.scep("/jamf", JAMF_CHALLENGE, g, str(w.mac["id"]), ou="users-on-computers",
                                                    sans=[upn("jane@contoso.example")]),
    "jamf-user-on-device": lambda w, g, f: w.scep("/jamf", JAMF_CHALLENGE, g, str(w.phone["id"]), ou="users-on-devices",
                                                  sans=[x509.RFC822Name("jane@contoso.example")]),
    "dc": lambda w, g, f: w.scep("/dc", "dc-challenge-0004", g, "dc1.contoso.example", sans=[x509.DNSName("dc1.contoso.example")]),
    "intune-device": lambda w, g, f: w.scep(INTUNE, "opaque", g, w.pc["deviceId"]),
    "intune-user": lambda w, g, f: w.scep(INTUNE, "opaque", g, w.pc["deviceId"], sans=[upn("ada@contoso.example")]),
    "bootstrap": lambda w, g, f: w.scep(INTUNE, "opaque", g, w.new["deviceId"]),
    "named": lambda w, g, f: w.scep("/scep/vpn", "vpn-challenge", g, "gateway", ou="cut off", sans=[x509.DNSName("gateway.example")]),
    "est": lambda w, g, f: w.est(g, f),
    "server": lambda w, g, f: w.sign(g, "server", "www.example.com", sans=[x509.DNSName("www.example.com"), x509.DNSName("*.example.com")]),
    "client": lambda w, g, f: w.sign(g, "client", "laptop-1"),
    "subca": lambda w, g, f: w.sign(g, "subca", "Sub CA", permit=["dns:example.com", "ip:10.0.0.0/8"], exclude="dns:secret.example.com"),
}
OWN = {"root": lambda w: w.server.ca, "scep-ra": lambda w: scep_client.get_ca_cert(w.server.url + "/static").recipient,
       "ocsp": lambda w: w.responder()}


@pytest.fixture(scope="module")
def world(templates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "data"
    graph, jamf = Remote(), fake_jamf.Jamf().start()
    server = Revline(folder, {"REVLINE_CA_KEY": "ec-p256", **graph_settings(graph), **jamf_settings(jamf), **SETTINGS}).start()
    yield World(server, graph, jamf)
    server.stop()
    assert graph.violations() == [] and jamf.violations() == []
    graph.stop(), jamf.stop()
    shutil.rmtree(folder.parent, ignore_errors=True)


def compare(name, certificate, world, asked_at):
    found = describe(certificate, world.server.ca, asked_at)
    for value, word in ((world.pc["deviceId"], "{pc}"), (world.new["deviceId"], "{pc}"), (world.server.settings["AZURE_TENANT_ID"], "{tenant}")):
        found = found.replace(value, word)
    expected = (GOLDEN / (name + ".txt")).read_text(encoding="utf-8")
    assert found == expected, "\n" + "".join(difflib.unified_diff(expected.splitlines(True), found.splitlines(True), "golden", "issued"))


@pytest.mark.parametrize("greedy", [False, True], ids=["plain", "greedy"])
@pytest.mark.parametrize("name", PROFILES)
def test_the_certificate_of_a_profile(world, tmp_path, name, greedy):
    asked_at = datetime.datetime.utcnow()
    compare(name, PROFILES[name](world, greedy, tmp_path), world, asked_at)


@pytest.mark.parametrize("name", OWN)
def test_the_cas_own_certificates(world, name):
    certificate = OWN[name](world)
    compare(name, certificate, world, None)


def test_every_description_is_compared():
    assert {path.stem for path in GOLDEN.iterdir()} == {*PROFILES, *OWN}
