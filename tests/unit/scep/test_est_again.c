/* EST's requests that come again: for a while they get the certificate that there is. */
#include "scep/est_priv.h"
#include "server.h"

enum { AGAIN_FOR = 600 };

typedef struct wish {
    const char *cn, *caller, *path, *once; /* NULL: the usual; `once`: a one-time challenge's entry */
    EVP_PKEY *key;
    rl_cert_id renews;
    rl_err refused; /* RL_OK: it is not */
} wish;

static X509_REQ *request_of(const wish *w)
{
    EVP_PKEY *key = w->key ? w->key : client.key;
    X509_REQ *csr = X509_REQ_new();
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_UTF8,
                               (const unsigned char *)(w->cn ? w->cn : "est-1"), -1, -1, 0);
    X509_REQ_set_pubkey(csr, key);
    assert_true(X509_REQ_sign(csr, key, EVP_sha256()) > 0);
    return csr;
}

/* As est.c does it. */
static rl_issued enrolled(const server *s, wish w)
{
    rl_est est = {.scep = s->scep};
    est_job job = {.est = &est,
                   .profile = profile_at(s, w.path ? w.path : "/static"),
                   .operation = EST_ENROLL,
                   .renews = w.renews};
    char transaction[EST_TRANSACTION_SIZE];
    rl_error e = {0};
    rl_issued issued;
    X509_REQ *csr = request_of(&w);
    snprintf(job.caller.id, sizeof(job.caller.id), "%s", w.caller ? w.caller : "");
    snprintf(job.once.name, sizeof(job.once.name), "%s", w.once ? w.once : "");
    rl_err err = est_transaction(&job, csr, transaction);
    const rl_issue_request request = {.profile = job.profile->id,
                                      .csr = csr,
                                      .requester = "est",
                                      .transaction = transaction[0] ? transaction : NULL,
                                      .also = w.once ? rl_challenge_spend : NULL,
                                      .also_ctx = &job.once};
    issued = (rl_issued){0};
    if (err == RL_OK)
        err = rl_ca_issue(s->ca, &request, &issued, &e);
    assert_int_equal(err, w.refused);
    X509_REQ_free(csr);
    return issued;
}

static rl_cert_id new_one(const server *s, wish w)
{
    rl_issued issued = enrolled(s, w);
    rl_cert_id id = issued.id;
    assert_false(issued.repeated);
    rl_issued_clear(&issued);
    return id;
}

static void the_same(const server *s, wish w, const rl_cert_id *first)
{
    rl_issued issued = enrolled(s, w);
    assert_true(issued.repeated);
    assert_int_equal(issued.id.serial_n, first->serial_n);
    assert_memory_equal(issued.id.serial, first->serial, first->serial_n);
    rl_issued_clear(&issued);
}

static void test_the_same_wish_within_ten_minutes_also_over_a_restart(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    for (int at = 0; at < AGAIN_FOR; at += 77) { /* wherever in its period it begins */
        set_clock(at * 1000 + at);
        rl_cert_id first = new_one(&s, (wish){0});
        the_same(&s, (wish){0}, &first);
        set_clock(at * 1000 + at + AGAIN_FOR - 2);
        the_same(&s, (wish){0}, &first);
        set_clock(at * 1000 + at + AGAIN_FOR + 2);
        rl_cert_id next = new_one(&s, (wish){0});
        the_same(&s, (wish){0}, &next);
        reopen(&s);
        the_same(&s, (wish){0}, &next);
    }
    set_clock(0);
    stop(&s);
}

static void test_another_wish_gets_its_own(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", NULL);
    rl_cert_id first = new_one(&s, (wish){0});
    new_one(&s, (wish){.cn = "est-2"});
    new_one(&s, (wish){.key = other.key});
    new_one(&s, (wish){.caller = "6e7b768e-07e2-4810-8459-485f84f8f204"});
    new_one(&s, (wish){.path = "/static/aad", .cn = DEVICE});
    new_one(&s, (wish){.cn = DEVICE});
    rl_cert_id second = new_one(&s, (wish){.renews = first});
    the_same(&s, (wish){.renews = first}, &second);
    new_one(&s, (wish){.renews = second});
    the_same(&s, (wish){0}, &first);
    stop(&s);
}

static void test_only_a_certificate_to_work_with(void **state)
{
    (void)state;
    server s;
    start(&s, "rsa2048", "REVLINE_STATIC_VALIDITY=6m");
    rl_cert_id first = new_one(&s, (wish){0});
    set_clock(170);
    the_same(&s, (wish){0}, &first);
    set_clock(190); /* less than half of its life is left */
    new_one(&s, (wish){0});
    rl_cert_id held = new_one(&s, (wish){.cn = "held"});
    revoke_id(&s, &held, RL_REASON_HOLD, false);
    the_same(&s, (wish){.cn = "held"}, &held);
    rl_cert_id revoked = new_one(&s, (wish){.cn = "revoked"});
    revoke_id(&s, &revoked, RL_REASON_SUPERSEDED, false);
    new_one(&s, (wish){.cn = "revoked"});
    rl_cert_id stolen = new_one(&s, (wish){.cn = "stolen"});
    revoke_id(&s, &stolen, RL_REASON_KEY_COMPROMISE, false);
    enrolled(&s, (wish){.cn = "stolen", .refused = RL_EINVAL});
    new_one(&s, (wish){.cn = "stolen", .key = other.key});
    set_clock(0);
    stop(&s);
}

static void test_a_one_time_challenge_is_its_certificates_for_as_long_as_it_holds(void **state)
{
    (void)state;
    server s;
    char word[RL_CHALLENGE_SIZE];
    int64_t expires;
    rl_error e = {0};
    start(&s, "rsa2048", NULL);
    assert_int_equal(rl_challenge_make(s.store, &s.settings, "static", NULL, NULL, DAY, word, &expires, &e), RL_OK);
    rl_challenge_use use;
    X509_REQ *csr = request_of(&(wish){0});
    rl_profile profile;
    assert_true(rl_profile_get(&s.settings, RL_PROFILE_STATIC, &profile));
    assert_true(rl_challenge_holds(s.store, &profile, word, csr, "t", &use));
    rl_cert_id first = new_one(&s, (wish){.once = use.name});
    set_clock(DAY / 2);
    the_same(&s, (wish){.once = use.name}, &first);
    revoke_id(&s, &first, RL_REASON_SUPERSEDED, false);
    rl_issued none = enrolled(&s, (wish){.once = use.name, .refused = RL_EDENIED});
    assert_null(none.der);
    set_clock(0);
    X509_REQ_free(csr);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_wish_within_ten_minutes_also_over_a_restart),
        cmocka_unit_test(test_another_wish_gets_its_own),
        cmocka_unit_test(test_only_a_certificate_to_work_with),
        cmocka_unit_test(test_a_one_time_challenge_is_its_certificates_for_as_long_as_it_holds),
    };
    return cmocka_run_group_tests(tests, make_clients, free_clients);
}
