/* Raw access to the families inside a transaction: reads see what the group has written. Writer thread. Private. */
#ifndef RL_STORE_TXN_PRIV_H
#define RL_STORE_TXN_PRIV_H

#include "base/log.h"
#include "store/store_priv.h"

static inline void put(rl_store_txn *t, rl_cf cf, const rl_key *k, const void *p, size_t n)
{
    rocksdb_writebatch_wi_put_cf(t->batch, t->store->cf[cf], (const char *)k->b, k->n, p, n);
}

static inline void delete (rl_store_txn *t, rl_cf cf, const rl_key *k)
{
    rocksdb_writebatch_wi_delete_cf(t->batch, t->store->cf[cf], (const char *)k->b, k->n);
}

static inline rl_err get(rl_store_txn *t, rl_cf cf, const rl_key *k, char **value, rl_span *out)
{
    char *error = NULL;
    *value = rocksdb_writebatch_wi_get_from_batch_and_db_cf(t->batch, t->store->db, t->store->read, t->store->cf[cf],
                                                            (const char *)k->b, k->n, &out->n, &error);
    if (error) {
        log_error("store.read", "family", rl_cf_names[cf], "error", error);
        rocksdb_free(error);
        return RL_EIO;
    }
    out->p = (const uint8_t *)*value;
    return *value ? RL_OK : RL_ENOTFOUND;
}

/* An iterator that ends on a failing read looks like one at its end: whoever trusted it would skip certificates. */
static inline rl_err iterate_end(rocksdb_iterator_t *it, rl_err err)
{
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    if (!error)
        return err;
    log_error("store.scan", "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

static inline rocksdb_iterator_t *iterate(rl_store_txn *t, rl_cf cf)
{
    /* The iterator over batch and database owns the base iterator it is given. */
    return rocksdb_writebatch_wi_create_iterator_with_base_cf(
        t->batch, rocksdb_create_iterator_cf(t->store->db, t->store->scan, t->store->cf[cf]), t->store->cf[cf]);
}

static inline rl_err put_encoded(rl_store_txn *t, rl_cf cf, const rl_key *k, rl_err encoded, rl_buf *value)
{
    if (encoded == RL_OK)
        put(t, cf, k, value->p, value->n);
    rl_buf_free(value);
    return encoded;
}

#define GET_INTO(cf, key_ok, decode, out)                                                                              \
    do {                                                                                                               \
        char *value_;                                                                                                  \
        rl_span text_;                                                                                                 \
        RL_TRY(key_ok);                                                                                                \
        RL_TRY(get(t, cf, &k, &value_, &text_));                                                                       \
        rl_err err_ = decode(text_, out);                                                                              \
        rocksdb_free(value_);                                                                                          \
        return err_;                                                                                                   \
    } while (0)

#endif
