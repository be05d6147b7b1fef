/* What the load generator's two files share: load.c makes a plan from the command line and adds up the figures,
 * worker.c carries it out. The plan does not change while workers run, but for the counter of --once. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "histogram.h"

enum { PIPELINE_MAX = 64, CONNECTIONS_MAX = 4096, THREADS_MAX = 64, REQUEST_MAX = 16 * 1024 };

/* A record of the requests file: both lengths (u32, big-endian), the raw HTTP request, and the octets that the first
 * SingleResponse of its answer begins with. */
struct request {
    const uint8_t *octets, *expect;
    uint32_t n, expect_n;
};

struct plan {
    const char *host;
    uint16_t port;
    unsigned connections, pipeline, threads;
    uint64_t seed;
    long answer_of; /* the server answers this request whatever is asked; -1: what was asked */
    SSL_CTX *tls;   /* NULL: in clear */
    int64_t pause;  /* nanoseconds between a connection's answers and its next request */
    bool once;      /* every request once, in order, instead of at random until the window closes */
    uint8_t *file;  /* the requests file: what `requests` points into */
    struct request *requests;
    uint32_t requests_n;
    _Atomic uint32_t next_once;
    int64_t window_opens, window_closes; /* monotonic nanoseconds; only answers received between them count */
};

enum fault { FAULT_STATUS, FAULT_BODY, FAULT_HTTP, FAULT_CLOSED, FAULT_LOST, FAULT_CONNECT, FAULTS };

struct figures {
    histogram latency;
    uint64_t answers, octets, faults[FAULTS], reconnects;
};

struct worker;
struct worker *worker_start(struct plan *plan, unsigned index);
/* Waits for its end, adds its figures to `sum` and frees it. */
void worker_join(struct worker *w, struct figures *sum);

int64_t now_ns(void);
void die(const char *what, const char *why);

#endif
