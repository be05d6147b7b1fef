/* Signed OCSP answers that outlive the process: the newest of each certificate. Records and reading, any thread; what
 * keeps them in step with the certificates is in txn.c. */
#include "base/clock.h"
#include "base/log.h"
#include "store/pack.h"
#include "store/store_priv.h"

/* The database's format: never reuse or renumber one. */
enum { P_MAKER = 1, P_FORM, P_OUTCOME, P_THIS_UPDATE, P_NEXT_UPDATE, P_SERVE_UNTIL, P_HEADERS, P_BODY };
#define RESPONSE_REQUIRED                                                                                              \
    (RL_PACK_BIT(P_MAKER) | RL_PACK_BIT(P_FORM) | RL_PACK_BIT(P_OUTCOME) | RL_PACK_BIT(P_THIS_UPDATE) |                \
     RL_PACK_BIT(P_NEXT_UPDATE) | RL_PACK_BIT(P_SERVE_UNTIL) | RL_PACK_BIT(P_HEADERS) | RL_PACK_BIT(P_BODY))

rl_err rl_response_encode(const rl_response_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 8);
    rl_pack_put_bin(&w, P_MAKER, r->maker.p, r->maker.n);
    rl_pack_put_uint(&w, P_FORM, r->form);
    rl_pack_put_uint(&w, P_OUTCOME, r->outcome);
    rl_pack_put_int(&w, P_THIS_UPDATE, r->this_update);
    rl_pack_put_int(&w, P_NEXT_UPDATE, r->next_update);
    rl_pack_put_int(&w, P_SERVE_UNTIL, r->serve_until);
    rl_pack_put_bin(&w, P_HEADERS, r->headers.p, r->headers.n);
    rl_pack_put_bin(&w, P_BODY, r->body.p, r->body.n);
    return rl_pack_finish(&w);
}

static rl_err as_octets(const rl_pack_value *v, rl_span *out)
{
    if (v->kind != RL_PACK_BYTES)
        return RL_ECORRUPT;
    *out = v->bytes;
    return RL_OK;
}

static rl_err take_response(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_response_record *r = record;
    uint64_t u = 0;
    (void)rest;
    switch (key) {
    case P_MAKER:
        return as_octets(v, &r->maker);
    case P_FORM:
        RL_TRY(rl_pack_uint(v, UINT8_MAX, &u));
        r->form = (uint8_t)u;
        return RL_OK;
    case P_OUTCOME:
        RL_TRY(rl_pack_uint(v, UINT8_MAX, &u));
        r->outcome = (uint8_t)u;
        return RL_OK;
    case P_THIS_UPDATE:
        return rl_pack_int(v, &r->this_update);
    case P_NEXT_UPDATE:
        return rl_pack_int(v, &r->next_update);
    case P_SERVE_UNTIL:
        return rl_pack_int(v, &r->serve_until);
    case P_HEADERS:
        return as_octets(v, &r->headers);
    case P_BODY:
        return as_octets(v, &r->body);
    default:
        return RL_OK;
    }
}

rl_err rl_response_decode(rl_span in, rl_response_record *r)
{
    *r = (rl_response_record){0};
    return rl_pack_walk(in, RESPONSE_REQUIRED, take_response, r);
}

/* ---- reading ---- */
static rl_err failed(char *error)
{
    log_error("store.read", "family", rl_cf_names[CF_RESPONSE], "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

rl_err rl_store_response(rl_store *s, const rl_cert_id *id, rl_buf *memory, rl_response_record *out)
{
    rl_key k;
    char *error = NULL;
    size_t n;
    RL_TRY(rl_key_cert(id, &k));
    RL_TRY(rl_store_enter(s));
    rl_err err = RL_ENOTFOUND;
    rocksdb_pinnableslice_t *value =
        rocksdb_get_pinned_cf(s->db, s->read, s->cf[CF_RESPONSE], (const char *)k.b, k.n, &error);
    if (value) {
        const char *p = rocksdb_pinnableslice_value(value, &n);
        memory->n = 0;
        err = rl_buf_append(memory, p, n);
        rocksdb_pinnableslice_destroy(value);
    }
    rl_store_leave(s);
    if (error)
        return failed(error);
    return err == RL_OK ? rl_response_decode(rl_buf_span(memory), out) : err;
}

rl_err rl_store_each_response(rl_store *s, bool (*fn)(const rl_cert_id *id, const rl_response_record *r, void *ctx),
                              void *ctx)
{
    char *error = NULL;
    rl_err err = RL_OK;
    bool more = true;
    RL_TRY(rl_store_enter(s));
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[CF_RESPONSE]);
    for (rocksdb_iter_seek_to_first(it); more && err == RL_OK && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        rl_cert_id id;
        rl_response_record r;
        size_t n, value_n;
        const char *key = rocksdb_iter_key(it, &n), *value = rocksdb_iter_value(it, &value_n);
        if ((err = rl_key_to_cert(key, n, 0, &id)) == RL_OK &&
            rl_response_decode(rl_span_of(value, value_n), &r) == RL_OK)
            more = fn(&id, &r, ctx);
    }
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    rl_store_leave(s);
    return error ? failed(error) : err;
}

/* ---- forgetting ---- */
/* RocksDB asks on its own threads as it compacts. */
static unsigned char has_ended(void *state, int level, const char *key, size_t key_n, const char *value, size_t n,
                               char **replaced, size_t *replaced_n, unsigned char *is_replaced)
{
    rl_response_record r;
    (void)state, (void)level, (void)key, (void)key_n, (void)replaced, (void)replaced_n;
    *is_replaced = 0;
    return rl_response_decode(rl_span_of(value, n), &r) != RL_OK || r.serve_until <= rl_wall_s();
}

static void nothing_to_free(void *state)
{
    (void)state;
}

static const char *filter_name(void *state)
{
    (void)state;
    return "revline.response";
}

rocksdb_compactionfilter_t *rl_response_filter(void)
{
    return rocksdb_compactionfilter_create(NULL, nothing_to_free, has_ended, filter_name);
}
