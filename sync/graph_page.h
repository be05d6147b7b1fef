/* One page of a Microsoft Graph delta query or list, read as a whole: it is right, or nothing of it counts. Pure. */
#ifndef RL_SYNC_GRAPH_PAGE_H
#define RL_SYNC_GRAPH_PAGE_H

#include "base/arena.h"
#include "base/json.h"
#include "store/records.h"

enum { RL_GRAPH_LINK_MAX = 32 * 1024 };

/* What kind of pages a source has. */
typedef struct rl_graph_shape {
    const char *name;  /* the property that certificates name the object by ("deviceId"); NULL: none */
    const char *mail;  /* likewise, by which they may, too; NULL: none */
    bool listing;      /* a list: its last page has no link at all. Else a delta query's, with a deltaLink */
    bool certificates; /* items are certificates, not objects of a directory */
    bool verbatim;     /* the name stays as it is written */
} rl_graph_shape;

/* A certificate as Intune lists it, of whatever CA. */
typedef struct rl_listed_cert {
    uint8_t serial_n, serial[RL_STORE_SERIAL_MAX]; /* minimal big-endian magnitude */
    char thumbprint[2 * 20 + 1];                   /* SHA-1 of its DER, lower-case hexadecimal */
} rl_listed_cert;

/* What the page says about one object. Unsaid keeps what is known (minimal deltas leave out what did not change). */
typedef struct rl_graph_item {
    const char *id; /* lower case, without braces */
    bool removed;   /* @removed, whatever the reason: deleted, or in the recycle bin */
    enum { RL_ENABLED_UNSAID, RL_ENABLED_NO, RL_ENABLED_YES } enabled;
    bool name_said, mail_said, enrolled_said, risk_said, sid_said;
    const char *name;         /* when said: lower case, without braces; NULL = it has none, or it is a GUID of zeros */
    const char *mail;         /* likewise */
    const char *sid;          /* when said: NULL = it has none, or what is no security identifier */
    rl_compliance compliance; /* complianceState; isCompliant */
    rl_management management;
    rl_risk risk;                 /* when said: of a user who is at risk or confirmed to be compromised; else none */
    int64_t enrolled;             /* when said: Unix seconds, 0 = not set */
    bool revoking;                /* a certificate that is revoked, or on the way to it */
    const rl_listed_cert *listed; /* which it is; NULL when it is not revoking, or not told */
    size_t order;                 /* place in the page */
} rl_graph_item;

typedef struct rl_graph_page {
    rl_graph_item *items; /* sorted by id; each id once, repeated ones merged in the page's order: the last word wins */
    size_t n;
    const char *link; /* to fetch next, whole; NULL behind the last page of a list */
    bool complete;    /* `link` is the deltaLink, or there is none: the round ends here */
    rl_arena arena;   /* owns the strings */
} rl_graph_page;

/* `origin` is the URL whose scheme, host and port links must share. RL_EBADMSG or RL_ERANGE with the place in `e`: not
 * JSON, an item without an id or with wrong types, of a delta query not exactly one of nextLink and deltaLink;
 * RL_EDENIED: a link that leads elsewhere. On success free with rl_graph_page_free. */
rl_err rl_graph_page_parse(rl_span body, size_t limit, const rl_graph_shape *shape, const char *origin,
                           rl_graph_page *out, rl_error *e);
void rl_graph_page_free(rl_graph_page *p);
/* `next`, which lies behind `p`'s link, becomes its end: its items follow, so that an id may be there for each page
 * that names it, and its link replaces p's. `next` is as freed. RL_ENOMEM: both stay. */
rl_err rl_graph_page_join(rl_graph_page *p, rl_graph_page *next);

/* The report of all certificates that Intune has made: those that are revoked, as a page with `complete` that has them
 * in the report's order. RL_EBADMSG, RL_ERANGE. On success free with rl_graph_page_free. */
rl_err rl_report_parse(rl_span body, size_t limit, rl_graph_page *out, rl_error *e);

/* What an entry of Intune's list of certificates says, into `item`. RL_EBADMSG: a member that is not text. */
rl_err rl_listed_read(const json_t *entry, rl_arena *a, size_t i, rl_graph_item *item, rl_error *e);

/* The `code` of Graph's error body, "" when there is none: letters, digits, '_', '.', '-' only. */
void rl_graph_error_code(rl_span body, char *out, size_t cap);

#endif
