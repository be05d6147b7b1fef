/* The database as JSON lines: a walk over the families, and how a record of each is written. */
#include "store/export.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "store/store_priv.h"

/* ---- values ---- */
static json_t *octets_json(const uint8_t *p, size_t n)
{
    size_t cap = 4 * (n / 3 + 1) + 1;
    char *text = malloc(cap);
    json_t *out = text && rl_base64_encode(rl_span_of(p, n), false, text, cap) == RL_OK ? json_string(text) : NULL;
    free(text);
    return out;
}

static json_t *octets_or_null(const uint8_t *p, size_t n)
{
    return n ? octets_json(p, n) : json_null();
}

static json_t *hex_json(const uint8_t *p, size_t n)
{
    char text[2 * 32 + 1];
    return rl_hex(rl_span_of(p, n), text, sizeof(text)) == RL_OK ? json_string(text) : NULL;
}

static json_t *serial_json(const rl_cert_id *id)
{
    char text[2 * RL_STORE_SERIAL_MAX + 1];
    for (size_t i = 0; i < id->serial_n; i++)
        snprintf(text + 2 * i, 3, "%02X", id->serial[i]);
    return json_stringn(text, 2u * id->serial_n);
}

json_t *rl_why_json(uint32_t why)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < RL_WHY_BITS; i++)
        if (why & 1u << i)
            json_array_append_new(out, json_string(rl_why_name(1u << i)));
    return out;
}

/* Null while the reason is not among `why`. */
static json_t *reason_json(bool counts, rl_reason reason)
{
    return counts ? json_string(rl_reason_name(reason)) : json_null();
}

/* ---- a line of each family ---- */
/* A new line; RL_ENOTFOUND: none for this key. */
typedef json_t *(*make_line)(rl_store *s, rl_span key, rl_span value, rl_err *err);

static json_t *meta_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    (void)s;
    *err = value.n == 8 ? RL_OK : RL_ECORRUPT;
    return *err == RL_OK ? json_pack("{s:s,s:s#,s:I}", "type", "meta", "name", (const char *)key.p, (int)key.n, "value",
                                     (json_int_t)rl_get_u64(value.p))
                         : NULL;
}

static json_t *list_json(const rl_issuer_crl *c)
{
    if (!c->this_update)
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:b,s:b,s:o}", "number", hex_json(c->number, sizeof(c->number)), "thisUpdate",
                     rl_json_time(c->this_update), "nextUpdate", rl_json_time(c->next_update), "whole", c->whole,
                     "partial", c->partial, "scope", hex_json(c->scope, sizeof(c->scope)));
}

static json_t *issuer_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_issuer_record r;
    (void)s;
    *err = key.n == 4 ? rl_issuer_decode(value, &r) : RL_ECORRUPT;
    if (*err != RL_OK)
        return NULL;
    json_t *out = json_pack("{s:s,s:I,s:o,s:s?,s:I,s:o,s:o}", "type", "issuer", "issuer", (json_int_t)rl_get_u32(key.p),
                            "certificate", octets_json(r.cert, r.cert_n), "key",
                            r.key_ref && r.key_ref[0] ? r.key_ref : NULL, "crlNumber", (json_int_t)r.crl_number,
                            "delegate", octets_or_null(r.delegate, r.delegate_n), "list", list_json(&r.crl));
    rl_issuer_clear(&r);
    return out;
}

enum { CHANGE_KEY = 8 };

static json_t *change_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_change_record r;
    (void)s;
    *err = key.n == CHANGE_KEY ? rl_change_decode(value, &r) : RL_ENOTFOUND;
    if (*err != RL_OK)
        return NULL;
    return json_pack("{s:s,s:I,s:s,s:s,s:o,s:I}", "type", "change", "id", (json_int_t)rl_get_u64(key.p), "source",
                     r.source, "state", rl_change_state_name(r.state), "since", rl_json_time(r.since), "certificates",
                     (json_int_t)r.certificates);
}

static json_t *held_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_cert_id id;
    (void)s, (void)value;
    *err = key.n == CHANGE_KEY ? RL_ENOTFOUND : rl_key_to_cert(key.p, key.n, CHANGE_KEY, &id);
    if (*err != RL_OK)
        return NULL;
    return json_pack("{s:s,s:I,s:I,s:o}", "type", "held", "change", (json_int_t)rl_get_u64(key.p), "issuer",
                     (json_int_t)id.issuer, "serial", serial_json(&id));
}

static json_t *bindings_json(const rl_cert_record *r)
{
    json_t *out = json_array();
    for (size_t i = 0; i < r->bindings_n; i++)
        json_array_append_new(
            out, json_pack("{s:s,s:s}", "source", rl_source_name(r->bindings[i].source), "id", r->bindings[i].id));
    return out;
}

static json_t *cert_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_cert_id id;
    rl_cert_record r;
    rl_buf der = {0};
    *err = rl_key_to_cert(key.p, key.n, 0, &id);
    if (*err != RL_OK || (*err = rl_cert_decode(value, &r)) != RL_OK)
        return NULL;
    rl_err read = rl_store_der(s, &id, &der);
    *err = read == RL_ENOTFOUND ? RL_OK : read;
    json_t *held = r.held.change ? json_pack("{s:I,s:o,s:o}", "change", (json_int_t)r.held.change, "why",
                                             rl_why_json(r.held.why), "kept", rl_why_json(r.held.kept))
                                 : json_null();
    json_t *out =
        json_pack("{s:s,s:I,s:o,s:s?,s:s?,s:s?,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:o,s:o,s:o}", "type",
                  "certificate", "issuer", (json_int_t)id.issuer, "serial", serial_json(&id), "subject", r.subject,
                  "profile", r.profile, "requester", r.requester, "status", rl_status_name(r.status), "reason",
                  reason_json(r.status != RL_STATUS_GOOD, r.reason), "why", rl_why_json(r.why), "manualReason",
                  reason_json(r.why & RL_WHY_MANUAL, r.manual_reason), "crlReason",
                  reason_json(r.why & RL_WHY_FOREIGN_CRL, r.crl_reason), "crlDate", rl_json_time(r.crl_date),
                  "issuedAt", rl_json_time(r.issued_at), "firstIssuedAt", rl_json_time(r.first_issued_at), "notBefore",
                  rl_json_time(r.not_before), "notAfter", rl_json_time(r.not_after), "bootstrap", r.bootstrap,
                  "revokedAt", rl_json_time(r.revoked_at), "bindings", bindings_json(&r), "held", held, "certificate",
                  octets_or_null(der.p, der.n));
    rl_buf_free(&der);
    rl_cert_clear(&r);
    return out;
}

static json_t *revoked_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_cert_id id;
    rl_revoked_record r;
    (void)s;
    *err = rl_key_to_cert(key.p, key.n, 0, &id);
    if (*err != RL_OK || (*err = rl_revoked_decode(value, &r)) != RL_OK)
        return NULL;
    return json_pack("{s:s,s:I,s:o,s:s,s:o}", "type", "revoked", "issuer", (json_int_t)id.issuer, "serial",
                     serial_json(&id), "reason", rl_reason_name(r.reason), "revokedAt", rl_json_time(r.revoked_at));
}

/* Source, length of the id, id, certificate. */
static json_t *binding_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_cert_id id;
    (void)s, (void)value;
    *err = key.n < 2 ? RL_ECORRUPT : rl_key_to_cert(key.p, key.n, 2u + key.p[1], &id);
    if (*err != RL_OK)
        return NULL;
    return json_pack("{s:s,s:s,s:s#,s:I,s:o}", "type", "binding", "source", rl_source_name((rl_source)key.p[0]), "id",
                     (const char *)key.p + 2, (int)key.p[1], "issuer", (json_int_t)id.issuer, "serial",
                     serial_json(&id));
}

static json_t *object_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_object_record r;
    (void)s;
    *err = key.n < 2 ? RL_ECORRUPT : rl_object_decode(value, &r);
    if (*err != RL_OK)
        return NULL;
    json_t *out = json_pack("{s:s,s:s,s:s#,s:b,s:b,s:s?,s:s,s:s,s:s,s:o,s:s?,s:s?,s:I,s:o}", "type", "object", "source",
                            rl_source_name((rl_source)key.p[0]), "id", (const char *)key.p + 1, (int)key.n - 1,
                            "exists", r.exists, "enabled", r.enabled, "name", r.name, "compliance",
                            rl_compliance_name(r.compliance), "management", rl_management_name(r.management), "risk",
                            rl_risk_name(r.risk), "enrolled", rl_json_time(r.enrolled), "sid", r.sid, "target",
                            r.target, "generation", (json_int_t)r.generation, "lastSeen", rl_json_time(r.last_seen));
    rl_object_clear(&r);
    return out;
}

static json_t *cursor_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_cursor_record r;
    (void)s;
    if ((*err = rl_cursor_decode(value, &r)) != RL_OK)
        return NULL;
    json_t *out =
        json_pack("{s:s,s:s#,s:s?,s:b,s:b,s:s?,s:I,s:o,s:o,s:b,s:b}", "type", "cursor", "source", (const char *)key.p,
                  (int)key.n, "link", r.link, "full", r.full, "complete", r.complete, "tenant", r.tenant, "generation",
                  (json_int_t)r.generation, "lastSuccess", rl_json_time(r.last_success), "lastFull",
                  rl_json_time(r.last_full), "refused", r.refused, "leaving", r.leaving);
    rl_cursor_clear(&r);
    return out;
}

static json_t *queue_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    (void)s;
    *err = RL_OK;
    return json_pack("{s:s,s:s#,s:o}", "type", "queue", "name", (const char *)key.p, (int)key.n, "value",
                     octets_json(value.p, value.n));
}

static json_t *delta_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_delta_record r;
    (void)s;
    *err = key.n == 8 ? rl_delta_decode(value, &r) : RL_ECORRUPT;
    if (*err != RL_OK)
        return NULL;
    json_t *out = json_pack("{s:s,s:I,s:s,s:I,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:s?}", "type", "delta", "sequence",
                            (json_int_t)rl_get_u64(key.p), "kind", r.kind == RL_DELTA_ISSUED ? "issued" : "status",
                            "issuer", (json_int_t)r.cert.issuer, "serial", serial_json(&r.cert), "status",
                            rl_status_name(r.status), "reason", reason_json(r.status != RL_STATUS_GOOD, r.reason),
                            "why", rl_why_json(r.why), "revokedAt", rl_json_time(r.revoked_at), "notAfter",
                            rl_json_time(r.not_after), "at", rl_json_time(r.at), "origin", r.origin);
    rl_delta_clear(&r);
    return out;
}

static json_t *audit_line(rl_store *s, rl_span key, rl_span value, rl_err *err)
{
    rl_audit_record r;
    (void)s;
    *err = key.n == 16 ? rl_audit_decode(value, &r) : RL_ECORRUPT;
    if (*err != RL_OK)
        return NULL;
    json_t *out = json_pack("{s:s,s:o,s:I,s:s?,s:s?,s:s?}", "type", "audit", "at",
                            rl_json_time((int64_t)(rl_get_u64(key.p) / 1000)), "sequence",
                            (json_int_t)rl_get_u64(key.p + 8), "who", r.who, "what", r.what, "subject", r.subject);
    rl_audit_clear(&r);
    return out;
}

/* ---- the walk ---- */
struct walk {
    rl_store *s;
    bool (*fn)(const json_t *line, void *ctx);
    void *ctx;
    json_int_t records;
};

static rl_err give(struct walk *w, json_t *line)
{
    bool more = w->fn(line, w->ctx);
    json_decref(line);
    w->records++;
    return more ? RL_OK : RL_ECANCELED;
}

static rl_err walk_records(struct walk *w, rocksdb_iterator_t *it, make_line make)
{
    for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        rl_span key, value;
        rl_err err = RL_OK;
        key.p = (const uint8_t *)rocksdb_iter_key(it, &key.n);
        value.p = (const uint8_t *)rocksdb_iter_value(it, &value.n);
        json_t *line = make(w->s, key, value, &err);
        if (err == RL_ENOTFOUND)
            continue;
        if (err == RL_OK)
            err = line ? give(w, line) : RL_ECORRUPT; /* a text that is no UTF-8 */
        else
            json_decref(line);
        RL_TRY(err);
    }
    return RL_OK;
}

static rl_err walk_family(struct walk *w, rl_cf cf, make_line make)
{
    char *error = NULL;
    RL_TRY(rl_store_enter(w->s));
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(w->s->db, w->s->scan, w->s->cf[cf]);
    rocksdb_iter_seek_to_first(it);
    rl_err err = walk_records(w, it, make);
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    rl_store_leave(w->s);
    if (!error)
        return err;
    log_error("store.scan", "family", rl_cf_names[cf], "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

rl_err rl_store_export(rl_store *s, bool (*fn)(const json_t *line, void *ctx), void *ctx, rl_error *e)
{
    /* What others refer to comes first, so that one pass can take it over. */
    static const struct {
        rl_cf cf;
        make_line make;
    } families[] = {{CF_META, meta_line},       {CF_ISSUER, issuer_line}, {CF_HELD, change_line},
                    {CF_CERT, cert_line},       {CF_HELD, held_line},     {CF_REVOKED, revoked_line},
                    {CF_BINDING, binding_line}, {CF_OBJECT, object_line}, {CF_CURSOR, cursor_line},
                    {CF_QUEUE, queue_line},     {CF_DELTA, delta_line},   {CF_AUDIT, audit_line}};
    struct walk w = {.s = s, .fn = fn, .ctx = ctx};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        rl_err err = walk_family(&w, families[i].cf, families[i].make);
        if (err == RL_ECANCELED)
            return err;
        if (err != RL_OK)
            return rl_fail(e, err, "export", "a record of '%s' cannot be read: %s", rl_cf_names[families[i].cf],
                           rl_err_name(err));
    }
    json_t *end = json_pack("{s:s,s:I}", "type", "end", "records", w.records);
    return end ? give(&w, end) : rl_fail(e, RL_ENOMEM, "export", "out of memory");
}
