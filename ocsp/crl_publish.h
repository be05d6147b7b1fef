/* Publishes our own revocation lists: one for each issuer whose key is here, in memory, made anew soon after a change
 * and well before its end.
 *
 * Every reason is on it, the directories' as well as an admin's: what OCSP says revoked or on hold, the list says, a
 * few seconds later. Its number grows with each list (RFC 5280 §5.2.3), over restarts too. */
#ifndef RL_OCSP_CRL_PUBLISH_H
#define RL_OCSP_CRL_PUBLISH_H

#include "ca/ca.h"
#include "http/server.h"

typedef struct rl_crls rl_crls;

/* Starts the thread that makes them, the first ones at once. RL_ENOMEM, RL_EIO. */
rl_err rl_crls_open(rl_store *store, const rl_ca *ca, const rl_settings *s, rl_crls **out, rl_error *e);
/* After the HTTP server has stopped. NULL is allowed. */
void rl_crls_close(rl_crls *c);

/* GET /crl (of the issuer that issues now), /crl/{issuer number}.crl, /crl/{issuer number}/delta.crl: fills up to `cap`
 * routes, returns how many.
 */
size_t rl_crls_routes(rl_crls *c, rl_http_route *routes, size_t cap);

/* The published list in DER, appended. RL_EBUSY: the first is still being made; RL_ENOTFOUND: no issuer of ours. */
rl_err rl_crls_current(rl_crls *c, rl_issuer_id issuer, rl_buf *out);
/* Makes a list of an issuer of ours from the database as it is, with the next number, and appends it. Blocks. */
rl_err rl_crls_make(rl_store *store, const rl_settings *s, const rl_issuer *issuer, rl_buf *out, rl_error *e);

#endif
