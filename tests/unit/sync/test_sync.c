/* The sources on their own thread against a small server: rounds, tokens, failures, restarts.
 *
 * Synchronisation is by requests: intervals and back-offs are a few milliseconds, so once the next request for a source
 * has arrived, the answer before it has had its whole effect. */
#include "sync/sync.h"

#include <jansson.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "store/fault.h"
#include "sync/rules.h"
#include "tests/unit/http/upstream.h"
#include "tests/unit/sync/fixture.h"

enum { REQUESTS_MAX = 256, ANSWERS_MAX = 16 };

#define INITIAL "/v1.0/devices/delta?$select=id,deviceId,accountEnabled,isCompliant,onPremisesSecurityIdentifier"

/* ---- the directory ---- */
struct answer {
    int status;          /* 0: never answers */
    const char *headers; /* with line ends */
    const char *body;    /* %s stands for the server's own URL */
    bool truncated;
};

struct directory {
    upstream server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct answer answers[ANSWERS_MAX]; /* to requests for devices, in turn; the last one again and again */
    size_t answers_n, answered;
    unsigned renewed; /* the subscription */
    int token_status;
    unsigned tokens;              /* handed out */
    char *requests[REQUESTS_MAX]; /* for devices */
    size_t requests_n;
    char *token_request;
};

static const char empty_page[] = "{\"value\":[],\"@odata.deltaLink\":\"%s/v1.0/d?$deltatoken=idle\"}";

static void answer_json(struct directory *d, upstream_reply *reply, const struct answer *a)
{
    rl_buf body = {0};
    const char *at = strstr(a->body, "%s");
    if (at)
        rl_buf_printf(&body, "%.*s%s%s", (int)(at - a->body), a->body, d->server.url, at + 2);
    else
        rl_buf_append(&body, a->body, strlen(a->body));
    upstream_answer(reply, a->status, a->headers ? a->headers : "", rl_buf_span(&body));
    if (a->truncated)
        reply->bytes.n -= body.n / 2;
    rl_buf_free(&body);
}

static void answer_token(struct directory *d, const char *request, upstream_reply *reply)
{
    char body[128];
    free(d->token_request);
    d->token_request = strdup(request);
    snprintf(body, sizeof(body), "{\"token_type\":\"Bearer\",\"expires_in\":\"3599\",\"access_token\":\"token-%u\"}",
             ++d->tokens);
    if (d->token_status != 200)
        snprintf(body, sizeof(body),
                 "{\"error\":\"invalid_client\",\"error_description\":\"s3cret\",\"error_codes\":[7000215]}");
    upstream_answer(reply, d->token_status, "", rl_span_str(body));
}

static void answer_devices(struct directory *d, const char *request, upstream_reply *reply)
{
    const struct answer *a = &d->answers[d->answered];
    if (d->answered + 1 < d->answers_n)
        d->answered++;
    if (d->requests_n < REQUESTS_MAX)
        d->requests[d->requests_n++] = strdup(request);
    pthread_cond_broadcast(&d->changed);
    if (a->status)
        answer_json(d, reply, a);
    else
        reply->hang = true;
}

static void answer_subscription(struct directory *d, const char *request, upstream_reply *reply)
{
    bool made = strncmp(request, "POST ", 5) == 0;
    d->renewed += strncmp(request, "PATCH ", 6) == 0;
    upstream_answer(reply, made ? 201 : 200, "", RL_SPAN_LIT("{\"id\":\"s-1\"}"));
}

static void serve(void *ctx, const char *request, upstream_reply *reply)
{
    struct directory *d = ctx;
    static const struct answer no_users = {200, "", "{\"value\":[],\"@odata.deltaLink\":\"%s/v1.0/users/delta?x\"}",
                                           false};
    pthread_mutex_lock(&d->lock);
    if (strstr(request, " /v1.0/subscriptions"))
        answer_subscription(d, request, reply);
    else if (strncmp(request, "POST ", 5) == 0)
        answer_token(d, request, reply);
    else if (strstr(request, "/users/"))
        answer_json(d, reply, &no_users);
    else
        answer_devices(d, request, reply);
    pthread_mutex_unlock(&d->lock);
}

/* ---- fixture ---- */
struct fixture {
    folder_store f;
    struct directory d;
    rl_settings settings;
    rl_sync *sync;
};

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof(*x));
    folder_store_open(&x->f);
    pthread_mutex_init(&x->d.lock, NULL);
    pthread_cond_init(&x->d.changed, NULL);
    x->d.token_status = 200;
    upstream_start(&x->d.server, serve, &x->d);
    x->settings.azure.tenant_id = "contoso.com";
    x->settings.azure.client_id = "client";
    x->settings.azure.client_secret = "s3cret+&=/";
    x->settings.azure.authority_host = x->d.server.url;
    x->settings.azure.graph_url = x->d.server.url;
    x->settings.http.base_url = "";
    x->settings.sync.entra_interval = 5;
    x->settings.sync.full_interval = 24 * 3600 * 1000;
    x->settings.sync.jitter_percent = 10;
    x->settings.sync.request_timeout = 600000;
    x->settings.sync.connect_timeout = 600000;
    x->settings.sync.retry_max = 5;
    x->settings.sync.page_limit = 1 << 20;
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    if (x->sync)
        rl_sync_stop(x->sync);
    upstream_stop(&x->d.server);
    folder_store_remove(&x->f);
    for (size_t i = 0; i < x->d.requests_n; i++)
        free(x->d.requests[i]);
    free(x->d.token_request);
    pthread_cond_destroy(&x->d.changed);
    pthread_mutex_destroy(&x->d.lock);
    free(x);
    return 0;
}

static void start(struct fixture *x)
{
    rl_error e = {0};
    if (rl_sync_start(x->f.store, &x->settings, &x->sync, &e) != RL_OK)
        fail_msg("%s", e.message);
}

static void stop(struct fixture *x)
{
    rl_sync_stop(x->sync);
    x->sync = NULL;
}

/* What comes next; and from then on an empty page behind a deltaLink. */
static void script(struct fixture *x, size_t n, const struct answer *answers)
{
    pthread_mutex_lock(&x->d.lock);
    for (size_t i = 0; i < n; i++)
        x->d.answers[i] = answers[i];
    x->d.answers[n] = (struct answer){.status = 200, .body = empty_page};
    x->d.answers_n = n + 1;
    x->d.answered = 0;
    pthread_mutex_unlock(&x->d.lock);
}

static size_t asked(struct fixture *x)
{
    pthread_mutex_lock(&x->d.lock);
    size_t n = x->d.requests_n;
    pthread_mutex_unlock(&x->d.lock);
    return n;
}

/* Waits until the n-th request for devices (from 0) is there and returns it. */
static const char *request(struct fixture *x, size_t n)
{
    pthread_mutex_lock(&x->d.lock);
    while (x->d.requests_n <= n)
        pthread_cond_wait(&x->d.changed, &x->d.lock);
    const char *text = x->d.requests[n];
    pthread_mutex_unlock(&x->d.lock);
    return text;
}

static void assert_asks(struct fixture *x, size_t n, const char *target)
{
    char line[256];
    const char *text = request(x, n);
    snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\n", target);
    if (strncmp(text, line, strlen(line)) != 0)
        fail_msg("request %zu is not for %s:\n%s", n, target, text);
}

/* A fresh start with an answer list: everything of the first n answers has had its effect. */
static void run_script(struct fixture *x, size_t n, const struct answer *answers)
{
    script(x, n, answers);
    start(x);
    request(x, n + 1);
}

static rl_sync_status status(struct fixture *x)
{
    static const char *const names[] = {"reweigh", "entra-device", "entra-user", "intune-device", "user-risk"};
    enum { SOME = sizeof(names) / sizeof(names[0]) };
    rl_sync_status s[SOME];
    assert_int_equal(rl_sync_status_read(x->sync, s, SOME), SOME);
    for (size_t i = 0; i < SOME; i++)
        assert_string_equal(s[i].name, names[i]);
    return s[1];
}

#define DEVICE            "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":true}"
#define PAGE(items, link) "{\"value\":[" items "],\"@odata." link "\"}"
static const struct answer one_device = {200, "", PAGE(DEVICE, "deltaLink\":\"%s/v1.0/d?$deltatoken=1"), false};

/* ---- a clock that is set ---- */
static _Atomic int64_t ahead_s; /* of the right time */

static int64_t set_wall_ms(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((int64_t)t.tv_sec + atomic_load(&ahead_s)) * 1000;
}

static _Atomic uint64_t gone_by_s; /* besides what has */

static uint64_t set_mono_ns(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((uint64_t)t.tv_sec + atomic_load(&gone_by_s)) * 1000000000u + (uint64_t)t.tv_nsec;
}

static int setup_clock(void **state)
{
    static const rl_clock clock = {.wall_ms = set_wall_ms, .mono_ns = set_mono_ns};
    atomic_store(&ahead_s, 30 * 86400);
    atomic_store(&gone_by_s, 0);
    rl_clock_set(&clock);
    return setup(state);
}

static int teardown_clock(void **state)
{
    int result = teardown(state);
    rl_clock_set(NULL);
    return result;
}

static void test_a_clock_that_was_ahead_puts_off_no_full_round(void **state)
{
    struct fixture *x = *state;
    run_script(x, 1, &one_device);
    stop(x);
    size_t before = asked(x);
    atomic_store(&ahead_s, 0);
    script(x, 1, &one_device);
    start(x);
    assert_asks(x, before, INITIAL);
    assert_asks(x, before + 1, "/v1.0/d?$deltatoken=1");
}

static void wait_for_rounds(struct fixture *x, const char *source, uint64_t rounds)
{
    rl_sync_status s[RL_SYNC_SOURCES_MAX];
    bool over = false;
    while (!over)
        for (size_t i = 0, n = rl_sync_status_read(x->sync, s, RL_SYNC_SOURCES_MAX); i < n; i++)
            over |= strcmp(s[i].name, source) == 0 && s[i].rounds >= rounds;
}

static void test_a_clock_that_is_set_back_puts_off_no_renewal_of_the_subscription(void **state)
{
    struct fixture *x = *state;
    x->settings.sync.entra_interval = 3600000;
    x->settings.http.base_url = "https://pki.example";
    x->settings.sync.notifications = true;
    script(x, 1, &one_device);
    start(x);
    wait_for_rounds(x, "graph-hook", 1);
    atomic_store(&ahead_s, 0);
    atomic_store(&gone_by_s, 2 * 86400); /* it is for three days */
    assert_int_equal(rl_sync_now(x->sync, "graph-hook", false, NULL), RL_OK);
    wait_for_rounds(x, "graph-hook", 2);
    pthread_mutex_lock(&x->d.lock);
    assert_int_equal(x->d.renewed, 1);
    pthread_mutex_unlock(&x->d.lock);
}

/* ---- rounds ---- */
static void test_a_round_follows_the_links_with_the_token(void **state)
{
    struct fixture *x = *state;
    const struct answer answers[] = {
        {200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?$skiptoken=1"), false},
        {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?$skiptoken=2"), false},
        {200, "", PAGE("{\"id\":\"o1\",\"accountEnabled\":false}", "deltaLink\":\"%s/v1.0/d?$deltatoken=1"), false}};
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 3, answers);
    assert_asks(x, 0, INITIAL);
    assert_asks(x, 1, "/v1.0/d?$skiptoken=1");
    assert_asks(x, 2, "/v1.0/d?$skiptoken=2");
    assert_asks(x, 3, "/v1.0/d?$deltatoken=1");
    assert_non_null(strstr(request(x, 0), "\r\nAuthorization: Bearer token-1\r\n"));
    assert_non_null(strstr(request(x, 0), "\r\nAccept: application/json\r\n"));
    assert_non_null(strstr(request(x, 0), "\r\nPrefer: odata.maxpagesize=999\r\n"));
    assert_non_null(strstr(request(x, 0), "\r\nclient-request-id: "));
    assert_status(x->f.store, 1, "hold");
    rl_sync_status s = status(x);
    assert_true(s.rounds >= 1 && s.pages >= 3 && s.requests >= 4 && s.last_success > 0);
    assert_int_equal(s.objects, 2);
    assert_int_equal(s.changed, 1);
    assert_int_equal(s.failures, 0);
    assert_string_equal(s.last_error, "");
}

static void test_the_token_request_is_form_encoded(void **state)
{
    struct fixture *x = *state;
    run_script(x, 1, &one_device);
    stop(x);
    assert_int_equal(strncmp(x->d.token_request, "POST /contoso.com/oauth2/v2.0/token HTTP/1.1\r\n", 46), 0);
    assert_non_null(strstr(x->d.token_request, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    char form[256];
    snprintf(form, sizeof(form),
             "\r\n\r\nclient_id=client&client_secret=s3cret%%2B%%26%%3D%%2F&grant_type=client_credentials&"
             "scope=http%%3A%%2F%%2F127.0.0.1%%3A%u%%2F.default",
             x->d.server.port);
    assert_non_null(strstr(x->d.token_request, form));
    assert_int_equal(x->d.tokens, 1);
}

/* Whoever asked knows when a round that began after that has ended, and how. */
static rl_sync_status answered(struct fixture *x)
{
    rl_sync_status s;
    do
        s = status(x);
    while (s.answered < s.asked);
    return s;
}

/* ---- pages that are read while the writer is busy ---- */
struct held_writer {
    sem_t holding, go;
};

static rl_err hold_writer(rl_store_txn *t, void *arg, rl_error *e)
{
    struct held_writer *h = arg;
    (void)t;
    (void)e;
    sem_post(&h->holding);
    sem_wait(&h->go);
    return RL_OK;
}

static void keep_writer_busy(struct fixture *x, struct held_writer *h)
{
    sem_init(&h->holding, 0, 0);
    sem_init(&h->go, 0, 0);
    assert_int_equal(rl_store_submit(x->f.store, hold_writer, NULL, h), RL_OK);
    sem_wait(&h->holding);
}

/* Starts with the writer held, until the n answers of the script, which are one round's, have been asked for. */
static void start_with_busy_writer(struct fixture *x, struct held_writer *h, size_t n, const struct answer *answers)
{
    keep_writer_busy(x, h);
    script(x, n, answers);
    start(x);
    request(x, n - 1);
}

static const struct answer three_pages[] = {
    {200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?$skiptoken=1"), false},
    {200, "", PAGE("{\"id\":\"o2\",\"deviceId\":\"dev-2\"}", "nextLink\":\"%s/v1.0/d?$skiptoken=2"), false},
    {200, "",
     PAGE("{\"id\":\"o1\",\"accountEnabled\":false},{\"id\":\"o2\",\"@removed\":{}}",
          "deltaLink\":\"%s/v1.0/d?$deltatoken=1"),
     false}};

static void test_pages_are_read_on_while_the_writer_is_busy(void **state)
{
    struct fixture *x = *state;
    struct held_writer h;
    issue_for_device(x->f.store, 1, "dev-1");
    issue_for_device(x->f.store, 2, "dev-2");
    start_with_busy_writer(x, &h, 3, three_pages);
    assert_int_equal(status(x).pages, 0); /* nothing is committed */
    sem_post(&h.go);
    assert_asks(x, 3, "/v1.0/d?$deltatoken=1");
    assert_status(x->f.store, 1, "hold");
    assert_status(x->f.store, 2, "revoked");
    rl_sync_status s = status(x);
    assert_true(s.pages >= 3 && s.requests >= 3);
    assert_int_equal(s.objects, 4);
    assert_int_equal(s.failures, 0);
}

static rl_err make_change(rl_store_txn *t, void *number, rl_error *e)
{
    (void)e;
    return rl_txn_new_change(t, "test", 1, number);
}

/* What a page revokes that is not the round's last waits for its end, however quick the directory was. */
static void test_the_last_page_of_a_round_is_joined_to_none(void **state)
{
    struct fixture *x = *state;
    struct held_writer h;
    uint64_t number;
    const struct answer answers[] = {
        {200, "", PAGE("{\"id\":\"o2\"}", "nextLink\":\"%s/v1.0/d?$skiptoken=1"), false},
        {200, "", PAGE("{\"id\":\"o1\",\"accountEnabled\":false}", "nextLink\":\"%s/v1.0/d?$skiptoken=2"), false},
        {200, "", PAGE("", "deltaLink\":\"%s/v1.0/d?$deltatoken=2"), false}};
    x->settings.sync.entra_interval = 3600000; /* only who is asked runs */
    x->settings.sync.mass_limit.value = 200;
    issue_for_device(x->f.store, 1, "dev-1");
    script(x, 1, &one_device);
    start(x);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", false, NULL), RL_OK);
    answered(x);
    keep_writer_busy(x, &h);
    const size_t before = asked(x);
    script(x, 3, answers);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", false, NULL), RL_OK);
    request(x, before + 2);
    sem_post(&h.go);
    const rl_cert_id id = cert_id(1);
    rl_cert_status now;
    do
        assert_int_equal(rl_store_cert_status(x->f.store, &id, &now), RL_OK);
    while (now.status == RL_STATUS_GOOD);
    assert_int_equal(rl_store_run(x->f.store, make_change, &number, NULL), RL_OK);
    assert_int_equal(number, 2); /* its own was the first */
}

static void test_a_failure_behind_pages_that_wait_fails_none_of_them(void **state)
{
    struct fixture *x = *state;
    struct held_writer h;
    const struct answer answers[] = {three_pages[0], three_pages[1], {503, "", "", false}};
    start_with_busy_writer(x, &h, 3, answers);
    sem_post(&h.go);
    assert_asks(x, 3, "/v1.0/d?$skiptoken=2");
    request(x, 4);
    rl_sync_status s = status(x);
    assert_int_equal(s.objects, 2);
    assert_int_equal(s.failures, 1);
}

static void test_pages_behind_one_that_cannot_be_written_are_forgotten(void **state)
{
    struct fixture *x = *state;
    struct held_writer h;
    x->settings.sync.new_device_grace = 4000000000000; /* that no directory knows it is no reason */
    issue_for_device(x->f.store, 1, "dev-1");
    start_with_busy_writer(x, &h, 3, three_pages);
    rl_store_fail_next_write(x->f.store);
    sem_post(&h.go);
    assert_asks(x, 3, INITIAL);
    request(x, 5);
    assert_status(x->f.store, 1, "good");
    assert_true(status(x).failures >= 1);
    assert_int_equal(status(x).objects, 0);
}

/* ---- a page that has run and is not written ---- */
struct held_write {
    sem_t holding, go, ran;
    bool let_go;
};

static void hold_write(void *held)
{
    struct held_write *h = held;
    if (h->let_go)
        return;
    sem_post(&h->holding);
    sem_wait(&h->go);
    h->let_go = true;
}

static rl_err note_run(rl_store_txn *t, void *ran, rl_error *e)
{
    (void)t, (void)e;
    sem_post(ran);
    return RL_OK;
}

/* Starts with the first write held up, until the link behind the first page has been asked for, and the page has run:
 * it was submitted before. */
static void start_with_held_write(struct fixture *x, struct held_write *h, size_t n, const struct answer *answers)
{
    x->settings.sync.new_device_grace = 4000000000000; /* that no directory knows it is no reason */
    issue_for_device(x->f.store, 1, "dev-1");
    *h = (struct held_write){0};
    sem_init(&h->holding, 0, 0);
    sem_init(&h->go, 0, 0);
    script(x, n, answers);
    rl_store_before_write(x->f.store, hold_write, h);
    start(x);
    sem_wait(&h->holding);
    assert_asks(x, 1, "/v1.0/d?$skiptoken=1");
    sem_init(&h->ran, 0, 0);
    assert_int_equal(rl_store_submit(x->f.store, note_run, NULL, &h->ran), RL_OK);
    sem_wait(&h->ran);
    assert_int_equal(status(x).objects, 0);
}

static void let_it_fail(struct fixture *x, struct held_write *h)
{
    rl_store_fail_next_write(x->f.store);
    sem_post(&h->go);
}

static void test_the_next_page_is_asked_for_while_one_is_written_and_forgotten_when_it_is_not(void **state)
{
    struct fixture *x = *state;
    struct held_write h;
    const struct answer answers[] = {three_pages[0], {0, "", "", false}, three_pages[0], {0, "", "", false}};
    start_with_held_write(x, &h, 4, answers);
    let_it_fail(x, &h);
    assert_asks(x, 2, INITIAL); /* though the answer to the link behind the page is waited for still */
    assert_asks(x, 3, "/v1.0/d?$skiptoken=1");
    rl_sync_status s;
    do
        s = status(x);
    while (s.objects == 0);
    assert_int_equal(s.objects, 1);
    assert_true(s.failures >= 1);
    assert_status(x->f.store, 1, "good");
}

/* It rests after a failure of its own when it becomes known that the page is not there. */
static void test_a_source_that_backs_off_learns_that_its_page_was_not_written(void **state)
{
    struct fixture *x = *state;
    struct held_write h;
    const struct answer answers[] = {three_pages[0], {503, "", "", false}};
    start_with_held_write(x, &h, 2, answers);
    request(x, 2); /* it tries again */
    let_it_fail(x, &h);
    size_t i = 3;
    while (strncmp(request(x, i), "GET " INITIAL, strlen("GET " INITIAL)) != 0)
        i++;
    assert_int_equal(status(x).objects, 0);
}

static void test_a_new_process_goes_on_at_the_stored_link(void **state)
{
    struct fixture *x = *state;
    const struct answer first[] = {{200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?$skiptoken=1"), false},
                                   {503, "", "", false}};
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 2, first); /* the second page fails, and is asked again … */
    stop(x);
    folder_store_close(&x->f);
    folder_store_open(&x->f);
    size_t before = asked(x);
    const struct answer second[] = {
        {200, "", PAGE("{\"id\":\"o1\",\"accountEnabled\":false}", "deltaLink\":\"%s/v1.0/d?$deltatoken=9"), false}};
    script(x, 1, second);
    start(x);
    assert_asks(x, before + 1, "/v1.0/d?$deltatoken=9");
    assert_status(x->f.store, 1, "hold");
    assert_null(strstr(request(x, before), INITIAL));
}

static void test_full_on_demand_revokes_what_is_gone(void **state)
{
    struct fixture *x = *state;
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 1, &one_device);
    stop(x);
    size_t before = asked(x);
    const struct answer listed = {
        200, "", PAGE("{\"id\":\"o2\",\"deviceId\":\"dev-2\"}", "deltaLink\":\"%s/v1.0/d?$deltatoken=2"), false};
    x->settings.sync.entra_interval = 3600000; /* only who is asked runs */
    script(x, 0, NULL);
    start(x);
    assert_asks(x, before, "/v1.0/d?$deltatoken=idle"); /* a new process asks at once */
    script(x, 1, &listed);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", true, NULL), RL_OK);
    assert_asks(x, before + 1, INITIAL);
    assert_int_equal(rl_sync_now(x->sync, "", false, NULL), RL_OK);
    assert_asks(x, before + 2, "/v1.0/d?$deltatoken=2");
    assert_status(x->f.store, 1, "revoked");
}

static void assert_stale_in(struct fixture *x, int64_t least, int64_t most)
{
    const rl_cert_record cert = {.bindings_n = 1, .bindings = {{.source = RL_SOURCE_ENTRA_DEVICE, .id = "o1"}}};
    int64_t left = rl_sync_told_until(&cert, x->sync) - rl_wall_s();
    assert_true(left >= least && left <= most);
}

static void test_a_clock_that_was_ahead_hides_no_silence(void **state)
{
    enum { HOUR = 3600, MINUTE = 60 };
    struct fixture *x = *state;
    const struct answer silence = {0};
    x->settings.sync.entra_interval = HOUR * 1000; /* only who is asked runs */
    x->settings.sync.jitter_percent = 0;
    x->settings.sync.stale_after = HOUR * 1000;
    x->settings.sync.stale_policy = RL_STALE_TRY_LATER;
    script(x, 1, &one_device);
    start(x);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", false, NULL), RL_OK);
    answered(x);
    assert_stale_in(x, 2 * HOUR - MINUTE, 2 * HOUR);
    atomic_store(&ahead_s, 0); /* while it runs */
    assert_stale_in(x, 2 * HOUR - MINUTE, 2 * HOUR);
    stop(x);
    script(x, 1, &silence);
    start(x); /* by what an earlier process has left */
    assert_stale_in(x, 2 * HOUR - MINUTE, 2 * HOUR);
}

static void test_who_asks_is_told_how_it_went(void **state)
{
    struct fixture *x = *state;
    const struct answer refused = {403, "", "{\"error\":{\"code\":\"Authorization_RequestDenied\"}}", false};
    x->settings.sync.entra_interval = 3600000; /* only who is asked runs */
    script(x, 1, &one_device);
    start(x);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", false, NULL), RL_OK);
    rl_sync_status s = answered(x);
    assert_true(s.asked == 1 && s.answered_well == 1 && s.last_error[0] == 0 && s.advice[0] == 0);
    x->settings.sync.retry_max = 600000;
    script(x, 1, &refused);
    assert_int_equal(rl_sync_now(x->sync, "entra-device", false, NULL), RL_OK);
    s = answered(x);
    assert_true(s.asked == 2 && s.answered == 2 && s.answered_well == 1);
    assert_non_null(strstr(s.last_error, "403"));
    assert_non_null(strstr(s.advice, "Device.Read.All"));
    assert_true(s.throttled_ms == 0 && s.waits_until == 0);
}

static void test_waiting_as_the_upstream_says_is_counted(void **state)
{
    struct fixture *x = *state;
    const struct answer throttled = {429, "Retry-After: 1\r\n", "{}", false};
    x->settings.sync.entra_interval = 3600000;
    script(x, 1, &throttled);
    start(x);
    rl_sync_status s;
    do
        s = status(x);
    while (s.failures == 0);
    assert_true(s.waits_until > 0 && strstr(s.advice, "limits how often"));
    do
        s = status(x);
    while (s.rounds == 0);
    assert_true(s.throttled_ms >= 900 && s.waits_until == 0 && s.last_error[0] == 0);
}

/* ---- tokens ---- */
static void test_a_refused_token_is_replaced_and_the_request_repeated(void **state)
{
    struct fixture *x = *state;
    const struct answer answers[] = {one_device,
                                     {401, "", "{\"error\":{\"code\":\"InvalidAuthenticationToken\"}}", false}};
    run_script(x, 2, answers);
    assert_asks(x, 1, "/v1.0/d?$deltatoken=1");
    assert_asks(x, 2, "/v1.0/d?$deltatoken=1");
    assert_non_null(strstr(request(x, 1), "Bearer token-1\r\n"));
    assert_null(strstr(request(x, 2), "Bearer token-1\r\n"));
    assert_int_equal(status(x).failures, 0);
}

static void test_without_a_token_nothing_is_asked(void **state)
{
    struct fixture *x = *state;
    x->d.token_status = 401;
    script(x, 0, NULL);
    start(x);
    rl_sync_status s;
    do /* the tries are what is waited for: they come by themselves */
        s = status(x);
    while (s.failures < 3);
    assert_int_equal(asked(x), 0);
    assert_non_null(strstr(s.last_error, "401: invalid_client (AADSTS7000215)"));
    assert_null(strstr(s.last_error, "s3cret"));
    pthread_mutex_lock(&x->d.lock);
    x->d.token_status = 200;
    pthread_mutex_unlock(&x->d.lock);
    assert_asks(x, 0, INITIAL);
}

/* ---- failures ---- */
static void test_failures_change_nothing_and_the_same_link_is_asked_again(void **state)
{
    static const struct answer bad[] = {
        {403, "", "{\"error\":{\"code\":\"Authorization_RequestDenied\"}}", false},
        {404, "", "{\"error\":{\"code\":\"Request_ResourceNotFound\"}}", false},
        {400, "", "{\"error\":{\"code\":\"BadRequest\"}}", false},
        {429, "Retry-After: 0\r\n", "", false},
        {500, "", "", false},
        {503, "Content-Type: text/html\r\n", "<html>busy</html>", false},
        {200, "Content-Type: text/html\r\n", "<html>busy</html>", false},
        {200, "", "", false},
        {204, "", "", false},
        {307, "Location: http://127.0.0.1:9/\r\n", "", false},
        {200, "", PAGE("{\"id\":\"o1\",\"@removed\":{}}", "deltaLink\":\"%s/v1.0/d?x"), true},
        {200, "", PAGE("{\"id\":\"o1\",\"@removed\":{}},{\"id\":7}", "deltaLink\":\"%s/v1.0/d?x"), false},
        {200, "", PAGE("{\"id\":\"o1\",\"@removed\":{}}", "nextLink\":\"http://127.0.0.1:9/v1.0/d?x"), false},
        {200, "", "{\"value\":[{\"id\":\"o1\",\"@removed\":{}}]}", false},
    };
    struct fixture *x = *state;
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 1, &one_device);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t failures = status(x).failures;
        script(x, 1, &bad[i]);
        size_t at = asked(x);
        while (status(x).failures == failures)
            request(x, at++);
        assert_status(x->f.store, 1, "good");
        /* It recovers: the next answer is fine. */
        for (at = asked(x); status(x).last_error[0];)
            request(x, at++);
    }
    for (size_t i = 1; i < asked(x); i++)
        assert_null(strstr(request(x, i), INITIAL));
}

static void test_a_lost_place_leads_to_a_full_round(void **state)
{
    static const struct answer lost[] = {
        {410, "Location: http://127.0.0.1:9/\r\n", "", false},
        {400, "", "{\"error\":{\"code\":\"syncStateNotFound\"}}", false},
        {404, "", "{\"error\":{\"code\":\"SyncStateNotFound\"}}", false},
        {400, "", "{\"error\":{\"code\":\"resyncRequired\"}}", false},
    };
    struct fixture *x = *state;
    static const char *const names[] = {"dev-1", "dev-2", "dev-3", "dev-4", "dev-5"};
    char items[5][160];
    for (uint8_t i = 0; i < 5; i++) {
        issue_for_device(x->f.store, (uint8_t)(i + 1), names[i]);
        snprintf(items[i], sizeof(items[i]),
                 PAGE("{\"id\":\"o%d\",\"deviceId\":\"%s\"}", "deltaLink\":\"%%s/v1.0/d?$deltatoken=1"), i, names[i]);
    }
    struct answer answers[9] = {{200, "", items[0], false}};
    for (size_t i = 0; i < 4; i++) {
        answers[2 * i + 1] = lost[i];
        answers[2 * i + 2] = (struct answer){200, "", items[i + 1], false}; /* lists another object only */
    }
    run_script(x, 9, answers);
    for (size_t i = 0; i < 9; i += 2)
        assert_asks(x, i, INITIAL);
    for (uint8_t i = 1; i <= 4; i++)
        assert_status(x->f.store, i, "revoked");
    assert_status(x->f.store, 5, "good");
    assert_int_equal(status(x).failures, 0);
}

static void test_a_suddenly_empty_directory_is_refused(void **state)
{
    struct fixture *x = *state;
    const struct answer answers[] = {
        one_device, {410, "", "", false}, {200, "", empty_page, false}, {200, "", empty_page, false}};
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 4, answers);
    assert_asks(x, 2, INITIAL);
    assert_asks(x, 3, INITIAL);
    assert_asks(x, 4, INITIAL);
    assert_status(x->f.store, 1, "good");
    assert_non_null(strstr(status(x).last_error, "listed no object though 1 are known"));
}

static void test_another_tenants_directory_is_not_compared(void **state)
{
    struct fixture *x = *state;
    issue_for_device(x->f.store, 1, "dev-1");
    run_script(x, 1, &one_device);
    stop(x);
    size_t before = asked(x);
    x->settings.azure.tenant_id = "fabrikam.com";
    start(x);
    while (status(x).failures < 3)
        sched_yield();
    assert_non_null(strstr(status(x).last_error, "contoso.com"));
    assert_int_equal(asked(x), before);
    assert_status(x->f.store, 1, "good");
    stop(x);
    x->settings.azure.tenant_id = "Contoso.com"; /* compared without case */
    start(x);
    request(x, before + 1);
    assert_int_equal(status(x).failures, 0);
}

static void test_links_in_a_circle_end_the_round(void **state)
{
    struct fixture *x = *state;
    const struct answer answers[] = {{200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?a"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?b"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?c"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?b"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?c"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?b"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?c"), false},
                                     {200, "", PAGE("", "nextLink\":\"%s/v1.0/d?b"), false}};
    size_t again = 1;
    script(x, 8, answers);
    start(x);
    while (!strstr(request(x, again), INITIAL)) /* begins anew */
        again++;
    assert_in_range(again, 4, 8);
    assert_true(status(x).failures >= 1);
}

static void test_a_link_refused_again_and_again_is_given_up(void **state)
{
    struct fixture *x = *state;
    const struct answer no = {400, "", "{\"error\":{\"code\":\"BadRequest\",\"message\":\"Skip token is expired.\"}}",
                              false};
    const struct answer answers[] = {{200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?a"), false}, no, no, no, no};
    run_script(x, 5, answers);
    assert_asks(x, 4, "/v1.0/d?a");
    assert_asks(x, 5, INITIAL);
}

static void test_a_link_that_leads_nowhere_is_given_up(void **state)
{
    static const struct answer useless[] = {{500, "", "", false}, {200, "", "{\"value\":7}", false}};
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++) {
        struct answer answers[10] = {{200, "", PAGE(DEVICE, "nextLink\":\"%s/v1.0/d?a"), false}};
        size_t from = asked(x);
        for (size_t k = 1; k < 10; k++)
            answers[k] = useless[i];
        script(x, 10, answers);
        if (i == 0)
            start(x);
        while (strstr(request(x, from), "/v1.0/d?a") == NULL)
            from++;
        for (size_t k = 0; k < 9; k++)
            assert_asks(x, from + k, "/v1.0/d?a");
        assert_asks(x, from + 9, INITIAL);
    }
}

/* ---- off, unknown, stopping ---- */
static void test_not_configured_is_off(void **state)
{
    struct fixture *x = *state;
    x->settings.azure.client_secret = "";
    start(x);
    assert_string_equal(status(x).state, "off");
    assert_int_equal(rl_sync_now(x->sync, "", false, NULL), RL_ENOTFOUND);
    stop(x);
    x->settings.azure.client_secret = "s";
    x->settings.sync.entra_interval = 0;
    start(x);
    assert_string_equal(status(x).state, "off");
}

/* What a process leaves that was killed after Intune's first list was complete, before every certificate was weighed.
 */
static rl_err leave_listed(rl_store_txn *t, void *settings, rl_error *e)
{
    char rules[RL_RULES_TEXT];
    const rl_object_record device = {.exists = true,
                                     .enabled = true,
                                     .compliance = RL_COMPLIANCE_NONCOMPLIANT,
                                     .generation = 1,
                                     .name = (char *)(uintptr_t) "d-1"};
    (void)e;
    rl_rules_fingerprint(settings, false, rules);
    const rl_cursor_record weighed = {.link = rules, .complete = true, .last_success = 1, .last_full = 1},
                           listed = {.complete = true, .last_success = 1, .last_full = 1};
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_ENTRA_DEVICE, "o-1", &device));
    RL_TRY(rl_txn_put_cursor(t, "reweigh", &weighed));
    return rl_txn_put_cursor(t, "intune-device", &listed);
}

static void test_what_intunes_first_list_changes_is_weighed_after_a_crash(void **state)
{
    struct fixture *x = *state;
    x->settings.rules.directory = RL_DIRECTORY_BOTH;
    x->settings.rules.compliance = RL_CHECK_ALWAYS;
    x->settings.sync.entra_interval = 0;
    script(x, 0, NULL);
    issue(x->f.store, 1, RL_SOURCE_ENTRA_DEVICE, "o-1", RL_SOURCE_NONE, NULL);
    assert_int_equal(rl_store_run(x->f.store, leave_listed, &x->settings, NULL), RL_OK);
    assert_status(x->f.store, 1, "good");
    start(x);
    wait_for_rounds(x, "reweigh", 1);
    assert_status(x->f.store, 1, "hold");
}

static void test_an_unknown_source_is_not_found(void **state)
{
    struct fixture *x = *state;
    script(x, 0, NULL);
    start(x);
    assert_int_equal(rl_sync_now(x->sync, "jamf", false, NULL), RL_ENOTFOUND);
    assert_int_equal(rl_sync_now(x->sync, "entra-user", false, NULL), RL_OK);
}

static void test_more_sources_than_there_is_room_for_are_refused(void **state)
{
    struct fixture *x = *state;
    char *urls[RL_SYNC_SOURCES_MAX];
    rl_error e = {0};
    for (size_t i = 0; i < RL_SYNC_SOURCES_MAX; i++)
        urls[i] = "http://127.0.0.1:1/x.crl";
    x->settings.sync.crl_urls = (rl_text_list){.items = urls, .n = RL_SYNC_SOURCES_MAX};
    assert_int_equal(rl_sync_start(x->f.store, &x->settings, &x->sync, &e), RL_ERANGE);
    assert_null(x->sync);
}

static void test_stop_does_not_wait_for_an_upstream(void **state)
{
    struct fixture *x = *state;
    const struct answer silence = {0};
    script(x, 1, &silence);
    start(x);
    request(x, 0);
    stop(x);
}

static void *stop_thread(void *arg)
{
    stop(arg);
    return NULL;
}

static void test_stop_waits_for_a_transaction(void **state)
{
    struct fixture *x = *state;
    struct held_writer h;
    pthread_t thread;
    keep_writer_busy(x, &h);
    script(x, 1, &one_device);
    start(x);
    request(x, 0);
    pthread_create(&thread, NULL, stop_thread, x);
    sem_post(&h.go);
    pthread_join(thread, NULL);
}

/* JSON takes nothing else, and a source that cannot be shown is one that fails unseen. */
static void test_an_error_is_text_whatever_the_upstream_says(void **state)
{
    struct fixture *x = *state;
    rl_sync_status s;
    x->d.answers[0] = (struct answer){503, "request-id: \xff\xfe\xc3\r\n", "", false};
    x->d.answers_n = 1;
    start(x);
    do
        s = status(x);
    while (s.failures == 0);
    assert_non_null(strstr(s.last_error, "Graph answered 503, request-id"));
    json_t *shown = json_string(s.last_error);
    assert_non_null(shown);
    json_decref(shown);
}

#define SYNC_TEST(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CLOCK_TEST(name) cmocka_unit_test_setup_teardown(name, setup_clock, teardown_clock)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYNC_TEST(test_a_round_follows_the_links_with_the_token),
        SYNC_TEST(test_the_token_request_is_form_encoded),
        SYNC_TEST(test_a_new_process_goes_on_at_the_stored_link),
        SYNC_TEST(test_full_on_demand_revokes_what_is_gone),
        SYNC_TEST(test_who_asks_is_told_how_it_went),
        SYNC_TEST(test_waiting_as_the_upstream_says_is_counted),
        SYNC_TEST(test_a_refused_token_is_replaced_and_the_request_repeated),
        SYNC_TEST(test_without_a_token_nothing_is_asked),
        SYNC_TEST(test_failures_change_nothing_and_the_same_link_is_asked_again),
        SYNC_TEST(test_a_lost_place_leads_to_a_full_round),
        SYNC_TEST(test_a_suddenly_empty_directory_is_refused),
        SYNC_TEST(test_another_tenants_directory_is_not_compared),
        SYNC_TEST(test_pages_are_read_on_while_the_writer_is_busy),
        SYNC_TEST(test_the_last_page_of_a_round_is_joined_to_none),
        SYNC_TEST(test_a_failure_behind_pages_that_wait_fails_none_of_them),
        SYNC_TEST(test_pages_behind_one_that_cannot_be_written_are_forgotten),
        SYNC_TEST(test_the_next_page_is_asked_for_while_one_is_written_and_forgotten_when_it_is_not),
        SYNC_TEST(test_a_source_that_backs_off_learns_that_its_page_was_not_written),
        SYNC_TEST(test_links_in_a_circle_end_the_round),
        SYNC_TEST(test_a_link_refused_again_and_again_is_given_up),
        SYNC_TEST(test_a_link_that_leads_nowhere_is_given_up),
        SYNC_TEST(test_an_error_is_text_whatever_the_upstream_says),
        SYNC_TEST(test_not_configured_is_off),
        SYNC_TEST(test_what_intunes_first_list_changes_is_weighed_after_a_crash),
        SYNC_TEST(test_an_unknown_source_is_not_found),
        SYNC_TEST(test_more_sources_than_there_is_room_for_are_refused),
        SYNC_TEST(test_stop_does_not_wait_for_an_upstream),
        SYNC_TEST(test_stop_waits_for_a_transaction),
        CLOCK_TEST(test_a_clock_that_was_ahead_puts_off_no_full_round),
        CLOCK_TEST(test_a_clock_that_was_ahead_hides_no_silence),
        CLOCK_TEST(test_a_clock_that_is_set_back_puts_off_no_renewal_of_the_subscription),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
