/* Entra devices and users, through Microsoft Graph's delta queries: what is particular about them. */
#include "sync/graph.h"
#include "sync/source.h"

static bool governs_device(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE) != NULL;
}

static bool governs_user(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_ENTRA_USER) != NULL;
}

/* Not every version of Graph tells a device's security identifier: then it answers 400 or 501, and the other path is
 * asked. */
#define DEVICE_PROPERTIES "?$select=id,deviceId,accountEnabled,isCompliant"

const rl_graph_kind rl_entra_kinds[RL_ENTRA_KINDS] = {
    [RL_ENTRA_DEVICE] = {.name = "entra-device",
                         .origin = "sync:entra-device",
                         .source = RL_SOURCE_ENTRA_DEVICE,
                         .name_source = RL_SOURCE_ENTRA_DEVICE_NAME,
                         .leaving = RL_SOURCE_ENTRA_DEVICE_LEAVING,
                         .shape = {.name = "deviceId"},
                         .path = "/v1.0/devices/delta" DEVICE_PROPERTIES ",onPremisesSecurityIdentifier",
                         .other_path = "/v1.0/devices/delta" DEVICE_PROPERTIES,
                         .permission = "Device.Read.All (or Directory.Read.All)",
                         .governs = governs_device,
                         .expect = rl_entra_expect,
                         .put = rl_entra_put,
                         .gone = rl_entra_gone},
    [RL_ENTRA_USER] = {.name = "entra-user",
                       .origin = "sync:entra-user",
                       .source = RL_SOURCE_ENTRA_USER,
                       .name_source = RL_SOURCE_ENTRA_USER_NAME,
                       .leaving = RL_SOURCE_ENTRA_USER_LEAVING,
                       .shape = {.name = "userPrincipalName", .mail = "mail"},
                       .path = "/v1.0/users/delta?$select=id,accountEnabled,userPrincipalName,mail,"
                               "onPremisesSecurityIdentifier",
                       .permission = "User.Read.All (or Directory.Read.All)",
                       .governs = governs_user,
                       .expect = rl_entra_expect,
                       .put = rl_entra_put,
                       .gone = rl_entra_gone},
};

rl_err rl_entra_make(rl_sync *sync)
{
    const rl_settings *s = sync->settings;
    const char *off = s->sync.entra_interval == 0 ? "REVLINE_SYNC_ENTRA_INTERVAL" : NULL;
    const char *devices = rl_rules_watch(s, RL_BOUND_ENTRA_DEVICE) ? off : "REVLINE_DEVICE_DIRECTORY";
    RL_TRY(rl_graph_add(sync, &rl_entra_kinds[RL_ENTRA_DEVICE], s->sync.entra_interval, devices));
    return rl_graph_add(sync, &rl_entra_kinds[RL_ENTRA_USER], s->sync.entra_interval, off);
}
