/* Hash algorithms: RFC 5754 §2 and RFC 3279 §2.1 give the OIDs. */
#include "crypto/hash.h"

#include <openssl/evp.h>
#include <pthread.h>

static const struct {
    const char *name;
    size_t size, oid_n;
    uint8_t oid[9];
} hashes[RL_HASH_COUNT] = {
    [RL_SHA1] = {"SHA1", 20, 5, {0x2b, 0x0e, 0x03, 0x02, 0x1a}},
    [RL_SHA256] = {"SHA256", 32, 9, {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}},
    [RL_SHA384] = {"SHA384", 48, 9, {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02}},
    [RL_SHA512] = {"SHA512", 64, 9, {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03}},
    [RL_SHA224] = {"SHA224", 28, 9, {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04}},
};

size_t rl_hash_size(rl_hash h)
{
    return hashes[h].size;
}
rl_span rl_hash_oid(rl_hash h)
{
    return rl_span_of(hashes[h].oid, hashes[h].oid_n);
}
const char *rl_hash_name(rl_hash h)
{
    return hashes[h].name;
}

rl_err rl_hash_from_oid(rl_span oid, rl_hash *h)
{
    for (unsigned i = 0; i < RL_HASH_COUNT; i++) {
        if (rl_span_eq(oid, rl_hash_oid((rl_hash)i))) {
            *h = (rl_hash)i;
            return RL_OK;
        }
    }
    return RL_EUNSUPPORTED;
}

/* Fetched once: EVP_sha256() and the like are looked up by name for every digest, which takes longer than the digest of
 * a short text. They live as long as the process. */
static EVP_MD *fetched[RL_HASH_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_all(void)
{
    for (unsigned i = 0; i < RL_HASH_COUNT; i++)
        fetched[i] = EVP_MD_fetch(NULL, hashes[i].name, NULL);
}

rl_err rl_hash_digest(rl_hash h, rl_span in, uint8_t *out)
{
    pthread_once(&once, fetch_all);
    return fetched[h] && EVP_Digest(in.n ? in.p : (const uint8_t *)"", in.n, out, NULL, fetched[h], NULL) == 1
               ? RL_OK
               : RL_ECRYPTO;
}
