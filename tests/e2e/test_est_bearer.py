"""EST by access tokens of Microsoft Entra ID: services get what the profile certifies, users what is their own, nobody
else anything. Tokens are made by python3-cryptography."""

import re
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from entra_tokens import (AUDIENCE, SELF_ROLE, SERVICE, SERVICE_ROLE, SigningKey, encoded, encoded_json, hmac_token, issuer,
                          service_claims, unsigned_token, user_claims, version_1)
from harness import AAD_CHALLENGE, CHALLENGE, DER, client_key, eventually, utf8_der
from test_est import csr_der, est, lines, serial_of

SETTINGS = {"REVLINE_HTTPS_LISTEN": "127.0.0.1:0", "REVLINE_EST_LISTEN": "127.0.0.1:0", "REVLINE_ENTRA_AUDIENCE": AUDIENCE,
            "REVLINE_ENTRA_KEYS_INTERVAL": "100ms", "REVLINE_GUESS_LIMIT": "0", "REVLINE_STATIC_ENTRA_TOKENS": "true", "REVLINE_SCEP_PROFILES": "self",
            "REVLINE_SCEP_SELF_BINDING": "entra", "REVLINE_SCEP_SELF_ENTRA_TOKENS": "true"}
KEY = SigningKey("key-1")
BEARER_ASKED = 'WWW-Authenticate: Bearer realm="est"'


class Client:
    """EST with tokens; keeps them, since none may be in the log."""

    def __init__(self, server, folder):
        self.server, self.folder, self.used = server, folder, []

    def ask(self, operation, token, cn="host.example", data=None, **more):
        self.used.append(token)
        return est(self.server, operation, self.folder, lines(data or csr_der(client_key(), cn, **more)), token=token)

    def head(self):
        return (self.folder / "head").read_bytes().decode()

    def enroll(self, *arguments, **more):
        (certificate,) = self.ask(*arguments, **more).certificates
        return certificate


@pytest.fixture
def client(graph, synced, tmp_path):
    """client(NAME="value", …): of a server that accepts tokens; the directory's keys are published."""
    made = []

    def make(keys=(KEY,), start=True, **settings):
        graph.switch("signing_keys", [key.jwk() for key in keys])
        server = synced(start=start, **{**SETTINGS, **settings})
        made.append(Client(server, tmp_path))
        if start:
            wait_for_keys(server)
        return made[-1]

    yield make
    for one in made:
        log = one.server.log()
        assert not [part for token in one.used for part in token.split(".") if len(part) > 40 and part[:60] in log]


def wait_for_keys(server, n=1):
    eventually(lambda: len(re.findall(r"event=bearer\.keys ", server.log()[server.log_from:])) >= n, "the tenant's keys are known")


def certificates_of(server):
    return len(server.all_certificates())


# ---- services ----
def test_a_service_gets_what_the_profile_certifies(graph, client):
    c = client()
    given = service_claims(graph)
    certificate = c.enroll("simpleenroll", KEY.token(given), "any.host.example")
    assert certificate.subject.rfc4514_string() == "CN=any.host.example" and c.server.ocsp(certificate) == "good"
    shown = c.server.control("show", serial=serial_of(certificate))
    assert (shown["profile"], shown["requester"]) == ("static", "est:" + SERVICE)
    assert 'caller=%s' % SERVICE in c.server.log()
    for form in (version_1(given), version_1(given, AUDIENCE), dict(given, aud=AUDIENCE.upper()), dict(given, iss=issuer(graph).upper()), dict(given, idtyp=None),
                 dict(given, exp=int(time.time()) - 20), dict(given, nbf=int(time.time()) + 20), dict(given, roles=["Other", SERVICE_ROLE])):
        assert c.ask("static/simpleenroll", KEY.token({k: v for k, v in form.items() if v is not None})).status == 200, form
    answer = c.ask("serverkeygen", KEY.token(given), "keyless")
    assert answer.status == 200 and answer.headers["content-type"].startswith("multipart/mixed")
    # a profile that binds to the directory, for whoever it is about
    user = graph.add("users", "ada")
    c.server.sync_round()
    certificate = c.enroll("self/simpleenroll", KEY.token(given), "Ada", upn=user["userPrincipalName"])
    graph.update("users", user["id"], accountEnabled=False)
    c.server.sync_round()
    assert c.server.ocsp(certificate) == "hold"


# ---- users ----
def test_a_user_gets_a_certificate_for_themselves(graph, client):
    user, device = graph.add("users", "Ada@Contoso.example"), graph.add("devices", "adas-laptop")
    c = client()
    c.server.sync_round()
    given = user_claims(graph, user, deviceid=device["deviceId"])
    upn = user["userPrincipalName"]
    for form in (given, version_1(given)):
        certificate = c.enroll("self/simpleenroll", KEY.token(form), upn, upn=upn)
        assert c.server.ocsp(certificate) == "good"
    assert c.server.control("show", serial=serial_of(certificate))["requester"] == "est:" + user["id"]
    of_both = c.enroll("self/simpleenroll", KEY.token(given), device["deviceId"].upper(), upn=upn.upper())
    of_device = c.enroll("self/simpleenroll", KEY.token(given), "{%s}" % device["deviceId"])
    assert c.ask("self/serverkeygen", KEY.token(given), upn, upn=upn).status == 200
    graph.update("users", user["id"], accountEnabled=False)
    c.server.sync_round()
    assert [c.server.ocsp(x) for x in (certificate, of_both, of_device)] == ["hold", "hold", "good"]
    answer = c.ask("self/simpleenroll", KEY.token(given), device["deviceId"])  # though the token has not expired
    assert answer.status == 403 and b"disabled" in answer.body
    graph.update("users", user["id"], accountEnabled=True)
    graph.delete("devices", device["id"])
    c.server.sync_round()
    assert [c.server.ocsp(x) for x in (certificate, of_both, of_device)] == ["good", "revoked", "revoked"]
    answer = c.ask("self/simpleenroll", KEY.token(given), device["deviceId"])
    assert answer.status == 403 and b"deleted" in answer.body


def csr_with(names=(), subject=(), sid=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    if sid:
        value = b"\x04" + bytes([len(sid)]) + sid.encode()
        value = b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x19\x02\x01\xa0" + bytes([len(value)]) + value
        value = b"\xa0" + bytes([len(value)]) + value
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2"), b"\x30" + bytes([len(value)]) + value), critical=False)
    return builder.sign(client_key(), hashes.SHA256()).public_bytes(DER)


def upn_name(text):
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), utf8_der(text))


def test_nobody_gets_anothers(graph, client):
    ada, eve = graph.add("users", "ada"), graph.add("users", "eve")
    laptop, other = graph.add("devices", "eves-laptop"), graph.add("devices", "adas-laptop")
    c = client(REVLINE_STATIC_AAD_ENTRA_TOKENS="true", REVLINE_SCEP_SELF_NAMES="dns,wildcard,ip,mail,uri,upn", REVLINE_SCEP_SELF_ASKED_SID="true")
    c.server.sync_round()
    mine, theirs = eve["userPrincipalName"], ada["userPrincipalName"]
    token = KEY.token(user_claims(graph, eve, deviceid=laptop["deviceId"]))
    cn = lambda text: [(NameOID.COMMON_NAME, text)]
    attacks = [
        csr_der(client_key(), theirs, upn=theirs), csr_der(client_key(), mine, upn=theirs), csr_der(client_key(), theirs, upn=mine),
        csr_der(client_key(), "Ada Lovelace", upn=mine), csr_der(client_key(), other["deviceId"]), csr_der(client_key(), other["deviceId"], upn=mine),
        csr_der(client_key(), laptop["deviceId"], upn=theirs), csr_der(client_key(), laptop["id"]), csr_der(client_key(), eve["id"], upn=mine),
        csr_der(client_key(), mine, upn=mine, ou="Domain Admins"),
        csr_with([x509.RFC822Name(theirs)], cn(mine)), csr_with([upn_name(mine), x509.RFC822Name(theirs)], cn(mine)),
        csr_with([upn_name(mine), x509.DNSName("dc1.contoso.example")], cn(mine)), csr_with([x509.DNSName("dc1.contoso.example")], cn(laptop["deviceId"])),
        csr_with([upn_name(mine), x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500")], cn(mine)),
        csr_with([upn_name(mine)], cn(mine) + [(NameOID.EMAIL_ADDRESS, theirs)]), csr_with([upn_name(mine)], [(NameOID.USER_ID, theirs)]),
        csr_with([upn_name(mine + " ")], cn(mine)),
    ]
    before = certificates_of(c.server)
    for number, data in enumerate(attacks):
        answer = c.ask("self/simpleenroll", token, data=data)
        assert answer.status == 403, (number, answer.body)
    # two names of a kind, and none at all, are refused whoever asks
    for data in (csr_with([upn_name(mine), upn_name(theirs)], cn(mine)), csr_with([upn_name(mine)], cn(laptop["deviceId"]) + cn(other["deviceId"])), csr_with([], cn("x"))):
        assert c.ask("self/simpleenroll", token, data=data).status in (400, 403)
    # without the claim no device is the user's
    assert c.ask("self/simpleenroll", KEY.token(user_claims(graph, eve)), laptop["deviceId"]).status == 403
    # the token's own word of a name does not count: who has it in the directory does
    renamed = user_claims(graph, eve, preferred_username=theirs)
    assert c.ask("self/simpleenroll", KEY.token(renamed), theirs, upn=theirs).status == 403
    # where nothing is bound, nothing is anybody's own
    answer = c.ask("static/simpleenroll", token, mine, upn=mine)
    assert answer.status == 403 and b"binds no certificate" in answer.body
    assert certificates_of(c.server) == before
    # what a user says to be to Windows is left out
    certificate = c.enroll("self/simpleenroll", token, data=csr_with([upn_name(mine)], cn(mine), sid="S-1-5-21-1-2-3-500"))
    assert "1.3.6.1.4.1.311.25.2" not in [e.oid.dotted_string for e in certificate.extensions]
    assert [e.value for e in certificate.extensions if e.oid == x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME] == [x509.SubjectAlternativeName([upn_name(mine)])]


def test_roles(graph, client):
    user = graph.add("users", "ada")
    c = client()
    c.server.sync_round()
    upn = user["userPrincipalName"]
    for given in (user_claims(graph, user, []), user_claims(graph, user, [SERVICE_ROLE]), user_claims(graph, user, roles=[SELF_ROLE.lower()]),
                  user_claims(graph, user, roles=SELF_ROLE) | {"roles": SELF_ROLE}):
        answer = c.ask("self/simpleenroll", KEY.token(given), upn, upn=upn)
        assert answer.status == 403 and b"CSR.SelfService" in answer.body, given
    for given in (service_claims(graph, []), service_claims(graph, [SELF_ROLE]), {k: v for k, v in service_claims(graph).items() if k != "roles"}):
        answer = c.ask("simpleenroll", KEY.token(given))
        assert answer.status == 403 and b"CSR.Request.Db" in answer.body, given
    assert c.ask("self/simpleenroll", KEY.token(user_claims(graph, user)), upn, upn=upn).status == 200


def test_a_user_whom_the_sync_has_not_seen_yet(graph, client):
    c = client()
    c.server.sync_round()
    user = {"id": "5b1c9c0e-0000-4000-8000-00000000beef", "displayName": "new", "userPrincipalName": "new@contoso.example"}
    token, request = KEY.token(user_claims(graph, user)), csr_der(client_key(), "new@contoso.example", upn="new@contoso.example")
    answer = c.ask("self/simpleenroll", token, data=request)
    assert answer.status == 202 and answer.headers["retry-after"] == "1" and b"not known here yet" in answer.body
    assert c.ask("self/simpleenroll", token, "else@contoso.example", upn="else@contoso.example").status == 403
    graph.add("users", "new", **user)
    c.server.sync_round()
    (certificate,) = c.ask("self/simpleenroll", token, data=request).certificates
    assert c.server.ocsp(certificate) == "good"
    assert c.server.metrics()['revline_est_requests_total{operation="simpleenroll",result="pending"}'] == 1


def test_without_a_directory_nobody_is_waited_for(graph, client):
    c = client(REVLINE_SYNC_ENTRA_INTERVAL="0", REVLINE_INTUNE_ENROLLMENT="false")
    user = graph.add("users", "ada")
    answer = c.ask("self/simpleenroll", KEY.token(user_claims(graph, user)), user["userPrincipalName"], upn=user["userPrincipalName"])
    assert answer.status == 403 and b"not watched" in answer.body


# ---- tokens that are not accepted ----
def test_tokens_that_are_not_accepted(graph, client):
    c = client()
    now, good, stranger = int(time.time()), service_claims(graph), SigningKey("key-1", "a stranger's")
    other_tenant = "00000000-0000-4000-8000-000000000bad"
    whole = KEY.token(good)
    head, body, signature = whole.split(".")
    changed = encoded_json(dict(good, roles=[SERVICE_ROLE, "Manage.All"]))
    without = lambda name: {k: v for k, v in good.items() if k != name}
    tokens = {
        "expired": KEY.token(dict(good, exp=now - 120)), "not yet valid": KEY.token(dict(good, nbf=now + 600)),
        "without an end": KEY.token(without("exp")), "end as text": KEY.token(dict(good, exp=str(now + 3600))), "end as null": KEY.token(dict(good, exp=None)),
        "begin as text": KEY.token(dict(good, nbf=str(now))),
        "another audience": KEY.token(dict(good, aud="00000003-0000-0000-c000-000000000000")), "longer audience": KEY.token(dict(good, aud=AUDIENCE + "0")),
        "api:// of another": KEY.token(dict(good, aud="api://" + AUDIENCE[:-1])), "list of audiences": KEY.token(dict(good, aud=[AUDIENCE])),
        "without audience": KEY.token(without("aud")), "empty audience": KEY.token(dict(good, aud="")),
        "another tenant": KEY.token(dict(good, tid=other_tenant)), "without tenant": KEY.token(without("tid")),
        "another tenant's issuer": KEY.token(dict(good, iss=issuer(graph).replace("aaaabbbb", "bbbbaaaa"))),
        "version 1 of another tenant": KEY.token(dict(good, iss="https://sts.windows.net/%s/" % other_tenant)),
        "longer issuer": KEY.token(dict(good, iss=issuer(graph) + "/")), "without issuer": KEY.token(without("iss")),
        "personal accounts": KEY.token(dict(good, iss=issuer(graph), tid="9188040d-6c67-4c5b-b112-36a304b66dad")),
        "no object id": KEY.token(without("oid")), "object id that is none": KEY.token(dict(good, oid="ada@contoso.example")),
        "an ID token": KEY.token({k: v for k, v in dict(good, sub="pairwise", nonce="n").items() if k != "idtyp"}),
        "app with scopes": KEY.token(dict(good, scp="user_impersonation")), "user without scopes": KEY.token(dict(good, idtyp="user")),
        "unsigned": unsigned_token(good, "key-1"), "unsigned, None": unsigned_token(good, "key-1", "None"), "unsigned with a signature": unsigned_token(good, "key-1", "none", signature),
        "RS256 unsigned": unsigned_token(good, "key-1", "RS256"), "without algorithm": KEY.token(good, alg=None), "rs256": KEY.token(good, alg="rs256"),
        "RS512": KEY.token(good, hashes.SHA512(), alg="RS512"), "SHA-512 as RS256": KEY.token(good, hashes.SHA512()), "PS256": KEY.pss_token(good),
        "a stranger's key": stranger.token(good), "a stranger's key in the header": stranger.token(good, jwk=stranger.jwk()),
        "a stranger's key by URL": stranger.token(good, jku="http://localhost:1/keys", x5u="http://localhost:1/cert"),
        "critical members": KEY.token(good, crit=["exp"]), "b64": KEY.token(good, b64=False, crit=["b64"]),
        "no key id": KEY.token(good, kid=None), "empty key id": KEY.token(good, kid=""), "long key id": KEY.token(good, kid="k" * 200), "key id that is no text": KEY.token(good, kid=1),
        "changed claims": ".".join([head, changed, signature]), "changed header": ".".join([encoded_json({"alg": "RS256", "kid": "key-1"}), body, signature]),
        "half a signature": whole[:-100], "padded": whole + "==", "another dot": whole + ".", "five parts": whole + "." + body + "." + body,
        "two parts": head + "." + body, "one part": body, "empty": "", "dots": "..", "blank inside": head + " ." + body + "." + signature,
        "standard base64": encoded(b"\xff\xfe\xfd").replace("_", "/") + "." + body + "." + signature, "claims that are no object": KEY.token([1, 2]),
        "header that is no object": encoded_json([]) + "." + body + "." + signature, "header that is no JSON": encoded(b"{") + "." + body + "." + signature,
        "header too long": KEY.token(good, x5c=["A" * 5000]), "the challenge": CHALLENGE,
        **{"HMAC with the public key, %d" % i: hmac_token(good, secret, "key-1") for i, secret in enumerate(KEY.public_forms())},
    }
    before = certificates_of(c.server)
    for name, token in tokens.items():
        answer = c.ask("simpleenroll", token)
        assert answer.status == 401, (name, answer.status, answer.body)
        assert BEARER_ASKED + (', error="invalid_token"' if token else "") + "\r\n" in c.head() and 'Basic realm="est"' in c.head(), name
    assert certificates_of(c.server) == before
    assert c.ask("simpleenroll", whole).status == 200


def test_bad_tokens_are_counted_like_wrong_passwords(graph, client):
    c = client(REVLINE_GUESS_LIMIT="3", REVLINE_GUESS_WINDOW="1h")
    good, bad = KEY.token(service_claims(graph)), KEY.token(service_claims(graph, exp=1))
    for _ in range(5):  # neither a request without a token nor a good one without the role is a guess
        assert est(c.server, "simpleenroll", c.folder, lines(csr_der(client_key(), "host"))).status == 401
        assert c.ask("simpleenroll", KEY.token(service_claims(graph, []))).status == 403
    assert [c.ask("simpleenroll", bad).status for _ in range(4)] == [401, 401, 401, 429]
    answer = c.ask("simpleenroll", good)
    assert answer.status == 429 and int(answer.headers["retry-after"]) > 1


def test_where_tokens_are_taken_and_where_not(graph, client):
    c = client()
    token = KEY.token(service_claims(graph))
    answer = c.ask("static-aad/simpleenroll", token)  # has a challenge only
    assert answer.status == 401 and answer.headers["www-authenticate"] == 'Basic realm="est"'
    request = lines(csr_der(client_key(), "host"))
    assert est(c.server, "static-aad/simpleenroll", c.folder, request, AAD_CHALLENGE).status in (200, 400)
    # the profile without a challenge is there for EST only, and no password opens it
    assert c.server.http("GET", "/scep/self?operation=GetCACaps")[0] == 404
    for password in ("", CHALLENGE, None):
        answer = est(c.server, "self/simpleenroll", c.folder, request, password)
        assert answer.status == 401 and answer.headers["www-authenticate"] == 'Bearer realm="est"'
    assert est(c.server, "self/csrattrs", c.folder).status == 200
    # the static one takes both
    answer = est(c.server, "simpleenroll", c.folder, request)
    assert answer.status == 401 and b"token" in answer.body and BEARER_ASKED + "\r\n" in c.head()
    assert est(c.server, "simpleenroll", c.folder, request, CHALLENGE).status == 200
    # a token renews nothing, and is nothing in clear
    assert c.ask("simplereenroll", token).status == 401
    assert c.server.http("POST", "/.well-known/est/simpleenroll", request, {"Authorization": "Bearer " + token})[0] == 403


def test_without_a_label_the_holder_decides(graph, client):
    """SCEPman has one path for all tokens: services and users come there."""
    user = graph.add("users", "ada")
    upn = user["userPrincipalName"]
    c = client(REVLINE_STATIC_AAD_ENTRA_TOKENS="true")
    c.server.sync_round()
    profile = lambda certificate: c.server.control("show", serial=serial_of(certificate))["profile"]
    service, ada = KEY.token(service_claims(graph)), KEY.token(user_claims(graph, user))
    assert profile(c.enroll("simpleenroll", service, "host.example")) == "static"
    own = c.enroll("simpleenroll", ada, upn, upn=upn)
    assert profile(own) == "static-aad" and c.server.ocsp(own) == "good"
    assert b"names no Entra object" in c.ask("simpleenroll", ada, "host.example").body
    assert c.ask("serverkeygen", ada, upn, upn=upn).status == 200
    c.server.stop()
    c.server.settings["REVLINE_STATIC_ENTRA_TOKENS"] = "false"
    c.server.settings["REVLINE_STATIC_CHALLENGE"] = None
    c.server.start()
    wait_for_keys(c.server)
    assert profile(c.enroll("simpleenroll", service, upn, upn=upn)) == "static-aad"
    assert profile(c.enroll("simpleenroll", ada, upn, upn=upn)) == "static-aad"
    answer = c.ask("simpleenroll", "a" + ada, upn, upn=upn)
    assert answer.status == 401 and "invalid_token" in answer.headers["www-authenticate"]
    assert est(c.server, "simpleenroll", c.folder, lines(csr_der(client_key(), "host")), CHALLENGE).status == 404
    c.server.stop()
    c.server.settings["REVLINE_STATIC_AAD_ENTRA_TOKENS"] = "false"
    c.server.start()
    wait_for_keys(c.server)
    answer = c.ask("simpleenroll", ada, upn, upn=upn)
    assert answer.status == 403 and b"without a profile" in answer.body


def test_a_certificate_by_token_is_renewed_by_itself(graph, client):
    user = graph.add("users", "ada")
    c = client()
    c.server.sync_round()
    upn = user["userPrincipalName"]
    certificate = c.enroll("self/simpleenroll", KEY.token(user_claims(graph, user)), upn, upn=upn)
    request = lines(csr_der(client_key(), upn, upn=upn))
    renewed = est(c.server, "simplereenroll", c.folder, request, listener="est", client=(certificate, client_key()))
    assert len(renewed.certificates) == 1
    graph.update("users", user["id"], accountEnabled=False)
    c.server.sync_round()
    assert est(c.server, "simplereenroll", c.folder, request, listener="est", client=(certificate, client_key())).status == 403


# ---- the tenant's keys ----
def test_keys_are_rotated(graph, client):
    new = SigningKey("key-2")
    c = client(REVLINE_ENTRA_KEYS_INTERVAL="3s")  # longer than the questions that have to come within one
    old_token, new_token = (key.token(service_claims(graph)) for key in (KEY, new))
    assert c.ask("simpleenroll", old_token).status == 200
    graph.switch("signing_keys", [KEY.jwk(), new.jwk()])
    first = c.ask("simpleenroll", new_token)  # 401 within REVLINE_ENTRA_KEYS_INTERVAL of the last fetch
    assert first.status in (200, 401, 503) and (first.status != 503 or first.headers["retry-after"] == "5")
    eventually(lambda: c.ask("simpleenroll", new_token).status == 200, "the new key is known")
    assert c.ask("simpleenroll", old_token).status == 200  # both are published
    graph.switch("signing_keys", [new.jwk()])
    stranger = SigningKey("key-3").token(service_claims(graph))
    eventually(lambda: c.ask("simpleenroll", stranger).status == 401 and c.ask("simpleenroll", old_token).status == 401, "the old key is gone")
    assert c.ask("simpleenroll", new_token).status == 200


def test_unknown_keys_make_no_storm(graph, client):
    c = client(REVLINE_ENTRA_KEYS_INTERVAL="1d")
    before = len(graph.requests(on="openid."))
    for i in range(20):
        assert c.ask("simpleenroll", SigningKey("no-%d" % i, "key-1").token(service_claims(graph))).status == 401
    assert len(graph.requests(on="openid.")) == before
    assert c.ask("simpleenroll", KEY.token(service_claims(graph))).status == 200


@pytest.mark.parametrize("fail", [{"status": 503, "retry_after": 1}, {"status": 404, "html": True}, {"status": 307}])
def test_keys_that_cannot_be_had(graph, client, fail):
    graph.switch("fail", fail, on="openid.configuration")
    graph.switch("signing_keys", [KEY.jwk()])
    c = client(start=False)
    c.server.start()
    token = KEY.token(service_claims(graph))
    graph.wait(1, on="openid.configuration")
    answer = c.ask("simpleenroll", token)
    assert answer.status == 503 and answer.headers["retry-after"] == "5"
    graph.clear("fail")
    eventually(lambda: c.ask("simpleenroll", token).status == 200, "the keys are fetched when they can be")
    # away later: what is known stays in use, what is not is not
    graph.switch("fail", fail, on="openid.keys")
    stranger = SigningKey("key-2").token(service_claims(graph))
    eventually(lambda: "event=bearer.keys_failed" in c.server.log().split("event=bearer.keys ")[-1] or not c.ask("simpleenroll", stranger), "the fetch failed")
    assert c.ask("simpleenroll", stranger).status == 503
    assert c.ask("simpleenroll", token).status == 200
    metrics = c.server.metrics()
    assert metrics['revline_bearer_key_fetches_total{result="ok"}'] >= 1 and metrics['revline_bearer_key_fetches_total{result="failed"}'] >= 2


def test_a_hanging_login_host_holds_nobody_up(graph, client):
    graph.switch("hold", True, on="openid.")
    c = client(start=False)
    c.server.start()
    graph.wait(1, on="openid.", held=True)
    assert c.ask("simpleenroll", KEY.token(service_claims(graph))).status == 503
    assert est(c.server, "simpleenroll", c.folder, lines(csr_der(client_key(), "host")), CHALLENGE).status == 200
    c.server.stop(within=15)  # nor the stop
    graph.clear("hold")


def test_what_is_no_usable_key_set(graph, client):
    """Each in turn is refused, and what was known before stays."""
    c = client(start=False)
    graph.switch("signing_keys", [KEY.jwk(issuer="https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0")])
    c.server.start()
    token, stranger = KEY.token(service_claims(graph)), SigningKey("key-2").token(service_claims(graph))
    small, odd = SigningKey("key-1", "small", 1024), KEY.jwk(e="Ag")
    failures = lambda: len(re.findall(r"event=bearer\.keys_failed ", c.server.log()))
    for keys in ([KEY.jwk(use="enc")], [KEY.jwk(kty="EC")], [KEY.jwk(alg="RS512")], [KEY.jwk(kid=None)], [KEY.jwk(n="!")], [KEY.jwk(n="AQAB")], [small.jwk()], [odd],
                 [KEY.jwk(e="AQ")], [KEY.jwk(n=None)], [], [1, "x", None, []], [KEY.jwk(issuer=7)]):
        graph.switch("signing_keys", keys)
        before = failures()
        eventually(lambda: failures() > before + 1, "refused: %r" % (keys,))
        assert c.ask("simpleenroll", token).status == 503
    # marked as the tenant's, by its name or by the place for it
    for mark in (issuer(graph), issuer(graph).replace("aaaabbbb-0000-4000-8000-ccccddddeeee", "{tenantid}")):
        graph.switch("signing_keys", [{"kty": "RSA"}, KEY.jwk(issuer=mark)])
        eventually(lambda: c.ask("simpleenroll", token).status == 200, "accepted: " + mark)
    for changed in ({"issuer": "http://localhost:%d/common/v2.0" % graph.port}, {"jwks_uri": "http://localhost:1/keys"}, {"jwks_uri": "https://login.example/keys"},
                    {"jwks_uri": None}, {"issuer": 1}):
        graph.switch("openid", changed)
        before = failures()
        eventually(lambda: c.ask("simpleenroll", stranger) and failures() > before, "refused: %r" % (changed,))
        assert c.ask("simpleenroll", token).status == 200


# ---- settings ----
def test_settings_that_do_not_fit(make_server):
    server = make_server(start=False)
    for settings, wrong in (({"REVLINE_SCEP_PROFILES": "self", "REVLINE_SCEP_SELF_ENTRA_TOKENS": "true"}, "REVLINE_SCEP_SELF_ENTRA_TOKENS"),
                            ({"REVLINE_STATIC_AAD_ENTRA_TOKENS": "true"}, "REVLINE_STATIC_AAD_ENTRA_TOKENS"), ({"REVLINE_ENTRA_AUDIENCE": AUDIENCE}, "AZURE_TENANT_ID"),
                            ({"REVLINE_ENTRA_AUDIENCE": AUDIENCE, "AZURE_TENANT_ID": "contoso.example"}, "AZURE_TENANT_ID")):
        done = server.cli("config", "--check", code=1, settings=settings)
        assert wrong in done.stdout + done.stderr
    server.cli("config", "--check", settings={"REVLINE_ENTRA_AUDIENCE": AUDIENCE + " api://x", "AZURE_TENANT_ID": AUDIENCE, "REVLINE_STATIC_ENTRA_TOKENS": "true"})
