/* Tokens and key sets that python3-cryptography has made: which make a caller, and whom. */
#include "http/bearer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/http/tokens.h"

static rl_settings settings = {.azure = {.tenant_id = TOKENS_TENANT,
                                         .authority_host = TOKENS_HOST,
                                         .audience = "  " TOKENS_AUDIENCE "  https://pki.contoso.example "}};

static rl_jwks *keys_of(const char *text)
{
    rl_jwks *keys = NULL;
    rl_error e = {0};
    if (rl_jwks_read(rl_span_str(text), TOKENS_HOST "/" TOKENS_TENANT "/v2.0", TOKENS_TENANT, &keys, &e) != RL_OK)
        assert_null(keys);
    return keys;
}

/* As rl_bearer_check does it. */
static rl_err check(const rl_jwks *keys, rl_span token, rl_caller *caller, rl_error *e)
{
    char id[RL_JWK_ID_MAX + 1];
    json_t *claims = NULL;
    *caller = (rl_caller){0};
    RL_TRY(rl_jwt_key_id(token, id, e));
    EVP_PKEY *key = rl_jwks_find(keys, id);
    if (!key)
        return rl_fail(e, RL_EDENIED, "test", "unknown key");
    rl_err err = rl_jwt_verify(token, key, &claims, e);
    if (err != RL_OK)
        assert_null(claims);
    else
        err = rl_caller_read(claims, &settings, TOKENS_NOW, caller, e);
    json_decref(claims);
    return err;
}

static const char *token_of(const char *name)
{
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        if (strcmp(tokens[i].name, name) == 0)
            return tokens[i].token;
    fail_msg("no token '%s'", name);
    return NULL;
}

static void test_which_tokens_are_accepted(void **state)
{
    rl_jwks *keys = keys_of(tokens_keys);
    (void)state;
    assert_non_null(keys);
    assert_int_equal(rl_jwks_count(keys), 2);
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        rl_caller caller;
        rl_error e = {0};
        rl_err err = check(keys, rl_span_str(tokens[i].token), &caller, &e);
        if (tokens[i].why ? err != RL_EDENIED || !strstr(e.message, tokens[i].why) : err != RL_OK)
            fail_msg("%s: %s '%s'", tokens[i].name, rl_err_name(err), e.message);
        rl_caller_clear(&caller);
    }
    rl_jwks_free(keys);
}

static void test_who_calls(void **state)
{
    static const char *const people[] = {"person", "person, version 1"}, *const services[] = {"service",
                                                                                              "service without idtyp"};
    rl_jwks *keys = keys_of(tokens_keys);
    rl_caller caller;
    rl_error e = {0};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(check(keys, rl_span_str(token_of(people[i])), &caller, &e), RL_OK);
        assert_string_equal(caller.id, TOKENS_USER);
        assert_string_equal(caller.device, TOKENS_DEVICE);
        assert_string_equal(caller.name, "ada@contoso.example");
        assert_false(caller.application);
        assert_true(rl_caller_has(&caller, "CSR.SelfService") && rl_caller_has(&caller, "Other"));
        assert_false(rl_caller_has(&caller, "CSR.Request.Db") || rl_caller_has(&caller, "CSR") ||
                     rl_caller_has(&caller, ""));
        rl_caller_clear(&caller);
        assert_int_equal(check(keys, rl_span_str(token_of(services[i])), &caller, &e), RL_OK);
        assert_string_equal(caller.id, TOKENS_SERVICE);
        assert_string_equal(caller.device, "");
        assert_string_equal(caller.name, "");
        assert_true(caller.application && rl_caller_has(&caller, "CSR.Request.Db"));
        rl_caller_clear(&caller);
        assert_false(rl_caller_has(&caller, "CSR.Request.Db"));
    }
    rl_jwks_free(keys);
}

/* Whatever octet of a token is another one, or is missing: it is no token any more. */
static void test_every_octet_counts(void **state)
{
    static const char others[] = "Aa0-_.= \x01\xff";
    const char *good = token_of("service");
    size_t n = strlen(good);
    rl_jwks *keys = keys_of(tokens_keys);
    char *copy = malloc(n + 1);
    rl_caller caller;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, good, n + 1);
        copy[i] = others[i % (sizeof(others) - 1)];
        if (copy[i] == good[i])
            continue;
        if (check(keys, rl_span_of(copy, n), &caller, NULL) != RL_EDENIED)
            fail_msg("octet %zu changed", i);
        if (check(keys, rl_span_of(good, i), &caller, NULL) != RL_EDENIED)
            fail_msg("%zu octets", i);
    }
    free(copy);
    rl_jwks_free(keys);
}

static void test_sizes_are_bounded(void **state)
{
    size_t n = RL_JWT_MAX + 1000;
    char *text = malloc(n), id[RL_JWK_ID_MAX + 1];
    (void)state;
    memset(text, 'A', n);
    text[10] = text[20] = '.';
    assert_int_equal(rl_jwt_key_id(rl_span_of(text, n), id, NULL), RL_EDENIED);
    memset(text, 'A', n);
    text[5000] = text[5010] = '.';
    assert_int_equal(rl_jwt_key_id(rl_span_of(text, 6000), id, NULL), RL_EDENIED);
    assert_int_equal(rl_jwt_key_id(rl_span_of(NULL, 0), id, NULL), RL_EDENIED);
    free(text);
}

static void test_key_sets_without_a_usable_key(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[null,1,[],\"x\",{}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"\",\"e\":\"\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"AQAB\"}]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_null(keys_of(texts[i]));
}

static void test_the_clouds_name_their_issuer(void **state)
{
    rl_jwks *keys = keys_of(tokens_keys);
    rl_caller caller;
    (void)state;
    settings.azure.cloud = RL_CLOUD_CHINA;
    assert_int_equal(check(keys, rl_span_str(token_of("China's issuer")), &caller, NULL), RL_OK);
    rl_caller_clear(&caller);
    assert_int_equal(check(keys, rl_span_str(token_of("person, version 1")), &caller, NULL), RL_EDENIED);
    settings.azure.cloud = RL_CLOUD_PUBLIC;
    rl_jwks_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_tokens_are_accepted),
        cmocka_unit_test(test_who_calls),
        cmocka_unit_test(test_every_octet_counts),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_key_sets_without_a_usable_key),
        cmocka_unit_test(test_the_clouds_name_their_issuer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
