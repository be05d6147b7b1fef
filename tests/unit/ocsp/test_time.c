/* The responder's certificate and the passing of time, over TCP: rollover under load, a clock that jumps, and what ends
 * with certificate and responder. */
#include "shared.h"

#include <pthread.h>
#include <sched.h>

#include "ocsp/crl_publish.h"
#include "ocsp/ocsp_priv.h"

/* ---- a clock that the test sets ---- */
static _Atomic int64_t shift_ms;
static int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000 + atomic_load(&shift_ms);
}
static const rl_clock shifted = {shifted_wall, NULL, NULL};

static uint64_t responder_serial(const reply *r)
{
    OCSP_BASICRESP *basic = read_basic(r);
    uint64_t serial = X509_issuer_and_serial_hash(sk_X509_value(OCSP_resp_get0_certs(basic), 0));
    OCSP_BASICRESP_free(basic);
    return serial;
}

static void test_the_responder_rolls_over_at_half_of_its_life(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_ocsp_figures before, after;
    reply r;
    (void)state;
    rl_clock_set(&shifted);
    rl_ocsp_figures_read(h.ocsp, &before);
    rl_span request = make_request(issuer(), EVP_sha1(), serial, "0123456789abcdef");
    client_post(&h, "/ocsp", request, &r);
    uint64_t first = responder_serial(&r);
    rl_span plain = make_request(issuer(), EVP_sha1(), serial, NULL);
    harness_revoke(&h, serial, RL_REASON_SUPERSEDED);
    client_post(&h, "/ocsp", plain, &r);
    assert_int_equal(responder_serial(&r), first);
    ocsp_delegate *in_flight = ocsp_responder_current(h.ocsp->context.responder, 1);
    atomic_store(&shift_ms, h.settings.ocsp.responder_validity / 2 + 2000);
    do {
        sched_yield();
        rl_ocsp_figures_read(h.ocsp, &after);
    } while (after.responder_not_after == before.responder_not_after);
    client_post(&h, "/ocsp", request, &r);
    assert_true(responder_serial(&r) != first);
    client_post(&h, "/ocsp", plain, &r); /* revoked, so the cached answer is still valid, and given out for a while: */
    assert_int_equal(responder_serial(&r), first);
    atomic_store(&shift_ms, h.settings.ocsp.responder_validity / 4 * 3 + 2000);
    client_post(&h, "/ocsp", plain, &r);
    assert_true(responder_serial(&r) != first);
    assert_int_equal(in_flight->not_after, before.responder_not_after); /* still whole */
    ocsp_delegate_drop(in_flight);
    OPENSSL_free((void *)plain.p);
    OPENSSL_free((void *)request.p);
    atomic_store(&shift_ms, 0);
    rl_clock_set(NULL);
}

static void test_answers_end_with_certificate_and_responder(void **state)
{
    uint32_t expired = new_cert(rl_wall_s() - 5);
    int reason;
    (void)state;
    assert_int_equal(ask(&h, expired, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    harness_revoke(&h, expired, RL_REASON_KEY_COMPROMISE);
    assert_int_equal(ask(&h, expired, &reason), V_OCSP_CERTSTATUS_REVOKED);
    /* good for 20 seconds more, cached; then not any longer */
    rl_clock_set(&shifted);
    uint32_t ending = new_cert(rl_wall_s() + 20);
    assert_int_equal(ask(&h, ending, &reason), V_OCSP_CERTSTATUS_GOOD);
    atomic_store(&shift_ms, 21000);
    assert_int_equal(ask(&h, ending, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    atomic_store(&shift_ms, 0);
    rl_clock_set(NULL);
}

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : -1;
}

/* ---- a directory that falls silent ---- */
static _Atomic int64_t known_until;
static int64_t told_until(const rl_cert_record *cert, void *ctx)
{
    assert_ptr_equal(ctx, &known_until);
    assert_non_null(cert->subject);
    return atomic_load(&known_until);
}

static int ask_status(uint32_t serial, int64_t *next_update)
{
    reply r;
    rl_span request = make_request(issuer(), EVP_sha1(), serial, NULL);
    client_post(&h, "/ocsp", request, &r);
    OPENSSL_free((void *)request.p);
    int status = response_status(&r);
    if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        return -status;
    OCSP_BASICRESP *basic = read_basic(&r);
    ASN1_GENERALIZEDTIME *next;
    int reason;
    status = OCSP_single_get0_status(OCSP_resp_get0(basic, 0), &reason, NULL, NULL, &next);
    *next_update = unix_time(next);
    OCSP_BASICRESP_free(basic);
    return status;
}

static void test_no_answer_outlives_what_is_known_of_the_directory(void **state)
{
    uint32_t good = new_cert(rl_wall_s() + YEAR), held = new_cert(rl_wall_s() + YEAR),
             revoked = new_cert(rl_wall_s() + YEAR);
    int64_t next = 0, end = rl_wall_s() + 30;
    (void)state;
    harness_revoke(&h, held, RL_REASON_HOLD);
    harness_revoke(&h, revoked, RL_REASON_KEY_COMPROMISE);
    rl_ocsp_limit(h.ocsp, told_until, &known_until);
    rl_clock_set(&shifted);
    atomic_store(&known_until, end);
    assert_int_equal(ask_status(good, &next), V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(next, end);
    assert_int_equal(ask_status(held, &next), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(next, end);
    assert_int_equal(ask_status(revoked, &next), V_OCSP_CERTSTATUS_REVOKED);
    assert_true(next > end);
    atomic_store(&shift_ms, 31000);
    assert_int_equal(ask_status(good, &next), -OCSP_RESPONSE_STATUS_TRYLATER); /* also what was cached */
    assert_int_equal(ask_status(held, &next), -OCSP_RESPONSE_STATUS_TRYLATER);
    assert_int_equal(ask_status(revoked, &next), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(ask_status(unused_serial(), &next), V_OCSP_CERTSTATUS_UNKNOWN); /* nobody's */
    atomic_store(&known_until, INT64_MAX);
    assert_int_equal(ask_status(good, &next), V_OCSP_CERTSTATUS_GOOD);
    atomic_store(&shift_ms, 0);
    rl_clock_set(NULL);
    rl_ocsp_limit(h.ocsp, NULL, NULL);
}

/* ---- the responder's certificate under load, and a clock that jumps ---- */
/* A client's whole check of an answer about one certificate, asked and received at the two times: chain and signature
 * (RFC 6960 §3.2), times around now (§3.2 5 and 6), and a nextUpdate that the signer's certificate reaches. The clock
 * may have jumped in between, so the chain is looked at as of asking. */
static bool right_answer(const reply *r, int expected, int64_t before, int64_t after)
{
    OCSP_BASICRESP *basic = read_basic(r);
    if (!basic)
        return false;
    X509_STORE *trust = X509_STORE_new();
    ASN1_GENERALIZEDTIME *this_update, *next_update;
    X509_STORE_add_cert(trust, rl_ca_issuer(h.ca)->cert);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(trust), (time_t)before);
    const X509 *signer = sk_X509_value(OCSP_resp_get0_certs(basic), 0);
    bool right =
        OCSP_basic_verify(basic, NULL, trust, 0) == 1 &&
        expected == OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, &this_update, &next_update) &&
        unix_time(this_update) <= after && unix_time(next_update) > before &&
        unix_time(OCSP_resp_get0_produced_at(basic)) <= after &&
        unix_time(next_update) <= unix_time(X509_get0_notAfter(signer));
    X509_STORE_free(trust);
    OCSP_BASICRESP_free(basic);
    return right;
}

static bool is_try_later(const reply *r)
{
    return rl_span_eq(rl_span_of(r->body, r->body_n), RL_SPAN_LIT("\x30\x03\x0a\x01\x03"));
}

static uint32_t good_serial, revoked_serial;
enum { HAMMERS = 4 };
static _Atomic uint32_t asked[HAMMERS]; /* by thread */
static _Atomic bool hammering;

/* Threads 0 and 1 with a nonce, the others from the cache, each about both certificates in turn. */
static void *ask_all_the_time(void *arg)
{
    uintptr_t failures = 0, i = (uintptr_t)arg;
    const char *nonce = i < 2 ? "nonce" : NULL;
    rl_span requests[2] = {make_request(issuer(), EVP_sha1(), good_serial, nonce),
                           make_request(issuer(), EVP_sha1(), revoked_serial, nonce)};
    int fd = client_connect(&h);
    reply r;
    for (; atomic_load(&hammering); i++) {
        int64_t before = rl_wall_s();
        client_post_on(fd, "/ocsp", requests[i % 2], &r);
        failures += !right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s());
        atomic_fetch_add(&asked[(uintptr_t)arg], 1);
    }
    close(fd);
    OPENSSL_free((void *)requests[0].p);
    OPENSSL_free((void *)requests[1].p);
    return (void *)failures;
}

static ocsp_delegate *delegate_now(void)
{
    return ocsp_responder_current(h.ocsp->context.responder, 1);
}

static void wait_for_delegate_made_since(int64_t when)
{
    int64_t made = when - 1;
    while (made < when || made > rl_wall_s()) {
        ocsp_delegate *d = delegate_now();
        made = d->made_at;
        ocsp_delegate_drop(d);
        sched_yield();
    }
}

static void two_certificates(void)
{
    good_serial = new_cert(rl_wall_s() + YEAR);
    revoked_serial = new_cert(rl_wall_s() + YEAR);
    harness_revoke(&h, revoked_serial, RL_REASON_KEY_COMPROMISE);
}

static void clock_back_to_normal(void)
{
    atomic_store(&shift_ms, 0);
    wait_for_delegate_made_since(0);
    rl_clock_set(NULL);
}

/* What each thread was asking has been answered, and some more. */
static void wait_for_answers_to_all(void)
{
    for (unsigned i = 0; i < HAMMERS; i++)
        for (uint32_t until = atomic_load(&asked[i]) + 12; atomic_load(&asked[i]) < until;)
            sched_yield();
}

/* A request that lasted from one jump of the clock to the next would find its signer expired, rightly. */
static void test_a_rollover_under_load_gives_no_wrong_answer(void **state)
{
    pthread_t threads[HAMMERS];
    (void)state;
    two_certificates();
    rl_clock_set(&shifted);
    wait_for_delegate_made_since(0);
    atomic_store(&hammering, true);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all_the_time, (void *)i), 0);
    for (int round = 0; round < 3; round++) {
        ocsp_delegate *d = delegate_now();
        int64_t renew_at = d->renew_at;
        ocsp_delegate_drop(d);
        atomic_fetch_add(&shift_ms, (renew_at - rl_wall_s() + 1) * 1000);
        wait_for_delegate_made_since(renew_at);
        wait_for_answers_to_all(); /* by the new one, too */
    }
    atomic_store(&hammering, false);
    for (unsigned i = 0; i < HAMMERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    clock_back_to_normal();
}

/* Until the responder has a certificate for the new time it says tryLater, and nothing that is not right then. Answers
 * of another time are in the cache all along. */
static void test_a_clock_set_back_and_forth_gives_no_wrong_answer(void **state)
{
    static const int hours[] = {0, 5 * 24, 2 * 24, 8 * 24, 30, -12, 1, 0}; /* the CA is valid from a day ago */
    rl_span requests[4];
    (void)state;
    two_certificates();
    for (int i = 0; i < 4; i++)
        requests[i] = make_request(issuer(), EVP_sha1(), i % 2 ? revoked_serial : good_serial, i < 2 ? NULL : "nonce");
    rl_clock_set(&shifted);
    for (size_t t = 0; t < sizeof(hours) / sizeof(hours[0]); t++) {
        atomic_store(&shift_ms, hours[t] * 3600000LL);
        unsigned right = 0;
        for (unsigned i = 0; right < 12; i++) { /* the first as soon as the clock was set */
            reply r;
            int64_t before = rl_wall_s();
            client_post(&h, "/ocsp", requests[i % 4], &r);
            if (is_try_later(&r))
                continue;
            if (!right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s()))
                fail_msg("clock set to %+d hours, answer %u", hours[t], i);
            right++;
        }
    }
    for (int i = 0; i < 4; i++)
        OPENSSL_free((void *)requests[i].p);
    clock_back_to_normal();
}

/* A day of revoked answers and ten minutes of good ones are cut where the certificate of five seconds ends. */
static void test_no_answer_outlives_the_responder_certificate(void **state)
{
    reply r;
    (void)state;
    two_certificates();
    rl_clock_set(&shifted);
    for (int i = 0; i < 12; i++) {
        int64_t before = rl_wall_s();
        rl_span request =
            make_request(issuer(), EVP_sha256(), i % 2 ? revoked_serial : good_serial, i % 3 ? NULL : "n");
        client_post(&h, "/ocsp", request, &r);
        assert_true(is_try_later(&r) ||
                    right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s()));
        OPENSSL_free((void *)request.p);
        atomic_fetch_add(&shift_ms, 1000);
    }
    clock_back_to_normal();
}

/* ---- revocation lists, and a clock that jumps ---- */
/* Made by now, and in the first half of its validity. */
static bool has_list_of_now(rl_crls *lists)
{
    rl_buf der = {0};
    rl_err err = rl_crls_current(lists, rl_ca_issuer(h.ca)->id, &der);
    assert_true(err == RL_OK || err == RL_EBUSY);
    const uint8_t *at = der.p;
    X509_CRL *list = err == RL_OK ? d2i_X509_CRL(NULL, &at, (long)der.n) : NULL;
    bool of_now = false;
    if (list) {
        int64_t now = rl_wall_s(), since = unix_time(X509_CRL_get0_lastUpdate(list)),
                until = unix_time(X509_CRL_get0_nextUpdate(list));
        of_now = since <= now && now < since + (until - since) / 2;
    }
    X509_CRL_free(list);
    rl_buf_free(&der);
    return of_now;
}

/* The interval is for changes; a list whose time is over does not wait for it. */
static void test_lists_follow_the_clock(void **state)
{
    enum { DEADLINE_S = 30 };
    static const int hours[] = {0, 14, 5 * 24, -12, 0}; /* the CA is valid from a day ago */
    rl_settings s = h.settings;
    rl_crls *lists;
    (void)state;
    s.crl.interval = s.crl.validity;
    rl_clock_set(&shifted);
    assert_ok(rl_crls_open(h.store, h.ca, &s, &lists, &h.e), &h.e);
    for (size_t t = 0; t < sizeof(hours) / sizeof(hours[0]); t++) {
        uint64_t end = rl_mono_ns() + DEADLINE_S * 1000000000ull;
        atomic_store(&shift_ms, hours[t] * 3600000LL);
        while (!has_list_of_now(lists)) {
            if (rl_mono_ns() > end)
                fail_msg("clock set to %+d hours: no list of that time", hours[t]);
            sched_yield();
        }
    }
    rl_crls_close(lists);
    clock_back_to_normal();
}

int main(void)
{
    static const char *short_lived[] = {"REVLINE_OCSP_RESPONDER_VALIDITY=5s", NULL};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_end_with_certificate_and_responder),
        cmocka_unit_test(test_no_answer_outlives_what_is_known_of_the_directory),
        cmocka_unit_test(test_the_responder_rolls_over_at_half_of_its_life),
        cmocka_unit_test(test_a_rollover_under_load_gives_no_wrong_answer),
        cmocka_unit_test(test_a_clock_set_back_and_forth_gives_no_wrong_answer),
        cmocka_unit_test(test_lists_follow_the_clock),
    };
    const struct CMUnitTest settings[] = {
        cmocka_unit_test_prestate_setup_teardown(test_no_answer_outlives_the_responder_certificate, open_harness,
                                                 close_harness, short_lived),
    };
    int failed = cmocka_run_group_tests(tests, open_harness, close_harness);
    return failed + cmocka_run_group_tests(settings, NULL, NULL);
}
