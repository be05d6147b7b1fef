/* What the module's files share: the server's state, its profiles, and one PKIOperation without HTTP. Private. */
#ifndef RL_SCEP_PRIV_H
#define RL_SCEP_PRIV_H

#include "base/metrics.h"
#include "scep/challenge.h"
#include "scep/intune.h"
#include "scep/message.h"
#include "scep/scep.h"

/* One SCEP profile: where it is and what it issues. */
typedef struct scep_profile {
    char path[64], slash_path[64], client_path[64]; /* the last one as old clients append it */
    bool est_only;                                  /* no challenge: enrolls by tokens, which SCEP does not have */
    rl_profile_id id;
    rl_profile certificate;
} scep_profile;

/* How a request ended: the label of its metric. */
typedef enum {
    SCEP_ANSWERED, /* GetCACaps, GetCACert, GetNextCACert; CertPoll, GetCert, GetCRL */
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
    rl_store *store;
    rl_guesses *guesses;
    const rl_settings *settings;
    scep_identity self, older[2 * RL_CA_ISSUERS_MAX];
    size_t older_n;
    rl_span chain[RL_CA_CHAIN_MAX]; /* of the issuing CA */
    size_t chain_n;
    rl_buf ca_cert; /* GetCACert's body */
    bool ca_cert_alone;
    rl_buf next_ca;        /* GetNextCACert's, empty when there is none */
    int64_t next_ca_until; /* Unix seconds: the end of the root that signed it */
    rl_scep_crl crl;
    void *crl_ctx;
    rl_http_pool *pool, *intune_pool;       /* the second: threads that wait for Intune */
    scep_intune *intune;                    /* NULL: its profile is off */
    scep_endpoint endpoints[RL_ENROLL_MAX]; /* of the profiles that are on */
    size_t endpoints_n;
    rl_metric *pki_results[SCEP_RESULT_COUNT], *caps_answered, *cert_answered, *next_answered, *unknown;
    rl_metric *pki_seconds;
};

/* What a PKIOperation answers. 200: `body` is the CertRep; else `text` (static) says why. */
typedef struct scep_outcome {
    int status;
    scep_result result;
    rl_buf body;
    const char *text;
    bool guessed; /* for what was refused the client's address is slowed */
} scep_outcome;

/* ---- enroll.c ---- */
/* The whole of a PKIOperation: reads, authorises, issues, answers, logs. Blocks for the store. `out` is filled
 * in every case; the caller frees its body. */
void scep_pki_operation(const rl_scep *s, const scep_profile *p, rl_span message, const char *peer, scep_outcome *out);

void scep_serial_text(const rl_cert_id *id, char out[2 * RL_SERIAL_MAX + 1]); /* as the logs have it */

/* ---- enroll_intune.c ---- */
/* A request with a challenge, which is Intune's to judge: RL_EDENIED with `why` when it is refused, also when Intune
 * cannot be asked. Other errors are rl_ca_issue's, with `e`. */
rl_err scep_intune_enroll(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_issued *issued,
                          scep_refusal *why, rl_error *e);

/* Whether it is the profile's challenge or one of its old ones, each compared whole and in constant time. NULL is not.
 */
bool scep_challenge_holds(const rl_profile_rules *rules, const char *given);

/* ---- authority.c: what is told of the CA ---- */
/* Who decrypts and signs, and the ready bodies. */
rl_err scep_authority_open(rl_scep *s, rl_error *e);
/* The certificates (DER) from an issuer to its root as far as they are known; returns how many of RL_CA_CHAIN_MAX.
 * Borrowed. */
size_t scep_chain(const rl_scep *s, rl_issuer_id issuer, rl_span out[RL_CA_CHAIN_MAX]);
/* GetCACaps of a profile now, RFC 8894 §3.5.2. */
rl_err scep_caps(const rl_scep *s, const scep_profile *p, rl_buf *out);
bool scep_has_next_ca(const rl_scep *s);

/* ---- transaction.c: a transaction's name in the store ---- */
enum {
    SCEP_TRANSACTION_KEY = 4 * 32,
    SCEP_TRANSACTION_FRONT = 2 * 32
}; /* hexadecimal digits: all, and the front part */
/* `front` is what a CertPoll can tell, too: profile, transactionID and subject. */
rl_err scep_transaction_front(const scep_profile *p, const scep_request *r, const X509_NAME *subject,
                              char out[SCEP_TRANSACTION_FRONT + 1]);
/* That of a certificate request; `after`: the certificate that it renews, or NULL. */
rl_err scep_transaction_key(const scep_profile *p, const scep_request *r, const rl_cert_id *after,
                            char out[SCEP_TRANSACTION_KEY + 1]);

/* ---- renewal.c ---- */
/* Whether the signer's certificate has a signature of an issuer of our own. */
bool scep_signer_is_ours(const rl_scep *s, const scep_request *r);
/* Whether who has this certificate gets another one at this profile without a challenge. */
bool scep_renewal_allowed(const rl_scep *s, const scep_profile *p, const rl_cert_record *old);
/* RFC 8894 §2.3: the request is signed by a certificate of ours that is good now, for the same names. RL_OK: `old` is
 * that certificate. RL_EDENIED with `why`; other errors are the store's. `challenged`: the challenge was right. */
rl_err scep_renewal_check(const rl_scep *s, const scep_profile *p, const scep_request *r, bool challenged,
                          rl_cert_id *old, scep_refusal *why);

/* ---- lookup.c ---- */
/* CertPoll, GetCert, GetCRL: appends what is asked for as degenerate SignedData. RL_EDENIED with `why`: there is no
 * such thing; RL_EBUSY: the list is still being made; other errors are the store's. */
rl_err scep_look_up(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_buf *out, scep_refusal *why,
                    rl_error *e);

#endif
