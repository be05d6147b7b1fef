/* The command line's shape: commands and options as rows, and one call of a command. Private to the app. */
#ifndef RL_APP_CLI_H
#define RL_APP_CLI_H

#include "app/app.h"

typedef struct cli_option {
    const char *name;  /* without the dashes */
    const char *value; /* what its value is called in the help; NULL = a switch */
    const char *help;
} cli_option;

typedef struct cli_call {
    const char *command;
    const char *operands[1];
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
int cli_sync(cli_call *call);
int cli_ocsp(cli_call *call);

#endif
