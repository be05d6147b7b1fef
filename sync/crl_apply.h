/* Another CA's revocation list becomes the status of its certificates: which issuer's it is, whether it is newer than
 * what is known, and its effects in transactions of bounded size.
 *
 * A list is applied by rl_crl_apply again and again, one transaction each, until the job is done:
 *
 *   claim (issuer record: number, thisUpdate) and the first entries → entries … → holds that are listed no more …
 *   → the same for the issuer's kin → issuer record: whole, nextUpdate
 *
 * A CA may list with a new key what it certified with an old one: a list is the CA's, and a certificate the CA's by
 * name and serial number (RFC 5280 §5, §4.1.2.2), while here each key is an issuer. So what is listed counts for the
 * foreign issuers of the same name that have no list of their own, too; what is not listed says nothing about theirs.
 * Of several lists they follow that of the issuer that became known last.
 *
 * The claim is the order among lists: an older one, be it fetched or in the middle of being applied, is refused from
 * then on. A crash in between leaves a list that is not whole, and the same list is applied again from the start: every
 * step changes nothing when repeated. */
#ifndef RL_SYNC_CRL_APPLY_H
#define RL_SYNC_CRL_APPLY_H

#include "base/settings.h"
#include "crypto/crl.h"
#include "store/store.h"

/* Any thread: the foreign issuer that signed the list, and whether it may have at `now`. RL_ENOTFOUND: no issuer here
 * has its name and key; RL_EDENIED: our own, not allowed to sign lists, or of the future. */
rl_err rl_crl_find_issuer(rl_store *store, const rl_crl *crl, bool sha1, int64_t now, rl_issuer_id *id, rl_error *e);

enum { RL_CRL_KIN_MAX = 8 };

typedef struct rl_crl_job {
    const rl_crl *crl;
    rl_issuer_id issuer;
    const char *origin; /* of the changes: "sync:crl-1" */
    int64_t now;        /* Unix seconds */
    bool again;         /* a list that is known as a whole is compared with the database nevertheless; a renumbered one
                           is taken */
    /* Progress. */
    bool claimed;
    rl_issuer_id kin[RL_CRL_KIN_MAX]; /* other issuers that follow the list */
    size_t kin_n, kin_done;
    rl_issuer_id of;  /* whose certificates it is at */
    size_t at;        /* entries before it are in the database */
    rl_cert_id swept; /* holds up to it have been looked at */
    bool renumbered; /* made later than the list that is known, under a smaller number: the CA has begun to count again,
                        as one does that lost its database. Valid after a refusal, too. */
    /* Results, valid when the transaction committed. */
    bool done;
    bool known;       /* the very list was known: nothing was done */
    uint64_t changed; /* certificates whose status changed, over all transactions */
} rl_crl_job;

/* An rl_store_apply; `job` is an rl_crl_job. RL_EDENIED: the list is older than what is known, has ended before it was
 * known, or speaks for other certificates; RL_EBUSY: a newer one came while this one was applied. After an error the
 * job is over. */
rl_err rl_crl_apply(rl_store_txn *t, void *job, rl_error *e);

/* Shows the list's end in the metrics; after the last transaction, and when the server starts. */
void rl_crl_show(rl_issuer_id issuer, int64_t next_update);

#endif
