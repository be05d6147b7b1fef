/* The thread that writes groups which the writer has run: one RocksDB write with one WAL sync, then the subscribers
 * hear of it, then the submitters. A group that could not be written goes back to the writer. */
#include <stdlib.h>

#include "base/log.h"
#include "store/fault.h"
#include "store/txn_priv.h"

void rl_group_clear(struct rl_group *g)
{
    rl_batch_free(&g->batch);
    free(g->changed);
    *g = (struct rl_group){0};
}

void rl_store_fail_next_write(rl_store *s)
{
    atomic_store(&s->fail_next, 1);
}

void rl_store_before_write(rl_store *s, void (*fn)(void *ctx), void *ctx)
{
    s->before_write = fn;
    s->before_write_ctx = ctx;
}

static rl_err write_batch(rl_store *s, const rl_batch *b, rl_error *e)
{
    char *error = NULL;
    if (s->before_write)
        s->before_write(s->before_write_ctx);
    if (b->failed)
        return rl_fail(e, RL_EIO, "store", "the database cannot be written: out of memory");
    if (atomic_exchange(&s->fail_next, 0))
        return rl_fail(e, RL_EIO, "store", "the database cannot be written: failure asked for by a test");
    rocksdb_writebatch_t *batch = rl_batch_encode(b, s->cf);
    rocksdb_write(s->db, s->write, batch, &error);
    rocksdb_writebatch_destroy(batch);
    return error ? rl_store_fail(e, RL_EIO, "the database cannot be written", error) : RL_OK;
}

static rl_err write_group(rl_store *s, struct rl_group *g)
{
    if (g->batch.live == 0 && !g->batch.failed)
        return RL_OK;
    RL_TRY(write_batch(s, &g->batch, &g->error));
    atomic_fetch_add(&s->groups_written, 1);
    atomic_store(&s->last_delta, g->last_delta);
    return RL_OK;
}

void rl_store_acknowledge(rl_store *s, struct rl_store_request *requests, rl_err written, const rl_error *e)
{
    while (requests) {
        struct rl_store_request *r = requests;
        requests = r->next;
        bool lost = r->err == RL_OK && written != RL_OK;
        if (r->err == RL_OK && !lost)
            atomic_fetch_add(&s->commits, 1);
        if (r->done)
            r->done(r->arg, lost ? written : r->err, lost ? e : &r->error);
        free(r);
    }
}

void rl_store_write_failed(rl_store *s, const rl_error *e)
{
    log_error("store.write", "error", e->message);
    s->cause = *e;
    atomic_store(&s->failed, 1);
}

/* Before anybody is told that it is done: who hears of it, and comes again, finds it in the database, not on its way.
 */
static void end_write(rl_store *s, struct rl_group *g, bool written)
{
    pthread_mutex_lock(&s->lock);
    if (!written) {
        rl_store_write_failed(s, &g->error);
        s->unwritten = g;
    }
    s->writing = NULL;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void commit(rl_store *s, struct rl_group *g)
{
    struct rl_store_request *requests = g->requests;
    struct rl_hearers hearers;
    rl_store_hearers(s, &hearers);
    bool written = write_group(s, g) == RL_OK;
    if (written) {
        rl_store_tell(s, &hearers, g->changed, g->changed_n);
        g->requests = NULL;
    }
    end_write(s, g, written); /* from now on the group is the writer's */
    if (written)
        rl_store_acknowledge(s, requests, RL_OK, NULL);
}

static struct rl_group *next_group(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->writing && s->running)
        pthread_cond_wait(&s->handed, &s->lock);
    struct rl_group *g = s->writing;
    pthread_mutex_unlock(&s->lock);
    return g;
}

void *rl_store_committer(void *store)
{
    rl_store *s = store;
    struct rl_group *g;
    rl_store_stand_back();
    rocksdb_set_perf_level(rocksdb_disable);
    while ((g = next_group(s)) != NULL)
        commit(s, g);
    return NULL;
}
