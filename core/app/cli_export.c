/* `revline export`, and what `revline import` makes of one. A line is written or taken at a time, so that memory does
 * not grow with the database. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli.h"
#include "base/json.h"
#include "base/log.h"
#include "store/export.h"

/* ---- export ---- */
static bool print_line(const json_t *line, void *ctx)
{
    (void)ctx;
    return json_dumpf(line, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
}

static rl_err print_all(rl_store *store, rl_error *e)
{
    rl_err err = rl_store_export(store, print_line, NULL, e);
    if (err == RL_ECANCELED || (err == RL_OK && fflush(stdout) != 0))
        err = rl_fail(e, RL_EIO, "export", "standard output cannot be written: %s", strerror(errno));
    return err;
}

/* With no server running the database itself is read. */
static rl_err export_database(const rl_settings *s, rl_error *e)
{
    struct stat st;
    rl_store *store;
    char path[RL_EXPORT_PATH];
    int n = snprintf(path, sizeof(path), "%s/db", s->data_dir);
    if (n < 0 || (size_t)n >= sizeof(path) || stat(path, &st) != 0)
        return rl_fail(e, RL_ENOTFOUND, "export", "there is no database in '%s'", s->data_dir);
    RL_TRY(rl_store_open(s->data_dir, &store, e));
    rl_err err = print_all(store, e);
    rl_store_close(store);
    return err;
}

static rl_err export_copy(const rl_export_places *at, rl_error *e)
{
    rl_store *store;
    rl_err err = rl_store_open_copy(at->copy, &store, e);
    if (err == RL_OK) {
        err = print_all(store, e);
        rl_store_close(store);
    }
    rl_err deleted = rl_store_delete_copy(at->copy, err == RL_OK ? e : NULL);
    return err == RL_OK ? deleted : err;
}

static rl_err export_all(const rl_settings *s, rl_error *e)
{
    rl_export_places at;
    RL_TRY(rl_export_paths(s, &at, e));
    int lock = rl_export_lock(&at);
    if (lock < 0 && errno == EWOULDBLOCK)
        return rl_fail(e, RL_EBUSY, "export", "another export of '%s' is running", s->data_dir);
    if (lock < 0)
        return errno == ENOENT ? export_database(s, e) /* no server has been here yet */
                               : rl_fail(e, RL_EIO, "export", "%s cannot be opened: %s", at.folder, strerror(errno));
    json_t *reply = NULL, *request = json_pack("{s:s}", "command", "export");
    rl_err err = rl_control_ask(s->data_dir, request, &reply, e);
    if (err == RL_OK)
        err = export_copy(&at, e);
    else if (err == RL_ENOTFOUND && e->domain && strcmp(e->domain, "control") == 0)
        err = export_database(s, e);
    json_decref(reply);
    json_decref(request);
    close(lock);
    return err;
}

int cli_export(cli_call *call)
{
    rl_error e = {0};
    signal(SIGPIPE, SIG_IGN); /* the copy is deleted whoever stops reading */
    if (call->settings->log.level < RL_LOG_WARN)
        rl_log_configure(RL_LOG_WARN, call->settings->log.format);
    return export_all(call->settings, &e) == RL_OK ? 0 : cli_fail(call, &e);
}

/* ---- import ---- */
/* One line without its end; RL_ENOTFOUND behind the last. */
static rl_err read_line(FILE *f, rl_buf *line, rl_error *e)
{
    char chunk[4096];
    size_t n;
    int c;
    line->n = 0;
    line->limit = RL_LINE_MAX;
    do {
        for (n = 0, c = 0; n < sizeof(chunk) && (c = getc_unlocked(f)) != EOF && c != '\n';)
            chunk[n++] = (char)c;
        if (rl_buf_append(line, chunk, n) != RL_OK)
            return rl_fail(e, RL_ERANGE, "import", "it is longer than the %d octets allowed", RL_LINE_MAX);
    } while (c != EOF && c != '\n');
    if (ferror(f))
        return rl_fail(e, RL_EIO, "import", "it cannot be read: %s", strerror(errno));
    return c == EOF && line->n == 0 ? RL_ENOTFOUND : RL_OK;
}

static rl_err take_lines(rl_ca_takeover *t, FILE *f, const char *path, rl_error *e)
{
    rl_buf line = {0};
    rl_error why = {0};
    size_t number = 0;
    rl_err err;
    do {
        number++;
        err = read_line(f, &line, &why);
        if (err == RL_OK)
            err = rl_ca_takeover_line(t, rl_buf_span(&line), &why);
    } while (err == RL_OK);
    rl_buf_free(&line);
    return err == RL_ENOTFOUND ? RL_OK : rl_fail(e, err, "import", "'%s', line %zu: %s", path, number, why.message);
}

static json_t *ids_json(const rl_issuer_id *ids, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    return out;
}

static json_t *taken_json(const char *path, const rl_ca_taken *t)
{
    return json_pack("{s:s,s:I,s:I,s:I,s:o,s:o}", "file", path, "issuers", (json_int_t)t->issuers, "certificates",
                     (json_int_t)t->certificates, "objects", (json_int_t)t->objects, "withoutKey",
                     ids_json(t->without_key, t->without_key_n), "withoutDelegate",
                     ids_json(t->without_delegate, t->without_delegate_n));
}

static rl_err make_folder(const char *path, rl_error *e)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return RL_OK;
    return rl_fail(e, RL_EIO, "data", "REVLINE_DATA_DIR '%s' cannot be made: %s", path, strerror(errno));
}

rl_err cli_take_over(const cli_call *call, FILE *f, const char *path, json_t **reply, rl_error *e)
{
    rl_ca_takeover *t;
    rl_ca_taken taken;
    rl_log_configure(call->settings->log.level < RL_LOG_WARN ? RL_LOG_WARN : call->settings->log.level,
                     call->settings->log.format);
    RL_TRY(make_folder(call->settings->data_dir, e));
    RL_TRY(rl_ca_takeover_begin(call->settings, &t, e));
    rl_err err = take_lines(t, f, path, e);
    if (err == RL_OK)
        err = rl_ca_takeover_finish(t, &taken, e);
    rl_ca_takeover_free(t);
    if (err == RL_OK && !(*reply = taken_json(path, &taken)))
        err = rl_fail(e, RL_ENOMEM, "import", "out of memory");
    return err;
}

void cli_print_taken(const json_t *reply)
{
    size_t i;
    const json_t *id;
    printf("%s: %lld issuers, %lld certificates, %lld directory objects taken over\n", rl_json_str(reply, "file"),
           (long long)rl_json_int(reply, "issuers", 0), (long long)rl_json_int(reply, "certificates", 0),
           (long long)rl_json_int(reply, "objects", 0));
    json_array_foreach(json_object_get(reply, "withoutKey"), i, id) printf(
        "  issuer %lld: its private key is not here, no export has it: it is another CA's from now on, and "
        "nothing can be\n  issued by it. To keep it, delete the folder db, copy the key file from the other data "
        "folder and import again.\n",
        (long long)json_integer_value(id));
    json_array_foreach(json_object_get(reply, "withoutDelegate"), i, id)
        printf("  issuer %lld: our responder's key for it is not here: see revline ocsp csr\n",
               (long long)json_integer_value(id));
}
