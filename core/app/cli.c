/* The commands as a person calls them: settings, asking a running server or opening the database, and printing. */
#include "app/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

enum { CSR_MAX = 128 * 1024 };

extern char **environ;

int cli_fail(const cli_call *call, const rl_error *e)
{
    if (call->json) {
        json_t *out = json_pack("{s:s,s:s}", "error", rl_err_name(e->code), "message", e->message);
        json_dumpf(out, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(out);
    }
    fprintf(stderr, "revline %s: %s\n", call->command, e->message[0] ? e->message : rl_err_name(e->code));
    return e->code == RL_EUSAGE ? 2 : 1;
}

int cli_usage(const cli_call *call, const char *what, const char *arg)
{
    rl_error e = {0};
    rl_fail(&e, RL_EUSAGE, "usage", "%s%s%s; see revline %s --help", what, arg ? ": " : "", arg ? arg : "",
            call->command);
    return cli_fail(call, &e);
}

int cli_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    printf("\n");
    return 0;
}

rl_err cli_open(const char *path, FILE **out, rl_error *e)
{
    *out = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    return *out ? RL_OK : rl_fail(e, RL_EIO, "file", "'%s' cannot be read: %s", path, strerror(errno));
}

void cli_close(FILE *f)
{
    if (f != stdin)
        fclose(f);
}

rl_err cli_read(FILE *f, const char *path, size_t max, rl_buf *out, rl_error *e)
{
    char chunk[16 * 1024];
    rl_err err = RL_OK;
    size_t n;
    out->limit = max;
    while (err == RL_OK && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        err = rl_buf_append(out, chunk, n);
    if (err != RL_OK)
        rl_fail(e, err, "file", "'%s' is larger than the %zu octets allowed", path, max);
    else if (ferror(f))
        err = rl_fail(e, RL_EIO, "file", "'%s' cannot be read: %s", path, strerror(errno));
    return err;
}

rl_err cli_read_file(const char *path, size_t max, rl_buf *out, rl_error *e)
{
    FILE *f;
    RL_TRY(cli_open(path, &f, e));
    rl_err err = cli_read(f, path, max, out, e);
    cli_close(f);
    return err;
}

static const char *option(const cli_call *call, const char *name)
{
    return rl_json_str(call->options, name);
}

/* A line for each setting that is wrong. */
static void tell_settings_errors(const cli_call *call, const rl_buf *errors)
{
    const char *line = (const char *)errors->p, *behind = errors->n ? line + errors->n : line, *end;
    fprintf(stderr, "%.*s", (int)errors->n, errors->p ? line : "out of memory\n");
    if (!call->json)
        return;
    json_t *list = json_array();
    for (; line < behind && (end = memchr(line, '\n', (size_t)(behind - line))) != NULL; line = end + 1)
        json_array_append_new(list, json_stringn(line, (size_t)(end - line)));
    json_t *out = json_pack("{s:s,s:s,s:o}", "error", rl_err_name(RL_EINVAL), "message", "the settings are not valid",
                            "errors", list);
    cli_print_json(out);
    json_decref(out);
}

int cli_run(const cli_command *c, cli_call *call)
{
    rl_settings settings;
    rl_buf errors = {0};
    int code = 1;
    call->settings = &settings;
    bool reference = strcmp(c->name, "config") == 0 && json_object_get(call->options, "markdown");
    if (reference || (strcmp(c->name, "ocsp") == 0 && !cli_ocsp_manages(call)))
        return c->run(call); /* the reference and an OCSP client need no environment */
    if (rl_settings_load(&settings, environ, &errors) != RL_OK) {
        tell_settings_errors(call, &errors);
    } else {
        rl_log_configure(settings.log.level, settings.log.format);
        code = c->run(call);
    }
    rl_buf_free(&errors);
    rl_settings_free(&settings);
    return code;
}

/* Asks the running server; when there is none, opens the database here. */
rl_err cli_ask(cli_call *call, json_t *request, json_t **reply, rl_error *e)
{
    rl_err err = rl_control_ask(call->settings->data_dir, request, reply, e);
    if (err == RL_ENOTFOUND && e->domain && strcmp(e->domain, "control") == 0) {
        rl_app app = {0};
        if (call->settings->log.level < RL_LOG_WARN)
            rl_log_configure(RL_LOG_WARN, call->settings->log.format);
        err = rl_app_open(&app, call->settings, false, e);
        if (err == RL_OK) {
            err = rl_command_run(&app, request, reply, e);
            rl_app_close(&app);
        }
    }
    return err;
}

/* {"command": …} with the call's options in it. */
json_t *cli_request(const cli_call *call)
{
    json_t *request = json_copy(call->options);
    json_object_set_new(request, "command", json_string(call->command));
    return request;
}

int cli_ask_and(cli_call *call, json_t *request, int (*print)(const cli_call *call, const json_t *reply))
{
    rl_error e = {0};
    json_t *reply = NULL;
    rl_err err = cli_ask(call, request, &reply, &e);
    int code = err != RL_OK ? cli_fail(call, &e) : call->json ? cli_print_json(reply) : print(call, reply);
    json_decref(reply);
    json_decref(request);
    return code;
}

/* ---- serve, config ---- */
int cli_serve(cli_call *call)
{
    return rl_serve(call->settings, json_object_get(call->options, "banner") != NULL);
}

int cli_config(cli_call *call)
{
    rl_buf out = {0};
    rl_err err;
    if (json_object_get(call->options, "markdown"))
        err = rl_settings_print_markdown(&out);
    else if (json_object_get(call->options, "check"))
        err = rl_buf_printf(&out, call->json ? "{\"valid\": true}\n" : "the settings are valid\n");
    else
        err = call->json ? rl_settings_print_json(call->settings, &out) : rl_settings_print(call->settings, &out);
    if (err == RL_OK)
        fwrite(out.p, 1, out.n, stdout);
    if (out.p)
        explicit_bzero(out.p, out.n);
    rl_buf_free(&out);
    return err == RL_OK ? 0 : 1;
}

/* ---- certificates ---- */
void cli_why_text(const json_t *names, char out[CLI_WHY_TEXT])
{
    size_t i;
    const json_t *name;
    out[0] = 0;
    json_array_foreach(names, i, name)
    {
        size_t n = strlen(out);
        snprintf(out + n, CLI_WHY_TEXT - n, "%s%s", i ? ", " : "", json_string_value(name));
    }
}

static void print_held(const json_t *held)
{
    char why[CLI_WHY_TEXT];
    cli_why_text(json_object_get(held, "why"), why);
    if (json_is_object(held))
        printf("held        %s waits in change %lld for a decision: revline sync hold\n", why,
               (long long)rl_json_int(held, "change", 0));
}

static int print_cert(const cli_call *call, const json_t *c)
{
    char why[CLI_WHY_TEXT];
    size_t i;
    const json_t *item;
    (void)call;
    cli_why_text(json_object_get(c, "why"), why);
    const char *from = rl_json_str(c, "notBefore"); /* not known of a certificate that was never seen */
    printf("serial      %s\nsubject     %s\nprofile     %s\nvalid       %s to %s\nstatus      %s\n",
           rl_json_str(c, "serial"), rl_json_str(c, "subject"), rl_json_str(c, "profile"), from ? from : "?",
           rl_json_str(c, "notAfter"), rl_json_str(c, "status"));
    if (rl_json_str(c, "reason"))
        printf("reason      %s (%s), since %s\n", rl_json_str(c, "reason"), why, rl_json_str(c, "revokedAt"));
    print_held(json_object_get(c, "held"));
    if (rl_json_bool(c, "bootstrap", false))
        printf("bootstrap   its device was enrolling: compliance does not count until it ends\n");
    json_array_foreach(json_object_get(c, "bindings"), i, item)
        printf("bound to    %s %s\n", rl_json_str(item, "source"), rl_json_str(item, "id"));
    return 0;
}

/* The same question, from there on. */
static void print_more(const cli_call *call, const char *next)
{
    const char *name;
    json_t *value;
    printf("more: revline %s ", call->command);
    if (call->operands_n)
        printf("TEXT ");
    json_object_foreach(call->options, name, value)
    {
        if (strcmp(name, "after") != 0)
            printf("--%s %s ", name, json_string_value(value));
    }
    printf("--after %s\n", next);
}

static int print_list(const cli_call *call, const json_t *reply)
{
    size_t i;
    const json_t *c;
    printf("%-40s  %-8s  %-20s  %s\n", "SERIAL", "STATUS", "EXPIRES", "SUBJECT");
    json_array_foreach(json_object_get(reply, "items"), i, c)
        printf("%-40s  %-8s  %-20s  %s\n", rl_json_str(c, "serial"), rl_json_str(c, "status"),
               rl_json_str(c, "notAfter"), rl_json_str(c, "subject"));
    if (rl_json_str(reply, "next"))
        print_more(call, rl_json_str(reply, "next"));
    return 0;
}

static json_t *serial_request(const cli_call *call)
{
    json_t *request = cli_request(call);
    json_object_set_new(request, "serial", json_string(call->operands[0]));
    return request;
}

int cli_show(cli_call *call)
{
    return cli_ask_and(call, serial_request(call), print_cert);
}
int cli_change(cli_call *call)
{
    return cli_ask_and(call, serial_request(call), print_cert);
}

int cli_list(cli_call *call)
{
    return cli_ask_and(call, cli_request(call), print_list);
}

int cli_search(cli_call *call)
{
    json_t *request = cli_request(call);
    json_object_set_new(request, "text", json_string(call->operands[0]));
    return cli_ask_and(call, request, print_list);
}

/* Over what is there. It may be a pipe or a terminal, where nothing is to be synced (EINVAL). */
static rl_err write_file(const char *path, const char *text, rl_error *e)
{
    const size_t n = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return rl_fail(e, RL_EIO, "file", "'%s' cannot be written: %s", path, strerror(errno));
    bool whole = write(fd, text, n) == (ssize_t)n && (fsync(fd) == 0 || errno == EINVAL);
    if (close(fd) != 0 || !whole)
        return rl_fail(e, RL_EIO, "file", "'%s' cannot be written: %s", path, strerror(errno));
    return RL_OK;
}

/* With --json the certificate still goes to the file that was asked for. One that cannot be written there is issued all
 * the same: then it is told on standard output. */
static int keep_signed(const cli_call *call, const json_t *reply)
{
    rl_error e = {0};
    const char *pem = rl_json_str(reply, "certificate"), *serial = rl_json_str(reply, "serial"),
               *out = option(call, "out");
    bool kept = !out || write_file(out, pem, &e) == RL_OK;
    if (!kept)
        fprintf(stderr, "revline %s: %s\nThe certificate has been issued, with serial number %s, and follows.\n",
                call->command, e.message, serial);
    if (call->json)
        cli_print_json(reply);
    else if (out && kept)
        printf("serial  %s\n", serial);
    else
        printf("%s", pem);
    return kept ? 0 : 1;
}

/* `issued`: a certificate was, whatever is returned. */
static int sign(cli_call *call, const char *csr_pem, bool *issued)
{
    rl_error e = {0};
    json_t *reply = NULL, *request = cli_request(call);
    json_object_set_new(request, "command", json_string("sign"));
    json_object_set_new(request, "csr", json_string(csr_pem));
    *issued = cli_ask(call, request, &reply, &e) == RL_OK;
    int code = *issued ? keep_signed(call, reply) : cli_fail(call, &e);
    json_decref(reply);
    json_decref(request);
    return code;
}

static rl_err read_csr(const char *path, char **pem, rl_error *e)
{
    rl_buf text = {0};
    X509_REQ *csr = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    rl_err err = cli_read_file(path, CSR_MAX, &text, e);
    if (err == RL_OK)
        err = rl_csr_from_any(rl_buf_span(&text), &csr, e);
    char *data;
    long length;
    if (err == RL_OK && PEM_write_bio_X509_REQ(bio, csr) == 1 && (length = BIO_get_mem_data(bio, &data)) > 0)
        *pem = strndup(data, (size_t)length);
    else if (err == RL_OK)
        err = rl_fail_openssl(e, "csr", "the request cannot be written");
    X509_REQ_free(csr);
    BIO_free(bio);
    rl_buf_free(&text);
    return err;
}

int cli_sign(cli_call *call)
{
    rl_error e = {0};
    char *pem = NULL;
    if (read_csr(call->operands[0], &pem, &e) != RL_OK)
        return cli_fail(call, &e);
    bool issued;
    int code = sign(call, pem, &issued);
    free(pem);
    return code;
}

bool cli_take_key_type(const char *text, rl_key_type *type)
{
    static const rl_key_type all[] = {RL_KEY_RSA2048, RL_KEY_RSA3072, RL_KEY_RSA4096, RL_KEY_EC_P256, RL_KEY_EC_P384};
    for (size_t i = 0; text && i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(text, rl_key_type_name(all[i])) == 0) {
            *type = all[i];
            return true;
        }
    }
    return text == NULL;
}

int cli_issue(cli_call *call)
{
    rl_error e = {0};
    rl_key_type type = RL_KEY_RSA2048;
    char *csr = NULL;
    rl_signer *key = NULL;
    const char *key_out = option(call, "key-out");
    if (!option(call, "cn") || !key_out || !cli_take_key_type(option(call, "key"), &type))
        return cli_usage(call, "--cn and --key-out are needed, and a known --key", NULL);
    /* The key is made here and only its request goes to the server: it exists in one place. */
    rl_err err = rl_signer_generate(type, &key, &e);
    if (err == RL_OK)
        err = cli_make_csr(key, option(call, "cn"), json_object_get(call->options, "san"), &csr, &e);
    if (err == RL_OK)
        err = rl_signer_save(key, key_out, &e);
    int code = 1;
    bool issued = false;
    if (err != RL_OK)
        cli_fail(call, &e);
    else if ((code = sign(call, csr, &issued)) != 0 && !issued)
        unlink(key_out); /* a key without a certificate is of no use, and would be in the way of the next try */
    rl_signer_free(key);
    free(csr);
    return code;
}

/* ---- status ---- */
static void print_source(const char *name, const json_t *s)
{
    int64_t lag = rl_json_int(s, "lagSeconds", -1);
    const char *error = rl_json_str(s, "lastError");
    printf("  %-19s %s", name, rl_json_str(s, "state"));
    if (lag >= 0)
        printf(", %lld objects, last success %lld s ago", (long long)rl_json_int(s, "objects", 0), (long long)lag);
    if (rl_json_str(s, "needs"))
        printf(": turned on by %s", rl_json_str(s, "needs"));
    if (error && error[0])
        printf(", failing: %s", error);
    if (rl_json_bool(s, "stale", false))
        printf(", stale");
    if (rl_json_int(s, "heldChanges", 0) > 0)
        printf(", %lld certificates held: revline sync hold", (long long)rl_json_int(s, "heldCertificates", 0));
    printf("\n");
}

static void print_part(const char *name, const json_t *part)
{
    printf("  %-19s %s", name, rl_json_str(part, "status"));
    if (json_object_get(part, "notAfter")) {
        char end[RL_TIME_TEXT];
        rl_time_rfc3339(rl_json_int(part, "notAfter", 0), end);
        printf(", until %s", end);
    }
    if (json_object_get(part, "loops"))
        printf(", %lld loops, %lld connections", (long long)rl_json_int(part, "loops", 0),
               (long long)rl_json_int(part, "connections", 0));
    if (json_object_get(part, "cacheEntries"))
        printf(", %lld answers in memory (%lld KiB), %lld hits, %lld misses, %lld signatures",
               (long long)rl_json_int(part, "cacheEntries", 0), (long long)rl_json_int(part, "cacheBytes", 0) / 1024,
               (long long)rl_json_int(part, "hits", 0), (long long)rl_json_int(part, "misses", 0),
               (long long)rl_json_int(part, "signatures", 0));
    printf("\n");
}

static int print_status(const cli_call *call, const json_t *reply)
{
    const char *part, *source;
    json_t *value, *s;
    const char *http = rl_json_str(json_object_get(json_object_get(reply, "parts"), "http"), "status");
    (void)call;
    printf("revline %s: %s, ", rl_json_str(reply, "version"), rl_json_str(reply, "status"));
    if (http && strcmp(http, "off") == 0)
        printf("no server is running\n");
    else
        printf("up %llds\n", (long long)rl_json_int(reply, "uptimeSeconds", 0));
    const json_t *c = json_object_get(reply, "certificates");
    if (json_is_object(c))
        printf("  %-19s %s%lld good, %lld on hold, %lld revoked\n", "certificates",
               rl_json_bool(c, "exact", true) ? "" : "about ", (long long)rl_json_int(c, "good", 0),
               (long long)rl_json_int(c, "hold", 0), (long long)rl_json_int(c, "revoked", 0));
    json_object_foreach(json_object_get(reply, "parts"), part, value)
    {
        if (strcmp(part, "sync") != 0) {
            print_part(part, value);
            continue;
        }
        json_object_foreach(value, source, s) print_source(source, s);
    }
    return 0;
}

int cli_events(cli_call *call)
{
    rl_error e = {0};
    rl_control_follow(call->settings->data_dir, stdout, &e);
    return cli_fail(call, &e);
}

int cli_status(cli_call *call)
{
    return cli_ask_and(call, json_pack("{s:s,s:b}", "command", "status", "count", 1), print_status);
}
