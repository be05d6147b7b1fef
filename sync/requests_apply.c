/* Requests to revoke, inside store transactions; see requests_apply.h. */
#include "sync/requests_apply.h"

#include <stdlib.h>

#include "crypto/hash.h"

enum { LONG_NUMBER = 8 }; /* octets of a serial number that no two CAs have by chance */

/* ---- apply ---- */
static rl_err id_of(const char *context, char out[RL_REQUEST_ID_SIZE])
{
    uint8_t digest[RL_HASH_MAX];
    RL_TRY(rl_hash_digest(RL_SHA256, rl_span_str(context), digest));
    return rl_hex(rl_span_of(digest, rl_hash_size(RL_SHA256)), out, RL_REQUEST_ID_SIZE);
}

static rl_err put_result(rl_store_txn *t, const char *id, const char *context, rl_request_result result, bool to_upload,
                         int64_t now)
{
    /* encoding only reads */
    const rl_object_record r = {.exists = to_upload,
                                .enabled = true,
                                .name = (char *)(uintptr_t)context,
                                .target = (char *)(uintptr_t)rl_request_result_name(result),
                                .last_seen = now};
    return rl_txn_put_object(t, RL_SOURCE_REVOCATION_REQUEST, id, &r);
}

/* It came before: what was answered then is the answer. */
static rl_err answer_again(rl_store_txn *t, const char *id, rl_object_record *known)
{
    if (known->exists)
        return RL_OK;
    known->exists = true;
    return rl_txn_put_object(t, RL_SOURCE_REVOCATION_REQUEST, id, known);
}

/* For good, whatever else it waits for. */
static rl_err revoke(rl_store_txn *t, rl_requests_job *job, const rl_cert_id *id, rl_cert_record *cert)
{
    char serial[2 * RL_STORE_SERIAL_MAX + 1];
    cert->why |= RL_WHY_ENDPOINT_LIST;
    cert->held = (__typeof__(cert->held)){0};
    job->changed += rl_cert_settle(cert, job->now);
    RL_TRY(rl_txn_update_cert(t, id, cert, job->origin));
    RL_TRY(rl_hex(rl_span_of(id->serial, id->serial_n), serial, sizeof(serial)));
    return rl_txn_audit(t, job->origin, "cert.revoke", serial);
}

/* Serial numbers of ours are long and random, so such a one says whose it is. Of another the issuer's name does. */
static rl_err is_anothers(rl_store_txn *t, rl_requests_job *job, const rl_revocation_request *r, bool found, bool *is)
{
    bool ours = true;
    if (r->issuer && !(found && r->serial.n >= LONG_NUMBER))
        RL_TRY(rl_ours_is_name(t, &job->ours, r->issuer, &ours));
    *is = !ours;
    return RL_OK;
}

/* `skip`: it is another CA's. */
static rl_err carry_out(rl_store_txn *t, rl_requests_job *job, const rl_revocation_request *r,
                        rl_request_result *result, bool *skip)
{
    rl_cert_id id;
    rl_cert_record cert = {0};
    rl_err err = r->serial.n > 0 ? rl_ours_find(t, &job->ours, &r->serial, &id, &cert) : RL_ENOTFOUND;
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    bool found = err == RL_OK;
    err = is_anothers(t, job, r, found, skip);
    if (found && cert.status == RL_STATUS_REVOKED)
        *result = RL_RESULT_CONFLICT;
    else if (found)
        *result = RL_RESULT_REVOKED;
    else
        *result = r->serial.n > 0 ? RL_RESULT_NOT_FOUND : RL_RESULT_BAD_NUMBER;
    if (err == RL_OK && !*skip && *result == RL_RESULT_REVOKED)
        err = revoke(t, job, &id, &cert);
    rl_cert_clear(&cert);
    return err;
}

static rl_err apply_one(rl_store_txn *t, rl_requests_job *job, const rl_revocation_request *r)
{
    char id[RL_REQUEST_ID_SIZE];
    rl_object_record known;
    rl_request_result result;
    bool skip = false;
    RL_TRY(id_of(r->context, id));
    rl_err err = rl_txn_object(t, RL_SOURCE_REVOCATION_REQUEST, id, &known);
    if (err == RL_OK) {
        err = answer_again(t, id, &known);
        rl_object_clear(&known);
        return err;
    }
    if (err != RL_ENOTFOUND)
        return err;
    RL_TRY(carry_out(t, job, r, &result, &skip));
    if (skip) {
        job->skipped++;
        return RL_OK;
    }
    job->fresh++;
    return put_result(t, id, r->context, result, true, job->now);
}

rl_err rl_requests_apply(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_requests_job *job = arg;
    rl_err err = RL_OK;
    job->ours = (rl_ours){0};
    job->fresh = 0;
    job->changed = job->skipped = 0;
    for (size_t i = 0; err == RL_OK && i < job->requests->n; i++)
        err = apply_one(t, job, &job->requests->items[i]);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "intune", "the requests cannot be carried out: %s", rl_err_name(err));
}

/* ---- collect ---- */
static rl_err collect(rl_store_txn *t, const char *id, const rl_object_record *r, void *arg)
{
    rl_requests_job *job = arg;
    if (!r->exists && r->last_seen + RL_RESULT_REMEMBERED_S < job->now)
        return rl_txn_delete_object(t, RL_SOURCE_REVOCATION_REQUEST, id);
    if (!r->exists || job->n == RL_RESULTS_AT_ONCE)
        return RL_OK;
    if (strlen(id) >= RL_REQUEST_ID_SIZE || !r->name ||
        rl_request_result_parse(r->target, &job->results[job->n]) != RL_OK)
        return RL_ECORRUPT;
    job->contexts[job->n] = strdup(r->name);
    if (!job->contexts[job->n])
        return RL_ENOMEM;
    memcpy(job->ids[job->n++], id, strlen(id) + 1);
    return RL_OK;
}

rl_err rl_requests_collect(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_requests_job *job = arg;
    const rl_cursor_record cursor = {
        .complete = true, .tenant = (char *)(uintptr_t)job->tenant, .last_success = job->now, .last_full = job->now};
    rl_requests_job_clear(job);
    rl_err err = rl_txn_each_object(t, RL_SOURCE_REVOCATION_REQUEST, "", collect, job);
    if (err == RL_OK && job->last && job->n == 0)
        err = rl_txn_put_cursor(t, job->source, &cursor);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "intune", "the results cannot be read: %s", rl_err_name(err));
}

void rl_requests_job_clear(rl_requests_job *job)
{
    for (size_t i = 0; i < job->n; i++)
        free(job->contexts[i]);
    job->n = 0;
}

/* ---- recorded ---- */
rl_err rl_requests_set_recorded(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_requests_job *job = arg;
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < job->n; i++)
        err = put_result(t, job->ids[i], job->contexts[i], job->results[i], false, job->now);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "intune", "the results cannot be kept: %s", rl_err_name(err));
}
