/* The delegated responders (RFC 6960 §4.2.2.2), one for each issuer that is answered for.
 *
 * An issuer of our own has a key that lives in memory only and a short-lived certificate for it, replaced at half of
 * its life by a thread of its own. A foreign issuer has the one that was installed for it, until it expires. */
#ifndef RL_OCSP_RESPONDER_H
#define RL_OCSP_RESPONDER_H

#include <stdatomic.h>

#include "ca/ca.h"
#include "ocsp/response.h"

/* One key with its certificate. Immutable, counted: a signature under way keeps the one it began with. */
typedef struct ocsp_delegate {
    _Atomic uint32_t refs;
    rl_issuer_id issuer; /* the only one whose certificates it may speak of */
    bool installed;      /* by an admin: no successor comes by itself */
    ocsp_identity identity;
    rl_serial serial;
    int64_t made_at, not_before, not_after; /* Unix seconds */
    int64_t renew_at; /* half of its life; of an installed one the end, for there is nothing to wait for */
    rl_signer *signer;
    uint8_t *cert, *name; /* OPENSSL_malloc; the name is NULL when answers name the key */
} ocsp_delegate;
void ocsp_delegate_drop(ocsp_delegate *d);

typedef struct ocsp_responder ocsp_responder;
/* Makes the first delegate of every issuer of our own, takes up the installed ones and starts the thread. Fails without
 * one for the issuing CA; another issuer that has none is told of in the log. */
rl_err ocsp_responder_start(const rl_ca *ca, const rl_settings *s, ocsp_responder **out, rl_error *e);
/* Stops at once, or after the signature it is in. NULL is allowed. */
void ocsp_responder_stop(ocsp_responder *r);
/* Whether answers for the CA's own certificates are signed by RSA keys. */
bool ocsp_responder_is_rsa(const ocsp_responder *r);

/* Takes up what is installed now for a foreign issuer: answers that are made from here on are signed by it. */
rl_err ocsp_responder_reload(ocsp_responder *r, const rl_issuer *issuer, rl_error *e);

/* The issuer's newest delegate, with a reference for the caller; NULL when it has none. Whether it is valid now is for
 * the caller to see. Any thread. */
ocsp_delegate *ocsp_responder_current(ocsp_responder *r, rl_issuer_id issuer);

/* Whether the certificate is a delegate's that an issuer of our own has certified here, the present one's or one of the
 * last before it: no table of the store has them. Then its status. Any thread. */
bool ocsp_responder_certified(ocsp_responder *r, const rl_cert_id *id, rl_cert_status *status);

#endif
