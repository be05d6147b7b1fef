/* What the store's events are for, beside cache and revocation lists: counts of changes, and the live feed.
 *
 * The store's committer counts, and copies what has happened into a ring, which costs it the same however many follow.
 * A thread of its own sends from there to those who follow (`revline events`), each at its own pace over a socket that
 * never blocks: who falls behind by more than the ring holds is told how many it has missed. That thread owns the
 * followers; the ring, its count and who is new are under the lock. */
#include "app/events.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "store/export.h"

enum { RING = 4096, FOLLOWERS_MAX = 8, ORIGINS_MAX = 64, LINES_AT_ONCE = 256 };

struct follower {
    int fd;        /* -1: a free place */
    uint64_t next; /* event that it gets next */
    rl_buf out;    /* lines that are not sent yet, from `sent` on */
    size_t sent;
};

enum { TO_ISSUED = 3, TO_COUNT = 4 }; /* behind the three of rl_status */

struct rl_events {
    rl_store *store;
    pthread_t thread;
    int wake; /* eventfd */
    struct follower followers[FOLLOWERS_MAX];

    struct origin { /* the committer's */
        char name[RL_ORIGIN_MAX];
        rl_metric *to[TO_COUNT];
    } origins[ORIGINS_MAX];
    size_t origins_n;

    atomic_uint following; /* taken places, so that nobody's ring is filled for nothing */
    pthread_mutex_t lock;
    rl_store_event ring[RING];
    uint64_t written; /* events that ever were in the ring: number n is at n % RING */
    struct incoming {
        int fd;
        uint64_t next;
    } incoming[FOLLOWERS_MAX];
    size_t incoming_n;
    bool stop;
};

/* ---- counting: the committer's thread ---- */
/* "sync:entra-device" is the source entra-device; beyond the first so many they are counted together. */
static struct origin *origin_of(rl_events *v, const char *name)
{
    if (strncmp(name, "sync:", 5) == 0)
        name += 5;
    for (size_t i = 0; i < v->origins_n; i++)
        if (strcmp(v->origins[i].name, name) == 0)
            return &v->origins[i];
    if (v->origins_n + 1 >= ORIGINS_MAX)
        name = "other";
    if (v->origins_n == ORIGINS_MAX)
        return &v->origins[ORIGINS_MAX - 1];
    struct origin *o = &v->origins[v->origins_n++];
    snprintf(o->name, sizeof(o->name), "%s", name);
    return o;
}

/* Registered at the first change of its kind: origins are words of the program and of its settings, and few. */
static void count(rl_events *v, const rl_store_event *event)
{
    char labels[RL_ORIGIN_MAX + 32];
    int to = event->issued && event->to == RL_STATUS_GOOD ? TO_ISSUED : (int)event->to;
    struct origin *o = origin_of(v, event->origin);
    if (!o->to[to]) {
        snprintf(labels, sizeof(labels), "source=\"%s\",to=\"%s\"", o->name,
                 to == TO_ISSUED ? "issued" : rl_status_name(event->to));
        o->to[to] = rl_counter("revline_certificate_changes_total", labels,
                               "Certificates that were issued or changed status, by who changed them.");
    }
    rl_metric_add(o->to[to], 1);
}

static void wake(rl_events *v)
{
    const uint64_t one = 1;
    if (write(v->wake, &one, sizeof(one)) != (ssize_t)sizeof(one))
        log_warn("events.wake", "error", strerror(errno));
}

static void on_change(const rl_store_event *events, size_t n, void *ctx)
{
    rl_events *v = ctx;
    bool followed = atomic_load(&v->following) > 0;
    for (size_t i = 0; i < n; i++)
        if (!events[i].lost)
            count(v, &events[i]);
    if (!followed)
        return;
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < n; i++)
        if (!events[i].lost)
            v->ring[v->written++ % RING] = events[i];
    pthread_mutex_unlock(&v->lock);
    wake(v);
}

/* ---- lines ---- */
static json_t *event_json(const rl_store_event *event)
{
    char serial[2 * RL_SERIAL_MAX + 1], at[RL_TIME_TEXT];
    rl_app_serial_text(&event->cert, serial);
    rl_time_rfc3339(event->at, at);
    return json_pack("{s:I,s:s,s:s,s:i,s:s,s:s?,s:s,s:s?,s:o,s:s}", "sequence", (json_int_t)event->sequence, "at", at,
                     "event", event->issued ? "issued" : "status", "issuer", (int)event->cert.issuer, "serial", serial,
                     "from", event->issued ? NULL : rl_status_name(event->from), "to", rl_status_name(event->to),
                     "reason", event->to == RL_STATUS_GOOD ? NULL : rl_reason_name(event->reason), "why",
                     rl_why_json(event->why), "origin", event->origin);
}

static rl_err put_line(rl_buf *out, json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    rl_err err = text ? rl_buf_printf(out, "%s\n", text) : RL_ENOMEM;
    free(text);
    json_decref(line);
    return err;
}

/* The next event, or how many it has missed; false when it has everything. */
static bool take_next(rl_events *v, struct follower *f, rl_store_event *event, uint64_t *missed)
{
    pthread_mutex_lock(&v->lock);
    bool more = f->next < v->written;
    *missed = v->written - f->next > RING ? v->written - RING - f->next : 0;
    f->next += *missed;
    if (more && !*missed)
        *event = v->ring[f->next++ % RING];
    pthread_mutex_unlock(&v->lock);
    return more;
}

static rl_err fill(rl_events *v, struct follower *f)
{
    rl_store_event event;
    uint64_t missed;
    rl_err err = RL_OK;
    rl_buf_free(&f->out);
    f->sent = 0;
    for (int i = 0; err == RL_OK && i < LINES_AT_ONCE && take_next(v, f, &event, &missed); i++)
        err = put_line(&f->out, missed ? json_pack("{s:I}", "missed", (json_int_t)missed) : event_json(&event));
    return err;
}

/* ---- followers: the feed's thread ---- */
static void let_go(rl_events *v, struct follower *f)
{
    log_debug("events.left", "events", f->next);
    close(f->fd);
    rl_buf_free(&f->out);
    *f = (struct follower){.fd = -1};
    atomic_fetch_sub(&v->following, 1);
}

/* Sends what the socket takes now. False: it is gone, or something is wrong with it. */
static bool send_on(rl_events *v, struct follower *f)
{
    for (;;) {
        if (f->sent == f->out.n && fill(v, f) != RL_OK)
            return false;
        if (f->out.n == 0)
            return true;
        ssize_t n = send(f->fd, f->out.p + f->sent, f->out.n - f->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN;
        f->sent += n > 0 ? (size_t)n : 0;
    }
}

/* Nothing is expected from it but that it goes. */
static bool is_there(const struct follower *f)
{
    char unused[256];
    ssize_t n = recv(f->fd, unused, sizeof(unused), MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool take_incoming(rl_events *v)
{
    pthread_mutex_lock(&v->lock);
    while (v->incoming_n > 0) {
        struct follower *f = v->followers;
        while (f->fd >= 0)
            f++; /* there is a place for each: `following` is at most FOLLOWERS_MAX */
        f->fd = v->incoming[--v->incoming_n].fd;
        f->next = v->incoming[v->incoming_n].next;
        (void)rl_buf_printf(&f->out, "{\"ok\":{\"events\":\"follow\"}}\n"); /* too short to fail but by exhaustion */
    }
    bool stop = v->stop;
    pthread_mutex_unlock(&v->lock);
    return !stop;
}

static void *feed(void *arg)
{
    rl_events *v = arg;
    struct pollfd fds[FOLLOWERS_MAX + 1];
    uint64_t woken;
    pthread_setname_np(pthread_self(), "revline-events");
    while (take_incoming(v)) {
        fds[FOLLOWERS_MAX] = (struct pollfd){.fd = v->wake, .events = POLLIN};
        for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
            struct follower *f = &v->followers[i];
            if (f->fd >= 0 && !send_on(v, f))
                let_go(v, f);
            fds[i] = (struct pollfd){.fd = f->fd, .events = POLLIN | (f->sent < f->out.n ? POLLOUT : 0)};
        }
        if (poll(fds, FOLLOWERS_MAX + 1, -1) < 0 && errno != EINTR)
            break;
        if ((fds[FOLLOWERS_MAX].revents & POLLIN) && read(v->wake, &woken, sizeof(woken)) < 0 && errno != EINTR)
            break;
        for (size_t i = 0; i < FOLLOWERS_MAX; i++)
            if (fds[i].fd >= 0 && (fds[i].revents & ~POLLOUT) && !is_there(&v->followers[i]))
                let_go(v, &v->followers[i]);
    }
    return NULL;
}

rl_err rl_events_follow(rl_events *v, int fd, rl_error *e)
{
    if (atomic_fetch_add(&v->following, 1) >= FOLLOWERS_MAX) {
        atomic_fetch_sub(&v->following, 1);
        return rl_fail(e, RL_EBUSY, "events", "%d follow the events already: end one of them", FOLLOWERS_MAX);
    }
    pthread_mutex_lock(&v->lock);
    v->incoming[v->incoming_n++] = (struct incoming){fd, v->written};
    pthread_mutex_unlock(&v->lock);
    wake(v);
    return RL_OK;
}

/* ---- open, close ---- */
rl_err rl_events_open(rl_store *store, rl_events **out, rl_error *e)
{
    rl_events *v = calloc(1, sizeof(*v));
    if (!v)
        return rl_fail(e, RL_ENOMEM, "events", "out of memory");
    v->store = store;
    pthread_mutex_init(&v->lock, NULL);
    for (size_t i = 0; i < FOLLOWERS_MAX; i++)
        v->followers[i].fd = -1;
    v->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->wake < 0 || pthread_create(&v->thread, NULL, feed, v) != 0) {
        if (v->wake >= 0)
            close(v->wake);
        pthread_mutex_destroy(&v->lock);
        free(v);
        return rl_fail(e, RL_EIO, "events", "the events' thread cannot be started");
    }
    rl_err err = rl_store_subscribe(store, on_change, v);
    if (err == RL_OK) {
        *out = v;
        return RL_OK;
    }
    rl_events_close(v);
    return rl_fail(e, err, "events", "the store has no room for a subscriber");
}

void rl_events_close(rl_events *v)
{
    if (!v)
        return;
    rl_store_unsubscribe(v->store, on_change, v);
    pthread_mutex_lock(&v->lock);
    v->stop = true;
    pthread_mutex_unlock(&v->lock);
    wake(v);
    pthread_join(v->thread, NULL);
    while (v->incoming_n > 0)
        close(v->incoming[--v->incoming_n].fd);
    for (size_t i = 0; i < FOLLOWERS_MAX; i++)
        if (v->followers[i].fd >= 0)
            let_go(v, &v->followers[i]);
    close(v->wake);
    pthread_mutex_destroy(&v->lock);
    free(v);
}
