/* The REST API: /api/…, over TLS, authorised by the admin's token. Each route is a command of commands.c with its
 * arguments from the path and the body; it runs on threads of its own, since commands wait for the store. */
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "scep/challenge.h"

enum { WAITING = 4, LIMIT = 64, BODY_MAX = 16 * 1024, CHALLENGE_LIFE = 3600 };

typedef struct api_job {
    rl_app *app;
    json_t *request, *reply;
    rl_err err;
    rl_error e;
} api_job;

/* A member that is misspelt, or no string, must not make a challenge for anybody out of one for a subject. */
static rl_err check_challenge(const json_t *request, rl_error *e)
{
    static const char *const known[] = {"command", "profile", "subject", "names", "lifetime"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)request, name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || strcmp(name, known[i]) == 0;
        if (!is_known)
            return rl_fail(e, RL_EINVAL, "challenge", "'%.40s' is none of profile, subject, names and lifetime", name);
        if (!json_is_string(value))
            return rl_fail(e, RL_EINVAL, "challenge", "%s is no string", name);
    }
    return RL_OK;
}

/* {"profile": "static", "subject": "CN=…", "names": "DNS:…,UPN:…", "lifetime": "1h"} */
rl_err rl_command_challenge(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const char *profile = rl_json_str(request, "profile"), *subject = rl_json_str(request, "subject"),
               *names = rl_json_str(request, "names"), *text = rl_json_str(request, "lifetime");
    char challenge[RL_CHALLENGE_SIZE], until[RL_TIME_TEXT];
    rl_duration life = CHALLENGE_LIFE * 1000;
    int64_t expires;
    RL_TRY(check_challenge(request, e));
    if (!profile)
        return rl_fail(e, RL_EINVAL, "challenge", "no profile is named");
    if (text && rl_parse_duration(rl_span_str(text), &life) != RL_OK)
        return rl_fail(e, RL_EINVAL, "challenge", "lifetime '%.40s' is no duration (such as 1h)", text);
    RL_TRY(rl_challenge_make(app->store, app->settings, profile, subject, names, life / 1000, challenge, &expires, e));
    rl_time_rfc3339(expires, until);
    *reply = json_pack("{s:s,s:s}", "challenge", challenge, "expires", until);
    explicit_bzero(challenge, sizeof(challenge));
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "challenge", "out of memory");
}

/* ---- answers ---- */
static void reply_json(rl_http_request *req, int status, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (text)
        rl_http_reply(req, status, RL_SPAN_LIT("Content-Type: application/json\r\nCache-Control: no-store\r\n"),
                      rl_span_str(text));
    else
        rl_http_error(req, 500, "out of memory");
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    json_decref(body);
}

static void reply_error(rl_http_request *req, int status, const char *why)
{
    reply_json(req, status, json_pack("{s:s}", "error", why));
}

static int status_of(rl_err err)
{
    switch (err) {
    case RL_EINVAL:
    case RL_EBADMSG:
    case RL_ERANGE:
        return 400;
    case RL_ENOTFOUND:
        return 404;
    case RL_EDENIED:
    case RL_EEXISTS:
        return 409;
    case RL_EBUSY:
    case RL_ECANCELED:
        return 503;
    default:
        return 500;
    }
}

static bool work(rl_http_request *req, void *arg)
{
    api_job *job = arg;
    (void)req;
    job->err = rl_command_run(job->app, job->request, &job->reply, &job->e);
    return true;
}

static void done(rl_http_request *req, void *arg)
{
    api_job *job = arg;
    json_decref(job->request);
    if (job->err == RL_OK)
        reply_json(req, 200, job->reply);
    else
        reply_error(req, status_of(job->err), job->e.message);
}

/* Takes `request`, which may be NULL. */
static void run(rl_http_request *req, rl_app *app, json_t *request)
{
    api_job *job = request ? rl_arena_zalloc(req->arena, sizeof(*job)) : NULL;
    if (job)
        *job = (api_job){.app = app, .request = request};
    if (job && rl_http_work(req, app->api_pool, work, done, job) == RL_OK)
        return;
    json_decref(request);
    reply_error(req, 503, "too much at once, try again");
}

/* ---- routes ---- */
static void reply_wait(rl_http_request *req, unsigned seconds)
{
    char headers[96];
    snprintf(headers, sizeof(headers), "Content-Type: application/json\r\nRetry-After: %u\r\n", seconds);
    rl_http_reply(req, 429, rl_span_str(headers),
                  RL_SPAN_LIT("{\"error\":\"too many wrong tokens from this address, try again later\"}"));
}

static bool is_authorised(rl_http_request *req, const rl_app *app)
{
    rl_span token = rl_http_bearer(req);
    unsigned wait = rl_guess_wait(app->guesses, req, RL_GUESS_API);
    if (wait > 0) {
        reply_wait(req, wait);
        return false;
    }
    if (token.n > 0 && rl_secret_eq(rl_span_str(app->settings->api.token), token))
        return true;
    if (token.n > 0) /* to ask without one is no guess */
        rl_guess_wrong(app->guesses, req, RL_GUESS_API);
    log_client_warn("api.refused", "peer", req->peer);
    rl_http_reply(req, 401, RL_SPAN_LIT("Content-Type: application/json\r\nWWW-Authenticate: Bearer\r\n"),
                  RL_SPAN_LIT("{\"error\":\"the token is wrong or missing\"}"));
    return false;
}

static void challenge(rl_http_request *req, void *ctx)
{
    json_t *body = NULL;
    if (!is_authorised(req, ctx))
        return;
    if (rl_json_parse(req->body, BODY_MAX, &body, NULL) != RL_OK || !json_is_object(body)) {
        json_decref(body);
        reply_error(req, 400, "the body is no JSON object");
        return;
    }
    json_object_set_new(body, "command", json_string("challenge"));
    run(req, ctx, body);
}

static void holds(rl_http_request *req, void *ctx)
{
    if (is_authorised(req, ctx))
        run(req, ctx, json_pack("{s:s}", "command", "sync-hold"));
}

/* {id}/release, {id}/drop */
static void decide(rl_http_request *req, void *ctx)
{
    const uint8_t *slash = req->rest.n ? memchr(req->rest.p, '/', req->rest.n) : NULL;
    rl_span id = {req->rest.p, slash ? (size_t)(slash - req->rest.p) : 0};
    rl_span what = slash ? (rl_span){slash + 1, req->rest.n - id.n - 1} : (rl_span){NULL, 0};
    bool release = rl_span_eq(what, RL_SPAN_LIT("release"));
    char text[24];
    if (!is_authorised(req, ctx))
        return;
    if (id.n == 0 || id.n >= sizeof(text) || (!release && !rl_span_eq(what, RL_SPAN_LIT("drop")))) {
        reply_error(req, 404, "it is /api/sync/hold/{id}/release or /api/sync/hold/{id}/drop");
        return;
    }
    memcpy(text, id.p, id.n);
    text[id.n] = 0;
    run(req, ctx, json_pack("{s:s,s:s}", "command", release ? "sync-release" : "sync-drop", "id", text));
}

rl_err rl_api_open(rl_app *app, rl_error *e)
{
    return app->settings->api.token[0] ? rl_http_pool_new("api", 1, WAITING, LIMIT, &app->api_pool, e) : RL_OK;
}

void rl_api_close(rl_app *app)
{
    rl_http_pool_free(app->api_pool);
    app->api_pool = NULL;
}

size_t rl_api_routes(rl_app *app, rl_http_route *routes, size_t cap)
{
    const rl_http_route all[] = {
        {.methods = RL_HTTP_POST | RL_HTTP_TLS_ONLY, .path = "/api/challenge", .handler = challenge},
        {.methods = RL_HTTP_GET | RL_HTTP_TLS_ONLY, .path = "/api/sync/hold", .handler = holds},
        {.methods = RL_HTTP_POST | RL_HTTP_TLS_ONLY, .path = "/api/sync/hold/", .prefix = true, .handler = decide},
    };
    size_t n = 0;
    if (!app->api_pool)
        return 0;
    for (; n < sizeof(all) / sizeof(all[0]) && n < cap; n++) {
        routes[n] = all[n];
        routes[n].body_limit = BODY_MAX;
        routes[n].ctx = app;
    }
    return n;
}
