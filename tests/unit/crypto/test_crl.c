/* Revocation lists: what libcrypto writes is read as it was meant, what a list may not be is refused, and only the CA's
 * own signature counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "crypto/crl.h"

enum { THIS_UPDATE = 1767607091, NEXT_UPDATE = THIS_UPDATE + 86400, LIMIT = 1 << 20 };

static EVP_PKEY *key;
static rl_error e;

/* ---- making ---- */
static X509 *make_ca(EVP_PKEY *with, const char *cn, const char *usage)
{
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, with);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_EXTENSION *ext = usage ? X509V3_EXT_conf(NULL, NULL, "keyUsage", usage) : NULL;
    if (ext)
        X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    assert_true(X509_sign(cert, with, EVP_sha256()) > 0);
    return cert;
}

static void add_number(X509_CRL *crl, const char *hex)
{
    ASN1_INTEGER *number = s2i_ASN1_INTEGER(NULL, hex);
    assert_non_null(number);
    X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_REPLACE);
    ASN1_INTEGER_free(number);
}

static X509_CRL *make_crl(void)
{
    X509_CRL *crl = X509_CRL_new();
    X509_NAME *name = X509_NAME_new();
    ASN1_TIME *t = ASN1_TIME_set(NULL, THIS_UPDATE);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"Other", -1, -1, 0);
    X509_CRL_set_issuer_name(crl, name);
    X509_CRL_set1_lastUpdate(crl, t);
    ASN1_TIME_set(t, NEXT_UPDATE);
    X509_CRL_set1_nextUpdate(crl, t);
    ASN1_TIME_free(t);
    X509_NAME_free(name);
    return crl;
}

static X509_REVOKED *add_entry(X509_CRL *crl, const char *serial, int reason, int64_t date)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *number = s2i_ASN1_INTEGER(NULL, serial);
    ASN1_TIME *t = ASN1_TIME_set(NULL, date);
    X509_REVOKED_set_serialNumber(entry, number);
    X509_REVOKED_set_revocationDate(entry, t);
    if (reason >= 0) {
        ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();
        ASN1_ENUMERATED_set(code, reason);
        X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, code, 0, 0);
        ASN1_ENUMERATED_free(code);
    }
    assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(t);
    return entry;
}

static void add_ext(X509_CRL *crl, const char *name, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, NULL, NULL, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf(NULL, &ctx, name, value);
    assert_non_null(ext);
    X509_CRL_add_ext(crl, ext, -1);
    X509_EXTENSION_free(ext);
}

static rl_span signed_der(X509_CRL *crl, EVP_PKEY *by, const EVP_MD *md)
{
    uint8_t *der = NULL;
    assert_true(X509_CRL_sign(crl, by, md) > 0);
    int n = i2d_X509_CRL(crl, &der);
    assert_true(n > 0);
    X509_CRL_free(crl);
    return rl_span_of(der, (size_t)n);
}

/* Reads it and frees the octets. */
static rl_err read_crl(rl_span der, rl_crl *out)
{
    e = (rl_error){0};
    rl_err err = rl_crl_read(der, LIMIT, out, &e);
    OPENSSL_free((void *)der.p);
    return err;
}

static void read_ok(X509_CRL *crl, rl_crl *out)
{
    if (read_crl(signed_der(crl, key, EVP_sha256()), out) != RL_OK)
        fail_msg("%s", e.message);
}

static void assert_refused(X509_CRL *crl, rl_err code, const char *why)
{
    rl_crl out;
    assert_int_equal(read_crl(signed_der(crl, key, EVP_sha256()), &out), code);
    if (!strstr(e.message, why))
        fail_msg("'%s' instead of '%s'", e.message, why);
}

static void assert_entry(const rl_crl *crl, size_t i, const char *serial, int reason, int64_t date)
{
    char text[2 * RL_SERIAL_MAX + 1];
    rl_serial_text(&crl->entries[i].serial, text);
    assert_string_equal(text, serial);
    assert_int_equal(crl->entries[i].reason, reason);
    assert_int_equal(crl->entries[i].revoked_at, date);
}

/* ---- reading ---- */
static void a_list_is_read_in_the_order_of_its_certificates(void **state)
{
    (void)state;
    rl_crl c;
    X509_CRL *crl = make_crl();
    add_number(crl, "0xFFEEDDCCBBAA99887766554433221100FFEEDDCC");
    add_entry(crl, "0x0200", 1, THIS_UPDATE - 5);
    add_entry(crl, "0x0F", 6, THIS_UPDATE - 4);
    add_entry(crl, "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", -1, THIS_UPDATE - 3);
    add_entry(crl, "0", 10, INT64_C(2540000000)); /* a GeneralizedTime: it is after 2049 */
    add_entry(crl, "0x02", 9, 0);
    read_ok(crl, &c);
    assert_int_equal(c.n, 5);
    assert_entry(&c, 0, "00", 10, INT64_C(2540000000));
    assert_entry(&c, 1, "02", 9, 0);
    assert_entry(&c, 2, "0200", 1, THIS_UPDATE - 5);
    assert_entry(&c, 3, "0F", 6, THIS_UPDATE - 4);
    assert_entry(&c, 4, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", 0, THIS_UPDATE - 3);
    assert_int_equal(c.this_update, THIS_UPDATE);
    assert_int_equal(c.next_update, NEXT_UPDATE);
    assert_memory_equal(c.number, "\xff\xee\xdd\xcc\xbb\xaa\x99\x88\x77\x66\x55\x44\x33\x22\x11\x00\xff\xee\xdd\xcc",
                        20);
    assert_false(c.partial);
    assert_int_equal(c.skipped, 0);
    rl_crl_clear(&c);
}

static void an_empty_list_without_number_and_next_update_is_one(void **state)
{
    (void)state;
    rl_crl c;
    uint8_t none[RL_CRL_NUMBER] = {0};
    X509_CRL *crl = X509_CRL_new(), *whole = make_crl();
    X509_CRL_set_issuer_name(crl, X509_CRL_get_issuer(whole));
    X509_CRL_set1_lastUpdate(crl, X509_CRL_get0_lastUpdate(whole));
    X509_CRL_free(whole);
    read_ok(crl, &c);
    assert_int_equal(c.n, 0);
    assert_int_equal(c.next_update, THIS_UPDATE + RL_CRL_LIFE_DEFAULT);
    assert_memory_equal(c.number, none, sizeof(none));
    rl_crl_clear(&c);
}

static void of_one_serial_number_the_revocation_for_good_counts(void **state)
{
    (void)state;
    rl_crl c;
    X509_CRL *crl = make_crl();
    add_entry(crl, "7", 6, 100);
    add_entry(crl, "7", 4, 300);
    add_entry(crl, "7", 5, 200);
    read_ok(crl, &c);
    assert_int_equal(c.n, 1);
    assert_entry(&c, 0, "07", 5, 200);
    rl_crl_clear(&c);
}

static void a_serial_number_that_none_can_have_is_passed_over_and_counted(void **state)
{
    (void)state;
    rl_crl c;
    X509_CRL *crl = make_crl();
    add_entry(crl, "-5", -1, 1);
    add_entry(crl, "0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", -1, 1);
    add_entry(crl, "5", -1, 1);
    read_ok(crl, &c);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.skipped, 2);
    rl_crl_clear(&c);
}

static void pem_is_read_like_der(void **state)
{
    (void)state;
    rl_crl c;
    char *text;
    X509_CRL *crl = make_crl();
    BIO *bio = BIO_new(BIO_s_mem());
    add_entry(crl, "9", 1, 5);
    X509_CRL_sign(crl, key, EVP_sha256());
    PEM_write_bio_X509_CRL(bio, crl);
    long n = BIO_get_mem_data(bio, &text);
    assert_int_equal(rl_crl_read(rl_span_of(text, (size_t)n), LIMIT, &c, &e), RL_OK);
    assert_entry(&c, 0, "09", 1, 5);
    rl_crl_clear(&c);
    assert_int_equal(rl_crl_read(rl_span_of(text, (size_t)n), (size_t)n - 1, &c, &e), RL_ERANGE);
    assert_int_equal(rl_crl_read(rl_span_of(text, (size_t)n / 2), LIMIT, &c, &e), RL_EBADMSG);
    BIO_free(bio);
    X509_CRL_free(crl);
}

static void a_list_for_a_part_says_so(void **state)
{
    static const char *const partial[] = {"DER:30038101FF", "DER:30038201FF",
                                          "DER:3010A00EA00C860A687474703A2F2F782F63"};
    (void)state;
    rl_crl c, other;
    uint8_t none[32] = {0};
    for (size_t i = 0; i < 3; i++) {
        X509_CRL *crl = make_crl();
        add_ext(crl, "2.5.29.28", partial[i]);
        read_ok(crl, &c);
        assert_true(c.partial);
        crl = make_crl();
        add_ext(crl, "2.5.29.28", partial[(i + 1) % 3]);
        read_ok(crl, &other);
        assert_memory_not_equal(c.scope, other.scope, 32);
        rl_crl_clear(&c);
        rl_crl_clear(&other);
    }
    X509_CRL *crl = make_crl();
    add_ext(crl, "2.5.29.28", "critical,DER:3000");
    read_ok(crl, &c);
    assert_false(c.partial);
    assert_memory_equal(c.scope, none, 32);
    rl_crl_clear(&c);
}

static void lists_that_are_not_whole_or_not_of_their_issuer_alone_are_refused(void **state)
{
    static const struct {
        const char *oid, *value, *why;
    } cases[] = {{"2.5.29.27", "critical,DER:020101", "delta"},
                 {"2.5.29.28", "critical,DER:30038401FF", "indirect"},
                 {"2.5.29.28", "critical,DER:300483020560", "some revocation reasons"},
                 {"2.5.29.28", "critical,DER:30038501FF", "attribute certificates"},
                 {"1.2.3.4", "critical,DER:0500", "critical extension"}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        X509_CRL *crl = make_crl();
        add_ext(crl, cases[i].oid, cases[i].value);
        assert_refused(crl, RL_EUNSUPPORTED, cases[i].why);
    }
    X509_CRL *crl = make_crl();
    X509_EXTENSION *ext = X509V3_EXT_conf(NULL, NULL, "1.2.3.4", "critical,DER:0500");
    X509_REVOKED_add_ext(add_entry(crl, "1", 1, 1), ext, -1);
    X509_EXTENSION_free(ext);
    assert_refused(crl, RL_EUNSUPPORTED, "critical extension");
    crl = make_crl();
    ext = X509V3_EXT_conf(NULL, NULL, "2.5.29.29", "critical,DER:3000");
    X509_REVOKED_add_ext(add_entry(crl, "1", 1, 1), ext, -1);
    X509_EXTENSION_free(ext);
    assert_refused(crl, RL_EUNSUPPORTED, "indirect");
    crl = make_crl();
    add_ext(crl, "1.2.3.4", "DER:0500"); /* not critical: it is passed over */
    rl_crl c;
    read_ok(crl, &c);
    rl_crl_clear(&c);
}

static void what_is_malformed_is_refused(void **state)
{
    static const int reasons[] = {7, 8, 11};
    (void)state;
    rl_crl c;
    for (size_t i = 0; i < 3; i++) {
        X509_CRL *crl = make_crl();
        add_entry(crl, "1", reasons[i], 1);
        assert_refused(crl, RL_EBADMSG, "no certificate revocation list");
    }
    X509_CRL *crl = make_crl();
    add_entry(crl, "1", 1, 1);
    rl_span der = signed_der(crl, key, EVP_sha256());
    for (size_t n = 0; n < der.n; n++)
        assert_int_not_equal(rl_crl_read((rl_span){der.p, n}, LIMIT, &c, &e), RL_OK);
    uint8_t *longer = malloc(der.n + 1);
    memcpy(longer, der.p, der.n);
    longer[der.n] = 0;
    assert_int_equal(rl_crl_read(rl_span_of(longer, der.n + 1), LIMIT, &c, &e), RL_EBADMSG);
    assert_int_equal(rl_crl_read(der, der.n - 1, &c, &e), RL_ERANGE);
    free(longer);
    OPENSSL_free((void *)der.p);
}

/* ---- signatures ---- */
static void only_the_cas_own_signature_counts(void **state)
{
    (void)state;
    rl_crl c;
    EVP_PKEY *stranger = EVP_EC_gen("P-256");
    X509 *ca = make_ca(key, "Other", "keyCertSign,cRLSign"), *plain = make_ca(key, "Other", NULL);
    X509 *renamed = make_ca(key, "Else", NULL), *no_lists = make_ca(key, "Other", "keyCertSign");
    X509 *forger = make_ca(stranger, "Other", NULL);
    read_ok(make_crl(), &c);
    assert_int_equal(rl_crl_verify(&c, ca, false, &e), RL_OK);
    assert_int_equal(rl_crl_verify(&c, plain, false, &e), RL_OK);
    assert_int_equal(rl_crl_verify(&c, renamed, false, &e), RL_ENOTFOUND);
    assert_int_equal(rl_crl_verify(&c, forger, false, &e), RL_ENOTFOUND);
    assert_int_equal(rl_crl_verify(&c, no_lists, false, &e), RL_EDENIED);
    ((uint8_t *)c.der)[c.tbs.p - c.der + (ptrdiff_t)c.tbs.n - 1] ^= 1;
    assert_int_equal(rl_crl_verify(&c, ca, false, &e), RL_ENOTFOUND);
    rl_crl_clear(&c);
    X509 *const all[] = {ca, plain, renamed, no_lists, forger};
    for (size_t i = 0; i < 5; i++)
        X509_free(all[i]);
    EVP_PKEY_free(stranger);
}

/* PSS with the hash given; else PKCS#1. */
static rl_err verify_rsa(EVP_PKEY *rsa, X509 *ca, const EVP_MD *md, bool pss, bool sha1)
{
    rl_crl c;
    uint8_t *der = NULL;
    X509_CRL *crl = make_crl();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how;
    assert_int_equal(EVP_DigestSignInit(ctx, &how, md, NULL, rsa), 1);
    if (pss)
        EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING);
    assert_true(X509_CRL_sign_ctx(crl, ctx) > 0);
    int n = i2d_X509_CRL(crl, &der);
    assert_int_equal(read_crl(rl_span_of(der, (size_t)n), &c), RL_OK);
    rl_err err = rl_crl_verify(&c, ca, sha1, &e);
    rl_crl_clear(&c);
    X509_CRL_free(crl);
    EVP_MD_CTX_free(ctx);
    return err;
}

static void weak_signatures_do_not_count(void **state)
{
    (void)state;
    rl_crl c;
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *ca = make_ca(rsa, "Other", NULL), *ed_ca = X509_dup(ca);
    for (int pss = 0; pss < 2; pss++) {
        assert_int_equal(verify_rsa(rsa, ca, EVP_sha256(), pss, false), RL_OK);
        assert_int_equal(verify_rsa(rsa, ca, EVP_sha512(), pss, false), RL_OK);
        assert_int_equal(verify_rsa(rsa, ca, EVP_sha1(), pss, false), RL_EUNSUPPORTED);
        assert_non_null(strstr(e.message, "REVLINE_SYNC_CRL_SHA1"));
        assert_int_equal(verify_rsa(rsa, ca, EVP_sha1(), pss, true), RL_OK);
    }
    assert_int_equal(verify_rsa(rsa, ca, EVP_md5(), false, true), RL_EUNSUPPORTED);
    X509_set_pubkey(ed_ca, ed);
    assert_int_equal(read_crl(signed_der(make_crl(), ed, NULL), &c), RL_OK);
    assert_int_equal(rl_crl_verify(&c, ed_ca, false, &e), RL_OK);
    rl_crl_clear(&c);
    X509_free(ca);
    X509_free(ed_ca);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_read_in_the_order_of_its_certificates),
        cmocka_unit_test(an_empty_list_without_number_and_next_update_is_one),
        cmocka_unit_test(of_one_serial_number_the_revocation_for_good_counts),
        cmocka_unit_test(a_serial_number_that_none_can_have_is_passed_over_and_counted),
        cmocka_unit_test(pem_is_read_like_der),
        cmocka_unit_test(a_list_for_a_part_says_so),
        cmocka_unit_test(lists_that_are_not_whole_or_not_of_their_issuer_alone_are_refused),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(only_the_cas_own_signature_counts),
        cmocka_unit_test(weak_signatures_do_not_count),
    };
    key = EVP_EC_gen("P-256");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    EVP_PKEY_free(key);
    return failed;
}
