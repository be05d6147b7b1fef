/* What is TLS's own: versions, who the client is, sessions, the end of a connection, what is no handshake, and changes
 * of the certificate. That requests are answered as in clear is for the other tests, which run over TLS as well. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "server_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static int set_up(void **state)
{
    fixture *f = fixture_new();
    if (f->tls == NULL)
        fixture_use_tls(f);
    fixture_start(f);
    *state = f;
    return 0;
}

static unsigned https(const fixture *f)
{
    return rl_http_server_https_port(f->server);
}

static unsigned est(const fixture *f)
{
    return rl_http_server_est_port(f->server);
}

static rl_metric *failures(const char *reason)
{
    char label[32];
    snprintf(label, sizeof label, "reason=\"%s\"", reason);
    return rl_counter("revline_http_tls_handshake_failures_total", label, "");
}

static rl_metric *handshakes(const char *kind)
{
    char label[32];
    snprintf(label, sizeof label, "kind=\"%s\"", kind);
    return rl_counter("revline_http_tls_handshakes_total", label, "");
}

/* ---- who the client is ---- */

/* A client that has a certificate and, when it is given, resumes a session. */
static void open_as(client *c, unsigned port, const identity *who, SSL_SESSION *session, int version)
{
    client_connect(c, port);
    c->ssl = client_ssl(c->fd);
    if (version != 0)
        assert_int_equal(SSL_set_max_proto_version(c->ssl, version), 1);
    if (who != NULL)
        assert_true(SSL_use_certificate(c->ssl, who->cert) == 1 && SSL_use_PrivateKey(c->ssl, who->key) == 1);
    if (session != NULL)
        assert_int_equal(SSL_set_session(c->ssl, session), 1);
    client_handshake(c);
}

static void assert_client_is(client *c, const identity *who)
{
    uint8_t *der = NULL;
    int n = who != NULL ? i2d_X509(who->cert, &der) : 0;
    char *want = malloc(2 * (size_t)n + 64);
    int at = sprintf(want, "client=");
    for (int i = 0; i < n; i++)
        at += sprintf(want + at, "%02x", der[i]);
    assert_int_equal(client_ask(c, GET("/client")), 200);
    assert_string_equal(c->body, want);
    OPENSSL_free(der);
    free(want);
}

static void test_a_client_certificate_is_asked_for_on_one_listener_only(void **state)
{
    const fixture *f = *state;
    identity who;
    client c;
    identity_new(&who, "device");
    open_as(&c, est(f), &who, NULL, 0);
    assert_client_is(&c, &who);
    assert_client_is(&c, &who);
    client_close(&c);
    open_as(&c, est(f), &who, NULL, TLS1_2_VERSION);
    assert_client_is(&c, &who);
    client_close(&c);
    open_as(&c, est(f), NULL, NULL, 0); /* nobody has to have one */
    assert_client_is(&c, NULL);
    client_close(&c);
    open_as(&c, https(f), &who, NULL, 0);
    assert_client_is(&c, NULL);
    client_close(&c);
    open_as(&c, https(f), &who, NULL, TLS1_2_VERSION);
    assert_client_is(&c, NULL);
    client_close(&c);
    client_connect(&c, rl_http_server_port(f->server));
    client_ask(&c, GET("/client"));
    assert_string_equal(c.body, "client=");
    client_close(&c);
    identity_free(&who);
}

/* The possession of the key is proven by a signature: without it there is no connection. */
static void test_a_certificate_whose_key_the_client_does_not_have_is_refused(void **state)
{
    const fixture *f = *state;
    identity who, thief;
    client c;
    identity_new(&who, "device");
    identity_new(&thief, "device");
    client_connect(&c, est(f));
    c.ssl = client_ssl(c.fd);
    assert_int_equal(SSL_use_certificate(c.ssl, who.cert), 1);
    /* OpenSSL compares only the public half, which this pair has from the certificate. */
    BIGNUM *d = NULL;
    EVP_PKEY *forged = NULL;
    uint8_t point[133];
    size_t point_n;
    assert_int_equal(EVP_PKEY_get_bn_param(thief.key, "priv", &d), 1);
    assert_int_equal(EVP_PKEY_get_octet_string_param(who.key, "pub", point, sizeof point, &point_n), 1);
    uint8_t secret[32];
    assert_int_equal(BN_bn2nativepad(d, secret, sizeof secret), (int)sizeof secret);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("group", (char *)"P-256", 0),
                           OSSL_PARAM_construct_octet_string("pub", point, point_n),
                           OSSL_PARAM_construct_BN("priv", secret, sizeof secret), OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_true(EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &forged, EVP_PKEY_KEYPAIR, params) == 1);
    assert_int_equal(SSL_use_PrivateKey(c.ssl, forged), 1);
    int64_t before = rl_metric_value(failures("protocol"));
    char octet;
    if (SSL_connect(c.ssl) == 1) /* TLS 1.3: the client is done before the server has looked */
        assert_true(SSL_read(c.ssl, &octet, 1) <= 0);
    assert_int_equal(rl_metric_value(failures("protocol")), before + 1);
    ERR_clear_error();
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(forged);
    BN_free(d);
    client_close(&c);
    identity_free(&who);
    identity_free(&thief);
}

static void test_routes_for_tls_only_are_forbidden_in_clear(void **state)
{
    const fixture *f = *state;
    client c;
    client_open(&c, f);
    assert_int_equal(client_ask(&c, GET("/tls-only")), 200);
    assert_string_equal(c.body, "client=");
    client_close(&c);
    client_connect(&c, rl_http_server_port(f->server));
    assert_int_equal(client_ask(&c, GET("/tls-only")), 403);
    assert_has(c.body, "served over TLS only");
    assert_int_equal(client_ask(&c, "DELETE /tls-only HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    assert_usable(&c);
    client_send(&c, "POST /tls-only HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"); /* unread: the end */
    client_read(&c, false);
    assert_int_equal(c.status, 403);
    assert_ended(&c);
    client_close(&c);
}

/* ---- sessions ---- */

static SSL_SESSION *session_of(unsigned port, const identity *who, int version)
{
    client c;
    open_as(&c, port, who, NULL, version);
    assert_client_is(&c, who); /* reads the tickets, too */
    SSL_SESSION *session = SSL_get1_session(c.ssl);
    assert_true(SSL_SESSION_is_resumable(session));
    SSL_set_shutdown(c.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL would not use it again */
    client_close(&c);
    return session;
}

static void check_resumed(unsigned port, const identity *who, SSL_SESSION *session, int version, bool resumed,
                          const identity *is)
{
    client c;
    int64_t before = rl_metric_value(handshakes(resumed ? "resumed" : "full"));
    SSL_SESSION *copy = SSL_SESSION_dup(session); /* a client marks one that it has used in TLS 1.3 */
    open_as(&c, port, who, copy, version);
    assert_int_equal(SSL_session_reused(c.ssl), resumed);
    assert_client_is(&c, is);
    assert_int_equal(rl_metric_value(handshakes(resumed ? "resumed" : "full")), before + 1);
    client_close(&c);
    SSL_SESSION_free(copy);
}

static void test_a_resumed_session_is_the_same_clients(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const fixture *f = *state;
    identity who;
    identity_new(&who, "device");
    for (size_t i = 0; i < 2; i++) {
        int v = versions[i];
        SSL_SESSION *known = session_of(est(f), &who, v), *unknown = session_of(https(f), NULL, v);
        check_resumed(est(f), NULL, known, v, true, &who);
        check_resumed(est(f), NULL, known, v, true, &who);
        check_resumed(https(f), NULL, known, v, false, NULL); /* where nobody is asked, nobody is anybody */
        check_resumed(https(f), NULL, unknown, v, true, NULL);
        check_resumed(est(f), &who, unknown, v, false, &who); /* who was not asked before is asked now */
        SSL_SESSION_free(known);
        SSL_SESSION_free(unknown);
    }
    identity_free(&who);
}

static void test_sessions_outlive_the_certificate(void **state)
{
    fixture *f = *state;
    rl_error e = {0};
    identity other;
    identity_new(&other, "other");
    SSL_SESSION *session = session_of(https(f), NULL, 0);
    assert_int_equal(rl_http_tls_load(f->tls, other.path, other.path, &e), RL_OK);
    check_resumed(https(f), NULL, session, 0, true, NULL);
    SSL_SESSION_free(session);
    identity_free(&other);
}

static _Atomic uint64_t later_s;

static uint64_t later(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((uint64_t)t.tv_sec + later_s) * 1000000000u + (uint64_t)t.tv_nsec;
}

static void test_ticket_keys_change_every_hour_and_open_for_three(void **state)
{
    static const rl_clock clock = {.mono_ns = later};
    const fixture *f = *state;
    later_s = 0;
    rl_clock_set(&clock);
    SSL_SESSION *first = session_of(https(f), NULL, 0);
    later_s = 3660;
    check_resumed(https(f), NULL, first, 0, true, NULL);
    SSL_SESSION *second = session_of(https(f), NULL, 0); /* with another key */
    later_s = 3 * 3600 - 60;
    check_resumed(https(f), NULL, first, 0, true, NULL);
    later_s = 3 * 3600 + 60;
    check_resumed(https(f), NULL, first, 0, false, NULL);
    check_resumed(https(f), NULL, second, 0, true, NULL);
    later_s = 4 * 3600 + 120;
    check_resumed(https(f), NULL, second, 0, false, NULL);
    rl_clock_set(NULL);
    SSL_SESSION_free(first);
    SSL_SESSION_free(second);
}

/* ---- changes of the certificate ---- */

static void assert_server_is(const client *c, const identity *who)
{
    X509 *cert = SSL_get1_peer_certificate(c->ssl);
    assert_int_equal(X509_cmp(cert, who->cert), 0);
    X509_free(cert);
}

static void test_new_connections_get_the_new_certificate(void **state)
{
    fixture *f = *state;
    rl_error e = {0};
    identity other, stranger;
    client before, after;
    identity_new(&other, "other");
    identity_new(&stranger, "stranger");
    client_open(&before, f);
    assert_int_equal(rl_http_tls_load(f->tls, other.path, other.path, &e), RL_OK);
    client_open(&after, f);
    assert_server_is(&before, &f->identity);
    assert_server_is(&after, &other);
    assert_usable(&before);
    assert_usable(&after);
    client_close(&before);
    client_close(&after);
    /* What cannot be used changes nothing. */
    assert_int_equal(rl_http_tls_load(f->tls, stranger.path, other.path, &e), RL_EINVAL);
    assert_has(e.message, stranger.path);
    assert_has(e.message, "not that of the certificate");
    assert_int_equal(rl_http_tls_load(f->tls, "/nonexistent", other.path, &e), RL_EIO);
    assert_has(e.message, "/nonexistent cannot be read: No such file");
    assert_int_equal(rl_http_tls_load(f->tls, other.path, "/dev/null", &e), RL_EBADMSG);
    assert_has(e.message, "no private key");
    assert_int_equal(rl_http_tls_load(f->tls, "/dev/null", other.path, &e), RL_EBADMSG);
    assert_has(e.message, "no certificate");
    client_open(&after, f);
    assert_server_is(&after, &other);
    client_close(&after);
    identity_free(&other);
    identity_free(&stranger);
}

/* ---- the end ---- */

/* Nothing more comes, and the server has said so. */
static void assert_bye(client *c)
{
    char octet;
    assert_int_equal(c->fill, 0);
    ERR_clear_error();
    int got = SSL_read(c->ssl, &octet, 1);
    assert_int_equal(SSL_get_error(c->ssl, got), SSL_ERROR_ZERO_RETURN);
}

static void test_the_server_says_that_nothing_was_cut_off(void **state)
{
    fixture *f = *state;
    client c;
    client_open(&c, f);
    client_ask(&c, "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_int_equal(c.body_n, BIG_BODY);
    assert_bye(&c);
    client_close(&c);
    client_open(&c, f);
    assert_int_equal(client_ask(&c, "nonsense\r\n\r\n"), 400);
    assert_bye(&c);
    client_close(&c);
}

static void test_what_was_asked_before_the_clients_bye_is_answered(void **state)
{
    fixture *f = *state;
    const int on = 1, off = 0;
    client c;
    client_open(&c, f);
    /* One segment: the bye is there, unopened, while the slow one works. */
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    client_send(&c, GET("/echo?q=1"));
    client_send(&c, GET("/slow/2"));
    client_send(&c, GET("/big"));
    assert_int_equal(SSL_shutdown(c.ssl), 0);
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    client_read(&c, false);
    assert_has(c.body, "q=1");
    gate_wait(&f->works_started, 1);
    gate_add(&f->work_may_end, 1);
    client_read(&c, false);
    assert_string_equal(c.body, "worked 2");
    client_read(&c, false);
    assert_int_equal(c.body_n, BIG_BODY);
    assert_memory_equal(c.body, f->big, BIG_BODY);
    assert_bye(&c);
    client_close(&c);
}

/* ---- order ---- */

static void test_many_records_in_one_segment_are_answered_in_order(void **state)
{
    enum { ROUNDS = 40 };
    fixture *f = *state;
    const int on = 1, off = 0;
    client c;
    char path[64];
    gate_add(&f->work_may_end, 1000);
    client_open(&c, f);
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(path, sizeof path, "GET /%s%d HTTP/1.1\r\nHo", i % 3 == 0 ? "slow/" : "echo/", i);
        client_send(&c, path); /* records end anywhere in a request */
        client_send(&c, "st: h\r\n\r\n");
    }
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    for (int i = 0; i < ROUNDS; i++) {
        client_read(&c, false);
        snprintf(path, sizeof path, i % 3 == 0 ? "worked %d" : " rest=%d ", i);
        assert_has(c.body, path);
    }
    client_close(&c);
}

static void test_a_client_that_reads_late_gets_everything(void **state)
{
    enum { REQUESTS = 24 };
    fixture *f = *state;
    client c;
    client_open(&c, f);
    for (int i = 0; i < REQUESTS; i++)
        client_send(&c, i % 2 == 0 ? GET("/big") : GET("/copy"));
    gate_wait(&f->handled, 1);
    for (int i = 0; i < REQUESTS; i++) {
        client_read(&c, false);
        assert_int_equal(c.body_n, BIG_BODY);
        assert_memory_equal(c.body, f->big, BIG_BODY);
    }
    assert_usable(&c);
    client_close(&c);
}

static void test_key_updates_change_nothing(void **state)
{
    client c;
    client_open(&c, *state);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(SSL_key_update(c.ssl, i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED),
                         1);
        assert_usable(&c);
    }
    client_close(&c);
}

/* Each update asks for one in return, which nobody takes: it is an answer that is left unread. */
static void test_a_client_that_wants_key_updates_and_does_not_read_is_cut(void **state)
{
    const int small = 4096, segment = 536; /* for small buffers in the kernel, on both sides */
    fixture *f = fixture_new();
    client c;
    bool cut = false;
    (void)state;
    if (f->tls == NULL)
        fixture_use_tls(f);
    f->settings.http.body_timeout = 200;
    f->settings.http.header_timeout = f->settings.http.idle_timeout = 10 * CLIENT_PATIENCE_S * 1000; /* not by these */
    fixture_start(f);
    client_socket(&c);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(c.fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    client_dial(&c, https(f));
    c.ssl = client_ssl(c.fd);
    client_handshake(&c);
    assert_int_equal(fcntl(c.fd, F_SETFL, O_NONBLOCK), 0);
    struct pollfd p = {.fd = c.fd, .events = POLLOUT};
    while (!cut) { /* no key update waits for the one before, so a client that is not cut goes on for ever */
        assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        while (!cut && SSL_do_handshake(c.ssl) != 1)
            cut = poll(&p, 1, CLIENT_PATIENCE_S * 1000) != 1 || (p.revents & (POLLERR | POLLHUP)) != 0;
    }
    assert_true(p.revents & (POLLERR | POLLHUP));
    ERR_clear_error();
    client_close(&c);
    client_open(&c, f);
    assert_usable(&c);
    client_close(&c);
    fixture_free(f);
}

/* ---- what is no handshake ---- */

static void test_http_in_clear_is_told_so(void **state)
{
    const fixture *f = *state;
    client c;
    int64_t before = rl_metric_value(failures("http"));
    client_connect(&c, https(f));
    assert_int_equal(client_ask(&c, GET("/echo")), 400);
    assert_has(c.head, "Content-Type: text/plain");
    assert_has(c.head, "Connection: close");
    assert_has(c.body, "this port speaks TLS");
    assert_ended(&c);
    client_close(&c);
    assert_int_equal(rl_metric_value(failures("http")), before + 1);
}

static void test_old_versions_and_other_protocols_are_refused(void **state)
{
    const fixture *f = *state;
    client c;
    int64_t before = rl_metric_value(failures("version"));
    client_connect(&c, https(f));
    c.ssl = client_ssl(c.fd);
    SSL_set_security_level(c.ssl, 0);
    SSL_set_min_proto_version(c.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(c.ssl, TLS1_1_VERSION);
    assert_int_not_equal(SSL_connect(c.ssl), 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    client_close(&c);
    assert_int_equal(rl_metric_value(failures("version")), before + 1);
    before = rl_metric_value(failures("no_match"));
    client_connect(&c, https(f));
    c.ssl = client_ssl(c.fd);
    assert_int_equal(SSL_set_alpn_protos(c.ssl, (const uint8_t *)"\x02h2", 3), 0);
    assert_int_not_equal(SSL_connect(c.ssl), 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
    client_close(&c);
    assert_int_equal(rl_metric_value(failures("no_match")), before + 1);
    ERR_clear_error();
}

static void test_renegotiation_is_refused(void **state)
{
    client c;
    open_as(&c, https(*state), NULL, NULL, TLS1_2_VERSION);
    assert_usable(&c);
    assert_int_equal(SSL_renegotiate(c.ssl), 1);
    assert_int_not_equal(SSL_do_handshake(c.ssl), 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    client_close(&c);
}

static void test_noise_ends_the_connection(void **state)
{
    static const char *const noise[] = {
        "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x05zzzzz",        "\x15\x03\x03\x00\x02\x02\x28",
        "\x80\x2e\x01\x03\x01", "\xff\xff\xff\xff\xff\xff\xff\xff", "~~~~~~~~~~~~~~~~"};
    static const size_t lengths[] = {5, 10, 7, 5, 8, 16};
    const fixture *f = *state;
    client c;
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        client_connect(&c, https(f));
        client_send_n(&c, noise[i], lengths[i]);
        assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
        while (client_more(&c)) /* an alert at most */
            assert_in_range(c.fill, 1, 16);
        client_close(&c);
    }
    client_open(&c, f);
    assert_usable(&c);
    client_close(&c);
}

static void test_noise_behind_the_handshake_ends_the_connection(void **state)
{
    client c;
    client_open(&c, *state);
    assert_usable(&c);
    assert_int_equal(send(c.fd,
                          "\x17\x03\x03\x00\x20"
                          "0123456789abcdef0123456789abcdef",
                          37, MSG_NOSIGNAL),
                     37);
    char octet;
    assert_true(SSL_read(c.ssl, &octet, 1) <= 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    ERR_clear_error();
    client_close(&c);
}

/* A ClientHello that says it is long, in many records. */
static void test_a_handshake_is_bounded_in_size(void **state)
{
    const fixture *f = *state;
    uint8_t record[5 + 1024] = {22, 3, 1, 4, 0, 1, 1, 0xff, 0xf0};
    size_t sent = 0;
    client c;
    client_connect(&c, https(f));
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    for (; sent < 1024 * 1024 && poll(&p, 1, 1) == 0; sent += sizeof record) {
        if (send(c.fd, record, sizeof record, MSG_NOSIGNAL) < 0)
            break;
        memset(record + 5, 0, sizeof record - 5);
    }
    assert_in_range(sent, 1, 1024 * 1024 - 1);
    client_close(&c);
}

static void test_a_handshake_is_bounded_in_time(void **state)
{
    fixture *f = fixture_new();
    client silent, slow;
    (void)state;
    if (f->tls == NULL)
        fixture_use_tls(f);
    f->settings.http.header_timeout = 200;
    fixture_start(f);
    int64_t before = rl_metric_value(failures("timeout"));
    client_connect(&silent, https(f));
    client_connect(&slow, https(f));
    client_send_n(&slow, "\x16\x03\x01\x02\x00", 5);
    assert_ended(&silent);
    struct pollfd p = {.fd = slow.fd, .events = POLLIN};
    int sent = 0;
    while (poll(&p, 1, 10) == 0 && sent++ < 400) /* octets that come do not extend it */
        client_send_n(&slow, "\0", 1);
    assert_ended(&slow);
    assert_int_equal(rl_metric_value(failures("timeout")), before + 2);
    client_close(&silent);
    client_close(&slow);
    fixture_free(f);
}

static void test_a_connection_too_many_is_closed_before_its_handshake(void **state)
{
    fixture *f = fixture_new();
    client kept, more;
    (void)state;
    if (f->tls == NULL)
        fixture_use_tls(f);
    f->settings.http.max_connections_per_address = 1;
    fixture_start(f);
    client_open(&kept, f);
    client_connect(&more, https(f));
    assert_ended(&more);
    assert_usable(&kept);
    client_close(&kept);
    client_close(&more);
    fixture_free(f);
}

static void test_a_listener_without_a_certificate_does_not_start(void **state)
{
    fixture *f = fixture_new();
    rl_http_tls *tls = f->tls;
    rl_error e = {0};
    (void)state;
    f->tls = NULL;
    f->settings.http.https_listen = (char *)"127.0.0.1:0";
    assert_int_equal(fixture_try(f, &e), RL_EINVAL);
    assert_has(e.message, "no certificate");
    if (tls != NULL)
        identity_free(&f->identity);
    rl_http_tls_free(tls);
    fixture_free(f);
}

#define WITH_TLS(test) cmocka_unit_test_setup_teardown(test, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TLS(test_a_client_certificate_is_asked_for_on_one_listener_only),
        WITH_TLS(test_a_certificate_whose_key_the_client_does_not_have_is_refused),
        WITH_TLS(test_routes_for_tls_only_are_forbidden_in_clear),
        WITH_TLS(test_a_resumed_session_is_the_same_clients),
        WITH_TLS(test_sessions_outlive_the_certificate),
        WITH_TLS(test_ticket_keys_change_every_hour_and_open_for_three),
        WITH_TLS(test_new_connections_get_the_new_certificate),
        WITH_TLS(test_the_server_says_that_nothing_was_cut_off),
        WITH_TLS(test_what_was_asked_before_the_clients_bye_is_answered),
        WITH_TLS(test_many_records_in_one_segment_are_answered_in_order),
        WITH_TLS(test_a_client_that_reads_late_gets_everything),
        WITH_TLS(test_key_updates_change_nothing),
        cmocka_unit_test(test_a_client_that_wants_key_updates_and_does_not_read_is_cut),
        WITH_TLS(test_http_in_clear_is_told_so),
        WITH_TLS(test_old_versions_and_other_protocols_are_refused),
        WITH_TLS(test_renegotiation_is_refused),
        WITH_TLS(test_noise_ends_the_connection),
        WITH_TLS(test_noise_behind_the_handshake_ends_the_connection),
        WITH_TLS(test_a_handshake_is_bounded_in_size),
        cmocka_unit_test(test_a_handshake_is_bounded_in_time),
        cmocka_unit_test(test_a_connection_too_many_is_closed_before_its_handshake),
        cmocka_unit_test(test_a_listener_without_a_certificate_does_not_start),
    };
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
