/* A user's own request: only what is the user's, by the directory's word. */
#include "requests.h"

#define ADA            "11111111-2222-3333-4444-555555555555"
#define EVE            "66666666-2222-3333-4444-555555555555"
#define LAPTOP         "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UPN_OTHER_NAME "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:"

static const rl_ca_owner ada = {ADA, LAPTOP, "ada@contoso.com"};

struct object {
    rl_source source;
    const char *id, *target;
    bool gone, disabled;
};

static rl_err put(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct object *o = arg;
    rl_object_record r = {.exists = !o->gone, .enabled = !o->disabled, .target = (char *)o->target};
    (void)e;
    return rl_txn_put_object(t, o->source, o->id, &r);
}

static void know_user(fixture *f, const char *name, const char *id)
{
    struct object pointer = {.source = RL_SOURCE_ENTRA_USER_NAME, .id = name, .target = id},
                  user = {.source = RL_SOURCE_ENTRA_USER, .id = id};
    assert_ok(rl_store_run(f->store, put, &pointer, &f->e), &f->e);
    assert_ok(rl_store_run(f->store, put, &user, &f->e), &f->e);
}

static rl_err ask(fixture *f, rl_profile_id profile, const rl_ca_owner *owner, const csr_spec *spec)
{
    X509_REQ *csr = make_csr(spec);
    rl_issue_request r = {.profile = profile, .csr = csr, .requester = "est", .owner = owner};
    rl_issued issued;
    rl_cert_record record;
    rl_err err = rl_ca_issue(f->ca, &r, &issued, &f->e);
    if (err == RL_OK) {
        assert_int_equal(rl_store_cert(f->store, &issued.id, &record), RL_OK);
        for (size_t i = 0; i < record.bindings_n; i++) {
            bool user = record.bindings[i].source == RL_SOURCE_ENTRA_USER;
            assert_true(user || record.bindings[i].source == RL_SOURCE_ENTRA_DEVICE_NAME);
            assert_string_equal(record.bindings[i].id, user ? owner->user : owner->device);
        }
        assert_true(record.bindings_n > 0);
        rl_cert_clear(&record);
    }
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
    return err;
}

static rl_err ask_for(fixture *f, const rl_ca_owner *owner, const char *cn, const char *san)
{
    const csr_spec spec = {.key = ec, .cn = cn, {{san ? "subjectAltName" : NULL, san}}};
    return ask(f, RL_PROFILE_STATIC_AAD, owner, &spec);
}

static void test_what_is_the_users(void **state)
{
    fixture *f = *state;
    know_user(f, "ada@contoso.com", ADA);
    assert_ok(ask_for(f, &ada, "ada@contoso.com", UPN_OTHER_NAME "Ada@Contoso.com"), &f->e);
    assert_ok(ask_for(f, &ada, "ADA@contoso.com", UPN_OTHER_NAME "ada@contoso.com,email:ada@contoso.com"), &f->e);
    assert_ok(ask_for(f, &ada, "ada@contoso.com", "email:ada@contoso.com"), &f->e);
    assert_ok(ask_for(f, &ada, LAPTOP, NULL), &f->e);
    assert_ok(ask_for(f, &ada, "{0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9}", UPN_OTHER_NAME "ada@contoso.com"), &f->e);
}

static void test_what_is_not(void **state)
{
    static const struct {
        const char *cn, *san;
    } all[] = {
        {"eve@contoso.com", UPN_OTHER_NAME "eve@contoso.com"},
        {"ada@contoso.com", UPN_OTHER_NAME "eve@contoso.com"},
        {"eve@contoso.com", UPN_OTHER_NAME "ada@contoso.com"},
        {"Ada Lovelace", UPN_OTHER_NAME "ada@contoso.com"},
        {"ada@contoso.com", UPN_OTHER_NAME "ada@contoso.com,email:eve@contoso.com"},
        {"ada@contoso.com", UPN_OTHER_NAME "ada@contoso.com,DNS:contoso.com"},
        {"ada@contoso.com", UPN_OTHER_NAME "ada@contoso.com,IP:192.0.2.1"},
        {"ada@contoso.com", UPN_OTHER_NAME "ada@contoso.com,URI:https://contoso.com"},
        {LAPTOP, "DNS:contoso.com"},
        {"Administrator", "URI:IntuneDeviceId://" LAPTOP},
        {LAPTOP, UPN_OTHER_NAME "eve@contoso.com"},
        {ADA, UPN_OTHER_NAME "ada@contoso.com"},
        {"7f9a2b14-0000-4000-8000-000000000001", NULL},
        {"7f9a2b14-0000-4000-8000-000000000001", UPN_OTHER_NAME "ada@contoso.com"},
    };
    fixture *f = *state;
    know_user(f, "ada@contoso.com", ADA);
    know_user(f, "eve@contoso.com", EVE);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (ask_for(f, &ada, all[i].cn, all[i].san) != RL_EDENIED)
            fail_msg("%s, %s", all[i].cn, all[i].san);
}

/* The directory says whose a name is; the token's own word says only that it may soon. */
static void test_whose_a_name_is(void **state)
{
    fixture *f = *state;
    const char *san = UPN_OTHER_NAME "ada@contoso.com";
    const rl_ca_owner eve = {EVE, "", "ada@contoso.com"}, nameless = {ADA, "", ""};
    assert_int_equal(ask_for(f, &ada, "ada@contoso.com", san), RL_ENOTFOUND);
    assert_int_equal(ask_for(f, &nameless, "ada@contoso.com", san), RL_EDENIED);
    know_user(f, "ada@contoso.com", ADA);
    assert_ok(ask_for(f, &ada, "ada@contoso.com", san), &f->e);
    assert_ok(ask_for(f, &nameless, "ada@contoso.com", san), &f->e);
    assert_int_equal(ask_for(f, &eve, "ada@contoso.com", san), RL_EDENIED);
    know_user(f, "ada@contoso.com", EVE); /* another has the name now */
    assert_int_equal(ask_for(f, &ada, "ada@contoso.com", san), RL_EDENIED);
    assert_int_equal(ask_for(f, &nameless, LAPTOP, NULL), RL_EDENIED);
}

/* The token is as good as before. */
static void test_who_is_no_user_any_more(void **state)
{
    fixture *f = *state;
    struct object user = {.source = RL_SOURCE_ENTRA_USER, .id = ADA, .disabled = true};
    know_user(f, "ada@contoso.com", ADA);
    assert_ok(ask_for(f, &ada, LAPTOP, NULL), &f->e);
    assert_ok(rl_store_run(f->store, put, &user, &f->e), &f->e);
    assert_int_equal(ask_for(f, &ada, LAPTOP, NULL), RL_EDENIED);
    assert_int_equal(ask_for(f, &ada, "ada@contoso.com", UPN_OTHER_NAME "ada@contoso.com"), RL_EDENIED);
    user = (struct object){.source = RL_SOURCE_ENTRA_USER, .id = ADA, .gone = true};
    assert_ok(rl_store_run(f->store, put, &user, &f->e), &f->e);
    assert_int_equal(ask_for(f, &ada, LAPTOP, NULL), RL_EDENIED);
}

static void test_of_the_subject_only_the_common_name(void **state)
{
    fixture *f = *state;
    X509_REQ *csr = make_csr(
        &(csr_spec){.key = ec, .cn = "ada@contoso.com", {{"subjectAltName", UPN_OTHER_NAME "ada@contoso.com"}}});
    rl_issue_request r = {.profile = RL_PROFILE_STATIC_AAD, .csr = csr, .requester = "est", .owner = &ada};
    rl_issued issued;
    know_user(f, "ada@contoso.com", ADA);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "OU", MBSTRING_UTF8, (const unsigned char *)"Admins", -1,
                               -1, 0);
    X509_REQ_sign(csr, ec, EVP_sha256());
    assert_int_equal(rl_ca_issue(f->ca, &r, &issued, &f->e), RL_EDENIED);
    f->settings.scep.profiles[RL_ENROLL_STATIC_AAD].cn_only = true; /* then it is not in the certificate */
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
}

/* Each common name is one by which somebody may be taken for another. */
static void test_a_second_common_name_is_the_users_too(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *cn;
        rl_err err;
    } others[] = {{"ada@contoso.com", RL_OK}, {"Administrator", RL_EDENIED}, {"eve@contoso.com", RL_EDENIED}};
    know_user(f, "ada@contoso.com", ADA);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        X509_REQ *csr =
            make_csr(&(csr_spec){.key = ec, .cn = LAPTOP, {{"subjectAltName", UPN_OTHER_NAME "ada@contoso.com"}}});
        rl_issue_request r = {.profile = RL_PROFILE_STATIC_AAD, .csr = csr, .requester = "est", .owner = &ada};
        rl_issued issued;
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)others[i].cn, -1, -1, 0);
        X509_REQ_sign(csr, ec, EVP_sha256());
        assert_int_equal(rl_ca_issue(f->ca, &r, &issued, &f->e), others[i].err);
        rl_issued_clear(&issued);
        X509_REQ_free(csr);
    }
}

static void test_profiles_that_bind_to_nothing_of_entras(void **state)
{
    static const rl_profile_id others[] = {RL_PROFILE_STATIC, RL_PROFILE_DC, RL_PROFILE_CLIENT, RL_PROFILE_SERVER};
    const csr_spec spec = {.key = ec, .cn = "ada@contoso.com", {{"subjectAltName", UPN_OTHER_NAME "ada@contoso.com"}}};
    fixture *f = *state;
    know_user(f, "ada@contoso.com", ADA);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(ask(f, others[i], &ada, &spec), RL_EDENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_the_users, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whose_a_name_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_no_user_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_the_subject_only_the_common_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_second_common_name_is_the_users_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_profiles_that_bind_to_nothing_of_entras, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
