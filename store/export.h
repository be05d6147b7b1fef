/* The database as JSON lines, one record each, and a line read again. Private keys are not in the database; the signed
 * answers (`response`) are left out, since they can be made anew.
 *
 * A line is an object with a member "type". Times are RFC 3339 or null, octets base64, serial numbers hexadecimal in
 * capitals; README.md has the members. The order is that of families, then of keys, so that two databases can be
 * compared line by line. */
#ifndef RL_STORE_EXPORT_H
#define RL_STORE_EXPORT_H

#include <jansson.h>

#include "store/store.h"

/* RL_WHY_* as names: ["deleted", …]. */
json_t *rl_why_json(uint32_t why);

/* Calls fn for every line, the last of type "end". fn returns false to stop, which is RL_ECANCELED. RL_ECORRUPT with
 * the family when a record cannot be read. Nobody may write meanwhile: `s` is a copy, or the only one open. */
rl_err rl_store_export(rl_store *s, bool (*fn)(const json_t *line, void *ctx), void *ctx, rl_error *e);

/* ---- a copy to read, while the database is being written ---- */
/* Makes a copy of this moment as folder `path`, which must not exist, on the same file system: its files are links,
 * its log is copied. Any thread. RL_EIO. */
rl_err rl_store_copy(rl_store *s, const char *path, rl_error *e);
/* Opens such a copy for reading; close it with rl_store_close. What is submitted to it is never run. RL_EIO, and as
 * rl_store_open. */
rl_err rl_store_open_copy(const char *path, rl_store **out, rl_error *e);
/* Deletes the folder with its files. One that does not exist is no error. RL_EIO. */
rl_err rl_store_delete_copy(const char *path, rl_error *e);

/* ---- reading ---- */
enum { RL_LINE_MAX = 1024 * 1024, RL_LINE_CERT_MAX = 64 * 1024 }; /* octets: of a line, of a certificate in it */

typedef struct rl_line {
    enum {
        RL_LINE_HISTORY, /* what follows from other lines, or only tells of the past: nothing to take over */
        RL_LINE_ISSUER,
        RL_LINE_CHANGE,
        RL_LINE_CERT,
        RL_LINE_BINDING,
        RL_LINE_OBJECT,
        RL_LINE_CURSOR,
        RL_LINE_QUEUE,
        RL_LINE_END,
    } kind;
    rl_issuer_id issuer;           /* ISSUER */
    rl_issuer_record issuer_of;    /* ISSUER: without its hashes */
    uint64_t number;               /* CHANGE: its id; END: records before it */
    rl_change_record change;       /* CHANGE */
    rl_cert_id id;                 /* CERT, BINDING */
    rl_cert_record cert;           /* CERT */
    rl_buf der;                    /* CERT: empty when only the serial number is known; QUEUE: what to say */
    rl_binding name;               /* BINDING, OBJECT: source and object id */
    rl_object_record object;       /* OBJECT */
    char source[RL_OBJECT_ID_MAX]; /* CURSOR; QUEUE: its name */
    rl_cursor_record cursor;       /* CURSOR */
} rl_line;
/* Reads one line. A certificate's status must be the one that its reasons give. RL_EBADMSG naming the member that is
 * wrong, RL_EUNSUPPORTED for a type that is not known here or a newer schema, RL_ERANGE, RL_ENOMEM. Free with
 * rl_line_clear, after an error too. Pure but for memory. */
rl_err rl_line_read(rl_span text, rl_line *out, rl_error *e);
void rl_line_clear(rl_line *l);

#endif
