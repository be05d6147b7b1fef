/* A SCEP server for tests, without HTTP: a real store and CA in a folder of their own; and what a client asks of it. */
#ifndef RL_TEST_SCEP_SERVER_H
#define RL_TEST_SCEP_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <unistd.h>

#include "base/clock.h"
#include "client.h"
#include "scep/scep_priv.h"

#define DEVICE "6f1c0a52-6f7e-4a43-9c1b-0a8f4d1f7b11"

typedef struct server {
    char dir[64];
    rl_settings settings;
    rl_store *store;
    rl_ca *ca;
    rl_scep *scep;
} server;

static const unsigned char nonce[16] = "0123456789abcdef";
static client_party client, other;

static inline int make_clients(void **state)
{
    (void)state;
    client = client_party_new(EVP_RSA_gen(2048), "Client", NULL);
    other = client_party_new(EVP_RSA_gen(2048), "Other", NULL);
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    return 0;
}

static inline int free_clients(void **state)
{
    (void)state;
    client_party_free(&client);
    client_party_free(&other);
    return 0;
}

/* ---- a server ---- */
static inline void open_server(server *s)
{
    rl_error e = {0};
    assert_int_equal(rl_store_open(s->dir, &s->store, &e), RL_OK);
    rl_err err = rl_ca_init(s->store, &s->settings, &e);
    assert_true(err == RL_OK || err == RL_EEXISTS);
    assert_int_equal(rl_ca_open(s->store, &s->settings, &s->ca, &e), RL_OK);
    assert_int_equal(rl_scep_open(s->ca, s->store, NULL, &s->settings, &s->scep, &e), RL_OK);
}

static inline void close_server(server *s)
{
    rl_scep_close(s->scep);
    rl_ca_close(s->ca);
    rl_store_close(s->store);
}

static inline void start(server *s, const char *key, const char *more)
{
    *s = (server){.dir = "/tmp/revline-scep-XXXXXX"};
    char dir[96], ca_key[64];
    rl_buf errors = {0};
    assert_non_null(mkdtemp(s->dir));
    snprintf(dir, sizeof(dir), "REVLINE_DATA_DIR=%s", s->dir);
    snprintf(ca_key, sizeof(ca_key), "REVLINE_CA_KEY=%s", key);
    char *env[] = {dir,
                   ca_key,
                   (char *)"REVLINE_STATIC_CHALLENGE=static-word",
                   (char *)"REVLINE_STATIC_AAD_CHALLENGE=aad-word-8",
                   (char *)more,
                   NULL};
    assert_int_equal(rl_settings_load(&s->settings, env, &errors), RL_OK);
    rl_buf_free(&errors);
    open_server(s);
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static inline void stop(server *s)
{
    close_server(s);
    rl_settings_free(&s->settings);
    nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void reopen(server *s)
{
    close_server(s);
    open_server(s);
}

/* ---- a clock that tests move ---- */
enum { DAY = 86400 };
static int64_t clock_shift; /* seconds */

static inline int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((int64_t)t.tv_sec + clock_shift) * 1000;
}

static inline uint64_t real_mono(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Seconds from now on; 0 brings the system's clock back. */
static inline void set_clock(int64_t shift)
{
    static const rl_clock clock = {shifted_wall, real_mono, NULL};
    clock_shift = shift;
    rl_clock_set(shift ? &clock : NULL);
}

/* ---- its certificates ---- */
static inline rl_cert_id id_of(const server *s, X509 *cert)
{
    rl_serial serial;
    assert_int_equal(rl_x509_serial(cert, &serial), RL_OK);
    rl_cert_id id = {.issuer = rl_ca_signer_of(s->ca, cert)->id, .serial_n = serial.n};
    memcpy(id.serial, serial.b, serial.n);
    return id;
}

struct revocation {
    rl_cert_id id;
    rl_reason reason;
    bool back;
};

static inline rl_err revoke_in(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct revocation *r = arg;
    return r->back ? rl_txn_unrevoke(t, &r->id, rl_wall_s(), "test", e)
                   : rl_txn_revoke(t, &r->id, r->reason, rl_wall_s(), "test", e);
}

static inline void revoke_id(const server *s, const rl_cert_id *id, rl_reason reason, bool back)
{
    struct revocation r = {*id, reason, back};
    rl_error e = {0};
    assert_int_equal(rl_store_run(s->store, revoke_in, &r, &e), RL_OK);
}

static inline void revoke_cert(const server *s, X509 *cert, rl_reason reason, bool back)
{
    rl_cert_id id = id_of(s, cert);
    revoke_id(s, &id, reason, back);
}

/* ---- a client ---- */
typedef struct ask {
    const char *cn, *challenge, *upn, *transaction, *type, *path; /* NULL: the usual; "" as challenge: none */
    const client_party *who;                                      /* signs and receives */
    EVP_PKEY *key;                                                /* of the CSR; NULL: that of `who` */
    client_bytes content;                                         /* instead of a CSR; freed by the call */
    X509 *recipient;                                              /* NULL: the server's own */
    int64_t signed_off;                                           /* signingTime is so many seconds off */
    const EVP_MD *md;
    client_wrapping wrapping;
} ask;

static inline const scep_profile *profile_at(const server *s, const char *path)
{
    for (size_t i = 0; i < s->scep->endpoints_n; i++)
        if (strcmp(s->scep->endpoints[i].profile.path, path) == 0)
            return &s->scep->endpoints[i].profile;
    fail_msg("no profile %s", path);
    return NULL;
}

static inline client_bytes client_message(const server *s, ask a)
{
    const client_party *who = a.who ? a.who : &client;
    const client_attributes attributes = {.transaction = a.transaction ? a.transaction : "t-1",
                                          .type = a.type ? a.type : "19",
                                          .nonce = nonce,
                                          .nonce_n = 16,
                                          .signed_at = (time_t)(rl_wall_s() + a.signed_off)};
    client_bytes content = a.content.p ? a.content
                                       : client_csr(a.key ? a.key : who->key, a.cn ? a.cn : DEVICE,
                                                    a.challenge ? a.challenge : "static-word", a.upn);
    client_bytes envelope =
        client_wrap(content.p, content.n, a.recipient ? a.recipient : s->scep->self.cert, a.wrapping);
    client_bytes m = client_sign(envelope, who, a.md ? a.md : EVP_sha256(), &attributes);
    free(envelope.p);
    OPENSSL_free(content.p);
    return m;
}

static inline client_reply enroll(const server *s, ask a)
{
    client_bytes m = client_message(s, a);
    scep_outcome out;
    scep_pki_operation(s->scep, profile_at(s, a.path ? a.path : "/static"), rl_span_of(m.p, m.n), "192.0.2.1", &out);
    assert_int_equal(out.status, 200);
    client_reply reply =
        client_read(out.body.p, out.body.n, a.recipient ? a.recipient : s->scep->self.cert, a.who ? a.who : &client);
    assert_int_equal(out.result == SCEP_REFUSED, strcmp(reply.status, "2") == 0);
    assert_string_equal(reply.transaction, a.transaction ? a.transaction : "t-1");
    assert_memory_equal(reply.recipient_nonce, nonce, 16);
    rl_buf_free(&out.body);
    free(m.p);
    return reply;
}

static inline void expect_caps(const server *s, const char *path, const char *expected)
{
    rl_buf caps = {0};
    assert_int_equal(scep_caps(s->scep, profile_at(s, path), &caps), RL_OK);
    assert_int_equal(caps.n, strlen(expected));
    assert_memory_equal(caps.p, expected, caps.n);
    rl_buf_free(&caps);
}

static inline void expect_failure(const server *s, ask a, const char *fail_info, const char *text)
{
    client_reply r = enroll(s, a);
    assert_string_equal(r.status, "2");
    assert_string_equal(r.fail_info, fail_info);
    if (!strstr(r.fail_text, text))
        fail_msg("'%s' does not say '%s'", r.fail_text, text);
    client_reply_free(&r);
}

static inline X509 *expect_success(const server *s, ask a)
{
    client_reply r = enroll(s, a);
    if (strcmp(r.status, "0") != 0)
        fail_msg("refused: %s", r.fail_text);
    assert_int_equal(r.certs_n, 2);
    assert_int_equal(X509_cmp(r.ca, rl_ca_issuer(s->ca)->cert), 0);
    assert_int_equal(X509_verify(r.issued, X509_get0_pubkey(r.ca)), 1);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(r.issued), (a.who ? a.who : &client)->key), 1);
    X509_free(r.ca);
    return r.issued;
}

static inline void expect_same(const server *s, ask a, const X509 *cert, bool same)
{
    X509 *got = expect_success(s, a);
    assert_int_equal(X509_cmp(got, cert) == 0, same);
    X509_free(got);
}

#endif
