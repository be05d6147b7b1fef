/* A line of an export read again. Pure but for memory. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/export.h"

/* ---- members ---- */
/* What is wrong is told once, by the first member that is. */
typedef struct reader {
    const json_t *o;
    rl_err err;
    rl_error *e;
} reader;

static void wrong(reader *r, const char *member)
{
    if (r->err == RL_OK)
        r->err = rl_fail(r->e, RL_EBADMSG, "import", "the member '%s' is missing or wrong", member);
}

static void ran_out(reader *r)
{
    if (r->err == RL_OK)
        r->err = rl_fail(r->e, RL_ENOMEM, "import", "out of memory");
}

static const char *text_of(reader *r, const char *member)
{
    const char *text = rl_json_str(r->o, member);
    if (!text)
        wrong(r, member);
    return text ? text : "";
}

/* NULL for null. */
static char *text_or_null(reader *r, const char *member)
{
    const json_t *v = json_object_get(r->o, member);
    if (json_is_null(v))
        return NULL;
    char *copy = strdup(text_of(r, member));
    if (!copy)
        ran_out(r);
    return copy;
}

static void take_word(reader *r, const char *member, char *out, size_t cap)
{
    const char *text = text_of(r, member);
    size_t n = strlen(text);
    if (n == 0 || n >= cap)
        wrong(r, member);
    else
        memcpy(out, text, n + 1);
}

static uint64_t number_of(reader *r, const char *member, uint64_t max)
{
    const json_t *v = json_object_get(r->o, member);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || (uint64_t)n > max)
        wrong(r, member);
    return n < 0 ? 0 : (uint64_t)n;
}

static bool bool_of(reader *r, const char *member)
{
    const json_t *v = json_object_get(r->o, member);
    if (!json_is_boolean(v))
        wrong(r, member);
    return json_is_true(v);
}

/* 0 for null. */
static int64_t time_of(reader *r, const char *member)
{
    const json_t *v = json_object_get(r->o, member);
    int64_t t = 0;
    if (!json_is_null(v) && (!json_is_string(v) || rl_time_parse_rfc3339(json_string_value(v), &t) != RL_OK))
        wrong(r, member);
    return t;
}

static rl_reason reason_of(reader *r, const char *member)
{
    const json_t *v = json_object_get(r->o, member);
    rl_reason reason = RL_REASON_UNSPECIFIED;
    if (!json_is_null(v) && rl_reason_parse(text_of(r, member), &reason) != RL_OK)
        wrong(r, member);
    return reason;
}

static uint32_t why_of(reader *r, const char *member)
{
    const json_t *list = json_object_get(r->o, member), *v;
    uint32_t why = 0;
    size_t i;
    if (!json_is_array(list))
        wrong(r, member);
    json_array_foreach(list, i, v)
    {
        uint32_t bit = 0;
        for (unsigned k = 0; k < RL_WHY_BITS && json_is_string(v); k++)
            if (strcmp(rl_why_name(1u << k), json_string_value(v)) == 0)
                bit = 1u << k;
        if (!bit)
            wrong(r, member);
        why |= bit;
    }
    return why;
}

static rl_source source_of(reader *r, const char *member)
{
    const char *text = text_of(r, member);
    for (unsigned s = 1; s <= RL_SOURCE_COMPROMISED_KEY; s++)
        if (strcmp(rl_source_name((rl_source)s), text) == 0 && strcmp(text, rl_source_name(RL_SOURCE_NONE)) != 0)
            return (rl_source)s;
    wrong(r, member);
    return RL_SOURCE_NONE;
}

static void take_octets(reader *r, const char *member, bool wanted, rl_buf *out)
{
    const json_t *v = json_object_get(r->o, member);
    if (json_is_null(v) && !wanted)
        return;
    const char *text = text_of(r, member);
    size_t n = strlen(text);
    if (n == 0 || n > 2 * RL_LINE_CERT_MAX) {
        wrong(r, member);
        return;
    }
    if (!(out->p = malloc(n))) {
        ran_out(r);
        return;
    }
    out->cap = n;
    if (rl_base64_decode(rl_span_str(text), false, out->p, n, &out->n) != RL_OK || out->n == 0 ||
        out->n > RL_LINE_CERT_MAX)
        wrong(r, member);
}

static void take_fixed(reader *r, const char *member, uint8_t *out, size_t n)
{
    size_t got = 0;
    if (rl_unhex(rl_span_str(text_of(r, member)), out, n, &got) != RL_OK || got != n)
        wrong(r, member);
}

static void take_id(reader *r, rl_cert_id *id)
{
    size_t n = 0;
    id->issuer = (rl_issuer_id)number_of(r, "issuer", UINT32_MAX);
    if (rl_unhex(rl_span_str(text_of(r, "serial")), id->serial, sizeof(id->serial), &n) != RL_OK || n == 0 ||
        (id->serial[0] == 0 && n > 1))
        wrong(r, "serial");
    id->serial_n = (uint8_t)n;
    if (id->issuer == 0)
        wrong(r, "issuer");
}

static void take_name(reader *r, rl_binding *b)
{
    b->source = source_of(r, "source");
    take_word(r, "id", b->id, sizeof(b->id));
}

/* ---- lines ---- */
static void take_meta(reader *r, rl_line *l)
{
    uint64_t value = number_of(r, "value", INT64_MAX);
    l->kind = RL_LINE_HISTORY;
    if (r->err == RL_OK && strcmp(text_of(r, "name"), "schema") == 0 && value > RL_STORE_SCHEMA)
        r->err = rl_fail(r->e, RL_EUNSUPPORTED, "import",
                         "the export has schema %llu, this program knows up to %d: use a newer program",
                         (unsigned long long)value, RL_STORE_SCHEMA);
}

static void take_list(reader *r, rl_issuer_crl *c)
{
    reader list = {.o = json_object_get(r->o, "list"), .err = r->err, .e = r->e};
    if (json_is_null(list.o))
        return;
    take_fixed(&list, "number", c->number, sizeof(c->number));
    c->this_update = time_of(&list, "thisUpdate");
    c->next_update = time_of(&list, "nextUpdate");
    c->whole = bool_of(&list, "whole");
    c->partial = bool_of(&list, "partial");
    take_fixed(&list, "scope", c->scope, sizeof(c->scope));
    r->err = list.err;
}

static void take_issuer(reader *r, rl_line *l)
{
    rl_buf cert = {0}, delegate = {0};
    rl_issuer_record *i = &l->issuer_of;
    l->kind = RL_LINE_ISSUER;
    l->issuer = (rl_issuer_id)number_of(r, "issuer", UINT32_MAX);
    take_octets(r, "certificate", true, &cert);
    take_octets(r, "delegate", false, &delegate);
    i->cert = cert.p;
    i->cert_n = cert.n;
    i->delegate = delegate.p;
    i->delegate_n = delegate.n;
    i->key_ref = text_or_null(r, "key");
    i->crl_number = number_of(r, "crlNumber", INT64_MAX);
    take_list(r, &i->crl);
    if (l->issuer == 0)
        wrong(r, "issuer");
}

static void take_change(reader *r, rl_line *l)
{
    const char *state = text_of(r, "state");
    unsigned s = 0;
    l->kind = RL_LINE_CHANGE;
    l->number = number_of(r, "id", INT64_MAX);
    take_word(r, "source", l->change.source, sizeof(l->change.source));
    while (s < RL_CHANGE_STATES && strcmp(rl_change_state_name((rl_change_state)s), state) != 0)
        s++;
    if (s == RL_CHANGE_STATES)
        wrong(r, "state");
    else
        l->change.state = (rl_change_state)s;
    l->change.since = time_of(r, "since");
}

static void take_bindings(reader *r, rl_cert_record *c)
{
    const json_t *list = json_object_get(r->o, "bindings"), *v;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > RL_CERT_BINDINGS_MAX) {
        wrong(r, "bindings");
        return;
    }
    json_array_foreach(list, i, v)
    {
        reader one = {.o = v, .err = r->err, .e = r->e};
        take_name(&one, &c->bindings[c->bindings_n++]);
        r->err = one.err;
    }
}

static void take_held(reader *r, rl_cert_record *c)
{
    reader held = {.o = json_object_get(r->o, "held"), .err = r->err, .e = r->e};
    if (json_is_null(held.o))
        return;
    c->held.change = number_of(&held, "change", INT64_MAX);
    c->held.why = why_of(&held, "why");
    c->held.kept = why_of(&held, "kept");
    r->err = held.err;
}

/* The status follows from the reasons, and what the line says of it must be that. */
static void take_status(reader *r, rl_cert_record *c)
{
    int64_t revoked_at = time_of(r, "revokedAt");
    c->why = why_of(r, "why");
    c->manual_reason = reason_of(r, "manualReason");
    c->crl_reason = reason_of(r, "crlReason");
    c->crl_date = time_of(r, "crlDate");
    rl_cert_settle(c, revoked_at);
    c->revoked_at = revoked_at; /* a hold's date stays, whatever became of it since */
    if (strcmp(text_of(r, "status"), rl_status_name(c->status)) != 0)
        wrong(r, "status");
    if (reason_of(r, "reason") != c->reason)
        wrong(r, "reason");
    if ((c->status == RL_STATUS_GOOD) != (revoked_at == 0))
        wrong(r, "revokedAt");
}

static void take_cert(reader *r, rl_line *l)
{
    rl_cert_record *c = &l->cert;
    l->kind = RL_LINE_CERT;
    take_id(r, &l->id);
    c->subject = text_or_null(r, "subject");
    c->profile = text_or_null(r, "profile");
    c->requester = text_or_null(r, "requester");
    c->issued_at = time_of(r, "issuedAt");
    if (json_object_get(r->o, "firstIssuedAt")) /* exports of old have none */
        c->first_issued_at = time_of(r, "firstIssuedAt");
    c->not_before = time_of(r, "notBefore");
    c->not_after = time_of(r, "notAfter");
    c->bootstrap = json_object_get(r->o, "bootstrap") && bool_of(r, "bootstrap"); /* likewise */
    take_status(r, c);
    take_bindings(r, c);
    take_held(r, c);
    take_octets(r, "certificate", false, &l->der);
}

static void take_binding(reader *r, rl_line *l)
{
    l->kind = RL_LINE_BINDING;
    take_id(r, &l->id);
    take_name(r, &l->name);
}

static void take_object(reader *r, rl_line *l)
{
    rl_object_record *o = &l->object;
    l->kind = RL_LINE_OBJECT;
    take_name(r, &l->name);
    o->exists = bool_of(r, "exists");
    o->enabled = bool_of(r, "enabled");
    o->name = text_or_null(r, "name");
    o->compliance = rl_compliance_parse(text_of(r, "compliance"));
    o->management = rl_management_parse(text_of(r, "management"));
    o->risk = rl_risk_parse(text_of(r, "risk"));
    o->enrolled = time_of(r, "enrolled");
    o->sid = text_or_null(r, "sid");
    o->target = text_or_null(r, "target");
    o->generation = number_of(r, "generation", INT64_MAX);
    o->last_seen = time_of(r, "lastSeen");
}

static void take_cursor(reader *r, rl_line *l)
{
    rl_cursor_record *c = &l->cursor;
    l->kind = RL_LINE_CURSOR;
    take_word(r, "source", l->source, sizeof(l->source));
    c->link = text_or_null(r, "link");
    c->full = bool_of(r, "full");
    c->complete = bool_of(r, "complete");
    c->tenant = text_or_null(r, "tenant");
    c->generation = number_of(r, "generation", INT64_MAX);
    c->last_success = time_of(r, "lastSuccess");
    c->last_full = time_of(r, "lastFull");
    c->refused = json_object_get(r->o, "refused") && bool_of(r, "refused"); /* older exports do not say these two */
    c->leaving = json_object_get(r->o, "leaving") && bool_of(r, "leaving");
}

static void take_queue(reader *r, rl_line *l)
{
    _Static_assert((int)RL_QUEUE_VALUE_MAX <= (int)RL_LINE_CERT_MAX, "what is queued can be read again");
    l->kind = RL_LINE_QUEUE;
    take_word(r, "name", l->source, sizeof(l->source));
    take_octets(r, "value", true, &l->der);
}

static void take_history(reader *r, rl_line *l)
{
    (void)r;
    l->kind = RL_LINE_HISTORY;
}

static void take_end(reader *r, rl_line *l)
{
    l->kind = RL_LINE_END;
    l->number = number_of(r, "records", INT64_MAX);
}

static rl_err take_line(const json_t *o, rl_line *out, rl_error *e)
{
    static const struct {
        const char *type;
        void (*take)(reader *r, rl_line *l);
    } types[] = {{"certificate", take_cert}, {"object", take_object}, {"binding", take_binding},
                 {"delta", take_history},    {"audit", take_history}, {"revoked", take_history},
                 {"held", take_history},     {"issuer", take_issuer}, {"change", take_change},
                 {"cursor", take_cursor},    {"meta", take_meta},     {"end", take_end},
                 {"queue", take_queue}};
    const char *type = rl_json_str(o, "type");
    reader r = {.o = o, .e = e};
    for (size_t i = 0; type && i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(type, types[i].type) != 0)
            continue;
        types[i].take(&r, out);
        return r.err;
    }
    return type ? rl_fail(e, RL_EUNSUPPORTED, "import", "lines of type '%.40s' are not known here: use a newer program",
                          type)
                : rl_fail(e, RL_EBADMSG, "import", "it is no line of an export");
}

rl_err rl_line_read(rl_span text, rl_line *out, rl_error *e)
{
    json_t *o;
    *out = (rl_line){0};
    RL_TRY(rl_json_parse(text, RL_LINE_MAX, &o, e));
    rl_err err = take_line(o, out, e);
    json_decref(o);
    return err;
}

void rl_line_clear(rl_line *l)
{
    rl_issuer_clear(&l->issuer_of);
    rl_cert_clear(&l->cert);
    rl_buf_free(&l->der);
    rl_object_clear(&l->object);
    rl_cursor_clear(&l->cursor);
    *l = (rl_line){0};
}
