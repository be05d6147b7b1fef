/* The sync thread and its scheduler: when each source runs, what the others may know of it, and how it all stops.
 *
 * One libuv loop on one thread runs every source. Other threads reach it only through fields under the lock and one
 * uv_async, which is sent with the lock held: so once the loop has seen a field, nobody is still sending. */
#include "sync/sync.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "sync/lookup.h"
#include "sync/source.h"
#include "sync/stale.h"
#include "sync/subscription.h"

enum { BACKOFF_BASE_MS = 1000 };

/* ---- status ---- */
static const char *state_name(rl_source_state state)
{
    switch (state) {
    case RL_AT_OFF:
        return "off";
    case RL_AT_REST:
        return "idle";
    case RL_AT_BACKOFF:
        return "backing off";
    default:
        return "running";
    }
}

/* What is the matter if it fails in this state, until an answer says more. */
static void expect(rl_sync_source *s, rl_source_state state)
{
    if (state == RL_AT_TOKEN || state == RL_AT_FETCH || state == RL_AT_COMMIT)
        s->failure = (rl_failure){.kind = state == RL_AT_TOKEN ? RL_FAILED_LOGIN : RL_FAILED_HERE};
}

void rl_source_enter(rl_sync_source *s, rl_source_state state)
{
    s->state = state;
    expect(s, state);
    pthread_mutex_lock(&s->sync->lock);
    s->status.state = state_name(state);
    pthread_mutex_unlock(&s->sync->lock);
}

void rl_source_answered(rl_sync_source *s, const rl_http_response *r)
{
    long class = r->err == RL_OK ? r->status / 100 : 0;
    s->failure = (rl_failure){.kind = r->err != RL_OK ? RL_FAILED_CALL
                                      : class == 2    ? RL_FAILED_CONTENT
                                                      : RL_FAILED_STATUS,
                              .call = r->failure,
                              .status = r->status};
    rl_metric_add(s->metrics.requests[class > 0 && class < RL_STATUS_CLASSES ? class : 0], 1);
    pthread_mutex_lock(&s->sync->lock);
    s->status.requests++;
    pthread_mutex_unlock(&s->sync->lock);
}

void rl_source_count(rl_sync_source *s, uint64_t pages, uint64_t objects, uint64_t changed)
{
    s->objects += objects;
    s->changed += changed;
    rl_metric_add(s->metrics.objects, (int64_t)objects);
    rl_metric_add(s->metrics.changes, (int64_t)changed);
    pthread_mutex_lock(&s->sync->lock);
    s->status.pages += pages;
    s->status.objects += objects;
    s->status.changed += changed;
    s->status.round.pages += pages;
    s->status.round.objects += objects;
    s->status.round.changed += changed;
    pthread_mutex_unlock(&s->sync->lock);
}

/* ---- held changes ---- */
struct held {
    const char *source;
    uint64_t changes, certificates;
};

static bool add_held(uint64_t id, const rl_change_record *r, void *ctx)
{
    struct held *h = ctx;
    (void)id;
    if (r->state == RL_CHANGE_HELD && strcmp(r->source, h->source) == 0) {
        h->changes++;
        h->certificates += r->certificates;
    }
    return true;
}

static struct held held_of(rl_store *store, const char *source)
{
    struct held h = {.source = source};
    rl_store_each_change(store, add_held, &h); /* a failing read shows as the store's own failure */
    return h;
}

static int64_t held_changes(void *source)
{
    const rl_sync_source *s = source;
    return (int64_t)held_of(s->sync->store, s->name).changes;
}

/* With the lock. What it waits now counts already. */
static rl_sync_status status_now(const rl_sync_source *s)
{
    rl_sync_status out = s->status;
    if (out.waits_until) {
        int64_t waited = rl_wall_ms() - s->waits_from;
        out.throttled_ms += waited > 0 ? waited : 0;
    }
    return out;
}

size_t rl_sync_status_read(rl_sync *s, rl_sync_status *out, size_t cap)
{
    size_t n = cap < s->n ? cap : s->n;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++)
        out[i] = status_now(s->sources[i]);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        struct held h = held_of(s->store, out[i].name);
        out[i].held_changes = h.changes;
        out[i].held_certificates = h.certificates;
    }
    return n;
}

/* Milliseconds since a time in seconds; the clock may have been set back since. */
static int64_t age_ms(int64_t time)
{
    int64_t age = rl_wall_ms() - time * 1000;
    return age > 0 ? age : 0;
}

static int64_t lag(void *ctx)
{
    rl_sync_source *s = ctx;
    pthread_mutex_lock(&s->sync->lock);
    int64_t last = s->status.last_success;
    pthread_mutex_unlock(&s->sync->lock);
    return last ? age_ms(last) / 1000 : -1;
}

static int64_t throttled(void *ctx)
{
    rl_sync_source *s = ctx;
    pthread_mutex_lock(&s->sync->lock);
    rl_sync_status now = status_now(s);
    pthread_mutex_unlock(&s->sync->lock);
    return now.throttled_ms / 1000;
}

static int64_t next_run(void *ctx)
{
    rl_sync_source *s = ctx;
    pthread_mutex_lock(&s->sync->lock);
    int64_t at = s->status.next_run;
    pthread_mutex_unlock(&s->sync->lock);
    return at;
}

static int64_t is_failing(void *ctx)
{
    rl_sync_source *s = ctx;
    pthread_mutex_lock(&s->sync->lock);
    bool failing = s->status.last_error[0] != 0;
    pthread_mutex_unlock(&s->sync->lock);
    return failing;
}

static int64_t is_stale(void *ctx)
{
    rl_sync_source *s = ctx;
    pthread_mutex_lock(&s->sync->lock);
    bool stale = s->status.stale;
    pthread_mutex_unlock(&s->sync->lock);
    return stale;
}

static void register_metrics(rl_sync_source *s)
{
    static const char *const classes[RL_STATUS_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    char labels[96];
    snprintf(labels, sizeof(labels), "source=\"%s\"", s->name);
    s->metrics.objects =
        rl_counter("revline_sync_objects_total", labels, "Directory objects and revocation list entries handled.");
    s->metrics.changes =
        rl_counter("revline_sync_changes_total", labels, "Certificates whose status an upstream changed.");
    s->metrics.failures = rl_counter("revline_sync_failures_total", labels, "Failed tries of a round.");
    rl_gauge_fn("revline_sync_held_changes", labels, "Mass changes that wait for an admin.", held_changes, s);
    rl_gauge_fn("revline_sync_lag_seconds", labels, "Seconds since the last complete round; -1 before the first.", lag,
                s);
    rl_gauge_fn("revline_sync_throttled_seconds", labels,
                "Seconds waited since the start because the upstream said so (Retry-After).", throttled, s);
    rl_gauge_fn("revline_sync_next_run_seconds", labels, "When the next round begins, Unix time.", next_run, s);
    rl_gauge_fn("revline_sync_failing", labels, "1 while the last try has failed.", is_failing, s);
    rl_gauge_fn("revline_sync_stale", labels,
                "1 while a directory has had no success for too long, or a list has ended.", is_stale, s);
    for (int i = 0; i < RL_STATUS_CLASSES; i++) {
        snprintf(labels, sizeof(labels), "source=\"%s\",status=\"%s\"", s->name, classes[i]);
        s->metrics.requests[i] =
            rl_counter("revline_sync_requests_total", labels, "Requests to the upstream by status class.");
    }
}

/* ---- when ---- */
static void on_timer(uv_timer_t *timer);

static void run_in(rl_sync_source *s, int64_t delay_ms)
{
    pthread_mutex_lock(&s->sync->lock);
    s->status.next_run = (rl_wall_ms() + delay_ms) / 1000;
    pthread_mutex_unlock(&s->sync->lock);
    uv_timer_start(&s->timer, on_timer, (uint64_t)delay_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    rl_sync_source *s = timer->data;
    s->failure = (rl_failure){.kind = RL_FAILED_HERE};
    pthread_mutex_lock(&s->sync->lock);
    s->restart |= s->asked_full;
    s->asked = s->asked_full = false;
    s->serving = s->status.asked;
    s->status.throttled_ms = status_now(s).throttled_ms;
    s->status.waits_until = 0;
    memset(&s->status.round, 0, sizeof(s->status.round));
    pthread_mutex_unlock(&s->sync->lock);
    s->kind->begin(s);
}

static int64_t interval(const rl_sync_source *s)
{
    int64_t spread = s->interval * s->sync->settings->sync.jitter_percent / 100;
    return s->interval - spread + (int64_t)arc4random_uniform((uint32_t)(2 * spread + 1));
}

void rl_source_done(rl_sync_source *s, int64_t last_success)
{
    if (s->full || s->objects > 0)
        log_info("sync.round", "source", s->name, "full", s->full, "objects", s->objects, "changed", s->changed);
    else
        log_debug("sync.round", "source", s->name, "full", s->full, "objects", s->objects, "changed", s->changed);
    rl_source_enter(s, RL_AT_REST);
    pthread_mutex_lock(&s->sync->lock);
    s->status.rounds++;
    s->status.last_success = last_success;
    s->fresh = (int64_t)rl_mono_ms();
    s->status.last_error[0] = s->status.advice[0] = 0;
    s->status.answered = s->status.answered_well = s->serving;
    /* Asked since this round began: what it asked for may be newer than what we saw. */
    bool again = s->asked || s->again;
    pthread_mutex_unlock(&s->sync->lock);
    s->again = false;
    rl_stale_look(s->sync);
    run_in(s, again ? 0 : interval(s));
}

void rl_source_failed(rl_sync_source *s, const char *message, int64_t retry_after_ms)
{
    int64_t delay =
        rl_backoff(s->attempts + s->restarts, BACKOFF_BASE_MS, s->sync->settings->sync.retry_max, retry_after_ms);
    char advice[RL_ADVICE_MAX];
    s->attempts++;
    s->hold_until = retry_after_ms > 0 ? uv_now(&s->sync->loop) + (uint64_t)delay : 0;
    s->failure.upstream = s->upstream;
    s->failure.permission = s->permission;
    rl_advice(&s->failure, advice);
    log_warn("sync.failed", "source", s->name, "error", message, "attempt", s->attempts, "retry_ms", delay, "advice",
             advice);
    rl_metric_add(s->metrics.failures, 1);
    rl_source_enter(s, RL_AT_BACKOFF);
    pthread_mutex_lock(&s->sync->lock);
    s->status.failures++;
    snprintf(s->status.last_error, sizeof(s->status.last_error), "%s", message);
    rl_text_clean(s->status.last_error); /* of what an upstream has said, and of a character that was cut in two */
    memcpy(s->status.advice, advice, sizeof(advice));
    s->status.answered = s->status.asked; /* also of those who asked meanwhile */
    if (retry_after_ms > 0) {
        s->waits_from = rl_wall_ms();
        s->status.waits_until = (s->waits_from + delay) / 1000;
    }
    pthread_mutex_unlock(&s->sync->lock);
    run_in(s, delay);
}

/* Somebody asked: whoever rests starts now; whoever backs off too, unless the upstream told us to wait. */
static void start_asked(rl_sync_source *s)
{
    bool waiting = s->state == RL_AT_REST || (s->state == RL_AT_BACKOFF && uv_now(&s->sync->loop) >= s->hold_until);
    pthread_mutex_lock(&s->sync->lock);
    bool asked = s->asked;
    pthread_mutex_unlock(&s->sync->lock);
    if (asked && waiting)
        run_in(s, 0);
}

static void on_token(void *ctx, const rl_error *failure, int64_t retry_after_ms)
{
    rl_sync *sync = ctx;
    bool refused = failure && (failure->code == RL_EDENIED || failure->code == RL_EBADMSG);
    for (size_t i = 0; i < sync->n && !sync->closing; i++) {
        rl_sync_source *s = sync->sources[i];
        if (s->state != RL_AT_TOKEN)
            continue;
        s->failure.call = refused ? RL_HTTP_ANSWERED : RL_HTTP_BROKEN;
        if (failure && failure->code == RL_EBUSY)
            s->failure.kind = RL_FAILED_WAITING;
        s->kind->token(s, failure, retry_after_ms);
    }
    if (!sync->closing)
        rl_lookups_token(sync, failure, retry_after_ms);
}

/* ---- transactions ---- */
/* The writer's thread or the committer's, with the lock. */
static void tell_committed(rl_sync_source *s, rl_err err, const rl_error *e)
{
    s->committed = true;
    s->commit_err = err;
    s->commit_error = e ? *e : (rl_error){0};
    uv_async_send(&s->sync->wake);
}

/* A transaction of a source, until it is written. */
struct rl_flight {
    rl_sync_source *source;
    rl_store_apply apply;
    bool told; /* that it has run */
    uint64_t pages, objects, changed;
};

static rl_err run_flight(rl_store_txn *t, void *arg, rl_error *e)
{
    struct rl_flight *f = arg;
    f->source->running = f;
    return f->apply(t, f->source, e);
}

void rl_source_has_run(rl_sync_source *s, uint64_t pages, uint64_t objects, uint64_t changed)
{
    struct rl_flight *f = s->running;
    f->told = true;
    f->pages = pages;
    f->objects = objects;
    f->changed = changed;
    pthread_mutex_lock(&s->sync->lock);
    tell_committed(s, RL_OK, NULL);
    pthread_mutex_unlock(&s->sync->lock);
}

/* In the order in which they ran. */
static void written(void *arg, rl_err err, const rl_error *e)
{
    struct rl_flight *f = arg;
    rl_sync_source *s = f->source;
    pthread_mutex_lock(&s->sync->lock);
    s->flying--;
    if (f->told && err == RL_OK) {
        s->pages_written += f->pages;
        s->objects_written += f->objects;
        s->changes_written += f->changed;
        uv_async_send(&s->sync->wake);
    } else {
        s->lost |= f->told;
        tell_committed(s, err, e);
    }
    pthread_mutex_unlock(&s->sync->lock);
    free(f);
}

bool rl_source_is_lost(rl_sync_source *s)
{
    pthread_mutex_lock(&s->sync->lock);
    bool lost = s->lost;
    pthread_mutex_unlock(&s->sync->lock);
    return lost;
}

bool rl_source_recover(rl_sync_source *s)
{
    pthread_mutex_lock(&s->sync->lock);
    bool lost = s->lost;
    if (s->flying == 0)
        s->lost = false;
    pthread_mutex_unlock(&s->sync->lock);
    return lost;
}

rl_err rl_source_commit(rl_sync_source *s, rl_store_apply apply)
{
    struct rl_flight *f = calloc(1, sizeof(*f));
    rl_source_enter(s, RL_AT_COMMIT);
    if (!f)
        return RL_ENOMEM;
    *f = (struct rl_flight){.source = s, .apply = apply};
    pthread_mutex_lock(&s->sync->lock);
    s->flying++;
    pthread_mutex_unlock(&s->sync->lock);
    rl_err err = rl_store_submit(s->sync->store, run_flight, written, f);
    if (err == RL_OK)
        return RL_OK;
    pthread_mutex_lock(&s->sync->lock);
    s->flying--;
    pthread_mutex_unlock(&s->sync->lock);
    free(f);
    return err;
}

static void count_written(rl_sync_source *s)
{
    pthread_mutex_lock(&s->sync->lock);
    const uint64_t pages = s->pages_written, objects = s->objects_written, changed = s->changes_written;
    s->pages_written = s->objects_written = s->changes_written = 0;
    pthread_mutex_unlock(&s->sync->lock);
    if (pages > 0)
        rl_source_count(s, pages, objects, changed);
}

/* A loss is told when nothing that builds on it is under way any more; to who rests it is told when it begins. */
static void take_commit(rl_sync_source *s)
{
    count_written(s);
    pthread_mutex_lock(&s->sync->lock);
    bool committed = s->committed && (!s->lost || s->flying == 0);
    bool lost = s->lost;
    rl_err err = s->commit_err;
    rl_error e = s->commit_error;
    if (committed)
        s->committed = false;
    pthread_mutex_unlock(&s->sync->lock);
    if (!committed || s->sync->closing || (lost && (s->state == RL_AT_REST || s->state == RL_AT_BACKOFF)))
        return;
    if (err == RL_EBADMSG || err == RL_EDENIED || err == RL_ERANGE)
        s->failure.kind = RL_FAILED_CONTENT; /* refused by what it says, not by the database */
    s->kind->committed(s, err, &e);
}

/* ---- stopping and waking ---- */
/* Cancels what is under way and closes everything but `wake`, which a writer may still need. */
static void begin_closing(rl_sync *sync)
{
    sync->closing = true;
    if (sync->client)
        rl_http_client_close(sync->client, NULL, NULL);
    if (sync->lookups)
        rl_lookups_close(sync);
    for (size_t i = 0; i < sync->n; i++)
        uv_close((uv_handle_t *)&sync->sources[i]->timer, NULL);
    uv_close((uv_handle_t *)&sync->stale_timer, NULL);
}

static void close_when_idle(rl_sync *sync)
{
    bool flying = false;
    pthread_mutex_lock(&sync->lock);
    for (size_t i = 0; i < sync->n; i++)
        flying |= sync->sources[i]->flying > 0;
    pthread_mutex_unlock(&sync->lock);
    if (!flying && !uv_is_closing((uv_handle_t *)&sync->wake))
        uv_close((uv_handle_t *)&sync->wake, NULL);
}

static void on_wake(uv_async_t *wake)
{
    rl_sync *sync = wake->data;
    pthread_mutex_lock(&sync->lock);
    bool stop = sync->stop;
    pthread_mutex_unlock(&sync->lock);
    if (stop && !sync->closing)
        begin_closing(sync);
    rl_lookups_wake(sync);
    for (size_t i = 0; i < sync->n; i++) {
        take_commit(sync->sources[i]);
        if (!stop)
            start_asked(sync->sources[i]);
    }
    if (stop)
        close_when_idle(sync);
}

static void *run(void *arg)
{
    rl_sync *sync = arg;
    pthread_setname_np(pthread_self(), "revline-sync");
    rl_store_stand_back();
    uv_run(&sync->loop, UV_RUN_DEFAULT); /* until every handle is closed */
    return NULL;
}

/* ---- start, stop, now ---- */
static void free_sync(rl_sync *sync)
{
    for (size_t i = 0; i < sync->n; i++) {
        rl_gauge_fn_drop(sync->sources[i]);
        sync->sources[i]->kind->free(sync->sources[i]);
    }
    rl_lookups_free(sync);
    rl_token_free(sync->token);
    pthread_mutex_destroy(&sync->lock);
    free(sync);
}

/* What an earlier process reached, so that the lag is right from the start. */
static void read_last_success(rl_sync_source *s)
{
    rl_cursor_record c;
    s->fresh = (int64_t)rl_mono_ms();
    if (rl_store_cursor(s->sync->store, s->name, &c) != RL_OK)
        return; /* none yet; or the first round will report it */
    s->status.last_success = c.last_success;
    if (c.last_success)
        s->fresh -= age_ms(c.last_success);
    rl_cursor_clear(&c);
}

/* What a directory has said counts on while it is off: whoever has lost a setting is to see it. */
static void tell_off(const rl_sync_source *s)
{
    if (s->governs && s->status.last_success)
        log_warn("sync.off", "source", s->name, "needs", s->needs, "last_success", s->status.last_success);
    else
        log_info("sync.off", "source", s->name, "needs", s->needs);
}

rl_err rl_source_add(rl_sync *sync, rl_sync_source *s)
{
    if (sync->n == RL_SYNC_SOURCES_MAX) {
        s->kind->free(s);
        return RL_ERANGE;
    }
    s->sync = sync;
    s->status = (rl_sync_status){.name = s->name, .state = state_name(s->state), .needs = s->needs};
    sync->sources[sync->n++] = s;
    if (s->needs) {
        read_last_success(s);
        tell_off(s);
    }
    return RL_OK;
}

static rl_err make_sources(rl_sync *sync, bool *any, rl_error *e)
{
    static rl_err (*const makers[])(rl_sync * sync) = {rl_reweigh_make,      rl_entra_make, rl_intune_make,
                                                       rl_requests_make,     rl_jamf_make,  rl_crl_make,
                                                       rl_subscription_make, rl_guard_make};
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
        rl_err err = makers[i](sync);
        if (err == RL_ERANGE)
            return rl_fail(e, err, "sync", "there are more than %d sources", RL_SYNC_SOURCES_MAX);
        if (err != RL_OK)
            return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    }
    for (size_t i = 0; i < sync->n; i++)
        *any |= !sync->sources[i]->needs;
    return RL_OK;
}

static rl_err start_thread(rl_sync *sync, rl_error *e)
{
    for (size_t i = 0; i < sync->n; i++) {
        rl_sync_source *s = sync->sources[i];
        if (s->needs)
            continue;
        read_last_success(s);
        register_metrics(s);
        rl_source_enter(s, RL_AT_REST);
        run_in(s, 0);
    }
    rl_stale_look(sync);
    if (pthread_create(&sync->thread, NULL, run, sync) != 0)
        return rl_fail(e, RL_EIO, "sync", "the sync thread cannot be started");
    sync->running = true;
    return RL_OK;
}

static rl_err start_loop(rl_sync *sync, rl_error *e)
{
    if (uv_loop_init(&sync->loop) != 0)
        return rl_fail(e, RL_EIO, "sync", "the sync loop cannot be made");
    if (uv_async_init(&sync->loop, &sync->wake, on_wake) != 0) {
        uv_loop_close(&sync->loop);
        return rl_fail(e, RL_EIO, "sync", "the sync loop cannot be made");
    }
    sync->wake.data = sync;
    uv_timer_init(&sync->loop, &sync->stale_timer);
    sync->stale_timer.data = sync;
    for (size_t i = 0; i < sync->n; i++) {
        uv_timer_init(&sync->loop, &sync->sources[i]->timer);
        sync->sources[i]->timer.data = sync->sources[i];
    }
    rl_err err = rl_http_client_new(&sync->loop, &sync->client, e);
    if (err == RL_OK)
        err = rl_token_new(sync->client, sync->settings, sync->settings->azure.graph_url, on_token, sync, &sync->token,
                           e);
    if (err == RL_OK && rl_lookups_new(sync) != RL_OK)
        err = rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    if (err == RL_OK)
        err = start_thread(sync, e);
    if (err != RL_OK) {
        begin_closing(sync);
        close_when_idle(sync);
        uv_run(&sync->loop, UV_RUN_DEFAULT);
        uv_loop_close(&sync->loop);
    }
    return err;
}

rl_err rl_sync_start(rl_store *store, const rl_settings *s, rl_sync **out, rl_error *e)
{
    bool any = false;
    rl_sync *sync = calloc(1, sizeof(*sync));
    if (!sync)
        return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    sync->store = store;
    sync->settings = s;
    pthread_mutex_init(&sync->lock, NULL);
    rl_err err = make_sources(sync, &any, e);
    if (err == RL_OK && any)
        err = start_loop(sync, e);
    if (err == RL_OK)
        *out = sync;
    else
        free_sync(sync);
    return err;
}

void rl_sync_stop(rl_sync *s)
{
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        uv_async_send(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        uv_loop_close(&s->loop);
    }
    free_sync(s);
}

/* True when there is such a source. */
static bool ask_for_round(rl_sync *s, const char *name, size_t name_n, bool full)
{
    bool found = false;
    if (!s->running)
        return false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n; i++) {
        rl_sync_source *one = s->sources[i];
        if (one->needs || strncmp(name, one->name, name_n) != 0)
            continue;
        one->asked = true;
        one->status.asked++;
        one->asked_full |= full;
        found = true;
    }
    if (found)
        uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return found;
}

void rl_sync_wake(rl_sync *s, const char *prefix, bool full)
{
    (void)ask_for_round(s, prefix, strlen(prefix), full);
}

/* No such name, or what turns it off. */
static rl_err no_source(const rl_sync *s, const char *name, rl_error *e)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->sources[i]->name, name) == 0 && s->sources[i]->needs)
            return rl_fail(e, RL_ENOTFOUND, "sync", "the source \"%s\" is off: it is turned on by %s", name,
                           s->sources[i]->needs);
    return rl_fail(e, RL_ENOTFOUND, "sync", "there is no source \"%s\": revline sync lists them", name);
}

rl_err rl_sync_now(rl_sync *s, const char *source, bool full, rl_error *e)
{
    /* With its NUL a name is whole; without a name all are meant. */
    if (ask_for_round(s, source, source[0] ? strlen(source) + 1 : 0, full))
        return RL_OK;
    return source[0] ? no_source(s, source, e) : rl_fail(e, RL_ENOTFOUND, "sync", "no source is configured");
}
