/* The tenant's signing keys: found by OpenID Connect Discovery, fetched on a thread with a loop, swapped whole.
 *
 *   discovery document → its jwks_uri → keys → (some hours, or a token with an unknown key) → again
 *
 * A fetch that fails is tried again with back-off, and changes nothing. Requests look keys up under the lock; one that
 * names an unknown key wakes the loop, at most once in REVLINE_ENTRA_KEYS_INTERVAL, so that nobody can make this server
 * ask Entra ID as often as he likes. */
#include "http/bearer.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/client.h"

enum {
    DOCUMENT_MAX = 256 * 1024,
    RETRY_BASE_MS = 1000,
    FRESH_MS = 6 * 3600 * 1000, /* Entra ID publishes a key long before it signs with it */
};

typedef enum { FETCHING, FETCHED, FAILED } fetch_state;

struct rl_bearer {
    const rl_settings *settings;
    char *issuer;
    pthread_t thread;
    uv_loop_t loop;
    rl_http_client *client;
    uv_timer_t timer;
    /* The loop's own. */
    unsigned attempts;
    bool stopping;
    /* Under the lock. */
    pthread_mutex_t lock;
    rl_jwks *keys; /* NULL: none yet */
    fetch_state state;
    uint64_t fetched; /* monotonic ms, when the last fetch that ended well began */
    uint64_t began;
    bool wanted, closing;
    uv_async_t wake;
    rl_metric *fetches[2];
};

static void fetch(rl_bearer *b);

/* ---- a fetch ---- */
static void on_timer(uv_timer_t *timer)
{
    fetch(timer->data);
}

static void again_in(rl_bearer *b, int64_t ms)
{
    if (!b->stopping)
        uv_timer_start(&b->timer, on_timer, (uint64_t)ms, 0);
}

static void failed(rl_bearer *b, const char *why, int64_t retry_after_ms)
{
    int64_t wait = rl_backoff(b->attempts++, RETRY_BASE_MS, b->settings->sync.retry_max, retry_after_ms);
    pthread_mutex_lock(&b->lock);
    b->state = FAILED;
    pthread_mutex_unlock(&b->lock);
    if (b->stopping)
        return;
    rl_metric_add(b->fetches[0], 1);
    log_warn("bearer.keys_failed", "issuer", b->issuer, "error", why, "retry_ms", wait);
    again_in(b, wait);
}

static void take(rl_bearer *b, rl_jwks *keys)
{
    size_t n = rl_jwks_count(keys);
    pthread_mutex_lock(&b->lock);
    rl_jwks *old = b->keys;
    b->keys = keys;
    b->state = FETCHED;
    b->fetched = b->began;
    pthread_mutex_unlock(&b->lock);
    rl_jwks_free(old);
    b->attempts = 0;
    rl_metric_add(b->fetches[1], 1);
    log_info("bearer.keys", "issuer", b->issuer, "keys", n);
    again_in(b, FRESH_MS);
}

/* Whether there is a body to read; else the fetch has failed. */
static bool is_answer(rl_bearer *b, const rl_http_response *r, const char *what)
{
    char why[320];
    if (r->err == RL_OK && r->status == 200)
        return true;
    if (r->err != RL_OK)
        snprintf(why, sizeof(why), "%s cannot be fetched: %.200s", what, r->message);
    else
        snprintf(why, sizeof(why), "%s was answered with %ld", what, r->status);
    failed(b, why, r->retry_after_ms);
    return false;
}

static rl_err get(rl_bearer *b, const char *url, rl_http_response_fn fn, size_t limit, rl_error *e)
{
    static const char *const headers[] = {"Accept: application/json", NULL};
    const rl_http_call_options o = {.method = "GET",
                                    .url = url,
                                    .headers = headers,
                                    .body_limit = limit,
                                    .timeout = b->settings->sync.request_timeout,
                                    .connect_timeout = b->settings->sync.connect_timeout};
    return rl_http_call_start(b->client, &o, fn, b, NULL, e);
}

static void on_keys(const rl_http_response *r, void *arg)
{
    rl_bearer *b = arg;
    rl_jwks *keys = NULL;
    rl_error e = {0};
    if (!is_answer(b, r, "the key set"))
        return;
    if (rl_jwks_read(r->body, b->issuer, b->settings->azure.tenant_id, &keys, &e) == RL_OK)
        take(b, keys);
    else
        failed(b, e.message, -1);
}

/* OpenID Connect Discovery §4.3: the document has to name the issuer that it was asked of. The keys are fetched from
 * the same host only. */
static void on_document(const rl_http_response *r, void *arg)
{
    rl_bearer *b = arg;
    json_t *root = NULL;
    rl_error e = {0};
    if (!is_answer(b, r, "the OpenID configuration"))
        return;
    rl_err err = rl_json_parse(r->body, DOCUMENT_MAX, &root, &e);
    const char *issuer = rl_json_str(root, "issuer"), *keys = rl_json_str(root, "jwks_uri");
    if (err == RL_OK && (!issuer || strcasecmp(issuer, b->issuer) != 0))
        err = rl_fail(
            &e, RL_EBADMSG, "bearer",
            "the OpenID configuration is of the issuer '%.200s': check AZURE_AUTHORITY_HOST and AZURE_TENANT_ID",
            issuer ? issuer : "");
    if (err == RL_OK && (!keys || !rl_http_same_origin(b->issuer, keys)))
        err = rl_fail(&e, RL_EBADMSG, "bearer", "the OpenID configuration names no key set at the issuer's host");
    if (err == RL_OK)
        err = get(b, keys, on_keys, RL_JWKS_MAX, &e);
    if (err != RL_OK)
        failed(b, e.message, -1);
    json_decref(root);
}

static void fetch(rl_bearer *b)
{
    rl_buf url = {0};
    rl_error e = {0};
    uv_timer_stop(&b->timer);
    pthread_mutex_lock(&b->lock);
    b->state = FETCHING;
    b->wanted = false;
    pthread_mutex_unlock(&b->lock);
    b->began = rl_mono_ms();
    rl_err err = rl_buf_printf(&url, "%s/.well-known/openid-configuration", b->issuer);
    if (err == RL_OK)
        err = rl_buf_append(&url, "", 1);
    err = err == RL_OK ? get(b, (char *)url.p, on_document, DOCUMENT_MAX, &e)
                       : rl_fail(&e, err, "bearer", "out of memory");
    if (err != RL_OK)
        failed(b, e.message, -1);
    rl_buf_free(&url);
}

/* ---- the thread ---- */
static void on_wake(uv_async_t *wake)
{
    rl_bearer *b = wake->data;
    pthread_mutex_lock(&b->lock);
    bool closing = b->closing, wanted = b->wanted;
    pthread_mutex_unlock(&b->lock);
    if (closing && !b->stopping) {
        b->stopping = true;
        uv_close((uv_handle_t *)&b->timer, NULL);
        uv_close((uv_handle_t *)&b->wake, NULL);
        rl_http_client_close(b->client, NULL, NULL);
    } else if (wanted && !closing) {
        fetch(b);
    }
}

static void *run(void *arg)
{
    rl_bearer *b = arg;
    pthread_setname_np(pthread_self(), "bearer");
    fetch(b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void clear(rl_bearer *b)
{
    uv_loop_close(&b->loop);
    pthread_mutex_destroy(&b->lock);
    rl_jwks_free(b->keys);
    free(b->issuer);
    free(b);
}

static rl_err keep_issuer(rl_bearer *b)
{
    rl_buf text = {0};
    rl_err err = rl_bearer_issuer(b->settings, &text);
    if (err == RL_OK)
        err = rl_buf_append(&text, "", 1);
    b->issuer = (char *)text.p;
    return err;
}

rl_err rl_bearer_open(const rl_settings *s, rl_bearer **out, rl_error *e)
{
    rl_bearer *b = calloc(1, sizeof(*b));
    if (!b || uv_loop_init(&b->loop) != 0) {
        free(b);
        return rl_fail(e, RL_ENOMEM, "bearer", "out of memory");
    }
    b->settings = s;
    pthread_mutex_init(&b->lock, NULL);
    for (unsigned i = 0; i < 2; i++)
        b->fetches[i] = rl_counter("revline_bearer_key_fetches_total", i ? "result=\"ok\"" : "result=\"failed\"",
                                   "Fetches of the keys that Entra ID signs tokens with.");
    uv_async_init(&b->loop, &b->wake, on_wake);
    uv_timer_init(&b->loop, &b->timer);
    b->wake.data = b->timer.data = b;
    rl_err err = keep_issuer(b);
    if (err != RL_OK)
        rl_fail(e, err, "bearer", "out of memory");
    if (err == RL_OK)
        err = rl_http_client_new(&b->loop, &b->client, e);
    if (err == RL_OK && pthread_create(&b->thread, NULL, run, b) != 0)
        err = rl_fail(e, RL_EIO, "bearer", "its thread cannot be started");
    if (err == RL_OK) {
        *out = b;
        return RL_OK;
    }
    uv_close((uv_handle_t *)&b->wake, NULL);
    uv_close((uv_handle_t *)&b->timer, NULL);
    if (b->client)
        rl_http_client_close(b->client, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    clear(b);
    return err;
}

void rl_bearer_close(rl_bearer *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    uv_async_send(&b->wake);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    clear(b);
}

/* ---- checking, any thread ---- */
/* The key, and a reference to the set that it is in. */
static rl_err find_key(rl_bearer *b, const char *id, rl_jwks **keys, EVP_PKEY **key, rl_error *e)
{
    pthread_mutex_lock(&b->lock);
    *key = b->keys ? rl_jwks_find(b->keys, id) : NULL;
    bool old = b->state == FETCHED && rl_mono_ms() - b->fetched >= (uint64_t)b->settings->azure.keys_interval;
    bool settled = b->state == FETCHED && !old;
    if (*key) {
        *keys = rl_jwks_ref(b->keys);
    } else if (old && !b->wanted && !b->closing) {
        b->wanted = true;
        uv_async_send(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    if (*key)
        return RL_OK;
    return settled ? rl_fail(e, RL_EDENIED, "bearer", "the token is signed with a key that the tenant does not publish")
                   : rl_fail(e, RL_EBUSY, "bearer", "the tenant's signing keys are being fetched, try again");
}

rl_err rl_bearer_check(rl_bearer *b, rl_span token, rl_caller *out, rl_error *e)
{
    char id[RL_JWK_ID_MAX + 1];
    rl_jwks *keys;
    EVP_PKEY *key;
    json_t *claims;
    *out = (rl_caller){0};
    RL_TRY(rl_jwt_key_id(token, id, e));
    RL_TRY(find_key(b, id, &keys, &key, e));
    rl_err err = rl_jwt_verify(token, key, &claims, e);
    rl_jwks_free(keys);
    if (err == RL_OK)
        err = rl_caller_read(claims, b->settings, rl_wall_s(), out, e);
    json_decref(claims);
    return err;
}
