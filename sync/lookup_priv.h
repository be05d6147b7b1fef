/* What the files of direct questions share. Private to them. */
#ifndef RL_SYNC_LOOKUP_PRIV_H
#define RL_SYNC_LOOKUP_PRIV_H

#include "sync/lookup.h"

enum { RL_LOOK_WHY_MAX = 256 };

/* How a question ended. */
typedef enum {
    RL_LOOKED_FOUND,
    RL_LOOKED_MISSING,
    RL_LOOKED_AWAY, /* the directory cannot be asked */
    RL_LOOKED_OFF,  /* there is nobody to ask */
    RL_LOOKED
} rl_looked;

/* A question, which two know: the thread that waits for it, and the loop, later the store's writer. The last of them
 * frees it. */
typedef struct rl_look {
    struct rl_look *next;
    rl_sync *sync;
    char id[RL_OBJECT_ID_MAX + 1];
    unsigned upstream;
    rl_look_kind plan[RL_LOOKS_MAX];
    size_t n, at;
    bool away, watched; /* of the questions so far: one had no answer; one could be asked */
    bool other, token_retried, waits_for_token;
    unsigned token_number;
    uint64_t deadline; /* monotonic ms */
    rl_http_call *call;
    rl_graph_page page; /* what was found */
    /* Guarded by the sync's lock. */
    bool ended, left; /* the loop's part is over; the thread no longer waits */
    rl_looked result;
    char why[RL_LOOK_WHY_MAX];
} rl_look;

struct rl_lookups {
    /* The loop's own. */
    rl_look *queue, *under_way;
    size_t running[RL_UPSTREAM_CRL + 1];
    bool going; /* looks through the queue */
    /* Of each kind, since a missing permission is of one: monotonic ms, failed or told when to come again; failures
     * since its last answer. */
    uint64_t hold_until[RL_LOOK_KINDS];
    unsigned failures[RL_LOOK_KINDS];
    char *jamf_token;
    uint64_t jamf_until; /* monotonic ms */
    bool jamf_asking;
    rl_metric *results[RL_LOOKED];
    /* Guarded by the sync's lock. */
    rl_look *asked;
    size_t alive;
    pthread_cond_t changed;
};

/* ---- lookup.c ---- */
/* Starts what waits for its turn. */
void rl_lookups_go(rl_sync *sync);
/* The loop has done its part. */
void rl_look_leave(rl_look *l);
/* It has ended: wakes who waits. Any thread; `l` may be gone after it. */
void rl_look_finish(rl_look *l, rl_looked result);
void rl_look_say_why(rl_look *l, const char *text);

/* ---- lookup_run.c ---- */
/* Asks the next of its plan that may be asked; at the end of the plan, ends it. */
void rl_look_step(rl_look *l);
void rl_lookups_forget_token(struct rl_lookups *all);

#endif
