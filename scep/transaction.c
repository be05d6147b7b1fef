/* The name under which the store keeps a transaction's certificate. Pure.
 *
 * A transaction is one client's wish for one certificate: profile, transactionID, subject, key and extensions. The
 * transactionID alone is the client's to choose, so it must not give one client another's certificate; and clients
 * that derive it from their key use it for every name they ask. The challenge and the CSR's signature stay
 * out: a client that makes its CSR again means the same.
 *
 * EST has no transactionIDs: there the wish alone has the name, for a time (est_again.c). */
#include <openssl/err.h>

#include "scep/est_priv.h"

/* Each field behind its length, so that no two lists of fields give the same octets. */
static bool hash_field(EVP_MD_CTX *ctx, rl_span field)
{
    uint8_t n[4] = {(uint8_t)(field.n >> 24), (uint8_t)(field.n >> 16), (uint8_t)(field.n >> 8), (uint8_t)field.n};
    return EVP_DigestUpdate(ctx, n, sizeof(n)) == 1 && EVP_DigestUpdate(ctx, field.p, field.n) == 1;
}

static bool hash_csr(EVP_MD_CTX *ctx, X509_REQ *csr)
{
    unsigned char *key = NULL, *exts = NULL;
    STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(csr);
    int key_n = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(csr), &key);
    int exts_n = list ? i2d_X509_EXTENSIONS(list, &exts) : 0;
    bool ok = key_n > 0 && exts_n >= 0 && hash_field(ctx, rl_span_of(key, (size_t)key_n)) &&
              hash_field(ctx, rl_span_of(exts, (size_t)exts_n));
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    OPENSSL_free(exts);
    OPENSSL_free(key);
    ERR_clear_error(); /* extensions that do not decode: the CA tells */
    return ok;
}

static bool hash_name(EVP_MD_CTX *ctx, const X509_NAME *name)
{
    const unsigned char *der = NULL;
    size_t n = 0;
    return X509_NAME_get0_der(name, &der, &n) == 1 && hash_field(ctx, rl_span_of(der, n));
}

static rl_err finish(EVP_MD_CTX *ctx, bool ok, char out[SCEP_TRANSACTION_FRONT + 1])
{
    uint8_t digest[32];
    ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? rl_hex(rl_span_of(digest, sizeof(digest)), out, SCEP_TRANSACTION_FRONT + 1) : RL_ECRYPTO;
}

rl_err scep_transaction_front(const scep_profile *p, const scep_request *r, const X509_NAME *subject,
                              char out[SCEP_TRANSACTION_FRONT + 1])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              hash_field(ctx, rl_span_str(p->certificate.name)) && hash_field(ctx, rl_span_str(r->transaction)) &&
              hash_name(ctx, subject);
    return finish(ctx, ok, out);
}

rl_err scep_transaction_key(const scep_profile *p, const scep_request *r, const rl_cert_id *after,
                            char out[SCEP_TRANSACTION_KEY + 1])
{
    rl_span serial = after ? rl_span_of(after->serial, after->serial_n) : (rl_span){(const uint8_t *)"", 0};
    RL_TRY(scep_transaction_front(p, r, X509_REQ_get_subject_name(r->csr), out));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok =
        ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && hash_csr(ctx, r->csr) && hash_field(ctx, serial);
    return finish(ctx, ok, out + SCEP_TRANSACTION_FRONT);
}

rl_err est_wish(const est_job *job, X509_REQ *csr, char out[SCEP_TRANSACTION_FRONT + 1])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              hash_field(ctx, rl_span_str(job->profile->certificate.name)) &&
              hash_field(ctx, rl_span_str(job->caller.id)) && hash_name(ctx, X509_REQ_get_subject_name(csr)) &&
              hash_csr(ctx, csr) && hash_field(ctx, rl_span_of(job->renews.serial, job->renews.serial_n));
    return finish(ctx, ok, out);
}
