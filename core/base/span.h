/* Spans: read-only views of bytes that someone else owns, and a growable buffer that owns its bytes. */
#ifndef RL_BASE_SPAN_H
#define RL_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

typedef struct rl_span {
    const uint8_t *p;
    size_t n; /* octets */
} rl_span;

static inline rl_span rl_span_of(const void *p, size_t n)
{
    return (rl_span){p, n};
}
static inline rl_span rl_span_str(const char *s)
{
    return (rl_span){(const uint8_t *)s, strlen(s)};
}
#define RL_SPAN_LIT(s) ((rl_span){(const uint8_t *)("" s), sizeof(s) - 1})

static inline bool rl_span_eq(rl_span a, rl_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* ASCII case-insensitive equality. */
bool rl_span_ieq(rl_span a, rl_span b);
/* Takes the first n octets off `in` into `out`; RL_EBADMSG when there are fewer. */
static inline rl_err rl_span_take(rl_span *in, size_t n, rl_span *out)
{
    if (in->n < n)
        return RL_EBADMSG;
    *out = (rl_span){in->p, n};
    if (n > 0) { /* an empty span may have no address to add to */
        in->p += n;
        in->n -= n;
    }
    return RL_OK;
}
/* RL_OK when nothing is left, RL_EBADMSG otherwise. */
static inline rl_err rl_span_end(const rl_span *in)
{
    return in->n == 0 ? RL_OK : RL_EBADMSG;
}

/* Length of the valid UTF-8 sequence (RFC 3629) at the start of s, 0 when there is none. */
size_t rl_utf8_length(rl_span s);
/* True for C0, DEL and (in UTF-8) C1: what could forge a line or steer a terminal. `n` as rl_utf8_length gave it. */
bool rl_utf8_is_control(const uint8_t *p, size_t n);
/* Replaces control characters and octets that are no UTF-8 by '?', in place. */
void rl_text_clean(char *s);

/* Constant-time equality for secrets; takes time by the length of `given`, not by where they differ
 * or by the secret's length. */
bool rl_secret_eq(rl_span secret, rl_span given);

/* Lower-case hexadecimal of `in` into `out` (2n+1 octets). Returns RL_ERANGE when cap is too small. */
rl_err rl_hex(rl_span in, char *out, size_t cap);
/* Reverse; accepts both cases; RL_EBADMSG on odd length or other characters, RL_ERANGE when cap is too small. */
rl_err rl_unhex(rl_span in, uint8_t *out, size_t cap, size_t *n);

/* 8-4-4-4-12 hexadecimal digits, to lower case; RL_EBADMSG. */
enum { RL_GUID_SIZE = 37 }; /* with NUL */
rl_err rl_guid_read(rl_span in, char out[RL_GUID_SIZE]);

/* base64 (RFC 4648 §4 with `url` false, §5 with true). Encoding pads unless `url`. cap counts the final NUL.
 * Decoding is strict about characters and length, accepts missing padding; white space is an error. */
rl_err rl_base64_encode(rl_span in, bool url, char *out, size_t cap);
rl_err rl_base64_decode(rl_span in, bool url, uint8_t *out, size_t cap, size_t *n);
/* A character's value in the six low bits, and above them a bit for each alphabet that has it; 0 when none has. */
extern const uint8_t rl_base64_values[256];

/* ---- growable buffer ---- */
typedef struct rl_buf {
    uint8_t *p;
    size_t n, cap;
    size_t limit; /* 0 = none; appending past it is RL_ERANGE */
} rl_buf;

rl_err rl_buf_append(rl_buf *b, const void *p, size_t n);
rl_err rl_buf_printf(rl_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rl_buf_reset(rl_buf *b); /* keeps the memory */
void rl_buf_free(rl_buf *b);
static inline rl_span rl_buf_span(const rl_buf *b)
{
    return (rl_span){b->p, b->n};
}

#endif
