/* The one writer thread: takes all that waits as one group, runs each transaction over one batch, writes
 * the batch with one WAL sync, tells the subscribers, acknowledges. It alone writes to the database. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/txn_priv.h"

enum {
    GROUP_MAX = 4096,
    MEND_PAUSE_MS = 1000,
    MEND_DOUBLINGS_MAX = 6, /* of the pause, for a database that cannot be opened */
    MEND_ROOM = 32 << 20    /* what opening may write: the log's content as tables, a new log and manifest */
};

/* Under the lock; false when the store is closing. */
static bool enqueue(rl_store *s, struct rl_store_request *r)
{
    if (s->closing)
        return false;
    *s->tail = r;
    s->tail = &r->next;
    return true;
}

static struct rl_store_request *new_request(rl_store_apply apply, rl_store_done done, void *arg)
{
    struct rl_store_request *r = calloc(1, sizeof(*r));
    if (r)
        *r = (struct rl_store_request){.apply = apply, .done = done, .arg = arg};
    return r;
}

rl_err rl_store_submit(rl_store *s, rl_store_apply apply, rl_store_done done, void *arg)
{
    struct rl_store_request *r = new_request(apply, done, arg);
    if (!r)
        return RL_ENOMEM;
    pthread_mutex_lock(&s->lock);
    bool queued = enqueue(s, r);
    if (queued)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (!queued)
        free(r);
    return queued ? RL_OK : RL_ECANCELED;
}

/* ---- submit and wait ---- */
struct wait {
    rl_store_apply apply;
    void *arg;
    rl_error *e;
    rl_err err;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t cond;
};

static rl_err wait_apply(rl_store_txn *t, void *arg, rl_error *e)
{
    struct wait *w = arg;
    return w->apply(t, w->arg, e);
}

static void wait_done(void *arg, rl_err err, const rl_error *e)
{
    struct wait *w = arg;
    pthread_mutex_lock(&w->lock);
    w->err = err;
    if (w->e && err != RL_OK)
        *w->e = *e;
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

/* The writer is woken outside the lock, or it would run at once, with a caller of lower priority, only to wait for the
 * lock. The store is there as long as the caller waits; who does not wait could find it closed by then. */
static rl_err queue_waiting(rl_store *s, struct wait *w)
{
    struct rl_store_request *r = new_request(wait_apply, wait_done, w);
    if (!r)
        return RL_ENOMEM;
    pthread_mutex_lock(&s->lock);
    bool queued = enqueue(s, r);
    pthread_mutex_unlock(&s->lock);
    if (queued)
        pthread_cond_signal(&s->wake);
    else
        free(r);
    return queued ? RL_OK : RL_ECANCELED;
}

rl_err rl_store_run(rl_store *s, rl_store_apply apply, void *arg, rl_error *e)
{
    struct wait w = {
        .apply = apply, .arg = arg, .e = e, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    rl_err err = queue_waiting(s, &w);
    if (err != RL_OK)
        return rl_fail(e, err, "store", "the database takes no more writes: %s", rl_err_name(err));
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.cond);
    return w.err;
}

/* ---- the thread ---- */
/* Until something is queued, the store closes, or it is time to mend or to trim the database. */
static void wait_for_work(rl_store *s)
{
    bool due = false;
    while (!s->queue && !s->closing && !due) {
        const uint64_t at = atomic_load(&s->failed) ? s->mend_at : s->trim_at;
        const struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};
        if (at != UINT64_MAX)
            due = pthread_cond_timedwait(&s->wake, &s->lock, &until) == ETIMEDOUT;
        else
            pthread_cond_wait(&s->wake, &s->lock);
    }
}

/* Takes up to GROUP_MAX waiting requests, or none when only the database is to be mended or trimmed. False when closing
 * and nothing is left. */
static bool take_group(rl_store *s, struct rl_store_request **group)
{
    pthread_mutex_lock(&s->lock);
    wait_for_work(s);
    struct rl_store_request *first = s->queue, **end = &s->queue;
    for (int n = 0; *end && n < GROUP_MAX; n++)
        end = &(*end)->next;
    s->queue = *end;
    *end = NULL;
    if (!s->queue)
        s->tail = &s->queue;
    bool more = first || !s->closing;
    pthread_mutex_unlock(&s->lock);
    *group = first;
    return more;
}

/* A failed transaction takes back its changes, its numbers and its events, and nobody else's. */
static void run_one(rl_store_txn *t, struct rl_store_request *r)
{
    const uint64_t delta_next = t->delta_next, audit_next = t->audit_next;
    const size_t changed_n = t->changed_n;
    rl_batch_save_point(t->batch);
    r->err = r->apply(t, r->arg, &r->error);
    if (r->err == RL_OK)
        return;
    if (!r->error.message[0])
        rl_fail(&r->error, r->err, "store", "%s", rl_err_name(r->err));
    rl_batch_rollback(t->batch);
    t->delta_next = delta_next;
    t->audit_next = audit_next;
    t->changed_n = changed_n;
}

void rl_store_fail_next_write(rl_store *s)
{
    atomic_store(&s->fail_next, 1);
}

static rl_err write_batch(rl_store *s, const rl_store_txn *t, rl_error *e)
{
    char *error = NULL;
    if (t->batch->failed)
        return rl_fail(e, RL_EIO, "store", "the database cannot be written: out of memory");
    if (atomic_exchange(&s->fail_next, 0))
        return rl_fail(e, RL_EIO, "store", "the database cannot be written: failure asked for by a test");
    rocksdb_writebatch_t *batch = rl_batch_encode(t->batch, s->cf);
    rocksdb_write(s->db, s->write, batch, &error);
    rocksdb_writebatch_destroy(batch);
    return error ? rl_store_fail(e, RL_EIO, "the database cannot be written", error) : RL_OK;
}

void rl_store_write_failed(rl_store *s, const rl_error *e)
{
    log_error("store.write", "error", e->message);
    s->cause = *e;
    atomic_store(&s->failed, 1);
}

/* The numbers that were given out in the group count only when it is written. */
static rl_err write_group(rl_store *s, const rl_store_txn *t, rl_error *e)
{
    if (t->batch->live == 0 && !t->batch->failed)
        return RL_OK;
    rl_err err = write_batch(s, t, e);
    if (err != RL_OK) {
        rl_store_write_failed(s, e);
        return err;
    }
    atomic_fetch_add(&s->groups, 1);
    s->delta_next = t->delta_next;
    s->audit_next = t->audit_next;
    atomic_store(&s->last_delta, t->delta_next - 1);
    return RL_OK;
}

static void acknowledge(rl_store *s, struct rl_store_request *group, rl_err written, const rl_error *e)
{
    while (group) {
        struct rl_store_request *r = group;
        group = r->next;
        bool lost = r->err == RL_OK && written != RL_OK;
        if (r->err == RL_OK && !lost)
            atomic_fetch_add(&s->commits, 1);
        if (r->done)
            r->done(r->arg, lost ? written : r->err, lost ? e : &r->error);
        free(r);
    }
}

/* ---- after a failed write ---- */
/* A database that stays open can be read; one that was closed and cannot be opened cannot. So before it is closed the
 * disk must take, and make sure, as much as opening writes. */
static rl_err check_disk(const rl_store *s, rl_error *e)
{
    char name[4096 + 8];
    snprintf(name, sizeof(name), "%s/room", s->path);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    unlink(name);
    int cause = fd < 0 ? errno : posix_fallocate(fd, 0, MEND_ROOM);
    if (cause == 0 && fdatasync(fd) != 0)
        cause = errno;
    if (fd >= 0)
        close(fd);
    return cause ? rl_fail(e, RL_EIO, "store", "the database cannot be written: %s", strerror(cause)) : RL_OK;
}

/* RocksDB goes on by itself once there is room, but with the log whose end is torn, and ends the process by an
 * assertion with the next write. So nothing is written to a database in which a write has failed: it serves reads until
 * the disk is well, and is then closed and opened anew. */
static void mend(rl_store *s)
{
    rl_error e = {0};
    if (rl_mono_ms() < s->mend_at)
        return;
    rl_err err = check_disk(s, &e);
    if (err == RL_OK) {
        err = rl_store_reopen(s, &e);
        if (s->db)
            s->mend_doublings = 0;
        else if (s->mend_doublings < MEND_DOUBLINGS_MAX)
            s->mend_doublings++;
    }
    s->mend_at = rl_mono_ms() + ((uint64_t)MEND_PAUSE_MS << s->mend_doublings);
    if (err != RL_OK) {
        if (strcmp(s->cause.message, e.message) != 0)
            log_error("store.mend", "error", e.message);
        s->cause = e;
        return;
    }
    /* The failed write may be there after all, which whoever has read in between did not see. */
    for (size_t i = 0; i < s->doubtful_n; i++)
        s->doubtful[i].lost = s->doubtful[i].sequence >= s->delta_next;
    rl_store_tell(s, s->doubtful, s->doubtful_n);
    free(s->doubtful);
    s->doubtful = NULL;
    s->doubtful_n = 0;
    atomic_store(&s->failed, 0);
    log_info("store.mended", "last_delta", atomic_load(&s->last_delta));
}

static void run_group(rl_store *s, struct rl_store_request *group)
{
    rl_error e = {0};
    rl_batch batch;
    rl_store_txn t = {.store = s, .batch = &batch, .delta_next = s->delta_next, .audit_next = s->audit_next};
    rl_batch_init(&batch);
    for (struct rl_store_request *r = group; r; r = r->next)
        run_one(&t, r);
    rl_txn_scans_free(&t);
    rl_err err = write_group(s, &t, &e);
    rl_batch_free(&batch);
    if (err == RL_OK) {
        rl_store_tell(s, t.changed, t.changed_n);
        free(t.changed);
    } else {
        s->doubtful = t.changed;
        s->doubtful_n = t.changed_n;
        mend(s);
    }
    acknowledge(s, group, err, &e);
}

void *rl_store_writer(void *store)
{
    rl_store *s = store;
    struct rl_store_request *group;
    rl_store_stand_back();
    rocksdb_set_perf_level(rocksdb_disable); /* this thread's counts of comparisons and the like, which nobody reads */
    while (take_group(s, &group)) {
        if (atomic_load(&s->failed))
            mend(s);
        if (atomic_load(&s->failed))
            acknowledge(s, group, RL_EIO, &s->cause); /* without having been run */
        else if (group)
            run_group(s, group);
        if (!atomic_load(&s->failed))
            rl_store_trim(s);
    }
    return NULL;
}
