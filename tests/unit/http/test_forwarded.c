/* X-Forwarded-For: the last address that is no proxy's, and nothing that the client wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/forwarded.h"

static char *networks[] = {"10.0.0.0/24", "2001:db8:1::/48"};
static const rl_text_list trusted = {networks, 2};

typedef struct field {
    const char *name, *value;
} field;

static const char *client_of(const field *fields, size_t n)
{
    static char text[RL_ADDRESS_TEXT];
    http_proxies *p;
    rl_address from;
    rl_http_request req = {.headers_n = n};
    for (size_t i = 0; i < n; i++) {
        req.headers[i].name = rl_span_str(fields[i].name);
        req.headers[i].value = rl_span_str(fields[i].value);
    }
    assert_int_equal(http_proxies_new(&trusted, &p, NULL), RL_OK);
    assert_int_equal(rl_address_parse(RL_SPAN_LIT("10.0.0.1"), &from), RL_OK);
    assert_true(http_proxies_have(p, &from));
    rl_address client = http_forwarded_for(p, &req, from);
    http_proxies_free(p);
    rl_address_text(&client, text);
    return text;
}

static void test_the_last_that_is_no_proxy(void **state)
{
    static const struct {
        const char *value, *client;
    } cases[] = {
        {"192.0.2.7", "192.0.2.7"},
        {"192.0.2.7:51234", "192.0.2.7"},
        {" 192.0.2.7\t", "192.0.2.7"},
        {"2001:db8::7", "2001:db8::7"},
        {"[2001:db8::7]:51234", "2001:db8::7"},
        {"[2001:db8::7]", "2001:db8::7"},
        {"192.0.2.7, 10.0.0.9, 10.0.0.8", "192.0.2.7"},
        {"192.0.2.7,2001:db8:1::9", "192.0.2.7"},
        {"198.51.100.1, 192.0.2.7", "192.0.2.7"}, /* the client wrote the first */
        {"10.0.0.5, 192.0.2.7, 10.0.0.9", "192.0.2.7"},
        {"10.0.0.5, 10.0.0.9", "10.0.0.5"}, /* a proxy's own request */
        {"192.0.2.7, unknown, 10.0.0.9", "10.0.0.9"},
        {"192.0.2.7,, 10.0.0.9", "10.0.0.9"},
        {"192.0.2.7,", "10.0.0.1"},
        {"192.0.2.7]", "10.0.0.1"},
        {"[192.0.2.7", "10.0.0.1"},
        {"", "10.0.0.1"},
        {",", "10.0.0.1"},
        {"_hidden", "10.0.0.1"},
        {":", "10.0.0.1"},
        {"[", "10.0.0.1"},
        {"[]", "10.0.0.1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(client_of(&(field){"x-forwarded-for", cases[i].value}, 1), cases[i].client);
}

static void test_several_fields_are_one_list(void **state)
{
    const field fields[] = {{"X-Forwarded-For", "198.51.100.1"},
                            {"X-Forwarded-For", "192.0.2.7, 10.0.0.9"},
                            {"Via", "1.1 192.0.2.1"},
                            {"X-FORWARDED-FOR", "10.0.0.8"}};
    (void)state;
    assert_string_equal(client_of(fields, 4), "192.0.2.7");
    assert_string_equal(client_of(fields, 1), "198.51.100.1");
}

static void test_other_headers_say_nothing(void **state)
{
    const field fields[] = {
        {"Forwarded", "for=192.0.2.7"}, {"X-Real-IP", "192.0.2.7"}, {"X-Forwarded-For-Original", "192.0.2.7"}};
    (void)state;
    assert_string_equal(client_of(fields, 3), "10.0.0.1");
    assert_string_equal(client_of(fields, 0), "10.0.0.1");
}

static void test_a_list_without_end_is_not_gone_through(void **state)
{
    char list[16 * 1024] = "192.0.2.7";
    (void)state;
    for (int i = 0; i < HTTP_PROXIES_MAX - 1; i++)
        strcat(list, ",10.0.0.9");
    assert_string_equal(client_of(&(field){"X-Forwarded-For", list}, 1), "192.0.2.7");
    for (int i = 0; i < 1000; i++)
        strcat(list, ",10.0.0.9");
    assert_string_equal(client_of(&(field){"X-Forwarded-For", list}, 1), "10.0.0.9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_that_is_no_proxy),
        cmocka_unit_test(test_several_fields_are_one_list),
        cmocka_unit_test(test_other_headers_say_nothing),
        cmocka_unit_test(test_a_list_without_end_is_not_gone_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
