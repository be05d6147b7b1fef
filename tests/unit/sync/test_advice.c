/* Whatever fails, there is advice, whole and about the right upstream. */
#include "sync/advice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_advice(rl_failure f, const char *const words[])
{
    char text[RL_ADVICE_MAX];
    rl_advice(&f, text);
    for (size_t i = 0; words[i]; i++)
        if (!strstr(text, words[i]))
            fail_msg("\"%s\" is not in: %s", words[i], text);
}

#define ADVISES(...)                                                                                                   \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void a_refusal_names_the_permission_and_where_it_is_given(void **state)
{
    rl_failure f = {
        .kind = RL_FAILED_STATUS, .status = 403, .upstream = RL_UPSTREAM_GRAPH, .permission = "Device.Read.All"};
    (void)state;
    assert_advice(f, ADVISES("Device.Read.All", "admin consent", "API permissions"));
    f.status = 401;
    assert_advice(f, ADVISES("Device.Read.All", "AZURE_TENANT_ID"));
    f = (rl_failure){
        .kind = RL_FAILED_STATUS, .status = 403, .upstream = RL_UPSTREAM_JAMF, .permission = "Read Computers"};
    assert_advice(f, ADVISES("Read Computers", "Jamf Pro"));
    f.status = 401;
    assert_advice(f, ADVISES("Read Computers"));
    f = (rl_failure){
        .kind = RL_FAILED_STATUS, .status = 403, .upstream = RL_UPSTREAM_INTUNE, .permission = "Application.Read.All"};
    assert_advice(f, ADVISES("Application.Read.All", "AZURE_CLIENT_ID"));
    f = (rl_failure){.kind = RL_FAILED_STATUS, .status = 403, .upstream = RL_UPSTREAM_CRL};
    assert_advice(f, ADVISES("REVLINE_SYNC_CRL_URLS", "public"));
}

static void what_the_source_knows_comes_first(void **state)
{
    (void)state;
    assert_advice((rl_failure){.kind = RL_FAILED_STATUS, .status = 403, .own = "Look under the desk."},
                  ADVISES("Look under the desk."));
}

static void what_passes_by_itself_is_said_to(void **state)
{
    static const long statuses[] = {410, 429, 500, 503, 504};
    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_advice((rl_failure){.kind = RL_FAILED_STATUS, .status = statuses[i], .upstream = RL_UPSTREAM_GRAPH},
                      ADVISES("Nothing to do", "if it lasts"));
    assert_advice((rl_failure){.kind = RL_FAILED_STATUS, .status = 429, .upstream = RL_UPSTREAM_JAMF},
                  ADVISES("Jamf Pro limits how often", "interval"));
    assert_advice((rl_failure){.kind = RL_FAILED_STATUS, .status = 410, .upstream = RL_UPSTREAM_GRAPH},
                  ADVISES("compared as a whole"));
    assert_advice((rl_failure){.kind = RL_FAILED_WAITING, .upstream = RL_UPSTREAM_GRAPH},
                  ADVISES("Nothing to do", "if it lasts", "Entra ID"));
}

static void what_is_in_the_way_is_named(void **state)
{
    rl_failure f = {.kind = RL_FAILED_CALL, .upstream = RL_UPSTREAM_GRAPH};
    (void)state;
    f.call = RL_HTTP_NO_NAME;
    assert_advice(f, ADVISES("DNS", "REVLINE_GRAPH_URL", "https_proxy"));
    f.call = RL_HTTP_NO_CONNECT;
    assert_advice(f, ADVISES("firewall", "REVLINE_GRAPH_URL"));
    f.call = RL_HTTP_NO_TLS;
    assert_advice(f, ADVISES("SSL_CERT_FILE", "clock"));
    f.call = RL_HTTP_TIMEOUT;
    assert_advice(f, ADVISES("REVLINE_SYNC_REQUEST_TIMEOUT"));
    f.call = RL_HTTP_TOO_LARGE;
    assert_advice(f, ADVISES("REVLINE_SYNC_PAGE_LIMIT"));
    f.upstream = RL_UPSTREAM_CRL;
    assert_advice(f, ADVISES("REVLINE_SYNC_CRL_LIMIT"));
    assert_advice((rl_failure){.kind = RL_FAILED_LOGIN, .upstream = RL_UPSTREAM_GRAPH}, ADVISES("AZURE_CLIENT_ID"));
    assert_advice((rl_failure){.kind = RL_FAILED_LOGIN, .call = RL_HTTP_TIMEOUT, .upstream = RL_UPSTREAM_GRAPH},
                  ADVISES("AZURE_AUTHORITY_HOST"));
    assert_advice((rl_failure){.kind = RL_FAILED_LOGIN, .upstream = RL_UPSTREAM_JAMF},
                  ADVISES("REVLINE_JAMF_CLIENT_SECRET"));
    assert_advice((rl_failure){.kind = RL_FAILED_CONTENT, .upstream = RL_UPSTREAM_GRAPH},
                  ADVISES("Nothing was changed"));
    assert_advice((rl_failure){.kind = RL_FAILED_HERE}, ADVISES("revline config"));
}

/* Of every failure that there is: no braces left, a whole sentence, and not the text for failures of this server. */
static void there_is_always_a_whole_sentence(void **state)
{
    char text[RL_ADVICE_MAX];
    (void)state;
    for (int upstream = RL_UPSTREAM_ANY; upstream <= RL_UPSTREAM_CRL; upstream++)
        for (int kind = RL_FAILED_HERE; kind <= RL_FAILED_CONTENT; kind++)
            for (long status = 0; status < 1000; status++) {
                const rl_failure f = {.kind = (rl_failure_kind)kind,
                                      .call = (rl_http_failure)(status % (RL_HTTP_BROKEN + 1)),
                                      .status = status,
                                      .upstream = (rl_upstream)upstream,
                                      .permission = "DeviceManagementManagedDevices.Read.All"};
                rl_advice(&f, text);
                assert_true(strlen(text) > 20 && text[strlen(text) - 1] == '.' && !strpbrk(text, "{}"));
                assert_true((strstr(text, "This is about this server") != NULL) == (kind == RL_FAILED_HERE));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_names_the_permission_and_where_it_is_given),
        cmocka_unit_test(what_the_source_knows_comes_first),
        cmocka_unit_test(what_passes_by_itself_is_said_to),
        cmocka_unit_test(what_is_in_the_way_is_named),
        cmocka_unit_test(there_is_always_a_whole_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
