/* The records of objects, cursors and issuers to and from msgpack. The integer keys below are the database's format:
 * never reuse or renumber one. Pure but for memory. */
#include <stdlib.h>
#include <strings.h>

#include "store/pack.h"
#include "store/records.h"

/* ---- Graph's words ---- */
static const char *const compliance_names[RL_COMPLIANCE_STATES] = {
    "unsaid", "unknown", "compliant", "noncompliant", "conflict", "error", "inGracePeriod", "configManager"};
static const char *const management_names[RL_MANAGEMENT_STATES] = {
    "unsaid",        "managed",      "retirePending", "retireFailed", "wipePending",    "wipeFailed", "unhealthy",
    "deletePending", "retireIssued", "wipeIssued",    "wipeCanceled", "retireCanceled", "discovered"};
static const char *const risk_names[RL_RISK_LEVELS] = {"none", "low", "medium", "high"};

/* 0 for what is not among them. */
static unsigned word(const char *text, const char *const *names, unsigned n)
{
    for (unsigned i = 1; text && i < n; i++)
        if (strcasecmp(text, names[i]) == 0)
            return i;
    return 0;
}

rl_compliance rl_compliance_parse(const char *text)
{
    return (rl_compliance)word(text, compliance_names, RL_COMPLIANCE_STATES);
}

rl_management rl_management_parse(const char *text)
{
    return (rl_management)word(text, management_names, RL_MANAGEMENT_STATES);
}

rl_risk rl_risk_parse(const char *text)
{
    return (rl_risk)word(text, risk_names, RL_RISK_LEVELS);
}

const char *rl_compliance_name(rl_compliance c)
{
    return compliance_names[c];
}

const char *rl_management_name(rl_management m)
{
    return management_names[m];
}

const char *rl_risk_name(rl_risk r)
{
    return risk_names[r];
}

/* ---- object ---- */
enum {
    O_EXISTS = 1,
    O_ENABLED,
    O_NAME,
    O_TARGET,
    O_GENERATION,
    O_LAST_SEEN,
    O_COMPLIANCE,
    O_MANAGEMENT,
    O_RISK,
    O_ENROLLED,
    O_SID
};

rl_err rl_object_encode(const rl_object_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, r->sid ? 11 : 10);
    rl_pack_put_uint(&w, O_EXISTS, r->exists);
    rl_pack_put_uint(&w, O_ENABLED, r->enabled);
    rl_pack_put_text(&w, O_NAME, r->name);
    rl_pack_put_text(&w, O_TARGET, r->target);
    rl_pack_put_uint(&w, O_GENERATION, r->generation);
    rl_pack_put_int(&w, O_LAST_SEEN, r->last_seen);
    rl_pack_put_uint(&w, O_COMPLIANCE, r->compliance);
    rl_pack_put_uint(&w, O_MANAGEMENT, r->management);
    rl_pack_put_uint(&w, O_RISK, r->risk);
    rl_pack_put_int(&w, O_ENROLLED, r->enrolled);
    if (r->sid)
        rl_pack_put_text(&w, O_SID, r->sid);
    return rl_pack_finish(&w);
}

static rl_err as_word(const rl_pack_value *v, unsigned n, unsigned *out)
{
    uint64_t u;
    RL_TRY(rl_pack_uint(v, n - 1, &u));
    *out = (unsigned)u;
    return RL_OK;
}

static rl_err take_object(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_object_record *r = record;
    unsigned u;
    (void)rest;
    switch (key) {
    case O_EXISTS:
        return rl_pack_bool(v, &r->exists);
    case O_ENABLED:
        return rl_pack_bool(v, &r->enabled);
    case O_NAME:
        return rl_pack_text(v, &r->name);
    case O_TARGET:
        return rl_pack_text(v, &r->target);
    case O_GENERATION:
        return rl_pack_uint(v, UINT64_MAX, &r->generation);
    case O_LAST_SEEN:
        return rl_pack_int(v, &r->last_seen);
    case O_COMPLIANCE:
        RL_TRY(as_word(v, RL_COMPLIANCE_STATES, &u));
        r->compliance = (rl_compliance)u;
        return RL_OK;
    case O_MANAGEMENT:
        RL_TRY(as_word(v, RL_MANAGEMENT_STATES, &u));
        r->management = (rl_management)u;
        return RL_OK;
    case O_RISK:
        RL_TRY(as_word(v, RL_RISK_LEVELS, &u));
        r->risk = (rl_risk)u;
        return RL_OK;
    case O_ENROLLED:
        return rl_pack_int(v, &r->enrolled);
    case O_SID:
        return rl_pack_text(v, &r->sid);
    default:
        return RL_OK;
    }
}

rl_err rl_object_decode(rl_span in, rl_object_record *r)
{
    *r = (rl_object_record){0};
    rl_err err = rl_pack_walk(in, RL_PACK_BIT(O_EXISTS) | RL_PACK_BIT(O_ENABLED), take_object, r);
    if (err != RL_OK)
        rl_object_clear(r);
    return err;
}

void rl_object_clear(rl_object_record *r)
{
    free(r->name);
    free(r->sid);
    free(r->target);
    *r = (rl_object_record){0};
}

bool rl_sid_valid(const char *text)
{
    size_t parts = 0, digits = 0, n = strlen(text);
    if (n > RL_SID_MAX || strncmp(text, "S-1-", 4) != 0)
        return false;
    for (const char *c = text + 4; *c; c++) {
        bool dash = *c == '-';
        if ((!dash && (*c < '0' || *c > '9')) || (dash && digits == 0) || digits > 14)
            return false;
        parts += dash;
        digits = dash ? 0 : digits + 1;
    }
    return digits > 0 && parts >= 1 && parts <= 15;
}

/* ---- issuer ---- */
enum {
    I_CERT = 1,
    I_KEY_REF,
    I_CRL_NUMBER,
    I_HASHES,
    I_DELEGATE,
    I_LIST_NUMBER,
    I_LIST_THIS_UPDATE,
    I_LIST_WHOLE,
    I_LIST_NEXT_UPDATE,
    I_LIST_PARTIAL,
    I_LIST_SCOPE
};

rl_err rl_issuer_encode(const rl_issuer_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 11);
    rl_pack_put_bin(&w, I_CERT, r->cert, r->cert_n);
    rl_pack_put_text(&w, I_KEY_REF, r->key_ref);
    rl_pack_put_uint(&w, I_CRL_NUMBER, r->crl_number);
    rl_pack_put_bin(&w, I_HASHES, r->hashes, sizeof(r->hashes));
    rl_pack_put_bin(&w, I_DELEGATE, r->delegate ? r->delegate : (const uint8_t *)"", r->delegate_n);
    rl_pack_put_bin(&w, I_LIST_NUMBER, r->crl.number, sizeof(r->crl.number));
    rl_pack_put_int(&w, I_LIST_THIS_UPDATE, r->crl.this_update);
    rl_pack_put_uint(&w, I_LIST_WHOLE, r->crl.whole);
    rl_pack_put_int(&w, I_LIST_NEXT_UPDATE, r->crl.next_update);
    rl_pack_put_uint(&w, I_LIST_PARTIAL, r->crl.partial);
    rl_pack_put_bin(&w, I_LIST_SCOPE, r->crl.scope, sizeof(r->crl.scope));
    return rl_pack_finish(&w);
}

/* A copy, once. */
static rl_err take_octets(const rl_pack_value *v, uint8_t **out, size_t *n)
{
    if (v->kind != RL_PACK_BYTES || *out)
        return RL_ECORRUPT;
    if (v->bytes.n == 0)
        return RL_OK;
    if (!(*out = malloc(v->bytes.n)))
        return RL_ENOMEM;
    memcpy(*out, v->bytes.p, v->bytes.n);
    *n = v->bytes.n;
    return RL_OK;
}

static rl_err take_fixed(const rl_pack_value *v, void *out, size_t n)
{
    if (v->kind != RL_PACK_BYTES || v->bytes.n != n)
        return RL_ECORRUPT;
    memcpy(out, v->bytes.p, n);
    return RL_OK;
}

static rl_err take_crl(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_issuer_crl *r = record;
    (void)rest;
    switch (key) {
    case I_LIST_NUMBER:
        return take_fixed(v, r->number, sizeof(r->number));
    case I_LIST_THIS_UPDATE:
        return rl_pack_int(v, &r->this_update);
    case I_LIST_WHOLE:
        return rl_pack_bool(v, &r->whole);
    case I_LIST_NEXT_UPDATE:
        return rl_pack_int(v, &r->next_update);
    case I_LIST_PARTIAL:
        return rl_pack_bool(v, &r->partial);
    case I_LIST_SCOPE:
        return take_fixed(v, r->scope, sizeof(r->scope));
    default:
        return RL_OK;
    }
}

rl_err rl_issuer_decode_crl(rl_span in, rl_issuer_crl *r)
{
    *r = (rl_issuer_crl){0};
    return rl_pack_walk(in, RL_PACK_BIT(I_CERT), take_crl, r);
}

static rl_err take_issuer(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_issuer_record *r = record;
    switch (key) {
    case I_CERT:
        return v->bytes.n == 0 ? RL_ECORRUPT : take_octets(v, &r->cert, &r->cert_n);
    case I_DELEGATE:
        return take_octets(v, &r->delegate, &r->delegate_n);
    case I_KEY_REF:
        return rl_pack_text(v, &r->key_ref);
    case I_CRL_NUMBER:
        return rl_pack_uint(v, UINT64_MAX, &r->crl_number);
    case I_HASHES:
        return take_fixed(v, r->hashes, sizeof(r->hashes));
    default:
        return take_crl(key, v, rest, &r->crl);
    }
}

rl_err rl_issuer_decode(rl_span in, rl_issuer_record *r)
{
    *r = (rl_issuer_record){0};
    rl_err err = rl_pack_walk(in, RL_PACK_BIT(I_CERT) | RL_PACK_BIT(I_HASHES), take_issuer, r);
    if (err != RL_OK)
        rl_issuer_clear(r);
    return err;
}

void rl_issuer_clear(rl_issuer_record *r)
{
    free(r->cert);
    free(r->key_ref);
    free(r->delegate);
    *r = (rl_issuer_record){0};
}

/* ---- cursor ---- */
enum { U_LINK = 1, U_FULL, U_COMPLETE, U_GENERATION, U_LAST_SUCCESS, U_LAST_FULL, U_TENANT, U_REFUSED, U_LEAVING };

rl_err rl_cursor_encode(const rl_cursor_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 7u + r->refused + r->leaving);
    rl_pack_put_text(&w, U_LINK, r->link ? r->link : "");
    rl_pack_put_uint(&w, U_FULL, r->full);
    rl_pack_put_uint(&w, U_COMPLETE, r->complete);
    rl_pack_put_uint(&w, U_GENERATION, r->generation);
    rl_pack_put_int(&w, U_LAST_SUCCESS, r->last_success);
    rl_pack_put_int(&w, U_LAST_FULL, r->last_full);
    rl_pack_put_text(&w, U_TENANT, r->tenant);
    if (r->refused)
        rl_pack_put_uint(&w, U_REFUSED, true);
    if (r->leaving)
        rl_pack_put_uint(&w, U_LEAVING, true);
    return rl_pack_finish(&w);
}

static rl_err take_cursor(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_cursor_record *r = record;
    (void)rest;
    switch (key) {
    case U_LINK:
        return rl_pack_text(v, &r->link);
    case U_FULL:
        return rl_pack_bool(v, &r->full);
    case U_COMPLETE:
        return rl_pack_bool(v, &r->complete);
    case U_GENERATION:
        return rl_pack_uint(v, UINT64_MAX, &r->generation);
    case U_LAST_SUCCESS:
        return rl_pack_int(v, &r->last_success);
    case U_LAST_FULL:
        return rl_pack_int(v, &r->last_full);
    case U_TENANT:
        return rl_pack_text(v, &r->tenant);
    case U_REFUSED:
        return rl_pack_bool(v, &r->refused);
    case U_LEAVING:
        return rl_pack_bool(v, &r->leaving);
    default:
        return RL_OK;
    }
}

rl_err rl_cursor_decode(rl_span in, rl_cursor_record *r)
{
    *r = (rl_cursor_record){0};
    rl_err err = rl_pack_walk(in, RL_PACK_BIT(U_COMPLETE) | RL_PACK_BIT(U_GENERATION), take_cursor, r);
    if (err != RL_OK)
        rl_cursor_clear(r);
    return err;
}

void rl_cursor_clear(rl_cursor_record *r)
{
    free(r->link);
    free(r->tenant);
    *r = (rl_cursor_record){0};
}

/* ---- held change ---- */
static const char *const change_states[RL_CHANGE_STATES] = {"open", "due", "held", "dropped", "released"};

const char *rl_change_state_name(rl_change_state s)
{
    return change_states[s];
}

enum { H_SOURCE = 1, H_STATE, H_SINCE, H_CERTIFICATES };

rl_err rl_change_encode(const rl_change_record *r, rl_buf *out)
{
    rl_pack_writer w;
    rl_pack_begin(&w, out, 4);
    rl_pack_put_text(&w, H_SOURCE, r->source);
    rl_pack_put_uint(&w, H_STATE, r->state);
    rl_pack_put_int(&w, H_SINCE, r->since);
    rl_pack_put_uint(&w, H_CERTIFICATES, r->certificates);
    return rl_pack_finish(&w);
}

static rl_err take_change(uint64_t key, const rl_pack_value *v, rl_span *rest, void *record)
{
    rl_change_record *r = record;
    unsigned u;
    (void)rest;
    switch (key) {
    case H_SOURCE:
        if (v->kind != RL_PACK_BYTES || v->bytes.n == 0 || v->bytes.n >= sizeof(r->source) ||
            memchr(v->bytes.p, 0, v->bytes.n))
            return RL_ECORRUPT;
        memset(r->source, 0, sizeof(r->source));
        memcpy(r->source, v->bytes.p, v->bytes.n);
        return RL_OK;
    case H_STATE:
        RL_TRY(as_word(v, RL_CHANGE_STATES, &u));
        r->state = (rl_change_state)u;
        return RL_OK;
    case H_SINCE:
        return rl_pack_int(v, &r->since);
    case H_CERTIFICATES:
        return rl_pack_uint(v, UINT64_MAX, &r->certificates);
    default:
        return RL_OK;
    }
}

rl_err rl_change_decode(rl_span in, rl_change_record *r)
{
    *r = (rl_change_record){0};
    return rl_pack_walk(in, RL_PACK_BIT(H_SOURCE) | RL_PACK_BIT(H_STATE), take_change, r);
}
