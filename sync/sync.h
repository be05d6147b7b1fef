/* Sync: watches the directories and other CAs' revocation lists, and turns their changes into revocations. One thread,
 * one libuv loop; each source a small state machine on it. */
#ifndef RL_SYNC_SYNC_H
#define RL_SYNC_SYNC_H

#include "base/settings.h"
#include "store/store.h"
#include "sync/advice.h"

typedef struct rl_sync rl_sync;

/* Starts the thread. With no source configured it starts nothing, says so once in the log, and succeeds. */
rl_err rl_sync_start(rl_store *store, const rl_settings *s, rl_sync **out, rl_error *e);
/* Stops within about a second: running calls are cancelled, a transaction under way is waited for. */
void rl_sync_stop(rl_sync *s);

/* Asks a source ("entra-device", "crl-1", …, or "" for all) for a round now; `full` for a full reconciliation.
 * RL_ENOTFOUND for an unknown or unconfigured one. Any thread. */
rl_err rl_sync_now(rl_sync *s, const char *source, bool full, rl_error *e);

enum { RL_SYNC_SOURCES_MAX = 32 };

typedef struct rl_sync_status {
    const char *name;     /* "entra-device" */
    const char *state;    /* "idle", "running", "backing off", "off" */
    int64_t last_success; /* Unix seconds, 0 = never */
    int64_t next_run;     /* Unix seconds */
    uint64_t rounds, pages, objects, changed, failures, requests;
    struct {
        uint64_t pages, objects, changed;
    } round;                                  /* the one under way, or the last */
    int64_t throttled_ms;                     /* waited because the upstream said so (Retry-After), until now */
    int64_t waits_until;                      /* Unix seconds: it does so now; 0: it does not */
    bool stale;                               /* a directory without success for too long, or a list past its end */
    int64_t list_ended;                       /* then: when the list did, Unix seconds; 0: it is a directory */
    uint64_t held_changes, held_certificates; /* mass changes that wait for an admin, and what is in them */
    const char *needs;          /* the settings for lack of which, or by which, it is off; NULL: it is not */
    char last_error[256];       /* "" when the last round succeeded; UTF-8 without control characters */
    char advice[RL_ADVICE_MAX]; /* what to do about it */
    /* How often a round was asked for (rl_sync_now); how many of these asks were answered by a round that has ended
     * since, well or not; and the newest of those that ended well. */
    uint64_t asked, answered, answered_well;
} rl_sync_status;
/* A consistent copy of each source's status; returns how many of cap. Any thread. */
size_t rl_sync_status_read(rl_sync *s, rl_sync_status *out, size_t cap);

/* For rl_ca_on_look: looks an object up in its directory that is not in the records, and stores it when it is there.
 * RL_OK: it is known now; or there is nobody to ask; or, with REVLINE_ENROLL_LOOKUP=prefer, the directory cannot be
 * asked. RL_EDENIED: the directory does not have it. RL_ETIMEDOUT: it cannot be asked, and has to be. Blocks, at most
 * REVLINE_ENROLL_LOOKUP_TIMEOUT; any thread but the loop's and the writer's. `sync` is an rl_sync. */
rl_err rl_sync_look_up(void *sync, rl_source source, const char *id, rl_error *e);

/* Until when, in Unix seconds and exclusively, a certificate's status may be told: when one of the directories that
 * decide about it is or becomes stale, by REVLINE_SYNC_STALE_POLICY. INT64_MAX: no limit. Any thread; a few point
 * reads. For rl_ocsp_limit, with the rl_sync as its context. */
int64_t rl_sync_told_until(const rl_cert_record *cert, void *sync);

#endif
