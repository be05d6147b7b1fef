/* The key in a request. Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

enum {
    RSA_BITS_MAX = 8192,
    RSA_EXPONENT_BITS_MAX = 64,
};

/* ---- RSA keys that others can find out ---- */
/* The odd primes below 752, and the remainders of a modulus by them. */
enum { PRIMES = 132, ROCA_PRIME_MAX = 167 };
static const uint16_t primes[PRIMES] = {
    3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,  47,  53,  59,  61,  67,  71,  73,  79,  83,
    89,  97,  101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197,
    199, 211, 223, 227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311, 313, 317, 331,
    337, 347, 349, 353, 359, 367, 373, 379, 383, 389, 397, 401, 409, 419, 421, 431, 433, 439, 443, 449, 457, 461,
    463, 467, 479, 487, 491, 499, 503, 509, 521, 523, 541, 547, 557, 563, 569, 571, 577, 587, 593, 599, 601, 607,
    613, 617, 619, 631, 641, 643, 647, 653, 659, 661, 673, 677, 683, 691, 701, 709, 719, 727, 733, 739, 743, 751,
};
struct remainders {
    unsigned by[PRIMES];
};

/* A long division is what takes time: one for as many primes as have a product of one word. */
static rl_err divide(const BIGNUM *n, struct remainders *out)
{
    for (size_t from = 0, to = 0; from < PRIMES;) {
        BN_ULONG product = 1;
        for (; to < PRIMES && product <= (BN_ULONG)-1 / primes[to]; to++)
            product *= primes[to];
        const BN_ULONG rest = BN_mod_word(n, product);
        if (rest >= product)
            return RL_ENOMEM;
        for (; from < to; from++)
            out->by[from] = (unsigned)(rest % primes[from]);
    }
    return RL_OK;
}

/* Who made the modulus by chance made none that has a factor below 752 (CA/Browser Forum, Baseline Requirements
 * §6.1.6). */
static bool has_small_factor(const struct remainders *r)
{
    for (size_t i = 0; i < PRIMES; i++)
        if (r->by[i] == 0)
            return true;
    return false;
}

/* Keys of a faulty library of Infineon's (CVE-2017-15361, "ROCA"): its primes are k·M + (65537^a mod M), M a product of
 * the first primes, so the modulus is a power of 65537 by each prime of M. Of other moduli one in some 10^8 is. */
static bool is_roca(const struct remainders *r)
{
    for (size_t i = 0; i < PRIMES && primes[i] <= ROCA_PRIME_MAX; i++) {
        const unsigned p = primes[i];
        uint64_t at = 1;
        bool power = false;
        do {
            power |= at == r->by[i];
            at = at * 65537 % p;
        } while (at != 1);
        if (!power)
            return false;
    }
    return true;
}

/* floor(√n) of n above zero, by Newton's method: each division finds twice as many bits as were known, and is no longer
 * than they are. What comes of it is one too large at most. */
static bool square_root(const BIGNUM *n, BIGNUM *root, BN_CTX *ctx)
{
    const unsigned half = (unsigned)(BN_num_bits(n) - 1) / 2;
    BN_CTX_start(ctx);
    BIGNUM *part = BN_CTX_get(ctx);
    bool ok = part && BN_one(root) == 1;
    for (unsigned known = 0, next, shift = 16; ok && shift-- > 0; known = next) {
        next = half >> shift;
        ok = next == 0 ||
             (BN_rshift(part, n, (int)(2 * half - known - next + 1)) == 1 && BN_div(part, NULL, part, root, ctx) == 1 &&
              BN_lshift(root, root, (int)(next - known - 1)) == 1 && BN_add(root, root, part) == 1);
    }
    ok = ok && BN_sqr(part, root, ctx) == 1 && (BN_cmp(part, n) <= 0 || BN_sub_word(root, 1) == 1);
    BN_CTX_end(ctx);
    return ok;
}

/* Two primes close to each other (CVE-2022-26320): Fermat finds them as n = a² − b² with an a just above √n, or the
 * same one twice, then a = √n. A hundred tries, as the Baseline Requirements ask. Of all numbers one in 427 is a square
 * by each of these moduli; only of those the root is taken. */
enum { FERMAT_TRIES = 100, SQUARE_MODULUS = 64 * 63 * 55 * 13 * 17 * 19 };
static bool may_be_square(uint64_t n)
{
    static const struct {
        unsigned modulus;
        uint64_t squares; /* bit r: some square has the remainder r */
    } by[] = {{64, 0x0202021202030213},
              {63, 0x0402483012450293},
              {55, 0x000230148611ca33},
              {13, 0x161b},
              {17, 0x1a317},
              {19, 0x30af3}};
    for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++)
        if (!(by[i].squares >> n % by[i].modulus & 1))
            return false;
    return true;
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
    uint64_t m = SQUARE_MODULUS, n_rest = BN_mod_word(n, SQUARE_MODULUS),
             a_rest = ok ? BN_mod_word(a, SQUARE_MODULUS) : 0;
    *found = ok && BN_cmp(square, n) == 0;
    for (unsigned i = 0; ok && !*found && i < FERMAT_TRIES; i++) {
        a_rest = (a_rest + 1) % m;
        ok = BN_add_word(a, 1) == 1;
        if (ok && may_be_square(a_rest * a_rest + m - n_rest))
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
    if (divide(n, &rests) != RL_OK)
        return rl_fail_openssl(e, "csr", "the RSA key cannot be looked at");
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
