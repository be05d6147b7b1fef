/* Managed devices and users at risk. Writer thread, inside the page's transaction.
 *
 * These rounds list everything every time, so the certificates are looked at only where something has changed.
 *
 * A managed device is stored under its Intune id. Two kinds of certificates follow it: those that bear this id, which
 * are bound to it, and those that bear the Entra deviceId of the same machine. The latter find it by a record under the
 * deviceId that points to it. An Entra device that enrolled again has several managed devices for a while: the pointer
 * goes to the one that enrolled last, and remembers another, which takes the place when that one goes. */
#include <stdlib.h>

#include "sync/apply.h"

enum { FUTURE_MAX_S = 24 * 3600 }; /* a date of enrolment further ahead is none */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* ---- the pointer: deviceId → managed device ---- */
static rl_err put_pointer(rl_store_txn *t, const char *device_id, const char *target, const char *other)
{
    /* encoding only reads */
    const rl_object_record r = {
        .exists = true, .enabled = true, .target = (char *)(uintptr_t)target, .name = (char *)(uintptr_t)other};
    return rl_txn_put_object(t, RL_SOURCE_INTUNE_DEVICE_NAME, device_id, &r);
}

static bool enrolled_later(const char *id, const rl_object_record *o, const char *holder_id,
                           const rl_object_record *holder)
{
    return o->enrolled != holder->enrolled ? o->enrolled > holder->enrolled : strcmp(id, holder_id) > 0;
}

/* The pointer is another's: takes it over from one that is gone or enrolled earlier, else stands by. */
static rl_err contend(rl_store_txn *t, const char *id, const rl_object_record *o, const rl_object_record *pointer,
                      bool *took)
{
    rl_object_record holder = {0};
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE, pointer->target, &holder);
    if (err == RL_ENOTFOUND)
        err = RL_OK; /* all zero: it does not exist */
    RL_TRY(err);
    *took = !holder.exists || enrolled_later(id, o, pointer->target, &holder);
    if (*took)
        err = put_pointer(t, o->name, id, holder.exists ? pointer->target : NULL);
    else if (!same_text(pointer->name, id))
        err = put_pointer(t, o->name, pointer->target, id);
    rl_object_clear(&holder);
    return err;
}

/* `took`: the pointer has come to this device. */
static rl_err claim_name(rl_store_txn *t, const char *id, const rl_object_record *o, bool *took)
{
    rl_object_record pointer;
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE_NAME, o->name, &pointer);
    *took = false;
    if (err == RL_ENOTFOUND) {
        err = RL_OK;
        pointer = (rl_object_record){0};
    }
    RL_TRY(err);
    *took = !pointer.target;
    if (*took)
        err = put_pointer(t, o->name, id, NULL);
    else if (strcmp(pointer.target, id) != 0)
        err = contend(t, id, o, &pointer, took);
    rl_object_clear(&pointer);
    return err;
}

/* The one that stands by, if this generation's list has it under the same deviceId. */
static rl_err has_successor(rl_store_txn *t, const rl_page_job *job, const char *device_id,
                            const rl_object_record *pointer, bool *has)
{
    rl_object_record o;
    *has = false;
    if (!pointer->name)
        return RL_OK;
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE, pointer->name, &o);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    *has = o.exists && o.generation == job->next.generation && same_text(o.name, device_id);
    rl_object_clear(&o);
    return RL_OK;
}

/* The device is gone, or has another deviceId now. Without a successor the pointer stays: at a device that is gone,
 * which is how one knows that, or else at none. */
static rl_err leave_name(rl_store_txn *t, const rl_page_job *job, const char *id, const char *device_id, bool gone)
{
    rl_object_record pointer;
    bool successor = false;
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE_NAME, device_id, &pointer);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    if (same_text(pointer.target, id)) {
        err = has_successor(t, job, device_id, &pointer, &successor);
        if (err == RL_OK && successor)
            err = put_pointer(t, device_id, pointer.name, NULL);
        else if (err == RL_OK && !gone)
            err = put_pointer(t, device_id, NULL, NULL);
    }
    rl_object_clear(&pointer);
    return err;
}

/* ---- certificates ---- */
struct bind_ctx {
    rl_page_job *job;
    const char *id;
};

/* Besides what it is bound to: the same id may yet turn up as an Entra device's. */
static bool bind(rl_cert_record *cert, const void *ctx)
{
    const struct bind_ctx *b = ctx;
    for (size_t i = 0; i < cert->bindings_n; i++)
        if (cert->bindings[i].source == RL_SOURCE_INTUNE_DEVICE && strcmp(cert->bindings[i].id, b->id) == 0)
            return false;
    if (cert->bindings_n == RL_CERT_BINDINGS_MAX)
        return false;
    rl_binding *binding = &cert->bindings[cert->bindings_n++];
    *binding = (rl_binding){.source = RL_SOURCE_INTUNE_DEVICE};
    memcpy(binding->id, b->id, strlen(b->id) + 1);
    return true;
}

static rl_err bind_cert(rl_store_txn *t, const rl_cert_id *id, void *ctx)
{
    const struct bind_ctx *b = ctx;
    return rl_weigh_stored(t, &b->job->weigher, id, bind, b);
}

/* The certificates that bear the Intune id, and those that bear the deviceId. */
static rl_err let_follow(rl_store_txn *t, rl_page_job *job, const char *id, bool is_new, const char *device_id)
{
    struct bind_ctx ctx = {job, id};
    if (is_new)
        RL_TRY(rl_weigh_each_bearer(t, id, bind_cert, &ctx));
    RL_TRY(rl_txn_each_binding(t, RL_SOURCE_INTUNE_DEVICE, id, rl_weigh_each, &job->weigher));
    return device_id ? rl_weigh_each_bearer(t, device_id, rl_weigh_each, &job->weigher) : RL_OK;
}

/* ---- managed devices ---- */
/* What is not said stays. Strings are borrowed from `old` and the item. */
static rl_object_record next_state(const rl_page_job *job, const rl_object_record *old, const rl_graph_item *item)
{
    rl_object_record o = *old;
    o.exists = o.enabled = true;
    o.generation = job->next.generation;
    o.last_seen = job->now;
    if (item->compliance != RL_COMPLIANCE_UNSAID)
        o.compliance = item->compliance;
    if (item->management != RL_MANAGEMENT_UNSAID)
        o.management = item->management;
    if (item->enrolled_said)
        o.enrolled = item->enrolled <= job->now + FUTURE_MAX_S ? item->enrolled : 0;
    if (item->name_said)
        o.name = (char *)(uintptr_t)item->name;
    return o;
}

/* A device that is not compliant, and whose grace has ended since it was last seen, has changed by that. */
static bool has_changed(const rl_page_job *job, const rl_object_record *old, const rl_object_record *o)
{
    int64_t grace_end = rl_rules_grace_end(job->settings, o);
    return !old->exists || old->compliance != o->compliance || old->management != o->management ||
           old->enrolled != o->enrolled || (grace_end > old->last_seen && grace_end <= job->now);
}

static rl_err put_managed(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *old,
                          const rl_object_record *o)
{
    bool renamed = !same_text(old->name, o->name), took = false;
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_INTUNE_DEVICE, id, o));
    if (renamed && old->name) {
        RL_TRY(leave_name(t, job, id, old->name, false));
        RL_TRY(rl_weigh_each_bearer(t, old->name, rl_weigh_each, &job->weigher));
    }
    if (o->name)
        RL_TRY(claim_name(t, id, o, &took));
    if (!took && !has_changed(job, old, o))
        return RL_OK;
    return let_follow(t, job, id, !old->exists, o->name);
}

rl_err rl_managed_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record old = {0};
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE, item->id, &old);
    if (err == RL_ENOTFOUND)
        err = RL_OK; /* all zero: it did not exist */
    RL_TRY(err);
    const rl_object_record o = next_state(job, &old, item);
    err = put_managed(t, job, item->id, &old, &o);
    rl_object_clear(&old);
    return err;
}

rl_err rl_managed_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o)
{
    rl_object_record gone = *o; /* strings stay the caller's */
    gone.exists = false;
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_INTUNE_DEVICE, id, &gone));
    if (gone.name)
        RL_TRY(leave_name(t, job, id, gone.name, true));
    return let_follow(t, job, id, false, gone.name);
}

/* ---- users at risk ---- */
/* Without `said` what is known stays. */
static rl_err put_risk(rl_store_txn *t, rl_page_job *job, const char *id, const rl_risk *said)
{
    rl_object_record old = {0};
    rl_err err = rl_txn_object(t, RL_SOURCE_USER_RISK, id, &old);
    if (err == RL_ENOTFOUND)
        err = RL_OK; /* all zero: was not at risk */
    RL_TRY(err);
    rl_risk risk = said ? *said : old.risk;
    const rl_object_record o = {.exists = risk != RL_RISK_NONE,
                                .enabled = true,
                                .risk = risk,
                                .generation = job->next.generation,
                                .last_seen = job->now};
    bool changed = old.risk != risk;
    rl_object_clear(&old);
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_USER_RISK, id, &o));
    return changed ? rl_txn_each_binding(t, RL_SOURCE_ENTRA_USER, id, rl_weigh_each, &job->weigher) : RL_OK;
}

rl_err rl_user_risk_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    return put_risk(t, job, item->id, item->risk_said ? &item->risk : NULL);
}

rl_err rl_user_risk_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o)
{
    const rl_risk none = RL_RISK_NONE;
    (void)o;
    return put_risk(t, job, id, &none);
}
