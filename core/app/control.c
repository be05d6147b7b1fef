/* The control socket: one JSON object a line from the client, one back, then the connection ends.
 *
 * A single thread accepts and answers one client after the other: the socket is the owner's alone (0600), and a
 * client that does not finish its line in time is cut. The thread owns the listening socket. Who asks for events stays
 * connected, and is given to events.c. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/app.h"
#include "base/json.h"
#include "base/log.h"

enum { REQUEST_MAX = 16 * 1024 * 1024, REPLY_MAX = 64 * 1024 * 1024, CLIENT_TIMEOUT_S = 5, ASK_TIMEOUT_S = 120 };

struct rl_control {
    rl_app *app;
    int listener, wake;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    pthread_t thread;
};

static rl_err address(const char *data_dir, struct sockaddr_un *a, rl_error *e)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(a->sun_path, sizeof(a->sun_path), "%s/control.sock", data_dir);
    if (n < 0 || (size_t)n >= sizeof(a->sun_path))
        return rl_fail(e, RL_ERANGE, "control", "the path of %s/control.sock is too long for a Unix socket", data_dir);
    return RL_OK;
}

static void set_timeouts(int fd, int seconds)
{
    struct timeval t = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static rl_err send_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return RL_EIO;
        at += sent;
        n -= (size_t)sent;
    }
    return RL_OK;
}

static rl_err send_json(int fd, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text)
        return RL_ENOMEM;
    rl_err err = send_all(fd, text, strlen(text));
    free(text);
    return err == RL_OK ? send_all(fd, "\n", 1) : err;
}

/* Reads up to a newline or the end; RL_ERANGE past `max`. */
static rl_err read_line(int fd, size_t max, rl_buf *line)
{
    char chunk[16384];
    line->limit = max;
    for (;;) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? RL_ETIMEDOUT : RL_EIO;
        if (n == 0)
            return line->n ? RL_OK : RL_EIO;
        RL_TRY(rl_buf_append(line, chunk, (size_t)n));
        if (chunk[n - 1] == '\n')
            return RL_OK;
    }
}

/* True when the connection is no longer ours to close. */
static bool answer(rl_control *c, int fd)
{
    rl_buf line = {0};
    rl_error e = {0};
    json_t *request = NULL, *reply = NULL;
    set_timeouts(fd, CLIENT_TIMEOUT_S);
    rl_err err = read_line(fd, REQUEST_MAX, &line);
    if (err == RL_OK)
        err = rl_json_parse(rl_buf_span(&line), REQUEST_MAX, &request, &e);
    else
        rl_fail(&e, err, "control", "no whole request came: %s", rl_err_name(err));
    const char *command = rl_json_str(request, "command");
    bool follows = err == RL_OK && command && strcmp(command, "events") == 0;
    if (follows)
        err = rl_events_follow(c->app->events, fd, &e);
    else if (err == RL_OK)
        err = rl_command_run(c->app, request, &reply, &e);
    if (err == RL_OK)
        log_info("control.command", "command", command, "serial", rl_json_str(reply, "serial"));
    else
        log_warn("control.refused", "command", command, "error", e.message);
    bool given_away = follows && err == RL_OK;
    json_t *envelope = given_away     ? NULL
                       : err == RL_OK ? json_pack("{s:O}", "ok", reply)
                                      : json_pack("{s:i,s:s}", "error", (int)err, "message", e.message);
    if (envelope)
        send_json(fd, envelope);
    json_decref(envelope);
    json_decref(reply);
    json_decref(request);
    rl_buf_free(&line);
    return given_away;
}

static void *control_thread(void *arg)
{
    rl_control *c = arg;
    struct pollfd fds[2] = {{.fd = c->listener, .events = POLLIN}, {.fd = c->wake, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        if (!(fds[0].revents & POLLIN))
            continue;
        int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && !answer(c, fd))
            close(fd);
    }
    return NULL;
}

static int connect_to(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

rl_err rl_control_start(rl_app *app, rl_control **out, rl_error *e)
{
    struct sockaddr_un a;
    RL_TRY(address(app->settings->data_dir, &a, e));
    int other = connect_to(&a);
    if (other >= 0) {
        close(other);
        return rl_fail(e, RL_EBUSY, "control", "another server answers on %s", a.sun_path);
    }
    rl_control *c = calloc(1, sizeof(*c));
    if (!c)
        return rl_fail(e, RL_ENOMEM, "control", "out of memory");
    c->app = app;
    memcpy(c->path, a.sun_path, sizeof(c->path));
    unlink(c->path); /* left over from a killed server: nobody answered above, and the database's lock is ours */
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->wake = eventfd(0, EFD_CLOEXEC);
    mode_t mask = umask(0177); /* the socket must never exist with a wider mode */
    int bound = c->listener < 0 || c->wake < 0 ? -1 : bind(c->listener, (struct sockaddr *)&a, sizeof(a));
    umask(mask);
    if (bound != 0 || listen(c->listener, 64) != 0 || pthread_create(&c->thread, NULL, control_thread, c) != 0) {
        rl_fail(e, RL_EIO, "control", "cannot listen on %s: %s", c->path, strerror(errno));
        if (c->listener >= 0)
            close(c->listener);
        if (c->wake >= 0)
            close(c->wake);
        free(c);
        return RL_EIO;
    }
    *out = c;
    return RL_OK;
}

void rl_control_stop(rl_control *c)
{
    uint64_t one = 1;
    if (!c)
        return;
    if (write(c->wake, &one, sizeof(one)) == (ssize_t)sizeof(one))
        pthread_join(c->thread, NULL);
    unlink(c->path);
    close(c->listener);
    close(c->wake);
    free(c);
}

static rl_err take_reply(const json_t *envelope, json_t **reply, rl_error *e)
{
    const char *message = rl_json_str(envelope, "message");
    *reply = json_incref(json_object_get(envelope, "ok"));
    return *reply ? RL_OK
                  : rl_fail(e, (rl_err)rl_json_int(envelope, "error", RL_EIO), "server", "%s",
                            message ? message : "the server refused");
}

rl_err rl_control_ask(const char *data_dir, const json_t *request, json_t **reply, rl_error *e)
{
    struct sockaddr_un a;
    rl_buf line = {0};
    json_t *envelope = NULL;
    RL_TRY(address(data_dir, &a, e));
    int fd = connect_to(&a);
    if (fd < 0)
        return rl_fail(e, RL_ENOTFOUND, "control", "no server listens on %s", a.sun_path);
    set_timeouts(fd, ASK_TIMEOUT_S);
    rl_err err = send_json(fd, request);
    if (err == RL_OK)
        err = read_line(fd, REPLY_MAX, &line);
    if (err != RL_OK)
        rl_fail(e, err, "control", "the server did not answer: %s", rl_err_name(err));
    else
        err = rl_json_parse(rl_buf_span(&line), REPLY_MAX, &envelope, e);
    if (err == RL_OK)
        err = take_reply(envelope, reply, e);
    json_decref(envelope);
    rl_buf_free(&line);
    close(fd);
    return err;
}

/* ---- following ---- */
static rl_err copy_lines(FILE *from, FILE *to, rl_error *e)
{
    char *line = NULL;
    size_t cap = 0;
    bool taken = true;
    while (taken && getline(&line, &cap, from) > 0)
        taken = fputs(line, to) >= 0 && fflush(to) == 0;
    free(line);
    return taken ? rl_fail(e, RL_ECANCELED, "control", "the server has ended")
                 : rl_fail(e, RL_EIO, "control", "the events cannot be written: %s", strerror(errno));
}

/* Its first line is an answer like any other's. */
static rl_err read_first(FILE *from, rl_error *e)
{
    char line[1024];
    json_t *envelope = NULL, *reply = NULL;
    if (!fgets(line, sizeof(line), from))
        return rl_fail(e, RL_EIO, "control", "the server did not answer");
    rl_err err = rl_json_parse(rl_span_str(line), sizeof(line), &envelope, e);
    if (err == RL_OK)
        err = take_reply(envelope, &reply, e);
    json_decref(reply);
    json_decref(envelope);
    return err;
}

rl_err rl_control_follow(const char *data_dir, FILE *to, rl_error *e)
{
    static const char request[] = "{\"command\":\"events\"}\n";
    struct sockaddr_un a;
    RL_TRY(address(data_dir, &a, e));
    int fd = connect_to(&a);
    FILE *from = fd < 0 ? NULL : fdopen(fd, "r");
    if (!from)
        return rl_fail(e, RL_ENOTFOUND, "control", "no server listens on %s: events are a running server's",
                       a.sun_path);
    rl_err err = send_all(fd, request, sizeof(request) - 1);
    if (err != RL_OK)
        rl_fail(e, err, "control", "the server cannot be asked");
    if (err == RL_OK)
        err = read_first(from, e);
    if (err == RL_OK)
        err = copy_lines(from, to, e);
    fclose(from);
    return err;
}
