/* Changes that wait for an admin, and the certificates that wait in them.
 *
 * `held`: change id (u64) → the change; behind it, change id, issuer, serial → empty, a key for each certificate whose
 * record names the change. `meta`: "change" → the highest id that was given out. */
#include "store/txn_priv.h"

#include <stdio.h>

enum { CHANGE_KEY = 8 };

/* ---- inside a transaction ---- */
rl_err rl_txn_change(rl_store_txn *t, uint64_t id, rl_change_record *out)
{
    rl_key k = rl_key_u64(id);
    GET_INTO(CF_HELD, RL_OK, rl_change_decode, out);
}

rl_err rl_txn_put_change(rl_store_txn *t, uint64_t id, const rl_change_record *r)
{
    rl_key k = rl_key_u64(id);
    rl_buf value = {0};
    return put_encoded(t, CF_HELD, &k, rl_change_encode(r, &value), &value);
}

rl_err rl_txn_delete_change(rl_store_txn *t, uint64_t id)
{
    const rl_key k = rl_key_u64(id);
    delete (t, CF_HELD, &k);
    return RL_OK;
}

rl_err rl_txn_find_change(rl_store_txn *t, const char *source, rl_change_state state, uint64_t *id,
                          rl_change_record *out)
{
    rl_key at = rl_key_u64(0);
    rl_err err = RL_OK;
    bool found = false;
    rl_txn_scan scan = rl_txn_scan_from(t, CF_HELD, &at, 0);
    while (err == RL_OK && scan.valid && !found) {
        err = scan.key.n == CHANGE_KEY ? rl_change_decode(scan.value, out) : RL_ECORRUPT;
        *id = err == RL_OK ? rl_get_u64(scan.key.p) : 0;
        found = err == RL_OK && out->state == state && (!source || strcmp(out->source, source) == 0);
        at = rl_key_u64(*id + 1); /* past its certificates */
        scan = rl_txn_scan_from(t, CF_HELD, &at, 0);
    }
    return rl_txn_scan_end(&scan, err != RL_OK || found ? err : RL_ENOTFOUND);
}

static rl_err as_number(rl_span in, void *out)
{
    if (in.n != 8)
        return RL_ECORRUPT;
    *(uint64_t *)out = rl_get_u64(in.p);
    return RL_OK;
}

static const rl_key last_key = {.n = 6, .b = "change"};

static rl_err last_change(rl_store_txn *t, uint64_t *out)
{
    const rl_key k = last_key;
    GET_INTO(CF_META, RL_OK, as_number, out);
}

static void put_last_change(rl_store_txn *t, uint64_t id)
{
    const rl_key number = rl_key_u64(id);
    put(t, CF_META, &last_key, number.b, number.n);
}

rl_err rl_txn_reserve_change(rl_store_txn *t, uint64_t id)
{
    uint64_t last = 0;
    rl_err err = last_change(t, &last);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    if (id > last)
        put_last_change(t, id);
    return RL_OK;
}

rl_err rl_txn_new_change(rl_store_txn *t, const char *source, int64_t now, uint64_t *id)
{
    rl_change_record r = {.state = RL_CHANGE_OPEN, .since = now};
    uint64_t last = 0;
    rl_err err = last_change(t, &last);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    *id = last + 1;
    put_last_change(t, *id);
    snprintf(r.source, sizeof(r.source), "%s", source);
    return rl_txn_put_change(t, *id, &r);
}

rl_err rl_txn_held(rl_store_txn *t, uint64_t change, const rl_cert_id *after, rl_cert_id *ids, size_t cap, size_t *n)
{
    rl_key from = rl_key_u64(change);
    rl_err err = RL_OK;
    if (after->serial_n)
        RL_TRY(rl_key_held(change, after, &from));
    rl_txn_scan scan = rl_txn_scan_from(t, CF_HELD, &from, CHANGE_KEY);
    for (*n = 0; err == RL_OK && *n < cap && scan.valid; rl_txn_scan_next(&scan)) {
        if (rl_span_eq(scan.key, rl_key_span(&from)))
            continue; /* the change itself, or `after` */
        err = rl_key_to_cert(scan.key.p, scan.key.n, CHANGE_KEY, &ids[*n]);
        ++*n;
    }
    return rl_txn_scan_end(&scan, err);
}

static rl_err join(rl_store_txn *t, const rl_cert_id *cert, uint64_t change)
{
    rl_key k;
    rl_change_record r;
    RL_TRY(rl_key_held(change, cert, &k));
    RL_TRY(rl_txn_change(t, change, &r));
    put(t, CF_HELD, &k, "", 0);
    r.certificates++;
    return rl_txn_put_change(t, change, &r);
}

static rl_err leave(rl_store_txn *t, const rl_cert_id *cert, uint64_t change)
{
    rl_key k;
    rl_change_record r;
    RL_TRY(rl_key_held(change, cert, &k));
    delete (t, CF_HELD, &k);
    rl_err err = rl_txn_change(t, change, &r);
    if (err != RL_OK)
        return err == RL_ENOTFOUND ? RL_ECORRUPT : err;
    if (r.certificates <= 1)
        return rl_txn_delete_change(t, change);
    r.certificates--;
    return rl_txn_put_change(t, change, &r);
}

rl_err rl_txn_move_held(rl_store_txn *t, const rl_cert_id *cert, uint64_t from, uint64_t to)
{
    if (from)
        RL_TRY(leave(t, cert, from));
    return to ? join(t, cert, to) : RL_OK;
}

/* ---- from any thread ---- */
static rl_err read_end(rl_store *s, rocksdb_iterator_t *it, rl_err err)
{
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    rl_store_leave(s);
    if (!error)
        return err;
    log_error("store.scan", "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

rl_err rl_store_each_change(rl_store *s, bool (*fn)(uint64_t id, const rl_change_record *r, void *ctx), void *ctx)
{
    rl_key at = rl_key_u64(0);
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(rl_store_enter(s));
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[CF_HELD]);
    while (more && err == RL_OK) {
        rl_change_record r;
        size_t kn, vn;
        rocksdb_iter_seek(it, (const char *)at.b, at.n);
        if (!rocksdb_iter_valid(it))
            break;
        const char *key = rocksdb_iter_key(it, &kn), *value = rocksdb_iter_value(it, &vn);
        err = kn == CHANGE_KEY ? rl_change_decode(rl_span_of(value, vn), &r) : RL_ECORRUPT;
        if (err == RL_OK) {
            uint64_t id = rl_get_u64(key);
            more = fn(id, &r, ctx);
            at = rl_key_u64(id + 1);
        }
    }
    return read_end(s, it, err);
}

rl_err rl_store_each_held(rl_store *s, uint64_t change, bool (*fn)(const rl_cert_id *id, void *ctx), void *ctx)
{
    const rl_key prefix = rl_key_u64(change);
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(rl_store_enter(s));
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[CF_HELD]);
    rocksdb_iter_seek(it, (const char *)prefix.b, prefix.n);
    for (; more && err == RL_OK && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        rl_cert_id id;
        size_t kn;
        const char *key = rocksdb_iter_key(it, &kn);
        if (kn < CHANGE_KEY || memcmp(key, prefix.b, CHANGE_KEY) != 0)
            break;
        if (kn == CHANGE_KEY)
            continue; /* the change itself */
        err = rl_key_to_cert(key, kn, CHANGE_KEY, &id);
        if (err == RL_OK)
            more = fn(&id, ctx);
    }
    return read_end(s, it, err);
}
