/* The request parser alone: what is accepted, what is refused and with which status, however the octets arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "http/parse.h"

enum { HEADER_LIMIT = 16 * 1024, BODY_LIMIT = 4096 };

/* Feeds `text` in pieces of `piece` octets and writes down everything that comes out. Returns the status that
 * ended it, 0 when all was read. */
static int feed(rl_span text, size_t piece, rl_buf *story)
{
    http_in in;
    http_head head = {0};
    rl_http_request *req = calloc(1, sizeof *req);
    int status = 0;
    const char *why = NULL;
    assert_non_null(req);
    assert_int_equal(http_in_init(&in, HEADER_LIMIT), RL_OK);
    while (status == 0) {
        http_in_event event = http_in_next(&in);
        if (event == HTTP_IN_MORE) {
            uint8_t *at;
            size_t room = http_in_room(&in, &at), n = piece < text.n ? piece : text.n;
            if (text.n == 0)
                break;
            assert_true(room > 0);
            n = n < room ? n : room;
            memcpy(at, text.p, n);
            http_in_added(&in, n);
            text = rl_span_of(text.p + n, text.n - n);
        } else if (event == HTTP_IN_BAD) {
            status = in.status;
            assert_non_null(in.why);
        } else if (event == HTTP_IN_HEAD) {
            status = http_head_read(&in, req, &head, &why);
            in.body_limit = BODY_LIMIT;
        } else {
            if (in.moved)
                assert_int_equal(http_head_read(&in, req, &head, &why), 0);
            rl_span body = http_in_body(&in);
            rl_buf_printf(story, "%d %.*s ? %.*s keep=%d\n", (int)req->method, (int)req->path.n,
                          (const char *)req->path.p, (int)req->query.n,
                          req->query.n > 0 ? (const char *)req->query.p : "", head.keep_alive);
            for (size_t i = 0; i < req->headers_n; i++)
                rl_buf_printf(story, "<%.*s|%.*s>\n", (int)req->headers[i].name.n, (const char *)req->headers[i].name.p,
                              (int)req->headers[i].value.n, (const char *)req->headers[i].value.p);
            rl_buf_append(story, body.p, body.n);
            rl_buf_append(story, "\n", 1);
            http_in_consume(&in);
        }
    }
    http_in_free(&in);
    free(req);
    return status;
}

static int status_of(const char *text)
{
    static const size_t pieces[] = {1, 2, 3, 7, 64, SIZE_MAX};
    int status = -1;
    rl_buf first = {0};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        rl_buf story = {0};
        int s = feed(rl_span_str(text), pieces[i], &story);
        if (i == 0) {
            status = s;
            first = story;
            continue;
        }
        /* How the octets were cut must not matter. */
        if (s != status || !rl_span_eq(rl_buf_span(&first), rl_buf_span(&story)))
            fail_msg("in pieces of %zu: %d, of 1: %d for '%s'", pieces[i], s, status, text);
        rl_buf_free(&story);
    }
    rl_buf_free(&first);
    return status;
}

typedef struct expectation {
    int status;
    const char *text;
} expectation;

static void check(const expectation *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int status = status_of(cases[i].text);
        if (status != cases[i].status)
            fail_msg("%d instead of %d for '%s'", status, cases[i].status, cases[i].text);
    }
}
#define CHECK(cases) check(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_requests_of_every_framing_follow_each_other(void **state)
{
    static const char text[] =
        "\r\nGET /a?b=c HTTP/1.1\r\nHost:h\r\nEmpty:\r\nSpaced: \t a b \t\r\n\r\n"
        "POST /b HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: 5\r\n\r\n12345"
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n"
        "HEAD http://x/d HTTP/1.0\r\n\r\n";
    static const char want[] = "1 /a ? b=c keep=1\n<Host|h>\n<Empty|>\n<Spaced|a b>\n\n"
                               "4 /b ?  keep=1\n<Host|h>\n<content-LENGTH|5>\n12345\n"
                               "4 /c ?  keep=1\n<Host|h>\n<Transfer-Encoding|Chunked>\nabc0123456789\n"
                               "2 /d ?  keep=0\n\n";
    (void)state;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        rl_buf story = {0};
        assert_int_equal(feed(rl_span_str(text), piece, &story), 0);
        assert_int_equal(rl_buf_append(&story, "", 1), RL_OK);
        assert_string_equal((const char *)story.p, want);
        rl_buf_free(&story);
    }
}

/* RFC 9112 §2.2, §5.1, §5.2: what another server in front might read differently. */
static void test_lines_that_could_be_read_in_two_ways_are_400(void **state)
{
    static const expectation cases[] = {
        {0, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: h\n\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA(b: c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n: c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n: c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n"},
        {400, "GET / HTTP/1.1\rHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA:\rb\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA: \rb: c\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nA\rB: c\r\n\r\n"},
        {400, "GET /\rx HTTP/1.1\r\nHost: h\r\n\r\n"},
    };
    (void)state;
    CHECK(cases);
}

static void test_request_line(void **state)
{
    static const expectation cases[] = {
        {0, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {0, "GET //a//b?c?d HTTP/1.1\r\nHost: h\r\n\r\n"},
        {0, "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"},
        {0, "GET HTTPS://h:1?q HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a  HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a HTTP/1.1 \r\nHost: h\r\n\r\n"},
        {400, " GET /a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET\t/a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {501, "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n"},
        {501, "DESCRIBE /film HTTP/1.1\r\nHost: h\r\n\r\n"},
        {501, "get / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "\"GET\" / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTCPCP/1.0\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1\r\nHost: h\r\n\r\n"},
        {400, "GET /\r\n\r\n"},
        {505, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    };
    (void)state;
    CHECK(cases);
}

/* Every octet in every place of a target is let through or refused as RFC 3986 §2 says. */
static void test_targets_are_visible_ascii_without_fragment(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++)
        for (size_t at = 1; at < 20; at++) {
            char text[] = "GET /0123456789abcdefghij HTTP/1.1\r\nHost: h\r\n\r\n";
            rl_buf story = {0};
            bool good = c > ' ' && c < 0x7f && c != '#';
            text[4 + at] = (char)c;
            int status = feed(rl_span_str(text), SIZE_MAX, &story);
            if ((status == 0) != good)
                fail_msg("%d for octet %d at %zu", status, c, at);
            rl_buf_free(&story);
        }
}

/* RFC 9112 §3.2 and §6: one Host, one way to tell the body's length. */
static void test_host_and_framing(void **state)
{
    static const expectation cases[] = {
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {0, "GET / HTTP/1.0\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n"},
        {0, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        {0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"},
        {0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 00001 \r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"},
        {400,
         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {417, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n"},
        {0, "POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n"},
    };
    (void)state;
    CHECK(cases);
}

#define CHUNKED "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

/* RFC 9112 §7.1. */
static void test_chunked_is_strict(void **state)
{
    static const expectation cases[] = {
        {0, CHUNKED "0\r\n\r\n"},
        {0, CHUNKED "A\r\n0123456789\r\n0;last\r\nTrailer: x\r\n\r\n"},
        {0, CHUNKED "1;a=b;c=\"d e\"\r\nx\r\n00000000\r\n\r\n"},
        {400, CHUNKED "\r\n"},
        {400, CHUNKED "g\r\n"},
        {400, CHUNKED "-1\r\n"},
        {400, CHUNKED "0x1\r\nx\r\n"},
        {400, CHUNKED " 1\r\nx\r\n"},
        {400, CHUNKED "1 \r\nx\r\n"},
        {400, CHUNKED "1\nx\n"},
        {400, CHUNKED "1\r\nxy\r\n"},
        {400, CHUNKED "1\r\nx\n0\r\n\r\n"},
        {400, CHUNKED "1\r\nx0\r\n\r\n"},
        {400, CHUNKED "123456789\r\n"},
        {400, CHUNKED "1;a\x01\r\nx\r\n"},
        {400, CHUNKED "0\r\n folded\r\n\r\n"},
        {400, CHUNKED "0\r\n\r\r"},
        {413, CHUNKED "1001\r\n"},
        {413, CHUNKED "ffffffff\r\n"},
    };
    (void)state;
    CHECK(cases);
}

static void test_sizes_are_bounded(void **state)
{
    rl_buf text = {0}, story = {0};
    (void)state;
    rl_buf_printf(&text, "GET /%0*d HTTP/1.1\r\nHost: h\r\n\r\n", HEADER_LIMIT, 0);
    assert_int_equal(feed(rl_buf_span(&text), 1000, &story), 414);
    rl_buf_reset(&text);
    rl_buf_printf(&text, "GET / HTTP/1.1\r\nHost: h\r\nX: %0*d\r\n\r\n", HEADER_LIMIT, 0);
    assert_int_equal(feed(rl_buf_span(&text), 1000, &story), 431);
    rl_buf_reset(&text);
    rl_buf_printf(&text, "GET / HTTP/1.1\r\n");
    for (int i = 0; i <= RL_HTTP_HEADERS_MAX; i++)
        rl_buf_printf(&text, "H%d: x\r\n", i);
    rl_buf_printf(&text, "\r\n");
    assert_int_equal(feed(rl_buf_span(&text), 1000, &story), 431);
    /* A chunked body of the allowed size in chunks of one octet, and endless extensions. */
    rl_buf_reset(&text);
    rl_buf_printf(&text, CHUNKED);
    for (int i = 0; i < BODY_LIMIT; i++)
        rl_buf_printf(&text, "1\r\nx\r\n");
    rl_buf_printf(&text, "0\r\n\r\n");
    assert_int_equal(feed(rl_buf_span(&text), 1000, &story), 0);
    rl_buf_reset(&text);
    rl_buf_printf(&text, CHUNKED "1;%0*d\r\nx\r\n0\r\n\r\n", 2 * HTTP_CHUNK_OVERHEAD, 0);
    assert_int_equal(feed(rl_buf_span(&text), 1000, &story), 413);
    rl_buf_free(&text);
    rl_buf_free(&story);
}

/* A head that comes whole and differs from the one before in its path is not read again; octet by octet it is. */
#define FIELDS " HTTP/1.1\r\nHost: h\r\nEmpty:\r\nContent-Length: 1\r\n\r\n"
static void test_heads_known_from_the_request_before(void **state)
{
    static const char text[] = "POST /a" FIELDS "1POST /longer?q=r" FIELDS "2POST /" FIELDS "3"
                               "POST /a HTTP/1.1\r\nHost: i\r\nEmpty:\r\nContent-Length: 1\r\n\r\n4"
                               "POST /b HTTP/1.1\r\nHost: i\r\nEmpty:\r\nContent-Length: 1\r\n\r\n5GET /c" FIELDS "6";
#define WANT "<Empty|>\n<Content-Length|1>\n"
    static const char want[] = "4 /a ?  keep=1\n<Host|h>\n" WANT "1\n4 /longer ? q=r keep=1\n<Host|h>\n" WANT
                               "2\n4 / ?  keep=1\n<Host|h>\n" WANT "3\n4 /a ?  keep=1\n<Host|i>\n" WANT
                               "4\n4 /b ?  keep=1\n<Host|i>\n" WANT "5\n1 /c ?  keep=1\n<Host|h>\n" WANT "6\n";
    static const expectation cases[] = {
        {400, "POST /a" FIELDS "1POST /a b" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST /a\x01" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST /a\x7f" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST /a\xc3\xa4" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST /a#b" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST /a\r\n" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST a" FIELDS "2"},
        {400, "POST /a" FIELDS "1POST " FIELDS "2"},
        {0, "POST /a" FIELDS "1POST http://h/a" FIELDS "2POST /b" FIELDS "3"},
        {0, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS /a HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: "
            "h\r\n\r\n"},
    };
    (void)state;
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        rl_buf story = {0};
        assert_int_equal(feed(rl_span_str(text), piece, &story), 0);
        assert_int_equal(rl_buf_append(&story, "", 1), RL_OK);
        assert_string_equal((const char *)story.p, want);
        rl_buf_free(&story);
    }
    CHECK(cases);
    for (int over = 0; over < 2; over++) {
        rl_buf two = {0}, story = {0};
        rl_buf_printf(&two, "POST /a" FIELDS "1POST /%0*d" FIELDS "2",
                      HEADER_LIMIT - (int)sizeof("POST /" FIELDS) + 1 + over, 0);
        assert_int_equal(feed(rl_buf_span(&two), SIZE_MAX, &story), over ? 431 : 0);
        rl_buf_free(&two);
        rl_buf_free(&story);
    }
}

static void test_consumed_memory_is_given_back(void **state)
{
    http_in in;
    uint8_t *at;
    rl_http_request *req = calloc(1, sizeof *req);
    http_head head;
    const char *why;
    (void)state;
    assert_non_null(req);
    assert_int_equal(http_in_init(&in, HEADER_LIMIT), RL_OK);
    const rl_span text = RL_SPAN_LIT("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
    assert_true(http_in_room(&in, &at) >= text.n);
    memcpy(at, text.p, text.n);
    http_in_added(&in, text.n);
    assert_int_equal(http_in_next(&in), HTTP_IN_HEAD);
    assert_int_equal(http_head_read(&in, req, &head, &why), 0);
    in.body_limit = 300000;
    while (http_in_next(&in) == HTTP_IN_MORE) {
        size_t n = http_in_room(&in, &at);
        assert_in_range(n, 1, 400000);
        memset(at, 'x', n);
        http_in_added(&in, n);
    }
    assert_int_equal(http_in_body(&in).n, 300000);
    assert_in_range(in.cap, 300000, 300000 + HTTP_IN_FIRST);
    http_in_consume(&in);
    assert_int_equal(in.cap, HTTP_IN_FIRST);
    http_in_free(&in);
    free(req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_of_every_framing_follow_each_other),
        cmocka_unit_test(test_lines_that_could_be_read_in_two_ways_are_400),
        cmocka_unit_test(test_request_line),
        cmocka_unit_test(test_targets_are_visible_ascii_without_fragment),
        cmocka_unit_test(test_host_and_framing),
        cmocka_unit_test(test_chunked_is_strict),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_heads_known_from_the_request_before),
        cmocka_unit_test(test_consumed_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
