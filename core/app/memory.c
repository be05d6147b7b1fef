/* How the program's allocator, jemalloc, is set up: it reads this name before main begins (jemalloc(3), "TUNING").
 *
 * Hundreds of megabytes of answers, statuses and blocks are looked into at random. In pages of 4 KiB each look also
 * waits for the page table, on a virtual machine for that of its host too; in pages of 2 MiB it seldom does. Where the
 * system offers these only to who asks (/sys/kernel/mm/transparent_hugepage/enabled: madvise), this asks. */
#include <jemalloc/jemalloc.h>

const char *malloc_conf = "thp:always";
