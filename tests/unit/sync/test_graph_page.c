/* The page parser: what a page of a delta query may be, and that anything else is refused whole. */
#include "sync/graph_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ORIGIN "https://graph.microsoft.com"
#define DELTA  "\"@odata.deltaLink\":\"" ORIGIN "/v1.0/devices/delta?$deltatoken=abc\""
#define NEXT   "\"@odata.nextLink\":\"" ORIGIN "/v1.0/devices/delta?$skiptoken=abc\""

static const rl_graph_shape devices = {.name = "deviceId"};

static rl_err parse(const char *text, rl_graph_page *page)
{
    return rl_graph_page_parse(rl_span_str(text), 1 << 20, &devices, ORIGIN, page, NULL);
}

static rl_graph_page page_of(const char *text)
{
    rl_graph_page page;
    rl_error e = {0};
    if (rl_graph_page_parse(rl_span_str(text), 1 << 20, &devices, ORIGIN, &page, &e) != RL_OK)
        fail_msg("%s: %s", text, e.message);
    return page;
}

static void test_a_page_as_graph_documents_it(void **state)
{
    (void)state;
    rl_graph_page p =
        page_of("{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata#devices\"," DELTA ",\"value\":["
                "{\"id\":\"6e7b768e-07e2-4810-8459-485f84f8f204\",\"deviceId\":\"AAAA0000-07e2-4810-8459-"
                "485f84f8f204\",\"accountEnabled\":false},"
                "{\"id\":\"a0f3\",\"@removed\":{\"reason\":\"changed\"}},"
                "{\"id\":\"b1c4\",\"@removed\":{\"reason\":\"deleted\"}}]}");
    assert_int_equal(p.n, 3);
    assert_true(p.complete);
    assert_string_equal(p.link, ORIGIN "/v1.0/devices/delta?$deltatoken=abc");
    assert_string_equal(p.items[0].id, "6e7b768e-07e2-4810-8459-485f84f8f204");
    assert_string_equal(p.items[0].name, "aaaa0000-07e2-4810-8459-485f84f8f204");
    assert_int_equal(p.items[0].enabled, RL_ENABLED_NO);
    assert_false(p.items[0].removed);
    assert_true(p.items[1].removed);
    assert_true(p.items[2].removed);
    rl_graph_page_free(&p);
}

static void test_an_empty_page_with_a_next_link(void **state)
{
    (void)state;
    rl_graph_page p = page_of("{\"value\":[]," NEXT "}");
    assert_int_equal(p.n, 0);
    assert_false(p.complete);
    rl_graph_page_free(&p);
}

static void test_pages_that_follow_one_another_are_joined(void **state)
{
    (void)state;
    rl_graph_page p = page_of("{\"value\":[{\"id\":\"b\"},{\"id\":\"c\"}]," NEXT "}");
    rl_graph_page empty = page_of("{\"value\":[]," NEXT "}");
    rl_graph_page last = page_of("{\"value\":[{\"id\":\"a\"},{\"id\":\"b\",\"@removed\":{}}]," DELTA "}");
    assert_int_equal(rl_graph_page_join(&p, &empty), RL_OK);
    assert_int_equal(p.n, 2);
    assert_false(p.complete);
    assert_int_equal(rl_graph_page_join(&p, &last), RL_OK);
    rl_graph_page_free(&last); /* nothing is left of it */
    assert_int_equal(p.n, 4);
    const char *const ids[] = {"b", "c", "a", "b"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(p.items[i].id, ids[i]);
        assert_int_equal(p.items[i].removed, i == 3);
    }
    assert_true(p.complete);
    assert_string_equal(p.link, ORIGIN "/v1.0/devices/delta?$deltatoken=abc");
    rl_graph_page_free(&p);
}

static void test_absent_null_and_unknown_members(void **state)
{
    (void)state;
    rl_graph_page p = page_of("\xef\xbb\xbf{" DELTA ",\"more\":{\"x\":[1,2,{}]},\"value\":["
                              "{\"id\":\"1\"},"
                              "{\"id\":\"2\",\"accountEnabled\":null,\"deviceId\":null,\"colour\":\"blue\"},"
                              "{\"accountEnabled\":true,\"deviceId\":\"\",\"id\":\"3\"}]}");
    assert_int_equal(p.n, 3);
    assert_int_equal(p.items[0].enabled, RL_ENABLED_UNSAID);
    assert_false(p.items[0].name_said);
    assert_int_equal(p.items[1].enabled, RL_ENABLED_UNSAID);
    assert_true(p.items[1].name_said);
    assert_null(p.items[1].name);
    assert_int_equal(p.items[2].enabled, RL_ENABLED_YES);
    assert_null(p.items[2].name);
    rl_graph_page_free(&p);
}

static void test_ids_are_compared_without_case_and_braces(void **state)
{
    (void)state;
    rl_graph_page p = page_of(
        "{" DELTA
        ",\"value\":[{\"id\":\"{6E7B768E}\",\"deviceId\":\"{ABCD}\"},{\"id\":\"6e7b768e\",\"accountEnabled\":false}]}");
    assert_int_equal(p.n, 1);
    assert_string_equal(p.items[0].id, "6e7b768e");
    assert_string_equal(p.items[0].name, "abcd");
    assert_int_equal(p.items[0].enabled, RL_ENABLED_NO);
    rl_graph_page_free(&p);
}

static void test_repeated_ids_the_last_word_wins(void **state)
{
    (void)state;
    rl_graph_page p = page_of("{" DELTA ",\"value\":["
                              "{\"id\":\"b\",\"accountEnabled\":true},"
                              "{\"id\":\"a\",\"accountEnabled\":false,\"deviceId\":\"n1\"},"
                              "{\"id\":\"b\",\"@removed\":{\"reason\":\"deleted\"}},"
                              "{\"id\":\"c\",\"@removed\":{\"reason\":\"changed\"}},"
                              "{\"id\":\"a\",\"deviceId\":\"n2\"},"
                              "{\"id\":\"c\"},"
                              "{\"id\":\"a\",\"accountEnabled\":null}]}");
    assert_int_equal(p.n, 3);
    assert_string_equal(p.items[0].id, "a");
    assert_int_equal(p.items[0].enabled, RL_ENABLED_NO); /* said once, not taken back */
    assert_string_equal(p.items[0].name, "n2");
    assert_true(p.items[1].removed);
    assert_false(p.items[2].removed); /* restored */
    rl_graph_page_free(&p);
}

static void test_a_name_too_long_for_any_certificate_is_none(void **state)
{
    char text[1024];
    (void)state;
    snprintf(text, sizeof(text), "{" DELTA ",\"value\":[{\"id\":\"a\",\"deviceId\":\"%0256d\"}]}", 0);
    rl_graph_page p = page_of(text);
    assert_true(p.items[0].name_said);
    assert_null(p.items[0].name);
    rl_graph_page_free(&p);
}

static void test_escapes_and_text_in_utf8(void **state)
{
    (void)state;
    rl_graph_page p = page_of("{" DELTA ",\"value\":[{\"id\":\"\\u0041b\",\"deviceId\":\"\\ud83d\\ude00X\"}]}");
    assert_string_equal(p.items[0].id, "ab");
    assert_string_equal(p.items[0].name, "\xf0\x9f\x98\x80x");
    rl_graph_page_free(&p);
}

static void test_anything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "<html><body>503</body></html>",
        "[]",
        "null",
        "{" DELTA "}",
        "{" DELTA ",\"value\":{}}",
        "{" DELTA ",\"value\":null}",
        "{\"value\":[]}",
        "{\"value\":[]," NEXT "," DELTA "}",
        "{\"value\":[],\"@odata.nextLink\":null}",
        "{\"value\":[],\"@odata.nextLink\":7}",
        "{\"value\":[],\"@odata.deltaLink\":\"\"}",
        "{" DELTA ",\"value\":[7]}",
        "{" DELTA ",\"value\":[{}]}",
        "{" DELTA ",\"value\":[{\"id\":null}]}",
        "{" DELTA ",\"value\":[{\"id\":\"\"}]}",
        "{" DELTA ",\"value\":[{\"id\":42}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\\nb\"}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\\u0000b\"}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\",\"accountEnabled\":\"false\"}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\",\"accountEnabled\":0}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\",\"deviceId\":7}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\",\"@removed\":true}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\"},{\"id\":\"b\"},{\"accountEnabled\":true}]}",
        "{" DELTA ",\"value\":[{\"id\":\"a\"}",
        "{" DELTA ",\"value\":[]} and more",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rl_graph_page p;
        if (parse(bad[i], &p) == RL_OK)
            fail_msg("%s", bad[i]);
    }
}

static void test_links_to_elsewhere_are_refused(void **state)
{
    static const char *const links[] = {
        "https://evil.example/v1.0/devices/delta",
        "http://graph.microsoft.com/v1.0/devices/delta",
        "https://graph.microsoft.com:8443/v1.0/devices/delta",
        "https://graph.microsoft.com@evil.example/",
        "https://graph.microsoft.com\\\\@evil.example/",
        "https://graph.microsoft.com.evil.example/",
        "/v1.0/devices/delta",
        "https://graph.microsoft.com/a b",
        "https://graph.microsoft.com/\\u00e9",
        "https://graph.microsoft.com/\\r\\nX: 1",
        "file:///etc/passwd",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        char text[256];
        rl_graph_page p;
        snprintf(text, sizeof(text), "{\"value\":[],\"@odata.nextLink\":\"%s\"}", links[i]);
        if (parse(text, &p) == RL_OK)
            fail_msg("%s", links[i]);
    }
}

static void test_a_link_in_capitals_is_the_same_host(void **state)
{
    (void)state;
    rl_graph_page p =
        page_of("{\"value\":[],\"@odata.nextLink\":\"HTTPS://GRAPH.Microsoft.Com:443/x?%24skiptoken=Y\"}");
    assert_string_equal(p.link, "HTTPS://GRAPH.Microsoft.Com:443/x?%24skiptoken=Y");
    rl_graph_page_free(&p);
}

static void test_sizes_are_limited(void **state)
{
    (void)state;
    rl_graph_page p;
    rl_span text = RL_SPAN_LIT("{\"value\":[]," NEXT "}");
    assert_int_equal(rl_graph_page_parse(text, text.n, &devices, ORIGIN, &p, NULL), RL_OK);
    rl_graph_page_free(&p);
    assert_int_equal(rl_graph_page_parse(text, text.n - 1, &devices, ORIGIN, &p, NULL), RL_ERANGE);
    rl_buf b = {0};
    rl_buf_printf(&b, "{\"value\":[],\"@odata.nextLink\":\"" ORIGIN "/%0*d\"}", RL_GRAPH_LINK_MAX, 0);
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&b), 1 << 20, &devices, ORIGIN, &p, NULL), RL_ERANGE);
    rl_buf_free(&b);
}

static void test_ten_thousand_objects(void **state)
{
    (void)state;
    rl_buf b = {0};
    rl_graph_page p;
    rl_buf_printf(&b, "{" DELTA ",\"value\":[");
    for (int i = 0; i < 10000; i++)
        rl_buf_printf(&b, "%s{\"id\":\"%08d\",\"accountEnabled\":true,\"deviceId\":\"d%d\"}", i ? "," : "", 9999 - i,
                      i);
    rl_buf_printf(&b, "]}");
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&b), 16 << 20, &devices, ORIGIN, &p, NULL), RL_OK);
    assert_int_equal(p.n, 10000);
    assert_string_equal(p.items[0].name, "d9999");
    rl_graph_page_free(&p);
    rl_buf_free(&b);
}

static void test_error_codes(void **state)
{
    static const struct {
        const char *body, *code;
    } rows[] = {
        {"{\"error\":{\"code\":\"syncStateNotFound\",\"message\":\"x\"}}", "syncStateNotFound"},
        {"{\"error\":{\"code\":\"a b\\nc\"}}", ""},
        {"{\"error\":\"invalid\"}", ""},
        {"{\"error\":{\"code\":7}}", ""},
        {"<html>", ""},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char code[32];
        rl_graph_error_code(rl_span_str(rows[i].body), code, sizeof(code));
        assert_string_equal(code, rows[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_as_graph_documents_it),
        cmocka_unit_test(test_an_empty_page_with_a_next_link),
        cmocka_unit_test(test_pages_that_follow_one_another_are_joined),
        cmocka_unit_test(test_absent_null_and_unknown_members),
        cmocka_unit_test(test_ids_are_compared_without_case_and_braces),
        cmocka_unit_test(test_repeated_ids_the_last_word_wins),
        cmocka_unit_test(test_a_name_too_long_for_any_certificate_is_none),
        cmocka_unit_test(test_escapes_and_text_in_utf8),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_links_to_elsewhere_are_refused),
        cmocka_unit_test(test_a_link_in_capitals_is_the_same_host),
        cmocka_unit_test(test_sizes_are_limited),
        cmocka_unit_test(test_ten_thousand_objects),
        cmocka_unit_test(test_error_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
