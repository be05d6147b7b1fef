/* The access token over its life, with a clock of the test's own: fetched, renewed ahead of its end, kept while the
 * login service is away, dropped when it is refused. */
#include "http/token.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/http/upstream.h"

enum { LIFE_S = 3600, LAST_S = 60 };

struct world {
    uv_loop_t loop;
    upstream server;
    rl_settings settings;
    rl_http_client *client;
    rl_token *token;
    pthread_mutex_t lock;
    unsigned asked; /* tokens; guarded by the lock, as are the next two */
    int status;
    bool reset;
    /* The loop's. */
    unsigned ended; /* fetches that somebody waited for */
    rl_err failure;
    char message[RL_ERROR_MESSAGE_MAX];
    int64_t retry_after_ms;
};

/* ---- the clock ---- */
static _Atomic uint64_t now_s;

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return (int64_t)(1767600000 + now_s) * 1000;
}

static uint64_t mono_ns(void *ctx)
{
    (void)ctx;
    return (1000 + now_s) * UINT64_C(1000000000);
}

/* ---- the login service ---- */
static void serve(void *ctx, const char *request, upstream_reply *reply)
{
    struct world *w = ctx;
    char body[128];
    assert_non_null(strstr(request, "POST /contoso.com/oauth2/v2.0/token "));
    pthread_mutex_lock(&w->lock);
    snprintf(body, sizeof(body), "{\"expires_in\":%d,\"access_token\":\"token-%u\"}", LIFE_S, ++w->asked);
    if (w->status == 401)
        snprintf(body, sizeof(body), "{\"error\":\"invalid_client\",\"error_codes\":[7000215]}");
    upstream_answer(reply, w->status, w->status == 429 ? "Retry-After: 7\r\n" : "", rl_span_str(body));
    reply->reset = w->reset;
    if (w->reset)
        reply->bytes.n = 0;
    pthread_mutex_unlock(&w->lock);
}

static void answers_with(struct world *w, int status, bool reset)
{
    pthread_mutex_lock(&w->lock);
    w->status = status;
    w->reset = reset;
    pthread_mutex_unlock(&w->lock);
}

static unsigned asked(struct world *w)
{
    pthread_mutex_lock(&w->lock);
    unsigned n = w->asked;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* ---- fixture ---- */
static void on_fetched(void *ctx, const rl_error *failure, int64_t retry_after_ms)
{
    struct world *w = ctx;
    w->ended++;
    w->failure = failure ? failure->code : RL_OK;
    w->retry_after_ms = retry_after_ms;
    snprintf(w->message, sizeof(w->message), "%s", failure ? failure->message : "");
}

static int setup(void **state)
{
    static const rl_clock clock = {wall_ms, mono_ns, NULL};
    static char tenant[] = "contoso.com", client[] = "client", secret[] = "s3cret";
    struct world *w = calloc(1, sizeof(*w));
    now_s = 0;
    rl_clock_set(&clock);
    pthread_mutex_init(&w->lock, NULL);
    w->status = 200;
    upstream_start(&w->server, serve, w);
    w->settings.azure.tenant_id = tenant;
    w->settings.azure.client_id = client;
    w->settings.azure.client_secret = secret;
    w->settings.azure.authority_host = w->server.url;
    w->settings.sync.request_timeout = w->settings.sync.connect_timeout = 20000;
    w->settings.sync.retry_max = 300 * 1000;
    uv_loop_init(&w->loop);
    assert_int_equal(rl_http_client_new(&w->loop, &w->client, NULL), RL_OK);
    assert_int_equal(rl_token_new(w->client, &w->settings, "https://graph.example", on_fetched, w, &w->token, NULL),
                     RL_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rl_http_client_close(w->client, NULL, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    rl_token_free(w->token);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    upstream_stop(&w->server);
    pthread_mutex_destroy(&w->lock);
    rl_clock_set(NULL);
    free(w);
    return 0;
}

static void fetch(struct world *w)
{
    rl_error e = {0};
    unsigned before = w->ended;
    if (rl_token_fetch(w->token, &e) != RL_OK)
        fail_msg("%s", e.message);
    while (w->ended == before)
        uv_run(&w->loop, UV_RUN_ONCE);
}

/* The token at this second of the first one's life. */
static const char *text_at(struct world *w, uint64_t second)
{
    unsigned number;
    now_s = second;
    return rl_token_text(w->token, &number);
}

static void assert_token(struct world *w, uint64_t second, const char *expected)
{
    const char *text = text_at(w, second);
    if (!text || strcmp(text, expected) != 0)
        fail_msg("%s in place of %s", text ? text : "none", expected);
}

/* Until the renewal under way has ended: there is nothing else to do for the loop. */
static void let_it_renew(struct world *w, unsigned asked_before)
{
    while (asked(w) == asked_before)
        uv_run(&w->loop, UV_RUN_ONCE);
    unsigned ended = w->ended;
    fetch(w); /* joins it */
    assert_int_equal(w->ended, ended + 1);
}

/* ---- tests ---- */
static void test_one_fetch_for_all_who_ask(void **state)
{
    struct world *w = *state;
    unsigned number;
    assert_null(rl_token_text(w->token, &number));
    for (int i = 0; i < 3; i++)
        assert_int_equal(rl_token_fetch(w->token, NULL), RL_OK);
    fetch(w);
    assert_int_equal(w->failure, RL_OK);
    assert_int_equal(asked(w), 1);
    assert_string_equal(rl_token_text(w->token, &number), "token-1");
    assert_int_equal(number, 1);
    assert_token(w, LIFE_S * 8 / 10 - 1, "token-1");
    assert_int_equal(asked(w), 1);
}

static void test_it_is_renewed_ahead_and_used_meanwhile(void **state)
{
    struct world *w = *state;
    fetch(w);
    assert_token(w, LIFE_S * 8 / 10, "token-1");
    assert_token(w, LIFE_S * 8 / 10, "token-1"); /* asks for no second one */
    while (text_at(w, now_s) && strcmp(text_at(w, now_s), "token-2") != 0)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_token(w, LIFE_S, "token-2");
    assert_int_equal(asked(w), 2);
    assert_int_equal(w->ended, 1); /* nobody waited for the second */
}

static void test_it_is_used_to_its_end_while_the_login_service_is_away(void **state)
{
    struct world *w = *state;
    fetch(w);
    answers_with(w, 503, false);
    assert_token(w, LIFE_S * 8 / 10, "token-1");
    let_it_renew(w, 1);
    assert_int_equal(w->failure, RL_EBUSY);
    unsigned before = asked(w);
    assert_token(w, LIFE_S * 8 / 10, "token-1");
    assert_int_equal(asked(w), before); /* not before the back-off has ended */
    answers_with(w, 200, true);
    assert_token(w, LIFE_S - LAST_S - 1, "token-1");
    let_it_renew(w, before);
    assert_token(w, LIFE_S - LAST_S - 1, "token-1");
    assert_null(text_at(w, LIFE_S - LAST_S));
    fetch(w);
    assert_int_equal(w->failure, RL_EIO);
    answers_with(w, 200, false);
    fetch(w);
    assert_int_equal(w->failure, RL_OK);
    assert_non_null(text_at(w, LIFE_S));
}

static void test_a_refused_renewal_keeps_it_too(void **state)
{
    struct world *w = *state;
    fetch(w);
    answers_with(w, 401, false);
    assert_token(w, LIFE_S * 8 / 10, "token-1");
    let_it_renew(w, 1);
    assert_int_equal(w->failure, RL_EDENIED);
    assert_token(w, LIFE_S * 9 / 10, "token-1");
}

static void test_a_login_that_cannot_be_built_keeps_it_too(void **state)
{
    struct world *w = *state;
    rl_error e = {0};
    static char nowhere[] = "/nowhere/token", empty[] = "";
    fetch(w);
    w->settings.azure.client_secret = empty;
    w->settings.azure.federated_token_file = nowhere;
    assert_token(w, LIFE_S * 8 / 10, "token-1");
    assert_token(w, LIFE_S * 9 / 10, "token-1");
    assert_null(text_at(w, LIFE_S));
    assert_int_equal(rl_token_fetch(w->token, &e), RL_EIO);
    assert_non_null(strstr(e.message, nowhere));
    assert_int_equal(asked(w), 1);
}

static void test_a_token_that_is_refused_is_dropped_by_its_number(void **state)
{
    struct world *w = *state;
    unsigned number;
    fetch(w);
    assert_non_null(rl_token_text(w->token, &number));
    rl_token_drop(w->token, number - 1); /* an earlier one's late 401 */
    assert_non_null(text_at(w, 1));
    rl_token_drop(w->token, number);
    assert_null(text_at(w, 1));
    fetch(w);
    assert_token(w, 1, "token-2");
}

static void test_a_failure_says_whether_waiting_helps(void **state)
{
    struct world *w = *state;
    answers_with(w, 429, false);
    fetch(w);
    assert_int_equal(w->failure, RL_EBUSY);
    assert_int_equal(w->retry_after_ms, 7000);
    answers_with(w, 401, false);
    fetch(w);
    assert_int_equal(w->failure, RL_EDENIED);
    assert_non_null(strstr(w->message, "401: invalid_client (AADSTS7000215): the client secret is wrong"));
    answers_with(w, 200, true);
    fetch(w);
    assert_int_equal(w->failure, RL_EIO);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_one_fetch_for_all_who_ask),
        T(test_it_is_renewed_ahead_and_used_meanwhile),
        T(test_it_is_used_to_its_end_while_the_login_service_is_away),
        T(test_a_refused_renewal_keeps_it_too),
        T(test_a_login_that_cannot_be_built_keeps_it_too),
        T(test_a_token_that_is_refused_is_dropped_by_its_number),
        T(test_a_failure_says_whether_waiting_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
