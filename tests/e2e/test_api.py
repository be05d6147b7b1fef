"""The REST API: who may, one-time challenges, decisions on mass changes."""

import datetime
import json
import ssl
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import scep_client
from harness import CHALLENGE, client_key, eventually, one_round
from test_est import EST, csr_der, est, lines

TOKEN = "api-token-0123456789"
API = {**EST, "REVLINE_API_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def signer():
    return scep_client.make_signer()


def api(server, method, path, body=None, token=TOKEN):
    context = ssl.create_default_context(cafile=server.ca_file())
    request = urllib.request.Request("https://127.0.0.1:%d%s" % (server.tls_port("https"), path), method=method,
                                     data=body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode(),
                                     headers={"Authorization": "Bearer " + token} if token else {})
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text[:1] == b"{" else text


def challenge(server, **body):
    status, answer = api(server, "POST", "/api/challenge", {"profile": "static", **body})
    assert status == 200, answer
    return answer["challenge"]


def enroll(server, word, signer, cn="one-time", **more):
    return scep_client.enroll(server.url + "/static", word, cn, signer=signer, **more)


@pytest.mark.parametrize("method, path", [("POST", "/api/challenge"), ("GET", "/api/sync/hold"), ("POST", "/api/sync/hold/1/drop")])
def test_who_may(make_server, method, path):
    server = make_server(**API)
    for token in (None, "", "wrong", TOKEN + "x", TOKEN[:-1]):
        assert api(server, method, path, {"profile": "static"}, token)[0] == 401
    assert server.http(method, path, b"{}", {"Authorization": "Bearer " + TOKEN})[0] == 403  # in clear
    assert TOKEN not in server.log()
    assert api(make_server(**EST), method, path, {})[0] == 404  # it is off


@pytest.mark.parametrize("body, part", [(b"", "JSON"), (b"[]", "JSON"), ({}, "profile"), ({"profile": "nothing"}, "profile"),
                                        ({"profile": "intune"}, "profile"), ({"profile": "jamf"}, "profile"),
                                        ({"profile": "static", "lifetime": "1s"}, "1m"), ({"profile": "static", "lifetime": "31d"}, "30d"),
                                        ({"profile": "static", "lifetime": "soon"}, "duration"), ({"profile": "static", "subject": ""}, "subject"),
                                        ({"profile": "static", "subject": "laptop-1"}, "laptop-1"), ({"profile": "static", "subject": "X=laptop-1"}, "X"),
                                        ({"profile": "static", "names": "laptop-1"}, "laptop-1"), ({"profile": "static", "names": "dNSName:a"}, "dNSName:a"),
                                        ({"profile": "static", "names": "DNS:a,,DNS:b"}, "names"), ({"profile": "static", "names": "DNS:"}, "DNS:"),
                                        ({"profile": "static", "names": "IP:192.0.2.256"}, "IP:192.0.2.256"),
                                        ({"profile": "static", "names": ""}, "names"),
                                        ({"profile": "static", "subject": None}, "subject"), ({"profile": "static", "subject": ["CN=laptop-1"]}, "subject"),
                                        ({"profile": "static", "lifetime": 60}, "lifetime"), ({"profile": "static", "subjct": "CN=laptop-1"}, "subjct")])
def test_what_is_no_wish_for_a_challenge(make_server, body, part):
    status, answer = api(make_server(**API), "POST", "/api/challenge", body)
    assert status == 400 and part in answer["error"]


def test_a_challenge_is_good_once(make_server, signer):
    server = make_server(**API)
    word = challenge(server)
    first = enroll(server, word, signer, transaction_id="first")
    assert first.pki_status == "SUCCESS" and server.ocsp(first.certificate) == "good"
    again = enroll(server, word, signer, transaction_id="first")  # the answer was lost: the same transaction
    assert again.certificate == first.certificate
    for more in ({"transaction_id": "second"}, {"transaction_id": "first", "cn": "another"}):
        assert enroll(server, word, signer, **more).fail_info == "badRequest"
    assert enroll(server, word, scep_client.make_signer(), transaction_id="first").fail_info == "badRequest"  # another's key
    assert word not in server.log()


def test_it_is_a_renewals_challenge_too(make_server, signer):
    """Where a certificate alone renews nothing; as good once as for an enrolment."""
    server = make_server(**API, REVLINE_STATIC_RENEWALS="false")
    old = scep_client.Signer(signer.key, enroll(server, CHALLENGE, signer).certificate)
    word = challenge(server, subject="CN=one-time")
    renew = lambda transaction: scep_client.renew(server.url + "/static", old, "one-time", challenge=word, transaction_id=transaction)
    first = renew("renewal")
    assert first.pki_status == "SUCCESS" and first.certificate != old.certificate
    assert renew("renewal").certificate == first.certificate
    assert renew("another").fail_info == "badRequest"
    assert server.metrics()['revline_wrong_secrets_total{kind="scep"}'] == 1


def test_it_was_used_after_a_kill_too(make_server, signer):
    server = make_server(**API)
    used, unused = challenge(server), challenge(server)
    assert enroll(server, used, signer, transaction_id="before").pki_status == "SUCCESS"
    server.kill()
    server.start()
    assert enroll(server, used, signer, transaction_id="after").pki_status == "FAILURE"
    assert enroll(server, used, signer, transaction_id="before").pki_status == "SUCCESS"
    assert enroll(server, unused, signer, transaction_id="after").pki_status == "SUCCESS"


def test_at_once_only_one_gets_a_certificate(make_server):
    server = make_server(**API)
    word, signers = challenge(server), [scep_client.make_signer() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda s: enroll(server, word, s).pki_status, signers))
    assert results.count("SUCCESS") == 1 and results.count("FAILURE") == 7


def test_it_is_bound_to_subject_and_profile(make_server, signer):
    server = make_server(**API)
    word = challenge(server, subject="CN=laptop-1")
    assert enroll(server, word, signer, cn="laptop-2").pki_status == "FAILURE"
    assert scep_client.enroll(server.url + "/static/aad", word, "laptop-1", signer=signer).pki_status == "FAILURE"
    assert enroll(server, word, signer, cn="laptop-1").pki_status == "SUCCESS"
    assert enroll(server, CHALLENGE, signer, cn="anybody").pki_status == "SUCCESS"  # the profile's own goes on
    word = challenge(server, subject="CN=laptop\\2D3")  # however it is written
    assert enroll(server, word, signer, cn="laptop-4").pki_status == "FAILURE"
    assert enroll(server, word, signer, cn="laptop-3").pki_status == "SUCCESS"


def test_what_it_is_bound_to_are_all_names(make_server, signer):
    """Else a laptop's challenge would be good for any user, and for any host."""
    server, device = make_server(**API, REVLINE_STATIC_AAD_CHALLENGE="aad-challenge-1"), "1b1b2c3d-0000-4000-8000-00000000000a"
    word = challenge(server, subject="CN=laptop-1")
    for others in ({"dns": ["dc1.example.test"]}, {"upn": "admin@example.test"}, {"dns": ["laptop-1", "dc1.example.test"]}):
        assert enroll(server, word, signer, cn="laptop-1", **others).pki_status == "FAILURE", others
    assert enroll(server, word, signer, cn="laptop-1", dns=["laptop-1"]).pki_status == "SUCCESS"  # the same name
    word = challenge(server, profile="static-aad", subject="CN=" + device)
    assert scep_client.enroll(server.url + "/static/aad", word, device, upn="admin@example.test", signer=signer).pki_status == "FAILURE"
    word = challenge(server, subject="CN=laptop-1", names="DNS:laptop-1.example.test, UPN:ada@example.test")
    assert enroll(server, word, signer, cn="laptop-1", upn="bob@example.test").pki_status == "FAILURE"
    assert enroll(server, word, signer, cn="laptop-1", upn="laptop-1.example.test").pki_status == "FAILURE"  # of another kind
    assert enroll(server, word, signer, cn="laptop-1", upn="Ada@example.test", dns=["LAPTOP-1.example.test"]).pki_status == "SUCCESS"
    word = challenge(server, names="DNS:host.example.test")  # of any subject
    assert enroll(server, word, signer, cn="one", dns=["other.example.test"]).pki_status == "FAILURE"
    assert enroll(server, word, signer, cn="one", dns=["host.example.test"]).pki_status == "SUCCESS"


def test_its_end_is_told(make_server):
    status, answer = api(make_server(**API), "POST", "/api/challenge", {"profile": "static", "lifetime": "1m"})
    left = datetime.datetime.fromisoformat(answer["expires"].replace("Z", "+00:00")) - datetime.datetime.now(datetime.timezone.utc)
    assert status == 200 and datetime.timedelta(seconds=30) < left <= datetime.timedelta(seconds=61)


def test_by_est_too(make_server, tmp_path):
    server = make_server(**API)
    word = challenge(server, subject="CN=by-est")
    assert est(server, "simpleenroll", tmp_path, lines(csr_der(client_key(), "other")), word).status == 401
    first = est(server, "simpleenroll", tmp_path, lines(csr_der(client_key(), "by-est")), word).certificates
    assert len(first) == 1
    again = est(server, "simpleenroll", tmp_path, lines(csr_der(client_key(), "by-est")), word)  # the answer was lost
    assert again.certificates == first
    stranger = scep_client.make_key()
    assert est(server, "simpleenroll", tmp_path, lines(csr_der(stranger, "by-est")), word).status == 401
    assert est(server, "serverkeygen", tmp_path, lines(csr_der(client_key(), "by-est")), word).status == 401
    made = challenge(server, subject="CN=by-est")
    assert est(server, "serverkeygen", tmp_path, lines(csr_der(client_key(), "by-est")), made).status == 200
    assert est(server, "serverkeygen", tmp_path, lines(csr_der(client_key(), "by-est")), made).status == 401


def test_mass_changes_are_decided(graph, synced):
    devices = [graph.add("devices", "pc-%d" % i) for i in range(4)]
    server = synced(**API, REVLINE_SYNC_MASS_LIMIT="1")
    server.sync_round()
    serials = [server.sign_for_device(d)[1] for d in devices]
    assert api(server, "GET", "/api/sync/hold") == (200, {"changes": []})
    with one_round(graph):
        for d in devices[:3]:
            graph.delete("devices", d["id"])
    (held,) = eventually(lambda: [c for c in api(server, "GET", "/api/sync/hold")[1]["changes"] if c["state"] == "held"], "it is held")
    assert (held["source"], held["certificates"]) == ("entra-device", 3)
    assert [server.status_of(s) for s in serials] == ["good"] * 4
    for path in ("/api/sync/hold/99/release", "/api/sync/hold/x/release", "/api/sync/hold/1/forget", "/api/sync/hold/"):
        assert api(server, "POST", path, b"")[0] in (400, 404)
    status, answer = api(server, "POST", "/api/sync/hold/%d/release" % held["id"], b"")
    assert status == 200 and answer["changed"] == 3
    assert [server.status_of(s) for s in serials] == ["revoked"] * 3 + ["good"]
