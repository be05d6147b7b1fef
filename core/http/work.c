/* Slow work beside the loops: libuv's thread pool, shared by all workers. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "http/conn.h"

enum { POOL_MORE_THAN_CORES = 4, POOL_MAX = 1024 };

typedef struct http_work {
    uv_work_t uv; /* first */
    rl_http_request *req;
    rl_http_pool *pool;
    void (*work)(rl_http_request *req, void *arg);
    void (*done)(rl_http_request *req, void *arg);
    void *arg;
} http_work;

/* libuv reads the pool's size from the environment when it is used first; by then other threads run, which
 * setenv must not meet. Works wait for WAL syncs, so there are more threads than cores. */
__attribute__((constructor)) static void size_pool(void)
{
    char text[16];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long n = (cores > 0 ? cores : 1) + POOL_MORE_THAN_CORES;
    snprintf(text, sizeof text, "%ld", n < POOL_MAX ? n : POOL_MAX);
    setenv("UV_THREADPOOL_SIZE", text, 0);
}

static void on_work(uv_work_t *uv)
{
    http_work *w = (http_work *)uv;
    rl_log_set_txn(w->req->txn);
    w->work(w->req, w->arg);
    rl_log_set_txn(NULL);
}

static void on_done(uv_work_t *uv, int status)
{
    http_work *w = (http_work *)uv; /* lies in the request's arena, which outlives `done`: see http_conn_resume */
    (void)status;                   /* nobody cancels works */
    atomic_fetch_sub(&w->pool->pending, 1);
    rl_log_set_txn(w->req->txn);
    w->done(w->req, w->arg);
    rl_log_set_txn(NULL);
}

rl_err rl_http_work(rl_http_request *req, rl_http_pool *pool, void (*work)(rl_http_request *req, void *arg),
                    void (*done)(rl_http_request *req, void *arg), void *arg)
{
    if (atomic_fetch_add(&pool->pending, 1) >= pool->limit && pool->limit > 0) {
        atomic_fetch_sub(&pool->pending, 1);
        return RL_EBUSY;
    }
    http_work *w = rl_arena_alloc(req->arena, sizeof *w);
    if (w == NULL) {
        atomic_fetch_sub(&pool->pending, 1);
        return RL_ENOMEM;
    }
    *w = (http_work){.req = req, .pool = pool, .work = work, .done = done, .arg = arg};
    uv_queue_work(&req->conn->worker->loop, &w->uv, on_work, on_done);
    return RL_OK;
}
