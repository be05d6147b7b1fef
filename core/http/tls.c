/* The server's TLS as a whole: see tls.h. A context is made for each certificate that is loaded, never changed, and
 * swapped under a lock that is held for taking a reference; a connection keeps its own context alive. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/tls_priv.h"

/* RFC 9325 §4.2: ephemeral keys and AEAD only. The suites of TLS 1.3 are all such. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS  "X25519:P-256:P-384"

struct rl_http_tls {
    pthread_mutex_t lock;
    SSL_CTX *ctx; /* under the lock; what it points to does not change */
    http_tickets *tickets;
    rl_metric *full, *resumed, *failed[HTTP_TLS_FAILURES], *not_after;
};

static const char *const failures[HTTP_TLS_FAILURES] = {
    [HTTP_TLS_TIMEOUT] = "timeout", [HTTP_TLS_CLOSED] = "closed",     [HTTP_TLS_CLEAR] = "http",
    [HTTP_TLS_VERSION] = "version", [HTTP_TLS_NO_MATCH] = "no_match", [HTTP_TLS_ALERT] = "alert",
    [HTTP_TLS_SIZE] = "size",       [HTTP_TLS_PROTOCOL] = "protocol",
};

/* ---- figures ---- */

static void make_metrics(rl_http_tls *t)
{
    const char *name = "revline_http_tls_handshakes_total", *help = "TLS handshakes that succeeded.";
    t->full = rl_counter(name, "kind=\"full\"", help);
    t->resumed = rl_counter(name, "kind=\"resumed\"", help);
    for (int i = 0; i < HTTP_TLS_FAILURES; i++) {
        char label[32];
        snprintf(label, sizeof label, "reason=\"%s\"", failures[i]);
        t->failed[i] = rl_counter("revline_http_tls_handshake_failures_total", label, "TLS handshakes that failed.");
    }
    t->not_after = rl_gauge("revline_http_tls_certificate_not_after_seconds", "",
                            "End of the server certificate's validity, in seconds since 1970.");
}

void http_tls_count(rl_http_tls *t, bool resumed)
{
    rl_metric_add(resumed ? t->resumed : t->full, 1);
}

void http_tls_count_failure(rl_http_tls *t, http_tls_failure why)
{
    rl_metric_add(t->failed[why], 1);
}

http_tls_failure http_tls_why(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (reason >= SSL_AD_REASON_OFFSET)
        return HTTP_TLS_ALERT;
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_UNKNOWN_PROTOCOL:
        return HTTP_TLS_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return HTTP_TLS_NO_MATCH;
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
        return HTTP_TLS_SIZE;
    default:
        return HTTP_TLS_PROTOCOL;
    }
}

/* ---- a context ---- */

/* RFC 7301 §3.2: who offers protocols, and not ours, would speak another one. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *offered,
                   unsigned offered_n, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl, (void)arg;
    int found = SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, offered, offered_n);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The handshake proves that the client has the certificate's key, and that is all: whether the certificate is worth
 * anything now is for the handler that needs it, on every request anew. */
static int on_client_certificate(X509_STORE_CTX *ctx, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

/* A server asks nobody at the terminal. */
static int no_pass_phrase(char *out, int cap, int writing, void *arg)
{
    (void)out, (void)cap, (void)writing, (void)arg;
    return -1;
}

static rl_err fail_openssl(rl_error *e, rl_err code, const char *what, const char *path)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    rl_fail(e, code, "tls", "%s%s%s%s%s", what, path, reason != NULL ? " (" : "", reason != NULL ? reason : "",
            reason != NULL ? ")" : "");
    ERR_clear_error();
    return code;
}

static SSL_CTX *new_context(rl_http_tls *t)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return NULL;
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1 ||
        SSL_CTX_set1_groups_list(ctx, GROUPS) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* An idle connection keeps no buffers; and the chain is what the file says, not what the system's trust adds. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets alone: nothing to be shared or bounded */
    SSL_CTX_set_max_cert_list(ctx, HTTP_TLS_CHAIN_MAX);
    SSL_CTX_set_cert_verify_callback(ctx, on_client_certificate, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    http_tickets_use(t->tickets, ctx);
    return ctx;
}

/* ---- the certificate ---- */

static rl_err open_file(const char *path, BIO **out, rl_error *e)
{
    errno = 0;
    *out = BIO_new_file(path, "r");
    if (*out != NULL)
        return RL_OK;
    ERR_clear_error();
    return rl_fail(e, RL_EIO, "tls", "%s cannot be read: %s", path, strerror(errno));
}

static rl_err use_certificate(SSL_CTX *ctx, const char *path, rl_error *e)
{
    BIO *file;
    RL_TRY(open_file(path, &file, e)); /* OpenSSL's word for a missing file is not a person's */
    BIO_free(file);
    return SSL_CTX_use_certificate_chain_file(ctx, path) == 1
               ? RL_OK
               : fail_openssl(e, RL_EBADMSG, "no certificate in PEM that can be used is in ", path);
}

static rl_err use_key(SSL_CTX *ctx, const char *cert_path, const char *path, rl_error *e)
{
    BIO *file;
    RL_TRY(open_file(path, &file, e));
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, no_pass_phrase, NULL);
    BIO_free(file);
    if (key == NULL)
        return fail_openssl(e, RL_EBADMSG, "no private key in PEM without a pass phrase is in ", path);
    rl_err err = RL_OK;
    if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1) {
        ERR_clear_error();
        err =
            rl_fail(e, RL_EINVAL, "tls", "the private key in %s is not that of the certificate in %s", path, cert_path);
    } else if (SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        err = fail_openssl(e, RL_EBADMSG, "a private key that cannot be used is in ", path);
    }
    EVP_PKEY_free(key);
    return err;
}

/* Used all the same: clients will say what they think of it. */
static void tell(rl_http_tls *t, const SSL_CTX *ctx, const char *path)
{
    const X509 *cert = SSL_CTX_get0_certificate(ctx);
    struct tm end;
    char text[RL_TIME_TEXT] = "";
    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) == 1) {
        rl_metric_set(t->not_after, (int64_t)timegm(&end));
        rl_time_rfc3339((int64_t)timegm(&end), text);
    }
    log_info("http.tls_certificate", "file", path, "not_after", (const char *)text);
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
        log_warn("http.tls_certificate_expired", "file", path, "not_after", (const char *)text);
}

rl_err rl_http_tls_load(rl_http_tls *t, const char *cert_path, const char *key_path, rl_error *e)
{
    ERR_clear_error();
    SSL_CTX *ctx = new_context(t);
    if (ctx == NULL)
        return fail_openssl(e, RL_EIO, "TLS cannot be set up", "");
    rl_err err = use_certificate(ctx, cert_path, e);
    if (err == RL_OK)
        err = use_key(ctx, cert_path, key_path, e);
    if (err != RL_OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    tell(t, ctx, cert_path);
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = ctx;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return RL_OK;
}

/* ---- a connection's ---- */

SSL *http_tls_session(rl_http_tls *t, bool asks)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *ctx = t->ctx;
    if (ctx != NULL)
        SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&t->lock);
    SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    SSL_CTX_free(ctx);
    if (ssl == NULL)
        return NULL;
    /* A session carries the client's certificate. It is resumed only where it began, so that one who was never asked
     * for a certificate has none, and one who was keeps what it proved. */
    const char *where = asks ? "asking" : "not asking";
    if (asks)
        SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, NULL);
    if (SSL_set_session_id_context(ssl, (const unsigned char *)where, (unsigned)strlen(where)) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}

/* ---- beginning and end ---- */

rl_err rl_http_tls_new(rl_http_tls **out, rl_error *e)
{
    rl_http_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return rl_fail(e, RL_ENOMEM, "tls", "out of memory");
    rl_err err = http_tickets_new(&t->tickets, e);
    if (err != RL_OK) {
        free(t);
        return err;
    }
    pthread_mutex_init(&t->lock, NULL);
    make_metrics(t);
    *out = t;
    return RL_OK;
}

void rl_http_tls_free(rl_http_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ctx);
    http_tickets_free(t->tickets);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
