/* JSON Web Tokens that somebody else has signed (RFC 7515, RFC 7519), and the keys he publishes for that (RFC 7517).
 * Pure; any thread.
 *
 * RS256 is the only algorithm, since it is what Microsoft Entra ID signs with: so neither "none" nor an HMAC keyed with
 * a public key can pass (RFC 8725 §2.1). Keys never come from a token; it only names one. */
#ifndef RL_HTTP_JWT_H
#define RL_HTTP_JWT_H

#include <openssl/evp.h>

#include "base/json.h"

enum {
    RL_JWT_MAX = 32 * 1024,   /* octets of a token */
    RL_JWKS_MAX = 256 * 1024, /* octets of a published key set */
    RL_JWK_ID_MAX = 128,      /* octets of a key's id */
};

/* ---- key sets ---- */
typedef struct rl_jwks rl_jwks; /* immutable; shared by counted references */
/* The RSA keys for signatures, of 2048 to 8192 bits; others are passed over, and so are those that Entra ID marks as
 * another issuer's than `issuer` ("{tenantid}" in a mark stands for `tenant`). RL_EBADMSG, RL_ERANGE: it is no key set,
 * or has no usable key. */
rl_err rl_jwks_read(rl_span body, const char *issuer, const char *tenant, rl_jwks **out, rl_error *e);
rl_jwks *rl_jwks_ref(rl_jwks *keys); /* one more to be freed */
void rl_jwks_free(rl_jwks *keys);    /* NULL is allowed */
size_t rl_jwks_count(const rl_jwks *keys);
/* Borrowed; NULL when there is none of that id. */
EVP_PKEY *rl_jwks_find(const rl_jwks *keys, const char *id);

/* ---- tokens ---- */
/* Which key has signed it, as it says. RL_EDENIED with the reason: it is no token that could be accepted. */
rl_err rl_jwt_key_id(rl_span token, char id[RL_JWK_ID_MAX + 1], rl_error *e);
/* Its claims, a JSON object that the caller decrefs, when the key has signed it; whom they let do what is not looked
 * at. RL_EDENIED with the reason. */
rl_err rl_jwt_verify(rl_span token, EVP_PKEY *key, json_t **claims, rl_error *e);

#endif
