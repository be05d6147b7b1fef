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
static const char *const lookup_policies[] = {"off", "prefer", "require", NULL};
static const char *const endpoint_lists[] = {"certificates", "profiles", "report", NULL};
static const char *const stale_policies[] = {"serve", "trylater", NULL};

static const char *const logins[] = {"auto", "secret", "certificate", "federated", "managed-identity", NULL};
static const char *const clouds[] = {"public", "us-government", "us-dod", "china", NULL};
static const char *const key_usages[] = {"digitalSignature", "nonRepudiation", "keyEncipherment",
                                         "dataEncipherment", "keyAgreement",   NULL};
static const char *const ekus[] = {"clientAuth",       "serverAuth",   "emailProtection",
                                   "msSmartcardLogin", "ipsecIKE",     "pkInitKDC",
                                   "codeSigning",      "timeStamping", NULL};
static const char *const key_kinds[] = {"rsa2048", "rsa3072", "rsa4096", "ec-p256", "ec-p384", "ec-p521", NULL};
static const char *const name_kinds[] = {"dns", "wildcard", "ip", "mail", "uri", "upn", NULL};
static const char *const bindings[] = {"none", "entra", "jamf", NULL};
static const char *const cert_kinds[] = {"DomainController",
                                         "Static",
                                         "IntuneUser",
                                         "IntuneDevice",
                                         "JamfUser",
                                         "JamfUserWithDevice",
                                         "JamfUserWithComputer",
                                         "JamfDevice",
                                         "JamfComputer",
                                         NULL};

/* ---- the rows that every enrollment profile has ---- */
#define RULE(i, field) AT(scep.profiles[i].field)
/* SCEPman's name of a profile's setting; without a section of its own there is none. */
#define NO_ALIAS(name)     NULL
#define STATIC_ALIAS(name) "AppConfig__StaticValidation__" name
#define AAD_ALIAS(name)    "AppConfig__StaticAADValidation__" name
#define JAMF_ALIAS(name)   "AppConfig__JamfValidation__" name
#define DC_ALIAS(name)     "AppConfig__DCValidation__" name
#define INTUNE_ALIAS(name) "AppConfig__IntuneValidation__" name

/* What a device may ask for. OCSPSigning and anyExtendedKeyUsage would speak for the CA: they are never allowed. */
#define DEVICE_EKUS "clientAuth,serverAuth,emailProtection,msSmartcardLogin,ipsecIKE"
#define DC_EKUS     "clientAuth,serverAuth,msSmartcardLogin,pkInitKDC"

/* clang-format off */
#define CHALLENGE_ROWS(prefix, i, scepman, path, of)                                                                   \
    {prefix "_CHALLENGE", RL_T_STRING, RULE(i, challenge), "", .min = "8", .max = "256", .secret = true,               \
     .alias = scepman("RequestPassword"), .group = of,                                                                 \
     .help = "Challenge password of " path "; empty turns the profile off, but for EST by Entra ID's tokens."},         \
    {prefix "_ENABLED", RL_T_BOOL, RULE(i, enabled), "true", .alias = scepman("Enabled"), .alias_unit = "",            \
     .group = of, .help = "false turns the profile off, as if it had no challenge."},                                  \
    {prefix "_OLD_CHALLENGES", RL_T_STRING, RULE(i, old_challenges), "", .max = "4096", .secret = true,                \
     .group = of,                                                                                                      \
     .help = "Challenge passwords of 8 characters at least, with blanks between them, that are accepted as well, "     \
             "while clients move to another one. One that has blanks itself cannot be here."},                         \
    {prefix "_ENTRA_TOKENS", RL_T_BOOL, RULE(i, entra_tokens), "false", .group = of,                                   \
     .help = "EST enrolls who has a token of Entra ID for REVLINE_ENTRA_AUDIENCE: applications with the role "         \
             "CSR.Request.Db; where certificates are bound to Entra, users with CSR.SelfService for themselves."}

#define PROFILE_ROWS(prefix, i, scepman, of, validity_, eku_, asked_eku_, renewals_)                                   \
    {prefix "_VALIDITY", RL_T_DURATION, RULE(i, validity), validity_, .min = "1m", .max = "36500d",                    \
     .alias = scepman("ValidityPeriodDays"), .alias_unit = "d", .group = of,                                           \
     .help = "Validity of its certificates."},                                                                         \
    {prefix "_KEYS", RL_T_ENUM_SET, RULE(i, keys), "rsa2048,ec-p256,ec-p384,ec-p521", .choices = key_kinds,            \
     .group = of, .help = "Keys that are certified; an RSA key may be longer, up to 8192 bits."},                      \
    {prefix "_KEY_USAGE", RL_T_ENUM_SET, RULE(i, key_usage), "digitalSignature,keyEncipherment",                       \
     .choices = key_usages, .group = of, .help = "Key usage; a request may ask for less, never for more."},            \
    {prefix "_EKU", RL_T_EKU_LIST, RULE(i, eku), eku_, .choices = ekus, .max = "16",                                   \
     .alias = scepman("DefaultEkus"), .group = of, .help = "Extended key usage, when the request asks for none."},     \
    {prefix "_ASKED_EKU", RL_T_EKU_LIST, RULE(i, asked_eku), asked_eku_, .choices = ekus, .max = "16", .group = of,    \
     .help = "What a request may ask for instead; the rest of what it asks for is left out."},                         \
    {prefix "_NAMES", RL_T_ENUM_SET, RULE(i, names), "dns,ip,mail,uri,upn", .choices = name_kinds, .group = of,        \
     .help = "Kinds of alternative names that a request may have; with another one it is refused. Without wildcard, "   \
             "no common name is one either."},                   \
    {prefix "_DOMAINS", RL_T_DOMAIN_LIST, RULE(i, domains), "", .max = "64", .group = of,                              \
     .help = "Domains in which its DNS names, mail addresses and UPNs have to be, also as common name; empty is any."},                     \
    {prefix "_CN_ONLY", RL_T_BOOL, RULE(i, cn_only), "false", .group = of,                                             \
     .help = "Of the request's subject only the common name is taken over."},                                          \
    {prefix "_RENEWALS", RL_T_BOOL, RULE(i, renewals), renewals_, .alias = scepman("AllowRenewals"), .alias_unit = "",    \
     .group = of,                                                                                                      \
     .help = "Who has one of its certificates that is good now gets another by it, without a challenge."},             \
    {prefix "_RENEWAL_KINDS", RL_T_ENUM_SET, RULE(i, renewal_kinds), "", .choices = cert_kinds,                        \
     .alias = scepman("ReenrollmentAllowedCertificateTypes"), .alias_unit = "", .group = of,                           \
     .help = "Whose certificates of other profiles are renewed here as well."}

/* Not for Intune, which does not verify it. */
#define SID_ROW(prefix, i, of)                                                                                         \
    {prefix "_ASKED_SID", RL_T_BOOL, RULE(i, asked_sid), "false", .group = of,                                         \
     .help = "A request's own security identifier (SID extension, or URI as alternative name) is taken over, as "      \
             "whoever made the request says."}
/* clang-format on */

const rl_setting_row rl_setting_rows[] = {
    {"REVLINE_DATA_DIR", RL_T_STRING, AT(data_dir), "./data", .min = "1", .max = "1024", .group = "Server",
     .help = "Folder of the database, the keys and the control socket."},
    {"REVLINE_HTTP_LISTEN", RL_T_ADDRESS, AT(http.listen), "0.0.0.0:8080", .group = "Server",
     .help = "Where plain HTTP is served: OCSP, revocation lists, SCEP, CA certificate, probes, metrics."},
    {"REVLINE_HTTPS_LISTEN", RL_T_ADDRESS, AT(http.https_listen), "", .group = "Server",
     .help = "Where the same is served over TLS, and what is not served in clear; empty: nowhere."},
    {"REVLINE_EST_LISTEN", RL_T_ADDRESS, AT(http.est_listen), "", .group = "Server",
     .help = "Where it is served over TLS to clients that are asked for a certificate, which they need not have: for "
             "EST clients that renew by their certificate; browsers would show a prompt here. Empty: nowhere."},
    {"REVLINE_TLS_CERT", RL_T_STRING, AT(http.tls_cert), "", .max = "1024", .group = "Server",
     .help = "PEM file of the server certificate, the chain behind it; read again when it changes and on SIGHUP. "
             "Empty: the own CA issues one for the host names of REVLINE_BASE_URL, the listeners and this machine."},
    {"REVLINE_TLS_KEY", RL_T_STRING, AT(http.tls_key), "", .max = "1024", .group = "Server",
     .help = "PEM file of its private key; empty: in the file of the certificate."},
    {"REVLINE_BASE_URL", RL_T_URL, AT(http.base_url), "", "from the listener", .alias = "AppConfig__BaseUrl",
     .group = "Server", .help = "How clients reach this server: goes into the certificates' AIA extension."},
    {"REVLINE_HOMEPAGE", RL_T_BOOL, AT(http.homepage), "true", .alias = "AppConfig__AnonymousHomePageAccess",
     .alias_unit = "", .group = "Server",
     .help = "A page at / for whoever opens the server's address: version and fingerprint of the CA. Without it a GET "
             "of / is refused; what else is served stays."},
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
     .help = "From a new connection, or a later request's first octet, until the request's headers are complete; and "
             "as long for a TLS handshake before that."},
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
     .max = "1000000", .group = "Server",
     .help = "Connections from one client address, but for REVLINE_TRUSTED_PROXIES; 0 is no limit."},
    {"REVLINE_GUESS_LIMIT", RL_T_INT, AT(http.guess_limit), "60", .min = "0", .max = "10000", .group = "Server",
     .help = "Wrong challenges, passwords and tokens, and SCEP messages that do not open, from one client address "
             "within REVLINE_GUESS_WINDOW; above it that address is told 429 at SCEP, EST and API. 0 is no limit."},
    {"REVLINE_GUESS_WINDOW", RL_T_DURATION, AT(http.guess_window), "1m", .min = "1s", .max = "1h", .group = "Server",
     .help = "The time in which REVLINE_GUESS_LIMIT wrong ones are forgotten, one after the other."},
    {"REVLINE_TRUSTED_PROXIES", RL_T_NETWORK_LIST, AT(http.trusted_proxies), "", .max = "64", .group = "Server",
     .help = "Addresses and networks of the reverse proxies in front of this server. Of what comes from them, the "
             "client's address is the last one in X-Forwarded-For that is none of theirs: for REVLINE_GUESS_LIMIT and "
             "the log. From anybody else the header is not believed."},
    {"REVLINE_DELTA_KEEP", RL_T_DURATION, AT(keep.delta), "30d", .min = "0", .max = "36500d", .group = "Server",
     .help = "How long the log of changes is kept; 0 is for ever."},
    {"REVLINE_AUDIT_KEEP", RL_T_DURATION, AT(keep.audit), "400d", .min = "0", .max = "36500d", .group = "Server",
     .help = "How long the audit (who did what) is kept; 0 is for ever."},
    {"REVLINE_API_TOKEN", RL_T_STRING, AT(api.token), "", .min = "16", .max = "256", .secret = true, .group = "Server",
     .help = "The bearer token that /api asks for, which is served over TLS only; empty turns it off."},
    {"REVLINE_LOG_LEVEL", RL_T_ENUM, AT(log.level), "info", .choices = levels, .group = "Log",
     .help = "The least important lines that are written."},
    {"REVLINE_LOG_FORMAT", RL_T_ENUM, AT(log.format), "logfmt", .choices = formats, .group = "Log",
     .help = "Form of a log line."},

    {"REVLINE_CA_KEY", RL_T_ENUM, AT(ca.key), "rsa4096", .choices = key_types, .group = "Certificate authority",
     .help = "Key of the CA, made on first start or by revline init."},
    {"REVLINE_CA_SUBJECT", RL_T_STRING, AT(ca.subject), RL_CA_SUBJECT_DEFAULT, .min = "4", .max = "512",
     .group = "Certificate authority",
     .help = "Subject of the root CA, made on first start; another than the default also that of an intermediate CA."},
    {"REVLINE_CA_VALIDITY", RL_T_DURATION, AT(ca.validity), "3650d", .min = "1d", .max = "36500d",
     .group = "Certificate authority", .help = "How long the root CA is valid."},
    {"REVLINE_CERT_VALIDITY", RL_T_DURATION, AT(ca.cert_validity), "730d", .min = "1m", .max = "36500d",
     .alias = "AppConfig__ValidityPeriodDays", .alias_unit = "d", .group = "Certificate authority",
     .help = "Longest validity of any certificate but a CA's; profiles may lower it."},
    {"REVLINE_SUBCA_VALIDITY", RL_T_DURATION, AT(ca.subca_validity), "1825d", .min = "1d", .max = "36500d",
     .group = "Certificate authority",
     .help = "Longest validity of a subordinate CA's certificate; it never outlives the CA above it."},
    {"REVLINE_CERT_CLOCK_SKEW", RL_T_DURATION, AT(ca.clock_skew), "24h", .min = "0", .max = "30d",
     .alias = "AppConfig__ValidityClockSkewMinutes", .alias_unit = "m", .group = "Certificate authority",
     .help = "How far back a certificate's notBefore lies, and ten minutes at most a revocation list's thisUpdate, for "
             "clients whose clock is slow."},
    {"REVLINE_CERT_ASKED_USAGES", RL_T_BOOL, AT(ca.asked_usages), "true", .alias = "AppConfig__UseRequestedKeyUsages",
     .alias_unit = "", .group = "Certificate authority",
     .help = "Profiles take over the usages that a request asks for, as far as they allow them; false: never."},
    {"REVLINE_CERT_AAD_EXTENSIONS", RL_T_BOOL, AT(ca.aad_extensions), "true",
     .alias = "AppConfig__AddMicrosoftAADExtensions", .alias_unit = "", .group = "Certificate authority",
     .help = "Certificates bound to Entra devices say the tenant's id and the device's, in Microsoft's extensions."},
    {"REVLINE_CERT_SID_EXTENSION", RL_T_BOOL, AT(ca.sid_extension), "false", .alias = "AppConfig__AddSidExtension",
     .alias_unit = "", .group = "Certificate authority",
     .help = "Certificates bound to Entra users and devices say their on-premises security identifier, as the "
             "directory tells it (strong mapping of Windows)."},
    {"REVLINE_WEAK_KEYS", RL_T_STRING, AT(ca.weak_keys), "", .max = "1024", .group = "Certificate authority",
     .help =
         "File with keys that are never certified: a line each, SHA-256 of the SubjectPublicKeyInfo in hexadecimal."},

    {"REVLINE_OCSP_KEY", RL_T_ENUM, AT(ocsp.key), "auto", .choices = ocsp_key_types, .group = "OCSP",
     .help = "Key of the delegated responder, in memory only; auto takes the CA key's family (rsa2048 or ec-p256)."},
    {"REVLINE_OCSP_RESPONDER_VALIDITY", RL_T_DURATION, AT(ocsp.responder_validity), "24h", .min = "2s", .max = "365d",
     .alias = "AppConfig__OCSP__AuthorizedResponderValidityHours", .alias_unit = "h", .group = "OCSP",
     .help = "Validity of the delegated responder's certificate; renewed at half of it."},
    {"REVLINE_OCSP_VALIDITY_GOOD", RL_T_DURATION, AT(ocsp.validity_good), "10m", .min = "1s", .max = "30d",
     .alias = "AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists", .alias_unit = "s", .group = "OCSP",
     .help = "nextUpdate after thisUpdate of a good answer, at most: none outlives its signer, see "
             "REVLINE_OCSP_RESPONDER_VALIDITY."},
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

    {"REVLINE_CRL_VALIDITY", RL_T_DURATION, AT(crl.validity), "24h", .min = "10s", .max = "365d",
     .alias = "AppConfig__CRL__ValidityDays", .alias_unit = "d", .group = "CRL",
     .help = "How long our revocation lists are valid from when they are made, to nextUpdate; each is made anew at "
             "half of it."},
    {"REVLINE_CRL_INTERVAL", RL_T_DURATION, AT(crl.interval), "5s", .min = "100ms", .max = "1d", .group = "CRL",
     .help = "Shortest time between two lists: a change of a certificate's status makes a new one as soon as that has "
             "passed."},
    {"REVLINE_CRL_DISTRIBUTION_POINT", RL_T_BOOL, AT(crl.distribution_point), "false",
     .alias = "AppConfig__CRL__AddCdp", .alias_unit = "", .group = "CRL",
     .help =
         "New certificates name the list's URL (cRLDistributionPoints), for clients that ask no OCSP responder, and "
         "lists their delta's (freshestCRL)."},

    {"REVLINE_SCEP_PROFILES", RL_T_NAME_LIST, AT(scep.named), "", .max = "16", .group = "SCEP",
     .help = "Names of further profiles, each at /scep/{name} with settings REVLINE_SCEP_{NAME}_… of its own: see "
             "below."},
    {"REVLINE_SCEP_LEGACY", RL_T_BOOL, AT(scep.allow_legacy), "false", .group = "SCEP",
     .help = "Accept and offer 3DES and SHA-1, for clients that know nothing better."},
    {"REVLINE_SCEP_CONCURRENT_LIMIT", RL_T_INT, AT(scep.concurrent_limit), "50", .min = "1", .max = "10000",
     .alias = "AppConfig__ConcurrentSCEPRequestLimit", .alias_unit = "", .group = "SCEP",
     .help = "SCEP requests worked on at once; one more is told 429."},
    {"REVLINE_ENROLL_LOOKUP", RL_T_ENUM, AT(scep.lookup), "off", .choices = lookup_policies, .group = "SCEP",
     .help =
         "Whether an enrollment by SCEP or EST looks a device or user up in its directory that no source has seen "
         "yet. prefer: one that the directory does not have is refused, and while it cannot be asked all goes on as "
         "without; require: then the client has to come again. Only in directories that are watched."},
    {"REVLINE_ENROLL_LOOKUP_TIMEOUT", RL_T_DURATION, AT(scep.lookup_timeout), "5s", .min = "100ms", .max = "1m",
     .group = "SCEP", .help = "How long a client waits for that at most; after it the directory cannot be asked."},

    CHALLENGE_ROWS("REVLINE_STATIC", RL_ENROLL_STATIC, STATIC_ALIAS, "/static", "Profile static"),
    PROFILE_ROWS("REVLINE_STATIC", RL_ENROLL_STATIC, STATIC_ALIAS, "Profile static", "730d", "clientAuth", DEVICE_EKUS,
                 "true"),
    SID_ROW("REVLINE_STATIC", RL_ENROLL_STATIC, "Profile static"),
    CHALLENGE_ROWS("REVLINE_STATIC_AAD", RL_ENROLL_STATIC_AAD, AAD_ALIAS,
                   "/static/aad (bound to Entra devices and users)", "Profile static-aad"),
    PROFILE_ROWS("REVLINE_STATIC_AAD", RL_ENROLL_STATIC_AAD, AAD_ALIAS, "Profile static-aad", "730d", "clientAuth",
                 DEVICE_EKUS, "true"),
    SID_ROW("REVLINE_STATIC_AAD", RL_ENROLL_STATIC_AAD, "Profile static-aad"),
    CHALLENGE_ROWS("REVLINE_JAMF", RL_ENROLL_JAMF, JAMF_ALIAS,
                   "/jamf (bound to Jamf Pro's computers, mobile devices and users)", "Profile jamf"),
    PROFILE_ROWS("REVLINE_JAMF", RL_ENROLL_JAMF, JAMF_ALIAS, "Profile jamf", "730d", "clientAuth", DEVICE_EKUS, "true"),
    SID_ROW("REVLINE_JAMF", RL_ENROLL_JAMF, "Profile jamf"),
    CHALLENGE_ROWS("REVLINE_DC", RL_ENROLL_DC, DC_ALIAS, "/dc (domain controllers)", "Profile dc"),
    PROFILE_ROWS("REVLINE_DC", RL_ENROLL_DC, DC_ALIAS, "Profile dc", "730d", DC_EKUS, DC_EKUS, "true"),
    SID_ROW("REVLINE_DC", RL_ENROLL_DC, "Profile dc"),
    {"REVLINE_INTUNE_ENROLLMENT", RL_T_BOOL, AT(scep.intune), "true", .group = "Profile intune",
     .help = "Serve /certsrv/mscep/mscep.dll, whose requests Intune validates, when there is a login to Entra ID; it "
             "needs the Intune API's scep_challenge_provider and Graph's Application.Read.All."},
    {"REVLINE_INTUNE_WAIT", RL_T_BOOL, AT(scep.intune_wait), "true",
     .alias = "AppConfig__IntuneValidation__WaitForSuccessNotificationResponse", .alias_unit = "",
     .group = "Profile intune",
     .help =
         "A device gets its certificate when Intune has said that it knows of it; false: at once, and Intune is told "
         "in the background."},
    {"REVLINE_INTUNE_QUEUE_LIMIT", RL_T_INT, AT(scep.intune_queue_limit), "50000", .min = "1", .max = "100000",
     .group = "Profile intune",
     .help = "How much may wait to be told to Intune, in pieces of 4 KiB, each notification at least one; above it no "
             "request gets a certificate. Requests that Intune refuses may take a tenth of it."},
    PROFILE_ROWS("REVLINE_INTUNE", RL_ENROLL_INTUNE, INTUNE_ALIAS, "Profile intune", "365d", "clientAuth", DEVICE_EKUS,
                 "false"),

    {"REVLINE_SYNC_ENTRA_INTERVAL", RL_T_DURATION, AT(sync.entra_interval), "30s", .min = "0", .max = "1d",
     .group = "Sync",
     .help = "How often changed users and devices are fetched from Microsoft Graph; 0 turns the source off."},
    {"REVLINE_SYNC_NOTIFICATIONS", RL_T_BOOL, AT(sync.notifications), "true", .group = "Sync",
     .help = "Have Microsoft Graph tell of changes of users, when REVLINE_BASE_URL begins with https://; false: where "
             "Graph cannot reach that address. Changes are found in time all the same."},
    {"REVLINE_SYNC_INTUNE_INTERVAL", RL_T_DURATION, AT(sync.intune_interval), "60s", .min = "0", .max = "1d",
     .group = "Sync", .help = "How often the managed devices of Microsoft Intune are listed; 0 turns the source off."},
    {"REVLINE_SYNC_ENDPOINT_LIST_INTERVAL", RL_T_DURATION, AT(sync.endpoint_list_interval), "5m", .min = "0",
     .max = "1d", .group = "Sync",
     .help = "How often Intune's list of issued certificates is read for those that it revokes, when "
             "REVLINE_DEVICE_DIRECTORY is AADAndIntuneAndEndpointlist; 0 turns the source off."},
    {"REVLINE_SYNC_ENDPOINT_LISTS", RL_T_ENUM_SET, AT(sync.endpoint_lists), "certificates", .choices = endpoint_lists,
     .group = "Sync",
     .help = "Which of Intune's lists of certificates are read then: the one of all profiles; those of the single SCEP "
             "and PKCS profiles, which need the same permission; the exported report, which needs "
             "DeviceManagementConfiguration.ReadWrite.All. Each counts by itself."},
    {"REVLINE_SYNC_REVOCATION_REQUESTS_INTERVAL", RL_T_DURATION, AT(sync.requests_interval), "0", .min = "0",
     .max = "1d", .group = "Sync",
     .help = "How often Intune is asked for its requests to revoke certificates of this CA; 0 turns the source off."},
    {"REVLINE_SYNC_USER_RISK_INTERVAL", RL_T_DURATION, AT(sync.user_risk_interval), "60s", .min = "0", .max = "1d",
     .group = "Sync",
     .help =
         "How often the users at risk are listed, when REVLINE_USER_RISK_CHECK is always; 0 turns the source off. It "
         "needs the users, too: REVLINE_SYNC_ENTRA_INTERVAL."},
    {"REVLINE_SYNC_USER_RISK_PACE", RL_T_DURATION, AT(sync.user_risk_pace), "1s", .min = "0", .max = "1h",
     .group = "Sync",
     .help = "Least time between two requests for users at risk: Entra ID Protection allows a tenant one a second, all "
             "its applications together."},
    {"REVLINE_SYNC_JAMF_INTERVAL", RL_T_DURATION, AT(sync.jamf_interval), "60s", .min = "0", .max = "1d",
     .group = "Sync",
     .help = "How often the computers, mobile devices and users of Jamf Pro are listed; 0 turns the sources off."},
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
     .help = "How long a directory may be without success, counted from when its next round was due, and another CA's "
             "revocation list behind its nextUpdate, before it is stale."},
    {"REVLINE_SYNC_STALE_POLICY", RL_T_ENUM, AT(sync.stale_policy), "serve", .choices = stale_policies, .group = "Sync",
     .help = "What OCSP says from then on of certificates that the directory decides about, or of that CA's: what is "
             "known, or tryLater unless they are revoked for good."},
    {"REVLINE_SYNC_MASS_LIMIT", RL_T_SHARE, AT(sync.mass_limit), "10%", .max = "1000000000", .group = "Sync",
     .help = "How many certificates one round of a source may revoke or put on hold; one with more is held as a whole "
             "until an admin decides: revline sync hold. As a percentage of the source's certificates, and then 50 are "
             "always allowed; or as a number. 0 is no limit."},
    {"REVLINE_SYNC_NEW_DEVICE_GRACE", RL_T_DURATION, AT(sync.new_device_grace), "7d", .min = "1s", .max = "36500d",
     .group = "Sync",
     .help =
         "How long after its issuance, or that of the first one it renews, a certificate is good though no directory "
         "has ever known its device; the directories must have been compared as a whole after that."},

    {"REVLINE_DEVICE_DIRECTORY", RL_T_ENUM, AT(rules.directory), "AADAndIntune", .choices = directories,
     .alias = "AppConfig__IntuneValidation__DeviceDirectory", .group = "Status rules",
     .help = "Where the devices are that certificates name: in Microsoft Entra ID, in Intune, or in either. "
             "AADAndIntuneOpportunistic is content with Entra ID while the application may not read Intune; "
             "AADAndIntuneAndEndpointlist also revokes what Intune's list of certificates says to be revoked."},
    {"REVLINE_COMPLIANCE_CHECK", RL_T_ENUM, AT(rules.compliance), "never", .choices = checks,
     .alias = "AppConfig__IntuneValidation__ComplianceCheck", .group = "Status rules",
     .help = "Certificates of devices that are not compliant are on hold, or compliance does not matter."},
    {"REVLINE_COMPLIANCE_GRACE", RL_T_DURATION, AT(rules.grace), "0", .min = "0", .max = "365d",
     .alias = "AppConfig__IntuneValidation__ComplianceGracePeriodMinutes", .alias_unit = "m", .group = "Status rules",
     .help = "How long after a device's enrolment in Intune its compliance does not matter."},
    {"REVLINE_COMPLIANCE_BOOTSTRAP", RL_T_DURATION, AT(rules.bootstrap), "24h", .min = "0", .max = "30d",
     .group = "Status rules",
     .help = "Without such a grace: a device that is still enrolling, and not compliant yet, gets a certificate that "
             "ends so long after its enrolment and that compliance does not count against; 0: it gets an ordinary "
             "one, on hold."},
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

    {"AZURE_TENANT_ID", RL_T_STRING, AT(azure.tenant_id), "", .max = "255", .group = "Microsoft Entra ID",
     .help = "Tenant whose directory is watched; with a login it turns the sources on."},
    {"AZURE_CLIENT_ID", RL_T_STRING, AT(azure.client_id), "", .max = "255", .group = "Microsoft Entra ID",
     .help =
         "Application (client) id; needs Device.Read.All and User.Read.All, or Directory.Read.All, and for Intune's "
         "devices DeviceManagementManagedDevices.Read.All, for its list of certificates "
         "DeviceManagementConfiguration.Read.All, for its requests Application.Read.All and a role of the Intune API."},
    {"REVLINE_ENTRA_LOGIN", RL_T_ENUM, AT(azure.login), "auto", .choices = logins, .group = "Microsoft Entra ID",
     .help = "How Revline logs in; auto takes the first that is configured, but a virtual machine's managed identity, "
             "which needs no setting, only when asked for here."},
    {"REVLINE_CLOUD", RL_T_ENUM, AT(azure.cloud), "public", .choices = clouds, .group = "Microsoft Entra ID",
     .help = "Which of Microsoft's clouds: gives AZURE_AUTHORITY_HOST, REVLINE_GRAPH_URL and REVLINE_INTUNE_URL their "
             "values unless they are set."},
    {"AZURE_CLIENT_CERTIFICATE_PATH", RL_T_STRING, AT(azure.certificate_path), "", .max = "1024",
     .group = "Microsoft Entra ID",
     .help = "Instead of the secret: the application's certificate with its private key, PEM or PKCS#12; read anew for "
             "each token."},
    {"AZURE_CLIENT_CERTIFICATE_PASSWORD", RL_T_STRING, AT(azure.certificate_password), "", .max = "1024",
     .secret = true, .group = "Microsoft Entra ID", .help = "The password of that file, when it has one."},
    {"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", RL_T_BOOL, AT(azure.send_chain), "false", .group = "Microsoft Entra ID",
     .help = "Send the certificate and those above it along, for applications that trust a subject and issuer."},
    {"AZURE_FEDERATED_TOKEN_FILE", RL_T_STRING, AT(azure.federated_token_file), "", .max = "1024",
     .group = "Microsoft Entra ID",
     .help = "Instead of the secret: the file in which the platform keeps a token (workload identity); read anew for "
             "each token."},
    {"IDENTITY_ENDPOINT", RL_T_URL, AT(azure.identity_endpoint), "", .group = "Microsoft Entra ID",
     .help = "Set by App Service, Functions and Container Apps: their managed identity."},
    {"IDENTITY_HEADER", RL_T_STRING, AT(azure.identity_header), "", .max = "4096", .secret = true,
     .group = "Microsoft Entra ID", .help = "Set by the platform, with IDENTITY_ENDPOINT."},
    {"REVLINE_IMDS_URL", RL_T_URL, AT(azure.imds_url), "http://169.254.169.254", .group = "Microsoft Entra ID",
     .help = "A virtual machine's metadata service, for its managed identity."},
    {"AZURE_CLIENT_SECRET", RL_T_STRING, AT(azure.client_secret), "", .max = "4096", .secret = true,
     .group = "Microsoft Entra ID", .help = "The application's secret."},
    {"AZURE_AUTHORITY_HOST", RL_T_URL, AT(azure.authority_host), "https://login.microsoftonline.com",
     .group = "Microsoft Entra ID", .help = "Where tokens come from; other clouds, tests."},
    {"REVLINE_ENTRA_AUDIENCE", RL_T_STRING, AT(azure.audience), "", .max = "1024", .group = "Microsoft Entra ID",
     .help =
         "Application (client) id, or App ID URI, that access tokens for this server are for, or several with blanks "
         "between them; an id also stands for api:// and the id. Empty: no token is accepted."},
    {"REVLINE_ENTRA_KEYS_INTERVAL", RL_T_DURATION, AT(azure.keys_interval), "5m", .min = "100ms", .max = "1d",
     .group = "Microsoft Entra ID",
     .help = "Shortest time after which the tenant's signing keys are fetched again because a token names an unknown "
             "one; else every six hours."},
    {"REVLINE_GRAPH_URL", RL_T_URL, AT(azure.graph_url), "https://graph.microsoft.com", .group = "Microsoft Entra ID",
     .help = "Microsoft Graph; other clouds, tests."},
    {"REVLINE_INTUNE_URL", RL_T_URL, AT(azure.intune_url), "https://api.manage.microsoft.com",
     .group = "Microsoft Entra ID",
     .help =
         "The Intune API, for which tokens are asked; the addresses of its services come from Microsoft Graph. Other "
         "clouds, tests."},

    {"REVLINE_JAMF_URL", RL_T_URL, AT(jamf.url), "", .alias = "AppConfig__JamfValidation__URL", .group = "Jamf Pro",
     .help = "The server, such as https://example.jamfcloud.com; with one of the two logins it turns the sources on."},
    {"REVLINE_JAMF_FORMER_URL", RL_T_URL, AT(jamf.former_url), "", .group = "Jamf Pro",
     .help =
         "The address before, as the failing sources tell it, when the same Jamf Pro with the same numbers has moved "
         "to REVLINE_JAMF_URL; not needed any more after their next success."},
    {"REVLINE_JAMF_CLIENT_ID", RL_T_STRING, AT(jamf.client_id), "", .max = "255",
     .alias = "AppConfig__JamfValidation__ClientID", .group = "Jamf Pro",
     .help = "API client; its role needs Read Computers, Read Mobile Devices and Read User."},
    {"REVLINE_JAMF_CLIENT_SECRET", RL_T_STRING, AT(jamf.client_secret), "", .max = "4096", .secret = true,
     .alias = "AppConfig__JamfValidation__ClientSecret", .group = "Jamf Pro", .help = "The API client's secret."},
    {"REVLINE_JAMF_USER", RL_T_STRING, AT(jamf.user), "", .max = "255",
     .alias = "AppConfig__JamfValidation__APIUsername", .group = "Jamf Pro",
     .help = "Instead of an API client: the name of a user account with these privileges."},
    {"REVLINE_JAMF_PASSWORD", RL_T_STRING, AT(jamf.password), "", .max = "4096", .secret = true,
     .alias = "AppConfig__JamfValidation__APIPassword", .group = "Jamf Pro", .help = "The user account's password."},
    {"REVLINE_JAMF_WEBHOOK_SECRET", RL_T_STRING, AT(jamf.webhook_secret), "", .max = "255", .secret = true,
     .group = "Jamf Pro",
     .help = "What Jamf Pro's webhooks to /hooks/jamf carry, as the password of basic authentication or in the header "
             "X-Webhook-Secret; empty turns the path off."},
};
const size_t rl_setting_rows_n = sizeof(rl_setting_rows) / sizeof(rl_setting_rows[0]);

#define NAMED "REVLINE_SCEP_" RL_PROFILE_PLACE
const rl_setting_row rl_named_rows[] = {
    CHALLENGE_ROWS(NAMED, RL_ENROLL_NAMED, NO_ALIAS, "/scep/" RL_PROFILE_PLACE, "Profile " RL_PROFILE_PLACE),
    {NAMED "_BINDING", RL_T_ENUM, RULE(RL_ENROLL_NAMED, bind), "none", .choices = bindings,
     .group = "Profile " RL_PROFILE_PLACE,
     .help = "Whose its certificates are: nobody's, as those of /static, or bound as those of /static/aad or /jamf."},
    PROFILE_ROWS(NAMED, RL_ENROLL_NAMED, NO_ALIAS, "Profile " RL_PROFILE_PLACE, "730d", "clientAuth", DEVICE_EKUS,
                 "true"),
    SID_ROW(NAMED, RL_ENROLL_NAMED, "Profile " RL_PROFILE_PLACE),
};
const size_t rl_named_rows_n = sizeof(rl_named_rows) / sizeof(rl_named_rows[0]);
