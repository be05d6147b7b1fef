/* Questions to Graph; see ask.h. */
#include "sync/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sync/graph_page.h"

enum { PAGES_MAX = 1000000 };

/* ---- a question ---- */
static void ask(rl_graph_ask *a);

void rl_graph_ask_clear(rl_graph_ask *a)
{
    free(a->url);
    free(a->body);
    a->url = a->body = NULL;
}

static void on_response(const rl_http_response *r, void *arg)
{
    rl_graph_ask *a = arg;
    char message[RL_ERROR_MESSAGE_MAX];
    a->call = NULL;
    if (a->source->sync->closing)
        return;
    rl_source_answered(a->source, r);
    if (r->err != RL_OK) {
        snprintf(message, sizeof(message), "Graph cannot be asked: %s", r->message);
        rl_source_failed(a->source, message, -1);
    } else if (r->status != 401) {
        a->answered(a->source, r);
    } else if (!a->token_retried) {
        rl_token_drop(a->source->sync->token, a->token_number);
        a->token_retried = true;
        ask(a);
    } else {
        rl_source_failed(a->source, "Graph answered 401 to a fresh token", -1);
    }
}

static rl_err start_call(rl_graph_ask *a, const char *token, rl_error *e)
{
    const rl_settings *settings = a->source->sync->settings;
    char id[RL_HTTP_REQUEST_ID];
    rl_http_request_id(id);
    const char *const headers[] = {"Accept: application/json", id,
                                   a->body ? "Content-Type: application/json" : "Prefer: odata.maxpagesize=999", NULL};
    const rl_http_call_options o = {.method = a->method,
                                    .url = a->url,
                                    .headers = headers,
                                    .body = a->body ? rl_span_str(a->body) : (rl_span){0},
                                    .bearer = token,
                                    .body_limit = (size_t)settings->sync.page_limit,
                                    .timeout = settings->sync.request_timeout,
                                    .connect_timeout = settings->sync.connect_timeout};
    return rl_http_call_start(a->source->sync->client, &o, on_response, a, &a->call, e);
}

static void ask(rl_graph_ask *a)
{
    rl_error e = {0};
    const char *token = rl_token_text(a->source->sync->token, &a->token_number);
    rl_source_enter(a->source, token ? RL_AT_FETCH : RL_AT_TOKEN);
    rl_err err = token ? start_call(a, token, &e) : rl_token_fetch(a->source->sync->token, &e);
    if (err != RL_OK)
        rl_source_failed(a->source, e.message, -1);
}

void rl_graph_ask_start(rl_graph_ask *a, const char *method, const char *url, const char *body)
{
    char *url_copy = strdup(url), *body_copy = body ? strdup(body) : NULL;
    rl_graph_ask_clear(a);
    a->method = method;
    a->url = url_copy;
    a->body = body_copy;
    a->token_retried = false;
    if (a->url && (a->body || !body))
        ask(a);
    else
        rl_source_failed(a->source, "out of memory", -1);
}

void rl_graph_ask_token(rl_graph_ask *a, const rl_error *failure, int64_t retry_after_ms)
{
    if (failure)
        rl_source_failed(a->source, failure->message, retry_after_ms);
    else
        ask(a);
}

/* ---- for all that is asked of Graph ---- */
bool rl_graph_another_tenant(rl_sync_source *s, const char *tenant)
{
    const char *ours = s->sync->settings->azure.tenant_id;
    char message[RL_ERROR_MESSAGE_MAX];
    if (!tenant || strcasecmp(tenant, ours) == 0)
        return false;
    snprintf(message, sizeof(message),
             "the stored objects are tenant %s's and AZURE_TENANT_ID is %s: a data folder follows one tenant", tenant,
             ours);
    s->failure.own =
        "Set AZURE_TENANT_ID back; also if the two are the domain and the id of one tenant. Another tenant needs a "
        "data folder of its own.";
    rl_source_failed(s, message, -1);
    return true;
}

void rl_graph_refusal(const rl_sync_source *s, const rl_http_response *r, char out[RL_ERROR_MESSAGE_MAX])
{
    char code[64];
    const bool lacks = r->status == 403;
    rl_graph_error_code(r->body, code, sizeof(code));
    snprintf(out, RL_ERROR_MESSAGE_MAX, "Graph answered %ld%s%s%s%s%s%s", r->status, code[0] ? " " : "", code,
             lacks ? ": the application lacks the permission " : "", lacks ? s->permission : "",
             r->request_id[0] ? ", request-id " : "", r->request_id);
}

bool rl_trail_repeats(rl_trail *t, const char *next)
{
    if ((t->mark && strcmp(next, t->mark) == 0) || ++t->pages > PAGES_MAX)
        return true;
    if (t->pages < t->mark_at)
        return false;
    t->mark_at = t->mark_at ? 2 * t->mark_at : 1;
    free(t->mark);
    t->mark = strdup(next);
    return !t->mark;
}

void rl_trail_clear(rl_trail *t)
{
    free(t->mark);
    *t = (rl_trail){0};
}
