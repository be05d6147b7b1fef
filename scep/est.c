/* EST (RFC 7030, RFC 8951): the same profiles as SCEP's, by TLS. `/.well-known/est/{label}/{operation}`; the label is a
 * profile's name. Without one it is `static`, for a renewal the profile of the certificate that is renewed, and by a
 * token one that fits its holder.
 *
 * Who enrolls is authorised by the profile's challenge, as the password of HTTP Basic, or by a token of Entra ID; who
 * renews, by the certificate of its TLS connection, which has to be one of ours that is good now (est_who.c). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "base/clock.h"
#include "http/login.h"
#include "scep/est_priv.h"

#define EST_ROOT "/.well-known/est/"

enum { WAITING = 4, RETRY_AFTER = 5 /* seconds */ };

static const char *const operations[EST_OTHER] = {"simpleenroll", "simplereenroll", "serverkeygen"};

/* ---- one request ---- */
const scep_profile *est_find_profile(const rl_est *est, rl_span label)
{
    if (label.n == 0)
        label = RL_SPAN_LIT("static");
    for (size_t i = 0; i < est->scep->endpoints_n; i++)
        if (rl_span_eq(label, rl_span_str(est->scep->endpoints[i].profile.certificate.name)))
            return &est->scep->endpoints[i].profile;
    return NULL;
}

void est_refuse(est_job *job, int status, const char *why)
{
    job->status = status;
    snprintf(job->why, sizeof(job->why), "%s", why);
    for (char *c = job->why; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* names come from the request, in whatever encoding */
            *c = '?';
}

void est_refuse_for(est_job *job, rl_err err, const rl_error *e)
{
    bool blame =
        err == RL_EINVAL || err == RL_EBADMSG || err == RL_ERANGE || err == RL_EUNSUPPORTED || err == RL_EDENIED;
    bool later = err == RL_ENOMEM || err == RL_EBUSY || err == RL_ECANCELED || err == RL_ETIMEDOUT;
    if (!blame)
        log_error("est.failed", "error", e->message[0] ? e->message : rl_err_name(err));
    if (later)
        job->retry_after = RETRY_AFTER;
    est_refuse(job,
               err == RL_EDENIED ? 403
               : blame           ? 400
               : later           ? 503
                                 : 500,
               blame ? (e->message[0] ? e->message : rl_err_name(err)) : "the server cannot answer now, try again");
}

/* ---- answers ---- */
static rl_err put_certificate(est_job *job, const rl_issued *issued, rl_error *e)
{
    rl_buf der = {0};
    const rl_span cert = rl_span_of(issued->der, issued->der_n);
    rl_err err = scep_certs_only(&cert, 1, &der, e);
    if (err == RL_OK)
        err = est_body_encode(rl_buf_span(&der), job->one_line, &job->body);
    rl_buf_free(&der);
    return err;
}

#define CERTS_TYPE "application/pkcs7-mime; smime-type=certs-only"
#define BASE64     "Content-Transfer-Encoding: base64\r\n"

/* RFC 7030 §4.4.2: key and certificate, once and nowhere else. */
static rl_err put_with_key(est_job *job, EVP_PKEY *key, const rl_issued *issued, rl_error *e)
{
    unsigned char *der = NULL;
    uint8_t random[16];
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    int n = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
    PKCS8_PRIV_KEY_INFO_free(info);
    arc4random_buf(random, sizeof(random));
    rl_err err = n > 0 ? rl_hex(rl_span_of(random, 16), job->boundary, sizeof(job->boundary))
                       : rl_fail_openssl(e, "est", "the key cannot be encoded");
    if (err == RL_OK)
        err = rl_buf_printf(&job->body, "--%s\r\nContent-Type: application/pkcs8\r\n" BASE64 "\r\n", job->boundary);
    if (err == RL_OK)
        err = est_body_encode(rl_span_of(der, (size_t)n), job->one_line, &job->body);
    if (err == RL_OK)
        err = rl_buf_printf(&job->body, "\r\n--%s\r\nContent-Type: " CERTS_TYPE "\r\n" BASE64 "\r\n", job->boundary);
    if (err == RL_OK)
        err = put_certificate(job, issued, e);
    if (err == RL_OK)
        err = rl_buf_printf(&job->body, "\r\n--%s--\r\n", job->boundary);
    OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
    return err;
}

bool est_has_attribute(const X509_REQ *csr, const char *oid)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    bool has = !object || X509_REQ_get_attr_by_OBJ(csr, object, -1) >= 0;
    ASN1_OBJECT_free(object);
    return has;
}

/* RFC 7030 §4.4.1.1, §4.4.1.2: a key that is to be encrypted for a key of the client's, beyond TLS. No such keys are
 * known here, and then the request has to fail: in the answer the new one would be as the client did not want it. */
static bool asks_for_encryption(const X509_REQ *csr)
{
    return est_has_attribute(csr, "1.2.840.113549.1.9.16.2.37") || /* id-aa-decryptKeyID */
           est_has_attribute(csr, "1.2.840.113549.1.9.16.2.54");   /* id-aa-asymmDecryptKeyID */
}

/* The request again, for a key that we make: of the kind that the profile prefers. */
static rl_err with_new_key(const est_job *job, const X509_REQ *asked, X509_REQ **csr, EVP_PKEY **key, rl_error *e)
{
    unsigned kinds = job->profile->certificate.rules->keys;
    if (asks_for_encryption(asked))
        return rl_fail(e, RL_EINVAL, "est",
                       "the key cannot be encrypted for a key of the client's: ask for it without");
    *csr = X509_REQ_dup(asked); /* sane or not: the CA looks at it */
    *key = kinds & RL_KEYS_P256   ? EVP_EC_gen("P-256")
           : kinds & RL_KEYS_P384 ? EVP_EC_gen("P-384")
           : kinds & RL_KEYS_P521 ? EVP_EC_gen("P-521")
                                  : EVP_RSA_gen(kinds & RL_KEYS_RSA2048   ? 2048
                                                : kinds & RL_KEYS_RSA3072 ? 3072
                                                                          : 4096);
    bool ok = *csr && *key && X509_REQ_set_pubkey(*csr, *key) == 1 && X509_REQ_sign(*csr, *key, EVP_sha256()) > 0;
    return ok ? RL_OK : rl_fail_openssl(e, "est", "a key cannot be made");
}

/* A user asks for themselves. */
static bool is_own(const est_job *job)
{
    return job->caller.id[0] && !job->caller.application;
}

static rl_err certify(est_job *job, X509_REQ *asked, rl_issued *issued, rl_error *e)
{
    const bool keygen = job->operation == EST_KEYGEN;
    const rl_ca_owner owner = {job->caller.id, job->caller.device, job->caller.name};
    char requester[sizeof("est:") + RL_GUID_SIZE], transaction[EST_TRANSACTION_SIZE] = "";
    X509_REQ *made = NULL;
    EVP_PKEY *key = NULL;
    rl_err err = keygen ? with_new_key(job, asked, &made, &key, e) : est_transaction(job, asked, transaction);
    snprintf(requester, sizeof(requester), "est%s%s", job->caller.id[0] ? ":" : "", job->caller.id);
    const rl_issue_request ask = {.profile = job->profile->id,
                                  .csr = keygen ? made : asked,
                                  .requester = requester,
                                  .transaction = transaction[0] ? transaction : NULL,
                                  .owner = is_own(job) ? &owner : NULL,
                                  .renews = job->renews.serial_n ? &job->renews : NULL,
                                  .also = job->once.name[0] ? rl_challenge_spend : NULL,
                                  .also_ctx = &job->once,
                                  .look_up = true};
    if (err == RL_OK)
        err = rl_ca_issue(job->est->scep->ca, &ask, issued, e);
    if (err == RL_OK)
        err = keygen ? put_with_key(job, key, issued, e) : put_certificate(job, issued, e);
    EVP_PKEY_free(key);
    X509_REQ_free(made);
    return err;
}

/* RFC 7030 §4.2.3. Entra ID says that there is such a user, and the next round of the sync will, too; without one,
 * there is nothing to wait for. */
static void wait_for_user(est_job *job, const rl_error *e)
{
    const rl_settings *s = job->est->scep->settings;
    if (rl_login_of(s) == RL_LOGIN_NONE || s->sync.entra_interval == 0) {
        est_refuse(job, 403, "the directory is not watched here: whose the user's principal name is is not known");
        return;
    }
    job->retry_after = (unsigned)((s->sync.entra_interval + 999) / 1000);
    est_refuse(job, 202, e->message);
}

static bool work(rl_http_request *req, void *arg)
{
    est_job *job = arg;
    X509_REQ *csr = NULL;
    rl_issued issued = {0};
    rl_error e = {0};
    rl_span der;
    /* Who has written one line gets one: strongSwan reads nothing else. */
    job->one_line = req->body.n > 0 && req->body.p[0] != 0x30 && !memchr(req->body.p, '\n', req->body.n);
    rl_err err = est_body_decode(req->body, req->arena, &der, &e);
    if (err == RL_OK)
        err = rl_csr_from_any(der, &csr, &e);
    bool may =
        err == RL_OK && (job->operation == EST_REENROLL ? est_may_renew(job, rl_http_client_certificate(req), csr)
                                                        : est_may_enroll(job, csr));
    if (err == RL_OK && may && (err = certify(job, csr, &issued, &e)) == RL_OK) {
        char text[2 * RL_SERIAL_MAX + 1], old[2 * RL_SERIAL_MAX + 1] = "-";
        scep_serial_text(&issued.id, text);
        if (job->renews.serial_n)
            scep_serial_text(&job->renews, old);
        log_info("est.issued", "profile", job->profile->certificate.name, "operation", operations[job->operation],
                 "serial", text, "renews", old, "repeated", issued.repeated, "caller", job->caller.id, "peer",
                 req->peer);
        job->repeated = issued.repeated;
        job->status = 200;
    } else if (err == RL_ENOTFOUND && is_own(job)) {
        wait_for_user(job, &e);
    } else if (err != RL_OK) {
        est_refuse_for(job, err, &e);
    }
    if (job->status != 200)
        log_client_warn("est.refused", "profile", job->profile ? job->profile->certificate.name : "", "operation",
                        operations[job->operation], "reason", job->why, "caller", job->caller.id, "peer", req->peer);
    rl_caller_clear(&job->caller);
    rl_issued_clear(&issued);
    X509_REQ_free(csr);
    ERR_clear_error();
    return true;
}

static void reply_text(rl_http_request *req, const est_job *job, const char *headers)
{
    rl_buf all = {0}, text = {0};
    rl_err err =
        rl_buf_printf(&all, "Content-Type: text/plain; charset=utf-8\r\nX-Request-Id: %s\r\n%s", req->txn, headers);
    if (err == RL_OK && job->retry_after)
        err = rl_buf_printf(&all, "Retry-After: %u\r\n", job->retry_after);
    if (err == RL_OK)
        err = rl_buf_printf(&text, "%s\n", job->why);
    if (err == RL_OK)
        rl_http_reply(req, job->status, rl_buf_span(&all), rl_buf_span(&text));
    else
        rl_http_error(req, 500, "out of memory");
    rl_buf_free(&all);
    rl_buf_free(&text);
}

/* RFC 9110 §11.6.1: what the profile takes. RFC 6750 §3.1: a token was given, and is not good. */
static void ask_for_credentials(rl_http_request *req, const est_job *job)
{
    char headers[160];
    const rl_profile_rules *rules = job->profile ? job->profile->certificate.rules : NULL;
    bool token = (rules ? rules->entra_tokens : job->token.p != NULL) && job->operation != EST_REENROLL;
    bool basic = !token || (rules && rules->challenge && rules->challenge[0]);
    const char *bearer = job->bad_token ? "WWW-Authenticate: Bearer realm=\"est\", error=\"invalid_token\"\r\n"
                                        : "WWW-Authenticate: Bearer realm=\"est\"\r\n";
    snprintf(headers, sizeof(headers), "%s%s", token ? bearer : "",
             basic ? "WWW-Authenticate: Basic realm=\"est\"\r\n" : "");
    reply_text(req, job, headers);
}

static est_result result_of(const est_job *job)
{
    const int status = job->status;
    return status == 200   ? job->repeated ? EST_REPEATED : EST_ISSUED
           : status == 202 ? EST_PENDING
           : status < 500  ? EST_REFUSED
                           : EST_FAILED;
}

static void done(rl_http_request *req, void *arg)
{
    est_job *job = arg;
    char headers[256];
    rl_metric_add(job->est->results[job->operation][result_of(job)], 1);
    if (job->guessed)
        rl_guess_wrong(job->est->scep->guesses, req, RL_GUESS_EST);
    if (job->status == 401) {
        ask_for_credentials(req, job);
    } else if (job->retry_after) {
        reply_text(req, job, "");
    } else if (job->status != 200) {
        rl_http_error(req, job->status, job->why);
    } else {
        if (job->operation == EST_KEYGEN)
            snprintf(headers, sizeof(headers),
                     "Content-Type: multipart/mixed; boundary=%s\r\nCache-Control: no-store\r\n", job->boundary);
        else
            snprintf(headers, sizeof(headers), "Content-Type: " CERTS_TYPE "\r\n" BASE64 "Cache-Control: no-store\r\n");
        rl_http_reply(req, 200, rl_span_str(headers), rl_buf_span(&job->body));
    }
    if (job->body.p)
        explicit_bzero(job->body.p, job->body.n);
    rl_buf_free(&job->body);
}

static void start(rl_http_request *req, rl_est *est, const scep_profile *p, est_operation operation, bool labelled)
{
    unsigned wait = rl_guess_wait(est->scep->guesses, req, RL_GUESS_EST);
    if (wait > 0) {
        rl_metric_add(est->results[operation][EST_REFUSED], 1);
        rl_guess_refuse(req, wait);
        return;
    }
    est_job *job = rl_arena_zalloc(req->arena, sizeof(*job));
    if (!job) {
        rl_http_error(req, 500, "out of memory");
        return;
    }
    *job = (est_job){.est = est, .profile = p, .operation = operation, .labelled = labelled, .status = 500};
    est_read_credentials(job, req);
    rl_err err = rl_http_work(req, est->pool, work, done, job);
    if (err == RL_OK)
        return;
    rl_metric_add(est->results[operation][EST_FAILED], 1);
    rl_http_reply(req, 503, RL_SPAN_LIT("Content-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"),
                  RL_SPAN_LIT("too many EST requests at once, try again\n"));
}

/* ---- what is told of the CA ---- */
/* RFC 7030 §4.1.3: the issuer's certificate and those above it; after a rollover what leads from the root before to
 * this one and back. */
static void ca_certificates(rl_http_request *req, const rl_est *est)
{
    rl_span certs[RL_CA_CHAIN_MAX + RL_CA_LINKS_MAX];
    rl_buf der = {0}, text = {0};
    rl_error e = {0};
    size_t n = scep_chain(est->scep, rl_ca_issuer(est->scep->ca)->id, certs);
    n += rl_ca_links(est->scep->ca, true, certs + n);
    if (scep_certs_only(certs, n, &der, &e) == RL_OK && est_body_encode(rl_buf_span(&der), false, &text) == RL_OK)
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/pkcs7-mime\r\n" BASE64), rl_buf_span(&text));
    else
        rl_http_error(req, 500, "the CA certificates cannot be encoded");
    rl_buf_free(&der);
    rl_buf_free(&text);
}

static rl_err append_attribute(int type, int value_type, const void *value, rl_buf *out)
{
    X509_ATTRIBUTE *a = X509_ATTRIBUTE_create(type, value_type, (void *)(uintptr_t)value);
    unsigned char *der = NULL;
    int n = a ? i2d_X509_ATTRIBUTE(a, &der) : -1;
    rl_err err = n > 0 ? rl_buf_append(out, der, (size_t)n) : RL_ENOMEM;
    OPENSSL_free(der);
    X509_ATTRIBUTE_free(a);
    return err;
}

/* RFC 7030 §4.5.2: the kinds of keys that the profile certifies, each with its least size or its curve. */
static rl_err key_attributes(unsigned kinds, rl_buf *out)
{
    static const struct {
        unsigned kind;
        int curve;
    } curves[] = {{RL_KEYS_P256, NID_X9_62_prime256v1}, {RL_KEYS_P384, NID_secp384r1}, {RL_KEYS_P521, NID_secp521r1}};
    if (kinds & (RL_KEYS_RSA2048 | RL_KEYS_RSA3072 | RL_KEYS_RSA4096)) {
        ASN1_INTEGER *bits = ASN1_INTEGER_new();
        rl_err err = bits && ASN1_INTEGER_set(bits, kinds & RL_KEYS_RSA2048   ? 2048
                                                    : kinds & RL_KEYS_RSA3072 ? 3072
                                                                              : 4096) == 1
                         ? append_attribute(NID_rsaEncryption, V_ASN1_INTEGER, bits, out)
                         : RL_ENOMEM;
        if (err != RL_OK)
            return err;
    }
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
        if (kinds & curves[i].kind)
            RL_TRY(append_attribute(NID_X9_62_id_ecPublicKey, V_ASN1_OBJECT, OBJ_nid2obj(curves[i].curve), out));
    return RL_OK;
}

static void csr_attributes(rl_http_request *req, const scep_profile *p)
{
    rl_buf inner = {0}, der = {0}, text = {0};
    rl_err err = key_attributes(p->certificate.rules->keys, &inner);
    if (err == RL_OK) { /* four short attributes at most: a length of one octet, or of two */
        uint8_t head[3] = {0x30, (uint8_t)inner.n, 0};
        size_t n = 2;
        if (inner.n > 127) {
            head[1] = 0x81;
            head[2] = (uint8_t)inner.n;
            n = 3;
        }
        err = rl_buf_append(&der, head, n);
    }
    if (err == RL_OK)
        err = rl_buf_append(&der, inner.p, inner.n);
    if (err == RL_OK)
        err = est_body_encode(rl_buf_span(&der), false, &text);
    if (err == RL_OK)
        rl_http_reply(req, 200, RL_SPAN_LIT("Content-Type: application/csrattrs\r\n" BASE64), rl_buf_span(&text));
    else
        rl_http_error(req, 500, "out of memory");
    rl_buf_free(&inner);
    rl_buf_free(&der);
    rl_buf_free(&text);
}

/* ---- routes ---- */
static est_operation operation_of(rl_span name)
{
    for (unsigned i = 0; i < EST_OTHER; i++)
        if (rl_span_eq(name, rl_span_str(operations[i])))
            return (est_operation)i;
    return EST_OTHER;
}

static void handle(rl_http_request *req, void *ctx)
{
    rl_est *est = ctx;
    const uint8_t *slash = req->rest.n ? memchr(req->rest.p, '/', req->rest.n) : NULL;
    rl_span label = {req->rest.p, slash ? (size_t)(slash - req->rest.p) : 0};
    rl_span name = slash ? (rl_span){slash + 1, req->rest.n - label.n - 1} : req->rest;
    const scep_profile *p = est_find_profile(est, label);
    est_operation operation = operation_of(name);
    bool post = req->method == RL_HTTP_POST, cacerts = rl_span_eq(name, RL_SPAN_LIT("cacerts"));
    if (label.n > 0 && !p)
        rl_http_error(req, 404, "there is no such profile, or it is off");
    else if (operation != EST_OTHER && !post)
        rl_http_reply(req, 405, RL_SPAN_LIT("Content-Type: text/plain; charset=utf-8\r\nAllow: POST\r\n"),
                      RL_SPAN_LIT("this operation is a POST\n"));
    else if (operation != EST_OTHER && !p && (slash || (operation != EST_REENROLL && !rl_http_bearer(req).p)))
        rl_http_error(req, 404, "the profile is off");
    else if (operation != EST_OTHER)
        start(req, est, operation == EST_REENROLL && !slash ? NULL : p, operation, slash != NULL);
    else if (!post && cacerts)
        ca_certificates(req, est);
    else if (!post && p && rl_span_eq(name, RL_SPAN_LIT("csrattrs")))
        csr_attributes(req, p);
    else
        rl_http_error(req, 404, "operations are cacerts, simpleenroll, simplereenroll, csrattrs and serverkeygen");
}

rl_err rl_est_open(rl_scep *scep, const rl_settings *s, rl_bearer *bearer, rl_est **out, rl_error *e)
{
    static const char *const results[EST_RESULTS] = {[EST_ISSUED] = "issued",
                                                     [EST_REPEATED] = "repeated",
                                                     [EST_PENDING] = "pending",
                                                     [EST_REFUSED] = "refused",
                                                     [EST_FAILED] = "failed"};
    char labels[96];
    rl_est *est = calloc(1, sizeof(*est));
    if (!est)
        return rl_fail(e, RL_ENOMEM, "est", "out of memory");
    est->scep = scep;
    est->bearer = bearer;
    for (unsigned o = 0; o < EST_OTHER; o++)
        for (unsigned r = 0; r < EST_RESULTS; r++) {
            snprintf(labels, sizeof(labels), "operation=\"%s\",result=\"%s\"", operations[o], results[r]);
            est->results[o][r] =
                rl_counter("revline_est_requests_total", labels, "EST requests by operation and result.");
        }
    rl_err err = rl_http_pool_new("est", RL_SIGNER_TOGETHER, WAITING, s->scep.concurrent_limit, &est->pool, e);
    if (err != RL_OK)
        free(est);
    else
        *out = est;
    return err;
}

void rl_est_close(rl_est *est)
{
    if (!est)
        return;
    rl_http_pool_free(est->pool);
    free(est);
}

size_t rl_est_routes(rl_est *est, rl_http_route *routes, size_t cap)
{
    if (cap == 0)
        return 0;
    routes[0] = (rl_http_route){.methods = RL_HTTP_GET | RL_HTTP_POST | RL_HTTP_TLS_ONLY,
                                .path = EST_ROOT,
                                .prefix = true,
                                .handler = handle,
                                .ctx = est,
                                .body_limit = (size_t)est->scep->settings->http.scep_body_limit};
    return 1;
}
