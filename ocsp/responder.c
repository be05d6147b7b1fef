/* Delegated responder: see responder.h. The current delegate is swapped whole under a lock that is held for the
 * swap; keys and certificates are made outside it, on the thread below. */
#include "ocsp/responder.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

/* The thread looks at the wall clock at least that often: it may jump, or stand still while the machine sleeps. */
enum { LOOK_MIN_MS = 100, LOOK_MAX_MS = 1000, RETRY_MIN_S = 1, RETRY_MAX_S = 60 };

struct ocsp_responder {
    const rl_ca *ca;
    const rl_settings *settings;
    pthread_t thread;
    bool running; /* the thread is to be joined */
    pthread_mutex_t lock;
    pthread_cond_t stop; /* on CLOCK_MONOTONIC */
    bool stopping;
    ocsp_delegate *current;
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

ocsp_delegate *ocsp_responder_current(ocsp_responder *r)
{
    pthread_mutex_lock(&r->lock);
    ocsp_delegate *d = r->current;
    atomic_fetch_add(&d->refs, 1);
    pthread_mutex_unlock(&r->lock);
    return d;
}

static bool read_time(const ASN1_TIME *time, int64_t *unix_s)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *unix_s = timegm(&tm);
    return true;
}

/* What answers need of the certificate. */
static rl_err read_cert(const X509 *cert, rl_responder_id id, ocsp_delegate *d, rl_error *e)
{
    uint8_t key_hash[RL_HASH_MAX];
    size_t cert_n = 0;
    RL_TRY(rl_x509_to_der(cert, &d->cert, &cert_n, e));
    int name_n = id == RL_RESPONDER_BY_NAME ? i2d_X509_NAME(X509_get_subject_name(cert), &d->name) : 0;
    if (name_n < 0 || rl_x509_key_hash(cert, RL_SHA1, key_hash) != RL_OK ||
        !read_time(X509_get0_notBefore(cert), &d->not_before) || !read_time(X509_get0_notAfter(cert), &d->not_after))
        return rl_fail_openssl(e, "ocsp", "the responder certificate cannot be read");
    d->renew_at = d->made_at + (d->not_after - d->made_at) / 2;
    d->identity = (ocsp_identity){
        .signer = d->signer, .cert = rl_span_of(d->cert, cert_n), .name = rl_span_of(d->name, (size_t)name_n)};
    memcpy(d->identity.key_hash, key_hash, sizeof(d->identity.key_hash));
    return RL_OK;
}

static rl_key_type key_type(const ocsp_responder *r)
{
    if (r->settings->ocsp.key != RL_KEY_AUTO)
        return r->settings->ocsp.key;
    return rl_signer_is_rsa(rl_ca_issuer(r->ca)->signer) ? RL_KEY_RSA2048 : RL_KEY_EC_P256;
}

static rl_err make_delegate(const ocsp_responder *r, ocsp_delegate **out, rl_error *e)
{
    X509 *cert = NULL;
    ocsp_delegate *d = calloc(1, sizeof(*d));
    if (!d)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    atomic_init(&d->refs, 1);
    d->made_at = rl_wall_s();
    rl_err err = rl_signer_generate(key_type(r), &d->signer, e);
    if (err == RL_OK)
        err = rl_ca_sign_responder(r->ca, rl_ca_issuer(r->ca), rl_signer_pkey(d->signer),
                                   r->settings->ocsp.responder_validity, d->made_at, &cert, e);
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

static void swap(ocsp_responder *r, ocsp_delegate *d)
{
    pthread_mutex_lock(&r->lock);
    ocsp_delegate *old = r->current;
    r->current = d;
    pthread_mutex_unlock(&r->lock);
    ocsp_delegate_drop(old);
}

/* Waits until it is time to look again; false when stopping. */
static bool wait_for_next_look(ocsp_responder *r)
{
    struct timespec until;
    int64_t ms = r->current->renew_at * 1000 - rl_wall_ms();
    ms = ms < LOOK_MIN_MS ? LOOK_MIN_MS : ms > LOOK_MAX_MS ? LOOK_MAX_MS : ms;
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

/* `current` is written by this thread alone, so it may read it without the lock.
 * A clock that was set back behind the delegate's making leaves it not yet valid: that asks for a new one, too. */
static void *roll_over(void *arg)
{
    ocsp_responder *r = arg;
    int64_t retry_at = 0, retry_s = RETRY_MIN_S;
    while (wait_for_next_look(r)) {
        rl_error e = {0};
        ocsp_delegate *d;
        int64_t now = rl_wall_s();
        bool due = now >= r->current->renew_at || now < r->current->made_at;
        if (!due || (now < retry_at && now >= retry_at - retry_s))
            continue;
        if (make_delegate(r, &d, &e) == RL_OK) {
            log_info("ocsp.responder", "not_after", d->not_after, "renew_at", d->renew_at);
            swap(r, d);
            retry_at = 0;
            continue;
        }
        retry_s = !retry_at ? RETRY_MIN_S : 2 * retry_s < RETRY_MAX_S ? 2 * retry_s : RETRY_MAX_S;
        retry_at = now + retry_s;
        log_error("ocsp.responder", "error", e.message, "retry_s", retry_s, "not_after", r->current->not_after);
    }
    return NULL;
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
    rl_err err = make_delegate(r, &r->current, e);
    if (err == RL_OK && pthread_create(&r->thread, NULL, roll_over, r) != 0)
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
    ocsp_delegate_drop(r->current);
    pthread_cond_destroy(&r->stop);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
