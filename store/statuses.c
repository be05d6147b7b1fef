/* See statuses.h. Sets of eight entries, found by a hash of the id; a new entry comes first and pushes out the oldest
 * of its set. With so many to a set, hardly one is pushed out before all are half full. Any thread.
 *
 * Invariant: when rl_statuses_forget has returned, no status from before is found. A reader takes the mark, reads the
 * database, and keeps what it has read only while the mark stands, which it looks at under the set's lock. Who forgets
 * moves the mark first and takes the lock after that: so a status that was read too early is either not kept, or is in
 * its set before it is taken out. */
#include "store/statuses.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SETS = 1 << 15, WAYS = 8, LOCKS = 256 };

typedef struct entry {
    rl_cert_id id; /* serial_n == 0: none */
    rl_cert_status status;
} entry;

struct rl_statuses {
    atomic_uint_fast64_t mark;
    pthread_mutex_t locks[LOCKS];
    entry sets[SETS][WAYS]; /* pages that nobody has used yet take no memory */
};

rl_statuses *rl_statuses_new(void)
{
    rl_statuses *s = calloc(1, sizeof(*s));
    for (size_t i = 0; s && i < LOCKS; i++)
        pthread_mutex_init(&s->locks[i], NULL);
    return s;
}

void rl_statuses_free(rl_statuses *s)
{
    for (size_t i = 0; s && i < LOCKS; i++)
        pthread_mutex_destroy(&s->locks[i]);
    free(s);
}

/* FNV-1a. Whoever chooses serial numbers has them push out each other, no more. */
static size_t set_of(const rl_cert_id *id)
{
    uint64_t h = 14695981039346656037u ^ id->issuer;
    for (size_t i = 0; i < id->serial_n; i++)
        h = (h ^ id->serial[i]) * 1099511628211u;
    return (h ^ h >> 32) % SETS;
}

static bool is(const entry *e, const rl_cert_id *id)
{
    return e->id.issuer == id->issuer && e->id.serial_n == id->serial_n &&
           memcmp(e->id.serial, id->serial, id->serial_n) == 0;
}

static entry *lock_set(rl_statuses *s, size_t set)
{
    pthread_mutex_lock(&s->locks[set % LOCKS]);
    return s->sets[set];
}

static void unlock_set(rl_statuses *s, size_t set)
{
    pthread_mutex_unlock(&s->locks[set % LOCKS]);
}

static entry *find(entry *set, const rl_cert_id *id)
{
    for (size_t i = 0; i < WAYS; i++)
        if (is(&set[i], id))
            return &set[i];
    return NULL;
}

bool rl_statuses_find(rl_statuses *s, const rl_cert_id *id, rl_cert_status *out)
{
    const size_t set = set_of(id);
    const entry *found = find(lock_set(s, set), id);
    if (found)
        *out = found->status;
    unlock_set(s, set);
    return found != NULL;
}

uint64_t rl_statuses_mark(const rl_statuses *s)
{
    return atomic_load(&s->mark);
}

void rl_statuses_keep(rl_statuses *s, uint64_t mark, const rl_cert_id *id, const rl_cert_status *status)
{
    const size_t set = set_of(id);
    entry *e = lock_set(s, set);
    if (atomic_load(&s->mark) == mark && !find(e, id)) {
        memmove(&e[1], &e[0], (WAYS - 1) * sizeof(*e));
        e[0] = (entry){*id, *status};
    }
    unlock_set(s, set);
}

void rl_statuses_forget(rl_statuses *s, const rl_store_event *events, size_t n)
{
    atomic_fetch_add(&s->mark, 1);
    for (size_t i = 0; i < n; i++) {
        const size_t set = set_of(&events[i].cert);
        entry *written = find(lock_set(s, set), &events[i].cert);
        if (written)
            written->id.serial_n = 0;
        unlock_set(s, set);
    }
}
