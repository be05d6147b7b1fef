/* How Revline logs in to Microsoft Entra ID for a token: a secret, a certificate, a federated token, or a managed
 * identity. Builds the one request of each and reads the answer; pure but for the files that it reads. */
#ifndef RL_HTTP_LOGIN_H
#define RL_HTTP_LOGIN_H

#include "base/settings.h"

/* In the order in which they are taken when several are configured. */
typedef enum {
    RL_LOGIN_NONE, /* nothing is configured, or not all of it */
    RL_LOGIN_SECRET,
    RL_LOGIN_CERTIFICATE, /* RFC 7523 §2.2: an assertion that the certificate's key signs */
    RL_LOGIN_FEDERATED,   /* the same with a token that the platform keeps in a file */
    RL_LOGIN_APP_SERVICE, /* managed identity of App Service, Functions, Container Apps */
    RL_LOGIN_IMDS,        /* managed identity of a virtual machine: only when asked for by REVLINE_ENTRA_LOGIN */
} rl_login;
rl_login rl_login_of(const rl_settings *s);
/* What is not set that a login needs, as a part of a sentence; NULL when one is complete. */
const char *rl_login_missing(const rl_settings *s);

/* A token request; free it in every case, it holds secrets. */
typedef struct rl_login_request {
    const char *method;
    rl_buf url, form, header; /* with a NUL at the end of url and header; header: one more line, or empty */
    bool direct;              /* never through a proxy */
} rl_login_request;
/* For the service with this base URL. RL_EIO, RL_EINVAL: a file cannot be read, or is not what it should be. */
rl_err rl_login_build(const rl_settings *s, const char *resource, int64_t now, rl_login_request *out, rl_error *e);
void rl_login_request_free(rl_login_request *r);

/* The assertion of a certificate login, a signed JWT (RFC 7515, RFC 7523), appended to `out`; `audience` is the token
 * endpoint. Reads the files anew, so that a renewed certificate is used at the next token. */
rl_err rl_login_assertion(const rl_settings *s, const char *audience, int64_t now, rl_buf *out, rl_error *e);

/* An answer with status 200: the token (malloced) and how many seconds it lives. `date`: the answer's Date header, or
 * our own clock. RL_EBADMSG when there is no usable one. */
rl_err rl_login_read(rl_span body, int64_t date, char **token, int64_t *life_s, rl_error *e);
/* Fills `e` with what the endpoint's refusal says and what to do. RL_EBUSY: it passes by itself; else RL_EDENIED. */
rl_err rl_login_refused(long status, rl_span body, rl_login login, rl_error *e);

/* A file that the setting names, at most `most` octets and a regular one, whole and with a NUL behind it: malloced, the
 * caller wipes and frees. RL_EIO, RL_ERANGE, with the setting and the path in `e`. */
rl_err rl_login_file(const char *setting, const char *path, size_t most, char **text, size_t *n, rl_error *e);

/* ---- for whoever asks for a token ---- */
/* application/x-www-form-urlencoded; also right for one segment of a path. Appends. */
rl_err rl_url_encode(rl_buf *out, const char *text);
/* Whether this may stand behind "Bearer": visible ASCII, something; NULL is not. */
bool rl_token_is_usable(const char *token);

#endif
