/* Certificates are weighed: the states of all objects that one is bound to, the rules, its new status. Inside a store
 * transaction, so on the writer thread. */
#ifndef RL_SYNC_WEIGH_H
#define RL_SYNC_WEIGH_H

#include "store/store.h"
#include "sync/rules.h"

/* Generations of objects that no full round has listed yet. One that was looked up: a round that began before need not
 * list it, so the first leaves it, and the next must have it. One of Jamf Pro that a certificate names by its number,
 * at the time in last_seen: the same, from the end of REVLINE_SYNC_NEW_DEVICE_GRACE on. */
#define RL_GENERATION_LOOKED_UP ((uint64_t)INT64_MAX)
#define RL_GENERATION_NAMED     ((uint64_t)INT64_MAX - 1)

/* What becomes of a certificate that is to be revoked or put on hold. */
typedef enum {
    RL_WORSE_APPLY,   /* it is, but for what waits in a held change */
    RL_WORSE_COLLECT, /* its id is taken down, and it stays as it is */
    RL_WORSE_HOLD,    /* it waits in the weigher's change, and stays as it is */
    RL_WORSE_RELEASE, /* it is, and no longer waits */
} rl_worse;

/* Who weighs, and what came of it. */
typedef struct rl_weigher {
    const rl_settings *settings;
    const char *origin; /* of the changes: "sync:entra-device" */
    int64_t now;        /* Unix seconds */
    rl_worse worse;
    uint64_t change;  /* RL_WORSE_HOLD: the one that certificates wait in */
    uint64_t changed; /* certificates whose status changed */
    rl_cert_id *ids;  /* RL_WORSE_COLLECT: which; some more than once */
    size_t ids_n, ids_cap;
} rl_weigher;
void rl_weigher_clear(rl_weigher *w);

/* Weighs a stored certificate, whose bindings are what `rebind` makes of them (NULL: as stored), and writes it if
 * something changed. What waits in a held change waits on, unless its cause has ended; expired certificates do not
 * wait. One that does not exist is passed over: a binding to nothing must not hold back the others. */
rl_err rl_weigh_stored(rl_store_txn *t, rl_weigher *w, const rl_cert_id *id,
                       bool (*rebind)(rl_cert_record *cert, const void *ctx), const void *ctx);
/* The same for rl_txn_each_binding, as stored; `weigher` is an rl_weigher. */
rl_err rl_weigh_each(rl_store_txn *t, const rl_cert_id *id, void *weigher);
/* The certificates that bear this device id as their common name, bound to an Entra device by now or not. */
rl_err rl_weigh_each_bearer(rl_store_txn *t, const char *device_id,
                            rl_err (*fn)(rl_store_txn *t, const rl_cert_id *cert, void *ctx), void *ctx);

/* Whether a certificate is bound to an object of a directory of devices that is watched. What one that is watched no
 * longer has ever known says nothing of today. */
bool rl_has_device(const rl_settings *s, const rl_cert_record *cert);
/* Certificates that were first issued until then and wait for their device still, wait for nothing: every directory
 * that is watched has been compared as a whole since the grace ended. 0: none. `cursor` reads a source's cursor;
 * RL_ENOTFOUND: there is none. */
rl_err rl_new_devices_before(const rl_settings *s, rl_err (*cursor)(void *ctx, const char *source, rl_cursor_record *c),
                             void *ctx, int64_t *issued_before);

/* For rl_ca_on_issue: a new certificate gets the mask that its objects give it, and a device's that is still enrolling
 * becomes a bootstrap certificate; one of Jamf Pro that is not known is to be looked for. `settings` is an rl_settings.
 */
rl_err rl_weigh_new(rl_store_txn *t, rl_cert_record *cert, int64_t now, const void *settings);

#endif
