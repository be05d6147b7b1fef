/* OCSP responses (RFC 6960 §4.2): builds and signs a BasicOCSPResponse, and the unsigned error answers. Pure but
 * for the signature: no store, no server, no clock. */
#ifndef RL_OCSP_RESPONSE_H
#define RL_OCSP_RESPONSE_H

#include "crypto/signer.h"
#include "ocsp/request.h"
#include "store/records.h"

/* RFC 6960 §4.2.1 OCSPResponseStatus */
typedef enum {
    OCSP_SUCCESSFUL = 0,
    OCSP_MALFORMED_REQUEST = 1,
    OCSP_INTERNAL_ERROR = 2,
    OCSP_TRY_LATER = 3,
    OCSP_UNAUTHORIZED = 6,
} ocsp_response_status;

/* An error answer: five static octets, unsigned (RFC 6960 §2.3). */
rl_span ocsp_error_response(ocsp_response_status status);

typedef enum { OCSP_GOOD, OCSP_REVOKED, OCSP_UNKNOWN } ocsp_cert_status;

/* RFC 6960 §4.2.1 SingleResponse */
typedef struct ocsp_single {
    rl_span cert_id; /* the whole CertID as asked */
    ocsp_cert_status status;
    int64_t revoked_at; /* OCSP_REVOKED: Unix seconds */
    rl_reason reason;   /* unspecified is left out (RFC 5280 §5.3.1) */
    int64_t next_update;
    bool archived; /* the certificate has expired; its status is kept since (RFC 6960 §4.4.4) */
    int64_t archive_cutoff;
} ocsp_single;

typedef struct ocsp_response {
    const ocsp_single *singles;
    size_t singles_n;
    int64_t produced_at;  /* and every thisUpdate: answers come from the newest state, made when asked */
    rl_span nonce;        /* .p == NULL: none */
    bool extended_revoke; /* a `revoked` is for a certificate that was not issued (RFC 6960 §2.2, §4.4.8) */
} ocsp_response;

/* Who signs. */
typedef struct ocsp_identity {
    rl_signer *signer;
    rl_span cert;         /* its certificate, DER: goes along */
    uint8_t key_hash[20]; /* SHA-1 of its subjectPublicKey bits: ResponderID byKey, unless: */
    rl_span name;         /* its subject, DER: ResponderID byName; .p == NULL: byKey */
} ocsp_identity;

/* Octets that always suffice for this response. */
size_t ocsp_response_bound(const ocsp_response *r, const ocsp_identity *who);
/* Writes the whole OCSPResponse into `memory`; RL_ERANGE when it does not fit, RL_ECRYPTO when signing fails. */
rl_err ocsp_response_build(const ocsp_response *r, const ocsp_identity *who, uint8_t *memory, size_t cap, rl_span *out,
                           rl_error *e);

/* ---- of a whole OCSPResponse that was built here ---- */
/* What follows the signature, when it ends where the whole ends; else empty. */
rl_span ocsp_response_certs(rl_span response);
/* The first SingleResponse's CertID. RL_EBADMSG for what is no answer. */
rl_err ocsp_response_cert_id(rl_span response, ocsp_cert_id *id);

#endif
