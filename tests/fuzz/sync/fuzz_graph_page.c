/* Graph's page parser and its error parser: whatever comes, a page that is accepted keeps its promises. */
#include <stdint.h>
#include <stdlib.h>

#include "http/client.h"
#include "store/records.h"
#include "sync/graph_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const rl_graph_page *p)
{
    if (!rl_http_same_origin(p->link, "https://graph.microsoft.com") || strlen(p->link) > RL_GRAPH_LINK_MAX)
        abort();
    for (size_t i = 0; i < p->n; i++) {
        const rl_graph_item *item = &p->items[i];
        if (!item->id[0] || strlen(item->id) > RL_OBJECT_ID_MAX ||
            (item->name && strlen(item->name) > RL_OBJECT_ID_MAX))
            abort();
        if (i > 0 && strcmp(p->items[i - 1].id, item->id) >= 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_graph_page page;
    rl_error e = {0};
    char code[64];
    if (rl_graph_page_parse(rl_span_of(data, size), 1 << 20, "deviceId", "https://graph.microsoft.com", &page, &e) ==
        RL_OK) {
        check(&page);
        rl_graph_page_free(&page);
    }
    rl_graph_error_code(rl_span_of(data, size), code, sizeof(code));
    return 0;
}
