/* The claims of Entra ID's access tokens, of both versions. Pure. */
#include "http/bearer.h"

#include <strings.h>

enum { SKEW_S = 60, ROLES_MAX = 256 };

static rl_err refuse(rl_error *e, const char *why)
{
    return rl_fail(e, RL_EDENIED, "bearer", "%s", why);
}

rl_err rl_bearer_issuer(const rl_settings *s, rl_buf *out)
{
    return rl_buf_printf(out, "%s/%s/v2.0", s->azure.authority_host, s->azure.tenant_id);
}

/* ---- whose token ---- */
/* Version 2 names the issuer by the login host. Version 1 has an issuer of its own, whatever the cloud's login host,
 * but in China. */
static rl_err check_issuer(const json_t *claims, const rl_settings *s, rl_error *e)
{
    const char *issuer = rl_json_str(claims, "iss"), *tenant = rl_json_str(claims, "tid");
    rl_buf v1 = {0}, v2 = {0};
    if (!issuer || !tenant || strcasecmp(tenant, s->azure.tenant_id) != 0)
        return refuse(e, "the token is of another tenant");
    rl_err err = rl_bearer_issuer(s, &v2);
    if (err == RL_OK)
        err = rl_buf_printf(&v1, "https://%s/%s/",
                            s->azure.cloud == RL_CLOUD_CHINA ? "sts.chinacloudapi.cn" : "sts.windows.net",
                            s->azure.tenant_id);
    if (err != RL_OK)
        rl_fail(e, err, "bearer", "out of memory");
    else if (!rl_span_ieq(rl_span_str(issuer), rl_buf_span(&v1)) && !rl_span_ieq(rl_span_str(issuer), rl_buf_span(&v2)))
        err = refuse(e, "the token is of another issuer");
    rl_buf_free(&v1);
    rl_buf_free(&v2);
    return err;
}

/* A version 1 token is for an application's URI, which for an application id is api:// and the id. */
static bool is_audience(const char *given, const char *wanted, size_t n)
{
    char id[RL_GUID_SIZE];
    rl_span text = rl_span_of(wanted, n);
    if (rl_span_ieq(rl_span_str(given), text))
        return true;
    return rl_guid_read(text, id) == RL_OK && strncasecmp(given, "api://", 6) == 0 &&
           rl_span_ieq(rl_span_str(given + 6), text);
}

static rl_err check_audience(const json_t *claims, const rl_settings *s, rl_error *e)
{
    const char *given = rl_json_str(claims, "aud");
    for (const char *at = s->azure.audience; given && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        if (n > 0 && is_audience(given, at, n))
            return RL_OK;
        at += n;
    }
    return refuse(e, "the token is not for this server: its audience is none of REVLINE_ENTRA_AUDIENCE");
}

static rl_err check_time(const json_t *claims, int64_t now, rl_error *e)
{
    const json_t *end = json_object_get(claims, "exp"), *begin = json_object_get(claims, "nbf");
    if (!json_is_integer(end) || (begin && !json_is_integer(begin)))
        return refuse(e, "the token does not say when it ends");
    if (now - SKEW_S >= json_integer_value(end))
        return refuse(e, "the token has expired");
    if (begin && now + SKEW_S < json_integer_value(begin))
        return refuse(e, "the token is not valid yet");
    return RL_OK;
}

/* ---- who ---- */
/* The principal name: "upn" in version 1, "preferred_username" in version 2. */
static void read_name(const json_t *claims, char *out, size_t cap)
{
    const char *name = rl_json_str(claims, "upn");
    if (!name)
        name = rl_json_str(claims, "preferred_username");
    if (!name || strlen(name) >= cap)
        return;
    for (; *name; name++)
        *out++ = (char)(*name >= 'A' && *name <= 'Z' ? *name | 0x20 : *name);
    *out = 0;
}

/* An access token for a user has scopes. One for an application has none and says so ("idtyp", when the API asks for
 * that claim), or is about the application's own principal. What is neither, an ID token for example, is no access
 * token. */
static rl_err read_kind(const json_t *claims, rl_caller *out, rl_error *e)
{
    const char *scopes = rl_json_str(claims, "scp"), *kind = rl_json_str(claims, "idtyp"),
               *subject = rl_json_str(claims, "sub");
    if (kind)
        out->application = strcmp(kind, "app") == 0;
    else
        out->application = !scopes && subject && strcasecmp(subject, out->id) == 0;
    if (out->application ? scopes != NULL : !scopes || !scopes[0])
        return refuse(e, "the token is no access token of a user or an application");
    return RL_OK;
}

rl_err rl_caller_read(const json_t *claims, const rl_settings *s, int64_t now, rl_caller *out, rl_error *e)
{
    const char *id = rl_json_str(claims, "oid"), *device = rl_json_str(claims, "deviceid");
    *out = (rl_caller){0};
    RL_TRY(check_issuer(claims, s, e));
    RL_TRY(check_audience(claims, s, e));
    RL_TRY(check_time(claims, now, e));
    if (!id || rl_guid_read(rl_span_str(id), out->id) != RL_OK)
        return refuse(e, "the token does not say whose it is (oid)");
    RL_TRY(read_kind(claims, out, e));
    if (device && rl_guid_read(rl_span_str(device), out->device) != RL_OK)
        out->device[0] = 0;
    read_name(claims, out->name, sizeof(out->name));
    json_t *roles = json_object_get(claims, "roles");
    if (json_is_array(roles) && json_array_size(roles) <= ROLES_MAX)
        out->roles = json_incref(roles);
    return RL_OK;
}

bool rl_caller_has(const rl_caller *c, const char *role)
{
    for (size_t i = 0; i < json_array_size(c->roles); i++) {
        const char *name = json_string_value(json_array_get(c->roles, i));
        if (name && strcmp(name, role) == 0)
            return true;
    }
    return false;
}

void rl_caller_clear(rl_caller *c)
{
    json_decref(c->roles);
    *c = (rl_caller){0};
}
