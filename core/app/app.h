/* The program's parts, wired together. Owned by serve.c while serving, by cli.c when a command opens the
 * database itself; whatever is not running is NULL. */
#ifndef RL_APP_APP_H
#define RL_APP_APP_H

#include <jansson.h>
#include <stdio.h>

#include "app/events.h"
#include "ca/ca.h"
#include "http/bearer.h"
#include "http/guesses.h"
#include "http/server.h"
#include "ocsp/crl_publish.h"
#include "ocsp/ocsp.h"
#include "scep/est.h"
#include "scep/scep.h"
#include "sync/sync.h"

typedef struct rl_app {
    const rl_settings *settings;
    rl_store *store;
    rl_ca *ca;
    rl_ocsp *ocsp;
    rl_crls *crls;
    rl_events *events;
    rl_guesses *guesses; /* NULL: nobody is slowed */
    rl_scep *scep;
    rl_bearer *bearer; /* NULL: no token of Entra ID is accepted */
    rl_est *est;
    rl_sync *sync;
    rl_http_pool *api_pool; /* NULL: the API is off */
    rl_http_server *http;
    struct rl_app_tls *tls; /* NULL without a TLS listener */
    uint64_t started;       /* by rl_mono_ms; 0: this process does not serve */
} rl_app;

/* ---- commands.c: what the control socket and the command line can ask for ----
 * `request` is {"command": "revoke", …}; on success `reply` is a new object. Any thread; may block on the store. */
rl_err rl_command_run(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

void rl_app_serial_text(const rl_cert_id *id, char out[2 * RL_SERIAL_MAX + 1]);

/* ---- commands_status.c ---- */
rl_err rl_command_status(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- commands_subca.c ---- */
/* What the request says about a subordinate CA, when one is wanted, else RL_EINVAL if it says anything. Borrows the
 * request's texts. To be cleared after an error, too. */
rl_err rl_command_read_sub_ca(const json_t *request, bool wanted, rl_sub_ca *out, rl_error *e);
void rl_command_clear_sub_ca(rl_sub_ca *sub);

/* ---- commands_issuers.c, commands_import.c: those about issuers, and what comes from other CAs ---- */
rl_err rl_command_issuers(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_import(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_import_crl(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_import_index(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
/* A certificate that is base64 of DER. RL_EBADMSG. */
rl_err rl_command_read_cert(const json_t *value, X509 **out, rl_error *e);
rl_err rl_command_ocsp_csr(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_ocsp_install(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- commands_sync.c: the sources' state, and rounds asked for ---- */
/* Source → its state, as /probe, `revline status` and `revline sync` show it. The caller decrefs. */
json_t *rl_app_sync_json(rl_app *app, bool *degraded);
rl_err rl_command_sync(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_sync_status(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- commands_guards.c: mass changes that wait ---- */
rl_err rl_command_sync_hold(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_sync_release(rl_app *app, const json_t *request, json_t **reply, rl_error *e);
rl_err rl_command_sync_drop(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- commands_export.c: copies of the database for `revline export` ---- */
enum { RL_EXPORT_PATH = 4096 };
typedef struct rl_export_places {
    char folder[RL_EXPORT_PATH], copy[RL_EXPORT_PATH]; /* `data_dir`/export, and db in it */
} rl_export_places;
rl_err rl_export_paths(const rl_settings *s, rl_export_places *out, rl_error *e);
/* A file descriptor that holds the folder's lock until it is closed; -1 when another process has it, or there is no
 * such folder. */
int rl_export_lock(const rl_export_places *at);
/* Makes the folder, and deletes a copy that a killed client has left. */
rl_err rl_export_prepare(const rl_settings *s, rl_error *e);
rl_err rl_command_export(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- api.c: the REST API, off without REVLINE_API_TOKEN ---- */
rl_err rl_api_open(rl_app *app, rl_error *e);
void rl_api_close(rl_app *app); /* after the HTTP server has stopped */
size_t rl_api_routes(rl_app *app, rl_http_route *routes, size_t cap);
rl_err rl_command_challenge(rl_app *app, const json_t *request, json_t **reply, rl_error *e);

/* ---- control.c: `data_dir`/control.sock, one JSON object a line each way ---- */
typedef struct rl_control rl_control;
/* Listens (mode 0600) and answers on a thread of its own. RL_EBUSY when another server answers there already. */
rl_err rl_control_start(rl_app *app, rl_control **out, rl_error *e);
void rl_control_stop(rl_control *c);
/* Asks a running server. RL_ENOTFOUND in domain "control" when none listens; the server's own error, domain "server",
 * otherwise. */
rl_err rl_control_ask(const char *data_dir, const json_t *request, json_t **reply, rl_error *e);
/* Follows a running server's events: copies its lines to `to` as they come. Returns when the server ends (RL_ECANCELED)
 * or with the errors of rl_control_ask; RL_EIO when `to` takes no more. */
rl_err rl_control_follow(const char *data_dir, FILE *to, rl_error *e);

/* ---- web.c: /ca, /probe…, /metrics ---- */
size_t rl_web_routes(rl_app *app, rl_http_route *routes, size_t cap);
/* The state of every part, as /probe and `revline status` show it. The caller decrefs. `http` is the status to answer
 * with. */
json_t *rl_web_health(rl_app *app, int *http);
int64_t rl_web_ca_end(const rl_app *app); /* when the CA that issues now expires; Unix seconds */

/* ---- tls.c: the server certificate. Main thread ---- */
/* Loads it, or lets the own CA issue it; nothing to do when the settings have no TLS listener. RL_EIO, RL_EBADMSG and
 * RL_EINVAL name the file, and what rl_ca_issue can say. */
rl_err rl_app_tls_open(rl_app *app, rl_error *e);
rl_http_tls *rl_app_tls_http(const rl_app *app); /* borrowed; NULL without a TLS listener */
/* Reads the files again. What cannot be used is logged, and the present certificate stays. */
void rl_app_tls_reload(rl_app *app);
/* Once a second: renews the own certificate in time, takes over changed files. */
void rl_app_tls_tick(rl_app *app);
void rl_app_tls_close(rl_app *app); /* after the HTTP server */

/* ---- serve.c ---- */
/* Opens store and CA as `revline serve` does, making the CA on first start when `create`. */
rl_err rl_app_open(rl_app *app, const rl_settings *s, bool create, rl_error *e);
/* The store alone; with `create` the data folder is made. rl_app_close, too. */
rl_err rl_app_open_store(rl_app *app, const rl_settings *s, bool create, rl_error *e);
void rl_app_close(rl_app *app);
/* Serves until SIGTERM or SIGINT; `banner` prints the URLs on stdout. The process's exit code. */
int rl_serve(const rl_settings *s, bool banner);

#endif
