/* The delegated responder (RFC 6960 §4.2.2.2): a key that lives in memory only and a short-lived certificate for it,
 * replaced at half of its life by a thread of its own. */
#ifndef RL_OCSP_RESPONDER_H
#define RL_OCSP_RESPONDER_H

#include <stdatomic.h>

#include "ca/ca.h"
#include "ocsp/response.h"

/* One key with its certificate. Immutable, counted: a signature under way keeps the one it began with. */
typedef struct ocsp_delegate {
    _Atomic uint32_t refs;
    ocsp_identity identity;
    int64_t made_at, renew_at, not_before, not_after; /* Unix seconds */
    rl_signer *signer;
    uint8_t *cert, *name; /* OPENSSL_malloc; the name is NULL when answers name the key */
} ocsp_delegate;
void ocsp_delegate_drop(ocsp_delegate *d);

typedef struct ocsp_responder ocsp_responder;
/* Makes the first delegate of the issuing CA and starts the thread. */
rl_err ocsp_responder_start(const rl_ca *ca, const rl_settings *s, ocsp_responder **out, rl_error *e);
/* Stops at once, or after the signature it is in. NULL is allowed. */
void ocsp_responder_stop(ocsp_responder *r);

/* The newest delegate, with a reference for the caller. Any thread. */
ocsp_delegate *ocsp_responder_current(ocsp_responder *r);

#endif
