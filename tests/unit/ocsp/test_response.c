/* Our responses as libcrypto reads them: signature, chain, status, times, nonce, extensions. And the decision what an
 * answer says, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/x509.h"
#include "ocsp/answer.h"
#include "ocsp/response.h"

/* ---- a CA and its delegate, made with libcrypto ---- */
typedef struct party {
    rl_signer *signer;
    X509 *cert;
    uint8_t *der;
    size_t der_n;
} party;

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(x);
    X509_add_ext(cert, x, -1);
    X509_EXTENSION_free(x);
}

static party make_party(rl_key_type type, const char *name, const party *issuer)
{
    party p = {.cert = X509_new()};
    assert_int_equal(rl_signer_generate(type, &p.signer, NULL), RL_OK);
    X509_set_version(p.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(p.cert), issuer ? 2 : 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(p.cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                               0);
    X509_set_issuer_name(p.cert, X509_get_subject_name(issuer ? issuer->cert : p.cert));
    X509_gmtime_adj(X509_getm_notBefore(p.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(p.cert), 86400);
    X509_set_pubkey(p.cert, rl_signer_pkey(p.signer));
    if (issuer)
        add_extension(p.cert, NID_ext_key_usage, "OCSPSigning");
    else
        add_extension(p.cert, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(p.cert, rl_signer_pkey(issuer ? issuer->signer : p.signer), EVP_sha256()) > 0);
    assert_int_equal(rl_x509_to_der(p.cert, &p.der, &p.der_n, NULL), RL_OK);
    return p;
}

static void free_party(party *p)
{
    rl_signer_free(p->signer);
    X509_free(p->cert);
    OPENSSL_free(p->der);
}

static ocsp_identity identity_of(const party *p)
{
    uint8_t hash[RL_HASH_MAX];
    ocsp_identity who = {.signer = p->signer, .cert = rl_span_of(p->der, p->der_n)};
    assert_int_equal(rl_x509_key_hash(p->cert, RL_SHA1, hash), RL_OK);
    memcpy(who.key_hash, hash, sizeof(who.key_hash));
    return who;
}

static rl_span cert_id_der(OCSP_CERTID *id)
{
    unsigned char *der = NULL;
    int n = i2d_OCSP_CERTID(id, &der);
    return rl_span_of(der, (size_t)n);
}

/* What the cache does with it: the certificates at the end are kept once for all entries, and the CertID is found again
 * for an answer that is signed anew. */
static void assert_taken_apart(rl_span whole, const ocsp_response *r, const ocsp_identity *who)
{
    ocsp_cert_id id;
    ocsp_entry *one = ocsp_entry_new(whole, (rl_span){0}, 1, 2, 0), *two = ocsp_entry_new(whole, (rl_span){0}, 1, 2, 0);
    rl_span certs = one->certs;
    assert_true(certs.n > who->cert.n &&
                rl_span_eq(rl_span_of(certs.p + certs.n - who->cert.n, who->cert.n), who->cert));
    assert_ptr_equal(certs.p, two->certs.p);
    assert_int_equal(one->body.n + certs.n, whole.n);
    assert_memory_equal(one->body.p, whole.p, one->body.n);
    assert_int_equal(ocsp_response_cert_id(whole, &id), RL_OK);
    assert_true(rl_span_eq(id.whole, r->singles[0].cert_id));
    ocsp_entry_drop(one);
    ocsp_entry_drop(two);
}

/* Builds in memory of exactly the announced size and reads it back. */
static OCSP_BASICRESP *build_and_read(const ocsp_response *r, const ocsp_identity *who)
{
    size_t cap = ocsp_response_bound(r, who);
    uint8_t *memory = malloc(cap);
    rl_span out;
    rl_error e = {0};
    if (ocsp_response_build(r, who, memory, cap, &out, &e) != RL_OK)
        fail_msg("%s", e.message);
    assert_taken_apart(out, r, who);
    const unsigned char *at = out.p;
    OCSP_RESPONSE *whole = d2i_OCSP_RESPONSE(NULL, &at, (long)out.n);
    assert_non_null(whole);
    assert_ptr_equal(at, out.p + out.n);
    assert_int_equal(OCSP_response_status(whole), OCSP_RESPONSE_STATUS_SUCCESSFUL);
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(whole);
    assert_non_null(basic);
    OCSP_RESPONSE_free(whole);
    free(memory);
    return basic;
}

static void assert_verifies(OCSP_BASICRESP *basic, const party *ca)
{
    X509_STORE *trust = X509_STORE_new();
    X509_STORE_add_cert(trust, ca->cert);
    assert_int_equal(OCSP_basic_verify(basic, NULL, trust, 0), 1);
    X509_STORE_free(trust);
}

static void assert_time(const ASN1_GENERALIZEDTIME *t, int64_t unix_s)
{
    assert_int_equal(ASN1_TIME_cmp_time_t(t, (time_t)unix_s), 0);
}

static void test_libcrypto_verifies_every_key_type(void **state)
{
    static const rl_key_type types[] = {RL_KEY_RSA2048, RL_KEY_EC_P256, RL_KEY_EC_P384};
    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        party ca = make_party(RL_KEY_EC_P256, "CA", NULL), delegate = make_party(types[i], "responder", &ca);
        ocsp_identity who = identity_of(&delegate);
        OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha256(), delegate.cert, ca.cert);
        rl_span id_der = cert_id_der(id);
        int64_t now = time(NULL);
        ocsp_single single = {.cert_id = id_der, .status = OCSP_GOOD, .next_update = now + 600};
        ocsp_response r = {.singles = &single, .singles_n = 1, .produced_at = now};
        OCSP_BASICRESP *basic = build_and_read(&r, &who);
        int status, reason;
        ASN1_GENERALIZEDTIME *revoked, *this_update, *next_update;
        const ASN1_OCTET_STRING *by_key;
        const X509_NAME *by_name;

        assert_verifies(basic, &ca);
        assert_int_equal(OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &this_update, &next_update), 1);
        assert_int_equal(status, V_OCSP_CERTSTATUS_GOOD);
        assert_time(this_update, now);
        assert_time(next_update, now + 600);
        assert_time(OCSP_resp_get0_produced_at(basic), now);
        assert_int_equal(OCSP_resp_get0_id(basic, &by_key, &by_name), 1);
        assert_null(by_name);
        assert_true(rl_span_eq(rl_span_of(by_key->data, (size_t)by_key->length),
                               rl_span_of(who.key_hash, sizeof(who.key_hash))));
        assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), 0);
        OCSP_BASICRESP_free(basic);
        OPENSSL_free((void *)id_der.p);
        OCSP_CERTID_free(id);
        free_party(&delegate);
        free_party(&ca);
    }
}

static void test_revoked_carries_time_and_reason(void **state)
{
    party ca = make_party(RL_KEY_EC_P256, "CA", NULL);
    ocsp_identity who = identity_of(&ca);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), ca.cert, ca.cert);
    rl_span id_der = cert_id_der(id);
    static const struct {
        rl_reason reason;
        int read; /* RFC 5280 §5.3.1: unspecified is left out, which libcrypto gives as -1 */
    } cases[] = {
        {RL_REASON_UNSPECIFIED, -1}, {RL_REASON_KEY_COMPROMISE, 1}, {RL_REASON_HOLD, 6}, {RL_REASON_AA_COMPROMISE, 10}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ocsp_single single = {.cert_id = id_der,
                              .status = OCSP_REVOKED,
                              .revoked_at = 1700000000,
                              .reason = cases[i].reason,
                              .next_update = 1800000000};
        ocsp_response r = {.singles = &single, .singles_n = 1, .produced_at = 1750000000};
        OCSP_BASICRESP *basic = build_and_read(&r, &who);
        int status, reason;
        ASN1_GENERALIZEDTIME *revoked;
        assert_int_equal(OCSP_resp_find_status(basic, id, &status, &reason, &revoked, NULL, NULL), 1);
        assert_int_equal(status, V_OCSP_CERTSTATUS_REVOKED);
        assert_int_equal(reason, cases[i].read);
        assert_time(revoked, 1700000000);
        OCSP_BASICRESP_free(basic);
    }
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&ca);
}

static void test_the_nonce_comes_back_as_the_client_sent_it(void **state)
{
    party ca = make_party(RL_KEY_EC_P256, "CA", NULL);
    ocsp_identity who = identity_of(&ca);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), ca.cert, ca.cert);
    rl_span id_der = cert_id_der(id);
    uint8_t nonce[128];
    (void)state;
    memset(nonce, 0xa5, sizeof(nonce));
    for (size_t n = 1; n <= sizeof(nonce); n += 127) {
        OCSP_REQUEST *request = OCSP_REQUEST_new();
        OCSP_request_add1_nonce(request, nonce, (int)n);
        ocsp_single single = {.cert_id = id_der, .status = OCSP_UNKNOWN, .next_update = 1800000000};
        ocsp_response r = {
            .singles = &single, .singles_n = 1, .produced_at = 1750000000, .nonce = rl_span_of(nonce, n)};
        OCSP_BASICRESP *basic = build_and_read(&r, &who);
        assert_int_equal(OCSP_check_nonce(request, basic), 1);
        OCSP_BASICRESP_free(basic);
        OCSP_REQUEST_free(request);
    }
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&ca);
}

static void test_extended_revoke_says_so(void **state)
{
    party ca = make_party(RL_KEY_EC_P256, "CA", NULL);
    ocsp_identity who = identity_of(&ca);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), ca.cert, ca.cert);
    rl_span id_der = cert_id_der(id);
    ocsp_single single = {
        .cert_id = id_der, .status = OCSP_REVOKED, .reason = RL_REASON_HOLD, .next_update = 1800000000};
    ocsp_response r = {.singles = &single, .singles_n = 1, .produced_at = 1750000000, .extended_revoke = true};
    (void)state;
    OCSP_BASICRESP *basic = build_and_read(&r, &who);
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.5.5.7.48.1.9", 1);
    int at = OCSP_BASICRESP_get_ext_by_OBJ(basic, oid, -1), reason;
    assert_true(at >= 0);
    X509_EXTENSION *x = OCSP_BASICRESP_get_ext(basic, at);
    assert_int_equal(X509_EXTENSION_get_critical(x), 0);
    assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(x)), 2);
    assert_memory_equal(ASN1_STRING_get0_data(X509_EXTENSION_get_data(x)), "\x05\x00", 2);
    ASN1_GENERALIZEDTIME *revoked;
    assert_int_equal(OCSP_resp_find_status(basic, id, NULL, &reason, &revoked, NULL, NULL), 1);
    assert_int_equal(reason, OCSP_REVOKED_STATUS_CERTIFICATEHOLD);
    assert_time(revoked, 0);
    ASN1_OBJECT_free(oid);
    OCSP_BASICRESP_free(basic);
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&ca);
}

/* RFC 6960 §4.2.1: byName is the signer's subject, by which libcrypto finds the certificate. */
static void test_the_responder_can_be_named_by_its_subject(void **state)
{
    party ca = make_party(RL_KEY_EC_P256, "CA", NULL), delegate = make_party(RL_KEY_EC_P256, "responder", &ca);
    ocsp_identity who = identity_of(&delegate);
    unsigned char *name = NULL;
    int name_n = i2d_X509_NAME(X509_get_subject_name(delegate.cert), &name);
    who.name = rl_span_of(name, (size_t)name_n);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha256(), delegate.cert, ca.cert);
    rl_span id_der = cert_id_der(id);
    int64_t now = time(NULL);
    ocsp_single single = {.cert_id = id_der, .status = OCSP_GOOD, .next_update = now + 600};
    ocsp_response r = {.singles = &single, .singles_n = 1, .produced_at = now};
    const ASN1_OCTET_STRING *by_key;
    const X509_NAME *by_name;
    (void)state;
    OCSP_BASICRESP *basic = build_and_read(&r, &who);
    assert_verifies(basic, &ca);
    assert_int_equal(OCSP_resp_get0_id(basic, &by_key, &by_name), 1);
    assert_null(by_key);
    assert_int_equal(X509_NAME_cmp(by_name, X509_get_subject_name(delegate.cert)), 0);
    OCSP_BASICRESP_free(basic);
    OPENSSL_free(name);
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&delegate);
    free_party(&ca);
}

/* RFC 6960 §4.4.4: a GeneralizedTime among the singleExtensions. */
static void test_an_archived_status_carries_its_cutoff(void **state)
{
    party ca = make_party(RL_KEY_EC_P256, "CA", NULL);
    ocsp_identity who = identity_of(&ca);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), ca.cert, ca.cert);
    rl_span id_der = cert_id_der(id);
    (void)state;
    for (int archived = 0; archived < 2; archived++) {
        ocsp_single single = {.cert_id = id_der,
                              .status = OCSP_GOOD,
                              .next_update = 1800000000,
                              .archived = archived,
                              .archive_cutoff = 1500000000};
        ocsp_response r = {.singles = &single, .singles_n = 1, .produced_at = 1750000000};
        OCSP_BASICRESP *basic = build_and_read(&r, &who);
        OCSP_SINGLERESP *read = OCSP_resp_get0(basic, 0);
        assert_int_equal(OCSP_SINGLERESP_get_ext_count(read), archived);
        int critical;
        ASN1_GENERALIZEDTIME *cutoff =
            OCSP_SINGLERESP_get1_ext_d2i(read, NID_id_pkix_OCSP_archiveCutoff, &critical, NULL);
        assert_int_equal(cutoff != NULL, archived);
        if (archived) {
            assert_int_equal(critical, 0);
            assert_time(cutoff, 1500000000);
        }
        ASN1_GENERALIZEDTIME_free(cutoff);
        OCSP_BASICRESP_free(basic);
    }
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&ca);
}

static void test_as_many_singles_as_a_request_can_have(void **state)
{
    party ca = make_party(RL_KEY_RSA4096, "CA", NULL); /* the longest signature */
    ocsp_identity who = identity_of(&ca);
    unsigned char *name = NULL;
    who.name = rl_span_of(NULL, (size_t)i2d_X509_NAME(X509_get_subject_name(ca.cert), &name));
    who.name.p = name;
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha512(), ca.cert, ca.cert); /* the longest CertID */
    rl_span id_der = cert_id_der(id);
    ocsp_single singles[OCSP_CERT_IDS_MAX];
    uint8_t nonce[128] = {1};
    (void)state;
    for (size_t i = 0; i < OCSP_CERT_IDS_MAX; i++)
        singles[i] = (ocsp_single){id_der, OCSP_REVOKED, 1700000000, RL_REASON_HOLD, 1800000000, true, 1600000000};
    ocsp_response r = {singles, OCSP_CERT_IDS_MAX, 1750000000, rl_span_of(nonce, sizeof(nonce)), true};
    OCSP_BASICRESP *basic = build_and_read(&r, &who);
    assert_int_equal(OCSP_resp_count(basic), OCSP_CERT_IDS_MAX);
    assert_verifies(basic, &ca);

    uint8_t small[64];
    rl_span out;
    assert_int_equal(ocsp_response_build(&r, &who, small, sizeof(small), &out, NULL), RL_ERANGE);
    OCSP_BASICRESP_free(basic);
    OPENSSL_free(name);
    OPENSSL_free((void *)id_der.p);
    OCSP_CERTID_free(id);
    free_party(&ca);
}

static void test_error_answers(void **state)
{
    static const struct {
        ocsp_response_status status;
        int read;
    } cases[] = {{OCSP_MALFORMED_REQUEST, OCSP_RESPONSE_STATUS_MALFORMEDREQUEST},
                 {OCSP_INTERNAL_ERROR, OCSP_RESPONSE_STATUS_INTERNALERROR},
                 {OCSP_TRY_LATER, OCSP_RESPONSE_STATUS_TRYLATER},
                 {OCSP_UNAUTHORIZED, OCSP_RESPONSE_STATUS_UNAUTHORIZED}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rl_span body = ocsp_error_response(cases[i].status);
        const unsigned char *at = body.p;
        OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &at, (long)body.n);
        assert_non_null(r);
        assert_int_equal(OCSP_response_status(r), cases[i].read);
        OCSP_RESPONSE_free(r);
    }
}

/* ---- what an answer says ---- */
static void test_decisions(void **state)
{
    enum { NOW = 1000000, END = NOW + 5000, LATER = NOW + 100000 }; /* END: of the responder's certificate */
    static const struct {
        const char *what;
        bool issued;
        rl_cert_status record; /* status, reason, revoked_at, not_before, not_after */
        rl_unissued_policy unissued;
        ocsp_cert_status status;
        rl_reason reason;
        int64_t revoked_at, next_update;
    } cases[] = {
        {"good", true, {RL_STATUS_GOOD, 0, 0, 0, LATER}, 0, OCSP_GOOD, 0, 0, NOW + 600},
        {"good, ends with the certificate", true, {RL_STATUS_GOOD, 0, 0, 0, NOW + 7}, 0, OCSP_GOOD, 0, 0, NOW + 7},
        {"expired this second", true, {RL_STATUS_GOOD, 0, 0, 0, NOW}, 0, OCSP_UNKNOWN, 0, 0, NOW + 60},
        {"expired long ago", true, {RL_STATUS_GOOD, 0, 0, 0, 5}, 0, OCSP_UNKNOWN, 0, 0, NOW + 60},
        {"expired is not unissued",
         true,
         {RL_STATUS_GOOD, 0, 0, 0, 5},
         RL_UNISSUED_REVOKED,
         OCSP_UNKNOWN,
         0,
         0,
         NOW + 60},
        {"hold", true, {RL_STATUS_HOLD, RL_REASON_HOLD, 77, 0, LATER}, 0, OCSP_REVOKED, RL_REASON_HOLD, 77, NOW + 300},
        {"hold, whatever the reason",
         true,
         {RL_STATUS_HOLD, 0, 77, 0, LATER},
         0,
         OCSP_REVOKED,
         RL_REASON_HOLD,
         77,
         NOW + 300},
        {"revoked, ends with the responder",
         true,
         {RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, 78, 0, LATER},
         0,
         OCSP_REVOKED,
         RL_REASON_SUPERSEDED,
         78,
         END},
        {"revoked under a clock that was ahead: before any client's clock",
         true,
         {RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, NOW + 2, 0, LATER},
         0,
         OCSP_REVOKED,
         RL_REASON_SUPERSEDED,
         NOW - 3600,
         END},
        {"revoked just now",
         true,
         {RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, NOW + 1, 0, LATER},
         0,
         OCSP_REVOKED,
         RL_REASON_SUPERSEDED,
         NOW + 1,
         END},
        {"revoked and expired", true, {RL_STATUS_REVOKED, 0, 78, 0, 5}, 0, OCSP_REVOKED, 0, 78, END},
        {"never issued", false, {0}, RL_UNISSUED_UNKNOWN, OCSP_UNKNOWN, 0, 0, NOW + 60},
        {"never issued, extended revoke", false, {0}, RL_UNISSUED_REVOKED, OCSP_REVOKED, RL_REASON_HOLD, 0, NOW + 60},
    };
    rl_settings s = {.ocsp = {.validity_good = 600000,
                              .validity_hold = 300000,
                              .validity_revoked = 86400000,
                              .validity_unknown = 60000},
                     .ca.clock_skew = 3600 * 1000};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ocsp_single out;
        s.ocsp.unissued = cases[i].unissued;
        ocsp_decide(&s, cases[i].issued ? &cases[i].record : NULL, NOW, END, &out);
        if (out.status != cases[i].status || out.reason != cases[i].reason || out.revoked_at != cases[i].revoked_at ||
            out.next_update != cases[i].next_update)
            fail_msg("%s: status %d, reason %d, revoked at %lld, next update %+lld", cases[i].what, out.status,
                     out.reason, (long long)out.revoked_at, (long long)(out.next_update - NOW));
    }
}

/* A retention interval of 1000 seconds; NOW less that is the cutoff (RFC 6960 §4.4.4). */
static void test_decisions_with_an_archive(void **state)
{
    enum { NOW = 1000000, KEPT = 1000, END = NOW + 5000 };
    static const struct {
        const char *what;
        rl_cert_status record; /* status, reason, revoked_at, not_before, not_after */
        ocsp_cert_status status;
        rl_reason reason;
        bool archived;
        int64_t next_update;
    } cases[] = {
        {"valid", {RL_STATUS_GOOD, 0, 0, 0, NOW + 7}, OCSP_GOOD, 0, false, NOW + 7},
        {"valid and revoked", {RL_STATUS_REVOKED, 4, 78, 0, NOW + 7}, OCSP_REVOKED, 4, false, END},
        {"expired this second", {RL_STATUS_GOOD, 0, 0, 0, NOW}, OCSP_GOOD, 0, true, NOW + 600},
        {"the archive's last second", {RL_STATUS_GOOD, 0, 0, 0, NOW - KEPT + 1}, OCSP_GOOD, 0, true, NOW + 1},
        {"out of the archive", {RL_STATUS_GOOD, 0, 0, 0, NOW - KEPT}, OCSP_UNKNOWN, 0, false, NOW + 60},
        {"expired and revoked", {RL_STATUS_REVOKED, 1, 78, 0, NOW - 5}, OCSP_REVOKED, 1, true, END},
        {"expired on hold", {RL_STATUS_HOLD, 6, 78, 0, NOW - 5}, OCSP_REVOKED, 6, true, NOW + 300},
        {"revoked, out of the archive", {RL_STATUS_REVOKED, 1, 78, 0, NOW - KEPT}, OCSP_REVOKED, 1, false, END},
        {"on hold, out of the archive", {RL_STATUS_HOLD, 6, 78, 0, 5}, OCSP_REVOKED, 6, false, NOW + 300},
    };
    rl_settings s = {.ocsp = {.validity_good = 600000,
                              .validity_hold = 300000,
                              .validity_revoked = 86400000,
                              .validity_unknown = 60000,
                              .archive = KEPT * 1000}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ocsp_single out;
        ocsp_decide(&s, &cases[i].record, NOW, END, &out);
        if (out.status != cases[i].status || out.reason != cases[i].reason || out.archived != cases[i].archived ||
            out.archive_cutoff != (out.archived ? NOW - KEPT : 0) || out.next_update != cases[i].next_update)
            fail_msg("%s: status %d, reason %d, cutoff %lld, next update %+lld", cases[i].what, out.status, out.reason,
                     (long long)out.archive_cutoff, (long long)(out.next_update - NOW));
    }
    ocsp_single out;
    ocsp_decide(&s, NULL, NOW, END, &out);
    assert_int_equal(out.status, OCSP_UNKNOWN);
    assert_false(out.archived);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libcrypto_verifies_every_key_type),
        cmocka_unit_test(test_revoked_carries_time_and_reason),
        cmocka_unit_test(test_the_nonce_comes_back_as_the_client_sent_it),
        cmocka_unit_test(test_extended_revoke_says_so),
        cmocka_unit_test(test_the_responder_can_be_named_by_its_subject),
        cmocka_unit_test(test_an_archived_status_carries_its_cutoff),
        cmocka_unit_test(test_as_many_singles_as_a_request_can_have),
        cmocka_unit_test(test_error_answers),
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_decisions_with_an_archive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
