/* The brake on mass changes, and the grace for new devices, in a real store: what is applied at once, what is held,
 * what passes it by, what becomes of it when it is released or dropped. */
#include "base/clock.h"
#include "sync/apply.h"
#include "sync/brake.h"

#include "tests/unit/sync/fixture.h"

#define ORIGIN "https://graph.microsoft.com"
#define DAY    INT64_C(86400)
enum { NOW = 1700000000, MANY = 1200, MANY_DEVICES = 4100 };

struct world {
    folder_store f;
    rl_settings settings;
    int64_t now;
    uint64_t generation;
    bool ends; /* the process does, behind a page's first transaction */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    folder_store_open(&w->f);
    w->settings.rules.directory = RL_DIRECTORY_AAD;
    w->settings.sync.mass_limit = (rl_share){.value = 3};
    w->settings.sync.new_device_grace = 7 * DAY * 1000;
    w->settings.sync.full_interval = DAY * 1000;
    w->now = NOW;
    w->generation = 1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    folder_store_remove(&((struct world *)*state)->f);
    free(*state);
    return 0;
}

/* ---- pages ---- */
struct step {
    const rl_graph_kind *kind;
    bool full, complete;
};
#define DEVICES &rl_entra_kinds[RL_ENTRA_DEVICE]
#define USERS   &rl_entra_kinds[RL_ENTRA_USER]
static const struct step delta = {DEVICES, false, true}, more_to_come = {DEVICES, false, false};
static const struct step whole = {DEVICES, true, true}, delta_of_users = {USERS, false, true};

static rl_page_job apply(struct world *w, struct step step, const char *items)
{
    rl_buf text = {0};
    rl_graph_page page;
    rl_page_job job;
    rl_buf_printf(&text, "{\"@odata.deltaLink\":\"" ORIGIN "/x\",\"value\":[%s]}", items);
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&text), 1 << 20, &step.kind->shape, ORIGIN, &page, NULL), RL_OK);
    w->generation += step.full;
    rl_cursor_record cursor = {0};
    (void)rl_store_cursor(w->f.store, step.kind->name, &cursor);
    job = (rl_page_job){.kind = step.kind,
                        .page = &page,
                        .settings = &w->settings,
                        .now = w->now,
                        .next = {.link = "",
                                 .full = step.full,
                                 .complete = step.complete,
                                 .generation = w->generation,
                                 .last_full = step.full && step.complete ? w->now : 0,
                                 .leaving = cursor.leaving}};
    rl_cursor_clear(&cursor);
    uint64_t changed = 0;
    bool due = false;
    do {
        assert_int_equal(rl_store_run(w->f.store, rl_page_apply, &job, NULL), RL_OK);
        changed += job.changed;
        due |= job.due;
    } while (job.more && !w->ends);
    job.changed = changed;
    job.due = due;
    rl_graph_page_free(&page);
    rl_buf_free(&text);
    return job;
}

#define DEVICE(n)   "{\"id\":\"o" #n "\",\"deviceId\":\"d" #n "\",\"accountEnabled\":true}"
#define DISABLED(n) "{\"id\":\"o" #n "\",\"deviceId\":\"d" #n "\",\"accountEnabled\":false}"
#define GONE(n)     "{\"id\":\"o" #n "\",\"@removed\":{\"reason\":\"deleted\"}}"
static const char five[] = DEVICE(1) "," DEVICE(2) "," DEVICE(3) "," DEVICE(4) "," DEVICE(5);

/* Devices 1 to 5, each with the certificate of its number. */
static void begin_with_five(struct world *w)
{
    for (uint8_t i = 1; i <= 5; i++) {
        char id[3] = {'d', (char)('0' + i), 0};
        issue_for_device(w->f.store, i, id);
    }
    apply(w, whole, five);
}

static void assert_all(struct world *w, const char *statuses)
{
    static const char letters[] = {[RL_STATUS_GOOD] = 'g', [RL_STATUS_HOLD] = 'h', [RL_STATUS_REVOKED] = 'r'};
    char actual[8] = "";
    for (uint8_t i = 1; i <= 5; i++)
        actual[i - 1] = letters[status_of(w->f.store, i)];
    assert_string_equal(actual, statuses);
}

/* ---- changes ---- */
struct only {
    uint64_t id;
    rl_change_record record;
    size_t n;
};

static bool take_change(uint64_t id, const rl_change_record *r, void *ctx)
{
    struct only *o = ctx;
    o->id = id;
    o->record = *r;
    o->n++;
    return true;
}

static bool count_cert(const rl_cert_id *id, void *ctx)
{
    (void)id;
    ++*(uint64_t *)ctx;
    return true;
}

/* The one change that there is, whose number of certificates is that of its list. */
static uint64_t assert_change(struct world *w, rl_change_state state, uint64_t certificates)
{
    struct only o = {0};
    uint64_t listed = 0;
    assert_int_equal(rl_store_each_change(w->f.store, take_change, &o), RL_OK);
    assert_int_equal(o.n, 1);
    assert_string_equal(rl_change_state_name(o.record.state), rl_change_state_name(state));
    assert_int_equal(o.record.certificates, certificates);
    assert_int_equal(rl_store_each_held(w->f.store, o.id, count_cert, &listed), RL_OK);
    assert_int_equal(listed, certificates);
    return o.id;
}

static void assert_no_change(struct world *w)
{
    struct only o = {0};
    assert_int_equal(rl_store_each_change(w->f.store, take_change, &o), RL_OK);
    assert_int_equal(o.n, 0);
}

static rl_err decide(struct world *w, uint64_t id, rl_change_state to)
{
    rl_decision d = {.change = id, .to = to, .who = "admin", .now = w->now};
    return rl_store_run(w->f.store, rl_brake_decide, &d, NULL);
}

static uint64_t release(struct world *w, uint64_t id)
{
    rl_release job = {.settings = &w->settings, .now = w->now};
    assert_int_equal(decide(w, id, RL_CHANGE_RELEASED), RL_OK);
    while (!job.done)
        assert_int_equal(rl_store_run(w->f.store, rl_brake_release, &job, NULL), RL_OK);
    return job.changed;
}

/* ---- the limit ---- */
static void test_the_limit(void **state)
{
    static const struct {
        rl_share limit;
        uint64_t certificates, valid;
        bool lets;
    } rows[] = {
        {{10, true}, 50, 0, true},       {{10, true}, 51, 509, false},     {{10, true}, 51, 510, true},
        {{10, true}, 1000, 10000, true}, {{10, true}, 1001, 10000, false}, {{1, true}, 100, 9999, false},
        {{100, true}, 100, 100, true},   {{200, false}, 200, 0, true},     {{200, false}, 201, UINT64_MAX - 1, false},
        {{0, false}, 1000000, 0, true}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(rows[i].valid >= rl_brake_enough(rows[i].limit, rows[i].certificates), rows[i].lets);
}

static void test_up_to_the_limit_is_applied_with_the_page(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    rl_page_job job = apply(w, delta, GONE(1) "," DISABLED(2) "," GONE(3));
    assert_int_equal(job.changed, 3);
    assert_false(job.due);
    assert_all(w, "rhrgg");
    assert_no_change(w);
}

static void test_more_is_held_as_a_whole(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    uint64_t before = last_delta(w->f.store);
    rl_page_job job = apply(w, delta, GONE(1) "," DISABLED(2) "," GONE(3) "," GONE(4));
    assert_int_equal(job.changed, 0);
    assert_true(job.due);
    assert_all(w, "ggggg");
    assert_int_equal(last_delta(w->f.store), before);
    assert_change(w, RL_CHANGE_DUE, 4);
}

static void test_a_round_is_all_of_its_pages(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    assert_false(apply(w, more_to_come, DISABLED(1) "," DISABLED(2)).due);
    assert_all(w, "ggggg");
    assert_change(w, RL_CHANGE_OPEN, 2);
    assert_false(apply(w, more_to_come, GONE(3) "," GONE(1)).due);
    assert_true(apply(w, delta, GONE(4)).due);
    assert_all(w, "ggggg");
    assert_change(w, RL_CHANGE_DUE, 4);
}

static void test_what_a_full_round_does_not_list_counts(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    assert_true(apply(w, whole, DEVICE(5)).due);
    assert_all(w, "ggggg");
    assert_change(w, RL_CHANGE_DUE, 4);
}

static void test_without_a_limit_nothing_is_held(void **state)
{
    struct world *w = *state;
    w->settings.sync.mass_limit = (rl_share){0};
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4) "," GONE(5));
    assert_all(w, "rrrrr");
    assert_no_change(w);
}

/* Graph may tell of an object twice in a round, on different pages: the last word counts. */
static void test_what_comes_back_in_the_same_round_was_never_gone(void **state)
{
    static const rl_share limits[] = {{3, false}, {1000000000, false}, {0, false}};
    struct world *w = *state;
    begin_with_five(w);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        w->settings.sync.mass_limit = limits[i];
        apply(w, more_to_come, GONE(1) "," DISABLED(2));
        assert_all(w, limits[i].value ? "ggggg" : "ghggg");
        apply(w, more_to_come, DEVICE(3));
        apply(w, delta, DEVICE(1) "," DEVICE(2));
        assert_all(w, "ggggg");
        assert_no_change(w);
    }
}

static void test_what_is_gone_is_gone_with_the_last_page(void **state)
{
    struct world *w = *state;
    w->settings.sync.mass_limit = (rl_share){0};
    begin_with_five(w);
    apply(w, more_to_come, GONE(1) "," GONE(2) "," GONE(3));
    assert_all(w, "ggggg");
    folder_store_close(&w->f); /* what is noted stays */
    folder_store_open(&w->f);
    apply(w, more_to_come, DEVICE(2) "," GONE(4) "," GONE(5));
    assert_int_equal(apply(w, delta, GONE(2) "," DEVICE(5)).changed, 4);
    assert_all(w, "rrrrg");
    apply(w, delta, DEVICE(1));
    assert_all(w, "rrrrg");
    assert_no_change(w);
}

static void assert_users_name(struct world *w, const char *name, const char *id)
{
    rl_object_record r;
    assert_int_equal(rl_store_object(w->f.store, RL_SOURCE_ENTRA_USER_NAME, name, &r), RL_OK);
    assert_string_equal(r.target, id);
    assert_true(r.exists);
    rl_object_clear(&r);
}

/* An address is taken from nobody who is there: of who is told to be gone it must not wait for the round's end. */
static void test_names_of_who_is_told_to_be_gone_are_free_at_once(void **state)
{
    struct world *w = *state;
    apply(w, (struct step){USERS, true, true},
          "{\"id\":\"u1\",\"userPrincipalName\":\"a@x\",\"mail\":\"m@y\"},{\"id\":\"u2\",\"userPrincipalName\":"
          "\"b@x\"},{\"id\":\"u5\",\"userPrincipalName\":\"e@x\"}");
    apply(w, (struct step){USERS, false, false},
          "{\"id\":\"u1\",\"@removed\":{}},{\"id\":\"u2\",\"@removed\":{}},{\"id\":\"u5\",\"@removed\":{}}");
    apply(w, delta_of_users,
          "{\"id\":\"u3\",\"userPrincipalName\":\"c@x\",\"mail\":\"m@y\"},{\"id\":\"u4\",\"userPrincipalName\":"
          "\"d@x\",\"mail\":\"b@x\"},{\"id\":\"u5\",\"accountEnabled\":true}");
    assert_users_name(w, "m@y", "u3");
    assert_users_name(w, "b@x", "u4");
    assert_users_name(w, "e@x", "u5");
}

/* The round lost its place, and the next compares the whole. */
static void test_what_was_told_to_be_gone_and_is_listed_by_the_next_round_is_there(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, more_to_come, GONE(1) "," GONE(2));
    apply(w, whole, DEVICE(1) "," DEVICE(3) "," DEVICE(4) "," DEVICE(5));
    assert_all(w, "grggg");
}

static char *many_devices(const char *more)
{
    rl_buf text = {0};
    for (unsigned i = 0; i < MANY_DEVICES; i++)
        assert_int_equal(rl_buf_printf(&text, "%s{\"id\":\"m%u\"%s}", i ? "," : "", i, more), RL_OK);
    assert_int_equal(rl_buf_append(&text, "", 1), RL_OK);
    return (char *)text.p;
}

static void assert_gone(struct world *w, bool all)
{
    unsigned there = 0;
    for (unsigned i = 0; i < MANY_DEVICES; i++) {
        char id[16];
        rl_object_record r;
        snprintf(id, sizeof(id), "m%u", i);
        assert_int_equal(rl_store_object(w->f.store, RL_SOURCE_ENTRA_DEVICE, id, &r), RL_OK);
        there += r.exists;
        rl_object_clear(&r);
    }
    assert_true(all ? there == 0 : there > 0 && there < MANY_DEVICES);
}

static void test_many_that_are_gone_are_so_in_several_transactions(void **state)
{
    struct world *w = *state;
    rl_cursor_record before, after;
    char *there = many_devices(",\"accountEnabled\":true"), *gone = many_devices(",\"@removed\":{}");
    apply(w, whole, there);
    apply(w, more_to_come, gone);
    assert_int_equal(rl_store_cursor(w->f.store, "entra-device", &before), RL_OK);
    w->ends = true;
    assert_true(apply(w, delta, "").more);
    w->ends = false;
    assert_int_equal(rl_store_cursor(w->f.store, "entra-device", &after), RL_OK);
    assert_false(before.complete || after.complete); /* the page comes again */
    rl_cursor_clear(&before);
    rl_cursor_clear(&after);
    assert_gone(w, false);
    assert_false(apply(w, delta, "").more);
    assert_gone(w, true);
    free(there);
    free(gone);
}

/* ---- what passes ---- */
static void test_what_becomes_good_again_passes(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, DISABLED(5));
    assert_int_equal(apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4) "," DEVICE(5)).changed, 1);
    assert_all(w, "ggggg");
}

static void test_a_smaller_later_round_passes(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    apply(w, delta, DISABLED(5));
    assert_all(w, "ggggh");
    assert_change(w, RL_CHANGE_DUE, 4);
}

/* Another source weighs a certificate that waits: its own reason counts, the held one waits on. */
static void test_another_reason_counts_and_the_held_one_waits_on(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 9, RL_SOURCE_ENTRA_DEVICE_NAME, "d1", RL_SOURCE_ENTRA_USER_NAME, "u");
    apply(w, delta_of_users, "{\"id\":\"u1\",\"userPrincipalName\":\"u\"}");
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    apply(w, delta_of_users, "{\"id\":\"u1\",\"accountEnabled\":false}");
    assert_status(w->f.store, 9, "hold");
    apply(w, delta_of_users, "{\"id\":\"u1\",\"accountEnabled\":true}");
    assert_status(w->f.store, 9, "good");
    assert_change(w, RL_CHANGE_DUE, 5);
}

static void test_a_hold_does_not_end_because_its_device_is_gone(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, DISABLED(1));
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    assert_all(w, "hgggg");
    apply(w, delta, GONE(1));
    assert_all(w, "hgggg");
    assert_int_equal(release(w, assert_change(w, RL_CHANGE_DUE, 4)), 4);
    assert_all(w, "rrrrg");
}

static void test_a_cause_that_ends_takes_its_certificate_out(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    apply(w, delta, DEVICE(1) "," DEVICE(2));
    assert_change(w, RL_CHANGE_DUE, 2);
    apply(w, delta, DEVICE(3) "," DEVICE(4));
    assert_no_change(w);
    assert_all(w, "ggggg");
    apply(w, delta, GONE(1)); /* by itself: nothing is remembered */
    assert_all(w, "rgggg");
}

static void test_expired_certificates_do_not_count(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    w->now = INT64_C(4000000001);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    assert_all(w, "rrrrg");
}

/* ---- decided ---- */
static void test_released_by_the_states_of_that_moment(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," DISABLED(3) "," GONE(4) "," DISABLED(5));
    uint64_t id = assert_change(w, RL_CHANGE_DUE, 5);
    assert_int_equal(decide(w, id, RL_CHANGE_HELD), RL_OK);
    apply(w, delta, DEVICE(5));
    apply(w, delta, GONE(3)); /* another reason, and one certificate: it counts */
    assert_int_equal(release(w, id), 3);
    assert_all(w, "rrrrg");
    assert_no_change(w);
    assert_int_equal(decide(w, id, RL_CHANGE_RELEASED), RL_ENOTFOUND);
    rl_cert_id cert = cert_id(1);
    rl_cert_record r;
    assert_int_equal(rl_store_cert(w->f.store, &cert, &r), RL_OK);
    assert_int_equal(r.held.change, 0);
    assert_int_equal(r.why, RL_WHY_DELETED);
    rl_cert_clear(&r);
}

static rl_err add_many(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    for (unsigned i = 0; i < MANY; i++) {
        rl_cert_id id = {.issuer = 1, .serial_n = 3, .serial = {1, (uint8_t)(i >> 8), (uint8_t)i}};
        rl_cert_record r = {.subject = "CN=x", .profile = "static-aad", .requester = "scep", .not_after = 4000000000};
        r.bindings[r.bindings_n++] = (rl_binding){.source = RL_SOURCE_ENTRA_DEVICE_NAME, .id = "d1"};
        RL_TRY(rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "scep"));
    }
    return RL_OK;
}

static bool count_revoked(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx)
{
    (void)id, (void)revoked_at, (void)reason;
    ++*(uint64_t *)ctx;
    return true;
}

static void test_a_release_goes_on_where_it_was_broken_off(void **state)
{
    struct world *w = *state;
    uint64_t revoked = 0;
    rl_release job = {.settings = &w->settings, .now = w->now};
    assert_int_equal(rl_store_run(w->f.store, add_many, NULL, NULL), RL_OK);
    apply(w, whole, DEVICE(1));
    apply(w, delta, GONE(1));
    assert_int_equal(decide(w, assert_change(w, RL_CHANGE_DUE, MANY), RL_CHANGE_RELEASED), RL_OK);
    uint64_t before = last_delta(w->f.store);
    assert_int_equal(rl_store_run(w->f.store, rl_brake_release, &job, NULL), RL_OK);
    assert_false(job.done);
    assert_change(w, RL_CHANGE_RELEASED, MANY - job.changed);
    folder_store_close(&w->f);
    folder_store_open(&w->f);
    job = (rl_release){.settings = &w->settings, .now = w->now};
    while (!job.done)
        assert_int_equal(rl_store_run(w->f.store, rl_brake_release, &job, NULL), RL_OK);
    assert_no_change(w);
    assert_int_equal(rl_store_each_revoked(w->f.store, 1, count_revoked, &revoked), RL_OK);
    assert_int_equal(revoked, MANY);
    assert_int_equal(last_delta(w->f.store) - before, MANY); /* each once */
}

static void test_dropped_until_the_next_full_round(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    assert_int_equal(decide(w, assert_change(w, RL_CHANGE_DUE, 4), RL_CHANGE_DROPPED), RL_OK);
    assert_false(apply(w, delta, GONE(1) "," GONE(2)).due);
    assert_all(w, "ggggg");
    assert_change(w, RL_CHANGE_DROPPED, 4);
    assert_true(apply(w, whole, DEVICE(5) "," DEVICE(4)).due);
    assert_all(w, "ggggg");
    assert_change(w, RL_CHANGE_DUE, 3); /* the fourth has come back */
}

static void test_a_decision_that_came_first_stands(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    uint64_t id = assert_change(w, RL_CHANGE_DUE, 4);
    assert_int_equal(decide(w, id, RL_CHANGE_DROPPED), RL_OK);
    rl_decision late = {.change = id, .to = RL_CHANGE_RELEASED, .who = "x", .now = NOW, .if_due = true};
    assert_int_equal(rl_store_run(w->f.store, rl_brake_decide, &late, NULL), RL_OK);
    assert_change(w, RL_CHANGE_DROPPED, 4);
}

static void test_numbers_are_never_used_twice(void **state)
{
    struct world *w = *state;
    begin_with_five(w);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    uint64_t first = assert_change(w, RL_CHANGE_DUE, 4);
    apply(w, delta, DEVICE(1) "," DEVICE(2) "," DEVICE(3) "," DEVICE(4));
    assert_no_change(w);
    folder_store_close(&w->f);
    folder_store_open(&w->f);
    apply(w, delta, GONE(1) "," GONE(2) "," GONE(3) "," GONE(4));
    assert_int_equal(assert_change(w, RL_CHANGE_DUE, 4), first + 1);
}

/* ---- new devices ---- */
struct weighed {
    struct world *w;
    uint8_t serial;
};

static rl_err weigh_one(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct weighed *one = arg;
    rl_cert_id id = cert_id(one->serial);
    rl_weigher w = {.settings = &one->w->settings, .origin = "test", .now = one->w->now};
    (void)e;
    return rl_weigh_stored(t, &w, &id, NULL, NULL);
}

static void weigh(struct world *w, uint8_t serial)
{
    struct weighed one = {w, serial};
    assert_int_equal(rl_store_run(w->f.store, weigh_one, &one, NULL), RL_OK);
}

/* Certificates of the fixture are of second 1. */
static void test_a_device_that_never_comes_is_one_that_does_not_exist(void **state)
{
    struct world *w = *state;
    w->now = 1;
    issue_for_device(w->f.store, 1, "never");
    issue_for_device(w->f.store, 2, "d2");
    apply(w, whole, DEVICE(5));
    w->now = 8 * DAY;
    weigh(w, 1);
    assert_status(w->f.store, 1, "good"); /* the grace is over, but nobody has looked since */
    apply(w, delta, DEVICE(2));
    w->now = 9 * DAY;
    apply(w, whole, DEVICE(5) "," DEVICE(2));
    weigh(w, 1);
    weigh(w, 2);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "good");
}

static void test_every_directory_that_is_watched_must_have_looked(void **state)
{
    struct world *w = *state;
    static const struct step list = {&rl_intune_kinds[RL_INTUNE_DEVICE], true, true};
    w->settings.rules.directory = RL_DIRECTORY_BOTH;
    issue_for_device(w->f.store, 1, "never");
    issue_for_device(w->f.store, 2, "m2");
    w->now = 9 * DAY;
    apply(w, whole, DEVICE(5));
    weigh(w, 1);
    assert_status(w->f.store, 1, "good");
    apply(w, list, "{\"id\":\"m2\"}");
    weigh(w, 1);
    weigh(w, 2);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "good");
}

static void test_a_full_round_by_a_clock_that_was_ahead_decides_about_nobody(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "never");
    w->now = rl_wall_s() + 30 * DAY;
    apply(w, whole, DEVICE(5));
    weigh(w, 1);
    assert_status(w->f.store, 1, "good");
    w->now = rl_wall_s();
    apply(w, whole, DEVICE(5));
    weigh(w, 1);
    assert_status(w->f.store, 1, "revoked");
}

static rl_err refuse_intune(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cursor_record c = {.refused = true};
    (void)arg, (void)e;
    return rl_txn_put_cursor(t, "intune-device", &c);
}

/* AADAndIntuneOpportunistic: not before Intune has said so, and no longer when it is listed. */
static void test_a_directory_that_may_not_be_read_need_not_have_looked(void **state)
{
    struct world *w = *state;
    static const struct step part = {&rl_intune_kinds[RL_INTUNE_DEVICE], true, false};
    for (uint8_t serial = 1; serial <= 2; serial++)
        issue_for_device(w->f.store, serial, serial == 1 ? "never" : "nor this");
    w->settings.rules.directory = RL_DIRECTORY_OPPORTUNISTIC;
    w->now = 9 * DAY;
    apply(w, whole, DEVICE(5));
    weigh(w, 1);
    assert_status(w->f.store, 1, "good");
    assert_int_equal(rl_store_run(w->f.store, refuse_intune, NULL, NULL), RL_OK);
    w->settings.rules.directory = RL_DIRECTORY_BOTH;
    weigh(w, 1);
    assert_status(w->f.store, 1, "good");
    w->settings.rules.directory = RL_DIRECTORY_OPPORTUNISTIC;
    weigh(w, 1);
    assert_status(w->f.store, 1, "revoked");
    apply(w, part, "{\"id\":\"m1\"}"); /* the permission has come */
    weigh(w, 2);
    assert_status(w->f.store, 2, "good");
}

static void test_a_user_who_never_comes_is_not_decided_about(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_USER_NAME, "mail@example.com", RL_SOURCE_NONE, NULL);
    w->now = 9 * DAY;
    apply(w, whole, DEVICE(5));
    apply(w, (struct step){USERS, true, true}, "{\"id\":\"u1\",\"userPrincipalName\":\"u\"}");
    weigh(w, 1);
    assert_status(w->f.store, 1, "good");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_limit),
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_up_to_the_limit_is_applied_with_the_page),
        T(test_more_is_held_as_a_whole),
        T(test_a_round_is_all_of_its_pages),
        T(test_what_a_full_round_does_not_list_counts),
        T(test_without_a_limit_nothing_is_held),
        T(test_what_is_gone_is_gone_with_the_last_page),
        T(test_names_of_who_is_told_to_be_gone_are_free_at_once),
        T(test_what_was_told_to_be_gone_and_is_listed_by_the_next_round_is_there),
        T(test_many_that_are_gone_are_so_in_several_transactions),
        T(test_what_comes_back_in_the_same_round_was_never_gone),
        T(test_what_becomes_good_again_passes),
        T(test_a_smaller_later_round_passes),
        T(test_another_reason_counts_and_the_held_one_waits_on),
        T(test_a_hold_does_not_end_because_its_device_is_gone),
        T(test_a_cause_that_ends_takes_its_certificate_out),
        T(test_expired_certificates_do_not_count),
        T(test_released_by_the_states_of_that_moment),
        T(test_a_release_goes_on_where_it_was_broken_off),
        T(test_dropped_until_the_next_full_round),
        T(test_a_decision_that_came_first_stands),
        T(test_numbers_are_never_used_twice),
        T(test_a_device_that_never_comes_is_one_that_does_not_exist),
        T(test_every_directory_that_is_watched_must_have_looked),
        T(test_a_full_round_by_a_clock_that_was_ahead_decides_about_nobody),
        T(test_a_directory_that_may_not_be_read_need_not_have_looked),
        T(test_a_user_who_never_comes_is_not_decided_about),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
