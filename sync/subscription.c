/* The subscription to change notifications: made when the server starts, renewed at half of its life, made again when
 * Graph has lost it. Sync loop only, but for what is marked.
 *
 *   begin → (token) → delete an earlier process's → make or renew → commit its id → rest
 *
 * It is a source like the others to the scheduler, without objects. The secret that its notifications carry is this
 * process's, so a process begins with a subscription of its own; the id is stored for its successor to delete. Without
 * a subscription the sources poll as ever: it is for speed alone. */
#include "sync/subscription.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "http/login.h"
#include "sync/graph.h"

#define NAME "graph-hook"
enum { LIFE_S = 3 * 24 * 3600, LIFE_LEAST_S = 120, CHECK_MS = 3600 * 1000, ID_MAX = 128, ANSWER_MAX = 64 * 1024 };

typedef enum { DO_NOTHING, DO_DELETE, DO_MAKE, DO_RENEW } step;

typedef struct subscription {
    rl_sync_source base;
    bool stored_read;
    char stored[ID_MAX]; /* an earlier process's, to be deleted; "" = none */
    char id[ID_MAX];     /* ours; "" = none */
    uint64_t renew_at;   /* monotonic ms: half of the life that Graph has granted is over */
    step step;
    rl_http_call *call;
    unsigned token_number;
    bool token_retried;
} subscription;

static void on_response(const rl_http_response *r, void *arg);
static void go_on(subscription *s);

/* ---- what is to be done ---- */
static rl_err read_stored(subscription *s)
{
    rl_cursor_record c;
    rl_err err = s->stored_read ? RL_ENOTFOUND : rl_store_cursor(s->base.sync->store, NAME, &c);
    if (err == RL_OK) {
        snprintf(s->stored, sizeof(s->stored), "%s", c.link);
        rl_cursor_clear(&c);
    }
    s->stored_read |= err == RL_OK || err == RL_ENOTFOUND;
    return err == RL_ENOTFOUND ? RL_OK : err;
}

static step next_step(subscription *s)
{
    if (s->stored[0])
        return DO_DELETE;
    if (!s->id[0])
        return DO_MAKE;
    if (atomic_exchange(&s->base.sync->renew_wanted, false))
        s->renew_at = 0; /* it is due until it has been done */
    return rl_mono_ms() >= s->renew_at ? DO_RENEW : DO_NOTHING;
}

static void begin(rl_sync_source *source)
{
    subscription *s = (subscription *)source;
    source->objects = source->changed = 0;
    source->full = false;
    s->token_retried = false;
    if (read_stored(s) != RL_OK) {
        rl_source_failed(source, "the cursor cannot be read", -1);
        return;
    }
    if ((atomic_exchange(&source->sync->lost, false) || source->restart) && s->id[0]) {
        memcpy(s->stored, s->id, sizeof(s->id));
        s->id[0] = 0;
    }
    source->restart = false;
    go_on(s);
}

/* ---- ask ---- */
static json_t *body_of(const subscription *s)
{
    const rl_settings *settings = s->base.sync->settings;
    char until[RL_TIME_TEXT];
    rl_time_rfc3339(rl_wall_s() + LIFE_S, until);
    if (s->step == DO_RENEW)
        return json_pack("{s:s}", "expirationDateTime", until);
    json_t *url = json_sprintf("%s/hooks/graph", settings->http.base_url);
    return json_pack("{s:s,s:o,s:O,s:s,s:s,s:s}", "changeType", "updated,deleted", "notificationUrl", url,
                     "lifecycleNotificationUrl", url, "resource", "/users", "expirationDateTime", until, "clientState",
                     s->base.sync->client_state);
}

static rl_err start_call(subscription *s, const char *token, rl_error *e)
{
    const rl_settings *settings = s->base.sync->settings;
    static const char *const methods[] = {[DO_DELETE] = "DELETE", [DO_MAKE] = "POST", [DO_RENEW] = "PATCH"};
    char request_id[RL_HTTP_REQUEST_ID], path[sizeof("/v1.0/subscriptions/") + ID_MAX], *url = NULL;
    rl_http_request_id(request_id);
    const char *const headers[] = {"Accept: application/json", "Content-Type: application/json", request_id, NULL};
    const char *id = s->step == DO_DELETE ? s->stored : s->step == DO_RENEW ? s->id : "";
    json_t *body = s->step == DO_DELETE ? NULL : body_of(s);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    snprintf(path, sizeof(path), "/v1.0/subscriptions%s%s", id[0] ? "/" : "", id);
    rl_err err = rl_graph_url(settings, path, &url);
    if (err == RL_OK && s->step != DO_DELETE && !text)
        err = RL_ENOMEM;
    const rl_http_call_options o = {.method = methods[s->step],
                                    .url = url,
                                    .headers = headers,
                                    .body = text ? rl_span_str(text) : (rl_span){0},
                                    .bearer = token,
                                    .body_limit = ANSWER_MAX,
                                    .timeout = settings->sync.request_timeout,
                                    .connect_timeout = settings->sync.connect_timeout};
    err = err == RL_OK ? rl_http_call_start(s->base.sync->client, &o, on_response, s, &s->call, e)
                       : rl_fail(e, err, "sync", "out of memory");
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    json_decref(body);
    free(url);
    return err;
}

static void ask(subscription *s)
{
    rl_error e = {0};
    const char *token = rl_token_text(s->base.sync->token, &s->token_number);
    rl_source_enter(&s->base, token ? RL_AT_FETCH : RL_AT_TOKEN);
    rl_err err = token ? start_call(s, token, &e) : rl_token_fetch(s->base.sync->token, &e);
    if (err != RL_OK)
        rl_source_failed(&s->base, e.message, -1);
}

static void go_on(subscription *s)
{
    s->step = next_step(s);
    if (s->step == DO_NOTHING) {
        s->base.attempts = s->base.restarts = 0;
        rl_source_done(&s->base, rl_wall_s());
    } else {
        ask(s);
    }
}

static void token(rl_sync_source *source, const rl_error *failure, int64_t retry_after_ms)
{
    if (failure)
        rl_source_failed(source, failure->message, retry_after_ms);
    else
        ask((subscription *)source);
}

/* ---- answered ---- */
/* An id goes into the path of a URL: only what needs no escape is one. */
static bool is_id(const char *text)
{
    size_t n = text ? strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") : 0;
    return n > 0 && n < ID_MAX && text[n] == 0;
}

/* Writer thread. */
static rl_err store_id(rl_store_txn *t, void *arg, rl_error *e)
{
    subscription *s = arg;
    const rl_cursor_record c = {.link = s->id, .complete = true, .last_success = rl_wall_s()};
    (void)e;
    return rl_txn_put_cursor(t, NAME, &c);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    if (err == RL_OK)
        go_on((subscription *)source);
    else
        rl_source_failed(source, e->message, -1);
}

/* The answer says until when; a life that is not told, or longer than what was asked for, is what was asked for. One
 * that is shorter than two hours brings the next look forward, and one that is hardly any does not make us ask without
 * a pause. */
static void take_life(subscription *s, const json_t *answer)
{
    const char *text = rl_json_str(answer, "expirationDateTime");
    int64_t now = rl_wall_s(), ends, life = LIFE_S;
    if (text && rl_time_parse_rfc3339(text, &ends) == RL_OK && ends - now < LIFE_S)
        life = ends - now > LIFE_LEAST_S ? ends - now : LIFE_LEAST_S;
    s->renew_at = rl_mono_ms() + (uint64_t)life / 2 * 1000;
    s->base.interval = life / 2 < CHECK_MS / 1000 ? life / 2 * 1000 : CHECK_MS;
    log_info("sync.subscribed", "source", s->base.name, "id", s->id, "ends", now + life);
}

static void made(subscription *s, rl_span body)
{
    json_t *root = NULL;
    const char *id = rl_json_parse(body, ANSWER_MAX, &root, NULL) == RL_OK ? rl_json_str(root, "id") : NULL;
    if (!is_id(id)) {
        rl_source_failed(&s->base, "Graph's answer to the subscription has no usable id", -1);
    } else {
        snprintf(s->id, sizeof(s->id), "%s", id);
        take_life(s, root);
        if (rl_source_commit(&s->base, store_id) != RL_OK)
            rl_source_failed(&s->base, "the database takes no more writes", -1);
    }
    json_decref(root);
}

static void renewed(subscription *s, rl_span body)
{
    json_t *root = NULL;
    (void)rl_json_parse(body, ANSWER_MAX, &root, NULL);
    take_life(s, root);
    json_decref(root);
    go_on(s);
}

static void refused(subscription *s, const rl_http_response *r)
{
    char code[64], message[RL_ERROR_MESSAGE_MAX];
    rl_graph_error_code(r->body, code, sizeof(code));
    if (r->status == 400)
        s->base.failure.own =
            "Graph has to reach /hooks/graph at REVLINE_BASE_URL by HTTPS, with a certificate that the "
            "public trusts, and the path as it is. If it is not to, set REVLINE_SYNC_NOTIFICATIONS=false: "
            "changes come by polling all the same.";
    snprintf(message, sizeof(message), "Graph answered %ld%s%s to the subscription to changes of users%s", r->status,
             code[0] ? " " : "", code,
             r->status == 403   ? ": the application lacks the permission User.Read.All, or has too many of them"
             : r->status == 400 ? ": it must reach REVLINE_BASE_URL by HTTPS"
                                : "");
    rl_source_failed(&s->base, message, r->retry_after_ms);
}

/* Deleted, or not ours to delete: another application's, when AZURE_CLIENT_ID is another now. That one ends by itself,
 * and must not keep us from having one of our own. */
static bool is_done_with(long status)
{
    return status < 500 && status != 408 && status != 429;
}

static void done_with(subscription *s, long status)
{
    if (status >= 300 && status != 404)
        log_warn("sync.subscription_left", "source", s->base.name, "id", s->stored, "status", status);
    s->stored[0] = 0;
    go_on(s);
}

static void answered(subscription *s, const rl_http_response *r)
{
    bool success = r->status >= 200 && r->status < 300;
    if (r->status == 401 && !s->token_retried) {
        rl_token_drop(s->base.sync->token, s->token_number);
        s->token_retried = true;
        ask(s);
    } else if (s->step == DO_DELETE && is_done_with(r->status)) {
        done_with(s, r->status);
    } else if (s->step == DO_RENEW && r->status == 404) { /* it has ended, or was deleted */
        s->id[0] = 0;
        go_on(s);
    } else if (s->step == DO_RENEW && success) {
        renewed(s, r->body);
    } else if (s->step == DO_MAKE && success) {
        made(s, r->body);
    } else {
        refused(s, r);
    }
}

static void on_response(const rl_http_response *r, void *arg)
{
    subscription *s = arg;
    char message[RL_ERROR_MESSAGE_MAX];
    s->call = NULL;
    if (s->base.sync->closing)
        return;
    rl_source_answered(&s->base, r);
    if (r->err == RL_OK) {
        answered(s, r);
        return;
    }
    snprintf(message, sizeof(message), "Graph cannot be asked: %s", r->message);
    rl_source_failed(&s->base, message, -1);
}

/* ---- from outside ---- */
void rl_subscription_lifecycle(rl_sync *sync, const char *event)
{
    if (strcasecmp(event, "reauthorizationRequired") == 0) {
        atomic_store(&sync->renew_wanted, true);
    } else { /* subscriptionRemoved, missed: what should have been told is not known */
        if (strcasecmp(event, "missed") != 0)
            atomic_store(&sync->lost, true);
        rl_sync_wake(sync, "entra-user", true);
    }
    rl_sync_wake(sync, NAME, false);
}

static void free_source(rl_sync_source *source)
{
    free(source);
}

rl_err rl_subscription_make(rl_sync *sync)
{
    static const rl_source_kind kind = {.begin = begin, .token = token, .committed = committed, .free = free_source};
    const rl_settings *settings = sync->settings;
    uint8_t random[32];
    subscription *s = calloc(1, sizeof(*s));
    if (!s)
        return RL_ENOMEM;
    arc4random_buf(random, sizeof(random));
    rl_hex(rl_span_of(random, sizeof(random)), sync->client_state, sizeof(sync->client_state));
    s->base.kind = &kind;
    s->base.upstream = RL_UPSTREAM_GRAPH;
    s->base.permission = "User.Read.All";
    s->base.interval = CHECK_MS;
    s->base.needs = strncasecmp(settings->http.base_url, "https://", 8) != 0 ? "REVLINE_BASE_URL with https"
                    : !settings->sync.notifications                          ? "REVLINE_SYNC_NOTIFICATIONS"
                    : settings->sync.entra_interval == 0                     ? "REVLINE_SYNC_ENTRA_INTERVAL"
                                                                             : rl_login_missing(settings);
    snprintf(s->base.name, sizeof(s->base.name), NAME);
    return rl_source_add(sync, &s->base);
}
