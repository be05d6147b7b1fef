/* What a delta list holds (RFC 5280 §5.2.4): the certificates whose entry has changed since the base. Pure.
 *
 * A client may join the delta with any complete list from the base on, not only with the base. So whatever came, went
 * or changed on one of them is in the delta until there is a new base, also when it is as it was on the base. */
#ifndef RL_OCSP_CRL_DELTA_H
#define RL_OCSP_CRL_DELTA_H

#include "base/span.h"
#include "store/records.h"

enum { OCSP_CRL_CHANGES_MAX = 20000 };

typedef struct ocsp_crl_change {
    uint8_t n, serial[RL_STORE_SERIAL_MAX];
} ocsp_crl_change;

/* By serial number, each once; starts zeroed. */
typedef struct ocsp_crl_changes {
    ocsp_crl_change *changes;
    size_t n, cap;
} ocsp_crl_changes;

void ocsp_crl_changes_free(ocsp_crl_changes *c); /* zeroed again */

/* The contents of revokedCertificates of a list in DER, which ocsp_crl_build made; empty when it has none. RL_EBADMSG.
 */
rl_err ocsp_crl_entries(rl_span list, rl_span *entries);

/* Adds what is not the same in two such contents, each in the order of the store. RL_ERANGE: more than
 * OCSP_CRL_CHANGES_MAX, so that it is time for a new base; RL_EBADMSG, RL_ENOMEM. */
rl_err ocsp_crl_changes_add(ocsp_crl_changes *c, rl_span before, rl_span after);

/* Appends a delta's entries: those of the complete list's that have changed, and removeFromCRL, as of `at` (Unix
 * seconds), for what is no more on it. */
rl_err ocsp_crl_delta_entries(const ocsp_crl_changes *c, rl_span complete, int64_t at, rl_buf *entries);

#endif
