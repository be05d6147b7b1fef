/* Public keys of certificates and requests, and whether what is signed by one is: OpenSSL's work without its decoders
 * and encoders. OpenSSL 3.0 looks through some hundred of them for every key that it reads or writes, a tenth of a
 * millisecond each time, and reads a key as soon as a certificate or request is. With an RSA key its numbers alone are
 * worked with: half of the time of a verification by OpenSSL is the way there. All functions are thread-safe, but one
 * key is one thread's at a time; one of rl_key_of may be compared and verified with by many. */
#ifndef RL_CRYPTO_KEY_H
#define RL_CRYPTO_KEY_H

#include <openssl/x509.h>

#include "base/span.h"
#include "crypto/hash.h"

/* A library context without algorithms, never freed: a certificate, request or CMS object that is made in it and then
 * read keeps its keys as they came. OpenSSL's functions that need an algorithm fail for it (X509_get0_pubkey,
 * X509_verify); those below do not. */
OSSL_LIB_CTX *rl_no_algorithms(void);

typedef struct rl_key rl_key;
/* The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) in DER; the caller frees. NULL when it is none that OpenSSL
 * knows. */
rl_key *rl_key_read(rl_span spki);
rl_key *rl_key_in(const X509_PUBKEY *spki);
/* Of a key that OpenSSL has; NULL on exhaustion or for NULL. */
rl_key *rl_key_of(EVP_PKEY *pkey);
void rl_key_free(rl_key *key);

bool rl_key_is_rsa(const rl_key *key);
int rl_key_bits(const rl_key *key);
/* Modulus and exponent of an RSA key. */
const BIGNUM *rl_key_modulus(const rl_key *key);
const BIGNUM *rl_key_exponent(const rl_key *key);
/* As OpenSSL's, made when it is first asked for; the key's own. NULL on exhaustion. */
EVP_PKEY *rl_key_pkey(rl_key *key);
/* Whether both are one key, in whatever encoding; false without either. */
bool rl_key_eq(const rl_key *a, const rl_key *b);
/* Its SubjectPublicKeyInfo as OpenSSL would encode it; empty on exhaustion, or for a key that has no encoding. */
rl_span rl_key_spki(rl_key *key);

/* RSAES-PKCS1-v1_5 (RFC 8017 §7.2.1) by an RSA key; `out` has room for *n octets. False also for a key that is left to
 * OpenSSL: with an exponent of more than 64 bits, for example. */
bool rl_key_encrypt(const rl_key *key, rl_span plain, uint8_t *out, size_t *n);

/* EMSA-PKCS1-v1_5 (RFC 8017 §9.2): what an RSA key of `k` octets signs of `tbs`. */
bool rl_pkcs1_encode(rl_hash hash, rl_span tbs, uint8_t *out, size_t k);

/* Whether the signature over `tbs` (DER) holds, of an algorithm that names its digest, or RSASSA-PSS. */
bool rl_signature_holds(rl_span tbs, const X509_ALGOR *algorithm, rl_span signature, rl_key *key);
/* X509_verify, X509_REQ_verify; false without a key. */
bool rl_x509_holds(const X509 *cert, rl_key *key);
bool rl_csr_holds(const X509_REQ *csr, rl_key *key);
/* The hash of RSASSA-PSS parameters (RFC 4055 §3.1): SHA-1 when it is not named; NID_undef when they are malformed. */
int rl_pss_digest(const X509_ALGOR *algorithm);

#endif
