/* Records to and from msgpack. Encoders use msgpack-c over an rl_buf; decoders walk the stored octets with
 * pack.h. The integer keys below are the database's format: never reuse or renumber one. Pure but for memory. */
#include "store/records.h"

#include <msgpack.h>
#include <stdlib.h>
#include <strings.h>

#include "store/pack.h"

enum { VERSION = 1, KEY_VERSION = 0, TEXT_MAX = 64 * 1024 };

/* ---- names ---- */
static const char *const reason_names[] = {"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
                                           "cessationOfOperation", "certificateHold", NULL, "removeFromCRL", "privilegeWithdrawn",
                                           "aACompromise"};
enum { REASONS = sizeof(reason_names) / sizeof(reason_names[0]) };

const char *rl_reason_name(rl_reason r)
{
    return (unsigned)r < REASONS && reason_names[r] ? reason_names[r] : "unspecified";
}

rl_err rl_reason_parse(const char *text, rl_reason *r)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && !*end && n < REASONS && reason_names[n]) {
        *r = (rl_reason)n;
        return RL_OK;
    }
    for (unsigned i = 0; i < REASONS; i++) {
        if (reason_names[i] && strcasecmp(text, reason_names[i]) == 0) {
            *r = (rl_reason)i;
            return RL_OK;
        }
    }
    return RL_EINVAL;
}

const char *rl_status_name(rl_status s)
{
    return s == RL_STATUS_GOOD ? "good" : s == RL_STATUS_HOLD ? "hold" : "revoked";
}

const char *rl_source_name(rl_source s)
{
    switch (s) {
    case RL_SOURCE_ENTRA_DEVICE: return "entra-device";
    case RL_SOURCE_ENTRA_USER: return "entra-user";
    case RL_SOURCE_ENTRA_DEVICE_NAME: return "entra-device-name";
    case RL_SOURCE_ENTRA_USER_NAME: return "entra-user-name";
    case RL_SOURCE_TRANSACTION: return "transaction";
    case RL_SOURCE_NONE: break;
    }
    return "none";
}

/* ---- writing ---- */
static int to_buf(void *ctx, const char *p, size_t n) { return rl_buf_append(ctx, p, n) == RL_OK ? 0 : -1; }

static void begin(msgpack_packer *pk, rl_buf *out, size_t pairs)
{
    msgpack_packer_init(pk, out, to_buf);
    msgpack_pack_map(pk, pairs + 1);
    msgpack_pack_unsigned_int(pk, KEY_VERSION);
    msgpack_pack_unsigned_int(pk, VERSION);
}

/* Buffer failures stick nowhere in msgpack-c, so the encoders compare what was written: an incomplete record would
 * not decode, and the store's transaction ends with it. */
static void put_uint(msgpack_packer *pk, unsigned key, uint64_t v)
{
    msgpack_pack_unsigned_int(pk, key);
    msgpack_pack_uint64(pk, v);
}

static void put_int(msgpack_packer *pk, unsigned key, int64_t v)
{
    msgpack_pack_unsigned_int(pk, key);
    msgpack_pack_int64(pk, v);
}

static void put_bin(msgpack_packer *pk, unsigned key, const void *p, size_t n)
{
    msgpack_pack_unsigned_int(pk, key);
    msgpack_pack_bin(pk, n);
    msgpack_pack_bin_body(pk, p, n);
}

/* NULL becomes nil, so that it comes back as NULL. */
static void put_text(msgpack_packer *pk, unsigned key, const char *s)
{
    msgpack_pack_unsigned_int(pk, key);
    if (!s) {
        msgpack_pack_nil(pk);
        return;
    }
    size_t n = strlen(s);
    msgpack_pack_str(pk, n);
    msgpack_pack_str_body(pk, s, n);
}

/* ---- reading ---- */
typedef rl_err (*take_field)(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record);

/* Walks a record's map; the callback gets each value's head and, for arrays, reads the elements from `rest`. */
static rl_err walk(rl_span in, take_field take, void *record)
{
    rl_pack_value map, key, v;
    RL_TRY(rl_pack_read(&in, &map));
    if (map.kind != RL_PACK_MAP)
        return RL_ECORRUPT;
    for (uint64_t i = 0; i < map.u; i++) {
        RL_TRY(rl_pack_read(&in, &key));
        if (key.kind != RL_PACK_UINT)
            return RL_ECORRUPT;
        rl_span before = in;
        RL_TRY(rl_pack_read(&in, &v));
        if (v.kind == RL_PACK_ARRAY || v.kind == RL_PACK_MAP) {
            rl_span elements = in;
            in = before;
            RL_TRY(rl_pack_skip(&in));
            RL_TRY(take(key.u, &v, &elements, record));
        } else {
            RL_TRY(take(key.u, &v, NULL, record));
        }
    }
    return in.n == 0 ? RL_OK : RL_ECORRUPT;
}

static rl_err as_text(const rl_pack_value *v, char **out)
{
    if (v->kind == RL_PACK_NIL)
        return RL_OK;
    if (v->kind != RL_PACK_BYTES || v->bytes.n > TEXT_MAX || (v->bytes.n && memchr(v->bytes.p, 0, v->bytes.n)))
        return RL_ECORRUPT;
    free(*out); /* a repeated key: the last wins */
    *out = strndup(v->bytes.n ? (const char *)v->bytes.p : "", v->bytes.n);
    return *out ? RL_OK : RL_ENOMEM;
}

static rl_err as_int(const rl_pack_value *v, int64_t *out)
{
    if (v->kind == RL_PACK_UINT && v->u <= INT64_MAX)
        *out = (int64_t)v->u;
    else if (v->kind == RL_PACK_INT)
        *out = v->i;
    else
        return RL_ECORRUPT;
    return RL_OK;
}

static rl_err as_uint(const rl_pack_value *v, uint64_t max, uint64_t *out)
{
    if ((v->kind != RL_PACK_UINT && v->kind != RL_PACK_BOOL) || v->u > max)
        return RL_ECORRUPT;
    *out = v->u;
    return RL_OK;
}

static rl_err as_bool(const rl_pack_value *v, bool *out)
{
    uint64_t u;
    RL_TRY(as_uint(v, 1, &u));
    *out = u != 0;
    return RL_OK;
}

static rl_err as_status(const rl_pack_value *v, rl_status *out)
{
    uint64_t u;
    RL_TRY(as_uint(v, RL_STATUS_REVOKED, &u));
    *out = (rl_status)u;
    return RL_OK;
}

static rl_err as_reason(const rl_pack_value *v, rl_reason *out)
{
    uint64_t u;
    RL_TRY(as_uint(v, REASONS - 1, &u));
    *out = (rl_reason)u;
    return RL_OK;
}

static rl_err as_why(const rl_pack_value *v, uint32_t *out)
{
    uint64_t u;
    RL_TRY(as_uint(v, UINT32_MAX, &u));
    *out = (uint32_t)u;
    return RL_OK;
}

/* ---- cert ---- */
enum { C_SUBJECT = 1, C_PROFILE, C_REQUESTER, C_BINDINGS, C_ISSUED_AT, C_NOT_BEFORE, C_NOT_AFTER, C_WHY, C_STATUS, C_REASON, C_MANUAL_REASON, C_REVOKED_AT };

rl_err rl_cert_encode(const rl_cert_record *r, rl_buf *out)
{
    msgpack_packer pk;
    size_t before = out->n;
    if (r->bindings_n > RL_CERT_BINDINGS_MAX)
        return RL_ERANGE;
    begin(&pk, out, 12);
    /* What the OCSP look-up reads comes first. */
    put_uint(&pk, C_STATUS, (uint64_t)r->status);
    put_uint(&pk, C_REASON, (uint64_t)r->reason);
    put_int(&pk, C_REVOKED_AT, r->revoked_at);
    put_int(&pk, C_NOT_BEFORE, r->not_before);
    put_int(&pk, C_NOT_AFTER, r->not_after);
    put_int(&pk, C_ISSUED_AT, r->issued_at);
    put_uint(&pk, C_WHY, r->why);
    put_uint(&pk, C_MANUAL_REASON, (uint64_t)r->manual_reason);
    put_text(&pk, C_SUBJECT, r->subject);
    put_text(&pk, C_PROFILE, r->profile);
    put_text(&pk, C_REQUESTER, r->requester);
    msgpack_pack_unsigned_int(&pk, C_BINDINGS);
    msgpack_pack_array(&pk, 2 * r->bindings_n);
    for (size_t i = 0; i < r->bindings_n; i++) {
        size_t n = strlen(r->bindings[i].id);
        msgpack_pack_unsigned_int(&pk, (unsigned)r->bindings[i].source);
        msgpack_pack_str(&pk, n);
        if (msgpack_pack_str_body(&pk, r->bindings[i].id, n) != 0)
            return RL_ENOMEM;
    }
    return out->n > before ? RL_OK : RL_ENOMEM;
}

static rl_err take_bindings(rl_cert_record *r, uint64_t n, rl_span *rest)
{
    rl_pack_value source, id;
    if (n % 2 || n / 2 > RL_CERT_BINDINGS_MAX)
        return RL_ECORRUPT;
    r->bindings_n = 0;
    for (uint64_t i = 0; i < n / 2; i++) {
        RL_TRY(rl_pack_read(rest, &source));
        RL_TRY(rl_pack_read(rest, &id));
        if (source.kind != RL_PACK_UINT || source.u > 255 || id.kind != RL_PACK_BYTES || id.bytes.n > RL_OBJECT_ID_MAX)
            return RL_ECORRUPT;
        rl_binding *b = &r->bindings[r->bindings_n++];
        b->source = (rl_source)source.u;
        if (id.bytes.n)
            memcpy(b->id, id.bytes.p, id.bytes.n);
        b->id[id.bytes.n] = 0;
    }
    return RL_OK;
}

static rl_err take_cert(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_cert_record *r = record;
    switch (key) {
    case C_SUBJECT: return as_text(v, &r->subject);
    case C_PROFILE: return as_text(v, &r->profile);
    case C_REQUESTER: return as_text(v, &r->requester);
    case C_BINDINGS: return v->kind == RL_PACK_ARRAY ? take_bindings(r, v->u, rest) : RL_ECORRUPT;
    case C_ISSUED_AT: return as_int(v, &r->issued_at);
    case C_NOT_BEFORE: return as_int(v, &r->not_before);
    case C_NOT_AFTER: return as_int(v, &r->not_after);
    case C_WHY: return as_why(v, &r->why);
    case C_STATUS: return as_status(v, &r->status);
    case C_REASON: return as_reason(v, &r->reason);
    case C_MANUAL_REASON: return as_reason(v, &r->manual_reason);
    case C_REVOKED_AT: return as_int(v, &r->revoked_at);
    default: return RL_OK;
    }
}

rl_err rl_cert_decode(rl_span in, rl_cert_record *r)
{
    *r = (rl_cert_record){0};
    rl_err err = walk(in, take_cert, r);
    if (err != RL_OK)
        rl_cert_clear(r);
    return err;
}

void rl_cert_clear(rl_cert_record *r)
{
    free(r->subject);
    free(r->profile);
    free(r->requester);
    *r = (rl_cert_record){0};
}

static rl_err take_status(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_cert_status *r = record;
    (void)rest;
    switch (key) {
    case C_STATUS: return as_status(v, &r->status);
    case C_REASON: return as_reason(v, &r->reason);
    case C_REVOKED_AT: return as_int(v, &r->revoked_at);
    case C_NOT_BEFORE: return as_int(v, &r->not_before);
    case C_NOT_AFTER: return as_int(v, &r->not_after);
    default: return RL_OK;
    }
}

rl_err rl_cert_decode_status(rl_span in, rl_cert_status *r)
{
    *r = (rl_cert_status){0};
    return walk(in, take_status, r);
}

/* What the mask says, before times. Permanent before reversible, an admin's word before the directories'. */
static void effective(const rl_cert_record *r, rl_status *status, rl_reason *reason)
{
    bool manual = r->why & RL_WHY_MANUAL, manual_hold = manual && r->manual_reason == RL_REASON_HOLD;
    *status = RL_STATUS_REVOKED;
    if (manual && !manual_hold)
        *reason = r->manual_reason;
    else if (r->why & (RL_WHY_DELETED | RL_WHY_WIPED))
        *reason = RL_REASON_CESSATION;
    else if (r->why & (RL_WHY_ENDPOINT_LIST | RL_WHY_FOREIGN_CRL))
        *reason = RL_REASON_PRIVILEGE_WITHDRAWN;
    else if (r->why) {
        *status = RL_STATUS_HOLD;
        *reason = RL_REASON_HOLD;
    } else {
        *status = RL_STATUS_GOOD;
        *reason = RL_REASON_UNSPECIFIED;
    }
}

bool rl_cert_settle(rl_cert_record *r, int64_t now)
{
    rl_status status;
    rl_reason reason;
    int64_t revoked_at = r->revoked_at;
    effective(r, &status, &reason);
    if (status == RL_STATUS_GOOD)
        revoked_at = 0;
    else if (r->status == RL_STATUS_GOOD)
        revoked_at = now;
    else if (r->status == RL_STATUS_HOLD && status == RL_STATUS_REVOKED && !(r->why & RL_WHY_MANUAL))
        revoked_at = now; /* a new cause: the object is gone, not only disabled */
    bool changed = status != r->status || reason != r->reason || revoked_at != r->revoked_at;
    r->status = status;
    r->reason = reason;
    r->revoked_at = revoked_at;
    return changed;
}

/* ---- object ---- */
enum { O_EXISTS = 1, O_ENABLED, O_NAME, O_TARGET, O_GENERATION, O_LAST_SEEN };

rl_err rl_object_encode(const rl_object_record *r, rl_buf *out)
{
    msgpack_packer pk;
    begin(&pk, out, 6);
    put_uint(&pk, O_EXISTS, r->exists);
    put_uint(&pk, O_ENABLED, r->enabled);
    put_text(&pk, O_NAME, r->name);
    put_text(&pk, O_TARGET, r->target);
    put_uint(&pk, O_GENERATION, r->generation);
    put_int(&pk, O_LAST_SEEN, r->last_seen);
    return RL_OK;
}

static rl_err take_object(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_object_record *r = record;
    (void)rest;
    switch (key) {
    case O_EXISTS: return as_bool(v, &r->exists);
    case O_ENABLED: return as_bool(v, &r->enabled);
    case O_NAME: return as_text(v, &r->name);
    case O_TARGET: return as_text(v, &r->target);
    case O_GENERATION: return as_uint(v, UINT64_MAX, &r->generation);
    case O_LAST_SEEN: return as_int(v, &r->last_seen);
    default: return RL_OK;
    }
}

rl_err rl_object_decode(rl_span in, rl_object_record *r)
{
    *r = (rl_object_record){0};
    rl_err err = walk(in, take_object, r);
    if (err != RL_OK)
        rl_object_clear(r);
    return err;
}

void rl_object_clear(rl_object_record *r)
{
    free(r->name);
    free(r->target);
    *r = (rl_object_record){0};
}

/* ---- issuer ---- */
enum { I_CERT = 1, I_KEY_REF, I_CRL_NUMBER, I_HASHES };

rl_err rl_issuer_encode(const rl_issuer_record *r, rl_buf *out)
{
    msgpack_packer pk;
    begin(&pk, out, 4);
    put_bin(&pk, I_CERT, r->cert, r->cert_n);
    put_text(&pk, I_KEY_REF, r->key_ref);
    put_uint(&pk, I_CRL_NUMBER, r->crl_number);
    put_bin(&pk, I_HASHES, r->hashes, sizeof(r->hashes));
    return RL_OK;
}

static rl_err take_issuer(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_issuer_record *r = record;
    (void)rest;
    switch (key) {
    case I_CERT:
        if (v->kind != RL_PACK_BYTES || v->bytes.n == 0 || r->cert || !(r->cert = malloc(v->bytes.n)))
            return RL_ECORRUPT;
        memcpy(r->cert, v->bytes.p, v->bytes.n);
        r->cert_n = v->bytes.n;
        return RL_OK;
    case I_KEY_REF: return as_text(v, &r->key_ref);
    case I_CRL_NUMBER: return as_uint(v, UINT64_MAX, &r->crl_number);
    case I_HASHES:
        if (v->kind != RL_PACK_BYTES || v->bytes.n != sizeof(r->hashes))
            return RL_ECORRUPT;
        memcpy(r->hashes, v->bytes.p, sizeof(r->hashes));
        return RL_OK;
    default: return RL_OK;
    }
}

rl_err rl_issuer_decode(rl_span in, rl_issuer_record *r)
{
    *r = (rl_issuer_record){0};
    rl_err err = walk(in, take_issuer, r);
    if (err != RL_OK)
        rl_issuer_clear(r);
    return err;
}

void rl_issuer_clear(rl_issuer_record *r)
{
    free(r->cert);
    free(r->key_ref);
    *r = (rl_issuer_record){0};
}

/* ---- cursor ---- */
enum { U_LINK = 1, U_FULL, U_COMPLETE, U_GENERATION, U_LAST_SUCCESS, U_LAST_FULL };

rl_err rl_cursor_encode(const rl_cursor_record *r, rl_buf *out)
{
    msgpack_packer pk;
    begin(&pk, out, 6);
    put_text(&pk, U_LINK, r->link ? r->link : "");
    put_uint(&pk, U_FULL, r->full);
    put_uint(&pk, U_COMPLETE, r->complete);
    put_uint(&pk, U_GENERATION, r->generation);
    put_int(&pk, U_LAST_SUCCESS, r->last_success);
    put_int(&pk, U_LAST_FULL, r->last_full);
    return RL_OK;
}

static rl_err take_cursor(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_cursor_record *r = record;
    (void)rest;
    switch (key) {
    case U_LINK: return as_text(v, &r->link);
    case U_FULL: return as_bool(v, &r->full);
    case U_COMPLETE: return as_bool(v, &r->complete);
    case U_GENERATION: return as_uint(v, UINT64_MAX, &r->generation);
    case U_LAST_SUCCESS: return as_int(v, &r->last_success);
    case U_LAST_FULL: return as_int(v, &r->last_full);
    default: return RL_OK;
    }
}

rl_err rl_cursor_decode(rl_span in, rl_cursor_record *r)
{
    *r = (rl_cursor_record){0};
    rl_err err = walk(in, take_cursor, r);
    if (err != RL_OK)
        rl_cursor_clear(r);
    return err;
}

void rl_cursor_clear(rl_cursor_record *r)
{
    free(r->link);
    *r = (rl_cursor_record){0};
}

/* ---- delta ---- */
enum { D_KIND = 1, D_ISSUER, D_SERIAL, D_STATUS, D_REASON, D_WHY, D_REVOKED_AT, D_NOT_AFTER, D_AT, D_ORIGIN };

rl_err rl_delta_encode(const rl_delta_record *r, rl_buf *out)
{
    msgpack_packer pk;
    begin(&pk, out, 10);
    put_uint(&pk, D_KIND, (uint64_t)r->kind);
    put_uint(&pk, D_ISSUER, r->cert.issuer);
    put_bin(&pk, D_SERIAL, r->cert.serial, r->cert.serial_n);
    put_uint(&pk, D_STATUS, (uint64_t)r->status);
    put_uint(&pk, D_REASON, (uint64_t)r->reason);
    put_uint(&pk, D_WHY, r->why);
    put_int(&pk, D_REVOKED_AT, r->revoked_at);
    put_int(&pk, D_NOT_AFTER, r->not_after);
    put_int(&pk, D_AT, r->at);
    put_text(&pk, D_ORIGIN, r->origin);
    return RL_OK;
}

static rl_err take_delta(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_delta_record *r = record;
    uint64_t u = 0;
    (void)rest;
    switch (key) {
    case D_KIND:
        RL_TRY(as_uint(v, RL_DELTA_STATUS, &u));
        r->kind = (__typeof__(r->kind))u;
        return RL_OK;
    case D_ISSUER: return as_why(v, &r->cert.issuer);
    case D_SERIAL:
        if (v->kind != RL_PACK_BYTES || v->bytes.n > RL_STORE_SERIAL_MAX || v->bytes.n == 0)
            return RL_ECORRUPT;
        r->cert.serial_n = (uint8_t)v->bytes.n;
        memcpy(r->cert.serial, v->bytes.p, v->bytes.n);
        return RL_OK;
    case D_STATUS: return as_status(v, &r->status);
    case D_REASON: return as_reason(v, &r->reason);
    case D_WHY: return as_why(v, &r->why);
    case D_REVOKED_AT: return as_int(v, &r->revoked_at);
    case D_NOT_AFTER: return as_int(v, &r->not_after);
    case D_AT: return as_int(v, &r->at);
    case D_ORIGIN: return as_text(v, &r->origin);
    default: return RL_OK;
    }
}

rl_err rl_delta_decode(rl_span in, rl_delta_record *r)
{
    *r = (rl_delta_record){0};
    rl_err err = walk(in, take_delta, r);
    if (err != RL_OK)
        rl_delta_clear(r);
    return err;
}

void rl_delta_clear(rl_delta_record *r)
{
    free(r->origin);
    *r = (rl_delta_record){0};
}
