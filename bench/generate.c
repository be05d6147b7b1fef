/* Fills a data folder with any number of certificates, as the program would have stored them, and writes the files of
 * OCSP requests that the load generator reads, for some of them.
 *
 * One certificate is issued for real; the others are its record and its DER with serial numbers of their own (so their
 * signatures do not verify, which nobody here looks at), stored in transactions of thousands. Serial numbers are
 * random: the requests ask for the first ones, which lie anywhere in the database. */
#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "ca/ca.h"
#include "device.h"

enum { BATCH = 4096, NONCE_OCTETS = 32, REPORT_EVERY = 1000000 };

static struct {
    char *data, *out;
    uint64_t certificates, requests;
    bool bound;
} opt = {.data = "data", .out = ".", .certificates = 1000, .requests = 100000};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "generate: %s: %s\n", what, why);
    exit(1);
}

static void check(rl_err err, const char *what, const rl_error *e)
{
    if (err != RL_OK)
        die(what, e && e->message[0] ? e->message : rl_err_name(err));
}

/* ---- certificates ---- */
/* What every certificate is made of. */
struct pattern {
    rl_cert_id id;
    rl_cert_record record;
    rl_buf der;
    uint8_t *serial_in_der;
};

struct batch {
    struct pattern *pattern;
    uint64_t first; /* the number of the first certificate */
    size_t n;
    rl_serial serials[BATCH];
};

static X509_REQ *make_csr(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *csr = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    if (!key || !csr || !name ||
        !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"bench device", -1, -1, 0) ||
        !X509_REQ_set_subject_name(csr, name) || !X509_REQ_set_pubkey(csr, key) ||
        !X509_REQ_sign(csr, key, EVP_sha256()))
        die("certificate request", "cannot be made");
    X509_NAME_free(name);
    EVP_PKEY_free(key);
    return csr;
}

static void make_pattern(rl_store *store, rl_ca *ca, struct pattern *p)
{
    rl_error e = {0};
    rl_issued issued;
    rl_issue_request request = {.profile = RL_PROFILE_CLIENT, .csr = make_csr(), .requester = "bench"};
    check(rl_ca_issue(ca, &request, &issued, &e), "first certificate", &e);
    check(rl_store_cert(store, &issued.id, &p->record), "first certificate", NULL);
    check(rl_store_der(store, &issued.id, &p->der), "first certificate", NULL);
    p->id = issued.id;
    p->serial_in_der = memmem(p->der.p, p->der.n, issued.id.serial, issued.id.serial_n);
    if (!p->serial_in_der)
        die("first certificate", "its serial number is not in it");
    rl_issued_clear(&issued);
    X509_REQ_free(request.csr);
}

/* To the device with the certificate's number, which no directory has told of yet. */
static void bind_to_device(rl_cert_record *record, uint64_t number)
{
    rl_binding *b = &record->bindings[0];
    b->source = RL_SOURCE_ENTRA_DEVICE_NAME;
    device_guid(number, DEVICE_ID, b->id);
    b->id[DEVICE_GUID] = 0;
    record->bindings_n = 1;
}

/* As issuing does: the certificate and an entry for people. */
static rl_err add_batch(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct batch *b = arg;
    struct pattern *p = b->pattern;
    char text[2 * RL_SERIAL_MAX + 1];
    for (size_t i = 0; i < b->n; i++) {
        rl_cert_id id = p->id;
        memcpy(id.serial, b->serials[i].b, id.serial_n);
        memcpy(p->serial_in_der, b->serials[i].b, id.serial_n);
        rl_serial_text(&b->serials[i], text);
        if (opt.bound)
            bind_to_device(&p->record, b->first + i);
        rl_err err = rl_txn_add_cert(t, &id, &p->record, rl_buf_span(&p->der), "bench");
        if (err == RL_OK)
            err = rl_txn_audit(t, "bench", "cert.issue", text);
        if (err != RL_OK)
            return rl_fail(e, err, "bench", "a certificate cannot be stored: %s", rl_err_name(err));
    }
    return RL_OK;
}

/* ---- requests (RFC 6960 §4.1.1) ---- */
/* One DER element around what is in `content`; at most 255 octets, which the largest request here is far below. */
static rl_span wrap(rl_span content, uint8_t tag, uint8_t *memory)
{
    size_t head = content.n < 128 ? 2 : 3;
    if (content.n > 255)
        die("request", "too long");
    memmove(memory + head, content.p, content.n);
    memory[0] = tag;
    memory[1] = head == 2 ? (uint8_t)content.n : 0x81;
    if (head == 3)
        memory[2] = (uint8_t)content.n;
    return rl_span_of(memory, head + content.n);
}

static rl_span join(rl_span a, rl_span b, uint8_t *memory)
{
    memmove(memory, a.p, a.n);
    memcpy(memory + a.n, b.p, b.n);
    return rl_span_of(memory, a.n + b.n);
}

/* CertID by SHA-1, the form that clients send. */
static rl_span cert_id(const rl_issuer *issuer, const rl_serial *serial, uint8_t *memory)
{
    static const uint8_t sha1[] = {0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00};
    uint8_t part[258]; /* as much as wrap makes */
    rl_span whole = join(rl_span_of(sha1, sizeof(sha1)), (rl_span){0}, memory);
    whole = join(whole, wrap(rl_span_of(issuer->name_hash[RL_SHA1], 20), 0x04, part), memory);
    whole = join(whole, wrap(rl_span_of(issuer->key_hash[RL_SHA1], 20), 0x04, part), memory);
    whole = join(whole, wrap(rl_span_of(serial->b, serial->n), 0x02, part), memory); /* first octet below 0x80 */
    return wrap(whole, 0x30, memory);
}

static rl_span ocsp_request(rl_span id, bool with_nonce, uint8_t *memory)
{
    static const uint8_t oid[] = {0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02};
    uint8_t random[NONCE_OCTETS], list[512], extension[300];
    rl_span requests = wrap(wrap(id, 0x30, list), 0x30, list);
    if (with_nonce) {
        if (RAND_bytes(random, sizeof(random)) != 1)
            die("nonce", "no random octets");
        rl_span value = wrap(wrap(rl_span_of(random, sizeof(random)), 0x04, extension), 0x04, extension);
        memmove(extension + sizeof(oid), value.p, value.n);
        memcpy(extension, oid, sizeof(oid));
        value = wrap(rl_span_of(extension, sizeof(oid) + value.n), 0x30, extension);
        requests = join(requests, wrap(wrap(value, 0x30, extension), 0xa2, extension), list);
    }
    return wrap(wrap(requests, 0x30, memory), 0x30, memory);
}

static void put_record(FILE *file, const rl_buf *http, rl_span expect)
{
    const uint32_t sizes[] = {__builtin_bswap32((uint32_t)http->n), __builtin_bswap32((uint32_t)expect.n)};
    fwrite(sizes, sizeof(sizes), 1, file);
    fwrite(http->p, http->n, 1, file);
    fwrite(expect.p, expect.n, 1, file);
}

static void put_post(FILE *file, rl_span body, rl_span expect)
{
    rl_buf http = {0};
    if (rl_buf_printf(&http,
                      "POST /ocsp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/ocsp-request\r\n"
                      "Content-Length: %zu\r\n\r\n",
                      body.n) != RL_OK ||
        rl_buf_append(&http, body.p, body.n) != RL_OK)
        die("request", "out of memory");
    put_record(file, &http, expect);
    rl_buf_free(&http);
}

/* Base64 with everything percent-encoded that may be (RFC 6960 A.1). */
static void put_get(FILE *file, rl_span body, rl_span expect)
{
    uint8_t text[512];
    rl_buf http = {0};
    int n = EVP_EncodeBlock(text, body.p, (int)body.n);
    rl_err err = rl_buf_printf(&http, "GET /ocsp/");
    for (int i = 0; err == RL_OK && i < n; i++)
        err = strchr("+/=", text[i]) ? rl_buf_printf(&http, "%%%02X", text[i]) : rl_buf_append(&http, &text[i], 1);
    if (err != RL_OK || rl_buf_printf(&http, " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") != RL_OK)
        die("request", "out of memory");
    put_record(file, &http, expect);
    rl_buf_free(&http);
}

/* ---- the files ---- */
struct files {
    FILE *post, *get, *nonce, *index;
    uint64_t left;
};

static FILE *create(const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", opt.out, name);
    FILE *file = fopen(path, "wb");
    if (!file)
        die(path, "cannot be written");
    return file;
}

static void finish(FILE *file, const char *name)
{
    if (ferror(file) | fclose(file))
        die(name, "cannot be written");
}

/* The certificate's line in the index of `openssl ca`, which `openssl ocsp` answers from. */
static void put_index(FILE *file, const rl_serial *serial, int64_t not_after)
{
    char text[2 * RL_SERIAL_MAX + 1], date[32];
    const time_t t = (time_t)not_after;
    struct tm tm;
    rl_serial_text(serial, text);
    strftime(date, sizeof(date), "%y%m%d%H%M%SZ", gmtime_r(&t, &tm));
    fprintf(file, "V\t%s\t\t%s\tunknown\t/CN=%s\n", date, text, text);
}

static void write_requests(struct files *f, const rl_issuer *issuer, const struct batch *b)
{
    static const uint8_t good[] = {0x80, 0x00}; /* certStatus [0] IMPLICIT NULL */
    uint8_t id_memory[512], expect_memory[512], plain_memory[512], nonce_memory[512];
    for (size_t i = 0; i < b->n && f->left > 0; i++, f->left--) {
        rl_span id = cert_id(issuer, &b->serials[i], id_memory);
        rl_span expect = join(id, rl_span_of(good, sizeof(good)), expect_memory);
        rl_span plain = ocsp_request(id, false, plain_memory);
        put_post(f->post, plain, expect);
        put_get(f->get, plain, expect);
        put_post(f->nonce, ocsp_request(id, true, nonce_memory), expect);
        put_index(f->index, &b->serials[i], b->pattern->record.not_after);
    }
}

static void write_ca(const rl_issuer *issuer)
{
    FILE *file = create("ca.pem");
    if (PEM_write_X509(file, issuer->cert) != 1)
        die("ca.pem", "cannot be written");
    finish(file, "ca.pem");
}

static void fill(rl_store *store, rl_ca *ca)
{
    static struct batch b;
    struct pattern p = {0};
    rl_error e = {0};
    struct files f = {create("post.req"), create("get.req"), create("nonce.req"), create("index.txt"), opt.requests};
    uint64_t began = rl_mono_ns();
    make_pattern(store, ca, &p);
    b.pattern = &p;
    for (uint64_t done = 0; done < opt.certificates; done += b.n) {
        b.first = done;
        b.n = opt.certificates - done < BATCH ? (size_t)(opt.certificates - done) : BATCH;
        for (size_t i = 0; i < b.n; i++)
            check(rl_serial_random(&b.serials[i]), "serial number", NULL);
        check(rl_store_run(store, add_batch, &b, &e), "certificates", &e);
        write_requests(&f, rl_ca_issuer(ca), &b);
        if (done / REPORT_EVERY != (done + b.n) / REPORT_EVERY)
            fprintf(stderr, "generate: %lu certificates in %.0f s\n", done + b.n, (double)(rl_mono_ns() - began) / 1e9);
    }
    finish(f.post, "post.req");
    finish(f.get, "get.req");
    finish(f.nonce, "nonce.req");
    finish(f.index, "index.txt");
    rl_cert_clear(&p.record);
    rl_buf_free(&p.der);
}

/* ---- command line ---- */
static const char help[] =
    "usage: generate --certificates N [OPTIONS]\n\n"
    "  --data DIR          Revline's data folder; made, with an EC P-256 CA, when there is none (data)\n"
    "  --certificates N    to be added (1000)\n"
    "  --requests N        for how many of them requests are written, at most (100000)\n"
    "  --bound             each to a device of its own, those that bench_upstream knows\n"
    "  --out DIR           where post.req, get.req, nonce.req, ca.pem and index.txt go (.)\n\n"
    "A certificate takes about 600 octets of disk. No server may have the folder open.\n";

static uint64_t number(const char *text)
{
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    if (*end || end == text || v == 0)
        die(text, "is no number above zero");
    return v;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"certificates", required_argument, NULL, 'c'},
                                            {"requests", required_argument, NULL, 'r'},
                                            {"out", required_argument, NULL, 'o'},
                                            {"bound", no_argument, NULL, 'b'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'd')
            opt.data = optarg;
        else if (o == 'o')
            opt.out = optarg;
        else if (o == 'c')
            opt.certificates = number(optarg);
        else if (o == 'r')
            opt.requests = number(optarg);
        else if (o == 'b')
            opt.bound = true;
        else {
            fputs(help, o == 'h' ? stdout : stderr);
            exit(o == 'h' ? 0 : 2);
        }
    }
}

int main(int argc, char **argv)
{
    rl_settings settings;
    rl_store *store;
    rl_ca *ca;
    rl_error e = {0};
    rl_buf errors = {0}, data_dir = {0};
    parse(argc, argv);
    if (rl_buf_printf(&data_dir, "REVLINE_DATA_DIR=%s", opt.data) != RL_OK || rl_buf_append(&data_dir, "", 1) != RL_OK)
        die("settings", "out of memory");
    char *const environment[] = {(char *)data_dir.p, "REVLINE_CA_KEY=ec-p256", NULL};
    if (rl_settings_load(&settings, environment, &errors) != RL_OK)
        die("settings", "--data is no folder's name");
    rl_log_configure(RL_LOG_WARN, RL_LOG_LOGFMT);
    mkdir(opt.data, 0700);
    check(rl_store_open(opt.data, &store, &e), opt.data, &e);
    rl_err err = rl_ca_open(store, &settings, &ca, &e);
    if (err == RL_ENOTFOUND) {
        check(rl_ca_init(store, &settings, &e), opt.data, &e);
        err = rl_ca_open(store, &settings, &ca, &e);
    }
    check(err, opt.data, &e);
    write_ca(rl_ca_issuer(ca));
    fill(store, ca);
    rl_ca_close(ca);
    rl_store_close(store);
    rl_settings_free(&settings);
    rl_buf_free(&data_dir);
    rl_buf_free(&errors);
    return 0;
}
