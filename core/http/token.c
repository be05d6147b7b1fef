/* Client credentials against {authority}/{tenant}/oauth2/v2.0/token. */
#include "http/token.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

enum { ANSWER_MAX = 256 * 1024, LIFE_MAX_S = 24 * 3600 };

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

/* ---- the request ---- */
rl_err rl_url_encode(rl_buf *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text))
            RL_TRY(rl_buf_append(out, text, 1));
        else
            RL_TRY(rl_buf_printf(out, "%%%02X", (unsigned char)*text));
    }
    return RL_OK;
}

static rl_err put_field(rl_buf *out, const char *name, const char *value, const char *more)
{
    RL_TRY(rl_buf_printf(out, "%s%s=", out->n ? "&" : "", name));
    RL_TRY(rl_url_encode(out, value));
    return rl_url_encode(out, more);
}

static int without_slash(const char *url)
{
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    return (int)n;
}

static rl_err put_url(const rl_settings *s, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "%.*s/", without_slash(s->azure.authority_host), s->azure.authority_host));
    RL_TRY(rl_url_encode(out, s->azure.tenant_id));
    RL_TRY(rl_buf_printf(out, "/oauth2/v2.0/token"));
    return rl_buf_append(out, "", 1);
}

static rl_err put_form(const rl_token *t, rl_buf *out)
{
    const rl_settings *s = t->settings;
    char *resource = strndup(t->resource, (size_t)without_slash(t->resource));
    rl_err err = resource ? put_field(out, "client_id", s->azure.client_id, "") : RL_ENOMEM;
    if (err == RL_OK)
        err = put_field(out, "client_secret", s->azure.client_secret, "");
    if (err == RL_OK)
        err = put_field(out, "grant_type", "client_credentials", "");
    if (err == RL_OK)
        err = put_field(out, "scope", resource, "/.default");
    free(resource);
    return err;
}

/* ---- the answer ---- */
bool rl_token_is_usable(const char *token)
{
    size_t n = 0;
    for (; token && token[n]; n++)
        if ((unsigned char)token[n] <= 0x20 || (unsigned char)token[n] >= 0x7f)
            return false;
    return n > 0;
}

static rl_err read_token(rl_token *t, const json_t *root, rl_error *e)
{
    const char *text = rl_json_str(root, "access_token");
    int64_t life = rl_json_int(root, "expires_in", 0);
    if (!rl_token_is_usable(text) || life < 1)
        return rl_fail(e, RL_EBADMSG, "token", "the token endpoint's answer has no usable %s",
                       rl_token_is_usable(text) ? "expires_in" : "access_token");
    forget(t);
    t->text = strdup(text);
    if (!t->text)
        return rl_fail(e, RL_ENOMEM, "token", "out of memory");
    life = life > LIFE_MAX_S ? LIFE_MAX_S : life;
    t->number++;
    t->fresh_until = rl_mono_ms() + (uint64_t)life * 800;
    return RL_OK;
}

/* RFC 6749 §5.2: only the error's name and Entra's number are repeated; the description is free text. */
static rl_err refused(long status, const json_t *root, rl_error *e)
{
    const char *name = rl_json_str(root, "error");
    long long code = json_integer_value(json_array_get(json_object_get(root, "error_codes"), 0));
    if (code)
        return rl_fail(e, RL_EDENIED, "token", "the token endpoint answered %ld: %.60s (AADSTS%lld)", status,
                       name ? name : "", code);
    return rl_fail(e, RL_EDENIED, "token", "the token endpoint answered %ld%s%.60s", status, name ? ": " : "",
                   name ? name : "");
}

static rl_err read_answer(rl_token *t, const rl_http_response *r, rl_error *e)
{
    json_t *root = NULL;
    if (r->err != RL_OK)
        return rl_fail(e, r->err, "token", "the token endpoint cannot be asked: %s", r->message);
    rl_err parsed = rl_json_parse(r->body, ANSWER_MAX, &root, NULL);
    rl_err err = RL_OK;
    if (r->status != 200)
        err = refused(r->status, root, e);
    else if (parsed != RL_OK)
        err = rl_fail(e, RL_EBADMSG, "token", "the token endpoint's answer is not JSON");
    else
        err = read_token(t, root, e);
    json_decref(root);
    return err;
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
    static const char *const headers[] = {"Accept: application/json", "Content-Type: application/x-www-form-urlencoded",
                                          NULL};
    rl_buf url = {0}, form = {0};
    if (t->call)
        return RL_OK;
    rl_err err = put_url(t->settings, &url);
    if (err == RL_OK)
        err = put_form(t, &form);
    if (err == RL_OK) {
        const rl_http_call_options o = {.method = "POST",
                                        .url = (char *)url.p,
                                        .headers = headers,
                                        .body = rl_buf_span(&form),
                                        .body_limit = ANSWER_MAX,
                                        .timeout = t->settings->sync.request_timeout,
                                        .connect_timeout = t->settings->sync.connect_timeout};
        err = rl_http_call_start(t->client, &o, on_answer, t, &t->call, e);
    } else {
        rl_fail(e, err, "token", "out of memory");
    }
    if (form.p)
        explicit_bzero(form.p, form.n);
    rl_buf_free(&form);
    rl_buf_free(&url);
    return err;
}
