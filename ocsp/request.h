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

/* Reads one CertID and leaves `in` behind it. */
rl_err ocsp_read_cert_id(rl_span *in, ocsp_cert_id *id);

#endif
