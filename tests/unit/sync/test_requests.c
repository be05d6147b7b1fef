/* Intune's requests to revoke: what is read, what is written, and that each is carried out once and answered the same
 * however often it comes. */
#include "sync/requests_apply.h"

#include "base/json.h"
#include "tests/unit/sync/fixture.h"

enum { NOW = 1700000000, LATER = NOW + 31 * 24 * 3600 };

static rl_revocation_requests read_requests(const char *items)
{
    rl_revocation_requests r;
    rl_error e = {0};
    rl_buf text = {0};
    rl_buf_printf(&text, "{\"@odata.context\":\"x\",\"value\":[%s]}", items);
    if (rl_requests_parse(rl_buf_span(&text), 1 << 20, &r, &e) != RL_OK)
        fail_msg("%s", e.message);
    rl_buf_free(&text);
    return r;
}

/* ---- on the wire ---- */
static void test_requests_as_intune_sends_them(void **state)
{
    (void)state;
    rl_revocation_requests r =
        read_requests("{\"requestContext\":\"opaque-ctx-1\",\"serialNumber\":\"4A00000012AB\",\"issuerName\":"
                      "\"CN=Contoso Device CA\",\"caConfiguration\":\"ca01\"},"
                      "{\"requestContext\":\"2\",\"serialNumber\":\"no number\",\"issuerName\":null},"
                      "{\"requestContext\":\"3\"},{\"serialNumber\":\"1\"},{\"requestContext\":\"\"},7,null");
    assert_int_equal(r.n, 3);
    assert_int_equal(r.nameless, 4);
    assert_string_equal(r.items[0].context, "opaque-ctx-1");
    assert_string_equal(r.items[0].issuer, "CN=Contoso Device CA");
    assert_int_equal(r.items[0].serial.n, 6);
    assert_null(r.items[1].issuer);
    assert_int_equal(r.items[1].serial.n, 0);
    assert_int_equal(r.items[2].serial.n, 0);
    rl_requests_free(&r);
    r = read_requests("");
    assert_int_equal(r.n, 0);
    rl_requests_free(&r);
}

static void test_what_is_no_list_of_requests(void **state)
{
    static const char *const texts[] = {"", "<html>", "[]", "{}", "{\"value\":null}", "{\"value\":{}}", "true"};
    rl_buf many = {0};
    rl_revocation_requests r;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(rl_requests_parse(rl_span_str(texts[i]), 1 << 20, &r, NULL), RL_EBADMSG);
    rl_buf_printf(&many, "{\"value\":[7");
    for (int i = 0; i < RL_REQUESTS_MAX; i++)
        rl_buf_printf(&many, ",7");
    rl_buf_printf(&many, "]}");
    assert_int_equal(rl_requests_parse(rl_buf_span(&many), 1 << 20, &r, NULL), RL_ERANGE);
    rl_buf_free(&many);
}

static void test_bodies(void **state)
{
    const char *const contexts[] = {"a\"b", "c"};
    const rl_request_result results[] = {RL_RESULT_REVOKED, RL_RESULT_NOT_FOUND};
    rl_buf body = {0};
    (void)state;
    assert_int_equal(rl_requests_put_upload(contexts, results, 2, &body), RL_OK);
    rl_buf_append(&body, "", 1);
    assert_string_equal((char *)body.p,
                        "{\"results\":[{\"requestContext\":\"a\\\"b\",\"succeeded\":true,\"errorCode\":\"None\","
                        "\"errorMessage\":null},{\"requestContext\":\"c\",\"succeeded\":false,\"errorCode\":"
                        "\"CertificateNotFoundError\",\"errorMessage\":\"no certificate of this CA has the serial "
                        "number\"}]}");
    rl_buf_reset(&body);
    assert_int_equal(rl_requests_put_download(&body), RL_OK);
    rl_buf_append(&body, "", 1);
    assert_string_equal((char *)body.p, "{\"downloadParameters\":{\"maxRequests\":500,\"issuerName\":null}}");
    rl_buf_free(&body);
}

static void test_only_true_is_recorded(void **state)
{
    static const char *const others[] = {
        "{\"value\":false}", "{\"value\":\"true\"}", "{\"value\":1}", "{}", "", "true", "<html>"};
    (void)state;
    assert_true(rl_requests_recorded(RL_SPAN_LIT("{\"@odata.context\":\"x\",\"value\":true}")));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(rl_requests_recorded(rl_span_str(others[i])));
}

static void test_results_by_name(void **state)
{
    rl_request_result r;
    (void)state;
    for (unsigned i = 0; i < RL_RESULTS; i++) {
        assert_int_equal(rl_request_result_parse(rl_request_result_name((rl_request_result)i), &r), RL_OK);
        assert_int_equal(r, i);
    }
    assert_int_equal(rl_request_result_parse("another", &r), RL_EBADMSG);
    assert_int_equal(rl_request_result_parse(NULL, &r), RL_EBADMSG);
}

/* ---- in a store ---- */
struct world {
    folder_store f;
    X509_NAME *subject;
    EVP_PKEY *key;
    rl_requests_job job;
};

static rl_err add_issuer(rl_store_txn *t, void *arg, rl_error *e)
{
    static char ours[] = "file:ca-1.key";
    const struct world *w = arg;
    X509 *cert = X509_new();
    rl_issuer_record r = {.key_ref = ours};
    X509_set_subject_name(cert, w->subject);
    X509_set_issuer_name(cert, w->subject);
    X509_set_pubkey(cert, w->key);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 60);
    assert_true(X509_sign(cert, w->key, EVP_sha256()) > 0);
    assert_int_equal(rl_x509_to_der(cert, &r.cert, &r.cert_n, e), RL_OK);
    rl_err err = rl_txn_put_issuer(t, 1, &r);
    free(r.cert);
    X509_free(cert);
    return err;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    folder_store_open(&w->f);
    assert_int_equal(rl_name_parse("CN=Our Root\\, really,O=Example", &w->subject, NULL), RL_OK);
    w->key = EVP_EC_gen("P-256");
    assert_int_equal(rl_store_run(w->f.store, add_issuer, w, NULL), RL_OK);
    w->job = (rl_requests_job){
        .source = "revocation-requests", .origin = "sync:revocation-requests", .tenant = "t", .now = NOW};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rl_requests_job_clear(&w->job);
    X509_NAME_free(w->subject);
    EVP_PKEY_free(w->key);
    folder_store_remove(&w->f);
    free(w);
    return 0;
}

static void apply(struct world *w, const char *items)
{
    rl_revocation_requests r = read_requests(items);
    w->job.requests = &r;
    assert_int_equal(rl_store_run(w->f.store, rl_requests_apply, &w->job, NULL), RL_OK);
    rl_requests_free(&r);
}

static size_t collect(struct world *w)
{
    assert_int_equal(rl_store_run(w->f.store, rl_requests_collect, &w->job, NULL), RL_OK);
    return w->job.n;
}

/* The result that waits for this context. */
static rl_request_result waiting(struct world *w, const char *context)
{
    for (size_t i = 0; i < collect(w); i++)
        if (strcmp(w->job.contexts[i], context) == 0)
            return w->job.results[i];
    fail_msg("%s has no result", context);
    return RL_RESULTS;
}

static void record(struct world *w)
{
    assert_true(collect(w) > 0);
    assert_int_equal(rl_store_run(w->f.store, rl_requests_set_recorded, &w->job, NULL), RL_OK);
}

#define REQUEST(context, serial)                                                                                       \
    "{\"requestContext\":\"" context "\",\"serialNumber\":\"" serial "\",\"issuerName\":null}"

static void test_revoked_and_answered_in_one_transaction(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "pc");
    issue_for_device(w->f.store, 2, "pc");
    apply(w, REQUEST("a", "01") "," REQUEST("b", "09") "," REQUEST("c", "x") "," REQUEST("a", "01"));
    assert_int_equal(w->job.changed, 1);
    assert_int_equal(w->job.fresh, 3);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "good");
    assert_int_equal(collect(w), 3);
    assert_int_equal(waiting(w, "a"), RL_RESULT_REVOKED);
    assert_int_equal(waiting(w, "b"), RL_RESULT_NOT_FOUND);
    assert_int_equal(waiting(w, "c"), RL_RESULT_BAD_NUMBER);
}

static void test_a_request_has_one_result_for_as_long_as_it_is_remembered(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "pc");
    apply(w, REQUEST("a", "01") "," REQUEST("b", "02"));
    issue_for_device(w->f.store, 2, "pc");
    uint64_t delta = last_delta(w->f.store);
    record(w);
    assert_int_equal(collect(w), 0);
    apply(w, REQUEST("a", "01") "," REQUEST("b", "02"));
    assert_int_equal(w->job.fresh, 0);
    assert_int_equal(waiting(w, "a"), RL_RESULT_REVOKED);
    assert_int_equal(waiting(w, "b"), RL_RESULT_NOT_FOUND);
    assert_int_equal(last_delta(w->f.store), delta);
    record(w);
    w->job.now = LATER;
    assert_int_equal(collect(w), 0); /* forgets them */
    apply(w, REQUEST("a", "01"));
    assert_int_equal(waiting(w, "a"), RL_RESULT_CONFLICT);
}

static void test_what_was_not_recorded_is_not_forgotten(void **state)
{
    struct world *w = *state;
    apply(w, REQUEST("a", "01"));
    w->job.now = LATER;
    assert_int_equal(collect(w), 1);
    folder_store_close(&w->f);
    folder_store_open(&w->f);
    assert_int_equal(collect(w), 1);
}

static void test_issuers_names(void **state)
{
    static const struct {
        const char *name;
        bool ours;
    } rows[] = {{"CN=Our Root\\\\, really,O=Example", true},
                {"O=example , cn=our root\\\\, REALLY", true},
                {"CN=Our Root\\\\, really", false},
                {"CN=Our Root\\\\, really,O=Example,C=DE", false},
                {"CN=Contoso Device CA", false},
                {"\\\\", false}};
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "pc");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"requestContext\":\"r%zu\",\"serialNumber\":\"05\",\"issuerName\":\"%s\"}", i,
                 rows[i].name);
        apply(w, text);
        if (w->job.fresh != rows[i].ours || w->job.skipped == rows[i].ours)
            fail_msg("%s", rows[i].name);
    }
    /* A short number of another CA is not one of ours, though we have it. */
    apply(w, "{\"requestContext\":\"x\",\"serialNumber\":\"01\",\"issuerName\":\"CN=Contoso Device CA\"}");
    assert_int_equal(w->job.skipped, 1);
    assert_status(w->f.store, 1, "good");
}

static void test_results_go_up_in_pieces(void **state)
{
    struct world *w = *state;
    rl_buf items = {0};
    size_t uploaded = 0;
    for (int i = 0; i < 250; i++)
        rl_buf_printf(&items, "%s{\"requestContext\":\"r%d\",\"serialNumber\":\"9\"}", i ? "," : "", i);
    rl_buf_append(&items, "", 1);
    apply(w, (char *)items.p);
    rl_buf_free(&items);
    while (collect(w) > 0) {
        uploaded += w->job.n;
        assert_true(w->job.n <= RL_RESULTS_AT_ONCE);
        assert_int_equal(rl_store_run(w->f.store, rl_requests_set_recorded, &w->job, NULL), RL_OK);
    }
    assert_int_equal(uploaded, 250);
}

/* ---- what waits for an admin ---- */
static rl_err hold(rl_store_txn *t, void *arg, rl_error *e)
{
    rl_cert_id id = cert_id(1);
    rl_cert_record cert;
    (void)arg, (void)e;
    RL_TRY(rl_txn_cert(t, &id, &cert));
    rl_err err = rl_txn_new_change(t, "entra-device", NOW, &cert.held.change);
    cert.held.why = RL_WHY_DELETED;
    if (err == RL_OK)
        err = rl_txn_update_cert(t, &id, &cert, "x");
    rl_cert_clear(&cert);
    return err;
}

static bool count_change(uint64_t id, const rl_change_record *r, void *n)
{
    (void)id, (void)r;
    ++*(size_t *)n;
    return true;
}

static size_t changes(struct world *w)
{
    size_t n = 0;
    assert_int_equal(rl_store_each_change(w->f.store, count_change, &n), RL_OK);
    return n;
}

static void test_a_certificate_that_waits_does_so_no_longer(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "pc");
    assert_int_equal(rl_store_run(w->f.store, hold, NULL, NULL), RL_OK);
    assert_int_equal(changes(w), 1);
    apply(w, REQUEST("a", "01"));
    assert_status(w->f.store, 1, "revoked");
    assert_int_equal(changes(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_as_intune_sends_them),
        cmocka_unit_test(test_what_is_no_list_of_requests),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_only_true_is_recorded),
        cmocka_unit_test(test_results_by_name),
        cmocka_unit_test_setup_teardown(test_revoked_and_answered_in_one_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_has_one_result_for_as_long_as_it_is_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_not_recorded_is_not_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_issuers_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_results_go_up_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_certificate_that_waits_does_so_no_longer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
