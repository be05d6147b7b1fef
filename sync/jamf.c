/* Jamf Pro's computers, mobile devices and users, listed whole in every round: it has no query for changes.
 *
 *   begin → (token) → page → commit → page → commit … → what is missing, one by one → one that is there → commit
 *
 * What a complete listing leaves out is not gone by that: pages shift while objects come and go, and listings have
 * faults. Each is asked for by its number, and 404 says that it is gone. But an upgrade, a lost permission and a proxy
 * that is wrong say 404, too. So these answers count only if the same path still has an object of the listing after
 * them; then all that is gone is deleted in one transaction. Whatever else is answered, or breaks off the round,
 * deletes nothing, and the next round begins from the start.
 *
 * Sync loop only, but for the job, which is the writer's while it commits. Each source has a token of its own. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "sync/jamf_apply.h"
#include "sync/jamf_token.h"
#include "sync/source.h"

enum { PAGE_SIZE = 1000, PAGES_MAX = 10000, PUT_AT_ONCE = 1000, UNCLEAR_MAX = 10 };

/* Which objects: one row per source. */
typedef struct jamf_kind {
    rl_graph_kind objects;
    rl_jamf_shape shape;
    const char *collection;               /* the last part of its path */
    const char *query;                    /* more of the listing's query */
    unsigned first_version, last_version; /* of the Jamf Pro API, in which it may be; 0: it is in the Classic API */
    const char *privilege;                /* that Jamf Pro wants for it */
} jamf_kind;

typedef struct jamf_source {
    rl_sync_source base;
    const jamf_kind *kind;
    unsigned version;   /* of the API that is asked */
    bool version_found; /* the collection is in it */
    rl_cursor_record cursor;
    bool cursor_read;

    char *token;
    uint64_t token_until; /* monotonic ms: a new one from then on */
    bool token_retried;   /* this request was repeated with a fresh token already */

    /* The round. */
    enum { ASK_PAGE, ASK_MISSING, ASK_THERE } step;
    uint64_t generation, listed;
    size_t page_number;
    bool complete;               /* the page is the last */
    char first[RL_JAMF_ID_SIZE]; /* item of the page */
    char there[RL_JAMF_ID_SIZE]; /* an object that was listed */
    char after[RL_JAMF_ID_SIZE]; /* see the job */
    size_t asked;                /* of what is missing: the one at hand */
    size_t unclear;              /* of those asked: what was answered is neither 200 nor 404 */

    rl_http_call *call;
    rl_graph_page page;
    size_t at;          /* its items before it are in the database */
    rl_graph_page part; /* the ones of the transaction, borrowed */
    rl_jamf_job job;
} jamf_source;

static void ask(jamf_source *s);

/* ---- failing ---- */
static void forget_token(jamf_source *s)
{
    if (s->token)
        explicit_bzero(s->token, strlen(s->token));
    free(s->token);
    s->token = NULL;
}

static void fail(jamf_source *s, int64_t retry_after_ms, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(jamf_source *s, int64_t retry_after_ms, const char *fmt, ...)
{
    char message[RL_ERROR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    rl_graph_page_free(&s->page);
    rl_source_failed(&s->base, message, retry_after_ms);
}

/* ---- begin ---- */
static rl_err read_cursor(jamf_source *s)
{
    if (s->cursor_read)
        return RL_OK;
    rl_err err = rl_store_cursor(s->base.sync->store, s->base.name, &s->cursor);
    if (err == RL_ENOTFOUND)
        err = RL_OK; /* all zero: never synced */
    s->cursor_read = err == RL_OK;
    return err;
}

/* Each server counts its objects for itself: the numbers of another mean other machines. One that has moved is the
 * same; its new address is stored with the next page. */
static bool is_another_server(jamf_source *s)
{
    const rl_settings *settings = s->base.sync->settings;
    if (s->cursor.tenant && settings->jamf.former_url[0] &&
        strcasecmp(s->cursor.tenant, settings->jamf.former_url) == 0) {
        free(s->cursor.tenant);
        s->cursor.tenant = NULL;
    }
    return s->cursor.tenant && strcasecmp(s->cursor.tenant, settings->jamf.url) != 0;
}

static void begin(rl_sync_source *source)
{
    jamf_source *s = (jamf_source *)source;
    rl_err err = read_cursor(s);
    if (err != RL_OK) {
        fail(s, -1, "the cursor cannot be read: %s", rl_err_name(err));
        return;
    }
    if (is_another_server(s)) {
        source->failure.own =
            "If it is the same Jamf Pro, with the same numbers, under another address, name the one before in "
            "REVLINE_JAMF_FORMER_URL. Else set REVLINE_JAMF_URL back, or begin with a new data folder.";
        fail(s, -1, "the stored objects are those of %s and REVLINE_JAMF_URL is %s: a data folder follows one server",
             s->cursor.tenant, source->sync->settings->jamf.url);
        return;
    }
    source->full = true;
    source->objects = source->changed = 0;
    s->generation = s->cursor.generation + 1;
    s->step = ASK_PAGE;
    s->page_number = 0;
    s->listed = 0;
    s->unclear = 0;
    s->first[0] = s->there[0] = 0;
    s->token_retried = false;
    ask(s);
}

/* ---- ask ---- */
static rl_err put_collection(const jamf_source *s, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "%s", s->base.sync->settings->jamf.url));
    if (s->version)
        return rl_buf_printf(out, "/api/v%u/%s", s->version, s->kind->collection);
    return rl_buf_printf(out, "/JSSResource/%s", s->kind->collection);
}

bool rl_jamf_knows_version(const rl_sync_source *source)
{
    return ((const jamf_source *)source)->version_found;
}

rl_err rl_jamf_one_url(const rl_sync_source *source, const char *id, rl_buf *out)
{
    const jamf_source *s = (const jamf_source *)source;
    RL_TRY(put_collection(s, out));
    RL_TRY(rl_buf_printf(out, "%s/%s", s->version ? "" : "/id", id));
    return rl_buf_append(out, "", 1);
}

static rl_err put_url(const jamf_source *s, rl_buf *out)
{
    const jamf_kind *kind = s->kind;
    if (s->step != ASK_PAGE)
        return rl_jamf_one_url(&s->base, s->step == ASK_MISSING ? s->job.missing[s->asked].id : s->there, out);
    RL_TRY(put_collection(s, out));
    if (kind->shape.counted)
        RL_TRY(rl_buf_printf(out, "?page=%zu&page-size=%d&sort=id:asc%s", s->page_number, PAGE_SIZE, kind->query));
    return rl_buf_append(out, "", 1);
}

static void on_answer(const rl_http_response *r, void *arg);
static void on_token(const rl_http_response *r, void *arg);

static void ask_with_token(jamf_source *s)
{
    static const char *const headers[] = {"Accept: application/json", NULL};
    const rl_settings *settings = s->base.sync->settings;
    rl_buf url = {0};
    rl_error e = {.message = "out of memory"};
    rl_err err = put_url(s, &url);
    if (err == RL_OK) {
        const rl_http_call_options o = {.method = "GET",
                                        .url = (char *)url.p,
                                        .headers = headers,
                                        .bearer = s->token,
                                        .body_limit = (size_t)settings->sync.page_limit,
                                        .cookies = true,
                                        .timeout = settings->sync.request_timeout,
                                        .connect_timeout = settings->sync.connect_timeout};
        err = rl_http_call_start(s->base.sync->client, &o, on_answer, s, &s->call, &e);
    }
    rl_buf_free(&url);
    if (err != RL_OK)
        fail(s, -1, "%s", e.message);
}

static void ask(jamf_source *s)
{
    rl_error e = {0};
    rl_source_enter(&s->base, RL_AT_FETCH);
    if (s->token && rl_mono_ms() < s->token_until)
        ask_with_token(s);
    else if (rl_jamf_token_ask(s->base.sync->client, s->base.sync->settings, on_token, s, &s->call, &e) != RL_OK)
        fail(s, -1, "%s", e.message);
}

/* Refreshed after 80 % of its life; good for one request in any case. */
static void on_token(const rl_http_response *r, void *arg)
{
    jamf_source *s = arg;
    rl_error e = {0};
    int64_t life;
    s->call = NULL;
    if (s->base.sync->closing)
        return;
    rl_source_answered(&s->base, r);
    forget_token(s);
    if (rl_jamf_token_read(s->base.sync->settings, r, rl_wall_s(), &s->token, &life, &e) != RL_OK) {
        if (r->err == RL_OK && (r->status == 400 || r->status == 401))
            s->base.failure.kind = RL_FAILED_LOGIN;
        fail(s, r->retry_after_ms, "%s", e.message);
        return;
    }
    s->token_until = rl_mono_ms() + (uint64_t)life * 800;
    ask_with_token(s);
}

/* ---- the round's end ---- */
static void finish(jamf_source *s, size_t gone)
{
    rl_jamf_job *job = &s->job;
    if (job->n > 0)
        log_info("sync.missing", "source", s->base.name, "asked", job->n, "gone", gone, "unclear", s->unclear, "more",
                 job->more);
    snprintf(s->after, sizeof(s->after), "%s", job->n == RL_JAMF_ASKED_MAX ? job->missing[job->n - 1].id : "");
    s->base.again = job->more && gone > 0;
    s->base.attempts = s->base.restarts = 0;
    s->base.restart = false;
    rl_source_done(&s->base, s->cursor.last_success);
}

static size_t count_gone(const jamf_source *s)
{
    size_t gone = 0;
    for (size_t i = 0; i < s->job.n; i++)
        gone += s->job.missing[i].gone;
    return gone;
}

/* ---- asked by number ---- */
static void commit(jamf_source *s, rl_store_apply apply);

/* Writer thread. */
static rl_err bury(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_jamf_bury(t, &((jamf_source *)arg)->job, e);
}

/* If none is gone, what rounds before have found to be is complete by that, and still to be settled. */
static void ask_next(jamf_source *s)
{
    if (s->asked < s->job.n) {
        s->step = ASK_MISSING;
        ask(s);
    } else if (count_gone(s) > 0) {
        s->step = ASK_THERE;
        ask(s);
    } else if (s->job.n > 0) {
        commit(s, bury);
    } else {
        finish(s, 0);
    }
}

/* Of one number: about a record that is broken, or that the account may not see. Of each of them: about the server. */
static bool is_about_one(const jamf_source *s, long status)
{
    return (status == 400 || status == 403 || status == 500) && s->unclear < UNCLEAR_MAX && s->unclear + 1 < s->job.n;
}

/* One that is not answered for is there, as far as is known, and keeps nobody from finding out what is gone. */
static void answered_missing(jamf_source *s, const rl_http_response *r)
{
    if (r->status != 200 && r->status != 404 && !is_about_one(s, r->status)) {
        fail(s, r->retry_after_ms, "Jamf Pro answered %ld when it was asked for number %s", r->status,
             s->job.missing[s->asked].id);
        return;
    }
    s->unclear += r->status != 200 && r->status != 404;
    s->job.missing[s->asked++].gone = r->status == 404;
    ask_next(s);
}

static void commit(jamf_source *s, rl_store_apply apply)
{
    s->job.page.now = rl_wall_s();
    rl_err err = rl_source_commit(&s->base, apply);
    if (err != RL_OK)
        fail(s, -1, "the database takes no more writes: %s", rl_err_name(err));
}

static void answered_there(jamf_source *s, const rl_http_response *r)
{
    json_t *root = NULL;
    bool there = r->status == 200 &&
                 rl_json_parse(r->body, (size_t)s->base.sync->settings->sync.page_limit, &root, NULL) == RL_OK &&
                 json_is_object(root);
    json_decref(root);
    if (there)
        commit(s, bury);
    else
        fail(s, r->retry_after_ms,
             "Jamf Pro does not find number %s (%ld), which it has just listed: nothing counts as deleted", s->there,
             r->status);
}

/* ---- a page ---- */
/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_page_apply(t, &((jamf_source *)arg)->job.page, e);
}

/* The whole of a large page would keep the writer from others. */
static void commit_part(jamf_source *s)
{
    size_t left = s->page.n - s->at;
    int64_t now = rl_wall_s();
    s->part = (rl_graph_page){.items = s->page.items + s->at, .n = left < PUT_AT_ONCE ? left : PUT_AT_ONCE};
    bool complete = s->complete && s->part.n == left;
    s->job.page = (rl_page_job){.kind = &s->kind->objects, .page = &s->part, .settings = s->base.sync->settings};
    s->job.page.next = (rl_cursor_record){.full = true,
                                          .complete = complete,
                                          .tenant = s->cursor.tenant,
                                          .generation = s->generation,
                                          .last_success = complete ? now : s->cursor.last_success,
                                          .last_full = complete ? now : s->cursor.last_full};
    memcpy(s->job.after, s->after, sizeof(s->after));
    s->job.n = 0;
    s->job.more = false;
    commit(s, apply);
}

/* Whether the pages add up to a listing. */
static rl_err follows(jamf_source *s, uint64_t total, rl_error *e)
{
    const rl_graph_page *p = &s->page;
    s->listed += p->n;
    s->complete = s->listed >= total;
    if (p->n == 0)
        return s->complete ? RL_OK
                           : rl_fail(e, RL_EBADMSG, "jamf", "its pages end after %llu of %llu",
                                     (unsigned long long)s->listed, (unsigned long long)total);
    if (strcmp(p->items[0].id, s->first) == 0 || s->page_number == PAGES_MAX)
        return rl_fail(e, RL_EBADMSG, "jamf", "its pages go in a circle");
    snprintf(s->first, sizeof(s->first), "%s", p->items[0].id);
    snprintf(s->there, sizeof(s->there), "%s", p->items[p->n - 1].id);
    return RL_OK;
}

static rl_err name_server(jamf_source *s)
{
    if (!s->cursor.tenant)
        s->cursor.tenant = strdup(s->base.sync->settings->jamf.url);
    return s->cursor.tenant ? RL_OK : RL_ENOMEM;
}

static void take_page(jamf_source *s, rl_span body)
{
    size_t limit = (size_t)s->base.sync->settings->sync.page_limit;
    uint64_t total = 0;
    rl_error e = {.message = "out of memory"};
    if (name_server(s) != RL_OK || rl_jamf_page_parse(body, limit, &s->kind->shape, &s->page, &total, &e) != RL_OK ||
        follows(s, total, &e) != RL_OK) {
        fail(s, -1, "Jamf Pro's listing is refused: %s", e.message);
        return;
    }
    s->at = 0;
    commit_part(s);
}

/* ---- answered ---- */
/* The token ran out on the way, or was taken back: the same request once more with a new one. */
static void answered_unauthorized(jamf_source *s)
{
    forget_token(s);
    if (s->token_retried) {
        fail(s, -1, "Jamf Pro answered 401 to a fresh token");
        return;
    }
    s->token_retried = true;
    ask(s);
}

static void answered_page(jamf_source *s, const rl_http_response *r)
{
    s->version_found = r->status == 200 || (s->version_found && r->status != 404);
    if (r->status == 200) {
        take_page(s, r->body);
    } else if (r->status == 404 && s->page_number == 0 && s->version < s->kind->last_version) {
        s->version++; /* the collection is in another version of the API */
        ask(s);
    } else if (r->status == 403) {
        fail(s, r->retry_after_ms, "Jamf Pro answered 403: the account lacks the privilege %s", s->kind->privilege);
    } else {
        if (r->status == 404)
            s->version = s->kind->first_version;
        fail(s, r->retry_after_ms, "Jamf Pro answered %ld%s", r->status,
             r->status == 404 ? ": is REVLINE_JAMF_URL its address?" : "");
    }
}

static void on_answer(const rl_http_response *r, void *arg)
{
    jamf_source *s = arg;
    s->call = NULL;
    if (s->base.sync->closing)
        return;
    rl_source_answered(&s->base, r);
    if (r->err != RL_OK) {
        fail(s, -1, "Jamf Pro cannot be asked: %s", r->message);
        return;
    }
    if (r->status == 401) {
        answered_unauthorized(s);
        return;
    }
    s->token_retried = false;
    if (s->step == ASK_PAGE)
        answered_page(s, r);
    else if (s->step == ASK_MISSING)
        answered_missing(s, r);
    else
        answered_there(s, r);
}

/* ---- committed ---- */
static void committed_part(jamf_source *s)
{
    const rl_cursor_record *next = &s->job.page.next;
    s->cursor.generation = next->generation;
    s->cursor.last_success = next->last_success;
    s->cursor.last_full = next->last_full;
    rl_source_count(&s->base, s->at == 0, s->part.n, s->job.page.changed);
    s->at += s->part.n;
    if (s->at < s->page.n) {
        commit_part(s);
        return;
    }
    rl_graph_page_free(&s->page);
    s->page_number++;
    s->asked = 0;
    if (s->complete)
        ask_next(s);
    else
        ask(s);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    jamf_source *s = (jamf_source *)source;
    if (err == RL_OK && s->job.page.due)
        rl_guard_wake(source->sync);
    if (err != RL_OK) {
        if (s->step == ASK_PAGE && s->job.page.empty)
            s->base.failure.own = rl_empty_advice;
        fail(s, -1, "%s", e->message);
    } else if (s->step == ASK_PAGE) {
        committed_part(s);
    } else {
        rl_source_count(source, 0, 0, s->job.page.changed);
        finish(s, count_gone(s));
    }
}

/* ---- made by the settings ---- */
static bool governs_computer(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_JAMF_COMPUTER) != NULL;
}

static bool governs_device(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_JAMF_DEVICE) != NULL;
}

static bool governs_user(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_JAMF_USER) != NULL;
}

static const jamf_kind kinds[] = {
    {.objects = {.name = "jamf-computer",
                 .origin = "sync:jamf-computer",
                 .source = RL_SOURCE_JAMF_COMPUTER,
                 .shape = {.listing = true},
                 .governs = governs_computer,
                 .put = rl_jamf_put,
                 .gone = rl_jamf_missing},
     .shape = {.list = "results", .counted = true},
     .collection = "computers-inventory",
     .query = "&section=USER_AND_LOCATION", /* the smallest: only the numbers are wanted */
     .first_version = 1,
     .last_version = 4,
     .privilege = "Read Computers"},
    {.objects = {.name = "jamf-device",
                 .origin = "sync:jamf-device",
                 .source = RL_SOURCE_JAMF_DEVICE,
                 .shape = {.listing = true},
                 .governs = governs_device,
                 .put = rl_jamf_put,
                 .gone = rl_jamf_missing},
     .shape = {.list = "results", .counted = true},
     .collection = "mobile-devices",
     .query = "",
     .first_version = 2,
     .last_version = 2,
     .privilege = "Read Mobile Devices"},
    {.objects = {.name = "jamf-user",
                 .origin = "sync:jamf-user",
                 .source = RL_SOURCE_JAMF_USER,
                 .name_source = RL_SOURCE_JAMF_USER_NAME,
                 .shape = {.listing = true},
                 .governs = governs_user,
                 .put = rl_jamf_put,
                 .gone = rl_jamf_missing},
     .shape = {.list = "users", .named = true},
     .collection = "users",
     .privilege = "Read User"},
};

const rl_graph_kind *rl_jamf_objects(const char *source)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].objects.name, source) == 0)
            return &kinds[i].objects;
    return NULL;
}

static void free_source(rl_sync_source *source)
{
    jamf_source *s = (jamf_source *)source;
    rl_cursor_clear(&s->cursor);
    rl_graph_page_free(&s->page);
    forget_token(s);
    free(s);
}

static const char *lacks(const rl_settings *s)
{
    if (s->sync.jamf_interval == 0)
        return "REVLINE_SYNC_JAMF_INTERVAL";
    return s->jamf.url[0] && rl_jamf_has_login(s)
               ? NULL
               : "REVLINE_JAMF_URL, REVLINE_JAMF_CLIENT_ID and REVLINE_JAMF_CLIENT_SECRET (or _USER and _PASSWORD)";
}

rl_err rl_jamf_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .committed = committed, .free = free_source};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        jamf_source *s = calloc(1, sizeof(*s));
        if (!s)
            return RL_ENOMEM;
        s->kind = &kinds[i];
        s->version = kinds[i].first_version;
        s->base.kind = &kind;
        s->base.interval = sync->settings->sync.jamf_interval;
        s->base.needs = lacks(sync->settings);
        s->base.governs = kinds[i].objects.governs;
        s->base.upstream = RL_UPSTREAM_JAMF;
        s->base.permission = kinds[i].privilege;
        snprintf(s->base.name, sizeof(s->base.name), "%s", kinds[i].objects.name);
        RL_TRY(rl_source_add(sync, &s->base));
    }
    return RL_OK;
}
