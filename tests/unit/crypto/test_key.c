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

static void test_a_key_is_the_one_that_openssl_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        int n;
        unsigned char *der = spki_of(keys[i], &n), *again;
        X509_PUBKEY *spki = unread(der, n);
        EVP_PKEY *read = rl_key_read(spki);
        assert_non_null(read);
        assert_int_equal(EVP_PKEY_eq(read, keys[i]), 1);
        again = spki_of(read, &n);
        assert_memory_equal(again, der, (size_t)n);
        assert_true(rl_key_same(spki, spki));
        EVP_PKEY_free(read);
        X509_PUBKEY_free(spki);
        OPENSSL_free(again);
        OPENSSL_free(der);
    }
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
                X509_PUBKEY *spki =
                    (X509_PUBKEY *)ASN1_item_d2i_ex(NULL, &p, n, ASN1_ITEM_rptr(X509_PUBKEY), rl_no_algorithms(), NULL);
                p = der;
                EVP_PKEY *theirs = d2i_PUBKEY(NULL, &p, n), *ours = rl_key_read(spki);
                assert_int_equal(ours != NULL, theirs != NULL);
                assert_true(!ours || EVP_PKEY_eq(ours, theirs) == 1);
                EVP_PKEY_free(ours);
                EVP_PKEY_free(theirs);
                X509_PUBKEY_free(spki);
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
    X509_PUBKEY *spkis[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        int n;
        unsigned char *der = spki_of(keys[i], &n);
        spkis[i] = unread(der, n);
        OPENSSL_free(der);
    }
    for (size_t i = 0; i < KEYS; i++)
        for (size_t k = 0; k < KEYS; k++)
            assert_int_equal(rl_key_same(spkis[i], spkis[k]), i == k);
    for (size_t i = 0; i < KEYS; i++)
        X509_PUBKEY_free(spkis[i]);
}

static void test_a_key_is_written_as_openssl_writes_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        X509 *ours = X509_new(), *theirs = X509_new();
        unsigned char *one = NULL, *other = NULL;
        assert_true(rl_key_write(ours, keys[i]));
        assert_int_equal(X509_set_pubkey(theirs, keys[i]), 1);
        int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ours), &one);
        assert_int_equal(i2d_X509_PUBKEY(X509_get_X509_PUBKEY(theirs), &other), n);
        assert_memory_equal(one, other, (size_t)n);
        OPENSSL_free(one);
        OPENSSL_free(other);
        X509_free(ours);
        X509_free(theirs);
    }
}

/* ---- signatures ---- */
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

static void test_a_certificates_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        X509 *cert = make_cert(keys[i]), *read = X509_new_ex(rl_no_algorithms(), NULL);
        unsigned char *der = NULL;
        int n = i2d_X509(cert, &der);
        for (int at = -1; at < n; at += 7) { /* first as it is */
            if (at >= 0)
                der[at] ^= 1;
            const unsigned char *p = der;
            bool holds = d2i_X509(&read, &p, n) && rl_x509_holds(read, keys[i]);
            assert_int_equal(holds, at < 0);
            if (at >= 0)
                der[at] ^= 1;
            read = read ? read : X509_new_ex(rl_no_algorithms(), NULL);
        }
        assert_false(rl_x509_holds(cert, keys[(i + 1) % KEYS]));
        assert_false(rl_x509_holds(cert, NULL));
        X509_free(read);
        X509_free(cert);
        OPENSSL_free(der);
        ERR_clear_error();
    }
}

static void test_a_requests_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        X509_REQ *csr = X509_REQ_new(), *read;
        unsigned char *der = NULL;
        assert_int_equal(X509_REQ_set_pubkey(csr, keys[i]), 1);
        assert_true(X509_REQ_sign(csr, keys[i], digest_of(keys[i])) > 0);
        int n = i2d_X509_REQ(csr, &der);
        assert_int_equal(rl_csr_from_der(rl_span_of(der, (size_t)n), &read, NULL), RL_OK);
        assert_true(rl_csr_holds(read, keys[i]));
        assert_false(rl_csr_holds(read, keys[(i + 1) % KEYS]));
        X509_REQ_free(read);
        der[n - 1] ^= 1;
        assert_int_equal(rl_csr_from_der(rl_span_of(der, (size_t)n), &read, NULL), RL_OK);
        assert_false(rl_csr_holds(read, keys[i]));
        X509_REQ_free(read);
        X509_REQ_free(csr);
        OPENSSL_free(der);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_the_one_that_openssl_reads),
        cmocka_unit_test(test_a_changed_key_is_what_openssl_makes_of_it),
        cmocka_unit_test(test_keys_that_differ_are_not_the_same),
        cmocka_unit_test(test_a_key_is_written_as_openssl_writes_it),
        cmocka_unit_test(test_a_certificates_signature),
        cmocka_unit_test(test_a_requests_signature),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
