/* The private operation of an RSA key (RSASP1 and RSADP, RFC 8017 §5) on four numbers at once, with AVX-512's 52-bit
 * multiplications (IFMA): each lane of a vector works on a number of its own, so that all multipliers are busy, which
 * one exponentiation cannot do. For four numbers it takes not much longer than OpenSSL does for one.
 *
 * Time and the addresses that are read depend on no secret: windows of fixed width, tables read whole, no branch. The
 * numbers are blinded as OpenSSL blinds them, and what comes of them is checked against faults by the public exponent.
 */
#ifndef RL_CRYPTO_RSA_LANES_H
#define RL_CRYPTO_RSA_LANES_H

#include <openssl/evp.h>

typedef struct rl_rsa_lanes rl_rsa_lanes;

enum { RL_RSA_LANES = 4 };

/* With a copy of the private key. NULL: the processor cannot do it, the key is not of 2048, 3072 or 4096 bits and two
 * primes of half of them with a public exponent of at most 32 bits, or there is no memory. */
rl_rsa_lanes *rl_rsa_lanes_new(const EVP_PKEY *key);
/* Wipes the key. NULL is allowed. */
void rl_rsa_lanes_free(rl_rsa_lanes *r);

/* Numbers of as many octets as the modulus has, the first `n` of at most RL_RSA_LANES. Bit i of what is returned says
 * that out[i] holds what in[i] gives; otherwise in[i] is not below the modulus, or something went wrong, and out[i] is
 * as it was. One thread at a time. */
unsigned rl_rsa_lanes_use(rl_rsa_lanes *r, const uint8_t *const in[], uint8_t *const out[], unsigned n);

#endif
