/* See hooks.h. Handlers run on the HTTP loops: they read what was sent, wake sources through the scheduler's lock, and
 * answer. Notifications that come while a round runs cause one more after it, however many they are. */
#include "sync/hooks.h"

#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "sync/source.h"
#include "sync/subscription.h"

enum { BODY_MAX = 256 << 10, TOKEN_MAX = 4096, PASSWORD_MAX = 512 };

#define NO_STORE "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"

static void reply_text(rl_http_request *req, int status, rl_span body)
{
    rl_http_reply(req, status, RL_SPAN_LIT("Content-Type: text/plain\r\n" NO_STORE), body);
}

/* ---- Microsoft Graph ---- */
/* The validation token as it is to be sent back: in a query `+` is a space. .p == NULL: there is none. */
static rl_span validation_token(rl_http_request *req)
{
    static const char name[] = "validationToken=";
    rl_span rest = req->query, value = {0};
    while (rest.n > 0 && !value.p) {
        const uint8_t *end = memchr(rest.p, '&', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n;
        if (n >= sizeof(name) - 1 && memcmp(rest.p, name, sizeof(name) - 1) == 0)
            value = rl_arena_copy(req->arena, rl_span_of(rest.p + sizeof(name) - 1, n - (sizeof(name) - 1)));
        rest = rl_span_of(rest.p + n + (end != NULL), rest.n - n - (end != NULL));
    }
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == '+')
            ((uint8_t *)(uintptr_t)value.p)[i] = ' '; /* our copy */
    return value.p ? rl_http_unescape(req, value) : value;
}

static bool is_ours(const rl_sync *sync, const json_t *item)
{
    const char *state = rl_json_str(item, "clientState");
    return state && rl_secret_eq(rl_span_str(sync->client_state), rl_span_str(state));
}

static void take_notification(rl_sync *sync, const json_t *item)
{
    const char *event = rl_json_str(item, "lifecycleEvent"), *resource = rl_json_str(item, "resource");
    if (event)
        rl_subscription_lifecycle(sync, event);
    else if (resource && strncasecmp(resource[0] == '/' ? resource + 1 : resource, "users", 5) == 0)
        rl_sync_wake(sync, "entra-user", false);
    else
        rl_sync_wake(sync, "entra-", false);
}

static void take_notifications(rl_http_request *req, rl_sync *sync, const json_t *items)
{
    size_t i, ours = 0;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        if (!is_ours(sync, item))
            continue;
        ours++;
        take_notification(sync, item);
    }
    if (ours < json_array_size(items))
        log_client_warn("hooks.graph", "peer", (const char *)req->peer, "refused", json_array_size(items) - ours);
    if (ours > 0)
        reply_text(req, 202, (rl_span){0});
    else
        rl_http_error(req, 403, "these are not the notifications of a subscription of this server");
}

static void on_graph(rl_http_request *req, void *ctx)
{
    json_t *root = NULL;
    rl_span token = validation_token(req);
    if (token.p && token.n <= TOKEN_MAX) {
        reply_text(req, 200, token);
        return;
    }
    rl_err err = rl_json_parse(req->body, BODY_MAX, &root, NULL);
    const json_t *items = json_object_get(root, "value");
    if (err != RL_OK || !json_is_array(items) || json_array_size(items) == 0)
        rl_http_error(req, 400, "a change notification is a JSON object with an array \"value\"");
    else
        take_notifications(req, ctx, items);
    json_decref(root);
}

/* ---- Jamf Pro ---- */
/* Basic authentication with any user name, or the header X-Webhook-Secret: what Jamf Pro can be told to send. */
static bool knows_secret(rl_http_request *req, rl_span secret)
{
    uint8_t text[PASSWORD_MAX];
    size_t n = 0;
    rl_span header = rl_http_header(req, "X-Webhook-Secret"), basic = rl_http_header(req, "Authorization");
    if (header.p)
        return rl_secret_eq(secret, header);
    if (basic.n < 6 || strncasecmp((const char *)basic.p, "Basic ", 6) != 0 ||
        rl_base64_decode(rl_span_of(basic.p + 6, basic.n - 6), false, text, sizeof(text), &n) != RL_OK)
        return false;
    const uint8_t *colon = memchr(text, ':', n);
    bool known = colon && rl_secret_eq(secret, rl_span_of(colon + 1, n - (size_t)(colon + 1 - text)));
    explicit_bzero(text, sizeof(text));
    return known;
}

/* Nothing of what there is, and often: each would cost a listing of all. What was read by the API may be our own
 * listing, and would go in a circle. */
static bool says_nothing(const char *event, const json_t *about)
{
    static const char *const idle[] = {"ComputerCheckIn",
                                       "ComputerPatchPolicyCompleted",
                                       "ComputerPolicyFinished",
                                       "ComputerPushCapabilityChanged",
                                       "DeviceRateLimited",
                                       "MobileDeviceCheckIn",
                                       "MobileDeviceCommandCompleted",
                                       "MobileDevicePushSent",
                                       "PatchSoftwareTitleUpdated",
                                       "PushSent",
                                       "SCEPChallenge",
                                       "SmartGroupComputerMembershipChange",
                                       "SmartGroupMobileDeviceMembershipChange",
                                       "SmartGroupUserMembershipChange"};
    const char *operation = rl_json_str(about, "restAPIOperationType");
    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
        if (strcasecmp(event, idle[i]) == 0)
            return true;
    return strcasecmp(event, "RestAPIOperation") == 0 && operation && strcasecmp(operation, "GET") == 0;
}

/* The sources that an event is about, by the beginning of its name; NULL: none. What was done by the API
 * (RestAPIOperation) may be about any, users have no events of their own, and XML is not read. */
static const char *sources_of(rl_span body)
{
    static const struct {
        const char *event, *sources;
    } kinds[] = {{"Computer", "jamf-computer"}, {"MobileDevice", "jamf-device"}};
    json_t *root = NULL;
    (void)rl_json_parse(body, BODY_MAX, &root, NULL);
    const char *event = rl_json_str(json_object_get(root, "webhook"), "webhookEvent"), *sources = "jamf-";
    for (size_t i = 0; event && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strncasecmp(event, kinds[i].event, strlen(kinds[i].event)) == 0)
            sources = kinds[i].sources;
    if (event && says_nothing(event, json_object_get(root, "event")))
        sources = NULL;
    json_decref(root);
    return sources;
}

static void on_jamf(rl_http_request *req, void *ctx)
{
    rl_sync *sync = ctx;
    rl_span secret = rl_span_str(sync->settings->jamf.webhook_secret);
    const char *sources;
    if (secret.n == 0) {
        rl_http_error(req, 404, "not found");
    } else if (!knows_secret(req, secret)) {
        log_client_warn("hooks.jamf", "peer", (const char *)req->peer, "refused", 1);
        rl_http_error(req, 401, "the webhook's secret is missing or wrong");
    } else {
        if ((sources = sources_of(req->body)))
            rl_sync_wake(sync, sources, false);
        reply_text(req, 202, (rl_span){0});
    }
}

size_t rl_hooks_routes(rl_sync *sync, rl_http_route *routes, size_t cap)
{
    const rl_http_route own[] = {
        {RL_HTTP_POST, "/hooks/graph", false, BODY_MAX, on_graph, sync, NULL},
        {RL_HTTP_POST, "/hooks/jamf", false, BODY_MAX, on_jamf, sync, NULL},
    };
    size_t n = sizeof(own) / sizeof(own[0]);
    if (n > cap)
        return 0;
    memcpy(routes, own, sizeof(own));
    return n;
}
