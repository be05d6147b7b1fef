/* What a group of transactions has put and deleted, until it is written: an ordered map over all families that the
 * group's own reads and scans look into, and those of the next group while it is being written. Only its own group
 * changes it. Private.
 *
 * A skip list. RocksDB's indexed batch does the same, at several times the price: it keeps the octets as they will be
 * in the log, and parses them for each comparison. Here a key that was put repeatedly is written once, and the keys of
 * a family are written in their order, which memtables like. */
#ifndef RL_STORE_BATCH_H
#define RL_STORE_BATCH_H

#include <rocksdb/c.h>

#include "base/arena.h"
#include "store/store_priv.h"

typedef enum {
    RL_ENTRY_NONE, /* says nothing: rolled back */
    RL_ENTRY_PUT,
    RL_ENTRY_DELETED,
    RL_ENTRY_STORED, /* what the database has, read ahead: not to be written */
    RL_ENTRY_ABSENT  /* the same: it has none */
} rl_entry_state;

/* It is to be written. */
static inline bool rl_entry_is_live(rl_entry_state state)
{
    return state == RL_ENTRY_PUT || state == RL_ENTRY_DELETED;
}

typedef struct rl_batch_entry rl_batch_entry;
struct rl_batch_entry {
    rl_entry_state state;
    rl_cf cf;
    rl_span key, value;
    uint64_t start;         /* family and first octets of the key, as a number: tells nearly all entries apart */
    rl_batch_entry *next[]; /* by level */
};

enum { RL_BATCH_LEVELS = 12 };

typedef struct rl_batch {
    rl_arena arena; /* owns entries, keys and values */
    rl_batch_entry *first[RL_BATCH_LEVELS];
    size_t live;   /* entries that were put or deleted */
    uint32_t dice; /* for the levels */
    struct rl_batch_undo {
        rl_batch_entry *entry;
        rl_entry_state state;
        rl_span value;
    } * undo; /* what was overwritten since the save point */
    size_t undo_n, undo_cap;
    bool failed; /* out of memory: something is missing, so nothing of it may be written */
} rl_batch;

void rl_batch_init(rl_batch *b);
void rl_batch_free(rl_batch *b);
/* Copies. */
void rl_batch_put(rl_batch *b, rl_cf cf, rl_span key, rl_span value);
void rl_batch_delete(rl_batch *b, rl_cf cf, rl_span key);
/* What the database has under a key of which the batch says nothing; value.p NULL: nothing. */
void rl_batch_learn(rl_batch *b, rl_cf cf, rl_span key, rl_span value);
/* The entry of this key; NULL: the batch says nothing of it. It stays until the batch is freed. */
const rl_batch_entry *rl_batch_find(const rl_batch *b, rl_cf cf, rl_span key);
/* The first entry of the family that was put or deleted, from `key` on; behind `e`. NULL: none. */
const rl_batch_entry *rl_batch_seek(const rl_batch *b, rl_cf cf, rl_span key);
const rl_batch_entry *rl_batch_next(const rl_batch_entry *e);
/* From now on a rollback takes back what follows. */
void rl_batch_save_point(rl_batch *b);
void rl_batch_rollback(rl_batch *b);
/* The whole, for RocksDB; the caller destroys. */
rocksdb_writebatch_t *rl_batch_encode(const rl_batch *b, rocksdb_column_family_handle_t *const *families);

#endif
