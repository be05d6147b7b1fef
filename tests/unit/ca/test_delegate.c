/* Responder certificates that foreign CAs give us: the request, what is taken, what is refused. The CA is openssl. */
#include <sys/stat.h>

#include "foreign.h"

#define RESPONDER "extendedKeyUsage=OCSPSigning\\nnoCheck=ignored\\nkeyUsage=digitalSignature\\n"

static void open_with_foreign(fixture *f)
{
    rl_ca_imported got;
    fixture_open(f, RL_KEY_EC_P256);
    rl_clock_set(NULL); /* openssl makes certificates from the real time on */
    make_foreign_ca(f, "Other");
    assert_ok(import_one(f, "Other.pem", &got), &f->e);
    assert_int_equal(got.issuer->id, 2);
}

static void write_request(fixture *f, const char *name)
{
    char path[128], *pem;
    assert_ok(rl_ca_delegate_request(f->ca, rl_ca_by_id(f->ca, 2), &pem, &f->e), &f->e);
    path_in(f, name, path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(pem, out);
    fclose(out);
    free(pem);
}

/* delegate.pem from delegate.csr, signed by `ca`, with the lines of an extension file and options of openssl x509. */
static void sign_request(const fixture *f, const char *ca, const char *extensions, const char *options)
{
    char command[512];
    snprintf(command, sizeof(command),
             "printf '%%b' '%s' > d.ext; openssl x509 -req -in delegate.csr -CA %s.pem -CAkey %s.key -CAcreateserial "
             "-extfile d.ext %s -out delegate.pem",
             extensions, ca, ca, options);
    run(f, command);
}

static rl_err install(fixture *f, const rl_issuer **issuer)
{
    X509 *cert = read_pem(f, "delegate.pem");
    rl_err err = rl_ca_delegate_install(f->ca, cert, rl_wall_s(), issuer, &f->e);
    X509_free(cert);
    return err;
}

static void the_request_asks_for_what_a_responder_needs(void **state)
{
    (void)state;
    fixture f;
    struct stat st;
    char path[128];
    open_with_foreign(&f);
    write_request(&f, "delegate.csr");
    const char *text = run(&f, "openssl req -in delegate.csr -noout -text -verify");
    assert_has(text, "verify OK");
    assert_has(text, "Subject: CN = Revline OCSP for Other");
    assert_has(text, "OCSP Signing");
    assert_has(text, "OCSP No Check");
    assert_has(text, "Digital Signature");
    path_in(&f, "ocsp-2.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fixture_close(&f);
}

static void a_request_that_is_repeated_is_for_the_same_key(void **state)
{
    (void)state;
    fixture f;
    open_with_foreign(&f);
    write_request(&f, "first.csr");
    fixture_restart(&f);
    assert_ok(rl_ca_open(f.store, &f.settings, &f.ca, &f.e), &f.e);
    write_request(&f, "second.csr");
    run(&f, "openssl req -in first.csr -noout -pubkey > first; openssl req -in second.csr -noout -pubkey | cmp first");
    fixture_close(&f);
}

static void the_key_is_of_the_issuers_kind_unless_the_settings_say(void **state)
{
    (void)state;
    fixture f;
    open_with_foreign(&f);
    f.settings.ocsp.key = RL_KEY_RSA2048;
    write_request(&f, "delegate.csr");
    assert_has(run(&f, "openssl req -in delegate.csr -noout -text"), "Public-Key: (2048 bit)");
    fixture_close(&f);
}

static void an_installed_certificate_is_there_after_a_restart(void **state)
{
    (void)state;
    fixture f;
    const rl_issuer *issuer;
    X509 *cert;
    rl_signer *signer;
    open_with_foreign(&f);
    assert_int_equal(rl_ca_delegate_load(f.ca, rl_ca_by_id(f.ca, 2), &cert, &signer, &f.e), RL_ENOTFOUND);
    write_request(&f, "delegate.csr");
    sign_request(&f, "Other", RESPONDER, "-days 30");
    assert_ok(install(&f, &issuer), &f.e);
    assert_int_equal(issuer->id, 2);
    fixture_restart(&f);
    assert_ok(rl_ca_open(f.store, &f.settings, &f.ca, &f.e), &f.e);
    assert_ok(rl_ca_delegate_load(f.ca, rl_ca_by_id(f.ca, 2), &cert, &signer, &f.e), &f.e);
    X509 *expected = read_pem(&f, "delegate.pem");
    assert_int_equal(X509_cmp(cert, expected), 0);
    assert_int_equal(X509_check_private_key(cert, rl_signer_pkey(signer)), 1);
    X509_free(expected);
    X509_free(cert);
    rl_signer_free(signer);
    fixture_close(&f);
}

static void assert_refused(fixture *f, rl_err expected, const char *words)
{
    const rl_issuer *issuer;
    X509 *cert;
    rl_signer *signer;
    assert_int_equal(install(f, &issuer), expected);
    assert_has(f->e.message, words);
    assert_int_equal(rl_ca_delegate_load(f->ca, rl_ca_by_id(f->ca, 2), &cert, &signer, &f->e), RL_ENOTFOUND);
}

static void a_certificate_that_gives_no_right_to_answer_is_refused(void **state)
{
    (void)state;
    fixture f;
    open_with_foreign(&f);
    write_request(&f, "delegate.csr");
    sign_request(&f, "Other", "extendedKeyUsage=clientAuth\\n", "-days 30");
    assert_refused(&f, RL_EINVAL, "OCSPSigning");
    sign_request(&f, "Other", "", "-days 30"); /* RFC 6960 §4.2.2.2: the usage MUST be there */
    assert_refused(&f, RL_EINVAL, "OCSPSigning");
    sign_request(&f, "Other", "extendedKeyUsage=OCSPSigning\\nkeyUsage=keyEncipherment\\n", "-days 30");
    assert_refused(&f, RL_EINVAL, "key usage");
    sign_request(&f, "Other", RESPONDER, "-days -1");
    assert_refused(&f, RL_EINVAL, "expired");
    make_foreign_ca(&f, "Third");
    sign_request(&f, "Third", RESPONDER, "-days 30");
    assert_refused(&f, RL_ENOTFOUND, "no CA known");
    fixture_close(&f);
}

static void a_certificate_for_another_key_is_refused(void **state)
{
    (void)state;
    fixture f;
    open_with_foreign(&f);
    run(&f, "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.key -subj /CN=x "
            "-out delegate.csr");
    sign_request(&f, "Other", RESPONDER, "-days 30");
    assert_refused(&f, RL_ENOTFOUND, "ocsp csr");
    write_request(&f, "own.csr");
    assert_refused(&f, RL_EINVAL, "another key");
    fixture_close(&f);
}

static void our_own_issuer_needs_none(void **state)
{
    (void)state;
    fixture f;
    char *pem;
    open_with_foreign(&f);
    assert_int_equal(rl_ca_delegate_request(f.ca, rl_ca_issuer(f.ca), &pem, &f.e), RL_EINVAL);
    write_request(&f, "delegate.csr");
    write_pem(&f, "own.pem", rl_ca_issuer(f.ca)->cert);
    run(&f, "cp ca-1.key own.key");
    sign_request(&f, "own", RESPONDER, "-days 30");
    assert_refused(&f, RL_EINVAL, "our own");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_asks_for_what_a_responder_needs),
        cmocka_unit_test(a_request_that_is_repeated_is_for_the_same_key),
        cmocka_unit_test(the_key_is_of_the_issuers_kind_unless_the_settings_say),
        cmocka_unit_test(an_installed_certificate_is_there_after_a_restart),
        cmocka_unit_test(a_certificate_that_gives_no_right_to_answer_is_refused),
        cmocka_unit_test(a_certificate_for_another_key_is_refused),
        cmocka_unit_test(our_own_issuer_needs_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
