/* Answers over a restart: taken over octet for octet while they hold, and never one from before a change of status. */
#include "harness.h"

#include "base/clock.h"
#include "base/metrics.h"

enum { FIRST = 0x01000001, SECOND = 0x01000002 };

static void open_with_certificates(harness *h)
{
    harness_open(h, NULL);
    harness_add(h, FIRST, rl_wall_s() + 86400);
    harness_add(h, SECOND, rl_wall_s() + 86400);
}

static void stop(harness *h)
{
    rl_http_server_stop(h->http, 5000);
    rl_ocsp_close(h->ocsp);
}

/* A responder with an empty cache and a new delegate, over the same store. */
static void start(harness *h)
{
    rl_http_route routes[8];
    assert_ok(rl_ocsp_open(h->store, h->ca, &h->settings, &h->ocsp, &h->e), &h->e);
    size_t n = rl_ocsp_routes(h->ocsp, routes, 8);
    assert_ok(rl_http_server_start(&h->settings, NULL, routes, n, &h->http, &h->e), &h->e);
}

static uint64_t signatures(harness *h)
{
    rl_ocsp_figures f;
    rl_ocsp_figures_read(h->ocsp, &f);
    return f.signatures;
}

static void get_answer(const harness *h, uint32_t serial, reply *r)
{
    rl_span request = make_request(rl_ca_issuer(h->ca)->cert, EVP_sha256(), serial, NULL);
    client_post(h, "/ocsp", request, r);
    OPENSSL_free((void *)request.p);
    assert_int_equal(response_status(r), OCSP_RESPONSE_STATUS_SUCCESSFUL);
}

static void an_answer_comes_back_after_a_restart_without_a_signature(void **state)
{
    static harness h;
    static reply before, after;
    (void)state;
    open_with_certificates(&h);
    get_answer(&h, FIRST, &before);
    stop(&h);
    start(&h);
    uint64_t signed_before = signatures(&h);
    get_answer(&h, FIRST, &after);
    assert_int_equal(signatures(&h), signed_before);
    assert_int_equal(after.body_n, before.body_n);
    assert_memory_equal(after.body, before.body, before.body_n);
    char tag[512];
    snprintf(tag, sizeof(tag), "%s", reply_header(&before, "ETag"));
    assert_string_equal(reply_header(&after, "ETag"), tag);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_GOOD); /* and it verifies, its signer being gone */
    assert_int_equal(ask(&h, SECOND, NULL), V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(signatures(&h), signed_before + 1);
    harness_close(&h);
}

/* Who changes one of these and starts anew wants it at once, not as the answers of before end. */
static void other_settings_want_other_answers(void **state)
{
    static harness h;
    static reply r;
    (void)state;
    open_with_certificates(&h);
    h.settings.ocsp.validity_good = 3600 * 1000;
    stop(&h);
    start(&h);
    get_answer(&h, FIRST, &r);
    int64_t *const shaping[] = {&h.settings.ocsp.validity_good, &h.settings.ocsp.archive, &h.settings.sync.stale_after};
    for (size_t i = 0; i < sizeof(shaping) / sizeof(shaping[0]) + 1; i++) {
        stop(&h);
        if (i < sizeof(shaping) / sizeof(shaping[0]))
            *shaping[i] += 60 * 1000;
        else
            h.settings.ocsp.responder_id = RL_RESPONDER_BY_NAME;
        start(&h);
        uint64_t signed_before = signatures(&h);
        get_answer(&h, FIRST, &r);
        assert_int_equal(signatures(&h), signed_before + 1);
    }
    stop(&h);
    start(&h); /* the same as before */
    uint64_t signed_before = signatures(&h);
    get_answer(&h, FIRST, &r);
    assert_int_equal(signatures(&h), signed_before);
    harness_close(&h);
}

static void a_change_while_the_responder_is_down_counts(void **state)
{
    static harness h;
    (void)state;
    open_with_certificates(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(ask(&h, SECOND, NULL), V_OCSP_CERTSTATUS_GOOD);
    stop(&h);
    harness_revoke(&h, FIRST, RL_REASON_KEY_COMPROMISE);
    start(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(ask(&h, SECOND, NULL), V_OCSP_CERTSTATUS_GOOD);
    harness_close(&h);
}

static void a_change_right_after_the_answer_counts(void **state)
{
    static harness h;
    (void)state;
    open_with_certificates(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_GOOD); /* waits to be saved */
    harness_revoke(&h, FIRST, RL_REASON_HOLD);
    stop(&h);
    start(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_REVOKED);
    stop(&h);
    harness_unrevoke(&h, FIRST);
    start(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_GOOD);
    harness_close(&h);
}

static void a_number_asked_before_its_certificate_existed_is_not_unknown_afterwards(void **state)
{
    static harness h;
    (void)state;
    open_with_certificates(&h);
    assert_int_equal(ask(&h, 0x01000003, NULL), V_OCSP_CERTSTATUS_UNKNOWN);
    stop(&h);
    harness_add(&h, 0x01000003, rl_wall_s() + 86400);
    start(&h);
    assert_int_equal(ask(&h, 0x01000003, NULL), V_OCSP_CERTSTATUS_GOOD);
    harness_close(&h);
}

/* The system's clock, set ahead. */
static _Atomic int64_t ahead_ms;
static int64_t wall_ahead(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000 + ahead_ms;
}
static uint64_t mono_system(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void an_answer_that_has_ended_is_signed_anew(void **state)
{
    static harness h;
    (void)state;
    open_with_certificates(&h);
    assert_int_equal(ask(&h, FIRST, NULL), V_OCSP_CERTSTATUS_GOOD);
    stop(&h);
    static const rl_clock later = {.wall_ms = wall_ahead, .mono_ns = mono_system};
    ahead_ms = h.settings.ocsp.validity_good + 1000;
    rl_clock_set(&later);
    start(&h);
    uint64_t signed_before = signatures(&h);
    static reply r;
    get_answer(&h, FIRST, &r);
    assert_int_equal(signatures(&h), signed_before + 1);
    harness_close(&h);
    rl_clock_set(NULL);
}

static void an_answer_that_the_cache_has_no_room_for_is_read_back(void **state)
{
    enum { MANY = 200, SMALL = 64 << 10 };
    static harness h;
    (void)state;
    harness_open(&h, NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        harness_add(&h, FIRST + i, rl_wall_s() + 86400);
        assert_int_equal(ask(&h, FIRST + i, NULL), V_OCSP_CERTSTATUS_GOOD);
    }
    stop(&h);
    harness_revoke(&h, FIRST + 7, RL_REASON_KEY_COMPROMISE);
    h.settings.ocsp.cache_size = SMALL;
    start(&h);
    rl_ocsp_figures f;
    rl_ocsp_figures_read(h.ocsp, &f);
    assert_true(f.entries < MANY / 2);
    uint64_t signed_before = signatures(&h);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(ask(&h, FIRST + i, NULL), i == 7 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(signatures(&h), signed_before + 1);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back_after_a_restart_without_a_signature),
        cmocka_unit_test(other_settings_want_other_answers),
        cmocka_unit_test(a_change_while_the_responder_is_down_counts),
        cmocka_unit_test(a_change_right_after_the_answer_counts),
        cmocka_unit_test(a_number_asked_before_its_certificate_existed_is_not_unknown_afterwards),
        cmocka_unit_test(an_answer_that_has_ended_is_signed_anew),
        cmocka_unit_test(an_answer_that_the_cache_has_no_room_for_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
