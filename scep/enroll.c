/* PKIOperation: a pkiMessage becomes a certificate, or a refusal in SCEP's own terms. Runs on the thread pool.
 *
 * A failure of ours (store, memory, shutdown) is never told as a FAILURE CertRep: a client takes that as final.
 * It gets an HTTP error instead and comes again, and its transaction then finds what was issued meanwhile. */
#include <openssl/err.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "scep/scep_priv.h"

enum {
    TRANSACTION_KEY_SIZE = 2 * 32 + 1,
    RENEWALS_MAX = 32, /* certificates that one transaction goes through, see below */
};

/* ---- the transaction's key in the store ---- */
/* Each field behind its length, so that no two lists of fields give the same octets. */
static bool hash_field(EVP_MD_CTX *ctx, rl_span field)
{
    uint8_t n[4] = {(uint8_t)(field.n >> 24), (uint8_t)(field.n >> 16), (uint8_t)(field.n >> 8), (uint8_t)field.n};
    return EVP_DigestUpdate(ctx, n, sizeof(n)) == 1 && EVP_DigestUpdate(ctx, field.p, field.n) == 1;
}

static bool hash_csr(EVP_MD_CTX *ctx, X509_REQ *csr)
{
    unsigned char *key = NULL, *exts = NULL;
    const unsigned char *name = NULL;
    size_t name_n = 0;
    STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(csr);
    int key_n = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(csr), &key);
    int exts_n = list ? i2d_X509_EXTENSIONS(list, &exts) : 0;
    bool ok = key_n > 0 && exts_n >= 0 && X509_NAME_get0_der(X509_REQ_get_subject_name(csr), &name, &name_n) == 1 &&
              hash_field(ctx, rl_span_of(key, (size_t)key_n)) && hash_field(ctx, rl_span_of(name, name_n)) &&
              hash_field(ctx, rl_span_of(exts, (size_t)exts_n));
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    OPENSSL_free(exts);
    OPENSSL_free(key);
    ERR_clear_error(); /* extensions that do not decode: the CA tells */
    return ok;
}

/* A transaction is one client's wish for one certificate: profile, transactionID, key, subject and extensions. The
 * transactionID alone is the client's to choose, so it must not give one client another's certificate; and clients
 * that derive it from their key use it for every name they ask. The challenge and the CSR's signature stay
 * out: a client that makes its CSR again means the same. `after`: see issue(). */
static rl_err transaction_key(const scep_profile *p, const scep_request *r, const rl_cert_id *after,
                              char out[TRANSACTION_KEY_SIZE])
{
    uint8_t digest[32];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    rl_span serial = after ? rl_span_of(after->serial, after->serial_n) : (rl_span){(const uint8_t *)"", 0};
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              hash_field(ctx, rl_span_str(p->certificate.name)) && hash_field(ctx, rl_span_str(r->transaction)) &&
              hash_csr(ctx, r->csr) && hash_field(ctx, serial) && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? rl_hex(rl_span_of(digest, sizeof(digest)), out, TRANSACTION_KEY_SIZE) : RL_ECRYPTO;
}

/* ---- issuing ---- */
static int64_t unix_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static bool past_half_life(const X509 *cert)
{
    int64_t from = unix_of(X509_get0_notBefore(cert)), to = unix_of(X509_get0_notAfter(cert));
    return rl_wall_s() > from + (to - from) / 2;
}

/* The transaction's certificate, which is the one it got before if it was here before. Some clients take their
 * transactionID from their key and keep the key: what looks like a retransmission when the certificate
 * has less than half of its life left is their way to renew. It gets a new certificate, under a transaction that
 * follows from the old one, so that its own retransmissions find it too. */
static rl_err issue(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_issued *issued, X509 **cert,
                    rl_error *e)
{
    char key[TRANSACTION_KEY_SIZE];
    const rl_issue_request ask = {.profile = p->id, .csr = r->csr, .requester = "scep", .transaction = key};
    rl_cert_id after;
    for (unsigned i = 0; i < RENEWALS_MAX; i++) {
        RL_TRY(transaction_key(p, r, i ? &after : NULL, key));
        RL_TRY(rl_ca_issue(s->ca, &ask, issued, e));
        rl_err err = rl_x509_from_der(rl_span_of(issued->der, issued->der_n), cert, e);
        if (err == RL_OK && !(issued->repeated && past_half_life(*cert)))
            return RL_OK;
        after = issued->id;
        X509_free(*cert);
        *cert = NULL;
        rl_issued_clear(issued);
        if (err != RL_OK)
            return RL_ECORRUPT;
    }
    return rl_fail(e, RL_EDENIED, "scep", "this transaction was renewed too often: use another transactionID");
}

/* ---- answering ---- */
static void fail(scep_outcome *out, rl_err err)
{
    bool later = err == RL_ENOMEM || err == RL_EBUSY || err == RL_ECANCELED || err == RL_ETIMEDOUT;
    out->status = later ? 503 : 500;
    out->result = later ? SCEP_BUSY : SCEP_FAILED;
    out->text = later ? "the server cannot answer now, try again" : "the server failed, try again";
}

static void log_refused(const scep_profile *p, const scep_request *r, const char *code, const char *why,
                        const char *peer)
{
    log_client_warn("scep.refused", "profile", p->certificate.name, "transaction", r->transaction, "fail", code,
                    "reason", why, "peer", peer);
}

static void answer_refusal(const rl_scep *s, const scep_profile *p, const scep_request *r, const scep_refusal *why,
                           const char *peer, scep_outcome *out)
{
    rl_error e = {0};
    log_refused(p, r, scep_fail_info_name(why->info), why->text, peer);
    rl_err err = scep_reply_failure(&s->self, r, why, &out->body, &e);
    if (err == RL_OK) {
        out->status = 200;
        out->result = SCEP_REFUSED;
        return;
    }
    log_error("scep.failed", "transaction", r->transaction, "error", e.message, "peer", peer);
    fail(out, err);
}

/* The CA's reason as text for the client; true when the request is to blame. */
static bool blame(rl_err err, const rl_error *e, scep_refusal *why)
{
    if (err != RL_EINVAL && err != RL_EBADMSG && err != RL_ERANGE && err != RL_EUNSUPPORTED && err != RL_EDENIED)
        return false;
    why->info = err == RL_EUNSUPPORTED ? SCEP_BAD_ALG : SCEP_BAD_REQUEST;
    snprintf(why->room, sizeof(why->room), "%s", e->message[0] ? e->message : rl_err_name(err));
    for (char *c = why->room; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* names come from the request, in whatever encoding */
            *c = '?';
    why->text = why->room;
    return true;
}

static void enroll(const rl_scep *s, const scep_profile *p, const scep_request *r, scep_refusal *why, const char *peer,
                   scep_outcome *out)
{
    rl_issued issued = {0};
    rl_error e = {0};
    X509 *cert = NULL;
    rl_err err = issue(s, p, r, &issued, &cert, &e);
    if (blame(err, &e, why)) {
        answer_refusal(s, p, r, why, peer, out);
    } else if (err != RL_OK || (err = scep_reply_success(&s->self, r, cert, rl_ca_by_id(s->ca, issued.id.issuer)->cert,
                                                         &out->body, &e)) != RL_OK) {
        log_error("scep.failed", "profile", p->certificate.name, "transaction", r->transaction, "error",
                  e.message[0] ? e.message : rl_err_name(err), "peer", peer);
        fail(out, err);
    } else {
        rl_serial serial = {.n = issued.id.serial_n};
        char text[2 * RL_SERIAL_MAX + 1];
        memcpy(serial.b, issued.id.serial, serial.n);
        rl_serial_text(&serial, text);
        log_info("scep.issued", "profile", p->certificate.name, "transaction", r->transaction, "serial", text,
                 "repeated", issued.repeated, "peer", peer);
        out->status = 200;
        out->result = issued.repeated ? SCEP_REPEATED : SCEP_ISSUED;
    }
    X509_free(cert);
    rl_issued_clear(&issued);
}

/* The challenge or one of the old ones, each compared whole. */
static bool challenge_holds(const scep_profile *p, const scep_request *r)
{
    const rl_profile_rules *rules = p->certificate.rules;
    if (!r->challenge || !rules->challenge[0])
        return false;
    bool holds = rl_secret_eq(rl_span_str(rules->challenge), rl_span_str(r->challenge));
    for (const char *at = rules->old_challenges; at && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        holds |= n > 0 && rl_secret_eq(rl_span_of(at, n), rl_span_str(r->challenge));
        at += n;
    }
    return holds;
}

void scep_pki_operation(const rl_scep *s, const scep_profile *p, rl_span message, const char *peer, scep_outcome *out)
{
    scep_request r;
    scep_refusal why;
    *out = (scep_outcome){.status = 500};
    rl_err err = scep_request_read(&s->self, message, &r, &why);
    if (err == RL_OK && !challenge_holds(p, &r)) {
        why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = "the challenge password is wrong or missing"};
        err = RL_EDENIED;
    }
    if (err == RL_OK) {
        enroll(s, p, &r, &why, peer, out);
    } else if (err == RL_EDENIED) {
        answer_refusal(s, p, &r, &why, peer, out);
    } else if (err == RL_EBADMSG) {
        log_refused(p, &r, "unreadable", why.text, peer);
        *out = (scep_outcome){.status = 400, .result = SCEP_MALFORMED, .text = why.text};
    } else {
        log_error("scep.failed", "error", rl_err_name(err), "peer", peer);
        fail(out, err);
    }
    scep_request_clear(&r);
}
