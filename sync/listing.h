/* A list of certificates that is no collection of Graph's: what its sources have in common. Sync loop only, but for the
 * job, which is the writer's while it commits.
 *
 * A round begins from its start, whatever broke off the last one, and says of nothing that it is gone before its end.
 */
#ifndef RL_SYNC_LISTING_H
#define RL_SYNC_LISTING_H

#include "sync/apply.h"
#include "sync/ask.h"

typedef struct rl_listing {
    rl_sync_source base; /* first, as in every source */
    const rl_graph_kind *kind;
    rl_graph_ask ask;
    rl_cursor_record cursor;
    bool cursor_read;
    uint64_t generation;
    rl_graph_page page; /* being committed, in parts */
    size_t at;          /* its items before it are in the database */
    bool last;          /* with this page the round is complete */
    rl_graph_page part; /* the ones of the transaction, borrowed */
    rl_page_job job;
} rl_listing;

/* The page is in the database: called by rl_listing_committed, unless it was the last. */
typedef void (*rl_listing_next)(rl_listing *l);

/* Fills what makes it a source, and adds it. `answered`, as in rl_graph_ask. */
rl_err rl_listing_init(rl_listing *l, const rl_graph_kind *kind, const rl_source_kind *source, const char *needs,
                       void (*answered)(rl_sync_source *s, const rl_http_response *r), rl_sync *sync);
/* False: the round has failed already. */
bool rl_listing_begin(rl_listing *l);
/* `page` as it is in `l`. */
void rl_listing_commit(rl_listing *l, bool last);
void rl_listing_committed(rl_listing *l, rl_err err, const rl_error *e, rl_listing_next next);
/* The round has failed. */
void rl_listing_fail(rl_listing *l, const char *message, int64_t retry_after_ms);
/* By an answer; one that says that there is no such list, or not for this application, is no staleness while there has
 * been no other: what else is watched is enough. */
void rl_listing_refused(rl_listing *l, const rl_http_response *r);
/* For rl_source_kind.token. */
void rl_listing_token(rl_sync_source *s, const rl_error *failure, int64_t retry_after_ms);
void rl_listing_clear(rl_listing *l);

#endif
