/* Spans, encodings, buffers, arenas and error texts. Encodings' expected values: RFC 4648 §10. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/span.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void taking_from_a_span_is_all_or_nothing(void **state)
{
    (void)state;
    rl_span in = RL_SPAN_LIT("abc"), part;
    assert_int_equal(rl_span_take(&in, 4, &part), RL_EBADMSG);
    assert_int_equal(in.n, 3);
    assert_int_equal(rl_span_take(&in, 2, &part), RL_OK);
    assert_true(rl_span_eq(part, RL_SPAN_LIT("ab")));
    assert_int_equal(rl_span_end(&in), RL_EBADMSG);
    assert_int_equal(rl_span_take(&in, 1, &part), RL_OK);
    assert_int_equal(rl_span_end(&in), RL_OK);
    rl_span none = {NULL, 0};
    assert_int_equal(rl_span_take(&none, 0, &part), RL_OK);
    assert_int_equal(rl_span_take(&none, 1, &part), RL_EBADMSG);
    assert_true(rl_span_eq(none, RL_SPAN_LIT("")));
    assert_true(rl_span_ieq(RL_SPAN_LIT("Content-Length"), RL_SPAN_LIT("content-lengtH")));
    assert_false(rl_span_ieq(RL_SPAN_LIT("\xc4"), RL_SPAN_LIT("\xe4"))); /* ASCII only */
}

static void secrets_are_equal_only_when_whole_and_set(void **state)
{
    (void)state;
    assert_true(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("s3cret")));
    assert_false(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("s3creT")));
    assert_false(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("S3cret")));
    assert_false(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("s3cre")));
    assert_false(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("s3crets3cret"))); /* the wrapping round */
    assert_false(rl_secret_eq(RL_SPAN_LIT("s3cret"), RL_SPAN_LIT("")));
    assert_false(rl_secret_eq(RL_SPAN_LIT(""), RL_SPAN_LIT("")));
    assert_false(rl_secret_eq((rl_span){NULL, 0}, (rl_span){NULL, 0}));
    assert_false(rl_secret_eq((rl_span){NULL, 0}, RL_SPAN_LIT("\0")));
}

static void a_guid_has_one_form(void **state)
{
    static const char *const bad[] = {"",
                                      "6e7b768e-07e2-4810-8459-485f84f8f20",
                                      "6e7b768e-07e2-4810-8459-485f84f8f2044",
                                      "6e7b768e-07e2-4810-8459-485f84f8f20g",
                                      "6e7b768e-07e2-48100-845-485f84f8f204",
                                      "6e7b768ea07e2-4810-8459-485f84f8f204",
                                      "{6e7b768e-07e2-4810-8459-485f84f8f2}",
                                      "6e7b768e-07e2-4810-8459-485f84f8f20\x1a",
                                      "6e7b768e-07e2-4810-8459\r485f84f8f204"};
    char text[RL_GUID_SIZE];
    (void)state;
    assert_int_equal(rl_guid_read(RL_SPAN_LIT("6E7B768E-07e2-4810-8459-485F84F8F204"), text), RL_OK);
    assert_string_equal(text, "6e7b768e-07e2-4810-8459-485f84f8f204");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rl_guid_read(rl_span_str(bad[i]), text), RL_EBADMSG);
}

static void hexadecimal_is_strict(void **state)
{
    (void)state;
    char text[9];
    uint8_t bytes[4];
    size_t n = 99;
    assert_int_equal(rl_hex(RL_SPAN_LIT("\x00\xff\x10\xAb"), text, sizeof(text)), RL_OK);
    assert_string_equal(text, "00ff10ab");
    assert_int_equal(rl_hex(RL_SPAN_LIT("\x00\xff\x10\xAb"), text, 8), RL_ERANGE);
    assert_int_equal(rl_hex(RL_SPAN_LIT(""), text, 0), RL_ERANGE);
    assert_int_equal(rl_unhex(RL_SPAN_LIT("00fF10Ab"), bytes, 4, &n), RL_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(bytes, "\x00\xff\x10\xab", 4);
    assert_int_equal(rl_unhex(RL_SPAN_LIT("00ff10ab"), bytes, 3, &n), RL_ERANGE);
    static const char *const bad[] = {"0", "0g", "0x", " 0", "00:1", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(rl_unhex(rl_span_str(bad[i]), bytes, 4, &n), RL_EBADMSG);
}

static void base64_is_that_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"}};
    char text[16];
    uint8_t bytes[16];
    size_t n;
    for (size_t i = 0; i < COUNT(vectors); i++) {
        rl_span plain = rl_span_str(vectors[i][0]), coded = rl_span_str(vectors[i][1]);
        assert_int_equal(rl_base64_encode(plain, false, text, coded.n + 1), RL_OK);
        assert_string_equal(text, vectors[i][1]);
        assert_int_equal(rl_base64_encode(plain, false, text, coded.n), RL_ERANGE);
        assert_int_equal(rl_base64_decode(coded, false, bytes, plain.n, &n), RL_OK);
        assert_true(rl_span_eq(plain, rl_span_of(bytes, n)));
        if (plain.n)
            assert_int_equal(rl_base64_decode(coded, false, bytes, plain.n - 1, &n), RL_ERANGE);
        while (coded.n && coded.p[coded.n - 1] == '=') /* padding may be missing */
            coded.n--;
        assert_int_equal(rl_base64_decode(coded, false, bytes, plain.n, &n), RL_OK);
        assert_true(rl_span_eq(plain, rl_span_of(bytes, n)));
        assert_int_equal(rl_base64_encode(plain, true, text, coded.n + 1), RL_OK); /* §5: without padding */
        assert_true(rl_span_eq(rl_span_str(text), coded));
        assert_int_equal(rl_base64_encode(plain, true, text, coded.n), RL_ERANGE);
    }
    assert_int_equal(rl_base64_encode(RL_SPAN_LIT("\xfb\xef\xff"), false, text, sizeof(text)), RL_OK);
    assert_string_equal(text, "++//");
    assert_int_equal(rl_base64_encode(RL_SPAN_LIT("\xfb\xef\xff"), true, text, sizeof(text)), RL_OK);
    assert_string_equal(text, "--__");
}

static void base64_has_one_form_for_each_value(void **state)
{
    (void)state;
    static const char *const bad[] = {"A",    "AAAAA", "=",     "==",       "A=",       "A===",      "AA=",
                                      "AA=A", "AAA==", "AAAA=", "AAAA====", "AA==AA==", "A A A A",   "AAAA\n",
                                      "AB==", "AAB=",  "Zm9v-", "__--",     "Zm9v*",    "Zm\xc3\xa9"};
    uint8_t bytes[16];
    size_t n;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rl_base64_decode(rl_span_str(bad[i]), false, bytes, sizeof(bytes), &n) != RL_EBADMSG)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(rl_base64_decode(RL_SPAN_LIT("++//"), true, bytes, sizeof(bytes), &n), RL_EBADMSG);
}

static void a_buffer_keeps_its_limit(void **state)
{
    (void)state;
    rl_buf b = {.limit = 10};
    volatile size_t all = SIZE_MAX; /* which the compiler must not know */
    assert_int_equal(rl_buf_append(&b, "12345678", 8), RL_OK);
    assert_int_equal(rl_buf_append(&b, "123", 3), RL_ERANGE);
    assert_int_equal(rl_buf_printf(&b, "%d", 123), RL_ERANGE);
    assert_int_equal(b.n, 8);
    assert_int_equal(rl_buf_printf(&b, "%d", 90), RL_OK); /* exactly full: the NUL does not count */
    assert_true(rl_span_eq(rl_buf_span(&b), RL_SPAN_LIT("1234567890")));
    assert_int_equal(rl_buf_append(&b, "", 0), RL_OK);
    assert_int_equal(rl_buf_append(&b, "x", all), RL_ERANGE);
    rl_buf_reset(&b);
    assert_int_equal(b.n, 0);
    assert_int_equal(rl_buf_append(&b, "again", 5), RL_OK);
    rl_buf_free(&b);
    assert_null(b.p);
    assert_int_equal(rl_buf_append(&b, "12345678901", 11), RL_ERANGE); /* still limited */
    rl_buf_free(&b);
}

static void a_buffer_grows(void **state)
{
    (void)state;
    rl_buf b = {0};
    for (int i = 0; i < 10000; i++)
        assert_int_equal(rl_buf_printf(&b, "%04d", i), RL_OK);
    assert_int_equal(b.n, 40000);
    assert_memory_equal(b.p + 4 * 1234, "1234", 4);
    assert_memory_equal(b.p + 4 * 9999, "9999", 4);
    rl_buf_free(&b);
}

static void an_arena_takes_over_what_another_has_handed_out(void **state)
{
    rl_arena to, from, empty;
    (void)state;
    rl_arena_init(&to, 0);
    rl_arena_init(&from, 0);
    rl_arena_init(&empty, 0);
    char *first = rl_arena_strndup(&from, "first", 5);
    rl_arena_join(&to, &from); /* it has none of its own */
    rl_arena_join(&to, &empty);
    char *own = rl_arena_strndup(&to, "own", 3), *second = rl_arena_strndup(&from, "second", 6);
    for (int i = 0; i < 100; i++) /* several chunks */
        assert_non_null(rl_arena_alloc(&from, 1000));
    const size_t used = to.used + from.used;
    rl_arena_join(&to, &from);
    assert_int_equal(to.used, used);
    assert_int_equal(from.used, 0);
    rl_arena_free(&from);
    assert_string_equal(first, "first");
    assert_string_equal(own, "own");
    assert_string_equal(second, "second");
    rl_arena_free(&to);
}

static void an_arena_is_aligned_limited_and_reusable(void **state)
{
    (void)state;
    rl_arena a;
    rl_arena_init(&a, 100000);
    char *first = rl_arena_strndup(&a, "hello world", 5);
    assert_string_equal(first, "hello");
    for (size_t n = 0; n < 300; n++) {
        uint8_t *p = rl_arena_zalloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0);
            p[i] = 0xff;
        }
    }
    assert_string_equal(first, "hello");
    assert_string_equal(rl_arena_printf(&a, "%s-%d", "x", 42), "x-42");
    assert_null(rl_arena_alloc(&a, 100000));
    assert_null(rl_arena_alloc(&a, SIZE_MAX));
    assert_null(rl_arena_strndup(&a, "", SIZE_MAX));
    size_t ones = 0;
    while (rl_arena_alloc(&a, 1))
        ones++;
    assert_true(ones < 100000 / 16); /* small pieces count with what they really take */
    rl_arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_ptr_equal(rl_arena_alloc(&a, 6), first); /* the first chunk again */
    rl_span copy = rl_arena_copy(&a, RL_SPAN_LIT("span"));
    assert_true(rl_span_eq(copy, RL_SPAN_LIT("span")));
    assert_non_null(rl_arena_copy(&a, RL_SPAN_LIT("")).p);
    rl_arena_free(&a);

    rl_arena_init(&a, 0);
    assert_non_null(rl_arena_alloc(&a, 1000000));
    rl_arena_reset(&a);
    assert_null(a.head); /* what one large request took is given back */
    rl_arena_free(&a);
}

static void utf8_is_that_of_rfc_3629(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {{"a", 1},
                 {"\xc3\xa9", 2},
                 {"\xe2\x82\xac", 3},
                 {"\xf0\x9f\x98\x80", 4},
                 {"\xf4\x8f\xbf\xbf", 4},
                 {"", 0},
                 {"\x80", 0},
                 {"\xc0\x80", 0},
                 {"\xc1\xbf", 0},
                 {"\xc3", 0},
                 {"\xe0\x9f\xbf", 0},
                 {"\xed\xa0\x80", 0},
                 {"\xe2\x82", 0},
                 {"\xf0\x8f\xbf\xbf", 0},
                 {"\xf4\x90\x80\x80", 0},
                 {"\xf5\x80\x80\x80", 0},
                 {"\xff", 0},
                 {"\xc3(", 0}};
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(rl_utf8_length(rl_span_str(cases[i].text)), cases[i].n);
}

static void an_error_message_cannot_forge_a_line_or_steer_a_terminal(void **state)
{
    (void)state;
    rl_error e;
    assert_int_equal(rl_fail(&e, RL_EINVAL, "test", "got '%s'",
                             "a\nb\x1b[31m\x7f\xc2\x9b"
                             "2J\xff caf\xc3\xa9"),
                     RL_EINVAL);
    assert_string_equal(e.message, "got 'a?b?[31m???2J? caf\xc3\xa9'");
    assert_string_equal(e.domain, "test");
    assert_int_equal(rl_fail(NULL, RL_EIO, "test", "nobody listens"), RL_EIO);
    /* the old message may be an argument */
    rl_fail(&e, RL_EIO, "test", "first");
    rl_fail(&e, RL_EIO, "test", "second: %s", e.message);
    assert_string_equal(e.message, "second: first");
    /* a message that is cut is cut between characters */
    char euros[3 * 200 + 1] = "";
    for (int i = 0; i < 200; i++)
        memcpy(euros + 3 * i, "\xe2\x82\xac", 4);
    rl_fail(&e, RL_EIO, "test", "x%s", euros);
    assert_int_equal(strlen(e.message) % 3, 1);
    assert_null(strchr(e.message, '?'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taking_from_a_span_is_all_or_nothing),
        cmocka_unit_test(secrets_are_equal_only_when_whole_and_set),
        cmocka_unit_test(a_guid_has_one_form),
        cmocka_unit_test(hexadecimal_is_strict),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(base64_has_one_form_for_each_value),
        cmocka_unit_test(a_buffer_keeps_its_limit),
        cmocka_unit_test(a_buffer_grows),
        cmocka_unit_test(an_arena_is_aligned_limited_and_reusable),
        cmocka_unit_test(an_arena_takes_over_what_another_has_handed_out),
        cmocka_unit_test(utf8_is_that_of_rfc_3629),
        cmocka_unit_test(an_error_message_cannot_forge_a_line_or_steer_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
