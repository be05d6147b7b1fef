/* What Intune's list of certificates says of one: whether it revokes it, and which it is. Pure but for memory. */
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "sync/graph_page.h"
#include "sync/ours.h"

enum { SHA1_SIZE = 20 };

static rl_err read_text(const json_t *entry, const char *member, size_t i, const char **out, rl_error *e)
{
    const json_t *v = json_object_get(entry, member);
    *out = json_string_value(v);
    if (v && !json_is_string(v) && !json_is_null(v))
        return rl_fail(e, RL_EBADMSG, "graph", "item %zu of the page: %s is not text", i, member);
    return RL_OK;
}

/* `pending` and `issued` are on their way; `failed` is not. Other words may yet be invented, and say nothing. */
static bool is_revoked(const char *status)
{
    static const char *const words[] = {"pending", "issued", "revoked"};
    for (size_t k = 0; status && k < sizeof(words) / sizeof(words[0]); k++)
        if (strcasecmp(status, words[k]) == 0)
            return true;
    return false;
}

/* NULL when serial number and thumbprint are not both there and numbers: many CAs are in this list. */
static rl_err identify(const char *serial, const char *thumbprint, rl_arena *a, rl_graph_item *item)
{
    rl_serial number, print;
    if (!serial || !thumbprint || rl_number_read(serial, &number) != RL_OK ||
        rl_number_read(thumbprint, &print) != RL_OK)
        return RL_OK;
    rl_listed_cert *listed = rl_arena_zalloc(a, sizeof(*listed));
    if (!listed)
        return RL_ENOMEM;
    uint8_t sha1[SHA1_SIZE] = {0};
    memcpy(sha1 + SHA1_SIZE - print.n, print.b, print.n);
    listed->serial_n = number.n;
    memcpy(listed->serial, number.b, number.n);
    item->listed = listed;
    return rl_hex(rl_span_of(sha1, sizeof(sha1)), listed->thumbprint, sizeof(listed->thumbprint));
}

rl_err rl_listed_read(const json_t *entry, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *status, *serial, *thumbprint;
    RL_TRY(read_text(entry, "certificateRevokeStatus", i, &status, e));
    RL_TRY(read_text(entry, "certificateSerialNumber", i, &serial, e));
    RL_TRY(read_text(entry, "certificateThumbprint", i, &thumbprint, e));
    item->revoking = is_revoked(status);
    if (item->revoking && identify(serial, thumbprint, a, item) != RL_OK)
        return rl_fail(e, RL_ENOMEM, "graph", "out of memory");
    return RL_OK;
}
