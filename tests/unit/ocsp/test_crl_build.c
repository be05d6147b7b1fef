/* Our own lists, as libcrypto reads them. */
#include "harness.h"

#include "ocsp/crl_build.h"
#include "ocsp/crl_publish.h"

static X509_CRL *build(const harness *h, const ocsp_crl_fields *f)
{
    rl_buf der = {0};
    rl_error e = {0};
    assert_ok(ocsp_crl_build(rl_ca_issuer(h->ca), f, &der, &e), &e);
    const uint8_t *p = der.p;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der.n);
    assert_non_null(crl);
    assert_ptr_equal(p, der.p + der.n);
    assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(rl_ca_issuer(h->ca)->cert)), 1);
    rl_buf_free(&der);
    return crl;
}

static int64_t seconds_between(const ASN1_TIME *from, const ASN1_TIME *to)
{
    int days, seconds;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, from, to), 1);
    return (int64_t)days * 86400 + seconds;
}

static void a_list_without_entries_has_the_fields_of_rfc5280(void **state)
{
    static harness h;
    (void)state;
    harness_open(&h, NULL);
    X509_CRL *crl = build(&h, &(ocsp_crl_fields){.number = 300, .this_update = 1767607091, .next_update = 1767693491});
    assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
    assert_null(X509_CRL_get_REVOKED(crl));
    assert_int_equal(X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(rl_ca_issuer(h.ca)->cert)), 0);
    assert_string_equal((const char *)ASN1_STRING_get0_data(X509_CRL_get0_lastUpdate(crl)), "260105095811Z");
    assert_int_equal(seconds_between(X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl)), 86400);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    assert_int_equal(ASN1_INTEGER_get(number), 300);
    ASN1_INTEGER_free(number);
    AUTHORITY_KEYID *aki = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    assert_int_equal(ASN1_OCTET_STRING_cmp(aki->keyid, X509_get0_subject_key_id(rl_ca_issuer(h.ca)->cert)), 0);
    AUTHORITY_KEYID_free(aki);
    X509_CRL_free(crl);
    harness_close(&h);
}

static void an_entry_has_serial_date_and_reason(void **state)
{
    static harness h;
    static const struct {
        rl_cert_id id;
        int64_t at;
        rl_reason reason;
        const char *serial, *date;
    } rows[] = {
        {{.serial_n = 1, .serial = {0x7f}}, 1767607091, RL_REASON_KEY_COMPROMISE, "7F", "260105095811Z"},
        {{.serial_n = 2, .serial = {0x80, 0x01}}, 2524607999, RL_REASON_UNSPECIFIED, "8001", "491231235959Z"},
        {{.serial_n = 3, .serial = {0xff, 0, 0}}, 2524608000, RL_REASON_HOLD, "FF0000", "20500101000000Z"},
    };
    enum { N = sizeof(rows) / sizeof(rows[0]) };
    rl_buf entries = {0};
    (void)state;
    harness_open(&h, NULL);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(ocsp_crl_entry(&entries, &rows[i].id, rows[i].at, rows[i].reason), RL_OK);
    X509_CRL *crl = build(
        &h, &(ocsp_crl_fields){
                .number = 1, .this_update = 2524608000, .next_update = 2524608060, .entries = rl_buf_span(&entries)});
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), N);
    for (size_t i = 0; i < N; i++) {
        X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), (int)i);
        BIGNUM *serial = ASN1_INTEGER_to_BN(X509_REVOKED_get0_serialNumber(entry), NULL);
        char *text = BN_bn2hex(serial);
        assert_string_equal(text, rows[i].serial);
        OPENSSL_free(text);
        BN_free(serial);
        assert_string_equal((const char *)ASN1_STRING_get0_data(X509_REVOKED_get0_revocationDate(entry)), rows[i].date);
        ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
        if (rows[i].reason == RL_REASON_UNSPECIFIED)
            assert_null(reason);
        else
            assert_int_equal(ASN1_ENUMERATED_get(reason), rows[i].reason);
        ASN1_ENUMERATED_free(reason);
    }
    X509_CRL_free(crl);
    rl_buf_free(&entries);
    harness_close(&h);
}

static void a_delta_names_its_base_and_a_complete_list_its_delta(void **state)
{
    static const char url[] = "http://pki.example.com/crl/1/delta.crl";
    static harness h;
    int critical;
    (void)state;
    harness_open(&h, NULL);
    X509_CRL *delta =
        build(&h, &(ocsp_crl_fields){.number = 300, .base = 299, .this_update = 1767607091, .next_update = 1767693491});
    ASN1_INTEGER *base = X509_CRL_get_ext_d2i(delta, NID_delta_crl, &critical, NULL);
    assert_int_equal(ASN1_INTEGER_get(base), 299);
    assert_int_equal(critical, 1); /* RFC 5280 §5.2.4 */
    assert_null(X509_CRL_get_ext_d2i(delta, NID_freshest_crl, NULL, NULL));
    X509_CRL *complete = build(
        &h, &(ocsp_crl_fields){.number = 300, .freshest = url, .this_update = 1767607091, .next_update = 1767693491});
    STACK_OF(DIST_POINT) *points = X509_CRL_get_ext_d2i(complete, NID_freshest_crl, &critical, NULL);
    assert_int_equal(sk_DIST_POINT_num(points), 1);
    assert_int_equal(critical, 0); /* §5.2.6 */
    const DIST_POINT_NAME *name = sk_DIST_POINT_value(points, 0)->distpoint;
    assert_int_equal(name->type, 0);
    const GENERAL_NAME *location = sk_GENERAL_NAME_value(name->name.fullname, 0);
    assert_int_equal(location->type, GEN_URI);
    assert_string_equal((const char *)ASN1_STRING_get0_data(location->d.uniformResourceIdentifier), url);
    assert_null(X509_CRL_get_ext_d2i(complete, NID_delta_crl, NULL, NULL));
    sk_DIST_POINT_pop_free(points, DIST_POINT_free);
    ASN1_INTEGER_free(base);
    X509_CRL_free(complete);
    X509_CRL_free(delta);
    harness_close(&h);
}

static X509_CRL *make(harness *h)
{
    rl_buf der = {0};
    assert_ok(rl_crls_make(h->store, &h->settings, rl_ca_issuer(h->ca), &der, &h->e), &h->e);
    const uint8_t *p = der.p;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der.n);
    assert_non_null(crl);
    rl_buf_free(&der);
    return crl;
}

static int64_t number_of(const X509_CRL *crl)
{
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    int64_t value = ASN1_INTEGER_get(number);
    ASN1_INTEGER_free(number);
    return value;
}

static bool lists(const X509_CRL *crl, uint32_t serial)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED((X509_CRL *)crl);
    for (int i = 0; i < sk_X509_REVOKED_num(entries); i++)
        if (ASN1_INTEGER_get(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i))) == (long)serial)
            return true;
    return false;
}

/* With the validity of an hour: lists of two hours have had every certificate that expired before. */
static void an_entry_leaves_the_list_some_time_after_its_certificate_expired(void **state)
{
    enum { VALID = 0x01000001, JUST_EXPIRED, LONG_EXPIRED, GOOD };
    static const char *const hour[] = {"REVLINE_CRL_VALIDITY=1h", NULL};
    static harness h;
    (void)state;
    harness_open(&h, hour);
    const int64_t now = rl_wall_s();
    harness_add(&h, VALID, now + 86400);
    harness_add(&h, JUST_EXPIRED, now - 3600);
    harness_add(&h, LONG_EXPIRED, now - 3 * 3600);
    harness_add(&h, GOOD, now + 86400);
    for (uint32_t serial = VALID; serial < GOOD; serial++)
        harness_revoke(&h, serial, RL_REASON_SUPERSEDED);
    X509_CRL *crl = make(&h);
    assert_true(lists(crl, VALID));
    assert_true(lists(crl, JUST_EXPIRED));
    assert_false(lists(crl, LONG_EXPIRED));
    assert_false(lists(crl, GOOD));
    X509_CRL *next = make(&h);
    assert_true(number_of(next) > number_of(crl));
    X509_CRL_free(next);
    X509_CRL_free(crl);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_without_entries_has_the_fields_of_rfc5280),
        cmocka_unit_test(an_entry_has_serial_date_and_reason),
        cmocka_unit_test(a_delta_names_its_base_and_a_complete_list_its_delta),
        cmocka_unit_test(an_entry_leaves_the_list_some_time_after_its_certificate_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
