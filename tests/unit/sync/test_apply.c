/* The effects of pages in a real store: objects, names, bindings, status; idempotence, and that a refused page leaves
 * nothing. */
#include "sync/apply.h"

#include "tests/unit/sync/fixture.h"

#define ORIGIN "https://graph.microsoft.com"

static int setup(void **state)
{
    folder_store *f = calloc(1, sizeof(*f));
    folder_store_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    folder_store_remove(*state);
    free(*state);
    return 0;
}

/* One page of one source, applied as the sync loop would. `items` is the JSON of the list. */
struct step {
    unsigned kind;
    bool full, complete;
    uint64_t generation;
};

static const rl_settings settings = {.rules.directory = RL_DIRECTORY_BOTH};
static const struct step delta_of_devices = {RL_ENTRA_DEVICE, false, true, 1},
                         delta_of_users = {RL_ENTRA_USER, false, true, 1};

static rl_err try_page(rl_store *store, struct step step, const char *items, rl_page_job *job)
{
    rl_buf text = {0};
    rl_graph_page page;
    const rl_graph_kind *kind = &rl_entra_kinds[step.kind];
    rl_buf_printf(&text, "{\"@odata.%s\":\"" ORIGIN "/x?t=%s\",\"value\":[%s]}",
                  step.complete ? "deltaLink" : "nextLink", "1", items);
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&text), 1 << 24, &kind->shape, ORIGIN, &page, NULL), RL_OK);
    *job = (rl_page_job){.kind = kind,
                         .page = &page,
                         .settings = &settings,
                         .now = 1700000000,
                         .next = {.link = (char *)(uintptr_t)page.link,
                                  .full = step.full,
                                  .complete = step.complete,
                                  .generation = step.generation}};
    rl_err err = rl_store_run(store, rl_page_apply, job, NULL);
    rl_graph_page_free(&page);
    rl_buf_free(&text);
    return err;
}

/* Returns how many certificates changed. */
static uint64_t page(rl_store *store, struct step step, const char *items)
{
    rl_page_job job;
    assert_int_equal(try_page(store, step, items, &job), RL_OK);
    return job.changed;
}

static uint64_t devices(rl_store *store, const char *items)
{
    return page(store, delta_of_devices, items);
}

static uint64_t users(rl_store *store, const char *items)
{
    return page(store, delta_of_users, items);
}

static rl_cert_record cert_of(rl_store *s, uint8_t serial)
{
    rl_cert_id id = cert_id(serial);
    rl_cert_record r;
    assert_int_equal(rl_store_cert(s, &id, &r), RL_OK);
    return r;
}

static void assert_bound(rl_store *s, uint8_t serial, rl_source source, const char *id)
{
    rl_cert_record r = cert_of(s, serial);
    rl_cert_id first;
    assert_int_equal(r.bindings_n, 1);
    assert_int_equal(r.bindings[0].source, source);
    assert_string_equal(r.bindings[0].id, id);
    assert_int_equal(rl_store_binding_first(s, source, id, &first), RL_OK);
    rl_cert_clear(&r);
}

static void assert_name(rl_store *s, rl_source source, const char *name, const char *target, bool exists)
{
    rl_object_record r;
    rl_err err = rl_store_object(s, source, name, &r);
    if (!target) {
        assert_int_equal(err, RL_ENOTFOUND);
        return;
    }
    assert_int_equal(err, RL_OK);
    assert_string_equal(r.target, target);
    assert_int_equal(r.exists, exists);
    rl_object_clear(&r);
}

/* ---- the story of one device ---- */
static void test_enabled_disabled_enabled_deleted(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue_for_device(s, 1, "dev-1");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"deviceId\":\"DEV-1\",\"accountEnabled\":true}"), 0);
    assert_bound(s, 1, RL_SOURCE_ENTRA_DEVICE, "o1");
    assert_status(s, 1, "good");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"accountEnabled\":false}"), 1);
    assert_status(s, 1, "hold");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"accountEnabled\":true}"), 1);
    assert_status(s, 1, "good");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}"), 1);
    assert_status(s, 1, "revoked");
    rl_cert_record r = cert_of(s, 1);
    assert_int_equal(r.why, RL_WHY_DELETED);
    assert_int_equal(r.revoked_at, 1700000000);
    rl_cert_clear(&r);
}

static void test_a_restored_object_does_not_bring_certificates_back(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue_for_device(s, 1, "dev-1");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\"}");
    devices(s, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"changed\"}}");
    assert_name(s, RL_SOURCE_ENTRA_DEVICE_NAME, "dev-1", "o1", false); /* new enrollments are refused */
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":true}");
    assert_status(s, 1, "revoked");
    assert_name(s, RL_SOURCE_ENTRA_DEVICE_NAME, "dev-1", "o1", true); /* and allowed again */
}

static void test_absent_and_null_keep_what_is_known(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue_for_device(s, 1, "dev-1");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":false}");
    assert_status(s, 1, "hold");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\"}");
    assert_status(s, 1, "hold");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":null}");
    assert_status(s, 1, "hold");
    /* Never said at all: enabled. */
    issue_for_device(s, 2, "dev-2");
    devices(s, "{\"id\":\"o2\",\"deviceId\":\"dev-2\",\"accountEnabled\":null}");
    assert_status(s, 2, "good");
}

static void test_a_certificate_that_waits_gets_the_objects_state(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_cert_id first;
    issue_for_device(s, 1, "dev-1");
    issue_for_device(s, 2, "dev-1");
    issue_for_device(s, 3, "other");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":false}"), 2);
    assert_status(s, 1, "hold");
    assert_status(s, 2, "hold");
    assert_status(s, 3, "good");
    assert_int_equal(rl_store_binding_first(s, RL_SOURCE_ENTRA_DEVICE_NAME, "dev-1", &first), RL_ENOTFOUND);
    assert_bound(s, 3, RL_SOURCE_ENTRA_DEVICE_NAME, "other");
}

static void test_an_unknown_object_that_is_removed_leaves_nothing(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_object_record r;
    devices(s, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}");
    assert_int_equal(rl_store_object(s, RL_SOURCE_ENTRA_DEVICE, "o1", &r), RL_ENOTFOUND);
}

/* ---- several objects, one certificate ---- */
static void test_a_hold_ends_only_when_no_bound_object_asks_for_it(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue(s, 1, RL_SOURCE_ENTRA_DEVICE_NAME, "dev-1", RL_SOURCE_ENTRA_USER_NAME, "ada@contoso.com");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":false}");
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"Ada@Contoso.com\",\"accountEnabled\":false}");
    assert_status(s, 1, "hold");
    assert_int_equal(devices(s, "{\"id\":\"o1\",\"accountEnabled\":true}"), 0);
    assert_status(s, 1, "hold");
    assert_int_equal(users(s, "{\"id\":\"u1\",\"accountEnabled\":true}"), 1);
    assert_status(s, 1, "good");
    devices(s, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}");
    users(s, "{\"id\":\"u1\",\"accountEnabled\":true}");
    assert_status(s, 1, "revoked");
}

static rl_err hold_by_hand(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_cert_id id = cert_id(1);
    (void)arg;
    return rl_txn_revoke(t, &id, RL_REASON_HOLD, 1700000000, "admin", e);
}

static void test_an_admins_word_stays(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue_for_device(s, 1, "dev-1");
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\"}");
    assert_int_equal(rl_store_run(s, hold_by_hand, NULL, NULL), RL_OK);
    devices(s, "{\"id\":\"o1\",\"accountEnabled\":false}");
    devices(s, "{\"id\":\"o1\",\"accountEnabled\":true}");
    assert_status(s, 1, "hold");
}

/* ---- names ---- */
static void test_a_renamed_object_keeps_its_certificates_and_gives_up_the_name(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue(s, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"lovelace@x\"}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "ada@x", NULL, false);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "lovelace@x", "u1", true);
    assert_bound(s, 1, RL_SOURCE_ENTRA_USER, "u1");
    users(s, "{\"id\":\"u1\",\"accountEnabled\":false}");
    assert_status(s, 1, "hold");
}

static void test_a_name_passed_on_within_a_page_in_either_order(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    users(s, "{\"id\":\"u5\",\"userPrincipalName\":\"first@x\"},{\"id\":\"u6\",\"userPrincipalName\":\"second@x\"}");
    /* u4 (earlier in the page's order) and u9 (later) each take the name that another leaves. */
    users(s, "{\"id\":\"u4\",\"userPrincipalName\":\"first@x\"},{\"id\":\"u5\",\"userPrincipalName\":\"third@x\"},"
             "{\"id\":\"u6\",\"userPrincipalName\":\"fourth@x\"},{\"id\":\"u9\",\"userPrincipalName\":\"second@x\"}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "first@x", "u4", true);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "second@x", "u9", true);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "third@x", "u5", true);
}

static void test_a_mail_address_passed_on_within_a_page_in_either_order(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    static const char before[] = "{\"id\":\"u4\",\"userPrincipalName\":\"a@x\"},{\"id\":\"u5\",\"userPrincipalName\":"
                                 "\"b@x\",\"mail\":\"first@y\"},{\"id\":\"u6\",\"userPrincipalName\":\"c@x\",\"mail\":"
                                 "\"second@y\"},{\"id\":\"u9\",\"userPrincipalName\":\"d@x\"}";
    users(s, before);
    /* u4 takes the address of one who gets another, u9 that of one who is deleted; and the other way round. */
    users(s,
          "{\"id\":\"u4\",\"mail\":\"first@y\"},{\"id\":\"u5\",\"mail\":\"third@y\"},{\"id\":\"u6\",\"@removed\":{}},"
          "{\"id\":\"u9\",\"mail\":\"second@y\"}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "first@y", "u4", true);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "second@y", "u9", true);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "third@y", "u5", true);
    issue(s, 1, RL_SOURCE_ENTRA_USER_NAME, "late@y", RL_SOURCE_NONE, NULL);
    users(s, "{\"id\":\"u9\",\"mail\":\"late@y\"}");
    issue(s, 2, RL_SOURCE_ENTRA_USER_NAME, "late@y", RL_SOURCE_NONE, NULL);
    users(s, "{\"id\":\"u4\",\"mail\":\"late@y\",\"accountEnabled\":false},{\"id\":\"u9\",\"@removed\":{}}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "late@y", "u4", true);
    assert_status(s, 1, "revoked");
    assert_bound(s, 2, RL_SOURCE_ENTRA_USER, "u4");
    assert_status(s, 2, "hold");
}

/* The first takes the certificates that wait, as it does when each comes in a page of its own; the last has the name.
 */
static void test_a_name_that_two_objects_of_a_page_take(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue(s, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    issue(s, 2, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    assert_int_equal(users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\",\"accountEnabled\":false},"
                              "{\"id\":\"u2\",\"userPrincipalName\":\"ada@x\"}"),
                     2);
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "ada@x", "u2", true);
    assert_bound(s, 1, RL_SOURCE_ENTRA_USER, "u1");
    assert_bound(s, 2, RL_SOURCE_ENTRA_USER, "u1");
    assert_status(s, 1, "hold");
}

static void test_a_tombstones_name_goes_to_the_next_owner_and_stays_there(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue(s, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    users(s, "{\"id\":\"u1\",\"@removed\":{\"reason\":\"deleted\"}}");
    users(s, "{\"id\":\"u2\",\"userPrincipalName\":\"ada@x\"}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "ada@x", "u2", true);
    users(s, "{\"id\":\"u1\",\"@removed\":{\"reason\":\"deleted\"}}"); /* replayed */
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "ada@x", "u2", true);
    assert_status(s, 1, "revoked"); /* the first owner's */
    users(s, "{\"id\":\"u2\",\"accountEnabled\":false}");
    assert_bound(s, 1, RL_SOURCE_ENTRA_USER, "u1");
}

static void test_a_name_set_to_null_is_given_up(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":null}");
    assert_name(s, RL_SOURCE_ENTRA_USER_NAME, "ada@x", NULL, false);
}

/* ---- once is as good as twice ---- */
static void test_a_page_applied_again_changes_nothing(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    static const char items[] = "{\"id\":\"o1\",\"deviceId\":\"dev-1\",\"accountEnabled\":false},{\"id\":\"o2\",\"@"
                                "removed\":{\"reason\":\"deleted\"}}";
    issue_for_device(s, 1, "dev-1");
    issue_for_device(s, 2, "dev-2");
    devices(s, "{\"id\":\"o2\",\"deviceId\":\"dev-2\"}");
    assert_int_equal(devices(s, items), 2);
    uint64_t before = last_delta(s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(devices(s, items), 0);
    assert_int_equal(last_delta(s), before);
}

static void test_the_cursor_is_stored_with_the_page(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_cursor_record c;
    devices(s, "");
    assert_int_equal(rl_store_cursor(s, "entra-device", &c), RL_OK);
    assert_string_equal(c.link, ORIGIN "/x?t=1");
    assert_true(c.complete);
    rl_cursor_clear(&c);
    assert_int_equal(rl_store_cursor(s, "entra-user", &c), RL_ENOTFOUND);
}

/* ---- full rounds ---- */
static const struct step full_first_page = {RL_ENTRA_DEVICE, true, false, 2},
                         full_last_page = {RL_ENTRA_DEVICE, true, true, 2};

static void three_devices(rl_store *s)
{
    for (uint8_t i = 1; i <= 3; i++) {
        char name[8];
        snprintf(name, sizeof(name), "dev-%u", i);
        issue_for_device(s, i, name);
    }
    devices(s, "{\"id\":\"o1\",\"deviceId\":\"dev-1\"},{\"id\":\"o2\",\"deviceId\":\"dev-2\"},{\"id\":\"o3\","
               "\"deviceId\":\"dev-3\"}");
}

static void test_what_a_full_round_does_not_list_is_deleted_at_its_end(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    three_devices(s);
    assert_int_equal(page(s, full_first_page, "{\"id\":\"o1\"}"), 0);
    assert_status(s, 2, "good");
    assert_int_equal(page(s, full_last_page, "{\"id\":\"o3\"}"), 1);
    assert_status(s, 1, "good");
    assert_status(s, 2, "revoked");
    assert_status(s, 3, "good");
    assert_name(s, RL_SOURCE_ENTRA_DEVICE_NAME, "dev-2", "o2", false);
    assert_int_equal(page(s, full_last_page, "{\"id\":\"o3\"}"), 0);
}

static void test_a_full_round_touches_only_its_own_source(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    issue(s, 9, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    users(s, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    three_devices(s);
    page(s, full_last_page, "{\"id\":\"o1\"}");
    assert_status(s, 9, "good");
}

static void test_a_full_round_that_lists_nothing_is_refused_whole(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_page_job job;
    rl_cursor_record c;
    three_devices(s);
    page(s, full_first_page, "");
    uint64_t before = last_delta(s);
    assert_int_equal(try_page(s, full_last_page, "", &job), RL_EDENIED);
    assert_true(job.empty);
    /* Entries that only remove list nothing either. */
    assert_int_equal(try_page(s, full_last_page, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}", &job),
                     RL_EDENIED);
    for (uint8_t i = 1; i <= 3; i++)
        assert_status(s, i, "good");
    assert_int_equal(last_delta(s), before);
    assert_int_equal(rl_store_cursor(s, "entra-device", &c), RL_OK);
    assert_false(c.complete); /* still where the page before left it */
    rl_cursor_clear(&c);
}

static void test_an_empty_directory_that_was_never_otherwise_is_fine(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_page_job job;
    assert_int_equal(try_page(s, full_last_page, "", &job), RL_OK);
}

/* It was looked up while the round was under way, which need not list it; and does not count as listed by it. */
static void test_what_was_looked_up_outlives_one_full_round(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    struct step looked_up = {RL_ENTRA_DEVICE, false, false, RL_GENERATION_LOOKED_UP}, later = full_last_page;
    rl_page_job job;
    three_devices(s);
    issue_for_device(s, 9, "dev-9");
    page(s, looked_up, "{\"id\":\"o9\",\"deviceId\":\"dev-9\",\"accountEnabled\":true}");
    assert_bound(s, 9, RL_SOURCE_ENTRA_DEVICE, "o9");
    assert_int_equal(try_page(s, full_last_page, "", &job), RL_EDENIED);
    assert_true(job.empty);
    assert_int_equal(page(s, full_last_page, "{\"id\":\"o1\"},{\"id\":\"o2\"},{\"id\":\"o3\"}"), 0);
    assert_status(s, 9, "good");
    later.generation++;
    assert_int_equal(page(s, later, "{\"id\":\"o1\"},{\"id\":\"o2\"},{\"id\":\"o3\"}"), 1);
    assert_status(s, 9, "revoked");
}

static void test_ten_thousand_objects_in_one_page(void **state)
{
    rl_store *s = ((folder_store *)*state)->store;
    rl_buf items = {0};
    issue_for_device(s, 1, "dev-9999");
    for (int i = 0; i < 10000; i++)
        rl_buf_printf(&items, "%s{\"id\":\"o%d\",\"deviceId\":\"dev-%d\",\"accountEnabled\":%s}", i ? "," : "", i, i,
                      i % 2 ? "false" : "true");
    assert_int_equal(page(s, full_last_page, (char *)items.p), 1);
    assert_status(s, 1, "hold");
    rl_buf_free(&items);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_enabled_disabled_enabled_deleted),
        STORE_TEST(test_a_restored_object_does_not_bring_certificates_back),
        STORE_TEST(test_absent_and_null_keep_what_is_known),
        STORE_TEST(test_a_certificate_that_waits_gets_the_objects_state),
        STORE_TEST(test_an_unknown_object_that_is_removed_leaves_nothing),
        STORE_TEST(test_a_hold_ends_only_when_no_bound_object_asks_for_it),
        STORE_TEST(test_an_admins_word_stays),
        STORE_TEST(test_a_renamed_object_keeps_its_certificates_and_gives_up_the_name),
        STORE_TEST(test_a_name_passed_on_within_a_page_in_either_order),
        STORE_TEST(test_a_mail_address_passed_on_within_a_page_in_either_order),
        STORE_TEST(test_a_name_that_two_objects_of_a_page_take),
        STORE_TEST(test_a_tombstones_name_goes_to_the_next_owner_and_stays_there),
        STORE_TEST(test_a_name_set_to_null_is_given_up),
        STORE_TEST(test_a_page_applied_again_changes_nothing),
        STORE_TEST(test_the_cursor_is_stored_with_the_page),
        STORE_TEST(test_what_a_full_round_does_not_list_is_deleted_at_its_end),
        STORE_TEST(test_a_full_round_touches_only_its_own_source),
        STORE_TEST(test_a_full_round_that_lists_nothing_is_refused_whole),
        STORE_TEST(test_an_empty_directory_that_was_never_otherwise_is_fine),
        STORE_TEST(test_what_was_looked_up_outlives_one_full_round),
        STORE_TEST(test_ten_thousand_objects_in_one_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
