/* What the store's files share: families, keys, the database handle, the writer. Private. */
#ifndef RL_STORE_PRIV_H
#define RL_STORE_PRIV_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "store/statuses.h"
#include "store/store.h"

/* Design §6; the order is that of the handles. "default" is RocksDB's own and stays empty. */
typedef enum {
    CF_DEFAULT,
    CF_ISSUER,
    CF_CERT,
    CF_DER,
    CF_BINDING,
    CF_OBJECT,
    CF_REVOKED,
    CF_DELTA,
    CF_CURSOR,
    CF_RESPONSE,
    CF_AUDIT,
    CF_META,
    CF_HELD,
    CF_QUEUE,
    CF_COUNT
} rl_cf;
extern const char *const rl_cf_names[CF_COUNT];

/* ---- keys: big-endian, so that RocksDB's byte order is the numbers' order ---- */
enum { RL_KEY_MAX = 2 + RL_OBJECT_ID_MAX + 4 + RL_STORE_SERIAL_MAX };
typedef struct rl_key {
    size_t n;
    uint8_t b[RL_KEY_MAX];
} rl_key;

rl_key rl_key_u32(uint32_t v);
rl_key rl_key_u64(uint64_t v);
rl_key rl_key_audit(int64_t ms, uint64_t sequence);
rl_err rl_key_cursor(const char *source, rl_key *k);
/* A held change, then the certificates that wait in it. */
rl_err rl_key_held(uint64_t change, const rl_cert_id *cert, rl_key *k);
rl_err rl_key_cert(const rl_cert_id *id, rl_key *k);
rl_err rl_key_object(rl_source src, const char *id, rl_key *k);
/* source, length of id, id: the length keeps "a" from being a prefix of "ab". */
rl_err rl_key_binding_prefix(rl_source src, const char *id, rl_key *k);
/* For RocksDB: the prefix of a binding's key is what comes before the certificate. The caller's options own it. */
rocksdb_slicetransform_t *rl_key_binding_extractor(void);
/* What the bindings of all names of `n` octets that begin with `begin` begin with. */
rl_err rl_key_binding_names(rl_source src, const char *begin, size_t n, rl_key *k);
rl_err rl_key_binding(rl_source src, const char *id, const rl_cert_id *cert, rl_key *k);
/* The certificate at the end of a cert key or, behind `prefix` octets, of a binding key; RL_ECORRUPT. */
rl_err rl_key_to_cert(const void *key, size_t n, size_t prefix, rl_cert_id *out);
uint32_t rl_get_u32(const void *p);
uint64_t rl_get_u64(const void *p);

enum { RL_TRIM_DELTA, RL_TRIM_AUDIT, RL_TRIMMED };

struct rl_store_request {
    struct rl_store_request *next;
    rl_store_apply apply;
    rl_store_done done;
    void *arg;
    rl_err err;
    rl_error error;
};

/* The thread that reads ahead with the writer; see ahead.c. */
typedef struct rl_pieces rl_pieces;
struct rl_helper {
    pthread_t thread;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t wake, idle;
    rl_pieces *pieces; /* to be read, until it takes them */
    bool busy, stop;
};

struct rl_store {
    char *path;
    /* Open, closed (NULL) or opened anew under the exclusive lock, by the writer; whoever else uses them holds it
     * shared. */
    pthread_rwlock_t inside;
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cf[CF_COUNT];
    rocksdb_options_t *options[CF_COUNT];
    rocksdb_cache_t *cache;
    rl_statuses *statuses;
    rocksdb_compactionfilter_t *expired; /* drops signed answers that have ended */
    rocksdb_readoptions_t *read, *scan;  /* point reads; whole-order iteration */
    rocksdb_readoptions_t *prefix;       /* iteration over the bindings of one object */
    rocksdb_writeoptions_t *write;

    pthread_t writer, committer;
    pthread_mutex_t lock;        /* queue, closing, running, writing, unwritten */
    pthread_cond_t wake, handed; /* the writer; the committer */
    struct rl_store_request *queue, **tail;
    bool closing, running;
    struct rl_group *writing;   /* the committer has it; NULL: it waits for one */
    struct rl_group *unwritten; /* it could not be written: the writer sees to it, and nothing is handed over before */
    struct rl_helper helper;    /* while running */

    /* The writer thread's own. */
    struct rl_group *groups; /* two, by turns */
    struct rl_group *before; /* of them, the one that was handed over last; NULL: it is in the database */
    uint64_t delta_next, audit_next;
    uint64_t audit_newest; /* time of the newest audit record when the database was opened, Unix ms */
    uint64_t mend_at;      /* while `failed`: when to try again to open the database anew, monotonic ms */
    int mend_doublings;
    rl_error cause;                  /* and why it is not open anew yet */
    bool has_objects[UINT8_MAX + 1]; /* by source; false: has none */
    rl_store_event *doubtful;        /* of the write that failed: it may be on the disk */
    size_t doubtful_n;

    struct rl_subscription { /* under `lock`; the first `subscribers` count */
        rl_store_subscriber fn;
        void *ctx;
    } subscriptions[RL_SUBSCRIBERS_MAX];
    size_t subscribers;

    struct rl_trimming {
        int64_t keep_ms; /* under `lock`; 0: for ever */
        rl_key from;     /* the writer's: nothing lies before it */
    } trim[RL_TRIMMED];
    uint64_t trim_at; /* under `lock`: monotonic ms; UINT64_MAX: never */

    rl_store_compromised compromised; /* NULL: nobody knows keys */

    _Atomic uint64_t last_delta, groups_written, commits;
    _Atomic int failed;    /* a write failed, and the database has not been opened anew since */
    _Atomic int fail_next; /* see fault.h */
    void (*before_write)(void *ctx);
    void *before_write_ctx;
};

void *rl_store_helper(void *store);

/* ---- the committer ---- */
struct rl_group;
void *rl_store_committer(void *store);
/* Tells the submitters, and frees: those whose transaction would have been written get `written`, with `e` unless that
 * is RL_OK. The writer only of a group that was not. */
void rl_store_acknowledge(rl_store *s, struct rl_store_request *requests, rl_err written, const rl_error *e);

/* ---- writer thread ---- */
/* Waits for the committer. False: the group could not be written. */
bool rl_store_wait_written(rl_store *s);
/* Removes what is too old, when it is time to. */
void rl_store_trim(rl_store *s);
/* Nothing more is written until the database has been opened anew. The writer, or the committer under the lock. */
void rl_store_write_failed(rl_store *s, const rl_error *e);
/* Calls the subscribers. The committer; the writer while that waits. Who they are is found before the write: between it
 * and what the first of them does, answers of before go out, and no lock is to be waited for. */
struct rl_hearers {
    struct rl_subscription subscriptions[RL_SUBSCRIBERS_MAX];
    size_t n;
};
void rl_store_hearers(rl_store *s, struct rl_hearers *out);
void rl_store_tell(rl_store *s, const struct rl_hearers *to, const rl_store_event *events, size_t n);
/* Around every use of `db` and `cf` outside the writer thread. RL_EIO, and nothing to leave, when it is closed. */
rl_err rl_store_enter(rl_store *s);
void rl_store_leave(rl_store *s);
/* The certificate waits in another change than before; 0 = in none. */
rl_err rl_txn_move_held(rl_store_txn *t, const rl_cert_id *cert, uint64_t from, uint64_t to);
rocksdb_compactionfilter_t *rl_response_filter(void);
void *rl_store_writer(void *store);
/* Closes the database and opens it, on the writer thread. RL_EBUSY, and it stays as it is, when readers do not leave;
 * after another error it is closed. */
rl_err rl_store_reopen(rl_store *s, rl_error *e);
/* Copies RocksDB's error into `e` and frees it. */
rl_err rl_store_fail(rl_error *e, rl_err code, const char *what, char *rocks);

#endif
