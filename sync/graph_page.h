/* One page of a Microsoft Graph delta query, read as a whole: it is right, or nothing of it counts. Pure. */
#ifndef RL_SYNC_GRAPH_PAGE_H
#define RL_SYNC_GRAPH_PAGE_H

#include "base/arena.h"

enum { RL_GRAPH_LINK_MAX = 32 * 1024 };

/* What the page says about one object. Unsaid keeps what is known (minimal deltas leave out what did not change). */
typedef struct rl_graph_item {
    const char *id; /* lower case, without braces */
    bool removed;   /* @removed, whatever the reason: deleted, or in the recycle bin */
    enum { RL_ENABLED_UNSAID, RL_ENABLED_NO, RL_ENABLED_YES } enabled;
    bool name_said;
    const char *name; /* when said: lower case, without braces; NULL = it has none */
    size_t order;     /* place in the page */
} rl_graph_item;

typedef struct rl_graph_page {
    rl_graph_item *items; /* sorted by id; each id once, repeated ones merged in the page's order: the last word wins */
    size_t n;
    const char *link; /* to fetch next, whole */
    bool complete;    /* `link` is the deltaLink: the round ends here */
    rl_arena arena;   /* owns the strings */
} rl_graph_page;

/* `name` is the property that certificates name the object by ("deviceId"), `origin` the URL whose scheme, host and
 * port links must share. RL_EBADMSG or RL_ERANGE with the place in `e`: not JSON, an item without an id or with wrong
 * types, not exactly one of nextLink and deltaLink; RL_EDENIED: a link that leads elsewhere. On success free with
 * rl_graph_page_free. */
rl_err rl_graph_page_parse(rl_span body, size_t limit, const char *name, const char *origin, rl_graph_page *out,
                           rl_error *e);
void rl_graph_page_free(rl_graph_page *p);

/* The `code` of Graph's error body, "" when there is none: letters, digits, '_', '.', '-' only. */
void rl_graph_error_code(rl_span body, char *out, size_t cap);

#endif
