/* Lists of certificates; see listing.h. */
#include "sync/listing.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "http/login.h"
#include "sync/graph.h"

enum { PUT_AT_ONCE = 1000 }; /* the whole of a large page would keep the writer from others */

rl_err rl_listing_init(rl_listing *l, const rl_graph_kind *kind, const rl_source_kind *source, const char *needs,
                       void (*answered)(rl_sync_source *s, const rl_http_response *r), rl_sync *sync)
{
    l->kind = kind;
    l->ask = (rl_graph_ask){.source = &l->base, .answered = answered};
    l->base.kind = source;
    l->base.interval = sync->settings->sync.endpoint_list_interval;
    l->base.needs = needs ? needs : rl_login_missing(sync->settings);
    l->base.governs = kind->governs;
    l->base.upstream = RL_UPSTREAM_GRAPH;
    l->base.permission = kind->permission;
    snprintf(l->base.name, sizeof(l->base.name), "%s", kind->name);
    return rl_source_add(sync, &l->base);
}

void rl_listing_fail(rl_listing *l, const char *message, int64_t retry_after_ms)
{
    rl_graph_page_free(&l->page);
    rl_source_failed(&l->base, message, retry_after_ms);
}

void rl_listing_refused(rl_listing *l, const rl_http_response *r)
{
    char message[RL_ERROR_MESSAGE_MAX];
    rl_graph_refusal(&l->base, r, message);
    if ((r->status == 403 || r->status == 404) && l->cursor.last_success == 0)
        atomic_store(&l->base.without, true);
    rl_listing_fail(l, message, r->retry_after_ms);
}

static rl_err read_cursor(rl_listing *l)
{
    rl_err err = l->cursor_read ? RL_OK : rl_store_cursor(l->base.sync->store, l->base.name, &l->cursor);
    l->cursor_read = err == RL_OK || err == RL_ENOTFOUND; /* all zero: never read */
    if (l->cursor_read && !l->cursor.tenant)
        l->cursor.tenant = strdup(l->base.sync->settings->azure.tenant_id);
    return l->cursor_read ? l->cursor.tenant ? RL_OK : RL_ENOMEM : err;
}

bool rl_listing_begin(rl_listing *l)
{
    rl_err err = read_cursor(l);
    l->base.full = true;
    l->base.objects = l->base.changed = 0;
    l->generation = l->cursor.generation + 1;
    if (err != RL_OK)
        rl_listing_fail(l, "the cursor cannot be read", -1);
    return err == RL_OK && !rl_graph_another_tenant(&l->base, l->cursor.tenant);
}

/* ---- pages ---- */
/* Writer thread. */
static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    return rl_page_apply(t, &((rl_listing *)arg)->job, e);
}

static void commit_part(rl_listing *l)
{
    size_t left = l->page.n - l->at;
    int64_t now = rl_wall_s();
    l->part = (rl_graph_page){.n = left < PUT_AT_ONCE ? left : PUT_AT_ONCE};
    l->part.items = left ? l->page.items + l->at : NULL;
    bool complete = l->last && l->part.n == left;
    l->job = (rl_page_job){.kind = l->kind, .page = &l->part, .settings = l->base.sync->settings, .now = now};
    l->job.next = (rl_cursor_record){.full = true,
                                     .complete = complete,
                                     .tenant = l->cursor.tenant,
                                     .generation = l->generation,
                                     .last_success = complete ? now : l->cursor.last_success,
                                     .last_full = complete ? now : l->cursor.last_full};
    if (rl_source_commit(&l->base, apply) != RL_OK)
        rl_listing_fail(l, "the database takes no more writes", -1);
}

void rl_listing_commit(rl_listing *l, bool last)
{
    l->at = 0;
    l->last = last;
    commit_part(l);
}

static void finish(rl_listing *l)
{
    l->base.restarts = 0;
    l->base.restart = false;
    atomic_store(&l->base.without, false);
    rl_source_done(&l->base, l->cursor.last_success);
}

void rl_listing_committed(rl_listing *l, rl_err err, const rl_error *e, rl_listing_next next)
{
    if (err != RL_OK) {
        rl_listing_fail(l, e->message, -1);
        return;
    }
    l->base.attempts = 0;
    l->cursor.generation = l->job.next.generation;
    l->cursor.last_success = l->job.next.last_success;
    l->cursor.last_full = l->job.next.last_full;
    rl_count_skipped(l->base.name, l->job.skipped);
    rl_source_count(&l->base, l->at == 0, l->part.n, l->job.changed);
    if (l->job.due)
        rl_guard_wake(l->base.sync);
    l->at += l->part.n;
    if (l->at < l->page.n) {
        commit_part(l);
        return;
    }
    rl_graph_page_free(&l->page);
    if (l->last)
        finish(l);
    else
        next(l);
}

void rl_listing_token(rl_sync_source *s, const rl_error *failure, int64_t retry_after_ms)
{
    rl_graph_ask_token(&((rl_listing *)s)->ask, failure, retry_after_ms);
}

void rl_listing_clear(rl_listing *l)
{
    rl_graph_page_free(&l->page);
    rl_graph_ask_clear(&l->ask);
    rl_cursor_clear(&l->cursor);
}
