/* Issuing: what each profile's certificate holds, validity, bindings, transactions. */
#include "requests.h"

#include <pthread.h>

#define DEVICE         "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define OBJECT         "11111111-2222-3333-4444-555555555555"
#define UPN_OTHER_NAME "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:"

static rl_err issue(fixture *f, rl_profile_id profile, const csr_spec *spec, rl_issued *out)
{
    X509_REQ *csr = make_csr(spec);
    rl_issue_request r = {.profile = profile, .csr = csr, .requester = "admin"};
    rl_err err = rl_ca_issue(f->ca, &r, out, &f->e);
    X509_REQ_free(csr);
    return err;
}

/* Issues, verifies with openssl against the root and returns openssl's text of the certificate. */
static const char *issue_text(fixture *f, rl_profile_id profile, const csr_spec *spec, const char *verify)
{
    rl_issued issued;
    char command[256];
    assert_ok(issue(f, profile, spec, &issued), &f->e);
    X509 *cert = decode(issued.der, issued.der_n);
    write_pem(f, "root.pem", rl_ca_issuer(f->ca)->cert);
    write_pem(f, "cert.pem", cert);
    X509_free(cert);
    rl_issued_clear(&issued);
    snprintf(command, sizeof(command), "openssl verify -x509_strict -attime %lld -CAfile root.pem %s cert.pem",
             (long long)standing_now, verify);
    assert_has(run(f, command), "OK");
    return run(f, "openssl x509 -in cert.pem -noout -text -nameopt RFC2253,-esc_msb,utf8");
}

/* ---- fields ---- */
static void test_server_certificate_field_by_field(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = rsa,
                     .cn = "www.example.test",
                     {{"subjectAltName", "DNS:www.example.test,DNS:*.example.test,IP:192.0.2.1,IP:2001:db8::1"}}};
    const char *text = issue_text(f, RL_PROFILE_SERVER, &spec, "-purpose sslserver -verify_hostname a.example.test");
    assert_has(text, "Version: 3");
    assert_has(text, "Issuer: CN=Test Root,O=Example\\, Inc.\n");
    assert_has(text, "Subject: CN=www.example.test\n");
    assert_has(text, "ecdsa-with-SHA384");
    assert_has(text, "Not Before: Sep 20 14:13:20 2026 GMT");
    assert_has(text, "Not After : Sep 20 14:13:20 2028 GMT");
    assert_has(text, "Basic Constraints: critical\n                CA:FALSE\n");
    assert_has(text, "Key Usage: critical\n                Digital Signature, Key Encipherment\n");
    assert_has(text, "Extended Key Usage: \n                TLS Web Server Authentication\n");
    assert_has(text, "Subject Alternative Name: \n                DNS:www.example.test, DNS:*.example.test, IP "
                     "Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1\n");
    assert_has(text, "OCSP - URI:http://ca.example.test:8080/ocsp\n");
    assert_has(text, "CA Issuers - URI:http://ca.example.test:8080/ca/1.cer\n");
    /* the key identifiers: SHA-1 of the key as openssl computes it, the issuer's as it has it */
    run(f, "openssl x509 -in root.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' ' > a && "
           "openssl x509 -in cert.pem -noout -ext authorityKeyIdentifier | tail -1 | tr -d ' ' | sed s/keyid:// > b && "
           "cmp a b");
    run(f, "openssl x509 -in cert.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' :' | tr A-F a-f > a && "
           "openssl x509 -in cert.pem -noout -pubkey | openssl rsa -pubin -RSAPublicKey_out -outform DER 2>/dev/null | "
           "sha1sum | cut -c1-40 > b && cmp a b");
}

static void test_client_certificate_of_an_ec_key_enciphers_nothing(void **state)
{
    csr_spec spec = {.key = ec, .cn = "client", {{"extendedKeyUsage", "serverAuth"}, {"keyUsage", "nonRepudiation"}}};
    const char *text = issue_text(*state, RL_PROFILE_CLIENT, &spec, "-purpose sslclient");
    assert_has(text, "Key Usage: critical\n                Digital Signature\n");
    assert_has(text, "Extended Key Usage: \n                TLS Web Client Authentication\n");
    assert_has_not(text, "Subject Alternative Name");
}

static void test_subject_stays_as_it_was_asked_for(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    const unsigned char *asked, *got;
    size_t asked_n, got_n;
    X509_REQ *csr = X509_REQ_new();
    X509_NAME *name = X509_REQ_get_subject_name(csr);
    X509_NAME_add_entry_by_txt(name, "O", V_ASN1_T61STRING, (const unsigned char *)"\xc4rzte", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_PRINTABLESTRING, (const unsigned char *)"a", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "UID", MBSTRING_UTF8, (const unsigned char *)"zwei\xe2\x82\xac", -1, -1, 1);
    X509_REQ_set_pubkey(csr, ec);
    X509_REQ_sign(csr, ec, EVP_sha256());
    rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = csr, .requester = "admin"};
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    X509 *cert = decode(issued.der, issued.der_n);
    assert_int_equal(X509_NAME_get0_der(name, &asked, &asked_n), 1);
    assert_int_equal(X509_NAME_get0_der(X509_get_subject_name(cert), &got, &got_n), 1);
    assert_true(rl_span_eq(rl_span_of(asked, asked_n), rl_span_of(got, got_n)));
    X509_free(cert);
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
}

static void test_empty_subject_makes_the_alternative_names_critical(void **state)
{
    csr_spec spec = {.key = ec, .cn = NULL, {{"subjectAltName", "DNS:a.example.test"}}};
    assert_has(issue_text(*state, RL_PROFILE_SERVER, &spec, ""),
               "Subject Alternative Name: critical\n                DNS:a.example.test\n");
}

static void test_device_gets_the_usages_it_asks_for_within_the_ceiling(void **state)
{
    csr_spec spec = {.key = rsa,
                     .cn = "d",
                     {{"keyUsage", "critical,digitalSignature,nonRepudiation,keyCertSign,cRLSign"},
                      {"extendedKeyUsage", "serverAuth,msSmartcardLogin,OCSPSigning,anyExtendedKeyUsage,codeSigning"}}};
    const char *text = issue_text(*state, RL_PROFILE_STATIC, &spec, "");
    assert_has(text, "Key Usage: critical\n                Digital Signature\n");
    assert_has(text, "TLS Web Server Authentication, Microsoft Smartcard Login\n");
    assert_has_not(text, "OCSP Signing");
    assert_has_not(text, "Any Extended");
    assert_has_not(text, "Code Signing");
}

static void test_forbidden_usages_alone_leave_the_defaults(void **state)
{
    csr_spec spec = {.key = rsa,
                     .cn = "d",
                     {{"keyUsage", "keyCertSign,cRLSign"},
                      {"extendedKeyUsage", "OCSPSigning"},
                      {"basicConstraints", "critical,CA:TRUE"},
                      {"authorityInfoAccess", "OCSP;URI:http://evil.example/"},
                      {"noCheck", "ignored"},
                      {"nameConstraints", "permitted;DNS:x"}}};
    const char *text = issue_text(*state, RL_PROFILE_STATIC, &spec, "-purpose sslclient");
    assert_has(text, "CA:FALSE");
    assert_has(text, "Key Usage: critical\n                Digital Signature, Key Encipherment\n");
    assert_has(text, "Extended Key Usage: \n                TLS Web Client Authentication\n");
    assert_has_not(text, "evil");
    assert_has_not(text, "No Check");
    assert_has_not(text, "Name Constraints");
}

static void test_record_says_what_was_issued(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    rl_cert_record r;
    rl_buf der = {0};
    csr_spec spec = {.key = ec, .cn = "b\xc3\xbcro"};
    assert_ok(issue(f, RL_PROFILE_CLIENT, &spec, &issued), &f->e);
    assert_int_equal(rl_store_cert(f->store, &issued.id, &r), RL_OK);
    assert_string_equal(r.subject, "CN=b\xc3\xbcro");
    assert_string_equal(r.profile, "client");
    assert_string_equal(r.requester, "admin");
    assert_int_equal(r.issued_at, NOW);
    assert_int_equal(r.not_before, NOW - DAY);
    assert_int_equal(r.not_after, NOW + 730LL * DAY);
    assert_int_equal(r.status, RL_STATUS_GOOD);
    assert_int_equal(r.bindings_n, 0);
    rl_cert_clear(&r);
    assert_int_equal(rl_store_der(f->store, &issued.id, &der), RL_OK);
    assert_true(rl_span_eq(rl_buf_span(&der), rl_span_of(issued.der, issued.der_n)));
    rl_buf_free(&der);
    rl_issued_clear(&issued);
}

static void test_serials_are_128_random_bits(void **state)
{
    fixture *f = *state;
    rl_issued a, b;
    csr_spec spec = {.key = ec, .cn = "a"};
    assert_ok(issue(f, RL_PROFILE_CLIENT, &spec, &a), &f->e);
    assert_ok(issue(f, RL_PROFILE_CLIENT, &spec, &b), &f->e);
    assert_int_equal(a.id.serial_n, 16);
    assert_int_equal(a.id.serial[0] & 0xc0, 0x40);
    assert_memory_not_equal(a.id.serial, b.id.serial, 16);
    rl_issued_clear(&a);
    rl_issued_clear(&b);
}

/* ---- validity ---- */
static void assert_validity(fixture *f, rl_profile_id profile, rl_duration asked, int64_t first, int64_t last)
{
    csr_spec spec = {.key = ec, .cn = DEVICE};
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {.profile = profile, .csr = csr, .requester = "admin", .validity = asked};
    rl_issued issued;
    time_t t;
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    X509 *cert = decode(issued.der, issued.der_n);
    t = (time_t)first;
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(cert), t), 0);
    t = (time_t)last;
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notAfter(cert), t), 0);
    X509_free(cert);
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
}

static void test_validity_is_the_least_of_asked_profile_setting_and_issuer(void **state)
{
    fixture *f = *state;
    const int64_t day = DAY;
    assert_validity(f, RL_PROFILE_CLIENT, 0, NOW - day, NOW + 730 * day);
    assert_validity(f, RL_PROFILE_CLIENT, 10 * day * 1000, NOW - day, NOW + 10 * day);
    assert_validity(f, RL_PROFILE_CLIENT, 9999 * day * 1000, NOW - day, NOW + 730 * day);
    assert_validity(f, RL_PROFILE_STATIC, 0, NOW - day, NOW + 365 * day);
    assert_validity(f, RL_PROFILE_STATIC, 400 * day * 1000, NOW - day, NOW + 365 * day);
    assert_validity(f, RL_PROFILE_STATIC_AAD, 0, NOW - day, NOW + 730 * day); /* the profile's 1000 days are cut */
    f->settings.ca.clock_skew = 100 * day * 1000;
    assert_validity(f, RL_PROFILE_CLIENT, 0, NOW - day, NOW + 730 * day); /* not before the root */
    standing_now = NOW + 3600 * day;
    assert_validity(f, RL_PROFILE_CLIENT, 0, NOW + 3500 * day, NOW + 3650 * day); /* not after the root */
}

static void test_expired_root_issues_nothing(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    csr_spec spec = {.key = ec, .cn = "late"};
    standing_now = NOW + 3650LL * DAY;
    assert_int_equal(issue(f, RL_PROFILE_CLIENT, &spec, &issued), RL_EDENIED);
    assert_has(f->e.message, "expired");
}

static void test_no_certificate_of_a_time_before_the_root(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    csr_spec spec = {.key = ec, .cn = "early"};
    standing_now = NOW - 2 * DAY;
    assert_int_equal(issue(f, RL_PROFILE_CLIENT, &spec, &issued), RL_EBUSY);
    assert_has(f->e.message, "not valid yet");
}

static void test_times_after_2049_are_generalized(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = ec, .cn = "far"};
    fixture_restart(f);
    run(f, "rm -rf ../$(basename $PWD)/db ca-1.key scep-ra.key");
    rl_store_close(f->store);
    assert_ok(rl_store_open(f->dir, &f->store, &f->e), &f->e);
    f->settings.ca.validity = 36500LL * DAY * 1000;
    f->settings.ca.cert_validity = 36500LL * DAY * 1000;
    assert_ok(rl_ca_init(f->store, &f->settings, &f->e), &f->e);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    assert_has(issue_text(f, RL_PROFILE_CLIENT, &spec, ""), "Not After : Aug 28 14:13:20 2126 GMT");
}

/* ---- profiles ---- */
static void test_profiles_of_the_ca_itself_are_not_for_requests(void **state)
{
    fixture *f = *state;
    rl_issued issued;
    csr_spec spec = {.key = rsa, .cn = "mole"};
    assert_int_equal(issue(f, RL_PROFILE_OCSP, &spec, &issued), RL_EINVAL);
    assert_int_equal(issue(f, RL_PROFILE_SCEP_RA, &spec, &issued), RL_EINVAL);
}

static void test_profiles_are_found_by_name(void **state)
{
    fixture *f = *state;
    char *named[] = {"wifi", "vpn"};
    unsigned found = 0;
    rl_profile p;
    rl_profile_id id;
    f->settings.scep.named = (rl_text_list){named, 2};
    for (unsigned i = 0; i < RL_PROFILE_COUNT; i++) {
        if (!rl_profile_get(&f->settings, i, &p))
            continue;
        assert_int_equal(rl_profile_find(&f->settings, p.name, &id), RL_OK);
        assert_int_equal(id, i);
        found++;
    }
    assert_int_equal(found, RL_PROFILE_COUNT - RL_ENROLL_NAMED_MAX + 2);
    assert_int_equal(rl_profile_find(&f->settings, "vpn", &id), RL_OK);
    assert_int_equal(id, RL_PROFILE_NAMED + 1);
    assert_int_equal(rl_profile_find(&f->settings, "ca", &id), RL_ENOTFOUND);
    assert_int_equal(rl_profile_find(&f->settings, "", &id), RL_ENOTFOUND);
}

/* ---- bindings ---- */
struct object {
    rl_source source;
    const char *id;
    rl_object_record r;
};

static rl_err put_object(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct object *o = arg;
    (void)e;
    return rl_txn_put_object(t, o->source, o->id, &o->r);
}

static void store_object(fixture *f, rl_source source, const char *id, bool exists, bool enabled, const char *target)
{
    struct object o = {source, id, {.exists = exists, .enabled = enabled, .target = (char *)target}};
    assert_ok(rl_store_run(f->store, put_object, &o, &f->e), &f->e);
}

/* Weighs as simply as can be: deleted and disabled objects speak against the certificate. */
static rl_err weigh(rl_store_txn *t, rl_cert_record *cert, int64_t now, const void *ctx)
{
    (void)ctx;
    assert_int_equal(now, standing_now);
    for (size_t i = 0; i < cert->bindings_n; i++) {
        rl_object_record o;
        if (rl_txn_object(t, cert->bindings[i].source, cert->bindings[i].id, &o) != RL_OK)
            continue;
        cert->why |= !o.exists ? RL_WHY_DELETED : !o.enabled ? RL_WHY_DISABLED : 0;
        rl_object_clear(&o);
    }
    return RL_OK;
}

/* `renews`: the certificate that it follows, or NULL; `id` may be NULL, too. */
static rl_err issue_after(fixture *f, rl_profile_id profile, const char *cn, const char *san, const rl_cert_id *renews,
                          rl_cert_id *id, rl_cert_record *record)
{
    rl_issued issued;
    X509_REQ *csr = make_csr(&(csr_spec){.key = ec, .cn = cn, {{san ? "subjectAltName" : NULL, san}}});
    const rl_issue_request r = {.profile = profile, .csr = csr, .requester = "admin", .renews = renews};
    rl_ca_on_issue(f->ca, weigh, NULL);
    rl_err err = rl_ca_issue(f->ca, &r, &issued, &f->e);
    if (err == RL_OK)
        assert_int_equal(rl_store_cert(f->store, &issued.id, record), RL_OK);
    if (id)
        *id = issued.id;
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
    return err;
}

static rl_err issue_bound(fixture *f, const char *cn, const char *san, rl_cert_record *record)
{
    return issue_after(f, RL_PROFILE_STATIC_AAD, cn, san, NULL, NULL, record);
}

static void assert_binding(const rl_cert_record *r, size_t i, rl_source source, const char *id)
{
    assert_true(i < r->bindings_n);
    assert_int_equal(r->bindings[i].source, source);
    assert_string_equal(r->bindings[i].id, id);
}

static void test_names_that_sync_has_not_seen_wait_for_it(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    rl_cert_id id;
    assert_ok(issue_bound(f, "{0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9}",
                          UPN_OTHER_NAME "Ada@Contoso.com,email:other@example", &r),
              &f->e);
    assert_int_equal(r.bindings_n, 2);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE);
    assert_binding(&r, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com");
    assert_int_equal(r.status, RL_STATUS_GOOD);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE, &id), RL_OK);
    rl_cert_clear(&r);
}

static void test_mail_address_names_the_user_when_there_is_no_upn(void **state)
{
    rl_cert_record r;
    assert_ok(issue_bound(*state, "Ada's laptop", "email:Ada@Contoso.com", &r), &((fixture *)*state)->e);
    assert_int_equal(r.bindings_n, 1);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com");
    rl_cert_clear(&r);
}

static void test_known_object_is_bound_by_its_id(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    store_object(f, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE, true, true, OBJECT);
    store_object(f, RL_SOURCE_ENTRA_DEVICE, OBJECT, true, true, NULL);
    assert_ok(issue_bound(f, DEVICE, NULL, &r), &f->e);
    assert_int_equal(r.bindings_n, 1);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE, OBJECT);
    assert_int_equal(r.status, RL_STATUS_GOOD);
    rl_cert_clear(&r);
}

static void test_the_common_name_may_be_the_id_of_a_managed_device(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    store_object(f, RL_SOURCE_INTUNE_DEVICE, DEVICE, true, true, NULL);
    assert_ok(issue_bound(f, DEVICE, UPN_OTHER_NAME "ada@contoso.com", &r), &f->e);
    assert_int_equal(r.bindings_n, 3);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE);
    assert_binding(&r, 1, RL_SOURCE_INTUNE_DEVICE, DEVICE);
    assert_binding(&r, 2, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com");
    rl_cert_clear(&r);
}

static void test_certificate_of_a_disabled_object_starts_on_hold(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    store_object(f, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE, true, true, OBJECT);
    store_object(f, RL_SOURCE_ENTRA_DEVICE, OBJECT, true, true, NULL);
    store_object(f, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com", true, true, "u-1");
    store_object(f, RL_SOURCE_ENTRA_USER, "u-1", true, false, NULL);
    assert_ok(issue_bound(f, DEVICE, UPN_OTHER_NAME "ada@contoso.com", &r), &f->e);
    assert_int_equal(r.bindings_n, 2);
    assert_binding(&r, 1, RL_SOURCE_ENTRA_USER, "u-1");
    assert_int_equal(r.why, RL_WHY_DISABLED);
    assert_int_equal(r.status, RL_STATUS_HOLD);
    assert_int_equal(r.reason, RL_REASON_HOLD);
    assert_int_equal(r.revoked_at, NOW);
    rl_cert_clear(&r);
}

static void test_deleted_object_gets_no_certificate(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    rl_cert_id id;
    store_object(f, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE, true, true, OBJECT);
    store_object(f, RL_SOURCE_ENTRA_DEVICE, OBJECT, false, false, NULL);
    assert_int_equal(issue_bound(f, DEVICE, UPN_OTHER_NAME "ada@contoso.com", &r), RL_EDENIED);
    assert_has(f->e.message, DEVICE);
    assert_has(f->e.message, "deleted");
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com", &id), RL_ENOTFOUND);
}

static void test_bound_profile_wants_one_name_to_bind_to(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    X509_REQ *csr;
    static const char *const no_guid[] = {
        "laptop",   "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fg", "{" DEVICE,
        DEVICE "}", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"};
    for (size_t i = 0; i < sizeof(no_guid) / sizeof(no_guid[0]); i++) {
        assert_int_equal(issue_bound(f, no_guid[i], "DNS:laptop.example", &r), RL_EINVAL);
        assert_has(f->e.message, "names no Entra object");
    }
    assert_int_equal(issue_bound(f, DEVICE, UPN_OTHER_NAME "a@b," UPN_OTHER_NAME "c@d", &r), RL_EINVAL);
    assert_int_equal(issue_bound(f, DEVICE, "email:a@b,email:c@d", &r), RL_EINVAL);
    csr_spec spec = {.key = ec, .cn = DEVICE};
    csr = make_csr(&spec);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8, (const unsigned char *)OBJECT, -1,
                               -1, 0);
    X509_REQ_sign(csr, ec, EVP_sha256());
    assert_refused_csr(f, RL_PROFILE_STATIC_AAD, csr, RL_EINVAL, "more than one");
    /* What is no device's id may stand beside it: CN={{DeviceId}},CN={{WiFiMacAddress}} */
    const char *const other[] = {"00:00:5e:00:53:01", "{" DEVICE "}"};
    for (size_t i = 0; i < 2; i++) {
        csr = make_csr(&spec);
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8, (const unsigned char *)other[i],
                                   -1, i ? -1 : 0, 0);
        X509_REQ_sign(csr, ec, EVP_sha256());
        rl_issue_request ask = {.profile = RL_PROFILE_STATIC_AAD, .csr = csr, .requester = "admin"};
        rl_issued issued;
        assert_ok(rl_ca_issue(f->ca, &ask, &issued, &f->e), &f->e);
        assert_ok(rl_store_cert(f->store, &issued.id, &r), &f->e);
        assert_int_equal(r.bindings_n, 1);
        assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE);
        rl_cert_clear(&r);
        rl_issued_clear(&issued);
        X509_REQ_free(csr);
    }
}

/* As Intune's profiles have it where the subject is the device's name. */
static void test_a_device_is_named_by_its_intune_uri(void **state)
{
    fixture *f = *state;
    rl_cert_record r;
    static const char *const uris[] = {
        "URI:IntuneDeviceId://" DEVICE, "URI:intunedeviceid://" DEVICE "/",
        "DNS:laptop.example,URI:https://laptop.example/,URI:IntuneDeviceId://0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9"};
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        assert_ok(issue_bound(f, "laptop", uris[i], &r), &f->e);
        assert_int_equal(r.bindings_n, 1);
        assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE_NAME, DEVICE);
        rl_cert_clear(&r);
    }
    store_object(f, RL_SOURCE_INTUNE_DEVICE, DEVICE, true, true, NULL);
    assert_ok(issue_bound(f, "laptop", uris[0], &r), &f->e);
    assert_int_equal(r.bindings_n, 2);
    assert_binding(&r, 1, RL_SOURCE_INTUNE_DEVICE, DEVICE);
    rl_cert_clear(&r);
    static const char *const wrong[] = {"URI:IntuneDeviceId://laptop", "URI:https://" DEVICE,
                                        "URI:IntuneDeviceId://" DEVICE DEVICE,
                                        "URI:IntuneDeviceId://" DEVICE ",URI:IntuneDeviceId://" OBJECT};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(issue_bound(f, "laptop", wrong[i], &r), RL_EINVAL);
    assert_has(f->e.message, "more than one device");
    /* What has a name of its own to be bound by is bound by that. */
    assert_ok(issue_bound(f, OBJECT, uris[0], &r), &f->e);
    assert_int_equal(r.bindings_n, 1);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_DEVICE_NAME, OBJECT);
    rl_cert_clear(&r);
    assert_ok(issue_bound(f, "Ada", UPN_OTHER_NAME "ada@contoso.com,URI:IntuneDeviceId://" DEVICE, &r), &f->e);
    assert_int_equal(r.bindings_n, 1);
    assert_binding(&r, 0, RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com");
    rl_cert_clear(&r);
}

/* ---- validity ---- */
/* Under a type of its own, since OpenSSL adds no type twice: 1.3.6.1.4.1.311.13.2.`last`. */
static void add_pair(X509_REQ *csr, const char *last, const char *name, const char *value)
{
    char type[40];
    unsigned char der[128] = {0x30, 0};
    const char *const text[] = {name, value};
    size_t n = 2;
    for (size_t i = 0; i < 2; i++) {
        der[n++] = V_ASN1_BMPSTRING;
        der[n++] = (unsigned char)(2 * strlen(text[i]));
        for (const char *c = text[i]; *c; c++) {
            der[n++] = 0;
            der[n++] = (unsigned char)*c;
        }
    }
    der[1] = (unsigned char)(n - 2);
    snprintf(type, sizeof(type), "1.3.6.1.4.1.311.13.2.%s", last);
    assert_int_equal(X509_REQ_add1_attr_by_txt(csr, type, V_ASN1_SEQUENCE, der, (int)n), 1);
}

/* As Windows has it: all of one type. */
static X509_REQ *of_one_type(X509_REQ *csr)
{
    static const unsigned char type[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0d, 0x02};
    unsigned char *der = NULL, *at;
    int n = i2d_X509_REQ(csr, &der);
    assert_true(n > 0);
    for (at = der; (at = memmem(at, (size_t)(der + n - at), type, sizeof(type))) != NULL; at += sizeof(type))
        at[sizeof(type)] = 1;
    const unsigned char *p = der;
    X509_REQ_free(csr);
    csr = d2i_X509_REQ(NULL, &p, n);
    assert_non_null(csr);
    OPENSSL_free(der);
    X509_REQ_sign(csr, ec, EVP_sha256());
    return csr;
}

static int64_t end_when_asked(fixture *f, const char *unit, const char *n, rl_duration by_admin)
{
    X509_REQ *csr = make_csr(&(csr_spec){.key = ec, .cn = "asks"});
    rl_issued issued;
    rl_cert_record r;
    add_pair(csr, "11", "CertificateTemplate", "User");
    if (unit)
        add_pair(csr, "12", "ValidityPeriod", unit);
    if (n)
        add_pair(csr, "13", "ValidityPeriodUnits", n);
    csr = of_one_type(csr);
    const rl_issue_request ask = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep", .validity = by_admin};
    assert_ok(rl_ca_issue(f->ca, &ask, &issued, &f->e), &f->e);
    assert_ok(rl_store_cert(f->store, &issued.id, &r), &f->e);
    const int64_t end = r.not_after;
    rl_cert_clear(&r);
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
    return end;
}

/* What Intune's profile says, a Windows device asks for; the setting is the ceiling. */
static void test_a_request_may_ask_for_less_time(void **state)
{
    enum { CEILING = 90 * DAY };
    static const struct {
        const char *unit, *n;
        int64_t seconds;
    } all[] = {{"Days", "30", 30 * DAY},     {"days", "1", DAY},      {"Weeks", "2", 14 * DAY},
               {"Hours", "5", 5 * 3600},     {"Days", "91", CEILING}, {"Years", "99999", CEILING},
               {"Days", "0", CEILING},       {"Days", "-1", CEILING}, {"Days", "100000", CEILING},
               {"Fortnights", "1", CEILING}, {"Days", NULL, CEILING}, {NULL, "1", CEILING}};
    fixture *f = *state;
    f->settings.scep.profiles[RL_ENROLL_STATIC].validity = (rl_duration)CEILING * 1000;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (end_when_asked(f, all[i].unit, all[i].n, 0) != NOW + all[i].seconds)
            fail_msg("%s %s", all[i].n ? all[i].n : "-", all[i].unit ? all[i].unit : "-");
    assert_in_range(end_when_asked(f, "Months", "1", 0), NOW + 28 * DAY, NOW + 31 * DAY);
    assert_int_equal(end_when_asked(f, "Days", "30", 2 * DAY * 1000), NOW + 2 * DAY);
}

/* ---- renewal ---- */
#define ADA "ada@contoso.com"

static rl_err delete_name(rl_store_txn *t, void *name, rl_error *e)
{
    (void)e;
    return rl_txn_delete_object(t, RL_SOURCE_ENTRA_USER_NAME, name);
}

static void expect_renewed(fixture *f, rl_profile_id profile, const rl_cert_id *old, rl_source source, const char *id)
{
    rl_cert_record r;
    assert_ok(issue_after(f, profile, "Ada", UPN_OTHER_NAME ADA, old, NULL, &r), &f->e);
    assert_int_equal(r.bindings_n, 1);
    assert_binding(&r, 0, source, id);
    rl_cert_clear(&r);
}

/* Names are given again to others, and the one who had it keeps a certificate with it to its end. */
static void test_a_renewal_is_of_the_same_object(void **state)
{
    fixture *f = *state;
    rl_cert_id old;
    rl_cert_record r;
    store_object(f, RL_SOURCE_ENTRA_USER_NAME, ADA, true, true, "u-1");
    assert_ok(issue_after(f, RL_PROFILE_STATIC_AAD, "Ada", UPN_OTHER_NAME ADA, NULL, &old, &r), &f->e);
    rl_cert_clear(&r);
    expect_renewed(f, RL_PROFILE_STATIC_AAD, &old, RL_SOURCE_ENTRA_USER, "u-1");
    expect_renewed(f, RL_PROFILE_STATIC, &old, RL_SOURCE_ENTRA_USER, "u-1"); /* a profile that binds to nothing */

    store_object(f, RL_SOURCE_ENTRA_USER_NAME, ADA, true, true, "u-2");
    assert_int_equal(issue_after(f, RL_PROFILE_STATIC_AAD, "Ada", UPN_OTHER_NAME ADA, &old, NULL, &r), RL_EDENIED);
    assert_has(f->e.message, "no longer its holder's");
    assert_ok(rl_store_run(f->store, delete_name, (void *)ADA, &f->e), &f->e);
    assert_int_equal(issue_after(f, RL_PROFILE_STATIC_AAD, "Ada", UPN_OTHER_NAME ADA, &old, NULL, &r), RL_EDENIED);
    assert_has(f->e.message, "no longer its holder's");
}

static void test_a_renewal_finds_what_the_certificate_has_waited_for(void **state)
{
    fixture *f = *state;
    rl_cert_id old;
    rl_cert_record r;
    assert_ok(issue_after(f, RL_PROFILE_STATIC_AAD, "Ada", UPN_OTHER_NAME ADA, NULL, &old, &r), &f->e);
    rl_cert_clear(&r);
    expect_renewed(f, RL_PROFILE_STATIC_AAD, &old, RL_SOURCE_ENTRA_USER_NAME, ADA);
    expect_renewed(f, RL_PROFILE_STATIC, &old, RL_SOURCE_ENTRA_USER_NAME, ADA);
    store_object(f, RL_SOURCE_ENTRA_USER_NAME, ADA, true, true, "u-1");
    expect_renewed(f, RL_PROFILE_STATIC_AAD, &old, RL_SOURCE_ENTRA_USER, "u-1");
}

static rl_err hold(rl_store_txn *t, void *id, rl_error *e)
{
    return rl_txn_revoke(t, id, RL_REASON_HOLD, NOW, "test", e);
}

/* Revoked between the look at it and the transaction. */
static void test_what_is_good_no_more_renews_nothing(void **state)
{
    fixture *f = *state;
    rl_cert_id old;
    rl_cert_record r;
    assert_ok(issue_after(f, RL_PROFILE_STATIC, "host", NULL, NULL, &old, &r), &f->e);
    rl_cert_clear(&r);
    assert_ok(rl_store_run(f->store, hold, &old, &f->e), &f->e);
    assert_int_equal(issue_after(f, RL_PROFILE_STATIC, "host", NULL, &old, NULL, &r), RL_EDENIED);
    assert_has(f->e.message, "not good any more");
    old.serial[0] ^= 1;
    assert_int_equal(issue_after(f, RL_PROFILE_STATIC, "host", NULL, &old, NULL, &r), RL_EDENIED);
}

/* The grace of a device that nobody knows is counted from there. */
static void test_a_renewal_says_when_the_first_of_its_row_was_issued(void **state)
{
    fixture *f = *state;
    rl_cert_id first, second, third;
    rl_cert_record r;
    assert_ok(issue_after(f, RL_PROFILE_STATIC_AAD, DEVICE, NULL, NULL, &first, &r), &f->e);
    assert_int_equal(r.first_issued_at, 0);
    assert_int_equal(rl_cert_first_issued(&r), NOW);
    rl_cert_clear(&r);
    rl_cert_id *const row[] = {&first, &second, &third};
    for (int i = 0; i < 2; i++) {
        standing_now += DAY;
        assert_ok(issue_after(f, RL_PROFILE_STATIC_AAD, DEVICE, NULL, row[i], row[i + 1], &r), &f->e);
        assert_int_equal(r.first_issued_at, NOW);
        assert_int_equal(r.issued_at, NOW + (i + 1) * DAY);
        rl_cert_clear(&r);
    }
}

static rl_err compromise(rl_store_txn *t, void *id, rl_error *e)
{
    return rl_txn_revoke(t, id, RL_REASON_KEY_COMPROMISE, NOW, "test", e);
}

/* Who has stolen the key has all of its certificates. */
static void test_a_compromised_key_renews_none_of_its_certificates(void **state)
{
    fixture *f = *state;
    rl_cert_id old, stolen;
    rl_cert_record r;
    rl_issued out;
    X509_REQ *csr = make_csr(&(csr_spec){.key = rsa, .cn = "host"});
    assert_ok(issue_after(f, RL_PROFILE_STATIC, "host", NULL, NULL, &old, &r), &f->e);
    rl_cert_clear(&r);
    assert_ok(issue_after(f, RL_PROFILE_STATIC, "other", NULL, NULL, &stolen, &r), &f->e);
    rl_cert_clear(&r);
    const rl_issue_request renewal = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep", .renews = &old};
    assert_ok(rl_ca_issue(f->ca, &renewal, &out, &f->e), &f->e);
    rl_issued_clear(&out);
    assert_ok(rl_store_run(f->store, compromise, &stolen, &f->e), &f->e);
    assert_int_equal(rl_ca_issue(f->ca, &renewal, &out, &f->e), RL_EDENIED);
    assert_has(f->e.message, "was compromised");
    X509_REQ_free(csr);
}

/* ---- transactions ---- */
static void test_transaction_gets_one_certificate_however_often_it_asks(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = ec, .cn = "device"};
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep", .transaction = "0123ABCD"};
    rl_issued first, again, after, other;
    assert_ok(rl_ca_issue(f->ca, &r, &first, &f->e), &f->e);
    assert_false(first.repeated);
    assert_ok(rl_ca_issue(f->ca, &r, &again, &f->e), &f->e);
    assert_true(again.repeated);
    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    assert_ok(rl_ca_issue(f->ca, &r, &after, &f->e), &f->e);
    assert_true(after.repeated);
    assert_true(rl_span_eq(rl_span_of(first.der, first.der_n), rl_span_of(again.der, again.der_n)));
    assert_true(rl_span_eq(rl_span_of(first.der, first.der_n), rl_span_of(after.der, after.der_n)));
    assert_int_equal(first.id.serial_n, after.id.serial_n);
    assert_memory_equal(first.id.serial, after.id.serial, first.id.serial_n);
    r.transaction = "0123ABCE";
    assert_ok(rl_ca_issue(f->ca, &r, &other, &f->e), &f->e);
    assert_false(other.repeated);
    rl_issued_clear(&first);
    rl_issued_clear(&again);
    rl_issued_clear(&after);
    rl_issued_clear(&other);
    X509_REQ_free(csr);
}

static void test_transaction_names_are_checked(void **state)
{
    fixture *f = *state;
    char longest[RL_OBJECT_ID_MAX + 2];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    const char *bad[] = {"", "\x01scep-ra", "caf\xc3\xa9", "a\n", longest};
    csr_spec spec = {.key = ec, .cn = "device"};
    X509_REQ *csr = make_csr(&spec);
    rl_issued issued;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rl_issue_request r = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep", .transaction = bad[i]};
        assert_int_equal(rl_ca_issue(f->ca, &r, &issued, &f->e), RL_EINVAL);
    }
    X509_REQ_free(csr);
}

enum { THREADS = 8, ROUNDS = 4 };
struct racer {
    fixture *f;
    pthread_barrier_t *start;
    rl_issued issued[ROUNDS];
    rl_err err;
    rl_error e;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    csr_spec spec = {.key = ec, .cn = "racer"};
    X509_REQ *csr = make_csr(&spec);
    for (int i = 0; i < ROUNDS && r->err == RL_OK; i++) {
        char transaction[16];
        snprintf(transaction, sizeof(transaction), "race-%d", i);
        rl_issue_request request = {
            .profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep", .transaction = transaction};
        pthread_barrier_wait(r->start);
        r->err = rl_ca_issue(r->f->ca, &request, &r->issued[i], &r->e);
    }
    X509_REQ_free(csr);
    return NULL;
}

static bool count_one(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    (void)id;
    *(int *)ctx += strcmp(r->subject, "CN=racer") == 0;
    return true;
}

static void test_racing_threads_of_one_transaction_get_the_same_certificate(void **state)
{
    fixture *f = *state;
    pthread_barrier_t start;
    pthread_t threads[THREADS];
    static struct racer racers[THREADS];
    int certificates = 0;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.f = f, .start = &start};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int round = 0; round < ROUNDS; round++) {
        int fresh = 0;
        for (int i = 0; i < THREADS; i++) {
            assert_ok(racers[i].err, &racers[i].e);
            fresh += !racers[i].issued[round].repeated;
            assert_true(rl_span_eq(rl_span_of(racers[i].issued[round].der, racers[i].issued[round].der_n),
                                   rl_span_of(racers[0].issued[round].der, racers[0].issued[round].der_n)));
        }
        assert_int_equal(fresh, 1);
    }
    for (int i = 0; i < THREADS; i++)
        for (int round = 0; round < ROUNDS; round++)
            rl_issued_clear(&racers[i].issued[round]);
    assert_int_equal(rl_store_each_cert(f->store, NULL, count_one, &certificates), RL_OK);
    assert_int_equal(certificates, ROUNDS);
    pthread_barrier_destroy(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        WITH(test_server_certificate_field_by_field),
        WITH(test_client_certificate_of_an_ec_key_enciphers_nothing),
        WITH(test_subject_stays_as_it_was_asked_for),
        WITH(test_empty_subject_makes_the_alternative_names_critical),
        WITH(test_device_gets_the_usages_it_asks_for_within_the_ceiling),
        WITH(test_forbidden_usages_alone_leave_the_defaults),
        WITH(test_record_says_what_was_issued),
        WITH(test_serials_are_128_random_bits),
        WITH(test_validity_is_the_least_of_asked_profile_setting_and_issuer),
        WITH(test_expired_root_issues_nothing),
        WITH(test_no_certificate_of_a_time_before_the_root),
        WITH(test_times_after_2049_are_generalized),
        WITH(test_profiles_of_the_ca_itself_are_not_for_requests),
        WITH(test_profiles_are_found_by_name),
        WITH(test_names_that_sync_has_not_seen_wait_for_it),
        WITH(test_mail_address_names_the_user_when_there_is_no_upn),
        WITH(test_known_object_is_bound_by_its_id),
        WITH(test_the_common_name_may_be_the_id_of_a_managed_device),
        WITH(test_certificate_of_a_disabled_object_starts_on_hold),
        WITH(test_deleted_object_gets_no_certificate),
        WITH(test_bound_profile_wants_one_name_to_bind_to),
        WITH(test_a_device_is_named_by_its_intune_uri),
        WITH(test_a_request_may_ask_for_less_time),
        WITH(test_a_renewal_is_of_the_same_object),
        WITH(test_a_renewal_finds_what_the_certificate_has_waited_for),
        WITH(test_what_is_good_no_more_renews_nothing),
        WITH(test_a_renewal_says_when_the_first_of_its_row_was_issued),
        WITH(test_a_compromised_key_renews_none_of_its_certificates),
        WITH(test_transaction_gets_one_certificate_however_often_it_asks),
        WITH(test_transaction_names_are_checked),
        WITH(test_racing_threads_of_one_transaction_get_the_same_certificate),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
