/* A real server on a port of its own, the routes that the tests talk to, and a socket client. With OVER_TLS in the
 * environment all of them speak TLS: what holds in clear holds there. */
#ifndef TESTS_HTTP_SERVER_FIXTURE_H
#define TESTS_HTTP_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "http/server.h"
#include "tls_fixture.h"

enum { CLIENT_PATIENCE_S = 60, ANSWER_CAP = 4 * 1024 * 1024, BIG_BODY = 1024 * 1024 };

/* ---- something that other threads can wait for ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int value;
} gate;

#define GATE_CLOSED                                                                                                    \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                                         \
    }

static inline void gate_add(gate *g, int n)
{
    pthread_mutex_lock(&g->lock);
    g->value += n;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_wait(gate *g, int at_least)
{
    pthread_mutex_lock(&g->lock);
    while (g->value < at_least)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static inline int gate_value(gate *g)
{
    pthread_mutex_lock(&g->lock);
    int v = g->value;
    pthread_mutex_unlock(&g->lock);
    return v;
}

/* ---- the routes ---- */

typedef struct fixture {
    rl_settings settings;
    rl_http_server *server;
    identity identity; /* the server's, when there is one */
    rl_http_tls *tls;
    rl_http_pool *pool;
    int64_t pool_limit; /* set before the start */
    gate work_may_end;  /* /work waits for 1 */
    gate works_started; /* counts */
    gate works_done;
    gate released;          /* shared bodies given back */
    gate handled;           /* requests that reached /echo or /big */
    uint8_t *message, *big; /* an empty line and behind it a big body */
} fixture;

#define TEXT_PLAIN RL_SPAN_LIT("Content-Type: text/plain\r\n")

/* The request's own view of itself, so that the client can check it. */
static inline void on_echo(rl_http_request *req, void *ctx)
{
    fixture *f = ctx;
    rl_span q = rl_http_query(req, "q"), h = rl_http_header(req, "x-test");
    char thread[16];
    gate_add(&f->handled, 1);
    pthread_getname_np(pthread_self(), thread, sizeof(thread));
    char *text = rl_arena_printf(
        req->arena, "method=%d path=%.*s rest=%.*s q=%s%.*s x=%s%.*s worker=%s txn=%s peer=%s body=%.*s",
        (int)req->method, (int)req->path.n, (const char *)req->path.p, (int)req->rest.n, (const char *)req->rest.p,
        q.p == NULL ? "none" : "", (int)q.n, (const char *)q.p, h.p == NULL ? "none" : "", (int)h.n, (const char *)h.p,
        thread, req->txn, req->peer, (int)req->body.n, (const char *)req->body.p);
    rl_http_reply(req, 200, TEXT_PLAIN, rl_span_str(text));
}

/* Who the client is. */
static inline void on_client(rl_http_request *req, void *ctx)
{
    rl_span der = rl_http_client_certificate(req);
    char *hex = rl_arena_alloc(req->arena, 2 * der.n + 1);
    (void)ctx;
    assert_int_equal(rl_hex(der, hex, 2 * der.n + 1), RL_OK);
    rl_http_reply(req, 200, TEXT_PLAIN, rl_span_str(rl_arena_printf(req->arena, "client=%s", hex)));
}

static inline void give_back(void *owner)
{
    gate_add(&((fixture *)owner)->released, 1);
}

static inline void share(rl_http_request *req, rl_span message, rl_span tail, size_t body_n, void *f)
{
    rl_http_shared shared = {.message = message, .tail = tail, .body_n = body_n, .release = give_back, .owner = f};
    shared.lines_n = (size_t)snprintf(shared.lines, sizeof shared.lines, "Content-Type: text/plain\r\n");
    rl_http_reply_shared(req, 200, &shared);
}

/* Keeps the loop itself from going on. */
static inline void on_hold(rl_http_request *req, void *ctx)
{
    fixture *f = ctx;
    gate_add(&f->works_started, 1);
    gate_wait(&f->work_may_end, 1);
    rl_http_reply(req, 200, TEXT_PLAIN, RL_SPAN_LIT("held"));
}

static inline void on_big(rl_http_request *req, void *ctx)
{
    fixture *f = ctx;
    gate_add(&f->handled, 1);
    share(req, rl_span_of(f->message, 2 + BIG_BODY), (rl_span){0}, BIG_BODY, f);
}

static inline void on_small_shared(rl_http_request *req, void *ctx)
{
    share(req, RL_SPAN_LIT("X-Ready: yes\r\n\r\nsm"), RL_SPAN_LIT("all"), 5, ctx);
}

static inline void on_big_copy(rl_http_request *req, void *ctx)
{
    fixture *f = ctx;
    rl_http_reply(req, 200, TEXT_PLAIN, rl_span_of(f->big, BIG_BODY));
}

static inline void on_status(rl_http_request *req, void *ctx)
{
    (void)ctx;
    int status = atoi((const char *)rl_arena_strndup(req->arena, req->rest.p, req->rest.n));
    if (status >= 400)
        rl_http_error(req, status, "as you wish");
    else
        rl_http_reply(req, status, TEXT_PLAIN, RL_SPAN_LIT("body"));
}

static inline bool slow_work(rl_http_request *req, void *arg)
{
    fixture *f = arg;
    (void)req;
    gate_add(&f->works_started, 1);
    gate_wait(&f->work_may_end, 1);
    return true;
}

static inline void slow_done(rl_http_request *req, void *arg)
{
    fixture *f = arg;
    char *text = rl_arena_printf(req->arena, "worked %.*s", (int)req->rest.n, (const char *)req->rest.p);
    rl_http_reply(req, 200, TEXT_PLAIN, rl_span_str(text));
    gate_add(&f->works_done, 1);
}

static inline void big_done(rl_http_request *req, void *arg)
{
    on_big(req, arg);
}

static inline void on_work(rl_http_request *req, void *ctx)
{
    fixture *f = ctx;
    void (*done)(rl_http_request *, void *) = rl_span_eq(req->rest, RL_SPAN_LIT("big")) ? big_done : slow_done;
    if (rl_http_work(req, f->pool, slow_work, done, f) != RL_OK)
        rl_http_error(req, 503, "busy");
}

/* ---- start and stop ---- */

static inline void fixture_use_tls(fixture *f)
{
    identity_new(&f->identity, "server");
    f->tls = tls_new(&f->identity);
    f->settings.http.https_listen = f->settings.http.est_listen = (char *)"127.0.0.1:0";
}

static inline fixture *fixture_new(void)
{
    fixture *f = calloc(1, sizeof *f);
    const gate closed = GATE_CLOSED;
    assert_non_null(f);
    f->work_may_end = f->works_started = f->works_done = f->released = f->handled = closed;
    f->message = malloc(2 + BIG_BODY);
    assert_non_null(f->message);
    memcpy(f->message, "\r\n", 2);
    f->big = f->message + 2;
    for (size_t i = 0; i < BIG_BODY; i++)
        f->big[i] = (uint8_t)('a' + i % 23);
    f->settings.http.listen = (char *)"127.0.0.1:0";
    f->settings.http.workers = 1;
    f->settings.http.header_limit = 16 * 1024;
    f->settings.http.header_timeout = f->settings.http.body_timeout = f->settings.http.idle_timeout = 60 * 1000;
    f->settings.http.max_connections = 1000;
    if (getenv("OVER_TLS") != NULL)
        fixture_use_tls(f);
    return f;
}

static inline rl_err fixture_try(fixture *f, rl_error *e)
{
    const rl_http_route routes[] = {
        {RL_HTTP_GET | RL_HTTP_POST, "/echo", false, 100 * 1024, on_echo, f, NULL},
        {RL_HTTP_GET, "/echo/", true, 0, on_echo, f, NULL},
        {RL_HTTP_GET, "/hold", false, 0, on_hold, f, NULL},
        {RL_HTTP_GET, "/big", false, 0, on_big, f, NULL},
        {RL_HTTP_GET, "/small", false, 0, on_small_shared, f, NULL},
        {RL_HTTP_GET, "/copy", false, 0, on_big_copy, f, NULL},
        {RL_HTTP_GET, "/status/", true, 0, on_status, f, NULL},
        {RL_HTTP_GET | RL_HTTP_POST, "/slow/", true, 1024, on_work, f, NULL},
        {RL_HTTP_GET, "/client", false, 0, on_client, f, NULL},
        {RL_HTTP_GET | RL_HTTP_POST | RL_HTTP_TLS_ONLY, "/tls-only", false, 1024, on_client, f, NULL},
    };
    if (!f->pool)
        RL_TRY(rl_http_pool_new("slow", 1, 4, f->pool_limit, &f->pool, e));
    return rl_http_server_start(&f->settings, f->tls, routes, sizeof routes / sizeof routes[0], &f->server, e);
}

static inline void fixture_start(fixture *f)
{
    rl_error e = {0};
    if (fixture_try(f, &e) != RL_OK)
        fail_msg("%s", e.message);
}

static inline void fixture_free(fixture *f)
{
    if (f->server != NULL)
        rl_http_server_stop(f->server, 10 * 1000);
    rl_http_tls_free(f->tls);
    if (f->tls != NULL)
        identity_free(&f->identity);
    rl_http_pool_free(f->pool);
    free(f->message);
    free(f);
}

static inline int fixture_set_up(void **state)
{
    fixture *f = fixture_new();
    fixture_start(f);
    *state = f;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_set_up, fixture_tear_down)

/* ---- the client ---- */

typedef struct client {
    int fd;
    SSL *ssl;    /* NULL: in clear */
    size_t fill; /* octets of `buf` that no answer has taken yet */
    char *buf;
    char *head, *body; /* the last answer's, NUL-terminated */
    size_t body_n;
    int status;
} client;

static inline void client_socket(client *c)
{
    const struct timeval patience = {.tv_sec = CLIENT_PATIENCE_S};
    *c = (client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .buf = malloc(ANSWER_CAP + 1)};
    assert_true(c->fd >= 0 && c->buf != NULL);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
}

static inline void client_dial(const client *c, unsigned port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
}

static inline void client_connect(client *c, unsigned port)
{
    client_socket(c);
    client_dial(c, port);
}

static inline void client_handshake(client *c)
{
    if (SSL_connect(c->ssl) != 1)
        fail_msg("no handshake: %s", ERR_reason_error_string(ERR_peek_error()));
}

static inline void client_open_tls(client *c, unsigned port)
{
    client_connect(c, port);
    c->ssl = client_ssl(c->fd);
    client_handshake(c);
}

static inline void client_open(client *c, const fixture *f)
{
    if (f->tls != NULL)
        client_open_tls(c, rl_http_server_https_port(f->server));
    else
        client_connect(c, rl_http_server_port(f->server));
}

static inline void client_close(client *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    free(c->buf);
    free(c->head);
    free(c->body);
    *c = (client){.fd = -1};
}

static inline void client_send_n(client *c, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        const char *from = (const char *)p + at;
        ssize_t sent =
            c->ssl != NULL ? SSL_write(c->ssl, from, (int)(n - at)) : send(c->fd, from, n - at, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += (size_t)sent;
    }
}

static inline void client_send(client *c, const char *text)
{
    client_send_n(c, text, strlen(text));
}

/* Reads once; false at the end, be it orderly or a reset. A time-out fails the test. */
static inline bool client_more(client *c)
{
    assert_true(c->fill < ANSWER_CAP);
    ssize_t n = c->ssl != NULL ? client_ssl_read(c->ssl, c->buf + c->fill, ANSWER_CAP - c->fill)
                               : recv(c->fd, c->buf + c->fill, ANSWER_CAP - c->fill, 0);
    if (n < 0 && errno != ECONNRESET)
        fail_msg("no octets from the server: %s", strerror(errno));
    if (n <= 0)
        return false;
    c->fill += (size_t)n;
    return true;
}

static inline void client_take(client *c, size_t n)
{
    memmove(c->buf, c->buf + n, c->fill - n);
    c->fill -= n;
}

static inline bool answer_has_body(const client *c, bool head_only)
{
    return !head_only && c->status >= 200 && c->status != 204 && c->status != 304;
}

/* Reads one whole answer. */
static inline void client_read(client *c, bool head_only)
{
    char *end;
    free(c->head);
    free(c->body);
    c->head = c->body = NULL;
    for (;;) {
        c->buf[c->fill] = '\0';
        end = strstr(c->buf, "\r\n\r\n");
        if (end != NULL)
            break;
        if (!client_more(c))
            fail_msg("the connection ended in an answer's head: '%s'", c->buf);
    }
    c->head = strndup(c->buf, (size_t)(end - c->buf) + 2);
    assert_int_equal(sscanf(c->head, "HTTP/1.1 %d ", &c->status), 1);
    client_take(c, (size_t)(end - c->buf) + 4);
    const char *length = strstr(c->head, "\r\nContent-Length: ");
    c->body_n = length != NULL && answer_has_body(c, head_only) ? strtoul(length + 18, NULL, 10) : 0;
    while (c->fill < c->body_n)
        if (!client_more(c))
            fail_msg("the connection ended in an answer's body");
    c->body = strndup(c->buf, c->body_n);
    client_take(c, c->body_n);
}

static inline int client_ask(client *c, const char *request)
{
    client_send(c, request);
    client_read(c, false);
    return c->status;
}

static inline void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, text);
}

static inline void assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("'%s' is in '%s'", part, text);
}

/* Nothing more comes, and the server has ended the connection. */
static inline void assert_ended(client *c)
{
    assert_int_equal(c->fill, 0);
    if (client_more(c)) {
        c->buf[c->fill] = '\0';
        fail_msg("unexpected '%.200s'", c->buf);
    }
}

static inline void assert_usable(client *c)
{
    assert_int_equal(client_ask(c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
}

#endif
