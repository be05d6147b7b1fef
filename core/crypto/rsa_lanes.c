/* See rsa_lanes.h. Numbers are in limbs of 52 bits, a row of eight of them for each: limb i of eight numbers is one
 * vector. Modulo the primes the first four lanes are those of p, the others those of q, with the same four messages;
 * modulo n, where there is little to do, both halves do the same.
 *
 * Products are Montgomery's, by R = 2^(52 limbs), which exceeds the modulus by 12 bits at least: with factors below
 * eight times the modulus a product is below twice of it, so that nothing has to be reduced but what leaves. */
#include "crypto/rsa_lanes.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__

#include <immintrin.h>

#define IFMA __attribute__((target("avx512f,avx512ifma")))

enum {
    LANES = 8,
    LIMB = 52,
    PRIME_MAX = 40, /* limbs */
    MODULUS_MAX = 2 * PRIME_MAX,
    WINDOW = 4,
    TABLE = 1 << WINDOW,
    DIGITS_MAX = 2048 / WINDOW,
    OCTETS_MAX = 512,
    BLINDED_MAX = 32, /* by powers of one number, as OpenSSL does */
};

/* By itself gcc aligns a vector to what the processor it compiles for has at least. */
typedef __m512i row __attribute__((aligned(64)));

typedef struct {
    size_t limbs;
    row low_inverse; /* -n^-1 modulo 2^52 */
    row n[MODULUS_MAX], r2[MODULUS_MAX];
} modulus;

struct rl_rsa_lanes {
    modulus n, primes;
    size_t octets, digits;
    uint8_t octets_of_n[OCTETS_MAX];
    uint8_t p_digits[DIGITS_MAX], q_digits[DIGITS_MAX]; /* the private exponents', highest first */
    uint32_t e;
    unsigned blinded; /* numbers since the last random one */
    BIGNUM *mont_n;   /* n again, for OpenSSL */
    BN_MONT_CTX *mont;
    BN_CTX *ctx;
    row one[PRIME_MAX], r3[PRIME_MAX];      /* R and R^3 modulo the primes */
    row q[PRIME_MAX], q_inverse[PRIME_MAX]; /* in the first half; the inverse modulo p, times R */
    row blind[MODULUS_MAX];                 /* times R: r^(2^lane e) in the first half, r^-(2^lane) in the other */
    /* While it works. */
    row table[TABLE][PRIME_MAX], halves[PRIME_MAX], base[MODULUS_MAX], power[MODULUS_MAX];
};

/* ---- arithmetic ---- */

/* Carries what is above the limbs; a limb may be negative, the number is not. */
static inline IFMA void carry(size_t limbs, row *out, const row *in)
{
    const row mask = _mm512_set1_epi64((1LL << LIMB) - 1);
    row over = _mm512_setzero_si512();
    for (size_t i = 0; i < limbs; i++) {
        row sum = _mm512_add_epi64(in[i], over);
        out[i] = _mm512_and_si512(sum, mask);
        over = _mm512_srai_epi64(sum, LIMB);
    }
}

/* a b / R. A limb of the sum takes at most four products of 52 bits for each limb of b. */
static inline IFMA __attribute__((always_inline)) void multiply_by(size_t limbs, row *out, const row *a, const row *b,
                                                                   const row *n, row low_inverse)
{
    row sum[MODULUS_MAX];
    for (size_t j = 0; j < limbs; j++)
        sum[j] = _mm512_setzero_si512();
    for (size_t i = 0; i < limbs; i++) {
        const row bi = b[i];
        row low = _mm512_madd52lo_epu64(sum[0], a[0], bi);
        const row m = _mm512_madd52lo_epu64(_mm512_setzero_si512(), low, low_inverse);
        low = _mm512_madd52lo_epu64(low, n[0], m);
#pragma GCC unroll 40
        for (size_t j = 0; j + 1 < limbs; j++) {
            row next = _mm512_madd52lo_epu64(sum[j + 1], a[j + 1], bi);
            next = _mm512_madd52hi_epu64(next, a[j], bi);
            next = _mm512_madd52lo_epu64(next, n[j + 1], m);
            sum[j] = _mm512_madd52hi_epu64(next, n[j], m);
        }
        row last = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a[limbs - 1], bi);
        sum[limbs - 1] = _mm512_madd52hi_epu64(last, n[limbs - 1], m);
        sum[0] = _mm512_add_epi64(sum[0], _mm512_srli_epi64(low, LIMB));
    }
    carry(limbs, out, sum);
}

/* With room for registers where the number of limbs is known. */
static IFMA void multiply(const modulus *m, row *out, const row *a, const row *b)
{
    if (m->limbs == 20)
        multiply_by(20, out, a, b, m->n, m->low_inverse);
    else if (m->limbs == 30)
        multiply_by(30, out, a, b, m->n, m->low_inverse);
    else
        multiply_by(m->limbs, out, a, b, m->n, m->low_inverse);
}

/* From below twice the modulus to below the modulus. */
static IFMA void reduce(const modulus *m, row *v)
{
    row less[MODULUS_MAX], over = _mm512_setzero_si512();
    const row mask = _mm512_set1_epi64((1LL << LIMB) - 1);
    for (size_t i = 0; i < m->limbs; i++) {
        row difference = _mm512_add_epi64(_mm512_sub_epi64(v[i], m->n[i]), over);
        less[i] = _mm512_and_si512(difference, mask);
        over = _mm512_srai_epi64(difference, LIMB);
    }
    const __mmask8 below = _mm512_cmplt_epi64_mask(over, _mm512_setzero_si512());
    for (size_t i = 0; i < m->limbs; i++)
        v[i] = _mm512_mask_mov_epi64(less[i], below, v[i]);
}

static IFMA row swap_halves(row v)
{
    return _mm512_shuffle_i64x2(v, v, 0x4e);
}

static IFMA void fill(row *v, size_t limbs, uint64_t low)
{
    v[0] = _mm512_set1_epi64((long long)low);
    for (size_t i = 1; i < limbs; i++)
        v[i] = _mm512_setzero_si512();
}

/* ---- octets ---- */

/* Big-endian octets as limbs of one lane, and back. */
static void set_lane(row *v, size_t limbs, unsigned lane, const uint8_t *octets, size_t n)
{
    unsigned __int128 bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < limbs; i++) {
        for (; have < LIMB; have += 8)
            bits |= (unsigned __int128)(n > 0 ? octets[--n] : 0) << have;
        ((uint64_t *)&v[i])[lane] = (uint64_t)bits & ((1ULL << LIMB) - 1);
        bits >>= LIMB;
        have -= LIMB;
    }
}

static void get_lane(const row *v, unsigned lane, uint8_t *octets, size_t n)
{
    unsigned __int128 bits = 0;
    unsigned have = 0;
    for (size_t i = 0; n > 0; bits >>= 8, have -= 8) {
        if (have < 8) {
            bits |= (unsigned __int128)((const uint64_t *)&v[i++])[lane] << have;
            have += LIMB;
        }
        octets[--n] = (uint8_t)bits;
    }
}

/* ---- the private operation ---- */

/* The entries of the two halves' digits. All are read. */
static IFMA void choose(const rl_rsa_lanes *r, row *out, uint8_t p_digit, uint8_t q_digit)
{
    const size_t limbs = r->primes.limbs;
    const row wanted = _mm512_mask_mov_epi64(_mm512_set1_epi64(q_digit), 0x0f, _mm512_set1_epi64(p_digit));
    for (size_t i = 0; i < limbs; i++)
        out[i] = r->table[0][i];
    for (size_t t = 1; t < TABLE; t++) {
        const __mmask8 here = _mm512_cmpeq_epi64_mask(wanted, _mm512_set1_epi64((long long)t));
        for (size_t i = 0; i < limbs; i++)
            out[i] = _mm512_mask_mov_epi64(out[i], here, r->table[t][i]);
    }
}

/* c^dP and c^dQ, of c modulo n. */
static IFMA void raise(rl_rsa_lanes *r, row *out, const row *c)
{
    const modulus *m = &r->primes;
    row *chosen = r->base;
    multiply(m, r->power, c + m->limbs, r->r3); /* c = low + high R, times R */
    multiply(m, r->base, c, m->r2);
    for (size_t i = 0; i < m->limbs; i++)
        r->base[i] = _mm512_add_epi64(r->base[i], r->power[i]);
    memcpy(r->table[0], r->one, m->limbs * sizeof(row));
    carry(m->limbs, r->table[1], r->base);
    for (size_t t = 2; t < TABLE; t++)
        multiply(m, r->table[t], r->table[t - 1], r->table[1]);
    choose(r, r->power, r->p_digits[0], r->q_digits[0]);
    for (size_t i = 1; i < r->digits; i++) {
        for (unsigned j = 0; j < WINDOW; j++)
            multiply(m, r->power, r->power, r->power);
        choose(r, chosen, r->p_digits[i], r->q_digits[i]);
        multiply(m, r->power, r->power, chosen);
    }
    fill(chosen, m->limbs, 1);
    multiply(m, out, r->power, chosen);
}

/* Garner: m = mq + q ((mp - mq) / q modulo p), below three times n. */
static IFMA void combine(rl_rsa_lanes *r, row *out, const row *halves)
{
    const modulus *m = &r->primes;
    const size_t limbs = m->limbs;
    row *h = r->base, *sum = r->power;
    for (size_t i = 0; i < limbs; i++) { /* four times p is more than the other half can be */
        row more = _mm512_add_epi64(halves[i], _mm512_slli_epi64(m->n[i], 2));
        h[i] = _mm512_sub_epi64(more, swap_halves(halves[i]));
    }
    carry(limbs, h, h);
    multiply(m, h, h, r->q_inverse);
    for (size_t i = 0; i < 2 * limbs; i++)
        sum[i] = i < limbs ? swap_halves(halves[i]) : _mm512_setzero_si512();
    for (size_t i = 0; i < limbs; i++)
        for (size_t j = 0; j < limbs; j++) {
            sum[i + j] = _mm512_madd52lo_epu64(sum[i + j], h[i], r->q[j]);
            sum[i + j + 1] = _mm512_madd52hi_epu64(sum[i + j + 1], h[i], r->q[j]);
        }
    carry(2 * limbs, sum, sum);
    for (size_t i = 0; i < 2 * limbs; i++)
        out[i] = _mm512_shuffle_i64x2(sum[i], sum[i], 0x44); /* the first half is right; both have it from here */
}

/* Which lanes of s, to the public exponent, are those of c. */
static IFMA unsigned check(rl_rsa_lanes *r, const row *s, const row *c)
{
    const modulus *m = &r->n;
    row *base = r->base, *v = r->power;
    multiply(m, base, s, m->r2);
    memcpy(v, base, m->limbs * sizeof(row));
    for (int bit = 30 - __builtin_clz(r->e); bit >= 0; bit--) {
        multiply(m, v, v, v);
        if (r->e >> bit & 1)
            multiply(m, v, v, base);
    }
    fill(base, m->limbs, 1);
    multiply(m, v, v, base);
    reduce(m, v);
    __mmask8 same = 0xff;
    for (size_t i = 0; i < m->limbs; i++)
        same &= _mm512_cmpeq_epi64_mask(v[i], c[i]);
    return same;
}

/* ---- blinding ---- */
static bool put_number(row *v, size_t limbs, unsigned from, unsigned to, const BIGNUM *number)
{
    uint8_t octets[OCTETS_MAX];
    bool ok = BN_bn2binpad(number, octets, sizeof(octets)) == sizeof(octets);
    for (unsigned lane = from; lane < to && ok; lane++)
        set_lane(v, limbs, lane, octets, sizeof(octets));
    OPENSSL_cleanse(octets, sizeof(octets));
    return ok;
}

static IFMA void spread_blinding(rl_rsa_lanes *r)
{
    const modulus *m = &r->n;
    multiply(m, r->blind, r->blind, m->r2);
    for (unsigned lane = 1; lane < RL_RSA_LANES; lane++) {
        const __mmask8 lower = (__mmask8)(((1U << lane) - 1) * 0x11);
        multiply(m, r->power, r->blind, r->blind);
        for (size_t i = 0; i < m->limbs; i++)
            r->blind[i] = _mm512_mask_mov_epi64(r->power[i], lower, r->blind[i]);
    }
}

/* A random number to the public exponent, and its inverse; squared once more for each lane. */
static bool new_blinding(rl_rsa_lanes *r)
{
    BN_CTX_start(r->ctx);
    BIGNUM *e = BN_CTX_get(r->ctx), *number = BN_CTX_get(r->ctx), *raised = BN_CTX_get(r->ctx);
    bool ok = raised && BN_set_word(e, r->e) && BN_priv_rand_range(number, r->mont_n) &&
              BN_mod_exp_mont(raised, number, e, r->mont_n, r->ctx, r->mont) &&
              BN_mod_inverse(number, number, r->mont_n, r->ctx) &&
              put_number(r->blind, r->n.limbs, 0, RL_RSA_LANES, raised) &&
              put_number(r->blind, r->n.limbs, RL_RSA_LANES, LANES, number);
    if (raised) {
        BN_clear(number);
        BN_clear(raised);
    }
    BN_CTX_end(r->ctx);
    if (ok)
        spread_blinding(r);
    r->blinded = 0;
    return ok;
}

static IFMA void next_blinding(rl_rsa_lanes *r)
{
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        multiply(&r->n, r->blind, r->blind, r->blind);
    r->blinded += RL_RSA_LANES;
}

/* `c` to the private exponent; the lanes of which that is true. */
static IFMA unsigned use(rl_rsa_lanes *r, row *s, const row *c)
{
    const modulus *m = &r->n;
    row *blind = r->base;
    for (size_t i = 0; i < m->limbs; i++)
        blind[i] = _mm512_shuffle_i64x2(r->blind[i], r->blind[i], 0x44);
    multiply(m, s, c, blind);
    raise(r, r->halves, s);
    combine(r, s, r->halves);
    for (size_t i = 0; i < m->limbs; i++)
        blind[i] = _mm512_shuffle_i64x2(r->blind[i], r->blind[i], 0xee);
    multiply(m, s, s, blind);
    reduce(m, s);
    next_blinding(r);
    return check(r, s, c);
}

unsigned rl_rsa_lanes_use(rl_rsa_lanes *r, const uint8_t *const in[], uint8_t *const out[], unsigned n)
{
    row c[MODULUS_MAX], s[MODULUS_MAX];
    unsigned right = 0;
    if (n > RL_RSA_LANES || (r->blinded >= BLINDED_MAX && !new_blinding(r)))
        return 0;
    memset(c, 0, sizeof(c));
    for (unsigned lane = 0; lane < n; lane++) {
        if (memcmp(in[lane], r->octets_of_n, r->octets) >= 0)
            continue;
        set_lane(c, r->n.limbs, lane, in[lane], r->octets);
        set_lane(c, r->n.limbs, lane + RL_RSA_LANES, in[lane], r->octets);
        right |= 1U << lane;
    }
    right &= use(r, s, c);
    for (unsigned lane = 0; lane < n; lane++)
        if (right >> lane & 1)
            get_lane(s, lane, out[lane], r->octets);
    OPENSSL_cleanse(s, sizeof(s));
    return right;
}

/* ---- a key ---- */
static bool has_processor(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
}

static BIGNUM *number_of(const EVP_PKEY *key, const char *name)
{
    BIGNUM *number = NULL;
    return EVP_PKEY_get_bn_param(key, name, &number) == 1 ? number : NULL;
}

/* Lanes from..to of a modulus: itself, R^2 modulo it, and -n^-1 modulo 2^52 by Newton's iteration. */
static bool put_modulus(modulus *m, unsigned from, unsigned to, const BIGNUM *n, BN_CTX *ctx)
{
    BN_CTX_start(ctx);
    BIGNUM *r2 = BN_CTX_get(ctx);
    bool ok = r2 && BN_set_word(r2, 1) && BN_lshift(r2, r2, (int)(2 * LIMB * m->limbs)) && BN_nnmod(r2, r2, n, ctx) &&
              put_number(m->n, m->limbs, from, to, n) && put_number(m->r2, m->limbs, from, to, r2);
    BN_CTX_end(ctx);
    const uint64_t low = ((const uint64_t *)&m->n[0])[from];
    uint64_t inverse = low; /* right in three bits */
    for (unsigned bits = 3; bits < LIMB; bits *= 2)
        inverse *= 2 - low * inverse;
    for (unsigned lane = from; lane < to && ok; lane++)
        ((uint64_t *)&m->low_inverse)[lane] = (0 - inverse) & ((1ULL << LIMB) - 1);
    return ok;
}

static bool put_digits(uint8_t *digits, size_t n, const BIGNUM *exponent)
{
    uint8_t octets[OCTETS_MAX];
    bool ok = BN_bn2binpad(exponent, octets, (int)n / 2) == (int)n / 2;
    for (size_t i = 0; i < n && ok; i++)
        digits[i] = octets[i / 2] >> (i % 2 ? 0 : 4) & 0xf;
    OPENSSL_cleanse(octets, sizeof(octets));
    return ok;
}

/* What the products of the primes' lanes begin and end with. */
static IFMA void put_constants(rl_rsa_lanes *r)
{
    const modulus *m = &r->primes;
    fill(r->base, m->limbs, 1);
    multiply(m, r->one, m->r2, r->base);
    multiply(m, r->r3, m->r2, m->r2);
    multiply(m, r->q_inverse, r->q_inverse, m->r2);
}

static bool put_key(rl_rsa_lanes *r, const BIGNUM *n, const BIGNUM *p, const BIGNUM *q, const BIGNUM *dp,
                    const BIGNUM *dq, const BIGNUM *q_inverse)
{
    const int bits = BN_num_bits(n), half = bits / 2;
    BN_CTX_start(r->ctx);
    BIGNUM *product = BN_CTX_get(r->ctx);
    bool ok = product && (bits == 2048 || bits == 3072 || bits == 4096) && BN_num_bits(p) == half &&
              BN_num_bits(q) == half && BN_mul(product, p, q, r->ctx) && BN_cmp(product, n) == 0;
    BN_CTX_end(r->ctx);
    if (!ok)
        return false;
    r->octets = (size_t)bits / 8;
    r->digits = (size_t)half / WINDOW;
    r->primes.limbs = ((size_t)half + LIMB - 1) / LIMB;
    r->n.limbs = 2 * r->primes.limbs;
    return BN_copy(r->mont_n, n) && BN_MONT_CTX_set(r->mont, n, r->ctx) &&
           BN_bn2binpad(n, r->octets_of_n, (int)r->octets) == (int)r->octets &&
           put_modulus(&r->n, 0, LANES, n, r->ctx) && put_modulus(&r->primes, 0, RL_RSA_LANES, p, r->ctx) &&
           put_modulus(&r->primes, RL_RSA_LANES, LANES, q, r->ctx) && put_digits(r->p_digits, r->digits, dp) &&
           put_digits(r->q_digits, r->digits, dq) && put_number(r->q, r->primes.limbs, 0, RL_RSA_LANES, q) &&
           put_number(r->q_inverse, r->primes.limbs, 0, RL_RSA_LANES, q_inverse);
}

static bool take_key(rl_rsa_lanes *r, const EVP_PKEY *key)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_N,           OSSL_PKEY_PARAM_RSA_E,
                                        OSSL_PKEY_PARAM_RSA_FACTOR1,     OSSL_PKEY_PARAM_RSA_FACTOR2,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT1,   OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                        OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    enum { PARTS = sizeof(names) / sizeof(names[0]) };
    BIGNUM *part[PARTS] = {0};
    bool ok = true;
    for (size_t i = 0; i < PARTS && ok; i++)
        ok = (part[i] = number_of(key, names[i])) != NULL;
    ok = ok && BN_num_bits(part[1]) <= 32;
    if (ok) {
        r->e = (uint32_t)BN_get_word(part[1]);
        ok = put_key(r, part[0], part[2], part[3], part[4], part[5], part[6]);
    }
    for (size_t i = 0; i < PARTS; i++)
        BN_clear_free(part[i]);
    if (ok)
        put_constants(r);
    return ok;
}

rl_rsa_lanes *rl_rsa_lanes_new(const EVP_PKEY *key)
{
    rl_rsa_lanes *r =
        has_processor() && EVP_PKEY_is_a(key, "RSA") ? aligned_alloc(alignof(rl_rsa_lanes), sizeof(*r)) : NULL;
    if (!r)
        return NULL;
    memset(r, 0, sizeof(*r));
    if ((r->ctx = BN_CTX_new()) && (r->mont = BN_MONT_CTX_new()) && (r->mont_n = BN_new()) && take_key(r, key) &&
        new_blinding(r))
        return r;
    ERR_clear_error();
    rl_rsa_lanes_free(r);
    return NULL;
}

void rl_rsa_lanes_free(rl_rsa_lanes *r)
{
    if (!r)
        return;
    BN_free(r->mont_n);
    BN_MONT_CTX_free(r->mont);
    BN_CTX_free(r->ctx);
    OPENSSL_cleanse(r, sizeof(*r));
    free(r);
}

#else

rl_rsa_lanes *rl_rsa_lanes_new(const EVP_PKEY *key)
{
    (void)key;
    return NULL;
}
void rl_rsa_lanes_free(rl_rsa_lanes *r)
{
    (void)r;
}
unsigned rl_rsa_lanes_use(rl_rsa_lanes *r, const uint8_t *const in[], uint8_t *const out[], unsigned n)
{
    (void)r, (void)in, (void)out, (void)n;
    return 0;
}

#endif
