/* Every record decoder over the same octets: each says RL_OK or RL_ECORRUPT, and what was read can be written and read
 * again. */
#include <stdlib.h>

#include "store/records.h"

#define READ_AND_WRITE(type, in)                                                                                       \
    do {                                                                                                               \
        rl_##type##_record r, again;                                                                                   \
        rl_buf b = {0};                                                                                                \
        rl_err err = rl_##type##_decode((in), &r);                                                                     \
        if (err != RL_OK && err != RL_ECORRUPT)                                                                        \
            abort();                                                                                                   \
        if (err == RL_OK) {                                                                                            \
            if (rl_##type##_encode(&r, &b) != RL_OK || rl_##type##_decode(rl_buf_span(&b), &again) != RL_OK)           \
                abort();                                                                                               \
            rl_##type##_clear(&again);                                                                                 \
            rl_##type##_clear(&r);                                                                                     \
        }                                                                                                              \
        rl_buf_free(&b);                                                                                               \
    } while (0)

static void rl_revoked_clear(rl_revoked_record *r)
{
    (void)r;
}

static void rl_change_clear(rl_change_record *r)
{
    (void)r;
}

static void rl_response_clear(rl_response_record *r)
{
    (void)r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_span in = rl_span_of(data, size);
    rl_cert_status status;
    rl_cert_record cert;
    rl_err hot = rl_cert_decode_status(in, &status);
    rl_err whole = rl_cert_decode(in, &cert);
    /* The short reader of OCSP takes what the whole one takes, and says the same. */
    if (whole == RL_OK && (hot != RL_OK || status.status != cert.status || status.reason != cert.reason ||
                           status.revoked_at != cert.revoked_at))
        abort();
    if (whole == RL_OK)
        rl_cert_clear(&cert);
    READ_AND_WRITE(cert, in);
    READ_AND_WRITE(revoked, in);
    READ_AND_WRITE(object, in);
    READ_AND_WRITE(issuer, in);
    READ_AND_WRITE(cursor, in);
    READ_AND_WRITE(delta, in);
    READ_AND_WRITE(change, in);
    READ_AND_WRITE(response, in);
    return 0;
}
