/* Two groups at a time: one is written while the next one runs, sees what is not in the database yet, and is written
 * after it, or not at all. */
#include <pthread.h>
#include <semaphore.h>

#include "fixture.h"
#include "store/fault.h"

/* ---- a write that is held up ---- */
struct held_write {
    sem_t reached, go;
    bool released;
};

static void hold(void *ctx)
{
    struct held_write *h = ctx;
    if (h->released)
        return;
    sem_post(&h->reached);
    sem_wait(&h->go);
    h->released = true;
}

static void release(struct held_write *h)
{
    sem_post(&h->go);
}

/* A transaction, and what became of it. */
struct job {
    rl_err (*apply)(rl_store_txn *t, void *arg, rl_error *e);
    void *arg;
    sem_t ran, done;
    rl_err says, err; /* the transaction; what its submitter gets */
};

static rl_err run_job(rl_store_txn *t, void *arg, rl_error *e)
{
    struct job *j = arg;
    j->says = j->apply(t, j->arg, e);
    sem_post(&j->ran);
    return j->says;
}

static void job_done(void *arg, rl_err err, const rl_error *e)
{
    struct job *j = arg;
    (void)e;
    j->err = err;
    sem_post(&j->done);
}

static void submit(rl_store *s, struct job *j, rl_store_apply apply, void *arg)
{
    *j = (struct job){.apply = apply, .arg = arg};
    sem_init(&j->ran, 0, 0);
    sem_init(&j->done, 0, 0);
    assert_int_equal(rl_store_submit(s, run_job, job_done, j), RL_OK);
}

/* The first job's group is about to be written and is not let go. */
static void submit_held(rl_store *s, struct held_write *h, struct job *j, rl_store_apply apply, void *arg)
{
    *h = (struct held_write){0};
    sem_init(&h->reached, 0, 0);
    sem_init(&h->go, 0, 0);
    rl_store_before_write(s, hold, h);
    submit(s, j, apply, arg);
    sem_wait(&h->reached);
}

static void assert_done(struct job *j, rl_err err)
{
    sem_wait(&j->done);
    assert_int_equal(j->err, err);
}

/* ---- what is seen ---- */
static rl_err revoke_what_is_not_written(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_cert_id found;
    const struct revoke r = {.n = 1, .reason = RL_REASON_SUPERSEDED, .at = 5};
    RL_TRY(rl_txn_binding_first(t, RL_SOURCE_ENTRA_DEVICE, arg, &found));
    return cert_number(&found) == 1 ? apply_revoke(t, (void *)(uintptr_t)&r, e) : RL_ECORRUPT;
}

static void a_transaction_builds_on_what_is_being_written(void **state)
{
    struct fixture *f = *state;
    struct held_write h;
    struct job adds, revokes;
    rl_cert_status status;
    const rl_cert_id id = cert_id(1);
    submit_held(f->store, &h, &adds, apply_add, &(struct add){1, "device"});
    submit(f->store, &revokes, revoke_what_is_not_written, "device");
    sem_wait(&revokes.ran);
    const bool there = exists(f->store, 1);
    release(&h);
    assert_int_equal(revokes.says, RL_OK);
    assert_false(there); /* neither was */
    assert_done(&adds, RL_OK);
    assert_done(&revokes, RL_OK);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_REVOKED);
    assert_deltas(f->store, 2);
    fixture_reopen(f);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_REVOKED);
    assert_deltas(f->store, 2);
}

/* Objects and bindings, put and deleted at random in three groups: one is in the database, one is being written, one
 * runs. What the third sees is compared with what a table of them says. */
enum { NAMES = 40, CERTS = 6, STEPS = 60, ROUNDS = 8 };

struct world {
    uint32_t dice;
    bool has_object[NAMES];
    uint64_t stamp[NAMES]; /* of the object that is there */
    bool bound[NAMES][CERTS];
    uint64_t next_stamp;
    bool wrong; /* what was seen differs from this */
};

static uint32_t throw_dice(struct world *w, uint32_t sides)
{
    w->dice = w->dice * 1664525u + 1013904223u;
    return (w->dice >> 16) % sides;
}

/* Some are the beginning of others. */
static const char *name_of(size_t i)
{
    static char names[NAMES][16];
    snprintf(names[i], sizeof(names[i]), i % 2 ? "device-%zu-x" : "device-%zu", i / 2);
    return names[i];
}

static rl_err step(rl_store_txn *t, struct world *w)
{
    const size_t i = throw_dice(w, NAMES), c = throw_dice(w, CERTS);
    const rl_cert_id id = cert_id(c + 1);
    const rl_object_record o = {.exists = true, .enabled = true, .generation = ++w->next_stamp};
    switch (throw_dice(w, 4)) {
    case 0:
        w->has_object[i] = true;
        w->stamp[i] = o.generation;
        return rl_txn_put_object(t, RL_SOURCE_ENTRA_DEVICE, name_of(i), &o);
    case 1:
        w->has_object[i] = false;
        return rl_txn_delete_object(t, RL_SOURCE_ENTRA_DEVICE, name_of(i));
    case 2:
        w->bound[i][c] = true;
        return rl_txn_put_binding(t, RL_SOURCE_ENTRA_DEVICE, name_of(i), &id);
    default:
        w->bound[i][c] = false;
        return rl_txn_delete_binding(t, RL_SOURCE_ENTRA_DEVICE, name_of(i), &id);
    }
}

static rl_err some_steps(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)e;
    for (int i = 0; i < STEPS; i++)
        RL_TRY(step(t, arg));
    return RL_OK;
}

struct seen {
    size_t objects;
    bool in_order;
    char last[16];
    struct world *world;
    bool bound[NAMES][CERTS];
};

static rl_err see_object(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    struct seen *s = ctx;
    (void)t;
    s->in_order = s->in_order && strcmp(s->last, id) < 0;
    snprintf(s->last, sizeof(s->last), "%s", id);
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(name_of(i), id) == 0)
            s->objects += s->world->has_object[i] && s->world->stamp[i] == r->generation;
    return RL_OK;
}

struct look {
    struct seen *seen;
    size_t name;
};

static rl_err see_binding(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    const struct look *l = ctx;
    (void)t;
    l->seen->bound[l->name][cert_number(cert) - 1] = true;
    return RL_OK;
}

static rl_err compare_objects(rl_store_txn *t, struct world *w, bool ahead)
{
    rl_object_id ids[NAMES];
    size_t n = 0;
    struct seen seen = {.in_order = true, .world = w};
    for (size_t i = 0; i < NAMES; i++)
        ids[i] = (rl_object_id){RL_SOURCE_ENTRA_DEVICE, name_of(i)};
    if (ahead)
        rl_txn_expect_objects(t, ids, NAMES);
    for (size_t i = 0; i < NAMES; i++) {
        rl_object_record o;
        rl_err err = rl_txn_object(t, RL_SOURCE_ENTRA_DEVICE, name_of(i), &o);
        w->wrong |= (err == RL_OK) != w->has_object[i] || (err == RL_OK && o.generation != w->stamp[i]);
        n += w->has_object[i];
    }
    RL_TRY(rl_txn_each_object(t, RL_SOURCE_ENTRA_DEVICE, "", see_object, &seen));
    w->wrong |= !seen.in_order || seen.objects != n;
    return RL_OK;
}

static rl_err compare_bindings(rl_store_txn *t, struct world *w)
{
    struct seen one = {0}, together = {0};
    struct look looks[2][NAMES];
    rl_binding_look all[NAMES];
    for (size_t i = 0; i < NAMES; i++) {
        looks[0][i] = (struct look){&one, i};
        looks[1][i] = (struct look){&together, i};
        all[i] = (rl_binding_look){RL_SOURCE_ENTRA_DEVICE, name_of(i), &looks[1][i]};
        RL_TRY(rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, name_of(i), see_binding, &looks[0][i]));
    }
    RL_TRY(rl_txn_each_binding_of(t, all, NAMES, see_binding));
    w->wrong |= memcmp(one.bound, w->bound, sizeof(one.bound)) != 0;
    w->wrong |= memcmp(together.bound, w->bound, sizeof(together.bound)) != 0;
    return RL_OK;
}

static rl_err compare_all(rl_store_txn *t, void *arg, rl_error *e)
{
    struct world *w = arg;
    (void)e;
    RL_TRY(compare_objects(t, w, throw_dice(w, 2)));
    return compare_bindings(t, w);
}

static rl_err steps_and_looks(rl_store_txn *t, void *arg, rl_error *e)
{
    RL_TRY(compare_all(t, arg, e));
    RL_TRY(some_steps(t, arg, e));
    return compare_all(t, arg, e);
}

static void all_that_is_being_written_is_seen_in_its_order(void **state)
{
    struct fixture *f = *state;
    struct world *w = calloc(1, sizeof(*w));
    w->dice = 20261130;
    for (int round = 0; round < ROUNDS; round++) {
        struct held_write h;
        struct job writes, looks;
        rl_error e = {0};
        assert_int_equal(rl_store_run(f->store, some_steps, w, &e), RL_OK);
        submit_held(f->store, &h, &writes, some_steps, w);
        submit(f->store, &looks, steps_and_looks, w);
        sem_wait(&looks.ran);
        release(&h);
        assert_int_equal(looks.says, RL_OK);
        assert_false(w->wrong);
        assert_done(&writes, RL_OK);
        assert_done(&looks, RL_OK);
        assert_int_equal(rl_store_run(f->store, compare_all, w, &e), RL_OK);
        assert_false(w->wrong);
        if (round == ROUNDS / 2)
            fixture_reopen(f);
    }
    free(w);
}

/* Which is what makes an answer not the certificate's any more. */
static rl_err put_answer(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cert_id id = cert_id(*(const uint64_t *)arg);
    const rl_response_record r = {.maker = RL_SPAN_LIT("test"),
                                  .this_update = 1,
                                  .next_update = 4000000000,
                                  .serve_until = 4000000000,
                                  .headers = RL_SPAN_LIT("h"),
                                  .body = RL_SPAN_LIT("good")};
    (void)e;
    return rl_txn_put_response(t, &id, &r);
}

static void no_answer_is_kept_while_its_certificate_is_being_written(void **state)
{
    struct fixture *f = *state;
    struct held_write h;
    struct job revokes, saves, saves_other;
    uint64_t one = 1, two = 2;
    rl_buf memory = {0};
    rl_response_record r;
    const rl_cert_id id = cert_id(1);
    add_cert(f->store, 1, NULL);
    add_cert(f->store, 2, NULL);
    submit_held(f->store, &h, &revokes, apply_revoke, &(struct revoke){.n = 1, .reason = RL_REASON_HOLD, .at = 5});
    submit(f->store, &saves, put_answer, &one);
    submit(f->store, &saves_other, put_answer, &two);
    sem_wait(&saves_other.ran);
    release(&h);
    assert_int_equal(saves.says, RL_EBUSY);
    assert_int_equal(saves_other.says, RL_OK);
    assert_done(&revokes, RL_OK);
    assert_done(&saves, RL_EBUSY);
    assert_done(&saves_other, RL_OK);
    assert_int_equal(rl_store_response(f->store, &id, &memory, &r), RL_ENOTFOUND);
    rl_buf_free(&memory);
}

/* ---- groups ---- */
static void what_comes_while_a_group_is_written_is_one_group(void **state)
{
    struct fixture *f = *state;
    struct held_write h;
    static struct job jobs[100];
    static struct add adds[100];
    struct job first;
    rl_store_figures before, after;
    rl_store_figures_read(f->store, &before);
    submit_held(f->store, &h, &first, apply_add, &(struct add){1000, NULL});
    for (uint64_t n = 0; n < 100; n++) { /* each when the one before has run: none waits with it */
        adds[n] = (struct add){n + 1, NULL};
        submit(f->store, &jobs[n], apply_add, &adds[n]);
        sem_wait(&jobs[n].ran);
    }
    release(&h);
    assert_done(&first, RL_OK);
    for (size_t n = 0; n < 100; n++)
        assert_done(&jobs[n], RL_OK);
    rl_store_figures_read(f->store, &after);
    assert_int_equal(after.groups - before.groups, 2);
    assert_int_equal(after.commits - before.commits, 101);
    assert_deltas(f->store, 101);
}

static rl_err nothing(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)t, (void)arg, (void)e;
    return RL_OK;
}

/* Also of those who have only looked, or were refused for what they saw. */
static void behind_a_write_that_fails_nothing_counts(void **state)
{
    struct fixture *f = *state;
    struct held_write h;
    struct job adds, revokes, looks, again;
    rl_store_figures before, after;
    add_cert(f->store, 1000, NULL);
    rl_store_figures_read(f->store, &before);
    submit_held(f->store, &h, &adds, apply_add, &(struct add){1, "device"});
    submit(f->store, &revokes, revoke_what_is_not_written, "device");
    submit(f->store, &looks, nothing, NULL);
    submit(f->store, &again, apply_add, &(struct add){1, "device"});
    sem_wait(&again.ran);
    rl_store_fail_next_write(f->store);
    release(&h);
    assert_int_equal(revokes.says, RL_OK);
    assert_int_equal(again.says, RL_EEXISTS);
    assert_done(&adds, RL_EIO);
    assert_done(&revokes, RL_EIO);
    assert_done(&looks, RL_EIO);
    assert_done(&again, RL_EIO);
    assert_false(exists(f->store, 1));
    rl_store_figures_read(f->store, &after);
    assert_int_equal(after.last_delta, before.last_delta);
    assert_int_equal(after.commits, before.commits);
    add_cert(f->store, 1, "device");
    assert_deltas(f->store, 2);
    fixture_reopen(f);
    assert_deltas(f->store, 2);
}

static void *close_store(void *store)
{
    rl_store_close(store);
    return NULL;
}

static void closing_finishes_both_groups(void **state)
{
    struct fixture *f = *state;
    struct held_write h;
    struct job first, second;
    pthread_t closer;
    submit_held(f->store, &h, &first, apply_add, &(struct add){1, NULL});
    submit(f->store, &second, apply_add, &(struct add){2, NULL});
    sem_wait(&second.ran);
    pthread_create(&closer, NULL, close_store, f->store);
    release(&h);
    pthread_join(closer, NULL);
    assert_done(&first, RL_OK);
    assert_done(&second, RL_OK);
    fixture_open(f);
    assert_true(exists(f->store, 1) && exists(f->store, 2));
    assert_deltas(f->store, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_transaction_builds_on_what_is_being_written),
        WITH_STORE(all_that_is_being_written_is_seen_in_its_order),
        WITH_STORE(no_answer_is_kept_while_its_certificate_is_being_written),
        WITH_STORE(what_comes_while_a_group_is_written_is_one_group),
        WITH_STORE(behind_a_write_that_fails_nothing_counts),
        WITH_STORE(closing_finishes_both_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
