/* The CA as one below another: a key of ours, the request for its certificate, and the chain that comes back.
 *
 * The request is kept beside its key, ca-ID.csr and ca-ID.key. As long as it is there it waits: no root is made, since
 * whoever asked for the one CA does not want the other. It is deleted behind the transaction that makes the CA; taking
 * the same chain again after a crash in between does that alone. One thread, while no CA is open. */
#include "ca/ca_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { PATH_CAP = 4096, CSR_MAX = 16 * 1024 };

/* ---- the request that waits ---- */
static rl_err path_of(const rl_settings *s, rl_issuer_id id, const char *ending, char out[PATH_CAP], rl_error *e)
{
    int n = snprintf(out, PATH_CAP, "%s/ca-%u.%s", s->data_dir, id, ending);
    return n > 0 && n < PATH_CAP ? RL_OK : rl_fail(e, RL_ERANGE, "ca", "the path %s is too long", s->data_dir);
}

/* Its number; 0: none waits. There is one at most. */
static rl_issuer_id waiting(const rl_settings *s)
{
    char path[PATH_CAP];
    for (rl_issuer_id id = 1; id <= RL_CA_ISSUERS_MAX; id++)
        if (path_of(s, id, "csr", path, NULL) == RL_OK && access(path, F_OK) == 0)
            return id;
    return 0;
}

rl_err ca_no_request_waits(const rl_settings *s, rl_error *e)
{
    rl_issuer_id id = waiting(s);
    return id == 0 ? RL_OK
                   : rl_fail(e, RL_EEXISTS, "ca",
                             "the request ca-%u.csr for an intermediate CA waits in '%s' for its certificate: "
                             "'revline init --intermediate --chain FILE' takes it; for a root CA instead delete "
                             "ca-%u.csr and ca-%u.key",
                             id, s->data_dir, id, id);
}

static rl_err read_subject(const char *path, X509_NAME **out, rl_error *e)
{
    uint8_t text[CSR_MAX];
    X509_REQ *csr = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    rl_err err = n >= 0 ? rl_csr_from_any(rl_span_of(text, (size_t)n), &csr, e)
                        : rl_fail(e, RL_EIO, "ca", "%s cannot be read: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (err == RL_OK && !(*out = X509_NAME_dup(X509_REQ_get_subject_name(csr))))
        err = rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    X509_REQ_free(csr);
    return err;
}

/* Whole or not at all, and there before anybody is told. */
static rl_err write_request(const rl_settings *s, const char *path, const char *pem, rl_error *e)
{
    char part[PATH_CAP + 8];
    size_t n = strlen(pem);
    snprintf(part, sizeof(part), "%s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, pem, n) == (ssize_t)n && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return written && rename(part, path) == 0
               ? ca_sync_folder(s->data_dir, e)
               : rl_fail(e, RL_EIO, "ca", "%s cannot be written: %s", path, strerror(errno));
}

/* ---- asking ---- */
/* RFC 5280 §4.2.1.9, §4.2.1.3; with RSA it also receives SCEP envelopes (RFC 8894 §2.1.2). */
static bool ask_for_extensions(const rl_signer *key, STACK_OF(X509_EXTENSION) * *exts)
{
    enum { DIGITAL_SIGNATURE = 0, KEY_ENCIPHERMENT = 2, KEY_CERT_SIGN = 5, CRL_SIGN = 6 };
    BASIC_CONSTRAINTS *basic = BASIC_CONSTRAINTS_new();
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    bool ok = basic && usage && ASN1_BIT_STRING_set_bit(usage, DIGITAL_SIGNATURE, 1) == 1 &&
              ASN1_BIT_STRING_set_bit(usage, KEY_ENCIPHERMENT, rl_signer_is_rsa(key)) == 1 &&
              ASN1_BIT_STRING_set_bit(usage, KEY_CERT_SIGN, 1) == 1 && ASN1_BIT_STRING_set_bit(usage, CRL_SIGN, 1) == 1;
    if (ok)
        basic->ca = 0xff;
    ok = ok && ca_push_extension(exts, NID_basic_constraints, basic, true) &&
         ca_push_extension(exts, NID_key_usage, usage, true);
    BASIC_CONSTRAINTS_free(basic);
    ASN1_BIT_STRING_free(usage);
    return ok;
}

/* The subject asked for; else that of the request which waits, or of the CA that gets a new key, or as the settings
 * say: but a name that says root is not for this one. */
static rl_err choose_subject(const rl_settings *s, const rl_ca_ask *ask, const ca_stored *stored, const char *csr,
                             X509_NAME **out, rl_error *e)
{
    const bool untold = strcmp(s->ca.subject, RL_CA_SUBJECT_DEFAULT) == 0;
    if (ask->subject)
        return rl_name_parse(ask->subject, out, e);
    if (access(csr, F_OK) == 0)
        return read_subject(csr, out, e);
    if (!stored->subject)
        return rl_name_parse(untold ? "CN=Revline Intermediate CA" : s->ca.subject, out, e);
    *out = X509_NAME_dup(stored->subject);
    return *out ? RL_OK : rl_fail(e, RL_ENOMEM, "ca", "out of memory");
}

static rl_err request_key(const rl_settings *s, const rl_ca_ask *ask, rl_issuer_id id, rl_signer **out, rl_error *e)
{
    char name[32];
    snprintf(name, sizeof(name), "ca-%u.key", id);
    RL_TRY(ca_key_file(s, name, ask->key == RL_KEY_AUTO ? s->ca.key : ask->key, out, e));
    if (ask->key == RL_KEY_AUTO || ask->key == rl_signer_type(*out))
        return RL_OK;
    rl_fail(e, RL_EEXISTS, "ca",
            "the key that waits for its certificate, %s/%s, is %s: for another delete it and ca-%u.csr", s->data_dir,
            name, rl_key_type_name(rl_signer_type(*out)), id);
    rl_signer_free(*out);
    return RL_EEXISTS;
}

static rl_err make_request(const rl_settings *s, const rl_ca_ask *ask, const ca_stored *stored, char **pem, rl_error *e)
{
    const rl_issuer_id before = waiting(s), id = before ? before : stored->last + 1;
    char path[PATH_CAP];
    X509_NAME *subject = NULL;
    rl_signer *key = NULL;
    STACK_OF(X509_EXTENSION) *exts = NULL;
    RL_TRY(path_of(s, id, "csr", path, e));
    RL_TRY(choose_subject(s, ask, stored, path, &subject, e));
    rl_err err = request_key(s, ask, id, &key, e);
    if (err == RL_OK) {
        err = ask_for_extensions(key, &exts) ? ca_request(key, subject, exts, pem, e)
                                             : rl_fail_openssl(e, "ca", "the request cannot be made");
        rl_signer_free(key);
    }
    if (err == RL_OK && (err = write_request(s, path, *pem, e)) != RL_OK)
        free(*pem);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_NAME_free(subject);
    return err;
}

rl_err rl_ca_ask_for(rl_store *store, const rl_settings *s, const rl_ca_ask *ask, char **pem, rl_error *e)
{
    ca_stored stored;
    rl_err err = ca_read_stored(store, &stored, e);
    if (stored.subject && !ask->roll_over)
        err =
            rl_fail(e, RL_EEXISTS, "ca",
                    "there is a CA already in '%s': with --rollover it gets a new key and becomes an intermediate one",
                    s->data_dir);
    else if (err == RL_OK && !stored.subject && ask->roll_over)
        err = rl_fail(e, RL_ENOTFOUND, "ca", "there is no CA in '%s' yet", s->data_dir);
    if (err == RL_OK)
        err = make_request(s, ask, &stored, pem, e);
    X509_NAME_free(stored.subject);
    return err;
}

/* ---- the chain that comes back ---- */
typedef struct chain {
    X509 *certs[RL_CA_CHAIN_MAX]; /* ours first; borrowed */
    size_t n;
} chain;

static rl_err refuse(const X509 *cert, const char *before, const char *behind, rl_error *e)
{
    char *subject = rl_name_text(X509_get_subject_name(cert));
    rl_fail(e, RL_EINVAL, "ca", "%s '%s' %s", before, subject ? subject : "", behind);
    free(subject);
    ERR_clear_error();
    return RL_EINVAL;
}

static X509 *signer_of(X509 *cert, X509 *const *certs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(certs[i])) == 0 &&
            X509_verify(cert, X509_get0_pubkey(certs[i])) == 1)
            return certs[i];
    return NULL;
}

/* The one for our key, and those above it up to one that is self-signed or whose signer is not among them. */
static rl_err find_chain(const rl_signer *key, X509 *const *certs, size_t n, chain *out, rl_error *e)
{
    X509 *cert = NULL;
    for (size_t i = 0; !cert && i < n; i++)
        cert = EVP_PKEY_eq(X509_get0_pubkey(certs[i]), rl_signer_pkey(key)) == 1 ? certs[i] : NULL;
    if (!cert)
        return rl_fail(e, RL_EINVAL, "ca", "none of these certificates is for the key whose request waits");
    if (ca_is_self_issued(cert))
        return refuse(cert, "the certificate of", "is no intermediate CA's: it is its own issuer", e);
    for (out->n = 0; cert;) {
        if (out->n == RL_CA_CHAIN_MAX)
            return rl_fail(e, RL_ERANGE, "ca", "the chain is longer than the %d certificates allowed", RL_CA_CHAIN_MAX);
        out->certs[out->n++] = cert;
        cert = ca_is_self_issued(cert) ? NULL : signer_of(cert, certs, n);
    }
    ERR_clear_error();
    return out->n > 1 ? RL_OK
                      : refuse(out->certs[0], "the CA that signed", "is missing: its certificate belongs behind it", e);
}

/* What RFC 5280 §6.1 asks, as OpenSSL does; the last of the chain is trusted because the admin says so. */
static rl_err verify(const chain *c, rl_error *e)
{
    X509_STORE *trusted = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    bool ready = trusted && ctx && between && X509_STORE_add_cert(trusted, c->certs[c->n - 1]) == 1;
    for (size_t i = 1; ready && i + 1 < c->n; i++)
        ready = sk_X509_push(between, c->certs[i]) > 0;
    ready = ready && X509_STORE_CTX_init(ctx, trusted, c->certs[0], between) == 1;
    rl_err err = RL_OK;
    if (!ready) {
        err = rl_fail_openssl(e, "ca", "the chain cannot be verified");
    } else {
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_CHECK_SS_SIGNATURE);
        X509_STORE_CTX_set_time(ctx, 0, (time_t)rl_wall_s());
        if (X509_verify_cert(ctx) != 1) {
            const X509 *at = X509_STORE_CTX_get_current_cert(ctx);
            err = refuse(at ? at : c->certs[0], "the chain does not hold at",
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)), e);
        }
    }
    sk_X509_free(between);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(trusted);
    return err;
}

/* OpenSSL takes ours for the end of the path; but certificates come below it. */
static rl_err check_rights(const chain *c, rl_error *e)
{
    if (!(X509_get_extension_flags(c->certs[0]) & EXFLAG_CA))
        return refuse(c->certs[0], "the certificate of", "is no CA's: basicConstraints has to say CA:TRUE", e);
    if (!(X509_get_key_usage(c->certs[0]) & KU_KEY_CERT_SIGN))
        return refuse(c->certs[0], "the certificate of", "may not sign certificates: its key usage lacks keyCertSign",
                      e);
    for (size_t i = 1; i < c->n; i++) {
        long most = X509_get_pathlen(c->certs[i]); /* -1: none */
        if (most >= 0 && (size_t)most < i)
            return refuse(c->certs[i], "the CA", "may not have a CA so far below it (pathlen)", e);
    }
    return RL_OK;
}

static rl_err store_chain(rl_store *store, const rl_settings *s, const chain *c, const char *key_ref, rl_error *e)
{
    rl_ca_imported got[RL_CA_CHAIN_MAX];
    rl_ca *ca;
    RL_TRY(ca_open_issuers(store, s, &ca, e));
    rl_err err = ca_import(ca, c->certs, c->n, key_ref, got, e);
    rl_ca_close(ca);
    return err;
}

rl_err rl_ca_take_chain(rl_store *store, const rl_settings *s, X509 *const *certs, size_t n, rl_error *e)
{
    const rl_issuer_id id = waiting(s);
    char csr[PATH_CAP], key_ref[32];
    rl_signer *key = NULL;
    chain c;
    if (id == 0)
        return rl_fail(e, RL_ENOTFOUND, "ca",
                       "no request for an intermediate CA waits in '%s': 'revline init --intermediate' makes one",
                       s->data_dir);
    RL_TRY(path_of(s, id, "csr", csr, e));
    snprintf(key_ref, sizeof(key_ref), CA_KEY_FILE "ca-%u.key", id);
    RL_TRY(ca_key_file(s, key_ref + strlen(CA_KEY_FILE), RL_KEY_AUTO, &key, e));
    rl_err err = find_chain(key, certs, n, &c, e);
    rl_signer_free(key);
    if (err == RL_OK)
        err = verify(&c, e);
    if (err == RL_OK)
        err = check_rights(&c, e);
    if (err == RL_OK)
        err = store_chain(store, s, &c, key_ref, e);
    if (err == RL_OK && unlink(csr) != 0)
        err = rl_fail(e, RL_EIO, "ca", "the CA is made, but %s cannot be deleted: %s", csr, strerror(errno));
    return err;
}
