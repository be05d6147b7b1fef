/* Small helpers around jansson that make reading outside JSON short and safe. */
#ifndef RL_BASE_JSON_H
#define RL_BASE_JSON_H

#include <jansson.h>

#include "base/span.h"

/* Parses a whole document: bounded by `max` octets, nesting of 64 and 2^20 values; a UTF-8 BOM is skipped, duplicate
 * keys: last wins; embedded NUL in strings is an error. RL_EBADMSG / RL_ERANGE with position in `e`. The caller
 * decrefs. */
rl_err rl_json_parse(rl_span text, size_t max, json_t **out, rl_error *e);

/* Member access that never fails loudly: NULL / fallback when absent or of another type. */
const char *rl_json_str(const json_t *obj, const char *key);
bool rl_json_bool(const json_t *obj, const char *key, bool fallback);
/* Accepts a JSON integer or a decimal string. */
int64_t rl_json_int(const json_t *obj, const char *key, int64_t fallback);

/* RFC 3339; null for 0, which stands for "none". */
json_t *rl_json_time(int64_t unix_s);

#endif
