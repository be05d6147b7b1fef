/* EST (RFC 7030, RFC 8951) for the enrollment profiles that have a challenge or take Entra ID's tokens:
 * /.well-known/est/…, over TLS only. */
#ifndef RL_SCEP_EST_H
#define RL_SCEP_EST_H

#include "http/bearer.h"
#include "scep/scep.h"

typedef struct rl_est rl_est;

/* `scep`, `s` and `bearer` must outlive it; without the last one (NULL) no token is taken. */
rl_err rl_est_open(rl_scep *scep, const rl_settings *s, rl_bearer *bearer, rl_est **out, rl_error *e);
void rl_est_close(rl_est *est); /* after the HTTP server has stopped; NULL is allowed */
size_t rl_est_routes(rl_est *est, rl_http_route *routes, size_t cap);

#endif
