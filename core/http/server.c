/* The server as a whole: listeners, worker threads, start and stop. Runs on the caller's thread. */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"

enum { TICK_MIN_MS = 20, TICK_MAX_MS = 1000, FILES_BESIDE = 1024 /* database, refused connections, upstreams */ };

/* ---- listeners ---- */

static rl_err bind_failed(const char *listen, const char *why, rl_error *e)
{
    return rl_fail(e, RL_EIO, "http", "cannot listen on %s: %s", listen, why);
}

/* "host:port" or "[v6]:port"; the caller frees *out. */
static rl_err resolve(const char *listen, struct addrinfo **out, rl_error *e)
{
    char host[256];
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *colon = strrchr(listen, ':');
    size_t n = colon != NULL ? (size_t)(colon - listen) : sizeof host;
    if (n >= sizeof host)
        return bind_failed(listen, "not host:port", e);
    bool bracketed = n >= 2 && listen[0] == '[' && listen[n - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), bracketed ? listen + 1 : listen);
    int status = getaddrinfo(host[0] != '\0' ? host : NULL, colon + 1, &hints, out);
    return status == 0 ? RL_OK : bind_failed(listen, gai_strerror(status), e);
}

/* A bound socket, or -1 with errno. TCP_NODELAY is inherited by what it accepts. */
static int bound_socket(const struct addrinfo *a, bool shared)
{
    const int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static in_port_t *port_of(struct sockaddr *a)
{
    return a->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)a)->sin6_port
                                    : &((struct sockaddr_in *)(void *)a)->sin_port;
}

/* With SO_REUSEPORT a second server of the same user would bind the same port and take half of the connections
 * without a word. A socket without it finds the other one. */
static int bind_alone(const struct addrinfo *a)
{
    int fd = bound_socket(a, false);
    if (fd < 0)
        return -1;
    return close(fd);
}

/* All workers' sockets, before any of them serves. With port 0 the first one's port is the others'. */
static rl_err bind_all(struct rl_http_server *s, const char *listen, http_speech speech, int (*fds)[HTTP_LISTENERS],
                       rl_error *e)
{
    struct addrinfo *a = NULL;
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    rl_err err = resolve(listen, &a, e);
    if (err != RL_OK)
        return err;
    if (*port_of(a->ai_addr) != 0 && bind_alone(a) != 0)
        err = bind_failed(listen, strerror(errno), e);
    for (size_t i = 0; i < s->workers_n && err == RL_OK; i++) {
        fds[i][speech] = bound_socket(a, true);
        if (fds[i][speech] < 0 || (i == 0 && getsockname(fds[0][speech], (struct sockaddr *)&bound, &n) != 0))
            err = bind_failed(listen, strerror(errno), e);
        else if (i == 0)
            *port_of(a->ai_addr) = *port_of((struct sockaddr *)&bound);
    }
    s->ports[speech] = ntohs(*port_of(a->ai_addr));
    freeaddrinfo(a);
    return err;
}

static rl_err open_listeners(struct rl_http_server *s, const rl_settings *settings, rl_error *e)
{
    const char *const listen[HTTP_LISTENERS] = {[HTTP_PLAIN] = settings->http.listen,
                                                [HTTP_TLS] = settings->http.https_listen,
                                                [HTTP_TLS_ASKING] = settings->http.est_listen};
    rl_err err = RL_OK;
    int(*fds)[HTTP_LISTENERS] = calloc(s->workers_n, sizeof *fds);
    if (fds == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    memset(fds, -1, s->workers_n * sizeof *fds);
    for (unsigned i = 0; i < HTTP_LISTENERS && err == RL_OK; i++) {
        if (listen[i] == NULL || listen[i][0] == '\0')
            continue;
        if (i != HTTP_PLAIN && s->tls == NULL)
            err = rl_fail(e, RL_EINVAL, "http", "there is no certificate for %s", listen[i]);
        else
            err = bind_all(s, listen[i], (http_speech)i, fds, e);
    }
    for (size_t i = 0; i < s->workers_n; i++) {
        if (err == RL_OK)
            err = http_worker_init(&s->workers[i], fds[i], e);
        for (unsigned k = 0; k < HTTP_LISTENERS; k++)
            if (fds[i][k] >= 0)
                close(fds[i][k]);
    }
    free(fds);
    return err;
}

/* ---- start ---- */

static void set_limits(struct rl_http_server *s, const rl_settings *settings)
{
    http_limits *l = &s->limits;
    l->header = (size_t)settings->http.header_limit;
    l->header_ms = (uint64_t)settings->http.header_timeout;
    l->body_ms = (uint64_t)settings->http.body_timeout;
    l->idle_ms = (uint64_t)settings->http.idle_timeout;
    uint64_t least = l->header_ms < l->body_ms ? l->header_ms : l->body_ms;
    least = (least < l->idle_ms ? least : l->idle_ms) / 4;
    l->tick_ms = least < TICK_MIN_MS ? TICK_MIN_MS : least > TICK_MAX_MS ? TICK_MAX_MS : least;
}

static rl_metric *open_connections(void)
{
    return rl_gauge("revline_http_connections", "", "Open client connections.");
}

static void make_metrics(struct rl_http_server *s)
{
    for (int i = 1; i < HTTP_STATUS_CLASSES; i++) {
        char label[16];
        snprintf(label, sizeof label, "code=\"%dxx\"", i);
        s->answers[i] = rl_counter("revline_http_requests_total", label, "Requests answered, by class of status code.");
    }
    s->open = open_connections();
    s->refused = rl_counter("revline_http_connections_refused_total", "", "Connections above a limit.");
    s->duration = rl_histogram("revline_http_request_duration_seconds", "", "From a request's head until its answer.");
}

/* A connection is a file: the soft limit that shells give (1024) is far below what the settings allow. Where the hard
 * one is, too, fewer connections are let in: they must not take the database's and the commands' files. */
static size_t connections_max(const rl_settings *settings)
{
    const size_t max = (size_t)settings->http.max_connections;
    struct rlimit r;
    rlim_t want = (rlim_t)max + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return max;
    r.rlim_cur = want < r.rlim_max ? want : r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return max;
    rlim_t left = r.rlim_cur > 2 * FILES_BESIDE ? r.rlim_cur - FILES_BESIDE : r.rlim_cur / 2;
    size_t fewer = left < max ? (size_t)left : max;
    log_warn("http.file_limit", "files", (uint64_t)r.rlim_cur, "wanted", (uint64_t)want, "connections", fewer);
    return fewer;
}

static void server_free(struct rl_http_server *s)
{
    for (size_t i = 0; i < s->workers_n; i++)
        http_worker_free(&s->workers[i]);
    http_router_free(s->router);
    http_peers_free(s->peers);
    http_proxies_free(s->proxies);
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static rl_err start_threads(struct rl_http_server *s, rl_error *e)
{
    for (size_t i = 0; i < s->workers_n; i++) {
        pthread_mutex_lock(&s->lock);
        int status = pthread_create(&s->workers[i].thread, NULL, http_worker_main, &s->workers[i]);
        s->workers[i].started = status == 0;
        s->running += status == 0;
        pthread_mutex_unlock(&s->lock);
        if (status != 0)
            return rl_fail(e, RL_EIO, "http", "worker thread: %s", strerror(status));
    }
    return RL_OK;
}

rl_err rl_http_server_start(const rl_settings *settings, rl_http_tls *tls, const rl_http_route *routes, size_t n,
                            rl_http_server **out, rl_error *e)
{
    *out = NULL;
    size_t workers = (size_t)settings->http.workers;
    struct rl_http_server *s = calloc(1, sizeof *s + workers * sizeof s->workers[0]);
    if (s == NULL)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    s->workers_n = workers;
    s->tls = tls;
    for (size_t i = 0; i < workers; i++) {
        s->workers[i].server = s;
        s->workers[i].index = (unsigned)i;
        s->workers[i].works.fd = s->workers[i].poller = -1;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->ended, NULL);
    set_limits(s, settings);
    make_metrics(s);
    rl_err err = RL_OK;
    if (getrandom(&s->txn_prefix, sizeof s->txn_prefix, 0) != (ssize_t)sizeof s->txn_prefix)
        err = rl_fail(e, RL_EIO, "http", "no random numbers: %s", strerror(errno));
    if (err == RL_OK)
        err = http_router_new(routes, n, &s->router, e);
    if (err == RL_OK)
        err = http_proxies_new(&settings->http.trusted_proxies, &s->proxies, e);
    if (err == RL_OK)
        err =
            http_peers_new(connections_max(settings), (size_t)settings->http.max_connections_per_address, &s->peers, e);
    if (err == RL_OK)
        err = open_listeners(s, settings, e);
    if (err == RL_OK)
        err = start_threads(s, e);
    if (err != RL_OK) {
        rl_http_server_stop(s, 0);
        return err;
    }
    *out = s;
    return RL_OK;
}

unsigned rl_http_server_port(const rl_http_server *s)
{
    return s->ports[HTTP_PLAIN];
}

unsigned rl_http_server_https_port(const rl_http_server *s)
{
    return s->ports[HTTP_TLS];
}

unsigned rl_http_server_est_port(const rl_http_server *s)
{
    return s->ports[HTTP_TLS_ASKING];
}

int64_t rl_http_connections(void)
{
    return rl_metric_value(open_connections());
}

/* ---- stop ---- */

static void tell_workers(struct rl_http_server *s, int level)
{
    atomic_store(&s->stop, level);
    for (size_t i = 0; i < s->workers_n; i++)
        if (s->workers[i].started)
            uv_async_send(&s->workers[i].wake);
}

/* False when workers still run at the deadline. */
static bool wait_for_workers(struct rl_http_server *s, rl_duration timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    while (s->running > 0 && pthread_cond_clockwait(&s->ended, &s->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool ended = s->running == 0;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void rl_http_server_stop(rl_http_server *s, rl_duration timeout_ms)
{
    tell_workers(s, HTTP_STOP);
    if (!wait_for_workers(s, timeout_ms)) {
        log_warn("http.stop_cut", "timeout_ms", timeout_ms);
        tell_workers(s, HTTP_CUT);
    }
    /* Without connections a worker waits for nothing but the works that still run. */
    for (size_t i = 0; i < s->workers_n; i++)
        if (s->workers[i].started)
            pthread_join(s->workers[i].thread, NULL);
    server_free(s);
}
