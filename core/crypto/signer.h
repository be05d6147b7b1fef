/* Signer: a private key behind one interface, whatever keeps it. File and memory keys today;
 * the kind of keeper is known to this module alone.
 *
 * A signer is immutable after creation and may sign on any number of threads at once. Where
 * the processor can, an RSA key works for several threads together, which ask for the same as ever (rsa_lanes.h). */
#ifndef RL_CRYPTO_SIGNER_H
#define RL_CRYPTO_SIGNER_H

#include <openssl/evp.h>

#include "base/settings.h"
#include "crypto/hash.h"

typedef struct rl_signer rl_signer;

/* A fresh key in memory only. RL_KEY_AUTO is RL_EINVAL. */
rl_err rl_signer_generate(rl_key_type type, rl_signer **out, rl_error *e);
/* Of a key that is in memory, which is taken over in every case. RL_EUNSUPPORTED. */
rl_err rl_signer_of(EVP_PKEY *pkey, rl_signer **out, rl_error *e);
/* PKCS#8 PEM. Refuses (RL_EDENIED) a file that group or others can read. */
rl_err rl_signer_load(const char *path, rl_signer **out, rl_error *e);
/* Writes PKCS#8 PEM, mode 0600, created exclusively, fsynced with its folder: RL_EEXISTS when the file exists. */
rl_err rl_signer_save(const rl_signer *s, const char *path, rl_error *e);
rl_signer *rl_signer_ref(rl_signer *s);
void rl_signer_free(rl_signer *s); /* drops one reference; the last wipes the key */

/* For building certificates, CMS and PKCS#12 with OpenSSL; borrowed. */
EVP_PKEY *rl_signer_pkey(const rl_signer *s);
rl_key_type rl_signer_type(const rl_signer *s);
bool rl_signer_is_rsa(const rl_signer *s);

/* So many threads for each core get most out of an RSA key. */
enum { RL_SIGNER_TOGETHER = 4 };

/* Signature AlgorithmIdentifier (whole DER element, static) that rl_signer_sign makes: RSA PKCS#1 v1.5 with
 * SHA-256, ECDSA with SHA-256 (P-256) or SHA-384 (P-384). */
rl_span rl_signer_algorithm(const rl_signer *s);
rl_hash rl_signer_hash(const rl_signer *s);
/* Signs `tbs`; *n holds the capacity of sig on entry. RL_ERANGE when too small (RL_SIGNATURE_MAX always fits). */
enum { RL_SIGNATURE_MAX = 512 };
rl_err rl_signer_sign(rl_signer *s, rl_span tbs, uint8_t *sig, size_t *n, rl_error *e);
/* Likewise by another hash, with an RSA key: PKCS#1 v1.5. */
rl_err rl_signer_sign_by(rl_signer *s, rl_hash hash, rl_span tbs, uint8_t *sig, size_t *n, rl_error *e);
/* RSADP (RFC 8017 §5.1.2) by an RSA key: as many octets as its modulus has, with whatever padding is in them. `out` has
 * room for RL_SIGNATURE_MAX, *n is set. RL_ECRYPTO: `in` is no number below the modulus. */
rl_err rl_signer_decrypt(rl_signer *s, rl_span in, uint8_t *out, size_t *n, rl_error *e);

const char *rl_key_type_name(rl_key_type t); /* "rsa4096", "ec-p256", … */

#endif
