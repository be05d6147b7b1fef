/* ECDSA on P-256 (FIPS 186-5 §6.4.1) for many signatures: what does not depend on the message, a nonce's inverse and
 * its point, is made ahead for some at a time. One inversion then serves all of them instead of two for each
 * (Montgomery's trick), which takes half of what OpenSSL's own signature takes.
 *
 * The arithmetic is OpenSSL's, in its variants whose time does not depend on the numbers. */
#ifndef RL_CRYPTO_ECDSA_H
#define RL_CRYPTO_ECDSA_H

#include <openssl/evp.h>

#include "base/span.h"

typedef struct rl_ecdsa rl_ecdsa;

/* With a copy of the private key, which must be of P-256; NULL when it is not or there is no memory. */
rl_ecdsa *rl_ecdsa_new(const EVP_PKEY *key);
/* Wipes the key and the nonces that are left. NULL is allowed. */
void rl_ecdsa_free(rl_ecdsa *s);

/* Signs a digest, as an ECDSA-Sig-Value in DER (RFC 3279 §2.2.3); *n is set to its length. One thread at a time. Fails
 * (RL_EIO, with OpenSSL's error queue) without memory or random numbers only. */
enum { RL_ECDSA_DIGEST = 32, RL_ECDSA_SIGNATURE_MAX = 72 };
rl_err rl_ecdsa_sign(rl_ecdsa *s, const uint8_t digest[RL_ECDSA_DIGEST], uint8_t sig[RL_ECDSA_SIGNATURE_MAX],
                     size_t *n);

#endif
