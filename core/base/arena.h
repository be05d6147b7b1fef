/* Arena: memory that is given back all at once. A request owns one; not thread-safe. */
#ifndef RL_BASE_ARENA_H
#define RL_BASE_ARENA_H

#include <stddef.h>

#include "base/span.h"

typedef struct rl_arena {
    struct rl_arena_chunk *head;
    size_t used;  /* octets handed out since the last reset */
    size_t limit; /* octets; 0 = none. Asking past it gives NULL. */
} rl_arena;

void rl_arena_init(rl_arena *a, size_t limit);
/* 16-aligned, not zeroed; NULL on exhaustion. */
void *rl_arena_alloc(rl_arena *a, size_t n);
void *rl_arena_zalloc(rl_arena *a, size_t n);
char *rl_arena_strndup(rl_arena *a, const void *p, size_t n);
rl_span rl_arena_copy(rl_arena *a, rl_span s); /* .p == NULL on exhaustion */
char *rl_arena_printf(rl_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What `from` has handed out is `to`'s from now on; `from` is as new. */
void rl_arena_join(rl_arena *to, rl_arena *from);
/* Forgets all allocations, keeps the first chunk, so a connection that is kept alive stops allocating. */
void rl_arena_reset(rl_arena *a);
void rl_arena_free(rl_arena *a);

#endif
