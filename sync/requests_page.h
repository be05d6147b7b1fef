/* Intune's requests to revoke certificates, and their results, as they are on the wire. Pure. */
#ifndef RL_SYNC_REQUESTS_PAGE_H
#define RL_SYNC_REQUESTS_PAGE_H

#include "base/arena.h"
#include "crypto/x509.h"

/* How many are asked for; the most that may come at once; octets of a context. */
enum { RL_REQUESTS_ASKED = 500, RL_REQUESTS_MAX = 1000, RL_REQUEST_CONTEXT_MAX = 16 * 1024 };

typedef struct rl_revocation_request {
    const char *context; /* Intune's name of the request: opaque, goes back with the result */
    const char *issuer;  /* name of the CA, as Intune writes it; NULL when not said */
    rl_serial serial;    /* n = 0: it is none */
} rl_revocation_request;

typedef struct rl_revocation_requests {
    rl_revocation_request *items; /* in the order they came; a context may be repeated */
    size_t n;
    size_t nameless; /* left out: they have no usable context, so nobody could answer */
    rl_arena arena;  /* owns all of it */
} rl_revocation_requests;

/* RL_EBADMSG, RL_ERANGE: not JSON, not a list, more than RL_REQUESTS_MAX. On success free with rl_requests_free. */
rl_err rl_requests_parse(rl_span body, size_t limit, rl_revocation_requests *out, rl_error *e);
void rl_requests_free(rl_revocation_requests *r);

/* Results, by Intune's names of them. */
typedef enum {
    RL_RESULT_REVOKED,    /* None */
    RL_RESULT_BAD_NUMBER, /* ParameterDataInvalidError */
    RL_RESULT_NOT_FOUND,  /* CertificateNotFoundError */
    RL_RESULT_CONFLICT,   /* ConflictError: it was revoked already */
    RL_RESULTS
} rl_request_result;
const char *rl_request_result_name(rl_request_result r);
rl_err rl_request_result_parse(const char *name, rl_request_result *r); /* RL_EBADMSG */

/* The body of a download. Appended. */
rl_err rl_requests_put_download(rl_buf *out);
/* The body of an upload. Appended. RL_ENOMEM. */
rl_err rl_requests_put_upload(const char *const *contexts, const rl_request_result *results, size_t n, rl_buf *out);
/* Whether the answer to it says that all of it is recorded. */
bool rl_requests_recorded(rl_span body);

#endif
