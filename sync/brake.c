/* The brake on mass changes; see brake.h. */
#include "sync/brake.h"

#include <stdio.h>
#include <stdlib.h>

/* Certificates of one transaction. */
enum { APPLIED_AT_ONCE = 1000, RELEASED_AT_ONCE = 500 };

/* ---- the limit ---- */
uint64_t rl_brake_enough(rl_share limit, uint64_t certificates)
{
    uint64_t value = (uint64_t)limit.value;
    if (value == 0)
        return 0;
    if (!limit.percent)
        return certificates <= value ? 0 : UINT64_MAX;
    return certificates <= RL_BRAKE_ALWAYS ? 0 : (certificates * 100 + value - 1) / value;
}

rl_worse rl_brake_worse(const rl_settings *s)
{
    return s->sync.mass_limit.value > 0 ? RL_WORSE_COLLECT : RL_WORSE_APPLY;
}

/* ---- the end of a page ---- */
static int by_id(const void *a, const void *b)
{
    const rl_cert_id *one = a, *other = b;
    if (one->issuer != other->issuer)
        return one->issuer < other->issuer ? -1 : 1;
    if (one->serial_n != other->serial_n)
        return one->serial_n < other->serial_n ? -1 : 1;
    return memcmp(one->serial, other->serial, one->serial_n);
}

/* Each once. */
static void unique(rl_weigher *w)
{
    size_t n = 0;
    if (w->ids_n)
        qsort(w->ids, w->ids_n, sizeof(*w->ids), by_id);
    for (size_t i = 0; i < w->ids_n; i++)
        if (n == 0 || by_id(&w->ids[i], &w->ids[n - 1]) != 0)
            w->ids[n++] = w->ids[i];
    w->ids_n = n;
}

static rl_err weigh_collected(rl_store_txn *t, rl_weigher *w, rl_worse worse)
{
    w->worse = worse;
    for (size_t i = 0; i < w->ids_n; i++)
        RL_TRY(rl_weigh_stored(t, w, &w->ids[i], NULL, NULL));
    return RL_OK;
}

/* They join the round's change, which begins with the first of them. What a later item of the page has made good again,
 * and what waits in another change, does not: with none there is no change. */
static rl_err join(rl_store_txn *t, rl_weigher *w, const char *source, uint64_t *change)
{
    rl_change_record r;
    const bool begins = !*change;
    if (w->ids_n == 0)
        return RL_OK;
    if (begins)
        RL_TRY(rl_txn_new_change(t, source, w->now, change));
    w->change = *change;
    RL_TRY(weigh_collected(t, w, RL_WORSE_HOLD));
    if (!begins)
        return RL_OK;
    rl_err err = rl_txn_change(t, *change, &r);
    if (err != RL_OK || r.certificates > 0)
        return err;
    err = rl_txn_delete_change(t, *change);
    *change = 0;
    return err;
}

static rl_err enter(rl_store_txn *t, uint64_t id, rl_change_record *r, rl_change_state state, int64_t now)
{
    r->state = state;
    r->since = now;
    return rl_txn_put_change(t, id, r);
}

/* Certificates may have left it since, and the last of them takes it along. */
static rl_err complete(rl_store_txn *t, uint64_t change, int64_t now, bool *due)
{
    rl_change_record r;
    rl_err err = rl_txn_change(t, change, &r);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    *due = true;
    return enter(t, change, &r, RL_CHANGE_DUE, now);
}

/* The full round has found the same difference: what was dropped comes up again. */
static rl_err raise_dropped(rl_store_txn *t, const rl_brake_round *round, int64_t now, bool *due)
{
    uint64_t id;
    rl_change_record r;
    rl_err err;
    while ((err = rl_txn_find_change(t, round->source, RL_CHANGE_DROPPED, &id, &r)) == RL_OK &&
           r.since < round->raise_before) {
        RL_TRY(enter(t, id, &r, RL_CHANGE_DUE, now));
        *due = true;
    }
    return err == RL_ENOTFOUND ? RL_OK : err;
}

rl_err rl_brake_settle(rl_store_txn *t, rl_weigher *w, const rl_brake_round *round, bool *due)
{
    uint64_t change = 0;
    rl_change_record r;
    unique(w);
    *due = false;
    rl_err err = rl_txn_find_change(t, round->source, RL_CHANGE_OPEN, &change, &r);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    if (err == RL_ENOTFOUND)
        change = 0;
    bool few = w->ids_n <= APPLIED_AT_ONCE && rl_brake_enough(w->settings->sync.mass_limit, w->ids_n) == 0;
    if (round->complete && !change && few)
        RL_TRY(weigh_collected(t, w, RL_WORSE_APPLY));
    else
        RL_TRY(join(t, w, round->source, &change));
    if (round->complete && change)
        RL_TRY(complete(t, change, w->now, due));
    return round->complete && round->raise_before ? raise_dropped(t, round, w->now, due) : RL_OK;
}

/* ---- released ---- */
static rl_err release_some(rl_store_txn *t, rl_release *job, const rl_change_record *change)
{
    rl_cert_id ids[RELEASED_AT_ONCE];
    char origin[RL_CHANGE_SOURCE_MAX + 8];
    size_t n;
    snprintf(origin, sizeof(origin), "sync:%s", change->source);
    rl_weigher w = {.settings = job->settings, .origin = origin, .now = job->now, .worse = RL_WORSE_RELEASE};
    RL_TRY(rl_txn_held(t, job->change, &job->after, ids, RELEASED_AT_ONCE, &n));
    for (size_t i = 0; i < n; i++)
        RL_TRY(rl_weigh_stored(t, &w, &ids[i], NULL, NULL));
    if (n > 0)
        job->after = ids[n - 1];
    job->changed += w.changed;
    return n < RELEASED_AT_ONCE ? rl_txn_delete_change(t, job->change) : RL_OK;
}

rl_err rl_brake_release(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_release *job = arg;
    uint64_t id;
    rl_change_record change;
    rl_err err = rl_txn_find_change(t, NULL, RL_CHANGE_RELEASED, &id, &change);
    job->done = err == RL_ENOTFOUND;
    if (job->done)
        return RL_OK;
    if (err == RL_OK && id != job->change) {
        job->change = id;
        job->after = (rl_cert_id){0};
    }
    if (err == RL_OK)
        err = release_some(t, job, &change);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "the change cannot be applied: %s", rl_err_name(err));
}

/* ---- decided ---- */
static rl_err unknown(const rl_decision *d, rl_error *e)
{
    return rl_fail(e, RL_ENOTFOUND, "sync", "no change with the number %llu waits: see revline sync hold",
                   (unsigned long long)d->change);
}

rl_err rl_brake_decide(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_decision *d = arg;
    char what[32], subject[64];
    rl_err err = rl_txn_change(t, d->change, &d->result);
    if (d->if_due && (err == RL_ENOTFOUND || (err == RL_OK && d->result.state != RL_CHANGE_DUE)))
        return RL_OK;
    bool is_applied = err == RL_OK && d->result.state == RL_CHANGE_RELEASED && d->to != RL_CHANGE_RELEASED;
    if (err == RL_ENOTFOUND || is_applied)
        return unknown(d, e);
    snprintf(what, sizeof(what), "sync.%s", rl_change_state_name(d->to));
    snprintf(subject, sizeof(subject), "%llu %s", (unsigned long long)d->change, d->result.source);
    if (err == RL_OK)
        err = enter(t, d->change, &d->result, d->to, d->now);
    if (err == RL_OK)
        err = rl_txn_audit(t, d->who, what, subject);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "sync", "the change cannot be decided: %s", rl_err_name(err));
}
