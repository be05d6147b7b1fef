/* Answers that are looked up ahead: in order with all others, whether they are found, have gone, or are the handler's.
 */
#include "server_fixture.h"

enum { NAME_MAX_N = 16 };

typedef struct found_name {
    char text[NAME_MAX_N];
} found_name;

/* /found/h…: found; /found/g…: gone when it is to be found; /found/m…: the handler's from the first. */
static bool look(rl_http_request *req, void *note, void *ctx)
{
    found_name *name = note;
    (void)ctx;
    assert_true(req->method != RL_HTTP_HEAD && req->http_minor == 1);
    if (req->rest.n == 0 || req->rest.n >= NAME_MAX_N || req->rest.p[0] == 'm')
        return false;
    *name = (found_name){{0}};
    memcpy(name->text, req->rest.p, req->rest.n);
    return true;
}

static void fetch(void *note, void *ctx)
{
    (void)note, (void)ctx;
}

static void release(void *owner)
{
    free(owner);
}

static bool find(const void *note, rl_http_shared *found, void *ctx)
{
    const found_name *name = note;
    (void)ctx;
    if (name->text[0] == 'g')
        return false;
    char *message = malloc(64);
    assert_non_null(message);
    int n = snprintf(message, 64, "\r\nfound %s", name->text);
    *found = (rl_http_shared){.message = rl_span_of(message, (size_t)n), .tail = RL_SPAN_LIT("!"), .release = release};
    found->owner = message;
    found->body_n = (size_t)n - 2 + 1;
    return true;
}

static void handled(rl_http_request *req, void *ctx)
{
    char text[64];
    (void)ctx;
    int n = snprintf(text, sizeof text, "handled %.*s", (int)req->rest.n, (const char *)req->rest.p);
    rl_http_reply(req, 200, TEXT_PLAIN, rl_span_of(text, (size_t)n));
}

static int start(void **state)
{
    static const rl_http_lookup lookup = {look, fetch, find};
    fixture *f = fixture_new();
    rl_error e = {0};
    gate_add(&f->work_may_end, 1000);
    const rl_http_route routes[] = {
        {RL_HTTP_GET | RL_HTTP_POST, "/found/", true, 1024, handled, f, &lookup},
        {RL_HTTP_GET | RL_HTTP_POST, "/slow/", true, 1024, on_work, f, NULL},
    };
    if (rl_http_pool_new("slow", 1, 4, 0, &f->pool, &e) != RL_OK ||
        rl_http_server_start(&f->settings, f->tls, routes, 2, &f->server, &e) != RL_OK)
        fail_msg("%s", e.message);
    *state = f;
    return 0;
}

static int stop(void **state)
{
    fixture_free(*state);
    return 0;
}

/* ---- the n-th of a seeded row of requests, and what it is answered with ---- */
static unsigned draw(unsigned seed, unsigned n)
{
    unsigned v = seed * 2654435761u + n * 40503u;
    v ^= v >> 13;
    v *= 2246822519u;
    return v >> 16;
}

static void put_request(rl_buf *to, unsigned seed, unsigned n)
{
    static const char kinds[] = "hhhhhhgm";
    unsigned kind = draw(seed, n) % 20, padding = draw(seed + 99, n) % (seed % 2 ? 900 : 10);
    rl_err err;
    if (kind == 2)
        err = rl_buf_printf(
            to, "POST /found/%c%u HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            kinds[n % 8], n);
    else if (kind == 0)
        err = rl_buf_printf(to, "GET /slow/%u HTTP/1.1\r\nHost: h\r\n\r\n", n);
    else if (kind == 1)
        err = rl_buf_printf(to, "GET /found/h%u HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", n);
    else if (kind < 6)
        err =
            rl_buf_printf(to, "POST /found/%c%u HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", kinds[n % 8], n);
    else
        err = rl_buf_printf(to, "GET /found/%c%u HTTP/1.1\r\nHost: h\r\nX-Padding: %0*d\r\n\r\n", kinds[n % 8], n,
                            (int)padding, 0);
    assert_int_equal(err, RL_OK);
}

static void read_answer(client *c, unsigned seed, unsigned n)
{
    static const char kinds[] = "hhhhhhgm";
    char want[64];
    unsigned kind = draw(seed, n) % 20;
    client_read(c, false);
    assert_int_equal(c->status, 200);
    if (kind == 0)
        snprintf(want, sizeof want, "worked %u", n);
    else if (kind == 1)
        snprintf(want, sizeof want, "handled h%u", n);
    else if (kinds[n % 8] == 'h' && kind != 2)
        snprintf(want, sizeof want, "found h%u!", n);
    else
        snprintf(want, sizeof want, "handled %c%u", kinds[n % 8], n);
    assert_string_equal(c->body, want);
}

static void test_answers_of_every_kind_come_in_order_on_every_connection(void **state)
{
    enum { CLIENTS = 8, REQUESTS = 200 };
    client c[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        rl_buf all = {0};
        client_open(&c[i], *state);
        for (unsigned n = 0; n < REQUESTS; n++)
            put_request(&all, i, n);
        client_send_n(&c[i], all.p, all.n);
        rl_buf_free(&all);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        for (unsigned n = 0; n < REQUESTS; n++)
            read_answer(&c[i], i, n);
        client_close(&c[i]);
    }
}

static void test_found_answers_come_before_an_error_and_the_end(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c,
                "GET /found/h1 HTTP/1.1\r\nHost: h\r\n\r\nGET /found/g2 HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n");
    client_read(&c, false);
    assert_string_equal(c.body, "found h1!");
    client_read(&c, false);
    assert_string_equal(c.body, "handled g2");
    client_read(&c, false);
    assert_int_equal(c.status, 400);
    assert_false(client_more(&c));
    client_close(&c);
}

static void test_head_and_close_are_the_handlers(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c, "HEAD /found/h1 HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, true);
    assert_int_equal(c.status, 200);
    client_send(&c, "GET /found/h2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client_read(&c, false);
    assert_string_equal(c.body, "handled h2");
    assert_has(c.head, "Connection: close");
    assert_false(client_more(&c));
    client_close(&c);
}

/* Long requests fill the buffer before enough have come together, so that the socket is read again in between. */
static void test_a_buffer_full_of_requests_whose_answers_have_gone(void **state)
{
    enum { REQUESTS = 100 };
    client c;
    char want[32];
    rl_buf all = {0};
    client_open(&c, *state);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(rl_buf_printf(&all, "GET %s/%s%d HTTP/1.1\r\nHost: h\r\nX-Padding: %0700d\r\n\r\n",
                                       i % 3 ? "/found" : "/slow", i % 3 ? "g" : "", i, 0),
                         RL_OK);
    client_send_n(&c, all.p, all.n);
    for (int i = 0; i < REQUESTS; i++) {
        client_read(&c, false);
        snprintf(want, sizeof want, i % 3 ? "handled g%d" : "worked %d", i);
        assert_string_equal(c.body, want);
    }
    rl_buf_free(&all);
    client_close(&c);
}

/* A chunked body is read in place: it must not be read a second time. */
static void test_a_chunked_request_behind_one_whose_answer_has_gone(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c,
                "GET /found/g1 HTTP/1.1\r\nHost: h\r\n\r\n"
                "POST /found/h2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
                "GET /found/h3 HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    assert_string_equal(c.body, "handled g1");
    client_read(&c, false);
    assert_string_equal(c.body, "handled h2");
    client_read(&c, false);
    assert_string_equal(c.body, "found h3!");
    client_close(&c);
}

static void test_requests_before_the_clients_end_are_answered(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c, "GET /found/h1 HTTP/1.1\r\nHost: h\r\n\r\nGET /found/h2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    client_read(&c, false);
    assert_string_equal(c.body, "found h1!");
    client_read(&c, false);
    assert_string_equal(c.body, "found h2!");
    client_close(&c);
}

/* A request in two pieces behind one that was found: the first answer does not wait for the second piece. */
static void test_an_incomplete_request_holds_nothing_back(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c, "GET /found/h1 HTTP/1.1\r\nHost: h\r\n\r\nGET /found/g2 HT");
    client_read(&c, false);
    assert_string_equal(c.body, "found h1!");
    client_send(&c, "TP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    assert_string_equal(c.body, "handled g2");
    client_close(&c);
}

int main(void)
{
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers_of_every_kind_come_in_order_on_every_connection, start, stop),
        cmocka_unit_test_setup_teardown(test_found_answers_come_before_an_error_and_the_end, start, stop),
        cmocka_unit_test_setup_teardown(test_head_and_close_are_the_handlers, start, stop),
        cmocka_unit_test_setup_teardown(test_a_buffer_full_of_requests_whose_answers_have_gone, start, stop),
        cmocka_unit_test_setup_teardown(test_a_chunked_request_behind_one_whose_answer_has_gone, start, stop),
        cmocka_unit_test_setup_teardown(test_requests_before_the_clients_end_are_answered, start, stop),
        cmocka_unit_test_setup_teardown(test_an_incomplete_request_holds_nothing_back, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
