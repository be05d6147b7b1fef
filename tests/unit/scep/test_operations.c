/* Renewal, CertPoll, GetCert, GetCRL and GetNextCACert over a real store and CA. */
#include <openssl/pkcs7.h>

#include "server.h"
#include "store/store.h"

#define RENEWAL   "17"
#define CERT_POLL "20"
#define GET_CERT  "21"
#define GET_CRL   "22"
#define UNKNOWN   "no certificate of this CA is what the request names"

/* ---- what a client asks by ---- */
static client_bytes issuer_and_subject(const X509_NAME *issuer, const X509_NAME *subject)
{
    int issuer_n = i2d_X509_NAME(issuer, NULL), subject_n = i2d_X509_NAME(subject, NULL);
    client_bytes out = {OPENSSL_malloc((size_t)(issuer_n + subject_n) + 8), 0};
    unsigned char *p = out.p;
    CLIENT_MUST(issuer_n > 0 && subject_n > 0 && p);
    ASN1_put_object(&p, 1, issuer_n + subject_n, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    CLIENT_MUST(i2d_X509_NAME(issuer, &p) > 0 && i2d_X509_NAME(subject, &p) > 0);
    out.n = (size_t)(p - out.p);
    return out;
}

static client_bytes issuer_and_serial(const X509_NAME *issuer, const ASN1_INTEGER *serial)
{
    PKCS7_ISSUER_AND_SERIAL *is = PKCS7_ISSUER_AND_SERIAL_new();
    client_bytes out = {NULL, 0};
    CLIENT_MUST(is && X509_NAME_set(&is->issuer, issuer) && ASN1_STRING_copy(is->serial, serial));
    int n = i2d_PKCS7_ISSUER_AND_SERIAL(is, &out.p);
    CLIENT_MUST(n > 0);
    out.n = (size_t)n;
    PKCS7_ISSUER_AND_SERIAL_free(is);
    return out;
}

static client_bytes names_of(const X509 *cert)
{
    return issuer_and_subject(X509_get_issuer_name(cert), X509_get_subject_name(cert));
}

static client_bytes number_of(const X509 *cert)
{
    return issuer_and_serial(X509_get_issuer_name(cert), X509_get0_serialNumber(cert));
}

static X509_NAME *name(const char *text)
{
    X509_NAME *out = NULL;
    assert_int_equal(rl_name_parse(text, &out, NULL), RL_OK);
    return out;
}

/* An enrolled client; free with client_party_free. */
static client_party enrolled(const server *s, ask a)
{
    X509 *cert = expect_success(s, a);
    return (client_party){EVP_PKEY_dup((a.who ? a.who : &client)->key), cert};
}

static void roll_over(server *s)
{
    rl_error e = {0};
    close_server(s);
    assert_int_equal(rl_store_open(s->dir, &s->store, &e), RL_OK);
    assert_int_equal(rl_ca_roll_over(s->store, &s->settings, NULL, &e), RL_OK);
    rl_store_close(s->store);
    open_server(s);
}

/* ---- renewal ---- */
static void test_a_good_certificate_renews_itself_without_a_challenge(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    client_party old = enrolled(&s, (ask){.upn = "who@example.com"});
    const ask renewal = {.who = &old,
                         .key = other.key,
                         .challenge = "",
                         .type = RENEWAL,
                         .transaction = "t-2",
                         .upn = "who@example.com"};
    client_reply r = enroll(&s, renewal);
    assert_string_equal(r.status, "0");
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(r.issued), other.key), 1);
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(r.issued), X509_get_subject_name(old.cert)), 0);

    /* The same request again, also after a restart, is the same renewal. */
    reopen(&s);
    client_reply again = enroll(&s, renewal);
    assert_int_equal(X509_cmp(again.issued, r.issued), 0);
    client_reply_free(&again);

    /* A PKCSReq without challenge means the same, RFC 8894 §2.3. */
    ask plain = renewal;
    plain.type = "19";
    again = enroll(&s, plain);
    assert_int_equal(X509_cmp(again.issued, r.issued), 0);
    client_reply_free(&again);
    client_reply_free(&r);
    client_party_free(&old);
    stop(&s);
}

/* Clients that keep key and transactionID: the renewal is no retransmission, at any age of the certificate. */
static void test_a_renewal_with_the_same_key_and_transaction_is_a_new_certificate(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    client_party old = enrolled(&s, (ask){0});
    client_reply r = enroll(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL});
    assert_string_equal(r.status, "0");
    assert_int_not_equal(X509_cmp(r.issued, old.cert), 0);
    client_party second = {EVP_PKEY_dup(old.key), r.issued};
    client_reply next = enroll(&s, (ask){.who = &second, .challenge = "", .type = RENEWAL});
    assert_string_equal(next.status, "0");
    assert_int_not_equal(X509_cmp(next.issued, second.cert), 0);
    client_reply_free(&next);
    X509_free(r.ca);
    client_party_free(&second);
    client_party_free(&old);
    stop(&s);
}

static void test_a_renewal_keeps_the_names(void **state)
{
    (void)state;
    const char *text = "a renewal has the subject and alternative names";
    server s;
    start(&s, "ec-p256", NULL);
    client_party old = enrolled(&s, (ask){.upn = "who@example.com"}), bare = enrolled(&s, (ask){0});
    expect_failure(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL, .cn = "another", .upn = "who@example.com"},
                   "2", text);
    expect_failure(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL, .upn = "else@example.com"}, "2", text);
    expect_failure(&s, (ask){.who = &bare, .challenge = "", .type = RENEWAL, .upn = "who@example.com"}, "2", text);
    expect_failure(&s, (ask){.who = &bare, .challenge = "", .upn = "who@example.com"}, "2", text);
    client_party_free(&old);
    client_party_free(&bare);
    stop(&s);
}

static void test_a_renewal_that_tells_no_alternative_names_keeps_them(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    client_party old = enrolled(&s, (ask){.upn = "who@example.com"});
    X509 *new = expect_success(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL});
    int at = X509_get_ext_by_NID(new, NID_subject_alt_name, -1),
        was = X509_get_ext_by_NID(old.cert, NID_subject_alt_name, -1);
    assert_true(at >= 0 && was >= 0);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(new, at)),
                                           X509_EXTENSION_get_data(X509_get_ext(old.cert, was))),
                     0);
    X509_free(new);
    /* A challenge may be for other names, or for none. */
    expect_failure(&s, (ask){.who = &old, .type = RENEWAL}, "2", "a renewal has the subject and alternative names");
    client_party_free(&old);
    stop(&s);
}

static void test_only_a_certificate_that_is_good_now_renews(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", "REVLINE_STATIC_VALIDITY=30d");
    client_party old = enrolled(&s, (ask){0});
    const ask renewal = {.who = &old, .challenge = "", .type = RENEWAL, .transaction = "t-2"};
    revoke_cert(&s, old.cert, RL_REASON_HOLD, false);
    expect_failure(&s, renewal, "2", "on hold");
    revoke_cert(&s, old.cert, RL_REASON_HOLD, true);
    set_clock(31 * DAY);
    expect_failure(&s, renewal, "2", "not valid now");
    set_clock(0);
    X509_free(expect_success(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL, .transaction = "t-3"}));
    revoke_cert(&s, old.cert, RL_REASON_KEY_COMPROMISE, false);
    expect_failure(&s, renewal, "2", "revoked");
    expect_failure(&s, (ask){.who = &old, .challenge = "", .transaction = "t-3"}, "2", "revoked");
    client_party_free(&old);
    stop(&s);
}

static void test_a_renewal_is_signed_by_a_certificate_of_this_ca(void **state)
{
    (void)state;
    const char *text = "signed by a certificate of this CA";
    server s;
    start(&s, "rsa2048", NULL);
    expect_failure(&s, (ask){.challenge = "", .type = RENEWAL}, "2", text);
    expect_failure(&s, (ask){.type = RENEWAL}, "2", text); /* self-signed: an enrolment is a PKCSReq */

    /* The CA's name is not its key. */
    client_party false_ca = client_party_new(EVP_RSA_gen(2048), "Revline Root CA", NULL);
    client_party stranger = client_party_new(EVP_RSA_gen(2048), DEVICE, &false_ca);
    expect_failure(&s, (ask){.who = &stranger, .challenge = "", .type = RENEWAL}, "2", text);
    expect_failure(&s, (ask){.who = &stranger, .challenge = ""}, "2", "challenge password is wrong or missing");
    X509_free(expect_success(&s, (ask){.who = &stranger})); /* the challenge authorises, whoever signs */

    /* Signed by the CA's key, but in no store: nothing tells its status. */
    client_party ca = {rl_signer_pkey(rl_ca_issuer(s.ca)->signer), rl_ca_issuer(s.ca)->cert};
    client_party unstored = client_party_new(EVP_RSA_gen(2048), DEVICE, &ca);
    expect_failure(&s, (ask){.who = &unstored, .challenge = "", .type = RENEWAL}, "2", "not known here");
    expect_failure(&s, (ask){.who = &ca, .challenge = "", .type = RENEWAL}, "2", "renews no such certificate");
    client_party_free(&unstored);
    client_party_free(&stranger);
    client_party_free(&false_ca);
    stop(&s);
}

/* Who has stolen the key of a root that was revoked can still sign with it, also a number that there is. */
static void test_another_certificate_with_a_known_number_renews_nothing(void **state)
{
    (void)state;
    const unsigned char name[] = "Administrator";
    server s;
    start(&s, "ec-p256", NULL);
    client_party victim = enrolled(&s, (ask){0}), forged = {EVP_PKEY_dup(other.key), X509_dup(victim.cert)};
    roll_over(&s);
    const rl_issuer *root = rl_ca_by_id(s.ca, 1);
    revoke_cert(&s, root->cert, RL_REASON_KEY_COMPROMISE, false);
    CLIENT_MUST(X509_NAME_add_entry_by_txt(X509_get_subject_name(forged.cert), "CN", MBSTRING_UTF8, name, -1, -1, 0));
    X509_NAME_ENTRY_free(X509_NAME_delete_entry(X509_get_subject_name(forged.cert), 0));
    CLIENT_MUST(X509_set_pubkey(forged.cert, forged.key));
    CLIENT_MUST(X509_sign(forged.cert, rl_signer_pkey(root->signer), EVP_sha256()));
    expect_failure(&s, (ask){.who = &forged, .challenge = "", .type = RENEWAL, .cn = (const char *)name}, "2",
                   "not known here");
    X509_free(expect_success(&s, (ask){.who = &victim, .challenge = "", .type = RENEWAL}));
    client_party_free(&forged);
    client_party_free(&victim);
    stop(&s);
}

static void test_a_profile_renews_its_own_certificates_as_its_setting_says(void **state)
{
    (void)state;
    const char *text = "renews no such certificate without a challenge";
    server s;
    start(&s, "ec-p256", "REVLINE_STATIC_RENEWALS=false");
    client_party old = enrolled(&s, (ask){0});
    const ask renewal = {.who = &old, .challenge = "", .type = RENEWAL};
    expect_failure(&s, renewal, "2", text);
    ask elsewhere = renewal;
    elsewhere.path = "/static/aad";
    expect_failure(&s, elsewhere, "2", text);
    X509_free(expect_success(&s, (ask){.who = &old, .type = RENEWAL})); /* with the challenge */
    expect_failure(&s, (ask){.who = &old, .type = RENEWAL, .challenge = "wrong-word"}, "2", text);
    expect_caps(&s, "/static", "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\n");
    expect_caps(&s, "/static/aad", "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\nRenewal\n");
    client_party_free(&old);
    stop(&s);
}

static void test_a_wrong_challenge_is_not_mended_by_a_good_certificate(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    client_party old = enrolled(&s, (ask){0});
    expect_failure(&s, (ask){.who = &old, .challenge = "wrong-word"}, "2", "challenge password is wrong");
    client_party_free(&old);
    stop(&s);
}

/* ---- CertPoll ---- */
static void test_a_poll_finds_the_transactions_certificate(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    X509 *cert = expect_success(&s, (ask){.cn = "host"}),
         *theirs = expect_success(&s, (ask){.cn = "host", .who = &other});
    expect_same(&s, (ask){.type = CERT_POLL, .content = names_of(cert)}, cert, true);
    expect_same(&s, (ask){.type = CERT_POLL, .content = names_of(cert), .who = &client}, cert, true);
    reopen(&s);
    client_reply r = enroll(&s, (ask){.type = CERT_POLL, .content = names_of(cert), .who = &other});
    assert_int_equal(X509_cmp(r.issued, theirs), 0); /* one transactionID, two keys: each its own */
    assert_int_equal(r.certs_n, 2);
    client_reply_free(&r);
    X509_free(theirs);
    X509_free(cert);
    stop(&s);
}

static void test_a_poll_for_what_is_not_there_is_bad_cert_id(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    X509 *cert = expect_success(&s, (ask){.cn = "host"});
    X509_NAME *stranger = name("CN=Stranger");
    expect_failure(&s, (ask){.type = CERT_POLL, .content = names_of(cert), .transaction = "t-2"}, "4", UNKNOWN);
    expect_failure(&s, (ask){.type = CERT_POLL, .content = names_of(cert), .path = "/static/aad"}, "4", UNKNOWN);
    expect_failure(&s, (ask){.type = CERT_POLL, .content = issuer_and_subject(X509_get_issuer_name(cert), stranger)},
                   "4", UNKNOWN);
    expect_failure(&s, (ask){.type = CERT_POLL, .content = issuer_and_subject(stranger, X509_get_subject_name(cert))},
                   "4", UNKNOWN);
    expect_failure(&s, (ask){.type = CERT_POLL, .content = number_of(cert)}, "4", UNKNOWN);
    expect_failure(&s, (ask){.type = CERT_POLL}, "4", UNKNOWN); /* a certificate request */
    X509_NAME_free(stranger);
    X509_free(cert);
    stop(&s);
}

static void test_a_poll_after_renewals_gets_the_newest(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", "REVLINE_STATIC_VALIDITY=100d");
    X509 *first = expect_success(&s, (ask){0});
    set_clock(60 * DAY);
    X509 *second = expect_success(&s, (ask){0});
    assert_int_not_equal(X509_cmp(first, second), 0);
    expect_same(&s, (ask){.type = CERT_POLL, .content = names_of(first)}, second, true);
    set_clock(0);
    X509_free(first);
    X509_free(second);
    stop(&s);
}

/* ---- GetCert ---- */
static void expect_cert(const server *s, client_bytes number, const X509 *cert)
{
    client_reply r = enroll(s, (ask){.type = GET_CERT, .content = number});
    assert_string_equal(r.status, "0");
    assert_int_equal(r.certs_n, 1);
    assert_int_equal(X509_cmp(r.issued, cert), 0);
    client_reply_free(&r);
}

static void test_get_cert_gives_any_certificate_of_ours(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    X509 *theirs = expect_success(&s, (ask){.who = &other});
    expect_cert(&s, number_of(theirs), theirs);
    X509 *first_root = rl_ca_issuer(s.ca)->cert;
    expect_cert(&s, number_of(first_root), first_root);
    roll_over(&s); /* two issuers of one name */
    X509 *below_second = expect_success(&s, (ask){.cn = "host"});
    expect_cert(&s, number_of(theirs), theirs);
    expect_cert(&s, number_of(below_second), below_second);
    X509_free(below_second);
    X509_free(theirs);
    stop(&s);
}

static void test_get_cert_of_what_is_not_there_is_bad_cert_id(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    X509 *cert = expect_success(&s, (ask){0});
    X509_NAME *stranger = name("CN=Stranger");
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    CLIENT_MUST(ASN1_INTEGER_set_int64(serial, 4711));
    expect_failure(&s, (ask){.type = GET_CERT, .content = issuer_and_serial(X509_get_issuer_name(cert), serial)}, "4",
                   UNKNOWN);
    expect_failure(&s, (ask){.type = GET_CERT, .content = issuer_and_serial(stranger, X509_get0_serialNumber(cert))},
                   "4", UNKNOWN);
    CLIENT_MUST(ASN1_INTEGER_set_int64(serial, -1));
    expect_failure(&s, (ask){.type = GET_CERT, .content = issuer_and_serial(X509_get_issuer_name(cert), serial)}, "4",
                   UNKNOWN);
    expect_failure(&s, (ask){.type = GET_CERT, .content = names_of(cert)}, "4", UNKNOWN);
    ASN1_INTEGER_free(serial);
    X509_NAME_free(stranger);
    X509_free(cert);
    stop(&s);
}

/* ---- GetCRL ---- */
/* A list of the issuer asked for, made by OpenSSL: its number is the issuer's. */
static rl_err list_of(void *ctx, rl_issuer_id issuer, rl_buf *out)
{
    const server *s = ctx;
    const rl_issuer *i = rl_ca_by_id(s->ca, issuer);
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)rl_wall_s());
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    unsigned char *der = NULL;
    CLIENT_MUST(crl && now && number && ASN1_INTEGER_set_int64(number, issuer) && X509_CRL_set_version(crl, 1));
    CLIENT_MUST(X509_CRL_set_issuer_name(crl, X509_get_subject_name(i->cert)) && X509_CRL_set1_lastUpdate(crl, now));
    CLIENT_MUST(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0));
    CLIENT_MUST(X509_CRL_sign(crl, rl_signer_pkey(i->signer), EVP_sha256()));
    int n = i2d_X509_CRL(crl, &der);
    rl_err err = rl_buf_append(out, der, (size_t)n);
    OPENSSL_free(der);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(now);
    X509_CRL_free(crl);
    return err;
}

static void expect_list(const server *s, client_bytes number, rl_issuer_id issuer)
{
    client_reply r = enroll(s, (ask){.type = GET_CRL, .content = number});
    assert_string_equal(r.status, "0");
    assert_int_equal(r.certs_n, 0);
    assert_non_null(r.crl);
    assert_int_equal(X509_CRL_verify(r.crl, X509_get0_pubkey(rl_ca_by_id(s->ca, issuer)->cert)), 1);
    client_reply_free(&r);
}

static void test_get_crl_gives_the_issuers_list(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    X509 *first = expect_success(&s, (ask){0});
    roll_over(&s);
    rl_scep_on_crl(s.scep, list_of, &s);
    X509 *second = expect_success(&s, (ask){.cn = "host"});
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    X509_NAME *stranger = name("CN=Stranger");
    CLIENT_MUST(ASN1_INTEGER_set_int64(serial, 4711));
    expect_list(&s, number_of(first), 1);
    expect_list(&s, number_of(second), 2);
    expect_list(&s, number_of(rl_ca_by_id(s.ca, 1)->cert), 1);
    expect_list(&s, issuer_and_serial(X509_get_issuer_name(first), serial),
                2); /* never issued: the newest of the name */
    expect_failure(&s, (ask){.type = GET_CRL, .content = issuer_and_serial(stranger, serial)}, "4", UNKNOWN);
    X509_NAME_free(stranger);
    ASN1_INTEGER_free(serial);
    X509_free(second);
    X509_free(first);
    stop(&s);
}

/* What it holds does not matter: nobody looks. */
static rl_err list_of_octets(void *ctx, rl_issuer_id issuer, rl_buf *out)
{
    const size_t *n = ctx;
    (void)issuer;
    out->p = calloc(1, *n);
    out->n = out->cap = *n;
    return out->p ? RL_OK : RL_ENOMEM;
}

static void test_a_list_that_is_too_long_is_had_elsewhere(void **state)
{
    (void)state;
    server s;
    scep_outcome out;
    size_t n = 16 * 1024 * 1024;
    start(&s, "rsa2048", NULL);
    rl_scep_on_crl(s.scep, list_of_octets, &n);
    client_bytes m = client_message(&s, (ask){.type = GET_CRL, .content = number_of(rl_ca_issuer(s.ca)->cert)});
    scep_pki_operation(s.scep, profile_at(&s, "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_int_equal(out.status, 200);
    assert_int_equal(out.result, SCEP_ANSWERED);
    assert_true(out.body.n > n);
    rl_buf_free(&out.body);
    n++;
    expect_failure(&s, (ask){.type = GET_CRL, .content = number_of(rl_ca_issuer(s.ca)->cert)}, "2", "/crl");
    free(m.p);
    stop(&s);
}

static void test_a_list_that_is_still_being_made_is_no_final_answer(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    client_bytes m = client_message(&s, (ask){.type = GET_CRL, .content = number_of(rl_ca_issuer(s.ca)->cert)});
    scep_outcome out;
    scep_pki_operation(s.scep, profile_at(&s, "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_int_equal(out.status, 503);
    assert_null(out.body.p);
    free(m.p);
    stop(&s);
}

/* ---- rollover ---- */
static void test_the_next_ca_certificate_is_signed_by_the_one_before(void **state)
{
    (void)state;
    const char *keys[] = {"rsa2048", "ec-p256"};
    for (int i = 0; i < 2; i++) {
        server s;
        start(&s, keys[i], NULL);
        assert_false(scep_has_next_ca(s.scep));
        roll_over(&s);
        assert_true(scep_has_next_ca(s.scep));
        expect_caps(&s, "/static",
                    "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\nRenewal\nGetNextCACert\n");
        const unsigned char *p = s.scep->next_ca.p;
        CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)s.scep->next_ca.n);
        BIO *content = BIO_new(BIO_s_mem());
        STACK_OF(X509) *held = sk_X509_new_null();
        CLIENT_MUST(cms && sk_X509_push(held, rl_ca_by_id(s.ca, 1)->cert));
        CLIENT_MUST(CMS_verify(cms, held, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_NOINTERN | CMS_BINARY));
        CMS_ContentInfo *inner = d2i_CMS_bio(content, NULL);
        STACK_OF(X509) *certs = CMS_get1_certs(inner);
        assert_int_equal(sk_X509_num(certs), 1 + i); /* an EC CA's registration authority, which is new, too */
        assert_int_equal(X509_cmp(sk_X509_value(certs, i), rl_ca_by_id(s.ca, 2)->cert), 0);
        assert_int_equal(X509_cmp(sk_X509_value(certs, 0), s.scep->self.cert), 0);
        sk_X509_pop_free(certs, X509_free);
        CMS_ContentInfo_free(inner);
        sk_X509_free(held);
        BIO_free(content);
        CMS_ContentInfo_free(cms);
        set_clock(10000 * (int64_t)DAY); /* the old root has ended */
        assert_false(scep_has_next_ca(s.scep));
        set_clock(0);
        stop(&s);
    }
}

static void test_clients_that_hold_the_root_before_go_on(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    client_party old = enrolled(&s, (ask){0});
    roll_over(&s);
    X509 *before = rl_ca_by_id(s.ca, 1)->cert;
    /* Encrypted to the old root, answered by the old root; issued by the new one. */
    X509_free(expect_success(&s, (ask){.recipient = before, .cn = "host"}));
    X509_free(expect_success(&s, (ask){.recipient = before, .who = &old, .challenge = "", .type = RENEWAL}));
    X509_free(expect_success(&s, (ask){.who = &old, .challenge = "", .type = RENEWAL, .transaction = "t-2"}));
    client_party_free(&old);
    stop(&s);
}

/* ---- an intermediate CA ---- */
struct put {
    rl_issuer_record record;
};

static rl_err put_issuer(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)e;
    return rl_txn_put_issuer(t, 3, &((struct put *)arg)->record);
}

/* An issuer of ours below a root that was imported. */
static void make_intermediate(server *s)
{
    rl_signer *signer;
    rl_ca_imported imported;
    char path[96];
    struct put put = {.record.key_ref = (char *)"file:ca-3.key"};
    client_party root = client_party_new(EVP_RSA_gen(2048), "Company Root", NULL);
    client_party below = client_party_new(EVP_RSA_gen(2048), "Company Issuing CA", &root);
    BASIC_CONSTRAINTS ca = {.ca = 0xff};
    CLIENT_MUST(X509_add1_ext_i2d(root.cert, NID_basic_constraints, &ca, 1, X509V3_ADD_DEFAULT) &&
                X509_sign(root.cert, root.key, EVP_sha256()));
    assert_int_equal(rl_ca_import(s->ca, &root.cert, 1, &imported, NULL), RL_OK);
    assert_int_equal(imported.issuer->id, 2);
    assert_int_equal(rl_signer_generate(RL_KEY_RSA2048, &signer, NULL), RL_OK);
    snprintf(path, sizeof(path), "%s/ca-3.key", s->dir);
    assert_int_equal(rl_signer_save(signer, path, NULL), RL_OK);
    CLIENT_MUST(X509_set_pubkey(below.cert, rl_signer_pkey(signer)) &&
                X509_add1_ext_i2d(below.cert, NID_basic_constraints, &ca, 1, X509V3_ADD_DEFAULT));
    CLIENT_MUST(X509_sign(below.cert, root.key, EVP_sha256()));
    assert_int_equal(rl_x509_to_der(below.cert, &put.record.cert, &put.record.cert_n, NULL), RL_OK);
    assert_int_equal(rl_store_run(s->store, put_issuer, &put, NULL), RL_OK);
    free(put.record.cert);
    rl_signer_free(signer);
    client_party_free(&below);
    client_party_free(&root);
    reopen(s);
}

static void test_below_an_intermediate_the_whole_chain_is_told(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    make_intermediate(&s);
    assert_int_equal(rl_ca_issuer(s.ca)->id, 3);
    assert_false(s.scep->ca_cert_alone);
    const unsigned char *p = s.scep->ca_cert.p;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)s.scep->ca_cert.n);
    STACK_OF(X509) *certs = CMS_get1_certs(cms);
    assert_int_equal(sk_X509_num(certs), 2);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 0), rl_ca_by_id(s.ca, 3)->cert), 0);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 1), rl_ca_by_id(s.ca, 2)->cert), 0);
    sk_X509_pop_free(certs, X509_free);
    CMS_ContentInfo_free(cms);
    client_reply r = enroll(&s, (ask){0});
    assert_string_equal(r.status, "0");
    assert_int_equal(r.certs_n, 3);
    client_reply_free(&r);
    stop(&s);
}

/* ---- time ---- */
static void test_a_message_that_was_signed_long_ago_is_bad_time(void **state)
{
    (void)state;
    server s;
    start(&s, "ec-p256", NULL);
    X509 *cert = expect_success(&s, (ask){.signed_off = -6 * DAY});
    X509_free(expect_success(&s, (ask){.signed_off = 6 * DAY}));
    expect_failure(&s, (ask){.signed_off = -8 * DAY}, "3", "signingTime");
    expect_failure(&s, (ask){.signed_off = 8 * DAY}, "3", "signingTime");
    expect_failure(&s, (ask){.type = CERT_POLL, .content = names_of(cert), .signed_off = -8 * DAY}, "3", "signingTime");
    X509_free(cert);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_certificate_renews_itself_without_a_challenge),
        cmocka_unit_test(test_a_renewal_with_the_same_key_and_transaction_is_a_new_certificate),
        cmocka_unit_test(test_a_renewal_keeps_the_names),
        cmocka_unit_test(test_a_renewal_that_tells_no_alternative_names_keeps_them),
        cmocka_unit_test(test_only_a_certificate_that_is_good_now_renews),
        cmocka_unit_test(test_a_renewal_is_signed_by_a_certificate_of_this_ca),
        cmocka_unit_test(test_another_certificate_with_a_known_number_renews_nothing),
        cmocka_unit_test(test_a_profile_renews_its_own_certificates_as_its_setting_says),
        cmocka_unit_test(test_a_wrong_challenge_is_not_mended_by_a_good_certificate),
        cmocka_unit_test(test_a_poll_finds_the_transactions_certificate),
        cmocka_unit_test(test_a_poll_for_what_is_not_there_is_bad_cert_id),
        cmocka_unit_test(test_a_poll_after_renewals_gets_the_newest),
        cmocka_unit_test(test_get_cert_gives_any_certificate_of_ours),
        cmocka_unit_test(test_get_cert_of_what_is_not_there_is_bad_cert_id),
        cmocka_unit_test(test_get_crl_gives_the_issuers_list),
        cmocka_unit_test(test_a_list_that_is_too_long_is_had_elsewhere),
        cmocka_unit_test(test_a_list_that_is_still_being_made_is_no_final_answer),
        cmocka_unit_test(test_the_next_ca_certificate_is_signed_by_the_one_before),
        cmocka_unit_test(test_clients_that_hold_the_root_before_go_on),
        cmocka_unit_test(test_below_an_intermediate_the_whole_chain_is_told),
        cmocka_unit_test(test_a_message_that_was_signed_long_ago_is_bad_time),
    };
    return cmocka_run_group_tests(tests, make_clients, free_clients);
}
