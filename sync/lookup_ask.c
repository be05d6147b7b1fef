/* The questions about one object, and how their answers are read. Pure but for memory.
 *
 * An object that is found is read as a page of its source would be: an answer that is no page is made one first. */
#include "http/login.h"
#include "sync/apply.h"
#include "sync/jamf_page.h"
#include "sync/lookup.h"

#define DEVICES         "/v1.0/devices?$select=id,deviceId,accountEnabled,isCompliant"
#define SID             ",onPremisesSecurityIdentifier"
#define MANAGED         "/deviceManagement/managedDevices"
#define MANAGED_MEMBERS "$select=id,azureADDeviceId,complianceState,managementState,enrolledDateTime"
#define USERS           "/v1.0/users?$select=id,accountEnabled,userPrincipalName,mail" SID

static const struct {
    const char *source;
    const char *path, *other; /* before the id, behind the Graph URL */
    const char *behind;       /* the id */
    enum { PLAIN, QUOTED, TWICE } id;
} questions[RL_LOOK_KINDS] = {
    [RL_LOOK_ENTRA_DEVICE] = {"entra-device", DEVICES SID "&$filter=deviceId%20eq%20",
                              DEVICES "&$filter=deviceId%20eq%20", "", QUOTED},
    [RL_LOOK_INTUNE_ID] = {"intune-device", "/v1.0" MANAGED "/", "/beta" MANAGED "/", "?" MANAGED_MEMBERS, PLAIN},
    [RL_LOOK_INTUNE_NAME] = {"intune-device", "/v1.0" MANAGED "?" MANAGED_MEMBERS "&$filter=azureADDeviceId%20eq%20",
                             "/beta" MANAGED "?" MANAGED_MEMBERS "&$filter=azureADDeviceId%20eq%20", "", QUOTED},
    [RL_LOOK_ENTRA_USER] = {"entra-user", USERS "&$filter=userPrincipalName%20eq%20", NULL, "%20or%20mail%20eq%20",
                            TWICE},
    [RL_LOOK_COMPUTER] = {.source = "jamf-computer"},
    [RL_LOOK_MOBILE_DEVICE] = {.source = "jamf-device"},
};

/* A common name is Entra's id of the device, or Intune's; where Entra ID is not watched, Intune knows the former, too.
 */
size_t rl_look_plan(const rl_settings *s, rl_source source, rl_look_kind out[RL_LOOKS_MAX])
{
    size_t n = 0;
    bool entra = rl_rules_watch(s, RL_BOUND_ENTRA_DEVICE);
    switch (source) {
    case RL_SOURCE_ENTRA_DEVICE_NAME:
        if (entra)
            out[n++] = RL_LOOK_ENTRA_DEVICE;
        if (rl_rules_watch(s, RL_BOUND_INTUNE_DEVICE)) {
            out[n++] = RL_LOOK_INTUNE_ID;
            if (!entra)
                out[n++] = RL_LOOK_INTUNE_NAME;
        }
        break;
    case RL_SOURCE_ENTRA_USER_NAME:
        out[n++] = RL_LOOK_ENTRA_USER;
        break;
    case RL_SOURCE_JAMF_COMPUTER:
        out[n++] = RL_LOOK_COMPUTER;
        break;
    case RL_SOURCE_JAMF_DEVICE:
        out[n++] = RL_LOOK_MOBILE_DEVICE;
        break;
    default:
        break;
    }
    return n;
}

const char *rl_look_source(rl_look_kind kind)
{
    return questions[kind].source;
}

bool rl_look_is_jamf(rl_look_kind kind)
{
    return kind == RL_LOOK_COMPUTER || kind == RL_LOOK_MOBILE_DEVICE;
}

/* ---- the question ---- */
/* OData's string: in quotation marks, those inside doubled. */
static rl_err put_quoted(rl_buf *out, const char *text)
{
    RL_TRY(rl_buf_printf(out, "%%27"));
    for (const char *c = text; *c; c++) {
        const char one[] = {*c, 0};
        RL_TRY(rl_url_encode(out, one));
        if (*c == '\'')
            RL_TRY(rl_url_encode(out, one));
    }
    return rl_buf_printf(out, "%%27");
}

rl_err rl_look_url(const rl_settings *s, rl_look_kind kind, bool other, const char *id, rl_buf *out)
{
    const bool plain = questions[kind].id == PLAIN;
    RL_TRY(rl_buf_printf(out, "%s%s", s->azure.graph_url,
                         other && questions[kind].other ? questions[kind].other : questions[kind].path));
    RL_TRY(plain ? rl_url_encode(out, id) : put_quoted(out, id));
    RL_TRY(rl_buf_printf(out, "%s", questions[kind].behind));
    if (questions[kind].id == TWICE)
        RL_TRY(put_quoted(out, id));
    return rl_buf_append(out, "", 1);
}

/* ---- the answer ---- */
static rl_err read_number(rl_span page, const char *id, rl_graph_page *out, rl_error *e)
{
    static const rl_jamf_shape shape = {.list = "results", .counted = true};
    uint64_t total;
    RL_TRY(rl_jamf_page_parse(page, page.n, &shape, out, &total, e));
    if (out->n == 1 && strcmp(out->items[0].id, id) == 0)
        return RL_OK;
    rl_graph_page_free(out);
    return rl_fail(e, RL_EBADMSG, "jamf", "the answer is another object than %s", id);
}

static const rl_graph_shape *shape_of(rl_look_kind kind)
{
    static const rl_graph_shape device = {.name = "deviceId", .listing = true},
                                managed = {.name = "azureADDeviceId", .listing = true},
                                user = {.name = "userPrincipalName", .mail = "mail", .listing = true};
    return kind == RL_LOOK_ENTRA_DEVICE ? &device : kind == RL_LOOK_ENTRA_USER ? &user : &managed;
}

/* Whether it is what was asked for: a user is found by either name. */
static bool is_meant(rl_look_kind kind, const rl_graph_item *item, const char *id)
{
    const char *by = kind == RL_LOOK_INTUNE_ID ? item->id : item->name;
    return !item->removed && (kind == RL_LOOK_ENTRA_USER || (by && strcmp(by, id) == 0));
}

static rl_err read_page(const rl_settings *s, rl_look_kind kind, rl_span page, const char *id, rl_graph_page *out,
                        rl_error *e)
{
    size_t kept = 0;
    RL_TRY(rl_graph_page_parse(page, page.n, shape_of(kind), s->azure.graph_url, out, e));
    for (size_t i = 0; i < out->n; i++)
        if (is_meant(kind, &out->items[i], id))
            out->items[kept++] = out->items[i];
    bool is_answer = kept > 0 || (kind != RL_LOOK_INTUNE_ID && out->complete);
    out->n = kept;
    if (is_answer)
        return RL_OK;
    rl_graph_page_free(out);
    return rl_fail(e, RL_EBADMSG, "graph", "the answer is not about %s, or not whole", id);
}

rl_err rl_look_read(const rl_settings *s, rl_look_kind kind, rl_span body, const char *id, rl_graph_page *out,
                    rl_error *e)
{
    const bool jamf = rl_look_is_jamf(kind);
    rl_buf page = {0};
    *out = (rl_graph_page){0};
    if (!jamf && kind != RL_LOOK_INTUNE_ID)
        return read_page(s, kind, body, id, out, e);
    rl_err err = rl_buf_printf(&page, jamf ? "{\"totalCount\":1,\"results\":[" : "{\"value\":[");
    if (err == RL_OK)
        err = rl_buf_append(&page, body.p, body.n);
    if (err == RL_OK)
        err = rl_buf_printf(&page, "]}");
    if (err != RL_OK)
        rl_fail(e, err, "sync", "out of memory");
    else
        err = jamf ? read_number(rl_buf_span(&page), id, out, e) : read_page(s, kind, rl_buf_span(&page), id, out, e);
    rl_buf_free(&page);
    return err;
}
