/* OCSP over GET (RFC 6960 A.1): the request is in the path, base64 and percent-encoded. Pure. */
#ifndef RL_OCSP_GET_H
#define RL_OCSP_GET_H

#include "base/span.h"

/* Decodes what follows the responder's path. Clients differ in what they encode: '+', '/' and '=' may be
 * percent-encoded or not, padding may be missing, either base64 alphabet is taken (RFC 4648 §4, §5), and slashes
 * in front (a responder URL that ends in one) are skipped: no DER SEQUENCE begins with '/' in base64.
 * `memory` must hold path.n octets; the result lies in it. RL_EBADMSG when it does not decode. */
rl_err ocsp_get_decode(rl_span path, uint8_t *memory, size_t cap, rl_span *der);

#endif
