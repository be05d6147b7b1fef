/* Spans, text encodings and the growable buffer. No state, no threads; a rl_buf belongs to its caller. */
#include "base/span.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool rl_span_ieq(rl_span a, rl_span b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] != b.p[i] && ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

size_t rl_utf8_length(rl_span s)
{
    const uint8_t *p = s.p;
    if (s.n == 0)
        return 0;
    size_t want = p[0] < 0x80                   ? 1
                  : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                  : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                  : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                : 0;
    if (want == 0 || want > s.n)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, above U+10FFFF */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return want;
}

bool rl_utf8_is_control(const uint8_t *p, size_t n)
{
    return (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

void rl_text_clean(char *s)
{
    uint8_t *p = (uint8_t *)s;
    for (size_t left = strlen(s); left > 0;) {
        size_t n = rl_utf8_length((rl_span){p, left}), step = n > 0 ? n : 1;
        if (n == 0 || rl_utf8_is_control(p, n))
            memset(p, '?', step);
        p += step;
        left -= step;
    }
}

bool rl_secret_eq(rl_span secret, rl_span given)
{
    /* Walks all of `given`, the secret wrapping round beneath it, so neither the place of the first
     * difference nor the secret's length shows in the time taken. An empty secret equals nothing: it
     * stands for "not set", and nobody may get in with it. */
    static const uint8_t nothing[1];
    const uint8_t *s = secret.n > 0 ? secret.p : nothing;
    size_t wrap = secret.n > 0 ? secret.n : 1;
    size_t diff = (secret.n ^ given.n) | (size_t)(secret.n == 0);
    for (size_t i = 0, j = 0; i < given.n; i++) {
        diff |= (size_t)(given.p[i] ^ s[j]);
        j++;
        j &= (size_t)0 - (size_t)(j != wrap);
        /* The compiler must believe that diff matters in every round, or it may leave the loop early. */
        __asm__ volatile("" : "+r"(diff), "+r"(j));
    }
    return diff == 0;
}

/* ---- hexadecimal ---- */

rl_err rl_hex(rl_span in, char *out, size_t cap)
{
    static const char digits[] = "0123456789abcdef";
    if (cap == 0 || in.n > (cap - 1) / 2)
        return RL_ERANGE;
    for (size_t i = 0; i < in.n; i++) {
        out[2 * i] = digits[in.p[i] >> 4];
        out[2 * i + 1] = digits[in.p[i] & 15];
    }
    out[2 * in.n] = '\0';
    return RL_OK;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

rl_err rl_unhex(rl_span in, uint8_t *out, size_t cap, size_t *n)
{
    if (in.n % 2 != 0)
        return RL_EBADMSG;
    if (in.n / 2 > cap)
        return RL_ERANGE;
    for (size_t i = 0; i < in.n; i += 2) {
        int high = hex_digit(in.p[i]), low = hex_digit(in.p[i + 1]);
        if (high < 0 || low < 0)
            return RL_EBADMSG;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    *n = in.n / 2;
    return RL_OK;
}

/* ---- base64: RFC 4648 §4 and §5 ---- */

rl_err rl_base64_encode(rl_span in, bool url, char *out, size_t cap)
{
    static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *alphabet = url ? url_safe : standard;
    if (cap == 0 || in.n > (cap - 1) / 4 * 3 + 2) /* a first bound, so that the sum below cannot overflow */
        return RL_ERANGE;
    size_t rest = in.n % 3;
    size_t need = in.n / 3 * 4 + (rest == 0 ? 0 : url ? rest + 1 : 4);
    if (need >= cap)
        return RL_ERANGE;

    size_t o = 0;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t bits = (uint32_t)in.p[i] << 16;
        if (left > 1)
            bits |= (uint32_t)in.p[i + 1] << 8;
        if (left > 2)
            bits |= in.p[i + 2];
        out[o++] = alphabet[bits >> 18];
        out[o++] = alphabet[bits >> 12 & 63];
        if (left > 1)
            out[o++] = alphabet[bits >> 6 & 63];
        if (left > 2)
            out[o++] = alphabet[bits & 63];
    }
    while (!url && o % 4 != 0)
        out[o++] = '=';
    out[o] = '\0';
    return RL_OK;
}

/* A character's value, and the alphabets that have it. */
enum { STANDARD = 0x40, URL_SAFE = 0x80, BOTH = STANDARD | URL_SAFE };
const uint8_t rl_base64_values[256] = {
    ['A'] = BOTH | 0,      ['B'] = BOTH | 1,  ['C'] = BOTH | 2,      ['D'] = BOTH | 3,      ['E'] = BOTH | 4,
    ['F'] = BOTH | 5,      ['G'] = BOTH | 6,  ['H'] = BOTH | 7,      ['I'] = BOTH | 8,      ['J'] = BOTH | 9,
    ['K'] = BOTH | 10,     ['L'] = BOTH | 11, ['M'] = BOTH | 12,     ['N'] = BOTH | 13,     ['O'] = BOTH | 14,
    ['P'] = BOTH | 15,     ['Q'] = BOTH | 16, ['R'] = BOTH | 17,     ['S'] = BOTH | 18,     ['T'] = BOTH | 19,
    ['U'] = BOTH | 20,     ['V'] = BOTH | 21, ['W'] = BOTH | 22,     ['X'] = BOTH | 23,     ['Y'] = BOTH | 24,
    ['Z'] = BOTH | 25,     ['a'] = BOTH | 26, ['b'] = BOTH | 27,     ['c'] = BOTH | 28,     ['d'] = BOTH | 29,
    ['e'] = BOTH | 30,     ['f'] = BOTH | 31, ['g'] = BOTH | 32,     ['h'] = BOTH | 33,     ['i'] = BOTH | 34,
    ['j'] = BOTH | 35,     ['k'] = BOTH | 36, ['l'] = BOTH | 37,     ['m'] = BOTH | 38,     ['n'] = BOTH | 39,
    ['o'] = BOTH | 40,     ['p'] = BOTH | 41, ['q'] = BOTH | 42,     ['r'] = BOTH | 43,     ['s'] = BOTH | 44,
    ['t'] = BOTH | 45,     ['u'] = BOTH | 46, ['v'] = BOTH | 47,     ['w'] = BOTH | 48,     ['x'] = BOTH | 49,
    ['y'] = BOTH | 50,     ['z'] = BOTH | 51, ['0'] = BOTH | 52,     ['1'] = BOTH | 53,     ['2'] = BOTH | 54,
    ['3'] = BOTH | 55,     ['4'] = BOTH | 56, ['5'] = BOTH | 57,     ['6'] = BOTH | 58,     ['7'] = BOTH | 59,
    ['8'] = BOTH | 60,     ['9'] = BOTH | 61, ['+'] = STANDARD | 62, ['/'] = STANDARD | 63, ['-'] = URL_SAFE | 62,
    ['_'] = URL_SAFE | 63,
};

rl_err rl_base64_decode(rl_span in, bool url, uint8_t *out, size_t cap, size_t *n)
{
    size_t len = in.n; /* without padding */
    while (len > 0 && in.n - len < 2 && in.p[len - 1] == '=')
        len--;
    size_t rest = len % 4;
    if (rest == 1 || (len != in.n && in.n % 4 != 0)) /* padding is whole or absent */
        return RL_EBADMSG;
    if (len / 4 * 3 + (rest == 0 ? 0 : rest - 1) > cap)
        return RL_ERANGE;

    const uint8_t *p = in.p, *values = rl_base64_values;
    const uint8_t ours = url ? URL_SAFE : STANDARD;
    uint8_t *o = out;
    for (size_t left = len / 4; left > 0; left--, p += 4) {
        uint32_t a = values[p[0]], b = values[p[1]], c = values[p[2]], d = values[p[3]];
        if (!(a & b & c & d & ours))
            return RL_EBADMSG;
        uint32_t bits = (a & 63) << 18 | (b & 63) << 12 | (c & 63) << 6 | (d & 63);
        *o++ = (uint8_t)(bits >> 16);
        *o++ = (uint8_t)(bits >> 8);
        *o++ = (uint8_t)bits;
    }
    if (rest > 0) {
        uint32_t a = values[p[0]], b = values[p[1]], c = rest == 3 ? values[p[2]] : BOTH;
        uint32_t bits = (a & 63) << 18 | (b & 63) << 12 | (c & 63) << 6;
        /* RFC 4648 §3.5: left-over bits are zero, so that each value has one encoding only. */
        if (!(a & b & c & ours) || (bits & (rest == 2 ? 0xffff : 0xff)) != 0)
            return RL_EBADMSG;
        *o++ = (uint8_t)(bits >> 16);
        if (rest == 3)
            *o++ = (uint8_t)(bits >> 8);
    }
    *n = (size_t)(o - out);
    return RL_OK;
}

rl_err rl_guid_read(rl_span in, char out[RL_GUID_SIZE])
{
    if (in.n != RL_GUID_SIZE - 1)
        return RL_EBADMSG;
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i], low = c | 0x20;
        bool dash = i == 8 || i == 13 || i == 18 || i == 23, digit = c >= '0' && c <= '9';
        if (dash ? c != '-' : !digit && !(low >= 'a' && low <= 'f'))
            return RL_EBADMSG;
        out[i] = (char)(dash || digit ? c : low);
    }
    out[in.n] = 0;
    return RL_OK;
}

/* ---- growable buffer ---- */

/* Makes room for n octets more (and `extra` behind them that the limit does not count). */
static rl_err buf_room(rl_buf *b, size_t n, size_t extra)
{
    if (n > SIZE_MAX / 2 - b->n - extra || (b->limit != 0 && n > b->limit - (b->n < b->limit ? b->n : b->limit)))
        return RL_ERANGE;
    size_t need = b->n + n + extra;
    if (need <= b->cap)
        return RL_OK;
    size_t cap = b->cap < 128 ? 128 : b->cap;
    while (cap < need)
        cap *= 2; /* need is below SIZE_MAX / 2: no overflow */
    uint8_t *p = realloc(b->p, cap);
    if (p == NULL)
        return RL_ENOMEM;
    b->p = p;
    b->cap = cap;
    return RL_OK;
}

rl_err rl_buf_append(rl_buf *b, const void *p, size_t n)
{
    RL_TRY(buf_room(b, n, 0));
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    return RL_OK;
}

rl_err rl_buf_printf(rl_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    rl_err err = RL_EINVAL;
    size_t room = b->cap - b->n;
    int n = vsnprintf(room > 0 ? (char *)b->p + b->n : NULL, room, fmt, ap);
    if (n < 0)
        goto out;
    err = buf_room(b, (size_t)n, 1); /* vsnprintf also writes a NUL */
    if (err != RL_OK)
        goto out;
    if ((size_t)n >= room)
        (void)vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
out:
    va_end(again);
    va_end(ap);
    return err;
}

void rl_buf_reset(rl_buf *b)
{
    b->n = 0;
}

void rl_buf_free(rl_buf *b)
{
    free(b->p);
    *b = (rl_buf){.limit = b->limit};
}
