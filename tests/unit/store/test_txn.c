/* Inside transactions: the families that belong together stay in step, and the group's own writes are seen. */
#include <time.h>

#include "base/clock.h"
#include "fixture.h"

static rl_cert_record read_cert(rl_store *s, uint64_t n)
{
    rl_cert_record r;
    const rl_cert_id id = cert_id(n);
    assert_int_equal(rl_store_cert(s, &id, &r), RL_OK);
    return r;
}

static rl_err revoke_cert(rl_store *s, uint64_t n, rl_reason reason, int64_t at, rl_error *e)
{
    struct revoke r = {.n = n, .reason = reason, .at = at};
    return rl_store_run(s, apply_revoke, &r, e);
}

static rl_err unrevoke_cert(rl_store *s, uint64_t n, int64_t at, rl_error *e)
{
    struct revoke r = {.n = n, .at = at, .undo = true};
    return rl_store_run(s, apply_revoke, &r, e);
}

/* ---- lists of what an iteration visits ---- */
struct seen {
    size_t n, stop_at;
    uint64_t numbers[2000];
    int64_t times[2000];
    int kinds[2000];
};

static bool see_cert(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct seen *seen = ctx;
    assert_string_equal(r->subject, "CN=test");
    seen->numbers[seen->n++] = cert_number(id);
    return seen->n != seen->stop_at;
}

static bool see_revoked(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx)
{
    struct seen *seen = ctx;
    seen->numbers[seen->n] = cert_number(id);
    seen->times[seen->n] = revoked_at;
    seen->kinds[seen->n++] = (int)reason;
    return true;
}

static bool see_delta(uint64_t seq, const rl_delta_record *r, void *ctx)
{
    struct seen *seen = ctx;
    seen->times[seen->n] = (int64_t)seq;
    seen->numbers[seen->n] = cert_number(&r->cert);
    seen->kinds[seen->n++] = r->kind * 10 + (int)r->status;
    return true;
}

static rl_err see_binding(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    struct seen *seen = ctx;
    (void)t;
    seen->numbers[seen->n++] = cert_number(cert);
    return RL_OK;
}

struct bound {
    const char *object;
    struct seen seen;
};

static rl_err apply_see_bindings(rl_store_txn *t, void *arg, rl_error *e)
{
    struct bound *b = arg;
    (void)e;
    return rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, b->object, see_binding, &b->seen);
}

static size_t bindings(rl_store *s, const char *object)
{
    struct bound b = {.object = object};
    assert_int_equal(rl_store_run(s, apply_see_bindings, &b, NULL), RL_OK);
    return b.seen.n;
}

static void certificates_are_found_by_the_front_of_a_name(void **state)
{
    struct fixture *f = *state;
    rl_cert_id found[4];
    size_t n;
    add_cert(f->store, 1, "front-a");
    add_cert(f->store, 2, "front-c");
    add_cert(f->store, 3, "front-b");
    add_cert(f->store, 4, "front-bb"); /* a longer name is another kind of name */
    add_cert(f->store, 5, "other-a");
    assert_int_equal(rl_store_bindings_named(f->store, RL_SOURCE_ENTRA_DEVICE, "front-", 7, found, 4, &n), RL_OK);
    assert_int_equal(n, 3);
    const unsigned order[] = {1, 3, 2};
    for (size_t i = 0; i < 3; i++) {
        const rl_cert_id expected = cert_id(order[i]);
        assert_int_equal(found[i].issuer, expected.issuer);
        assert_int_equal(found[i].serial_n, expected.serial_n);
        assert_memory_equal(found[i].serial, expected.serial, expected.serial_n);
    }
    assert_int_equal(rl_store_bindings_named(f->store, RL_SOURCE_ENTRA_DEVICE, "front-", 7, found, 2, &n), RL_OK);
    assert_int_equal(n, 2);
    assert_int_equal(rl_store_bindings_named(f->store, RL_SOURCE_ENTRA_USER, "front-", 7, found, 4, &n), RL_OK);
    assert_int_equal(n, 0);
    assert_int_equal(rl_store_bindings_named(f->store, RL_SOURCE_ENTRA_DEVICE, "front-", 5, found, 4, &n), RL_ERANGE);
}

static void adding_writes_certificate_der_binding_and_delta(void **state)
{
    struct fixture *f = *state;
    const rl_cert_id id = cert_id(7), other = cert_id(8);
    rl_cert_id found;
    rl_buf der = {0};
    rl_error e = {0};
    struct seen seen = {0};
    add_cert(f->store, 7, "device-1");
    rl_cert_record r = read_cert(f->store, 7);
    assert_string_equal(r.subject, "CN=test");
    assert_int_equal(r.bindings_n, 1);
    rl_cert_clear(&r);
    assert_int_equal(rl_store_der(f->store, &id, &der), RL_OK);
    assert_true(rl_span_eq(rl_buf_span(&der), RL_SPAN_LIT("der")));
    rl_buf_free(&der);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_DEVICE, "device-1", &found), RL_OK);
    assert_true(found.issuer == id.issuer && found.serial_n == id.serial_n);
    assert_memory_equal(found.serial, id.serial, id.serial_n);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_DEVICE, "device-", &found), RL_ENOTFOUND);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_DEVICE, "device-12", &found), RL_ENOTFOUND);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_USER, "device-1", &found), RL_ENOTFOUND);
    assert_int_equal(rl_store_cert(f->store, &other, &r), RL_ENOTFOUND);
    assert_int_equal(rl_store_each_delta(f->store, 0, see_delta, &seen), RL_OK);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.times[0], 1);
    assert_int_equal(seen.kinds[0], 10 * RL_DELTA_ISSUED + RL_STATUS_GOOD);
    /* the serial is taken, whoever asks */
    struct add again = {7, "device-2"};
    assert_int_equal(rl_store_run(f->store, apply_add, &again, &e), RL_EEXISTS);
    assert_int_equal(bindings(f->store, "device-2"), 0);
}

static void a_serial_number_has_its_limits(void **state)
{
    struct fixture *f = *state;
    rl_cert_id id = {.issuer = 1};
    rl_cert_status status;
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_ERANGE);
    id.serial_n = RL_STORE_SERIAL_MAX + 1;
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_ERANGE);
    id.serial_n = RL_STORE_SERIAL_MAX;
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_ENOTFOUND);
}

static void revoking_keeps_certificate_revoked_list_and_deltas_in_step(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    struct seen revoked = {0}, deltas = {0};
    const rl_cert_id id = cert_id(2);
    rl_cert_status status;
    for (uint64_t n = 1; n <= 3; n++)
        add_cert(f->store, n, NULL);
    assert_int_equal(revoke_cert(f->store, 2, RL_REASON_KEY_COMPROMISE, 5000, &e), RL_OK);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_true(status.status == RL_STATUS_REVOKED && status.reason == RL_REASON_KEY_COMPROMISE &&
                status.revoked_at == 5000);
    assert_true(status.not_before == 900 && status.not_after == 2000000000);
    assert_int_equal(rl_store_each_revoked(f->store, 1, see_revoked, &revoked), RL_OK);
    assert_int_equal(revoked.n, 1);
    assert_true(revoked.numbers[0] == 2 && revoked.times[0] == 5000 && revoked.kinds[0] == RL_REASON_KEY_COMPROMISE);
    revoked.n = 0;
    assert_int_equal(rl_store_each_revoked(f->store, 2, see_revoked, &revoked), RL_OK); /* another issuer's */
    assert_int_equal(revoked.n, 0);
    assert_int_equal(rl_store_each_delta(f->store, 4, see_delta, &deltas), RL_OK);
    assert_int_equal(deltas.n, 1);
    assert_true(deltas.times[0] == 4 && deltas.numbers[0] == 2 &&
                deltas.kinds[0] == 10 * RL_DELTA_STATUS + RL_STATUS_REVOKED);
}

static void what_is_revoked_for_good_stays_so(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    add_cert(f->store, 1, NULL);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_SUPERSEDED, 5000, &e), RL_OK);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_KEY_COMPROMISE, 6000, &e), RL_EEXISTS);
    assert_string_equal(e.message, "the certificate is revoked already (superseded)");
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_HOLD, 6000, &e), RL_EEXISTS);
    assert_int_equal(unrevoke_cert(f->store, 1, 6000, &e), RL_EINVAL);
    assert_string_equal(e.message, "a revocation for good cannot be taken back (superseded)");
    rl_cert_record r = read_cert(f->store, 1);
    assert_true(r.revoked_at == 5000 && r.reason == RL_REASON_SUPERSEDED);
    rl_cert_clear(&r);
    assert_int_equal(revoke_cert(f->store, 9, RL_REASON_SUPERSEDED, 1, &e), RL_ENOTFOUND);
    assert_int_equal(unrevoke_cert(f->store, 9, 1, &e), RL_ENOTFOUND);
}

static void only_reasons_that_revoke_are_taken(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    static const int bad[] = {-1, 7, RL_REASON_REMOVE_FROM_CRL, 11};
    add_cert(f->store, 1, NULL);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(revoke_cert(f->store, 1, (rl_reason)bad[i], 1, &e), RL_EINVAL);
    rl_cert_record r = read_cert(f->store, 1);
    assert_int_equal(r.why, 0);
    rl_cert_clear(&r);
}

static void a_hold_ends_in_good_or_in_a_revocation_with_its_date(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    struct seen revoked = {0};
    add_cert(f->store, 1, NULL);
    assert_int_equal(unrevoke_cert(f->store, 1, 1, &e), RL_EINVAL);
    assert_string_equal(e.message, "the certificate is not on hold by hand");
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_HOLD, 5000, &e), RL_OK);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_HOLD, 5500, &e), RL_EEXISTS);
    assert_int_equal(unrevoke_cert(f->store, 1, 6000, &e), RL_OK);
    rl_cert_record r = read_cert(f->store, 1);
    assert_true(r.status == RL_STATUS_GOOD && r.revoked_at == 0 && r.why == 0);
    rl_cert_clear(&r);
    assert_int_equal(rl_store_each_revoked(f->store, 1, see_revoked, &revoked), RL_OK);
    assert_int_equal(revoked.n, 0);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_HOLD, 7000, &e), RL_OK);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_KEY_COMPROMISE, 8000, &e), RL_OK);
    r = read_cert(f->store, 1);
    assert_true(r.status == RL_STATUS_REVOKED && r.revoked_at == 7000 && r.reason == RL_REASON_KEY_COMPROMISE);
    rl_cert_clear(&r);
}

/* What sync does: sets and clears bits of the mask. */
struct bits {
    uint64_t n;
    uint32_t set, clear;
    int64_t at;
};

static rl_err apply_bits(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct bits *b = arg;
    const rl_cert_id id = cert_id(b->n);
    rl_cert_record r;
    (void)e;
    RL_TRY(rl_txn_cert(t, &id, &r));
    r.why = (r.why | b->set) & ~b->clear;
    rl_cert_settle(&r, b->at);
    rl_err err = rl_txn_update_cert(t, &id, &r, "sync:entra-device");
    rl_cert_clear(&r);
    return err;
}

static void set_bits(rl_store *s, uint64_t n, uint32_t set, uint32_t clear, int64_t at)
{
    struct bits b = {n, set, clear, at};
    assert_int_equal(rl_store_run(s, apply_bits, &b, NULL), RL_OK);
}

static void a_directorys_hold_and_an_admins_do_not_undo_each_other(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    rl_store_figures figures;
    add_cert(f->store, 1, NULL);
    set_bits(f->store, 1, RL_WHY_DISABLED, 0, 5000);
    assert_int_equal(unrevoke_cert(f->store, 1, 5100, &e), RL_EINVAL); /* not the admin's to take back */
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_HOLD, 5200, &e), RL_OK);
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 2); /* issued, on hold: the second hold changed nothing to be told */
    set_bits(f->store, 1, 0, RL_WHY_DISABLED, 5300);
    rl_cert_record r = read_cert(f->store, 1);
    assert_true(r.status == RL_STATUS_HOLD && r.why == RL_WHY_MANUAL && r.revoked_at == 5000);
    rl_cert_clear(&r);
    set_bits(f->store, 1, RL_WHY_DISABLED, 0, 5400);
    assert_int_equal(unrevoke_cert(f->store, 1, 5500, &e), RL_OK);
    r = read_cert(f->store, 1);
    assert_true(r.status == RL_STATUS_HOLD && r.why == RL_WHY_DISABLED && r.revoked_at == 5000);
    rl_cert_clear(&r);
    assert_int_equal(revoke_cert(f->store, 1, RL_REASON_KEY_COMPROMISE, 5600, &e),
                     RL_OK); /* an admin over the directory */
    set_bits(f->store, 1, 0, RL_WHY_DISABLED, 5700);
    r = read_cert(f->store, 1);
    assert_true(r.status == RL_STATUS_REVOKED && r.reason == RL_REASON_KEY_COMPROMISE && r.why == RL_WHY_MANUAL);
    rl_cert_clear(&r);
    /* on hold by hand, then deleted in its directory: the hold cannot be taken back any more */
    add_cert(f->store, 2, NULL);
    assert_int_equal(revoke_cert(f->store, 2, RL_REASON_HOLD, 1, &e), RL_OK);
    set_bits(f->store, 2, RL_WHY_DELETED, 0, 2);
    assert_int_equal(unrevoke_cert(f->store, 2, 3, &e), RL_EINVAL);
}

struct rebind {
    uint64_t n;
    const char *to;
};

static rl_err apply_rebind(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct rebind *b = arg;
    const rl_cert_id id = cert_id(b->n);
    const rl_cert_record r = cert_record(b->to);
    (void)e;
    return rl_txn_update_cert(t, &id, &r, "sync");
}

static void bindings_follow_the_record(void **state)
{
    struct fixture *f = *state;
    rl_store_figures figures;
    struct rebind b = {1, "new"};
    add_cert(f->store, 1, "old");
    assert_int_equal(bindings(f->store, "old"), 1);
    assert_int_equal(rl_store_run(f->store, apply_rebind, &b, NULL), RL_OK);
    assert_int_equal(bindings(f->store, "old"), 0);
    assert_int_equal(bindings(f->store, "new"), 1);
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 1); /* the status did not change */
    struct rebind absent = {2, "new"};
    assert_int_equal(rl_store_run(f->store, apply_rebind, &absent, NULL), RL_ENOTFOUND);
}

static rl_err apply_end(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cert_id id = cert_id(1);
    rl_cert_record r = cert_record(NULL);
    (void)e;
    r.not_after = *(int64_t *)arg;
    return rl_txn_update_cert(t, &id, &r, "import");
}

/* A certificate that only its CA's list named has no end until it is imported: nothing may be told from before then. */
static void an_end_that_becomes_known_is_heard_of(void **state)
{
    struct fixture *f = *state;
    const rl_cert_id id = cert_id(1);
    int64_t end = 1234567;
    rl_cert_status status;
    rl_store_figures figures;
    add_cert(f->store, 1, NULL);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK); /* in memory now */
    assert_int_equal(rl_store_run(f->store, apply_end, &end, NULL), RL_OK);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_int_equal(status.not_after, end);
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 2);
}

/* ---- iteration ---- */
static void certificates_come_in_the_order_of_their_numbers(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    rl_cert_id after;
    for (uint64_t n = 0; n < 500; n++)
        add_cert(f->store, n * 7919 % 500, NULL); /* every number, in disorder */
    fixture_reopen(f);                            /* they are in a table file now, with its hash index */
    add_cert(f->store, 1000, NULL);               /* and one in memory */
    assert_int_equal(rl_store_each_cert(f->store, NULL, see_cert, &seen), RL_OK);
    assert_int_equal(seen.n, 501);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(seen.numbers[i], i);
    assert_int_equal(seen.numbers[500], 1000);
    seen = (struct seen){.stop_at = 10};
    after = cert_id(99);
    assert_int_equal(rl_store_each_cert(f->store, &after, see_cert, &seen), RL_OK);
    assert_true(seen.n == 10 && seen.numbers[0] == 100 && seen.numbers[9] == 109);
    seen = (struct seen){0};
    after = cert_id(600); /* not there itself */
    assert_int_equal(rl_store_each_cert(f->store, &after, see_cert, &seen), RL_OK);
    assert_true(seen.n == 1 && seen.numbers[0] == 1000);
    rl_cert_status status;
    for (uint64_t n = 0; n < 500; n++) {
        const rl_cert_id id = cert_id(n), absent = cert_id(n + 100000);
        assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
        assert_int_equal(rl_store_cert_status(f->store, &absent, &status), RL_ENOTFOUND);
    }
}

static rl_err rebind_one(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    size_t *n = ctx;
    const rl_cert_record r = cert_record(NULL);
    ++*n;
    return rl_txn_update_cert(t, cert, &r, "sync"); /* takes the binding under the iteration away */
}

static rl_err apply_unbind_all(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)e;
    return rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, "many", rebind_one, arg);
}

static void a_binding_may_be_taken_away_while_they_are_walked(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;
    for (uint64_t i = 0; i < 200; i++)
        add_cert(f->store, i, i % 2 ? "many" : "many2");
    assert_int_equal(rl_store_run(f->store, apply_unbind_all, &n, NULL), RL_OK);
    assert_int_equal(n, 100);
    assert_int_equal(bindings(f->store, "many"), 0);
    assert_int_equal(bindings(f->store, "many2"), 100);
}

/* Objects whose names are the beginning of each other's, with two certificates each. */
static const char *const mixed[] = {"a", "ab", "abc", "b"};
enum { MIXED = 4 };

static rl_err apply_bind_mixed(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    for (uint64_t i = 0; i < 2 * MIXED; i++) {
        const rl_cert_id id = cert_id(10 + i);
        RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, mixed[i / 2], &id));
    }
    return RL_OK;
}

static void expect_bound(rl_store_txn *t, const char *object, size_t n, uint64_t first, uint64_t last)
{
    struct seen seen = {0};
    assert_int_equal(rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, object, see_binding, &seen), RL_OK);
    assert_int_equal(seen.n, n);
    if (n > 0)
        assert_true(seen.numbers[0] == first && seen.numbers[n - 1] == last);
}

/* Before, between and behind what is stored; what is stored is gone, or put again. */
static rl_err apply_change_mixed(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cert_id before = cert_id(1), behind = cert_id(99), first = cert_id(10), third = cert_id(12);
    const rl_cert_id fourth = cert_id(13);
    (void)arg, (void)e;
    expect_bound(t, "ab", 2, 12, 13);
    RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, "a", &before));
    RL_TRY(rl_txn_delete_binding(t, RL_SOURCE_ENTRA_DEVICE, "a", &first));
    expect_bound(t, "a", 2, 1, 11);
    RL_TRY(rl_txn_delete_binding(t, RL_SOURCE_ENTRA_DEVICE, "ab", &third));
    RL_TRY(rl_txn_delete_binding(t, RL_SOURCE_ENTRA_DEVICE, "ab", &fourth));
    expect_bound(t, "ab", 0, 0, 0);
    RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, "abc", &behind));
    expect_bound(t, "abc", 3, 14, 99);
    RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, "ab", &fourth));
    expect_bound(t, "ab", 1, 13, 13);
    expect_bound(t, "b", 2, 16, 17);
    expect_bound(t, "c", 0, 0, 0);
    return arg ? RL_EBUSY : RL_OK;
}

static void a_scan_sees_the_database_with_what_the_group_has_changed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rl_store_run(f->store, apply_bind_mixed, NULL, NULL), RL_OK);
    assert_int_equal(rl_store_run(f->store, apply_change_mixed, f, NULL), RL_EBUSY); /* rolled back */
    fixture_reopen(f); /* from the log into tables, with their filters */
    assert_int_equal(rl_store_run(f->store, apply_change_mixed, NULL, NULL), RL_OK);
    fixture_reopen(f);
    assert_int_equal(bindings(f->store, "a"), 2);
    assert_int_equal(bindings(f->store, "ab"), 1);
    assert_int_equal(bindings(f->store, "abc"), 3);
    assert_int_equal(bindings(f->store, "b"), 2);
    assert_int_equal(bindings(f->store, "c"), 0);
}

/* ---- the bindings of many objects ---- object-0, object-1, … have as many certificates as their number by 4 leaves */
enum { OBJECTS = 300, LOOKS = 1500 };

static rl_err apply_bind_many(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    for (uint64_t i = 0; i < OBJECTS; i++)
        for (uint64_t cert = 0; cert < i % 4; cert++) {
            char object[16];
            const rl_cert_id id = cert_id(10 * i + cert);
            snprintf(object, sizeof(object), "object-%d", (int)i);
            RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, object, &id));
        }
    return RL_OK;
}

struct counted {
    char object[16];
    size_t n;
    uint64_t sum;
};

static rl_err count_binding(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    struct counted *c = ctx;
    (void)t;
    c->n++;
    c->sum += cert_number(cert);
    return RL_OK;
}

static rl_err refuse_binding(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    (void)t, (void)cert, (void)ctx;
    return RL_EDENIED;
}

/* Each object several times, some that have no certificate, and some of which the group itself has put or taken one. */
static rl_err apply_look_at_many(rl_store_txn *t, void *arg, rl_error *e)
{
    struct counted *counted = calloc(LOOKS, sizeof(*counted));
    rl_binding_look *looks = calloc(LOOKS, sizeof(*looks));
    const rl_cert_id taken = cert_id(70), added = cert_id(71000);
    (void)e;
    RL_TRY(rl_txn_delete_binding(t, RL_SOURCE_ENTRA_DEVICE, "object-7", &taken));
    RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, "object-8", &added));
    RL_TRY(rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, "object-9", &added));
    for (int i = 0; i < LOOKS; i++) {
        snprintf(counted[i].object, sizeof(counted[i].object), "object-%d", i * 7 % (OBJECTS + 50));
        looks[i] = (rl_binding_look){RL_SOURCE_ENTRA_DEVICE, counted[i].object, &counted[i]};
    }
    rl_err err = rl_txn_each_binding_of(t, looks, LOOKS, count_binding);
    for (int i = 0; err == RL_OK && i < LOOKS; i++) {
        const uint64_t number = (uint64_t)(i * 7 % (OBJECTS + 50));
        struct counted one = {.n = 0};
        err = rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, counted[i].object, count_binding, &one);
        assert_true(counted[i].n == one.n && counted[i].sum == one.sum);
        const size_t stored = number < OBJECTS ? number % 4 : 0;
        assert_int_equal(one.n, stored - (number == 7) + (number == 8 || number == 9));
        *(size_t *)arg += one.n;
    }
    if (err == RL_OK)
        assert_int_equal(rl_txn_each_binding_of(t, looks, LOOKS, refuse_binding), RL_EDENIED);
    free(looks);
    free(counted);
    return err;
}

static void many_objects_have_the_bindings_that_each_has(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;
    assert_int_equal(rl_store_run(f->store, apply_bind_many, NULL, NULL), RL_OK);
    fixture_reopen(f); /* from the log into tables, with their filters */
    assert_int_equal(rl_store_run(f->store, apply_look_at_many, &n, NULL), RL_OK);
    assert_true(n > LOOKS);
}

static rl_err apply_put_objects(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    for (int i = 0; i < 200; i++) {
        char id[16];
        rl_object_record r = {.exists = true, .enabled = i % 2 == 0, .name = "x"};
        snprintf(id, sizeof(id), "object-%d", i);
        RL_TRY(rl_txn_put_object(t, RL_SOURCE_ENTRA_USER, id, &r));
    }
    rl_object_record other = {.exists = true};
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_ENTRA_USER_NAME, "object-1", &other));
    return rl_txn_put_object(t, RL_SOURCE_ENTRA_DEVICE, "object-1", &other);
}

struct sweep {
    size_t n;
    char before[RL_OBJECT_ID_MAX + 1];
};

static rl_err sweep_one(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    struct sweep *s = ctx;
    rl_object_record now;
    assert_true(strcmp(s->before, id) < 0); /* each once, in order */
    snprintf(s->before, sizeof(s->before), "%s", id);
    s->n++;
    assert_int_equal(rl_txn_object(t, RL_SOURCE_ENTRA_USER, id, &now), RL_OK);
    assert_int_equal(now.enabled, r->enabled);
    rl_object_clear(&now);
    return r->enabled ? RL_OK : rl_txn_delete_object(t, RL_SOURCE_ENTRA_USER, id);
}

static rl_err apply_sweep(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)e;
    return rl_txn_each_object(t, RL_SOURCE_ENTRA_USER, "", sweep_one, arg);
}

static rl_err apply_put_and_sweep(rl_store_txn *t, void *arg, rl_error *e)
{
    RL_TRY(apply_put_objects(t, NULL, e));
    return apply_sweep(t, arg, e);
}

/* Once in the transaction that has put them, once from the database. */
static void objects_may_be_deleted_while_they_are_walked(void **state)
{
    struct fixture *f = *state;
    struct sweep first = {0}, second = {0};
    rl_object_record r;
    assert_int_equal(rl_store_run(f->store, apply_put_and_sweep, &first, NULL), RL_OK);
    assert_int_equal(first.n, 200);
    assert_int_equal(rl_store_run(f->store, apply_sweep, &second, NULL), RL_OK);
    assert_int_equal(second.n, 100);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_USER, "object-0", &r), RL_OK);
    assert_string_equal(r.name, "x");
    rl_object_clear(&r);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_USER, "object-1", &r), RL_ENOTFOUND);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_DEVICE, "object-1", &r), RL_OK);
    rl_object_clear(&r);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_DEVICE, "", &r), RL_ERANGE);
}

/* Read ahead: what is there, what is not, what the group has written itself. */
static rl_err apply_expected(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_object_id ids[300];
    char names[300][16];
    rl_object_record r = {.exists = true, .name = "new"};
    (void)e;
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_ENTRA_USER, "object-7", &r));
    for (int i = 0; i < 300; i++) {
        snprintf(names[i], sizeof(names[i]), "object-%d", 299 - i);
        ids[i] = (rl_object_id){i % 3 ? RL_SOURCE_ENTRA_USER : RL_SOURCE_ENTRA_USER_NAME, names[i]};
    }
    rl_txn_expect_objects(t, ids, 300);
    for (int i = 0; i < 200; i++) {
        snprintf(names[0], sizeof(names[0]), "object-%d", i);
        RL_TRY(rl_txn_object(t, RL_SOURCE_ENTRA_USER, names[0], &r));
        assert_string_equal(r.name, i == 7 ? "new" : "x");
        rl_object_clear(&r);
    }
    assert_int_equal(rl_txn_object(t, RL_SOURCE_ENTRA_USER, "object-299", &r), RL_ENOTFOUND);
    return apply_sweep(t, arg, e);
}

static void what_was_expected_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct sweep s = {0};
    rl_object_record r;
    assert_int_equal(rl_store_run(f->store, apply_put_objects, NULL, NULL), RL_OK);
    assert_int_equal(rl_store_run(f->store, apply_expected, &s, NULL), RL_OK);
    assert_int_equal(s.n, 200);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_USER, "object-0", &r), RL_OK);
    rl_object_clear(&r);
    assert_int_equal(rl_store_object(f->store, RL_SOURCE_ENTRA_USER, "object-3", &r), RL_ENOTFOUND);
}

/* A source that has no object is not looked into: until it gets one, and after a restart. */
static rl_err apply_first_of_a_source(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_object_id ids[] = {{RL_SOURCE_JAMF_COMPUTER, "1"}, {RL_SOURCE_ENTRA_USER, "object-0"}};
    rl_object_record r = {.exists = true, .name = "first"};
    (void)arg, (void)e;
    rl_txn_expect_objects(t, ids, 2);
    assert_int_equal(rl_txn_object(t, RL_SOURCE_JAMF_COMPUTER, "1", &r), RL_ENOTFOUND);
    assert_int_equal(rl_txn_object(t, RL_SOURCE_JAMF_COMPUTER, "", &r), RL_ERANGE);
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_JAMF_COMPUTER, "1", &r));
    RL_TRY(rl_txn_object(t, RL_SOURCE_JAMF_COMPUTER, "1", &r));
    assert_string_equal(r.name, "first");
    rl_object_clear(&r);
    RL_TRY(rl_txn_object(t, RL_SOURCE_ENTRA_USER, "object-0", &r));
    rl_object_clear(&r);
    return RL_OK;
}

static rl_err apply_see_all_sources(rl_store_txn *t, void *arg, rl_error *e)
{
    static const rl_object_id ids[] = {{RL_SOURCE_ENTRA_DEVICE, "object-1"},
                                       {RL_SOURCE_ENTRA_USER, "object-0"},
                                       {RL_SOURCE_JAMF_COMPUTER, "1"},
                                       {RL_SOURCE_ENTRA_USER_NAME, "object-1"}};
    (void)arg, (void)e;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        rl_object_record r;
        RL_TRY(rl_txn_object(t, ids[i].source, ids[i].id, &r));
        rl_object_clear(&r);
    }
    return RL_OK;
}

static void sources_without_objects_are_told_from_others(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rl_store_run(f->store, apply_put_objects, NULL, NULL), RL_OK);
    assert_int_equal(rl_store_run(f->store, apply_first_of_a_source, NULL, NULL), RL_OK);
    fixture_reopen(f);
    assert_int_equal(rl_store_run(f->store, apply_see_all_sources, NULL, NULL), RL_OK);
}

static rl_err apply_cursor(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_cursor_record c = {.link = arg, .complete = true, .generation = 3}, back;
    uint8_t der[] = {0x30, 0};
    rl_issuer_record i = {.cert = der, .cert_n = 2, .key_ref = "file:ca-1.key"};
    (void)e;
    RL_TRY(rl_txn_put_cursor(t, "entra", &c));
    RL_TRY(rl_txn_cursor(t, "entra", &back)); /* its own write */
    assert_string_equal(back.link, arg);
    rl_cursor_clear(&back);
    return rl_txn_put_issuer(t, 0x01020304, &i);
}

static bool see_issuer(rl_issuer_id id, const rl_issuer_record *r, void *ctx)
{
    assert_int_equal(id, 0x01020304);
    assert_string_equal(r->key_ref, "file:ca-1.key");
    ++*(int *)ctx;
    return true;
}

static void cursors_and_issuers_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    rl_cursor_record c;
    rl_issuer_record i;
    int issuers = 0;
    assert_int_equal(rl_store_cursor(f->store, "entra", &c), RL_ENOTFOUND);
    assert_int_equal(rl_store_run(f->store, apply_cursor, "https://next", NULL), RL_OK);
    fixture_reopen(f);
    assert_int_equal(rl_store_cursor(f->store, "entra", &c), RL_OK);
    assert_string_equal(c.link, "https://next");
    assert_true(c.complete && c.generation == 3);
    rl_cursor_clear(&c);
    assert_int_equal(rl_store_issuer(f->store, 0x01020304, &i), RL_OK);
    rl_issuer_clear(&i);
    assert_int_equal(rl_store_issuer(f->store, 1, &i), RL_ENOTFOUND);
    assert_int_equal(rl_store_each_issuer(f->store, see_issuer, &issuers), RL_OK);
    assert_int_equal(issuers, 1);
}

/* ---- numbers ---- */
static int64_t wall = 1000000;
static int64_t fixed_wall(void *ctx)
{
    (void)ctx;
    return wall;
}

static rl_err apply_audits(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)arg, (void)e;
    for (int i = 0; i < 3; i++)
        RL_TRY(rl_txn_audit(t, "admin", "test", "subject"));
    return RL_OK;
}

static void numbers_go_on_after_a_restart_also_when_the_clock_does_not(void **state)
{
    struct fixture *f = *state;
    const rl_clock clock = {.wall_ms = fixed_wall};
    struct seen seen = {0};
    rl_store_figures figures;
    rl_clock_set(&clock);
    for (uint64_t n = 0; n < 5; n++)
        add_cert(f->store, n, NULL);
    assert_int_equal(rl_store_run(f->store, apply_audits, NULL, NULL), RL_OK);
    wall -= 500; /* audit keys begin with the time */
    assert_int_equal(rl_store_run(f->store, apply_audits, NULL, NULL), RL_OK);
    fixture_reopen(f);
    for (uint64_t n = 5; n < 8; n++)
        add_cert(f->store, n, NULL);
    assert_int_equal(rl_store_run(f->store, apply_audits, NULL, NULL), RL_OK);
    fixture_reopen(f);
    rl_clock_set(NULL);
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 8);
    assert_int_equal(rl_store_each_delta(f->store, 0, see_delta, &seen), RL_OK);
    assert_int_equal(seen.n, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(seen.times[i], i + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(certificates_are_found_by_the_front_of_a_name),
        WITH_STORE(adding_writes_certificate_der_binding_and_delta),
        WITH_STORE(a_serial_number_has_its_limits),
        WITH_STORE(revoking_keeps_certificate_revoked_list_and_deltas_in_step),
        WITH_STORE(what_is_revoked_for_good_stays_so),
        WITH_STORE(only_reasons_that_revoke_are_taken),
        WITH_STORE(a_hold_ends_in_good_or_in_a_revocation_with_its_date),
        WITH_STORE(a_directorys_hold_and_an_admins_do_not_undo_each_other),
        WITH_STORE(bindings_follow_the_record),
        WITH_STORE(an_end_that_becomes_known_is_heard_of),
        WITH_STORE(certificates_come_in_the_order_of_their_numbers),
        WITH_STORE(a_binding_may_be_taken_away_while_they_are_walked),
        WITH_STORE(a_scan_sees_the_database_with_what_the_group_has_changed),
        WITH_STORE(many_objects_have_the_bindings_that_each_has),
        WITH_STORE(objects_may_be_deleted_while_they_are_walked),
        WITH_STORE(what_was_expected_changes_nothing),
        WITH_STORE(sources_without_objects_are_told_from_others),
        WITH_STORE(cursors_and_issuers_survive_a_restart),
        WITH_STORE(numbers_go_on_after_a_restart_also_when_the_clock_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
