/* The msgpack reader: every length is checked against what is left before it is used. Pure. */
#include "store/pack.h"

enum { DEPTH_MAX = 8 };

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
    case 0xc4: case 0xc5: case 0xc6:
        RL_TRY(big_endian(in, (size_t)1 << (tag - 0xc4), &n));
        return read_bytes(in, n, v);
    case 0xd9: case 0xda: case 0xdb:
        RL_TRY(big_endian(in, (size_t)1 << (tag - 0xd9), &n));
        return read_bytes(in, n, v);
    case 0xdc: case 0xdd: case 0xde: case 0xdf:
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

rl_err rl_pack_skip(rl_span *in) { return skip(in, 0); }
