/* Delegated responders: see responder.h. A delegate is swapped whole under a lock that is held for the swap; keys and
 * certificates are made outside it: those of our own issuers on the thread below and nowhere else once it runs, those
 * that were installed by whoever says that there is one. */
#include "ocsp/responder.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

/* The thread looks at the wall clock at least that often: it may jump, or stand still while the machine sleeps. */
enum { LOOK_MIN_MS = 100, LOOK_MAX_MS = 1000, RETRY_MIN_S = 1, RETRY_MAX_S = 60 };

typedef enum { FRESH, ENDING, EXPIRED } stage;

/* As many as have not expired at a time, and some more for when the clock is set. */
enum { CERTIFIED_KEPT = 8 };

/* One issuer's place. */
struct place {
    ocsp_delegate *current; /* under the lock; NULL: none */
    struct certified {
        rl_serial serial;
        int64_t not_after;
    } certified[CERTIFIED_KEPT]; /* under the lock: the newest first; none: serial.n == 0 */
    /* The thread's own: */
    int64_t retry_at, retry_s; /* 0: the last making succeeded */
    stage told;                /* of an installed delegate: what the log says already */
};

struct ocsp_responder {
    const rl_ca *ca;
    const rl_settings *settings;
    pthread_t thread;
    bool running; /* the thread is to be joined */
    pthread_mutex_t lock;
    pthread_cond_t stop; /* on CLOCK_MONOTONIC */
    bool stopping;
    struct place places[RL_CA_ISSUERS_MAX]; /* of issuer 1 first */
};

void ocsp_delegate_drop(ocsp_delegate *d)
{
    if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
        return;
    rl_signer_free(d->signer);
    OPENSSL_free(d->cert);
    OPENSSL_free(d->name);
    free(d);
}

ocsp_delegate *ocsp_responder_current(ocsp_responder *r, rl_issuer_id issuer)
{
    pthread_mutex_lock(&r->lock);
    ocsp_delegate *d = r->places[issuer - 1].current;
    if (d)
        atomic_fetch_add(&d->refs, 1);
    pthread_mutex_unlock(&r->lock);
    return d;
}

/* ---- making ---- */
/* What answers need of the certificate. */
static rl_err read_cert(const X509 *cert, rl_responder_id id, ocsp_delegate *d, rl_error *e)
{
    uint8_t key_hash[RL_HASH_MAX];
    size_t cert_n = 0;
    RL_TRY(rl_x509_to_der(cert, &d->cert, &cert_n, e));
    int name_n = id == RL_RESPONDER_BY_NAME ? i2d_X509_NAME(X509_get_subject_name(cert), &d->name) : 0;
    if (name_n < 0 || rl_x509_serial(cert, &d->serial) != RL_OK || rl_x509_key_hash(cert, RL_SHA1, key_hash) != RL_OK ||
        rl_x509_time(X509_get0_notBefore(cert), &d->not_before) != RL_OK ||
        rl_x509_time(X509_get0_notAfter(cert), &d->not_after) != RL_OK)
        return rl_fail_openssl(e, "ocsp", "the responder certificate cannot be read");
    d->renew_at = d->installed ? d->not_after : d->made_at + (d->not_after - d->made_at) / 2;
    d->identity = (ocsp_identity){
        .signer = d->signer, .cert = rl_span_of(d->cert, cert_n), .name = rl_span_of(d->name, (size_t)name_n)};
    memcpy(d->identity.key_hash, key_hash, sizeof(d->identity.key_hash));
    return RL_OK;
}

static rl_key_type key_type(const ocsp_responder *r, const rl_issuer *issuer)
{
    if (r->settings->ocsp.key != RL_KEY_AUTO)
        return r->settings->ocsp.key;
    return rl_signer_is_rsa(issuer->signer) ? RL_KEY_RSA2048 : RL_KEY_EC_P256;
}

bool ocsp_responder_is_rsa(const ocsp_responder *r)
{
    rl_key_type type = key_type(r, rl_ca_issuer(r->ca));
    return type != RL_KEY_EC_P256 && type != RL_KEY_EC_P384;
}

static rl_err make_own(const ocsp_responder *r, const rl_issuer *issuer, ocsp_delegate *d, X509 **cert, rl_error *e)
{
    RL_TRY(rl_signer_generate(key_type(r, issuer), &d->signer, e));
    return rl_ca_sign_responder(r->ca, issuer, rl_signer_pkey(d->signer), r->settings->ocsp.responder_validity,
                                d->made_at, cert, e);
}

/* A new one for an issuer of our own, the installed one of a foreign issuer (RL_ENOTFOUND: none). */
static rl_err make_delegate(const ocsp_responder *r, const rl_issuer *issuer, ocsp_delegate **out, rl_error *e)
{
    X509 *cert = NULL;
    ocsp_delegate *d = calloc(1, sizeof(*d));
    if (!d)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    atomic_init(&d->refs, 1);
    d->issuer = issuer->id;
    d->installed = !issuer->signer;
    d->made_at = rl_wall_s();
    rl_err err =
        d->installed ? rl_ca_delegate_load(r->ca, issuer, &cert, &d->signer, e) : make_own(r, issuer, d, &cert, e);
    if (err == RL_OK)
        err = read_cert(cert, r->settings->ocsp.responder_id, d, e);
    X509_free(cert);
    if (err != RL_OK) {
        ocsp_delegate_drop(d);
        return err;
    }
    *out = d;
    return RL_OK;
}

bool ocsp_responder_certified(ocsp_responder *r, const rl_cert_id *id, rl_cert_status *status)
{
    bool found = false;
    pthread_mutex_lock(&r->lock);
    const struct certified *c = r->places[id->issuer - 1].certified;
    for (size_t i = 0; i < CERTIFIED_KEPT && !found; i++) {
        found =
            c[i].serial.n > 0 && c[i].serial.n == id->serial_n && memcmp(c[i].serial.b, id->serial, id->serial_n) == 0;
        if (found)
            *status = (rl_cert_status){.status = RL_STATUS_GOOD, .not_after = c[i].not_after};
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

/* With the lock. */
static void note_certified(struct place *p, const ocsp_delegate *d)
{
    memmove(p->certified + 1, p->certified, sizeof(p->certified) - sizeof(p->certified[0]));
    p->certified[0] = (struct certified){.serial = d->serial, .not_after = d->not_after};
}

/* The place takes over the caller's reference; NULL leaves the issuer without a delegate. */
static void swap(ocsp_responder *r, rl_issuer_id issuer, ocsp_delegate *d)
{
    char label[32];
    snprintf(label, sizeof(label), "issuer=\"%u\"", issuer);
    rl_metric_set(rl_gauge("revline_ocsp_delegate_not_after_seconds", label,
                           "End of the certificate that signs answers about an issuer's certificates, Unix time."),
                  d ? d->not_after : 0);
    pthread_mutex_lock(&r->lock);
    ocsp_delegate *old = r->places[issuer - 1].current;
    r->places[issuer - 1].current = d;
    if (d && !d->installed)
        note_certified(&r->places[issuer - 1], d);
    pthread_mutex_unlock(&r->lock);
    ocsp_delegate_drop(old);
}

rl_err ocsp_responder_reload(ocsp_responder *r, const rl_issuer *issuer, rl_error *e)
{
    ocsp_delegate *d;
    RL_TRY(make_delegate(r, issuer, &d, e));
    log_info("ocsp.delegate", "issuer", issuer->id, "not_after", d->not_after);
    swap(r, issuer->id, d);
    return RL_OK;
}

/* ---- the thread ---- */
/* Waits until it is time to look again; false when stopping. An own delegate changes on this thread only. */
static bool wait_for_next_look(ocsp_responder *r)
{
    struct timespec until;
    int64_t ms = LOOK_MAX_MS, now = rl_wall_ms();
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(r->ca); id++) {
        const ocsp_delegate *own = rl_ca_by_id(r->ca, id)->signer ? r->places[id - 1].current : NULL;
        if (own && own->renew_at * 1000 - now < ms)
            ms = own->renew_at * 1000 - now;
    }
    ms = ms < LOOK_MIN_MS ? LOOK_MIN_MS : ms;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && pthread_cond_timedwait(&r->stop, &r->lock, &until) == 0)
        ;
    bool go_on = !r->stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

/* A clock that was set back behind the delegate's making leaves it not yet valid: that asks for a new one, too. An
 * issuer that has expired can certify none, and is answered for no more. */
static void look_at_own(ocsp_responder *r, const rl_issuer *issuer, int64_t now)
{
    struct place *p = &r->places[issuer->id - 1];
    rl_error e = {0};
    ocsp_delegate *d;
    bool due = !p->current || now >= p->current->renew_at || now < p->current->made_at;
    if (!due || (now < p->retry_at && now >= p->retry_at - p->retry_s))
        return;
    rl_err err = make_delegate(r, issuer, &d, &e);
    if (err == RL_OK) {
        log_info("ocsp.responder", "issuer", issuer->id, "not_after", d->not_after, "renew_at", d->renew_at);
        swap(r, issuer->id, d);
        p->retry_at = 0;
        return;
    }
    bool news = !p->retry_at || err != RL_EDENIED;
    p->retry_s = !p->retry_at ? RETRY_MIN_S : 2 * p->retry_s < RETRY_MAX_S ? 2 * p->retry_s : RETRY_MAX_S;
    p->retry_at = now + p->retry_s;
    if (news)
        log_error("ocsp.responder", "issuer", issuer->id, "error", e.message, "retry_s", p->retry_s, "not_after",
                  p->current ? p->current->not_after : 0);
    if (err == RL_EDENIED && p->current && now >= p->current->not_after)
        swap(r, issuer->id, NULL);
}

/* Nothing replaces it by itself: says once when a quarter of its life is left, and once when it has ended. */
static void look_at_installed(ocsp_responder *r, const rl_issuer *issuer, int64_t now)
{
    struct place *p = &r->places[issuer->id - 1];
    ocsp_delegate *d = ocsp_responder_current(r, issuer->id);
    if (!d)
        return;
    int64_t last_quarter = d->not_after - (d->not_after - d->not_before) / 4;
    stage now_at = now >= d->not_after ? EXPIRED : now >= last_quarter ? ENDING : FRESH;
    if (now_at > p->told)
        log_warn("ocsp.delegate", "issuer", issuer->id, "not_after", d->not_after, "state",
                 now_at == EXPIRED ? "expired: answers for this issuer are unauthorized" : "expires soon", "remedy",
                 "revline ocsp csr, then revline ocsp install");
    p->told = now_at;
    ocsp_delegate_drop(d);
}

static void *look_after(void *arg)
{
    ocsp_responder *r = arg;
    while (wait_for_next_look(r)) {
        int64_t now = rl_wall_s();
        for (rl_issuer_id id = 1; id <= rl_ca_issuers(r->ca); id++) {
            const rl_issuer *issuer = rl_ca_by_id(r->ca, id);
            if (issuer->signer)
                look_at_own(r, issuer, now);
            else
                look_at_installed(r, issuer, now);
        }
    }
    return NULL;
}

/* ---- from outside ---- */
static rl_err make_first(ocsp_responder *r, rl_error *e)
{
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(r->ca); id++) {
        const rl_issuer *issuer = rl_ca_by_id(r->ca, id);
        ocsp_delegate *d;
        rl_error why = {0};
        rl_err err = make_delegate(r, issuer, &d, &why);
        if (err == RL_OK)
            swap(r, id, d);
        else if (issuer == rl_ca_issuer(r->ca))
            return rl_fail(e, err, "ocsp", "%s", why.message);
        else if (err != RL_ENOTFOUND)
            log_error("ocsp.responder", "issuer", id, "error", why.message);
    }
    return RL_OK;
}

rl_err ocsp_responder_start(const rl_ca *ca, const rl_settings *s, ocsp_responder **out, rl_error *e)
{
    pthread_condattr_t monotonic;
    ocsp_responder *r = calloc(1, sizeof(*r));
    if (!r)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    r->ca = ca;
    r->settings = s;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->stop, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rl_err err = make_first(r, e);
    if (err == RL_OK && pthread_create(&r->thread, NULL, look_after, r) != 0)
        err = rl_fail(e, RL_ENOMEM, "ocsp", "the responder's thread cannot be started");
    r->running = err == RL_OK;
    if (err != RL_OK) {
        ocsp_responder_stop(r);
        return err;
    }
    *out = r;
    return RL_OK;
}

void ocsp_responder_stop(ocsp_responder *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->stop);
    pthread_mutex_unlock(&r->lock);
    if (r->running)
        pthread_join(r->thread, NULL);
    for (size_t i = 0; i < RL_CA_ISSUERS_MAX; i++)
        ocsp_delegate_drop(r->places[i].current);
    pthread_cond_destroy(&r->stop);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
