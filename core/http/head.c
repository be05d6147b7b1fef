/* What a request's head means: framing, persistence, target. RFC 9112 §3, §6, §9.3; RFC 9110 §10.1.1. */
#include "http/parse.h"

enum { LENGTH_DIGITS_MAX = 18 }; /* fit 64 bits; any more is too large for every limit */

static unsigned method_of(const http_in *in)
{
    switch (in->ll.method) {
    case HTTP_GET:
        return RL_HTTP_GET;
    case HTTP_HEAD:
        return RL_HTTP_HEAD;
    case HTTP_POST:
        return RL_HTTP_POST;
    case HTTP_PUT:
        return RL_HTTP_PUT;
    case HTTP_PATCH:
        return RL_HTTP_PATCH;
    case HTTP_DELETE:
        return RL_HTTP_DELETE;
    default:
        return 0;
    }
}

/* RFC 9110 §8.6: 1*DIGIT. */
static bool read_length(rl_span v, uint64_t *out)
{
    *out = 0;
    if (v.n == 0)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        *out = i < LENGTH_DIGITS_MAX ? *out * 10 + (uint64_t)(v.p[i] - '0') : UINT64_MAX;
    }
    return true;
}

/* RFC 9112 §6.1: chunked and nothing else; another coding in front of it is 501, no chunked at the end leaves
 * the length unknown: 400 (§6.3). */
static int coding_status(rl_span v)
{
    const rl_span chunked = RL_SPAN_LIT("chunked");
    if (rl_span_ieq(v, chunked))
        return 0;
    if (v.n > chunked.n && rl_span_ieq(rl_span_of(v.p + v.n - chunked.n, chunked.n), chunked))
        return 501;
    return 400;
}

typedef struct framing_fields {
    unsigned hosts, lengths, codings;
    rl_span length, coding, expect;
} framing_fields;

/* One pass over the fields; the length of the name tells almost all apart. */
static void find_fields(const rl_http_request *req, framing_fields *f)
{
    *f = (framing_fields){0};
    for (size_t i = 0; i < req->headers_n; i++) {
        rl_span name = req->headers[i].name, value = req->headers[i].value;
        switch (name.n) {
        case 4:
            f->hosts += rl_span_ieq(name, RL_SPAN_LIT("host"));
            break;
        case 6:
            if (rl_span_ieq(name, RL_SPAN_LIT("expect")))
                f->expect = value;
            break;
        case 14:
            if (rl_span_ieq(name, RL_SPAN_LIT("content-length"))) {
                f->lengths++;
                f->length = value;
            }
            break;
        case 17:
            if (rl_span_ieq(name, RL_SPAN_LIT("transfer-encoding"))) {
                f->codings++;
                f->coding = value;
            }
            break;
        default:
            break;
        }
    }
}

static int read_framing(http_in *in, const framing_fields *f, const char **why)
{
    if (f->codings > 0) {
        *why = "malformed message framing";
        /* RFC 9112 §6.1: with a length it is smuggling, with HTTP/1.0 it is faulty. */
        if (f->codings > 1 || f->lengths > 0 || in->ll.http_minor == 0)
            return 400;
        *why = "transfer coding not supported";
        in->framing = HTTP_BODY_CHUNKED;
        return coding_status(f->coding);
    }
    if (f->lengths > 0) {
        *why = "malformed Content-Length";
        if (f->lengths > 1 || !read_length(f->length, &in->length))
            return 400;
        in->framing = in->length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    }
    return 0;
}

/* RFC 9112 §3.2: origin-form, absolute-form (its authority is dropped as Host is: every name is ours), and the
 * asterisk. False for anything else. */
static bool split_target(rl_http_request *req)
{
    rl_span t = req->target;
    size_t scheme = t.n >= 7 && rl_span_ieq(rl_span_of(t.p, 7), RL_SPAN_LIT("http://"))    ? 7
                    : t.n >= 8 && rl_span_ieq(rl_span_of(t.p, 8), RL_SPAN_LIT("https://")) ? 8
                                                                                           : 0;
    if (scheme > 0) {
        size_t n = scheme;
        while (n < t.n && t.p[n] != '/' && t.p[n] != '?')
            n++;
        if (n == scheme) /* RFC 9110 §4.2.1: an empty host is invalid */
            return false;
        t = rl_span_of(t.p + n, t.n - n);
    }
    const uint8_t *mark = t.n > 0 ? memchr(t.p, '?', t.n) : NULL;
    req->path = mark == NULL ? t : rl_span_of(t.p, (size_t)(mark - t.p));
    req->query = mark == NULL ? rl_span_of(NULL, 0) : rl_span_of(mark + 1, t.n - req->path.n - 1);
    if (req->path.n == 0 && scheme > 0)
        req->path = RL_SPAN_LIT("/");
    return req->path.n > 0 && (req->path.p[0] == '/' || (t.n == 1 && t.p[0] == '*' && scheme == 0));
}

int http_head_read(http_in *in, rl_http_request *req, http_head *head, const char **why)
{
    framing_fields f;
    http_in_spans(in, req);
    req->method = method_of(in);
    req->http_minor = in->ll.http_minor;
    req->rest = req->body = rl_span_of(NULL, 0);
    *head = (http_head){0};
    if (in->ll.http_major != 1 || in->ll.http_minor > 1) {
        *why = "HTTP version not supported";
        return 505;
    }
    find_fields(req, &f);
    int status = read_framing(in, &f, why);
    if (status != 0)
        return status;
    if (f.hosts > 1 || (f.hosts == 0 && req->http_minor == 1)) {
        *why = f.hosts == 0 ? "no Host header" : "more than one Host header";
        return 400;
    }
    *why = "malformed request target";
    if (!split_target(req))
        return 400;
    uint16_t flags = in->ll.flags;
    head->keep_alive = !(flags & F_CONNECTION_CLOSE) && (req->http_minor == 1 || (flags & F_CONNECTION_KEEP_ALIVE));
    if (f.expect.n > 0 && req->http_minor == 1) { /* §10.1.1: not known to HTTP/1.0, ignored there */
        *why = "expectation not supported";
        if (!rl_span_ieq(f.expect, RL_SPAN_LIT("100-continue")))
            return 417;
        head->expects_continue = true;
    }
    return 0;
}
