/* The CA below another one: the request, the chain that is taken, what is refused. The other CA is openssl. */
#include <sys/stat.h>

#include "foreign.h"

#define CA_EXTENSIONS "basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign,cRLSign\\n"
#define SIGN          "openssl x509 -req -CAcreateserial -days 365 -in ca.csr "

static rl_err ask_for(fixture *f, const rl_ca_ask *what)
{
    char path[128], *pem = NULL;
    rl_err err = rl_ca_ask_for(f->store, &f->settings, what, &pem, &f->e);
    if (err == RL_OK) {
        path_in(f, "ca.csr", path);
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs(pem, out);
        fclose(out);
        free(pem);
    }
    return err;
}

static rl_err ask(fixture *f, const char *subject)
{
    return ask_for(f, &(rl_ca_ask){.subject = subject, .key = RL_KEY_AUTO});
}

static rl_err ask_again(fixture *f, const char *subject)
{
    return ask_for(f, &(rl_ca_ask){.subject = subject, .key = RL_KEY_AUTO, .roll_over = true});
}

/* A folder without a CA, in which Top is another's root, and a request waits. */
static void fixture_ask(fixture *f, rl_key_type key)
{
    fixture_prepare(f, key);
    rl_clock_set(NULL); /* openssl makes certificates from the real time on */
    make_foreign_ca(f, "Top");
    assert_ok(ask(f, "CN=Issuing"), &f->e);
}

/* int.pem, by Top. */
static void sign(const fixture *f, const char *extensions)
{
    char command[512];
    snprintf(command, sizeof(command),
             "printf '%%b' '%s' > int.ext; " SIGN "-CA Top.pem -CAkey Top.key -extfile int.ext "
             "-out int.pem",
             extensions);
    run(f, command);
}

static rl_err take(fixture *f, const char *const *names)
{
    X509 *certs[8];
    size_t n = 0;
    for (; names[n]; n++)
        certs[n] = read_pem(f, names[n]);
    rl_err err = rl_ca_take_chain(f->store, &f->settings, certs, n, &f->e);
    while (n > 0)
        X509_free(certs[--n]);
    return err;
}
#define TAKE(f, ...) take(f, (const char *const[]){__VA_ARGS__, NULL})

static void open_ca(fixture *f)
{
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
}

static bool is_there(const fixture *f, const char *name)
{
    char path[128];
    path_in(f, name, path);
    return access(path, F_OK) == 0;
}

/* ---- the request ---- */
static void the_request_asks_for_a_ca_certificate(void **state)
{
    (void)state;
    static const struct {
        rl_key_type key;
        const char *usage;
    } kinds[] = {{RL_KEY_EC_P256, "Digital Signature, Certificate Sign, CRL Sign"},
                 {RL_KEY_RSA2048, "Digital Signature, Key Encipherment, Certificate Sign, CRL Sign"}};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        fixture_ask(&f, kinds[i].key);
        const char *text = run(&f, "openssl req -in ca.csr -noout -verify -text");
        assert_has(text, "verify OK");
        assert_has(text, "Subject: CN = Issuing\n");
        assert_has(text, "CA:TRUE");
        assert_has(text, kinds[i].usage);
        run(&f, "test $(stat -c %a ca-1.key) = 600 && test $(stat -c %a ca-1.csr) = 600");
        fixture_close(&f);
    }
}

static void asked_again_it_is_the_same_key(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    run(&f, "openssl req -in ca.csr -noout -pubkey > first.pub");
    fixture_restart(&f);
    f.settings.ca.key = RL_KEY_RSA2048; /* what the settings say now is for another one */
    assert_ok(ask(&f, NULL), &f.e);
    assert_has(
        run(&f, "openssl req -in ca.csr -noout -subject; openssl req -in ca.csr -noout -pubkey | cmp - first.pub"),
        "subject=CN = Issuing\n");
    assert_ok(ask_for(&f, &(rl_ca_ask){.subject = "CN=Other", .key = RL_KEY_EC_P256}), &f.e);
    assert_has(
        run(&f, "openssl req -in ca.csr -noout -subject; openssl req -in ca.csr -noout -pubkey | cmp - first.pub"),
        "subject=CN = Other\n");
    assert_int_equal(ask_for(&f, &(rl_ca_ask){.key = RL_KEY_RSA2048}), RL_EEXISTS);
    assert_has(f.e.message, "is ec-p256");
    fixture_close(&f);
}

static void without_a_subject_it_says_no_root(void **state)
{
    (void)state;
    fixture f;
    fixture_prepare(&f, RL_KEY_EC_P256);
    f.settings.ca.subject = f.defaults.ca.subject;
    assert_ok(ask(&f, NULL), &f.e);
    assert_has(run(&f, "openssl req -in ca.csr -noout -subject"), "subject=CN = Revline Intermediate CA\n");
    fixture_close(&f);
}

static void no_root_is_made_while_it_waits(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    assert_int_equal(rl_ca_open(f.store, &f.settings, &f.ca, &f.e), RL_ENOTFOUND);
    assert_int_equal(rl_ca_init(f.store, &f.settings, &f.e), RL_EEXISTS);
    assert_has(f.e.message, "ca-1.csr");
    assert_has(f.e.message, "--chain");
    fixture_close(&f);
}

static void there_is_one_ca_in_a_folder(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, RL_KEY_EC_P256);
    assert_int_equal(ask(&f, NULL), RL_EEXISTS);
    assert_false(is_there(&f, "ca-2.key") || is_there(&f, "ca-2.csr"));
    fixture_close(&f);
    fixture_prepare(&f, RL_KEY_EC_P256);
    assert_int_equal(ask_again(&f, NULL), RL_ENOTFOUND);
    assert_false(is_there(&f, "ca-1.key") || is_there(&f, "ca-1.csr"));
    fixture_close(&f);
}

/* ---- the chain ---- */
static X509 *a_host(fixture *f)
{
    rl_issued issued;
    csr_spec spec = {.key = EVP_EC_gen("P-256"), .cn = "host"};
    rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = make_csr(&spec), .requester = "test"};
    assert_ok(rl_ca_issue(f->ca, &r, &issued, &f->e), &f->e);
    X509 *cert = decode(issued.der, issued.der_n);
    rl_issued_clear(&issued);
    X509_REQ_free(r.csr);
    EVP_PKEY_free(spec.key);
    return cert;
}

static void it_issues_below_the_other_ca(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, CA_EXTENSIONS "subjectKeyIdentifier=hash\\n");
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    assert_false(is_there(&f, "ca-1.csr"));
    fixture_restart(&f);
    open_ca(&f);
    assert_int_equal(rl_ca_issuers(f.ca), 2);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 1);
    assert_null(rl_ca_by_id(f.ca, 2)->signer);
    rl_span chain[RL_CA_CHAIN_MAX];
    assert_int_equal(rl_ca_chain(f.ca, rl_ca_issuer(f.ca), chain), 2);
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    run(&f, "openssl verify -x509_strict -CAfile Top.pem -untrusted int.pem host.pem");
    assert_has(run(&f, "openssl x509 -in host.pem -noout -ext authorityInfoAccess"), "/ca/1.cer");
    X509_free(host);
    assert_int_equal(TAKE(&f, "int.pem", "Top.pem"), RL_ENOTFOUND);
    assert_int_equal(ask(&f, NULL), RL_EEXISTS);
    fixture_close(&f);
}

/* A CA that makes certificates without a key identifier, and with an RSA key that may not decipher. */
static void a_bare_certificate_does(void **state)
{
    (void)state;
    fixture f;
    X509 *recipient;
    rl_signer *signer;
    fixture_ask(&f, RL_KEY_RSA2048);
    sign(&f, CA_EXTENSIONS "subjectKeyIdentifier=none\\nauthorityKeyIdentifier=none\\n");
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    open_ca(&f);
    assert_null(X509_get0_subject_key_id(rl_ca_issuer(f.ca)->cert));
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    run(&f, "openssl verify -CAfile Top.pem -untrusted int.pem host.pem");
    assert_non_null(X509_get0_authority_key_id(host));
    rl_ca_scep_identity(f.ca, &recipient, &signer);
    assert_true(X509_get_key_usage(recipient) & KU_KEY_ENCIPHERMENT);
    X509_free(host);
    fixture_close(&f);
}

static void the_order_and_what_does_not_belong_to_it_do_not_matter(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    make_foreign_ca(&f, "Stranger");
    make_foreign_cert(&f, "Top", "Policy", CA_EXTENSIONS);
    run(&f,
        "printf '" CA_EXTENSIONS "' > int.ext; " SIGN "-CA Policy.pem -CAkey Policy.key -extfile int.ext -out int.pem");
    assert_ok(TAKE(&f, "Stranger.pem", "Top.pem", "int.pem", "Policy.pem", "int.pem"), &f.e);
    open_ca(&f);
    assert_int_equal(rl_ca_issuers(f.ca), 3);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 1);
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    run(&f, "cat int.pem Policy.pem > above.pem; openssl verify -CAfile Top.pem -untrusted above.pem host.pem");
    X509_free(host);
    fixture_close(&f);
}

static void a_chain_may_end_below_the_root(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    make_foreign_cert(&f, "Top", "Policy", CA_EXTENSIONS);
    run(&f,
        "printf '" CA_EXTENSIONS "' > int.ext; " SIGN "-CA Policy.pem -CAkey Policy.key -extfile int.ext -out int.pem");
    assert_ok(TAKE(&f, "int.pem", "Policy.pem"), &f.e);
    open_ca(&f);
    assert_int_equal(rl_ca_issuers(f.ca), 2);
    fixture_close(&f);
}

/* Nothing of a chain that is refused is kept, and the request still waits. */
static void refused(fixture *f, rl_err err, const char *why)
{
    assert_int_equal(err, RL_EINVAL);
    assert_has(f->e.message, why);
    assert_true(is_there(f, "ca-1.csr"));
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), RL_ENOTFOUND);
}

static void what_is_no_chain_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    make_foreign_ca(&f, "Other");
    make_foreign_cert(&f, "Top", "Policy", CA_EXTENSIONS);
    refused(&f, TAKE(&f, "Policy.pem", "Top.pem"), "is for the key");
    sign(&f, CA_EXTENSIONS);
    refused(&f, TAKE(&f, "int.pem"), "is missing");
    refused(&f, TAKE(&f, "int.pem", "Other.pem"), "is missing");
    /* of the same name, with another key */
    run(&f, "mkdir twin; cd twin; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj "
            "/CN=Top -addext keyUsage=critical,keyCertSign -out Top.pem");
    refused(&f, TAKE(&f, "int.pem", "twin/Top.pem"), "is missing");
    assert_ok(TAKE(&f, "int.pem", "twin/Top.pem", "Top.pem"), &f.e);
    fixture_close(&f);
}

static void a_certificate_that_cannot_issue_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, "basicConstraints=critical,CA:FALSE\\n");
    refused(&f, TAKE(&f, "int.pem", "Top.pem"), "CA:TRUE");
    sign(&f, "basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,cRLSign\\n");
    refused(&f, TAKE(&f, "int.pem", "Top.pem"), "keyCertSign");
    run(&f, "openssl x509 -req -in ca.csr -key ca-1.key -days 9 -extfile int.ext -out self.pem");
    refused(&f, TAKE(&f, "self.pem", "Top.pem"), "its own issuer");
    fixture_close(&f);
}

static void a_chain_that_no_client_would_believe_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, CA_EXTENSIONS);
    run(&f,
        "openssl x509 -req -in ca.csr -CA Top.pem -CAkey Top.key -set_serial 7 -days -1 -extfile int.ext -out old.pem");
    refused(&f, TAKE(&f, "old.pem", "Top.pem"), "expired");
    /* the signer may not have a CA below it, or is none itself */
    make_foreign_cert(&f, "Top", "Shut", "basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=keyCertSign\\n");
    run(&f, SIGN "-CA Shut.pem -CAkey Shut.key -extfile int.ext -out below.pem");
    refused(&f, TAKE(&f, "below.pem", "Shut.pem", "Top.pem"), "pathlen");
    make_foreign_cert(&f, "Top", "Leaf", "basicConstraints=critical,CA:FALSE\\n");
    run(&f, SIGN "-CA Leaf.pem -CAkey Leaf.key -extfile int.ext -out below.pem");
    refused(&f, TAKE(&f, "below.pem", "Leaf.pem", "Top.pem"), "the chain does not hold");
    fixture_close(&f);
}

/* A crash between the transaction and the request's end. */
static void a_chain_that_was_taken_is_taken_again(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, CA_EXTENSIONS);
    run(&f, "cp ca-1.csr kept.csr");
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    run(&f, "cp kept.csr ca-1.csr");
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    assert_false(is_there(&f, "ca-1.csr"));
    open_ca(&f);
    assert_int_equal(rl_ca_issuers(f.ca), 2);
    fixture_close(&f);
}

/* ---- what the certificate from above does not let it certify ---- */
/* Whether a client takes what the CA's key signs for these names, as openssl's program says: it signs that itself. */
static bool would_be_believed(const fixture *f, const char *cn, const char *names, const char *usages)
{
    char command[1024];
    snprintf(
        command, sizeof(command),
        "printf 'extendedKeyUsage=%s\\n%s%s' > row.ext; openssl req -new -newkey ec -pkeyopt "
        "ec_paramgen_curve:P-256 -nodes -keyout row.key -subj '/CN=%s' -out row.csr 2>/dev/null; openssl x509 -req "
        "-in row.csr -CA int.pem -CAkey ca-1.key -CAcreateserial -extfile row.ext -out row.pem 2>/dev/null; if "
        "openssl verify -CAfile Top.pem -untrusted int.pem row.pem 2>/dev/null; then echo believed; fi",
        usages, names[0] ? "subjectAltName=" : "", names, cn);
    return strstr(run(f, command), "believed") != NULL;
}

static rl_err certify(fixture *f, rl_profile_id profile, const char *cn, const char *names, const char *usages,
                      X509 **out)
{
    rl_issued issued;
    csr_spec spec = {.key = EVP_EC_gen("P-256"), .cn = cn, {{"extendedKeyUsage", usages}}};
    if (names[0]) {
        spec.extensions[1][0] = "subjectAltName";
        spec.extensions[1][1] = names;
    }
    rl_issue_request r = {.profile = profile, .csr = make_csr(&spec), .requester = "test"};
    rl_err err = rl_ca_issue(f->ca, &r, &issued, &f->e);
    *out = err == RL_OK ? decode(issued.der, issued.der_n) : NULL;
    rl_issued_clear(&issued);
    X509_REQ_free(r.csr);
    EVP_PKEY_free(spec.key);
    return err;
}

static void names_beyond_the_cas_own_constraints_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *cn, *names;
        bool inside;
    } rows[] = {
        {"host", "DNS:a.example.test", true},
        {"host", "DNS:a.example.test,DNS:a.example.net", false},
        {"host", "DNS:a.bad.example.test", false},
        {"a.example.net", "", false},
        {"a.example.net", "DNS:a.example.test", true}, /* the common name does not count then */
        {"host", "", true},
        {"host", "IP:10.1.2.3", true},
        {"host", "IP:11.1.2.3", false},
        {"host", "email:a@example.test", true},
        {"host", "email:a@example.net", false},
        {"host", "URI:urn:uuid:6f1c0a52-6f7e-4a43-9c1b-0a8f4d1f7b11,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@b.test",
         true},
    };
    fixture f;
    X509 *cert;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, CA_EXTENSIONS "nameConstraints=critical,permitted;DNS:example.test,permitted;IP:10.0.0.0/255.0.0.0,"
                           "permitted;email:example.test,excluded;DNS:bad.example.test\\n");
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    open_ca(&f);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(would_be_believed(&f, rows[i].cn, rows[i].names, "clientAuth"), rows[i].inside);
        rl_err err = certify(&f, RL_PROFILE_STATIC, rows[i].cn, rows[i].names, "clientAuth", &cert);
        assert_int_equal(err, rows[i].inside ? RL_OK : RL_EINVAL);
        if (!rows[i].inside)
            assert_has(f.e.message, "by its own certificate the CA may not certify these names");
        X509_free(cert);
    }
    assert_true(rl_ca_may_name(f.ca, "ca.example.test") && rl_ca_may_name(f.ca, "10.0.0.1"));
    assert_false(rl_ca_may_name(f.ca, "localhost") || rl_ca_may_name(f.ca, "127.0.0.1"));
    fixture_close(&f);
}

/* A CA above that allows less counts as well. */
static void usages_beyond_the_cas_own_are_left_out(void **state)
{
    (void)state;
    fixture f;
    X509 *cert;
    fixture_ask(&f, RL_KEY_EC_P256);
    make_foreign_cert(&f, "Top", "Mid", CA_EXTENSIONS "extendedKeyUsage=clientAuth,emailProtection\\n");
    run(&f, "printf '" CA_EXTENSIONS "extendedKeyUsage=clientAuth,serverAuth\n' > int.ext && " SIGN
            "-CA Mid.pem -CAkey Mid.key -extfile int.ext -out int.pem");
    assert_ok(TAKE(&f, "int.pem", "Mid.pem", "Top.pem"), &f.e);
    open_ca(&f);
    assert_ok(certify(&f, RL_PROFILE_STATIC, "host", "", "clientAuth,serverAuth,emailProtection", &cert), &f.e);
    write_pem(&f, "host.pem", cert);
    X509_free(cert);
    assert_has(run(&f, "openssl x509 -in host.pem -noout -ext extendedKeyUsage"),
               "Extended Key Usage: \n    TLS Web Client Authentication\n");
    run(&f, "cat int.pem Mid.pem > between.pem && openssl verify -purpose sslclient -CAfile Top.pem -untrusted "
            "between.pem host.pem");
    assert_int_equal(certify(&f, RL_PROFILE_SERVER, "host", "", "serverAuth", &cert), RL_EINVAL);
    assert_has(f.e.message, "for none of the extended key usages");
    fixture_close(&f);
}

/* ---- later keys ---- */
static void an_intermediate_ca_gets_a_new_key_from_above(void **state)
{
    (void)state;
    fixture f;
    fixture_ask(&f, RL_KEY_EC_P256);
    sign(&f, CA_EXTENSIONS);
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    assert_int_equal(rl_ca_roll_over(f.store, &f.settings, NULL, &f.e), RL_EINVAL);
    assert_has(f.e.message, "--intermediate --rollover");
    assert_ok(ask_again(&f, NULL), &f.e);
    assert_has(run(&f, "openssl req -in ca.csr -noout -subject"), "subject=CN = Issuing\n");
    assert_true(is_there(&f, "ca-3.key"));
    /* an issuer that comes meanwhile takes the number, not the key */
    rl_ca_imported got;
    make_foreign_ca(&f, "Other");
    open_ca(&f);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 1); /* which goes on until the chain is there */
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    rl_ca_close(f.ca);
    f.ca = NULL;
    sign(&f, CA_EXTENSIONS);
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    open_ca(&f);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 4);
    rl_span links[RL_CA_LINKS_MAX];
    assert_int_equal(rl_ca_links(f.ca, true, links), 0); /* both are below the same root */
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    run(&f, "openssl verify -CAfile Top.pem -untrusted int.pem host.pem");
    X509_free(host);
    fixture_close(&f);
}

/* By mistake, while the request waits: it does not stay another CA's. */
static void a_certificate_that_was_imported_becomes_our_own(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    fixture_prepare(&f, RL_KEY_EC_P256);
    rl_clock_set(NULL);
    make_foreign_ca(&f, "Top");
    assert_ok(rl_ca_init(f.store, &f.settings, &f.e), &f.e);
    assert_ok(ask_again(&f, "CN=Issuing"), &f.e);
    sign(&f, CA_EXTENSIONS);
    open_ca(&f);
    assert_ok(import_one(&f, "Top.pem", &got), &f.e);
    assert_ok(import_one(&f, "int.pem", &got), &f.e);
    rl_ca_close(f.ca);
    f.ca = NULL;
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    open_ca(&f);
    assert_int_equal(rl_ca_issuers(f.ca), 3);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 3);
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    run(&f, "openssl verify -CAfile Top.pem -untrusted int.pem host.pem");
    X509_free(host);
    fixture_close(&f);
}

static void a_root_is_followed_by_an_intermediate_ca(void **state)
{
    (void)state;
    fixture f;
    rl_span links[RL_CA_LINKS_MAX];
    fixture_prepare(&f, RL_KEY_EC_P256);
    rl_clock_set(NULL);
    make_foreign_ca(&f, "Top");
    assert_ok(rl_ca_init(f.store, &f.settings, &f.e), &f.e);
    assert_ok(ask_again(&f, "CN=Issuing"), &f.e);
    assert_int_equal(rl_ca_roll_over(f.store, &f.settings, NULL, &f.e), RL_EEXISTS); /* it would take the key */
    sign(&f, CA_EXTENSIONS);
    assert_ok(TAKE(&f, "int.pem", "Top.pem"), &f.e);
    open_ca(&f);
    assert_int_equal(rl_ca_issuer(f.ca)->id, 2);
    X509 *host = a_host(&f);
    write_pem(&f, "host.pem", host);
    write_pem(&f, "old.pem", rl_ca_by_id(f.ca, 1)->cert);
    run(&f, "openssl verify -CAfile Top.pem -untrusted int.pem host.pem");
    /* who trusts the old root is led to it; nobody is led from the other CA's root to the old one */
    assert_int_equal(rl_ca_links(f.ca, true, links), 2);
    X509 *link = decode(links[1].p, links[1].n);
    write_pem(&f, "link.pem", link);
    run(&f, "openssl verify -CAfile old.pem -untrusted link.pem host.pem");
    X509_free(link);
    X509_free(host);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_asks_for_a_ca_certificate),
        cmocka_unit_test(asked_again_it_is_the_same_key),
        cmocka_unit_test(without_a_subject_it_says_no_root),
        cmocka_unit_test(no_root_is_made_while_it_waits),
        cmocka_unit_test(there_is_one_ca_in_a_folder),
        cmocka_unit_test(it_issues_below_the_other_ca),
        cmocka_unit_test(a_bare_certificate_does),
        cmocka_unit_test(the_order_and_what_does_not_belong_to_it_do_not_matter),
        cmocka_unit_test(a_chain_may_end_below_the_root),
        cmocka_unit_test(what_is_no_chain_is_refused),
        cmocka_unit_test(a_certificate_that_cannot_issue_is_refused),
        cmocka_unit_test(a_chain_that_no_client_would_believe_is_refused),
        cmocka_unit_test(a_chain_that_was_taken_is_taken_again),
        cmocka_unit_test(names_beyond_the_cas_own_constraints_are_refused),
        cmocka_unit_test(usages_beyond_the_cas_own_are_left_out),
        cmocka_unit_test(an_intermediate_ca_gets_a_new_key_from_above),
        cmocka_unit_test(a_certificate_that_was_imported_becomes_our_own),
        cmocka_unit_test(a_root_is_followed_by_an_intermediate_ca),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
