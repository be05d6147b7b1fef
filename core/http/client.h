/* HTTP client: libcurl's multi interface on a libuv loop. All calls and callbacks on that loop's thread.
 *
 * TLS is verified, redirects are not followed, gzip is accepted, sizes and times are bounded. Retrying is the
 * caller's decision; rl_backoff gives it the delay. */
#ifndef RL_HTTP_CLIENT_H
#define RL_HTTP_CLIENT_H

#include <uv.h>

#include "base/settings.h"

typedef struct rl_http_client rl_http_client;
typedef struct rl_http_call rl_http_call;

rl_err rl_http_client_new(uv_loop_t *loop, rl_http_client **out, rl_error *e);
/* Cancels what is running (their callbacks get RL_ECANCELED before this returns) and closes its handles; `closed` runs
 * when the loop no longer refers to it. */
void rl_http_client_close(rl_http_client *c, void (*closed)(void *arg), void *arg);

/* Why there is no answer. */
typedef enum {
    RL_HTTP_ANSWERED,
    RL_HTTP_NO_NAME,    /* the host's name, or the proxy's, is not found */
    RL_HTTP_NO_CONNECT, /* nobody listens there, or the way is closed */
    RL_HTTP_NO_TLS,     /* no TLS, or a certificate that is not trusted */
    RL_HTTP_TIMEOUT,
    RL_HTTP_TOO_LARGE,
    RL_HTTP_BROKEN, /* it began and did not come to its end; or canceled, or out of memory */
} rl_http_failure;

typedef struct rl_http_response {
    rl_err err; /* RL_OK: there is a status. RL_EIO, RL_ETIMEDOUT, RL_ERANGE (too large), RL_ECANCELED: none usable */
    rl_http_failure failure;
    char message[256]; /* for people, when err */
    long status;
    rl_span body;             /* valid during the callback */
    int64_t retry_after_ms;   /* from Retry-After, seconds or HTTP date (measured against the answer's Date); -1 when
                                 absent or nonsense */
    int64_t date;             /* the Date header, Unix seconds; 0 when absent */
    char request_id[64];      /* the upstream's request-id header */
    const rl_http_call *call; /* for rl_http_response_header */
} rl_http_response;
/* A header of the answer by its name in any case, the first when it comes several times; NULL when absent. Valid until
 * the next such call or the callback's end. */
const char *rl_http_response_header(const rl_http_response *r, const char *name);
typedef void (*rl_http_response_fn)(const rl_http_response *r, void *arg);

typedef struct rl_http_call_options {
    const char *method; /* "GET", "DELETE"; with a body "POST", "PATCH" */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; copied */
    rl_span body;               /* copied */
    const char *bearer;         /* token for Authorization, or NULL; never logged */
    size_t body_limit;          /* octets after decompression */
    bool direct;                /* never through a proxy, whatever the environment says */
    bool cookies;               /* the server's cookies are kept, and sent with such calls of this client */
    rl_duration timeout, connect_timeout;
} rl_http_call_options;
/* Starts; the callback always runs later, never from inside this call. */
rl_err rl_http_call_start(rl_http_client *c, const rl_http_call_options *o, rl_http_response_fn fn, void *arg,
                          rl_http_call **out, rl_error *e);
/* Its callback gets RL_ECANCELED before this returns. A call is gone once its callback ran. */
void rl_http_call_cancel(rl_http_call *call);

/* Whether both are http or https URLs without credentials, with the same scheme, host (in any case) and port: whether a
 * token for `a` may go to `b`. */
bool rl_http_same_origin(const char *a, const char *b);

/* A header line that Microsoft's services want, client-request-id, with an id of its own for each request. */
enum { RL_HTTP_REQUEST_ID = 80 };
void rl_http_request_id(char out[RL_HTTP_REQUEST_ID]);

/* Exponential back-off with jitter: attempt 0,1,2,… → base·2^n, capped, ±50 % at random; a Retry-After ≥ 0 is obeyed as
 * a minimum, itself capped at 1 h. Milliseconds. */
int64_t rl_backoff(unsigned attempt, int64_t base_ms, int64_t cap_ms, int64_t retry_after_ms);

#endif
