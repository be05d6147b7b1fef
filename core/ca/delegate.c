/* Delegates of foreign issuers (RFC 6960 §4.2.2.2): a key of ours, kept in a file of the data folder, for which the
 * foreign CA makes a certificate. The request, taking the certificate in, and loading both. Any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>

/* ---- the key ---- */
/* Made when there is none and `make`: as REVLINE_OCSP_KEY says, or of the issuer's kind. */
static rl_err delegate_key(const rl_ca *ca, const rl_issuer *issuer, bool make, rl_signer **out, rl_error *e)
{
    char name[32];
    rl_key_type type = RL_KEY_AUTO;
    if (make && ca->settings->ocsp.key != RL_KEY_AUTO)
        type = ca->settings->ocsp.key;
    else if (make)
        type = EVP_PKEY_is_a(X509_get0_pubkey(issuer->cert), "RSA") ? RL_KEY_RSA2048 : RL_KEY_EC_P256;
    snprintf(name, sizeof(name), "ocsp-%u.key", issuer->id);
    return ca_key_file(ca->settings, name, type, out, e);
}

/* ---- the request ---- */
/* What the certificate should say. CAs that take nothing over from a request have to be told otherwise. */
static bool ask_for_extensions(const rl_ca *ca, STACK_OF(X509_EXTENSION) * *exts)
{
    rl_profile profile;
    rl_profile_get(ca->settings, RL_PROFILE_OCSP, &profile);
    EXTENDED_KEY_USAGE *eku = ca_eku_list(&profile.rules->eku);
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    ASN1_NULL *nocheck = ASN1_NULL_new();
    bool ok = usage && ASN1_BIT_STRING_set_bit(usage, 0, 1) == 1 && /* digitalSignature */
              ca_push_extension(exts, NID_key_usage, usage, true) &&
              ca_push_extension(exts, NID_ext_key_usage, eku, false) &&
              ca_push_extension(exts, NID_id_pkix_OCSP_noCheck, nocheck, false);
    ASN1_NULL_free(nocheck);
    ASN1_BIT_STRING_free(usage);
    ca_eku_free(eku);
    return ok;
}

static bool set_subject(X509_NAME *name, const rl_issuer *issuer)
{
    enum { CN_MAX = 64 }; /* RFC 5280 A.1: ub-common-name, in characters */
    char cn[CN_MAX + 1];
    rl_identity identity = {0};
    rl_err err = rl_identity_read(X509_get_subject_name(issuer->cert), NULL, &identity, NULL);
    int n = err == RL_OK && identity.cn ? snprintf(cn, sizeof(cn), "Revline OCSP for %s", identity.cn) : -1;
    if (n < 0 || n > CN_MAX)
        snprintf(cn, sizeof(cn), "Revline OCSP for issuer %u", issuer->id);
    rl_identity_free(&identity);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0) == 1;
}

rl_err rl_ca_delegate_request(const rl_ca *ca, const rl_issuer *issuer, char **pem, rl_error *e)
{
    rl_signer *key;
    if (issuer->signer)
        return rl_fail(e, RL_EINVAL, "delegate", "issuer %u is our own: its responder certificate makes itself",
                       issuer->id);
    RL_TRY(delegate_key(ca, issuer, true, &key, e));
    X509_NAME *subject = X509_NAME_new();
    STACK_OF(X509_EXTENSION) *exts = NULL;
    rl_err err = subject && set_subject(subject, issuer) && ask_for_extensions(ca, &exts)
                     ? ca_request(key, subject, exts, pem, e)
                     : rl_fail_openssl(e, "delegate", "the request cannot be made");
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_NAME_free(subject);
    rl_signer_free(key);
    return err;
}

/* ---- the certificate ---- */
static rl_err check_rights(X509 *cert, int64_t now, rl_error *e)
{
    int64_t first, last;
    uint32_t flags = X509_get_extension_flags(cert);
    if (flags & EXFLAG_INVALID)
        return rl_fail(e, RL_EBADMSG, "delegate", "the certificate has an extension that cannot be read");
    if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(cert) & XKU_OCSP_SIGN))
        return rl_fail(e, RL_EINVAL, "delegate",
                       "the certificate has no extended key usage OCSPSigning (RFC 6960 §4.2.2.2): no client would "
                       "believe an answer");
    if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(cert) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)))
        return rl_fail(e, RL_EINVAL, "delegate", "the certificate's key usage does not let it sign answers");
    if (rl_x509_time(X509_get0_notBefore(cert), &first) != RL_OK ||
        rl_x509_time(X509_get0_notAfter(cert), &last) != RL_OK)
        return rl_fail_openssl(e, "delegate", "the certificate's validity cannot be read");
    if (now < first || now >= last)
        return rl_fail(e, RL_EINVAL, "delegate", "the certificate %s",
                       now < first ? "is not valid yet" : "has expired");
    return RL_OK;
}

struct install {
    rl_issuer_id id;
    uint8_t *der;
    size_t der_n;
};

static rl_err store_delegate(rl_store_txn *t, void *arg, rl_error *e)
{
    struct install *i = arg;
    rl_issuer_record r;
    char subject[32];
    snprintf(subject, sizeof(subject), "issuer %u", i->id);
    rl_err err = rl_txn_issuer(t, i->id, &r);
    if (err == RL_OK) {
        free(r.delegate);
        r.delegate = i->der;
        r.delegate_n = i->der_n;
        err = rl_txn_put_issuer(t, i->id, &r);
        r.delegate = NULL;
        rl_issuer_clear(&r);
    }
    if (err == RL_OK)
        err = rl_txn_audit(t, "admin", "ocsp.install", subject);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "delegate", "the certificate cannot be stored: %s", rl_err_name(err));
}

rl_err rl_ca_delegate_install(rl_ca *ca, X509 *cert, int64_t now, const rl_issuer **issuer, rl_error *e)
{
    rl_signer *key = NULL;
    const rl_issuer *signer = rl_ca_signer_of(ca, cert);
    struct install i = {0};
    if (!signer)
        return rl_fail(e, RL_ENOTFOUND, "delegate", "the certificate was issued by no CA known here");
    if (signer->signer)
        return rl_fail(e, RL_EINVAL, "delegate", "issuer %u is our own: its responder certificate makes itself",
                       signer->id);
    rl_err err = delegate_key(ca, signer, false, &key, e);
    if (err == RL_ENOTFOUND)
        return rl_fail(e, err, "delegate", "there is no responder key for issuer %u: begin with 'revline ocsp csr %u'",
                       signer->id, signer->id);
    if (err == RL_OK && EVP_PKEY_eq(X509_get0_pubkey(cert), rl_signer_pkey(key)) != 1) {
        ERR_clear_error();
        err =
            rl_fail(e, RL_EINVAL, "delegate",
                    "the certificate is for another key than ours: 'revline ocsp csr %u' has the request", signer->id);
    }
    if (err == RL_OK)
        err = check_rights(cert, now, e);
    if (err == RL_OK)
        err = rl_x509_to_der(cert, &i.der, &i.der_n, e);
    i.id = signer->id;
    if (err == RL_OK)
        err = rl_store_run(ca->store, store_delegate, &i, e);
    if (err == RL_OK)
        *issuer = signer;
    free(i.der);
    rl_signer_free(key);
    return err;
}

rl_err rl_ca_delegate_load(const rl_ca *ca, const rl_issuer *issuer, X509 **cert, rl_signer **signer, rl_error *e)
{
    rl_issuer_record r;
    *cert = NULL;
    *signer = NULL;
    rl_err err = rl_store_issuer(ca->store, issuer->id, &r);
    if (err != RL_OK)
        return rl_fail(e, err, "delegate", "issuer %u cannot be read: %s", issuer->id, rl_err_name(err));
    if (!r.delegate)
        err = rl_fail(e, RL_ENOTFOUND, "delegate", "issuer %u has given no responder certificate", issuer->id);
    else if (rl_x509_from_der(rl_span_of(r.delegate, r.delegate_n), cert, NULL) != RL_OK)
        err =
            rl_fail(e, RL_ECORRUPT, "delegate", "issuer %u's stored responder certificate cannot be read", issuer->id);
    if (err == RL_OK && (err = delegate_key(ca, issuer, false, signer, e)) == RL_ENOTFOUND)
        err = rl_fail(e, RL_EIO, "delegate", "the key file ocsp-%u.key is missing", issuer->id);
    if (err == RL_OK && EVP_PKEY_eq(X509_get0_pubkey(*cert), rl_signer_pkey(*signer)) != 1)
        err = rl_fail_openssl(e, "delegate", "the responder's key file holds another key than its certificate's");
    rl_issuer_clear(&r);
    if (err != RL_OK) {
        X509_free(*cert);
        rl_signer_free(*signer);
        *cert = NULL;
        *signer = NULL;
    }
    return err;
}
