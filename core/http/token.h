/* The access token for one of Microsoft's services, by whichever login is configured (login.h). For one loop.
 *
 * One token for all who ask that service, one request under way at most. After 80 % of its life it is renewed, while it
 * is used on: so a login service that is away for a while is noticed by nobody. Neither a secret nor the token is ever
 * logged. */
#ifndef RL_HTTP_TOKEN_H
#define RL_HTTP_TOKEN_H

#include "http/client.h"

typedef struct rl_token rl_token;

/* A fetch that somebody has asked for ended; `failure` is NULL when there is a token now, else valid during the call.
 * Its code says whether waiting helps: RL_EBUSY, and those of rl_http_response; RL_EDENIED, RL_EBADMSG: it does not. */
typedef void (*rl_token_fn)(void *ctx, const rl_error *failure, int64_t retry_after_ms);

/* `resource` is the service's base URL, as in REVLINE_GRAPH_URL: its scope is {resource}/.default. It, `client` and
 * `s` must outlive the token. */
rl_err rl_token_new(rl_http_client *client, const rl_settings *s, const char *resource, rl_token_fn fn, void *ctx,
                    rl_token **out, rl_error *e);
/* Only after the client was closed: a call may be under way before. */
void rl_token_free(rl_token *t);

/* The token and its number, or NULL when there is none that is still good; starts its renewal when that is due. Valid
 * until the next fetch ends. */
const char *rl_token_text(rl_token *t, unsigned *number);
/* Starts a fetch, or joins the one under way; the token's function is called later. A certificate or federated login
 * reads its file here, and an error of that is returned. */
rl_err rl_token_fetch(rl_token *t, rl_error *e);
/* The API refused this token: forgets it, unless it has been replaced already. */
void rl_token_drop(rl_token *t, unsigned number);

#endif
