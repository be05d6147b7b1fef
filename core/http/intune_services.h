/* Intune's own services: where they are, as Microsoft Graph tells, and questions to them. For one loop.
 *
 * An address is looked up once and kept until a request to it fails; whoever waits for it shares one look-up. Tokens
 * are asked for as needed, one for Graph and one for the Intune API (REVLINE_INTUNE_URL). The latter goes to the
 * address that Graph told and to no other: redirects are not followed. */
#ifndef RL_HTTP_INTUNE_SERVICES_H
#define RL_HTTP_INTUNE_SERVICES_H

#include "http/client.h"

typedef enum {
    RL_INTUNE_PKI_CONNECTOR,   /* requests to revoke */
    RL_INTUNE_SCEP_VALIDATION, /* challenges */
    RL_INTUNE_SERVICES
} rl_intune_service;

typedef struct rl_intune rl_intune;

/* `client` and `s` must outlive it. RL_ENOMEM. */
rl_err rl_intune_new(rl_http_client *client, const rl_settings *s, rl_intune **out, rl_error *e);
/* Only after the client was closed, which ends every question. NULL is allowed. */
void rl_intune_free(rl_intune *i);

/* Posts a JSON body (copied) to {address of the service}/{action}. `fn` is called later, once: with the service's
 * answer whatever its status, or with r->err and a message when there is none, also because its address or a token
 * cannot be had. A token that is refused is replaced, and an address that no longer answers looked up again, once for
 * each question; nothing else is repeated. */
rl_err rl_intune_ask(rl_intune *i, rl_intune_service service, const char *action, rl_span body, rl_http_response_fn fn,
                     void *arg, rl_error *e);

/* ---- pure ---- */
/* Reads Graph's list of endpoints: the address of each service without a slash at its end, malloced; NULL for one that
 * is not listed, or whose address is not a URL of https, or with `plain` of http. Of several the first that is one
 * counts. RL_EBADMSG, RL_ERANGE: it is not such a list; RL_ENOMEM; then there is nothing to free. */
rl_err rl_intune_services_read(rl_span body, bool plain, char *out[RL_INTUNE_SERVICES], rl_error *e);

#endif
