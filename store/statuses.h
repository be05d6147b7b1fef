/* The statuses of certificates that were asked for last, in memory: a table file holds a certificate asked for here and
 * one there in a block of its own each, so with millions of them most look-ups would read a block for some thirty
 * octets. At most 16 MiB, for some 200,000 certificates. Any thread. Private. */
#ifndef RL_STORE_STATUSES_H
#define RL_STORE_STATUSES_H

#include "store/store.h"

typedef struct rl_statuses rl_statuses;

rl_statuses *rl_statuses_new(void); /* NULL: out of memory */
void rl_statuses_free(rl_statuses *s);
bool rl_statuses_find(rl_statuses *s, const rl_cert_id *id, rl_cert_status *out);
/* To be taken before the database is read, and given back with what was read. */
uint64_t rl_statuses_mark(const rl_statuses *s);
void rl_statuses_keep(rl_statuses *s, uint64_t mark, const rl_cert_id *id, const rl_cert_status *status);
/* The certificates of these events have been written: when it returns, nobody finds what they were before. */
void rl_statuses_forget(rl_statuses *s, const rl_store_event *events, size_t n);

#endif
