/* From a certificate's bindings to the states behind them, to its mask and status. Writer thread. */
#include "sync/weigh.h"

#include <stdlib.h>

#include "base/clock.h"

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

/* Any of Intune's lists may have it. */
static rl_err look_listed(rl_store_txn *t, struct states *s, const char *id)
{
    static const rl_source lists[] = {RL_SOURCE_LISTED_CERT, RL_SOURCE_PROFILE_CERT, RL_SOURCE_REPORTED_CERT};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        RL_TRY(look(t, s, RL_BOUND_LISTED_CERT, lists[i], id));
        if (s->records[RL_BOUND_LISTED_CERT].exists)
            break;
    }
    return RL_OK;
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
    case RL_SOURCE_LISTED_CERT:
        return look_listed(t, s, b->id);
    default:
        return RL_OK; /* users that are not known, transactions */
    }
}

/* ---- new devices ---- */
bool rl_has_device(const rl_settings *s, const rl_cert_record *cert)
{
    return (rl_rules_watch(s, RL_BOUND_ENTRA_DEVICE) && rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE)) ||
           (rl_rules_watch(s, RL_BOUND_INTUNE_DEVICE) && rl_cert_binding(cert, RL_SOURCE_INTUNE_DEVICE));
}

/* The device id that it bears, while no directory that is watched knows it. NULL: one does, or it bears none. */
static rl_err waiting_device(rl_store_txn *t, const rl_settings *settings, const rl_cert_record *cert,
                             const struct states *s, const char **device)
{
    const rl_object_record *entra = s->bound.object[RL_BOUND_ENTRA_DEVICE];
    const char *name = rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE_NAME);
    rl_object_record known;
    *device = name ? name : entra ? entra->name : NULL;
    if (rl_has_device(settings, cert) ||
        (rl_rules_watch(settings, RL_BOUND_MANAGED_DEVICE) && s->bound.object[RL_BOUND_MANAGED_DEVICE]))
        *device = NULL;
    if (!*device || !rl_rules_watch(settings, RL_BOUND_ENTRA_DEVICE))
        return RL_OK;
    rl_err err = rl_txn_object(t, RL_SOURCE_ENTRA_DEVICE_NAME, *device, &known);
    if (err == RL_OK) {
        rl_object_clear(&known);
        *device = NULL;
    }
    return err == RL_ENOTFOUND ? RL_OK : err;
}

/* AADAndIntuneOpportunistic: Intune, which does not let us read it, has no say. */
static bool has_no_say(const rl_settings *s, rl_bound_kind kind, const rl_cursor_record *c)
{
    return s->rules.directory == RL_DIRECTORY_OPPORTUNISTIC && kind == RL_BOUND_INTUNE_DEVICE && c->refused &&
           c->last_full == 0;
}

/* A full round that was completed after the grace has looked for a device that enrolled before it. One in the future
 * was by a clock that has been set back: it says nothing. */
rl_err rl_new_devices_before(const rl_settings *s, rl_err (*cursor)(void *ctx, const char *source, rl_cursor_record *c),
                             void *ctx, int64_t *issued_before)
{
    static const struct {
        rl_bound_kind kind;
        const char *source;
    } directories[] = {{RL_BOUND_ENTRA_DEVICE, "entra-device"}, {RL_BOUND_INTUNE_DEVICE, "intune-device"}};
    int64_t first = INT64_MAX, now = rl_wall_s();
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        rl_cursor_record c = {0};
        if (!rl_rules_watch(s, directories[i].kind))
            continue;
        rl_err err = cursor(ctx, directories[i].source, &c);
        if (err != RL_OK && err != RL_ENOTFOUND)
            return err;
        if (c.last_full > now)
            c.last_full = 0;
        if (c.last_full < first && !has_no_say(s, directories[i].kind, &c))
            first = c.last_full;
        rl_cursor_clear(&c);
    }
    first -= s->sync.new_device_grace / 1000;
    *issued_before = first > 0 ? first : 0;
    return RL_OK;
}

static rl_err read_cursor(void *txn, const char *source, rl_cursor_record *c)
{
    return rl_txn_cursor(txn, source, c);
}

/* Past its time such a device is one that does not exist. */
static rl_err look_in_vain(rl_store_txn *t, const rl_settings *settings, const rl_cert_record *cert, struct states *s)
{
    const char *device;
    int64_t issued_before;
    RL_TRY(waiting_device(t, settings, cert, s, &device));
    if (!device)
        return RL_OK;
    RL_TRY(rl_new_devices_before(settings, read_cursor, t, &issued_before));
    if (rl_cert_first_issued(cert) > issued_before)
        return RL_OK;
    s->bound.object[RL_BOUND_ENTRA_DEVICE] = &s->records[RL_BOUND_ENTRA_DEVICE]; /* all zero: it does not exist */
    s->bound.object[RL_BOUND_MANAGED_DEVICE] = &s->records[RL_BOUND_MANAGED_DEVICE];
    return RL_OK;
}

/* ---- weighing ---- */
/* Whether Intune has been listed as a whole, where a rule asks for it. */
static rl_err look_for_intune(rl_store_txn *t, const rl_settings *s, rl_bound *bound)
{
    const rl_object_record *entra = bound->object[RL_BOUND_ENTRA_DEVICE];
    bool opportunistic = s->rules.directory == RL_DIRECTORY_OPPORTUNISTIC;
    rl_cursor_record c = {0};
    if (!opportunistic && !(entra && entra->compliance == RL_COMPLIANCE_NONCOMPLIANT))
        return RL_OK;
    rl_err err = rl_txn_cursor(t, "intune-device", &c);
    bound->intune_listed = c.last_full > 0;
    bound->without_intune = opportunistic && !bound->intune_listed;
    rl_cursor_clear(&c);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

static rl_err look_all(rl_store_txn *t, const rl_settings *s, const rl_cert_record *cert, struct states *states)
{
    for (size_t i = 0; i < cert->bindings_n; i++)
        RL_TRY(look_behind(t, states, &cert->bindings[i]));
    RL_TRY(look_in_vain(t, s, cert, states));
    return look_for_intune(t, s, &states->bound);
}

static void decide(const rl_settings *s, int64_t now, const rl_bound *bound, rl_cert_record *cert)
{
    rl_verdict v = rl_rules_weigh(s, bound, now);
    if (cert->bootstrap)
        v.why &= ~(uint32_t)RL_WHY_NOT_COMPLIANT;
    cert->why = rl_rules_merge(cert->why, v);
}

/* The mask follows from all objects that the certificate is bound to, not only the one at hand. Settles nothing. */
static rl_err weigh(rl_store_txn *t, const rl_settings *s, int64_t now, rl_cert_record *cert)
{
    struct states states = {0};
    rl_err err = look_all(t, s, cert, &states);
    if (err == RL_OK)
        decide(s, now, &states.bound, cert);
    clear(&states);
    return err;
}

void rl_weigher_clear(rl_weigher *w)
{
    free(w->ids);
    w->ids = NULL;
    w->ids_n = w->ids_cap = 0;
}

static rl_err take_down(rl_weigher *w, const rl_cert_id *id)
{
    if (w->ids_n == w->ids_cap) {
        size_t cap = w->ids_cap ? 2 * w->ids_cap : 64;
        rl_cert_id *ids = realloc(w->ids, cap * sizeof(*ids));
        if (!ids)
            return RL_ENOMEM;
        w->ids = ids;
        w->ids_cap = cap;
    }
    w->ids[w->ids_n++] = *id;
    return RL_OK;
}

/* Reasons that wait for an admin are left out of the mask while their cause lasts, and those that ended with the same
 * change stay: what is withheld must not make the certificate better than it was. */
static void leave_out_held(rl_cert_record *cert, uint32_t before)
{
    uint32_t waiting = cert->status == RL_STATUS_REVOKED ? 0 : cert->why & cert->held.why;
    if (waiting)
        cert->why = (cert->why & ~waiting) | (cert->held.kept & before);
    else
        cert->held = (__typeof__(cert->held)){0};
}

static bool worsens(const rl_weigher *w, const rl_cert_record *cert)
{
    rl_cert_record next = *cert; /* strings stay the certificate's */
    rl_cert_settle(&next, w->now);
    return next.status > cert->status && cert->not_after > w->now;
}

/* One that waits already waits on where it is. */
static void hold(rl_cert_record *cert, uint32_t before, uint64_t change)
{
    if (!cert->held.change)
        cert->held.change = change;
    cert->held.why |= cert->why & ~before;
    cert->held.kept |= before & ~cert->why;
    cert->why = before;
}

/* The certificate as weighed becomes what is written of it. */
static rl_err brake(rl_weigher *w, const rl_cert_id *id, const rl_cert_record *old, rl_cert_record *cert)
{
    if (w->worse == RL_WORSE_RELEASE)
        cert->held = (__typeof__(cert->held)){0};
    else
        leave_out_held(cert, old->why);
    if (w->worse == RL_WORSE_APPLY || w->worse == RL_WORSE_RELEASE || !worsens(w, cert))
        return RL_OK;
    if (w->worse == RL_WORSE_HOLD) {
        hold(cert, old->why, w->change);
        return RL_OK;
    }
    cert->why = old->why;
    cert->held = old->held;
    return take_down(w, id);
}

rl_err rl_weigh_stored(rl_store_txn *t, rl_weigher *w, const rl_cert_id *id,
                       bool (*rebind)(rl_cert_record *cert, const void *ctx), const void *ctx)
{
    rl_cert_record cert;
    rl_err err = rl_txn_cert(t, id, &cert);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    const rl_cert_record old = cert; /* strings stay the certificate's */
    bool moved = rebind && rebind(&cert, ctx);
    err = weigh(t, w->settings, w->now, &cert);
    if (err == RL_OK)
        err = brake(w, id, &old, &cert);
    bool same = cert.why == old.why && memcmp(&cert.held, &old.held, sizeof(old.held)) == 0;
    if (err == RL_OK && (moved || !same)) {
        w->changed += rl_cert_settle(&cert, w->now);
        err = rl_txn_replace_cert(t, id, &old, &cert, w->origin);
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

/* Makes it a bootstrap certificate if it is a device's that is still enrolling. That a device is not known means
 * something when all of them have been listed. */
static rl_err bootstrap(rl_store_txn *t, const rl_settings *s, int64_t now, rl_bound *bound, rl_cert_record *cert)
{
    const char *source = rl_rules_bootstrap_source(s, bound);
    rl_cursor_record c;
    bool device = rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE) || rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE_NAME) ||
                  rl_cert_binding(cert, RL_SOURCE_INTUNE_DEVICE);
    if (!source || !device || cert->bootstrap)
        return RL_OK;
    rl_err err = rl_txn_cursor(t, source, &c);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    bool listed = c.last_full > 0;
    rl_cursor_clear(&c);
    bound->from_intune = cert->profile && strcmp(cert->profile, "intune") == 0;
    int64_t end = listed ? rl_rules_bootstrap_end(s, bound, now) : 0;
    if (end == 0)
        return RL_OK;
    cert->bootstrap = true;
    if (end < cert->not_after)
        cert->not_after = end;
    return RL_OK;
}

/* Numbers of Jamf Pro's are those of a 32-bit integer. What it says to others nobody knows, and any answer but 200 and
 * 404 would keep its source from going on. */
static bool is_number_of_jamf(const rl_binding *b)
{
    enum { DIGITS_MAX = 9 };
    return (b->source == RL_SOURCE_JAMF_COMPUTER || b->source == RL_SOURCE_JAMF_DEVICE) && strlen(b->id) <= DIGITS_MAX;
}

/* A computer or mobile device that a certificate names is taken to be there until Jamf Pro has been asked for it: its
 * source asks for what it knows and no listing has. Else one that was deleted before it was listed would be missed by
 * nobody. */
static rl_err take_down_numbers(rl_store_txn *t, const rl_cert_record *cert, int64_t now)
{
    const rl_object_record named = {
        .exists = true, .enabled = true, .generation = RL_GENERATION_NAMED, .last_seen = now};
    for (size_t i = 0; i < cert->bindings_n; i++) {
        const rl_binding *b = &cert->bindings[i];
        rl_object_record known;
        rl_err err = is_number_of_jamf(b) ? rl_txn_object(t, b->source, b->id, &known) : RL_OK;
        if (err == RL_ENOTFOUND)
            err = rl_txn_put_object(t, b->source, b->id, &named);
        else if (err == RL_OK && is_number_of_jamf(b))
            rl_object_clear(&known);
        RL_TRY(err);
    }
    return RL_OK;
}

rl_err rl_weigh_new(rl_store_txn *t, rl_cert_record *cert, int64_t now, const void *settings)
{
    struct states states = {0};
    rl_err err = look_all(t, settings, cert, &states);
    if (err == RL_OK)
        err = bootstrap(t, settings, now, &states.bound, cert);
    if (err == RL_OK)
        decide(settings, now, &states.bound, cert);
    if (err == RL_OK)
        err = take_down_numbers(t, cert, now);
    clear(&states);
    return err;
}
