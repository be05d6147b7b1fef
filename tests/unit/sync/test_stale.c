/* When a directory is stale, and whose certificates that concerns. */
#include "sync/stale.h"

#include "base/clock.h"
#include "tests/unit/sync/fixture.h"

static void stale_is_so_long_after_the_next_round_was_due(void **state)
{
    rl_settings s = {0};
    (void)state;
    s.sync.stale_after = 3600 * 1000;
    s.sync.jitter_percent = 10;
    assert_int_equal(rl_stale_at(&s, 30 * 1000, 10000), 10000 + 33 + 3600);
    assert_int_equal(rl_stale_at(&s, 100, 10000), 10000 + 1 + 3600); /* parts of a second count in its favour */
    /* A source that is asked once a day is not stale for 23 hours of it, also with no patience at all. */
    s.sync.stale_after = 0;
    assert_int_equal(rl_stale_at(&s, 86400 * 1000, 10000), 10000 + 86400 + 8640);
}

/* ---- whose ---- */
struct fixture {
    folder_store f;
    rl_settings settings;
    rl_sync *sync;
};

/* Every source is off: there is no thread, and what they decide about does not depend on it. */
static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof(*x));
    folder_store_open(&x->f);
    x->settings.azure.tenant_id = x->settings.azure.client_id = x->settings.azure.client_secret = "";
    x->settings.azure.authority_host = x->settings.azure.graph_url = x->settings.http.base_url = "";
    x->settings.sync.stale_policy = RL_STALE_TRY_LATER;
    *state = x;
    return rl_sync_start(x->f.store, &x->settings, &x->sync, NULL) == RL_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    rl_sync_stop(x->sync);
    folder_store_remove(&x->f);
    free(x);
    return 0;
}

static rl_sync_source *source(struct fixture *x, const char *name)
{
    for (size_t i = 0; i < x->sync->n; i++)
        if (strcmp(x->sync->sources[i]->name, name) == 0)
            return x->sync->sources[i];
    fail_msg("no source %s", name);
    return NULL;
}

static rl_cert_record bound(rl_source to, const char *id)
{
    rl_cert_record r = {.bindings_n = 1};
    r.bindings[0].source = to;
    snprintf(r.bindings[0].id, sizeof(r.bindings[0].id), "%s", id);
    return r;
}

static void a_source_concerns_what_it_decides_about(void **state)
{
    static const struct {
        rl_source bound;
        const char *source;
    } yes[] = {{RL_SOURCE_ENTRA_DEVICE, "entra-device"},
               {RL_SOURCE_ENTRA_DEVICE_NAME, "entra-device"},
               {RL_SOURCE_ENTRA_DEVICE_NAME, "intune-device"},
               {RL_SOURCE_INTUNE_DEVICE, "intune-device"},
               {RL_SOURCE_ENTRA_USER, "entra-user"},
               {RL_SOURCE_ENTRA_USER_NAME, "entra-user"},
               {RL_SOURCE_ENTRA_USER, "user-risk"},
               {RL_SOURCE_JAMF_COMPUTER, "jamf-computer"},
               {RL_SOURCE_JAMF_DEVICE, "jamf-device"},
               {RL_SOURCE_JAMF_USER, "jamf-user"},
               {RL_SOURCE_JAMF_USER_NAME, "jamf-user"}};
    static const rl_source all[] = {RL_SOURCE_ENTRA_DEVICE, RL_SOURCE_ENTRA_DEVICE_NAME, RL_SOURCE_INTUNE_DEVICE,
                                    RL_SOURCE_ENTRA_USER,   RL_SOURCE_ENTRA_USER_NAME,   RL_SOURCE_JAMF_COMPUTER,
                                    RL_SOURCE_JAMF_DEVICE,  RL_SOURCE_JAMF_USER,         RL_SOURCE_JAMF_USER_NAME,
                                    RL_SOURCE_TRANSACTION};
    static const char *const sources[] = {"entra-device",  "intune-device", "entra-user", "user-risk",
                                          "jamf-computer", "jamf-device",   "jamf-user"};
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const rl_cert_record cert = bound(all[i], "id");
        for (size_t j = 0; j < sizeof(sources) / sizeof(sources[0]); j++) {
            bool want = false;
            for (size_t k = 0; k < sizeof(yes) / sizeof(yes[0]); k++)
                want |= yes[k].bound == all[i] && strcmp(yes[k].source, sources[j]) == 0;
            if (rl_stale_concerns(source(x, sources[j]), &cert) != want)
                fail_msg("%s, %s", rl_source_name(all[i]), sources[j]);
        }
    }
}

static void sources_that_are_off_limit_nobody(void **state)
{
    struct fixture *x = *state;
    const rl_cert_record device = bound(RL_SOURCE_ENTRA_DEVICE, "id"), free_one = {0};
    assert_true(rl_sync_told_until(&device, x->sync) == INT64_MAX);
    assert_true(rl_sync_told_until(&free_one, x->sync) == INT64_MAX);
}

enum { WALL_S = 10000, MONO_MS = 900 * 1000 };

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return WALL_S * 1000;
}

static uint64_t mono_ns(void *ctx)
{
    (void)ctx;
    return UINT64_C(1000000) * MONO_MS;
}

/* Counted by the time that has gone by, whatever the clock was set to. */
static void a_certificate_is_told_until_the_first_of_its_directories_is_stale(void **state)
{
    static const rl_clock still = {.wall_ms = wall_ms, .mono_ns = mono_ns};
    struct fixture *x = *state;
    const rl_cert_record user = bound(RL_SOURCE_ENTRA_USER, "id"), free_one = {0};
    rl_sync_source *users = source(x, "entra-user"), *risk = source(x, "user-risk");
    users->needs = risk->needs = NULL; /* as if they ran */
    users->interval = risk->interval = 30 * 1000;
    rl_clock_set(&still);
    users->fresh = MONO_MS - 5000 * 1000;
    risk->fresh = MONO_MS - 6000 * 1000;
    users->status.last_success = risk->status.last_success = 1;
    x->settings.sync.stale_after = 3600 * 1000;
    assert_int_equal(rl_sync_told_until(&user, x->sync), WALL_S - 6000 + 30 + 3600);
    risk->fresh = MONO_MS - 4000 * 1000;
    assert_int_equal(rl_sync_told_until(&user, x->sync), WALL_S - 5000 + 30 + 3600);
    rl_clock_set(NULL);
    assert_true(rl_sync_told_until(&free_one, x->sync) == INT64_MAX);
    x->settings.sync.stale_policy = RL_STALE_SERVE;
    assert_true(rl_sync_told_until(&user, x->sync) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stale_is_so_long_after_the_next_round_was_due),
        cmocka_unit_test_setup_teardown(a_source_concerns_what_it_decides_about, setup, teardown),
        cmocka_unit_test_setup_teardown(sources_that_are_off_limit_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_is_told_until_the_first_of_its_directories_is_stale, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
