"""SCEP with two clients: the tests' own (scep_client.py) and certmonger's scep-submit."""

import base64
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from harness import AAD_CHALLENGE, CHALLENGE, PEM, openssl

SCEP_SUBMIT = "/usr/lib/certmonger/scep-submit"
KEY_TYPES = ["rsa2048", "ec-p256"]


@pytest.fixture(scope="module")
def signer():
    """One RSA key for all: making them is slow."""
    return scep_client.make_signer()


@pytest.fixture(params=KEY_TYPES)
def any_server(request, make_server):
    return make_server(key_type=request.param)


def static(server):
    return server.url + "/static"


def test_capabilities_and_certificates(any_server):
    caps = scep_client.get_ca_caps(static(any_server))
    assert caps == {"POSTPKIOperation", "SHA-256", "SHA-384", "SHA-512", "AES", "SCEPStandard", "Renewal"}
    ca = scep_client.get_ca_cert(static(any_server))
    assert ca.issuer == any_server.ca
    assert ca.recipient.public_key().key_size >= 2048  # an EC CA has an RSA recipient


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("path", ["/static", "/static/", "/static/pkiclient.exe"])
def test_enrolment(any_server, signer, tmp_path, method, path):
    result = scep_client.enroll(any_server.url + path, CHALLENGE, "host-1", dns="host-1.example", signer=signer, method=method)
    assert result.pki_status == "SUCCESS"
    (tmp_path / "c.pem").write_bytes(result.certificate.public_bytes(PEM))
    openssl("verify", "-x509_strict", "-CAfile", any_server.ca_file(), str(tmp_path / "c.pem"))
    names = result.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host-1.example"]
    assert any_server.ocsp(result.certificate) == "good"
    shown = any_server.control("show", serial=result.serial_hex)
    assert shown["profile"] == "static" and shown["requester"] == "scep" and shown["subject"] == "CN=host-1"


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("cipher", ["aes128", "aes256"])
def test_the_answer_is_in_kind(module_server, signer, digest, cipher):
    result = scep_client.enroll(static(module_server), CHALLENGE, "host", signer=signer, digest=digest, cipher=cipher)
    assert (result.pki_status, result.digest, result.cipher) == ("SUCCESS", digest, cipher)


def test_old_algorithms_need_a_setting(make_server, signer):
    modern, old = make_server(), make_server(REVLINE_SCEP_LEGACY="true")
    for more in ({"digest": "sha1"}, {"cipher": "3des"}):
        refused = scep_client.enroll(static(modern), CHALLENGE, "host", signer=signer, **more)
        assert (refused.pki_status, refused.fail_info) == ("FAILURE", "badAlg")
        assert scep_client.enroll(static(old), CHALLENGE, "host", signer=signer, **more).pki_status == "SUCCESS"
    assert {"SHA-1", "DES3"} <= scep_client.get_ca_caps(static(old))


@pytest.mark.parametrize("challenge", ["wrong-challenge-3", CHALLENGE + "x", CHALLENGE[:-1], AAD_CHALLENGE, None, ""],
                         ids=["wrong", "longer", "shorter", "of-another-profile", "none", "empty"])
def test_a_wrong_challenge_gets_nothing(module_server, signer, challenge):
    before = len(module_server.all_certificates())
    result = scep_client.enroll(static(module_server), challenge, "host", signer=signer)
    assert (result.pki_status, result.fail_info, result.certificate) == ("FAILURE", "badRequest", None)
    assert len(module_server.all_certificates()) == before


@pytest.mark.parametrize("tamper", ["signature", "content", "ciphertext", "padding", "key", "no-transaction", "no-nonce", "no-type"])
def test_a_broken_message_gets_no_certificate(module_server, signer, tamper):
    before = len(module_server.all_certificates())
    try:
        result = scep_client.enroll(static(module_server), CHALLENGE, "host", signer=signer, tamper=tamper)
        assert result.pki_status == "FAILURE" and result.fail_info in ("badMessageCheck", "badRequest")
    except scep_client.HttpError as error:
        assert error.status == 400
    except scep_client.ScepError as error:
        # Without a transactionID or nonce the answer cannot repeat it.
        assert tamper in ("no-transaction", "no-nonce"), error
    assert len(module_server.all_certificates()) == before
    assert scep_client.enroll(static(module_server), CHALLENGE, "host", signer=signer).pki_status == "SUCCESS"


def test_a_retransmission_gets_the_same_certificate_also_after_a_restart(any_server, signer):
    again = {"signer": signer, "transaction_id": "4f5e6d7c8b9a", "key": signer.key}
    first = scep_client.enroll(static(any_server), CHALLENGE, "host-2", **again)
    second = scep_client.enroll(static(any_server), CHALLENGE, "host-2", **again)
    assert first.pki_status == second.pki_status == "SUCCESS" and first.certificate == second.certificate
    any_server.stop()
    any_server.start()
    assert scep_client.enroll(static(any_server), CHALLENGE, "host-2", **again).certificate == first.certificate
    assert len([c for c in any_server.all_certificates() if c["subject"] == "CN=host-2"]) == 1


def test_another_key_does_not_get_a_transactions_certificate(module_server, signer):
    first = scep_client.enroll(static(module_server), CHALLENGE, "host-3", signer=signer, transaction_id="abcdef")
    other = scep_client.enroll(static(module_server), CHALLENGE, "host-3", signer=scep_client.make_signer(), transaction_id="abcdef")
    assert other.certificate is None or other.certificate != first.certificate


def test_concurrent_retransmissions_get_one_certificate(module_server, signer):
    ca = scep_client.get_ca_cert(static(module_server))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: scep_client.enroll(static(module_server), CHALLENGE, "racer", signer=signer, ca=ca,
                                                             transaction_id="0123456789"), range(8)))
    assert {r.pki_status for r in results} == {"SUCCESS"} and len({r.certificate.serial_number for r in results}) == 1


def test_an_mdm_signs_for_its_devices(module_server):
    """Jamf Pro as a SCEP proxy: its own self-signed certificate, the device's request; the answer is for the MDM to open."""
    mdm = scep_client.make_signer(common_name="MDM's signing certificate")
    for device in (scep_client.make_key(), ec.generate_private_key(ec.SECP256R1())):
        result = scep_client.enroll(static(module_server), CHALLENGE, "device", key=device, signer=mdm)
        assert result.pki_status == "SUCCESS", result.fail_text
        assert result.certificate.public_key().public_numbers() == device.public_key().public_numbers()
    assert scep_client.enroll(static(module_server), "wrong-challenge", "device", key=device, signer=mdm).certificate is None


def test_static_aad_needs_a_name_to_bind_to(module_server, signer):
    url = module_server.url + "/static/aad"
    result = scep_client.enroll(url, AAD_CHALLENGE, "not a GUID", signer=signer)
    assert (result.pki_status, result.fail_info) == ("FAILURE", "badRequest")
    bound = scep_client.enroll(url, AAD_CHALLENGE, "7F000000-0000-4000-8000-00000000000A", signer=signer)
    assert module_server.control("show", serial=bound.serial_hex)["bindings"][0]["id"] == "7f000000-0000-4000-8000-00000000000a"


def test_a_profile_without_challenge_is_off(make_server):
    server = make_server(REVLINE_STATIC_CHALLENGE=None)
    assert server.http("GET", "/static?operation=GetCACaps")[0] == 404
    assert server.http("GET", "/jamf?operation=GetCACaps")[0] == 404
    assert server.http("GET", "/static/aad?operation=GetCACaps")[0] == 200


def test_above_the_concurrency_limit_is_429(make_server, signer):
    server = make_server(REVLINE_SCEP_CONCURRENT_LIMIT="1")
    ca = scep_client.get_ca_cert(static(server))
    messages = [scep_client.make_message(scep_client.make_csr(signer.key, "busy", CHALLENGE), signer, ca.recipient, os.urandom(8).hex(),
                                         os.urandom(16)) for _ in range(40)]
    post = lambda m: server.http("POST", "/static?operation=PKIOperation", m)[0]
    with ThreadPoolExecutor(20) as pool:
        codes = set(pool.map(post, messages))
    assert codes <= {200, 429} and 200 in codes
    assert scep_client.enroll(static(server), CHALLENGE, "calm", signer=signer).pki_status == "SUCCESS"


# ---- certmonger ----
def scep_submit(*arguments, code=0):
    environment = {"CERTMONGER_OPERATION": "SUBMIT", "PATH": os.environ["PATH"]}
    done = subprocess.run([SCEP_SUBMIT, *arguments], capture_output=True, timeout=60, env=environment)
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode()


def test_certmonger_reads_capabilities_and_certificates(any_server, tmp_path):
    assert "POSTPKIOperation" in scep_submit("-u", static(any_server), "-c").split()
    printed = scep_submit("-u", static(any_server), "-C")
    printed_certificates = [x509.load_pem_x509_certificate(("-----BEGIN CERTIFICATE-----" + part).encode())
                            for part in printed.split("-----BEGIN CERTIFICATE-----")[1:]]
    assert any_server.ca in printed_certificates
    assert scep_client.get_ca_cert(static(any_server)).recipient in printed_certificates


def test_certmonger_enrolls(any_server, signer, tmp_path):
    """scep-submit sends our message and unpacks the answer: the degenerate SignedData's envelope in PEM or base64."""
    ca = scep_client.get_ca_cert(static(any_server))
    message = scep_client.make_message(scep_client.make_csr(signer.key, "certmonger", CHALLENGE), signer, ca.recipient, "c0ffee", os.urandom(16))
    (tmp_path / "message.pem").write_text("-----BEGIN PKCS7-----\n" + base64.encodebytes(message).decode() + "-----END PKCS7-----\n")
    (tmp_path / "ra.pem").write_bytes(ca.recipient.public_bytes(PEM))
    (tmp_path / "ca.pem").write_bytes(ca.issuer.public_bytes(PEM))
    answer = scep_submit("-u", static(any_server), "-r", str(tmp_path / "ra.pem"), "-N", str(tmp_path / "ca.pem"), "-I", str(tmp_path / "ca.pem"),
                         "-p", str(tmp_path / "message.pem"))
    assert answer.strip()
    enrolled = [c for c in any_server.all_certificates() if c["subject"] == "CN=certmonger"]
    assert len(enrolled) == 1 and enrolled[0]["profile"] == "static"


# ---- plain HTTP mistakes ----
@pytest.mark.parametrize("target", ["/static", "/static?operation=", "/static?operation=Nonsense", "/static?operation=PKIOperation",
                                    "/static?operation=PKIOperation&message=%%%", "/static?operation=GetNextCACert"])
def test_bad_operations(module_server, target):
    status, _, body = module_server.http("GET", target)
    assert status in (400, 404, 501) and body
