/* The subscription to Microsoft Graph's change notifications about users. Private to the module. */
#ifndef RL_SYNC_SUBSCRIPTION_H
#define RL_SYNC_SUBSCRIPTION_H

#include "sync/source.h"

rl_err rl_subscription_make(rl_sync *sync);
/* Graph says what becomes of the subscription. Any thread. */
void rl_subscription_lifecycle(rl_sync *sync, const char *event);

#endif
