/* The responder as a whole, over TCP: what it answers follows the store at once, in every form of asking. */
#include "shared.h"

#include <pthread.h>

#include "store/store_priv.h"

enum { NEVER = 0x4fffffff };

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
    const EVP_MD *digests[] = {EVP_sha1(), EVP_sha224(), EVP_sha256(), EVP_sha384(), EVP_sha512()};
    char path[4096];
    reply r;
    int reason;
    (void)state;
    for (unsigned d = 0; d < sizeof(digests) / sizeof(digests[0]); d++) {
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
    client_get(&h, path, "If-None-Match: *\r\n", &r); /* RFC 9110 §13.1.2 */
    assert_int_equal(r.status, 304);
    snprintf(condition, sizeof(condition), "If-None-Match: \"other\"\r\nIf-None-Match: W/%s\r\n",
             reply_header(&r, "ETag"));
    client_get(&h, path, condition, &r); /* §5.3: one list on several lines */
    assert_int_equal(r.status, 304);
    OPENSSL_free((void *)request.p);
}

/* ---- by date ---- */
static _Atomic int64_t stopped_at_ms;
static int64_t stopped_wall(void *ctx)
{
    (void)ctx;
    return atomic_load(&stopped_at_ms);
}

/* Whole seconds pass when the test says so. */
static void stop_clock(void)
{
    static const rl_clock stopped = {stopped_wall, NULL, NULL};
    atomic_store(&stopped_at_ms, rl_wall_ms());
    rl_clock_set(&stopped);
}

/* With the clock stopped, that much later: a new certificate's good answer, and how to ask for it again by its date. */
enum { PATH_ROOM = 2048 };
static uint32_t good_by_date(int64_t later_ms, char path[PATH_ROOM], char *headers, size_t cap)
{
    int reason;
    reply r;
    stop_clock();
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha256(), serial, NULL);
    atomic_fetch_add(&stopped_at_ms, later_ms);
    get_path("/ocsp/", request, path, PATH_ROOM);
    OPENSSL_free((void *)request.p);
    client_get(&h, path, "", &r);
    assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_GOOD);
    snprintf(headers, cap, "If-Modified-Since: %s\r\n", reply_header(&r, "Last-Modified"));
    return serial;
}

/* RFC 9110 §8.8.2.2: of two answers of one second the date does not say which it is. */
static void test_a_date_does_not_hide_a_change_within_its_second(void **state)
{
    char path[PATH_ROOM], headers[256];
    int reason;
    reply r;
    (void)state;
    uint32_t serial = good_by_date(1000, path, headers, sizeof(headers));
    client_get(&h, path, headers, &r);
    assert_int_equal(r.status, 304);
    harness_revoke(&h, serial, RL_REASON_KEY_COMPROMISE);
    for (int second = 0; second < 2; second++) { /* the answer's own, and a later one */
        for (int from_cache = 0; from_cache < 2; from_cache++) {
            client_get(&h, path, headers, &r);
            assert_int_equal(r.status, 200);
            assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_REVOKED);
        }
        atomic_fetch_add(&stopped_at_ms, 1000);
    }
    rl_clock_set(NULL);
}

/* The clock was ahead, and is set right: the client's good answer is of a later date than the one that revokes. */
static void test_a_date_from_a_clock_that_was_ahead(void **state)
{
    char path[PATH_ROOM], headers[256];
    int reason;
    reply r;
    (void)state;
    uint32_t serial = good_by_date(100000, path, headers, sizeof(headers));
    atomic_fetch_add(&stopped_at_ms, -60000);
    harness_revoke(&h, serial, RL_REASON_KEY_COMPROMISE);
    atomic_fetch_add(&stopped_at_ms, 1000);
    client_get(&h, path, headers, &r);
    assert_int_equal(r.status, 200);
    assert_int_equal(status_of(&r, &reason), V_OCSP_CERTSTATUS_REVOKED);
    rl_clock_set(NULL);
}

/* Likewise of what is made for each request: answers about several certificates. */
static void test_a_date_tells_nothing_about_several_certificates(void **state)
{
    uint32_t first = new_cert(rl_wall_s() + YEAR), second = new_cert(rl_wall_s() + YEAR);
    OCSP_REQUEST *made = OCSP_REQUEST_new();
    char path[4096], headers[256];
    uint8_t *der = NULL;
    reply r;
    (void)state;
    OCSP_request_add0_id(made, make_id(issuer(), EVP_sha1(), first));
    OCSP_request_add0_id(made, make_id(issuer(), EVP_sha1(), second));
    int n = i2d_OCSP_REQUEST(made, &der);
    assert_true(n > 0);
    get_path("/ocsp/", rl_span_of(der, (size_t)n), path, sizeof(path));
    stop_clock();
    client_get(&h, path, "", &r);
    snprintf(headers, sizeof(headers), "If-Modified-Since: %s\r\n", reply_header(&r, "Last-Modified"));
    harness_revoke(&h, second, RL_REASON_KEY_COMPROMISE);
    client_get(&h, path, headers, &r);
    assert_int_equal(r.status, 200);
    rl_clock_set(NULL);
    OPENSSL_free(der);
    OCSP_REQUEST_free(made);
}

/* RFC 9110 §13.1.3 */
static void test_not_modified_since(void **state)
{
    stop_clock();
    uint32_t serial = new_cert(rl_wall_s() + YEAR);
    rl_span request = make_request(issuer(), EVP_sha256(), serial, NULL);
    char path[2048], modified[64], earlier[RL_TIME_TEXT], later[RL_TIME_TEXT], headers[256];
    int64_t at;
    reply r;
    (void)state;
    atomic_fetch_add(&stopped_at_ms, 1000); /* behind the one in which it was issued */
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
        {modified, "", 304},    {later, "", 200},
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
    rl_clock_set(NULL);
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
        cmocka_unit_test(test_a_date_does_not_hide_a_change_within_its_second),
        cmocka_unit_test(test_a_date_from_a_clock_that_was_ahead),
        cmocka_unit_test(test_a_date_tells_nothing_about_several_certificates),
        cmocka_unit_test(test_several_certificates),
        cmocka_unit_test(test_malformed_is_said_so_and_other_pages_are_not_found),
        cmocka_unit_test(test_a_record_that_cannot_be_read_is_an_internal_error),
        cmocka_unit_test(test_no_loop_sends_an_old_answer_after_the_acknowledgement),
    };
    const struct CMUnitTest settings[] = {
        cmocka_unit_test_prestate_setup_teardown(test_an_answer_that_was_overtaken_is_made_again, open_harness,
                                                 close_harness, one_loop),
        cmocka_unit_test_prestate_setup_teardown(test_an_ignored_nonce_is_answered_from_the_cache, open_harness,
                                                 close_harness, ignore),
    };
    int failed = cmocka_run_group_tests(tests, open_harness, close_harness);
    return failed + cmocka_run_group_tests(settings, NULL, NULL);
}
