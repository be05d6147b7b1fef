/* Counts connections, in all and by client address, for the server's limits. Thread-safe. */
#ifndef RL_HTTP_PEERS_H
#define RL_HTTP_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/network.h"

enum { HTTP_REFUSED_MAX = 256 }; /* connections above the limits that are told so at one time; more are just closed */

typedef struct http_peers http_peers;
typedef uint64_t http_peer; /* an IPv4 address, or an IPv6 /64: what one client has */

typedef enum {
    HTTP_ENTERED,
    HTTP_REFUSED_ALL,     /* to be told 503: too many connections in all */
    HTTP_REFUSED_ADDRESS, /* … from this address */
    HTTP_DROPPED,         /* to be closed at once; is not counted */
} http_entry;

/* `per_address` 0 = no limit. */
rl_err http_peers_new(size_t max, size_t per_address, http_peers **out, rl_error *e);
void http_peers_free(http_peers *p);
http_peer http_peer_of(const rl_address *address);
/* For tables of peers; `seed` is random. */
uint64_t http_peer_hash(http_peer peer, uint64_t seed);
/* `many`: there is no limit for this one. */
http_entry http_peers_enter(http_peers *p, http_peer peer, bool many);
/* With what http_peers_enter said. */
void http_peers_leave(http_peers *p, http_peer peer, http_entry entry);

#endif
