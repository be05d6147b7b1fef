/* Certificate revocation lists of other CAs (RFC 5280 §5), read whole or not at all.
 *
 * The reader takes complete lists that speak for their issuer alone. It goes over the DER once, without a tree of
 * objects: an entry costs 32 octets beside the list itself. Pure but for memory. */
#ifndef RL_CRYPTO_CRL_H
#define RL_CRYPTO_CRL_H

#include "crypto/x509.h"

/* A list without nextUpdate counts as overdue so many seconds after its thisUpdate. */
enum { RL_CRL_NUMBER = 20, RL_CRL_LIFE_DEFAULT = 7 * 86400 };

typedef struct rl_crl_entry {
    int64_t revoked_at; /* Unix seconds */
    rl_serial serial;
    uint8_t reason; /* RFC 5280 §5.3.1; certificateHold (6) may be taken back */
} rl_crl_entry;

typedef struct rl_crl {
    int64_t this_update, next_update; /* Unix seconds; nextUpdate as RL_CRL_LIFE_DEFAULT has it when absent */
    uint8_t number[RL_CRL_NUMBER];    /* big-endian, zeros in front; all zero when absent */
    bool partial;                     /* by its issuing distribution point it need not have every revoked certificate */
    uint8_t scope[32];                /* SHA-256 of that extension when partial, else zeros */
    rl_crl_entry *entries;            /* in the order of rl_crl_order, each serial number once */
    size_t n;
    size_t skipped; /* entries whose serial number is negative or longer than 20 octets: no certificate here has one */
    X509_NAME *issuer;
    uint8_t *der;                                /* owned; the spans point into it */
    rl_span tbs, signature_algorithm, signature; /* elements; the signature's octets */
} rl_crl;

/* DER, or PEM with one list. RL_EBADMSG: malformed; RL_EUNSUPPORTED: a delta or indirect list, one for some reasons or
 * for attribute certificates only, or with a critical extension that is not known; RL_ERANGE: larger than `limit`.
 * On success free with rl_crl_clear. */
rl_err rl_crl_read(rl_span text, size_t limit, rl_crl *out, rl_error *e);
void rl_crl_clear(rl_crl *c);

/* Whether `issuer` signed it: the subject is the list's issuer, the key verifies the signature, and the key usage, when
 * there is one, has cRLSign. Signatures with MD5 never count, those with SHA-1 when `sha1` says so: old CAs still make
 * them. RL_ENOTFOUND: another name or another key; RL_EDENIED: not allowed to; RL_EUNSUPPORTED: the algorithm. */
rl_err rl_crl_verify(const rl_crl *c, X509 *issuer, bool sha1, rl_error *e);

/* The order of the certificates' keys in the database: octet by octet. */
int rl_crl_order(const rl_serial *a, const rl_serial *b);

#endif
