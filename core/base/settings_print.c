/* The three forms of `revline config`: text, JSON, and the reference in Markdown. */
#include <jansson.h>
#include <stdlib.h>

#include "base/settings_table.h"

/* The value as it may be shown: secrets are masked, but for the generated challenge, which is in a file of the
 * caller's own. */
static rl_err shown_value(const rl_setting_row *row, const rl_settings *s, const char *origin, rl_buf *out)
{
    rl_buf value = {0};
    rl_err err = rl_setting_text(row, s, &value);
    bool masked = row->secret && value.n > 0 && strcmp(origin, "generated") != 0;
    if (err == RL_OK)
        err = masked ? rl_buf_printf(out, "********") : rl_buf_append(out, value.p, value.n);
    if (value.p)
        explicit_bzero(value.p, value.n);
    rl_buf_free(&value);
    return err;
}

static const char *default_text(const rl_setting_row *row)
{
    return row->def_text ? row->def_text : row->def;
}

rl_err rl_settings_print(const rl_settings *s, rl_buf *out)
{
    const char *group = "";
    for (size_t i = 0; i < s->priv->n; i++) {
        const rl_setting_row *row = &s->priv->rows[i];
        const char *origin = s->priv->origin[i];
        char allowed[256];
        rl_setting_allowed(row, allowed, sizeof(allowed));
        if (strcmp(group, row->group) != 0)
            RL_TRY(rl_buf_printf(out, "%s%s\n", i ? "\n" : "", row->group));
        group = row->group;
        RL_TRY(rl_buf_printf(out, "  %s=", row->name));
        RL_TRY(shown_value(row, s, origin, out));
        RL_TRY(rl_buf_printf(out, "\n      %s\n      default: %s; allowed: %s; from: %s\n", row->help,
                             default_text(row)[0] ? default_text(row) : "(empty)", allowed, origin));
    }
    if (s->generated_challenge_path)
        RL_TRY(rl_buf_printf(out, "\nThe static challenge was generated on first start and is kept in %s.\n",
                             s->generated_challenge_path));
    if (s->ignored)
        RL_TRY(rl_buf_printf(out, "\nSet, but of no meaning here: %s\n", s->ignored));
    return RL_OK;
}

rl_err rl_settings_print_json(const rl_settings *s, rl_buf *out)
{
    json_t *all = json_array();
    rl_err err = all ? RL_OK : RL_ENOMEM;
    for (size_t i = 0; err == RL_OK && i < s->priv->n; i++) {
        const rl_setting_row *row = &s->priv->rows[i];
        rl_buf value = {0};
        char allowed[256];
        rl_setting_allowed(row, allowed, sizeof(allowed));
        err = shown_value(row, s, s->priv->origin[i], &value);
        json_t *item =
            json_pack("{s:s,s:s%,s:s,s:s,s:s,s:s?,s:s,s:b}", "name", row->name, "value", value.p ? (char *)value.p : "",
                      value.n, "default", default_text(row), "range", allowed, "source", s->priv->origin[i], "alias",
                      row->alias, "help", row->help, "secret", (int)row->secret);
        if (json_array_append_new(all, item) != 0 && err == RL_OK)
            err = RL_ENOMEM;
        rl_buf_free(&value);
    }
    char *text = err == RL_OK ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (!text)
        return RL_ENOMEM;
    err = rl_buf_printf(out, "%s\n", text);
    free(text);
    return err;
}

static rl_err markdown_row(const rl_setting_row *row, const char **group, rl_buf *out)
{
    char allowed[256];
    rl_setting_allowed(row, allowed, sizeof(allowed));
    if (strcmp(*group, row->group) != 0)
        RL_TRY(rl_buf_printf(out, "\n## %s\n\n| name | default | allowed | meaning |\n| --- | --- | --- | --- |\n",
                             row->group));
    *group = row->group;
    const char *quote = row->def_text || !row->def[0] ? "" : "`";
    RL_TRY(rl_buf_printf(out, "| `%s` | %s%s%s | %s | %s", row->name, quote,
                         default_text(row)[0] ? default_text(row) : "empty", quote, allowed, row->help));
    if (row->alias)
        RL_TRY(rl_buf_printf(out, " Also read from `%s`%s.", row->alias,
                             !row->alias_unit || !row->alias_unit[0] ? ""
                             : row->alias_unit[0] == 's'             ? " (seconds)"
                             : row->alias_unit[0] == 'm'             ? " (minutes)"
                             : row->alias_unit[0] == 'h'             ? " (hours)"
                                                                     : " (days)"));
    return rl_buf_printf(out, " |\n");
}

rl_err rl_settings_print_markdown(rl_buf *out)
{
    const char *group = "";
    RL_TRY(rl_buf_printf(
        out,
        "# Settings\n\n"
        "Every setting is an environment variable. `NAME_FILE` reads the value from a file. Durations are written "
        "`250ms 30s 5m 24h 7d`, sizes `64KiB 256MiB`. A name that SCEPman uses is accepted where one is given; the "
        "name on the left wins. This page is what `revline config --markdown` prints.\n"));
    for (size_t i = 0; i < rl_setting_rows_n; i++)
        RL_TRY(markdown_row(&rl_setting_rows[i], &group, out));
    RL_TRY(rl_buf_printf(out,
                         "\n# Named profiles\n\n"
                         "Each name in `REVLINE_SCEP_PROFILES` has these, with the name in upper case in the place of "
                         "`" RL_PROFILE_PLACE "` and `_` for a hyphen.\n"));
    for (size_t i = 0; i < rl_named_rows_n; i++)
        RL_TRY(markdown_row(&rl_named_rows[i], &group, out));
    return RL_OK;
}
