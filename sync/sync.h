/* Sync: watches the directories and other CAs' revocation lists, and turns their changes into revocations. One thread,
 * one libuv loop; each source a small state machine on it. */
#ifndef RL_SYNC_SYNC_H
#define RL_SYNC_SYNC_H

#include "base/settings.h"
#include "store/store.h"

typedef struct rl_sync rl_sync;

/* Starts the thread. With no source configured it starts nothing, says so once in the log, and succeeds. */
rl_err rl_sync_start(rl_store *store, const rl_settings *s, rl_sync **out, rl_error *e);
/* Stops within about a second: running calls are cancelled, a transaction under way is waited for. */
void rl_sync_stop(rl_sync *s);

/* Asks a source ("entra-device", "crl-1", …, or "" for all) for a round now; `full` for a full reconciliation.
 * RL_ENOTFOUND for an unknown or unconfigured one. Any thread. */
rl_err rl_sync_now(rl_sync *s, const char *source, bool full, rl_error *e);

typedef struct rl_sync_status {
    const char *name;     /* "entra-device" */
    const char *state;    /* "idle", "running", "backing off", "off" */
    int64_t last_success; /* Unix seconds, 0 = never */
    int64_t next_run;     /* Unix seconds */
    uint64_t rounds, pages, objects, changed, failures, requests;
    uint64_t held_changes, held_certificates; /* mass changes that wait for an admin, and what is in them */
    char last_error[256];                     /* "" when the last round succeeded */
} rl_sync_status;
/* A consistent copy of each source's status; returns how many of cap. Any thread. */
size_t rl_sync_status_read(rl_sync *s, rl_sync_status *out, size_t cap);

#endif
