/* Staleness: see stale.h. What OCSP makes of it is a limit: an answer about a certificate ends, at the latest, when one
 * of its directories would be stale. So cached answers need no look at this, and the day a directory falls silent they
 * run out by themselves. */
#include "sync/stale.h"

#include "base/clock.h"
#include "base/log.h"

enum { LOOK_S = 60 }; /* at least that often, since the clock may be set */

int64_t rl_stale_at(const rl_settings *s, rl_duration interval, int64_t last_success)
{
    const int64_t late = interval + interval * s->sync.jitter_percent / 100 + s->sync.stale_after;
    return last_success + (late + 999) / 1000;
}

/* Only what is a directory has certificates to decide about. */
static bool is_watched(const rl_sync_source *s)
{
    return s->governs && !s->needs && !atomic_load(&s->without);
}

bool rl_stale_concerns(const rl_sync_source *s, const rl_cert_record *cert)
{
    static const struct {
        rl_source name;
        const char *source;
    } waits[] = {{RL_SOURCE_ENTRA_DEVICE_NAME, "entra-device"},
                 {RL_SOURCE_ENTRA_DEVICE_NAME, "intune-device"},
                 {RL_SOURCE_ENTRA_USER_NAME, "entra-user"},
                 {RL_SOURCE_JAMF_USER_NAME, "jamf-user"}};
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        if (strcmp(s->name, waits[i].source) == 0 && rl_cert_binding(cert, waits[i].name))
            return true;
    return s->governs(s->sync->store, cert);
}

/* By the time that has gone by since: a clock that was set must neither hide silence nor make it. */
static int64_t stale_at(rl_sync_source *s)
{
    pthread_mutex_lock(&s->sync->lock);
    int64_t age_ms = (int64_t)rl_mono_ms() - s->fresh;
    pthread_mutex_unlock(&s->sync->lock);
    return rl_stale_at(s->sync->settings, s->interval, (rl_wall_ms() - age_ms + 500) / 1000);
}

int64_t rl_sync_told_until(const rl_cert_record *cert, void *ctx)
{
    rl_sync *sync = ctx;
    int64_t until = INT64_MAX;
    if (sync->settings->sync.stale_policy != RL_STALE_TRY_LATER || cert->bindings_n == 0)
        return until;
    for (size_t i = 0; i < sync->n; i++) {
        rl_sync_source *s = sync->sources[i];
        int64_t at = is_watched(s) && rl_stale_concerns(s, cert) ? stale_at(s) : INT64_MAX;
        until = at < until ? at : until;
    }
    return until;
}

/* ---- what is shown ---- */
/* Another CA's list is by its own end, as OCSP has it: a server that gives out the same one for ever does not fail. */
static int64_t time_left(rl_sync_source *s, int64_t now)
{
    if (s->list_ends)
        return s->list_ends + s->sync->settings->sync.stale_after / 1000 - now;
    return is_watched(s) ? stale_at(s) - now : INT64_MAX;
}

static void tell(const rl_sync_source *s, bool stale)
{
    const char *answers = s->sync->settings->sync.stale_policy == RL_STALE_TRY_LATER ? "tryLater" : "go on";
    if (stale && s->list_ends)
        log_warn("sync.stale", "source", s->name, "list_ended", s->list_ends, "answers", answers);
    else if (stale)
        log_warn("sync.stale", "source", s->name, "last_success", s->status.last_success, "answers", answers);
    else
        log_info("sync.fresh", "source", s->name);
}

static void on_timer(uv_timer_t *timer)
{
    rl_stale_look(timer->data);
}

void rl_stale_look(rl_sync *sync)
{
    int64_t now = rl_wall_s(), next = LOOK_S;
    for (size_t i = 0; i < sync->n; i++) {
        rl_sync_source *s = sync->sources[i];
        int64_t left = time_left(s, now);
        bool stale = left <= 0, before = s->status.stale; /* only this thread writes it */
        if (!stale && left < next)
            next = left;
        if (stale == before)
            continue;
        pthread_mutex_lock(&sync->lock);
        s->status.stale = stale;
        s->status.list_ended = stale ? s->list_ends : 0;
        pthread_mutex_unlock(&sync->lock);
        tell(s, stale);
    }
    uv_timer_start(&sync->stale_timer, on_timer, (uint64_t)next * 1000, 0);
}
