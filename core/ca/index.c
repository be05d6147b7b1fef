/* index.txt, the database of OpenSSL's `ca` command, taken in for a foreign issuer. Any thread.
 *
 * A line has six fields with a tab between them: V, R or E (valid, revoked, expired); the end of validity; the date of
 * the revocation with its reason, or nothing; the serial number in hexadecimal; a file name; the subject. */
#include "ca/ca_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "crypto/der.h"

enum { LINES_AT_ONCE = 1000, REASON_MAX = 64, SUBJECT_MAX = 4096 };

/* ---- reading ---- */
static rl_span take_until(rl_span *in, char end)
{
    const uint8_t *at = in->n ? memchr(in->p, end, in->n) : NULL;
    rl_span out = {in->p, at ? (size_t)(at - in->p) : in->n};
    size_t taken = at ? out.n + 1 : out.n;
    if (taken)
        *in = (rl_span){in->p + taken, in->n - taken};
    return out;
}

static bool copy(rl_span text, char *out, size_t cap)
{
    if (text.n >= cap || (text.n && memchr(text.p, 0, text.n)))
        return false;
    if (text.n)
        memcpy(out, text.p, text.n);
    out[text.n] = 0;
    return true;
}

/* "DATE", "DATE,REASON", and OpenSSL's reasons with one more value: the hold's instruction, the time of compromise. */
static rl_err read_revocation(rl_span field, ca_index_line *line)
{
    char reason[REASON_MAX];
    RL_TRY(rl_der_time_text(take_until(&field, ','), &line->revoked_at));
    if (!copy(take_until(&field, ','), reason, sizeof(reason)))
        return RL_EBADMSG;
    if (!reason[0])
        line->reason = RL_REASON_UNSPECIFIED;
    else if (strcasecmp(reason, "holdInstruction") == 0)
        line->reason = RL_REASON_HOLD;
    else if (strcasecmp(reason, "keyTime") == 0)
        line->reason = RL_REASON_KEY_COMPROMISE;
    else if (strcasecmp(reason, "CAkeyTime") == 0)
        line->reason = RL_REASON_CA_COMPROMISE;
    else if (rl_reason_parse(reason, &line->reason) != RL_OK || line->reason == RL_REASON_REMOVE_FROM_CRL)
        return RL_EBADMSG;
    return RL_OK;
}

static rl_err read_line(rl_span text, ca_index_line *line)
{
    char serial[2 * RL_SERIAL_MAX + 4];
    rl_span kind = take_until(&text, '\t'), end = take_until(&text, '\t'), revocation = take_until(&text, '\t');
    bool right = kind.n == 1 && strchr("VRE", kind.p[0]) && copy(take_until(&text, '\t'), serial, sizeof(serial));
    take_until(&text, '\t'); /* the file's name, or "unknown" */
    if (!right || kind.p[0] == 0 || rl_serial_from_text(serial, &line->serial) != RL_OK || text.n == 0 ||
        text.n > SUBJECT_MAX)
        return RL_EBADMSG;
    line->subject = text;
    line->revoked = kind.p[0] == 'R';
    RL_TRY(rl_der_time_text(end, &line->not_after));
    return line->revoked ? read_revocation(revocation, line) : RL_OK;
}

rl_err ca_index_read(rl_span text, ca_index_line **out, size_t *n, rl_error *e)
{
    size_t lines = 1, number = 0;
    *n = 0;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    if (!(*out = calloc(lines, sizeof(**out))))
        return rl_fail(e, RL_ENOMEM, "import", "out of memory");
    while (text.n > 0) {
        rl_span line = take_until(&text, '\n');
        number++;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (read_line(line, &(*out)[(*n)++]) != RL_OK) {
            free(*out);
            *out = NULL;
            return rl_fail(e, RL_EBADMSG, "import", "line %zu is none of an index.txt", number);
        }
    }
    return RL_OK;
}

/* ---- taking in ---- */
struct indexing {
    rl_issuer_id issuer;
    const ca_index_line *lines;
    size_t at, n;
    rl_ca_indexed *out;
};

static rl_err add(rl_store_txn *t, struct indexing *x, const rl_cert_id *id, const ca_index_line *line)
{
    static char indexed[] = RL_PROFILE_INDEXED, import[] = "import";
    rl_cert_record r = {.subject = strndup((const char *)line->subject.p, line->subject.n),
                        .profile = indexed,
                        .requester = import,
                        .not_after = line->not_after};
    if (!r.subject)
        return RL_ENOMEM;
    rl_text_clean(r.subject);
    if (line->revoked) {
        r.why = RL_WHY_MANUAL;
        r.manual_reason = line->reason;
        rl_cert_settle(&r, line->revoked_at);
    }
    rl_err err = rl_txn_add_cert(t, id, &r, (rl_span){0}, "import");
    free(r.subject);
    x->out->added += err == RL_OK;
    return err;
}

/* By hand on hold or revoked already: that stays, but a hold becomes a revocation. */
static rl_err revoke(rl_store_txn *t, struct indexing *x, const rl_cert_id *id, const ca_index_line *line)
{
    rl_cert_record r;
    RL_TRY(rl_txn_cert(t, id, &r));
    rl_err err = RL_OK;
    bool by_hand = r.why & RL_WHY_MANUAL;
    if (!by_hand || (r.manual_reason == RL_REASON_HOLD && line->reason != RL_REASON_HOLD)) {
        r.why |= RL_WHY_MANUAL;
        r.manual_reason = line->reason;
        x->out->changed += rl_cert_settle(&r, line->revoked_at);
        err = rl_txn_update_cert(t, id, &r, "import");
    }
    rl_cert_clear(&r);
    return err;
}

static rl_err take_lines(rl_store_txn *t, void *arg, rl_error *e)
{
    struct indexing *x = arg;
    size_t end = x->at + LINES_AT_ONCE < x->n ? x->at + LINES_AT_ONCE : x->n;
    for (; x->at < end; x->at++) {
        const ca_index_line *line = &x->lines[x->at];
        rl_cert_id id = ca_cert_id(x->issuer, &line->serial);
        rl_err err = add(t, x, &id, line);
        if (err == RL_EEXISTS)
            err = line->revoked ? revoke(t, x, &id, line) : RL_OK;
        if (err != RL_OK)
            return rl_fail(e, err, "import", "a certificate cannot be stored: %s", rl_err_name(err));
    }
    return RL_OK;
}

static rl_err note(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct indexing *x = arg;
    char what[96];
    snprintf(what, sizeof(what), "issuer %u: %zu certificates, %zu new, %zu changed", x->issuer, x->n, x->out->added,
             x->out->changed);
    rl_err err = rl_txn_audit(t, "import", "index.import", what);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "the import cannot be noted: %s", rl_err_name(err));
}

rl_err rl_ca_import_index(rl_ca *ca, const rl_issuer *issuer, rl_span text, rl_ca_indexed *out, rl_error *e)
{
    ca_index_line *lines;
    struct indexing x = {.issuer = issuer->id, .out = out};
    *out = (rl_ca_indexed){0};
    if (issuer->signer)
        return rl_fail(e, RL_EINVAL, "import", "issuer %u is our own: its certificates are known here", issuer->id);
    RL_TRY(ca_index_read(text, &lines, &x.n, e));
    x.lines = lines;
    rl_err err = x.n ? RL_OK : rl_fail(e, RL_EBADMSG, "import", "no certificate is in it");
    while (err == RL_OK && x.at < x.n)
        err = rl_store_run(ca->store, take_lines, &x, e);
    if (err == RL_OK)
        err = rl_store_run(ca->store, note, &x, e);
    out->certificates = x.n;
    if (err == RL_OK)
        log_info("ca.index", "issuer", issuer->id, "certificates", x.n, "added", out->added, "changed", out->changed);
    free(lines);
    return err;
}
