/* A token is fetched, kept and forgotten here; what is asked and answered is in login.c. */
#include "http/token.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/login.h"

enum { ANSWER_MAX = 256 * 1024, BACKOFF_BASE_MS = 1000 };
/* Not used up to the very end: a request takes its time, and clocks differ. */
enum { LAST_MS = 60 * 1000, LAST_SHARE = 20 };

struct rl_token {
    rl_http_client *client;
    const rl_settings *settings;
    const char *resource;
    rl_token_fn fn;
    void *ctx;
    rl_http_call *call;
    char *text;
    unsigned number;     /* counts tokens, so that a late 401 does not drop the next one */
    uint64_t good_until; /* monotonic ms */
    uint64_t renew_at;   /* likewise: no renewal begins before */
    unsigned failures;   /* of renewals, since the last token */
    bool awaited;        /* somebody has asked for the fetch under way */
};

static void forget(rl_token *t)
{
    if (t->text)
        explicit_bzero(t->text, strlen(t->text));
    free(t->text);
    t->text = NULL;
}

rl_err rl_token_new(rl_http_client *client, const rl_settings *s, const char *resource, rl_token_fn fn, void *ctx,
                    rl_token **out, rl_error *e)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return rl_fail(e, RL_ENOMEM, "token", "out of memory");
    **out = (rl_token){.client = client, .settings = s, .resource = resource, .fn = fn, .ctx = ctx};
    return RL_OK;
}

void rl_token_free(rl_token *t)
{
    if (t)
        forget(t);
    free(t);
}

void rl_token_drop(rl_token *t, unsigned number)
{
    if (number == t->number)
        forget(t);
}

/* ---- a fetch ---- */
static rl_err read_answer(rl_token *t, const rl_http_response *r, rl_error *e)
{
    char *text;
    int64_t life;
    if (r->err != RL_OK)
        return rl_fail(e, r->err, "token", "the token endpoint cannot be asked: %s", r->message);
    if (r->status != 200)
        return rl_login_refused(r->status, r->body, rl_login_of(t->settings), e);
    RL_TRY(rl_login_read(r->body, r->date ? r->date : rl_wall_s(), &text, &life, e));
    forget(t);
    t->text = text;
    t->number++;
    t->failures = 0;
    uint64_t life_ms = (uint64_t)life * 1000, last = life_ms / LAST_SHARE;
    t->good_until = rl_mono_ms() + life_ms - (last < LAST_MS ? last : LAST_MS);
    t->renew_at = rl_mono_ms() + life_ms / 10 * 8;
    return RL_OK;
}

/* The token that we have is good for a while still. */
static void renewal_failed(rl_token *t, const char *why, int64_t retry_after_ms)
{
    int64_t delay = rl_backoff(t->failures++, BACKOFF_BASE_MS, t->settings->sync.retry_max, retry_after_ms);
    uint64_t now = rl_mono_ms();
    t->renew_at = now + (uint64_t)delay;
    log_warn("sync.token_kept", "error", why, "good_s", (t->good_until - now) / 1000, "retry_ms", delay);
}

static void on_answer(const rl_http_response *r, void *arg)
{
    rl_token *t = arg;
    rl_error e = {0};
    t->call = NULL;
    rl_err err = read_answer(t, r, &e);
    bool awaited = t->awaited;
    t->awaited = false;
    if (err == RL_OK)
        log_debug("sync.token", "number", t->number);
    else if (t->text && rl_mono_ms() < t->good_until && r->err != RL_ECANCELED)
        renewal_failed(t, e.message, r->retry_after_ms);
    if (awaited)
        t->fn(t->ctx, err == RL_OK ? NULL : &e, r->retry_after_ms);
}

static rl_err start(rl_token *t, rl_error *e)
{
    rl_login_request request;
    rl_err err = rl_login_build(t->settings, t->resource, rl_wall_s(), &request, e);
    if (err == RL_OK) {
        const char *const headers[] = {
            "Accept: application/json",
            request.header.n ? (char *)request.header.p : "Content-Type: application/x-www-form-urlencoded", NULL};
        const rl_http_call_options o = {.method = request.method,
                                        .url = (char *)request.url.p,
                                        .headers = headers,
                                        .body = rl_buf_span(&request.form),
                                        .body_limit = ANSWER_MAX,
                                        .direct = request.direct,
                                        .timeout = t->settings->sync.request_timeout,
                                        .connect_timeout = t->settings->sync.connect_timeout};
        err = rl_http_call_start(t->client, &o, on_answer, t, &t->call, e);
    }
    rl_login_request_free(&request);
    return err;
}

rl_err rl_token_fetch(rl_token *t, rl_error *e)
{
    rl_err err = t->call ? RL_OK : start(t, e);
    t->awaited = err == RL_OK;
    return err;
}

const char *rl_token_text(rl_token *t, unsigned *number)
{
    uint64_t now = rl_mono_ms();
    rl_error e = {0};
    *number = t->number;
    if (!t->text || now >= t->good_until)
        return NULL;
    if (now >= t->renew_at && !t->call && start(t, &e) != RL_OK)
        renewal_failed(t, e.message, -1);
    return t->text;
}
