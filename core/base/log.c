/* Structured logging. A line is built on the caller's stack and written with one write(2), so lines of
 * different threads never mix; the settings are atomics. */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

/* A line is at most PIPE_BUF long, so that a pipe takes it whole (pipe(7)); one value at most VALUE_MAX, so that a
 * client's long value cannot push the other fields out of the line. */
enum { LINE_MAX_OCTETS = 4096, VALUE_MAX = 1024, TAIL = 8 };

static _Atomic int log_level = RL_LOG_INFO, log_format = RL_LOG_LOGFMT, log_fd = 2;
static _Thread_local const char *log_txn = "";

void rl_log_configure(rl_log_level level, rl_log_format format)
{
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
}

void rl_log_to_fd(int fd)
{
    atomic_store(&log_fd, fd);
}
bool rl_log_enabled(rl_log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed) && level < RL_LOG_OFF;
}
void rl_log_set_txn(const char *txn)
{
    log_txn = txn ? txn : "";
}

/* ---- the line under construction; what does not fit is cut ---- */
struct line {
    size_t n;
    char text[LINE_MAX_OCTETS];
};

static void put(struct line *l, const char *p, size_t n)
{
    if (n > LINE_MAX_OCTETS - TAIL - l->n)
        n = LINE_MAX_OCTETS - TAIL - l->n;
    memcpy(l->text + l->n, p, n);
    l->n += n;
}
static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* A JSON string's inside; logfmt takes the same escapes inside its quotes. */
static void put_escaped(struct line *l, rl_span s)
{
    size_t end = l->n + VALUE_MAX < LINE_MAX_OCTETS - 32 ? l->n + VALUE_MAX : LINE_MAX_OCTETS - 32;
    for (size_t i = 0; i < s.n && l->n < end;) {
        size_t n = rl_utf8_length((rl_span){s.p + i, s.n - i});
        uint8_t c = s.p[i];
        char escape[8];
        if (n == 0) {
            put_str(l, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            escape[0] = '\\';
            escape[1] = (char)c;
            put(l, escape, 2);
        } else if (rl_utf8_is_control(s.p + i, n)) {
            snprintf(escape, sizeof(escape), "\\u%04x", n == 1 ? c : s.p[i + 1]); /* C1: U+0080 to U+009F */
            put_str(l, escape);
        } else {
            put(l, (const char *)s.p + i, n);
        }
        i += n;
    }
}

static bool is_bare(rl_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\')
            return false;
    return s.n > 0;
}

static void put_text(struct line *l, rl_span s, bool json)
{
    if (!json && is_bare(s)) {
        put(l, (const char *)s.p, s.n < VALUE_MAX ? s.n : VALUE_MAX);
        return;
    }
    put_str(l, "\"");
    put_escaped(l, s);
    put_str(l, "\"");
}

static void put_field(struct line *l, const rl_log_field *f, bool json)
{
    char number[48] = "";
    if (l->n > LINE_MAX_OCTETS - 256) /* no room for a whole field any more: drop it, keep the line well-formed */
        return;
    put_str(l, json ? ",\"" : " ");
    put_str(l, f->name);
    put_str(l, json ? "\":" : "=");
    switch (f->kind) {
    case RL_FIELD_INT:
        snprintf(number, sizeof(number), "%lld", f->v.i);
        break;
    case RL_FIELD_UINT:
        snprintf(number, sizeof(number), "%llu", f->v.u);
        break;
    case RL_FIELD_BOOL:
        snprintf(number, sizeof(number), "%s", f->v.b ? "true" : "false");
        break;
    case RL_FIELD_DOUBLE: /* JSON has no word for infinity and NaN (RFC 8259 §6) */
        snprintf(number, sizeof(number), json && !isfinite(f->v.d) ? "null" : "%.6g", f->v.d);
        break;
    case RL_FIELD_STR:
        put_text(l, rl_span_str(f->v.s ? f->v.s : ""), json);
        return;
    case RL_FIELD_SPAN:
        put_text(l, f->v.span, json);
        return;
    }
    put_str(l, number);
}

void rl_log_write(rl_log_level level, const char *event, const rl_log_field *fields, size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    struct line l;
    char second[RL_TIME_TEXT], ts[48];
    int64_t now = rl_wall_ms();
    int saved_errno = errno; /* logging is never why a caller's errno changes */
    bool json = atomic_load_explicit(&log_format, memory_order_relaxed) == RL_LOG_JSON;
    l.n = 0;
    rl_time_rfc3339(now / 1000, second);
    snprintf(ts, sizeof(ts), "%.19s.%03dZ", second, (int)(now % 1000 < 0 ? 0 : now % 1000));
    put_str(&l, json ? "{\"ts\":\"" : "ts=");
    put_str(&l, ts);
    put_str(&l, json ? "\",\"level\":\"" : " level=");
    put_str(&l, names[level]);
    put_str(&l, json ? "\"" : "");
    put_field(&l, &(rl_log_field){"event", RL_FIELD_STR, {.s = event}}, json);
    if (log_txn[0])
        put_field(&l, &(rl_log_field){"txn", RL_FIELD_STR, {.s = log_txn}}, json);
    for (size_t i = 0; i < n; i++) {
        /* "suppressed" comes with every rate-limited line, and says something only when there was something */
        bool nothing =
            fields[i].kind == RL_FIELD_UINT && fields[i].v.u == 0 && strcmp(fields[i].name, "suppressed") == 0;
        if (!nothing)
            put_field(&l, &fields[i], json);
    }
    if (json)
        l.text[l.n++] = '}';
    l.text[l.n++] = '\n';
    while (write(atomic_load(&log_fd), l.text, l.n) < 0 && errno == EINTR)
        ;
    errno = saved_errno;
}

bool rl_log_allow(rl_log_limit *l, uint32_t per_second, uint32_t *suppressed)
{
    /* The second and the count in it change together, so that no thread's line is counted in the wrong one. A thread
     * whose clock reading is older than the window's counts in the window there is. */
    uint64_t second = rl_mono_ns() / 1000000000u + 1, state = __atomic_load_n(&l->state, __ATOMIC_RELAXED), next;
    do {
        bool current = state >> 32 >= second;
        uint32_t used = current ? (uint32_t)state : 0;
        if (used >= per_second) {
            __atomic_fetch_add(&l->dropped, 1, __ATOMIC_RELAXED);
            return false;
        }
        next = (current ? state : second << 32) + 1;
    } while (!__atomic_compare_exchange_n(&l->state, &state, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *suppressed = __atomic_exchange_n(&l->dropped, 0, __ATOMIC_RELAXED);
    return true;
}
