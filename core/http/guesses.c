/* See guesses.h: the generic cell rate algorithm, which needs one number for each address: when all that it owes is
 * paid off. A wrong secret moves that on by window/limit; who owes more than limit - 1 of these waits. An address whose
 * time has come is as one that was never here, so that nothing has to be cleaned up.
 *
 * The table is set-associative: an address has its place in one of a few neighbouring entries, which are two cache
 * lines, under one lock that is held for as long as it takes to read them. */
#include "http/guesses.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/conn.h"

typedef struct entry {
    http_peer peer;
    uint64_t paid_ns; /* of rl_mono_ns; in the past: nothing is owed, and the place is free */
} entry;

struct rl_guesses {
    pthread_mutex_t lock;
    uint64_t each_ns, limit_ns; /* what one costs; what all that are allowed cost */
    uint64_t seed;              /* clients choose their IPv6 addresses: they must not choose their places */
    rl_metric *wrong[RL_GUESS_KINDS], *refused[RL_GUESS_KINDS];
    entry entries[GUESSES_SETS][GUESSES_WAYS];
};

rl_err rl_guesses_new(int64_t limit, rl_duration window_ms, rl_guesses **out, rl_error *e)
{
    static const char *const kinds[RL_GUESS_KINDS] = {"kind=\"scep\"", "kind=\"est\"", "kind=\"api\""};
    *out = NULL;
    if (limit == 0)
        return RL_OK;
    rl_guesses *g = calloc(1, sizeof *g);
    if (g == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    pthread_mutex_init(&g->lock, NULL);
    g->each_ns = (uint64_t)window_ms * 1000000u / (uint64_t)limit;
    g->limit_ns = g->each_ns * (uint64_t)limit;
    if (getrandom(&g->seed, sizeof g->seed, 0) != (ssize_t)sizeof g->seed)
        g->seed = (uint64_t)(uintptr_t)g;
    for (unsigned i = 0; i < RL_GUESS_KINDS; i++) {
        g->wrong[i] =
            rl_counter("revline_wrong_secrets_total", kinds[i],
                       "Wrong challenges, passwords, client certificates and tokens, and what does not open.");
        g->refused[i] = rl_counter("revline_wrong_secrets_refused_total", kinds[i],
                                   "Requests that were told 429 since their address was wrong too often.");
    }
    *out = g;
    return RL_OK;
}

void rl_guesses_free(rl_guesses *g)
{
    if (g == NULL)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- by address ---- */
static entry *set_of(rl_guesses *g, http_peer peer)
{
    return g->entries[http_peer_hash(peer, g->seed) % GUESSES_SETS];
}

/* The address's place, or the one that is the least loss: under the lock. */
static entry *place_of(rl_guesses *g, http_peer peer)
{
    entry *set = set_of(g, peer), *least = set;
    for (unsigned i = 0; i < GUESSES_WAYS; i++) {
        if (set[i].peer == peer)
            return &set[i];
        if (set[i].paid_ns < least->paid_ns)
            least = &set[i];
    }
    return least;
}

unsigned guesses_wait(rl_guesses *g, http_peer peer)
{
    const uint64_t now = rl_mono_ns();
    uint64_t paid = 0;
    pthread_mutex_lock(&g->lock);
    const entry *at = place_of(g, peer);
    if (at->peer == peer)
        paid = at->paid_ns;
    pthread_mutex_unlock(&g->lock);
    const uint64_t owed = paid > now ? paid - now : 0, allowed = g->limit_ns - g->each_ns;
    return owed > allowed ? (unsigned)((owed - allowed + 999999999u) / 1000000000u) : 0;
}

void guesses_wrong(rl_guesses *g, http_peer peer)
{
    const uint64_t now = rl_mono_ns();
    pthread_mutex_lock(&g->lock);
    entry *at = place_of(g, peer);
    const uint64_t from = at->peer == peer && at->paid_ns > now ? at->paid_ns : now;
    *at = (entry){.peer = peer, .paid_ns = from + g->each_ns};
    pthread_mutex_unlock(&g->lock);
}

/* ---- by request ---- */
unsigned rl_guess_wait(rl_guesses *g, const rl_http_request *req, rl_guess_kind kind)
{
    unsigned seconds = g != NULL ? guesses_wait(g, req->peer_key) : 0;
    if (seconds == 0)
        return 0;
    rl_metric_add(g->refused[kind], 1);
    log_client_warn("http.slowed", "peer", req->peer, "seconds", seconds, "reason",
                    "too many wrong challenges, passwords or tokens from this address");
    return seconds;
}

void rl_guess_refuse(rl_http_request *req, unsigned seconds)
{
    char headers[96], body[128];
    snprintf(headers, sizeof headers, "Content-Type: text/plain; charset=utf-8\r\nRetry-After: %u\r\n", seconds);
    snprintf(body, sizeof body, "too many wrong challenges, passwords or tokens from this address: wait %u s\n",
             seconds);
    rl_http_reply(req, 429, rl_span_str(headers), rl_span_str(body));
}

void rl_guess_wrong(rl_guesses *g, const rl_http_request *req, rl_guess_kind kind)
{
    if (g == NULL)
        return;
    rl_metric_add(g->wrong[kind], 1);
    guesses_wrong(g, req->peer_key);
}
