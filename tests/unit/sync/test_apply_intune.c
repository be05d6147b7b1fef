/* Managed devices and users at risk in a real store: which certificates follow them, when a device is gone, and what
 * stays as it was. */
#include "sync/apply.h"
#include "sync/weigh.h"

#include "tests/unit/sync/fixture.h"

#define ORIGIN "https://graph.microsoft.com"
enum { NOW = 1700000000 };

struct world {
    folder_store f;
    rl_settings settings;
    uint64_t generation; /* of the managed devices' lists */
    int64_t now;
    int64_t last_full; /* what a full round says of itself */
    bool pages;        /* its lists have others before the one that is applied */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    folder_store_open(&w->f);
    w->settings.rules.directory = RL_DIRECTORY_BOTH;
    w->settings.rules.compliance = w->settings.rules.user_risk = RL_CHECK_ALWAYS;
    w->settings.rules.revoke_on_wipe = true;
    w->settings.rules.untolerated_risks = 1u << 2;
    w->now = NOW;
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
static rl_err apply(struct world *w, const rl_graph_kind *kind, bool full, bool complete, const char *items,
                    rl_page_job *job)
{
    rl_buf text = {0};
    rl_graph_page page;
    const char *link = kind->shape.listing ? complete ? "" : "\"@odata.nextLink\":\"" ORIGIN "/x\","
                                           : "\"@odata.deltaLink\":\"" ORIGIN "/x\",";
    rl_buf_printf(&text, "{%s\"value\":[%s]}", link, items);
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&text), 1 << 20, &kind->shape, ORIGIN, &page, NULL), RL_OK);
    *job = (rl_page_job){.kind = kind,
                         .page = &page,
                         .settings = &w->settings,
                         .now = w->now,
                         .next = {.link = "",
                                  .full = full,
                                  .complete = complete,
                                  .generation = w->generation,
                                  .last_full = full ? w->last_full : 0}};
    job->one_page = full && complete && !w->pages;
    rl_err err = rl_store_run(w->f.store, rl_page_apply, job, NULL);
    rl_graph_page_free(&page);
    rl_buf_free(&text);
    return err;
}

/* A whole list of managed devices; how many certificates changed. */
static uint64_t list(struct world *w, const char *items)
{
    rl_page_job job;
    w->generation++;
    assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_DEVICE], true, true, items, &job), RL_OK);
    return job.changed;
}

static uint64_t risks(struct world *w, const char *items)
{
    rl_page_job job;
    w->generation++;
    assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_USER_RISK], true, true, items, &job), RL_OK);
    return job.changed;
}

static void entra(struct world *w, unsigned kind, const char *items)
{
    rl_page_job job;
    assert_int_equal(apply(w, &rl_entra_kinds[kind], false, true, items, &job), RL_OK);
}

#define M(id, entra, more) "{\"id\":\"" id "\",\"azureADDeviceId\":\"" entra "\"" more "}"
#define ZERO               "00000000-0000-0000-0000-000000000000"
#define BAD                ",\"complianceState\":\"noncompliant\""
#define OK                 ",\"complianceState\":\"compliant\""
#define STATE(word)        ",\"managementState\":\"" word "\""
#define ENROLLED(time)     ",\"enrolledDateTime\":\"" time "\""

/* ---- certificates that bear the Intune id ---- */
static void test_the_story_of_a_managed_device(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "m1");
    assert_int_equal(list(w, M("M1", ZERO, OK)), 0);
    assert_status(w->f.store, 1, "good");
    assert_int_equal(list(w, M("m1", ZERO, BAD)), 1);
    assert_status(w->f.store, 1, "hold");
    assert_int_equal(list(w, M("m1", ZERO, OK)), 1);
    assert_status(w->f.store, 1, "good");
    assert_int_equal(list(w, M("m1", ZERO, OK STATE("wipePending"))), 1);
    assert_status(w->f.store, 1, "revoked");
    list(w, M("m1", ZERO, OK STATE("wipeCanceled")));
    assert_status(w->f.store, 1, "revoked");
}

static void test_gone_is_what_two_lists_leave_out(void **state)
{
    struct world *w = *state;
    rl_page_job job;
    issue_for_device(w->f.store, 1, "m1");
    list(w, M("m1", ZERO, "") "," M("m2", ZERO, ""));
    list(w, M("m2", ZERO, ""));
    assert_status(w->f.store, 1, "good");
    list(w, M("m1", ZERO, "") "," M("m2", ZERO, "")); /* it had only moved between the pages */
    list(w, M("m2", ZERO, ""));
    w->generation++;
    assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_DEVICE], true, true, M("m2", ZERO, ""), &job), RL_OK);
    assert_int_equal(job.changed, 1);
    assert_int_equal(job.missing, 0);
    assert_status(w->f.store, 1, "revoked");
    list(w, M("m1", ZERO, "") "," M("m2", ZERO, "")); /* what is gone does not come back */
    assert_status(w->f.store, 1, "revoked");
}

static void test_what_is_left_out_once_is_told(void **state)
{
    struct world *w = *state;
    rl_page_job job;
    list(w, M("m1", ZERO, "") "," M("m2", ZERO, ""));
    w->generation++;
    assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_DEVICE], true, true, M("m2", ZERO, ""), &job), RL_OK);
    assert_int_equal(job.missing, 1);
}

static void test_a_list_of_nothing_is_refused_again_and_again(void **state)
{
    struct world *w = *state;
    rl_page_job job;
    issue_for_device(w->f.store, 1, "m1");
    list(w, M("m1", ZERO, ""));
    for (int i = 0; i < 3; i++) {
        w->generation++;
        assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_DEVICE], true, true, "", &job), RL_EDENIED);
        assert_true(job.empty);
    }
    assert_status(w->f.store, 1, "good");
}

static void test_a_part_of_a_list_deletes_nothing(void **state)
{
    struct world *w = *state;
    rl_page_job job;
    issue_for_device(w->f.store, 1, "m1");
    list(w, M("m1", ZERO, ""));
    for (int i = 0; i < 3; i++) {
        w->generation++;
        assert_int_equal(apply(w, &rl_intune_kinds[RL_INTUNE_DEVICE], true, false, M("m2", ZERO, ""), &job), RL_OK);
    }
    assert_status(w->f.store, 1, "good");
}

static void test_without_a_check_compliance_does_not_matter(void **state)
{
    struct world *w = *state;
    w->settings.rules.compliance = RL_CHECK_NEVER;
    issue_for_device(w->f.store, 1, "m1");
    list(w, M("m1", ZERO, BAD));
    assert_status(w->f.store, 1, "good");
}

static void test_the_round_after_the_end_of_its_grace_holds_a_device(void **state)
{
    struct world *w = *state;
    w->settings.rules.grace = 600 * 1000;
    issue_for_device(w->f.store, 1, "m1");
    for (w->now = NOW; w->now < NOW + 600; w->now += 60) {
        assert_int_equal(list(w, M("m1", ZERO, BAD ENROLLED("2023-11-14T22:13:20Z"))), 0); /* NOW */
        assert_status(w->f.store, 1, "good");
    }
    assert_int_equal(list(w, M("m1", ZERO, BAD ENROLLED("2023-11-14T22:13:20.0000000Z"))), 1);
    assert_status(w->f.store, 1, "hold");
    assert_int_equal(list(w, M("m1", ZERO, BAD)), 0);
}

static void test_an_enrolment_far_ahead_gives_no_grace(void **state)
{
    struct world *w = *state;
    w->settings.rules.grace = 600 * 1000;
    issue_for_device(w->f.store, 1, "m1");
    list(w, M("m1", ZERO, BAD ENROLLED("9999-12-31T23:59:59Z")));
    assert_status(w->f.store, 1, "hold");
}

/* ---- certificates of devices that are still enrolling ---- */
enum { DAY = 86400 };

struct enrolling {
    const struct world *w;
    uint8_t serial;
    const char *device, *profile;
    rl_cert_record made;
};

/* As issuing does it: weighed, then stored as it was weighed. */
static rl_err enroll(rl_store_txn *t, void *arg, rl_error *e)
{
    struct enrolling *n = arg;
    rl_cert_id id = cert_id(n->serial);
    rl_cert_record r = {.subject = "CN=x",
                        .profile = (char *)n->profile,
                        .requester = "scep",
                        .issued_at = n->w->now,
                        .not_after = n->w->now + 730 * DAY,
                        .bindings_n = 1};
    rl_object_record pointer = {0};
    (void)e;
    bool known = rl_txn_object(t, RL_SOURCE_ENTRA_DEVICE_NAME, n->device, &pointer) == RL_OK;
    r.bindings[0].source = known ? RL_SOURCE_ENTRA_DEVICE : RL_SOURCE_ENTRA_DEVICE_NAME;
    strcpy(r.bindings[0].id, known ? pointer.target : n->device);
    rl_object_clear(&pointer);
    RL_TRY(rl_weigh_new(t, &r, n->w->now, &n->w->settings));
    rl_cert_settle(&r, n->w->now);
    n->made = r;
    return rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "scep");
}

/* The seconds that the certificate of a bootstrap lasts; 0: it is an ordinary one. */
static int64_t bootstrap_of(struct world *w, uint8_t serial, const char *device, const char *profile)
{
    struct enrolling n = {.w = w, .serial = serial, .device = device, .profile = profile};
    assert_int_equal(rl_store_run(w->f.store, enroll, &n, NULL), RL_OK);
    if (!n.made.bootstrap)
        assert_int_equal(n.made.not_after, w->now + 730 * DAY);
    return n.made.bootstrap ? n.made.not_after - w->now : 0;
}

#define AT_NOW "2023-11-14T22:13:20Z"

static void test_compliance_does_not_count_against_a_bootstrap_certificate(void **state)
{
    struct world *w = *state;
    w->settings.rules.bootstrap = (rl_duration)DAY * 1000;
    w->last_full = NOW;
    list(w, M("m1", "e1", BAD ENROLLED(AT_NOW)) "," M("m2", "e2", OK));
    assert_int_equal(bootstrap_of(w, 1, "e1", "static-aad"), DAY);
    assert_int_equal(bootstrap_of(w, 2, "e2", "static-aad"), 0);
    assert_int_equal(bootstrap_of(w, 3, "e3", "static-aad"), DAY);
    for (uint8_t i = 1; i <= 3; i++)
        assert_status(w->f.store, i, "good");
    w->now += 3600;
    list(w, M("m1", "e1", BAD) "," M("m2", "e2", BAD) "," M("m3", "e3", BAD));
    assert_status(w->f.store, 1, "good");
    assert_status(w->f.store, 2, "hold");
    assert_status(w->f.store, 3, "good"); /* known by now, and enrolling still */
    list(w, M("m1", "e1", OK) "," M("m2", "e2", OK) "," M("m3", "e3", OK));
    assert_int_equal(bootstrap_of(w, 4, "e1", "static-aad"), 0);
    list(w, M("m1", "e1", BAD) "," M("m2", "e2", OK) "," M("m3", "e3", OK));
    assert_status(w->f.store, 1, "good");
    assert_status(w->f.store, 4, "hold");
}

static void test_every_other_reason_counts_against_a_bootstrap_certificate(void **state)
{
    struct world *w = *state;
    w->settings.rules.bootstrap = (rl_duration)DAY * 1000;
    w->last_full = NOW;
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"deviceId\":\"e1\"}");
    list(w, M("m1", "e1", BAD ENROLLED(AT_NOW)) "," M("m2", "e2", BAD ENROLLED(AT_NOW)));
    bootstrap_of(w, 1, "e1", "static-aad");
    bootstrap_of(w, 2, "e2", "static-aad");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"accountEnabled\":false}");
    list(w, M("m1", "e1", BAD) "," M("m2", "e2", BAD STATE("wipeIssued")));
    assert_status(w->f.store, 1, "hold");
    assert_status(w->f.store, 2, "revoked");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"accountEnabled\":true}");
    assert_status(w->f.store, 1, "good");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}");
    list(w, M("m9", ZERO, OK)), list(w, M("m9", ZERO, OK));
    assert_status(w->f.store, 1, "revoked");
}

static void test_a_device_that_has_long_enrolled_gets_no_bootstrap_certificate(void **state)
{
    struct world *w = *state;
    w->settings.rules.bootstrap = (rl_duration)DAY * 1000;
    w->last_full = NOW;
    list(w, M("m1", "e1", BAD ENROLLED(AT_NOW)) "," M("m2", "e2", BAD));
    w->now += DAY - 600;
    assert_int_equal(bootstrap_of(w, 1, "e1", "intune"), 600);
    assert_int_equal(bootstrap_of(w, 2, "e2", "intune"), 0); /* nobody knows when it has */
    w->now += 600;
    assert_int_equal(bootstrap_of(w, 3, "e1", "intune"), 0);
    assert_status(w->f.store, 2, "hold");
    assert_status(w->f.store, 3, "hold");
}

static void test_not_known_means_nothing_before_everything_was_listed(void **state)
{
    struct world *w = *state;
    w->settings.rules.bootstrap = (rl_duration)DAY * 1000;
    w->last_full = NOW;
    assert_int_equal(bootstrap_of(w, 1, "e1", "intune"), 0);
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"deviceId\":\"e1\"}");
    list(w, M("m2", "e2", OK));
    /* in Entra ID alone: that is enough, unless Intune itself has asked for the certificate */
    assert_int_equal(bootstrap_of(w, 2, "e1", "static-aad"), 0);
    assert_int_equal(bootstrap_of(w, 3, "e1", "intune"), DAY);
}

/* ---- certificates that bear the Entra deviceId ---- */
static void test_a_certificate_with_the_entra_id_follows_its_managed_device(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "e1");
    issue_for_device(w->f.store, 2, "e2");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"deviceId\":\"E1\"}"); /* the other one waits for its device */
    assert_int_equal(list(w, M("m1", "e1", BAD) "," M("m2", "E2", BAD)), 2);
    assert_status(w->f.store, 1, "hold");
    assert_status(w->f.store, 2, "hold");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o2\",\"deviceId\":\"e2\"}");
    assert_status(w->f.store, 2, "hold");
    assert_int_equal(list(w, M("m1", "e1", OK) "," M("m2", "E2", OK STATE("retireIssued"))), 2);
    assert_status(w->f.store, 1, "good");
    assert_status(w->f.store, 2, "revoked");
}

static void test_leaving_intune_revokes_nothing_that_entra_has(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "e1");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"deviceId\":\"e1\"}");
    list(w, M("m1", "e1", BAD) "," M("m2", "e2", ""));
    assert_status(w->f.store, 1, "hold");
    list(w, M("m2", "e2", ""));
    list(w, M("m2", "e2", ""));
    assert_status(w->f.store, 1, "good"); /* nor does it have a compliance any more */
}

static void test_with_intune_alone_leaving_it_revokes(void **state)
{
    struct world *w = *state;
    w->settings.rules.directory = RL_DIRECTORY_INTUNE;
    issue_for_device(w->f.store, 1, "e1");
    list(w, M("m1", "e1", "") "," M("m2", "e2", ""));
    list(w, M("m2", "e2", ""));
    assert_status(w->f.store, 1, "good");
    list(w, M("m2", "e2", ""));
    assert_status(w->f.store, 1, "revoked");
}

static void test_the_latest_enrolment_speaks_for_the_device(void **state)
{
    struct world *w = *state;
    static const char *const orders[] = {
        M("m1", "e1", BAD ENROLLED("2023-01-01T00:00:00Z")) "," M("m2", "e1", OK ENROLLED("2023-02-01T00:00:00Z")),
        M("m3", "e1", OK ENROLLED("2023-03-01T00:00:00Z")) "," M("m4", "e1", BAD ENROLLED("2023-01-15T00:00:00Z"))};
    issue_for_device(w->f.store, 1, "e1");
    list(w, orders[0]);
    assert_status(w->f.store, 1, "good");
    list(w, orders[1]);
    assert_status(w->f.store, 1, "good");
}

static void test_an_older_enrolment_takes_over_when_the_latest_goes(void **state)
{
    struct world *w = *state;
    w->settings.rules.directory = RL_DIRECTORY_INTUNE;
    issue_for_device(w->f.store, 1, "e1");
    list(w, M("m1", "e1", BAD ENROLLED("2023-01-01T00:00:00Z")) "," M("m2", "e1", OK ENROLLED("2023-02-01T00:00:00Z")));
    assert_status(w->f.store, 1, "good");
    list(w, M("m1", "e1", BAD ENROLLED("2023-01-01T00:00:00Z")));
    list(w, M("m1", "e1", BAD ENROLLED("2023-01-01T00:00:00Z")));
    assert_status(w->f.store, 1, "hold"); /* not revoked: the device is in Intune */
    list(w, M("m1", "e1", OK));
    assert_status(w->f.store, 1, "good");
}

static void test_a_registration_changes_whose_device_it_is(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "e1");
    issue_for_device(w->f.store, 2, "e2");
    list(w, M("m1", ZERO, BAD));
    assert_status(w->f.store, 1, "good");
    list(w, M("m1", "e1", BAD));
    assert_status(w->f.store, 1, "hold");
    list(w, M("m1", "e2", BAD));
    assert_status(w->f.store, 1, "good");
    assert_status(w->f.store, 2, "hold");
    list(w, M("m1", ZERO, BAD));
    assert_status(w->f.store, 2, "good");
}

/* ---- in one of the two ---- */
static void test_an_id_that_is_in_both_is_gone_when_both_say_so(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "x");
    list(w, M("x", ZERO, "") "," M("m2", ZERO, ""));
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"deviceId\":\"x\"}");
    list(w, M("m2", ZERO, ""));
    list(w, M("m2", ZERO, ""));
    assert_status(w->f.store, 1, "good");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"accountEnabled\":false}");
    assert_status(w->f.store, 1, "hold");
    entra(w, RL_ENTRA_DEVICE, "{\"id\":\"o1\",\"@removed\":{\"reason\":\"deleted\"}}");
    assert_status(w->f.store, 1, "revoked");
}

/* ---- once is as good as twice ---- */
static void test_a_list_applied_again_changes_nothing(void **state)
{
    struct world *w = *state;
    static const char items[] = M("m1", "e1", BAD) "," M("m2", "e1", OK) "," M("m3", "e3", STATE("wipeIssued"));
    for (uint8_t i = 1; i <= 3; i++) {
        char id[4] = {'m', (char)('0' + i), 0};
        issue_for_device(w->f.store, i, id);
    }
    issue_for_device(w->f.store, 4, "e1");
    list(w, items);
    uint64_t before = last_delta(w->f.store);
    for (int i = 0; i < 3; i++)
        assert_int_equal(list(w, items), 0);
    assert_int_equal(last_delta(w->f.store), before);
}

/* ---- users at risk ---- */
#define RISKY(id, level, why) "{\"id\":\"" id "\",\"riskLevel\":\"" level "\",\"riskState\":\"" why "\"}"

static void test_the_story_of_a_user_at_risk(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    entra(w, RL_ENTRA_USER, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    assert_int_equal(risks(w, RISKY("u1", "medium", "atRisk")), 0);
    assert_int_equal(risks(w, RISKY("U1", "high", "atRisk")), 1);
    assert_status(w->f.store, 1, "hold");
    assert_int_equal(risks(w, RISKY("u1", "high", "remediated")), 1);
    assert_status(w->f.store, 1, "good");
    assert_int_equal(risks(w, RISKY("u1", "high", "confirmedCompromised")), 1);
    assert_status(w->f.store, 1, "hold");
    assert_int_equal(risks(w, ""), 1); /* dismissed: the list has nobody any more */
    assert_status(w->f.store, 1, "good");
    assert_int_equal(risks(w, ""), 0);
}

static void test_a_user_whom_one_list_of_pages_leaves_out_stays_at_risk(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    entra(w, RL_ENTRA_USER, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    assert_int_equal(risks(w, RISKY("u1", "high", "atRisk")), 1);
    w->pages = true;
    assert_int_equal(risks(w, ""), 0);
    assert_int_equal(risks(w, RISKY("u1", "high", "atRisk")), 0);
    assert_int_equal(risks(w, ""), 0);
    assert_int_equal(risks(w, ""), 1);
    assert_status(w->f.store, 1, "good");
}

/* Who is still listed keeps the hold while the list tells no level, or one of another year. */
static void test_a_risk_that_is_not_said_stays(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    entra(w, RL_ENTRA_USER, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    assert_int_equal(risks(w, RISKY("u1", "high", "atRisk")), 1);
    assert_int_equal(risks(w, "{\"id\":\"u1\",\"riskLevel\":null,\"riskState\":null}"), 0);
    assert_int_equal(risks(w, "{\"id\":\"u1\"}"), 0);
    assert_int_equal(risks(w, RISKY("u1", "hidden", "atRisk")), 0);
    assert_int_equal(risks(w, RISKY("u1", "unknownFutureValue", "atRisk")), 0);
    assert_int_equal(risks(w, RISKY("u1", "high", "unknownFutureValue")), 0);
    assert_status(w->f.store, 1, "hold");
    assert_int_equal(risks(w, RISKY("u1", "none", "atRisk")), 1);
    assert_status(w->f.store, 1, "good");
    assert_int_equal(risks(w, RISKY("u1", "hidden", "atRisk")), 0);
    assert_status(w->f.store, 1, "good");
}

static void test_a_risk_known_before_the_user_counts(void **state)
{
    struct world *w = *state;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_USER_NAME, "ada@x", RL_SOURCE_NONE, NULL);
    risks(w, RISKY("u1", "high", "atRisk"));
    assert_status(w->f.store, 1, "good");
    entra(w, RL_ENTRA_USER, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
    assert_status(w->f.store, 1, "hold");
}

/* ---- any order ---- */
/* What was last said of the device, its record in Intune and its user, whatever came in between. */
struct last_words {
    bool disabled, linked, bad, risky;
};

static void say_something(struct world *w, struct last_words *l, int what)
{
    char text[160];
    switch (what) {
    case 0:
        l->disabled = !l->disabled;
        snprintf(text, sizeof(text), "{\"id\":\"o1\",\"deviceId\":\"e1\",\"accountEnabled\":%s}",
                 l->disabled ? "false" : "true");
        entra(w, RL_ENTRA_DEVICE, text);
        return;
    case 1:
        l->risky = !l->risky;
        risks(w, l->risky ? RISKY("u1", "high", "atRisk") : "");
        return;
    case 2:
        l->linked = !l->linked;
        break;
    default:
        l->bad = !l->bad;
    }
    snprintf(text, sizeof(text), "{\"id\":\"m1\",\"azureADDeviceId\":\"%s\",\"complianceState\":\"%s\"}",
             l->linked ? "e1" : ZERO, l->bad ? "noncompliant" : "compliant");
    list(w, text);
}

static void test_in_any_order_the_last_words_make_the_status(void **state)
{
    struct world *w = *state;
    struct last_words l = {0};
    unsigned seed = 1;
    issue(w->f.store, 1, RL_SOURCE_ENTRA_DEVICE_NAME, "e1", RL_SOURCE_ENTRA_USER_NAME, "ada@x");
    for (int i = 0; i < 200; i++) {
        say_something(w, &l, rand_r(&seed) % 4);
        if (i == 20) /* the user is seen late */
            entra(w, RL_ENTRA_USER, "{\"id\":\"u1\",\"userPrincipalName\":\"ada@x\"}");
        bool held = l.disabled || (l.linked && l.bad) || (i >= 20 && l.risky);
        assert_status(w->f.store, 1, held ? "hold" : "good");
    }
}

/* ---- new certificates ---- */
static rl_err weigh_new(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_settings *s = arg;
    rl_cert_record r = {.bindings = {{RL_SOURCE_ENTRA_DEVICE_NAME, "e1"}, {RL_SOURCE_INTUNE_DEVICE, "m2"}},
                        .bindings_n = 2};
    (void)e;
    rl_err err = rl_weigh_new(t, &r, NOW, s);
    assert_int_equal(r.why, RL_WHY_NOT_COMPLIANT | RL_WHY_WIPED);
    return err;
}

static void test_a_new_certificate_is_weighed(void **state)
{
    struct world *w = *state;
    list(w, M("m1", "e1", BAD) "," M("m2", ZERO, STATE("wipeFailed")));
    assert_int_equal(rl_store_run(w->f.store, weigh_new, &w->settings, NULL), RL_OK);
}

struct waiting {
    const rl_settings *settings;
    int64_t first_issued_at;
    uint32_t why; /* out */
};

/* Two days old, and the directories were compared as a whole a day ago; the grace is a week. */
static rl_err weigh_waiting(rl_store_txn *t, void *arg, rl_error *e)
{
    struct waiting *w = arg;
    const rl_cursor_record compared = {.link = (char *)"", .complete = true, .last_full = NOW - DAY};
    rl_cert_record r = {.issued_at = NOW - 2 * DAY,
                        .first_issued_at = w->first_issued_at,
                        .bindings = {{RL_SOURCE_ENTRA_DEVICE_NAME, "nobody"}},
                        .bindings_n = 1};
    (void)e;
    RL_TRY(rl_txn_put_cursor(t, "entra-device", &compared));
    RL_TRY(rl_txn_put_cursor(t, "intune-device", &compared));
    RL_TRY(rl_weigh_new(t, &r, NOW, w->settings));
    w->why = r.why;
    return RL_OK;
}

static void test_renewing_does_not_prolong_the_wait_for_a_device(void **state)
{
    struct world *w = *state;
    static const struct {
        int64_t first_issued_at;
        uint32_t why;
    } rows[] = {{0, 0}, {NOW - 7 * DAY, 0}, {NOW - 9 * DAY, RL_WHY_DELETED}};
    w->settings.sync.new_device_grace = 7 * (rl_duration)DAY * 1000;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct waiting waiting = {.settings = &w->settings, .first_issued_at = rows[i].first_issued_at};
        assert_int_equal(rl_store_run(w->f.store, weigh_waiting, &waiting, NULL), RL_OK);
        assert_int_equal(waiting.why, rows[i].why);
    }
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_renewing_does_not_prolong_the_wait_for_a_device),
        STORE_TEST(test_compliance_does_not_count_against_a_bootstrap_certificate),
        STORE_TEST(test_every_other_reason_counts_against_a_bootstrap_certificate),
        STORE_TEST(test_a_device_that_has_long_enrolled_gets_no_bootstrap_certificate),
        STORE_TEST(test_not_known_means_nothing_before_everything_was_listed),
        STORE_TEST(test_the_story_of_a_managed_device),
        STORE_TEST(test_gone_is_what_two_lists_leave_out),
        STORE_TEST(test_what_is_left_out_once_is_told),
        STORE_TEST(test_a_list_of_nothing_is_refused_again_and_again),
        STORE_TEST(test_a_part_of_a_list_deletes_nothing),
        STORE_TEST(test_without_a_check_compliance_does_not_matter),
        STORE_TEST(test_the_round_after_the_end_of_its_grace_holds_a_device),
        STORE_TEST(test_an_enrolment_far_ahead_gives_no_grace),
        STORE_TEST(test_a_certificate_with_the_entra_id_follows_its_managed_device),
        STORE_TEST(test_leaving_intune_revokes_nothing_that_entra_has),
        STORE_TEST(test_with_intune_alone_leaving_it_revokes),
        STORE_TEST(test_the_latest_enrolment_speaks_for_the_device),
        STORE_TEST(test_an_older_enrolment_takes_over_when_the_latest_goes),
        STORE_TEST(test_a_registration_changes_whose_device_it_is),
        STORE_TEST(test_an_id_that_is_in_both_is_gone_when_both_say_so),
        STORE_TEST(test_a_list_applied_again_changes_nothing),
        STORE_TEST(test_the_story_of_a_user_at_risk),
        STORE_TEST(test_a_user_whom_one_list_of_pages_leaves_out_stays_at_risk),
        STORE_TEST(test_a_risk_that_is_not_said_stays),
        STORE_TEST(test_a_risk_known_before_the_user_counts),
        STORE_TEST(test_in_any_order_the_last_words_make_the_status),
        STORE_TEST(test_a_new_certificate_is_weighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
