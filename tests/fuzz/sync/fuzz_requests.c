/* Intune's requests to revoke, and its answer to their results: whatever comes, what is accepted keeps its promises,
 * and can be written back. */
#include <stdint.h>
#include <stdlib.h>

#include "sync/requests_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const rl_revocation_requests *r)
{
    if (r->n + r->nameless > RL_REQUESTS_MAX)
        abort();
    for (size_t i = 0; i < r->n; i++) {
        const rl_revocation_request *one = &r->items[i];
        const char *const context = one->context;
        const rl_request_result result = (rl_request_result)(i % RL_RESULTS);
        rl_buf body = {0};
        if (!context[0] || strlen(context) > RL_REQUEST_CONTEXT_MAX || one->serial.n > RL_SERIAL_MAX ||
            (one->issuer && !one->issuer[0]))
            abort();
        if (rl_requests_put_upload(&context, &result, 1, &body) != RL_OK)
            abort();
        rl_buf_free(&body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_revocation_requests r;
    rl_span body = rl_span_of(data, size);
    if (rl_requests_parse(body, 1 << 20, &r, NULL) == RL_OK) {
        check(&r);
        rl_requests_free(&r);
    }
    (void)rl_requests_recorded(body);
    return 0;
}
