/* Old records of the delta log and of the audit are removed: in ranges, a bounded number of records at a time, by the
 * writer between two groups. Writer thread, but for rl_store_keep.
 *
 * The newest record of each family always stays, for its number: the next one is counted from it. */
#include "base/clock.h"
#include "base/log.h"
#include "store/store_priv.h"

enum { RECORDS_AT_ONCE = 4096, PAUSE_MIN_MS = 1000, PAUSE_MAX_MS = 3600 * 1000, TRIES_IN_KEEP = 10 };

void rl_store_keep(rl_store *s, int64_t delta_ms, int64_t audit_ms)
{
    pthread_mutex_lock(&s->lock);
    s->trim[RL_TRIM_DELTA].keep_ms = delta_ms;
    s->trim[RL_TRIM_AUDIT].keep_ms = audit_ms;
    s->trim_at = delta_ms || audit_ms ? rl_mono_ms() : UINT64_MAX;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* ---- what is old ---- */
static int64_t delta_time(rl_span key, rl_span value)
{
    rl_delta_record r;
    (void)key;
    if (rl_delta_decode(value, &r) != RL_OK)
        return INT64_MAX;
    int64_t at = r.at;
    rl_delta_clear(&r);
    return at > INT64_MAX / 1000 ? INT64_MAX : at * 1000;
}

static int64_t audit_time(rl_span key, rl_span value)
{
    (void)value;
    uint64_t ms = key.n >= 8 ? rl_get_u64(key.p) : UINT64_MAX;
    return ms > INT64_MAX ? INT64_MAX : (int64_t)ms;
}

static const struct {
    rl_cf cf;
    int64_t (*time)(rl_span key, rl_span value); /* Unix milliseconds; INT64_MAX: does not decode, and stays */
} trimmed[RL_TRIMMED] = {[RL_TRIM_DELTA] = {CF_DELTA, delta_time}, [RL_TRIM_AUDIT] = {CF_AUDIT, audit_time}};

static void key_of(rocksdb_iterator_t *it, rl_key *k)
{
    const char *p = rocksdb_iter_key(it, &k->n);
    if (k->n > sizeof(k->b))
        k->n = sizeof(k->b);
    memcpy(k->b, p, k->n);
}

/* Up to where, exclusively, the family's first records are older than `before`; how many those are. */
static size_t find_end(rl_store *s, int which, int64_t before, rl_key *end)
{
    const rl_key *from = &s->trim[which].from;
    char *error = NULL;
    size_t n = 0, vn;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[trimmed[which].cf]);
    end->n = 0;
    for (rocksdb_iter_seek(it, (const char *)from->b, from->n); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        key_of(it, end);
        const char *value = rocksdb_iter_value(it, &vn);
        if (n == RECORDS_AT_ONCE || trimmed[which].time(rl_span_of(end->b, end->n), rl_span_of(value, vn)) >= before)
            break;
        n++;
    }
    bool all = !rocksdb_iter_valid(it);
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    if (error) {
        log_error("store.scan", "error", error);
        rocksdb_free(error);
        return 0;
    }
    return n - (all && n > 0); /* `end` is the last one then */
}

/* ---- removing it ---- */
static rl_err remove_range(rl_store *s, rl_cf cf, const rl_key *from, const rl_key *end)
{
    char *error = NULL;
    rl_error e = {0};
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writebatch_delete_range_cf(batch, s->cf[cf], (const char *)from->b, from->n, (const char *)end->b, end->n);
    rocksdb_write(s->db, s->write, batch, &error);
    rocksdb_writebatch_destroy(batch);
    if (!error)
        return RL_OK;
    rl_store_fail(&e, RL_EIO, "the database cannot be written", error);
    rl_store_write_failed(s, &e);
    return RL_EIO;
}

/* Whether more of this family is old. */
static bool trim(rl_store *s, int which, int64_t keep_ms)
{
    rl_key end;
    rl_cf cf = trimmed[which].cf;
    size_t n = keep_ms ? find_end(s, which, rl_wall_ms() - keep_ms, &end) : 0;
    if (n == 0 || remove_range(s, cf, &s->trim[which].from, &end) != RL_OK)
        return false;
    s->trim[which].from = end;
    log_info("store.trimmed", "family", rl_cf_names[cf], "records", n);
    return n == RECORDS_AT_ONCE;
}

static int64_t pause(int64_t keep_ms)
{
    int64_t ms = keep_ms ? keep_ms / TRIES_IN_KEEP : PAUSE_MAX_MS;
    return ms < PAUSE_MIN_MS ? PAUSE_MIN_MS : ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
}

void rl_store_trim(rl_store *s)
{
    int64_t keep[RL_TRIMMED], next = PAUSE_MAX_MS;
    bool more = false;
    pthread_mutex_lock(&s->lock);
    bool due = rl_mono_ms() >= s->trim_at;
    for (int i = 0; i < RL_TRIMMED; i++)
        keep[i] = s->trim[i].keep_ms;
    pthread_mutex_unlock(&s->lock);
    due = due && rl_store_wait_written(s);
    for (int i = 0; due && i < RL_TRIMMED && !atomic_load(&s->failed); i++) {
        more |= trim(s, i, keep[i]);
        next = pause(keep[i]) < next ? pause(keep[i]) : next;
    }
    if (!due)
        return;
    pthread_mutex_lock(&s->lock);
    s->trim_at = rl_mono_ms() + (more ? 0 : (uint64_t)next);
    pthread_mutex_unlock(&s->lock);
}
