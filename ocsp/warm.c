/* See warm.h. The thread here owns the queue's other end.
 *
 * That no answer outlives a change of its certificate's status, not even in the store, has three parts:
 *  - The store deletes a certificate's answer in the transaction that changes its status.
 *  - Saving takes the stamp, then the answer from the cache, and puts it into the store in a transaction, on the writer
 *    thread, if the stamp still holds there. So no earlier group has changed the certificate since; the store refuses
 *    when the present group has, and a later one deletes.
 *  - Loading takes the stamp, then reads the answer, and puts it into the cache, which refuses when the stamp does not
 *    hold any more: cache.c has the argument, with the stored answer in the place of the certificate's status. Who
 * loads all takes all stamps, then looks at the store as it is at that moment.
 *
 * Nothing here is lost but signatures: the queue holds keys only, and drops them when it is full. */
#include "ocsp/warm.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "ocsp/answer.h"

enum {
    QUEUE_MAX = 1 << 17,
    BATCH_MAX = 512,      /* answers in a transaction, a few milliseconds of the writer thread */
    SAVE_EVERY_MS = 1000, /* and then at most: */
    SAVE_MAX = 4096,      /* answers, so that signing has the processor for itself */
    STOP_MAX_MS = 2000,   /* for saving what waits when the server stops */
    LOAD_WAIT_MS = 300,   /* what a start waits for the cache to be filled */
};

struct ocsp_warm {
    rl_store *store;
    ocsp_cache *cache;
    uint8_t maker[16];  /* of the answers, see make_maker */
    size_t octets_left; /* to be loaded */
    rl_metric *saved, *loaded;
    pthread_t thread;
    _Atomic bool stopping;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    bool load_done;
    size_t first, n; /* of the ring */
    ocsp_key queue[QUEUE_MAX];
};

static rl_cert_id id_of(const ocsp_key *key)
{
    rl_cert_id id = {.issuer = key->issuer, .serial_n = key->serial_n};
    memcpy(id.serial, key->serial, key->serial_n);
    return id;
}

/* This very program, with the settings by which an answer is what it is: who has changed one wants no answers of
 * before.
 */
static rl_err make_maker(const rl_settings *s, uint8_t maker[16])
{
    const int64_t shaping[] = {
        s->ocsp.key,           s->ocsp.responder_id,     s->ocsp.responder_validity, s->ocsp.validity_good,
        s->ocsp.validity_hold, s->ocsp.validity_revoked, s->ocsp.validity_unknown,   s->ocsp.unissued,
        s->ocsp.archive,       s->sync.stale_policy,     s->sync.stale_after};
    uint8_t octets[sizeof(REVLINE_VERSION) + sizeof(shaping)], digest[RL_HASH_MAX];
    memcpy(octets, REVLINE_VERSION, sizeof(REVLINE_VERSION));
    memcpy(octets + sizeof(REVLINE_VERSION), shaping, sizeof(shaping));
    RL_TRY(rl_hash_digest(RL_SHA256, rl_span_of(octets, sizeof(octets)), digest));
    memcpy(maker, digest, 16);
    return RL_OK;
}

static rl_span maker_of(const ocsp_warm *w)
{
    return rl_span_of(w->maker, sizeof(w->maker));
}

/* ---- loading ---- */
/* A stored answer of the same maker that may be given out now; else NULL. */
static ocsp_entry *entry_of(const ocsp_warm *w, const rl_response_record *r, int64_t now)
{
    bool usable = rl_span_eq(r->maker, maker_of(w)) && r->this_update <= now && now < r->serve_until &&
                  r->serve_until <= r->next_update;
    ocsp_entry *entry = usable ? ocsp_entry_new(r->body, r->headers, r->this_update, r->next_update, r->outcome) : NULL;
    if (entry)
        entry->serve_until = r->serve_until;
    return entry;
}

struct load {
    ocsp_warm *w;
    const uint32_t *stamps;
    int64_t now;
};

static bool load_next(const rl_cert_id *id, const rl_response_record *r, void *ctx)
{
    struct load *l = ctx;
    ocsp_warm *w = l->w;
    ocsp_key key = {.issuer = id->issuer, .form = r->form, .serial_n = id->serial_n};
    ocsp_entry *entry = entry_of(w, r, l->now);
    if (entry) {
        memcpy(key.serial, id->serial, id->serial_n);
        w->octets_left = entry->cost < w->octets_left ? w->octets_left - entry->cost : 0;
        if (ocsp_cache_put(w->cache, &key, ocsp_cache_stamp_among(w->cache, l->stamps, id), entry))
            rl_metric_add(w->loaded, 1);
        ocsp_entry_drop(entry);
    }
    return w->octets_left > 0 && !atomic_load(&w->stopping);
}

static void load(ocsp_warm *w)
{
    uint32_t *stamps = ocsp_cache_stamps(w->cache);
    struct load l = {.w = w, .stamps = stamps, .now = rl_wall_s()};
    uint64_t began = rl_mono_ns();
    int64_t before = rl_metric_value(w->loaded);
    rl_err err = stamps ? rl_store_each_response(w->store, load_next, &l) : RL_ENOMEM;
    free(stamps);
    log_info("ocsp.loaded", "answers", rl_metric_value(w->loaded) - before, "ms", (rl_mono_ns() - began) / 1000000,
             "result", rl_err_name(err));
    pthread_mutex_lock(&w->lock);
    w->load_done = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

ocsp_entry *ocsp_warm_find(ocsp_warm *w, const ocsp_key *key, uint32_t stamp)
{
    rl_buf memory = {0};
    rl_response_record r;
    const rl_cert_id id = id_of(key);
    bool found = rl_store_response(w->store, &id, &memory, &r) == RL_OK && r.form == key->form;
    ocsp_entry *entry = found ? entry_of(w, &r, rl_wall_s()) : NULL;
    rl_buf_free(&memory);
    if (entry && ocsp_cache_put(w->cache, key, stamp, entry))
        rl_metric_add(w->loaded, 1);
    return entry;
}

/* ---- saving ---- */
struct batch {
    ocsp_warm *w;
    size_t n, put;
    struct {
        rl_cert_id id;
        uint8_t form;
        uint32_t stamp;
        ocsp_entry *entry;
    } items[BATCH_MAX];
};

/* On the writer thread. */
static rl_err put_batch(rl_store_txn *t, void *arg, rl_error *e)
{
    struct batch *b = arg;
    rl_buf body = {0};
    rl_err err = RL_OK;
    (void)e;
    for (size_t i = 0; err == RL_OK && i < b->n; i++) {
        const ocsp_entry *entry = b->items[i].entry;
        if (!ocsp_cache_is_current(b->w->cache, &b->items[i].id, b->items[i].stamp))
            continue;
        body.n = 0;
        err = rl_buf_append(&body, entry->body.p, entry->body.n);
        if (err == RL_OK)
            err = rl_buf_append(&body, entry->certs.p, entry->certs.n);
        if (err != RL_OK)
            break;
        const rl_response_record r = {.maker = maker_of(b->w),
                                      .form = b->items[i].form,
                                      .outcome = (uint8_t)entry->outcome,
                                      .this_update = entry->this_update,
                                      .next_update = entry->next_update,
                                      .serve_until = entry->serve_until,
                                      .headers = entry->headers,
                                      .body = rl_buf_span(&body)};
        err = rl_txn_put_response(t, &b->items[i].id, &r);
        b->put += err == RL_OK;
        if (err == RL_EBUSY || err == RL_ENOTFOUND)
            err = RL_OK;
    }
    rl_buf_free(&body);
    return err;
}

/* What is in the cache of the next keys. */
static void take_batch(ocsp_warm *w, struct batch *b)
{
    ocsp_key keys[BATCH_MAX];
    size_t n = 0;
    int64_t now = rl_wall_s();
    pthread_mutex_lock(&w->lock);
    for (; n < BATCH_MAX && w->n > 0; w->n--, n++) {
        keys[n] = w->queue[w->first];
        w->first = (w->first + 1) % QUEUE_MAX;
    }
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < n; i++) {
        b->items[b->n].id = id_of(&keys[i]);
        b->items[b->n].form = keys[i].form;
        b->items[b->n].stamp = ocsp_cache_stamp(w->cache, &b->items[b->n].id);
        b->items[b->n].entry = ocsp_cache_get(w->cache, &keys[i], now, NULL);
        b->n += b->items[b->n].entry != NULL;
    }
}

static void save_batch(ocsp_warm *w)
{
    struct batch b = {.w = w};
    take_batch(w, &b);
    if (b.n && rl_store_run(w->store, put_batch, &b, NULL) == RL_OK)
        rl_metric_add(w->saved, (int64_t)b.put);
    for (size_t i = 0; i < b.n; i++)
        ocsp_entry_drop(b.items[i].entry);
}

/* Until something waits, and then a while for more; false when stopping. */
static bool wait_for_answers(ocsp_warm *w)
{
    struct timespec until;
    pthread_mutex_lock(&w->lock);
    while (w->n == 0 && !atomic_load(&w->stopping))
        pthread_cond_wait(&w->changed, &w->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SAVE_EVERY_MS / 1000;
    while (!atomic_load(&w->stopping) && pthread_cond_timedwait(&w->changed, &w->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&w->lock);
    return !atomic_load(&w->stopping);
}

static size_t waiting(ocsp_warm *w)
{
    pthread_mutex_lock(&w->lock);
    size_t n = w->n;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void *run(void *arg)
{
    ocsp_warm *w = arg;
    load(w);
    while (wait_for_answers(w))
        for (size_t done = 0; done < SAVE_MAX && waiting(w) > 0; done += BATCH_MAX)
            save_batch(w);
    for (uint64_t end = rl_mono_ns() + STOP_MAX_MS * 1000000ull; waiting(w) > 0 && rl_mono_ns() < end;)
        save_batch(w);
    return NULL;
}

/* ---- from outside ---- */
void ocsp_warm_note(ocsp_warm *w, const ocsp_key *key)
{
    pthread_mutex_lock(&w->lock);
    if (w->n < QUEUE_MAX)
        w->queue[(w->first + w->n++) % QUEUE_MAX] = *key;
    if (w->n == 1)
        pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_load(ocsp_warm *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOAD_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->lock);
    while (!w->load_done && pthread_cond_timedwait(&w->changed, &w->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&w->lock);
}

static void destroy(ocsp_warm *w)
{
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

rl_err ocsp_warm_start(rl_store *store, ocsp_cache *cache, const rl_settings *s, ocsp_warm **out, rl_error *e)
{
    pthread_condattr_t monotonic;
    ocsp_warm *w = calloc(1, sizeof(*w));
    if (!w)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    if (make_maker(s, w->maker) != RL_OK) {
        free(w);
        return rl_fail_openssl(e, "ocsp", "the hash of the settings cannot be made");
    }
    w->store = store;
    w->cache = cache;
    w->octets_left = (size_t)s->ocsp.cache_size;
    w->saved = rl_counter("revline_ocsp_answers_saved_total", "", "OCSP answers kept for the next start.");
    w->loaded =
        rl_counter("revline_ocsp_answers_loaded_total", "", "OCSP answers taken from the store and not signed.");
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&w->thread, NULL, run, w) != 0) {
        destroy(w);
        return rl_fail(e, RL_ENOMEM, "ocsp", "the thread that keeps answers cannot be started");
    }
    wait_for_load(w);
    *out = w;
    return RL_OK;
}

void ocsp_warm_stop(ocsp_warm *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->stopping, true);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    destroy(w);
}
