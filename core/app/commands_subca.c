/* What `revline sign --profile subca` says about the new CA. */
#include <stdlib.h>

#include "app/app.h"
#include "base/json.h"

enum { TEXTS_MAX = 256 };

/* A string or a list of strings; the texts stay the request's. */
static rl_err read_texts(const json_t *request, const char *key, rl_text_list *out, rl_error *e)
{
    const json_t *value = json_object_get(request, key);
    size_t n = json_is_array(value) ? json_array_size(value) : value ? 1 : 0;
    *out = (rl_text_list){0};
    if (n > TEXTS_MAX)
        return rl_fail(e, RL_ERANGE, "sign", "more than %d of --%s", TEXTS_MAX, key);
    out->items = n ? calloc(n, sizeof(*out->items)) : NULL;
    if (n && !out->items)
        return rl_fail(e, RL_ENOMEM, "sign", "out of memory");
    for (; out->n < n; out->n++) {
        const char *text = json_string_value(json_is_array(value) ? json_array_get(value, out->n) : value);
        if (!text)
            return rl_fail(e, RL_EUSAGE, "sign", "--%s is no text", key);
        out->items[out->n] = (char *)text; /* rl_sub_ca borrows */
    }
    return RL_OK;
}

rl_err rl_command_read_sub_ca(const json_t *request, bool wanted, rl_sub_ca *out, rl_error *e)
{
    static const char *const keys[] = {"permit", "exclude", "eku", "path-length", "any-name"};
    *out = (rl_sub_ca){0};
    for (size_t i = 0; !wanted && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (json_object_get(request, keys[i]))
            return rl_fail(e, RL_EUSAGE, "sign", "--%s is for a subordinate CA (--profile subca)", keys[i]);
    RL_TRY(read_texts(request, "permit", &out->permit, e));
    RL_TRY(read_texts(request, "exclude", &out->exclude, e));
    RL_TRY(read_texts(request, "eku", &out->eku, e));
    out->any_name = rl_json_bool(request, "any-name", false);
    int64_t length = rl_json_int(request, "path-length", json_object_get(request, "path-length") ? -1 : 0);
    out->path_length = length >= 0 && length <= INT8_MAX ? (int)length : -1;
    return RL_OK;
}

void rl_command_clear_sub_ca(rl_sub_ca *sub)
{
    free(sub->permit.items);
    free(sub->exclude.items);
    free(sub->eku.items);
    *sub = (rl_sub_ca){0};
}
