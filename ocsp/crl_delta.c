/* Delta lists by comparison: two lists of one issuer have their entries in the store's order, so that one walk through
 * both finds what differs. */
#include "ocsp/crl_delta.h"

#include <stdlib.h>

#include "crypto/der.h"
#include "ocsp/crl_build.h"

typedef struct entry {
    rl_span whole;          /* .n == 0: behind the last one */
    ocsp_crl_change change; /* the serial number without the 00 in front of a high bit, as the store has it */
} entry;

void ocsp_crl_changes_free(ocsp_crl_changes *c)
{
    free(c->changes);
    *c = (ocsp_crl_changes){0};
}

/* §5.1: CertificateList ::= SEQUENCE { tbsCertList SEQUENCE { version, signature, issuer, thisUpdate, nextUpdate,
 * revokedCertificates SEQUENCE OPTIONAL, crlExtensions [0] }, … } */
rl_err ocsp_crl_entries(rl_span list, rl_span *entries)
{
    rl_span whole, tbs, field;
    uint8_t tag;
    *entries = (rl_span){0};
    RL_TRY(rl_der_sequence(&list, &whole));
    RL_TRY(rl_der_sequence(&whole, &tbs));
    for (unsigned i = 0; i < 5; i++)
        RL_TRY(rl_der_any(&tbs, &tag, &field, NULL));
    return rl_der_peek(&tbs, RL_DER_SEQUENCE) ? rl_der_sequence(&tbs, entries) : RL_OK;
}

/* §5.1.2.6: SEQUENCE { userCertificate, revocationDate, crlEntryExtensions OPTIONAL } */
static rl_err next(rl_span *entries, entry *e)
{
    rl_span fields, serial;
    uint8_t tag;
    *e = (entry){0};
    if (entries->n == 0)
        return RL_OK;
    RL_TRY(rl_der_any(entries, &tag, &fields, &e->whole));
    RL_TRY(rl_der_expect(&fields, RL_DER_INTEGER, &serial));
    size_t zero = serial.n > 1 && serial.p[0] == 0 ? 1 : 0;
    if (serial.n - zero > sizeof(e->change.serial))
        return RL_EBADMSG;
    e->change.n = (uint8_t)(serial.n - zero);
    memcpy(e->change.serial, serial.p + zero, e->change.n);
    return RL_OK;
}

/* The store's order: octet by octet. */
static int compare(const void *a, const void *b)
{
    const ocsp_crl_change *x = a, *y = b;
    int order = memcmp(x->serial, y->serial, x->n < y->n ? x->n : y->n);
    return order ? order : (int)x->n - (int)y->n;
}

/* Of two entries, of which either may be behind the last. */
static int compare_entries(const entry *a, const entry *b)
{
    if (a->whole.n == 0 || b->whole.n == 0)
        return (a->whole.n == 0) - (b->whole.n == 0);
    return compare(&a->change, &b->change);
}

static rl_err append(ocsp_crl_changes *c, const ocsp_crl_change *change)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 64;
        ocsp_crl_change *more = realloc(c->changes, cap * sizeof(*more));
        if (!more)
            return RL_ENOMEM;
        c->changes = more;
        c->cap = cap;
    }
    c->changes[c->n++] = *change;
    return RL_OK;
}

static void sort_each_once(ocsp_crl_changes *c)
{
    size_t kept = 0;
    if (c->n == 0)
        return;
    qsort(c->changes, c->n, sizeof(*c->changes), compare);
    for (size_t i = 1; i < c->n; i++)
        if (compare(&c->changes[i], &c->changes[kept]) != 0)
            c->changes[++kept] = c->changes[i];
    c->n = kept + 1;
}

rl_err ocsp_crl_changes_add(ocsp_crl_changes *c, rl_span before, rl_span after)
{
    const size_t most = c->n + OCSP_CRL_CHANGES_MAX;
    entry old, new;
    RL_TRY(next(&before, &old));
    RL_TRY(next(&after, &new));
    while (old.whole.n || new.whole.n) {
        int order = compare_entries(&old, &new);
        if (order != 0 || !rl_span_eq(old.whole, new.whole))
            RL_TRY(c->n < most ? append(c, order <= 0 ? &old.change : &new.change) : RL_ERANGE);
        if (order <= 0)
            RL_TRY(next(&before, &old));
        if (order >= 0)
            RL_TRY(next(&after, &new));
    }
    sort_each_once(c);
    return c->n <= OCSP_CRL_CHANGES_MAX ? RL_OK : RL_ERANGE;
}

static rl_err append_removal(const ocsp_crl_change *change, int64_t at, rl_buf *entries)
{
    rl_cert_id id = {.serial_n = change->n};
    memcpy(id.serial, change->serial, change->n);
    return ocsp_crl_entry(entries, &id, at, RL_REASON_REMOVE_FROM_CRL);
}

rl_err ocsp_crl_delta_entries(const ocsp_crl_changes *c, rl_span complete, int64_t at, rl_buf *entries)
{
    entry e;
    RL_TRY(next(&complete, &e));
    for (size_t i = 0; i < c->n; i++) {
        while (e.whole.n && compare(&e.change, &c->changes[i]) < 0)
            RL_TRY(next(&complete, &e));
        if (e.whole.n && compare(&e.change, &c->changes[i]) == 0)
            RL_TRY(rl_buf_append(entries, e.whole.p, e.whole.n));
        else
            RL_TRY(append_removal(&c->changes[i], at, entries));
    }
    return RL_OK;
}
