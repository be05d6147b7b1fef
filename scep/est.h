/* EST (RFC 7030, RFC 8951) for the enrollment profiles that have a challenge: /.well-known/est/…, over TLS only. */
#ifndef RL_SCEP_EST_H
#define RL_SCEP_EST_H

#include "scep/scep.h"

typedef struct rl_est rl_est;

/* `scep` and `s` must outlive it. */
rl_err rl_est_open(rl_scep *scep, const rl_settings *s, rl_est **out, rl_error *e);
void rl_est_close(rl_est *est); /* after the HTTP server has stopped; NULL is allowed */
size_t rl_est_routes(rl_est *est, rl_http_route *routes, size_t cap);

#endif
