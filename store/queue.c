/* What has to be told to somebody else, kept until it was: `queue`, name → what to say. */
#include "store/txn_priv.h"

rl_err rl_txn_queue_put(rl_store_txn *t, const char *name, rl_span value)
{
    rl_key k;
    if (value.n == 0 || value.n > RL_QUEUE_VALUE_MAX)
        return RL_ERANGE;
    RL_TRY(rl_key_cursor(name, &k));
    put(t, CF_QUEUE, &k, value.p, value.n);
    return RL_OK;
}

static rl_err append(rl_span in, rl_buf *out)
{
    return rl_buf_append(out, in.p, in.n);
}

rl_err rl_txn_queued(rl_store_txn *t, const char *name, rl_buf *out)
{
    rl_key k;
    GET_INTO(CF_QUEUE, rl_key_cursor(name, &k), append, out);
}

rl_err rl_txn_queue_delete(rl_store_txn *t, const char *name)
{
    rl_key k;
    RL_TRY(rl_key_cursor(name, &k));
    delete (t, CF_QUEUE, &k);
    return RL_OK;
}
