/* Public keys and signatures against OpenSSL's own reading, writing and verifying of the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "crypto/key.h"
#include "crypto/x509.h"

enum { KEYS = 8 };
static EVP_PKEY *keys[KEYS];

static EVP_PKEY *compressed(EVP_PKEY *key)
{
    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                                    OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED),
                     1);
    return key;
}

static int make_keys(void **state)
{
    (void)state;
    EVP_PKEY *made[KEYS] = {EVP_RSA_gen(2048),       EVP_RSA_gen(1024),
                            EVP_EC_gen("P-256"),     EVP_EC_gen("P-384"),
                            EVP_EC_gen("P-521"),     compressed(EVP_EC_gen("P-256")),
                            EVP_EC_gen("secp256k1"), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    for (size_t i = 0; i < KEYS; i++)
        if (!(keys[i] = made[i]))
            return -1;
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++)
        EVP_PKEY_free(keys[i]);
    return 0;
}

/* Of the key, as OpenSSL encodes it; the caller frees. */
static unsigned char *spki_of(EVP_PKEY *key, int *n)
{
    unsigned char *der = NULL;
    *n = i2d_PUBKEY(key, &der);
    assert_true(*n > 0);
    return der;
}

/* A SubjectPublicKeyInfo that OpenSSL has not looked into. */
static X509_PUBKEY *unread(const unsigned char *der, int n)
{
    X509_PUBKEY *spki =
        (X509_PUBKEY *)ASN1_item_d2i_ex(NULL, &der, n, ASN1_ITEM_rptr(X509_PUBKEY), rl_no_algorithms(), NULL);
    assert_non_null(spki);
    assert_null(X509_PUBKEY_get0(spki));
    return spki;
}

static bool is(const rl_key *key, EVP_PKEY *pkey)
{
    rl_key *other = rl_key_of(pkey);
    bool same = rl_key_eq(key, other);
    rl_key_free(other);
    return same;
}

static void test_a_key_is_the_one_that_openssl_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        int n;
        unsigned char *der = spki_of(keys[i], &n), *again;
        X509_PUBKEY *spki = unread(der, n);
        rl_key *read = rl_key_in(spki);
        assert_non_null(read);
        assert_true(is(read, keys[i]));
        assert_false(is(read, keys[(i + 1) % KEYS]));
        assert_false(rl_key_eq(read, NULL));
        assert_int_equal(rl_key_bits(read), EVP_PKEY_get_bits(keys[i]));
        assert_int_equal(rl_key_is_rsa(read), EVP_PKEY_is_a(keys[i], "RSA"));
        assert_true(rl_span_eq(rl_key_spki(read), rl_span_of(der, (size_t)n)));
        again = spki_of(rl_key_pkey(read), &n);
        assert_memory_equal(again, der, (size_t)n);
        rl_key_free(read);
        X509_PUBKEY_free(spki);
        OPENSSL_free(again);
        OPENSSL_free(der);
    }
}

/* In the encoding that OpenSSL gives it, however it came. */
static void assert_written_alike(rl_key *ours, EVP_PKEY *theirs)
{
    unsigned char *der = NULL;
    int n = theirs ? i2d_PUBKEY(theirs, &der) : 0;
    assert_true(!ours || rl_span_eq(rl_key_spki(ours), rl_span_of(der, n > 0 ? (size_t)n : 0)));
    OPENSSL_free(der);
}

/* Whatever one octet of it is changed to, the key is OpenSSL's, or there is none for either. */
static void test_a_changed_key_is_what_openssl_makes_of_it(void **state)
{
    (void)state;
    static const unsigned char changes[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < KEYS; i++) {
        int n;
        unsigned char *der = spki_of(keys[i], &n);
        for (size_t k = 0; k < 64 && k < (size_t)n; k++) {
            unsigned char *changed = &der[k < 48 ? k : (size_t)n - 1 - (k - 48)], was = *changed;
            for (size_t c = 0; c < sizeof(changes); c++) {
                *changed = was ^ changes[c];
                const unsigned char *p = der;
                EVP_PKEY *theirs = d2i_PUBKEY(NULL, &p, n);
                rl_key *ours = rl_key_read(rl_span_of(der, (size_t)n));
                assert_int_equal(ours != NULL, theirs != NULL);
                assert_true(!ours || is(ours, theirs));
                assert_written_alike(ours, theirs);
                rl_key_free(ours);
                EVP_PKEY_free(theirs);
                ERR_clear_error();
            }
            *changed = was;
        }
        OPENSSL_free(der);
    }
}

static void test_keys_that_differ_are_not_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++)
        for (size_t k = 0; k < KEYS; k++) {
            rl_key *one = rl_key_of(keys[i]);
            assert_int_equal(is(one, keys[k]), i == k);
            rl_key_free(one);
        }
}

static const EVP_MD *digest_of(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

static X509 *make_cert(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, digest_of(key)) > 0);
    return cert;
}

static void test_a_key_of_openssls_is_the_same(void **state)
{
    (void)state;
    assert_null(rl_key_of(NULL));
    for (size_t i = 0; i < KEYS; i++) {
        rl_key *ours = rl_key_of(keys[i]);
        assert_ptr_equal(rl_key_pkey(ours), keys[i]);
        assert_int_equal(rl_key_bits(ours), EVP_PKEY_get_bits(keys[i]));
        assert_written_alike(ours, keys[i]);
        rl_key_free(ours);
    }
}

/* OpenSSL's private operation takes the padding off again. */
static void test_what_is_encrypted_is_decrypted_by_openssl(void **state)
{
    (void)state;
    static const uint8_t secret[245] = {0, 1, 2}; /* 245: the most that 2048 bits take */
    for (size_t n = 0; n <= sizeof(secret); n += 35) {
        uint8_t sealed[256], opened[256];
        size_t sealed_n = sizeof(sealed), opened_n = sizeof(opened), small = 255;
        rl_key *key = rl_key_of(keys[0]);
        assert_false(rl_key_encrypt(key, rl_span_of(secret, n), sealed, &small));
        assert_false(rl_key_encrypt(key, rl_span_of(sealed, 246), sealed, &sealed_n));
        assert_true(rl_key_encrypt(key, rl_span_of(secret, n), sealed, &sealed_n));
        assert_int_equal(sealed_n, 256);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(keys[0], NULL);
        assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_decrypt(ctx, opened, &opened_n, sealed, sealed_n), 1);
        assert_int_equal(opened_n, n);
        assert_memory_equal(opened, secret, n);
        EVP_PKEY_CTX_free(ctx);
        rl_key_free(key);
    }
}

/* Those of more than 64 bits are left to OpenSSL. */
static void test_any_exponent(void **state)
{
    (void)state;
    static const char *exponents[] = {"3", "5", "23", "10001", "10003", "ffffffffffffffc5", "10000000000000000d"};
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
        BIGNUM *exponent = NULL;
        EVP_PKEY *made = NULL;
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        assert_true(BN_hex2bn(&exponent, exponents[i]) > 0);
        assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 1024), 1);
        assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent), 1);
        assert_int_equal(EVP_PKEY_generate(ctx, &made), 1);
        X509 *cert = make_cert(made);
        rl_key *key = rl_key_of(made), *other = rl_key_of(keys[1]);
        assert_true(rl_x509_holds(cert, key));
        assert_false(rl_x509_holds(cert, other));
        rl_key_free(key);
        rl_key_free(other);
        X509_free(cert);
        EVP_PKEY_free(made);
        EVP_PKEY_CTX_free(ctx);
        BN_free(exponent);
    }
}

/* What has the key's number of octets and is no number below the modulus, or another key's size, is no signature; and
 * the digest in it has to be written as RFC 8017 §9.2 has it. */
static void test_what_only_looks_like_an_rsa_signature(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        size_t ff; /* octets of padding */
        rl_span info;
    } made[] = {
        {"as it has to be", 202,
         RL_SPAN_LIT("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")},
        {"no NULL", 204, RL_SPAN_LIT("\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20")},
        {"another hash", 202,
         RL_SPAN_LIT("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x20")},
        {"octets behind it (CVE-2006-4339)", 8,
         RL_SPAN_LIT("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")},
    };
    const rl_span text = RL_SPAN_LIT("what is signed");
    rl_key *key = rl_key_of(keys[0]), *other = rl_key_of(keys[1]);
    X509_ALGOR *algorithm = X509_ALGOR_new();
    uint8_t digest[RL_HASH_MAX], block[256], signature[257] = {0};
    X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_sha256WithRSAEncryption), V_ASN1_NULL, NULL);
    assert_int_equal(rl_hash_digest(RL_SHA256, text, digest), RL_OK);
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        size_t n = 256, at = 2 + made[i].ff;
        memset(block, 0, sizeof(block));
        block[1] = 1;
        memset(block + 2, 0xff, made[i].ff);
        memcpy(block + at + 1, made[i].info.p, made[i].info.n);
        memcpy(block + at + 1 + made[i].info.n, digest, 32);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(keys[0], NULL);
        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
        assert_int_equal(EVP_PKEY_sign(ctx, signature, &n, block, sizeof(block)), 1);
        EVP_PKEY_CTX_free(ctx);
        assert_int_equal(rl_signature_holds(text, algorithm, rl_span_of(signature, 256), key), i == 0);
        assert_false(rl_signature_holds(text, algorithm, rl_span_of(signature, 255), key));
        assert_false(rl_signature_holds(text, algorithm, rl_span_of(signature, 257), key));
        assert_false(rl_signature_holds(text, algorithm, rl_span_of(signature, 256), other));
    }
    memset(signature, 0xff, 256);
    assert_false(rl_signature_holds(text, algorithm, rl_span_of(signature, 256), key));
    X509_ALGOR_free(algorithm);
    rl_key_free(key);
    rl_key_free(other);
}

/* ---- signatures ---- */
static void test_a_certificates_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        X509 *cert = make_cert(keys[i]), *read = X509_new_ex(rl_no_algorithms(), NULL);
        rl_key *key = rl_key_of(keys[i]), *other = rl_key_of(keys[(i + 1) % KEYS]);
        unsigned char *der = NULL;
        int n = i2d_X509(cert, &der);
        for (int at = -1; at < n; at += 7) { /* first as it is */
            if (at >= 0)
                der[at] ^= 1;
            const unsigned char *p = der;
            bool holds = d2i_X509(&read, &p, n) && rl_x509_holds(read, key);
            assert_int_equal(holds, at < 0);
            if (at >= 0)
                der[at] ^= 1;
            read = read ? read : X509_new_ex(rl_no_algorithms(), NULL);
        }
        assert_false(rl_x509_holds(cert, other));
        assert_false(rl_x509_holds(cert, NULL));
        X509_free(read);
        X509_free(cert);
        rl_key_free(key);
        rl_key_free(other);
        OPENSSL_free(der);
        ERR_clear_error();
    }
}

static void test_a_requests_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        X509_REQ *csr = X509_REQ_new(), *read;
        rl_key *key = rl_key_of(keys[i]), *other = rl_key_of(keys[(i + 1) % KEYS]);
        unsigned char *der = NULL;
        assert_int_equal(X509_REQ_set_pubkey(csr, keys[i]), 1);
        assert_true(X509_REQ_sign(csr, keys[i], digest_of(keys[i])) > 0);
        int n = i2d_X509_REQ(csr, &der);
        assert_int_equal(rl_csr_from_der(rl_span_of(der, (size_t)n), &read, NULL), RL_OK);
        assert_true(rl_csr_holds(read, key));
        assert_false(rl_csr_holds(read, other));
        X509_REQ_free(read);
        der[n - 1] ^= 1;
        assert_int_equal(rl_csr_from_der(rl_span_of(der, (size_t)n), &read, NULL), RL_OK);
        assert_false(rl_csr_holds(read, key));
        X509_REQ_free(read);
        X509_REQ_free(csr);
        rl_key_free(key);
        rl_key_free(other);
        OPENSSL_free(der);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_the_one_that_openssl_reads),
        cmocka_unit_test(test_a_changed_key_is_what_openssl_makes_of_it),
        cmocka_unit_test(test_keys_that_differ_are_not_the_same),
        cmocka_unit_test(test_a_key_of_openssls_is_the_same),
        cmocka_unit_test(test_what_is_encrypted_is_decrypted_by_openssl),
        cmocka_unit_test(test_any_exponent),
        cmocka_unit_test(test_what_only_looks_like_an_rsa_signature),
        cmocka_unit_test(test_a_certificates_signature),
        cmocka_unit_test(test_a_requests_signature),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
