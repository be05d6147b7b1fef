/* Statuses in memory: nothing that was before a write is found when the writer has said so, whoever reads meanwhile. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/statuses.h"

enum { CERTS = 64, WRITES = 20000, READERS = 3 };

static rl_cert_id cert(unsigned n)
{
    return (rl_cert_id){.issuer = 1, .serial_n = 4, .serial = {1, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static rl_cert_status since(int64_t revoked_at)
{
    return (rl_cert_status){.status = RL_STATUS_REVOKED, .revoked_at = revoked_at};
}

static void forget(rl_statuses *s, rl_cert_id id)
{
    const rl_store_event event = {.cert = id};
    rl_statuses_forget(s, &event, 1);
}

static void test_what_was_kept_is_found_until_it_is_written(void **state)
{
    (void)state;
    rl_statuses *s = rl_statuses_new();
    rl_cert_status found, first = since(7), second = since(8);
    const rl_cert_id one = cert(1), two = cert(2);
    rl_cert_id other_issuer = one, longer = one;
    other_issuer.issuer = 2;
    longer.serial_n = 5;
    assert_non_null(s);
    assert_false(rl_statuses_find(s, &one, &found));
    rl_statuses_keep(s, rl_statuses_mark(s), &one, &first);
    rl_statuses_keep(s, rl_statuses_mark(s), &two, &second);
    assert_true(rl_statuses_find(s, &one, &found) && found.revoked_at == 7);
    assert_true(rl_statuses_find(s, &two, &found) && found.revoked_at == 8);
    assert_false(rl_statuses_find(s, &other_issuer, &found) || rl_statuses_find(s, &longer, &found));
    forget(s, one);
    assert_false(rl_statuses_find(s, &one, &found));
    assert_true(rl_statuses_find(s, &two, &found));
    rl_statuses_free(s);
}

static void test_what_was_read_before_a_write_is_not_kept(void **state)
{
    (void)state;
    rl_statuses *s = rl_statuses_new();
    rl_cert_status found, old = since(7);
    const rl_cert_id one = cert(1);
    uint64_t mark = rl_statuses_mark(s);
    forget(s, one);
    rl_statuses_keep(s, mark, &one, &old);
    assert_false(rl_statuses_find(s, &one, &found));
    rl_statuses_free(s);
}

/* More than there is room for: some are gone, and no certificate has another's. */
static void test_too_many_push_out_each_other(void **state)
{
    (void)state;
    rl_statuses *s = rl_statuses_new();
    rl_cert_status found;
    unsigned there = 0, n = 600000;
    for (unsigned i = 0; i < n; i++) {
        const rl_cert_id id = cert(i);
        const rl_cert_status status = since(i);
        rl_statuses_keep(s, rl_statuses_mark(s), &id, &status);
    }
    for (unsigned i = 0; i < n; i++) {
        const rl_cert_id id = cert(i);
        if (rl_statuses_find(s, &id, &found)) {
            assert_int_equal(found.revoked_at, i);
            there++;
        }
    }
    assert_in_range(there, 100000, 262144);
    rl_statuses_free(s);
}

/* ---- one writer, and readers beside it ---- */
static rl_statuses *shared;
static _Atomic int64_t database[CERTS], told[CERTS];
static atomic_bool done, stale;

static void *read_on(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&done)) {
        const unsigned i = n++ % CERTS;
        const rl_cert_id id = cert(i);
        rl_cert_status status;
        const int64_t least = atomic_load(&told[i]);
        const uint64_t mark = rl_statuses_mark(shared);
        if (!rl_statuses_find(shared, &id, &status)) {
            status = since(atomic_load(&database[i]));
            rl_statuses_keep(shared, mark, &id, &status);
        }
        if (status.revoked_at < least)
            atomic_store(&stale, true);
    }
    return NULL;
}

/* The order inside: when a status is seen to be taken out, nothing that was read before can be kept any more. The
 * others, behind it, are for a writer that would move the mark last to be in the middle of them. */
enum { OTHERS = 200000 };

static void *write_one_and_others(void *arg)
{
    rl_store_event *events = calloc(1 + OTHERS, sizeof(*events));
    (void)arg;
    events[0].cert = cert(0);
    for (unsigned i = 1; i <= OTHERS; i++)
        events[i].cert = cert(i);
    rl_statuses_forget(shared, events, 1 + OTHERS);
    free(events);
    return NULL;
}

static void test_what_is_seen_taken_out_cannot_come_back(void **state)
{
    (void)state;
    pthread_t writer;
    const rl_cert_id one = cert(0);
    const rl_cert_status old = since(7);
    rl_cert_status found;
    shared = rl_statuses_new();
    const uint64_t mark = rl_statuses_mark(shared);
    rl_statuses_keep(shared, mark, &one, &old);
    assert_int_equal(pthread_create(&writer, NULL, write_one_and_others, NULL), 0);
    while (rl_statuses_find(shared, &one, &found))
        ;
    rl_statuses_keep(shared, mark, &one, &old);
    pthread_join(writer, NULL);
    assert_false(rl_statuses_find(shared, &one, &found));
    rl_statuses_free(shared);
}

static void test_nobody_reads_what_was_before_a_write(void **state)
{
    (void)state;
    pthread_t readers[READERS];
    shared = rl_statuses_new();
    for (uintptr_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, (void *)(i * 17)), 0);
    for (int64_t w = 1; w <= WRITES; w++) {
        const unsigned i = (unsigned)(w * 31) % CERTS;
        atomic_store(&database[i], w);
        forget(shared, cert(i));
        atomic_store(&told[i], w);
    }
    atomic_store(&done, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_false(atomic_load(&stale));
    rl_statuses_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_kept_is_found_until_it_is_written),
        cmocka_unit_test(test_what_was_read_before_a_write_is_not_kept),
        cmocka_unit_test(test_too_many_push_out_each_other),
        cmocka_unit_test(test_what_is_seen_taken_out_cannot_come_back),
        cmocka_unit_test(test_nobody_reads_what_was_before_a_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
