/* Counts what a program asks of malloc: preloaded (LD_PRELOAD) into the server by bench/cost.py.
 *
 * The count is a u64 in the first octets of the file that BENCH_ALLOCATIONS names, mapped into memory, so that it can
 * be read while the program runs. Giving memory back is not counted. All threads of the program. */
#include <errno.h>
#include <fcntl.h>
#include <jemalloc/jemalloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t before_mapped;
static _Atomic uint64_t *count = &before_mapped;

__attribute__((constructor)) static void map_count(void)
{
    const char *path = getenv("BENCH_ALLOCATIONS");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    void *p = ftruncate(fd, sizeof(*count)) == 0 ? mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                                                 : MAP_FAILED;
    if (p != MAP_FAILED)
        count = p;
    close(fd);
}

/* The program's allocator gives the memory, by functions of its own that are not counted: its malloc would have to be
 * looked up, which allocates. They take neither a size of 0
 * nor NULL, which the standard ones do. */
static void *counted(size_t n, int flags)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    void *p = mallocx(n > 0 ? n : 1, flags);
    if (!p)
        errno = ENOMEM;
    return p;
}

void *malloc(size_t n)
{
    return counted(n, 0);
}

void *calloc(size_t n, size_t size)
{
    size_t all;
    if (!__builtin_mul_overflow(n, size, &all))
        return counted(all, MALLOCX_ZERO);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *p, size_t n)
{
    if (!p)
        return counted(n, 0);
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    void *q = rallocx(p, n > 0 ? n : 1, 0);
    if (!q)
        errno = ENOMEM;
    return q;
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return counted(n, MALLOCX_ALIGN(alignment));
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
    *out = counted(n, MALLOCX_ALIGN(alignment));
    return *out ? 0 : ENOMEM;
}

void free(void *p)
{
    if (p)
        dallocx(p, 0);
}

size_t malloc_usable_size(void *p)
{
    return p ? sallocx(p, 0) : 0;
}
