/* The request parser takes what RFC 6960 §4.1 allows, refuses the rest, and stays inside its input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>

#include "ocsp/get.h"
#include "ocsp/request.h"

#define VECTORS TESTS_DIR "/conformance/ocsp/"
enum { MAX_IDS = 16, VECTOR_MAX = 8192 };

/* ---- conformance vectors ---- */
static rl_span read_vector(const char *name, uint8_t *memory)
{
    char path[512];
    snprintf(path, sizeof(path), VECTORS "%s.der", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(memory, 1, VECTOR_MAX, f);
    fclose(f);
    return rl_span_of(memory, n);
}

static rl_err expected_code(const char *outcome)
{
    static const struct {
        const char *name;
        rl_err code;
    } outcomes[] = {{"ok", RL_OK}, {"malformed", RL_EBADMSG}, {"limit", RL_ERANGE}, {"unsupported", RL_EUNSUPPORTED}};
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
        if (strcmp(outcome, outcomes[i].name) == 0)
            return outcomes[i].code;
    fail_msg("unknown outcome %s", outcome);
    return RL_EINVAL;
}

static void each_vector(void (*fn)(const char *name, rl_span der, const char *outcome, const char *ids,
                                   const char *nonce))
{
    char line[256], name[128], outcome[16], ids[8], nonce[8];
    uint8_t memory[VECTOR_MAX];
    size_t n = 0;
    FILE *f = fopen(VECTORS "index.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        assert_int_equal(sscanf(line, "%127s %15s %7s %7s", name, outcome, ids, nonce), 4);
        fn(name, read_vector(name, memory), outcome, ids, nonce);
        n++;
    }
    fclose(f);
    assert_true(n > 50);
}

static void check_vector(const char *name, rl_span der, const char *outcome, const char *ids, const char *nonce)
{
    ocsp_request r;
    rl_err err = ocsp_request_parse(der, MAX_IDS, &r);
    if (err != expected_code(outcome))
        fail_msg("%s: %s, not %s", name, rl_err_name(err), outcome);
    if (err == RL_OK && (r.ids_n != (size_t)atoi(ids) || r.nonce.n != (size_t)atoi(nonce)))
        fail_msg("%s: %zu CertIDs and a nonce of %zu octets", name, r.ids_n, r.nonce.n);
}

static void test_vectors_have_their_outcome(void **state)
{
    (void)state;
    each_vector(check_vector);
}

/* Each prefix lies in memory of exactly its size, so that AddressSanitizer sees one octet too far. */
static void check_prefixes(const char *name, rl_span der, const char *outcome, const char *ids, const char *nonce)
{
    ocsp_request r;
    (void)outcome, (void)ids, (void)nonce;
    for (size_t n = 0; n + 1 < der.n; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, der.p, n);
        if (ocsp_request_parse(rl_span_of(exact, n), MAX_IDS, &r) == RL_OK && strstr(name, "trailing-octet") == NULL)
            fail_msg("%s cut to %zu octets was taken", name, n);
        free(exact);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    each_vector(check_prefixes);
}

/* ---- requests that are like another ---- */
static void check_same_but_serial(const ocsp_request *a, const ocsp_request *b)
{
    assert_int_equal(b->ids_n, 1);
    assert_null(b->nonce.p);
    const ocsp_cert_id *x = &a->ids[0], *y = &b->ids[0];
    assert_int_equal(x->known_hash, y->known_hash);
    assert_true(!x->known_hash || (x->hash == y->hash && x->null_parameters == y->null_parameters));
    assert_true(rl_span_eq(x->issuer_name_hash, y->issuer_name_hash));
    assert_true(rl_span_eq(x->issuer_key_hash, y->issuer_key_hash));
}

/* Whatever octet is another one, or missing: in the frame is only what the parser takes, and then with this serial. */
static void check_frame(const char *name, rl_span der, const char *outcome, const char *ids, const char *nonce)
{
    ocsp_request r, changed;
    ocsp_request_frame f = {0};
    rl_span serial;
    (void)ids, (void)nonce;
    if (strcmp(outcome, "ok") != 0 || ocsp_request_parse(der, MAX_IDS, &r) != RL_OK ||
        !ocsp_request_frame_set(&f, der, &r))
        return;
    assert_true(ocsp_request_in_frame(&f, der, &serial));
    assert_ptr_equal(serial.p, r.ids[0].serial.p);
    assert_int_equal(serial.n, r.ids[0].serial.n);
    for (size_t i = 0; i < 256 * der.n; i++) {
        uint8_t *exact = malloc(der.n);
        memcpy(exact, der.p, der.n);
        exact[i / 256] = (uint8_t)i;
        rl_span other = rl_span_of(exact, der.n);
        if (ocsp_request_in_frame(&f, other, &serial)) {
            if (ocsp_request_parse(other, MAX_IDS, &changed) != RL_OK)
                fail_msg("%s with octet %zu as %zu is no request", name, i / 256, i % 256);
            check_same_but_serial(&r, &changed);
            assert_true(rl_span_eq(serial, changed.ids[0].serial));
        }
        assert_false(ocsp_request_in_frame(&f, rl_span_of(exact, i / 256), &serial));
        free(exact);
    }
}

static void test_only_requests_are_in_a_frame(void **state)
{
    (void)state;
    each_vector(check_frame);
}

static size_t framed;

static void count_framed(const char *name, rl_span der, const char *outcome, const char *ids, const char *nonce)
{
    ocsp_request r;
    ocsp_request_frame f = {0};
    (void)name, (void)outcome;
    if (ocsp_request_parse(der, MAX_IDS, &r) != RL_OK || !ocsp_request_frame_set(&f, der, &r))
        return;
    assert_string_equal(ids, "1");
    assert_string_equal(nonce, "0");
    framed++;
}

static void test_a_frame_is_that_of_one_certid_and_no_nonce(void **state)
{
    rl_span serial;
    (void)state;
    framed = 0;
    each_vector(count_framed);
    assert_true(framed > 10);
    assert_false(ocsp_request_in_frame(&(ocsp_request_frame){0}, (rl_span){0}, &serial));
}

/* ---- against libcrypto ---- */
static X509 *make_issuer(void)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), 0x80cafe);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"issuer", -1, -1,
                               0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    EVP_PKEY_free(key);
    return cert;
}

static void test_reads_what_libcrypto_writes(void **state)
{
    const EVP_MD *digests[] = {EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512(), EVP_sha224()};
    X509 *cert = make_issuer();
    (void)state;
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        OCSP_REQUEST *made = OCSP_REQUEST_new();
        OCSP_CERTID *id = OCSP_cert_to_id(digests[h], cert, cert);
        unsigned char nonce[32] = "a nonce of thirty-two octets...", *der = NULL, *id_der = NULL;
        OCSP_request_add0_id(made, id);
        OCSP_request_add1_nonce(made, nonce, sizeof(nonce));
        OCSP_request_set1_name(made, X509_get_subject_name(cert));
        int n = i2d_OCSP_REQUEST(made, &der), id_n = i2d_OCSP_CERTID(id, &id_der);

        ocsp_request r;
        assert_int_equal(ocsp_request_parse(rl_span_of(der, (size_t)n), 1, &r), RL_OK);
        assert_int_equal(r.ids_n, 1);
        assert_true(r.ids[0].known_hash);
        assert_int_equal(r.ids[0].hash, h);
        assert_false(r.ids[0].negative);
        assert_true(rl_span_eq(r.ids[0].whole, rl_span_of(id_der, (size_t)id_n)));
        assert_true(rl_span_eq(r.ids[0].serial, RL_SPAN_LIT("\x00\x80\xca\xfe")));
        assert_true(rl_span_eq(r.nonce, rl_span_of(nonce, sizeof(nonce))));

        ASN1_OCTET_STRING *name_hash, *key_hash;
        OCSP_id_get0_info(&name_hash, NULL, &key_hash, NULL, id);
        assert_true(rl_span_eq(r.ids[0].issuer_name_hash, rl_span_of(name_hash->data, (size_t)name_hash->length)));
        assert_true(rl_span_eq(r.ids[0].issuer_key_hash, rl_span_of(key_hash->data, (size_t)key_hash->length)));
        OPENSSL_free(der);
        OPENSSL_free(id_der);
        OCSP_REQUEST_free(made);
    }
    X509_free(cert);
}

static void test_reads_a_signed_request_of_libcrypto(void **state)
{
    X509 *cert = make_issuer();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    OCSP_REQUEST *made = OCSP_REQUEST_new();
    unsigned char *der = NULL;
    ocsp_request r;
    (void)state;
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    OCSP_request_add0_id(made, OCSP_cert_to_id(EVP_sha256(), cert, cert));
    OCSP_request_add0_id(made, OCSP_cert_to_id(EVP_sha1(), cert, cert));
    assert_int_equal(OCSP_request_sign(made, cert, key, EVP_sha256(), NULL, 0), 1);
    int n = i2d_OCSP_REQUEST(made, &der);
    assert_int_equal(ocsp_request_parse(rl_span_of(der, (size_t)n), MAX_IDS, &r), RL_OK);
    assert_int_equal(r.ids_n, 2);
    assert_null(r.nonce.p);
    assert_int_equal(ocsp_request_parse(rl_span_of(der, (size_t)n), 1, &r), RL_ERANGE);
    OPENSSL_free(der);
    OCSP_REQUEST_free(made);
    EVP_PKEY_free(key);
    X509_free(cert);
}

static void test_the_ceiling_holds_whatever_the_caller_allows(void **state)
{
    uint8_t memory[VECTOR_MAX];
    ocsp_request r;
    (void)state;
    rl_span der = read_vector("rfc6960-4.1.1-over-the-limit", memory);
    assert_int_equal(ocsp_request_parse(der, SIZE_MAX, &r), RL_OK); /* 17 are below the ceiling of 64 */
    assert_int_equal(r.ids_n, MAX_IDS + 1);
}

/* ---- GET paths ---- */
static void test_get_paths_decode_however_they_are_encoded(void **state)
{
    /* Octets 30 03 fb ff fe 30 and 30 03 fb ff, in base64 "MAP7//4w" and "MAP7/w==". */
    static const struct {
        const char *path, *der;
        size_t n;
    } cases[] = {
        {"MAP7//4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"MAP7%2F%2F4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"MAP7%2f%2f4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"MAP7__4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"/MAP7//4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"//MAP7//4w", "\x30\x03\xfb\xff\xfe\x30", 6},
        {"MAP7/w==", "\x30\x03\xfb\xff", 4},
        {"MAP7/w", "\x30\x03\xfb\xff", 4},
        {"MAP7%2Fw%3D%3D", "\x30\x03\xfb\xff", 4},
        {"MAP7_w", "\x30\x03\xfb\xff", 4},
        {"%4D%41%50%37%2F%77", "\x30\x03\xfb\xff", 4},
        {"MAP7%5Fw%3d=", "\x30\x03\xfb\xff", 4},
        {"MAP+", "\x30\x03\xfe", 3},
        {"MAP%2B", "\x30\x03\xfe", 3},
        {"MAP%2b", "\x30\x03\xfe", 3},
        {"MAP-", "\x30\x03\xfe", 3},
        {"MAP%20", "\x30\x03\xfe", 3},
        {"MAP%252B", "\x30\x03\xfe", 3},
        {"MAP%252b", "\x30\x03\xfe", 3},
        {"MAP7%252F%77%253D%3D", "\x30\x03\xfb\xff", 4},
        {"MA%0D%0AP7%0a/w=%3D%0A", "\x30\x03\xfb\xff", 4},
        {"MAP7/w==/", "\x30\x03\xfb\xff", 4},
    };
    uint8_t memory[64];
    rl_span der;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (ocsp_get_decode(rl_span_str(cases[i].path), memory, strlen(cases[i].path), &der) != RL_OK)
            fail_msg("%s does not decode", cases[i].path);
        if (!rl_span_eq(der, rl_span_of(cases[i].der, cases[i].n)))
            fail_msg("%s decodes to something else", cases[i].path);
    }
}

static void test_get_paths_that_are_no_base64_are_refused(void **state)
{
    static const char *const paths[] = {
        "",      "/",      "M",          "MAP7/",    "MAP7/w=", "MAP7/w===",   "MAP7/w==M", "MAP 7",
        "MAP7%", "MAP7%2", "MAP7%2x4w",  "MAP7/x==", "MA P7",   "MAP7\x80/4w", "%00AP7",    "favicon.ico",
        "=",     "==",     "MAP%25252B", "MAP%252",  "%25",     "MAP%0",       "%0D%0A",    "//=="};
    uint8_t memory[64];
    rl_span der;
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (ocsp_get_decode(rl_span_str(paths[i]), memory, sizeof(memory), &der) == RL_OK)
            fail_msg("'%s' was taken", paths[i]);
    assert_int_equal(ocsp_get_decode(RL_SPAN_LIT("MAP7"), memory, 3, &der), RL_ERANGE);
}

/* ---- bent GET paths: requests of libcrypto, whose serial number brings the slashes ---- */
/* A request with a serial number of 16 octets; freed with OPENSSL_free. */
static rl_span request_about(const uint8_t serial[16])
{
    X509 *cert = make_issuer();
    BIGNUM *number = BN_bin2bn(serial, 16, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    OCSP_REQUEST *made = OCSP_REQUEST_new();
    unsigned char *der = NULL;
    OCSP_request_add0_id(made, OCSP_cert_to_id(EVP_sha1(), cert, cert));
    int n = i2d_OCSP_REQUEST(made, &der);
    OCSP_REQUEST_free(made);
    BN_free(number);
    X509_free(cert);
    return rl_span_of(der, (size_t)n);
}

static size_t slashes(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '/';
    return n;
}

/* Calls `fn` with requests whose base64 has `count` slashes in all and two of them side by side or not. */
static void each_request_with(size_t count, bool pair, void (*fn)(rl_span der, const char *text))
{
    uint8_t serial[16];
    char text[512];
    unsigned found = 0;
    srand(1);
    while (found < 8) {
        for (size_t i = 0; i < sizeof(serial); i++)
            serial[i] = (uint8_t)(0x40 | (rand() % 3 == 0 ? 0xff : rand()));
        serial[0] &= 0x7f;
        rl_span der = request_about(serial);
        assert_int_equal(rl_base64_encode(der, false, text, sizeof(text)), RL_OK);
        if (slashes(text) == count && (strstr(text, "//") != NULL) == pair && !strstr(text, "///")) {
            fn(der, text);
            found++;
        }
        OPENSSL_free((void *)der.p);
    }
}

static void assert_decodes(const char *path, rl_span expected)
{
    uint8_t *exact = malloc(strlen(path)); /* AddressSanitizer sees an octet too far */
    rl_span der;
    if (ocsp_get_decode(rl_span_str(path), exact, strlen(path), &der) != RL_OK)
        fail_msg("%s does not decode", path);
    if (!rl_span_eq(der, expected))
        fail_msg("%s decodes to something else", path);
    free(exact);
}

/* Every form of the text with everything else that may be around it. */
static void check_forms(rl_span der, const char *text)
{
    static const char *const forms[] = {"%s",          "/%s",          "//%s",           "%s/", "%s//", "ca1/%s",
                                        "/a/b+/c-/%s", "M/MA/MEU/%s/", "ocsp/ca%%201/%s"};
    char path[1024], escaped[1024] = "", twice[1024] = "", wrapped[1024] = "";
    for (const char *c = text; *c; c++) {
        bool special = *c == '+' || *c == '/' || *c == '=';
        sprintf(escaped + strlen(escaped), special ? "%%%02x" : "%c", *c);
        sprintf(twice + strlen(twice), special ? "%%25%02X" : "%c", *c);
        sprintf(wrapped + strlen(wrapped), *c == '+' ? "%%20" : "%c", *c);
        if ((c - text) % 64 == 63)
            strcat(wrapped, "%0D%0A");
    }
    strcat(wrapped, "%0d%0a");
    const char *const texts[] = {text, escaped, twice, wrapped};
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++)
        for (size_t t = 0; t < 4; t++) {
            snprintf(path, sizeof(path), forms[f], texts[t]);
            assert_decodes(path, der);
        }
    char bare[512];
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(text, "="), text);
    assert_decodes(bare, der);
}

static void test_get_paths_decode_whatever_is_around_them(void **state)
{
    (void)state;
    for (size_t n = 0; n < 4; n++)
        each_request_with(n, false, check_forms);
    each_request_with(2, true, check_forms);
}

/* The text without one slash of its pair, and with one doubled. */
static void check_merged(rl_span der, const char *text)
{
    const char *pair = strstr(text, "//");
    char path[512];
    snprintf(path, sizeof(path), "%.*s%s", (int)(pair - text), text, pair + 1);
    assert_decodes(path, der);
    path[strcspn(path, "=")] = 0;
    assert_decodes(path, der);
}

static void check_doubled(rl_span der, const char *text)
{
    const char *slash = strchr(text, '/');
    char path[512];
    snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - text), text, slash);
    assert_decodes(path, der);
    path[strcspn(path, "=")] = 0;
    assert_decodes(path, der);
}

static void test_a_slash_lost_or_won_is_mended_when_there_is_one_place_for_it(void **state)
{
    (void)state;
    each_request_with(2, true, check_merged);
    each_request_with(1, false, check_doubled);
}

/* Two places within the serial number make two requests: neither is taken. */
static void test_a_slash_that_may_be_in_two_places_is_not_guessed(void **state)
{
    static const uint8_t serial[16] = {0x41, 0x55, 0xff, 0xff, 0xff, 0x55, 0x55, 0x55,
                                       0x55, 0xff, 0x55, 0x55, 0x55, 0xff, 0x55, 0x55};
    rl_span der = request_about(serial), read;
    char text[512], path[512];
    uint8_t memory[512];
    ocsp_request r;
    (void)state;
    assert_int_equal(rl_base64_encode(der, false, text, sizeof(text)), RL_OK);
    const char *pair = NULL; /* the serial number's: hashes, which differ from run to run, are in front of it */
    for (const char *at = text; (at = strstr(at, "//")) != NULL; at++)
        pair = at;
    assert_non_null(pair);
    assert_true(slashes(text) > 3);
    snprintf(path, sizeof(path), "%.*s%s", (int)(pair - text), text, pair + 1);
    const char *last = strrchr(path, '/');
    char other[512];
    size_t n;
    snprintf(other, sizeof(other), "%.*s/%s", (int)(last - path), path, last);
    assert_int_equal(rl_base64_decode(rl_span_str(other), false, memory, sizeof(memory), &n), RL_OK);
    assert_int_equal(ocsp_request_parse(rl_span_of(memory, n), MAX_IDS, &r), RL_OK);
    assert_memory_not_equal(memory, der.p, der.n);
    if (ocsp_get_decode(rl_span_str(path), memory, sizeof(memory), &read) == RL_OK)
        assert_int_not_equal(ocsp_request_parse(read, MAX_IDS, &r), RL_OK);
    OPENSSL_free((void *)der.p);
}

/* ---- paths that begin as another ---- */
/* Every path of this kind is read from the start of one of them as it is from its own beginning. */
static void test_paths_that_begin_alike_are_read_alike(void **state)
{
    static const char *const escapes[] = {"", "/+=", "=", "ABCabc012/+="};
    uint8_t first[16] = {0x40}, memory[256];
    rl_span der = request_about(first), read; /* one issuer's; its serial number comes last */
    (void)state;
    memcpy(memory, der.p, der.n);
    OPENSSL_free((void *)der.p);
    der.p = memory;
    for (size_t e = 0; e < 4; e++) {
        ocsp_path_start start = {0};
        size_t from_start = 0;
        for (unsigned i = 0; i < 64; i++) {
            const uint8_t serial[16] = {0x40, (uint8_t)(i * 37), [9] = (uint8_t)(i * 101), [15] = (uint8_t)(255 - i)};
            memcpy(memory + der.n - sizeof(serial), serial, sizeof(serial));
            char text[256], path[768] = "";
            assert_int_equal(rl_base64_encode(der, false, text, sizeof(text)), RL_OK);
            for (const char *c = text; *c; c++)
                sprintf(path + strlen(path), strchr(escapes[e], *c) ? "%%%02X" : "%c", *c);
            uint8_t *exact = malloc(strlen(path));
            if (ocsp_get_decode_from(&start, rl_span_str(path), exact, strlen(path), &read)) {
                assert_true(rl_span_eq(read, der));
                from_start++;
            } else {
                ocsp_path_start_set(&start, rl_span_str(path), der, der.n - 18);
            }
            free(exact);
        }
        if (from_start != 63)
            fail_msg("escapes '%s': %zu paths", escapes[e], from_start);
    }
}

static void test_a_bent_path_is_no_start(void **state)
{
    uint8_t memory[1024], serial[16] = {1, 2, 3};
    rl_span der = request_about(serial), read;
    char text[256], path[300];
    ocsp_path_start start = {0};
    (void)state;
    assert_int_equal(rl_base64_encode(der, false, text, sizeof(text)), RL_OK);
    snprintf(path, sizeof(path), "/%s", text);
    assert_int_equal(ocsp_get_decode(rl_span_str(path), memory, sizeof(memory), &read), RL_OK);
    ocsp_path_start_set(&start, rl_span_str(path), read, 60);
    assert_false(ocsp_get_decode_from(&start, rl_span_str(path), memory, sizeof(memory), &read));
    ocsp_path_start_set(&start, rl_span_str(text), der, 60);
    assert_true(ocsp_get_decode_from(&start, rl_span_str(text), memory, sizeof(memory), &read));
    assert_false(ocsp_get_decode_from(&start, rl_span_str(path), memory, sizeof(memory), &read));
    assert_false(ocsp_get_decode_from(&start, rl_span_of(text, 79), memory, sizeof(memory), &read));
    assert_false(ocsp_get_decode_from(&start, rl_span_str(text), memory, strlen(text) - 1, &read));
    OPENSSL_free((void *)der.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_have_their_outcome),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_only_requests_are_in_a_frame),
        cmocka_unit_test(test_a_frame_is_that_of_one_certid_and_no_nonce),
        cmocka_unit_test(test_reads_what_libcrypto_writes),
        cmocka_unit_test(test_reads_a_signed_request_of_libcrypto),
        cmocka_unit_test(test_the_ceiling_holds_whatever_the_caller_allows),
        cmocka_unit_test(test_get_paths_decode_however_they_are_encoded),
        cmocka_unit_test(test_get_paths_that_are_no_base64_are_refused),
        cmocka_unit_test(test_get_paths_decode_whatever_is_around_them),
        cmocka_unit_test(test_a_slash_lost_or_won_is_mended_when_there_is_one_place_for_it),
        cmocka_unit_test(test_a_slash_that_may_be_in_two_places_is_not_guessed),
        cmocka_unit_test(test_paths_that_begin_alike_are_read_alike),
        cmocka_unit_test(test_a_bent_path_is_no_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
