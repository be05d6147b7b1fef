/* Looking up ahead: answers whose memory is on its way while the next requests are read.
 *
 * What a route's look-up noted waits in the worker until enough has come together, from one pipelining connection or
 * from many, or until the loop has seen its events. Then all of it is answered in order, before anything else is said
 * on these connections. An answer that has gone meanwhile is no loss: the octets of its request are still there and are
 * read again, with what follows, for the handler.
 *
 * The batch of output is empty whenever a request is noted, and whenever another connection's turn begins. */
#include "base/log.h"
#include "http/conn.h"

/* `x->in` keeps what is consumed, so it must not be a large one; and a chunked body cannot be read twice. With the
 * debug log each request has a line. */
static bool may_look(const rl_http_conn *c)
{
    const http_exchange *x = c->x;
    return x->route->lookup != NULL && x->head.keep_alive && x->req.http_minor == 1 && x->req.method != RL_HTTP_HEAD &&
           !c->worker->stopping && !c->worker->answering_ahead && x->in.cap <= HTTP_IN_KEEP &&
           x->in.framing != HTTP_BODY_CHUNKED && !rl_log_enabled(RL_LOG_DEBUG);
}

static void fetch(http_ahead *a)
{
    a->route->lookup->fetch(a->note, a->route->ctx);
}

bool http_ahead_look(rl_http_conn *c)
{
    http_worker *w = c->worker;
    const http_exchange *x = c->x;
    http_ahead *a = &w->ahead[w->ahead_n];
    bool again = c->again;
    c->again = false;
    if (again || !may_look(c) || !x->route->lookup->look(&c->x->req, a->note, x->route->ctx) || !http_flush(c))
        return false;
    a->conn = c;
    a->route = x->route;
    a->start = x->in.start;
    c->x->in.keep = true;
    if (w->ahead_n >= HTTP_AHEAD_LATER)
        fetch(&w->ahead[w->ahead_n - HTTP_AHEAD_LATER]);
    w->ahead_n++;
    c->ahead_n++;
    return true;
}

/* From the request of w->ahead[i] on. */
static void read_again(http_worker *w, size_t i)
{
    rl_http_conn *c = w->ahead[i].conn;
    http_in_rewind(&c->x->in, w->ahead[i].start);
    c->x->begun = false;
    c->again = true;
    c->ahead_n = 0;
    for (size_t k = i + 1; k < w->ahead_n; k++)
        if (w->ahead[k].conn == c)
            w->ahead[k].conn = NULL;
}

static void answer_one(http_worker *w, size_t i)
{
    const http_ahead *a = &w->ahead[i];
    rl_http_conn *c = a->conn;
    rl_http_shared found;
    if (c == NULL)
        return;
    if (c->gone) {
        c->ahead_n--;
        return;
    }
    if (a->route->lookup->find(a->note, &found, a->route->ctx)) {
        c->ahead_n--;
        http_reply_found(c, &found);
    } else {
        read_again(w, i);
    }
    if (c->ahead_n > 0)
        return;
    http_in_release(&c->x->in);
    if (!http_flush(c) || c == w->running)
        return;
    if (c->again)
        http_conn_run(c);
    else
        http_conn_settle(c);
}

void http_ahead_answer(http_worker *w)
{
    if (w->answering_ahead)
        return;
    w->answering_ahead = true;
    for (size_t i = w->ahead_n < HTTP_AHEAD_LATER ? 0 : w->ahead_n - HTTP_AHEAD_LATER; i < w->ahead_n; i++)
        fetch(&w->ahead[i]);
    for (size_t i = 0; i < w->ahead_n; i++)
        answer_one(w, i);
    w->ahead_n = 0;
    w->answering_ahead = false;
}
