/* What the store's tests share: a folder of their own, a store in it, certificates to put there. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "store/store.h"

struct fixture {
    char dir[64];
    rl_store *store;
};

static inline void fixture_open(struct fixture *f)
{
    rl_error e = {0};
    if (rl_store_open(f->dir, &f->store, &e) != RL_OK)
        fail_msg("%s", e.message);
}

static inline void fixture_reopen(struct fixture *f)
{
    rl_store_close(f->store);
    f->store = NULL;
    fixture_open(f);
}

static inline int fixture_folder(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/revline-store-XXXXXX");
    *state = f;
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT); /* failures that a test asks for */
    return mkdtemp(f->dir) ? 0 : -1;
}

static inline int fixture_set_up(void **state)
{
    if (fixture_folder(state) != 0)
        return -1;
    fixture_open(*state);
    return 0;
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    rl_store_close(f->store);
    nftw(f->dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

#define WITH_STORE(test)  cmocka_unit_test_setup_teardown(test, fixture_set_up, fixture_tear_down)
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_tear_down)

/* Certificate number n of issuer 1: a 16-octet serial that begins with 0x01. */
static inline rl_cert_id cert_id(uint64_t n)
{
    rl_cert_id id = {.issuer = 1, .serial_n = 16, .serial = {1}};
    for (int i = 0; i < 8; i++)
        id.serial[15 - i] = (uint8_t)(n >> 8 * i);
    return id;
}

static inline uint64_t cert_number(const rl_cert_id *id)
{
    uint64_t n = 0;
    for (int i = 8; i < 16; i++)
        n = n << 8 | id->serial[i];
    return n;
}

/* A good certificate, bound to `object` (NULL: to nothing). Its texts are literals: not for rl_cert_clear. */
static inline rl_cert_record cert_record(const char *object)
{
    rl_cert_record r = {.subject = "CN=test",
                        .profile = "static-aad",
                        .requester = "scep",
                        .issued_at = 1000,
                        .not_before = 900,
                        .not_after = 2000000000};
    if (object) {
        r.bindings_n = 1;
        r.bindings[0].source = RL_SOURCE_ENTRA_DEVICE;
        snprintf(r.bindings[0].id, sizeof(r.bindings[0].id), "%s", object);
    }
    return r;
}

/* Transactions of one line. */
struct add {
    uint64_t n;
    const char *object;
};

static inline rl_err apply_add(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct add *a = arg;
    const rl_cert_id id = cert_id(a->n);
    const rl_cert_record r = cert_record(a->object);
    (void)e;
    return rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "scep");
}

static inline void add_cert(rl_store *s, uint64_t n, const char *object)
{
    rl_error e = {0};
    struct add a = {n, object};
    if (rl_store_run(s, apply_add, &a, &e) != RL_OK)
        fail_msg("%s", e.message);
}

struct revoke {
    uint64_t n;
    rl_reason reason;
    int64_t at;
    bool undo;
};

static inline rl_err apply_revoke(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct revoke *r = arg;
    const rl_cert_id id = cert_id(r->n);
    return r->undo ? rl_txn_unrevoke(t, &id, r->at, "admin", e) : rl_txn_revoke(t, &id, r->reason, r->at, "admin", e);
}

/* ---- what is there ---- */
static inline bool exists(rl_store *s, uint64_t n)
{
    rl_cert_status status;
    const rl_cert_id id = cert_id(n);
    return rl_store_cert_status(s, &id, &status) == RL_OK;
}

struct deltas {
    uint64_t next;
    bool contiguous;
};

static inline bool follow_deltas(uint64_t seq, const rl_delta_record *r, void *ctx)
{
    struct deltas *d = ctx;
    (void)r;
    d->contiguous = d->contiguous && seq == d->next;
    d->next = seq + 1;
    return true;
}

/* The log holds numbers 1 to n, and the figures say so. */
static inline void assert_deltas(rl_store *s, uint64_t n)
{
    struct deltas d = {1, true};
    rl_store_figures figures;
    assert_int_equal(rl_store_each_delta(s, 0, follow_deltas, &d), RL_OK);
    assert_true(d.contiguous);
    assert_int_equal(d.next - 1, n);
    rl_store_figures_read(s, &figures);
    assert_int_equal(figures.last_delta, n);
}

#endif
