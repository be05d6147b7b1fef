/* Computers, mobile devices and users of Jamf Pro become objects, and what is gone becomes revocations. Writer thread,
 * inside a transaction.
 *
 * They are objects like those of Entra ID. A computer or mobile device has no name but its number, which its
 * certificates bear; a user has one. As each round lists all of them, only the generation is written of one that has
 * not changed. */
#include "sync/jamf_apply.h"

#include <stdio.h>

static bool is_same(const rl_object_record *o, const rl_graph_item *item)
{
    if (!o->exists)
        return false;
    return !item->name_said || o->name == item->name || (o->name && item->name && strcmp(o->name, item->name) == 0);
}

rl_err rl_jamf_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record o = {0};
    rl_err err = rl_txn_object(t, job->kind->source, item->id, &o);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    if (is_same(&o, item)) {
        o.generation = job->next.generation;
        o.last_seen = job->now;
        err = rl_txn_put_object(t, job->kind->source, item->id, &o);
    } else {
        err = rl_entra_put(t, job, item);
    }
    rl_object_clear(&o);
    return err;
}

/* A listing proves nothing by what it leaves out: the object is only noted. */
rl_err rl_jamf_missing(rl_store_txn *t, rl_page_job *job, const char *id, const rl_object_record *o)
{
    rl_jamf_job *j = (rl_jamf_job *)job;
    (void)t;
    (void)o;
    job->goes_on = true;
    if (strcmp(id, j->after) <= 0 || j->n == RL_JAMF_ASKED_MAX) {
        j->more = true;
        return RL_OK;
    }
    j->missing[j->n].gone = false;
    snprintf(j->missing[j->n++].id, RL_JAMF_ID_SIZE, "%s", id);
    return RL_OK;
}

static rl_err bury(rl_store_txn *t, rl_page_job *job, const char *id)
{
    rl_object_record o;
    RL_TRY(rl_txn_object(t, job->kind->source, id, &o));
    rl_err err = RL_OK;
    if (o.exists && o.generation < job->next.generation)
        err = rl_entra_gone(t, job, id, &o);
    rl_object_clear(&o);
    return err;
}

rl_err rl_jamf_bury(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_jamf_job *j = arg;
    rl_page_job *job = &j->page;
    rl_err err = RL_OK;
    size_t gone = 0;
    rl_page_weigh(job);
    for (size_t i = 0; err == RL_OK && i < j->n; i++)
        if (j->missing[i].gone) {
            gone++;
            err = bury(t, job, j->missing[i].id);
        }
    /* A mass deletion is one round, however often Jamf Pro is asked: as long as some are gone and there are more. */
    if (err == RL_OK)
        err = rl_page_settle(t, job, !j->more || gone == 0);
    job->changed = job->weigher.changed;
    rl_weigher_clear(&job->weigher);
    return err == RL_OK ? RL_OK
                        : rl_fail(e, err, "sync", "what is gone from %s cannot be written: %s", job->kind->name,
                                  rl_err_name(err));
}
