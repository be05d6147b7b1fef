/* Enrollment by Intune's challenge: asked, issued, told; in this order, and none of it twice.
 *
 * The certificate and what Intune has to be told of it are stored in one transaction. With REVLINE_INTUNE_WAIT the
 * device gets its certificate only when Intune has said that it knows. A client that comes again, for whatever reason
 * it got none, finds its transaction's certificate and goes on where it stopped. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/network.h"
#include "scep/scep_priv.h"

typedef struct job {
    const rl_scep *s;
    const scep_request *r;
    char name[SCEP_TRANSACTION_KEY + 1];
    unsigned char *csr; /* DER */
    rl_span csr_der;
    size_t queued; /* octets of what Intune has to be told */
} job;

static rl_err refuse(scep_refusal *why, const char *text)
{
    why->info = SCEP_BAD_REQUEST;
    snprintf(why->room, sizeof(why->room), "%s", text);
    why->text = why->room;
    return RL_EDENIED;
}

/* ---- what Intune has to be told ---- */
static rl_err queue_success(rl_store_txn *t, const rl_cert_id *id, rl_span der, void *ctx)
{
    job *j = ctx;
    char host[256]; /* ours, as in the certificates' URLs */
    const rl_span name = rl_host_of(j->s->settings->http.base_url);
    rl_buf value = {0};
    snprintf(host, sizeof(host), "%.*s", (int)name.n, (const char *)name.p);
    rl_err err = scep_intune_success(j->r->transaction, j->csr_der, id, der, host, rl_wall_s(), &value);
    if (err == RL_OK)
        err = rl_txn_queue_put(t, j->name, rl_buf_span(&value));
    j->queued = value.n;
    rl_buf_free(&value);
    return err;
}

struct failure {
    const char *name;
    rl_buf value;
    bool waits; /* from an earlier request of the transaction */
};

static rl_err queue_failure(rl_store_txn *t, void *arg, rl_error *e)
{
    struct failure *f = arg;
    rl_buf there = {0};
    rl_err err = rl_txn_queued(t, f->name, &there);
    rl_buf_free(&there);
    f->waits = err == RL_OK;
    if (err == RL_ENOTFOUND)
        err = rl_txn_queue_put(t, f->name, rl_buf_span(&f->value));
    return err == RL_OK ? RL_OK : rl_fail(e, err, "scep", "the failure cannot be queued: %s", rl_err_name(err));
}

/* It will never get a certificate: told in the background. `stranger`: Intune knows nothing of the request but that it
 * has refused it; so many of these may be for nothing that above a limit they are not told. */
static void tell_failure(const job *j, const char *reason, bool stranger)
{
    char name[sizeof(SCEP_INTUNE_FAILURE) + SCEP_TRANSACTION_KEY];
    struct failure f = {.name = name};
    rl_error e = {0};
    if (!scep_intune_has_room(j->s->intune, stranger)) {
        log_client_warn("scep.intune_untold", "transaction", j->r->transaction, "reason", "too much waits to be told");
        return;
    }
    snprintf(name, sizeof(name), SCEP_INTUNE_FAILURE "%s", j->name);
    rl_err err = scep_intune_failure(j->r->transaction, j->csr_der, reason, rl_wall_s(), &f.value);
    if (err == RL_OK)
        err = rl_store_run(j->s->store, queue_failure, &f, &e);
    if (err == RL_OK && !f.waits) {
        scep_intune_queued(j->s->intune, name, f.value.n);
        scep_intune_tell_later(j->s->intune, name);
    } else if (err != RL_OK) {
        log_error("scep.intune", "error", e.message[0] ? e.message : rl_err_name(err));
    }
    rl_buf_free(&f.value);
}

/* ---- the three steps ---- */
/* Not begun when Intune could not be told of the end. */
static rl_err validate(const job *j, scep_refusal *why)
{
    char text[SCEP_INTUNE_WHY];
    if (j->csr_der.n > SCEP_INTUNE_CSR_MAX)
        return refuse(why, "the request is larger than one of Intune's profiles can be");
    if (!scep_intune_has_room(j->s->intune, false)) {
        log_client_warn("scep.intune_full", "transaction", j->r->transaction, "reason", "too much waits to be told");
        return refuse(why, "Intune has too much to be told: try again later");
    }
    switch (scep_intune_validate(j->s->intune, j->r->transaction, j->csr_der, text)) {
    case SCEP_INTUNE_YES:
        return RL_OK;
    case SCEP_INTUNE_NO:
        tell_failure(j, text, true);
        why->guessed = true;
        return refuse(why, text);
    default:
        log_client_warn("scep.intune_away", "transaction", j->r->transaction, "error", text);
        return refuse(why, "Intune cannot be asked now: try again later");
    }
}

static bool is_request_to_blame(rl_err err)
{
    return err == RL_EINVAL || err == RL_EBADMSG || err == RL_ERANGE || err == RL_EUNSUPPORTED || err == RL_EDENIED;
}

static rl_err issue(job *j, const scep_profile *p, rl_issued *issued, rl_error *e)
{
    const rl_issue_request ask = {.profile = p->id,
                                  .csr = j->r->csr,
                                  .proven = j->r->key,
                                  .requester = "scep",
                                  .transaction = j->name,
                                  .also = queue_success,
                                  .also_ctx = j,
                                  .look_up = true};
    rl_err err = rl_ca_issue(j->s->ca, &ask, issued, e);
    if (err == RL_OK && !issued->repeated)
        scep_intune_queued(j->s->intune, j->name, j->queued);
    if (is_request_to_blame(err))
        tell_failure(j, e->message, false);
    return err;
}

/* Of a transaction that was here before Intune may have refused the certificate, or could not be told of it. Looked at
 * last: it is revoked when the queue has nothing to tell any more. */
static rl_err check_status(const job *j, const rl_issued *issued, scep_refusal *why)
{
    rl_cert_status cert;
    RL_TRY(rl_store_cert_status(j->s->store, &issued->id, &cert));
    if (cert.status == RL_STATUS_REVOKED || cert.not_after <= rl_wall_s())
        return refuse(why, "this transaction's certificate was revoked or has ended: begin another");
    return RL_OK;
}

static rl_err tell(const job *j, const rl_issued *issued, scep_refusal *why)
{
    char text[SCEP_INTUNE_WHY];
    scep_intune_verdict verdict = SCEP_INTUNE_YES;
    if (j->s->settings->scep.intune_wait)
        verdict = scep_intune_tell(j->s->intune, j->name, issued->repeated, text);
    else if (!issued->repeated)
        scep_intune_tell_later(j->s->intune, j->name);
    switch (verdict) {
    case SCEP_INTUNE_YES:
        return check_status(j, issued, why);
    case SCEP_INTUNE_NO:
        return refuse(why, text);
    default:
        return refuse(why, "Intune cannot be told now: try again later");
    }
}

/* Whether an earlier request of this transaction was validated and has its certificate. */
static bool is_known(const job *j)
{
    rl_cert_id id;
    return rl_store_binding_first(j->s->store, RL_SOURCE_TRANSACTION, j->name, &id) == RL_OK;
}

rl_err scep_intune_enroll(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_issued *issued,
                          scep_refusal *why, rl_error *e)
{
    job j = {.s = s, .r = r};
    *issued = (rl_issued){0};
    int n = i2d_X509_REQ(r->csr, &j.csr);
    if (n <= 0)
        return rl_fail_openssl(e, "scep", "the request cannot be encoded");
    j.csr_der = rl_span_of(j.csr, (size_t)n);
    rl_err err = scep_transaction_key(p, r, NULL, j.name);
    if (err == RL_OK && !is_known(&j))
        err = validate(&j, why);
    if (err == RL_OK) {
        err = issue(&j, p, issued, e);
        if (err == RL_OK && (err = tell(&j, issued, why)) != RL_OK)
            rl_issued_clear(issued);
    }
    OPENSSL_free(j.csr);
    return err;
}
