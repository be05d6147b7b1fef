/* The floor: the least that any HTTP server must do for an answer, as the yardstick of bench/run.
 *
 * One thread, epoll, keep-alive. It looks for the ends of the requests in what it read (end of the head, then
 * Content-Length octets) and looks at nothing else; every request gets the same octets, those of the file given,
 * which hold one whole HTTP response. All answers of one read leave in one write. SIGTERM or SIGINT ends it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, READ_MAX = 64 * 1024, COPIES = 64, ANSWER_MAX = 64 * 1024, REQUEST_MAX = 16 * 1024 };

struct conn {
    int fd;
    bool waits;    /* for room to write: nothing is read until the answers have left */
    size_t owed;   /* octets of answers still to write */
    size_t rest_n; /* octets of a request that is not whole yet */
    uint8_t rest[REQUEST_MAX];
};

static uint8_t *answers; /* COPIES times the response, so that one write sends many */
static size_t answer_n;
static int poller;
static uint8_t input[REQUEST_MAX + READ_MAX];

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void load_answer(const char *path)
{
    static uint8_t text[ANSWER_MAX];
    FILE *f = fopen(path, "rb");
    if (!f)
        die(path);
    answer_n = fread(text, 1, sizeof(text), f);
    if (answer_n == 0 || answer_n == sizeof(text)) {
        fprintf(stderr, "floor: %s is empty or larger than a response\n", path);
        exit(1);
    }
    fclose(f);
    if (!(answers = malloc(COPIES * answer_n)))
        die("memory");
    for (size_t i = 0; i < COPIES; i++)
        memcpy(answers + i * answer_n, text, answer_n);
}

/* The length of the first request of p[0..n), or 0 when it is not whole. */
static size_t request_length(const uint8_t *p, size_t n)
{
    size_t at = 0, body = 0;
    for (;;) {
        const uint8_t *line = p + at, *end = memchr(line, '\n', n - at);
        if (!end)
            return 0;
        at = (size_t)(end - p) + 1;
        if (end - line <= 1) /* the empty line */
            return n - at >= body ? at + body : 0;
        if ((*line | 0x20) == 'c' && end - line > 15 && strncasecmp((const char *)line, "content-length:", 15) == 0)
            body = strtoul((const char *)line + 15, NULL, 10);
    }
}

static void drop(struct conn *c)
{
    close(c->fd);
    free(c);
}

static void watch(struct conn *c, bool waits)
{
    struct epoll_event ev = {.events = waits ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (waits != c->waits)
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &ev);
    c->waits = waits;
}

/* Writes what is owed; false when the connection is gone. */
static bool flush(struct conn *c)
{
    while (c->owed > 0) {
        /* The end of what is owed is the end of an answer, so the start lies this far inside one. */
        size_t inside = (answer_n - c->owed % answer_n) % answer_n;
        size_t n = c->owed < COPIES * answer_n - inside ? c->owed : COPIES * answer_n - inside;
        ssize_t sent = send(c->fd, answers + inside, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(c, true);
            return true;
        }
        if (sent < 0)
            return false;
        c->owed -= (size_t)sent;
    }
    watch(c, false);
    return true;
}

static bool readable(struct conn *c)
{
    memcpy(input, c->rest, c->rest_n);
    ssize_t got = recv(c->fd, input + c->rest_n, READ_MAX, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    size_t n = c->rest_n + (size_t)got, at = 0, length;
    while (at < n && (length = request_length(input + at, n - at)) > 0) {
        at += length;
        c->owed += answer_n;
    }
    c->rest_n = n - at;
    if (c->rest_n > REQUEST_MAX)
        return false;
    memcpy(c->rest, input + at, c->rest_n);
    return flush(c);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (!c)
            die("memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev) != 0)
            die("epoll");
    }
}

static int listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("listen");
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc != 2) {
        fprintf(stderr, "usage: floor RESPONSE-FILE\nPrints the port that it listens on (127.0.0.1).\n");
        return 2;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    load_answer(argv[1]);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll");
    int listener = listen_somewhere();
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &ev) != 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (!(c->waits ? flush(c) : readable(c)))
                drop(c);
        }
    }
}
