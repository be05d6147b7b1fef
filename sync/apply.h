/* The effects of a page, inside one store transaction together with the cursor behind it. Writer thread. */
#ifndef RL_SYNC_APPLY_H
#define RL_SYNC_APPLY_H

#include "store/store.h"
#include "sync/graph_page.h"

/* Which objects: one row per source. */
typedef struct rl_entra_kind {
    const char *name;   /* of the source, its cursor: "entra-device" */
    const char *origin; /* of the changes it makes: "sync:entra-device" */
    rl_source source, name_source;
    const char *property; /* that certificates name the object by */
    const char *path;     /* of the initial request, behind the Graph URL */
} rl_entra_kind;
extern const rl_entra_kind rl_entra_kinds[];
enum { RL_ENTRA_DEVICE, RL_ENTRA_USER, RL_ENTRA_KINDS };

typedef struct rl_page_job {
    const rl_entra_kind *kind;
    const rl_graph_page *page;
    rl_cursor_record next; /* the cursor behind the page; its strings are borrowed. Full and complete: objects that the
                              round did not list are gone. */
    int64_t now;           /* Unix seconds */
    /* Results, valid when the transaction committed. */
    uint64_t changed; /* certificates whose status changed */
    /* Result of a refusal: the full round listed nothing at all though objects are known. */
    bool empty;
} rl_page_job;

/* An rl_store_apply; `job` is an rl_page_job. Applying a page again changes nothing. RL_EDENIED with job->empty:
 * refused, see there. */
rl_err rl_page_apply(rl_store_txn *t, void *job, rl_error *e);

#endif
