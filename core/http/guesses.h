/* Slows who guesses at secrets: challenges, passwords, tokens.
 *
 * Each client address (IPv4, IPv6 /64) may be wrong `limit` times within `window`, all at once or spread; every wrong
 * secret costs a place, and time alone gives it back. While there is none left, nothing of that address is judged, a
 * right secret neither: it is asked to come again when there is. Being right costs nothing and mends nothing.
 *
 * What is judged at the same time all counts, so that an address can come to owe more than `limit`, and waits longer.
 * The table has a fixed size; of many addresses those that owe the least are forgotten. Thread-safe. */
#ifndef RL_HTTP_GUESSES_H
#define RL_HTTP_GUESSES_H

#include "http/server.h"

typedef struct rl_guesses rl_guesses;
typedef enum { RL_GUESS_SCEP, RL_GUESS_EST, RL_GUESS_API, RL_GUESS_KINDS } rl_guess_kind; /* for the metrics */

/* `limit` 0: nobody is slowed, and all there is NULL, which the other functions take. RL_ENOMEM. */
rl_err rl_guesses_new(int64_t limit, rl_duration window_ms, rl_guesses **out, rl_error *e);
void rl_guesses_free(rl_guesses *g);

/* To be asked before a secret is looked at. 0: go on. Else the seconds after which the client may come again; it is
 * counted and logged. */
unsigned rl_guess_wait(rl_guesses *g, const rl_http_request *req, rl_guess_kind kind);
/* The answer to who has to wait: 429 (RFC 6585 §4) with Retry-After. */
void rl_guess_refuse(rl_http_request *req, unsigned seconds);
/* The secret was wrong. Before the reply, and like all here on the request's worker: the threads of pools have a lower
 * priority, and no loop should wait for one that has the lock. */
void rl_guess_wrong(rl_guesses *g, const rl_http_request *req, rl_guess_kind kind);

/* ---- by address, as http/peers.h has it ---- */
enum { GUESSES_SETS = 2048, GUESSES_WAYS = 8 }; /* addresses that are remembered */
unsigned guesses_wait(rl_guesses *g, uint64_t peer);
void guesses_wrong(rl_guesses *g, uint64_t peer);

#endif
