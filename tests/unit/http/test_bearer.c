/* The tenant's keys: when they are fetched, and what is known meanwhile. */
#include "http/bearer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/http/tokens.h"
#include "tests/unit/http/upstream.h"

enum { DEADLINE_MS = 30000, CHECKERS = 4, CHECKS = 300 };

typedef enum { GOOD, AWAY, OTHER_KEYS, NO_KEYS, OTHER_ISSUER, KEYS_ELSEWHERE, HANGING } mood;

struct world {
    upstream server;
    rl_settings settings;
    rl_bearer *bearer;
    _Atomic mood mood;
    atomic_uint documents, key_sets; /* asked for */
};

/* ---- a clock that stands at the tokens' time, and goes on for intervals ---- */
static int64_t wall(void *ctx)
{
    (void)ctx;
    return TOKENS_NOW * 1000LL;
}
static uint64_t mono(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static const rl_clock standing = {wall, mono, NULL};

/* ---- the login host ---- */
static void answer(void *ctx, const char *request, upstream_reply *reply)
{
    struct world *w = ctx;
    char text[512];
    mood m = w->mood;
    bool keys = strncmp(request, "GET /keys ", 10) == 0;
    assert_true(keys || strncmp(request, "GET /" TOKENS_TENANT "/v2.0/.well-known/openid-configuration ", 74) == 0);
    assert_null(strcasestr(request, "\r\nauthorization:"));
    atomic_fetch_add(keys ? &w->key_sets : &w->documents, 1);
    reply->hang = m == HANGING;
    if (m == AWAY) {
        upstream_answer(reply, 503, "Retry-After: 0\r\n", RL_SPAN_LIT("no"));
    } else if (keys) {
        upstream_answer(reply, 200, "",
                        m == NO_KEYS      ? RL_SPAN_LIT("{\"keys\":[]}")
                        : m == OTHER_KEYS ? rl_span_str(tokens_other_keys)
                                          : rl_span_str(tokens_keys));
    } else {
        snprintf(text, sizeof(text), "{\"issuer\":\"%s/%s/v2.0\",\"jwks_uri\":\"%s/keys\"}",
                 m == OTHER_ISSUER ? TOKENS_HOST : w->server.url, TOKENS_TENANT,
                 m == KEYS_ELSEWHERE ? "http://127.0.0.1:1" : w->server.url);
        upstream_answer(reply, 200, "", rl_span_str(text));
    }
}

static void begin(struct world *w, mood m, rl_duration interval)
{
    rl_error e = {0};
    *w = (struct world){.mood = m};
    upstream_start(&w->server, answer, w);
    w->settings = (rl_settings){.azure = {.tenant_id = TOKENS_TENANT,
                                          .authority_host = w->server.url,
                                          .audience = TOKENS_AUDIENCE,
                                          .keys_interval = interval},
                                .sync = {.request_timeout = 10000, .connect_timeout = 10000, .retry_max = 20}};
    rl_clock_set(&standing);
    assert_int_equal(rl_bearer_open(&w->settings, &w->bearer, &e), RL_OK);
}

static void end(struct world *w)
{
    rl_bearer_close(w->bearer);
    upstream_stop(&w->server);
    rl_clock_set(NULL);
}

static const char *token_of(const char *name)
{
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        if (strcmp(tokens[i].name, name) == 0)
            return tokens[i].token;
    fail_msg("no token '%s'", name);
    return NULL;
}

static rl_err check(struct world *w, const char *name)
{
    rl_caller caller;
    rl_error e = {0};
    rl_err err = rl_bearer_check(w->bearer, rl_span_str(token_of(name)), &caller, &e);
    if (err == RL_OK ? strcmp(caller.id, TOKENS_USER) != 0 : !e.message[0] || caller.id[0])
        fail_msg("%s: %s '%s'", name, rl_err_name(err), e.message);
    rl_caller_clear(&caller);
    return err;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static void until(struct world *w, const char *name, rl_err wanted)
{
    for (uint64_t end_at = rl_mono_ms() + DEADLINE_MS; check(w, name) != wanted; pause_a_little())
        if (rl_mono_ms() > end_at)
            fail_msg("%s did not become: %s", name, rl_err_name(wanted));
}

static void until_asked(const atomic_uint *what, unsigned n)
{
    for (uint64_t end_at = rl_mono_ms() + DEADLINE_MS; *what < n; pause_a_little())
        if (rl_mono_ms() > end_at)
            fail_msg("asked %u times, not %u", *what, n);
}

/* ---- tests ---- */
static const char known[] = "another key, version 1", unknown[] = "unknown key", later[] = "later key, version 1";

static void test_keys_are_fetched_before_they_are_needed(void **state)
{
    struct world w;
    (void)state;
    begin(&w, GOOD, 86400000);
    until_asked(&w.key_sets, 1);
    until(&w, known, RL_OK);
    for (int i = 0; i < 100; i++) { /* nobody can make us ask */
        assert_int_equal(check(&w, unknown), RL_EDENIED);
        assert_int_equal(check(&w, later), RL_EDENIED);
    }
    end(&w);
    assert_int_equal(w.documents, 1);
    assert_int_equal(w.key_sets, 1);
}

static void test_a_new_key_is_looked_up(void **state)
{
    struct world w;
    (void)state;
    begin(&w, GOOD, 300); /* counted from a fetch's beginning: longer than one takes */
    until(&w, known, RL_OK);
    w.mood = OTHER_KEYS;
    until(&w, later, RL_OK);
    until(&w, known, RL_EDENIED);
    end(&w);
}

static void test_what_is_known_stays_while_nothing_can_be_fetched(void **state)
{
    static const mood bad[] = {AWAY, NO_KEYS, OTHER_ISSUER, KEYS_ELSEWHERE};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct world w;
        begin(&w, bad[i], 1);
        until_asked(&w.documents, 3); /* it goes on trying */
        assert_int_equal(check(&w, known), RL_EBUSY);
        w.mood = GOOD;
        until(&w, known, RL_OK);
        w.mood = bad[i];
        unsigned before = w.documents;
        until(&w, unknown, RL_EBUSY); /* that had it looked up */
        until_asked(&w.documents, before + 3);
        assert_int_equal(check(&w, unknown), RL_EBUSY);
        assert_int_equal(check(&w, known), RL_OK);
        end(&w);
    }
}

static void test_nobody_waits_for_a_host_that_hangs(void **state)
{
    struct world w;
    (void)state;
    begin(&w, HANGING, 1);
    until_asked(&w.documents, 1);
    assert_int_equal(check(&w, known), RL_EBUSY);
    end(&w); /* nor the stop */
    assert_int_equal(w.documents, 1);
}

static void *checker(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < CHECKS; i++) {
        rl_err err = check(w, i % 3 == 2 ? unknown : i % 3 ? later : known);
        if (err != RL_OK && err != RL_EDENIED && err != RL_EBUSY)
            abort();
    }
    return NULL;
}

static void test_many_check_while_keys_change(void **state)
{
    pthread_t threads[CHECKERS];
    struct world w;
    (void)state;
    begin(&w, GOOD, 1);
    for (int i = 0; i < CHECKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, checker, &w), 0);
    for (int i = 0; i < 20; i++) {
        w.mood = i % 2 ? GOOD : OTHER_KEYS;
        pause_a_little();
    }
    for (int i = 0; i < CHECKERS; i++)
        pthread_join(threads[i], NULL);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_fetched_before_they_are_needed),
        cmocka_unit_test(test_a_new_key_is_looked_up),
        cmocka_unit_test(test_what_is_known_stays_while_nothing_can_be_fetched),
        cmocka_unit_test(test_nobody_waits_for_a_host_that_hangs),
        cmocka_unit_test(test_many_check_while_keys_change),
    };
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
