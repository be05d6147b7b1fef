/* Dates as RFC 9110 and RFC 3339 write them; expected Unix times from GNU date. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int64_t fixed_wall(void *ctx)
{
    return *(int64_t *)ctx;
}
static uint64_t fixed_mono(void *ctx)
{
    return (uint64_t) * (int64_t *)ctx * 1000000u;
}

static void a_test_can_set_the_clock(void **state)
{
    (void)state;
    int64_t now = 1767607091123;
    const rl_clock c = {fixed_wall, fixed_mono, &now};
    rl_clock_set(&c);
    assert_int_equal(rl_wall_ms(), now);
    assert_int_equal(rl_wall_s(), 1767607091);
    assert_int_equal(rl_mono_ms(), (uint64_t)now);
    rl_clock_set(NULL);
    assert_in_range(rl_wall_s(), time(NULL) - 5, time(NULL) + 5);
    uint64_t before = rl_mono_ns();
    assert_true(rl_mono_ns() >= before);
}

static void rfc3339_is_read_with_fraction_and_offset(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t unix_s;
    } good[] = {
        {"2026-01-05T09:58:11Z", 1767607091},
        {"2026-01-05t09:58:11z", 1767607091},
        {"2026-01-05T09:58:11.1Z", 1767607091},
        {"2026-01-05T09:58:11.1234567Z", 1767607091},
        {"2026-01-05T10:58:11+01:00", 1767607091},
        {"2026-01-05T04:28:11.5-05:30", 1767607091},
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59Z", -1},
        {"0001-01-01T00:00:00Z", -62135596800},
        {"9999-12-31T23:59:59Z", 253402300799},
        {"2024-02-29T12:00:00Z", 1709208000},
        {"2000-02-29T00:00:00Z", 951782400},
        {"1900-02-28T00:00:00Z", -2203977600},
        {"2016-12-31T23:59:60Z", 1483228800},
        {"9999-12-31T23:59:59-23:59", 253402387139},
    };
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-01-05",
                                      "2026-01-05T09:58:11",
                                      "2026-01-05 09:58:11Z",
                                      "2026-1-05T09:58:11Z",
                                      "2026-13-05T09:58:11Z",
                                      "2026-00-05T09:58:11Z",
                                      "2026-01-32T09:58:11Z",
                                      "2026-01-00T09:58:11Z",
                                      "2025-02-29T09:58:11Z",
                                      "1900-02-29T00:00:00Z",
                                      "2026-01-05T24:00:00Z",
                                      "2026-01-05T09:60:11Z",
                                      "2026-01-05T09:58:61Z",
                                      "2026-01-05T09:58:11.Z",
                                      "2026-01-05T09:58:11.12345678Z",
                                      "2026-01-05T09:58:11+01",
                                      "2026-01-05T09:58:11+0100",
                                      "2026-01-05T09:58:11+24:00",
                                      "2026-01-05T09:58:11+01:60",
                                      "2026-01-05T09:58:11Zx",
                                      " 2026-01-05T09:58:11Z",
                                      "+026-01-05T09:58:11Z",
                                      "2026-01-05T09:58:11,5Z",
                                      "12026-01-05T09:58:11Z"};
    int64_t t;
    for (size_t i = 0; i < COUNT(good); i++) {
        if (rl_time_parse_rfc3339(good[i].text, &t) != RL_OK || t != good[i].unix_s)
            fail_msg("%s", good[i].text);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rl_time_parse_rfc3339(bad[i], &t) != RL_EBADMSG)
            fail_msg("'%s' was taken", bad[i]);
}

static void http_dates_are_read_in_their_three_forms(void **state)
{
    (void)state;
    int64_t now = 1767607091000; /* 2026: decides about two-digit years */
    const rl_clock c = {fixed_wall, NULL, &now};
    rl_clock_set(&c);
    static const struct {
        const char *text;
        int64_t unix_s;
    } good[] = {{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},   {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
                {"Sun Nov  6 08:49:37 1994", 784111777},        {"Wed Nov 16 08:49:37 1994", 784975777},
                {"Friday, 01-Jan-27 00:00:00 GMT", 1798761600}, {"Wednesday, 01-Jan-76 00:00:00 GMT", 3345062400},
                {"Saturday, 01-Jan-77 00:00:00 GMT", 220924800}};
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Nov 1994 08:49:37 GMT",
                                      "Xxx, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 nov 1994 08:49:37 GMT",
                                      "Sun Nov 6 08:49:37 1994",
                                      "Sun Nov  6 08:49:37 1994 GMT",
                                      "Sunday, 06-Nov-1994 08:49:37 GMT",
                                      "784111777"};
    int64_t t;
    for (size_t i = 0; i < COUNT(good); i++)
        if (rl_time_parse_http(good[i].text, &t) != RL_OK || t != good[i].unix_s)
            fail_msg("%s", good[i].text);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rl_time_parse_http(bad[i], &t) != RL_EBADMSG)
            fail_msg("'%s' was taken", bad[i]);
    rl_clock_set(NULL);
}

/* Against the C library's calendar, every 13th day and odd second over all years that have four digits. */
static void writing_agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t t = -62135596800; t <= 253402300799; t += 13 * 86400 + 3671) {
        time_t tt = (time_t)t;
        struct tm tm;
        char want[64], got[RL_TIME_TEXT];
        int64_t back;
        gmtime_r(&tt, &tm);
        snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02dZ", (tm.tm_year + 1900) % 10000, tm.tm_mon % 12 + 1,
                 tm.tm_mday % 32, tm.tm_hour % 24, tm.tm_min % 60, tm.tm_sec % 61);
        rl_time_rfc3339(t, got);
        assert_string_equal(got, want);
        assert_int_equal(rl_time_parse_rfc3339(got, &back), RL_OK);
        assert_int_equal(back, t);
        strftime(want, sizeof(want), "%a, %d %b ", &tm);
        snprintf(want + 12, sizeof(want) - 12, "%04d %02d:%02d:%02d GMT", (tm.tm_year + 1900) % 10000, tm.tm_hour % 24,
                 tm.tm_min % 60, tm.tm_sec % 61);
        rl_time_http(t, got);
        assert_string_equal(got, want);
        assert_int_equal(rl_time_parse_http(got, &back), RL_OK);
        assert_int_equal(back, t);
    }
}

static void times_without_a_four_digit_year_are_clamped(void **state)
{
    (void)state;
    char text[RL_TIME_TEXT];
    rl_time_rfc3339(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
    rl_time_http(INT64_MIN, text);
    assert_string_equal(text, "Sat, 01 Jan 0000 00:00:00 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_test_can_set_the_clock),
        cmocka_unit_test(rfc3339_is_read_with_fraction_and_offset),
        cmocka_unit_test(http_dates_are_read_in_their_three_forms),
        cmocka_unit_test(writing_agrees_with_the_c_library),
        cmocka_unit_test(times_without_a_four_digit_year_are_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
