/* The response cache: signed answers in memory, ready to send. Any thread.
 *
 * An entry is immutable once it is in the table and lives by its reference count, so what a loop is sending stays
 * whole while the table has long dropped it. */
#ifndef RL_OCSP_CACHE_H
#define RL_OCSP_CACHE_H

#include <stdatomic.h>

#include "base/span.h"
#include "store/records.h"

typedef struct ocsp_cache ocsp_cache;

/* What was asked: an answer repeats the CertID, so each way of writing it has an entry of its own. Compared by all
 * its octets: start from a zeroed one. */
typedef struct ocsp_key {
    rl_issuer_id issuer;
    uint8_t form; /* of the CertID: hash algorithm, and whether its parameters are NULL or absent */
    uint8_t serial_n;
    uint8_t serial[RL_STORE_SERIAL_MAX];
    uint8_t zero[2]; /* instead of padding, whose octets are nobody's */
} ocsp_key;

/* Begins at a cache line, the first of which is all that a look-up compares; what is its own of what is sent lies
 * behind the second in one piece. With many entries each line that a request touches comes from main memory, and the
 * signer's certificate, the better half of an answer, from a memory that is warm. */
typedef struct ocsp_entry {
    ocsp_key key; /* key, chain, used, refresh_at, the ring and cost are the cache's own, under the shard's lock */
    _Atomic uint32_t refs;
    struct ocsp_entry *chain;
    int64_t this_update, next_update; /* Unix seconds */
    int64_t serve_until; /* from here on the cache has it no more; next_update, unless set earlier before put */

    rl_span headers;  /* the header lines that do not change with the time of sending; an empty line follows, and: */
    rl_span body;     /* the OCSPResponse up to its certificates. They come last: */
    rl_span certs;    /* shared by all answers of one signer. Empty for what is no answer with certificates */
    unsigned outcome; /* what it says: for the caller's metrics */
    bool used;
    int64_t refresh_at; /* from here on the next look-up is told that it is due */
    struct ocsp_entry *hand_next, *hand_prev;
    size_t cost;
} ocsp_entry;

/* Headers, empty line and the body's own part. */
static inline rl_span ocsp_entry_message(const ocsp_entry *e)
{
    return rl_span_of(e->headers.p, e->headers.n + 2 + e->body.n);
}

/* One reference, the caller's. Copies; NULL on exhaustion. `response` is a whole OCSPResponse. */
ocsp_entry *ocsp_entry_new(rl_span response, rl_span headers, int64_t this_update, int64_t next_update,
                           unsigned outcome);
ocsp_entry *ocsp_entry_ref(ocsp_entry *e);
void ocsp_entry_drop(void *entry); /* a reference; NULL is allowed */

/* At most `limit` octets of entries and buckets. */
rl_err ocsp_cache_new(size_t limit, ocsp_cache **out, rl_error *e);
void ocsp_cache_free(ocsp_cache *c);

/* A new reference, or NULL. Allocates nothing. `due` (NULL: not asked): the entry is wanted and ends soon, and the
 * caller is the one that is told so: it has it signed anew. */
ocsp_entry *ocsp_cache_get(ocsp_cache *c, const ocsp_key *key, int64_t now, bool *due);
/* The same in steps, between which the memory comes: look asks for the bucket and fetch for the entry in it; fetch and
 * get_at take what look gave. */
uint64_t ocsp_cache_look(const ocsp_cache *c, const ocsp_key *key);
void ocsp_cache_fetch(const ocsp_cache *c, uint64_t at);
ocsp_entry *ocsp_cache_get_at(ocsp_cache *c, uint64_t at, const ocsp_key *key, int64_t now, bool *due);

/* ---- the invariant's three parts; cache.c says why they suffice ---- */
/* Take before reading the certificate's status. */
uint32_t ocsp_cache_stamp(ocsp_cache *c, const rl_cert_id *cert);
/* All stamps as they are now, and one certificate's among them: for reading many. The caller frees; NULL on exhaustion.
 */
uint32_t *ocsp_cache_stamps(const ocsp_cache *c);
uint32_t ocsp_cache_stamp_among(const ocsp_cache *c, const uint32_t *stamps, const rl_cert_id *cert);
/* False when the certificate may have changed since the stamp was taken: what was made from it is not to be sent. */
bool ocsp_cache_is_current(ocsp_cache *c, const rl_cert_id *cert, uint32_t stamp);
/* Inserts (replacing) with a reference of the table's own, unless the stamp is out of date: then false. An entry too
 * large for the cache is left out, which is no failure. */
bool ocsp_cache_put(ocsp_cache *c, const ocsp_key *key, uint32_t stamp, ocsp_entry *entry);
/* The certificate has changed (committed, not acknowledged): when this returns, no get gives an older answer, and no
 * put or is_current passes with an older stamp. */
void ocsp_cache_invalidate(ocsp_cache *c, const rl_cert_id *cert);
/* Whether all answers made in this second (Unix) or later were made from the certificate's present state: then such a
 * second tells them from older ones. False may also be another certificate's doing. */
bool ocsp_cache_unchanged_since(ocsp_cache *c, const rl_cert_id *cert, int64_t second);

void ocsp_cache_size(ocsp_cache *c, uint64_t *entries, uint64_t *bytes);
/* Entries that made room for others, over all caches of the process. */
uint64_t ocsp_cache_evictions(const ocsp_cache *c);

#endif
