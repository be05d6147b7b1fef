/* Pages of Jamf Pro: what is read of them, and that a wrong one counts for nothing. The texts are of the shapes that
 * Jamf Pro's documentation gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/records.h"
#include "sync/jamf_page.h"

static const rl_jamf_shape computers = {.list = "results", .counted = true}, users = {.list = "users", .named = true};

static rl_err parse(const char *text, const rl_jamf_shape *shape, rl_graph_page *p, uint64_t *total)
{
    rl_error e = {0};
    rl_err err = rl_jamf_page_parse(rl_span_str(text), 1 << 20, shape, p, total, &e);
    assert_true(err == RL_OK || e.message[0]);
    return err;
}

static void test_computers(void **state)
{
    rl_graph_page p;
    uint64_t total;
    (void)state;
    assert_int_equal(
        parse("{\"totalCount\":3,\"results\":[{\"id\":\"1\",\"udid\":\"EBBFF74D-C6B7-5599-93A9-19E8BDDEFE32\","
              "\"general\":null,\"userAndLocation\":{\"username\":\"ada\",\"id\":\"9\"}},{\"id\":\"12\",\"name\":\"x\"}"
              "]}",
              &computers, &p, &total),
        RL_OK);
    assert_int_equal(total, 3);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.items[0].id, "1");
    assert_string_equal(p.items[1].id, "12");
    assert_false(p.items[1].name_said);
    assert_false(p.items[0].removed);
    rl_graph_page_free(&p);
}

static void test_users(void **state)
{
    rl_graph_page p;
    uint64_t total;
    (void)state;
    assert_int_equal(
        parse("\xef\xbb\xbf{\"users\":[{\"id\":7,\"name\":\"Ada@Contoso.example\"},{\"id\":\"8\",\"name\":null},"
              "{\"id\":9},{\"id\":10,\"name\":\"\"}]}",
              &users, &p, &total),
        RL_OK);
    assert_int_equal(total, 4);
    assert_int_equal(p.n, 4);
    assert_string_equal(p.items[0].id, "7");
    assert_string_equal(p.items[0].name, "ada@contoso.example");
    assert_string_equal(p.items[1].id, "8");
    for (size_t i = 1; i < 4; i++) {
        assert_true(p.items[i].name_said);
        assert_null(p.items[i].name);
    }
    rl_graph_page_free(&p);
}

static void test_a_name_too_long_to_be_bound_is_none(void **state)
{
    rl_graph_page p;
    uint64_t total;
    char text[512], name[RL_OBJECT_ID_MAX + 2];
    (void)state;
    for (size_t n = RL_OBJECT_ID_MAX; n <= RL_OBJECT_ID_MAX + 1; n++) {
        memset(name, 'a', n);
        name[n] = 0;
        snprintf(text, sizeof(text), "{\"users\":[{\"id\":1,\"name\":\"%s\"}]}", name);
        assert_int_equal(parse(text, &users, &p, &total), RL_OK);
        assert_int_equal(p.items[0].name != NULL, n == RL_OBJECT_ID_MAX);
        rl_graph_page_free(&p);
    }
}

static void test_an_empty_page(void **state)
{
    rl_graph_page p;
    uint64_t total;
    (void)state;
    assert_int_equal(parse("{\"totalCount\":0,\"results\":[]}", &computers, &p, &total), RL_OK);
    assert_int_equal(total + p.n, 0);
    assert_int_equal(parse("{\"users\":[]}", &users, &p, &total), RL_OK);
    assert_int_equal(total + p.n, 0);
}

static void test_wrong_pages_are_refused_whole(void **state)
{
    static const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "<!doctype html><html></html>",
        "{\"results\":[]}",
        "{\"totalCount\":1}",
        "{\"totalCount\":1,\"results\":{}}",
        "{\"totalCount\":-1,\"results\":[]}",
        "{\"totalCount\":\"many\",\"results\":[]}",
        "{\"totalCount\":1,\"results\":[7]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"1\"},{}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":null}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":0}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":-1}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":1.5}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"01\"}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"-1\"}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"1/../2\"}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"\"}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"12345678901234567890\"}]}",
        "{\"totalCount\":1,\"results\":[{\"id\":\"1\"}]",
    };
    rl_graph_page p;
    uint64_t total;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (parse(wrong[i], &computers, &p, &total) == RL_OK)
            fail_msg("taken: %s", wrong[i]);
    assert_int_equal(parse("{\"users\":[{\"id\":1,\"name\":7}]}", &users, &p, &total), RL_EBADMSG);
    assert_int_equal(parse("{\"totalCount\":1,\"results\":[]}", &users, &p, &total), RL_EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_computers),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_a_name_too_long_to_be_bound_is_none),
        cmocka_unit_test(test_an_empty_page),
        cmocka_unit_test(test_wrong_pages_are_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
