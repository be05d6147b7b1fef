"""Who guesses at challenges, passwords and tokens waits; who is right, elsewhere, or asks for something else, does not."""

import http.client
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


def token_status(server, token, headers=None, **more):
    """Of the API; by a connection of its own, from another address if told so."""
    context = ssl.create_default_context(cafile=server.ca_file())
    connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port("https"), context=context, timeout=30, **more)
    try:
        connection.request("GET", "/api/sync/hold", headers={**(headers or {}), **({"Authorization": "Bearer " + token} if token else {})})
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


def nobodys_poll(server, signer):
    return scep_client.cert_poll(server.url + "/static", signer, "none", server.ca.subject, signer.certificate.subject)


@pytest.mark.parametrize("ask", [lambda server, signer: scep(server, signer, CHALLENGE, tamper="padding"),
                                 lambda server, signer: scep(server, signer, CHALLENGE, tamper="key"),
                                 lambda server, signer: scep(server, signer, CHALLENGE, message_type=scep_client.CERT_POLL),
                                 nobodys_poll], ids=["padding", "key", "request as poll", "poll"])
def test_what_the_servers_key_does_not_open_is_slowed(make_server, signer, ask):
    """By many messages around somebody else's ciphertext one may learn of it; and what is not found is as what does not open."""
    server = make_server(**SLOW)
    for _ in range(LIMIT):
        assert ask(server, signer).fail_info in ("badMessageCheck", "badCertId")
    waits(server, signer)
    assert server.metrics()['revline_wrong_secrets_total{kind="scep"}'] == LIMIT


def test_other_refusals_are_no_guesses(make_server, signer):
    server = make_server(**SLOW, REVLINE_STATIC_KEYS="rsa4096")
    weak = csr_der(client_key(), "guess")
    for _ in range(2 * LIMIT):
        assert scep(server, signer, CHALLENGE).pki_status == "FAILURE"  # a key that the profile does not take
        assert scep(server, signer, None).pki_status == "FAILURE"  # no challenge
        assert server.http("POST", "/static?operation=PKIOperation", weak)[0] == 400
    assert server.metrics()['revline_wrong_secrets_total{kind="scep"}'] == 0


def test_without_a_limit_nobody_waits(make_server):
    server = make_server(**{**SLOW, "REVLINE_GUESS_LIMIT": "0"})
    assert {token_status(server, WRONG)[0] for _ in range(100)} == {401}
    assert api(server, "GET", "/api/sync/hold")[0] == 200
    assert not [name for name in server.metrics() if "wrong_secrets" in name]


# ---- behind a reverse proxy ----
@pytest.fixture
def proxy(request):
    """proxy(server): a reverse proxy's URL. Its clients say by X-Client where they are; it appends that to X-Forwarded-For."""
    def make(server):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                before = self.headers.get_all("X-Forwarded-For") or []
                status, headers, answer = server.http(self.command, self.path, body or None,
                                                      {"X-Forwarded-For": ", ".join(before + [self.headers["X-Client"]])})
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
            do_GET = do_POST

            def log_message(self, *_):
                pass
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=httpd.serve_forever).start()
        request.addfinalizer(httpd.server_close)
        request.addfinalizer(httpd.shutdown)
        return "http://127.0.0.1:%d" % httpd.server_port
    return make


def scep_from(monkeypatch, url, client, signer, word, **forged):
    """The status of a request by a client at that address; 0: refused by SCEP."""
    plain = scep_client.request
    with monkeypatch.context() as patch:
        patch.setattr(scep_client, "request", lambda method, at, body=None, headers=None: plain(
            method, at, body, {**(headers or {}), "X-Client": client, **forged}))
        try:
            return 200 if scep_client.enroll(url + "/static", word, "guess", signer=signer).pki_status == "SUCCESS" else 0
        except scep_client.HttpError as error:
            return error.status


def test_behind_a_trusted_proxy_each_client_has_its_own_account(make_server, signer, proxy, monkeypatch):
    server = make_server(**SLOW, REVLINE_TRUSTED_PROXIES="10.9.0.0/16,127.0.0.1")
    url = proxy(server)
    for _ in range(LIMIT):
        assert scep_from(monkeypatch, url, "192.0.2.7", signer, WRONG) == 0
    assert scep_from(monkeypatch, url, "192.0.2.7", signer, CHALLENGE) == 429
    assert scep_from(monkeypatch, url, "192.0.2.7:4711", signer, CHALLENGE) == 429
    assert scep_from(monkeypatch, url, "192.0.2.7, 10.9.0.1", signer, CHALLENGE) == 429  # through another proxy
    forged = {"X-Forwarded-For": "198.51.100.%d" % LIMIT}  # the client's own word of where it is
    assert scep_from(monkeypatch, url, "192.0.2.7", signer, CHALLENGE, **forged) == 429
    assert scep_from(monkeypatch, url, "192.0.2.8", signer, CHALLENGE) == 200
    assert scep_from(monkeypatch, url, "2001:db8::8", signer, CHALLENGE) == 200
    assert scep(server, signer, CHALLENGE).pki_status == "SUCCESS"  # the proxy's own account
    log = server.log()
    assert "peer=192.0.2.7 seconds=" in log and "peer=192.0.2.8" in log and "peer=2001:db8::8" in log
    assert "198.51.100" not in log and "peer=10.9.0.1" not in log


@pytest.mark.parametrize("trusted", ["", "127.0.0.2,192.0.2.0/24"])
def test_anybody_elses_word_of_where_it_comes_from_is_not_believed(make_server, signer, proxy, monkeypatch, trusted):
    server = make_server(**SLOW, REVLINE_TRUSTED_PROXIES=trusted)
    url = proxy(server)
    for i in range(LIMIT):
        assert scep_from(monkeypatch, url, "192.0.2.%d" % i, signer, WRONG) == 0
    assert scep_from(monkeypatch, url, "192.0.2.77", signer, CHALLENGE) == 429
    assert "192.0.2." not in server.log()


def test_a_proxys_clients_are_counted_over_tls_too(make_server):
    server = make_server(**SLOW, REVLINE_TRUSTED_PROXIES="127.0.0.1")
    for client in ("192.0.2.7", "192.0.2.8"):
        for _ in range(LIMIT):
            assert token_status(server, WRONG, headers={"X-Forwarded-For": client})[0] == 401
        assert token_status(server, TOKEN, headers={"X-Forwarded-For": client})[0] == 429
    assert token_status(server, TOKEN, headers={"X-Forwarded-For": "192.0.2.9"})[0] == 200


def test_a_proxy_may_have_more_connections_than_a_client(make_server):
    server = make_server(REVLINE_HTTP_MAX_CONNECTIONS_PER_ADDRESS="2", REVLINE_TRUSTED_PROXIES="127.0.0.1")
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(8)]
    for connection in connections:
        connection.request("GET", "/probe/live")
        assert connection.getresponse().read() is not None
    for connection in connections:
        connection.request("GET", "/probe/live")
        assert connection.getresponse().status == 200
        connection.close()
