/* The request parser: see parse.h. llhttp does the grammar of the head; what it lets pass in its loose build
 * and RFC 9112 does not allow (line ends, folding, names, targets) is refused in head_is_strict. A head that differs
 * from the one before in its path alone is known and not read again (head_is_known). */
#include "http/parse.h"

#include <stdlib.h>

static http_in_event refuse(http_in *in, int status, const char *why)
{
    in->status = status;
    in->why = why;
    return HTTP_IN_BAD;
}

static uint8_t *base(const http_in *in)
{
    return in->buf + in->start;
}

/* ---- llhttp's callbacks: each piece continues where the last one ended, so only lengths grow ---- */

static uint32_t offset_of(const http_in *in, const char *at)
{
    return (uint32_t)((const uint8_t *)at - base(in));
}

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
    http_in *in = ll->data;
    if (in->target_n == 0)
        in->target = offset_of(in, at);
    in->target_n += (uint32_t)n;
    return 0;
}

static int on_field(llhttp_t *ll, const char *at, size_t n)
{
    http_in *in = ll->data;
    if (!in->field_open) {
        if (in->fields_n == RL_HTTP_HEADERS_MAX) {
            in->status = 431;
            in->why = "too many header fields";
            return HPE_USER;
        }
        in->fields[in->fields_n++] = (http_field){.name = offset_of(in, at)};
        in->field_open = true;
    }
    in->fields[in->fields_n - 1].name_n += (uint32_t)n;
    return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t n)
{
    http_in *in = ll->data;
    if (in->fields_n == 0)
        return HPE_USER;
    http_field *f = &in->fields[in->fields_n - 1];
    if (f->value_n == 0)
        f->value = offset_of(in, at);
    /* RFC 9112 §5.2: a folded value comes in pieces with a gap; a server may refuse it. */
    if (f->value + f->value_n != offset_of(in, at)) {
        in->status = 400;
        in->why = "folded header field";
        return HPE_USER;
    }
    f->value_n += (uint32_t)n;
    return 0;
}

static int on_value_complete(llhttp_t *ll)
{
    ((http_in *)ll->data)->field_open = false;
    return 0;
}

static int on_headers_complete(llhttp_t *ll)
{
    (void)ll;
    return HPE_PAUSED; /* the body is not llhttp's business */
}

static const llhttp_settings_t callbacks = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
};

/* ---- the buffer ---- */

static void request_reset(http_in *in)
{
    in->seen = in->head_n = in->body_n = 0;
    in->target = in->target_n = 0;
    in->fields_n = 0;
    in->field_open = in->moved = false;
    in->framing = HTTP_BODY_NONE;
    in->length = 0;
    in->chunked = (http_chunked){0};
    in->body_limit = 0;
    in->status = 0;
    in->why = NULL;
}

rl_err http_in_init(http_in *in, size_t header_limit)
{
    *in = (http_in){.header_limit = header_limit};
    in->buf = malloc(HTTP_IN_FIRST);
    if (in->buf == NULL)
        return RL_ENOMEM;
    in->cap = HTTP_IN_FIRST;
    return RL_OK;
}

void http_in_free(http_in *in)
{
    free(in->buf);
    *in = (http_in){0};
}

/* A large request's buffer is not kept: ten thousand idle connections must stay cheap. */
static void shrink(http_in *in)
{
    if (in->cap <= HTTP_IN_KEEP || in->fill > HTTP_IN_FIRST)
        return;
    uint8_t *small = realloc(in->buf, HTTP_IN_FIRST);
    if (small == NULL)
        return;
    in->buf = small;
    in->cap = HTTP_IN_FIRST;
}

void http_in_clear(http_in *in)
{
    in->start = in->fill = 0;
    in->keep = false;
    request_reset(in);
    shrink(in);
}

static void compact(http_in *in)
{
    if (in->start == 0)
        return;
    memmove(in->buf, base(in), http_in_pending(in));
    in->fill -= in->start;
    in->start = 0;
    in->moved = true;
}

/* The most that the current request can need; its limits were checked before they get here. */
static size_t room_wanted(const http_in *in)
{
    if (in->head_n == 0)
        return in->header_limit + 1;
    if (in->framing == HTTP_BODY_LENGTH)
        return in->head_n + (size_t)in->length;
    return in->head_n + in->body_limit + HTTP_IN_FIRST;
}

static void grow(http_in *in)
{
    size_t want = room_wanted(in), cap = in->cap * 2;
    if (cap > want)
        cap = want;
    if (cap <= in->cap)
        return;
    uint8_t *larger = realloc(in->buf, cap);
    if (larger == NULL)
        return;
    in->buf = larger;
    in->cap = cap;
    in->moved = true;
}

size_t http_in_room(http_in *in, uint8_t **at)
{
    if (!in->keep && in->cap - in->fill < HTTP_IN_FIRST / 4) {
        compact(in);
        if (in->fill == in->cap)
            grow(in);
    }
    *at = in->buf + in->fill;
    return in->cap - in->fill;
}

void http_in_consume(http_in *in)
{
    in->start += in->seen;
    request_reset(in);
    if (in->keep)
        return;
    if (in->start == in->fill)
        in->start = in->fill = 0;
    if (in->cap > HTTP_IN_KEEP) {
        compact(in);
        shrink(in);
    }
}

void http_in_rewind(http_in *in, size_t start)
{
    in->start = start;
    request_reset(in);
}

void http_in_release(http_in *in)
{
    in->keep = false;
    if (in->start == in->fill)
        in->start = in->fill = 0;
}

/* ---- the head ---- */

/* RFC 9110 §5.6.2. A table: every octet of every name passes here. */
static const bool tchar[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};
static bool is_tchar(uint8_t c)
{
    return tchar[c];
}

/* The loops over whole heads and targets look at every octet and leave none early, so that the compiler can take many
 * at a time: they are a good part of what an OCSP request by GET costs here. */

/* RFC 9112 §2.2, §5.1, §5.2: every line ends with CRLF and has no other CR, no line starts with white space.
 * A proxy in front of us that reads these differently would see other requests than we do. */
static bool lines_are_strict(rl_span head)
{
    const uint8_t *p = head.p;
    uint8_t bad = p[0] == '\n' || p[0] == ' ' || p[0] == '\t' || p[head.n - 1] != '\n';
    for (size_t i = 1; i < head.n; i++) {
        bad |= (uint8_t)((p[i] == '\n') ^ (p[i - 1] == '\r'));
        bad |= (uint8_t)((p[i - 1] == '\n') & ((p[i] == ' ') | (p[i] == '\t')));
    }
    return bad == 0;
}

/* RFC 3986 §2: a URI is visible ASCII; RFC 9112 §3.2: without fragment. */
static bool target_is_strict(const uint8_t *p, size_t n)
{
    uint8_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint8_t)((p[i] <= ' ') | (p[i] >= 0x7f) | (p[i] == '#'));
    return bad == 0;
}

static bool name_is_strict(const uint8_t *p, size_t n)
{
    uint8_t good = n > 0;
    for (size_t i = 0; i < n; i++)
        good &= is_tchar(p[i]);
    return good;
}

static const char *head_is_strict(const http_in *in)
{
    if (!lines_are_strict(rl_span_of(base(in), in->head_n)))
        return "malformed line";
    /* RFC 9112 §3: single spaces. */
    const uint8_t *target = base(in) + in->target;
    if (in->target < 2 || target[-1] != ' ' || target[-2] == ' ' || target[in->target_n + 1] != 'H')
        return "malformed request line";
    if (!target_is_strict(target, in->target_n))
        return "malformed request target";
    for (size_t i = 0; i < in->fields_n; i++)
        if (!name_is_strict(base(in) + in->fields[i].name, in->fields[i].name_n))
            return "malformed header field name";
    return NULL;
}

/* RFC 9110 §15.6.2: a method that is a token but that nobody knows is 501, anything else is noise. */
static http_in_event refuse_method(http_in *in)
{
    enum { METHOD_MAX = 32 };
    rl_span line = rl_span_of(base(in), http_in_pending(in));
    size_t n = 0;
    while (n < line.n && is_tchar(line.p[n]))
        n++;
    if (n == line.n && n < METHOD_MAX)
        return HTTP_IN_MORE; /* the token is not over; llhttp will say the same again */
    if (n > 0 && n < line.n && line.p[n] == ' ')
        return refuse(in, 501, "method not implemented");
    return refuse(in, 400, "malformed request line");
}

/* What follows the target. */
static rl_span version_text(const http_in *in)
{
    size_t at = in->target + in->target_n + 1;
    return rl_span_of(base(in) + at, http_in_pending(in) > at ? http_in_pending(in) - at : 0);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9112 §2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT, well-formed but not ours is 505. */
static http_in_event refuse_version(http_in *in)
{
    rl_span v = version_text(in);
    bool formed = v.n >= 8 && memcmp(v.p, "HTTP/", 5) == 0 && is_digit(v.p[5]) && v.p[6] == '.' && is_digit(v.p[7]);
    bool ours = formed && v.p[5] == '1' && v.p[7] <= '1'; /* then it is what follows that is wrong */
    if (formed && !ours)
        return refuse(in, 505, "HTTP version not supported");
    return refuse(in, 400, "malformed HTTP version");
}

/* llhttp's word for "no HTTP/ behind the target", and for methods of RTSP and ICE, which it knows, with HTTP's version.
 */
static http_in_event refuse_constant(http_in *in)
{
    rl_span v = version_text(in);
    if (v.n >= 5 && memcmp(v.p, "HTTP/", 5) == 0)
        return refuse_method(in);
    return refuse(in, 400, "malformed request line");
}

static http_in_event head_failed(http_in *in, llhttp_errno_t err)
{
    switch (err) {
    case HPE_USER:
        return HTTP_IN_BAD; /* the callback said why */
    case HPE_INVALID_METHOD:
        return refuse_method(in);
    case HPE_INVALID_VERSION:
        return refuse_version(in);
    case HPE_PAUSED_H2_UPGRADE:
        return refuse(in, 505, "HTTP version not supported");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
        return refuse(in, 400, "malformed message framing");
    case HPE_INVALID_URL:
        return refuse(in, 400, "malformed request target");
    case HPE_INVALID_CONSTANT:
        return refuse_constant(in);
    default:
        return refuse(in, 400, "malformed request");
    }
}

static http_in_event head_too_large(http_in *in)
{
    bool in_target = memchr(base(in), '\n', in->seen) == NULL;
    return in_target ? refuse(in, 414, "request target too long") : refuse(in, 431, "request header too large");
}

/* Of a target in another form a path in its place might not pass: CONNECT (RFC 9110 §9.3.6). */
static void head_remember(http_in *in)
{
    http_known *k = &in->known;
    const uint8_t *rest = base(in) + in->target + in->target_n;
    k->method_n = in->target;
    k->target_n = in->target_n;
    k->fields_n = in->fields_n;
    k->rest_n = in->head_n - in->target - in->target_n;
    if (base(in)[in->target] != '/' || k->method_n + k->rest_n > HTTP_KNOWN_MAX) {
        k->rest_n = 0;
        return;
    }
    memcpy(k->octets, base(in), k->method_n);
    memcpy(k->octets + k->method_n, rest, k->rest_n);
}

/* Never leaves early: a field may be another client's secret, since connections share memory. */
static bool same_octets(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint8_t differ = 0;
    for (size_t i = 0; i < n; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

/* True when the whole head is there and is the known one, with a path that llhttp and head_is_strict would pass. */
static bool head_is_known(http_in *in)
{
    http_known *k = &in->known;
    const uint8_t *target = base(in) + k->method_n;
    size_t left = http_in_pending(in), known_n = k->method_n + k->rest_n;
    if (k->rest_n == 0 || left <= known_n || *target != '/' || !same_octets(base(in), k->octets, k->method_n))
        return false;
    const uint8_t *end = memchr(target, ' ', left - known_n + 1);
    if (end == NULL || (size_t)(end - target) + known_n > in->header_limit ||
        !same_octets(end, k->octets + k->method_n, k->rest_n) || !target_is_strict(target, (size_t)(end - target)))
        return false;
    in->target = (uint32_t)k->method_n;
    in->target_n = (uint32_t)(end - target);
    in->head_n = in->seen = known_n + in->target_n;
    in->fields_n = k->fields_n;
    uint32_t further = in->target_n - k->target_n; /* modulo 2^32, as the sums are */
    k->target_n = in->target_n;
    for (size_t i = 0; i < in->fields_n; i++) {
        in->fields[i].name += further;
        in->fields[i].value += in->fields[i].value_n > 0 ? further : 0;
    }
    return true;
}

static http_in_event head_next(http_in *in)
{
    if (in->seen == 0) {
        /* RFC 9112 §2.2: empty lines in front of a request are skipped (old clients send one behind a body). */
        while (in->start < in->fill && (*base(in) == '\r' || *base(in) == '\n'))
            in->start++;
        if (in->start == in->fill) {
            if (!in->keep)
                in->start = in->fill = 0;
            return HTTP_IN_MORE;
        }
        if (head_is_known(in))
            return HTTP_IN_HEAD;
        in->known.rest_n = 0;
        llhttp_init(&in->ll, HTTP_REQUEST, &callbacks);
        in->ll.data = in;
    }
    size_t fresh = http_in_pending(in) - in->seen, left = in->header_limit - in->seen;
    if (fresh > left)
        fresh = left;
    const char *at = (const char *)base(in) + in->seen;
    llhttp_errno_t err = llhttp_execute(&in->ll, at, fresh);
    if (err == HPE_OK) {
        in->seen += fresh;
        return in->seen >= in->header_limit ? head_too_large(in) : HTTP_IN_MORE;
    }
    if (err != HPE_PAUSED)
        return head_failed(in, err);
    in->head_n = in->seen = offset_of(in, llhttp_get_error_pos(&in->ll));
    const char *why = head_is_strict(in);
    if (why != NULL)
        return refuse(in, 400, why);
    head_remember(in);
    return HTTP_IN_HEAD;
}

/* ---- the body ---- */

static http_in_event body_chunked(http_in *in)
{
    uint8_t *raw = base(in) + in->seen;
    int status = 0;
    in->seen += http_chunked_read(&in->chunked, rl_span_of(raw, http_in_pending(in) - in->seen), base(in) + in->head_n,
                                  &in->body_n, in->body_limit, &status);
    if (status != 0)
        return refuse(in, status, status == 413 ? "request body too large" : "malformed chunked body");
    if (in->chunked.state == CHUNK_DONE)
        return HTTP_IN_DONE;
    /* All was read: the gap between the data and the cursor is free again. */
    in->seen = in->head_n + in->body_n;
    in->fill = in->start + in->seen;
    return HTTP_IN_MORE;
}

http_in_event http_in_next(http_in *in)
{
    if (in->status != 0)
        return HTTP_IN_BAD;
    if (in->head_n == 0)
        return in->start == in->fill ? HTTP_IN_MORE : head_next(in);
    if (in->framing == HTTP_BODY_CHUNKED)
        return body_chunked(in);
    if (in->framing == HTTP_BODY_LENGTH) {
        if (http_in_pending(in) - in->head_n < in->length)
            return HTTP_IN_MORE;
        in->body_n = (size_t)in->length;
        in->seen = in->head_n + in->body_n;
    }
    return HTTP_IN_DONE;
}

void http_in_spans(http_in *in, rl_http_request *req)
{
    const uint8_t *b = base(in);
    req->target = rl_span_of(b + in->target, in->target_n);
    req->headers_n = in->fields_n;
    for (size_t i = 0; i < in->fields_n; i++) {
        const http_field *f = &in->fields[i];
        size_t n = f->value_n;
        while (n > 0 && (b[f->value + n - 1] == ' ' || b[f->value + n - 1] == '\t')) /* RFC 9112 §5.1: OWS */
            n--;
        req->headers[i].name = rl_span_of(b + f->name, f->name_n);
        req->headers[i].value = rl_span_of(b + f->value, n);
    }
    in->moved = false;
}

rl_span http_in_body(const http_in *in)
{
    return rl_span_of(base(in) + in->head_n, in->body_n);
}
