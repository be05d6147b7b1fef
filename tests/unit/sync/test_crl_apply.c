/* What a revocation list changes: entries, holds that end, the order among lists, and being broken off. */
#include "sync/crl_apply.h"

#include "tests/unit/sync/fixture.h"

enum { OTHER = 2, THIS_UPDATE = 1767607091 };

struct fixture {
    folder_store f;
    rl_crl_entry entries[6000];
    rl_crl crl;
    rl_error e;
};

static rl_err add_issuer(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    uint8_t der[] = {0x30, 0x00};
    char none[] = "";
    rl_issuer_record r = {.cert = der, .cert_n = sizeof(der), .key_ref = none};
    return rl_txn_put_issuer(t, OTHER, &r);
}

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof(*x));
    folder_store_open(&x->f);
    assert_int_equal(rl_store_run(x->f.store, add_issuer, NULL, NULL), RL_OK);
    x->crl.entries = x->entries;
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    folder_store_remove(&x->f);
    free(x);
    return 0;
}

/* ---- lists ---- */
/* The next list: its number, and how many seconds behind the first it was made. */
static void list(struct fixture *x, uint8_t number, int64_t at)
{
    x->crl = (rl_crl){.entries = x->entries, .this_update = THIS_UPDATE + at, .next_update = THIS_UPDATE + at + 86400};
    x->crl.number[RL_CRL_NUMBER - 1] = number;
}

/* In the order of serial numbers. */
static void entry(struct fixture *x, uint16_t serial, rl_reason reason, int64_t date)
{
    x->entries[x->crl.n++] = (rl_crl_entry){.revoked_at = date,
                                            .serial = {.n = 2, .b = {(uint8_t)(serial >> 8), (uint8_t)serial}},
                                            .reason = (uint8_t)reason};
}

static rl_crl_job job_of(struct fixture *x)
{
    return (rl_crl_job){.crl = &x->crl, .issuer = OTHER, .origin = "sync:crl-1", .now = THIS_UPDATE + 86399};
}

static rl_err run(struct fixture *x, rl_crl_job *job)
{
    rl_err err = RL_OK;
    while (err == RL_OK && !job->done)
        err = rl_store_run(x->f.store, rl_crl_apply, job, &x->e);
    return err;
}

static uint64_t applied(struct fixture *x)
{
    rl_crl_job job = job_of(x);
    if (run(x, &job) != RL_OK)
        fail_msg("%s", x->e.message);
    return job.changed;
}

static void assert_refused(struct fixture *x, rl_err code, const char *why)
{
    rl_crl_job job = job_of(x);
    uint64_t before = last_delta(x->f.store);
    assert_int_equal(run(x, &job), code);
    assert_non_null(strstr(x->e.message, why));
    assert_int_equal(last_delta(x->f.store), before);
}

static rl_cert_id other_id(uint16_t serial)
{
    return (rl_cert_id){.issuer = OTHER, .serial_n = 2, .serial = {(uint8_t)(serial >> 8), (uint8_t)serial}};
}

static void assert_cert(struct fixture *x, uint16_t serial, rl_status status, rl_reason reason, int64_t revoked_at)
{
    rl_cert_id id = other_id(serial);
    rl_cert_status s;
    assert_int_equal(rl_store_cert_status(x->f.store, &id, &s), RL_OK);
    assert_string_equal(rl_status_name(s.status), rl_status_name(status));
    assert_int_equal(s.reason, reason);
    assert_int_equal(s.revoked_at, revoked_at);
}

static rl_issuer_crl known(struct fixture *x)
{
    rl_issuer_crl r;
    assert_int_equal(rl_store_issuer_crl(x->f.store, OTHER, &r), RL_OK);
    return r;
}

struct by_hand {
    uint16_t serial;
    rl_reason reason;
    bool undo;
};

static rl_err change_by_hand(rl_store_txn *t, void *arg, rl_error *e)
{
    struct by_hand *h = arg;
    rl_cert_id id = other_id(h->serial);
    return h->undo ? rl_txn_unrevoke(t, &id, 50, "admin", e) : rl_txn_revoke(t, &id, h->reason, 50, "admin", e);
}

static void by_hand(struct fixture *x, uint16_t serial, rl_reason reason, bool undo)
{
    struct by_hand h = {serial, reason, undo};
    assert_int_equal(rl_store_run(x->f.store, change_by_hand, &h, NULL), RL_OK);
}

/* ---- effects ---- */
static void entries_become_records_and_a_known_list_changes_nothing(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    entry(x, 0x0101, RL_REASON_KEY_COMPROMISE, 100);
    entry(x, 0x0202, RL_REASON_HOLD, 200);
    assert_int_equal(applied(x), 2);
    assert_cert(x, 0x0101, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 100);
    assert_cert(x, 0x0202, RL_STATUS_HOLD, RL_REASON_HOLD, 200);
    rl_issuer_crl k = known(x);
    assert_true(k.whole);
    assert_int_equal(k.this_update, THIS_UPDATE);
    assert_int_equal(k.next_update, THIS_UPDATE + 86400);
    rl_crl_job job = job_of(x);
    uint64_t before = last_delta(x->f.store);
    assert_int_equal(run(x, &job), RL_OK);
    assert_true(job.known);
    job = job_of(x);
    job.again = true;
    assert_int_equal(run(x, &job), RL_OK);
    assert_false(job.known);
    assert_int_equal(job.changed, 0);
    assert_int_equal(last_delta(x->f.store), before);
}

static void holds_end_and_revocations_stay(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    entry(x, 1, RL_REASON_KEY_COMPROMISE, 100);
    entry(x, 2, RL_REASON_HOLD, 200);
    entry(x, 3, RL_REASON_HOLD, 300);
    entry(x, 4, RL_REASON_SUPERSEDED, 400);
    applied(x);
    list(x, 2, 1);
    entry(x, 3, RL_REASON_CESSATION, 350); /* revoked for good since */
    entry(x, 4, RL_REASON_HOLD, 450);      /* a revocation cannot become a hold */
    assert_int_equal(applied(x), 2);
    assert_cert(x, 1, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 100);
    assert_cert(x, 2, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0);
    assert_cert(x, 3, RL_STATUS_REVOKED, RL_REASON_CESSATION, 350);
    assert_cert(x, 4, RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, 400);
}

static void the_list_is_one_reason_among_others(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    entry(x, 1, RL_REASON_HOLD, 100);
    entry(x, 2, RL_REASON_HOLD, 100);
    entry(x, 3, RL_REASON_HOLD, 100);
    applied(x);
    by_hand(x, 1, RL_REASON_HOLD, false);
    by_hand(x, 2, RL_REASON_KEY_COMPROMISE, false);
    list(x, 2, 1);
    entry(x, 3, RL_REASON_HOLD, 100);
    assert_int_equal(applied(x), 0);
    assert_cert(x, 1, RL_STATUS_HOLD, RL_REASON_HOLD, 100); /* by hand */
    assert_cert(x, 2, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 100);
    by_hand(x, 1, RL_REASON_HOLD, true);
    assert_cert(x, 1, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0);
    by_hand(x, 3, RL_REASON_HOLD, false);
    by_hand(x, 3, RL_REASON_HOLD, true);
    assert_cert(x, 3, RL_STATUS_HOLD, RL_REASON_HOLD, 100); /* by the list */
}

static void only_the_issuers_own_certificates_are_looked_at(void **state)
{
    struct fixture *x = *state;
    issue(x->f.store, 7, RL_SOURCE_NONE, NULL, RL_SOURCE_NONE, NULL); /* issuer 1 */
    list(x, 1, 0);
    x->entries[x->crl.n++] = (rl_crl_entry){.serial = {.n = 1, .b = {7}}, .reason = RL_REASON_HOLD, .revoked_at = 1};
    applied(x);
    assert_status(x->f.store, 7, "good");
}

/* ---- order ---- */
static void an_older_list_is_refused(void **state)
{
    struct fixture *x = *state;
    list(x, 5, 100);
    applied(x);
    list(x, 4, 200);
    entry(x, 1, RL_REASON_HOLD, 1);
    assert_refused(x, RL_EDENIED, "its number 0x04 is smaller than the 0x05");
    list(x, 5, 99);
    entry(x, 1, RL_REASON_HOLD, 1);
    assert_refused(x, RL_EDENIED, "it is older than the list that is known: 1 seconds");
    list(x, 0, 300); /* without a number */
    assert_refused(x, RL_EDENIED, "smaller");
    list(x, 5, 101);
    entry(x, 1, RL_REASON_HOLD, 1);
    assert_int_equal(applied(x), 1);
    list(x, 6, 50); /* the number decides */
    assert_int_equal(applied(x), 1);
}

static void a_renumbered_list_is_taken_when_it_is_asked_for(void **state)
{
    struct fixture *x = *state;
    list(x, 5, 100);
    applied(x);
    list(x, 1, 101);
    entry(x, 1, RL_REASON_SUPERSEDED, 1);
    assert_refused(x, RL_EDENIED,
                   "its number 0x01 is smaller than the 0x05 of the list that is known, though it was made later");
    rl_crl_job job = job_of(x);
    assert_int_equal(run(x, &job), RL_EDENIED);
    assert_true(job.renumbered);
    job = job_of(x);
    job.again = true;
    assert_int_equal(run(x, &job), RL_OK);
    assert_int_equal(job.changed, 1);
    assert_int_equal(known(x).number[RL_CRL_NUMBER - 1], 1);
    list(x, 2, 102); /* from there on as ever */
    applied(x);
    list(x, 1, 101);
    job = job_of(x);
    job.again = true;
    assert_int_equal(run(x, &job), RL_EDENIED); /* it is older in both */
    assert_false(job.renumbered);
    list(x, 1, 103);
    x->crl.next_update = THIS_UPDATE + 86399;
    job = job_of(x);
    job.again = true;
    assert_int_equal(run(x, &job), RL_EDENIED);
    assert_non_null(strstr(x->e.message, "its nextUpdate passed"));
}

/* Whoever keeps an ended one back could else end holds with it that were made since. One that was known before it ended
 * goes on, also when it is not whole yet. */
static void a_list_that_has_ended_is_refused_unless_it_is_known(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    entry(x, 0x0101, RL_REASON_HOLD, 100);
    applied(x);
    list(x, 2, -1);
    assert_refused(x, RL_EDENIED, "its nextUpdate passed 0 seconds ago");
    assert_cert(x, 0x0101, RL_STATUS_HOLD, RL_REASON_HOLD, 100);
    assert_int_equal(known(x).number[RL_CRL_NUMBER - 1], 1);
    list(x, 1, 0);
    entry(x, 0x0101, RL_REASON_HOLD, 100);
    rl_crl_job job = job_of(x);
    job.now += 86400;
    assert_int_equal(run(x, &job), RL_OK);
    assert_true(job.known);
    job = job_of(x);
    job.now += 86400;
    job.again = true;
    assert_int_equal(run(x, &job), RL_OK);
    assert_false(job.known);
}

static void without_numbers_this_update_orders(void **state)
{
    struct fixture *x = *state;
    list(x, 0, 10);
    applied(x);
    list(x, 0, 9);
    assert_refused(x, RL_EDENIED, "older");
    list(x, 0, 11);
    applied(x);
    assert_int_equal(known(x).this_update, THIS_UPDATE + 11);
}

static void a_list_for_another_part_is_refused(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    x->crl.partial = true;
    x->crl.scope[0] = 1;
    applied(x);
    assert_true(known(x).partial);
    list(x, 2, 1);
    x->crl.partial = true;
    x->crl.scope[0] = 2;
    assert_refused(x, RL_EDENIED, "distribution point");
    list(x, 3, 2);
    applied(x);
    assert_false(known(x).partial);
    list(x, 4, 3);
    x->crl.partial = true;
    x->crl.scope[0] = 1;
    assert_refused(x, RL_EDENIED, "distribution point");
}

/* ---- broken off ---- */
static void long_list(struct fixture *x, uint8_t number, rl_reason reason)
{
    list(x, number, number);
    for (uint16_t i = 1; i <= 2500; i++)
        entry(x, i, reason, i);
}

static void a_list_that_was_broken_off_is_begun_again(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    applied(x);
    long_list(x, 2, RL_REASON_SUPERSEDED);
    rl_crl_job job = job_of(x);
    assert_int_equal(rl_store_run(x->f.store, rl_crl_apply, &job, NULL), RL_OK);
    assert_false(job.done);
    assert_int_equal(job.changed, 1000); /* bounded */
    folder_store_close(&x->f);
    folder_store_open(&x->f);
    rl_issuer_crl k = known(x);
    assert_false(k.whole);
    assert_int_equal(k.next_update, THIS_UPDATE + 86400); /* the list before still counts */
    list(x, 1, 0);
    assert_refused(x, RL_EDENIED, "smaller");
    long_list(x, 2, RL_REASON_SUPERSEDED);
    assert_int_equal(applied(x), 1500);
    assert_true(known(x).whole);
    for (uint16_t i = 1; i <= 2500; i++)
        assert_cert(x, i, RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, i);
}

static void a_newer_list_ends_an_older_one_that_is_being_applied(void **state)
{
    struct fixture *x = *state;
    long_list(x, 1, RL_REASON_HOLD);
    rl_crl older = x->crl;
    rl_crl_job first = job_of(x);
    first.crl = &older;
    assert_int_equal(rl_store_run(x->f.store, rl_crl_apply, &first, NULL), RL_OK);
    list(x, 2, 1);
    assert_int_equal(applied(x), 1000); /* the holds that the older one had set by then */
    assert_int_equal(rl_store_run(x->f.store, rl_crl_apply, &first, &x->e), RL_EBUSY);
    assert_cert(x, 1, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0);
    rl_cert_id id = other_id(1001);
    rl_cert_status none;
    assert_int_equal(rl_store_cert_status(x->f.store, &id, &none), RL_ENOTFOUND);
}

/* More than one transaction looks at. */
static void thousands_of_holds_end(void **state)
{
    struct fixture *x = *state;
    list(x, 1, 0);
    for (uint16_t i = 1; i <= 6000; i++)
        entry(x, i, RL_REASON_HOLD, i);
    assert_int_equal(applied(x), 6000);
    list(x, 2, 1);
    entry(x, 5999, RL_REASON_HOLD, 5999);
    assert_int_equal(applied(x), 5999);
    assert_cert(x, 6000, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0);
    assert_cert(x, 5999, RL_STATUS_HOLD, RL_REASON_HOLD, 5999);
}

#define CRL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CRL_TEST(entries_become_records_and_a_known_list_changes_nothing),
        CRL_TEST(holds_end_and_revocations_stay),
        CRL_TEST(the_list_is_one_reason_among_others),
        CRL_TEST(only_the_issuers_own_certificates_are_looked_at),
        CRL_TEST(an_older_list_is_refused),
        CRL_TEST(a_renumbered_list_is_taken_when_it_is_asked_for),
        CRL_TEST(a_list_that_has_ended_is_refused_unless_it_is_known),
        CRL_TEST(without_numbers_this_update_orders),
        CRL_TEST(a_list_for_another_part_is_refused),
        CRL_TEST(a_list_that_was_broken_off_is_begun_again),
        CRL_TEST(a_newer_list_ends_an_older_one_that_is_being_applied),
        CRL_TEST(thousands_of_holds_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
