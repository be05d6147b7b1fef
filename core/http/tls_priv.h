/* Between the files of the server's TLS. Private to core/http. */
#ifndef RL_HTTP_TLS_PRIV_H
#define RL_HTTP_TLS_PRIV_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/metrics.h"
#include "http/tls.h"

enum {
    HTTP_TLS_READ = 32 * 1024,          /* ciphertext read at a time */
    HTTP_TLS_HANDSHAKE_MAX = 64 * 1024, /* octets of a client's handshake */
    HTTP_TLS_CHAIN_MAX = 32 * 1024,     /* … of its certificates */
    HTTP_TLS_SEALED_MAX = 1024 * 1024,  /* never reached: 64 KiB of answers, their records, a handshake's flight */
};

/* Why a handshake failed: the metric's label. */
typedef enum {
    HTTP_TLS_TIMEOUT,
    HTTP_TLS_CLOSED,   /* by the client */
    HTTP_TLS_CLEAR,    /* it spoke HTTP */
    HTTP_TLS_VERSION,  /* below 1.2, or no TLS at all */
    HTTP_TLS_NO_MATCH, /* no cipher, group, signature or application protocol in common */
    HTTP_TLS_ALERT,    /* the client's: it does not trust our certificate, for example */
    HTTP_TLS_SIZE,
    HTTP_TLS_PROTOCOL, /* anything else */
    HTTP_TLS_FAILURES
} http_tls_failure;

/* ---- tls_tickets.c: RFC 5077, RFC 8446 §4.6.1 ---- */
typedef struct http_tickets http_tickets;
rl_err http_tickets_new(http_tickets **out, rl_error *e);
void http_tickets_free(http_tickets *t);
/* Tickets of this context are sealed and opened with these keys. */
void http_tickets_use(http_tickets *t, SSL_CTX *ctx);

/* ---- tls.c ---- */
/* A new connection's, with the present certificate; NULL on exhaustion. `asks`: for a client certificate. */
SSL *http_tls_session(rl_http_tls *t, bool asks);
void http_tls_count(rl_http_tls *t, bool resumed);
void http_tls_count_failure(rl_http_tls *t, http_tls_failure why);
/* What OpenSSL's newest error means; the queue stays. */
http_tls_failure http_tls_why(void);

#endif
