/* The miss path: from a parsed request to a signed answer. Runs on the work pool; knows nothing of HTTP but the
 * header lines that go with an answer into the cache. */
#ifndef RL_OCSP_ANSWER_H
#define RL_OCSP_ANSWER_H

#include "base/metrics.h"
#include "ocsp/cache.h"
#include "ocsp/request.h"
#include "ocsp/responder.h"
#include "ocsp/warm.h"

/* What an answer says, as the metric revline_ocsp_responses_total counts it. */
typedef enum {
    OCSP_OUTCOME_GOOD,
    OCSP_OUTCOME_REVOKED,
    OCSP_OUTCOME_UNKNOWN,
    OCSP_OUTCOME_SEVERAL, /* more than one CertID */
    OCSP_OUTCOME_MALFORMED,
    OCSP_OUTCOME_INTERNAL,
    OCSP_OUTCOME_TRY_LATER,
    OCSP_OUTCOME_UNAUTHORIZED,
    OCSP_OUTCOMES,
} ocsp_outcome;

/* See rl_ocsp_limit. */
typedef int64_t (*rl_ocsp_told_until)(const rl_cert_record *cert, void *ctx);

/* What the miss path works with: lives as long as the module. */
typedef struct ocsp_context {
    rl_store *store;
    const rl_ca *ca;
    const rl_settings *settings;
    ocsp_cache *cache;
    ocsp_responder *responder;
    ocsp_warm *warm;
    rl_metric *signatures, *sign_seconds;
    rl_ocsp_told_until told_until; /* NULL: no limit */
    void *told_until_ctx;
} ocsp_context;

/* One CertID of the request. */
typedef struct ocsp_question {
    rl_span cert_id;
    bool ours;       /* the issuer is known here: cert.issuer */
    bool foreign;    /* and another's: what it has issued beside what was imported is not known */
    bool can_exist;  /* and the serial number is one that a certificate may have */
    rl_cert_id cert; /* whole when can_exist */
    bool stamped;    /* the answer rests on the store as it was at: */
    uint32_t stamp;
} ocsp_question;

typedef struct ocsp_job {
    ocsp_context *context;
    rl_span nonce;  /* to be repeated; .p == NULL: none */
    bool cacheable; /* one certificate of a known issuer and no nonce: `key` is set */
    ocsp_key key;
    unsigned attempts;
    ocsp_entry *entry;              /* the result, one reference; NULL: */
    ocsp_response_status failure;   /* why there is none */
    struct ocsp_job *next, *joined; /* flights.c's */
    void *owner;                    /* the caller's: who waits for it */
    size_t n;
    ocsp_question questions[];
} ocsp_job;

/* Room that a job for n CertIDs takes. */
static inline size_t ocsp_job_size(size_t n)
{
    return sizeof(ocsp_job) + n * sizeof(ocsp_question);
}
/* Reads one CertID. */
void ocsp_question_set(ocsp_question *q, const rl_ca *ca, const ocsp_cert_id *id);
/* The cache's key for it, when can_exist. */
void ocsp_question_key(const ocsp_question *q, const ocsp_cert_id *id, ocsp_key *key);

/* Reads the store, builds, signs, and puts a cacheable answer into the cache. */
void ocsp_job_run(ocsp_job *job);
/* A cacheable job's answer from the cache, or from those that the store has kept. */
bool ocsp_job_find(ocsp_job *job);
/* False when a certificate of the answer may have changed since the store was read: the answer is not to be sent. */
bool ocsp_job_is_current(const ocsp_job *job);

/* The entity tag, with its quotes, of an entry made here without a nonce. */
rl_span ocsp_entry_tag(const ocsp_entry *e);

/* The date of a revocation as clients are told it. One in the future is of a clock that was ahead, and there are
 * clients that take the certificate until it comes: then as long ago as a client's clock may be slow. */
int64_t ocsp_revoked_at(const rl_settings *s, int64_t recorded, int64_t now);

/* The answer's content for one certificate of ours, all but its CertID. Pure. `record` is NULL for one that was never
 * issued; `until` is the last second that any answer may reach, the end of the responder's certificate. */
void ocsp_decide(const rl_settings *s, const rl_cert_status *record, int64_t now, int64_t until, ocsp_single *out);

#endif
