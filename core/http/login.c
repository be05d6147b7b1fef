/* Token requests against {authority}/{tenant}/oauth2/v2.0/token and the two endpoints of managed identities. */
#include "http/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

enum { ANSWER_MAX = 256 * 1024, LIFE_MAX_S = 24 * 3600, TOKEN_FILE_MAX = 64 * 1024 };

/* ---- which ---- */
static bool is_set(const char *value)
{
    return value && value[0];
}

static bool has_managed_identity(const rl_settings *s)
{
    return is_set(s->azure.identity_endpoint) && is_set(s->azure.identity_header);
}

static bool is_configured(const rl_settings *s, rl_login l)
{
    bool application = is_set(s->azure.client_id);
    switch (l) {
    case RL_LOGIN_SECRET:
        return application && is_set(s->azure.client_secret);
    case RL_LOGIN_CERTIFICATE:
        return application && is_set(s->azure.certificate_path);
    case RL_LOGIN_FEDERATED:
        return application && is_set(s->azure.federated_token_file);
    case RL_LOGIN_APP_SERVICE:
        return has_managed_identity(s);
    default:
        return l == RL_LOGIN_IMDS;
    }
}

rl_login rl_login_of(const rl_settings *s)
{
    static const rl_login automatic[] = {RL_LOGIN_SECRET, RL_LOGIN_CERTIFICATE, RL_LOGIN_FEDERATED,
                                         RL_LOGIN_APP_SERVICE};
    rl_login wanted = RL_LOGIN_NONE;
    if (!is_set(s->azure.tenant_id))
        return RL_LOGIN_NONE;
    switch (s->azure.login) {
    case RL_LOGIN_BY_SECRET:
        wanted = RL_LOGIN_SECRET;
        break;
    case RL_LOGIN_BY_CERTIFICATE:
        wanted = RL_LOGIN_CERTIFICATE;
        break;
    case RL_LOGIN_BY_FEDERATION:
        wanted = RL_LOGIN_FEDERATED;
        break;
    case RL_LOGIN_BY_MANAGED_IDENTITY:
        return has_managed_identity(s) ? RL_LOGIN_APP_SERVICE : RL_LOGIN_IMDS;
    default:
        for (size_t i = 0; !wanted && i < sizeof(automatic) / sizeof(automatic[0]); i++)
            if (is_configured(s, automatic[i]))
                wanted = automatic[i];
        return wanted;
    }
    return is_configured(s, wanted) ? wanted : RL_LOGIN_NONE;
}

const char *rl_login_missing(const rl_settings *s)
{
    if (rl_login_of(s) != RL_LOGIN_NONE)
        return NULL;
    switch (s->azure.login) {
    case RL_LOGIN_BY_SECRET:
        return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET";
    case RL_LOGIN_BY_CERTIFICATE:
        return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_CERTIFICATE_PATH";
    case RL_LOGIN_BY_FEDERATION:
        return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE";
    case RL_LOGIN_BY_MANAGED_IDENTITY:
        return "AZURE_TENANT_ID";
    default:
        return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or another login: see REVLINE_ENTRA_LOGIN)";
    }
}

/* ---- the request ---- */
rl_err rl_url_encode(rl_buf *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text))
            RL_TRY(rl_buf_append(out, text, 1));
        else
            RL_TRY(rl_buf_printf(out, "%%%02X", (unsigned char)*text));
    }
    return RL_OK;
}

static rl_err put_field(rl_buf *out, const char *name, const char *value, const char *more)
{
    RL_TRY(rl_buf_printf(out, "%s%s=", out->n ? "&" : "", name));
    RL_TRY(rl_url_encode(out, value));
    return rl_url_encode(out, more);
}

static rl_err put_endpoint(const rl_settings *s, rl_buf *out)
{
    RL_TRY(rl_buf_printf(out, "%s/", s->azure.authority_host));
    RL_TRY(rl_url_encode(out, s->azure.tenant_id));
    RL_TRY(rl_buf_printf(out, "/oauth2/v2.0/token"));
    return rl_buf_append(out, "", 1);
}

static ssize_t read_all(int fd, char *out, size_t n)
{
    size_t at = 0;
    ssize_t got = 1;
    while (at < n && (got = read(fd, out + at, n - at)) > 0)
        at += (size_t)got;
    return got < 0 ? -1 : (ssize_t)at;
}

/* Without O_NONBLOCK a pipe would hang the loop before it is known to be one. */
rl_err rl_login_file(const char *setting, const char *path, size_t most, char **text, size_t *n, rl_error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    rl_err err = RL_OK;
    ssize_t got = -1;
    *text = NULL;
    if (fd < 0 || fstat(fd, &st) != 0)
        err = rl_fail(e, RL_EIO, "token", "%s '%.200s' cannot be read: %s", setting, path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        err = rl_fail(e, RL_EIO, "token", "%s '%.200s' cannot be read: it is no file", setting, path);
    else if (!(*text = malloc(most + 2)))
        err = rl_fail(e, RL_ENOMEM, "token", "out of memory");
    else if ((got = read_all(fd, *text, most + 1)) < 0)
        err = rl_fail(e, RL_EIO, "token", "%s '%.200s' cannot be read: %s", setting, path, strerror(errno));
    else if ((size_t)got > most)
        err = rl_fail(e, RL_ERANGE, "token", "%s '%.200s' is larger than %zu KiB", setting, path, most / 1024);
    if (fd >= 0)
        close(fd);
    if (err == RL_OK) {
        *n = (size_t)got;
        (*text)[*n] = 0;
    } else if (*text) {
        explicit_bzero(*text, most + 2);
        free(*text);
        *text = NULL;
    }
    return err;
}

/* The platform replaces the file before its token ends. */
static rl_err read_federated(const char *path, rl_buf *out, rl_error *e)
{
    char *text;
    size_t n, end;
    RL_TRY(rl_login_file("AZURE_FEDERATED_TOKEN_FILE", path, TOKEN_FILE_MAX, &text, &n, e));
    for (end = n; end > 0 && strchr("\r\n ", text[end - 1]) && text[end - 1];)
        text[--end] = 0;
    rl_err err = memchr(text, 0, end) || !rl_token_is_usable(text)
                     ? rl_fail(e, RL_EINVAL, "token", "AZURE_FEDERATED_TOKEN_FILE '%.200s' holds no token", path)
                     : rl_buf_append(out, text, end + 1);
    explicit_bzero(text, n);
    free(text);
    return err;
}

static rl_err put_assertion(const rl_settings *s, rl_login login, const char *audience, int64_t now, rl_buf *form,
                            rl_error *e)
{
    rl_buf text = {0};
    rl_err err = login == RL_LOGIN_FEDERATED ? read_federated(s->azure.federated_token_file, &text, e)
                                             : rl_login_assertion(s, audience, now, &text, e);
    if (err == RL_OK && login == RL_LOGIN_CERTIFICATE)
        err = rl_buf_append(&text, "", 1);
    if (err == RL_OK)
        err = put_field(form, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "");
    if (err == RL_OK)
        err = put_field(form, "client_assertion", (char *)text.p, "");
    if (text.p)
        explicit_bzero(text.p, text.n);
    rl_buf_free(&text);
    return err;
}

static rl_err build_application(const rl_settings *s, rl_login login, const char *resource, int64_t now,
                                rl_login_request *out, rl_error *e)
{
    out->method = "POST";
    RL_TRY(put_endpoint(s, &out->url));
    RL_TRY(put_field(&out->form, "client_id", s->azure.client_id, ""));
    if (login == RL_LOGIN_SECRET)
        RL_TRY(put_field(&out->form, "client_secret", s->azure.client_secret, ""));
    else
        RL_TRY(put_assertion(s, login, (char *)out->url.p, now, &out->form, e));
    RL_TRY(put_field(&out->form, "grant_type", "client_credentials", ""));
    return put_field(&out->form, "scope", resource, "/.default");
}

/* A managed identity is asked for a resource, not a scope, by a GET that never leaves the machine. */
static rl_err build_identity(const rl_settings *s, rl_login login, const char *resource, rl_login_request *out)
{
    bool imds = login == RL_LOGIN_IMDS;
    const char *endpoint = imds ? s->azure.imds_url : s->azure.identity_endpoint;
    out->method = "GET";
    out->direct = true;
    RL_TRY(rl_buf_printf(&out->url, "%s%s?api-version=%s&resource=", endpoint,
                         imds ? "/metadata/identity/oauth2/token" : "", imds ? "2018-02-01" : "2019-08-01"));
    RL_TRY(rl_url_encode(&out->url, resource));
    if (is_set(s->azure.client_id)) { /* a user-assigned one */
        RL_TRY(rl_buf_printf(&out->url, "&client_id="));
        RL_TRY(rl_url_encode(&out->url, s->azure.client_id));
    }
    RL_TRY(rl_buf_append(&out->url, "", 1));
    if (imds)
        RL_TRY(rl_buf_printf(&out->header, "Metadata: true"));
    else
        RL_TRY(rl_buf_printf(&out->header, "X-IDENTITY-HEADER: %s", s->azure.identity_header));
    return rl_buf_append(&out->header, "", 1);
}

rl_err rl_login_build(const rl_settings *s, const char *resource, int64_t now, rl_login_request *out, rl_error *e)
{
    rl_login login = rl_login_of(s);
    rl_error why = {0};
    *out = (rl_login_request){0};
    rl_err err = login == RL_LOGIN_NONE ? rl_fail(&why, RL_EINVAL, "token", "no login is configured")
                 : login == RL_LOGIN_APP_SERVICE || login == RL_LOGIN_IMDS
                     ? build_identity(s, login, resource, out)
                     : build_application(s, login, resource, now, out, &why);
    if (err != RL_OK)
        rl_fail(e, err, "token", "%s", why.message[0] ? why.message : "out of memory");
    return err;
}

static void wipe(rl_buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->n);
    rl_buf_free(b);
}

void rl_login_request_free(rl_login_request *r)
{
    wipe(&r->url);
    wipe(&r->form);
    wipe(&r->header);
}

/* ---- the answer ---- */
bool rl_token_is_usable(const char *token)
{
    size_t n = 0;
    for (; token && token[n]; n++)
        if ((unsigned char)token[n] <= 0x20 || (unsigned char)token[n] >= 0x7f)
            return false;
    return n > 0;
}

/* Managed identities tell the end: App Service that alone. Then the two clocks may differ, so it is measured against
 * the answer's own date. */
static int64_t life_of(const json_t *root, int64_t date)
{
    int64_t life = rl_json_int(root, "expires_in", 0), end = rl_json_int(root, "expires_on", 0);
    return life > 0 ? life : end > date ? end - date : 0;
}

rl_err rl_login_read(rl_span body, int64_t date, char **token, int64_t *life_s, rl_error *e)
{
    json_t *root = NULL;
    *token = NULL;
    if (rl_json_parse(body, ANSWER_MAX, &root, NULL) != RL_OK)
        return rl_fail(e, RL_EBADMSG, "token", "the token endpoint's answer is not JSON");
    const char *text = rl_json_str(root, "access_token");
    rl_err err = RL_OK;
    *life_s = life_of(root, date);
    if (!rl_token_is_usable(text) || *life_s < 1)
        err = rl_fail(e, RL_EBADMSG, "token", "the token endpoint's answer has no usable %s",
                      rl_token_is_usable(text) ? "expires_in" : "access_token");
    else if (!(*token = strdup(text)))
        err = rl_fail(e, RL_ENOMEM, "token", "out of memory");
    if (*life_s > LIFE_MAX_S)
        *life_s = LIFE_MAX_S;
    json_decref(root);
    return err;
}

/* What Entra's numbers mean, and what to do. */
static const char *advice(long long number)
{
    switch (number) {
    case 7000215:
        return ": the client secret is wrong (its value is needed, not its id)";
    case 7000222:
        return ": the client secret has expired, make a new one";
    case 700027:
        return ": the certificate is not among the application's, or its assertion is not valid now (clock?)";
    case 700016:
        return ": there is no application AZURE_CLIENT_ID in this tenant";
    case 90002:
        return ": there is no tenant AZURE_TENANT_ID in this cloud (REVLINE_CLOUD, AZURE_AUTHORITY_HOST)";
    case 700213:
    case 70021:
        return ": the application has no federated credential for this issuer and subject";
    case 500011:
    case 50001:
    case 70011:
        return ": the tenant does not know the service (REVLINE_CLOUD)";
    default:
        return "";
    }
}

/* A metadata service says 404 and 410 while it is updated. RFC 6749 §4.1.2.1 has the two names. */
static bool is_passing(long status, bool identity, const char *name)
{
    return status == 429 || status >= 500 || (identity && (status == 404 || status == 410)) ||
           (name && (strcmp(name, "temporarily_unavailable") == 0 || strcmp(name, "server_error") == 0));
}

/* RFC 6749 §5.2: only the error's name and Entra's number are repeated; the description is free text. */
rl_err rl_login_refused(long status, rl_span body, rl_login login, rl_error *e)
{
    json_t *root = NULL;
    bool identity = login == RL_LOGIN_APP_SERVICE || login == RL_LOGIN_IMDS;
    rl_json_parse(body, ANSWER_MAX, &root, NULL);
    const char *name = rl_json_str(root, "error");
    long long code = json_integer_value(json_array_get(json_object_get(root, "error_codes"), 0));
    rl_err err = is_passing(status, identity, name) ? RL_EBUSY : RL_EDENIED;
    const char *passes = err == RL_EBUSY ? ": it passes by itself" : "";
    if (code)
        rl_fail(e, err, "token", "the token endpoint answered %ld: %.60s (AADSTS%lld)%s%s", status, name ? name : "",
                code, advice(code), passes);
    else if (identity && status == 400)
        rl_fail(e, RL_EDENIED, "token",
                "the managed identity's endpoint answered 400%s%.60s: is an identity assigned to this machine, and is "
                "AZURE_CLIENT_ID that of a user-assigned one?",
                name ? ": " : "", name ? name : "");
    else
        rl_fail(e, err, "token", "the token endpoint answered %ld%s%.60s%s", status, name ? ": " : "", name ? name : "",
                passes);
    json_decref(root);
    return err;
}
