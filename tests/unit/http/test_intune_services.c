/* Intune's services: what is read of Graph's list of them, and how questions find their way. */
#include "http/intune_services.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/http/upstream.h"

/* ---- the list ---- */
struct found {
    char *of[RL_INTUNE_SERVICES];
};

static rl_err read_list(const char *text, bool plain, struct found *f)
{
    rl_error e = {0};
    rl_err err = rl_intune_services_read(rl_span_str(text), plain, f->of, &e);
    assert_true(err == RL_OK || e.message[0]);
    return err;
}

static void forget(struct found *f)
{
    for (size_t i = 0; i < RL_INTUNE_SERVICES; i++)
        free(f->of[i]);
}

/* The shape is that of Microsoft's own client's tests. */
static void test_a_list_as_graph_gives_it(void **state)
{
    struct found f;
    (void)state;
    assert_int_equal(
        read_list("{\"@odata.context\":\"x\",\"value\":[{\"id\":\"a\",\"capability\":\"c\",\"providerName\":\"Other\","
                  "\"providerId\":null,\"uri\":\"https://other.example/x\"},"
                  "{\"providerName\":\"ScepRequestValidationFEService\",\"uri\":\"https://fef.example/RACerts/Scep/\"},"
                  "{\"providerName\":\"pkiCONNECTORfeService\",\"uri\":\"https://fef.example/RACerts/Pki\"},"
                  "{\"providerName\":\"PkiConnectorFEService\",\"uri\":\"https://second.example/\"}]}",
                  false, &f),
        RL_OK);
    assert_string_equal(f.of[RL_INTUNE_SCEP_VALIDATION], "https://fef.example/RACerts/Scep");
    assert_string_equal(f.of[RL_INTUNE_PKI_CONNECTOR], "https://fef.example/RACerts/Pki");
    forget(&f);
}

static void test_addresses_that_are_none(void **state)
{
    static const char *const uris[] = {"",
                                       "https://",
                                       "http://fef.example/x",
                                       "ftp://fef.example/x",
                                       "//fef.example/x",
                                       "https://u:p@fef.example/x",
                                       "https://fef.example/x?y=z",
                                       "https://fef.example/x#y",
                                       "https://fef.example/\\\\x",
                                       "https://fef.example/a b",
                                       "https://fef.example/\\r\\nX: y",
                                       "https://fef.example/\\u00e9"};
    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        struct found f;
        char text[256];
        snprintf(text, sizeof(text),
                 "{\"value\":[{\"providerName\":\"PkiConnectorFEService\",\"uri\":\"%s\"},7,null,{},"
                 "{\"providerName\":\"PkiConnectorFEService\",\"uri\":null}]}",
                 uris[i]);
        assert_int_equal(read_list(text, false, &f), RL_OK);
        if (f.of[RL_INTUNE_PKI_CONNECTOR])
            fail_msg("%s is taken for an address", uris[i]);
    }
}

static void test_plain_http_where_it_is_allowed(void **state)
{
    static const char text[] =
        "{\"value\":[{\"providerName\":\"PkiConnectorFEService\",\"uri\":\"HTTP://localhost/x\"}]}";
    struct found f;
    (void)state;
    assert_int_equal(read_list(text, false, &f), RL_OK);
    assert_null(f.of[RL_INTUNE_PKI_CONNECTOR]);
    assert_int_equal(read_list(text, true, &f), RL_OK);
    assert_string_equal(f.of[RL_INTUNE_PKI_CONNECTOR], "HTTP://localhost/x");
    forget(&f);
}

static void test_what_is_no_list(void **state)
{
    static const char *const texts[] = {"", "<html>", "[]", "{}", "{\"value\":{}}", "{\"value\":[", "7"};
    struct found f;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_not_equal(read_list(texts[i], false, &f), RL_OK);
}

/* ---- questions ---- */
struct world {
    uv_loop_t loop;
    upstream server;
    rl_settings settings;
    rl_http_client *client;
    rl_intune *intune;
    pthread_mutex_t lock;
    unsigned tokens, lists, questions; /* that were asked for */
    unsigned place;                    /* of the service */
    bool no_list;
    char last[2048]; /* question */
    /* The loop's. */
    unsigned answers;
    long status;
    rl_err err;
    char message[256];
};

/* Tokens are numbered; those for the Intune API have an i. */
static void answer_token(struct world *w, const char *request, upstream_reply *reply)
{
    char body[128];
    bool intune = strstr(request, "%2Fintune-api%2F.default") != NULL;
    snprintf(body, sizeof(body), "{\"expires_in\":3599,\"access_token\":\"%s%u\"}", intune ? "i" : "g", ++w->tokens);
    upstream_answer(reply, 200, "", rl_span_str(body));
}

static void answer_list(struct world *w, upstream_reply *reply)
{
    char body[512];
    w->lists++;
    snprintf(body, sizeof(body), "{\"value\":[{\"providerName\":\"PkiConnectorFEService\",\"uri\":\"%s/%u/pki\"}]}",
             w->server.url, w->place);
    upstream_answer(reply, w->no_list ? 503 : 200, "Retry-After: 7\r\n", rl_span_str(body));
}

static void play(void *ctx, const char *request, upstream_reply *reply)
{
    struct world *w = ctx;
    char here[32];
    pthread_mutex_lock(&w->lock);
    snprintf(here, sizeof(here), "POST /%u/pki/act ", w->place);
    if (strstr(request, "/oauth2/v2.0/token")) {
        answer_token(w, request, reply);
    } else if (strncmp(request, "GET /v1.0/servicePrincipals/", 28) == 0) {
        answer_list(w, reply);
    } else {
        w->questions++;
        snprintf(w->last, sizeof(w->last), "%s", request);
        upstream_answer(reply, strncmp(request, here, strlen(here)) == 0 ? 200 : 404, "", RL_SPAN_LIT("{}"));
    }
    pthread_mutex_unlock(&w->lock);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    static char id[] = "id";
    pthread_mutex_init(&w->lock, NULL);
    upstream_start(&w->server, play, w);
    w->settings.azure = (__typeof__(w->settings.azure)){.tenant_id = id,
                                                        .client_id = id,
                                                        .client_secret = id,
                                                        .authority_host = w->server.url,
                                                        .graph_url = w->server.url,
                                                        .intune_url = malloc(128)};
    snprintf(w->settings.azure.intune_url, 128, "%s/intune-api", w->server.url);
    w->settings.sync.request_timeout = w->settings.sync.connect_timeout = 20000;
    w->settings.sync.page_limit = 65536;
    uv_loop_init(&w->loop);
    assert_int_equal(rl_http_client_new(&w->loop, &w->client, NULL), RL_OK);
    assert_int_equal(rl_intune_new(w->client, &w->settings, &w->intune, NULL), RL_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rl_http_client_close(w->client, NULL, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    rl_intune_free(w->intune);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    upstream_stop(&w->server);
    free(w->settings.azure.intune_url);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return 0;
}

static void on_answer(const rl_http_response *r, void *arg)
{
    struct world *w = arg;
    w->answers++;
    w->status = r->status;
    w->err = r->err;
    snprintf(w->message, sizeof(w->message), "%s", r->message);
    assert_true(r->err == RL_OK || r->err == RL_ECANCELED || r->message[0]);
}

static void ask(struct world *w, rl_intune_service service)
{
    rl_error e = {0};
    if (rl_intune_ask(w->intune, service, "act", RL_SPAN_LIT("{\"a\":1}"), on_answer, w, &e) != RL_OK)
        fail_msg("%s", e.message);
}

static void until(struct world *w, unsigned answers)
{
    while (w->answers < answers)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_int_equal(w->answers, answers);
}

static unsigned count(struct world *w, const unsigned *of)
{
    pthread_mutex_lock(&w->lock);
    unsigned n = *of;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void set_list(struct world *w, unsigned place, bool no_list)
{
    pthread_mutex_lock(&w->lock);
    w->place = place;
    w->no_list = no_list;
    pthread_mutex_unlock(&w->lock);
}

static void assert_last_has(struct world *w, const char *text)
{
    pthread_mutex_lock(&w->lock);
    if (!strstr(w->last, text))
        fail_msg("not in the question: %s", text);
    pthread_mutex_unlock(&w->lock);
}

static void test_many_questions_share_one_look_up(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++)
        ask(w, RL_INTUNE_PKI_CONNECTOR);
    assert_int_equal(w->answers, 0); /* later, never inside */
    until(w, 5);
    assert_int_equal(w->status, 200);
    assert_int_equal(count(w, &w->lists), 1);
    assert_int_equal(count(w, &w->tokens), 2);
    assert_int_equal(count(w, &w->questions), 5);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    until(w, 6);
    assert_int_equal(count(w, &w->lists), 1);
    assert_last_has(w, "POST /0/pki/act HTTP/1.1\r\n");
    assert_last_has(w, "\r\nAuthorization: Bearer i2\r\n"); /* the second token, of the other audience */
    assert_last_has(w, "\r\napi-version: 5019-05-05\r\n");
    assert_last_has(w, "\r\nUserAgent: Revline/");
    assert_last_has(w, "\r\nclient-request-id: ");
    assert_last_has(w, "\r\n\r\n{\"a\":1}");
}

static void test_a_service_that_moved_is_found_once(void **state)
{
    struct world *w = *state;
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    until(w, 1);
    set_list(w, 1, false);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    until(w, 3);
    assert_int_equal(w->err, RL_OK);
    assert_int_equal(w->status, 200);
    assert_in_range(count(w, &w->lists), 2, 3);
}

static void test_a_service_that_is_not_listed(void **state)
{
    struct world *w = *state;
    ask(w, RL_INTUNE_SCEP_VALIDATION);
    until(w, 1);
    assert_int_equal(w->err, RL_ENOTFOUND);
    assert_non_null(strstr(w->message, "ScepRequestValidationFEService"));
    ask(w, RL_INTUNE_PKI_CONNECTOR); /* the other is */
    until(w, 2);
    assert_int_equal(w->status, 200);
    assert_int_equal(count(w, &w->lists), 1);
}

static void test_a_look_up_that_fails_ends_all_that_wait(void **state)
{
    struct world *w = *state;
    set_list(w, 0, true);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    ask(w, RL_INTUNE_SCEP_VALIDATION);
    until(w, 2);
    assert_int_equal(w->err, RL_EIO);
    assert_non_null(strstr(w->message, "503"));
    assert_int_equal(count(w, &w->questions), 0);
    set_list(w, 0, false);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    until(w, 3);
    assert_int_equal(w->status, 200);
}

/* teardown closes the client: whoever waits is told, and nothing is left behind. */
static void test_closing_ends_what_waits(void **state)
{
    struct world *w = *state;
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    ask(w, RL_INTUNE_PKI_CONNECTOR);
    rl_http_client_close(w->client, NULL, NULL);
    assert_int_equal(w->answers, 2);
    assert_int_equal(w->err, RL_ECANCELED);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    rl_intune_free(w->intune);
    assert_int_equal(rl_http_client_new(&w->loop, &w->client, NULL), RL_OK);
    assert_int_equal(rl_intune_new(w->client, &w->settings, &w->intune, NULL), RL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_as_graph_gives_it),
        cmocka_unit_test(test_addresses_that_are_none),
        cmocka_unit_test(test_plain_http_where_it_is_allowed),
        cmocka_unit_test(test_what_is_no_list),
        cmocka_unit_test_setup_teardown(test_many_questions_share_one_look_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_service_that_moved_is_found_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_service_that_is_not_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_look_up_that_fails_ends_all_that_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing_ends_what_waits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
