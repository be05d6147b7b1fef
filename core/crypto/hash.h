/* The hash algorithms that OCSP CertIDs and signatures use, as data. */
#ifndef RL_CRYPTO_HASH_H
#define RL_CRYPTO_HASH_H

#include "base/span.h"

typedef enum {
    RL_SHA1,
    RL_SHA256,
    RL_SHA384,
    RL_SHA512,
    RL_SHA224,
    RL_HASH_COUNT
} rl_hash; /* saved in keys of OCSP answers: new ones come last */
enum { RL_HASH_MAX = 64 };

size_t rl_hash_size(rl_hash h);      /* octets */
rl_span rl_hash_oid(rl_hash h);      /* OID contents */
const char *rl_hash_name(rl_hash h); /* "SHA256": what OpenSSL and people call it */
/* RL_EUNSUPPORTED for an OID we do not know. */
rl_err rl_hash_from_oid(rl_span oid, rl_hash *h);
/* out must hold RL_HASH_MAX octets. Thread-safe. */
rl_err rl_hash_digest(rl_hash h, rl_span in, uint8_t *out);

#endif
