/* Direct questions to a directory about one object that an enrollment names and that is not in the records yet.
 * Private to the module; what others call is rl_sync_look_up (sync.h).
 *
 * Any thread asks and waits, the sync loop asks the directory: with the token that its sources share, and not while an
 * upstream has said when to come again. Jamf Pro gets a token for these questions alone, as each of its sources has. */
#ifndef RL_SYNC_LOOKUP_H
#define RL_SYNC_LOOKUP_H

#include "sync/graph_page.h"
#include "sync/source.h"

/* RL_ENOMEM. With the loop of `sync`, before it runs. */
rl_err rl_lookups_new(rl_sync *sync);
/* Sync loop: takes what was asked since. */
void rl_lookups_wake(rl_sync *sync);
/* Sync loop: the token fetch that questions may wait for has ended. */
void rl_lookups_token(rl_sync *sync, const rl_error *failure, int64_t retry_after_ms);
/* Sync loop, when it is closing and no call is under way any more: whoever waits is told so. */
void rl_lookups_close(rl_sync *sync);
/* Waits for what is with the store's writer still, and frees all. NULL is allowed in sync->lookups. */
void rl_lookups_free(rl_sync *sync);

/* ---- lookup_ask.c: what is asked, and what it means. Pure. ---- */
typedef enum {
    RL_LOOK_ENTRA_DEVICE, /* by its deviceId */
    RL_LOOK_INTUNE_ID,    /* a managed device by its own id */
    RL_LOOK_INTUNE_NAME,  /* the managed devices of an Entra device */
    RL_LOOK_ENTRA_USER,   /* by user principal name or mail address */
    RL_LOOK_COMPUTER,     /* of Jamf Pro, by its number */
    RL_LOOK_MOBILE_DEVICE,
    RL_LOOK_KINDS
} rl_look_kind;
enum { RL_LOOKS_MAX = 3 };

/* Which questions to ask for this binding, one after the other until one finds it; returns how many of RL_LOOKS_MAX. */
size_t rl_look_plan(const rl_settings *s, rl_source source, rl_look_kind out[RL_LOOKS_MAX]);
const char *rl_look_source(rl_look_kind kind); /* the source that watches such objects: "entra-device" */
bool rl_look_is_jamf(rl_look_kind kind);
/* What to fetch from Graph, with a NUL at the end. `other`: as for a version of Graph that does not know all.
 * RL_ENOMEM.
 */
rl_err rl_look_url(const rl_settings *s, rl_look_kind kind, bool other, const char *id, rl_buf *out);
/* The objects in an answer with status 200 that are meant by `id`, as a page that may be empty. RL_EBADMSG, RL_ERANGE.
 * On success free with rl_graph_page_free. */
rl_err rl_look_read(const rl_settings *s, rl_look_kind kind, rl_span body, const char *id, rl_graph_page *out,
                    rl_error *e);

#endif
