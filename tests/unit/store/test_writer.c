/* The writer: groups with one sync, transactions that fail alone, writes that fail together and have the database
 * opened anew, the listener before the acknowledgement, and a close that finishes what is queued. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "fixture.h"
#include "store/fault.h"

/* Holds the writer thread until it is let go, so that what is submitted meanwhile becomes one group. */
struct gate {
    sem_t reached, go;
};

static rl_err apply_gate(rl_store_txn *t, void *arg, rl_error *e)
{
    struct gate *g = arg;
    (void)t, (void)e;
    sem_post(&g->reached);
    sem_wait(&g->go);
    return RL_OK;
}

static void close_gate(rl_store *s, struct gate *g)
{
    sem_init(&g->reached, 0, 0);
    sem_init(&g->go, 0, 0);
    assert_int_equal(rl_store_submit(s, apply_gate, NULL, g), RL_OK);
    sem_wait(&g->reached);
}

static void open_gate(struct gate *g)
{
    sem_post(&g->go);
}

/* One submitted transaction and what became of it. Assertions belong to the test's thread: the writer's only notes. */
struct job {
    struct add add;
    bool refuse;      /* fails after it wrote */
    int saw_previous; /* whether it saw certificate add.n - 1: RL_OK or not */
    sem_t done;
    rl_err err;
    char message[RL_ERROR_MESSAGE_MAX];
    int order;
    rl_store *store; /* for who submits it inside an iteration */
};

static atomic_int order;

static rl_err apply_job(rl_store_txn *t, void *arg, rl_error *e)
{
    struct job *j = arg;
    const rl_cert_id previous = cert_id(j->add.n - 1);
    rl_cert_record r;
    j->saw_previous = rl_txn_cert(t, &previous, &r);
    if (j->saw_previous == RL_OK)
        rl_cert_clear(&r);
    RL_TRY(apply_add(t, &j->add, e));
    return j->refuse ? rl_fail(e, RL_EDENIED, "test", "refused %llu", (unsigned long long)j->add.n) : RL_OK;
}

static void job_done(void *arg, rl_err err, const rl_error *e)
{
    struct job *j = arg;
    j->err = err;
    snprintf(j->message, sizeof(j->message), "%s", err == RL_OK ? "" : e->message);
    j->order = ++order;
    sem_post(&j->done);
}

static void submit(rl_store *s, struct job *j, uint64_t n, const char *object, bool refuse)
{
    *j = (struct job){.add = {n, object}, .refuse = refuse};
    sem_init(&j->done, 0, 0);
    assert_int_equal(rl_store_submit(s, apply_job, job_done, j), RL_OK);
}

static void all_that_waits_is_one_group_with_one_sync(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    static struct job jobs[100];
    rl_store_figures before, after;
    rl_store_figures_read(f->store, &before);
    close_gate(f->store, &gate);
    for (uint64_t n = 0; n < 100; n++)
        submit(f->store, &jobs[n], n + 1, NULL, false);
    open_gate(&gate);
    for (int n = 0; n < 100; n++) {
        sem_wait(&jobs[n].done);
        assert_int_equal(jobs[n].err, RL_OK);
        assert_int_equal(jobs[n].saw_previous, n == 0 ? RL_ENOTFOUND : RL_OK); /* the group's earlier writes are seen */
    }
    rl_store_figures_read(f->store, &after);
    assert_int_equal(after.groups - before.groups, 1);
    assert_int_equal(after.commits - before.commits, 101); /* with the gate's own */
    assert_int_equal(after.last_delta - before.last_delta, 100);
}

static void a_transaction_that_fails_is_rolled_back_alone(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    static struct job jobs[30];
    rl_cert_id found;
    close_gate(f->store, &gate);
    for (uint64_t n = 0; n < 30; n++)
        submit(f->store, &jobs[n], n + 1, n % 3 == 1 ? "refused" : "kept", n % 3 == 1);
    open_gate(&gate);
    for (uint64_t n = 0; n < 30; n++) {
        char want[32];
        sem_wait(&jobs[n].done);
        snprintf(want, sizeof(want), "refused %llu", (unsigned long long)n + 1);
        assert_int_equal(jobs[n].err, n % 3 == 1 ? RL_EDENIED : RL_OK);
        assert_string_equal(jobs[n].message, n % 3 == 1 ? want : "");
        assert_int_equal(jobs[n].saw_previous,
                         n == 0 || n % 3 == 2 ? RL_ENOTFOUND : RL_OK); /* not what was taken back */
        assert_int_equal(exists(f->store, n + 1), n % 3 != 1);
    }
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_ENTRA_DEVICE, "refused", &found), RL_ENOTFOUND);
    assert_deltas(f->store, 20); /* without gaps */
    fixture_reopen(f);
    assert_deltas(f->store, 20);
}

/* ---- the listener ---- */
struct heard {
    size_t n, calls;
    uint64_t numbers[100];
    rl_store_event last;
    int order;
    bool visible; /* the write could be read when it was told */
    rl_store *store;
};

static void hear(const rl_store_event *events, size_t n, void *ctx)
{
    struct heard *h = ctx;
    h->calls++;
    h->order = ++order;
    h->visible = true;
    for (size_t i = 0; i < n; i++) {
        h->numbers[h->n++] = cert_number(&events[i].cert);
        h->visible = h->visible && exists(h->store, cert_number(&events[i].cert));
        h->last = events[i];
    }
}

static void a_subscriber_hears_of_each_change_before_the_acknowledgement(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    struct heard heard = {.store = f->store};
    struct job jobs[3];
    rl_error e = {0};
    assert_int_equal(rl_store_subscribe(f->store, hear, &heard), RL_OK);
    close_gate(f->store, &gate);
    submit(f->store, &jobs[0], 1, NULL, false);
    submit(f->store, &jobs[1], 2, NULL, true);
    submit(f->store, &jobs[2], 3, NULL, false);
    open_gate(&gate);
    for (int i = 0; i < 3; i++) {
        sem_wait(&jobs[i].done);
        assert_true(jobs[i].order > heard.order);
    }
    /* new certificates too, and nothing of the one that was taken back */
    assert_int_equal(heard.calls, 1);
    assert_int_equal(heard.n, 2);
    assert_true(heard.numbers[0] == 1 && heard.numbers[1] == 3 && heard.visible);
    struct revoke r = {.n = 3, .reason = RL_REASON_HOLD, .at = 5};
    assert_int_equal(rl_store_run(f->store, apply_revoke, &r, &e), RL_OK);
    assert_true(heard.calls == 2 && heard.n == 3 && heard.numbers[2] == 3);
    r.undo = true;
    assert_int_equal(rl_store_run(f->store, apply_revoke, &r, &e), RL_OK);
    assert_true(heard.calls == 3 && heard.numbers[3] == 3);
    rl_store_unsubscribe(f->store, hear, &heard);
    add_cert(f->store, 4, NULL);
    assert_int_equal(heard.calls, 3);
}

static void an_event_says_what_the_log_says(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {.store = f->store};
    rl_store_figures figures;
    rl_error e = {0};
    assert_int_equal(rl_store_subscribe(f->store, hear, &heard), RL_OK);
    add_cert(f->store, 1, NULL);
    assert_true(heard.last.issued && !heard.last.lost && heard.last.to == RL_STATUS_GOOD);
    assert_string_equal(heard.last.origin, "scep");
    struct revoke r = {.n = 1, .reason = RL_REASON_HOLD, .at = 5};
    assert_int_equal(rl_store_run(f->store, apply_revoke, &r, &e), RL_OK);
    assert_true(!heard.last.issued && heard.last.from == RL_STATUS_GOOD && heard.last.to == RL_STATUS_HOLD);
    r.reason = RL_REASON_SUPERSEDED;
    assert_int_equal(rl_store_run(f->store, apply_revoke, &r, &e), RL_OK);
    assert_true(heard.last.from == RL_STATUS_HOLD && heard.last.to == RL_STATUS_REVOKED);
    assert_true(heard.last.reason == RL_REASON_SUPERSEDED && heard.last.why == RL_WHY_MANUAL);
    assert_string_equal(heard.last.origin, "admin");
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(heard.last.sequence, figures.last_delta);
}

static void subscribers_are_called_in_their_order_and_are_few(void **state)
{
    struct fixture *f = *state;
    struct heard all[RL_SUBSCRIBERS_MAX + 1] = {0};
    for (int i = 0; i < RL_SUBSCRIBERS_MAX; i++) {
        all[i].store = f->store;
        assert_int_equal(rl_store_subscribe(f->store, hear, &all[i]), RL_OK);
    }
    assert_int_equal(rl_store_subscribe(f->store, hear, &all[RL_SUBSCRIBERS_MAX]), RL_ERANGE);
    rl_store_unsubscribe(f->store, hear, &all[1]);
    add_cert(f->store, 1, NULL);
    for (int i = 1; i < RL_SUBSCRIBERS_MAX; i++)
        assert_true(i == 1 ? all[1].calls == 0 : all[i].calls == 1 && all[i].order > all[0].order);
}

/* ---- writes that fail ---- */
static void a_failed_write_fails_everybody_in_it_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    struct job jobs[4];
    rl_error e = {0};
    rl_store_figures before, after;
    add_cert(f->store, 100, NULL);
    rl_store_figures_read(f->store, &before);
    close_gate(f->store, &gate);
    for (uint64_t n = 0; n < 3; n++)
        submit(f->store, &jobs[n], n + 1, "lost", false);
    submit(f->store, &jobs[3], 4, NULL, true);
    rl_store_fail_next_write(f->store);
    open_gate(&gate);
    for (int i = 0; i < 4; i++) {
        sem_wait(&jobs[i].done);
        assert_int_equal(jobs[i].err, i == 3 ? RL_EDENIED : RL_EIO); /* who had failed before keeps its own reason */
        assert_false(exists(f->store, (uint64_t)i + 1));
    }
    rl_store_figures_read(f->store, &after);
    assert_int_equal(after.groups, before.groups);
    assert_int_equal(after.commits, before.commits + 1); /* the gate's */
    assert_int_equal(after.last_delta, before.last_delta);
    struct add taken = {100, NULL};
    assert_int_equal(rl_store_run(f->store, apply_add, &taken, &e), RL_EEXISTS);
    add_cert(f->store, 1, NULL);
    assert_int_equal(rl_store_check(f->store, &e), RL_OK);
    assert_deltas(f->store, 2);
    fixture_reopen(f);
    assert_deltas(f->store, 2);
    assert_false(exists(f->store, 2));
}

static void of_a_failed_write_a_subscriber_hears_before_the_acknowledgement(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {.store = f->store};
    struct job job;
    assert_int_equal(rl_store_subscribe(f->store, hear, &heard), RL_OK);
    rl_store_fail_next_write(f->store);
    submit(f->store, &job, 1, NULL, false);
    sem_wait(&job.done);
    assert_int_equal(job.err, RL_EIO);
    assert_true(heard.calls == 1 && heard.n == 1 && heard.numbers[0] == 1 && heard.last.lost);
    assert_true(job.order > heard.order);
}

/* After a failed write the database is closed and opened anew: readers notice nothing. */
struct reader {
    rl_store *store;
    atomic_bool *stop;
    size_t reads, failed;
};

static bool count_cert(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct reader *reader = ctx;
    (void)r;
    reader->failed += !exists(reader->store, cert_number(id)); /* a read inside an iteration */
    return true;
}

static void *read_on(void *arg)
{
    struct reader *r = arg;
    do {
        rl_store_figures figures;
        rl_store_figures_read(r->store, &figures);
        r->failed += rl_store_each_cert(r->store, NULL, count_cert, r) != RL_OK;
        r->failed += !exists(r->store, 1);
        r->reads++;
    } while (!atomic_load(r->stop));
    return NULL;
}

static void readers_go_on_while_the_database_is_opened_anew(void **state)
{
    struct fixture *f = *state;
    enum { READERS = 3 };
    pthread_t threads[READERS];
    struct reader readers[READERS];
    struct add lost = {2, NULL};
    rl_error e = {0};
    atomic_bool stop = false;
    add_cert(f->store, 1, NULL);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.store = f->store, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    rl_store_fail_next_write(f->store);
    rl_err err = rl_store_run(f->store, apply_add, &lost, &e);
    while (rl_store_check(f->store, &e) != RL_OK)
        sched_yield();
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(readers[i].reads > 0);
        assert_int_equal(readers[i].failed, 0);
    }
    assert_int_equal(err, RL_EIO);
    add_cert(f->store, 2, NULL);
    assert_deltas(f->store, 2);
}

static bool write_inside(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct job *j = ctx;
    (void)id, (void)r;
    rl_store_fail_next_write(j->store);
    j->err = rl_store_run(j->store, apply_add, &j->add, NULL);
    return false;
}

static void a_reader_that_waits_for_a_write_is_not_waited_for_in_turn(void **state)
{
    struct fixture *f = *state;
    struct job job = {.add = {2, NULL}, .store = f->store};
    rl_error e = {0};
    add_cert(f->store, 1, NULL);
    assert_int_equal(rl_store_each_cert(f->store, NULL, write_inside, &job), RL_OK);
    assert_int_equal(job.err, RL_EIO);
    while (rl_store_check(f->store, &e) != RL_OK)
        sched_yield();
    add_cert(f->store, 2, NULL);
    assert_deltas(f->store, 2);
}

/* ---- many threads, and closing ---- */
enum { THREADS = 8, EACH = 50 };

static void *add_some(void *arg)
{
    struct {
        rl_store *store;
        uint64_t first;
        size_t failed;
    } *work = arg;
    for (uint64_t n = work->first; n < work->first + EACH; n++) {
        struct add a = {n, "shared"};
        const rl_cert_id id = cert_id(n);
        rl_cert_status status;
        if (rl_store_run(work->store, apply_add, &a, NULL) != RL_OK ||
            rl_store_cert_status(work->store, &id, &status) != RL_OK)
            work->failed++; /* acknowledged, and so to be read by whoever asks */
    }
    return NULL;
}

static void threads_submit_and_read_at_once(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[THREADS];
    struct {
        rl_store *store;
        uint64_t first;
        size_t failed;
    } work[THREADS];
    rl_store_figures figures;
    for (size_t i = 0; i < THREADS; i++) {
        work[i].store = f->store;
        work[i].first = 1 + i * EACH;
        work[i].failed = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, add_some, &work[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].failed, 0);
    }
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.commits, THREADS * EACH);
    assert_true(figures.groups <= figures.commits);
    assert_deltas(f->store, THREADS * EACH);
}

static void *close_store(void *store)
{
    rl_store_close(store);
    return NULL;
}

static void closing_finishes_what_is_queued_and_takes_no_more(void **state)
{
    struct fixture *f = *state;
    struct gate gate;
    static struct job jobs[50];
    struct job late = {0};
    pthread_t closer;
    rl_error e = {0};
    rl_err refused;
    close_gate(f->store, &gate);
    for (uint64_t n = 0; n < 50; n++)
        submit(f->store, &jobs[n], n + 1, NULL, false);
    assert_int_equal(pthread_create(&closer, NULL, close_store, f->store), 0);
    do { /* until the other thread has begun to close; whatever is still taken is finished too */
        static struct job extra[100000];
        static size_t n;
        assert_true(n < 100000);
        extra[n].add.n = 1000 + n;
        sem_init(&extra[n].done, 0, 0);
        refused = rl_store_submit(f->store, apply_job, job_done, &extra[n]);
        n++;
        sched_yield();
    } while (refused == RL_OK);
    assert_int_equal(refused, RL_ECANCELED);
    assert_int_equal(rl_store_run(f->store, apply_job, &late, &e), RL_ECANCELED);
    assert_string_equal(e.message, "the database takes no more writes: canceled");
    open_gate(&gate);
    pthread_join(closer, NULL);
    f->store = NULL;
    for (int n = 0; n < 50; n++) {
        assert_int_equal(sem_trywait(&jobs[n].done), 0); /* acknowledged before close returned */
        assert_int_equal(jobs[n].err, RL_OK);
    }
    fixture_open(f);
    for (uint64_t n = 1; n <= 50; n++)
        assert_true(exists(f->store, n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(all_that_waits_is_one_group_with_one_sync),
        WITH_STORE(a_transaction_that_fails_is_rolled_back_alone),
        WITH_STORE(a_subscriber_hears_of_each_change_before_the_acknowledgement),
        WITH_STORE(an_event_says_what_the_log_says),
        WITH_STORE(subscribers_are_called_in_their_order_and_are_few),
        WITH_STORE(a_failed_write_fails_everybody_in_it_and_leaves_nothing),
        WITH_STORE(of_a_failed_write_a_subscriber_hears_before_the_acknowledgement),
        WITH_STORE(readers_go_on_while_the_database_is_opened_anew),
        WITH_STORE(a_reader_that_waits_for_a_write_is_not_waited_for_in_turn),
        WITH_STORE(threads_submit_and_read_at_once),
        WITH_STORE(closing_finishes_what_is_queued_and_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
