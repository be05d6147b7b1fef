/* Several issuers: who signs for whom, and that nobody signs for an issuer whose CA has not certified it. The other CA
 * lives in this program, on libcrypto. */
#include "harness.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LEAF = 0x05000001, REVOKED_LEAF, NEVER, OWN, DAY = 86400, HAMMERS = 2 };

static harness h;
static EVP_PKEY *other_key;
static X509 *other;
static const rl_issuer *foreign;

/* ---- the other CA ---- */
static void add_extension(X509 *cert, const char *name, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf(NULL, NULL, name, value);
    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* From a day before `now` to `life` seconds behind it. */
static X509 *make_cert(const char *cn, EVP_PKEY *key, uint32_t serial, int64_t now, int64_t life)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_NAME_new();
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"Other CA", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_NAME_free(name);
    X509_set_version(cert, X509_VERSION_3);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(now - DAY));
    ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(now + life));
    X509_set_pubkey(cert, key);
    return cert;
}

static X509 *signed_by_other(X509 *cert)
{
    assert_true(X509_sign(cert, other_key, EVP_sha256()) > 0);
    return cert;
}

static void import_leaf(uint32_t serial)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    rl_ca_imported got;
    X509 *leaf = signed_by_other(make_cert("leaf", key, serial, rl_wall_s(), 300 * DAY));
    assert_ok(rl_ca_import(h.ca, &leaf, 1, &got, &h.e), &h.e);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static uint32_t delegate_serial = 0x06000000;

/* Our request, certified for `life` seconds. */
static void install_delegate(int64_t life)
{
    char *pem;
    const rl_issuer *issuer;
    assert_ok(rl_ca_delegate_request(h.ca, foreign, &pem, &h.e), &h.e);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509_REQ *csr = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    X509 *cert = make_cert("responder", X509_REQ_get0_pubkey(csr), ++delegate_serial, rl_wall_s(), life);
    add_extension(cert, "extendedKeyUsage", "OCSPSigning");
    signed_by_other(cert);
    assert_ok(rl_ca_delegate_install(h.ca, cert, rl_wall_s(), &issuer, &h.e), &h.e);
    assert_ptr_equal(issuer, foreign);
    assert_ok(rl_ocsp_take_delegate(h.ocsp, issuer, &h.e), &h.e);
    X509_free(cert);
    X509_REQ_free(csr);
    BIO_free(bio);
    free(pem);
}

static rl_err revoke_of_other(rl_store_txn *t, void *arg, rl_error *e)
{
    const uint32_t *serial = arg;
    rl_cert_id id = {foreign->id,
                     4,
                     {(uint8_t)(*serial >> 24), (uint8_t)(*serial >> 16), (uint8_t)(*serial >> 8), (uint8_t)*serial}};
    return rl_txn_revoke(t, &id, RL_REASON_SUPERSEDED, rl_wall_s(), "test", e);
}

static int open_harness(void **state)
{
    static const char *const settings[] = {"REVLINE_OCSP_UNISSUED=revoked", NULL};
    rl_ca_imported got;
    (void)state;
    harness_open(&h, settings);
    other_key = EVP_EC_gen("P-256");
    other = make_cert("Other CA", other_key, 1, rl_wall_s(), 3650 * DAY);
    add_extension(other, "basicConstraints", "critical,CA:TRUE");
    signed_by_other(other);
    assert_ok(rl_ca_import(h.ca, &other, 1, &got, &h.e), &h.e);
    foreign = got.issuer;
    import_leaf(LEAF);
    import_leaf(REVOKED_LEAF);
    assert_ok(rl_store_run(h.store, revoke_of_other, &(uint32_t){REVOKED_LEAF}, &h.e), &h.e);
    harness_add(&h, OWN, rl_wall_s() + 300 * DAY);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&h);
    X509_free(other);
    EVP_PKEY_free(other_key);
    return 0;
}

/* ---- asking ---- */
typedef struct question {
    const X509 *issuer;
    uint32_t serial;
} question;

static const X509 *own(void)
{
    return rl_ca_issuer(h.ca)->cert;
}

/* The statuses in the order asked, or the response status as a negative number; verified against `signer`'s CA. */
static void ask_all(const question *questions, int n, const X509 *signer, int *statuses)
{
    OCSP_REQUEST *made = OCSP_REQUEST_new();
    reply r;
    for (int i = 0; i < n; i++)
        OCSP_request_add0_id(made, make_id(questions[i].issuer, EVP_sha1(), questions[i].serial));
    rl_span request = request_der(made);
    client_post(&h, "/ocsp", request, &r);
    OPENSSL_free((void *)request.p);
    OCSP_BASICRESP *basic = read_basic(&r);
    if (!basic) {
        statuses[0] = -response_status(&r);
        return;
    }
    X509_STORE *trust = X509_STORE_new();
    X509_STORE_add_cert(trust, (X509 *)signer);
    assert_int_equal(OCSP_basic_verify(basic, NULL, trust, n > 1 ? OCSP_NOCHECKS : 0), 1);
    X509_STORE_free(trust);
    assert_int_equal(OCSP_resp_count(basic), n);
    for (int i = 0; i < n; i++)
        statuses[i] = OCSP_single_get0_status(OCSP_resp_get0(basic, i), NULL, NULL, NULL, NULL);
    OCSP_BASICRESP_free(basic);
}

static int ask_other(uint32_t serial)
{
    int status;
    ask_all(&(question){other, serial}, 1, other, &status);
    return status;
}

/* ---- the promises, in the order in which they run ---- */
static void without_a_delegate_answers_are_unauthorized(void **state)
{
    (void)state;
    assert_int_equal(ask_other(LEAF), -OCSP_RESPONSE_STATUS_UNAUTHORIZED);
    assert_int_equal(rl_ocsp_delegate_not_after(h.ocsp, foreign), 0);
}

static void a_request_that_begins_with_an_issuer_without_delegate_is_answered_for_the_next(void **state)
{
    int statuses[2];
    (void)state;
    ask_all((question[]){{other, LEAF}, {own(), OWN}}, 2, own(), statuses);
    assert_int_equal(statuses[0], V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(statuses[1], V_OCSP_CERTSTATUS_GOOD);
}

static void an_installed_delegate_answers_at_once(void **state)
{
    (void)state;
    install_delegate(30 * DAY);
    assert_int_equal(ask_other(LEAF), V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(ask_other(REVOKED_LEAF), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(ask_other(LEAF), V_OCSP_CERTSTATUS_GOOD); /* from the cache */
}

/* Whether the other CA has issued it is not known here, so that extended revoke would be a guess. */
static void what_was_not_imported_is_unknown_and_not_revoked(void **state)
{
    int status;
    (void)state;
    assert_int_equal(ask_other(NEVER), V_OCSP_CERTSTATUS_UNKNOWN);
    ask_all(&(question){own(), NEVER}, 1, own(), &status);
    assert_int_equal(status, V_OCSP_CERTSTATUS_REVOKED);
}

static void an_import_ends_the_unknown(void **state)
{
    (void)state;
    assert_int_equal(ask_other(NEVER + 10), V_OCSP_CERTSTATUS_UNKNOWN);
    import_leaf(NEVER + 10);
    assert_int_equal(ask_other(NEVER + 10), V_OCSP_CERTSTATUS_GOOD);
}

static void an_answer_has_one_signer_who_speaks_for_its_own_issuer(void **state)
{
    int statuses[3];
    (void)state;
    ask_all((question[]){{own(), OWN}, {other, REVOKED_LEAF}, {own(), NEVER}}, 3, own(), statuses);
    assert_int_equal(statuses[0], V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(statuses[1], V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(statuses[2], V_OCSP_CERTSTATUS_REVOKED);
    ask_all((question[]){{other, REVOKED_LEAF}, {own(), OWN}, {other, LEAF}}, 3, other, statuses);
    assert_int_equal(statuses[0], V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(statuses[1], V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(statuses[2], V_OCSP_CERTSTATUS_GOOD);
}

/* ---- while it is replaced ---- */
static _Atomic bool hammering;

static void *ask_all_the_time(void *arg)
{
    uintptr_t failures = 0;
    rl_span request = make_request(other, EVP_sha256(), LEAF, arg ? "nonce" : NULL);
    do {
        reply r;
        int status = -1;
        client_post(&h, "/ocsp", request, &r);
        OCSP_BASICRESP *basic = read_basic(&r);
        X509_STORE *trust = X509_STORE_new();
        X509_STORE_add_cert(trust, other);
        if (basic && OCSP_basic_verify(basic, NULL, trust, 0) == 1)
            status = OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, NULL, NULL);
        failures += status != V_OCSP_CERTSTATUS_GOOD;
        X509_STORE_free(trust);
        OCSP_BASICRESP_free(basic);
    } while (atomic_load(&hammering));
    OPENSSL_free((void *)request.p);
    return (void *)failures;
}

static void replacing_a_delegate_under_load_gives_no_wrong_answer(void **state)
{
    pthread_t threads[HAMMERS];
    (void)state;
    atomic_store(&hammering, true);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all_the_time, (void *)i), 0);
    for (int round = 0; round < 20; round++)
        install_delegate((10 + round) * DAY);
    atomic_store(&hammering, false);
    for (unsigned i = 0; i < HAMMERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
}

/* ---- its end ---- */
static _Atomic int64_t shift_ms;
static int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + atomic_load(&shift_ms);
}
static const rl_clock shifted = {shifted_wall, NULL, NULL};

static int64_t next_update(uint32_t serial)
{
    reply r;
    ASN1_GENERALIZEDTIME *end;
    struct tm tm;
    rl_span request = make_request(other, EVP_sha1(), serial, NULL);
    client_post(&h, "/ocsp", request, &r);
    OPENSSL_free((void *)request.p);
    OCSP_BASICRESP *basic = read_basic(&r);
    assert_non_null(basic);
    OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, NULL, &end);
    assert_int_equal(ASN1_TIME_to_tm(end, &tm), 1);
    OCSP_BASICRESP_free(basic);
    return timegm(&tm);
}

static void no_answer_outlives_its_delegate_and_then_there_is_none(void **state)
{
    (void)state;
    import_leaf(NEVER + 11);
    install_delegate(120); /* a good answer is otherwise valid for ten minutes */
    int64_t end = rl_ocsp_delegate_not_after(h.ocsp, foreign);
    assert_int_equal(next_update(NEVER + 11), end);
    rl_clock_set(&shifted);
    atomic_store(&shift_ms, (end - 1 - rl_wall_s()) * 1000);
    assert_int_not_equal(ask_other(NEVER + 11), -OCSP_RESPONSE_STATUS_TRYLATER);
    atomic_store(&shift_ms, 0);
    atomic_store(&shift_ms, (end - rl_wall_s()) * 1000 + 1000);
    assert_int_equal(ask_other(NEVER + 11), -OCSP_RESPONSE_STATUS_UNAUTHORIZED);
    assert_int_equal(ask_other(REVOKED_LEAF + 20), -OCSP_RESPONSE_STATUS_UNAUTHORIZED);
    atomic_store(&shift_ms, 0);
    install_delegate(30 * DAY);
    assert_int_equal(ask_other(NEVER + 11), V_OCSP_CERTSTATUS_GOOD);
    rl_clock_set(NULL);
}

static void a_delegate_that_its_ca_revokes_signs_no_more(void **state)
{
    (void)state;
    install_delegate(30 * DAY);
    import_leaf(delegate_serial);
    assert_int_equal(ask_other(NEVER + 12), V_OCSP_CERTSTATUS_UNKNOWN);
    assert_ok(rl_store_run(h.store, revoke_of_other, &delegate_serial, &h.e), &h.e);
    assert_int_equal(ask_other(NEVER + 13), -OCSP_RESPONSE_STATUS_UNAUTHORIZED);
    install_delegate(30 * DAY);
    assert_int_equal(ask_other(NEVER + 13), V_OCSP_CERTSTATUS_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_delegate_answers_are_unauthorized),
        cmocka_unit_test(a_request_that_begins_with_an_issuer_without_delegate_is_answered_for_the_next),
        cmocka_unit_test(an_installed_delegate_answers_at_once),
        cmocka_unit_test(what_was_not_imported_is_unknown_and_not_revoked),
        cmocka_unit_test(an_import_ends_the_unknown),
        cmocka_unit_test(an_answer_has_one_signer_who_speaks_for_its_own_issuer),
        cmocka_unit_test(replacing_a_delegate_under_load_gives_no_wrong_answer),
        cmocka_unit_test(no_answer_outlives_its_delegate_and_then_there_is_none),
        cmocka_unit_test(a_delegate_that_its_ca_revokes_signs_no_more),
    };
    return cmocka_run_group_tests(tests, open_harness, close_harness);
}
