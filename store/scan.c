/* Reads and scans inside a transaction: the database, over it what is being written, over that the group's own batch.
 * Writer thread. */
#include "store/txn_priv.h"

const rl_batch_entry *rl_txn_below(const rl_store_txn *t, rl_cf cf, rl_span key)
{
    const rl_batch_entry *e = t->below ? rl_batch_find(t->below, cf, key) : NULL;
    return e && rl_entry_is_live(e->state) ? e : NULL;
}

rl_err rl_txn_get(rl_store_txn *t, rl_cf cf, const rl_key *k, rocksdb_pinnableslice_t **pinned, rl_span *out)
{
    char *error = NULL;
    const rl_batch_entry *own = rl_batch_find(t->batch, cf, rl_key_span(k));
    *pinned = NULL;
    if (!own)
        own = rl_txn_below(t, cf, rl_key_span(k));
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

static int compare(rl_span a, rl_span b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c != 0 ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* The least of the next keys; of one that several have, the newest word counts. */
static const rl_batch_entry *find_least(rl_txn_scan *scan)
{
    const rl_batch_entry *least = NULL;
    scan->valid = rocksdb_iter_valid(scan->stored);
    if (scan->valid) {
        scan->key.p = (const uint8_t *)rocksdb_iter_key(scan->stored, &scan->key.n);
        scan->valid = is_inside(scan, scan->key);
    }
    for (size_t i = RL_TXN_LAYERS; i-- > 0;) { /* the group's own last */
        const rl_batch_entry *e = scan->written[i];
        if (e && is_inside(scan, e->key) && (!scan->valid || compare(e->key, scan->key) <= 0)) {
            least = e;
            scan->key = e->key;
            scan->valid = true;
        }
    }
    return least;
}

static void pass(rl_txn_scan *scan)
{
    for (size_t i = 0; i < RL_TXN_LAYERS; i++)
        if (scan->written[i] && rl_span_eq(scan->written[i]->key, scan->key))
            scan->written[i] = rl_batch_next(scan->written[i]);
    if (rocksdb_iter_valid(scan->stored)) { /* last, since the key may lie in it */
        rl_span stored;
        stored.p = (const uint8_t *)rocksdb_iter_key(scan->stored, &stored.n);
        if (rl_span_eq(stored, scan->key))
            rocksdb_iter_next(scan->stored);
    }
}

static void settle(rl_txn_scan *scan)
{
    const rl_batch_entry *e;
    while ((e = find_least(scan)) != NULL && e->state != RL_ENTRY_PUT)
        pass(scan);
    if (e)
        scan->value = e->value;
    else if (scan->valid)
        scan->value.p = (const uint8_t *)rocksdb_iter_value(scan->stored, &scan->value.n);
}

rl_txn_scan rl_txn_scan_from(rl_store_txn *t, rl_cf cf, const rl_key *from, size_t prefix)
{
    /* Bindings are scanned by object: tables and memtables without any of this one's are passed by a bloom filter. */
    if (!t->iterators[cf])
        t->iterators[cf] = rocksdb_create_iterator_cf(
            t->store->db, cf == CF_BINDING ? t->store->prefix : t->store->scan, t->store->cf[cf]);
    rl_txn_scan scan = {.cf = cf, .stored = t->iterators[cf], .prefix = rl_span_of(from->b, prefix)};
    scan.written[0] = rl_batch_seek(t->batch, cf, rl_key_span(from));
    scan.written[1] = t->below ? rl_batch_seek(t->below, cf, rl_key_span(from)) : NULL;
    rocksdb_iter_seek(scan.stored, (const char *)from->b, from->n);
    settle(&scan);
    return scan;
}

void rl_txn_scan_next(rl_txn_scan *scan)
{
    pass(scan);
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
