/* Intune's requests to revoke become revocations and results, and results that Intune has recorded become a memory.
 *
 *   apply: a request that is new → the certificate is revoked and the result written, in one transaction
 *   collect: results that are to be uploaded
 *   recorded: they were
 *
 * A request is known by its context, and has one result for as long as it is remembered: when it comes again, the same
 * is uploaded again, and no certificate is touched. A crash at any instant finds either nothing of a request in the
 * database, and Intune has no result either; or all of it, and the result is uploaded. */
#ifndef RL_SYNC_REQUESTS_APPLY_H
#define RL_SYNC_REQUESTS_APPLY_H

#include "store/store.h"
#include "sync/ours.h"
#include "sync/requests_page.h"

/* Results of one upload; how long one is remembered after it was recorded. */
enum { RL_RESULTS_AT_ONCE = 100, RL_RESULT_REMEMBERED_S = 30 * 24 * 3600 };

enum { RL_REQUEST_ID_SIZE = 2 * 32 + 1 };
typedef struct rl_requests_job {
    const char *source;                     /* its name: of the cursor */
    const char *origin;                     /* of the changes: "sync:revocation-requests" */
    const char *tenant;                     /* whose requests they are */
    int64_t now;                            /* Unix seconds */
    const rl_revocation_requests *requests; /* apply */
    bool last;                              /* collect: if there is nothing to upload, the round is complete */
    rl_ours ours;
    /* Results of apply. */
    size_t fresh;     /* requests that were not known */
    uint64_t changed; /* certificates revoked */
    uint64_t skipped; /* requests that are other CAs': they are not answered */
    /* Results of collect; recorded wants them. The contexts are the job's. */
    size_t n;
    char ids[RL_RESULTS_AT_ONCE][RL_REQUEST_ID_SIZE];
    char *contexts[RL_RESULTS_AT_ONCE];
    rl_request_result results[RL_RESULTS_AT_ONCE];
} rl_requests_job;

/* rl_store_apply each; `job` is an rl_requests_job. */
rl_err rl_requests_apply(rl_store_txn *t, void *job, rl_error *e);
rl_err rl_requests_collect(rl_store_txn *t, void *job, rl_error *e);
rl_err rl_requests_set_recorded(rl_store_txn *t, void *job, rl_error *e);
/* Frees the contexts. */
void rl_requests_job_clear(rl_requests_job *job);

#endif
