/* Who hears of changes: a few subscriptions, each called by the committer with the events of one group, after the
 * write and before its acknowledgement. The list is under the store's lock, which is not held while one is called. */
#include "store/store_priv.h"

rl_err rl_store_subscribe(rl_store *s, rl_store_subscriber fn, void *ctx)
{
    pthread_mutex_lock(&s->lock);
    bool room = s->subscribers < RL_SUBSCRIBERS_MAX;
    if (room)
        s->subscriptions[s->subscribers++] = (struct rl_subscription){fn, ctx};
    pthread_mutex_unlock(&s->lock);
    return room ? RL_OK : RL_ERANGE;
}

static rl_err nothing(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)t, (void)arg, (void)e;
    return RL_OK;
}

void rl_store_unsubscribe(rl_store *s, rl_store_subscriber fn, void *ctx)
{
    size_t at = 0;
    pthread_mutex_lock(&s->lock);
    while (at < s->subscribers && (s->subscriptions[at].fn != fn || s->subscriptions[at].ctx != ctx))
        at++;
    bool found = at < s->subscribers;
    for (; at + 1 < s->subscribers; at++)
        s->subscriptions[at] = s->subscriptions[at + 1];
    s->subscribers -= found;
    pthread_mutex_unlock(&s->lock);
    /* The committer may be inside it: a transaction that came after it was taken away, and is done, says that it is
     * not. */
    if (found)
        (void)rl_store_run(s, nothing, NULL, NULL);
}

void rl_store_hearers(rl_store *s, struct rl_hearers *out)
{
    pthread_mutex_lock(&s->lock);
    out->n = s->subscribers;
    memcpy(out->subscriptions, s->subscriptions, out->n * sizeof(out->subscriptions[0]));
    pthread_mutex_unlock(&s->lock);
}

void rl_store_tell(rl_store *s, const struct rl_hearers *to, const rl_store_event *events, size_t n)
{
    if (n > 0) /* first: who is told asks again */
        rl_statuses_forget(s->statuses, events, n);
    for (size_t i = 0; n > 0 && i < to->n; i++)
        to->subscriptions[i].fn(events, n, to->subscriptions[i].ctx);
}
