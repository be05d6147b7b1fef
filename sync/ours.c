/* Certificates of our own CAs by their serial numbers. Writer thread, unless said otherwise. */
#include "sync/ours.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "base/metrics.h"

enum { NUMBER_MAX = 160, NAME_PARTS_MAX = 32 };

/* ---- numbers ---- */
rl_err rl_number_read(const char *text, rl_serial *out)
{
    char digits[NUMBER_MAX];
    size_t n = 0;
    for (; *text; text++) {
        if (strchr(" :-", *text))
            continue;
        if (n + 1 == sizeof(digits))
            return RL_EBADMSG;
        digits[n++] = *text;
    }
    digits[n] = 0;
    return rl_serial_from_text(digits, out);
}

/* ---- issuers ---- */
/* Issuers are numbered without a gap. */
static rl_err read_ours(rl_store_txn *t, rl_ours *ours)
{
    rl_issuer_record r;
    rl_err err = RL_OK;
    if (ours->read)
        return RL_OK;
    for (rl_issuer_id id = 1; ours->n < RL_OURS_MAX && (err = rl_txn_issuer(t, id, &r)) == RL_OK; id++) {
        if (r.key_ref && r.key_ref[0])
            ours->ids[ours->n++] = id;
        rl_issuer_clear(&r);
    }
    ours->read = err == RL_OK || err == RL_ENOTFOUND;
    return ours->read ? RL_OK : err;
}

static bool is_the_cas(const rl_cert_record *cert)
{
    return cert->profile && (strcmp(cert->profile, "ca") == 0 || strcmp(cert->profile, "scep-ra") == 0);
}

rl_err rl_ours_find(rl_store_txn *t, rl_ours *ours, const rl_serial *serial, rl_cert_id *id, rl_cert_record *cert)
{
    RL_TRY(read_ours(t, ours));
    for (size_t i = 0; i < ours->n; i++) {
        *id = (rl_cert_id){.issuer = ours->ids[i], .serial_n = serial->n};
        memcpy(id->serial, serial->b, serial->n);
        rl_err err = rl_txn_cert(t, id, cert);
        if (err == RL_OK && is_the_cas(cert)) {
            rl_cert_clear(cert);
            err = RL_ENOTFOUND;
        }
        if (err != RL_ENOTFOUND)
            return err;
    }
    return RL_ENOTFOUND;
}

void rl_count_skipped(const char *source, uint64_t n)
{
    char label[64];
    if (n == 0)
        return;
    snprintf(label, sizeof(label), "source=\"%s\"", source);
    rl_metric_add(rl_counter("revline_sync_skipped_total", label,
                             "Certificates of other CAs that Intune wants revoked, by its list or a request."),
                  (int64_t)n);
    log_debug("sync.skipped", "source", source, "certificates", n);
}

/* ---- names ---- */
/* The attributes of a name as text, in place: cut at commas and plus signs that no backslash stands before, spaces
 * around them taken off. More than fit are left out. */
static size_t cut(char *name, char *parts[NAME_PARTS_MAX])
{
    size_t n = 0;
    char *start = name;
    for (char *p = name; n < NAME_PARTS_MAX; p++) {
        if (*p == '\\' && p[1]) {
            p++;
            continue;
        }
        if (*p && *p != ',' && *p != '+')
            continue;
        bool last = *p == 0;
        *p = 0;
        start += strspn(start, " ");
        for (char *end = start + strlen(start); end > start && end[-1] == ' ';)
            *--end = 0;
        parts[n++] = start;
        start = p + 1;
        if (last)
            break;
    }
    return n;
}

static int by_text(const void *a, const void *b)
{
    return strcasecmp(*(char *const *)a, *(char *const *)b);
}

static bool same_name(char *a, char *b)
{
    char *one[NAME_PARTS_MAX], *other[NAME_PARTS_MAX];
    size_t n = cut(a, one), m = cut(b, other);
    qsort(one, n, sizeof(*one), by_text);
    qsort(other, m, sizeof(*other), by_text);
    for (size_t i = 0; n == m && i < n; i++)
        if (strcasecmp(one[i], other[i]) != 0)
            return false;
    return n == m;
}

static rl_err is_name_of(const rl_issuer_record *r, const char *name, bool *is)
{
    X509 *cert = NULL;
    RL_TRY(rl_x509_from_der(rl_span_of(r->cert, r->cert_n), &cert, NULL));
    char *subject = rl_name_text(X509_get_subject_name(cert)), *copy = strdup(name);
    if (subject && copy)
        *is = same_name(subject, copy);
    rl_err err = subject && copy ? RL_OK : RL_ENOMEM;
    free(subject);
    free(copy);
    X509_free(cert);
    return err;
}

rl_err rl_ours_is_name(rl_store_txn *t, rl_ours *ours, const char *name, bool *is)
{
    *is = false;
    RL_TRY(read_ours(t, ours));
    for (size_t i = 0; !*is && i < ours->n; i++) {
        rl_issuer_record r;
        RL_TRY(rl_txn_issuer(t, ours->ids[i], &r));
        rl_err err = is_name_of(&r, name, is);
        rl_issuer_clear(&r);
        RL_TRY(err);
    }
    return RL_OK;
}
