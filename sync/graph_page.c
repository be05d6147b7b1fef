/* Reads a page of a Graph delta query or list. Pure but for memory.
 *
 * The page is checked item by item while it is copied out of the JSON; the first wrong one refuses it. Unknown members
 * are skipped. Then the items are sorted by id and repeated ones merged. */
#include "sync/graph_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "http/client.h"

enum { ERROR_BODY_MAX = 256 * 1024 };

static rl_err wrong(rl_error *e, size_t i, const char *what)
{
    return rl_fail(e, RL_EBADMSG, "graph", "item %zu of the page: %s", i, what);
}

/* Ids are compared in lower case and without braces. ASCII only: GUIDs and user principal names have nothing else in
 * capitals that the directory would take for the same. NULL when out of memory. */
static const char *normal(rl_arena *a, const char *text)
{
    size_t n = strlen(text);
    if (n > 2 && text[0] == '{' && text[n - 1] == '}') {
        text++;
        n -= 2;
    }
    char *out = rl_arena_strndup(a, text, n);
    for (char *p = out; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return out;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* ---- one item ---- */
static rl_err read_id(const json_t *v, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *id = json_string_value(v);
    if (!id || !id[0])
        return wrong(e, i, "has no id");
    if (strlen(id) > RL_OBJECT_ID_MAX || has_control(id))
        return wrong(e, i, "its id is not one");
    item->id = normal(a, id);
    return item->id ? RL_OK : rl_fail(e, RL_ENOMEM, "graph", "out of memory");
}

static rl_err read_enabled(const json_t *v, size_t i, rl_graph_item *item, rl_error *e)
{
    if (!v || json_is_null(v))
        return RL_OK;
    if (!json_is_boolean(v))
        return wrong(e, i, "accountEnabled is neither true nor false");
    item->enabled = json_is_true(v) ? RL_ENABLED_YES : RL_ENABLED_NO;
    return RL_OK;
}

/* Text, or nothing: absent and null are the same. */
static rl_err read_text(const json_t *v, size_t i, const char *what, const char **out, rl_error *e)
{
    *out = json_string_value(v);
    if (v && !json_is_string(v) && !json_is_null(v))
        return rl_fail(e, RL_EBADMSG, "graph", "item %zu of the page: its %s is not text", i, what);
    return RL_OK;
}

/* A managed device has a state, an Entra device says yes or no. */
static rl_err read_compliance(const json_t *v, size_t i, rl_graph_item *item, rl_error *e)
{
    const json_t *yes = json_object_get(v, "isCompliant");
    const char *state;
    RL_TRY(read_text(json_object_get(v, "complianceState"), i, "complianceState", &state, e));
    item->compliance = rl_compliance_parse(state);
    if (!yes || json_is_null(yes))
        return RL_OK;
    if (!json_is_boolean(yes))
        return wrong(e, i, "isCompliant is neither true nor false");
    item->compliance = json_is_true(yes) ? RL_COMPLIANCE_COMPLIANT : RL_COMPLIANCE_NONCOMPLIANT;
    return RL_OK;
}

/* Dates that were never set are written 0001-01-01. */
static rl_err read_enrolled(const json_t *v, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *text;
    RL_TRY(read_text(v, i, "enrolledDateTime", &text, e));
    if (!text)
        return RL_OK;
    if (rl_time_parse_rfc3339(text, &item->enrolled) != RL_OK)
        return wrong(e, i, "enrolledDateTime is not a time");
    if (item->enrolled < 0)
        item->enrolled = 0;
    item->enrolled_said = true;
    return RL_OK;
}

static bool is_among(const char *text, const char *const *words)
{
    while (*words && strcasecmp(text, *words) != 0)
        words++;
    return *words != NULL;
}

/* Nothing is said by null, by a level that is hidden from who has no licence, or by a word that Graph may yet invent.
 */
static rl_err read_risk(const json_t *v, size_t i, rl_graph_item *item, rl_error *e)
{
    static const char *const risky[] = {"atRisk", "confirmedCompromised", NULL}, *const over[] = {
                                                                                     "none", "confirmedSafe",
                                                                                     "remediated", "dismissed", NULL};
    const char *level, *state;
    RL_TRY(read_text(json_object_get(v, "riskLevel"), i, "riskLevel", &level, e));
    RL_TRY(read_text(json_object_get(v, "riskState"), i, "riskState", &state, e));
    if (!level || !state)
        return RL_OK;
    if (is_among(state, risky))
        item->risk = rl_risk_parse(level);
    item->risk_said = item->risk != RL_RISK_NONE || is_among(state, over) || strcasecmp(level, "none") == 0;
    return RL_OK;
}

static rl_err read_sid(const json_t *v, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e)
{
    const char *sid;
    RL_TRY(read_text(v, i, "onPremisesSecurityIdentifier", &sid, e));
    item->sid_said = v != NULL;
    if (!sid || !rl_sid_valid(sid))
        return RL_OK;
    item->sid = rl_arena_strndup(a, sid, strlen(sid));
    return item->sid ? RL_OK : rl_fail(e, RL_ENOMEM, "graph", "out of memory");
}

static bool is_zero_guid(const char *text)
{
    return strcmp(text, "00000000-0000-0000-0000-000000000000") == 0;
}

/* A name too long to be a key is like none: no certificate can carry it. */
static rl_err read_name(const json_t *v, rl_arena *a, const rl_graph_shape *shape, size_t i, rl_graph_item *item,
                        rl_error *e)
{
    if (!v)
        return RL_OK;
    if (!json_is_string(v) && !json_is_null(v))
        return wrong(e, i, "its name is not text");
    const char *name = json_string_value(v);
    item->name_said = true;
    if (!name || !name[0] || strlen(name) > RL_OBJECT_ID_MAX)
        return RL_OK;
    item->name = shape->verbatim ? rl_arena_strndup(a, name, strlen(name)) : normal(a, name);
    if (!item->name)
        return rl_fail(e, RL_ENOMEM, "graph", "out of memory");
    if (is_zero_guid(item->name)) /* a device that is not registered has this for its deviceId */
        item->name = NULL;
    return RL_OK;
}

static rl_err read_mail(const json_t *v, rl_arena *a, const rl_graph_shape *shape, size_t i, rl_graph_item *item,
                        rl_error *e)
{
    rl_graph_item other = {0};
    rl_err err = read_name(v, a, shape, i, &other, e);
    item->mail = other.name;
    item->mail_said = other.name_said;
    return err;
}

static rl_err read_item(const json_t *v, rl_arena *a, const rl_graph_shape *shape, size_t i, rl_graph_item *item,
                        rl_error *e)
{
    *item = (rl_graph_item){.order = i};
    if (!json_is_object(v))
        return wrong(e, i, "is not an object");
    const json_t *removed = json_object_get(v, "@removed");
    if (removed && !json_is_object(removed))
        return wrong(e, i, "@removed is not an object");
    item->removed = removed != NULL;
    RL_TRY(read_id(json_object_get(v, "id"), a, i, item, e));
    if (shape->certificates)
        return rl_listed_read(v, a, i, item, e);
    RL_TRY(read_enabled(json_object_get(v, "accountEnabled"), i, item, e));
    RL_TRY(read_compliance(v, i, item, e));
    RL_TRY(read_enrolled(json_object_get(v, "enrolledDateTime"), i, item, e));
    RL_TRY(read_risk(v, i, item, e));
    RL_TRY(read_sid(json_object_get(v, "onPremisesSecurityIdentifier"), a, i, item, e));
    const char *management;
    RL_TRY(read_text(json_object_get(v, "managementState"), i, "managementState", &management, e));
    item->management = rl_management_parse(management);
    if (shape->mail)
        RL_TRY(read_mail(json_object_get(v, shape->mail), a, shape, i, item, e));
    return shape->name ? read_name(json_object_get(v, shape->name), a, shape, i, item, e) : RL_OK;
}

/* ---- repeated ids ---- */
static int by_id_and_order(const void *x, const void *y)
{
    const rl_graph_item *a = x, *b = y;
    int c = strcmp(a->id, b->id);
    return c ? c : a->order < b->order ? -1 : 1;
}

static void take_later(rl_graph_item *last, const rl_graph_item *item)
{
    last->removed = item->removed;
    last->revoking = item->revoking;
    last->listed = item->listed;
    if (item->enabled != RL_ENABLED_UNSAID)
        last->enabled = item->enabled;
    if (item->compliance != RL_COMPLIANCE_UNSAID)
        last->compliance = item->compliance;
    if (item->management != RL_MANAGEMENT_UNSAID)
        last->management = item->management;
    if (item->enrolled_said) {
        last->enrolled_said = true;
        last->enrolled = item->enrolled;
    }
    if (item->risk_said) {
        last->risk_said = true;
        last->risk = item->risk;
    }
    if (item->sid_said) {
        last->sid_said = true;
        last->sid = item->sid;
    }
    if (item->name_said) {
        last->name_said = true;
        last->name = item->name;
    }
    if (item->mail_said) {
        last->mail_said = true;
        last->mail = item->mail;
    }
}

static void merge(rl_graph_page *p)
{
    size_t kept = 0;
    qsort(p->items, p->n, sizeof(*p->items), by_id_and_order);
    for (size_t i = 0; i < p->n; i++) {
        rl_graph_item *item = &p->items[i], *last = kept ? &p->items[kept - 1] : NULL;
        if (last && strcmp(last->id, item->id) == 0)
            take_later(last, item);
        else
            p->items[kept++] = *item;
    }
    p->n = kept;
}

/* ---- the page ---- */
static rl_err read_items(const json_t *value, const rl_graph_shape *shape, rl_graph_page *p, rl_error *e)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value))
        return rl_fail(e, RL_EBADMSG, "graph", "the page has no list \"value\"");
    if (n == 0)
        return RL_OK;
    p->items = calloc(n, sizeof(*p->items));
    if (!p->items)
        return rl_fail(e, RL_ENOMEM, "graph", "out of memory");
    for (p->n = 0; p->n < n; p->n++)
        RL_TRY(read_item(json_array_get(value, p->n), &p->arena, shape, p->n, &p->items[p->n], e));
    merge(p);
    return RL_OK;
}

static rl_err check_link(const char *link, const char *origin, rl_error *e)
{
    size_t n = strlen(link);
    if (n > RL_GRAPH_LINK_MAX)
        return rl_fail(e, RL_ERANGE, "graph", "the page's link has %zu octets, more than the %d allowed", n,
                       RL_GRAPH_LINK_MAX);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)link[i] <= 0x20 || (unsigned char)link[i] >= 0x7f || link[i] == '\\')
            return rl_fail(e, RL_EBADMSG, "graph", "the page's link is not a URL");
    if (!rl_http_same_origin(link, origin))
        return rl_fail(e, RL_EDENIED, "graph", "the page's link leads away from %s", origin);
    return RL_OK;
}

static rl_err read_link(const json_t *root, bool listing, const char *origin, rl_graph_page *p, rl_error *e)
{
    const json_t *next = json_object_get(root, "@odata.nextLink"), *delta = json_object_get(root, "@odata.deltaLink");
    next = json_is_null(next) ? NULL : next;
    delta = json_is_null(delta) ? NULL : delta;
    if (listing && !next) {
        p->complete = true;
        return RL_OK;
    }
    if (!next == !delta)
        return rl_fail(e, RL_EBADMSG, "graph", "the page has %s",
                       next ? "both a nextLink and a deltaLink" : "neither a nextLink nor a deltaLink");
    const char *link = json_string_value(next ? next : delta);
    if (!link)
        return rl_fail(e, RL_EBADMSG, "graph", "the page's link is not text");
    RL_TRY(check_link(link, origin, e));
    p->complete = delta != NULL;
    p->link = rl_arena_strndup(&p->arena, link, strlen(link));
    return p->link ? RL_OK : rl_fail(e, RL_ENOMEM, "graph", "out of memory");
}

rl_err rl_graph_page_parse(rl_span body, size_t limit, const rl_graph_shape *shape, const char *origin,
                           rl_graph_page *out, rl_error *e)
{
    json_t *root;
    *out = (rl_graph_page){0};
    rl_arena_init(&out->arena, 0); /* bounded by the body, which is */
    RL_TRY(rl_json_parse(body, limit, &root, e));
    rl_err err = RL_OK;
    if (!json_is_object(root))
        err = rl_fail(e, RL_EBADMSG, "graph", "the page is not an object");
    if (err == RL_OK)
        err = read_link(root, shape->listing, origin, out, e);
    if (err == RL_OK)
        err = read_items(json_object_get(root, "value"), shape, out, e);
    json_decref(root);
    if (err != RL_OK)
        rl_graph_page_free(out);
    return err;
}

rl_err rl_graph_page_join(rl_graph_page *p, rl_graph_page *next)
{
    if (next->n > 0) {
        rl_graph_item *items = realloc(p->items, (p->n + next->n) * sizeof(*items));
        if (!items)
            return RL_ENOMEM;
        memcpy(items + p->n, next->items, next->n * sizeof(*items));
        p->items = items;
        p->n += next->n;
    }
    p->link = next->link;
    p->complete = next->complete;
    rl_arena_join(&p->arena, &next->arena);
    rl_graph_page_free(next);
    return RL_OK;
}

void rl_graph_page_free(rl_graph_page *p)
{
    free(p->items);
    rl_arena_free(&p->arena);
    *p = (rl_graph_page){0};
}

void rl_graph_error_code(rl_span body, char *out, size_t cap)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    json_t *root = NULL;
    out[0] = 0;
    if (rl_json_parse(body, ERROR_BODY_MAX, &root, NULL) != RL_OK)
        return;
    const char *code = rl_json_str(json_object_get(root, "error"), "code");
    if (code && code[strspn(code, allowed)] == 0)
        snprintf(out, cap, "%s", code);
    json_decref(root);
}
