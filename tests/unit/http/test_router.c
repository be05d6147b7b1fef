/* The router: longest match, exact before prefix, 404 and 405 told apart, HEAD by GET. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/router.h"

static void handler(rl_http_request *req, void *ctx)
{
    (void)req;
    (void)ctx;
}

static int names[8]; /* a route is known by its ctx */

static const rl_http_route routes[] = {
    {RL_HTTP_GET, "/", false, 0, handler, &names[0], NULL},
    {RL_HTTP_GET, "/ocsp/", true, 0, handler, &names[1], NULL},
    {RL_HTTP_POST, "/ocsp", false, 0, handler, &names[2], NULL},
    {RL_HTTP_GET, "/", true, 0, handler, &names[3], NULL},
    {RL_HTTP_POST, "/", false, 0, handler, &names[4], NULL},
    {RL_HTTP_GET | RL_HTTP_DELETE, "/ocsp/special", false, 0, handler, &names[5], NULL},
    {RL_HTTP_GET, "/ocsp/sp", true, 0, handler, &names[6], NULL},
    {RL_HTTP_PUT | RL_HTTP_PATCH, "/edit", false, 0, handler, &names[7], NULL},
};

static http_router *made(void)
{
    http_router *r = NULL;
    rl_error e;
    assert_int_equal(http_router_new(routes, sizeof routes / sizeof routes[0], &r, &e), RL_OK);
    return r;
}

static void check(http_router *r, unsigned method, const char *path, int status, const void *ctx, const char *rest)
{
    http_match m;
    assert_int_equal(http_router_find(r, method, rl_span_str(path), &m), status);
    if (status != 0) {
        assert_null(m.route);
        return;
    }
    assert_ptr_equal(m.route->ctx, ctx);
    assert_true(rl_span_eq(m.rest, rl_span_str(rest)));
}

static void test_longest_match_wins_and_exact_comes_first(void **state)
{
    http_router *r = made();
    (void)state;
    check(r, RL_HTTP_GET, "/", 0, &names[0], "");
    check(r, RL_HTTP_GET, "/a", 0, &names[3], "a");
    check(r, RL_HTTP_GET, "/ocsp/", 0, &names[1], "");
    check(r, RL_HTTP_GET, "/ocsp/MFI//w==", 0, &names[1], "MFI//w==");
    check(r, RL_HTTP_GET, "/ocsp/special", 0, &names[5], "");
    check(r, RL_HTTP_GET, "/ocsp/specialist", 0, &names[6], "ecialist");
    check(r, RL_HTTP_POST, "/ocsp", 0, &names[2], "");
    check(r, RL_HTTP_POST, "/", 0, &names[4], "");
    http_router_free(r);
}

static void test_head_goes_to_get(void **state)
{
    http_router *r = made();
    (void)state;
    check(r, RL_HTTP_HEAD, "/ocsp/x", 0, &names[1], "x");
    check(r, RL_HTTP_HEAD, "/edit", 405, NULL, NULL);
    http_router_free(r);
}

static void test_wrong_method_is_405_with_the_right_ones(void **state)
{
    static const struct {
        unsigned method;
        const char *path, *allow;
    } cases[] = {
        {RL_HTTP_PUT, "/", "GET, HEAD, POST"},
        {RL_HTTP_GET, "/edit", "PUT, PATCH"},
        {RL_HTTP_POST, "/ocsp/special", "GET, HEAD, DELETE"},
        {0, "/edit", "PUT, PATCH"},
        {0, "*", "GET, HEAD, POST, PUT, PATCH, DELETE"},
    };
    http_router *r = made();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_match m;
        assert_int_equal(http_router_find(r, cases[i].method, rl_span_str(cases[i].path), &m), 405);
        assert_string_equal(m.allow, cases[i].allow);
    }
    http_router_free(r);
}

static void test_unknown_path_is_404(void **state)
{
    http_router *r = NULL;
    rl_error e;
    (void)state;
    assert_int_equal(http_router_new(routes + 1, 2, &r, &e), RL_OK);
    check(r, RL_HTTP_GET, "/", 404, NULL, NULL);
    check(r, RL_HTTP_GET, "/ocs", 404, NULL, NULL);
    check(r, RL_HTTP_POST, "/ocsp2", 404, NULL, NULL);
    check(r, RL_HTTP_GET, "", 404, NULL, NULL);
    http_router_free(r);
    assert_int_equal(http_router_new(NULL, 0, &r, &e), RL_OK);
    check(r, RL_HTTP_GET, "/", 404, NULL, NULL);
    http_router_free(r);
}

static void test_senseless_routes_are_refused(void **state)
{
    const rl_http_route bad[][2] = {
        {{RL_HTTP_GET, "/a", false, 0, handler, NULL, NULL},
         {RL_HTTP_GET | RL_HTTP_POST, "/a", false, 0, handler, NULL, NULL}},
        {{RL_HTTP_GET, "/a", false, 0, handler, NULL, NULL}, {RL_HTTP_GET, "b", false, 0, handler, NULL, NULL}},
        {{RL_HTTP_GET, "/a", false, 0, handler, NULL, NULL}, {0, "/b", false, 0, handler, NULL, NULL}},
        {{RL_HTTP_GET, "/a", false, 0, handler, NULL, NULL}, {RL_HTTP_GET, "/b", false, 0, NULL, NULL, NULL}},
        {{RL_HTTP_GET, "/a", false, 0, handler, NULL, NULL}, {RL_HTTP_GET, NULL, false, 0, handler, NULL, NULL}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        http_router *r;
        rl_error e;
        assert_int_equal(http_router_new(bad[i], 2, &r, &e), RL_EINVAL);
        assert_null(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_match_wins_and_exact_comes_first),
        cmocka_unit_test(test_head_goes_to_get),
        cmocka_unit_test(test_wrong_method_is_405_with_the_right_ones),
        cmocka_unit_test(test_unknown_path_is_404),
        cmocka_unit_test(test_senseless_routes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
