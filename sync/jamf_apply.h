/* What Jamf Pro's listings change, inside store transactions. Writer thread. */
#ifndef RL_SYNC_JAMF_APPLY_H
#define RL_SYNC_JAMF_APPLY_H

#include "sync/apply.h"
#include "sync/jamf_page.h"

/* Objects that are asked for by their number in one round. */
enum { RL_JAMF_ASKED_MAX = 200 };

/* A page, and what the listing that it completes leaves out. */
typedef struct rl_jamf_job {
    rl_page_job page;            /* for rl_page_apply, and first for that */
    char after[RL_JAMF_ID_SIZE]; /* what is missing up to here was asked for in the last round: it waits */
    /* Results of the last page. */
    struct {
        char id[RL_JAMF_ID_SIZE];
        bool gone; /* the caller sets it: asked for, it was not there */
    } missing[RL_JAMF_ASKED_MAX];
    size_t n;
    bool more; /* and others, for another round */
} rl_jamf_job;

/* A kind's put and gone; both take a page that is part of an rl_jamf_job. */
rl_err rl_jamf_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);
rl_err rl_jamf_missing(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o);

/* An rl_store_apply; `job` is an rl_jamf_job. What it says is gone, and has not been listed since, is deleted. The
 * round is complete by that, and what it has collected is settled, unless there are more and some were gone. */
rl_err rl_jamf_bury(rl_store_txn *t, void *job, rl_error *e);

#endif
