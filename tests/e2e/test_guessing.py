"""Who guesses at challenges, passwords and tokens waits; who is right, elsewhere, or asks for something else, does not."""

import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from harness import AAD_CHALLENGE, CHALLENGE, JAMF_CHALLENGE, client_key, eventually
from test_api import API, TOKEN, api, challenge
from test_est import csr_der, enrolled, est, lines

WRONG = "not-the-challenge"
LIMIT = 5
SLOW = {**API, "REVLINE_GUESS_LIMIT": str(LIMIT), "REVLINE_GUESS_WINDOW": "1h"}  # nothing comes back while a test runs
ELSEWHERE = ("127.0.0.2", 0)


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


def scep(server, signer, word, path="/static", **more):
    return scep_client.enroll(server.url + path, word, "guess", signer=signer, **more)


def waits(server, signer):
    """A right challenge is told to wait; how long."""
    with pytest.raises(scep_client.HttpError) as refusal:
        scep(server, signer, CHALLENGE)
    assert refusal.value.status == 429
    return int(refusal.value.headers["Retry-After"])


def token_status(server, token, **more):
    """Of the API; by a connection of its own, from another address if told so."""
    context = ssl.create_default_context(cafile=server.ca_file())
    connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port("https"), context=context, timeout=30, **more)
    try:
        connection.request("GET", "/api/sync/hold", headers={"Authorization": "Bearer " + token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


PROFILES = {"REVLINE_JAMF_CHALLENGE": JAMF_CHALLENGE, "REVLINE_DC_CHALLENGE": "dc-challenge-0004"}


@pytest.mark.parametrize("path, word", [("/static", WRONG), ("/static", "0" * 40), ("/static/aad", CHALLENGE), ("/jamf", AAD_CHALLENGE),
                                        ("/dc", WRONG), ("/scep/wifi", WRONG), ("/static/pkiclient.exe", WRONG)])
def test_wrong_challenges_are_slowed(make_server, signer, path, word):
    server = make_server(**SLOW, **PROFILES)
    for _ in range(LIMIT):
        assert scep(server, signer, word, path).fail_info == "badRequest"
    assert 0 < waits(server, signer) <= 3600 / LIMIT
    assert server.http("POST", path + "?operation=PKIOperation", b"nothing that could be decrypted")[0] == 429
    assert server.http("GET", path + "?operation=PKIOperation&message=AAAA")[0] == 429
    for operation in ("GetCACaps", "GetCACert"):
        assert server.http("GET", path + "?operation=" + operation)[0] == 200
    certificate, _ = server.sign("other")
    assert server.ocsp(certificate) == "good"
    metrics = server.metrics()
    assert metrics['revline_wrong_secrets_total{kind="scep"}'] == LIMIT
    assert metrics['revline_wrong_secrets_refused_total{kind="scep"}'] == 3
    assert "http.slowed" in server.log() and word not in server.log()


def test_a_wrong_challenge_of_a_renewal_is_a_guess(make_server, signer):
    """Its certificate would be enough elsewhere: so whether the challenge is right can be told."""
    server = make_server(**SLOW, REVLINE_STATIC_RENEWALS="false")
    old = scep_client.Signer(signer.key, scep(server, signer, CHALLENGE).certificate)
    for _ in range(LIMIT):
        assert scep_client.renew(server.url + "/static", old, "guess").pki_status == "FAILURE"  # without any: no guess
    for _ in range(LIMIT):
        assert scep_client.renew(server.url + "/static", old, "guess", challenge=WRONG).pki_status == "FAILURE"
    waits(server, signer)


def test_wrong_passwords_are_slowed(make_server, signer, tmp_path):
    server = make_server(**SLOW)
    request = lines(csr_der(client_key(), "guess"))
    for _ in range(2 * LIMIT):
        assert est(server, "simpleenroll", tmp_path, request).status == 401  # to ask what is wanted is no guess
    for i in range(LIMIT):
        assert est(server, ("simpleenroll", "serverkeygen")[i % 2], tmp_path, request, WRONG).status == 401
    for operation in ("simpleenroll", "serverkeygen", "wifi/simpleenroll", "simplereenroll"):
        answer = est(server, operation, tmp_path, request, CHALLENGE)
        assert answer.status == 429 and 0 < int(answer.headers["retry-after"]) <= 3600 / LIMIT and b"wait" in answer.body
    assert est(server, "cacerts", tmp_path).status == 200 and est(server, "csrattrs", tmp_path).status == 200
    waits(server, signer)


def test_client_certificates_that_may_not_are_slowed(make_server, tmp_path):
    server = make_server(**SLOW)
    certificate, key = enrolled(server, tmp_path)
    request = lines(csr_der(key, "another"))
    for _ in range(LIMIT):
        assert est(server, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key)).status == 403
    request = lines(csr_der(key, "est-1"))
    assert est(server, "simplereenroll", tmp_path, request, listener="est", client=(certificate, key)).status == 429


def test_wrong_tokens_are_slowed(make_server):
    server = make_server(**SLOW)
    for _ in range(2 * LIMIT):
        assert token_status(server, None)[0] == 401
    for i in range(LIMIT):
        assert token_status(server, TOKEN + str(i))[0] == 401
    status, headers, body = token_status(server, TOKEN)
    assert status == 429 and 0 < int(headers["Retry-After"]) <= 3600 / LIMIT and "error" in json.loads(body)
    assert token_status(server, TOKEN, source_address=ELSEWHERE)[0] == 200
    assert server.control("status")  # commands are not the network's
    assert TOKEN not in server.log()


def test_one_account_of_an_address_for_all_that_is_guessed(make_server, signer, tmp_path):
    server = make_server(**SLOW)
    for _ in range(2):
        assert scep(server, signer, WRONG).pki_status == "FAILURE"
        assert est(server, "simpleenroll", tmp_path, lines(csr_der(client_key(), "guess")), WRONG).status == 401
    assert token_status(server, WRONG)[0] == 401
    waits(server, signer)
    assert token_status(server, TOKEN)[0] == 429
    assert est(server, "simpleenroll", tmp_path, lines(csr_der(client_key(), "guess")), CHALLENGE).status == 429


def test_a_fleet_behind_one_address_goes_on_beside_a_device_that_is_wrong(make_server, signer):
    """Being right costs nothing, and mends nothing: a client with one right challenge guesses no faster at another."""
    server = make_server(**SLOW)
    for i in range(LIMIT - 1):
        assert scep(server, signer, WRONG).pki_status == "FAILURE"
        for k in range(4):
            assert scep(server, signer, CHALLENGE, transaction_id="right-%d-%d" % (i, k)).pki_status == "SUCCESS"
    assert scep(server, signer, WRONG).pki_status == "FAILURE"
    waits(server, signer)


def test_time_gives_back_what_was_lost(make_server, signer):
    server = make_server(**{**SLOW, "REVLINE_GUESS_LIMIT": "2", "REVLINE_GUESS_WINDOW": "6s"})
    eventually(lambda: token_status(server, WRONG)[0] == 429, "it is slowed")
    assert eventually(lambda: token_status(server, TOKEN)[0] == 200, "it has waited")
    assert scep(server, signer, CHALLENGE).pki_status == "SUCCESS"


def test_many_at_once_gain_nothing(make_server):
    """What is judged at the same time is owed: the wait is longer then."""
    server = make_server(**SLOW)
    signers = [scep_client.make_signer() for _ in range(4)]

    def guess(i):
        try:
            return scep(server, signers[i % 4], WRONG, transaction_id="many-%d" % i).pki_status
        except scep_client.HttpError as error:
            return error.status
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(guess, range(48)))
    judged = results.count("FAILURE")
    assert LIMIT <= judged <= LIMIT + 16 and judged + results.count(429) == 48
    assert server.metrics()['revline_wrong_secrets_total{kind="scep"}'] == judged
    assert (judged - LIMIT) * 3600 / LIMIT < waits(server, signers[0]) <= (judged - LIMIT + 1) * 3600 / LIMIT


def test_a_one_time_challenge_that_was_used_is_a_guess(make_server, signer):
    server = make_server(**SLOW)
    word = challenge(server)
    assert scep(server, signer, word, transaction_id="first").pki_status == "SUCCESS"
    assert scep(server, signer, word, transaction_id="first").pki_status == "SUCCESS"  # its own answer again
    for i in range(LIMIT):
        assert scep(server, signer, word, transaction_id="next-%d" % i).pki_status == "FAILURE"
    waits(server, signer)


def test_other_refusals_are_no_guesses(make_server, signer):
    server = make_server(**SLOW, REVLINE_STATIC_KEYS="rsa4096")
    weak = csr_der(client_key(), "guess")
    for _ in range(2 * LIMIT):
        assert scep(server, signer, CHALLENGE).pki_status == "FAILURE"  # a key that the profile does not take
        assert scep(server, signer, None).pki_status == "FAILURE"  # no challenge
        assert server.http("POST", "/static?operation=PKIOperation", weak)[0] == 400
        assert scep_client.cert_poll(server.url + "/static", signer, "none", server.ca.subject, signer.certificate.subject).pki_status == "FAILURE"
    assert server.metrics()['revline_wrong_secrets_total{kind="scep"}'] == 0


def test_without_a_limit_nobody_waits(make_server):
    server = make_server(**{**SLOW, "REVLINE_GUESS_LIMIT": "0"})
    assert {token_status(server, WRONG)[0] for _ in range(100)} == {401}
    assert api(server, "GET", "/api/sync/hold")[0] == 200
    assert not [name for name in server.metrics() if "wrong_secrets" in name]
