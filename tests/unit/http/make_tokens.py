"""Writes tokens.h, tokens and a key set as Entra ID has them, and the seed corpus of fuzz_jwt. python3-cryptography signs.

    /usr/bin/python3 tests/unit/http/make_tokens.py
"""
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
tests = here.parents[1]
sys.path.insert(0, str(tests / "e2e"))
import entra_tokens as entra  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402

NOW = 1790000000
TENANT = "aaaabbbb-0000-4000-8000-ccccddddeeee"
HOST = "https://login.microsoftonline.com"
ISSUER = "%s/%s/v2.0" % (HOST, TENANT)
USER, DEVICE = "6e7b768e-07e2-4810-8459-485f84f8f204", "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"

SERVICE = {"aud": entra.AUDIENCE, "iss": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "azp": entra.SERVICE, "azpacr": "1", "idtyp": "app",
           "oid": entra.SERVICE, "sub": entra.SERVICE, "tid": TENANT, "ver": "2.0", "roles": [entra.SERVICE_ROLE]}
PERSON = {"aud": entra.AUDIENCE, "iss": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "azp": entra.SERVICE, "azpacr": "0", "oid": USER.upper(),
          "sub": "pairwise", "scp": "user_impersonation", "tid": TENANT.upper(), "ver": "2.0", "preferred_username": "Ada@Contoso.example",
          "deviceid": DEVICE, "roles": [entra.SELF_ROLE, "Other"]}
PERSON_1 = {**{k: v for k, v in PERSON.items() if k != "preferred_username"}, "aud": "api://" + entra.AUDIENCE, "iss": "https://sts.windows.net/%s/" % TENANT,
            "ver": "1.0", "upn": "ada@contoso.example", "unique_name": "ada@contoso.example"}


def without(claims, name):
    return {k: v for k, v in claims.items() if k != name}


def main():
    key, other, short, alien = entra.SigningKey("first"), entra.SigningKey("second", bits=3072), entra.SigningKey("short", bits=1024), entra.SigningKey("alien")
    marked = key.jwk(issuer=HOST + "/{tenantid}/v2.0", x5c=["MIIC"])
    personal = alien.jwk(issuer=HOST + "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0")
    keys = {"keys": [{"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA"}, marked, short.jwk(), personal, other.jwk(alg="RS256", use=None),
                     entra.SigningKey("first", "alien").jwk(), entra.SigningKey("enc", "alien").jwk(use="enc")]}
    good = key.token(SERVICE)
    head, body, signature = good.split(".")
    tokens = [  # name, token, what the reason has (none: it is good)
        ("service", good, None), ("another key", other.token(SERVICE), None), ("another key, version 1", other.token(PERSON_1), None), ("person", key.token(PERSON), None), ("person, version 1", key.token(PERSON_1), None),
        ("service without idtyp", key.token(without(SERVICE, "idtyp")), None),
        ("just expired", key.token(dict(SERVICE, exp=NOW - 59)), None), ("expired", key.token(dict(SERVICE, exp=NOW - 60)), "expired"),
        ("almost valid", key.token(dict(SERVICE, nbf=NOW + 60)), None), ("not yet valid", key.token(dict(SERVICE, nbf=NOW + 61)), "not valid yet"),
        ("never", key.token(dict(SERVICE, exp=-(1 << 63))), "expired"), ("for ever", key.token(dict(SERVICE, exp=(1 << 63) - 1)), None),
        ("end that is no integer", key.token(dict(SERVICE, exp=NOW + 0.5)), "when it ends"), ("without an end", key.token(without(SERVICE, "exp")), "when it ends"),
        ("audience", key.token(dict(SERVICE, aud="x")), "audience"), ("second audience", key.token(dict(SERVICE, aud="https://pki.contoso.example")), None),
        ("both audiences", key.token(dict(SERVICE, aud=entra.AUDIENCE + " https://pki.contoso.example")), "audience"),
        ("issuer", key.token(dict(SERVICE, iss="https://login.example/%s/v2.0" % TENANT)), "another issuer"),
        ("China's issuer", key.token(dict(SERVICE, iss="https://sts.chinacloudapi.cn/%s/" % TENANT)), "another issuer"),
        ("tenant", key.token(dict(SERVICE, tid=USER)), "another tenant"), ("no object", key.token(without(SERVICE, "oid")), "oid"),
        ("ID token", key.token(without(PERSON, "scp")), "no access token"), ("scopes that are none", key.token(dict(PERSON, scp="")), "no access token"),
        ("app with scopes", key.token(dict(SERVICE, scp="x")), "no access token"),
        ("none", entra.unsigned_token(SERVICE, "first"), "compact form"), ("nOnE", entra.unsigned_token(SERVICE, "first", "nOnE", signature), "RS256"),
        ("HS256", entra.hmac_token(SERVICE, key.public_forms()[0], "first"), "RS256"), ("PS256", key.pss_token(SERVICE), "RS256"),
        ("SHA-384", key.token(SERVICE, hashes.SHA384()), "signature"), ("another's key", entra.SigningKey("first", "alien").token(SERVICE), "signature"),
        ("changed", ".".join([head, entra.encoded_json(PERSON), signature]), "signature"), ("critical", key.token(SERVICE, crit=[]), "critical"),
        ("no key", key.token(SERVICE, kid=None), "name the key"), ("later key, version 1", entra.SigningKey("later", "alien").token(PERSON_1), "unknown"), ("unknown key", entra.SigningKey("third", "first").token(SERVICE), "unknown"),
        ("EC key", entra.SigningKey("ec", "first").token(SERVICE), "unknown"), ("short key", short.token(SERVICE), "unknown"), ("personal accounts' key", alien.token(SERVICE), "unknown"),
        ("encryption key", entra.SigningKey("enc", "alien").token(SERVICE), "unknown"), ("claims that are a list", key.token([SERVICE]), "JSON objects"),
        ("two parts", head + "." + body, "compact form"), ("four parts", good + ".AA", "compact form"), ("no claims", head + ".." + signature, "compact form"),
        ("padding", good + "==", "compact form"),
    ]
    quoted = lambda text: "\n     ".join(json.dumps(text[i:i + 100]) for i in range(0, max(len(text), 1), 100))
    lines = ["/* Written by make_tokens.py: do not edit. Valid at TOKENS_NOW. */", "#ifndef TESTS_TOKENS_H", "#define TESTS_TOKENS_H", "", "/* clang-format off */",
             "enum { TOKENS_NOW = %d };" % NOW, "#define TOKENS_TENANT   %s" % json.dumps(TENANT), "#define TOKENS_HOST     %s" % json.dumps(HOST),
             "#define TOKENS_AUDIENCE %s" % json.dumps(entra.AUDIENCE), "#define TOKENS_SERVICE  %s" % json.dumps(entra.SERVICE), "#define TOKENS_USER     %s" % json.dumps(USER),
             "#define TOKENS_DEVICE   %s" % json.dumps(DEVICE), "", "static const char tokens_keys[] =", "    " + quoted(json.dumps(keys)) + ";", "", "/* After a rotation. */",
             "__attribute__((unused)) static const char tokens_other_keys[] =", "    " + quoted(json.dumps({"keys": [entra.SigningKey("later", "alien").jwk()]})) + ";", "",
             "/* `why` is a part of the reason for which it is refused; NULL: it is good. */", "static const struct {", "    const char *name, *token, *why;", "} tokens[] = {"]
    for name, token, why in tokens:
        lines.append("    {%s,\n     %s,\n     %s}," % (json.dumps(name), quoted(token), json.dumps(why) if why else "NULL"))
    (here / "tokens.h").write_text("\n".join(lines + ["};", "/* clang-format on */", "", "#endif", ""]))
    corpus = tests / "fuzz" / "corpus" / "fuzz_jwt"
    corpus.mkdir(parents=True, exist_ok=True)
    for name, octets in {"keys": b"k" + json.dumps(keys).encode(), "token": b"t" + good.encode(), "person_1": b"t" + key.token(PERSON_1).encode(),
                         "none": b"t" + entra.unsigned_token(SERVICE, "first").encode(), "service_claims": b"c" + json.dumps(SERVICE).encode(),
                         "person_claims": b"c" + json.dumps(PERSON).encode(), "person_1_claims": b"c" + json.dumps(PERSON_1).encode()}.items():
        (corpus / name).write_bytes(octets)


main()
