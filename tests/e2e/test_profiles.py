"""Enrollment profiles: each certificate is what its settings say, whatever the request asks for."""

import datetime
import uuid

import pytest
import scep_client
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from harness import AAD_CHALLENGE, CHALLENGE

TENANT_ID = ObjectIdentifier("1.2.840.113556.5.14")
DEVICE_ID = ObjectIdentifier("1.2.840.113556.1.5.284.2")
SID = ObjectIdentifier("1.3.6.1.4.1.311.25.2")
A_SID, OTHER_SID = "S-1-5-21-1111-2222-3333-1105", "S-1-5-21-9-9-9-500"
KDC = ObjectIdentifier("1.3.6.1.5.2.3.5")
SMARTCARD = ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


def value_of(certificate, oid):
    """The extension's value in DER, None when it is not there."""
    found = [e for e in certificate.extensions if e.oid == oid]
    assert all(not e.critical for e in found)
    return found[0].value.value if found else None


def windows_guid(text):
    """As .NET's Guid.ToByteArray: the first three fields little-endian."""
    return core.OctetString(uuid.UUID(text).bytes_le).dump()


def sid_extension(sid):
    """The extension's value as [MS-WCCE] has it: alternative names with one of a kind of its own."""
    value = core.OctetString(sid.encode()).dump()
    return x509.SubjectAlternativeName([x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.25.2.1"), value)]).public_bytes()


def make_csr(key, cn, challenge, extensions=(), more=()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn), *more]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def enroll(server, path, challenge, cn, signer, **more):
    return scep_client.enroll(server.url + path, challenge, cn, signer=signer, **more)


def ekus(certificate):
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


# ---- Microsoft's extensions ----
def test_a_device_certificate_says_tenant_and_device(synced, graph, signer):
    device = graph.add("devices", "pc-1")
    server = synced()
    result = enroll(server, "/static/aad", AAD_CHALLENGE, device["deviceId"].upper(), signer)
    assert value_of(result.certificate, DEVICE_ID) == windows_guid(device["deviceId"])
    assert value_of(result.certificate, TENANT_ID) == windows_guid(server.settings["AZURE_TENANT_ID"])
    assert value_of(result.certificate, SID) is None  # only when asked for
    user = enroll(server, "/static/aad", AAD_CHALLENGE, "Ada", signer, upn="ada@contoso.example")
    assert value_of(user.certificate, TENANT_ID) and value_of(user.certificate, DEVICE_ID) is None
    free = enroll(server, "/static", CHALLENGE, device["deviceId"], signer)
    assert value_of(free.certificate, TENANT_ID) is None and value_of(free.certificate, DEVICE_ID) is None


def test_without_microsofts_extensions(synced, graph, signer):
    device = graph.add("devices", "pc-1")
    server = synced(REVLINE_CERT_AAD_EXTENSIONS="false")
    result = enroll(server, "/static/aad", AAD_CHALLENGE, device["deviceId"], signer)
    assert value_of(result.certificate, TENANT_ID) is None and value_of(result.certificate, DEVICE_ID) is None


@pytest.mark.parametrize("refusal", [None, 400, 501])
def test_the_directorys_security_identifier(synced, graph, signer, refusal):
    device = graph.add("devices", "pc-1", onPremisesSecurityIdentifier="S-1-5-21-4-5-6-2001")
    user = graph.add("users", "ada", onPremisesSecurityIdentifier=A_SID)
    strange = graph.add("users", "eve", onPremisesSecurityIdentifier="S-1-nonsense")
    if refusal:
        graph.switch("no_device_sid", refusal)
    server = synced(REVLINE_CERT_SID_EXTENSION="true")
    server.sync_round()
    lie = make_csr(signer.key, device["deviceId"], AAD_CHALLENGE, [x509.UnrecognizedExtension(SID, sid_extension(OTHER_SID))])
    of_device = enroll(server, "/static/aad", AAD_CHALLENGE, device["deviceId"], signer, csr=lie)
    assert value_of(of_device.certificate, SID) == (None if refusal else sid_extension("S-1-5-21-4-5-6-2001"))
    of_user = enroll(server, "/static/aad", AAD_CHALLENGE, device["deviceId"], signer, upn=user["userPrincipalName"])
    assert value_of(of_user.certificate, SID) == sid_extension(A_SID)
    of_strange = enroll(server, "/static/aad", AAD_CHALLENGE, "Eve", signer, upn=strange["userPrincipalName"])
    assert of_strange.pki_status == "SUCCESS" and value_of(of_strange.certificate, SID) is None
    unknown = enroll(server, "/static/aad", AAD_CHALLENGE, "Bob", signer, upn="bob@contoso.example")
    assert value_of(unknown.certificate, SID) is None


def test_a_security_identifier_changes_with_the_directory(synced, graph, signer):
    user = graph.add("users", "ada", onPremisesSecurityIdentifier=A_SID)
    server = synced(REVLINE_CERT_SID_EXTENSION="true")
    server.sync_round()

    def issued():
        return value_of(enroll(server, "/static/aad", AAD_CHALLENGE, "Ada", signer, upn=user["userPrincipalName"]).certificate, SID)

    assert issued() == sid_extension(A_SID)
    graph.update("users", user["id"], onPremisesSecurityIdentifier=OTHER_SID)
    server.sync_round()
    assert issued() == sid_extension(OTHER_SID)
    graph.update("users", user["id"], onPremisesSecurityIdentifier=None)
    server.sync_round()
    assert issued() is None


@pytest.mark.parametrize("taken", [True, False])
def test_a_requests_own_security_identifier_needs_a_setting(make_server, signer, taken):
    server = make_server(REVLINE_STATIC_ASKED_SID=str(taken).lower())
    csr = make_csr(signer.key, "host", CHALLENGE, [x509.UnrecognizedExtension(SID, sid_extension(A_SID))])
    result = enroll(server, "/static", CHALLENGE, "host", signer, csr=csr)
    assert value_of(result.certificate, SID) == (sid_extension(A_SID) if taken else None)


@pytest.mark.parametrize("tag", ["tag:microsoft.com,2022-09-14:sid:", "TAG:Microsoft.COM,2022-09-14:SID:"])
def test_a_security_identifier_as_a_name_needs_the_setting_too(make_server, signer, tag):
    """Windows takes it from there as well."""
    names = x509.SubjectAlternativeName([x509.DNSName("host.example"), x509.UniformResourceIdentifier(tag + A_SID)])
    server = make_server(REVLINE_SCEP_PROFILES="wifi,trusted", REVLINE_SCEP_WIFI_CHALLENGE="wifi-challenge",
                         REVLINE_SCEP_TRUSTED_CHALLENGE="trusted-challenge", REVLINE_SCEP_TRUSTED_ASKED_SID="true")
    for path, word in (("/static", CHALLENGE), ("/scep/wifi", "wifi-challenge")):
        result = enroll(server, path, word, "host", signer, csr=make_csr(signer.key, "host", word, [names]))
        assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and "security identifier" in result.fail_text
    result = enroll(server, "/scep/trusted", "trusted-challenge", "host", signer, csr=make_csr(signer.key, "host", "trusted-challenge", [names]))
    assert result.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names


@pytest.mark.parametrize("value", [b"\x04\x03abc", sid_extension("S-1-5-x"), sid_extension(A_SID) + b"\x00",
                                   x509.SubjectAlternativeName([x509.DNSName("a.example")]).public_bytes()])
def test_what_is_no_security_identifier_is_refused(make_server, signer, value):
    server = make_server(REVLINE_STATIC_ASKED_SID="true")
    csr = make_csr(signer.key, "host", CHALLENGE, [x509.UnrecognizedExtension(SID, value)])
    result = enroll(server, "/static", CHALLENGE, "host", signer, csr=csr)
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest") and "security identifier" in result.fail_text
    assert not [c for c in server.all_certificates() if c["subject"] == "CN=host"]


# ---- profiles ----
def test_a_domain_controllers_certificate(make_server, signer):
    server = make_server(AppConfig__DCValidation__RequestPassword="dc-challenge-word", REVLINE_DC_VALIDITY="200d")
    result = enroll(server, "/dc", "dc-challenge-word", "dc1.example", signer, dns="dc1.example")
    certificate = result.certificate
    assert ekus(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH, SMARTCARD, KDC]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment and not usage.key_cert_sign
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["dc1.example"]
    assert abs(certificate.not_valid_after - datetime.datetime.utcnow() - datetime.timedelta(days=200)) < datetime.timedelta(hours=1)
    assert server.control("show", serial=result.serial_hex)["profile"] == "dc"
    assert enroll(server, "/dc", CHALLENGE, "dc1.example", signer).fail_info == "badRequest"  # another profile's challenge


def test_named_profiles(make_server, signer):
    """Two of them: settings are each one's own."""
    server = make_server(REVLINE_SCEP_PROFILES="wifi, vpn-users", REVLINE_SCEP_WIFI_CHALLENGE="wifi-challenge",
                         REVLINE_SCEP_WIFI_DOMAINS="example", REVLINE_SCEP_WIFI_EKU="1.3.6.1.4.1.99999.7", REVLINE_SCEP_WIFI_ASKED_EKU="",
                         REVLINE_SCEP_WIFI_CN_ONLY="true", REVLINE_SCEP_VPN_USERS_CHALLENGE="vpn-challenge",
                         REVLINE_SCEP_VPN_USERS_BINDING="entra", REVLINE_SCEP_VPN_USERS_KEYS="rsa2048",
                         REVLINE_SCEP_VPN_USERS_VALIDITY="1d")
    more = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Another, Inc.")]
    asked = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), x509.SubjectAlternativeName([x509.DNSName("a.example")])]
    wifi = enroll(server, "/scep/wifi", "wifi-challenge", "phone", signer,
                  csr=make_csr(signer.key, "phone", "wifi-challenge", asked, more)).certificate
    assert ekus(wifi) == [ObjectIdentifier("1.3.6.1.4.1.99999.7")]
    assert wifi.subject.rfc4514_string() == "CN=phone"
    outside = enroll(server, "/scep/wifi", "wifi-challenge", "phone", signer, dns="a.example.evil")
    assert outside.pki_status == "FAILURE" and "domains" in outside.fail_text
    vpn = enroll(server, "/scep/vpn-users/pkiclient.exe", "vpn-challenge", "Ada", signer, upn="ada@contoso.example")
    assert server.control("show", serial=vpn.serial_hex)["profile"] == "vpn-users"
    assert vpn.certificate.not_valid_after - datetime.datetime.utcnow() < datetime.timedelta(days=1, minutes=1)
    unbound = enroll(server, "/scep/vpn-users", "vpn-challenge", "nobody", signer)
    assert unbound.pki_status == "FAILURE" and "Entra" in unbound.fail_text
    assert enroll(server, "/scep/wifi", "vpn-challenge", "phone", signer).pki_status == "FAILURE"
    shown = {s["name"]: s for s in server.cli_json("config")}
    assert shown["REVLINE_SCEP_VPN_USERS_VALIDITY"]["value"] == "1d" and shown["REVLINE_SCEP_WIFI_CHALLENGE"]["value"] == "********"


@pytest.mark.parametrize("settings, message", [
    ({"REVLINE_SCEP_PROFILES": "Wifi"}, "lower-case"),
    ({"REVLINE_SCEP_PROFILES": "a,a"}, "lower-case"),
    ({"REVLINE_SCEP_PROFILES": "jamf"}, "lower-case"),
    ({"REVLINE_SCEP_PROFILES": "a", "REVLINE_SCEP_B_CHALLENGE": "a-challenge"}, "nearest is REVLINE_SCEP_A_CHALLENGE"),
    ({"REVLINE_STATIC_EKU": "anyExtendedKeyUsage"}, "REVLINE_STATIC_EKU"),
    ({"REVLINE_STATIC_EKU": "1.3.6.1.5.5.7.3.9"}, "REVLINE_STATIC_EKU"),
    ({"REVLINE_STATIC_ASKED_EKU": "2.5.29.37.0"}, "REVLINE_STATIC_ASKED_EKU"),
    ({"REVLINE_STATIC_KEY_USAGE": "keyCertSign"}, "REVLINE_STATIC_KEY_USAGE"),
    ({"REVLINE_STATIC_DOMAINS": "exa mple"}, "domains"),
])
def test_settings_that_are_no_profile(make_server, settings, message):
    done = make_server(start=False, **settings).cli("config", "--check", code=1)
    assert message in done.stdout + done.stderr


def test_a_list_of_weak_keys_that_is_not_there_stops_the_start(make_server):
    server = make_server(start=False, REVLINE_WEAK_KEYS="/nowhere/at/all")
    done = server.cli("serve", code=1)
    assert "REVLINE_WEAK_KEYS" in done.stdout + done.stderr
