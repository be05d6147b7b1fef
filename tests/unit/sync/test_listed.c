/* Intune's list of certificates: what is read of a page, and what it does in a real store. */
#include "sync/apply.h"

#include "tests/unit/sync/fixture.h"

#define ORIGIN "https://graph.microsoft.com"
#define SHA1   "7d44c33cf9a82ab9bd5300d266784504e9772177" /* of "der", as sha1sum has it */
enum { NOW = 1700000000 };

static const rl_graph_kind *const kind = &rl_intune_kinds[RL_INTUNE_ENDPOINT_LIST];

/* ---- numbers ---- */
static void test_numbers_as_people_write_them(void **state)
{
    static const struct {
        const char *text, *hex; /* "": it is none */
    } rows[] = {{"4A00000012AB", "4a00000012ab"},
                {"4a:00:00:00:12:ab", "4a00000012ab"},
                {" 00 4A 00-00-00 12 AB ", "4a00000012ab"},
                {"0x4A00000012AB", "4a00000012ab"},
                {"A00", "0a00"},
                {"000000000000000000000000000000000000000000000000000000000000000001", "01"},
                {"ffffffffffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffffffffffff"},
                {"ffffffffffffffffffffffffffffffffffffffff00", ""},
                {"", ""},
                {" :-", ""},
                {"12 G4", ""},
                {"12.34", ""},
                {"n/a", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rl_serial s;
        char hex[2 * RL_SERIAL_MAX + 1] = "";
        if (rl_number_read(rows[i].text, &s) == RL_OK)
            assert_int_equal(rl_hex(rl_span_of(s.b, s.n), hex, sizeof(hex)), RL_OK);
        if (strcmp(hex, rows[i].hex) != 0)
            fail_msg("%s is read as %s", rows[i].text, hex);
    }
}

/* ---- pages ---- */
static rl_err parse(const char *items, rl_graph_page *page)
{
    rl_buf text = {0};
    rl_error e = {0};
    rl_buf_printf(&text, "{\"@odata.context\":\"x\",\"value\":[%s]}", items);
    rl_err err = rl_graph_page_parse(rl_buf_span(&text), 1 << 20, &kind->shape, ORIGIN, page, &e);
    assert_true(err == RL_OK || e.message[0]);
    rl_buf_free(&text);
    return err;
}

/* As Microsoft Graph's documentation has it. */
static void test_an_entry(void **state)
{
    static const uint8_t serial[] = {0x4a, 0, 0, 0, 0x12, 0xab};
    rl_graph_page p;
    (void)state;
    assert_int_equal(
        parse("{\"@odata.type\":\"#microsoft.graph.managedAllDeviceCertificateState\",\"id\":\"987c\","
              "\"certificateRevokeStatus\":\"pending\",\"certificateRevokeStatusLastChangeDateTime\":\"2026-01-04T10:"
              "00:00Z\",\"managedDeviceDisplayName\":\"LT-0042\",\"certificateIssuerName\":\"CN=Contoso Device CA\","
              "\"certificateThumbprint\":\"9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B\","
              "\"certificateSerialNumber\":\"4A00000012AB\",\"certificateKeyUsages\":160}",
              &p),
        RL_OK);
    assert_int_equal(p.n, 1);
    assert_true(p.complete && p.items[0].revoking);
    const rl_listed_cert *listed = p.items[0].listed;
    assert_int_equal(listed->serial_n, sizeof(serial));
    assert_memory_equal(listed->serial, serial, sizeof(serial));
    assert_string_equal(listed->thumbprint, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b");
    rl_graph_page_free(&p);
}

static void test_thumbprints_without_their_zeros(void **state)
{
    rl_graph_page p;
    (void)state;
    assert_int_equal(parse("{\"id\":\"1\",\"certificateRevokeStatus\":\"REVOKED\",\"certificateSerialNumber\":\"1\","
                           "\"certificateThumbprint\":\"12:3\"}",
                           &p),
                     RL_OK);
    assert_string_equal(p.items[0].listed->thumbprint, "0000000000000000000000000000000000000123");
    rl_graph_page_free(&p);
}

static void test_the_words(void **state)
{
    static const struct {
        const char *word;
        bool revoking;
    } rows[] = {{"\"none\"", false},      {"\"failed\"", false}, {"null", false},      {"\"\"", false},
                {"\"a new one\"", false}, {"\"pending\"", true}, {"\"issued\"", true}, {"\"revoked\"", true}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256];
        rl_graph_page p;
        snprintf(text, sizeof(text),
                 "{\"id\":\"1\",\"certificateRevokeStatus\":%s,\"certificateSerialNumber\":\"1\","
                 "\"certificateThumbprint\":\"1\"}",
                 rows[i].word);
        assert_int_equal(parse(text, &p), RL_OK);
        assert_int_equal(p.items[0].revoking, rows[i].revoking);
        assert_int_equal(p.items[0].listed != NULL, rows[i].revoking);
        rl_graph_page_free(&p);
    }
}

static void test_pages_that_are_refused(void **state)
{
    static const char *const items[] = {"{\"certificateRevokeStatus\":\"revoked\"}",
                                        "{\"id\":\"1\",\"certificateRevokeStatus\":true}",
                                        "{\"id\":\"1\",\"certificateSerialNumber\":12}",
                                        "{\"id\":\"1\",\"certificateThumbprint\":[]}", "{\"id\":\"1\"},7"};
    (void)state;
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        rl_graph_page p;
        assert_int_equal(parse(items[i], &p), RL_EBADMSG);
    }
}

static void test_the_last_word_of_a_page_wins(void **state)
{
    rl_graph_page p;
    (void)state;
    assert_int_equal(parse("{\"id\":\"1\",\"certificateRevokeStatus\":\"revoked\",\"certificateSerialNumber\":\"1\","
                           "\"certificateThumbprint\":\"1\"},{\"id\":\"1\",\"certificateRevokeStatus\":\"none\"}",
                           &p),
                     RL_OK);
    assert_int_equal(p.n, 1);
    assert_false(p.items[0].revoking || p.items[0].listed);
    rl_graph_page_free(&p);
}

/* ---- in a store ---- */
struct world {
    folder_store f;
    rl_settings settings;
    uint64_t generation;
    rl_page_job job; /* the last */
};

/* Issuer 1 is ours, issuer 2 another's: both have issued certificates under the same numbers. */
static rl_err add_issuers(rl_store_txn *t, void *arg, rl_error *e)
{
    static char ours[] = "file:ca-1.key", none[] = "";
    static uint8_t cert[] = "no certificate";
    (void)arg, (void)e;
    const rl_issuer_record one = {.cert = cert, .cert_n = sizeof(cert), .key_ref = ours},
                           other = {.cert = cert, .cert_n = sizeof(cert), .key_ref = none};
    RL_TRY(rl_txn_put_issuer(t, 1, &one));
    return rl_txn_put_issuer(t, 2, &other);
}

static rl_err add_foreign(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_cert_id id = {.issuer = 2, .serial_n = 1, .serial = {*(const uint8_t *)arg}};
    const rl_cert_record r = {.subject = "CN=x", .profile = "import", .requester = "x", .not_after = 4000000000};
    (void)e;
    return rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "x");
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    folder_store_open(&w->f);
    w->settings.rules.directory = RL_DIRECTORY_ENDPOINT_LIST;
    assert_int_equal(rl_store_run(w->f.store, add_issuers, NULL, NULL), RL_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    folder_store_remove(&((struct world *)*state)->f);
    free(*state);
    return 0;
}

/* A whole list of one of the sources; how many certificates changed. */
static uint64_t list_in(struct world *w, const rl_graph_kind *of, const char *items)
{
    rl_graph_page page;
    assert_int_equal(parse(items, &page), RL_OK);
    w->job = (rl_page_job){.kind = of, .page = &page, .settings = &w->settings, .now = NOW};
    w->job.next = (rl_cursor_record){.link = "", .full = true, .complete = true, .generation = ++w->generation};
    assert_int_equal(rl_store_run(w->f.store, rl_page_apply, &w->job, NULL), RL_OK);
    rl_graph_page_free(&page);
    return w->job.changed;
}

static uint64_t list(struct world *w, const char *items)
{
    return list_in(w, kind, items);
}

#define ENTRY(id, status, serial, thumbprint)                                                                          \
    "{\"id\":\"" id "\",\"certificateRevokeStatus\":\"" status "\",\"certificateSerialNumber\":\"" serial              \
    "\",\"certificateThumbprint\":\"" thumbprint "\"}"

static void test_number_and_thumbprint_have_to_be_ours(void **state)
{
    struct world *w = *state;
    const uint8_t foreign = 7;
    for (uint8_t serial = 1; serial <= 3; serial++)
        issue_for_device(w->f.store, serial, "pc");
    assert_int_equal(rl_store_run(w->f.store, add_foreign, (void *)(uintptr_t)&foreign, NULL), RL_OK);
    assert_int_equal(
        list(w, ENTRY("a", "revoked", "01", SHA1) "," ENTRY("b", "revoked", "02", "00") "," ENTRY(
                    "c", "none", "03", SHA1) "," ENTRY("d", "issued", "07", SHA1) "," ENTRY("e", "issued", "", SHA1)),
        1);
    assert_int_equal(w->job.skipped, 3);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "good");
    assert_status(w->f.store, 3, "good");
    const rl_cert_id other = {.issuer = 2, .serial_n = 1, .serial = {foreign}};
    rl_cert_status status;
    assert_int_equal(rl_store_cert_status(w->f.store, &other, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_GOOD);
}

static void test_the_same_list_again_changes_nothing(void **state)
{
    struct world *w = *state;
    issue_for_device(w->f.store, 1, "pc");
    assert_int_equal(list(w, ENTRY("a", "revoked", "1", SHA1)), 1);
    uint64_t delta = last_delta(w->f.store);
    assert_int_equal(list(w, ENTRY("a", "revoked", "1", SHA1)), 0);
    assert_int_equal(list(w, ""), 0);
    assert_int_equal(list(w, ENTRY("b", "revoked", "1", SHA1)), 0);
    assert_int_equal(last_delta(w->f.store), delta);
    assert_status(w->f.store, 1, "revoked");
}

static void test_what_the_settings_leave_out_counts_when_they_do_not(void **state)
{
    struct world *w = *state;
    rl_cert_id id = cert_id(1);
    rl_cert_record cert;
    issue_for_device(w->f.store, 1, "pc");
    w->settings.rules.directory = RL_DIRECTORY_BOTH;
    assert_int_equal(list(w, ENTRY("a", "revoked", "1", SHA1)), 0);
    assert_int_equal(rl_store_cert(w->f.store, &id, &cert), RL_OK);
    assert_string_equal(rl_cert_binding(&cert, RL_SOURCE_LISTED_CERT), SHA1);
    assert_string_equal(rl_cert_binding(&cert, RL_SOURCE_ENTRA_DEVICE_NAME), "pc");
    rl_cert_clear(&cert);
}

/* Three lists, one certificate: bound once, and each list has an object of its own. */
static void test_the_lists_count_by_themselves(void **state)
{
    struct world *w = *state;
    const rl_graph_kind *const profiles = &rl_intune_kinds[RL_INTUNE_PROFILE_LIST],
                               *const report = &rl_intune_kinds[RL_INTUNE_REPORT_LIST];
    rl_cert_id id = cert_id(1);
    rl_cert_record cert;
    rl_object_record o;
    issue_for_device(w->f.store, 1, "pc");
    issue_for_device(w->f.store, 2, "pc");
    w->settings.rules.directory = RL_DIRECTORY_BOTH; /* so that nothing is revoked yet */
    assert_int_equal(list_in(w, report, ENTRY("r", "revoked", "1", SHA1)), 0);
    assert_int_equal(list_in(w, profiles, ENTRY("a", "revoked", "1", SHA1)), 0);
    assert_int_equal(list_in(w, report, ""), 0);
    assert_int_equal(rl_store_object(w->f.store, RL_SOURCE_PROFILE_CERT, SHA1, &o), RL_OK);
    assert_true(o.exists);
    rl_object_clear(&o);
    assert_int_equal(rl_store_object(w->f.store, RL_SOURCE_REPORTED_CERT, SHA1, &o), RL_OK);
    assert_false(o.exists);
    rl_object_clear(&o);
    assert_int_equal(rl_store_cert(w->f.store, &id, &cert), RL_OK);
    assert_int_equal(cert.bindings_n, 2);
    rl_cert_clear(&cert);
    w->settings.rules.directory = RL_DIRECTORY_ENDPOINT_LIST;
    assert_int_equal(list_in(w, report, ENTRY("r", "revoked", "1", SHA1)), 1);
    assert_status(w->f.store, 1, "revoked");
    assert_status(w->f.store, 2, "good");
}

/* ---- the report ---- */
static size_t report_of(const char *json, rl_graph_page *page)
{
    rl_error e = {0};
    rl_err err = rl_report_parse(rl_span_str(json), 1 << 20, page, &e);
    if (err != RL_OK)
        fail_msg("%s: %s", json, e.message);
    assert_true(page->complete && !page->link);
    return page->n;
}

#define ROW(status)                                                                                                    \
    "{\"SerialNumber\":\"4a00000012ab\",\"Thumbprint\":\"9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B\"," status "}"

static void test_the_report(void **state)
{
    static const char *const forms[] = {"[%s]", "{\"values\":[%s]}", "{\"value\":[%s],\"count\":1}"};
    static const struct {
        const char *row;
        size_t n;
    } rows[] = {{ROW("\"CertificateStatus\":\"Revoked\""), 1},
                {ROW("\"CertificateStatus\":7,\"CertificateStatus_loc\":\"revoked\""), 1},
                {ROW("\"CertificateStatus\":\"issued\""), 0},
                {ROW("\"CertificateStatus\":\"pending\""), 0},
                {ROW("\"CertificateStatus\":null"), 0},
                {ROW("\"x\":1"), 0},
                {"", 0}};
    (void)state;
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++)
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            char json[512];
            rl_graph_page p;
            snprintf(json, sizeof(json), forms[f], rows[i].row);
            assert_int_equal(report_of(json, &p), rows[i].n);
            if (p.n)
                assert_string_equal(p.items[0].listed->thumbprint, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b");
            rl_graph_page_free(&p);
        }
}

static void test_reports_that_are_refused(void **state)
{
    static const char *const reports[] = {
        "", "{}", "7", "{\"values\":{}}", "[7]", "[{\"SerialNumber\":7}]", "[{\"Thumbprint\":[]}]"};
    (void)state;
    for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
        rl_graph_page p;
        rl_error e = {0};
        assert_int_equal(rl_report_parse(rl_span_str(reports[i]), 1 << 20, &p, &e), RL_EBADMSG);
        assert_true(e.message[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_as_people_write_them),
        cmocka_unit_test(test_an_entry),
        cmocka_unit_test(test_thumbprints_without_their_zeros),
        cmocka_unit_test(test_the_words),
        cmocka_unit_test(test_pages_that_are_refused),
        cmocka_unit_test(test_the_last_word_of_a_page_wins),
        cmocka_unit_test_setup_teardown(test_number_and_thumbprint_have_to_be_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_list_again_changes_nothing, setup, teardown),
        cmocka_unit_test(test_the_report),
        cmocka_unit_test(test_reports_that_are_refused),
        cmocka_unit_test_setup_teardown(test_the_lists_count_by_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_settings_leave_out_counts_when_they_do_not, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
