/* Records as msgpack maps with small integer keys, key 0 the version. Private to the store.
 *
 * Reading walks a span and allocates nothing but the texts that are kept; what is not known is skipped, nesting is
 * bounded. Writing is msgpack-c's packer over an rl_buf. */
#ifndef RL_STORE_PACK_H
#define RL_STORE_PACK_H

#include <msgpack.h>

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

/* ---- reading a record ---- */
/* Gets a field's key and its value's head; the elements of an array or map are read from `elements`. */
typedef rl_err (*rl_pack_take)(uint64_t key, const rl_pack_value *v, rl_span *elements, void *record);
#define RL_PACK_BIT(key) ((uint32_t)1 << (key))
/* Walks a record's map. One that lacks a key of `required` (a bit for each) is corrupt: no field of consequence has a
 * default. RL_ECORRUPT, or what `take` returned. */
rl_err rl_pack_walk(rl_span in, uint32_t required, rl_pack_take take, void *record);
/* The value as a text of at most 64 KiB (malloced; nil leaves *out alone), a number, a truth value; RL_ECORRUPT. */
rl_err rl_pack_text(const rl_pack_value *v, char **out);
rl_err rl_pack_int(const rl_pack_value *v, int64_t *out);
rl_err rl_pack_uint(const rl_pack_value *v, uint64_t max, uint64_t *out);
rl_err rl_pack_bool(const rl_pack_value *v, bool *out);

/* ---- writing a record ---- */
/* The first failure sticks, and takes back what was written: no half record is ever stored. */
typedef struct rl_pack_writer {
    msgpack_packer pk;
    rl_buf *out;
    size_t start;
    rl_err err;
} rl_pack_writer;

void rl_pack_begin(rl_pack_writer *w, rl_buf *out, size_t pairs);
void rl_pack_put_uint(rl_pack_writer *w, unsigned key, uint64_t v);
void rl_pack_put_int(rl_pack_writer *w, unsigned key, int64_t v);
void rl_pack_put_bin(rl_pack_writer *w, unsigned key, const void *p, size_t n);
/* NULL becomes nil, so that it comes back as NULL. A text that could not be read again is RL_ERANGE. */
void rl_pack_put_text(rl_pack_writer *w, unsigned key, const char *s);
rl_err rl_pack_finish(rl_pack_writer *w);

#endif
