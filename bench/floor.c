/* The floor: the least that any HTTP server must do for an answer, as the yardstick of bench/run.
 *
 * One thread, epoll, keep-alive. It looks for the ends of the requests in what it read (end of the head, then
 * Content-Length octets). Given one HTTP response, it looks at nothing else and sends the same octets for every
 * request. Given a requests file too, and the responses to all of them one behind the other, it sends each request its
 * own response, found by a hash of the request's octets: then it meets the main memory as a server must that has so
 * many answers. All answers of one read leave in one write. SIGTERM or SIGINT ends it. */
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
#include <sys/uio.h>
#include <unistd.h>

enum { EVENTS = 256, READ_MAX = 64 * 1024, REQUEST_MAX = 16 * 1024, CACHE_LINE = 64 };
enum { OWED_MAX = 64 }; /* answers to one read; the load generator pipelines no more */

struct conn {
    int fd;
    bool waits;                  /* for room to write: nothing is read until the answers have left */
    size_t owed_n, owed_at;      /* what is still to write: owed[owed_at..owed_n) */
    struct iovec owed[OWED_MAX]; /* the answers; copies of the one response count as one */
    size_t rest_n;               /* octets of a request that is not whole yet */
    uint8_t rest[REQUEST_MAX];
};

/* The answer to the request with this hash; n is 0 where there is none. */
struct slot {
    uint64_t hash;
    uint32_t n;
    uint8_t *answer;
};

static uint8_t *answers;   /* OWED_MAX times the response, or the response to each request */
static size_t answer_n;    /* of the one response */
static struct slot *slots; /* open addressing, at most half full; NULL: one response for all */
static size_t slots_n;     /* a power of two */
static int poller;
static uint8_t input[REQUEST_MAX + READ_MAX];

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void refuse(const char *path, const char *why)
{
    fprintf(stderr, "floor: %s %s\n", path, why);
    exit(1);
}

static uint8_t *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        die(path);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *all = malloc(*n + 1);
    if (!all || fread(all, 1, *n, f) != *n)
        die(path);
    fclose(f);
    if (*n == 0)
        refuse(path, "is empty");
    return all;
}

/* One response, as often as one write may need it. */
static void load_answer(const char *path)
{
    uint8_t *text = read_file(path, &answer_n);
    if (!(answers = malloc(OWED_MAX * answer_n)))
        die("memory");
    for (size_t i = 0; i < OWED_MAX; i++)
        memcpy(answers + i * answer_n, text, answer_n);
    free(text);
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

/* Eight octets at a time; requests that a random serial number tells apart need no better one. */
static uint64_t hash_of(const uint8_t *p, size_t n)
{
    uint64_t h = n, word;
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = (h ^ word) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, n);
    h = (h ^ word) * 0x9E3779B97F4A7C15ull;
    return h ^ h >> 32;
}

/* The slot of the hash, or the empty one where it belongs. */
static struct slot *find(uint64_t hash)
{
    size_t i = hash & (slots_n - 1);
    while (slots[i].n > 0 && slots[i].hash != hash)
        i = (i + 1) & (slots_n - 1);
    return &slots[i];
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The requests file's records (bench/README.md) and the responses run side by side. */
static void load_table(const char *answers_path, const char *requests_path)
{
    size_t requests_n, all_n, records = 0, at = 0;
    uint8_t *requests = read_file(requests_path, &requests_n);
    answers = read_file(answers_path, &all_n);
    for (size_t i = 0; i + 8 < requests_n; records++)
        i += 8 + (size_t)big_endian(requests + i) + big_endian(requests + i + 4);
    for (slots_n = 2; slots_n < 2 * records; slots_n *= 2)
        ;
    if (!(slots = calloc(slots_n, sizeof(*slots))))
        die("memory");
    for (size_t i = 0; records-- > 0; i += 8 + (size_t)big_endian(requests + i) + big_endian(requests + i + 4)) {
        uint64_t hash = hash_of(requests + i + 8, big_endian(requests + i));
        struct slot *slot = find(hash);
        size_t n = request_length(answers + at, all_n - at); /* a response ends as a request does */
        if (slot->n > 0 || n == 0)
            refuse(answers_path, "does not answer these requests");
        *slot = (struct slot){.hash = hash, .n = (uint32_t)n, .answer = answers + at};
        at += n;
    }
    free(requests);
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

/* Notes the answer to a request; false when there is none or no room for it. */
static bool owe(struct conn *c, const uint8_t *request, size_t n)
{
    struct iovec answer = {answers, answer_n};
    if (slots) {
        const struct slot *slot = find(hash_of(request, n));
        answer = (struct iovec){slot->answer, slot->n};
        for (size_t i = 0; i < answer.iov_len; i += CACHE_LINE)
            __builtin_prefetch(slot->answer + i);
    } else if (c->owed_n == 1) {
        c->owed[0].iov_len += answer_n;
        return c->owed[0].iov_len <= OWED_MAX * answer_n;
    }
    if (answer.iov_len == 0 || c->owed_n == OWED_MAX)
        return false;
    c->owed[c->owed_n++] = answer;
    return true;
}

/* Writes what is owed; false when the connection is gone. */
static bool flush(struct conn *c)
{
    while (c->owed_at < c->owed_n) {
        struct iovec *next = &c->owed[c->owed_at];
        struct msghdr m = {.msg_iov = next, .msg_iovlen = c->owed_n - c->owed_at};
        ssize_t sent = m.msg_iovlen == 1 ? send(c->fd, next->iov_base, next->iov_len, MSG_NOSIGNAL)
                                         : sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(c, true);
            return true;
        }
        if (sent < 0)
            return false;
        size_t left = (size_t)sent;
        for (; c->owed_at < c->owed_n && left >= c->owed[c->owed_at].iov_len; c->owed_at++)
            left -= c->owed[c->owed_at].iov_len;
        if (left > 0) {
            c->owed[c->owed_at].iov_base = (uint8_t *)c->owed[c->owed_at].iov_base + left;
            c->owed[c->owed_at].iov_len -= left;
        }
    }
    c->owed_n = c->owed_at = 0;
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
        if (!owe(c, input + at, length))
            return false;
        at += length;
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
    if (argc != 2 && argc != 3) {
        fprintf(stderr,
                "usage: floor RESPONSE-FILE [REQUESTS-FILE]\n"
                "Prints the port that it listens on (127.0.0.1). With a requests file, the first file holds the\n"
                "responses to its requests, one behind the other, and each request gets its own.\n");
        return 2;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    if (argc == 3)
        load_table(argv[1], argv[2]);
    else
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
