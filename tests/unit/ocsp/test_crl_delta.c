/* What a delta list holds: entries in, entries out, read again by libcrypto. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#include "ocsp/crl_build.h"
#include "ocsp/crl_delta.h"

enum { AT = 1767607091, NOW = AT + 1000 };

typedef struct row {
    rl_cert_id id;
    rl_reason reason;
} row;
#define SERIAL(...)                                                                                                    \
    {                                                                                                                  \
        .serial_n = sizeof((uint8_t[]){__VA_ARGS__}), .serial = { __VA_ARGS__ }                                        \
    }

static rl_buf entries_of(const row *rows, size_t n)
{
    rl_buf out = {0};
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ocsp_crl_entry(&out, &rows[i].id, AT, rows[i].reason), RL_OK);
    return out;
}

static void step(ocsp_crl_changes *c, rl_buf *list, const row *rows, size_t n)
{
    rl_buf after = entries_of(rows, n);
    assert_int_equal(ocsp_crl_changes_add(c, rl_buf_span(list), rl_buf_span(&after)), RL_OK);
    rl_buf_free(list);
    *list = after;
}

static void assert_delta(const ocsp_crl_changes *c, const rl_buf *list, const row *expected, size_t n)
{
    rl_buf delta = {0};
    assert_int_equal(ocsp_crl_delta_entries(c, rl_buf_span(list), NOW, &delta), RL_OK);
    const uint8_t *p = delta.p;
    for (size_t i = 0; i < n; i++) {
        X509_REVOKED *entry = d2i_X509_REVOKED(NULL, &p, (long)(delta.p + delta.n - p));
        assert_non_null(entry);
        uint8_t serial[RL_STORE_SERIAL_MAX];
        BIGNUM *number = ASN1_INTEGER_to_BN(X509_REVOKED_get0_serialNumber(entry), NULL);
        assert_int_equal(BN_num_bytes(number), expected[i].id.serial_n);
        BN_bn2bin(number, serial);
        assert_memory_equal(serial, expected[i].id.serial, expected[i].id.serial_n);
        BN_free(number);
        ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
        assert_int_equal(ASN1_ENUMERATED_get(reason), expected[i].reason);
        ASN1_ENUMERATED_free(reason);
        bool gone = expected[i].reason == RL_REASON_REMOVE_FROM_CRL;
        ASN1_TIME *date = ASN1_TIME_set(NULL, gone ? NOW : AT);
        assert_int_equal(ASN1_TIME_compare(X509_REVOKED_get0_revocationDate(entry), date), 0);
        ASN1_TIME_free(date);
        X509_REVOKED_free(entry);
    }
    assert_ptr_equal(p, delta.p + delta.n);
    rl_buf_free(&delta);
}
#define STEP(...)         step(&c, &list, (row[]){__VA_ARGS__}, sizeof((row[]){__VA_ARGS__}) / sizeof(row))
#define ASSERT_DELTA(...) assert_delta(&c, &list, (row[]){__VA_ARGS__}, sizeof((row[]){__VA_ARGS__}) / sizeof(row))

/* RFC 5280 §5.2.4: a delta goes with every complete list since the base. */
static void test_whatever_has_changed_since_the_base_is_in_the_delta(void **state)
{
    const row held = {SERIAL(0x10), RL_REASON_HOLD}, old = {SERIAL(0x10, 0x01), RL_REASON_SUPERSEDED};
    const row high = {SERIAL(0x80), RL_REASON_HOLD}, last = {SERIAL(0xff, 0x00), RL_REASON_KEY_COMPROMISE};
    const row held_gone = {SERIAL(0x10), RL_REASON_REMOVE_FROM_CRL};
    const row high_gone = {SERIAL(0x80), RL_REASON_REMOVE_FROM_CRL};
    const row held_for_good = {SERIAL(0x10), RL_REASON_KEY_COMPROMISE};
    ocsp_crl_changes c = {0};
    (void)state;
    rl_buf list = entries_of((row[]){held, old}, 2);
    assert_delta(&c, &list, NULL, 0);
    STEP(held, old, high, last);
    ASSERT_DELTA(high, last);
    STEP(old, last); /* one that is on the base, and one that came and went */
    ASSERT_DELTA(held_gone, high_gone, last);
    STEP(held, old, last); /* as on the base again, but not as on the list before */
    ASSERT_DELTA(held, high_gone, last);
    STEP(held_for_good, old, last);
    ASSERT_DELTA(held_for_good, high_gone, last);
    step(&c, &list, NULL, 0);
    ASSERT_DELTA(held_gone, {SERIAL(0x10, 0x01), RL_REASON_REMOVE_FROM_CRL}, high_gone,
                 {SERIAL(0xff, 0x00), RL_REASON_REMOVE_FROM_CRL});
    rl_buf_free(&list);
    ocsp_crl_changes_free(&c);
}

static void test_there_is_a_limit_to_what_a_delta_holds(void **state)
{
    ocsp_crl_changes c = {0};
    rl_buf list = {0};
    (void)state;
    for (unsigned i = 0; i <= OCSP_CRL_CHANGES_MAX; i++) {
        const row r = {SERIAL(0x01, (uint8_t)(i >> 8), (uint8_t)i), RL_REASON_SUPERSEDED};
        if (i == OCSP_CRL_CHANGES_MAX)
            assert_int_equal(ocsp_crl_changes_add(&c, (rl_span){0}, rl_buf_span(&list)), RL_OK);
        assert_int_equal(ocsp_crl_entry(&list, &r.id, AT, r.reason), RL_OK);
    }
    assert_int_equal(c.n, OCSP_CRL_CHANGES_MAX);
    assert_int_equal(ocsp_crl_changes_add(&c, (rl_span){0}, rl_buf_span(&list)), RL_ERANGE);
    ocsp_crl_changes_free(&c);
    assert_int_equal(ocsp_crl_changes_add(&c, rl_buf_span(&list), (rl_span){0}), RL_ERANGE);
    ocsp_crl_changes_free(&c);
    rl_buf_free(&list);
}

static void test_what_is_no_list_is_refused(void **state)
{
    ocsp_crl_changes c = {0};
    rl_span entries;
    (void)state;
    assert_int_equal(ocsp_crl_entries(RL_SPAN_LIT("\x30\x02\x30\x00"), &entries), RL_EBADMSG);
    assert_int_equal(ocsp_crl_changes_add(&c, (rl_span){0}, RL_SPAN_LIT("\x30\x03\x04\x01\x01")), RL_EBADMSG);
    assert_int_equal(ocsp_crl_changes_add(&c, RL_SPAN_LIT("\x30"), (rl_span){0}), RL_EBADMSG);
    assert_int_equal(c.n, 0);
    ocsp_crl_changes_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_has_changed_since_the_base_is_in_the_delta),
        cmocka_unit_test(test_there_is_a_limit_to_what_a_delta_holds),
        cmocka_unit_test(test_what_is_no_list_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
