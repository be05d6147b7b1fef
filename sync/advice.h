/* What to do about a failing source, in plain words. Pure. */
#ifndef RL_SYNC_ADVICE_H
#define RL_SYNC_ADVICE_H

#include "http/client.h"

typedef enum {
    RL_FAILED_HERE,    /* before anything was asked, or in our database: what happened says what to do */
    RL_FAILED_CALL,    /* no answer: `call` */
    RL_FAILED_LOGIN,   /* no token: refused, or by `call` not to be asked for */
    RL_FAILED_WAITING, /* no token: the login service is busy, or being updated */
    RL_FAILED_STATUS,  /* answered with `status` */
    RL_FAILED_CONTENT, /* a good status, but nothing that may be believed */
} rl_failure_kind;

typedef enum { RL_UPSTREAM_ANY, RL_UPSTREAM_GRAPH, RL_UPSTREAM_INTUNE, RL_UPSTREAM_JAMF, RL_UPSTREAM_CRL } rl_upstream;

typedef struct rl_failure {
    rl_failure_kind kind;
    rl_http_failure call;
    long status;
    rl_upstream upstream;
    const char *permission; /* that the source needs there, as the upstream calls it; NULL: none, or not known */
    const char *own;        /* advice, where the source knows more than the kind of failure says; NULL: by the table */
} rl_failure;

enum { RL_ADVICE_MAX = 320 };
/* Always something, at most RL_ADVICE_MAX - 1 octets. */
void rl_advice(const rl_failure *f, char out[RL_ADVICE_MAX]);

#endif
