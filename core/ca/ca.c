/* Issuers and their keys: the roots of our own, loading, looking up.
 *
 * Keys are files in the data folder, certificates are in the store. A key file is made before its certificate is
 * stored; a crash in between leaves a key without a certificate, which the next call takes and goes on with. */
#include "ca/ca_priv.h"

#include <ctype.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/key.h"

bool ca_is_self_issued(const X509 *cert)
{
    return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

rl_cert_id ca_cert_id(rl_issuer_id issuer, const rl_serial *serial)
{
    rl_cert_id id = {.issuer = issuer, .serial_n = serial->n};
    memcpy(id.serial, serial->b, serial->n);
    return id;
}

rl_err ca_key_file(const rl_settings *s, const char *name, rl_key_type type, rl_signer **out, rl_error *e)
{
    rl_buf path = {0};
    rl_err err = rl_buf_printf(&path, "%s/%s", s->data_dir, name);
    if (err == RL_OK)
        err = rl_buf_append(&path, "", 1);
    if (err == RL_OK)
        err = rl_signer_load((char *)path.p, out, e);
    if (err == RL_ENOTFOUND && type != RL_KEY_AUTO) {
        err = rl_signer_generate(type, out, e);
        if (err == RL_OK && (err = rl_signer_save(*out, (char *)path.p, e)) != RL_OK)
            rl_signer_free(*out);
    }
    rl_buf_free(&path);
    return err;
}

/* ---- roots of our own ---- */
struct root {
    rl_issuer_record issuer;
    rl_cert_record record;
    rl_cert_id id;
};

static rl_err store_root(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct root *root = arg;
    rl_err err = rl_txn_put_issuer(t, root->id.issuer, &root->issuer);
    if (err == RL_OK)
        err = rl_txn_add_cert(t, &root->id, &root->record, rl_span_of(root->issuer.cert, root->issuer.cert_n), "init");
    if (err == RL_OK)
        err = rl_txn_audit(t, "init", "ca.init", root->record.subject);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "ca", "the root cannot be stored: %s", rl_err_name(err));
}

rl_err ca_hash_issuer(const X509 *cert, rl_issuer_record *r)
{
    for (unsigned h = 0; h < sizeof(r->hashes) / sizeof(r->hashes[0]); h++) {
        RL_TRY(rl_x509_name_hash(cert, (rl_hash)h, r->hashes[h].name));
        RL_TRY(rl_x509_key_hash(cert, (rl_hash)h, r->hashes[h].key));
    }
    return RL_OK;
}

/* The certificate of `signer`, self-signed, as issuer `id`. */
static rl_err make_root(const rl_settings *s, rl_issuer_id id, rl_signer *signer, const X509_NAME *subject,
                        struct root *root, rl_error *e)
{
    int64_t now = rl_wall_s();
    rl_key *key = rl_key_of(rl_signer_pkey(signer));
    ca_template t = {.subject = subject,
                     .key = key,
                     .key_usage = KU_KEY_CERT_SIGN | KU_CRL_SIGN | KU_DIGITAL_SIGNATURE,
                     .not_before = now - s->ca.clock_skew / 1000,
                     .not_after = now + s->ca.validity / 1000};
    X509 *cert = NULL;
    if (rl_signer_is_rsa(signer)) /* it receives SCEP envelopes (RFC 8894 §2.1.2) */
        t.key_usage |= KU_KEY_ENCIPHERMENT;
    rl_err err =
        key && rl_serial_random(&t.serial) == RL_OK ? RL_OK : rl_fail_openssl(e, "ca", "no random serial number");
    if (err == RL_OK)
        err = ca_build_root(signer, &t, &root->issuer.cert, &root->issuer.cert_n, e);
    if (err == RL_OK)
        err = rl_x509_from_der(rl_span_of(root->issuer.cert, root->issuer.cert_n), &cert, e);
    if (err == RL_OK && ca_hash_issuer(cert, &root->issuer) != RL_OK)
        err = rl_fail_openssl(e, "ca", "the root's hashes cannot be made");
    if (err == RL_OK && ca_record(&t, "ca", "init", now, &root->record) != RL_OK)
        err = rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    root->id = ca_cert_id(id, &t.serial);
    rl_key_free(key);
    X509_free(cert);
    return err;
}

/* Key file first, then issuer and certificate in one transaction. */
static rl_err add_root(rl_store *store, const rl_settings *s, rl_issuer_id id, const X509_NAME *subject, rl_error *e)
{
    char reference[32];
    rl_signer *signer;
    struct root root = {0};
    snprintf(reference, sizeof(reference), CA_KEY_FILE "ca-%u.key", id);
    RL_TRY(ca_key_file(s, reference + strlen(CA_KEY_FILE), s->ca.key, &signer, e));
    rl_err err = make_root(s, id, signer, subject, &root, e);
    if (err == RL_OK && !(root.issuer.key_ref = strdup(reference)))
        err = rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    if (err == RL_OK)
        err = rl_store_run(store, store_root, &root, e);
    rl_issuer_clear(&root.issuer);
    rl_cert_clear(&root.record);
    rl_signer_free(signer);
    return err;
}

static bool see_stored(rl_issuer_id id, const rl_issuer_record *r, void *ctx)
{
    ca_stored *stored = ctx;
    X509 *cert = NULL;
    stored->last = id;
    if (r->key_ref && r->key_ref[0] && rl_x509_from_der(rl_span_of(r->cert, r->cert_n), &cert, NULL) == RL_OK) {
        X509_NAME_free(stored->subject);
        stored->subject = X509_NAME_dup(X509_get_subject_name(cert));
        stored->is_root = ca_is_self_issued(cert);
    }
    X509_free(cert);
    return true;
}

rl_err ca_read_stored(rl_store *store, ca_stored *out, rl_error *e)
{
    *out = (ca_stored){0};
    rl_err err = rl_store_each_issuer(store, see_stored, out);
    if (err != RL_OK)
        return rl_fail(e, err, "ca", "the issuers cannot be read: %s", rl_err_name(err));
    return out->last < RL_CA_ISSUERS_MAX
               ? RL_OK
               : rl_fail(e, RL_ERANGE, "ca", "there are %d issuers already, and no more are possible",
                         RL_CA_ISSUERS_MAX);
}

rl_err rl_ca_init(rl_store *store, const rl_settings *s, rl_error *e)
{
    ca_stored stored;
    X509_NAME *subject = NULL;
    rl_err err = ca_read_stored(store, &stored, e);
    if (stored.subject)
        err = rl_fail(e, RL_EEXISTS, "ca", "there is a CA already in '%s'", s->data_dir);
    if (err == RL_OK)
        err = ca_no_request_waits(s, e);
    if (err == RL_OK)
        err = rl_name_parse(s->ca.subject, &subject, e);
    if (err == RL_OK)
        err = add_root(store, s, stored.last + 1, subject, e);
    X509_NAME_free(stored.subject);
    X509_NAME_free(subject);
    return err;
}

rl_err rl_ca_roll_over(rl_store *store, const rl_settings *s, const char *subject, rl_error *e)
{
    ca_stored stored;
    X509_NAME *other = NULL;
    rl_err err = ca_read_stored(store, &stored, e);
    if (err == RL_OK && !stored.subject)
        err = rl_fail(e, RL_ENOTFOUND, "ca", "there is no CA in '%s' yet", s->data_dir);
    if (err == RL_OK && !stored.is_root)
        err = rl_fail(e, RL_EINVAL, "ca",
                      "the CA is an intermediate one, whose new key has to be certified, too: "
                      "'revline init --intermediate --rollover' asks for it");
    if (err == RL_OK)
        err = ca_no_request_waits(s, e);
    if (err == RL_OK && subject)
        err = rl_name_parse(subject, &other, e);
    if (err == RL_OK)
        err = add_root(store, s, stored.last + 1, other ? other : stored.subject, e);
    X509_NAME_free(stored.subject);
    X509_NAME_free(other);
    return err;
}

/* ---- opening ---- */
struct opening {
    rl_ca *ca;
    rl_err err;
    rl_error *e;
};

static rl_err load_key(const rl_ca *ca, rl_issuer *i, const char *reference, rl_error *e)
{
    if (!reference || !reference[0])
        return RL_OK; /* a foreign issuer's */
    if (strncmp(reference, CA_KEY_FILE, strlen(CA_KEY_FILE)) != 0)
        return rl_fail(e, RL_EUNSUPPORTED, "ca", "issuer %u keeps its key in '%s': only files are known", i->id,
                       reference);
    rl_err err = ca_key_file(ca->settings, reference + strlen(CA_KEY_FILE), RL_KEY_AUTO, &i->signer, e);
    if (err != RL_OK)
        return err == RL_ENOTFOUND ? RL_EIO : err; /* RL_ENOTFOUND would say that there is no CA */
    if (X509_check_private_key(i->cert, rl_signer_pkey(i->signer)) != 1)
        return rl_fail_openssl(e, "ca", "the CA's key file holds another key than its certificate's");
    return RL_OK;
}

static void clear_issuer(rl_issuer *i)
{
    X509_free(i->cert);
    rl_key_free(i->key);
    rl_signer_free(i->signer);
    free((void *)i->der.p);
    *i = (rl_issuer){0};
}

/* Those that the record has, and by the certificate those that it has not. */
static rl_err take_hashes(rl_issuer *i, const rl_issuer_record *r)
{
    const unsigned stored = sizeof(r->hashes) / sizeof(r->hashes[0]);
    for (unsigned h = 0; h < stored; h++) {
        memcpy(i->name_hash[h], r->hashes[h].name, RL_HASH_MAX);
        memcpy(i->key_hash[h], r->hashes[h].key, RL_HASH_MAX);
    }
    for (unsigned h = stored; h < RL_HASH_COUNT; h++) {
        RL_TRY(rl_x509_name_hash(i->cert, (rl_hash)h, i->name_hash[h]));
        RL_TRY(rl_x509_key_hash(i->cert, (rl_hash)h, i->key_hash[h]));
    }
    return RL_OK;
}

/* The next issuer; nobody sees it before it is whole. */
static rl_err load_issuer(rl_ca *ca, rl_issuer_id id, const rl_issuer_record *r, rl_error *e)
{
    size_t n = atomic_load_explicit(&ca->issuers_n, memory_order_relaxed);
    if (n == RL_CA_ISSUERS_MAX)
        return rl_fail(e, RL_ERANGE, "ca", "there are more than %d issuers", RL_CA_ISSUERS_MAX);
    if (id != n + 1)
        return rl_fail(e, RL_ECORRUPT, "ca", "issuer %zu is missing in the database", n + 1);
    uint8_t *der = malloc(r->cert_n ? r->cert_n : 1);
    if (!der)
        return rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    memcpy(der, r->cert, r->cert_n);
    rl_issuer *i = &ca->issuers[n];
    *i = (rl_issuer){.id = id, .der = rl_span_of(der, r->cert_n)};
    rl_err err = rl_x509_from_der(i->der, &i->cert, NULL) == RL_OK && take_hashes(i, r) == RL_OK
                     ? RL_OK
                     : rl_fail(e, RL_ECORRUPT, "ca", "issuer %u's stored certificate cannot be read", id);
    if (err == RL_OK)
        err = load_key(ca, i, r->key_ref, e);
    if (err != RL_OK) {
        clear_issuer(i);
        return err;
    }
    /* Decodes extensions and key now, so that threads only read them later. */
    X509_check_purpose(i->cert, -1, 0);
    i->key = rl_key_of(X509_get0_pubkey(i->cert));
    if (i->signer)
        ca->own = i; /* while nobody else has the CA: a running one gets no issuer of its own */
    atomic_store_explicit(&ca->issuers_n, n + 1, memory_order_release);
    return RL_OK;
}

static bool load_one(rl_issuer_id id, const rl_issuer_record *r, void *ctx)
{
    struct opening *o = ctx;
    o->err = load_issuer(o->ca, id, r, o->e);
    return o->err == RL_OK;
}

rl_err ca_grow(rl_ca *ca, rl_issuer_id last, rl_error *e)
{
    rl_err err = RL_OK;
    pthread_mutex_lock(&ca->growing);
    for (rl_issuer_id id; err == RL_OK && (id = (rl_issuer_id)rl_ca_issuers(ca) + 1) <= last;) {
        rl_issuer_record r;
        err = rl_store_issuer(ca->store, id, &r);
        if (err != RL_OK) {
            rl_fail(e, err, "ca", "issuer %u cannot be read: %s", id, rl_err_name(err));
            break;
        }
        err = load_issuer(ca, id, &r, e);
        rl_issuer_clear(&r);
    }
    pthread_mutex_unlock(&ca->growing);
    return err;
}

rl_err ca_open_issuers(rl_store *store, const rl_settings *s, rl_ca **out, rl_error *e)
{
    rl_ca *ca = calloc(1, sizeof(*ca));
    struct opening o = {.ca = ca, .e = e};
    if (!ca)
        return rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    ca->store = store;
    ca->settings = s;
    pthread_mutex_init(&ca->growing, NULL);
    rl_store_on_compromise(store, ca_compromised);
    rl_err err = rl_store_each_issuer(store, load_one, &o);
    if (err != RL_OK)
        rl_fail(e, err, "ca", "the issuers cannot be read: %s", rl_err_name(err));
    else
        err = o.err;
    if (err == RL_OK)
        *out = ca;
    else
        rl_ca_close(ca);
    return err;
}

rl_err rl_ca_open(rl_store *store, const rl_settings *s, rl_ca **out, rl_error *e)
{
    rl_ca *ca;
    rl_err err = RL_OK;
    RL_TRY(ca_open_issuers(store, s, &ca, e));
    if (!ca->own)
        err = rl_fail(e, RL_ENOTFOUND, "ca", "there is no CA in '%s' yet", s->data_dir);
    if (err == RL_OK)
        err = ca_ra_open(ca, e);
    if (err == RL_OK)
        err = ca_links_open(ca, e);
    if (err == RL_OK)
        err = ca_weak_load(ca, e);
    if (err != RL_OK) {
        rl_ca_close(ca);
        return err;
    }
    ca_bounds_open(ca);
    *out = ca;
    return RL_OK;
}

void rl_ca_close(rl_ca *ca)
{
    if (!ca)
        return;
    ca_links_free(ca);
    for (size_t i = 0; i < rl_ca_issuers(ca); i++)
        clear_issuer(&ca->issuers[i]);
    ca_ra_free(ca);
    ca_bounds_free(ca);
    free(ca->weak);
    pthread_mutex_destroy(&ca->growing);
    free(ca);
}

/* ---- looking up ---- */
const rl_issuer *rl_ca_issuer(const rl_ca *ca)
{
    return ca->own;
}

size_t rl_ca_issuers(const rl_ca *ca)
{
    return atomic_load_explicit(&ca->issuers_n, memory_order_acquire);
}

const rl_issuer *rl_ca_by_id(const rl_ca *ca, rl_issuer_id id)
{
    return id >= 1 && id <= rl_ca_issuers(ca) ? &ca->issuers[id - 1] : NULL;
}

const rl_issuer *rl_ca_own_by_file(const rl_ca *ca, rl_span name, rl_span ending)
{
    rl_issuer_id id = 0;
    size_t i = 0;
    if (name.n && name.p[0] == '0')
        return NULL;
    for (; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && id <= RL_CA_ISSUERS_MAX; i++)
        id = 10 * id + (rl_issuer_id)(name.p[i] - '0');
    const rl_issuer *issuer = rl_ca_by_id(ca, id);
    bool whole = issuer && rl_span_eq(rl_span_of(name.p + i, name.n - i), ending);
    return whole && issuer->signer ? issuer : NULL;
}

const rl_issuer *rl_ca_find(const rl_ca *ca, rl_hash h, rl_span name_hash, rl_span key_hash)
{
    size_t n = rl_hash_size(h), issuers_n = rl_ca_issuers(ca);
    for (size_t i = 0; i < issuers_n; i++)
        if (rl_span_eq(key_hash, rl_span_of(ca->issuers[i].key_hash[h], n)) &&
            rl_span_eq(name_hash, rl_span_of(ca->issuers[i].name_hash[h], n)))
            return &ca->issuers[i];
    return NULL;
}

const rl_issuer *rl_ca_signer_of(const rl_ca *ca, X509 *cert)
{
    for (size_t i = 0; i < rl_ca_issuers(ca); i++) {
        const rl_issuer *issuer = &ca->issuers[i];
        if (X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(issuer->cert)) == 0 &&
            rl_x509_holds(cert, issuer->key))
            return issuer;
    }
    ERR_clear_error();
    return NULL;
}

size_t rl_ca_chain(const rl_ca *ca, const rl_issuer *issuer, rl_span out[RL_CA_CHAIN_MAX])
{
    size_t n = 0;
    while (issuer && n < RL_CA_CHAIN_MAX) {
        const rl_issuer *above = rl_ca_signer_of(ca, issuer->cert);
        out[n++] = issuer->der;
        issuer = above == issuer ? NULL : above;
    }
    return n;
}

static bool has_cn(const rl_issuer *i, const char *text)
{
    rl_identity identity = {0};
    bool same = rl_identity_read(X509_get_subject_name(i->cert), NULL, &identity, NULL) == RL_OK && identity.cn &&
                strcmp(identity.cn, text) == 0;
    rl_identity_free(&identity);
    return same;
}

/* Hexadecimal digits without regard to case and colons. */
static bool same_fingerprint(const rl_issuer *i, const char *text)
{
    char fingerprint[3 * 32];
    const char *f = fingerprint;
    rl_issuer_fingerprint(i, fingerprint);
    for (;; f++, text++) {
        f += *f == ':';
        text += *text == ':';
        if (!*f || !*text)
            return *f == *text;
        if (*f != toupper((unsigned char)*text))
            return false;
    }
}

rl_err rl_ca_lookup(const rl_ca *ca, const char *text, const rl_issuer **out, rl_error *e)
{
    char number[16];
    *out = NULL;
    for (size_t k = 0; k < rl_ca_issuers(ca); k++) {
        const rl_issuer *i = &ca->issuers[k];
        snprintf(number, sizeof(number), "%u", i->id);
        if (strcmp(number, text) == 0 || same_fingerprint(i, text)) {
            *out = i;
            return RL_OK;
        }
    }
    for (size_t k = 0; k < rl_ca_issuers(ca); k++) {
        if (!has_cn(&ca->issuers[k], text))
            continue;
        if (*out)
            return rl_fail(e, RL_EINVAL, "issuer", "issuers %u and %u are both called '%s': give the number",
                           (*out)->id, ca->issuers[k].id, text);
        *out = &ca->issuers[k];
    }
    return *out ? RL_OK
                : rl_fail(e, RL_ENOTFOUND, "issuer",
                          "'%s' is no issuer known here by number, fingerprint or common name", text);
}

void rl_issuer_fingerprint(const rl_issuer *i, char out[3 * 32])
{
    uint8_t digest[RL_HASH_MAX] = {0};
    rl_hash_digest(RL_SHA256, i->der, digest);
    for (size_t k = 0; k < 32; k++)
        snprintf(out + 3 * k, 4, k < 31 ? "%02X:" : "%02X", digest[k]);
}
