/* The guard: compares mass changes with the limit, applies those that were released, and looks for new devices that no
 * directory has come to know. Sync loop only, but for what is marked as the pool's or the writer's.
 *
 *   begin → a change is due: (count) → decide → a change is released: apply, apply … → (search) → weigh, weigh … → rest
 *
 * What it has to do is in the database, so after a crash it goes on where it stopped. Counting and searching read every
 * certificate, on the work pool: the one when a round was large, the other once in REVLINE_SYNC_FULL_INTERVAL and
 * whenever it was woken. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "sync/brake.h"
#include "sync/source.h"

#define NAME "guard"
/* Certificates of one transaction, of one search, and between two looks whether to stop. */
enum { WEIGHED_AT_ONCE = 500, FOUND_MAX = 10000, READ_AT_ONCE = 10000 };

/* The pool's while it works. */
struct counting {
    bool (*governs)(rl_store *store, const rl_cert_record *cert);
    uint64_t enough, valid;
};
struct search {
    int64_t issued_before;
    rl_cert_id found[FOUND_MAX];
    size_t n;
};

typedef struct guard {
    rl_sync_source base;
    void (*committed)(struct guard *g); /* what follows on the transaction under way */
    bool searched;                      /* in this round */

    uv_work_t work;
    bool (*look)(struct guard *g, const rl_cert_id *id, const rl_cert_record *cert); /* false: it is enough */
    int64_t now;
    bool enough;
    size_t read; /* since it was last looked whether to stop */
    rl_cert_id at;
    rl_err read_err;
    struct counting counting;
    struct search search;

    rl_decision decision;
    rl_release release;
    rl_weigher weigher;
    size_t weighed; /* of the search's */
    bool due;
} guard;

static void go_on(guard *g);

/* ---- reading every certificate ---- */
static bool take_one(const rl_cert_id *id, const rl_cert_record *cert, void *ctx)
{
    guard *g = ctx;
    g->at = *id;
    g->read++;
    g->enough = !g->look(g, id, cert);
    return !g->enough && g->read < READ_AT_ONCE;
}

static bool is_stopping(rl_sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    bool stop = sync->stop;
    pthread_mutex_unlock(&sync->lock);
    return stop;
}

/* Work pool. */
static void read_all(uv_work_t *work)
{
    guard *g = work->data;
    rl_sync *sync = g->base.sync;
    bool first = true;
    do {
        g->read = 0;
        g->read_err = rl_store_each_cert(sync->store, first ? NULL : &g->at, take_one, g);
        first = false;
    } while (g->read_err == RL_OK && !g->enough && g->read == READ_AT_ONCE && !is_stopping(sync));
}

static void start_reading(guard *g, bool (*look)(guard *g, const rl_cert_id *id, const rl_cert_record *cert),
                          uv_after_work_cb then)
{
    g->work.data = g;
    g->look = look;
    g->now = rl_wall_s();
    g->enough = false;
    rl_source_enter(&g->base, RL_AT_READ);
    if (uv_queue_work(&g->base.sync->loop, &g->work, read_all, then) != 0)
        rl_source_failed(&g->base, "out of memory", -1);
}

/* False: there is nothing to go on with. */
static bool have_read(guard *g)
{
    if (g->base.sync->closing)
        return false;
    if (g->read_err != RL_OK)
        rl_source_failed(&g->base, "the certificates cannot be read", -1);
    return g->read_err == RL_OK;
}

static bool is_valid(const guard *g, const rl_cert_record *cert)
{
    return cert->status == RL_STATUS_GOOD && cert->not_after > g->now;
}

/* ---- transactions ---- */
static void commit(guard *g, rl_store_apply apply, void (*then)(guard *g))
{
    g->committed = then;
    if (rl_source_commit(&g->base, apply) != RL_OK)
        rl_source_failed(&g->base, "the database takes no more writes", -1);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    guard *g = (guard *)source;
    if (err != RL_OK) {
        rl_source_failed(source, e->message, -1);
        return;
    }
    source->attempts = 0;
    g->committed(g);
}

/* ---- due: compared with the limit ---- */
/* Writer thread. */
static rl_err apply_decision(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_brake_decide(t, &((guard *)arg)->decision, e);
}

static void decided(guard *g)
{
    const rl_decision *d = &g->decision;
    if (d->to == RL_CHANGE_HELD && d->result.state == RL_CHANGE_HELD)
        log_warn("sync.held", "source", d->result.source, "change", d->change, "certificates", d->result.certificates,
                 "help", "revline sync hold");
    go_on(g);
}

static void decide(guard *g)
{
    g->decision.to = g->counting.valid >= g->counting.enough ? RL_CHANGE_RELEASED : RL_CHANGE_HELD;
    g->decision.now = rl_wall_s();
    commit(g, apply_decision, decided);
}

/* Work pool. */
static bool count(guard *g, const rl_cert_id *id, const rl_cert_record *cert)
{
    struct counting *c = &g->counting;
    (void)id;
    if (is_valid(g, cert) && (c->governs ? c->governs(g->base.sync->store, cert) : cert->bindings_n > 0))
        c->valid++;
    return c->valid < c->enough;
}

static void counted(uv_work_t *work, int status)
{
    guard *g = work->data;
    (void)status; /* nobody cancels it */
    if (have_read(g))
        decide(g);
}

static const rl_sync_source *source_named(const rl_sync *sync, const char *name)
{
    for (size_t i = 0; i < sync->n; i++)
        if (strcmp(sync->sources[i]->name, name) == 0)
            return sync->sources[i];
    return NULL;
}

static void compare(guard *g, uint64_t id, const rl_change_record *r)
{
    const rl_sync *sync = g->base.sync;
    const rl_sync_source *source = source_named(sync, r->source);
    g->counting = (struct counting){.governs = source ? source->governs : NULL,
                                    .enough = rl_brake_enough(sync->settings->sync.mass_limit, r->certificates)};
    g->decision = (rl_decision){.change = id, .who = "sync:" NAME, .if_due = true};
    if (g->counting.enough > 0 && g->counting.enough < UINT64_MAX)
        start_reading(g, count, counted);
    else
        decide(g);
}

/* ---- released: applied ---- */
/* Writer thread. */
static rl_err apply_release(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_brake_release(t, &((guard *)arg)->release, e);
}

static void release_on(guard *g);

static void released(guard *g)
{
    if (!g->release.done) {
        release_on(g);
        return;
    }
    rl_source_count(&g->base, 0, 0, g->release.changed);
    go_on(g);
}

static void release_on(guard *g)
{
    g->release.now = rl_wall_s();
    commit(g, apply_release, released);
}

/* ---- new devices ---- */
/* Writer thread. */
static rl_err apply_search(rl_store_txn *t, void *arg, rl_error *e)
{
    guard *g = arg;
    size_t end = g->weighed + WEIGHED_AT_ONCE < g->search.n ? g->weighed + WEIGHED_AT_ONCE : g->search.n;
    const rl_brake_round round = {
        .source = NAME, .complete = end == g->search.n, .raise_before = g->weigher.now - g->base.interval / 1000};
    rl_err err = RL_OK;
    g->weigher.worse = rl_brake_worse(g->base.sync->settings);
    for (size_t i = g->weighed; err == RL_OK && i < end; i++)
        err = rl_weigh_stored(t, &g->weigher, &g->search.found[i], NULL, NULL);
    if (err == RL_OK)
        err = rl_brake_settle(t, &g->weigher, &round, &g->due);
    rl_weigher_clear(&g->weigher);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "certificates cannot be weighed: %s", rl_err_name(err));
}

static void weigh_on(guard *g);

static void weighed(guard *g)
{
    size_t n = g->search.n - g->weighed < WEIGHED_AT_ONCE ? g->search.n - g->weighed : WEIGHED_AT_ONCE;
    g->weighed += n;
    rl_source_count(&g->base, 1, n, g->weigher.changed);
    if (g->weighed < g->search.n)
        weigh_on(g);
    else
        go_on(g);
}

static void weigh_on(guard *g)
{
    g->weigher = (rl_weigher){.settings = g->base.sync->settings, .origin = "sync:" NAME, .now = rl_wall_s()};
    commit(g, apply_search, weighed);
}

static bool is_known(rl_store *store, rl_source source, const char *id)
{
    rl_object_record r = {0};
    bool known = rl_store_object(store, source, id, &r) != RL_ENOTFOUND;
    rl_object_clear(&r);
    return known;
}

/* Of the directories that are watched, by the device id that the certificate bears. One that is bound to an Entra
 * device has the id there, also when that directory is not watched any more. */
static bool is_known_to_none(const rl_sync *sync, const rl_cert_record *cert)
{
    const rl_settings *s = sync->settings;
    const char *name = rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE_NAME),
               *object = name ? NULL : rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE);
    rl_object_record device = {0};
    if (object && rl_store_object(sync->store, RL_SOURCE_ENTRA_DEVICE, object, &device) == RL_OK)
        name = device.name;
    bool none =
        name &&
        !(rl_rules_watch(s, RL_BOUND_ENTRA_DEVICE) && is_known(sync->store, RL_SOURCE_ENTRA_DEVICE_NAME, name)) &&
        !(rl_rules_watch(s, RL_BOUND_INTUNE_DEVICE) && is_known(sync->store, RL_SOURCE_INTUNE_DEVICE_NAME, name));
    rl_object_clear(&device);
    return none;
}

/* Work pool. Whether it may be one: weighing it decides. What cannot be read is nobody's to judge. */
static bool find(guard *g, const rl_cert_id *id, const rl_cert_record *cert)
{
    const rl_settings *s = g->base.sync->settings;
    if (!is_valid(g, cert) || cert->held.change || rl_cert_first_issued(cert) > g->search.issued_before)
        return true;
    if (!rl_has_device(s, cert) && is_known_to_none(g->base.sync, cert))
        g->search.found[g->search.n++] = *id;
    return g->search.n < FOUND_MAX;
}

static void searched(uv_work_t *work, int status)
{
    guard *g = work->data;
    (void)status; /* nobody cancels it */
    if (!have_read(g))
        return;
    g->weighed = 0;
    weigh_on(g); /* also without any: what was dropped may be due again */
}

static rl_err read_cursor(void *store, const char *source, rl_cursor_record *c)
{
    return rl_store_cursor(store, source, c);
}

static void search(guard *g)
{
    const rl_sync *sync = g->base.sync;
    g->searched = true;
    g->search.n = 0;
    rl_err err = rl_new_devices_before(sync->settings, read_cursor, sync->store, &g->search.issued_before);
    if (err != RL_OK)
        rl_source_failed(&g->base, "the cursors cannot be read", -1);
    else if (g->search.issued_before > 0)
        start_reading(g, find, searched);
    else
        go_on(g);
}

/* ---- the round ---- */
struct wanted {
    rl_change_state state;
    uint64_t id; /* 0: not found */
    rl_change_record record;
};

static bool is_wanted(uint64_t id, const rl_change_record *r, void *ctx)
{
    struct wanted *w = ctx;
    if (r->state != w->state)
        return true;
    w->id = id;
    w->record = *r;
    return false;
}

static void go_on(guard *g)
{
    rl_store *store = g->base.sync->store;
    struct wanted due = {.state = RL_CHANGE_DUE}, released_one = {.state = RL_CHANGE_RELEASED};
    rl_err err = rl_store_each_change(store, is_wanted, &due);
    if (err == RL_OK)
        err = rl_store_each_change(store, is_wanted, &released_one);
    if (err != RL_OK) {
        rl_source_failed(&g->base, "the held changes cannot be read", -1);
    } else if (due.id) {
        compare(g, due.id, &due.record);
    } else if (released_one.id) {
        g->release = (rl_release){.settings = g->base.sync->settings};
        release_on(g);
    } else if (!g->searched) {
        search(g);
    } else {
        g->base.restart = false;
        rl_source_done(&g->base, rl_wall_s());
    }
}

static void begin(rl_sync_source *source)
{
    guard *g = (guard *)source;
    source->objects = source->changed = 0;
    source->full = false;
    g->searched = false;
    go_on(g);
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    free(source);
}

/* Or weighs anew what one has said before. */
static bool reads_a_directory(const rl_sync *sync)
{
    const rl_sync_source *reweigh = source_named(sync, "reweigh");
    bool reads = reweigh && !reweigh->needs;
    for (size_t i = 0; i < sync->n; i++)
        reads |= sync->sources[i]->governs && !sync->sources[i]->needs;
    return reads;
}

rl_err rl_guard_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .committed = committed, .free = free_source};
    guard *g = calloc(1, sizeof(*g));
    if (!g)
        return RL_ENOMEM;
    g->base.kind = &kind;
    g->base.interval = sync->settings->sync.full_interval;
    g->base.needs = reads_a_directory(sync) ? NULL : "the settings of a directory";
    snprintf(g->base.name, sizeof(g->base.name), NAME);
    return rl_source_add(sync, &g->base);
}

void rl_guard_wake(rl_sync *sync)
{
    rl_sync_now(sync, NAME, false, NULL);
}
