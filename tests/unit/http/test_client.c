/* The HTTP client against a small server of the tests' own, and openssl's for TLS. */
#include "http/client.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/http/upstream.h"

enum { LIMIT = 100000 };

/* What the server answers next, and what it was asked. */
struct script {
    pthread_mutex_t lock;
    upstream_reply reply;
    rl_buf request;
};

static void play(void *ctx, const char *request, upstream_reply *reply)
{
    struct script *s = ctx;
    pthread_mutex_lock(&s->lock);
    rl_buf_reset(&s->request);
    rl_buf_append(&s->request, request, strlen(request) + 1);
    rl_buf_append(&reply->bytes, s->reply.bytes.p, s->reply.bytes.n);
    reply->hang = s->reply.hang;
    reply->reset = s->reply.reset;
    pthread_mutex_unlock(&s->lock);
}

struct outcome {
    unsigned calls;
    rl_err err;
    rl_http_failure failure;
    long status;
    int64_t retry_after_ms, date;
    rl_buf body;
    char request_id[64], message[256], etag[32];
    bool has_expires;
};

static void record(const rl_http_response *r, void *arg)
{
    struct outcome *o = arg;
    o->calls++;
    o->err = r->err;
    o->failure = r->failure;
    o->status = r->status;
    o->retry_after_ms = r->retry_after_ms;
    o->date = r->date;
    rl_buf_append(&o->body, r->body.p, r->body.n);
    snprintf(o->request_id, sizeof(o->request_id), "%s", r->request_id);
    snprintf(o->message, sizeof(o->message), "%s", r->message);
    const char *etag = rl_http_response_header(r, "ETAG");
    snprintf(o->etag, sizeof(o->etag), "%s", etag ? etag : "");
    o->has_expires = rl_http_response_header(r, "Expires") != NULL;
}

struct fixture {
    uv_loop_t loop;
    rl_http_client *client;
    upstream server;
    struct script script;
    struct outcome outcome;
    bool closed;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    assert_int_equal(rl_http_client_new(&f->loop, &f->client, NULL), RL_OK);
    pthread_mutex_init(&f->script.lock, NULL);
    upstream_start(&f->server, play, &f->script);
    *state = f;
    return 0;
}

static void on_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->client)
        rl_http_client_close(f->client, on_closed, f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    upstream_stop(&f->server);
    pthread_mutex_destroy(&f->script.lock);
    rl_buf_free(&f->script.reply.bytes);
    rl_buf_free(&f->script.request);
    rl_buf_free(&f->outcome.body);
    free(f);
    return 0;
}

static void answer(struct fixture *f, const char *bytes)
{
    pthread_mutex_lock(&f->script.lock);
    rl_buf_reset(&f->script.reply.bytes);
    rl_buf_append(&f->script.reply.bytes, bytes, strlen(bytes));
    pthread_mutex_unlock(&f->script.lock);
}

static void go_silent(struct fixture *f)
{
    pthread_mutex_lock(&f->script.lock);
    f->script.reply.hang = true;
    pthread_mutex_unlock(&f->script.lock);
}

/* The last request as the server read it; "" when there was none. */
static const char *asked(struct fixture *f)
{
    pthread_mutex_lock(&f->script.lock);
    const char *text = f->script.request.n ? (char *)f->script.request.p : "";
    pthread_mutex_unlock(&f->script.lock);
    return text;
}

static rl_http_call_options options(struct fixture *f)
{
    return (rl_http_call_options){
        .method = "GET", .url = f->server.url, .body_limit = LIMIT, .timeout = 20000, .connect_timeout = 20000};
}

/* Runs one call to its end; the loop stays alive only for it, since an idle client holds just stopped handles. */
static struct outcome *run(struct fixture *f, const rl_http_call_options *o)
{
    rl_error e = {0};
    rl_buf_free(&f->outcome.body);
    f->outcome = (struct outcome){0};
    assert_int_equal(rl_http_call_start(f->client, o, record, &f->outcome, NULL, &e), RL_OK);
    assert_int_equal(f->outcome.calls, 0); /* later, never inside */
    while (f->outcome.calls == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    return &f->outcome;
}

static struct outcome *get(struct fixture *f, const char *bytes)
{
    rl_http_call_options o = options(f);
    answer(f, bytes);
    return run(f, &o);
}

static bool body_is(const struct outcome *o, const char *text)
{
    return rl_span_eq(rl_buf_span(&o->body), rl_span_str(text));
}

/* ---- whole answers ---- */
static void test_get_sends_headers_and_token_and_reads_the_answer(void **state)
{
    struct fixture *f = *state;
    static const char *const headers[] = {"Accept: application/json", "Prefer: x=1", NULL};
    rl_http_call_options o = options(f);
    o.headers = headers;
    o.bearer = "ab.cd-ef";
    answer(f, "HTTP/1.1 200 OK\r\nDate: Mon, 05 Jan 2026 09:58:11 GMT\r\nrequest-id: 93b6-17\r\nContent-Length: 5\r\n"
              "Connection: close\r\n\r\nhello");
    struct outcome *r = run(f, &o);
    assert_int_equal(r->err, RL_OK);
    assert_int_equal(r->status, 200);
    assert_true(body_is(r, "hello"));
    assert_string_equal(r->request_id, "93b6-17");
    assert_int_equal(r->date, 1767607091); /* date -d '2026-01-05 09:58:11Z' +%s */
    assert_int_equal(r->retry_after_ms, -1);
    const char *request = asked(f);
    assert_non_null(strstr(request, "GET / HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "\r\nAuthorization: Bearer ab.cd-ef\r\n"));
    assert_non_null(strstr(request, "\r\nAccept: application/json\r\n"));
    assert_non_null(strstr(request, "\r\nPrefer: x=1\r\n"));
    assert_non_null(strstr(request, "\r\nAccept-Encoding: gzip\r\n"));
}

static void test_headers_are_found_by_name_in_any_case(void **state)
{
    struct outcome *r = get(*state, "HTTP/1.1 200 OK\r\nEtag:  \"v1\"\r\nContent-Length: 0\r\nETag: \"v2\"\r\n"
                                    "Connection: close\r\n\r\n");
    assert_string_equal(r->etag, "\"v1\"");
    assert_false(r->has_expires);
    r = get(*state, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe");
    assert_int_equal(r->err, RL_EIO);
    assert_string_equal(r->etag, ""); /* of an answer that broke off nothing is used */
}

static void test_post_sends_the_body_whole(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    o.method = "POST";
    o.body = RL_SPAN_LIT("a=1&b=%2B");
    answer(f, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_int_equal(run(f, &o)->status, 201);
    const char *request = asked(f);
    assert_non_null(strstr(request, "\r\nContent-Length: 9\r\n"));
    assert_non_null(strstr(request, "\r\n\r\na=1&b=%2B"));
    assert_null(strstr(request, "Expect:"));
}

static void test_other_methods(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    o.method = "PATCH";
    o.body = RL_SPAN_LIT("{}");
    answer(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_int_equal(run(f, &o)->status, 200);
    assert_int_equal(strncmp(asked(f), "PATCH /", 7), 0);
    assert_non_null(strstr(asked(f), "\r\n\r\n{}"));
    o = options(f);
    o.method = "DELETE";
    answer(f, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_int_equal(run(f, &o)->status, 204);
    assert_int_equal(strncmp(asked(f), "DELETE /", 8), 0);
}

static void test_the_url_is_sent_as_it_is(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    char url[128];
    snprintf(url, sizeof(url), "%s/v1.0/a/../b?$skiptoken=%%24x'(y)", f->server.url);
    o.url = url;
    answer(f, "HTTP/1.1 204 N\r\nConnection: close\r\n\r\n");
    assert_int_equal(run(f, &o)->status, 204);
    assert_non_null(strstr(asked(f), "GET /v1.0/a/../b?$skiptoken=%24x'(y) HTTP/1.1\r\n"));
}

static void test_redirects_are_not_followed(void **state)
{
    struct outcome *r = get(
        *state, "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_int_equal(r->err, RL_OK);
    assert_int_equal(r->status, 307);
}

static void test_chunked_answers_are_read(void **state)
{
    assert_true(body_is(get(*state, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: "
                                    "close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
                        "abcde"));
}

/* ---- answers that do not count ---- */
static void test_cookies_are_kept_for_calls_that_want_them(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    answer(
        f,
        "HTTP/1.1 200 X\r\nSet-Cookie: APBALANCEID=aws.n1; path=/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    run(f, &o);
    o.cookies = true;
    run(f, &o);
    assert_null(strstr(asked(f), "Cookie:")); /* the first did not keep it */
    run(f, &o);
    assert_non_null(strstr(asked(f), "\r\nCookie: APBALANCEID=aws.n1\r\n"));
    o.cookies = false;
    run(f, &o);
    assert_null(strstr(asked(f), "Cookie:"));
}

static void test_incomplete_answers_are_errors(void **state)
{
    static const char *const incomplete[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
        "\x16\x03\x01 not http",
    };
    for (size_t i = 0; i < sizeof(incomplete) / sizeof(incomplete[0]); i++) {
        struct outcome *r = get(*state, incomplete[i]);
        assert_int_equal(r->err, RL_EIO);
        assert_true(r->message[0]);
    }
}

static void test_a_reset_is_an_error(void **state)
{
    struct fixture *f = *state;
    f->script.reply.reset = true;
    assert_int_equal(get(f, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")->err, RL_EIO);
}

static void test_nobody_listening_is_an_error(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: refused */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    char url[64];
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
    o.url = url;
    assert_int_equal(run(f, &o)->err, RL_EIO);
    assert_int_equal(f->outcome.failure, RL_HTTP_NO_CONNECT);
    close(fd);
}

static void test_silence_times_out(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    go_silent(f);
    o.timeout = 30;
    assert_int_equal(run(f, &o)->err, RL_ETIMEDOUT);
    assert_int_equal(f->outcome.failure, RL_HTTP_TIMEOUT);
}

/* ---- limits ---- */
static void test_a_body_above_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    answer(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    o.body_limit = 5;
    assert_int_equal(run(f, &o)->err, RL_OK);
    assert_int_equal(f->outcome.failure, RL_HTTP_ANSWERED);
    o.body_limit = 4;
    assert_int_equal(run(f, &o)->err, RL_ERANGE);
    assert_int_equal(f->outcome.failure, RL_HTTP_TOO_LARGE);
}

static void test_headers_above_the_limit_are_refused(void **state)
{
    struct fixture *f = *state;
    rl_buf b = {0};
    rl_buf_printf(&b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n");
    for (int i = 0; i < 70; i++)
        rl_buf_printf(&b, "X-%d: %01000d\r\n", i, 0);
    rl_buf_append(&b, "\r\n", 3);
    assert_int_equal(get(f, (char *)b.p)->err, RL_ERANGE);
    rl_buf_free(&b);
}

/* gzip's own command packs. */
static void answer_packed(struct fixture *f, const char *command)
{
    rl_buf packed = {0};
    char chunk[4096];
    FILE *p = popen(command, "r");
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), p)) > 0;)
        rl_buf_append(&packed, chunk, n);
    assert_int_equal(pclose(p), 0);
    pthread_mutex_lock(&f->script.lock);
    rl_buf_reset(&f->script.reply.bytes);
    upstream_answer(&f->script.reply, 200, "Content-Encoding: gzip\r\n", rl_buf_span(&packed));
    pthread_mutex_unlock(&f->script.lock);
    rl_buf_free(&packed);
}

static void test_gzip_is_unpacked_and_limited_by_what_comes_out(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    answer_packed(f, "printf 'hello hello' | gzip -9n");
    assert_true(body_is(run(f, &o), "hello hello"));
    answer_packed(f, "head -c 100000 /dev/zero | gzip -9n");
    assert_int_equal(run(f, &o)->body.n, LIMIT);
    answer_packed(f, "head -c 100001 /dev/zero | gzip -9n");
    assert_int_equal(run(f, &o)->err, RL_ERANGE);
    answer_packed(f, "head -c 20000000 /dev/zero | gzip -9n");
    assert_int_equal(run(f, &o)->err, RL_ERANGE);
}

/* ---- what is not asked for ---- */
static void test_bad_requests_are_refused_before_anything_is_sent(void **state)
{
    struct fixture *f = *state;
    static const char *const split[] = {"X: a\r\nY: b", NULL};
    rl_http_call_options o = options(f);
    o.headers = split;
    assert_int_equal(rl_http_call_start(f->client, &o, record, &f->outcome, NULL, NULL), RL_EINVAL);
    o = options(f);
    o.bearer = "token\r\nX-Forged: 1";
    assert_int_equal(rl_http_call_start(f->client, &o, record, &f->outcome, NULL, NULL), RL_EINVAL);
    o = options(f);
    o.method = "BREW";
    assert_int_equal(rl_http_call_start(f->client, &o, record, &f->outcome, NULL, NULL), RL_EINVAL);
    assert_int_equal(f->outcome.calls, 0);
    assert_string_equal(asked(f), "");
}

static void test_only_http_and_no_credentials_in_the_url(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    char url[128];
    o.url = "file:///etc/passwd";
    assert_int_equal(run(f, &o)->err, RL_EIO);
    snprintf(url, sizeof(url), "http://user:word@127.0.0.1:%u/", f->server.port);
    o.url = url;
    assert_int_equal(run(f, &o)->err, RL_EIO);
    assert_string_equal(asked(f), "");
}

/* ---- cancel and close ---- */
static void test_cancel_calls_back_once(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    rl_http_call *call;
    go_silent(f);
    assert_int_equal(rl_http_call_start(f->client, &o, record, &f->outcome, &call, NULL), RL_OK);
    uv_run(&f->loop, UV_RUN_ONCE);
    rl_http_call_cancel(call);
    assert_int_equal(f->outcome.calls, 1);
    assert_int_equal(f->outcome.err, RL_ECANCELED);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->outcome.calls, 1);
}

static void test_close_cancels_calls_in_every_phase(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[4] = {0};
    rl_http_call_options o = options(f);
    rl_http_call_options named = options(f);
    named.url = "http://name.invalid/";                     /* resolving */
    get(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); /* an idle connection */
    go_silent(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rl_http_call_start(f->client, &o, record, &outcomes[i], NULL, NULL), RL_OK);
    for (int i = 0; i < 3; i++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(rl_http_call_start(f->client, &named, record, &outcomes[2], NULL, NULL), RL_OK);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(rl_http_call_start(f->client, &o, record, &outcomes[3], NULL, NULL), RL_OK);
    rl_http_client_close(f->client, on_closed, f);
    f->client = NULL;
    for (int i = 0; i < 4; i++)
        assert_int_equal(outcomes[i].calls, 1);
    assert_int_equal(outcomes[3].err, RL_ECANCELED);
}

static void close_inside(const rl_http_response *r, void *arg)
{
    struct fixture *f = arg;
    record(r, &f->outcome);
    rl_http_client *client = f->client;
    f->client = NULL; /* closing calls the other one back, in here again */
    if (client)
        rl_http_client_close(client, on_closed, f);
}

static void test_close_from_inside_a_callback(void **state)
{
    struct fixture *f = *state;
    rl_http_call_options o = options(f);
    answer(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_int_equal(rl_http_call_start(f->client, &o, close_inside, f, NULL, NULL), RL_OK);
    assert_int_equal(rl_http_call_start(f->client, &o, close_inside, f, NULL, NULL), RL_OK);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->outcome.calls, 2);
    assert_true(f->closed);
}

/* ---- Retry-After ---- */
static void test_retry_after_in_both_forms(void **state)
{
    static const struct {
        const char *headers;
        int64_t ms;
    } rows[] = {
        {"Retry-After: 17\r\n", 17000},
        {"Retry-After: 0\r\n", 0},
        {"Retry-After: 86400\r\n", 86400000},
        {"Retry-After: 99999999999999999999999\r\n", INT64_MAX},
        {"Retry-After: -5\r\n", -1},
        {"Retry-After: soon\r\n", -1},
        {"Retry-After: 1.5\r\n", -1},
        {"", -1},
        /* Against the answer's own clock, however wrong that is. */
        {"Date: Tue, 06 Jan 1998 00:00:00 GMT\r\nRetry-After: Tue, 06 Jan 1998 00:01:30 GMT\r\n", 90000},
        {"Date: Tue, 06 Jan 1998 00:00:00 GMT\r\nRetry-After: Mon, 05 Jan 1998 00:01:30 GMT\r\n", 0},
        {"Retry-After: Mon, 05 Jan 1998 00:01:30 GMT\r\n", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "HTTP/1.1 429 T\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n",
                 rows[i].headers);
        struct outcome *r = get(*state, text);
        assert_int_equal(r->status, 429);
        assert_int_equal(r->retry_after_ms, rows[i].ms);
    }
}

static void test_backoff_doubles_up_to_the_cap_and_obeys_retry_after(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        int64_t d = rl_backoff(0, 1000, 60000, -1);
        assert_in_range(d, 500, 1500);
        d = rl_backoff(3, 1000, 60000, -1);
        assert_in_range(d, 4000, 12000);
        d = rl_backoff(4000000000u, 1000, 60000, -1);
        assert_in_range(d, 30000, 90000);
        d = rl_backoff(200, 1000, INT64_MAX, -1); /* no overflow */
        assert_true(d > 0);
        assert_in_range(rl_backoff(0, 1000, 100, -1), 50, 150);
        assert_int_equal(rl_backoff(0, 1000, 60000, 20000), 20000);
        assert_int_equal(rl_backoff(0, 1000, 60000, 86400000), 3600000);
        assert_int_equal(rl_backoff(0, 1000, 60000, INT64_MAX), 3600000);
    }
}

/* ---- origins ---- */
static void test_same_origin(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"https://graph.microsoft.com", "https://graph.microsoft.com/v1.0/x?$skiptoken=1", true},
        {"https://graph.microsoft.com", "HTTPS://Graph.Microsoft.COM:443/x", true},
        {"http://127.0.0.1:8080/", "http://127.0.0.1:8080/x", true},
        {"http://h", "http://h:80/", true},
        {"https://graph.microsoft.com", "http://graph.microsoft.com/x", false},
        {"https://graph.microsoft.com", "https://graph.microsoft.com:444/x", false},
        {"https://graph.microsoft.com", "https://graph.microsoft.com.evil.example/x", false},
        {"https://graph.microsoft.com", "https://evil.example/graph.microsoft.com", false},
        {"https://graph.microsoft.com", "https://graph.microsoft.com@evil.example/", false},
        {"https://graph.microsoft.com", "https://user@graph.microsoft.com/", false},
        {"https://graph.microsoft.com", "https://evil.example#@graph.microsoft.com/", false},
        {"https://graph.microsoft.com", "https://evil.example?@graph.microsoft.com/", false},
        {"https://graph.microsoft.com", "//graph.microsoft.com/x", false},
        {"https://graph.microsoft.com", "/v1.0/x", false},
        {"https://graph.microsoft.com", "", false},
        {"ftp://h", "ftp://h/x", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rl_http_same_origin(rows[i].a, rows[i].b) != rows[i].same)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
}

/* ---- TLS, against openssl's server ---- */
struct tls {
    char dir[32], cert[64], key[64];
    pid_t pid;
    unsigned port;
};

static unsigned port_from(FILE *out)
{
    char line[256];
    while (fgets(line, sizeof(line), out)) {
        const char *colon = strrchr(line, ':');
        if (strncmp(line, "ACCEPT", 6) == 0 && colon)
            return (unsigned)strtoul(colon + 1, NULL, 10);
    }
    return 0;
}

static void tls_start(struct tls *t, const char *version)
{
    char command[512];
    int out[2];
    strcpy(t->dir, "/tmp/revline-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->cert, sizeof(t->cert), "%s/cert.pem", t->dir);
    snprintf(t->key, sizeof(t->key), "%s/key.pem", t->dir);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
             "-addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null",
             t->key, t->cert);
    assert_int_equal(system(command), 0);
    assert_int_equal(pipe(out), 0);
    t->pid = fork();
    if (t->pid == 0) {
        dup2(out[1], 1);
        execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", t->cert, "-key", t->key, "-www",
               version, "-cipher", "ALL:@SECLEVEL=0", NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    t->port = port_from(f);
    fclose(f);
    assert_true(t->port);
}

static void tls_stop(struct tls *t)
{
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    unlink(t->cert);
    unlink(t->key);
    rmdir(t->dir);
}

/* RL_EIO is a failure of TLS here, and of nothing else. */
static rl_err tls_get(struct fixture *f, const struct tls *t, const char *host)
{
    char url[64];
    rl_http_call_options o = options(f);
    snprintf(url, sizeof(url), "https://%s:%u/", host, t->port);
    o.url = url;
    rl_err err = run(f, &o)->err;
    assert_int_equal(f->outcome.failure, err == RL_OK ? RL_HTTP_ANSWERED : RL_HTTP_NO_TLS);
    return err;
}

static void test_tls_certificates_are_verified(void **state)
{
    struct tls t;
    tls_start(&t, "-tls1_2");
    unsetenv("SSL_CERT_FILE");
    assert_int_equal(tls_get(*state, &t, "localhost"), RL_EIO); /* nobody vouches for it */
    setenv("SSL_CERT_FILE", t.cert, 1);
    rl_err trusted = tls_get(*state, &t, "localhost");
    rl_err other_name = tls_get(*state, &t, "127.0.0.1");
    unsetenv("SSL_CERT_FILE");
    tls_stop(&t);
    assert_int_equal(trusted, RL_OK);
    assert_int_equal(other_name, RL_EIO);
}

static void test_tls_1_1_is_refused(void **state)
{
    struct tls t;
    tls_start(&t, "-tls1_1");
    setenv("SSL_CERT_FILE", t.cert, 1);
    rl_err err = tls_get(*state, &t, "localhost");
    unsetenv("SSL_CERT_FILE");
    tls_stop(&t);
    assert_int_equal(err, RL_EIO);
}

#define CLIENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(test_get_sends_headers_and_token_and_reads_the_answer),
        CLIENT_TEST(test_headers_are_found_by_name_in_any_case),
        CLIENT_TEST(test_post_sends_the_body_whole),
        CLIENT_TEST(test_other_methods),
        CLIENT_TEST(test_the_url_is_sent_as_it_is),
        CLIENT_TEST(test_redirects_are_not_followed),
        CLIENT_TEST(test_chunked_answers_are_read),
        CLIENT_TEST(test_cookies_are_kept_for_calls_that_want_them),
        CLIENT_TEST(test_incomplete_answers_are_errors),
        CLIENT_TEST(test_a_reset_is_an_error),
        CLIENT_TEST(test_nobody_listening_is_an_error),
        CLIENT_TEST(test_silence_times_out),
        CLIENT_TEST(test_a_body_above_the_limit_is_refused),
        CLIENT_TEST(test_headers_above_the_limit_are_refused),
        CLIENT_TEST(test_gzip_is_unpacked_and_limited_by_what_comes_out),
        CLIENT_TEST(test_bad_requests_are_refused_before_anything_is_sent),
        CLIENT_TEST(test_only_http_and_no_credentials_in_the_url),
        CLIENT_TEST(test_cancel_calls_back_once),
        CLIENT_TEST(test_close_cancels_calls_in_every_phase),
        CLIENT_TEST(test_close_from_inside_a_callback),
        CLIENT_TEST(test_retry_after_in_both_forms),
        cmocka_unit_test(test_backoff_doubles_up_to_the_cap_and_obeys_retry_after),
        cmocka_unit_test(test_same_origin),
        CLIENT_TEST(test_tls_certificates_are_verified),
        CLIENT_TEST(test_tls_1_1_is_refused),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
