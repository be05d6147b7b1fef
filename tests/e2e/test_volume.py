"""10,000 certificates by SCEP, 10,000 objects by sync, and memory that stays where it was.

Runs the release binary: AddressSanitizer's quarantine and shadow would be measured otherwise.
"""

import concurrent.futures
import multiprocessing
import os
import random

import scep_client
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from harness import AAD_CHALLENGE, RELEASE_BINARY, OcspClient

FIRST, ALL = 2000, 10000
PROCESSES = 2
CACHE_KIB = 8 * 1024
# What may come on top between FIRST and ALL: the response cache filling up, RocksDB's write buffers and block cache
# (bounded by their own settings), and the allocator's slack.
ALLOWED_GROWTH_KIB = CACHE_KIB + 48 * 1024

VERIFIED = 5  # every so many answers are opened and verified whole; the others are counted in the end

_signer = _ca = None


def _setup(key_pem, certificate_pem, url):
    global _signer, _ca
    key = serialization.load_pem_private_key(key_pem, None)
    _signer = scep_client.Signer(key, x509.load_pem_x509_certificate(certificate_pem))
    _ca = scep_client.get_ca_cert(url)


def _enroll(arguments):
    """The certificate's DER, None when the answer was not opened."""
    url, device_id, verify = arguments
    if verify:
        result = scep_client.enroll(url, AAD_CHALLENGE, device_id, signer=_signer, ca=_ca)
        assert result.pki_status == "SUCCESS", result.fail_text
        return result.certificate.public_bytes(serialization.Encoding.DER)
    csr = scep_client.make_csr(_signer.key, device_id, AAD_CHALLENGE)
    scep_client.pki_operation(url, scep_client.make_message(csr, _signer, _ca.recipient, os.urandom(16).hex(), os.urandom(16)))
    return None


def change_and_ask(server, graph, certificates, rng, rounds):
    """Sync rounds with changes, and OCSP answers that must fit the directory."""
    for _ in range(rounds):
        chosen = rng.sample(certificates, 50)
        for enabled, expected, asked in ((False, "hold", chosen), (True, "good", chosen + rng.sample(certificates, 200))):
            for device, _ in chosen:
                graph.update("devices", device["id"], accountEnabled=enabled)
            server.sync_round()
            with OcspClient(server, verify=False) as client:
                assert {client.ask(certificate) for _, certificate in asked} == {expected}


def test_ten_thousand_certificates_and_objects_in_steady_memory(graph, synced):
    graph.bulk("devices", ALL)
    devices = graph.objects("devices")
    server = synced(start=False, REVLINE_LOG_LEVEL="info", REVLINE_OCSP_CACHE_SIZE="%dKiB" % CACHE_KIB)
    server.binary = RELEASE_BINARY
    server.start()
    server.sync_round()
    assert server.sync("entra-device")["objects"] >= ALL
    url, signer, rng = server.url + "/static/aad", scep_client.make_signer(), random.Random("volume")
    key = signer.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    arguments = (key, signer.certificate.public_bytes(serialization.Encoding.PEM), url)
    with concurrent.futures.ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), _setup, arguments) as pool:
        def enroll(some):
            jobs = [(url, d["deviceId"], i % VERIFIED == 0) for i, d in enumerate(some)]
            return [(d, x509.load_der_x509_certificate(der)) for d, der in zip(some, pool.map(_enroll, jobs, chunksize=50)) if der]

        certificates = enroll(devices[:FIRST])
        change_and_ask(server, graph, certificates, rng, 5)
        warm = server.rss()
        certificates += enroll(devices[FIRST:])
    change_and_ask(server, graph, certificates, rng, 5)
    full = server.rss()
    # The same work again, with nothing new: now memory has no reason to grow at all.
    change_and_ask(server, graph, certificates, rng, 5)
    for _ in range(3):
        server.sync_round(full=True)
    steady = server.rss()
    issued = [c for c in server.all_certificates() if c["profile"] == "static-aad"]
    assert len({c["subject"] for c in issued}) == len(issued) == ALL and {c["status"] for c in issued} == {"good"}
    print("VmRSS in MiB: %d after %d, %d after %d, %d after more of the same" % (warm >> 10, FIRST, full >> 10, ALL, steady >> 10))
    assert full - warm < ALLOWED_GROWTH_KIB and steady - full < 16 * 1024
