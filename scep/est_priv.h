/* Between the files of EST: the server's state, one request, and who may what. Private. */
#ifndef RL_SCEP_EST_PRIV_H
#define RL_SCEP_EST_PRIV_H

#include "scep/est.h"
#include "scep/scep_priv.h"

typedef enum { EST_ENROLL, EST_REENROLL, EST_KEYGEN, EST_OTHER } est_operation;
typedef enum { EST_ISSUED, EST_REPEATED, EST_PENDING, EST_REFUSED, EST_FAILED, EST_RESULTS } est_result;

struct rl_est {
    rl_scep *scep;
    rl_bearer *bearer; /* NULL: no tokens */
    rl_http_pool *pool;
    rl_metric *results[EST_OTHER][EST_RESULTS];
};

typedef struct est_job {
    rl_est *est;
    const scep_profile *profile; /* NULL, of a renewal: that of the certificate; by a token: what fits its holder */
    est_operation operation;
    bool labelled;        /* the path names the profile */
    const char *password; /* of HTTP Basic, or NULL */
    rl_span token;        /* of Entra ID; p == NULL: none */
    rl_challenge_use once;
    rl_caller caller;  /* by a token that is good; id "" = none */
    rl_cert_id renews; /* serial_n 0: none */
    bool bad_token;
    bool guessed;  /* refused for its password, token or certificate */
    bool one_line; /* of base64, as the request */
    bool repeated; /* an earlier request's certificate */
    int status;
    unsigned retry_after; /* seconds; 0 = not told */
    rl_buf body;
    char why[RL_ERROR_MESSAGE_MAX];
    char boundary[33];
} est_job;

/* ---- est.c ---- */
/* The profile that is on under this name; without a name it is `static`. NULL when there is none. */
const scep_profile *est_find_profile(const rl_est *est, rl_span label);
void est_refuse(est_job *job, int status, const char *why);
/* Also when there is no memory to tell. */
bool est_has_attribute(const X509_REQ *csr, const char *oid);
void est_refuse_for(est_job *job, rl_err err, const rl_error *e);

/* ---- est_again.c ---- */
enum { EST_TRANSACTION_SIZE = SCEP_TRANSACTION_FRONT + 32 };
/* The name of an enrollment in the store, by which the same request that comes again gets its certificate; "" when it
 * is to get another: the one that there is was revoked, or will end soon. */
rl_err est_transaction(const est_job *job, X509_REQ *csr, char out[EST_TRANSACTION_SIZE]);

/* ---- transaction.c ---- */
/* What makes two requests the same: profile, caller, subject, key, extensions and what is renewed. */
rl_err est_wish(const est_job *job, X509_REQ *csr, char out[SCEP_TRANSACTION_FRONT + 1]);

/* ---- est_body.c ---- */
/* Appends `in` in base64, in lines or in one without an end. */
rl_err est_body_encode(rl_span in, bool one_line, rl_buf *out);
/* A request out of base64 with any white space in it, into the arena; DER and PEM stay what they are. */
rl_err est_body_decode(rl_span body, rl_arena *arena, rl_span *out, rl_error *e);
/* The password of HTTP Basic (RFC 7617) into the arena; NULL when there is none. The user's name does not matter. */
char *est_basic_password(rl_span authorization, rl_arena *arena);

/* ---- est_who.c ---- */
/* Finds what an enrollment is authorised by in the request's head. */
void est_read_credentials(est_job *job, rl_http_request *req);
/* Each decides whether the request may get a certificate; else it is refused. */
bool est_may_enroll(est_job *job, X509_REQ *csr);
/* RFC 7030 §3.3.2, §4.2.2: the certificate (DER) of the connection is renewed; finds the profile when it is NULL. */
bool est_may_renew(est_job *job, rl_span der, X509_REQ *csr);

#endif
