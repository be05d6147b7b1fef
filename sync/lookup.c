/* Direct questions: who asks, who waits, and in which order the loop takes them; see lookup.h.
 *
 *   asked → queue → (token) → call → answered … → found: stored by the writer → ended
 *
 * What is between queue and writer is in lookup_run.c. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "sync/lookup_priv.h"

/* How many questions an upstream is asked at once. Jamf Pro allows five, and has three sources. */
static const size_t at_once[] = {[RL_UPSTREAM_GRAPH] = 8, [RL_UPSTREAM_JAMF] = 2};

/* ---- lists ---- */
static void append(rl_look **list, rl_look *l)
{
    while (*list)
        list = &(*list)->next;
    l->next = NULL;
    *list = l;
}

static void take_out(rl_look **list, const rl_look *l)
{
    while (*list && *list != l)
        list = &(*list)->next;
    if (*list)
        *list = l->next;
}

/* ---- the end of a question ---- */
/* With the lock. */
static void release(rl_look *l)
{
    struct rl_lookups *all = l->sync->lookups;
    rl_graph_page_free(&l->page);
    free(l);
    all->alive--;
    pthread_cond_broadcast(&all->changed);
}

void rl_look_finish(rl_look *l, rl_looked result)
{
    rl_sync *sync = l->sync;
    rl_metric_add(sync->lookups->results[result], 1);
    log_client_info("enroll.lookup", "source", rl_look_source(l->plan[l->at < l->n ? l->at : l->n - 1]), "name", l->id,
                    "result",
                    result == RL_LOOKED_FOUND     ? "found"
                    : result == RL_LOOKED_MISSING ? "missing"
                    : result == RL_LOOKED_AWAY    ? "away"
                                                  : "off");
    pthread_mutex_lock(&sync->lock);
    l->ended = true;
    l->result = result;
    if (l->left)
        release(l);
    else
        pthread_cond_broadcast(&sync->lookups->changed);
    pthread_mutex_unlock(&sync->lock);
}

void rl_look_say_why(rl_look *l, const char *text)
{
    pthread_mutex_lock(&l->sync->lock);
    snprintf(l->why, sizeof(l->why), "%s", text);
    pthread_mutex_unlock(&l->sync->lock);
}

void rl_look_leave(rl_look *l)
{
    struct rl_lookups *all = l->sync->lookups;
    take_out(&all->under_way, l);
    all->running[l->upstream]--;
}

/* ---- the loop's side ---- */
void rl_lookups_go(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    if (all->going)
        return; /* it goes on with what has become free by that */
    all->going = true;
    for (rl_look *l = all->queue, *next; l && !sync->closing; l = next) {
        next = l->next;
        if (all->running[l->upstream] == at_once[l->upstream])
            continue;
        take_out(&all->queue, l);
        append(&all->under_way, l);
        all->running[l->upstream]++;
        rl_look_step(l);
        next = all->queue;
    }
    all->going = false;
}

void rl_lookups_wake(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    pthread_mutex_lock(&sync->lock);
    rl_look *asked = all->asked;
    all->asked = NULL;
    pthread_mutex_unlock(&sync->lock);
    for (rl_look *l = asked, *next; l; l = next) {
        next = l->next;
        append(&all->queue, l);
    }
    if (sync->closing)
        rl_lookups_close(sync);
    else
        rl_lookups_go(sync);
}

void rl_lookups_close(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    rl_look *lists[] = {all->queue, all->under_way};
    all->queue = all->under_way = NULL;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (rl_look *l = lists[i], *next; l; l = next) {
            next = l->next;
            rl_look_finish(l, RL_LOOKED_AWAY);
        }
}

rl_err rl_lookups_new(rl_sync *sync)
{
    static const char *const names[RL_LOOKED] = {"found", "missing", "away", "off"};
    char labels[32];
    pthread_condattr_t monotonic;
    struct rl_lookups *all = calloc(1, sizeof(*all));
    if (!all)
        return RL_ENOMEM;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&all->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (size_t i = 0; i < RL_LOOKED; i++) {
        snprintf(labels, sizeof(labels), "result=\"%s\"", names[i]);
        all->results[i] = rl_counter("revline_enroll_lookups_total", labels,
                                     "Objects that an enrollment names and that were looked up in their directory.");
    }
    sync->lookups = all;
    return RL_OK;
}

void rl_lookups_free(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    if (!all)
        return;
    pthread_mutex_lock(&sync->lock);
    while (all->alive > 0)
        pthread_cond_wait(&all->changed, &sync->lock);
    pthread_mutex_unlock(&sync->lock);
    pthread_cond_destroy(&all->changed);
    rl_lookups_forget_token(all);
    free(all);
    sync->lookups = NULL;
}

/* ---- the other threads' side ---- */
static bool has(rl_store *store, rl_source source, const char *id)
{
    rl_object_record r;
    if (rl_store_object(store, source, id, &r) != RL_OK)
        return false;
    bool seen = r.generation != RL_GENERATION_NAMED; /* and not only named by an earlier certificate */
    rl_object_clear(&r);
    return seen;
}

/* To a directory that is watched. */
static bool is_known(const rl_sync *sync, rl_source source, const char *id)
{
    const rl_settings *s = sync->settings;
    rl_store *store = sync->store;
    if (source != RL_SOURCE_ENTRA_DEVICE_NAME)
        return has(store, source, id);
    return (rl_rules_watch(s, RL_BOUND_ENTRA_DEVICE) && has(store, source, id)) ||
           (rl_rules_watch(s, RL_BOUND_INTUNE_DEVICE) &&
            (has(store, RL_SOURCE_INTUNE_DEVICE, id) || has(store, RL_SOURCE_INTUNE_DEVICE_NAME, id)));
}

static rl_look *new_look(rl_sync *sync, rl_source source, const char *id)
{
    rl_look *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->sync = sync;
    snprintf(l->id, sizeof(l->id), "%s", id);
    l->n = rl_look_plan(sync->settings, source, l->plan);
    l->upstream = l->n && rl_look_is_jamf(l->plan[0]) ? RL_UPSTREAM_JAMF : RL_UPSTREAM_GRAPH;
    l->deadline = rl_mono_ms() + (uint64_t)sync->settings->scep.lookup_timeout;
    return l;
}

/* With the lock: hands it to the loop, and waits until the deadline. What the loop has not done by then it does without
 * us. */
static rl_looked wait_for(rl_look *l, char why[RL_LOOK_WHY_MAX])
{
    rl_sync *sync = l->sync;
    const rl_duration most = sync->settings->scep.lookup_timeout;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += most / 1000;
    end.tv_nsec += (most % 1000) * 1000000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    sync->lookups->alive++;
    append(&sync->lookups->asked, l);
    uv_async_send(&sync->wake);
    while (!l->ended && pthread_cond_timedwait(&sync->lookups->changed, &sync->lock, &end) == 0)
        ;
    rl_looked result = l->ended ? l->result : RL_LOOKED_AWAY;
    snprintf(why, RL_LOOK_WHY_MAX, "%s", l->ended ? l->why : "it took too long");
    l->left = true;
    if (l->ended)
        release(l);
    return result;
}

rl_err rl_sync_look_up(void *ctx, rl_source source, const char *id, rl_error *e)
{
    rl_sync *sync = ctx;
    char why[RL_LOOK_WHY_MAX] = "the server is stopping";
    rl_looked result = RL_LOOKED_AWAY;
    if (!sync->running || is_known(sync, source, id))
        return RL_OK;
    rl_look *l = new_look(sync, source, id);
    if (!l)
        return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    if (l->n == 0) {
        free(l);
        return RL_OK;
    }
    pthread_mutex_lock(&sync->lock);
    if (sync->stop)
        free(l);
    else
        result = wait_for(l, why);
    pthread_mutex_unlock(&sync->lock);
    if (result == RL_LOOKED_MISSING)
        return rl_fail(e, RL_EDENIED, "sync", "the directory has no %s", id);
    if (result == RL_LOOKED_AWAY && sync->settings->scep.lookup == RL_LOOKUP_REQUIRE)
        return rl_fail(e, RL_ETIMEDOUT, "sync", "the directory cannot be asked now for %s: try again later (%s)", id,
                       why);
    return RL_OK;
}
