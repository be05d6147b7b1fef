/* The chunked transfer coding, RFC 9112 §7.1: a state machine over octets, declared in parse.h.
 *
 * llhttp's own decoder skips two octets behind a chunk without looking at them in its loose build, which is a
 * way to smuggle a request past a proxy; this one is strict in every build and decodes in place. */
#include "http/parse.h"

enum { SIZE_DIGITS_MAX = 8 };

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Text of extensions and trailers: ignored, but no control characters in it. */
static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

/* One octet of a chunk-size line: `left` collects the digits. */
static bool size_octet(http_chunked *c, uint8_t o)
{
    int digit = hex_value(o);
    if (digit >= 0 && c->state != CHUNK_EXT) {
        if (c->left >> (4 * (SIZE_DIGITS_MAX - 1)) != 0)
            return false;
        c->left = c->left << 4 | (uint64_t)digit;
        c->state = CHUNK_SIZE_MORE;
        return true;
    }
    if (c->state == CHUNK_SIZE)
        return false; /* not one digit */
    if (o == '\r') {
        c->state = CHUNK_SIZE_LF;
        return true;
    }
    /* chunk-ext = *( BWS ";" BWS ext-name … ): BWS in front of the first ";" is let pass by no one else either. */
    if (c->state == CHUNK_SIZE_MORE && o != ';')
        return false;
    c->state = CHUNK_EXT;
    return is_text(o);
}

/* Takes one octet of framing; false when it must not stand there. */
static bool frame_octet(http_chunked *c, uint8_t o)
{
    switch (c->state) {
    case CHUNK_SIZE:
    case CHUNK_SIZE_MORE:
    case CHUNK_EXT:
        return size_octet(c, o);
    case CHUNK_SIZE_LF:
        c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
        return o == '\n';
    case CHUNK_DATA_CR:
        c->state = CHUNK_DATA_LF;
        return o == '\r';
    case CHUNK_DATA_LF:
        c->state = CHUNK_SIZE;
        return o == '\n';
    case CHUNK_TRAILER:
        c->state = o == '\r' ? CHUNK_END_LF : CHUNK_TRAILER_MORE;
        return o == '\r' || (is_text(o) && o != ' ' && o != '\t');
    case CHUNK_TRAILER_MORE:
        if (o == '\r')
            c->state = CHUNK_TRAILER_LF;
        return o == '\r' || is_text(o);
    case CHUNK_TRAILER_LF:
        c->state = CHUNK_TRAILER;
        return o == '\n';
    case CHUNK_END_LF:
        c->state = CHUNK_DONE;
        return o == '\n';
    default:
        return false;
    }
}

static size_t copy_data(http_chunked *c, rl_span in, uint8_t *out, size_t *body_n)
{
    size_t n = in.n < c->left ? in.n : (size_t)c->left;
    if (out + *body_n != in.p)
        memmove(out + *body_n, in.p, n);
    *body_n += n;
    c->left -= n;
    if (c->left == 0)
        c->state = CHUNK_DATA_CR;
    return n;
}

size_t http_chunked_read(http_chunked *c, rl_span in, uint8_t *out, size_t *body_n, size_t limit, int *status)
{
    size_t at = 0;
    while (at < in.n && c->state != CHUNK_DONE) {
        if (c->state == CHUNK_DATA) {
            at += copy_data(c, rl_span_of(in.p + at, in.n - at), out, body_n);
            continue;
        }
        if (!frame_octet(c, in.p[at++])) {
            *status = 400;
            return at;
        }
        /* The size line announces: refuse before the data is taken. */
        if (c->state == CHUNK_DATA && c->left > limit - *body_n) {
            *status = 413;
            return at;
        }
        /* A body of one-octet chunks is allowed, endless extensions or trailers are not (CVE-2024-22019). */
        if (++c->overhead > HTTP_CHUNK_OVERHEAD && (c->overhead - HTTP_CHUNK_OVERHEAD) / 8 > *body_n) {
            *status = 413;
            return at;
        }
    }
    return at;
}
