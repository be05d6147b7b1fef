/* Answers: built by the handlers through rl_http_reply…, gathered in the worker's batch, written.
 *
 * A handler that answers before it returns adds to the batch of the read its request came with; one write then
 * takes all of them. A later answer goes to the connection's pending output, and the worker goes on with the
 * connection when the loop has seen its other events: until then the request and its arena stay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"

enum { HEAD_MAX = 256, ALLOW_HEADERS_MAX = 256, WHY_MAX = 128 };

/* RFC 9110 §15 and RFC 6585. */
static const char *reason_phrase(int status)
{
    switch (status) {
    case 100:
        return "Continue";
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

typedef struct answer {
    int status;
    rl_span lines;                /* header lines, copied */
    rl_span rest;                 /* the body; with a release, header lines and the empty line in front of it */
    rl_span tail;                 /* the end of the body, behind `rest` */
    size_t body_n;                /* last octets of both */
    void (*release)(void *owner); /* both may be used in place until then */
    void *owner;
    bool http_1_0; /* asked in */
} answer;

/* ---- the head ---- */

/* The Date line changes once a second; Content-Length follows it in nearly every answer. */
static void refresh_date(http_worker *w)
{
    char text[RL_TIME_TEXT];
    int64_t wall = rl_wall_ms();
    rl_time_http(wall / 1000, text);
    w->date_n = (size_t)snprintf(w->date, sizeof w->date, "Date: %s\r\nContent-Length: ", text);
    w->date_until_ns = w->event_ns + (uint64_t)(1000 - wall % 1000) * 1000000u;
}

static char *put(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}
#define PUT(to, literal) put(to, "" literal, sizeof(literal) - 1)

static char *put_number(char *to, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    return put(to, digits + at, sizeof digits - at);
}

static char *put_status(char *to, int status)
{
    if (status == 200)
        return PUT(to, "HTTP/1.1 200 OK\r\n");
    const char *reason = reason_phrase(status);
    to = put_number(PUT(to, "HTTP/1.1 "), (uint64_t)status);
    to = put(PUT(to, " "), reason, strlen(reason));
    return PUT(to, "\r\n");
}

/* RFC 9110 §8.6: none of these has a Content-Length or content. */
static bool has_content(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* At most HEAD_MAX octets; the handler's lines and the empty line follow. */
static size_t put_head(rl_http_conn *c, const answer *a, char *to)
{
    http_worker *w = c->worker;
    char *at = put_status(to, a->status);
    if (w->event_ns >= w->date_until_ns)
        refresh_date(w);
    if (has_content(a->status))
        at = PUT(put_number(put(at, w->date, w->date_n), a->body_n), "\r\n");
    else
        at = put(at, w->date, w->date_n - (sizeof "Content-Length: " - 1));
    if (c->last)
        at = PUT(at, "Connection: close\r\n");
    else if (a->http_1_0)
        at = PUT(at, "Connection: keep-alive\r\n");
    return (size_t)(at - to);
}

/* ---- pending output ---- */

static void pending_pop(rl_http_conn *c)
{
    http_pending *p = c->pending;
    c->pending = p->next;
    if (c->pending == NULL)
        c->pending_end = &c->pending;
    if (p->release != NULL)
        p->release(p->owner);
    free(p);
}

void http_pending_drop(rl_http_conn *c)
{
    while (c->pending != NULL)
        pending_pop(c);
}

/* `copied` octets of its own are left to the caller to fill. */
static http_pending *pending_add(rl_http_conn *c, size_t copied)
{
    http_pending *p = malloc(sizeof *p + copied);
    if (p == NULL)
        return NULL;
    p->next = NULL;
    p->left.p = p->data;
    p->left.n = copied;
    p->release = NULL;
    p->sealed = false;
    *c->pending_end = p;
    c->pending_end = &p->next;
    return p;
}

bool http_pending_sealed(rl_http_conn *c, rl_span ciphertext)
{
    http_pending *p = malloc(sizeof *p + ciphertext.n), **at = &c->pending;
    if (p == NULL)
        return false;
    while (*at != NULL && (*at)->sealed)
        at = &(*at)->next;
    memcpy(p->data, ciphertext.p, ciphertext.n);
    p->left = rl_span_of(p->data, ciphertext.n);
    p->release = NULL;
    p->sealed = true;
    p->next = *at;
    *at = p;
    if (p->next == NULL)
        c->pending_end = &p->next;
    return true;
}

static void on_written(uv_write_t *write, int status)
{
    rl_http_conn *c = write->data;
    c->writing = false;
    if (c->gone)
        return;
    if (status != 0) {
        http_conn_close(c);
        return;
    }
    http_pending *p = c->pending;
    size_t n = p->left.n < HTTP_PIECE ? p->left.n : HTTP_PIECE;
    p->left = rl_span_of(p->left.p + n, p->left.n - n);
    if (p->left.n == 0)
        pending_pop(c);
    c->worker->event_ns = rl_mono_ns();
    http_conn_run(c);
}

static bool broke(rl_http_conn *c)
{
    http_conn_close(c);
    return false;
}

/* Writes what goes at once, then lets libuv wait for the socket with the next piece. */
static bool pending_write(rl_http_conn *c)
{
    while (c->pending != NULL && !c->writing) {
        if (c->tls != NULL && !http_tls_seal_pending(c))
            return broke(c);
        http_pending *p = c->pending;
        size_t piece = p->left.n < HTTP_PIECE ? p->left.n : HTTP_PIECE;
        uv_buf_t buf = uv_buf_init((char *)p->left.p, (unsigned)piece);
        int n = piece > 0 ? uv_try_write((uv_stream_t *)&c->tcp, &buf, 1) : 0;
        if (n < 0 && n != UV_EAGAIN)
            return broke(c);
        if (n > 0)
            p->left = rl_span_of(p->left.p + n, p->left.n - (size_t)n);
        if (p->left.n == 0) {
            pending_pop(c);
        } else if (n < 0) {
            c->write.data = c;
            if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0)
                return broke(c);
            c->writing = true;
        }
    }
    return true;
}

/* ---- the batch ---- */

static void batch_bytes(http_batch *b, size_t n) /* n octets were put at b->data + b->n */
{
    const uint8_t *at = b->data + b->n;
    b->n += n;
    if (b->parts_n > 0 && b->parts[b->parts_n - 1].bytes.p + b->parts[b->parts_n - 1].bytes.n == at) {
        b->parts[b->parts_n - 1].bytes.n += n;
        return;
    }
    b->parts[b->parts_n].bytes = rl_span_of(at, n);
    b->parts[b->parts_n++].release = NULL;
}

/* The parts behind the first `written` octets become pending; false when there is no memory. */
static bool batch_to_pending(rl_http_conn *c, size_t written)
{
    http_batch *b = &c->worker->out;
    bool ok = true;
    for (size_t i = 0; i < b->parts_n; i++) {
        size_t skip = written < b->parts[i].bytes.n ? written : b->parts[i].bytes.n;
        rl_span rest = rl_span_of(b->parts[i].bytes.p + skip, b->parts[i].bytes.n - skip);
        bool shared = b->parts[i].release != NULL;
        written -= skip;
        http_pending *p = rest.n > 0 && ok ? pending_add(c, shared ? 0 : rest.n) : NULL;
        if (p == NULL) {
            ok = ok && rest.n == 0;
            if (shared)
                b->parts[i].release(b->parts[i].owner);
        } else if (shared) {
            p->left = rest;
            p->release = b->parts[i].release;
            p->owner = b->parts[i].owner;
        } else {
            memcpy(p->data, rest.p, rest.n);
        }
    }
    b->n = b->parts_n = 0;
    return ok;
}

/* Not by uv_try_write, since write(2) takes the longer way through the kernel. False when the connection broke. */
static bool batch_send(rl_http_conn *c, ssize_t *sent)
{
    const http_batch *b = &c->worker->out;
    if (c->tls != NULL) {
        size_t n;
        bool ok = http_tls_send(c, &n);
        *sent = (ssize_t)n;
        return ok;
    }
    if (b->parts_n == 1) {
        *sent = send(c->fd, b->parts[0].bytes.p, b->parts[0].bytes.n, MSG_NOSIGNAL);
    } else {
        struct iovec parts[HTTP_BATCH_PARTS];
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = b->parts_n};
        for (size_t i = 0; i < b->parts_n; i++)
            parts[i] = (struct iovec){(void *)b->parts[i].bytes.p, b->parts[i].bytes.n};
        *sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    }
    if (*sent >= 0)
        return true;
    *sent = 0;
    return errno == EAGAIN;
}

static bool batch_write(rl_http_conn *c)
{
    http_batch *b = &c->worker->out;
    if (b->parts_n == 0)
        return true;
    http_worker_count(c->worker); /* first: who has read its answer finds it in the figures */
    ssize_t n = 0;
    bool ok = c->gone || c->pending != NULL || batch_send(c, &n);
    ok = batch_to_pending(c, (size_t)n) && ok;
    return !c->gone && ok ? true : broke(c);
}

bool http_flush(rl_http_conn *c)
{
    return batch_write(c) && !c->gone && pending_write(c);
}

/* ---- replies ---- */

static void released(const answer *a)
{
    if (a->release != NULL)
        a->release(a->owner);
}

/* All that comes in front of `rest`. */
static size_t put_lines(rl_http_conn *c, const answer *a, uint8_t *to)
{
    size_t n = put_head(c, a, (char *)to);
    if (a->lines.n > 0)
        memcpy(to + n, a->lines.p, a->lines.n);
    n += a->lines.n;
    if (a->release != NULL)
        return n;
    memcpy(to + n, "\r\n", 2);
    return n + 2;
}

static size_t length(const answer *a)
{
    return a->rest.n + a->tail.n;
}

static bool goes_in_place(const answer *a)
{
    return a->release != NULL && a->tail.n == 0 && a->rest.n > HTTP_COPY_SHARED;
}

static void put_rest(const answer *a, uint8_t *to)
{
    if (a->rest.n > 0)
        memcpy(to, a->rest.p, a->rest.n);
    if (a->tail.n > 0)
        memcpy(to + a->rest.n, a->tail.p, a->tail.n);
}

/* Into the connection's pending output, of any size. */
static bool answer_later(rl_http_conn *c, const answer *a)
{
    bool in_place = goes_in_place(a);
    size_t copied = in_place ? 0 : length(a);
    http_pending *p = pending_add(c, HEAD_MAX + a->lines.n + 2 + copied);
    http_pending *q = p != NULL && in_place ? pending_add(c, 0) : NULL;
    if (p == NULL || (in_place && q == NULL)) {
        if (p != NULL)
            p->left.n = 0;
        released(a);
        return false;
    }
    p->left.n = put_lines(c, a, p->data);
    if (!in_place)
        put_rest(a, p->data + p->left.n);
    p->left.n += copied;
    if (in_place) {
        q->left = a->rest;
        q->release = a->release;
        q->owner = a->owner;
    } else {
        released(a);
    }
    return true;
}

/* Into the batch. */
static bool answer_now(rl_http_conn *c, const answer *a)
{
    http_batch *b = &c->worker->out;
    bool in_place = goes_in_place(a);
    size_t copied = in_place ? 0 : length(a);
    size_t need = HEAD_MAX + a->lines.n + 2 + copied;
    if (need > HTTP_BATCH_OCTETS - b->n || b->parts_n + 2 > HTTP_BATCH_PARTS) {
        if (!http_flush(c)) {
            released(a);
            return true; /* the connection broke: nobody waits for this */
        }
        if (need > HTTP_BATCH_OCTETS || c->pending != NULL)
            return answer_later(c, a);
    }
    size_t n = put_lines(c, a, b->data + b->n);
    if (!in_place)
        put_rest(a, b->data + b->n + n);
    batch_bytes(b, n + copied);
    if (!in_place) {
        released(a);
        return true;
    }
    b->parts[b->parts_n].bytes = a->rest;
    b->parts[b->parts_n].release = a->release;
    b->parts[b->parts_n++].owner = a->owner;
    return true;
}

static void note(rl_http_conn *c, const answer *a)
{
    http_worker *w = c->worker;
    const http_exchange *x = c->x;
    unsigned class = (unsigned)a->status / 100;
    if (class < 1 || class >= HTTP_STATUS_CLASSES)
        class = 5;
    if (c->in_handler || !c->busy) {
        w->tally[class]++;
        w->tally_n++;
    } else {
        rl_metric_add(w->server->answers[class], 1);
        rl_metric_observe_ns(w->server->duration, rl_mono_ns() - x->began_ns);
    }
    log_debug("http.request", "peer", (const char *)x->req.peer, "target", x->req.target, "status", a->status, "octets",
              a->body_n, "us", (rl_mono_ns() - x->began_ns) / 1000);
}

static void answer_request(rl_http_conn *c, answer *a)
{
    bool without_body = c->x->req.method == RL_HTTP_HEAD || !has_content(a->status);
    if (without_body) {
        a->rest.n -= a->body_n - a->tail.n;
        a->tail.n = 0;
    }
    c->last = c->last || !c->x->head.keep_alive || c->worker->stopping;
    c->linger = c->linger || c->worker->stopping;
    note(c, a);
    bool ok = c->in_handler || !c->busy ? answer_now(c, a) : answer_later(c, a);
    if (!ok)
        http_conn_close(c);
}

static answer of_shared(int status, const rl_http_shared *s)
{
    return (answer){.status = status,
                    .lines = rl_span_of(s->lines, s->lines_n),
                    .rest = s->message,
                    .tail = s->tail,
                    .body_n = s->body_n,
                    .release = s->release,
                    .owner = s->owner};
}

void http_reply_found(rl_http_conn *c, const rl_http_shared *found)
{
    const answer a = of_shared(200, found);
    c->worker->tally[2]++;
    c->worker->tally_n++;
    if (!answer_now(c, &a))
        http_conn_close(c);
}

static void reply(rl_http_request *req, answer *a)
{
    rl_http_conn *c = req->conn;
    a->http_1_0 = req->http_minor == 0;
    if (c == NULL || !c->busy) {
        log_error("http.second_reply", "status", a->status);
        released(a);
        return;
    }
    if (c->gone) {
        released(a);
    } else {
        if (!c->in_handler) {
            c->worker->event_ns = rl_mono_ns();
            rl_log_set_txn(req->txn);
        }
        answer_request(c, a);
    }
    c->busy = false;
    if (!c->in_handler) {
        c->resuming = true;
        c->resume_next = c->worker->resume;
        c->worker->resume = c;
    }
}

void rl_http_reply(rl_http_request *req, int status, rl_span headers, rl_span body)
{
    reply(req, &(answer){.status = status, .lines = headers, .rest = body, .body_n = body.n});
}

void rl_http_reply_shared(rl_http_request *req, int status, const rl_http_shared *shared)
{
    answer a = of_shared(status, shared);
    reply(req, &a);
}

/* RFC 9111 §4.2.2 would let caches keep some errors. */
static size_t error_headers(char *out, size_t cap, const char *txn, const char *allow)
{
    int n = snprintf(out, cap,
                     "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nX-Request-Id: %s\r\n%s%s%s",
                     txn, allow != NULL ? "Allow: " : "", allow != NULL ? allow : "", allow != NULL ? "\r\n" : "");
    return (size_t)n;
}

void rl_http_error(rl_http_request *req, int status, const char *text)
{
    char headers[ALLOW_HEADERS_MAX];
    char *line = rl_arena_printf(req->arena, "%s\n", text);
    rl_http_reply(req, status, rl_span_of(headers, error_headers(headers, sizeof headers, req->txn, NULL)),
                  rl_span_str(line != NULL ? line : text));
}

void http_refuse(rl_http_conn *c, int status, const char *why, const char *allow, bool last)
{
    char headers[ALLOW_HEADERS_MAX], body[WHY_MAX];
    http_exchange *x = c->x;
    if (x->in.moved && x->in.head_n > 0)
        http_in_spans(&x->in, &x->req); /* a body moved the buffer under the target */
    x->head.keep_alive = !last;
    c->linger = c->linger || last;
    rl_log_set_txn(x->req.txn);
    log_client_warn("http.refused", "status", status, "reason", why, "peer", (const char *)x->req.peer, "target",
                    x->req.target);
    int n = snprintf(body, sizeof body, "%s\n", why);
    answer_request(c, &(answer){.status = status,
                                .lines = rl_span_of(headers, error_headers(headers, sizeof headers, x->req.txn, allow)),
                                .rest = rl_span_of(body, (size_t)n),
                                .body_n = (size_t)n,
                                .http_1_0 = x->req.http_minor == 0});
    rl_log_set_txn(NULL);
}

void http_continue(rl_http_conn *c)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    http_batch *b = &c->worker->out;
    if ((sizeof line > HTTP_BATCH_OCTETS - b->n || b->parts_n == HTTP_BATCH_PARTS) &&
        (!http_flush(c) || c->pending != NULL))
        return; /* the client waits for older answers anyway and may send its body without this one */
    memcpy(b->data + b->n, line, sizeof line - 1);
    batch_bytes(b, sizeof line - 1);
}
