/* Addresses and networks as text: both families in one form, and strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/network.h"

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *as; /* NULL: none */
    } cases[] = {
        {"192.0.2.7", "192.0.2.7"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"2001:DB8:0:0::7", "2001:db8::7"},
        {"::", "::"},
        {"", NULL},
        {"192.0.2", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2.7 ", NULL},
        {"192.0.2.7:80", NULL},
        {"[2001:db8::7]", NULL},
        {"fe80::1%eth0", NULL},
        {"2001:db8::7::", NULL},
        {"unknown", NULL},
        {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rl_address a;
        char text[RL_ADDRESS_TEXT];
        rl_err err = rl_address_parse(rl_span_str(cases[i].text), &a);
        if (cases[i].as == NULL) {
            assert_int_equal(err, RL_EINVAL);
            continue;
        }
        assert_int_equal(err, RL_OK);
        rl_address_text(&a, text);
        assert_string_equal(text, cases[i].as);
    }
    rl_address a;
    assert_int_equal(rl_address_parse(rl_span_of("192.0.2.7\0", 10), &a), RL_EINVAL);
}

static bool has(const char *network, const char *address)
{
    rl_network n;
    rl_address a;
    assert_int_equal(rl_network_parse(rl_span_str(network), &n), RL_OK);
    assert_int_equal(rl_address_parse(rl_span_str(address), &a), RL_OK);
    return rl_network_has(&n, &a);
}

static void test_networks(void **state)
{
    static const char *const bad[] = {"",           "/8",           "10.0.0.0/",      "10.0.0.0/33", "10.0.0.0/-1",
                                      "10.0.0.0/x", "10.0.0.0/08x", "2001:db8::/129", "10/8",        "10.0.0.0/8/8"};
    rl_network n;
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.255.255"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_false(has("10.0.0.0/8", "a00::"));
    assert_true(has("10.128.0.0/9", "10.128.0.1"));
    assert_false(has("10.128.0.0/9", "10.127.255.255"));
    assert_true(has("192.0.2.7", "::ffff:192.0.2.7"));
    assert_false(has("192.0.2.7", "192.0.2.6"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("0.0.0.0/0", "255.0.0.1"));
    assert_false(has("0.0.0.0/0", "::1"));
    assert_true(has("::/0", "255.0.0.1"));
    assert_int_equal(rl_network_parse(RL_SPAN_LIT("10.0.0.1/8"), &n), RL_ERANGE);
    assert_int_equal(rl_network_parse(RL_SPAN_LIT("2001:db8::1/64"), &n), RL_ERANGE);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rl_network_parse(rl_span_str(bad[i]), &n), RL_EINVAL);
}

static void test_hosts(void **state)
{
    static const char *const rows[][2] = {
        {"https://ca.example.test:8443/pki", "ca.example.test"},
        {"http://ca.example.test", "ca.example.test"},
        {"http://ca.example.test/a:b", "ca.example.test"},
        {"https://[2001:db8::1]:8443", "2001:db8::1"},
        {"https://[2001:db8::1]", "2001:db8::1"},
        {"192.0.2.7:443", "192.0.2.7"},
        {"[::]:443", "::"},
        {"laptop", "laptop"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_span host = rl_host_of(rows[i][0]);
        if (!rl_span_eq(host, rl_span_str(rows[i][1])))
            fail_msg("%s", rows[i][0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
