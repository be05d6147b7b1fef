/* A worker: one thread, one loop, its listener and connections. Everything here runs on that thread, except
 * http_worker_init and http_worker_free, which run before it begins and after it ended. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"
#include "http/tls_priv.h"

static _Thread_local unsigned worker_index;

unsigned rl_http_worker_index(void)
{
    return worker_index;
}

/* ---- exchanges ---- */

http_exchange *http_exchange_take(http_worker *w)
{
    http_exchange *x = w->spare;
    if (x != NULL) {
        w->spare = x->next;
        w->spare_n--;
        return x;
    }
    x = calloc(1, sizeof *x);
    if (x == NULL || http_in_init(&x->in, w->server->limits.header) != RL_OK) {
        free(x);
        return NULL;
    }
    rl_arena_init(&x->arena, HTTP_ARENA_LIMIT);
    x->req.arena = &x->arena;
    return x;
}

static void exchange_free(http_exchange *x)
{
    http_in_free(&x->in);
    rl_arena_free(&x->arena);
    free(x);
}

void http_exchange_give(http_worker *w, http_exchange *x)
{
    x->begun = false;
    x->req.conn = NULL;
    if (w->spare_n == HTTP_SPARE_EXCHANGES) {
        exchange_free(x);
        return;
    }
    http_in_clear(&x->in);
    rl_arena_reset(&x->arena);
    x->next = w->spare;
    w->spare = x;
    w->spare_n++;
}

/* ---- transaction ids: random process prefix, worker, then a counter that is counted in its text ---- */

enum { TXN_COUNTER = 11, TXN_END = 21 }; /* first digit, one behind the last */
static const char digits32[] = "0123456789abcdefghjkmnpqrstvwxyz";

static void txn_init(http_worker *w, uint64_t random)
{
    for (int i = 0; i < 8; i++)
        w->txn[i] = digits32[random >> (5 * i) & 31];
    w->txn[8] = digits32[w->index >> 5 & 31];
    w->txn[9] = digits32[w->index & 31];
    w->txn[10] = '-';
    memset(w->txn + TXN_COUNTER, '0', TXN_END - TXN_COUNTER);
}

void http_worker_next_txn(http_worker *w, char out[RL_HTTP_TXN_MAX])
{
    for (int i = TXN_END - 1; i >= TXN_COUNTER; i--) {
        char c = w->txn[i];
        w->txn[i] = c == '9'                                       ? 'a'
                    : c == 'z'                                     ? '0'
                    : c == 'h' || c == 'k' || c == 'n' || c == 't' ? (char)(c + 2)
                                                                   : (char)(c + 1);
        if (c != 'z')
            break;
    }
    memcpy(out, w->txn, RL_HTTP_TXN_MAX);
}

/* ---- figures ---- */

void http_worker_count(http_worker *w)
{
    const struct rl_http_server *s = w->server;
    if (w->tally_n == 0)
        return;
    uint64_t now = rl_mono_ns();
    rl_metric_observe_many_ns(s->duration, now - w->event_ns, w->tally_n);
    w->event_ns = now;
    w->tally_n = 0;
    for (int i = 0; i < HTTP_STATUS_CLASSES; i++) {
        if (w->tally[i] != 0)
            rl_metric_add(s->answers[i], w->tally[i]);
        w->tally[i] = 0;
    }
}

/* ---- the loop's callbacks ---- */

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0) {
        log_client_warn("http.accept", "error", uv_strerror(status));
        return;
    }
    http_conn_accept((http_listener *)listener);
}

static void on_tick(uv_timer_t *tick)
{
    http_worker *w = tick->data;
    uint64_t now = uv_now(&w->loop);
    for (int i = 0; i < HTTP_LISTENERS; i++)
        if (w->listeners[i].owed && !w->stopping)
            http_conn_accept(&w->listeners[i]);
    for (rl_http_conn *c = w->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->deadline <= now && !c->gone)
            http_conn_expire(c);
    }
}

static void on_after_poll(uv_check_t *after)
{
    http_worker *w = after->data;
    http_ahead_answer(w);
    while (w->resume != NULL) {
        rl_http_conn *c = w->resume;
        w->resume = c->resume_next;
        http_conn_resume(c);
    }
}

static void stop(http_worker *w)
{
    w->stopping = true;
    for (int i = 0; i < HTTP_LISTENERS; i++)
        if (w->listeners[i].open)
            uv_close((uv_handle_t *)&w->listeners[i].tcp, NULL);
    uv_unref((uv_handle_t *)&w->wake); /* the loop ends with its last connection and work */
    http_works_stop(w);
    for (rl_http_conn *c = w->conns, *next; c != NULL; c = next) {
        next = c->next;
        http_conn_stop(c);
    }
}

static void see_stop(http_worker *w)
{
    int level = atomic_load(&w->server->stop);
    if (level >= HTTP_STOP && !w->stopping)
        stop(w);
    if (level == HTTP_CUT)
        for (rl_http_conn *c = w->conns; c != NULL; c = c->next)
            http_conn_close(c);
}

static void on_wake(uv_async_t *wake)
{
    see_stop(wake->data);
}

/* ---- the loop ----
 *
 * Connections are read by a poller of our own and not by libuv: a few at a time, so that none waits for the answers to
 * many, and together, so that what reads and answers them stays in the processor's nearest caches, and the kernel's
 * part does too. libuv's loop, which does all the rest, is one of the poller's events. */

void http_worker_reads(http_worker *w, int by)
{
    w->reads_n += (size_t)by;
    if (w->reads_n > 0)
        uv_ref((uv_handle_t *)&w->tick);
    else
        uv_unref((uv_handle_t *)&w->tick);
}

/* True when libuv has something to do. */
static bool read_some(http_worker *w)
{
    struct epoll_event events[HTTP_READ_TOGETHER];
    uv_update_time(&w->loop);
    int timeout = uv_backend_timeout(&w->loop);
    int n = epoll_wait(w->poller, events, HTTP_READ_TOGETHER, timeout);
    bool others = n <= 0 || timeout == 0;
    w->event_ns = rl_mono_ns();
    see_stop(w); /* before what came later */
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr != NULL)
            http_conn_read(events[i].data.ptr);
        else
            others = true;
    }
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr != NULL)
            http_conn_see(events[i].data.ptr);
    on_after_poll(&w->after);
    return others;
}

static void run_loop(http_worker *w)
{
    while (uv_run(&w->loop, UV_RUN_NOWAIT) != 0)
        while (!read_some(w))
            ;
}

/* ---- life ---- */

static rl_err uv_failed(int status, const char *what, rl_error *e)
{
    return rl_fail(e, RL_EIO, "http", "%s: %s", what, uv_strerror(status));
}

static rl_err open_listener(http_worker *w, http_speech speech, int *fd, rl_error *e)
{
    enum { BACKLOG = 4096 }; /* the kernel caps it at somaxconn */
    http_listener *l = &w->listeners[speech];
    if (*fd < 0)
        return RL_OK;
    l->worker = w;
    l->speech = speech;
    uv_tcp_init(&w->loop, &l->tcp);
    l->open = true;
    int status = uv_tcp_open(&l->tcp, *fd);
    if (status != 0)
        return uv_failed(status, "listener", e);
    *fd = -1;
    status = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
    return status == 0 ? RL_OK : uv_failed(status, "listener", e);
}

rl_err http_worker_init(http_worker *w, int fds[HTTP_LISTENERS], rl_error *e)
{
    if (w->server->tls != NULL && (w->ciphertext = malloc(HTTP_TLS_READ)) == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    w->sealed.limit = HTTP_TLS_SEALED_MAX;
    int status = uv_loop_init(&w->loop);
    if (status != 0)
        return uv_failed(status, "event loop", e);
    w->loop.data = w; /* says that there is a loop to free */
    uv_timer_init(&w->loop, &w->tick);
    uv_check_init(&w->loop, &w->after);
    w->tick.data = w->after.data = w->wake.data = w;
    status = uv_async_init(&w->loop, &w->wake, on_wake);
    if (status != 0)
        return uv_failed(status, "event loop", e);
    struct epoll_event others = {.events = EPOLLIN};
    w->poller = epoll_create1(EPOLL_CLOEXEC);
    if (w->poller < 0 || epoll_ctl(w->poller, EPOLL_CTL_ADD, uv_backend_fd(&w->loop), &others) != 0)
        return rl_fail(e, RL_EIO, "http", "event loop: %s", strerror(errno));
    RL_TRY(http_works_init(w, e));
    for (unsigned i = 0; i < HTTP_LISTENERS; i++)
        RL_TRY(open_listener(w, (http_speech)i, &fds[i], e));
    uv_check_start(&w->after, on_after_poll);
    uv_timer_start(&w->tick, on_tick, w->server->limits.tick_ms, w->server->limits.tick_ms);
    uv_unref((uv_handle_t *)&w->after);
    uv_unref((uv_handle_t *)&w->tick);
    return RL_OK;
}

/* Requests whose handler never answered, although its works are done. */
static void free_unanswered(http_worker *w)
{
    size_t n = 0;
    for (; w->conns != NULL; n++)
        http_conn_free(w->conns);
    if (n > 0)
        log_error("http.unanswered", "worker", w->index, "requests", n);
}

void *http_worker_main(void *arg)
{
    http_worker *w = arg;
    struct rl_http_server *s = w->server;
    char name[16];
    sigset_t all;
    /* Signals are the main thread's; a broken pipe is told by write's result. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    snprintf(name, sizeof name, "http-%u", w->index & 0xffff);
    pthread_setname_np(pthread_self(), name);
    worker_index = w->index;
    txn_init(w, s->txn_prefix);
    run_loop(w);
    free_unanswered(w);
    pthread_mutex_lock(&s->lock);
    s->running--;
    pthread_cond_signal(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void http_worker_free(http_worker *w)
{
    free(w->ciphertext);
    rl_buf_free(&w->sealed);
    if (w->loop.data == NULL)
        return;
    if (w->poller >= 0)
        close(w->poller);
    uv_walk(&w->loop, close_handle, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_loop_close(&w->loop);
    http_works_free(w);
    for (http_exchange *x = w->spare, *next; x != NULL; x = next) {
        next = x->next;
        exchange_free(x);
    }
}
