/* Reading outside JSON: within limits, strict, and quiet about the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"

static rl_err parse(rl_span text, size_t max, rl_error *e)
{
    json_t *out = NULL;
    rl_err err = rl_json_parse(text, max, &out, e);
    json_decref(out);
    return err;
}

/* `depth` times `open`, then `close` as often. */
static rl_buf nested(const char *open, const char *close, size_t depth)
{
    rl_buf b = {0};
    for (size_t i = 0; i < depth; i++)
        assert_int_equal(rl_buf_printf(&b, "%s", open), RL_OK);
    for (size_t i = 0; i < depth; i++)
        assert_int_equal(rl_buf_printf(&b, "%s", close), RL_OK);
    return b;
}

static void nesting_is_bounded_before_anything_recurses(void **state)
{
    (void)state;
    rl_error e;
    static const struct {
        const char *open, *close;
        size_t depth;
        rl_err err;
    } cases[] = {{"[", "]", 64, RL_OK},
                 {"[", "]", 65, RL_ERANGE},
                 {"[", "", 1000000, RL_ERANGE},
                 {"[{\"a\":", "}]", 40, RL_ERANGE},
                 {"{\"[[\\\"[\":", "}", 65, RL_ERANGE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rl_buf b = nested(cases[i].open, cases[i].close, cases[i].depth);
        assert_int_equal(parse(rl_buf_span(&b), SIZE_MAX, &e), cases[i].err);
        rl_buf_free(&b);
    }
    /* brackets inside strings nest nothing */
    rl_buf b = {0};
    assert_int_equal(rl_buf_printf(&b, "[\""), RL_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rl_buf_printf(&b, "[{\\\"\\\\"), RL_OK);
    assert_int_equal(rl_buf_printf(&b, "\"]"), RL_OK);
    assert_int_equal(parse(rl_buf_span(&b), SIZE_MAX, &e), RL_OK);
    rl_buf_free(&b);
}

static void size_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    rl_error e;
    assert_int_equal(parse(RL_SPAN_LIT("[1,2]"), 5, &e), RL_OK);
    assert_int_equal(parse(RL_SPAN_LIT("[1,2]"), 4, &e), RL_ERANGE);
    size_t n = (2u << 20) + 2;
    char *many = malloc(n);
    memset(many, ',', n);
    for (size_t i = 1; i < n; i += 2)
        many[i] = '0';
    many[0] = '[';
    many[n - 1] = ']';
    assert_int_equal(parse(rl_span_of(many, n), n, &e), RL_ERANGE);
    assert_string_equal(e.message, "more than 1048576 values");
    free(many);
}

static void only_a_whole_and_clean_document_is_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "{}}",
                                      "{} x",
                                      "[1,]",
                                      "{'a':1}",
                                      "nul",
                                      "1",
                                      "\"text\"",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\\u0000\":1}",
                                      "[\"\x01\"]",
                                      "[\"\xff\"]",
                                      "[\"\\ud800\"]",
                                      "\xef\xbb",
                                      "[1e999]",
                                      "[99999999999999999999]"};
    rl_error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parse(rl_span_str(bad[i]), 1000, &e) != RL_EBADMSG)
            fail_msg("%s", bad[i]);
    assert_int_equal(parse((rl_span){NULL, 0}, 1000, &e), RL_EBADMSG);
    assert_int_equal(parse(RL_SPAN_LIT("[\"a\0b\"]"), 1000, &e), RL_EBADMSG);
    assert_int_equal(parse(RL_SPAN_LIT("\xef\xbb\xbf{\"a\":1}\r\n"), 1000, &e), RL_OK);
}

static void an_error_names_the_place_but_not_the_text(void **state)
{
    (void)state;
    rl_error e;
    assert_int_equal(parse(RL_SPAN_LIT("{\"access_token\":\n\"sEcReT"), 1000, &e), RL_EBADMSG);
    assert_null(strstr(e.message, "sEcReT"));
    assert_non_null(strstr(e.message, "line 2"));
    assert_int_equal(parse(RL_SPAN_LIT("{\"access_token\": sEcReT}"), 1000, &e), RL_EBADMSG);
    assert_null(strstr(e.message, "sEcReT"));
}

static void members_of_the_wrong_type_are_absent(void **state)
{
    (void)state;
    json_t *o;
    assert_int_equal(
        rl_json_parse(RL_SPAN_LIT("{\"s\":\"x\",\"b\":true,\"i\":7,\"t\":\"-12\",\"dup\":1,\"dup\":2,\"n\":null,"
                                  "\"w\":[\" 1\",\"1 \",\"+1\",\"0x1\",\"\",\"-\",\"9223372036854775808\",1.5,true]}"),
                      1000, &o, NULL),
        RL_OK);
    assert_string_equal(rl_json_str(o, "s"), "x");
    assert_null(rl_json_str(o, "i"));
    assert_null(rl_json_str(o, "n"));
    assert_null(rl_json_str(o, "absent"));
    assert_null(rl_json_str(NULL, "s"));
    assert_true(rl_json_bool(o, "b", false));
    assert_true(rl_json_bool(o, "s", true));
    assert_int_equal(rl_json_int(o, "i", -1), 7);
    assert_int_equal(rl_json_int(o, "t", -1), -12);
    assert_int_equal(rl_json_int(o, "dup", -1), 2);
    assert_int_equal(rl_json_int(o, "s", -1), -1);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(o, "w"), i, v)
    {
        json_t *wrapped = json_pack("{s:O}", "v", v);
        assert_int_equal(rl_json_int(wrapped, "v", -99), -99);
        json_decref(wrapped);
    }
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nesting_is_bounded_before_anything_recurses),
        cmocka_unit_test(size_and_number_of_values_are_bounded),
        cmocka_unit_test(only_a_whole_and_clean_document_is_read),
        cmocka_unit_test(an_error_names_the_place_but_not_the_text),
        cmocka_unit_test(members_of_the_wrong_type_are_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
