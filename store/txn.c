/* Inside a transaction: reads that see the group's own writes, and the few kinds of write, each keeping the
 * families that belong together in step (cert, der, binding, revoked, delta). Writer thread only. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/txn_priv.h"

enum { BINDINGS_AT_ONCE = 64 };

rl_err rl_txn_cert(rl_store_txn *t, const rl_cert_id *id, rl_cert_record *out)
{
    rl_key k;
    GET_INTO(CF_CERT, rl_key_cert(id, &k), rl_cert_decode, out);
}

static rl_err append(rl_span in, rl_buf *out)
{
    return rl_buf_append(out, in.p, in.n);
}

rl_err rl_txn_der(rl_store_txn *t, const rl_cert_id *id, rl_buf *out)
{
    rl_key k;
    GET_INTO(CF_DER, rl_key_cert(id, &k), append, out);
}

rl_err rl_txn_object(rl_store_txn *t, rl_source src, const char *id, rl_object_record *out)
{
    rl_key k;
    RL_TRY(rl_key_object(src, id, &k));
    if (!t->store->has_objects[src])
        return RL_ENOTFOUND;
    GET_INTO(CF_OBJECT, RL_OK, rl_object_decode, out);
}

rl_err rl_txn_cursor(rl_store_txn *t, const char *source, rl_cursor_record *out)
{
    rl_key k;
    GET_INTO(CF_CURSOR, rl_key_cursor(source, &k), rl_cursor_decode, out);
}

rl_err rl_txn_issuer(rl_store_txn *t, rl_issuer_id id, rl_issuer_record *out)
{
    rl_key k = rl_key_u32(id);
    GET_INTO(CF_ISSUER, RL_OK, rl_issuer_decode, out);
}

/* ---- bindings ---- */
/* Up to `cap` certificates behind a binding prefix, those after `after` (whole key) only. */
static rl_err collect_bindings(rl_store_txn *t, const rl_key *prefix, const rl_key *after, rl_cert_id *out, size_t cap,
                               size_t *n)
{
    rl_txn_scan scan = rl_txn_scan_from(t, CF_BINDING, after->n ? after : prefix, prefix->n);
    rl_err err = RL_OK;
    for (*n = 0; err == RL_OK && *n < cap && scan.valid; rl_txn_scan_next(&scan)) {
        if (rl_span_eq(scan.key, rl_key_span(after)))
            continue;
        err = rl_key_to_cert(scan.key.p, scan.key.n, prefix->n, &out[*n]);
        ++*n;
    }
    return rl_txn_scan_end(&scan, err);
}

rl_err rl_txn_binding_first(rl_store_txn *t, rl_source src, const char *id, rl_cert_id *out)
{
    rl_key prefix, none = {0};
    size_t n;
    RL_TRY(rl_key_binding_prefix(src, id, &prefix));
    RL_TRY(collect_bindings(t, &prefix, &none, out, 1, &n));
    return n ? RL_OK : RL_ENOTFOUND;
}

rl_err rl_txn_each_binding(rl_store_txn *t, rl_source src, const char *id, rl_binding_fn fn, void *ctx)
{
    rl_key prefix, after = {0};
    rl_cert_id found[BINDINGS_AT_ONCE];
    size_t n;
    RL_TRY(rl_key_binding_prefix(src, id, &prefix));
    do {
        RL_TRY(collect_bindings(t, &prefix, &after, found, BINDINGS_AT_ONCE, &n));
        for (size_t i = 0; i < n; i++)
            RL_TRY(fn(t, &found[i], ctx));
        if (n)
            RL_TRY(rl_key_binding(src, id, &found[n - 1], &after));
    } while (n == BINDINGS_AT_ONCE);
    return RL_OK;
}

rl_err rl_txn_put_binding(rl_store_txn *t, rl_source src, const char *id, const rl_cert_id *cert)
{
    rl_key k;
    RL_TRY(rl_key_binding(src, id, cert, &k));
    put(t, CF_BINDING, &k, "", 0);
    return RL_OK;
}

rl_err rl_txn_delete_binding(rl_store_txn *t, rl_source src, const char *id, const rl_cert_id *cert)
{
    rl_key k;
    RL_TRY(rl_key_binding(src, id, cert, &k));
    delete (t, CF_BINDING, &k);
    return RL_OK;
}

/* ---- objects ---- */
struct object_page {
    size_t n;
    struct {
        char id[RL_OBJECT_ID_MAX + 1];
        rl_object_record record;
    } items[64];
};

static rl_err collect_objects(rl_store_txn *t, rl_source src, const char *after, struct object_page *page)
{
    rl_key from;
    rl_err err = RL_OK;
    from.n = 1;
    from.b[0] = (uint8_t)src;
    page->n = 0;
    if (after[0])
        RL_TRY(rl_key_object(src, after, &from));
    rl_txn_scan scan = rl_txn_scan_from(t, CF_OBJECT, &from, 1);
    for (; err == RL_OK && page->n < 64 && scan.valid; rl_txn_scan_next(&scan)) {
        const rl_span key = scan.key;
        if (key.n < 2 || key.n > RL_OBJECT_ID_MAX + 1) {
            err = RL_ECORRUPT;
            break;
        }
        char *id = page->items[page->n].id;
        memcpy(id, key.p + 1, key.n - 1);
        id[key.n - 1] = 0;
        if (after[0] && strcmp(id, after) == 0)
            continue;
        err = rl_object_decode(scan.value, &page->items[page->n].record);
        if (err == RL_OK)
            page->n++;
    }
    return rl_txn_scan_end(&scan, err);
}

rl_err rl_txn_each_object(rl_store_txn *t, rl_source src, const char *behind,
                          rl_err (*fn)(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx),
                          void *ctx)
{
    struct object_page *page = calloc(1, sizeof(*page));
    char after[RL_OBJECT_ID_MAX + 1];
    rl_err err = page ? RL_OK : RL_ENOMEM;
    snprintf(after, sizeof(after), "%s", behind);
    bool more = err == RL_OK;
    while (more) {
        err = collect_objects(t, src, after, page);
        more = err == RL_OK && page->n == 64;
        if (page->n)
            memcpy(after, page->items[page->n - 1].id, sizeof(after));
        for (size_t i = 0; i < page->n; i++) {
            if (err == RL_OK)
                err = fn(t, page->items[i].id, &page->items[i].record, ctx);
            rl_object_clear(&page->items[i].record);
        }
        more = more && err == RL_OK;
    }
    free(page);
    return err;
}

rl_err rl_txn_put_object(rl_store_txn *t, rl_source src, const char *id, const rl_object_record *r)
{
    rl_key k;
    rl_buf value = {0};
    RL_TRY(rl_key_object(src, id, &k));
    t->store->has_objects[src] = true;
    return put_encoded(t, CF_OBJECT, &k, rl_object_encode(r, &value), &value);
}

rl_err rl_txn_delete_object(rl_store_txn *t, rl_source src, const char *id)
{
    rl_key k;
    RL_TRY(rl_key_object(src, id, &k));
    delete (t, CF_OBJECT, &k);
    return RL_OK;
}

rl_err rl_txn_put_cursor(rl_store_txn *t, const char *source, const rl_cursor_record *r)
{
    rl_key k;
    rl_buf value = {0};
    RL_TRY(rl_key_cursor(source, &k));
    return put_encoded(t, CF_CURSOR, &k, rl_cursor_encode(r, &value), &value);
}

rl_err rl_txn_put_issuer(rl_store_txn *t, rl_issuer_id id, const rl_issuer_record *r)
{
    rl_key k = rl_key_u32(id);
    rl_buf value = {0};
    return put_encoded(t, CF_ISSUER, &k, rl_issuer_encode(r, &value), &value);
}

/* ---- certificates ---- */
static rl_err tell(rl_store_txn *t, const rl_store_event *event)
{
    if (t->changed_n == t->changed_cap) {
        size_t cap = t->changed_cap ? 2 * t->changed_cap : 64;
        rl_store_event *p = realloc(t->changed, cap * sizeof(*p));
        if (!p)
            return RL_ENOMEM;
        t->changed = p;
        t->changed_cap = cap;
    }
    t->changed[t->changed_n++] = *event;
    return RL_OK;
}

static rl_err put_delta(rl_store_txn *t, const rl_store_event *event, const rl_cert_record *r, const char *origin)
{
    rl_buf value = {0};
    rl_delta_record d = {.kind = event->issued ? RL_DELTA_ISSUED : RL_DELTA_STATUS,
                         .cert = event->cert,
                         .status = r->status,
                         .reason = r->reason,
                         .why = r->why,
                         .revoked_at = r->revoked_at,
                         .not_after = r->not_after,
                         .at = event->at,
                         .origin = strdup(origin)};
    rl_key k = rl_key_u64(event->sequence);
    rl_err err = d.origin ? rl_delta_encode(&d, &value) : RL_ENOMEM;
    free(d.origin);
    return put_encoded(t, CF_DELTA, &k, err, &value);
}

/* What a directory or another CA's list has changed. What people do is told where they do it, changed or not. */
static rl_err audit_sync(rl_store_txn *t, const rl_store_event *event, const char *origin)
{
    static const char *const what[] = {
        [RL_STATUS_GOOD] = "cert.unrevoke", [RL_STATUS_HOLD] = "cert.hold", [RL_STATUS_REVOKED] = "cert.revoke"};
    char serial[2 * RL_STORE_SERIAL_MAX + 1];
    RL_TRY(rl_hex(rl_span_of(event->cert.serial, event->cert.serial_n), serial, sizeof(serial)));
    return rl_txn_audit(t, origin, what[event->to], serial);
}

/* The record's status is new: everybody who must know of it learns it here, in the transaction or by the event. */
static rl_err note_change(rl_store_txn *t, const rl_cert_id *id, bool issued, rl_status from, const rl_cert_record *r,
                          const char *origin)
{
    rl_store_event event = {.sequence = t->delta_next++,
                            .cert = *id,
                            .issued = issued,
                            .from = from,
                            .to = r->status,
                            .reason = r->reason,
                            .why = r->why,
                            .at = rl_wall_s()};
    snprintf(event.origin, sizeof(event.origin), "%s", origin);
    RL_TRY(put_delta(t, &event, r, origin));
    if (!issued && strncmp(origin, "sync:", 5) == 0)
        RL_TRY(audit_sync(t, &event, origin));
    return tell(t, &event);
}

static rl_err keep_revoked(rl_store_txn *t, const rl_key *k, const rl_cert_record *r)
{
    rl_buf value = {0};
    if (r->status == RL_STATUS_GOOD) {
        delete (t, CF_REVOKED, k);
        return RL_OK;
    }
    const rl_revoked_record revoked = {.revoked_at = r->revoked_at, .reason = r->reason};
    return put_encoded(t, CF_REVOKED, k, rl_revoked_encode(&revoked, &value), &value);
}

void rl_store_on_compromise(rl_store *s, rl_store_compromised fn)
{
    s->compromised = fn;
}

/* Whose DER is not known has no key here. */
static rl_err note_compromise(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *r)
{
    char name[RL_OBJECT_ID_MAX + 1];
    rl_buf der = {0};
    if (!t->store->compromised || r->status != RL_STATUS_REVOKED ||
        (r->reason != RL_REASON_KEY_COMPROMISE && r->reason != RL_REASON_CA_COMPROMISE))
        return RL_OK;
    rl_err err = rl_txn_der(t, id, &der);
    if (err == RL_OK && t->store->compromised(rl_buf_span(&der), r->reason, name))
        err = rl_txn_put_binding(t, RL_SOURCE_COMPROMISED_KEY, name, id);
    rl_buf_free(&der);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

rl_err rl_txn_add_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *r, rl_span der, const char *origin)
{
    rl_key k;
    rl_buf value = {0};
    rocksdb_pinnableslice_t *existing;
    rl_span unused;
    RL_TRY(rl_key_cert(id, &k));
    rl_err found = rl_txn_get(t, CF_CERT, &k, &existing, &unused);
    rocksdb_pinnableslice_destroy(existing);
    if (found != RL_ENOTFOUND)
        return found == RL_OK ? RL_EEXISTS : found;
    RL_TRY(put_encoded(t, CF_CERT, &k, rl_cert_encode(r, &value), &value));
    if (der.n)
        put(t, CF_DER, &k, der.p, der.n);
    for (size_t i = 0; i < r->bindings_n; i++)
        RL_TRY(rl_txn_put_binding(t, r->bindings[i].source, r->bindings[i].id, id));
    if (r->status != RL_STATUS_GOOD)
        RL_TRY(keep_revoked(t, &k, r));
    RL_TRY(note_compromise(t, id, r));
    return note_change(t, id, true, RL_STATUS_GOOD, r, origin);
}

rl_err rl_txn_put_der(rl_store_txn *t, const rl_cert_id *id, rl_span der)
{
    rl_key k;
    RL_TRY(rl_key_cert(id, &k));
    put(t, CF_DER, &k, der.p, der.n);
    return RL_OK;
}

static bool has_binding(const rl_cert_record *r, const rl_binding *b)
{
    for (size_t i = 0; i < r->bindings_n; i++)
        if (r->bindings[i].source == b->source && strcmp(r->bindings[i].id, b->id) == 0)
            return true;
    return false;
}

static rl_err move_bindings(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *old, const rl_cert_record *new)
{
    for (size_t i = 0; i < old->bindings_n; i++)
        if (!has_binding(new, &old->bindings[i]))
            RL_TRY(rl_txn_delete_binding(t, old->bindings[i].source, old->bindings[i].id, id));
    for (size_t i = 0; i < new->bindings_n; i++)
        if (!has_binding(old, &new->bindings[i]))
            RL_TRY(rl_txn_put_binding(t, new->bindings[i].source, new->bindings[i].id, id));
    return RL_OK;
}

rl_err rl_txn_replace_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *old, const rl_cert_record *r,
                           const char *origin)
{
    rl_key k;
    rl_buf value = {0};
    bool changed = old->status != r->status || old->reason != r->reason || old->revoked_at != r->revoked_at ||
                   old->not_before != r->not_before || old->not_after != r->not_after;
    RL_TRY(move_bindings(t, id, old, r));
    if (old->held.change != r->held.change)
        RL_TRY(rl_txn_move_held(t, id, old->held.change, r->held.change));
    RL_TRY(rl_key_cert(id, &k));
    RL_TRY(put_encoded(t, CF_CERT, &k, rl_cert_encode(r, &value), &value));
    if (!changed)
        return RL_OK;
    RL_TRY(keep_revoked(t, &k, r));
    RL_TRY(note_compromise(t, id, r));
    delete (t, CF_RESPONSE, &k);
    return note_change(t, id, false, old->status, r, origin);
}

rl_err rl_txn_update_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *r, const char *origin)
{
    rl_cert_record old;
    RL_TRY(rl_txn_cert(t, id, &old));
    rl_err err = rl_txn_replace_cert(t, id, &old, r, origin);
    rl_cert_clear(&old);
    return err;
}

/* There is no answer to delete when a certificate is added: before that none is taken for it. */
rl_err rl_txn_put_response(rl_store_txn *t, const rl_cert_id *id, const rl_response_record *r)
{
    rl_key k;
    rl_buf value = {0};
    RL_TRY(rl_key_cert(id, &k));
    const rl_batch_entry *written = rl_batch_find(t->batch, CF_CERT, rl_key_span(&k));
    if ((written && written->state == RL_ENTRY_PUT) || rl_txn_below(t, CF_CERT, rl_key_span(&k)))
        return RL_EBUSY;
    rl_cert_status status;
    RL_TRY(rl_store_cert_status(t->store, id, &status));
    return put_encoded(t, CF_RESPONSE, &k, rl_response_encode(r, &value), &value);
}

rl_err rl_txn_audit(rl_store_txn *t, const char *who, const char *what, const char *subject)
{
    rl_buf value = {0};
    rl_key k;
    rl_err err;
    /* After a clock that was set back and a restart the number at the family's end is not the highest: an entry that is
     * there already keeps its key. Only one of before the start can be, so it is not looked for at a later time. */
    do {
        int64_t now = rl_wall_ms();
        rocksdb_pinnableslice_t *there = NULL;
        rl_span unused;
        k = rl_key_audit(now, t->audit_next++);
        err = now > (int64_t)t->store->audit_newest ? RL_ENOTFOUND : rl_txn_get(t, CF_AUDIT, &k, &there, &unused);
        rocksdb_pinnableslice_destroy(there);
    } while (err == RL_OK);
    if (err != RL_ENOTFOUND)
        return err;
    return put_encoded(t, CF_AUDIT, &k, rl_audit_encode(who, what, subject, &value), &value);
}

/* ---- what a CRL walks ---- */
rl_err rl_txn_revoked_after(rl_store_txn *t, const rl_cert_id *after, rl_cert_id *ids, rl_revoked_record *records,
                            size_t cap, size_t *n)
{
    rl_key from = rl_key_u32(after->issuer);
    rl_err err = RL_OK;
    if (after->serial_n)
        RL_TRY(rl_key_cert(after, &from));
    rl_txn_scan scan = rl_txn_scan_from(t, CF_REVOKED, &from, 4);
    for (*n = 0; err == RL_OK && *n < cap && scan.valid; rl_txn_scan_next(&scan)) {
        if (after->serial_n && rl_span_eq(scan.key, rl_key_span(&from)))
            continue;
        err = rl_key_to_cert(scan.key.p, scan.key.n, 0, &ids[*n]);
        if (err == RL_OK)
            err = rl_revoked_decode(scan.value, &records[*n]);
        *n += err == RL_OK;
    }
    return rl_txn_scan_end(&scan, err);
}

/* ---- by hand ---- */
static rl_err change(rl_store_txn *t, const rl_cert_id *id, rl_cert_record *r, int64_t now, const char *who,
                     const char *what)
{
    char serial[2 * RL_STORE_SERIAL_MAX + 1];
    rl_cert_settle(r, now);
    RL_TRY(rl_txn_update_cert(t, id, r, who));
    RL_TRY(rl_hex(rl_span_of(id->serial, id->serial_n), serial, sizeof(serial)));
    return rl_txn_audit(t, who, what, serial);
}

static rl_err load(rl_store_txn *t, const rl_cert_id *id, rl_cert_record *r, rl_error *e)
{
    rl_err err = rl_txn_cert(t, id, r);
    if (err == RL_ENOTFOUND)
        return rl_fail(e, err, "cert", "no certificate has this serial number");
    return err == RL_OK ? RL_OK : rl_fail(e, err, "cert", "the certificate cannot be read: %s", rl_err_name(err));
}

rl_err rl_txn_revoke(rl_store_txn *t, const rl_cert_id *id, rl_reason reason, int64_t now, const char *who, rl_error *e)
{
    rl_cert_record r;
    rl_err err;
    if (reason < 0 || reason > RL_REASON_AA_COMPROMISE || reason == 7 || reason == RL_REASON_REMOVE_FROM_CRL)
        return rl_fail(e, RL_EINVAL, "cert", "%d is no reason for a revocation (RFC 5280 §5.3.1)", (int)reason);
    RL_TRY(load(t, id, &r, e));
    bool manual_hold = (r.why & RL_WHY_MANUAL) && r.manual_reason == RL_REASON_HOLD;
    if (r.status == RL_STATUS_REVOKED) {
        err = rl_fail(e, RL_EEXISTS, "cert", "the certificate is revoked already (%s)", rl_reason_name(r.reason));
    } else if (reason == RL_REASON_HOLD && manual_hold) {
        err = rl_fail(e, RL_EEXISTS, "cert", "the certificate is on hold already");
    } else {
        r.why |= RL_WHY_MANUAL;
        r.manual_reason = reason;
        err = change(t, id, &r, now, who, "cert.revoke");
    }
    rl_cert_clear(&r);
    return err;
}

rl_err rl_txn_unrevoke(rl_store_txn *t, const rl_cert_id *id, int64_t now, const char *who, rl_error *e)
{
    rl_cert_record r;
    rl_err err;
    RL_TRY(load(t, id, &r, e));
    if (r.status == RL_STATUS_REVOKED) {
        err =
            rl_fail(e, RL_EINVAL, "cert", "a revocation for good cannot be taken back (%s)", rl_reason_name(r.reason));
    } else if (!(r.why & RL_WHY_MANUAL) || r.manual_reason != RL_REASON_HOLD) {
        err = rl_fail(e, RL_EINVAL, "cert", "the certificate is not on hold by hand");
    } else {
        r.why &= ~(uint32_t)RL_WHY_MANUAL;
        r.manual_reason = RL_REASON_UNSPECIFIED;
        err = change(t, id, &r, now, who, "cert.unrevoke");
    }
    rl_cert_clear(&r);
    return err;
}
