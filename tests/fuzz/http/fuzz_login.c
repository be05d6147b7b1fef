/* A token endpoint's answer: whatever comes, a token that is taken can stand in a header, and lives for a bounded time.
 */
#include <stdint.h>
#include <stdlib.h>

#include "http/login.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *token;
    int64_t life;
    rl_error e = {0};
    if (rl_login_read(rl_span_of(data, size), 1767604272, &token, &life, &e) == RL_OK) {
        if (!rl_token_is_usable(token) || life < 1 || life > 24 * 3600)
            abort();
        free(token);
    } else if (token || !e.message[0]) {
        abort();
    }
    rl_err err = rl_login_refused(400, rl_span_of(data, size), RL_LOGIN_IMDS, &e);
    if ((err != RL_EDENIED && err != RL_EBUSY) || !e.message[0])
        abort();
    return 0;
}
