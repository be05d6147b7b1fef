/* The command line's shape: commands and options as rows, and one call of a command. Private to the app. */
#ifndef RL_APP_CLI_H
#define RL_APP_CLI_H

#include <stdio.h>

#include "app/app.h"

typedef struct cli_option {
    const char *name;  /* without the dashes */
    const char *value; /* what its value is called in the help; NULL = a switch; ends with "..." = may be repeated */
    const char *help;
} cli_option;

enum { CLI_OPERANDS_MAX = 1000 };

typedef struct cli_call {
    const char *command;
    const char *operands[CLI_OPERANDS_MAX];
    size_t operands_n;
    json_t *options; /* name → string, true, or a list of strings */
    bool json;
    rl_settings *settings;
} cli_call;

typedef struct cli_command {
    const char *name, *operands;
    size_t operands_min, operands_max;
    const char *help;
    const cli_option *options;  /* ends with a row without a name, whose help goes below the others' */
    int (*run)(cli_call *call); /* the exit code */
} cli_command;

/* Loads the settings, for the commands that need any, and runs. */
int cli_run(const cli_command *c, cli_call *call);

/* ---- cli.c: for the commands in files of their own ---- */
/* Says what went wrong; the exit code. */
int cli_fail(const cli_call *call, const rl_error *e);
/* Says what is wrong with how the command was called, "what: arg" or, without arg, "what"; the exit code. */
int cli_usage(const cli_call *call, const char *what, const char *arg);
int cli_print_json(const json_t *value);
/* Takes the name of a key type; false when it is none, and NULL leaves *type as it is. */
bool cli_take_key_type(const char *text, rl_key_type *type);
/* Asks the running server; when there is none, opens the database here. */
rl_err cli_ask(cli_call *call, json_t *request, json_t **reply, rl_error *e);
/* {"command": …} with the call's options in it. The caller decrefs. */
json_t *cli_request(const cli_call *call);
/* Likewise, and prints the reply, as JSON or by `print`; takes over `request`. The exit code. */
int cli_ask_and(cli_call *call, json_t *request, int (*print)(const cli_call *call, const json_t *reply));
/* Reasons against a certificate as a list for people. */
enum { CLI_WHY_TEXT = 160 };
void cli_why_text(const json_t *names, char out[CLI_WHY_TEXT]);
/* A file, or standard input for "-"; for messages, its path goes along. RL_ERANGE: larger than `max`. */
rl_err cli_open(const char *path, FILE **out, rl_error *e);
rl_err cli_read(FILE *f, const char *path, size_t max, rl_buf *out, rl_error *e);
void cli_close(FILE *f);
rl_err cli_read_file(const char *path, size_t max, rl_buf *out, rl_error *e);

/* ---- cli_import.c ---- */
/* The certificates of a file, PEM (any number), DER (one) or PKCS #7, as base64 of DER. RL_EBADMSG when it holds none,
 * or one that cannot be read. */
rl_err cli_read_certs(const char *path, json_t **out, rl_error *e);

/* cli_export.c: an export becomes the data folder's database; what it tells, in *reply. `path` is for messages. */
rl_err cli_take_over(const cli_call *call, FILE *f, const char *path, json_t **reply, rl_error *e);
void cli_print_taken(const json_t *reply);

/* cli_csr.c: a signed request in PEM (malloced). `sans`: a string, a list of strings, or NULL. */
rl_err cli_make_csr(const rl_signer *key, const char *cn, const json_t *sans, char **pem, rl_error *e);

int cli_serve(cli_call *call);
int cli_init(cli_call *call);
int cli_config(cli_call *call);
int cli_status(cli_call *call);
int cli_issue(cli_call *call);
int cli_sign(cli_call *call);
int cli_change(cli_call *call);
int cli_show(cli_call *call);
int cli_list(cli_call *call);
int cli_search(cli_call *call);
int cli_sync(cli_call *call);
int cli_ocsp(cli_call *call);
int cli_import(cli_call *call);
int cli_export(cli_call *call);
int cli_backup(cli_call *call);
int cli_restore(cli_call *call);
int cli_issuers(cli_call *call);
int cli_crl(cli_call *call);
int cli_events(cli_call *call);

/* cli_guards.c: `revline sync hold`; `revline sync release ID`, `drop ID`. They take over `request`. */
int cli_sync_hold(cli_call *call, json_t *request);
int cli_sync_decide(cli_call *call, json_t *request);

/* cli_issuers.c: `revline ocsp csr` and `revline ocsp install`. */
bool cli_ocsp_manages(const cli_call *call); /* it is one of them: settings and database are needed */
int cli_ocsp_manage(cli_call *call);

#endif
