/* The status rules: from the state of a directory object to the reasons against its certificates. Pure. */
#ifndef RL_SYNC_RULES_H
#define RL_SYNC_RULES_H

#include "store/records.h"

/* The reasons that objects of `source` may set or clear; others of the mask belong to somebody else. */
uint32_t rl_rules_scope(rl_source source);
/* RL_WHY_* bits that this object's state gives, within its scope. */
uint32_t rl_rules_object(rl_source source, const rl_object_record *o);
/* The certificate's new mask: reversible bits of the scope follow `object_why`, permanent bits never go away. */
uint32_t rl_rules_merge(uint32_t cert_why, rl_source source, uint32_t object_why);

#endif
