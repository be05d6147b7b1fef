/* The registry's text: Prometheus text format 0.0.4. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/metrics.h"

/* The whole registry; freed by the next call. */
static char *text(void)
{
    static rl_buf out;
    rl_buf_reset(&out);
    assert_int_equal(rl_metrics_write(&out), RL_OK);
    assert_int_equal(rl_buf_append(&out, "", 1), RL_OK);
    return (char *)out.p;
}

static size_t count(const char *haystack, const char *needle)
{
    size_t n = 0;
    for (; (haystack = strstr(haystack, needle)) != NULL; haystack += strlen(needle))
        n++;
    return n;
}

static void a_family_stands_together_behind_one_help_and_type(void **state)
{
    (void)state;
    rl_metric *a = rl_counter("t_requests_total", "status=\"good\"", "Requests,\nby \\ status.");
    rl_metric *other = rl_gauge("t_other", "", "Something else.");
    rl_metric *b = rl_counter("t_requests_total", "status=\"bad\"", "Requests,\nby \\ status.");
    assert_ptr_equal(rl_counter("t_requests_total", "status=\"good\"", ""), a);
    rl_metric_add(a, 3);
    rl_metric_add(b, 1);
    rl_metric_set(other, -5);
    assert_int_equal(rl_metric_value(a), 3);
    char *t = text();
    assert_non_null(strstr(t, "# HELP t_requests_total Requests,\\nby \\\\ status.\n# TYPE t_requests_total counter\n"
                              "t_requests_total{status=\"good\"} 3\nt_requests_total{status=\"bad\"} 1\n"));
    assert_non_null(strstr(t, "# HELP t_other Something else.\n# TYPE t_other gauge\nt_other -5\n"));
    assert_int_equal(count(t, "# TYPE t_requests_total"), 1);
}

static void a_histogram_is_cumulative_and_in_seconds(void **state)
{
    (void)state;
    rl_metric *h = rl_histogram("t_seconds", "kind=\"x\"", "Time.");
    rl_metric *bare = rl_histogram("t_bare_seconds", "", "Time.");
    rl_metric_observe_ns(h, 100000);       /* 100 µs: on the bound, so inside it */
    rl_metric_observe_ns(h, 100001);       /* just above */
    rl_metric_observe_ns(h, 30000000000);  /* 30 s */
    rl_metric_observe_ns(h, 200000000000); /* 200 s: above all */
    rl_metric_observe_ns(bare, 0);
    char *t = text();
    assert_non_null(strstr(t, "# TYPE t_seconds histogram\n"
                              "t_seconds_bucket{kind=\"x\",le=\"0.0001\"} 1\n"
                              "t_seconds_bucket{kind=\"x\",le=\"0.0002\"} 2\n"
                              "t_seconds_bucket{kind=\"x\",le=\"0.0005\"} 2\n"));
    assert_non_null(strstr(t, "t_seconds_bucket{kind=\"x\",le=\"20\"} 2\n"
                              "t_seconds_bucket{kind=\"x\",le=\"50\"} 3\n"
                              "t_seconds_bucket{kind=\"x\",le=\"100\"} 3\n"
                              "t_seconds_bucket{kind=\"x\",le=\"+Inf\"} 4\n"
                              "t_seconds_sum{kind=\"x\"} 230.000200001\n"
                              "t_seconds_count{kind=\"x\"} 4\n"));
    assert_non_null(
        strstr(t, "t_bare_seconds_bucket{le=\"+Inf\"} 1\nt_bare_seconds_sum 0.000000000\nt_bare_seconds_count 1\n"));
}

static int64_t forty_two(void *ctx)
{
    return *(int *)ctx;
}

static void a_function_gauge_is_asked_until_it_is_dropped(void **state)
{
    (void)state;
    int value = 42;
    rl_gauge_fn("t_asked", "", "Asked.", forty_two, &value);
    assert_non_null(strstr(text(), "\nt_asked 42\n"));
    value = 43;
    assert_non_null(strstr(text(), "\nt_asked 43\n"));
    rl_gauge_fn_drop(&value);
    assert_null(strstr(text(), "\nt_asked 4"));
    rl_gauge_fn("t_asked", "", "Asked.", forty_two, &value);
    assert_non_null(strstr(text(), "\nt_asked 43\n"));
    rl_gauge_fn_drop(&value);
}

static void a_full_buffer_is_an_error(void **state)
{
    (void)state;
    rl_buf small = {.limit = 100};
    rl_gauge("t_other", "", "Something else.");
    assert_int_equal(rl_metrics_write(&small), RL_ERANGE);
    rl_buf_free(&small);
}

static void *add_many(void *m)
{
    for (int i = 0; i < 10000; i++) {
        rl_metric_add(m, 1);
        rl_metric_observe_ns(rl_histogram("t_threads_seconds", "", ""), 1000);
    }
    return NULL;
}

static void threads_lose_no_update(void **state)
{
    (void)state;
    pthread_t threads[4];
    rl_metric *m = rl_counter("t_threads_total", "", "");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, m), 0);
    text(); /* while they run */
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(rl_metric_value(m), 40000);
    assert_non_null(strstr(text(), "t_threads_seconds_count 40000\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_stands_together_behind_one_help_and_type),
        cmocka_unit_test(a_histogram_is_cumulative_and_in_seconds),
        cmocka_unit_test(a_function_gauge_is_asked_until_it_is_dropped),
        cmocka_unit_test(a_full_buffer_is_an_error),
        cmocka_unit_test(threads_lose_no_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
