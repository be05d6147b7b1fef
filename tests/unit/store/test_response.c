/* Signed answers in the store: none is older than the last change of its certificate's status. */
#include "fixture.h"

struct put {
    uint64_t n;
    const char *body;
    bool revoke_first; /* in the same group */
};

static rl_err apply_put(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct put *p = arg;
    const rl_cert_id id = cert_id(p->n);
    const rl_response_record r = {.maker = RL_SPAN_LIT("test"),
                                  .form = 3,
                                  .outcome = 1,
                                  .this_update = 1000,
                                  .next_update = 2000000000,
                                  .serve_until = 1900000000,
                                  .headers = RL_SPAN_LIT("ETag: \"1\"\r\n"),
                                  .body = rl_span_of(p->body, strlen(p->body))};
    if (p->revoke_first) {
        rl_err err = rl_txn_revoke(t, &id, RL_REASON_SUPERSEDED, 5000, "admin", e);
        if (err != RL_OK)
            return err;
    }
    return rl_txn_put_response(t, &id, &r);
}

static rl_err put_answer(rl_store *s, uint64_t n, const char *body)
{
    struct put p = {.n = n, .body = body};
    return rl_store_run(s, apply_put, &p, NULL);
}

static rl_err read_answer(rl_store *s, uint64_t n, rl_buf *memory, rl_response_record *r)
{
    const rl_cert_id id = cert_id(n);
    return rl_store_response(s, &id, memory, r);
}

static void assert_no_answer(rl_store *s, uint64_t n)
{
    rl_buf memory = {0};
    rl_response_record r;
    assert_int_equal(read_answer(s, n, &memory, &r), RL_ENOTFOUND);
    rl_buf_free(&memory);
}

static void the_newest_answer_comes_back_whole(void **state)
{
    struct fixture *f = *state;
    rl_buf memory = {0};
    rl_response_record r;
    add_cert(f->store, 1, NULL);
    assert_int_equal(put_answer(f->store, 1, "older"), RL_OK);
    assert_int_equal(put_answer(f->store, 1, "newer"), RL_OK);
    fixture_reopen(f);
    assert_int_equal(read_answer(f->store, 1, &memory, &r), RL_OK);
    assert_true(rl_span_eq(r.maker, RL_SPAN_LIT("test")));
    assert_true(rl_span_eq(r.headers, RL_SPAN_LIT("ETag: \"1\"\r\n")));
    assert_true(rl_span_eq(r.body, RL_SPAN_LIT("newer")));
    assert_int_equal(r.form, 3);
    assert_int_equal(r.outcome, 1);
    assert_int_equal(r.this_update, 1000);
    assert_int_equal(r.next_update, 2000000000);
    assert_int_equal(r.serve_until, 1900000000);
    rl_buf_free(&memory);
}

static void an_answer_without_a_certificate_is_not_kept(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_answer(f->store, 1, "unknown"), RL_ENOTFOUND);
    add_cert(f->store, 1, NULL);
    assert_no_answer(f->store, 1);
}

static void a_change_of_status_deletes_the_answer_at_once(void **state)
{
    struct fixture *f = *state;
    struct revoke hold = {.n = 1, .reason = RL_REASON_HOLD, .at = 5000};
    struct revoke undo = {.n = 1, .at = 6000, .undo = true};
    add_cert(f->store, 1, NULL);
    add_cert(f->store, 2, NULL);
    assert_int_equal(put_answer(f->store, 1, "good"), RL_OK);
    assert_int_equal(put_answer(f->store, 2, "good"), RL_OK);
    assert_int_equal(rl_store_run(f->store, apply_revoke, &hold, NULL), RL_OK);
    assert_no_answer(f->store, 1);
    assert_int_equal(put_answer(f->store, 1, "hold"), RL_OK);
    assert_int_equal(rl_store_run(f->store, apply_revoke, &undo, NULL), RL_OK);
    assert_no_answer(f->store, 1);
    fixture_reopen(f);
    assert_no_answer(f->store, 1);
    rl_buf memory = {0};
    rl_response_record r;
    assert_int_equal(read_answer(f->store, 2, &memory, &r), RL_OK);
    rl_buf_free(&memory);
}

static void an_answer_is_refused_when_its_group_has_changed_the_certificate(void **state)
{
    struct fixture *f = *state;
    struct put p = {.n = 1, .body = "good", .revoke_first = true};
    add_cert(f->store, 1, NULL);
    assert_int_equal(rl_store_run(f->store, apply_put, &p, NULL), RL_EBUSY);
    assert_no_answer(f->store, 1);
}

static bool count(const rl_cert_id *id, const rl_response_record *r, void *ctx)
{
    uint64_t *sum = ctx;
    assert_true(rl_span_eq(r->body, RL_SPAN_LIT("good")));
    *sum += cert_number(id);
    return *sum < 6;
}

static void answers_are_listed_until_told_to_stop(void **state)
{
    struct fixture *f = *state;
    uint64_t sum = 0;
    for (uint64_t n = 1; n <= 5; n++) {
        add_cert(f->store, n, NULL);
        assert_int_equal(put_answer(f->store, n, "good"), RL_OK);
    }
    assert_int_equal(rl_store_each_response(f->store, count, &sum), RL_OK);
    assert_int_equal(sum, 6);
}

static void a_record_that_lacks_a_field_is_corrupt(void **state)
{
    rl_response_record r = {.maker = RL_SPAN_LIT("a"), .headers = RL_SPAN_LIT("b"), .body = RL_SPAN_LIT("c")};
    rl_buf out = {0};
    (void)state;
    assert_int_equal(rl_response_encode(&r, &out), RL_OK);
    assert_int_equal(rl_response_decode(rl_buf_span(&out), &r), RL_OK);
    for (size_t n = 0; n < out.n; n++)
        assert_int_equal(rl_response_decode(rl_span_of(out.p, n), &r), RL_ECORRUPT);
    rl_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(the_newest_answer_comes_back_whole),
        WITH_STORE(an_answer_without_a_certificate_is_not_kept),
        WITH_STORE(a_change_of_status_deletes_the_answer_at_once),
        WITH_STORE(an_answer_is_refused_when_its_group_has_changed_the_certificate),
        WITH_STORE(answers_are_listed_until_told_to_stop),
        cmocka_unit_test(a_record_that_lacks_a_field_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
