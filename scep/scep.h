/* SCEP (RFC 8894): the enrollment profiles that have a challenge, each at its path and also at …/pkiclient.exe. */
#ifndef RL_SCEP_SCEP_H
#define RL_SCEP_SCEP_H

#include "ca/ca.h"
#include "http/server.h"

typedef struct rl_scep rl_scep;

rl_err rl_scep_open(rl_ca *ca, const rl_settings *s, rl_scep **out, rl_error *e);
void rl_scep_close(rl_scep *s);
/* Routes of the profiles that are on (have a challenge); returns how many of `cap` were filled. */
size_t rl_scep_routes(rl_scep *s, rl_http_route *routes, size_t cap);
/* Those profiles, for telling where they are. */
void rl_scep_each_profile(const rl_scep *s, void (*each)(const char *path, void *ctx), void *ctx);

#endif
