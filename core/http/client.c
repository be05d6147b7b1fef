/* HTTP client: libcurl's multi_socket interface driven by a libuv loop. curl says which sockets and which time-out it
 * waits for; libuv watches them and tells curl. Everything here runs on the loop's thread.
 *
 * Owns: the multi handle with its connections, the watchers, and each call from start to the end of its callback.
 * Callbacks run outside curl's own functions, so they may start, cancel and close at will. A call's body, headers
 * and token are wiped before their memory goes back. */
#include "http/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"

enum { HEADERS_LIMIT = 64 * 1024, IDLE_CONNECTIONS = 8, RETRY_AFTER_MAX_MS = 3600 * 1000 };

struct rl_http_client {
    uv_loop_t *loop;
    CURLM *multi;
    CURLSH *cookies;  /* in memory only; of this thread, so without locks */
    uv_timer_t timer; /* curl's one time-out */
    size_t handles;   /* of ours that the loop still refers to */
    rl_http_call *calls;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct rl_http_call {
    rl_http_client *client;
    rl_http_call *next, **at; /* in client->calls; `at` points to what points here */
    CURL *easy;
    struct curl_slist *headers;
    rl_buf request, body;
    size_t headers_n; /* octets of header lines seen */
    bool too_large, head_complete;
    char error[CURL_ERROR_SIZE];
    rl_http_response_fn fn;
    void *arg;
};

/* A socket of curl's and its watcher. */
struct watch {
    uv_poll_t poll;
    rl_http_client *client;
    curl_socket_t fd;
};

/* ---- the end of a call ---- */
static void wipe(void *p, size_t n)
{
    if (p && n)
        explicit_bzero(p, n);
}

static void free_call(rl_http_call *call)
{
    if (call->easy)
        curl_easy_cleanup(call->easy);
    for (struct curl_slist *h = call->headers; h; h = h->next)
        wipe(h->data, strlen(h->data));
    curl_slist_free_all(call->headers);
    wipe(call->request.p, call->request.n);
    rl_buf_free(&call->request);
    wipe(call->body.p, call->body.n);
    rl_buf_free(&call->body);
    free(call);
}

static const char *header(const rl_http_call *call, const char *name)
{
    struct curl_header *h;
    return curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : NULL;
}

const char *rl_http_response_header(const rl_http_response *r, const char *name)
{
    return r->err == RL_OK ? header(r->call, name) : NULL;
}

/* RFC 9110 §10.2.3: delay-seconds or HTTP-date. A date is measured against the answer's own Date, since the
 * clocks may differ; one in the past means now. */
static int64_t retry_after(const char *text, int64_t date)
{
    int64_t at;
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits > 0 && !text[digits]) {
        unsigned long long s = strtoull(text, NULL, 10); /* saturates */
        return s > INT64_MAX / 1000 ? INT64_MAX : (int64_t)s * 1000;
    }
    if (!text || rl_time_parse_http(text, &at) != RL_OK)
        return -1;
    at -= date ? date : rl_wall_s();
    return at > 0 ? at * 1000 : 0;
}

static void read_headers(rl_http_call *call, rl_http_response *r)
{
    const char *date = header(call, "Date"), *id = header(call, "request-id");
    if (!date || rl_time_parse_http(date, &r->date) != RL_OK)
        r->date = 0;
    r->retry_after_ms = retry_after(header(call, "Retry-After"), r->date);
    snprintf(r->request_id, sizeof(r->request_id), "%s", id ? id : "");
}

static rl_err error_of(const rl_http_call *call, CURLcode code)
{
    if (call->too_large)
        return RL_ERANGE;
    switch (code) {
    case CURLE_OK:
        return call->head_complete ? RL_OK : RL_EIO;
    case CURLE_OPERATION_TIMEDOUT:
        return RL_ETIMEDOUT;
    case CURLE_OUT_OF_MEMORY:
        return RL_ENOMEM;
    default:
        return RL_EIO;
    }
}

static rl_http_failure failure_of(rl_err err, CURLcode code)
{
    if (err == RL_OK || err == RL_ERANGE)
        return err == RL_OK ? RL_HTTP_ANSWERED : RL_HTTP_TOO_LARGE;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return RL_HTTP_NO_NAME;
    case CURLE_COULDNT_CONNECT:
        return RL_HTTP_NO_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
        return RL_HTTP_NO_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return RL_HTTP_TIMEOUT;
    default:
        return RL_HTTP_BROKEN;
    }
}

static void take_out(rl_http_call *call)
{
    *call->at = call->next;
    if (call->next)
        call->next->at = call->at;
    curl_multi_remove_handle(call->client->multi, call->easy);
}

static void finish(rl_http_call *call, CURLcode code)
{
    rl_http_response r = {.err = error_of(call, code), .retry_after_ms = -1, .call = call};
    r.failure = failure_of(r.err, code);
    if (r.err == RL_OK) {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &r.status);
        read_headers(call, &r);
        r.body = rl_buf_span(&call->body);
    } else if (r.err == RL_ERANGE) {
        snprintf(r.message, sizeof(r.message), "the answer is larger than the %zu octets allowed", call->body.limit);
    } else {
        snprintf(r.message, sizeof(r.message), "%s",
                 code == CURLE_OK ? "the answer breaks off"
                 : call->error[0] ? call->error
                                  : curl_easy_strerror(code));
    }
    take_out(call);
    call->fn(&r, call->arg);
    free_call(call);
}

void rl_http_call_cancel(rl_http_call *call)
{
    rl_http_response r = {.err = RL_ECANCELED, .failure = RL_HTTP_BROKEN, .message = "canceled", .retry_after_ms = -1};
    take_out(call);
    call->fn(&r, call->arg);
    free_call(call);
}

/* ---- the loop's side: sockets and the timer ---- */
static void act(rl_http_client *c, curl_socket_t fd, int events)
{
    CURLMsg *m;
    int n;
    curl_multi_socket_action(c->multi, fd, events, &n);
    while (!c->closing && (m = curl_multi_info_read(c->multi, &n)) != NULL) {
        rl_http_call *call = NULL;
        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call) == CURLE_OK && call)
            finish(call, m->data.result);
    }
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *client)
{
    rl_http_client *c = client;
    (void)multi;
    if (ms < 0)
        uv_timer_stop(&c->timer);
    else if (!c->closing)
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    act(w->client, w->fd, flags); /* may close w */
}

static void handle_closed(rl_http_client *c)
{
    if (--c->handles > 0 || !c->closing)
        return;
    void (*closed)(void *arg) = c->closed;
    void *arg = c->closed_arg;
    free(c);
    if (closed)
        closed(arg);
}

static void watch_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;
    rl_http_client *c = w->client;
    free(w);
    handle_closed(c);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static struct watch *watch_new(rl_http_client *c, curl_socket_t fd)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w || uv_poll_init_socket(c->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->client = c;
    w->fd = fd;
    w->poll.data = w;
    c->handles++;
    curl_multi_assign(c->multi, fd, w);
    return w;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *client, void *watch)
{
    rl_http_client *c = client;
    struct watch *w = watch;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(c->multi, fd, NULL);
        if (w) /* stops watching at once: curl closes fd next, or, while it connects, has closed it already (7.88) */
            uv_close((uv_handle_t *)&w->poll, watch_closed);
        return 0;
    }
    if (!w && !(w = watch_new(c, fd)))
        return -1;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_poll) == 0 ? 0 : -1;
}

/* ---- open and close ---- */
static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_result;
static void global_init(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

rl_err rl_http_client_new(uv_loop_t *loop, rl_http_client **out, rl_error *e)
{
    pthread_once(&global_once, global_init);
    rl_http_client *c = calloc(1, sizeof(*c));
    bool made = c && global_result == CURLE_OK && (c->multi = curl_multi_init()) && (c->cookies = curl_share_init()) &&
                curl_share_setopt(c->cookies, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE) == CURLSHE_OK;
    if (!made) {
        if (c) {
            curl_share_cleanup(c->cookies);
            curl_multi_cleanup(c->multi);
        }
        free(c);
        return rl_fail(e, RL_ENOMEM, "http", "the HTTP client cannot be made");
    }
    c->loop = loop;
    uv_timer_init(loop, &c->timer); /* cannot fail */
    c->timer.data = c;
    c->handles = 1;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
    *out = c;
    return RL_OK;
}

void rl_http_client_close(rl_http_client *c, void (*closed)(void *arg), void *arg)
{
    c->closing = true;
    c->closed = closed;
    c->closed_arg = arg;
    while (c->calls)
        rl_http_call_cancel(c->calls);
    curl_multi_cleanup(c->multi);
    curl_share_cleanup(c->cookies);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

/* ---- starting a call ---- */
static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
    rl_http_call *call = arg;
    rl_err err = rl_buf_append(&call->body, p, size * n);
    call->too_large |= err == RL_ERANGE;
    return err == RL_OK ? size * n : CURL_WRITEFUNC_ERROR;
}

/* Counts, and notices the empty line: curl takes an answer that breaks off inside its head for one without a body. */
static size_t count_header(char *p, size_t size, size_t n, void *arg)
{
    rl_http_call *call = arg;
    rl_span line = rl_span_of(p, size * n);
    call->headers_n += line.n;
    call->too_large |= call->headers_n > HEADERS_LIMIT;
    if (line.n > 5 && memcmp(line.p, "HTTP/", 5) == 0)
        call->head_complete = false; /* the head of an interim answer came before */
    else if (rl_span_eq(line, RL_SPAN_LIT("\r\n")) || rl_span_eq(line, RL_SPAN_LIT("\n")))
        call->head_complete = true;
    return call->too_large ? 0 : line.n;
}

/* A line break in a header would let whoever wrote the value (a token comes from outside) add headers. */
static rl_err add_header(rl_http_call *call, const char *line)
{
    if (strpbrk(line, "\r\n"))
        return RL_EINVAL;
    struct curl_slist *more = curl_slist_append(call->headers, line);
    if (!more)
        return RL_ENOMEM;
    call->headers = more;
    return RL_OK;
}

static rl_err add_bearer(rl_http_call *call, const char *token)
{
    rl_buf line = {0};
    rl_err err = rl_buf_printf(&line, "Authorization: Bearer %s", token);
    if (err == RL_OK)
        err = rl_buf_append(&line, "", 1);
    if (err == RL_OK)
        err = add_header(call, (char *)line.p);
    wipe(line.p, line.n);
    rl_buf_free(&line);
    return err;
}

static rl_err copy_request(rl_http_call *call, const rl_http_call_options *o)
{
    call->body.limit = o->body_limit;
    for (size_t i = 0; o->headers && o->headers[i]; i++)
        RL_TRY(add_header(call, o->headers[i]));
    RL_TRY(add_header(call, "Expect:")); /* no 100-continue round trip */
    if (o->bearer)
        RL_TRY(add_bearer(call, o->bearer));
    return rl_buf_append(&call->request, o->body.p, o->body.n);
}

#define SET(option, value)                                                                                             \
    do {                                                                                                               \
        if (rc == CURLE_OK)                                                                                            \
            rc = curl_easy_setopt(easy, option, value);                                                                \
    } while (0)

static CURLcode set_transport(CURL *easy, const rl_http_call_options *o)
{
    CURLcode rc = CURLE_OK;
    const char *ca_file = getenv("SSL_CERT_FILE"); /* as curl and OpenSSL's own tools: private or inspecting CAs */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L); /* links of an upstream are replayed as they are */
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (ca_file && ca_file[0])
        SET(CURLOPT_CAINFO, ca_file);
    if (o->direct)
        SET(CURLOPT_PROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip");
    SET(CURLOPT_USERAGENT, "revline/" REVLINE_VERSION);
    SET(CURLOPT_TIMEOUT_MS, (long)o->timeout);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout);
    SET(CURLOPT_QUICK_EXIT, 1L); /* canceling does not wait for a resolver that hangs */
    return rc;
}

static bool is_method(const char *name)
{
    static const char *const methods[] = {"GET", "POST", "PATCH", "DELETE"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(name, methods[i]) == 0)
            return true;
    return false;
}

static CURLcode set_request(rl_http_call *call, const rl_http_call_options *o)
{
    CURL *easy = call->easy;
    CURLcode rc = CURLE_OK;
    SET(CURLOPT_URL, o->url);
    if (strcmp(o->method, "POST") == 0 || strcmp(o->method, "PATCH") == 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->request.n);
        SET(CURLOPT_POSTFIELDS, call->request.n ? (char *)call->request.p : "");
    } else {
        SET(CURLOPT_HTTPGET, 1L);
    }
    SET(CURLOPT_CUSTOMREQUEST, o->method);
    if (o->cookies) {
        SET(CURLOPT_SHARE, call->client->cookies);
        SET(CURLOPT_COOKIEFILE, ""); /* no file: it turns cookies on */
    }
    SET(CURLOPT_HTTPHEADER, call->headers);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, call);
    SET(CURLOPT_HEADERFUNCTION, count_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_ERRORBUFFER, call->error);
    SET(CURLOPT_PRIVATE, call);
    return rc;
}

rl_err rl_http_call_start(rl_http_client *c, const rl_http_call_options *o, rl_http_response_fn fn, void *arg,
                          rl_http_call **out, rl_error *e)
{
    if (c->closing)
        return rl_fail(e, RL_ECANCELED, "http", "the HTTP client is closing");
    if (!is_method(o->method))
        return rl_fail(e, RL_EINVAL, "http", "method \"%s\" is not among those of a call", o->method);
    if (o->body_limit == 0)
        return rl_fail(e, RL_EINVAL, "http", "a call needs a limit for its answer");
    rl_http_call *call = calloc(1, sizeof(*call));
    if (!call)
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    *call = (rl_http_call){.client = c, .easy = curl_easy_init(), .fn = fn, .arg = arg};
    rl_err err = call->easy ? copy_request(call, o) : RL_ENOMEM;
    CURLcode rc = CURLE_OK;
    if (err == RL_OK && (rc = set_transport(call->easy, o)) == CURLE_OK)
        rc = set_request(call, o);
    if (err != RL_OK || rc != CURLE_OK || curl_multi_add_handle(c->multi, call->easy) != CURLM_OK) {
        free_call(call);
        return rl_fail(e, err != RL_OK ? err : RL_ENOMEM, "http", "the request cannot be made: %s",
                       rc != CURLE_OK ? curl_easy_strerror(rc) : rl_err_name(err != RL_OK ? err : RL_ENOMEM));
    }
    call->at = &c->calls;
    call->next = c->calls;
    if (call->next)
        call->next->at = &call->next;
    c->calls = call;
    if (out)
        *out = call;
    return RL_OK;
}

/* ---- origins, back-off ---- */
struct origin {
    CURLU *url;
    char *scheme, *host, *port, *user;
};

/* With curl's own URL parser: what is compared is what curl would connect to. */
static bool origin_of(const char *text, struct origin *o)
{
    *o = (struct origin){.url = curl_url()};
    if (!o->url || curl_url_set(o->url, CURLUPART_URL, text, 0) != CURLUE_OK)
        return false;
    return curl_url_get(o->url, CURLUPART_USER, &o->user, 0) == CURLUE_NO_USER &&
           curl_url_get(o->url, CURLUPART_SCHEME, &o->scheme, 0) == CURLUE_OK &&
           curl_url_get(o->url, CURLUPART_HOST, &o->host, 0) == CURLUE_OK &&
           curl_url_get(o->url, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
           (strcmp(o->scheme, "https") == 0 || strcmp(o->scheme, "http") == 0);
}

static void origin_free(struct origin *o)
{
    curl_free(o->scheme);
    curl_free(o->host);
    curl_free(o->port);
    curl_free(o->user);
    curl_url_cleanup(o->url);
}

bool rl_http_same_origin(const char *a, const char *b)
{
    struct origin x, y;
    bool both = origin_of(a, &x);
    both &= origin_of(b, &y);
    bool same =
        both && strcmp(x.scheme, y.scheme) == 0 && strcasecmp(x.host, y.host) == 0 && strcmp(x.port, y.port) == 0;
    origin_free(&x);
    origin_free(&y);
    return same;
}

void rl_http_request_id(char out[RL_HTTP_REQUEST_ID])
{
    uint8_t b[16];
    char hex[33];
    arc4random_buf(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 4122 §4.4: version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    rl_hex(rl_span_of(b, sizeof(b)), hex, sizeof(hex));
    snprintf(out, RL_HTTP_REQUEST_ID, "client-request-id: %.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

int64_t rl_backoff(unsigned attempt, int64_t base_ms, int64_t cap_ms, int64_t retry_after_ms)
{
    int64_t delay = base_ms < 1 ? 1 : base_ms;
    for (unsigned i = 0; i < attempt && delay < cap_ms; i++)
        delay = delay > INT64_MAX / 4 ? cap_ms : 2 * delay;
    if (delay > cap_ms)
        delay = cap_ms;
    uint32_t span = delay > INT32_MAX ? INT32_MAX : (uint32_t)delay;
    delay = delay - delay / 2 + (int64_t)arc4random_uniform(span + 1);
    if (retry_after_ms > RETRY_AFTER_MAX_MS)
        retry_after_ms = RETRY_AFTER_MAX_MS;
    return delay > retry_after_ms ? delay : retry_after_ms;
}
