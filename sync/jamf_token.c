/* The two logins of Jamf Pro, and what they answer:
 *
 *   POST /api/oauth/token    client credentials (RFC 6749 §4.4)  {"access_token": …, "expires_in": seconds}
 *   POST /api/v1/auth/token  Basic (RFC 7617)                    {"token": …, "expires": time}
 */
#include "sync/jamf_token.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "http/login.h"

enum { ANSWER_MAX = 256 * 1024, LIFE_MAX_S = 24 * 3600 };

static bool is_client(const rl_settings *s)
{
    return s->jamf.client_id[0] && s->jamf.client_secret[0];
}

bool rl_jamf_has_login(const rl_settings *s)
{
    return is_client(s) || (s->jamf.user[0] && s->jamf.password[0]);
}

/* ---- the request ---- */
static rl_err put_form(const rl_settings *s, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "grant_type=client_credentials&client_id="));
    RL_TRY(rl_url_encode(out, s->jamf.client_id));
    RL_TRY(rl_buf_printf(out, "&client_secret="));
    return rl_url_encode(out, s->jamf.client_secret);
}

/* RFC 7617 §2: base64 of user:password. */
static rl_err put_basic(const rl_settings *s, rl_buf *out)
{
    rl_buf plain = {0};
    char *text = NULL;
    rl_err err = rl_buf_printf(&plain, "%s:%s", s->jamf.user, s->jamf.password);
    size_t cap = plain.n * 2 + 8;
    if (err == RL_OK)
        err = (text = malloc(cap)) ? rl_base64_encode(rl_buf_span(&plain), false, text, cap) : RL_ENOMEM;
    if (err == RL_OK)
        err = rl_buf_printf(out, "Authorization: Basic %s", text);
    if (plain.p)
        explicit_bzero(plain.p, plain.n);
    if (text)
        explicit_bzero(text, cap);
    rl_buf_free(&plain);
    free(text);
    return err == RL_OK ? rl_buf_append(out, "", 1) : err;
}

static rl_err put_url(const rl_settings *s, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "%s%s", s->jamf.url, is_client(s) ? "/api/oauth/token" : "/api/v1/auth/token"));
    return rl_buf_append(out, "", 1);
}

rl_err rl_jamf_token_ask(rl_http_client *client, const rl_settings *s, rl_http_response_fn fn, void *arg,
                         rl_http_call **out, rl_error *e)
{
    bool form = is_client(s);
    rl_buf url = {0}, secret = {0};
    rl_err err = put_url(s, &url);
    if (err == RL_OK)
        err = form ? put_form(s, &secret) : put_basic(s, &secret);
    if (err == RL_OK) {
        const char *const headers[] = {
            "Accept: application/json",
            form ? "Content-Type: application/x-www-form-urlencoded" : (const char *)secret.p, NULL};
        const rl_http_call_options o = {.method = "POST",
                                        .url = (char *)url.p,
                                        .headers = headers,
                                        .body = form ? rl_buf_span(&secret) : RL_SPAN_LIT(""),
                                        .body_limit = ANSWER_MAX,
                                        .cookies = true, /* one machine of a cluster has the token before the others */
                                        .timeout = s->sync.request_timeout,
                                        .connect_timeout = s->sync.connect_timeout};
        err = rl_http_call_start(client, &o, fn, arg, out, e);
    } else {
        rl_fail(e, err, "jamf", "out of memory");
    }
    if (secret.p)
        explicit_bzero(secret.p, secret.n);
    rl_buf_free(&secret);
    rl_buf_free(&url);
    return err;
}

/* ---- the answer ---- */
/* A time is measured against the answer's own date: the two clocks may differ. */
static int64_t read_life(const json_t *root, const rl_http_response *r, int64_t now)
{
    const char *expires = rl_json_str(root, "expires");
    int64_t end;
    if (!expires)
        return rl_json_int(root, "expires_in", 0);
    return rl_time_parse_rfc3339(expires, &end) == RL_OK ? end - (r->date ? r->date : now) : 0;
}

static rl_err read_token(const json_t *root, const rl_http_response *r, bool client, int64_t now, char **token,
                         int64_t *life_s, rl_error *e)
{
    const char *text = rl_json_str(root, client ? "access_token" : "token");
    *life_s = read_life(root, r, now);
    if (!rl_token_is_usable(text) || *life_s < 1)
        return rl_fail(e, RL_EBADMSG, "jamf", "Jamf Pro's answer to the login has no usable %s",
                       rl_token_is_usable(text) ? "time of expiry" : "token");
    if (*life_s > LIFE_MAX_S)
        *life_s = LIFE_MAX_S;
    *token = strdup(text);
    return *token ? RL_OK : rl_fail(e, RL_ENOMEM, "jamf", "out of memory");
}

rl_err rl_jamf_token_read(const rl_settings *s, const rl_http_response *r, int64_t now, char **token, int64_t *life_s,
                          rl_error *e)
{
    json_t *root = NULL;
    if (r->err != RL_OK)
        return rl_fail(e, r->err, "jamf", "Jamf Pro cannot be asked: %s", r->message);
    if (r->status == 400 || r->status == 401)
        return rl_fail(e, RL_EDENIED, "jamf", "Jamf Pro answered %ld to the login: check %s", r->status,
                       is_client(s) ? "REVLINE_JAMF_CLIENT_ID and REVLINE_JAMF_CLIENT_SECRET"
                                    : "REVLINE_JAMF_USER and REVLINE_JAMF_PASSWORD");
    if (r->status != 200)
        return rl_fail(e, RL_EDENIED, "jamf", "Jamf Pro answered %ld to the login", r->status);
    if (rl_json_parse(r->body, ANSWER_MAX, &root, NULL) != RL_OK)
        return rl_fail(e, RL_EBADMSG, "jamf", "Jamf Pro's answer to the login is not JSON");
    rl_err err = read_token(root, r, is_client(s), now, token, life_s, e);
    json_decref(root);
    return err;
}
