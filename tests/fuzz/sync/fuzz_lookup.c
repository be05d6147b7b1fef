/* Answers to direct questions: whatever comes, an object that is taken is the one that was meant. */
#include <stdint.h>
#include <stdlib.h>

#include "sync/lookup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const rl_settings settings = {.azure.graph_url = (char *)(uintptr_t) "https://graph.microsoft.com"};
    for (unsigned kind = 0; kind < RL_LOOK_KINDS; kind++) {
        const char *id = rl_look_is_jamf((rl_look_kind)kind) ? "12" : "5c6d0000-0000-4000-8000-000000000001";
        rl_graph_page page;
        rl_error e = {0};
        if (rl_look_read(&settings, (rl_look_kind)kind, rl_span_of(data, size), id, &page, &e) != RL_OK) {
            if (!e.message[0])
                abort();
            continue;
        }
        for (size_t i = 0; i < page.n; i++) {
            const rl_graph_item *item = &page.items[i];
            const bool by_id = kind == RL_LOOK_INTUNE_ID || rl_look_is_jamf((rl_look_kind)kind);
            if (item->removed || (by_id && strcmp(item->id, id) != 0) ||
                (!by_id && kind != RL_LOOK_ENTRA_USER && (!item->name || strcmp(item->name, id) != 0)))
                abort();
        }
        rl_graph_page_free(&page);
    }
    return 0;
}
