/* What clients send as a token and the login host as a key set. The first octet says what the rest is: a token (t), a
 * key set (k), claims (c), as if their signature held. */
#include <stdint.h>
#include <stdlib.h>

#include "http/bearer.h"
#include "tests/unit/http/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char issuer[] = TOKENS_HOST "/" TOKENS_TENANT "/v2.0";
static rl_settings settings = {
    .azure = {.tenant_id = TOKENS_TENANT, .authority_host = TOKENS_HOST, .audience = TOKENS_AUDIENCE}};

static void check_claims(const json_t *claims)
{
    rl_caller caller;
    rl_error e = {0};
    char id[RL_GUID_SIZE];
    rl_err err = rl_caller_read(claims, &settings, TOKENS_NOW, &caller, &e);
    if (err == RL_OK ? rl_guid_read(rl_span_str(caller.id), id) != RL_OK || strcmp(id, caller.id) != 0 : !e.message[0])
        abort();
    rl_caller_has(&caller, "CSR.Request.Db");
    rl_caller_clear(&caller);
}

static void check_token(rl_span token)
{
    static rl_jwks *keys;
    char id[RL_JWK_ID_MAX + 1] = "";
    json_t *claims;
    if (!keys && rl_jwks_read(rl_span_str(tokens_keys), issuer, TOKENS_TENANT, &keys, NULL) != RL_OK)
        abort();
    if (rl_jwt_key_id(token, id, NULL) == RL_OK && (!id[0] || strlen(id) > RL_JWK_ID_MAX))
        abort();
    EVP_PKEY *key = rl_jwks_find(keys, id);
    rl_err err = rl_jwt_verify(token, key ? key : rl_jwks_find(keys, "first"), &claims, NULL);
    if ((err == RL_OK) != (claims != NULL) || (claims && !json_is_object(claims)))
        abort();
    if (claims)
        check_claims(claims);
    json_decref(claims);
}

static void check_keys(rl_span body)
{
    rl_jwks *keys = NULL;
    rl_error e = {0};
    rl_err err = rl_jwks_read(body, issuer, TOKENS_TENANT, &keys, &e);
    if (err == RL_OK ? !keys || rl_jwks_count(keys) == 0 : keys || !e.message[0])
        abort();
    rl_jwks_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_span rest = size ? rl_span_of(data + 1, size - 1) : rl_span_of(data, 0);
    json_t *claims = NULL;
    if (size == 0 || data[0] == 't') {
        check_token(rest);
    } else if (data[0] == 'k') {
        check_keys(rest);
    } else if (data[0] == 'c' && rl_json_parse(rest, RL_JWT_MAX, &claims, NULL) == RL_OK) {
        check_claims(claims);
        json_decref(claims);
    }
    return 0;
}
