/* Compact JWS with RSASSA-PKCS1-v1_5 and SHA-256 (RFC 7515 §5.2, RFC 7518 §3.3), and JWK sets (RFC 7517 §5). */
#include "http/jwt.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>

enum {
    HEADER_MAX = 4096, /* octets of base64 */
    KEYS_MAX = 64,
    BITS_MIN = 2048,
    BITS_MAX = 8192, /* of a modulus: bounds what a verification costs */
    EXPONENT_MAX = 8 /* octets, likewise */
};

/* ---- key sets ---- */
struct rl_jwks {
    atomic_uint references;
    size_t n;
    struct {
        char id[RL_JWK_ID_MAX + 1];
        EVP_PKEY *key;
    } keys[KEYS_MAX];
};

rl_jwks *rl_jwks_ref(rl_jwks *keys)
{
    atomic_fetch_add(&keys->references, 1);
    return keys;
}

void rl_jwks_free(rl_jwks *keys)
{
    if (!keys || atomic_fetch_sub(&keys->references, 1) > 1)
        return;
    for (size_t i = 0; i < keys->n; i++)
        EVP_PKEY_free(keys->keys[i].key);
    free(keys);
}

size_t rl_jwks_count(const rl_jwks *keys)
{
    return keys->n;
}

EVP_PKEY *rl_jwks_find(const rl_jwks *keys, const char *id)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->keys[i].id, id) == 0)
            return keys->keys[i].key;
    return NULL;
}

/* RFC 7518 §2, Base64urlUInt; NULL when it is none of at most `max` octets. */
static BIGNUM *read_number(const char *text, size_t max)
{
    uint8_t octets[BITS_MAX / 8 + 1];
    size_t n = 0;
    if (!text || strlen(text) > 2 * sizeof(octets) ||
        rl_base64_decode(rl_span_str(text), true, octets, sizeof(octets), &n) != RL_OK || n == 0 || n > max)
        return NULL;
    return BN_bin2bn(octets, (int)n, NULL);
}

static EVP_PKEY *make_key(const BIGNUM *n, const BIGNUM *exponent)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
                                 OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1
                             ? OSSL_PARAM_BLD_to_param(build)
                             : NULL;
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return key;
}

static EVP_PKEY *read_key(const json_t *jwk)
{
    BIGNUM *n = read_number(rl_json_str(jwk, "n"), BITS_MAX / 8),
           *exponent = read_number(rl_json_str(jwk, "e"), EXPONENT_MAX);
    bool sane =
        n && exponent && BN_num_bits(n) >= BITS_MIN && BN_is_odd(n) && BN_is_odd(exponent) && !BN_is_one(exponent);
    EVP_PKEY *key = sane ? make_key(n, exponent) : NULL;
    BN_free(n);
    BN_free(exponent);
    return key;
}

/* Whether the member is absent or has this value. */
static bool may_be(const json_t *jwk, const char *name, const char *value)
{
    const char *text = rl_json_str(jwk, name);
    return text ? strcmp(text, value) == 0 : !json_object_get(jwk, name);
}

/* Entra ID tells of each key for whose tokens it is: one of its keys for personal accounts must not speak for a tenant.
 */
static bool is_issuers(const json_t *jwk, const char *issuer, const char *tenant)
{
    static const char place[] = "{tenantid}";
    const char *mark = rl_json_str(jwk, "issuer"), *at = mark ? strstr(mark, place) : NULL;
    if (!mark)
        return !json_object_get(jwk, "issuer");
    if (!at)
        return strcasecmp(mark, issuer) == 0;
    size_t front = (size_t)(at - mark), n = strlen(tenant);
    return strlen(issuer) >= front + n && strncasecmp(mark, issuer, front) == 0 &&
           strncasecmp(tenant, issuer + front, n) == 0 && strcasecmp(at + strlen(place), issuer + front + n) == 0;
}

static void take_key(rl_jwks *keys, const json_t *jwk, const char *issuer, const char *tenant)
{
    const char *id = rl_json_str(jwk, "kid"), *type = rl_json_str(jwk, "kty");
    if (keys->n == KEYS_MAX || !id || !id[0] || strlen(id) > RL_JWK_ID_MAX || !type || strcmp(type, "RSA") != 0 ||
        !may_be(jwk, "use", "sig") || !may_be(jwk, "alg", "RS256") || !is_issuers(jwk, issuer, tenant) ||
        rl_jwks_find(keys, id))
        return;
    EVP_PKEY *key = read_key(jwk);
    if (!key)
        return;
    snprintf(keys->keys[keys->n].id, sizeof(keys->keys[0].id), "%s", id);
    keys->keys[keys->n++].key = key;
}

rl_err rl_jwks_read(rl_span body, const char *issuer, const char *tenant, rl_jwks **out, rl_error *e)
{
    json_t *root = NULL;
    RL_TRY(rl_json_parse(body, RL_JWKS_MAX, &root, e));
    rl_jwks *keys = calloc(1, sizeof(*keys));
    const json_t *list = json_object_get(root, "keys");
    for (size_t i = 0; keys && i < json_array_size(list); i++)
        take_key(keys, json_array_get(list, i), issuer, tenant);
    json_decref(root);
    if (keys && keys->n > 0) {
        atomic_init(&keys->references, 1);
        *out = keys;
        return RL_OK;
    }
    free(keys);
    return keys ? rl_fail(e, RL_EBADMSG, "jwt", "there is no RSA key for signatures of this issuer in it")
                : rl_fail(e, RL_ENOMEM, "jwt", "out of memory");
}

/* ---- tokens ---- */
typedef struct parts {
    rl_span header, claims, signature; /* in base64 */
    rl_span text;                      /* that is signed: RFC 7515 §5.2, JWS Signing Input */
} parts;

static rl_err refuse(rl_error *e, const char *why)
{
    return rl_fail(e, RL_EDENIED, "jwt", "%s", why);
}

static bool take_part(rl_span *in, rl_span *part)
{
    const uint8_t *dot = in->n ? memchr(in->p, '.', in->n) : NULL;
    return dot && dot > in->p && rl_span_take(in, (size_t)(dot - in->p), part) == RL_OK &&
           rl_span_take(in, 1, &(rl_span){0}) == RL_OK;
}

static rl_err split(rl_span token, parts *p, rl_error *e)
{
    rl_span in = token;
    if (token.n > RL_JWT_MAX || !take_part(&in, &p->header) || p->header.n > HEADER_MAX ||
        !take_part(&in, &p->claims) || in.n == 0 || memchr(in.p, '.', in.n) ||
        memchr(token.p, '=', token.n)) /* RFC 7515 §2: no padding */
        return refuse(e, "the token is no signed JWT in its compact form");
    p->signature = in;
    p->text = (rl_span){token.p, token.n - in.n - 1};
    return RL_OK;
}

/* A part that is a JSON object. */
static rl_err read_object(rl_span part, json_t **out, rl_error *e)
{
    uint8_t *octets = malloc(part.n);
    size_t n = 0;
    *out = NULL;
    if (!octets)
        return rl_fail(e, RL_ENOMEM, "jwt", "out of memory");
    rl_err err = rl_base64_decode(part, true, octets, part.n, &n);
    if (err == RL_OK)
        err = rl_json_parse(rl_span_of(octets, n), RL_JWT_MAX, out, NULL);
    explicit_bzero(octets, part.n);
    free(octets);
    if (err == RL_OK && json_is_object(*out))
        return RL_OK;
    json_decref(*out);
    *out = NULL;
    return err == RL_ENOMEM ? rl_fail(e, err, "jwt", "out of memory")
                            : refuse(e, "the token is not made of JSON objects");
}

/* RFC 7515 §4.1.11: what is said to be critical has to be understood, and nothing is. */
static rl_err check_header(const json_t *header, rl_error *e)
{
    const char *alg = rl_json_str(header, "alg");
    if (!alg || strcmp(alg, "RS256") != 0)
        return refuse(e, "the token is not signed with RS256");
    if (json_object_get(header, "crit"))
        return refuse(e, "the token has critical header members, of which none is understood");
    return RL_OK;
}

rl_err rl_jwt_key_id(rl_span token, char id[RL_JWK_ID_MAX + 1], rl_error *e)
{
    parts p;
    json_t *header;
    RL_TRY(split(token, &p, e));
    RL_TRY(read_object(p.header, &header, e));
    rl_err err = check_header(header, e);
    const char *kid = rl_json_str(header, "kid");
    if (err == RL_OK && (!kid || !kid[0] || strlen(kid) > RL_JWK_ID_MAX))
        err = refuse(e, "the token does not name the key that has signed it");
    if (err == RL_OK)
        snprintf(id, RL_JWK_ID_MAX + 1, "%s", kid);
    json_decref(header);
    return err;
}

static bool is_signed(const parts *p, EVP_PKEY *key)
{
    uint8_t signature[BITS_MAX / 8 + 1];
    size_t n = 0;
    if (p->signature.n > 2 * sizeof(signature) ||
        rl_base64_decode(p->signature, true, signature, sizeof(signature), &n) != RL_OK)
        return false;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_PKEY_is_a(key, "RSA") && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(ctx, signature, n, p->text.p, p->text.n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

rl_err rl_jwt_verify(rl_span token, EVP_PKEY *key, json_t **claims, rl_error *e)
{
    parts p;
    json_t *header;
    *claims = NULL;
    RL_TRY(split(token, &p, e));
    RL_TRY(read_object(p.header, &header, e));
    rl_err err = check_header(header, e);
    json_decref(header);
    RL_TRY(err);
    if (!is_signed(&p, key))
        return refuse(e, "the token's signature does not hold");
    return read_object(p.claims, claims, e);
}
