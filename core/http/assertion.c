/* The assertion by which an application logs in with its certificate: a JWT signed with PS256 (RFC 7518 §3.5). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "http/login.h"

enum { LIFE_S = 300, SKEW_S = 30, FILE_MAX = 256 * 1024, CHAIN_MAX = 8 };

typedef struct identity {
    EVP_PKEY *key;
    X509 *cert;
    STACK_OF(X509) * chain; /* further certificates of the file */
} identity;

static void clear(identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
    sk_X509_pop_free(id->chain, X509_free);
    ERR_clear_error();
}

/* ---- the file ---- */
static int password(char *out, int size, int writing, void *text)
{
    (void)writing;
    int n = (int)strlen(text);
    if (n > size)
        return -1;
    memcpy(out, text, (size_t)n);
    return n;
}

/* PEM in any order: a private key, its certificate first of the certificates, and those above it. */
static bool read_pem(BIO *in, char *secret, identity *id)
{
    id->key = PEM_read_bio_PrivateKey(in, NULL, password, secret);
    if (!id->key || BIO_reset(in) != 1)
        return false;
    id->chain = sk_X509_new_null();
    for (X509 *cert;
         id->chain && sk_X509_num(id->chain) < CHAIN_MAX && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL));) {
        if (!id->cert && X509_check_private_key(cert, id->key) == 1)
            id->cert = cert;
        else if (sk_X509_push(id->chain, cert) <= 0)
            X509_free(cert);
    }
    return id->cert != NULL;
}

static bool read_pkcs12(BIO *in, const char *secret, identity *id)
{
    PKCS12 *p12 = BIO_reset(in) == 1 ? d2i_PKCS12_bio(in, NULL) : NULL;
    bool ok = p12 && PKCS12_parse(p12, secret, &id->key, &id->cert, &id->chain) == 1 && id->key && id->cert;
    PKCS12_free(p12);
    return ok;
}

static rl_err load(const rl_settings *s, identity *id, rl_error *e)
{
    const char *path = s->azure.certificate_path;
    char *text;
    size_t n;
    RL_TRY(rl_login_file("AZURE_CLIENT_CERTIFICATE_PATH", path, FILE_MAX, &text, &n, e));
    BIO *in = BIO_new_mem_buf(text, (int)n);
    bool ok = in && read_pem(in, s->azure.certificate_password, id);
    if (in && !ok) {
        clear(id);
        *id = (identity){0};
        ok = read_pkcs12(in, s->azure.certificate_password, id);
    }
    BIO_free(in);
    explicit_bzero(text, n);
    free(text);
    if (!ok)
        return rl_fail(
            e, RL_EINVAL, "token",
            "AZURE_CLIENT_CERTIFICATE_PATH '%.200s' holds no private key with its certificate (PEM or PKCS#12; "
            "is AZURE_CLIENT_CERTIFICATE_PASSWORD right?)",
            path);
    if (!EVP_PKEY_is_a(id->key, "RSA"))
        return rl_fail(e, RL_EINVAL, "token", "AZURE_CLIENT_CERTIFICATE_PATH '%.200s': Entra ID takes RSA keys only",
                       path);
    return RL_OK;
}

/* ---- the JWT ---- */
static rl_err append_base64(rl_buf *out, rl_span in)
{
    size_t cap = in.n * 2 + 8;
    char *text = malloc(cap);
    rl_err err = text ? rl_base64_encode(in, true, text, cap) : RL_ENOMEM;
    if (err == RL_OK)
        err = rl_buf_append(out, text, strlen(text));
    free(text);
    return err;
}

static rl_err append_json(rl_buf *out, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    rl_err err = text ? append_base64(out, rl_span_str(text)) : RL_ENOMEM;
    free(text);
    json_decref(value);
    return err;
}

static bool add_certificate(json_t *list, X509 *cert)
{
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    size_t cap = n > 0 ? (size_t)n * 2 + 8 : 0;
    char *text = cap ? malloc(cap) : NULL;
    bool ok = text && rl_base64_encode(rl_span_of(der, (size_t)n), false, text, cap) == RL_OK &&
              json_array_append_new(list, json_string(text)) == 0;
    free(text);
    OPENSSL_free(der);
    return ok;
}

/* With the chain Entra ID can check the certificate by its subject and issuer, so that a renewed one needs no upload.
 */
static json_t *chain_of(const identity *id)
{
    json_t *list = json_array();
    bool ok = list && add_certificate(list, id->cert);
    for (int i = 0; ok && i < sk_X509_num(id->chain); i++)
        ok = add_certificate(list, sk_X509_value(id->chain, i));
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *header_of(const rl_settings *s, const identity *id)
{
    uint8_t digest[32];
    char thumbprint[64];
    unsigned n = 0;
    json_t *chain = NULL;
    if (X509_digest(id->cert, EVP_sha256(), digest, &n) != 1 ||
        rl_base64_encode(rl_span_of(digest, n), true, thumbprint, sizeof(thumbprint)) != RL_OK ||
        (s->azure.send_chain && !(chain = chain_of(id))))
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:o*}", "alg", "PS256", "typ", "JWT", "x5t#S256", thumbprint, "x5c", chain);
}

static json_t *claims_of(const rl_settings *s, const char *audience, int64_t now)
{
    uint8_t random[16];
    char id[33];
    arc4random_buf(random, sizeof(random));
    rl_hex(rl_span_of(random, sizeof(random)), id, sizeof(id));
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "aud", audience, "iss", s->azure.client_id, "sub",
                     s->azure.client_id, "jti", id, "iat", (json_int_t)now, "nbf", (json_int_t)(now - SKEW_S), "exp",
                     (json_int_t)(now + LIFE_S));
}

static rl_err append_signature(rl_buf *out, size_t from, EVP_PKEY *key)
{
    uint8_t signature[1024];
    size_t n = sizeof(signature);
    EVP_PKEY_CTX *params = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, &params, EVP_sha256(), NULL, key) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) > 0 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(params, RSA_PSS_SALTLEN_DIGEST) > 0 &&
              EVP_DigestSign(ctx, signature, &n, out->p + from, out->n - from) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return RL_ECRYPTO;
    RL_TRY(rl_buf_append(out, ".", 1));
    return append_base64(out, rl_span_of(signature, n));
}

rl_err rl_login_assertion(const rl_settings *s, const char *audience, int64_t now, rl_buf *out, rl_error *e)
{
    identity id = {0};
    size_t from = out->n;
    rl_err err = load(s, &id, e);
    if (err == RL_OK) {
        err = append_json(out, header_of(s, &id));
        if (err == RL_OK)
            err = rl_buf_append(out, ".", 1);
        if (err == RL_OK)
            err = append_json(out, claims_of(s, audience, now));
        if (err == RL_OK)
            err = append_signature(out, from, id.key);
        if (err != RL_OK)
            rl_fail(e, err, "token", "the login's assertion cannot be signed: %s", rl_err_name(err));
    }
    clear(&id);
    return err;
}
