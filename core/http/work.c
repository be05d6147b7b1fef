/* Slow work beside the loops: a pool's threads run it, and its worker's loop finishes it.
 *
 * To wake a loop, which wakes its clients, costs as much as a good part of a signature. So while more waits a thread
 * keeps what it has worked off and hands it over in one piece: what it did in TOGETHER_NS, or its part of a quarter of
 * all that waits, for then that much is but a part of the waiting. With nothing left to do it hands over at once.
 * Threads are woken one at a time: each wakes the next, if there is still something to do when it comes.
 *
 * The threads run at the lowest priority, so that the loops answer at once what needs no work. They starve of nothing
 * but loops that want all of the cores all the time, and then still have a few per cent of them. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"

enum {
    TOGETHER_NS = 2000 * 1000,
    TOGETHER_MAX_NS = 20 * 1000 * 1000,
    ASIDE_MAX = 1024, /* waiting */
    NICE = 19,
};

struct http_work {
    http_work *next;
    rl_http_request *req;
    rl_http_pool *pool;
    bool (*work)(rl_http_request *req, void *arg);
    void (*done)(rl_http_request *req, void *arg);
    void *arg;
};

struct rl_http_pool {
    char name[12];
    _Atomic int64_t pending;
    int64_t limit;
    pthread_mutex_t lock; /* all below but the threads */
    pthread_cond_t more;
    http_work *first, **end;
    rl_http_aside *aside_first, **aside_end;
    unsigned aside_n, idle;
    bool waking, stopping;
    size_t threads_n;
    pthread_t threads[];
};

/* ---- to the loops ---- */

/* Works that are done, in order. */
struct worked {
    http_work *first, **end;
    int64_t n;
    uint64_t since_ns; /* when the first of them was begun */
};

static void worked_init(struct worked *d)
{
    d->first = NULL;
    d->end = &d->first;
    d->n = 0;
}

static void worked_add(struct worked *d, http_work *w)
{
    w->next = NULL;
    *d->end = w;
    d->end = &w->next;
    d->n++;
}

/* Some of one worker: they belong to its loop from here on. It is told outside the lock, for it may run at once. By an
 * eventfd of our own, since a loop that uv_async_send wakes waits, spinning, for the sender to come out of it. */
static void hand_over(http_works *to, const struct worked *d)
{
    pthread_mutex_lock(&to->lock);
    bool tell = to->first == NULL;
    *(tell ? &to->first : to->end) = d->first;
    to->end = d->end;
    if (tell)
        atomic_fetch_add(&to->speaking, 1);
    pthread_mutex_unlock(&to->lock);
    if (!tell)
        return;
    (void)eventfd_write(to->fd, 1); /* fails at 2^64 alone */
    atomic_fetch_sub(&to->speaking, 1);
}

static http_works *works_of(const http_work *w)
{
    return &w->req->conn->worker->works;
}

static void hand_over_all(struct worked *d)
{
    while (d->first != NULL) {
        http_works *to = works_of(d->first);
        struct worked mine, others;
        worked_init(&mine);
        worked_init(&others);
        for (http_work *w = d->first, *next; w != NULL; w = next) {
            next = w->next;
            worked_add(works_of(w) == to ? &mine : &others, w);
        }
        hand_over(to, &mine);
        d->first = others.first;
    }
    worked_init(d);
}

void rl_http_work_finish(rl_http_request *req)
{
    struct worked d;
    worked_init(&d);
    worked_add(&d, req->work);
    hand_over_all(&d);
}

static bool is_enough(const rl_http_pool *p, const struct worked *d)
{
    uint64_t took = rl_mono_ns() - d->since_ns;
    int64_t part = atomic_load_explicit(&p->pending, memory_order_relaxed) / (4 * (int64_t)p->threads_n);
    return took >= TOGETHER_MAX_NS || (took >= TOGETHER_NS && d->n >= part);
}

static void work_off(http_work *w, struct worked *d)
{
    const rl_http_pool *p = w->pool;
    if (d->first == NULL)
        d->since_ns = rl_mono_ns();
    rl_log_set_txn(w->req->txn);
    bool ended = w->work(w->req, w->arg); /* if not, somebody else may have finished it by now */
    rl_log_set_txn(NULL);
    if (ended)
        worked_add(d, w);
    if (d->first != NULL && is_enough(p, d))
        hand_over_all(d);
}

/* ---- a thread ---- */

static bool has_nothing(const rl_http_pool *p)
{
    return p->first == NULL && p->aside_first == NULL;
}

/* Under the lock; true when the caller is to signal. */
static bool wake_one(rl_http_pool *p)
{
    bool wake = p->idle > 0 && !p->waking;
    p->waking |= wake;
    return wake;
}

/* Waits for something; under the lock. */
static void wait_for_more(rl_http_pool *p, struct worked *d)
{
    if (d->first != NULL) { /* nobody else's request may wait for us to look again */
        pthread_mutex_unlock(&p->lock);
        hand_over_all(d);
        pthread_mutex_lock(&p->lock);
        return;
    }
    p->idle++;
    pthread_cond_wait(&p->more, &p->lock);
    p->idle--;
    p->waking = false;
}

static http_work *take_work(rl_http_pool *p)
{
    http_work *w = p->first;
    if (w != NULL && (p->first = w->next) == NULL)
        p->end = &p->first;
    return w;
}

static rl_http_aside *take_aside(rl_http_pool *p)
{
    rl_http_aside *a = p->aside_first;
    if (a == NULL)
        return NULL;
    p->aside_n--;
    if ((p->aside_first = a->next) == NULL)
        p->aside_end = &p->aside_first;
    return a;
}

static void *pool_main(void *arg)
{
    rl_http_pool *p = arg;
    struct worked d;
    worked_init(&d);
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (has_nothing(p) && (!p->stopping || d.first != NULL))
            wait_for_more(p, &d);
        http_work *w = take_work(p);
        rl_http_aside *a = w == NULL ? take_aside(p) : NULL;
        bool wake = !has_nothing(p) && wake_one(p), stopping = p->stopping;
        if (w == NULL && a == NULL)
            break;
        pthread_mutex_unlock(&p->lock);
        if (wake)
            pthread_cond_signal(&p->more);
        if (w != NULL)
            work_off(w, &d);
        else
            a->run(a, stopping);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- from the loops ---- */

rl_err rl_http_work(rl_http_request *req, rl_http_pool *p, bool (*work)(rl_http_request *req, void *arg),
                    void (*done)(rl_http_request *req, void *arg), void *arg)
{
    http_worker *worker = req->conn->worker;
    if (atomic_fetch_add(&p->pending, 1) >= p->limit && p->limit > 0) {
        atomic_fetch_sub(&p->pending, 1);
        return RL_EBUSY;
    }
    http_work *w = rl_arena_alloc(req->arena, sizeof *w);
    if (w == NULL) {
        atomic_fetch_sub(&p->pending, 1);
        return RL_ENOMEM;
    }
    *w = (http_work){.req = req, .pool = p, .work = work, .done = done, .arg = arg};
    req->work = w;
    worker->works.n++;
    uv_ref((uv_handle_t *)&worker->works.poll);
    pthread_mutex_lock(&p->lock);
    *p->end = w;
    p->end = &w->next;
    bool wake = wake_one(p);
    pthread_mutex_unlock(&p->lock);
    if (wake)
        pthread_cond_signal(&p->more);
    return RL_OK;
}

rl_err rl_http_pool_aside(rl_http_pool *p, rl_http_aside *a)
{
    pthread_mutex_lock(&p->lock);
    bool room = p->aside_n < ASIDE_MAX && !p->stopping, wake = false;
    if (room) {
        a->next = NULL;
        *p->aside_end = a;
        p->aside_end = &a->next;
        p->aside_n++;
        wake = wake_one(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (wake)
        pthread_cond_signal(&p->more);
    return room ? RL_OK : RL_EBUSY;
}

/* ---- done ---- */

void http_works_stop(http_worker *worker)
{
    if (worker->works.n == 0)
        uv_unref((uv_handle_t *)&worker->works.poll);
}

/* The works lie in their requests' arenas, which outlive `done`: see http_conn_resume. */
static void on_done(uv_poll_t *poll, int status, int events)
{
    http_worker *worker = poll->data;
    http_works *d = &worker->works;
    eventfd_t count;
    (void)status, (void)events;
    (void)eventfd_read(d->fd, &count); /* before the list: what is added later is told again */
    pthread_mutex_lock(&d->lock);
    http_work *first = d->first;
    d->first = NULL;
    pthread_mutex_unlock(&d->lock);
    for (http_work *w = first, *next; w != NULL; w = next) {
        next = w->next;
        d->n--;
        atomic_fetch_sub(&w->pool->pending, 1);
        rl_log_set_txn(w->req->txn);
        w->done(w->req, w->arg);
        rl_log_set_txn(NULL);
    }
    if (worker->stopping)
        http_works_stop(worker);
}

rl_err http_works_init(http_worker *worker, rl_error *e)
{
    http_works *d = &worker->works;
    pthread_mutex_init(&d->lock, NULL);
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0 || uv_poll_init(&worker->loop, &d->poll, d->fd) != 0)
        return rl_fail(e, RL_EIO, "http", "eventfd: %s", strerror(errno));
    d->poll.data = worker;
    uv_poll_start(&d->poll, UV_READABLE, on_done);
    return RL_OK;
}

void http_works_free(http_worker *worker)
{
    http_works *d = &worker->works;
    if (d->fd < 0)
        return;
    while (atomic_load(&d->speaking) > 0) /* a pool's thread is about to say what is known */
        sched_yield();
    close(d->fd);
    pthread_mutex_destroy(&d->lock);
}

/* ---- start and stop ---- */

rl_err rl_http_pool_new(const char *name, unsigned for_each_core, unsigned more, int64_t limit, rl_http_pool **out,
                        rl_error *e)
{
    size_t threads = uv_available_parallelism() * for_each_core + more;
    rl_http_pool *p = calloc(1, sizeof *p + threads * sizeof p->threads[0]);
    if (p == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    snprintf(p->name, sizeof p->name, "%s", name);
    p->limit = limit;
    p->end = &p->first;
    p->aside_end = &p->aside_first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    for (; p->threads_n < threads; p->threads_n++) {
        if (pthread_create(&p->threads[p->threads_n], NULL, pool_main, p) != 0) {
            rl_http_pool_free(p);
            return rl_fail(e, RL_EIO, "http", "the threads of pool %s cannot be started", name);
        }
    }
    *out = p;
    return RL_OK;
}

int64_t rl_http_pool_pending(rl_http_pool *p)
{
    return atomic_load(&p->pending);
}

void rl_http_pool_free(rl_http_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->threads_n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
