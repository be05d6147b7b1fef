/* Certificate requests (RFC 2986) for keys of our own, which another CA certifies. Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/pem.h>

bool ca_push_extension(STACK_OF(X509_EXTENSION) * *exts, int nid, void *value, bool critical)
{
    return value && X509V3_add1_i2d(exts, nid, value, critical, X509V3_ADD_DEFAULT) == 1;
}

rl_err ca_request(const rl_signer *key, const X509_NAME *subject, const STACK_OF(X509_EXTENSION) * exts, char **pem,
                  rl_error *e)
{
    char *text;
    long n = 0;
    X509_REQ *csr = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *pkey = rl_signer_pkey(key);
    bool ok = csr && bio && X509_REQ_set_subject_name(csr, subject) == 1 && X509_REQ_set_pubkey(csr, pkey) == 1 &&
              X509_REQ_add_extensions(csr, exts) == 1 &&
              X509_REQ_sign(csr, pkey, EVP_get_digestbyname(rl_hash_name(rl_signer_hash(key)))) > 0 &&
              PEM_write_bio_X509_REQ(bio, csr) == 1 && (n = BIO_get_mem_data(bio, &text)) > 0 &&
              (*pem = strndup(text, (size_t)n)) != NULL;
    rl_err err = ok ? RL_OK : rl_fail_openssl(e, "csr", "the request cannot be made");
    BIO_free(bio);
    X509_REQ_free(csr);
    return err;
}
