/* An export: every family in its order, what a line says, and reading it again. */
#include "fixture.h"

#include "store/export.h"

#define TEXT(s) rl_span_of((s), strlen(s))

static const char good[] = "{\"type\":\"certificate\",\"issuer\":1,\"serial\":\"2A\",\"subject\":\"CN=a\",\"profile\":"
                           "\"client\",\"requester\":null,\"status\":\"hold\",\"reason\":\"certificateHold\",\"why\":"
                           "[\"manual\",\"disabled\"],\"manualReason\":\"certificateHold\",\"crlReason\":null,"
                           "\"crlDate\":null,\"issuedAt\":\"2026-01-05T09:58:11Z\",\"notBefore\":null,\"notAfter\":"
                           "\"2027-01-05T09:58:11Z\",\"revokedAt\":\"2026-02-01T00:00:00Z\",\"bindings\":[{\"source\":"
                           "\"entra-device\",\"id\":\"x\"}],\"held\":{\"change\":3,\"why\":[\"deleted\"],\"kept\":[]},"
                           "\"certificate\":null}";

static void test_a_certificate(void **state)
{
    rl_line l;
    (void)state;
    assert_int_equal(rl_line_read(TEXT(good), &l, NULL), RL_OK);
    assert_int_equal(l.kind, RL_LINE_CERT);
    assert_int_equal(l.id.issuer, 1);
    assert_int_equal(l.id.serial_n, 1);
    assert_int_equal(l.id.serial[0], 0x2a);
    assert_string_equal(l.cert.subject, "CN=a");
    assert_null(l.cert.requester);
    assert_int_equal(l.cert.status, RL_STATUS_HOLD);
    assert_int_equal(l.cert.why, RL_WHY_MANUAL | RL_WHY_DISABLED);
    assert_int_equal(l.cert.manual_reason, RL_REASON_HOLD);
    assert_int_equal(l.cert.issued_at, 1767607091); /* date -d 2026-01-05T09:58:11Z +%s */
    assert_int_equal(l.cert.not_before, 0);
    assert_int_equal(l.cert.revoked_at, 1769904000);
    assert_int_equal(l.cert.bindings_n, 1);
    assert_int_equal(l.cert.bindings[0].source, RL_SOURCE_ENTRA_DEVICE);
    assert_int_equal(l.cert.held.change, 3);
    assert_int_equal(l.cert.held.why, RL_WHY_DELETED);
    assert_int_equal(l.der.n, 0);
    assert_false(l.cert.bootstrap); /* older exports do not say it */
    assert_int_equal(l.cert.first_issued_at, 0);
    rl_line_clear(&l);
}

/* The certificate line with `from` replaced by `to` is refused, and the message has `word`. */
static void refused(const char *from, const char *to, rl_err expected, const char *word)
{
    char text[2048];
    const char *at = strstr(good, from);
    rl_line l;
    rl_error e = {0};
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    assert_int_equal(rl_line_read(TEXT(text), &l, &e), expected);
    assert_non_null(strstr(e.message, word));
    rl_line_clear(&l);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    refused("\"hold\"", "\"good\"", RL_EBADMSG, "status");
    refused("\"reason\":\"certificateHold\"", "\"reason\":\"superseded\"", RL_EBADMSG, "reason");
    refused("\"disabled\"", "\"bored\"", RL_EBADMSG, "why");
    refused("\"2026-02-01T00:00:00Z\"", "null", RL_EBADMSG, "revokedAt");
    refused("2027-01-05", "2027-13-05", RL_EBADMSG, "notAfter");
    refused("\"notBefore\":null", "\"notBefore\":null,\"bootstrap\":1", RL_EBADMSG, "bootstrap");
    refused("2A", "", RL_EBADMSG, "serial");
    refused("2A", "002A", RL_EBADMSG, "serial");
    refused("2A", "0102030405060708090A0B0C0D0E0F101112131415", RL_EBADMSG, "serial");
    refused("\"issuer\":1", "\"issuer\":0", RL_EBADMSG, "issuer");
    refused("\"issuer\":1", "\"issuer\":4294967296", RL_EBADMSG, "issuer");
    refused("entra-device", "none", RL_EBADMSG, "source");
    refused("\"change\":3", "\"change\":-3", RL_EBADMSG, "change");
    refused("\"certificate\":null", "\"certificate\":\"?\"", RL_EBADMSG, "certificate");
    refused("\"type\":\"certificate\"", "\"type\":\"hologram\"", RL_EUNSUPPORTED, "hologram");
    refused("\"type\"", "\"kind\"", RL_EBADMSG, "no line of an export");
}

/* ---- a whole database ---- */
struct seen {
    char types[512]; /* in order, each once */
    size_t lines;
    size_t stop_after;
};

static bool see(const json_t *line, void *ctx)
{
    struct seen *s = ctx;
    const char *type = json_string_value(json_object_get(line, "type"));
    size_t n = strlen(s->types), t = strlen(type);
    if (n < t || strcmp(s->types + n - t, type) != 0)
        snprintf(s->types + n, sizeof(s->types) - n, " %s", type);
    char *text = json_dumps(line, JSON_COMPACT);
    rl_line l;
    assert_int_equal(rl_line_read(TEXT(text), &l, NULL), RL_OK);
    rl_line_clear(&l);
    free(text);
    s->lines++;
    return s->lines != s->stop_after;
}

static rl_err fill(rl_store_txn *t, void *arg, rl_error *e)
{
    static char pc[] = "pc", key[] = "file:ca-1.key";
    static uint8_t der[] = "der";
    const rl_cert_id id = cert_id(1);
    rl_object_record o = {.exists = true, .name = pc};
    rl_cursor_record c = {.complete = true, .generation = 4};
    rl_issuer_record i = {.cert = der, .cert_n = 3, .key_ref = key};
    uint64_t change;
    (void)arg, (void)e;
    RL_TRY(rl_txn_put_issuer(t, 1, &i));
    RL_TRY(rl_txn_put_object(t, RL_SOURCE_ENTRA_DEVICE, "object-1", &o));
    RL_TRY(rl_txn_put_cursor(t, "entra-device", &c));
    RL_TRY(rl_txn_new_change(t, "entra-device", 6, &change));
    rl_cert_record stored;
    RL_TRY(rl_txn_cert(t, &id, &stored));
    stored.held.change = change;
    stored.held.why = RL_WHY_DELETED;
    rl_err err = rl_txn_update_cert(t, &id, &stored, "test");
    rl_cert_clear(&stored);
    return err;
}

/* One record in every family. */
static void fill_all(rl_store *store)
{
    struct revoke hold = {1, RL_REASON_HOLD, 5, false};
    add_cert(store, 1, "object-1");
    assert_int_equal(rl_store_run(store, apply_revoke, &hold, NULL), RL_OK);
    assert_int_equal(rl_store_run(store, fill, NULL, NULL), RL_OK);
}

static const char in_order[] = " meta issuer change certificate held revoked binding object cursor delta audit end";

static void test_every_family_in_its_order(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0}, stopped = {.stop_after = 3};
    fill_all(f->store);
    assert_int_equal(rl_store_export(f->store, see, &s, NULL), RL_OK);
    assert_string_equal(s.types, in_order);
    assert_int_equal(rl_store_export(f->store, see, &stopped, NULL), RL_ECANCELED);
    assert_int_equal(stopped.lines, 3);
}

/* ---- the largest that can be queued ---- */
static rl_err queue_largest(rl_store_txn *t, void *arg, rl_error *e)
{
    const rl_buf *value = arg;
    (void)e;
    assert_int_equal(rl_txn_queue_put(t, "empty", rl_span_of(value->p, 0)), RL_ERANGE);
    assert_int_equal(rl_txn_queue_put(t, "larger", rl_buf_span(value)), RL_ERANGE);
    return rl_txn_queue_put(t, "largest", rl_span_of(value->p, RL_QUEUE_VALUE_MAX));
}

static bool see_queued(const json_t *line, void *ctx)
{
    rl_buf *value = ctx;
    char *text = json_dumps(line, JSON_COMPACT);
    rl_line l;
    assert_int_equal(rl_line_read(TEXT(text), &l, NULL), RL_OK);
    if (l.kind == RL_LINE_QUEUE) {
        assert_string_equal(l.source, "largest");
        assert_int_equal(l.der.n, RL_QUEUE_VALUE_MAX);
        assert_memory_equal(l.der.p, value->p, RL_QUEUE_VALUE_MAX);
        value->n = 0;
    }
    rl_line_clear(&l);
    free(text);
    return true;
}

static void test_all_that_can_be_queued_is_read_again(void **state)
{
    struct fixture *f = *state;
    rl_buf value = {.p = malloc(RL_QUEUE_VALUE_MAX + 1), .n = RL_QUEUE_VALUE_MAX + 1, .cap = RL_QUEUE_VALUE_MAX + 1};
    for (size_t i = 0; i < value.n; i++)
        value.p[i] = (uint8_t)(i * 31 + i / 256);
    assert_int_equal(rl_store_run(f->store, queue_largest, &value, NULL), RL_OK);
    assert_int_equal(rl_store_export(f->store, see_queued, &value, NULL), RL_OK);
    assert_int_equal(value.n, 0);
    rl_buf_free(&value);
}

static rl_err nothing(rl_store_txn *t, void *arg, rl_error *e)
{
    (void)t, (void)arg, (void)e;
    return RL_OK;
}

/* A copy has what was committed before, and nothing that came after. */
static void test_a_copy_is_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct seen before = {0}, copied = {0};
    struct revoke undo = {.n = 1, .at = 6, .undo = true};
    char path[80];
    rl_store *copy;
    const rl_cert_id id = cert_id(1);
    rl_cert_status status;
    snprintf(path, sizeof(path), "%s/copy", f->dir);
    fill_all(f->store);
    assert_int_equal(rl_store_export(f->store, see, &before, NULL), RL_OK);
    assert_int_equal(rl_store_copy(f->store, path, NULL), RL_OK);
    assert_int_equal(rl_store_copy(f->store, path, NULL), RL_EIO); /* it is there */
    assert_int_equal(rl_store_run(f->store, apply_revoke, &undo, NULL), RL_OK);
    assert_int_equal(rl_store_open_copy(path, &copy, NULL), RL_OK);
    assert_int_equal(rl_store_export(copy, see, &copied, NULL), RL_OK);
    assert_int_equal(copied.lines, before.lines);
    assert_int_equal(rl_store_cert_status(copy, &id, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_HOLD);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_GOOD);
    assert_int_equal(rl_store_submit(copy, nothing, NULL, NULL), RL_ECANCELED);
    rl_store_close(copy);
    assert_int_equal(rl_store_delete_copy(path, NULL), RL_OK);
    assert_int_equal(rl_store_delete_copy(path, NULL), RL_OK);
    assert_int_not_equal(rl_store_open_copy(path, &copy, NULL), RL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_certificate),       cmocka_unit_test(test_what_is_refused),
        WITH_STORE(test_every_family_in_its_order), WITH_STORE(test_all_that_can_be_queued_is_read_again),
        WITH_STORE(test_a_copy_is_of_one_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
