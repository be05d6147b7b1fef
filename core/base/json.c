/* Reading outside JSON: size, nesting and the number of values are checked before jansson, which recurses and takes
 * some hundred octets for each value, sees the text. Pure but for the memory of the result. */
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

enum { DEPTH_MAX = 64, VALUES_MAX = 1 << 20 };

static rl_err check_shape(rl_span text, rl_error *e)
{
    unsigned depth = 0;
    size_t values = 0; /* each value but a container's first stands behind a comma */
    bool string = false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                string = false;
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return rl_fail(e, RL_ERANGE, "json", "nested deeper than %d at octet %zu", DEPTH_MAX, i);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        if (!string && (c == '{' || c == '[' || c == ',') && ++values > VALUES_MAX)
            return rl_fail(e, RL_ERANGE, "json", "more than %d values", VALUES_MAX);
    }
    return RL_OK;
}

rl_err rl_json_parse(rl_span text, size_t max, json_t **out, rl_error *e)
{
    json_error_t je;
    if (text.n > max)
        return rl_fail(e, RL_ERANGE, "json", "%zu octets are more than the %zu allowed", text.n, max);
    if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        text = (rl_span){text.p + 3, text.n - 3};
    RL_TRY(check_shape(text, e));
    *out = json_loadb(text.p ? (const char *)text.p : "", text.n, 0, &je);
    if (*out)
        return RL_OK;
    /* Without jansson's "near '…'": the text may be a token's. */
    char *near = strstr(je.text, " near '");
    if (near)
        *near = 0;
    return rl_fail(e, RL_EBADMSG, "json", "not JSON at line %d, column %d: %s", je.line, je.column, je.text);
}

const char *rl_json_str(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

bool rl_json_bool(const json_t *obj, const char *key, bool fallback)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

int64_t rl_json_int(const json_t *obj, const char *key, int64_t fallback)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_integer(v))
        return (int64_t)json_integer_value(v);
    if (!json_is_string(v) || !json_string_length(v))
        return fallback;
    const char *text = json_string_value(v);
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    bool decimal = (text[0] >= '0' && text[0] <= '9') || (text[0] == '-' && text[1] >= '0' && text[1] <= '9');
    return decimal && !*end && errno == 0 ? (int64_t)n : fallback;
}

json_t *rl_json_time(int64_t unix_s)
{
    char text[RL_TIME_TEXT];
    if (unix_s == 0)
        return json_null();
    rl_time_rfc3339(unix_s, text);
    return json_string(text);
}
