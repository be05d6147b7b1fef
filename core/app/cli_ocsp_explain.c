/* `revline ocsp`, the answer: what it says, and whether it is an answer to the question, now (RFC 6960 §3.2, §4.2).
 * What it says goes into the report as it stands; what is wrong with it becomes a problem. */
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cli_ocsp.h"
#include "base/clock.h"
#include "base/json.h"

/* How far a clock may be behind the responder's. nextUpdate has no such allowance: an answer that ended has ended. One
 * without it has to be recent (RFC 6960 §3.2): of the last day, as Firefox wants it. */
enum { FUTURE_TOLERATED_S = 300, RECENT_S = 24 * 3600 };

/* ---- the report ---- */
static void add_line(ocsp_report *r, const char *list, const char *line)
{
    json_array_append_new(json_object_get(r->json, list), json_string(line));
}

/* rl_fail cleans what came from outside. */
void cli_ocsp_problem(ocsp_report *r, rl_err code, const char *fmt, ...)
{
    char text[RL_ERROR_MESSAGE_MAX];
    rl_error e;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rl_fail(&e, code, "ocsp", "%s", text);
    add_line(r, "problems", e.message);
    if (r->error.code == RL_OK)
        r->error = e;
}

void cli_ocsp_note(ocsp_report *r, const char *fmt, ...)
{
    char text[RL_ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rl_text_clean(text);
    add_line(r, "notes", text);
}

json_t *cli_ocsp_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (copy)
        rl_text_clean(copy);
    json_t *value = copy ? json_string(copy) : json_null();
    free(copy);
    return value;
}

void cli_ocsp_span_text(int64_t s, char out[OCSP_SPAN_TEXT])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{365 * 86400, "y"}, {86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t i = 0;
    while (i < 4 && s < units[i].seconds)
        i++;
    int64_t rest = s % units[i].seconds;
    size_t n = (size_t)snprintf(out, OCSP_SPAN_TEXT, "%lld %s", (long long)(s / units[i].seconds), units[i].name);
    if (i < 4 && rest >= units[i + 1].seconds)
        snprintf(out + n, OCSP_SPAN_TEXT - n, " %lld %s", (long long)(rest / units[i + 1].seconds), units[i + 1].name);
}

void cli_ocsp_when_text(int64_t s_from_now, char out[OCSP_SPAN_TEXT])
{
    char span[OCSP_SPAN_TEXT];
    cli_ocsp_span_text(s_from_now < 0 ? -s_from_now : s_from_now, span);
    if (s_from_now == 0)
        snprintf(out, OCSP_SPAN_TEXT, "now");
    else
        snprintf(out, OCSP_SPAN_TEXT, "%.30s %s", span, s_from_now < 0 ? "ago" : "from now");
}

/* ---- times ---- */
/* Puts the time under its name and its distance from now under `name`Seconds; false when there is none. */
static bool put_time(ocsp_report *r, json_t *into, const char *name, const ASN1_TIME *t, int64_t *from_now)
{
    char text[RL_TIME_TEXT], distance[32];
    int64_t s;
    if (!t)
        return false;
    if (rl_x509_time(t, &s) != RL_OK) {
        cli_ocsp_problem(r, RL_EBADMSG, "%s in the answer is no time", name);
        return false;
    }
    rl_time_rfc3339(s, text);
    *from_now = s - rl_wall_s();
    snprintf(distance, sizeof(distance), "%sFromNowSeconds", name);
    json_object_set_new(into, name, json_string(text));
    json_object_set_new(into, distance, json_integer(*from_now));
    return true;
}

/* RFC 6960 §4.2.2.1: a time of the responder's that is later than ours is unreliable. */
static void check_not_future(ocsp_report *r, const char *name, int64_t from_now)
{
    char span[OCSP_SPAN_TEXT];
    cli_ocsp_span_text(from_now, span);
    if (from_now > FUTURE_TOLERATED_S)
        cli_ocsp_problem(r, RL_ERANGE, "%s is %s in the future: one of the two clocks is wrong", name, span);
    else if (from_now > 0)
        cli_ocsp_note(r, "%s is %s in the future: this machine's clock is behind the responder's", name, span);
}

static void check_until(ocsp_report *r, int64_t from_now)
{
    char span[OCSP_SPAN_TEXT];
    int64_t max_age = rl_json_int(json_object_get(r->json, "http"), "maxAgeSeconds", -1);
    cli_ocsp_span_text(from_now < 0 ? -from_now : max_age - from_now, span);
    if (from_now < 0)
        cli_ocsp_problem(r, RL_ERANGE, "the answer has expired: its nextUpdate was %s ago%s", span,
                         from_now > -FUTURE_TOLERATED_S ? "; compare the two clocks" : "");
    else if (max_age > from_now + 1)
        cli_ocsp_note(r, "Cache-Control lets caches keep the answer %s beyond nextUpdate (RFC 5019 §6.2)", span);
}

/* Without nextUpdate. */
static void check_recent(ocsp_report *r, int64_t from_now)
{
    char span[OCSP_SPAN_TEXT];
    cli_ocsp_span_text(-from_now, span);
    if (from_now < -RECENT_S)
        cli_ocsp_problem(
            r, RL_ERANGE,
            "the answer is not recent: it has no nextUpdate, and its thisUpdate was %s ago (RFC 6960 §3.2)", span);
    else
        cli_ocsp_note(r, "there is no nextUpdate: newer information is available at any time (RFC 6960 §4.2.2.1)");
}

/* Of the certificate that was asked for, the times decide; of others they are only told. */
static void explain_times(ocsp_report *r, json_t *c, bool asked, const ASN1_GENERALIZEDTIME *this_update,
                          const ASN1_GENERALIZEDTIME *next_update)
{
    int64_t since = 0, until = 0;
    bool has_since = put_time(r, c, "thisUpdate", this_update, &since);
    bool has_until = put_time(r, c, "nextUpdate", next_update, &until);
    if (!asked)
        return;
    if (has_since)
        check_not_future(r, "thisUpdate", since);
    if (has_until)
        check_until(r, until);
    if (has_since && has_until && until < since)
        cli_ocsp_problem(r, RL_EBADMSG, "nextUpdate is before thisUpdate");
    if (!next_update)
        check_recent(r, has_since ? since : 0);
}

/* ---- extensions ---- */
/* RFC 6960 §4.4: those that this client understands, or may ignore because they only add to what it says. */
static void check_extension(ocsp_report *r, X509_EXTENSION *ext)
{
    char oid[80];
    const ASN1_OBJECT *object = X509_EXTENSION_get_object(ext);
    int nid = OBJ_obj2nid(object);
    OBJ_obj2txt(oid, sizeof(oid), object, 1);
    if (strcmp(oid, "1.3.6.1.5.5.7.48.1.9") == 0)
        cli_ocsp_note(r, "the responder says \"revoked\" of certificates that were never issued, too, then as on hold "
                         "since 1970 (extended revoke, RFC 6960 §4.4.8)");
    else if (nid == NID_id_pkix_OCSP_archiveCutoff)
        cli_ocsp_note(r, "the responder keeps the status of expired certificates (archive cutoff, RFC 6960 §4.4.4)");
    else if (nid != NID_id_pkix_OCSP_Nonce && X509_EXTENSION_get_critical(ext))
        cli_ocsp_problem(r, RL_EUNSUPPORTED, "the answer has a critical extension that is not understood here: %s",
                         oid);
}

/* ---- one certificate ---- */
static char *serial_text(const ASN1_INTEGER *serial)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
    char *text = n ? BN_bn2hex(n) : NULL;
    BN_free(n);
    return text;
}

/* Without the issuer its name is compared, but not its key. */
static bool matches_name(const X509 *cert, const EVP_MD *md, const ASN1_OCTET_STRING *name_hash,
                         const ASN1_INTEGER *serial)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return X509_NAME_digest(X509_get_issuer_name(cert), md, digest, &n) == 1 &&
           ASN1_STRING_length(name_hash) == (int)n && memcmp(ASN1_STRING_get0_data(name_hash), digest, n) == 0 &&
           ASN1_INTEGER_cmp(X509_get0_serialNumber(cert), serial) == 0;
}

/* With whichever hash the answer has chosen. */
static bool is_asked(const ocsp_question *q, OCSP_CERTID *id)
{
    ASN1_OCTET_STRING *name_hash, *key_hash;
    ASN1_OBJECT *hash;
    ASN1_INTEGER *serial;
    if (!q->cert)
        return true;
    OCSP_id_get0_info(&name_hash, &hash, &key_hash, &serial, id);
    const EVP_MD *md = EVP_get_digestbyobj(hash);
    if (!md)
        return false;
    if (!q->issuer)
        return matches_name(q->cert, md, name_hash, serial);
    OCSP_CERTID *ours = OCSP_cert_to_id(md, q->cert, q->issuer);
    bool same = ours && OCSP_id_cmp(ours, id) == 0;
    OCSP_CERTID_free(ours);
    return same;
}

static void explain_status(ocsp_report *r, json_t *c, int status, int reason, ASN1_GENERALIZEDTIME *revoked_at)
{
    int64_t since;
    static const char *const names[] = {"good", "revoked", "unknown"}; /* V_OCSP_CERTSTATUS_… */
    if (status < 0 || status > 2) {
        cli_ocsp_problem(r, RL_EBADMSG, "the answer has a certificate status that RFC 6960 does not know");
        return;
    }
    json_object_set_new(c, "status", json_string(names[status]));
    if (status != V_OCSP_CERTSTATUS_REVOKED)
        return;
    if (reason != OCSP_REVOKED_STATUS_NOSTATUS)
        json_object_set_new(c, "reason", json_string(OCSP_crl_reason_str(reason)));
    put_time(r, c, "revokedAt", revoked_at, &since);
}

/* Returns whether it is about what was asked. */
static bool explain_single(ocsp_report *r, const ocsp_question *q, OCSP_SINGLERESP *single)
{
    OCSP_CERTID *id = (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single); /* the readers below take it without const */
    ASN1_GENERALIZEDTIME *revoked_at = NULL, *this_update = NULL, *next_update = NULL;
    ASN1_INTEGER *serial;
    ASN1_OBJECT *hash;
    int reason = OCSP_REVOKED_STATUS_NOSTATUS;
    bool asked = is_asked(q, id);
    char hash_name[80];
    OCSP_id_get0_info(NULL, &hash, NULL, &serial, id);
    OBJ_obj2txt(hash_name, sizeof(hash_name), hash, 0);
    char *text = serial_text(serial);
    json_t *c =
        json_pack("{s:s,s:b,s:s,s:n}", "serial", text ? text : "", "asked", (int)asked, "hash", hash_name, "status");
    OPENSSL_free(text);
    json_array_append_new(json_object_get(r->json, "certificates"), c);
    int status = OCSP_single_get0_status(single, &reason, &revoked_at, &this_update, &next_update);
    explain_status(r, c, status, reason, revoked_at);
    explain_times(r, c, asked, this_update, next_update);
    for (int i = 0; asked && i < OCSP_SINGLERESP_get_ext_count(single); i++)
        check_extension(r, OCSP_SINGLERESP_get_ext(single, i));
    return asked;
}

/* ---- the whole answer ---- */
static void explain_responder_id(ocsp_report *r, const OCSP_BASICRESP *basic)
{
    const ASN1_OCTET_STRING *key = NULL;
    const X509_NAME *name = NULL;
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    if (OCSP_resp_get0_id(basic, &key, &name) != 1)
        return;
    if (key)
        rl_hex(rl_span_of(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key)), hex, sizeof(hex));
    char *text = name ? rl_name_text(name) : NULL;
    json_t *id = json_pack("{s:s,s:o}", "by", key ? "key" : "name", "value", cli_ocsp_text(key ? hex : text));
    json_object_set_new(r->json, "responderId", id);
    free(text);
}

/* RFC 9654 §2.1. An answer without the nonce is what a responder gives that prepares its answers: only told. */
static void explain_nonce(ocsp_report *r, const ocsp_question *q, OCSP_BASICRESP *basic)
{
    const char *word;
    bool answered = OCSP_BASICRESP_get_ext_by_NID(basic, NID_id_pkix_OCSP_Nonce, -1) >= 0;
    if (!q->request) {
        word = answered ? "unchecked" : "none";
    } else {
        int outcome = OCSP_check_nonce(q->request, basic);
        word = outcome == 1 ? "repeated" : outcome == 2 ? "none" : outcome == 3 ? "unasked" : "absent";
        if (outcome == 0) {
            word = "different";
            cli_ocsp_problem(r, RL_EDENIED,
                             "the answer has another nonce than was sent: it answers somebody else's "
                             "request, or was replayed");
        }
    }
    json_object_set_new(r->json, "nonce", json_string(word));
}

/* Responders may forget expired certificates: that explains an "unknown". */
static void note_expired(ocsp_report *r, const X509 *cert)
{
    char text[RL_TIME_TEXT];
    int64_t end;
    if (!cert || rl_x509_time(X509_get0_notAfter(cert), &end) != RL_OK || end >= rl_wall_s())
        return;
    rl_time_rfc3339(end, text);
    cli_ocsp_note(r, "the certificate itself has expired, at %s", text);
}

static void explain_basic(ocsp_report *r, const ocsp_question *q, OCSP_BASICRESP *basic)
{
    int64_t produced;
    int asked = 0;
    if (put_time(r, r->json, "producedAt", OCSP_resp_get0_produced_at(basic), &produced))
        check_not_future(r, "producedAt", produced);
    explain_responder_id(r, basic);
    json_object_set_new(r->json, "certificates", json_array());
    for (int i = 0; i < OCSP_resp_count(basic); i++)
        asked += explain_single(r, q, OCSP_resp_get0(basic, i));
    if (asked == 0)
        cli_ocsp_problem(r, RL_ENOTFOUND, "the answer says nothing about %s: it is about %d other%s",
                         q->cert ? "the certificate that was asked for" : "any certificate", OCSP_resp_count(basic),
                         OCSP_resp_count(basic) == 1 ? "" : "s");
    if (!q->cert)
        cli_ocsp_note(r, "without --cert every certificate in the answer counts: the verdict is the worst of them");
    for (int i = 0; i < OCSP_BASICRESP_get_ext_count(basic); i++)
        check_extension(r, OCSP_BASICRESP_get_ext(basic, i));
    explain_nonce(r, q, basic);
    note_expired(r, q->cert);
    cli_ocsp_explain_signer(r, q, basic);
}

/* RFC 6960 §2.3 and RFC 5019 §2.2.3, by OCSPResponseStatus. */
static const struct {
    const char *name, *meaning;
} response_statuses[] = {
    {"successful", "the responder has an answer"},
    {"malformedRequest", "the responder could not read the request, or takes no such request"},
    {"internalError", "the responder is in trouble; another one may answer"},
    {"tryLater", "the responder cannot answer at the moment; ask again later"},
    {NULL, NULL}, /* 4 is not used */
    {"sigRequired", "the responder takes signed requests only"},
    {"unauthorized", "the responder does not answer for this issuer, or not for this client"},
};

void cli_ocsp_explain(ocsp_report *r, const ocsp_question *q, rl_span der)
{
    const unsigned char *at = der.p;
    OCSP_RESPONSE *response = der.n ? d2i_OCSP_RESPONSE(NULL, &at, (long)der.n) : NULL;
    OCSP_BASICRESP *basic = NULL;
    ERR_clear_error();
    if (!response || at != der.p + der.n) {
        cli_ocsp_problem(r, RL_EBADMSG, "this is no OCSP response: %zu octets that do not read as one", der.n);
        goto out;
    }
    int status = OCSP_response_status(response);
    if (status < 0 || status > 6 || !response_statuses[status].name) {
        cli_ocsp_problem(r, RL_EBADMSG, "the answer has the response status %d, which RFC 6960 does not know", status);
        goto out;
    }
    json_object_set_new(r->json, "responseStatus", json_string(response_statuses[status].name));
    json_object_set_new(r->json, "responseStatusMeaning", json_string(response_statuses[status].meaning));
    if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        cli_ocsp_problem(r, RL_EDENIED, "the responder refuses with %s: %s", response_statuses[status].name,
                         response_statuses[status].meaning);
    else if (!(basic = OCSP_response_get1_basic(response)))
        cli_ocsp_problem(r, RL_EBADMSG, "the answer is successful, but holds no basic OCSP response");
    else
        explain_basic(r, q, basic);
out:
    ERR_clear_error();
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
}
