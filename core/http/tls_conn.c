/* A connection's TLS, on its worker's thread: the handshake, octets in, octets out, the end.
 *
 * OpenSSL reads and writes memory here: it takes ciphertext from `in`, and what it seals goes to the worker's `sealed`,
 * which is sent before any other connection has its turn. Plaintext goes straight into the exchange's buffer, as that
 * of plain connections does, and comes from the same batch and the same pending output; sealed octets that the socket
 * did not take stand in front of pending plaintext.
 *
 * What was read and cannot be opened yet, because a request is with its handler, is held. The socket is read only while
 * nothing is held. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"
#include "http/tls_priv.h"

struct http_tls_conn {
    SSL *ssl;
    rl_span in;    /* not yet opened: in the worker's buffer during a read, else in `held` */
    uint8_t *held; /* malloced, or NULL */
    size_t handshake_n;
    bool begun, established;
    bool broken;   /* no record can follow */
    bool said_bye; /* close_notify was sent */
    uint8_t *client;
    size_t client_n; /* DER of the client's certificate, 0 = none */
};

/* ---- the BIO ---- */

static int on_bio_read(BIO *bio, char *out, int cap)
{
    rl_http_conn *c = BIO_get_data(bio);
    rl_span *in = &c->tls->in, taken = {0};
    BIO_clear_retry_flags(bio);
    if (in->n == 0 || cap <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    (void)rl_span_take(in, (size_t)cap < in->n ? (size_t)cap : in->n, &taken);
    memcpy(out, taken.p, taken.n);
    return (int)taken.n;
}

static int on_bio_write(BIO *bio, const char *octets, int n)
{
    const rl_http_conn *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return n > 0 && rl_buf_append(&c->worker->sealed, octets, (size_t)n) == RL_OK ? n : -1;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *p)
{
    (void)bio, (void)number, (void)p;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "revline connection");
    if (m == NULL || BIO_meth_set_read(m, on_bio_read) != 1 || BIO_meth_set_write(m, on_bio_write) != 1 ||
        BIO_meth_set_ctrl(m, on_bio_ctrl) != 1) {
        BIO_meth_free(m);
        m = NULL;
    }
    bio_method = m; /* for the life of the process */
}

static BIO *bio_of(rl_http_conn *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (bio == NULL)
        return NULL;
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- beginning and end ---- */

bool http_tls_begin(rl_http_conn *c, bool asks)
{
    http_tls_conn *t = calloc(1, sizeof *t);
    if (t == NULL)
        return false;
    t->ssl = http_tls_session(c->worker->server->tls, asks);
    BIO *bio = t->ssl != NULL ? bio_of(c) : NULL;
    if (bio == NULL) {
        SSL_free(t->ssl);
        free(t);
        ERR_clear_error();
        return false;
    }
    SSL_set_bio(t->ssl, bio, bio);
    c->tls = t;
    return true;
}

void http_tls_free(rl_http_conn *c)
{
    if (c->tls == NULL)
        return;
    SSL_free(c->tls->ssl);
    free(c->tls->held);
    free(c->tls->client);
    free(c->tls);
    c->tls = NULL;
}

rl_span rl_http_client_certificate(const rl_http_request *req)
{
    const http_tls_conn *t = req->conn->tls;
    return t != NULL ? rl_span_of(t->client, t->client_n) : rl_span_of(NULL, 0);
}

/* ---- out ---- */

static bool seal(rl_http_conn *c, rl_span plain)
{
    if (plain.n == 0)
        return true;
    ERR_clear_error();
    if (!c->tls->broken && SSL_write(c->tls->ssl, plain.p, (int)plain.n) == (int)plain.n)
        return true;
    c->tls->broken = true;
    rl_buf_reset(&c->worker->sealed);
    return false;
}

/* What the socket does not take becomes pending. False when the connection broke. */
static bool send_sealed(rl_http_conn *c)
{
    rl_buf *b = &c->worker->sealed;
    size_t n = b->n, sent = 0;
    rl_buf_reset(b);
    if (n == 0)
        return true;
    if (c->pending == NULL || !c->pending->sealed) {
        ssize_t took = send(c->fd, b->p, n, MSG_NOSIGNAL);
        if (took < 0 && errno != EAGAIN)
            return false;
        sent = took > 0 ? (size_t)took : 0;
    }
    return sent == n || http_pending_sealed(c, rl_span_of(b->p + sent, n - sent));
}

bool http_tls_send(rl_http_conn *c, size_t *sent)
{
    const http_batch *b = &c->worker->out;
    *sent = 0;
    for (size_t i = 0; i < b->parts_n && *sent < HTTP_BATCH_OCTETS; i++) {
        rl_span part = b->parts[i].bytes;
        if (part.n > HTTP_BATCH_OCTETS - *sent)
            part.n = HTTP_BATCH_OCTETS - *sent;
        if (!seal(c, part))
            return false;
        *sent += part.n;
        if (part.n < b->parts[i].bytes.n)
            break;
    }
    return send_sealed(c);
}

bool http_tls_seal_pending(rl_http_conn *c)
{
    http_pending *p = c->pending;
    if (p->sealed || p->left.n == 0)
        return true;
    size_t n = p->left.n < HTTP_PIECE ? p->left.n : HTTP_PIECE;
    if (!seal(c, rl_span_of(p->left.p, n)))
        return false;
    p->left = rl_span_of(p->left.p + n, p->left.n - n);
    bool ok = http_pending_sealed(c, rl_buf_span(&c->worker->sealed));
    rl_buf_reset(&c->worker->sealed);
    return ok;
}

/* RFC 8446 §6.1: so that the client knows that nothing was cut off. As far as the socket takes it. */
void http_tls_bye(rl_http_conn *c)
{
    http_tls_conn *t = c->tls;
    if (!t->established || t->broken || t->said_bye || c->pending != NULL)
        return;
    t->said_bye = true;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    (void)send(c->fd, c->worker->sealed.p, c->worker->sealed.n, MSG_NOSIGNAL);
    rl_buf_reset(&c->worker->sealed);
}

/* ---- the handshake ---- */

static void fail(rl_http_conn *c, http_tls_failure why, const char *text)
{
    http_tls_conn *t = c->tls;
    if (!t->established)
        http_tls_count_failure(c->worker->server->tls, why);
    log_client_warn("http.tls_failed", "peer", (const char *)c->peer, "handshake", !t->established, "reason", text);
    ERR_clear_error();
    t->broken = true;
    t->in.n = 0;
    (void)send_sealed(c); /* the alert that says why */
    http_pending_drop(c);
    c->last = c->linger = true;
}

static void fail_openssl(rl_http_conn *c)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    fail(c, http_tls_why(), reason != NULL ? reason : "protocol error");
}

void http_tls_expired(rl_http_conn *c)
{
    http_tls_count_failure(c->worker->server->tls, HTTP_TLS_TIMEOUT);
    log_client_warn("http.tls_failed", "peer", (const char *)c->peer, "handshake", true, "reason", "timed out");
}

static bool keep_client(http_tls_conn *t)
{
    const X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (cert == NULL)
        return true;
    uint8_t *der = NULL;
    int n = i2d_X509(cert, &der);
    t->client = n > 0 ? malloc((size_t)n) : NULL;
    if (t->client != NULL) {
        memcpy(t->client, der, (size_t)n);
        t->client_n = (size_t)n;
    }
    OPENSSL_free(der);
    return t->client != NULL;
}

/* False: it goes on with the next octets, or has failed. */
static bool handshake(rl_http_conn *c)
{
    http_tls_conn *t = c->tls;
    size_t before = t->in.n;
    ERR_clear_error();
    int status = SSL_do_handshake(t->ssl);
    int error = status == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, status);
    t->handshake_n += before - t->in.n;
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
        fail_openssl(c);
        return false;
    }
    /* A flight fits every socket's buffer, so who does not take it is not served. */
    if (!send_sealed(c) || c->pending != NULL) {
        http_tls_count_failure(c->worker->server->tls, HTTP_TLS_CLOSED);
        http_conn_close(c);
        return false;
    }
    if (status != 1) {
        if (t->handshake_n > HTTP_TLS_HANDSHAKE_MAX)
            fail(c, HTTP_TLS_SIZE, "handshake too large");
        return false;
    }
    if (!keep_client(t)) {
        http_conn_close(c);
        return false;
    }
    t->established = true;
    http_tls_count(c->worker->server->tls, SSL_session_reused(t->ssl));
    c->phase = PHASE_FRESH;
    c->deadline = uv_now(&c->worker->loop) + c->worker->server->limits.header_ms;
    return true;
}

/* ---- in ---- */

/* The client has said that nothing follows: what it asked is answered first. True when something is to be read again.
 */
static bool said_bye(rl_http_conn *c)
{
    if (c->ahead_n > 0)
        http_ahead_answer(c->worker);
    if (c->again && !c->gone)
        return true;
    if (!c->gone && c->pending == NULL && !c->busy)
        http_conn_close(c);
    return false;
}

/* Room in the exchange's buffer; 0 when there is none, or the connection ended, or requests are to be read again. */
static size_t room(rl_http_conn *c, uint8_t **at)
{
    if (c->x == NULL)
        c->x = http_exchange_take(c->worker);
    size_t n = c->x != NULL ? http_in_room(&c->x->in, at) : 0;
    if (n == 0 && c->ahead_n > 0) { /* their octets are kept until they are answered */
        http_ahead_answer(c->worker);
        n = c->gone || c->again ? 0 : http_in_room(&c->x->in, at);
    }
    return n;
}

/* One record's octets; false when there are no more, or the connection failed. */
static bool open_some(rl_http_conn *c, uint8_t *at, size_t n)
{
    SSL *ssl = c->tls->ssl;
    ERR_clear_error();
    int got = SSL_read(ssl, at, n < INT32_MAX ? (int)n : INT32_MAX);
    if (got > 0) {
        http_in_added(&c->x->in, (size_t)got);
        return true;
    }
    int error = SSL_get_error(ssl, got);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_ZERO_RETURN)
        fail_openssl(c);
    return false;
}

static bool may_open(const rl_http_conn *c)
{
    return !c->busy && c->pending == NULL && !c->last && !c->gone;
}

/* Plaintext that is there; true when some was added, or is to be read again. */
static bool open_all(rl_http_conn *c)
{
    http_tls_conn *t = c->tls;
    bool any = false;
    uint8_t *at;
    while (t->in.n > 0 || SSL_pending(t->ssl) > 0) {
        size_t n = room(c, &at);
        if (n == 0 && !any && !c->gone && !c->again)
            http_conn_close(c); /* no memory */
        if (n == 0 || !open_some(c, at, n))
            break;
        any = true;
    }
    return any || c->again;
}

bool http_tls_fill(rl_http_conn *c)
{
    http_tls_conn *t = c->tls;
    if (!may_open(c) || (!t->established && !handshake(c)))
        return false;
    bool more = open_all(c);
    /* The answer to a client's key update, which it may not take. */
    if (!c->gone && !t->broken && (!send_sealed(c) || !http_flush(c)))
        http_conn_close(c);
    if (c->pending != NULL)
        more = true;
    if (!more && !c->gone && !c->last && SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN)
        more = said_bye(c);
    if (t->in.n == 0) {
        free(t->held);
        t->held = NULL;
    }
    return more && !c->gone;
}

/* What could not be opened yet outlives the worker's buffer. */
static void hold(rl_http_conn *c)
{
    http_tls_conn *t = c->tls;
    if (t->in.n == 0)
        return;
    if (c->gone || c->last || (t->held = malloc(t->in.n)) == NULL) {
        t->in.n = 0;
        if (!c->last)
            http_conn_close(c);
        return;
    }
    memcpy(t->held, t->in.p, t->in.n);
    t->in.p = t->held;
}

/* HTTP on the TLS port is told so in its own words. */
static void refuse_clear(rl_http_conn *c)
{
    http_tls_count_failure(c->worker->server->tls, HTTP_TLS_CLEAR);
    http_conn_read_off(c);
    http_tls_free(c); /* the answer goes out in clear */
    http_conn_refuse(c, 400, "this port speaks TLS, and the request came in clear: ask it with https://");
}

/* RFC 8446 §5.1: a handshake record begins with 22; a method is in capitals. */
static bool is_clear(const http_tls_conn *t)
{
    return !t->begun && t->in.p[0] >= 'A' && t->in.p[0] <= 'Z';
}

void http_tls_on_octets(rl_http_conn *c, rl_span octets)
{
    http_tls_conn *t = c->tls;
    t->in = octets;
    if (is_clear(t)) {
        refuse_clear(c);
        return;
    }
    t->begun = true;
    if (http_tls_fill(c) || (c->last && !c->gone))
        http_conn_run(c);
    else
        http_conn_rest(c);
    hold(c);
}
