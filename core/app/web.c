/* What the server says about itself: CA certificate, probes, metrics, a plain homepage.
 *
 * Handlers run on the HTTP loops and only read: figures under short locks, one point read of the database. */
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/metrics.h"

/* Nor before its time: the clock may be behind. */
static bool is_valid(int64_t not_before, int64_t not_after)
{
    int64_t now = rl_wall_s();
    return not_before <= now && now < not_after;
}

static json_t *ocsp_health(rl_app *app, bool *failed)
{
    rl_ocsp_figures f;
    if (!app->ocsp)
        return json_pack("{s:s}", "status", "off");
    rl_ocsp_figures_read(app->ocsp, &f);
    bool valid = is_valid(f.responder_not_before, f.responder_not_after);
    *failed |= !valid;
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "status", valid ? "ok" : "failed", "cacheEntries",
                     (json_int_t)f.entries, "cacheBytes", (json_int_t)f.bytes, "hits", (json_int_t)f.hits, "misses",
                     (json_int_t)f.misses, "evictions", (json_int_t)f.evictions, "signatures", (json_int_t)f.signatures,
                     "responderNotAfter", (json_int_t)f.responder_not_after);
}

static json_t *store_health(rl_app *app, bool *failed)
{
    rl_store_figures f;
    rl_error e = {0};
    bool broken = rl_store_check(app->store, &e) != RL_OK;
    *failed |= broken;
    rl_store_figures_read(app->store, &f);
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:s}", "status", broken ? "failed" : "ok", "lastDelta",
                     (json_int_t)f.last_delta, "certificates", (json_int_t)f.certs_estimate, "walSyncs",
                     (json_int_t)f.groups, "commits", (json_int_t)f.commits, "error", e.message);
}

int64_t rl_web_ca_end(const rl_app *app)
{
    int64_t end;
    return rl_x509_time(X509_get0_notAfter(rl_ca_issuer(app->ca)->cert), &end) == RL_OK ? end : 0;
}

static json_t *ca_health(const rl_app *app, bool *failed)
{
    int64_t first, end = rl_web_ca_end(app);
    bool valid =
        rl_x509_time(X509_get0_notBefore(rl_ca_issuer(app->ca)->cert), &first) == RL_OK && is_valid(first, end);
    *failed |= !valid;
    return json_pack("{s:s,s:I}", "status", valid ? "ok" : "failed", "notAfter", (json_int_t)end);
}

/* Nothing of app->http: the control socket is there before it and after it. */
static json_t *http_health(const rl_app *app)
{
    if (!app->started)
        return json_pack("{s:s}", "status", "off");
    return json_pack("{s:s,s:I,s:I}", "status", "ok", "loops", (json_int_t)app->settings->http.workers, "connections",
                     (json_int_t)rl_http_connections());
}

json_t *rl_web_health(rl_app *app, int *http)
{
    bool failed = false, degraded = false;
    json_t *parts = json_object();
    json_object_set_new(parts, "store", store_health(app, &failed));
    json_object_set_new(parts, "ca", ca_health(app, &failed));
    json_object_set_new(parts, "ocsp", ocsp_health(app, &failed));
    json_object_set_new(parts, "http", http_health(app));
    json_object_set_new(parts, "sync", rl_app_sync_json(app, &degraded));
    /* A failing upstream leaves the probe green: this server still answers from what it has. */
    *http = failed ? 503 : 200;
    return json_pack("{s:s,s:s,s:I,s:o}", "status",
                     failed     ? "failed"
                     : degraded ? "degraded"
                                : "ok",
                     "version", REVLINE_VERSION, "uptimeSeconds",
                     (json_int_t)(app->started ? (rl_mono_ms() - app->started) / 1000 : 0), "parts", parts);
}

static void probe(rl_http_request *req, void *ctx)
{
    int http;
    json_t *health = rl_web_health(ctx, &http);
    char *text = health ? json_dumps(health, JSON_INDENT(2)) : NULL;
    if (text)
        rl_http_reply(req, http, RL_SPAN_LIT("Content-Type: application/json\r\nCache-Control: no-store\r\n"),
                      rl_span_str(text));
    else
        rl_http_error(req, 500, "out of memory");
    free(text);
    json_decref(health);
}

/* The process runs its loops: that is all "live" says, so that an orchestrator restarts only a stuck server. */
static void probe_live(rl_http_request *req, void *ctx)
{
    (void)ctx;
    rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/json\r\nCache-Control: no-store\r\n"),
                  RL_SPAN_LIT("{\"status\":\"ok\"}\n"));
}

static void metrics(rl_http_request *req, void *ctx)
{
    rl_buf text = {0};
    (void)ctx;
    if (rl_metrics_write(&text) == RL_OK)
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
                      rl_buf_span(&text));
    else
        rl_http_error(req, 500, "out of memory");
    rl_buf_free(&text);
}

/* One certificate in DER (RFC 2585 §4.1). */
static void reply_certificate(rl_http_request *req, const rl_issuer *issuer)
{
    rl_http_reply(req, 200,
                  RL_SPAN_LIT("Content-Type: application/pkix-cert\r\nCache-Control: max-age=3600, public\r\n"),
                  issuer->der);
}

static void ca_certificate(rl_http_request *req, void *ctx)
{
    const rl_app *app = ctx;
    reply_certificate(req, rl_ca_issuer(app->ca));
}

/* RFC 5280 §4.2.2.1: what a certificate names has to stay its own issuer's, whichever issues later. */
static void issuer_certificate(rl_http_request *req, void *ctx)
{
    const rl_app *app = ctx;
    const rl_issuer *issuer = rl_ca_own_by_file(app->ca, req->rest, RL_SPAN_LIT(".cer"));
    if (issuer)
        reply_certificate(req, issuer);
    else
        rl_http_error(req, 404, "no such CA certificate");
}

static void homepage(rl_http_request *req, void *ctx)
{
    rl_app *app = ctx;
    char fingerprint[3 * 32];
    rl_buf page = {0};
    rl_issuer_fingerprint(rl_ca_issuer(app->ca), fingerprint);
    rl_buf_printf(&page,
                  "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Revline</title>"
                  "<h1>Revline %s</h1><p>CA fingerprint (SHA-256): <code>%s</code></p>"
                  "<p><a href=\"/ca\">CA certificate</a> · <a href=\"/probe\">Health</a> · <a "
                  "href=\"/metrics\">Metrics</a></p></html>\n",
                  REVLINE_VERSION, fingerprint);
    rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: text/html; charset=utf-8\r\n"), rl_buf_span(&page));
    rl_buf_free(&page);
}

size_t rl_web_routes(rl_app *app, rl_http_route *routes, size_t cap)
{
    const rl_http_route own[] = {
        {RL_HTTP_GET, "/ca", false, 0, ca_certificate, app, NULL},
        {RL_HTTP_GET, "/ca/", true, 0, issuer_certificate, app, NULL},
        {RL_HTTP_GET, "/probe", false, 0, probe, app, NULL},
        {RL_HTTP_GET, "/probe/ready", false, 0, probe, app, NULL},
        {RL_HTTP_GET, "/probe/live", false, 0, probe_live, app, NULL},
        {RL_HTTP_GET, "/metrics", false, 0, metrics, app, NULL},
        {RL_HTTP_GET, "/", false, 0, homepage, app, NULL}, /* the last: it can be turned off */
    };
    size_t n = sizeof(own) / sizeof(own[0]) - !app->settings->http.homepage;
    if (n > cap)
        return 0;
    memcpy(routes, own, n * sizeof(own[0]));
    return n;
}
