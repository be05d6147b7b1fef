/* Jamf Pro's page parser: whatever comes, a page that is accepted keeps its promises. */
#include <stdint.h>
#include <stdlib.h>

#include "store/records.h"
#include "sync/jamf_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_item(const rl_graph_item *item, bool named)
{
    size_t n = strlen(item->id);
    if (n == 0 || n >= RL_JAMF_ID_SIZE || item->id[0] == '0' || strspn(item->id, "0123456789") != n)
        abort();
    if (item->name_said != named || (item->name && (!item->name[0] || strlen(item->name) > RL_OBJECT_ID_MAX)))
        abort();
    if (item->removed || item->enabled != RL_ENABLED_UNSAID)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const rl_jamf_shape shapes[] = {{.list = "results", .counted = true}, {.list = "users", .named = true}};
    rl_graph_page page;
    uint64_t total;
    rl_error e = {0};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (rl_jamf_page_parse(rl_span_of(data, size), 1 << 20, &shapes[i], &page, &total, &e) != RL_OK)
            continue;
        if (page.link || page.complete || total > INT64_MAX || (!shapes[i].counted && total != page.n))
            abort();
        for (size_t k = 0; k < page.n; k++)
            check_item(&page.items[k], shapes[i].named);
        rl_graph_page_free(&page);
    }
    return 0;
}
