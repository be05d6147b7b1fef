/* The access token for Jamf Pro, by either login. Sync loop only. Neither secrets nor tokens are ever logged. */
#ifndef RL_SYNC_JAMF_TOKEN_H
#define RL_SYNC_JAMF_TOKEN_H

#include "http/client.h"

/* Whether the settings have one of the two: an API client with its secret, or a user with a password. */
bool rl_jamf_has_login(const rl_settings *s);
/* Asks for a token: as the API client if there is one, else as the user. */
rl_err rl_jamf_token_ask(rl_http_client *client, const rl_settings *s, rl_http_response_fn fn, void *arg,
                         rl_http_call **out, rl_error *e);
/* The token in the answer to it (malloced) and for how long it is good, from 1 second to a day. `now` in Unix seconds,
 * for an answer that does not say its date. RL_EDENIED: the login is refused; RL_EBADMSG; what kept the answer away. */
rl_err rl_jamf_token_read(const rl_settings *s, const rl_http_response *r, int64_t now, char **token, int64_t *life_s,
                          rl_error *e);

#endif
