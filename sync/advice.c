/* The advice, as one table: the first row that fits. In a text {name} is the upstream, {url} the setting that has its
 * address, {permission} what the source needs there. */
#include "sync/advice.h"

#include <stdio.h>
#include <string.h>

#define WAIT  "Nothing to do: the source tries again by itself"
#define ALERT "; if it lasts, "

static const struct upstream {
    const char *name, *url;
} upstreams[] = {
    [RL_UPSTREAM_ANY] = {"the upstream", "the setting that has its URL"},
    [RL_UPSTREAM_GRAPH] = {"Microsoft Graph", "REVLINE_GRAPH_URL"},
    [RL_UPSTREAM_INTUNE] = {"Intune", "REVLINE_INTUNE_URL"},
    [RL_UPSTREAM_JAMF] = {"Jamf Pro", "REVLINE_JAMF_URL"},
    [RL_UPSTREAM_CRL] = {"the other CA's server", "REVLINE_SYNC_CRL_URLS"},
};

static const struct row {
    rl_failure_kind kind;
    int from, to;         /* of the status, or of rl_http_failure */
    rl_upstream upstream; /* RL_UPSTREAM_ANY: every one */
    const char *text;
} rows[] = {
    /* answers */
    {RL_FAILED_STATUS, 401, 401, RL_UPSTREAM_GRAPH,
     "Check that AZURE_TENANT_ID is the directory's tenant, and that the application has {permission} there as an "
     "application permission with admin consent."},
    {RL_FAILED_STATUS, 403, 403, RL_UPSTREAM_GRAPH,
     "In Entra ID, App registrations, API permissions: add the application permission {permission} and grant admin "
     "consent. It counts after some minutes."},
    {RL_FAILED_STATUS, 404, 404, RL_UPSTREAM_GRAPH,
     "Check {url}: it must be the address of Microsoft Graph in your cloud. Otherwise nothing is to do: the source "
     "tries again by itself."},
    {RL_FAILED_STATUS, 401, 403, RL_UPSTREAM_INTUNE,
     "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the login that goes with it, and that the application has "
     "{permission} with admin consent."},
    {RL_FAILED_STATUS, 401, 401, RL_UPSTREAM_JAMF,
     "Check that the API client or the account is enabled in Jamf Pro and has the privilege {permission}."},
    {RL_FAILED_STATUS, 403, 403, RL_UPSTREAM_JAMF,
     "In Jamf Pro, API roles and clients (or the account's privileges): add {permission}."},
    {RL_FAILED_STATUS, 404, 404, RL_UPSTREAM_JAMF,
     "Check {url}: it must be Jamf Pro's own address, without a path, of a version that is still maintained."},
    {RL_FAILED_STATUS, 401, 403, RL_UPSTREAM_CRL,
     "Check {url}: revocation lists are public, and this address wants a login."},
    {RL_FAILED_STATUS, 404, 410, RL_UPSTREAM_CRL, "Check {url}: there is no list at this address (any more)."},
    {RL_FAILED_STATUS, 401, 403, RL_UPSTREAM_ANY, "Check the login, and that it has {permission}."},
    {RL_FAILED_STATUS, 410, 410, RL_UPSTREAM_ANY,
     "Nothing to do: {name} has forgotten our place, and the directory is compared as a whole" ALERT
     "look at its service health."},
    {RL_FAILED_STATUS, 429, 429, RL_UPSTREAM_ANY,
     "Nothing to do: {name} limits how often it is asked, and the source waits as long as it is told" ALERT
     "lengthen the source's interval."},
    {RL_FAILED_STATUS, 500, 599, RL_UPSTREAM_ANY, WAIT ALERT "look at the service health of {name}."},
    {RL_FAILED_STATUS, 300, 399, RL_UPSTREAM_ANY,
     "Check {url}, and whether a proxy asks for a login: redirects are not followed."},
    {RL_FAILED_STATUS, 400, 499, RL_UPSTREAM_ANY, WAIT ALERT "check {url}: {name} refuses what it is asked there."},
    {RL_FAILED_STATUS, 0, 999, RL_UPSTREAM_ANY,
     "Check {url}, and what is between: this is no answer that {name} gives."},
    /* none */
    {RL_FAILED_CALL, RL_HTTP_NO_NAME, RL_HTTP_NO_NAME, RL_UPSTREAM_ANY,
     "Check the host name in {url} and in https_proxy, and this machine's DNS."},
    {RL_FAILED_CALL, RL_HTTP_NO_CONNECT, RL_HTTP_NO_CONNECT, RL_UPSTREAM_ANY,
     "Check {url} and the way there: firewall, https_proxy, whether it is up at all."},
    {RL_FAILED_CALL, RL_HTTP_NO_TLS, RL_HTTP_NO_TLS, RL_UPSTREAM_ANY,
     "Its certificate is not trusted, or its TLS is older than 1.2. Behind a proxy that opens TLS, or with a CA of "
     "your "
     "own: name a file with the CAs in SSL_CERT_FILE. Check this machine's clock."},
    {RL_FAILED_CALL, RL_HTTP_TIMEOUT, RL_HTTP_TIMEOUT, RL_UPSTREAM_ANY,
     WAIT ALERT "check the way to {name}, or lengthen REVLINE_SYNC_REQUEST_TIMEOUT (REVLINE_SYNC_CONNECT_TIMEOUT)."},
    {RL_FAILED_CALL, RL_HTTP_TOO_LARGE, RL_HTTP_TOO_LARGE, RL_UPSTREAM_CRL,
     "Raise REVLINE_SYNC_CRL_LIMIT, if the list is that large."},
    {RL_FAILED_CALL, RL_HTTP_TOO_LARGE, RL_HTTP_TOO_LARGE, RL_UPSTREAM_ANY,
     "Raise REVLINE_SYNC_PAGE_LIMIT, if {name} sends pages that large."},
    {RL_FAILED_CALL, 0, RL_HTTP_BROKEN, RL_UPSTREAM_ANY, WAIT ALERT "look for a proxy that cuts connections."},
    /* no token */
    {RL_FAILED_LOGIN, 1, RL_HTTP_BROKEN, RL_UPSTREAM_GRAPH,
     "Check AZURE_AUTHORITY_HOST and the way there: DNS, firewall, https_proxy, trusted CAs (SSL_CERT_FILE)."},
    {RL_FAILED_LOGIN, RL_HTTP_ANSWERED, RL_HTTP_ANSWERED, RL_UPSTREAM_GRAPH,
     "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the login that goes with it. A client secret runs out, and its value "
     "is "
     "not its id: Entra ID, App registrations, Certificates & secrets."},
    {RL_FAILED_LOGIN, 0, 999, RL_UPSTREAM_JAMF,
     "Check REVLINE_JAMF_CLIENT_ID and REVLINE_JAMF_CLIENT_SECRET (or _USER and _PASSWORD), and that they are "
     "enabled."},
    {RL_FAILED_LOGIN, 0, 999, RL_UPSTREAM_ANY, "Check the login's settings."},
    {RL_FAILED_WAITING, 0, 999, RL_UPSTREAM_GRAPH,
     WAIT ALERT "look at the service health of Microsoft Entra ID, or of the platform that gives the managed "
                "identity."},
    {RL_FAILED_WAITING, 0, 999, RL_UPSTREAM_ANY, WAIT "."},
    /* not to be believed */
    {RL_FAILED_CONTENT, 0, 999, RL_UPSTREAM_CRL,
     "Look at the list itself (openssl crl). Nothing was changed by it, and what was known before counts on."},
    {RL_FAILED_CONTENT, 0, 999, RL_UPSTREAM_ANY,
     "Nothing was changed by it, and the source tries again by itself" ALERT
     "look for a proxy that answers in place of {name}."},
    {RL_FAILED_HERE, 0, 999, RL_UPSTREAM_ANY,
     "This is about this server, not about {name}: its settings (revline config) or its database (revline status)."},
};

static bool fits(const struct row *r, const rl_failure *f)
{
    int value = f->kind == RL_FAILED_CALL || f->kind == RL_FAILED_LOGIN ? (int)f->call : (int)f->status;
    return r->kind == f->kind && value >= r->from && value <= r->to &&
           (r->upstream == RL_UPSTREAM_ANY || r->upstream == f->upstream);
}

static const char *value_of(const rl_failure *f, char name)
{
    const struct upstream *u = &upstreams[f->upstream];
    if (name == 'p')
        return f->permission ? f->permission : "what the source needs";
    return name == 'n' ? u->name : u->url;
}

void rl_advice(const rl_failure *f, char out[RL_ADVICE_MAX])
{
    const struct row *r = rows;
    size_t n = 0;
    if (f->own) {
        snprintf(out, RL_ADVICE_MAX, "%s", f->own);
        return;
    }
    while (r < rows + sizeof(rows) / sizeof(rows[0]) - 1 && !fits(r, f))
        r++;
    out[0] = 0;
    for (const char *at = r->text; *at && n < RL_ADVICE_MAX - 1;) {
        size_t plain = strcspn(at, "{"), word = at[plain] ? strcspn(at + plain, "}") - 1 : 0;
        const char *value = word ? value_of(f, at[plain + 1]) : "";
        int put = snprintf(out + n, RL_ADVICE_MAX - n, "%.*s%s", (int)plain, at, value);
        n += put > 0 ? (size_t)put : 0;
        at += plain + (word ? word + 2 : 0);
    }
}
