/* What a page changes, whatever its objects are. Runs on the store's writer thread, inside its transaction; an error
 * rolls all of it back, the cursor included. */
#include "sync/apply.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the end of a full round ---- */
struct sweep_ctx {
    rl_page_job *job;
    uint64_t listed, gone, named;
};

static bool counts_twice(const rl_page_job *job)
{
    return job->kind->twice == RL_TWICE_ALWAYS || (job->kind->twice == RL_TWICE_PAGES && !job->one_page);
}

/* Only certificates have named it, for longer than a new device may take. */
static bool is_named_only(const rl_page_job *job, const rl_object_record *r)
{
    return r->generation == RL_GENERATION_NAMED &&
           job->now - r->last_seen >= job->settings->sync.new_device_grace / 1000;
}

static rl_err expect_object(rl_store_txn *t, const rl_page_job *job, const char *id, const rl_object_record *r)
{
    rl_object_record o = *r; /* strings stay the caller's */
    o.generation = job->next.generation;
    return rl_txn_put_object(t, job->kind->source, id, &o);
}

static rl_err expect_named(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    const struct sweep_ctx *s = ctx;
    return r->exists && is_named_only(s->job, r) ? expect_object(t, s->job, id, r) : RL_OK;
}

static rl_err sweep_object(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    struct sweep_ctx *s = ctx;
    uint64_t generation = s->job->next.generation;
    if (!r->exists)
        return RL_OK;
    if (r->generation == RL_GENERATION_NAMED) {
        s->named += is_named_only(s->job, r);
        return RL_OK;
    }
    if (r->generation > RL_GENERATION_NAMED) /* the next one must */
        return expect_object(t, s->job, id, r);
    if (r->generation >= generation) {
        s->listed++;
        return RL_OK;
    }
    if (counts_twice(s->job) && r->generation + 1 == generation) {
        s->job->missing++;
        return RL_OK;
    }
    s->gone++;
    return s->job->kind->gone(t, s->job, id, r);
}

const char rl_empty_advice[] = "An empty list is never believed. If it is right, revoke the certificates that are left "
                               "by hand (revline revoke): the "
                               "source goes on with the first object that is listed. Else look at what the application "
                               "or account may see, and for a "
                               "proxy that answers in place of the directory.";

/* What the whole round did not list is gone. But a list that is empty all of a sudden is a failure of the directory,
 * not the end of the fleet: refused, and the transaction takes back everything. */
static rl_err sweep(rl_store_txn *t, rl_page_job *job, rl_error *e)
{
    struct sweep_ctx s = {.job = job};
    RL_TRY(rl_txn_each_object(t, job->kind->source, "", sweep_object, &s));
    /* From now on the directory has to list what certificates have named. Not by a listing without any, in which there
     * is nothing to compare a 404 with: whoever names what is not there must not make it a refused one. */
    if (s.listed > 0 && s.named > 0)
        RL_TRY(rl_txn_each_object(t, job->kind->source, "", expect_named, &s));
    if (s.listed > 0 || s.gone + job->missing == 0 || job->kind->may_be_empty)
        return RL_OK;
    job->empty = true;
    return rl_fail(e, RL_EDENIED, "sync",
                   "the full round listed no object though %llu are known: refused, nothing is changed",
                   (unsigned long long)(s.gone + job->missing));
}

/* ---- what a delta tells to be gone ---- */
/* On a later page of the round it may be there, and then it was never gone: what is revoked for good must not come
 * back. So it waits for the round's last page, and is put behind that one's items, in transactions of bounded size. */
enum { LEAVING_AT_ONCE = 4000 };

static rl_err take_leaving(rl_store_txn *t, const char *id, const rl_object_record *r, void *ctx)
{
    rl_graph_page *gone = ctx;
    (void)t, (void)r;
    if (gone->n == LEAVING_AT_ONCE)
        return RL_EBUSY;
    const char *copy = rl_arena_strndup(&gone->arena, id, strlen(id));
    if (!copy)
        return RL_ENOMEM;
    gone->items[gone->n++] = (rl_graph_item){.id = copy, .removed = true};
    return RL_OK;
}

static rl_err put_leaving(rl_store_txn *t, rl_page_job *job)
{
    const rl_graph_page *page = job->page;
    rl_graph_page gone = {.items = calloc(LEAVING_AT_ONCE, sizeof(*gone.items))};
    if (!gone.items)
        return RL_ENOMEM;
    rl_arena_init(&gone.arena, 0); /* bounded by their number */
    rl_err err = rl_txn_each_object(t, job->kind->leaving, job->behind, take_leaving, &gone);
    job->more = err == RL_EBUSY;
    if (job->more)
        err = RL_OK;
    job->next.leaving = job->more;
    for (size_t i = 0; err == RL_OK && i < gone.n; i++)
        err = rl_txn_delete_object(t, job->kind->leaving, gone.items[i].id);
    job->page = &gone;
    if (err == RL_OK)
        err = rl_page_items(t, job, job->kind->put);
    job->page = page;
    if (gone.n > 0)
        snprintf(job->behind, sizeof(job->behind), "%s", gone.items[gone.n - 1].id);
    rl_graph_page_free(&gone);
    return err;
}

/* ---- the brake ---- */
/* A list is a full round each time: what was dropped is not to come up again within the minute. */
static int64_t raise_before(const rl_page_job *job)
{
    if (!job->next.full)
        return 0;
    return job->kind->shape.listing ? job->now - job->settings->sync.full_interval / 1000 : job->now + 1;
}

void rl_page_weigh(rl_page_job *job)
{
    job->weigher = (rl_weigher){.settings = job->settings,
                                .origin = job->kind->origin,
                                .now = job->now,
                                .worse = rl_brake_worse(job->settings)};
}

rl_err rl_page_settle(rl_store_txn *t, rl_page_job *job, bool complete)
{
    const rl_brake_round round = {.source = job->kind->name, .complete = complete, .raise_before = raise_before(job)};
    return rl_brake_settle(t, &job->weigher, &round, &job->due);
}

rl_err rl_page_items(rl_store_txn *t, rl_page_job *job, rl_page_put put)
{
    rl_err err = RL_OK;
    if (job->kind->expect)
        job->kind->expect(t, job);
    for (size_t i = 0; err == RL_OK && i < job->page->n; i++)
        err = put(t, job, &job->page->items[i]);
    if (err == RL_OK)
        err = rl_entra_follow(t, job);
    free(job->objects);
    free(job->looks);
    free(job->certs);
    job->objects = NULL;
    job->looks = NULL;
    job->certs = NULL;
    job->objects_n = job->looks_n = job->certs_n = job->certs_cap = 0;
    job->mailless = false;
    return err;
}

rl_err rl_page_apply(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_page_job *job = arg;
    rl_page_weigh(job);
    rl_err err = RL_OK;
    if (!job->behind[0])
        err = rl_page_items(t, job, job->kind->put);
    if (err == RL_OK && job->next.complete && job->next.leaving)
        err = put_leaving(t, job);
    if (err == RL_OK && job->next.complete && job->next.full && !job->more)
        err = sweep(t, job, e);
    if (err == RL_OK)
        err = rl_page_settle(t, job, job->next.complete && !job->goes_on && !job->more);
    if (err == RL_OK && !job->more)
        err = rl_txn_put_cursor(t, job->kind->name, &job->next);
    job->changed = job->weigher.changed;
    rl_weigher_clear(&job->weigher);
    if (err == RL_ENOMEM)
        return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    if (err != RL_OK && !job->empty)
        return rl_fail(e, err, "sync", "the page of %s cannot be applied: %s", job->kind->name, rl_err_name(err));
    return err;
}
