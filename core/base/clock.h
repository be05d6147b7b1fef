/* One clock for everybody, so that tests can set it.
 *
 * Wall time is Unix time (UTC) in milliseconds and may jump; use it for what goes into certificates,
 * responses and records. Monotonic time is for time-outs and intervals. Thread-safe. */
#ifndef RL_BASE_CLOCK_H
#define RL_BASE_CLOCK_H

#include <stdint.h>

#include "base/err.h"

int64_t rl_wall_ms(void);
/* May be a few milliseconds behind rl_wall_ms, never ahead: cheap enough to be asked for every answer. */
int64_t rl_wall_s(void);
uint64_t rl_mono_ns(void);
static inline uint64_t rl_mono_ms(void)
{
    return rl_mono_ns() / 1000000u;
}

/* A clock of the tests' own; NULL brings the system's back. `c` must live until then. */
typedef struct rl_clock {
    int64_t (*wall_ms)(void *ctx);
    uint64_t (*mono_ns)(void *ctx);
    void *ctx;
} rl_clock;
void rl_clock_set(const rl_clock *c);

/* RFC 3339 UTC with seconds ("2026-01-05T09:58:11Z"): 21 octets with NUL. */
enum { RL_TIME_TEXT = 32 };
void rl_time_rfc3339(int64_t unix_s, char out[RL_TIME_TEXT]);
/* The digits alone, as certificates have them ("20260105095811"). */
void rl_time_digits(int64_t unix_s, char out[RL_TIME_TEXT]);
/* RFC 9110 §5.6.7 IMF-fixdate ("Mon, 05 Jan 2026 09:58:11 GMT"). */
void rl_time_http(int64_t unix_s, char out[RL_TIME_TEXT]);
/* Parses an IMF-fixdate, an RFC 850 date or an asctime date; RL_EBADMSG otherwise. */
rl_err rl_time_parse_http(const char *text, int64_t *unix_s);
/* Parses RFC 3339 as Graph writes it: 0-7 fraction digits, Z or an offset. RL_EBADMSG otherwise. */
rl_err rl_time_parse_rfc3339(const char *text, int64_t *unix_s);

#endif
