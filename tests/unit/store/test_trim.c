/* What is older than it is to be kept goes, and nothing else; and what a directory changes is in the audit. */
#include "base/clock.h"
#include "fixture.h"
#include "store/store_priv.h"

static int64_t wall_ms;
static int64_t fixed_wall(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&wall_ms, __ATOMIC_SEQ_CST);
}

static void set_wall(int64_t s)
{
    static const rl_clock clock = {.wall_ms = fixed_wall};
    __atomic_store_n(&wall_ms, s * 1000, __ATOMIC_SEQ_CST);
    rl_clock_set(&clock);
}

static size_t count(struct fixture *f, rl_cf cf)
{
    size_t n = 0;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(f->store->db, f->store->scan, f->store->cf[cf]);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it))
        n++;
    rocksdb_iter_destroy(it);
    return n;
}

static rl_err nothing(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)t, (void)arg, (void)e;
    return RL_OK;
}

/* The writer trims after each group that is written when it is due; so two groups later it has. */
static void trimmed(struct fixture *f, int64_t delta_s, int64_t audit_s)
{
    for (int i = 0; i < 8; i++) {
        rl_store_keep(f->store, delta_s * 1000, audit_s * 1000);
        assert_int_equal(rl_store_run(f->store, nothing, NULL, NULL), RL_OK);
    }
}

static rl_err apply_audit(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    return rl_txn_audit(t, "admin", "test", "subject");
}

static void what_is_old_goes_and_the_rest_stays(void **state)
{
    struct fixture *f = *state;
    for (uint64_t n = 0; n < 10; n++) {
        set_wall(1000 + (int64_t)n * 100);
        add_cert(f->store, n, NULL);
        assert_int_equal(rl_store_run(f->store, apply_audit, NULL, NULL), RL_OK);
    }
    trimmed(f, 0, 0);
    assert_true(count(f, CF_DELTA) == 10 && count(f, CF_AUDIT) == 10);
    trimmed(f, 450, 0); /* it is 1900: those before 1450 */
    assert_true(count(f, CF_DELTA) == 5 && count(f, CF_AUDIT) == 10);
    trimmed(f, 450, 250);
    assert_true(count(f, CF_DELTA) == 5 && count(f, CF_AUDIT) == 3);
    set_wall(1950);
    trimmed(f, 450, 250);
    assert_true(count(f, CF_DELTA) == 5 && count(f, CF_AUDIT) == 3); /* just as old as they may be */
    fixture_reopen(f);
    assert_true(count(f, CF_DELTA) == 5 && count(f, CF_AUDIT) == 3);
    rl_clock_set(NULL);
}

static void numbers_go_on_when_everything_is_old(void **state)
{
    struct fixture *f = *state;
    rl_store_figures figures;
    set_wall(1000);
    for (uint64_t n = 0; n < 5; n++)
        add_cert(f->store, n, NULL);
    set_wall(100000);
    trimmed(f, 1, 1);
    assert_int_equal(count(f, CF_DELTA), 1);
    fixture_reopen(f);
    add_cert(f->store, 9, NULL);
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 6);
    rl_clock_set(NULL);
}

struct many {
    uint64_t from, n;
};

static rl_err apply_many(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct many *m = arg;
    for (uint64_t i = 0; i < m->n; i++) {
        struct add a = {m->from + i, NULL};
        RL_TRY(apply_add(t, &a, e));
    }
    return RL_OK;
}

static void much_goes_in_several_steps(void **state)
{
    struct fixture *f = *state;
    struct many m = {0, 10000}, young = {10000, 3};
    set_wall(1000);
    assert_int_equal(rl_store_run(f->store, apply_many, &m, NULL), RL_OK);
    set_wall(100000);
    assert_int_equal(rl_store_run(f->store, apply_many, &young, NULL), RL_OK);
    rl_store_keep(f->store, 1000, 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(rl_store_run(f->store, nothing, NULL, NULL), RL_OK);
    assert_int_equal(count(f, CF_DELTA), 3);
    rl_clock_set(NULL);
}

static void a_clock_that_was_set_back_removes_nothing_too_early(void **state)
{
    struct fixture *f = *state;
    set_wall(5000);
    add_cert(f->store, 1, NULL);
    set_wall(1000);
    add_cert(f->store, 2, NULL);
    set_wall(5050);
    add_cert(f->store, 3, NULL);
    trimmed(f, 100, 100); /* the second is old, the first before it is not */
    assert_int_equal(count(f, CF_DELTA), 3);
    rl_clock_set(NULL);
}

/* ---- the audit ---- */
static rl_err apply_sync(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cert_id id = cert_id(1);
    rl_cert_record r;
    (void)e;
    RL_TRY(rl_txn_cert(t, &id, &r));
    r.why = *(const uint32_t *)arg;
    rl_cert_settle(&r, 2000);
    rl_err err = rl_txn_update_cert(t, &id, &r, "sync:entra-device");
    rl_cert_clear(&r);
    return err;
}

static void what_a_directory_changes_is_audited_once(void **state)
{
    struct fixture *f = *state;
    uint32_t held = RL_WHY_DISABLED, gone = RL_WHY_DELETED;
    struct revoke r = {.n = 2, .reason = RL_REASON_HOLD, .at = 5};
    add_cert(f->store, 1, NULL);
    add_cert(f->store, 2, NULL);
    assert_int_equal(count(f, CF_AUDIT), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rl_store_run(f->store, apply_sync, &held, NULL), RL_OK);
    assert_int_equal(count(f, CF_AUDIT), 1);
    assert_int_equal(rl_store_run(f->store, apply_sync, &gone, NULL), RL_OK);
    assert_int_equal(count(f, CF_AUDIT), 2);
    assert_int_equal(rl_store_run(f->store, apply_revoke, &r, NULL), RL_OK);
    assert_int_equal(count(f, CF_AUDIT), 3); /* by hand: as before, one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(what_is_old_goes_and_the_rest_stays),
        WITH_STORE(numbers_go_on_when_everything_is_old),
        WITH_STORE(much_goes_in_several_steps),
        WITH_STORE(a_clock_that_was_set_back_removes_nothing_too_early),
        WITH_STORE(what_a_directory_changes_is_audited_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
