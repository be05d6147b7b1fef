/* What the tests of requests share: keys, a CA for each test, and that a refused request leaves nothing behind. */
#ifndef TESTS_CA_REQUESTS_H
#define TESTS_CA_REQUESTS_H

#include "fixture.h"

/* Of the requesters; made once, since making is slow. */
static EVP_PKEY *rsa, *ec;

static int make_keys(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    return rsa && ec ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return 0;
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(fixture));
    fixture_open(*state, RL_KEY_EC_P384);
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

static inline void assert_refused_csr(fixture *f, rl_profile_id profile, X509_REQ *csr, rl_err expected,
                                      const char *message)
{
    rl_issued issued;
    rl_store_figures before, after;
    rl_issue_request r = {.profile = profile, .csr = csr, .requester = "admin", .transaction = "t"};
    rl_cert_id id;
    rl_store_figures_read(f->store, &before);
    rl_err err = rl_ca_issue(f->ca, &r, &issued, &f->e);
    if (err != expected || !strstr(f->e.message, message))
        fail_msg("%s '%s' where %s '%s' was expected", rl_err_name(err), f->e.message, rl_err_name(expected), message);
    assert_null(issued.der);
    rl_store_figures_read(f->store, &after);
    assert_int_equal(before.commits, after.commits);
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_TRANSACTION, "t", &id), RL_ENOTFOUND);
    X509_REQ_free(csr);
}

#endif
