/* X.509 helpers around OpenSSL: what issuing, OCSP and SCEP share. */
#ifndef RL_CRYPTO_X509_H
#define RL_CRYPTO_X509_H

#include <openssl/x509.h>

#include "base/span.h"
#include "crypto/hash.h"

enum { RL_SERIAL_MAX = 20 }; /* RFC 5280 §4.1.2.2 */

/* A serial number as its minimal big-endian magnitude: no leading 00. The one form that records,
 * keys and lookups use. */
typedef struct rl_serial {
    uint8_t n;
    uint8_t b[RL_SERIAL_MAX];
} rl_serial;

/* From INTEGER contents (drops the sign octet); RL_ERANGE when too long, negative or empty. */
rl_err rl_serial_from_der(rl_span contents, rl_serial *out);
/* From hexadecimal as people write it: upper or lower case, colons and a leading 0x allowed. */
rl_err rl_serial_from_text(const char *text, rl_serial *out);
/* Upper-case hexadecimal, two digits an octet, as openssl prints it. */
void rl_serial_text(const rl_serial *s, char out[2 * RL_SERIAL_MAX + 1]);
/* 128 random bits, positive, never zero: first octet in 0x40..0x7f. */
rl_err rl_serial_random(rl_serial *out);
bool rl_serial_eq(const rl_serial *a, const rl_serial *b);
rl_err rl_x509_serial(const X509 *cert, rl_serial *out);
/* Seconds since 1970 of a certificate's time; RL_ECRYPTO when it is none. */
rl_err rl_x509_time(const ASN1_TIME *t, int64_t *unix_s);

/* Fails with the newest OpenSSL error text appended; clears OpenSSL's queue. */
rl_err rl_fail_openssl(rl_error *e, const char *domain, const char *what);

/* "CN=Revline Root CA,O=Example\, Inc." → X509_NAME. As RFC 4514: the most specific attribute first, \ before a
 * character or two hexadecimal digits. Attribute names as OpenSSL knows them. The caller frees. */
rl_err rl_name_parse(const char *text, X509_NAME **out, rl_error *e);
/* RFC 2253 text in UTF-8, control characters escaped; malloced, caller frees; NULL on exhaustion. */
char *rl_name_text(const X509_NAME *name);

/* DER both ways; the caller frees, `out` of to_der with free(). Trailing octets are RL_EBADMSG. */
rl_err rl_x509_from_der(rl_span der, X509 **out, rl_error *e);
rl_err rl_x509_to_der(const X509 *cert, uint8_t **out, size_t *n, rl_error *e);
/* A request's key stays as it came: read it by rl_key_read, verify by rl_csr_holds (key.h). */
rl_err rl_csr_from_der(rl_span der, X509_REQ **out, rl_error *e);
/* DER or PEM, decided by looking. */
rl_err rl_csr_from_any(rl_span text, X509_REQ **out, rl_error *e);

/* SHA-1/…/SHA-512 of the issuer's subject name (DER) and of its subjectPublicKey bits, as in a CertID
 * (RFC 6960 §4.1.1). out must hold RL_HASH_MAX. */
rl_err rl_x509_name_hash(const X509 *issuer, rl_hash h, uint8_t *out);
rl_err rl_x509_key_hash(const X509 *issuer, rl_hash h, uint8_t *out);

/* What a directory binding is made of: the subject's CN and, from the SAN, the first UPN otherName
 * (1.3.6.1.4.1.311.20.2.3) and the first rfc822Name. Each malloced, or NULL when absent. Embedded NUL
 * and invalid UTF-8 is RL_EBADMSG. `exts` may be NULL. */
typedef struct rl_identity {
    char *cn, *upn, *mail;
} rl_identity;
rl_err rl_identity_read(const X509_NAME *subject, const STACK_OF(X509_EXTENSION) * exts, rl_identity *out, rl_error *e);
void rl_identity_free(rl_identity *i);

#endif
