/* Entra devices and users: objects, names, certificates. Writer thread, inside the page's transaction.
 *
 * An object is stored under its directory id. Certificates know it by name (deviceId, user principal name) until it is
 * first seen: then a record under the name's source points to it, and the certificates that wait under the name are
 * bound to it. A deleted object stays as a tombstone, and its name points to it until another object takes the name.
 * A user has two names. The mail address, which is the record's target, points to the user unless it is another's user
 * principal name, or the mail address of another who is there. */
#include "sync/apply.h"

#include <stdlib.h>

/* ---- certificates ---- */
/* In place of the name comes the object; not twice. */
static bool rebind(rl_cert_record *cert, const void *ctx)
{
    const struct rl_page_object *o = ctx;
    const rl_graph_kind *kind = o->job->kind;
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
    const struct rl_page_object *o = ctx;
    return rl_weigh_stored(t, &o->job->weigher, id, rebind, o);
}

/* ---- names ---- */
static rl_err put_name(rl_store_txn *t, const rl_graph_kind *kind, const char *name, const char *id,
                       const rl_object_record *o)
{
    rl_object_record r = *o;
    r.name = r.sid = NULL;
    r.target = (char *)(uintptr_t)id; /* encoding only reads */
    return rl_txn_put_object(t, kind->name_source, name, &r);
}

/* Lets the name's record follow the object's state. `take`: the object claims the name; else only if it has it already.
 */
static rl_err keep_name(rl_store_txn *t, const rl_graph_kind *kind, const char *id, const rl_object_record *o,
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

/* The same for the mail address, which is taken only when nobody has it who is there. `mine`: it points to the object.
 */
static rl_err keep_mail(rl_store_txn *t, const rl_graph_kind *kind, const char *id, const rl_object_record *o,
                        bool *mine)
{
    rl_object_record known = {0};
    rl_err err = rl_txn_object(t, kind->name_source, o->target, &known);
    *mine = err == RL_OK && known.target && strcmp(known.target, id) == 0;
    bool same = *mine && known.exists == o->exists && known.enabled == o->enabled;
    bool take = o->exists && (err == RL_ENOTFOUND || !known.exists);
    rl_object_clear(&known);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    *mine |= take;
    return !same && *mine ? put_name(t, kind, o->target, id, o) : RL_OK;
}

static rl_err has_name(rl_store_txn *t, const rl_graph_kind *kind, const char *name, const char *id, bool *has)
{
    rl_object_record known;
    rl_err err = rl_txn_object(t, kind->name_source, name, &known);
    *has = err == RL_OK && known.target && strcmp(known.target, id) == 0;
    if (err == RL_OK)
        rl_object_clear(&known);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

static rl_err drop_name(rl_store_txn *t, const rl_graph_kind *kind, const char *id, const char *name)
{
    bool mine;
    RL_TRY(has_name(t, kind, name, id, &mine));
    return mine ? rl_txn_delete_object(t, kind->name_source, name) : RL_OK;
}

/* ---- objects ---- */
/* The mail address is the user principal name. */
static bool is_both(const rl_object_record *o)
{
    return o->name && o->target && strcmp(o->name, o->target) == 0;
}

/* Lets the names follow the object's state. `has_mail`: its mail address points to it. */
static rl_err keep_names(rl_store_txn *t, const rl_graph_kind *kind, const char *id, const rl_object_record *o,
                         bool take_name, bool *has_mail)
{
    *has_mail = false;
    if (o->name)
        RL_TRY(keep_name(t, kind, id, o, take_name));
    if (!o->target || is_both(o))
        return RL_OK;
    return keep_mail(t, kind, id, o, has_mail);
}

static rl_err put_state(rl_store_txn *t, const rl_graph_kind *kind, const char *id, const rl_object_record *o,
                        bool take_name, bool *has_mail)
{
    RL_TRY(rl_txn_put_object(t, kind->source, id, o));
    return keep_names(t, kind, id, o, take_name, has_mail);
}

/* Told to be gone on a page behind which the round may yet tell that it is there. */
static bool may_come_back(const rl_page_job *job, const rl_graph_item *item)
{
    return item->removed && job->kind->leaving && !job->next.complete;
}

/* It is noted, and where others may have its names as addresses these are free: a name is taken from whoever has it, an
 * address is not. */
static rl_err note_leaving(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o)
{
    const rl_object_record note = {.exists = true};
    rl_object_record gone = *o; /* strings stay the caller's */
    bool has_mail;
    gone.exists = false;
    job->next.leaving = true;
    if (job->kind->shape.mail)
        RL_TRY(keep_names(t, job->kind, id, &gone, false, &has_mail));
    return rl_txn_put_object(t, job->kind->leaving, id, &note);
}

/* A new name replaces the old; the old one's record goes unless another object has it by now. */
static rl_err rename_object(rl_store_txn *t, const rl_graph_kind *kind, const rl_graph_item *item, rl_object_record *o)
{
    if (o->name && item->name && strcmp(o->name, item->name) == 0)
        return RL_OK;
    if (o->name)
        RL_TRY(drop_name(t, kind, item->id, o->name));
    free(o->name);
    o->name = item->name ? strdup(item->name) : NULL;
    return item->name && !o->name ? RL_ENOMEM : RL_OK;
}

/* As with a name. One that is the user principal name, too, keeps its record. */
static rl_err put_mail(rl_store_txn *t, const rl_graph_kind *kind, const rl_graph_item *item, rl_object_record *o)
{
    if (o->target && item->mail && strcmp(o->target, item->mail) == 0)
        return RL_OK;
    if (o->target && !is_both(o))
        RL_TRY(drop_name(t, kind, item->id, o->target));
    free(o->target);
    o->target = item->mail ? strdup(item->mail) : NULL;
    return item->mail && !o->target ? RL_ENOMEM : RL_OK;
}

static rl_err put_sid(rl_object_record *o, const char *sid)
{
    free(o->sid);
    o->sid = sid ? strdup(sid) : NULL;
    return sid && !o->sid ? RL_ENOMEM : RL_OK;
}

/* The objects, then the names by which they are known, and by which Intune's are found. */
void rl_entra_expect(rl_store_txn *t, const rl_page_job *job)
{
    const rl_graph_page *page = job->page;
    rl_object_id *ids = calloc(2 * page->n + 1, sizeof(*ids));
    rl_object_record *known = calloc(page->n + 1, sizeof(*known));
    size_t n = 0;
    for (size_t i = 0; ids && i < page->n; i++)
        ids[n++] = (rl_object_id){job->kind->source, page->items[i].id};
    rl_txn_expect_objects(t, ids, n);
    n = 0;
    for (size_t i = 0; ids && known && i < page->n; i++) {
        const rl_graph_item *item = &page->items[i];
        if (may_come_back(job, item))
            continue;
        (void)rl_txn_object(t, job->kind->source, item->id, &known[i]);
        const char *name = item->name_said && item->name ? item->name : known[i].name;
        if (name) {
            ids[n++] = (rl_object_id){job->kind->name_source, name};
            if (job->kind->source == RL_SOURCE_ENTRA_DEVICE)
                ids[n++] = (rl_object_id){RL_SOURCE_INTUNE_DEVICE_NAME, name};
        }
        if (item->mail) /* of users, so that there are two of each item still */
            ids[n++] = (rl_object_id){job->kind->name_source, item->mail};
    }
    rl_txn_expect_objects(t, ids, n);
    for (size_t i = 0; known && i < page->n; i++)
        rl_object_clear(&known[i]);
    free(known);
    free(ids);
}

/* ---- the page's certificates ---- */
static void look_for_mail(rl_page_job *job, const rl_graph_item *item)
{
    struct rl_page_object *o = &job->objects[job->objects_n++];
    *o = (struct rl_page_object){.job = job, .id = item->id, .name = item->mail};
    job->looks[job->looks_n++] = (rl_binding_look){job->kind->name_source, o->name, o};
}

/* Those bound to the object, and those that wait for a name of its. To a new one that has a name none is bound, since
 * that takes a record of it, and records stay; computers and mobile devices of Jamf Pro have none but their number. */
static rl_err note_object(rl_page_job *job, const rl_graph_item *item, bool take_name, bool take_mail, bool is_new)
{
    if (!job->objects) { /* the mail address makes a second one of an item */
        job->objects = calloc(2 * job->page->n, sizeof(*job->objects));
        job->looks = calloc(3 * job->page->n, sizeof(*job->looks));
    }
    if (!job->objects || !job->looks)
        return RL_ENOMEM;
    struct rl_page_object *o = &job->objects[job->objects_n++];
    *o = (struct rl_page_object){.job = job, .id = item->id, .name = take_name ? item->name : NULL};
    if (!is_new || job->kind->name_source == RL_SOURCE_NONE)
        job->looks[job->looks_n++] = (rl_binding_look){job->kind->source, item->id, o};
    if (o->name)
        job->looks[job->looks_n++] = (rl_binding_look){job->kind->name_source, o->name, o};
    if (take_mail)
        look_for_mail(job, item);
    return RL_OK;
}

/* An address that another user had when it was this one's turn, and that the other has left later in the page. */
static rl_err take_mail_late(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record o;
    bool had, has;
    RL_TRY(rl_txn_object(t, job->kind->source, item->id, &o));
    rl_err err = RL_OK;
    if (o.exists && o.target && strcmp(o.target, item->mail) == 0 && !is_both(&o)) {
        err = has_name(t, job->kind, item->mail, item->id, &had);
        if (err == RL_OK && !had)
            err = keep_mail(t, job->kind, item->id, &o, &has);
        if (err == RL_OK && !had && has)
            look_for_mail(job, item);
    }
    rl_object_clear(&o);
    return err;
}

static rl_err note_cert(rl_store_txn *t, const rl_cert_id *id, void *ctx)
{
    const struct rl_page_object *o = ctx;
    rl_page_job *job = o->job;
    (void)t;
    if (job->certs_n == job->certs_cap) {
        size_t cap = job->certs_cap ? 2 * job->certs_cap : 256;
        rl_page_cert *certs = realloc(job->certs, cap * sizeof(*certs));
        if (!certs)
            return RL_ENOMEM;
        job->certs = certs;
        job->certs_cap = cap;
    }
    job->certs[job->certs_n++] = (rl_page_cert){*id, o};
    return RL_OK;
}

static int by_cert(const rl_page_cert *a, const rl_page_cert *b)
{
    if (a->cert.issuer != b->cert.issuer)
        return a->cert.issuer < b->cert.issuer ? -1 : 1;
    size_t n = a->cert.serial_n < b->cert.serial_n ? a->cert.serial_n : b->cert.serial_n;
    int c = memcmp(a->cert.serial, b->cert.serial, n);
    return c ? c : (int)a->cert.serial_n - (int)b->cert.serial_n;
}

static int by_cert_and_object(const void *x, const void *y)
{
    const rl_page_cert *a = x, *b = y;
    int c = by_cert(a, b);
    return c ? c : a->object < b->object ? -1 : a->object > b->object;
}

static void expect_certs(rl_store_txn *t, const rl_page_job *job)
{
    const rl_cert_id **ids = calloc(job->certs_n, sizeof(*ids));
    size_t n = 0;
    for (size_t i = 0; ids && i < job->certs_n; i++)
        if (i == 0 || by_cert(&job->certs[i - 1], &job->certs[i]) != 0)
            ids[n++] = &job->certs[i].cert;
    rl_txn_expect_certs(t, ids, n);
    free(ids);
}

/* When all objects of the page are stored, their bindings are read together, and then their certificates, each in the
 * order of their keys. */
rl_err rl_entra_follow(rl_store_txn *t, rl_page_job *job)
{
    for (size_t i = 0; job->mailless && i < job->page->n; i++)
        if (job->page->items[i].mail && !job->page->items[i].removed)
            RL_TRY(take_mail_late(t, job, &job->page->items[i]));
    RL_TRY(rl_txn_each_binding_of(t, job->looks, job->looks_n, note_cert));
    if (job->certs_n == 0)
        return RL_OK;
    qsort(job->certs, job->certs_n, sizeof(*job->certs), by_cert_and_object);
    expect_certs(t, job);
    for (size_t i = 0; i < job->certs_n; i++)
        RL_TRY(rl_weigh_stored(t, &job->weigher, &job->certs[i].cert, rebind, job->certs[i].object));
    return RL_OK;
}

rl_err rl_entra_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record o;
    rl_err err = rl_txn_object(t, job->kind->source, item->id, &o);
    bool is_new = err == RL_ENOTFOUND, has_mail = false;
    if (is_new) {
        if (item->removed)
            return RL_OK; /* never seen: no certificate is bound to it */
        o = (rl_object_record){.enabled = true};
        err = RL_OK;
    }
    RL_TRY(err);
    if (o.exists && may_come_back(job, item)) {
        err = note_leaving(t, job, item->id, &o);
        rl_object_clear(&o);
        return err;
    }
    if (job->next.leaving && !item->removed)
        err = rl_txn_delete_object(t, job->kind->leaving, item->id);
    bool said = !item->removed && item->name_said;
    o.exists = !item->removed;
    o.generation = job->next.generation;
    o.last_seen = job->now;
    if (!item->removed && item->enabled != RL_ENABLED_UNSAID)
        o.enabled = item->enabled == RL_ENABLED_YES;
    if (!item->removed && item->compliance != RL_COMPLIANCE_UNSAID)
        o.compliance = item->compliance;
    if (err == RL_OK && !item->removed && item->sid_said)
        err = put_sid(&o, item->sid);
    if (err == RL_OK && said)
        err = rename_object(t, job->kind, item, &o);
    if (err == RL_OK && !item->removed && item->mail_said)
        err = put_mail(t, job->kind, item, &o);
    if (err == RL_OK)
        err = put_state(t, job->kind, item->id, &o, said && item->name, &has_mail);
    job->mailless |= !has_mail && o.target && !is_both(&o);
    if (err == RL_OK)
        err = note_object(job, item, said && item->name, has_mail && !item->removed && item->mail, is_new);
    rl_object_clear(&o);
    return err;
}

rl_err rl_entra_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o)
{
    rl_object_record gone = *o; /* strings stay the caller's */
    gone.exists = false;
    struct rl_page_object ctx = {.job = job, .id = id};
    bool has_mail;
    RL_TRY(put_state(t, job->kind, id, &gone, false, &has_mail));
    return rl_txn_each_binding(t, job->kind->source, id, settle_cert, &ctx);
}
