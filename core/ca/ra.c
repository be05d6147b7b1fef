/* The registration authority, which receives SCEP envelopes for a CA that cannot, since its key is EC or its
 * certificate does not say that it may (RFC 8894 §2.1.2): an RSA key in a file, certified by the CA.
 *
 * A rollover certifies the key anew. The certificates from before stay: clients that hold one still encrypt to it, and
 * take an answer from nobody else (RFC 8894 §2.1.2), also when the CA's new key is RSA and receives envelopes itself.
 */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "base/clock.h"

#define RA_KEY "scep-ra.key"
/* Where its certificates are found again. Transactions of requests are printable, so none can have this name. */
#define RA_TRANSACTION "\x01scep-ra"

/* ---- making ---- */
struct ra {
    rl_cert_id id, old; /* `old`: of the same issuer, for a key that is no more */
    bool replaces;
    rl_cert_record record;
    uint8_t *der;
    size_t der_n;
};

static rl_err store_ra(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct ra *ra = arg;
    rl_err err = ra->replaces ? rl_txn_delete_binding(t, RL_SOURCE_TRANSACTION, RA_TRANSACTION, &ra->old) : RL_OK;
    if (err == RL_OK)
        err = rl_txn_add_cert(t, &ra->id, &ra->record, rl_span_of(ra->der, ra->der_n), "init");
    if (err == RL_OK)
        err = rl_txn_put_binding(t, RL_SOURCE_TRANSACTION, RA_TRANSACTION, &ra->id);
    if (err == RL_OK)
        err = rl_txn_audit(t, "init", "ca.scep-ra", ra->record.subject);
    return err == RL_OK
               ? RL_OK
               : rl_fail(e, err, "ca", "the SCEP recipient's certificate cannot be stored: %s", rl_err_name(err));
}

/* Valid to the end of its issuer: it is a part of the CA, with a key as well kept, and an rl_ca does not change while
 * it is open. */
static rl_err make_ra(rl_ca *ca, struct ra *ra, rl_error *e)
{
    const rl_issuer *issuer = rl_ca_issuer(ca);
    rl_profile profile;
    int64_t now = rl_wall_s();
    rl_profile_get(ca->settings, RL_PROFILE_SCEP_RA, &profile);
    ca_template t = {.key = ca->ra_key, .key_usage = ca_key_usage(profile.rules)};
    X509_NAME *subject = NULL;
    rl_err err = ca_validity(ca, issuer, now, INT64_MAX / 2, &t, e);
    if (err == RL_OK)
        err = ca_name_below(issuer, "SCEP RA", &subject, e);
    t.subject = subject;
    if (err == RL_OK && rl_serial_random(&t.serial) != RL_OK)
        err = rl_fail_openssl(e, "ca", "no random serial number");
    if (err == RL_OK)
        err = ca_build(ca, issuer, &t, &ra->der, &ra->der_n, e);
    if (err == RL_OK)
        err = rl_x509_from_der(rl_span_of(ra->der, ra->der_n), &ca->ra_cert, e);
    if (err == RL_OK && ca_record(&t, profile.name, "init", now, &ra->record) != RL_OK)
        err = rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    ra->id = ca_cert_id(issuer->id, &t.serial);
    if (err == RL_OK)
        err = rl_store_run(ca->store, store_ra, ra, e);
    X509_NAME_free(subject);
    return err;
}

/* ---- finding ---- */
/* The stored certificate when it is for this key. */
static X509 *read_ra(const rl_ca *ca, const rl_cert_id *id)
{
    rl_buf der = {0};
    X509 *cert = NULL;
    if (rl_store_der(ca->store, id, &der) == RL_OK && rl_x509_from_der(rl_buf_span(&der), &cert, NULL) == RL_OK &&
        X509_check_private_key(cert, rl_signer_pkey(ca->ra_signer)) != 1) {
        X509_free(cert);
        cert = NULL;
    }
    ERR_clear_error();
    rl_buf_free(&der);
    return cert;
}

/* From before a rollover, and good. */
static void keep_old(rl_ca *ca, const rl_cert_id *id)
{
    rl_cert_status status;
    X509 *cert = NULL;
    if (ca->old_ras_n < RL_CA_ISSUERS_MAX && rl_store_cert_status(ca->store, id, &status) == RL_OK &&
        status.status == RL_STATUS_GOOD && status.not_after > rl_wall_s())
        cert = read_ra(ca, id);
    if (cert)
        ca->old_ras[ca->old_ras_n++] = cert;
}

rl_err ca_ra_open(rl_ca *ca, rl_error *e)
{
    const uint32_t recipient = KU_KEY_ENCIPHERMENT | KU_DIGITAL_SIGNATURE, may = X509_get_key_usage(ca->own->cert);
    const bool needed = !rl_signer_is_rsa(ca->own->signer) || (may & recipient) != recipient;
    struct ra ra = {0};
    rl_cert_id stored[RL_CA_ISSUERS_MAX];
    size_t n;
    rl_err err = rl_store_bindings_named(ca->store, RL_SOURCE_TRANSACTION, RA_TRANSACTION, strlen(RA_TRANSACTION),
                                         stored, RL_CA_ISSUERS_MAX, &n);
    if (err != RL_OK)
        return rl_fail(e, err, "ca", "the SCEP recipients' certificates cannot be read: %s", rl_err_name(err));
    if (!needed && n == 0)
        return RL_OK;
    err = ca_key_file(ca->settings, RA_KEY, needed ? RL_KEY_RSA2048 : RL_KEY_AUTO, &ca->ra_signer, e);
    if (err != RL_OK)
        return !needed && err == RL_ENOTFOUND ? RL_OK : err;
    ca->ra_key = rl_key_of(rl_signer_pkey(ca->ra_signer));
    if (!ca->ra_key)
        return rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    while (n-- > 0) { /* by issuer: the newest first */
        if (stored[n].issuer != ca->own->id) {
            keep_old(ca, &stored[n]);
        } else if (!ca->ra_cert && !(ca->ra_cert = read_ra(ca, &stored[n]))) {
            ra.replaces = true;
            ra.old = stored[n];
        }
    }
    if (needed && !ca->ra_cert)
        err = make_ra(ca, &ra, e);
    rl_cert_clear(&ra.record);
    free(ra.der);
    return err;
}

void ca_ra_free(rl_ca *ca)
{
    for (size_t i = 0; i < ca->old_ras_n; i++)
        X509_free(ca->old_ras[i]);
    X509_free(ca->ra_cert);
    rl_key_free(ca->ra_key);
    rl_signer_free(ca->ra_signer);
}

void rl_ca_scep_identity(const rl_ca *ca, X509 **cert, rl_signer **signer)
{
    const rl_issuer *issuer = rl_ca_issuer(ca);
    *cert = ca->ra_cert ? ca->ra_cert : issuer->cert;
    *signer = ca->ra_cert ? ca->ra_signer : issuer->signer;
}

bool rl_ca_scep_older(const rl_ca *ca, size_t i, X509 **cert, rl_signer **signer)
{
    if (i >= ca->old_ras_n)
        return false;
    *cert = ca->old_ras[i];
    *signer = ca->ra_signer;
    return true;
}
