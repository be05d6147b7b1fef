/* How the program's allocator, jemalloc, is set up: it reads this name before main begins (jemalloc(3), "TUNING").
 *
 * Hundreds of megabytes of answers, statuses and blocks are looked into at random. In pages of 4 KiB each look also
 * waits for the page table, on a virtual machine for that of its host too; in pages of 2 MiB it seldom does. Where the
 * system offers these only to who asks (/sys/kernel/mm/transparent_hugepage/enabled: madvise), this asks.
 *
 * jemalloc gives what was freed back to the system after ten seconds, in parts of huge pages too, which so become small
 * ones for good: of a database at work, whose block cache frees and allocates with each block that it reads, two thirds
 * were. After ten minutes it gives back what a peak has left, and hardly any of what is in use. What lies free is found
 * again sooner where it is not spread over arenas: four for every core is what jemalloc would have. */
#include <jemalloc/jemalloc.h>

const char *malloc_conf = "thp:always,dirty_decay_ms:600000,narenas:4";
