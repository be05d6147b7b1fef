/* The server's inside: workers, connections and what they share. Private to core/http.
 *
 * A worker is one thread with one loop. All of its connections, their exchanges and its batch of output are
 * touched by that thread only; workers share the router and the limits (immutable), http_peers (locked), rl_http_tls
 * (locked) and the stop level (atomic). */
#ifndef RL_HTTP_CONN_H
#define RL_HTTP_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/metrics.h"
#include "http/forwarded.h"
#include "http/parse.h"
#include "http/peers.h"
#include "http/router.h"
#include "http/tls.h"

enum {
    HTTP_LINGER_MS = 2000,         /* how long a connection that we end is read on, so that its last answer arrives */
    HTTP_BATCH_OCTETS = 64 * 1024, /* answers gathered for one write */
    HTTP_BATCH_PARTS = 64,         /* pieces of them, bodies in place included */
    HTTP_PIECE = 64 * 1024,        /* of pending output: each must leave within the body time-out */
    HTTP_COPY_SHARED = 2048,       /* a shared message up to here is cheaper copied than sent as a piece of its own */
    HTTP_SPARE_EXCHANGES = 64,     /* kept by a worker */
    HTTP_READ_TOGETHER = 16,       /* connections that are read from before the requests of the first are looked at */
    HTTP_AHEAD_MAX = 32,           /* requests looked up ahead */
    HTTP_AHEAD_ENOUGH = 16,        /* … of which so many hide the memory's time */
    HTTP_AHEAD_LATER = 2,          /* noted between a request's look-up and its fetch */
    HTTP_ARENA_LIMIT = 64 * 1024 * 1024,
    HTTP_STATUS_CLASSES = 6,
};

typedef struct http_worker http_worker;
typedef struct http_work http_work;
typedef struct http_tls_conn http_tls_conn;

/* What a listener's connections speak. */
typedef enum {
    HTTP_PLAIN,
    HTTP_TLS,
    HTTP_TLS_ASKING, /* for a client certificate */
    HTTP_LISTENERS
} http_speech;

/* One request on its way: a connection borrows an exchange from its worker with the first octet and gives it
 * back when it is idle again, so that idle connections are small and the busy ones share warm memory. */
typedef struct http_exchange {
    http_in in;
    http_head head;
    const rl_http_route *route;
    bool begun; /* has a transaction id */
    uint64_t began_ns;
    rl_arena arena;
    rl_http_request req;
    struct http_exchange *next;
} http_exchange;

/* Output that the socket did not take at once. */
typedef struct http_pending {
    struct http_pending *next;
    rl_span left; /* in `data`, or the owner's */
    void (*release)(void *owner);
    void *owner;
    bool sealed; /* on a TLS connection: ciphertext, and as such in front of all that is not */
    uint8_t data[];
} http_pending;

typedef enum {
    PHASE_FRESH,     /* nothing read yet */
    PHASE_IDLE,      /* between two requests */
    PHASE_HEAD,      /* a head is incomplete */
    PHASE_BODY,      /* a body is incomplete */
    PHASE_ANSWER,    /* the handler works, or output is pending: nothing is read */
    PHASE_LINGER,    /* we are done; what still comes is thrown away */
    PHASE_HANDSHAKE, /* of TLS */
} http_phase;

struct rl_http_conn {
    uv_tcp_t tcp; /* first: handle and connection are one address */
    int fd;       /* the handle's */
    http_worker *worker;
    http_tls_conn *tls; /* NULL: plain */
    http_exchange *x;
    uint64_t deadline; /* of uv_now; UINT64_MAX = none */
    http_phase phase;
    bool reading;
    bool unseen;      /* octets were read and not looked at */
    unsigned ahead_n; /* its requests in the worker's `ahead`: `x` stays, for one may have to be read again */
    bool again;       /* the next request is such a one */
    bool busy;        /* a request is with its handler: `x` stays where it is */
    bool in_handler;  /* … and the handler has not returned */
    bool resuming;    /* in the worker's list of answered connections */
    bool last;        /* ends when the output is written */
    bool linger;      /* … after the client had time to read it */
    bool gone;        /* uv_close was called */
    bool closed;      /* … and has happened */
    bool writing;     /* `write` runs, on the first of `pending` */
    bool proxied;     /* it comes from a trusted proxy, and its requests from others */
    http_entry entry; /* how http_peers counts it */
    http_peer peer_key;
    rl_address address;
    http_pending *pending, **pending_end;
    uv_write_t write;
    rl_http_conn *next, *prev, *resume_next;
    char peer[RL_ADDRESS_TEXT];
};

/* A request that was looked up and is not answered yet: ahead.c. */
typedef struct http_ahead {
    rl_http_conn *conn; /* NULL: taken back */
    const rl_http_route *route;
    size_t start; /* in its http_in */
    _Alignas(8) uint8_t note[RL_HTTP_NOTE_MAX];
} http_ahead;

/* The answers to the requests of one read, of one connection at a time. */
typedef struct http_batch {
    size_t n, parts_n;
    struct {
        rl_span bytes; /* in `data`, or the owner's */
        void (*release)(void *owner);
        void *owner;
    } parts[HTTP_BATCH_PARTS];
    uint8_t data[HTTP_BATCH_OCTETS];
} http_batch;

/* What pools do for a worker: work.c. */
typedef struct http_works {
    size_t n; /* with a pool, or done and not yet seen to: the loop lives for them */
    int fd;   /* an eventfd, readable when some are done */
    uv_poll_t poll;
    pthread_mutex_t lock;
    http_work *first, **end;   /* done; under the lock */
    _Atomic unsigned speaking; /* threads that may yet write to `fd` */
} http_works;

typedef struct http_listener {
    uv_tcp_t tcp; /* first */
    http_worker *worker;
    http_speech speech;
    bool open;
    bool owed; /* a connection waits for memory; libuv brings no other before it is taken */
} http_listener;

struct http_worker {
    struct rl_http_server *server;
    unsigned index;
    pthread_t thread;
    bool started;
    uv_loop_t loop;
    http_listener listeners[HTTP_LISTENERS];
    int poller;       /* an epoll set: the connections that are read, and libuv's own set */
    size_t reads_n;   /* such connections */
    uv_timer_t tick;  /* looks at every connection's deadline */
    uv_async_t wake;  /* the stop level has changed */
    uv_check_t after; /* goes on with the connections that were answered from outside their handler */
    bool stopping;
    rl_http_conn *conns, *resume;
    rl_http_conn *running; /* in http_conn_run, which goes on with it */
    http_ahead ahead[HTTP_AHEAD_MAX];
    size_t ahead_n;
    bool answering_ahead;
    http_exchange *spare;
    size_t spare_n;
    uint64_t event_ns;                   /* when the octets at hand were read, or the last answers left */
    unsigned tally[HTTP_STATUS_CLASSES]; /* answers by class since the last http_worker_count */
    unsigned tally_n;
    uint64_t date_until_ns;
    size_t date_n;
    char date[64];             /* "Date: …\r\nContent-Length: " */
    char txn[RL_HTTP_TXN_MAX]; /* the last one given out */
    http_works works;
    uint8_t *ciphertext; /* HTTP_TLS_READ octets to read into, for a server with TLS */
    rl_buf sealed;       /* ciphertext of one connection, on its way to the socket */
    http_batch out;
};

typedef struct http_limits {
    size_t header;
    uint64_t header_ms, body_ms, idle_ms, tick_ms;
} http_limits;

enum { HTTP_RUN, HTTP_STOP, HTTP_CUT };

struct rl_http_server {
    http_limits limits;
    http_router *router;
    http_peers *peers;
    http_proxies *proxies;
    rl_http_tls *tls; /* the caller's; NULL without TLS */
    rl_metric *answers[HTTP_STATUS_CLASSES], *open, *refused, *duration;
    uint64_t txn_prefix;
    _Atomic int stop;
    unsigned ports[HTTP_LISTENERS]; /* 0 = not served */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running; /* worker threads whose loop runs; under `lock` */
    size_t workers_n;
    http_worker workers[];
};

/* ---- worker.c ---- */
/* Makes loop and handles around bound sockets, -1 where there is none. What it takes is closed with the listener and
 * set to -1. */
rl_err http_worker_init(http_worker *w, int fds[HTTP_LISTENERS], rl_error *e);
void *http_worker_main(void *worker);
/* After the thread has ended, or before it began. */
void http_worker_free(http_worker *w);
http_exchange *http_exchange_take(http_worker *w);
void http_exchange_give(http_worker *w, http_exchange *x);
void http_worker_next_txn(http_worker *w, char out[RL_HTTP_TXN_MAX]);
/* One connection more or less is read: the loop lives for them. */
void http_worker_reads(http_worker *w, int by);
/* Adds the tally to the metrics, with the time since event_ns as duration. */
void http_worker_count(http_worker *w);

/* ---- work.c ---- */
rl_err http_works_init(http_worker *w, rl_error *e);
/* The worker stops: its loop ends with its last work. */
void http_works_stop(http_worker *w);
void http_works_free(http_worker *w);

/* ---- conn.c ---- */
void http_conn_accept(http_listener *l);
/* Goes on with an answered connection. */
void http_conn_resume(rl_http_conn *c);
/* Parses and answers what is buffered, writes, and waits for what is missing. */
void http_conn_run(rl_http_conn *c);
/* Octets have come, or the end. http_conn_see looks at those of a plain connection. */
void http_conn_read(rl_http_conn *c);
void http_conn_see(rl_http_conn *c);
void http_conn_expire(rl_http_conn *c);
/* The server stops: idle connections end, the others after their answer. */
void http_conn_stop(rl_http_conn *c);
void http_conn_close(rl_http_conn *c);
void http_conn_free(rl_http_conn *c);

/* Answers what is not a request, and ends the connection. */
void http_conn_refuse(rl_http_conn *c, int status, const char *why);
void http_conn_read_off(rl_http_conn *c);
/* An idle connection has no exchange. */
void http_conn_rest(rl_http_conn *c);
/* Waits for what is missing, when all that is buffered is answered or waits for its answer. */
void http_conn_settle(rl_http_conn *c);

/* ---- ahead.c ---- */
/* True when the complete request at hand was noted: it can be consumed. */
bool http_ahead_look(rl_http_conn *c);
/* Answers all that was noted, in order, and settles the connections but the running one. */
void http_ahead_answer(http_worker *w);

/* ---- reply.c ---- */
/* Adds the answer to a request that is not the connection's current one. */
void http_reply_found(rl_http_conn *c, const rl_http_shared *found);
/* Answers the current request with an error; the connection ends after it when `last`. */
void http_refuse(rl_http_conn *c, int status, const char *why, const char *allow, bool last);
void http_continue(rl_http_conn *c); /* 100 */
/* Writes the batch and pending output; what the socket does not take is pending. False when the connection broke. */
bool http_flush(rl_http_conn *c);
void http_pending_drop(rl_http_conn *c);
/* A copy, in front of all pending plaintext; false when there is no memory. */
bool http_pending_sealed(rl_http_conn *c, rl_span ciphertext);

/* ---- tls_conn.c ---- */
/* False when there is no memory. `asks`: for a client certificate. */
bool http_tls_begin(rl_http_conn *c, bool asks);
void http_tls_free(rl_http_conn *c); /* also of a plain one */
/* Goes on with the handshake, then opens what was read into the exchange's buffer. True when there is something to
 * parse, or to wait for. The connection may be gone, or have failed and be `last`. */
bool http_tls_fill(rl_http_conn *c);
/* Seals and sends the batch; *sent is how much of it, the rest is for later. False when the connection broke. */
bool http_tls_send(rl_http_conn *c, size_t *sent);
/* Makes a piece of the first pending output ready to be written. False when the connection broke. */
bool http_tls_seal_pending(rl_http_conn *c);
void http_tls_bye(rl_http_conn *c);
/* The handshake's time is over. */
void http_tls_expired(rl_http_conn *c);
/* Ciphertext that was read, in the worker's memory for it. */
void http_tls_on_octets(rl_http_conn *c, rl_span octets);

#endif
