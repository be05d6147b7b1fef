/* PKIOperation and the profiles over a real store and CA, without HTTP. */
#include "server.h"
#include "store/fault.h"

/* ---- the promises ---- */
static void test_an_rsa_ca_enrolls(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    assert_true(s.scep->ca_cert_alone);
    assert_int_equal(s.scep->ca_cert.n, rl_ca_issuer(s.ca)->der.n);
    X509_free(expect_success(&s, (ask){.cn = "any name"}));
    X509_free(expect_success(&s, (ask){.path = "/static/aad", .challenge = "aad-word-8", .upn = "who@example.com"}));
    stop(&s);
}

static void test_an_ec_ca_enrolls_through_its_ra(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    assert_false(s.scep->ca_cert_alone);
    const unsigned char *p = s.scep->ca_cert.p;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)s.scep->ca_cert.n);
    STACK_OF(X509) *certs = CMS_get1_certs(cms);
    assert_int_equal(sk_X509_num(certs), 2);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 0), s.scep->self.cert), 0);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 1), rl_ca_issuer(s.ca)->cert), 0);
    assert_true(EVP_PKEY_is_a(X509_get0_pubkey(sk_X509_value(certs, 0)), "RSA"));
    sk_X509_pop_free(certs, X509_free);
    CMS_ContentInfo_free(cms);
    X509_free(expect_success(&s, (ask){0}));
    stop(&s);
}

static void test_only_the_profiles_own_challenge_opens_it(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    const char *text = "the challenge password is wrong or missing";
    expect_failure(&s, (ask){.challenge = "static-worc"}, "2", text);
    expect_failure(&s, (ask){.challenge = "static-wor"}, "2", text);
    expect_failure(&s, (ask){.challenge = "static-word "}, "2", text);
    expect_failure(&s, (ask){.challenge = ""}, "2", text);
    expect_failure(&s, (ask){.challenge = "aad-word-8"}, "2", text);
    expect_failure(&s, (ask){.path = "/static/aad"}, "2", text);
    stop(&s);
}

static void test_a_profile_without_challenge_is_off(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    rl_http_route routes[12];
    assert_int_equal(rl_scep_routes(s.scep, routes, 12), 6);
    assert_string_equal(routes[0].path, "/static");
    assert_string_equal(routes[5].path, "/static/aad/pkiclient.exe");
    close_server(&s);
    s.settings.scep.profiles[RL_ENROLL_STATIC].challenge[0] = 0;
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 12), 3);
    assert_string_equal(routes[0].path, "/static/aad");
    close_server(&s);
    s.settings.scep.profiles[RL_ENROLL_STATIC_AAD].challenge[0] = 0;
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 12), 0);
    stop(&s);
}

static void test_a_named_profile_has_a_path_of_its_own(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_SCEP_PROFILES=wifi-guests");
    rl_http_route routes[12];
    assert_int_equal(rl_scep_routes(s.scep, routes, 12), 6); /* no challenge yet */
    s.settings.scep.profiles[RL_ENROLL_NAMED].challenge =
        realloc(s.settings.scep.profiles[RL_ENROLL_NAMED].challenge, 16);
    strcpy(s.settings.scep.profiles[RL_ENROLL_NAMED].challenge, "guest-word");
    close_server(&s);
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 12), 9);
    assert_string_equal(routes[7].path, "/scep/wifi-guests/");
    assert_string_equal(routes[8].path, "/scep/wifi-guests/pkiclient.exe");
    expect_failure(&s, (ask){.path = "/scep/wifi-guests"}, "2", "challenge");
    client_reply r = enroll(&s, (ask){.path = "/scep/wifi-guests", .challenge = "guest-word"});
    assert_string_equal(r.status, "0");
    client_reply_free(&r);
    stop(&s);
}

static void test_old_challenges_are_accepted_too(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_STATIC_OLD_CHALLENGES=last-years-word  the-one-before");
    static const char *const good[] = {"static-word", "last-years-word", "the-one-before"};
    for (size_t i = 0; i < 3; i++) {
        client_reply r = enroll(&s, (ask){.challenge = good[i]});
        assert_string_equal(r.status, "0");
        client_reply_free(&r);
    }
    static const char *const bad[] = {"", " ", "last-years-word  the-one-before", "last-years", "the-one-before "};
    for (size_t i = 0; i < 5; i++)
        expect_failure(&s, (ask){.challenge = bad[i]}, "2", "challenge");
    stop(&s);
}

static void test_capabilities_are_true(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    expect_caps(&s, "/static", "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\nRenewal\n");
    expect_failure(&s, (ask){.md = EVP_sha1()}, "0", "SHA-1");
    expect_failure(&s, (ask){.wrapping.cipher = EVP_des_ede3_cbc()}, "0", "3DES");
    X509_free(expect_success(&s, (ask){.md = EVP_sha512(), .wrapping.cipher = EVP_aes_128_cbc()}));
    stop(&s);

    start(&s, "rsa2048", "REVLINE_SCEP_LEGACY=true");
    expect_caps(&s, "/static",
                "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\nRenewal\nSHA-1\nDES3\n");
    X509_free(expect_success(&s, (ask){.md = EVP_sha1(), .wrapping.cipher = EVP_des_ede3_cbc()}));
    stop(&s);
}

static void test_a_retransmission_gets_the_same_certificate(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    X509 *first = expect_success(&s, (ask){0});
    expect_same(&s, (ask){0}, first, true);
    expect_same(&s, (ask){.md = EVP_sha512()}, first, true);
    close_server(&s);
    open_server(&s);
    expect_same(&s, (ask){0}, first, true);
    X509_free(first);
    stop(&s);
}

static void test_another_key_name_profile_or_transaction_gets_its_own_certificate(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_STATIC_AAD_VALIDITY=30d");
    X509 *first = expect_success(&s, (ask){0});
    expect_same(&s, (ask){.who = &other}, first, false);
    expect_same(&s, (ask){.cn = "another"}, first, false);
    expect_same(&s, (ask){.upn = "who@example.com"}, first, false);
    expect_same(&s, (ask){.transaction = "t-2"}, first, false);
    expect_same(&s, (ask){.path = "/static/aad", .challenge = "aad-word-8"}, first, false);
    expect_same(&s, (ask){0}, first, true);
    X509_free(first);
    stop(&s);
}

static void test_knowing_the_transaction_does_not_replace_the_challenge(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    X509_free(expect_success(&s, (ask){0}));
    expect_failure(&s, (ask){.challenge = "wrong-word"}, "2", "challenge");
    stop(&s);
}

/* Clients that keep key and transactionID must be able to renew, each time once. */
static void test_a_transaction_renews_in_the_second_half_of_its_certificates_life(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_STATIC_VALIDITY=100d");
    X509 *first = expect_success(&s, (ask){0});
    set_clock(45 * DAY);
    expect_same(&s, (ask){0}, first, true);
    set_clock(60 * DAY);
    X509 *second = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(first, second), 0);
    expect_same(&s, (ask){0}, second, true);
    set_clock(150 * DAY); /* both are past their half, the first has expired */
    X509 *third = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(second, third), 0);
    expect_same(&s, (ask){0}, third, true);
    set_clock(0);
    X509_free(first);
    X509_free(second);
    X509_free(third);
    stop(&s);
}

/* Clients whose transactionID follows from their key would else get a certificate that nobody takes for ever. */
static void test_a_transaction_whose_certificate_was_revoked_gets_another(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    X509 *first = expect_success(&s, (ask){0});
    revoke_cert(&s, first, RL_REASON_HOLD, false);
    expect_same(&s, (ask){0}, first, true);
    revoke_cert(&s, first, RL_REASON_SUPERSEDED, false);
    X509 *second = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(first, second), 0);
    expect_same(&s, (ask){0}, second, true);
    revoke_cert(&s, second, RL_REASON_KEY_COMPROMISE, false);
    expect_failure(&s, (ask){0}, "2", "make another key");
    X509_free(first);
    X509_free(second);
    stop(&s);
}

static void test_what_the_ca_refuses_is_told(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    client_party weak = client_party_new(EVP_RSA_gen(1024), "Weak", NULL);
    expect_failure(&s, (ask){.who = &weak}, "0", "1024");
    expect_failure(&s, (ask){.path = "/static/aad", .challenge = "aad-word-8", .cn = "no device"}, "2", "Entra");
    client_party_free(&weak);
    stop(&s);
}

static void test_a_broken_store_is_no_final_answer(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    client_bytes m = client_message(&s, (ask){0});
    scep_outcome out;
    rl_store_fail_next_write(s.store);
    scep_pki_operation(s.scep, profile_at(&s, "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_true(out.status == 500 || out.status == 503);
    assert_null(out.body.p);
    scep_pki_operation(s.scep, profile_at(&s, "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_int_equal(out.status, 200);
    assert_int_equal(out.result, SCEP_ISSUED); /* nothing was kept of the first try */
    rl_buf_free(&out.body);
    scep_pki_operation(s.scep, profile_at(&s, "/static"), rl_span_of(m.p, m.n / 2), "192.0.2.1", &out);
    assert_int_equal(out.status, 400);
    free(m.p);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_rsa_ca_enrolls),
        cmocka_unit_test(test_an_ec_ca_enrolls_through_its_ra),
        cmocka_unit_test(test_only_the_profiles_own_challenge_opens_it),
        cmocka_unit_test(test_a_profile_without_challenge_is_off),
        cmocka_unit_test(test_a_named_profile_has_a_path_of_its_own),
        cmocka_unit_test(test_old_challenges_are_accepted_too),
        cmocka_unit_test(test_capabilities_are_true),
        cmocka_unit_test(test_a_retransmission_gets_the_same_certificate),
        cmocka_unit_test(test_another_key_name_profile_or_transaction_gets_its_own_certificate),
        cmocka_unit_test(test_knowing_the_transaction_does_not_replace_the_challenge),
        cmocka_unit_test(test_a_transaction_renews_in_the_second_half_of_its_certificates_life),
        cmocka_unit_test(test_a_transaction_whose_certificate_was_revoked_gets_another),
        cmocka_unit_test(test_what_the_ca_refuses_is_told),
        cmocka_unit_test(test_a_broken_store_is_no_final_answer),
    };
    return cmocka_run_group_tests(tests, make_clients, free_clients);
}
