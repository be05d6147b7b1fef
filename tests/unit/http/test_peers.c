/* Counting connections: limits hold, places come back, addresses of one client count together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "http/peers.h"

static http_peer peer(const char *text)
{
    rl_address a;
    assert_int_equal(rl_address_parse(rl_span_str(text), &a), RL_OK);
    return http_peer_of(&a);
}

static void test_a_client_is_an_ipv4_address_or_an_ipv6_64(void **state)
{
    (void)state;
    assert_true(peer("2001:db8:0:1::1") == peer("2001:db8:0:1:ffff::2"));
    assert_true(peer("2001:db8:0:1::1") != peer("2001:db8:0:2::1"));
    assert_true(peer("::ffff:192.0.2.1") == peer("192.0.2.1"));
    assert_true(peer("192.0.2.2") != peer("192.0.2.1"));
}

static void test_refusals_are_bounded_and_do_not_take_places(void **state)
{
    http_peers *p;
    (void)state;
    assert_int_equal(http_peers_new(2, 0, &p, NULL), RL_OK);
    assert_int_equal(http_peers_enter(p, 1, false), HTTP_ENTERED);
    assert_int_equal(http_peers_enter(p, 1, false), HTTP_ENTERED);
    for (int i = 0; i < HTTP_REFUSED_MAX; i++)
        assert_int_equal(http_peers_enter(p, (http_peer)i, false), HTTP_REFUSED_ALL);
    assert_int_equal(http_peers_enter(p, 7, false), HTTP_DROPPED);
    http_peers_leave(p, 7, HTTP_DROPPED);
    http_peers_leave(p, 0, HTTP_REFUSED_ALL);
    assert_int_equal(http_peers_enter(p, 7, false), HTTP_REFUSED_ALL);
    http_peers_leave(p, 1, HTTP_ENTERED);
    assert_int_equal(http_peers_enter(p, 7, false), HTTP_ENTERED);
    http_peers_free(p);
}

static void test_who_stands_for_many_has_only_the_limit_of_all(void **state)
{
    http_peers *p;
    (void)state;
    assert_int_equal(http_peers_new(4, 1, &p, NULL), RL_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(http_peers_enter(p, 1, true), HTTP_ENTERED);
    assert_int_equal(http_peers_enter(p, 2, false), HTTP_ENTERED);
    assert_int_equal(http_peers_enter(p, 1, true), HTTP_REFUSED_ALL);
    http_peers_leave(p, 1, HTTP_ENTERED);
    assert_int_equal(http_peers_enter(p, 2, false), HTTP_REFUSED_ADDRESS);
    assert_int_equal(http_peers_enter(p, 1, true), HTTP_ENTERED);
    http_peers_free(p);
}

/* Against a plain array: random comings and goings of more clients than fit without collisions. */
static void test_counts_are_right_through_many_comings_and_goings(void **state)
{
    enum { CLIENTS = 100, EACH = 3, STEPS = 20000 };
    http_peers *p;
    int open[CLIENTS] = {0};
    (void)state;
    srand(1);
    assert_int_equal(http_peers_new(CLIENTS * EACH, EACH, &p, NULL), RL_OK);
    for (int i = 0; i < STEPS; i++) {
        int c = rand() % CLIENTS;
        http_peer peer = (http_peer)c << 32;
        if (rand() % 2 == 0 && open[c] > 0) {
            http_peers_leave(p, peer, HTTP_ENTERED);
            open[c]--;
            continue;
        }
        http_entry entry = http_peers_enter(p, peer, false);
        assert_int_equal(entry, open[c] < EACH ? HTTP_ENTERED : HTTP_REFUSED_ADDRESS);
        if (entry == HTTP_ENTERED)
            open[c]++;
        else
            http_peers_leave(p, peer, entry);
    }
    http_peers_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_is_an_ipv4_address_or_an_ipv6_64),
        cmocka_unit_test(test_refusals_are_bounded_and_do_not_take_places),
        cmocka_unit_test(test_who_stands_for_many_has_only_the_limit_of_all),
        cmocka_unit_test(test_counts_are_right_through_many_comings_and_goings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
