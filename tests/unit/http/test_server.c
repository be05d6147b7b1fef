/* A real server, asked over sockets: methods, persistence, pipelining, framing, errors, replies. */
#include "server_fixture.h"

#include "base/metrics.h"

static void test_answer_has_status_date_length_and_body(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_true(strncmp(c.head, "HTTP/1.1 200 OK\r\n", 17) == 0);
    assert_has(c.head, "\r\nDate: ");
    assert_has(c.head, " GMT\r\n");
    assert_has(c.head, "\r\nContent-Type: text/plain\r\n");
    assert_has_not(c.head, "Connection:");
    assert_has(c.body, "method=1 path=/echo rest= q=none x=none worker=http-0 ");
    assert_has(c.body, " peer=127.0.0.1 ");
    client_close(&c);
}

static void test_head_has_gets_length_and_no_body(void **state)
{
    client c;
    char get[64], head[64];
    client_open(&c, *state);
    client_ask(&c, "GET /status/200 HTTP/1.1\r\nHost: h\r\n\r\n");
    snprintf(get, sizeof get, "%s", strstr(c.head, "Content-Length:"));
    client_send(&c, "HEAD /status/200 HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, true);
    snprintf(head, sizeof head, "%s", strstr(c.head, "Content-Length:"));
    assert_string_equal(get, head);
    assert_usable(&c);
    client_close(&c);
}

static void test_204_and_304_have_no_content(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /status/204 HTTP/1.1\r\nHost: h\r\n\r\n"), 204);
    assert_has_not(c.head, "Content-Length");
    assert_int_equal(client_ask(&c, "GET /status/304 HTTP/1.1\r\nHost: h\r\n\r\n"), 304);
    assert_has_not(c.head, "Content-Length");
    assert_usable(&c);
    client_close(&c);
}

static void test_http_1_0_ends_unless_asked_to_stay(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
    assert_has(c.head, "\r\nConnection: keep-alive\r\n");
    assert_int_equal(client_ask(&c, "GET /echo HTTP/1.0\r\n\r\n"), 200);
    assert_has(c.head, "\r\nConnection: close\r\n");
    assert_ended(&c);
    client_close(&c);
}

static void test_connection_close_is_obeyed(void **state)
{
    client c;
    client_open(&c, *state);
    client_ask(&c, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: foo, Close\r\n\r\n");
    assert_has(c.head, "\r\nConnection: close\r\n");
    assert_ended(&c);
    client_close(&c);
}

static void test_nothing_behind_connection_close_is_answered(void **state)
{
    client c;
    client_open(&c, *state);
    client_ask(&c, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_ended(&c);
    client_close(&c);
}

static void test_pipelined_answers_come_in_order(void **state)
{
    enum { REQUESTS = 300 };
    client c;
    char text[64], want[64];
    client_open(&c, *state);
    rl_buf all = {0};
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(rl_buf_printf(&all, "GET /echo/%d HTTP/1.1\r\nHost: h\r\n\r\n", i), RL_OK);
    client_send_n(&c, all.p, all.n);
    for (int i = 0; i < REQUESTS; i++) {
        client_read(&c, false);
        snprintf(text, sizeof text, "%s", strstr(c.body, "rest="));
        snprintf(want, sizeof want, "rest=%d q=", i);
        assert_int_equal(strncmp(text, want, strlen(want)), 0);
    }
    rl_buf_free(&all);
    client_close(&c);
}

static void test_pipelined_requests_wait_for_the_one_at_work(void **state)
{
    fixture *f = *state;
    client c, other;
    client_open(&c, f);
    client_open(&other, f);
    client_send(&c, "GET /echo/1 HTTP/1.1\r\nHost: h\r\n\r\n"
                    "GET /slow/2 HTTP/1.1\r\nHost: h\r\n\r\n"
                    "GET /echo/3 HTTP/1.1\r\nHost: h\r\n\r\n"
                    "GET /slow/4 HTTP/1.1\r\nHost: h\r\n\r\n"
                    "GET /echo/5 HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    assert_has(c.body, "rest=1 ");
    gate_wait(&f->works_started, 1);
    assert_usable(&other); /* the worker is free meanwhile */
    assert_int_equal(gate_value(&f->handled), 2);
    gate_add(&f->work_may_end, 1);
    const char *const want[] = {"worked 2", "rest=3 ", "worked 4", "rest=5 "};
    for (int i = 0; i < 4; i++) {
        client_read(&c, false);
        assert_has(c.body, want[i]);
    }
    client_close(&c);
    client_close(&other);
}

static void test_octets_may_come_one_by_one(void **state)
{
    static const char request[] =
        "POST /echo?q=%41b+c HTTP/1.1\r\nHost: h\r\nX-Test:  v w \r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n4;ext=\"1\"\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n";
    client c;
    client_open(&c, *state);
    for (size_t i = 0; i < sizeof request - 1; i++)
        client_send_n(&c, request + i, 1);
    client_read(&c, false);
    assert_has(c.body, "method=4 path=/echo rest= q=Ab+c x=v w ");
    assert_has(c.body, " body=abcdefg");
    assert_usable(&c);
    client_close(&c);
}

static void test_body_larger_than_the_first_buffer_arrives_whole(void **state)
{
    enum { BODY = 100 * 1024 };
    client c;
    char head[128], *body = malloc(BODY + 1);
    for (int i = 0; i < BODY; i++)
        body[i] = (char)('A' + i % 26);
    body[BODY] = '\0';
    client_open(&c, *state);
    for (int i = 0; i < 3; i++) {
        snprintf(head, sizeof head, "POST /echo?q=x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BODY);
        client_send(&c, head);
        client_send_n(&c, body, BODY);
        client_read(&c, false);
        assert_has(c.body, "method=4 path=/echo rest= q=x ");
        assert_string_equal(strstr(c.body, "body=") + 5, body);
    }
    free(body);
    client_close(&c);
}

static void test_100_continue_is_sent_before_the_body(void **state)
{
    client c;
    client_open(&c, *state);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    client_read(&c, false);
    assert_int_equal(c.status, 100);
    client_send(&c, "hi");
    client_read(&c, false);
    assert_int_equal(c.status, 200);
    assert_has(c.body, "body=hi");
    client_close(&c);
}

static void test_100_continue_is_left_out_when_refused_or_late(void **state)
{
    client c;
    client_open(&c, *state);
    /* the body is here already */
    assert_int_equal(
        client_ask(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"), 200);
    /* HTTP/1.0 does not know it */
    assert_int_equal(
        client_ask(
            &c, "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
        200);
    assert_int_equal(
        client_ask(&c, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"),
        413);
    assert_ended(&c);
    client_close(&c);
}

static void test_other_expectations_are_417(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /echo HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n"), 417);
    assert_usable(&c);
    client_close(&c);
}

static void test_absolute_form_is_routed_by_its_path(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET http://any.example:80/echo/x?q=1 HTTP/1.1\r\nHost: other\r\n\r\n"), 200);
    assert_has(c.body, "path=/echo/x rest=x q=1 ");
    assert_int_equal(client_ask(&c, "GET HTTP://any.example HTTP/1.1\r\nHost: other\r\n\r\n"), 404);
    client_close(&c);
}

static void test_unknown_path_and_method_leave_the_connection_usable(void **state)
{
    client c;
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
    assert_string_equal(c.body, "not found\n");
    assert_has(c.head, "\r\nContent-Type: text/plain");
    assert_has(c.head, "\r\nX-Request-Id: ");
    assert_int_equal(client_ask(&c, "DELETE /echo HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    assert_has(c.head, "\r\nAllow: GET, HEAD, POST\r\n");
    assert_int_equal(client_ask(&c, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    assert_has(c.head, "\r\nAllow: GET, HEAD, POST\r\n");
    assert_usable(&c);
    client_close(&c);
}

/* Each is answered, and the connection ended: what follows could be read in two ways. */
static void test_malformed_requests_are_refused_and_the_connection_ends(void **state)
{
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {400, "GET /echo HTTP/1.1\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: "
              "chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: "
              "1\r\n\r\n1\r\na\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"},
        {400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "(complete) nonsense\r\n\r\n"},
        {400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
        {501, "BREW /echo HTTP/1.1\r\nHost: h\r\n\r\n"},
        {505, "GET /echo HTTP/1.9\r\nHost: h\r\n\r\n"},
        {413, "GET /status/200 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        client c;
        client_open(&c, *state);
        client_ask(&c, cases[i].request);
        if (c.status != cases[i].status)
            fail_msg("%d for '%s'", c.status, cases[i].request);
        assert_has(c.head, "\r\nConnection: close\r\n");
        assert_has(c.head, "\r\nX-Request-Id: ");
        assert_ended(&c);
        client_close(&c);
    }
}

static void test_error_reply_carries_the_requests_id(void **state)
{
    client c;
    char first[64] = "";
    client_open(&c, *state);
    assert_int_equal(client_ask(&c, "GET /status/503 HTTP/1.1\r\nHost: h\r\n\r\n"), 503);
    assert_string_equal(c.body, "as you wish\n");
    assert_int_equal(sscanf(strstr(c.head, "X-Request-Id: "), "X-Request-Id: %63s", first), 1);
    assert_in_range(strlen(first), 8, RL_HTTP_TXN_MAX - 1);
    client_ask(&c, "GET /status/503 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_has_not(c.head, first);
    client_close(&c);
}

static void test_shared_body_is_sent_in_place_and_given_back_once(void **state)
{
    fixture *f = *state;
    client c;
    client_open(&c, f);
    client_send(
        &c,
        "GET /big HTTP/1.1\r\nHost: h\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\nGET /big HTTP/1.1\r\nHost: h\r\n\r\n"
        "HEAD /big HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    assert_int_equal(c.body_n, BIG_BODY);
    assert_memory_equal(c.body, f->big, BIG_BODY);
    client_read(&c, false);
    assert_string_equal(c.body, "small");
    assert_has(c.head, "\r\nContent-Length: 5\r\n");
    assert_has(c.head, "\r\nContent-Type: text/plain\r\nX-Ready: yes\r\n");
    client_read(&c, false);
    assert_memory_equal(c.body, f->big, BIG_BODY);
    client_read(&c, true);
    client_read(&c, false);
    assert_has(c.body, "path=/echo ");
    assert_int_equal(gate_value(&f->released), 4);
    client_close(&c);
}

static void test_copied_body_of_any_size_is_sent(void **state)
{
    fixture *f = *state;
    client c;
    client_open(&c, f);
    client_send(&c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /copy HTTP/1.1\r\nHost: h\r\n\r\nGET /copy "
                    "HTTP/1.1\r\nHost: h\r\n\r\n"
                    "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    for (int i = 0; i < 2; i++) {
        client_read(&c, false);
        assert_int_equal(c.body_n, BIG_BODY);
        assert_memory_equal(c.body, f->big, BIG_BODY);
    }
    client_read(&c, false);
    assert_has(c.body, "path=/echo ");
    client_close(&c);
}

static void test_big_answer_may_come_from_work(void **state)
{
    fixture *f = *state;
    client c;
    gate_add(&f->work_may_end, 1);
    client_open(&c, f);
    client_send(&c, "GET /slow/big HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    client_read(&c, false);
    assert_memory_equal(c.body, f->big, BIG_BODY);
    client_read(&c, false);
    assert_has(c.body, "path=/echo ");
    assert_int_equal(gate_value(&f->released), 1);
    client_close(&c);
}

static void test_query_is_percent_decoded_and_plus_stays(void **state)
{
    static const struct {
        const char *target, *want;
    } cases[] = {
        {"/echo?a=1&q=x%2By+z%3d&b", " q=x+y+z= "},
        {"/echo?q=", " q= "},
        {"/echo?q", " q= "},
        {"/echo?qq=1", " q=none "},
        {"/echo?q=%4", " q=none "},
        {"/echo?q=%zz", " q=none "},
        {"/echo?&&q=1&q=2", " q=1 "},
    };
    client c;
    char request[128];
    client_open(&c, *state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", cases[i].target);
        assert_int_equal(client_ask(&c, request), 200);
        assert_has(c.body, cases[i].want);
    }
    client_close(&c);
}

static void test_answers_are_counted_by_class(void **state)
{
    rl_metric *ok = rl_counter("revline_http_requests_total", "code=\"2xx\"", "");
    rl_metric *wrong = rl_counter("revline_http_requests_total", "code=\"4xx\"", "");
    rl_metric *open = rl_gauge("revline_http_connections", "", "");
    int64_t ok_before = rl_metric_value(ok), wrong_before = rl_metric_value(wrong);
    client c;
    gate_add(&((fixture *)*state)->work_may_end, 1);
    client_open(&c, *state);
    client_ask(&c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    client_ask(&c, "GET /slow/x HTTP/1.1\r\nHost: h\r\n\r\n");
    client_ask(&c, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(rl_metric_value(ok) - ok_before, 2);
    assert_int_equal(rl_metric_value(wrong) - wrong_before, 1);
    assert_int_equal(rl_metric_value(open), 1);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_answer_has_status_date_length_and_body),
        WITH_SERVER(test_head_has_gets_length_and_no_body),
        WITH_SERVER(test_204_and_304_have_no_content),
        WITH_SERVER(test_http_1_0_ends_unless_asked_to_stay),
        WITH_SERVER(test_connection_close_is_obeyed),
        WITH_SERVER(test_nothing_behind_connection_close_is_answered),
        WITH_SERVER(test_pipelined_answers_come_in_order),
        WITH_SERVER(test_pipelined_requests_wait_for_the_one_at_work),
        WITH_SERVER(test_octets_may_come_one_by_one),
        WITH_SERVER(test_body_larger_than_the_first_buffer_arrives_whole),
        WITH_SERVER(test_100_continue_is_sent_before_the_body),
        WITH_SERVER(test_100_continue_is_left_out_when_refused_or_late),
        WITH_SERVER(test_other_expectations_are_417),
        WITH_SERVER(test_absolute_form_is_routed_by_its_path),
        WITH_SERVER(test_unknown_path_and_method_leave_the_connection_usable),
        WITH_SERVER(test_malformed_requests_are_refused_and_the_connection_ends),
        WITH_SERVER(test_error_reply_carries_the_requests_id),
        WITH_SERVER(test_shared_body_is_sent_in_place_and_given_back_once),
        WITH_SERVER(test_copied_body_of_any_size_is_sent),
        WITH_SERVER(test_big_answer_may_come_from_work),
        WITH_SERVER(test_query_is_percent_decoded_and_plus_stays),
        WITH_SERVER(test_answers_are_counted_by_class),
    };
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
