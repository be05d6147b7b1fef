/* The commands about mass changes that the brake holds: list them, release one, drop one. As in commands.c: any thread,
 * JSON both ways, acknowledged when they return. */
#include <errno.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "store/export.h"
#include "sync/brake.h"

enum { CHANGES_MAX = 1000, SAMPLE = 10 };

/* ---- list ---- */
struct list {
    rl_app *app;
    json_t *items;
};

/* What it would be if the change was released, as far as is known now. */
static const char *would_be(const rl_cert_record *r)
{
    rl_cert_record next = *r; /* strings stay the record's */
    next.why = (r->why & ~r->held.kept) | r->held.why;
    rl_cert_settle(&next, rl_wall_s());
    return rl_status_name(next.status);
}

static bool sample_one(const rl_cert_id *id, void *ctx)
{
    struct list *s = ctx;
    char text[2 * RL_SERIAL_MAX + 1];
    rl_cert_record r;
    if (rl_store_cert(s->app->store, id, &r) != RL_OK)
        return true;
    rl_app_serial_text(id, text);
    json_array_append_new(s->items,
                          json_pack("{s:s,s:i,s:s?,s:s,s:o}", "serial", text, "issuer", (int)id->issuer, "subject",
                                    r.subject, "wouldBe", would_be(&r), "why", rl_why_json(r.held.why)));
    rl_cert_clear(&r);
    return json_array_size(s->items) < SAMPLE;
}

static bool list_one(uint64_t id, const rl_change_record *r, void *ctx)
{
    struct list *c = ctx;
    struct list sample = {c->app, json_array()};
    char since[RL_TIME_TEXT];
    rl_time_rfc3339(r->since, since);
    rl_store_each_held(c->app->store, id, sample_one, &sample); /* a failing read shows in the list itself */
    json_array_append_new(c->items, json_pack("{s:I,s:s,s:s,s:s,s:I,s:o}", "id", (json_int_t)id, "source", r->source,
                                              "state", rl_change_state_name(r->state), "since", since, "certificates",
                                              (json_int_t)r->certificates, "sample", sample.items));
    return json_array_size(c->items) < CHANGES_MAX;
}

rl_err rl_command_sync_hold(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    struct list c = {app, json_array()};
    (void)request;
    rl_err err = rl_store_each_change(app->store, list_one, &c);
    if (err != RL_OK) {
        json_decref(c.items);
        return rl_fail(e, err, "store", "the held changes cannot be read: %s", rl_err_name(err));
    }
    *reply = json_pack("{s:o}", "changes", c.items);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}

/* ---- release, drop ---- */
static rl_err decide(rl_app *app, const json_t *request, rl_change_state to, rl_decision *d, rl_error *e)
{
    const char *text = rl_json_str(request, "id");
    char *end = NULL;
    errno = 0;
    *d = (rl_decision){.to = to, .who = "admin", .now = rl_wall_s()};
    if (text && text[0] >= '0' && text[0] <= '9')
        d->change = strtoull(text, &end, 10);
    if (!end || *end || errno)
        return rl_fail(e, RL_EINVAL, "sync", "'%s' is no number of a held change: see revline sync hold",
                       text ? text : "");
    RL_TRY(rl_store_run(app->store, rl_brake_decide, d, e));
    log_info("sync.decided", "change", d->change, "source", d->result.source, "state", rl_change_state_name(to),
             "certificates", d->result.certificates);
    return RL_OK;
}

static json_t *decision_json(const rl_decision *d)
{
    return json_pack("{s:I,s:s,s:s,s:I}", "id", (json_int_t)d->change, "source", d->result.source, "state",
                     rl_change_state_name(d->to), "certificates", (json_int_t)d->result.certificates);
}

/* {"id": "17"}. When it returns, all of it has been applied. */
rl_err rl_command_sync_release(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_decision d;
    rl_release job = {.settings = app->settings, .now = rl_wall_s()};
    RL_TRY(decide(app, request, RL_CHANGE_RELEASED, &d, e));
    while (!job.done)
        RL_TRY(rl_store_run(app->store, rl_brake_release, &job, e));
    if (!(*reply = decision_json(&d)))
        return rl_fail(e, RL_ENOMEM, "sync", "out of memory");
    json_object_set_new(*reply, "changed", json_integer((json_int_t)job.changed));
    return RL_OK;
}

rl_err rl_command_sync_drop(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_decision d;
    RL_TRY(decide(app, request, RL_CHANGE_DROPPED, &d, e));
    *reply = decision_json(&d);
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "sync", "out of memory");
}
