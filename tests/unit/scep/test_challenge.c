/* One-time challenges: until when they hold, for whom, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "scep/challenge.h"

typedef struct fixture {
    char dir[64];
    rl_settings settings;
    rl_store *store;
    rl_profile profile;
    X509_REQ *csr, *other;
} fixture;

static int64_t now = 1790000000;
static int64_t wall(void *ctx)
{
    (void)ctx;
    return now * 1000;
}
static uint64_t mono(void *ctx)
{
    (void)ctx;
    return 1;
}
static const rl_clock standing = {wall, mono, NULL};

/* `san` as OpenSSL's configuration has it, or NULL; `sid`: it asks for a security identifier. */
static X509_REQ *request(const char *cn, const char *san, bool sid)
{
    X509_REQ *csr = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)cn, -1, -1, 0),
                     1);
    if (san)
        sk_X509_EXTENSION_push(exts, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san));
    if (sid)
        sk_X509_EXTENSION_push(exts, X509V3_EXT_conf(NULL, NULL, "1.3.6.1.4.1.311.25.2", "DER:05:00"));
    if (sk_X509_EXTENSION_num(exts) > 0)
        assert_int_equal(X509_REQ_add_extensions(csr, exts), 1);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    return csr;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    rl_buf errors = {0};
    rl_error e = {0};
    char *env[] = {"REVLINE_STATIC_CHALLENGE=static-word", NULL};
    now = 1790000000;
    rl_clock_set(&standing);
    strcpy(f->dir, "/tmp/revline-challenge-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(rl_settings_load(&f->settings, env, &errors), RL_OK);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_OK);
    assert_true(rl_profile_get(&f->settings, RL_PROFILE_STATIC, &f->profile));
    f->csr = request("laptop-1", NULL, false);
    f->other = request("laptop-2", NULL, false);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    fixture *f = *state;
    X509_REQ_free(f->csr);
    X509_REQ_free(f->other);
    rl_store_close(f->store);
    rl_settings_free(&f->settings);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    rl_clock_set(NULL);
    free(f);
    return 0;
}

static void make(fixture *f, const char *subject, const char *names, int64_t life, char out[RL_CHALLENGE_SIZE])
{
    rl_error e = {0};
    int64_t expires;
    assert_int_equal(rl_challenge_make(f->store, &f->settings, "static", subject, names, life, out, &expires, &e),
                     RL_OK);
    assert_int_equal(expires, now + life);
}

static bool holds(fixture *f, const char *word, const char *transaction, rl_challenge_use *use)
{
    return rl_challenge_holds(f->store, &f->profile, word, f->csr, transaction, use);
}

static rl_err spend(rl_store_txn *t, void *use, rl_error *e)
{
    const rl_cert_id id = {.issuer = 1, .serial_n = 1, .serial = {7}};
    rl_err err = rl_challenge_spend(t, &id, RL_SPAN_LIT(""), use);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "test", "refused");
}

static void test_it_holds_until_its_end(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    make(f, NULL, NULL, 60, word);
    assert_true(holds(f, word, "t", &use));
    now += 60;
    assert_true(holds(f, word, "t", &use));
    now++;
    assert_false(holds(f, word, "t", &use));
}

static bool count(const char *entry, rl_span value, void *n)
{
    (void)entry, (void)value;
    ++*(unsigned *)n;
    return true;
}

static void test_what_has_ended_is_forgotten_when_the_next_is_made(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    unsigned n = 0;
    make(f, NULL, NULL, 60, word);
    make(f, NULL, NULL, 3600, word);
    now += 61;
    make(f, NULL, NULL, 60, word);
    assert_int_equal(rl_store_each_queued(f->store, count, &n), RL_OK);
    assert_int_equal(n, 2);
}

static void test_it_is_for_one_subject(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    rl_profile aad = {.name = "static-aad", .rules = f->profile.rules};
    make(f, "CN=laptop-1", NULL, 60, word);
    assert_true(rl_challenge_holds(f->store, &f->profile, word, f->csr, "", &use));
    assert_false(rl_challenge_holds(f->store, &f->profile, word, f->other, "", &use));
    assert_false(rl_challenge_holds(f->store, &aad, word, f->csr, "", &use));
}

#define UPN "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:"

static void test_alternative_names_are_those_it_was_made_for(void **state)
{
    fixture *f = *state;
    static const char given[] =
        "DNS:one.example.test, UPN:ada@example.test,IP:192.0.2.1 ,ip:2001:0DB8:0::1,email:a@b.test";
    static const struct {
        const char *subject, *names, *san;
        bool sid, holds;
    } tried[] = {
        {NULL, NULL, "DNS:any.example.test", true, true},
        {"CN=laptop-1", NULL, NULL, false, true},
        {"CN=laptop-1", NULL, "DNS:laptop-1", false, true},
        {"CN=laptop-1", NULL, "DNS:Laptop-1,email:laptop-1", false, true},
        {"CN=laptop-1", NULL, "DNS:laptop-2", false, false},
        {"CN=laptop-1", NULL, "DNS:laptop-1,DNS:laptop-2", false, false},
        {"CN=laptop-1", NULL, UPN "admin@example.test", false, false},
        {"CN=laptop-1", NULL, "dirName:empty", false, false},
        {"CN=laptop-1", NULL, "RID:1.2.3", false, false},
        {"CN=laptop-1", NULL, "otherName:1.2.3;UTF8:laptop-1", false, false},
        {"CN=laptop-1", NULL, NULL, true, false},
        {"CN=laptop-1", given, "DNS:one.example.test,DNS:laptop-1," UPN "ADA@example.test", false, true},
        {"CN=laptop-1", given, "IP:192.0.2.1,IP:2001:db8::1,email:a@b.test", false, true},
        {"CN=laptop-1", given, "IP:192.0.2.2", false, false},
        {"CN=laptop-1", given, "email:ada@example.test", false, false}, /* a UPN it may be */
        {"CN=laptop-1", given, "URI:one.example.test", false, false},
        {"CN=laptop-1", given, "DNS:one", false, false},
        {"CN=laptop-1", given, NULL, true, false},
        {NULL, given, "DNS:one.example.test", false, true},
        {NULL, given, "DNS:laptop-1", false, false}, /* the common name is anybody's choice then */
        {NULL, given, NULL, false, true},
    };
    rl_profile_rules rules = *f->profile.rules;
    rl_profile asked_sid = f->profile;
    rules.asked_sid = true;
    asked_sid.rules = &rules;
    for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
        char word[RL_CHALLENGE_SIZE];
        rl_challenge_use use;
        bool empty = tried[i].san && strcmp(tried[i].san, "dirName:empty") == 0;
        X509_REQ *csr = request("laptop-1", empty ? NULL : tried[i].san, tried[i].sid);
        if (empty) { /* a directory name without attributes */
            STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
            sk_X509_EXTENSION_push(exts, X509V3_EXT_conf(NULL, NULL, "subjectAltName", "DER:30:04:a4:02:30:00"));
            assert_int_equal(X509_REQ_add_extensions(csr, exts), 1);
            sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
        }
        make(f, tried[i].subject, tried[i].names, 60, word);
        if (rl_challenge_holds(f->store, &asked_sid, word, csr, "", &use) != tried[i].holds)
            fail_msg("%zu: %s", i, tried[i].san ? tried[i].san : "-");
        X509_REQ_free(csr);
    }
    X509_REQ *csr = request("laptop-1", NULL, true);
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    make(f, "CN=laptop-1", NULL, 60, word);
    assert_true(rl_challenge_holds(f->store, &f->profile, word, csr, "", &use)); /* the CA drops it */
    X509_REQ_free(csr);
}

static void test_it_is_spent_once(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use first, second;
    rl_error e = {0};
    make(f, NULL, NULL, 60, word);
    assert_true(holds(f, word, "one", &first) && holds(f, word, "two", &second)); /* both have looked */
    assert_int_equal(rl_store_run(f->store, spend, &first, &e), RL_OK);
    assert_int_equal(rl_store_run(f->store, spend, &second, &e), RL_EDENIED);
    assert_true(holds(f, word, "one", &first)); /* comes again */
    assert_false(holds(f, word, "two", &second));
    assert_false(holds(f, word, "", &second));
}

static void test_without_a_transaction_nobody_comes_again(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    rl_error e = {0};
    make(f, NULL, NULL, 60, word);
    assert_true(holds(f, word, "", &use));
    assert_int_equal(rl_store_run(f->store, spend, &use, &e), RL_OK);
    assert_false(holds(f, word, "", &use));
}

static void test_what_is_none(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    make(f, NULL, NULL, 60, word);
    word[0] = word[0] == 'a' ? 'b' : 'a';
    static const char *const none[] = {NULL, "", "static-word", "0123456789012345678901234567890123456789"};
    for (size_t i = 0; i < 4; i++)
        assert_false(holds(f, none[i], "t", &use));
    assert_false(holds(f, word, "t", &use));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_holds_until_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_has_ended_is_forgotten_when_the_next_is_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_is_for_one_subject, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alternative_names_are_those_it_was_made_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_is_spent_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_transaction_nobody_comes_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
