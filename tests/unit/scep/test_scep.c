/* PKIOperation and the profiles over a real store and CA in a folder of their own, without HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <unistd.h>

#include "base/clock.h"
#include "client.h"
#include "scep/scep_priv.h"
#include "store/fault.h"

#define DEVICE "6f1c0a52-6f7e-4a43-9c1b-0a8f4d1f7b11"

typedef struct server {
    char dir[64];
    rl_settings settings;
    rl_store *store;
    rl_ca *ca;
    rl_scep *scep;
} server;

static const unsigned char nonce[16] = "0123456789abcdef";
static client_party client, other;

static int make_clients(void **state)
{
    (void)state;
    client = client_party_new(EVP_RSA_gen(2048), "Client", NULL);
    other = client_party_new(EVP_RSA_gen(2048), "Other", NULL);
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return 0;
}

static int free_clients(void **state)
{
    (void)state;
    client_party_free(&client);
    client_party_free(&other);
    return 0;
}

/* ---- a server ---- */
static void open_server(server *s)
{
    rl_error e = {0};
    assert_int_equal(rl_store_open(s->dir, &s->store, &e), RL_OK);
    rl_err err = rl_ca_init(s->store, &s->settings, &e);
    assert_true(err == RL_OK || err == RL_EEXISTS);
    assert_int_equal(rl_ca_open(s->store, &s->settings, &s->ca, &e), RL_OK);
    assert_int_equal(rl_scep_open(s->ca, &s->settings, &s->scep, &e), RL_OK);
}

static void close_server(server *s)
{
    rl_scep_close(s->scep);
    rl_ca_close(s->ca);
    rl_store_close(s->store);
}

static void start(server *s, const char *key, const char *more)
{
    *s = (server){.dir = "/tmp/revline-scep-XXXXXX"};
    char dir[96], ca_key[64];
    rl_buf errors = {0};
    assert_non_null(mkdtemp(s->dir));
    snprintf(dir, sizeof(dir), "REVLINE_DATA_DIR=%s", s->dir);
    snprintf(ca_key, sizeof(ca_key), "REVLINE_CA_KEY=%s", key);
    char *env[] = {dir,
                   ca_key,
                   (char *)"REVLINE_STATIC_CHALLENGE=static-word",
                   (char *)"REVLINE_STATIC_AAD_CHALLENGE=aad-word-8",
                   (char *)more,
                   NULL};
    assert_int_equal(rl_settings_load(&s->settings, env, &errors), RL_OK);
    rl_buf_free(&errors);
    open_server(s);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void stop(server *s)
{
    close_server(s);
    rl_settings_free(&s->settings);
    nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a client ---- */
typedef struct ask {
    const char *cn, *challenge, *upn, *transaction, *type, *path;
    const client_party *who;
    const EVP_MD *md;
    const EVP_CIPHER *cipher;
} ask;

static const scep_profile *profile_at(const server *s, const char *path)
{
    for (size_t i = 0; i < s->scep->endpoints_n; i++)
        if (strcmp(s->scep->endpoints[i].profile.path, path) == 0)
            return &s->scep->endpoints[i].profile;
    fail_msg("no profile %s", path);
    return NULL;
}

static client_reply enroll(const server *s, ask a)
{
    const client_party *who = a.who ? a.who : &client;
    const client_attributes attributes = {.transaction = a.transaction ? a.transaction : "t-1",
                                          .type = a.type ? a.type : "19",
                                          .nonce = nonce,
                                          .nonce_n = 16};
    client_bytes csr = client_csr(who->key, a.cn ? a.cn : DEVICE, a.challenge ? a.challenge : "static-word", a.upn);
    client_bytes envelope =
        client_envelope(csr.p, csr.n, s->scep->self.cert, a.cipher ? a.cipher : EVP_aes_256_cbc(), 1);
    client_bytes m = client_sign(envelope, who, a.md ? a.md : EVP_sha256(), &attributes);
    scep_outcome out;
    scep_pki_operation(s->scep, profile_at(s, a.path ? a.path : "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_int_equal(out.status, 200);
    client_reply reply = client_read(out.body.p, out.body.n, s->scep->self.cert, who);
    assert_int_equal(out.result == SCEP_REFUSED, strcmp(reply.status, "2") == 0);
    rl_buf_free(&out.body);
    free(m.p);
    free(envelope.p);
    OPENSSL_free(csr.p);
    return reply;
}

static void expect_failure(const server *s, ask a, const char *fail_info, const char *text)
{
    client_reply r = enroll(s, a);
    assert_string_equal(r.status, "2");
    assert_string_equal(r.fail_info, fail_info);
    if (!strstr(r.fail_text, text))
        fail_msg("'%s' does not say '%s'", r.fail_text, text);
    client_reply_free(&r);
}

static X509 *expect_success(const server *s, ask a)
{
    client_reply r = enroll(s, a);
    if (strcmp(r.status, "0") != 0)
        fail_msg("refused: %s", r.fail_text);
    assert_int_equal(r.certs_n, 2);
    assert_int_equal(X509_cmp(r.ca, rl_ca_issuer(s->ca)->cert), 0);
    assert_int_equal(X509_verify(r.issued, X509_get0_pubkey(r.ca)), 1);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(r.issued), (a.who ? a.who : &client)->key), 1);
    X509_free(r.ca);
    return r.issued;
}

static void expect_same(const server *s, ask a, const X509 *cert, bool same)
{
    X509 *got = expect_success(s, a);
    assert_int_equal(X509_cmp(got, cert) == 0, same);
    X509_free(got);
}

/* ---- the promises ---- */
static void test_an_rsa_ca_enrolls(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    assert_false(s.scep->has_ra);
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
    assert_true(s.scep->has_ra);
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
    rl_http_route routes[8];
    assert_int_equal(rl_scep_routes(s.scep, routes, 8), 4);
    assert_string_equal(routes[0].path, "/static");
    assert_string_equal(routes[3].path, "/static/aad/pkiclient.exe");
    close_server(&s);
    s.settings.scep.profiles[RL_ENROLL_STATIC].challenge[0] = 0;
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 8), 2);
    assert_string_equal(routes[0].path, "/static/aad");
    close_server(&s);
    s.settings.scep.profiles[RL_ENROLL_STATIC_AAD].challenge[0] = 0;
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 8), 0);
    stop(&s);
}

static void test_a_named_profile_has_a_path_of_its_own(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_SCEP_PROFILES=wifi-guests");
    rl_http_route routes[8];
    assert_int_equal(rl_scep_routes(s.scep, routes, 8), 4); /* no challenge yet */
    s.settings.scep.profiles[RL_ENROLL_NAMED].challenge =
        realloc(s.settings.scep.profiles[RL_ENROLL_NAMED].challenge, 16);
    strcpy(s.settings.scep.profiles[RL_ENROLL_NAMED].challenge, "guest-word");
    close_server(&s);
    open_server(&s);
    assert_int_equal(rl_scep_routes(s.scep, routes, 8), 6);
    assert_string_equal(routes[5].path, "/scep/wifi-guests/pkiclient.exe");
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
    assert_int_equal(s.scep->caps.n, strlen("POSTPKIOperation\nSHA-256\nSHA-512\nAES\nSCEPStandard\n"));
    expect_failure(&s, (ask){.md = EVP_sha1()}, "0", "SHA-1");
    expect_failure(&s, (ask){.cipher = EVP_des_ede3_cbc()}, "0", "3DES");
    expect_failure(&s, (ask){.type = "17"}, "2", "RenewalReq is not offered");
    X509_free(expect_success(&s, (ask){.md = EVP_sha512(), .cipher = EVP_aes_128_cbc()}));
    stop(&s);

    start(&s, "rsa2048", "REVLINE_SCEP_LEGACY=true");
    assert_non_null(memmem(s.scep->caps.p, s.scep->caps.n, "SHA-1\nDES3\n", 11));
    X509_free(expect_success(&s, (ask){.md = EVP_sha1(), .cipher = EVP_des_ede3_cbc()}));
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

static int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + *(int64_t *)ctx;
}

static uint64_t real_mono(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Clients that keep key and transactionID must be able to renew, each time once. */
static void test_a_transaction_renews_in_the_second_half_of_its_certificates_life(void **state)
{
    (void)state;
    const int64_t day = 86400 * INT64_C(1000);
    int64_t shift = 0;
    const rl_clock clock = {shifted_wall, real_mono, &shift};
    server s;
    start(&s, "rsa2048", "REVLINE_STATIC_VALIDITY=100d");
    rl_clock_set(&clock);
    X509 *first = expect_success(&s, (ask){0});
    shift = 45 * day;
    expect_same(&s, (ask){0}, first, true);
    shift = 60 * day;
    X509 *second = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(first, second), 0);
    expect_same(&s, (ask){0}, second, true);
    shift = 150 * day; /* both are past their half, the first has expired */
    X509 *third = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(second, third), 0);
    expect_same(&s, (ask){0}, third, true);
    rl_clock_set(NULL);
    X509_free(first);
    X509_free(second);
    X509_free(third);
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
    client_bytes csr = client_csr(client.key, DEVICE, "static-word", NULL);
    client_bytes envelope = client_envelope(csr.p, csr.n, s.scep->self.cert, EVP_aes_256_cbc(), 1);
    client_bytes m = client_sign(envelope, &client, EVP_sha256(),
                                 &(client_attributes){.transaction = "t", .type = "19", .nonce = nonce, .nonce_n = 16});
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
    free(envelope.p);
    OPENSSL_free(csr.p);
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
        cmocka_unit_test(test_what_the_ca_refuses_is_told),
        cmocka_unit_test(test_a_broken_store_is_no_final_answer),
    };
    return cmocka_run_group_tests(tests, make_clients, free_clients);
}
