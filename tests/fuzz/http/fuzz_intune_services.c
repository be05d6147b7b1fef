/* Graph's list of Intune's services: whatever comes, an address that is taken from it is one that a token may go to. */
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "http/intune_services.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *address, bool plain)
{
    size_t n = strlen(address);
    bool https = strncasecmp(address, "https://", 8) == 0, http = strncasecmp(address, "http://", 7) == 0;
    if (!https && !(plain && http))
        abort();
    if (!rl_http_same_origin(address, address) || address[n - 1] == '/' || strpbrk(address, " \\?#\r\n"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int plain = 0; plain < 2; plain++) {
        char *found[RL_INTUNE_SERVICES];
        if (rl_intune_services_read(rl_span_of(data, size), plain, found, NULL) != RL_OK)
            continue;
        for (size_t i = 0; i < RL_INTUNE_SERVICES; i++) {
            if (found[i])
                check(found[i], plain);
            free(found[i]);
        }
    }
    return 0;
}
