/* A store, a CA, the OCSP module and an HTTP server in a folder of their own, and a client that asks over TCP and reads
 * with libcrypto. Certificates are records put into the store: OCSP looks at nothing else. */
#ifndef TESTS_OCSP_HARNESS_H
#define TESTS_OCSP_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <ftw.h>
#include <openssl/ocsp.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "ocsp/ocsp.h"

typedef struct harness {
    char dir[64];
    rl_settings settings;
    rl_store *store;
    rl_ca *ca;
    rl_ocsp *ocsp;
    rl_http_server *http;
    rl_error e;
} harness;

static inline void assert_ok(rl_err err, const rl_error *e)
{
    if (err != RL_OK)
        fail_msg("%s: %s", rl_err_name(err), e->message);
}

/* GET /block keeps its loop until the test lets it go: what happens meanwhile happens before anything else there. */
static sem_t blocked, let_go;
static inline void harness_block(rl_http_request *req, void *ctx)
{
    (void)ctx;
    sem_post(&blocked);
    while (sem_wait(&let_go) != 0)
        ;
    rl_http_reply(req, 200, (rl_span){0}, (rl_span){0});
}

/* `more`: NAME=VALUE settings, NULL-terminated. */
static inline void harness_open(harness *h, const char *const *more)
{
    char *env[16] = {0}, data_dir[128];
    rl_http_route routes[8];
    rl_buf errors = {0};
    size_t n = 0;
    memset(h, 0, sizeof(*h));
    strcpy(h->dir, "/tmp/revline-ocsp-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(data_dir, sizeof(data_dir), "REVLINE_DATA_DIR=%s", h->dir);
    env[n++] = data_dir;
    env[n++] = "REVLINE_HTTP_LISTEN=127.0.0.1:0";
    env[n++] = "REVLINE_CA_KEY=ec-p256";
    for (; more && *more; more++)
        env[n++] = (char *)*more;
    env[n++] = "REVLINE_WORKERS=2"; /* the first of a name counts */
    if (rl_settings_load(&h->settings, env, &errors) != RL_OK)
        fail_msg("%.*s", (int)errors.n, (char *)errors.p);
    rl_buf_free(&errors);
    rl_log_configure(RL_LOG_ERROR, RL_LOG_LOGFMT);
    assert_ok(rl_store_open(h->dir, &h->store, &h->e), &h->e);
    assert_ok(rl_ca_init(h->store, &h->settings, &h->e), &h->e);
    assert_ok(rl_ca_open(h->store, &h->settings, &h->ca, &h->e), &h->e);
    assert_ok(rl_ocsp_open(h->store, h->ca, &h->settings, &h->ocsp, &h->e), &h->e);
    n = rl_ocsp_routes(h->ocsp, routes, 7);
    routes[n++] = (rl_http_route){RL_HTTP_GET, "/block", false, 0, harness_block, NULL, NULL};
    sem_init(&blocked, 0, 0);
    sem_init(&let_go, 0, 0);
    assert_ok(rl_http_server_start(&h->settings, NULL, routes, n, &h->http, &h->e), &h->e);
}

static inline int harness_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void harness_close(harness *h)
{
    rl_http_server_stop(h->http, 5000);
    rl_ocsp_close(h->ocsp);
    rl_ca_close(h->ca);
    rl_store_close(h->store);
    rl_settings_free(&h->settings);
    nftw(h->dir, harness_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- certificates ---- */
typedef struct harness_change {
    rl_cert_id id;
    rl_reason reason;  /* revoke */
    int64_t not_after; /* add */
} harness_change;

static inline rl_err harness_apply_add(rl_store_txn *t, void *arg, rl_error *e)
{
    harness_change *c = arg;
    rl_cert_record r = {.subject = "CN=device", .profile = "client", .requester = "test", .not_after = c->not_after};
    (void)e;
    return rl_txn_add_cert(t, &c->id, &r, RL_SPAN_LIT("\x30\x00"), "test");
}

static inline rl_err harness_apply_revoke(rl_store_txn *t, void *arg, rl_error *e)
{
    harness_change *c = arg;
    return rl_txn_revoke(t, &c->id, c->reason, rl_wall_s(), "test", e);
}

static inline rl_err harness_apply_unrevoke(rl_store_txn *t, void *arg, rl_error *e)
{
    harness_change *c = arg;
    return rl_txn_unrevoke(t, &c->id, rl_wall_s(), "test", e);
}

static inline rl_cert_id harness_id(const harness *h, uint32_t serial) /* 0x01000000 and above: four octets */
{
    return (rl_cert_id){rl_ca_issuer(h->ca)->id,
                        4,
                        {(uint8_t)(serial >> 24), (uint8_t)(serial >> 16), (uint8_t)(serial >> 8), (uint8_t)serial}};
}

static inline void harness_add(harness *h, uint32_t serial, int64_t not_after)
{
    harness_change c = {.id = harness_id(h, serial), .not_after = not_after};
    assert_ok(rl_store_run(h->store, harness_apply_add, &c, &h->e), &h->e);
}

static inline void harness_revoke(harness *h, uint32_t serial, rl_reason reason)
{
    harness_change c = {.id = harness_id(h, serial), .reason = reason};
    assert_ok(rl_store_run(h->store, harness_apply_revoke, &c, &h->e), &h->e);
}

static inline void harness_unrevoke(harness *h, uint32_t serial)
{
    harness_change c = {.id = harness_id(h, serial)};
    assert_ok(rl_store_run(h->store, harness_apply_unrevoke, &c, &h->e), &h->e);
}

/* ---- HTTP ---- */
typedef struct reply {
    int status;
    char head[2048]; /* status line and header lines */
    uint8_t body[16384];
    size_t body_n;
} reply;

static inline int client_connect(const harness *h)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rl_http_server_port(h->http))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        perror("connect");
        abort();
    }
    return fd;
}

static inline void client_read(int fd, void *to, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = read(fd, (char *)to + have, n - have);
        if (got <= 0) {
            fprintf(stderr, "the server closed the connection\n");
            abort(); /* also on threads, where cmocka cannot fail */
        }
        have += (size_t)got;
    }
}

static inline const char *reply_header(const reply *r, const char *name)
{
    static _Thread_local char value[512];
    const char *at = strcasestr(r->head, name);
    return at && sscanf(at + strlen(name), ": %511[^\r\n]", value) == 1 ? value : NULL;
}

static inline void client_send(int fd, const char *head, rl_span body)
{
    struct iovec parts[2] = {{(char *)head, strlen(head)}, {(uint8_t *)body.p, body.n}};
    if (writev(fd, parts, 2) != (ssize_t)(parts[0].iov_len + body.n))
        abort();
}

static inline void client_receive(int fd, reply *r)
{
    size_t n = 0;
    memset(r, 0, sizeof(*r));
    while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
        if (n + 1 >= sizeof(r->head))
            abort();
        client_read(fd, r->head + n++, 1);
    }
    sscanf(r->head, "HTTP/1.1 %d", &r->status);
    const char *length = reply_header(r, "Content-Length");
    r->body_n = length && r->status != 304 ? (size_t)atoi(length) : 0;
    if (r->body_n > sizeof(r->body))
        abort();
    client_read(fd, r->body, r->body_n);
}

static inline void client_get(const harness *h, const char *path, const char *more_headers, reply *r)
{
    char head[8192];
    int fd = client_connect(h);
    int n = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, more_headers);
    if (n < 0 || (size_t)n >= sizeof(head))
        abort();
    client_send(fd, head, (rl_span){0});
    client_receive(fd, r);
    close(fd);
}

static inline void client_send_post(int fd, const char *path, rl_span body)
{
    char head[256];
    snprintf(head, sizeof(head),
             "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: %zu\r\n\r\n",
             path, body.n);
    client_send(fd, head, body);
}

static inline void client_post_on(int fd, const char *path, rl_span body, reply *r)
{
    client_send_post(fd, path, body);
    client_receive(fd, r);
}

static inline void client_post(const harness *h, const char *path, rl_span body, reply *r)
{
    int fd = client_connect(h);
    client_post_on(fd, path, body, r);
    close(fd);
}

/* ---- requests and answers, by libcrypto ---- */
static inline OCSP_CERTID *make_id(const X509 *issuer, const EVP_MD *md, uint32_t serial)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_INTEGER_set_uint64(number, serial);
    OCSP_CERTID *id = OCSP_cert_id_new(md, X509_get_subject_name(issuer), X509_get0_pubkey_bitstr(issuer), number);
    ASN1_INTEGER_free(number);
    return id;
}

static inline rl_span request_der(OCSP_REQUEST *r)
{
    unsigned char *der = NULL;
    int n = i2d_OCSP_REQUEST(r, &der);
    OCSP_REQUEST_free(r);
    return rl_span_of(der, (size_t)n);
}

/* A request about one certificate; freed with OPENSSL_free. */
static inline rl_span make_request(const X509 *issuer, const EVP_MD *md, uint32_t serial, const char *nonce)
{
    OCSP_REQUEST *r = OCSP_REQUEST_new();
    OCSP_request_add0_id(r, make_id(issuer, md, serial));
    if (nonce)
        OCSP_request_add1_nonce(r, (unsigned char *)nonce, (int)strlen(nonce));
    return request_der(r);
}

static inline int response_status(const reply *r)
{
    const unsigned char *at = r->body;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)r->body_n);
    assert_non_null(response);
    int status = OCSP_response_status(response);
    OCSP_RESPONSE_free(response);
    return status;
}

static inline OCSP_BASICRESP *read_basic(const reply *r)
{
    const unsigned char *at = r->body;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)r->body_n);
    OCSP_BASICRESP *basic = response ? OCSP_response_get1_basic(response) : NULL;
    OCSP_RESPONSE_free(response);
    return basic;
}

/* `flags` for OCSP_basic_verify: 0, or OCSP_NOCHECKS when a foreign CertID is among the answers, which libcrypto
 * refuses. */
static inline void assert_verifies(const harness *h, OCSP_BASICRESP *basic, unsigned long flags)
{
    X509_STORE *trust = X509_STORE_new();
    X509_STORE_add_cert(trust, rl_ca_issuer(h->ca)->cert);
    assert_int_equal(OCSP_basic_verify(basic, NULL, trust, flags), 1);
    X509_STORE_free(trust);
}

/* V_OCSP_CERTSTATUS_* of an answer about one certificate, or -1. */
static inline int status_of(const reply *r, int *reason)
{
    OCSP_BASICRESP *basic = read_basic(r);
    if (!basic)
        return -1;
    int status = OCSP_single_get0_status(OCSP_resp_get0(basic, 0), reason, NULL, NULL, NULL);
    OCSP_BASICRESP_free(basic);
    return status;
}

/* Asks by POST without a nonce and verifies. */
static inline int ask(const harness *h, uint32_t serial, int *reason)
{
    reply r;
    rl_span request = make_request(rl_ca_issuer(h->ca)->cert, EVP_sha256(), serial, NULL);
    client_post(h, "/ocsp", request, &r);
    OPENSSL_free((void *)request.p);
    OCSP_BASICRESP *basic = read_basic(&r);
    assert_non_null(basic);
    assert_verifies(h, basic, 0);
    OCSP_BASICRESP_free(basic);
    return status_of(&r, reason);
}

#endif
