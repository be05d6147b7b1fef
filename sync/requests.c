/* Intune's requests to revoke certificates of this CA. Sync loop only, but for the job, which is the writer's while it
 * commits.
 *
 *   begin → collect → upload → recorded → collect … → download → apply → collect → upload → … → rest
 *
 * Whatever is to be uploaded goes first, so that what a crash has left is uploaded before anything else is asked for.
 * What is in the database says what is to be done, wherever this stops. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/intune_services.h"
#include "http/login.h"
#include "sync/graph.h"
#include "sync/requests_apply.h"
#include "sync/source.h"

#define NAME "revocation-requests"

typedef struct requests_source {
    rl_sync_source base;
    rl_intune *intune; /* made with the first round: the client is, after the sources are */
    enum { COLLECT, UPLOAD, RECORDED, DOWNLOAD, APPLY } step;
    bool downloaded; /* in this round */
    bool more;       /* as many came as were asked for */
    rl_revocation_requests requests;
    rl_requests_job job;
} requests_source;

/* ---- failing ---- */
static void fail(requests_source *s, const char *message, int64_t retry_after_ms)
{
    rl_requests_free(&s->requests);
    rl_source_failed(&s->base, message, retry_after_ms);
}

static void fail_answered(requests_source *s, const rl_http_response *r)
{
    char message[128];
    snprintf(message, sizeof(message), "Intune answered %ld%s", r->status,
             r->status == 401   ? " to a fresh token"
             : r->status == 403 ? ": the application lacks the role of the Intune API for certificate authorities"
                                : "");
    fail(s, message, r->retry_after_ms);
}

/* ---- transactions ---- */
static void commit(requests_source *s, int step, rl_store_apply apply)
{
    s->step = (__typeof__(s->step))step;
    s->job.now = rl_wall_s();
    if (rl_source_commit(&s->base, apply) != RL_OK)
        fail(s, "the database takes no more writes", -1);
}

/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_requests_apply(t, &((requests_source *)arg)->job, e);
}

/* Writer thread. */
static rl_err collect(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_requests_collect(t, &((requests_source *)arg)->job, e);
}

/* Writer thread. */
static rl_err set_recorded(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_requests_set_recorded(t, &((requests_source *)arg)->job, e);
}

static void collect_results(requests_source *s)
{
    s->job.last = s->downloaded && !s->more;
    commit(s, COLLECT, collect);
}

/* ---- questions ---- */
static void on_answer(const rl_http_response *r, void *arg);

static void ask(requests_source *s, int step, const char *action, rl_err made, rl_buf *body)
{
    rl_error e = {.message = "out of memory"};
    s->step = (__typeof__(s->step))step;
    rl_source_enter(&s->base, RL_AT_FETCH);
    if (made == RL_OK)
        made = rl_intune_ask(s->intune, RL_INTUNE_PKI_CONNECTOR, action, rl_buf_span(body), on_answer, s, &e);
    rl_buf_free(body);
    if (made != RL_OK)
        fail(s, e.message, -1);
}

static void download(requests_source *s)
{
    rl_buf body = {0};
    ask(s, DOWNLOAD, "CertificateAuthorityRequests/downloadRevocationRequests", rl_requests_put_download(&body), &body);
}

static void upload(requests_source *s)
{
    rl_buf body = {0};
    rl_err err = rl_requests_put_upload((const char *const *)s->job.contexts, s->job.results, s->job.n, &body);
    ask(s, UPLOAD, "CertificateAuthorityRequests/uploadRevocationResults", err, &body);
}

static void downloaded(requests_source *s, rl_span body)
{
    rl_error e = {0};
    char message[RL_ERROR_MESSAGE_MAX + 64];
    size_t limit = (size_t)s->base.sync->settings->sync.page_limit;
    if (rl_requests_parse(body, limit, &s->requests, &e) != RL_OK) {
        snprintf(message, sizeof(message), "Intune's requests are refused: %s", e.message);
        fail(s, message, -1);
        return;
    }
    s->job.requests = &s->requests;
    commit(s, APPLY, apply);
}

static void uploaded(requests_source *s, rl_span body)
{
    if (rl_requests_recorded(body))
        commit(s, RECORDED, set_recorded);
    else
        fail(s, "Intune has not recorded the results: they are uploaded again", -1);
}

static void on_answer(const rl_http_response *r, void *arg)
{
    requests_source *s = arg;
    if (s->base.sync->closing)
        return;
    rl_source_answered(&s->base, r);
    if (r->err == RL_EDENIED) /* the look-up of the service, or a token */
        s->base.failure = (rl_failure){.kind = RL_FAILED_STATUS, .status = 403};
    else if (r->err == RL_ENOTFOUND || r->err == RL_EBADMSG)
        s->base.failure = (rl_failure){.kind = RL_FAILED_CONTENT};
    if (r->err != RL_OK)
        fail(s, r->message, r->retry_after_ms);
    else if (r->status != 200)
        fail_answered(s, r);
    else if (s->step == DOWNLOAD)
        downloaded(s, r->body);
    else
        uploaded(s, r->body);
}

/* ---- committed ---- */
static void collected(requests_source *s)
{
    if (s->job.n > 0)
        upload(s);
    else if (!s->job.last)
        download(s);
    else
        rl_source_done(&s->base, s->job.now);
}

static void applied(requests_source *s)
{
    const rl_requests_job *job = &s->job;
    uint64_t skipped = job->skipped + s->requests.nameless;
    if (s->requests.n + s->requests.nameless > 0)
        log_info("sync.requests", "source", s->base.name, "requests", s->requests.n, "new", job->fresh, "revoked",
                 job->changed, "skipped", skipped);
    rl_count_skipped(s->base.name, skipped);
    rl_source_count(&s->base, 1, s->requests.n, job->changed);
    s->downloaded = true;
    s->more = job->fresh > 0 && s->requests.n >= RL_REQUESTS_ASKED;
    rl_requests_free(&s->requests);
    collect_results(s);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    requests_source *s = (requests_source *)source;
    if (err != RL_OK) {
        fail(s, e->message, -1);
        return;
    }
    switch (s->step) {
    case COLLECT:
        collected(s);
        return;
    case APPLY:
        source->attempts = 0;
        applied(s);
        return;
    default: /* RECORDED */
        source->attempts = 0;
        log_info("sync.results", "source", source->name, "results", s->job.n);
        collect_results(s);
    }
}

/* ---- the round ---- */
/* Another tenant's Intune knows nothing of these results. */
static bool is_another_tenant(const requests_source *s)
{
    rl_cursor_record cursor;
    if (rl_store_cursor(s->base.sync->store, NAME, &cursor) != RL_OK)
        return false;
    bool another = cursor.tenant && strcasecmp(cursor.tenant, s->base.sync->settings->azure.tenant_id) != 0;
    rl_cursor_clear(&cursor);
    return another;
}

static void begin(rl_sync_source *source)
{
    requests_source *s = (requests_source *)source;
    rl_error e = {0};
    source->full = source->restart = false;
    source->objects = source->changed = 0;
    s->downloaded = s->more = false;
    if (is_another_tenant(s))
        fail(s, "the requests that are known are another tenant's: a data folder follows one tenant", -1);
    else if (!s->intune && rl_intune_new(source->sync->client, source->sync->settings, &s->intune, &e) != RL_OK)
        fail(s, e.message, -1);
    else
        collect_results(s);
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    requests_source *s = (requests_source *)source;
    rl_requests_free(&s->requests);
    rl_requests_job_clear(&s->job);
    rl_intune_free(s->intune);
    free(s);
}

rl_err rl_requests_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .committed = committed, .free = free_source};
    const rl_settings *settings = sync->settings;
    requests_source *s = calloc(1, sizeof(*s));
    if (!s)
        return RL_ENOMEM;
    s->base.kind = &kind;
    s->base.interval = settings->sync.requests_interval;
    s->base.needs = s->base.interval == 0 ? "REVLINE_SYNC_REVOCATION_REQUESTS_INTERVAL" : rl_login_missing(settings);
    s->base.upstream = RL_UPSTREAM_INTUNE;
    s->base.permission = "Application.Read.All of Microsoft Graph and a role of the Intune API";
    s->job.source = NAME;
    s->job.origin = "sync:" NAME;
    s->job.tenant = settings->azure.tenant_id;
    snprintf(s->base.name, sizeof(s->base.name), NAME);
    return rl_source_add(sync, &s->base);
}
