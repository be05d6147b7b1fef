/* Who the client is of a request that has come through reverse proxies. */
#ifndef RL_HTTP_FORWARDED_H
#define RL_HTTP_FORWARDED_H

#include "base/network.h"
#include "http/server.h"

typedef struct http_proxies http_proxies;

/* Networks as REVLINE_TRUSTED_PROXIES has them. RL_EINVAL, RL_ENOMEM. */
rl_err http_proxies_new(const rl_text_list *networks, http_proxies **out, rl_error *e);
void http_proxies_free(http_proxies *p);
bool http_proxies_have(const http_proxies *p, const rl_address *a);

/* X-Forwarded-For, to which each proxy appends the address that it was asked from: the last one that is no trusted
 * proxy's, for what is in front of it was written by nobody who is trusted. When all are, the first. Something else
 * than an address ends it, and what it was appended to counts. At most HTTP_PROXIES_MAX are gone through.
 *
 * `from` is the address of the connection, a trusted proxy's. Returns the client's, which is `from` without the header.
 */
enum { HTTP_PROXIES_MAX = 16 };
rl_address http_forwarded_for(const http_proxies *p, const rl_http_request *req, rl_address from);

#endif
