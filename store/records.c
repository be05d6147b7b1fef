/* The certificate's records to and from msgpack, and what its status follows from. The integer keys below are the
 * database's format: never reuse or renumber one. Pure but for memory. */
#include "store/records.h"

#include <stdlib.h>
#include <strings.h>

#include "store/pack.h"

/* ---- names ---- */
static const char *const reason_names[] = {
    "unspecified",   "keyCompromise",        "cACompromise",    "affiliationChanged",
    "superseded",    "cessationOfOperation", "certificateHold", NULL,
    "removeFromCRL", "privilegeWithdrawn",   "aACompromise"};
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

const char *rl_why_name(uint32_t bit)
{
    static const char *const names[RL_WHY_BITS] = {"manual",   "deleted",      "wiped",    "endpointList",
                                                   "disabled", "notCompliant", "userRisk", "foreignCrl"};
    for (unsigned i = 0; i < RL_WHY_BITS; i++)
        if (bit == 1u << i)
            return names[i];
    return NULL;
}

const char *rl_source_name(rl_source s)
{
    switch (s) {
    case RL_SOURCE_ENTRA_DEVICE:
        return "entra-device";
    case RL_SOURCE_ENTRA_USER:
        return "entra-user";
    case RL_SOURCE_INTUNE_DEVICE:
        return "intune-device";
    case RL_SOURCE_USER_RISK:
        return "user-risk";
    case RL_SOURCE_JAMF_COMPUTER:
        return "jamf-computer";
    case RL_SOURCE_JAMF_DEVICE:
        return "jamf-device";
    case RL_SOURCE_JAMF_USER:
        return "jamf-user";
    case RL_SOURCE_LISTED_CERT:
        return "listed-certificate";
    case RL_SOURCE_PROFILE_CERT:
        return "profile-certificate";
    case RL_SOURCE_REPORTED_CERT:
        return "reported-certificate";
    case RL_SOURCE_ENTRA_DEVICE_LEAVING:
        return "entra-device-leaving";
    case RL_SOURCE_ENTRA_USER_LEAVING:
        return "entra-user-leaving";
    case RL_SOURCE_REVOCATION_REQUEST:
        return "revocation-request";
    case RL_SOURCE_ENTRA_DEVICE_NAME:
        return "entra-device-name";
    case RL_SOURCE_ENTRA_USER_NAME:
        return "entra-user-name";
    case RL_SOURCE_INTUNE_DEVICE_NAME:
        return "intune-device-name";
    case RL_SOURCE_JAMF_USER_NAME:
        return "jamf-user-name";
    case RL_SOURCE_TRANSACTION:
        return "transaction";
    case RL_SOURCE_COMPROMISED_KEY:
        return "compromised-key";
    case RL_SOURCE_NONE:
        break;
    }
    return "none";
}

/* ---- fields ---- */
static rl_err as_status(const rl_pack_value *v, rl_status *out)
{
    uint64_t u;
    RL_TRY(rl_pack_uint(v, RL_STATUS_REVOKED, &u));
    *out = (rl_status)u;
    return RL_OK;
}

static rl_err as_reason(const rl_pack_value *v, rl_reason *out)
{
    uint64_t u;
    RL_TRY(rl_pack_uint(v, REASONS - 1, &u));
    *out = (rl_reason)u;
    return RL_OK;
}

static rl_err as_why(const rl_pack_value *v, uint32_t *out)
{
    uint64_t u;
    RL_TRY(rl_pack_uint(v, UINT32_MAX, &u));
    *out = (uint32_t)u;
    return RL_OK;
}

/* ---- cert ---- */
enum {
    C_SUBJECT = 1,
    C_PROFILE,
    C_REQUESTER,
    C_BINDINGS,
    C_ISSUED_AT,
    C_NOT_BEFORE,
    C_NOT_AFTER,
    C_WHY,
    C_STATUS,
    C_REASON,
    C_MANUAL_REASON,
    C_REVOKED_AT,
    C_CRL_REASON,
    C_CRL_DATE,
    C_HELD_CHANGE,
    C_HELD_WHY,
    C_HELD_KEPT,
    C_BOOTSTRAP,
    C_FIRST_ISSUED_AT
};
#define CERT_REQUIRED (RL_PACK_BIT(C_STATUS) | RL_PACK_BIT(C_NOT_BEFORE) | RL_PACK_BIT(C_NOT_AFTER))

rl_err rl_cert_encode(const rl_cert_record *r, rl_buf *out)
{
    rl_pack_writer w;
    if (r->bindings_n > RL_CERT_BINDINGS_MAX)
        return RL_ERANGE;
    bool crl = r->why & RL_WHY_FOREIGN_CRL, held = r->held.change != 0;
    rl_pack_begin(&w, out, 12u + (crl ? 2 : 0) + (held ? 3 : 0) + r->bootstrap + (r->first_issued_at != 0));
    /* What the OCSP look-up reads comes first. */
    rl_pack_put_uint(&w, C_STATUS, (uint64_t)r->status);
    rl_pack_put_uint(&w, C_REASON, (uint64_t)r->reason);
    rl_pack_put_int(&w, C_REVOKED_AT, r->revoked_at);
    rl_pack_put_int(&w, C_NOT_BEFORE, r->not_before);
    rl_pack_put_int(&w, C_NOT_AFTER, r->not_after);
    rl_pack_put_int(&w, C_ISSUED_AT, r->issued_at);
    rl_pack_put_uint(&w, C_WHY, r->why);
    rl_pack_put_uint(&w, C_MANUAL_REASON, (uint64_t)r->manual_reason);
    if (crl) {
        rl_pack_put_uint(&w, C_CRL_REASON, (uint64_t)r->crl_reason);
        rl_pack_put_int(&w, C_CRL_DATE, r->crl_date);
    }
    if (held) {
        rl_pack_put_uint(&w, C_HELD_CHANGE, r->held.change);
        rl_pack_put_uint(&w, C_HELD_WHY, r->held.why);
        rl_pack_put_uint(&w, C_HELD_KEPT, r->held.kept);
    }
    if (r->bootstrap) {
        msgpack_pack_unsigned_int(&w.pk, C_BOOTSTRAP);
        msgpack_pack_true(&w.pk);
    }
    if (r->first_issued_at)
        rl_pack_put_int(&w, C_FIRST_ISSUED_AT, r->first_issued_at);
    rl_pack_put_text(&w, C_SUBJECT, r->subject);
    rl_pack_put_text(&w, C_PROFILE, r->profile);
    rl_pack_put_text(&w, C_REQUESTER, r->requester);
    msgpack_pack_unsigned_int(&w.pk, C_BINDINGS);
    msgpack_pack_array(&w.pk, 2 * r->bindings_n);
    for (size_t i = 0; i < r->bindings_n; i++) {
        size_t n = strlen(r->bindings[i].id);
        msgpack_pack_unsigned_int(&w.pk, (unsigned)r->bindings[i].source);
        msgpack_pack_str(&w.pk, n);
        msgpack_pack_str_body(&w.pk, r->bindings[i].id, n);
    }
    return rl_pack_finish(&w);
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
        if (source.kind != RL_PACK_UINT || source.u > 255 || id.kind != RL_PACK_BYTES ||
            id.bytes.n > RL_OBJECT_ID_MAX || (id.bytes.n && memchr(id.bytes.p, 0, id.bytes.n)))
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
    case C_SUBJECT:
        return rl_pack_text(v, &r->subject);
    case C_PROFILE:
        return rl_pack_text(v, &r->profile);
    case C_REQUESTER:
        return rl_pack_text(v, &r->requester);
    case C_BINDINGS:
        return v->kind == RL_PACK_ARRAY ? take_bindings(r, v->u, rest) : RL_ECORRUPT;
    case C_ISSUED_AT:
        return rl_pack_int(v, &r->issued_at);
    case C_NOT_BEFORE:
        return rl_pack_int(v, &r->not_before);
    case C_NOT_AFTER:
        return rl_pack_int(v, &r->not_after);
    case C_WHY:
        return as_why(v, &r->why);
    case C_STATUS:
        return as_status(v, &r->status);
    case C_REASON:
        return as_reason(v, &r->reason);
    case C_MANUAL_REASON:
        return as_reason(v, &r->manual_reason);
    case C_REVOKED_AT:
        return rl_pack_int(v, &r->revoked_at);
    case C_CRL_REASON:
        return as_reason(v, &r->crl_reason);
    case C_CRL_DATE:
        return rl_pack_int(v, &r->crl_date);
    case C_HELD_CHANGE:
        return rl_pack_uint(v, UINT64_MAX, &r->held.change);
    case C_HELD_WHY:
        return as_why(v, &r->held.why);
    case C_HELD_KEPT:
        return as_why(v, &r->held.kept);
    case C_BOOTSTRAP:
        return rl_pack_bool(v, &r->bootstrap);
    case C_FIRST_ISSUED_AT:
        return rl_pack_int(v, &r->first_issued_at);
    default:
        return RL_OK;
    }
}

rl_err rl_cert_decode(rl_span in, rl_cert_record *r)
{
    *r = (rl_cert_record){0};
    rl_err err = rl_pack_walk(in, CERT_REQUIRED, take_cert, r);
    if (err != RL_OK)
        rl_cert_clear(r);
    return err;
}

int64_t rl_cert_first_issued(const rl_cert_record *r)
{
    return r->first_issued_at ? r->first_issued_at : r->issued_at;
}

bool rl_cert_is_unseen(const rl_cert_record *r)
{
    return r->profile && (strcmp(r->profile, RL_PROFILE_LISTED) == 0 || strcmp(r->profile, RL_PROFILE_INDEXED) == 0);
}

const char *rl_cert_binding(const rl_cert_record *r, rl_source source)
{
    for (size_t i = 0; i < r->bindings_n; i++)
        if (r->bindings[i].source == source)
            return r->bindings[i].id;
    return NULL;
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
    case C_STATUS:
        return as_status(v, &r->status);
    case C_REASON:
        return as_reason(v, &r->reason);
    case C_REVOKED_AT:
        return rl_pack_int(v, &r->revoked_at);
    case C_NOT_BEFORE:
        return rl_pack_int(v, &r->not_before);
    case C_NOT_AFTER:
        return rl_pack_int(v, &r->not_after);
    default:
        return RL_OK;
    }
}

rl_err rl_cert_decode_status(rl_span in, rl_cert_status *r)
{
    *r = (rl_cert_status){0};
    return rl_pack_walk(in, CERT_REQUIRED, take_status, r);
}

/* What the mask says, before times. Permanent before reversible, an admin's word before the directories'. */
static void effective(const rl_cert_record *r, rl_status *status, rl_reason *reason)
{
    bool manual = r->why & RL_WHY_MANUAL, manual_hold = manual && r->manual_reason == RL_REASON_HOLD;
    bool listed = r->why & RL_WHY_FOREIGN_CRL, listed_hold = listed && r->crl_reason == RL_REASON_HOLD;
    *status = RL_STATUS_REVOKED;
    if (manual && !manual_hold)
        *reason = r->manual_reason;
    else if (r->why & (RL_WHY_DELETED | RL_WHY_WIPED))
        *reason = RL_REASON_CESSATION;
    else if (r->why & RL_WHY_ENDPOINT_LIST)
        *reason = RL_REASON_PRIVILEGE_WITHDRAWN;
    else if (listed && !listed_hold)
        *reason = r->crl_reason;
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
    /* X.509 on reasonCode: when a hold becomes a revocation for good, the date stays that of the hold. */
    if (status == RL_STATUS_GOOD)
        revoked_at = 0;
    else if (r->why == RL_WHY_FOREIGN_CRL)
        revoked_at = r->crl_date;
    else if (r->status == RL_STATUS_GOOD)
        revoked_at = now;
    bool changed = status != r->status || reason != r->reason || revoked_at != r->revoked_at;
    r->status = status;
    r->reason = reason;
    r->revoked_at = revoked_at;
    return changed;
}

/* ---- revoked, audit ---- */
enum { R_REVOKED_AT = 1, R_REASON };

rl_err rl_revoked_encode(const rl_revoked_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 2);
    rl_pack_put_int(&w, R_REVOKED_AT, r->revoked_at);
    rl_pack_put_uint(&w, R_REASON, (uint64_t)r->reason);
    return rl_pack_finish(&w);
}

static rl_err take_revoked(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_revoked_record *r = record;
    (void)rest;
    switch (key) {
    case R_REVOKED_AT:
        return rl_pack_int(v, &r->revoked_at);
    case R_REASON:
        return as_reason(v, &r->reason);
    default:
        return RL_OK;
    }
}

rl_err rl_revoked_decode(rl_span in, rl_revoked_record *r)
{
    *r = (rl_revoked_record){0};
    return rl_pack_walk(in, RL_PACK_BIT(R_REVOKED_AT) | RL_PACK_BIT(R_REASON), take_revoked, r);
}

enum { A_WHO = 1, A_WHAT, A_SUBJECT };

rl_err rl_audit_encode(const char *who, const char *what, const char *subject, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 3);
    rl_pack_put_text(&w, A_WHO, who);
    rl_pack_put_text(&w, A_WHAT, what);
    rl_pack_put_text(&w, A_SUBJECT, subject);
    return rl_pack_finish(&w);
}

static rl_err take_audit(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_audit_record *r = record;
    (void)rest;
    switch (key) {
    case A_WHO:
        return rl_pack_text(v, &r->who);
    case A_WHAT:
        return rl_pack_text(v, &r->what);
    case A_SUBJECT:
        return rl_pack_text(v, &r->subject);
    default:
        return RL_OK;
    }
}

rl_err rl_audit_decode(rl_span in, rl_audit_record *r)
{
    *r = (rl_audit_record){0};
    rl_err err = rl_pack_walk(in, RL_PACK_BIT(A_WHO) | RL_PACK_BIT(A_WHAT), take_audit, r);
    if (err != RL_OK)
        rl_audit_clear(r);
    return err;
}

void rl_audit_clear(rl_audit_record *r)
{
    free(r->who);
    free(r->what);
    free(r->subject);
    *r = (rl_audit_record){0};
}

/* ---- delta ---- */
enum { D_KIND = 1, D_ISSUER, D_SERIAL, D_STATUS, D_REASON, D_WHY, D_REVOKED_AT, D_NOT_AFTER, D_AT, D_ORIGIN };

rl_err rl_delta_encode(const rl_delta_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 10);
    rl_pack_put_uint(&w, D_KIND, (uint64_t)r->kind);
    rl_pack_put_uint(&w, D_ISSUER, r->cert.issuer);
    rl_pack_put_bin(&w, D_SERIAL, r->cert.serial, r->cert.serial_n);
    rl_pack_put_uint(&w, D_STATUS, (uint64_t)r->status);
    rl_pack_put_uint(&w, D_REASON, (uint64_t)r->reason);
    rl_pack_put_uint(&w, D_WHY, r->why);
    rl_pack_put_int(&w, D_REVOKED_AT, r->revoked_at);
    rl_pack_put_int(&w, D_NOT_AFTER, r->not_after);
    rl_pack_put_int(&w, D_AT, r->at);
    rl_pack_put_text(&w, D_ORIGIN, r->origin);
    return rl_pack_finish(&w);
}

static rl_err take_delta(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_delta_record *r = record;
    uint64_t u = 0;
    (void)rest;
    switch (key) {
    case D_KIND:
        RL_TRY(rl_pack_uint(v, RL_DELTA_STATUS, &u));
        r->kind = (__typeof__(r->kind))u;
        return RL_OK;
    case D_ISSUER:
        return as_why(v, &r->cert.issuer);
    case D_SERIAL:
        if (v->kind != RL_PACK_BYTES || v->bytes.n > RL_STORE_SERIAL_MAX || v->bytes.n == 0)
            return RL_ECORRUPT;
        r->cert.serial_n = (uint8_t)v->bytes.n;
        memcpy(r->cert.serial, v->bytes.p, v->bytes.n);
        return RL_OK;
    case D_STATUS:
        return as_status(v, &r->status);
    case D_REASON:
        return as_reason(v, &r->reason);
    case D_WHY:
        return as_why(v, &r->why);
    case D_REVOKED_AT:
        return rl_pack_int(v, &r->revoked_at);
    case D_NOT_AFTER:
        return rl_pack_int(v, &r->not_after);
    case D_AT:
        return rl_pack_int(v, &r->at);
    case D_ORIGIN:
        return rl_pack_text(v, &r->origin);
    default:
        return RL_OK;
    }
}

rl_err rl_delta_decode(rl_span in, rl_delta_record *r)
{
    *r = (rl_delta_record){0};
    rl_err err = rl_pack_walk(
        in, RL_PACK_BIT(D_KIND) | RL_PACK_BIT(D_ISSUER) | RL_PACK_BIT(D_SERIAL) | RL_PACK_BIT(D_STATUS), take_delta, r);
    if (err != RL_OK)
        rl_delta_clear(r);
    return err;
}

void rl_delta_clear(rl_delta_record *r)
{
    free(r->origin);
    *r = (rl_delta_record){0};
}
