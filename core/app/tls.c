/* Where the server certificate comes from: the files of the settings, or, when they name none, the own CA, which issues
 * one and another before it ends. Looked after by the main thread, once a second and on SIGHUP.
 *
 * The own one is in `data_dir`/tls.pem, key and certificate in one file, so that they change together. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"
#include "app/cli.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/network.h"

enum {
    NAMES_MAX = 4,        /* the base URL's, two listeners', the machine's */
    NAME_MAX_N = 254,     /* a host name and its end */
    OWN_CHECK_MS = 60000, /* the own certificate is looked at so often: it may have been revoked, the clock set */
};
#define OWN_FILE     "tls.pem"
#define OWN_VALIDITY ((rl_duration)90 * 86400 * 1000)

/* What a file was when it was looked at: a link that now leads elsewhere shows, too. */
typedef struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
} stamp;

struct rl_app_tls {
    rl_http_tls *http;
    bool own;
    char *cert, *key;          /* paths; one and the same for the own */
    stamp tried[2], before[2]; /* at the last load; at the last look */
    uint64_t own_due;          /* monotonic ms: when the own certificate is looked at again */
};

/* ---- the names ---- */

typedef struct names {
    char text[NAMES_MAX][NAME_MAX_N];
    size_t n;
} names;

static void add_name(names *out, const char *name, size_t n)
{
    if (n == 0 || n >= NAME_MAX_N || out->n == NAMES_MAX)
        return;
    char *to = out->text[out->n];
    for (size_t i = 0; i < n; i++)
        to[i] = (char)tolower((unsigned char)name[i]);
    to[n] = '\0';
    for (size_t i = 0; i < out->n; i++)
        if (strcmp(out->text[i], to) == 0)
            return;
    out->n++;
}

static void add_host(names *out, const char *text)
{
    const rl_span host = rl_host_of(text);
    add_name(out, (const char *)host.p, host.n);
}

/* One on every address has no name of its own; on the machine itself it is localhost. */
static void add_listener(names *out, const char *listen)
{
    bool any = strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0;
    if (listen[0] != '\0')
        add_host(out, any ? "localhost" : listen);
}

/* The machine's own name is no setting: one that a certificate cannot hold is left out. */
static void add_machine(names *out)
{
    char host[NAME_MAX_N] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !isalnum((unsigned char)host[0]))
        return;
    for (const char *c = host; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && (*c != '.' || c[1] == '.' || c[1] == '\0'))
            return;
    add_host(out, host);
}

static void all_names(const rl_settings *s, names *out)
{
    out->n = 0;
    add_host(out, s->http.base_url);
    add_listener(out, s->http.https_listen);
    add_listener(out, s->http.est_listen);
    add_machine(out);
}

/* With one that the CA may not certify clients would refuse all; the base URL's has to be among them. */
static void own_names(const rl_app *app, names *out)
{
    names all;
    all_names(app->settings, &all);
    out->n = 0;
    for (size_t i = 0; i < all.n; i++)
        if (i == 0 || rl_ca_may_name(app->ca, all.text[i]))
            memcpy(out->text[out->n++], all.text[i], NAME_MAX_N);
}

static bool is_ip(const char *name)
{
    uint8_t octets[16];
    return inet_pton(AF_INET, name, octets) == 1 || inet_pton(AF_INET6, name, octets) == 1;
}

/* ---- the own certificate: is it good? ---- */

static rl_duration own_validity(const rl_settings *s)
{
    return s->ca.cert_validity < OWN_VALIDITY ? s->ca.cert_validity : OWN_VALIDITY;
}

static bool covers(X509 *cert, const names *wanted)
{
    bool all = true;
    for (size_t i = 0; i < wanted->n && all; i++)
        all = (is_ip(wanted->text[i]) ? X509_check_ip_asc(cert, wanted->text[i], 0)
                                      : X509_check_host(cert, wanted->text[i], 0, 0, NULL)) == 1;
    return all;
}

static bool is_good_in_store(const rl_app *app, const X509 *cert)
{
    rl_serial serial;
    rl_cert_status status;
    if (rl_x509_serial(cert, &serial) != RL_OK)
        return false;
    rl_cert_id id = {.issuer = rl_ca_issuer(app->ca)->id, .serial_n = serial.n};
    memcpy(id.serial, serial.b, serial.n);
    return rl_store_cert_status(app->store, &id, &status) == RL_OK && status.status == RL_STATUS_GOOD;
}

static bool is_of_present_ca(const rl_app *app, X509 *cert)
{
    X509 *issuer = rl_ca_issuer(app->ca)->cert;
    return X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(issuer)) == 0 &&
           X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
}

/* No certificate begins before its CA's: with a clock that is behind that, another one would be no better. */
static bool is_as_old_as_the_ca(const rl_app *app, int64_t begin)
{
    int64_t first;
    return rl_x509_time(X509_get0_notBefore(rl_ca_issuer(app->ca)->cert), &first) == RL_OK && begin <= first;
}

/* Good until the last third of what it would be issued for; *left is how long that is. One of the future is by a clock
 * that was ahead: clients whose clocks are right refuse it. */
static bool own_is_good(const rl_app *app, const char *path, rl_duration *left)
{
    names wanted;
    int64_t begin, end;
    BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *key = file != NULL ? PEM_read_bio_PrivateKey(file, NULL, NULL, (void *)"") : NULL;
    X509 *cert = key != NULL ? PEM_read_bio_X509(file, NULL, NULL, (void *)"") : NULL;
    BIO_free(file);
    own_names(app, &wanted);
    bool good = cert != NULL && X509_check_private_key(cert, key) == 1 &&
                rl_x509_time(X509_get0_notBefore(cert), &begin) == RL_OK &&
                rl_x509_time(X509_get0_notAfter(cert), &end) == RL_OK && covers(cert, &wanted) &&
                is_of_present_ca(app, cert) && is_good_in_store(app, cert);
    if (good) {
        const int64_t now = rl_wall_s();
        *left = (end - now) * 1000 - own_validity(app->settings) / 3;
        good = (begin <= now || is_as_old_as_the_ca(app, begin)) && *left > 0;
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return good;
}

/* ---- … and otherwise a new one ---- */

static rl_err request_own(const rl_app *app, const rl_signer *key, X509_REQ **csr, rl_error *e)
{
    enum { CN_MAX = 64 }; /* RFC 5280 A.1: ub-common-name */
    names wanted;
    char *pem = NULL;
    own_names(app, &wanted);
    json_t *sans = json_array();
    for (size_t i = 0; i < wanted.n; i++)
        json_array_append_new(sans, json_sprintf("%s:%s", is_ip(wanted.text[i]) ? "IP" : "DNS", wanted.text[i]));
    rl_err err = cli_make_csr(key, strlen(wanted.text[0]) <= CN_MAX ? wanted.text[0] : "Revline", sans, &pem, e);
    if (err == RL_OK && (err = rl_csr_from_any(rl_span_str(pem), csr, e)) != RL_OK)
        err = rl_fail(e, err, "tls", "the request for the server certificate cannot be read");
    json_decref(sans);
    free(pem);
    return err;
}

static rl_err issue_own(rl_app *app, const rl_signer *key, X509 **cert, rl_error *e)
{
    X509_REQ *csr = NULL;
    rl_issued issued;
    RL_TRY(request_own(app, key, &csr, e));
    const rl_issue_request r = {.profile = RL_PROFILE_SERVER, .csr = csr, .validity = OWN_VALIDITY, .requester = "tls"};
    rl_err err = rl_ca_issue(app->ca, &r, &issued, e);
    X509_REQ_free(csr);
    if (err != RL_OK)
        return err;
    err = rl_x509_from_der(rl_span_of(issued.der, issued.der_n), cert, e);
    rl_issued_clear(&issued);
    return err;
}

static bool sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* In the place of the old one at once: a crash leaves either. */
static rl_err replace_file(const char *folder, const char *path, const char *data, size_t n, rl_error *e)
{
    char *temporary = NULL;
    rl_err err = RL_OK;
    int fd = asprintf(&temporary, "%s.XXXXXX", path) > 0 ? mkostemp(temporary, O_CLOEXEC) : -1; /* mode 0600 */
    bool written = fd >= 0 && write(fd, data, n) == (ssize_t)n && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    if (!written || rename(temporary, path) != 0 || !sync_folder(folder)) {
        err = rl_fail(e, RL_EIO, "tls", "%s cannot be written: %s", path, strerror(errno));
        if (fd >= 0)
            unlink(temporary);
    }
    free(temporary);
    return err;
}

static bool write_der(rl_span der, bool with_root, BIO *bio)
{
    X509 *cert = NULL;
    bool ok = rl_x509_from_der(der, &cert, NULL) == RL_OK;
    bool is_root = ok && X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
    ok = ok && ((is_root && !with_root) || PEM_write_bio_X509(bio, cert) == 1);
    X509_free(cert);
    return ok;
}

/* Behind it the CAs up to the root, and after a rollover what leads clients that know only the root before to the new
 * one. */
static bool write_chain(const rl_app *app, BIO *bio)
{
    rl_span certs[RL_CA_LINKS_MAX];
    bool ok = true;
    for (size_t i = 0, n = rl_ca_chain(app->ca, rl_ca_issuer(app->ca), certs); ok && i < n; i++)
        ok = write_der(certs[i], false, bio);
    for (size_t i = 0, n = rl_ca_links(app->ca, false, certs); ok && i < n; i++)
        ok = write_der(certs[i], true, bio);
    return ok;
}

static rl_err write_own(const rl_app *app, const char *path, const rl_signer *key, X509 *cert, rl_error *e)
{
    char *pem;
    BIO *bio = BIO_new(BIO_s_secmem());
    bool ok = bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, rl_signer_pkey(key), NULL, NULL, 0, NULL, NULL) == 1 &&
              PEM_write_bio_X509(bio, cert) == 1 && write_chain(app, bio);
    if (!ok) {
        BIO_free(bio);
        return rl_fail_openssl(e, "tls", "the server certificate cannot be written");
    }
    long n = BIO_get_mem_data(bio, &pem);
    rl_err err = replace_file(app->settings->data_dir, path, pem, (size_t)n, e);
    OPENSSL_cleanse(pem, (size_t)n);
    BIO_free(bio);
    return err;
}

/* When it returns RL_OK there is a good one in the file. */
static rl_err keep_own(rl_app *app, rl_error *e)
{
    struct rl_app_tls *t = app->tls;
    rl_signer *key = NULL;
    X509 *cert = NULL;
    rl_duration left = OWN_CHECK_MS;
    const uint64_t now = rl_mono_ms();
    t->own_due = now + OWN_CHECK_MS;
    if (own_is_good(app, t->cert, &left)) {
        t->own_due = now + (uint64_t)(left < OWN_CHECK_MS ? left : OWN_CHECK_MS);
        return RL_OK;
    }
    rl_err err = rl_signer_generate(RL_KEY_EC_P256, &key, e);
    if (err == RL_OK)
        err = issue_own(app, key, &cert, e);
    if (err == RL_OK)
        err = write_own(app, t->cert, key, cert, e);
    if (err == RL_OK && own_is_good(app, t->cert, &left) && left < OWN_CHECK_MS)
        t->own_due = now + (uint64_t)left;
    X509_free(cert);
    rl_signer_free(key);
    return err;
}

/* ---- loading ---- */

static void look(const struct rl_app_tls *t, stamp out[2])
{
    const char *const paths[2] = {t->cert, t->key};
    memset(out, 0, 2 * sizeof *out);
    for (int i = 0; i < 2; i++) {
        struct stat st;
        if (stat(paths[i], &st) == 0)
            out[i] = (stamp){.dev = st.st_dev, .ino = st.st_ino, .size = st.st_size, .changed = st.st_mtim};
    }
}

static bool same(const stamp a[2], const stamp b[2])
{
    bool all = true;
    for (int i = 0; i < 2; i++)
        all = all && a[i].dev == b[i].dev && a[i].ino == b[i].ino && a[i].size == b[i].size &&
              a[i].changed.tv_sec == b[i].changed.tv_sec && a[i].changed.tv_nsec == b[i].changed.tv_nsec;
    return all;
}

static rl_err load(struct rl_app_tls *t, rl_error *e)
{
    look(t, t->tried);
    return rl_http_tls_load(t->http, t->cert, t->key, e);
}

static void tell_kept(const rl_error *e)
{
    log_warn("tls.kept", "error", (const char *)e->message, "means",
             "new connections get the certificate that was loaded before");
}

void rl_app_tls_reload(rl_app *app)
{
    struct rl_app_tls *t = app->tls;
    rl_error e = {0};
    if (t == NULL)
        return;
    if ((t->own && keep_own(app, &e) != RL_OK) || load(t, &e) != RL_OK)
        tell_kept(&e);
}

/* A change counts when it is still there a second later, since two files are not written at once; and is tried once. */
void rl_app_tls_tick(rl_app *app)
{
    struct rl_app_tls *t = app->tls;
    rl_error e = {0};
    stamp now[2];
    if (t == NULL)
        return;
    if (t->own && rl_mono_ms() >= t->own_due && keep_own(app, &e) != RL_OK)
        tell_kept(&e);
    look(t, now);
    bool settled = same(now, t->before);
    memcpy(t->before, now, sizeof now);
    if (settled && !same(now, t->tried) && load(t, &e) != RL_OK)
        tell_kept(&e);
}

/* ---- beginning and end ---- */

static rl_err choose_files(struct rl_app_tls *t, const rl_settings *s, rl_error *e)
{
    t->own = s->http.tls_cert[0] == '\0';
    if (!t->own)
        t->cert = strdup(s->http.tls_cert);
    else if (asprintf(&t->cert, "%s/%s", s->data_dir, OWN_FILE) < 0)
        t->cert = NULL;
    const char *key = s->http.tls_key[0] != '\0' ? s->http.tls_key : t->cert;
    t->key = key != NULL ? strdup(key) : NULL;
    return t->cert != NULL && t->key != NULL ? RL_OK : rl_fail(e, RL_ENOMEM, "tls", "out of memory");
}

rl_err rl_app_tls_open(rl_app *app, rl_error *e)
{
    const rl_settings *s = app->settings;
    if (s->http.https_listen[0] == '\0' && s->http.est_listen[0] == '\0')
        return RL_OK;
    struct rl_app_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return rl_fail(e, RL_ENOMEM, "tls", "out of memory");
    app->tls = t;
    RL_TRY(choose_files(t, s, e));
    RL_TRY(rl_http_tls_new(&t->http, e));
    if (t->own)
        RL_TRY(keep_own(app, e));
    return load(t, e);
}

rl_http_tls *rl_app_tls_http(const rl_app *app)
{
    return app->tls != NULL ? app->tls->http : NULL;
}

void rl_app_tls_close(rl_app *app)
{
    struct rl_app_tls *t = app->tls;
    if (t == NULL)
        return;
    rl_http_tls_free(t->http);
    free(t->cert);
    free(t->key);
    free(t);
    app->tls = NULL;
}
