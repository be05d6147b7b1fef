/* After a rollover: certificates that lead from one root of our own to the other (RFC 4210 §4.4, RFC 7030 §4.1.3).
 *
 * Who trusts the old root verifies the new one by NewWithOld, and who trusts the new one certificates of the old one by
 * OldWithNew. Both are ordinary certificates of their issuers, with a record and a status. Those between the issuing
 * root and each one before it that is valid are made when the CA is opened, since the keys are there then, and are
 * found again by the name of a transaction. A root that was revoked, for its key may be with somebody else, is vouched
 * for by nobody. */
#include "ca/ca_priv.h"

#include <stdlib.h>

#include "base/clock.h"

struct making {
    rl_cert_id id;
    rl_cert_record record;
    uint8_t *der;
    size_t der_n;
    char name[48];
};

static rl_err store_link(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct making *m = arg;
    rl_err err = rl_txn_add_cert(t, &m->id, &m->record, rl_span_of(m->der, m->der_n), "init");
    if (err == RL_OK)
        err = rl_txn_put_binding(t, RL_SOURCE_TRANSACTION, m->name, &m->id);
    if (err == RL_OK)
        err = rl_txn_audit(t, "init", "ca.link", m->record.subject);
    return err == RL_OK ? RL_OK
                        : rl_fail(e, err, "ca", "a rollover's certificate cannot be stored: %s", rl_err_name(err));
}

/* Valid as long as both roots are. */
static rl_err make(const rl_ca *ca, const rl_issuer *subject, const rl_issuer *issuer, struct making *m, rl_error *e)
{
    const ca_sub any = {.path_length = -1};
    const int64_t now = rl_wall_s();
    int64_t end = 0;
    rl_key *key = rl_key_of(X509_get0_pubkey(subject->cert));
    ca_template t = {.subject = X509_get_subject_name(subject->cert),
                     .key = key,
                     .key_usage = X509_get_key_usage(subject->cert),
                     .sub = &any};
    rl_err err = key ? ca_validity(ca, issuer, now, INT64_MAX / 2, &t, e)
                     : rl_fail_openssl(e, "ca", "a CA's key cannot be read");
    if (err == RL_OK &&
        (rl_x509_time(X509_get0_notAfter(subject->cert), &end) != RL_OK || rl_serial_random(&t.serial) != RL_OK))
        err = rl_fail_openssl(e, "ca", "a rollover's certificate cannot be made");
    t.not_after = end < t.not_after ? end : t.not_after;
    m->id = ca_cert_id(issuer->id, &t.serial);
    if (err == RL_OK)
        err = ca_build(ca, issuer, &t, &m->der, &m->der_n, e);
    if (err == RL_OK && ca_record(&t, "ca", "init", now, &m->record) != RL_OK)
        err = rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    if (err == RL_OK)
        err = rl_store_run(ca->store, store_link, m, e);
    rl_key_free(key);
    return err;
}

static rl_err find_or_make(const rl_ca *ca, const rl_issuer *subject, const rl_issuer *issuer, rl_ca_link *out,
                           rl_error *e)
{
    struct making m = {.name = ""};
    rl_buf der = {0};
    snprintf(m.name, sizeof(m.name), "\x01link %u by %u", subject->id, issuer->id);
    rl_err err = rl_store_binding_first(ca->store, RL_SOURCE_TRANSACTION, m.name, &out->id);
    if (err == RL_OK)
        err = rl_store_der(ca->store, &out->id, &der);
    if (err == RL_OK) {
        out->der = rl_buf_span(&der); /* the link's from here on */
        return RL_OK;
    }
    rl_buf_free(&der);
    if (err != RL_ENOTFOUND)
        return rl_fail(e, err, "ca", "a rollover's certificate cannot be read: %s", rl_err_name(err));
    err = make(ca, subject, issuer, &m, e);
    if (err == RL_OK) {
        out->id = m.id;
        out->der = rl_span_of(m.der, m.der_n);
    } else {
        free(m.der);
    }
    rl_cert_clear(&m.record);
    return err;
}

/* A root of our own is in the store as its own certificate. */
static rl_err root_id(const rl_issuer *root, rl_cert_id *id, rl_error *e)
{
    rl_serial serial;
    if (rl_x509_serial(root->cert, &serial) != RL_OK)
        return rl_fail_openssl(e, "ca", "a root's serial number cannot be read");
    *id = ca_cert_id(root->id, &serial);
    return RL_OK;
}

rl_err ca_links_open(rl_ca *ca, rl_error *e)
{
    for (rl_issuer_id id = 1; id < ca->own->id; id++) {
        const rl_issuer *old = rl_ca_by_id(ca, id);
        rl_ca_old_root *r = &ca->old_roots[ca->old_roots_n];
        rl_cert_status status;
        int64_t end;
        if (!old->signer || rl_x509_time(X509_get0_notAfter(old->cert), &end) != RL_OK || end <= rl_wall_s())
            continue;
        *r = (rl_ca_old_root){.root = {.der = old->der}};
        RL_TRY(root_id(old, &r->root.id, e));
        if (rl_store_cert_status(ca->store, &r->root.id, &status) != RL_OK || status.status != RL_STATUS_GOOD)
            continue;
        ca->old_roots_n++;
        RL_TRY(find_or_make(ca, ca->own, old, &r->new_with_old, e));
        if (ca_is_self_issued(ca->own->cert)) /* an intermediate CA vouches for no root */
            RL_TRY(find_or_make(ca, old, ca->own, &r->old_with_new, e));
    }
    return RL_OK;
}

void ca_links_free(rl_ca *ca)
{
    for (size_t i = 0; i < ca->old_roots_n; i++) {
        free((void *)ca->old_roots[i].new_with_old.der.p);
        free((void *)ca->old_roots[i].old_with_new.der.p);
    }
}

static void add(const rl_ca *ca, const rl_ca_link *link, rl_span *out, size_t *n)
{
    rl_cert_status status;
    if (rl_store_cert_status(ca->store, &link->id, &status) == RL_OK && status.status == RL_STATUS_GOOD &&
        status.not_after > rl_wall_s())
        out[(*n)++] = link->der;
}

size_t rl_ca_links(const rl_ca *ca, bool all, rl_span out[RL_CA_LINKS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < ca->old_roots_n; i++) {
        size_t before = n;
        add(ca, &ca->old_roots[i].root, out, &n);
        if (n == before)
            continue;
        n = all ? n : before;
        add(ca, &ca->old_roots[i].new_with_old, out, &n);
        if (all)
            add(ca, &ca->old_roots[i].old_with_new, out, &n);
    }
    return n;
}
