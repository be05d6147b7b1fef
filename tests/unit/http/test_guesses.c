/* Wrong secrets by address: so many at once, then as time goes; a table that does not grow and forgets the least. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/clock.h"
#include "http/guesses.h"

enum { MINUTE_MS = 60000 };
static uint64_t now_ns;

static uint64_t mono(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t wall(void *ctx)
{
    (void)ctx;
    return 0;
}

static const rl_clock stopped = {.wall_ms = wall, .mono_ns = mono};

static int begin(void **state)
{
    (void)state;
    now_ns = 3000000000u;
    rl_clock_set(&stopped);
    return 0;
}

static int end(void **state)
{
    (void)state;
    rl_clock_set(NULL);
    return 0;
}

static void pass(uint64_t ms)
{
    now_ns += ms * 1000000u;
}

static rl_guesses *make(int64_t limit, rl_duration window_ms)
{
    rl_guesses *g;
    assert_int_equal(rl_guesses_new(limit, window_ms, &g, NULL), RL_OK);
    return g;
}

static void test_so_many_at_once_and_then_one_for_each_part_of_the_window(void **state)
{
    rl_guesses *g = make(6, MINUTE_MS);
    (void)state;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(guesses_wait(g, 1), 0);
        guesses_wrong(g, 1);
    }
    assert_int_equal(guesses_wait(g, 1), 10);
    pass(9001);
    assert_int_equal(guesses_wait(g, 1), 1); /* rounded up: who comes then is let in */
    pass(999);
    assert_int_equal(guesses_wait(g, 1), 0);
    guesses_wrong(g, 1);
    assert_int_equal(guesses_wait(g, 1), 10);
    pass(MINUTE_MS);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(guesses_wait(g, 1), 0);
        guesses_wrong(g, 1);
    }
    assert_int_equal(guesses_wait(g, 1), 10);
    rl_guesses_free(g);
}

static void test_who_is_wrong_no_faster_than_the_limit_never_waits(void **state)
{
    rl_guesses *g = make(60, MINUTE_MS);
    (void)state;
    for (int i = 0; i < 10000; i++, pass(1000)) {
        assert_int_equal(guesses_wait(g, 1), 0);
        guesses_wrong(g, 1);
    }
    rl_guesses_free(g);
}

/* An hour of guessing as fast as it goes, in whatever bursts: the limit, and what the time gives back. */
static void test_guesses_are_bounded_whatever_the_rhythm(void **state)
{
    static const unsigned rhythms[] = {1, 7, 1000, 4999, 61000};
    (void)state;
    for (size_t r = 0; r < sizeof(rhythms) / sizeof(rhythms[0]); r++) {
        rl_guesses *g = make(30, MINUTE_MS);
        int guesses = 0;
        for (unsigned ms = 0; ms < 3600000; ms += rhythms[r], pass(rhythms[r]))
            while (guesses_wait(g, 1) == 0) {
                guesses_wrong(g, 1);
                guesses++;
            }
        assert_in_range(guesses, 1, 30 + 30 * 60);
        rl_guesses_free(g);
    }
}

static void test_what_was_judged_at_the_same_time_is_owed_too(void **state)
{
    rl_guesses *g = make(6, MINUTE_MS);
    (void)state;
    for (int i = 0; i < 20; i++)
        guesses_wrong(g, 1);
    assert_int_equal(guesses_wait(g, 1), 10 + 14 * 10);
    rl_guesses_free(g);
}

static void test_one_address_is_not_another(void **state)
{
    rl_guesses *g = make(1, MINUTE_MS);
    (void)state;
    for (uint64_t peer = 0; peer < 100; peer++) {
        assert_int_equal(guesses_wait(g, peer), 0);
        guesses_wrong(g, peer);
        assert_int_equal(guesses_wait(g, peer), 60);
    }
    rl_guesses_free(g);
}

static void test_of_very_many_addresses_the_guiltiest_are_remembered(void **state)
{
    rl_guesses *g = make(10, MINUTE_MS);
    (void)state;
    for (int i = 0; i < 20; i++)
        guesses_wrong(g, 7);
    for (uint64_t peer = 1000; peer < 1000 + 20 * GUESSES_SETS * GUESSES_WAYS; peer++)
        guesses_wrong(g, peer);
    assert_int_equal(guesses_wait(g, 7), 6 + 10 * 6);
    pass(2 * MINUTE_MS); /* all is paid: the places are free */
    for (uint64_t peer = 1; peer < 9; peer++)
        for (int i = 0; i < 10; i++)
            guesses_wrong(g, peer);
    for (uint64_t peer = 1; peer < 9; peer++)
        assert_int_equal(guesses_wait(g, peer), 6);
    rl_guesses_free(g);
}

static void test_without_a_limit_nobody_waits(void **state)
{
    rl_guesses *g = make(0, MINUTE_MS);
    (void)state;
    assert_null(g);
    assert_int_equal(rl_guess_wait(g, NULL, RL_GUESS_API), 0);
    rl_guess_wrong(g, NULL, RL_GUESS_API);
    rl_guesses_free(g);
}

enum { THREADS = 4, EACH = 5000 };

static void *guess_on(void *arg)
{
    rl_guesses *g = arg;
    for (int i = 0; i < EACH; i++) {
        guesses_wrong(g, 1);
        guesses_wait(g, 1);
        guesses_wrong(g, 2 + (uint64_t)i);
    }
    return NULL;
}

static void test_threads_count_together(void **state)
{
    rl_guesses *g = make(100, 100000);
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, guess_on, g), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(guesses_wait(g, 1), THREADS * EACH - 100 + 1);
    rl_guesses_free(g);
}

#define TIMED(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TIMED(test_so_many_at_once_and_then_one_for_each_part_of_the_window),
        TIMED(test_who_is_wrong_no_faster_than_the_limit_never_waits),
        TIMED(test_guesses_are_bounded_whatever_the_rhythm),
        TIMED(test_what_was_judged_at_the_same_time_is_owed_too),
        TIMED(test_one_address_is_not_another),
        TIMED(test_of_very_many_addresses_the_guiltiest_are_remembered),
        TIMED(test_without_a_limit_nobody_waits),
        TIMED(test_threads_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
