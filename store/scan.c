/* Reads and scans inside a transaction: the database with the group's batch over it. Writer thread. */
#include "store/txn_priv.h"

rl_err rl_txn_get(rl_store_txn *t, rl_cf cf, const rl_key *k, rocksdb_pinnableslice_t **pinned, rl_span *out)
{
    char *error = NULL;
    const rl_batch_entry *own = rl_batch_find(t->batch, cf, rl_key_span(k));
    *pinned = NULL;
    if (own) {
        *out = own->value;
        return own->state == RL_ENTRY_PUT || own->state == RL_ENTRY_STORED ? RL_OK : RL_ENOTFOUND;
    }
    *pinned = rocksdb_get_pinned_cf(t->store->db, t->store->read, t->store->cf[cf], (const char *)k->b, k->n, &error);
    if (error) {
        log_error("store.read", "family", rl_cf_names[cf], "error", error);
        rocksdb_free(error);
        return RL_EIO;
    }
    if (!*pinned)
        return RL_ENOTFOUND;
    const char *p = rocksdb_pinnableslice_value(*pinned, &out->n);
    out->p = (const uint8_t *)p;
    return RL_OK;
}

/* ---- scanning ---- */
static bool is_inside(const rl_txn_scan *scan, rl_span key)
{
    return key.n >= scan->prefix.n && memcmp(key.p, scan->prefix.p, scan->prefix.n) == 0;
}

static bool look_at_stored(rl_txn_scan *scan)
{
    if (!rocksdb_iter_valid(scan->stored))
        return false;
    scan->key.p = (const uint8_t *)rocksdb_iter_key(scan->stored, &scan->key.n);
    return is_inside(scan, scan->key);
}

static int compare(rl_span a, rl_span b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c != 0 ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* The smaller of the two next keys; of one that both have, the batch's word counts. */
static void settle(rl_txn_scan *scan)
{
    for (;;) {
        bool stored = look_at_stored(scan);
        if (scan->own && !is_inside(scan, scan->own->key))
            scan->own = NULL;
        int order = !stored ? 1 : !scan->own ? -1 : compare(scan->key, scan->own->key);
        scan->valid = stored || scan->own;
        if (!scan->valid)
            return;
        if (order < 0) {
            scan->value.p = (const uint8_t *)rocksdb_iter_value(scan->stored, &scan->value.n);
            return;
        }
        if (order == 0)
            rocksdb_iter_next(scan->stored);
        if (scan->own->state == RL_ENTRY_PUT) {
            scan->key = scan->own->key;
            scan->value = scan->own->value;
            return;
        }
        scan->own = rl_batch_next(scan->own);
    }
}

rl_txn_scan rl_txn_scan_from(rl_store_txn *t, rl_cf cf, const rl_key *from, size_t prefix)
{
    /* Bindings are scanned by object: tables and memtables without any of this one's are passed by a bloom filter. */
    if (!t->iterators[cf])
        t->iterators[cf] = rocksdb_create_iterator_cf(
            t->store->db, cf == CF_BINDING ? t->store->prefix : t->store->scan, t->store->cf[cf]);
    rl_txn_scan scan = {.cf = cf,
                        .stored = t->iterators[cf],
                        .own = rl_batch_seek(t->batch, cf, rl_key_span(from)),
                        .prefix = rl_span_of(from->b, prefix)};
    rocksdb_iter_seek(scan.stored, (const char *)from->b, from->n);
    settle(&scan);
    return scan;
}

void rl_txn_scan_next(rl_txn_scan *scan)
{
    /* The stored key was passed already when the batch has the same. */
    if (scan->own && scan->key.p == scan->own->key.p)
        scan->own = rl_batch_next(scan->own);
    else
        rocksdb_iter_next(scan->stored);
    settle(scan);
}

rl_err rl_txn_scan_end(const rl_txn_scan *scan, rl_err err)
{
    char *error = NULL;
    rocksdb_iter_get_error(scan->stored, &error);
    if (!error)
        return err;
    log_error("store.scan", "family", rl_cf_names[scan->cf], "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

void rl_txn_scans_free(rl_store_txn *t)
{
    for (int i = 0; i < CF_COUNT; i++)
        if (t->iterators[i])
            rocksdb_iter_destroy(t->iterators[i]);
}
