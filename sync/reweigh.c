/* Certificates are weighed anew when the settings of the status rules are others than they were, or Intune has been
 * listed for the first time. Sync loop only, but for what is marked as the writer's.
 *
 * The cursor of this source holds the rules under which every certificate was weighed. When the server starts under
 * others, all bound certificates are weighed, some hundred in a transaction; the last of these stores the rules. A
 * crash in between begins again: weighing a certificate twice changes nothing. Those that are issued meanwhile, or
 * whose objects change, are weighed under the new rules already. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/login.h"
#include "sync/brake.h"
#include "sync/source.h"

/* Certificates of one transaction; records that are looked at on the loop at once. */
enum { WEIGHED_AT_ONCE = 500, READ_AT_ONCE = 10000 };
#define NAME "reweigh"

typedef struct reweigh {
    rl_sync_source base;
    rl_weigher weigher;
    char rules[RL_RULES_TEXT];       /* under which they are weighed */
    rl_cert_id ids[WEIGHED_AT_ONCE]; /* of the transaction */
    size_t n, read;
    rl_cert_id at; /* the certificates up to it have been looked at; issuer 0: none */
    bool last;     /* there are none behind `at` */
    bool due;      /* they are too many to be changed at once: for the guard */
} reweigh;

/* ---- a transaction ---- */
/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    reweigh *r = arg;
    rl_err err = RL_OK;
    const rl_brake_round round = {.source = NAME, .complete = r->last, .raise_before = r->weigher.now + 1};
    r->weigher.worse = rl_brake_worse(r->base.sync->settings);
    for (size_t i = 0; err == RL_OK && i < r->n; i++)
        err = rl_weigh_stored(t, &r->weigher, &r->ids[i], NULL, NULL);
    if (err == RL_OK)
        err = rl_brake_settle(t, &r->weigher, &round, &r->due);
    rl_weigher_clear(&r->weigher);
    const rl_cursor_record cursor = {
        .link = r->rules, .complete = true, .last_success = r->weigher.now, .last_full = r->weigher.now};
    if (err == RL_OK && r->last)
        err = rl_txn_put_cursor(t, NAME, &cursor);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "certificates cannot be weighed: %s", rl_err_name(err));
}

static bool collect(const rl_cert_id *id, const rl_cert_record *cert, void *ctx)
{
    reweigh *r = ctx;
    if (r->n == WEIGHED_AT_ONCE || r->read == READ_AT_ONCE) {
        r->last = false;
        return false;
    }
    r->read++;
    r->at = *id;
    if (cert->bindings_n > 0)
        r->ids[r->n++] = *id;
    return true;
}

static void go_on(reweigh *r)
{
    r->n = r->read = 0;
    r->last = true;
    r->weigher.now = rl_wall_s();
    r->weigher.changed = 0;
    rl_err err = rl_store_each_cert(r->base.sync->store, r->at.issuer ? &r->at : NULL, collect, r);
    if (err == RL_OK)
        err = rl_source_commit(&r->base, apply);
    if (err != RL_OK)
        rl_source_failed(&r->base, "the certificates cannot be read", -1);
}

/* ---- the round ---- */
/* Of the round that begins. When Intune is listed for the first time during it, another follows. */
static void read_rules(reweigh *r)
{
    rl_cursor_record intune = {0};
    (void)rl_store_cursor(r->base.sync->store, "intune-device", &intune);
    rl_rules_fingerprint(r->base.sync->settings, intune.last_full > 0, r->rules);
    rl_cursor_clear(&intune);
}

static bool is_weighed(const reweigh *r)
{
    rl_cursor_record cursor;
    if (rl_store_cursor(r->base.sync->store, NAME, &cursor) != RL_OK)
        return false;
    bool same = cursor.link && strcmp(cursor.link, r->rules) == 0;
    rl_cursor_clear(&cursor);
    return same;
}

/* Other rules may ask for what was not fetched before. */
static void compare_directories(const rl_sync *sync)
{
    for (size_t i = 0; i < sync->n; i++)
        if (sync->sources[i]->kind->token)
            sync->sources[i]->restart = true;
}

static void begin(rl_sync_source *source)
{
    reweigh *r = (reweigh *)source;
    source->objects = source->changed = 0;
    read_rules(r);
    source->full = source->restart || !is_weighed(r);
    if (!source->full) {
        rl_source_done(source, rl_wall_s());
        return;
    }
    log_info("sync.reweigh", "source", source->name);
    if (!source->restart)
        compare_directories(source->sync);
    r->weigher = (rl_weigher){.settings = source->sync->settings, .origin = "sync:" NAME};
    r->at = (rl_cert_id){0};
    go_on(r);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    reweigh *r = (reweigh *)source;
    if (err != RL_OK) {
        rl_source_failed(source, e->message, -1);
        return;
    }
    rl_source_count(source, 1, r->n, r->weigher.changed);
    if (r->due)
        rl_guard_wake(source->sync);
    source->attempts = 0;
    if (!r->last) {
        go_on(r);
        return;
    }
    source->restart = false;
    rl_source_done(source, r->weigher.now);
}

static void free_source(rl_sync_source *source)
{
    free(source);
}

rl_err rl_reweigh_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .committed = committed, .free = free_source};
    const rl_settings *s = sync->settings;
    rl_cursor_record before = {0};
    /* A directory that was watched before has said what may hold certificates still, and a setting is what ends that.
     */
    bool any = rl_login_of(s) != RL_LOGIN_NONE || rl_store_cursor(sync->store, NAME, &before) == RL_OK;
    reweigh *r = calloc(1, sizeof(*r));
    rl_cursor_clear(&before);
    if (!r)
        return RL_ENOMEM;
    r->base.kind = &kind;
    r->base.interval = s->sync.full_interval;
    r->base.needs = any ? NULL : "the settings of a directory";
    snprintf(r->base.name, sizeof(r->base.name), NAME);
    return rl_source_add(sync, &r->base);
}
