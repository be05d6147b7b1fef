/* The store: RocksDB column families, point reads from any thread, and one writer thread.
 *
 * Every write is a transaction: a function that runs on the writer thread, reads what it needs (its own and
 * earlier transactions' writes of the same group included) and puts its changes. So read-modify-write needs no
 * lock. The writer takes all waiting transactions as one group, makes one RocksDB write with one WAL sync for
 * them, tells the subscribers, and only then acknowledges each. A transaction that fails is rolled back
 * alone. An acknowledged transaction survives kill -9 and power loss. */
#ifndef RL_STORE_STORE_H
#define RL_STORE_STORE_H

#include "store/records.h"

typedef struct rl_store rl_store;
typedef struct rl_store_txn rl_store_txn;

enum { RL_STORE_SCHEMA = 1 };

/* Opens or creates `data_dir`/db (folder 0700). RL_EBUSY with a clear message when another process holds it,
 * RL_EUNSUPPORTED when a newer program wrote it, RL_ECORRUPT when it is damaged, RL_EIO. Starts the writer thread. */
rl_err rl_store_open(const char *data_dir, rl_store **out, rl_error *e);
/* Finishes what is queued, stops the writer, closes and frees. What is submitted meanwhile is RL_ECANCELED; when this
 * returns nobody may use `s`. NULL is allowed. */
void rl_store_close(rl_store *s);
/* The calling thread, and those that it makes, take their turn behind HTTP's loops, whose answers are awaited: for the
 * store's own threads, and for other bulk work. */
void rl_store_stand_back(void);

/* ---- reading, any thread ---- RL_ENOTFOUND when absent. */
rl_err rl_store_cert(rl_store *s, const rl_cert_id *id, rl_cert_record *out); /* free with rl_cert_clear */
/* One point read, no allocation of ours. */
rl_err rl_store_cert_status(rl_store *s, const rl_cert_id *id, rl_cert_status *out);
rl_err rl_store_der(rl_store *s, const rl_cert_id *id, rl_buf *out); /* appended */
rl_err rl_store_issuer(rl_store *s, rl_issuer_id id, rl_issuer_record *out);
rl_err rl_store_issuer_crl(rl_store *s, rl_issuer_id id, rl_issuer_crl *out); /* no allocation of ours */
rl_err rl_store_object(rl_store *s, rl_source src, const char *id, rl_object_record *out);
rl_err rl_store_cursor(rl_store *s, const char *source, rl_cursor_record *out);
rl_err rl_store_binding_first(rl_store *s, rl_source src, const char *id, rl_cert_id *out);
/* The first `cap` certificates that are bound to names of `n` octets beginning with `begin`, in the names' order. */
rl_err rl_store_bindings_named(rl_store *s, rl_source src, const char *begin, size_t n, rl_cert_id *out, size_t cap,
                               size_t *found);

/* Iteration in key order over a snapshot; the callback returns false to stop. Start after `after` (NULL = from the
 * start). A record handed to the callback is cleared when it returns. */
rl_err rl_store_each_cert(rl_store *s, const rl_cert_id *after,
                          bool (*fn)(const rl_cert_id *id, const rl_cert_record *r, void *ctx), void *ctx);
rl_err rl_store_each_issuer(rl_store *s, bool (*fn)(rl_issuer_id id, const rl_issuer_record *r, void *ctx), void *ctx);
rl_err rl_store_each_revoked(rl_store *s, rl_issuer_id issuer,
                             bool (*fn)(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx),
                             void *ctx);
rl_err rl_store_each_delta(rl_store *s, uint64_t from, bool (*fn)(uint64_t seq, const rl_delta_record *r, void *ctx),
                           void *ctx);

/* Changes that wait, in the order they were found, and the certificates that wait in one. */
rl_err rl_store_each_change(rl_store *s, bool (*fn)(uint64_t id, const rl_change_record *r, void *ctx), void *ctx);
rl_err rl_store_each_held(rl_store *s, uint64_t change, bool (*fn)(const rl_cert_id *id, void *ctx), void *ctx);

/* Signed OCSP answers, at most one for each certificate, none older than its last change of status. The record's spans
 * point into `memory`, which is written anew. */
rl_err rl_store_response(rl_store *s, const rl_cert_id *id, rl_buf *memory, rl_response_record *out);
/* All, as they are when it begins; `r` is fn's while it runs. Those that do not decode are left out. */
rl_err rl_store_each_response(rl_store *s, bool (*fn)(const rl_cert_id *id, const rl_response_record *r, void *ctx),
                              void *ctx);

/* ---- the queue: what has to be told to somebody else ---- name → anything, see rl_txn_queue_put. Appended. */
rl_err rl_store_queued(rl_store *s, const char *name, rl_buf *out);
rl_err rl_store_each_queued(rl_store *s, bool (*fn)(const char *name, rl_span value, void *ctx), void *ctx);

/* ---- writing ---- */
/* Runs on the writer thread; returning an error rolls this transaction back and is what the submitter gets.
 * Must not block on anything but the store and must not submit-and-wait. May be run once only. */
typedef rl_err (*rl_store_apply)(rl_store_txn *t, void *arg, rl_error *e);
/* Runs on the committer's thread after the WAL sync and after the subscribers, or on the writer's when the write has
 * failed; `e` is valid only during the call. Like a subscriber it must not block, nor submit and wait. */
typedef void (*rl_store_done)(void *arg, rl_err err, const rl_error *e);
/* Queues; RL_ECANCELED after close began (done is then not called), RL_ENOMEM. */
rl_err rl_store_submit(rl_store *s, rl_store_apply apply, rl_store_done done, void *arg);
/* Submits and waits. Not from the writer's or the committer's thread. */
rl_err rl_store_run(rl_store *s, rl_store_apply apply, void *arg, rl_error *e);

/* ---- events ---- the one place from which the program hears what has changed */
enum { RL_ORIGIN_MAX = 48, RL_SUBSCRIBERS_MAX = 8 };
/* A certificate was added, or its status, reason, date or validity has changed: one for each record of the delta log.
 */
typedef struct rl_store_event {
    uint64_t sequence; /* in the delta log */
    rl_cert_id cert;
    bool issued; /* it did not exist: an "unknown" may be cached */
    bool lost;   /* of a write that failed, and the database that was opened anew does not have it */
    rl_status from, to;
    rl_reason reason;           /* of `to` */
    uint32_t why;               /* RL_WHY_* */
    int64_t at;                 /* Unix seconds */
    char origin[RL_ORIGIN_MAX]; /* "admin", "sync:entra-device", "scep" */
} rl_store_event;
/* The events of one group of transactions, in their order. On the committer's thread, after the write is durable and
 * before any of it is acknowledged: must not block, and whoever it tells must not wait for it. Of a failed write it
 * hears when the database has been opened anew, which may show that it was done. */
typedef void (*rl_store_subscriber)(const rl_store_event *events, size_t n, void *ctx);
/* Subscribers are called in the order in which they subscribed, so what must not be late, the response cache, comes
 * first. RL_ERANGE beyond RL_SUBSCRIBERS_MAX. */
rl_err rl_store_subscribe(rl_store *s, rl_store_subscriber fn, void *ctx);
/* When it returns, fn is not running and will not be called again. Not from the writer's or the committer's thread; one
 * that did not subscribe is no error. */
void rl_store_unsubscribe(rl_store *s, rl_store_subscriber fn, void *ctx);

/* ---- inside a transaction ---- */
rl_err rl_txn_cert(rl_store_txn *t, const rl_cert_id *id, rl_cert_record *out);
rl_err rl_txn_der(rl_store_txn *t, const rl_cert_id *id, rl_buf *out); /* appended */
rl_err rl_txn_object(rl_store_txn *t, rl_source src, const char *id, rl_object_record *out);
/* Hints, for speed alone: these will be asked for in this transaction. The first sorts `ids`
 * and leaves some out. */
typedef struct rl_object_id {
    rl_source source;
    const char *id;
} rl_object_id;
void rl_txn_expect_objects(rl_store_txn *t, rl_object_id *ids, size_t n);
void rl_txn_expect_certs(rl_store_txn *t, const rl_cert_id *const *ids, size_t n); /* in their order */
rl_err rl_txn_cursor(rl_store_txn *t, const char *source, rl_cursor_record *out);
rl_err rl_txn_issuer(rl_store_txn *t, rl_issuer_id id, rl_issuer_record *out);
rl_err rl_txn_binding_first(rl_store_txn *t, rl_source src, const char *id, rl_cert_id *out);
/* Certificates bound to an object, in key order. The callback may put and delete (it runs over a collected list). */
typedef rl_err (*rl_binding_fn)(rl_store_txn *t, const rl_cert_id *cert, void *ctx);
rl_err rl_txn_each_binding(rl_store_txn *t, rl_source src, const char *id, rl_binding_fn fn, void *ctx);
/* The same for many objects, read together; fn gets each one's own ctx. Sorts `looks`, and goes through them so. */
typedef struct rl_binding_look {
    rl_source source;
    const char *id;
    void *ctx;
} rl_binding_look;
rl_err rl_txn_each_binding_of(rl_store_txn *t, rl_binding_look *looks, size_t n, rl_binding_fn fn);
/* All objects of a source behind this id ("": all); the same rule. Batches internally: bounded memory. */
rl_err rl_txn_each_object(rl_store_txn *t, rl_source src, const char *behind,
                          rl_err (*fn)(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx),
                          void *ctx);

/* The first `cap` certificates of after->issuer that are not good, in key order behind `after`, or from the first on
 * when it has no serial number. */
rl_err rl_txn_revoked_after(rl_store_txn *t, const rl_cert_id *after, rl_cert_id *ids, rl_revoked_record *records,
                            size_t cap, size_t *n);

/* Changes that wait. A certificate joins or leaves one by `held` in its record: rl_txn_update_cert keeps the change's
 * list and number in step, and deletes a change that the last certificate has left. */
rl_err rl_txn_change(rl_store_txn *t, uint64_t id, rl_change_record *out);
/* The first of the source (NULL: of any) in this state. RL_ENOTFOUND. */
rl_err rl_txn_find_change(rl_store_txn *t, const char *source, rl_change_state state, uint64_t *id,
                          rl_change_record *out);
/* A new one, open, without certificates. Numbers are never used twice. */
rl_err rl_txn_new_change(rl_store_txn *t, const char *source, int64_t now, uint64_t *id);
rl_err rl_txn_put_change(rl_store_txn *t, uint64_t id, const rl_change_record *r);
/* No new change gets this number or a smaller one. */
rl_err rl_txn_reserve_change(rl_store_txn *t, uint64_t id);
/* No certificate may wait in it any more. One that does not exist is no error. */
rl_err rl_txn_delete_change(rl_store_txn *t, uint64_t id);
/* The first `cap` certificates that wait in it, behind `after`, or from the first on when that has no serial number. */
rl_err rl_txn_held(rl_store_txn *t, uint64_t change, const rl_cert_id *after, rl_cert_id *ids, size_t cap, size_t *n);

/* Something to be told, under a name of 1 to RL_OBJECT_ID_MAX octets; replaces what is there. RL_ERANGE: the name, or
 * more than an export can carry. */
enum { RL_QUEUE_VALUE_MAX = 64 * 1024 };
rl_err rl_txn_queue_put(rl_store_txn *t, const char *name, rl_span value);
rl_err rl_txn_queue_delete(rl_store_txn *t, const char *name);
rl_err rl_txn_queued(rl_store_txn *t, const char *name, rl_buf *out); /* appended */

/* A certificate that did not exist: writes cert, der (unless empty: only its serial number is known), bindings, an
 * `issued` delta (and `revoked` when its status is not good). RL_EEXISTS when the serial is taken. */
rl_err rl_txn_add_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *r, rl_span der, const char *origin);
/* Writes a changed record. When the effective status, its reason or date, or the validity differ from what is stored,
 * it keeps `revoked` in step, appends a `status` delta, with an audit record when the origin is "sync:…", deletes the
 * certificate's signed answer and makes an event: whoever has answered from the old record must know.
 * Bindings that were added to or taken from the record are put and deleted in `binding`. */
rl_err rl_txn_update_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *r, const char *origin);
/* The same for who has read it in this transaction: `old` is what is stored. */
rl_err rl_txn_replace_cert(rl_store_txn *t, const rl_cert_id *id, const rl_cert_record *old, const rl_cert_record *r,
                           const char *origin);
/* The DER of a certificate of which only the serial number was known. */
rl_err rl_txn_put_der(rl_store_txn *t, const rl_cert_id *id, rl_span der);
rl_err rl_txn_put_binding(rl_store_txn *t, rl_source src, const char *id, const rl_cert_id *cert);
rl_err rl_txn_delete_binding(rl_store_txn *t, rl_source src, const char *id, const rl_cert_id *cert);
rl_err rl_txn_put_object(rl_store_txn *t, rl_source src, const char *id, const rl_object_record *r);
rl_err rl_txn_delete_object(rl_store_txn *t, rl_source src, const char *id);
rl_err rl_txn_put_cursor(rl_store_txn *t, const char *source, const rl_cursor_record *r);
rl_err rl_txn_put_issuer(rl_store_txn *t, rl_issuer_id id, const rl_issuer_record *r);
/* Keeps a signed answer, replacing the one before, until the certificate's status changes. It must have been made from
 * the status as committed: RL_EBUSY when the certificate was written in this group or is being written, RL_ENOTFOUND
 * when there is no such certificate. Neither leaves a trace. The database forgets answers that have ended. */
rl_err rl_txn_put_response(rl_store_txn *t, const rl_cert_id *id, const rl_response_record *r);
/* Who did what, for people: `who`, `what` ("cert.revoke"), `subject` free text. */
rl_err rl_txn_audit(rl_store_txn *t, const char *who, const char *what, const char *subject);

/* ---- keys that others have ---- */
/* A name for the key of a certificate that was revoked for `reason`, keyCompromise or cACompromise. False: others do
 * not have the key, or it cannot be read. Writer thread. */
typedef bool (*rl_store_compromised)(rl_span der, rl_reason reason, char name[RL_OBJECT_ID_MAX + 1]);
/* From now on, whoever revokes such a certificate: the transaction binds it to RL_SOURCE_COMPROMISED_KEY of that name.
 * Nothing takes that back. Before anything is revoked. */
void rl_store_on_compromise(rl_store *s, rl_store_compromised fn);

/* ---- trimming ---- */
/* From now on records of the delta log, and of the audit, that are older than so many milliseconds are removed from
 * time to time; 0 keeps them for ever. Not called: all are kept. The newest of each stays in any case. Any thread. */
void rl_store_keep(rl_store *s, int64_t delta_ms, int64_t audit_ms);

/* ---- figures ---- */
typedef struct rl_store_figures {
    uint64_t last_delta;      /* newest sequence */
    uint64_t certs_estimate;  /* RocksDB's estimate of keys */
    uint64_t groups, commits; /* written groups (one WAL sync each) and acknowledged transactions since open */
} rl_store_figures;
void rl_store_figures_read(rl_store *s, rl_store_figures *out);
/* RL_OK when the database answers a read, and its last write succeeded or it has been opened anew since. */
rl_err rl_store_check(rl_store *s, rl_error *e);

/* Changes a certificate by hand; the one place for it, used by the command line and later the API:
 * hold needs RL_REASON_HOLD. RL_ENOTFOUND; revoke: RL_EEXISTS when it is revoked for good or on manual hold already,
 * RL_EINVAL for a reason that revokes nothing; unrevoke: RL_EINVAL unless it is on manual hold. A hold by a directory
 * stays when the manual one is taken back. */
rl_err rl_txn_revoke(rl_store_txn *t, const rl_cert_id *id, rl_reason reason, int64_t now, const char *who,
                     rl_error *e);
rl_err rl_txn_unrevoke(rl_store_txn *t, const rl_cert_id *id, int64_t now, const char *who, rl_error *e);

#endif
