/* The effects of a page, inside one store transaction together with the cursor behind it. Writer thread. */
#ifndef RL_SYNC_APPLY_H
#define RL_SYNC_APPLY_H

#include "store/store.h"
#include "sync/brake.h"
#include "sync/graph_page.h"
#include "sync/ours.h"

typedef struct rl_page_job rl_page_job;
typedef rl_err (*rl_page_put)(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);

/* An object of the page, and a certificate that follows it. */
struct rl_page_object {
    rl_page_job *job;
    const char *id, *name; /* NULL: it does not claim the name. The page's memory */
};
typedef struct rl_page_cert {
    rl_cert_id cert;
    const struct rl_page_object *object;
} rl_page_cert;

/* Whether only what two lists in a row leave out is gone: no list of many pages is of one moment. */
typedef enum {
    RL_TWICE_NEVER,
    RL_TWICE_PAGES, /* unless the list is one page: what it leaves out is not for good */
    RL_TWICE_ALWAYS,
} rl_twice;

/* Which objects: one row per source. */
typedef struct rl_graph_kind {
    const char *name;   /* of the source, its cursor: "entra-device" */
    const char *origin; /* of the changes it makes: "sync:entra-device" */
    rl_source source, name_source;
    rl_source leaving; /* where what a delta tells to be gone waits for the round's end; none of a list */
    rl_graph_shape shape;
    const char *path;       /* of the initial request, behind the Graph URL */
    const char *other_path; /* asked when Graph refuses the first with 400 or 501; NULL: none */
    const char *permission; /* that Graph wants for it */
    rl_twice twice;
    bool may_be_empty;  /* a full round that lists nothing is an answer */
    bool paced;         /* its requests keep the distance of REVLINE_SYNC_USER_RISK_PACE */
    bool opportunistic; /* with AADAndIntuneOpportunistic the application need not have the permission */
    /* Whether it is one of the certificates that the source decides about; any thread. NULL: each that is bound. */
    bool (*governs)(rl_store *store, const rl_cert_record *cert);
    /* Tells the store which objects the page is about, for speed alone. NULL: does not. */
    void (*expect)(rl_store_txn *t, const rl_page_job *job);
    /* Stores an item's state. The certificates follow at once, or are noted in the job and follow behind the page's
     * last item. */
    rl_page_put put;
    /* The same for an object that the whole round did not list. `o` is its record as stored. */
    rl_err (*gone)(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o);
} rl_graph_kind;
extern const rl_graph_kind rl_entra_kinds[], rl_intune_kinds[];
enum { RL_ENTRA_DEVICE, RL_ENTRA_USER, RL_ENTRA_KINDS };
enum {
    RL_INTUNE_DEVICE,
    RL_INTUNE_USER_RISK,
    RL_INTUNE_ENDPOINT_LIST,
    RL_INTUNE_PROFILE_LIST, /* not made of pages alone: listed_profiles.c */
    RL_INTUNE_REPORT_LIST,  /* listed_report.c */
    RL_INTUNE_KINDS
};

struct rl_page_job {
    const rl_graph_kind *kind;
    const rl_graph_page *page;
    rl_cursor_record next; /* the cursor behind the page, but `leaving` as before it; its strings are borrowed. Full
                              and complete: objects that the round did not list are gone. */
    const rl_settings *settings;
    int64_t now; /* Unix seconds */
    rl_weigher weigher;
    struct rl_page_object *objects; /* whose certificates follow behind the last item; in the page's order */
    size_t objects_n;
    rl_binding_look *looks; /* where they are looked for */
    size_t looks_n;
    rl_page_cert *certs; /* that follow behind the last item */
    size_t certs_n, certs_cap;
    bool mailless; /* a mail address of the page was another's when it was its user's turn */
    rl_ours ours;  /* for certificates in the page */
    bool one_page; /* the round has no other than this */
    /* "": its items are to be put. Else they are in the database, and so is what was gone up to this id. */
    char behind[RL_OBJECT_ID_MAX + 1];
    bool goes_on; /* set by the kind's `gone`: behind the last page comes more that may revoke */
    /* Results, valid when the transaction committed. */
    uint64_t changed; /* certificates whose status changed */
    bool more;        /* of the last page: too much is gone for one transaction. To be applied again; no cursor yet */
    bool due;         /* a mass change is to be decided: for the guard */
    uint64_t missing; /* objects left out for the first time, of a kind that wants two */
    uint64_t skipped; /* certificates in the page that Intune revokes and that are not ours */
    /* Result of a refusal: the full round listed nothing at all though objects are known. */
    bool empty;
};

/* What to do about a round that is refused because it lists nothing. */
extern const char rl_empty_advice[];

/* An rl_store_apply; `job` is an rl_page_job. Applying a page again changes nothing. RL_EDENIED with job->empty:
 * refused, see there. */
rl_err rl_page_apply(rl_store_txn *t, void *job, rl_error *e);

/* Stores the page's items by `put`, and lets their certificates follow. */
rl_err rl_page_items(rl_store_txn *t, rl_page_job *job, rl_page_put put);
/* For transactions that belong to a round of pages: begins to weigh, and settles what became of it. `complete`: with
 * this transaction the round is. */
void rl_page_weigh(rl_page_job *job);
rl_err rl_page_settle(rl_store_txn *t, rl_page_job *job, bool complete);

/* ---- the kinds' ---- */
void rl_entra_expect(rl_store_txn *t, const rl_page_job *job);
rl_err rl_entra_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);
rl_err rl_entra_follow(rl_store_txn *t, rl_page_job *job); /* those that rl_entra_put has noted */
rl_err rl_entra_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o);
rl_err rl_managed_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);
rl_err rl_managed_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o);
rl_err rl_user_risk_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);
rl_err rl_listed_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item);
rl_err rl_listed_gone(rl_store_txn *t, rl_page_job *job, const char *thumbprint, const rl_object_record *o);
rl_err rl_user_risk_gone(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o);

#endif
