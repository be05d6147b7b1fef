/* Reads a page of a listing, of the Jamf Pro API or the Classic API. Pure but for memory.
 *
 * The page is checked item by item while it is copied out of the JSON; the first wrong one refuses it. Unknown members
 * are skipped. */
#include "sync/jamf_page.h"

#include <stdlib.h>

#include "base/json.h"

static rl_err wrong(rl_error *e, size_t i, const char *what)
{
    return rl_fail(e, RL_EBADMSG, "jamf", "item %zu of the page: %s", i, what);
}

static rl_err out_of_memory(rl_error *e)
{
    return rl_fail(e, RL_ENOMEM, "jamf", "out of memory");
}

/* Text that holds a number in one API, a number in the other. Objects are counted from 1. */
static rl_err read_id(const json_t *v, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *text = json_string_value(v);
    if (json_is_integer(v) && json_integer_value(v) > 0) {
        item->id = rl_arena_printf(a, "%lld", (long long)json_integer_value(v));
    } else {
        size_t n = text ? strlen(text) : 0;
        if (n == 0 || n >= RL_JAMF_ID_SIZE || text[0] == '0' || strspn(text, "0123456789") != n)
            return wrong(e, i, "its id is not a number above 0");
        item->id = rl_arena_strndup(a, text, n);
    }
    return item->id ? RL_OK : out_of_memory(e);
}

/* In lower case, ASCII only, as those of certificates are. A name too long to be a key is like none: no certificate
 * can carry it. */
static rl_err read_name(const json_t *v, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *name = json_string_value(v);
    if (v && !name && !json_is_null(v))
        return wrong(e, i, "its name is not text");
    item->name_said = true;
    if (!name || !name[0] || strlen(name) > RL_OBJECT_ID_MAX)
        return RL_OK;
    char *copy = rl_arena_strndup(a, name, strlen(name));
    for (char *p = copy; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    item->name = copy;
    return copy ? RL_OK : out_of_memory(e);
}

static rl_err read_items(const json_t *list, bool named, rl_graph_page *p, rl_error *e)
{
    size_t n = json_array_size(list);
    if (n == 0)
        return RL_OK;
    p->items = calloc(n, sizeof(*p->items));
    if (!p->items)
        return out_of_memory(e);
    for (; p->n < n; p->n++) {
        const json_t *v = json_array_get(list, p->n);
        rl_graph_item *item = &p->items[p->n];
        if (!json_is_object(v))
            return wrong(e, p->n, "is not an object");
        item->order = p->n;
        RL_TRY(read_id(json_object_get(v, "id"), &p->arena, p->n, item, e));
        if (named)
            RL_TRY(read_name(json_object_get(v, "name"), &p->arena, p->n, item, e));
    }
    return RL_OK;
}

static rl_err read_page(const json_t *root, const rl_jamf_shape *shape, rl_graph_page *p, uint64_t *total, rl_error *e)
{
    const json_t *list = json_object_get(root, shape->list), *count = json_object_get(root, "totalCount");
    if (!json_is_array(list))
        return rl_fail(e, RL_EBADMSG, "jamf", "the page has no list \"%s\"", shape->list);
    if (shape->counted && (!json_is_integer(count) || json_integer_value(count) < 0))
        return rl_fail(e, RL_EBADMSG, "jamf", "the page has no totalCount");
    *total = shape->counted ? (uint64_t)json_integer_value(count) : json_array_size(list);
    return read_items(list, shape->named, p, e);
}

rl_err rl_jamf_page_parse(rl_span body, size_t limit, const rl_jamf_shape *shape, rl_graph_page *out, uint64_t *total,
                          rl_error *e)
{
    json_t *root;
    *out = (rl_graph_page){0};
    rl_arena_init(&out->arena, 0); /* bounded by the body, which is */
    RL_TRY(rl_json_parse(body, limit, &root, e));
    rl_err err = read_page(root, shape, out, total, e);
    json_decref(root);
    if (err != RL_OK)
        rl_graph_page_free(out);
    return err;
}
