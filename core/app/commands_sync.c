/* The commands about sync's sources: how each is, and a round now. As in commands.c: any thread, JSON both ways. */
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"

/* ---- how they are ---- */
static json_t *source_json(const rl_sync_status *s, bool degrades)
{
    const int64_t age = rl_wall_s() - s->last_success, lag = !s->last_success ? -1 : age > 0 ? age : 0;
    json_t *round = json_pack("{s:I,s:I,s:I}", "pages", (json_int_t)s->round.pages, "objects",
                              (json_int_t)s->round.objects, "changed", (json_int_t)s->round.changed);
    json_t *asked = json_pack("{s:I,s:I,s:I}", "times", (json_int_t)s->asked, "answered", (json_int_t)s->answered,
                              "answeredWell", (json_int_t)s->answered_well);
    json_t *figures = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "rounds", (json_int_t)s->rounds, "pages",
                                (json_int_t)s->pages, "objects", (json_int_t)s->objects, "changed",
                                (json_int_t)s->changed, "heldChanges", (json_int_t)s->held_changes, "heldCertificates",
                                (json_int_t)s->held_certificates, "failures", (json_int_t)s->failures, "requests",
                                (json_int_t)s->requests, "throttledSeconds", (json_int_t)(s->throttled_ms / 1000));
    json_t *out =
        json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:b,s:I,s:s?,s:s,s:s}", "status", degrades ? "degraded" : "ok", "state",
                  s->state, "lastSuccess", (json_int_t)s->last_success, "lagSeconds", (json_int_t)lag, "nextRun",
                  (json_int_t)s->next_run, "waitsUntil", (json_int_t)s->waits_until, "stale", s->stale, "listEnded",
                  (json_int_t)s->list_ended, "needs", s->needs, "lastError", s->last_error, "advice", s->advice);
    json_object_update(out, figures);
    json_decref(figures);
    json_object_set_new(out, "round", round);
    json_object_set_new(out, "asked", asked);
    return out;
}

json_t *rl_app_sync_json(rl_app *app, bool *degraded)
{
    rl_sync_status status[RL_SYNC_SOURCES_MAX];
    size_t n = app->sync ? rl_sync_status_read(app->sync, status, RL_SYNC_SOURCES_MAX) : 0;
    json_t *out = json_object();
    for (size_t i = 0; i < n; i++) {
        bool degrades = status[i].last_error[0] != 0 || status[i].held_changes > 0 || status[i].stale;
        *degraded |= degrades;
        json_object_set_new(out, status[i].name, source_json(&status[i], degrades));
    }
    return out;
}

rl_err rl_command_sync_status(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    bool degraded = false;
    (void)request;
    if (!app->sync)
        return rl_fail(e, RL_EINVAL, "sync", "sync needs a running server");
    const char *policy = app->settings->sync.stale_policy == RL_STALE_TRY_LATER ? "trylater" : "serve";
    *reply = json_pack("{s:s,s:I,s:o}", "stalePolicy", policy, "now", (json_int_t)rl_wall_s(), "sources",
                       rl_app_sync_json(app, &degraded));
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}

/* ---- a round now ---- */
/* How often each of them has been asked by now, this time included: to wait for, see rl_sync_status. */
static json_t *asks_json(rl_app *app, const char *source)
{
    rl_sync_status status[RL_SYNC_SOURCES_MAX];
    size_t n = rl_sync_status_read(app->sync, status, RL_SYNC_SOURCES_MAX);
    json_t *out = json_object();
    for (size_t i = 0; i < n; i++)
        if (!status[i].needs && (!source[0] || strcmp(source, status[i].name) == 0))
            json_object_set_new(out, status[i].name, json_integer((json_int_t)status[i].asked));
    return out;
}

/* {"source": …, "full": …}; without a source, all. */
rl_err rl_command_sync(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const char *source = rl_json_str(request, "source");
    if (!app->sync)
        return rl_fail(e, RL_EINVAL, "sync", "sync needs a running server");
    RL_TRY(rl_sync_now(app->sync, source ? source : "", rl_json_bool(request, "full", false), e));
    *reply = json_pack("{s:s,s:o}", "sync", "asked for a round", "asked", asks_json(app, source ? source : ""));
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}
