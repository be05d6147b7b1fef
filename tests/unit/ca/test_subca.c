/* Subordinate CAs: what may be asked for, and that none gets more than the CA above it has. What validators make of the
 * constraints is shown end to end (tests/e2e/test_subca.py). */
#include "ca/ca_priv.h"
#include "requests.h"

#define TEXTS(...)                                                                                                     \
    (rl_text_list)                                                                                                     \
    {                                                                                                                  \
        (char *[]){__VA_ARGS__}, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)                                      \
    }

static X509_NAME *subject(const char *cn)
{
    X509_NAME *name = X509_NAME_new();
    if (cn)
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0),
                         1);
    return name;
}

/* Of an issuer with these extensions, in OpenSSL's words. */
static rl_err read_below(fixture *f, const char *const extensions[][2], size_t n, const char *cn,
                         const rl_sub_ca *asked, ca_sub *out)
{
    X509 *cert = X509_new();
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        X509_EXTENSION *ext = X509V3_EXT_conf(NULL, &ctx, extensions[i][0], extensions[i][1]);
        assert_non_null(ext);
        assert_int_equal(X509_add_ext(cert, ext, -1), 1);
        X509_EXTENSION_free(ext);
    }
    X509_NAME *name = subject("Above");
    assert_int_equal(X509_set_issuer_name(cert, name), 1);
    X509_NAME_free(name);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), DAY));
    assert_int_equal(X509_set_pubkey(cert, ec), 1);
    assert_true(X509_sign(cert, ec, EVP_sha256()) > 0);
    name = subject(cn);
    const rl_issuer issuer = {.id = 1, .cert = cert};
    rl_err err = ca_sub_read(f->ca, &issuer, name, asked, out, &f->e);
    X509_NAME_free(name);
    X509_free(cert);
    return err;
}

static void assert_read(fixture *f, const rl_sub_ca *asked, ca_sub *out)
{
    assert_ok(read_below(f, NULL, 0, "Sub", asked, out), &f->e);
}

static void assert_not_read(fixture *f, const rl_sub_ca *asked, const char *message)
{
    ca_sub sub;
    rl_err err = read_below(f, NULL, 0, "Sub", asked, &sub);
    if ((err != RL_EINVAL && err != RL_ERANGE) || !strstr(f->e.message, message))
        fail_msg("%s '%s' where '%s' was expected", rl_err_name(err), f->e.message, message);
    assert_null(sub.names);
    assert_null(sub.eku);
}

static const char *text_of(const ca_sub *sub)
{
    static char text[2048];
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *cert = X509_new();
    assert_int_equal(X509_add1_ext_i2d(cert, NID_name_constraints, sub->names, 1, 0), 1);
    assert_int_equal(X509V3_EXT_print(bio, X509_get_ext(cert, 0), 0, 0), 1);
    int n = BIO_read(bio, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = 0;
    BIO_free(bio);
    X509_free(cert);
    return text;
}

static void test_constraints_are_what_was_asked_for(void **state)
{
    ca_sub sub;
    const rl_sub_ca asked = {.permit =
                                 TEXTS("dns:example.com", "ip:10.0.0.0/8", "ip:2001:db8::/32", "email:example.com"),
                             .exclude = TEXTS("dns:secret.example.com", "ip:10.1.2.3"),
                             .path_length = 3};
    assert_read(*state, &asked, &sub);
    assert_int_equal(sub.path_length, 3);
    assert_string_equal(
        text_of(&sub),
        "Permitted:\n  DNS:example.com\n  IP:10.0.0.0/255.0.0.0\n  IP:2001:DB8:0:0:0:0:0:0/FFFF:FFFF:0:0:0:0:0:0\n"
        "  email:example.com\nExcluded:\n  DNS:secret.example.com\n  IP:10.1.2.3/255.255.255.255");
    assert_int_equal(sk_ASN1_OBJECT_num(sub.eku), 1);
    assert_int_equal(OBJ_obj2nid(sk_ASN1_OBJECT_value(sub.eku, 0)), NID_server_auth);
    ca_sub_clear(&sub);
}

static void test_kinds_without_a_permitted_name_are_shut(void **state)
{
    ca_sub sub;
    const rl_sub_ca dns = {.permit = TEXTS("dns:example.com")}, mail = {.permit = TEXTS("email:.example.com")};
    assert_read(*state, &dns, &sub);
    assert_string_equal(text_of(&sub),
                        "Permitted:\n  DNS:example.com\n  email:invalid\nExcluded:\n  IP:0.0.0.0/0.0.0.0\n"
                        "  IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0");
    ca_sub_clear(&sub);
    assert_read(*state, &mail, &sub);
    assert_string_equal(text_of(&sub), "Permitted:\n  email:.example.com\nExcluded:\n  DNS:\n  IP:0.0.0.0/0.0.0.0\n"
                                       "  IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0");
    ca_sub_clear(&sub);
}

static void test_any_name_is_said_and_still_excludes(void **state)
{
    ca_sub sub;
    const rl_sub_ca any = {.any_name = true}, but = {.any_name = true, .exclude = TEXTS("dns:example.com")};
    assert_read(*state, &any, &sub);
    assert_null(sub.names);
    ca_sub_clear(&sub);
    assert_read(*state, &but, &sub);
    assert_string_equal(text_of(&sub), "Excluded:\n  DNS:example.com");
    ca_sub_clear(&sub);
}

static void test_what_cannot_be_asked_for(void **state)
{
    static char *const names[] = {"example.com",
                                  "dns:",
                                  "dns:.example.com",
                                  "dns:*.example.com",
                                  "dns:a b",
                                  "dns:a..b",
                                  "DNS:example.com",
                                  "ip:10.0.0.0/33",
                                  "ip:10.0.0.0/",
                                  "ip:10.0.0.0/-1",
                                  "ip:10.0.0.0/8x",
                                  "ip:10.0.0.0/0008",
                                  "ip:10.0.0.1/8",
                                  "ip:10.0.0",
                                  "ip:2001:db8::/129",
                                  "ip:2001:db8::1/64",
                                  "ip:",
                                  "email:",
                                  "email:@",
                                  "email:a@",
                                  "email:@example.com",
                                  "email:a@b@c",
                                  "email:.",
                                  "uri:example.com",
                                  "ip:1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555"};
    fixture *f = *state;
    rl_sub_ca asked = {0};
    assert_not_read(f, &asked, "needs the names");
    asked.exclude = TEXTS("dns:example.com");
    assert_not_read(f, &asked, "needs the names");
    asked = (rl_sub_ca){.any_name = true, .permit = TEXTS("dns:example.com")};
    assert_not_read(f, &asked, "either");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        asked = (rl_sub_ca){.permit = TEXTS(names[i])};
        assert_not_read(f, &asked, "'");
        asked = (rl_sub_ca){.any_name = true, .exclude = TEXTS(names[i])};
        assert_not_read(f, &asked, "'");
    }
    char *many[65];
    for (size_t i = 0; i < 65; i++)
        many[i] = "dns:example.com";
    asked = (rl_sub_ca){.permit = {many, 65}};
    assert_not_read(f, &asked, "more than 64");
    for (int length = -1; length <= 10; length += 11) {
        asked = (rl_sub_ca){.any_name = true, .path_length = length};
        assert_not_read(f, &asked, "path length");
    }
}

static void test_usages_that_would_make_it_more_than_a_ca(void **state)
{
    static char *const usages[] = {"OCSPSigning", "1.3.6.1.5.5.7.3.9", "anyExtendedKeyUsage", "2.5.29.37.0",
                                   "nonsense"};
    for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
        const rl_sub_ca asked = {.any_name = true, .eku = TEXTS(usages[i])};
        assert_not_read(*state, &asked, "extended key usage");
    }
    ca_sub sub;
    const rl_sub_ca two = {.any_name = true, .eku = TEXTS("clientAuth", "1.3.6.1.4.1.311.20.2.2")};
    assert_read(*state, &two, &sub);
    assert_int_equal(sk_ASN1_OBJECT_num(sub.eku), 2);
    ca_sub_clear(&sub);
}

/* ---- below an issuer that has limits itself ---- */
static void assert_below(fixture *f, const char *const extension[2], const rl_sub_ca *asked, const char *message)
{
    ca_sub sub;
    const char *const extensions[][2] = {{extension[0], extension[1]}};
    rl_err err = read_below(f, extensions, 1, "Sub", asked, &sub);
    if (!message) {
        assert_ok(err, &f->e);
        ca_sub_clear(&sub);
    } else if (err != RL_EINVAL || !strstr(f->e.message, message)) {
        fail_msg("%s '%s' where '%s' was expected", rl_err_name(err), f->e.message, message);
    }
}

static void test_no_longer_path_than_the_issuers(void **state)
{
    static const char *const none[] = {"basicConstraints", "critical,CA:TRUE,pathlen:0"},
                             *const two[] = {"basicConstraints", "critical,CA:TRUE,pathlen:2"};
    const rl_sub_ca zero = {.any_name = true}, one = {.any_name = true, .path_length = 1},
                    same = {.any_name = true, .path_length = 2};
    assert_below(*state, none, &zero, "at most 0 CAs");
    assert_below(*state, two, &one, NULL);
    assert_below(*state, two, &same, "at most 2 CAs");
}

static void test_no_usage_that_the_issuer_lacks(void **state)
{
    static const char *const server[] = {"extendedKeyUsage", "serverAuth"}, *const any[] = {"extendedKeyUsage",
                                                                                            "anyExtendedKeyUsage"};
    const rl_sub_ca normal = {.any_name = true}, both = {.any_name = true, .eku = TEXTS("serverAuth", "clientAuth")};
    assert_below(*state, server, &normal, NULL);
    assert_below(*state, server, &both, "may not certify for this");
    assert_below(*state, any, &both, NULL);
}

static void test_no_name_that_the_issuer_may_not_certify(void **state)
{
    static const char *const limits[] = {"nameConstraints",
                                         "critical,permitted;DNS:example.com,permitted;IP:10.0.0.0/255.0.0.0,"
                                         "permitted;email:example.com,excluded;DNS:secret.example.com"};
    static char *const inside[] = {"dns:example.com", "dns:a.example.com", "ip:10.0.0.0/8",
                                   "ip:10.9.0.0/16",  "email:example.com", "email:you@example.com"};
    static char *const outside[] = {"dns:example.org",   "dns:com",           "dns:x.secret.example.com",
                                    "ip:10.0.0.0/7",     "ip:192.168.0.0/16", "ip:2001:db8::/32",
                                    "email:example.org", "email:.example.com"};
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        const rl_sub_ca asked = {.permit = TEXTS(inside[i])};
        assert_below(*state, limits, &asked, NULL);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        const rl_sub_ca asked = {.permit = TEXTS(outside[i])};
        assert_below(*state, limits, &asked, "may not certify these names");
    }
}

static void test_a_name_of_its_own(void **state)
{
    fixture *f = *state;
    ca_sub sub;
    const rl_sub_ca asked = {.any_name = true};
    assert_int_equal(read_below(f, NULL, 0, NULL, &asked, &sub), RL_EINVAL);
    assert_has(f->e.message, "has a subject");
    rl_err err =
        ca_sub_read(f->ca, rl_ca_issuer(f->ca), X509_get_subject_name(rl_ca_issuer(f->ca)->cert), &asked, &sub, &f->e);
    assert_int_equal(err, RL_EINVAL);
    assert_has(f->e.message, "its own");
}

/* ---- issued ---- */
static void test_each_subordinate_ca_says_what_it_may_certify(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = ec, .cn = "Sub"};
    assert_refused_csr(f, RL_PROFILE_SUBCA, make_csr(&spec), RL_EINVAL, "what a CA may certify");
    const rl_sub_ca any = {.any_name = true};
    rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = make_csr(&spec), .requester = "admin", .sub_ca = &any};
    rl_issued issued;
    assert_int_equal(rl_ca_issue(f->ca, &r, &issued, &f->e), RL_EINVAL);
    X509_REQ_free(r.csr);
}

static void test_what_a_request_asks_for_changes_nothing(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = ec,
                     .cn = "Sub",
                     .extensions = {{"basicConstraints", "critical,CA:TRUE,pathlen:7"},
                                    {"keyUsage", "critical,digitalSignature,keyCertSign"},
                                    {"extendedKeyUsage", "OCSPSigning"},
                                    {"nameConstraints", "permitted;DNS:evil.example"}}};
    const rl_sub_ca asked = {.permit = TEXTS("dns:example.com")};
    rl_issue_request r = {.profile = RL_PROFILE_SUBCA,
                          .csr = make_csr(&spec),
                          .validity = 999999LL * DAY * 1000,
                          .requester = "admin",
                          .sub_ca = &asked};
    rl_issued issued;
    f->settings.ca.subca_validity = 900LL * DAY * 1000; /* beyond that of other certificates */
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    X509 *cert = decode(issued.der, issued.der_n);
    write_pem(f, "sub.pem", cert);
    const char *text = run(f, "openssl x509 -in sub.pem -noout -text");
    assert_has(text, "CA:TRUE, pathlen:0");
    assert_has(text, "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n");
    assert_has(text, "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n");
    assert_has(text, "X509v3 Name Constraints: critical\n");
    assert_has_not(text, "evil.example");
    int64_t end;
    assert_int_equal(rl_x509_time(X509_get0_notAfter(cert), &end), RL_OK);
    assert_int_equal(end, NOW + 900 * DAY);
    X509_free(cert);
    X509_REQ_free(r.csr);
    rl_issued_clear(&issued);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_constraints_are_what_was_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kinds_without_a_permitted_name_are_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_name_is_said_and_still_excludes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_usages_that_would_make_it_more_than_a_ca, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_longer_path_than_the_issuers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_usage_that_the_issuer_lacks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_name_that_the_issuer_may_not_certify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_subordinate_ca_says_what_it_may_certify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_request_asks_for_changes_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
