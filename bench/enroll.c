/* The load generator of `bench/run --scep`: clients that enroll, each over a connection of its own, with a new name and
 * transaction every time; the key is one for all, since making keys is no work of the server's. Every answer is
 * verified, and of every 64th the certificate taken out. A client's own work takes longer than the server's: with
 * --ahead it is done before and after the time that is measured. Links nothing of Revline. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum { THREADS_MAX = 64, ANSWER_MAX = 64 * 1024, NONCE = 16, OPEN_EVERY = 64 };

static struct {
    uint16_t port;
    const char *path, *recipient, *prefix;
    char challenge[257];
    unsigned connections;
    uint64_t count, ahead;
    pid_t pid;
} opt = {.path = "/static", .prefix = "bench", .connections = 8, .count = 1000};

/* An enrolment: its message, and its answer's body. */
typedef struct {
    uint64_t number;
    char cn[96];
    unsigned char nonce[NONCE];
    BIO *message;
    unsigned char *answer;
    size_t answer_n;
} enrollment;

static EVP_PKEY *key;
static X509 *self, *recipient;
/* Enrolments are made in rounds: those up to `until`. With --ahead `made` has them, made already. */
static _Atomic uint64_t next_number;
static uint64_t until;
static enrollment *made;

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "enroll: %s\n", #x);                                                                       \
            ERR_print_errors_fp(stderr);                                                                               \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- a message, RFC 8894 §3.3.1 ---- */
static X509_NAME *name_of(const char *cn)
{
    X509_NAME *name = X509_NAME_new();
    MUST(name && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
    return name;
}

static void make_client(void)
{
    X509_NAME *name = name_of("bench client");
    key = EVP_RSA_gen(2048);
    self = X509_new();
    MUST(key && self && X509_set_version(self, X509_VERSION_3) && X509_set_subject_name(self, name) &&
         X509_set_issuer_name(self, name) && ASN1_INTEGER_set(X509_get_serialNumber(self), 1) &&
         X509_set_pubkey(self, key) && X509_gmtime_adj(X509_getm_notBefore(self), -3600) &&
         X509_gmtime_adj(X509_getm_notAfter(self), 86400) && X509_sign(self, key, EVP_sha256()));
    X509_NAME_free(name);
}

static BIO *make_csr(const char *cn)
{
    X509_REQ *csr = X509_REQ_new();
    X509_NAME *name = name_of(cn);
    BIO *out = BIO_new(BIO_s_mem());
    MUST(csr && out && X509_REQ_set_subject_name(csr, name) && X509_REQ_set_pubkey(csr, key) &&
         X509_REQ_add1_attr_by_NID(csr, NID_pkcs9_challengePassword, MBSTRING_UTF8,
                                   (const unsigned char *)opt.challenge, -1) &&
         X509_REQ_sign(csr, key, EVP_sha256()) && i2d_X509_REQ_bio(out, csr));
    X509_NAME_free(name);
    X509_REQ_free(csr);
    return out;
}

static BIO *make_message(const char *cn, const unsigned char nonce[NONCE])
{
    const unsigned flags = CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP;
    BIO *csr = make_csr(cn), *envelope = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    STACK_OF(X509) *to = sk_X509_new_null();
    MUST(envelope && out && to && sk_X509_push(to, recipient));
    CMS_ContentInfo *enveloped = CMS_encrypt(to, csr, EVP_aes_256_cbc(), CMS_BINARY);
    MUST(enveloped && i2d_CMS_bio(envelope, enveloped));
    CMS_ContentInfo *message = CMS_sign(NULL, NULL, NULL, NULL, flags);
    CMS_SignerInfo *si = message ? CMS_add1_signer(message, self, key, EVP_sha256(), flags) : NULL;
    MUST(si &&
         CMS_signed_add1_attr_by_txt(si, "2.16.840.1.113733.1.9.7", V_ASN1_PRINTABLESTRING, cn, (int)strlen(cn)) &&
         CMS_signed_add1_attr_by_txt(si, "2.16.840.1.113733.1.9.2", V_ASN1_PRINTABLESTRING, "19", 2) &&
         CMS_signed_add1_attr_by_txt(si, "2.16.840.1.113733.1.9.5", V_ASN1_OCTET_STRING, nonce, NONCE) &&
         CMS_final(message, envelope, NULL, CMS_BINARY) && i2d_CMS_bio(out, message));
    CMS_ContentInfo_free(message);
    CMS_ContentInfo_free(enveloped);
    sk_X509_free(to);
    BIO_free(envelope);
    BIO_free(csr);
    return out;
}

/* ---- its answer ---- */
static bool has(CMS_SignerInfo *si, const char *oid, int tag, const void *value, size_t n)
{
    ASN1_OBJECT *o = OBJ_txt2obj(oid, 1);
    const ASN1_STRING *s = CMS_signed_get0_data_by_OBJ(si, o, -3, tag);
    ASN1_OBJECT_free(o);
    return s && (size_t)ASN1_STRING_length(s) == n && memcmp(ASN1_STRING_get0_data(s), value, n) == 0;
}

/* The envelope's first certificate is for our key and has the name. */
static bool opens(BIO *content, const char *cn)
{
    char got[128] = "";
    BIO *plain = BIO_new(BIO_s_mem());
    CMS_ContentInfo *envelope = d2i_CMS_bio(content, NULL), *certs_only = NULL;
    if (plain && envelope && CMS_decrypt(envelope, key, self, NULL, plain, CMS_BINARY) == 1)
        certs_only = d2i_CMS_bio(plain, NULL);
    STACK_OF(X509) *certs = certs_only ? CMS_get1_certs(certs_only) : NULL;
    X509 *issued = sk_X509_value(certs, 0);
    bool ok = issued && EVP_PKEY_eq(X509_get0_pubkey(issued), key) == 1 &&
              X509_NAME_get_text_by_NID(X509_get_subject_name(issued), NID_commonName, got, sizeof(got)) > 0 &&
              strcmp(got, cn) == 0;
    sk_X509_pop_free(certs, X509_free);
    CMS_ContentInfo_free(certs_only);
    CMS_ContentInfo_free(envelope);
    BIO_free(plain);
    return ok;
}

static bool is_success(const unsigned char *body, size_t n, const char *cn, const unsigned char nonce[NONCE], bool open)
{
    const unsigned char *p = body;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
    BIO *content = BIO_new(BIO_s_mem());
    STACK_OF(X509) *signer = sk_X509_new_null();
    STACK_OF(CMS_SignerInfo) *infos = cms ? CMS_get0_SignerInfos(cms) : NULL;
    CMS_SignerInfo *si = sk_CMS_SignerInfo_value(infos, 0);
    MUST(content && signer && sk_X509_push(signer, recipient));
    bool ok =
        si && p == body + n && sk_CMS_SignerInfo_num(infos) == 1 &&
        CMS_verify(cms, signer, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_NOINTERN | CMS_BINARY) == 1 &&
        has(si, "2.16.840.1.113733.1.9.3", V_ASN1_PRINTABLESTRING, "0", 1) &&
        has(si, "2.16.840.1.113733.1.9.7", V_ASN1_PRINTABLESTRING, cn, strlen(cn)) &&
        has(si, "2.16.840.1.113733.1.9.6", V_ASN1_OCTET_STRING, nonce, NONCE) && (!open || opens(content, cn));
    sk_X509_free(signer);
    BIO_free(content);
    CMS_ContentInfo_free(cms);
    ERR_clear_error();
    return ok;
}

/* ---- HTTP ---- */
static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port), .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    MUST(fd >= 0);
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
         connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

static bool send_all(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* A whole response; its body in *body. The status, 0 when the connection fails. */
static int receive(int fd, unsigned char *room, unsigned char **body, size_t *body_n)
{
    size_t n = 0, whole = 0;
    while (whole == 0 || n < whole) {
        ssize_t got = n < ANSWER_MAX - 1 ? recv(fd, room + n, ANSWER_MAX - 1 - n, 0) : -1;
        if (got <= 0)
            return 0;
        n += (size_t)got;
        room[n] = 0;
        unsigned char *end = whole ? NULL : memmem(room, n, "\r\n\r\n", 4);
        if (!end)
            continue;
        const char *length = strcasestr((char *)room, "content-length:");
        if (!length || length > (char *)end)
            return 0;
        *body = end + 4;
        *body_n = strtoul(length + 15, NULL, 10);
        whole = (size_t)(*body - room) + *body_n;
    }
    return strncmp((char *)room, "HTTP/1.1 ", 9) == 0 ? atoi((char *)room + 9) : 0;
}

static void prepare(enrollment *e, uint64_t number)
{
    *e = (enrollment){.number = number};
    snprintf(e->cn, sizeof(e->cn), "%s-%llu", opt.prefix, (unsigned long long)number);
    MUST(RAND_bytes(e->nonce, sizeof(e->nonce)) == 1);
    e->message = make_message(e->cn, e->nonce);
}

/* The answer stays in `room`. A server that is busy says so, and is asked again. */
static void ask(int fd, enrollment *e, unsigned char *room)
{
    char head[256], *message;
    long n = BIO_get_mem_data(e->message, &message);
    int head_n = snprintf(head, sizeof(head),
                          "POST %s?operation=PKIOperation HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                          "application/x-pki-message\r\nContent-Length: %ld\r\n\r\n",
                          opt.path, n);
    for (int status = 429; status == 429;) {
        MUST(send_all(fd, head, (size_t)head_n) && send_all(fd, message, (size_t)n));
        status = receive(fd, room, &e->answer, &e->answer_n);
        if (status != 200 && status != 429)
            fprintf(stderr, "enroll: HTTP %d: %.*s\n", status, (int)(e->answer_n < 200 ? e->answer_n : 200),
                    (char *)e->answer);
        MUST(status == 200 || status == 429);
    }
}

static void finish(enrollment *e)
{
    MUST(is_success(e->answer, e->answer_n, e->cn, e->nonce, e->number % OPEN_EVERY == 0));
    BIO_free(e->message);
}

static void keep_answer(enrollment *e)
{
    unsigned char *copy = malloc(e->answer_n);
    MUST(copy);
    e->answer = memcpy(copy, e->answer, e->answer_n);
}

static void *work(void *arg)
{
    histogram *h = arg;
    unsigned char *room = malloc(ANSWER_MAX);
    int fd = dial();
    MUST(room);
    for (uint64_t number; (number = atomic_fetch_add(&next_number, 1)) < until;) {
        int64_t began = now_ns();
        enrollment now, *e = made ? &made[number % opt.ahead] : &now;
        if (!made)
            prepare(e, number);
        ask(fd, e, room);
        if (made)
            keep_answer(e);
        else
            finish(e);
        histogram_add(h, (uint64_t)(now_ns() - began));
    }
    close(fd);
    free(room);
    return NULL;
}

/* ---- figures ---- */
static double cpu_seconds(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct {
    double seconds, server, own;
} used;

static void run_round(histogram *all)
{
    static histogram each[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    clockid_t server = CLOCK_PROCESS_CPUTIME_ID;
    MUST(!opt.pid || clock_getcpuclockid(opt.pid, &server) == 0);
    double server_before = cpu_seconds(server), own_before = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    int64_t began = now_ns();
    memset(each, 0, sizeof(each));
    for (unsigned i = 0; i < opt.connections; i++)
        MUST(pthread_create(&threads[i], NULL, work, &each[i]) == 0);
    for (unsigned i = 0; i < opt.connections; i++) {
        pthread_join(threads[i], NULL);
        histogram_merge(all, &each[i]);
    }
    used.seconds += (double)(now_ns() - began) / 1e9;
    used.server += cpu_seconds(server) - server_before;
    used.own += cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - own_before;
}

static int run(void)
{
    static histogram all;
    MUST(!opt.ahead || (made = calloc(opt.ahead, sizeof(*made))));
    for (uint64_t first = 0; first < opt.count; first = until) {
        until = opt.ahead && opt.count - first > opt.ahead ? first + opt.ahead : opt.count;
        for (uint64_t i = first; i < until && made; i++)
            prepare(&made[i % opt.ahead], i);
        atomic_store(&next_number, first);
        run_round(&all);
        for (uint64_t i = first; i < until && made; i++) {
            finish(&made[i % opt.ahead]);
            free(made[i % opt.ahead].answer);
        }
    }
    free(made);
    printf("{\"enrollments\": %llu, \"seconds\": %.3f, \"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"server_cpu\": "
           "%.3f, \"load_cpu\": %.3f}\n",
           (unsigned long long)all.n, used.seconds, (double)all.n / used.seconds,
           (double)histogram_quantile(&all, .5) / 1e3, (double)histogram_quantile(&all, .99) / 1e3,
           opt.pid ? used.server / used.seconds : 0, used.own / used.seconds);
    return 0;
}

/* ---- command line ---- */
static const char help[] =
    "usage: enroll --port PORT --recipient FILE --challenge-file FILE [OPTIONS]\n\n"
    "  --path PATH         of the profile (/static)\n"
    "  --recipient FILE    the CA's or its registration authority's certificate, DER\n"
    "  --connections N     clients at once, 1 to 64 (8)\n"
    "  --count N           certificates (1000)\n"
    "  --ahead N           makes N messages before it sends them, and verifies the answers when all have come; only\n"
    "                      what is between counts (0: each when it is its turn)\n"
    "  --prefix TEXT       what their names begin with; a name that was there before is a repetition (bench)\n"
    "  --pid PID           the server's process: its CPU time\n\n"
    "Prints one JSON object. Exit status: 0 when every answer was a certificate, 1 when not, 2 wrong usage.\n";

static void read_challenge(const char *path)
{
    FILE *f = fopen(path, "r");
    MUST(f && fgets(opt.challenge, sizeof(opt.challenge), f));
    opt.challenge[strcspn(opt.challenge, "\r\n")] = 0;
    fclose(f);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"port", 1, 0, 'p'},  {"path", 1, 0, 'a'},           {"recipient", 1, 0, 'r'},
                                          {"count", 1, 0, 'n'}, {"connections", 1, 0, 'c'},    {"prefix", 1, 0, 'x'},
                                          {"pid", 1, 0, 'i'},   {"challenge-file", 1, 0, 'f'}, {"ahead", 1, 0, 'b'},
                                          {0, 0, 0, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (o) {
        case 'p':
            opt.port = (uint16_t)atoi(optarg);
            break;
        case 'a':
            opt.path = optarg;
            break;
        case 'r':
            opt.recipient = optarg;
            break;
        case 'n':
            opt.count = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            opt.connections = (unsigned)atoi(optarg);
            break;
        case 'b':
            opt.ahead = strtoull(optarg, NULL, 10);
            break;
        case 'x':
            opt.prefix = optarg;
            break;
        case 'i':
            opt.pid = (pid_t)atoi(optarg);
            break;
        case 'f':
            read_challenge(optarg);
            break;
        default:
            fputs(help, stderr);
            return 2;
        }
    }
    if (optind != argc || !opt.port || !opt.recipient || !opt.challenge[0] || opt.connections < 1 ||
        opt.connections > THREADS_MAX || strlen(opt.prefix) > 48 || strlen(opt.path) > 100) {
        fputs(help, stderr);
        return 2;
    }
    BIO *file = BIO_new_file(opt.recipient, "rb");
    MUST(file && (recipient = d2i_X509_bio(file, NULL)));
    BIO_free(file);
    make_client();
    return run();
}
