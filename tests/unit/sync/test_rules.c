/* The status rules, cell by cell, against the table of SCEPman's documentation as it is written down here a second
 * time: which state of which object makes which status, under which settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sync/rules.h"

enum { ENROLLED = 1700000000, GRACE = 600, HOUR_LATER = ENROLLED + 3600 };
#define INTUNE  RL_BOUND_INTUNE_DEVICE
#define ENTRA   RL_BOUND_ENTRA_DEVICE
#define MANAGED RL_BOUND_MANAGED_DEVICE
#define USER    RL_BOUND_ENTRA_USER
#define RISK    RL_BOUND_USER_RISK
#define LISTED  RL_BOUND_LISTED_CERT

/* The settings that differ from SCEPman's defaults, which the design has made ours (but for the directory). */
static rl_settings settings(rl_device_directory directory)
{
    rl_settings s = {0};
    s.rules.directory = directory;
    s.rules.revoke_on_wipe = true;
    s.rules.untolerated_risks = 1u << 2;
    return s;
}

static rl_settings strict(rl_device_directory directory)
{
    rl_settings s = settings(directory);
    s.rules.compliance = s.rules.user_risk = RL_CHECK_ALWAYS;
    return s;
}

static uint32_t why_at(const rl_settings *s, rl_bound_kind kind, const rl_object_record *o, int64_t now)
{
    rl_bound bound = {0};
    bound.object[kind] = o;
    rl_verdict v = rl_rules_weigh(s, &bound, now);
    assert_int_equal(v.why & ~v.scope, 0);
    return v.why;
}

/* ---- certificates of devices that are still enrolling ---- */
static int64_t bootstrap_at(const rl_settings *s, rl_bound bound, int64_t now)
{
    return rl_rules_bootstrap_end(s, &bound, now);
}

static void test_only_a_device_that_is_enrolling_gets_a_bootstrap_certificate(void **state)
{
    enum { DAY = 86400, NOW = ENROLLED + 3600, MINUTES = 300 };
    (void)state;
    rl_settings s = strict(RL_DIRECTORY_BOTH);
    s.rules.bootstrap = (rl_duration)DAY * 1000;
    rl_object_record is = {
        .exists = true, .enabled = true, .enrolled = ENROLLED, .compliance = RL_COMPLIANCE_NONCOMPLIANT};
    const rl_object_record no = {0}, entra = {.exists = true, .enabled = true};
    const rl_bound unknown = {0}, there_not_yet = {.object = {[INTUNE] = &no}}, own = {.object = {[INTUNE] = &is}},
                   managed = {.object = {[MANAGED] = &is, [ENTRA] = &entra}},
                   only_entra = {.object = {[ENTRA] = &entra}},
                   on_its_way = {.object = {[ENTRA] = &entra}, .from_intune = true};
    assert_int_equal(bootstrap_at(&s, unknown, NOW), NOW + DAY);
    assert_int_equal(bootstrap_at(&s, there_not_yet, NOW), NOW + DAY);
    assert_int_equal(bootstrap_at(&s, own, NOW), ENROLLED + DAY);
    assert_int_equal(bootstrap_at(&s, managed, NOW), ENROLLED + DAY);
    assert_int_equal(bootstrap_at(&s, only_entra, NOW), 0);
    assert_int_equal(bootstrap_at(&s, on_its_way, NOW), NOW + DAY);
    /* it has been there for long, or nobody knows for how long */
    assert_int_equal(bootstrap_at(&s, own, ENROLLED + DAY - MINUTES), ENROLLED + DAY);
    assert_int_equal(bootstrap_at(&s, own, ENROLLED + DAY - MINUTES + 1), 0);
    is.enrolled = INT64_C(253402300799); /* in the year 9999 */
    assert_int_equal(bootstrap_at(&s, own, NOW), NOW + DAY);
    is.enrolled = 0;
    assert_int_equal(bootstrap_at(&s, own, NOW), 0);
    is.enrolled = ENROLLED;
    static const rl_compliance fine[] = {RL_COMPLIANCE_UNSAID, RL_COMPLIANCE_COMPLIANT, RL_COMPLIANCE_IN_GRACE_PERIOD,
                                         RL_COMPLIANCE_CONFIG_MANAGER};
    for (size_t i = 0; i < 4; i++) {
        is.compliance = fine[i];
        assert_int_equal(bootstrap_at(&s, own, NOW), 0);
    }
}

static void test_two_records_of_a_device_that_is_enrolling(void **state)
{
    (void)state;
    rl_settings s = strict(RL_DIRECTORY_INTUNE);
    s.rules.bootstrap = 3600000;
    const rl_object_record bad = {.exists = true, .enrolled = ENROLLED, .compliance = RL_COMPLIANCE_ERROR},
                           good = {.exists = true, .compliance = RL_COMPLIANCE_COMPLIANT}, no = {0};
    const rl_bound first = {.object = {[INTUNE] = &bad, [MANAGED] = &good}},
                   second = {.object = {[INTUNE] = &good, [MANAGED] = &bad}},
                   left = {.object = {[INTUNE] = &no, [MANAGED] = &bad}},
                   both = {.object = {[INTUNE] = &good, [MANAGED] = &good}};
    assert_int_equal(bootstrap_at(&s, first, ENROLLED), ENROLLED + 3600);
    assert_int_equal(bootstrap_at(&s, second, ENROLLED), ENROLLED + 3600);
    assert_int_equal(bootstrap_at(&s, left, ENROLLED), ENROLLED + 3600);
    assert_int_equal(bootstrap_at(&s, both, ENROLLED), 0);
}

static void test_whose_word_on_compliance_a_bootstrap_certificate_waits_for(void **state)
{
    (void)state;
    rl_settings s = strict(RL_DIRECTORY_AAD);
    const rl_bound none = {0}, without = {.without_intune = true};
    assert_null(rl_rules_bootstrap_source(&s, &none)); /* turned off */
    s.rules.bootstrap = 3600000;
    assert_string_equal(rl_rules_bootstrap_source(&s, &none), "entra-device");
    s.rules.directory = RL_DIRECTORY_OPPORTUNISTIC;
    assert_string_equal(rl_rules_bootstrap_source(&s, &none), "intune-device");
    assert_string_equal(rl_rules_bootstrap_source(&s, &without), "entra-device");
    s.rules.grace = 1000;
    assert_null(rl_rules_bootstrap_source(&s, &none));
    s.rules.grace = 0;
    s.rules.compliance = RL_CHECK_NEVER;
    assert_null(rl_rules_bootstrap_source(&s, &none));
    assert_int_equal(rl_rules_bootstrap_end(&s, &none, ENROLLED), 0);
}

/* ---- one object, one state, all directories ---- */
static const rl_object_record there = {.exists = true,
                                       .enabled = true,
                                       .compliance = RL_COMPLIANCE_COMPLIANT,
                                       .management = RL_MANAGEMENT_MANAGED},
                              gone = {.enabled = true}, off = {.exists = true},
                              bad = {.exists = true, .enabled = true, .compliance = RL_COMPLIANCE_NONCOMPLIANT},
                              wiped = {.exists = true, .enabled = true, .management = RL_MANAGEMENT_WIPE_ISSUED},
                              risky = {.exists = true, .risk = RL_RISK_HIGH}, calm = {.risk = RL_RISK_NONE};

static void test_each_cell(void **state)
{
    enum {
        D = RL_WHY_DELETED,
        W = RL_WHY_WIPED,
        O = RL_WHY_DISABLED,
        C = RL_WHY_NOT_COMPLIANT,
        R = RL_WHY_USER_RISK,
        L = RL_WHY_ENDPOINT_LIST
    };
    static const struct {
        const char *name;
        rl_bound_kind kind;
        const rl_object_record *o;
        uint32_t why[5]; /* with AAD, Intune, AADAndIntune, …Opportunistic, …AndEndpointlist */
    } rows[] = {
        {"Intune device, there", INTUNE, &there, {0, 0, 0, 0, 0}},
        {"Intune device, deleted", INTUNE, &gone, {0, D, D, D, D}},
        {"Intune device, wiped", INTUNE, &wiped, {0, W, W, W, W}},
        {"Intune device, not compliant", INTUNE, &bad, {0, C, C, C, C}},
        {"Intune device, cannot be disabled", INTUNE, &off, {0, 0, 0, 0, 0}},
        {"Entra device, there", ENTRA, &there, {0, 0, 0, 0, 0}},
        {"Entra device, deleted", ENTRA, &gone, {D, 0, D, D, D}},
        {"Entra device, disabled", ENTRA, &off, {O, 0, O, O, O}},
        {"Entra device, not compliant as Entra has it", ENTRA, &bad, {C, 0, 0, 0, 0}},
        {"Entra device, not compliant as Intune has it", MANAGED, &bad, {0, C, C, C, C}},
        {"Entra device, wiped by Intune", MANAGED, &wiped, {0, W, W, W, W}},
        {"Entra device, gone from Intune", MANAGED, &gone, {0, D, 0, 0, 0}},
        {"Entra device, in Intune", MANAGED, &there, {0, 0, 0, 0, 0}},
        {"user, there", USER, &there, {0, 0, 0, 0, 0}},
        {"user, deleted", USER, &gone, {D, D, D, D, D}},
        {"user, disabled", USER, &off, {O, O, O, O, O}},
        {"user, at risk", RISK, &risky, {R, R, R, R, R}},
        {"user, at risk no more", RISK, &calm, {0, 0, 0, 0, 0}},
        {"certificate, revoked in Intune's list", LISTED, &there, {0, 0, 0, 0, L}},
        {"certificate, in Intune's list no more", LISTED, &gone, {0, 0, 0, 0, 0}},
        {"Jamf computer, there", RL_BOUND_JAMF_COMPUTER, &there, {0, 0, 0, 0, 0}},
        {"Jamf computer, deleted", RL_BOUND_JAMF_COMPUTER, &gone, {D, D, D, D, D}},
        {"Jamf mobile device, there", RL_BOUND_JAMF_DEVICE, &there, {0, 0, 0, 0, 0}},
        {"Jamf mobile device, deleted", RL_BOUND_JAMF_DEVICE, &gone, {D, D, D, D, D}},
        {"Jamf user, there", RL_BOUND_JAMF_USER, &there, {0, 0, 0, 0, 0}},
        {"Jamf user, deleted", RL_BOUND_JAMF_USER, &gone, {D, D, D, D, D}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int d = 0; d < 5; d++) {
            const rl_settings s = strict((rl_device_directory)d);
            uint32_t why = why_at(&s, rows[i].kind, rows[i].o, HOUR_LATER);
            if (why != rows[i].why[d])
                fail_msg("%s, directory %d: %#x", rows[i].name, d, why);
        }
}

static void test_a_disabled_object_that_is_deleted_is_deleted(void **state)
{
    const rl_object_record o = {0};
    const rl_settings s = settings(RL_DIRECTORY_BOTH);
    (void)state;
    assert_int_equal(why_at(&s, ENTRA, &o, HOUR_LATER), RL_WHY_DELETED);
    assert_int_equal(why_at(&s, USER, &o, HOUR_LATER), RL_WHY_DELETED);
}

/* ---- Intune's words ---- */
static void test_management_states(void **state)
{
    static const char *const for_good[] = {"retirePending", "retireFailed",  "wipePending",  "wipeFailed",
                                           "unhealthy",     "deletePending", "retireIssued", "wipeIssued"};
    static const char *const harmless[] = {"managed", "wipeCanceled", "retireCanceled", "discovered", "", "a new word"};
    rl_settings s = settings(RL_DIRECTORY_INTUNE);
    (void)state;
    for (int wipe = 0; wipe < 2; wipe++) {
        s.rules.revoke_on_wipe = wipe;
        for (size_t i = 0; i < sizeof(for_good) / sizeof(for_good[0]); i++) {
            const rl_object_record o = {.exists = true, .management = rl_management_parse(for_good[i])};
            assert_int_equal(why_at(&s, INTUNE, &o, HOUR_LATER), wipe ? RL_WHY_WIPED : 0);
            assert_int_equal(why_at(&s, MANAGED, &o, HOUR_LATER), wipe ? RL_WHY_WIPED : 0);
        }
        for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
            const rl_object_record o = {.exists = true, .management = rl_management_parse(harmless[i])};
            assert_int_equal(why_at(&s, INTUNE, &o, HOUR_LATER), 0);
        }
    }
}

static void test_compliance_states(void **state)
{
    static const struct {
        const char *word;
        bool bad;
    } rows[] = {{"unknown", true},        {"noncompliant", true}, {"conflict", true},
                {"error", true},          {"compliant", false},   {"inGracePeriod", false},
                {"configManager", false}, {"a new word", false},  {"", false}};
    rl_settings s = settings(RL_DIRECTORY_INTUNE);
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const rl_object_record o = {.exists = true, .compliance = rl_compliance_parse(rows[i].word)};
        s.rules.compliance = RL_CHECK_NEVER;
        assert_int_equal(why_at(&s, INTUNE, &o, HOUR_LATER), 0);
        s.rules.compliance = RL_CHECK_ALWAYS;
        assert_int_equal(why_at(&s, INTUNE, &o, HOUR_LATER), rows[i].bad ? RL_WHY_NOT_COMPLIANT : 0);
    }
}

static void test_the_grace_period_counts_from_enrolment(void **state)
{
    rl_settings s = strict(RL_DIRECTORY_INTUNE);
    rl_object_record o = bad;
    o.enrolled = ENROLLED;
    s.rules.grace = GRACE * 1000;
    (void)state;
    assert_int_equal(rl_rules_grace_end(&s, &o), ENROLLED + GRACE);
    assert_int_equal(why_at(&s, INTUNE, &o, ENROLLED), 0);
    assert_int_equal(why_at(&s, INTUNE, &o, ENROLLED + GRACE - 1), 0);
    assert_int_equal(why_at(&s, INTUNE, &o, ENROLLED + GRACE), RL_WHY_NOT_COMPLIANT);
    assert_int_equal(why_at(&s, MANAGED, &o, ENROLLED + GRACE - 1), 0);
    o.enrolled = 0; /* nobody knows: no grace */
    assert_int_equal(why_at(&s, INTUNE, &o, ENROLLED), RL_WHY_NOT_COMPLIANT);
    o = wiped; /* grace is for compliance only */
    o.enrolled = ENROLLED;
    assert_int_equal(why_at(&s, INTUNE, &o, ENROLLED), RL_WHY_WIPED);
    assert_int_equal(rl_rules_grace_end(&s, &there), 0);
}

/* ---- risk ---- */
static void test_risk_levels(void **state)
{
    static const char *const levels[] = {"low", "medium", "high"};
    rl_settings s = settings(RL_DIRECTORY_AAD);
    (void)state;
    for (unsigned set = 0; set < 8; set++)
        for (unsigned i = 0; i < 3; i++) {
            const rl_object_record o = {.exists = true, .risk = rl_risk_parse(levels[i])};
            s.rules.untolerated_risks = set;
            s.rules.user_risk = RL_CHECK_ALWAYS;
            assert_int_equal(why_at(&s, RISK, &o, HOUR_LATER), set & (1u << i) ? RL_WHY_USER_RISK : 0);
            s.rules.user_risk = RL_CHECK_NEVER;
            assert_int_equal(why_at(&s, RISK, &o, HOUR_LATER), 0);
        }
    assert_int_equal(rl_risk_parse("hidden"), RL_RISK_NONE);
    assert_int_equal(rl_risk_parse("none"), RL_RISK_NONE);
}

/* ---- several objects ---- */
static uint32_t why_of(const rl_settings *s, const rl_object_record *intune, const rl_object_record *entra)
{
    const rl_bound bound = {.object = {[INTUNE] = intune, [ENTRA] = entra}};
    return rl_rules_weigh(s, &bound, HOUR_LATER).why;
}

static void test_with_both_directories_existing_in_one_is_enough(void **state)
{
    const rl_settings both = settings(RL_DIRECTORY_BOTH), aad = settings(RL_DIRECTORY_AAD),
                      intune = settings(RL_DIRECTORY_INTUNE);
    (void)state;
    assert_int_equal(why_of(&both, &there, &gone), 0);
    assert_int_equal(why_of(&both, &gone, &there), 0);
    assert_int_equal(why_of(&both, &gone, &gone), RL_WHY_DELETED);
    assert_int_equal(why_of(&aad, &there, &gone), RL_WHY_DELETED);
    assert_int_equal(why_of(&intune, &gone, &there), RL_WHY_DELETED);
    /* What the remaining one says still counts. */
    assert_int_equal(why_of(&both, &gone, &off), RL_WHY_DISABLED);
    assert_int_equal(why_of(&both, &wiped, &there), RL_WHY_WIPED);
}

static void test_opportunistic_is_as_aad_until_intune_is_listed(void **state)
{
    const rl_settings s = strict(RL_DIRECTORY_OPPORTUNISTIC), both = strict(RL_DIRECTORY_BOTH);
    const rl_bound without = {.object = {[ENTRA] = &bad}, .without_intune = true}, with = {.object = {[ENTRA] = &bad}};
    (void)state;
    assert_int_equal(rl_rules_weigh(&s, &without, HOUR_LATER).why, RL_WHY_NOT_COMPLIANT);
    assert_int_equal(rl_rules_weigh(&s, &with, HOUR_LATER).why, 0);
    assert_int_equal(rl_rules_weigh(&both, &with, HOUR_LATER).why, 0);
    assert_int_equal(why_of(&s, NULL, &gone), RL_WHY_DELETED);
    assert_int_equal(why_of(&s, &there, &gone), 0);
}

static void test_entra_is_asked_where_intune_has_no_word(void **state)
{
    static const rl_object_record silent = {.exists = true, .enabled = true},
                                  left = {.compliance = RL_COMPLIANCE_COMPLIANT};
    const rl_settings both = strict(RL_DIRECTORY_BOTH), intune = strict(RL_DIRECTORY_INTUNE),
                      lax = settings(RL_DIRECTORY_BOTH);
    rl_settings graced = strict(RL_DIRECTORY_BOTH);
    graced.rules.grace = 1000;
    const struct {
        const rl_settings *s;
        const rl_object_record *managed, *own;
        bool listed, counts;
    } rows[] = {
        {&both, NULL, NULL, true, true},
        {&both, &left, NULL, true, true},
        {&both, NULL, &left, true, true},
        {&both, &silent, NULL, true, true},
        {&both, NULL, NULL, false, false},
        {&both, &left, NULL, false, false},
        {&both, &there, NULL, true, false},
        {&both, NULL, &there, true, false},
        {&both, &left, &there, true, false},
        {&intune, NULL, NULL, true, false},
        {&lax, NULL, NULL, true, false},
        /* who was in Intune is no newcomer */
        {&graced, NULL, NULL, true, false},
        {&graced, &left, NULL, true, true},
        {&graced, NULL, &left, true, true},
        {&graced, &silent, NULL, true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const rl_bound bound = {.object = {[ENTRA] = &bad, [MANAGED] = rows[i].managed, [INTUNE] = rows[i].own},
                                .intune_listed = rows[i].listed};
        uint32_t why = rl_rules_weigh(rows[i].s, &bound, HOUR_LATER).why & RL_WHY_NOT_COMPLIANT;
        if (why != (rows[i].counts ? RL_WHY_NOT_COMPLIANT : 0))
            fail_msg("row %zu", i);
    }
}

static void test_any_that_speaks_against_wins(void **state)
{
    const rl_settings s = strict(RL_DIRECTORY_BOTH);
    const rl_bound bound = {.object = {[ENTRA] = &there, [MANAGED] = &bad, [USER] = &off, [RISK] = &risky}};
    (void)state;
    assert_int_equal(rl_rules_weigh(&s, &bound, HOUR_LATER).why,
                     RL_WHY_NOT_COMPLIANT | RL_WHY_DISABLED | RL_WHY_USER_RISK);
}

static void test_what_is_not_known_says_nothing(void **state)
{
    const rl_bound none = {0};
    const rl_settings s = strict(RL_DIRECTORY_BOTH);
    rl_verdict v = rl_rules_weigh(&s, &none, HOUR_LATER);
    (void)state;
    assert_int_equal(v.scope, 0);
    assert_int_equal(v.why, 0);
}

/* A hold that a setting made ends when the setting is taken back. */
static void test_the_scope_does_not_depend_on_the_settings(void **state)
{
    const rl_bound bound = {.object = {[INTUNE] = &bad, [ENTRA] = &off, [RISK] = &risky}};
    (void)state;
    for (int d = 0; d < 5; d++) {
        const rl_settings on = strict((rl_device_directory)d), plain = settings((rl_device_directory)d);
        assert_int_equal(rl_rules_weigh(&on, &bound, HOUR_LATER).scope,
                         rl_rules_weigh(&plain, &bound, HOUR_LATER).scope);
    }
}

/* ---- the mask ---- */
static void test_merge(void **state)
{
    const uint32_t scope = RL_WHY_DELETED | RL_WHY_DISABLED;
    const struct {
        const char *name;
        uint32_t cert, scope, why, merged;
    } rows[] = {
        {"nothing", 0, scope, 0, 0},
        {"disabled", 0, scope, RL_WHY_DISABLED, RL_WHY_DISABLED},
        {"still disabled", RL_WHY_DISABLED, scope, RL_WHY_DISABLED, RL_WHY_DISABLED},
        {"enabled again", RL_WHY_DISABLED, scope, 0, 0},
        {"deleted", 0, scope, RL_WHY_DELETED, RL_WHY_DELETED},
        {"deleted while disabled", RL_WHY_DISABLED, scope, RL_WHY_DELETED, RL_WHY_DELETED},
        {"restored after deletion: never comes back", RL_WHY_DELETED, scope, 0, RL_WHY_DELETED},
        {"restored, but disabled", RL_WHY_DELETED, scope, RL_WHY_DISABLED, RL_WHY_DELETED | RL_WHY_DISABLED},
        {"an admin's word stays", RL_WHY_MANUAL, scope, 0, RL_WHY_MANUAL},
        {"an admin's word and disabled", RL_WHY_MANUAL, scope, RL_WHY_DISABLED, RL_WHY_MANUAL | RL_WHY_DISABLED},
        {"other sources' reversible reasons stay", RL_WHY_NOT_COMPLIANT | RL_WHY_USER_RISK | RL_WHY_FOREIGN_CRL, scope,
         0, RL_WHY_NOT_COMPLIANT | RL_WHY_USER_RISK | RL_WHY_FOREIGN_CRL},
        {"other sources' permanent reasons stay", RL_WHY_WIPED | RL_WHY_ENDPOINT_LIST, scope, 0,
         RL_WHY_WIPED | RL_WHY_ENDPOINT_LIST},
        {"no known object says nothing", RL_WHY_DISABLED, 0, 0, RL_WHY_DISABLED},
        {"nothing outside the scope is set", 0, scope, RL_WHY_MANUAL | RL_WHY_WIPED, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rl_rules_merge(rows[i].cert, (rl_verdict){rows[i].scope, rows[i].why}) != rows[i].merged)
            fail_msg("%s", rows[i].name);
}

/* Over all masks: what is permanent never goes, what is outside the scope never changes. */
static void test_merge_invariants(void **state)
{
    const uint32_t permanent =
        RL_WHY_MANUAL | RL_WHY_DELETED | RL_WHY_WIPED | RL_WHY_ENDPOINT_LIST | RL_WHY_FOREIGN_CRL;
    const uint32_t scope = RL_WHY_DELETED | RL_WHY_DISABLED | RL_WHY_WIPED | RL_WHY_NOT_COMPLIANT;
    (void)state;
    for (uint32_t cert = 0; cert < 256; cert++) {
        for (uint32_t why = 0; why < 256; why++) {
            const rl_verdict v = {scope, why};
            uint32_t merged = rl_rules_merge(cert, v);
            assert_int_equal(merged & cert & permanent, cert & permanent);
            assert_int_equal(merged & ~scope, cert & ~scope);
            assert_int_equal(rl_rules_merge(merged, v), merged);
        }
    }
}

/* ---- the table for people, and the settings as a whole ---- */
static void test_the_printed_table_follows_the_settings(void **state)
{
    const rl_settings plain = settings(RL_DIRECTORY_AAD), s = strict(RL_DIRECTORY_BOTH);
    rl_rule_text row;
    size_t n, revoked = 0, held = 0;
    (void)state;
    for (n = 0; rl_rules_row(&s, n, &row); n++) {
        revoked += strcmp(row.effect, "revoked") == 0;
        held += strcmp(row.effect, "on hold") == 0;
    }
    assert_int_equal(n, 16);
    assert_int_equal(revoked, 8); /* all but: gone from Intune, in its list */
    assert_int_equal(held, 6);
    for (n = 0; rl_rules_row(&plain, n, &row); n++)
        if (strcmp(row.object, "Intune device") == 0)
            assert_string_equal(row.effect, "-");
}

static void test_every_setting_is_in_the_fingerprint(void **state)
{
    rl_settings s[7];
    char text[7][RL_RULES_TEXT];
    (void)state;
    for (size_t i = 0; i < 7; i++)
        s[i] = settings(RL_DIRECTORY_BOTH);
    s[1].rules.directory = RL_DIRECTORY_AAD;
    s[2].rules.compliance = RL_CHECK_ALWAYS;
    s[3].rules.grace = 1;
    s[4].rules.revoke_on_wipe = false;
    s[5].rules.user_risk = RL_CHECK_ALWAYS;
    s[6].rules.untolerated_risks = 7;
    for (size_t i = 0; i < 7; i++) {
        rl_rules_fingerprint(&s[i], false, text[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(text[i], text[j]);
    }
}

static void test_that_intune_was_listed_is_in_the_fingerprint_where_it_matters(void **state)
{
    static const struct {
        int directory;
        rl_check compliance;
        bool matters;
    } rows[] = {
        {RL_DIRECTORY_BOTH, RL_CHECK_NEVER, false},         {RL_DIRECTORY_BOTH, RL_CHECK_ALWAYS, true},
        {RL_DIRECTORY_AAD, RL_CHECK_ALWAYS, false},         {RL_DIRECTORY_ENDPOINT_LIST, RL_CHECK_ALWAYS, true},
        {RL_DIRECTORY_OPPORTUNISTIC, RL_CHECK_NEVER, true}, {RL_DIRECTORY_OPPORTUNISTIC, RL_CHECK_ALWAYS, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char before[RL_RULES_TEXT], after[RL_RULES_TEXT];
        rl_settings s = settings(rows[i].directory);
        s.rules.compliance = rows[i].compliance;
        rl_rules_fingerprint(&s, false, before);
        rl_rules_fingerprint(&s, true, after);
        assert_int_equal(strcmp(before, after) != 0, rows[i].matters);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_a_device_that_is_enrolling_gets_a_bootstrap_certificate),
        cmocka_unit_test(test_two_records_of_a_device_that_is_enrolling),
        cmocka_unit_test(test_whose_word_on_compliance_a_bootstrap_certificate_waits_for),
        cmocka_unit_test(test_each_cell),
        cmocka_unit_test(test_a_disabled_object_that_is_deleted_is_deleted),
        cmocka_unit_test(test_management_states),
        cmocka_unit_test(test_compliance_states),
        cmocka_unit_test(test_the_grace_period_counts_from_enrolment),
        cmocka_unit_test(test_risk_levels),
        cmocka_unit_test(test_with_both_directories_existing_in_one_is_enough),
        cmocka_unit_test(test_entra_is_asked_where_intune_has_no_word),
        cmocka_unit_test(test_opportunistic_is_as_aad_until_intune_is_listed),
        cmocka_unit_test(test_any_that_speaks_against_wins),
        cmocka_unit_test(test_what_is_not_known_says_nothing),
        cmocka_unit_test(test_the_scope_does_not_depend_on_the_settings),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_invariants),
        cmocka_unit_test(test_the_printed_table_follows_the_settings),
        cmocka_unit_test(test_every_setting_is_in_the_fingerprint),
        cmocka_unit_test(test_that_intune_was_listed_is_in_the_fingerprint_where_it_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
