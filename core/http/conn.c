/* A connection's life, on its worker's thread: accept, read, parse, hand to the handler, wait, end.
 *
 * Nothing is read while a request is with its handler or output is pending. So a request's spans never move
 * under its handler, later pipelined requests wait unparsed, and a client that does not read its answers is
 * not read either. Reading is stopped when something comes meanwhile, which is seldom. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"
#include "http/tls_priv.h"

static uint64_t deadline_in(const http_worker *w, uint64_t ms)
{
    return uv_now(&w->loop) + ms;
}

/* ---- reading ---- */

void http_conn_rest(rl_http_conn *c)
{
    if (c->x == NULL || c->busy || c->ahead_n > 0 || c->x->begun || http_in_pending(&c->x->in) > 0)
        return;
    http_exchange_give(c->worker, c->x);
    c->x = NULL;
}

/* The poller tells again and again of octets that nobody reads, and of a peer that is gone. */
void http_conn_read_off(rl_http_conn *c)
{
    if (!c->reading)
        return;
    c->reading = false;
    http_worker_reads(c->worker, -1);
    epoll_ctl(c->worker->poller, EPOLL_CTL_DEL, c->fd, NULL);
}

static void read_on(rl_http_conn *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->reading)
        return;
    if (epoll_ctl(c->worker->poller, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        http_conn_close(c);
        return;
    }
    c->reading = true;
    http_worker_reads(c->worker, 1);
}

/* Where the next octets go, and how many; 0 without memory. */
static size_t room(rl_http_conn *c, uint8_t **at)
{
    http_worker *w = c->worker;
    if (c->tls != NULL) {
        *at = w->ciphertext;
        return HTTP_TLS_READ;
    }
    *at = w->out.data; /* to be thrown away */
    if (c->phase == PHASE_LINGER)
        return sizeof w->out.data;
    if (c->x == NULL && (c->x = http_exchange_take(w)) == NULL)
        return 0;
    return http_in_room(&c->x->in, at);
}

void http_conn_read(rl_http_conn *c)
{
    http_worker *w = c->worker;
    uint8_t *at;
    if (c->gone)
        return;
    if (c->phase == PHASE_ANSWER) {
        http_conn_read_off(c);
        return;
    }
    size_t cap = room(c, &at);
    ssize_t n = cap > 0 ? recv(c->fd, at, cap, 0) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        http_conn_rest(c);
    } else if (n <= 0) {
        if (c->phase == PHASE_HANDSHAKE)
            http_tls_count_failure(w->server->tls, HTTP_TLS_CLOSED);
        http_conn_close(c);
    } else if (c->phase == PHASE_LINGER) {
        return;
    } else if (c->tls != NULL) {
        http_tls_on_octets(c, rl_span_of(at, (size_t)n));
    } else {
        http_in_added(&c->x->in, (size_t)n);
        c->unseen = true;
    }
}

void http_conn_see(rl_http_conn *c)
{
    if (c->unseen && !c->gone)
        http_conn_run(c);
    c->unseen = false;
}

/* ---- requests ---- */

static void request_begin(rl_http_conn *c)
{
    http_exchange *x = c->x;
    x->begun = true;
    x->began_ns = c->worker->event_ns;
    x->route = NULL;
    x->req.conn = c;
    x->req.method = 0;
    x->req.target = rl_span_of(NULL, 0);
    memcpy(x->req.peer, c->peer, sizeof c->peer);
    x->req.peer_key = c->peer_key;
    http_worker_next_txn(c->worker, x->req.txn);
}

static void request_end(rl_http_conn *c)
{
    c->x->begun = false;
    c->phase = PHASE_IDLE;
    if (c->x->arena.used > 0)
        rl_arena_reset(&c->x->arena);
    http_in_consume(&c->x->in);
}

/* Earlier requests of the connection that were looked up ahead are answered first. False when one of them has to be
 * read again, and all that follows it with it. */
static bool in_turn(rl_http_conn *c)
{
    if (c->ahead_n > 0)
        http_ahead_answer(c->worker);
    return !c->again && !c->gone;
}

static void find_client(rl_http_conn *c)
{
    rl_http_request *req = &c->x->req;
    rl_address client = http_forwarded_for(c->worker->server->proxies, req, c->address);
    rl_address_text(&client, req->peer);
    req->peer_key = http_peer_of(&client);
}

/* Also when the buffer has moved: spans, path and rest are read from it again. */
static int read_head(rl_http_conn *c, const char **why, const char **allow)
{
    http_exchange *x = c->x;
    http_match m;
    int status = http_head_read(&x->in, &x->req, &x->head, why);
    if (status != 0)
        return status;
    status = http_router_find(c->worker->server->router, x->req.method, x->req.path, &m);
    *why = status == 404 ? "not found" : "method not allowed";
    *allow = status == 405 ? m.allow : NULL;
    if (status == 0 && c->tls == NULL && m.route->methods & RL_HTTP_TLS_ONLY) {
        *why = "this path is served over TLS only: ask for it with https://";
        status = 403;
    }
    x->route = m.route;
    x->req.rest = m.rest;
    return status;
}

static void take_head(rl_http_conn *c)
{
    http_exchange *x = c->x;
    http_in *in = &x->in;
    const char *why = NULL, *allow = NULL;
    request_begin(c);
    int status = read_head(c, &why, &allow);
    if (c->proxied)
        find_client(c);
    if (status == 0) {
        in->body_limit = x->route->body_limit;
        if (in->framing == HTTP_BODY_LENGTH && in->length > in->body_limit) {
            status = 413;
            why = "request body too large";
        }
    }
    /* Before anything is said; and what is de-chunked, in place, must not lie behind what is to be read again. */
    if ((status != 0 || x->head.expects_continue || in->framing == HTTP_BODY_CHUNKED) && !in_turn(c))
        return;
    if (status != 0) {
        /* A body that nobody wants is not read: the connection ends instead. */
        bool last = status == 400 || status >= 500 || in->framing != HTTP_BODY_NONE || !x->head.keep_alive;
        http_refuse(c, status, why, allow, last);
        if (!c->last)
            request_end(c);
        return;
    }
    /* RFC 9110 §10.1.1: no 100 when the body is there already. */
    if (x->head.expects_continue && in->framing != HTTP_BODY_NONE && http_in_pending(in) == in->head_n)
        http_continue(c);
}

static void handle(rl_http_conn *c)
{
    http_exchange *x = c->x;
    const char *why, *allow;
    if (x->in.moved)
        (void)read_head(c, &why, &allow); /* the same answer as before: 0 */
    x->req.body = http_in_body(&x->in);
    if (http_ahead_look(c)) {
        request_end(c);
        if (c->worker->ahead_n == HTTP_AHEAD_MAX)
            http_ahead_answer(c->worker);
        return;
    }
    if (!in_turn(c))
        return;
    c->busy = c->in_handler = true;
    rl_log_set_txn(x->req.txn);
    x->route->handler(&x->req, x->route->ctx);
    rl_log_set_txn(NULL);
    c->in_handler = false;
    if (!c->busy && !c->last)
        request_end(c);
}

/* False when more octets are needed. */
static bool step(rl_http_conn *c)
{
    switch (http_in_next(&c->x->in)) {
    case HTTP_IN_MORE:
        return false;
    case HTTP_IN_HEAD:
        take_head(c);
        return true;
    case HTTP_IN_DONE:
        handle(c);
        return true;
    case HTTP_IN_BAD:
        if (!in_turn(c))
            return true;
        if (!c->x->begun)
            request_begin(c);
        http_refuse(c, c->x->in.status, c->x->in.why, NULL, true);
        return true;
    }
    return false;
}

/* ---- waiting ---- */

static void wait_for(rl_http_conn *c, http_phase phase, uint64_t ms)
{
    if (c->phase != phase || phase == PHASE_IDLE)
        c->deadline = deadline_in(c->worker, ms);
    c->phase = phase;
    read_on(c);
}

/* The output is written, and there is nothing after it. RFC 9112 §9.6: when the client may still send, closing
 * would reset the connection and could take the answer with it. */
static void end(rl_http_conn *c)
{
    bool unread = c->x != NULL && http_in_pending(&c->x->in) > c->x->in.seen;
    if (c->tls != NULL)
        http_tls_bye(c);
    if ((!c->linger && !unread) || shutdown(c->fd, SHUT_WR) != 0) {
        http_conn_close(c);
        return;
    }
    if (c->x != NULL)
        http_exchange_give(c->worker, c->x);
    c->x = NULL;
    wait_for(c, PHASE_LINGER, HTTP_LINGER_MS);
}

void http_conn_settle(rl_http_conn *c)
{
    const http_limits *l = &c->worker->server->limits;
    if (c->busy || c->pending != NULL) {
        c->phase = PHASE_ANSWER;
        c->deadline = c->pending != NULL ? deadline_in(c->worker, l->body_ms) : UINT64_MAX;
    } else if (c->last) {
        end(c);
    } else if (c->x != NULL && c->x->in.head_n > 0) {
        wait_for(c, PHASE_BODY, l->body_ms);
    } else if (c->x != NULL && http_in_pending(&c->x->in) > 0) {
        wait_for(c, PHASE_HEAD, l->header_ms);
    } else {
        http_conn_rest(c);
        if (c->worker->stopping)
            http_conn_close(c);
        else
            wait_for(c, PHASE_IDLE, l->idle_ms);
    }
}

static bool may_parse(const rl_http_conn *c)
{
    return c->x != NULL && !c->busy && c->pending == NULL && !c->last && !c->gone;
}

/* False when the connection broke. */
static bool run(rl_http_conn *c)
{
    http_worker *w = c->worker;
    bool more = true;
    if (!http_flush(c))
        return false;
    while (more && may_parse(c)) {
        more = step(c);
        if (more && may_parse(c))
            continue;
        if (c->ahead_n > 0 && w->ahead_n >= HTTP_AHEAD_ENOUGH)
            http_ahead_answer(w);
        more = more || c->again;
        if (!http_flush(c))
            return false;
        if (!more && c->tls != NULL) {
            more = http_tls_fill(c);
            if (c->gone)
                return false;
        }
    }
    return true;
}

void http_conn_run(rl_http_conn *c)
{
    http_worker *w = c->worker;
    rl_http_conn *outer = w->running;
    w->running = c;
    bool ok = run(c);
    w->running = outer;
    if (ok && c->ahead_n == 0)
        http_conn_settle(c);
}

void http_conn_resume(rl_http_conn *c)
{
    c->resuming = false;
    if (c->closed) {
        http_conn_free(c);
        return;
    }
    if (c->gone) /* its close is on the way */
        return;
    if (!c->last)
        request_end(c);
    http_conn_run(c);
}

static void on_closed(uv_handle_t *handle);

/* The socket is closed, and so has left the poller. */
static void set_gone(rl_http_conn *c)
{
    c->gone = true;
    if (c->reading)
        http_worker_reads(c->worker, -1);
    c->reading = false;
}

void http_conn_expire(rl_http_conn *c)
{
    bool begun = c->phase == PHASE_HEAD || c->phase == PHASE_BODY;
    if (!begun) {
        /* Answers that were not read would stay in the kernel's memory; a reset frees them. */
        if (c->phase == PHASE_HANDSHAKE)
            http_tls_expired(c);
        if (c->phase == PHASE_ANSWER && !c->gone && uv_tcp_close_reset(&c->tcp, on_closed) == 0)
            set_gone(c);
        else
            http_conn_close(c);
        return;
    }
    if (!c->x->begun)
        request_begin(c);
    c->worker->event_ns = rl_mono_ns();
    http_refuse(c, 408, c->phase == PHASE_HEAD ? "request header timed out" : "request body timed out", NULL, true);
    http_conn_run(c);
}

/* A request may have come that the loop has not read yet. */
static bool has_unread(const rl_http_conn *c)
{
    uint8_t octet;
    return recv(c->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* What is read from here on is answered with `Connection: close`. */
void http_conn_stop(rl_http_conn *c)
{
    if (c->phase == PHASE_HANDSHAKE || ((c->phase == PHASE_FRESH || c->phase == PHASE_IDLE) && !has_unread(c)))
        http_conn_close(c);
}

/* ---- beginning and end ---- */

static void link_conn(http_worker *w, rl_http_conn *c)
{
    c->next = w->conns;
    if (c->next != NULL)
        c->next->prev = c;
    w->conns = c;
}

static void unlink_conn(http_worker *w, rl_http_conn *c)
{
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        w->conns = c->next;
}

void http_conn_free(rl_http_conn *c)
{
    http_worker *w = c->worker;
    unlink_conn(w, c);
    http_pending_drop(c);
    http_tls_free(c);
    if (c->x != NULL)
        http_exchange_give(w, c->x);
    if (c->entry != HTTP_DROPPED) {
        http_peers_leave(w->server->peers, c->peer_key, c->entry);
        rl_metric_add(w->server->open, -1);
    }
    free(c);
}

static void on_closed(uv_handle_t *handle)
{
    rl_http_conn *c = (rl_http_conn *)handle;
    c->closed = true;
    http_pending_drop(c);
    if (!c->busy && !c->resuming)
        http_conn_free(c);
}

void http_conn_close(rl_http_conn *c)
{
    if (c->gone)
        return;
    if (c->tls != NULL)
        http_tls_bye(c);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    set_gone(c);
}

static bool read_peer(rl_http_conn *c)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    char text[RL_ADDRESS_TEXT];
    int n = sizeof a;
    if (uv_tcp_getpeername(&c->tcp, &a.any, &n) != 0 || uv_ip_name(&a.any, text, sizeof text) != 0 ||
        rl_address_parse(rl_span_str(text), &c->address) != RL_OK)
        return false;
    rl_address_text(&c->address, c->peer);
    c->peer_key = http_peer_of(&c->address);
    c->proxied = http_proxies_have(c->worker->server->proxies, &c->address);
    return true;
}

void http_conn_refuse(rl_http_conn *c, int status, const char *why)
{
    if (c->x == NULL)
        c->x = http_exchange_take(c->worker);
    if (c->x == NULL) {
        http_conn_close(c);
        return;
    }
    c->worker->event_ns = rl_mono_ns();
    request_begin(c);
    http_refuse(c, status, why, NULL, true);
    http_conn_run(c);
}

/* Above a limit: told so, in bounded number. Over TLS it would cost a handshake to say it. */
static void refuse_conn(rl_http_conn *c, bool in_words)
{
    const char *why = c->entry == HTTP_REFUSED_ALL ? "too many connections" : "too many connections from this address";
    rl_metric_add(c->worker->server->refused, 1);
    log_client_warn("http.refused_connection", "peer", (const char *)c->peer, "reason", why);
    if (in_words && c->entry != HTTP_DROPPED)
        http_conn_refuse(c, 503, why);
    else
        http_conn_close(c);
}

void http_conn_accept(http_listener *l)
{
    http_worker *w = l->worker;
    rl_http_conn *c = calloc(1, sizeof *c);
    l->owed = false;
    if (c == NULL) {
        log_client_warn("http.accept", "error", "out of memory");
        l->owed = true;
        return;
    }
    c->worker = w;
    c->entry = HTTP_DROPPED;
    c->pending_end = &c->pending;
    uv_tcp_init(&w->loop, &c->tcp);
    link_conn(w, c);
    if (uv_accept((uv_stream_t *)&l->tcp, (uv_stream_t *)&c->tcp) != 0 ||
        uv_fileno((uv_handle_t *)&c->tcp, &c->fd) != 0 || !read_peer(c)) {
        http_conn_close(c); /* the client is gone already */
        return;
    }
    c->entry = http_peers_enter(w->server->peers, c->peer_key, c->proxied);
    if (c->entry != HTTP_DROPPED)
        rl_metric_add(w->server->open, 1);
    if (c->entry != HTTP_ENTERED) {
        refuse_conn(c, l->speech == HTTP_PLAIN);
        return;
    }
    if (l->speech != HTTP_PLAIN && !http_tls_begin(c, l->speech == HTTP_TLS_ASKING)) {
        log_client_warn("http.accept", "error", "out of memory");
        http_conn_close(c);
        return;
    }
    wait_for(c, c->tls != NULL ? PHASE_HANDSHAKE : PHASE_FRESH, w->server->limits.header_ms);
    c->deadline = deadline_in(w, w->server->limits.header_ms);
}
