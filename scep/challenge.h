/* One-time challenges: an MDM fetches one for each request that it has a device make.
 *
 * The store keeps no challenge, only its SHA-256 together with the profile's name: for what it was made, until when it
 * holds, and which transaction has used it. Using it is a part of the transaction that stores the certificate, so it is
 * used once whatever happens in between. */
#ifndef RL_SCEP_CHALLENGE_H
#define RL_SCEP_CHALLENGE_H

#include "ca/ca.h"

enum {
    RL_CHALLENGE_SIZE = 2 * 20 + 1, /* hexadecimal digits and NUL; 160 bits at random */
    RL_CHALLENGE_LIFE_MIN = 60,     /* seconds */
    RL_CHALLENGE_LIFE_MAX = 30 * 24 * 3600,
};
#define RL_CHALLENGE_PREFIX "challenge-" /* of their names in the store's queue */

/* A new one for an enrollment profile, `life` seconds long. `subject`: the request's subject must be this name,
 * for rl_name_parse ("CN=laptop-1"); NULL is any. `names`: the alternative names that the request may have
 * ("DNS:laptop-1.example.test, UPN:ada@example.test"; email, URI, IP); NULL is none but the subject's common name, or
 * any when `subject` is NULL, too. Blocks for the store. RL_EINVAL: no such profile, one that is off, or no name;
 * RL_ERANGE. */
rl_err rl_challenge_make(rl_store *store, const rl_settings *s, const char *profile, const char *subject,
                         const char *names, int64_t life, char out[RL_CHALLENGE_SIZE], int64_t *expires, rl_error *e);

/* ---- for the module's own files ---- */
typedef struct rl_challenge_use {
    char name[sizeof(RL_CHALLENGE_PREFIX) + 64]; /* in the queue */
    char transaction[RL_OBJECT_ID_MAX + 1];      /* that uses it; "" = none to come back to */
} rl_challenge_use;
/* Whether `given` is a one-time challenge of the profile for the names of this request, not used yet or by this
 * transaction. Then `use` is for rl_challenge_spend. */
bool rl_challenge_holds(rl_store *store, const rl_profile *profile, const char *given, X509_REQ *csr,
                        const char *transaction, rl_challenge_use *use);
/* For rl_issue_request.also, with an rl_challenge_use. RL_EDENIED: another has been faster. */
rl_err rl_challenge_spend(rl_store_txn *t, const rl_cert_id *id, rl_span der, void *use);

#endif
