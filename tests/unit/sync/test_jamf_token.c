/* Jamf Pro's answers to the two logins: what is a token, for how long it is good, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sync/jamf_token.h"

enum { NOW = 1767607872 }; /* 2026-01-05T10:11:12Z */

static char text[] = "x", none[] = "";
static const rl_settings client = {.jamf = {.client_id = text, .client_secret = text, .user = text, .password = text}},
                         user = {.jamf = {.client_id = text, .client_secret = none, .user = text, .password = text}};

static rl_err answered(const rl_settings *s, long status, int64_t date, const char *body, char **token, int64_t *life)
{
    const rl_http_response r = {.status = status, .body = rl_span_str(body), .date = date};
    rl_error e = {0};
    *token = NULL;
    rl_err err = rl_jamf_token_read(s, &r, NOW, token, life, &e);
    assert_true(err == RL_OK || (!*token && e.message[0] && !strstr(e.message, "eyJ")));
    return err;
}

static void assert_life(const rl_settings *s, int64_t date, const char *body, int64_t expected)
{
    char *token;
    int64_t life;
    assert_int_equal(answered(s, 200, date, body, &token, &life), RL_OK);
    assert_string_equal(token, "eyJ.a-b_c");
    assert_int_equal(life, expected);
    free(token);
}

static void test_a_login_needs_both_parts(void **state)
{
    const rl_settings without = {.jamf = {.client_id = text, .client_secret = none, .user = text, .password = none}};
    (void)state;
    assert_true(rl_jamf_has_login(&client));
    assert_true(rl_jamf_has_login(&user));
    assert_false(rl_jamf_has_login(&without));
}

static void test_how_long_a_token_is_good(void **state)
{
    (void)state;
    assert_life(
        &client, 0,
        "{\"access_token\":\"eyJ.a-b_c\",\"scope\":\"api-role:2\",\"token_type\":\"Bearer\",\"expires_in\":599}", 599);
    assert_life(&client, 0, "{\"access_token\":\"eyJ.a-b_c\",\"expires_in\":\"59\"}", 59);
    assert_life(&client, 0, "{\"access_token\":\"eyJ.a-b_c\",\"expires_in\":99999999}", 86400);
    assert_life(&user, 0, "{\"token\":\"eyJ.a-b_c\",\"expires\":\"2026-01-05T10:41:12.345Z\"}", 1800);
    assert_life(&user, NOW + 86400, "{\"token\":\"eyJ.a-b_c\",\"expires\":\"2026-01-06T10:41:12Z\"}",
                1800); /* its clock */
}

static void test_what_is_no_token(void **state)
{
    static const char *const bodies[] = {
        "",
        "[]",
        "{}",
        "<html></html>",
        "{\"access_token\":\"eyJ\"}",
        "{\"access_token\":\"eyJ\",\"expires_in\":0}",
        "{\"access_token\":\"eyJ\",\"expires_in\":-5}",
        "{\"access_token\":\"\",\"expires_in\":599}",
        "{\"access_token\":7,\"expires_in\":599}",
        "{\"access_token\":\"eyJ\\r\\nX-Evil: 1\",\"expires_in\":599}",
        "{\"token\":\"eyJ\",\"expires_in\":599}",
        "{\"token\":\"eyJ\",\"expires\":\"2026-01-05T10:11:12Z\"}",
        "{\"token\":\"eyJ\",\"expires\":\"tomorrow\"}",
    };
    char *token;
    int64_t life;
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        if (answered(strstr(bodies[i], "{\"token\"") && strstr(bodies[i], "expires\"") ? &user : &client, 200, 0,
                     bodies[i], &token, &life) != RL_EBADMSG)
            fail_msg("taken: %s", bodies[i]);
}

static void test_a_refused_login_is_denied(void **state)
{
    static const long statuses[] = {301, 400, 401, 403, 404, 429, 500, 503};
    char *token;
    int64_t life;
    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_int_equal(
            answered(&client, statuses[i], 0, "{\"access_token\":\"eyJ\",\"expires_in\":599}", &token, &life),
            RL_EDENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_login_needs_both_parts),
        cmocka_unit_test(test_how_long_a_token_is_good),
        cmocka_unit_test(test_what_is_no_token),
        cmocka_unit_test(test_a_refused_login_is_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
