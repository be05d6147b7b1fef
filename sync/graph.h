/* Sources whose rounds are pages of Microsoft Graph. Private to the module. */
#ifndef RL_SYNC_GRAPH_H
#define RL_SYNC_GRAPH_H

#include "sync/apply.h"
#include "sync/sync.h"

/* Adds a source of this kind. `needs`: the setting that turns it off; NULL: it runs if there is an application to ask
 * Graph as. RL_ENOMEM. */
rl_err rl_graph_add(rl_sync *sync, const rl_graph_kind *kind, rl_duration interval, const char *needs);

/* ---- for all that is asked of Graph ---- */
/* The URL of a path, which begins with a slash; the caller frees. RL_ENOMEM. */
rl_err rl_graph_url(const rl_settings *s, const char *path, char **out);

#endif
