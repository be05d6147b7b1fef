/* The commands that need the database: each takes JSON and gives JSON, so that the control socket and the
 * command line (when no server runs) share them. Runs on the caller's thread; writes go through the store's
 * writer and have been acknowledged when a command returns. */
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "store/export.h"
#include "sync/rules.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 1000 };

/* ---- which certificate ---- */
/* The issuer that was named; 0: none was. */
static rl_err named_issuer(rl_app *app, const json_t *request, rl_issuer_id *id, rl_error *e)
{
    const json_t *value = json_object_get(request, "issuer");
    char number[24];
    const rl_issuer *issuer = NULL;
    *id = 0;
    if (!value)
        return RL_OK;
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
    RL_TRY(rl_ca_lookup(app->ca, json_is_string(value) ? json_string_value(value) : number, &issuer, e));
    *id = issuer->id;
    return RL_OK;
}

/* Of an issuer that was named, or else of the only one that has this serial number. None has it: the CA's. */
static rl_err choose_issuer(rl_app *app, const json_t *request, const char *text, rl_cert_id *id, rl_error *e)
{
    rl_cert_status status;
    rl_issuer_id found = 0;
    RL_TRY(named_issuer(app, request, &id->issuer, e));
    if (id->issuer)
        return RL_OK;
    for (id->issuer = 1; id->issuer <= rl_ca_issuers(app->ca); id->issuer++) {
        if (rl_store_cert_status(app->store, id, &status) != RL_OK)
            continue;
        if (found)
            return rl_fail(e, RL_EINVAL, "serial",
                           "issuers %u and %u both have a certificate with the serial number %s: say which (--issuer)",
                           found, id->issuer, text);
        found = id->issuer;
    }
    id->issuer = found ? found : rl_ca_issuer(app->ca)->id;
    return RL_OK;
}

static rl_err read_id(rl_app *app, const json_t *request, const char *key, rl_cert_id *id, rl_error *e)
{
    const char *text = rl_json_str(request, key);
    rl_serial serial;
    if (!text || rl_serial_from_text(text, &serial) != RL_OK)
        return rl_fail(e, RL_EINVAL, "serial", "'%s' is not a serial number (hexadecimal, 1 to 20 octets)",
                       text ? text : "");
    *id = (rl_cert_id){.serial_n = serial.n};
    memcpy(id->serial, serial.b, serial.n);
    return choose_issuer(app, request, text, id, e);
}

void rl_app_serial_text(const rl_cert_id *id, char out[2 * RL_SERIAL_MAX + 1])
{
    rl_serial serial = {.n = id->serial_n};
    memcpy(serial.b, id->serial, id->serial_n);
    rl_serial_text(&serial, out);
}

static json_t *cert_json(const rl_cert_id *id, const rl_cert_record *r)
{
    char serial[2 * RL_SERIAL_MAX + 1];
    rl_app_serial_text(id, serial);
    json_t *bindings = json_array();
    for (size_t i = 0; i < r->bindings_n; i++)
        json_array_append_new(
            bindings, json_pack("{s:s,s:s}", "source", rl_source_name(r->bindings[i].source), "id", r->bindings[i].id));
    json_t *held = !r->held.change
                       ? json_null()
                       : json_pack("{s:I,s:o}", "change", (json_int_t)r->held.change, "why", rl_why_json(r->held.why));
    return json_pack("{s:s,s:i,s:s?,s:s?,s:s?,s:s,s:s?,s:o,s:o,s:o,s:o,s:b,s:o,s:o,s:o}", "serial", serial, "issuer",
                     (int)id->issuer, "subject", r->subject, "profile", r->profile, "requester", r->requester, "status",
                     rl_status_name(r->status), "reason",
                     r->status == RL_STATUS_GOOD ? NULL : rl_reason_name(r->reason), "why", rl_why_json(r->why),
                     "issuedAt", rl_json_time(r->issued_at), "notBefore", rl_json_time(r->not_before), "notAfter",
                     rl_json_time(r->not_after), "bootstrap", r->bootstrap, "revokedAt", rl_json_time(r->revoked_at),
                     "held", held, "bindings", bindings);
}

static json_t *pem_json(const char *label, rl_span der)
{
    size_t n = 4 * ((der.n + 2) / 3) + 1;
    char *b64 = malloc(n);
    rl_buf pem = {0};
    json_t *out = NULL;
    if (b64 && rl_base64_encode(der, false, b64, n) == RL_OK) {
        rl_buf_printf(&pem, "-----BEGIN %s-----\n", label);
        for (size_t i = 0, len = strlen(b64); i < len; i += 64)
            rl_buf_printf(&pem, "%.64s\n", b64 + i);
        rl_buf_printf(&pem, "-----END %s-----\n", label);
        out = json_stringn((const char *)pem.p, pem.n);
    }
    free(b64);
    rl_buf_free(&pem);
    return out;
}

static rl_err show(rl_app *app, const rl_cert_id *id, json_t **reply, rl_error *e)
{
    rl_cert_record record;
    rl_buf der = {0};
    rl_err err = rl_store_cert(app->store, id, &record);
    if (err == RL_ENOTFOUND)
        return rl_fail(e, err, "cert", "no certificate has this serial number");
    if (err != RL_OK)
        return rl_fail(e, err, "store", "the certificate cannot be read: %s", rl_err_name(err));
    *reply = cert_json(id, &record);
    if (*reply && rl_store_der(app->store, id, &der) == RL_OK)
        json_object_set_new(*reply, "certificate", pem_json("CERTIFICATE", rl_buf_span(&der)));
    rl_buf_free(&der);
    rl_cert_clear(&record);
    return *reply ? RL_OK : RL_ENOMEM;
}

static rl_err cmd_show(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_cert_id id;
    RL_TRY(read_id(app, request, "serial", &id, e));
    return show(app, &id, reply, e);
}

/* ---- list, search ---- */
struct list {
    json_t *items;
    size_t limit;
    const char *status;
    const char *text;    /* what is searched for; NULL: nothing */
    rl_issuer_id issuer; /* 0: all */
    bool more;
};

/* In the serial number, the subject, who asked for it, or the objects it is bound to. */
static bool says(const rl_cert_id *id, const rl_cert_record *r, const char *text)
{
    char serial[2 * RL_SERIAL_MAX + 1];
    rl_app_serial_text(id, serial);
    bool found = strcasestr(serial, text) || (r->subject && strcasestr(r->subject, text)) ||
                 (r->requester && strcasestr(r->requester, text));
    for (size_t i = 0; i < r->bindings_n && !found; i++)
        found = strcasestr(r->bindings[i].id, text) != NULL;
    return found;
}

static bool list_one(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct list *l = ctx;
    if (l->issuer && id->issuer != l->issuer)
        return id->issuer < l->issuer; /* they come by issuer */
    if (l->status && strcmp(l->status, rl_status_name(r->status)) != 0)
        return true;
    if (l->text && !says(id, r, l->text))
        return true;
    if (json_array_size(l->items) == l->limit) {
        l->more = true;
        return false;
    }
    json_array_append_new(l->items, cert_json(id, r));
    return true;
}

/* "ISSUER/SERIAL", as a page's `next` is written, or a serial number. */
static rl_err read_after(rl_app *app, const json_t *request, rl_cert_id *after, rl_error *e)
{
    const char *text = rl_json_str(request, "after"), *slash = strchr(text, '/');
    if (!slash)
        return read_id(app, request, "after", after, e);
    json_t *parts = json_pack("{s:s#,s:s}", "issuer", text, (int)(slash - text), "after", slash + 1);
    rl_err err = parts ? read_id(app, parts, "after", after, e) : RL_ENOMEM;
    json_decref(parts);
    return err;
}

static json_t *next_json(const json_t *last)
{
    return json_sprintf("%d/%s", (int)rl_json_int(last, "issuer", 0), rl_json_str(last, "serial"));
}

static rl_err cmd_list(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_cert_id after;
    const rl_cert_id *from = NULL;
    struct list l = {.status = rl_json_str(request, "status"), .text = rl_json_str(request, "text")};
    int64_t limit = rl_json_int(request, "limit", json_object_get(request, "limit") ? 0 : LIST_DEFAULT);
    if (limit < 1 || limit > LIST_MAX)
        return rl_fail(e, RL_EUSAGE, "list", "--limit must be 1 to %d", LIST_MAX);
    if (l.status && strcmp(l.status, "good") != 0 && strcmp(l.status, "hold") != 0 && strcmp(l.status, "revoked") != 0)
        return rl_fail(e, RL_EUSAGE, "list", "--status '%s' is none of good, hold, revoked", l.status);
    RL_TRY(named_issuer(app, request, &l.issuer, e));
    if (l.issuer) { /* behind every serial number of the one before */
        after = (rl_cert_id){.issuer = l.issuer - 1, .serial_n = RL_STORE_SERIAL_MAX};
        memset(after.serial, 0xff, sizeof(after.serial));
        from = &after;
    }
    if (rl_json_str(request, "after")) {
        RL_TRY(read_after(app, request, &after, e));
        from = &after;
    }
    l.limit = (size_t)limit;
    l.items = json_array();
    rl_err err = rl_store_each_cert(app->store, from, list_one, &l);
    if (err != RL_OK) {
        json_decref(l.items);
        return rl_fail(e, err, "store", "the certificates cannot be read: %s", rl_err_name(err));
    }
    json_t *next = l.more ? next_json(json_array_get(l.items, l.limit - 1)) : json_null();
    *reply = json_pack("{s:o,s:o}", "items", l.items, "next", next);
    return *reply ? RL_OK : RL_ENOMEM;
}

/* ---- revoke, unrevoke ---- */
struct change {
    rl_cert_id id;
    rl_reason reason;
    bool undo;
};

static rl_err apply_change(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct change *c = arg;
    return c->undo ? rl_txn_unrevoke(t, &c->id, rl_wall_s(), "admin", e)
                   : rl_txn_revoke(t, &c->id, c->reason, rl_wall_s(), "admin", e);
}

static rl_err cmd_revoke(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    struct change c = {.undo = strcmp(rl_json_str(request, "command"), "unrevoke") == 0};
    const char *reason = rl_json_str(request, "reason");
    RL_TRY(read_id(app, request, "serial", &c.id, e));
    if (reason && (rl_reason_parse(reason, &c.reason) != RL_OK || c.reason == RL_REASON_REMOVE_FROM_CRL))
        return rl_fail(e, RL_EUSAGE, "revoke",
                       "'%s' is no revocation reason of RFC 5280 (keyCompromise, superseded, certificateHold, …)",
                       reason);
    RL_TRY(rl_store_run(app->store, apply_change, &c, e));
    return show(app, &c.id, reply, e);
}

/* ---- sign ---- */
static rl_err cmd_sign(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const char *csr = rl_json_str(request, "csr"), *name = rl_json_str(request, "profile");
    rl_issue_request issue = {.requester = "admin"};
    rl_issued issued = {0};
    rl_sub_ca sub_ca;
    rl_duration validity = 0;
    const char *text = rl_json_str(request, "validity");
    if (!csr)
        return rl_fail(e, RL_EINVAL, "sign", "no certificate request was given");
    if (rl_profile_find(app->settings, name ? name : "client", &issue.profile) != RL_OK ||
        issue.profile >= RL_PROFILE_OCSP)
        return rl_fail(e, RL_EINVAL, "sign",
                       "profile '%s' is none of server, client, subca, static, static-aad, jamf, dc, intune, nor in "
                       "REVLINE_SCEP_PROFILES",
                       name);
    if (text && rl_parse_duration(rl_span_str(text), &validity) != RL_OK)
        return rl_fail(e, RL_EUSAGE, "sign", "validity '%s' is no duration (such as 90d)", text);
    issue.validity = validity;
    RL_TRY(rl_csr_from_any(rl_span_str(csr), &issue.csr, e));
    rl_err err = rl_command_read_sub_ca(request, issue.profile == RL_PROFILE_SUBCA, &sub_ca, e);
    issue.sub_ca = issue.profile == RL_PROFILE_SUBCA ? &sub_ca : NULL;
    if (err == RL_OK)
        err = rl_ca_issue(app->ca, &issue, &issued, e);
    if (err == RL_OK)
        err = show(app, &issued.id, reply, e);
    rl_issued_clear(&issued);
    rl_command_clear_sub_ca(&sub_ca);
    X509_REQ_free(issue.csr);
    return err;
}

/* ---- sync rules, ca ---- */
/* The status rules as they apply under the present settings. */
static rl_err cmd_sync_rules(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_rule_text row;
    json_t *rows = json_array();
    (void)request;
    for (size_t i = 0; rl_rules_row(app->settings, i, &row); i++)
        json_array_append_new(rows, json_pack("{s:s,s:s,s:s,s:s,s:s}", "object", row.object, "state", row.state,
                                              "effect", row.effect, "reason", row.reason, "setting", row.setting));
    *reply = json_pack("{s:o}", "rules", rows);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}

static rl_err cmd_ca(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const rl_issuer *issuer = rl_ca_issuer(app->ca);
    char fingerprint[3 * 32];
    (void)request;
    rl_issuer_fingerprint(issuer, fingerprint);
    char *subject = rl_name_text(X509_get_subject_name(issuer->cert));
    char *above = rl_name_text(X509_get_issuer_name(issuer->cert));
    *reply = json_pack("{s:s?,s:s?,s:s,s:o}", "subject", subject, "issuer", above, "fingerprint", fingerprint,
                       "certificate", pem_json("CERTIFICATE", issuer->der));
    free(subject);
    free(above);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "ca", "out of memory");
}

/* {"issuer": …}: the published list; with no server running, one made here. */
static rl_err crl(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_issuer_id id;
    rl_buf der = {0};
    RL_TRY(named_issuer(app, request, &id, e));
    const rl_issuer *issuer = id ? rl_ca_by_id(app->ca, id) : rl_ca_issuer(app->ca);
    if (!issuer->signer)
        return rl_fail(e, RL_EINVAL, "crl", "issuer %u is another CA: its revocation list is its own", issuer->id);
    rl_err err = RL_OK;
    if (!app->crls)
        err = rl_crls_make(app->store, app->settings, issuer, &der, e);
    else if ((err = rl_crls_current(app->crls, issuer->id, &der)) != RL_OK)
        rl_fail(e, err, "crl",
                err == RL_EBUSY ? "the list is still being made: ask again in a moment" : "out of memory");
    if (err == RL_OK)
        *reply = json_pack("{s:i,s:o}", "issuer", (int)issuer->id, "crl", pem_json("X509 CRL", rl_buf_span(&der)));
    rl_buf_free(&der);
    return err;
}

rl_err rl_command_run(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    static const struct {
        const char *name;
        rl_err (*run)(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
    } commands[] = {{"show", cmd_show},
                    {"list", cmd_list},
                    {"search", cmd_list},
                    {"revoke", cmd_revoke},
                    {"unrevoke", cmd_revoke},
                    {"sign", cmd_sign},
                    {"sync", rl_command_sync},
                    {"sync-status", rl_command_sync_status},
                    {"sync-rules", cmd_sync_rules},
                    {"challenge", rl_command_challenge},
                    {"sync-hold", rl_command_sync_hold},
                    {"sync-release", rl_command_sync_release},
                    {"sync-drop", rl_command_sync_drop},
                    {"status", rl_command_status},
                    {"ca", cmd_ca},
                    {"crl", crl},
                    {"issuers", rl_command_issuers},
                    {"export", rl_command_export},
                    {"import", rl_command_import},
                    {"import-crl", rl_command_import_crl},
                    {"import-index", rl_command_import_index},
                    {"ocsp-csr", rl_command_ocsp_csr},
                    {"ocsp-install", rl_command_ocsp_install}};
    const char *name = rl_json_str(request, "command");
    for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(app, request, reply, e);
    return rl_fail(e, RL_EUNSUPPORTED, "control", "unknown command '%s'", name ? name : "");
}
