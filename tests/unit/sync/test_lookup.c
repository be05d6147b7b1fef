/* Direct questions to a directory: which, under which address, and what an answer to them means. */
#include "sync/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define GUID  "5c6d0000-0000-4000-8000-000000000001"
#define OTHER "5c6d0000-0000-4000-8000-000000000002"

static rl_settings settings = {.azure.graph_url = (char *)"https://graph.microsoft.com"};

/* ---- which ---- */
static void test_the_directories_say_what_is_asked(void **state)
{
    static const struct {
        rl_device_directory directory;
        rl_source source;
        size_t n;
        rl_look_kind plan[RL_LOOKS_MAX];
    } rows[] = {
        {RL_DIRECTORY_AAD, RL_SOURCE_ENTRA_DEVICE_NAME, 1, {RL_LOOK_ENTRA_DEVICE}},
        {RL_DIRECTORY_INTUNE, RL_SOURCE_ENTRA_DEVICE_NAME, 2, {RL_LOOK_INTUNE_ID, RL_LOOK_INTUNE_NAME}},
        {RL_DIRECTORY_BOTH, RL_SOURCE_ENTRA_DEVICE_NAME, 2, {RL_LOOK_ENTRA_DEVICE, RL_LOOK_INTUNE_ID}},
        {RL_DIRECTORY_OPPORTUNISTIC, RL_SOURCE_ENTRA_DEVICE_NAME, 2, {RL_LOOK_ENTRA_DEVICE, RL_LOOK_INTUNE_ID}},
        {RL_DIRECTORY_INTUNE, RL_SOURCE_ENTRA_USER_NAME, 1, {RL_LOOK_ENTRA_USER}},
        {RL_DIRECTORY_AAD, RL_SOURCE_JAMF_COMPUTER, 1, {RL_LOOK_COMPUTER}},
        {RL_DIRECTORY_AAD, RL_SOURCE_JAMF_DEVICE, 1, {RL_LOOK_MOBILE_DEVICE}},
        {RL_DIRECTORY_BOTH, RL_SOURCE_JAMF_USER_NAME, 0, {0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_look_kind plan[RL_LOOKS_MAX];
        settings.rules.directory = rows[i].directory;
        assert_int_equal(rl_look_plan(&settings, rows[i].source, plan), rows[i].n);
        for (size_t k = 0; k < rows[i].n; k++)
            assert_int_equal(plan[k], rows[i].plan[k]);
    }
}

/* ---- where ---- */
#define DEVICES "https://graph.microsoft.com/v1.0/devices?$select=id,deviceId,accountEnabled,isCompliant"
#define MANAGED "?$select=id,azureADDeviceId,complianceState,managementState,enrolledDateTime"
#define USERS                                                                                                          \
    "https://graph.microsoft.com/v1.0/"                                                                                \
    "users?$select=id,accountEnabled,userPrincipalName,mail,onPremisesSecurityIdentifier"                              \
    "&$filter=userPrincipalName%20eq%20"

static void test_addresses(void **state)
{
    static const struct {
        rl_look_kind kind;
        bool other;
        const char *id, *url; /* escapes as Python's urllib.parse.quote(text, safe="") has them */
    } rows[] = {
        {RL_LOOK_ENTRA_DEVICE, false, GUID,
         DEVICES ",onPremisesSecurityIdentifier&$filter=deviceId%20eq%20%27" GUID "%27"},
        {RL_LOOK_ENTRA_DEVICE, true, GUID, DEVICES "&$filter=deviceId%20eq%20%27" GUID "%27"},
        {RL_LOOK_INTUNE_ID, false, GUID,
         "https://graph.microsoft.com/v1.0/deviceManagement/managedDevices/" GUID MANAGED},
        {RL_LOOK_INTUNE_ID, true, "../a?b",
         "https://graph.microsoft.com/beta/deviceManagement/managedDevices/"
         "..%2Fa%3Fb" MANAGED},
        {RL_LOOK_ENTRA_USER, false, "o'h#x&y@a.b",
         USERS "%27o%27%27h%23x%26y%40a.b%27%20or%20mail%20eq%20%27o%27%27h%23x%26y%40a.b%27"},
        {RL_LOOK_ENTRA_USER, true, "\303\251", USERS "%27%C3%A9%27%20or%20mail%20eq%20%27%C3%A9%27"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_buf url = {0};
        assert_int_equal(rl_look_url(&settings, rows[i].kind, rows[i].other, rows[i].id, &url), RL_OK);
        assert_string_equal((char *)url.p, rows[i].url);
        rl_buf_free(&url);
    }
}

/* ---- what ---- */
static rl_err read_answer(rl_look_kind kind, const char *body, const char *id, rl_graph_page *page)
{
    rl_error e = {0};
    rl_err err = rl_look_read(&settings, kind, rl_span_str(body), id, page, &e);
    assert_true(err == RL_OK || e.message[0]);
    return err;
}

static void test_answers(void **state)
{
    static const struct {
        rl_look_kind kind;
        const char *id, *body;
        size_t n;
    } rows[] = {
        {RL_LOOK_ENTRA_DEVICE, GUID, "{\"value\":[{\"id\":\"o1\",\"deviceId\":\"{" GUID "}\"}]}", 1},
        {RL_LOOK_ENTRA_DEVICE, GUID, "{\"value\":[]}", 0},
        {RL_LOOK_ENTRA_DEVICE, GUID, "{\"value\":[{\"id\":\"o1\",\"deviceId\":\"" OTHER "\"},{\"id\":\"o2\"}]}", 0},
        {RL_LOOK_INTUNE_ID, GUID, "{\"id\":\"" GUID "\",\"azureADDeviceId\":\"" OTHER "\"}", 1},
        {RL_LOOK_INTUNE_NAME, GUID,
         "{\"value\":[{\"id\":\"m1\",\"azureADDeviceId\":\"" GUID "\"},{\"id\":\"m2\",\"azureADDeviceId\":\"" GUID
         "\"}]}",
         2},
        {RL_LOOK_ENTRA_USER, "ada@a.b", "{\"value\":[{\"id\":\"u1\",\"userPrincipalName\":\"a.l@a.b\"}]}", 1},
        {RL_LOOK_COMPUTER, "12", "{\"id\":\"12\",\"general\":null}", 1},
        {RL_LOOK_MOBILE_DEVICE, "12", "{\"id\":12,\"name\":\"x\"}", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_graph_page page;
        assert_int_equal(read_answer(rows[i].kind, rows[i].body, rows[i].id, &page), RL_OK);
        assert_int_equal(page.n, rows[i].n);
        rl_graph_page_free(&page);
    }
}

static void test_answers_that_are_none(void **state)
{
    static const char *const bodies[] = {
        "", "<html>", "[]", "7", "{\"value\":{}}", "{\"value\":[7]}", "{\"error\":{}}"};
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        for (unsigned kind = 0; kind < RL_LOOK_KINDS; kind++) {
            rl_graph_page page;
            if (read_answer((rl_look_kind)kind, bodies[i], "12", &page) == RL_OK)
                fail_msg("%s", bodies[i]);
        }
    rl_graph_page page;
    assert_int_equal(read_answer(RL_LOOK_COMPUTER, "{\"id\":\"13\"}", "12", &page), RL_EBADMSG);
    assert_int_equal(
        read_answer(RL_LOOK_INTUNE_ID, "{\"id\":\"" OTHER "\",\"azureADDeviceId\":\"" GUID "\"}", GUID, &page),
        RL_EBADMSG);
    /* an empty page is no end */
    assert_int_equal(read_answer(RL_LOOK_ENTRA_DEVICE,
                                 "{\"value\":[],\"@odata.nextLink\":\"https://graph.microsoft.com/v1.0/devices?x\"}",
                                 GUID, &page),
                     RL_EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_directories_say_what_is_asked),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
