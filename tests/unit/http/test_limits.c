/* What one client can cost is bounded: sizes, time, connections, unread answers, queued works. */
#include <poll.h>

#include "server_fixture.h"

enum { SHORT_MS = 200 };

static fixture *start_with(void (*tweak)(rl_settings *s))
{
    fixture *f = fixture_new();
    if (tweak != NULL)
        tweak(&f->settings);
    fixture_start(f);
    return f;
}

static void send_repeated(client *c, const char *text, int times)
{
    for (int i = 0; i < times; i++)
        client_send(c, text);
}

static void assert_refused(client *c, int status)
{
    client_read(c, false);
    assert_int_equal(c->status, status);
    assert_has(c->head, "\r\nConnection: close\r\n");
    assert_ended(c);
    client_close(c);
}

/* ---- sizes ---- */

static void test_long_target_is_414_and_long_header_431(void **state)
{
    fixture *f = start_with(NULL);
    client c;
    (void)state;
    client_open(&c, f);
    client_send(&c, "GET /echo/");
    send_repeated(&c, "0123456789abcdef", 1024);
    assert_refused(&c, 414);
    client_open(&c, f);
    client_send(&c, "GET /echo HTTP/1.1\r\nHost: h\r\nX-Long: ");
    send_repeated(&c, "0123456789abcdef", 1024);
    assert_refused(&c, 431);
    client_open(&c, f);
    client_send(&c, "GET /echo HTTP/1.1\r\nHost: h\r\n");
    send_repeated(&c, "a: b\r\n", RL_HTTP_HEADERS_MAX);
    client_send(&c, "\r\n");
    assert_refused(&c, 431);
    fixture_free(f);
}

static void test_header_of_nearly_the_limit_is_served(void **state)
{
    fixture *f = start_with(NULL);
    client c;
    (void)state;
    client_open(&c, f);
    client_send(&c, "GET /echo HTTP/1.1\r\nHost: h\r\nX-Long: ");
    send_repeated(&c, "0123456789abcdef", 1016);
    client_send(&c, "\r\n\r\n");
    client_read(&c, false);
    assert_int_equal(c.status, 200);
    client_close(&c);
    fixture_free(f);
}

static void test_large_body_is_413_before_it_is_read(void **state)
{
    fixture *f = start_with(NULL);
    client c;
    (void)state;
    client_open(&c, f);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 102401\r\n\r\n");
    assert_refused(&c, 413);
    client_open(&c, f);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n");
    client_read(&c, false);
    assert_true(c.status == 413 || c.status == 400);
    client_close(&c);
    client_open(&c, f);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n19001\r\n");
    assert_refused(&c, 413);
    assert_int_equal(gate_value(&f->handled), 0);
    fixture_free(f);
}

/* The answer must not be lost with a reset while the client still sends. */
static void test_413_reaches_a_client_that_goes_on_sending(void **state)
{
    fixture *f = start_with(NULL);
    client c;
    char block[4096];
    (void)state;
    memset(block, 'x', sizeof block);
    client_open(&c, f);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
    for (int i = 0; i < 256; i++)
        client_send_n(&c, block, sizeof block);
    assert_refused(&c, 413);
    fixture_free(f);
}

/* ---- time ---- */

static void short_header(rl_settings *s)
{
    s->http.header_timeout = SHORT_MS;
}

static void test_slow_header_is_408_and_silence_is_closed(void **state)
{
    fixture *f = start_with(short_header);
    client slow, silent;
    (void)state;
    client_open(&silent, f);
    client_open(&slow, f);
    client_send(&slow, "GET /echo HTTP/1.1\r\nHost:");
    assert_refused(&slow, 408);
    assert_ended(&silent);
    client_close(&silent);
    fixture_free(f);
}

/* Octets that keep coming do not extend the time: it counts from the first. */
static void test_dripping_header_ends_too(void **state)
{
    fixture *f = start_with(short_header);
    client c;
    (void)state;
    client_open(&c, f);
    client_send(&c, "GET /echo HTTP/1.1\r\nX: ");
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    int sent = 0;
    while (poll(&p, 1, 10) == 0 && sent++ < 100 * CLIENT_PATIENCE_S)
        client_send(&c, "x");
    client_read(&c, false);
    assert_int_equal(c.status, 408);
    client_close(&c);
    fixture_free(f);
}

static void short_body(rl_settings *s)
{
    s->http.body_timeout = SHORT_MS;
}

static void test_slow_body_is_408(void **state)
{
    fixture *f = start_with(short_body);
    client c;
    (void)state;
    client_open(&c, f);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    assert_refused(&c, 408);
    assert_int_equal(gate_value(&f->handled), 0);
    fixture_free(f);
}

static void short_idle(rl_settings *s)
{
    s->http.idle_timeout = SHORT_MS;
}

static void test_idle_connection_is_closed(void **state)
{
    fixture *f = start_with(short_idle);
    client c;
    (void)state;
    client_open(&c, f);
    assert_usable(&c);
    assert_ended(&c);
    client_close(&c);
    fixture_free(f);
}

static void test_client_that_does_not_read_is_not_served_on_and_cut(void **state)
{
    enum { REQUESTS = 200 };
    fixture *f = start_with(short_body);
    client c;
    (void)state;
    client_open(&c, f);
    send_repeated(&c, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n", REQUESTS);
    struct pollfd p = {.fd = c.fd, .events = 0}; /* POLLERR and POLLHUP: the reset */
    assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_S * 1000), 1);
    gate_wait(&f->released, gate_value(&f->handled));
    assert_in_range(gate_value(&f->handled), 1, REQUESTS / 4);
    client_close(&c);
    fixture_free(f);
}

/* ---- connections ---- */

static void two_each(rl_settings *s)
{
    s->http.max_connections_per_address = 2;
}

static void two_in_all(rl_settings *s)
{
    s->http.max_connections = 2;
}

static void check_third_is_refused(fixture *f, const char *why)
{
    client c[3];
    if (f->tls != NULL) {
        fixture_free(f);
        skip(); /* it is not told in words there: test_tls */
    }
    for (int i = 0; i < 2; i++) {
        client_open(&c[i], f);
        assert_usable(&c[i]);
    }
    client_open(&c[2], f);
    client_read(&c[2], false);
    assert_string_equal(c[2].body, why);
    assert_int_equal(c[2].status, 503);
    assert_has(c[2].head, "\r\nConnection: close\r\n");
    assert_ended(&c[2]);
    client_close(&c[2]);
    assert_usable(&c[0]);
    client_close(&c[0]);
    /* The place is free again as soon as the server has seen the end. */
    for (;;) {
        client_open(&c[0], f);
        client_ask(&c[0], "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
        if (c[0].status == 200)
            break;
        client_close(&c[0]);
    }
    client_close(&c[0]);
    client_close(&c[1]);
}

static void test_connections_of_one_address_are_limited(void **state)
{
    fixture *f = start_with(two_each);
    (void)state;
    check_third_is_refused(f, "too many connections from this address\n");
    fixture_free(f);
}

static void test_connections_in_all_are_limited(void **state)
{
    fixture *f = start_with(two_in_all);
    (void)state;
    check_third_is_refused(f, "too many connections\n");
    fixture_free(f);
}

/* ---- works ---- */

static void test_works_above_the_pools_limit_are_busy(void **state)
{
    fixture *f = fixture_new();
    client c[3];
    (void)state;
    f->pool_limit = 2;
    fixture_start(f);
    for (int i = 0; i < 2; i++) {
        client_open(&c[i], f);
        client_send(&c[i], "POST /slow/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        gate_wait(&f->works_started, i + 1);
    }
    client_open(&c[2], f);
    assert_int_equal(client_ask(&c[2], "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\n"), 503);
    assert_string_equal(c[2].body, "busy\n");
    gate_add(&f->work_may_end, 1);
    for (int i = 0; i < 2; i++) {
        client_read(&c[i], false);
        assert_string_equal(c[i].body, "worked x");
    }
    assert_int_equal(client_ask(&c[2], "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(rl_http_pool_pending(f->pool), 0);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_target_is_414_and_long_header_431),
        cmocka_unit_test(test_header_of_nearly_the_limit_is_served),
        cmocka_unit_test(test_large_body_is_413_before_it_is_read),
        cmocka_unit_test(test_413_reaches_a_client_that_goes_on_sending),
        cmocka_unit_test(test_slow_header_is_408_and_silence_is_closed),
        cmocka_unit_test(test_dripping_header_ends_too),
        cmocka_unit_test(test_slow_body_is_408),
        cmocka_unit_test(test_idle_connection_is_closed),
        cmocka_unit_test(test_client_that_does_not_read_is_not_served_on_and_cut),
        cmocka_unit_test(test_connections_of_one_address_are_limited),
        cmocka_unit_test(test_connections_in_all_are_limited),
        cmocka_unit_test(test_works_above_the_pools_limit_are_busy),
    };
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
