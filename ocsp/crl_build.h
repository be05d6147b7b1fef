/* Our own revocation lists (RFC 5280 §5): complete or delta, direct, for all reasons. Pure but for the signature. */
#ifndef RL_OCSP_CRL_BUILD_H
#define RL_OCSP_CRL_BUILD_H

#include "ca/ca.h"

/* Appends one entry to the contents of revokedCertificates. */
rl_err ocsp_crl_entry(rl_buf *entries, const rl_cert_id *id, int64_t revoked_at, rl_reason reason);

enum { OCSP_CRL_URL_MAX = 2048 };

typedef struct ocsp_crl_fields {
    uint64_t number;
    int64_t this_update, next_update; /* Unix seconds */
    rl_span entries;                  /* contents of revokedCertificates; empty = none */
    uint64_t base;                    /* of a delta: the number of the list it starts from; 0 = a complete list */
    const char *freshest;             /* of a complete list: where its delta is; NULL = not said. At most
                                         OCSP_CRL_URL_MAX octets */
} ocsp_crl_fields;
/* The signed list in DER, appended to `out`. `issuer` is one of our own. */
rl_err ocsp_crl_build(const rl_issuer *issuer, const ocsp_crl_fields *f, rl_buf *out, rl_error *e);

#endif
