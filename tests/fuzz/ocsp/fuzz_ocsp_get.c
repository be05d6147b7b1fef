/* The GET path decoder on any octets: stays inside its memory, and what it decodes comes back from base64. */
#include <stdlib.h>

#include "ocsp/get.h"
#include "ocsp/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t n);

/* base64url needs no escapes and has no slash that could be taken for one in front. */
static void check_round_trip(rl_span der)
{
    size_t cap = (der.n + 2) / 3 * 4 + 1;
    char *text = malloc(cap);
    uint8_t *memory = malloc(cap);
    rl_span again;
    if (text && memory) {
        if (rl_base64_encode(der, true, text, cap) != RL_OK)
            abort();
        if (ocsp_get_decode(rl_span_str(text), memory, cap, &again) != RL_OK || !rl_span_eq(der, again))
            abort();
    }
    free(memory);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t n)
{
    uint8_t *memory = malloc(n ? n : 1);
    rl_span der;
    ocsp_request r;
    if (memory && ocsp_get_decode(rl_span_of(octets, n), memory, n, &der) == RL_OK) {
        if (der.n == 0 || der.n > n)
            abort();
        check_round_trip(der);
        (void)ocsp_request_parse(der, 16, &r);
    }
    free(memory);
    return 0;
}
