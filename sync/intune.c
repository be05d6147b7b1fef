/* Intune's managed devices, its list of issued certificates, and Identity Protection's users at risk, all listed whole
 * in every round: Graph has no delta query for them. */
#include "sync/graph.h"
#include "sync/source.h"

#define MANAGED_DEVICES                                                                                                \
    "/deviceManagement/managedDevices"                                                                                 \
    "?$select=id,azureADDeviceId,complianceState,managementState,enrolledDateTime&$top=1000"

static bool is_managed(rl_store *store, const char *device_id)
{
    rl_object_record pointer;
    if (rl_store_object(store, RL_SOURCE_INTUNE_DEVICE_NAME, device_id, &pointer) != RL_OK)
        return false;
    rl_object_clear(&pointer);
    return true;
}

/* Those that bear a managed device's Intune id, or its Entra id. */
static bool governs_device(rl_store *store, const rl_cert_record *cert)
{
    const char *name = rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE_NAME);
    const char *object = rl_cert_binding(cert, RL_SOURCE_ENTRA_DEVICE);
    rl_object_record device;
    if (rl_cert_binding(cert, RL_SOURCE_INTUNE_DEVICE) || (name && is_managed(store, name)))
        return true;
    if (!object || rl_store_object(store, RL_SOURCE_ENTRA_DEVICE, object, &device) != RL_OK)
        return false;
    bool managed = device.name && is_managed(store, device.name);
    rl_object_clear(&device);
    return managed;
}

static bool governs_user(rl_store *store, const rl_cert_record *cert)
{
    (void)store;
    return rl_cert_binding(cert, RL_SOURCE_ENTRA_USER) != NULL;
}

/* Those that an MDM may have got: bound to a device or user of Entra ID or Intune. */
static bool governs_listed(rl_store *store, const rl_cert_record *cert)
{
    static const rl_source sources[] = {RL_SOURCE_ENTRA_DEVICE, RL_SOURCE_ENTRA_DEVICE_NAME, RL_SOURCE_INTUNE_DEVICE,
                                        RL_SOURCE_ENTRA_USER,   RL_SOURCE_ENTRA_USER_NAME,   RL_SOURCE_LISTED_CERT};
    (void)store;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        if (rl_cert_binding(cert, sources[i]))
            return true;
    return false;
}

/* Intune keeps the devices that it retires or wipes in managementState, which not every version of Graph knows. */
const rl_graph_kind rl_intune_kinds[RL_INTUNE_KINDS] = {
    [RL_INTUNE_DEVICE] = {.name = "intune-device",
                          .origin = "sync:intune-device",
                          .source = RL_SOURCE_INTUNE_DEVICE,
                          .name_source = RL_SOURCE_INTUNE_DEVICE_NAME,
                          .shape = {.name = "azureADDeviceId", .listing = true},
                          .path = "/v1.0" MANAGED_DEVICES,
                          .other_path = "/beta" MANAGED_DEVICES,
                          .permission = "DeviceManagementManagedDevices.Read.All",
                          .twice = RL_TWICE_ALWAYS,
                          .opportunistic = true,
                          .governs = governs_device,
                          .put = rl_managed_put,
                          .gone = rl_managed_gone},
    [RL_INTUNE_USER_RISK] =
        {.name = "user-risk",
         .origin = "sync:user-risk",
         .source = RL_SOURCE_USER_RISK,
         .shape = {.listing = true},
         .path = "/v1.0/identityProtection/riskyUsers"
                 "?$filter=riskState%20eq%20%27atRisk%27%20or%20riskState%20eq%20%27confirmedCompromised%27"
                 "&$select=id,riskLevel,riskState&$top=500",
         .permission = "IdentityRiskyUser.Read.All (and the tenant a Premium P2 licence)",
         .twice = RL_TWICE_PAGES,
         .may_be_empty = true,
         .paced = true,
         .governs = governs_user,
         .put = rl_user_risk_put,
         .gone = rl_user_risk_gone},
    /* Only Graph's beta version has it. That it is empty, or leaves something out, ends no revocation. */
    [RL_INTUNE_ENDPOINT_LIST] = {.name = "endpoint-list",
                                 .origin = "sync:endpoint-list",
                                 .source = RL_SOURCE_LISTED_CERT,
                                 .shape = {.listing = true, .certificates = true},
                                 .path = "/beta/deviceManagement/deviceConfigurationsAllManagedDeviceCertificateStates",
                                 .permission = "DeviceManagementConfiguration.Read.All",
                                 .may_be_empty = true,
                                 .governs = governs_listed,
                                 .put = rl_listed_put,
                                 .gone = rl_listed_gone},
    [RL_INTUNE_PROFILE_LIST] = {.name = "endpoint-profiles",
                                .origin = "sync:endpoint-profiles",
                                .source = RL_SOURCE_PROFILE_CERT,
                                .shape = {.listing = true, .certificates = true},
                                .permission = "DeviceManagementConfiguration.Read.All",
                                .may_be_empty = true,
                                .governs = governs_listed,
                                .put = rl_listed_put,
                                .gone = rl_listed_gone},
    [RL_INTUNE_REPORT_LIST] = {.name = "endpoint-report",
                               .origin = "sync:endpoint-report",
                               .source = RL_SOURCE_REPORTED_CERT,
                               .shape = {.listing = true, .certificates = true},
                               .permission = "DeviceManagementConfiguration.ReadWrite.All",
                               .may_be_empty = true,
                               .governs = governs_listed,
                               .put = rl_listed_put,
                               .gone = rl_listed_gone},
};

/* The setting by which one of the lists of certificates is off. */
static const char *list_needs(const rl_settings *s, unsigned list)
{
    return !rl_rules_watch(s, RL_BOUND_LISTED_CERT) ? "REVLINE_DEVICE_DIRECTORY"
           : s->sync.endpoint_list_interval == 0    ? "REVLINE_SYNC_ENDPOINT_LIST_INTERVAL"
           : !(s->sync.endpoint_lists & list)       ? "REVLINE_SYNC_ENDPOINT_LISTS"
                                                    : NULL;
}

rl_err rl_intune_make(rl_sync *sync)
{
    const rl_settings *s = sync->settings;
    const char *devices = !rl_rules_watch(s, RL_BOUND_INTUNE_DEVICE) ? "REVLINE_DEVICE_DIRECTORY"
                          : s->sync.intune_interval == 0             ? "REVLINE_SYNC_INTUNE_INTERVAL"
                                                                     : NULL;
    const char *risk = !rl_rules_watch(s, RL_BOUND_USER_RISK) ? "REVLINE_USER_RISK_CHECK"
                       : s->sync.user_risk_interval == 0      ? "REVLINE_SYNC_USER_RISK_INTERVAL"
                       : s->sync.entra_interval == 0 ? "REVLINE_SYNC_ENTRA_INTERVAL" /* whose the certificates are */
                                                     : NULL;
    RL_TRY(rl_graph_add(sync, &rl_intune_kinds[RL_INTUNE_DEVICE], s->sync.intune_interval, devices));
    RL_TRY(rl_graph_add(sync, &rl_intune_kinds[RL_INTUNE_USER_RISK], s->sync.user_risk_interval, risk));
    RL_TRY(rl_graph_add(sync, &rl_intune_kinds[RL_INTUNE_ENDPOINT_LIST], s->sync.endpoint_list_interval,
                        list_needs(s, RL_ENDPOINT_LIST_CERTIFICATES)));
    RL_TRY(rl_profiles_make(sync, list_needs(s, RL_ENDPOINT_LIST_PROFILES)));
    return rl_report_make(sync, list_needs(s, RL_ENDPOINT_LIST_REPORT));
}
