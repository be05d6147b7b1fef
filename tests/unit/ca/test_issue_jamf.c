/* Certificates of Jamf Pro's objects: which subject is bound to what, and what is refused. */
#include "requests.h"

#define UPN "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:"

static X509_REQ *request(const char *cn, const char *ou, const char *san)
{
    csr_spec spec = {.key = ec, .cn = cn, .ou = ou, .extensions = {{san ? "subjectAltName" : NULL, san}}};
    return make_csr(&spec);
}

/* Issues, and gives the record as stored. */
static void issue_jamf(fixture *f, const char *cn, const char *ou, const char *san, rl_cert_record *record)
{
    rl_issued issued;
    rl_issue_request r = {.profile = RL_PROFILE_JAMF, .csr = request(cn, ou, san), .requester = "scep"};
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    assert_int_equal(rl_store_cert(f->store, &issued.id, record), RL_OK);
    rl_issued_clear(&issued);
    X509_REQ_free(r.csr);
}

static void test_each_kind_is_bound_to_its_objects(void **state)
{
    static const struct {
        const char *ou, *san;
        rl_source source;
        const char *user;
    } rows[] = {
        {"computers", NULL, RL_SOURCE_JAMF_COMPUTER, NULL},
        {"Computers", "DNS:mac.example", RL_SOURCE_JAMF_COMPUTER, NULL},
        {"computers", "email:ada@contoso.example,email:bob@contoso.example", RL_SOURCE_JAMF_COMPUTER, NULL},
        {"devices", NULL, RL_SOURCE_JAMF_DEVICE, NULL},
        {"users-on-computers", UPN "Ada", RL_SOURCE_JAMF_COMPUTER, "ada"},
        {"users-on-computers", "email:Ada@Contoso.example", RL_SOURCE_JAMF_COMPUTER, "ada@contoso.example"},
        {"USERS-ON-DEVICES", UPN "ada@contoso.example,email:other@contoso.example", RL_SOURCE_JAMF_DEVICE,
         "ada@contoso.example"},
    };
    fixture *f = *state;
    rl_cert_record r;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        issue_jamf(f, "17", rows[i].ou, rows[i].san, &r);
        assert_string_equal(r.profile, "jamf");
        assert_int_equal(r.bindings_n, rows[i].user ? 2 : 1);
        assert_int_equal(r.bindings[0].source, rows[i].source);
        assert_string_equal(r.bindings[0].id, "17");
        if (rows[i].user) {
            assert_int_equal(r.bindings[1].source, RL_SOURCE_JAMF_USER_NAME);
            assert_string_equal(r.bindings[1].id, rows[i].user);
        }
        rl_cert_clear(&r);
    }
}

static rl_err put_ada(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_object_record o = {.exists = true, .enabled = true, .target = arg};
    (void)e;
    return rl_txn_put_object(t, RL_SOURCE_JAMF_USER_NAME, "ada", &o);
}

static void test_a_known_user_is_bound_by_the_number(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    char number[] = "5";
    assert_ok(rl_store_run(f->store, put_ada, number, &f->e), &f->e);
    issue_jamf(f, "17", "users-on-devices", UPN "ADA", &r);
    assert_int_equal(r.bindings_n, 2);
    assert_int_equal(r.bindings[1].source, RL_SOURCE_JAMF_USER);
    assert_string_equal(r.bindings[1].id, "5");
    assert_int_equal(r.not_after, NOW + 30 * 86400); /* the profile's own validity */
    rl_cert_clear(&r);
}

static void test_a_subject_of_no_object_is_refused(void **state)
{
    static const char *const numbers[] = {"0", "017", "-1", "1.5", "mac", "1 ", "1234567890123456789", "٣"};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        assert_refused_csr(f, RL_PROFILE_JAMF, request(numbers[i], "computers", NULL), RL_EINVAL, "$JSSID");
    assert_refused_csr(f, RL_PROFILE_JAMF, request(NULL, "computers", NULL), RL_EINVAL, "$JSSID");
    assert_refused_csr(f, RL_PROFILE_JAMF, request("17", NULL, NULL), RL_EINVAL, "OU=computers");
    assert_refused_csr(f, RL_PROFILE_JAMF, request("17", "laptops", NULL), RL_EINVAL, "OU=computers");
    assert_refused_csr(f, RL_PROFILE_JAMF, request("17", "users-on-computers", NULL), RL_EINVAL, "names no user");
    assert_refused_csr(f, RL_PROFILE_JAMF, request("17", "users-on-devices", "DNS:x.example"), RL_EINVAL,
                       "names no user");
}

static X509_REQ *with_more(const char *name, const char *value)
{
    X509_REQ *csr = request("17", "computers", NULL);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), name, MBSTRING_UTF8, (const unsigned char *)value, -1,
                               -1, 0);
    X509_REQ_sign(csr, ec, EVP_sha256());
    return csr;
}

static void test_two_kinds_or_two_numbers_are_refused(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    assert_refused_csr(f, RL_PROFILE_JAMF, with_more("OU", "devices"), RL_EINVAL, "OU=computers");
    assert_refused_csr(f, RL_PROFILE_JAMF, with_more("OU", "computers"), RL_EINVAL, "OU=computers");
    assert_refused_csr(f, RL_PROFILE_JAMF, with_more("CN", "18"), RL_EINVAL, "more than one");
    assert_refused_csr(f, RL_PROFILE_JAMF, request("17", "users-on-devices", "email:a@b,email:c@d"), RL_EINVAL,
                       "more than one");
    /* An admin's own unit is none of ours, nor is $PROFILE_IDENTIFIER, of which Jamf Pro finds its profile again. */
    static const char *const more[][2] = {{"OU", "Sales"}, {"CN", "5C2F0E4B-7A31-4C0D-9A57-0D1F6B1E2A33"}};
    for (size_t i = 0; i < 2; i++) {
        rl_cert_record cert;
        rl_issue_request r = {
            .profile = RL_PROFILE_JAMF, .csr = with_more(more[i][0], more[i][1]), .requester = "scep"};
        assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
        assert_ok(rl_store_cert(f->store, &issued.id, &cert), &f->e);
        assert_int_equal(cert.bindings_n, 1);
        assert_int_equal(cert.bindings[0].source, RL_SOURCE_JAMF_COMPUTER);
        assert_string_equal(cert.bindings[0].id, "17");
        rl_cert_clear(&cert);
        rl_issued_clear(&issued);
        X509_REQ_free(r.csr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_kind_is_bound_to_its_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_known_user_is_bound_by_the_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_subject_of_no_object_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_kinds_or_two_numbers_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
