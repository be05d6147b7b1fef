/* Change notifications over HTTP: /hooks/graph (Microsoft Graph) and /hooks/jamf (Jamf Pro). They wake sources, and
 * nothing in them is believed. */
#ifndef RL_SYNC_HOOKS_H
#define RL_SYNC_HOOKS_H

#include "http/server.h"
#include "sync/sync.h"

/* The routes; returns how many, 0 when `cap` is too small. Any worker's thread; `sync` must outlive the server. */
size_t rl_hooks_routes(rl_sync *sync, rl_http_route *routes, size_t cap);

#endif
