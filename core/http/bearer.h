/* Who calls, by a bearer token of Microsoft Entra ID (RFC 6750): an access token of the tenant AZURE_TENANT_ID for this
 * server (REVLINE_ENTRA_AUDIENCE).
 *
 * The tenant's keys are fetched by a thread of its own, ahead of their use: no request waits for them. The ones that
 * are known stay in use while Entra ID cannot be asked. */
#ifndef RL_HTTP_BEARER_H
#define RL_HTTP_BEARER_H

#include "base/settings.h"
#include "http/jwt.h"

typedef struct rl_caller {
    char id[RL_GUID_SIZE];     /* object id in the directory (oid): of the user, or of the application's principal */
    char device[RL_GUID_SIZE]; /* Entra deviceId of the device that the token was given to; "" = not told */
    char name[256];   /* the user's principal name as the token has it, lower case; "" = not told. It may change
                         and be given to somebody else: `id` says who it is */
    bool application; /* acts for itself, not for a user */
    json_t *roles;    /* application roles: an array, or NULL */
} rl_caller;
bool rl_caller_has(const rl_caller *c, const char *role);
void rl_caller_clear(rl_caller *c);

typedef struct rl_bearer rl_bearer;
/* `s` must outlive it. */
rl_err rl_bearer_open(const rl_settings *s, rl_bearer **out, rl_error *e);
void rl_bearer_close(rl_bearer *b); /* when nobody checks any more; NULL is allowed */

/* Any thread; does not wait. The caller is cleared by whoever asked. RL_EDENIED: the token is not to be accepted, `e`
 * says why, without what is in it; RL_EBUSY: the key that it names is not known yet, try again in RL_BEARER_RETRY
 * seconds; RL_ENOMEM. */
enum { RL_BEARER_RETRY = 5 };
rl_err rl_bearer_check(rl_bearer *b, rl_span token, rl_caller *out, rl_error *e);

/* ---- caller.c: pure ---- */
/* Whether claims of the tenant make a caller of this server at `now` (Unix seconds). RL_EDENIED with the reason. */
rl_err rl_caller_read(const json_t *claims, const rl_settings *s, int64_t now, rl_caller *out, rl_error *e);
/* {AZURE_AUTHORITY_HOST}/{AZURE_TENANT_ID}/v2.0: the tenant as issuer of tokens (OpenID Connect Discovery §3). Appends,
 * without NUL. */
rl_err rl_bearer_issuer(const rl_settings *s, rl_buf *out);

#endif
