/* Four numbers at once, against OpenSSL's one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "crypto/rsa_lanes.h"

enum { OCTETS_MAX = 512, UNTOUCHED = 0xa5 };

typedef struct {
    EVP_PKEY *key;
    EVP_PKEY_CTX *openssl;
    rl_rsa_lanes *lanes;
    size_t octets;
    uint8_t in[RL_RSA_LANES][OCTETS_MAX], out[RL_RSA_LANES][OCTETS_MAX];
} fixture;

static EVP_PKEY *generate(int bits, unsigned long e, int primes)
{
    EVP_PKEY *key = NULL;
    BIGNUM *exponent = BN_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(BN_set_word(exponent, e), 1);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, bits), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_primes(ctx, primes), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &key), 1);
    EVP_PKEY_CTX_free(ctx);
    BN_free(exponent);
    return key;
}

/* Whether the processor has such multiplications. Where it has not there is nothing to test. */
static bool usable(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
#else
    return false;
#endif
}

static fixture *start(EVP_PKEY *key)
{
    fixture *f = test_calloc(1, sizeof(*f));
    f->key = key;
    f->octets = (size_t)EVP_PKEY_get_size(key);
    f->lanes = rl_rsa_lanes_new(key);
    assert_non_null(f->lanes);
    f->openssl = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_sign_init(f->openssl), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(f->openssl, RSA_NO_PADDING), 1);
    return f;
}

static void stop(fixture *f)
{
    rl_rsa_lanes_free(f->lanes);
    EVP_PKEY_CTX_free(f->openssl);
    EVP_PKEY_free(f->key);
    test_free(f);
}

static unsigned use(fixture *f, unsigned n)
{
    const uint8_t *in[RL_RSA_LANES];
    uint8_t *out[RL_RSA_LANES];
    memset(f->out, UNTOUCHED, sizeof(f->out));
    for (unsigned i = 0; i < RL_RSA_LANES; i++) {
        in[i] = f->in[i];
        out[i] = f->out[i];
    }
    return rl_rsa_lanes_use(f->lanes, in, out, n);
}

static void assert_untouched(const fixture *f, unsigned i)
{
    for (size_t j = 0; j < sizeof(f->out[i]); j++)
        assert_int_equal(f->out[i][j], UNTOUCHED);
}

static void assert_as_openssl(fixture *f, unsigned i)
{
    uint8_t expected[OCTETS_MAX];
    size_t n = sizeof(expected);
    assert_int_equal(EVP_PKEY_sign(f->openssl, expected, &n, f->in[i], f->octets), 1);
    assert_int_equal(n, f->octets);
    assert_memory_equal(f->out[i], expected, n);
}

static void put(fixture *f, unsigned i, const BIGNUM *number)
{
    assert_int_equal(BN_bn2binpad(number, f->in[i], (int)f->octets), (int)f->octets);
}

static void put_random(fixture *f, unsigned i)
{
    assert_int_equal(RAND_bytes(f->in[i], (int)f->octets), 1);
    f->in[i][0] &= 0x7f; /* the modulus has its highest bit set */
}

static BIGNUM *part(const fixture *f, const char *name)
{
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(f->key, name, &number), 1);
    return number;
}

/* ---- tests ---- */
/* More rounds than one blinding number serves. */
static void check_random(int bits, unsigned long e, unsigned rounds)
{
    fixture *f = start(generate(bits, e, 2));
    for (unsigned round = 0; round < rounds; round++) {
        const unsigned n = round < 8 ? RL_RSA_LANES : 1 + round % RL_RSA_LANES;
        for (unsigned i = 0; i < n; i++)
            put_random(f, i);
        assert_int_equal(use(f, n), (1U << n) - 1);
        for (unsigned i = 0; i < RL_RSA_LANES; i++) {
            if (i < n)
                assert_as_openssl(f, i);
            else
                assert_untouched(f, i);
        }
    }
    stop(f);
}

static void test_random_numbers(void **state)
{
    (void)state;
    if (!usable())
        skip();
    for (unsigned key = 0; key < 4; key++)
        check_random(2048, RSA_F4, 14);
}
static void test_random_numbers_of_3072_bits(void **state)
{
    (void)state;
    if (!usable())
        skip();
    check_random(3072, RSA_F4, 12);
}
static void test_random_numbers_of_4096_bits(void **state)
{
    (void)state;
    if (!usable())
        skip();
    check_random(4096, RSA_F4, 10);
}
static void test_other_public_exponents(void **state)
{
    (void)state;
    if (!usable())
        skip();
    check_random(2048, 3, 4);
    check_random(2048, 4294967291UL, 4); /* 32 bits */
}

/* Those where carries, reductions and the halves' difference are at their ends. */
static void test_numbers_at_the_ends(void **state)
{
    (void)state;
    if (!usable())
        skip();
    fixture *f = start(generate(2048, RSA_F4, 2));
    BIGNUM *n = part(f, OSSL_PKEY_PARAM_RSA_N), *p = part(f, OSSL_PKEY_PARAM_RSA_FACTOR1),
           *q = part(f, OSSL_PKEY_PARAM_RSA_FACTOR2), *less = BN_dup(n), *ones = BN_new(), *small = BN_new();
    BN_sub_word(less, 1);
    BN_set_word(ones, 1);
    BN_lshift(ones, ones, 2047);
    BN_sub_word(ones, 1);
    const BIGNUM *const numbers[] = {p, q, less, ones};
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        put(f, i, numbers[i]);
    assert_int_equal(use(f, RL_RSA_LANES), 0xf);
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        assert_as_openssl(f, i);
    for (unsigned i = 0; i < RL_RSA_LANES; i++) {
        BN_set_word(small, i);
        put(f, i, small);
    }
    assert_int_equal(use(f, RL_RSA_LANES), 0xf);
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        assert_as_openssl(f, i);
    BN_free(n);
    BN_free(p);
    BN_free(q);
    BN_free(less);
    BN_free(ones);
    BN_free(small);
    stop(f);
}

static void test_a_number_that_is_not_below_the_modulus_hurts_no_other(void **state)
{
    (void)state;
    if (!usable())
        skip();
    fixture *f = start(generate(2048, RSA_F4, 2));
    BIGNUM *n = part(f, OSSL_PKEY_PARAM_RSA_N);
    put(f, 0, n);
    put_random(f, 1);
    memset(f->in[2], 0xff, f->octets);
    put_random(f, 3);
    assert_int_equal(use(f, RL_RSA_LANES), 0xa);
    assert_untouched(f, 0);
    assert_as_openssl(f, 1);
    assert_untouched(f, 2);
    assert_as_openssl(f, 3);
    assert_int_equal(use(f, RL_RSA_LANES + 1), 0);
    BN_free(n);
    stop(f);
}

/* A faulty signature would give the primes away (Boneh, DeMillo, Lipton): a private exponent that is off by one makes
 * what a fault in one half would. */
static void test_a_wrong_result_does_not_leave(void **state)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
                                        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    enum { PARTS = sizeof(names) / sizeof(names[0]), EXPONENT1 = 5 };
    (void)state;
    if (!usable())
        skip();
    fixture *f = start(generate(2048, RSA_F4, 2));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *parts[PARTS];
    EVP_PKEY *wrong = NULL;
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = part(f, names[i]);
        if (i == EXPONENT1)
            BN_sub_word(parts[i], 2);
        assert_int_equal(OSSL_PARAM_BLD_push_BN(build, names[i], parts[i]), 1);
    }
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &wrong, EVP_PKEY_KEYPAIR, params), 1);
    rl_rsa_lanes_free(f->lanes);
    f->lanes = rl_rsa_lanes_new(wrong);
    assert_non_null(f->lanes);
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        put_random(f, i);
    assert_int_equal(use(f, RL_RSA_LANES), 0);
    for (unsigned i = 0; i < RL_RSA_LANES; i++)
        assert_untouched(f, i);
    for (size_t i = 0; i < PARTS; i++)
        BN_clear_free(parts[i]);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(wrong);
    stop(f);
}

static void test_other_keys_are_refused(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), generate(1024, RSA_F4, 2), generate(2560, RSA_F4, 2),
                        generate(2048, RSA_F4, 3), generate(2048, 4294967297UL, 2)};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_null(rl_rsa_lanes_new(keys[i]));
        EVP_PKEY_free(keys[i]);
    }
    rl_rsa_lanes_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_random_numbers_of_3072_bits),
        cmocka_unit_test(test_random_numbers_of_4096_bits),
        cmocka_unit_test(test_other_public_exponents),
        cmocka_unit_test(test_numbers_at_the_ends),
        cmocka_unit_test(test_a_number_that_is_not_below_the_modulus_hurts_no_other),
        cmocka_unit_test(test_a_wrong_result_does_not_leave),
        cmocka_unit_test(test_other_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
