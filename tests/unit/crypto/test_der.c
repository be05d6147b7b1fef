/* DER: the reader takes what X.690 allows and nothing else, the writer makes what OpenSSL makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/asn1.h>
#include <openssl/x509.h>

#include "crypto/der.h"

#define LIT(s) RL_SPAN_LIT(s)

/* A failed read leaves its input as it was. */
#define assert_refused(expected, input, call)                                                                          \
    do {                                                                                                               \
        rl_span rest = (input), before = rest;                                                                         \
        assert_int_equal((call), (expected));                                                                          \
        assert_ptr_equal(rest.p, before.p);                                                                            \
        assert_int_equal(rest.n, before.n);                                                                            \
    } while (0)

static void test_element_is_read_whole_and_input_is_left_behind_it(void **state)
{
    (void)state;
    rl_span in = LIT("\x04\x02hi\x05\x00"), contents, whole;
    uint8_t tag;
    assert_int_equal(rl_der_any(&in, &tag, &contents, &whole), RL_OK);
    assert_int_equal(tag, RL_DER_OCTET_STRING);
    assert_true(rl_span_eq(contents, LIT("hi")));
    assert_true(rl_span_eq(whole, LIT("\x04\x02hi")));
    assert_true(rl_der_peek(&in, RL_DER_NULL));
    assert_false(rl_der_peek(&in, RL_DER_INTEGER));
    assert_int_equal(rl_der_null(&in), RL_OK);
    assert_int_equal(in.n, 0);
    assert_false(rl_der_peek(&in, 0));
}

static void test_long_lengths_are_read_in_their_shortest_form(void **state)
{
    (void)state;
    static uint8_t big[5 + 70000];
    uint8_t tag;
    rl_span contents;
    const struct {
        uint8_t head[5];
        size_t head_n, n;
    } good[] = {{{4, 0x7f}, 2, 127},
                {{4, 0x81, 0x80}, 3, 128},
                {{4, 0x81, 0xff}, 3, 255},
                {{4, 0x82, 1, 0}, 4, 256},
                {{4, 0x83, 1, 0x11, 0x70}, 5, 70000}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        memcpy(big, good[i].head, good[i].head_n);
        rl_span in = rl_span_of(big, good[i].head_n + good[i].n);
        assert_int_equal(rl_der_any(&in, &tag, &contents, NULL), RL_OK);
        assert_int_equal(contents.n, good[i].n);
        assert_refused(RL_EBADMSG, rl_span_of(big, good[i].head_n + good[i].n - 1),
                       rl_der_any(&rest, &tag, &contents, NULL));
    }
}

static void test_what_is_not_der_is_refused(void **state)
{
    (void)state;
    const rl_span bad[] = {
        LIT(""),
        LIT("\x04"),
        LIT("\x04\x01"),
        LIT("\x04\x80\x00\x00"), /* nothing, no length, short, indefinite */
        LIT("\x04\x81\x01x"),
        LIT("\x04\x81\x7fx"),
        LIT("\x04\x82\x00\x01x"),
        LIT("\x04\x81"),
        LIT("\x04\x82\x00\x80"),
        LIT("\x04\x84\xff\xff\xff\xff"),
        LIT("\x04\x85\x00\x00\x00\x00\x01x"),
        LIT("\x04\xffx"),
        LIT("\x1f\x81\x01\x00"),
        LIT("\x3f\x01\x00"), /* high tag numbers */
    };
    uint8_t tag;
    rl_span contents;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(RL_EBADMSG, bad[i], rl_der_any(&rest, &tag, &contents, NULL));
    assert_refused(RL_EBADMSG, LIT("\x04\x00"), rl_der_sequence(&rest, &contents));
    assert_refused(RL_EBADMSG, LIT("\x30\x00"), rl_der_octets(&rest, &contents));
    assert_refused(RL_EBADMSG, LIT("\x05\x01\x00"), rl_der_null(&rest));
}

static void test_booleans_are_00_or_ff(void **state)
{
    (void)state;
    bool v;
    rl_span in = LIT("\x01\x01\x00\x01\x01\xff");
    assert_int_equal(rl_der_bool(&in, &v), RL_OK);
    assert_false(v);
    assert_int_equal(rl_der_bool(&in, &v), RL_OK);
    assert_true(v);
    assert_refused(RL_EBADMSG, LIT("\x01\x01\x01"), rl_der_bool(&rest, &v));
    assert_refused(RL_EBADMSG, LIT("\x01\x00"), rl_der_bool(&rest, &v));
    assert_refused(RL_EBADMSG, LIT("\x01\x02\x00\x00"), rl_der_bool(&rest, &v));
}

static void test_object_identifiers_end_and_are_minimal(void **state)
{
    (void)state;
    rl_span oid, in = LIT("\x06\x03\x2b\x0e\x03");
    assert_int_equal(rl_der_oid(&in, &oid), RL_OK);
    assert_true(rl_span_eq(oid, LIT("\x2b\x0e\x03")));
    in = LIT("\x06\x04\x2a\x81\x80\x01"); /* 0x80 inside a subidentifier is fine */
    assert_int_equal(rl_der_oid(&in, &oid), RL_OK);
    assert_refused(RL_EBADMSG, LIT("\x06\x00"), rl_der_oid(&rest, &oid));
    assert_refused(RL_EBADMSG, LIT("\x06\x02\x2a\x86"), rl_der_oid(&rest, &oid));
    assert_refused(RL_EBADMSG, LIT("\x06\x03\x2a\x80\x01"), rl_der_oid(&rest, &oid));
    assert_refused(RL_EBADMSG, LIT("\x06\x02\x80\x01"), rl_der_oid(&rest, &oid));
}

static void test_unsigned_integers_have_their_range(void **state)
{
    (void)state;
    uint64_t v;
    const struct {
        rl_span der;
        uint64_t value;
    } good[] = {{LIT("\x02\x01\x00"), 0},
                {LIT("\x02\x01\x7f"), 127},
                {LIT("\x02\x02\x00\x80"), 128},
                {LIT("\x02\x08\x7f\xff\xff\xff\xff\xff\xff\xff"), INT64_MAX}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        rl_span in = good[i].der;
        assert_int_equal(rl_der_uint(&in, &v), RL_OK);
        assert_true(v == good[i].value);
        assert_int_equal(in.n, 0);
    }
    assert_refused(RL_EBADMSG, LIT("\x02\x00"), rl_der_uint(&rest, &v));
    assert_refused(RL_EBADMSG, LIT("\x02\x02\x00\x7f"), rl_der_uint(&rest, &v));
    assert_refused(RL_EBADMSG, LIT("\x02\x01\xff"), rl_der_uint(&rest, &v));
    assert_refused(RL_ERANGE, LIT("\x02\x09\x00\x80\x00\x00\x00\x00\x00\x00\x00"), rl_der_uint(&rest, &v));
}

static void test_serials_of_up_to_20_octets_are_read(void **state)
{
    (void)state;
    rl_span v, in = LIT("\x02\x15\x00\xff"
                        "aaaaaaaaaaaaaaaaaaa");
    bool negative;
    assert_int_equal(rl_der_serial(&in, &v, &negative), RL_OK);
    assert_int_equal(v.n, 21);
    assert_false(negative);
    in = LIT("\x02\x01\xff");
    assert_int_equal(rl_der_serial(&in, &v, &negative), RL_OK);
    assert_true(negative);
    in = LIT("\x02\x01\x00");
    assert_int_equal(rl_der_serial(&in, &v, &negative), RL_OK);
    assert_refused(RL_ERANGE,
                   LIT("\x02\x15\x01"
                       "aaaaaaaaaaaaaaaaaaaa"),
                   rl_der_serial(&rest, &v, &negative));
    assert_refused(RL_EBADMSG, LIT("\x02\x02\x00\x01"), rl_der_serial(&rest, &v, &negative));
    assert_refused(RL_EBADMSG, LIT("\x02\x02\xff\x80"), rl_der_serial(&rest, &v, &negative));
    assert_refused(RL_EBADMSG, LIT("\x02\x00"), rl_der_serial(&rest, &v, &negative));
}

/* ---- writing ---- */
static void test_numbers_are_written_as_openssl_writes_them(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 127, 128, 255, 256, 32767, 32768, 0x7fffffff, 0x80000000u, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t memory[16];
        unsigned char *expected = NULL;
        rl_der_writer w;
        rl_span out;
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        ASN1_INTEGER_set_uint64(number, values[i]);
        int n = i2d_ASN1_INTEGER(number, &expected);
        rl_der_init(&w, memory, sizeof(memory));
        rl_der_put_uint(&w, values[i]);
        assert_int_equal(rl_der_finish(&w, &out), RL_OK);
        assert_true(rl_span_eq(out, rl_span_of(expected, (size_t)n)));
        OPENSSL_free(expected);
        ASN1_INTEGER_free(number);
    }
}

static void test_times_are_written_as_openssl_writes_them(void **state)
{
    (void)state;
    const int64_t times[] = {0, 951782400, 1790000000, 4102444800, 253402300799};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        uint8_t memory[32];
        unsigned char *expected = NULL;
        rl_der_writer w;
        rl_span out;
        ASN1_GENERALIZEDTIME *time = ASN1_GENERALIZEDTIME_set(NULL, (time_t)times[i]);
        int n = i2d_ASN1_GENERALIZEDTIME(time, &expected);
        rl_der_init(&w, memory, sizeof(memory));
        rl_der_put_generalized_time(&w, times[i]);
        assert_int_equal(rl_der_finish(&w, &out), RL_OK);
        assert_true(rl_span_eq(out, rl_span_of(expected, (size_t)n)));
        OPENSSL_free(expected);
        ASN1_GENERALIZEDTIME_free(time);
    }
    uint8_t memory[32];
    rl_der_writer w;
    rl_span out;
    rl_der_init(&w, memory, sizeof(memory));
    rl_der_put_generalized_time(&w, 253402300800); /* the year 10000 */
    assert_int_equal(rl_der_finish(&w, &out), RL_ERANGE);
}

/* RFC 5280 §4.1.2.5: the edges of UTCTime. */
static void test_a_certificates_time_is_openssls(void **state)
{
    (void)state;
    static const int64_t times[] = {-631152001, -631152000, 0, 1790000000, 2524607999, 2524608000, 253402300799};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        uint8_t memory[32];
        unsigned char *expected = NULL;
        rl_der_writer w;
        rl_span out;
        ASN1_TIME *time = ASN1_TIME_set(NULL, (time_t)times[i]);
        int n = i2d_ASN1_TIME(time, &expected);
        rl_der_init(&w, memory, sizeof(memory));
        rl_der_put_time(&w, times[i]);
        assert_int_equal(rl_der_finish(&w, &out), RL_OK);
        assert_true(rl_span_eq(out, rl_span_of(expected, (size_t)n)));
        OPENSSL_free(expected);
        ASN1_TIME_free(time);
    }
}

static void test_other_kinds_are_written_byte_for_byte(void **state)
{
    (void)state;
    uint8_t memory[64];
    rl_der_writer w;
    rl_span out;
    rl_der_init(&w, memory, sizeof(memory));
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_bool(&w, true);
    rl_der_put_bool(&w, false);
    rl_der_put_enum(&w, 6);
    rl_der_put_null(&w);
    rl_der_put_oid(&w, LIT("\x2a\x03"));
    rl_der_put_bits(&w, LIT("\xa0"));
    rl_der_open(&w, RL_DER_CONTEXT_CONSTRUCTED(1));
    rl_der_put(&w, RL_DER_CONTEXT(0), LIT(""));
    rl_der_put_raw(&w, LIT("\x05\x00"));
    rl_der_close(&w);
    rl_der_close(&w);
    assert_int_equal(rl_der_finish(&w, &out), RL_OK);
    assert_true(
        rl_span_eq(out, LIT("\x30\x19\x01\x01\xff\x01\x01\x00\x0a\x01\x06\x05\x00\x06\x02\x2a\x03\x03\x02\x00\xa0"
                            "\xa1\x04\x80\x00\x05\x00")));
}

/* Contents around every change of the length's own length, nested three deep, and read back. */
static void test_nested_elements_get_their_lengths(void **state)
{
    (void)state;
    static uint8_t memory[70100], filler[70000];
    const size_t sizes[] = {0,   1,   120, 123, 124, 125,   126,   127,   128,
                            129, 250, 253, 255, 256, 65530, 65535, 65536, 70000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        rl_der_writer w;
        rl_span out, in, outer, middle, inner;
        rl_der_init(&w, memory, sizeof(memory));
        rl_der_open(&w, RL_DER_SEQUENCE);
        rl_der_open(&w, RL_DER_SET);
        rl_der_put(&w, RL_DER_OCTET_STRING, rl_span_of(filler, sizes[i]));
        rl_der_close(&w);
        rl_der_put_null(&w);
        rl_der_close(&w);
        assert_int_equal(rl_der_finish(&w, &out), RL_OK);
        in = out;
        assert_int_equal(rl_der_sequence(&in, &outer), RL_OK);
        assert_int_equal(rl_span_end(&in), RL_OK);
        assert_int_equal(rl_der_expect(&outer, RL_DER_SET, &middle), RL_OK);
        assert_int_equal(rl_der_octets(&middle, &inner), RL_OK);
        assert_int_equal(inner.n, sizes[i]);
        assert_int_equal(rl_der_null(&outer), RL_OK);
        /* one octet less of memory is told, and nothing beyond it is touched (the sanitizer sees to that) */
        uint8_t *tight = malloc(out.n - 1);
        size_t cap = out.n - 1;
        rl_der_init(&w, tight, cap);
        rl_der_open(&w, RL_DER_SEQUENCE);
        rl_der_open(&w, RL_DER_SET);
        rl_der_put(&w, RL_DER_OCTET_STRING, rl_span_of(filler, sizes[i]));
        rl_der_close(&w);
        rl_der_put_null(&w);
        rl_der_close(&w);
        assert_int_equal(rl_der_finish(&w, &out), RL_ERANGE);
        free(tight);
    }
}

static void test_unbalanced_or_too_deep_writing_is_told(void **state)
{
    (void)state;
    uint8_t memory[128];
    rl_der_writer w;
    rl_span out;
    rl_der_init(&w, memory, sizeof(memory));
    rl_der_open(&w, RL_DER_SEQUENCE);
    assert_int_equal(rl_der_finish(&w, &out), RL_EINVAL);
    rl_der_init(&w, memory, sizeof(memory));
    rl_der_close(&w);
    assert_int_equal(rl_der_finish(&w, &out), RL_EINVAL);
    rl_der_init(&w, memory, sizeof(memory));
    for (int i = 0; i < 17; i++)
        rl_der_open(&w, RL_DER_SEQUENCE);
    for (int i = 0; i < 17; i++)
        rl_der_close(&w);
    assert_int_equal(rl_der_finish(&w, &out), RL_EINVAL);
}

static void test_times_are_read_as_openssl_reads_them(void **state)
{
    static const struct {
        uint8_t tag;
        const char *text;
    } cases[] = {
        {RL_DER_UTC_TIME, "260105095811Z"},
        {RL_DER_UTC_TIME, "491231235959Z"},
        {RL_DER_UTC_TIME, "500101000000Z"},
        {RL_DER_UTC_TIME, "000229120000Z"},
        {RL_DER_UTC_TIME, "230229120000Z"},
        {RL_DER_UTC_TIME, "261301000000Z"},
        {RL_DER_UTC_TIME, "260100000000Z"},
        {RL_DER_UTC_TIME, "260431000000Z"},
        {RL_DER_UTC_TIME, "260101240000Z"},
        {RL_DER_UTC_TIME, "260101006000Z"},
        {RL_DER_UTC_TIME, "26010100000aZ"},
        {RL_DER_UTC_TIME, "2601010000Z"},
        {RL_DER_UTC_TIME, "260101000000"},
        {RL_DER_UTC_TIME, "260101000000+0100"},
        {RL_DER_UTC_TIME, "20260105095811Z"},
        {RL_DER_GENERALIZED_TIME, "20500105095811Z"},
        {RL_DER_GENERALIZED_TIME, "99991231235959Z"},
        {RL_DER_GENERALIZED_TIME, "19700101000000Z"},
        {RL_DER_GENERALIZED_TIME, "260105095811Z"},
        {RL_DER_GENERALIZED_TIME, "20260105095811.5Z"},
        {RL_DER_GENERALIZED_TIME, "20260105095811"},
        {RL_DER_GENERALIZED_TIME, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t element[40] = {cases[i].tag, (uint8_t)strlen(cases[i].text)};
        struct tm tm;
        int64_t got = -1;
        memcpy(element + 2, cases[i].text, strlen(cases[i].text));
        rl_span in = rl_span_of(element, 2 + strlen(cases[i].text)), before = in;
        ASN1_TIME *time =
            ASN1_STRING_type_new(cases[i].tag == RL_DER_UTC_TIME ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
        ASN1_STRING_set(time, cases[i].text, (int)strlen(cases[i].text));
        /* OpenSSL also knows fractions and offsets, which RFC 5280 does not allow. */
        bool right = ASN1_TIME_check(time) == 1 && !strpbrk(cases[i].text, ".+") && strlen(cases[i].text) >= 13;
        rl_err err = rl_der_time(&in, &got);
        if ((err == RL_OK) != right)
            fail_msg("'%s': %s", cases[i].text, rl_err_name(err));
        if (right) {
            assert_int_equal(ASN1_TIME_to_tm(time, &tm), 1);
            assert_int_equal(got, timegm(&tm));
        }
        assert_int_equal(in.n, right ? 0 : before.n);
        ASN1_STRING_free(time);
    }
}

/* A certificate that OpenSSL made can be walked down to its serial number. */
static void test_openssl_certificate_can_be_walked(void **state)
{
    (void)state;
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    unsigned char *der = NULL;
    rl_span in, outer, tbs, version, serial;
    bool negative;
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 200);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 60);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    int n = i2d_X509(cert, &der);
    in = rl_span_of(der, (size_t)n);
    assert_int_equal(rl_der_sequence(&in, &outer), RL_OK);
    assert_int_equal(rl_der_sequence(&outer, &tbs), RL_OK);
    assert_int_equal(rl_der_expect(&tbs, RL_DER_CONTEXT_CONSTRUCTED(0), &version), RL_OK);
    assert_int_equal(rl_der_serial(&tbs, &serial, &negative), RL_OK);
    assert_true(rl_span_eq(serial, LIT("\x00\xc8")));
    OPENSSL_free(der);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* What stands before the contents is what rl_der_put writes there. */
static void test_the_head_of_an_element(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, 0xffffff, 0x1000000};
    uint8_t *contents = calloc(1, 0x1000000), *memory = malloc(0x1000000 + RL_DER_HEAD_MAX);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t head[RL_DER_HEAD_MAX];
        rl_der_writer w;
        rl_span der;
        rl_der_init(&w, memory, 0x1000000 + RL_DER_HEAD_MAX);
        rl_der_put(&w, RL_DER_SET, rl_span_of(contents, sizes[i]));
        assert_int_equal(rl_der_finish(&w, &der), RL_OK);
        size_t n = rl_der_head(RL_DER_SET, sizes[i], head);
        assert_int_equal(der.n - sizes[i], n);
        assert_memory_equal(der.p, head, n);
    }
    free(contents);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_head_of_an_element),
        cmocka_unit_test(test_element_is_read_whole_and_input_is_left_behind_it),
        cmocka_unit_test(test_long_lengths_are_read_in_their_shortest_form),
        cmocka_unit_test(test_what_is_not_der_is_refused),
        cmocka_unit_test(test_booleans_are_00_or_ff),
        cmocka_unit_test(test_object_identifiers_end_and_are_minimal),
        cmocka_unit_test(test_unsigned_integers_have_their_range),
        cmocka_unit_test(test_serials_of_up_to_20_octets_are_read),
        cmocka_unit_test(test_numbers_are_written_as_openssl_writes_them),
        cmocka_unit_test(test_times_are_written_as_openssl_writes_them),
        cmocka_unit_test(test_times_are_read_as_openssl_reads_them),
        cmocka_unit_test(test_a_certificates_time_is_openssls),
        cmocka_unit_test(test_other_kinds_are_written_byte_for_byte),
        cmocka_unit_test(test_nested_elements_get_their_lengths),
        cmocka_unit_test(test_unbalanced_or_too_deep_writing_is_told),
        cmocka_unit_test(test_openssl_certificate_can_be_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
