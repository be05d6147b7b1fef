/* What EST has on the wire: base64 bodies (RFC 8951 §3.1) and the password of HTTP Basic. Pure. */
#include <stdlib.h>

#include "scep/est_priv.h"

enum { LINE = 64 };

/* In lines, as PEM has it: old clients read no longer ones, and base64(1) reads no carriage return. */
rl_err est_body_encode(rl_span in, bool one_line, rl_buf *out)
{
    const size_t line = one_line ? SIZE_MAX : LINE;
    size_t cap = in.n * 2 + 8;
    char *text = malloc(cap);
    rl_err err = text ? rl_base64_encode(in, false, text, cap) : RL_ENOMEM;
    for (size_t at = 0, n = err == RL_OK ? strlen(text) : 0; err == RL_OK && at < n;
         at += n - at < line ? n - at : line) {
        err = rl_buf_append(out, text + at, n - at < line ? n - at : line);
        if (err == RL_OK && !one_line)
            err = rl_buf_append(out, "\n", 1);
    }
    if (text)
        explicit_bzero(text, cap);
    free(text);
    return err;
}

static bool is_blank(uint8_t c)
{
    return c == '\r' || c == '\n' || c == ' ' || c == '\t';
}

/* What is between the lines of PEM around it; all when there are none. Without the ends of its lines, too: curl's
 * --data leaves them out. */
static rl_span inside_pem(rl_span body)
{
    const rl_span dashes = RL_SPAN_LIT("-----"), begin = RL_SPAN_LIT("CERTIFICATE REQUEST-----");
    rl_span rest = body, skip;
    const uint8_t *at = memmem(rest.p, rest.n, begin.p, begin.n);
    if (!at || rl_span_take(&rest, (size_t)(at - rest.p) + begin.n, &skip) != RL_OK)
        return body;
    at = memmem(rest.p, rest.n, dashes.p, dashes.n);
    return at ? rl_span_of(rest.p, (size_t)(at - rest.p)) : body;
}

rl_err est_body_decode(rl_span body, rl_arena *arena, rl_span *out, rl_error *e)
{
    uint8_t *clean = rl_arena_alloc(arena, body.n + 1);
    size_t n = 0;
    *out = body;
    if (!clean)
        return rl_fail(e, RL_ENOMEM, "est", "out of memory");
    if (body.n > 0 && body.p[0] == 0x30)
        return RL_OK;
    body = inside_pem(body); /* which may have text before it */
    for (size_t i = 0; i < body.n; i++)
        if (!is_blank(body.p[i]))
            clean[n++] = body.p[i];
    if (n == 0 || rl_base64_decode(rl_span_of(clean, n), false, clean, n, &n) != RL_OK)
        return rl_fail(e, RL_EBADMSG, "est", "the body is no certificate request (PKCS#10) in base64");
    *out = rl_span_of(clean, n);
    return RL_OK;
}

char *est_basic_password(rl_span authorization, rl_arena *arena)
{
    rl_span value = authorization, scheme;
    size_t n;
    if (rl_span_take(&value, 6, &scheme) != RL_OK || value.n == 0 || !rl_span_ieq(scheme, RL_SPAN_LIT("Basic ")))
        return NULL;
    char *text = rl_arena_zalloc(arena, value.n + 1);
    if (!text || rl_base64_decode(value, false, (uint8_t *)text, value.n, &n) != RL_OK || memchr(text, 0, n))
        return NULL;
    text[n] = 0;
    char *colon = strchr(text, ':');
    return colon ? colon + 1 : NULL;
}
