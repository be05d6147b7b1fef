/* An export of another data folder taken over whole: issuers, certificates with their status and bindings, directory
 * objects and where each source stands. Keys are never in an export: an issuer of its own remains one only where its
 * key file has been brought along.
 *
 * All goes into a database aside, which takes its place in the data folder when the export has come to its end: there
 * is the whole of it or nothing. One thread. */
#include "ca/ca_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/export.h"

enum { LINES_AT_ONCE = 500, OCTETS_AT_ONCE = 4 * 1024 * 1024, PATH_CAP = 4096 };

struct rl_ca_takeover {
    const rl_settings *settings;
    rl_store *store;
    char db[PATH_CAP], aside[PATH_CAP], aside_db[PATH_CAP];
    rl_line *lines; /* of the next transaction */
    size_t n, octets;
    uint64_t records;
    bool ended;
    rl_ca_taken taken;
};

/* ---- issuers ---- */
/* The key that `reference` names is there and belongs to the certificate. Only a plain name in the data folder is
 * looked for: the line came from outside. */
static bool has_key(const rl_ca_takeover *t, const char *name, const X509 *cert)
{
    rl_signer *key = NULL;
    bool is_plain = name[0] && name[0] != '.' && !strchr(name, '/');
    bool has = is_plain && ca_key_file(t->settings, name, RL_KEY_AUTO, &key, NULL) == RL_OK &&
               X509_check_private_key(cert, rl_signer_pkey(key)) == 1;
    rl_signer_free(key);
    ERR_clear_error();
    return has;
}

/* Without its key an issuer is another CA's from now on; without ours, the delegate is of no use. */
static rl_err settle_keys(rl_ca_takeover *t, rl_line *l, const X509 *cert, rl_error *e)
{
    rl_issuer_record *i = &l->issuer_of;
    X509 *delegate = NULL;
    char name[32];
    const char *file = i->key_ref && strncmp(i->key_ref, CA_KEY_FILE, strlen(CA_KEY_FILE)) == 0
                           ? i->key_ref + strlen(CA_KEY_FILE)
                           : "";
    if (i->key_ref && !has_key(t, file, cert)) {
        t->taken.without_key[t->taken.without_key_n++] = l->issuer;
        i->key_ref[0] = 0;
    }
    if (!i->delegate)
        return RL_OK;
    RL_TRY(rl_x509_from_der(rl_span_of(i->delegate, i->delegate_n), &delegate, e));
    snprintf(name, sizeof(name), "ocsp-%u.key", l->issuer);
    if (!has_key(t, name, delegate)) {
        t->taken.without_delegate[t->taken.without_delegate_n++] = l->issuer;
        free(i->delegate);
        i->delegate = NULL;
        i->delegate_n = 0;
    }
    X509_free(delegate);
    return RL_OK;
}

static rl_err check_issuer(rl_ca_takeover *t, rl_line *l, rl_error *e)
{
    X509 *cert = NULL;
    if (l->issuer != t->taken.issuers + 1 || l->issuer > RL_CA_ISSUERS_MAX)
        return rl_fail(e, RL_EBADMSG, "import", "issuers are numbered from 1 to at most %d, and %u is out of order",
                       RL_CA_ISSUERS_MAX, l->issuer);
    RL_TRY(rl_x509_from_der(rl_span_of(l->issuer_of.cert, l->issuer_of.cert_n), &cert, e));
    rl_err err = ca_hash_issuer(cert, &l->issuer_of) == RL_OK
                     ? RL_OK
                     : rl_fail_openssl(e, "import", "the issuer's hashes cannot be made");
    if (err == RL_OK)
        err = settle_keys(t, l, cert, e);
    t->taken.issuers += err == RL_OK;
    X509_free(cert);
    return err;
}

/* ---- lines ---- */
static rl_err check_cert(const rl_ca_takeover *t, const rl_line *l, rl_error *e)
{
    X509 *cert = NULL;
    rl_serial serial;
    if (l->id.issuer > t->taken.issuers)
        return rl_fail(e, RL_EBADMSG, "import", "issuer %u is not among the export's issuers", l->id.issuer);
    if (l->der.n == 0)
        return RL_OK;
    RL_TRY(rl_x509_from_der(rl_buf_span(&l->der), &cert, e));
    bool same = rl_x509_serial(cert, &serial) == RL_OK &&
                rl_span_eq(rl_span_of(serial.b, serial.n), rl_span_of(l->id.serial, l->id.serial_n));
    X509_free(cert);
    return same ? RL_OK : rl_fail(e, RL_EBADMSG, "import", "the certificate has another serial number than its line");
}

static rl_err check(rl_ca_takeover *t, rl_line *l, rl_error *e)
{
    if (t->ended)
        return rl_fail(e, RL_EBADMSG, "import", "something follows behind the export's last line");
    if (l->kind != RL_LINE_END) {
        t->records++;
        return l->kind == RL_LINE_ISSUER ? check_issuer(t, l, e)
               : l->kind == RL_LINE_CERT ? check_cert(t, l, e)
                                         : RL_OK;
    }
    t->ended = true;
    return l->number == t->records
               ? RL_OK
               : rl_fail(e, RL_EBADMSG, "import", "the export says that it has %llu records, but there are %llu",
                         (unsigned long long)l->number, (unsigned long long)t->records);
}

/* A certificate that waits in a change joins it by the update. */
static rl_err put_cert(rl_store_txn *txn, const rl_line *l)
{
    rl_cert_record r = l->cert;
    memset(&r.held, 0, sizeof(r.held));
    RL_TRY(rl_txn_add_cert(txn, &l->id, &r, rl_buf_span(&l->der), "import"));
    return l->cert.held.change ? rl_txn_update_cert(txn, &l->id, &l->cert, "import") : RL_OK;
}

static rl_err put_change(rl_store_txn *txn, const rl_line *l)
{
    RL_TRY(rl_txn_reserve_change(txn, l->number));
    return rl_txn_put_change(txn, l->number, &l->change);
}

/* Where a source stood is kept, but not its link: a round over all of it tells what has happened meanwhile. */
static rl_err put_cursor(rl_store_txn *txn, const rl_line *l)
{
    rl_cursor_record r = l->cursor;
    r.link = NULL;
    r.full = false;
    r.complete = true;
    return rl_txn_put_cursor(txn, l->source, &r);
}

static rl_err put_line(rl_store_txn *txn, rl_line *l)
{
    switch (l->kind) {
    case RL_LINE_ISSUER:
        return rl_txn_put_issuer(txn, l->issuer, &l->issuer_of);
    case RL_LINE_CHANGE:
        return put_change(txn, l);
    case RL_LINE_CERT:
        return put_cert(txn, l);
    case RL_LINE_BINDING:
        return rl_txn_put_binding(txn, l->name.source, l->name.id, &l->id);
    case RL_LINE_OBJECT:
        return rl_txn_put_object(txn, l->name.source, l->name.id, &l->object);
    case RL_LINE_CURSOR:
        return put_cursor(txn, l);
    case RL_LINE_QUEUE:
        return rl_txn_queue_put(txn, l->source, rl_buf_span(&l->der));
    case RL_LINE_HISTORY:
    case RL_LINE_END:
        break;
    }
    return RL_OK;
}

static rl_err put_lines(rl_store_txn *txn, void *arg, rl_error *e)
{
    rl_ca_takeover *t = arg;
    for (size_t i = 0; i < t->n; i++) {
        rl_err err = put_line(txn, &t->lines[i]);
        if (err == RL_EEXISTS)
            return rl_fail(e, err, "import", "a certificate is in the export twice");
        if (err == RL_ENOTFOUND)
            return rl_fail(e, RL_EBADMSG, "import", "a certificate waits in a change that is not in the export");
        if (err != RL_OK)
            return rl_fail(e, err, "import", "a record cannot be stored: %s", rl_err_name(err));
    }
    return RL_OK;
}

static rl_err commit(rl_ca_takeover *t, rl_error *e)
{
    rl_err err = t->n ? rl_store_run(t->store, put_lines, t, e) : RL_OK;
    for (size_t i = 0; i < t->n; i++)
        rl_line_clear(&t->lines[i]);
    t->n = t->octets = 0;
    return err;
}

rl_err rl_ca_takeover_line(rl_ca_takeover *t, rl_span text, rl_error *e)
{
    rl_line *l = &t->lines[t->n];
    rl_err err = rl_line_read(text, l, e);
    if (err == RL_OK)
        err = check(t, l, e);
    if (err != RL_OK || l->kind == RL_LINE_HISTORY || l->kind == RL_LINE_END) {
        rl_line_clear(l);
        return err;
    }
    t->taken.certificates += l->kind == RL_LINE_CERT;
    t->taken.objects += l->kind == RL_LINE_OBJECT;
    t->n++;
    t->octets += text.n;
    return t->n == LINES_AT_ONCE || t->octets >= OCTETS_AT_ONCE ? commit(t, e) : RL_OK;
}

/* ---- beginning and end ---- */
static rl_err set_paths(rl_ca_takeover *t, rl_error *e)
{
    const char *dir = t->settings->data_dir;
    int n = snprintf(t->aside_db, sizeof(t->aside_db), "%s/import/db", dir);
    if (n < 0 || (size_t)n >= sizeof(t->aside_db))
        return rl_fail(e, RL_ERANGE, "import", "the path %s is too long", dir);
    snprintf(t->aside, sizeof(t->aside), "%s/import", dir);
    snprintf(t->db, sizeof(t->db), "%s/db", dir);
    return RL_OK;
}

static rl_err make_aside(rl_ca_takeover *t, rl_error *e)
{
    struct stat st;
    if (stat(t->db, &st) == 0)
        return rl_fail(e, RL_EEXISTS, "import",
                       "there is a database in '%s' already: an export is taken over by a data folder without one",
                       t->settings->data_dir);
    RL_TRY(rl_store_delete_copy(t->aside_db, e)); /* of an import that was cut off */
    if (mkdir(t->aside, 0700) != 0 && errno != EEXIST)
        return rl_fail(e, RL_EIO, "import", "%s cannot be made: %s", t->aside, strerror(errno));
    RL_TRY(rl_store_open(t->aside, &t->store, e));
    rl_store_on_compromise(t->store, ca_compromised);
    return RL_OK;
}

rl_err rl_ca_takeover_begin(const rl_settings *s, rl_ca_takeover **out, rl_error *e)
{
    rl_ca_takeover *t = calloc(1, sizeof(*t));
    if (!t || !(t->lines = calloc(LINES_AT_ONCE, sizeof(*t->lines)))) {
        free(t);
        return rl_fail(e, RL_ENOMEM, "import", "out of memory");
    }
    t->settings = s;
    rl_err err = set_paths(t, e);
    if (err == RL_OK)
        err = make_aside(t, e);
    if (err == RL_OK)
        *out = t;
    else
        rl_ca_takeover_free(t);
    return err;
}

rl_err ca_sync_folder(const char *path, rl_error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    return synced ? RL_OK : rl_fail(e, RL_EIO, "ca", "%s cannot be synced: %s", path, strerror(cause));
}

rl_err rl_ca_takeover_finish(rl_ca_takeover *t, rl_ca_taken *out, rl_error *e)
{
    if (!t->ended)
        return rl_fail(e, RL_EBADMSG, "import", "the export is cut off: its last line is missing");
    RL_TRY(commit(t, e));
    rl_store_close(t->store);
    t->store = NULL;
    if (rename(t->aside_db, t->db) != 0)
        return rl_fail(e, RL_EIO, "import", "%s cannot be put in its place: %s", t->db, strerror(errno));
    rmdir(t->aside);
    RL_TRY(ca_sync_folder(t->settings->data_dir, e));
    *out = t->taken;
    log_info("ca.takeover", "issuers", t->taken.issuers, "certificates", t->taken.certificates, "without_key",
             t->taken.without_key_n);
    return RL_OK;
}

void rl_ca_takeover_free(rl_ca_takeover *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        rl_line_clear(&t->lines[i]);
    rl_store_close(t->store);
    if (t->store && rl_store_delete_copy(t->aside_db, NULL) == RL_OK)
        rmdir(t->aside);
    free(t->lines);
    free(t);
}
