/* SCEP (RFC 8894): the enrollment profiles that have a challenge, each at its path and also at …/pkiclient.exe. */
#ifndef RL_SCEP_SCEP_H
#define RL_SCEP_SCEP_H

#include "ca/ca.h"
#include "http/guesses.h"

typedef struct rl_scep rl_scep;

/* `ca`, `store` and `guesses`, which counts wrong challenges and may be NULL, are borrowed. */
rl_err rl_scep_open(rl_ca *ca, rl_store *store, rl_guesses *guesses, const rl_settings *s, rl_scep **out, rl_error *e);
void rl_scep_close(rl_scep *s);
/* Routes of the profiles that are on (have a challenge); returns how many of `cap` were filled. */
size_t rl_scep_routes(rl_scep *s, rl_http_route *routes, size_t cap);
/* Appends the current revocation list (DER) of an issuer of ours. RL_EBUSY: it is still being made. */
typedef rl_err (*rl_scep_crl)(void *ctx, rl_issuer_id issuer, rl_buf *out);
/* What GetCRL answers from; set once, before the first request. */
void rl_scep_on_crl(rl_scep *s, rl_scep_crl current, void *ctx);
/* Those profiles, for telling where they are. */
void rl_scep_each_profile(const rl_scep *s, void (*each)(const char *path, void *ctx), void *ctx);

#endif
