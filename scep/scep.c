/* The SCEP server: profiles, their routes, and the operations of RFC 8894 §4 over HTTP.
 *
 * What is told of the CA is ready (authority.c); a PKIOperation goes to the thread pool (enroll.c). Handlers run
 * on the HTTP workers and share one rl_scep, which is immutable once it serves. */
#include "scep/scep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "http/login.h"
#include "scep/scep_priv.h"

static const char *const paths[RL_ENROLL_NAMED] = {
    [RL_ENROLL_STATIC] = "/static", [RL_ENROLL_STATIC_AAD] = "/static/aad",          [RL_ENROLL_JAMF] = "/jamf",
    [RL_ENROLL_DC] = "/dc",         [RL_ENROLL_INTUNE] = "/certsrv/mscep/mscep.dll",
};

/* Of the pool's threads: an enrollment waits for the store's sync. */
enum { WAITING = 4, WAITING_FOR_INTUNE = 32 };

/* ---- opening ---- */
static rl_metric *results(const char *operation, const char *result)
{
    char labels[96];
    snprintf(labels, sizeof(labels), "operation=\"%s\",result=\"%s\"", operation, result);
    return rl_counter("revline_scep_requests_total", labels, "SCEP requests by operation and result.");
}

static void register_metrics(rl_scep *s)
{
    static const char *const names[SCEP_RESULT_COUNT] = {
        [SCEP_ANSWERED] = "answered", [SCEP_ISSUED] = "issued",       [SCEP_REPEATED] = "repeated",
        [SCEP_REFUSED] = "refused",   [SCEP_MALFORMED] = "malformed", [SCEP_BUSY] = "busy",
        [SCEP_FAILED] = "failed",
    };
    for (unsigned i = 0; i < SCEP_RESULT_COUNT; i++)
        s->pki_results[i] = results("PKIOperation", names[i]);
    s->caps_answered = results("GetCACaps", "answered");
    s->cert_answered = results("GetCACert", "answered");
    s->next_answered = results("GetNextCACert", "answered");
    s->unknown = results("unknown", "malformed");
    s->pki_seconds =
        rl_histogram("revline_scep_pki_operation_seconds", "", "Time from a PKIOperation's last octet to its answer.");
}

/* A profile without a challenge is off, but for Intune's, whose challenges are Intune's own, and for those that enroll
 * by Entra ID's tokens. */
static void add_endpoint(rl_scep *s, rl_profile_id id)
{
    scep_profile p = {.id = id};
    const char *path = (unsigned)id < RL_ENROLL_NAMED ? paths[id] : NULL;
    if (!rl_profile_get(s->settings, id, &p.certificate))
        return;
    const char *challenge = p.certificate.rules->challenge;
    bool has_challenge = id == RL_PROFILE_INTUNE ? s->intune != NULL : challenge && challenge[0];
    if (!has_challenge && !p.certificate.rules->entra_tokens)
        return;
    p.est_only = !has_challenge;
    snprintf(p.path, sizeof(p.path), "%s%s", path ? path : "/scep/", path ? "" : p.certificate.name);
    snprintf(p.slash_path, sizeof(p.slash_path), "%.40s/", p.path);
    snprintf(p.client_path, sizeof(p.client_path), "%.40s/pkiclient.exe", p.path); /* a name has at most 32 */
    s->endpoints[s->endpoints_n++] = (scep_endpoint){s, p};
}

/* Before anybody has said where lists come from. */
static rl_err no_crl(void *ctx, rl_issuer_id issuer, rl_buf *out)
{
    (void)ctx, (void)issuer, (void)out;
    return RL_EBUSY;
}

void rl_scep_on_crl(rl_scep *s, rl_scep_crl current, void *ctx)
{
    s->crl = current;
    s->crl_ctx = ctx;
}

static rl_err open_intune(rl_scep *s, rl_error *e)
{
    if (!s->settings->scep.intune || rl_login_of(s->settings) == RL_LOGIN_NONE)
        return RL_OK;
    RL_TRY(
        rl_http_pool_new("scep-intune", 1, WAITING_FOR_INTUNE, s->settings->scep.concurrent_limit, &s->intune_pool, e));
    return scep_intune_open(s->store, s->settings, &s->intune, e);
}

rl_err rl_scep_open(rl_ca *ca, rl_store *store, rl_guesses *guesses, const rl_settings *settings, rl_scep **out,
                    rl_error *e)
{
    rl_scep *s = calloc(1, sizeof(*s));
    if (!s)
        return rl_fail(e, RL_ENOMEM, "scep", "out of memory");
    s->ca = ca;
    s->settings = settings;
    s->store = store;
    s->guesses = guesses;
    s->crl = no_crl;
    rl_err err = open_intune(s, e);
    for (unsigned i = 0; i < RL_ENROLL_MAX; i++)
        add_endpoint(s, (rl_profile_id)i);
    register_metrics(s);
    if (err == RL_OK)
        err = scep_authority_open(s, e);
    if (err == RL_OK)
        err = rl_http_pool_new("scep", RL_SIGNER_TOGETHER, WAITING, settings->scep.concurrent_limit, &s->pool, e);
    if (err != RL_OK)
        rl_scep_close(s);
    else
        *out = s;
    return err;
}

void rl_scep_close(rl_scep *s)
{
    scep_intune_close(s->intune); /* who waits for it waits no longer */
    rl_http_pool_free(s->intune_pool);
    rl_http_pool_free(s->pool);
    rl_buf_free(&s->ca_cert);
    rl_buf_free(&s->next_ca);
    free(s);
}

/* ---- PKIOperation ---- */
typedef struct pki_job {
    const scep_endpoint *endpoint;
    rl_span message;
    uint64_t started; /* rl_mono_ns */
    scep_outcome outcome;
} pki_job;

static void finish(rl_http_request *req, const rl_scep *s, const pki_job *job)
{
    const scep_outcome *o = &job->outcome;
    rl_metric_add(s->pki_results[o->result], 1);
    rl_metric_observe_ns(s->pki_seconds, rl_mono_ns() - job->started);
    if (o->status == 200)
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/x-pki-message\r\nCache-Control: no-store\r\n"),
                      rl_buf_span(&o->body));
    else if (o->result == SCEP_BUSY)
        rl_http_reply(req, o->status, RL_SPAN_LIT("Content-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"),
                      rl_span_str(o->text));
    else
        rl_http_error(req, o->status, o->text);
}

static bool work(rl_http_request *req, void *arg)
{
    pki_job *job = arg;
    scep_pki_operation(job->endpoint->scep, &job->endpoint->profile, job->message, req->peer, &job->outcome);
    return true;
}

static void done(rl_http_request *req, void *arg)
{
    pki_job *job = arg;
    const rl_scep *s = job->endpoint->scep;
    if (job->outcome.guessed)
        rl_guess_wrong(s->guesses, req, RL_GUESS_SCEP);
    finish(req, s, job);
    rl_buf_free(&job->outcome.body);
}

/* Whose challenges were wrong too often waits before anything is decrypted. */
static void pki_operation(rl_http_request *req, scep_endpoint *endpoint, rl_span message)
{
    unsigned wait = rl_guess_wait(endpoint->scep->guesses, req, RL_GUESS_SCEP);
    if (wait > 0) {
        rl_metric_add(endpoint->scep->pki_results[SCEP_BUSY], 1);
        rl_guess_refuse(req, wait);
        return;
    }
    pki_job *job = rl_arena_zalloc(req->arena, sizeof(*job));
    if (!job) {
        rl_http_error(req, 500, "out of memory");
        return;
    }
    *job = (pki_job){.endpoint = endpoint, .message = message, .started = rl_mono_ns()};
    const rl_scep *s = endpoint->scep;
    rl_err err =
        rl_http_work(req, endpoint->profile.id == RL_PROFILE_INTUNE ? s->intune_pool : s->pool, work, done, job);
    if (err == RL_OK)
        return;
    log_client_warn("scep.busy", "profile", endpoint->profile.path, "error", rl_err_name(err), "peer", req->peer);
    job->outcome =
        err == RL_EBUSY
            ? (scep_outcome){.status = 429, .result = SCEP_BUSY, .text = "too many SCEP requests at once, try again\n"}
            : (scep_outcome){.status = 500, .result = SCEP_FAILED, .text = "the server failed, try again"};
    finish(req, endpoint->scep, job);
}

/* RFC 8894 §4.1: base64 in the query. A '+' that was not escaped may have become a space on the way, and lines may
 * have been broken. */
static rl_err decode_message(rl_http_request *req, rl_span *out)
{
    rl_span text = rl_http_query(req, "message");
    uint8_t *clean = text.p ? rl_arena_alloc(req->arena, text.n + 1) : NULL;
    size_t n = 0;
    if (!clean)
        return RL_EBADMSG;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] != '\r' && text.p[i] != '\n' && text.p[i] != '\t')
            clean[n++] = text.p[i] == ' ' ? '+' : text.p[i];
    RL_TRY(rl_base64_decode(rl_span_of(clean, n), false, clean, n, &out->n)); /* in place: never ahead of its input */
    out->p = clean;
    return out->n ? RL_OK : RL_EBADMSG;
}

static void pki_operation_get(rl_http_request *req, scep_endpoint *endpoint)
{
    rl_span message;
    if (decode_message(req, &message) == RL_OK) {
        pki_operation(req, endpoint, message);
        return;
    }
    rl_metric_add(endpoint->scep->pki_results[SCEP_MALFORMED], 1);
    rl_http_error(req, 400, "PKIOperation by GET needs a message parameter in base64");
}

/* ---- operations and routes ---- */
static void get_ca_caps(rl_http_request *req, scep_endpoint *endpoint)
{
    rl_buf caps = {0};
    rl_metric_add(endpoint->scep->caps_answered, 1);
    if (scep_caps(endpoint->scep, &endpoint->profile, &caps) == RL_OK)
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: text/plain\r\n"), rl_buf_span(&caps));
    else
        rl_http_error(req, 500, "out of memory");
    rl_buf_free(&caps);
}

static void get_ca_cert(rl_http_request *req, scep_endpoint *endpoint)
{
    const rl_scep *s = endpoint->scep;
    rl_metric_add(s->cert_answered, 1);
    rl_http_reply(req, 200,
                  s->ca_cert_alone ? RL_SPAN_LIT("Content-Type: application/x-x509-ca-cert\r\n")
                                   : RL_SPAN_LIT("Content-Type: application/x-x509-ca-ra-cert\r\n"),
                  rl_buf_span(&s->ca_cert));
}

/* RFC 8894 §4.7 names no answer for "there is none": it is not found. */
static void get_next_ca_cert(rl_http_request *req, scep_endpoint *endpoint)
{
    const rl_scep *s = endpoint->scep;
    rl_metric_add(scep_has_next_ca(s) ? s->next_answered : s->unknown, 1);
    if (scep_has_next_ca(s))
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/x-x509-next-ca-cert\r\n"),
                      rl_buf_span(&s->next_ca));
    else
        rl_http_error(req, 404, "there is no next CA certificate");
}

/* RFC 8894 §4: the operation is in the query, also of a POST. A GET's other operations may have a message, too, which
 * names a CA: there is one. */
static void handle(rl_http_request *req, void *ctx)
{
    static const struct {
        const char *name;
        void (*answer)(rl_http_request *req, scep_endpoint *endpoint);
    } gets[] = {{"GetCACaps", get_ca_caps},
                {"GetCACert", get_ca_cert},
                {"GetNextCACert", get_next_ca_cert},
                {"PKIOperation", pki_operation_get}};
    scep_endpoint *endpoint = ctx;
    bool post = req->method == RL_HTTP_POST;
    rl_span operation = rl_http_query(req, "operation");
    for (size_t i = 0; !post && i < sizeof(gets) / sizeof(gets[0]); i++)
        if (rl_span_ieq(operation, rl_span_str(gets[i].name))) {
            gets[i].answer(req, endpoint);
            return;
        }
    if (post && rl_span_ieq(operation, RL_SPAN_LIT("PKIOperation"))) {
        pki_operation(req, endpoint, req->body);
        return;
    }
    rl_metric_add(endpoint->scep->unknown, 1);
    rl_http_error(req, 400,
                  post ? "by POST there is only operation=PKIOperation"
                       : "operation must be GetCACaps, GetCACert, GetNextCACert or PKIOperation");
}

size_t rl_scep_routes(rl_scep *s, rl_http_route *routes, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < s->endpoints_n; i++) {
        const scep_profile *p = &s->endpoints[i].profile;
        const char *at[] = {p->path, p->slash_path, p->client_path};
        for (size_t k = 0; !p->est_only && k < sizeof(at) / sizeof(at[0]) && n < cap; k++)
            routes[n++] = (rl_http_route){.methods = RL_HTTP_GET | RL_HTTP_POST,
                                          .path = at[k],
                                          .handler = handle,
                                          .ctx = &s->endpoints[i],
                                          .body_limit = (size_t)s->settings->http.scep_body_limit};
    }
    return n;
}

void rl_scep_each_profile(const rl_scep *s, void (*each)(const char *path, void *ctx), void *ctx)
{
    for (size_t i = 0; i < s->endpoints_n; i++)
        if (!s->endpoints[i].profile.est_only)
            each(s->endpoints[i].profile.path, ctx);
}
