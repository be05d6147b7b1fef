/* What is said to Intune's SCEP validation service, and what it answers. Pure. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "scep/intune.h"

enum {
    ANSWER_MAX = 256 * 1024,
    DESCRIPTION_MAX = 255,
    ACCESS_DENIED = 0x80070005u, /* HRESULT */
};

#define CALLER "Revline/" REVLINE_VERSION

static char *base64(rl_span in)
{
    size_t cap = in.n * 2 + 8;
    char *text = malloc(cap);
    if (text && rl_base64_encode(in, false, text, cap) == RL_OK)
        return text;
    free(text);
    return NULL;
}

/* Takes `value`, which may be NULL: out of memory. */
static rl_err append(json_t *value, rl_buf *out)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    rl_err err = text ? rl_buf_append(out, text, strlen(text)) : RL_ENOMEM;
    free(text);
    json_decref(value);
    return err;
}

rl_err scep_intune_request(const char *transaction, rl_span csr, rl_buf *out)
{
    char *text = base64(csr);
    json_t *body = text ? json_pack("{s:{s:s,s:s,s:s}}", "request", "transactionId", transaction, "certificateRequest",
                                    text, "callerInfo", CALLER)
                        : NULL;
    free(text);
    return append(body, out);
}

/* ---- what became of it ---- */
static rl_err thumbprint(rl_span der, char out[2 * 20 + 1])
{
    uint8_t digest[RL_HASH_MAX];
    RL_TRY(rl_hash_digest(RL_SHA1, der, digest));
    RL_TRY(rl_hex(rl_span_of(digest, 20), out, 41));
    for (char *c = out; *c; c++)
        if (*c >= 'a' && *c <= 'f')
            *c = (char)(*c - 32);
    return RL_OK;
}

/* "2027-01-05T10:11:12.000Z" */
static void time_text(int64_t at, char out[RL_TIME_TEXT + 8])
{
    char text[RL_TIME_TEXT];
    rl_time_rfc3339(at, text);
    snprintf(out, RL_TIME_TEXT + 8, "%.19s.000Z", text);
}

static json_t *describe(X509 *cert, rl_span der, const char *transaction, const char *csr, const char *authority)
{
    char print[41], serial[2 * RL_SERIAL_MAX + 1], expires[RL_TIME_TEXT + 8];
    rl_serial number;
    int64_t end;
    char *issuer = rl_name_text(X509_get_issuer_name(cert));
    json_t *out = NULL;
    if (issuer && thumbprint(der, print) == RL_OK && rl_x509_serial(cert, &number) == RL_OK &&
        rl_x509_time(X509_get0_notAfter(cert), &end) == RL_OK) {
        rl_serial_text(&number, serial);
        time_text(end, expires);
        out = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:n,s:s}", "transactionId", transaction, "certificateRequest",
                        csr, "certificateThumbprint", print, "certificateSerialNumber", serial,
                        "certificateExpirationDateUtc", expires, "issuingCertificateAuthority", issuer, "callerInfo",
                        CALLER, "caConfiguration", "certificateAuthority", authority);
    }
    free(issuer);
    return out;
}

rl_err scep_intune_success(const char *transaction, rl_span csr, const rl_cert_id *id, rl_span der,
                           const char *authority, int64_t now, rl_buf *out)
{
    char serial[2 * RL_STORE_SERIAL_MAX + 1];
    X509 *cert = NULL;
    char *text = base64(csr);
    json_t *what = NULL;
    if (text && rl_x509_from_der(der, &cert, NULL) == RL_OK &&
        rl_hex(rl_span_of(id->serial, id->serial_n), serial, sizeof(serial)) == RL_OK)
        what = describe(cert, der, transaction, text, authority);
    X509_free(cert);
    free(text);
    if (!what)
        return RL_ENOMEM;
    return append(json_pack("{s:s,s:I,s:s,s:I,s:{s:o}}", "action", "success", "issuer", (json_int_t)id->issuer,
                            "serial", serial, "at", (json_int_t)now, "body", "notification", what),
                  out);
}

/* `csr` in base64. */
static rl_err write_failure(const char *transaction, const char *csr, const char *why, int64_t now, rl_buf *out)
{
    char description[DESCRIPTION_MAX + 1];
    snprintf(description, sizeof(description), "%s", why[0] ? why : "refused");
    rl_text_clean(description); /* a name in it may have been cut in the middle of a character */
    json_t *what = transaction && csr ? json_pack("{s:s,s:s,s:I,s:s,s:s}", "transactionId", transaction,
                                                  "certificateRequest", csr, "hResult", (json_int_t)ACCESS_DENIED,
                                                  "errorDescription", description, "callerInfo", CALLER)
                                      : NULL;
    if (!what)
        return RL_ENOMEM;
    return append(
        json_pack("{s:s,s:I,s:{s:o}}", "action", "failure", "at", (json_int_t)now, "body", "notification", what), out);
}

rl_err scep_intune_failure(const char *transaction, rl_span csr, const char *why, int64_t now, rl_buf *out)
{
    char *text = base64(csr);
    rl_err err = write_failure(transaction, text, why, now, out);
    free(text);
    return err;
}

rl_err scep_intune_failed(rl_span success, const char *why, int64_t now, rl_buf *out)
{
    json_t *root = NULL;
    if (rl_json_parse(success, ANSWER_MAX, &root, NULL) != RL_OK)
        return RL_ECORRUPT;
    const json_t *what = json_object_get(json_object_get(root, "body"), "notification");
    rl_err err =
        write_failure(rl_json_str(what, "transactionId"), rl_json_str(what, "certificateRequest"), why, now, out);
    json_decref(root);
    return err;
}

static rl_err read_entry(const json_t *root, scep_intune_entry *out)
{
    const char *action = rl_json_str(root, "action"), *serial = rl_json_str(root, "serial");
    const json_t *body = json_object_get(root, "body");
    size_t n = 0;
    if (!action || !json_is_object(body))
        return RL_ECORRUPT;
    out->success = strcmp(action, "success") == 0;
    out->action = out->success ? "ScepActions/successNotification" : "ScepActions/failureNotification";
    out->at = rl_json_int(root, "at", 0);
    if (out->success) {
        out->cert.issuer = (rl_issuer_id)rl_json_int(root, "issuer", 0);
        if (!serial || rl_unhex(rl_span_str(serial), out->cert.serial, sizeof(out->cert.serial), &n) != RL_OK)
            return RL_ECORRUPT;
        out->cert.serial_n = (uint8_t)n;
    }
    char *text = json_dumps(body, JSON_COMPACT);
    rl_err err = text ? rl_buf_append(&out->body, text, strlen(text)) : RL_ENOMEM;
    free(text);
    return err;
}

rl_err scep_intune_entry_read(rl_span in, scep_intune_entry *out)
{
    json_t *root = NULL;
    *out = (scep_intune_entry){0};
    if (rl_json_parse(in, ANSWER_MAX, &root, NULL) != RL_OK)
        return RL_ECORRUPT;
    rl_err err = read_entry(root, out);
    json_decref(root);
    return err;
}

/* ---- the answer ---- */
/* A refusal is a status 200, too, with another code. Codes are words. */
static bool is_word(const char *text)
{
    size_t n = 0;
    for (; text[n]; n++)
        if (!((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z')))
            return false;
    return n > 0 && n < 100;
}

scep_intune_verdict scep_intune_read(long status, rl_span body, char why[SCEP_INTUNE_WHY])
{
    json_t *root = NULL;
    scep_intune_verdict verdict = SCEP_INTUNE_AWAY;
    why[0] = 0;
    if (status < 200 || status > 299) {
        snprintf(why, SCEP_INTUNE_WHY, "Intune answered %ld", status);
        return verdict;
    }
    const char *code = rl_json_parse(body, ANSWER_MAX, &root, NULL) == RL_OK ? rl_json_str(root, "code") : NULL;
    if (code && strcmp(code, "Success") == 0) {
        verdict = SCEP_INTUNE_YES;
    } else if (code && is_word(code)) {
        snprintf(why, SCEP_INTUNE_WHY, "Intune refuses the request: %s", code);
        verdict = SCEP_INTUNE_NO;
    } else {
        snprintf(why, SCEP_INTUNE_WHY, "Intune's answer has no code");
    }
    json_decref(root);
    return verdict;
}
