/* The group's ordered map of writes; see batch.h. Nothing is taken out of the list: what a rollback takes back stays as
 * an entry that says nothing. Pure but for memory. */
#include "store/batch.h"

#include <stdlib.h>

/* A level more for one entry of four: twelve are enough for some millions. */
enum { ODDS = 4 };

void rl_batch_init(rl_batch *b)
{
    *b = (rl_batch){.dice = 2463534242u};
    rl_arena_init(&b->arena, 0);
}

void rl_batch_free(rl_batch *b)
{
    free(b->undo);
    rl_arena_free(&b->arena);
}

/* ---- the list ---- */
/* In the order of families and keys; zeros behind a shorter one, so that it comes first or is told by all of it. */
static uint64_t start_of(rl_cf cf, rl_span key)
{
    uint64_t start = (uint64_t)cf;
    for (size_t i = 0; i < sizeof(start) - 1; i++)
        start = start << 8 | (i < key.n ? key.p[i] : 0);
    return start;
}

static int compare(const rl_batch_entry *e, uint64_t start, rl_span key)
{
    if (e->start != start)
        return e->start < start ? -1 : 1;
    size_t n = e->key.n < key.n ? e->key.n : key.n;
    int c = memcmp(e->key.p, key.p, n);
    return c != 0 ? c : e->key.n < key.n ? -1 : e->key.n > key.n;
}

/* The first entry that is not before the key; `links`, unless NULL, the pointers on each level that lead past it. */
static rl_batch_entry *find_from(rl_batch *b, rl_cf cf, rl_span key, rl_batch_entry ***links)
{
    rl_batch_entry **heads = b->first; /* of the list, or of an entry before the key */
    rl_batch_entry *at = NULL, *bound = NULL;
    uint64_t start = start_of(cf, key);
    for (int level = RL_BATCH_LEVELS - 1; level >= 0; level--) {
        /* What ended the level above need not be compared again. */
        while ((at = heads[level]) != NULL && at != bound && compare(at, start, key) < 0)
            heads = at->next;
        bound = at;
        if (links)
            links[level] = &heads[level];
    }
    return at;
}

static int throw_level(rl_batch *b)
{
    int level = 1;
    b->dice ^= b->dice << 13;
    b->dice ^= b->dice >> 17;
    b->dice ^= b->dice << 5;
    for (uint32_t dice = b->dice; level < RL_BATCH_LEVELS && dice % ODDS == 0; dice /= ODDS)
        level++;
    return level;
}

static rl_batch_entry *insert(rl_batch *b, rl_cf cf, rl_span key, rl_batch_entry ***links)
{
    int levels = throw_level(b);
    size_t links_n = (size_t)levels * sizeof(rl_batch_entry *);
    rl_batch_entry *e = rl_arena_alloc(&b->arena, sizeof(*e) + links_n + key.n);
    if (!e)
        return NULL;
    uint8_t *copy = (uint8_t *)e->next + links_n; /* beside what is compared with it */
    memcpy(copy, key.p, key.n);
    *e = (rl_batch_entry){.state = RL_ENTRY_NONE, .cf = cf, .key = rl_span_of(copy, key.n), .start = start_of(cf, key)};
    for (int level = 0; level < levels; level++) {
        e->next[level] = *links[level];
        *links[level] = e;
    }
    return e;
}

/* ---- writing into it ---- */
static bool remember(rl_batch *b, rl_batch_entry *e)
{
    if (b->undo_n == b->undo_cap) {
        size_t cap = b->undo_cap ? 2 * b->undo_cap : 256;
        struct rl_batch_undo *undo = realloc(b->undo, cap * sizeof(*undo));
        if (!undo)
            return false;
        b->undo = undo;
        b->undo_cap = cap;
    }
    b->undo[b->undo_n++] = (struct rl_batch_undo){e, e->state, e->value};
    return true;
}

static void set(rl_batch *b, rl_cf cf, rl_span key, rl_entry_state state, rl_span value)
{
    rl_batch_entry **links[RL_BATCH_LEVELS];
    rl_batch_entry *e = find_from(b, cf, key, links);
    if (!e || compare(e, start_of(cf, key), key) != 0)
        e = insert(b, cf, key, links);
    rl_span copy = value.n ? rl_arena_copy(&b->arena, value) : rl_span_of("", 0);
    if (!e || !copy.p || !remember(b, e)) {
        b->failed = true;
        return;
    }
    b->live += !rl_entry_is_live(e->state);
    e->state = state;
    e->value = copy;
}

void rl_batch_learn(rl_batch *b, rl_cf cf, rl_span key, rl_span value)
{
    rl_batch_entry **links[RL_BATCH_LEVELS];
    rl_batch_entry *e = find_from(b, cf, key, links);
    bool known = e && compare(e, start_of(cf, key), key) == 0;
    if (known && e->state != RL_ENTRY_NONE)
        return;
    rl_span copy = value.n ? rl_arena_copy(&b->arena, value) : rl_span_of("", 0);
    if (!known)
        e = copy.p ? insert(b, cf, key, links) : NULL;
    if (!e || !copy.p)
        return; /* it is read when it is asked for */
    e->state = value.p ? RL_ENTRY_STORED : RL_ENTRY_ABSENT;
    e->value = copy;
}

void rl_batch_put(rl_batch *b, rl_cf cf, rl_span key, rl_span value)
{
    set(b, cf, key, RL_ENTRY_PUT, value);
}

void rl_batch_delete(rl_batch *b, rl_cf cf, rl_span key)
{
    set(b, cf, key, RL_ENTRY_DELETED, (rl_span){0});
}

void rl_batch_save_point(rl_batch *b)
{
    b->undo_n = 0;
}

void rl_batch_rollback(rl_batch *b)
{
    while (b->undo_n > 0) {
        const struct rl_batch_undo *u = &b->undo[--b->undo_n];
        b->live -= !rl_entry_is_live(u->state) && rl_entry_is_live(u->entry->state);
        u->entry->state = u->state;
        u->entry->value = u->value;
    }
}

/* ---- looking into it ---- */
static const rl_batch_entry *that_is_live(const rl_batch_entry *e, rl_cf cf)
{
    while (e && e->cf == cf && !rl_entry_is_live(e->state))
        e = e->next[0];
    return e && e->cf == cf ? e : NULL;
}

static rl_batch_entry *look_from(const rl_batch *b, rl_cf cf, rl_span key)
{
    return find_from((rl_batch *)(uintptr_t)b, cf, key, NULL); /* without links it only reads */
}

const rl_batch_entry *rl_batch_find(const rl_batch *b, rl_cf cf, rl_span key)
{
    const rl_batch_entry *e = look_from(b, cf, key);
    return e && e->state != RL_ENTRY_NONE && compare(e, start_of(cf, key), key) == 0 ? e : NULL;
}

const rl_batch_entry *rl_batch_seek(const rl_batch *b, rl_cf cf, rl_span key)
{
    return that_is_live(look_from(b, cf, key), cf);
}

const rl_batch_entry *rl_batch_next(const rl_batch_entry *e)
{
    return that_is_live(e->next[0], e->cf);
}

rocksdb_writebatch_t *rl_batch_encode(const rl_batch *b, rocksdb_column_family_handle_t *const *families)
{
    rocksdb_writebatch_t *out = rocksdb_writebatch_create();
    for (const rl_batch_entry *e = b->first[0]; e; e = e->next[0]) {
        const char *key = (const char *)e->key.p;
        if (e->state == RL_ENTRY_PUT)
            rocksdb_writebatch_put_cf(out, families[e->cf], key, e->key.n, (const char *)e->value.p, e->value.n);
        else if (e->state == RL_ENTRY_DELETED)
            rocksdb_writebatch_delete_cf(out, families[e->cf], key, e->key.n);
    }
    return out;
}
