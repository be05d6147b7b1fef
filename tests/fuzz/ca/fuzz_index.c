/* Any text as an index.txt: what is accepted has serial numbers and subjects inside their limits. */
#include <stdlib.h>

#include "ca/ca_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ca_index_line *lines = NULL;
    size_t n = 0;
    rl_error e = {0};
    if (ca_index_read(rl_span_of(data, size), &lines, &n, &e) != RL_OK) {
        if (!e.message[0] || lines)
            abort();
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (lines[i].serial.n < 1 || lines[i].serial.n > RL_SERIAL_MAX || lines[i].subject.n == 0 ||
            lines[i].subject.p < data || lines[i].subject.p + lines[i].subject.n > data + size)
            abort();
    free(lines);
    return 0;
}
