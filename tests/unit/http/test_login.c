/* Logging in: which login, what is asked, the files that it reads, and what its answers mean. The assertion itself is
 * checked end to end, by python-cryptography. */
#include "http/login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char empty[] = "", tenant[] = "contoso.com", client[] = "id", secret[] = "s3+&=/", authority[] = "https://login",
            file[64], identity_url[] = "http://127.0.0.1/msi?x=1", identity_header[] = "header";

static rl_settings bare(void)
{
    rl_settings s = {0};
    s.azure.tenant_id = tenant;
    s.azure.client_id = s.azure.client_secret = s.azure.certificate_path = s.azure.certificate_password = empty;
    s.azure.federated_token_file = s.azure.identity_endpoint = s.azure.identity_header = empty;
    s.azure.authority_host = authority;
    s.azure.imds_url = identity_url;
    return s;
}

/* ---- which ---- */
static void test_the_first_that_is_complete(void **state)
{
    rl_settings s = bare();
    (void)state;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_NONE);
    s.azure.identity_endpoint = identity_url;
    s.azure.identity_header = identity_header;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_APP_SERVICE);
    s.azure.federated_token_file = file;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_APP_SERVICE); /* of no application */
    s.azure.client_id = client;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_FEDERATED);
    s.azure.certificate_path = file;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_CERTIFICATE);
    s.azure.client_secret = secret;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_SECRET);
    s.azure.login = RL_LOGIN_BY_FEDERATION;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_FEDERATED);
    s.azure.federated_token_file = empty;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_NONE);
    assert_non_null(strstr(rl_login_missing(&s), "AZURE_FEDERATED_TOKEN_FILE"));
    s.azure.tenant_id = empty;
    s.azure.login = RL_LOGIN_AUTO;
    assert_int_equal(rl_login_of(&s), RL_LOGIN_NONE);
}

/* ---- what is asked ---- */
static void test_a_secret_is_form_encoded(void **state)
{
    rl_settings s = bare();
    rl_login_request r;
    (void)state;
    s.azure.client_id = client;
    s.azure.client_secret = secret;
    assert_int_equal(rl_login_build(&s, "https://graph.microsoft.com", 1, &r, NULL), RL_OK);
    assert_string_equal((char *)r.url.p, "https://login/contoso.com/oauth2/v2.0/token");
    assert_int_equal(rl_buf_append(&r.form, "", 1), RL_OK);
    assert_string_equal((char *)r.form.p, "client_id=id&client_secret=s3%2B%26%3D%2F&grant_type=client_credentials"
                                          "&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default");
    assert_false(r.direct);
    rl_login_request_free(&r);
}

static void test_a_managed_identity_is_asked_for_a_resource(void **state)
{
    rl_settings s = bare();
    rl_login_request r;
    (void)state;
    s.azure.login = RL_LOGIN_BY_MANAGED_IDENTITY;
    s.azure.imds_url = (char[]){"http://169.254.169.254"};
    assert_int_equal(rl_login_build(&s, "https://vault.azure.net", 1, &r, NULL), RL_OK);
    assert_string_equal((char *)r.url.p, "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"
                                         "&resource=https%3A%2F%2Fvault.azure.net");
    assert_string_equal((char *)r.header.p, "Metadata: true");
    assert_true(r.direct && r.form.n == 0);
    rl_login_request_free(&r);
}

/* ---- files ---- */
static void put_file(const char *octets, size_t n)
{
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(octets, 1, n, f), n);
    fclose(f);
}

static void assert_refused(const rl_settings *s, rl_err expected, const char *part)
{
    rl_login_request r;
    rl_error e = {0};
    assert_int_equal(rl_login_build(s, "https://graph", 1, &r, &e), expected);
    if (!strstr(e.message, part) || !strstr(e.message, file))
        fail_msg("\"%s\" or the file's name is not in: %s", part, e.message);
    rl_login_request_free(&r);
}

static void test_a_federated_token(void **state)
{
    rl_settings s = bare();
    rl_login_request r;
    (void)state;
    s.azure.client_id = client;
    s.azure.federated_token_file = file;
    put_file("eyJ.a.b\r\n", 9);
    assert_int_equal(rl_login_build(&s, "https://graph", 1, &r, NULL), RL_OK);
    assert_int_equal(rl_buf_append(&r.form, "", 1), RL_OK);
    assert_non_null(strstr((char *)r.form.p, "&client_assertion=eyJ.a.b&"));
    rl_login_request_free(&r);
    put_file("\n", 1);
    assert_refused(&s, RL_EINVAL, "holds no token");
    put_file("two words", 9);
    assert_refused(&s, RL_EINVAL, "holds no token");
    put_file("eyJ\0x", 5);
    assert_refused(&s, RL_EINVAL, "holds no token");
}

/* What is no file, and what is too large, for each login that reads one. A pipe must not hang. */
static void test_files_are_regular_and_bounded(void **state)
{
    static const struct {
        size_t most;
        bool certificate;
    } rows[] = {{64 * 1024, false}, {256 * 1024, true}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        rl_settings s = bare();
        char *large = malloc(rows[i].most + 1);
        s.azure.client_id = client;
        if (rows[i].certificate)
            s.azure.certificate_path = file;
        else
            s.azure.federated_token_file = file;
        memset(large, 'x', rows[i].most + 1);
        put_file(large, rows[i].most + 1);
        assert_refused(&s, RL_ERANGE, "is larger than");
        put_file(large, rows[i].most);
        rl_login_request r;
        assert_int_equal(rl_login_build(&s, "https://graph", 1, &r, NULL), rows[i].certificate ? RL_EINVAL : RL_OK);
        rl_login_request_free(&r);
        put_file("", 0);
        assert_refused(&s, RL_EINVAL, "holds no");
        assert_int_equal(unlink(file), 0);
        assert_refused(&s, RL_EIO, "cannot be read: No such file");
        assert_int_equal(mkfifo(file, 0600), 0);
        assert_refused(&s, RL_EIO, "it is no file");
        assert_int_equal(unlink(file), 0);
        assert_int_equal(mkdir(file, 0700), 0);
        assert_refused(&s, RL_EIO, "it is no file");
        assert_int_equal(rmdir(file), 0);
        free(large);
    }
}

/* ---- answers ---- */
static void test_tokens_and_their_lives(void **state)
{
    static const struct {
        const char *body;
        int64_t life; /* 0: refused */
    } rows[] = {{"{\"access_token\":\"a.b\",\"expires_in\":3599}", 3599},
                {"{\"access_token\":\"a.b\",\"expires_in\":\"3599\"}", 3599},
                {"{\"access_token\":\"a.b\",\"expires_on\":\"1100\"}", 100},
                {"{\"access_token\":\"a.b\",\"expires_in\":999999999}", 24 * 3600},
                {"{\"access_token\":\"a.b\",\"expires_in\":0}", 0},
                {"{\"access_token\":\"a.b\",\"expires_in\":-5}", 0},
                {"{\"access_token\":\"a.b\",\"expires_on\":\"999\"}", 0},
                {"{\"access_token\":\"a b\",\"expires_in\":5}", 0},
                {"{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":5}", 0},
                {"{\"access_token\":\"\",\"expires_in\":5}", 0},
                {"{\"expires_in\":5}", 0},
                {"[]", 0},
                {"<html>", 0},
                {"", 0}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *token;
        int64_t life = 0;
        rl_error e = {0};
        rl_err err = rl_login_read(rl_span_str(rows[i].body), 1000, &token, &life, &e);
        if ((err == RL_OK) != (rows[i].life > 0) || (err == RL_OK && life != rows[i].life))
            fail_msg("%s: %d, %lld", rows[i].body, (int)err, (long long)life);
        assert_true(err == RL_OK || (!token && e.message[0]));
        free(token);
    }
}

#define ENTRA(error, number)                                                                                           \
    "{\"error\":\"" error "\",\"error_description\":\"AADSTS s3cret\",\"error_codes\":[" number "]}"

static void test_refusals_say_whether_waiting_helps(void **state)
{
    static const struct {
        long status;
        const char *body;
        rl_login login;
        rl_err err;
        const char *message;
    } rows[] = {
        {401, ENTRA("invalid_client", "7000215"), RL_LOGIN_SECRET, RL_EDENIED,
         "401: invalid_client (AADSTS7000215): the client secret is wrong"},
        {401, ENTRA("invalid_client", "7000222"), RL_LOGIN_SECRET, RL_EDENIED, "make a new one"},
        {401, ENTRA("invalid_client", "700027"), RL_LOGIN_CERTIFICATE, RL_EDENIED, "(AADSTS700027)"},
        {400, ENTRA("unauthorized_client", "700016"), RL_LOGIN_SECRET, RL_EDENIED, "AZURE_CLIENT_ID"},
        {400, "{\"error\":\"invalid_request\"}", RL_LOGIN_IMDS, RL_EDENIED, "is an identity assigned"},
        {403, "<html>", RL_LOGIN_SECRET, RL_EDENIED, "answered 403"},
        {404, "", RL_LOGIN_SECRET, RL_EDENIED, "answered 404"},
        {404, "", RL_LOGIN_IMDS, RL_EBUSY, "it passes by itself"},
        {410, "", RL_LOGIN_APP_SERVICE, RL_EBUSY, "it passes by itself"},
        {429, "", RL_LOGIN_SECRET, RL_EBUSY, "answered 429: it passes by itself"},
        {500, "<html>", RL_LOGIN_SECRET, RL_EBUSY, "it passes by itself"},
        {503, ENTRA("temporarily_unavailable", "90033"), RL_LOGIN_SECRET, RL_EBUSY,
         "(AADSTS90033): it passes by itself"},
        {400, "{\"error\":\"temporarily_unavailable\"}", RL_LOGIN_SECRET, RL_EBUSY, "it passes by itself"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_error e = {0};
        rl_err err = rl_login_refused(rows[i].status, rl_span_str(rows[i].body), rows[i].login, &e);
        if (err != rows[i].err || e.code != err || !strstr(e.message, rows[i].message) || strstr(e.message, "s3cret"))
            fail_msg("%ld %s: %d, %s", rows[i].status, rows[i].body, (int)err, e.message);
    }
}

int main(void)
{
    char folder[] = "/tmp/revline-XXXXXX";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_that_is_complete),
        cmocka_unit_test(test_a_secret_is_form_encoded),
        cmocka_unit_test(test_a_managed_identity_is_asked_for_a_resource),
        cmocka_unit_test(test_a_federated_token),
        cmocka_unit_test(test_files_are_regular_and_bounded),
        cmocka_unit_test(test_tokens_and_their_lives),
        cmocka_unit_test(test_refusals_say_whether_waiting_helps),
    };
    if (!mkdtemp(folder))
        return 1;
    snprintf(file, sizeof(file), "%s/file", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    rmdir(folder);
    return failed;
}
