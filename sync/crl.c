/* Other CAs' revocation lists: one source for each URL. A round is one conditional GET; what it brings is read and
 * verified on the work pool, since that takes a while, and applied transaction by transaction.
 *
 *   begin → answered → (read) → commit → committed → commit … until the job is done
 *
 * Sync loop only, but for what is marked as the pool's or the writer's. Which issuer's list it is, is known when it is
 * read. The validators (RFC 9110 §8.8) are those of a list that has been applied to its end, and are kept in memory:
 * after a restart the list is fetched once more and found to be known. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "sync/crl_apply.h"
#include "sync/source.h"

enum { ETAG_MAX = 256 };

struct validators {
    char etag[ETAG_MAX], modified[RL_TIME_TEXT]; /* "" = none */
};

typedef struct crl_source {
    rl_sync_source base;
    const char *url;
    char origin[48]; /* "sync:crl-1" */
    struct validators applied, fetched;
    rl_http_call *call;

    /* The pool's while it reads. */
    uv_work_t work;
    rl_buf body;
    rl_crl crl;
    rl_issuer_id issuer;
    rl_err read_err;
    rl_error read_error;

    rl_crl_job job; /* the writer's while it commits */
} crl_source;

static void forget_list(crl_source *s)
{
    rl_crl_clear(&s->crl);
    rl_buf_free(&s->body);
}

static void fail(crl_source *s, const char *message, int64_t retry_after_ms)
{
    forget_list(s);
    rl_source_failed(&s->base, message, retry_after_ms);
}

static void finish(crl_source *s)
{
    forget_list(s);
    s->base.attempts = s->base.restarts = 0;
    s->base.restart = false;
    rl_source_done(&s->base, rl_wall_s());
}

/* ---- ask ---- */
static void on_response(const rl_http_response *r, void *arg);

static void begin(rl_sync_source *source)
{
    crl_source *s = (crl_source *)source;
    const rl_settings *settings = source->sync->settings;
    char etag[ETAG_MAX + 32], modified[RL_TIME_TEXT + 32];
    const char *headers[4] = {"Accept: application/pkix-crl, */*"};
    size_t n = 1;
    rl_error e = {0};
    source->objects = source->changed = 0;
    source->full = source->restart;
    if (source->restart)
        s->applied = (struct validators){0};
    snprintf(etag, sizeof(etag), "If-None-Match: %s", s->applied.etag);
    snprintf(modified, sizeof(modified), "If-Modified-Since: %s", s->applied.modified);
    if (s->applied.etag[0])
        headers[n++] = etag;
    if (s->applied.modified[0])
        headers[n++] = modified;
    const rl_http_call_options o = {.method = "GET",
                                    .url = s->url,
                                    .headers = headers,
                                    .body_limit = (size_t)settings->sync.crl_limit,
                                    .timeout = settings->sync.request_timeout,
                                    .connect_timeout = settings->sync.connect_timeout};
    rl_source_enter(source, RL_AT_FETCH);
    if (rl_http_call_start(source->sync->client, &o, on_response, s, &s->call, &e) != RL_OK)
        fail(s, e.message, -1);
}

/* ---- read ---- */
/* Work pool. */
static void read_list(uv_work_t *work)
{
    crl_source *s = work->data;
    const rl_settings *settings = s->base.sync->settings;
    s->read_error = (rl_error){0};
    s->read_err = rl_crl_read(rl_buf_span(&s->body), (size_t)settings->sync.crl_limit, &s->crl, &s->read_error);
    rl_buf_free(&s->body);
    if (s->read_err == RL_OK)
        s->read_err = rl_crl_find_issuer(s->base.sync->store, &s->crl, settings->sync.crl_sha1, rl_wall_s(), &s->issuer,
                                         &s->read_error);
}

/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_crl_apply(t, &((crl_source *)arg)->job, e);
}

static void commit(crl_source *s)
{
    if (rl_source_commit(&s->base, apply) != RL_OK)
        fail(s, "the database takes no more writes", -1);
}

static void refused(crl_source *s, const rl_error *why)
{
    char message[RL_ERROR_MESSAGE_MAX];
    snprintf(message, sizeof(message), "the revocation list is refused: %.*s", RL_ERROR_MESSAGE_MAX - 40, why->message);
    fail(s, message, -1);
}

static void list_read(uv_work_t *work, int status)
{
    crl_source *s = work->data;
    (void)status; /* nobody cancels it */
    if (s->base.sync->closing)
        return;
    if (s->read_err != RL_OK) {
        if (s->read_err == RL_ENOTFOUND)
            s->base.failure.own =
                "Import the CA's certificate: revline import FILE. Until then its list says nothing here.";
        refused(s, &s->read_error);
        return;
    }
    s->job = (rl_crl_job){
        .crl = &s->crl, .issuer = s->issuer, .origin = s->origin, .now = rl_wall_s(), .again = s->base.restart};
    commit(s);
}

static void keep(const rl_http_response *r, const char *name, char *out, size_t cap)
{
    const char *value = rl_http_response_header(r, name);
    snprintf(out, cap, "%s", value && strlen(value) < cap ? value : "");
}

static void take_list(crl_source *s, const rl_http_response *r)
{
    keep(r, "ETag", s->fetched.etag, sizeof(s->fetched.etag));
    keep(r, "Last-Modified", s->fetched.modified, sizeof(s->fetched.modified));
    s->work.data = s;
    rl_source_enter(&s->base, RL_AT_READ);
    if (rl_buf_append(&s->body, r->body.p, r->body.n) != RL_OK ||
        uv_queue_work(&s->base.sync->loop, &s->work, read_list, list_read) != 0)
        fail(s, "out of memory", -1);
}

static void on_response(const rl_http_response *r, void *arg)
{
    crl_source *s = arg;
    char message[128];
    s->call = NULL;
    if (s->base.sync->closing)
        return;
    rl_source_answered(&s->base, r);
    if (r->err != RL_OK) {
        fail(s, r->message, -1);
    } else if (r->status == 200) {
        take_list(s, r);
    } else if (r->status == 304 && (s->applied.etag[0] || s->applied.modified[0])) {
        finish(s);
    } else {
        snprintf(message, sizeof(message), "the server of the revocation list answered %ld", r->status);
        fail(s, message, r->retry_after_ms);
    }
}

/* ---- committed ---- */
static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    crl_source *s = (crl_source *)source;
    if (err != RL_OK) {
        if (err == RL_EDENIED && s->job.renumbered)
            s->base.failure.own =
                "If the CA has begun to count again, as after the loss of its database, have its list "
                "taken: revline sync SOURCE --full. Until then what was known before counts on.";
        refused(s, e);
        return;
    }
    if (!s->job.done) {
        commit(s);
        return;
    }
    s->applied = s->fetched;
    source->list_ends = s->crl.next_update;
    if (!s->job.known) {
        log_info("sync.crl", "source", source->name, "issuer", s->issuer, "entries", s->crl.n, "skipped",
                 s->crl.skipped, "changed", s->job.changed, "next_update", s->crl.next_update);
        rl_source_count(source, 1, s->crl.n, s->job.changed);
        rl_crl_show(s->issuer, s->crl.next_update);
    }
    finish(s);
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    crl_source *s = (crl_source *)source;
    forget_list(s);
    free(s);
}

static bool show_issuer(rl_issuer_id id, const rl_issuer_record *r, void *ctx)
{
    (void)ctx;
    if (r->crl.next_update)
        rl_crl_show(id, r->crl.next_update);
    return true;
}

rl_err rl_crl_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .committed = committed, .free = free_source};
    const rl_settings *settings = sync->settings;
    for (size_t i = 0; i < settings->sync.crl_urls.n; i++) {
        crl_source *s = calloc(1, sizeof(*s));
        if (!s)
            return RL_ENOMEM;
        s->url = settings->sync.crl_urls.items[i];
        s->base.kind = &kind;
        s->base.upstream = RL_UPSTREAM_CRL;
        s->base.interval = settings->sync.crl_interval;
        s->base.needs = s->base.interval == 0 ? "REVLINE_SYNC_CRL_INTERVAL" : NULL;
        snprintf(s->base.name, sizeof(s->base.name), "crl-%zu", i + 1);
        snprintf(s->origin, sizeof(s->origin), "sync:%s", s->base.name);
        log_info("sync.source", "source", s->base.name, "url", s->url);
        RL_TRY(rl_source_add(sync, &s->base));
    }
    /* Lists that were imported count, too. */
    return rl_store_each_issuer(sync->store, show_issuer, NULL) == RL_ENOMEM ? RL_ENOMEM : RL_OK;
}
