/* The records of the database and their msgpack form: maps with small integer keys, key 0 is the version,
 * unknown keys are skipped, so that old and newer records can be read.
 *
 * Keys are big-endian binary. Encoders append a whole record to a buffer or nothing (RL_ENOMEM; RL_ERANGE for a text
 * above 64 KiB); decoders copy what they keep, so a record owns its strings (free with the matching _clear; nothing
 * to free after an error). RL_ECORRUPT when a stored value does not decode. */
#ifndef RL_STORE_RECORDS_H
#define RL_STORE_RECORDS_H

#include "base/span.h"

typedef uint32_t rl_issuer_id; /* 1, 2, …; 0 is none */

/* The serial as minimal big-endian magnitude (as in crypto/x509.h, without needing OpenSSL here). */
enum { RL_STORE_SERIAL_MAX = 20 };
typedef struct rl_cert_id {
    rl_issuer_id issuer;
    uint8_t serial_n;
    uint8_t serial[RL_STORE_SERIAL_MAX];
} rl_cert_id;

/* Reasons against a certificate, kept as a bit mask (design §6). */
enum {
    RL_WHY_MANUAL = 1u << 0,        /* an admin; permanent unless the reason is certificateHold */
    RL_WHY_DELETED = 1u << 1,       /* object deleted in its directory; permanent */
    RL_WHY_WIPED = 1u << 2,         /* wiped or retired; permanent */
    RL_WHY_ENDPOINT_LIST = 1u << 3, /* Intune revokes it: by its list of certificates or a request; permanent */
    RL_WHY_DISABLED = 1u << 4,      /* reversible */
    RL_WHY_NOT_COMPLIANT = 1u << 5, /* reversible */
    RL_WHY_USER_RISK = 1u << 6,     /* reversible */
    RL_WHY_FOREIGN_CRL = 1u << 7,   /* as the CRL says */
    RL_WHY_BITS = 8
};
const char *rl_why_name(uint32_t bit); /* "endpointList"; NULL for none of these */

typedef enum { RL_STATUS_GOOD = 0, RL_STATUS_HOLD = 1, RL_STATUS_REVOKED = 2 } rl_status;

/* RFC 5280 §5.3.1 */
typedef enum {
    RL_REASON_UNSPECIFIED = 0,
    RL_REASON_KEY_COMPROMISE = 1,
    RL_REASON_CA_COMPROMISE = 2,
    RL_REASON_AFFILIATION_CHANGED = 3,
    RL_REASON_SUPERSEDED = 4,
    RL_REASON_CESSATION = 5,
    RL_REASON_HOLD = 6,
    RL_REASON_REMOVE_FROM_CRL = 8,
    RL_REASON_PRIVILEGE_WITHDRAWN = 9,
    RL_REASON_AA_COMPROMISE = 10,
} rl_reason;
const char *rl_reason_name(rl_reason r);                /* "keyCompromise" */
rl_err rl_reason_parse(const char *text, rl_reason *r); /* name without case, or number; RL_EINVAL */
const char *rl_status_name(rl_status s);                /* "good", "hold", "revoked" */

/* Where an object or a binding comes from. The numbers are stored: never reuse one. */
typedef enum {
    RL_SOURCE_NONE = 0,
    RL_SOURCE_ENTRA_DEVICE = 1,  /* object id = directory object id, lower case */
    RL_SOURCE_ENTRA_USER = 2,    /* object id = directory object id, lower case */
    RL_SOURCE_INTUNE_DEVICE = 3, /* object id = Intune device id, lower case */
    RL_SOURCE_USER_RISK = 4,     /* object id = the user's directory object id; exists = is at risk */
    RL_SOURCE_JAMF_COMPUTER = 5, /* object id = Jamf Pro's number of the computer, decimal */
    RL_SOURCE_JAMF_DEVICE = 6,   /* likewise of the mobile device */
    RL_SOURCE_JAMF_USER = 7,     /* likewise of the user */
    /* Object id = SHA-1 of a certificate of ours, lower-case hexadecimal; exists = Intune lists it as revoked. */
    RL_SOURCE_LISTED_CERT = 8,
    /* In `object`: a request by Intune to revoke. Object id = SHA-256 of the request's context, lower-case hexadecimal;
     * `name` is the context, `target` the result, exists = the result is to be uploaded still. */
    RL_SOURCE_REVOCATION_REQUEST = 9,
    /* In `object`: the same as RL_SOURCE_LISTED_CERT, by the profiles' lists and by the report of certificates. A
     * certificate is bound to RL_SOURCE_LISTED_CERT, whichever has it. */
    RL_SOURCE_PROFILE_CERT = 10,
    RL_SOURCE_REPORTED_CERT = 11,
    /* In `object`: a device or user that a round of many pages has told to be gone, until its last page is there.
     * Object id = directory object id. */
    RL_SOURCE_ENTRA_DEVICE_LEAVING = 12,
    RL_SOURCE_ENTRA_USER_LEAVING = 13,
    /* Names by which certificates point at objects before (or after) sync has seen them:
     * in `object` the record's `target` is the directory object id; in `binding` a certificate that
     * waits for an object of that name to appear. Lower case. */
    RL_SOURCE_ENTRA_DEVICE_NAME = 17, /* Entra deviceId: the CN of a device certificate */
    RL_SOURCE_ENTRA_USER_NAME = 18,   /* userPrincipalName: UPN (or mail) in the SAN */
    /* In `object`: the managed device of an Entra deviceId. `target` is the Intune device id (NULL: none any more),
     * `name` that of another managed device with the same deviceId, if there is one. No certificate is bound to it. */
    RL_SOURCE_INTUNE_DEVICE_NAME = 19,
    RL_SOURCE_JAMF_USER_NAME = 20, /* user name in Jamf Pro: UPN (or mail) in the SAN */
    /* In `binding`: a SCEP transaction to the certificate it got. */
    RL_SOURCE_TRANSACTION = 32,
    /* In `binding`: a key that others have, by its name (rl_store_compromised), to a certificate that was revoked for
     * that. */
    RL_SOURCE_COMPROMISED_KEY = 33,
} rl_source;
const char *rl_source_name(rl_source s); /* "entra-device", … */

enum { RL_OBJECT_ID_MAX = 255 };
typedef struct rl_binding {
    rl_source source;
    char id[RL_OBJECT_ID_MAX + 1]; /* UTF-8, lower case */
} rl_binding;

enum { RL_CERT_BINDINGS_MAX = 4 };
typedef struct rl_cert_record {
    char *subject;   /* RFC 2253 text */
    char *profile;   /* "static-aad", "ca", … */
    char *requester; /* who asked: "scep", "admin", … */
    rl_binding bindings[RL_CERT_BINDINGS_MAX];
    size_t bindings_n;
    int64_t issued_at, not_before, not_after; /* Unix seconds */
    int64_t first_issued_at; /* of a renewal: when the first certificate of the row was issued; 0: it is the first */
    bool bootstrap;   /* short-lived, for a device that is still enrolling: compliance does not count against it */
    uint32_t why;     /* RL_WHY_* */
    rl_status status; /* effective: computed when `why` changes, never on reading */
    rl_reason reason; /* effective */
    rl_reason manual_reason; /* of RL_WHY_MANUAL */
    rl_reason crl_reason;    /* of RL_WHY_FOREIGN_CRL; certificateHold is reversible */
    int64_t crl_date;        /* of RL_WHY_FOREIGN_CRL: Unix seconds */
    int64_t revoked_at;      /* Unix seconds; 0 when good */
    struct {                 /* what an admin has yet to decide about: rl_change_record */
        uint64_t change;     /* that it waits in; 0 = none */
        uint32_t why;        /* reasons that do not count until then */
        uint32_t kept;       /* reasons that count until then, though they ended with the same change */
    } held;
} rl_cert_record;
/* Profiles of certificates that were never seen, only heard of: by a CA's revocation list, or its index.txt. */
#define RL_PROFILE_LISTED  "crl"
#define RL_PROFILE_INDEXED "index"
int64_t rl_cert_first_issued(const rl_cert_record *r); /* also of one that is no renewal */
bool rl_cert_is_unseen(const rl_cert_record *r);
/* The object id, or name, that it is bound to in this source; NULL. */
const char *rl_cert_binding(const rl_cert_record *r, rl_source source);
rl_err rl_cert_encode(const rl_cert_record *r, rl_buf *out);
rl_err rl_cert_decode(rl_span in, rl_cert_record *r);
void rl_cert_clear(rl_cert_record *r);

/* The hot look-up of OCSP: only what an answer needs, without allocation. */
typedef struct rl_cert_status {
    rl_status status;
    rl_reason reason;
    int64_t revoked_at, not_before, not_after;
} rl_cert_status;
rl_err rl_cert_decode_status(rl_span in, rl_cert_status *r);

/* Recomputes status, reason and revoked_at from `why` and the reasons of its bits. Permanent reasons win over
 * reversible ones; `now` becomes revoked_at when the certificate leaves good, and stays while it is not good again,
 * also from hold to revoked (X.509, reasonCode). When its CA's list is all there is against it, the date is the list's.
 * Returns true when status, reason or revoked_at changed. Pure. */
bool rl_cert_settle(rl_cert_record *r, int64_t now);

/* What a CRL walks: every certificate that is not good. */
typedef struct rl_revoked_record {
    int64_t revoked_at; /* Unix seconds */
    rl_reason reason;
} rl_revoked_record;
rl_err rl_revoked_encode(const rl_revoked_record *r, rl_buf *out);
rl_err rl_revoked_decode(rl_span in, rl_revoked_record *r);

/* Who did what to which subject. */
typedef struct rl_audit_record {
    char *who, *what, *subject;
} rl_audit_record;
rl_err rl_audit_encode(const char *who, const char *what, const char *subject, rl_buf *out);
rl_err rl_audit_decode(rl_span in, rl_audit_record *r);
void rl_audit_clear(rl_audit_record *r);

/* Microsoft Graph's complianceState and managementState; the numbers are stored. UNSAID: not told, or a word that is
 * not known here. */
typedef enum {
    RL_COMPLIANCE_UNSAID,
    RL_COMPLIANCE_UNKNOWN,
    RL_COMPLIANCE_COMPLIANT,
    RL_COMPLIANCE_NONCOMPLIANT,
    RL_COMPLIANCE_CONFLICT,
    RL_COMPLIANCE_ERROR,
    RL_COMPLIANCE_IN_GRACE_PERIOD,
    RL_COMPLIANCE_CONFIG_MANAGER,
    RL_COMPLIANCE_STATES
} rl_compliance;
typedef enum {
    RL_MANAGEMENT_UNSAID,
    RL_MANAGEMENT_MANAGED,
    RL_MANAGEMENT_RETIRE_PENDING,
    RL_MANAGEMENT_RETIRE_FAILED,
    RL_MANAGEMENT_WIPE_PENDING,
    RL_MANAGEMENT_WIPE_FAILED,
    RL_MANAGEMENT_UNHEALTHY,
    RL_MANAGEMENT_DELETE_PENDING,
    RL_MANAGEMENT_RETIRE_ISSUED,
    RL_MANAGEMENT_WIPE_ISSUED,
    RL_MANAGEMENT_WIPE_CANCELED,
    RL_MANAGEMENT_RETIRE_CANCELED,
    RL_MANAGEMENT_DISCOVERED,
    RL_MANAGEMENT_STATES
} rl_management;
typedef enum { RL_RISK_NONE, RL_RISK_LOW, RL_RISK_MEDIUM, RL_RISK_HIGH, RL_RISK_LEVELS } rl_risk;
/* Graph's words without case; UNSAID, NONE for others. */
rl_compliance rl_compliance_parse(const char *text);
rl_management rl_management_parse(const char *text);
rl_risk rl_risk_parse(const char *text);
const char *rl_compliance_name(rl_compliance c);
const char *rl_management_name(rl_management m);
const char *rl_risk_name(rl_risk r);

/* One object of a directory, or (sources *_NAME) a name that points to one. */
typedef struct rl_object_record {
    bool exists;
    bool enabled;
    char *name; /* deviceId or userPrincipalName, lower case; NULL when never seen */
    rl_compliance compliance;
    rl_management management;
    rl_risk risk;
    int64_t enrolled;    /* Unix seconds; 0 = not told */
    char *sid;           /* on-premises security identifier; NULL = none, or not told */
    char *target;        /* for *_NAME sources: the directory object id; of an Entra user the mail address; else NULL */
    uint64_t generation; /* of the last full round that listed it */
    int64_t last_seen;   /* Unix seconds */
} rl_object_record;
rl_err rl_object_encode(const rl_object_record *r, rl_buf *out);
rl_err rl_object_decode(rl_span in, rl_object_record *r);
void rl_object_clear(rl_object_record *r);
/* "S-1-5-21-…": a revision, an authority and 1 to 15 sub-authorities, all decimal ([MS-DTYP] §2.4.2.1). */
enum { RL_SID_MAX = 184 };
bool rl_sid_valid(const char *text);

/* How far a foreign issuer's revocation list is known. All zero: not at all. */
enum { RL_STORE_CRL_NUMBER = 20 };
typedef struct rl_issuer_crl {
    uint8_t number[RL_STORE_CRL_NUMBER]; /* of the newest list begun: big-endian, zeros in front */
    int64_t this_update;                 /* of the newest list begun; Unix seconds */
    bool whole;                          /* that list is in the database to its end */
    int64_t next_update;                 /* of the newest list that was; Unix seconds, 0 = there was none */
    bool partial;                        /* it need not have every revoked certificate: the rest is unknown, not good */
    uint8_t scope[32];                   /* which part, zeros when not partial */
} rl_issuer_crl;

typedef struct rl_issuer_record {
    uint8_t *cert; /* DER */
    size_t cert_n;
    char *key_ref; /* "file:ca-1.key", relative to the data directory; "" for a foreign issuer */
    uint64_t crl_number;
    struct {
        uint8_t name[64], key[64];
    } hashes[4];       /* by rl_hash: SHA-1, -256, -384, -512; their sizes' first octets count */
    uint8_t *delegate; /* DER: the certificate that a foreign issuer gave our responder key; NULL = none */
    size_t delegate_n;
    rl_issuer_crl crl; /* a foreign issuer's own list */
} rl_issuer_record;
rl_err rl_issuer_encode(const rl_issuer_record *r, rl_buf *out);
rl_err rl_issuer_decode(rl_span in, rl_issuer_record *r);
/* Only what OCSP asks about a certificate without a record, without allocation. */
rl_err rl_issuer_decode_crl(rl_span in, rl_issuer_crl *r);
void rl_issuer_clear(rl_issuer_record *r);

/* Where a source's sync stands. */
typedef struct rl_cursor_record {
    char *link; /* the URL to fetch next: nextLink inside a round, deltaLink between rounds; "" = start a full round */
    bool full;  /* the round in progress is a full one */
    bool complete;                   /* `link` is a deltaLink: no round in progress */
    char *tenant;                    /* whose directory the stored objects are; NULL = none yet */
    uint64_t generation;             /* of the newest full round begun */
    int64_t last_success, last_full; /* Unix seconds; 0 = never */
    bool refused; /* the upstream does not let us read it, and we do without: nothing has been read since it said so */
    bool leaving; /* the round in progress has told of objects that are gone, which wait for its end */
} rl_cursor_record;
rl_err rl_cursor_encode(const rl_cursor_record *r, rl_buf *out);
rl_err rl_cursor_decode(rl_span in, rl_cursor_record *r);
void rl_cursor_clear(rl_cursor_record *r);

/* A change of many certificates for the worse, by one round of a source. The certificates that wait in it say so in
 * their own records. */
typedef enum {
    RL_CHANGE_OPEN,     /* its round is not complete yet */
    RL_CHANGE_DUE,      /* its round is complete: to be compared with the limit */
    RL_CHANGE_HELD,     /* above the limit: waits for an admin */
    RL_CHANGE_DROPPED,  /* an admin does not want it; the next full round brings it up again */
    RL_CHANGE_RELEASED, /* is being applied */
    RL_CHANGE_STATES
} rl_change_state;
const char *rl_change_state_name(rl_change_state s); /* "held" */
enum { RL_CHANGE_SOURCE_MAX = 32 };
typedef struct rl_change_record {
    char source[RL_CHANGE_SOURCE_MAX]; /* "entra-device" */
    rl_change_state state;
    int64_t since;         /* in this state; Unix seconds */
    uint64_t certificates; /* that wait in it */
} rl_change_record;
rl_err rl_change_encode(const rl_change_record *r, rl_buf *out);
rl_err rl_change_decode(rl_span in, rl_change_record *r);

/* A signed OCSP answer. What is in it is the responder's business; the spans of a decoded one point into what was
 * decoded. */
typedef struct rl_response_record {
    rl_span maker;   /* the program that made it: another may write its answers differently */
    uint8_t form;    /* of the CertID that was asked about */
    uint8_t outcome; /* what it says */
    int64_t this_update, next_update, serve_until; /* Unix seconds */
    rl_span headers, body;
} rl_response_record;
rl_err rl_response_encode(const rl_response_record *r, rl_buf *out);
rl_err rl_response_decode(rl_span in, rl_response_record *r);

/* One entry of the delta log: what changed and what it is now. */
typedef struct rl_delta_record {
    enum { RL_DELTA_ISSUED = 1, RL_DELTA_STATUS = 2 } kind;
    rl_cert_id cert;
    rl_status status;
    rl_reason reason;
    uint32_t why;
    int64_t revoked_at, not_after, at; /* Unix seconds */
    char *origin;                      /* "admin", "sync:entra-device", "scep" */
} rl_delta_record;
rl_err rl_delta_encode(const rl_delta_record *r, rl_buf *out);
rl_err rl_delta_decode(rl_span in, rl_delta_record *r);
void rl_delta_clear(rl_delta_record *r);

#endif
