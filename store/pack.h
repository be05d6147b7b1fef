/* A bounded reader of msgpack maps with small integer keys, and the writer's few calls. Private to the store.
 *
 * Reading walks a span and allocates nothing; what is not known is skipped, nesting is bounded. Writing is
 * msgpack-c's packer over an rl_buf. */
#ifndef RL_STORE_PACK_H
#define RL_STORE_PACK_H

#include "base/span.h"

typedef struct rl_pack_value {
    enum { RL_PACK_NIL, RL_PACK_BOOL, RL_PACK_UINT, RL_PACK_INT, RL_PACK_BYTES, RL_PACK_ARRAY, RL_PACK_MAP } kind;
    uint64_t u; /* UINT; BOOL as 0 or 1; ARRAY and MAP: elements, pairs */
    int64_t i;  /* INT: negative */
    rl_span bytes;
} rl_pack_value;

/* Next value; of an array or map only its head. RL_ECORRUPT when it does not fit. */
rl_err rl_pack_read(rl_span *in, rl_pack_value *v);
/* Skips one value whole. */
rl_err rl_pack_skip(rl_span *in);

#endif
