/* OCSP responder (RFC 6960, RFC 9654 nonce, RFC 5019 and RFC 9111 for caching over HTTP).
 * The request parser (ocsp/request.h) and the response builder know nothing of the server; the handlers tie them to it.
 */
#ifndef RL_OCSP_OCSP_H
#define RL_OCSP_OCSP_H

#include "ca/ca.h"
#include "http/server.h"

typedef struct rl_ocsp rl_ocsp;

/* Makes the first delegated responder certificate for each issuer of our own and registers as the store's commit
 * listener: call before the first write of other parts. A thread of its own rolls the responder certificate over well
 * before it ends.
 */
rl_err rl_ocsp_open(rl_store *store, rl_ca *ca, const rl_settings *s, rl_ocsp **out, rl_error *e);
void rl_ocsp_close(rl_ocsp *o);

/* The certificate that was installed for a foreign issuer now: what is signed from here on is signed by its key. */
rl_err rl_ocsp_take_delegate(rl_ocsp *o, const rl_issuer *issuer, rl_error *e);
/* End of the certificate that signs for this issuer, Unix seconds; 0: there is none. */
int64_t rl_ocsp_delegate_not_after(rl_ocsp *o, const rl_issuer *issuer);

/* Until when, in Unix seconds and exclusively, a certificate's status may be told; INT64_MAX: no limit. Asked for each
 * answer that is made about one that is not revoked for good, on the signing threads. No answer reaches beyond it, so
 * cached ones need no look; from then on the answer is tryLater. */
void rl_ocsp_limit(rl_ocsp *o, int64_t (*told_until)(const rl_cert_record *cert, void *ctx), void *ctx);

/* POST /ocsp, GET /ocsp/{base64}, and the same at "/": fills up to `cap` routes, returns how many. GET "/" without a
 * path behind it is not among them. The last is the prefix "/", which takes every path that has no other route: what
 * is no OCSP request is 404 there. */
size_t rl_ocsp_routes(rl_ocsp *o, rl_http_route *routes, size_t cap);

/* The counts are the metrics': they go on over all responders of the process. */
typedef struct rl_ocsp_figures {
    uint64_t entries, bytes, hits, misses, evictions, signatures;
    int64_t responder_not_before, responder_not_after; /* Unix seconds; 0: there is no responder */
} rl_ocsp_figures;
void rl_ocsp_figures_read(rl_ocsp *o, rl_ocsp_figures *out);

#endif
