/* A line of an export: read whole or refused with a message, and what was read can be stored and read again. */
#include <stdlib.h>

#include "store/export.h"

#define STORE_AND_READ(type, record)                                                                                   \
    do {                                                                                                               \
        rl_##type##_record again;                                                                                      \
        rl_buf b = {0};                                                                                                \
        if (rl_##type##_encode((record), &b) == RL_OK) {                                                               \
            if (rl_##type##_decode(rl_buf_span(&b), &again) != RL_OK)                                                  \
                abort();                                                                                               \
            rl_##type##_clear(&again);                                                                                 \
        }                                                                                                              \
        rl_buf_free(&b);                                                                                               \
    } while (0)

static void check(const rl_line *l)
{
    if (l->kind == RL_LINE_CERT) {
        rl_cert_record settled = l->cert;
        rl_cert_settle(&settled, l->cert.revoked_at);
        if (settled.status != l->cert.status || settled.reason != l->cert.reason)
            abort();
        STORE_AND_READ(cert, &l->cert);
    }
    if (l->kind == RL_LINE_OBJECT)
        STORE_AND_READ(object, &l->object);
    if (l->kind == RL_LINE_CURSOR)
        STORE_AND_READ(cursor, &l->cursor);
    if (l->kind == RL_LINE_ISSUER)
        STORE_AND_READ(issuer, &l->issuer_of);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_line line;
    rl_error e = {0};
    rl_err err = rl_line_read(rl_span_of(data, size), &line, &e);
    if (err == RL_OK)
        check(&line);
    else if (!e.message[0])
        abort();
    rl_line_clear(&line);
    return 0;
}
