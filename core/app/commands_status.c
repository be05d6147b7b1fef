/* `revline status`: what /probe says of every part, and how many certificates are good, on hold and revoked. As in
 * commands.c: any thread. */
#include "app/app.h"
#include "base/json.h"

/* Above so many certificates nobody waits until all have been looked at: those that are not good are counted in their
 * own family, and all are as many as RocksDB estimates. */
enum { COUNTED_MAX = 100000 };

struct tally {
    int64_t of[RL_STATUS_REVOKED + 1], all;
};

static bool count_one(const rl_cert_id *id, const rl_cert_record *r, void *ctx)
{
    struct tally *t = ctx;
    (void)id;
    t->of[r->status]++;
    return ++t->all < COUNTED_MAX;
}

static bool count_not_good(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx)
{
    struct tally *t = ctx;
    (void)id;
    (void)revoked_at;
    t->of[reason == RL_REASON_HOLD ? RL_STATUS_HOLD : RL_STATUS_REVOKED]++;
    return true;
}

static rl_err estimate(rl_app *app, struct tally *t)
{
    rl_store_figures f;
    *t = (struct tally){0};
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(app->ca); id++)
        RL_TRY(rl_store_each_revoked(app->store, id, count_not_good, t));
    rl_store_figures_read(app->store, &f);
    int64_t good = (int64_t)f.certs_estimate - t->of[RL_STATUS_HOLD] - t->of[RL_STATUS_REVOKED];
    t->of[RL_STATUS_GOOD] = good > 0 ? good : 0;
    return RL_OK;
}

static json_t *count(rl_app *app)
{
    struct tally t = {0};
    rl_err err = rl_store_each_cert(app->store, NULL, count_one, &t);
    const bool exact = t.all < COUNTED_MAX;
    if (err == RL_OK && !exact)
        err = estimate(app, &t);
    if (err != RL_OK)
        return json_null(); /* the store's part says what it has */
    return json_pack("{s:I,s:I,s:I,s:b}", "good", (json_int_t)t.of[RL_STATUS_GOOD], "hold",
                     (json_int_t)t.of[RL_STATUS_HOLD], "revoked", (json_int_t)t.of[RL_STATUS_REVOKED], "exact", exact);
}

/* {"count": true}: the certificates, too. */
rl_err rl_command_status(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    int http;
    if (!(*reply = rl_web_health(app, &http)))
        return rl_fail(e, RL_ENOMEM, "status", "out of memory");
    if (rl_json_bool(request, "count", false))
        json_object_set_new(*reply, "certificates", count(app));
    return RL_OK;
}
