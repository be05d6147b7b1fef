/* Between ocsp.c, handler.c and crl_publish.c. */
#ifndef RL_OCSP_OCSP_PRIV_H
#define RL_OCSP_OCSP_PRIV_H

#include "ocsp/flights.h"
#include "ocsp/get.h"
#include "ocsp/ocsp.h"

/* What the last requests to a worker looked like: the next ones are nearly always about another certificate of the same
 * issuer, by the same kind of client. Requests of other lengths are other kinds. */
enum { OCSP_FAMILIAR = 4 };
typedef struct ocsp_familiar {
    ocsp_request_frame frames[OCSP_FAMILIAR];
    ocsp_key keys[OCSP_FAMILIAR]; /* of the request that the frame is of: an issuer never goes, nor its number */
    ocsp_path_start starts[OCSP_FAMILIAR];
} ocsp_familiar;

struct rl_ocsp {
    ocsp_context context; /* of the miss path */
    rl_http_pool *pool;   /* signs */
    ocsp_flights flights;
    ocsp_familiar *familiar; /* each worker's */
    rl_metric *responses[OCSP_OUTCOMES], *hits, *misses, *joined, *refreshed;
};

/* Of cached answers: for the two handlers below. */
extern const rl_http_lookup ocsp_lookup_post, ocsp_lookup_get;
void ocsp_handle_post(rl_http_request *req, void *ctx);
void ocsp_handle_get(rl_http_request *req, void *ctx);
/* Everything that no other route takes: 404 unless it is an OCSP request. */
void ocsp_handle_root(rl_http_request *req, void *ctx);

/* RFC 9110 §13.1.2: the client holds this very representation, by its tag, one in quotes, or any (*). §13.1.3: a date
 * counts only without tags, and one that cannot be read does not; `modified` is INT64_MAX when dates tell nothing.
 * Never for POST. */
bool ocsp_client_has(const rl_http_request *req, rl_span tag, int64_t modified);

#endif
