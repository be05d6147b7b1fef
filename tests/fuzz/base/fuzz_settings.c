/* The environment as a fuzzer likes it: the input is lines of NAME=value. Names that end in _FILE, and the data folder,
 * are left out: no file but what a developer's own default data folder holds is read. */
#include <stdlib.h>

#include "base/settings.h"

enum { VARIABLES_MAX = 12 };

static bool reads_a_file(const char *line)
{
    size_t n = strcspn(line, "=");
    return (n >= 5 && memcmp(line + n - 5, "_FILE", 5) == 0) || (n == 16 && memcmp(line, "REVLINE_DATA_DIR", 16) == 0);
}

static void print_all(const rl_settings *s)
{
    rl_buf out = {0};
    if (rl_settings_print(s, &out) != RL_OK || rl_settings_print_json(s, &out) != RL_OK)
        abort(); /* whatever was taken can be shown */
    rl_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *env[VARIABLES_MAX + 2] = {"REVLINE_DATA_DIR=/nonexistent"}, *rest, *line;
    char *text = strndup((const char *)data, size);
    size_t n = 1;
    for (line = strtok_r(text, "\n", &rest); line && n <= VARIABLES_MAX; line = strtok_r(NULL, "\n", &rest))
        if (!reads_a_file(line))
            env[n++] = line;
    rl_settings s;
    rl_buf errors = {0};
    rl_err err = rl_settings_load(&s, env, &errors);
    if (err == RL_OK)
        print_all(&s);
    if ((err == RL_EINVAL) != (errors.n > 0))
        abort(); /* an error has its line, and no line comes without one */
    rl_buf_free(&errors);
    rl_settings_free(&s);
    free(text);
    return 0;
}
