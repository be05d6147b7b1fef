/* Latencies in nanoseconds, counted in logarithmic buckets: 64 to each power of two, so a figure is at most 1.6 %
 * off. Plain data: one to a thread, added up at the end. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HIST_BITS = 6, HIST_SHIFT_MAX = 36, HIST_BUCKETS = (HIST_SHIFT_MAX + 2) << HIST_BITS };

typedef struct histogram {
    uint64_t n, max;
    uint64_t counts[HIST_BUCKETS];
} histogram;

static inline void histogram_add(histogram *h, uint64_t ns)
{
    unsigned shift = ns >> HIST_BITS ? 63 - (unsigned)__builtin_clzll(ns) - HIST_BITS : 0;
    if (shift > HIST_SHIFT_MAX) {
        shift = HIST_SHIFT_MAX;
        ns = 1ull << (HIST_SHIFT_MAX + HIST_BITS);
    }
    h->counts[((uint64_t)shift << HIST_BITS) + (ns >> shift)]++;
    h->n++;
    if (ns > h->max)
        h->max = ns;
}

static inline void histogram_merge(histogram *into, const histogram *from)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->n += from->n;
    if (from->max > into->max)
        into->max = from->max;
}

/* The value below which the share `q` (0 to 1) lies: the middle of its bucket, never above the largest value. */
static inline uint64_t histogram_quantile(const histogram *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)h->n), seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > rank) {
            unsigned shift = i >> HIST_BITS ? (i >> HIST_BITS) - 1 : 0;
            uint64_t low = ((uint64_t)i - ((uint64_t)shift << HIST_BITS)) << shift,
                     middle = low + ((1ull << shift) >> 1);
            return middle < h->max ? middle : h->max;
        }
    }
    return h->max;
}

#endif
