/* A question to Microsoft Graph in the round of a source that is more than pages of one collection. Sync loop only.
 *
 * It is asked with the token that all sources share. A token that is refused is replaced and the question repeated,
 * once; without a token, or an answer, the round has failed. What is answered is for the source to judge. */
#ifndef RL_SYNC_ASK_H
#define RL_SYNC_ASK_H

#include "sync/source.h"

typedef struct rl_graph_ask {
    rl_sync_source *source;
    /* Whatever the status; `r` is valid during the call. */
    void (*answered)(rl_sync_source *s, const rl_http_response *r);
    const char *method;
    char *url, *body; /* body: JSON; NULL = none */
    rl_http_call *call;
    unsigned token_number;
    bool token_retried;
} rl_graph_ask;

/* `source` and `answered` are set. The answer, or the round's failure, comes later; or the latter at once. Texts are
 * copied. */
void rl_graph_ask_start(rl_graph_ask *a, const char *method, const char *url, const char *body);
/* For rl_source_kind.token. */
void rl_graph_ask_token(rl_graph_ask *a, const rl_error *failure, int64_t retry_after_ms);
void rl_graph_ask_clear(rl_graph_ask *a); /* nothing is under way */

/* ---- for all that is asked of Graph ---- */
/* Another tenant's directory holds none of the stored objects: a full round of it would revoke the whole fleet. True:
 * the round has failed by that. `tenant` is the cursor's; NULL = none yet. */
bool rl_graph_another_tenant(rl_sync_source *s, const char *tenant);
/* What to say of an answer that is none of the wanted ones. */
void rl_graph_refusal(const rl_sync_source *s, const rl_http_response *r, char out[RL_ERROR_MESSAGE_MAX]);

/* Notices that a round's links go in a circle of whatever length with one remembered link (Brent): the mark stays for
 * 1, 2, 4, … pages. All zero at the beginning of a round; rl_trail_clear ends it. */
typedef struct rl_trail {
    char *mark;
    uint64_t mark_at, pages;
} rl_trail;
/* Whether the next link leads to where we were, or too far; true when out of memory, too. */
bool rl_trail_repeats(rl_trail *t, const char *next);
void rl_trail_clear(rl_trail *t);

#endif
