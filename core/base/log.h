/* Structured logging: one event, one line, fields as name/value pairs. logfmt or JSON, to stderr.
 *
 *   log_info("sync.page", "source", name, "objects", n, "changed", c);
 *
 * Values may be any integer type, bool, double, const char* / char* (NULL prints as empty) and rl_span
 * (printed as text, escaped). Thread-safe; a line is one write(2) of at most 4096 octets, a value at most 1024: what is
 * longer is cut. Never pass a secret. */
#ifndef RL_BASE_LOG_H
#define RL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

typedef enum { RL_LOG_DEBUG, RL_LOG_INFO, RL_LOG_WARN, RL_LOG_ERROR, RL_LOG_OFF } rl_log_level;
typedef enum { RL_LOG_LOGFMT, RL_LOG_JSON } rl_log_format;

typedef struct rl_log_field {
    const char *name;
    enum { RL_FIELD_INT, RL_FIELD_UINT, RL_FIELD_BOOL, RL_FIELD_DOUBLE, RL_FIELD_STR, RL_FIELD_SPAN } kind;
    union {
        long long i;
        unsigned long long u;
        bool b;
        double d;
        const char *s;
        rl_span span;
    } v;
} rl_log_field;

void rl_log_configure(rl_log_level level, rl_log_format format);
/* Where lines go; default 2 (stderr). */
void rl_log_to_fd(int fd);
bool rl_log_enabled(rl_log_level level);
void rl_log_write(rl_log_level level, const char *event, const rl_log_field *fields, size_t n);

/* The transaction id of the request being handled on this thread ("" = none): added to every line as
 * txn=… . The pointer must stay valid until it is replaced. */
void rl_log_set_txn(const char *txn);

/* A limiter for lines a client can cause: true when the line may be written. At most `per_second` in each second
 * of the monotonic clock; when lines were dropped, the next one that passes gets "suppressed"=n.
 * Use through log_client_warn/log_client_info, which share one limiter per call site. */
typedef struct rl_log_limit {
    uint64_t state; /* internal, atomically updated: the second (upper half) and the lines let through in it */
    uint32_t dropped;
} rl_log_limit;
bool rl_log_allow(rl_log_limit *l, uint32_t per_second, uint32_t *suppressed);

/* The macros log_debug/log_info/log_warn/log_error and log_client_info/log_client_warn(event, name, value, …)
 * follow: up to 10 pairs (9 for log_client_…), the value's kind by _Generic. */
#include "base/log_macros.h"

#endif
