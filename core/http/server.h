/* HTTP/1.x server: libuv loops, llhttp, a router. Protocol: RFC 9110, RFC 9112.
 *
 * Each worker is one thread with its own loop and its own SO_REUSEPORT listener; a connection and its requests
 * belong to one worker. Handlers run on that worker's thread and must not block: slow work goes through rl_http_work.
 * Requests of one connection are answered in order: while one waits for its work, later pipelined ones wait unparsed.
 */
#ifndef RL_HTTP_SERVER_H
#define RL_HTTP_SERVER_H

#include "base/arena.h"
#include "base/settings.h"
#include "http/tls.h"

typedef struct rl_http_server rl_http_server;
typedef struct rl_http_conn rl_http_conn;

typedef enum {
    RL_HTTP_GET = 1,
    RL_HTTP_HEAD = 2,
    RL_HTTP_POST = 4,
    RL_HTTP_PUT = 8,
    RL_HTTP_PATCH = 16,
    RL_HTTP_DELETE = 32
} rl_http_method;

/* Beside a route's methods: it is served over TLS only; in clear it is answered with 403. */
enum { RL_HTTP_TLS_ONLY = 1 << 16 };

enum { RL_HTTP_HEADERS_MAX = 64, RL_HTTP_TXN_MAX = 24 };

typedef struct rl_http_request {
    rl_http_method method; /* HEAD is routed to GET's handler; the body is dropped when sending */
    rl_span target;        /* as received */
    rl_span path;          /* target up to '?': as received, not decoded */
    rl_span query;         /* after '?', not decoded; empty when absent */
    rl_span rest;          /* for prefix routes: the path behind the prefix, else empty */
    rl_span body;          /* whole, de-chunked */
    struct {
        rl_span name, value;
    } headers[RL_HTTP_HEADERS_MAX];
    size_t headers_n;
    uint8_t http_minor;
    char txn[RL_HTTP_TXN_MAX]; /* transaction id: in every log line and the X-Request-Id answer header of errors */
    char peer[64];             /* the client's address, without port; of REVLINE_TRUSTED_PROXIES what they say it is */
    uint64_t peer_key;         /* the same as http/peers.h has it */
    rl_arena *arena;           /* freed after the reply was sent */
    rl_http_conn *conn;        /* the server's, */
    struct http_work *work;    /* too */
} rl_http_request;

typedef void (*rl_http_handler)(rl_http_request *req, void *ctx);

/* Octets that are ready to be sent and outlive the request: `message` is header lines, the empty line and the body's
 * beginning, `tail` the rest of the body. `lines` go in front. release(owner) is called on the worker's thread when
 * neither is needed any more: for a short one, which is cheaper copied, at once. */
enum { RL_HTTP_LINES_MAX = 96 };
typedef struct rl_http_shared {
    char lines[RL_HTTP_LINES_MAX];
    size_t lines_n;
    rl_span message, tail;
    size_t body_n; /* octets of both that are body */
    void (*release)(void *owner);
    void *owner;
} rl_http_shared;

/* Answers that are in memory already, which may be cold: with a look-up a route has them found in steps, so that the
 * memory of many answers comes at the same time. They run on the worker's thread and reply nothing themselves. */
enum { RL_HTTP_NOTE_MAX = 48 };

typedef struct rl_http_lookup {
    /* Notes what to look for and asks the memory for the way to it. Of the request only the note stays. False: not from
     * memory; then the handler has it. Not called for HEAD or HTTP/1.0. */
    bool (*look)(rl_http_request *req, void *note, void *ctx);
    /* The way has come: asks for the answer. */
    void (*fetch)(void *note, void *ctx);
    /* The answer has come: finds it. False: it has gone; then the request is read again and the handler has it. */
    bool (*find)(const void *note, rl_http_shared *found, void *ctx);
} rl_http_lookup;

typedef struct rl_http_route {
    unsigned methods; /* OR of rl_http_method, GET implies HEAD; and RL_HTTP_TLS_ONLY */
    const char *path; /* exact, or with `prefix` everything that starts with it */
    bool prefix;
    size_t body_limit; /* octets; above: 413 */
    rl_http_handler handler;
    void *ctx;
    const rl_http_lookup *lookup; /* or NULL */
} rl_http_route;

/* First header of that name (ASCII case-insensitive), or an empty span with p == NULL. */
rl_span rl_http_header(const rl_http_request *req, const char *name);
/* The token of `Authorization: Bearer` (RFC 6750 §2.1); p == NULL when absent. */
rl_span rl_http_bearer(const rl_http_request *req);
/* Value of a query parameter, percent-decoded ('+' stays '+': base64 in SCEP GET) into the arena; p == NULL when absent
 * or malformed. */
rl_span rl_http_query(rl_http_request *req, const char *name);
/* Percent-decodes into the arena; p == NULL when malformed. */
rl_span rl_http_unescape(rl_http_request *req, rl_span s);

/* The certificate of the client, in DER, whose key it has been proven to hold: in this connection's handshake or, when
 * the session was resumed, in an earlier one, up to two hours ago. Nothing else is known of it: who issued it, and
 * whether it is good now, is to be checked for every request that counts on it. Empty when the client has none, and
 * on all listeners but REVLINE_EST_LISTEN's, where nobody is asked for one. Valid until the reply, on any thread. */
rl_span rl_http_client_certificate(const rl_http_request *req);

/* Exactly one reply per request, on its worker's thread, now or later. */
/* `headers`: ready lines "Name: value\r\n…" (Content-Type included), or empty. Body and headers are copied. */
void rl_http_reply(rl_http_request *req, int status, rl_span headers, rl_span body);
void rl_http_reply_shared(rl_http_request *req, int status, const rl_http_shared *shared);
/* Short text/plain error body, newline added; carries X-Request-Id. */
void rl_http_error(rl_http_request *req, int status, const char *text);

/* Threads for slow work of one kind, so that one kind never waits for another: `for_each_core` for each core that this
 * process may use, and `more` for works that wait themselves. `limit` works may be queued or running (0 = any number).
 * Free it after the server has stopped. RL_ENOMEM, RL_EIO. */
typedef struct rl_http_pool rl_http_pool;
rl_err rl_http_pool_new(const char *name, unsigned for_each_core, unsigned more, int64_t limit, rl_http_pool **out,
                        rl_error *e);
void rl_http_pool_free(rl_http_pool *p); /* NULL is allowed */
int64_t rl_http_pool_pending(rl_http_pool *p);

/* Runs `work` on one of the pool's threads, then `done` on the request's worker. The request stays valid until
 * done has replied, even if the client is gone (replying is then a no-op). Both may use req->arena: work has it alone
 * meanwhile. RL_EBUSY above the pool's limit: reply 503/429 or the protocol's word for it.
 *
 * A work that returns false has not ended: somebody keeps the request and ends it with rl_http_work_finish, from any
 * thread, and the work touches it no more. */
rl_err rl_http_work(rl_http_request *req, rl_http_pool *pool, bool (*work)(rl_http_request *req, void *arg),
                    void (*done)(rl_http_request *req, void *arg), void *arg);
void rl_http_work_finish(rl_http_request *req);

/* What no request waits for runs when no work does. The caller's memory, and run's as soon as it is called; `stopping`:
 * it is only to be given back. RL_EBUSY: too many wait. */
typedef struct rl_http_aside {
    struct rl_http_aside *next;
    void (*run)(struct rl_http_aside *a, bool stopping);
} rl_http_aside;
rl_err rl_http_pool_aside(rl_http_pool *p, rl_http_aside *a);

/* Per-worker index 0..workers-1 of the calling thread, for sharding. */
unsigned rl_http_worker_index(void);

/* Binds all listeners (RL_EIO with the address in the message when that fails) and starts the worker threads.
 * Routes are copied; the longest match wins, exact before prefix. Unknown path 404, known path with another method 405
 * with Allow. `tls`, with a certificate loaded, is borrowed until the stop; NULL where the settings have no TLS
 * listener. */
rl_err rl_http_server_start(const rl_settings *s, rl_http_tls *tls, const rl_http_route *routes, size_t n,
                            rl_http_server **out, rl_error *e);
/* The ports actually bound (for a listen port of 0); 0 for a listener that is not there. */
unsigned rl_http_server_port(const rl_http_server *s);
unsigned rl_http_server_https_port(const rl_http_server *s);
unsigned rl_http_server_est_port(const rl_http_server *s);
int64_t rl_http_connections(void); /* open ones of clients, of this process; any thread, also before the start */
/* Stops accepting, lets running requests finish, closes idle connections, joins the workers within `timeout_ms`; then
 * cuts. */
void rl_http_server_stop(rl_http_server *s, rl_duration timeout_ms);

#endif
