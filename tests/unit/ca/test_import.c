/* Foreign issuers and their certificates: what import takes, refuses and leaves alone. The other CAs are openssl's. */
#include <pthread.h>
#include <stdatomic.h>

#include "foreign.h"

static void open_ca(fixture *f)
{
    fixture_open(f, RL_KEY_EC_P256);
    rl_clock_set(NULL); /* openssl makes certificates from the real time on */
}

static void reopen(fixture *f)
{
    fixture_restart(f);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
}

static void assert_found_as(const fixture *f, X509 *cert, rl_issuer_id id)
{
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        unsigned char name[RL_HASH_MAX], key[RL_HASH_MAX];
        unsigned n;
        const EVP_MD *md = EVP_get_digestbyname(rl_hash_name((rl_hash)h));
        assert_int_equal(X509_NAME_digest(X509_get_subject_name(cert), md, name, &n), 1);
        assert_int_equal(X509_pubkey_digest(cert, md, key, &n), 1);
        const rl_issuer *i = rl_ca_find(f->ca, (rl_hash)h, rl_span_of(name, n), rl_span_of(key, n));
        assert_non_null(i);
        assert_int_equal(i->id, id);
    }
}

static void an_imported_ca_is_a_foreign_issuer_at_once_and_after_a_restart(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    open_ca(&f);
    const rl_issuer *own = rl_ca_issuer(f.ca);
    make_foreign_ca(&f, "Other");
    X509 *cert = read_pem(&f, "Other.pem");
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    assert_true(got.new_issuer && got.new_cert);
    assert_int_equal(got.issuer->id, 2);
    assert_int_equal(got.cert.issuer, 2); /* a root is below itself */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rl_ca_issuers(f.ca), 2);
        assert_null(rl_ca_by_id(f.ca, 2)->signer);
        assert_found_as(&f, cert, 2);
        assert_int_equal(rl_ca_issuer(f.ca)->id, 1);
        if (round == 0) {
            assert_ptr_equal(rl_ca_issuer(f.ca), own);
            reopen(&f);
        }
    }
    X509_free(cert);
    fixture_close(&f);
}

static void what_is_known_already_is_not_added_again(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    make_foreign_cert(&f, "Other", "leaf", "");
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    assert_ok(import_one(&f, "leaf.pem", &got), &f.e);
    assert_true(got.new_cert && !got.issuer);
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    assert_true(!got.new_issuer && !got.new_cert && got.issuer->id == 2);
    assert_ok(import_one(&f, "leaf.pem", &got), &f.e);
    assert_true(!got.new_cert && got.cert.issuer == 2);
    write_pem(&f, "own.pem", rl_ca_issuer(f.ca)->cert);
    assert_ok(import_one(&f, "own.pem", &got), &f.e);
    assert_true(!got.new_issuer && !got.new_cert && got.issuer == rl_ca_issuer(f.ca));
    assert_int_equal(rl_ca_issuers(f.ca), 2);
    fixture_close(&f);
}

static void an_imported_certificate_has_a_record_below_its_issuer(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    rl_cert_record r;
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    make_foreign_cert(&f, "Other", "leaf", "");
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    assert_ok(import_one(&f, "leaf.pem", &got), &f.e);
    assert_ok(rl_store_cert(f.store, &got.cert, &r), &f.e);
    assert_string_equal(r.subject, "CN=leaf");
    assert_string_equal(r.profile, "imported");
    assert_string_equal(r.requester, "import");
    assert_int_equal(r.status, RL_STATUS_GOOD);
    assert_int_equal(r.bindings_n, 0);
    assert_int_equal(r.not_after - r.not_before, 365 * DAY);
    rl_cert_clear(&r);
    char serial[2 * RL_SERIAL_MAX + 1];
    rl_serial text = {.n = got.cert.serial_n};
    memcpy(text.b, got.cert.serial, text.n);
    rl_serial_text(&text, serial);
    assert_has(run(&f, "openssl x509 -in leaf.pem -noout -serial"), serial);
    fixture_close(&f);
}

static void a_chain_comes_in_any_order_and_an_intermediate_is_issuer_and_certificate(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got[3];
    open_ca(&f);
    make_foreign_ca(&f, "Root");
    make_foreign_cert(&f, "Root", "Sub", "basicConstraints=critical,CA:TRUE\\nkeyUsage=keyCertSign\\n");
    make_foreign_cert(&f, "Sub", "leaf", "");
    X509 *certs[] = {read_pem(&f, "leaf.pem"), read_pem(&f, "Sub.pem"), read_pem(&f, "Root.pem")};
    assert_ok(rl_ca_import(f.ca, certs, 3, got, &f.e), &f.e);
    assert_int_equal(got[0].cert.issuer, got[1].issuer->id);
    assert_int_equal(got[1].cert.issuer, got[2].issuer->id);
    assert_int_equal(got[2].cert.issuer, got[2].issuer->id);
    assert_true(got[0].new_cert && got[1].new_cert && got[2].new_cert);
    for (int i = 0; i < 3; i++)
        X509_free(certs[i]);
    fixture_close(&f);
}

static void assert_refused(fixture *f, const char *name, rl_err expected, const char *words)
{
    rl_ca_imported got;
    assert_int_equal(import_one(f, name, &got), expected);
    assert_has(f->e.message, words);
    assert_int_equal(rl_ca_issuers(f->ca), 1);
}

static rl_err certify(fixture *f, EVP_PKEY *key)
{
    rl_issued out;
    X509_REQ *csr = make_csr(&(csr_spec){.key = key, .cn = "again"});
    const rl_issue_request r = {.profile = RL_PROFILE_CLIENT, .csr = csr, .requester = "test"};
    rl_err err = rl_ca_issue(f->ca, &r, &out, &f->e);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
    return err;
}

/* Of a serial number alone it is not known whose key it is. */
static void a_key_that_another_ca_calls_compromised_is_not_certified(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    rl_ca_indexed indexed;
    char line[256], path[128];
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    make_foreign_cert(&f, "Other", "leaf", "basicConstraints=CA:FALSE\\n");
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    const char *serial = run(&f, "openssl x509 -in leaf.pem -noout -serial | cut -d= -f2 | tr -d '\\n'");
    snprintf(line, sizeof(line), "R\t391231235959Z\t260101000000Z,keyCompromise\t%s\tunknown\t/CN=leaf\n", serial);
    assert_ok(rl_ca_import_index(f.ca, got.issuer, rl_span_str(line), &indexed, &f.e), &f.e);
    assert_int_equal(indexed.added, 1);
    path_in(&f, "leaf.key", path);
    FILE *in = fopen(path, "r");
    EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    fclose(in);
    assert_ok(certify(&f, key), &f.e);
    assert_ok(import_one(&f, "leaf.pem", &got), &f.e);
    assert_int_equal(certify(&f, key), RL_EINVAL);
    assert_has(f.e.message, "make another key");
    EVP_PKEY_free(key);
    fixture_close(&f);
}

static void what_cannot_be_answered_for_is_refused(void **state)
{
    (void)state;
    fixture f;
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    make_foreign_cert(&f, "Other", "orphan", "");
    assert_refused(&f, "orphan.pem", RL_ENOTFOUND, "no CA known");
    make_foreign_cert(&f, "Other", "weak", "basicConstraints=CA:TRUE\\nkeyUsage=cRLSign\\n");
    assert_refused(&f, "weak.pem", RL_EINVAL, "key usage");
    /* The right name with another key is another CA. */
    run(&f, "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout false.key "
            "-subj '/CN=Test Root/O=Example, Inc.' -days 9 -out false.pem");
    make_foreign_cert(&f, "false", "forged", "");
    assert_refused(&f, "forged.pem", RL_ENOTFOUND, "no CA known");
    fixture_close(&f);
}

static void of_a_bad_import_nothing_is_taken(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got[3];
    rl_issuer_record r;
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    make_foreign_ca(&f, "Third");
    make_foreign_cert(&f, "Other", "leaf", "");
    make_foreign_cert(&f, "Third", "orphan", "");
    X509 *certs[] = {read_pem(&f, "Other.pem"), read_pem(&f, "leaf.pem"), read_pem(&f, "orphan.pem")};
    assert_int_equal(rl_ca_import(f.ca, certs, 3, got, &f.e), RL_ENOTFOUND);
    assert_int_equal(rl_ca_issuers(f.ca), 1);
    assert_int_equal(rl_store_issuer(f.store, 2, &r), RL_ENOTFOUND);
    for (int i = 0; i < 3; i++)
        X509_free(certs[i]);
    fixture_close(&f);
}

static void issuers_are_found_by_number_fingerprint_and_name(void **state)
{
    (void)state;
    fixture f;
    rl_ca_imported got;
    const rl_issuer *i;
    char fingerprint[3 * 32];
    open_ca(&f);
    make_foreign_ca(&f, "Other");
    assert_ok(import_one(&f, "Other.pem", &got), &f.e);
    assert_ok(rl_ca_lookup(f.ca, "2", &i, &f.e), &f.e);
    assert_ptr_equal(i, got.issuer);
    assert_ok(rl_ca_lookup(f.ca, "Other", &i, &f.e), &f.e);
    assert_ptr_equal(i, got.issuer);
    rl_issuer_fingerprint(got.issuer, fingerprint);
    assert_has(run(&f, "openssl x509 -in Other.pem -noout -fingerprint -sha256"), fingerprint);
    assert_ok(rl_ca_lookup(f.ca, fingerprint, &i, &f.e), &f.e);
    char bare[65], *b = bare;
    for (const char *c = fingerprint; *c; c++)
        if (*c != ':')
            *b++ = *c >= 'A' ? (char)(*c + 32) : *c;
    *b = 0;
    assert_ok(rl_ca_lookup(f.ca, bare, &i, &f.e), &f.e);
    assert_ptr_equal(i, got.issuer);
    bare[60] = 0;
    assert_int_equal(rl_ca_lookup(f.ca, bare, &i, &f.e), RL_ENOTFOUND);
    assert_int_equal(rl_ca_lookup(f.ca, "", &i, &f.e), RL_ENOTFOUND);
    assert_int_equal(rl_ca_lookup(f.ca, "3", &i, &f.e), RL_ENOTFOUND);
    fixture_close(&f);
}

/* ---- while others read ---- */
struct reader {
    const fixture *f;
    X509 *certs[4];
    _Atomic bool stop;
    size_t found;
};

/* Looks for every issuer until it was told to stop; what is found must be whole. */
static void *read_on(void *arg)
{
    struct reader *r = arg;
    bool last;
    do {
        last = atomic_load(&r->stop);
        r->found = 0;
        for (int k = 0; k < 4; k++) {
            unsigned char name[RL_HASH_MAX], key[RL_HASH_MAX];
            unsigned n;
            X509_NAME_digest(X509_get_subject_name(r->certs[k]), EVP_sha1(), name, &n);
            X509_pubkey_digest(r->certs[k], EVP_sha1(), key, &n);
            const rl_issuer *i = rl_ca_find(r->f->ca, RL_SHA1, rl_span_of(name, n), rl_span_of(key, n));
            r->found += i && i->der.n > 0 && X509_cmp(i->cert, r->certs[k]) == 0;
        }
    } while (!last);
    return NULL;
}

static void readers_see_whole_issuers_while_some_are_added(void **state)
{
    (void)state;
    static const char *const names[] = {"A", "B", "C", "D"};
    fixture f;
    struct reader r = {.f = &f};
    pthread_t threads[2];
    open_ca(&f);
    for (int k = 0; k < 4; k++) {
        char file[16];
        make_foreign_ca(&f, names[k]);
        snprintf(file, sizeof(file), "%s.pem", names[k]);
        r.certs[k] = read_pem(&f, file);
    }
    struct reader r2 = r;
    assert_int_equal(pthread_create(&threads[0], NULL, read_on, &r), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, read_on, &r2), 0);
    for (int k = 0; k < 4; k++) {
        rl_ca_imported got;
        assert_ok(rl_ca_import(f.ca, &r.certs[k], 1, &got, &f.e), &f.e);
    }
    atomic_store(&r.stop, true);
    atomic_store(&r2.stop, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(r.found, 4);
    assert_int_equal(r2.found, 4);
    for (int k = 0; k < 4; k++)
        X509_free(r.certs[k]);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_imported_ca_is_a_foreign_issuer_at_once_and_after_a_restart),
        cmocka_unit_test(what_is_known_already_is_not_added_again),
        cmocka_unit_test(an_imported_certificate_has_a_record_below_its_issuer),
        cmocka_unit_test(a_chain_comes_in_any_order_and_an_intermediate_is_issuer_and_certificate),
        cmocka_unit_test(a_key_that_another_ca_calls_compromised_is_not_certified),
        cmocka_unit_test(what_cannot_be_answered_for_is_refused),
        cmocka_unit_test(of_a_bad_import_nothing_is_taken),
        cmocka_unit_test(issuers_are_found_by_number_fingerprint_and_name),
        cmocka_unit_test(readers_see_whole_issuers_while_some_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
