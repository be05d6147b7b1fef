/* OCSP over HTTP (RFC 6960 A.1; caching: RFC 5019 §6, RFC 9111). Handlers run on a worker's loop.
 *
 * The way of a request: body or path → parser → cache → reply. A hit allocates nothing and sends the entry's own
 * octets, with one header line in front. A miss becomes a job in the same arena, which the work pool runs;
 * back on the loop the answer is sent only if it is still current, else the job runs again.
 * Every OCSP error is HTTP 200 with an unsigned response, as RFC 6960 has it: HTTP errors are for HTTP. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ocsp/ocsp_priv.h"

/* A certificate would have to change that often while its answer is signed. */
enum { ATTEMPTS_MAX = 16 };

#define CACHE_CONTROL_BEFORE "Cache-Control: max-age="
#define CACHE_CONTROL_AFTER  ",public,no-transform,must-revalidate\r\n"

static bool run_job(rl_http_request *req, void *job);
static void job_done(rl_http_request *req, void *job);

/* ---- replies ---- */
static void reply_error(rl_http_request *req, rl_ocsp *o, ocsp_response_status status)
{
    static const ocsp_outcome outcomes[] = {[OCSP_MALFORMED_REQUEST] = OCSP_OUTCOME_MALFORMED,
                                            [OCSP_INTERNAL_ERROR] = OCSP_OUTCOME_INTERNAL,
                                            [OCSP_TRY_LATER] = OCSP_OUTCOME_TRY_LATER,
                                            [OCSP_UNAUTHORIZED] = OCSP_OUTCOME_UNAUTHORIZED};
    rl_metric_add(o->responses[outcomes[status]], 1);
    rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/ocsp-response\r\nCache-Control: no-store\r\n"),
                  ocsp_error_response(status));
}

/* RFC 5019 §6.2: max-age counts from now to nextUpdate. */
static size_t cache_control(int64_t left, char line[RL_HTTP_LINES_MAX])
{
    char *at = line, digits[20];
    size_t first = sizeof(digits);
    uint64_t v = left > 0 ? (uint64_t)left : 0;
    do
        digits[--first] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    at = mempcpy(at, CACHE_CONTROL_BEFORE, sizeof(CACHE_CONTROL_BEFORE) - 1);
    at = mempcpy(at, digits + first, sizeof(digits) - first);
    at = mempcpy(at, CACHE_CONTROL_AFTER, sizeof(CACHE_CONTROL_AFTER) - 1);
    return (size_t)(at - line);
}

/* If-None-Match (RFC 9110 §13.1.2), a list on one line or several (§5.3). A plain search finds a tag in it, weak or
 * not; an asterisk is for any. */
static bool names_tag(const rl_http_request *req, rl_span tag, bool *asked)
{
    bool named = false;
    for (size_t i = 0; i < req->headers_n; i++) {
        rl_span tags = req->headers[i].value;
        if (!rl_span_ieq(req->headers[i].name, RL_SPAN_LIT("If-None-Match")))
            continue;
        *asked = true;
        named |= rl_span_eq(tags, RL_SPAN_LIT("*")) || (tags.n && memmem(tags.p, tags.n, tag.p, tag.n) != NULL);
    }
    return named;
}

/* A date is the client's answer's own (Last-Modified). A later one tells nothing: the clock may have been set back
 * between that answer and this. */
bool ocsp_client_has(const rl_http_request *req, rl_span tag, int64_t modified)
{
    char text[RL_TIME_TEXT] = {0};
    int64_t since;
    bool asked = false;
    if (req->method == RL_HTTP_POST)
        return false;
    bool named = names_tag(req, tag, &asked);
    if (asked)
        return named;
    rl_span date = rl_http_header(req, "If-Modified-Since");
    if (date.n == 0 || date.n >= sizeof(text))
        return false;
    memcpy(text, date.p, date.n);
    return rl_time_parse_http(text, &since) == RL_OK && modified == since;
}

/* With the caller's reference. */
static void share_entry(ocsp_entry *entry, int64_t now, bool for_caches, rl_http_shared *out)
{
    out->lines_n = for_caches ? cache_control(entry->next_update - now, out->lines) : 0;
    out->message = ocsp_entry_message(entry);
    out->tail = entry->certs;
    out->body_n = entry->body.n + entry->certs.n;
    out->release = ocsp_entry_drop;
    out->owner = entry;
}

/* RFC 9110 §8.8.2.2: a date of whole seconds tells answers apart only when there are no two of one second that differ.
 * An answer about several certificates, made for this request, has none. */
static int64_t modified(const rl_http_request *req, rl_ocsp *o, const ocsp_entry *entry, const rl_cert_id *cert)
{
    bool alone = cert && req->method != RL_HTTP_POST && rl_http_header(req, "If-Modified-Since").p &&
                 ocsp_cache_unchanged_since(o->context.cache, cert, entry->this_update);
    return alone ? entry->this_update : INT64_MAX;
}

/* Sends and gives up the caller's reference. `cert`: the one certificate that it is about, or NULL. */
static void reply_entry(rl_http_request *req, rl_ocsp *o, ocsp_entry *entry, const rl_cert_id *cert, int64_t now,
                        bool for_caches)
{
    rl_http_shared shared;
    int status = for_caches && ocsp_client_has(req, ocsp_entry_tag(entry), modified(req, o, entry, cert)) ? 304 : 200;
    rl_metric_add(o->responses[entry->outcome], 1);
    share_entry(entry, now, for_caches, &shared);
    rl_http_reply_shared(req, status, &shared);
}

/* ---- the miss path's two ends ---- */
static ocsp_job *make_job(rl_http_request *req, rl_ocsp *o, const ocsp_request *request, rl_span nonce)
{
    ocsp_job *job = rl_arena_zalloc(req->arena, ocsp_job_size(request->ids_n));
    if (!job)
        return NULL;
    job->context = &o->context;
    job->nonce = nonce;
    job->n = request->ids_n;
    for (size_t i = 0; i < job->n; i++)
        ocsp_question_set(&job->questions[i], o->context.ca, &request->ids[i]);
    return job;
}

static rl_ocsp *ocsp_of(const ocsp_job *job)
{
    return (rl_ocsp *)((char *)job->context - offsetof(rl_ocsp, context));
}

/* The job's flight has ended: those who joined it have its answer. */
static void finish_joined(rl_ocsp *o, ocsp_job *job)
{
    for (ocsp_job *j = ocsp_flights_end(&o->flights, job), *next; j; j = next) {
        next = j->next;
        rl_metric_add(o->joined, 1);
        rl_http_work_finish(j->owner);
    }
}

/* While a request waited its answer may have been made for another. */
static bool run_job(rl_http_request *req, void *arg)
{
    ocsp_job *job = arg;
    rl_ocsp *o = ocsp_of(job);
    if (!job->cacheable) {
        ocsp_job_run(job);
        return true;
    }
    job->owner = req;
    if (!ocsp_flights_begin(&o->flights, job, true))
        return false;
    if (!ocsp_job_find(job))
        ocsp_job_run(job);
    finish_joined(o, job);
    return true;
}

static void start_job(rl_http_request *req, rl_ocsp *o, ocsp_job *job)
{
    rl_err err = job->attempts++ < ATTEMPTS_MAX ? rl_http_work(req, o->pool, run_job, job_done, job) : RL_EBUSY;
    if (err != RL_OK)
        reply_error(req, o, err == RL_EBUSY ? OCSP_TRY_LATER : OCSP_INTERNAL_ERROR);
}

/* Its time may have ended while it was waited for: then it was joined, or signed in the last moment. */
static bool has_ended(const ocsp_entry *entry)
{
    int64_t now = rl_wall_s();
    return entry->this_update < now && entry->next_update <= now;
}

static void job_done(rl_http_request *req, void *arg)
{
    ocsp_job *job = arg;
    rl_ocsp *o = ocsp_of(job);
    if (!job->entry) {
        reply_error(req, o, job->failure);
    } else if (!ocsp_job_is_current(job) || has_ended(job->entry)) {
        ocsp_entry_drop(job->entry);
        start_job(req, o, job);
    } else {
        reply_entry(req, o, job->entry, job->cacheable ? &job->questions[0].cert : NULL, rl_wall_s(),
                    job->nonce.p == NULL);
    }
}

/* ---- wanted answers that end soon ---- */
typedef struct refresh {
    rl_http_aside aside; /* first */
    rl_ocsp *o;
    ocsp_entry *old;
} refresh;

/* The job for what the old answer was asked for; `whole` is the answer. */
static bool ask_again(rl_ocsp *o, rl_span whole, ocsp_job *job)
{
    ocsp_cert_id id;
    if (ocsp_response_cert_id(whole, &id) != RL_OK)
        return false;
    job->context = &o->context;
    job->cacheable = true;
    job->n = 1;
    ocsp_question_set(&job->questions[0], o->context.ca, &id);
    if (!job->questions[0].can_exist)
        return false;
    ocsp_question_key(&job->questions[0], &id, &job->key);
    return true;
}

/* On the pool. Who asks meanwhile has the old answer. */
static void sign_again(rl_ocsp *o, const ocsp_entry *old)
{
    _Alignas(ocsp_job) uint8_t memory[sizeof(ocsp_job) + sizeof(ocsp_question)] = {0};
    ocsp_job *job = (void *)memory;
    rl_buf whole = {0};
    if (rl_buf_append(&whole, old->body.p, old->body.n) == RL_OK &&
        rl_buf_append(&whole, old->certs.p, old->certs.n) == RL_OK && ask_again(o, rl_buf_span(&whole), job) &&
        ocsp_flights_begin(&o->flights, job, false)) {
        ocsp_job_run(job);
        rl_metric_add(o->refreshed, job->entry != NULL);
        finish_joined(o, job);
        ocsp_entry_drop(job->entry);
    }
    rl_buf_free(&whole);
}

static void run_refresh(rl_http_aside *aside, bool stopping)
{
    refresh *r = (refresh *)aside;
    if (!stopping)
        sign_again(r->o, r->old);
    ocsp_entry_drop(r->old);
    free(r);
}

/* With too many of them waiting it stays undone: then the answer ends and is signed for whoever asks next. */
static void start_refresh(rl_ocsp *o, ocsp_entry *entry)
{
    refresh *r = malloc(sizeof(*r));
    if (!r)
        return;
    *r = (refresh){.aside.run = run_refresh, .o = o, .old = ocsp_entry_ref(entry)};
    if (rl_http_pool_aside(o->pool, &r->aside) != RL_OK)
        run_refresh(&r->aside, true);
}

/* ---- requests ---- */
/* RFC 6960 §2.3, RFC 5019 §2.2.3: about another's certificates there is nothing authoritative to say. */
static void reply_not_ours(rl_http_request *req, rl_ocsp *o)
{
    reply_error(req, o, OCSP_UNAUTHORIZED);
}

/* From the cache, or as a cacheable job. */
static void answer_one(rl_http_request *req, rl_ocsp *o, const ocsp_request *request)
{
    ocsp_question q;
    ocsp_key key;
    ocsp_question_set(&q, o->context.ca, &request->ids[0]);
    if (!q.ours) {
        reply_not_ours(req, o);
        return;
    }
    if (q.can_exist) {
        int64_t now = rl_wall_s();
        ocsp_question_key(&q, &request->ids[0], &key);
        bool due;
        ocsp_entry *entry = ocsp_cache_get(o->context.cache, &key, now, &due);
        if (entry) {
            if (due)
                start_refresh(o, entry);
            rl_metric_add(o->hits, 1);
            reply_entry(req, o, entry, &q.cert, now, true);
            return;
        }
        rl_metric_add(o->misses, 1);
    }
    ocsp_job *job = make_job(req, o, request, (rl_span){0});
    if (!job) {
        reply_error(req, o, OCSP_INTERNAL_ERROR);
        return;
    }
    job->cacheable = q.can_exist;
    if (job->cacheable)
        job->key = key;
    start_job(req, o, job);
}

static bool any_is_ours(const rl_ca *ca, const ocsp_request *request)
{
    ocsp_question q = {.ours = false};
    for (size_t i = 0; i < request->ids_n && !q.ours; i++)
        ocsp_question_set(&q, ca, &request->ids[i]);
    return q.ours;
}

static void answer(rl_http_request *req, rl_ocsp *o, rl_span der)
{
    ocsp_request request;
    rl_err err = ocsp_request_parse(der, (size_t)o->context.settings->ocsp.max_cert_ids, &request);
    if (err != RL_OK) {
        log_client_info("ocsp.malformed", "peer", req->peer, "octets", der.n, "why", rl_err_name(err));
        reply_error(req, o, OCSP_MALFORMED_REQUEST);
        return;
    }
    bool echo = request.nonce.p && o->context.settings->ocsp.nonce == RL_NONCE_ECHO;
    if (request.ids_n == 1 && !echo) {
        answer_one(req, o, &request);
        return;
    }
    if (!any_is_ours(o->context.ca, &request)) {
        reply_not_ours(req, o);
        return;
    }
    ocsp_job *job = make_job(req, o, &request, echo ? request.nonce : (rl_span){0});
    if (job)
        start_job(req, o, job);
    else
        reply_error(req, o, OCSP_INTERNAL_ERROR);
}

/* ---- looking up ahead ---- */
enum { LOOK_PATH_MAX = 1024 }; /* one CertID takes a quarter of it */

typedef struct note {
    ocsp_key key;
    uint64_t at;
} note;
_Static_assert(sizeof(note) <= RL_HTTP_NOTE_MAX, "a note has that much room");

static ocsp_familiar *familiar(rl_ocsp *o)
{
    return &o->familiar[rl_http_worker_index()];
}

static bool read_whole(rl_ocsp *o, rl_span der, unsigned kind, ocsp_key *key)
{
    ocsp_request request;
    ocsp_question q;
    const rl_settings *s = o->context.settings;
    if (ocsp_request_parse(der, (size_t)s->ocsp.max_cert_ids, &request) != RL_OK || request.ids_n != 1 ||
        (request.nonce.p && s->ocsp.nonce == RL_NONCE_ECHO))
        return false;
    ocsp_question_set(&q, o->context.ca, &request.ids[0]);
    if (!q.ours || !q.can_exist)
        return false;
    ocsp_question_key(&q, &request.ids[0], key);
    if (ocsp_request_frame_set(&familiar(o)->frames[kind], der, &request))
        familiar(o)->keys[kind] = *key;
    return true;
}

static bool look(rl_ocsp *o, rl_span der, note *n)
{
    unsigned kind = der.n % OCSP_FAMILIAR;
    rl_span contents;
    rl_serial serial;
    if (ocsp_request_in_frame(&familiar(o)->frames[kind], der, &contents) &&
        rl_serial_from_der(contents, &serial) == RL_OK) {
        n->key = familiar(o)->keys[kind];
        n->key.serial_n = serial.n;
        memset(n->key.serial, 0, sizeof(n->key.serial));
        memcpy(n->key.serial, serial.b, serial.n);
    } else if (!read_whole(o, der, kind, &n->key)) {
        return false;
    }
    n->at = ocsp_cache_look(o->context.cache, &n->key);
    return true;
}

static void fetch(void *arg, void *ctx)
{
    const rl_ocsp *o = ctx;
    const note *n = arg;
    ocsp_cache_fetch(o->context.cache, n->at);
}

static bool find(const void *arg, rl_http_shared *found, void *ctx)
{
    rl_ocsp *o = ctx;
    const note *n = arg;
    int64_t now = rl_wall_s();
    bool due;
    ocsp_entry *entry = ocsp_cache_get_at(o->context.cache, n->at, &n->key, now, &due);
    if (!entry)
        return false;
    if (due)
        start_refresh(o, entry);
    rl_metric_add(o->hits, 1);
    rl_metric_add(o->responses[entry->outcome], 1);
    share_entry(entry, now, true, found);
    return true;
}

static bool look_post(rl_http_request *req, void *n, void *ctx)
{
    return look(ctx, req->body, n);
}

/* The media type is not asked for: where POST is OCSP's, the body is a request or malformed. */
void ocsp_handle_post(rl_http_request *req, void *ctx)
{
    answer(req, ctx, req->body);
}

/* The path behind the route in DER, in the arena; .p == NULL when it does not decode. */
static rl_span decode_path(rl_http_request *req)
{
    rl_span der = {0};
    uint8_t *memory = rl_arena_alloc(req->arena, req->rest.n);
    if (!memory || ocsp_get_decode(req->rest, memory, req->rest.n, &der) != RL_OK)
        return (rl_span){0};
    return der;
}

/* Into `memory`, by the third character's place in the alphabet, where the request's length is. */
static bool decode_familiar(rl_ocsp *o, rl_span path, uint8_t memory[LOOK_PATH_MAX], rl_span *der)
{
    if (path.n < 3 || path.n > LOOK_PATH_MAX)
        return false;
    ocsp_path_start *start = &familiar(o)->starts[(path.p[2] >> 2) % OCSP_FAMILIAR];
    if (ocsp_get_decode_from(start, path, memory, LOOK_PATH_MAX, der))
        return true;
    if (ocsp_get_decode(path, memory, LOOK_PATH_MAX, der) != RL_OK)
        return false;
    ocsp_path_start_set(start, path, *der, familiar(o)->frames[der->n % OCSP_FAMILIAR].before_n);
    return true;
}

/* Not what may be answered with 304. The note is all that is left of the path. */
static bool look_get(rl_http_request *req, void *n, void *ctx)
{
    uint8_t memory[LOOK_PATH_MAX];
    rl_span der;
    return !rl_http_header(req, "If-None-Match").p && !rl_http_header(req, "If-Modified-Since").p &&
           decode_familiar(ctx, req->rest, memory, &der) && look(ctx, der, n);
}

const rl_http_lookup ocsp_lookup_post = {look_post, fetch, find}, ocsp_lookup_get = {look_get, fetch, find};

/* What does not decode is an empty request: malformedRequest. */
void ocsp_handle_get(rl_http_request *req, void *ctx)
{
    answer(req, ctx, decode_path(req));
}

/* By its media type, with or without parameters (RFC 9110 §8.3.1), or since it reads as one: some clients name none. */
static bool is_request(const rl_http_request *req)
{
    const rl_span type = RL_SPAN_LIT("application/ocsp-request");
    rl_span said = rl_http_header(req, "Content-Type");
    ocsp_request parsed;
    return (said.n >= type.n && rl_span_ieq(rl_span_of(said.p, type.n), type)) ||
           ocsp_request_parse(req->body, OCSP_CERT_IDS_MAX, &parsed) == RL_OK;
}

void ocsp_handle_root(rl_http_request *req, void *ctx)
{
    rl_span der = {0};
    if (req->method == RL_HTTP_GET || req->method == RL_HTTP_HEAD)
        der = decode_path(req);
    else if (req->method == RL_HTTP_POST && is_request(req))
        der = req->body;
    if (der.n && der.p[0] == 0x30) /* a DER SEQUENCE */
        answer(req, ctx, der);
    else
        rl_http_error(req, 404, "not found");
}
