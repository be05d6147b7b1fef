/* The status rules: from the state of directory objects to the reasons against their certificates. Pure.
 *
 * A certificate may be bound to several objects (device and user), and two of them may set the same bit. So its mask is
 * computed over all of them: `scope` and `why` are the OR over its bound objects that are known. */
#ifndef RL_SYNC_RULES_H
#define RL_SYNC_RULES_H

#include "store/records.h"

/* The reasons that objects of `source` may set or clear; others of the mask belong to somebody else. */
uint32_t rl_rules_scope(rl_source source);
/* RL_WHY_* bits that this object's state gives, within its scope. */
uint32_t rl_rules_object(rl_source source, const rl_object_record *o);
/* The certificate's new mask: reversible bits of `scope` follow `why`, permanent bits never go away. */
uint32_t rl_rules_merge(uint32_t cert_why, uint32_t scope, uint32_t why);

#endif
