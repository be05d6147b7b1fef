/* Reading ahead: what a transaction is about to ask for is read in the order of the keys, by two threads, the writer
 * and a helper, each taking the next few keys when it is done with its last. It waits for nothing but the few that the
 * helper has begun.
 *
 * Records are kept in the group's batch, where they are found when they are asked for; but not what the group before
 * has written, since its write may have been under way. Bindings are handed over at once: what the two groups have
 * written of an object's is looked at there and then. */
#include <stdlib.h>

#include "store/txn_priv.h"

enum {
    PIECE = 32,         /* keys, as many as RocksDB looks up together */
    SLICE = 32 * PIECE, /* what is read at a time: bounds the memory that it is read into */
    READERS = 2         /* the writer is the first */
};

/* ---- two threads ---- */
struct rl_pieces {
    void (*read)(rl_pieces *p, size_t first, size_t end, size_t reader);
    size_t n; /* keys */
    atomic_size_t next;
};

static void read_pieces(rl_pieces *p, size_t reader)
{
    size_t first;
    while ((first = atomic_fetch_add(&p->next, PIECE)) < p->n)
        p->read(p, first, first + PIECE < p->n ? first + PIECE : p->n, reader);
}

void *rl_store_helper(void *store)
{
    struct rl_helper *h = &((rl_store *)store)->helper;
    rl_store_stand_back();
    rocksdb_set_perf_level(rocksdb_disable);
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        rl_pieces *p = h->pieces;
        if (!p) {
            pthread_cond_wait(&h->wake, &h->lock);
            continue;
        }
        h->pieces = NULL;
        h->busy = true;
        pthread_mutex_unlock(&h->lock);
        read_pieces(p, 1);
        pthread_mutex_lock(&h->lock);
        h->busy = false;
        pthread_cond_signal(&h->idle);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static void read_all(rl_store *s, rl_pieces *p)
{
    struct rl_helper *h = &s->helper;
    const bool shared = p->n > PIECE;
    if (shared) {
        pthread_mutex_lock(&h->lock);
        h->pieces = p;
        pthread_cond_signal(&h->wake);
        pthread_mutex_unlock(&h->lock);
    }
    read_pieces(p, 0);
    if (shared) {
        pthread_mutex_lock(&h->lock);
        h->pieces = NULL;
        while (h->busy)
            pthread_cond_wait(&h->idle, &h->lock);
        pthread_mutex_unlock(&h->lock);
    }
}

/* ---- records ---- */
struct records {
    rl_pieces pieces;
    rl_store *store;
    rl_cf cf;
    const void *ids;
    rl_err (*key)(const void *ids, size_t i, rl_key *k);
    struct {
        rocksdb_pinnableslice_t *value; /* NULL: there is none */
        bool is_read;                   /* else who asks for it meets the error, and reports it */
    } found[SLICE];
};

static void read_records(rl_pieces *p, size_t first, size_t end, size_t reader)
{
    struct records *r = (struct records *)p;
    rl_key keys[PIECE];
    const char *texts[PIECE];
    size_t lengths[PIECE], at[PIECE], n = 0;
    rocksdb_pinnableslice_t *values[PIECE];
    char *errors[PIECE];
    (void)reader;
    for (size_t i = first; i < end; i++) {
        if (r->key(r->ids, i, &keys[n]) != RL_OK)
            continue;
        texts[n] = (const char *)keys[n].b;
        lengths[n] = keys[n].n;
        at[n++] = i;
    }
    if (n > 0)
        rocksdb_batched_multi_get_cf(r->store->db, r->store->read, r->store->cf[r->cf], n, texts, lengths, values,
                                     errors, true);
    for (size_t i = 0; i < n; i++) {
        r->found[at[i]].value = values[i];
        r->found[at[i]].is_read = !errors[i];
        rocksdb_free(errors[i]);
    }
}

static void learn(rl_store_txn *t, struct records *r)
{
    rl_key k;
    for (size_t i = 0; i < r->pieces.n; i++) {
        rocksdb_pinnableslice_t *value = r->found[i].value;
        rl_span stored = {0};
        if (value) {
            const char *p = rocksdb_pinnableslice_value(value, &stored.n);
            stored.p = (const uint8_t *)p;
        }
        if (r->found[i].is_read && r->key(r->ids, i, &k) == RL_OK && !rl_txn_below(t, r->cf, rl_key_span(&k)))
            rl_batch_learn(t->batch, r->cf, rl_key_span(&k), stored);
        rocksdb_pinnableslice_destroy(value);
    }
}

static void read_ahead(rl_store_txn *t, rl_cf cf, const void *ids, size_t n,
                       rl_err (*key)(const void *ids, size_t i, rl_key *k))
{
    struct records r = {.pieces = {.read = read_records, .n = n}, .store = t->store, .cf = cf, .ids = ids, .key = key};
    read_all(t->store, &r.pieces);
    learn(t, &r);
}

static rl_err object_key(const void *ids, size_t i, rl_key *k)
{
    const rl_object_id *id = (const rl_object_id *)ids + i;
    return rl_key_object(id->source, id->id, k);
}

static rl_err cert_key(const void *ids, size_t i, rl_key *k)
{
    return rl_key_cert(((const rl_cert_id *const *)ids)[i], k);
}

static int by_source_and_id(const void *x, const void *y)
{
    const rl_object_id *a = x, *b = y;
    return a->source != b->source ? (a->source < b->source ? -1 : 1) : strcmp(a->id, b->id);
}

/* Of a source without objects none is looked for: each Entra device is asked for in Intune, too, which many do not
 * have. In the order of the keys, neighbours are found in the same blocks. */
void rl_txn_expect_objects(rl_store_txn *t, rl_object_id *ids, size_t all)
{
    size_t n = 0;
    for (size_t i = 0; i < all; i++)
        if ((unsigned)ids[i].source <= UINT8_MAX && t->store->has_objects[ids[i].source])
            ids[n++] = ids[i];
    if (n > 0)
        qsort(ids, n, sizeof(*ids), by_source_and_id);
    for (size_t i = 0; i < n; i += SLICE)
        read_ahead(t, CF_OBJECT, ids + i, n - i < SLICE ? n - i : SLICE, object_key);
}

void rl_txn_expect_certs(rl_store_txn *t, const rl_cert_id *const *ids, size_t n)
{
    for (size_t i = 0; i < n; i += SLICE)
        read_ahead(t, CF_CERT, ids + i, n - i < SLICE ? n - i : SLICE, cert_key);
}

/* ---- bindings ---- */
struct bindings {
    rl_pieces pieces;
    rl_store *store;
    const rl_binding_look *looks;
    rocksdb_iterator_t *iterators[READERS]; /* made by who needs one */
    struct found {
        struct bound {
            size_t look;
            rl_cert_id cert;
        } * bound;
        size_t n, cap;
        rl_err err;
    } found[SLICE / PIECE]; /* by piece */
};

static rl_err note(struct found *f, size_t look, rl_span key, size_t prefix)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : PIECE;
        struct bound *bound = realloc(f->bound, cap * sizeof(*bound));
        if (!bound)
            return RL_ENOMEM;
        f->bound = bound;
        f->cap = cap;
    }
    f->bound[f->n].look = look;
    RL_TRY(rl_key_to_cert(key.p, key.n, prefix, &f->bound[f->n].cert));
    f->n++;
    return RL_OK;
}

static rl_err look_up(rocksdb_iterator_t *it, const rl_binding_look *look, size_t number, struct found *f)
{
    rl_key prefix;
    rl_err err = RL_OK;
    char *error = NULL;
    RL_TRY(rl_key_binding_prefix(look->source, look->id, &prefix));
    for (rocksdb_iter_seek(it, (const char *)prefix.b, prefix.n); err == RL_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        rl_span key;
        key.p = (const uint8_t *)rocksdb_iter_key(it, &key.n);
        if (key.n < prefix.n || memcmp(key.p, prefix.b, prefix.n) != 0)
            break;
        err = note(f, number, key, prefix.n);
    }
    rocksdb_iter_get_error(it, &error);
    if (!error)
        return err;
    log_error("store.scan", "family", rl_cf_names[CF_BINDING], "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

static void read_bindings(rl_pieces *p, size_t first, size_t end, size_t reader)
{
    struct bindings *b = (struct bindings *)p;
    struct found *f = &b->found[first / PIECE];
    if (!b->iterators[reader])
        b->iterators[reader] = rocksdb_create_iterator_cf(b->store->db, b->store->prefix, b->store->cf[CF_BINDING]);
    for (size_t i = first; f->err == RL_OK && i < end; i++)
        f->err = look_up(b->iterators[reader], &b->looks[i], i, f);
}

static bool has_some(const rl_batch *b, const rl_key *prefix)
{
    const rl_batch_entry *first = b ? rl_batch_seek(b, CF_BINDING, rl_key_span(prefix)) : NULL;
    return first && first->key.n >= prefix->n && memcmp(first->key.p, prefix->b, prefix->n) == 0;
}

static bool has_own(rl_store_txn *t, const rl_binding_look *look)
{
    rl_key prefix;
    return rl_key_binding_prefix(look->source, look->id, &prefix) == RL_OK &&
           (has_some(t->batch, &prefix) || has_some(t->below, &prefix));
}

/* Of an object whose bindings the group, or the one before it, has written some, what is stored is only a part. */
static rl_err hand_over(rl_store_txn *t, const struct bindings *b, rl_binding_fn fn)
{
    size_t next = 0; /* in its piece */
    for (size_t i = 0; i < b->pieces.n; i++) {
        const struct found *f = &b->found[i / PIECE];
        const rl_binding_look *look = &b->looks[i];
        RL_TRY(f->err);
        if (i % PIECE == 0)
            next = 0;
        const bool own = has_own(t, look);
        for (; next < f->n && f->bound[next].look == i; next++)
            if (!own)
                RL_TRY(fn(t, &f->bound[next].cert, look->ctx));
        if (own)
            RL_TRY(rl_txn_each_binding(t, look->source, look->id, fn, look->ctx));
    }
    return RL_OK;
}

static rl_err each_binding_of(rl_store_txn *t, const rl_binding_look *looks, size_t n, rl_binding_fn fn)
{
    struct bindings b = {.pieces = {.read = read_bindings, .n = n}, .store = t->store, .looks = looks};
    read_all(t->store, &b.pieces);
    rl_err err = hand_over(t, &b, fn);
    for (size_t i = 0; i < READERS; i++)
        if (b.iterators[i])
            rocksdb_iter_destroy(b.iterators[i]);
    for (size_t i = 0; i < SLICE / PIECE; i++)
        free(b.found[i].bound);
    return err;
}

/* Of their keys: a length is before the id. */
static int by_binding(const void *x, const void *y)
{
    const rl_binding_look *a = x, *b = y;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    const size_t a_n = strlen(a->id), b_n = strlen(b->id);
    return a_n != b_n ? (a_n < b_n ? -1 : 1) : memcmp(a->id, b->id, a_n);
}

rl_err rl_txn_each_binding_of(rl_store_txn *t, rl_binding_look *looks, size_t n, rl_binding_fn fn)
{
    if (n > 0)
        qsort(looks, n, sizeof(*looks), by_binding);
    for (size_t i = 0; i < n; i += SLICE)
        RL_TRY(each_binding_of(t, looks + i, n - i < SLICE ? n - i : SLICE, fn));
    return RL_OK;
}
