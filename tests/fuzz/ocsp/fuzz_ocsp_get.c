/* The GET path decoder on any octets: stays inside its memory, and what it decodes comes back from base64. */
#include <stdlib.h>
#include <string.h>

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

/* A slash in front changes nothing, but that the path is read the careful way: both ways come to the same. */
static void check_careful(rl_span path, rl_err err, rl_span der)
{
    uint8_t *slashed = malloc(path.n + 1), *memory = malloc(path.n + 1);
    rl_span again = {0};
    if (slashed && memory) {
        slashed[0] = '/';
        if (path.n > 0)
            memcpy(slashed + 1, path.p, path.n);
        if (ocsp_get_decode(rl_span_of(slashed, path.n + 1), memory, path.n + 1, &again) != err ||
            (err == RL_OK && !rl_span_eq(der, again)))
            abort();
    }
    free(memory);
    free(slashed);
}

/* A path that begins as the last one did is read to the same result from there. */
static void check_start(rl_span path, rl_err err, rl_span der)
{
    static ocsp_path_start last;
    uint8_t *memory = malloc(path.n ? path.n : 1);
    rl_span again;
    if (memory && ocsp_get_decode_from(&last, path, memory, path.n, &again) &&
        (err != RL_OK || !rl_span_eq(der, again)))
        abort();
    if (err == RL_OK)
        ocsp_path_start_set(&last, path, der, der.n / 2);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t n)
{
    uint8_t *memory = malloc(n ? n : 1);
    rl_span der = {0};
    ocsp_request r;
    if (!memory)
        return 0;
    rl_err err = ocsp_get_decode(rl_span_of(octets, n), memory, n, &der);
    check_careful(rl_span_of(octets, n), err, der);
    check_start(rl_span_of(octets, n), err, der);
    if (err == RL_OK) {
        if (der.n == 0 || der.n > n)
            abort();
        check_round_trip(der);
        (void)ocsp_request_parse(der, 16, &r);
    }
    free(memory);
    return 0;
}
