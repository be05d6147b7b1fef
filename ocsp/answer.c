/* The miss path: see answer.h, and cache.c for the order in which stamp, store, signature and cache are used. */
#include "ocsp/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

/* ---- questions ---- */
void ocsp_question_set(ocsp_question *q, const rl_ca *ca, const ocsp_cert_id *id)
{
    rl_serial serial;
    *q = (ocsp_question){.cert_id = id->whole};
    const rl_issuer *issuer =
        id->known_hash ? rl_ca_find(ca, id->hash, id->issuer_name_hash, id->issuer_key_hash) : NULL;
    if (!issuer)
        return;
    q->ours = true;
    q->foreign = !issuer->signer;
    q->cert.issuer = issuer->id;
    if (rl_serial_from_der(id->serial, &serial) != RL_OK)
        return;
    q->can_exist = true;
    q->cert.serial_n = serial.n;
    memcpy(q->cert.serial, serial.b, serial.n);
}

void ocsp_question_key(const ocsp_question *q, const ocsp_cert_id *id, ocsp_key *key)
{
    memset(key, 0, sizeof(*key));
    key->issuer = q->cert.issuer;
    key->form = (uint8_t)(2 * id->hash + id->null_parameters);
    key->serial_n = q->cert.serial_n;
    memcpy(key->serial, q->cert.serial, q->cert.serial_n);
}

/* ---- deciding ---- */
int64_t ocsp_revoked_at(const rl_settings *s, int64_t recorded, int64_t now)
{
    return recorded > now + 1 ? now - s->ca.clock_skew / 1000 : recorded; /* the seconds of two threads may be apart */
}

/* Never `good` for what was not issued, has expired or is revoked. A certificate past its notAfter is `unknown` unless
 * it was revoked, and a `good` answer ends with the certificate.
 *
 * With an archive (RFC 6960 §4.4.4) the status is told for that much longer, and the answer carries the date back to
 * which that is so: producedAt less the retention interval. Then a `good` answer ends with the archive. What was
 * revoked or put on hold stays so for ever, but past the archive without the date, which would promise more. */
static void decide_issued(const rl_settings *s, const rl_cert_status *record, int64_t now, int64_t *until,
                          rl_duration *validity, ocsp_single *out)
{
    int64_t archive = s->ocsp.archive / 1000;
    bool expired = now >= record->not_after;
    out->archived = expired && now < record->not_after + archive;
    out->archive_cutoff = out->archived ? now - archive : 0;
    if (record->status != RL_STATUS_GOOD) {
        bool hold = record->status == RL_STATUS_HOLD;
        out->status = OCSP_REVOKED;
        out->revoked_at = ocsp_revoked_at(s, record->revoked_at, now);
        out->reason = hold ? RL_REASON_HOLD : record->reason;
        *validity = hold ? s->ocsp.validity_hold : s->ocsp.validity_revoked;
    } else if (!expired || out->archived) {
        int64_t end = expired ? record->not_after + archive : record->not_after;
        out->status = OCSP_GOOD;
        *validity = s->ocsp.validity_good;
        *until = *until < end ? *until : end;
    }
}

void ocsp_decide(const rl_settings *s, const rl_cert_status *record, int64_t now, int64_t until, ocsp_single *out)
{
    rl_duration validity = s->ocsp.validity_unknown;
    *out = (ocsp_single){.cert_id = out->cert_id, .status = OCSP_UNKNOWN, .reason = RL_REASON_UNSPECIFIED};
    if (record) {
        decide_issued(s, record, now, &until, &validity, out);
    } else if (s->ocsp.unissued == RL_UNISSUED_REVOKED) { /* RFC 6960 §2.2: on hold since 1970-01-01 */
        out->status = OCSP_REVOKED;
        out->reason = RL_REASON_HOLD;
    }
    out->next_update = now + validity / 1000;
    if (out->next_update > until)
        out->next_update = until;
}

/* Of a certificate without a record, by its issuer or not. RFC 6960 §2.2: unknown, when nothing is known of it here.
 * A CA that is known by its whole list says with it that it has not revoked this one: good, at its minimum. */
static void decide_unrecorded(const rl_settings *s, bool not_listed, int64_t now, int64_t until, ocsp_single *out)
{
    out->status = not_listed ? OCSP_GOOD : OCSP_UNKNOWN;
    out->next_update = now + (not_listed ? s->ocsp.validity_good : s->ocsp.validity_unknown) / 1000;
    if (out->next_update > until)
        out->next_update = until;
}

/* Whether another CA's list, when there is one, still counts. What is revoked for good stays so without it; every other
 * answer ends with the list, at the latest. When it is overdue: RL_EBUSY, or as before, by the policy. */
static rl_err weigh_list(const rl_settings *s, const rl_issuer_crl *list, const rl_cert_status *record, int64_t now,
                         int64_t *until)
{
    if (!list->next_update || (record && record->status == RL_STATUS_REVOKED))
        return RL_OK;
    bool try_later = s->sync.stale_policy == RL_STALE_TRY_LATER;
    int64_t stale_at = list->next_update + s->sync.stale_after / 1000;
    int64_t end = now < list->next_update ? list->next_update : try_later ? stale_at : INT64_MAX;
    if (now >= stale_at && try_later)
        return RL_EBUSY;
    *until = *until < end ? *until : end;
    return RL_OK;
}

static rl_err read_list(const ocsp_context *c, const ocsp_question *q, const rl_cert_status *record, int64_t now,
                        int64_t *until, bool *not_listed, rl_error *e)
{
    rl_issuer_crl list;
    RL_TRY(rl_store_issuer_crl(c->store, q->cert.issuer, &list));
    rl_err err = weigh_list(c->settings, &list, record, now, until);
    if (list.next_update && now >= list.next_update + c->settings->sync.stale_after / 1000)
        log_client_warn("ocsp.stale_list", "issuer", q->cert.issuer, "next_update", list.next_update, "answered",
                        err == RL_OK);
    *not_listed = list.next_update && !list.partial && !record;
    return err == RL_OK ? RL_OK
                        : rl_fail(e, err, "ocsp", "the revocation list of issuer %u is overdue", q->cert.issuer);
}

/* A directory that decides about the certificate may fall silent: then nobody knows whether it is good. What is revoked
 * for good stays so without it; every other answer ends at that moment, and from then on there is none (RL_EBUSY). */
static rl_err weigh_directories(const ocsp_context *c, const rl_cert_id *id, int64_t now, int64_t *until, rl_error *e)
{
    rl_cert_record cert;
    if (!c->told_until)
        return RL_OK;
    RL_TRY(rl_store_cert(c->store, id, &cert));
    int64_t end = c->told_until(&cert, c->told_until_ctx);
    rl_cert_clear(&cert);
    if (now >= end)
        return rl_fail(e, RL_EBUSY, "ocsp",
                       "a directory that decides about the certificate has been silent since too long: revline sync");
    *until = *until < end ? *until : end;
    return RL_OK;
}

/* One certificate's part. The stamp comes before the read. A delegate speaks for its own issuer alone. */
static rl_err read_single(ocsp_job *job, ocsp_question *q, const ocsp_delegate *delegate, int64_t now, ocsp_single *out,
                          bool *extended_revoke, rl_error *e)
{
    const ocsp_context *c = job->context;
    rl_cert_status record;
    int64_t until = delegate->not_after;
    bool not_listed = false;
    rl_err err = RL_ENOTFOUND;
    *out = (ocsp_single){.cert_id = q->cert_id};
    q->stamped = q->can_exist && q->cert.issuer == delegate->issuer;
    if (q->stamped) {
        q->stamp = ocsp_cache_stamp(c->cache, &q->cert);
        err = rl_store_cert_status(c->store, &q->cert, &record);
    }
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    if (q->stamped && q->foreign)
        RL_TRY(read_list(c, q, err == RL_OK ? &record : NULL, now, &until, &not_listed, e));
    if (err == RL_OK && record.status != RL_STATUS_REVOKED)
        RL_TRY(weigh_directories(c, &q->cert, now, &until, e));
    if (err == RL_ENOTFOUND && (q->foreign || q->cert.issuer != delegate->issuer)) {
        decide_unrecorded(c->settings, not_listed, now, until, out);
        return RL_OK;
    }
    bool issued = err == RL_OK || (q->stamped && ocsp_responder_certified(c->responder, &q->cert, &record));
    ocsp_decide(c->settings, issued ? &record : NULL, now, until, out);
    *extended_revoke |= !issued && out->status == OCSP_REVOKED;
    return RL_OK;
}

/* ---- making the answer ---- */
/* RFC 5019 §6.2, RFC 9111: what a cache between here and the client needs. max-age is added when sending. */
static ocsp_entry *make_entry(const ocsp_job *job, const ocsp_response *r, rl_span body)
{
    static const ocsp_outcome outcomes[] = {
        [OCSP_GOOD] = OCSP_OUTCOME_GOOD, [OCSP_REVOKED] = OCSP_OUTCOME_REVOKED, [OCSP_UNKNOWN] = OCSP_OUTCOME_UNKNOWN};
    char headers[320], modified[RL_TIME_TEXT], expires[RL_TIME_TEXT], tag[2 * 32 + 1];
    uint8_t digest[RL_HASH_MAX];
    int64_t next_update = r->singles[0].next_update;
    for (size_t i = 1; i < r->singles_n; i++)
        next_update = r->singles[i].next_update < next_update ? r->singles[i].next_update : next_update;
    rl_span fields = RL_SPAN_LIT("Content-Type: application/ocsp-response\r\nCache-Control: no-store\r\n");
    if (!job->nonce.p) {
        if (rl_hash_digest(RL_SHA256, body, digest) != RL_OK ||
            rl_hex(rl_span_of(digest, 32), tag, sizeof(tag)) != RL_OK)
            return NULL;
        rl_time_http(r->produced_at, modified);
        rl_time_http(next_update, expires);
        int n =
            snprintf(headers, sizeof(headers),
                     "ETag: \"%s\"\r\nContent-Type: application/ocsp-response\r\nLast-Modified: %s\r\nExpires: %s\r\n",
                     tag, modified, expires);
        fields = rl_span_of(headers, (size_t)n);
    }
    return ocsp_entry_new(body, fields, r->produced_at, next_update,
                          r->singles_n > 1 ? OCSP_OUTCOME_SEVERAL : outcomes[r->singles[0].status]);
}

rl_span ocsp_entry_tag(const ocsp_entry *e)
{
    rl_span headers = e->headers, name, tag = {0};
    if (rl_span_take(&headers, strlen("ETag: "), &name) == RL_OK)
        (void)rl_span_take(&headers, 2 * 32 + 2, &tag);
    return tag;
}

/* An answer may be asked for again while its delegate's successor, which is due at half of its life, signs the wanted
 * ones anew, until half of the rest: nobody gets one whose signer expires on the way. */
static rl_err sign(const ocsp_job *job, const ocsp_response *r, const ocsp_delegate *delegate, ocsp_entry **out,
                   rl_error *e)
{
    const ocsp_context *c = job->context;
    rl_span body;
    size_t cap = ocsp_response_bound(r, &delegate->identity);
    uint8_t *memory = malloc(cap);
    if (!memory)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    uint64_t began = rl_mono_ns();
    rl_err err = ocsp_response_build(r, &delegate->identity, memory, cap, &body, e);
    if (err == RL_OK) {
        rl_metric_observe_ns(c->sign_seconds, rl_mono_ns() - began);
        rl_metric_add(c->signatures, 1);
        *out = make_entry(job, r, body);
        err = *out ? RL_OK : rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    }
    if (err == RL_OK) {
        int64_t renewed = delegate->renew_at + (delegate->not_after - delegate->renew_at) / 2;
        if (renewed <= r->produced_at)
            renewed = r->produced_at + 1;
        (*out)->serve_until = (*out)->next_update < renewed ? (*out)->next_update : renewed;
    }
    free(memory);
    return err;
}

static bool is_valid(const ocsp_delegate *d, int64_t now)
{
    return now >= d->not_before && now < d->not_after;
}

/* Valid, and not revoked by the CA that certified it: an installed one's list is known here. */
static bool may_sign(const ocsp_context *c, const ocsp_delegate *d, int64_t now)
{
    rl_cert_id id = {.issuer = d->issuer, .serial_n = d->serial.n};
    rl_cert_status listed;
    memcpy(id.serial, d->serial.b, d->serial.n);
    if (!is_valid(d, now))
        return false;
    if (!d->installed || rl_store_cert_status(c->store, &id, &listed) != RL_OK || listed.status == RL_STATUS_GOOD)
        return true;
    log_client_warn("ocsp.delegate", "issuer", d->issuer, "state", "revoked by its CA: it signs no more", "remedy",
                    "revline ocsp csr, then revline ocsp install");
    return false;
}

/* An answer has one signer (RFC 6960 §4.2.1): the delegate of the first issuer asked about that has a valid one. One of
 * our own that is not valid is replaced within moments (RL_EBUSY); without any there is nobody to answer (RL_EDENIED,
 * §2.3: unauthorized). */
static rl_err choose_delegate(const ocsp_job *job, ocsp_delegate **out, rl_error *e)
{
    int64_t now = rl_wall_s();
    rl_err err = RL_EDENIED;
    for (size_t i = 0; i < job->n; i++) {
        const ocsp_question *q = &job->questions[i];
        *out = q->ours ? ocsp_responder_current(job->context->responder, q->cert.issuer) : NULL;
        if (*out && may_sign(job->context, *out, now))
            return RL_OK;
        if (*out && !(*out)->installed)
            err = RL_EBUSY;
        ocsp_delegate_drop(*out);
    }
    return err == RL_EDENIED
               ? err
               : rl_fail(e, err, "ocsp", "the responder certificate is not valid now and could not be renewed yet");
}

static rl_err answer(ocsp_job *job, const ocsp_delegate *delegate, rl_error *e)
{
    ocsp_single singles[OCSP_CERT_IDS_MAX];
    ocsp_response r = {.singles = singles, .singles_n = job->n, .produced_at = rl_wall_s(), .nonce = job->nonce};
    if (!is_valid(delegate, r.produced_at))
        return rl_fail(e, RL_EBUSY, "ocsp", "the responder certificate has expired just now");
    for (size_t i = 0; i < job->n; i++) {
        rl_err err = read_single(job, &job->questions[i], delegate, r.produced_at, &singles[i], &r.extended_revoke, e);
        if (err == RL_EBUSY)
            return err;
        if (err != RL_OK)
            return rl_fail(e, err, "ocsp", "the certificate's status cannot be read: %s", rl_err_name(err));
    }
    return sign(job, &r, delegate, &job->entry, e);
}

/* With the stamp first: see cache.c. */
bool ocsp_job_find(ocsp_job *job)
{
    const ocsp_context *c = job->context;
    ocsp_question *q = &job->questions[0];
    q->stamped = true;
    q->stamp = ocsp_cache_stamp(c->cache, &q->cert);
    job->entry = ocsp_cache_get(c->cache, &job->key, rl_wall_s(), NULL);
    if (!job->entry)
        job->entry = ocsp_warm_find(c->warm, &job->key, q->stamp);
    return job->entry != NULL;
}

void ocsp_job_run(ocsp_job *job)
{
    rl_error e = {0};
    ocsp_delegate *delegate = NULL;
    job->entry = NULL;
    rl_err err = choose_delegate(job, &delegate, &e);
    if (err == RL_OK) {
        err = answer(job, delegate, &e);
        ocsp_delegate_drop(delegate);
    }
    if (err == RL_EDENIED) {
        job->failure = OCSP_UNAUTHORIZED;
    } else if (err != RL_OK) {
        job->failure = err == RL_EBUSY ? OCSP_TRY_LATER : OCSP_INTERNAL_ERROR;
        log_client_warn("ocsp.answer", "error", e.message);
    } else if (job->cacheable) {
        /* Refused when the status has changed meanwhile: ocsp_job_is_current will say so, too. */
        if (ocsp_cache_put(job->context->cache, &job->key, job->questions[0].stamp, job->entry))
            ocsp_warm_note(job->context->warm, &job->key);
    }
}

bool ocsp_job_is_current(const ocsp_job *job)
{
    for (size_t i = 0; i < job->n; i++)
        if (job->questions[i].stamped &&
            !ocsp_cache_is_current(job->context->cache, &job->questions[i].cert, job->questions[i].stamp))
            return false;
    return true;
}
