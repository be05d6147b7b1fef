/* Arena: a chain of chunks, newest first, each filled from its start. The oldest chunk outlives a reset,
 * so that a connection's second request of ordinary size asks malloc for nothing.
 * Under AddressSanitizer what has not been handed out is poisoned: overruns between neighbours show. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_ALIGN = 16, CHUNK_FIRST = 4096, CHUNK_MAX = 256 * 1024, CHUNK_KEPT_MAX = 16 * 1024 };

typedef struct rl_arena_chunk {
    struct rl_arena_chunk *older;
    size_t cap, fill;
    _Alignas(ARENA_ALIGN) uint8_t data[];
} chunk;

void rl_arena_init(rl_arena *a, size_t limit)
{
    *a = (rl_arena){.limit = limit};
}

static chunk *chunk_new(chunk *older, size_t need)
{
    /* Chunks grow with the request, so that a large one takes few of them. */
    size_t cap = older == NULL ? CHUNK_FIRST - sizeof(chunk) : older->cap * 2;
    if (cap > CHUNK_MAX)
        cap = CHUNK_MAX;
    if (cap < need)
        cap = need;
    chunk *c = malloc(sizeof *c + cap);
    if (c == NULL)
        return NULL;
    *c = (chunk){.older = older, .cap = cap};
    ASAN_POISON_MEMORY_REGION(c->data, cap);
    return c;
}

void *rl_arena_alloc(rl_arena *a, size_t n)
{
    if (n > SIZE_MAX / 4 || (a->limit != 0 && (a->used > a->limit || n > a->limit - a->used)))
        return NULL;
    size_t step = ((n > 0 ? n : 1) + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    chunk *c = a->head;
    if (c == NULL || c->cap - c->fill < step) {
        c = chunk_new(c, step);
        if (c == NULL)
            return NULL;
        a->head = c;
    }
    void *p = c->data + c->fill;
    c->fill += step;
    a->used += step; /* with the rounding: a limit bounds memory, however small the pieces */
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return p;
}

void *rl_arena_zalloc(rl_arena *a, size_t n)
{
    void *p = rl_arena_alloc(a, n);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

char *rl_arena_strndup(rl_arena *a, const void *p, size_t n)
{
    char *s = n < SIZE_MAX ? rl_arena_alloc(a, n + 1) : NULL;
    if (s == NULL)
        return NULL;
    if (n > 0)
        memcpy(s, p, n);
    s[n] = '\0';
    return s;
}

rl_span rl_arena_copy(rl_arena *a, rl_span s)
{
    uint8_t *p = rl_arena_alloc(a, s.n);
    if (p == NULL)
        return (rl_span){NULL, 0};
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return (rl_span){p, s.n};
}

char *rl_arena_printf(rl_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = n >= 0 ? rl_arena_alloc(a, (size_t)n + 1) : NULL;
    if (s != NULL)
        (void)vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return s;
}

void rl_arena_join(rl_arena *to, rl_arena *from)
{
    chunk **end = &to->head;
    while (*end != NULL)
        end = &(*end)->older;
    *end = from->head;
    to->used += from->used;
    rl_arena_init(from, from->limit);
}

static chunk *chunk_drop(chunk *c)
{
    chunk *older = c->older;
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->cap);
    free(c);
    return older;
}

void rl_arena_reset(rl_arena *a)
{
    while (a->head != NULL && a->head->older != NULL)
        a->head = chunk_drop(a->head);
    /* A first chunk that one big allocation blew up is not kept: idle connections would sum up. */
    if (a->head != NULL && a->head->cap > CHUNK_KEPT_MAX)
        a->head = chunk_drop(a->head);
    if (a->head != NULL) {
        ASAN_POISON_MEMORY_REGION(a->head->data, a->head->cap);
        a->head->fill = 0;
    }
    a->used = 0;
}

void rl_arena_free(rl_arena *a)
{
    while (a->head != NULL)
        a->head = chunk_drop(a->head);
    a->used = 0;
}
