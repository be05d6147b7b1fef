/* Raw access to the families inside a transaction: reads and scans see what the group has written. Writer thread.
 * Private. */
#ifndef RL_STORE_TXN_PRIV_H
#define RL_STORE_TXN_PRIV_H

#include "base/log.h"
#include "store/batch.h"
#include "store/store_priv.h"

/* Transactions that are written together; see writer.c. */
struct rl_group {
    struct rl_store_request *requests; /* until they are acknowledged */
    rl_batch batch;
    rl_store_event *changed; /* events, told when it is written */
    size_t changed_n;
    uint64_t last_delta; /* the newest number when it is written */
    rl_error error;      /* of the write */
};
void rl_group_clear(struct rl_group *g);

/* One transaction on the writer thread, inside its group's batch. */
struct rl_store_txn {
    struct rl_store *store;
    rl_batch *batch;                         /* the group's */
    const rl_batch *below;                   /* of the group before, which may still be being written; NULL: none is */
    rocksdb_iterator_t *iterators[CF_COUNT]; /* of the group, made by the first scan. What is written meanwhile is
                                                what `below` has */
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
/* What the group before has put or deleted under this key; NULL: nothing, or it is in the database. */
const rl_batch_entry *rl_txn_below(const rl_store_txn *t, rl_cf cf, rl_span key);
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
enum { RL_TXN_LAYERS = 2 };
typedef struct rl_txn_scan {
    rl_cf cf;
    rocksdb_iterator_t *stored;
    const rl_batch_entry *written[RL_TXN_LAYERS]; /* the batch's next, that of the batch below */
    rl_span prefix;                               /* in `from`, which stays */
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
