/* The certificate authority: its issuers and keys, certificate profiles as data, issuing; and the foreign issuers for
 * which the responder answers.
 *
 * An rl_ca may be used by any number of threads. Once open it changes in one way only: imported issuers are added
 * behind those that are there. A certificate exists only once it is in the store: nothing is handed out before its
 * transaction was acknowledged. */
#ifndef RL_CA_CA_H
#define RL_CA_CA_H

#include "base/settings.h"
#include "crypto/key.h"
#include "crypto/signer.h"
#include "crypto/x509.h"
#include "store/store.h"

typedef struct rl_ca rl_ca;

/* Issuers are numbered from 1 without gaps. */
enum { RL_CA_ISSUERS_MAX = 64 };

/* An issuer in memory; borrowed from the rl_ca, lives as long as it and never changes. */
typedef struct rl_issuer {
    rl_issuer_id id;
    X509 *cert;
    rl_span der;
    rl_key *key;       /* of the certificate; NULL: of a kind that OpenSSL does not know */
    rl_signer *signer; /* NULL: a foreign issuer, whose key is elsewhere */
    uint8_t name_hash[RL_HASH_COUNT][RL_HASH_MAX];
    uint8_t key_hash[RL_HASH_COUNT][RL_HASH_MAX];
} rl_issuer;

/* First start: makes a root (key file `data_dir`/ca-ID.key, 0600) as the settings say and stores it as an issuer,
 * number 1 unless there are foreign ones, and its certificate. A crash between key file and store is mended at the next
 * call. RL_EEXISTS when there is an issuer of our own already. */
rl_err rl_ca_init(rl_store *store, const rl_settings *s, rl_error *e);
/* A new key (`data_dir`/ca-ID.key) and root for a CA that exists, which issues from the next opening on. The subject is
 * the present one's, or `subject`; the rest is as the settings say. Not while an rl_ca is open. */
rl_err rl_ca_roll_over(rl_store *store, const rl_settings *s, const char *subject, rl_error *e);
/* ---- intermediate.c: the CA as one below another, instead of a root ----
 * Its key is made here and certified elsewhere. Not while an rl_ca is open. */
typedef struct rl_ca_ask {
    const char *subject; /* NULL: the present CA's, or as the settings say */
    rl_key_type key;     /* RL_KEY_AUTO: as the settings say */
    bool roll_over;      /* the CA that is there gets a new key so; else there is none yet */
} rl_ca_ask;
/* A PKCS#10 request in PEM (malloced) for a CA certificate, kept beside its key (`data_dir`/ca-ID.csr, ca-ID.key; 0600)
 * until the certificate is there. Meanwhile no root is made, and asking again is about the same key. RL_EEXISTS: there
 * is a CA already, or a key of another kind; RL_ENOTFOUND: there is none to roll over. */
rl_err rl_ca_ask_for(rl_store *store, const rl_settings *s, const rl_ca_ask *ask, char **pem, rl_error *e);
/* The CA of the certificate for that key, which issues from the next opening on; those above it become foreign issuers.
 * `certs` come in any order: ours and its signers, up to a self-signed one or as far as they are there, but at least
 * one; others are left out. RL_ENOTFOUND: no request waits; RL_EINVAL, RL_ERANGE: they are no chain that a client would
 * believe; and those of rl_ca_import. */
rl_err rl_ca_take_chain(rl_store *store, const rl_settings *s, X509 *const *certs, size_t n, rl_error *e);

/* Loads issuers and keys. RL_ENOTFOUND when there is none yet (call rl_ca_init). A CA that cannot receive SCEP
 * envelopes, being EC or by its key usage, also has an RSA recipient (registration authority) certificate, valid as
 * long as the CA: made at the first opening, key file scep-ra.key. `s` is borrowed. */
rl_err rl_ca_open(rl_store *store, const rl_settings *s, rl_ca **out, rl_error *e);
void rl_ca_close(rl_ca *ca);

const rl_issuer *rl_ca_issuer(const rl_ca *ca); /* the one that issues now: the newest with a key of ours */
/* How many there are now, and the one with this number: NULL when there is none. */
size_t rl_ca_issuers(const rl_ca *ca);
const rl_issuer *rl_ca_by_id(const rl_ca *ca, rl_issuer_id id);
/* The one of our own whose file a URL's end names, such as 7 by "7.crl" with the ending ".crl"; NULL when there is
 * none. */
const rl_issuer *rl_ca_own_by_file(const rl_ca *ca, rl_span name, rl_span ending);
/* The issuer of a CertID, own or foreign; NULL when it is not known. Hashes have rl_hash_size(h) octets. Takes no lock.
 */
const rl_issuer *rl_ca_find(const rl_ca *ca, rl_hash h, rl_span name_hash, rl_span key_hash);
/* SHA-256 of the certificate's DER as "AA:BB:…". */
void rl_issuer_fingerprint(const rl_issuer *i, char out[3 * 32]);
/* By what a person calls it: its number, SHA-256 fingerprint (colons or not) or the CN of its subject. RL_ENOTFOUND;
 * RL_EINVAL when several have the CN. */
rl_err rl_ca_lookup(const rl_ca *ca, const char *text, const rl_issuer **out, rl_error *e);
/* Whose signature is on `cert`: the issuer with that name whose key verifies it, NULL when it is not known. */
const rl_issuer *rl_ca_signer_of(const rl_ca *ca, X509 *cert);
/* The certificates (DER, borrowed) from an issuer to its root as far as they are known; returns how many. */
enum { RL_CA_CHAIN_MAX = 8 };
size_t rl_ca_chain(const rl_ca *ca, const rl_issuer *issuer, rl_span out[RL_CA_CHAIN_MAX]);
/* Who decrypts and signs SCEP messages: the CA itself when its key is RSA and its certificate allows it, else the RA.
 * Borrowed. */
void rl_ca_scep_identity(const rl_ca *ca, X509 **cert, rl_signer **signer);
/* The RA as it was certified before a rollover, which clients may still hold: the newest first, false when there are no
 * more. Borrowed. */
bool rl_ca_scep_older(const rl_ca *ca, size_t i, X509 **cert, rl_signer **signer);

/* Whether the CA's own certificate lets it certify a host name or address. */
bool rl_ca_may_name(const rl_ca *ca, const char *host);

/* ---- links.c: from one root of our own to the other ----
 * Of each root before the issuing one that is valid and not revoked: the issuing root's certificate signed by it
 * (NewWithOld) and, with `all`, also its own (OldWithOld), and that signed by the issuing root (OldWithNew): RFC 4210
 * §4.4. Borrowed DER; returns how many. Reads the store. */
enum { RL_CA_LINKS_MAX = 3 * RL_CA_ISSUERS_MAX };
size_t rl_ca_links(const rl_ca *ca, bool all, rl_span out[RL_CA_LINKS_MAX]);

/* ---- import.c: other CAs' certificates ---- */
typedef struct rl_ca_imported {
    const rl_issuer *issuer; /* a CA certificate: the issuer that it is; else NULL */
    rl_cert_id cert;         /* its record; .issuer == 0: a CA certificate whose own issuer is not known has none */
    bool new_issuer, new_cert;
} rl_ca_imported;
/* Takes all certificates or none, in one transaction; `out` has room for n. A CA certificate becomes a foreign issuer,
 * and any certificate whose issuer is known, or comes along, gets a record below it (profile "imported", good). What is
 * there already stays as it is. RL_EINVAL: a CA that may not sign certificates; RL_ENOTFOUND: an end-entity certificate
 * of an unknown issuer; RL_ERANGE: too many issuers, or a serial number that RFC 5280 does not allow. Blocks for the
 * WAL sync. */
rl_err rl_ca_import(rl_ca *ca, X509 *const *certs, size_t n, rl_ca_imported *out, rl_error *e);

/* ---- index.c: the database of OpenSSL's `ca` command ---- */
typedef struct rl_ca_indexed {
    size_t certificates; /* lines */
    size_t added;        /* certificates that were not known */
    size_t changed;      /* known ones that were good or on hold, and are revoked or on hold now */
} rl_ca_indexed;
/* Takes an index.txt of a foreign issuer: what it has issued becomes known by its serial number (profile "index"), and
 * what it has revoked or put on hold is so here, as if an admin had done it. Nothing is taken back. The text is read
 * whole before the first of several transactions; doing it again changes nothing. RL_EBADMSG with the line, RL_EINVAL
 * for an issuer of our own. Blocks. */
rl_err rl_ca_import_index(rl_ca *ca, const rl_issuer *issuer, rl_span text, rl_ca_indexed *out, rl_error *e);

/* ---- takeover.c: an export (store/export.h) becomes this data folder's database ---- */
typedef struct rl_ca_takeover rl_ca_takeover;
typedef struct rl_ca_taken {
    size_t issuers, certificates, objects;
    /* Issuers whose key is not in the data folder: they are foreign ones here. */
    rl_issuer_id without_key[RL_CA_ISSUERS_MAX];
    size_t without_key_n;
    /* Foreign issuers whose responder's key is not there: they have to certify another. */
    rl_issuer_id without_delegate[RL_CA_ISSUERS_MAX];
    size_t without_delegate_n;
} rl_ca_taken;
/* RL_EEXISTS when the data folder has a database. `s` is borrowed. */
rl_err rl_ca_takeover_begin(const rl_settings *s, rl_ca_takeover **out, rl_error *e);
/* The next line, without its end. RL_EBADMSG, RL_EUNSUPPORTED as rl_line_read, and for lines that contradict each
 * other. */
rl_err rl_ca_takeover_line(rl_ca_takeover *t, rl_span text, rl_error *e);
/* Puts the database in its place. RL_EBADMSG when the export is not whole. */
rl_err rl_ca_takeover_finish(rl_ca_takeover *t, rl_ca_taken *out, rl_error *e);
/* Unless it was finished, nothing is left of it. NULL is allowed. */
void rl_ca_takeover_free(rl_ca_takeover *t);

/* ---- delegate.c: what a foreign issuer lets our responder say ----
 * Its key is in `data_dir`/ocsp-ID.key, the certificate that the foreign CA gave it in the issuer's record. */
/* A PKCS#10 request in PEM (malloced); the key is made at the first call. RL_EINVAL for an issuer of our own. */
rl_err rl_ca_delegate_request(const rl_ca *ca, const rl_issuer *issuer, char **pem, rl_error *e);
/* Keeps the certificate and tells whose it is: signed by a foreign issuer, for our key, allowed to sign OCSP answers
 * (RFC 6960 §4.2.2.2), valid at `now`. RL_EINVAL or RL_ENOTFOUND when it is not. */
rl_err rl_ca_delegate_install(rl_ca *ca, X509 *cert, int64_t now, const rl_issuer **issuer, rl_error *e);
/* The installed certificate and its key; the caller frees both. RL_ENOTFOUND when there is none. */
rl_err rl_ca_delegate_load(const rl_ca *ca, const rl_issuer *issuer, X509 **cert, rl_signer **signer, rl_error *e);

/* Those of enrollment, whose rules are settings, have the numbers of RL_ENROLL_*; then those of the admin, then the
 * CA's own. */
typedef enum {
    RL_PROFILE_STATIC = RL_ENROLL_STATIC,
    RL_PROFILE_STATIC_AAD = RL_ENROLL_STATIC_AAD,
    RL_PROFILE_JAMF = RL_ENROLL_JAMF,
    RL_PROFILE_DC = RL_ENROLL_DC,
    RL_PROFILE_INTUNE = RL_ENROLL_INTUNE,
    RL_PROFILE_NAMED = RL_ENROLL_NAMED,
    RL_PROFILE_SERVER = RL_ENROLL_MAX,
    RL_PROFILE_CLIENT,
    RL_PROFILE_SUBCA,
    RL_PROFILE_OCSP,
    RL_PROFILE_SCEP_RA,
    RL_PROFILE_COUNT
} rl_profile_id;

/* What a profile's certificates may be, and whose they are; borrows from the settings. */
typedef struct rl_profile {
    const char *name; /* "static-aad": stored with the certificate */
    const rl_profile_rules *rules;
    rl_bind bind;
    bool names_are_judged; /* Intune looks at a request's alternative names; at its extensions it does not */
    bool asked_usages;     /* a request's usages are taken over as far as the rules allow; else it gets the default */
} rl_profile;
/* False: a named profile that is not set. */
bool rl_profile_get(const rl_settings *s, rl_profile_id id, rl_profile *out);
rl_err rl_profile_find(const rl_settings *s, const char *name, rl_profile_id *id);

/* A user of Entra ID who asks for a certificate of their own. */
typedef struct rl_ca_owner {
    const char *user;   /* object id in the directory, lower case: who it is */
    const char *device; /* Entra deviceId of their device, lower case; "" = none is known */
    const char *name;   /* principal name, lower case, where the directory may not be known here as of now; or "" */
} rl_ca_owner;

/* What a subordinate CA may certify; borrowed texts. */
typedef struct rl_sub_ca {
    int path_length; /* how many CAs may follow below it */
    /* Name constraints: "dns:example.com", "ip:10.0.0.0/8", "email:example.com". Of the kinds DNS name, IPv4 address,
     * IPv6 address and mail address, those of which nothing is permitted are shut. */
    rl_text_list permit, exclude;
    bool any_name;    /* instead of `permit`: all that is not excluded */
    rl_text_list eku; /* OpenSSL's names, or dotted; empty: serverAuth */
} rl_sub_ca;

typedef struct rl_issue_request {
    rl_profile_id profile;
    X509_REQ *csr;  /* subject, SANs, key; its signature is checked */
    rl_key *proven; /* the key in it, when its signature has been checked with that already; or NULL */
    rl_duration
        validity; /* ms; longer than the profile's ceiling is cut to it; 0: what the request asks for, or that */
    const char *requester; /* "scep", "admin" */
    /* Or NULL: the certificate is bound to Entra's objects and these are the owner's; it names nothing but them. */
    const rl_ca_owner *owner;
    /* Or NULL: the certificate that is renewed, whose names the request has, or no alternative names. It has to be good
     * in the new one's transaction, and the new one is bound to what it is bound to: its names may be another's by now.
     */
    const rl_cert_id *renews;
    /* SCEP: the transaction it belongs to (printable ASCII, at most RL_OBJECT_ID_MAX), or NULL. If the store already
     * has a certificate for it, that one is returned. */
    const char *transaction;
    /* Or NULL: writes more in the new certificate's transaction. Writer thread; an error refuses the certificate. */
    rl_err (*also)(rl_store_txn *t, const rl_cert_id *id, rl_span der, void *ctx);
    void *also_ctx;
    bool look_up;            /* objects that the request names and that are not known may be looked up: rl_ca_on_look */
    const rl_sub_ca *sub_ca; /* RL_PROFILE_SUBCA has one, the others have none */
} rl_issue_request;

typedef struct rl_issued {
    rl_cert_id id;
    uint8_t *der; /* malloced */
    size_t der_n;
    bool repeated; /* an earlier certificate of the same transaction */
} rl_issued;
void rl_issued_clear(rl_issued *i);

/* Gives a new certificate, whose bindings are set, the reasons against it (`why`), or makes it a bootstrap certificate,
 * with an earlier end (`bootstrap`, `not_after`): then it is signed anew, and comes again. Writer thread, in the
 * certificate's transaction; an error refuses it. */
typedef rl_err (*rl_ca_weigh)(rl_store_txn *t, rl_cert_record *cert, int64_t now, const void *ctx);
/* Set once, before the first certificate is issued; without it every certificate starts good. */
void rl_ca_on_issue(rl_ca *ca, rl_ca_weigh weigh, const void *ctx);

/* Makes an object known that a request names, by the source of the binding that it would get; blocks. RL_OK: it is, or
 * that does not matter; else the request ends with this error, and `e` says why. */
typedef rl_err (*rl_ca_look)(void *ctx, rl_source source, const char *id, rl_error *e);
/* Set once, before the first certificate is issued; without it nothing is looked up. */
void rl_ca_on_look(rl_ca *ca, rl_ca_look look, void *ctx);

/* Checks, builds, signs, stores (blocks for the WAL sync: not on a loop). The certificate is bound to the directory
 * objects it names, if sync knows them, and weighed: a disabled device's certificate starts on hold; for an object
 * whose certificates are revoked for good, a deleted one for example, RL_EDENIED. RL_EINVAL / RL_EBADMSG / RL_ERANGE /
 * RL_EUNSUPPORTED: the request is to blame (bad proof of possession, weak key, bad names, missing binding name).
 * RL_PROFILE_OCSP and _SCEP_RA are RL_EINVAL. RL_EDENIED for a renewal: it is good no more, or its names are not what
 * they were. With an owner, RL_EDENIED: it would name another; RL_ENOTFOUND: only the
 * owner's own name, which no object here has yet. */
rl_err rl_ca_issue(rl_ca *ca, const rl_issue_request *r, rl_issued *out, rl_error *e);

/* A delegated responder's certificate (RFC 6960 §4.2.2.2) for a key that the caller keeps in memory; the caller frees
 * it. It is not stored: it carries id-pkix-ocsp-nocheck (§4.2.2.2.1), so nobody asks for its status, it is never
 * revoked, only left to expire, and one is made at every start. `validity` ms from `now` (Unix seconds), cut to the
 * issuer's end; notBefore lies back by the clock skew like every certificate's. Blocks for one signature. */
rl_err rl_ca_sign_responder(const rl_ca *ca, const rl_issuer *issuer, EVP_PKEY *key, rl_duration validity, int64_t now,
                            X509 **out, rl_error *e);

#endif
