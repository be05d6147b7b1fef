/* OCSP requests (RFC 6960 §4.1): a strict parser over spans. Pure: no allocation, no server, no libuv.
 *
 * Every span of the result points into the request, which must live as long. */
#ifndef RL_OCSP_REQUEST_H
#define RL_OCSP_REQUEST_H

#include "base/span.h"
#include "crypto/hash.h"

enum {
    OCSP_CERT_IDS_MAX = 64,   /* ceiling of REVLINE_OCSP_MAX_CERT_IDS */
    OCSP_NONCE_MAX = 128,     /* RFC 9654 §2.1 */
    OCSP_EXTENSIONS_MAX = 32, /* in one list; RFC 6960 knows four that a request may have */
    OCSP_FRAME_MAX = 192,     /* octets before the serial number; with SHA-512 some 170 */
};

/* RFC 6960 §4.1.1 CertID */
typedef struct ocsp_cert_id {
    rl_span whole;   /* the element as sent: the answer repeats it octet for octet */
    bool known_hash; /* `hash` and the two hashes' lengths hold; otherwise nobody here can tell the issuer */
    rl_hash hash;
    bool null_parameters; /* the hash's AlgorithmIdentifier has NULL parameters, not none */
    rl_span issuer_name_hash, issuer_key_hash;
    rl_span serial; /* INTEGER contents, at most 20 octets and a sign octet */
    bool negative;
} ocsp_cert_id;

typedef struct ocsp_request {
    size_t ids_n;
    ocsp_cert_id ids[OCSP_CERT_IDS_MAX]; /* the first ids_n are set */
    rl_span nonce;                       /* .p == NULL: none. Without the OCTET STRING's header. */
} ocsp_request;

/* Reads a whole request with 1..max_ids CertIDs. RL_EBADMSG on anything but strict DER of the right shape, on a
 * wrongly sized nonce (RFC 9654 §2.1), an extension that comes twice and octets behind the request; RL_ERANGE on too
 * many CertIDs or extensions or too long a serial; RL_EUNSUPPORTED on another version or an unknown critical
 * extension. All of them are malformedRequest to the client. */
rl_err ocsp_request_parse(rl_span der, size_t max_ids, ocsp_request *out);

/* A request that ends with its serial number, without that: what requests about an issuer's certificates have in
 * common. All zero: none. */
typedef struct ocsp_request_frame {
    size_t n, before_n; /* octets of the request, and of what comes before the serial number */
    uint8_t before[OCSP_FRAME_MAX];
} ocsp_request_frame;

/* Notes the frame of a request that was parsed, if it has one: one CertID, and nothing behind it. */
bool ocsp_request_frame_set(ocsp_request_frame *f, rl_span der, const ocsp_request *request);
/* True only when `der` is a request with this frame: but for the serial number ocsp_request_parse would say of it what
 * it said of the one that was noted. *serial: INTEGER contents, as in ocsp_cert_id. */
bool ocsp_request_in_frame(const ocsp_request_frame *f, rl_span der, rl_span *serial);

/* Reads one CertID and leaves `in` behind it. */
rl_err ocsp_read_cert_id(rl_span *in, ocsp_cert_id *id);

#endif
