/* Loading the settings: defaults, then SCEPman's names, then our own, each perhaps from a file; every error is
 * collected, so that an admin mends them all at once. Runs once at start, on the main thread. */
#include "base/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/settings_table.h"

enum { FILE_MAX = 64 * 1024, VALUE_SHOWN = 120, NAME_SHOWN = 120, IGNORED_MAX = 4096, ALLOWED_MAX = 256 };

/* A run of loading. */
struct load {
    rl_settings *s;
    char *const *env;
    rl_buf *errors;
    rl_err err;
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
    char line[1024];
    if (value)
        snprintf(line, sizeof(line), "%.*s: '%.*s' %s", NAME_SHOWN, name, VALUE_SHOWN, value, text);
    else
        snprintf(line, sizeof(line), "%.*s: %s", NAME_SHOWN, name, text);
    rl_text_clean(line); /* one line per error, whatever the environment holds */
    if (l->err == RL_OK)
        l->err = RL_EINVAL;
    if (rl_buf_printf(l->errors, "%s\n", line) != RL_OK)
        l->err = RL_ENOMEM;
}

/* Up to the end of the file or FILE_MAX octets; -1 with errno. */
static ssize_t read_all(int fd, char *text)
{
    size_t n = 0;
    while (n < FILE_MAX) {
        ssize_t got = read(fd, text + n, FILE_MAX - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static void free_secret(char *text, size_t n)
{
    explicit_bzero(text, n);
    free(text);
}

/* Reads a small file whole, without one trailing line end; free_secret it. Errors go to `why`. */
static char *read_file(const char *path, bool private_only, char *why, size_t cap)
{
    struct stat st;
    char *text = NULL;
    ssize_t n;
    /* Without O_NONBLOCK a pipe that nobody writes to would hang the start; the reading itself waits for the writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_SETFL, 0) != 0) {
        snprintf(why, cap, "cannot be read: %s", strerror(errno));
    } else if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        snprintf(why, cap, "is not a file");
    } else if (private_only && (st.st_mode & 077)) {
        snprintf(why, cap, "can be read by others than its owner: chmod 600 it");
    } else if ((text = malloc(FILE_MAX + 1)) == NULL) {
        snprintf(why, cap, "out of memory");
    } else if ((n = read_all(fd, text)) < 0) {
        snprintf(why, cap, "cannot be read: %s", strerror(errno));
        free_secret(text, FILE_MAX + 1);
        text = NULL;
    } else if (n == FILE_MAX || memchr(text, 0, (size_t)n)) {
        snprintf(why, cap, "%s", n == FILE_MAX ? "is not smaller than 64KiB" : "holds a NUL octet");
        free_secret(text, (size_t)n);
        text = NULL;
    } else {
        if (n > 0 && text[n - 1] == '\n')
            n--;
        if (n > 0 && text[n - 1] == '\r')
            n--;
        text[n] = 0;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static void set(struct load *l, const rl_setting_row *row, const char *shown_name, const char *text, const char *origin)
{
    char allowed[ALLOWED_MAX], message[ALLOWED_MAX + 64];
    rl_err err = rl_setting_parse(row, rl_span_str(text), l->s, allowed, sizeof(allowed));
    if (err == RL_ENOMEM) {
        l->err = err;
        return;
    }
    if (err != RL_OK) {
        snprintf(message, sizeof(message), "is not allowed; allowed is: %s", allowed);
        complain(l, shown_name, row->secret ? "(secret)" : text, message);
        return;
    }
    char *kept = l->s->priv->origin[row - l->s->priv->rows];
    snprintf(kept, RL_ORIGIN_MAX, "%s", origin);
    rl_text_clean(kept);
}

/* In SCEPman's lists of object identifiers semicolons and blanks divide as commas do. */
static void set_list(struct load *l, const rl_setting_row *row, const char *text, const char *origin)
{
    char *list = strdup(text), *to = list;
    if (!list) {
        l->err = RL_ENOMEM;
        return;
    }
    for (const char *at = text + strspn(text, ",; "); *at; at += strspn(at, ",; ")) {
        size_t n = strcspn(at, ",; ");
        if (to > list)
            *to++ = ',';
        memcpy(to, at, n);
        to += n;
        at += n;
    }
    *to = 0;
    set(l, row, row->alias, list, origin);
    free(list);
}

/* SCEPman counts in bare numbers of its own unit, the hours with a fraction ("24.0"). */
static void set_alias(struct load *l, const rl_setting_row *row, const char *text)
{
    char converted[64], origin[RL_ORIGIN_MAX];
    snprintf(origin, sizeof(origin), "alias %s", row->alias);
    if (row->type == RL_T_EKU_LIST) {
        set_list(l, row, text, origin);
        return;
    }
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
        /* A secret that was put where its file's path belongs must not be repeated either. */
        complain(l, file_name, row->secret ? "(path of a secret)" : path, why);
        return true;
    }
    if (alias) {
        set_alias(l, row, path ? text : value);
    } else {
        snprintf(origin, sizeof(origin), path ? "file %s" : "environment", path);
        set(l, row, name, path ? text : value, origin);
    }
    if (text)
        free_secret(text, strlen(text));
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

static bool is_file_form(const char *name, size_t n)
{
    return n > 5 && memcmp(name + n - 5, "_FILE", 5) == 0;
}

static bool is_name(const char *known, const char *name, size_t n)
{
    return known && strlen(known) == n && memcmp(known, name, n) == 0;
}

/* A row's name or SCEPman's for it, as it is or in its _FILE form. */
static bool known(const rl_settings *s, const char *name, size_t n)
{
    size_t base = is_file_form(name, n) ? n - 5 : n;
    for (size_t i = 0; i < s->priv->n; i++) {
        const rl_setting_row *row = &s->priv->rows[i];
        if (is_name(row->name, name, n) || is_name(row->name, name, base) || is_name(row->alias, name, n) ||
            is_name(row->alias, name, base))
            return true;
    }
    return false;
}

static void note_ignored(struct load *l, const char *name, size_t n)
{
    char *longer = NULL;
    const char *before = l->s->ignored ? l->s->ignored : "";
    if (strlen(before) > IGNORED_MAX)
        return;
    if (asprintf(&longer, "%s%s%.*s", before, *before ? " " : "", (int)(n < NAME_SHOWN ? n : NAME_SHOWN), name) < 0) {
        l->err = RL_ENOMEM;
        return;
    }
    rl_text_clean(longer);
    free(l->s->ignored);
    l->s->ignored = longer;
}

static void reject(struct load *l, const char *whole, size_t n)
{
    char name[96], message[192];
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    bool file = is_file_form(whole, n);
    snprintf(name, sizeof(name), "%.*s", (int)(file ? n - 5 : n), whole);
    for (size_t i = 0; i < l->s->priv->n; i++) {
        size_t d = distance(name, l->s->priv->rows[i].name);
        if (d < best) {
            best = d;
            nearest = l->s->priv->rows[i].name;
        }
    }
    snprintf(message, sizeof(message), "is not a setting; the nearest is %s%s", nearest, file ? "_FILE" : "");
    snprintf(name, sizeof(name), "%.*s", (int)n, whole);
    complain(l, name, NULL, message);
}

static void check_names(struct load *l)
{
    for (char *const *e = l->env; *e; e++) {
        const char *equals = strchr(*e, '=');
        size_t n = equals ? (size_t)(equals - *e) : 0;
        if (n == 0 || known(l->s, *e, n))
            continue;
        if (strncmp(*e, "REVLINE_", 8) == 0)
            reject(l, *e, n);
        else if (strncmp(*e, "AppConfig__", 11) == 0)
            note_ignored(l, *e, n);
    }
}

/* ---- what depends on other settings or on the machine ---- */
static void take_generated_challenge(struct load *l)
{
    rl_settings *s = l->s;
    char path[1100], why[160];
    if (!s->data_dir)
        return;
    snprintf(path, sizeof(path), "%s/static-challenge", s->data_dir);
    if (access(path, F_OK) != 0)
        return;
    char *text = read_file(path, true, why, sizeof(why));
    if (!text) {
        complain(l, "REVLINE_STATIC_CHALLENGE", path, why);
        return;
    }
    for (size_t i = 0; i < s->priv->n; i++) {
        const rl_setting_row *row = &s->priv->rows[i];
        bool is_static = row->offset == offsetof(rl_settings, scep.profiles[RL_ENROLL_STATIC].challenge);
        bool is_aad = row->offset == offsetof(rl_settings, scep.profiles[RL_ENROLL_STATIC_AAD].challenge);
        if ((!is_static && !is_aad) || strcmp(s->priv->origin[i], "default") != 0 ||
            !s->scep.profiles[is_static ? RL_ENROLL_STATIC : RL_ENROLL_STATIC_AAD].enabled)
            continue;
        set(l, row, row->name, text, "generated");
        if (is_static && !(s->generated_challenge_path = strdup(path)))
            l->err = RL_ENOMEM;
    }
    free_secret(text, strlen(text));
}

static void drop_challenges(struct load *l)
{
    rl_settings *s = l->s;
    for (size_t i = 0; i < s->priv->n; i++)
        for (size_t k = 0; k < RL_ENROLL_MAX; k++)
            if (s->priv->rows[i].offset == offsetof(rl_settings, scep.profiles) + k * sizeof(rl_profile_rules) +
                                               offsetof(rl_profile_rules, challenge) &&
                !s->scep.profiles[k].enabled)
                set(l, &s->priv->rows[i], s->priv->rows[i].name, "", "turned off");
}

static void check_tls(struct load *l)
{
    const rl_settings *s = l->s;
    if (s->http.tls_cert && s->http.tls_key && s->http.tls_key[0] && !s->http.tls_cert[0])
        complain(l, "REVLINE_TLS_KEY", s->http.tls_key, "is set without REVLINE_TLS_CERT");
}

/* Tokens name the tenant by its id. */
static void check_tokens(struct load *l)
{
    const rl_settings *s = l->s;
    char id[RL_GUID_SIZE];
    bool on = s->azure.audience && s->azure.audience[0];
    if (on && (!s->azure.tenant_id || rl_guid_read(rl_span_str(s->azure.tenant_id), id) != RL_OK))
        complain(l, "REVLINE_ENTRA_AUDIENCE", s->azure.audience, "needs AZURE_TENANT_ID, the tenant's id (a GUID)");
    for (size_t i = 0; !on && i < s->priv->n; i++) {
        const rl_setting_row *row = &s->priv->rows[i];
        for (size_t k = 0; k < RL_ENROLL_MAX; k++)
            if (row->offset == offsetof(rl_settings, scep.profiles) + k * sizeof(rl_profile_rules) +
                                   offsetof(rl_profile_rules, entra_tokens) &&
                s->scep.profiles[k].entra_tokens)
                complain(l, row->name, NULL, "needs REVLINE_ENTRA_AUDIENCE: whose tokens are for this server");
    }
}

/* One that has blanks in it would come to be several here, and they would be short. */
static void check_old_challenges(struct load *l)
{
    enum { LEAST = 8 }; /* characters, as of the challenges themselves */
    const rl_settings *s = l->s;
    for (size_t i = 0; i < s->priv->n; i++)
        for (size_t k = 0; k < RL_ENROLL_MAX; k++) {
            const char *at = s->scep.profiles[k].old_challenges;
            if (!at || s->priv->rows[i].offset != offsetof(rl_settings, scep.profiles) + k * sizeof(rl_profile_rules) +
                                                      offsetof(rl_profile_rules, old_challenges))
                continue;
            for (at += strspn(at, " "); strcspn(at, " ") >= LEAST; at += strspn(at, " "))
                at += strcspn(at, " ");
            if (*at)
                complain(l, s->priv->rows[i].name, NULL,
                         "a challenge in it has less than 8 characters, or blanks, which divide it");
        }
}

static void derive_base_url(struct load *l)
{
    rl_settings *s = l->s;
    if (!s->http.base_url || s->http.base_url[0] || !s->http.listen)
        return;
    const char *listen = s->http.listen, *colon = strrchr(listen, ':');
    int host = (int)(colon - listen);
    bool any = (host == 7 && strncmp(listen, "0.0.0.0", 7) == 0) || (host == 4 && strncmp(listen, "[::]", 4) == 0);
    char *url = NULL;
    if (asprintf(&url, "http://%.*s%s", any ? 9 : host, any ? "localhost" : listen, colon) < 0) {
        l->err = RL_ENOMEM;
        return;
    }
    free(s->http.base_url);
    s->http.base_url = url;
}

/* The other clouds' addresses stand in for the public one's defaults. Intune's of the last two are not documented: they
 * follow the pattern of the others, and are settings. */
static void derive_cloud(struct load *l)
{
    static const struct {
        size_t offset;
        const char *url[4];
    } addresses[] = {
        {offsetof(rl_settings, azure.authority_host),
         {NULL, "https://login.microsoftonline.us", "https://login.microsoftonline.us",
          "https://login.partner.microsoftonline.cn"}},
        {offsetof(rl_settings, azure.graph_url),
         {NULL, "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
          "https://microsoftgraph.chinacloudapi.cn"}},
        {offsetof(rl_settings, azure.intune_url),
         {NULL, "https://api.manage.microsoft.us", "https://api.manage.microsoft.us",
          "https://api.manage.microsoftonline.cn"}},
    };
    rl_settings *s = l->s;
    for (size_t i = 0; i < s->priv->n; i++)
        for (size_t k = 0; k < sizeof(addresses) / sizeof(addresses[0]); k++)
            if (s->priv->rows[i].offset == addresses[k].offset && s->azure.cloud != RL_CLOUD_PUBLIC &&
                strcmp(s->priv->origin[i], "default") == 0)
                set(l, &s->priv->rows[i], s->priv->rows[i].name, addresses[k].url[s->azure.cloud], "REVLINE_CLOUD");
}

/* The cores this process may run on: what taskset or a container left of the machine. */
static int usable_cores(void)
{
    cpu_set_t set_of;
    int n = sched_getaffinity(0, sizeof(set_of), &set_of) == 0 ? CPU_COUNT(&set_of) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

/* ---- the rows ---- */
static rl_err add_rows(rl_settings *s, const rl_setting_row *rows, size_t n)
{
    struct rl_settings_priv *p = s->priv;
    rl_setting_row *more = realloc(p->rows, (p->n + n) * sizeof(*more));
    if (!more)
        return RL_ENOMEM;
    p->rows = more;
    char(*origin)[RL_ORIGIN_MAX] = realloc(p->origin, (p->n + n) * sizeof(*origin));
    if (!origin)
        return RL_ENOMEM;
    p->origin = origin;
    memcpy(p->rows + p->n, rows, n * sizeof(*rows));
    memset(p->origin + p->n, 0, n * sizeof(*origin));
    p->n += n;
    return RL_OK;
}

/* `text` with the profile's name in its place, as part of a variable's name or as it is; kept until the end. */
static const char *with_name(struct rl_settings_priv *p, const char *text, const char *name, bool variable)
{
    const char *place = strstr(text, RL_PROFILE_PLACE);
    char *out = NULL;
    if (asprintf(&out, "%.*s%s%s", (int)(place - text), text, name, place + strlen(RL_PROFILE_PLACE)) < 0)
        return NULL;
    p->names[p->names_n++] = out;
    for (char *c = out + (place - text); variable && *c; c++)
        *c = (char)(*c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    return out;
}

/* Each named profile gets the rows of rl_named_rows. */
static rl_err add_named_rows(rl_settings *s)
{
    struct rl_settings_priv *p = s->priv;
    size_t n = s->scep.named.n;
    if (n == 0)
        return RL_OK;
    if (!(p->names = calloc(3 * n * rl_named_rows_n, sizeof(*p->names))))
        return RL_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *name = s->scep.named.items[i];
        size_t first = p->n;
        RL_TRY(add_rows(s, rl_named_rows, rl_named_rows_n));
        for (rl_setting_row *row = p->rows + first; row < p->rows + p->n; row++) {
            row->offset += i * sizeof(rl_profile_rules);
            row->name = with_name(p, row->name, name, true);
            row->group = with_name(p, row->group, name, false);
            if (strstr(row->help, RL_PROFILE_PLACE))
                row->help = with_name(p, row->help, name, false);
            if (!row->name || !row->group || !row->help)
                return RL_ENOMEM;
        }
    }
    return RL_OK;
}

static void load_row(struct load *l, const rl_setting_row *row)
{
    char cores[16];
    snprintf(cores, sizeof(cores), "%d", usable_cores());
    bool machine = row->offset == offsetof(rl_settings, http.workers);
    set(l, row, row->name, machine ? cores : row->def, "default");
    if (!set_from(l, row, row->name, false) && row->alias)
        set_from(l, row, row->alias, true);
}

rl_err rl_settings_load(rl_settings *s, char *const *env, rl_buf *errors)
{
    struct load l = {.s = s, .env = env, .errors = errors};
    *s = (rl_settings){0};
    if (!(s->priv = calloc(1, sizeof(*s->priv))))
        return RL_ENOMEM;
    RL_TRY(add_rows(s, rl_setting_rows, rl_setting_rows_n));
    for (size_t i = 0; i < rl_setting_rows_n; i++)
        load_row(&l, &s->priv->rows[i]);
    RL_TRY(add_named_rows(s));
    for (size_t i = rl_setting_rows_n; i < s->priv->n; i++)
        load_row(&l, &s->priv->rows[i]);
    check_names(&l);
    take_generated_challenge(&l);
    drop_challenges(&l);
    check_tls(&l);
    check_tokens(&l);
    check_old_challenges(&l);
    derive_base_url(&l);
    derive_cloud(&l);
    return l.err;
}

void rl_settings_free(rl_settings *s)
{
    struct rl_settings_priv *p = s->priv;
    for (size_t i = 0; p && i < p->n; i++) {
        const rl_setting_row *row = &p->rows[i];
        if (rl_setting_is_list(row))
            rl_text_list_free((rl_text_list *)(void *)((char *)s + row->offset));
        if (row->type != RL_T_STRING && row->type != RL_T_URL && row->type != RL_T_ADDRESS)
            continue;
        char **field = (char **)(void *)((char *)s + row->offset);
        if (*field)
            free_secret(*field, strlen(*field));
    }
    free(s->generated_challenge_path);
    free(s->ignored);
    for (size_t i = 0; p && i < p->names_n; i++)
        free(p->names[i]);
    if (p) {
        free(p->names);
        free(p->rows);
        free(p->origin);
    }
    free(p);
    *s = (rl_settings){0};
}
