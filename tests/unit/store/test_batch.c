/* The group's map of writes, compared with the plainest one there is: an array that is searched from its front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/batch.h"

enum { KEYS = 300, STEPS = 20000 };

struct model {
    rl_entry_state state[2][KEYS]; /* of two families */
    int value[2][KEYS];
};

/* Keys of several lengths, some the beginning of others; their order is not the numbers'. */
static rl_span key_of(int i, char *memory)
{
    int n = snprintf(memory, 32, "%d%.*s", i * 7919 % 1000, i % 3, "xy");
    return rl_span_of(memory, (size_t)n);
}

static int compare(rl_span a, rl_span b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static rl_cf family(int f)
{
    return f ? CF_OBJECT : CF_CERT;
}

static void holds(rl_batch *b, const struct model *m)
{
    char memory[32];
    size_t live = 0;
    for (int f = 0; f < 2; f++) {
        size_t said = 0, met = 0;
        for (int i = 0; i < KEYS; i++) {
            const rl_batch_entry *e = rl_batch_find(b, family(f), key_of(i, memory));
            said += m->state[f][i] != RL_ENTRY_NONE;
            assert_int_equal(e ? e->state : RL_ENTRY_NONE, m->state[f][i]);
            if (e && e->state == RL_ENTRY_PUT)
                assert_int_equal(atoi((const char *)e->value.p), m->value[f][i]);
        }
        const rl_batch_entry *before = NULL;
        for (const rl_batch_entry *e = rl_batch_seek(b, family(f), rl_span_of("", 0)); e; e = rl_batch_next(e), met++) {
            assert_int_equal(e->cf, family(f));
            assert_true(!before || compare(before->key, e->key) < 0);
            before = e;
        }
        assert_int_equal(met, said);
        live += said;
    }
    assert_int_equal(b->live, live);
}

static void it_has_what_was_put_in_the_order_of_the_keys(void **state)
{
    struct model now = {0}, saved = now;
    rl_batch b;
    char memory[32], text[16];
    (void)state;
    srand(1);
    rl_batch_init(&b);
    for (int step = 0; step < STEPS; step++) {
        int f = rand() % 2, i = rand() % KEYS, what = rand() % 100;
        if (what < 60) {
            snprintf(text, sizeof(text), "%d", step);
            rl_batch_put(&b, family(f), key_of(i, memory), rl_span_of(text, sizeof(text)));
            now.state[f][i] = RL_ENTRY_PUT;
            now.value[f][i] = step;
        } else if (what < 90) {
            rl_batch_delete(&b, family(f), key_of(i, memory));
            now.state[f][i] = RL_ENTRY_DELETED;
        } else if (what < 95) {
            rl_batch_save_point(&b);
            saved = now;
        } else {
            rl_batch_rollback(&b);
            now = saved;
        }
        if (step % 100 == 0)
            holds(&b, &now);
    }
    holds(&b, &now);
    assert_false(b.failed);
    rl_batch_free(&b);
}

static void a_key_is_found_from_any_that_is_not_behind_it(void **state)
{
    rl_batch b;
    (void)state;
    rl_batch_init(&b);
    rl_batch_put(&b, CF_BINDING, RL_SPAN_LIT("ab"), rl_span_of("", 0));
    rl_batch_put(&b, CF_BINDING, RL_SPAN_LIT("b"), RL_SPAN_LIT("2"));
    rl_batch_put(&b, CF_OBJECT, RL_SPAN_LIT("a"), RL_SPAN_LIT("3"));
    assert_true(rl_span_eq(rl_batch_seek(&b, CF_BINDING, RL_SPAN_LIT("a"))->key, RL_SPAN_LIT("ab")));
    assert_int_equal(rl_batch_seek(&b, CF_BINDING, RL_SPAN_LIT("ab"))->value.n, 0);
    assert_true(rl_span_eq(rl_batch_seek(&b, CF_BINDING, RL_SPAN_LIT("abc"))->key, RL_SPAN_LIT("b")));
    assert_null(rl_batch_seek(&b, CF_BINDING, RL_SPAN_LIT("c")));
    assert_null(rl_batch_find(&b, CF_BINDING, RL_SPAN_LIT("a")));
    rl_batch_free(&b);
}

/* What was read ahead is found, is not written, is in no scan, and gives way to what is put; a rollback brings it back.
 */
static void what_was_read_ahead_is_no_write(void **state)
{
    rl_batch b;
    (void)state;
    rl_batch_init(&b);
    rl_batch_learn(&b, CF_OBJECT, RL_SPAN_LIT("a"), RL_SPAN_LIT("stored"));
    rl_batch_learn(&b, CF_OBJECT, RL_SPAN_LIT("b"), (rl_span){0});
    assert_int_equal(rl_batch_find(&b, CF_OBJECT, RL_SPAN_LIT("a"))->state, RL_ENTRY_STORED);
    assert_int_equal(rl_batch_find(&b, CF_OBJECT, RL_SPAN_LIT("b"))->state, RL_ENTRY_ABSENT);
    assert_null(rl_batch_seek(&b, CF_OBJECT, RL_SPAN_LIT("")));
    assert_int_equal(b.live, 0);
    rl_batch_save_point(&b);
    rl_batch_put(&b, CF_OBJECT, RL_SPAN_LIT("b"), RL_SPAN_LIT("put"));
    rl_batch_delete(&b, CF_OBJECT, RL_SPAN_LIT("a"));
    rl_batch_learn(&b, CF_OBJECT, RL_SPAN_LIT("b"), RL_SPAN_LIT("late"));
    assert_true(rl_span_eq(rl_batch_find(&b, CF_OBJECT, RL_SPAN_LIT("b"))->value, RL_SPAN_LIT("put")));
    assert_int_equal(b.live, 2);
    rl_batch_rollback(&b);
    assert_true(rl_span_eq(rl_batch_find(&b, CF_OBJECT, RL_SPAN_LIT("a"))->value, RL_SPAN_LIT("stored")));
    assert_int_equal(rl_batch_find(&b, CF_OBJECT, RL_SPAN_LIT("b"))->state, RL_ENTRY_ABSENT);
    assert_int_equal(b.live, 0);
    rl_batch_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_what_was_put_in_the_order_of_the_keys),
        cmocka_unit_test(a_key_is_found_from_any_that_is_not_behind_it),
        cmocka_unit_test(what_was_read_ahead_is_no_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
