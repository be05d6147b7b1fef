/* The key in a request. Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

enum {
    RSA_BITS_MAX = 8192,
    RSA_EXPONENT_BITS_MAX = 64,
};

/* ---- RSA keys that others can find out ---- */
/* The remainders of a modulus by the odd primes below 752. */
enum { PRIMES = 132, ROCA_PRIME_MAX = 167 };
struct remainders {
    size_t n;
    struct {
        unsigned prime, rest;
    } by[PRIMES];
};

static bool is_prime(unsigned p)
{
    for (unsigned q = 3; q * q <= p; q += 2)
        if (p % q == 0)
            return false;
    return true;
}

/* A long division is what takes time: one for as many primes as have a product of 32 bits. */
static void divide(const BIGNUM *n, struct remainders *out)
{
    size_t from = 0;
    uint64_t product = 1;
    out->n = 0;
    for (unsigned p = 3; p < 754; p += 2) {
        bool last = p == 753; /* 3 * 251: only ends the row */
        if (!last && !is_prime(p))
            continue;
        if (last || product * p > UINT32_MAX) {
            BN_ULONG rest = BN_mod_word(n, (BN_ULONG)product);
            for (; from < out->n; from++)
                out->by[from].rest = (unsigned)(rest % out->by[from].prime);
            product = 1;
        }
        if (!last)
            out->by[out->n++].prime = p;
        product *= p;
    }
}

/* Who made the modulus by chance made none that has a factor below 752 (CA/Browser Forum, Baseline Requirements
 * §6.1.6). */
static bool has_small_factor(const struct remainders *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->by[i].rest == 0)
            return true;
    return false;
}

/* Keys of a faulty library of Infineon's (CVE-2017-15361, "ROCA"): its primes are k·M + (65537^a mod M), M a product of
 * the first primes, so the modulus is a power of 65537 by each prime of M. Of other moduli one in some 10^8 is. */
static bool is_roca(const struct remainders *r)
{
    for (size_t i = 0; i < r->n && r->by[i].prime <= ROCA_PRIME_MAX; i++) {
        const unsigned p = r->by[i].prime;
        uint64_t at = 1;
        bool power = false;
        do {
            power |= at == r->by[i].rest;
            at = at * 65537 % p;
        } while (at != 1);
        if (!power)
            return false;
    }
    return true;
}

/* floor(√v) of 1 to 2^32 - 1, by Newton's method from above. */
static unsigned small_root(unsigned v)
{
    unsigned root = 1u << 16, next;
    while ((next = (v / root + root) / 2) < root)
        root = next;
    return root;
}

/* Not below √n, and right in its first 15 bits. */
static bool estimate_root(const BIGNUM *n, BIGNUM *root)
{
    const int bits = BN_num_bits(n), shift = bits > 32 ? (bits - 32 + 1) / 2 * 2 : 0;
    return BN_rshift(root, n, shift) == 1 && BN_set_word(root, small_root((unsigned)BN_get_word(root)) + 1) == 1 &&
           BN_lshift(root, root, shift / 2) == 1;
}

/* floor(√n), likewise. */
static bool square_root(const BIGNUM *n, BIGNUM *root, BN_CTX *ctx)
{
    BIGNUM *next = BN_CTX_get(ctx);
    bool ok = next && estimate_root(n, root);
    while (ok) {
        ok = BN_div(next, NULL, n, root, ctx) == 1 && BN_add(next, next, root) == 1 && BN_rshift1(next, next) == 1;
        if (ok && BN_cmp(next, root) >= 0)
            return true;
        ok = ok && BN_copy(root, next) != NULL;
    }
    return false;
}

/* Two primes close to each other (CVE-2022-26320): Fermat finds them as n = a² − b² with an a just above √n, or the
 * same one twice, then a = √n. A hundred tries, as the Baseline Requirements ask. Of all numbers one in 120 is a square
 * by each of these moduli; only of those the root is taken. */
enum { FERMAT_TRIES = 100, SQUARE_MODULUS = 64 * 63 * 65 * 11 };
static const unsigned square_moduli[] = {64, 63, 65, 11};
enum { MODULI = sizeof(square_moduli) / sizeof(square_moduli[0]) };
struct squares {
    bool is[MODULI][65]; /* which remainders are those of squares */
};

static void find_squares(struct squares *s)
{
    *s = (struct squares){0};
    for (size_t i = 0; i < MODULI; i++)
        for (unsigned root = 0; root < square_moduli[i]; root++)
            s->is[i][root * root % square_moduli[i]] = true;
}

static bool may_be_square(const struct squares *s, unsigned rest)
{
    return s->is[0][rest % 64] && s->is[1][rest % 63] && s->is[2][rest % 65] && s->is[3][rest % 11];
}

/* Whether a² − n is a square. */
static bool is_square_above(const BIGNUM *a, const BIGNUM *n, bool *found, BN_CTX *ctx)
{
    BN_CTX_start(ctx);
    BIGNUM *rest = BN_CTX_get(ctx), *b = BN_CTX_get(ctx), *square = BN_CTX_get(ctx);
    bool ok = square && BN_sqr(rest, a, ctx) == 1 && BN_sub(rest, rest, n) == 1 && square_root(rest, b, ctx) &&
              BN_sqr(square, b, ctx) == 1;
    *found = ok && BN_cmp(square, rest) == 0;
    BN_CTX_end(ctx);
    return ok;
}

static rl_err has_close_primes(const BIGNUM *n, bool *found)
{
    BN_CTX *ctx = BN_CTX_new();
    if (!ctx)
        return RL_ENOMEM;
    BN_CTX_start(ctx);
    BIGNUM *a = BN_CTX_get(ctx), *square = BN_CTX_get(ctx);
    bool ok = square && square_root(n, a, ctx) && BN_sqr(square, a, ctx) == 1;
    struct squares squares;
    find_squares(&squares);
    uint64_t m = SQUARE_MODULUS, n_rest = BN_mod_word(n, SQUARE_MODULUS),
             a_rest = ok ? BN_mod_word(a, SQUARE_MODULUS) : 0;
    *found = ok && BN_cmp(square, n) == 0;
    for (unsigned i = 0; ok && !*found && i < FERMAT_TRIES; i++) {
        a_rest = (a_rest + 1) % m;
        ok = BN_add_word(a, 1) == 1;
        if (ok && may_be_square(&squares, (unsigned)((a_rest * a_rest + m - n_rest) % m)))
            ok = is_square_above(a, n, found, ctx);
    }
    BN_CTX_end(ctx);
    BN_CTX_free(ctx);
    return ok ? RL_OK : RL_ENOMEM;
}

static rl_err check_modulus(const BIGNUM *n, rl_error *e)
{
    struct remainders rests;
    bool close;
    divide(n, &rests);
    if (has_small_factor(&rests))
        return rl_fail(e, RL_EINVAL, "csr", "the RSA key's modulus has a small factor");
    if (is_roca(&rests))
        return rl_fail(e, RL_EINVAL, "csr",
                       "the RSA key was made by a faulty chip (ROCA, CVE-2017-15361): others can find it out");
    if (has_close_primes(n, &close) != RL_OK)
        return rl_fail_openssl(e, "csr", "the RSA key cannot be looked at");
    return close ? rl_fail(e, RL_EINVAL, "csr", "the RSA key's primes are too close to each other (CVE-2022-26320)")
                 : RL_OK;
}

/* ---- RSA ---- */
static int least_bits(unsigned kinds)
{
    return kinds & RL_KEYS_RSA2048 ? 2048 : kinds & RL_KEYS_RSA3072 ? 3072 : 4096;
}

/* An exponent above 2^16, odd and short: a long one would make each verification as dear as a signature. */
static bool is_sane(const BIGNUM *n, const BIGNUM *exponent)
{
    return BN_is_odd(n) && BN_is_odd(exponent) && BN_num_bits(exponent) > 16 &&
           BN_num_bits(exponent) <= RSA_EXPONENT_BITS_MAX;
}

static rl_err check_rsa(const rl_key *key, unsigned kinds, rl_error *e)
{
    int bits = rl_key_bits(key), least = least_bits(kinds);
    if (!(kinds & (RL_KEYS_RSA2048 | RL_KEYS_RSA3072 | RL_KEYS_RSA4096)))
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "an RSA key: this profile accepts none");
    if (bits < least || bits > RSA_BITS_MAX)
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "an RSA key of %d bits: %d to %d are accepted", bits, least,
                       RSA_BITS_MAX);
    if (!is_sane(rl_key_modulus(key), rl_key_exponent(key)))
        return rl_fail(e, RL_EINVAL, "csr",
                       "the RSA key's numbers are not sane (exponent: odd, 65537 or more, at most 64 bits)");
    return check_modulus(rl_key_modulus(key), e);
}

/* ---- EC ---- */
static rl_err check_ec(const EVP_PKEY *key, unsigned kinds, rl_error *e)
{
    static const struct {
        const char *group, *name;
        unsigned kind;
    } curves[] = {{SN_X9_62_prime256v1, "P-256", RL_KEYS_P256},
                  {SN_secp384r1, "P-384", RL_KEYS_P384},
                  {SN_secp521r1, "P-521", RL_KEYS_P521}};
    char group[64] = "unnamed";
    int spelled_out = 0;
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out) == 1 &&
        !spelled_out && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1)
        for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
            if (strcmp(group, curves[i].group) == 0)
                return kinds & curves[i].kind ? RL_OK
                                              : rl_fail(e, RL_EUNSUPPORTED, "csr",
                                                        "an EC key on %s: this profile accepts none", curves[i].name);
    return rl_fail(e, RL_EUNSUPPORTED, "csr", "an EC key on curve %s: P-256, P-384 and P-521 by name are accepted",
                   group);
}

rl_err ca_key_check(rl_key *key, unsigned kinds, rl_error *e)
{
    if (!key) {
        ERR_clear_error();
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "the request's public key is of no kind that can be read");
    }
    if (rl_key_is_rsa(key))
        return check_rsa(key, kinds, e);
    const EVP_PKEY *pkey = rl_key_pkey(key);
    if (EVP_PKEY_is_a(pkey, "EC"))
        return check_ec(pkey, kinds, e);
    return rl_fail(e, RL_EUNSUPPORTED, "csr", "a %s key: RSA and EC are accepted", EVP_PKEY_get0_type_name(pkey));
}
