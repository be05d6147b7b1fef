/* The responder as a whole, over TCP: what it answers follows the store at once, in every form of asking. */
#include "harness.h"

#include <openssl/x509v3.h>
#include <pthread.h>
#include <sched.h>

#include "ocsp/ocsp_priv.h"
#include "store/store_priv.h"

enum { NEVER = 0x4fffffff, YEAR = 365 * 86400 };
static harness h; /* shared: opening a database is what takes time. Each test has certificates of its own. */

static int open_harness(void **state)
{
    harness_open(&h, *state);
    return 0;
}

static int close_harness(void **state)
{
    (void)state;
    harness_close(&h);
    return 0;
}

static uint32_t unused_serial(void)
{
    static uint32_t last = 0x40000000;
    return ++last;
}

static uint32_t new_cert(int64_t not_after)
{
    uint32_t serial = unused_serial();
    harness_add(&h, serial, not_after);
    return serial;
}

static const X509 *issuer(void)
{
    return rl_ca_issuer(h.ca)->cert;
}

/* "/ocsp/" or "/" and the request in base64, with what a URL may not hold as it is escaped. */
static void get_path(const char *before, rl_span request, char *path, size_t cap)
{
    char text[2048];
    assert_int_equal(rl_base64_encode(request, false, text, sizeof(text)), RL_OK);
    size_t n = (size_t)snprintf(path, cap, "%s", before);
    for (const char *c = text; *c; c++)
        n += (size_t)snprintf(path + n, cap - n, *c == '+' || *c == '/' || *c == '=' ? "%%%02X" : "%c", *c);
}

static uint64_t signatures(void)
{
    rl_ocsp_figures f;
    rl_ocsp_figures_read(h.ocsp, &f);
    return f.signatures;
}

static void test_follows_the_status_at_once(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    int reason;
    (void)state;
    for (int round = 0; round < 2; round++) { /* the second time from the cache */
        assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_GOOD);
    }
    harness_revoke(&h, serial, RL_REASON_HOLD);
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(reason, OCSP_REVOKED_STATUS_CERTIFICATEHOLD);
    harness_unrevoke(&h, serial);
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_GOOD);
    harness_revoke(&h, serial, RL_REASON_SUPERSEDED);
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(reason, OCSP_REVOKED_STATUS_SUPERSEDED);
}

static void test_a_cached_unknown_goes_when_the_certificate_is_issued(void **state)
{
    uint32_t serial = unused_serial();
    int reason;
    (void)state;
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    uint64_t before = signatures();
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(signatures(), before);
    harness_add(&h, serial, rl_wall_s() + YEAR);
    assert_int_equal(ask(&h, serial, &reason), V_OCSP_CERTSTATUS_GOOD);
}

static void test_every_way_of_asking(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    static const char *const posts[] = {"/ocsp", "/ocsp/", "/ocsp/some/path", "/", "/certsrv/ocsp"};
    static const char *const gets[] = {"/ocsp/", "/ocsp//", "/", "//"};
    const EVP_MD *digests[] = {EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512()};
    char path[4096];
    reply r;
    int reason;
    (void)state;
    for (unsigned d = 0; d < 4; d++) {
        rl_span request = make_request(issuer(), digests[d], serial, NULL);
        for (size_t i = 0; i < sizeof(posts) / sizeof(posts[0]); i++) {
            client_post(&h, posts[i], request, &r);
            assert_int_equal(r.status, 200);
            assert_string_equal(reply_header(&r, "Content-Type"), "application/ocsp-response");
            assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_GOOD);
            OCSP_CERTID *id = make_id(issuer(), digests[d], serial);
            OCSP_BASICRESP *basic = read_basic(&r);
            assert_true(OCSP_resp_find(basic, id, -1) >= 0); /* the CertID comes back with its own hash */
            OCSP_BASICRESP_free(basic);
            OCSP_CERTID_free(id);
        }
        for (size_t i = 0; i < sizeof(gets) / sizeof(gets[0]); i++) {
            get_path(gets[i], request, path, sizeof(path));
            client_get(&h, path, "", &r);
            assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_GOOD);
        }
        OPENSSL_free((void *)request.p);
    }
}

static void test_a_nonce_is_signed_afresh_and_kept_from_caches(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha1(), serial, "0123456789abcdef");
    uint64_t before = signatures();
    reply r;
    (void)state;
    for (int i = 0; i < 2; i++) {
        client_post(&h, "/ocsp", request, &r);
        assert_string_equal(reply_header(&r, "Cache-Control"), "no-store");
        assert_null(reply_header(&r, "ETag"));
        const unsigned char *at = request.p;
        OCSP_REQUEST *asked = d2i_OCSP_REQUEST(NULL, &at, (long)request.n);
        OCSP_BASICRESP *basic = read_basic(&r);
        assert_verifies(&h, basic, 0);
        assert_int_equal(OCSP_check_nonce(asked, basic), 1);
        OCSP_BASICRESP_free(basic);
        OCSP_REQUEST_free(asked);
    }
    assert_int_equal(signatures(), before + 2);
    OPENSSL_free((void *)request.p);
}

static void test_an_ignored_nonce_is_answered_from_the_cache(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha1(), serial, "0123456789abcdef");
    uint64_t before = signatures();
    reply r;
    (void)state;
    for (int i = 0; i < 3; i++) {
        client_post(&h, "/ocsp", request, &r);
        OCSP_BASICRESP *basic = read_basic(&r);
        assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), 0);
        OCSP_BASICRESP_free(basic);
    }
    assert_int_equal(signatures(), before + 1);
    OPENSSL_free((void *)request.p);
}

static void test_caching_headers(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha256(), serial, NULL);
    char path[2048], condition[1024], expires[64];
    reply r;
    int64_t this_update, next_update;
    struct tm tm;
    ASN1_GENERALIZEDTIME *this_text, *next_text;
    (void)state;
    get_path("/ocsp/", request, path, sizeof(path));
    client_get(&h, path, "", &r);
    OCSP_BASICRESP *basic = read_basic(&r);
    OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, &this_text, &next_text);
    ASN1_TIME_to_tm(this_text, &tm);
    this_update = timegm(&tm);
    ASN1_TIME_to_tm(next_text, &tm);
    next_update = timegm(&tm);
    OCSP_BASICRESP_free(basic);
    assert_int_equal(next_update - this_update, 600);
    rl_time_http(next_update, expires);
    assert_string_equal(reply_header(&r, "Expires"), expires);
    rl_time_http(this_update, expires);
    assert_string_equal(reply_header(&r, "Last-Modified"), expires);
    int max_age = -1, end = 0;
    sscanf(reply_header(&r, "Cache-Control"), "max-age=%d,public,no-transform,must-revalidate%n", &max_age, &end);
    assert_true(end > 0 && max_age <= 600 && max_age > 500);

    snprintf(condition, sizeof(condition), "If-None-Match: \"other\", %s\r\n", reply_header(&r, "ETag"));
    client_get(&h, path, condition, &r);
    assert_int_equal(r.status, 304);
    assert_int_equal(r.body_n, 0);
    client_get(&h, path, "If-None-Match: \"other\"\r\n", &r);
    assert_int_equal(r.status, 200);
    OPENSSL_free((void *)request.p);
}

/* RFC 9110 §13.1.3 */
static void test_not_modified_since(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha256(), serial, NULL);
    char path[2048], modified[64], earlier[RL_TIME_TEXT], later[RL_TIME_TEXT], headers[256];
    int64_t at;
    reply r;
    (void)state;
    get_path("/ocsp/", request, path, sizeof(path));
    client_get(&h, path, "", &r);
    snprintf(modified, sizeof(modified), "%s", reply_header(&r, "Last-Modified"));
    assert_int_equal(rl_time_parse_http(modified, &at), RL_OK);
    rl_time_http(at - 1, earlier);
    rl_time_http(at + 1, later);
    const struct {
        const char *since, *more;
        int status;
    } cases[] = {
        {modified, "", 304},    {later, "", 304},
        {earlier, "", 200},     {modified, "If-None-Match: \"other\"\r\n", 200}, /* tags go before dates */
        {"yesterday", "", 200}, {"Sun, 06 Nov 1994 08:49:37 GMT and some more than a date", "", 200},
        {"", "", 200},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(headers, sizeof(headers), "If-Modified-Since: %s\r\n%s", cases[i].since, cases[i].more);
        client_get(&h, path, headers, &r);
        assert_int_equal(r.status, cases[i].status);
        if (r.status == 304)
            assert_int_equal(r.body_n, 0);
        assert_non_null(reply_header(&r, "ETag"));
        assert_non_null(reply_header(&r, "Cache-Control"));
    }
    OPENSSL_free((void *)request.p);
}

static void test_several_certificates(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR), revoked_serial = new_cert(rl_wall_s() + YEAR);
    OCSP_REQUEST *made = OCSP_REQUEST_new();
    OCSP_CERTID *ids[4];
    X509 *stranger = X509_dup(issuer());
    static const int expected[4] = {V_OCSP_CERTSTATUS_GOOD, V_OCSP_CERTSTATUS_UNKNOWN, V_OCSP_CERTSTATUS_UNKNOWN,
                                    V_OCSP_CERTSTATUS_REVOKED};
    reply r;
    (void)state;
    harness_revoke(&h, revoked_serial, RL_REASON_KEY_COMPROMISE);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(stranger), "CN", MBSTRING_ASC, (const unsigned char *)"stranger",
                               -1, -1, 0);
    OCSP_request_add0_id(made, ids[0] = make_id(issuer(), EVP_sha1(), serial));
    OCSP_request_add0_id(made, ids[1] = make_id(stranger, EVP_sha1(), serial));
    OCSP_request_add0_id(made, ids[2] = make_id(issuer(), EVP_sha256(), NEVER));
    OCSP_request_add0_id(made, ids[3] = make_id(issuer(), EVP_sha512(), revoked_serial));
    for (int i = 0; i < 4; i++)
        ids[i] = OCSP_CERTID_dup(ids[i]);
    rl_span request = request_der(made);
    client_post(&h, "/ocsp", request, &r);
    OCSP_BASICRESP *basic = read_basic(&r);
    assert_verifies(&h, basic, OCSP_NOCHECKS);
    assert_int_equal(OCSP_resp_count(basic), 4);
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(OCSP_resp_find_status(basic, ids[i], &status, NULL, NULL, NULL, NULL), 1);
        assert_int_equal(status, expected[i]);
        OCSP_CERTID_free(ids[i]);
    }
    OCSP_BASICRESP_free(basic);
    OPENSSL_free((void *)request.p);

    request = make_request(stranger, EVP_sha1(), serial, NULL);
    client_post(&h, "/ocsp", request, &r);
    assert_int_equal(response_status(&r), OCSP_RESPONSE_STATUS_UNAUTHORIZED);
    OPENSSL_free((void *)request.p);
    X509_free(stranger);
}

static void assert_error(const reply *r, int expected)
{
    assert_int_equal(r->status, 200);
    assert_string_equal(reply_header(r, "Content-Type"), "application/ocsp-response");
    assert_string_equal(reply_header(r, "Cache-Control"), "no-store");
    assert_int_equal(response_status(r), expected);
}

static void test_malformed_is_said_so_and_other_pages_are_not_found(void **state)
{
    static const char *const malformed[] = {"/ocsp/", "/ocsp/xyz", "/ocsp/%zz", "/ocsp/MAAA", "/MAAA"};
    static const char *const not_found[] = {"/favicon.ico", "/robots.txt", "/api/none", "/%4", "/AAAA"};
    reply r;
    (void)state;
    client_post(&h, "/ocsp", (rl_span){0}, &r);
    assert_error(&r, OCSP_RESPONSE_STATUS_MALFORMEDREQUEST);
    client_post(&h, "/", RL_SPAN_LIT("not a request"), &r);
    assert_error(&r, OCSP_RESPONSE_STATUS_MALFORMEDREQUEST);
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        client_get(&h, malformed[i], "", &r);
        assert_error(&r, OCSP_RESPONSE_STATUS_MALFORMEDREQUEST);
    }
    for (size_t i = 0; i < sizeof(not_found) / sizeof(not_found[0]); i++) {
        client_get(&h, not_found[i], "", &r);
        assert_int_equal(r.status, 404);
    }
    client_post(&h, "/api/none", RL_SPAN_LIT("{}"), &r);
    assert_int_equal(r.status, 404);
}

static void test_a_record_that_cannot_be_read_is_an_internal_error(void **state)
{
    rl_cert_id id = harness_id(&h, NEVER - 1);
    rl_key key;
    char *error = NULL;
    reply r;
    (void)state;
    assert_int_equal(rl_key_cert(&id, &key), RL_OK);
    rocksdb_put_cf(h.store->db, h.store->write, h.store->cf[CF_CERT], (const char *)key.b, key.n, "\xc1", 1, &error);
    assert_null(error);
    rl_log_configure(RL_LOG_OFF, RL_LOG_LOGFMT);
    rl_span request = make_request(issuer(), EVP_sha256(), NEVER - 1, NULL);
    client_post(&h, "/ocsp", request, &r);
    assert_error(&r, OCSP_RESPONSE_STATUS_INTERNALERROR);
    OPENSSL_free((void *)request.p);
}

/* ---- time: a clock that the test sets ---- */
static _Atomic int64_t shift_ms;
static int64_t shifted_wall(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000 + atomic_load(&shift_ms);
}
static const rl_clock shifted = {shifted_wall, NULL, NULL};

static uint64_t responder_serial(const reply *r)
{
    OCSP_BASICRESP *basic = read_basic(r);
    uint64_t serial = X509_issuer_and_serial_hash(sk_X509_value(OCSP_resp_get0_certs(basic), 0));
    OCSP_BASICRESP_free(basic);
    return serial;
}

static void test_the_responder_rolls_over_at_half_of_its_life(void **state)
{
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_ocsp_figures before, after;
    reply r;
    (void)state;
    rl_clock_set(&shifted);
    rl_ocsp_figures_read(h.ocsp, &before);
    rl_span request = make_request(issuer(), EVP_sha1(), serial, "0123456789abcdef");
    client_post(&h, "/ocsp", request, &r);
    uint64_t first = responder_serial(&r);
    rl_span plain = make_request(issuer(), EVP_sha1(), serial, NULL);
    harness_revoke(&h, serial, RL_REASON_SUPERSEDED);
    client_post(&h, "/ocsp", plain, &r);
    assert_int_equal(responder_serial(&r), first);
    ocsp_delegate *in_flight = ocsp_responder_current(h.ocsp->context.responder, 1);
    atomic_store(&shift_ms, h.settings.ocsp.responder_validity / 2 + 2000);
    do {
        sched_yield();
        rl_ocsp_figures_read(h.ocsp, &after);
    } while (after.responder_not_after == before.responder_not_after);
    client_post(&h, "/ocsp", request, &r);
    assert_true(responder_serial(&r) != first);
    client_post(&h, "/ocsp", plain, &r); /* revoked, so the cached answer is still valid, and given out for a while: */
    assert_int_equal(responder_serial(&r), first);
    atomic_store(&shift_ms, h.settings.ocsp.responder_validity / 4 * 3 + 2000);
    client_post(&h, "/ocsp", plain, &r);
    assert_true(responder_serial(&r) != first);
    assert_int_equal(in_flight->not_after, before.responder_not_after); /* still whole */
    ocsp_delegate_drop(in_flight);
    OPENSSL_free((void *)plain.p);
    OPENSSL_free((void *)request.p);
    atomic_store(&shift_ms, 0);
    rl_clock_set(NULL);
}

static void test_answers_end_with_certificate_and_responder(void **state)
{
    uint32_t expired = new_cert(rl_wall_s() - 5);
    int reason;
    (void)state;
    assert_int_equal(ask(&h, expired, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    harness_revoke(&h, expired, RL_REASON_KEY_COMPROMISE);
    assert_int_equal(ask(&h, expired, &reason), V_OCSP_CERTSTATUS_REVOKED);
    /* good for 20 seconds more, cached; then not any longer */
    rl_clock_set(&shifted);
    uint32_t ending = new_cert(rl_wall_s() + 20);
    assert_int_equal(ask(&h, ending, &reason), V_OCSP_CERTSTATUS_GOOD);
    atomic_store(&shift_ms, 21000);
    assert_int_equal(ask(&h, ending, &reason), V_OCSP_CERTSTATUS_UNKNOWN);
    atomic_store(&shift_ms, 0);
    rl_clock_set(NULL);
}

/* ---- the invariant, end to end ---- */
enum { HAMMERS = 4, DEVICES = 24, FIRST = 0x50000000 };
static _Atomic bool revoked[DEVICES], hammering;

/* A request that begins after a revocation was acknowledged is told so, on every loop, with and without a nonce. */
static void *hammer(void *arg)
{
    uintptr_t failures = 0;
    uint32_t i = (uint32_t)(uintptr_t)arg;
    rl_span requests[DEVICES];
    reply r;
    for (uint32_t d = 0; d < DEVICES; d++)
        requests[d] = make_request(issuer(), EVP_sha1(), FIRST + d, i == 0 ? "nonce" : NULL);
    int fd = client_connect(&h);
    for (; atomic_load(&hammering); i++) {
        uint32_t d = i * 7 % DEVICES;
        bool must = atomic_load(&revoked[d]);
        int reason, status;
        client_post_on(fd, "/ocsp", requests[d], &r);
        status = status_of(&r, &reason);
        failures += must ? status != V_OCSP_CERTSTATUS_REVOKED : status == -1;
    }
    close(fd);
    for (uint32_t d = 0; d < DEVICES; d++)
        OPENSSL_free((void *)requests[d].p);
    return (void *)failures;
}

static void test_no_loop_sends_an_old_answer_after_the_acknowledgement(void **state)
{
    pthread_t threads[HAMMERS];
    (void)state;
    for (uint32_t d = 0; d < DEVICES; d++)
        harness_add(&h, FIRST + d, rl_wall_s() + YEAR);
    atomic_store(&hammering, true);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)i), 0);
    for (uint32_t d = 0; d < DEVICES; d++) {
        for (int round = 0; round < 4; round++) { /* the status swings while it is asked for */
            harness_revoke(&h, FIRST + d, RL_REASON_HOLD);
            harness_unrevoke(&h, FIRST + d);
        }
        harness_revoke(&h, FIRST + d, RL_REASON_KEY_COMPROMISE);
        atomic_store(&revoked[d], true);
        int reason;
        assert_int_equal(ask(&h, FIRST + d, &reason), V_OCSP_CERTSTATUS_REVOKED);
    }
    atomic_store(&hammering, false);
    for (unsigned i = 0; i < HAMMERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
}

/* A connection that the server has accepted. */
static int connect_warm(void)
{
    int fd = client_connect(&h);
    reply r;
    client_send(fd, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n", (rl_span){0});
    client_receive(fd, &r);
    return fd;
}

/* The one loop is kept busy from before the answer is signed until after the revocation was acknowledged: the finished
 * answer, made from the old status, waits to be sent meanwhile. */
static void test_an_answer_that_was_overtaken_is_made_again(void **state)
{
    static const char block[] = "GET /block HTTP/1.1\r\nHost: a\r\n\r\n";
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    (void)state;
    for (int with_nonce = 0; with_nonce < 2; with_nonce++) {
        rl_span request = make_request(issuer(), EVP_sha1(), serial, with_nonce ? "nonce" : NULL);
        int asking = connect_warm(), first = connect_warm(), second = connect_warm(), reason;
        uint64_t before = signatures();
        reply r;
        client_send(first, block, (rl_span){0});
        sem_wait(&blocked);
        client_send_post(asking, "/ocsp", request); /* this and the next are there when the loop looks again */
        client_send(second, block, (rl_span){0});
        sem_post(&let_go);
        sem_wait(&blocked);
        /* Should the loop have seen the two the other way round, nothing will be signed: then nothing is overtaken. */
        for (int i = 0; signatures() == before && i < 1000; i++)
            usleep(1000);
        harness_revoke(&h, serial, RL_REASON_HOLD);
        sem_post(&let_go);
        client_receive(asking, &r);
        assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_REVOKED);
        harness_unrevoke(&h, serial);
        close(asking);
        close(first);
        close(second);
        OPENSSL_free((void *)request.p);
    }
}

/* ---- the responder's certificate under load, and a clock that jumps ---- */
static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : -1;
}

/* A client's whole check of an answer about one certificate, asked and received at the two times: chain and signature
 * (RFC 6960 §3.2), times around now (§3.2 5 and 6), and a nextUpdate that the signer's certificate reaches. The clock
 * may have jumped in between, so the chain is looked at as of asking. */
static bool right_answer(const reply *r, int expected, int64_t before, int64_t after)
{
    OCSP_BASICRESP *basic = read_basic(r);
    if (!basic)
        return false;
    X509_STORE *trust = X509_STORE_new();
    ASN1_GENERALIZEDTIME *this_update, *next_update;
    X509_STORE_add_cert(trust, rl_ca_issuer(h.ca)->cert);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(trust), (time_t)before);
    const X509 *signer = sk_X509_value(OCSP_resp_get0_certs(basic), 0);
    bool right =
        OCSP_basic_verify(basic, NULL, trust, 0) == 1 &&
        expected == OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, &this_update, &next_update) &&
        unix_time(this_update) <= after && unix_time(next_update) > before &&
        unix_time(OCSP_resp_get0_produced_at(basic)) <= after &&
        unix_time(next_update) <= unix_time(X509_get0_notAfter(signer));
    X509_STORE_free(trust);
    OCSP_BASICRESP_free(basic);
    return right;
}

static bool is_try_later(const reply *r)
{
    return rl_span_eq(rl_span_of(r->body, r->body_n), RL_SPAN_LIT("\x30\x03\x0a\x01\x03"));
}

static uint32_t good_serial, revoked_serial;
static _Atomic uint32_t asked;

/* Threads 0 and 1 with a nonce, the others from the cache, each about both certificates in turn. */
static void *ask_all_the_time(void *arg)
{
    uintptr_t failures = 0, i = (uintptr_t)arg;
    const char *nonce = i < 2 ? "nonce" : NULL;
    rl_span requests[2] = {make_request(issuer(), EVP_sha1(), good_serial, nonce),
                           make_request(issuer(), EVP_sha1(), revoked_serial, nonce)};
    int fd = client_connect(&h);
    reply r;
    for (; atomic_load(&hammering); i++) {
        int64_t before = rl_wall_s();
        client_post_on(fd, "/ocsp", requests[i % 2], &r);
        failures += !right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s());
        atomic_fetch_add(&asked, 1);
    }
    close(fd);
    OPENSSL_free((void *)requests[0].p);
    OPENSSL_free((void *)requests[1].p);
    return (void *)failures;
}

static ocsp_delegate *delegate_now(void)
{
    return ocsp_responder_current(h.ocsp->context.responder, 1);
}

static void wait_for_delegate_made_since(int64_t when)
{
    int64_t made = when - 1;
    while (made < when || made > rl_wall_s()) {
        ocsp_delegate *d = delegate_now();
        made = d->made_at;
        ocsp_delegate_drop(d);
        sched_yield();
    }
}

static void two_certificates(void)
{
    good_serial = new_cert(rl_wall_s() + YEAR);
    revoked_serial = new_cert(rl_wall_s() + YEAR);
    harness_revoke(&h, revoked_serial, RL_REASON_KEY_COMPROMISE);
}

static void clock_back_to_normal(void)
{
    atomic_store(&shift_ms, 0);
    wait_for_delegate_made_since(0);
    rl_clock_set(NULL);
}

static void test_a_rollover_under_load_gives_no_wrong_answer(void **state)
{
    pthread_t threads[HAMMERS];
    (void)state;
    two_certificates();
    rl_clock_set(&shifted);
    wait_for_delegate_made_since(0);
    atomic_store(&hammering, true);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all_the_time, (void *)i), 0);
    for (int round = 0; round < 3; round++) {
        ocsp_delegate *d = delegate_now();
        int64_t renew_at = d->renew_at;
        ocsp_delegate_drop(d);
        atomic_fetch_add(&shift_ms, (renew_at - rl_wall_s() + 1) * 1000);
        wait_for_delegate_made_since(renew_at);
        uint32_t until = atomic_load(&asked) + 50; /* by the new one, too */
        while (atomic_load(&asked) < until)
            sched_yield();
    }
    atomic_store(&hammering, false);
    for (unsigned i = 0; i < HAMMERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    clock_back_to_normal();
}

/* Until the responder has a certificate for the new time it says tryLater, and nothing that is not right then. Answers
 * of another time are in the cache all along. */
static void test_a_clock_set_back_and_forth_gives_no_wrong_answer(void **state)
{
    static const int hours[] = {0, 5 * 24, 2 * 24, 8 * 24, 30, -12, 1, 0}; /* the CA is valid from a day ago */
    rl_span requests[4];
    (void)state;
    two_certificates();
    for (int i = 0; i < 4; i++)
        requests[i] = make_request(issuer(), EVP_sha1(), i % 2 ? revoked_serial : good_serial, i < 2 ? NULL : "nonce");
    rl_clock_set(&shifted);
    for (size_t t = 0; t < sizeof(hours) / sizeof(hours[0]); t++) {
        atomic_store(&shift_ms, hours[t] * 3600000LL);
        unsigned right = 0;
        for (unsigned i = 0; right < 12; i++) { /* the first as soon as the clock was set */
            reply r;
            int64_t before = rl_wall_s();
            client_post(&h, "/ocsp", requests[i % 4], &r);
            if (is_try_later(&r))
                continue;
            if (!right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s()))
                fail_msg("clock set to %+d hours, answer %u", hours[t], i);
            right++;
        }
    }
    for (int i = 0; i < 4; i++)
        OPENSSL_free((void *)requests[i].p);
    clock_back_to_normal();
}

/* A day of revoked answers and ten minutes of good ones are cut where the certificate of five seconds ends. */
static void test_no_answer_outlives_the_responder_certificate(void **state)
{
    reply r;
    (void)state;
    two_certificates();
    rl_clock_set(&shifted);
    for (int i = 0; i < 12; i++) {
        int64_t before = rl_wall_s();
        rl_span request =
            make_request(issuer(), EVP_sha256(), i % 2 ? revoked_serial : good_serial, i % 3 ? NULL : "n");
        client_post(&h, "/ocsp", request, &r);
        assert_true(is_try_later(&r) ||
                    right_answer(&r, i % 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, before, rl_wall_s()));
        OPENSSL_free((void *)request.p);
        atomic_fetch_add(&shift_ms, 1000);
    }
    clock_back_to_normal();
}

int main(void)
{
    static const char *ignore[] = {"REVLINE_OCSP_NONCE=ignore", NULL}, *one_loop[] = {"REVLINE_WORKERS=1", NULL};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_status_at_once),
        cmocka_unit_test(test_a_cached_unknown_goes_when_the_certificate_is_issued),
        cmocka_unit_test(test_every_way_of_asking),
        cmocka_unit_test(test_a_nonce_is_signed_afresh_and_kept_from_caches),
        cmocka_unit_test(test_caching_headers),
        cmocka_unit_test(test_not_modified_since),
        cmocka_unit_test(test_several_certificates),
        cmocka_unit_test(test_malformed_is_said_so_and_other_pages_are_not_found),
        cmocka_unit_test(test_a_record_that_cannot_be_read_is_an_internal_error),
        cmocka_unit_test(test_answers_end_with_certificate_and_responder),
        cmocka_unit_test(test_no_loop_sends_an_old_answer_after_the_acknowledgement),
        cmocka_unit_test(test_the_responder_rolls_over_at_half_of_its_life),
        cmocka_unit_test(test_a_rollover_under_load_gives_no_wrong_answer),
        cmocka_unit_test(test_a_clock_set_back_and_forth_gives_no_wrong_answer),
    };
    static const char *short_lived[] = {"REVLINE_OCSP_RESPONDER_VALIDITY=5s", NULL};
    const struct CMUnitTest settings[] = {
        cmocka_unit_test_prestate_setup_teardown(test_an_answer_that_was_overtaken_is_made_again, open_harness,
                                                 close_harness, one_loop),
        cmocka_unit_test_prestate_setup_teardown(test_an_ignored_nonce_is_answered_from_the_cache, open_harness,
                                                 close_harness, ignore),
        cmocka_unit_test_prestate_setup_teardown(test_no_answer_outlives_the_responder_certificate, open_harness,
                                                 close_harness, short_lived),
    };
    int failed = cmocka_run_group_tests(tests, open_harness, close_harness);
    return failed + cmocka_run_group_tests(settings, NULL, NULL);
}
