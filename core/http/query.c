/* Reading a request: header look-up, query parameters, percent-decoding (RFC 3986 §2.1). */
#include "http/server.h"

static const rl_span absent = {NULL, 0};

rl_span rl_http_header(const rl_http_request *req, const char *name)
{
    rl_span wanted = rl_span_str(name);
    for (size_t i = 0; i < req->headers_n; i++)
        if (rl_span_ieq(req->headers[i].name, wanted)) {
            rl_span v = req->headers[i].value;
            return v.p != NULL ? v : rl_span_of("", 0);
        }
    return absent;
}

rl_span rl_http_bearer(const rl_http_request *req)
{
    const rl_span scheme = RL_SPAN_LIT("Bearer ");
    rl_span value = rl_http_header(req, "Authorization");
    if (value.n < scheme.n || !rl_span_ieq((rl_span){value.p, scheme.n}, scheme))
        return absent;
    return rl_span_of(value.p + scheme.n, value.n - scheme.n);
}

rl_span rl_http_unescape(rl_http_request *req, rl_span s)
{
    size_t n = 0;
    uint8_t *out = rl_arena_alloc(req->arena, s.n + 1);
    if (out == NULL)
        return absent;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            out[n++] = s.p[i];
            continue;
        }
        size_t got;
        if (s.n - i < 3 || rl_unhex(rl_span_of(s.p + i + 1, 2), out + n, 1, &got) != RL_OK)
            return absent;
        n++;
        i += 2;
    }
    return rl_span_of(out, n);
}

rl_span rl_http_query(rl_http_request *req, const char *name)
{
    rl_span rest = req->query, wanted = rl_span_str(name);
    while (rest.n > 0) {
        const uint8_t *amp = memchr(rest.p, '&', rest.n);
        rl_span pair = rl_span_of(rest.p, amp == NULL ? rest.n : (size_t)(amp - rest.p));
        const uint8_t *eq = pair.n > 0 ? memchr(pair.p, '=', pair.n) : NULL;
        rl_span key = eq == NULL ? pair : rl_span_of(pair.p, (size_t)(eq - pair.p));
        if (rl_span_eq(key, wanted))
            return eq == NULL ? rl_span_of("", 0) : rl_http_unescape(req, rl_span_of(eq + 1, pair.n - key.n - 1));
        size_t step = pair.n + (amp != NULL);
        rest = rl_span_of(rest.p + step, rest.n - step);
    }
    return absent;
}
