/* Settings: every one an environment variable, declared once in the table in settings_table.c.
 *
 * The table row is the parser, the help text and the reference. Loading reports every error at once.
 * After loading the struct is immutable and shared by all threads. Durations are milliseconds, sizes octets. */
#ifndef RL_BASE_SETTINGS_H
#define RL_BASE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/span.h"

typedef int64_t rl_duration; /* milliseconds */

typedef enum {
    RL_KEY_RSA2048,
    RL_KEY_RSA3072,
    RL_KEY_RSA4096,
    RL_KEY_EC_P256,
    RL_KEY_EC_P384,
    RL_KEY_AUTO
} rl_key_type;
typedef enum { RL_NONCE_ECHO, RL_NONCE_IGNORE } rl_nonce_policy;
typedef enum { RL_UNISSUED_UNKNOWN, RL_UNISSUED_REVOKED } rl_unissued_policy;
typedef enum { RL_RESPONDER_BY_KEY, RL_RESPONDER_BY_NAME } rl_responder_id;
typedef enum { RL_LOOKUP_OFF, RL_LOOKUP_PREFER, RL_LOOKUP_REQUIRE } rl_lookup_policy;
typedef enum { RL_STALE_SERVE, RL_STALE_TRY_LATER } rl_stale_policy;

/* Where a certificate's device is looked for; the last three watch both: Opportunistic is content without permission
 * for Intune, EndpointList reads Intune's list of certificates as well. */
typedef enum {
    RL_DIRECTORY_AAD,
    RL_DIRECTORY_INTUNE,
    RL_DIRECTORY_BOTH,
    RL_DIRECTORY_OPPORTUNISTIC,
    RL_DIRECTORY_ENDPOINT_LIST
} rl_device_directory;
/* Which of Intune's lists of certificates are read, in the order of the setting's words. */
enum { RL_ENDPOINT_LIST_CERTIFICATES = 1, RL_ENDPOINT_LIST_PROFILES = 2, RL_ENDPOINT_LIST_REPORT = 4 };
typedef enum { RL_CHECK_NEVER, RL_CHECK_ALWAYS } rl_check;

typedef enum {
    RL_LOGIN_AUTO,
    RL_LOGIN_BY_SECRET,
    RL_LOGIN_BY_CERTIFICATE,
    RL_LOGIN_BY_FEDERATION,
    RL_LOGIN_BY_MANAGED_IDENTITY
} rl_login_choice;
/* Where Microsoft's services are. */
typedef enum { RL_CLOUD_PUBLIC, RL_CLOUD_US_GOVERNMENT, RL_CLOUD_US_DOD, RL_CLOUD_CHINA } rl_cloud;

/* "10%" or "200"; 0 = none. */
typedef struct rl_share {
    int64_t value;
    bool percent;
} rl_share;

typedef struct rl_text_list {
    char **items;
    size_t n;
} rl_text_list;

/* Kinds of alternative names: bits of rl_profile_rules.names. */
enum {
    RL_NAME_DNS = 1,
    RL_NAME_WILDCARD = 2, /* a DNS name that begins with "*." */
    RL_NAME_IP = 4,
    RL_NAME_MAIL = 8,
    RL_NAME_URI = 16,
    RL_NAME_UPN = 32,
    RL_NAME_ALL = 63
};

/* Kinds of keys: bits of rl_profile_rules.keys. An RSA key must have at least as many bits as the least of them. */
enum {
    RL_KEYS_RSA2048 = 1,
    RL_KEYS_RSA3072 = 2,
    RL_KEYS_RSA4096 = 4,
    RL_KEYS_P256 = 8,
    RL_KEYS_P384 = 16,
    RL_KEYS_P521 = 32
};

/* Kinds of certificates by whose they are, in SCEPman's words and order: bits of rl_profile_rules.renewal_kinds. */
typedef enum {
    RL_KIND_DC,
    RL_KIND_STATIC,
    RL_KIND_INTUNE_USER,
    RL_KIND_INTUNE_DEVICE,
    RL_KIND_JAMF_USER,
    RL_KIND_JAMF_USER_WITH_DEVICE,
    RL_KIND_JAMF_USER_WITH_COMPUTER,
    RL_KIND_JAMF_DEVICE,
    RL_KIND_JAMF_COMPUTER
} rl_cert_kind;

/* To what a profile's certificates are bound, and how their requests name it. */
typedef enum { RL_BIND_NONE, RL_BIND_ENTRA, RL_BIND_JAMF } rl_bind;

/* What an enrollment profile asks for and allows: one set of settings for each. */
typedef struct rl_profile_rules {
    char *challenge;      /* "" = profile off, but for Intune's, and for EST where `entra_tokens` */
    char *old_challenges; /* still accepted; blanks between them */
    bool enabled;         /* else `challenge` is "" */
    rl_duration validity;
    unsigned key_usage;          /* a bit of each KeyUsage, the first one 1: default, and the most a request gets */
    rl_text_list eku, asked_eku; /* the default; what a request may ask for. Names of OpenSSL's, or dotted */
    bool asked_sid;              /* a request's own SID extension is taken over */
    bool entra_tokens;           /* EST enrolls by Entra ID's tokens, also without a challenge */
    unsigned keys, names;
    rl_text_list domains; /* in which DNS names, mail addresses and UPNs have to be; none = any */
    bool cn_only;         /* of the subject */
    bool renewals;
    unsigned renewal_kinds; /* bits 1 << rl_cert_kind */
    rl_bind bind;           /* of a named profile */
} rl_profile_rules;

enum {
    RL_ENROLL_STATIC,
    RL_ENROLL_STATIC_AAD,
    RL_ENROLL_JAMF,
    RL_ENROLL_DC,
    RL_ENROLL_INTUNE,
    RL_ENROLL_NAMED, /* the first of those in REVLINE_SCEP_PROFILES */
    RL_ENROLL_NAMED_MAX = 16,
    RL_ENROLL_MAX = RL_ENROLL_NAMED + RL_ENROLL_NAMED_MAX
};

#define RL_CA_SUBJECT_DEFAULT "CN=Revline Root CA"

typedef struct rl_settings {
    char *data_dir;
    struct {
        char *listen;                    /* host:port, [v6]:port */
        char *https_listen, *est_listen; /* likewise, "" = none; the second one asks for client certificates */
        char *tls_cert, *tls_key;        /* paths of PEM files; no certificate: the own CA issues one */
        char *base_url;                  /* no trailing slash; derived from the listener when not set */
        bool homepage;
        int64_t workers;
        int64_t header_limit; /* octets of request line and headers */
        int64_t ocsp_body_limit, scep_body_limit;
        rl_duration header_timeout, body_timeout, idle_timeout, stop_timeout;
        int64_t max_connections, max_connections_per_address;
        int64_t guess_limit; /* wrong secrets of one address within guess_window; 0 = no limit */
        rl_duration guess_window;
        rl_text_list trusted_proxies; /* networks, for rl_network_parse */
    } http;
    struct {
        char *token; /* "" = off */
    } api;
    struct {
        rl_log_level level;
        rl_log_format format;
    } log;
    struct {
        rl_key_type key;
        char *subject;              /* RFC 4514-like text: "CN=Revline Root CA,O=…" */
        rl_duration validity;       /* of the root */
        rl_duration cert_validity;  /* ceiling of end-entity certificates */
        rl_duration subca_validity; /* ceiling of subordinate CAs' */
        rl_duration clock_skew;     /* notBefore lies that far back */
        bool asked_usages;          /* profiles take a request's usages over */
        bool aad_extensions, sid_extension;
        char *weak_keys; /* path of a list, "" = none */
    } ca;
    struct {
        rl_key_type key; /* RL_KEY_AUTO: the CA key's family */
        rl_duration responder_validity;
        rl_duration validity_good, validity_hold, validity_revoked, validity_unknown;
        rl_nonce_policy nonce;
        rl_unissued_policy unissued;
        rl_responder_id responder_id;
        rl_duration archive; /* how long after its end a certificate's status is told; 0 = not */
        int64_t cache_size;
        int64_t max_cert_ids;     /* CertIDs in one request */
        int64_t sign_queue_limit; /* signatures waiting; above it tryLater */
    } ocsp;
    struct {
        rl_duration validity, interval;
        bool distribution_point; /* certificates say where the list is */
    } crl;
    struct {
        rl_duration delta, audit; /* how long records are kept; 0 = for ever */
    } keep;
    struct {
        rl_text_list named; /* names of the profiles from RL_ENROLL_NAMED on */
        rl_profile_rules profiles[RL_ENROLL_MAX];
        bool intune;       /* its profile is on when there is a login */
        bool intune_wait;  /* for its answer to the notification, before the device gets its certificate */
        bool allow_legacy; /* 3DES and SHA-1 */
        rl_lookup_policy lookup;
        rl_duration lookup_timeout;
        int64_t concurrent_limit;
        int64_t intune_queue_limit; /* of what waits to be told to Intune, in pieces of 4 KiB */
    } scep;
    struct {
        rl_duration entra_interval, intune_interval, user_risk_interval, user_risk_pace, jamf_interval, full_interval;
        rl_duration endpoint_list_interval, requests_interval;
        unsigned endpoint_lists; /* a bit for each of RL_ENDPOINT_LIST_* */
        int64_t jitter_percent;
        rl_duration request_timeout, connect_timeout, retry_max;
        int64_t page_limit; /* octets of one page of an upstream, uncompressed */
        rl_text_list crl_urls;
        rl_duration crl_interval;
        int64_t crl_limit;  /* octets of one revocation list */
        bool crl_sha1;      /* signatures with SHA-1 count */
        bool notifications; /* Graph's are subscribed to */
        rl_duration stale_after;
        rl_stale_policy stale_policy;
        rl_share mass_limit; /* of certificates that one round may revoke or hold */
        rl_duration new_device_grace;
    } sync;
    struct {
        rl_device_directory directory;
        rl_check compliance;
        rl_duration grace;     /* after enrolment, in which compliance is not asked for */
        rl_duration bootstrap; /* likewise, only for certificates that end with it; 0 = none */
        bool revoke_on_wipe;
        rl_check user_risk;
        unsigned untolerated_risks; /* a bit for each: low, medium, high */
    } rules;
    struct {
        char *tenant_id, *client_id, *client_secret, *authority_host, *graph_url, *intune_url;
        rl_login_choice login;
        rl_cloud cloud;
        char *certificate_path, *certificate_password, *federated_token_file;
        bool send_chain; /* the certificate's chain goes into the assertion */
        char *identity_endpoint, *identity_header, *imds_url;
        char *audience;            /* whose tokens are for this server: blanks between several; "" = no token is */
        rl_duration keys_interval; /* between look-ups of an unknown key */
    } azure;
    struct {
        char *url, *client_id, *client_secret, *user, *password; /* either pair is the login */
        char *former_url;                                        /* of the same server */
        char *webhook_secret;
    } jamf;
    /* Path of the generated challenge when the challenge of /static came from it, else NULL. */
    char *generated_challenge_path;
    /* Names under SCEPman's prefix (AppConfig__) that no row answers to, separated by a space; NULL when there are
     * none. They are no error: an admin brings many along. */
    char *ignored;
    struct rl_settings_priv *priv; /* where each value came from */
} rl_settings;

/* Reads `env` (environ-like, NULL-terminated). On failure returns RL_EINVAL and writes one line per
 * error into `errors` (name, value, what is allowed, nearest name); secrets' values are not repeated.
 * When $REVLINE_DATA_DIR/static-challenge exists, it is the value of the static challenges that are not set (set and
 * empty is set: off). RL_ENOMEM. In any case rl_settings_free afterwards. */
rl_err rl_settings_load(rl_settings *s, char *const *env, rl_buf *errors);
void rl_settings_free(rl_settings *s); /* secrets are wiped */

/* The three forms of `revline config`. Secrets are masked, except the generated challenge, which is the
 * caller's own file. */
rl_err rl_settings_print(const rl_settings *s, rl_buf *out);
rl_err rl_settings_print_json(const rl_settings *s, rl_buf *out);
rl_err rl_settings_print_markdown(rl_buf *out); /* the reference: needs no values */

/* "250ms 30s 5m 24h 7d 2y"; "0" is 0. RL_EINVAL otherwise or on overflow. */
rl_err rl_parse_duration(rl_span text, rl_duration *out);
/* "16384 64KiB 256MiB 1GiB"; RL_EINVAL otherwise or on overflow. */
rl_err rl_parse_size(rl_span text, int64_t *out);

#endif
