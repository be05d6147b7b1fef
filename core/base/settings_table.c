/* The settings table: each row is the parser's rule, the help text and the reference. */
#include <stddef.h>

#include "base/settings_table.h"

#define AT(field) offsetof(rl_settings, field)

static const char *const key_types[] = {"rsa2048", "rsa3072", "rsa4096", "ec-p256", "ec-p384", NULL};
static const char *const ocsp_key_types[] = {"rsa2048", "rsa3072", "rsa4096", "ec-p256", "ec-p384", "auto", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};
static const char *const nonces[] = {"echo", "ignore", NULL};
static const char *const unissued[] = {"unknown", "revoked", NULL};
static const char *const responder_ids[] = {"key", "name", NULL};
static const char *const directories[] = {
    "AAD", "Intune", "AADAndIntune", "AADAndIntuneOpportunistic", "AADAndIntuneAndEndpointlist", NULL};
static const char *const checks[] = {"never", "always", NULL};
static const char *const risks[] = {"low", "medium", "high", NULL};
static const char *const stale_policies[] = {"serve", "trylater", NULL};

const rl_setting_row rl_setting_rows[] = {
    {"REVLINE_DATA_DIR", RL_T_STRING, AT(data_dir), "./data", .min = "1", .max = "1024", .group = "Server",
     .help = "Folder of the database, the keys and the control socket."},
    {"REVLINE_HTTP_LISTEN", RL_T_ADDRESS, AT(http.listen), "0.0.0.0:8080", .group = "Server",
     .help = "Where plain HTTP is served: OCSP, SCEP, CA certificate, probes, metrics."},
    {"REVLINE_BASE_URL", RL_T_URL, AT(http.base_url), "", "from the listener", .alias = "AppConfig__BaseUrl",
     .group = "Server", .help = "How clients reach this server: goes into the certificates' AIA extension."},
    {"REVLINE_WORKERS", RL_T_INT, AT(http.workers), "", "number of cores", "1", "256", .group = "Server",
     .help = "HTTP loops, one thread each."},
    {"REVLINE_HTTP_HEADER_LIMIT", RL_T_SIZE, AT(http.header_limit), "16KiB", .min = "1KiB", .max = "1MiB",
     .group = "Server", .help = "Largest request line with headers; above it 431."},
    {"REVLINE_OCSP_REQUEST_LIMIT", RL_T_SIZE, AT(http.ocsp_body_limit), "16KiB", .min = "1KiB", .max = "1MiB",
     .group = "Server", .help = "Largest body of an OCSP request; above it 413."},
    {"REVLINE_SCEP_REQUEST_LIMIT", RL_T_SIZE, AT(http.scep_body_limit), "256KiB", .min = "4KiB", .max = "4MiB",
     .group = "Server", .help = "Largest body of a SCEP request; above it 413."},
    {"REVLINE_HTTP_HEADER_TIMEOUT", RL_T_DURATION, AT(http.header_timeout), "10s", .min = "100ms", .max = "10m",
     .group = "Server",
     .help = "From a new connection, or a later request's first octet, until the request's headers are complete."},
    {"REVLINE_HTTP_BODY_TIMEOUT", RL_T_DURATION, AT(http.body_timeout), "30s", .min = "100ms", .max = "1h",
     .group = "Server",
     .help = "From the headers until the body is complete; also how long a client may leave an answer unread."},
    {"REVLINE_HTTP_IDLE_TIMEOUT", RL_T_DURATION, AT(http.idle_timeout), "60s", .min = "100ms", .max = "1d",
     .group = "Server", .help = "How long a kept-alive connection may stay without a request."},
    {"REVLINE_STOP_TIMEOUT", RL_T_DURATION, AT(http.stop_timeout), "10s", .min = "0", .max = "10m", .group = "Server",
     .help = "How long running requests may take to finish after SIGTERM."},
    {"REVLINE_HTTP_MAX_CONNECTIONS", RL_T_INT, AT(http.max_connections), "10000", .min = "1", .max = "1000000",
     .group = "Server", .help = "Connections in all; one more is told 503."},
    {"REVLINE_HTTP_MAX_CONNECTIONS_PER_ADDRESS", RL_T_INT, AT(http.max_connections_per_address), "1000", .min = "0",
     .max = "1000000", .group = "Server", .help = "Connections from one client address; 0 is no limit."},
    {"REVLINE_LOG_LEVEL", RL_T_ENUM, AT(log.level), "info", .choices = levels, .group = "Log",
     .help = "The least important lines that are written."},
    {"REVLINE_LOG_FORMAT", RL_T_ENUM, AT(log.format), "logfmt", .choices = formats, .group = "Log",
     .help = "Form of a log line."},

    {"REVLINE_CA_KEY", RL_T_ENUM, AT(ca.key), "rsa4096", .choices = key_types, .group = "Certificate authority",
     .help = "Key of the root CA, made on first start."},
    {"REVLINE_CA_SUBJECT", RL_T_STRING, AT(ca.subject), "CN=Revline Root CA", .min = "4", .max = "512",
     .group = "Certificate authority", .help = "Subject of the root CA, made on first start."},
    {"REVLINE_CA_VALIDITY", RL_T_DURATION, AT(ca.validity), "3650d", .min = "1d", .max = "36500d",
     .group = "Certificate authority", .help = "How long the root CA is valid."},
    {"REVLINE_CERT_VALIDITY", RL_T_DURATION, AT(ca.cert_validity), "730d", .min = "1m", .max = "36500d",
     .alias = "AppConfig__ValidityPeriodDays", .alias_unit = "d", .group = "Certificate authority",
     .help = "Longest validity of any certificate; profiles may lower it."},
    {"REVLINE_CERT_CLOCK_SKEW", RL_T_DURATION, AT(ca.clock_skew), "24h", .min = "0", .max = "30d",
     .alias = "AppConfig__ValidityClockSkewMinutes", .alias_unit = "m", .group = "Certificate authority",
     .help = "How far back a certificate's notBefore lies, for clients whose clock is slow."},

    {"REVLINE_OCSP_KEY", RL_T_ENUM, AT(ocsp.key), "auto", .choices = ocsp_key_types, .group = "OCSP",
     .help = "Key of the delegated responder, in memory only; auto takes the CA key's family (rsa2048 or ec-p256)."},
    {"REVLINE_OCSP_RESPONDER_VALIDITY", RL_T_DURATION, AT(ocsp.responder_validity), "24h", .min = "2s", .max = "365d",
     .alias = "AppConfig__OCSP__AuthorizedResponderValidityHours", .alias_unit = "h", .group = "OCSP",
     .help = "Validity of the delegated responder's certificate; renewed at half of it."},
    {"REVLINE_OCSP_VALIDITY_GOOD", RL_T_DURATION, AT(ocsp.validity_good), "10m", .min = "1s", .max = "30d",
     .alias = "AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists", .alias_unit = "s", .group = "OCSP",
     .help = "nextUpdate after thisUpdate of a good answer."},
    {"REVLINE_OCSP_VALIDITY_HOLD", RL_T_DURATION, AT(ocsp.validity_hold), "5m", .min = "1s", .max = "30d",
     .alias = "AppConfig__OCSP__CacheTimeOutSecondsIfDeviceIsDisabled", .alias_unit = "s", .group = "OCSP",
     .help = "The same for a certificate on hold."},
    {"REVLINE_OCSP_VALIDITY_REVOKED", RL_T_DURATION, AT(ocsp.validity_revoked), "24h", .min = "1s", .max = "365d",
     .group = "OCSP", .help = "The same for a revoked certificate."},
    {"REVLINE_OCSP_VALIDITY_UNKNOWN", RL_T_DURATION, AT(ocsp.validity_unknown), "1m", .min = "1s", .max = "30d",
     .group = "OCSP", .help = "The same for a certificate that was never issued."},
    {"REVLINE_OCSP_NONCE", RL_T_ENUM, AT(ocsp.nonce), "echo", .choices = nonces, .group = "OCSP",
     .help = "A request's nonce: signed into a fresh answer, or ignored and answered from the cache."},
    {"REVLINE_OCSP_UNISSUED", RL_T_ENUM, AT(ocsp.unissued), "unknown", .choices = unissued, .group = "OCSP",
     .help = "Answer for a serial number that was never issued; revoked is RFC 6960's extended revoke."},
    {"REVLINE_OCSP_RESPONDER_ID", RL_T_ENUM, AT(ocsp.responder_id), "key", .choices = responder_ids, .group = "OCSP",
     .help =
         "How an answer names its signer: by the hash of the responder's key, or by the subject of its certificate."},
    {"REVLINE_OCSP_ARCHIVE", RL_T_DURATION, AT(ocsp.archive), "0", .min = "0", .max = "14600d", .group = "OCSP",
     .help = "How long after a certificate's end its status is still told, with RFC 6960's archive cutoff; after that, "
             "and with 0 at once, an expired certificate is unknown unless it was revoked."},
    {"REVLINE_OCSP_CACHE_SIZE", RL_T_SIZE, AT(ocsp.cache_size), "256MiB", .min = "64KiB", .max = "1024GiB",
     .group = "OCSP", .help = "Memory for signed answers."},
    {"REVLINE_OCSP_MAX_CERT_IDS", RL_T_INT, AT(ocsp.max_cert_ids), "16", .min = "1", .max = "64", .group = "OCSP",
     .help = "Certificates that one request may ask about."},
    {"REVLINE_OCSP_SIGN_QUEUE", RL_T_INT, AT(ocsp.sign_queue_limit), "4096", .min = "1", .max = "1000000",
     .group = "OCSP", .help = "Signatures waiting or being made; above it tryLater."},

    {"REVLINE_STATIC_CHALLENGE", RL_T_STRING, AT(scep.static_challenge), "", .min = "8", .max = "256", .secret = true,
     .alias = "AppConfig__StaticValidation__RequestPassword", .group = "SCEP",
     .help = "Challenge password of /static; empty turns the profile off."},
    {"REVLINE_STATIC_AAD_CHALLENGE", RL_T_STRING, AT(scep.static_aad_challenge), "", .min = "8", .max = "256",
     .secret = true, .alias = "AppConfig__StaticAADValidation__RequestPassword", .group = "SCEP",
     .help = "Challenge password of /static/aad (bound to Entra devices and users); empty turns the profile off."},
    {"REVLINE_STATIC_VALIDITY", RL_T_DURATION, AT(scep.static_validity), "730d", .min = "1m", .max = "36500d",
     .alias = "AppConfig__StaticValidation__ValidityPeriodDays", .alias_unit = "d", .group = "SCEP",
     .help = "Validity of certificates from /static."},
    {"REVLINE_STATIC_AAD_VALIDITY", RL_T_DURATION, AT(scep.static_aad_validity), "730d", .min = "1m", .max = "36500d",
     .alias = "AppConfig__StaticAADValidation__ValidityPeriodDays", .alias_unit = "d", .group = "SCEP",
     .help = "Validity of certificates from /static/aad."},
    {"REVLINE_SCEP_LEGACY", RL_T_BOOL, AT(scep.allow_legacy), "false", .group = "SCEP",
     .help = "Accept and offer 3DES and SHA-1, for clients that know nothing better."},
    {"REVLINE_SCEP_CONCURRENT_LIMIT", RL_T_INT, AT(scep.concurrent_limit), "50", .min = "1", .max = "10000",
     .alias = "AppConfig__ConcurrentSCEPRequestLimit", .alias_unit = "", .group = "SCEP",
     .help = "SCEP requests worked on at once; one more is told 429."},

    {"REVLINE_SYNC_ENTRA_INTERVAL", RL_T_DURATION, AT(sync.entra_interval), "30s", .min = "0", .max = "1d",
     .group = "Sync",
     .help = "How often changed users and devices are fetched from Microsoft Graph; 0 turns the source off."},
    {"REVLINE_SYNC_INTUNE_INTERVAL", RL_T_DURATION, AT(sync.intune_interval), "60s", .min = "0", .max = "1d",
     .group = "Sync", .help = "How often the managed devices of Microsoft Intune are listed; 0 turns the source off."},
    {"REVLINE_SYNC_USER_RISK_INTERVAL", RL_T_DURATION, AT(sync.user_risk_interval), "60s", .min = "0", .max = "1d",
     .group = "Sync",
     .help = "How often the users at risk are listed, when REVLINE_USER_RISK_CHECK is always; 0 turns the source off."},
    {"REVLINE_SYNC_FULL_INTERVAL", RL_T_DURATION, AT(sync.full_interval), "24h", .min = "1s", .max = "30d",
     .group = "Sync", .help = "How often each source is compared as a whole."},
    {"REVLINE_SYNC_JITTER", RL_T_PERCENT, AT(sync.jitter_percent), "10%", .min = "0%", .max = "50%", .group = "Sync",
     .help = "How much an interval varies at random, so that servers do not ask in step."},
    {"REVLINE_SYNC_REQUEST_TIMEOUT", RL_T_DURATION, AT(sync.request_timeout), "30s", .min = "100ms", .max = "10m",
     .group = "Sync", .help = "One request to an upstream, from start to end."},
    {"REVLINE_SYNC_CONNECT_TIMEOUT", RL_T_DURATION, AT(sync.connect_timeout), "10s", .min = "100ms", .max = "5m",
     .group = "Sync", .help = "Connecting to an upstream, TLS included."},
    {"REVLINE_SYNC_RETRY_MAX", RL_T_DURATION, AT(sync.retry_max), "5m", .min = "100ms", .max = "1d", .group = "Sync",
     .help = "Longest wait between tries of a failing upstream (its own Retry-After comes before this)."},
    {"REVLINE_SYNC_PAGE_LIMIT", RL_T_SIZE, AT(sync.page_limit), "64MiB", .min = "64KiB", .max = "1GiB", .group = "Sync",
     .help = "Largest page an upstream may send, uncompressed."},
    {"REVLINE_SYNC_CRL_URLS", RL_T_URL_LIST, AT(sync.crl_urls), "", .max = "16", .group = "Sync",
     .help = "Where other CAs publish their revocation lists, for OCSP to answer by; the CAs' certificates come in by "
             "revline import."},
    {"REVLINE_SYNC_CRL_INTERVAL", RL_T_DURATION, AT(sync.crl_interval), "5m", .min = "0", .max = "7d", .group = "Sync",
     .help = "How often each of these lists is fetched; 0 turns them off."},
    {"REVLINE_SYNC_CRL_LIMIT", RL_T_SIZE, AT(sync.crl_limit), "64MiB", .min = "1KiB", .max = "1GiB", .group = "Sync",
     .help = "Largest revocation list that is fetched."},
    {"REVLINE_SYNC_CRL_SHA1", RL_T_BOOL, AT(sync.crl_sha1), "false", .group = "Sync",
     .help = "Accept revocation lists whose signature is made with SHA-1, as old CAs do; MD5 never is."},
    {"REVLINE_SYNC_STALE_AFTER", RL_T_DURATION, AT(sync.stale_after), "1h", .min = "0", .max = "30d", .group = "Sync",
     .help = "How long after its nextUpdate another CA's revocation list still counts as current."},
    {"REVLINE_SYNC_STALE_POLICY", RL_T_ENUM, AT(sync.stale_policy), "serve", .choices = stale_policies, .group = "Sync",
     .help = "What OCSP says of that CA's certificates from then on: what is known, or tryLater unless they are "
             "revoked for good."},

    {"REVLINE_DEVICE_DIRECTORY", RL_T_ENUM, AT(rules.directory), "AADAndIntune", .choices = directories,
     .alias = "AppConfig__IntuneValidation__DeviceDirectory", .group = "Status rules",
     .help = "Where the devices are that certificates name: in Microsoft Entra ID, in Intune, or in either; the last "
             "two are for SCEPman's settings and watch both as AADAndIntune does."},
    {"REVLINE_COMPLIANCE_CHECK", RL_T_ENUM, AT(rules.compliance), "never", .choices = checks,
     .alias = "AppConfig__IntuneValidation__ComplianceCheck", .group = "Status rules",
     .help = "Certificates of devices that are not compliant are on hold, or compliance does not matter."},
    {"REVLINE_COMPLIANCE_GRACE", RL_T_DURATION, AT(rules.grace), "0", .min = "0", .max = "365d",
     .alias = "AppConfig__IntuneValidation__ComplianceGracePeriodMinutes", .alias_unit = "m", .group = "Status rules",
     .help = "How long after a device's enrolment in Intune its compliance does not matter."},
    {"REVLINE_REVOKE_ON_WIPE", RL_T_BOOL, AT(rules.revoke_on_wipe), "true",
     .alias = "AppConfig__IntuneValidation__RevokeCertificatesOnWipe", .group = "Status rules",
     .help = "Wiping or retiring a device in Intune revokes its certificates for good."},
    {"REVLINE_USER_RISK_CHECK", RL_T_ENUM, AT(rules.user_risk), "never", .choices = checks,
     .alias = "AppConfig__IntuneValidation__UserRiskCheck", .group = "Status rules",
     .help =
         "Certificates of users whom Entra ID Protection holds to be at risk are on hold, or risk does not matter."},
    {"REVLINE_UNTOLERATED_USER_RISKS", RL_T_ENUM_SET, AT(rules.untolerated_risks), "high", .choices = risks,
     .alias = "AppConfig__IntuneValidation__UntoleratedUserRisks", .group = "Status rules",
     .help = "The levels of risk that put them on hold."},

    {"REVLINE_JAMF_WEBHOOK_SECRET", RL_T_STRING, AT(hooks.jamf_secret), "", .max = "255", .secret = true,
     .group = "Jamf Pro",
     .help = "What Jamf Pro's webhooks to /hooks/jamf carry, as the password of basic authentication or in the header "
             "X-Webhook-Secret; empty turns the path off."},

    {"AZURE_TENANT_ID", RL_T_STRING, AT(azure.tenant_id), "", .max = "255", .group = "Microsoft Entra ID",
     .help = "Tenant whose directory is watched; with the next two it turns the source on."},
    {"AZURE_CLIENT_ID", RL_T_STRING, AT(azure.client_id), "", .max = "255", .group = "Microsoft Entra ID",
     .help =
         "Application (client) id; needs Device.Read.All and User.Read.All, or Directory.Read.All, and for Intune's "
         "devices DeviceManagementManagedDevices.Read.All."},
    {"AZURE_CLIENT_SECRET", RL_T_STRING, AT(azure.client_secret), "", .max = "4096", .secret = true,
     .group = "Microsoft Entra ID", .help = "The application's secret."},
    {"AZURE_AUTHORITY_HOST", RL_T_URL, AT(azure.authority_host), "https://login.microsoftonline.com",
     .group = "Microsoft Entra ID", .help = "Where tokens come from; other clouds, tests."},
    {"REVLINE_GRAPH_URL", RL_T_URL, AT(azure.graph_url), "https://graph.microsoft.com", .group = "Microsoft Entra ID",
     .help = "Microsoft Graph; other clouds, tests."},
};
const size_t rl_setting_rows_n = sizeof(rl_setting_rows) / sizeof(rl_setting_rows[0]);
