/* Intune's say in an enrollment: it validates the challenge of each request, and is told what became of it. Private.
 *
 * One thread with a loop asks; the pool's threads wait for it. What Intune has to be told is in the store's queue from
 * the transaction on that it follows from, and leaves it when Intune has said that it knows: so a crash loses none. */
#ifndef RL_SCEP_INTUNE_H
#define RL_SCEP_INTUNE_H

#include "ca/ca.h"

typedef struct scep_intune scep_intune;

typedef enum {
    SCEP_INTUNE_YES,
    SCEP_INTUNE_NO,   /* it refuses */
    SCEP_INTUNE_AWAY, /* it cannot be asked, or its answer is none */
} scep_intune_verdict;

enum {
    SCEP_INTUNE_WHY = 256,
    SCEP_INTUNE_CSR_MAX = 32 * 1024, /* in base64, with all else, it is less than RL_QUEUE_VALUE_MAX */
};

rl_err scep_intune_open(rl_store *store, const rl_settings *s, scep_intune **out, rl_error *e);
/* Whoever waits gets SCEP_INTUNE_AWAY. NULL is allowed. */
void scep_intune_close(scep_intune *i);

/* Whether the queue has room for one more. `stranger`: of somebody whose request Intune has refused; anybody can be
 * that, and may not take the room of certificates. What is under way is not counted yet: a few may come to be above the
 * limit. */
bool scep_intune_has_room(scep_intune *i, bool stranger);
/* An entry of `n` octets is in the queue. */
void scep_intune_queued(scep_intune *i, const char *name, size_t n);

/* May this request (DER) get a certificate? Blocks. `why`: for the client, when not yes. */
scep_intune_verdict scep_intune_validate(scep_intune *i, const char *transaction, rl_span csr,
                                         char why[SCEP_INTUNE_WHY]);

/* Tells what is queued under this name, some time. */
void scep_intune_tell_later(scep_intune *i, const char *name);
/* … and blocks for the verdict, after which, but for AWAY, it is in the queue no more; else that happens later. A
 * refusal of a certificate that nobody has got yet revokes it, and Intune is told of the failure. `again`: it was to be
 * told before, and will be again. */
scep_intune_verdict scep_intune_tell(scep_intune *i, const char *name, bool again, char why[SCEP_INTUNE_WHY]);

#define SCEP_INTUNE_FAILURE "failure-" /* in front of a refused transaction's name in the queue */

/* ---- intune_message.c: pure ---- */
/* Bodies of the three actions, JSON. RL_ENOMEM. */
rl_err scep_intune_request(const char *transaction, rl_span csr, rl_buf *out);
/* Queue entries: of an issued certificate (DER), of a refused request; `authority` is our host name, `now` Unix
 * seconds. */
rl_err scep_intune_success(const char *transaction, rl_span csr, const rl_cert_id *id, rl_span der,
                           const char *authority, int64_t now, rl_buf *out);
rl_err scep_intune_failure(const char *transaction, rl_span csr, const char *why, int64_t now, rl_buf *out);
/* What a success (an entry) becomes when nobody may have the certificate. RL_ECORRUPT. */
rl_err scep_intune_failed(rl_span success, const char *why, int64_t now, rl_buf *out);

typedef struct scep_intune_entry {
    const char *action; /* static: "ScepActions/successNotification" */
    rl_cert_id cert;    /* of a success */
    bool success;
    int64_t at; /* Unix seconds */
    rl_buf body;
} scep_intune_entry;
/* RL_ECORRUPT. Free the body. */
rl_err scep_intune_entry_read(rl_span in, scep_intune_entry *out);

/* What an answer of Intune's says. */
scep_intune_verdict scep_intune_read(long status, rl_span body, char why[SCEP_INTUNE_WHY]);

#endif
