/* A directory that costs next to nothing: the token endpoint and as much of Microsoft Graph as the sync benchmark
 * needs, from memory.
 *
 * It has --devices devices. A first delta query lists them page by page, a deltaLink lists those that were removed
 * since. All entries are written when the program starts and have the same length, so a page is a slice between a head
 * and a tail. Users are none, and any other list is empty. A thread for each connection; what is removed is under a
 * lock. SIGTERM or SIGINT ends it.
 *
 *   POST /control/open                       from now on there are tokens: until then, who asks for one waits
 *   POST /control/remove?first=I&count=N     the devices with these numbers are deleted
 *   GET /control/subscription                the body of the newest request for a subscription */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"

enum { REQUEST_MAX = 64 * 1024, HEAD_MAX = 512 };

#define LISTED_BEGIN  "{\"id\":\""
#define LISTED_MIDDLE "\",\"deviceId\":\""
#define LISTED_END    "\",\"accountEnabled\":true,\"isCompliant\":true},"
#define REMOVED_END   "\",\"@removed\":{\"reason\":\"deleted\"}},"
enum {
    LISTED = sizeof(LISTED_BEGIN LISTED_MIDDLE LISTED_END) - 1 + 2 * DEVICE_GUID,
    REMOVED = sizeof(LISTED_BEGIN REMOVED_END) - 1 + DEVICE_GUID
};

static struct {
    uint64_t devices, page;
} opt = {.devices = 1000, .page = 999};

static uint16_t port;
static char *listed, *removed; /* entries, with a comma behind each; `removed` has room for all devices */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opening = PTHREAD_COND_INITIALIZER;
/* Under the lock. */
static bool is_open;
static uint64_t removed_n;
static char subscription[4096] = "{}";

static void die(const char *what)
{
    fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- entries ---- */
static char *put(char *at, const char *text, size_t n)
{
    memcpy(at, text, n);
    return at + n;
}
#define PUT_LITERAL(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_guid(char *at, uint64_t number, device_id_kind kind)
{
    device_guid(number, kind, at);
    return at + DEVICE_GUID;
}

static void make_entries(void)
{
    listed = malloc(opt.devices * LISTED);
    removed = malloc(opt.devices * REMOVED);
    if (!listed || !removed)
        die("memory");
    char *at = listed;
    for (uint64_t i = 0; i < opt.devices; i++) {
        at = put_guid(PUT_LITERAL(at, LISTED_BEGIN), i, DEVICE_OBJECT_ID);
        at = put_guid(PUT_LITERAL(at, LISTED_MIDDLE), i, DEVICE_ID);
        at = PUT_LITERAL(at, LISTED_END);
    }
}

/* False when that many are not left. */
static bool remove_devices(uint64_t first, uint64_t count)
{
    pthread_mutex_lock(&lock);
    bool fits = first <= opt.devices && count <= opt.devices - first && count <= opt.devices - removed_n;
    for (uint64_t i = 0; fits && i < count; i++) {
        char *at = put_guid(PUT_LITERAL(removed + removed_n++ * REMOVED, LISTED_BEGIN), first + i, DEVICE_OBJECT_ID);
        PUT_LITERAL(at, REMOVED_END);
    }
    pthread_mutex_unlock(&lock);
    return fits;
}

/* ---- answers ---- */
static bool send_all(int fd, struct iovec *parts, size_t n)
{
    while (n > 0) {
        const struct msghdr m = {.msg_iov = parts, .msg_iovlen = n};
        ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        for (; n > 0 && (size_t)sent >= parts->iov_len; parts++, n--)
            sent -= (ssize_t)parts->iov_len;
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return true;
}

static bool answer(int fd, const char *status, const char *before, const char *slice, size_t slice_n, const char *after)
{
    char head[HEAD_MAX];
    const size_t before_n = strlen(before), after_n = strlen(after);
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     status, before_n + slice_n + after_n);
    struct iovec parts[] = {{head, (size_t)n},
                            {(char *)(uintptr_t)before, before_n},
                            {(char *)(uintptr_t)slice, slice_n},
                            {(char *)(uintptr_t)after, after_n}};
    return send_all(fd, parts, 4);
}

static bool answer_text(int fd, const char *status, const char *text)
{
    return answer(fd, status, text, NULL, 0, "");
}

/* One page of `of` entries, from entry `at` on. `list` is the letter that its tokens begin with. */
static bool answer_page(int fd, const char *entries, size_t entry, uint64_t at, uint64_t of, char list)
{
    char after[HEAD_MAX];
    uint64_t n = at > of ? 0 : of - at < opt.page ? of - at : opt.page;
    bool last = at + n >= of;
    /* A link behind the list of devices brings whatever was removed, also while it was read. */
    snprintf(after, sizeof(after), "],\"@odata.%s\":\"http://127.0.0.1:%u/v1.0/devices/delta?$%s=%c%llu\"}",
             last ? "deltaLink" : "nextLink", port, last ? "deltatoken" : "skiptoken", last ? 'R' : list,
             (unsigned long long)(last && list == 'L' ? 0 : at + n));
    return answer(fd, "200 OK", "{\"value\":[", n ? entries + at * entry : NULL, n ? n * entry - 1 : 0, after);
}

static bool answer_delta(int fd, const char *target)
{
    const char *token = strstr(target, "token=");
    uint64_t at = token && token[6] ? strtoull(token + 7, NULL, 10) : 0;
    if (!token || token[6] == 'L')
        return answer_page(fd, listed, LISTED, at, opt.devices, 'L');
    pthread_mutex_lock(&lock);
    uint64_t n = removed_n;
    pthread_mutex_unlock(&lock);
    return answer_page(fd, removed, REMOVED, at, n, 'R');
}

static bool answer_users(int fd)
{
    char text[HEAD_MAX];
    snprintf(text, sizeof(text),
             "{\"value\":[],\"@odata.deltaLink\":\"http://127.0.0.1:%u/v1.0/users/delta?$deltatoken=0\"}", port);
    return answer_text(fd, "200 OK", text);
}

static bool answer_token(int fd)
{
    pthread_mutex_lock(&lock);
    while (!is_open)
        pthread_cond_wait(&opening, &lock);
    pthread_mutex_unlock(&lock);
    return answer_text(fd, "200 OK", "{\"token_type\":\"Bearer\",\"expires_in\":86399,\"access_token\":\"bench\"}");
}

static bool answer_subscription(int fd, const char *body)
{
    pthread_mutex_lock(&lock);
    snprintf(subscription, sizeof(subscription), "%s", body);
    pthread_mutex_unlock(&lock);
    return answer_text(fd, "201 Created", "{\"id\":\"bench-subscription\"}");
}

static bool answer_control(int fd, const char *what)
{
    char text[sizeof(subscription)] = "{}";
    unsigned long long first, count;
    if (strcmp(what, "subscription") == 0) {
        pthread_mutex_lock(&lock);
        memcpy(text, subscription, sizeof(text));
        pthread_mutex_unlock(&lock);
    } else if (strcmp(what, "open") == 0) {
        pthread_mutex_lock(&lock);
        is_open = true;
        pthread_cond_broadcast(&opening);
        pthread_mutex_unlock(&lock);
    } else if (sscanf(what, "remove?first=%llu&count=%llu", &first, &count) != 2 || !remove_devices(first, count)) {
        return answer_text(fd, "400 Bad Request", "{}");
    }
    return answer_text(fd, "200 OK", text);
}

static bool answer_request(int fd, const char *method, const char *target, const char *body)
{
    const size_t n = strcspn(target, "?");
    if (strncmp(target, "/control/", 9) == 0)
        return answer_control(fd, target + 9);
    if (n > 6 && strncmp(target + n - 6, "/token", 6) == 0)
        return answer_token(fd);
    if (strncmp(target, "/v1.0/devices/delta", 19) == 0)
        return answer_delta(fd, target);
    if (strncmp(target, "/v1.0/users/delta", 17) == 0)
        return answer_users(fd);
    if (strcmp(method, "POST") == 0)
        return answer_subscription(fd, body);
    return answer_text(fd, "200 OK", "{\"value\":[]}");
}

/* ---- connections ---- */
/* The length of the body that the head announces. */
static size_t body_length(const char *head)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");
    return field ? strtoul(field + 17, NULL, 10) : 0;
}

/* The first request in `in` is answered when it is whole; how many octets it had, 0: not whole, -1: the connection is
 * of no more use. */
static ssize_t take_request(int fd, char *in, size_t n)
{
    char method[16], target[REQUEST_MAX];
    char *end = memmem(in, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *end = 0;
    size_t head_n = (size_t)(end - in) + 4, length = body_length(in);
    bool whole = length <= n - head_n;
    bool right = sscanf(in, "%15s %65535s", method, target) == 2;
    *end = '\r';
    if (!right || length > REQUEST_MAX - head_n)
        return -1;
    if (!whole)
        return 0;
    char kept = in[head_n + length];
    in[head_n + length] = 0;
    bool answered = answer_request(fd, method, target, in + head_n);
    in[head_n + length] = kept;
    return answered ? (ssize_t)(head_n + length) : -1;
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *in = malloc(REQUEST_MAX + 1);
    size_t n = 0;
    ssize_t got = 1, taken;
    while (in && n < REQUEST_MAX && (got = recv(fd, in + n, REQUEST_MAX - n, 0)) > 0) {
        n += (size_t)got;
        while ((taken = take_request(fd, in, n)) > 0) {
            n -= (size_t)taken;
            memmove(in, in + taken, n);
        }
        if (taken < 0)
            break;
    }
    free(in);
    close(fd);
    return NULL;
}

static int listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("listen");
    port = ntohs(a.sin_port);
    printf("%u\n", port);
    fflush(stdout);
    return fd;
}

static void accept_all(int listener)
{
    pthread_attr_t detached;
    pthread_t thread;
    int fd, on = 1;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (pthread_create(&thread, &detached, serve, (void *)(intptr_t)fd) != 0)
            die("thread");
    }
    die("accept");
}

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"devices", required_argument, NULL, 'd'}, {"page", required_argument, NULL, 'p'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o != 'd' && o != 'p') {
            fprintf(stderr,
                    "usage: upstream [--devices N] [--page N]\nPrints the port that it listens on (127.0.0.1).\n");
            return 2;
        }
        *(o == 'd' ? &opt.devices : &opt.page) = strtoull(optarg, NULL, 10);
    }
    if (opt.devices == 0 || opt.page == 0)
        return 2;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    make_entries();
    accept_all(listen_somewhere());
}
