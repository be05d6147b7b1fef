/* Whatever the directories tell, in whatever order: after each event every certificate has the status that the rules
 * give for what is known then. So weighing all of them anew changes none. Events are drawn from one seed; names are
 * few, so that objects meet, are renamed, take one another's names, go, come back and are made again. */
#include "sync/apply.h"
#include "sync/brake.h"
#include "sync/weigh.h"

#include "tests/unit/sync/fixture.h"

#define ORIGIN "https://graph.microsoft.com"
#define ZERO   "00000000-0000-0000-0000-000000000000"
enum { NOW = 1700000000, SEEDS = 12, EVENTS = 150, CERTS_MAX = 200, DAY = 86400 };

struct world {
    folder_store f;
    rl_settings settings;
    uint64_t generation;
    int64_t now;
    unsigned seeded, seed;
    unsigned n;              /* certificates */
    rl_buf told;             /* the events, for who has to find out */
    bool all;                /* objects are told of */
    const char *names[2][3]; /* of devices and users: no two have one at a time */
};

static unsigned draw(struct world *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) / 7 % n;
}

#define PICK(w, ...)                                                                                                   \
    ((const char *const[]){__VA_ARGS__}[draw(w, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))])

/* ---- events ---- */
static void apply(struct world *w, const rl_graph_kind *kind, bool full, const rl_buf *items)
{
    rl_buf text = {0};
    rl_graph_page page;
    rl_error e = {0};
    const char *link = kind->shape.listing ? "" : "\"@odata.deltaLink\":\"" ORIGIN "/x\",";
    w->generation += full;
    rl_buf_printf(&text, "{%s\"value\":[%.*s]}", link, (int)items->n, items->n ? (char *)items->p : "");
    rl_buf_printf(&w->told, "%s%s %.*s\n", kind->name, full ? " full" : "", (int)text.n, (char *)text.p);
    assert_int_equal(rl_graph_page_parse(rl_buf_span(&text), 1 << 20, &kind->shape, ORIGIN, &page, NULL), RL_OK);
    rl_page_job job = {.kind = kind,
                       .page = &page,
                       .settings = &w->settings,
                       .now = w->now,
                       .one_page = full,
                       .next = {.link = "",
                                .full = full,
                                .complete = true,
                                .generation = w->generation,
                                .last_success = w->now,
                                .last_full = w->now}};
    rl_err err = rl_store_run(w->f.store, rl_page_apply, &job, &e);
    if (err != RL_OK && !job.empty)
        fail_msg("%s", e.message);
    rl_graph_page_free(&page);
    rl_buf_free(&text);
}

static void comma(rl_buf *items)
{
    if (items->n)
        rl_buf_printf(items, ",");
}

/* A name that nobody else has, or the one before. */
static const char *give_name(struct world *w, unsigned kind, const char *id, const char *name, const char *none)
{
    const char **own = &w->names[kind][id[1] - '1'];
    for (int i = 0; i < 3; i++)
        if (&w->names[kind][i] != own && w->names[kind][i] && strcmp(w->names[kind][i], name) == 0)
            return *own ? *own : none;
    *own = name;
    return name;
}

/* A device has none until it is registered, and the same from then on; the third is the first, made again. The second
 * has Intune's id of it, as an id that is in both. */
static const char *device_id(struct world *w, const char *id)
{
    const char *const ids[] = {"e1", w->seeded % 2 ? "m1" : "e2", "e1"};
    const char *name = w->names[0][id[1] - '1'];
    return name || draw(w, 3) ? give_name(w, 0, id, ids[id[1] - '1'], ZERO) : ZERO;
}

static bool goes(struct world *w, unsigned kind, rl_buf *items, const char *id, bool full)
{
    if (full || draw(w, 5))
        return false;
    rl_buf_printf(items, "{\"id\":\"%s\",\"@removed\":{\"reason\":\"deleted\"}}", id);
    w->names[kind][id[1] - '1'] = NULL;
    return true;
}

static void put_device(struct world *w, rl_buf *items, const char *id, bool full)
{
    comma(items);
    if (goes(w, 0, items, id, full))
        return;
    rl_buf_printf(items, "{\"id\":\"%s\",\"deviceId\":\"%s\"%s%s}", id, device_id(w, id),
                  PICK(w, "", ",\"accountEnabled\":true", ",\"accountEnabled\":true", ",\"accountEnabled\":false"),
                  PICK(w, "", ",\"isCompliant\":true", ",\"isCompliant\":false", ",\"isCompliant\":null"));
}

static void put_user(struct world *w, rl_buf *items, const char *id, bool full)
{
    comma(items);
    if (goes(w, 1, items, id, full))
        return;
    rl_buf_printf(items, "{\"id\":\"%s\",\"userPrincipalName\":\"%s\"%s%s}", id,
                  give_name(w, 1, id, PICK(w, "ada@x", "bob@x", "eve@x"), ""),
                  PICK(w, "", ",\"mail\":\"ada@x\"", ",\"mail\":\"bob@x\"", ",\"mail\":null"),
                  PICK(w, "", ",\"accountEnabled\":true", ",\"accountEnabled\":true", ",\"accountEnabled\":false"));
}

static void put_managed(struct world *w, rl_buf *items, const char *id, bool full)
{
    (void)full;
    comma(items);
    rl_buf_printf(
        items, "{\"id\":\"%s\"%s%s%s%s}", id,
        PICK(w, "", ",\"azureADDeviceId\":\"e1\"", ",\"azureADDeviceId\":\"e1\"", ",\"azureADDeviceId\":\"e2\"",
             ",\"azureADDeviceId\":\"m2\"", ",\"azureADDeviceId\":\"" ZERO "\""),
        PICK(w, "", ",\"complianceState\":\"compliant\"", ",\"complianceState\":\"noncompliant\"",
             ",\"complianceState\":\"unknown\"", ",\"complianceState\":\"inGracePeriod\""),
        draw(w, 20) ? PICK(w, "", ",\"managementState\":\"managed\"") : ",\"managementState\":\"wipePending\"",
        PICK(w, "", ",\"enrolledDateTime\":\"2023-11-14T22:13:20Z\"", ",\"enrolledDateTime\":\"2023-11-15T10:13:20Z\"",
             ",\"enrolledDateTime\":\"2023-01-01T00:00:00Z\""));
}

static void put_risk(struct world *w, rl_buf *items, const char *id, bool full)
{
    (void)full;
    comma(items);
    rl_buf_printf(items, "{\"id\":\"%s\",\"riskLevel\":\"%s\",\"riskState\":\"%s\"}", id,
                  PICK(w, "high", "low", "hidden"), PICK(w, "atRisk", "confirmedCompromised", "remediated"));
}

/* Some of three objects, each as like as not. */
static void tell(struct world *w, const rl_graph_kind *kind, char letter,
                 void (*put)(struct world *w, rl_buf *items, const char *id, bool full), bool full)
{
    rl_buf items = {0};
    for (char number = '1'; number <= '3'; number++) {
        const char id[] = {letter, number, 0};
        if (w->all || draw(w, full ? 4 : 2))
            put(w, &items, id, full);
        else if (full && (letter == 'o' || put == put_user))
            w->names[letter == 'u'][number - '1'] = NULL;
    }
    apply(w, kind, full, &items);
    rl_buf_free(&items);
}

/* As the CA does it: to what has the name, or to the name. */
static rl_err bind(rl_store_txn *t, rl_cert_record *r, rl_source name_source, const char *name, rl_source source)
{
    rl_object_record pointer = {0};
    rl_err err = rl_txn_object(t, name_source, name, &pointer);
    rl_binding *b = &r->bindings[r->bindings_n++];
    b->source = err == RL_OK && pointer.target ? source : name_source;
    strcpy(b->id, err == RL_OK && pointer.target ? pointer.target : name);
    rl_object_clear(&pointer);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

struct order {
    struct world *w;
    const char *device, *user;
};

static rl_err issue_one(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct order *o = arg;
    struct world *w = o->w;
    rl_cert_id id = cert_id((uint8_t)(w->n + 1));
    rl_object_record managed;
    rl_cert_record r = {
        .subject = "CN=x", .profile = "static-aad", .requester = "scep", .issued_at = w->now, .not_after = 4000000000};
    (void)e;
    if (o->device) {
        assert_int_equal(bind(t, &r, RL_SOURCE_ENTRA_DEVICE_NAME, o->device, RL_SOURCE_ENTRA_DEVICE), RL_OK);
        if (rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE, o->device, &managed) == RL_OK) {
            r.bindings[r.bindings_n].source = RL_SOURCE_INTUNE_DEVICE;
            strcpy(r.bindings[r.bindings_n++].id, o->device);
            rl_object_clear(&managed);
        }
    }
    if (o->user)
        assert_int_equal(bind(t, &r, RL_SOURCE_ENTRA_USER_NAME, o->user, RL_SOURCE_ENTRA_USER), RL_OK);
    RL_TRY(rl_weigh_new(t, &r, w->now, &w->settings));
    if (r.why & (RL_WHY_DELETED | RL_WHY_WIPED))
        return RL_OK; /* the CA refuses */
    w->n++;
    rl_cert_settle(&r, w->now);
    return rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "scep");
}

static void issue_any(struct world *w)
{
    struct order o = {w, PICK(w, "e1", "e2", "m1", "m2"), PICK(w, NULL, NULL, "ada@x", "bob@x")};
    if (draw(w, 4) == 0 && o.user)
        o.device = NULL;
    rl_buf_printf(&w->told, "issue %u %s %s\n", w->n + 1, o.device ? o.device : "-", o.user ? o.user : "-");
    if (w->n < CERTS_MAX)
        assert_int_equal(rl_store_run(w->f.store, issue_one, &o, NULL), RL_OK);
}

/* ---- weighed anew ---- */
struct again {
    struct world *w;
    bool expected; /* that some change */
};

static rl_err weigh_all(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct again *a = arg;
    struct world *w = a->w;
    rl_weigher weigher = {.settings = &w->settings, .origin = "test", .now = w->now, .worse = RL_WORSE_APPLY};
    (void)e;
    for (unsigned i = 1; i <= w->n; i++) {
        rl_cert_id id = cert_id((uint8_t)i);
        rl_cert_record before, after;
        RL_TRY(rl_txn_cert(t, &id, &before));
        RL_TRY(rl_weigh_stored(t, &weigher, &id, NULL, NULL));
        RL_TRY(rl_txn_cert(t, &id, &after));
        if (!a->expected && after.why != before.why && before.status != RL_STATUS_REVOKED) {
            fprintf(stderr, "%.*s", (int)w->told.n, (char *)w->told.p);
            fail_msg("certificate %u has the reasons %x, and %x when it is weighed anew", i, before.why, after.why);
        }
        rl_cert_clear(&before);
        rl_cert_clear(&after);
    }
    return RL_OK;
}

static void set_rules(struct world *w)
{
    struct again a = {w, true};
    w->settings.rules.directory = (rl_device_directory)draw(w, 5);
    w->settings.rules.compliance = draw(w, 3) ? RL_CHECK_ALWAYS : RL_CHECK_NEVER;
    w->settings.rules.user_risk = draw(w, 3) ? RL_CHECK_ALWAYS : RL_CHECK_NEVER;
    w->settings.rules.untolerated_risks = draw(w, 8);
    w->settings.rules.revoke_on_wipe = draw(w, 2);
    w->settings.rules.grace = draw(w, 2) ? 0 : (int64_t)DAY / 2 * 1000;
    rl_buf_printf(&w->told, "rules: directory %d compliance %d risk %d levels %u wipe %d grace %lld\n",
                  (int)w->settings.rules.directory, (int)w->settings.rules.compliance, (int)w->settings.rules.user_risk,
                  w->settings.rules.untolerated_risks, w->settings.rules.revoke_on_wipe,
                  (long long)w->settings.rules.grace);
    assert_int_equal(rl_store_run(w->f.store, weigh_all, &a, NULL), RL_OK);
}

static void happen(struct world *w)
{
    const rl_graph_kind *devices = &rl_entra_kinds[RL_ENTRA_DEVICE], *users = &rl_entra_kinds[RL_ENTRA_USER],
                        *managed = &rl_intune_kinds[RL_INTUNE_DEVICE], *risks = &rl_intune_kinds[RL_INTUNE_USER_RISK];
    switch (draw(w, 13)) {
    case 0:
    case 1:
    case 2:
        if (rl_rules_watch(&w->settings, RL_BOUND_ENTRA_DEVICE))
            tell(w, devices, 'o', put_device, draw(w, 6) == 0);
        return;
    case 3:
    case 4:
        tell(w, users, 'u', put_user, draw(w, 6) == 0);
        return;
    case 5:
    case 6:
    case 7:
        if (rl_rules_watch(&w->settings, RL_BOUND_INTUNE_DEVICE))
            tell(w, managed, 'm', put_managed, true);
        return;
    case 8:
        tell(w, risks, 'u', put_risk, true);
        return;
    case 9:
        set_rules(w);
        return;
    case 10: /* the end of a grace counts when a device is listed */
        w->now += draw(w, DAY / 2);
        w->all = true;
        if (rl_rules_watch(&w->settings, RL_BOUND_INTUNE_DEVICE))
            tell(w, managed, 'm', put_managed, true);
        w->all = false;
        return;
    default:
        issue_any(w);
    }
}

static void begin(struct world *w, unsigned seed)
{
    *w = (struct world){.now = NOW, .seeded = seed, .seed = seed};
    folder_store_open(&w->f);
    w->settings.sync.new_device_grace = (int64_t)3650 * DAY * 1000;
    set_rules(w);
    tell(w, &rl_intune_kinds[RL_INTUNE_DEVICE], 'm', put_managed, true);
    tell(w, &rl_entra_kinds[RL_ENTRA_DEVICE], 'o', put_device, true);
}

static void end(struct world *w)
{
    rl_buf_free(&w->told);
    folder_store_remove(&w->f);
}

static void assert_settled(struct world *w)
{
    struct again a = {w, false};
    assert_int_equal(rl_store_run(w->f.store, weigh_all, &a, NULL), RL_OK);
}

static void test_every_event_leaves_nothing_to_weigh_anew(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        begin(&w, seed);
        for (int i = 0; i < EVENTS; i++) {
            happen(&w);
            assert_settled(&w);
        }
        end(&w);
    }
}

/* ---- with a limit ---- */
struct changes {
    struct world *w;
    uint64_t last, certificates;
};

static bool count_held(const rl_cert_id *id, void *n)
{
    (void)id;
    ++*(uint64_t *)n;
    return true;
}

static bool check_change(uint64_t id, const rl_change_record *r, void *ctx)
{
    struct changes *c = ctx;
    uint64_t held = 0;
    assert_int_equal(rl_store_each_held(c->w->f.store, id, count_held, &held), RL_OK);
    assert_int_equal(held, r->certificates);
    assert_true(held > 0);
    c->last = id;
    c->certificates += held;
    return true;
}

/* Each certificate that waits does so in one change, and each change has some. */
static struct changes look_at_changes(struct world *w)
{
    struct changes c = {.w = w};
    uint64_t waiting = 0;
    assert_int_equal(rl_store_each_change(w->f.store, check_change, &c), RL_OK);
    for (unsigned i = 1; i <= w->n; i++) {
        rl_cert_id id = cert_id((uint8_t)i);
        rl_cert_record cert;
        assert_int_equal(rl_store_cert(w->f.store, &id, &cert), RL_OK);
        waiting += cert.held.change != 0;
        assert_true(cert.held.change == 0 || cert.status != RL_STATUS_REVOKED);
        rl_cert_clear(&cert);
    }
    assert_int_equal(c.certificates, waiting);
    return c;
}

static void decide(struct world *w, uint64_t change, rl_change_state to)
{
    rl_decision d = {.change = change, .to = to, .who = "admin", .now = w->now};
    rl_release job = {.settings = &w->settings, .now = w->now};
    rl_buf_printf(&w->told, "change %llu is %s\n", (unsigned long long)change, rl_change_state_name(to));
    assert_int_equal(rl_store_run(w->f.store, rl_brake_decide, &d, NULL), RL_OK);
    while (to == RL_CHANGE_RELEASED && !job.done)
        assert_int_equal(rl_store_run(w->f.store, rl_brake_release, &job, NULL), RL_OK);
}

static void test_what_waits_is_all_that_a_limit_leaves_out(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        struct changes c;
        begin(&w, seed);
        w.settings.sync.mass_limit = (rl_share){.value = 1};
        for (int i = 0; i < EVENTS; i++) {
            happen(&w);
            assert_settled(&w);
            c = look_at_changes(&w);
            if (c.last && draw(&w, 8) == 0)
                decide(&w, c.last, draw(&w, 2) ? RL_CHANGE_RELEASED : RL_CHANGE_DROPPED);
        }
        while ((c = look_at_changes(&w)).last)
            decide(&w, c.last, RL_CHANGE_RELEASED);
        assert_settled(&w);
        end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_event_leaves_nothing_to_weigh_anew),
        cmocka_unit_test(test_what_waits_is_all_that_a_limit_leaves_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
