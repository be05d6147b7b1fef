/* Outside JSON, and the two date parsers and decoders that read its strings. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"

static void read_text(const char *text)
{
    int64_t t;
    size_t n;
    uint8_t out[256];
    char again[512];
    rl_span in = rl_span_str(text);
    (void)rl_time_parse_rfc3339(text, &t);
    (void)rl_time_parse_http(text, &t);
    (void)rl_unhex(in, out, sizeof(out), &n);
    for (int url = 0; url < 2; url++) {
        if (rl_base64_decode(in, url, out, sizeof(out), &n) != RL_OK)
            continue;
        while (in.n > 0 && in.p[in.n - 1] == '=')
            in.n--;
        if (rl_base64_encode(rl_span_of(out, n), url, again, sizeof(again)) != RL_OK || memcmp(again, in.p, in.n) != 0)
            abort(); /* each value has one encoding only */
    }
}

static void walk(const json_t *v)
{
    const char *key;
    size_t i;
    json_t *item;
    if (json_is_string(v))
        read_text(json_string_value(v));
    json_array_foreach(v, i, item) walk(item);
    json_object_foreach((json_t *)v, key, item)
    {
        (void)rl_json_int(v, key, 0);
        (void)rl_json_str(v, key);
        (void)rl_json_bool(v, key, false);
        walk(item);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *doc = NULL;
    rl_error e;
    if (rl_json_parse(rl_span_of(data, size), 1 << 20, &doc, &e) == RL_OK)
        walk(doc);
    json_decref(doc);
    return 0;
}
