/* The status rules (design §6). Pure. */
#include "sync/rules.h"

/* Reasons that end when their cause ends. */
static const uint32_t reversible = RL_WHY_DISABLED | RL_WHY_NOT_COMPLIANT | RL_WHY_USER_RISK;

uint32_t rl_rules_scope(rl_source source)
{
    switch (source) {
    case RL_SOURCE_ENTRA_DEVICE:
    case RL_SOURCE_ENTRA_USER:
        return RL_WHY_DELETED | RL_WHY_DISABLED;
    default:
        return 0; /* names and transactions have no state of their own */
    }
}

uint32_t rl_rules_object(rl_source source, const rl_object_record *o)
{
    uint32_t why = 0;
    if (!o->exists)
        why = RL_WHY_DELETED;
    else if (!o->enabled)
        why = RL_WHY_DISABLED;
    return why & rl_rules_scope(source);
}

uint32_t rl_rules_merge(uint32_t cert_why, uint32_t scope, uint32_t why)
{
    return (cert_why & ~(scope & reversible)) | (why & scope);
}
