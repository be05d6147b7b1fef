/* A question to one of Intune's services:
 *
 *   ask → (address: Graph's token, Graph's list) → (token) → POST → answer
 *
 * Questions that cannot be posted yet wait in one list. Whenever an address or a token has come, all of them are looked
 * at again; when it cannot be had, all of them end: each would need it. */
#include "http/intune_services.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "http/token.h"

/* Octets of Graph's list, of an address. */
enum { LIST_MAX = 1024 * 1024, ADDRESS_MAX = 2048 };

#define APPLICATION "0000000a-0000-0000-c000-000000000000" /* Intune's, the same in every tenant */

static const struct {
    const char *name, *version;
} services[RL_INTUNE_SERVICES] = {
    [RL_INTUNE_PKI_CONNECTOR] = {"PkiConnectorFEService", "5019-05-05"},
    [RL_INTUNE_SCEP_VALIDATION] = {"ScepRequestValidationFEService", "2018-02-20"},
};

typedef struct question {
    struct question *next; /* in `waiting` */
    rl_intune *intune;
    rl_intune_service service;
    char *action, *body;
    size_t body_n;
    rl_http_response_fn fn;
    void *arg;
    unsigned token_number;
    bool token_retried, looked_again;
} question;

struct rl_intune {
    rl_http_client *client;
    const rl_settings *settings;
    rl_token *graph, *api;
    char *address[RL_INTUNE_SERVICES]; /* NULL: to be looked up */
    bool looking;                      /* the look-up is under way: its token or its request */
    bool list_retried;
    unsigned graph_number;
    question *waiting;
};

static rl_err step(question *q, rl_error *e);

/* ---- Graph's list ---- */
static bool is_address(const char *uri, bool plain)
{
    size_t n = strlen(uri);
    bool https = strncasecmp(uri, "https://", 8) == 0, http = strncasecmp(uri, "http://", 7) == 0;
    if (n > ADDRESS_MAX || !(https || (plain && http)) || !rl_http_same_origin(uri, uri))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)uri[i] <= 0x20 || (unsigned char)uri[i] >= 0x7f || strchr("\\?#", uri[i]))
            return false;
    return true;
}

static rl_err read_entry(const json_t *entry, bool plain, char *out[RL_INTUNE_SERVICES])
{
    const char *name = rl_json_str(entry, "providerName"), *uri = rl_json_str(entry, "uri");
    if (!name || !uri || !is_address(uri, plain))
        return RL_OK;
    size_t n = strlen(uri);
    while (uri[n - 1] == '/')
        n--;
    for (size_t i = 0; i < RL_INTUNE_SERVICES; i++)
        if (!out[i] && strcasecmp(name, services[i].name) == 0 && !(out[i] = strndup(uri, n)))
            return RL_ENOMEM;
    return RL_OK;
}

rl_err rl_intune_services_read(rl_span body, bool plain, char *out[RL_INTUNE_SERVICES], rl_error *e)
{
    json_t *root = NULL;
    memset(out, 0, RL_INTUNE_SERVICES * sizeof(*out));
    RL_TRY(rl_json_parse(body, LIST_MAX, &root, e));
    const json_t *list = json_object_get(root, "value");
    rl_err err = json_is_array(list) ? RL_OK : rl_fail(e, RL_EBADMSG, "intune", "there is no list \"value\"");
    for (size_t i = 0; err == RL_OK && i < json_array_size(list); i++)
        if (read_entry(json_array_get(list, i), plain, out) != RL_OK)
            err = rl_fail(e, RL_ENOMEM, "intune", "out of memory");
    for (size_t i = 0; err != RL_OK && i < RL_INTUNE_SERVICES; i++) {
        free(out[i]);
        out[i] = NULL;
    }
    json_decref(root);
    return err;
}

/* ---- the end of a question ---- */
static void finish(question *q, const rl_http_response *r)
{
    rl_http_response_fn fn = q->fn;
    void *arg = q->arg;
    free(q->action);
    free(q->body);
    free(q);
    fn(r, arg);
}

static void finish_failed(question *q, rl_err err, const char *message, int64_t retry_after_ms)
{
    rl_http_response r = {.err = err, .failure = RL_HTTP_BROKEN, .retry_after_ms = retry_after_ms};
    snprintf(r.message, sizeof(r.message), "%s", message);
    finish(q, &r);
}

static question *take_waiting(rl_intune *i)
{
    question *list = i->waiting;
    i->waiting = NULL;
    return list;
}

static void fail_waiting(rl_intune *i, rl_err err, const char *message, int64_t retry_after_ms)
{
    for (question *q = take_waiting(i), *next; q; q = next) {
        next = q->next;
        finish_failed(q, err, message, retry_after_ms);
    }
}

static void go_on(question *q)
{
    rl_error e = {0};
    rl_err err = step(q, &e);
    if (err != RL_OK)
        finish_failed(q, err, e.message, -1);
}

static void go_on_waiting(rl_intune *i)
{
    for (question *q = take_waiting(i), *next; q; q = next) {
        next = q->next;
        go_on(q);
    }
}

/* ---- the look-up ---- */
static void on_list(const rl_http_response *r, void *arg);

static rl_err ask_list(rl_intune *i, rl_error *e)
{
    const rl_settings *s = i->settings;
    char id[RL_HTTP_REQUEST_ID];
    rl_buf url = {0};
    const char *token = rl_token_text(i->graph, &i->graph_number);
    if (!token)
        return rl_token_fetch(i->graph, e);
    rl_err err = rl_buf_printf(&url, "%s/v1.0/servicePrincipals/appId=" APPLICATION "/endpoints", s->azure.graph_url);
    if (err == RL_OK)
        err = rl_buf_append(&url, "", 1);
    rl_http_request_id(id);
    const char *const headers[] = {"Accept: application/json", id, NULL};
    const rl_http_call_options o = {.method = "GET",
                                    .url = (char *)url.p,
                                    .headers = headers,
                                    .bearer = token,
                                    .body_limit = LIST_MAX,
                                    .timeout = s->sync.request_timeout,
                                    .connect_timeout = s->sync.connect_timeout};
    err = err == RL_OK ? rl_http_call_start(i->client, &o, on_list, i, NULL, e)
                       : rl_fail(e, err, "intune", "out of memory");
    rl_buf_free(&url);
    return err;
}

static rl_err look_up(rl_intune *i, rl_error *e)
{
    if (i->looking)
        return RL_OK;
    i->list_retried = false;
    rl_err err = ask_list(i, e);
    i->looking = err == RL_OK;
    return err;
}

static void look_up_failed(rl_intune *i, rl_err err, const char *message, int64_t retry_after_ms)
{
    i->looking = false;
    fail_waiting(i, err, message, retry_after_ms);
}

static void on_graph_token(void *ctx, const rl_error *failure, int64_t retry_after_ms)
{
    rl_intune *i = ctx;
    rl_error e = {0};
    rl_err err = failure ? failure->code : ask_list(i, &e);
    if (err != RL_OK)
        look_up_failed(i, err, failure ? failure->message : e.message, retry_after_ms);
}

/* A service that is not listed stays where it was known to be. */
static rl_err take_list(rl_intune *i, rl_span body, rl_error *e)
{
    char *found[RL_INTUNE_SERVICES];
    bool plain = strncasecmp(i->settings->azure.intune_url, "http://", 7) == 0;
    RL_TRY(rl_intune_services_read(body, plain, found, e));
    for (size_t k = 0; k < RL_INTUNE_SERVICES; k++) {
        if (!found[k])
            continue;
        free(i->address[k]);
        i->address[k] = found[k];
        log_info("intune.service", "name", services[k].name, "address", found[k]);
    }
    return RL_OK;
}

/* Those whose service is not listed end here; looking again would find no more. */
static void looked_up(rl_intune *i)
{
    i->looking = false;
    for (question *q = take_waiting(i), *next; q; q = next) {
        next = q->next;
        char message[128];
        snprintf(message, sizeof(message), "Graph lists no usable address of Intune's %s", services[q->service].name);
        if (i->address[q->service])
            go_on(q);
        else
            finish_failed(q, RL_ENOTFOUND, message, -1);
    }
}

static void list_refused(rl_intune *i, const rl_http_response *r)
{
    char message[256];
    rl_err refused = r->status == 401 || r->status == 403 ? RL_EDENIED : RL_EIO;
    if (r->status == 401 && !i->list_retried) {
        rl_error e = {0};
        rl_token_drop(i->graph, i->graph_number);
        i->list_retried = true;
        rl_err err = ask_list(i, &e);
        if (err != RL_OK)
            look_up_failed(i, err, e.message, -1);
        return;
    }
    snprintf(message, sizeof(message), "Graph answered %ld when it was asked for Intune's services%s%s%s", r->status,
             r->status == 403 ? ": the application lacks the permission Application.Read.All" : "",
             r->request_id[0] ? ", request-id " : "", r->request_id);
    look_up_failed(i, refused, message, r->retry_after_ms);
}

static void on_list(const rl_http_response *r, void *arg)
{
    rl_intune *i = arg;
    rl_error e = {0};
    char message[RL_ERROR_MESSAGE_MAX + 64];
    if (r->err != RL_OK) {
        snprintf(message, sizeof(message), "Graph cannot be asked for Intune's services: %s", r->message);
        look_up_failed(i, r->err, message, -1);
    } else if (r->status != 200) {
        list_refused(i, r);
    } else if (take_list(i, r->body, &e) != RL_OK) {
        snprintf(message, sizeof(message), "Graph's list of Intune's services is refused: %s", e.message);
        look_up_failed(i, RL_EBADMSG, message, -1);
    } else {
        looked_up(i);
    }
}

/* ---- the question itself ---- */
static void on_token(void *ctx, const rl_error *failure, int64_t retry_after_ms)
{
    rl_intune *i = ctx;
    if (failure)
        fail_waiting(i, failure->code, failure->message, retry_after_ms);
    else
        go_on_waiting(i);
}

static void forget_address(rl_intune *i, rl_intune_service service)
{
    free(i->address[service]);
    i->address[service] = NULL;
}

/* Whether the service may have moved. */
static bool is_elsewhere(const rl_http_response *r)
{
    if (r->err != RL_OK)
        return r->err == RL_EIO || r->err == RL_ETIMEDOUT;
    return r->status / 100 == 3 || r->status == 404 || r->status == 410;
}

static void on_answer(const rl_http_response *r, void *arg)
{
    question *q = arg;
    bool unauthorized = r->err == RL_OK && r->status == 401, elsewhere = is_elsewhere(r);
    if (unauthorized)
        rl_token_drop(q->intune->api, q->token_number);
    if (elsewhere && !q->looked_again)
        forget_address(q->intune, q->service);
    if (unauthorized && !q->token_retried) {
        q->token_retried = true;
        go_on(q);
    } else if (elsewhere && !q->looked_again && r->err != RL_ETIMEDOUT) { /* that took long enough */
        q->looked_again = true;
        go_on(q);
    } else {
        finish(q, r);
    }
}

static rl_err post(question *q, const char *token, rl_error *e)
{
    const rl_settings *s = q->intune->settings;
    char id[RL_HTTP_REQUEST_ID], version[32];
    rl_buf url = {0};
    rl_err err = rl_buf_printf(&url, "%s/%s", q->intune->address[q->service], q->action);
    if (err == RL_OK)
        err = rl_buf_append(&url, "", 1);
    rl_http_request_id(id);
    snprintf(version, sizeof(version), "api-version: %s", services[q->service].version);
    const char *const headers[] = {"Accept: application/json",
                                   "Content-Type: application/json",
                                   id,
                                   version,
                                   "UserAgent: Revline/" REVLINE_VERSION,
                                   NULL};
    const rl_http_call_options o = {.method = "POST",
                                    .url = (char *)url.p,
                                    .headers = headers,
                                    .body = rl_span_of(q->body, q->body_n),
                                    .bearer = token,
                                    .body_limit = (size_t)s->sync.page_limit,
                                    .timeout = s->sync.request_timeout,
                                    .connect_timeout = s->sync.connect_timeout};
    err = err == RL_OK ? rl_http_call_start(q->intune->client, &o, on_answer, q, NULL, e)
                       : rl_fail(e, err, "intune", "out of memory");
    rl_buf_free(&url);
    return err;
}

/* After an error the question is still the caller's. */
static rl_err step(question *q, rl_error *e)
{
    rl_intune *i = q->intune;
    if (!i->address[q->service]) {
        RL_TRY(look_up(i, e));
    } else {
        const char *token = rl_token_text(i->api, &q->token_number);
        if (token)
            return post(q, token, e);
        RL_TRY(rl_token_fetch(i->api, e));
    }
    q->next = i->waiting;
    i->waiting = q;
    return RL_OK;
}

rl_err rl_intune_ask(rl_intune *i, rl_intune_service service, const char *action, rl_span body, rl_http_response_fn fn,
                     void *arg, rl_error *e)
{
    question *q = calloc(1, sizeof(*q));
    if (!q)
        return rl_fail(e, RL_ENOMEM, "intune", "out of memory");
    *q = (question){.intune = i, .service = service, .fn = fn, .arg = arg, .body_n = body.n};
    q->action = strdup(action);
    q->body = malloc(body.n + 1);
    rl_err err = q->action && q->body ? RL_OK : rl_fail(e, RL_ENOMEM, "intune", "out of memory");
    if (err == RL_OK) {
        memcpy(q->body, body.p, body.n);
        err = step(q, e);
    }
    if (err != RL_OK) {
        free(q->action);
        free(q->body);
        free(q);
    }
    return err;
}

/* ---- made and freed ---- */
rl_err rl_intune_new(rl_http_client *client, const rl_settings *s, rl_intune **out, rl_error *e)
{
    rl_intune *i = calloc(1, sizeof(*i));
    if (!i)
        return rl_fail(e, RL_ENOMEM, "intune", "out of memory");
    i->client = client;
    i->settings = s;
    rl_err err = rl_token_new(client, s, s->azure.graph_url, on_graph_token, i, &i->graph, e);
    if (err == RL_OK)
        err = rl_token_new(client, s, s->azure.intune_url, on_token, i, &i->api, e);
    if (err == RL_OK)
        *out = i;
    else
        rl_intune_free(i);
    return err;
}

void rl_intune_free(rl_intune *i)
{
    if (!i)
        return;
    rl_token_free(i->graph);
    rl_token_free(i->api);
    for (size_t k = 0; k < RL_INTUNE_SERVICES; k++)
        free(i->address[k]);
    free(i);
}
