/* Keys of the column families. Pure. */
#include "store/store_priv.h"

static void put(rl_key *k, const void *p, size_t n)
{
    memcpy(k->b + k->n, p, n);
    k->n += n;
}

static void put_number(rl_key *k, uint64_t v, unsigned octets)
{
    while (octets-- > 0)
        k->b[k->n++] = (uint8_t)(v >> 8 * octets);
}

rl_key rl_key_u32(uint32_t v)
{
    rl_key k = {0};
    put_number(&k, v, 4);
    return k;
}

rl_key rl_key_u64(uint64_t v)
{
    rl_key k = {0};
    put_number(&k, v, 8);
    return k;
}

rl_key rl_key_audit(int64_t ms, uint64_t sequence)
{
    rl_key k = {0};
    put_number(&k, (uint64_t)ms, 8);
    put_number(&k, sequence, 8);
    return k;
}

rl_err rl_key_cursor(const char *source, rl_key *k)
{
    size_t n = strlen(source);
    if (n == 0 || n > RL_OBJECT_ID_MAX)
        return RL_ERANGE;
    k->n = 0;
    put(k, source, n);
    return RL_OK;
}

static rl_err put_cert(rl_key *k, const rl_cert_id *id)
{
    if (id->serial_n == 0 || id->serial_n > RL_STORE_SERIAL_MAX)
        return RL_ERANGE;
    put_number(k, id->issuer, 4);
    put(k, id->serial, id->serial_n);
    return RL_OK;
}

rl_err rl_key_cert(const rl_cert_id *id, rl_key *k)
{
    k->n = 0;
    return put_cert(k, id);
}

rl_err rl_key_held(uint64_t change, const rl_cert_id *cert, rl_key *k)
{
    *k = rl_key_u64(change);
    return put_cert(k, cert);
}

static rl_err put_id(rl_key *k, rl_source src, const char *id, bool length)
{
    size_t n = strlen(id);
    if (n == 0 || n > RL_OBJECT_ID_MAX || (unsigned)src > 255)
        return RL_ERANGE;
    k->n = 0;
    put_number(k, (uint64_t)src, 1);
    if (length)
        put_number(k, n, 1);
    put(k, id, n);
    return RL_OK;
}

rl_err rl_key_object(rl_source src, const char *id, rl_key *k)
{
    return put_id(k, src, id, false);
}
rl_err rl_key_binding_prefix(rl_source src, const char *id, rl_key *k)
{
    return put_id(k, src, id, true);
}

static char *binding_prefix(void *unused, const char *key, size_t n, size_t *prefix_n)
{
    (void)unused, (void)n;
    *prefix_n = 2 + (size_t)(uint8_t)key[1];
    return (char *)(uintptr_t)key;
}

static unsigned char has_binding_prefix(void *unused, const char *key, size_t n)
{
    (void)unused;
    return n >= 2 && n >= 2 + (size_t)(uint8_t)key[1];
}

static const char *extractor_name(void *unused)
{
    (void)unused;
    return "revline.binding"; /* in the tables: with another prefix it must be another name */
}

static void keep(void *unused)
{
    (void)unused;
}

rocksdb_slicetransform_t *rl_key_binding_extractor(void)
{
    return rocksdb_slicetransform_create(NULL, keep, binding_prefix, has_binding_prefix, NULL, extractor_name);
}

rl_err rl_key_binding_names(rl_source src, const char *begin, size_t n, rl_key *k)
{
    if (n > RL_OBJECT_ID_MAX || strlen(begin) > n)
        return RL_ERANGE;
    RL_TRY(put_id(k, src, begin, true));
    k->b[1] = (uint8_t)n;
    return RL_OK;
}

rl_err rl_key_binding(rl_source src, const char *id, const rl_cert_id *cert, rl_key *k)
{
    RL_TRY(put_id(k, src, id, true));
    return put_cert(k, cert);
}

static uint64_t get_number(const uint8_t *p, unsigned octets)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < octets; i++)
        v = v << 8 | p[i];
    return v;
}

uint32_t rl_get_u32(const void *p)
{
    return (uint32_t)get_number(p, 4);
}
uint64_t rl_get_u64(const void *p)
{
    return get_number(p, 8);
}

rl_err rl_key_to_cert(const void *key, size_t n, size_t prefix, rl_cert_id *out)
{
    const uint8_t *p = key;
    if (n < prefix + 5 || n > prefix + 4 + RL_STORE_SERIAL_MAX)
        return RL_ECORRUPT;
    *out = (rl_cert_id){.issuer = (rl_issuer_id)get_number(p + prefix, 4), .serial_n = (uint8_t)(n - prefix - 4)};
    memcpy(out->serial, p + prefix + 4, out->serial_n);
    return RL_OK;
}
