/* Loading the settings: defaults, then SCEPman's names, then our own, each perhaps from a file; every error is
 * collected, so that an admin mends them all at once. Runs once at start, on the main thread. */
#include "base/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/settings_table.h"

enum { FILE_MAX = 64 * 1024, VALUE_SHOWN = 120, ALLOWED_MAX = 256 };

/* A run of loading. */
struct load {
    rl_settings *s;
    char *const *env;
    rl_buf *errors;
    unsigned failed;
};

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

static void complain(struct load *l, const char *name, const char *value, const char *text)
{
    l->failed++;
    if (value)
        rl_buf_printf(l->errors, "%s: '%.*s' %s\n", name, (int)strnlen(value, VALUE_SHOWN), value, text);
    else
        rl_buf_printf(l->errors, "%s: %s\n", name, text);
}

static void wipe(void *p, size_t n)
{
    if (p)
        explicit_bzero(p, n);
}

/* Reads a small file whole, without one trailing newline; malloced. Errors go to `why`. */
static char *read_file(const char *path, bool private_only, char *why, size_t cap)
{
    struct stat st;
    char *text = NULL;
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, cap, "cannot be read: %s", strerror(errno));
    } else if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        snprintf(why, cap, "is not a file");
    } else if (private_only && (st.st_mode & 077)) {
        snprintf(why, cap, "can be read by others than its owner: chmod 600 it");
    } else if ((text = malloc(FILE_MAX + 1)) != NULL) {
        ssize_t got;
        while (n < FILE_MAX && (got = read(fd, text + n, FILE_MAX - n)) > 0)
            n += (size_t)got;
        text[n] = 0;
        if (n == FILE_MAX || strlen(text) != n) {
            snprintf(why, cap, "%s", n == FILE_MAX ? "is larger than 64KiB" : "holds a NUL octet");
            wipe(text, n);
            free(text);
            text = NULL;
        } else if (n && text[n - 1] == '\n') {
            text[n - 1] = 0;
        }
    } else {
        snprintf(why, cap, "out of memory");
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static void set(struct load *l, const rl_setting_row *row, const char *shown_name, const char *text, const char *origin)
{
    char allowed[ALLOWED_MAX], message[ALLOWED_MAX + 64];
    if (rl_setting_parse(row, rl_span_str(text), l->s, allowed, sizeof(allowed)) != RL_OK) {
        snprintf(message, sizeof(message), "is not allowed; allowed is: %s", allowed);
        complain(l, shown_name, row->secret ? "(secret)" : text, message);
        return;
    }
    snprintf(l->s->priv->origin[row - rl_setting_rows], RL_ORIGIN_MAX, "%s", origin);
}

/* SCEPman counts in bare numbers of its own unit, the hours with a fraction ("24.0"). */
static void set_alias(struct load *l, const rl_setting_row *row, const char *text)
{
    char converted[64], origin[RL_ORIGIN_MAX];
    snprintf(origin, sizeof(origin), "alias %s", row->alias);
    if (!row->alias_unit || !row->alias_unit[0]) {
        set(l, row, row->alias, text, origin);
        return;
    }
    static const struct {
        char unit;
        double ms;
    } units[] = {{'s', 1e3}, {'m', 6e4}, {'h', 3.6e6}, {'d', 8.64e7}};
    char *end;
    double value = strtod(text, &end);
    double ms = -1;
    for (size_t i = 0; i < 4; i++)
        if (units[i].unit == row->alias_unit[0])
            ms = value * units[i].ms;
    if (*end || end == text || !(ms >= 0 && ms < 1e16)) {
        complain(l, row->alias, text, "is not a number");
        return;
    }
    snprintf(converted, sizeof(converted), "%.0fms", ms);
    set(l, row, row->alias, converted, origin);
}

/* NAME or NAME_FILE. True when one of them was there (even if wrong). */
static bool set_from(struct load *l, const rl_setting_row *row, const char *name, bool alias)
{
    char file_name[128], why[160], origin[RL_ORIGIN_MAX];
    snprintf(file_name, sizeof(file_name), "%s_FILE", name);
    const char *value = env_get(l->env, name), *path = env_get(l->env, file_name);
    if (value && path) {
        complain(l, name, NULL, "is set twice: directly and by its _FILE form");
        return true;
    }
    if (!value && !path)
        return false;
    char *text = path ? read_file(path, false, why, sizeof(why)) : NULL;
    if (path && !text) {
        complain(l, file_name, path, why);
        return true;
    }
    if (alias) {
        set_alias(l, row, path ? text : value);
    } else {
        snprintf(origin, sizeof(origin), path ? "file %s" : "environment", path);
        set(l, row, name, path ? text : value, origin);
    }
    if (text)
        wipe(text, strlen(text));
    free(text);
    return true;
}

/* ---- unknown names ---- */
/* Levenshtein distance, bounded by the length of the names in the table. */
static size_t distance(const char *a, const char *b)
{
    size_t row[96];
    size_t nb = strlen(b);
    if (nb >= 96)
        return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[nb];
}

static bool known(const char *name, size_t n)
{
    if (n > 5 && memcmp(name + n - 5, "_FILE", 5) == 0 && known(name, n - 5))
        return true;
    for (size_t i = 0; i < rl_setting_rows_n; i++)
        if (strlen(rl_setting_rows[i].name) == n && memcmp(rl_setting_rows[i].name, name, n) == 0)
            return true;
    return false;
}

static void reject_unknown(struct load *l)
{
    for (char *const *e = l->env; *e; e++) {
        const char *equals = strchr(*e, '=');
        if (!equals || strncmp(*e, "REVLINE_", 8) != 0 || known(*e, (size_t)(equals - *e)))
            continue;
        char name[96], message[192];
        snprintf(name, sizeof(name), "%.*s", (int)(equals - *e), *e);
        const char *nearest = NULL;
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < rl_setting_rows_n; i++) {
            size_t d = distance(name, rl_setting_rows[i].name);
            if (d < best) {
                best = d;
                nearest = rl_setting_rows[i].name;
            }
        }
        snprintf(message, sizeof(message), "is not a setting; the nearest is %s", nearest);
        complain(l, name, NULL, message);
    }
}

/* ---- what depends on other settings or on the machine ---- */
static void take_generated_challenge(struct load *l)
{
    rl_settings *s = l->s;
    char path[1100], why[160];
    if ((s->scep.static_challenge[0] && s->scep.static_aad_challenge[0]) || !s->data_dir)
        return;
    snprintf(path, sizeof(path), "%s/static-challenge", s->data_dir);
    if (access(path, F_OK) != 0)
        return;
    char *text = read_file(path, true, why, sizeof(why));
    if (!text) {
        complain(l, "REVLINE_STATIC_CHALLENGE", path, why);
        return;
    }
    for (size_t i = 0; i < rl_setting_rows_n; i++) {
        const rl_setting_row *row = &rl_setting_rows[i];
        bool challenge = row->offset == offsetof(rl_settings, scep.static_challenge) || row->offset == offsetof(rl_settings, scep.static_aad_challenge);
        char *const *field = (char *const *)(void *)((char *)s + row->offset);
        if (challenge && !(*field)[0]) {
            set(l, row, row->name, text, "generated");
            if (row->offset == offsetof(rl_settings, scep.static_challenge))
                s->generated_challenge_path = strdup(path);
        }
    }
    wipe(text, strlen(text));
    free(text);
}

static void derive_base_url(rl_settings *s)
{
    if (!s->http.base_url || s->http.base_url[0] || !s->http.listen)
        return;
    const char *listen = s->http.listen, *colon = strrchr(listen, ':');
    int host = (int)(colon - listen);
    bool any = (host == 7 && strncmp(listen, "0.0.0.0", 7) == 0) || (host == 4 && strncmp(listen, "[::]", 4) == 0);
    char *url = NULL;
    if (asprintf(&url, "http://%.*s%s", any ? 9 : host, any ? "localhost" : listen, colon) < 0)
        return;
    free(s->http.base_url);
    s->http.base_url = url;
}

rl_err rl_settings_load(rl_settings *s, char *const *env, rl_buf *errors)
{
    struct load l = {.s = s, .env = env, .errors = errors};
    *s = (rl_settings){0};
    s->priv = calloc(1, sizeof(*s->priv));
    if (!s->priv || !(s->priv->origin = calloc(rl_setting_rows_n, RL_ORIGIN_MAX)))
        return RL_ENOMEM;
    for (size_t i = 0; i < rl_setting_rows_n; i++) {
        const rl_setting_row *row = &rl_setting_rows[i];
        char cores[16];
        snprintf(cores, sizeof(cores), "%ld", sysconf(_SC_NPROCESSORS_ONLN) > 256 ? 256 : sysconf(_SC_NPROCESSORS_ONLN));
        bool machine = row->offset == offsetof(rl_settings, http.workers);
        set(&l, row, row->name, machine ? cores : row->def, "default");
        if (!set_from(&l, row, row->name, false) && row->alias)
            set_from(&l, row, row->alias, true);
    }
    reject_unknown(&l);
    take_generated_challenge(&l);
    derive_base_url(s);
    return l.failed ? RL_EINVAL : RL_OK;
}

void rl_settings_free(rl_settings *s)
{
    for (size_t i = 0; i < rl_setting_rows_n; i++) {
        const rl_setting_row *row = &rl_setting_rows[i];
        if (row->type != RL_T_STRING && row->type != RL_T_URL && row->type != RL_T_ADDRESS)
            continue;
        char **field = (char **)(void *)((char *)s + row->offset);
        if (*field)
            wipe(*field, strlen(*field));
        free(*field);
    }
    free(s->generated_challenge_path);
    if (s->priv)
        free(s->priv->origin);
    free(s->priv);
    *s = (rl_settings){0};
}
