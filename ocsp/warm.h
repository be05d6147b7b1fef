/* Signed answers over a restart: what is made goes into the store in the background, and into the cache of the next
 * start, so that a restarted server does not have to sign everything at once. Reading one back is cheaper than signing,
 * too, when the cache had no room for it. */
#ifndef RL_OCSP_WARM_H
#define RL_OCSP_WARM_H

#include "base/settings.h"
#include "ocsp/cache.h"
#include "store/store.h"

typedef struct ocsp_warm ocsp_warm;

/* Starts a thread that first fills the cache from the store, up to the octets of a cache that `s` allows, and waits a
 * moment for it; what is left then goes on behind the first requests. Call when the cache hears of changes. */
rl_err ocsp_warm_start(rl_store *store, ocsp_cache *cache, const rl_settings *s, ocsp_warm **out, rl_error *e);
/* Saves what waits, for two seconds at most, and ends the thread. NULL is allowed. */
void ocsp_warm_stop(ocsp_warm *w);

/* A saved answer that the cache does not have, be it not loaded yet or evicted. `stamp` was taken before. Puts it into
 * the cache and returns a reference; NULL: there is none. Any thread. */
ocsp_entry *ocsp_warm_find(ocsp_warm *w, const ocsp_key *key, uint32_t stamp);

/* An answer has entered the cache: it is to be saved. Any thread; when too many wait it is not, which costs one
 * signature after a restart. */
void ocsp_warm_note(ocsp_warm *w, const ocsp_key *key);

#endif
