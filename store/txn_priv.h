/* Raw access to the families inside a transaction: reads and scans see what the group has written. Writer thread.
 * Private. */
#ifndef RL_STORE_TXN_PRIV_H
#define RL_STORE_TXN_PRIV_H

#include "base/log.h"
#include "store/batch.h"
#include "store/store_priv.h"

/* One transaction on the writer thread, inside its group's batch. */
struct rl_store_txn {
    struct rl_store *store;
    rl_batch *batch;                         /* the group's */
    rocksdb_iterator_t *iterators[CF_COUNT]; /* of the group, made by the first scan: nobody else writes meanwhile */
    uint64_t delta_next, audit_next;
    rl_store_event *changed; /* of the group */
    size_t changed_n, changed_cap;
};

static inline rl_span rl_key_span(const rl_key *k)
{
    return rl_span_of(k->b, k->n);
}

static inline void put(rl_store_txn *t, rl_cf cf, const rl_key *k, const void *p, size_t n)
{
    rl_batch_put(t->batch, cf, rl_key_span(k), rl_span_of(p, n));
}

static inline void delete (rl_store_txn *t, rl_cf cf, const rl_key *k)
{
    rl_batch_delete(t->batch, cf, rl_key_span(k));
}

static inline rl_err put_encoded(rl_store_txn *t, rl_cf cf, const rl_key *k, rl_err encoded, rl_buf *value)
{
    if (encoded == RL_OK)
        put(t, cf, k, value->p, value->n);
    rl_buf_free(value);
    return encoded;
}

/* ---- reading ---- */
/* `pinned` holds the value as long as it is not destroyed (NULL may be). */
rl_err rl_txn_get(rl_store_txn *t, rl_cf cf, const rl_key *k, rocksdb_pinnableslice_t **pinned, rl_span *out);

#define GET_INTO(cf, key_ok, decode, out)                                                                              \
    do {                                                                                                               \
        rocksdb_pinnableslice_t *pinned_;                                                                              \
        rl_span text_;                                                                                                 \
        RL_TRY(key_ok);                                                                                                \
        RL_TRY(rl_txn_get(t, cf, &k, &pinned_, &text_));                                                               \
        rl_err err_ = decode(text_, out);                                                                              \
        rocksdb_pinnableslice_destroy(pinned_);                                                                        \
        return err_;                                                                                                   \
    } while (0)

/* ---- scanning ---- the keys that begin as `from` does, with its first `prefix` octets, in their order from there on.
 * One scan of a family at a time, and nothing is written while it goes on. */
typedef struct rl_txn_scan {
    rl_cf cf;
    rocksdb_iterator_t *stored;
    const rl_batch_entry *own; /* the batch's next */
    rl_span prefix;            /* in `from`, which stays */
    bool valid;
    rl_span key, value; /* while it is valid, until it moves */
} rl_txn_scan;
rl_txn_scan rl_txn_scan_from(rl_store_txn *t, rl_cf cf, const rl_key *from, size_t prefix);
void rl_txn_scan_next(rl_txn_scan *scan);
/* An iterator that ends on a failing read looks like one at its end: whoever trusted it would skip certificates. So
 * every scan ends here: `err`, or RL_EIO. */
rl_err rl_txn_scan_end(const rl_txn_scan *scan, rl_err err);
/* Frees the iterators of the group. */
void rl_txn_scans_free(rl_store_txn *t);

#endif
