/* A round over pages of Microsoft Graph, a delta query's or a list's. Sync loop only, but for what is marked as the
 * writer's.
 *
 *   begin → ask → (token) → answered → commit → committed → answered … until the last page
 *
 * While the writer has a page, the next ones are fetched and read, and what there is of them by then is one
 * transaction: many objects cost the writer less together. It is submitted when the one before has run, and runs while
 * that is written; when one fails, what came behind it is forgotten, and the stored cursor tells where to go on.
 *
 * The effects of a page and the cursor behind it are one transaction, so wherever this stops, by failure or by a crash,
 * the next try goes on at the stored link. What an upstream says in an error changes no certificate. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/login.h"
#include "sync/ask.h"
#include "sync/graph.h"

/* Refusals (400, 404) after which a link of the upstream is given up, since not every expiry has a code of its own; and
 * failures of any kind, the last of which was an answer that there is no waiting for. */
enum { LINK_TRIES = 3, LINK_TRIES_MAX = 8 };
/* Objects of pages that are joined: other transactions wait for theirs. */
enum { JOINED_MAX = 4000 };

/* An answer of Graph. */
struct answer {
    bool waits; /* for the commit of the page before */
    rl_http_response http;
    char code[64]; /* of an error */
    char refusal[RL_ERROR_MESSAGE_MAX];
    rl_graph_page page;
    rl_err page_err; /* of reading it */
    rl_error page_error;
    bool circle; /* its link was seen in this round */
};

/* Pages of a round that follow one another, joined. */
struct pages {
    rl_graph_page page;
    unsigned n; /* of Graph's; 0: none */
};

/* A round: fetch a page, commit it, fetch the next, until the last. */
typedef struct graph_source {
    rl_sync_source base;
    const rl_graph_kind *kind;
    bool refusing; /* what is committed is that it may not be read */
    bool other;    /* its other path: Graph refused the first */

    rl_cursor_record cursor; /* as stored */
    bool cursor_read;
    char *link; /* being fetched */
    bool first; /* it is the initial request, not a link of the upstream */
    uint64_t generation;
    unsigned resyncs; /* since a round was completed */
    rl_trail trail;

    rl_http_call *call;
    uint64_t turn; /* monotonic ms: no request goes out before, when they are paced */
    unsigned token_number;
    bool token_retried; /* this request was repeated with a fresh token already */
    struct answer answer;

    struct pages ahead; /* read, to be committed next */
    struct pages pages; /* being committed */
    rl_page_job job;
} graph_source;

static void ask(graph_source *s);
static void begin(rl_sync_source *source);

/* ---- for all that is asked of Graph ---- */
rl_err rl_graph_url(const rl_settings *s, const char *path, char **out)
{
    return asprintf(out, "%s%s", s->azure.graph_url, path) < 0 ? RL_ENOMEM : RL_OK;
}

static void free_pages(struct pages *p)
{
    rl_graph_page_free(&p->page);
    p->n = 0;
}

/* ---- failing ---- */
/* What was fetched or is being fetched while the writer was busy. */
static void forget_answer(graph_source *s)
{
    if (s->call)
        rl_http_call_cancel(s->call);
    s->answer.waits = false;
    rl_graph_page_free(&s->answer.page);
    free_pages(&s->ahead);
}

/* An upstream that answers, but never what is of use behind this link: 500, or a page that is refused. */
static bool leads_nowhere(const graph_source *s)
{
    const rl_failure *f = &s->base.failure;
    return !s->first && s->base.attempts >= LINK_TRIES_MAX &&
           (f->kind == RL_FAILED_CONTENT || (f->kind == RL_FAILED_STATUS && f->status == 500));
}

static void fail(graph_source *s, int64_t retry_after_ms, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(graph_source *s, int64_t retry_after_ms, const char *fmt, ...)
{
    char message[RL_ERROR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    forget_answer(s);
    free_pages(&s->pages);
    s->base.restart |= leads_nowhere(s);
    rl_source_failed(&s->base, message, retry_after_ms);
}

/* Going on at the stored link would lead here again. */
static void fail_and_restart(graph_source *s, const char *message)
{
    s->base.restart = true;
    s->base.restarts++;
    fail(s, -1, "%s", message);
}

/* ---- begin ---- */
static rl_err set_text(char **to, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return RL_ENOMEM;
    free(*to);
    *to = copy;
    return RL_OK;
}

static void forget_cursor(graph_source *s)
{
    s->cursor_read = false;
    rl_cursor_clear(&s->cursor);
}

static rl_err read_cursor(graph_source *s)
{
    if (rl_source_recover(&s->base)) /* it tells of a page that is not stored */
        forget_cursor(s);
    if (s->cursor_read)
        return RL_OK;
    rl_err err = rl_store_cursor(s->base.sync->store, s->base.name, &s->cursor);
    if (err == RL_ENOTFOUND)
        err = RL_OK; /* all zero: never synced */
    s->cursor_read = err == RL_OK;
    return err;
}

static bool full_is_due(const graph_source *s)
{
    const rl_cursor_record *c = &s->cursor;
    if (s->base.restart || !c->link || !c->link[0])
        return true;
    if (!rl_http_same_origin(c->link, s->base.sync->settings->azure.graph_url))
        return true; /* the Graph URL was changed since */
    /* In the future: the clock was set back, and how old it is nobody knows. */
    int64_t age = rl_wall_s() - c->last_full;
    return c->complete && (age < 0 || age >= s->base.sync->settings->sync.full_interval / 1000);
}

static rl_err initial_link(graph_source *s)
{
    char *link = NULL;
    RL_TRY(rl_graph_url(s->base.sync->settings, s->other ? s->kind->other_path : s->kind->path, &link));
    free(s->link);
    s->link = link;
    return RL_OK;
}

/* A generation begins with each full round: objects it lists get its number, so those with an older one are gone. A
 * list that broke off begins again under the same number: what it listed before counts, so that an object which the
 * whole list leaves out was left out once, not twice. */
static uint64_t choose_generation(const graph_source *s)
{
    bool goes_on = s->kind->shape.listing && s->cursor.generation > 0 && !s->cursor.complete;
    return s->cursor.generation + (s->first && !goes_on);
}

static rl_err choose_round(graph_source *s)
{
    RL_TRY(read_cursor(s));
    s->first = full_is_due(s);
    s->base.full = s->first || (!s->cursor.complete && s->cursor.full);
    s->generation = choose_generation(s);
    s->base.objects = s->base.changed = 0;
    s->token_retried = false;
    RL_TRY(s->first ? initial_link(s) : set_text(&s->link, s->cursor.link));
    rl_trail_clear(&s->trail);
    return rl_trail_repeats(&s->trail, s->link) ? RL_ENOMEM : RL_OK;
}

static void begin(rl_sync_source *source)
{
    graph_source *s = (graph_source *)source;
    rl_err err = choose_round(s);
    if (err != RL_OK) {
        fail(s, -1, "the cursor cannot be read: %s", rl_err_name(err));
        return;
    }
    if (rl_graph_another_tenant(source, s->cursor.tenant))
        return;
    if (s->first)
        log_info("sync.full", "source", s->base.name, "generation", s->generation);
    ask(s);
}

/* ---- ask ---- */
static void on_response(const rl_http_response *r, void *arg);

static rl_err start_call(graph_source *s, const char *link, const char *token, rl_error *e)
{
    const rl_settings *settings = s->base.sync->settings;
    char id[RL_HTTP_REQUEST_ID];
    rl_http_request_id(id);
    const char *const headers[] = {"Accept: application/json", "Prefer: odata.maxpagesize=999", id, NULL};
    const rl_http_call_options o = {.method = "GET",
                                    .url = link,
                                    .headers = headers,
                                    .bearer = token,
                                    .body_limit = (size_t)settings->sync.page_limit,
                                    .timeout = settings->sync.request_timeout,
                                    .connect_timeout = settings->sync.connect_timeout};
    return rl_http_call_start(s->base.sync->client, &o, on_response, s, &s->call, e);
}

/* The distance is from an answer to the next request: so it is at least that where they arrive, too. */
static void end_turn(graph_source *s)
{
    if (s->kind->paced)
        s->turn = rl_mono_ms() + 1 + (uint64_t)s->base.sync->settings->sync.user_risk_pace;
}

static void on_turn(uv_timer_t *timer)
{
    ask(timer->data);
}

/* A request of an earlier round counts, too. */
static bool waits_for_turn(graph_source *s)
{
    uint64_t now = rl_mono_ms();
    if (now >= s->turn)
        return false;
    rl_source_enter(&s->base, RL_AT_PACE);
    uv_update_time(&s->base.sync->loop);
    uv_timer_start(&s->base.timer, on_turn, s->turn - now, 0);
    return true;
}

static void ask(graph_source *s)
{
    rl_error e = {0};
    rl_err err;
    if (waits_for_turn(s))
        return;
    const char *token = rl_token_text(s->base.sync->token, &s->token_number);
    if (token) {
        rl_source_enter(&s->base, RL_AT_FETCH);
        err = start_call(s, s->link, token, &e);
    } else {
        rl_source_enter(&s->base, RL_AT_TOKEN);
        err = rl_token_fetch(s->base.sync->token, &e);
    }
    if (err != RL_OK)
        fail(s, -1, "%s", e.message);
}

/* The page behind the last one that was read. Not without a token at hand, and a failure is none yet: then it is asked
 * for in its turn. */
static void ask_ahead(graph_source *s)
{
    const rl_graph_page *last = s->ahead.n ? &s->ahead.page : &s->pages.page;
    bool wanted = !s->call && !s->answer.waits && !last->complete && !s->kind->paced && s->ahead.page.n < JOINED_MAX;
    const char *token = wanted ? rl_token_text(s->base.sync->token, &s->token_number) : NULL;
    if (token)
        (void)start_call(s, last->link, token, NULL);
}

static void token(rl_sync_source *source, const rl_error *failure, int64_t retry_after_ms)
{
    graph_source *s = (graph_source *)source;
    if (failure)
        fail(s, retry_after_ms, "%s", failure->message);
    else
        ask(s);
}

/* ---- answered ---- */
static void take_page(graph_source *s);

/* The token was revoked or ran out on the way: the same request once more with a new one. */
static void answered_unauthorized(graph_source *s)
{
    rl_token_drop(s->base.sync->token, s->token_number);
    if (s->token_retried) {
        fail(s, -1, "Graph answered 401 to a fresh token");
        return;
    }
    s->token_retried = true;
    ask(s);
}

/* The upstream no longer knows the place our link stands for. */
static bool lost_its_place(const graph_source *s, long status, const char *code)
{
    if (s->first || status == 429)
        return false;
    return status == 410 || (status >= 400 && status < 500 &&
                             (strcasecmp(code, "syncStateNotFound") == 0 || strcasecmp(code, "resyncRequired") == 0));
}

/* Compare all from the start: at once the first time, with back-off when it does not help. */
static void answered_lost(graph_source *s, long status, const char *code)
{
    char message[160];
    snprintf(message, sizeof(message), "Graph answered %ld %s: it lost our place, comparing all from the start", status,
             code);
    if (s->resyncs++ > 0) {
        fail_and_restart(s, message);
        return;
    }
    log_warn("sync.resync", "source", s->base.name, "status", status, "code", code);
    s->base.restart = true;
    begin(&s->base);
}

/* A property that this version of Graph does not have is refused with 400, one that it keeps elsewhere with 501: the
 * other version is asked from now on, unless it does no better. */
static bool is_unknown(long status)
{
    return status == 400 || status == 501;
}

static void answered_unknown(graph_source *s)
{
    s->other = !s->other;
    if (!s->other) {
        if (s->kind->opportunistic) /* it is Intune's */
            s->base.failure.own =
                "Without a licence for Intune a tenant has no managed devices, and Graph says so by 400: "
                "set REVLINE_DEVICE_DIRECTORY=AAD. Otherwise look at the service health of Intune.";
        fail(s, -1, "%s (in both its versions)", s->answer.refusal);
        return;
    }
    if (initial_link(s) != RL_OK)
        fail(s, -1, "out of memory");
    else
        ask(s);
}

/* An application that never had the permission: what else is watched is enough. One that has lost it fails. */
static bool may_do_without(const graph_source *s)
{
    return s->kind->opportunistic && s->base.sync->settings->rules.directory == RL_DIRECTORY_OPPORTUNISTIC &&
           s->cursor.last_success == 0;
}

static void done_without(graph_source *s)
{
    s->base.full = false;
    s->base.attempts = 0;
    rl_source_done(&s->base, 0);
}

/* The first list of all managed devices: from then on other rules apply. Not under all settings, and to weigh every
 * certificate takes a while. */
static bool counts_from_now_on(const graph_source *s)
{
    return may_do_without(s) || (s->kind->opportunistic && s->cursor.last_success == 0 &&
                                 s->base.sync->settings->rules.compliance == RL_CHECK_ALWAYS);
}

/* Writer thread. */
static rl_err store_refusal(rl_store_txn *t, void *arg, rl_error *e)
{
    graph_source *s = arg;
    rl_cursor_record c = s->cursor; /* strings stay the source's */
    c.refused = true;
    rl_err err = rl_txn_put_cursor(t, s->base.name, &c);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "the cursor cannot be stored: %s", rl_err_name(err));
}

/* From then on new devices are judged without it: the guard looks for them. */
static void refusal_stored(graph_source *s)
{
    s->refusing = false;
    s->cursor.refused = true;
    rl_guard_wake(s->base.sync);
    done_without(s);
}

static void do_without(graph_source *s)
{
    if (!atomic_exchange(&s->base.without, true))
        log_info("sync.without", "source", s->base.name, "permission", s->kind->permission);
    s->refusing = !s->cursor.refused;
    if (!s->refusing)
        done_without(s);
    else if (rl_source_commit(&s->base, store_refusal) != RL_OK)
        fail(s, -1, "the database takes no more writes");
}

static void answered_error(graph_source *s, const rl_http_response *r)
{
    const char *code = s->answer.code;
    if (r->status == 401)
        answered_unauthorized(s);
    else if (lost_its_place(s, r->status, code))
        answered_lost(s, r->status, code);
    else if (is_unknown(r->status) && s->first && s->kind->other_path)
        answered_unknown(s);
    else if (r->status == 403 && may_do_without(s))
        do_without(s);
    else if (!s->first && s->base.attempts >= LINK_TRIES && (r->status == 400 || r->status == 404))
        fail_and_restart(s, "Graph refuses the link again and again: comparing all from the start");
    else
        fail(s, r->retry_after_ms, "%s", s->answer.refusal);
}

static void answered(graph_source *s)
{
    const rl_http_response *r = &s->answer.http;
    s->answer.waits = false;
    rl_source_answered(&s->base, r);
    if (r->err != RL_OK)
        fail(s, -1, "Graph cannot be asked: %s", r->message);
    else if (r->status != 200)
        answered_error(s, r);
    else
        take_page(s);
}

static void read_answer(graph_source *s, const rl_http_response *r)
{
    const rl_settings *settings = s->base.sync->settings;
    s->answer = (struct answer){.waits = true, .http = *r};
    if (r->err == RL_OK && r->status == 200) {
        s->answer.page_err = rl_graph_page_parse(r->body, (size_t)settings->sync.page_limit, &s->kind->shape,
                                                 settings->azure.graph_url, &s->answer.page, &s->answer.page_error);
        if (s->answer.page_err == RL_OK && !s->answer.page.complete)
            s->answer.circle = rl_trail_repeats(&s->trail, s->answer.page.link);
    } else if (r->err == RL_OK) {
        rl_graph_error_code(r->body, s->answer.code, sizeof(s->answer.code));
        rl_graph_refusal(&s->base, r, s->answer.refusal);
    }
    s->answer.http.body = (rl_span){0}; /* gone with the call */
    s->answer.http.call = NULL;
}

static bool is_page(const struct answer *a)
{
    return a->waits && a->http.err == RL_OK && a->http.status == 200 && a->page_err == RL_OK && !a->circle;
}

/* An answer that is a page joins those that were read ahead, as long as they are not too many; any other waits. The
 * round's last page is a transaction of its own: what the brake does with it must not depend on who was quicker. */
static void join_ahead(graph_source *s)
{
    struct answer *a = &s->answer;
    if (!is_page(a) || (s->ahead.n && (a->page.complete || s->ahead.page.n + a->page.n > JOINED_MAX)))
        return;
    if (s->ahead.n == 0) {
        s->ahead.page = a->page;
        a->page = (rl_graph_page){0};
    } else if (rl_graph_page_join(&s->ahead.page, &a->page) != RL_OK) {
        return;
    }
    s->ahead.n++;
    a->waits = false;
}

static void on_response(const rl_http_response *r, void *arg)
{
    graph_source *s = arg;
    s->call = NULL;
    if (s->base.sync->closing || r->err == RL_ECANCELED)
        return;
    end_turn(s);
    read_answer(s, r);
    if (s->base.state != RL_AT_COMMIT) {
        answered(s);
        return;
    }
    join_ahead(s);
    ask_ahead(s);
}

/* ---- the page ---- */
/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    graph_source *s = arg;
    if (rl_source_is_lost(&s->base))
        return rl_fail(e, RL_EIO, "sync", "the page before could not be stored");
    rl_err err = rl_page_apply(t, &s->job, e);
    if (err == RL_OK && !s->job.next.complete) /* the last one says that all are there */
        rl_source_has_run(&s->base, s->pages.n, s->pages.page.n, s->job.changed);
    return err;
}

static void submit(graph_source *s)
{
    rl_err err = rl_source_commit(&s->base, apply);
    if (err != RL_OK)
        fail(s, -1, "the database takes no more writes: %s", rl_err_name(err));
    else
        ask_ahead(s);
}

static void commit(graph_source *s)
{
    int64_t now = rl_wall_s();
    const rl_graph_page *page = &s->pages.page;
    bool complete = page->complete;
    s->job = (rl_page_job){.kind = s->kind, .page = page, .settings = s->base.sync->settings, .now = now};
    s->job.one_page = s->first && complete;
    s->job.next = (rl_cursor_record){.link = (char *)(uintptr_t)(page->link ? page->link : ""),
                                     .full = s->base.full,
                                     .complete = complete,
                                     .tenant = s->base.sync->settings->azure.tenant_id,
                                     .generation = s->generation,
                                     .last_success = complete ? now : s->cursor.last_success,
                                     .last_full = complete && s->base.full ? now : s->cursor.last_full,
                                     .leaving = s->cursor.leaving};
    submit(s);
}

static void take_page(graph_source *s)
{
    if (s->answer.page_err != RL_OK) {
        fail(s, -1, "Graph's page is refused: %s", s->answer.page_error.message);
        return;
    }
    if (s->answer.circle) {
        fail_and_restart(s, "Graph's page is refused: the round's links go in a circle");
        return;
    }
    s->pages = (struct pages){s->answer.page, 1};
    s->answer.page = (rl_graph_page){0};
    commit(s);
}

/* Those that were read while the writer was busy. */
static void take_ahead(graph_source *s)
{
    const rl_http_response page = {.err = RL_OK, .status = 200};
    for (unsigned i = 0; i < s->ahead.n; i++)
        rl_source_answered(&s->base, &page);
    s->pages = s->ahead;
    s->ahead = (struct pages){0};
    if (s->answer.waits)
        join_ahead(s); /* it was one too many */
    commit(s);
}

/* ---- committed ---- */
static rl_err move_on(graph_source *s)
{
    char *link = strdup(s->job.next.link), *tenant = strdup(s->job.next.tenant);
    if (!link || !tenant) {
        free(link);
        free(tenant);
        return RL_ENOMEM;
    }
    rl_cursor_clear(&s->cursor);
    s->cursor = s->job.next;
    s->cursor.link = link;
    s->cursor.tenant = tenant;
    s->base.restart = s->first = s->token_retried = false;
    s->base.attempts = 0;
    return set_text(&s->link, link);
}

static void log_page(const graph_source *s)
{
    const rl_graph_page *page = &s->pages.page;
    if (page->n > 0 || !page->complete)
        log_info("sync.page", "source", s->base.name, "pages", s->pages.n, "objects", page->n, "changed",
                 s->job.changed, "full", s->base.full);
    else
        log_debug("sync.page", "source", s->base.name, "pages", s->pages.n, "objects", page->n, "changed",
                  s->job.changed, "full", s->base.full);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    graph_source *s = (graph_source *)source;
    if (s->refusing && err == RL_OK) {
        refusal_stored(s);
        return;
    }
    if (err != RL_OK) {
        if (s->job.empty && !s->refusing) {
            s->base.failure.own = rl_empty_advice;
            fail_and_restart(s, e->message);
        } else {
            fail(s, -1, "%s", e->message);
        }
        return;
    }
    if (s->job.next.complete) /* or they are counted when they are written */
        rl_source_count(&s->base, s->job.more ? 0 : s->pages.n, s->job.more ? 0 : s->pages.page.n, s->job.changed);
    if (s->job.due)
        rl_guard_wake(s->base.sync);
    if (s->job.more) {
        submit(s);
        return;
    }
    log_page(s);
    rl_count_skipped(s->base.name, s->job.skipped);
    atomic_store(&s->base.without, false);
    if (s->pages.page.complete && counts_from_now_on(s))
        rl_sync_wake(s->base.sync, "reweigh", true);
    err = move_on(s);
    free_pages(&s->pages);
    if (err != RL_OK) {
        forget_cursor(s); /* the stored one is the truth */
        fail(s, -1, "out of memory");
    } else if (s->cursor.complete) {
        s->resyncs = s->base.restarts = 0;
        s->base.again = s->job.missing > 0;
        rl_source_done(&s->base, s->cursor.last_success);
    } else if (s->ahead.n) {
        take_ahead(s);
    } else if (s->answer.waits) {
        answered(s);
    } else if (s->call) {
        rl_source_enter(&s->base, RL_AT_FETCH);
    } else {
        ask(s);
    }
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    graph_source *s = (graph_source *)source;
    rl_cursor_clear(&s->cursor);
    free_pages(&s->pages);
    free_pages(&s->ahead);
    rl_graph_page_free(&s->answer.page);
    free(s->link);
    rl_trail_clear(&s->trail);
    free(s);
}

rl_err rl_graph_add(rl_sync *sync, const rl_graph_kind *graph_kind, rl_duration interval, const char *needs)
{
    static const rl_source_kind kind = {.begin = begin, .token = token, .committed = committed, .free = free_source};
    graph_source *s = calloc(1, sizeof(*s));
    if (!s)
        return RL_ENOMEM;
    s->kind = graph_kind;
    s->base.kind = &kind;
    s->base.interval = interval;
    s->base.needs = needs ? needs : rl_login_missing(sync->settings);
    s->base.governs = graph_kind->governs;
    s->base.upstream = RL_UPSTREAM_GRAPH;
    s->base.permission = graph_kind->permission;
    snprintf(s->base.name, sizeof(s->base.name), "%s", graph_kind->name);
    return rl_source_add(sync, &s->base);
}
