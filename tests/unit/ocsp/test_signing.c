/* What is signed, when and how often: one signature for all who ask the same, a full queue, what changes meanwhile, and
 * wanted answers signed anew before their end. */
#include "harness.h"

#include <sched.h>
#include <uv.h>

#include "ocsp/ocsp_priv.h"

enum { THREADS_MAX = 256, SAME = 8, FIRST = 0x01000001 };
static harness h;

static int open_harness(void **state)
{
    static const char *const small_queue[] = {"REVLINE_OCSP_SIGN_QUEUE=8", NULL};
    (void)state;
    harness_open(&h, small_queue);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&h);
    return 0;
}

static uint32_t new_cert(void)
{
    static uint32_t last = FIRST;
    harness_add(&h, ++last, rl_wall_s() + 365 * 86400);
    return last;
}

static uint64_t signatures(void)
{
    return (uint64_t)rl_metric_value(h.ocsp->context.signatures);
}

/* ---- the signing threads: kept busy, so that what is asked meanwhile waits ---- */
static rl_http_aside stoppers[THREADS_MAX];
static sem_t stopped, go_on;

static void stop_here(rl_http_aside *a, bool stopping)
{
    (void)a, (void)stopping;
    sem_post(&stopped);
    while (sem_wait(&go_on) != 0)
        ;
}

static unsigned signing_threads(void)
{
    return uv_available_parallelism();
}

/* What ran on them has ended. */
static void stop_signing(void)
{
    assert_true(signing_threads() <= THREADS_MAX);
    for (unsigned i = 0; i < signing_threads(); i++) {
        stoppers[i].run = stop_here;
        assert_int_equal(rl_http_pool_aside(h.ocsp->pool, &stoppers[i]), RL_OK);
    }
    for (unsigned i = 0; i < signing_threads(); i++)
        while (sem_wait(&stopped) != 0)
            ;
}

static void sign_on(void)
{
    for (unsigned i = 0; i < signing_threads(); i++)
        sem_post(&go_on);
}

/* Connections that ask the same and wait for it to be signed. */
static void ask_the_same(int fds[SAME], uint32_t serial)
{
    rl_span request = make_request(rl_ca_issuer(h.ca)->cert, EVP_sha1(), serial, NULL);
    for (int i = 0; i < SAME; i++) {
        fds[i] = client_connect(&h);
        client_send_post(fds[i], "/ocsp", request);
    }
    while (rl_http_pool_pending(h.ocsp->pool) != SAME)
        sched_yield();
    OPENSSL_free((void *)request.p);
}

static void assert_all_are_told(int fds[SAME], int status)
{
    reply r;
    int reason;
    for (int i = 0; i < SAME; i++) {
        client_receive(fds[i], &r);
        assert_int_equal(status_of(&r, &reason), status);
        close(fds[i]);
    }
}

/* ---- many at once ---- */
static void the_same_asked_at_once_is_signed_once(void **state)
{
    uint32_t serial = new_cert();
    int fds[SAME];
    uint64_t before = signatures();
    (void)state;
    stop_signing();
    ask_the_same(fds, serial);
    sign_on();
    assert_all_are_told(fds, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(signatures(), before + 1);
}

static void what_waits_to_be_signed_follows_a_change(void **state)
{
    uint32_t serial = new_cert();
    int fds[SAME];
    (void)state;
    stop_signing();
    ask_the_same(fds, serial);
    harness_revoke(&h, serial, RL_REASON_KEY_COMPROMISE);
    sign_on();
    assert_all_are_told(fds, V_OCSP_CERTSTATUS_REVOKED);
}

static void a_full_queue_is_try_later_for_misses_alone(void **state)
{
    uint32_t cached = new_cert(), serial = new_cert(), other = new_cert();
    reply r;
    int fds[SAME];
    (void)state;
    assert_int_equal(ask(&h, cached, NULL), V_OCSP_CERTSTATUS_GOOD);
    stop_signing();
    ask_the_same(fds, serial);
    rl_span request = make_request(rl_ca_issuer(h.ca)->cert, EVP_sha256(), other, NULL);
    client_post(&h, "/ocsp", request, &r);
    assert_int_equal(response_status(&r), OCSP_RESPONSE_STATUS_TRYLATER);
    assert_int_equal(ask(&h, cached, NULL), V_OCSP_CERTSTATUS_GOOD);
    sign_on();
    assert_all_are_told(fds, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(ask(&h, other, NULL), V_OCSP_CERTSTATUS_GOOD);
    OPENSSL_free((void *)request.p);
}

/* ---- flights ---- */
static ocsp_job *job_for(uint8_t serial)
{
    ocsp_job *job = calloc(1, ocsp_job_size(1));
    assert_non_null(job);
    job->cacheable = true;
    job->n = 1;
    job->key.serial[0] = serial;
    return job;
}

/* Who begins while another is under way has its answer and its stamp. */
static void a_joined_job_has_the_result_of_the_first(void **state)
{
    ocsp_flights flights = {.lock = PTHREAD_MUTEX_INITIALIZER};
    ocsp_job *first = job_for(1), *joined[] = {job_for(1), job_for(1)}, *aside = job_for(1), *other = job_for(2);
    (void)state;
    assert_true(ocsp_flights_begin(&flights, first, true));
    assert_true(ocsp_flights_begin(&flights, other, true));
    assert_false(ocsp_flights_begin(&flights, joined[0], true));
    assert_false(ocsp_flights_begin(&flights, joined[1], true));
    assert_false(ocsp_flights_begin(&flights, aside, false)); /* does not wait */
    first->entry = ocsp_entry_new(RL_SPAN_LIT("\x30\x03\x0a\x01\x06"), (rl_span){0}, 1, 2, 0);
    first->questions[0].stamped = true;
    first->questions[0].stamp = 7;
    assert_ptr_equal(ocsp_flights_end(&flights, first), joined[1]);
    assert_ptr_equal(joined[1]->next, joined[0]);
    assert_null(joined[0]->next);
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(joined[i]->entry, first->entry);
        assert_true(joined[i]->questions[0].stamped);
        assert_int_equal(joined[i]->questions[0].stamp, 7);
        ocsp_entry_drop(joined[i]->entry);
        free(joined[i]);
    }
    ocsp_entry_drop(first->entry);
    assert_true(ocsp_flights_begin(&flights, aside, true)); /* the first one is over */
    assert_null(ocsp_flights_end(&flights, aside));
    assert_null(ocsp_flights_end(&flights, other));
    assert_null(flights.running);
    free(first);
    free(aside);
    free(other);
}

static void a_joined_job_fails_as_the_first_does(void **state)
{
    ocsp_flights flights = {.lock = PTHREAD_MUTEX_INITIALIZER};
    ocsp_job *first = job_for(1), *joined = job_for(1);
    (void)state;
    assert_true(ocsp_flights_begin(&flights, first, true));
    assert_false(ocsp_flights_begin(&flights, joined, true));
    first->failure = OCSP_TRY_LATER;
    assert_ptr_equal(ocsp_flights_end(&flights, first), joined);
    assert_null(joined->entry);
    assert_int_equal(joined->failure, OCSP_TRY_LATER);
    free(first);
    free(joined);
}

/* ---- ahead of the end ---- */
static _Atomic int64_t shift_ms;
static int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000 + atomic_load(&shift_ms);
}

/* In the last fifth of its time a cached answer is due, at a moment of its own; the request that finds it so has it
 * signed anew and is answered with the old one. */
static void a_wanted_answer_is_signed_anew_before_its_end(void **state)
{
    static const rl_clock shifted = {shifted_wall, NULL, NULL};
    uint32_t serial = new_cert();
    const rl_metric *refreshed = h.ocsp->refreshed, *misses = h.ocsp->misses;
    int64_t life = h.settings.ocsp.validity_good, at = 0;
    (void)state;
    rl_clock_set(&shifted);
    assert_int_equal(ask(&h, serial, NULL), V_OCSP_CERTSTATUS_GOOD);
    int64_t missed = rl_metric_value(misses), before = rl_metric_value(refreshed);
    for (; at < life * 3 / 4; at += life / 8) {
        atomic_store(&shift_ms, at);
        assert_int_equal(ask(&h, serial, NULL), V_OCSP_CERTSTATUS_GOOD);
    }
    stop_signing();
    sign_on();
    assert_int_equal(rl_metric_value(refreshed), before);
    for (; at < life && rl_metric_value(refreshed) == before; at += 1000) {
        atomic_store(&shift_ms, at);
        assert_int_equal(ask(&h, serial, NULL), V_OCSP_CERTSTATUS_GOOD);
        stop_signing();
        sign_on();
    }
    assert_int_equal(rl_metric_value(refreshed), before + 1);
    atomic_fetch_add(&shift_ms, life / 2); /* past the first one's end */
    assert_int_equal(ask(&h, serial, NULL), V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(rl_metric_value(misses), missed);
    harness_revoke(&h, serial, RL_REASON_SUPERSEDED);
    assert_int_equal(ask(&h, serial, NULL), V_OCSP_CERTSTATUS_REVOKED);
    rl_clock_set(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_asked_at_once_is_signed_once),
        cmocka_unit_test(what_waits_to_be_signed_follows_a_change),
        cmocka_unit_test(a_full_queue_is_try_later_for_misses_alone),
        cmocka_unit_test(a_joined_job_has_the_result_of_the_first),
        cmocka_unit_test(a_joined_job_fails_as_the_first_does),
        cmocka_unit_test(a_wanted_answer_is_signed_anew_before_its_end),
    };
    sem_init(&stopped, 0, 0);
    sem_init(&go_on, 0, 0);
    return cmocka_run_group_tests(tests, open_harness, close_harness);
}
