/* Reading the database from any thread: point reads, iteration over a snapshot, figures. A reader is inside the
 * database from rl_store_enter to rl_store_leave; the writer closes it only when nobody is. */
#include "base/log.h"
#include "store/store_priv.h"

/* Shared, and granted while the writer waits for its turn: a callback of an iteration may read. */
rl_err rl_store_enter(rl_store *s)
{
    pthread_rwlock_rdlock(&s->inside);
    if (s->db)
        return RL_OK;
    pthread_rwlock_unlock(&s->inside);
    return RL_EIO;
}

void rl_store_leave(rl_store *s)
{
    pthread_rwlock_unlock(&s->inside);
}

/* ---- point reads ---- */
static rl_err get(rl_store *s, rl_cf cf, const rl_key *k, rocksdb_pinnableslice_t **value, rl_span *out)
{
    char *error = NULL;
    *value = rocksdb_get_pinned_cf(s->db, s->read, s->cf[cf], (const char *)k->b, k->n, &error);
    if (error) {
        RL_LOG_CLIENT(RL_LOG_ERROR, "store.read", "family", rl_cf_names[cf], "error", error);
        rocksdb_free(error);
        return RL_EIO;
    }
    if (!*value)
        return RL_ENOTFOUND;
    const char *p = rocksdb_pinnableslice_value(*value, &out->n);
    out->p = (const uint8_t *)p;
    return RL_OK;
}

#define READ_INTO(cf, key_ok, decode, out)                                                                             \
    do {                                                                                                               \
        rocksdb_pinnableslice_t *value_;                                                                               \
        rl_span text_;                                                                                                 \
        RL_TRY(key_ok);                                                                                                \
        RL_TRY(rl_store_enter(s));                                                                                     \
        rl_err err_ = get(s, cf, &k, &value_, &text_);                                                                 \
        if (err_ == RL_OK) {                                                                                           \
            err_ = decode(text_, out);                                                                                 \
            rocksdb_pinnableslice_destroy(value_);                                                                     \
        }                                                                                                              \
        rl_store_leave(s);                                                                                             \
        return err_;                                                                                                   \
    } while (0)

rl_err rl_store_cert(rl_store *s, const rl_cert_id *id, rl_cert_record *out)
{
    rl_key k;
    READ_INTO(CF_CERT, rl_key_cert(id, &k), rl_cert_decode, out);
}

static rl_err read_status(rl_store *s, const rl_cert_id *id, rl_cert_status *out)
{
    rl_key k;
    READ_INTO(CF_CERT, rl_key_cert(id, &k), rl_cert_decode_status, out);
}

rl_err rl_store_cert_status(rl_store *s, const rl_cert_id *id, rl_cert_status *out)
{
    const uint64_t mark = rl_statuses_mark(s->statuses);
    if (rl_statuses_find(s->statuses, id, out))
        return RL_OK;
    RL_TRY(read_status(s, id, out));
    rl_statuses_keep(s->statuses, mark, id, out);
    return RL_OK;
}

static rl_err append(rl_span in, rl_buf *out)
{
    return rl_buf_append(out, in.p, in.n);
}

rl_err rl_store_der(rl_store *s, const rl_cert_id *id, rl_buf *out)
{
    rl_key k;
    READ_INTO(CF_DER, rl_key_cert(id, &k), append, out);
}

rl_err rl_store_issuer(rl_store *s, rl_issuer_id id, rl_issuer_record *out)
{
    rl_key k = rl_key_u32(id);
    READ_INTO(CF_ISSUER, RL_OK, rl_issuer_decode, out);
}

rl_err rl_store_issuer_crl(rl_store *s, rl_issuer_id id, rl_issuer_crl *out)
{
    rl_key k = rl_key_u32(id);
    READ_INTO(CF_ISSUER, RL_OK, rl_issuer_decode_crl, out);
}

rl_err rl_store_object(rl_store *s, rl_source src, const char *id, rl_object_record *out)
{
    rl_key k;
    READ_INTO(CF_OBJECT, rl_key_object(src, id, &k), rl_object_decode, out);
}

rl_err rl_store_cursor(rl_store *s, const char *source, rl_cursor_record *out)
{
    rl_key k;
    READ_INTO(CF_CURSOR, rl_key_cursor(source, &k), rl_cursor_decode, out);
}

rl_err rl_store_queued(rl_store *s, const char *name, rl_buf *out)
{
    rl_key k;
    READ_INTO(CF_QUEUE, rl_key_cursor(name, &k), append, out);
}

/* ---- iteration ---- */
struct scan {
    rl_store *s;
    rocksdb_iterator_t *it;
};

static rl_err scan_begin(struct scan *c, rl_store *s, rl_cf cf, const void *from, size_t n)
{
    RL_TRY(rl_store_enter(s));
    c->s = s;
    c->it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[cf]);
    if (n)
        rocksdb_iter_seek(c->it, from, n);
    else
        rocksdb_iter_seek_to_first(c->it);
    return RL_OK;
}

static bool scan_get(struct scan *c, rl_span *key, rl_span *value)
{
    if (!rocksdb_iter_valid(c->it))
        return false;
    key->p = (const uint8_t *)rocksdb_iter_key(c->it, &key->n);
    value->p = (const uint8_t *)rocksdb_iter_value(c->it, &value->n);
    return true;
}

static rl_err scan_end(struct scan *c)
{
    char *error = NULL;
    rocksdb_iter_get_error(c->it, &error);
    rocksdb_iter_destroy(c->it);
    rl_store_leave(c->s);
    if (!error)
        return RL_OK;
    log_error("store.scan", "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

rl_err rl_store_binding_first(rl_store *s, rl_source src, const char *id, rl_cert_id *out)
{
    rl_key k;
    struct scan c;
    rl_span key, value;
    RL_TRY(rl_key_binding_prefix(src, id, &k));
    RL_TRY(scan_begin(&c, s, CF_BINDING, k.b, k.n));
    rl_err err = RL_ENOTFOUND;
    if (scan_get(&c, &key, &value) && key.n > k.n && memcmp(key.p, k.b, k.n) == 0)
        err = rl_key_to_cert(key.p, key.n, k.n, out);
    rl_err end = scan_end(&c);
    return end != RL_OK ? end : err;
}

rl_err rl_store_bindings_named(rl_store *s, rl_source src, const char *begin, size_t n, rl_cert_id *out, size_t cap,
                               size_t *found)
{
    rl_key k;
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    *found = 0;
    RL_TRY(rl_key_binding_names(src, begin, n, &k));
    RL_TRY(scan_begin(&c, s, CF_BINDING, k.b, k.n));
    while (err == RL_OK && *found < cap && scan_get(&c, &key, &value) && key.n > k.n && memcmp(key.p, k.b, k.n) == 0) {
        err = rl_key_to_cert(key.p, key.n, 2 + n, &out[*found]);
        *found += err == RL_OK;
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return end != RL_OK ? end : err;
}

rl_err rl_store_each_cert(rl_store *s, const rl_cert_id *after,
                          bool (*fn)(const rl_cert_id *id, const rl_cert_record *r, void *ctx), void *ctx)
{
    rl_key k = {0};
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    if (after)
        RL_TRY(rl_key_cert(after, &k));
    RL_TRY(scan_begin(&c, s, CF_CERT, k.b, k.n));
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_cert_id id;
        rl_cert_record r;
        bool is_after = after && key.n == k.n && memcmp(key.p, k.b, k.n) == 0;
        if (!is_after && (err = rl_key_to_cert(key.p, key.n, 0, &id)) == RL_OK &&
            (err = rl_cert_decode(value, &r)) == RL_OK) {
            more = fn(&id, &r, ctx);
            rl_cert_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_issuer(rl_store *s, bool (*fn)(rl_issuer_id id, const rl_issuer_record *r, void *ctx), void *ctx)
{
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(scan_begin(&c, s, CF_ISSUER, NULL, 0));
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_issuer_record r;
        err = key.n == 4 ? rl_issuer_decode(value, &r) : RL_ECORRUPT;
        if (err == RL_OK) {
            more = fn(rl_get_u32(key.p), &r, ctx);
            rl_issuer_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_queued(rl_store *s, bool (*fn)(const char *name, rl_span value, void *ctx), void *ctx)
{
    struct scan c;
    rl_span key, value;
    RL_TRY(scan_begin(&c, s, CF_QUEUE, NULL, 0));
    for (bool more = true; more && scan_get(&c, &key, &value); rocksdb_iter_next(c.it)) {
        char name[RL_OBJECT_ID_MAX + 1];
        if (key.n > RL_OBJECT_ID_MAX)
            continue;
        memcpy(name, key.p, key.n);
        name[key.n] = 0;
        more = fn(name, value, ctx);
    }
    return scan_end(&c);
}

rl_err rl_store_each_revoked(rl_store *s, rl_issuer_id issuer,
                             bool (*fn)(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx),
                             void *ctx)
{
    rl_key k = rl_key_u32(issuer);
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(scan_begin(&c, s, CF_REVOKED, k.b, k.n));
    while (more && err == RL_OK && scan_get(&c, &key, &value) && key.n > 4 && memcmp(key.p, k.b, 4) == 0) {
        rl_cert_id id;
        rl_revoked_record r;
        err = rl_key_to_cert(key.p, key.n, 0, &id);
        if (err == RL_OK && (err = rl_revoked_decode(value, &r)) == RL_OK)
            more = fn(&id, r.revoked_at, r.reason, ctx);
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_delta(rl_store *s, uint64_t from, bool (*fn)(uint64_t seq, const rl_delta_record *r, void *ctx),
                           void *ctx)
{
    rl_key k = rl_key_u64(from);
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(scan_begin(&c, s, CF_DELTA, k.b, k.n));
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_delta_record r;
        err = key.n == 8 ? rl_delta_decode(value, &r) : RL_ECORRUPT;
        if (err == RL_OK) {
            more = fn(rl_get_u64(key.p), &r, ctx);
            rl_delta_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

/* ---- figures ---- */
void rl_store_figures_read(rl_store *s, rl_store_figures *out)
{
    uint64_t keys = 0;
    if (rl_store_enter(s) == RL_OK) {
        if (rocksdb_property_int_cf(s->db, s->cf[CF_CERT], "rocksdb.estimate-num-keys", &keys) != 0)
            keys = 0;
        rl_store_leave(s);
    }
    *out = (rl_store_figures){.last_delta = atomic_load(&s->last_delta),
                              .certs_estimate = keys,
                              .groups = atomic_load(&s->groups_written),
                              .commits = atomic_load(&s->commits)};
}

static rl_err nothing(rl_span in, void *out)
{
    (void)in, (void)out;
    return RL_OK;
}

static rl_err read_schema(rl_store *s)
{
    rl_key k = {.n = 6, .b = "schema"};
    READ_INTO(CF_META, RL_OK, nothing, NULL);
}

rl_err rl_store_check(rl_store *s, rl_error *e)
{
    if (atomic_load(&s->failed))
        return rl_fail(e, RL_EIO, "store", "the last write to the database failed");
    rl_err err = read_schema(s);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "store", "the database cannot be read: %s", rl_err_name(err));
}
