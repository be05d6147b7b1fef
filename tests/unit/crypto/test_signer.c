/* Signers: signatures that OpenSSL verifies, key files that are whole, private and never overwritten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/signer.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/revline-signer-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static rl_signer *generate(rl_key_type type)
{
    rl_signer *s;
    assert_int_equal(rl_signer_generate(type, &s, NULL), RL_OK);
    return s;
}

static void run(const char *command)
{
    char line[512];
    snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1 </dev/null", dir, command);
    if (system(line) != 0)
        fail_msg("%s", command);
}

/* ---- signing ---- */
static const rl_key_type quick_types[] = {RL_KEY_RSA2048, RL_KEY_RSA3072, RL_KEY_EC_P256, RL_KEY_EC_P384};

static void test_signatures_verify_with_openssl_and_name_their_algorithm(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(quick_types) / sizeof(quick_types[0]); i++) {
        rl_signer *s = generate(quick_types[i]);
        uint8_t sig[RL_SIGNATURE_MAX];
        size_t n = sizeof(sig);
        assert_int_equal(rl_signer_type(s), quick_types[i]);
        assert_int_equal(rl_signer_sign(s, RL_SPAN_LIT("to be signed"), sig, &n, NULL), RL_OK);

        /* OpenSSL checks the signature by what the AlgorithmIdentifier says */
        rl_span der = rl_signer_algorithm(s);
        const unsigned char *p = der.p;
        X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &p, (long)der.n);
        assert_non_null(algorithm);
        assert_ptr_equal(p, der.p + der.n);
        int md, key;
        assert_int_equal(OBJ_find_sigid_algs(OBJ_obj2nid(algorithm->algorithm), &md, &key), 1);
        assert_string_equal(OBJ_nid2sn(md), rl_hash_name(rl_signer_hash(s)));
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_get_digestbynid(md), NULL, rl_signer_pkey(s)), 1);
        assert_int_equal(EVP_DigestVerify(ctx, sig, n, (const uint8_t *)"to be signed", 12), 1);
        assert_int_equal(key == EVP_PKEY_RSA, rl_signer_is_rsa(s));

        /* and it is the one that OpenSSL writes into a certificate */
        const X509_ALGOR *theirs;
        X509 *cert = X509_new();
        X509_set_pubkey(cert, rl_signer_pkey(s));
        assert_true(X509_sign(cert, rl_signer_pkey(s), EVP_get_digestbynid(md)) > 0);
        X509_get0_signature(NULL, &theirs, cert);
        assert_int_equal(X509_ALGOR_cmp(theirs, algorithm), 0);
        X509_free(cert);
        EVP_MD_CTX_free(ctx);
        X509_ALGOR_free(algorithm);
        rl_signer_free(s);
    }
}

static void test_an_rsa_key_signs_by_other_hashes(void **state)
{
    (void)state;
    static const rl_hash hashes[] = {RL_SHA1, RL_SHA256, RL_SHA384, RL_SHA512};
    rl_signer *s = generate(RL_KEY_RSA2048), *ec = generate(RL_KEY_EC_P256);
    uint8_t sig[RL_SIGNATURE_MAX];
    size_t n;
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        n = sizeof(sig);
        assert_int_equal(rl_signer_sign_by(s, hashes[i], RL_SPAN_LIT("to be signed"), sig, &n, NULL), RL_OK);
        assert_int_equal(
            EVP_DigestVerifyInit(ctx, NULL, EVP_get_digestbyname(rl_hash_name(hashes[i])), NULL, rl_signer_pkey(s)), 1);
        assert_int_equal(EVP_DigestVerify(ctx, sig, n, (const uint8_t *)"to be signed", 12), 1);
        EVP_MD_CTX_free(ctx);
    }
    n = sizeof(sig);
    assert_int_equal(rl_signer_sign_by(ec, RL_SHA384, RL_SPAN_LIT("x"), sig, &n, NULL), RL_EINVAL);
    rl_signer_free(s);
    rl_signer_free(ec);
}

/* What OpenSSL encrypts with padding, also with a zero in front that was left out; and what is no ciphertext. */
static void test_an_rsa_key_decrypts(void **state)
{
    (void)state;
    enum { OCTETS = 256 };
    rl_signer *s = generate(RL_KEY_RSA2048), *ec = generate(RL_KEY_EC_P256);
    uint8_t in[OCTETS + 1] = {1}, out[RL_SIGNATURE_MAX];
    size_t n = sizeof(in), leading = 0;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(rl_signer_pkey(s), NULL);
    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    for (int i = 0; i < 20000 && leading == 0; i++) { /* RSAES-PKCS1-v1_5 is another one each time */
        n = sizeof(in);
        assert_int_equal(EVP_PKEY_encrypt(ctx, in, &n, (const uint8_t *)"secret", 6), 1);
        leading = in[0] == 0;
    }
    assert_int_equal(n, OCTETS);
    for (size_t left_out = 0; left_out <= leading; left_out++) {
        assert_int_equal(rl_signer_decrypt(s, rl_span_of(in + left_out, OCTETS - left_out), out, &n, NULL), RL_OK);
        assert_int_equal(n, OCTETS);
        assert_memory_equal(out, "\0\2", 2);
        assert_memory_equal(out + OCTETS - 7, "\0secret", 7);
    }
    memset(in, 0xff, sizeof(in)); /* above the modulus; too long */
    assert_int_equal(rl_signer_decrypt(s, rl_span_of(in, OCTETS), out, &n, NULL), RL_ECRYPTO);
    assert_int_equal(rl_signer_decrypt(s, rl_span_of(in, OCTETS + 1), out, &n, NULL), RL_ECRYPTO);
    assert_int_equal(rl_signer_decrypt(ec, rl_span_of(in, 1), out, &n, NULL), RL_ECRYPTO);
    EVP_PKEY_CTX_free(ctx);
    rl_signer_free(s);
    rl_signer_free(ec);
}

static void test_too_little_room_for_a_signature_is_told(void **state)
{
    (void)state;
    rl_signer *s = generate(RL_KEY_EC_P256);
    uint8_t sig[8];
    size_t n = sizeof(sig);
    assert_int_equal(rl_signer_sign(s, RL_SPAN_LIT("x"), sig, &n, NULL), RL_ERANGE);
    rl_signer_free(s);
}

static void test_keys_of_other_kinds_are_no_signers(void **state)
{
    (void)state;
    rl_signer *s;
    assert_int_equal(rl_signer_of(EVP_RSA_gen(1024), &s, NULL), RL_EUNSUPPORTED);
    assert_int_equal(rl_signer_of(EVP_EC_gen("P-521"), &s, NULL), RL_EUNSUPPORTED);
    assert_int_equal(rl_signer_of(EVP_EC_gen("P-384"), &s, NULL), RL_OK);
    assert_int_equal(rl_signer_type(s), RL_KEY_EC_P384);
    rl_signer_free(s);
}

static void test_auto_is_no_key_type_to_make(void **state)
{
    (void)state;
    rl_signer *s;
    assert_int_equal(rl_signer_generate(RL_KEY_AUTO, &s, NULL), RL_EINVAL);
}

static void *sign_often(void *arg)
{
    rl_signer *s = arg;
    uint8_t sig[RL_SIGNATURE_MAX];
    size_t n;
    void *failed = NULL;
    for (int i = 0; i < 50; i++) {
        n = sizeof(sig);
        if (rl_signer_sign(s, RL_SPAN_LIT("x"), sig, &n, NULL) != RL_OK)
            failed = s;
    }
    rl_signer_free(s);
    return failed;
}

static void test_threads_share_a_signer(void **state)
{
    (void)state;
    static const rl_key_type types[] = {RL_KEY_RSA2048, RL_KEY_EC_P256};
    pthread_t threads[4];
    void *failed;
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        rl_signer *s = generate(types[t]);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, sign_often, rl_signer_ref(s)), 0);
        rl_signer_free(s);
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
    }
}

/* Where the processor can, the numbers of several threads are worked on together: each must get its own back, and one
 * that asks for what cannot be must not spoil the others'. */
static void *sign_own_messages(void *arg)
{
    rl_signer *s = arg;
    uint8_t sig[RL_SIGNATURE_MAX], message[8];
    bool ok = true;
    for (int i = 0; i < 20; i++) {
        size_t n = sizeof(sig);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        ok &= RAND_bytes(message, sizeof(message)) == 1 &&
              rl_signer_sign(s, rl_span_of(message, sizeof(message)), sig, &n, NULL) == RL_OK &&
              EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, rl_signer_pkey(s)) == 1 &&
              EVP_DigestVerify(ctx, sig, n, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(ctx);
    }
    return ok ? NULL : s;
}

static void *ask_for_too_much(void *arg)
{
    rl_signer *s = arg;
    uint8_t number[2048 / 8], out[RL_SIGNATURE_MAX];
    bool ok = true;
    memset(number, 0xff, sizeof(number));
    for (int i = 0; i < 20; i++) {
        size_t n = 0;
        ok &= rl_signer_decrypt(s, rl_span_of(number, sizeof(number)), out, &n, NULL) == RL_ECRYPTO &&
              ERR_peek_error() == 0;
    }
    return ok ? NULL : s;
}

static void test_numbers_of_many_threads_are_each_its_own(void **state)
{
    (void)state;
    pthread_t threads[12];
    void *failed;
    rl_signer *s = generate(RL_KEY_RSA2048);
    for (int i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i % 4 == 3 ? ask_for_too_much : sign_own_messages, s), 0);
    for (int i = 0; i < 12; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    rl_signer_free(s);
}

/* ---- files ---- */
static void test_saved_key_is_pkcs8_for_its_owner_and_loads_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(quick_types) / sizeof(quick_types[0]); i++) {
        rl_signer *s = generate(quick_types[i]), *loaded;
        struct stat st;
        mode_t mask = umask(0);
        assert_int_equal(rl_signer_save(s, path_of("key"), NULL), RL_OK);
        umask(mask);
        assert_int_equal(stat(path_of("key"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_nlink, 1);
        run("head -1 key | grep -x -- '-----BEGIN PRIVATE KEY-----' && openssl pkey -in key -check -noout && test $(ls "
            "| wc -l) = 1");
        assert_int_equal(rl_signer_load(path_of("key"), &loaded, NULL), RL_OK);
        assert_int_equal(rl_signer_type(loaded), quick_types[i]);
        assert_int_equal(EVP_PKEY_eq(rl_signer_pkey(s), rl_signer_pkey(loaded)), 1);
        rl_signer_free(s);
        rl_signer_free(loaded);
        unlink(path_of("key"));
    }
}

static void test_existing_file_is_never_overwritten(void **state)
{
    (void)state;
    rl_signer *s = generate(RL_KEY_EC_P256);
    run("echo mine > taken && ln -s nowhere dangling");
    assert_int_equal(rl_signer_save(s, path_of("taken"), NULL), RL_EEXISTS);
    assert_int_equal(rl_signer_save(s, path_of("dangling"), NULL), RL_EEXISTS);
    run("test \"$(cat taken)\" = mine && test ! -e nowhere && rm taken dangling && test $(ls | wc -l) = 0");
    assert_int_equal(rl_signer_save(s, path_of("no/such/folder"), NULL), RL_EIO);
    rl_signer_free(s);
}

static void test_files_that_are_no_usable_key_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        rl_err err;
    } files[] = {
        {"rm -f key", RL_ENOTFOUND},
        {"echo nonsense > key && chmod 600 key", RL_ECORRUPT},
        {": > key && chmod 600 key", RL_ECORRUPT},
        {"openssl ecparam -genkey -name prime256v1 -noout -out key && chmod 640 key", RL_EDENIED},
        {"openssl ecparam -genkey -name prime256v1 -noout -out key && chmod 604 key", RL_EDENIED},
        {"rm key && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes128 -pass pass:secret -out key",
         RL_ECORRUPT},
        {"rm key && openssl ecparam -genkey -name secp256k1 -noout -out key", RL_EUNSUPPORTED},
        {"rm key && openssl ecparam -genkey -name brainpoolP384r1 -noout -out key", RL_EUNSUPPORTED},
        {"rm key && openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key", RL_EUNSUPPORTED},
        {"rm key && openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out key", RL_EUNSUPPORTED},
        {"rm key && openssl genpkey -algorithm ED25519 -out key", RL_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        rl_signer *s = NULL;
        rl_error e;
        char line[256];
        snprintf(line, sizeof(line), "umask 077; %s", files[i].command);
        run(line);
        rl_err err = rl_signer_load(path_of("key"), &s, &e);
        if (err != files[i].err)
            fail_msg("%s: %s", files[i].command, rl_err_name(err));
        assert_non_null(strstr(e.message, path_of("key")));
        assert_null(s);
    }
    run("rm key");
}

static void test_key_types_have_the_names_of_the_settings(void **state)
{
    (void)state;
    assert_string_equal(rl_key_type_name(RL_KEY_RSA4096), "rsa4096");
    assert_string_equal(rl_key_type_name(RL_KEY_EC_P384), "ec-p384");
    assert_string_equal(rl_key_type_name(RL_KEY_AUTO), "auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures_verify_with_openssl_and_name_their_algorithm),
        cmocka_unit_test(test_an_rsa_key_signs_by_other_hashes),
        cmocka_unit_test(test_an_rsa_key_decrypts),
        cmocka_unit_test(test_too_little_room_for_a_signature_is_told),
        cmocka_unit_test(test_keys_of_other_kinds_are_no_signers),
        cmocka_unit_test(test_auto_is_no_key_type_to_make),
        cmocka_unit_test(test_threads_share_a_signer),
        cmocka_unit_test(test_numbers_of_many_threads_are_each_its_own),
        cmocka_unit_test(test_saved_key_is_pkcs8_for_its_owner_and_loads_again),
        cmocka_unit_test(test_existing_file_is_never_overwritten),
        cmocka_unit_test(test_files_that_are_no_usable_key_are_refused),
        cmocka_unit_test(test_key_types_have_the_names_of_the_settings),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
