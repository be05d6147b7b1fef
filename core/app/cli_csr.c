/* `revline issue`: a certificate request for a key made here, with the names asked for. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cli.h"

/* "UPN:x@y" is an otherName (1.3.6.1.4.1.311.20.2.3); the other kinds are OpenSSL's own words. */
static rl_err add_name(GENERAL_NAMES *names, const char *text, rl_error *e)
{
    char spec[512];
    CONF_VALUE value = {0};
    const char *colon = strchr(text, ':');
    char kind[16];
    if (!colon || (size_t)(colon - text) >= sizeof(kind) || !colon[1])
        return rl_fail(e, RL_EINVAL, "san", "'%s' is no KIND:VALUE name", text);
    snprintf(kind, sizeof(kind), "%.*s", (int)(colon - text), text);
    bool upn = strcmp(kind, "UPN") == 0;
    int n = snprintf(spec, sizeof(spec), "%s%s", upn ? "1.3.6.1.4.1.311.20.2.3;UTF8:" : "", colon + 1);
    if (n < 0 || (size_t)n >= sizeof(spec))
        return rl_fail(e, RL_ERANGE, "san", "too long for a name: '%s'", text);
    value.name = upn ? "otherName" : kind;
    value.value = spec;
    GENERAL_NAME *name = v2i_GENERAL_NAME(NULL, NULL, &value);
    if (!name || !sk_GENERAL_NAME_push(names, name)) {
        GENERAL_NAME_free(name);
        rl_fail_openssl(e, "san", "");
        return rl_fail(e, RL_EINVAL, "san", "'%s' is no name that a certificate can hold", text);
    }
    return RL_OK;
}

static rl_err add_names(X509_REQ *csr, const json_t *sans, rl_error *e)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    STACK_OF(X509_EXTENSION) *exts = NULL;
    rl_err err = names ? RL_OK : RL_ENOMEM;
    for (size_t i = 0; err == RL_OK && i < (json_is_array(sans) ? json_array_size(sans) : 1); i++)
        err = add_name(names, json_string_value(json_is_array(sans) ? json_array_get(sans, i) : sans), e);
    if (err == RL_OK && (X509V3_add1_i2d(&exts, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1 ||
                         X509_REQ_add_extensions(csr, exts) != 1))
        err = rl_fail_openssl(e, "csr", "the names cannot be put into the request");
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
    return err;
}

rl_err cli_make_csr(const rl_signer *key, const char *cn, const json_t *sans, char **pem, rl_error *e)
{
    X509_REQ *csr = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    rl_err err = RL_OK;
    char *data;
    long n;
    X509_NAME *name = csr ? X509_REQ_get_subject_name(csr) : NULL;
    if (!name || !bio ||
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) != 1 ||
        X509_REQ_set_pubkey(csr, rl_signer_pkey(key)) != 1)
        err = rl_fail_openssl(e, "csr", "the subject cannot be put into the request");
    if (err == RL_OK && sans)
        err = add_names(csr, sans, e);
    if (err == RL_OK &&
        (X509_REQ_sign(csr, rl_signer_pkey(key), EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(bio, csr) != 1 ||
         (n = BIO_get_mem_data(bio, &data)) <= 0 || !(*pem = strndup(data, (size_t)n))))
        err = rl_fail_openssl(e, "csr", "the request cannot be signed");
    X509_REQ_free(csr);
    BIO_free(bio);
    return err;
}
