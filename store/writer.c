/* The one writer thread: takes all that waits as one group, runs each transaction over one batch, and hands the batch
 * to the committer (committer.c) to be written. Meanwhile it runs the next group, which sees what is being written and
 * is written after it, or not at all when that could not be written. */
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
    GROUP_MAX = 4096,         /* requests */
    GROUP_GROWS_TO = 1 << 14, /* entries of a batch: above, what comes waits for the next group */
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
/* Until something is queued, the store closes, a write has failed, or it is time to mend or to trim the database. */
static void wait_for_work(rl_store *s)
{
    bool due = false;
    while (!s->queue && (!s->closing || s->writing) && !due && !s->unwritten) {
        const uint64_t at = atomic_load(&s->failed) ? s->mend_at : s->trim_at;
        const struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};
        if (at != UINT64_MAX)
            due = pthread_cond_timedwait(&s->wake, &s->lock, &until) == ETIMEDOUT;
        else
            pthread_cond_wait(&s->wake, &s->lock);
    }
}

/* Up to `max` requests that wait, under the lock. */
static struct rl_store_request *take(rl_store *s, size_t max)
{
    struct rl_store_request *first = s->queue, **end = &s->queue;
    for (size_t n = 0; *end && n < max; n++)
        end = &(*end)->next;
    s->queue = *end;
    *end = NULL;
    if (!s->queue)
        s->tail = &s->queue;
    return first;
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
    struct rl_hearers hearers;
    rl_store_hearers(s, &hearers);
    rl_store_tell(s, &hearers, s->doubtful, s->doubtful_n);
    free(s->doubtful);
    s->doubtful = NULL;
    s->doubtful_n = 0;
    atomic_store(&s->failed, 0);
    log_info("store.mended", "last_delta", atomic_load(&s->last_delta));
}

/* The group could not be written; what has happened of its events is known when the database has been opened anew. */
static void give_up(rl_store *s)
{
    struct rl_group *g = s->unwritten;
    s->unwritten = s->before = NULL;
    s->doubtful = g->changed;
    s->doubtful_n = g->changed_n;
    g->changed = NULL;
    mend(s);
    rl_store_acknowledge(s, g->requests, RL_EIO, &g->error);
    rl_group_clear(g);
}

/* Not run, or run over a group that is not there: then whatever was decided does not count. */
static void refuse(rl_store *s, struct rl_store_request *requests, const rl_error *e)
{
    for (struct rl_store_request *r = requests; r; r = r->next)
        r->err = RL_OK;
    rl_store_acknowledge(s, requests, RL_EIO, e);
}

/* ---- a group ---- */
/* More for the group that has `n` by now. But for the first time it waits for some or for the end of the write before:
 * what comes while a disk syncs is one group. NULL: nothing more. */
static struct rl_store_request *take_more(rl_store *s, const rl_batch *batch, size_t n)
{
    struct rl_store_request *more = NULL;
    pthread_mutex_lock(&s->lock);
    while (n > 0 && s->writing && !s->queue)
        pthread_cond_wait(&s->wake, &s->lock);
    if (n == 0 || (s->writing && n < GROUP_MAX && batch->live < GROUP_GROWS_TO))
        more = take(s, GROUP_MAX - n);
    pthread_mutex_unlock(&s->lock);
    return more;
}

static void run_all(rl_store_txn *t, struct rl_group *g)
{
    struct rl_store_request *r, **end = &g->requests;
    size_t n = 0;
    while ((r = take_more(t->store, t->batch, n)) != NULL)
        for (*end = r; r; end = &r->next, r = r->next, n++)
            run_one(t, r);
}

bool rl_store_wait_written(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->writing)
        pthread_cond_wait(&s->wake, &s->lock);
    bool written = !s->unwritten;
    pthread_mutex_unlock(&s->lock);
    return written;
}

/* The group before, as long as its write is under way or has failed; NULL: it is in the database. */
static struct rl_group *find_before(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool written = !s->writing && !s->unwritten;
    pthread_mutex_unlock(&s->lock);
    if (s->before && written) {
        rl_group_clear(s->before);
        s->before = NULL;
    }
    return s->before;
}

static void hand_over(rl_store *s, struct rl_group *g)
{
    if (s->before)
        rl_group_clear(s->before);
    s->before = g;
    pthread_mutex_lock(&s->lock);
    s->writing = g;
    pthread_cond_signal(&s->handed);
    pthread_mutex_unlock(&s->lock);
}

static void run_group(rl_store *s)
{
    const struct rl_group *before = find_before(s);
    struct rl_group *g = &s->groups[before == &s->groups[0]];
    rl_store_txn t = {.store = s,
                      .batch = &g->batch,
                      .below = before ? &before->batch : NULL,
                      .delta_next = s->delta_next,
                      .audit_next = s->audit_next};
    rl_batch_init(&g->batch);
    run_all(&t, g);
    rl_txn_scans_free(&t);
    g->changed = t.changed;
    g->changed_n = t.changed_n;
    g->last_delta = t.delta_next - 1;
    s->delta_next = t.delta_next;
    s->audit_next = t.audit_next;
    if (rl_store_wait_written(s)) {
        hand_over(s, g);
        return;
    }
    const rl_error e = before->error;
    give_up(s);
    refuse(s, g->requests, &e);
    rl_group_clear(g);
}

/* ---- the thread ---- */
struct work {
    bool unwritten, failed, queued, closed; /* closed: nothing is left */
};

/* As one picture: the committer's failure is seen as a whole or not at all. */
static struct work next_work(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    wait_for_work(s);
    const struct work work = {.unwritten = s->unwritten,
                              .failed = atomic_load(&s->failed),
                              .queued = s->queue,
                              .closed = s->closing && !s->queue && !s->unwritten && !s->writing};
    pthread_mutex_unlock(&s->lock);
    return work;
}

static void refuse_all(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct rl_store_request *waiting = take(s, SIZE_MAX);
    pthread_mutex_unlock(&s->lock);
    refuse(s, waiting, &s->cause);
}

void *rl_store_writer(void *store)
{
    rl_store *s = store;
    struct work work;
    rl_store_stand_back();
    rocksdb_set_perf_level(rocksdb_disable); /* this thread's counts of comparisons and the like, which nobody reads */
    while ((work = next_work(s), !work.closed)) {
        if (work.unwritten) {
            give_up(s);
        } else if (work.failed) {
            mend(s);
            if (atomic_load(&s->failed))
                refuse_all(s);
        } else {
            if (work.queued)
                run_group(s);
            rl_store_trim(s);
        }
    }
    find_before(s);
    return NULL;
}
