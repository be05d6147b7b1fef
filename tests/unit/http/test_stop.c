/* Start and stop, more than one worker, clients that leave while their request is at work. */
#include <sched.h>

#include "http/conn.h"
#include "server_fixture.h"

typedef struct stopper {
    pthread_t thread;
    fixture *f;
    rl_duration timeout;
} stopper;

static void *stop_main(void *arg)
{
    stopper *s = arg;
    rl_http_server_stop(s->f->server, s->timeout);
    return NULL;
}

static void stop_begin(stopper *s, fixture *f, rl_duration timeout)
{
    *s = (stopper){.f = f, .timeout = timeout};
    assert_int_equal(pthread_create(&s->thread, NULL, stop_main, s), 0);
}

static void stop_end(stopper *s)
{
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    s->f->server = NULL;
}

static void test_stop_closes_idle_connections_and_refuses_new_ones(void **state)
{
    fixture *f = *state;
    client c[3];
    for (int i = 0; i < 3; i++) {
        client_open(&c[i], f);
        if (i < 2) /* the third never says anything */
            assert_usable(&c[i]);
    }
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    assert_int_equal(getpeername(c[0].fd, (struct sockaddr *)&a, &n), 0);
    rl_http_server_stop(f->server, CLIENT_PATIENCE_S * 1000);
    f->server = NULL;
    for (int i = 0; i < 3; i++) {
        assert_ended(&c[i]);
        client_close(&c[i]);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
}

static void test_stop_lets_running_requests_finish(void **state)
{
    fixture *f = *state;
    client idle, working, sending;
    stopper s;
    client_open(&idle, f);
    client_open(&working, f);
    client_open(&sending, f);
    assert_usable(&idle);
    /* One segment: with the first answer the second request's beginning is known to be there. */
    client_send(&sending, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/late HTTP/1.1\r\n");
    client_read(&sending, false);
    client_send(&working, "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    gate_wait(&f->works_started, 1);
    stop_begin(&s, f, CLIENT_PATIENCE_S * 1000);
    assert_ended(&idle); /* the stop is on */
    client_send(&sending, "Host: h\r\n\r\n");
    client_read(&sending, false);
    assert_has(sending.body, "rest=late ");
    assert_has(sending.head, "\r\nConnection: close\r\n");
    assert_ended(&sending);
    gate_add(&f->work_may_end, 1);
    client_read(&working, false);
    assert_string_equal(working.body, "worked x");
    assert_has(working.head, "\r\nConnection: close\r\n");
    assert_ended(&working);
    client_close(&idle);
    client_close(&working);
    client_close(&sending);
    stop_end(&s);
}

/* It is not lost in a reset only because the loop was told to stop before it read it. */
static void test_stop_answers_a_request_that_has_come(void **state)
{
    fixture *f = *state;
    client asking, holding;
    stopper s;
    client_open(&asking, f);
    assert_usable(&asking);
    client_open(&holding, f);
    client_send(&holding, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    gate_wait(&f->works_started, 1);
    stop_begin(&s, f, CLIENT_PATIENCE_S * 1000);
    while (atomic_load(&f->server->stop) != HTTP_STOP)
        sched_yield();
    client_send(&asking, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    gate_add(&f->work_may_end, 1);
    client_read(&asking, false);
    assert_has(asking.head, "200 OK");
    assert_has(asking.head, "\r\nConnection: close\r\n");
    assert_ended(&asking);
    client_read(&holding, false);
    assert_string_equal(holding.body, "held");
    client_close(&asking);
    client_close(&holding);
    stop_end(&s);
}

static void test_stop_cuts_a_request_that_does_not_finish(void **state)
{
    fixture *f = *state;
    client c;
    client_open(&c, f);
    client_send(&c,
                "GET /echo HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    client_read(&c, false);
    rl_http_server_stop(f->server, 50);
    f->server = NULL;
    assert_ended(&c);
    assert_int_equal(gate_value(&f->handled), 1);
    client_close(&c);
}

static void test_stop_waits_for_a_work_even_when_its_client_was_cut(void **state)
{
    fixture *f = *state;
    client c;
    stopper s;
    client_open(&c, f);
    client_send(&c, "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\n");
    gate_wait(&f->works_started, 1);
    stop_begin(&s, f, 0);
    assert_ended(&c);
    assert_int_equal(gate_value(&f->works_done), 0);
    gate_add(&f->work_may_end, 1);
    stop_end(&s);
    assert_int_equal(gate_value(&f->works_done), 1);
    client_close(&c);
}

static void leave(client *c, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    client_close(c);
}

static void test_client_may_leave_while_its_work_runs(void **state)
{
    fixture *f = *state;
    client c[4], other;
    for (int i = 0; i < 4; i++) {
        client_open(&c[i], f);
        client_send(&c[i],
                    i < 2 ? "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\n" : "GET /slow/big HTTP/1.1\r\nHost: h\r\n\r\n");
        gate_wait(&f->works_started, i + 1);
    }
    for (int i = 0; i < 4; i++)
        leave(&c[i], i % 2 == 0);
    gate_add(&f->work_may_end, 1);
    gate_wait(&f->works_done, 2);
    gate_wait(&f->released, 2); /* nobody is there, the body is given back all the same */
    client_open(&other, f);
    assert_usable(&other);
    client_close(&other);
}

static void test_every_worker_serves(void **state)
{
    fixture *f = fixture_new();
    unsigned seen = 0;
    (void)state;
    f->settings.http.workers = 2;
    fixture_start(f);
    /* The kernel spreads by the client's port: that 256 in a row meet one worker does not happen. */
    for (int i = 0; i < 256 && seen != 3; i++) {
        client c;
        client_open(&c, f);
        assert_usable(&c);
        seen |= 1u << atoi(strstr(c.body, "worker=http-") + 12);
        client_close(&c);
    }
    assert_int_equal(seen, 3);
    fixture_free(f);
}

static void *ask_many(void *arg)
{
    for (int i = 0; i < 50; i++) {
        client c;
        client_open(&c, arg);
        for (int k = 0; k < 4; k++)
            assert_usable(&c);
        client_close(&c);
    }
    return NULL;
}

static void test_clients_in_parallel_are_all_answered(void **state)
{
    fixture *f = fixture_new();
    pthread_t threads[4];
    (void)state;
    f->settings.http.workers = 3;
    fixture_start(f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, f), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(gate_value(&f->handled), 4 * 50 * 4);
    fixture_free(f);
}

static void test_taken_port_is_an_error_that_names_the_address(void **state)
{
    fixture *f = *state, *second = fixture_new();
    char listen[64];
    rl_error e = {0};
    snprintf(listen, sizeof listen, "127.0.0.1:%u", rl_http_server_port(f->server));
    second->settings.http.listen = listen;
    assert_int_equal(fixture_try(second, &e), RL_EIO);
    assert_null(second->server);
    assert_has(e.message, listen);
    second->settings.http.listen = (char *)"192.0.2.1:80"; /* RFC 5737: nobody's */
    assert_int_equal(fixture_try(second, &e), RL_EIO);
    assert_has(e.message, "192.0.2.1:80");
    fixture_free(second);
}

static void test_ipv6_listener_serves(void **state)
{
    fixture *f = fixture_new();
    rl_error e = {0};
    (void)state;
    f->settings.http.listen = (char *)"[::]:0"; /* takes IPv4 clients as well */
    if (fixture_try(f, &e) != RL_OK) {
        fixture_free(f);
        skip(); /* a machine without IPv6 */
    }
    client c;
    client_open(&c, f);
    assert_usable(&c);
    assert_has(c.body, " peer=127.0.0.1 ");
    client_close(&c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_stop_closes_idle_connections_and_refuses_new_ones),
        WITH_SERVER(test_stop_lets_running_requests_finish),
        WITH_SERVER(test_stop_answers_a_request_that_has_come),
        WITH_SERVER(test_stop_cuts_a_request_that_does_not_finish),
        WITH_SERVER(test_stop_waits_for_a_work_even_when_its_client_was_cut),
        WITH_SERVER(test_client_may_leave_while_its_work_runs),
        cmocka_unit_test(test_every_worker_serves),
        cmocka_unit_test(test_clients_in_parallel_are_all_answered),
        WITH_SERVER(test_taken_port_is_an_error_that_names_the_address),
        cmocka_unit_test(test_ipv6_listener_serves),
    };
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
