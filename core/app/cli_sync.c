/* `revline sync`, as a person calls it: the table of the sources, a round now with its progress, the status rules. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/cli.h"
#include "base/clock.h"
#include "base/json.h"

enum { POLL_MS = 100, TIME_COLUMN = 24 };

/* ---- the table ---- */
static void span_text(int64_t s, char out[TIME_COLUMN])
{
    if (s < 0)
        snprintf(out, TIME_COLUMN, "-");
    else if (s < 120)
        snprintf(out, TIME_COLUMN, "%lld s", (long long)s);
    else if (s < 120 * 60)
        snprintf(out, TIME_COLUMN, "%lld min", (long long)s / 60);
    else if (s < 48 * 3600)
        snprintf(out, TIME_COLUMN, "%lld h", (long long)s / 3600);
    else
        snprintf(out, TIME_COLUMN, "%lld d", (long long)s / 86400);
}

static const char *text_of(const json_t *s, const char *name)
{
    const char *text = rl_json_str(s, name);
    return text ? text : "";
}

static void print_row(const char *name, const json_t *s, int64_t now)
{
    char last[RL_TIME_TEXT] = "never", lag[TIME_COLUMN], throttled[TIME_COLUMN], next[TIME_COLUMN];
    int64_t success = rl_json_int(s, "lastSuccess", 0), at = rl_json_int(s, "nextRun", 0);
    if (success)
        rl_time_rfc3339(success, last);
    span_text(rl_json_int(s, "lagSeconds", -1), lag);
    span_text(rl_json_int(s, "throttledSeconds", 0), throttled);
    if (strcmp(text_of(s, "state"), "running") == 0)
        snprintf(next, sizeof(next), "now");
    else
        span_text(at > now ? at - now : 0, next);
    printf("%-19s  %-12s  %-20s  %-8s  %9lld  %9lld  %9lld  %-9s  %s\n", name, text_of(s, "state"), last, lag,
           (long long)rl_json_int(s, "objects", 0), (long long)rl_json_int(s, "changed", 0),
           (long long)rl_json_int(s, "requests", 0), throttled, next);
}

static void print_off(const char *name, const json_t *s)
{
    char last[RL_TIME_TEXT];
    int64_t success = rl_json_int(s, "lastSuccess", 0);
    printf("%-19s  %-12s  turned on by %s", name, text_of(s, "state"), text_of(s, "needs"));
    rl_time_rfc3339(success, last);
    if (success)
        printf("; last success %s", last);
    printf("\n");
}

static void print_stale(const json_t *s, const char *policy)
{
    char why[RL_TIME_TEXT + 64] = "no success for too long";
    int64_t ended = rl_json_int(s, "listEnded", 0);
    if (ended) {
        rl_time_rfc3339(ended, why);
        snprintf(why + strlen(why), sizeof(why) - strlen(why), " was the list's end, and there is no newer one");
    }
    printf("    stale     %s (REVLINE_SYNC_STALE_AFTER): OCSP %s\n", why,
           strcmp(policy, "trylater") == 0 ? "says tryLater for its certificates" : "goes on as before");
}

static void print_troubles(const json_t *s, const char *policy)
{
    if (text_of(s, "lastError")[0])
        printf("    failing   %s\n    to do     %s\n", text_of(s, "lastError"), text_of(s, "advice"));
    if (rl_json_bool(s, "stale", false))
        print_stale(s, policy);
    if (rl_json_int(s, "heldChanges", 0) > 0)
        printf("    held      %lld certificates wait for a decision: revline sync hold\n",
               (long long)rl_json_int(s, "heldCertificates", 0));
}

static int print_table(const cli_call *call, const json_t *reply)
{
    const char *name;
    json_t *s;
    (void)call;
    printf("%-19s  %-12s  %-20s  %-8s  %9s  %9s  %9s  %-9s  %s\n", "SOURCE", "STATE", "LAST SUCCESS", "LAG", "OBJECTS",
           "CHANGES", "REQUESTS", "THROTTLED", "NEXT RUN");
    json_object_foreach(json_object_get(reply, "sources"), name, s)
    {
        if (rl_json_str(s, "needs")) {
            print_off(name, s);
            continue;
        }
        print_row(name, s, rl_json_int(reply, "now", 0));
        print_troubles(s, text_of(reply, "stalePolicy"));
    }
    return 0;
}

/* ---- a round now ---- */
struct waiting {
    cli_call *call;
    json_t *asked; /* source → the ask that is waited for */
    uint64_t began;
    bool terminal;
    json_t *done; /* source → its state when its round had ended */
    bool failed;
};

static double seconds_since(uint64_t began)
{
    return (double)(rl_mono_ms() - began) / 1000;
}

static const char *plural(long long n)
{
    return n == 1 ? "" : "s";
}

/* Whether its round is over: well, or not. An upstream that says when to come again is not waited for. */
static bool is_over(const json_t *s, int64_t ask, int64_t now, bool *well)
{
    const json_t *asked = json_object_get(s, "asked");
    *well = rl_json_int(asked, "answeredWell", 0) >= ask;
    return *well || rl_json_int(asked, "answered", 0) >= ask || rl_json_int(s, "waitsUntil", 0) > now;
}

static void print_end(struct waiting *w, const char *name, const json_t *s, bool well)
{
    const json_t *round = json_object_get(s, "round");
    long long pages = rl_json_int(round, "pages", 0), objects = rl_json_int(round, "objects", 0),
              changed = rl_json_int(round, "changed", 0);
    if (w->terminal)
        printf("\r\033[K");
    if (well && !w->call->json) {
        printf("%s: done in %.1f s: %lld page%s, %lld object%s, %lld certificate%s changed\n", name,
               seconds_since(w->began), pages, plural(pages), objects, plural(objects), changed, plural(changed));
        if (rl_json_int(s, "heldChanges", 0) > 0)
            printf("%s: %lld certificates are held: revline sync hold\n", name,
                   (long long)rl_json_int(s, "heldCertificates", 0));
    } else if (!well) {
        fflush(stdout);
        fprintf(stderr, "revline sync: %s: %s\n  to do: %s\n", name, text_of(s, "lastError"), text_of(s, "advice"));
    }
    fflush(stdout);
}

static void print_progress(const struct waiting *w, const json_t *sources)
{
    const char *name, *one = "";
    const json_t *ask;
    long long pages = 0, objects = 0;
    size_t n = json_object_size(w->asked), done = json_object_size(w->done);
    json_object_foreach(w->asked, name, ask)
    {
        const json_t *round = json_object_get(json_object_get(sources, name), "round");
        pages += rl_json_int(round, "pages", 0);
        objects += rl_json_int(round, "objects", 0);
        one = name;
    }
    printf("\r\033[K");
    if (n > 1)
        printf("%zu of %zu sources done", done, n);
    else
        printf("%s", one);
    printf(": %lld page%s, %lld object%s, %.1f s", pages, plural(pages), objects, plural(objects),
           seconds_since(w->began));
    fflush(stdout);
}

/* Takes note of those that have ended since. True when all have. */
static bool look(struct waiting *w, const json_t *status)
{
    const json_t *ask, *sources = json_object_get(status, "sources");
    const char *name;
    json_object_foreach(w->asked, name, ask)
    {
        const json_t *s = json_object_get(sources, name);
        bool well;
        if (json_object_get(w->done, name) ||
            !is_over(s, json_integer_value(ask), rl_json_int(status, "now", 0), &well))
            continue;
        json_object_set(w->done, name, (json_t *)(uintptr_t)s);
        w->failed |= !well;
        print_end(w, name, s, well);
    }
    bool all = json_object_size(w->done) == json_object_size(w->asked);
    if (w->terminal && !all)
        print_progress(w, sources);
    return all;
}

static int wait_for_rounds(cli_call *call, const json_t *reply)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000};
    struct waiting w = {.call = call,
                        .asked = json_object_get(reply, "asked"),
                        .began = rl_mono_ms(),
                        .terminal = !call->json && isatty(STDOUT_FILENO),
                        .done = json_object()};
    json_t *request = json_pack("{s:s}", "command", "sync-status"), *status = NULL;
    rl_error e = {0};
    rl_err err;
    while ((err = rl_control_ask(call->settings->data_dir, request, &status, &e)) == RL_OK && !look(&w, status)) {
        json_decref(status);
        status = NULL;
        nanosleep(&pause, NULL);
    }
    int code = err != RL_OK ? cli_fail(call, &e) : w.failed ? 1 : 0;
    if (err == RL_OK && call->json) {
        json_t *out = json_pack("{s:O}", "sources", w.done);
        cli_print_json(out);
        json_decref(out);
    }
    json_decref(status);
    json_decref(request);
    json_decref(w.done);
    return code;
}

/* Takes over `request`. */
static int run_now(cli_call *call, json_t *request)
{
    bool no_wait = json_object_get(call->options, "no-wait") != NULL;
    rl_error e = {0};
    json_t *reply = NULL;
    int code;
    if (strcmp(call->operands[0], "all") != 0)
        json_object_set_new(request, "source", json_string(call->operands[0]));
    if (cli_ask(call, request, &reply, &e) != RL_OK)
        code = cli_fail(call, &e);
    else if (!no_wait)
        code = wait_for_rounds(call, reply);
    else if (call->json)
        code = cli_print_json(reply);
    else
        code = printf("%s\n", rl_json_str(reply, "sync")) < 0;
    json_decref(reply);
    json_decref(request);
    return code;
}

/* ---- the rules, and which of all it is ---- */
static int print_rules(const cli_call *call, const json_t *reply)
{
    size_t i;
    json_t *row;
    (void)call;
    printf("%-24s %-18s %-9s %-13s %s\n", "OBJECT", "STATE", "EFFECT", "REASON", "SETTING");
    json_array_foreach(json_object_get(reply, "rules"), i, row)
        printf("%-24s %-18s %-9s %-13s %s\n", rl_json_str(row, "object"), rl_json_str(row, "state"),
               rl_json_str(row, "effect"), rl_json_str(row, "reason"), rl_json_str(row, "setting"));
    return 0;
}

int cli_sync(cli_call *call)
{
    if (!call->operands_n && json_object_size(call->options) > 0)
        call->operands[call->operands_n++] = "all"; /* "sync --full" is no question */
    const char *word = call->operands_n ? call->operands[0] : "";
    bool decides = strcmp(word, "release") == 0 || strcmp(word, "drop") == 0;
    bool lists = !word[0] || strcmp(word, "hold") == 0 || strcmp(word, "rules") == 0;
    if (decides && call->operands_n < 2)
        return cli_usage(call, "an ID is missing behind", word);
    if (!decides && call->operands_n > 1)
        return cli_usage(call, "too many operands behind", word);
    if ((decides || lists) && json_object_size(call->options) > 0)
        return cli_usage(call, "--full and --no-wait go with a source, or all", NULL);
    json_t *request = cli_request(call);
    if (decides)
        return cli_sync_decide(call, request);
    if (!lists)
        return run_now(call, request);
    if (strcmp(word, "hold") == 0)
        return cli_sync_hold(call, request);
    json_object_set_new(request, "command", json_string(word[0] ? "sync-rules" : "sync-status"));
    return cli_ask_and(call, request, word[0] ? print_rules : print_table);
}
