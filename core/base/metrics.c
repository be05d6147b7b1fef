/* Metrics registry: an append-only list under a mutex, values as relaxed atomics. Function gauges are called under
 * the mutex, so that none runs any more when rl_gauge_fn_drop returns. */
#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 20 };
/* 100 µs to 100 s in ns: 1, 2, 5 in every decade; the last bucket is +Inf. */
static const uint64_t bounds_ns[BUCKETS - 1] = {100000,      200000,      500000,      1000000,     2000000,
                                                5000000,     10000000,    20000000,    50000000,    100000000,
                                                200000000,   500000000,   1000000000,  2000000000,  5000000000,
                                                10000000000, 20000000000, 50000000000, 100000000000};

enum kind { COUNTER, GAUGE, GAUGE_FN, HISTOGRAM };

struct rl_metric {
    struct rl_metric *next;
    char *name, *labels, *help;
    int kind; /* enum kind */
    _Atomic int64_t value;
    int64_t (*fn)(void *ctx);
    void *ctx;
    _Atomic uint64_t *buckets, sum_ns;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rl_metric *first, **last = &first;

static char *copy(const char *s)
{
    char *p = strdup(s);
    if (!p)
        abort();
    return p;
}

static rl_metric *registered(const char *name, const char *labels, const char *help, int kind)
{
    rl_metric *m;
    for (m = first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0) {
            if (m->kind != kind)
                abort(); /* two places of the program disagree: better told at start than by a wild pointer later */
            return m;
        }
    m = calloc(1, sizeof(*m));
    if (!m)
        abort();
    m->name = copy(name);
    m->labels = copy(labels);
    m->help = copy(help);
    m->kind = kind;
    if (kind == HISTOGRAM && !(m->buckets = calloc(BUCKETS, sizeof(*m->buckets))))
        abort();
    *last = m;
    last = &m->next;
    return m;
}

static rl_metric *get(const char *name, const char *labels, const char *help, int kind)
{
    pthread_mutex_lock(&lock);
    rl_metric *m = registered(name, labels, help, kind);
    pthread_mutex_unlock(&lock);
    return m;
}

rl_metric *rl_counter(const char *name, const char *labels, const char *help)
{
    return get(name, labels, help, COUNTER);
}
rl_metric *rl_gauge(const char *name, const char *labels, const char *help)
{
    return get(name, labels, help, GAUGE);
}
rl_metric *rl_histogram(const char *name, const char *labels, const char *help)
{
    return get(name, labels, help, HISTOGRAM);
}

void rl_gauge_fn(const char *name, const char *labels, const char *help, int64_t (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&lock);
    rl_metric *m = registered(name, labels, help, GAUGE_FN);
    m->fn = fn;
    m->ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void rl_gauge_fn_drop(void *ctx)
{
    pthread_mutex_lock(&lock);
    for (rl_metric *m = first; m; m = m->next)
        if (m->kind == GAUGE_FN && m->ctx == ctx)
            m->fn = NULL;
    pthread_mutex_unlock(&lock);
}

void rl_metric_add(rl_metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}
void rl_metric_set(rl_metric *m, int64_t value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}
int64_t rl_metric_value(const rl_metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

void rl_metric_observe_many_ns(rl_metric *m, uint64_t ns, uint64_t times)
{
    size_t i = 0;
    while (i < BUCKETS - 1 && ns > bounds_ns[i])
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], times, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->sum_ns, ns * times, memory_order_relaxed);
}
void rl_metric_observe_ns(rl_metric *m, uint64_t ns)
{
    rl_metric_observe_many_ns(m, ns, 1);
}

static rl_err write_histogram(const rl_metric *m, rl_buf *out)
{
    const char *comma = m->labels[0] ? "," : "";
    const char *open = m->labels[0] ? "{" : "", *close = m->labels[0] ? "}" : "";
    uint64_t count = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (i < BUCKETS - 1)
            RL_TRY(rl_buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, m->labels, comma,
                                 (double)bounds_ns[i] / 1e9, (unsigned long long)count));
        else
            RL_TRY(rl_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, m->labels, comma,
                                 (unsigned long long)count));
    }
    RL_TRY(rl_buf_printf(out, "%s_sum%s%s%s %.9f\n", m->name, open, m->labels, close,
                         (double)atomic_load_explicit(&m->sum_ns, memory_order_relaxed) / 1e9));
    return rl_buf_printf(out, "%s_count%s%s%s %llu\n", m->name, open, m->labels, close, (unsigned long long)count);
}

static rl_err write_one(const rl_metric *m, rl_buf *out)
{
    if (m->kind == HISTOGRAM)
        return write_histogram(m, out);
    if (m->kind == GAUGE_FN && !m->fn)
        return RL_OK;
    int64_t value = m->kind == GAUGE_FN ? m->fn(m->ctx) : rl_metric_value(m);
    return m->labels[0] ? rl_buf_printf(out, "%s{%s} %lld\n", m->name, m->labels, (long long)value)
                        : rl_buf_printf(out, "%s %lld\n", m->name, (long long)value);
}

/* In HELP a backslash and a line feed are escaped. */
static rl_err write_help(const rl_metric *m, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "# HELP %s ", m->name));
    for (const char *p = m->help; *p; p++)
        RL_TRY(*p == '\\'   ? rl_buf_append(out, "\\\\", 2)
               : *p == '\n' ? rl_buf_append(out, "\\n", 2)
                            : rl_buf_append(out, p, 1));
    return rl_buf_append(out, "\n", 1);
}

/* All lines of one name must stand together behind its HELP and TYPE. */
static rl_err write_family(const rl_metric *head, rl_buf *out)
{
    static const char *const types[] = {
        [COUNTER] = "counter", [GAUGE] = "gauge", [GAUGE_FN] = "gauge", [HISTOGRAM] = "histogram"};
    RL_TRY(write_help(head, out));
    RL_TRY(rl_buf_printf(out, "# TYPE %s %s\n", head->name, types[head->kind]));
    for (const rl_metric *m = head; m; m = m->next)
        if (strcmp(m->name, head->name) == 0)
            RL_TRY(write_one(m, out));
    return RL_OK;
}

static bool is_first_of_name(const rl_metric *m)
{
    for (const rl_metric *earlier = first; earlier != m; earlier = earlier->next)
        if (strcmp(earlier->name, m->name) == 0)
            return false;
    return true;
}

rl_err rl_metrics_write(rl_buf *out)
{
    rl_err err = RL_OK;
    pthread_mutex_lock(&lock);
    for (const rl_metric *m = first; m && err == RL_OK; m = m->next)
        if (is_first_of_name(m))
            err = write_family(m, out);
    pthread_mutex_unlock(&lock);
    return err;
}
