/* Certificates and a TLS client for the server's tests. */
#ifndef TESTS_HTTP_TLS_FIXTURE_H
#define TESTS_HTTP_TLS_FIXTURE_H

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http/tls.h"
#include <signal.h>

/* A key and a self-signed certificate; in a PEM file of its own when `path` has room for its name. */
typedef struct identity {
    EVP_PKEY *key;
    X509 *cert;
    char path[32];
} identity;

static inline void identity_new(identity *i, const char *cn)
{
    i->key = EVP_EC_gen("P-256");
    i->cert = X509_new();
    assert_true(i->key != NULL && i->cert != NULL);
    X509_NAME *name = X509_get_subject_name(i->cert);
    ASN1_INTEGER_set(X509_get_serialNumber(i->cert), 1);
    X509_set_version(i->cert, X509_VERSION_3);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(i->cert, name);
    X509_gmtime_adj(X509_getm_notBefore(i->cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(i->cert), 3600);
    X509_set_pubkey(i->cert, i->key);
    assert_true(X509_sign(i->cert, i->key, EVP_sha256()) > 0);
    strcpy(i->path, "/tmp/revline-tls-XXXXXX");
    int fd = mkstemp(i->path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, i->key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(PEM_write_X509(f, i->cert), 1);
    assert_int_equal(fclose(f), 0);
}

static inline void identity_free(identity *i)
{
    unlink(i->path);
    EVP_PKEY_free(i->key);
    X509_free(i->cert);
    *i = (identity){0};
}

/* A context of the server's kind, with a certificate. */
static inline rl_http_tls *tls_new(const identity *i)
{
    rl_http_tls *t;
    rl_error e = {0};
    if (rl_http_tls_new(&t, &e) != RL_OK || rl_http_tls_load(t, i->path, i->path, &e) != RL_OK)
        fail_msg("%s", e.message);
    return t;
}

static inline SSL_CTX *client_context(void)
{
    static SSL_CTX *ctx; /* the process's */
    if (ctx == NULL)
        ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    return ctx;
}

static inline SSL *client_ssl(int fd)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    SSL *ssl = SSL_new(client_context());
    assert_non_null(ssl);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    return ssl;
}

/* As recv(2): an end is 0, be it orderly or not, and a broken connection ECONNRESET. */
static inline ssize_t client_ssl_read(SSL *ssl, char *to, size_t n)
{
    ERR_clear_error();
    errno = 0;
    int got = SSL_read(ssl, to, (int)n);
    if (got > 0)
        return got;
    int error = SSL_get_error(ssl, got);
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (error == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return 0;
    if (error == SSL_ERROR_SSL)
        fail_msg("%s", ERR_reason_error_string(ERR_peek_error()));
    return errno == 0 ? 0 : -1;
}

#endif
