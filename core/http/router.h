/* The router: immutable after it was made, shared by all workers without a lock. */
#ifndef RL_HTTP_ROUTER_H
#define RL_HTTP_ROUTER_H

#include "http/server.h"

typedef struct http_router http_router;

typedef struct http_match {
    const rl_http_route *route; /* NULL unless found */
    rl_span rest;
    const char *allow; /* for 405: "GET, HEAD" */
} http_match;

/* Copies the routes (their paths too). RL_EINVAL when a path is not absolute, a route has no method or handler,
 * or two routes answer the same method and path. */
rl_err http_router_new(const rl_http_route *routes, size_t n, http_router **out, rl_error *e);
void http_router_free(http_router *r);

/* 0 and the route, 404, or 405 with the methods that the path does have. `method` 0 stands for one that no
 * route has (OPTIONS, TRACE). The path "*" (OPTIONS *) is 405 with all methods the server has. */
int http_router_find(const http_router *r, unsigned method, rl_span path, http_match *m);

#endif
