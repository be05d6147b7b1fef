/* Counts of changes for /metrics, and the live feed of `revline events`: one subscriber of the store for both. */
#ifndef RL_APP_EVENTS_H
#define RL_APP_EVENTS_H

#include "store/store.h"

typedef struct rl_events rl_events;

/* Subscribes, and starts the feed's thread. RL_ENOMEM, RL_EIO. */
rl_err rl_events_open(rl_store *store, rl_events **out, rl_error *e);
/* Hangs up on all who follow. NULL is allowed. */
void rl_events_close(rl_events *v);

/* Takes the socket over: {"ok": …}, then a JSON object a line for each change from now on, and {"missed": n} in place
 * of what a slow reader was too late for, until it goes. RL_EBUSY when too many follow: the socket is still the
 * caller's. Any thread. */
rl_err rl_events_follow(rl_events *v, int fd, rl_error *e);

#endif
