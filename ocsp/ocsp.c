/* The OCSP module's opening and closing: ties cache, delegated responder and handlers to the store and the CA. */
#include "ocsp/ocsp.h"

#include <stdlib.h>

#include "ocsp/ocsp_priv.h"

/* On the store's committer's thread, before the change is acknowledged. */
static void on_change(const rl_store_event *events, size_t n, void *ctx)
{
    rl_ocsp *o = ctx;
    for (size_t i = 0; i < n; i++)
        ocsp_cache_invalidate(o->context.cache, &events[i].cert);
}

static int64_t cache_entries(void *ctx)
{
    uint64_t entries, bytes;
    ocsp_cache_size(((rl_ocsp *)ctx)->context.cache, &entries, &bytes);
    return (int64_t)entries;
}

static int64_t cache_bytes(void *ctx)
{
    uint64_t entries, bytes;
    ocsp_cache_size(((rl_ocsp *)ctx)->context.cache, &entries, &bytes);
    return (int64_t)bytes;
}

int64_t rl_ocsp_delegate_not_after(rl_ocsp *o, const rl_issuer *issuer)
{
    ocsp_delegate *d = ocsp_responder_current(o->context.responder, issuer->id);
    int64_t end = d ? d->not_after : 0;
    ocsp_delegate_drop(d);
    return end;
}

static int64_t responder_end(void *ctx)
{
    rl_ocsp *o = ctx;
    return rl_ocsp_delegate_not_after(o, rl_ca_issuer(o->context.ca));
}

static void register_metrics(rl_ocsp *o)
{
    static const char *const outcomes[OCSP_OUTCOMES] = {
        [OCSP_OUTCOME_GOOD] = "status=\"good\"",           [OCSP_OUTCOME_REVOKED] = "status=\"revoked\"",
        [OCSP_OUTCOME_UNKNOWN] = "status=\"unknown\"",     [OCSP_OUTCOME_SEVERAL] = "status=\"several\"",
        [OCSP_OUTCOME_MALFORMED] = "status=\"malformed\"", [OCSP_OUTCOME_INTERNAL] = "status=\"internal\"",
        [OCSP_OUTCOME_TRY_LATER] = "status=\"trylater\"",  [OCSP_OUTCOME_UNAUTHORIZED] = "status=\"unauthorized\""};
    for (unsigned i = 0; i < OCSP_OUTCOMES; i++)
        o->responses[i] = rl_counter("revline_ocsp_responses_total", outcomes[i], "OCSP answers by what they say.");
    o->hits = rl_counter("revline_ocsp_cache_hits_total", "", "OCSP answers from the cache.");
    o->misses = rl_counter("revline_ocsp_cache_misses_total", "", "Cacheable OCSP answers that were not in the cache.");
    o->joined = rl_counter("revline_ocsp_joined_total", "",
                           "Cacheable OCSP answers that were not signed, since the same one was just being signed.");
    o->refreshed = rl_counter("revline_ocsp_refreshed_total", "", "Wanted OCSP answers signed anew before their end.");
    o->context.signatures = rl_counter("revline_ocsp_signatures_total", "", "OCSP answers signed.");
    o->context.sign_seconds = rl_histogram("revline_ocsp_sign_seconds", "", "Time to build and sign an OCSP answer.");
    rl_gauge_fn("revline_ocsp_cache_entries", "", "OCSP answers in the cache.", cache_entries, o);
    rl_gauge_fn("revline_ocsp_cache_bytes", "", "Memory of the OCSP answers in the cache.", cache_bytes, o);
    rl_gauge_fn("revline_ocsp_responder_not_after_seconds", "", "End of the responder certificate, Unix time.",
                responder_end, o);
}

rl_err rl_ocsp_open(rl_store *store, rl_ca *ca, const rl_settings *s, rl_ocsp **out, rl_error *e)
{
    rl_ocsp *o = calloc(1, sizeof(*o));
    if (!o)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    o->context.store = store;
    o->context.ca = ca;
    o->context.settings = s;
    pthread_mutex_init(&o->flights.lock, NULL);
    rl_err err = ocsp_cache_new((size_t)s->ocsp.cache_size, &o->context.cache, e);
    if (err == RL_OK && !(o->familiar = calloc((size_t)s->http.workers, sizeof(*o->familiar))))
        err = rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    if (err == RL_OK)
        err = ocsp_responder_start(ca, s, &o->context.responder, e);
    if (err == RL_OK) {
        register_metrics(o);
        err = rl_store_subscribe(store, on_change, o);
        if (err != RL_OK)
            rl_fail(e, err, "ocsp", "the store has no room for a subscriber");
    }
    if (err == RL_OK)
        err = ocsp_warm_start(store, o->context.cache, s, &o->context.warm, e);
    if (err == RL_OK)
        err = rl_http_pool_new("ocsp-sign", ocsp_responder_is_rsa(o->context.responder) ? RL_SIGNER_TOGETHER : 1, 0,
                               s->ocsp.sign_queue_limit, &o->pool, e);
    if (err == RL_OK)
        *out = o;
    else
        rl_ocsp_close(o);
    return err;
}

void rl_ocsp_close(rl_ocsp *o)
{
    if (!o)
        return;
    rl_http_pool_free(o->pool);
    ocsp_warm_stop(o->context.warm);
    rl_store_unsubscribe(o->context.store, on_change, o);
    rl_gauge_fn_drop(o);
    ocsp_responder_stop(o->context.responder);
    ocsp_cache_free(o->context.cache);
    pthread_mutex_destroy(&o->flights.lock);
    free(o->familiar);
    free(o);
}

void rl_ocsp_limit(rl_ocsp *o, int64_t (*told_until)(const rl_cert_record *cert, void *ctx), void *ctx)
{
    o->context.told_until = told_until;
    o->context.told_until_ctx = ctx;
}

rl_err rl_ocsp_take_delegate(rl_ocsp *o, const rl_issuer *issuer, rl_error *e)
{
    return ocsp_responder_reload(o->context.responder, issuer, e);
}

size_t rl_ocsp_routes(rl_ocsp *o, rl_http_route *routes, size_t cap)
{
    const size_t limit = (size_t)o->context.settings->http.ocsp_body_limit;
    const unsigned other = RL_HTTP_GET | RL_HTTP_POST | RL_HTTP_PUT | RL_HTTP_PATCH | RL_HTTP_DELETE;
    const rl_http_route own[] = {
        {RL_HTTP_POST, "/ocsp", false, limit, ocsp_handle_post, o, &ocsp_lookup_post},
        {RL_HTTP_POST, "/ocsp/", true, limit, ocsp_handle_post, o, &ocsp_lookup_post},
        {RL_HTTP_GET, "/ocsp/", true, 0, ocsp_handle_get, o, &ocsp_lookup_get},
        {RL_HTTP_POST, "/", false, limit, ocsp_handle_post, o, &ocsp_lookup_post},
        {other, "/", true, limit, ocsp_handle_root, o, NULL}, /* what nobody else takes: 404 for every method */
    };
    size_t n = sizeof(own) / sizeof(own[0]);
    if (n > cap)
        return 0;
    memcpy(routes, own, sizeof(own));
    return n;
}

void rl_ocsp_figures_read(rl_ocsp *o, rl_ocsp_figures *out)
{
    ocsp_cache_size(o->context.cache, &out->entries, &out->bytes);
    out->hits = (uint64_t)rl_metric_value(o->hits);
    out->misses = (uint64_t)rl_metric_value(o->misses);
    out->evictions = ocsp_cache_evictions(o->context.cache);
    out->signatures = (uint64_t)rl_metric_value(o->context.signatures);
    ocsp_delegate *d = ocsp_responder_current(o->context.responder, rl_ca_issuer(o->context.ca)->id);
    out->responder_not_before = d ? d->not_before : 0;
    out->responder_not_after = d ? d->not_after : 0;
    ocsp_delegate_drop(d);
}
