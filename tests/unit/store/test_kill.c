/* An acknowledged transaction survives kill -9, and what is found afterwards is whole: a child process issues and
 * revokes certificates and reports each acknowledgement through a pipe; it is killed at a random instant; the database
 * is opened again and compared. Twenty rounds over one database, from one seed (argument or REVLINE_KILL_SEED). */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "fixture.h"

enum { ROUNDS = 20, WORKERS = 4, PER_ROUND = 1000000, ISSUED = 1, REVOKED = 2 };

/* What the child reports: certificate number and what was acknowledged. Smaller than PIPE_BUF: each is whole. */
struct report {
    uint64_t n;
    uint64_t what;
};

/* ---- the child ---- */
struct worker {
    rl_store *store;
    uint64_t first;
};

static void report(uint64_t n, uint64_t what)
{
    const struct report r = {n, what};
    if (write(1, &r, sizeof(r)) != sizeof(r))
        _exit(3);
}

/* Issues and then revokes every other certificate; each bound to one of ten devices. */
static void *work(void *arg)
{
    const struct worker *w = arg;
    for (uint64_t n = w->first;; n++) {
        char device[16];
        snprintf(device, sizeof(device), "device-%d", (int)(n % 10));
        struct add a = {n, device};
        if (rl_store_run(w->store, apply_add, &a, NULL) != RL_OK)
            _exit(2);
        report(n, ISSUED);
        if (n % 2 == 0)
            continue;
        struct revoke r = {.n = n, .reason = RL_REASON_SUPERSEDED, .at = 5000};
        if (rl_store_run(w->store, apply_revoke, &r, NULL) != RL_OK)
            _exit(2);
        report(n, REVOKED);
    }
    return NULL;
}

static int child(const char *dir, uint64_t first)
{
    static struct worker workers[WORKERS];
    pthread_t thread;
    rl_store *s;
    if (rl_store_open(dir, &s, NULL) != RL_OK)
        return 1;
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){s, first + i * (PER_ROUND / WORKERS)};
        if (pthread_create(&thread, NULL, work, &workers[i]) != 0)
            return 1;
    }
    for (;;)
        pause();
}

/* ---- the parent: what was acknowledged so far, in all rounds ---- */
struct known {
    struct report *all;
    size_t n, cap;
};

static void remember(struct known *k, const struct report *r)
{
    if (k->n == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 1024;
        k->all = realloc(k->all, k->cap * sizeof(*k->all));
        assert_non_null(k->all);
    }
    k->all[k->n++] = *r;
}

/* Lets a child run, kills it after `acks` acknowledgements and `microseconds` more, and reads what it had reported. */
static void run_and_kill(const char *dir, uint64_t first, unsigned acks, unsigned microseconds, struct known *k)
{
    int ends[2], status;
    char number[24];
    struct report r;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)first);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "child", "--child", dir, number, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (unsigned i = 0; i < acks && read(ends[0], &r, sizeof(r)) == sizeof(r); i++)
        remember(k, &r);
    usleep(microseconds); /* not a synchronisation: any instant will do */
    kill(pid, SIGKILL);
    while (read(ends[0], &r, sizeof(r)) == sizeof(r))
        remember(k, &r);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it did not end by itself */
}

/* ---- what must hold ---- */
struct count {
    rl_store *store;
    uint64_t certs, revoked, next_delta, issued_deltas, status_deltas;
    bool wrong;
};

static bool check_cert(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct count *c = ctx;
    rl_buf der = {0};
    char device[16];
    snprintf(device, sizeof(device), "device-%d", (int)(cert_number(id) % 10));
    c->certs++;
    c->revoked += r->status == RL_STATUS_REVOKED;
    c->wrong = c->wrong || rl_store_der(c->store, id, &der) != RL_OK || r->bindings_n != 1 ||
               strcmp(r->bindings[0].id, device) != 0 ||
               (r->status != RL_STATUS_GOOD && (r->status != RL_STATUS_REVOKED || r->revoked_at != 5000));
    rl_buf_free(&der);
    return true;
}

static bool check_revoked(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx)
{
    struct count *c = ctx;
    rl_cert_status status;
    c->wrong = c->wrong || rl_store_cert_status(c->store, id, &status) != RL_OK || status.status != RL_STATUS_REVOKED ||
               revoked_at != 5000 || reason != RL_REASON_SUPERSEDED;
    c->revoked++;
    return true;
}

static bool check_delta(uint64_t seq, const rl_delta_record *r, void *ctx)
{
    struct count *c = ctx;
    rl_cert_status status;
    c->wrong = c->wrong || seq != c->next_delta || rl_store_cert_status(c->store, &r->cert, &status) != RL_OK ||
               (r->kind == RL_DELTA_STATUS && status.status != RL_STATUS_REVOKED);
    c->next_delta = seq + 1;
    c->issued_deltas += r->kind == RL_DELTA_ISSUED;
    c->status_deltas += r->kind == RL_DELTA_STATUS;
    return true;
}

static rl_err count_binding(rl_store_txn *t, const rl_cert_id *cert, void *ctx)
{
    rl_cert_record r;
    RL_TRY(rl_txn_cert(t, cert, &r)); /* none that points nowhere */
    rl_cert_clear(&r);
    ++*(uint64_t *)ctx;
    return RL_OK;
}

static rl_err apply_count_bindings(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)e;
    for (int i = 0; i < 10; i++) {
        char device[16];
        snprintf(device, sizeof(device), "device-%d", i);
        RL_TRY(rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, device, count_binding, arg));
    }
    return RL_OK;
}

static void check(rl_store *s, const struct known *k)
{
    struct count c = {.store = s, .next_delta = 1}, revoked = {.store = s};
    uint64_t bindings = 0;
    rl_store_figures figures;
    for (size_t i = 0; i < k->n; i++) {
        const rl_cert_id id = cert_id(k->all[i].n);
        rl_cert_status status;
        if (rl_store_cert_status(s, &id, &status) != RL_OK ||
            (k->all[i].what == REVOKED && status.status != RL_STATUS_REVOKED))
            fail_msg("certificate %llu: an acknowledged change is lost", (unsigned long long)k->all[i].n);
    }
    assert_int_equal(rl_store_each_cert(s, NULL, check_cert, &c), RL_OK);
    assert_int_equal(rl_store_each_revoked(s, 1, check_revoked, &revoked), RL_OK);
    assert_int_equal(rl_store_each_delta(s, 0, check_delta, &c), RL_OK);
    assert_int_equal(rl_store_run(s, apply_count_bindings, &bindings, NULL), RL_OK);
    rl_store_figures_read(s, &figures);
    assert_false(c.wrong);
    assert_false(revoked.wrong);
    assert_int_equal(revoked.revoked, c.revoked);
    assert_int_equal(c.issued_deltas, c.certs);
    assert_int_equal(c.status_deltas, c.revoked);
    assert_int_equal(bindings, c.certs);
    assert_int_equal(figures.last_delta, c.next_delta - 1);
    assert_int_equal(c.certs + c.revoked, c.next_delta - 1);
}

static unsigned seed;

static void acknowledged_changes_survive_kill_and_the_families_agree(void **state)
{
    struct fixture *f = *state;
    struct known k = {0};
    unsigned random = seed;
    print_message("seed %u\n", seed);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        unsigned acks = (unsigned)rand_r(&random) % 30, microseconds = (unsigned)rand_r(&random) % 20000;
        run_and_kill(f->dir, (round + 1) * PER_ROUND, acks, microseconds, &k);
        fixture_open(f);
        check(f->store, &k);
        rl_store_close(f->store);
        f->store = NULL;
    }
    assert_true(k.n > ROUNDS);
    print_message("%zu acknowledged changes\n", k.n);
    free(k.all);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--child") == 0) {
        rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
        return child(argv[2], strtoull(argv[3], NULL, 10));
    }
    const char *given = argc == 2 ? argv[1] : getenv("REVLINE_KILL_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : 20260105;
    const struct CMUnitTest tests[] = {WITH_FOLDER(acknowledged_changes_survive_kill_and_the_families_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
