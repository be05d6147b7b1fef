/* What Intune's lists of certificates say of one: whether it revokes it, and which it is. Pure but for memory. */
#include <stdio.h>
#include <stdlib.h>
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

/* ---- the report ---- */
/* Here `issued` would be a certificate that was issued, and the one word that revokes is "revoked": in the column, or,
 * where that is a number, in the column of its names. */
static rl_err read_row(const json_t *row, size_t i, rl_graph_page *out, rl_error *e)
{
    rl_graph_item *item = &out->items[out->n];
    const char *serial, *thumbprint, *status = rl_json_str(row, "CertificateStatus"),
                                     *name = rl_json_str(row, "CertificateStatus_loc");
    if (!json_is_object(row))
        return rl_fail(e, RL_EBADMSG, "graph", "row %zu of the report is not an object", i);
    RL_TRY(read_text(row, "SerialNumber", i, &serial, e));
    RL_TRY(read_text(row, "Thumbprint", i, &thumbprint, e));
    if (!(status && strcasecmp(status, "revoked") == 0) && !(name && strcasecmp(name, "revoked") == 0))
        return RL_OK;
    *item = (rl_graph_item){.id = "", .revoking = true, .order = i};
    if (identify(serial, thumbprint, &out->arena, item) != RL_OK)
        return rl_fail(e, RL_ENOMEM, "graph", "out of memory");
    out->n++;
    return RL_OK;
}

static rl_err read_rows(const json_t *rows, rl_graph_page *out, rl_error *e)
{
    size_t n = json_array_size(rows);
    rl_err err = RL_OK;
    if (!json_is_array(rows))
        return rl_fail(e, RL_EBADMSG, "graph", "the report has no list of rows");
    out->items = n ? calloc(n, sizeof(*out->items)) : NULL;
    if (n && !out->items)
        return rl_fail(e, RL_ENOMEM, "graph", "out of memory");
    for (size_t i = 0; err == RL_OK && i < n; i++)
        err = read_row(json_array_get(rows, i), i, out, e);
    return err;
}

/* Its form is not documented: a list, or one in "values" or "value". */
rl_err rl_report_parse(rl_span body, size_t limit, rl_graph_page *out, rl_error *e)
{
    json_t *root;
    *out = (rl_graph_page){.complete = true};
    rl_arena_init(&out->arena, 0); /* bounded by the body, which is */
    RL_TRY(rl_json_parse(body, limit, &root, e));
    const json_t *values = json_object_get(root, "values"), *value = json_object_get(root, "value");
    rl_err err = read_rows(json_is_array(root) ? root : values ? values : value, out, e);
    json_decref(root);
    if (err != RL_OK)
        rl_graph_page_free(out);
    return err;
}

/* ---- an entry ---- */
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
