/* `revline init`: the CA's beginning, as a root or below another CA, and its next key. */
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cli.h"
#include "base/json.h"

static const char *option(const cli_call *call, const char *name)
{
    return rl_json_str(call->options, name);
}

static bool is_given(const cli_call *call, const char *name)
{
    return json_object_get(call->options, name) != NULL;
}

/* ---- what there is then ---- */
static int print_ca(const cli_call *call, const json_t *reply)
{
    const char *subject = rl_json_str(reply, "subject"), *issuer = rl_json_str(reply, "issuer");
    (void)call;
    printf("subject      %s\n", subject);
    if (strcmp(subject, issuer) != 0)
        printf("issuer       %s\n", issuer);
    printf("fingerprint  %s (SHA-256)\n%s", rl_json_str(reply, "fingerprint"), rl_json_str(reply, "certificate"));
    return 0;
}

/* Makes the root when `create` and there is no CA. */
static int open_and_show(cli_call *call, bool create)
{
    rl_app app = {0};
    rl_error e = {0};
    json_t *reply = NULL;
    if (rl_app_open(&app, call->settings, create, &e) != RL_OK)
        return cli_fail(call, &e);
    json_t *request = json_pack("{s:s}", "command", "ca");
    rl_err err = rl_command_run(&app, request, &reply, &e);
    rl_app_close(&app);
    int code = err != RL_OK ? cli_fail(call, &e) : call->json ? cli_print_json(reply) : print_ca(call, reply);
    json_decref(reply);
    json_decref(request);
    return code;
}

static int fail(const cli_call *call, rl_error *e)
{
    if (e->code == RL_EBUSY)
        rl_fail(e, RL_EBUSY, "init", "a server is running on %s, with a CA: stop it before the CA gets a new key",
                call->settings->data_dir);
    return cli_fail(call, e);
}

/* ---- an intermediate CA ---- */
static int ask(cli_call *call, rl_key_type key)
{
    const rl_ca_ask what = {.subject = option(call, "subject"), .key = key, .roll_over = is_given(call, "rollover")};
    rl_app app = {0};
    rl_error e = {0};
    char *pem = NULL;
    rl_err err = rl_app_open_store(&app, call->settings, true, &e);
    if (err == RL_OK) {
        err = rl_ca_ask_for(app.store, call->settings, &what, &pem, &e);
        rl_app_close(&app);
    }
    if (err != RL_OK)
        return fail(call, &e);
    json_t *reply = json_pack("{s:s}", "csr", pem);
    if (call->json)
        cli_print_json(reply);
    else
        printf("%s", pem);
    json_decref(reply);
    free(pem);
    return 0;
}

static rl_err take_certs(rl_app *app, const json_t *list, rl_error *e)
{
    size_t n = json_array_size(list);
    X509 **certs = calloc(n, sizeof(*certs));
    rl_err err = certs ? RL_OK : rl_fail(e, RL_ENOMEM, "init", "out of memory");
    for (size_t i = 0; err == RL_OK && i < n; i++)
        err = rl_command_read_cert(json_array_get(list, i), &certs[i], e);
    if (err == RL_OK)
        err = rl_ca_take_chain(app->store, app->settings, certs, n, e);
    for (size_t i = 0; certs && i < n; i++)
        X509_free(certs[i]);
    free(certs);
    return err;
}

static int take_chain(cli_call *call)
{
    rl_app app = {0};
    rl_error e = {0};
    json_t *list = NULL;
    rl_err err = cli_read_certs(option(call, "chain"), &list, &e);
    if (err == RL_OK)
        err = rl_app_open_store(&app, call->settings, false, &e);
    if (err == RL_OK) {
        err = take_certs(&app, list, &e);
        rl_app_close(&app);
    }
    json_decref(list);
    return err == RL_OK ? open_and_show(call, false) : fail(call, &e);
}

/* ---- a root CA ---- */
static int roll_over(cli_call *call)
{
    rl_app app = {0};
    rl_error e = {0};
    rl_err err = rl_app_open(&app, call->settings, false, &e);
    if (err == RL_OK) {
        err = rl_ca_roll_over(app.store, call->settings, option(call, "subject"), &e);
        rl_app_close(&app);
    }
    return err == RL_OK ? open_and_show(call, false) : fail(call, &e);
}

static int make_root(cli_call *call)
{
    rl_app app = {0};
    rl_error e = {0};
    rl_settings *s = call->settings;
    char *subject = option(call, "subject") ? strdup(option(call, "subject")) : NULL;
    if (subject) {
        free(s->ca.subject);
        s->ca.subject = subject;
    }
    rl_err err = rl_app_open(&app, s, false, &e);
    if (err == RL_EBUSY)
        return fail(call, &e);
    if (err != RL_OK)
        return open_and_show(call, true);
    rl_app_close(&app);
    rl_fail(&e, RL_EEXISTS, "init", "there is a CA in %s already: --rollover gives it a new key", s->data_dir);
    return cli_fail(call, &e);
}

int cli_init(cli_call *call)
{
    rl_key_type key = RL_KEY_AUTO;
    if (!cli_take_key_type(option(call, "key"), &key))
        return cli_usage(call, "--key is rsa2048, rsa3072, rsa4096, ec-p256 or ec-p384", option(call, "key"));
    if (is_given(call, "chain"))
        return !is_given(call, "intermediate") ? cli_usage(call, "--chain goes with --intermediate", NULL)
               : is_given(call, "subject") || is_given(call, "key")
                   ? cli_usage(call, "--subject and --key belong to the request, which the chain answers", NULL)
                   : take_chain(call);
    if (is_given(call, "intermediate"))
        return ask(call, key);
    if (key != RL_KEY_AUTO)
        call->settings->ca.key = key;
    return is_given(call, "rollover") ? roll_over(call) : make_root(call);
}
