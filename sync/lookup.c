/* Direct questions; see lookup.h. A question is a struct that two know: the thread that waits for it, and the loop,
 * later the store's writer. The last of them frees it.
 *
 *   asked → queue → (token) → call → answered … → found: stored by the writer → ended
 */
#include "sync/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "sync/apply.h"
#include "sync/jamf_token.h"

enum { ANSWER_MAX = 1024 * 1024, WHY_MAX = 256, BACKOFF_BASE_MS = 1000 };

typedef enum { FOUND, MISSING, AWAY, UNWATCHED, RESULTS } look_result;

/* The two upstreams; how many questions each is asked at once. Jamf Pro allows five, and has three sources. */
enum { GRAPH, JAMF, UPSTREAMS };
static const size_t at_once[UPSTREAMS] = {8, 2};

typedef struct look {
    struct look *next;
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
    look_result result;
    char why[WHY_MAX];
} look;

struct rl_lookups {
    /* The loop's own. */
    look *queue, *under_way;
    size_t running[UPSTREAMS];
    bool going;                     /* looks through the queue */
    uint64_t hold_until[UPSTREAMS]; /* monotonic ms: it has failed, or said when to come again */
    unsigned failures[UPSTREAMS];   /* since its last answer */
    char *jamf_token;
    uint64_t jamf_until; /* monotonic ms */
    bool jamf_asking;
    rl_metric *results[RESULTS];
    /* Guarded by the sync's lock. */
    look *asked;
    size_t alive;
    pthread_cond_t changed;
};

static void go(rl_sync *sync);
static void ask(look *l);

/* ---- lists ---- */
static void append(look **list, look *l)
{
    while (*list)
        list = &(*list)->next;
    l->next = NULL;
    *list = l;
}

static void take_out(look **list, const look *l)
{
    while (*list && *list != l)
        list = &(*list)->next;
    if (*list)
        *list = l->next;
}

/* ---- the end of a question ---- */
/* With the lock. */
static void release(look *l)
{
    struct rl_lookups *all = l->sync->lookups;
    rl_graph_page_free(&l->page);
    free(l);
    all->alive--;
    pthread_cond_broadcast(&all->changed);
}

/* Any thread. */
static void finish(look *l, look_result result)
{
    rl_sync *sync = l->sync;
    rl_metric_add(sync->lookups->results[result], 1);
    log_client_info("enroll.lookup", "source", rl_look_source(l->plan[l->at < l->n ? l->at : l->n - 1]), "name", l->id,
                    "result",
                    result == FOUND     ? "found"
                    : result == MISSING ? "missing"
                    : result == AWAY    ? "away"
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

static void say_why(look *l, const char *text)
{
    pthread_mutex_lock(&l->sync->lock);
    snprintf(l->why, sizeof(l->why), "%s", text);
    pthread_mutex_unlock(&l->sync->lock);
}

/* The loop has done its part. */
static void leave(look *l)
{
    struct rl_lookups *all = l->sync->lookups;
    take_out(&all->under_way, l);
    all->running[l->upstream]--;
}

/* ---- found ---- */
static const rl_graph_kind *kind_of(const look *l)
{
    switch (l->plan[l->at]) {
    case RL_LOOK_ENTRA_DEVICE:
        return &rl_entra_kinds[RL_ENTRA_DEVICE];
    case RL_LOOK_ENTRA_USER:
        return &rl_entra_kinds[RL_ENTRA_USER];
    case RL_LOOK_COMPUTER:
    case RL_LOOK_MOBILE_DEVICE:
        return rl_jamf_objects(rl_look_source(l->plan[l->at]));
    default:
        return &rl_intune_kinds[RL_INTUNE_DEVICE];
    }
}

/* What a source has learnt meanwhile may be newer. */
static rl_err put_new(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record known;
    rl_err err = rl_txn_object(t, job->kind->source, item->id, &known);
    if (err == RL_ENOTFOUND)
        return job->kind->put(t, job, item);
    if (err == RL_OK)
        rl_object_clear(&known);
    return err;
}

/* Writer thread. As a page of the source would, but for its cursor. A few certificates that have waited for this one
 * object are no mass change. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    look *l = arg;
    rl_page_job job = {.kind = kind_of(l),
                       .page = &l->page,
                       .settings = l->sync->settings,
                       .now = rl_wall_s(),
                       .next = {.generation = RL_GENERATION_LOOKED_UP}};
    rl_err err = RL_OK;
    rl_page_weigh(&job);
    job.weigher.worse = RL_WORSE_APPLY;
    for (size_t i = 0; err == RL_OK && i < l->page.n; i++)
        err = put_new(t, &job, &l->page.items[i]);
    rl_weigher_clear(&job.weigher);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "what was looked up cannot be stored: %s", rl_err_name(err));
}

/* Writer thread. */
static void applied(void *arg, rl_err err, const rl_error *e)
{
    if (err != RL_OK)
        say_why(arg, e->message);
    finish(arg, err == RL_OK ? FOUND : AWAY);
}

static void found(look *l)
{
    rl_sync *sync = l->sync;
    leave(l);
    if (rl_store_submit(sync->store, apply, applied, l) != RL_OK)
        finish(l, AWAY);
    go(sync);
}

/* ---- one question after the other ---- */
static const rl_sync_source *source_of(const look *l)
{
    const rl_sync *sync = l->sync;
    for (size_t i = 0; i < sync->n; i++)
        if (strcmp(sync->sources[i]->name, rl_look_source(l->plan[l->at])) == 0)
            return sync->sources[i]->needs ? NULL : sync->sources[i];
    return NULL;
}

/* Jamf Pro says 404 while it is upgraded, too, and to a version of its API that it does not have: asked only while its
 * source gets answers. */
static const char *must_not_ask(const look *l, const rl_sync_source *source)
{
    bool backs_off = source->state == RL_AT_BACKOFF;
    if (rl_mono_ms() >= l->deadline)
        return "it took too long";
    if (rl_mono_ms() < l->sync->lookups->hold_until[l->upstream] ||
        (backs_off && uv_now(&l->sync->loop) < source->hold_until))
        return "it has failed, or said when to be asked again";
    if (l->upstream == JAMF && (backs_off || source->status.last_success == 0))
        return "its source gets no answers";
    return NULL;
}

static void step(look *l)
{
    rl_sync *sync = l->sync;
    for (; l->at < l->n; l->at++) {
        const rl_sync_source *source = source_of(l);
        const char *why = source ? must_not_ask(l, source) : NULL;
        l->watched |= source != NULL;
        l->other = l->token_retried = false;
        if (source && !why) {
            ask(l);
            return;
        }
        if (why)
            say_why(l, why);
        l->away |= why != NULL;
    }
    leave(l);
    finish(l, l->away ? AWAY : l->watched ? MISSING : UNWATCHED);
    go(sync);
}

static void next_question(look *l)
{
    l->at++;
    step(l);
}

static void no_answer(look *l, const char *why, int64_t retry_after_ms)
{
    struct rl_lookups *all = l->sync->lookups;
    int64_t delay =
        rl_backoff(all->failures[l->upstream]++, BACKOFF_BASE_MS, l->sync->settings->sync.retry_max, retry_after_ms);
    all->hold_until[l->upstream] = rl_mono_ms() + (uint64_t)delay;
    say_why(l, why);
    l->away = true;
    next_question(l);
}

/* ---- answered ---- */
static void forget_jamf_token(struct rl_lookups *all)
{
    if (all->jamf_token)
        explicit_bzero(all->jamf_token, strlen(all->jamf_token));
    free(all->jamf_token);
    all->jamf_token = NULL;
}

static void answered_unauthorized(look *l)
{
    if (l->token_retried) {
        no_answer(l, "it answered 401 to a fresh token", -1);
        return;
    }
    l->token_retried = true;
    if (l->upstream == JAMF)
        forget_jamf_token(l->sync->lookups);
    else
        rl_token_drop(l->sync->token, l->token_number);
    ask(l);
}

static void answered_ok(look *l, rl_span body)
{
    rl_error e = {0};
    if (rl_look_read(l->sync->settings, l->plan[l->at], body, l->id, &l->page, &e) != RL_OK) {
        no_answer(l, e.message, -1);
        return;
    }
    l->sync->lookups->failures[l->upstream] = 0;
    if (l->page.n > 0) {
        found(l);
    } else {
        rl_graph_page_free(&l->page);
        next_question(l);
    }
}

/* A Graph that does not know a property answers 400. AADAndIntuneOpportunistic: 403 is no failure of Intune's while it
 * has never been read. */
static void on_answer(const rl_http_response *r, void *arg)
{
    look *l = arg;
    const rl_sync_source *source = source_of(l);
    char why[64];
    l->call = NULL;
    if (l->sync->closing) {
        leave(l);
        finish(l, AWAY);
    } else if (r->err != RL_OK) {
        no_answer(l, r->message, -1);
    } else if (r->status == 200) {
        answered_ok(l, r->body);
    } else if (r->status == 401) {
        answered_unauthorized(l);
    } else if (r->status == 404 && (l->upstream == JAMF || l->plan[l->at] == RL_LOOK_INTUNE_ID)) {
        next_question(l);
    } else if (r->status == 400 && l->upstream == GRAPH && !l->other) {
        l->other = true;
        ask(l);
    } else if (r->status == 403 && source && atomic_load(&source->without)) {
        next_question(l);
    } else {
        snprintf(why, sizeof(why), "it answered %ld", r->status);
        no_answer(l, why, r->retry_after_ms);
    }
}

/* ---- asking ---- */
static rl_duration time_left(const look *l)
{
    uint64_t now = rl_mono_ms();
    return now < l->deadline ? (rl_duration)(l->deadline - now) : 1;
}

static rl_err start_call(look *l, const char *token, rl_error *e)
{
    const rl_settings *settings = l->sync->settings;
    const rl_duration left = time_left(l);
    char request_id[RL_HTTP_REQUEST_ID];
    rl_buf url = {0};
    rl_http_request_id(request_id);
    const char *const headers[] = {"Accept: application/json", l->upstream == GRAPH ? request_id : NULL, NULL};
    rl_err err = l->upstream == JAMF ? rl_jamf_one_url(source_of(l), l->id, &url)
                                     : rl_look_url(settings, l->plan[l->at], l->other, l->id, &url);
    if (err == RL_OK) {
        const rl_http_call_options o = {
            .method = "GET",
            .url = (char *)url.p,
            .headers = headers,
            .bearer = token,
            .body_limit = ANSWER_MAX,
            .timeout = left,
            .connect_timeout = left < settings->sync.connect_timeout ? left : settings->sync.connect_timeout};
        err = rl_http_call_start(l->sync->client, &o, on_answer, l, &l->call, e);
    } else {
        rl_fail(e, err, "sync", "out of memory");
    }
    rl_buf_free(&url);
    return err;
}

/* The token is there, or those who wait for it are told why not. */
static void go_on_with_token(rl_sync *sync, unsigned upstream, const char *failure, int64_t retry_after_ms)
{
    for (look *l = sync->lookups->under_way, *next; l; l = next) {
        next = l->next;
        if (l->upstream != upstream || !l->waits_for_token)
            continue;
        l->waits_for_token = false;
        if (failure)
            no_answer(l, failure, retry_after_ms);
        else
            ask(l);
    }
}

void rl_lookups_token(rl_sync *sync, const rl_error *failure, int64_t retry_after_ms)
{
    go_on_with_token(sync, GRAPH, failure ? failure->message : NULL, retry_after_ms);
}

static void on_jamf_token(const rl_http_response *r, void *arg)
{
    rl_sync *sync = arg;
    struct rl_lookups *all = sync->lookups;
    rl_error e = {0};
    int64_t life;
    all->jamf_asking = false;
    if (sync->closing)
        return;
    forget_jamf_token(all);
    rl_err err = rl_jamf_token_read(sync->settings, r, rl_wall_s(), &all->jamf_token, &life, &e);
    if (err == RL_OK)
        all->jamf_until = rl_mono_ms() + (uint64_t)life * 800;
    go_on_with_token(sync, JAMF, err == RL_OK ? NULL : e.message, r->retry_after_ms);
}

static rl_err ask_for_jamf_token(rl_sync *sync, rl_error *e)
{
    rl_http_call *call;
    if (sync->lookups->jamf_asking)
        return RL_OK;
    rl_err err = rl_jamf_token_ask(sync->client, sync->settings, on_jamf_token, sync, &call, e);
    sync->lookups->jamf_asking = err == RL_OK;
    return err;
}

static const char *jamf_token(const struct rl_lookups *all)
{
    return rl_mono_ms() < all->jamf_until ? all->jamf_token : NULL;
}

static void ask(look *l)
{
    rl_sync *sync = l->sync;
    const bool jamf = l->upstream == JAMF;
    const char *token = jamf ? jamf_token(sync->lookups) : rl_token_text(sync->token, &l->token_number);
    rl_error e = {0};
    rl_err err;
    l->waits_for_token = !token;
    if (token)
        err = start_call(l, token, &e);
    else
        err = jamf ? ask_for_jamf_token(sync, &e) : rl_token_fetch(sync->token, &e);
    if (err == RL_OK)
        return;
    l->waits_for_token = false;
    no_answer(l, e.message, -1);
}

/* ---- the loop's side ---- */
static void go(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    if (all->going)
        return; /* it goes on with what has become free by that */
    all->going = true;
    for (look *l = all->queue, *next; l && !sync->closing; l = next) {
        next = l->next;
        if (all->running[l->upstream] == at_once[l->upstream])
            continue;
        take_out(&all->queue, l);
        append(&all->under_way, l);
        all->running[l->upstream]++;
        step(l);
        next = all->queue;
    }
    all->going = false;
}

void rl_lookups_wake(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    pthread_mutex_lock(&sync->lock);
    look *asked = all->asked;
    all->asked = NULL;
    pthread_mutex_unlock(&sync->lock);
    for (look *l = asked, *next; l; l = next) {
        next = l->next;
        append(&all->queue, l);
    }
    if (sync->closing)
        rl_lookups_close(sync);
    else
        go(sync);
}

void rl_lookups_close(rl_sync *sync)
{
    struct rl_lookups *all = sync->lookups;
    look *lists[] = {all->queue, all->under_way};
    all->queue = all->under_way = NULL;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (look *l = lists[i], *next; l; l = next) {
            next = l->next;
            finish(l, AWAY);
        }
}

rl_err rl_lookups_new(rl_sync *sync)
{
    static const char *const names[RESULTS] = {"found", "missing", "away", "off"};
    char labels[32];
    pthread_condattr_t monotonic;
    struct rl_lookups *all = calloc(1, sizeof(*all));
    if (!all)
        return RL_ENOMEM;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&all->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (size_t i = 0; i < RESULTS; i++) {
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
    forget_jamf_token(all);
    free(all);
    sync->lookups = NULL;
}

/* ---- the other threads' side ---- */
static bool has(rl_store *store, rl_source source, const char *id)
{
    rl_object_record r;
    if (rl_store_object(store, source, id, &r) != RL_OK)
        return false;
    rl_object_clear(&r);
    return true;
}

static bool is_known(rl_store *store, rl_source source, const char *id)
{
    return has(store, source, id) ||
           (source == RL_SOURCE_ENTRA_DEVICE_NAME &&
            (has(store, RL_SOURCE_INTUNE_DEVICE, id) || has(store, RL_SOURCE_INTUNE_DEVICE_NAME, id)));
}

static look *new_look(rl_sync *sync, rl_source source, const char *id)
{
    look *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->sync = sync;
    snprintf(l->id, sizeof(l->id), "%s", id);
    l->n = rl_look_plan(sync->settings, source, l->plan);
    l->upstream = l->n && rl_look_is_jamf(l->plan[0]) ? JAMF : GRAPH;
    l->deadline = rl_mono_ms() + (uint64_t)sync->settings->scep.lookup_timeout;
    return l;
}

/* With the lock: hands it to the loop, and waits until the deadline. What the loop has not done by then it does without
 * us. */
static look_result wait_for(look *l, char why[WHY_MAX])
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
    look_result result = l->ended ? l->result : AWAY;
    snprintf(why, WHY_MAX, "%s", l->ended ? l->why : "it took too long");
    l->left = true;
    if (l->ended)
        release(l);
    return result;
}

rl_err rl_sync_look_up(void *ctx, rl_source source, const char *id, rl_error *e)
{
    rl_sync *sync = ctx;
    char why[WHY_MAX] = "the server is stopping";
    look_result result = AWAY;
    if (!sync->running || is_known(sync->store, source, id))
        return RL_OK;
    look *l = new_look(sync, source, id);
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
    if (result == MISSING)
        return rl_fail(e, RL_EDENIED, "sync", "the directory has no %s", id);
    if (result == AWAY && sync->settings->scep.lookup == RL_LOOKUP_REQUIRE)
        return rl_fail(e, RL_ETIMEDOUT, "sync", "the directory cannot be asked now for %s: try again later (%s)", id,
                       why);
    return RL_OK;
}
