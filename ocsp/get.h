/* OCSP over GET (RFC 6960 A.1): the request is in the path, base64 and percent-encoded. Pure. */
#ifndef RL_OCSP_GET_H
#define RL_OCSP_GET_H

#include "ocsp/request.h"

enum {
    OCSP_GET_MEND_MAX = 1024, /* characters of base64: RFC 5019's requests have less than 255 */
    OCSP_PATH_START_MAX = 320,
};

/* Decodes what follows the responder's path. Clients and what is between differ from the RFC, and each of these is
 * taken, since base64 of a request leaves no doubt what is meant:
 * - '+', '/' and '=' percent-encoded or not, in hexadecimal of either case; encoded twice (%252B), by a client that
 *   encodes a URL that it was given encoded
 * - a space for '+', by what decodes a path as if it were a form
 * - line breaks, percent-encoded, by base64 encoders for mail
 * - base64url, and no padding (RFC 4648 §5), by JavaScript and JOSE libraries
 * - slashes in front, from a responder URL that ends in one, and behind, from a client or proxy that ends paths so
 * - path segments in front, from a responder URL with a longer path
 * - one slash of several merged into its neighbour, which proxies do unless told not to, or doubled by joining pieces
 *
 * The last three are read only where the length in the DER header says how many characters there must be, and only as
 * what ocsp_request_parse takes. A slash is put back, or taken out, only when a single place for it makes a request:
 * so the serial number asked for is never a guess. There is no 255-octet rule (RFC 5019 §5 is for clients): a path is
 * as long as the server's limit for headers allows, and paths to be mended at most OCSP_GET_MEND_MAX.
 *
 * `memory` must hold path.n octets; the result lies in it. RL_EBADMSG when it does not decode. What decodes need not
 * be a request. */
rl_err ocsp_get_decode(rl_span path, uint8_t *memory, size_t cap, rl_span *der);

/* How a path begins, and what that is in DER: all paths of a client that asks about one issuer's certificates begin so.
 * All zero: none. */
typedef struct ocsp_path_start {
    size_t path_n, der_n;
    uint8_t path[OCSP_PATH_START_MAX];
    uint8_t der[OCSP_FRAME_MAX];
} ocsp_path_start;

/* Notes how the path that was decoded to `der` begins, up to at most der_n of its octets. */
void ocsp_path_start_set(ocsp_path_start *s, rl_span path, rl_span der, size_t der_n);
/* True only when the path begins so and ocsp_get_decode would take it; then with the same result. */
bool ocsp_get_decode_from(const ocsp_path_start *s, rl_span path, uint8_t *memory, size_t cap, rl_span *der);

#endif
