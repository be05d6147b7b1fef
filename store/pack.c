/* The msgpack reader: every length is checked against what is left before it is used. And the frame of a record
 * around it: the map, its version, its fields. Pure but for memory. */
#include "store/pack.h"

#include <stdlib.h>

enum { DEPTH_MAX = 8, VERSION = 1, KEY_VERSION = 0, TEXT_MAX = 64 * 1024 };

static rl_err big_endian(rl_span *in, size_t n, uint64_t *v)
{
    rl_span octets;
    if (rl_span_take(in, n, &octets) != RL_OK)
        return RL_ECORRUPT;
    *v = 0;
    for (size_t i = 0; i < n; i++)
        *v = *v << 8 | octets.p[i];
    return RL_OK;
}

static rl_err read_bytes(rl_span *in, uint64_t n, rl_pack_value *v)
{
    v->kind = RL_PACK_BYTES;
    return n <= in->n && rl_span_take(in, (size_t)n, &v->bytes) == RL_OK ? RL_OK : RL_ECORRUPT;
}

static rl_err read_integer(rl_span *in, uint8_t tag, rl_pack_value *v)
{
    size_t n = (size_t)1 << (tag & 3);
    RL_TRY(big_endian(in, n, &v->u));
    v->kind = RL_PACK_UINT;
    if (tag >= 0xd0 && v->u >> (8 * n - 1)) { /* signed and negative: extend the sign */
        v->kind = RL_PACK_INT;
        v->i = (int64_t)(n == 8 ? v->u : v->u | ~(uint64_t)0 << (8 * n));
    }
    return RL_OK;
}

static rl_err read_sized(rl_span *in, uint8_t tag, rl_pack_value *v)
{
    uint64_t n;
    switch (tag) {
    case 0xc4:
    case 0xc5:
    case 0xc6:
        RL_TRY(big_endian(in, (size_t)1 << (tag - 0xc4), &n));
        return read_bytes(in, n, v);
    case 0xd9:
    case 0xda:
    case 0xdb:
        RL_TRY(big_endian(in, (size_t)1 << (tag - 0xd9), &n));
        return read_bytes(in, n, v);
    case 0xdc:
    case 0xdd:
    case 0xde:
    case 0xdf:
        v->kind = tag < 0xde ? RL_PACK_ARRAY : RL_PACK_MAP;
        return big_endian(in, tag & 1 ? 4 : 2, &v->u);
    default:
        return RL_ECORRUPT; /* floats and extension types: no record has one */
    }
}

rl_err rl_pack_read(rl_span *in, rl_pack_value *v)
{
    rl_span head;
    *v = (rl_pack_value){0};
    if (rl_span_take(in, 1, &head) != RL_OK)
        return RL_ECORRUPT;
    uint8_t tag = head.p[0];
    if (tag < 0x80 || tag >= 0xe0) {
        v->kind = tag < 0x80 ? RL_PACK_UINT : RL_PACK_INT;
        v->u = tag;
        v->i = tag < 0x80 ? 0 : (int64_t)tag - 256;
        return RL_OK;
    }
    if (tag < 0xa0) {
        v->kind = tag < 0x90 ? RL_PACK_MAP : RL_PACK_ARRAY;
        v->u = tag & 15;
        return RL_OK;
    }
    if (tag < 0xc0)
        return read_bytes(in, tag & 31, v);
    if (tag == 0xc0)
        return RL_OK;
    if (tag == 0xc2 || tag == 0xc3) {
        v->kind = RL_PACK_BOOL;
        v->u = tag & 1;
        return RL_OK;
    }
    if (tag >= 0xcc && tag <= 0xd3)
        return read_integer(in, tag, v);
    return read_sized(in, tag, v);
}

static rl_err skip(rl_span *in, unsigned depth)
{
    rl_pack_value v;
    if (depth > DEPTH_MAX)
        return RL_ECORRUPT;
    RL_TRY(rl_pack_read(in, &v));
    if (v.kind != RL_PACK_ARRAY && v.kind != RL_PACK_MAP)
        return RL_OK;
    /* Each element takes an octet at least, so a lying count ends the walk soon. */
    for (uint64_t n = v.kind == RL_PACK_MAP ? 2 * v.u : v.u; n > 0; n--)
        RL_TRY(skip(in, depth + 1));
    return RL_OK;
}

rl_err rl_pack_skip(rl_span *in)
{
    return skip(in, 0);
}

/* ---- a record's fields ---- */
rl_err rl_pack_walk(rl_span in, uint32_t required, rl_pack_take take, void *record)
{
    rl_pack_value map, key, v;
    uint32_t seen = 0;
    RL_TRY(rl_pack_read(&in, &map));
    if (map.kind != RL_PACK_MAP)
        return RL_ECORRUPT;
    for (uint64_t i = 0; i < map.u; i++) {
        RL_TRY(rl_pack_read(&in, &key));
        if (key.kind != RL_PACK_UINT)
            return RL_ECORRUPT;
        if (key.u < 32)
            seen |= RL_PACK_BIT(key.u);
        rl_span before = in;
        RL_TRY(rl_pack_read(&in, &v));
        rl_span elements = in;
        if (v.kind == RL_PACK_ARRAY || v.kind == RL_PACK_MAP) {
            in = before;
            RL_TRY(rl_pack_skip(&in));
            elements.n -= in.n;
        }
        RL_TRY(take(key.u, &v, &elements, record));
    }
    return in.n == 0 && (seen & required) == required ? RL_OK : RL_ECORRUPT;
}

rl_err rl_pack_text(const rl_pack_value *v, char **out)
{
    if (v->kind == RL_PACK_NIL)
        return RL_OK;
    if (v->kind != RL_PACK_BYTES || v->bytes.n > TEXT_MAX || (v->bytes.n && memchr(v->bytes.p, 0, v->bytes.n)))
        return RL_ECORRUPT;
    free(*out); /* a repeated key: the last wins */
    *out = strndup(v->bytes.n ? (const char *)v->bytes.p : "", v->bytes.n);
    return *out ? RL_OK : RL_ENOMEM;
}

rl_err rl_pack_int(const rl_pack_value *v, int64_t *out)
{
    if (v->kind == RL_PACK_UINT && v->u <= INT64_MAX)
        *out = (int64_t)v->u;
    else if (v->kind == RL_PACK_INT)
        *out = v->i;
    else
        return RL_ECORRUPT;
    return RL_OK;
}

rl_err rl_pack_uint(const rl_pack_value *v, uint64_t max, uint64_t *out)
{
    if ((v->kind != RL_PACK_UINT && v->kind != RL_PACK_BOOL) || v->u > max)
        return RL_ECORRUPT;
    *out = v->u;
    return RL_OK;
}

rl_err rl_pack_bool(const rl_pack_value *v, bool *out)
{
    uint64_t u;
    RL_TRY(rl_pack_uint(v, 1, &u));
    *out = u != 0;
    return RL_OK;
}

/* ---- writing a record ---- */
static int to_buf(void *ctx, const char *p, size_t n)
{
    rl_pack_writer *w = ctx;
    if (w->err == RL_OK)
        w->err = rl_buf_append(w->out, p, n);
    return w->err == RL_OK ? 0 : -1;
}

void rl_pack_begin(rl_pack_writer *w, rl_buf *out, size_t pairs)
{
    w->out = out;
    w->start = out->n;
    w->err = RL_OK;
    msgpack_packer_init(&w->pk, w, to_buf);
    msgpack_pack_map(&w->pk, pairs + 1);
    msgpack_pack_unsigned_int(&w->pk, KEY_VERSION);
    msgpack_pack_unsigned_int(&w->pk, VERSION);
}

rl_err rl_pack_finish(rl_pack_writer *w)
{
    if (w->err != RL_OK)
        w->out->n = w->start;
    return w->err;
}

void rl_pack_put_uint(rl_pack_writer *w, unsigned key, uint64_t v)
{
    msgpack_pack_unsigned_int(&w->pk, key);
    msgpack_pack_uint64(&w->pk, v);
}

void rl_pack_put_int(rl_pack_writer *w, unsigned key, int64_t v)
{
    msgpack_pack_unsigned_int(&w->pk, key);
    msgpack_pack_int64(&w->pk, v);
}

void rl_pack_put_bin(rl_pack_writer *w, unsigned key, const void *p, size_t n)
{
    msgpack_pack_unsigned_int(&w->pk, key);
    msgpack_pack_bin(&w->pk, n);
    msgpack_pack_bin_body(&w->pk, p, n);
}

void rl_pack_put_text(rl_pack_writer *w, unsigned key, const char *s)
{
    msgpack_pack_unsigned_int(&w->pk, key);
    if (!s) {
        msgpack_pack_nil(&w->pk);
        return;
    }
    size_t n = strlen(s);
    if (n > TEXT_MAX && w->err == RL_OK)
        w->err = RL_ERANGE;
    msgpack_pack_str(&w->pk, n);
    msgpack_pack_str_body(&w->pk, s, n);
}
