/* Public keys of certificates and requests, and whether what is signed by one is: OpenSSL's work without its decoders
 * and encoders. OpenSSL 3.0 looks through some hundred of them for every key that it reads or writes, a tenth of a
 * millisecond each time, and reads a key as soon as a certificate or request is. All functions are thread-safe. */
#ifndef RL_CRYPTO_KEY_H
#define RL_CRYPTO_KEY_H

#include <openssl/x509.h>

#include "base/span.h"

/* A library context without algorithms, never freed: a certificate, request or CMS object that is made in it and then
 * read keeps its keys as they came. OpenSSL's functions that need an algorithm fail for it (X509_get0_pubkey,
 * X509_verify); those below do not. */
OSSL_LIB_CTX *rl_no_algorithms(void);

/* The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7); the caller frees. NULL when it is none that OpenSSL knows. */
EVP_PKEY *rl_key_read(const X509_PUBKEY *spki);
/* Whether both are one key in the same encoding. */
bool rl_key_same(const X509_PUBKEY *a, const X509_PUBKEY *b);
/* X509_set_pubkey, but that X509_get0_pubkey does not find the key until the certificate is read from its DER. False on
 * exhaustion, or for a key that has no encoding. */
bool rl_key_write(X509 *cert, EVP_PKEY *key);

/* Whether the signature over `tbs` (DER) holds, of an algorithm that names its digest, or RSASSA-PSS. */
bool rl_signature_holds(rl_span tbs, const X509_ALGOR *algorithm, rl_span signature, EVP_PKEY *key);
/* X509_verify, X509_REQ_verify. */
bool rl_x509_holds(const X509 *cert, EVP_PKEY *key);
bool rl_csr_holds(const X509_REQ *csr, EVP_PKEY *key);
/* The hash of RSASSA-PSS parameters (RFC 4055 §3.1): SHA-1 when it is not named; NID_undef when they are malformed. */
int rl_pss_digest(const X509_ALGOR *algorithm);

#endif
