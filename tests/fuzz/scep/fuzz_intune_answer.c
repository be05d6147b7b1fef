/* Intune's answers to SCEP requests, and what is kept to be told it: whatever comes, only the word Success is a yes,
 * and an entry that is read has something to say. */
#include <stdlib.h>

#include "base/json.h"
#include "scep/intune.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool says_success(rl_span body)
{
    json_t *root = NULL;
    rl_json_parse(body, 1 << 20, &root, NULL);
    const char *code = rl_json_str(root, "code");
    bool is = code && strcmp(code, "Success") == 0;
    json_decref(root);
    return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_span body = rl_span_of(data, size);
    char why[SCEP_INTUNE_WHY];
    scep_intune_entry entry;
    scep_intune_verdict verdict = scep_intune_read(200, body, why);
    if ((verdict == SCEP_INTUNE_YES) != says_success(body) || (verdict == SCEP_INTUNE_YES) != (why[0] == 0))
        abort();
    if (scep_intune_read(500, body, why) != SCEP_INTUNE_AWAY)
        abort();
    if (scep_intune_entry_read(body, &entry) == RL_OK) {
        if (entry.body.n < 2 || !entry.action || entry.cert.serial_n > RL_STORE_SERIAL_MAX)
            abort();
    }
    rl_buf_free(&entry.body);
    return 0;
}
