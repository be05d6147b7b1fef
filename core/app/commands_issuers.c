/* Commands about issuers: which there are, other CAs' certificates taken in, and the responder certificates that these
 * CAs give us. As in commands.c: any thread, JSON both ways, acknowledged when they return. */
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"

enum { IMPORT_MAX = 10000, CHAIN_MAX = 16, CERT_MAX = 64 * 1024 };

/* ---- the list ---- */
static int64_t end_of(const X509 *cert)
{
    int64_t end;
    return rl_x509_time(X509_get0_notAfter(cert), &end) == RL_OK ? end : 0;
}

/* What signs answers now; without a server that is known of foreign issuers only. */
static int64_t delegate_end(rl_app *app, const rl_issuer *i)
{
    X509 *cert;
    rl_signer *signer;
    if (app->ocsp)
        return rl_ocsp_delegate_not_after(app->ocsp, i);
    if (i->signer || rl_ca_delegate_load(app->ca, i, &cert, &signer, NULL) != RL_OK)
        return 0;
    int64_t end = end_of(cert);
    X509_free(cert);
    rl_signer_free(signer);
    return end;
}

/* How far a foreign issuer's revocation list is known; null: not at all. */
static json_t *list_json(rl_app *app, const rl_issuer *i)
{
    char number[2 * RL_STORE_CRL_NUMBER + 1];
    rl_issuer_crl list;
    if (i->signer || rl_store_issuer_crl(app->store, i->id, &list) != RL_OK || !list.this_update)
        return json_null();
    rl_hex(rl_span_of(list.number, sizeof(list.number)), number, sizeof(number));
    size_t zeros = strspn(number, "0");
    return json_pack("{s:s,s:o,s:o,s:b,s:b}", "number", number[zeros] ? number + zeros : "0", "thisUpdate",
                     rl_json_time(list.this_update), "nextUpdate", rl_json_time(list.next_update), "whole", list.whole,
                     "partial", list.partial);
}

static json_t *issuer_json(rl_app *app, const rl_issuer *i)
{
    char fingerprint[3 * 32];
    char *subject = rl_name_text(X509_get_subject_name(i->cert));
    rl_issuer_fingerprint(i, fingerprint);
    json_t *out = json_pack("{s:i,s:s?,s:s,s:b,s:s,s:o,s:o,s:o}", "id", (int)i->id, "subject", subject, "kind",
                            i->signer ? "own" : "foreign", "issuing", i == rl_ca_issuer(app->ca), "fingerprint",
                            fingerprint, "notAfter", rl_json_time(end_of(i->cert)), "delegateNotAfter",
                            rl_json_time(delegate_end(app, i)), "list", list_json(app, i));
    free(subject);
    return out;
}

rl_err rl_command_issuers(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    json_t *items = json_array();
    (void)request;
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(app->ca); id++)
        json_array_append_new(items, issuer_json(app, rl_ca_by_id(app->ca, id)));
    *reply = json_pack("{s:o}", "items", items);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "issuers", "out of memory");
}

/* ---- certificates from outside ---- */
rl_err rl_command_read_cert(const json_t *value, X509 **out, rl_error *e)
{
    const char *text = json_string_value(value);
    size_t n = text ? strlen(text) : 0;
    uint8_t *der = n && n <= 2 * CERT_MAX ? malloc(n) : NULL;
    rl_err err = der ? rl_base64_decode(rl_span_str(text), false, der, n, &n) : RL_EBADMSG;
    if (err == RL_OK)
        err = rl_x509_from_der(rl_span_of(der, n), out, e);
    else
        err = rl_fail(e, RL_EBADMSG, "import", "a certificate is not base64 of at most %d octets", CERT_MAX);
    free(der);
    return err;
}

static rl_err read_certs(const json_t *list, X509 **certs, size_t n, rl_error *e)
{
    for (size_t i = 0; i < n; i++)
        RL_TRY(rl_command_read_cert(json_array_get(list, i), &certs[i], e));
    return RL_OK;
}

static json_t *imported_json(X509 *cert, const rl_ca_imported *got)
{
    char text[2 * RL_SERIAL_MAX + 1];
    char *subject = rl_name_text(X509_get_subject_name(cert));
    rl_app_serial_text(&got->cert, text);
    json_t *out =
        json_pack("{s:s?,s:b,s:b}", "subject", subject, "newIssuer", got->new_issuer, "newCertificate", got->new_cert);
    free(subject);
    if (got->issuer) {
        json_object_set_new(out, "issuer", json_integer(got->issuer->id));
        json_object_set_new(out, "own", json_boolean(got->issuer->signer != NULL));
    }
    if (got->cert.issuer) {
        json_object_set_new(out, "issuedBy", json_integer(got->cert.issuer));
        json_object_set_new(out, "serial", json_string(text));
    }
    return out;
}

static json_t *imported_list(X509 *const *certs, const rl_ca_imported *got, size_t n)
{
    json_t *items = json_array();
    int issuers = 0, new_certs = 0;
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(items, imported_json(certs[i], &got[i]));
        issuers += got[i].new_issuer;
        new_certs += got[i].new_cert;
    }
    return json_pack("{s:i,s:i,s:o}", "newIssuers", issuers, "newCertificates", new_certs, "items", items);
}

/* {"certificates": [base64 of DER, …]}: all or none. */
rl_err rl_command_import(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const json_t *list = json_object_get(request, "certificates");
    size_t n = json_array_size(list);
    if (n == 0 || n > IMPORT_MAX)
        return rl_fail(e, RL_EINVAL, "import", "an import has 1 to %d certificates, not %zu", IMPORT_MAX, n);
    X509 **certs = calloc(n, sizeof(*certs));
    rl_ca_imported *got = calloc(n, sizeof(*got));
    rl_err err = certs && got ? RL_OK : rl_fail(e, RL_ENOMEM, "import", "out of memory");
    if (err == RL_OK)
        err = read_certs(list, certs, n, e);
    if (err == RL_OK)
        err = rl_ca_import(app->ca, certs, n, got, e);
    if (err == RL_OK && !(*reply = imported_list(certs, got, n)))
        err = rl_fail(e, RL_ENOMEM, "import", "out of memory");
    for (size_t i = 0; certs && i < n; i++)
        X509_free(certs[i]);
    free(certs);
    free(got);
    return err;
}

/* ---- delegates ---- */
rl_err rl_command_ocsp_csr(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const rl_issuer *issuer;
    const char *name = rl_json_str(request, "issuer");
    char *pem;
    RL_TRY(rl_ca_lookup(app->ca, name ? name : "", &issuer, e));
    RL_TRY(rl_ca_delegate_request(app->ca, issuer, &pem, e));
    *reply = json_pack("{s:i,s:s}", "issuer", (int)issuer->id, "csr", pem);
    free(pem);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
}

/* Of what the CA gave: it may have put its chain with it. The first that is no CA's, else the first. */
static X509 *responder_among(X509 *const *certs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(X509_get_extension_flags(certs[i]) & EXFLAG_CA))
            return certs[i];
    return certs[0];
}

/* {"certificates": [base64 of DER, …]} */
rl_err rl_command_ocsp_install(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    X509 *certs[CHAIN_MAX] = {0}, *cert = NULL;
    const rl_issuer *issuer;
    const json_t *list = json_object_get(request, "certificates");
    size_t n = json_array_size(list);
    if (n == 0 || n > CHAIN_MAX)
        return rl_fail(e, RL_EINVAL, "ocsp",
                       "the responder's certificate is wanted, with its chain or without, not %zu certificates", n);
    rl_err err = read_certs(list, certs, n, e);
    if (err == RL_OK) {
        cert = responder_among(certs, n);
        err = rl_ca_delegate_install(app->ca, cert, rl_wall_s(), &issuer, e);
    }
    if (err == RL_OK && app->ocsp)
        err = rl_ocsp_take_delegate(app->ocsp, issuer, e);
    if (err == RL_OK) {
        char *subject = rl_name_text(X509_get_subject_name(issuer->cert));
        bool nocheck = X509_get_ext_by_NID(cert, NID_id_pkix_OCSP_noCheck, -1) >= 0;
        *reply = json_pack("{s:i,s:s?,s:o,s:b}", "issuer", (int)issuer->id, "subject", subject, "notAfter",
                           rl_json_time(end_of(cert)), "noCheck", nocheck);
        free(subject);
        err = *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        X509_free(certs[i]);
    return err;
}
