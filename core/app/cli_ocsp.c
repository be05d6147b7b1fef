/* `revline ocsp`: asks a responder about a certificate, or reads a stored answer, explains it and judges it.
 *
 * A client of whichever responder, so that it can be compared with others': OpenSSL makes the request and reads the
 * answer, not the responder's own code. It needs neither settings nor a data folder. */
#include "app/cli_ocsp.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "http/client.h"

enum {
    ANSWER_MAX = 256 * 1024,
    CERTS_MAX = 1024 * 1024,
    NONCE_SIZE = 32, /* RFC 9654 §2.1 */
    GET_MAX = 255,   /* octets of an encoded request that RFC 5019 §5 lets a client send by GET */
    TIMEOUT_MS = 10 * 1000,
    TIMEOUT_MAX_MS = 10 * 60 * 1000,
    CLOCK_SKEW_S = 5, /* below it is no skew, but the time the answer took */
    EXIT_REVOKED = 3,
    EXIT_UNKNOWN = 4
};

/* ---- wrong usage ---- */
static bool given(const cli_call *call, const char *option)
{
    return json_object_get(call->options, option) != NULL;
}

static bool is_url(const char *operand)
{
    return strncasecmp(operand, "http://", 7) == 0 || strncasecmp(operand, "https://", 8) == 0;
}

static int check_usage(const cli_call *call)
{
    static const char *const asking[] = {"hash", "nonce", "no-nonce", "get", "timeout"};
    const char *operand = call->operands_n ? call->operands[0] : NULL;
    if (call->operands_n > 1)
        return cli_usage(call, "too many operands", call->operands[1]);
    if (given(call, "nonce") && given(call, "no-nonce"))
        return cli_usage(call, "--nonce and --no-nonce exclude each other", NULL);
    if (given(call, "trust") && !given(call, "issuer"))
        return cli_usage(call, "--trust needs --issuer", NULL);
    if (operand && !is_url(operand)) {
        if (strstr(operand, "://"))
            return cli_usage(call, "a responder's URL begins with http:// or https://", operand);
        for (size_t i = 0; i < sizeof(asking) / sizeof(asking[0]); i++)
            if (given(call, asking[i]))
                return cli_usage(call, "this option is for asking a responder, not for a stored answer", asking[i]);
    } else if (!given(call, "cert") || !given(call, "issuer")) {
        return cli_usage(call, "asking a responder needs --cert and --issuer", NULL);
    }
    return 0;
}

/* ---- files ---- */
/* One in DER or any number in PEM; other PEM blocks are passed over. */
static bool parse_certs(rl_span text, STACK_OF(X509) * into)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    X509 *cert = NULL;
    bool ok = bio != NULL, der = text.n && text.p[0] == 0x30;
    /* With an (empty) pass phrase at hand OpenSSL asks nobody at a terminal for one. */
    while (ok && (cert = der ? d2i_X509_bio(bio, NULL) : PEM_read_bio_X509(bio, NULL, NULL, (void *)"")) != NULL) {
        ok = sk_X509_push(into, cert) > 0;
        if (!ok)
            X509_free(cert);
        if (der)
            break;
    }
    BIO_free(bio);
    ERR_clear_error();
    return ok && sk_X509_num(into) > 0;
}

/* The option's file. NULL and RL_OK when the option is not given. */
static rl_err read_certs(const cli_call *call, const char *option, STACK_OF(X509) * *out, rl_error *e)
{
    const char *path = rl_json_str(call->options, option);
    rl_buf text = {0};
    if (!path)
        return RL_OK;
    rl_err err = cli_read_file(path, CERTS_MAX, &text, e);
    if (err == RL_OK && !(*out = sk_X509_new_null()))
        err = rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
    else if (err == RL_OK && !parse_certs(rl_buf_span(&text), *out))
        err = rl_fail(e, RL_EBADMSG, "ocsp", "--%s: '%s' holds no certificate, neither PEM nor DER", option, path);
    rl_buf_free(&text);
    return err;
}

static rl_err read_cert(const cli_call *call, const char *option, X509 **out, rl_error *e)
{
    STACK_OF(X509) *certs = NULL;
    rl_err err = read_certs(call, option, &certs, e);
    if (err == RL_OK && certs)
        *out = sk_X509_shift(certs);
    sk_X509_pop_free(certs, X509_free);
    return err;
}

/* Of a chain, in whichever order and with the certificate itself or not, the one that issued it; else the first. */
static X509 *issuer_among(STACK_OF(X509) * certs, X509 *cert)
{
    for (int i = 0; cert && i < sk_X509_num(certs); i++)
        if (cli_ocsp_is_issued_by(cert, sk_X509_value(certs, i)))
            return sk_X509_value(certs, i);
    return sk_X509_value(certs, 0);
}

/* The issuer's file is read once: a pipe gives what it has once. */
static rl_err read_issuer(const cli_call *call, ocsp_question *q, rl_error *e)
{
    RL_TRY(read_certs(call, "issuer", &q->trust, e));
    q->issuer = q->trust ? issuer_among(q->trust, q->cert) : NULL;
    if (q->issuer)
        X509_up_ref(q->issuer);
    if (!given(call, "trust"))
        return RL_OK;
    sk_X509_pop_free(q->trust, X509_free);
    q->trust = NULL;
    return read_certs(call, "trust", &q->trust, e);
}

static rl_err read_question(const cli_call *call, ocsp_question *q, rl_error *e)
{
    RL_TRY(read_cert(call, "cert", &q->cert, e));
    RL_TRY(read_issuer(call, q, e));
    if (q->cert && q->issuer && !cli_ocsp_is_issued_by(q->cert, q->issuer))
        return rl_fail(e, RL_EINVAL, "ocsp", "the certificate in '%s' was not issued by the one in '%s'",
                       rl_json_str(call->options, "cert"), rl_json_str(call->options, "issuer"));
    return RL_OK;
}

static void free_question(ocsp_question *q)
{
    OCSP_REQUEST_free(q->request);
    sk_X509_pop_free(q->trust, X509_free);
    X509_free(q->issuer);
    X509_free(q->cert);
}

/* ---- the request ---- */
static rl_err make_request(const cli_call *call, ocsp_question *q, rl_error *e)
{
    uint8_t nonce[NONCE_SIZE];
    const char *hash = rl_json_str(call->options, "hash");
    const EVP_MD *md = EVP_get_digestbyname(hash ? hash : "sha1");
    OCSP_CERTID *id = md ? OCSP_cert_to_id(md, q->cert, q->issuer) : NULL;
    q->request = OCSP_REQUEST_new();
    if (!id || !q->request || !OCSP_request_add0_id(q->request, id)) {
        OCSP_CERTID_free(id);
        return rl_fail_openssl(e, "ocsp", "the request cannot be made");
    }
    if (given(call, "no-nonce"))
        return RL_OK;
    arc4random_buf(nonce, sizeof(nonce));
    if (OCSP_request_add1_nonce(q->request, nonce, NONCE_SIZE) != 1)
        return rl_fail_openssl(e, "ocsp", "the nonce cannot be added");
    return RL_OK;
}

/* The operand, or the first http URL for OCSP in the certificate's Authority Information Access (RFC 5280 §4.2.2.1). */
static rl_err find_url(const cli_call *call, const ocsp_question *q, char **url, rl_error *e)
{
    const char *found = call->operands_n ? call->operands[0] : NULL;
    STACK_OF(OPENSSL_STRING) *urls = found ? NULL : X509_get1_ocsp(q->cert);
    for (int i = 0; !found && i < sk_OPENSSL_STRING_num(urls); i++)
        if (is_url(sk_OPENSSL_STRING_value(urls, i)))
            found = sk_OPENSSL_STRING_value(urls, i);
    *url = found ? strdup(found) : NULL;
    X509_email_free(urls);
    if (!found)
        return rl_fail(e, RL_ENOTFOUND, "ocsp", "the certificate names no responder (AIA extension): give its URL");
    return *url ? RL_OK : rl_fail(e, RL_ENOMEM, "ocsp", "out of memory");
}

/* RFC 6960 A.1: {url}/{percent-encoding of the base64 of the DER}. Ends with NUL. */
static rl_err get_url(ocsp_report *r, const char *url, rl_span der, rl_buf *out)
{
    size_t cap = 4 * (der.n / 3 + 1) + 1, n = strlen(url), encoded_from;
    char *text = malloc(cap);
    rl_err err = text ? rl_base64_encode(der, false, text, cap) : RL_ENOMEM;
    if (err == RL_OK)
        err = rl_buf_printf(out, "%s%s", url, n && url[n - 1] == '/' ? "" : "/");
    encoded_from = out->n;
    for (const char *c = text; err == RL_OK && *c; c++)
        err = rl_buf_printf(out, strchr("+/=", *c) ? "%%%02X" : "%c", (unsigned)*c);
    if (err == RL_OK && out->n - encoded_from > GET_MAX)
        cli_ocsp_note(r, "the GET request has %zu octets: above %d a client should use POST (RFC 5019 §5)",
                      out->n - encoded_from, GET_MAX);
    if (err == RL_OK)
        err = rl_buf_append(out, "", 1);
    free(text);
    return err;
}

/* ---- asking ---- */
struct exchange {
    rl_http_client *client;
    ocsp_report *report;
    rl_buf *answer;
    rl_err err; /* of keeping the answer */
};

static void put_header(json_t *http, const rl_http_response *r, const char *member, const char *name)
{
    const char *value = rl_http_response_header(r, name);
    if (value)
        json_object_set_new(http, member, cli_ocsp_text(value));
}

/* RFC 9111 §5.2.2.1; -1 when there is none. */
static int64_t max_age(const char *cache_control)
{
    for (const char *p = cache_control; p && (p = strcasestr(p, "max-age=")) != NULL; p += 8)
        if (p == cache_control || strchr(" ,\t", p[-1])) {
            char *end;
            long long s = strtoll(p + 8, &end, 10);
            return end != p + 8 && s >= 0 && s < INT32_MAX ? s : -1;
        }
    return -1;
}

/* Date is when the answer was made for whoever asked first; Age is how long a cache has had it since then. */
static void compare_clocks(ocsp_report *report, json_t *http, const rl_http_response *r)
{
    char span[OCSP_SPAN_TEXT];
    const char *age = rl_http_response_header(r, "Age");
    long long held = age ? strtoll(age, NULL, 10) : 0;
    if (r->date == 0 || held < 0 || held > INT32_MAX)
        return;
    int64_t skew = rl_wall_s() - (r->date + held);
    json_object_set_new(http, "clockSkewSeconds", json_integer(skew));
    cli_ocsp_span_text(skew < 0 ? -skew : skew, span);
    if (skew > CLOCK_SKEW_S || skew < -CLOCK_SKEW_S)
        cli_ocsp_note(report, "this machine's clock is %s %s the responder's (HTTP Date)", span,
                      skew < 0 ? "behind" : "ahead of");
}

static void explain_http(ocsp_report *report, const rl_http_response *r)
{
    json_t *http = json_pack("{s:I}", "status", (json_int_t)r->status);
    const char *type = rl_http_response_header(r, "Content-Type");
    bool as_ocsp = type && strncasecmp(type, "application/ocsp-response", 25) == 0;
    int64_t age = max_age(rl_http_response_header(r, "Cache-Control"));
    json_object_set_new(report->json, "http", http);
    put_header(http, r, "contentType", "Content-Type");
    put_header(http, r, "cacheControl", "Cache-Control");
    put_header(http, r, "etag", "ETag");
    put_header(http, r, "lastModified", "Last-Modified");
    put_header(http, r, "expires", "Expires");
    put_header(http, r, "age", "Age");
    put_header(http, r, "date", "Date");
    if (age >= 0)
        json_object_set_new(http, "maxAgeSeconds", json_integer(age));
    compare_clocks(report, http, r);
    const char *location = r->status / 100 == 3 ? rl_http_response_header(r, "Location") : NULL;
    if (location)
        cli_ocsp_note(report, "redirected to %s: clients of OCSP seldom follow", location);
    if (r->status != 200)
        cli_ocsp_problem(report, RL_EIO, "the responder answered with HTTP status %ld", r->status);
    else if (!as_ocsp)
        cli_ocsp_note(report, "Content-Type is not application/ocsp-response (RFC 6960 A.2)");
}

static void take_answer(const rl_http_response *r, void *arg)
{
    struct exchange *x = arg;
    if (r->err != RL_OK)
        cli_ocsp_problem(x->report, r->err, "the responder could not be asked: %s", r->message);
    else
        explain_http(x->report, r);
    if (r->err == RL_OK && r->status == 200)
        x->err = rl_buf_append(x->answer, r->body.p, r->body.n);
    rl_http_client_close(x->client, NULL, NULL); /* the loop ends with it */
}

/* One call on a loop of its own. */
static rl_err exchange(ocsp_report *report, const rl_http_call_options *o, rl_buf *answer, rl_error *e)
{
    uv_loop_t loop;
    struct exchange x = {.report = report, .answer = answer};
    if (uv_loop_init(&loop) != 0)
        return rl_fail(e, RL_EIO, "ocsp", "no event loop can be made");
    rl_err err = rl_http_client_new(&loop, &x.client, e);
    if (err == RL_OK && (err = rl_http_call_start(x.client, o, take_answer, &x, NULL, e)) != RL_OK)
        rl_http_client_close(x.client, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return err != RL_OK ? err : x.err;
}

static rl_err send_request(const cli_call *call, ocsp_report *r, const char *url, rl_span der, rl_duration timeout,
                           rl_buf *answer, rl_error *e)
{
    const char *const post_headers[] = {"Content-Type: application/ocsp-request", "Accept: application/ocsp-response",
                                        NULL};
    rl_buf with_request = {0};
    bool get = given(call, "get");
    rl_http_call_options o = {.method = get ? "GET" : "POST",
                              .url = url,
                              .headers = get ? post_headers + 1 : post_headers,
                              .body = get ? rl_span_of(NULL, 0) : der,
                              .body_limit = ANSWER_MAX,
                              .timeout = timeout,
                              .connect_timeout = timeout};
    json_object_set_new(r->json, "url", cli_ocsp_text(url));
    json_object_set_new(r->json, "method", json_string(o.method));
    json_object_set_new(r->json, "requestOctets", json_integer((json_int_t)der.n));
    rl_err err = get ? get_url(r, url, der, &with_request) : RL_OK;
    if (get && !given(call, "no-nonce"))
        cli_ocsp_note(r, "no cache can answer a GET that has a nonce: --no-nonce asks as clients behind caches do");
    if (err == RL_OK) {
        o.url = get ? (const char *)with_request.p : url;
        err = exchange(r, &o, answer, e);
    }
    rl_buf_free(&with_request);
    return err;
}

static rl_err ask(const cli_call *call, ocsp_report *r, ocsp_question *q, rl_duration timeout, rl_buf *answer,
                  rl_error *e)
{
    char *url = NULL;
    unsigned char *der = NULL;
    rl_err err = find_url(call, q, &url, e);
    if (err == RL_OK)
        err = make_request(call, q, e);
    int n = err == RL_OK ? i2d_OCSP_REQUEST(q->request, &der) : 0;
    if (err == RL_OK && n <= 0)
        err = rl_fail_openssl(e, "ocsp", "the request cannot be encoded");
    if (err == RL_OK)
        err = send_request(call, r, url, rl_span_of(der, (size_t)n), timeout, answer, e);
    OPENSSL_free(der);
    free(url);
    return err;
}

/* ---- the verdict ---- */
/* The worst of what was asked for; what the answer says of other certificates does not count. */
static int worst_status(const json_t *report)
{
    size_t i;
    const json_t *c;
    int worst = 0;
    json_array_foreach(json_object_get(report, "certificates"), i, c)
    {
        const char *status = rl_json_bool(c, "asked", false) ? rl_json_str(c, "status") : NULL;
        if (status && strcmp(status, "revoked") == 0)
            worst = EXIT_REVOKED;
        else if (status && strcmp(status, "unknown") == 0 && worst == 0)
            worst = EXIT_UNKNOWN;
    }
    return worst;
}

/* An answer that is not to be believed says nothing about any certificate. */
static void withhold(json_t *report)
{
    static const char *const members[] = {"reason", "revokedAt", "revokedAtFromNowSeconds"};
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(report, "certificates"), i, c)
    {
        json_object_set_new(c, "status", json_null());
        for (size_t m = 0; m < sizeof(members) / sizeof(members[0]); m++)
            json_object_del(c, members[m]);
    }
}

static int judge(ocsp_report *r)
{
    int code = r->error.code == RL_OK ? worst_status(r->json) : EXIT_FAILURE;
    const char *verdict = code == 0              ? "good"
                          : code == EXIT_REVOKED ? "revoked"
                          : code == EXIT_FAILURE ? "error"
                                                 : "unknown";
    if (r->error.code != RL_OK) {
        withhold(r->json);
    } else if (json_array_size(json_object_get(r->json, "notVerified")) > 0) {
        rl_fail(&r->error, RL_EDENIED, "ocsp", "the answer is explained, but not verified: give --issuer and --cert");
        verdict = "not verified";
        code = EXIT_FAILURE;
    }
    json_object_set_new(r->json, "verdict", json_string(verdict));
    if (code == EXIT_FAILURE) {
        json_object_set_new(r->json, "error", json_string(rl_err_name(r->error.code)));
        json_object_set_new(r->json, "message", json_string(r->error.message));
    }
    return code;
}

static int finish(const cli_call *call, ocsp_report *r)
{
    int code = judge(r);
    if (call->json) {
        json_dumpf(r->json, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        cli_ocsp_print(r);
    }
    if (code == EXIT_FAILURE)
        fprintf(stderr, "revline ocsp: %s\n", r->error.message);
    json_decref(r->json);
    return code;
}

/* Everything that --help promises of the words after `ocsp`; 2 when one is wrong. */
static int check_call(const cli_call *call, rl_duration *timeout)
{
    static const char *const hashes[] = {"sha1", "sha224", "sha256", "sha384", "sha512"};
    const char *hash = rl_json_str(call->options, "hash"), *time = rl_json_str(call->options, "timeout");
    bool known = hash == NULL;
    int wrong = check_usage(call);
    for (size_t i = 0; !known && i < sizeof(hashes) / sizeof(hashes[0]); i++)
        known = strcmp(hash, hashes[i]) == 0;
    if (wrong)
        return wrong;
    if (!known)
        return cli_usage(call, "--hash is sha1, sha224, sha256, sha384 or sha512", hash);
    if (time && (rl_parse_duration(rl_span_str(time), timeout) != RL_OK || *timeout < 1 || *timeout > TIMEOUT_MAX_MS))
        return cli_usage(call, "--timeout is a time such as 5s, from 1ms to 10m", time);
    return 0;
}

int cli_ocsp(cli_call *call)
{
    const char *file = call->operands_n && !is_url(call->operands[0]) ? call->operands[0] : NULL;
    ocsp_question q = {0};
    rl_duration timeout = TIMEOUT_MS;
    rl_buf answer = {0};
    rl_error e = {0};
    if (cli_ocsp_manages(call))
        return cli_ocsp_manage(call);
    int wrong = check_call(call, &timeout);
    if (wrong)
        return wrong;
    ocsp_report r = {.json = json_pack("{s:[],s:[],s:[]}", "problems", "notVerified", "notes")};
    if (file)
        json_object_set_new(r.json, "file", cli_ocsp_text(file));
    rl_err err = read_question(call, &q, &e);
    if (err == RL_OK) {
        err = file ? cli_read_file(file, ANSWER_MAX, &answer, &e) : ask(call, &r, &q, timeout, &answer, &e);
        if (err != RL_OK && file)
            cli_ocsp_note(&r, "taken for a file, since a responder's URL begins with http:// or https://");
    }
    if (err != RL_OK)
        cli_ocsp_problem(&r, err, "%s", e.message[0] ? e.message : rl_err_name(err));
    else if (r.error.code == RL_OK)
        cli_ocsp_explain(&r, &q, rl_buf_span(&answer));
    rl_buf_free(&answer);
    free_question(&q);
    return finish(call, &r);
}
