/* The load generator: keep-alive connections that ask at random from a file of requests, check every answer, and
 * measure. The workers (worker.c) ask; the main thread reads the command line and the file, waits, reads the
 * server's CPU time when the measured window opens and closes, and prints. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

struct options {
    const char *requests;
    double seconds, warmup;
    bool json;
    pid_t pid;
};

static struct options opt = {.seconds = 3, .warmup = 0.5};
static struct plan plan = {
    .host = "127.0.0.1", .connections = 64, .pipeline = 1, .threads = 1, .seed = 1, .answer_of = -1};
static const char *const fault_names[FAULTS] = {"status", "body", "http", "closed", "lost", "connect"};

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

void die(const char *what, const char *why)
{
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

/* ---- the requests ---- */
static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void load_requests(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        die(path, strerror(errno));
    size_t n = (size_t)ftell(f), at = 0, room = 0;
    uint8_t *all = plan.file = malloc(n + 1);
    rewind(f);
    if (!all || fread(all, 1, n, f) != n)
        die(path, "cannot be read");
    fclose(f);
    while (at < n) {
        struct request r = {.n = n - at >= 8 ? big_endian(all + at) : 0};
        if (r.n == 0 || r.n > REQUEST_MAX || n - at - 8 < r.n)
            die(path, "is no requests file");
        r.expect_n = big_endian(all + at + 4);
        if (n - at - 8 - r.n < r.expect_n)
            die(path, "is no requests file");
        r.octets = all + at + 8;
        r.expect = r.octets + r.n;
        at += 8 + r.n + r.expect_n;
        if (plan.requests_n == room) {
            room = room ? 2 * room : 1024;
            if (!(plan.requests = realloc(plan.requests, room * sizeof(*plan.requests))))
                die(path, "out of memory");
        }
        plan.requests[plan.requests_n++] = r;
    }
    if (plan.requests_n == 0 || plan.answer_of >= (long)plan.requests_n)
        die(path, "holds too few requests");
}

/* ---- figures ---- */
struct window {
    double seconds, server_cpu, own_cpu; /* CPU: share of one core in the window */
    long server_rss_kib;
};

static double cpu_seconds(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static long rss_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static struct window watch_window(void)
{
    struct window f = {.seconds = opt.seconds};
    clockid_t server = CLOCK_PROCESS_CPUTIME_ID;
    if (opt.pid && clock_getcpuclockid(opt.pid, &server) != 0)
        die("--pid", "no such process");
    sleep_until(plan.window_opens);
    double server_before = cpu_seconds(server), own_before = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep_until(plan.window_closes);
    f.server_cpu = opt.pid ? (cpu_seconds(server) - server_before) / f.seconds : 0;
    f.own_cpu = (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - own_before) / f.seconds;
    f.server_rss_kib = opt.pid ? rss_kib(opt.pid) : 0;
    return f;
}

static uint64_t report(const struct figures *all, const struct window *f)
{
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}};
    const char *key = opt.json ? "\"" : "", *sep = opt.json ? ", " : "\n", *is = opt.json ? "\": " : " ";
    uint64_t errors = 0;
    printf("%s%sanswers%s%lu%s%sseconds%s%.3f%s%srate%s%.0f%s%soctets%s%lu%s", opt.json ? "{" : "", key, is,
           all->answers, sep, key, is, f->seconds, sep, key, is, (double)all->answers / f->seconds, sep, key, is,
           all->octets, sep);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        printf("%s%s_us%s%.1f%s", key, quantiles[i].name, is,
               (double)histogram_quantile(&all->latency, quantiles[i].q) / 1e3, sep);
    printf("%smax_us%s%.1f%s", key, is, (double)all->latency.max / 1e3, sep);
    for (size_t i = 0; i < FAULTS; i++) {
        errors += all->faults[i];
        printf("%serrors_%s%s%lu%s", key, fault_names[i], is, all->faults[i], sep);
    }
    printf("%serrors%s%lu%s%sreconnects%s%lu%s", key, is, errors, sep, key, is, all->reconnects, sep);
    printf("%sserver_cpu%s%.3f%s%sload_cpu%s%.3f%s%sserver_rss_kib%s%ld%s\n", key, is, f->server_cpu, sep, key, is,
           f->own_cpu, sep, key, is, f->server_rss_kib, opt.json ? "}" : "");
    return errors;
}

static int run(void)
{
    static struct figures all;
    struct worker *workers[THREADS_MAX];
    struct window f = {0};
    int64_t begins = now_ns();
    plan.window_opens = begins + (int64_t)(opt.warmup * 1e9);
    plan.window_closes = plan.window_opens + (int64_t)(opt.seconds * 1e9);
    for (unsigned i = 0; i < plan.threads; i++)
        workers[i] = worker_start(&plan, i);
    if (!plan.once)
        f = watch_window();
    for (unsigned i = 0; i < plan.threads; i++)
        worker_join(workers[i], &all);
    if (plan.once)
        f.seconds = (double)(now_ns() - begins) / 1e9;
    return report(&all, &f) == 0 && all.answers > 0 ? 0 : 1;
}

/* ---- command line ---- */
static const char help[] =
    "usage: load --port PORT --requests FILE [OPTIONS]\n\n"
    "  --host ADDRESS      IPv4 address (127.0.0.1)\n"
    "  --connections N     keep-alive connections (64)\n"
    "  --pipeline N        requests sent in one write, 1 to 64 (1)\n"
    "  --threads N         workers that share the connections (1)\n"
    "  --seconds S         measured time (3)\n"
    "  --warmup S          time before it that is not counted (0.5)\n"
    "  --pause MS          time between a connection's answer and its next request, for a low load (0)\n"
    "  --seed N            of the random draws (1)\n"
    "  --tls               over TLS, whatever the server's certificate\n"
    "  --once              every request of the file once, in order, instead of measuring for a time\n"
    "  --answer-of N       the server answers the file's request N (from 0) whatever is asked: floor, nginx\n"
    "  --pid PID           the server's process: its CPU time and resident memory\n"
    "  --json              figures as one JSON object\n\n"
    "Exit status: 0 when every answer was right, 1 when not, 2 wrong usage.\n";

static unsigned number(const char *text, unsigned min, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end || end == text || n < min || n > max) {
        fprintf(stderr, "load: '%s' is not a number of %u to %u\n", text, min, max);
        exit(2);
    }
    return (unsigned)n;
}

static void parse(int argc, char **argv)
{
    static const struct option names[] = {{"host", 1, 0, 'h'},
                                          {"port", 1, 0, 'p'},
                                          {"requests", 1, 0, 'r'},
                                          {"connections", 1, 0, 'c'},
                                          {"pipeline", 1, 0, 'l'},
                                          {"threads", 1, 0, 't'},
                                          {"seconds", 1, 0, 's'},
                                          {"warmup", 1, 0, 'w'},
                                          {"seed", 1, 0, 'x'},
                                          {"pause", 1, 0, 'u'},
                                          {"tls", 0, 0, 'e'},
                                          {"once", 0, 0, 'o'},
                                          {"answer-of", 1, 0, 'a'},
                                          {"pid", 1, 0, 'i'},
                                          {"json", 0, 0, 'j'},
                                          {"help", 0, 0, '?'},
                                          {0, 0, 0, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (o) {
        case 'h':
            plan.host = optarg;
            break;
        case 'p':
            plan.port = (uint16_t)number(optarg, 1, 65535);
            break;
        case 'r':
            opt.requests = optarg;
            break;
        case 'c':
            plan.connections = number(optarg, 1, CONNECTIONS_MAX);
            break;
        case 'l':
            plan.pipeline = number(optarg, 1, PIPELINE_MAX);
            break;
        case 't':
            plan.threads = number(optarg, 1, THREADS_MAX);
            break;
        case 's':
            opt.seconds = strtod(optarg, NULL);
            break;
        case 'w':
            opt.warmup = strtod(optarg, NULL);
            break;
        case 'x':
            plan.seed = strtoull(optarg, NULL, 10);
            break;
        case 'u':
            plan.pause = number(optarg, 0, 60000) * (int64_t)1000000;
            break;
        case 'e':
            if (!(plan.tls = SSL_CTX_new(TLS_client_method())))
                die("--tls", "cannot be set up");
            break;
        case 'o':
            plan.once = true;
            break;
        case 'a':
            plan.answer_of = (long)number(optarg, 0, 0x7fffffff);
            break;
        case 'i':
            opt.pid = (pid_t)number(optarg, 1, 0x7fffffff);
            break;
        case 'j':
            opt.json = true;
            break;
        default:
            fputs(help, stderr);
            exit(2);
        }
    }
    struct in_addr any;
    if (optind != argc || !plan.port || !opt.requests || inet_pton(AF_INET, plan.host, &any) != 1 || opt.seconds <= 0 ||
        opt.warmup < 0 || plan.threads > plan.connections) {
        fputs(help, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    load_requests(opt.requests);
    int code = run();
    SSL_CTX_free(plan.tls);
    free(plan.requests);
    free(plan.file);
    return code;
}
