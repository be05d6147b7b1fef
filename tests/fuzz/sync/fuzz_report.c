/* The exported report: whatever archive comes, what is unpacked keeps its limit, and rows that are accepted are
 * certificates. The input is also read as a report that was not packed. */
#include <stdint.h>
#include <stdlib.h>

#include "sync/graph_page.h"
#include "sync/unzip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 18 };

static void read_report(rl_span text)
{
    rl_graph_page page;
    rl_error e = {0};
    if (rl_report_parse(text, LIMIT, &page, &e) != RL_OK)
        return;
    if (!page.complete || page.link)
        abort();
    for (size_t i = 0; i < page.n; i++) {
        const rl_listed_cert *listed = page.items[i].listed;
        if (!page.items[i].revoking || !page.items[i].id || page.items[i].removed)
            abort();
        if (listed && (listed->serial_n == 0 || listed->serial_n > RL_STORE_SERIAL_MAX ||
                       strspn(listed->thumbprint, "0123456789abcdef") != 40 || listed->thumbprint[40]))
            abort();
    }
    rl_graph_page_free(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_buf text = {0};
    rl_error e = {0};
    rl_err err = rl_unzip(rl_span_of(data, size), ".json", LIMIT, &text, &e);
    if (text.n > LIMIT || (err != RL_OK && !e.message[0]))
        abort();
    if (err == RL_OK)
        read_report(rl_buf_span(&text));
    read_report(rl_span_of(data, size));
    rl_buf_free(&text);
    return 0;
}
