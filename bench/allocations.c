/* Counts what a program asks of malloc: preloaded (LD_PRELOAD) into the server by bench/cost.py.
 *
 * The count is a u64 in the first octets of the file that BENCH_ALLOCATIONS names, mapped into memory, so that it can
 * be read while the program runs. Giving memory back is not counted. All threads of the program. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, so that no look-up is needed, which would allocate. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

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

void *malloc(size_t n)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    *out = __libc_memalign(alignment, n);
    return *out ? 0 : ENOMEM;
}
