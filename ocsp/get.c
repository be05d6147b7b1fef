/* The GET path decoder: percent-encoding, then base64, and where that does not give a whole request, the ways in which
 * paths are known to be bent. Decodes in place, since each step only shortens. */
#include "ocsp/get.h"

enum {
    LAYERS_MAX = 2,      /* of percent-encoding */
    CANDIDATES_MAX = 16, /* readings of one path that are tried, of each kind */
};

/* ---- percent-encoding ---- */
/* Base64 has no '%': one that is left is another layer's. */
static rl_err percent_decode(rl_span path, char *text, size_t *n)
{
    for (unsigned layer = 0; layer < LAYERS_MAX; layer++) {
        bool again = false;
        for (*n = 0; path.n;) {
            const uint8_t *mark = memchr(path.p, '%', path.n);
            rl_span plain, escape;
            uint8_t c;
            RL_TRY(rl_span_take(&path, mark ? (size_t)(mark - path.p) : path.n, &plain));
            memmove(text + *n, plain.p, plain.n);
            *n += plain.n;
            if (!mark)
                break;
            RL_TRY(rl_span_take(&path, 3, &escape));
            RL_TRY(rl_unhex(rl_span_of(escape.p + 1, 2), &c, 1, &(size_t){0}));
            if (c == '\r' || c == '\n')
                continue;
            again |= c == '%';
            text[(*n)++] = c == ' ' ? '+' : (char)c;
        }
        if (!again)
            return RL_OK;
        path = rl_span_of(text, *n);
    }
    return RL_EBADMSG;
}

/* ---- base64 ---- */
/* Of RFC 4648 §5's alphabet into §4's; without branches, for the compiler to take many at a time. */
static void to_standard(uint8_t *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text[i] == '-' ? '+' : text[i];
        text[i] = c == '_' ? '/' : c;
    }
}

/* Either alphabet, in place when `memory` is the text's own. */
static rl_err decode(const char *text, size_t n, uint8_t *memory, size_t cap, rl_span *der)
{
    if (n > cap)
        return RL_ERANGE;
    memmove(memory, text, n);
    to_standard(memory, n);
    RL_TRY(rl_base64_decode(rl_span_of(memory, n), false, memory, cap, &n));
    *der = rl_span_of(memory, n);
    return n ? RL_OK : RL_EBADMSG;
}

/* Characters, without padding, that encode the DER SEQUENCE which begins the text; 0 when none does. */
static size_t characters_due(const char *text, size_t n)
{
    uint8_t head[8];
    rl_span in;
    if (n < 8 || text[0] != 'M' || decode(text, 8, head, sizeof(head), &in) != RL_OK || in.n < 4 || in.p[0] != 0x30)
        return 0;
    size_t header = in.p[1] < 0x80 ? 2 : in.p[1] == 0x81 ? 3 : in.p[1] == 0x82 ? 4 : 0;
    size_t octets = header == 2 ? in.p[1] : header == 3 ? in.p[2] : (size_t)in.p[2] << 8 | in.p[3];
    return header ? ((header + octets) * 8 + 5) / 6 : 0;
}

static bool is_request(rl_span der)
{
    ocsp_request r;
    return ocsp_request_parse(der, OCSP_CERT_IDS_MAX, &r) == RL_OK;
}

/* ---- bent paths ---- */
/* What the readings of one path are tried in. */
typedef struct reading {
    char text[OCSP_GET_MEND_MAX + 1];
    uint8_t octets[OCSP_GET_MEND_MAX + 1];
    rl_span der;
} reading;

static bool reads(reading *r, size_t n)
{
    return decode(r->text, n, r->octets, sizeof(r->octets), &r->der) == RL_OK && is_request(r->der);
}

/* With a slash more, or less, at `at`. */
static bool reads_with_slash(reading *r, rl_span text, size_t at, bool more)
{
    size_t rest = more ? at : at + 1;
    memcpy(r->text, text.p, at);
    r->text[at] = '/';
    memcpy(r->text + at + more, text.p + rest, text.n - rest);
    return reads(r, text.n + more - !more);
}

/* The path has `have` characters without padding, one more or less than it should: tries every run of slashes, and the
 * one at the end, and succeeds when exactly one place makes a request. Leaves it in `right`. */
static bool mend_slash(rl_span text, size_t have, bool more, reading *right)
{
    reading other;
    unsigned candidates = 0, found = 0;
    for (size_t at = 0; at < have; at++) {
        bool first = text.p[at] == '/' && (at == 0 || text.p[at - 1] != '/');
        bool doubled = at + 1 == text.n || text.p[at + 1] == '/';
        if (!first || (!more && !doubled))
            continue;
        if (++candidates > CANDIDATES_MAX)
            return false;
        if (reads_with_slash(found ? &other : right, text, at, more) && ++found > 1)
            return false;
    }
    return found == 1;
}

/* Behind path segments that are not part of the request. */
static bool skip_segments(rl_span text, size_t padding, reading *r)
{
    unsigned candidates = 0;
    for (size_t at = 1; at < text.n - padding && candidates < CANDIDATES_MAX; at++) {
        size_t n = text.n - at;
        if (text.p[at - 1] != '/' || text.p[at] != 'M')
            continue;
        candidates++;
        memcpy(r->text, text.p + at, n);
        if (characters_due(r->text, n) == n - padding && reads(r, n))
            return true;
    }
    return false;
}

static bool mend(rl_span text, size_t padding, size_t due, reading *r)
{
    size_t have = text.n - padding;
    if (text.n > OCSP_GET_MEND_MAX)
        return false;
    if (due && (have + 1 == due || have == due + 1) && mend_slash(text, have, have < due, r))
        return true;
    return skip_segments(text, padding, r);
}

/* ---- straight paths ---- */
/* A character of the path, which may be escaped; 0 when it is none. */
static uint8_t take_character(rl_span *path)
{
    uint8_t c = path->p[0];
    size_t took = 1;
    if (c == '%') {
        took = 3;
        if (path->n < took || rl_unhex(rl_span_of(path->p + 1, 2), &c, 1, &(size_t){0}) != RL_OK)
            return 0;
    }
    path->p += took;
    path->n -= took;
    return c;
}

static uint8_t *put_octets(uint8_t *out, uint32_t bits, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    return out + n;
}

/* The SEQUENCE of one CertID or a few, and nothing behind it. */
static bool is_whole(rl_span der)
{
    return der.n > 2 && der.p[0] == 0x30 &&
           (der.p[1] < 0x80 ? der.n == 2u + der.p[1] : der.p[1] == 0x81 && der.n == 3u + der.p[2]);
}

/* Nearly all paths are base64 with some characters escaped, in which nothing is bent: they are read in one go. False
 * when there is any doubt; where it is true, the careful way would come to the same. The first `done` octets, whole
 * groups of three, are in `memory` already. */
static bool decode_straight(rl_span path, uint8_t *memory, size_t done, rl_span *der)
{
    const uint8_t *values = rl_base64_values;
    uint8_t *o = memory + done;
    uint32_t bits = 0;
    unsigned have = 0, padding = 0;
    while (path.n > 0) {
        if (have == 0 && padding == 0 && path.n >= 4) {
            uint32_t v[4] = {values[path.p[0]], values[path.p[1]], values[path.p[2]], values[path.p[3]]};
            if (v[0] & v[1] & v[2] & v[3] & ~63u) {
                o = put_octets(o, (v[0] & 63) << 18 | (v[1] & 63) << 12 | (v[2] & 63) << 6 | (v[3] & 63), 3);
                path.p += 4;
                path.n -= 4;
                continue;
            }
        }
        uint8_t c = take_character(&path);
        if (c == '=') {
            padding++;
            continue;
        }
        if (values[c] == 0 || padding > 0)
            return false;
        bits = bits << 6 | (values[c] & 63);
        if (++have == 4) {
            o = put_octets(o, bits, 3);
            bits = 0;
            have = 0;
        }
    }
    if (have == 1 || (padding > 0 && have + padding != 4))
        return false;
    bits <<= 6 * (4 - have) % 24;
    if (bits & (have == 2 ? 0xffffu : have == 3 ? 0xffu : 0u))
        return false;
    o = put_octets(o, bits, have > 0 ? have - 1 : 0);
    *der = rl_span_of(memory, (size_t)(o - memory));
    return is_whole(*der);
}

rl_err ocsp_get_decode(rl_span path, uint8_t *memory, size_t cap, rl_span *der)
{
    char *text = (char *)memory;
    size_t n, padding = 0;
    reading r;
    if (path.n > cap)
        return RL_ERANGE;
    if (decode_straight(path, memory, 0, der))
        return RL_OK;
    RL_TRY(percent_decode(path, text, &n));
    for (; n && text[0] == '/'; n--)
        text++;
    size_t end = n;
    while (end && text[end - 1] == '/')
        end--;
    if (end && text[end - 1] == '=') /* no base64 goes on behind padding */
        n = end;
    while (padding < 2 && padding < n && text[n - padding - 1] == '=')
        padding++;
    size_t due = characters_due(text, n);
    if (due != n - padding && mend(rl_span_of(text, n), padding, due, &r)) {
        memcpy(memory, r.der.p, r.der.n);
        *der = rl_span_of(memory, r.der.n);
        return RL_OK;
    }
    return decode(text, n, memory, cap, der);
}

/* ---- paths that begin as others do ---- */
void ocsp_path_start_set(ocsp_path_start *s, rl_span path, rl_span der, size_t der_n)
{
    uint8_t memory[OCSP_PATH_START_MAX];
    size_t groups = (der_n < der.n ? der_n : der.n) / 3;
    rl_span rest = path, straight;
    s->path_n = 0;
    if (path.n > sizeof(memory) || groups > sizeof(s->der) / 3 || !decode_straight(path, memory, 0, &straight) ||
        !rl_span_eq(straight, der))
        return;
    for (size_t characters = 4 * groups; characters > 0; characters--)
        take_character(&rest);
    s->path_n = path.n - rest.n;
    s->der_n = 3 * groups;
    memcpy(s->path, path.p, s->path_n);
    memcpy(s->der, der.p, s->der_n);
}

bool ocsp_get_decode_from(const ocsp_path_start *s, rl_span path, uint8_t *memory, size_t cap, rl_span *der)
{
    if (path.n > cap || s->path_n == 0 || path.n < s->path_n || memcmp(path.p, s->path, s->path_n) != 0)
        return false;
    memcpy(memory, s->der, s->der_n);
    return decode_straight(rl_span_of(path.p + s->path_n, path.n - s->path_n), memory, s->der_n, der);
}
