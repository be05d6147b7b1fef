/* One-time challenges: until when they hold, for whom, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "scep/challenge.h"

typedef struct fixture {
    char dir[64];
    rl_settings settings;
    rl_store *store;
    X509_NAME *subject, *other;
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

static X509_NAME *name(const char *cn)
{
    X509_NAME *n = X509_NAME_new();
    assert_int_equal(X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0), 1);
    return n;
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
    f->subject = name("laptop-1");
    f->other = name("laptop-2");
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
    X509_NAME_free(f->subject);
    X509_NAME_free(f->other);
    rl_store_close(f->store);
    rl_settings_free(&f->settings);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    rl_clock_set(NULL);
    free(f);
    return 0;
}

static void make(fixture *f, const char *subject, int64_t life, char out[RL_CHALLENGE_SIZE])
{
    rl_error e = {0};
    int64_t expires;
    assert_int_equal(rl_challenge_make(f->store, &f->settings, "static", subject, life, out, &expires, &e), RL_OK);
    assert_int_equal(expires, now + life);
}

static bool holds(fixture *f, const char *word, const char *transaction, rl_challenge_use *use)
{
    return rl_challenge_holds(f->store, "static", word, f->subject, transaction, use);
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
    make(f, NULL, 60, word);
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
    make(f, NULL, 60, word);
    make(f, NULL, 3600, word);
    now += 61;
    make(f, NULL, 60, word);
    assert_int_equal(rl_store_each_queued(f->store, count, &n), RL_OK);
    assert_int_equal(n, 2);
}

static void test_it_is_for_one_subject(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    make(f, "CN=laptop-1", 60, word);
    assert_true(rl_challenge_holds(f->store, "static", word, f->subject, "", &use));
    assert_false(rl_challenge_holds(f->store, "static", word, f->other, "", &use));
    assert_false(rl_challenge_holds(f->store, "static-aad", word, f->subject, "", &use));
}

static void test_it_is_spent_once(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use first, second;
    rl_error e = {0};
    make(f, NULL, 60, word);
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
    make(f, NULL, 60, word);
    assert_true(holds(f, word, "", &use));
    assert_int_equal(rl_store_run(f->store, spend, &use, &e), RL_OK);
    assert_false(holds(f, word, "", &use));
}

static void test_what_is_none(void **state)
{
    fixture *f = *state;
    char word[RL_CHALLENGE_SIZE];
    rl_challenge_use use;
    make(f, NULL, 60, word);
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
        cmocka_unit_test_setup_teardown(test_it_is_spent_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_transaction_nobody_comes_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
