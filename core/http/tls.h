/* TLS for the server: the certificate that new connections get, which may change while serving, and the keys of session
 * tickets. Owned by whoever starts the server; any thread. RFC 8446, RFC 5246, RFC 9325, RFC 5077, RFC 7301. */
#ifndef RL_HTTP_TLS_H
#define RL_HTTP_TLS_H

#include "base/settings.h"

typedef struct rl_http_tls rl_http_tls;

/* Without a certificate yet: load one before a server uses it. RL_ENOMEM, RL_EIO. */
rl_err rl_http_tls_new(rl_http_tls **out, rl_error *e);
void rl_http_tls_free(rl_http_tls *t); /* after the server has stopped; NULL is allowed */

/* Reads PEM files: the certificate with its chain behind it, and the private key, which may be in the same file. From
 * then on new connections get them; what is open keeps what it has, and sessions are resumed all the same. On failure
 * nothing changes. RL_EIO: a file cannot be read; RL_EBADMSG: it holds no certificate, or no key without a pass phrase;
 * RL_EINVAL: the key is another certificate's. */
rl_err rl_http_tls_load(rl_http_tls *t, const char *cert_path, const char *key_path, rl_error *e);

#endif
