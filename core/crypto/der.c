/* DER reader and writer (X.690). Pure; the reader never looks past its span, the writer never past its memory. */
#include "crypto/der.h"

#include <time.h>

#include "base/clock.h"

/* ---- reading ---- */
/* X.690 §8.1.3, §10.1: definite, in the fewest octets. */
static rl_err read_length(rl_span *in, size_t *n)
{
    rl_span octets;
    RL_TRY(rl_span_take(in, 1, &octets));
    if (octets.p[0] < 0x80) {
        *n = octets.p[0];
        return RL_OK;
    }
    size_t count = octets.p[0] & 0x7f;
    if (count == 0 || count > 4)
        return RL_EBADMSG;
    RL_TRY(rl_span_take(in, count, &octets));
    *n = 0;
    for (size_t i = 0; i < count; i++)
        *n = *n << 8 | octets.p[i];
    return *n >= 0x80 && octets.p[0] != 0 ? RL_OK : RL_EBADMSG;
}

rl_err rl_der_any(rl_span *in, uint8_t *tag, rl_span *contents, rl_span *whole)
{
    rl_span rest = *in, head, value;
    size_t n;
    RL_TRY(rl_span_take(&rest, 1, &head));
    if ((head.p[0] & 0x1f) == 0x1f) /* high-tag-number form: nothing we read has one */
        return RL_EBADMSG;
    RL_TRY(read_length(&rest, &n));
    RL_TRY(rl_span_take(&rest, n, &value));
    *tag = head.p[0];
    *contents = value;
    if (whole)
        *whole = (rl_span){in->p, in->n - rest.n};
    *in = rest;
    return RL_OK;
}

/* X.690 §8.19: subidentifiers end in an octet below 0x80 and do not begin with 0x80. */
rl_err rl_der_oid(rl_span *in, rl_span *oid_contents)
{
    rl_span rest = *in, oid;
    RL_TRY(rl_der_expect(&rest, RL_DER_OID, &oid));
    if (oid.n == 0 || oid.p[oid.n - 1] >= 0x80)
        return RL_EBADMSG;
    for (size_t i = 0; i < oid.n; i++)
        if (oid.p[i] == 0x80 && (i == 0 || oid.p[i - 1] < 0x80))
            return RL_EBADMSG;
    *oid_contents = oid;
    *in = rest;
    return RL_OK;
}

rl_err rl_der_bool(rl_span *in, bool *value)
{
    rl_span rest = *in, v;
    RL_TRY(rl_der_expect(&rest, RL_DER_BOOLEAN, &v));
    if (v.n != 1 || (v.p[0] != 0 && v.p[0] != 0xff))
        return RL_EBADMSG;
    *value = v.p[0] != 0;
    *in = rest;
    return RL_OK;
}

/* X.690 §8.3.2: the first nine bits are not all the same. */
static bool minimal_integer(rl_span v)
{
    return v.n > 0 && !(v.n > 1 && ((v.p[0] == 0 && v.p[1] < 0x80) || (v.p[0] == 0xff && v.p[1] >= 0x80)));
}

rl_err rl_der_uint(rl_span *in, uint64_t *value)
{
    rl_span rest = *in, v;
    RL_TRY(rl_der_expect(&rest, RL_DER_INTEGER, &v));
    if (!minimal_integer(v) || v.p[0] >= 0x80)
        return RL_EBADMSG;
    if (v.n > 8)
        return RL_ERANGE;
    *value = 0;
    for (size_t i = 0; i < v.n; i++)
        *value = *value << 8 | v.p[i];
    *in = rest;
    return RL_OK;
}

rl_err rl_der_serial(rl_span *in, rl_span *contents, bool *negative)
{
    rl_span rest = *in, v;
    RL_TRY(rl_der_expect(&rest, RL_DER_INTEGER, &v));
    if (!minimal_integer(v))
        return RL_EBADMSG;
    if (v.n - (v.p[0] == 0 && v.n > 1) > 20)
        return RL_ERANGE;
    *negative = v.p[0] >= 0x80;
    *contents = v;
    *in = rest;
    return RL_OK;
}

rl_err rl_der_null(rl_span *in)
{
    rl_span rest = *in, v;
    RL_TRY(rl_der_expect(&rest, RL_DER_NULL, &v));
    RL_TRY(rl_span_end(&v));
    *in = rest;
    return RL_OK;
}

static bool take_digits(rl_span *text, size_t n, int min, int max, int *out)
{
    rl_span d;
    *out = 0;
    if (rl_span_take(text, n, &d) != RL_OK)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (d.p[i] < '0' || d.p[i] > '9')
            return false;
        *out = *out * 10 + (d.p[i] - '0');
    }
    return *out >= min && *out <= max;
}

rl_err rl_der_time_text(rl_span text, int64_t *unix_s)
{
    struct tm tm = {0};
    bool utc = text.n == 13;
    if ((!utc && text.n != 15) || !take_digits(&text, utc ? 2 : 4, 0, 9999, &tm.tm_year) ||
        !take_digits(&text, 2, 1, 12, &tm.tm_mon) || !take_digits(&text, 2, 1, 31, &tm.tm_mday) ||
        !take_digits(&text, 2, 0, 23, &tm.tm_hour) || !take_digits(&text, 2, 0, 59, &tm.tm_min) ||
        !take_digits(&text, 2, 0, 59, &tm.tm_sec) || text.p[0] != 'Z')
        return RL_EBADMSG;
    tm.tm_mon--;
    tm.tm_year += !utc ? -1900 : tm.tm_year < 50 ? 100 : 0;
    int day = tm.tm_mday;
    *unix_s = timegm(&tm);
    return tm.tm_mday == day ? RL_OK : RL_EBADMSG; /* the 31st of a month that has none */
}

rl_err rl_der_time(rl_span *in, int64_t *unix_s)
{
    rl_span rest = *in, text;
    bool utc = rl_der_peek(in, RL_DER_UTC_TIME);
    RL_TRY(rl_der_expect(&rest, utc ? RL_DER_UTC_TIME : RL_DER_GENERALIZED_TIME, &text));
    if (text.n != (utc ? 13 : 15))
        return RL_EBADMSG;
    RL_TRY(rl_der_time_text(text, unix_s));
    *in = rest;
    return RL_OK;
}

/* ---- writing ---- */
void rl_der_init(rl_der_writer *w, void *memory, size_t cap)
{
    *w = (rl_der_writer){.p = memory, .cap = cap};
}

/* Room for n more octets, or NULL with the error kept. */
static uint8_t *grow(rl_der_writer *w, size_t n)
{
    if (w->err == RL_OK && n > w->cap - w->n)
        w->err = RL_ERANGE;
    if (w->err != RL_OK)
        return NULL;
    uint8_t *at = w->p + w->n;
    w->n += n;
    return at;
}

static size_t length_octets(size_t n)
{
    size_t more = 0;
    if (n >= 0x80)
        for (size_t v = n; v; v >>= 8)
            more++;
    return 1 + more;
}

static void write_length(uint8_t *at, size_t n)
{
    size_t more = length_octets(n) - 1;
    at[0] = (uint8_t)(more ? 0x80 | more : n);
    for (size_t i = more; i > 0; i--, n >>= 8)
        at[i] = (uint8_t)n;
}

size_t rl_der_head(uint8_t tag, size_t n, uint8_t out[RL_DER_HEAD_MAX])
{
    out[0] = tag;
    write_length(out + 1, n);
    return 1 + length_octets(n);
}

void rl_der_open(rl_der_writer *w, uint8_t tag)
{
    if (w->depth == sizeof(w->open) / sizeof(w->open[0])) {
        w->err = RL_EINVAL;
        return;
    }
    uint8_t *at = grow(w, 2);
    if (!at)
        return;
    at[0] = tag;
    w->open[w->depth++] = w->n - 1;
}

/* One octet was kept for the length; contents move when it takes more. */
void rl_der_close(rl_der_writer *w)
{
    if (w->err != RL_OK || w->depth == 0) {
        w->err = w->err != RL_OK ? w->err : RL_EINVAL;
        return;
    }
    size_t at = w->open[--w->depth], n = w->n - at - 1, more = length_octets(n) - 1;
    if (more) {
        if (!grow(w, more))
            return;
        memmove(w->p + at + 1 + more, w->p + at + 1, n);
    }
    write_length(w->p + at, n);
}

void rl_der_put(rl_der_writer *w, uint8_t tag, rl_span contents)
{
    size_t header = 1 + length_octets(contents.n);
    if (contents.n > w->cap) {
        w->err = RL_ERANGE;
        return;
    }
    uint8_t *at = grow(w, header + contents.n);
    if (!at)
        return;
    at[0] = tag;
    write_length(at + 1, contents.n);
    if (contents.n)
        memcpy(at + header, contents.p, contents.n);
}

void rl_der_put_raw(rl_der_writer *w, rl_span element)
{
    uint8_t *at = element.n <= w->cap ? grow(w, element.n) : NULL;
    if (at && element.n)
        memcpy(at, element.p, element.n);
    else if (!at && w->err == RL_OK)
        w->err = RL_ERANGE;
}

void rl_der_put_oid(rl_der_writer *w, rl_span oid_contents)
{
    rl_der_put(w, RL_DER_OID, oid_contents);
}
void rl_der_put_bool(rl_der_writer *w, bool value)
{
    rl_der_put(w, RL_DER_BOOLEAN, value ? RL_SPAN_LIT("\xff") : RL_SPAN_LIT("\0"));
}
void rl_der_put_enum(rl_der_writer *w, uint8_t value)
{
    rl_der_put(w, RL_DER_ENUMERATED, rl_span_of(&value, 1));
}
void rl_der_put_null(rl_der_writer *w)
{
    rl_der_put(w, RL_DER_NULL, (rl_span){0});
}

void rl_der_put_uint(rl_der_writer *w, uint64_t value)
{
    uint8_t octets[9] = {0};
    size_t first = 1;
    for (size_t i = 8; i > 0; i--, value >>= 8)
        octets[i] = (uint8_t)value;
    while (first < 8 && octets[first] == 0)
        first++;
    if (octets[first] >= 0x80)
        first--;
    rl_der_put(w, RL_DER_INTEGER, rl_span_of(octets + first, 9 - first));
}

void rl_der_put_bits(rl_der_writer *w, rl_span octets)
{
    rl_der_open(w, RL_DER_BIT_STRING);
    rl_der_put_raw(w, RL_SPAN_LIT("\0"));
    rl_der_put_raw(w, octets);
    rl_der_close(w);
}

void rl_der_put_generalized_time(rl_der_writer *w, int64_t unix_s)
{
    char text[RL_TIME_TEXT];
    if (unix_s < -62135596800 || unix_s > 253402300799) { /* the years 1 to 9999 */
        w->err = RL_ERANGE;
        return;
    }
    rl_time_digits(unix_s, text);
    text[14] = 'Z';
    rl_der_put(w, RL_DER_GENERALIZED_TIME, rl_span_of(text, 15));
}

void rl_der_put_time(rl_der_writer *w, int64_t unix_s)
{
    char text[RL_TIME_TEXT];
    if (unix_s < -631152000 || unix_s >= 2524608000) { /* the years 1950 to 2049 */
        rl_der_put_generalized_time(w, unix_s);
        return;
    }
    rl_time_digits(unix_s, text);
    text[14] = 'Z';
    rl_der_put(w, RL_DER_UTC_TIME, rl_span_of(text + 2, 13));
}

rl_err rl_der_finish(rl_der_writer *w, rl_span *out)
{
    if (w->err != RL_OK)
        return w->err;
    if (w->depth)
        return RL_EINVAL;
    *out = (rl_span){w->p, w->n};
    return RL_OK;
}
