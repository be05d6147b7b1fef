/* See forwarded.h. Pure. */
#include "http/forwarded.h"

#include <stdlib.h>

struct http_proxies {
    size_t n;
    rl_network networks[];
};

rl_err http_proxies_new(const rl_text_list *networks, http_proxies **out, rl_error *e)
{
    http_proxies *p = calloc(1, sizeof *p + networks->n * sizeof p->networks[0]);
    *out = p;
    if (p == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    for (; p->n < networks->n; p->n++)
        if (rl_network_parse(rl_span_str(networks->items[p->n]), &p->networks[p->n]) != RL_OK)
            return rl_fail(e, RL_EINVAL, "http", "'%s' is no network", networks->items[p->n]);
    return RL_OK;
}

void http_proxies_free(http_proxies *p)
{
    free(p);
}

bool http_proxies_have(const http_proxies *p, const rl_address *a)
{
    for (size_t i = 0; i < p->n; i++)
        if (rl_network_has(&p->networks[i], a))
            return true;
    return false;
}

static rl_span trimmed(rl_span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = rl_span_of(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Some proxies add the client's port, and put an IPv6 address in brackets for that. */
static rl_span without_port(rl_span s)
{
    const uint8_t *close = s.n > 0 && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
    const uint8_t *colon = s.n > 0 ? memchr(s.p, ':', s.n) : NULL;
    if (close != NULL)
        return rl_span_of(s.p + 1, (size_t)(close - s.p) - 1);
    bool port = colon != NULL && memrchr(s.p, ':', s.n) == colon;
    return port ? rl_span_of(s.p, (size_t)(colon - s.p)) : s;
}

/* Goes through one field from its end. False: the client is found. */
static bool go_through(const http_proxies *p, rl_span list, rl_address *client, size_t *left)
{
    for (bool more = true; more; --*left) {
        rl_address before;
        const uint8_t *comma = list.n > 0 ? memrchr(list.p, ',', list.n) : NULL;
        size_t at = comma != NULL ? (size_t)(comma - list.p) + 1 : 0;
        rl_span item = trimmed(rl_span_of(list.p + at, list.n - at));
        if (*left == 0 || !http_proxies_have(p, client) || rl_address_parse(without_port(item), &before) != RL_OK)
            return false;
        *client = before;
        more = comma != NULL;
        list.n = more ? at - 1 : 0;
    }
    return true;
}

rl_address http_forwarded_for(const http_proxies *p, const rl_http_request *req, rl_address from)
{
    size_t left = HTTP_PROXIES_MAX;
    bool more = true;
    for (size_t i = req->headers_n; more && i > 0; i--) /* RFC 9110 §5.3: several fields are one list */
        if (rl_span_ieq(req->headers[i - 1].name, RL_SPAN_LIT("X-Forwarded-For")))
            more = go_through(p, req->headers[i - 1].value, &from, &left);
    return from;
}
