/* The router: see router.h. Some forty paths, longest first, compared by their first eight octets and then as a whole:
 * a look-up runs over a short row of words and touches one entry, and a table that can be read beats one that must be
 * hashed. */
#include "http/router.h"

#include <stdio.h>
#include <stdlib.h>

enum { METHODS = 6, ALLOW_MAX = 48, START = sizeof(uint64_t) };
static const char *const method_names[METHODS] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

typedef struct path_entry {
    const char *path; /* owned */
    size_t n;
    bool prefix;
    const rl_http_route *by_method[METHODS];
    char allow[ALLOW_MAX];
} path_entry;

/* The first eight octets of an entry's path: what `mask` lets through must be `octets`. */
typedef struct path_start {
    uint64_t octets, mask;
} path_start;

struct http_router {
    path_entry *entries; /* exact ones first, then prefixes by falling length */
    path_start *starts;  /* of the entries, in the same order */
    size_t n;
    rl_http_route *routes;
    char allow[ALLOW_MAX];
};

static void allow_text(unsigned methods, char out[ALLOW_MAX])
{
    size_t at = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < METHODS; i++)
        if (methods & 1u << i)
            at += (size_t)snprintf(out + at, ALLOW_MAX - at, "%s%s", at > 0 ? ", " : "", method_names[i]);
}

static unsigned entry_methods(const path_entry *p)
{
    unsigned methods = 0;
    for (unsigned i = 0; i < METHODS; i++)
        if (p->by_method[i] != NULL)
            methods |= 1u << i;
    return methods;
}

static path_entry *entry_for(http_router *r, const rl_http_route *route)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->entries[i].prefix == route->prefix && strcmp(r->entries[i].path, route->path) == 0)
            return &r->entries[i];
    char *path = strdup(route->path);
    if (path == NULL)
        return NULL;
    path_entry *p = &r->entries[r->n++];
    *p = (path_entry){.path = path, .n = strlen(path), .prefix = route->prefix};
    return p;
}

static rl_err add_route(http_router *r, const rl_http_route *route, rl_error *e)
{
    path_entry *p = entry_for(r, route);
    if (p == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    for (unsigned i = 0; i < METHODS; i++) {
        if (!(route->methods & 1u << i))
            continue;
        if (p->by_method[i] != NULL)
            return rl_fail(e, RL_EINVAL, "http", "two routes for %s %s", method_names[i], route->path);
        p->by_method[i] = route;
    }
    return RL_OK;
}

static int by_rank(const void *a, const void *b)
{
    const path_entry *x = a, *y = b;
    if (x->prefix != y->prefix)
        return x->prefix ? 1 : -1;
    return x->n < y->n ? 1 : x->n > y->n ? -1 : strcmp(x->path, y->path);
}

static uint64_t start_of(const void *path, size_t n)
{
    uint64_t octets = 0;
    if (n >= START)
        memcpy(&octets, path, START);
    else
        memcpy(&octets, path, n);
    return octets;
}

/* RFC 9110 §9.3.2: HEAD is GET without the content, unless a route says otherwise. */
static void finish_entries(http_router *r)
{
    unsigned all = 0;
    for (size_t i = 0; i < r->n; i++) {
        path_entry *p = &r->entries[i];
        if (p->by_method[1] == NULL)
            p->by_method[1] = p->by_method[0];
        allow_text(entry_methods(p), p->allow);
        all |= entry_methods(p);
    }
    allow_text(all, r->allow);
    if (r->n > 0)
        qsort(r->entries, r->n, sizeof r->entries[0], by_rank);
    for (size_t i = 0; i < r->n; i++) {
        const path_entry *p = &r->entries[i];
        r->starts[i].octets = start_of(p->path, p->n);
        memset(&r->starts[i].mask, 0xff, p->prefix && p->n < START ? p->n : START);
    }
}

rl_err http_router_new(const rl_http_route *routes, size_t n, http_router **out, rl_error *e)
{
    rl_err err = RL_OK;
    http_router *r = calloc(1, sizeof *r);
    if (r == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    r->entries = calloc(n + 1, sizeof *r->entries);
    r->routes = calloc(n + 1, sizeof *r->routes);
    r->starts = calloc(n + 1, sizeof *r->starts);
    if (r->entries == NULL || r->routes == NULL || r->starts == NULL) {
        err = rl_fail(e, RL_ENOMEM, "http", "out of memory");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        r->routes[i] = routes[i];
        if (routes[i].path == NULL || routes[i].path[0] != '/' || routes[i].handler == NULL ||
            (routes[i].methods & ((1u << METHODS) - 1)) == 0) {
            err = rl_fail(e, RL_EINVAL, "http", "incomplete route '%s'", routes[i].path != NULL ? routes[i].path : "");
            goto out;
        }
        err = add_route(r, &r->routes[i], e);
        if (err != RL_OK)
            goto out;
        r->routes[i].path = NULL; /* the caller's; the entry has its own */
    }
    finish_entries(r);
out:
    if (err != RL_OK) {
        http_router_free(r);
        r = NULL;
    }
    *out = r;
    return err;
}

void http_router_free(http_router *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        free((char *)r->entries[i].path);
    free(r->entries);
    free(r->starts);
    free(r->routes);
    free(r);
}

static bool matches(const path_entry *p, rl_span path)
{
    return (p->prefix ? path.n >= p->n : path.n == p->n) && memcmp(path.p, p->path, p->n) == 0;
}

int http_router_find(const http_router *r, unsigned method, rl_span path, http_match *m)
{
    *m = (http_match){.allow = r->allow};
    if (path.n == 1 && path.p[0] == '*')
        return 405;
    uint64_t start = start_of(path.p, path.n);
    for (size_t i = 0; i < r->n; i++) {
        const path_entry *p = &r->entries[i];
        if ((start & r->starts[i].mask) != r->starts[i].octets || !matches(p, path))
            continue;
        m->allow = p->allow;
        if (method != 0)
            m->route = p->by_method[__builtin_ctz(method)];
        if (m->route == NULL)
            return 405;
        if (p->prefix)
            m->rest = rl_span_of(path.p + p->n, path.n - p->n);
        return 0;
    }
    return 404;
}
