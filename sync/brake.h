/* The brake on mass changes: a round of a source that would revoke or hold more certificates than
 * REVLINE_SYNC_MASS_LIMIT is held as a whole until an admin decides. Inside store transactions, so on the writer
 * thread, but for what is marked as pure.
 *
 * A page collects the certificates that it is to make worse, and settles them last, in its own transaction:
 *
 *   the round is complete with this page, and they are few → applied
 *   else → they join the round's change (rl_change_record), which is due when the round is complete
 *   due → compared with the limit (guard.c): released, or held
 *   held → released or dropped by an admin; dropped → due again after the next full round
 *   released → applied some hundred at a time, from the states of that moment
 *
 * Objects, cursors and what makes certificates better are never held back. Each arrow is one transaction, so a crash
 * goes on where it stopped. */
#ifndef RL_SYNC_BRAKE_H
#define RL_SYNC_BRAKE_H

#include "sync/weigh.h"

/* Always allowed when the limit is a percentage: a small fleet changes by more than its tenth. */
enum { RL_BRAKE_ALWAYS = 50 };

/* Pure. How many valid certificates there must be for a round to make so many of them worse: counting may stop there.
 * 0: it may without any. UINT64_MAX: it may not. */
uint64_t rl_brake_enough(rl_share limit, uint64_t certificates);

/* How a weigher of rounds begins: collecting, unless there is no limit. */
rl_worse rl_brake_worse(const rl_settings *s);

typedef struct rl_brake_round {
    const char *source;
    bool complete;        /* with this transaction */
    int64_t raise_before; /* changes of the source that were dropped before are due again; Unix seconds, 0 = none */
} rl_brake_round;
/* Settles what the weigher has collected. `due`: there is something for the guard to do. */
rl_err rl_brake_settle(rl_store_txn *t, rl_weigher *w, const rl_brake_round *round, bool *due);

/* Applies released changes, one transaction after the other until it is done; an rl_store_apply with an rl_release. */
typedef struct rl_release {
    const rl_settings *settings;
    int64_t now; /* Unix seconds */
    /* Progress. */
    uint64_t change;  /* being applied */
    rl_cert_id after; /* its certificates up to this one have been */
    /* Results, valid when the transaction committed. */
    bool done;        /* there is none left */
    uint64_t changed; /* certificates, over all transactions */
} rl_release;
rl_err rl_brake_release(rl_store_txn *t, void *release, rl_error *e);

/* What an admin, or the comparison with the limit, makes of a change; an rl_store_apply with an rl_decision.
 * RL_ENOTFOUND: there is no such change, or it is being applied already. */
typedef struct rl_decision {
    uint64_t change;
    rl_change_state to;
    const char *who; /* for the audit */
    int64_t now;     /* Unix seconds */
    bool if_due;     /* nothing is to be done unless it is due still */
    rl_change_record result;
} rl_decision;
rl_err rl_brake_decide(rl_store_txn *t, void *decision, rl_error *e);

#endif
