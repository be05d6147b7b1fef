/* What a revocation list changes; see crl_apply.h. */
#include "sync/crl_apply.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/metrics.h"

/* One transaction: entries compared, or certificates looked at for holds that have ended. */
enum { ENTRIES_AT_ONCE = 1000, SWEEP_AT_ONCE = 4000, FUTURE_MAX_S = 600 };

/* A certificate that is known by its list alone: RFC 5280 §4.1.2.5's "no well-defined expiration date". */
#define NO_END INT64_C(253402300799)

/* ---- whose list it is ---- */
struct finding {
    const rl_crl *crl;
    bool sha1;
    rl_issuer_id id; /* 0: not found */
    bool own;
    rl_err err; /* of the last issuer of that name: what a person wants to know */
    rl_error why;
};

static bool try_issuer(rl_issuer_id id, const rl_issuer_record *r, void *ctx)
{
    struct finding *f = ctx;
    X509 *cert = NULL;
    rl_error why = {0};
    if (rl_x509_from_der(rl_span_of(r->cert, r->cert_n), &cert, NULL) != RL_OK)
        return true;
    if (X509_NAME_cmp(f->crl->issuer, X509_get_subject_name(cert)) == 0) {
        f->err = rl_crl_verify(f->crl, cert, f->sha1, &why);
        f->why = why;
        f->own = r->key_ref && r->key_ref[0];
        f->id = f->err == RL_OK ? id : 0;
    }
    X509_free(cert);
    return f->id == 0;
}

rl_err rl_crl_find_issuer(rl_store *store, const rl_crl *crl, bool sha1, int64_t now, rl_issuer_id *id, rl_error *e)
{
    struct finding f = {.crl = crl, .sha1 = sha1, .err = RL_ENOTFOUND};
    rl_err err = rl_store_each_issuer(store, try_issuer, &f);
    if (err != RL_OK)
        return rl_fail(e, err, "crl", "the issuers cannot be read: %s", rl_err_name(err));
    if (!f.id && !f.why.message[0]) {
        char *name = rl_name_text(crl->issuer);
        rl_fail(e, RL_ENOTFOUND, "crl", "its CA, '%s', is not known here: revline import its certificate",
                name ? name : "");
        free(name);
        return RL_ENOTFOUND;
    }
    if (!f.id)
        return rl_fail(e, f.err, "crl", "%s", f.why.message);
    if (f.own)
        return rl_fail(e, RL_EDENIED, "crl", "it is our own CA's: its certificates are managed here");
    if (crl->this_update > now + FUTURE_MAX_S)
        return rl_fail(e, RL_EDENIED, "crl", "its thisUpdate is %lld seconds in the future",
                       (long long)(crl->this_update - now));
    *id = f.id;
    return RL_OK;
}

/* ---- which list it is ---- */
/* CRL numbers grow (RFC 5280 §5.2.3); among lists without, and of one number, thisUpdate decides. */
static int order(const rl_crl *crl, const rl_issuer_crl *known)
{
    int by_number = memcmp(crl->number, known->number, sizeof(known->number));
    if (by_number || crl->this_update == known->this_update)
        return by_number;
    return crl->this_update < known->this_update ? -1 : 1;
}

static void number_text(const uint8_t number[RL_CRL_NUMBER], char out[2 * RL_CRL_NUMBER + 1])
{
    size_t zeros = 0;
    while (zeros < RL_CRL_NUMBER - 1 && number[zeros] == 0)
        zeros++;
    rl_hex((rl_span){number + zeros, RL_CRL_NUMBER - zeros}, out, 2 * RL_CRL_NUMBER + 1);
}

static rl_err refuse_older(const rl_crl *crl, const rl_issuer_crl *known, rl_error *e)
{
    char one[2 * RL_CRL_NUMBER + 1], other[2 * RL_CRL_NUMBER + 1];
    number_text(crl->number, one);
    number_text(known->number, other);
    if (strcmp(one, other) == 0)
        return rl_fail(e, RL_EDENIED, "crl", "it is older than the list that is known: %lld seconds before it",
                       (long long)(known->this_update - crl->this_update));
    return rl_fail(e, RL_EDENIED, "crl", "its number 0x%s is smaller than the 0x%s of the list that is known%s", one,
                   other, crl->this_update > known->this_update ? ", though it was made later" : "");
}

/* A list for a part of the certificates says nothing about the others: it neither follows another part nor the whole.
 * The whole may follow a part. */
static bool same_scope(const rl_crl *crl, const rl_issuer_crl *known)
{
    return !crl->partial || known->this_update == 0 || memcmp(crl->scope, known->scope, sizeof(known->scope)) == 0;
}

static rl_err put_issuer(rl_store_txn *t, const rl_crl_job *job, rl_issuer_record *r)
{
    const rl_crl *crl = job->crl;
    memcpy(r->crl.number, crl->number, sizeof(r->crl.number));
    memcpy(r->crl.scope, crl->scope, sizeof(r->crl.scope));
    r->crl.this_update = crl->this_update;
    r->crl.whole = job->done;
    if (job->done) {
        r->crl.next_update = crl->next_update;
        r->crl.partial = crl->partial;
    }
    return rl_txn_put_issuer(t, job->issuer, r);
}

/* The issuers that follow the list besides its own. */
static rl_err find_kin(rl_store_txn *t, rl_crl_job *job, const rl_issuer_record *own)
{
    rl_err err;
    rl_issuer_record r;
    bool newer = false;
    job->kin_n = 0;
    for (rl_issuer_id id = 1; (err = rl_txn_issuer(t, id, &r)) == RL_OK; id++) {
        bool same_ca = id != job->issuer && !(r.key_ref && r.key_ref[0]) &&
                       memcmp(r.hashes[RL_SHA256].name, own->hashes[RL_SHA256].name, 32) == 0;
        newer |= same_ca && r.crl.this_update && id > job->issuer;
        if (same_ca && !r.crl.this_update && job->kin_n < RL_CRL_KIN_MAX)
            job->kin[job->kin_n++] = id;
        rl_issuer_clear(&r);
    }
    if (newer)
        job->kin_n = 0;
    return err == RL_ENOTFOUND ? RL_OK : err;
}

static rl_err claim(rl_store_txn *t, rl_crl_job *job, rl_issuer_record *r, rl_error *e)
{
    int newer = order(job->crl, &r->crl);
    job->renumbered = newer < 0 && job->crl->this_update > r->crl.this_update;
    if (newer < 0 && !(job->renumbered && job->again))
        return refuse_older(job->crl, &r->crl, e);
    if (newer == 0 && r->crl.whole && !job->again) {
        job->done = job->known = true;
        return RL_OK;
    }
    /* RFC 5280 §6.3.3: what has ended says nothing of today; one that ended while it was known is OCSP's to judge. */
    if (newer != 0 && job->crl->next_update <= job->now)
        return rl_fail(e, RL_EDENIED, "crl", "its nextUpdate passed %lld seconds ago",
                       (long long)(job->now - job->crl->next_update));
    if (!same_scope(job->crl, &r->crl))
        return rl_fail(e, RL_EDENIED, "crl",
                       "its issuing distribution point is not that of the list that is followed for this CA");
    RL_TRY(find_kin(t, job, r));
    job->claimed = true;
    job->of = job->issuer;
    return put_issuer(t, job, r);
}

/* ---- entries ---- */
static rl_cert_id id_of(const rl_crl_job *job, const rl_serial *serial)
{
    rl_cert_id id = {.issuer = job->of, .serial_n = serial->n};
    memcpy(id.serial, serial->b, serial->n);
    return id;
}

static rl_err add(rl_store_txn *t, rl_crl_job *job, const rl_cert_id *id, const rl_crl_entry *entry)
{
    static char none[] = "", listed[] = RL_PROFILE_LISTED;
    rl_cert_record r = {.subject = none,
                        .profile = listed,
                        .requester = listed,
                        .not_after = NO_END,
                        .why = RL_WHY_FOREIGN_CRL,
                        .crl_reason = (rl_reason)entry->reason,
                        .crl_date = entry->revoked_at};
    job->changed += rl_cert_settle(&r, entry->revoked_at);
    return rl_txn_add_cert(t, id, &r, (rl_span){0}, job->origin);
}

/* A revocation for good stays, whatever the list makes of it later. */
static rl_err apply_entry(rl_store_txn *t, rl_crl_job *job, const rl_crl_entry *entry)
{
    rl_cert_id id = id_of(job, &entry->serial);
    rl_reason reason = (rl_reason)entry->reason;
    rl_cert_record r;
    rl_err err = rl_txn_cert(t, &id, &r);
    if (err == RL_ENOTFOUND)
        return add(t, job, &id, entry);
    RL_TRY(err);
    bool listed = r.why & RL_WHY_FOREIGN_CRL;
    bool same = listed && r.crl_reason == reason && r.crl_date == entry->revoked_at;
    bool weaker = listed && r.crl_reason != RL_REASON_HOLD && reason == RL_REASON_HOLD;
    if (!same && !weaker) {
        r.why |= RL_WHY_FOREIGN_CRL;
        r.crl_reason = reason;
        r.crl_date = entry->revoked_at;
        job->changed += rl_cert_settle(&r, entry->revoked_at);
        err = rl_txn_update_cert(t, &id, &r, job->origin);
    }
    rl_cert_clear(&r);
    return err;
}

/* ---- holds that are listed no more ---- */
static bool is_listed(const rl_crl *crl, const rl_cert_id *id)
{
    rl_serial serial = {.n = id->serial_n};
    size_t low = 0, high = crl->n;
    memcpy(serial.b, id->serial, id->serial_n);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int at = rl_crl_order(&crl->entries[middle].serial, &serial);
        if (at == 0)
            return true;
        if (at < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Revocations for good stay: CAs take expired certificates off their lists (RFC 5280 §3.3). */
static rl_err release(rl_store_txn *t, rl_crl_job *job, const rl_cert_id *id)
{
    rl_cert_record r;
    RL_TRY(rl_txn_cert(t, id, &r));
    rl_err err = RL_OK;
    if ((r.why & RL_WHY_FOREIGN_CRL) && r.crl_reason == RL_REASON_HOLD) {
        r.why &= ~(uint32_t)RL_WHY_FOREIGN_CRL;
        job->changed += rl_cert_settle(&r, job->crl->this_update);
        err = rl_txn_update_cert(t, id, &r, job->origin);
    }
    rl_cert_clear(&r);
    return err;
}

struct sweep {
    rl_cert_id ids[SWEEP_AT_ONCE];
    rl_revoked_record records[SWEEP_AT_ONCE];
};

/* A hold by the list alone, or beside another hold, shows as one; beside anything permanent it decides nothing. */
static rl_err sweep(rl_store_txn *t, rl_crl_job *job, bool *swept)
{
    size_t n = 0;
    struct sweep *s = malloc(sizeof(*s));
    rl_err err = s ? rl_txn_revoked_after(t, &job->swept, s->ids, s->records, SWEEP_AT_ONCE, &n) : RL_ENOMEM;
    for (size_t i = 0; err == RL_OK && i < n; i++)
        if (s->records[i].reason == RL_REASON_HOLD && !is_listed(job->crl, &s->ids[i]))
            err = release(t, job, &s->ids[i]);
    if (err == RL_OK && n > 0)
        job->swept = s->ids[n - 1];
    *swept = err == RL_OK && n < SWEEP_AT_ONCE;
    free(s);
    return err;
}

/* ---- one transaction ---- */
static rl_err step(rl_store_txn *t, rl_crl_job *job, rl_issuer_record *r)
{
    size_t end = job->at + ENTRIES_AT_ONCE < job->crl->n ? job->at + ENTRIES_AT_ONCE : job->crl->n;
    if (job->at < end) {
        for (; job->at < end; job->at++)
            RL_TRY(apply_entry(t, job, &job->crl->entries[job->at]));
        return RL_OK;
    }
    bool swept;
    job->swept.issuer = job->of;
    RL_TRY(sweep(t, job, &swept));
    if (!swept)
        return RL_OK;
    if (job->kin_done < job->kin_n) {
        job->of = job->kin[job->kin_done++];
        job->at = 0;
        job->swept = (rl_cert_id){0};
        return RL_OK;
    }
    job->done = true;
    char number[2 * RL_CRL_NUMBER + 1];
    number_text(job->crl->number, number);
    RL_TRY(rl_txn_audit(t, job->origin, "crl.apply", number));
    return put_issuer(t, job, r);
}

rl_err rl_crl_apply(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_crl_job *job = arg;
    rl_issuer_record r;
    rl_err err = rl_txn_issuer(t, job->issuer, &r);
    if (err != RL_OK)
        return rl_fail(e, err, "crl", "issuer %u cannot be read: %s", job->issuer, rl_err_name(err));
    bool refused = false;
    if (!job->claimed) {
        err = claim(t, job, &r, e);
        refused = err == RL_EDENIED;
    } else if (order(job->crl, &r.crl) != 0) {
        err = rl_fail(e, RL_EBUSY, "crl", "a newer list came while it was applied");
        refused = true;
    }
    if (err == RL_OK && !job->done)
        err = step(t, job, &r);
    rl_issuer_clear(&r);
    if (err != RL_OK && !refused)
        return rl_fail(e, err, "crl", "it cannot be applied: %s", rl_err_name(err));
    return err;
}

void rl_crl_show(rl_issuer_id issuer, int64_t next_update)
{
    char label[32];
    snprintf(label, sizeof(label), "issuer=\"%u\"", issuer);
    rl_metric_set(
        rl_gauge("revline_crl_next_update_seconds", label, "When another CA's next revocation list is due, Unix time."),
        next_update);
}
