/* Objects, names, certificates: what a page changes. Runs on the store's writer thread, inside its transaction; an
 * error rolls all of it back, the cursor included.
 *
 * An object is stored under its directory id. Certificates know it by name (deviceId, user principal name) until it is
 * first seen: then a record under the name's source points to it, and the certificates that wait under the name are
 * bound to it. A deleted object stays as a tombstone, and its name points to it until another object takes the name. */
#include "sync/apply.h"

#include <stdlib.h>

#include "sync/rules.h"

static rl_err out_of_memory(rl_error *e)
{
    return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}

/* ---- certificates ---- */
/* The mask follows from all objects the certificate is bound to, not only the one at hand. */
static rl_err weigh(rl_store_txn *t, rl_cert_record *cert)
{
    uint32_t scope = 0, why = 0;
    for (size_t i = 0; i < cert->bindings_n; i++) {
        const rl_binding *b = &cert->bindings[i];
        rl_object_record o;
        if (!rl_rules_scope(b->source))
            continue;
        rl_err err = rl_txn_object(t, b->source, b->id, &o);
        if (err == RL_ENOTFOUND)
            continue;
        RL_TRY(err);
        scope |= rl_rules_scope(b->source);
        why |= rl_rules_object(b->source, &o);
        rl_object_clear(&o);
    }
    cert->why = rl_rules_merge(cert->why, scope, why);
    return RL_OK;
}

struct object_ctx {
    rl_page_job *job;
    const char *id, *name;
};

/* In place of the name comes the object; not twice. */
static bool rebind(rl_cert_record *cert, const rl_entra_kind *kind, const struct object_ctx *o)
{
    size_t kept = 0;
    bool have = false, moved = false;
    for (size_t i = 0; i < cert->bindings_n; i++) {
        rl_binding b = cert->bindings[i];
        if (o->name && b.source == kind->name_source && strcmp(b.id, o->name) == 0) {
            b = (rl_binding){.source = kind->source};
            memcpy(b.id, o->id, strlen(o->id) + 1);
            moved = true;
        }
        bool same = b.source == kind->source && strcmp(b.id, o->id) == 0;
        if (same && have)
            continue;
        have |= same;
        cert->bindings[kept++] = b;
    }
    cert->bindings_n = kept;
    return moved;
}

static rl_err settle_cert(rl_store_txn *t, const rl_cert_id *id, void *ctx)
{
    const struct object_ctx *o = ctx;
    rl_page_job *job = o->job;
    rl_cert_record cert;
    rl_err err = rl_txn_cert(t, id, &cert);
    if (err == RL_ENOTFOUND)
        return RL_OK; /* a binding to nothing must not hold back the others */
    RL_TRY(err);
    uint32_t before = cert.why;
    bool moved = rebind(&cert, job->kind, o);
    err = weigh(t, &cert);
    if (err == RL_OK && (moved || cert.why != before)) {
        job->changed += rl_cert_settle(&cert, job->now);
        err = rl_txn_update_cert(t, id, &cert, job->kind->origin);
    }
    rl_cert_clear(&cert);
    return err;
}

/* ---- names ---- */
static rl_err put_name(rl_store_txn *t, const rl_entra_kind *kind, const char *name, const char *id,
                       const rl_object_record *o)
{
    rl_object_record r = *o;
    r.name = NULL;
    r.target = (char *)(uintptr_t)id; /* encoding only reads */
    return rl_txn_put_object(t, kind->name_source, name, &r);
}

/* Lets the name's record follow the object's state. `take`: the object claims the name; else only if it has it already.
 */
static rl_err keep_name(rl_store_txn *t, const rl_entra_kind *kind, const char *id, const rl_object_record *o,
                        bool take)
{
    rl_object_record known;
    rl_err err = rl_txn_object(t, kind->name_source, o->name, &known);
    if (err == RL_ENOTFOUND)
        return take ? put_name(t, kind, o->name, id, o) : RL_OK;
    RL_TRY(err);
    bool mine = known.target && strcmp(known.target, id) == 0;
    bool same = mine && known.exists == o->exists && known.enabled == o->enabled;
    rl_object_clear(&known);
    return !same && (mine || take) ? put_name(t, kind, o->name, id, o) : RL_OK;
}

static rl_err drop_name(rl_store_txn *t, const rl_entra_kind *kind, const char *id, const char *name)
{
    rl_object_record known;
    rl_err err = rl_txn_object(t, kind->name_source, name, &known);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    bool mine = known.target && strcmp(known.target, id) == 0;
    rl_object_clear(&known);
    return mine ? rl_txn_delete_object(t, kind->name_source, name) : RL_OK;
}

/* ---- objects ---- */
/* Stores the object's new state and lets name and certificates follow. */
static rl_err put_state(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o, bool take_name)
{
    const rl_entra_kind *kind = job->kind;
    struct object_ctx ctx = {.job = job, .id = id, .name = take_name ? o->name : NULL};
    RL_TRY(rl_txn_put_object(t, kind->source, id, o));
    if (o->name)
        RL_TRY(keep_name(t, kind, id, o, take_name));
    if (ctx.name)
        RL_TRY(rl_txn_each_binding(t, kind->name_source, ctx.name, settle_cert, &ctx));
    return rl_txn_each_binding(t, kind->source, id, settle_cert, &ctx);
}

/* A new name replaces the old; the old one's record goes unless another object has it by now. */
static rl_err rename_object(rl_store_txn *t, const rl_entra_kind *kind, const rl_graph_item *item, rl_object_record *o)
{
    if (o->name && item->name && strcmp(o->name, item->name) == 0)
        return RL_OK;
    if (o->name)
        RL_TRY(drop_name(t, kind, item->id, o->name));
    free(o->name);
    o->name = item->name ? strdup(item->name) : NULL;
    return item->name && !o->name ? RL_ENOMEM : RL_OK;
}

static rl_err apply_item(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record o;
    rl_err err = rl_txn_object(t, job->kind->source, item->id, &o);
    if (err == RL_ENOTFOUND) {
        if (item->removed)
            return RL_OK; /* never seen: no certificate is bound to it */
        o = (rl_object_record){.enabled = true};
        err = RL_OK;
    }
    RL_TRY(err);
    bool said = !item->removed && item->name_said;
    o.exists = !item->removed;
    o.generation = job->next.generation;
    o.last_seen = job->now;
    if (!item->removed && item->enabled != RL_ENABLED_UNSAID)
        o.enabled = item->enabled == RL_ENABLED_YES;
    if (said)
        err = rename_object(t, job->kind, item, &o);
    if (err == RL_OK)
        err = put_state(t, job, item->id, &o, said && item->name);
    rl_object_clear(&o);
    return err;
}

/* ---- the end of a full round ---- */
struct sweep_ctx {
    rl_page_job *job;
    uint64_t listed, gone;
};

static rl_err sweep_object(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    struct sweep_ctx *s = ctx;
    rl_object_record o = *r; /* strings stay the caller's */
    if (!r->exists)
        return RL_OK;
    if (r->generation >= s->job->next.generation) {
        s->listed++;
        return RL_OK;
    }
    s->gone++;
    o.exists = false;
    return put_state(t, s->job, id, &o, false);
}

/* What the whole round did not list is gone. But a list that is empty all of a sudden is a failure of the directory,
 * not the end of the fleet: refused, and the transaction takes back everything. */
static rl_err sweep(rl_store_txn *t, rl_page_job *job, rl_error *e)
{
    struct sweep_ctx s = {.job = job};
    RL_TRY(rl_txn_each_object(t, job->kind->source, sweep_object, &s));
    if (s.listed > 0 || s.gone == 0)
        return RL_OK;
    job->empty = true;
    return rl_fail(e, RL_EDENIED, "sync",
                   "the full round listed no object though %llu are known: refused, nothing is changed",
                   (unsigned long long)s.gone);
}

rl_err rl_page_apply(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_page_job *job = arg;
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < job->page->n; i++)
        err = apply_item(t, job, &job->page->items[i]);
    if (err == RL_OK && job->next.complete && job->next.full)
        err = sweep(t, job, e);
    if (err == RL_OK)
        err = rl_txn_put_cursor(t, job->kind->name, &job->next);
    if (err == RL_ENOMEM)
        return out_of_memory(e);
    if (err != RL_OK && !job->empty)
        return rl_fail(e, err, "sync", "the page of %s cannot be applied: %s", job->kind->name, rl_err_name(err));
    return err;
}
