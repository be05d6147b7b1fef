/* What the scheduler (sync.c) and the sources (entra.c) share. Private.
 *
 * All of it belongs to the sync loop, but for what is marked as guarded by the lock. */
#ifndef RL_SYNC_PRIV_H
#define RL_SYNC_PRIV_H

#include <pthread.h>
#include <uv.h>

#include "base/metrics.h"
#include "http/client.h"
#include "sync/apply.h"
#include "sync/sync.h"
#include "sync/token.h"

/* A round: fetch a page, commit it, fetch the next, until the deltaLink. */
typedef enum {
    RL_AT_OFF,     /* not configured */
    RL_AT_REST,    /* between rounds: the timer starts the next */
    RL_AT_TOKEN,   /* waits for a token */
    RL_AT_FETCH,   /* a call is under way */
    RL_AT_COMMIT,  /* the page is with the store's writer */
    RL_AT_BACKOFF, /* after a failure: the timer tries again at the stored link */
} rl_source_state;

enum { RL_STATUS_CLASSES = 6 }; /* none (the request failed), 1xx … 5xx */

typedef struct rl_sync_source {
    rl_sync *sync;
    const rl_entra_kind *kind;
    rl_source_state state;
    uv_timer_t timer;
    uint64_t hold_until; /* loop time: an upstream's Retry-After; nobody's wish goes before it */
    unsigned attempts;   /* failures since a page was committed */
    unsigned restarts;   /* failures since a round was completed that sent us back to the beginning */

    /* The round. */
    rl_cursor_record cursor; /* as stored */
    bool cursor_read;
    bool restart; /* the next round begins anew, as a full one, whatever the cursor says */
    char *link;   /* being fetched */
    bool first;   /* it is the initial request, not a link of the upstream */
    bool full;
    uint64_t generation;
    uint64_t pages, objects, changed;
    unsigned resyncs; /* since a round was completed */
    char *mark;       /* an earlier link of this round, to notice a circle */
    uint64_t mark_at; /* pages until the mark moves on */

    /* The page. */
    rl_http_call *call;
    unsigned token_number;
    bool token_retried; /* this request was repeated with a fresh token already */
    rl_graph_page page;
    rl_page_job job;

    struct {
        rl_metric *objects, *changes, *failures, *requests[RL_STATUS_CLASSES];
    } metrics;

    /* Guarded by sync->lock. */
    rl_sync_status status;
    bool asked, asked_full; /* rl_sync_now */
    bool committed;         /* the writer is done with the job */
    rl_err commit_err;
    rl_error commit_error;
} rl_sync_source;

struct rl_sync {
    rl_store *store;
    const rl_settings *settings;
    uv_loop_t loop;
    uv_async_t wake; /* sent with the lock held */
    rl_http_client *client;
    rl_token *token;
    rl_sync_source sources[RL_ENTRA_KINDS];
    bool closing; /* the loop is shutting down */
    bool running; /* there is a thread; set once */
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop; /* guarded by the lock */
};

/* ---- sync.c for the sources ---- */
/* The round is complete: rests until the next. */
void rl_source_done(rl_sync_source *s);
/* The try failed: backs off, then rl_entra_begin again. */
void rl_source_failed(rl_sync_source *s, const char *message, int64_t retry_after_ms);
void rl_source_enter(rl_sync_source *s, rl_source_state state);
/* Adds to the figures. */
void rl_source_count(rl_sync_source *s, uint64_t requests, uint64_t pages, uint64_t objects, uint64_t changed);

/* ---- entra.c for the scheduler ---- */
/* Starts a round, or goes on with the one that the cursor stands in. */
void rl_entra_begin(rl_sync_source *s);
/* The token fetch that this source waits for has ended. */
void rl_entra_token(rl_sync_source *s, const rl_error *failure, int64_t retry_after_ms);
/* The writer is done with the page. */
void rl_entra_committed(rl_sync_source *s, rl_err err, const rl_error *e);
void rl_entra_free(rl_sync_source *s);

#endif
