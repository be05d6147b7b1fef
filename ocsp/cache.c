/* The response cache: a hash table in shards, each with a lock of its own that is held for a look-up, an insert or
 * a removal and never longer: no signature, no I/O and no callback happens under it.
 *
 * THE INVARIANT: once ocsp_cache_invalidate(cert) has returned, no answer made from an older state of `cert` is
 * given out by get, is inserted by put, or passes is_current.
 *
 * Who makes an answer does: (1) take the stamp, (2) read the store, (3) sign, (4) put, (5) ask is_current just before
 * sending. Invalidation, on the store's committer after the write is visible and before it is acknowledged, does:
 * (a) advance the stamp, (b) remove the entries under the shard's lock. If (2) read the old state, the write came
 * after it, so (a) came after (1). Then put, which compares stamps under the shard's lock, either held the lock
 * before (b), and (b) removes what it inserted, or after (b), and it sees the stamp advanced and inserts nothing.
 * Likewise an is_current that begins after invalidate returned sees the advance.
 *
 * Stamps are counters in a fixed array, picked by the certificate's hash: two certificates may share one, which costs a
 * signature made twice and never a wrong answer. They cover serials that were never issued, too: a cached `unknown`
 * goes when the certificate is issued.
 *
 * Eviction is CLOCK: a look-up marks the entry, the hand takes the mark off and evicts what it finds without one. */
#include "ocsp/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "ocsp/response.h"

enum {
    SHARDS_MAX = 64,
    SHARD_MIN_OCTETS = 1 << 20, /* fewer shards for a small cache, so that each still holds a good many answers */
    BUCKET_FOR = 256, /* octets of answers: a third of one, so that a bucket seldom has two, of which the second is not
                         fetched */
    LINE = 64,        /* octets of a cache line */
    ALLOCATOR_OVERHEAD = LINE,
    FETCHED_AHEAD = 640, /* octets of an entry asked of the memory at once: about what one with a P-256 signature has */
    HAND_STEPS = 32,     /* marked entries the hand passes in one go; then the next goes, marked or not */
    STAMPS = 1 << 16,
};

typedef struct shard {
    _Alignas(64) pthread_mutex_t lock;
    ocsp_entry **buckets;
    ocsp_entry *hand; /* ring of all entries; NULL when empty */
    size_t bytes;
    uint64_t entries;
} shard;

struct ocsp_cache {
    uint64_t seed[2];
    size_t shards_n, buckets_n; /* powers of two; buckets of each shard */
    size_t shard_limit;         /* octets of entries in one shard */
    _Atomic uint32_t *stamps;
    _Atomic int64_t *changed_at; /* Unix seconds: when each stamp was last advanced */
    rl_metric *evictions;
    shard shards[];
};

/* ---- the certificates that answers end with ----
 * One copy for each signer, of which there are two during a rollover, and some more from before a restart. */
typedef struct certs {
    size_t users; /* entries; under certs_lock */
    struct certs *next;
    size_t n;
    uint8_t octets[];
} certs;
static pthread_mutex_t certs_lock = PTHREAD_MUTEX_INITIALIZER;
static certs *all_certs;

/* Takes part in the copy of these octets; NULL on exhaustion. */
static certs *certs_share(rl_span octets)
{
    pthread_mutex_lock(&certs_lock);
    certs *s = all_certs;
    while (s && !rl_span_eq(rl_span_of(s->octets, s->n), octets))
        s = s->next;
    if (!s && (s = malloc(sizeof(*s) + octets.n)) != NULL) {
        *s = (certs){.n = octets.n, .next = all_certs};
        memcpy(s->octets, octets.p, octets.n);
        all_certs = s;
    }
    if (s)
        s->users++;
    pthread_mutex_unlock(&certs_lock);
    return s;
}

static void certs_leave(rl_span octets)
{
    certs *s = octets.p ? (certs *)((uintptr_t)octets.p - offsetof(certs, octets)) : NULL;
    if (!s)
        return;
    pthread_mutex_lock(&certs_lock);
    bool last = --s->users == 0;
    if (last) {
        certs **link = &all_certs;
        while (*link != s)
            link = &(*link)->next;
        *link = s->next;
    }
    pthread_mutex_unlock(&certs_lock);
    if (last)
        free(s);
}

/* ---- entries ---- */
ocsp_entry *ocsp_entry_new(rl_span response, rl_span headers, int64_t this_update, int64_t next_update,
                           unsigned outcome)
{
    rl_span end = ocsp_response_certs(response), body = rl_span_of(response.p, response.n - end.n);
    certs *shared = end.n ? certs_share(end) : NULL;
    if (end.n && !shared)
        return NULL;
    size_t size = (sizeof(ocsp_entry) + headers.n + 2 + body.n + LINE - 1) / LINE * LINE;
    ocsp_entry *e = aligned_alloc(LINE, size);
    if (!e) {
        certs_leave(shared ? rl_span_of(shared->octets, 0) : (rl_span){0});
        return NULL;
    }
    uint8_t *octets = (uint8_t *)(e + 1), *at = octets + headers.n + 2;
    if (headers.n)
        memcpy(octets, headers.p, headers.n);
    memcpy(octets + headers.n, "\r\n", 2);
    memcpy(at, body.p, body.n);
    *e = (ocsp_entry){
        .this_update = this_update,
        .next_update = next_update,
        .serve_until = next_update,
        .headers = {octets, headers.n},
        .body = {at, body.n},
        .certs = shared ? rl_span_of(shared->octets, shared->n) : (rl_span){0},
        .outcome = outcome,
        .cost = size + ALLOCATOR_OVERHEAD,
    };
    atomic_init(&e->refs, 1);
    return e;
}

void ocsp_entry_drop(void *entry)
{
    ocsp_entry *e = entry;
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    certs_leave(e->certs);
    free(e);
}

ocsp_entry *ocsp_entry_ref(ocsp_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

/* ---- the table ---- */
static size_t power_of_two_up_to(size_t n)
{
    size_t p = 1;
    while (p <= n / 2)
        p *= 2;
    return p;
}

rl_err ocsp_cache_new(size_t limit, ocsp_cache **out, rl_error *e)
{
    size_t shards_n = power_of_two_up_to(limit / SHARD_MIN_OCTETS);
    if (shards_n > SHARDS_MAX)
        shards_n = SHARDS_MAX;
    ocsp_cache *c = aligned_alloc(_Alignof(ocsp_cache), sizeof(*c) + shards_n * sizeof(shard));
    if (!c)
        return rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    memset(c, 0, sizeof(*c) + shards_n * sizeof(shard));
    c->shards_n = shards_n;
    c->buckets_n = power_of_two_up_to(limit / shards_n / BUCKET_FOR);
    c->shard_limit = limit / shards_n - c->buckets_n * sizeof(ocsp_entry *);
    c->evictions =
        rl_counter("revline_ocsp_cache_evictions_total", "", "Cached OCSP answers that made room for others.");
    c->stamps = calloc(STAMPS, sizeof(*c->stamps));
    c->changed_at = calloc(STAMPS, sizeof(*c->changed_at));
    bool ok = c->stamps && c->changed_at && getrandom(c->seed, sizeof(c->seed), 0) == (ssize_t)sizeof(c->seed);
    for (size_t i = 0; i < shards_n; i++) {
        pthread_mutex_init(&c->shards[i].lock, NULL);
        c->shards[i].buckets = calloc(c->buckets_n, sizeof(ocsp_entry *));
        ok = ok && c->shards[i].buckets;
    }
    if (!ok) {
        ocsp_cache_free(c);
        return rl_fail(e, RL_ENOMEM, "ocsp", "the response cache cannot be made");
    }
    *out = c;
    return RL_OK;
}

/* SipHash-1-3 of a certificate's identity: a client picks the serials, so the hash is keyed. */
static inline uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_cert(const ocsp_cache *c, rl_issuer_id issuer, const uint8_t *serial, uint8_t serial_n)
{
    uint64_t words[4] = {0};
    uint64_t v[4] = {c->seed[0] ^ 0x736f6d6570736575u, c->seed[1] ^ 0x646f72616e646f6du,
                     c->seed[0] ^ 0x6c7967656e657261u, c->seed[1] ^ 0x7465646279746573u};
    memcpy(words, serial, serial_n); /* at most 20 of the first 24 octets */
    words[3] = (uint64_t)issuer << 8 | serial_n;
    for (unsigned i = 0; i < 4; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Independent bits of the hash pick the stamp, the shard and the bucket. */
static _Atomic uint32_t *stamp_of(const ocsp_cache *c, uint64_t hash)
{
    return &c->stamps[hash % STAMPS];
}
static size_t shard_at(const ocsp_cache *c, uint64_t hash)
{
    return (hash >> 16) & (c->shards_n - 1);
}
static shard *shard_of(ocsp_cache *c, uint64_t hash)
{
    return &c->shards[shard_at(c, hash)];
}
static ocsp_entry **bucket_of(const ocsp_cache *c, const shard *s, uint64_t hash)
{
    return &s->buckets[(hash >> 24) & (c->buckets_n - 1)];
}
static uint64_t hash_key(const ocsp_cache *c, const ocsp_key *k)
{
    return hash_cert(c, k->issuer, k->serial, k->serial_n);
}
static uint64_t hash_id(const ocsp_cache *c, const rl_cert_id *id)
{
    return hash_cert(c, id->issuer, id->serial, id->serial_n);
}
static bool same_key(const ocsp_key *a, const ocsp_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Links are written under the shard's lock. ocsp_cache_fetch reads one without: for the address only. */
static void set_link(ocsp_entry **link, ocsp_entry *e)
{
    __atomic_store_n(link, e, __ATOMIC_RELAXED);
}

/* Takes the entry at `link` out of its bucket and the ring, and gives up the table's reference. */
static void unlink_entry(shard *s, ocsp_entry **link)
{
    ocsp_entry *e = *link;
    set_link(link, e->chain);
    e->hand_prev->hand_next = e->hand_next;
    e->hand_next->hand_prev = e->hand_prev;
    if (s->hand == e)
        s->hand = e->hand_next == e ? NULL : e->hand_next;
    s->bytes -= e->cost;
    s->entries--;
    ocsp_entry_drop(e);
}

/* New entries go in just behind the hand: it reaches them last. */
static void link_entry(shard *s, ocsp_entry **bucket, ocsp_entry *e)
{
    e->chain = *bucket;
    set_link(bucket, e);
    if (s->hand) {
        e->hand_next = s->hand;
        e->hand_prev = s->hand->hand_prev;
        e->hand_prev->hand_next = e->hand_next->hand_prev = e;
    } else {
        s->hand = e->hand_next = e->hand_prev = e;
    }
    s->bytes += e->cost;
    s->entries++;
}

static bool is_fresh(const ocsp_entry *e, int64_t now)
{
    return e->this_update <= now && now < e->serve_until;
}

/* The first of a bucket is nearly always the one: its lines are asked of the memory together and not one after the
 * other as they are read. Any address may be asked for, the end of a shorter entry's neighbour included. */
static void fetch_ahead(const ocsp_entry *e)
{
    for (size_t at = 0; at < FETCHED_AHEAD; at += LINE)
        __builtin_prefetch((const void *)((uintptr_t)e + at));
}

uint64_t ocsp_cache_look(const ocsp_cache *c, const ocsp_key *key)
{
    uint64_t hash = hash_key(c, key);
    __builtin_prefetch(bucket_of(c, &c->shards[shard_at(c, hash)], hash));
    return hash;
}

void ocsp_cache_fetch(const ocsp_cache *c, uint64_t hash)
{
    fetch_ahead(__atomic_load_n(bucket_of(c, &c->shards[shard_at(c, hash)], hash), __ATOMIC_RELAXED));
}

ocsp_entry *ocsp_cache_get(ocsp_cache *c, const ocsp_key *key, int64_t now, bool *due)
{
    return ocsp_cache_get_at(c, ocsp_cache_look(c, key), key, now, due);
}

ocsp_entry *ocsp_cache_get_at(ocsp_cache *c, uint64_t hash, const ocsp_key *key, int64_t now, bool *due)
{
    shard *s = shard_of(c, hash);
    ocsp_entry **link = bucket_of(c, s, hash), *found = NULL;
    pthread_mutex_lock(&s->lock);
    while (*link && !same_key(&(*link)->key, key))
        link = &(*link)->chain;
    if (*link && is_fresh(*link, now)) {
        found = ocsp_entry_ref(*link);
        if (!found->used)
            found->used = true; /* unread memory is not written for nothing */
        if (due && (*due = now >= found->refresh_at))
            found->refresh_at = INT64_MAX;
    } else if (*link) {
        unlink_entry(s, link);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

uint32_t *ocsp_cache_stamps(const ocsp_cache *c)
{
    uint32_t *copy = malloc(STAMPS * sizeof(*copy));
    for (size_t i = 0; copy && i < STAMPS; i++)
        copy[i] = atomic_load_explicit(&c->stamps[i], memory_order_acquire);
    return copy;
}

uint32_t ocsp_cache_stamp_among(const ocsp_cache *c, const uint32_t *stamps, const rl_cert_id *cert)
{
    return stamps[hash_id(c, cert) % STAMPS];
}

uint32_t ocsp_cache_stamp(ocsp_cache *c, const rl_cert_id *cert)
{
    return atomic_load_explicit(stamp_of(c, hash_id(c, cert)), memory_order_acquire);
}

bool ocsp_cache_is_current(ocsp_cache *c, const rl_cert_id *cert, uint32_t stamp)
{
    return ocsp_cache_stamp(c, cert) == stamp;
}

/* Drops the entry with this key, if there is one. */
static void remove_key(const ocsp_cache *c, shard *s, const ocsp_key *key)
{
    for (ocsp_entry **link = bucket_of(c, s, hash_key(c, key)); *link; link = &(*link)->chain) {
        if (same_key(&(*link)->key, key)) {
            unlink_entry(s, link);
            return;
        }
    }
}

static void evict(ocsp_cache *c, shard *s, size_t need, int64_t now)
{
    unsigned steps = 0;
    while (s->hand && s->bytes + need > c->shard_limit) {
        ocsp_entry *e = s->hand;
        if (e->used && is_fresh(e, now) && steps++ < HAND_STEPS) {
            e->used = false;
            s->hand = e->hand_next;
            continue;
        }
        remove_key(c, s, &e->key);
        rl_metric_add(c->evictions, 1);
    }
}

/* Somewhere in the last fifth of its time, by its hash: entries that were made together are not signed anew together.
 */
static int64_t refresh_time(const ocsp_entry *e, uint64_t hash)
{
    int64_t fifth = (e->serve_until - e->this_update) / 5;
    if (fifth < 1)
        return INT64_MAX; /* it would be as short-lived as its successor */
    return e->serve_until - 1 - (int64_t)((hash >> 16) % (uint64_t)fifth);
}

bool ocsp_cache_put(ocsp_cache *c, const ocsp_key *key, uint32_t stamp, ocsp_entry *entry)
{
    uint64_t hash = hash_key(c, key);
    shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->lock);
    bool current = atomic_load_explicit(stamp_of(c, hash), memory_order_acquire) == stamp;
    if (current && entry->cost <= c->shard_limit) {
        remove_key(c, s, key);
        evict(c, s, entry->cost, entry->this_update);
        entry->key = *key;
        entry->used = false;
        entry->refresh_at = refresh_time(entry, hash);
        link_entry(s, bucket_of(c, s, hash), ocsp_entry_ref(entry));
    }
    pthread_mutex_unlock(&s->lock);
    return current;
}

void ocsp_cache_invalidate(ocsp_cache *c, const rl_cert_id *cert)
{
    uint64_t hash = hash_id(c, cert);
    shard *s = shard_of(c, hash);
    /* The write is visible: who has read the older state had taken the time of its answer before this. */
    atomic_store_explicit(&c->changed_at[hash % STAMPS], rl_wall_s(), memory_order_relaxed);
    atomic_fetch_add_explicit(stamp_of(c, hash), 1, memory_order_acq_rel);
    pthread_mutex_lock(&s->lock);
    ocsp_entry **link = bucket_of(c, s, hash);
    while (*link) {
        const ocsp_key *k = &(*link)->key;
        if (k->issuer == cert->issuer && k->serial_n == cert->serial_n &&
            memcmp(k->serial, cert->serial, k->serial_n) == 0)
            unlink_entry(s, link);
        else
            link = &(*link)->chain;
    }
    pthread_mutex_unlock(&s->lock);
}

bool ocsp_cache_unchanged_since(ocsp_cache *c, const rl_cert_id *cert, int64_t second)
{
    return atomic_load_explicit(&c->changed_at[hash_id(c, cert) % STAMPS], memory_order_relaxed) < second;
}

void ocsp_cache_size(ocsp_cache *c, uint64_t *entries, uint64_t *bytes)
{
    *entries = *bytes = 0;
    for (size_t i = 0; i < c->shards_n; i++) {
        shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        *entries += s->entries;
        *bytes += s->bytes;
        pthread_mutex_unlock(&s->lock);
    }
}

uint64_t ocsp_cache_evictions(const ocsp_cache *c)
{
    return (uint64_t)rl_metric_value(c->evictions);
}

void ocsp_cache_free(ocsp_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->shards_n; i++) {
        shard *s = &c->shards[i];
        while (s->hand)
            remove_key(c, s, &s->hand->key);
        free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    free(c->stamps);
    free(c->changed_at);
    free(c);
}
