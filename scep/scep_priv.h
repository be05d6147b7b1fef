/* What the module's files share: the server's state, its profiles, and one PKIOperation without HTTP. Private. */
#ifndef RL_SCEP_PRIV_H
#define RL_SCEP_PRIV_H

#include "base/metrics.h"
#include "scep/message.h"
#include "scep/scep.h"

/* One SCEP profile: where it is and what it issues. */
typedef struct scep_profile {
    char path[64], client_path[64]; /* the second as old clients append it */
    rl_profile_id id;
    rl_profile certificate;
} scep_profile;

/* How a request ended: the label of its metric. */
typedef enum {
    SCEP_ANSWERED, /* GetCACaps, GetCACert */
    SCEP_ISSUED,
    SCEP_REPEATED,  /* a retransmission got its certificate again */
    SCEP_REFUSED,   /* a FAILURE CertRep */
    SCEP_MALFORMED, /* HTTP 400 */
    SCEP_BUSY,      /* HTTP 429 or 503: the client comes again */
    SCEP_FAILED,    /* HTTP 500: our fault */
    SCEP_RESULT_COUNT,
} scep_result;

typedef struct scep_endpoint {
    struct rl_scep *scep;
    scep_profile profile;
} scep_endpoint;

/* Immutable after opening; used by all HTTP workers and the pool's threads. */
struct rl_scep {
    rl_ca *ca;
    const rl_settings *settings;
    scep_identity self;
    rl_buf caps, ca_cert; /* ready bodies */
    bool has_ra;
    rl_http_pool *pool;
    scep_endpoint endpoints[RL_ENROLL_MAX]; /* of the profiles that are on */
    size_t endpoints_n;
    rl_metric *pki_results[SCEP_RESULT_COUNT], *caps_answered, *cert_answered, *unknown;
    rl_metric *pki_seconds;
};

/* What a PKIOperation answers. 200: `body` is the CertRep; else `text` (static) says why. */
typedef struct scep_outcome {
    int status;
    scep_result result;
    rl_buf body;
    const char *text;
} scep_outcome;

/* The whole of a PKIOperation: reads, authorises, issues, answers, logs. Blocks for the store. `out` is filled
 * in every case; the caller frees its body. */
void scep_pki_operation(const rl_scep *s, const scep_profile *p, rl_span message, const char *peer, scep_outcome *out);

#endif
