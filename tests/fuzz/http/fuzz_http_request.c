/* Bytes of a connection through parser, head rules, router and query decoding, as conn.c does it.
 * The first octet says in how large pieces the rest arrives; the same octets in one piece must give the same requests.
 */
#include <stdlib.h>

#include "http/forwarded.h"
#include "http/parse.h"
#include "http/router.h"

enum { HEADER_LIMIT = 4096, BODY_LIMIT = 4096 };

static void handler(rl_http_request *req, void *ctx)
{
    (void)req;
    (void)ctx;
}

static http_router *router(void)
{
    static const rl_http_route routes[] = {
        {RL_HTTP_GET, "/", false, 0, handler, NULL, NULL},
        {RL_HTTP_GET, "/ocsp/", true, 0, handler, NULL, NULL},
        {RL_HTTP_POST, "/ocsp", false, BODY_LIMIT, handler, NULL, NULL},
        {RL_HTTP_GET | RL_HTTP_POST, "/static", false, BODY_LIMIT, handler, NULL, NULL},
    };
    static http_router *r;
    if (r == NULL && http_router_new(routes, sizeof routes / sizeof routes[0], &r, NULL) != RL_OK)
        abort();
    return r;
}

static const http_proxies *proxies(void)
{
    static char *networks[] = {"10.0.0.0/8", "2001:db8::/32"};
    static const rl_text_list list = {networks, 2};
    static http_proxies *p;
    if (p == NULL && http_proxies_new(&list, &p, NULL) != RL_OK)
        abort();
    return p;
}

/* FNV-1a: what came out, as one number. */
static uint64_t digest(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    return h;
}

static int take_head(http_in *in, rl_http_request *req)
{
    http_head head;
    http_match m;
    const char *why = NULL;
    int status = http_head_read(in, req, &head, &why);
    if (status != 0) {
        if (why == NULL)
            abort();
        return status;
    }
    if (req->path.n == 0 || (req->http_minor == 1 && rl_http_header(req, "Host").p == NULL))
        abort();
    in->body_limit = BODY_LIMIT;
    status = http_router_find(router(), req->method, req->path, &m);
    (void)rl_http_query(req, "message");
    (void)rl_http_unescape(req, m.rest);
    return status == 0 && in->framing == HTTP_BODY_LENGTH && in->length > BODY_LIMIT ? 413 : 0;
}

static uint64_t run(rl_span octets, size_t piece)
{
    http_in in;
    rl_arena arena;
    rl_http_request *req = calloc(1, sizeof *req);
    uint64_t h = 14695981039346656037u;
    int status = 0;
    if (req == NULL || http_in_init(&in, HEADER_LIMIT) != RL_OK)
        abort();
    rl_arena_init(&arena, 1024 * 1024);
    req->arena = &arena;
    while (status == 0) {
        http_in_event event = http_in_next(&in);
        uint8_t *at;
        if (event == HTTP_IN_BAD) {
            status = in.status;
        } else if (event == HTTP_IN_HEAD) {
            status = take_head(&in, req);
        } else if (event == HTTP_IN_DONE) {
            if (in.moved)
                http_in_spans(&in, req);
            for (size_t i = 0; i < req->headers_n; i++) {
                h = digest(h, req->headers[i].name.p, req->headers[i].name.n);
                h = digest(h, req->headers[i].value.p, req->headers[i].value.n);
            }
            rl_address client = http_forwarded_for(proxies(), req, (rl_address){{0x20, 0x01, 0x0d, 0xb8}});
            h = digest(h, client.octets, sizeof client.octets);
            rl_span body = http_in_body(&in);
            if (body.n > BODY_LIMIT)
                abort();
            h = digest(digest(h, req->target.p, req->target.n), body.p, body.n);
            http_in_consume(&in);
            rl_arena_reset(&arena);
        } else {
            size_t n = http_in_room(&in, &at);
            if (octets.n == 0)
                break;
            if (n == 0)
                abort(); /* the limits refuse before the room ends */
            n = n < piece ? n : piece;
            n = n < octets.n ? n : octets.n;
            memcpy(at, octets.p, n);
            http_in_added(&in, n);
            octets = rl_span_of(octets.p + n, octets.n - n);
        }
    }
    http_in_free(&in);
    rl_arena_free(&arena);
    free(req);
    return digest(h, &(bool){status != 0}, sizeof(bool));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    rl_span octets = rl_span_of(data + 1, size - 1);
    if (run(octets, (size_t)data[0] + 1) != run(octets, SIZE_MAX))
        abort();
    return 0;
}
