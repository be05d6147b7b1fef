"""Access tokens as Microsoft Entra ID makes them, by python3-cryptography: signed with keys of the tests' own, which the
Graph fake publishes (its switch `signing_keys`).

    key = SigningKey("kid-1")
    graph.switch("signing_keys", [key.jwk()])
    key.token(user_claims(issuer, "CSR.SelfService", oid=user["id"]))
"""

import base64
import functools
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from harness import fake_graph

AUDIENCE = "7d0c1e52-0000-4000-8000-00000000a9d1"
SERVICE_ROLE, SELF_ROLE = "CSR.Request.Db", "CSR.SelfService"
SERVICE = "3e1fa0c8-0000-4000-8000-000000005e1f"  # the principal of an application


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def encoded_json(value):
    return encoded(json.dumps(value).encode())


@functools.lru_cache(None)
def rsa_key(name, bits=2048):
    return rsa.generate_private_key(65537, bits)


class SigningKey:
    def __init__(self, kid, name=None, bits=2048):
        self.kid, self.key = kid, rsa_key(name or kid, bits)

    def jwk(self, **members):
        numbers = self.key.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        jwk = {"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "n": encoded(numbers.n.to_bytes(size, "big")), "e": "AQAB", **members}
        return {name: value for name, value in jwk.items() if value is not None}

    def public_forms(self):
        """What a verifier that lets the token choose would take for an HMAC key."""
        return [self.key.public_key().public_bytes(*form) for form in (
            (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            (serialization.Encoding.PEM, serialization.PublicFormat.PKCS1))] + [json.dumps(self.jwk()).encode()]

    def token(self, claims, algorithm=hashes.SHA256(), **header):
        head = {"typ": "JWT", "alg": "RS256", "kid": self.kid, **header}
        text = "%s.%s" % (encoded_json({k: v for k, v in head.items() if v is not None}), encoded_json(claims))
        return "%s.%s" % (text, encoded(self.key.sign(text.encode(), padding.PKCS1v15(), algorithm)))

    def pss_token(self, claims):
        text = "%s.%s" % (encoded_json({"typ": "JWT", "alg": "PS256", "kid": self.kid}), encoded_json(claims))
        return "%s.%s" % (text, encoded(self.key.sign(text.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())))


def hmac_token(claims, secret, kid):
    text = "%s.%s" % (encoded_json({"typ": "JWT", "alg": "HS256", "kid": kid}), encoded_json(claims))
    return "%s.%s" % (text, encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest()))


def unsigned_token(claims, kid, alg="none", signature=""):
    return "%s.%s.%s" % (encoded_json({"typ": "JWT", "alg": alg, "kid": kid}), encoded_json(claims), signature)


def issuer(graph):
    return "http://localhost:%d/%s/v2.0" % (graph.port, fake_graph.TENANT)


def claims(graph, oid, roles, **changes):
    """Claims of version 2; with None as value a claim is left out."""
    now = int(time.time())
    all_ = {"aud": AUDIENCE, "iss": issuer(graph), "iat": now, "nbf": now, "exp": now + 3600, "oid": oid, "tid": fake_graph.TENANT,
            "ver": "2.0", "uti": "x", "roles": roles, **changes}
    return {name: value for name, value in all_.items() if value is not None}


def service_claims(graph, roles=(SERVICE_ROLE,), **changes):
    """Of an application that acts for itself."""
    return claims(graph, SERVICE, list(roles), **{"azp": SERVICE, "azpacr": "1", "sub": SERVICE, "idtyp": "app", **changes})


def user_claims(graph, user, roles=(SELF_ROLE,), **changes):
    """Of somebody who has signed in to an application that asks in their name."""
    return claims(graph, user["id"], list(roles), **{"azp": "0b7f", "azpacr": "0", "sub": "pairwise-subject-of-this-application", "scp": "user_impersonation",
                                                     "name": user["displayName"], "preferred_username": user["userPrincipalName"], **changes})


def version_1(given, audience="api://" + AUDIENCE):
    """The same as an access token of version 1 says it."""
    out = dict(given, ver="1.0", aud=audience, iss="https://sts.windows.net/%s/" % fake_graph.TENANT)
    out.pop("idtyp", None)
    if "preferred_username" in out:
        out["upn"] = out["unique_name"] = out.pop("preferred_username")
    return out
