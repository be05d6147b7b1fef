/* A request that comes again. EST has no transactions, yet answers are lost here as elsewhere: who then sends the same
 * request again means the certificate that there is. Runs on the thread pool.
 *
 * The same is: by the same caller or in place of the same certificate, in the same profile, for the same subject, key
 * and extensions. It is so for AGAIN_FOR, since later it is how some clients renew, and as long as its certificate is
 * one to work with (on hold it may become that again); by a one-time challenge for as long as that is valid, since it
 * can get nothing else.
 *
 * The store keeps the certificate under this wish and the period of time in which it was issued. A wish is looked for
 * in the present period and the one before. */
#include "base/clock.h"
#include "scep/est_priv.h"

enum { AGAIN_FOR = 600 }; /* seconds */

/* Whether the transaction's certificate is given again; `there`: it has one. */
static rl_err find(const est_job *job, const char *transaction, bool *there, bool *again)
{
    rl_store *store = job->est->scep->store;
    rl_cert_id id;
    rl_cert_record cert;
    *there = *again = false;
    rl_err err = rl_store_binding_first(store, RL_SOURCE_TRANSACTION, transaction, &id);
    if (err != RL_OK)
        return err == RL_ENOTFOUND ? RL_OK : err;
    RL_TRY(rl_store_cert(store, &id, &cert));
    const bool revoked = cert.status == RL_STATUS_REVOKED;
    int64_t age = rl_wall_s() - cert.issued_at, life = cert.not_after - cert.issued_at;
    *there = true;
    *again = !revoked && !cert.bootstrap && age <= life / 2 && (job->once.name[0] || age <= AGAIN_FOR);
    rl_cert_clear(&cert);
    return RL_OK;
}

rl_err est_transaction(const est_job *job, X509_REQ *csr, char out[EST_TRANSACTION_SIZE])
{
    char wish[SCEP_TRANSACTION_FRONT + 1];
    const int64_t period = job->once.name[0] ? 0 : rl_wall_s() / AGAIN_FOR;
    bool there = false, again = false;
    rl_err err = est_wish(job, csr, wish);
    for (int64_t p = period > 0 ? period - 1 : 0; err == RL_OK && !again && p <= period; p++) {
        snprintf(out, EST_TRANSACTION_SIZE, "est %s %lld", wish, (long long)p);
        err = find(job, out, &there, &again);
    }
    if (there && !again)
        out[0] = 0;
    return err;
}
