/* `revline sync hold`, `release ID` and `drop ID`, as a person calls them. */
#include <stdio.h>

#include "app/cli.h"
#include "base/json.h"

static void print_sample(const json_t *change)
{
    size_t i;
    json_t *cert, *sample = json_object_get(change, "sample");
    json_array_foreach(sample, i, cert)
    {
        char why[CLI_WHY_TEXT], becomes[CLI_WHY_TEXT + 16];
        cli_why_text(json_object_get(cert, "why"), why);
        snprintf(becomes, sizeof(becomes), "%s (%s)", rl_json_str(cert, "wouldBe"), why);
        printf("        %-40s  %-24s  %s\n", rl_json_str(cert, "serial"), becomes, rl_json_str(cert, "subject"));
    }
    int64_t more = rl_json_int(change, "certificates", 0) - (int64_t)json_array_size(sample);
    if (more > 0)
        printf("        and %lld more\n", (long long)more);
}

static int print_changes(const cli_call *call, const json_t *reply)
{
    size_t i;
    json_t *c, *changes = json_object_get(reply, "changes");
    (void)call;
    if (json_array_size(changes) == 0) {
        printf("no mass change waits\n");
        return 0;
    }
    printf("%-6s  %-19s  %-8s  %-20s  %s\n", "ID", "SOURCE", "STATE", "SINCE", "CERTIFICATES");
    json_array_foreach(changes, i, c)
    {
        printf("%-6lld  %-19s  %-8s  %-20s  %lld\n", (long long)rl_json_int(c, "id", 0), rl_json_str(c, "source"),
               rl_json_str(c, "state"), rl_json_str(c, "since"), (long long)rl_json_int(c, "certificates", 0));
        print_sample(c);
    }
    return 0;
}

static int print_decision(const cli_call *call, const json_t *reply)
{
    long long id = rl_json_int(reply, "id", 0), n = rl_json_int(reply, "certificates", 0);
    (void)call;
    if (json_object_get(reply, "changed"))
        printf("change %lld is released: %lld of %lld certificates changed\n", id,
               (long long)rl_json_int(reply, "changed", 0), n);
    else
        printf("change %lld is dropped: %lld certificates stay as they are\n", id, n);
    return 0;
}

int cli_sync_hold(cli_call *call, json_t *request)
{
    json_object_set_new(request, "command", json_string("sync-hold"));
    return cli_ask_and(call, request, print_changes);
}

int cli_sync_decide(cli_call *call, json_t *request)
{
    bool release = strcmp(call->operands[0], "release") == 0;
    json_object_set_new(request, "command", json_string(release ? "sync-release" : "sync-drop"));
    json_object_set_new(request, "id", json_string(call->operands[1]));
    return cli_ask_and(call, request, print_decision);
}
