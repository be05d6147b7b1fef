/* Between the files of the CA. */
#ifndef RL_CA_CA_PRIV_H
#define RL_CA_CA_PRIV_H

#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>

#include "ca/ca.h"
#include "crypto/der.h"

/* ---- links.c ---- */
typedef struct rl_ca_link {
    rl_cert_id id;
    rl_span der;
} rl_ca_link;
/* A root of our own before the issuing one, and what leads from either to the other. */
typedef struct rl_ca_old_root {
    rl_ca_link root; /* borrowed of its issuer */
    rl_ca_link new_with_old, old_with_new;
} rl_ca_old_root;

/* What a certificate from the issuing CA's up to its root lets it certify. */
typedef struct ca_bound {
    NAME_CONSTRAINTS *names; /* or NULL */
    EXTENDED_KEY_USAGE *eku; /* or NULL */
} ca_bound;

struct rl_ca {
    rl_store *store;
    const rl_settings *settings;
    /* Issuer 1 first. An entry is written before the count includes it and not touched again, so that readers need no
     * lock; `growing` is for those who add one. */
    rl_issuer issuers[RL_CA_ISSUERS_MAX];
    _Atomic size_t issuers_n;
    pthread_mutex_t growing;
    const rl_issuer *own; /* the one that issues */
    rl_ca_old_root old_roots[RL_CA_ISSUERS_MAX];
    size_t old_roots_n;
    X509 *ra_cert;                    /* NULL for an RSA CA, which receives SCEP envelopes itself */
    X509 *old_ras[RL_CA_ISSUERS_MAX]; /* from before a rollover, for the same key; the newest first */
    size_t old_ras_n;
    rl_signer *ra_signer;
    rl_key *ra_key;      /* its public key */
    uint8_t (*weak)[32]; /* sorted SHA-256 of keys that are never certified; or NULL */
    size_t weak_n;
    ca_bound bounds[RL_CA_CHAIN_MAX]; /* of those that say something; a root mostly does not */
    size_t bounds_n;
    rl_ca_weigh weigh; /* NULL: nothing weighs */
    const void *weigh_ctx;
    rl_ca_look look; /* NULL: nothing is looked up */
    void *look_ctx;
};

/* Finds or makes what leads from root to root; RL_EIO and others of the store. */
rl_err ca_links_open(rl_ca *ca, rl_error *e);
void ca_links_free(rl_ca *ca);

/* ---- ra.c ---- */
rl_err ca_ra_open(rl_ca *ca, rl_error *e);
void ca_ra_free(rl_ca *ca);

/* ---- ca.c ---- */
#define CA_KEY_FILE "file:" /* of a key reference: the rest is a file's name in the data folder */
/* Takes over the issuers that were stored since: those up to `last`. */
rl_err ca_grow(rl_ca *ca, rl_issuer_id last, rl_error *e);
/* The key in a file of the data folder; made as `type` when there is none, RL_ENOTFOUND for RL_KEY_AUTO. */
rl_err ca_key_file(const rl_settings *s, const char *name, rl_key_type type, rl_signer **out, rl_error *e);
bool ca_is_self_issued(const X509 *cert);
/* What is stored of the issuers: how many, and of the newest of our own its subject (NULL: there is none) and whether
 * it is a root. The caller frees the subject, after an error, too. RL_ERANGE: there is no room for one more. */
typedef struct ca_stored {
    rl_issuer_id last;
    X509_NAME *subject;
    bool is_root;
} ca_stored;
rl_err ca_read_stored(rl_store *store, ca_stored *out, rl_error *e);
/* An rl_ca that has its issuers and nothing else, perhaps none of our own: to be imported into, and closed. */
rl_err ca_open_issuers(rl_store *store, const rl_settings *s, rl_ca **out, rl_error *e);
/* Name and key hashes of a CA certificate. */
rl_err ca_hash_issuer(const X509 *cert, rl_issuer_record *r);

/* ---- request.c ---- */
bool ca_push_extension(STACK_OF(X509_EXTENSION) * *exts, int nid, void *value, bool critical);
/* A PKCS#10 request (RFC 2986) in PEM for a key of ours; malloced. */
rl_err ca_request(const rl_signer *key, const X509_NAME *subject, const STACK_OF(X509_EXTENSION) * exts, char **pem,
                  rl_error *e);

/* ---- intermediate.c ---- */
/* RL_EEXISTS: a request for an intermediate CA waits for its certificate, and no root is made meanwhile. */
rl_err ca_no_request_waits(const rl_settings *s, rl_error *e);

/* ---- takeover.c ---- */
/* What was made, renamed or deleted in it is durable. RL_EIO. */
rl_err ca_sync_folder(const char *path, rl_error *e);

/* ---- import.c ---- */
/* rl_ca_import; with a `key_ref` the first certificate is one of our own issuers', whose key that names. */
rl_err ca_import(rl_ca *ca, X509 *const *certs, size_t n, const char *key_ref, rl_ca_imported *out, rl_error *e);

/* What a certificate is built from; nothing here is owned. */
typedef struct ca_template {
    const X509_NAME *subject;
    rl_key *key;
    uint32_t key_usage;
    const EXTENDED_KEY_USAGE *eku; /* NULL or empty: no extension */
    const GENERAL_NAMES *names;    /* likewise */
    bool ocsp_nocheck;
    const struct ca_sub *sub;    /* of a subordinate CA; NULL: an end entity, or a root */
    const char *tenant, *device; /* GUIDs for Microsoft's extensions; NULL = without */
    const char *sid;             /* security identifier for Microsoft's extension; NULL = without */
    rl_serial serial;
    int64_t not_before, not_after; /* Unix seconds */
} ca_template;

/* Signs a certificate below `issuer`: its DER, which the caller frees. Any thread. */
rl_err ca_build(const rl_ca *ca, const rl_issuer *issuer, const ca_template *t, uint8_t **der, size_t *n, rl_error *e);
/* A self-signed root for `signer`. */
rl_err ca_build_root(rl_signer *signer, const ca_template *t, uint8_t **der, size_t *n, rl_error *e);
/* The extnValue of an extension (RFC 5280 §4.2) is written between the two; `oid` is its contents. */
void ca_extension_open(rl_der_writer *w, rl_span oid, bool critical);
void ca_extension_close(rl_der_writer *w);
/* now − skew … now + validity, inside the issuer's own; RL_EDENIED when the issuer has expired. */
rl_err ca_validity(const rl_ca *ca, const rl_issuer *issuer, int64_t now, rl_duration validity, ca_template *t,
                   rl_error *e);
rl_cert_id ca_cert_id(rl_issuer_id issuer, const rl_serial *serial);
/* A store record for a certificate made from `t`: the caller clears it. */
rl_err ca_record(const ca_template *t, const char *profile, const char *requester, int64_t now, rl_cert_record *out);

/* index.txt: its lines, the caller frees them; RL_EBADMSG with the number of a line that is none. */
typedef struct ca_index_line {
    rl_serial serial;
    bool revoked;
    rl_reason reason;   /* when revoked */
    int64_t revoked_at; /* likewise */
    int64_t not_after;
    rl_span subject; /* in the text */
} ca_index_line;
rl_err ca_index_read(rl_span text, ca_index_line **out, size_t *n, rl_error *e);

/* The issuer's subject with one more CN, for certificates that speak in its name. */
rl_err ca_name_below(const rl_issuer *issuer, const char *cn, X509_NAME **out, rl_error *e);

/* ---- profile.c: its usages as OpenSSL's ---- */
uint32_t ca_key_usage(const rl_profile_rules *rules);      /* KU_* */
EXTENDED_KEY_USAGE *ca_eku_list(const rl_text_list *list); /* NULL on exhaustion */
void ca_eku_free(EXTENDED_KEY_USAGE *list);

/* ---- microsoft.c: Microsoft's certificate extensions ---- */
bool ca_is_guid(const char *text); /* 8-4-4-4-12 hexadecimal digits */
/* A GUID (tenant or device) as an extension. */
void ca_put_tenant(rl_der_writer *w, const char *guid);
void ca_put_device(rl_der_writer *w, const char *guid);
void ca_put_sid(rl_der_writer *w, const char *sid);
/* The security identifier that a request asks for, "" when it asks for none. RL_EBADMSG: malformed, or there twice. */
rl_err ca_read_sid(const STACK_OF(X509_EXTENSION) * exts, char out[RL_SID_MAX + 1], rl_error *e);
/* How long the certificate is to be valid by a request's ValidityPeriod and ValidityPeriodUnits, which Windows and AD
 * CS have in it: ms from `now` (Unix seconds); 0: it says nothing that can be read. */
rl_duration ca_read_validity(X509_REQ *csr, int64_t now);

/* ---- csr_key.c ---- */
/* Its kind and size, and whether it is one that others can find out: shared by implementations that made bad primes.
 * Its cost is bounded before the key is used. RL_EUNSUPPORTED, RL_EINVAL. */
rl_err ca_key_check(rl_key *key, unsigned kinds, rl_error *e);

/* ---- issue.c ---- */
/* RL_EINVAL: an issuer that is known has this subject. */
rl_err ca_subject_is_free(const rl_ca *ca, const X509_NAME *subject, rl_error *e);

/* ---- weak.c ---- */
rl_err ca_weak_load(rl_ca *ca, rl_error *e); /* RL_EIO, RL_EINVAL with the line */
/* A key's name in the store: SHA-256 of its SubjectPublicKeyInfo in lower-case hexadecimal. */
enum { CA_KEY_NAME = 2 * 32 + 1 };
/* RL_EINVAL: the key is listed, a CA's, or was compromised. Any thread. */
rl_err ca_weak_check(const rl_ca *ca, rl_key *key, char name[CA_KEY_NAME], rl_error *e);
/* RL_EINVAL: it was compromised. Writer thread, in the certificate's transaction: by then it may have been. */
rl_err ca_key_is_sound(rl_store_txn *t, const char *name, rl_error *e);
/* The name of a certificate's key. */
bool ca_key_of(X509 *cert, char name[CA_KEY_NAME]);
/* rl_store_compromised */
bool ca_compromised(rl_span der, rl_reason reason, char name[RL_OBJECT_ID_MAX + 1]);

/* ---- csr_names.c ---- */
rl_err ca_subject_check(const X509_NAME *subject, rl_error *e);
/* Host names and mail addresses in a subject whose form is right: wildcards and domains. RL_EINVAL. */
rl_err ca_subject_names_check(const rl_profile_rules *rules, const X509_NAME *subject, rl_error *e);
/* Form, kinds, domains, and security identifiers. RL_ERANGE, RL_EBADMSG, RL_EINVAL. */
rl_err ca_names_check(const rl_profile *profile, const GENERAL_NAMES *names, rl_error *e);
rl_span ca_span_of(const ASN1_STRING *s);
bool ca_is_dns(rl_span s); /* a host or domain name; a whole first label may be '*' */
bool ca_is_mail(rl_span s);

/* ---- subca.c ---- */
/* What a subordinate CA may certify. */
typedef struct ca_sub {
    int path_length;
    NAME_CONSTRAINTS *names; /* NULL: any */
    EXTENDED_KEY_USAGE *eku;
} ca_sub;
/* RL_EINVAL, RL_ERANGE: what was asked for is not to be had, or not from this issuer; nothing to clear then. */
rl_err ca_sub_read(const rl_ca *ca, const rl_issuer *issuer, const X509_NAME *subject, const rl_sub_ca *asked,
                   ca_sub *out, rl_error *e);
void ca_sub_clear(ca_sub *sub);

/* What a checked CSR gives to its certificate. */
typedef struct ca_csr {
    rl_key *key;     /* own_key, or borrowed */
    rl_key *own_key; /* or NULL */
    X509_NAME *subject;
    GENERAL_NAMES *names; /* NULL when there are none */
    uint32_t key_usage;
    EXTENDED_KEY_USAGE *eku;
    char sid[RL_SID_MAX + 1];          /* "" = none asked for, or not to be taken over */
    rl_source jamf;                    /* Jamf Pro's computer or device; NONE: of a profile that binds to Entra */
    char device[RL_OBJECT_ID_MAX + 1]; /* Entra deviceId, or Intune's, lower case; Jamf Pro's number; "" = none */
    bool managed;                      /* it says itself that it is Intune's */
    char user[RL_OBJECT_ID_MAX + 1];   /* userPrincipalName or Jamf Pro's user name, lower case; "" = none */
} ca_csr;
/* `proven`: the key in it, when its signature has been checked with that already; or NULL. `old`: the certificate that
 * is renewed, whose alternative names it has when it asks for none; or NULL. */
rl_err ca_csr_read(const rl_profile *profile, X509_REQ *csr, rl_key *proven, const X509 *old, ca_csr *out, rl_error *e);
void ca_csr_clear(ca_csr *c);
/* The device's id that a common name is, in lower case; else leaves `out`. */
void ca_read_device(const char *cn, char out[RL_OBJECT_ID_MAX + 1]);

/* ---- bounds.c ---- */
/* A certificate that has these names and is nothing else, for checks of names; NULL on exhaustion. */
X509 *ca_probe(const X509_NAME *subject, const GENERAL_NAMES *names);
/* RL_EINVAL: with it one could be taken for this server, the host of `base_url`. */
rl_err ca_not_ourselves(const char *base_url, const ca_csr *c, rl_error *e);
void ca_bounds_open(rl_ca *ca);
void ca_bounds_free(rl_ca *ca);
/* RL_EINVAL: the CA's own certificate does not let it certify these names, or for any of these usages. Usages that it
 * does not are taken out. */
rl_err ca_bounds_check(const rl_ca *ca, ca_csr *c, rl_error *e);

/* ---- own.c: requests in a user's own name ---- */
/* The request names nothing but the owner's. RL_EDENIED. */
rl_err ca_own_check(const rl_ca_owner *owner, const rl_profile *profile, const ca_csr *c, rl_error *e);
/* What its names were found to be is the owner's, who may still ask for it. Writer thread. RL_EDENIED, RL_ENOTFOUND. */
rl_err ca_own_bound(rl_store_txn *t, const rl_ca_owner *owner, const ca_csr *c, const rl_cert_record *record,
                    rl_error *e);

#endif
