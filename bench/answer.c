#include "answer.h"

#include <string.h>
#include <strings.h>

enum { HEAD_MAX = 16 * 1024, BODY_MAX = 1024 * 1024 };

/* True when the header line [line, end) has this name; `name` ends with the colon. */
static bool has_name(const uint8_t *line, const uint8_t *end, const char *name, size_t n)
{
    return (size_t)(end - line) > n && strncasecmp((const char *)line, name, n) == 0;
}

static const uint8_t *skip_spaces(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

/* Content-Length and Connection are all that matters here; most lines are passed over by their first letter. */
static bool read_header(const uint8_t *line, const uint8_t *end, answer *a, bool *has_length)
{
    if ((*line | 0x20) != 'c')
        return true;
    if (has_name(line, end, "content-length:", 15)) {
        const uint8_t *p = skip_spaces(line + 15, end);
        size_t length = 0;
        for (; p < end && *p >= '0' && *p <= '9' && length <= BODY_MAX; p++)
            length = length * 10 + (size_t)(*p - '0');
        a->body_n = length;
        *has_length = true;
        return length <= BODY_MAX;
    }
    if (has_name(line, end, "connection:", 11)) {
        const uint8_t *p = skip_spaces(line + 11, end);
        if (end - p >= 5 && strncasecmp((const char *)p, "close", 5) == 0)
            a->closes = true;
    }
    return true;
}

answer_state answer_read(const uint8_t *p, size_t n, answer *a)
{
    static const char version[] = "HTTP/1.";
    bool has_length = false;
    if (n < 13)
        return ANSWER_MORE;
    if (memcmp(p, version, sizeof(version) - 1) != 0 || p[8] != ' ')
        return ANSWER_BAD;
    *a = (answer){.closes = p[7] == '0'};
    for (size_t i = 9; i < 12; i++)
        a->status = a->status * 10 + (unsigned)(p[i] - '0');
    for (size_t at = 0;;) {
        const uint8_t *line = p + at, *end = memchr(line, '\n', n - at);
        if (!end)
            return n > HEAD_MAX ? ANSWER_BAD : ANSWER_MORE;
        at = (size_t)(end - p) + 1;
        if (end - line <= 1) { /* the empty line */
            a->body = p + at;
            a->total = at + a->body_n;
            return !has_length ? ANSWER_BAD : a->total <= n ? ANSWER_WHOLE : ANSWER_MORE;
        }
        if (!read_header(line, end, a, &has_length))
            return ANSWER_BAD;
    }
}

/* ---- OCSP ---- */
typedef struct span {
    const uint8_t *p;
    size_t n;
} span;

/* Takes one DER element off `in`: its tag and content. False when there is no whole one. */
static bool take(span *in, uint8_t *tag, span *content)
{
    size_t head = 2, length;
    if (in->n < 2)
        return false;
    *tag = in->p[0];
    length = in->p[1];
    if (length >= 0x80) {
        size_t octets = length & 0x7f;
        if (octets == 0 || octets > 3 || in->n < 2 + octets)
            return false;
        head += octets;
        length = 0;
        for (size_t i = 2; i < head; i++)
            length = length << 8 | in->p[i];
    }
    if (in->n - head < length)
        return false;
    *content = (span){in->p + head, length};
    in->p += head + length;
    in->n -= head + length;
    return true;
}

static bool take_tag(span *in, uint8_t wanted, span *content)
{
    uint8_t tag;
    return take(in, &tag, content) && tag == wanted;
}

bool answer_is_ocsp(const uint8_t *body, size_t body_n, const uint8_t *expect, size_t expect_n)
{
    static const uint8_t basic_oid[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01};
    span in = {body, body_n}, response, status, bytes, inner, oid, octets, basic, data, skipped, responses, single;
    uint8_t tag;
    /* OCSPResponse ::= SEQUENCE { ENUMERATED successful, [0] { SEQUENCE { OID, OCTET STRING } } } */
    if (!take_tag(&in, 0x30, &response) || in.n != 0 || !take_tag(&response, 0x0a, &status) || status.n != 1 ||
        status.p[0] != 0 || !take_tag(&response, 0xa0, &bytes) || !take_tag(&bytes, 0x30, &inner) ||
        !take_tag(&inner, 0x06, &oid) || oid.n != sizeof(basic_oid) || memcmp(oid.p, basic_oid, oid.n) != 0 ||
        !take_tag(&inner, 0x04, &octets))
        return false;
    /* BasicOCSPResponse ::= SEQUENCE { ResponseData ::= SEQUENCE { [0] version?, responderID, producedAt, responses …
     */
    if (!take_tag(&octets, 0x30, &basic) || !take_tag(&basic, 0x30, &data) || !take(&data, &tag, &skipped) ||
        (tag == 0xa0 && !take(&data, &tag, &skipped)) || !take_tag(&data, 0x18, &skipped) ||
        !take_tag(&data, 0x30, &responses) || !take_tag(&responses, 0x30, &single))
        return false;
    return single.n > expect_n && memcmp(single.p, expect, expect_n) == 0;
}
