/* A small HTTP server for tests of the client's side: one thread, one request per connection, answers in raw octets.
 *
 * The test's function sees each whole request and writes what goes back, right or wrong. */
#ifndef TESTS_UPSTREAM_H
#define TESTS_UPSTREAM_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/span.h"

enum { UPSTREAM_HANGING_MAX = 16 };

typedef struct upstream_reply {
    rl_buf bytes;
    bool hang;  /* never answer, keep the connection */
    bool reset; /* RST instead of FIN after the octets */
} upstream_reply;

/* On the server's thread. `request` is the text of head and body. */
typedef void (*upstream_fn)(void *ctx, const char *request, upstream_reply *reply);

typedef struct upstream {
    int listener, stop[2];
    unsigned port;
    pthread_t thread;
    upstream_fn fn;
    void *ctx;
    int hanging[UPSTREAM_HANGING_MAX];
    size_t hanging_n;
    char url[64];
} upstream;

/* A whole answer with a right Content-Length. `headers` are lines with their ends. */
static inline void upstream_answer(upstream_reply *reply, int status, const char *headers, rl_span body)
{
    rl_buf_printf(&reply->bytes, "HTTP/1.1 %d X\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n", status, headers,
                  body.n);
    rl_buf_append(&reply->bytes, body.p, body.n);
}

static inline size_t upstream_body_length(const char *head)
{
    const char *length = strcasestr(head, "\r\nContent-Length:");
    return length ? strtoul(length + 17, NULL, 10) : 0;
}

/* Until the head's end and as many octets of body as it says. */
static inline bool upstream_read(int fd, rl_buf *request)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n <= 0)
            return false;
        rl_buf_append(request, chunk, (size_t)n);
        rl_buf_append(request, "", 1);
        request->n--;
        const char *end = strstr((char *)request->p, "\r\n\r\n");
        if (end && request->n >= (size_t)(end + 4 - (char *)request->p) + upstream_body_length((char *)request->p))
            return true;
    }
}

static inline void upstream_send(int fd, const rl_buf *bytes)
{
    for (size_t at = 0; at < bytes->n;) {
        ssize_t n = send(fd, bytes->p + at, bytes->n - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

static inline void upstream_serve(upstream *u, int fd)
{
    rl_buf request = {0};
    upstream_reply reply = {0};
    if (upstream_read(fd, &request))
        u->fn(u->ctx, (char *)request.p, &reply);
    if (reply.hang && u->hanging_n < UPSTREAM_HANGING_MAX) {
        u->hanging[u->hanging_n++] = fd;
    } else {
        upstream_send(fd, &reply.bytes);
        struct linger hard = {.l_onoff = 1};
        if (reply.reset)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
    }
    rl_buf_free(&request);
    rl_buf_free(&reply.bytes);
}

static inline void *upstream_run(void *arg)
{
    upstream *u = arg;
    struct pollfd fds[2] = {{.fd = u->listener, .events = POLLIN}, {.fd = u->stop[0], .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
        int fd = accept(u->listener, NULL, NULL);
        if (fd >= 0)
            upstream_serve(u, fd);
    }
    return NULL;
}

static inline void upstream_start(upstream *u, upstream_fn fn, void *ctx)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    *u = (upstream){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .fn = fn, .ctx = ctx};
    if (bind(u->listener, (struct sockaddr *)&a, n) != 0 || listen(u->listener, 16) != 0 || pipe(u->stop) != 0 ||
        getsockname(u->listener, (struct sockaddr *)&a, &n) != 0)
        abort();
    u->port = ntohs(a.sin_port);
    snprintf(u->url, sizeof(u->url), "http://127.0.0.1:%u", u->port);
    if (pthread_create(&u->thread, NULL, upstream_run, u) != 0)
        abort();
}

static inline void upstream_stop(upstream *u)
{
    close(u->stop[1]);
    pthread_join(u->thread, NULL);
    close(u->stop[0]);
    close(u->listener);
    for (size_t i = 0; i < u->hanging_n; i++)
        close(u->hanging[i]);
}

#endif
