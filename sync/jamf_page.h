/* One page of a listing of Jamf Pro, read as a whole: it is right, or nothing of it counts. Pure. */
#ifndef RL_SYNC_JAMF_PAGE_H
#define RL_SYNC_JAMF_PAGE_H

#include "sync/graph_page.h"

/* Room for one of Jamf Pro's numbers in decimal. */
enum { RL_JAMF_ID_SIZE = 20 };

/* What kind of pages a collection has. */
typedef struct rl_jamf_shape {
    const char *list; /* the member that holds the items */
    bool counted; /* there are several pages, and totalCount says how much is on all of them; else it is the whole */
    bool named;   /* certificates name the object by its "name" */
} rl_jamf_shape;

/* Items have only `id` and what there is of the name; they are in the page's order, and may be repeated. `total` is
 * what all pages together have. RL_EBADMSG or RL_ERANGE with the place in `e`: not JSON, no list, no count, an item
 * without a number of its own. On success free with rl_graph_page_free. */
rl_err rl_jamf_page_parse(rl_span body, size_t limit, const rl_jamf_shape *shape, rl_graph_page *out, uint64_t *total,
                          rl_error *e);

#endif
