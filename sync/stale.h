/* Directories that have been silent for too long, and lists that have ended: when that is, whom it concerns, what is
 * said of it. */
#ifndef RL_SYNC_STALE_H
#define RL_SYNC_STALE_H

#include "sync/source.h"

/* Unix seconds from which on a source is stale: REVLINE_SYNC_STALE_AFTER behind the moment at which the round after its
 * last success was due at the latest. Pure. */
int64_t rl_stale_at(const rl_settings *s, rl_duration interval, int64_t last_success);
/* Whether a source decides about a certificate: about an object that it is bound to, or one whose name it waits under.
 */
bool rl_stale_concerns(const rl_sync_source *s, const rl_cert_record *cert);

/* Marks the sources that have become stale, or fresh again, tells each once, and looks again when the next one may.
 * Sync loop. */
void rl_stale_look(rl_sync *sync);

#endif
