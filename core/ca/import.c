/* Other CAs' certificates: a CA certificate becomes a foreign issuer, the others get a record below theirs.
 *
 * All that can be refused is checked before the transaction, which then takes everything or nothing. It looks for an
 * issuer again, since the writer thread alone knows which came meanwhile. Any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "base/log.h"

/* One certificate of the import. */
struct item {
    X509 *cert;
    bool is_ca;
    const char *key_ref;     /* of a CA certificate: "" unless the key is ours */
    rl_issuer_record issuer; /* likewise: its hashes */
    uint8_t *der;
    size_t der_n;
    rl_issuer_id id;              /* the issuer that a CA certificate is; 0: none yet */
    rl_issuer_id below;           /* the issuer that signed it, or 0: */
    const struct item *companion; /* the CA certificate of this import that did, or NULL: not known */
    rl_cert_record record;        /* when either is set */
    rl_serial serial;
    bool new_issuer, new_cert;
};

struct import {
    rl_ca *ca;
    struct item *items;
    size_t n;
    rl_issuer_id last; /* the newest issuer that the transaction saw or added */
};

static char *subject_of(const struct item *i)
{
    return rl_name_text(X509_get_subject_name(i->cert));
}

/* `what` follows "the certificate of '…' ". */
static rl_err refuse(const struct item *i, rl_err err, const char *what, rl_error *e)
{
    char *subject = subject_of(i);
    rl_fail(e, err, "import", "the certificate of '%s' %s", subject ? subject : "", what);
    free(subject);
    ERR_clear_error();
    return err;
}

/* ---- before the transaction ---- */
/* RFC 5280 §4.2.1.9, §4.2.1.3: a CA says so, and its key usage, when there is one, lets it sign certificates. */
static rl_err classify(const rl_ca *ca, struct item *i, rl_error *e)
{
    uint32_t flags = X509_get_extension_flags(i->cert);
    if (flags & EXFLAG_INVALID)
        return refuse(i, RL_EBADMSG, "has an extension that cannot be read", e);
    if (!X509_get0_pubkey(i->cert))
        return refuse(i, RL_EUNSUPPORTED, "has a public key of no kind that can be read", e);
    RL_TRY(rl_x509_to_der(i->cert, &i->der, &i->der_n, e));
    i->is_ca = flags & EXFLAG_CA;
    if (!i->is_ca)
        return RL_OK;
    if (!(X509_get_key_usage(i->cert) & KU_KEY_CERT_SIGN))
        return refuse(i, RL_EINVAL, "is a CA's, but its key usage does not let it sign certificates", e);
    if (ca_hash_issuer(i->cert, &i->issuer) != RL_OK)
        return rl_fail_openssl(e, "import", "an issuer's hashes cannot be made");
    const rl_issuer *known = rl_ca_find(ca, RL_SHA256, rl_span_of(i->issuer.hashes[RL_SHA256].name, 32),
                                        rl_span_of(i->issuer.hashes[RL_SHA256].key, 32));
    i->id = known ? known->id : 0;
    return RL_OK;
}

static const struct item *companion_of(const struct import *im, const struct item *i)
{
    for (size_t k = 0; k < im->n; k++)
        if (im->items[k].is_ca &&
            X509_NAME_cmp(X509_get_issuer_name(i->cert), X509_get_subject_name(im->items[k].cert)) == 0 &&
            X509_verify(i->cert, X509_get0_pubkey(im->items[k].cert)) == 1)
            return &im->items[k];
    ERR_clear_error();
    return NULL;
}

/* Whose it is, and what is stored of it. */
static rl_err place(const struct import *im, struct item *i, rl_error *e)
{
    const rl_issuer *issuer = rl_ca_signer_of(im->ca, i->cert);
    ca_template t = {.subject = X509_get_subject_name(i->cert)};
    i->below = issuer ? issuer->id : 0;
    i->companion = issuer ? NULL : companion_of(im, i);
    if (!issuer && !i->companion)
        return i->is_ca ? RL_OK : refuse(i, RL_ENOTFOUND, "was issued by no CA known here: import its CA first", e);
    if (rl_x509_serial(i->cert, &i->serial) != RL_OK)
        return refuse(i, RL_ERANGE, "has a serial number that is negative or longer than 20 octets", e);
    if (rl_x509_time(X509_get0_notBefore(i->cert), &t.not_before) != RL_OK ||
        rl_x509_time(X509_get0_notAfter(i->cert), &t.not_after) != RL_OK)
        return refuse(i, RL_EBADMSG, "has a validity that cannot be read", e);
    return ca_record(&t, "imported", "import", t.not_before, &i->record) == RL_OK
               ? RL_OK
               : rl_fail(e, RL_ENOMEM, "import", "out of memory");
}

/* ---- in it ---- */
/* An issuer that came since `classify`, in this transaction or before it; else `*id` is the next free number. */
static rl_err find_issuer(rl_store_txn *t, const struct item *i, rl_issuer_id *id, bool *found)
{
    *found = false;
    for (*id = 1; !*found; ++*id) {
        rl_issuer_record r;
        rl_err err = rl_txn_issuer(t, *id, &r);
        if (err != RL_OK)
            return err == RL_ENOTFOUND ? RL_OK : err;
        *found = memcmp(&r.hashes[RL_SHA256], &i->issuer.hashes[RL_SHA256], sizeof(r.hashes[RL_SHA256])) == 0;
        rl_issuer_clear(&r);
    }
    --*id;
    return RL_OK;
}

static rl_err add_issuer(rl_store_txn *t, struct item *i, rl_error *e)
{
    bool found;
    rl_issuer_record r = i->issuer;
    char fingerprint[2 * 32 + 1] = "";
    uint8_t digest[RL_HASH_MAX];
    rl_err err = find_issuer(t, i, &i->id, &found);
    if (err == RL_OK && found)
        return RL_OK;
    if (err == RL_OK && i->id > RL_CA_ISSUERS_MAX)
        return rl_fail(e, RL_ERANGE, "import", "there are %d issuers already, and no more are possible",
                       RL_CA_ISSUERS_MAX);
    r.cert = i->der;
    r.cert_n = i->der_n;
    r.key_ref = (char *)(uintptr_t)i->key_ref; /* borrowed: it is only written */
    if (err == RL_OK)
        err = rl_txn_put_issuer(t, i->id, &r);
    if (err == RL_OK && rl_hash_digest(RL_SHA256, rl_span_of(i->der, i->der_n), digest) == RL_OK &&
        rl_hex(rl_span_of(digest, 32), fingerprint, sizeof(fingerprint)) == RL_OK)
        err = i->key_ref[0] ? rl_txn_audit(t, "init", "ca.init", fingerprint)
                            : rl_txn_audit(t, "import", "issuer.import", fingerprint);
    i->new_issuer = err == RL_OK;
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "an issuer cannot be stored: %s", rl_err_name(err));
}

/* It is one of our own, though it may have been imported as another CA's before its chain was taken. */
static rl_err adopt_issuer(rl_store_txn *t, const struct item *i, rl_error *e)
{
    rl_issuer_record r = {0};
    rl_err err = rl_txn_issuer(t, i->id, &r);
    if (err == RL_OK && !(r.key_ref && r.key_ref[0])) {
        free(r.key_ref);
        r.key_ref = strdup(i->key_ref);
        err = r.key_ref ? rl_txn_put_issuer(t, i->id, &r) : RL_ENOMEM;
    }
    rl_issuer_clear(&r);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "an issuer cannot be stored: %s", rl_err_name(err));
}

/* A certificate that was known by its serial number alone: the rest of it, under the status it has. */
static rl_err complete(rl_store_txn *t, struct item *i, const rl_cert_id *id)
{
    rl_cert_record known;
    RL_TRY(rl_txn_cert(t, id, &known));
    rl_err err = RL_OK;
    if (rl_cert_is_unseen(&known)) {
        rl_cert_record r = known;
        r.subject = i->record.subject;
        r.profile = i->record.profile;
        r.requester = i->record.requester;
        r.issued_at = i->record.issued_at;
        r.not_before = i->record.not_before;
        r.not_after = i->record.not_after;
        err = rl_txn_put_der(t, id, rl_span_of(i->der, i->der_n)); /* before its key can be one that others have */
        if (err == RL_OK)
            err = rl_txn_update_cert(t, id, &r, "import");
        i->new_cert = err == RL_OK;
    }
    rl_cert_clear(&known);
    return err;
}

static rl_err add_cert(rl_store_txn *t, struct item *i, rl_error *e)
{
    if (!i->below && !i->companion)
        return RL_OK;
    i->below = i->below ? i->below : i->companion->id;
    rl_cert_id id = ca_cert_id(i->below, &i->serial);
    rl_err err = rl_txn_add_cert(t, &id, &i->record, rl_span_of(i->der, i->der_n), "import");
    bool was_there = err == RL_EEXISTS;
    if (was_there)
        err = complete(t, i, &id);
    char serial[2 * RL_SERIAL_MAX + 1];
    rl_serial_text(&i->serial, serial);
    i->new_cert |= err == RL_OK && !was_there;
    if (i->new_cert)
        err = rl_txn_audit(t, "import", "cert.import", serial);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "a certificate cannot be stored: %s", rl_err_name(err));
}

static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    struct import *im = arg;
    for (size_t k = 0; k < im->n; k++) {
        if (im->items[k].is_ca && !im->items[k].id)
            RL_TRY(add_issuer(t, &im->items[k], e));
        if (im->items[k].key_ref[0])
            RL_TRY(adopt_issuer(t, &im->items[k], e));
        if (im->items[k].id > im->last)
            im->last = im->items[k].id;
    }
    for (size_t k = 0; k < im->n; k++)
        RL_TRY(add_cert(t, &im->items[k], e));
    return RL_OK;
}

/* ---- the whole ---- */
static void report(const struct import *im, rl_ca_imported *out)
{
    size_t issuers = 0, certs = 0;
    for (size_t k = 0; k < im->n; k++) {
        const struct item *i = &im->items[k];
        out[k] = (rl_ca_imported){.issuer = i->is_ca ? rl_ca_by_id(im->ca, i->id) : NULL,
                                  .cert = i->below ? ca_cert_id(i->below, &i->serial) : (rl_cert_id){0},
                                  .new_issuer = i->new_issuer,
                                  .new_cert = i->new_cert};
        issuers += i->new_issuer;
        certs += i->new_cert;
    }
    log_info("ca.import", "certificates", im->n, "new_issuers", issuers, "new_certificates", certs);
}

rl_err ca_import(rl_ca *ca, X509 *const *certs, size_t n, const char *key_ref, rl_ca_imported *out, rl_error *e)
{
    struct import im = {.ca = ca, .items = calloc(n ? n : 1, sizeof(struct item)), .n = n};
    rl_err err = im.items ? RL_OK : rl_fail(e, RL_ENOMEM, "import", "out of memory");
    for (size_t k = 0; err == RL_OK && k < n; k++) {
        im.items[k].cert = certs[k];
        im.items[k].key_ref = k == 0 && key_ref ? key_ref : "";
        err = classify(ca, &im.items[k], e);
    }
    for (size_t k = 0; err == RL_OK && k < n; k++)
        err = place(&im, &im.items[k], e);
    if (err == RL_OK)
        err = rl_store_run(ca->store, apply, &im, e);
    if (err == RL_OK)
        err = ca_grow(ca, im.last, e);
    if (err == RL_OK)
        report(&im, out);
    for (size_t k = 0; im.items && k < n; k++) {
        free(im.items[k].der);
        rl_cert_clear(&im.items[k].record);
    }
    free(im.items);
    return err;
}

rl_err rl_ca_import(rl_ca *ca, X509 *const *certs, size_t n, rl_ca_imported *out, rl_error *e)
{
    return ca_import(ca, certs, n, NULL, out, e);
}
