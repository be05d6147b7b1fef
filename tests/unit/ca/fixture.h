/* What the CA's tests share: a data folder of their own with a CA in it, a clock that stands, requests made with
 * OpenSSL. */
#ifndef TESTS_CA_FIXTURE_H
#define TESTS_CA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "ca/ca.h"

enum { DAY = 86400, NOW = 1790000000 }; /* 2026-09-21 */

typedef struct fixture {
    char dir[64];
    rl_settings defaults, settings; /* the second borrows from the first */
    rl_store *store;
    rl_ca *ca;
    rl_error e;
} fixture;

static int64_t standing_now = NOW;
static int64_t standing_wall(void *ctx)
{
    (void)ctx;
    return standing_now * 1000;
}
static uint64_t standing_mono(void *ctx)
{
    (void)ctx;
    return 1;
}
static const rl_clock standing_clock = {standing_wall, standing_mono, NULL};

static inline void assert_ok(rl_err err, const rl_error *e)
{
    if (err != RL_OK)
        fail_msg("%s: %s", rl_err_name(err), e->message);
}

static inline void fixture_prepare(fixture *f, rl_key_type key)
{
    memset(f, 0, sizeof(*f));
    rl_clock_set(&standing_clock);
    standing_now = NOW;
    strcpy(f->dir, "/tmp/revline-ca-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    rl_buf errors = {0};
    assert_int_equal(rl_settings_load(&f->defaults, (char *[]){NULL}, &errors), RL_OK);
    f->settings = f->defaults;
    f->settings.data_dir = f->dir;
    f->settings.http.base_url = "http://ca.example.test:8080";
    f->settings.ca.key = key;
    f->settings.ca.subject = "CN=Test Root,O=Example\\, Inc.";
    f->settings.ca.validity = 3650LL * DAY * 1000;
    f->settings.ca.cert_validity = 730LL * DAY * 1000;
    f->settings.ca.clock_skew = 1LL * DAY * 1000;
    f->settings.scep.profiles[RL_ENROLL_STATIC].validity = 365LL * DAY * 1000;
    f->settings.scep.profiles[RL_ENROLL_STATIC_AAD].validity = 1000LL * DAY * 1000;
    f->settings.scep.profiles[RL_ENROLL_JAMF].validity = 30LL * DAY * 1000;
    assert_ok(rl_store_open(f->dir, &f->store, &f->e), &f->e);
}

static inline void fixture_open(fixture *f, rl_key_type key)
{
    fixture_prepare(f, key);
    assert_ok(rl_ca_init(f->store, &f->settings, &f->e), &f->e);
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void fixture_close(fixture *f)
{
    rl_ca_close(f->ca);
    if (f->store)
        rl_store_close(f->store);
    rl_settings_free(&f->defaults);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    rl_clock_set(NULL);
}

/* Closes everything and starts again on the same folder, as a restart does. */
static inline void fixture_restart(fixture *f)
{
    rl_ca_close(f->ca);
    rl_store_close(f->store);
    f->ca = NULL;
    f->store = NULL;
    assert_ok(rl_store_open(f->dir, &f->store, &f->e), &f->e);
}

static inline void path_in(const fixture *f, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", f->dir, name);
}

static inline X509 *decode(const uint8_t *der, size_t n)
{
    X509 *cert = d2i_X509(NULL, &der, (long)n);
    assert_non_null(cert);
    return cert;
}

static inline void write_pem(const fixture *f, const char *name, X509 *cert)
{
    char path[128];
    path_in(f, name, path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, cert), 1);
    fclose(out);
}

/* Runs a command in the data folder; its output, or a failed test when it fails. */
static inline const char *run(const fixture *f, const char *command)
{
    static char out[16384];
    char line[1024];
    snprintf(line, sizeof(line), "cd %s && { %s; } 2>&1", f->dir, command);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    size_t n = fread(out, 1, sizeof(out) - 1, p);
    out[n] = 0;
    if (pclose(p) != 0)
        fail_msg("%s: %s", command, out);
    return out;
}

#define assert_has(text, part)                                                                                         \
    do {                                                                                                               \
        if (!strstr(text, part))                                                                                       \
            fail_msg("'%s' is not in:\n%s", part, text);                                                               \
    } while (0)
#define assert_has_not(text, part)                                                                                     \
    do {                                                                                                               \
        if (strstr(text, part))                                                                                        \
            fail_msg("'%s' is in:\n%s", part, text);                                                                   \
    } while (0)

/* ---- requests ---- */
typedef struct csr_spec {
    EVP_PKEY *key;
    const char *cn;               /* NULL: empty subject */
    const char *extensions[8][2]; /* OpenSSL's configuration words: {"subjectAltName", "DNS:a.example"} */
    const char *ou;               /* NULL: none */
} csr_spec;

static inline void add_extension(STACK_OF(X509_EXTENSION) * *exts, const char *name, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf(NULL, NULL, name, value);
    if (!ext)
        fail_msg("%s=%s", name, value);
    if (!*exts)
        *exts = sk_X509_EXTENSION_new_null();
    sk_X509_EXTENSION_push(*exts, ext);
}

static inline X509_REQ *make_csr(const csr_spec *spec)
{
    X509_REQ *csr = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *exts = NULL;
    if (spec->cn)
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)spec->cn, -1, -1, 0),
                         1);
    if (spec->ou)
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "OU", MBSTRING_UTF8,
                                                    (const unsigned char *)spec->ou, -1, -1, 0),
                         1);
    for (size_t i = 0; i < 8 && spec->extensions[i][0]; i++)
        add_extension(&exts, spec->extensions[i][0], spec->extensions[i][1]);
    if (exts)
        assert_int_equal(X509_REQ_add_extensions(csr, exts), 1);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    assert_int_equal(X509_REQ_set_pubkey(csr, spec->key), 1);
    assert_true(X509_REQ_sign(csr, spec->key, EVP_sha256()) > 0);
    return csr;
}

#endif
