/* A new key for the CA: what comes from the new one, what the old one still does. */
#include "fixture.h"

static void open_again(fixture *f)
{
    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
}

static void roll_over(fixture *f, const char *subject)
{
    rl_ca_close(f->ca);
    f->ca = NULL;
    assert_ok(rl_ca_roll_over(f->store, &f->settings, subject, &f->e), &f->e);
    open_again(f);
}

static void write_certs(const fixture *f)
{
    write_pem(f, "old.pem", rl_ca_by_id(f->ca, 1)->cert);
    write_pem(f, "new.pem", rl_ca_by_id(f->ca, 2)->cert);
}

static void the_new_root_has_the_old_subject_and_another_key(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, RL_KEY_EC_P256);
    f.settings.ca.subject = "CN=What the settings say now";
    roll_over(&f, NULL);
    assert_int_equal(rl_ca_issuers(f.ca), 2);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 2);
    write_certs(&f);
    run(&f, "test \"$(openssl x509 -in old.pem -noout -subject)\" = \"$(openssl x509 -in new.pem -noout -subject)\"");
    run(&f, "openssl x509 -in old.pem -noout -pubkey > old.pub; ! openssl x509 -in new.pem -noout -pubkey | cmp -s "
            "old.pub");
    run(&f, "openssl verify -check_ss_sig -attime 1790000000 -CAfile new.pem new.pem");
    run(&f, "test -f ca-2.key && test \"$(stat -c %a ca-2.key)\" = 600");
    fixture_close(&f);
}

static void new_certificates_come_from_the_new_key(void **state)
{
    (void)state;
    fixture f;
    rl_issued issued;
    fixture_open(&f, RL_KEY_EC_P256);
    roll_over(&f, NULL);
    write_certs(&f);
    csr_spec spec = {.key = EVP_EC_gen("P-256"), .cn = "host"};
    rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = make_csr(&spec), .requester = "test"};
    assert_ok(rl_ca_issue(f.ca, &r, &issued, &f.e), &f.e);
    assert_int_equal(issued.id.issuer, 2);
    X509 *cert = decode(issued.der, issued.der_n);
    write_pem(&f, "host.pem", cert);
    run(&f, "openssl verify -attime 1790000000 -CAfile new.pem host.pem");
    run(&f, "! openssl verify -attime 1790000000 -CAfile old.pem host.pem");
    X509_free(cert);
    rl_issued_clear(&issued);
    X509_REQ_free(r.csr);
    EVP_PKEY_free(spec.key);
    fixture_close(&f);
}

static void the_old_key_still_certifies_a_responder(void **state)
{
    (void)state;
    fixture f;
    X509 *cert;
    rl_signer *key;
    fixture_open(&f, RL_KEY_EC_P256);
    roll_over(&f, NULL);
    write_certs(&f);
    assert_ok(rl_signer_generate(RL_KEY_EC_P256, &key, &f.e), &f.e);
    assert_ok(rl_ca_sign_responder(f.ca, rl_ca_by_id(f.ca, 1), rl_signer_pkey(key), DAY * 1000LL, NOW, &cert, &f.e),
              &f.e);
    write_pem(&f, "responder.pem", cert);
    run(&f, "openssl verify -attime 1790000000 -CAfile old.pem responder.pem");
    X509_free(cert);
    rl_signer_free(key);
    fixture_close(&f);
}

static void the_scep_recipient_is_certified_by_the_new_key(void **state)
{
    (void)state;
    fixture f;
    X509 *cert;
    rl_signer *signer;
    fixture_open(&f, RL_KEY_EC_P256);
    roll_over(&f, NULL);
    write_certs(&f);
    rl_ca_scep_identity(f.ca, &cert, &signer);
    write_pem(&f, "ra.pem", cert);
    run(&f, "openssl verify -attime 1790000000 -CAfile new.pem ra.pem");
    f.settings.ca.key = RL_KEY_RSA2048; /* an RSA CA receives SCEP envelopes itself */
    roll_over(&f, NULL);
    rl_ca_scep_identity(f.ca, &cert, &signer);
    assert_ptr_equal(cert, rl_ca_issuer(f.ca)->cert);
    assert_ptr_equal(signer, rl_ca_issuer(f.ca)->signer);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 3);
    fixture_close(&f);
}

static void another_subject_only_when_it_is_asked_for(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, RL_KEY_EC_P256);
    roll_over(&f, "CN=Second Root");
    write_certs(&f);
    assert_has(run(&f, "openssl x509 -in new.pem -noout -subject"), "CN = Second Root");
    fixture_close(&f);
}

/* ---- from one root to the other ---- */
static size_t links(const fixture *f, bool all, X509 *out[RL_CA_LINKS_MAX])
{
    rl_span der[RL_CA_LINKS_MAX];
    size_t n = rl_ca_links(f->ca, all, der);
    for (size_t i = 0; i < n; i++)
        out[i] = decode(der[i].p, der[i].n);
    return n;
}

static void free_links(X509 *const certs[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        X509_free(certs[i]);
}

static X509 *a_host(const fixture *f)
{
    rl_issued issued;
    rl_error e = {0};
    csr_spec spec = {.key = EVP_EC_gen("P-256"), .cn = "host"};
    rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = make_csr(&spec), .requester = "test"};
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &e), &e);
    X509 *cert = decode(issued.der, issued.der_n);
    rl_issued_clear(&issued);
    X509_REQ_free(r.csr);
    EVP_PKEY_free(spec.key);
    return cert;
}

static void each_roots_certificates_are_verified_from_the_other(void **state, rl_key_type old_key, rl_key_type new_key,
                                                                const char *subject)
{
    (void)state;
    fixture f;
    X509 *certs[RL_CA_LINKS_MAX];
    fixture_open(&f, old_key);
    assert_int_equal(links(&f, true, certs), 0);
    X509 *old_host = a_host(&f);
    f.settings.ca.key = new_key;
    roll_over(&f, subject);
    X509 *new_host = a_host(&f);
    write_certs(&f);
    write_pem(&f, "old-host.pem", old_host);
    write_pem(&f, "new-host.pem", new_host);
    assert_int_equal(links(&f, true, certs), 3);
    assert_int_equal(X509_cmp(certs[0], rl_ca_by_id(f.ca, 1)->cert), 0);
    write_pem(&f, "new-with-old.pem", certs[1]);
    write_pem(&f, "old-with-new.pem", certs[2]);
    free_links(certs, 3);
#define VERIFY "openssl verify -x509_strict -attime 1790000000 "
    run(&f, VERIFY "-CAfile old.pem -untrusted new-with-old.pem new-host.pem");
    run(&f, VERIFY "-CAfile new.pem -untrusted old-with-new.pem old-host.pem");
    run(&f, "! " VERIFY "-CAfile old.pem -untrusted old-with-new.pem new-host.pem");
    run(&f, "! " VERIFY "-CAfile new.pem -untrusted new-with-old.pem old-host.pem");
    run(&f, VERIFY "-CAfile new.pem -untrusted new-with-old.pem new-host.pem");
    /* found again, not made again; of TLS the one that leads to the new root */
    open_again(&f);
    assert_int_equal(links(&f, false, certs), 1);
    write_pem(&f, "again.pem", certs[0]);
    free_links(certs, 1);
    run(&f, "cmp again.pem new-with-old.pem");
    X509_free(old_host);
    X509_free(new_host);
    fixture_close(&f);
}

static void one_root_leads_to_the_other(void **state)
{
    each_roots_certificates_are_verified_from_the_other(state, RL_KEY_EC_P256, RL_KEY_EC_P256, NULL);
}

static void one_root_leads_to_another_kind_of_key_and_name(void **state)
{
    each_roots_certificates_are_verified_from_the_other(state, RL_KEY_RSA2048, RL_KEY_EC_P384, "CN=Second Root");
}

static void every_root_before_leads_to_the_issuing_one(void **state)
{
    (void)state;
    fixture f;
    X509 *certs[RL_CA_LINKS_MAX];
    fixture_open(&f, RL_KEY_EC_P256);
    roll_over(&f, NULL);
    roll_over(&f, "CN=Third Root");
    size_t n = links(&f, false, certs);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(X509_verify(certs[i], X509_get0_pubkey(rl_ca_by_id(f.ca, (rl_issuer_id)i + 1)->cert)), 1);
        assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certs[i]), X509_get0_pubkey(rl_ca_issuer(f.ca)->cert)), 1);
    }
    free_links(certs, n);
    fixture_close(&f);
}

static rl_err revoke_root(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_txn_revoke(t, arg, RL_REASON_KEY_COMPROMISE, NOW, "test", e);
}

/* Its key may be with somebody else: the new root does not vouch for it, and it says nothing of the new one. */
static void a_revoked_root_leads_nowhere(void **state)
{
    (void)state;
    fixture f;
    rl_serial serial;
    X509 *certs[RL_CA_LINKS_MAX];
    for (int revoked_before = 0; revoked_before < 2; revoked_before++) {
        fixture_open(&f, RL_KEY_EC_P256);
        if (!revoked_before)
            roll_over(&f, NULL);
        assert_int_equal(rl_x509_serial(rl_ca_by_id(f.ca, 1)->cert, &serial), RL_OK);
        rl_cert_id id = {.issuer = 1, .serial_n = serial.n};
        memcpy(id.serial, serial.b, serial.n);
        assert_ok(rl_store_run(f.store, revoke_root, &id, &f.e), &f.e);
        if (revoked_before)
            roll_over(&f, NULL);
        assert_int_equal(links(&f, true, certs), 0);
        open_again(&f);
        assert_int_equal(links(&f, true, certs), 0);
        fixture_close(&f);
    }
}

/* A crash between the key file and the store. */
static void a_key_that_is_there_already_is_taken(void **state)
{
    (void)state;
    fixture f;
    char path[128];
    rl_signer *key;
    fixture_open(&f, RL_KEY_EC_P256);
    path_in(&f, "ca-2.key", path);
    assert_ok(rl_signer_generate(RL_KEY_EC_P256, &key, &f.e), &f.e);
    assert_ok(rl_signer_save(key, path, &f.e), &f.e);
    roll_over(&f, NULL);
    assert_int_equal(EVP_PKEY_eq(rl_signer_pkey(rl_ca_issuer(f.ca)->signer), rl_signer_pkey(key)), 1);
    rl_signer_free(key);
    fixture_close(&f);
}

static void there_is_no_rollover_without_a_ca(void **state)
{
    (void)state;
    fixture f;
    fixture_prepare(&f, RL_KEY_EC_P256);
    assert_int_equal(rl_ca_roll_over(f.store, &f.settings, NULL, &f.e), RL_ENOTFOUND);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_new_root_has_the_old_subject_and_another_key),
        cmocka_unit_test(new_certificates_come_from_the_new_key),
        cmocka_unit_test(the_old_key_still_certifies_a_responder),
        cmocka_unit_test(the_scep_recipient_is_certified_by_the_new_key),
        cmocka_unit_test(another_subject_only_when_it_is_asked_for),
        cmocka_unit_test(one_root_leads_to_the_other),
        cmocka_unit_test(one_root_leads_to_another_kind_of_key_and_name),
        cmocka_unit_test(every_root_before_leads_to_the_issuing_one),
        cmocka_unit_test(a_revoked_root_leads_nowhere),
        cmocka_unit_test(a_key_that_is_there_already_is_taken),
        cmocka_unit_test(there_is_no_rollover_without_a_ca),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
