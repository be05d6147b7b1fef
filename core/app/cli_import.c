/* `revline import`: looks at what a file holds and sends it to the server, or into the database. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cli.h"
#include "base/json.h"

enum { FILE_MAX = 10 * 1024 * 1024 };

/* An export begins like no other file: with JSON. */
static bool is_export(FILE *f)
{
    int c = getc(f);
    ungetc(c, f);
    return c == '{';
}

/* ---- certificates ---- */
static rl_err push_cert(const X509 *cert, json_t *out, rl_error *e)
{
    uint8_t *der = NULL;
    size_t n = 0;
    RL_TRY(rl_x509_to_der(cert, &der, &n, e));
    size_t cap = 4 * (n / 3 + 1) + 1;
    char *text = malloc(cap);
    rl_err err = text ? rl_base64_encode(rl_span_of(der, n), false, text, cap) : RL_ENOMEM;
    if (err == RL_OK && json_array_append_new(out, json_string(text)) != 0)
        err = RL_ENOMEM;
    free(text);
    free(der);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "out of memory");
}

/* Other PEM blocks are passed over. */
static rl_err push_pem(rl_span text, json_t *out, rl_error *e)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    X509 *cert;
    rl_err err = bio ? RL_OK : rl_fail(e, RL_ENOMEM, "import", "out of memory");
    /* With an (empty) pass phrase at hand OpenSSL asks nobody at a terminal for one. */
    while (err == RL_OK && (cert = PEM_read_bio_X509(bio, NULL, NULL, (void *)"")) != NULL) {
        err = push_cert(cert, out, e);
        X509_free(cert);
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (err == RL_OK && !at_end)
        err = rl_fail(e, RL_EBADMSG, "import", "certificate %zu cannot be read", json_array_size(out) + 1);
    ERR_clear_error();
    BIO_free(bio);
    return err;
}

static rl_err push_der(rl_span der, json_t *out, rl_error *e)
{
    X509 *cert = NULL;
    RL_TRY(rl_x509_from_der(der, &cert, e));
    rl_err err = push_cert(cert, out, e);
    X509_free(cert);
    return err;
}

/* A bundle of certificates (PKCS #7, RFC 2315), as Windows hands out a chain, in DER or PEM, where it may be called a
 * certificate; NULL: it is none. */
static PKCS7 *read_bundle(rl_span text)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    PKCS7 *bundle = !bio || text.n == 0 ? NULL
                    : text.p[0] == 0x30 ? d2i_PKCS7_bio(bio, NULL)
                                        : PEM_read_bio_PKCS7(bio, NULL, NULL, (void *)"");
    if (bundle && !(PKCS7_type_is_signed(bundle) && bundle->d.sign)) {
        PKCS7_free(bundle);
        bundle = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    return bundle;
}

static rl_err push_bundle(const PKCS7 *bundle, json_t *out, rl_error *e)
{
    const STACK_OF(X509) *certs = bundle->d.sign->cert;
    for (int i = 0; i < sk_X509_num(certs); i++)
        RL_TRY(push_cert(sk_X509_value(certs, i), out, e));
    return RL_OK;
}

/* ---- what the server reads itself ---- */
static rl_err set_data(json_t *request, const char *command, rl_span data, rl_error *e)
{
    size_t cap = 4 * (data.n / 3 + 1) + 1;
    char *text = malloc(cap);
    rl_err err = text ? rl_base64_encode(data, false, text, cap) : RL_ENOMEM;
    if (err == RL_OK && (json_object_set_new(request, "command", json_string(command)) != 0 ||
                         json_object_set_new(request, "data", json_string(text)) != 0))
        err = RL_ENOMEM;
    free(text);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "out of memory");
}

/* ---- by content ---- */
static bool has(rl_span text, const char *word)
{
    return text.n && memmem(text.p, text.n, word, strlen(word)) != NULL;
}

/* In DER both are a SEQUENCE; what is no certificate is left to the reader of lists. */
static bool is_list(rl_span text)
{
    X509 *cert = NULL;
    if (text.n == 0 || text.p[0] != 0x30)
        return has(text, "-----BEGIN X509 CRL-----") && !has(text, "-----BEGIN CERTIFICATE-----");
    bool is_cert = rl_x509_from_der(text, &cert, NULL) == RL_OK;
    X509_free(cert);
    return !is_cert;
}

static bool is_index(rl_span text)
{
    return text.n > 2 && strchr("VRE", text.p[0]) && text.p[1] == '\t';
}

/* `bundle` is NULL when there is none. */
static rl_err read_certificates(rl_span text, const PKCS7 *bundle, json_t *request, rl_error *e)
{
    json_t *certs = json_array();
    json_object_set_new(request, "certificates", certs);
    if (bundle)
        RL_TRY(push_bundle(bundle, certs, e));
    else if (text.n && text.p[0] == 0x30) /* a DER SEQUENCE */
        RL_TRY(push_der(text, certs, e));
    else if (text.n > 0) /* for OpenSSL no octets are no memory */
        RL_TRY(push_pem(text, certs, e));
    return json_array_size(certs) ? RL_OK : rl_fail(e, RL_EBADMSG, "import", "no certificate in it, PEM or DER");
}

/* What the file holds, as an import request. */
static rl_err read_content(rl_span text, json_t *request, rl_error *e)
{
    if (is_index(text) && !json_object_get(request, "issuer"))
        return rl_fail(e, RL_EINVAL, "import", "an index.txt does not say whose it is: --issuer does");
    if (is_index(text))
        return set_data(request, "import-index", text, e);
    PKCS7 *bundle = read_bundle(text);
    rl_err err = !bundle && is_list(text) ? set_data(request, "import-crl", text, e)
                                          : read_certificates(text, bundle, request, e);
    PKCS7_free(bundle);
    return err;
}

static rl_err read_request(FILE *f, const char *path, json_t *request, rl_error *e)
{
    rl_buf text = {0};
    rl_error why = {0};
    rl_err err = cli_read(f, path, FILE_MAX, &text, e);
    if (err == RL_OK && (err = read_content(rl_buf_span(&text), request, &why)) != RL_OK)
        rl_fail(e, err, "import", "'%s': %s", path, why.message);
    rl_buf_free(&text);
    return err;
}

rl_err cli_read_certs(const char *path, json_t **out, rl_error *e)
{
    json_t *request = json_object();
    FILE *f;
    rl_err err = cli_open(path, &f, e);
    if (err == RL_OK) {
        err = read_request(f, path, request, e);
        cli_close(f);
    }
    if (err == RL_OK && !json_object_get(request, "certificates"))
        err = rl_fail(e, RL_EBADMSG, "import", "'%s': no certificate in it, PEM or DER", path);
    *out = err == RL_OK ? json_incref(json_object_get(request, "certificates")) : NULL;
    json_decref(request);
    return err;
}

/* ---- the command ---- */
static void print_item(const json_t *c)
{
    bool news = rl_json_bool(c, "newIssuer", false) || rl_json_bool(c, "newCertificate", false);
    const char *what = rl_json_bool(c, "own", false) ? "our own CA" : json_object_get(c, "issuer") ? "issuer" : "";
    printf("  %-7s  ", news ? "new" : "known");
    if (what[0])
        printf("%s %lld", what, (long long)rl_json_int(c, "issuer", 0));
    if (rl_json_str(c, "serial"))
        printf("%s%s of issuer %lld", what[0] ? ", " : "", rl_json_str(c, "serial"),
               (long long)rl_json_int(c, "issuedBy", 0));
    printf(": %s\n", rl_json_str(c, "subject"));
}

static void print_list(const json_t *reply)
{
    printf("%s: %s revocation list %s of issuer %lld, next update %s: %lld entries, %lld certificates changed\n",
           rl_json_str(reply, "file"), rl_json_bool(reply, "known", false) ? "known" : "new",
           rl_json_str(reply, "number"), (long long)rl_json_int(reply, "issuer", 0), rl_json_str(reply, "nextUpdate"),
           (long long)rl_json_int(reply, "entries", 0), (long long)rl_json_int(reply, "changed", 0));
}

static void print_file(const json_t *reply)
{
    size_t i;
    const json_t *c;
    if (json_object_get(reply, "withoutKey")) {
        cli_print_taken(reply);
        return;
    }
    if (rl_json_str(reply, "number")) {
        print_list(reply);
        return;
    }
    if (json_object_get(reply, "added")) {
        printf("%s: %lld certificates of issuer %lld, %lld new, %lld changed\n", rl_json_str(reply, "file"),
               (long long)rl_json_int(reply, "certificates", 0), (long long)rl_json_int(reply, "issuer", 0),
               (long long)rl_json_int(reply, "added", 0), (long long)rl_json_int(reply, "changed", 0));
        return;
    }
    printf("%s: %lld new issuers, %lld new certificates\n", rl_json_str(reply, "file"),
           (long long)rl_json_int(reply, "newIssuers", 0), (long long)rl_json_int(reply, "newCertificates", 0));
    json_array_foreach(json_object_get(reply, "items"), i, c) print_item(c);
}

/* One file is one request, and one transaction. */
static rl_err import_content(cli_call *call, FILE *f, const char *path, json_t **reply, rl_error *e)
{
    rl_error why = {0};
    json_t *request = json_pack("{s:s}", "command", "import");
    if (rl_json_str(call->options, "issuer"))
        json_object_set(request, "issuer", json_object_get(call->options, "issuer"));
    rl_err err = read_request(f, path, request, e);
    if (err == RL_OK && (err = cli_ask(call, request, reply, &why)) != RL_OK)
        rl_fail(e, err, "import", "'%s': %s", path, why.message);
    if (err == RL_OK)
        json_object_set_new(*reply, "file", json_string(path));
    json_decref(request);
    return err;
}

static rl_err import_file(cli_call *call, const char *path, json_t **reply, rl_error *e)
{
    FILE *f;
    RL_TRY(cli_open(path, &f, e));
    rl_err err = is_export(f) ? cli_take_over(call, f, path, reply, e) : import_content(call, f, path, reply, e);
    cli_close(f);
    return err;
}

/* The files before one that fails stay imported, and the person has seen them listed. */
int cli_import(cli_call *call)
{
    json_t *files = json_array();
    rl_error e = {0};
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < call->operands_n; i++) {
        json_t *reply = NULL;
        err = import_file(call, call->operands[i], &reply, &e);
        if (err == RL_OK && !call->json)
            print_file(reply);
        if (reply)
            json_array_append_new(files, reply);
    }
    int code = err != RL_OK ? cli_fail(call, &e) : 0;
    if (err == RL_OK && call->json)
        cli_print_json(files);
    json_decref(files);
    return code;
}
