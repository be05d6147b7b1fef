/* Between ocsp.c and handler.c. */
#ifndef RL_OCSP_OCSP_PRIV_H
#define RL_OCSP_OCSP_PRIV_H

#include "ocsp/flights.h"
#include "ocsp/ocsp.h"

struct rl_ocsp {
    ocsp_context context; /* of the miss path */
    rl_http_pool *pool;   /* signs */
    ocsp_flights flights;
    rl_metric *responses[OCSP_OUTCOMES], *hits, *misses, *joined, *refreshed;
};

/* Of cached answers: for the two handlers below. */
extern const rl_http_lookup ocsp_lookup_post, ocsp_lookup_get;
void ocsp_handle_post(rl_http_request *req, void *ctx);
void ocsp_handle_get(rl_http_request *req, void *ctx);
/* Everything that no other route takes: 404 unless it is an OCSP request. */
void ocsp_handle_root(rl_http_request *req, void *ctx);

#endif
