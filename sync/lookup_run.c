/* Direct questions: one after the other of a plan, until an answer finds the object. Sync loop, but for what is marked
 * as the writer's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "sync/apply.h"
#include "sync/jamf_token.h"
#include "sync/lookup_priv.h"

enum { ANSWER_MAX = 1024 * 1024, BACKOFF_BASE_MS = 1000 };

static void ask(rl_look *l);

/* ---- found ---- */
static const rl_graph_kind *kind_of(const rl_look *l)
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
    rl_look *l = arg;
    rl_page_job job = {.kind = kind_of(l),
                       .page = &l->page,
                       .settings = l->sync->settings,
                       .now = rl_wall_s(),
                       .next = {.generation = RL_GENERATION_LOOKED_UP}};
    rl_page_weigh(&job);
    job.weigher.worse = RL_WORSE_APPLY;
    rl_err err = rl_page_items(t, &job, put_new);
    rl_weigher_clear(&job.weigher);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "what was looked up cannot be stored: %s", rl_err_name(err));
}

/* Writer thread. */
static void applied(void *arg, rl_err err, const rl_error *e)
{
    if (err != RL_OK)
        rl_look_say_why(arg, e->message);
    rl_look_finish(arg, err == RL_OK ? RL_LOOKED_FOUND : RL_LOOKED_AWAY);
}

static void found(rl_look *l)
{
    rl_sync *sync = l->sync;
    rl_look_leave(l);
    if (rl_store_submit(sync->store, apply, applied, l) != RL_OK)
        rl_look_finish(l, RL_LOOKED_AWAY);
    rl_lookups_go(sync);
}

/* ---- one question after the other ---- */
static const rl_sync_source *source_of(const rl_look *l)
{
    const rl_sync *sync = l->sync;
    for (size_t i = 0; i < sync->n; i++)
        if (strcmp(sync->sources[i]->name, rl_look_source(l->plan[l->at])) == 0)
            return sync->sources[i]->needs ? NULL : sync->sources[i];
    return NULL;
}

/* Jamf Pro says 404 while it is upgraded, too, and to a version of its API that it does not have: asked only while its
 * source gets answers. */
static const char *must_not_ask(const rl_look *l, const rl_sync_source *source)
{
    bool backs_off = source->state == RL_AT_BACKOFF;
    if (rl_mono_ms() >= l->deadline)
        return "it took too long";
    if (rl_mono_ms() < l->sync->lookups->hold_until[l->plan[l->at]] ||
        (backs_off && uv_now(&l->sync->loop) < source->hold_until))
        return "it has failed, or said when to be asked again";
    if (l->upstream == RL_UPSTREAM_JAMF &&
        (backs_off || source->status.last_success == 0 || !rl_jamf_knows_version(source)))
        return "its source gets no answers";
    return NULL;
}

void rl_look_step(rl_look *l)
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
            rl_look_say_why(l, why);
        l->away |= why != NULL;
    }
    rl_look_leave(l);
    rl_look_finish(l, l->away ? RL_LOOKED_AWAY : l->watched ? RL_LOOKED_MISSING : RL_LOOKED_OFF);
    rl_lookups_go(sync);
}

static void next_question(rl_look *l)
{
    l->at++;
    rl_look_step(l);
}

static void no_answer(rl_look *l, const char *why, int64_t retry_after_ms)
{
    struct rl_lookups *all = l->sync->lookups;
    const rl_look_kind kind = l->plan[l->at];
    int64_t delay =
        rl_backoff(all->failures[kind]++, BACKOFF_BASE_MS, l->sync->settings->sync.retry_max, retry_after_ms);
    all->hold_until[kind] = rl_mono_ms() + (uint64_t)delay;
    rl_look_say_why(l, why);
    l->away = true;
    next_question(l);
}

/* ---- answered ---- */
void rl_lookups_forget_token(struct rl_lookups *all)
{
    if (all->jamf_token)
        explicit_bzero(all->jamf_token, strlen(all->jamf_token));
    free(all->jamf_token);
    all->jamf_token = NULL;
}

static void answered_unauthorized(rl_look *l)
{
    if (l->token_retried) {
        no_answer(l, "it answered 401 to a fresh token", -1);
        return;
    }
    l->token_retried = true;
    if (l->upstream == RL_UPSTREAM_JAMF)
        rl_lookups_forget_token(l->sync->lookups);
    else
        rl_token_drop(l->sync->token, l->token_number);
    ask(l);
}

static void missing(rl_look *l)
{
    l->sync->lookups->failures[l->plan[l->at]] = 0;
    rl_graph_page_free(&l->page);
    next_question(l);
}

static void answered_ok(rl_look *l, rl_span body)
{
    rl_error e = {0};
    if (rl_look_read(l->sync->settings, l->plan[l->at], body, l->id, &l->page, &e) != RL_OK) {
        no_answer(l, e.message, -1);
        return;
    }
    if (l->page.n == 0) {
        missing(l);
        return;
    }
    l->sync->lookups->failures[l->plan[l->at]] = 0;
    found(l);
}

/* A Graph that does not know a property answers 400 or 501. AADAndIntuneOpportunistic: 403 is no failure of Intune's
 * while it has never been read. */
static void on_answer(const rl_http_response *r, void *arg)
{
    rl_look *l = arg;
    const rl_sync_source *source = source_of(l);
    char why[64];
    l->call = NULL;
    if (l->sync->closing) {
        rl_look_leave(l);
        rl_look_finish(l, RL_LOOKED_AWAY);
    } else if (r->err != RL_OK) {
        no_answer(l, r->message, -1);
    } else if (r->status == 200) {
        answered_ok(l, r->body);
    } else if (r->status == 401) {
        answered_unauthorized(l);
    } else if (r->status == 404 && (l->upstream == RL_UPSTREAM_JAMF || l->plan[l->at] == RL_LOOK_INTUNE_ID)) {
        missing(l);
    } else if ((r->status == 400 || r->status == 501) && l->upstream == RL_UPSTREAM_GRAPH && !l->other) {
        l->other = true;
        ask(l);
    } else if (r->status == 403 && source && atomic_load(&source->without)) {
        missing(l);
    } else {
        snprintf(why, sizeof(why), "it answered %ld", r->status);
        no_answer(l, why, r->retry_after_ms);
    }
}

/* ---- asking ---- */
static rl_duration time_left(const rl_look *l)
{
    uint64_t now = rl_mono_ms();
    return now < l->deadline ? (rl_duration)(l->deadline - now) : 1;
}

static rl_err start_call(rl_look *l, const char *token, rl_error *e)
{
    const rl_settings *settings = l->sync->settings;
    const rl_duration left = time_left(l);
    char request_id[RL_HTTP_REQUEST_ID];
    rl_buf url = {0};
    rl_http_request_id(request_id);
    const char *const headers[] = {"Accept: application/json", l->upstream == RL_UPSTREAM_GRAPH ? request_id : NULL,
                                   NULL};
    rl_err err = l->upstream == RL_UPSTREAM_JAMF ? rl_jamf_one_url(source_of(l), l->id, &url)
                                                 : rl_look_url(settings, l->plan[l->at], l->other, l->id, &url);
    if (err == RL_OK) {
        const rl_http_call_options o = {
            .method = "GET",
            .url = (char *)url.p,
            .headers = headers,
            .bearer = token,
            .body_limit = ANSWER_MAX,
            .cookies = l->upstream == RL_UPSTREAM_JAMF,
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
    for (rl_look *l = sync->lookups->under_way, *next; l; l = next) {
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
    go_on_with_token(sync, RL_UPSTREAM_GRAPH, failure ? failure->message : NULL, retry_after_ms);
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
    rl_lookups_forget_token(all);
    rl_err err = rl_jamf_token_read(sync->settings, r, rl_wall_s(), &all->jamf_token, &life, &e);
    if (err == RL_OK)
        all->jamf_until = rl_mono_ms() + (uint64_t)life * 800;
    go_on_with_token(sync, RL_UPSTREAM_JAMF, err == RL_OK ? NULL : e.message, r->retry_after_ms);
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

static void ask(rl_look *l)
{
    rl_sync *sync = l->sync;
    const bool jamf = l->upstream == RL_UPSTREAM_JAMF;
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
