/* See ecdsa.h. A nonce is used once: it is wiped as its signature is made, and never written anywhere.
 *
 * OpenSSL marks one function as deprecated that nothing replaces: the projective coordinates of a point, without which
 * each point would need an inversion of its own. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "crypto/ecdsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "crypto/der.h"

enum { BATCH_MAX = 32, OCTETS = 32 };

/* Arithmetic modulo a prime. */
struct modulus {
    BIGNUM *p, *p_less_2;
    BN_MONT_CTX *mont;
};

struct rl_ecdsa {
    EC_GROUP *group;
    EC_POINT *point;
    BN_CTX *ctx;
    struct modulus field, order;
    BIGNUM *key; /* in Montgomery form by the order */
    BIGNUM *message, *sum, *product;
    /* The first so many are ready. The first batches are small: who signs once need not wait for thirty. */
    size_t ready, batch;
    BIGNUM *inverse[BATCH_MAX];           /* of the nonce, in Montgomery form by the order */
    BIGNUM *r[BATCH_MAX];                 /* its point's x by the order */
    BIGNUM *z[BATCH_MAX], *up[BATCH_MAX]; /* while a batch is made */
};

/* ---- arithmetic ---- */
static bool modulus_init(struct modulus *m, const BIGNUM *p, BN_CTX *ctx)
{
    m->p = BN_dup(p);
    m->p_less_2 = BN_dup(p);
    m->mont = BN_MONT_CTX_new();
    return m->p && m->p_less_2 && m->mont && BN_sub_word(m->p_less_2, 2) && BN_MONT_CTX_set(m->mont, p, ctx);
}

static void modulus_free(struct modulus *m)
{
    BN_free(m->p);
    BN_free(m->p_less_2);
    BN_MONT_CTX_free(m->mont);
}

static bool times(const struct modulus *m, BIGNUM *out, const BIGNUM *a, const BIGNUM *b, BN_CTX *ctx)
{
    return BN_mod_mul_montgomery(out, a, b, m->mont, ctx);
}

/* Replaces n numbers, none of them 0 and all in Montgomery form, by their inverses: the inverse of the product of all,
 * by Fermat, times the product of all others. `up` are n numbers to work with. */
static bool invert_all(const struct modulus *m, BIGNUM **v, BIGNUM **up, size_t n, BN_CTX *ctx)
{
    bool ok = BN_copy(up[0], v[0]);
    for (size_t i = 1; i < n && ok; i++)
        ok = times(m, up[i], up[i - 1], v[i], ctx);
    BIGNUM *down = up[n - 1]; /* the inverse of v[0]..v[i], where nothing else is needed any more */
    ok = ok && BN_from_montgomery(down, down, m->mont, ctx) &&
         BN_mod_exp_mont_consttime(down, down, m->p_less_2, m->p, ctx, m->mont) &&
         BN_to_montgomery(down, down, m->mont, ctx);
    for (size_t i = n - 1; i > 0 && ok; i--)
        ok = times(m, up[i - 1], up[i - 1], down, ctx) && times(m, down, down, v[i], ctx) && BN_copy(v[i], up[i - 1]);
    return ok && BN_copy(v[0], down);
}

/* ---- a batch ---- */
/* Uniform from 1 to the order less 1 (FIPS 186-5 A.3.2): one in 2^32 is drawn again. All are drawn at once, since a
 * call of the generator takes longer than its octets. */
static bool draw(rl_ecdsa *s, size_t n)
{
    uint8_t octets[BATCH_MAX][OCTETS];
    bool ok = RAND_priv_bytes(octets[0], (int)(n * OCTETS)) == 1;
    for (size_t i = 0; i < n && ok; i++) {
        ok = BN_bin2bn(octets[i], OCTETS, s->inverse[i]);
        while (ok && (BN_is_zero(s->inverse[i]) || BN_cmp(s->inverse[i], s->order.p) >= 0))
            ok = RAND_priv_bytes(octets[i], OCTETS) == 1 && BN_bin2bn(octets[i], OCTETS, s->inverse[i]);
    }
    OPENSSL_cleanse(octets, sizeof(octets));
    return ok;
}

/* The nonce's point, x as r and z in Montgomery form by the field. */
static bool begin_one(rl_ecdsa *s, size_t i)
{
    return EC_POINT_mul(s->group, s->point, s->inverse[i], NULL, NULL, s->ctx) &&
           EC_POINT_get_Jprojective_coordinates_GFp(s->group, s->point, s->r[i], NULL, s->z[i], s->ctx) &&
           BN_to_montgomery(s->z[i], s->z[i], s->field.mont, s->ctx) &&
           BN_to_montgomery(s->inverse[i], s->inverse[i], s->order.mont, s->ctx);
}

/* x of the point is X / Z^2. */
static bool end_one(rl_ecdsa *s, size_t i)
{
    return times(&s->field, s->z[i], s->z[i], s->z[i], s->ctx) && times(&s->field, s->r[i], s->r[i], s->z[i], s->ctx) &&
           BN_nnmod(s->r[i], s->r[i], s->order.p, s->ctx);
}

static bool make_batch(rl_ecdsa *s)
{
    size_t n = s->batch;
    bool ok = draw(s, n);
    for (size_t i = 0; i < n && ok; i++)
        ok = begin_one(s, i);
    ok = ok && invert_all(&s->field, s->z, s->up, n, s->ctx) && invert_all(&s->order, s->inverse, s->up, n, s->ctx);
    for (size_t i = 0; i < n && ok; i++)
        ok = end_one(s, i);
    for (size_t i = 0; i < n; i++) {
        BN_clear(s->z[i]);
        BN_clear(s->up[i]);
    }
    s->ready = ok ? n : 0;
    s->batch = n < BATCH_MAX ? 2 * n : n;
    return ok;
}

/* ---- signatures ---- */
static void put_integer(rl_der_writer *w, const BIGNUM *number)
{
    uint8_t octets[1 + OCTETS] = {0};
    size_t i = 0;
    if (BN_bn2binpad(number, octets + 1, OCTETS) != OCTETS)
        w->err = RL_EIO;
    while (i < OCTETS && octets[i] == 0 && octets[i + 1] < 0x80)
        i++;
    rl_der_put(w, RL_DER_INTEGER, rl_span_of(octets + i, sizeof(octets) - i));
}

rl_err rl_ecdsa_sign(rl_ecdsa *s, const uint8_t digest[RL_ECDSA_DIGEST], uint8_t sig[RL_ECDSA_SIGNATURE_MAX], size_t *n)
{
    rl_der_writer w;
    rl_span out;
    BIGNUM *r;
    bool ok = BN_bin2bn(digest, RL_ECDSA_DIGEST, s->message) &&
              (BN_cmp(s->message, s->order.p) < 0 || BN_sub(s->message, s->message, s->order.p));
    do { /* s = (m + r key) / k; again for what happens once in 2^256 */
        if (!ok || (s->ready == 0 && !make_batch(s)))
            return RL_EIO;
        BIGNUM *inverse = s->inverse[--s->ready];
        r = s->r[s->ready];
        ok = times(&s->order, s->product, s->key, r, s->ctx) &&
             BN_mod_add_quick(s->sum, s->product, s->message, s->order.p) &&
             times(&s->order, s->product, s->sum, inverse, s->ctx);
        BN_clear(inverse);
        BN_clear(s->sum);
    } while (!ok || BN_is_zero(r) || BN_is_zero(s->product));
    rl_der_init(&w, sig, RL_ECDSA_SIGNATURE_MAX);
    rl_der_open(&w, RL_DER_SEQUENCE);
    put_integer(&w, r);
    put_integer(&w, s->product);
    rl_der_close(&w);
    if (rl_der_finish(&w, &out) != RL_OK)
        return RL_EIO;
    *n = out.n;
    return RL_OK;
}

/* ---- life ---- */
static bool take_key(rl_ecdsa *s, const EVP_PKEY *key)
{
    char name[64];
    BIGNUM *private = NULL;
    bool ok = EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) == 1 && strcmp(name, SN_X9_62_prime256v1) == 0 &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &private) == 1 &&
              BN_to_montgomery(s->key, private, s->order.mont, s->ctx);
    BN_clear_free(private);
    return ok;
}

static bool allocate(rl_ecdsa *s)
{
    bool ok = (s->key = BN_new()) && (s->message = BN_new()) && (s->sum = BN_new()) && (s->product = BN_new());
    for (size_t i = 0; i < BATCH_MAX && ok; i++)
        ok = (s->inverse[i] = BN_new()) && (s->r[i] = BN_new()) && (s->z[i] = BN_new()) && (s->up[i] = BN_new());
    return ok && (s->ctx = BN_CTX_new()) && (s->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)) &&
           (s->point = EC_POINT_new(s->group)) && modulus_init(&s->field, EC_GROUP_get0_field(s->group), s->ctx) &&
           modulus_init(&s->order, EC_GROUP_get0_order(s->group), s->ctx);
}

rl_ecdsa *rl_ecdsa_new(const EVP_PKEY *key)
{
    rl_ecdsa *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->batch = 1;
    if (allocate(s) && take_key(s, key))
        return s;
    rl_ecdsa_free(s);
    return NULL;
}

void rl_ecdsa_free(rl_ecdsa *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < BATCH_MAX; i++) {
        BN_clear_free(s->inverse[i]);
        BN_clear_free(s->r[i]);
        BN_clear_free(s->z[i]);
        BN_clear_free(s->up[i]);
    }
    BN_clear_free(s->key);
    BN_clear_free(s->message);
    BN_clear_free(s->sum);
    BN_clear_free(s->product);
    modulus_free(&s->field);
    modulus_free(&s->order);
    EC_POINT_clear_free(s->point);
    EC_GROUP_free(s->group);
    BN_CTX_free(s->ctx);
    free(s);
}
