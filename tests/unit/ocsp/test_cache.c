/* The cache gives out what was put in, within its size and time, and never what an invalidation has overtaken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "ocsp/cache.h"

static rl_cert_id id_of(uint32_t n)
{
    rl_cert_id id = {.issuer = 1, .serial_n = 16};
    memcpy(id.serial + 12, &n, sizeof(n));
    id.serial[0] = 0x40;
    return id;
}

static ocsp_key key_of(const rl_cert_id *id, uint8_t form)
{
    ocsp_key key = {.issuer = id->issuer, .form = form, .serial_n = id->serial_n};
    memcpy(key.serial, id->serial, id->serial_n);
    return key;
}

static ocsp_cache *new_cache(size_t limit)
{
    ocsp_cache *c;
    assert_int_equal(ocsp_cache_new(limit, &c, NULL), RL_OK);
    return c;
}

static ocsp_entry *text_entry(const char *text)
{
    return ocsp_entry_new(rl_span_str(text), RL_SPAN_LIT("Name: value\r\n"), 100, 200, 0);
}

static bool put(ocsp_cache *c, uint32_t n, uint8_t form, const char *text)
{
    rl_cert_id id = id_of(n);
    ocsp_key key = key_of(&id, form);
    ocsp_entry *e = text_entry(text);
    bool ok = ocsp_cache_put(c, &key, ocsp_cache_stamp(c, &id), e);
    ocsp_entry_drop(e);
    return ok;
}

static bool has(ocsp_cache *c, uint32_t n, uint8_t form, int64_t now, const char *text)
{
    rl_cert_id id = id_of(n);
    ocsp_key key = key_of(&id, form);
    ocsp_entry *e = ocsp_cache_get(c, &key, now, NULL);
    bool same = e && rl_span_eq(e->body, rl_span_str(text));
    if (e && !same)
        fail_msg("got another entry");
    ocsp_entry_drop(e);
    return same;
}

static void test_gives_back_what_was_put(void **state)
{
    ocsp_cache *c = new_cache(4 << 20);
    uint64_t entries, bytes;
    (void)state;
    assert_true(put(c, 1, 0, "one by SHA-1"));
    assert_true(put(c, 1, 2, "one by SHA-256"));
    assert_true(put(c, 2, 0, "two"));
    assert_true(has(c, 1, 0, 150, "one by SHA-1"));
    assert_true(has(c, 1, 2, 150, "one by SHA-256"));
    assert_true(has(c, 2, 0, 150, "two"));
    assert_false(has(c, 2, 1, 150, ""));
    assert_true(put(c, 2, 0, "two again"));
    assert_true(has(c, 2, 0, 150, "two again"));
    ocsp_cache_size(c, &entries, &bytes);
    assert_int_equal(entries, 3);
    ocsp_cache_free(c);
}

static void test_serves_nothing_outside_its_time(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    uint64_t entries, bytes;
    (void)state;
    put(c, 1, 0, "x");
    assert_true(has(c, 1, 0, 100, "x"));
    assert_true(has(c, 1, 0, 199, "x"));
    assert_false(has(c, 1, 0, 200, "x"));
    put(c, 1, 0, "x");
    assert_false(has(c, 1, 0, 99, "x")); /* the clock was set back */
    ocsp_cache_size(c, &entries, &bytes);
    assert_int_equal(entries, 0);
    assert_int_equal(bytes, 0);
    ocsp_cache_free(c);
}

static void test_serves_nothing_past_an_earlier_end(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    rl_cert_id id = id_of(1);
    ocsp_key key = key_of(&id, 0);
    ocsp_entry *e = text_entry("x");
    (void)state;
    e->serve_until = 150;
    assert_true(ocsp_cache_put(c, &key, ocsp_cache_stamp(c, &id), e));
    ocsp_entry_drop(e);
    assert_true(has(c, 1, 0, 149, "x"));
    assert_false(has(c, 1, 0, 150, "x"));
    ocsp_cache_free(c);
}

static void test_an_entry_outlives_its_removal_while_it_is_sent(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    rl_cert_id id = id_of(1);
    ocsp_key key = key_of(&id, 0);
    (void)state;
    put(c, 1, 0, "being sent");
    ocsp_entry *e = ocsp_cache_get(c, &key, 150, NULL);
    ocsp_cache_invalidate(c, &id);
    ocsp_cache_free(c);
    assert_true(rl_span_eq(e->body, RL_SPAN_LIT("being sent")));
    ocsp_entry_drop(e);
}

static void test_invalidation_removes_every_form_and_nothing_else(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    rl_cert_id id = id_of(1);
    (void)state;
    for (uint8_t form = 0; form < 8; form++)
        put(c, 1, form, "x");
    put(c, 2, 0, "y");
    ocsp_cache_invalidate(c, &id);
    for (uint8_t form = 0; form < 8; form++)
        assert_false(has(c, 1, form, 150, "x"));
    assert_true(has(c, 2, 0, 150, "y"));
    ocsp_cache_free(c);
}

static void test_a_change_is_known_by_its_second(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    rl_cert_id id = id_of(1);
    (void)state;
    assert_true(ocsp_cache_unchanged_since(c, &id, 1));
    int64_t before = rl_wall_s();
    ocsp_cache_invalidate(c, &id);
    assert_false(ocsp_cache_unchanged_since(c, &id, before));
    assert_true(ocsp_cache_unchanged_since(c, &id, rl_wall_s() + 1));
    ocsp_cache_free(c);
}

static void test_an_overtaken_answer_is_neither_inserted_nor_current(void **state)
{
    ocsp_cache *c = new_cache(1 << 20);
    rl_cert_id id = id_of(1);
    ocsp_key key = key_of(&id, 0);
    (void)state;
    uint32_t stamp = ocsp_cache_stamp(c, &id);
    assert_true(ocsp_cache_is_current(c, &id, stamp));
    ocsp_cache_invalidate(c, &id); /* there was no entry: a first answer, or an `unknown` one, is under way */
    ocsp_entry *e = text_entry("old");
    assert_false(ocsp_cache_put(c, &key, stamp, e));
    assert_false(ocsp_cache_is_current(c, &id, stamp));
    assert_null(ocsp_cache_get(c, &key, 150, NULL));
    assert_true(ocsp_cache_put(c, &key, ocsp_cache_stamp(c, &id), e));
    ocsp_entry_drop(e);
    ocsp_cache_free(c);
}

static void test_stays_within_its_size_and_keeps_what_is_asked_for(void **state)
{
    enum { LIMIT = 256 * 1024, MANY = 5000 };
    ocsp_cache *c = new_cache(LIMIT);
    uint64_t entries, bytes, before = ocsp_cache_evictions(c);
    (void)state;
    put(c, 0, 0, "wanted");
    for (uint32_t n = 1; n <= MANY; n++) {
        put(c, n, 0, "passing by");
        assert_true(has(c, 0, 0, 150, "wanted"));
    }
    assert_true(has(c, MANY, 0, 150, "passing by"));
    assert_false(has(c, 1, 0, 150, "passing by"));
    ocsp_cache_size(c, &entries, &bytes);
    assert_true(bytes <= LIMIT && bytes > LIMIT / 2);
    assert_int_equal(ocsp_cache_evictions(c) - before, MANY + 1 - entries);
    ocsp_cache_free(c);
}

static void test_makes_room_even_when_all_is_in_use(void **state)
{
    ocsp_cache *c = new_cache(64 * 1024);
    uint64_t entries, bytes;
    (void)state;
    for (uint32_t n = 0; n < 2000; n++) {
        put(c, n, 0, "x");
        for (uint32_t back = 0; back < 50 && back <= n; back++)
            (void)has(c, n - back, 0, 150, "x");
    }
    assert_true(has(c, 1999, 0, 150, "x"));
    ocsp_cache_size(c, &entries, &bytes);
    assert_true(bytes <= 64 * 1024);
    ocsp_cache_free(c);
}

static void test_leaves_out_what_is_larger_than_the_cache(void **state)
{
    enum { LARGE = 128 * 1024 };
    ocsp_cache *c = new_cache(64 * 1024);
    rl_cert_id id = id_of(1);
    ocsp_key key = key_of(&id, 0);
    uint8_t *large = calloc(1, LARGE);
    (void)state;
    ocsp_entry *e = ocsp_entry_new(rl_span_of(large, LARGE), (rl_span){0}, 100, 200, 0);
    assert_true(ocsp_cache_put(c, &key, ocsp_cache_stamp(c, &id), e));
    assert_null(ocsp_cache_get(c, &key, 150, NULL));
    ocsp_entry_drop(e);
    free(large);
    ocsp_cache_free(c);
}

/* ---- the invariant under threads ----
 * A "store" of versions. The writer raises a certificate's version, invalidates, and only then publishes the version as
 * acknowledged. Readers take what was acknowledged, then ask: nothing they are given may be older. */
enum { CERTS = 8, WRITES = 20000, READERS = 3 };
static _Atomic uint32_t versions[CERTS], acknowledged[CERTS];
static _Atomic bool writing;
static ocsp_cache *shared;

static void *write_versions(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < WRITES; i++) {
        uint32_t cert = i * 7 % CERTS;
        rl_cert_id id = id_of(cert);
        uint32_t version = atomic_fetch_add(&versions[cert], 1) + 1;
        sched_yield();
        ocsp_cache_invalidate(shared, &id);
        atomic_store(&acknowledged[cert], version);
    }
    atomic_store(&writing, false);
    return NULL;
}

static uint32_t version_of(const ocsp_entry *e)
{
    uint32_t version;
    memcpy(&version, e->body.p, sizeof(version));
    return version;
}

/* The miss path as ocsp/answer.c and ocsp/handler.c have it. True when what was made may be sent. */
static bool make_and_put(uint32_t cert, const ocsp_key *key, uint32_t *version)
{
    rl_cert_id id = id_of(cert);
    uint32_t stamp = ocsp_cache_stamp(shared, &id);
    *version = atomic_load(&versions[cert]);
    sched_yield(); /* here the signature would be made: the writer may well come in between */
    ocsp_entry *e = ocsp_entry_new(rl_span_of(version, sizeof(*version)), (rl_span){0}, 100, 200, 0);
    (void)ocsp_cache_put(shared, key, stamp, e);
    ocsp_entry_drop(e);
    return ocsp_cache_is_current(shared, &id, stamp);
}

static void *read_versions(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg, stale = 0;
    for (uint32_t i = seed; atomic_load(&writing) || i < seed + 2000; i++) {
        uint32_t cert = (i * 2654435761u >> 8) % CERTS, version;
        rl_cert_id id = id_of(cert);
        ocsp_key key = key_of(&id, (uint8_t)(i & 1));
        uint32_t floor = atomic_load(&acknowledged[cert]);
        ocsp_entry *e = ocsp_cache_get(shared, &key, 150, NULL);
        if (e)
            stale += version_of(e) < floor;
        else if (make_and_put(cert, &key, &version))
            stale += version < floor;
        ocsp_entry_drop(e);
    }
    return (void *)(uintptr_t)stale;
}

static void test_nothing_older_than_what_was_acknowledged(void **state)
{
    pthread_t writer, readers[READERS];
    (void)state;
    shared = new_cache(1 << 20);
    atomic_store(&writing, true);
    for (uintptr_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_versions, (void *)(i * 1000)), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_versions, NULL), 0);
    pthread_join(writer, NULL);
    for (unsigned i = 0; i < READERS; i++) {
        void *stale;
        pthread_join(readers[i], &stale);
        assert_null(stale);
    }
    /* At rest, what is cached is the last version. */
    for (uint32_t cert = 0; cert < CERTS; cert++) {
        rl_cert_id id = id_of(cert);
        ocsp_key key = key_of(&id, 0);
        ocsp_entry *e = ocsp_cache_get(shared, &key, 150, NULL);
        if (e)
            assert_int_equal(version_of(e), atomic_load(&versions[cert]));
        ocsp_entry_drop(e);
    }
    ocsp_cache_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gives_back_what_was_put),
        cmocka_unit_test(test_serves_nothing_outside_its_time),
        cmocka_unit_test(test_serves_nothing_past_an_earlier_end),
        cmocka_unit_test(test_an_entry_outlives_its_removal_while_it_is_sent),
        cmocka_unit_test(test_invalidation_removes_every_form_and_nothing_else),
        cmocka_unit_test(test_a_change_is_known_by_its_second),
        cmocka_unit_test(test_an_overtaken_answer_is_neither_inserted_nor_current),
        cmocka_unit_test(test_stays_within_its_size_and_keeps_what_is_asked_for),
        cmocka_unit_test(test_makes_room_even_when_all_is_in_use),
        cmocka_unit_test(test_leaves_out_what_is_larger_than_the_cache),
        cmocka_unit_test(test_nothing_older_than_what_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
