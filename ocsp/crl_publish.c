/* The lists' thread, and how they are served.
 *
 * The store's events tell whose list is out of date, and wake the thread: it makes that list anew at once, but not
 * within REVLINE_CRL_INTERVAL of when it last looked, so that many changes make few lists. Each list besides at half of
 * its validity, whatever the interval: the clock, which may be set, or go on while the machine sleeps, is looked at
 * every second. A list is one reference-counted piece of memory; readers take a reference under the lock, which is
 * never held while a list is made. */
#include "ocsp/crl_publish.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "ocsp/crl_build.h"
#include "ocsp/crl_delta.h"
#include "ocsp/ocsp_priv.h"

enum { HEAD_MAX = 256, TAG_MAX = 2 * 32 + 3, LOOK_MS = 1000, RETRY_MAX_MS = 10 * 1000, SLOW_CLOCK_S = 10 * 60 };

#define NEXT_UPDATE_HELP                                                                                               \
    "End of the issuing CA's revocation list, and with a label of another issuer's, ours or not, Unix time."

typedef struct published {
    atomic_uint refs;
    uint64_t number;
    size_t entries;
    int64_t made_at, this_update, next_update;
    int64_t modified; /* made_at, unless the list before has the same: then INT64_MAX */
    char tag[TAG_MAX];
    char head[HEAD_MAX]; /* header lines and the empty line */
    rl_buf der;
} published;

/* What an issuer's deltas start from. The thread's own. */
struct base {
    uint64_t number; /* 0: none yet */
    int64_t made_at, next_update;
    ocsp_crl_changes changes; /* since then */
};

struct rl_crls {
    rl_store *store;
    const rl_ca *ca;
    const rl_settings *settings;
    rl_metric *made;
    pthread_t thread;
    bool running;
    bool failed[RL_CA_ISSUERS_MAX]; /* the thread's: the last try did, and the log has it */
    struct base bases[RL_CA_ISSUERS_MAX];
    pthread_mutex_t lock; /* the rest */
    pthread_cond_t wake;
    bool stopping;
    bool due[RL_CA_ISSUERS_MAX], any_due;  /* by issuer number, from 1: a certificate has changed */
    published *current[RL_CA_ISSUERS_MAX]; /* by issuer number, from 1 */
    published *deltas[RL_CA_ISSUERS_MAX];  /* with the number of the current one */
};

static void drop(void *owner)
{
    published *p = owner;
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) {
        rl_buf_free(&p->der);
        free(p);
    }
}

static published *take(rl_crls *c, published *const *of)
{
    pthread_mutex_lock(&c->lock);
    published *p = *of;
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    return p;
}

/* Both at once: who has one may have the other. */
static void swap(rl_crls *c, rl_issuer_id issuer, published *p, published *delta)
{
    pthread_mutex_lock(&c->lock);
    published *old = c->current[issuer - 1], *old_delta = c->deltas[issuer - 1];
    c->current[issuer - 1] = p;
    c->deltas[issuer - 1] = delta;
    pthread_mutex_unlock(&c->lock);
    drop(old);
    drop(old_delta);
}

/* ---- making one ---- */
struct next_number {
    rl_issuer_id issuer;
    uint64_t number;
};

static rl_err count_up(rl_store_txn *t, void *arg, rl_error *e)
{
    struct next_number *next = arg;
    rl_issuer_record r;
    rl_err err = rl_txn_issuer(t, next->issuer, &r);
    if (err == RL_OK) {
        next->number = ++r.crl_number;
        err = rl_txn_put_issuer(t, next->issuer, &r);
        rl_issuer_clear(&r);
    }
    return err == RL_OK ? RL_OK : rl_fail(e, err, "crl", "the list's number cannot be kept");
}

struct gathering {
    rl_store *store;
    const rl_settings *settings;
    int64_t now;
    rl_buf entries;
    size_t n;
    int64_t expired_before; /* Unix seconds */
    rl_err err;
};

/* RFC 5280 §5: an entry stays until it has been on one list that was made after the certificate's end. */
static bool gather(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx)
{
    struct gathering *g = ctx;
    rl_cert_status status;
    if (rl_store_cert_status(g->store, id, &status) == RL_OK && status.not_after != 0 &&
        status.not_after < g->expired_before)
        return true;
    g->n++;
    g->err = ocsp_crl_entry(&g->entries, id, ocsp_revoked_at(g->settings, revoked_at, g->now), reason);
    return g->err == RL_OK;
}

/* nextUpdate lies no later than the issuer's own end. */
static int64_t next_update(const rl_settings *s, const rl_issuer *issuer, int64_t now)
{
    int64_t next = now + s->crl.validity / 1000, end;
    return rl_x509_time(X509_get0_notAfter(issuer->cert), &end) == RL_OK && end < next ? end : next;
}

/* thisUpdate is some minutes back, as with other CAs whose lists are made often: a client whose clock is slow, OpenSSL
 * for one, takes no certificate at all while the list it has just fetched is of the future. */
static int64_t this_update(const rl_settings *s, int64_t made_at)
{
    int64_t skew = s->ca.clock_skew / 1000;
    return made_at - (skew < SLOW_CLOCK_S ? skew : SLOW_CLOCK_S);
}

/* Where the issuer's delta is, in lists of a CA whose certificates name where these are. */
static const char *delta_url(const rl_settings *s, const rl_issuer *issuer, char url[OCSP_CRL_URL_MAX + 1])
{
    int n = snprintf(url, OCSP_CRL_URL_MAX + 1, "%s/crl/%u/delta.crl", s->http.base_url, issuer->id);
    return s->crl.distribution_point && n > 0 && n <= OCSP_CRL_URL_MAX ? url : NULL;
}

static rl_err make(rl_store *store, const rl_settings *s, const rl_issuer *issuer, published *p, rl_error *e)
{
    const int64_t now = rl_wall_s();
    char url[OCSP_CRL_URL_MAX + 1];
    struct next_number next = {.issuer = issuer->id};
    struct gathering g = {
        .store = store, .settings = s, .now = now, .expired_before = now - 2 * (s->crl.validity / 1000)};
    p->made_at = now;
    p->this_update = this_update(s, now);
    p->next_update = next_update(s, issuer, now);
    if (p->next_update <= now)
        return rl_fail(e, RL_EDENIED, "crl", "the CA certificate has expired");
    rl_err err = rl_store_each_revoked(store, issuer->id, gather, &g);
    if (err == RL_OK)
        err = g.err;
    if (err != RL_OK)
        rl_fail(e, err, "crl", "the revoked certificates cannot be read: %s", rl_err_name(err));
    if (err == RL_OK)
        err = rl_store_run(store, count_up, &next, e);
    if (err == RL_OK) {
        const ocsp_crl_fields fields = {.number = next.number,
                                        .this_update = p->this_update,
                                        .next_update = p->next_update,
                                        .entries = rl_buf_span(&g.entries),
                                        .freshest = delta_url(s, issuer, url)};
        err = ocsp_crl_build(issuer, &fields, &p->der, e);
    }
    p->number = next.number;
    p->entries = g.n;
    rl_buf_free(&g.entries);
    return err;
}

rl_err rl_crls_make(rl_store *store, const rl_settings *s, const rl_issuer *issuer, rl_buf *out, rl_error *e)
{
    published p = {0};
    rl_err err = make(store, s, issuer, &p, e);
    if (err == RL_OK && rl_buf_append(out, p.der.p, p.der.n) != RL_OK)
        err = rl_fail(e, RL_ENOMEM, "crl", "out of memory");
    rl_buf_free(&p.der);
    return err;
}

/* ---- the delta ---- */
static bool base_is_due(const struct base *b, const published *before, int64_t now)
{
    return !before || !b->number || now < b->made_at || now >= b->made_at + (b->next_update - b->made_at) / 2;
}

/* Brings the base up to the list that follows `before` (NULL: it is the first), or begins a new one with it: at half of
 * the old one's validity, and when a delta would be long. */
static rl_err follow(struct base *b, const published *before, const published *p)
{
    rl_span old, new;
    rl_err err = RL_ERANGE;
    if (!base_is_due(b, before, p->made_at)) {
        RL_TRY(ocsp_crl_entries(rl_buf_span(&before->der), &old));
        RL_TRY(ocsp_crl_entries(rl_buf_span(&p->der), &new));
        err = ocsp_crl_changes_add(&b->changes, old, new);
    }
    if (err == RL_ERANGE) {
        ocsp_crl_changes_free(&b->changes);
        *b = (struct base){.number = p->number, .made_at = p->made_at, .next_update = p->next_update};
        err = RL_OK;
    }
    return err;
}

/* RFC 5280 §5.2.4: with the number and the times of the complete list of the same moment. */
static rl_err make_delta(const rl_issuer *issuer, struct base *b, const published *before, const published *p,
                         published *delta, rl_error *e)
{
    rl_span complete;
    rl_buf entries = {0};
    rl_err err = follow(b, before, p);
    if (err == RL_OK)
        err = ocsp_crl_entries(rl_buf_span(&p->der), &complete);
    if (err == RL_OK)
        err = ocsp_crl_delta_entries(&b->changes, complete, p->made_at, &entries);
    if (err != RL_OK)
        rl_fail(e, err, "crl", "what has changed since list %llu cannot be told: %s", (unsigned long long)b->number,
                rl_err_name(err));
    const ocsp_crl_fields fields = {.number = p->number,
                                    .this_update = p->this_update,
                                    .next_update = p->next_update,
                                    .entries = rl_buf_span(&entries),
                                    .base = b->number};
    if (err == RL_OK)
        err = ocsp_crl_build(issuer, &fields, &delta->der, e);
    delta->number = p->number;
    delta->made_at = p->made_at;
    delta->next_update = p->next_update;
    delta->entries = b->changes.n;
    rl_buf_free(&entries);
    return err;
}

/* ---- the thread ---- */
/* The tag is of the octets: in a data folder that was copied back, or made anew, numbers come again. */
static rl_err describe(published *p, const published *before, rl_error *e)
{
    char modified[RL_TIME_TEXT], expires[RL_TIME_TEXT], digest_text[2 * 32 + 1];
    uint8_t digest[RL_HASH_MAX];
    if (rl_hash_digest(RL_SHA256, rl_buf_span(&p->der), digest) != RL_OK ||
        rl_hex(rl_span_of(digest, 32), digest_text, sizeof(digest_text)) != RL_OK)
        return rl_fail_openssl(e, "crl", "the list's hash cannot be made");
    rl_time_http(p->made_at, modified);
    rl_time_http(p->next_update, expires);
    atomic_init(&p->refs, 1);
    p->modified = before && before->made_at == p->made_at ? INT64_MAX : p->made_at;
    snprintf(p->tag, sizeof(p->tag), "\"%s\"", digest_text);
    snprintf(p->head, sizeof(p->head),
             "ETag: %s\r\nContent-Type: application/pkix-crl\r\nLast-Modified: %s\r\nExpires: %s\r\n\r\n", p->tag,
             modified, expires);
    return RL_OK;
}

static void discard(published *p)
{
    if (p)
        rl_buf_free(&p->der);
    free(p);
}

/* Of an issuer before the last rollover; the issuing one's has no label. */
static void show_end(const rl_crls *c, const rl_issuer *issuer, int64_t next_update)
{
    char label[32];
    if (issuer == rl_ca_issuer(c->ca))
        return;
    snprintf(label, sizeof(label), "issuer=\"%u\"", issuer->id);
    rl_metric_set(rl_gauge("revline_crl_next_update_seconds", label, NEXT_UPDATE_HELP), next_update);
}

static void publish(rl_crls *c, const rl_issuer *issuer)
{
    const size_t i = issuer->id - 1;
    const published *before = c->current[i]; /* only this thread writes it */
    uint64_t began = rl_mono_ms();
    rl_error e = {0};
    published *p = calloc(1, sizeof(*p)), *delta = calloc(1, sizeof(*delta));
    rl_err err =
        p && delta ? make(c->store, c->settings, issuer, p, &e) : rl_fail(&e, RL_ENOMEM, "crl", "out of memory");
    if (err == RL_OK)
        err = make_delta(issuer, &c->bases[i], before, p, delta, &e);
    if (err == RL_OK)
        err = describe(p, before, &e);
    if (err == RL_OK)
        err = describe(delta, before, &e);
    if (err != RL_OK) {
        if (!c->failed[i])
            log_error("crl.failed", "issuer", issuer->id, "error", e.message);
        c->failed[i] = true;
        discard(p);
        discard(delta);
        return;
    }
    log_info("crl.published", "issuer", issuer->id, "number", p->number, "entries", p->entries, "octets", p->der.n,
             "next_update", p->next_update, "base", c->bases[i].number, "changed", delta->entries, "ms",
             rl_mono_ms() - began);
    rl_metric_add(c->made, 1);
    c->failed[i] = false;
    show_end(c, issuer, p->next_update);
    swap(c, issuer->id, p, delta);
}

/* Writer thread. */
static void on_change(const rl_store_event *events, size_t n, void *ctx)
{
    rl_crls *c = ctx;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < n; i++) {
        const rl_store_event *v = &events[i];
        bool listed = v->from != RL_STATUS_GOOD || v->to != RL_STATUS_GOOD; /* it may be revoked as it is issued */
        if (listed && !v->lost && v->cert.issuer >= 1 && v->cert.issuer <= RL_CA_ISSUERS_MAX)
            c->due[v->cert.issuer - 1] = c->any_due = true;
    }
    if (c->any_due)
        pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

/* At half of its validity, or from a time that is yet to come, since the clock was set back. */
static bool is_old(const published *p, int64_t now)
{
    return now < p->made_at || now >= p->made_at + (p->next_update - p->made_at + 1) / 2;
}

/* Takes the mark before the list is made: what changes meanwhile is for the next one. */
static bool take_due(rl_crls *c, rl_issuer_id issuer, int64_t now)
{
    const published *p = c->current[issuer - 1]; /* only this thread writes it */
    pthread_mutex_lock(&c->lock);
    bool due = c->due[issuer - 1];
    c->due[issuer - 1] = false;
    pthread_mutex_unlock(&c->lock);
    return due || !p || c->failed[issuer - 1] || is_old(p, now);
}

static void make_due(rl_crls *c)
{
    pthread_mutex_lock(&c->lock);
    c->any_due = false;
    pthread_mutex_unlock(&c->lock);
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(c->ca); id++)
        if (rl_ca_by_id(c->ca, id)->signer && take_due(c, id, rl_wall_s()))
            publish(c, rl_ca_by_id(c->ca, id));
}

static struct timespec in_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Whether a list is to be made anew at once, and whether one that could not be made waits for another try. */
static bool any_is_old(const rl_crls *c, bool *failed)
{
    const int64_t now = rl_wall_s();
    bool old = false;
    *failed = false;
    for (size_t i = 0; i < RL_CA_ISSUERS_MAX; i++) {
        const published *p = c->current[i]; /* only this thread writes it */
        *failed |= c->failed[i];
        old |= p && !c->failed[i] && is_old(p, now);
    }
    return old;
}

/* False when stopping. A change waits for the interval, another try at most for RETRY_MAX_MS. */
static bool wait_for_next_look(rl_crls *c)
{
    const int64_t interval = c->settings->crl.interval, retry = interval < RETRY_MAX_MS ? interval : RETRY_MAX_MS;
    const uint64_t began = rl_mono_ms();
    bool failed;
    pthread_mutex_lock(&c->lock);
    while (!c->stopping && !any_is_old(c, &failed)) {
        const int64_t since = (int64_t)(rl_mono_ms() - began), left = (failed ? retry : interval) - since;
        if (left <= 0 && (failed || c->any_due))
            break;
        const struct timespec until = in_ms(left > 0 && left < LOOK_MS ? left : LOOK_MS);
        pthread_cond_timedwait(&c->wake, &c->lock, &until);
    }
    bool go_on = !c->stopping;
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

static void *look_after(void *arg)
{
    rl_crls *c = arg;
    pthread_setname_np(pthread_self(), "revline-crl");
    do
        make_due(c);
    while (wait_for_next_look(c));
    return NULL;
}

static int64_t end_of_current(void *ctx)
{
    rl_crls *c = ctx;
    published *p = take(c, &c->current[rl_ca_issuer(c->ca)->id - 1]);
    int64_t end = p ? p->next_update : 0;
    drop(p);
    return end;
}

rl_err rl_crls_open(rl_store *store, const rl_ca *ca, const rl_settings *s, rl_crls **out, rl_error *e)
{
    pthread_condattr_t monotonic;
    rl_crls *c = calloc(1, sizeof(*c));
    if (!c)
        return rl_fail(e, RL_ENOMEM, "crl", "out of memory");
    c->store = store;
    c->ca = ca;
    c->settings = s;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->made = rl_counter("revline_crl_published_total", "", "Revocation lists made.");
    rl_gauge_fn("revline_crl_next_update_seconds", "", NEXT_UPDATE_HELP, end_of_current, c);
    /* Before the first lists are made, so that no change falls between. */
    bool told = rl_store_subscribe(store, on_change, c) == RL_OK;
    c->running = told && pthread_create(&c->thread, NULL, look_after, c) == 0;
    if (!c->running) {
        rl_crls_close(c);
        return rl_fail(e, RL_EIO, "crl", "the revocation lists' thread cannot be started");
    }
    *out = c;
    return RL_OK;
}

void rl_crls_close(rl_crls *c)
{
    if (!c)
        return;
    rl_store_unsubscribe(c->store, on_change, c);
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (c->running)
        pthread_join(c->thread, NULL);
    rl_gauge_fn_drop(c);
    for (size_t i = 0; i < RL_CA_ISSUERS_MAX; i++) {
        drop(c->current[i]);
        drop(c->deltas[i]);
        ocsp_crl_changes_free(&c->bases[i].changes);
    }
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- for others ---- */
rl_err rl_crls_current(rl_crls *c, rl_issuer_id issuer, rl_buf *out)
{
    const rl_issuer *i = rl_ca_by_id(c->ca, issuer);
    if (!i || !i->signer)
        return RL_ENOTFOUND;
    published *p = take(c, &c->current[issuer - 1]);
    if (!p)
        return RL_EBUSY;
    rl_err err = rl_buf_append(out, p->der.p, p->der.n);
    drop(p);
    return err;
}

/* max-age is an interval, not the rest of the validity: who asks again gets what has been revoked meanwhile. */
static void reply_list(rl_http_request *req, rl_crls *c, published *const *of)
{
    rl_http_shared shared = {.release = drop};
    published *p = take(c, of);
    if (!p) {
        rl_http_reply(req, 503, RL_SPAN_LIT("Content-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"),
                      RL_SPAN_LIT("the revocation list is being made\n"));
        return;
    }
    int64_t left = p->next_update - rl_wall_s(), age = (c->settings->crl.interval + 999) / 1000;
    shared.lines_n = (size_t)snprintf(shared.lines, sizeof(shared.lines), "Cache-Control: max-age=%lld,public\r\n",
                                      (long long)(left < 0     ? 0
                                                  : left < age ? left
                                                               : age));
    shared.message = rl_span_str(p->head);
    shared.tail = rl_buf_span(&p->der);
    shared.body_n = p->der.n;
    shared.owner = p;
    rl_http_reply_shared(req, ocsp_client_has(req, rl_span_str(p->tag), p->modified) ? 304 : 200, &shared);
}

static void handle_current(rl_http_request *req, void *ctx)
{
    rl_crls *c = ctx;
    reply_list(req, c, &c->current[rl_ca_issuer(c->ca)->id - 1]);
}

static void handle_issuer(rl_http_request *req, void *ctx)
{
    rl_crls *c = ctx;
    const rl_issuer *complete = rl_ca_own_by_file(c->ca, req->rest, RL_SPAN_LIT(".crl"));
    const rl_issuer *delta = rl_ca_own_by_file(c->ca, req->rest, RL_SPAN_LIT("/delta.crl"));
    if (complete)
        reply_list(req, c, &c->current[complete->id - 1]);
    else if (delta)
        reply_list(req, c, &c->deltas[delta->id - 1]);
    else
        rl_http_error(req, 404, "no such revocation list");
}

size_t rl_crls_routes(rl_crls *c, rl_http_route *routes, size_t cap)
{
    const rl_http_route own[] = {{RL_HTTP_GET, "/crl", false, 0, handle_current, c, NULL},
                                 {RL_HTTP_GET, "/crl/", true, 0, handle_issuer, c, NULL}};
    size_t n = sizeof(own) / sizeof(own[0]);
    if (n > cap)
        return 0;
    memcpy(routes, own, sizeof(own));
    return n;
}
