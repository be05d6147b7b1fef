/* `revline serve`: starts the parts in the order they need each other, waits for a signal, stops them in
 * reverse. The main thread owns everything here. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "sync/hooks.h"
#include "sync/weigh.h"

enum { ROUTES_MAX = 128 };

rl_err rl_app_open_store(rl_app *app, const rl_settings *s, bool create, rl_error *e)
{
    struct stat st;
    app->settings = s;
    if (create && mkdir(s->data_dir, 0700) != 0 && errno != EEXIST)
        return rl_fail(e, RL_EIO, "data", "REVLINE_DATA_DIR '%s' cannot be made: %s", s->data_dir, strerror(errno));
    if (stat(s->data_dir, &st) != 0)
        return rl_fail(e, RL_ENOTFOUND, "data",
                       "there is no data folder '%s' (REVLINE_DATA_DIR): run 'revline init' or 'revline serve' first",
                       s->data_dir);
    return rl_store_open(s->data_dir, &app->store, e);
}

rl_err rl_app_open(rl_app *app, const rl_settings *s, bool create, rl_error *e)
{
    RL_TRY(rl_app_open_store(app, s, create, e));
    rl_err err = rl_ca_open(app->store, s, &app->ca, e);
    if (err == RL_ENOTFOUND && create) {
        err = rl_ca_init(app->store, s, e);
        if (err == RL_OK) {
            log_info("ca.init", "key", rl_key_type_name(s->ca.key), "subject", s->ca.subject);
            err = rl_ca_open(app->store, s, &app->ca, e);
        }
    }
    if (err == RL_OK)
        rl_ca_on_issue(app->ca, rl_weigh_new, s);
    else
        rl_app_close(app);
    return err;
}

void rl_app_close(rl_app *app)
{
    rl_ca_close(app->ca);
    if (app->store)
        rl_store_close(app->store);
    app->ca = NULL;
    app->store = NULL;
}

static rl_err start_http(rl_app *app, rl_error *e)
{
    rl_http_route routes[ROUTES_MAX];
    size_t n = rl_ocsp_routes(app->ocsp, routes, ROUTES_MAX);
    n += rl_crls_routes(app->crls, routes + n, ROUTES_MAX - n);
    n += rl_scep_routes(app->scep, routes + n, ROUTES_MAX - n);
    n += rl_est_routes(app->est, routes + n, ROUTES_MAX - n);
    n += rl_api_routes(app, routes + n, ROUTES_MAX - n);
    n += rl_hooks_routes(app->sync, routes + n, ROUTES_MAX - n);
    n += rl_web_routes(app, routes + n, ROUTES_MAX - n);
    return rl_http_server_start(app->settings, rl_app_tls_http(app), routes, n, &app->http, e);
}

/* The base URL carries the listen port; with port 0 only the bound one is worth telling. */
static void public_url(const rl_app *app, char *out, size_t cap)
{
    const char *url = app->settings->http.base_url;
    size_t n = strlen(url);
    if (n > 2 && strcmp(url + n - 2, ":0") == 0)
        snprintf(out, cap, "%.*s:%u", (int)(n - 2), url, rl_http_server_port(app->http));
    else
        snprintf(out, cap, "%s", url);
}

static void print_profile(const char *path, void *url)
{
    printf("  SCEP            %s%s\n", (const char *)url, path);
}

static void print_tls(const rl_app *app, const char *what, unsigned port)
{
    const char *host = strstr(app->settings->http.base_url, "://") + 3;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    if (port != 0)
        printf("  %-15s https://%.*s:%u\n", what, (int)n, host, port);
}

static void print_banner(const rl_app *app)
{
    const rl_settings *s = app->settings;
    char fingerprint[3 * 32], url[512];
    rl_issuer_fingerprint(rl_ca_issuer(app->ca), fingerprint);
    public_url(app, url, sizeof(url));
    printf("\nRevline is serving.\n"
           "  CA fingerprint  %s (SHA-256)\n"
           "  CA certificate  %s/ca\n"
           "  OCSP            %s/ocsp\n",
           fingerprint, url, url);
    rl_scep_each_profile(app->scep, print_profile, url);
    printf("  CRL             %s/crl\n"
           "  Probe           %s/probe\n"
           "  Metrics         %s/metrics\n",
           url, url, url);
    print_tls(app, "HTTPS", rl_http_server_https_port(app->http));
    print_tls(app, "EST, HTTPS", rl_http_server_est_port(app->http));
    if (s->generated_challenge_path)
        printf("  SCEP challenge  %s (kept in %s)\n", s->scep.profiles[RL_ENROLL_STATIC].challenge,
               s->generated_challenge_path);
    printf("\n");
    fflush(stdout);
}

static rl_err current_crl(void *ctx, rl_issuer_id issuer, rl_buf *out)
{
    return rl_crls_current(ctx, issuer, out);
}

static rl_err start_parts(rl_app *app, rl_control **control, rl_error *e)
{
    rl_store_keep(app->store, app->settings->keep.delta, app->settings->keep.audit);
    RL_TRY(rl_ocsp_open(app->store, app->ca, app->settings, &app->ocsp, e));
    RL_TRY(rl_crls_open(app->store, app->ca, app->settings, &app->crls, e));
    RL_TRY(rl_events_open(app->store, &app->events, e));
    RL_TRY(rl_guesses_new(app->settings->http.guess_limit, app->settings->http.guess_window, &app->guesses, e));
    RL_TRY(rl_scep_open(app->ca, app->store, app->guesses, app->settings, &app->scep, e));
    rl_scep_on_crl(app->scep, current_crl, app->crls);
    if (app->settings->azure.audience[0])
        RL_TRY(rl_bearer_open(app->settings, &app->bearer, e));
    RL_TRY(rl_est_open(app->scep, app->settings, app->bearer, &app->est, e));
    RL_TRY(rl_api_open(app, e));
    RL_TRY(rl_sync_start(app->store, app->settings, &app->sync, e));
    if (app->settings->scep.lookup != RL_LOOKUP_OFF)
        rl_ca_on_look(app->ca, rl_sync_look_up, app->sync);
    if (app->settings->sync.stale_policy == RL_STALE_TRY_LATER)
        rl_ocsp_limit(app->ocsp, rl_sync_told_until, app->sync);
    RL_TRY(rl_export_prepare(app->settings, e));
    RL_TRY(rl_control_start(app, control, e));
    RL_TRY(rl_app_tls_open(app, e));
    return start_http(app, e);
}

static void stop_parts(rl_app *app, rl_control *control)
{
    if (app->http)
        rl_http_server_stop(app->http, app->settings->http.stop_timeout);
    rl_app_tls_close(app);
    rl_control_stop(control);
    rl_api_close(app);
    rl_est_close(app->est);
    rl_bearer_close(app->bearer);
    if (app->scep)
        rl_scep_close(app->scep);
    rl_guesses_free(app->guesses);
    rl_events_close(app->events);
    rl_crls_close(app->crls);
    if (app->ocsp)
        rl_ocsp_close(app->ocsp);
    if (app->sync) /* behind OCSP, whose signing threads ask it how far to trust the directories */
        rl_sync_stop(app->sync);
    rl_app_close(app);
}

/* Keys live in this process: no core file, no reading of its memory by others of the same user. */
static void protect_memory(void)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
        log_warn("serve.core_dumps", "error", strerror(errno));
}

static int64_t store_figure(void *ctx)
{
    rl_store_figures f;
    rl_store_figures_read(((rl_app *)ctx)->store, &f);
    return (int64_t)f.certs_estimate;
}

static int64_t ca_figure(void *ctx)
{
    return rl_web_ca_end(ctx);
}

/* The signal that ends the server. */
static int wait_for_end(rl_app *app, const sigset_t *signals)
{
    const struct timespec second = {.tv_sec = 1};
    for (;;) {
        int which = app->tls ? sigtimedwait(signals, NULL, &second) : sigwaitinfo(signals, NULL);
        if (which == SIGTERM || which == SIGINT)
            return which;
        if (which == SIGHUP)
            rl_app_tls_reload(app);
        else
            rl_app_tls_tick(app);
    }
}

int rl_serve(const rl_settings *s, bool banner)
{
    rl_app app = {0};
    rl_control *control = NULL;
    rl_error e = {0};
    sigset_t signals;
    /* Blocked before any thread exists, so that only wait_for_end takes them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_DFL); /* nohup has it ignored, and then it would not be taken */
    protect_memory();
    app.started = rl_mono_ms();
    if (s->ignored)
        log_warn("settings.ignored", "names", s->ignored);
    rl_err err = rl_app_open(&app, s, true, &e);
    if (err == RL_OK)
        err = start_parts(&app, &control, &e);
    if (err != RL_OK) {
        log_error("serve.failed", "part", e.domain, "error", e.message);
        if (app.store)
            stop_parts(&app, control);
        return 1;
    }
    rl_gauge_fn("revline_store_certificates", "", "Certificates in the database (RocksDB's estimate).", store_figure,
                &app);
    rl_gauge_fn("revline_ca_not_after_seconds", "", "End of the CA certificate that issues now, Unix time.", ca_figure,
                &app);
    log_info("serve.ready", "http_port", rl_http_server_port(app.http), "https_port",
             rl_http_server_https_port(app.http), "est_port", rl_http_server_est_port(app.http), "workers",
             s->http.workers, "version", REVLINE_VERSION);
    if (banner)
        print_banner(&app);
    int which = wait_for_end(&app, &signals);
    log_info("serve.stopping", "signal", which == SIGTERM ? "SIGTERM" : "SIGINT");
    rl_gauge_fn_drop(&app);
    stop_parts(&app, control);
    log_info("serve.stopped");
    return 0;
}
