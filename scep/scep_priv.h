/* What the module's files share: the server's state, its profiles, and one PKIOperation without HTTP. Private. */
#ifndef RL_SCEP_PRIV_H
#define RL_SCEP_PRIV_H

#include "base/metrics.h"
#include "scep/message.h"
#include "scep/scep.h"

/* One row per SCEP profile: where it is, what it issues, and the challenge that authorises. */
typedef struct scep_profile {
    const char *path, *client_path; /* the second as old clients append it */
    rl_profile_id certificate;
    size_t challenge; /* offset in rl_settings of the char *; "" turns the profile off */
} scep_profile;
const scep_profile *scep_profiles(size_t *n);
const char *scep_challenge(const rl_settings *s, const scep_profile *p);

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
    const scep_profile *profile;
} scep_endpoint;

enum { SCEP_PROFILES_MAX = 8 };

/* Immutable after opening; used by all HTTP workers and the pool's threads. */
struct rl_scep {
    rl_ca *ca;
    const rl_settings *settings;
    scep_identity self;
    rl_buf caps, ca_cert; /* ready bodies */
    bool has_ra;
    rl_http_pool *pool;
    scep_endpoint endpoints[SCEP_PROFILES_MAX];
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
