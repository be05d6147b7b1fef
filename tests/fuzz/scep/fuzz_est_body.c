/* Any octets as the body of an EST request and as its Authorization field: what is read out of base64 is a request or
 * is refused, and what is written in base64 is read back. */
#include <stdlib.h>

#include "scep/est_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void read_back(rl_span in, bool one_line, rl_arena *arena)
{
    rl_buf text = {0};
    rl_span out;
    check(est_body_encode(in, one_line, &text) == RL_OK);
    check(one_line == !memchr(text.p, '\n', text.n));
    check(est_body_decode(rl_buf_span(&text), arena, &out, NULL) == RL_OK && rl_span_eq(in, out));
    rl_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_arena arena;
    rl_span in = rl_span_of(data, size), der;
    X509_REQ *csr;
    rl_error e = {0};
    rl_arena_init(&arena, 0);
    if (est_body_decode(in, &arena, &der, &e) != RL_OK)
        check(e.message[0] != 0);
    else if (rl_csr_from_any(der, &csr, NULL) == RL_OK)
        X509_REQ_free(csr);
    const char *password = est_basic_password(in, &arena);
    check(!password || strlen(password) < size);
    if (size > 0 && data[0] == 0x30) { /* as DER begins */
        read_back(in, false, &arena);
        read_back(in, true, &arena);
    }
    rl_arena_free(&arena);
    return 0;
}
