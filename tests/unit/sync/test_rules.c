/* The status rules against the table of the design: which event makes which status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sync/rules.h"

static const rl_source DEV = RL_SOURCE_ENTRA_DEVICE, USER = RL_SOURCE_ENTRA_USER;

static void test_object_states(void **state)
{
    const struct {
        rl_source source;
        bool exists, enabled;
        uint32_t why;
    } rows[] = {
        {DEV, true, true, 0},
        {DEV, true, false, RL_WHY_DISABLED},
        {DEV, false, true, RL_WHY_DELETED},
        {DEV, false, false, RL_WHY_DELETED},
        {USER, true, true, 0},
        {USER, true, false, RL_WHY_DISABLED},
        {USER, false, true, RL_WHY_DELETED},
        {USER, false, false, RL_WHY_DELETED},
        {RL_SOURCE_ENTRA_DEVICE_NAME, false, false, 0},
        {RL_SOURCE_ENTRA_USER_NAME, false, false, 0},
        {RL_SOURCE_TRANSACTION, false, false, 0},
        {RL_SOURCE_NONE, false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const rl_object_record o = {.exists = rows[i].exists, .enabled = rows[i].enabled};
        assert_int_equal(rl_rules_object(rows[i].source, &o), rows[i].why);
        assert_int_equal(rows[i].why & ~rl_rules_scope(rows[i].source), 0);
    }
}

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
        if (rl_rules_merge(rows[i].cert, rows[i].scope, rows[i].why) != rows[i].merged)
            fail_msg("%s", rows[i].name);
}

/* Over all masks: what is permanent never goes, what is outside the scope never changes. */
static void test_merge_invariants(void **state)
{
    const uint32_t permanent =
        RL_WHY_MANUAL | RL_WHY_DELETED | RL_WHY_WIPED | RL_WHY_ENDPOINT_LIST | RL_WHY_FOREIGN_CRL;
    const uint32_t scope = rl_rules_scope(RL_SOURCE_ENTRA_DEVICE);
    (void)state;
    for (uint32_t cert = 0; cert < 256; cert++) {
        for (uint32_t why = 0; why < 256; why++) {
            uint32_t merged = rl_rules_merge(cert, scope, why);
            assert_int_equal(merged & cert & permanent, cert & permanent);
            assert_int_equal(merged & ~scope, cert & ~scope);
            assert_int_equal(rl_rules_merge(merged, scope, why), merged);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object_states),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
