/* X.509 helpers: serial numbers, times, names, requests, CertID hashes, identities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "crypto/key.h"
#include "crypto/x509.h"

static EVP_PKEY *key;

static int make_key(void **state)
{
    (void)state;
    key = EVP_EC_gen("P-256");
    return key ? 0 : -1;
}

static int free_key(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

/* ---- serial numbers ---- */
static void test_serial_texts_of_people_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical; /* NULL: refused */
    } texts[] = {
        {"0", "00"},
        {"00", "00"},
        {"1", "01"},
        {"0x1", "01"},
        {"0X0a", "0A"},
        {"aB", "AB"},
        {"123", "0123"},
        {"12:34", "1234"},
        {"00:00:01", "01"},
        {"0000000000000000000000000000000000000000000000000001", "01"},
        {"ffffffffffffffffffffffffffffffffffffffff", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"},
        {"00ffffffffffffffffffffffffffffffffffffffff", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"},
        {"1ffffffffffffffffffffffffffffffffffffffff", NULL},
        {"", NULL},
        {":", NULL},
        {"0x", NULL},
        {"-1", NULL},
        {"xyz", NULL},
        {"12 34", NULL},
        {"12\n", NULL},
        {"0x0x1", NULL},
        {"g", NULL},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rl_serial s;
        char text[2 * RL_SERIAL_MAX + 1];
        rl_err err = rl_serial_from_text(texts[i].text, &s);
        if (err != (texts[i].canonical ? RL_OK : RL_EBADMSG))
            fail_msg("'%s': %s", texts[i].text, rl_err_name(err));
        if (!texts[i].canonical)
            continue;
        rl_serial_text(&s, text);
        assert_string_equal(text, texts[i].canonical);
    }
}

static void test_serial_is_the_same_from_der_text_and_certificate(void **state)
{
    (void)state;
    /* one with its high bit set: DER puts 00 before it, OpenSSL's integer does not */
    static const char *const texts[] = {"01",
                                        "7F",
                                        "80",
                                        "FF00",
                                        "00",
                                        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
                                        "8000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rl_serial from_text, from_cert, from_der;
        unsigned char *der = NULL;
        BIGNUM *number = NULL;
        X509 *cert = X509_new();
        BN_hex2bn(&number, texts[i]);
        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
        int n = i2d_ASN1_INTEGER(X509_get_serialNumber(cert), &der);
        assert_int_equal(rl_serial_from_text(texts[i], &from_text), RL_OK);
        assert_int_equal(rl_x509_serial(cert, &from_cert), RL_OK);
        assert_int_equal(rl_serial_from_der(rl_span_of(der + 2, (size_t)n - 2), &from_der), RL_OK);
        assert_true(rl_serial_eq(&from_text, &from_cert));
        assert_true(rl_serial_eq(&from_text, &from_der));
        OPENSSL_free(der);
        BN_free(number);
        X509_free(cert);
    }
}

static void test_serials_out_of_range_are_refused(void **state)
{
    (void)state;
    rl_serial s;
    X509 *cert = X509_new();
    assert_int_equal(rl_serial_from_der((rl_span){0}, &s), RL_ERANGE);
    assert_int_equal(rl_serial_from_der(RL_SPAN_LIT("\xff"), &s), RL_ERANGE);
    assert_int_equal(rl_serial_from_der(RL_SPAN_LIT("\x01"
                                                    "aaaaaaaaaaaaaaaaaaaa"),
                                        &s),
                     RL_ERANGE);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), -5);
    assert_int_equal(rl_x509_serial(cert, &s), RL_ERANGE);
    X509_free(cert);
}

static void test_random_serials_are_positive_and_differ(void **state)
{
    (void)state;
    rl_serial a, b;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rl_serial_random(&a), RL_OK);
        assert_int_equal(rl_serial_random(&b), RL_OK);
        assert_int_equal(a.n, 16);
        assert_int_equal(a.b[0] & 0xc0, 0x40);
        assert_false(rl_serial_eq(&a, &b));
    }
}

/* ---- names ---- */
static char *openssl_text(const X509_NAME *name)
{
    char *data, *out;
    BIO *bio = BIO_new(BIO_s_mem());
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    long n = BIO_get_mem_data(bio, &data);
    out = strndup(data, (size_t)n);
    BIO_free(bio);
    return out;
}

/* As RFC 5280 §4.1.2.5 writes them, as X.690 also allows, and in neither way. */
static void test_times_are_those_of_openssl_in_every_form(void **state)
{
    (void)state;
    static const struct {
        int type;
        const char *text;
    } times[] = {
        {V_ASN1_UTCTIME, "700101000000Z"},
        {V_ASN1_UTCTIME, "491231235959Z"},
        {V_ASN1_UTCTIME, "500101000000Z"},
        {V_ASN1_UTCTIME, "240229120000Z"},
        {V_ASN1_UTCTIME, "230229120000Z"},
        {V_ASN1_UTCTIME, "2402291200Z"},
        {V_ASN1_UTCTIME, "240229120000+0130"},
        {V_ASN1_UTCTIME, "20240229120000Z"},
        {V_ASN1_UTCTIME, ""},
        {V_ASN1_GENERALIZEDTIME, "20500101000000Z"},
        {V_ASN1_GENERALIZEDTIME, "99991231235959Z"},
        {V_ASN1_GENERALIZEDTIME, "19000228235959Z"},
        {V_ASN1_GENERALIZEDTIME, "19000229000000Z"},
        {V_ASN1_GENERALIZEDTIME, "20240229120000.5Z"},
        {V_ASN1_GENERALIZEDTIME, "240229120000Z"},
        {V_ASN1_GENERALIZEDTIME, "20240229120060Z"},
        {V_ASN1_GENERALIZEDTIME, "20240229120000"},
        {V_ASN1_OCTET_STRING, "20240229120000Z"},
        {V_ASN1_OCTET_STRING, "240229120000Z"},
    };
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        ASN1_TIME *t = ASN1_STRING_type_new(times[i].type);
        int64_t ours = 0;
        int days = 0, seconds = 0;
        assert_int_equal(ASN1_STRING_set(t, times[i].text, -1), 1);
        bool theirs = ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
        assert_int_equal(rl_x509_time(t, &ours) == RL_OK, theirs);
        if (theirs)
            assert_int_equal(ours, (int64_t)days * 86400 + seconds);
        ASN1_STRING_free(t);
    }
    ASN1_TIME_free(epoch);
    ERR_clear_error();
}

static void test_names_mean_what_rfc_4514_says(void **state)
{
    (void)state;
    static const struct {
        const char *text, *openssl; /* as `openssl x509 -nameopt RFC2253` prints it */
    } names[] = {
        {"CN=Revline Root CA", "CN=Revline Root CA"},
        {"CN=Root, O=Example\\, Inc.,C=DE", "CN=Root,O=Example\\, Inc.,C=DE"},
        {"CN=B\xc3\xbcro", "CN=B\\C3\\BCro"},
        {"CN=B\\C3\\BCro", "CN=B\\C3\\BCro"},
        {"CN=a\\2Cb\\\\c", "CN=a\\,b\\\\c"},
        {"UID=ada,DC=example,DC=test", "UID=ada,DC=example,DC=test"},
        {"CN=a\\=b", "CN=a=b"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        X509_NAME *name;
        assert_int_equal(rl_name_parse(names[i].text, &name, NULL), RL_OK);
        char *text = openssl_text(name);
        assert_string_equal(text, names[i].openssl);
        free(text);
        X509_NAME_free(name);
    }
}

static void test_first_attribute_of_the_text_is_the_last_of_the_name(void **state)
{
    (void)state;
    X509_NAME *name;
    assert_int_equal(rl_name_parse("CN=a,C=DE", &name, NULL), RL_OK);
    assert_int_equal(OBJ_obj2nid(X509_NAME_ENTRY_get_object(X509_NAME_get_entry(name, 0))), NID_countryName);
    char *text = rl_name_text(name);
    assert_string_equal(text, "CN=a,C=DE");
    free(text);
    X509_NAME_free(name);
}

static void test_texts_that_are_no_name_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",       "CN",       "CN=",       "=x",      "CN=a,",    "CN=a,,O=b",
                                        "CN=a,O", "NOSUCH=x", "C=Germany", "CN=\xff", "CN=a\\00b"};
    rl_error e;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        X509_NAME *name = NULL;
        if (rl_name_parse(texts[i], &name, &e) != RL_EINVAL)
            fail_msg("'%s' was taken", texts[i]);
        assert_null(name);
    }
    char longest[700] = "CN=";
    memset(longest + 3, 'a', 600);
    X509_NAME *name;
    assert_int_equal(rl_name_parse(longest, &name, NULL), RL_EINVAL);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_control_characters_of_a_name_are_escaped_in_its_text(void **state)
{
    (void)state;
    X509_NAME *name = X509_NAME_new();
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"a\nb\x1b[1m\xc3\xbc", -1, -1, 0);
    char *text = rl_name_text(name);
    assert_string_equal(text, "CN=a\\0Ab\\1B[1m\xc3\xbc");
    free(text);
    X509_NAME_free(name);
}

/* ---- DER, PEM ---- */
static X509_REQ *make_csr(void)
{
    X509_REQ *csr = X509_REQ_new();
    X509_REQ_set_pubkey(csr, key);
    X509_REQ_sign(csr, key, EVP_sha256());
    return csr;
}

static void test_request_is_read_from_der_and_pem(void **state)
{
    (void)state;
    X509_REQ *made = make_csr(), *read;
    unsigned char *der = NULL;
    char *pem;
    int n = i2d_X509_REQ(made, &der);
    BIO *bio = BIO_new(BIO_s_mem());
    BIO_printf(bio, "a line before\n");
    PEM_write_bio_X509_REQ_NEW(bio, made); /* BEGIN NEW CERTIFICATE REQUEST */
    long pem_n = BIO_get_mem_data(bio, &pem);
    assert_int_equal(rl_csr_from_any(rl_span_of(der, (size_t)n), &read, NULL), RL_OK);
    X509_REQ_free(read);
    assert_int_equal(rl_csr_from_any(rl_span_of(pem, (size_t)pem_n), &read, NULL), RL_OK);
    rl_key *signer = rl_key_of(key);
    assert_true(rl_csr_holds(read, signer));
    rl_key_free(signer);
    X509_REQ_free(read);
    BIO_free(bio);
    OPENSSL_free(der);
    X509_REQ_free(made);
}

static void test_what_is_no_request_is_malformed_and_asks_nobody(void **state)
{
    (void)state;
    X509_REQ *made = make_csr(), *read = NULL;
    unsigned char *der = NULL;
    int n = i2d_X509_REQ(made, &der);
    uint8_t longer[1024];
    memcpy(longer, der, (size_t)n);
    longer[n] = 0;
    const rl_span bad[] = {
        RL_SPAN_LIT(""),
        RL_SPAN_LIT("0"),
        RL_SPAN_LIT("hello"),
        RL_SPAN_LIT("-----BEGIN CERTIFICATE REQUEST-----\n"),
        RL_SPAN_LIT("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"),
        /* would have OpenSSL ask for a pass phrase at the terminal */
        RL_SPAN_LIT("-----BEGIN CERTIFICATE REQUEST-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
                    "AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
                    "MAAAAAAAAAAAAAAAAAAAAA==\n-----END CERTIFICATE REQUEST-----\n"),
        rl_span_of(der, (size_t)n - 1),
        rl_span_of(longer, (size_t)n + 1),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(rl_csr_from_any(bad[i], &read, NULL), RL_EBADMSG);
    assert_null(read);
    assert_int_equal(ERR_peek_error(), 0);
    OPENSSL_free(der);
    X509_REQ_free(made);
}

static X509 *make_cert(void)
{
    X509 *cert = X509_new();
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)"issuer", -1,
                               -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 60);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    return cert;
}

static void test_certificate_survives_der_and_trailing_octets_do_not(void **state)
{
    (void)state;
    X509 *made = make_cert(), *read;
    uint8_t *der, longer[1024];
    size_t n;
    assert_int_equal(rl_x509_to_der(made, &der, &n, NULL), RL_OK);
    assert_int_equal(rl_x509_from_der(rl_span_of(der, n), &read, NULL), RL_OK);
    assert_int_equal(X509_cmp(made, read), 0);
    memcpy(longer, der, n);
    assert_int_equal(rl_x509_from_der(rl_span_of(longer, n + 1), &read, NULL), RL_EBADMSG);
    assert_int_equal(rl_x509_from_der(rl_span_of(der, n - 1), &read, NULL), RL_EBADMSG);
    X509_free(read);
    X509_free(made);
    free(der);
}

static void test_cert_id_hashes_are_openssls(void **state)
{
    (void)state;
    X509 *issuer = make_cert();
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        uint8_t name[RL_HASH_MAX], bits[RL_HASH_MAX];
        ASN1_OCTET_STRING *their_name, *their_key;
        OCSP_CERTID *id = OCSP_cert_to_id(EVP_get_digestbyname(rl_hash_name(h)), issuer, issuer);
        OCSP_id_get0_info(&their_name, NULL, &their_key, NULL, id);
        assert_int_equal(rl_x509_name_hash(issuer, h, name), RL_OK);
        assert_int_equal(rl_x509_key_hash(issuer, h, bits), RL_OK);
        assert_int_equal(ASN1_STRING_length(their_name), rl_hash_size(h));
        assert_memory_equal(name, ASN1_STRING_get0_data(their_name), rl_hash_size(h));
        assert_memory_equal(bits, ASN1_STRING_get0_data(their_key), rl_hash_size(h));
        OCSP_CERTID_free(id);
    }
    X509_free(issuer);
}

/* ---- identity ---- */
static rl_err identity(const char *cn, int cn_n, const char *san, rl_identity *out)
{
    X509_NAME *name = X509_NAME_new();
    STACK_OF(X509_EXTENSION) *exts = NULL;
    if (cn)
        assert_int_equal(
            X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, (const unsigned char *)cn, cn_n, -1, 0),
            1);
    for (const char *at = san; at && *at; at += strlen(at) + 1) { /* one extension per NUL-ended text */
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, at);
        assert_non_null(ext);
        exts = exts ? exts : sk_X509_EXTENSION_new_null();
        sk_X509_EXTENSION_push(exts, ext);
    }
    rl_err err = rl_identity_read(name, exts, out, NULL);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_NAME_free(name);
    return err;
}

static void test_identity_is_cn_upn_and_mail(void **state)
{
    (void)state;
    rl_identity who;
    assert_int_equal(
        identity("d\xc3\xa4", -1,
                 "DNS:x,email:a@b,email:c@d,otherName:1.2.3;UTF8:no,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:u@v,"
                 "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:w@x\0",
                 &who),
        RL_OK);
    assert_string_equal(who.cn, "d\xc3\xa4");
    assert_string_equal(who.upn, "u@v");
    assert_string_equal(who.mail, "a@b");
    rl_identity_free(&who);
    assert_int_equal(identity(NULL, 0, NULL, &who), RL_OK);
    assert_null(who.cn);
    assert_null(who.upn);
    assert_null(who.mail);
}

static void test_identity_refuses_what_two_readers_could_read_differently(void **state)
{
    (void)state;
    rl_identity who;
    assert_int_equal(identity("good\0evil", 9, NULL, &who), RL_EBADMSG);
    assert_int_equal(identity("a", -1, "email:a@b\0email:c@d\0", &who), RL_EBADMSG); /* the extension twice */
    assert_int_equal(identity("a", -1, "otherName:1.3.6.1.4.1.311.20.2.3;INTEGER:7\0", &who), RL_EBADMSG);
    assert_int_equal(identity("a", -1, "DER:30:05:81:01\0", &who), RL_EBADMSG); /* no GeneralNames */
    assert_null(who.cn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial_texts_of_people_are_understood),
        cmocka_unit_test(test_serial_is_the_same_from_der_text_and_certificate),
        cmocka_unit_test(test_serials_out_of_range_are_refused),
        cmocka_unit_test(test_random_serials_are_positive_and_differ),
        cmocka_unit_test(test_times_are_those_of_openssl_in_every_form),
        cmocka_unit_test(test_names_mean_what_rfc_4514_says),
        cmocka_unit_test(test_first_attribute_of_the_text_is_the_last_of_the_name),
        cmocka_unit_test(test_texts_that_are_no_name_are_refused),
        cmocka_unit_test(test_control_characters_of_a_name_are_escaped_in_its_text),
        cmocka_unit_test(test_request_is_read_from_der_and_pem),
        cmocka_unit_test(test_what_is_no_request_is_malformed_and_asks_nobody),
        cmocka_unit_test(test_certificate_survives_der_and_trailing_octets_do_not),
        cmocka_unit_test(test_cert_id_hashes_are_openssls),
        cmocka_unit_test(test_identity_is_cn_upn_and_mail),
        cmocka_unit_test(test_identity_refuses_what_two_readers_could_read_differently),
    };
    return cmocka_run_group_tests(tests, make_key, free_key);
}
