/* The thread that asks Intune. Others reach it through the list under the lock and one uv_async.
 *
 * What could not be told waits in `later`, and is told one after the other; while Intune is away, at the pace of the
 * back-off. `later` is filled from the store's queue at the start. */
#include "scep/intune.h"

#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/intune_services.h"
#include "scep/challenge.h"

enum {
    BACKOFF_BASE_MS = 1000,
    ENTRY_NAME_MAX = 160,
    LATER_MAX = 100000,
    PIECE = 4096,                 /* octets, of REVLINE_INTUNE_QUEUE_LIMIT */
    STRANGERS = 10,               /* that part of it is for those */
    FORGET_AFTER = 7 * 24 * 3600, /* seconds that something is tried to be told */
};

/* One question. Of a thread that waits it is on that thread's stack. */
typedef struct ask {
    struct ask *next;
    scep_intune *owner;
    const char *action;
    rl_buf body;
    char name[ENTRY_NAME_MAX]; /* in the queue; "" = a validation */
    bool waits, ended;
    bool again; /* it is in `later` too */
    scep_intune_verdict verdict;
    int64_t retry_after_ms;
    char why[SCEP_INTUNE_WHY];
} ask;

typedef struct later {
    struct later *next;
    char name[ENTRY_NAME_MAX];
} later;

struct scep_intune {
    rl_store *store;
    const rl_settings *settings;
    pthread_t thread;
    uv_loop_t loop;
    rl_http_client *client;
    rl_intune *intune;
    uv_timer_t timer;
    /* The loop's own. */
    later *first, **last;
    size_t waiting;
    unsigned attempts;
    bool telling; /* one of `later` is under way */
    bool stopping;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    ask *asks;
    bool closing;
    int64_t queued[2]; /* pieces: of successes, of failures */
    uv_async_t wake;
    rl_metric *answers[2][3]; /* validations, notifications by verdict */
};

/* ---- how much is in the queue ---- */
static bool is_failure(const char *name)
{
    return strncmp(name, SCEP_INTUNE_FAILURE, strlen(SCEP_INTUNE_FAILURE)) == 0;
}

static void count_queued(scep_intune *i, const char *name, int64_t pieces)
{
    pthread_mutex_lock(&i->lock);
    i->queued[is_failure(name)] += pieces;
    pthread_mutex_unlock(&i->lock);
}

void scep_intune_queued(scep_intune *i, const char *name, size_t n)
{
    count_queued(i, name, 1 + (int64_t)(n / PIECE));
}

bool scep_intune_has_room(scep_intune *i, bool stranger)
{
    const int64_t limit = i->settings->scep.intune_queue_limit;
    pthread_mutex_lock(&i->lock);
    bool room =
        i->queued[0] + i->queued[1] < limit && (!stranger || i->queued[1] < (limit + STRANGERS - 1) / STRANGERS);
    pthread_mutex_unlock(&i->lock);
    return room;
}

static int64_t pieces_queued(void *ctx)
{
    scep_intune *i = ctx;
    pthread_mutex_lock(&i->lock);
    int64_t n = i->queued[0] + i->queued[1];
    pthread_mutex_unlock(&i->lock);
    return n;
}

/* ---- what follows from a verdict ---- */
struct settling {
    const char *name, *why;
    bool withdraws; /* what Intune does not know of, nobody may get */
    bool success;   /* what is taken out was one */
    rl_buf was;     /* that; empty: somebody else has done it */
    char failure_name[ENTRY_NAME_MAX];
    rl_buf failure; /* what takes its place; empty: nothing */
};

/* Nobody has got it: so this is no loss to anybody. */
static rl_err withdraw(rl_store_txn *t, const rl_cert_id *id)
{
    rl_cert_record cert;
    RL_TRY(rl_txn_cert(t, id, &cert));
    rl_err err = RL_OK;
    if (cert.status != RL_STATUS_REVOKED) {
        cert.why |= RL_WHY_MANUAL;
        cert.manual_reason = RL_REASON_CESSATION;
        rl_cert_settle(&cert, rl_wall_s());
        err = rl_txn_update_cert(t, id, &cert, "scep");
    }
    rl_cert_clear(&cert);
    return err;
}

/* An earlier request of the transaction may have left one: it says the same. */
static rl_err put_failure(rl_store_txn *t, struct settling *s)
{
    rl_buf there = {0};
    rl_err err = rl_txn_queued(t, s->failure_name, &there);
    rl_buf_free(&there);
    if (err != RL_ENOTFOUND)
        return err;
    RL_TRY(scep_intune_failed(rl_buf_span(&s->was), s->why, rl_wall_s(), &s->failure));
    return rl_txn_queue_put(t, s->failure_name, rl_buf_span(&s->failure));
}

static rl_err take_out(rl_store_txn *t, struct settling *s)
{
    scep_intune_entry entry;
    rl_err err = rl_txn_queued(t, s->name, &s->was);
    if (err != RL_OK)
        return err == RL_ENOTFOUND ? RL_OK : err;
    RL_TRY(scep_intune_entry_read(rl_buf_span(&s->was), &entry));
    rl_buf_free(&entry.body);
    s->success = entry.success;
    RL_TRY(rl_txn_queue_delete(t, s->name));
    if (!s->withdraws || !entry.success)
        return RL_OK;
    RL_TRY(withdraw(t, &entry.cert));
    return put_failure(t, s);
}

static rl_err settle_in(rl_store_txn *t, void *arg, rl_error *e)
{
    struct settling *s = arg;
    rl_err err = take_out(t, s);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "intune", "the answer cannot be stored: %s", rl_err_name(err));
}

/* Takes the entry out of the queue. SCEP_INTUNE_AWAY: nobody tries to tell it any more. */
static rl_err settle(scep_intune *i, const char *name, scep_intune_verdict verdict, const char *why)
{
    struct settling s = {
        .name = name, .why = why, .withdraws = verdict != SCEP_INTUNE_YES && i->settings->scep.intune_wait};
    rl_error e = {0};
    snprintf(s.failure_name, sizeof(s.failure_name), SCEP_INTUNE_FAILURE "%s", name);
    rl_err err = rl_store_run(i->store, settle_in, &s, &e);
    if (err != RL_OK)
        log_error("scep.intune", "error", e.message);
    else if (verdict == SCEP_INTUNE_NO && s.was.n > 0)
        log_warn("scep.intune_refused", "what", s.success ? "successNotification" : "failureNotification", "reason",
                 why, "revoked", s.withdraws && s.success);
    if (err == RL_OK && s.was.n > 0)
        count_queued(i, name, -(1 + (int64_t)(s.was.n / PIECE)));
    if (err == RL_OK && s.failure.n > 0) {
        scep_intune_queued(i, s.failure_name, s.failure.n);
        scep_intune_tell_later(i, s.failure_name);
    }
    rl_buf_free(&s.failure);
    rl_buf_free(&s.was);
    return err;
}

/* ---- the loop ---- */
static void push_later(scep_intune *i, const char *name)
{
    later *l = i->waiting < LATER_MAX ? calloc(1, sizeof(*l)) : NULL;
    if (!l) {
        log_error("scep.intune", "error", "too much waits to be told: the rest comes after the next start");
        return;
    }
    snprintf(l->name, sizeof(l->name), "%s", name);
    *i->last = l;
    i->last = &l->next;
    i->waiting++;
}

static void tell_next(scep_intune *i);

static void on_timer(uv_timer_t *timer)
{
    tell_next(timer->data);
}

static void set_pace(scep_intune *i, const ask *a)
{
    int64_t wait = 0;
    if (a->verdict == SCEP_INTUNE_AWAY)
        wait = rl_backoff(i->attempts++, BACKOFF_BASE_MS, i->settings->sync.retry_max, a->retry_after_ms);
    else
        i->attempts = 0;
    if (i->first && !i->telling && !i->stopping)
        uv_timer_start(&i->timer, on_timer, (uint64_t)wait, 0);
}

static void end(ask *a)
{
    scep_intune *i = a->owner;
    bool entry = a->name[0] != 0;
    rl_metric_add(i->answers[entry][a->verdict], 1);
    if (entry && a->verdict == SCEP_INTUNE_AWAY) {
        log_client_warn("scep.intune_away", "action", a->action, "error", a->why);
        if (!i->stopping && !a->again)
            push_later(i, a->name);
    }
    if (a->waits) {
        set_pace(i, a);
        pthread_mutex_lock(&i->lock);
        a->ended = true;
        pthread_cond_broadcast(&i->ended);
        pthread_mutex_unlock(&i->lock);
        return;
    }
    i->telling = false;
    if (a->verdict != SCEP_INTUNE_AWAY && settle(i, a->name, a->verdict, a->why) != RL_OK) {
        a->verdict = SCEP_INTUNE_AWAY; /* to be told again: this database cannot say that it was */
        if (!i->stopping)
            push_later(i, a->name);
    }
    set_pace(i, a);
    rl_buf_free(&a->body);
    free(a);
}

static void on_answer(const rl_http_response *r, void *arg)
{
    ask *a = arg;
    a->retry_after_ms = r->retry_after_ms;
    if (r->err == RL_OK) {
        a->verdict = scep_intune_read(r->status, r->body, a->why);
    } else {
        a->verdict = SCEP_INTUNE_AWAY;
        snprintf(a->why, sizeof(a->why), "Intune cannot be asked: %.200s", r->message);
    }
    end(a);
}

static void begin(ask *a)
{
    rl_error e = {0};
    a->retry_after_ms = -1;
    if (rl_intune_ask(a->owner->intune, RL_INTUNE_SCEP_VALIDATION, a->action, rl_buf_span(&a->body), on_answer, a,
                      &e) == RL_OK)
        return;
    a->verdict = SCEP_INTUNE_AWAY;
    snprintf(a->why, sizeof(a->why), "Intune cannot be asked: %.200s", e.message);
    end(a);
}

/* Fills what to say. RL_ENOTFOUND: the entry is no longer there to be told. */
static rl_err load(scep_intune *i, ask *a, const char *name)
{
    scep_intune_entry entry = {.at = 0};
    rl_buf value = {0};
    rl_err err = rl_store_queued(i->store, name, &value);
    if (err == RL_OK)
        err = scep_intune_entry_read(rl_buf_span(&value), &entry);
    rl_buf_free(&value);
    if (err == RL_OK && entry.at < rl_wall_s() - FORGET_AFTER) {
        const char *why = "Intune could not be told for a week";
        log_warn("scep.intune_forgotten", "action", entry.action, "reason", why);
        err = settle(i, name, SCEP_INTUNE_AWAY, why);
        err = err == RL_OK ? RL_ENOTFOUND : err;
    }
    if (err != RL_OK) {
        rl_buf_free(&entry.body);
        return err;
    }
    a->owner = i;
    a->action = entry.action;
    a->body = entry.body;
    snprintf(a->name, sizeof(a->name), "%s", name);
    return RL_OK;
}

static void tell_next(scep_intune *i)
{
    while (i->first && !i->telling && !i->stopping) {
        later *l = i->first;
        ask *a = calloc(1, sizeof(*a));
        if (!a)
            return;
        i->first = l->next;
        i->last = i->first ? i->last : &i->first;
        i->waiting--;
        i->telling = load(i, a, l->name) == RL_OK;
        free(l);
        if (i->telling)
            begin(a);
        else
            free(a);
    }
}

static void on_closed(void *arg)
{
    (void)arg;
}

static void on_wake(uv_async_t *wake)
{
    scep_intune *i = wake->data;
    pthread_mutex_lock(&i->lock);
    ask *asks = i->asks;
    bool closing = i->closing;
    i->asks = NULL;
    pthread_mutex_unlock(&i->lock);
    i->stopping |= closing;
    while (asks) {
        ask *a = asks;
        asks = a->next;
        if (a->waits || !a->name[0]) {
            begin(a);
        } else { /* to be told some time */
            push_later(i, a->name);
            free(a);
        }
    }
    if (closing && !uv_is_closing((uv_handle_t *)&i->timer)) {
        uv_close((uv_handle_t *)&i->timer, NULL);
        uv_close((uv_handle_t *)&i->wake, NULL);
        rl_http_client_close(i->client, on_closed, NULL); /* ends every question */
    } else if (!closing) {
        tell_next(i);
    }
}

static void *run(void *arg)
{
    scep_intune *i = arg;
    pthread_setname_np(pthread_self(), "scep-intune");
    tell_next(i);
    uv_run(&i->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- opening and closing ---- */
static bool take_queued(const char *name, rl_span value, void *ctx)
{
    if (strncmp(name, RL_CHALLENGE_PREFIX, strlen(RL_CHALLENGE_PREFIX)) != 0) {
        scep_intune_queued(ctx, name, value.n);
        push_later(ctx, name);
    }
    return true;
}

static void register_metrics(scep_intune *i)
{
    static const char *const actions[] = {"validate", "notify"}, *const verdicts[] = {"yes", "no", "away"};
    char labels[96];
    for (unsigned a = 0; a < 2; a++)
        for (unsigned v = 0; v < 3; v++) {
            snprintf(labels, sizeof(labels), "action=\"%s\",verdict=\"%s\"", actions[a], verdicts[v]);
            i->answers[a][v] = rl_counter("revline_scep_intune_answers_total", labels,
                                          "What Intune said of SCEP requests, and to notifications of their end.");
        }
    rl_gauge_fn("revline_scep_intune_queue", "", "What waits to be told to Intune, in pieces of 4 KiB.", pieces_queued,
                i);
}

rl_err scep_intune_open(rl_store *store, const rl_settings *s, scep_intune **out, rl_error *e)
{
    scep_intune *i = calloc(1, sizeof(*i));
    if (!i || uv_loop_init(&i->loop) != 0) {
        free(i);
        return rl_fail(e, RL_ENOMEM, "intune", "out of memory");
    }
    i->store = store;
    i->settings = s;
    i->last = &i->first;
    pthread_mutex_init(&i->lock, NULL);
    pthread_cond_init(&i->ended, NULL);
    uv_async_init(&i->loop, &i->wake, on_wake);
    uv_timer_init(&i->loop, &i->timer);
    i->wake.data = i->timer.data = i;
    rl_err err = rl_http_client_new(&i->loop, &i->client, e);
    if (err == RL_OK && (err = rl_intune_new(i->client, s, &i->intune, e)) != RL_OK)
        rl_http_client_close(i->client, on_closed, NULL);
    if (err == RL_OK)
        err = rl_store_each_queued(store, take_queued, i);
    if (err == RL_OK)
        register_metrics(i);
    if (err == RL_OK && pthread_create(&i->thread, NULL, run, i) == 0) {
        *out = i;
        return RL_OK;
    }
    rl_gauge_fn_drop(i);
    uv_close((uv_handle_t *)&i->wake, NULL);
    uv_close((uv_handle_t *)&i->timer, NULL);
    if (i->intune)
        rl_http_client_close(i->client, on_closed, NULL);
    uv_run(&i->loop, UV_RUN_DEFAULT);
    uv_loop_close(&i->loop);
    rl_intune_free(i->intune);
    free(i);
    return err != RL_OK ? err : rl_fail(e, RL_EIO, "intune", "its thread cannot be started");
}

void scep_intune_close(scep_intune *i)
{
    if (!i)
        return;
    rl_gauge_fn_drop(i);
    pthread_mutex_lock(&i->lock);
    i->closing = true;
    uv_async_send(&i->wake);
    pthread_mutex_unlock(&i->lock);
    pthread_join(i->thread, NULL);
    uv_loop_close(&i->loop);
    rl_intune_free(i->intune);
    for (later *l = i->first, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    pthread_mutex_destroy(&i->lock);
    pthread_cond_destroy(&i->ended);
    free(i);
}

/* ---- the pool's threads ---- */
/* Hands `a` to the loop; false when that is closing. */
static bool hand_over(scep_intune *i, ask *a)
{
    pthread_mutex_lock(&i->lock);
    bool open = !i->closing;
    if (open) {
        a->next = i->asks;
        i->asks = a;
        uv_async_send(&i->wake);
    }
    while (open && a->waits && !a->ended)
        pthread_cond_wait(&i->ended, &i->lock);
    pthread_mutex_unlock(&i->lock);
    return open;
}

static scep_intune_verdict ask_and_wait(scep_intune *i, ask *a, char why[SCEP_INTUNE_WHY])
{
    a->owner = i;
    a->waits = true;
    if (!hand_over(i, a)) {
        a->verdict = SCEP_INTUNE_AWAY;
        snprintf(a->why, sizeof(a->why), "the server is stopping");
    }
    rl_buf_free(&a->body);
    memcpy(why, a->why, SCEP_INTUNE_WHY);
    return a->verdict;
}

scep_intune_verdict scep_intune_validate(scep_intune *i, const char *transaction, rl_span csr,
                                         char why[SCEP_INTUNE_WHY])
{
    ask a = {.action = "ScepActions/validateRequest"};
    if (scep_intune_request(transaction, csr, &a.body) == RL_OK)
        return ask_and_wait(i, &a, why);
    snprintf(why, SCEP_INTUNE_WHY, "out of memory");
    return SCEP_INTUNE_AWAY;
}

void scep_intune_tell_later(scep_intune *i, const char *name)
{
    ask *a = calloc(1, sizeof(*a));
    if (a)
        snprintf(a->name, sizeof(a->name), "%s", name);
    if (a && !hand_over(i, a))
        free(a); /* it is in the queue, and told after the next start */
}

scep_intune_verdict scep_intune_tell(scep_intune *i, const char *name, bool again, char why[SCEP_INTUNE_WHY])
{
    ask a = {.again = again};
    rl_err err = load(i, &a, name);
    snprintf(why, SCEP_INTUNE_WHY, "%s", err == RL_OK || err == RL_ENOTFOUND ? "" : "the queue cannot be read");
    if (err != RL_OK)
        return err == RL_ENOTFOUND ? SCEP_INTUNE_YES : SCEP_INTUNE_AWAY; /* told already; who knows */
    scep_intune_verdict verdict = ask_and_wait(i, &a, why);
    if (verdict != SCEP_INTUNE_AWAY && settle(i, name, verdict, why) != RL_OK) {
        verdict = SCEP_INTUNE_AWAY;
        scep_intune_tell_later(i, name);
    }
    return verdict;
}
