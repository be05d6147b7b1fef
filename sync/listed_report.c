/* Intune's report of all certificates that it has made, exported: asked for, waited for, fetched from where Graph says,
 * unpacked and read. Sync loop only, but for what is marked as the pool's, and the job.
 *
 *   begin → make → (wait, look) … → fetch → read → commit, commit … → rest
 *
 * The address of the export is a secret for some minutes: it is neither logged nor kept, and gets no token. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "sync/graph.h"
#include "sync/listing.h"
#include "sync/unzip.h"

#define JOBS "/v1.0/deviceManagement/reports/exportJobs"
#define WANTED                                                                                                         \
    "{\"reportName\":\"AllDeviceCertificates\",\"format\":\"json\","                                                   \
    "\"localizationType\":\"LocalizedValuesAsAdditionalColumn\","                                                      \
    "\"select\":[\"SerialNumber\",\"Thumbprint\",\"CertificateStatus\"]}"

enum { ID_MAX = 256, ADDRESS_MAX = 8192, ANSWER_MAX = 256 * 1024 };
enum { LOOK_BASE_MS = 1000, LOOK_MAX_MS = 30 * 1000, READY_WITHIN_MS = 15 * 60 * 1000 };

typedef struct report_source {
    rl_listing list;
    char id[ID_MAX]; /* of the export under way; "" = none yet */
    unsigned looks;
    uint64_t began; /* monotonic ms */
    rl_http_call *call;

    /* The pool's while it reads. */
    uv_work_t work;
    rl_buf archive;
    rl_err read_err;
    rl_error read_error;
} report_source;

static void fail_until(report_source *s, const char *message, int64_t retry_after_ms)
{
    rl_buf_free(&s->archive);
    rl_listing_fail(&s->list, message, retry_after_ms);
}

static void fail(report_source *s, const char *message)
{
    fail_until(s, message, -1);
}

/* ---- ask ---- */
static void begin(rl_sync_source *source)
{
    report_source *s = (report_source *)source;
    char *url = NULL;
    s->id[0] = 0;
    s->looks = 0;
    s->began = rl_mono_ms();
    if (!rl_listing_begin(&s->list))
        return;
    if (rl_graph_url(source->sync->settings, JOBS, &url) == RL_OK)
        rl_graph_ask_start(&s->list.ask, "POST", url, WANTED);
    else
        fail(s, "out of memory");
    free(url);
}

static void look(report_source *s)
{
    char path[sizeof(JOBS) + ID_MAX + 8], *url = NULL;
    snprintf(path, sizeof(path), JOBS "('%s')", s->id);
    if (rl_graph_url(s->list.base.sync->settings, path, &url) == RL_OK)
        rl_graph_ask_start(&s->list.ask, "GET", url, NULL);
    else
        fail(s, "out of memory");
    free(url);
}

static void on_wait_over(uv_timer_t *timer)
{
    look(timer->data);
}

static void look_later(report_source *s)
{
    rl_sync_source *base = &s->list.base;
    int64_t most =
        base->sync->settings->sync.retry_max < LOOK_MAX_MS ? base->sync->settings->sync.retry_max : LOOK_MAX_MS;
    if (rl_mono_ms() - s->began > READY_WITHIN_MS) {
        fail(s, "Intune's report was not ready within 15 minutes");
        return;
    }
    rl_source_enter(base, RL_AT_PACE);
    uv_timer_start(&base->timer, on_wait_over, (uint64_t)rl_backoff(s->looks++, LOOK_BASE_MS, most, -1), 0);
}

/* ---- read ---- */
/* Work pool. */
static void read_report(uv_work_t *work)
{
    report_source *s = work->data;
    const size_t limit = (size_t)s->list.base.sync->settings->sync.page_limit;
    rl_buf text = {0};
    s->read_error = (rl_error){0};
    s->read_err = rl_unzip(rl_buf_span(&s->archive), ".json", limit, &text, &s->read_error);
    if (s->read_err == RL_OK)
        s->read_err = rl_report_parse(rl_buf_span(&text), limit, &s->list.page, &s->read_error);
    rl_buf_free(&text);
    rl_buf_free(&s->archive);
}

static void report_read(uv_work_t *work, int status)
{
    report_source *s = work->data;
    char message[RL_ERROR_MESSAGE_MAX + 32];
    (void)status; /* nobody cancels it */
    if (s->list.base.sync->closing)
        return;
    if (s->read_err == RL_OK) {
        rl_listing_commit(&s->list, true);
        return;
    }
    s->list.base.failure = (rl_failure){.kind = RL_FAILED_CONTENT};
    snprintf(message, sizeof(message), "Intune's report is refused: %s", s->read_error.message);
    fail(s, message);
}

static void on_report(const rl_http_response *r, void *arg)
{
    report_source *s = arg;
    char message[RL_ERROR_MESSAGE_MAX];
    s->call = NULL;
    if (s->list.base.sync->closing)
        return;
    rl_source_answered(&s->list.base, r);
    if (r->err != RL_OK || r->status != 200) {
        snprintf(message, sizeof(message), "Intune's report cannot be fetched: %s", r->message);
        if (r->err == RL_OK)
            snprintf(message, sizeof(message), "Intune's report cannot be fetched: its address answered %ld",
                     r->status);
        fail_until(s, message, r->retry_after_ms);
        return;
    }
    s->work.data = s;
    rl_source_enter(&s->list.base, RL_AT_READ);
    if (rl_buf_append(&s->archive, r->body.p, r->body.n) != RL_OK ||
        uv_queue_work(&s->list.base.sync->loop, &s->work, read_report, report_read) != 0)
        fail(s, "out of memory");
}

/* ---- fetch ---- */
/* Of https; where Graph itself is not (tests), of either. */
static bool is_address(const rl_settings *s, const char *url)
{
    bool plain = strncasecmp(s->azure.graph_url, "http://", 7) == 0;
    if (!url || strlen(url) > ADDRESS_MAX || !rl_http_same_origin(url, url))
        return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || *c == '\\')
            return false;
    return plain || strncasecmp(url, "https://", 8) == 0;
}

static void fetch(report_source *s, const char *url)
{
    const rl_settings *settings = s->list.base.sync->settings;
    rl_error e = {0};
    if (!is_address(settings, url)) {
        s->list.base.failure = (rl_failure){.kind = RL_FAILED_CONTENT};
        fail(s, "Intune's report has no usable address");
        return;
    }
    const rl_http_call_options o = {.method = "GET",
                                    .url = url,
                                    .body_limit = (size_t)settings->sync.page_limit,
                                    .timeout = settings->sync.request_timeout,
                                    .connect_timeout = settings->sync.connect_timeout};
    rl_source_enter(&s->list.base, RL_AT_FETCH);
    if (rl_http_call_start(s->list.base.sync->client, &o, on_report, s, &s->call, &e) != RL_OK)
        fail(s, e.message);
}

/* ---- answered ---- */
/* It goes into the path of a URL, between quotation marks. */
static bool is_id(const char *text)
{
    size_t n = text ? strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") : 0;
    return n > 0 && n < ID_MAX && text[n] == 0;
}

/* Words that may yet be invented are waited on. */
static void take_job(report_source *s, const json_t *job)
{
    const char *id = rl_json_str(job, "id"), *status = rl_json_str(job, "status");
    if (!s->id[0] && is_id(id))
        snprintf(s->id, sizeof(s->id), "%s", id);
    if (!s->id[0])
        fail(s, "Graph's answer to the export has no usable id");
    else if (status && (strcasecmp(status, "completed") == 0 || strcasecmp(status, "complete") == 0))
        fetch(s, rl_json_str(job, "url"));
    else if (status && strcasecmp(status, "failed") == 0)
        fail(s, "Intune could not make the report");
    else
        look_later(s);
}

static void answered(rl_sync_source *source, const rl_http_response *r)
{
    report_source *s = (report_source *)source;
    json_t *job = NULL;
    if (r->status != 200 && r->status != 201) {
        rl_listing_refused(&s->list, r);
        return;
    }
    if (rl_json_parse(r->body, ANSWER_MAX, &job, NULL) == RL_OK && json_is_object(job))
        take_job(s, job);
    else
        fail(s, "Graph's answer to the export is not JSON");
    json_decref(job);
}

/* ---- committed ---- */
/* The report is one page, and it is the last. */
static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    rl_listing_committed((rl_listing *)source, err, e, NULL);
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    report_source *s = (report_source *)source;
    rl_buf_free(&s->archive);
    rl_listing_clear(&s->list);
    free(s);
}

rl_err rl_report_make(rl_sync *sync, const char *needs)
{
    static const rl_source_kind kind = {
        .begin = begin, .token = rl_listing_token, .committed = committed, .free = free_source};
    report_source *s = calloc(1, sizeof(*s));
    if (!s)
        return RL_ENOMEM;
    return rl_listing_init(&s->list, &rl_intune_kinds[RL_INTUNE_REPORT_LIST], &kind, needs, answered, sync);
}
