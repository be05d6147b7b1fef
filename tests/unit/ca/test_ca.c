/* The root CA: what the first start makes, what a crash in it leaves, what opening finds and refuses. */
#include "fixture.h"

#include <openssl/ocsp.h>

static int setup(void **state)
{
    *state = calloc(1, sizeof(fixture));
    fixture_open(*state, RL_KEY_RSA2048);
    return 0;
}

static int setup_ec(void **state)
{
    *state = calloc(1, sizeof(fixture));
    fixture_open(*state, RL_KEY_EC_P256);
    return 0;
}

static int setup_empty(void **state)
{
    *state = calloc(1, sizeof(fixture));
    fixture_prepare(*state, RL_KEY_EC_P384);
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

/* ---- the root certificate ---- */
static void test_root_is_a_ca_certificate_as_rfc_5280_wants_it(void **state)
{
    fixture *f = *state;
    X509 *root = rl_ca_issuer(f->ca)->cert;
    write_pem(f, "root.pem", root);
    assert_has(run(f, "openssl verify -x509_strict -attime 1790000000 -CAfile root.pem root.pem"), "OK");
    const char *text = run(f, "openssl x509 -in root.pem -noout -text -nameopt RFC2253");
    assert_has(text, "Version: 3");
    assert_has(text, "Issuer: CN=Test Root,O=Example\\, Inc.\n");
    assert_has(text, "Subject: CN=Test Root,O=Example\\, Inc.\n");
    assert_has(text, "sha256WithRSAEncryption");
    assert_has(text, "Basic Constraints: critical\n                CA:TRUE\n");
    assert_has(
        text, "Key Usage: critical\n                Digital Signature, Key Encipherment, Certificate Sign, CRL Sign\n");
    assert_has(text, "Subject Key Identifier");
    assert_has_not(text, "Extended Key Usage");
    assert_has(text, "Not Before: Sep 20 14:13:20 2026 GMT");
    assert_has(text, "Not After : Sep 18 14:13:20 2036 GMT");
    assert_int_equal(X509_check_ca(root), 1);
    assert_int_equal(ASN1_STRING_length(X509_get_serialNumber(root)), 16);
}

static void test_root_is_stored_as_issuer_and_as_certificate(void **state)
{
    fixture *f = *state;
    const rl_issuer *issuer = rl_ca_issuer(f->ca);
    rl_issuer_record stored;
    rl_serial serial;
    rl_cert_record record;
    rl_buf der = {0};
    assert_int_equal(rl_store_issuer(f->store, 1, &stored), RL_OK);
    assert_string_equal(stored.key_ref, "file:ca-1.key");
    assert_int_equal(stored.cert_n, issuer->der.n);
    rl_issuer_clear(&stored);
    assert_int_equal(rl_x509_serial(issuer->cert, &serial), RL_OK);
    rl_cert_id id = {.issuer = 1, .serial_n = serial.n};
    memcpy(id.serial, serial.b, serial.n);
    assert_int_equal(rl_store_cert(f->store, &id, &record), RL_OK);
    assert_string_equal(record.profile, "ca");
    assert_string_equal(record.subject, "CN=Test Root,O=Example\\, Inc.");
    assert_int_equal(record.status, RL_STATUS_GOOD);
    assert_int_equal(record.not_after, NOW + 3650LL * DAY);
    rl_cert_clear(&record);
    assert_int_equal(rl_store_der(f->store, &id, &der), RL_OK);
    assert_true(rl_span_eq(rl_buf_span(&der), issuer->der));
    rl_buf_free(&der);
}

static void test_issuer_is_found_by_the_cert_ids_that_openssl_makes(void **state)
{
    fixture *f = *state;
    const rl_issuer *issuer = rl_ca_issuer(f->ca);
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        ASN1_OCTET_STRING *name, *key;
        OCSP_CERTID *id = OCSP_cert_to_id(EVP_get_digestbyname(rl_hash_name(h)), issuer->cert, issuer->cert);
        OCSP_id_get0_info(&name, NULL, &key, NULL, id);
        rl_span name_hash = rl_span_of(ASN1_STRING_get0_data(name), (size_t)ASN1_STRING_length(name));
        rl_span key_hash = rl_span_of(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key));
        assert_ptr_equal(rl_ca_find(f->ca, h, name_hash, key_hash), issuer);
        assert_null(rl_ca_find(f->ca, h, key_hash, name_hash));
        assert_null(rl_ca_find(f->ca, h, name_hash, rl_span_of(key_hash.p, key_hash.n - 1)));
        assert_null(rl_ca_find(f->ca, (h + 1) % RL_HASH_COUNT, name_hash, key_hash));
        OCSP_CERTID_free(id);
    }
}

static void test_fingerprint_is_the_one_openssl_prints(void **state)
{
    fixture *f = *state;
    char ours[3 * 32];
    rl_issuer_fingerprint(rl_ca_issuer(f->ca), ours);
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    assert_has(run(f, "openssl x509 -in root.pem -noout -fingerprint -sha256"), ours);
}

/* ---- first start, restarts, crashes ---- */
static void test_key_file_is_for_its_owner_alone(void **state)
{
    fixture *f = *state;
    char path[128];
    struct stat st;
    path_in(f, "ca-1.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_has(run(f, "openssl pkey -in ca-1.key -noout -text | head -1"), "2048 bit");
    assert_string_equal(run(f, "ls | grep -c 'key'"), "1\n"); /* nothing temporary stays */
}

static void test_second_init_is_refused_and_changes_nothing(void **state)
{
    fixture *f = *state;
    char before[3 * 32], after[3 * 32];
    rl_issuer_fingerprint(rl_ca_issuer(f->ca), before);
    assert_int_equal(rl_ca_init(f->store, &f->settings, &f->e), RL_EEXISTS);
    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    rl_issuer_fingerprint(rl_ca_issuer(f->ca), after);
    assert_string_equal(before, after);
}

static void test_opening_without_a_ca_says_not_found(void **state)
{
    fixture *f = *state;
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), RL_ENOTFOUND);
    assert_null(f->ca);
}

static void test_crash_between_key_file_and_store_is_mended(void **state)
{
    fixture *f = *state;
    run(f,
        "umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca-1.key && cp ca-1.key kept");
    assert_ok(rl_ca_init(f->store, &f->settings, &f->e), &f->e);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    run(f, "cmp ca-1.key kept && openssl pkey -in kept -pubout > a && openssl x509 -in root.pem -noout -pubkey > b && "
           "cmp a b");
}

static void test_failed_init_can_be_tried_again(void **state)
{
    fixture *f = *state;
    f->settings.ca.subject = "nonsense";
    assert_int_equal(rl_ca_init(f->store, &f->settings, &f->e), RL_EINVAL);
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), RL_ENOTFOUND);
    f->settings.ca.subject = "CN=Second Try";
    assert_ok(rl_ca_init(f->store, &f->settings, &f->e), &f->e);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
}

static void assert_open_fails(fixture *f, const char *spoil, rl_err expected, const char *message)
{
    fixture_restart(f);
    run(f, spoil);
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), expected);
    assert_has(f->e.message, message);
    assert_null(f->ca);
}

static void test_key_file_that_others_can_read_is_refused(void **state)
{
    assert_open_fails(*state, "chmod 640 ca-1.key", RL_EDENIED, "chmod 600");
}
static void test_lost_key_file_is_no_reason_for_a_new_ca(void **state)
{
    assert_open_fails(*state, "rm ca-1.key", RL_EIO, "ca-1.key");
}
static void test_damaged_key_file_is_named(void **state)
{
    assert_open_fails(*state, "echo x > ca-1.key", RL_ECORRUPT, "ca-1.key");
}
static void test_another_key_than_the_certificates_is_refused(void **state)
{
    assert_open_fails(*state,
                      "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new && cat new > ca-1.key",
                      RL_ECRYPTO, "another key");
}

/* ---- SCEP identity ---- */
static void test_rsa_ca_speaks_scep_itself(void **state)
{
    fixture *f = *state;
    X509 *cert;
    rl_signer *signer;
    rl_ca_scep_identity(f->ca, &cert, &signer);
    assert_ptr_equal(cert, rl_ca_issuer(f->ca)->cert);
    assert_ptr_equal(signer, rl_ca_issuer(f->ca)->signer);
    assert_int_equal(access("scep-ra.key", F_OK), -1);
}

static void test_ec_ca_has_an_rsa_recipient_that_stays(void **state)
{
    fixture *f = *state;
    X509 *cert;
    rl_signer *signer;
    rl_serial first, second, third;
    rl_ca_scep_identity(f->ca, &cert, &signer);
    assert_true(rl_signer_is_rsa(signer));
    assert_int_equal(X509_check_private_key(cert, rl_signer_pkey(signer)), 1);
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    write_pem(f, "ra.pem", cert);
    assert_has(run(f, "openssl verify -x509_strict -attime 1790000000 -CAfile root.pem ra.pem"), "OK");
    assert_has(run(f, "openssl x509 -in ra.pem -noout -ext keyUsage"), "Digital Signature, Key Encipherment\n");
    assert_string_equal(run(f, "stat -c %a scep-ra.key"), "600\n");
    assert_int_equal(rl_x509_serial(cert, &first), RL_OK);

    rl_cert_id id = {.issuer = 1, .serial_n = first.n};
    rl_cert_status status;
    memcpy(id.serial, first.b, first.n);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_GOOD);

    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    rl_ca_scep_identity(f->ca, &cert, &signer);
    assert_int_equal(rl_x509_serial(cert, &second), RL_OK);
    assert_true(rl_serial_eq(&first, &second));

    fixture_restart(f);
    run(f, "rm scep-ra.key"); /* a lost key: a new one, with a certificate of its own */
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    rl_ca_scep_identity(f->ca, &cert, &signer);
    assert_int_equal(X509_check_private_key(cert, rl_signer_pkey(signer)), 1);
    assert_int_equal(rl_x509_serial(cert, &second), RL_OK);
    assert_false(rl_serial_eq(&first, &second));

    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    rl_ca_scep_identity(f->ca, &cert, &signer);
    assert_int_equal(rl_x509_serial(cert, &third), RL_OK);
    assert_true(rl_serial_eq(&second, &third));
}

static void test_ec_root_enciphers_nothing(void **state)
{
    fixture *f = *state;
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    assert_has(run(f, "openssl x509 -in root.pem -noout -ext keyUsage"),
               "Digital Signature, Certificate Sign, CRL Sign\n");
    assert_has(run(f, "openssl x509 -in root.pem -noout -text"), "ecdsa-with-SHA256");
}

/* ---- delegated responder ---- */
static void test_responder_certificate_is_what_rfc_6960_asks(void **state)
{
    fixture *f = *state;
    rl_signer *key;
    X509 *cert;
    assert_ok(rl_signer_generate(RL_KEY_EC_P256, &key, &f->e), &f->e);
    assert_ok(rl_ca_sign_responder(f->ca, rl_ca_issuer(f->ca), rl_signer_pkey(key), DAY * 1000LL, NOW, &cert, &f->e),
              &f->e);
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    write_pem(f, "ocsp.pem", cert);
    assert_has(run(f, "openssl verify -x509_strict -purpose ocsphelper -attime 1790000000 -CAfile root.pem ocsp.pem"),
               "OK");
    const char *text = run(f, "openssl x509 -in ocsp.pem -noout -text");
    assert_has(text, "Extended Key Usage: \n                OCSP Signing\n");
    assert_has(text, "Key Usage: critical\n                Digital Signature\n");
    assert_has(text, "OCSP No Check");
    assert_has(text, "CA:FALSE");
    assert_has(text, "Not After : Sep 22 14:13:20 2026 GMT");
    assert_has_not(text, "Authority Information Access");
    X509_free(cert);
    rl_signer_free(key);
}

static void test_nothing_is_signed_below_an_expired_root(void **state)
{
    fixture *f = *state;
    X509 *cert;
    EVP_PKEY *key = rl_signer_pkey(rl_ca_issuer(f->ca)->signer);
    assert_int_equal(
        rl_ca_sign_responder(f->ca, rl_ca_issuer(f->ca), key, DAY * 1000LL, NOW + 3650LL * DAY, &cert, &f->e),
        RL_EDENIED);
    assert_has(f->e.message, "expired");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(set, name) cmocka_unit_test_setup_teardown(name, set, teardown)
        WITH(setup, test_root_is_a_ca_certificate_as_rfc_5280_wants_it),
        WITH(setup_ec, test_root_is_stored_as_issuer_and_as_certificate),
        WITH(setup_ec, test_issuer_is_found_by_the_cert_ids_that_openssl_makes),
        WITH(setup_ec, test_fingerprint_is_the_one_openssl_prints),
        WITH(setup, test_key_file_is_for_its_owner_alone),
        WITH(setup_ec, test_second_init_is_refused_and_changes_nothing),
        WITH(setup_empty, test_opening_without_a_ca_says_not_found),
        WITH(setup_empty, test_crash_between_key_file_and_store_is_mended),
        WITH(setup_empty, test_failed_init_can_be_tried_again),
        WITH(setup_ec, test_key_file_that_others_can_read_is_refused),
        WITH(setup_ec, test_lost_key_file_is_no_reason_for_a_new_ca),
        WITH(setup_ec, test_damaged_key_file_is_named),
        WITH(setup_ec, test_another_key_than_the_certificates_is_refused),
        WITH(setup, test_rsa_ca_speaks_scep_itself),
        WITH(setup_ec, test_ec_ca_has_an_rsa_recipient_that_stays),
        WITH(setup_ec, test_ec_root_enciphers_nothing),
        WITH(setup_ec, test_responder_certificate_is_what_rfc_6960_asks),
        WITH(setup_ec, test_nothing_is_signed_below_an_expired_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
