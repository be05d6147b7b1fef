/* Jamf Pro's objects in a real store: a listing alone deletes nothing, what was asked for and is gone does. */
#include "sync/jamf_apply.h"
#include "sync/weigh.h"

#include "tests/unit/sync/fixture.h"

enum { NOW = 1700000000 };

static const rl_graph_kind computers = {.name = "jamf-computer",
                                        .origin = "sync:jamf-computer",
                                        .source = RL_SOURCE_JAMF_COMPUTER,
                                        .put = rl_jamf_put,
                                        .gone = rl_jamf_missing},
                           users = {.name = "jamf-user",
                                    .origin = "sync:jamf-user",
                                    .source = RL_SOURCE_JAMF_USER,
                                    .name_source = RL_SOURCE_JAMF_USER_NAME,
                                    .put = rl_jamf_put,
                                    .gone = rl_jamf_missing};

struct world {
    folder_store f;
    rl_settings settings;
    uint64_t generation;
    rl_jamf_job job; /* of the last listing */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    folder_store_open(&w->f);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    folder_store_remove(&((struct world *)*state)->f);
    free(*state);
    return 0;
}

static rl_err apply(rl_store_txn *t, void *job, rl_error *e)
{
    return rl_page_apply(t, &((rl_jamf_job *)job)->page, e);
}

static rl_err list_page(struct world *w, const rl_graph_kind *kind, const char *const (*items)[2], size_t n,
                        bool complete)
{
    rl_graph_item page_items[8] = {0};
    rl_graph_page page = {.items = page_items, .n = n};
    for (size_t i = 0; i < n; i++)
        page_items[i] = (rl_graph_item){.id = items[i][0], .name_said = kind->name_source != 0, .name = items[i][1]};
    w->job.page = (rl_page_job){.kind = kind, .page = &page, .settings = &w->settings, .now = NOW};
    w->job.page.next = (rl_cursor_record){.full = true, .complete = complete, .generation = w->generation};
    w->job.n = 0;
    w->job.more = false;
    return rl_store_run(w->f.store, apply, &w->job, NULL);
}

/* A listing of one page. */
static rl_err list(struct world *w, const rl_graph_kind *kind, const char *const (*items)[2], size_t n)
{
    w->generation++;
    return list_page(w, kind, items, n, true);
}

#define LIST(w, kind, ...)                                                                                             \
    do {                                                                                                               \
        static const char *const listed_[][2] = {__VA_ARGS__};                                                         \
        assert_int_equal(list(w, kind, listed_, sizeof(listed_) / sizeof(listed_[0])), RL_OK);                         \
    } while (0)

static void bury(struct world *w)
{
    assert_int_equal(rl_store_run(w->f.store, rl_jamf_bury, &w->job, NULL), RL_OK);
}

static void issue_user(struct world *w, uint8_t serial, const char *computer, const char *user)
{
    issue(w->f.store, serial, RL_SOURCE_JAMF_COMPUTER, computer, RL_SOURCE_JAMF_USER_NAME, user);
}

static void test_what_a_listing_leaves_out_is_only_noted(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_JAMF_COMPUTER, "1", RL_SOURCE_NONE, NULL);
    LIST(w, &computers, {"1"}, {"2"});
    assert_int_equal(w->job.n, 0);
    LIST(w, &computers, {"2"});
    assert_int_equal(w->job.n, 1);
    assert_string_equal(w->job.missing[0].id, "1");
    assert_int_equal(w->job.page.changed, 0);
    bury(w); /* nobody has said that it is gone */
    assert_status(w->f.store, 1, "good");
    w->job.missing[0].gone = true;
    bury(w);
    assert_int_equal(w->job.page.changed, 1);
    assert_status(w->f.store, 1, "revoked");
    LIST(w, &computers, {"2"});
    assert_int_equal(w->job.n, 0); /* a tombstone is not missed */
}

static void test_what_was_listed_since_is_not_deleted(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_JAMF_COMPUTER, "1", RL_SOURCE_NONE, NULL);
    LIST(w, &computers, {"1"}, {"2"});
    LIST(w, &computers, {"2"});
    rl_jamf_job late = w->job;
    late.missing[0].gone = true;
    LIST(w, &computers, {"1"}, {"2"});
    assert_int_equal(rl_store_run(w->f.store, rl_jamf_bury, &late, NULL), RL_OK);
    assert_status(w->f.store, 1, "good");
}

static void test_a_revocation_stays_when_the_number_is_back(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_JAMF_COMPUTER, "1", RL_SOURCE_NONE, NULL);
    LIST(w, &computers, {"1"}, {"2"});
    LIST(w, &computers, {"2"});
    w->job.missing[0].gone = true;
    bury(w);
    LIST(w, &computers, {"1"}, {"2"});
    assert_status(w->f.store, 1, "revoked");
}

static void test_an_empty_listing_is_refused(void **state)
{
    struct world *w = *state;
    static const char *const none[1][2];
    assert_int_equal(list(w, &computers, none, 0), RL_OK); /* nothing is known */
    LIST(w, &computers, {"1"});
    assert_int_equal(list(w, &computers, none, 0), RL_EDENIED);
    assert_true(w->job.page.empty);
}

static rl_err put_named(rl_store_txn *t, void *id, rl_error *e)
{
    const rl_object_record named = {.exists = true, .enabled = true, .generation = RL_GENERATION_NAMED, .last_seen = 1};
    (void)e;
    return rl_txn_put_object(t, RL_SOURCE_JAMF_COMPUTER, id, &named);
}

/* With the last page empty, too, which tells nothing of the others. */
static void test_what_certificates_alone_have_named_is_missed_by_a_listing_with_any(void **state)
{
    struct world *w = *state;
    static const char *const none[1][2], *const one[][2] = {{"1"}};
    char named[] = "9";
    assert_int_equal(rl_store_run(w->f.store, put_named, named, NULL), RL_OK);
    for (int i = 0; i < 3; i++) { /* never refused: nothing was ever listed */
        assert_int_equal(list(w, &computers, none, 0), RL_OK);
        assert_int_equal(w->job.n, 0);
    }
    for (size_t missed = 0; missed < 2; missed++) { /* the first expects it */
        w->generation++;
        assert_int_equal(list_page(w, &computers, one, 1, false), RL_OK);
        assert_int_equal(list_page(w, &computers, none, 0, true), RL_OK);
        assert_int_equal(w->job.n, missed);
    }
    assert_string_equal(w->job.missing[0].id, "9");
}

static void test_a_user_and_the_computer_each_end_it(void **state)
{
    struct world *w = *state;
    issue_user(w, 1, "1", "ada");
    issue_user(w, 2, "2", "bob");
    issue_user(w, 3, "3", "eve");
    LIST(w, &computers, {"1"}, {"2"}, {"3"});
    LIST(w, &users, {"1", "ada"}, {"2", "bob"}, {"3", "eve"});
    LIST(w, &users, {"2", "bob"}, {"3", "eve"});
    w->job.missing[0].gone = true;
    bury(w);
    LIST(w, &computers, {"1"}, {"3"});
    w->job.missing[0].gone = true;
    bury(w);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "revoked");
    assert_status(w->f.store, 3, "good");
}

static void test_a_renamed_user_keeps_the_certificate(void **state)
{
    struct world *w = *state;
    issue_user(w, 1, "1", "ada");
    LIST(w, &users, {"1", "ada"}, {"2", "bob"});
    LIST(w, &users, {"1", "ada.married"}, {"2", "bob"});
    LIST(w, &users, {"1", "ada.married"}, {"2", "bob"}, {"3", "ada"}); /* another has the name now */
    assert_int_equal(w->job.n, 0);
    assert_status(w->f.store, 1, "good");
    LIST(w, &users, {"2", "bob"}, {"3", "ada"});
    w->job.missing[0].gone = true;
    bury(w);
    assert_status(w->f.store, 1, "revoked");
}

static void test_a_round_asks_for_so_many(void **state)
{
    struct world *w = *state;
    rl_object_record o = {0};
    char id[RL_JAMF_ID_SIZE];
    w->job.page.kind = &computers;
    for (int round = 0; round < 2; round++) {
        w->job.n = 0;
        for (int i = 1000; i < 1000 + RL_JAMF_ASKED_MAX + 5; i++) {
            snprintf(id, sizeof(id), "%d", i);
            assert_int_equal(rl_jamf_missing(NULL, &w->job.page, id, &o), RL_OK);
        }
        assert_true(w->job.more);
        assert_int_equal(w->job.n, round ? 5 : RL_JAMF_ASKED_MAX);
        strcpy(w->job.after, w->job.missing[w->job.n - 1].id);
    }
    assert_string_equal(w->job.missing[0].id, "1200");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_a_listing_leaves_out_is_only_noted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_listed_since_is_not_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_revocation_stays_when_the_number_is_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_empty_listing_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_user_and_the_computer_each_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_certificates_alone_have_named_is_missed_by_a_listing_with_any, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_renamed_user_keeps_the_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_round_asks_for_so_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
