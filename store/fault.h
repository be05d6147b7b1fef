/* Fault hooks of the store, for tests: nothing in the program calls them. */
#ifndef RL_STORE_FAULT_H
#define RL_STORE_FAULT_H

#include "store/store.h"

/* The next group that has something to write fails as if the disk had: nothing of it is written, everybody in it
 * gets RL_EIO, and rl_store_check reports it until a later write succeeds. Any thread. */
void rl_store_fail_next_write(rl_store *s);

/* Called before each write, on the thread that writes, which waits until it returns: so a group can be kept from being
 * written while the next one runs. Set while nothing is being written; NULL: none. */
void rl_store_before_write(rl_store *s, void (*fn)(void *ctx), void *ctx);

#endif
