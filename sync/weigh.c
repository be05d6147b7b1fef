/* From a certificate's bindings to the states behind them, to its mask and status. Writer thread. */
#include "sync/weigh.h"

/* ---- the states ---- */
/* The objects that a verdict is over, and their memory. */
struct states {
    rl_object_record records[RL_BOUND_KINDS];
    rl_bound bound;
};

static void clear(struct states *s)
{
    for (size_t i = 0; i < RL_BOUND_KINDS; i++)
        rl_object_clear(&s->records[i]);
}

/* What is not known is left out. */
static rl_err look(rl_store_txn *t, struct states *s, rl_bound_kind kind, rl_source source, const char *id)
{
    rl_object_clear(&s->records[kind]);
    s->bound.object[kind] = NULL;
    rl_err err = rl_txn_object(t, source, id, &s->records[kind]);
    if (err == RL_OK)
        s->bound.object[kind] = &s->records[kind];
    return err == RL_ENOTFOUND ? RL_OK : err;
}

/* Intune's record of the Entra device with this deviceId. */
static rl_err look_managed(rl_store_txn *t, struct states *s, const char *device_id)
{
    rl_object_record pointer;
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE_NAME, device_id, &pointer);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    if (pointer.target) {
        err = look(t, s, RL_BOUND_MANAGED_DEVICE, RL_SOURCE_INTUNE_DEVICE, pointer.target);
    } else { /* it had one, which is another's now: nothing is left to be said against it */
        s->records[RL_BOUND_MANAGED_DEVICE] = (rl_object_record){.exists = true, .enabled = true};
        s->bound.object[RL_BOUND_MANAGED_DEVICE] = &s->records[RL_BOUND_MANAGED_DEVICE];
    }
    rl_object_clear(&pointer);
    return err;
}

static rl_err look_behind(rl_store_txn *t, struct states *s, const rl_binding *b)
{
    const rl_object_record *device = &s->records[RL_BOUND_ENTRA_DEVICE];
    switch (b->source) {
    case RL_SOURCE_ENTRA_DEVICE:
        RL_TRY(look(t, s, RL_BOUND_ENTRA_DEVICE, b->source, b->id));
        return device->name ? look_managed(t, s, device->name) : RL_OK;
    case RL_SOURCE_ENTRA_DEVICE_NAME:
        return look_managed(t, s, b->id);
    case RL_SOURCE_INTUNE_DEVICE:
        return look(t, s, RL_BOUND_INTUNE_DEVICE, b->source, b->id);
    case RL_SOURCE_ENTRA_USER:
        RL_TRY(look(t, s, RL_BOUND_ENTRA_USER, b->source, b->id));
        return look(t, s, RL_BOUND_USER_RISK, RL_SOURCE_USER_RISK, b->id);
    case RL_SOURCE_JAMF_COMPUTER:
        return look(t, s, RL_BOUND_JAMF_COMPUTER, b->source, b->id);
    case RL_SOURCE_JAMF_DEVICE:
        return look(t, s, RL_BOUND_JAMF_DEVICE, b->source, b->id);
    case RL_SOURCE_JAMF_USER:
        return look(t, s, RL_BOUND_JAMF_USER, b->source, b->id);
    default:
        return RL_OK; /* users that are not known, transactions */
    }
}

/* ---- weighing ---- */
rl_err rl_weigh(rl_store_txn *t, const rl_settings *s, int64_t now, rl_cert_record *cert)
{
    struct states states = {0};
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < cert->bindings_n; i++)
        err = look_behind(t, &states, &cert->bindings[i]);
    if (err == RL_OK)
        cert->why = rl_rules_merge(cert->why, rl_rules_weigh(s, &states.bound, now));
    clear(&states);
    return err;
}

rl_err rl_weigh_stored(rl_store_txn *t, rl_weigher *w, const rl_cert_id *id,
                       bool (*rebind)(rl_cert_record *cert, const void *ctx), const void *ctx)
{
    rl_cert_record cert;
    rl_err err = rl_txn_cert(t, id, &cert);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    uint32_t before = cert.why;
    bool moved = rebind && rebind(&cert, ctx);
    err = rl_weigh(t, w->settings, w->now, &cert);
    if (err == RL_OK && (moved || cert.why != before)) {
        w->changed += rl_cert_settle(&cert, w->now);
        err = rl_txn_update_cert(t, id, &cert, w->origin);
    }
    rl_cert_clear(&cert);
    return err;
}

rl_err rl_weigh_each(rl_store_txn *t, const rl_cert_id *id, void *weigher)
{
    return rl_weigh_stored(t, weigher, id, NULL, NULL);
}

rl_err rl_weigh_each_bearer(rl_store_txn *t, const char *device_id,
                            rl_err (*fn)(rl_store_txn *t, const rl_cert_id *cert, void *ctx), void *ctx)
{
    rl_object_record pointer;
    RL_TRY(rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE_NAME, device_id, fn, ctx));
    rl_err err = rl_txn_object(t, RL_SOURCE_ENTRA_DEVICE_NAME, device_id, &pointer);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    err = pointer.target ? rl_txn_each_binding(t, RL_SOURCE_ENTRA_DEVICE, pointer.target, fn, ctx) : RL_OK;
    rl_object_clear(&pointer);
    return err;
}

rl_err rl_weigh_new(rl_store_txn *t, rl_cert_record *cert, int64_t now, const void *settings)
{
    return rl_weigh(t, settings, now, cert);
}
