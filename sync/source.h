/* A source as the scheduler (sync.c) sees it, and what the scheduler does for it. Private to the module.
 *
 * A kind of source puts rl_sync_source first into a struct of its own, has a small state machine over it, and a maker
 * that adds one for each upstream its settings name. All of it belongs to the sync loop, but for what is marked as
 * guarded by the lock. */
#ifndef RL_SYNC_SOURCE_H
#define RL_SYNC_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/metrics.h"
#include "http/client.h"
#include "http/token.h"
#include "sync/advice.h"
#include "sync/apply.h"
#include "sync/sync.h"

typedef enum {
    RL_AT_OFF,     /* not configured */
    RL_AT_REST,    /* between rounds: the timer starts the next */
    RL_AT_PACE,    /* waits for its turn: the upstream allows so many requests in a time */
    RL_AT_TOKEN,   /* waits for a token */
    RL_AT_FETCH,   /* a call is under way */
    RL_AT_READ,    /* the answer is being read on the loop's work pool */
    RL_AT_COMMIT,  /* a transaction is with the store's writer */
    RL_AT_BACKOFF, /* after a failure: the timer tries again */
} rl_source_state;

enum { RL_STATUS_CLASSES = 6 }; /* none (the request failed), 1xx … 5xx */

typedef struct rl_sync_source rl_sync_source;

typedef struct rl_source_kind {
    /* Starts a round, or goes on with the one that was broken off. It ends in rl_source_done or rl_source_failed. */
    void (*begin)(rl_sync_source *s);
    /* The token fetch that the source waits for (RL_AT_TOKEN) has ended. NULL: it needs none. */
    void (*token)(rl_sync_source *s, const rl_error *failure, int64_t retry_after_ms);
    /* The writer is done with the transaction of rl_source_commit: it is written, or has run (rl_source_has_run), or
     * has failed. It may fail after it has run, whatever the source is at by then. */
    void (*committed)(rl_sync_source *s, rl_err err, const rl_error *e);
    /* Frees the struct and what it owns. Nothing is under way any more. */
    void (*free)(rl_sync_source *s);
} rl_source_kind;

struct rl_sync_source {
    /* Set by the maker. */
    const rl_source_kind *kind;
    char name[32];        /* for people, metrics, the cursor: "entra-device" */
    rl_duration interval; /* between rounds */
    const char *needs;    /* the settings it lacks: it is off; NULL: it runs */
    /* The certificates it decides about, for the mass limit; any thread. NULL: each that is bound. */
    bool (*governs)(rl_store *store, const rl_cert_record *cert);
    rl_upstream upstream;   /* for the advice, and: */
    const char *permission; /* that it needs there; NULL: none */

    rl_sync *sync;
    rl_source_state state;
    uv_timer_t timer;
    uint64_t hold_until;  /* loop time: an upstream's Retry-After; nobody's wish goes before it */
    rl_failure failure;   /* of the try under way, if it fails now */
    uint64_t serving;     /* asks that the round under way answers */
    unsigned attempts;    /* failures since the source made headway: it resets them */
    unsigned restarts;    /* failures since a round was completed that sent us back to the beginning */
    _Atomic bool without; /* it may not be read, and need not be: AADAndIntuneOpportunistic; any thread reads it */
    bool restart;         /* the next round compares everything, whatever is stored */
    bool again;           /* the next round follows at once */
    int64_t list_ends;    /* nextUpdate of the revocation list that it follows; 0: none yet, or no list */

    /* The round, for the log; begin resets them. */
    bool full;
    uint64_t objects, changed;

    struct rl_flight *running; /* the writer's: the transaction that runs */

    struct {
        rl_metric *objects, *changes, *failures, *requests[RL_STATUS_CLASSES];
    } metrics;

    /* Guarded by sync->lock. */
    rl_sync_status status;
    int64_t waits_from;     /* Unix ms: while status.waits_until */
    int64_t fresh;          /* monotonic ms: its last success; if it never had any, the start */
    bool asked, asked_full; /* rl_sync_now */
    bool committed;         /* the writer is done */
    unsigned flying;        /* transactions that are not written yet */
    bool lost;              /* one that had been told to have run could not be written; until rl_source_recover */
    uint64_t pages_written, objects_written, changes_written; /* of those, to be counted */
    rl_err commit_err;
    rl_error commit_error;
};

struct rl_sync {
    rl_store *store;
    const rl_settings *settings;
    uv_loop_t loop;
    uv_async_t wake; /* sent with the lock held */
    rl_http_client *client;
    rl_token *token;
    struct rl_lookups *lookups; /* lookup.c's */
    rl_sync_source *sources[RL_SYNC_SOURCES_MAX];
    size_t n;
    bool closing;                    /* the loop is shutting down */
    uv_timer_t stale_timer;          /* stale.c's */
    char client_state[65];           /* of the notifications that Graph sends to this process; set once */
    _Atomic bool renew_wanted, lost; /* what Graph said of the subscription; subscription.c's */
    bool running;                    /* there is a thread; set once */
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop; /* guarded by the lock */
};

/* ---- makers: one for each kind ---- Add the sources that the settings name, running or off. RL_ENOMEM, RL_ERANGE. */
rl_err rl_reweigh_make(rl_sync *sync); /* the first: what it finds changed, the others' first rounds are about */
rl_err rl_entra_make(rl_sync *sync);
rl_err rl_intune_make(rl_sync *sync);
rl_err rl_profiles_make(rl_sync *sync, const char *needs); /* by rl_intune_make, as the next: `needs` as above */
rl_err rl_report_make(rl_sync *sync, const char *needs);
rl_err rl_requests_make(rl_sync *sync);
rl_err rl_jamf_make(rl_sync *sync);
/* Of one of its sources: what its objects are, and where one is asked for, with a NUL at the end. RL_ENOMEM. */
const rl_graph_kind *rl_jamf_objects(const char *source);
rl_err rl_jamf_one_url(const rl_sync_source *s, const char *id, rl_buf *out);
/* Whether the version of the API in that address has the collection: any other says 404 to what is there. */
bool rl_jamf_knows_version(const rl_sync_source *s);
rl_err rl_crl_make(rl_sync *sync);
rl_err rl_guard_make(rl_sync *sync); /* the last: it runs when one of the others reads a directory */
/* A change is due, or released. */
void rl_guard_wake(rl_sync *sync);

/* ---- sync.c for the sources ---- */
/* Asks all whose names begin so for a round now, `full` for a full one. Any thread. */
void rl_sync_wake(rl_sync *sync, const char *prefix, bool full);
/* Takes over a source that its maker has filled. RL_ERANGE: there are too many, and it is freed. */
rl_err rl_source_add(rl_sync *sync, rl_sync_source *s);
/* The round is complete: rests until the next. */
void rl_source_done(rl_sync_source *s, int64_t last_success);
/* The try failed: backs off, then begins again. */
void rl_source_failed(rl_sync_source *s, const char *message, int64_t retry_after_ms);
void rl_source_enter(rl_sync_source *s, rl_source_state state);
/* Gives the writer a transaction, with `s` as its argument; `committed` follows. */
rl_err rl_source_commit(rl_sync_source *s, rl_store_apply apply);
/* Writer thread, at the end of a transaction that fails no more unless by its write: the source need not wait for that,
 * and what it submits next runs meanwhile. The figures are counted when it is written. */
void rl_source_has_run(rl_sync_source *s, uint64_t pages, uint64_t objects, uint64_t changed);
/* Whether one that has run could not be written. Then those that build on it must not run: they fail. Any thread. */
bool rl_source_is_lost(rl_sync_source *s);
/* The same for a source that begins anew: from now on they may. */
bool rl_source_recover(rl_sync_source *s);
/* Counts an answer, or that there was none. */
void rl_source_answered(rl_sync_source *s, const rl_http_response *r);
/* Adds to the figures of the round and of the source. */
void rl_source_count(rl_sync_source *s, uint64_t pages, uint64_t objects, uint64_t changed);

#endif
