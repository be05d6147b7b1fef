/* Graph's page parser and its error parser: whatever comes, a page that is accepted keeps its promises. */
#include <stdint.h>
#include <stdlib.h>

#include "http/client.h"
#include "store/records.h"
#include "sync/graph_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Devices by delta query; managed devices, risky users, certificates and profiles by list. */
static const rl_graph_shape shapes[] = {{.name = "deviceId"},
                                        {.name = "azureADDeviceId", .listing = true},
                                        {.listing = true},
                                        {.listing = true, .certificates = true},
                                        {.name = "@odata.type", .listing = true, .verbatim = true}};

static void check_link(const char *link)
{
    if (!rl_http_same_origin(link, "https://graph.microsoft.com") || strlen(link) > RL_GRAPH_LINK_MAX)
        abort();
}

static void check_state(const rl_graph_item *item, const rl_graph_shape *shape)
{
    if ((unsigned)item->compliance >= RL_COMPLIANCE_STATES || (unsigned)item->management >= RL_MANAGEMENT_STATES ||
        (unsigned)item->risk >= RL_RISK_LEVELS || item->enrolled < 0 || (item->name_said && !shape->name))
        abort();
}

static void check_listed(const rl_graph_item *item, const rl_graph_shape *shape)
{
    const rl_listed_cert *listed = item->listed;
    if ((item->revoking && !shape->certificates) || (listed && !item->revoking))
        abort();
    if (listed && (listed->serial_n == 0 || listed->serial_n > RL_STORE_SERIAL_MAX ||
                   (listed->serial[0] == 0 && listed->serial_n > 1) ||
                   strspn(listed->thumbprint, "0123456789abcdef") != 40 || listed->thumbprint[40]))
        abort();
}

static void check(const rl_graph_page *p, const rl_graph_shape *shape)
{
    if (p->link)
        check_link(p->link);
    else if (!shape->listing || !p->complete)
        abort();
    for (size_t i = 0; i < p->n; i++) {
        const rl_graph_item *item = &p->items[i];
        if (!item->id[0] || strlen(item->id) > RL_OBJECT_ID_MAX ||
            (item->name && strlen(item->name) > RL_OBJECT_ID_MAX))
            abort();
        check_state(item, shape);
        check_listed(item, shape);
        if (i > 0 && strcmp(p->items[i - 1].id, item->id) >= 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_graph_page page;
    rl_error e = {0};
    char code[64];
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (rl_graph_page_parse(rl_span_of(data, size), 1 << 20, &shapes[i], "https://graph.microsoft.com", &page,
                                &e) != RL_OK)
            continue;
        check(&page, &shapes[i]);
        rl_graph_page_free(&page);
    }
    rl_graph_error_code(rl_span_of(data, size), code, sizeof(code));
    return 0;
}
