"""What the token endpoints check of a login: the application's assertion, a federated token, a managed identity. And what
the tenant publishes for whoever checks its tokens: OpenID configuration and key set.

RSA-PSS is verified with Python's integers: RFC 8017 §8.1.2 and §9.1.2."""

import base64
import hashlib
import json
import time

APP_SERVICE_PATH = "/msi/token"
APP_SERVICE_SECRET = "platform-secret-0123456789"
IMDS_PATH = "/metadata/identity/oauth2/token"
USER_ASSIGNED = "22222222-2222-4222-8222-222222222222"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

LOGIN_SWITCHES = {
    "client_certificate": "{n, e, x5t, x5c}: the application's certificate; modulus in hexadecimal, SHA-256 in base64url; the chain that must "
                          "come along, without x5c none",
    "federated_token": "the token that the application's federated credential accepts",
    "signing_keys": "JSON Web Keys that the tenant publishes; it signs nothing itself, and without this it has none",
    "openid": "members of the OpenID configuration that are other than they should be",
    "identity_error": "{status, error, retry_after}: what a managed identity's endpoint answers instead",
}


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def mgf1(seed, n):
    out = b"".join(hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(n // 32 + 1))
    return out[:n]


def is_pss(n, e, message, signature):
    """RSASSA-PSS-VERIFY with SHA-256 and a salt of 32 octets."""
    size = (n.bit_length() + 7) // 8
    bits = n.bit_length() - 1
    if len(signature) != size:
        return False
    em = pow(int.from_bytes(signature, "big"), e, n).to_bytes((bits + 7) // 8, "big")
    masked, h = em[:-33], em[-33:-1]
    if em[-1] != 0xbc:
        return False
    db = bytearray(a ^ b for a, b in zip(masked, mgf1(h, len(masked))))
    db[0] &= 0xff >> (8 * len(em) - bits)
    if any(db[:-33]) or db[-33] != 1:
        return False
    digest = hashlib.sha256(message).digest()
    return hashlib.sha256(bytes(8) + digest + bytes(db[-32:])).digest() == h


def openid_route(parts):
    """The paths behind the tenant's."""
    return {("v2.0", ".well-known", "openid-configuration"): "openid.configuration",
            ("discovery", "v2.0", "keys"): "openid.keys"}.get(tuple(parts[1:]))


def openid_answer(route, tenant, keys, changed):
    """`tenant`: its URL at the login host."""
    if route == "openid.keys":
        return {"keys": keys or []}
    return {"issuer": tenant + "/v2.0", "jwks_uri": tenant + "/discovery/v2.0/keys", "token_endpoint": tenant + "/oauth2/v2.0/token",
            "authorization_endpoint": tenant + "/oauth2/v2.0/authorize", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token"], "subject_types_supported": ["pairwise"], **(changed or {})}


def check_assertion(text, certificate, audience, client, used):
    """Why the assertion is wrong, None when it is right. `used`: the jti values seen."""
    head, claims, signature = text.split(".")
    header, body = json.loads(decoded(head)), json.loads(decoded(claims))
    now = time.time()
    if header.get("alg") != "PS256" or header.get("typ") != "JWT" or header.get("x5t#S256") != certificate["x5t"] or \
            header.get("x5c") != certificate.get("x5c"):
        return "header %s" % header
    if not is_pss(int(certificate["n"], 16), certificate["e"], ("%s.%s" % (head, claims)).encode(), decoded(signature)):
        return "signature"
    if body.get("aud", "").lower() != audience.lower() or body.get("iss") != client or body.get("sub") != client:
        return "claims %s" % body
    if not body["nbf"] <= now <= body["exp"] or body["exp"] - body["nbf"] > 600:
        return "time %s" % body
    if body["jti"] in used:
        return "jti used twice"
    used.add(body["jti"])
    return None
