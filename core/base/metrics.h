/* Metrics registry: counters, gauges and histograms in the Prometheus text format (version 0.0.4).
 *
 * A metric is registered once (at start) and lives for ever; updating is one relaxed atomic add and
 * may happen on any thread. `labels` is the ready text between the braces, e.g. `status="good"`, or "":
 * made of the program's own words, never of a client's. */
#ifndef RL_BASE_METRICS_H
#define RL_BASE_METRICS_H

#include <stdint.h>

#include "base/span.h"

typedef struct rl_metric rl_metric;

/* Same name and labels: the same metric is returned. Names follow Prometheus custom:
 * revline_…_total for counters, base units (seconds, bytes). Abort on exhaustion: only called at start. */
rl_metric *rl_counter(const char *name, const char *labels, const char *help);
rl_metric *rl_gauge(const char *name, const char *labels, const char *help);
/* Seconds, fixed buckets from 100 µs to 100 s. */
rl_metric *rl_histogram(const char *name, const char *labels, const char *help);

void rl_metric_add(rl_metric *m, int64_t n);
void rl_metric_set(rl_metric *m, int64_t value); /* gauges */
int64_t rl_metric_value(const rl_metric *m);
void rl_metric_observe_ns(rl_metric *m, uint64_t ns);
/* The same observation `times` times. */
void rl_metric_observe_many_ns(rl_metric *m, uint64_t ns, uint64_t times);

/* A gauge whose value is asked for when scraped; called on the scraping thread, must be quick and not
 * register metrics. */
void rl_gauge_fn(const char *name, const char *labels, const char *help, int64_t (*fn)(void *ctx), void *ctx);
/* Drops every function gauge that was registered with ctx: call before ctx goes away. */
void rl_gauge_fn_drop(void *ctx);

/* The whole registry as text, appended to `out`. */
rl_err rl_metrics_write(rl_buf *out);

#endif
