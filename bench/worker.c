/* A worker of the load generator: a thread with its own epoll, connections, random numbers and figures.
 *
 * Closed loop: a connection sends --pipeline requests in one write, and the next ones when all of them are answered;
 * so the server is never asked faster than it answers. Every answer is checked, inside the measured window and
 * outside of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "load.h"

enum { EVENTS = 256, READ_MAX = 256 * 1024, REST_MAX = 64 * 1024, LOST_AFTER_NS = 2000000000 };

struct conn {
    int fd;
    SSL *ssl;                    /* NULL: in clear */
    bool waits;                  /* for room to write */
    unsigned asked, answered;    /* of the running batch */
    uint32_t want[PIPELINE_MAX]; /* which requests these are */
    int64_t sent_at, ask_at;
    uint8_t *out; /* what a write left over, malloced */
    size_t out_n;
    uint8_t *rest; /* an answer that is not whole yet, malloced */
    size_t rest_n;
};

struct worker {
    struct plan *plan;
    pthread_t thread;
    int poller;
    struct conn *conns;
    unsigned conns_n;
    struct conn *ready[CONNECTIONS_MAX]; /* to be asked again */
    unsigned ready_n;
    uint64_t random;
    bool counting, failed;
    struct figures figures;
    uint8_t in[REST_MAX + READ_MAX], out[PIPELINE_MAX * REQUEST_MAX];
};

/* xorshift64*: quick, and the same sequence for the same seed. */
static uint32_t draw(struct worker *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return (uint32_t)(((w->random * 0x2545F4914F6CDD1Dull >> 32) * w->plan->requests_n) >> 32);
}

/* ---- connections ---- */
/* The handshake is made while everything waits: it is not what is measured. */
static bool secure(struct worker *w, struct conn *c)
{
    if (!w->plan->tls)
        return true;
    if (!(c->ssl = SSL_new(w->plan->tls)) || SSL_set_fd(c->ssl, c->fd) != 1)
        return false;
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return SSL_connect(c->ssl) == 1 && fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0;
}

static void hang_up(struct conn *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
}

/* As send(2) and recv(2) without waiting. */
static ssize_t result(SSL *ssl, int n)
{
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return n > 0 ? n : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t put(struct conn *c, const uint8_t *p, size_t n)
{
    if (!c->ssl)
        return send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    ERR_clear_error();
    return result(c->ssl, SSL_write(c->ssl, p, (int)n));
}

static ssize_t get(struct conn *c, uint8_t *p, size_t n)
{
    if (!c->ssl)
        return recv(c->fd, p, n, MSG_DONTWAIT);
    ERR_clear_error();
    return result(c->ssl, SSL_read(c->ssl, p, (int)n)); /* one record: what follows is still the socket's */
}

static bool dial(struct worker *w, struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(w->plan->port)};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;
    inet_pton(AF_INET, w->plan->host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->waits = false;
    c->asked = c->answered = 0;
    c->out_n = c->rest_n = 0;
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || !secure(w, c) ||
        epoll_ctl(w->poller, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
        w->figures.faults[FAULT_CONNECT]++;
        w->failed = true;
        return false;
    }
    return true;
}

static void watch(struct worker *w, struct conn *c, bool waits)
{
    struct epoll_event ev = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (waits != c->waits)
        epoll_ctl(w->poller, EPOLL_CTL_MOD, c->fd, &ev);
    c->waits = waits;
}

/* Writes, and keeps what did not fit for later. False when the connection is gone. */
static bool write_some(struct worker *w, struct conn *c, const uint8_t *p, size_t n)
{
    ssize_t sent = put(c, p, n);
    if (sent < 0 && errno != EAGAIN)
        return false;
    size_t done = sent < 0 ? 0 : (size_t)sent;
    if (done < n && !c->out && !(c->out = malloc(sizeof(w->out))))
        die("connection", "out of memory");
    if (done < n)
        memmove(c->out, p + done, n - done);
    c->out_n = n - done;
    watch(w, c, c->out_n > 0);
    return true;
}

/* Sends the next batch, or nothing when --once has asked everything. */
static bool ask(struct worker *w, struct conn *c, int64_t now)
{
    size_t n = 0;
    c->asked = c->answered = 0;
    c->sent_at = now;
    while (c->asked < w->plan->pipeline) {
        uint32_t i = w->plan->once ? atomic_fetch_add(&w->plan->next_once, 1) : draw(w);
        if (i >= w->plan->requests_n)
            break;
        __builtin_prefetch(w->plan->requests[i].octets);
        c->want[c->asked++] = i;
    }
    if (c->asked == 1)
        return write_some(w, c, w->plan->requests[c->want[0]].octets, w->plan->requests[c->want[0]].n);
    for (unsigned i = 0; i < c->asked; i++) {
        const struct request *r = &w->plan->requests[c->want[i]];
        memcpy(w->out + n, r->octets, r->n);
        n += r->n;
    }
    return n == 0 || write_some(w, c, w->out, n);
}

static void hang_up_and_dial(struct worker *w, struct conn *c)
{
    int64_t now = now_ns();
    hang_up(c);
    w->figures.reconnects++;
    if (dial(w, c) && !ask(w, c, now)) {
        w->figures.faults[FAULT_CLOSED]++;
        w->failed = true;
    }
}

/* Not in a pause any more: a new connection is asked at once. */
static void redial(struct worker *w, struct conn *c)
{
    for (unsigned i = 0; i < w->ready_n; i++)
        if (w->ready[i] == c)
            w->ready[i--] = w->ready[--w->ready_n];
    hang_up_and_dial(w, c);
}

/* ---- answers ---- */
static void count(struct worker *w, struct conn *c, const answer *a, int64_t now)
{
    const struct request *r =
        &w->plan->requests[w->plan->answer_of >= 0 ? (uint32_t)w->plan->answer_of : c->want[c->answered]];
    if (a->status != 200)
        w->figures.faults[FAULT_STATUS]++;
    else if (!answer_is_ocsp(a->body, a->body_n, r->expect, r->expect_n))
        w->figures.faults[FAULT_BODY]++;
    else if (w->counting) {
        w->figures.answers++;
        w->figures.octets += a->total;
        histogram_add(&w->figures.latency, (uint64_t)(now - c->sent_at));
    }
    c->answered++;
}

/* Takes the whole answers off p[0..n) and keeps the rest. Says what became of the connection. */
static enum {
    CONN_GOES_ON,
    CONN_ENDS,
    CONN_IS_BAD
} take_answers(struct worker *w, struct conn *c, const uint8_t *p, size_t n, int64_t now)
{
    answer a = {0};
    answer_state state = ANSWER_MORE;
    size_t at = 0;
    while (at < n && !a.closes) {
        if (c->answered == c->asked) /* nobody asked for this */
            return CONN_IS_BAD;
        if ((state = answer_read(p + at, n - at, &a)) != ANSWER_WHOLE)
            break;
        count(w, c, &a, now);
        at += a.total;
    }
    c->rest_n = n - at;
    if (state == ANSWER_BAD || c->rest_n > REST_MAX)
        return CONN_IS_BAD;
    if (state == ANSWER_WHOLE && a.closes)
        return CONN_ENDS;
    if (c->rest_n > 0 && !c->rest && !(c->rest = malloc(REST_MAX)))
        die("connection", "out of memory");
    if (c->rest_n > 0)
        memcpy(c->rest, p + at, c->rest_n);
    return CONN_GOES_ON;
}

static void readable(struct worker *w, struct conn *c)
{
    if (c->rest_n > 0)
        memcpy(w->in, c->rest, c->rest_n);
    ssize_t got = get(c, w->in + c->rest_n, READ_MAX);
    int64_t now = now_ns();
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        w->figures.faults[FAULT_CLOSED]++;
        redial(w, c);
        return;
    }
    w->counting = w->plan->once || (now >= w->plan->window_opens && now < w->plan->window_closes);
    switch (take_answers(w, c, w->in, c->rest_n + (size_t)got, now)) {
    case CONN_IS_BAD:
        w->figures.faults[FAULT_HTTP]++;
        redial(w, c);
        break;
    case CONN_ENDS:
        if (c->answered < c->asked)
            w->figures.faults[FAULT_CLOSED]++;
        redial(w, c);
        break;
    case CONN_GOES_ON:
        c->ask_at = now + w->plan->pause;
        if (c->answered == c->asked)
            w->ready[w->ready_n++] = c;
    }
}

/* ---- workers ---- */
/* Requests that were never answered count as lost, once --once has nothing else to do or the window has closed. */
static bool finished(struct worker *w, bool idle)
{
    int64_t now = now_ns();
    unsigned open = 0, lost = 0;
    if (w->failed)
        return true;
    if (w->plan->once ? atomic_load(&w->plan->next_once) < w->plan->requests_n && !idle : now < w->plan->window_closes)
        return false;
    for (unsigned i = 0; i < w->conns_n; i++) {
        unsigned missing = w->conns[i].asked - w->conns[i].answered;
        open += missing;
        lost += now - w->conns[i].sent_at > LOST_AFTER_NS ? missing : 0;
    }
    if (w->plan->once && open > lost)
        return false;
    w->figures.faults[FAULT_LOST] += lost;
    return true;
}

/* The next batches leave together, behind all reading: the server finds many at once instead of being woken for each.
 */
static void ask_ready(struct worker *w)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < w->ready_n; i++) {
        struct conn *c = w->ready[i];
        int64_t now = now_ns();
        if (now < c->ask_at) {
            w->ready[waiting++] = c;
        } else if (!ask(w, c, now)) {
            w->figures.faults[FAULT_CLOSED]++;
            hang_up_and_dial(w, c);
        }
    }
    w->ready_n = waiting;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct epoll_event events[EVENTS];
    int n = 1;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    for (unsigned i = 0; i < w->conns_n; i++)
        if (dial(w, &w->conns[i]) && !ask(w, &w->conns[i], now_ns()))
            w->figures.faults[FAULT_CLOSED]++;
    while (!finished(w, n == 0)) {
        n = epoll_wait(w->poller, events, EVENTS, w->ready_n > 0 ? 1 : 200);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if ((events[i].events & EPOLLOUT) && c->out_n > 0 && !write_some(w, c, c->out, c->out_n)) {
                w->figures.faults[FAULT_CLOSED]++;
                redial(w, c);
            } else if (events[i].events & ~(uint32_t)EPOLLOUT) {
                readable(w, c);
            }
        }
        ask_ready(w);
    }
    return NULL;
}
struct worker *worker_start(struct plan *plan, unsigned index)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w || (w->poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("worker", "cannot be made");
    w->plan = plan;
    w->conns_n = plan->connections / plan->threads + (index < plan->connections % plan->threads);
    w->random = (plan->seed + index) * 0x9E3779B97F4A7C15ull | 1;
    if (!(w->conns = calloc(w->conns_n, sizeof(*w->conns))) || pthread_create(&w->thread, NULL, work, w) != 0)
        die("worker", "cannot be started");
    return w;
}

static void add(struct figures *into, const struct figures *from)
{
    histogram_merge(&into->latency, &from->latency);
    into->answers += from->answers;
    into->octets += from->octets;
    into->reconnects += from->reconnects;
    for (size_t i = 0; i < FAULTS; i++)
        into->faults[i] += from->faults[i];
}

void worker_join(struct worker *w, struct figures *sum)
{
    pthread_join(w->thread, NULL);
    add(sum, &w->figures);
    for (unsigned i = 0; i < w->conns_n; i++) {
        hang_up(&w->conns[i]);
        free(w->conns[i].out);
        free(w->conns[i].rest);
    }
    close(w->poller);
    free(w->conns);
    free(w);
}
