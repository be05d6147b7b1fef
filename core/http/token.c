/* A token is fetched, kept and forgotten here; what is asked and answered is in login.c. */
#include "http/token.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/login.h"

enum { ANSWER_MAX = 256 * 1024 };

struct rl_token {
    rl_http_client *client;
    const rl_settings *settings;
    const char *resource;
    rl_token_fn fn;
    void *ctx;
    rl_http_call *call;
    char *text;
    unsigned number;      /* counts tokens, so that a late 401 does not drop the next one */
    uint64_t fresh_until; /* monotonic ms */
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

const char *rl_token_text(const rl_token *t, unsigned *number)
{
    *number = t->number;
    return rl_mono_ms() < t->fresh_until ? t->text : NULL;
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
    t->fresh_until = rl_mono_ms() + (uint64_t)life * 800;
    return RL_OK;
}

static void on_answer(const rl_http_response *r, void *arg)
{
    rl_token *t = arg;
    rl_error e = {0};
    t->call = NULL;
    rl_err err = read_answer(t, r, &e);
    if (err == RL_OK)
        log_debug("sync.token", "number", t->number);
    t->fn(t->ctx, err == RL_OK ? NULL : &e, r->retry_after_ms);
}

rl_err rl_token_fetch(rl_token *t, rl_error *e)
{
    rl_login_request request;
    if (t->call)
        return RL_OK;
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
