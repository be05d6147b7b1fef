/* Log lines: escaped, whole, with the transaction's id, and limited where a client causes them. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"

static int64_t now_ms = 1767607091007;
static int64_t fixed_wall(void *ctx)
{
    (void)ctx;
    return now_ms;
}
static _Atomic uint64_t mono;
static uint64_t fixed_mono(void *ctx)
{
    (void)ctx;
    return mono;
}
static const rl_clock fixed = {fixed_wall, fixed_mono, NULL};

static int out = -1;

static int set_up(void **state)
{
    (void)state;
    FILE *f = tmpfile();
    out = dup(fileno(f));
    fclose(f);
    rl_clock_set(&fixed);
    rl_log_to_fd(out);
    rl_log_configure(RL_LOG_DEBUG, RL_LOG_LOGFMT);
    return out < 0;
}

static int tear_down(void **state)
{
    (void)state;
    rl_log_set_txn(NULL);
    rl_log_to_fd(2);
    rl_clock_set(NULL);
    rl_log_configure(RL_LOG_INFO, RL_LOG_LOGFMT);
    return close(out);
}

/* What was logged since the last call; freed by the next. */
static const char *written(void)
{
    static char *text;
    off_t n = lseek(out, 0, SEEK_CUR);
    free(text);
    text = calloc(1, (size_t)n + 1);
    assert_int_equal(pread(out, text, (size_t)n, 0), n);
    assert_int_equal(ftruncate(out, 0), 0);
    lseek(out, 0, SEEK_SET);
    return text;
}

static void logfmt_quotes_what_needs_it(void **state)
{
    (void)state;
    log_info("sync.page", "source", "entra", "objects", 3, "changed", (uint64_t)2, "full", (bool)true, "share", 0.5,
             "none", (const char *)NULL, "text", "a b=\"c\"\\", "span", RL_SPAN_LIT("x\0y\n"));
    assert_string_equal(written(), "ts=2026-01-05T09:58:11.007Z level=info event=sync.page source=entra objects=3 "
                                   "changed=2 full=true share=0.5 none=\"\" "
                                   "text=\"a b=\\\"c\\\"\\\\\" span=\"x\\u0000y\\u000a\"\n");
}

static void no_value_can_break_the_line(void **state)
{
    (void)state;
    static const char evil[] = "\r\nts=forged\t\x1b[2J\x7f\xc2\x9b\xff\xc3 caf\xc3\xa9 \xf0\x9f\x98\x80";
    log_warn("x", "v", evil);
    assert_string_equal(
        strchr(written(), 'v'),
        "vel=warn event=x v=\"\\u000d\\u000ats=forged\\u0009\\u001b[2J\\u007f\\u009b\\ufffd\\ufffd caf\xc3\xa9 "
        "\xf0\x9f\x98\x80\"\n");
    rl_log_configure(RL_LOG_DEBUG, RL_LOG_JSON);
    log_warn("x", "v", evil, "inf", (double)INFINITY, "n", -1);
    json_error_t e;
    json_t *line = json_loads(written(), 0, &e);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "ts")), "2026-01-05T09:58:11.007Z");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "x");
    assert_string_equal(json_string_value(json_object_get(line, "v")),
                        "\r\nts=forged\t\x1b[2J\x7f\xc2\x9b\xef\xbf\xbd\xef\xbf\xbd caf\xc3\xa9 \xf0\x9f\x98\x80");
    assert_true(json_is_null(json_object_get(line, "inf")));
    assert_int_equal(json_integer_value(json_object_get(line, "n")), -1);
    json_decref(line);
}

static void a_long_value_is_cut_and_leaves_the_other_fields_their_room(void **state)
{
    (void)state;
    char *huge = malloc(100001);
    json_error_t e;
    static const char *const fills[] = {"x", "\"", "\x01", "\xe2\x82\xac", "\xff"};
    rl_log_configure(RL_LOG_DEBUG, RL_LOG_JSON);
    for (size_t k = 0; k < 5; k++) {
        size_t n = strlen(fills[k]);
        for (size_t i = 0; i + n <= 100000; i += n)
            memcpy(huge + i, fills[k], n);
        huge[100000 / n * n] = 0;
        log_info("x", "a", huge, "b", huge, "last", "still here");
        const char *text = written();
        assert_true(strlen(text) <= 4096);
        json_t *line = json_loads(text, 0, &e);
        assert_non_null(line);
        assert_string_equal(json_string_value(json_object_get(line, "last")), "still here");
        json_decref(line);
        log_info("x", "a", huge, "b", huge, "c", huge, "d", huge, "e", huge, "f", huge);
        text = written();
        assert_true(strlen(text) <= 4096);
        line = json_loads(text, 0, &e);
        assert_non_null(line);
        json_decref(line);
    }
    free(huge);
}

static void the_transaction_id_is_on_every_line_of_its_thread(void **state)
{
    (void)state;
    rl_log_set_txn("7f3a");
    log_info("a");
    rl_log_set_txn("");
    log_info("b");
    assert_string_equal(
        written(),
        "ts=2026-01-05T09:58:11.007Z level=info event=a txn=7f3a\nts=2026-01-05T09:58:11.007Z level=info event=b\n");
}

static int calls;
static int counted(void)
{
    return ++calls;
}

static void levels_below_are_not_even_evaluated(void **state)
{
    (void)state;
    calls = 0;
    rl_log_configure(RL_LOG_WARN, RL_LOG_LOGFMT);
    log_info("x", "n", counted());
    assert_int_equal(calls, 0);
    log_error("x", "n", counted());
    assert_int_equal(calls, 1);
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    log_error("x", "n", counted());
    assert_int_equal(calls, 1);
    written();
}

static void errno_survives_a_line(void **state)
{
    (void)state;
    rl_log_to_fd(-1); /* the write fails */
    errno = ENOSPC;
    log_error("x");
    assert_int_equal(errno, ENOSPC);
}

static void client_line(int i)
{
    log_client_warn("client.bad", "i", i);
}

static void lines_of_clients_are_limited_and_the_rest_counted(void **state)
{
    (void)state;
    mono = 5000000000u;
    for (int i = 0; i < 35; i++)
        client_line(i);
    const char *text = written();
    size_t lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 10);
    assert_null(strstr(text, "suppressed"));
    mono = 6000000000u;
    client_line(35);
    client_line(36);
    text = written();
    assert_non_null(strstr(text, "event=client.bad suppressed=25 i=35\n"));
    assert_non_null(strstr(text, "event=client.bad i=36\n"));
    mono = 5500000000u; /* a reading older than the window counts in the window there is */
    uint32_t unused;
    rl_log_limit l = {0};
    mono = 9000000000u;
    assert_true(rl_log_allow(&l, 1, &unused));
    mono = 8000000000u;
    assert_false(rl_log_allow(&l, 1, &unused));
}

enum { THREADS = 4, TRIES = 20000, ALLOWED = 50 };
static rl_log_limit shared_limit;
static _Atomic uint64_t passed, suppressed_sum;

static void *hammer(void *arg)
{
    (void)arg;
    for (int i = 0; i < TRIES; i++) {
        uint32_t suppressed = 0;
        if (rl_log_allow(&shared_limit, ALLOWED, &suppressed)) {
            passed++;
            suppressed_sum += suppressed;
        }
        if (i % 100 == 0)
            mono += 10000000; /* 10 ms: all threads together pass through several seconds */
    }
    return NULL;
}

static void nothing_is_lost_or_counted_twice_among_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    mono = 100000000000u;
    uint64_t before = mono;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t seconds = mono / 1000000000u - before / 1000000000u + 1;
    assert_true(passed <= seconds * ALLOWED);
    assert_int_equal(passed + suppressed_sum + shared_limit.dropped, THREADS * TRIES);
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("thread", "id", (int)(intptr_t)arg, "filler", "0123456789 0123456789 0123456789");
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    int ends[2];
    pthread_t threads[THREADS];
    static char text[THREADS * 500 * 160];
    size_t n = 0;
    assert_int_equal(pipe(ends), 0);
    rl_log_to_fd(ends[1]);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)(intptr_t)i), 0);
    static const char start[] = "ts=2026-01-05T09:58:11.007Z level=info event=thread id=";
    static const char end[] = " filler=\"0123456789 0123456789 0123456789\"\n";
    size_t line = strlen(start) + 1 + strlen(end);
    while (n < line * THREADS * 500) {
        ssize_t got = read(ends[0], text + n, sizeof(text) - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < n; i += line) {
        assert_memory_equal(text + i, start, strlen(start));
        assert_memory_equal(text + i + strlen(start) + 1, end, strlen(end));
    }
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FILE(logfmt_quotes_what_needs_it),
        WITH_FILE(no_value_can_break_the_line),
        WITH_FILE(a_long_value_is_cut_and_leaves_the_other_fields_their_room),
        WITH_FILE(the_transaction_id_is_on_every_line_of_its_thread),
        WITH_FILE(levels_below_are_not_even_evaluated),
        WITH_FILE(errno_survives_a_line),
        WITH_FILE(lines_of_clients_are_limited_and_the_rest_counted),
        WITH_FILE(nothing_is_lost_or_counted_twice_among_threads),
        WITH_FILE(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
