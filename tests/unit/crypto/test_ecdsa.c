/* Signatures with nonces made in batches: OpenSSL verifies each, and no nonce serves twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "crypto/ecdsa.h"

enum { MANY = 300 }; /* several batches of every size */

static void verify(EVP_PKEY *key, const uint8_t *digest, const uint8_t *sig, size_t n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
    assert_int_equal(EVP_PKEY_verify(ctx, sig, n, digest, RL_ECDSA_DIGEST), 1);
    EVP_PKEY_CTX_free(ctx);
}

/* r in 32 octets; the DER must be the one that OpenSSL would write. */
static void take_r(const uint8_t *sig, size_t n, uint8_t r[32])
{
    uint8_t *again = NULL;
    const uint8_t *p = sig;
    ECDSA_SIG *parsed = d2i_ECDSA_SIG(NULL, &p, (long)n);
    assert_non_null(parsed);
    assert_int_equal(i2d_ECDSA_SIG(parsed, &again), (int)n);
    assert_memory_equal(again, sig, n);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(parsed), r, 32), 32);
    OPENSSL_free(again);
    ECDSA_SIG_free(parsed);
}

static void test_every_signature_verifies_and_has_a_nonce_of_its_own(void **state)
{
    static uint8_t r[2 * MANY][32];
    uint8_t digest[RL_ECDSA_DIGEST], sig[RL_ECDSA_SIGNATURE_MAX];
    size_t n;
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    rl_ecdsa *signers[2] = {rl_ecdsa_new(key), rl_ecdsa_new(key)};
    assert_non_null(signers[0]);
    assert_non_null(signers[1]);
    memset(digest, 'x', sizeof(digest)); /* the same message: nothing but the nonce differs */
    for (size_t i = 0; i < 2 * MANY; i++) {
        assert_int_equal(rl_ecdsa_sign(signers[i % 2], digest, sig, &n), RL_OK);
        verify(key, digest, sig, n);
        take_r(sig, n, r[i]);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(r[i], r[j], 32);
    }
    rl_ecdsa_free(signers[0]);
    rl_ecdsa_free(signers[1]);
    EVP_PKEY_free(key);
}

static void test_any_digest_by_any_key(void **state)
{
    uint8_t digest[RL_ECDSA_DIGEST], sig[RL_ECDSA_SIGNATURE_MAX];
    size_t n;
    (void)state;
    for (int i = 0; i < 40; i++) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        rl_ecdsa *s = rl_ecdsa_new(key);
        assert_non_null(s);
        for (int j = 0; j < 8; j++) {
            if (j == 0)
                memset(digest, 0, sizeof(digest));
            else if (j == 1)
                memset(digest, 0xff, sizeof(digest)); /* above the group's order */
            else
                assert_int_equal(RAND_bytes(digest, sizeof(digest)), 1);
            assert_int_equal(rl_ecdsa_sign(s, digest, sig, &n), RL_OK);
            verify(key, digest, sig, n);
            digest[31] ^= 1; /* and of no other */
            EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
            assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
            assert_int_equal(EVP_PKEY_verify(ctx, sig, n, digest, sizeof(digest)), 0);
            EVP_PKEY_CTX_free(ctx);
        }
        rl_ecdsa_free(s);
        EVP_PKEY_free(key);
    }
}

static void test_other_keys_are_refused(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_EC_gen("P-384"), EVP_RSA_gen(1024)};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_null(rl_ecdsa_new(keys[i]));
        EVP_PKEY_free(keys[i]);
    }
    rl_ecdsa_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_signature_verifies_and_has_a_nonce_of_its_own),
        cmocka_unit_test(test_any_digest_by_any_key),
        cmocka_unit_test(test_other_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
