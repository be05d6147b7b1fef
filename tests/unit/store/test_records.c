/* Records: what is written reads back, older and newer forms are read, damage is RL_ECORRUPT; and the status rules.
 * Stored octets are made and read here with msgpack-c's own objects, not with the store's reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <msgpack.h>

#include "store/pack.h"
#include "store/records.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static rl_cert_record full_cert(void)
{
    rl_cert_record r = {.subject = "CN=caf\xc3\xa9,O=x",
                        .profile = "static",
                        .requester = "scep",
                        .issued_at = 1,
                        .not_before = -2,
                        .not_after = INT64_C(253402300799),
                        .why = RL_WHY_MANUAL | RL_WHY_FOREIGN_CRL,
                        .status = RL_STATUS_REVOKED,
                        .reason = RL_REASON_AA_COMPROMISE,
                        .manual_reason = RL_REASON_KEY_COMPROMISE,
                        .revoked_at = 1767607091,
                        .bootstrap = true,
                        .first_issued_at = 1700000003,
                        .crl_reason = RL_REASON_HOLD,
                        .crl_date = -1767607091,
                        .held = {.change = UINT64_MAX, .why = RL_WHY_DELETED, .kept = RL_WHY_DISABLED},
                        .bindings_n = 2};
    r.bindings[0] = (rl_binding){RL_SOURCE_ENTRA_USER_NAME, "a@b.example"};
    r.bindings[1].source = RL_SOURCE_TRANSACTION;
    memset(r.bindings[1].id, 'x', RL_OBJECT_ID_MAX);
    return r;
}

static void assert_same_cert(const rl_cert_record *a, const rl_cert_record *b)
{
    assert_string_equal(a->subject, b->subject);
    assert_string_equal(a->profile, b->profile);
    assert_string_equal(a->requester, b->requester);
    assert_int_equal(a->issued_at, b->issued_at);
    assert_int_equal(a->not_before, b->not_before);
    assert_int_equal(a->not_after, b->not_after);
    assert_int_equal(a->why, b->why);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->manual_reason, b->manual_reason);
    assert_int_equal(a->revoked_at, b->revoked_at);
    assert_int_equal(a->bootstrap, b->bootstrap);
    assert_int_equal(a->first_issued_at, b->first_issued_at);
    assert_int_equal(a->crl_reason, b->crl_reason);
    assert_int_equal(a->crl_date, b->crl_date);
    assert_int_equal(a->held.change, b->held.change);
    assert_int_equal(a->held.why, b->held.why);
    assert_int_equal(a->held.kept, b->held.kept);
    assert_int_equal(a->bindings_n, b->bindings_n);
    for (size_t i = 0; i < a->bindings_n; i++) {
        assert_int_equal(a->bindings[i].source, b->bindings[i].source);
        assert_string_equal(a->bindings[i].id, b->bindings[i].id);
    }
}

static void a_certificate_reads_back(void **state)
{
    (void)state;
    rl_buf b = {0};
    rl_cert_record r = full_cert(), back;
    rl_cert_status status;
    assert_int_equal(rl_cert_encode(&r, &b), RL_OK);
    assert_int_equal(rl_cert_decode(rl_buf_span(&b), &back), RL_OK);
    assert_same_cert(&r, &back);
    rl_cert_clear(&back);
    assert_int_equal(rl_cert_decode_status(rl_buf_span(&b), &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_REVOKED);
    assert_int_equal(status.reason, RL_REASON_AA_COMPROMISE);
    assert_int_equal(status.revoked_at, 1767607091);
    assert_int_equal(status.not_before, -2);
    assert_int_equal(status.not_after, INT64_C(253402300799));
    rl_buf_free(&b);
}

static void the_other_records_read_back(void **state)
{
    (void)state;
    rl_buf b = {0};
    rl_object_record o = {.exists = true, .name = "name", .target = NULL, .generation = UINT64_MAX, .last_seen = -1},
                     o2;
    assert_int_equal(rl_object_encode(&o, &b), RL_OK);
    assert_int_equal(rl_object_decode(rl_buf_span(&b), &o2), RL_OK);
    assert_true(o2.exists && !o2.enabled && !o2.target && o2.generation == UINT64_MAX && o2.last_seen == -1);
    assert_string_equal(o2.name, "name");
    rl_object_clear(&o2);
    rl_buf_reset(&b);
    o = (rl_object_record){.exists = true,
                           .compliance = RL_COMPLIANCE_CONFIG_MANAGER,
                           .management = RL_MANAGEMENT_DISCOVERED,
                           .risk = RL_RISK_HIGH,
                           .enrolled = INT64_MAX};
    assert_int_equal(rl_object_encode(&o, &b), RL_OK);
    assert_int_equal(rl_object_decode(rl_buf_span(&b), &o2), RL_OK);
    assert_true(o2.compliance == o.compliance && o2.management == o.management && o2.risk == o.risk &&
                o2.enrolled == INT64_MAX);
    rl_object_clear(&o2);
    rl_buf_reset(&b);

    uint8_t der[3000];
    memset(der, 0x30, sizeof(der));
    rl_issuer_record i = {.cert = der, .cert_n = sizeof(der), .key_ref = "file:ca-1.key", .crl_number = 7}, i2;
    memset(i.hashes, 0x5a, sizeof(i.hashes));
    assert_int_equal(rl_issuer_encode(&i, &b), RL_OK);
    assert_int_equal(rl_issuer_decode(rl_buf_span(&b), &i2), RL_OK);
    assert_int_equal(i2.cert_n, sizeof(der));
    assert_memory_equal(i2.cert, der, sizeof(der));
    assert_memory_equal(i2.hashes, i.hashes, sizeof(i.hashes));
    assert_string_equal(i2.key_ref, "file:ca-1.key");
    assert_int_equal(i2.crl_number, 7);
    assert_null(i2.delegate);
    rl_issuer_clear(&i2);
    rl_buf_reset(&b);

    i.delegate = der;
    i.delegate_n = 1;
    i.crl = (rl_issuer_crl){
        .number = {0xff, [19] = 1}, .this_update = 5, .whole = true, .next_update = -6, .partial = true};
    i.crl.scope[31] = 7;
    assert_int_equal(rl_issuer_encode(&i, &b), RL_OK);
    assert_int_equal(rl_issuer_decode(rl_buf_span(&b), &i2), RL_OK);
    assert_int_equal(i2.delegate_n, 1);
    assert_memory_equal(i2.delegate, der, 1);
    rl_issuer_crl list;
    assert_int_equal(rl_issuer_decode_crl(rl_buf_span(&b), &list), RL_OK);
    assert_memory_equal(list.number, i.crl.number, sizeof(list.number));
    assert_memory_equal(list.scope, i.crl.scope, sizeof(list.scope));
    assert_true(list.whole && list.partial && list.this_update == 5 && list.next_update == -6);
    assert_memory_equal(i2.crl.number, i.crl.number, sizeof(list.number));
    assert_true(i2.crl.whole && i2.crl.partial && i2.crl.this_update == 5 && i2.crl.next_update == -6);
    rl_issuer_clear(&i2);
    rl_buf_reset(&b);

    rl_cursor_record c = {.link = "https://graph.example/delta?$skiptoken=1",
                          .full = true,
                          .tenant = "contoso.example",
                          .generation = 9,
                          .last_success = 5,
                          .last_full = 4,
                          .refused = true,
                          .leaving = true},
                     c2;
    assert_int_equal(rl_cursor_encode(&c, &b), RL_OK);
    assert_int_equal(rl_cursor_decode(rl_buf_span(&b), &c2), RL_OK);
    assert_string_equal(c2.link, c.link);
    assert_string_equal(c2.tenant, c.tenant);
    assert_true(c2.full && !c2.complete && c2.generation == 9 && c2.last_success == 5 && c2.last_full == 4 &&
                c2.refused && c2.leaving);
    rl_cursor_clear(&c2);
    rl_buf_reset(&b);

    rl_delta_record d = {.kind = RL_DELTA_STATUS,
                         .cert = {.issuer = UINT32_MAX, .serial_n = 20, .serial = {0xff, 1}},
                         .status = RL_STATUS_HOLD,
                         .reason = RL_REASON_HOLD,
                         .why = RL_WHY_DISABLED,
                         .revoked_at = 1,
                         .not_after = 2,
                         .at = 3,
                         .origin = "sync:entra-device"},
                    d2;
    assert_int_equal(rl_delta_encode(&d, &b), RL_OK);
    assert_int_equal(rl_delta_decode(rl_buf_span(&b), &d2), RL_OK);
    assert_true(d2.cert.issuer == d.cert.issuer && d2.cert.serial_n == d.cert.serial_n);
    assert_memory_equal(d2.cert.serial, d.cert.serial, d.cert.serial_n);
    assert_true(d2.kind == d.kind && d2.status == d.status && d2.reason == d.reason && d2.why == d.why &&
                d2.revoked_at == 1 && d2.not_after == 2 && d2.at == 3);
    assert_string_equal(d2.origin, "sync:entra-device");
    rl_delta_clear(&d2);
    rl_buf_reset(&b);

    rl_revoked_record v = {.revoked_at = 1767607091, .reason = RL_REASON_SUPERSEDED}, v2;
    assert_int_equal(rl_revoked_encode(&v, &b), RL_OK);
    assert_int_equal(rl_revoked_decode(rl_buf_span(&b), &v2), RL_OK);
    assert_true(v2.revoked_at == 1767607091 && v2.reason == RL_REASON_SUPERSEDED);
    rl_buf_free(&b);
}

/* msgpack-c sees a map from small integers, key 0 the version 1. */
static void a_held_change_reads_back(void **state)
{
    (void)state;
    rl_buf b = {0};
    const rl_change_record r = {
        .source = "entra-device", .state = RL_CHANGE_DROPPED, .since = 1767607091, .certificates = UINT64_MAX};
    rl_change_record back;
    assert_int_equal(rl_change_encode(&r, &b), RL_OK);
    assert_int_equal(rl_change_decode(rl_buf_span(&b), &back), RL_OK);
    assert_string_equal(back.source, r.source);
    assert_int_equal(back.state, r.state);
    assert_int_equal(back.since, r.since);
    assert_int_equal(back.certificates, r.certificates);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(rl_change_decode(rl_span_of(b.p, n), &back), RL_ECORRUPT);
    rl_buf_free(&b);
}

static void records_are_msgpack_maps_with_a_version(void **state)
{
    (void)state;
    rl_buf b = {0};
    msgpack_unpacked u;
    assert_int_equal(rl_audit_encode("admin", "cert.revoke", "01ab", &b), RL_OK);
    msgpack_unpacked_init(&u);
    assert_int_equal(msgpack_unpack_next(&u, (const char *)b.p, b.n, NULL), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(u.data.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(u.data.via.map.size, 4);
    const char *const want[] = {NULL, "admin", "cert.revoke", "01ab"};
    for (uint32_t i = 0; i < 4; i++) {
        const msgpack_object_kv *kv = &u.data.via.map.ptr[i];
        assert_int_equal(kv->key.type, MSGPACK_OBJECT_POSITIVE_INTEGER);
        assert_int_equal(kv->key.via.u64, i);
        if (i == 0) {
            assert_int_equal(kv->val.via.u64, 1);
            continue;
        }
        assert_int_equal(kv->val.type, MSGPACK_OBJECT_STR);
        assert_int_equal(kv->val.via.str.size, strlen(want[i]));
        assert_memory_equal(kv->val.via.str.ptr, want[i], strlen(want[i]));
    }
    msgpack_unpacked_destroy(&u);
    rl_buf_free(&b);
}

/* A record of a later version: another number, keys nobody here knows, nested things among them, another order. */
static void a_newer_record_is_read_past_what_is_unknown(void **state)
{
    (void)state;
    msgpack_sbuffer sb;
    msgpack_packer pk;
    rl_cert_record r;
    rl_cert_status status;
    msgpack_sbuffer_init(&sb);
    msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 7);
    msgpack_pack_int(&pk, 200), msgpack_pack_map(&pk, 1), msgpack_pack_str(&pk, 1), msgpack_pack_str_body(&pk, "k", 1),
        msgpack_pack_array(&pk, 2), msgpack_pack_nil(&pk), msgpack_pack_true(&pk);
    msgpack_pack_int(&pk, 7), msgpack_pack_int64(&pk, 2000000000);
    msgpack_pack_int(&pk, 0), msgpack_pack_int(&pk, 2);
    msgpack_pack_int(&pk, 30), msgpack_pack_bin(&pk, 3), msgpack_pack_bin_body(&pk, "xyz", 3);
    msgpack_pack_int(&pk, 9), msgpack_pack_int(&pk, 1);
    msgpack_pack_int(&pk, 6), msgpack_pack_int(&pk, -5);
    msgpack_pack_int(&pk, 1), msgpack_pack_str(&pk, 4), msgpack_pack_str_body(&pk, "CN=x", 4);
    rl_span in = rl_span_of(sb.data, sb.size);
    assert_int_equal(rl_cert_decode(in, &r), RL_OK);
    assert_int_equal(r.status, RL_STATUS_HOLD);
    assert_int_equal(r.not_after, 2000000000);
    assert_int_equal(r.not_before, -5);
    assert_string_equal(r.subject, "CN=x");
    assert_null(r.profile); /* an older record did not have it */
    assert_false(r.bootstrap);
    rl_cert_clear(&r);
    assert_int_equal(rl_cert_decode_status(in, &status), RL_OK);
    assert_int_equal(status.status, RL_STATUS_HOLD);
    msgpack_sbuffer_destroy(&sb);
}

/* As the first version wrote it: without compliance, management state, risk and enrolment. */
static void an_older_object_is_read(void **state)
{
    (void)state;
    msgpack_sbuffer sb;
    msgpack_packer pk;
    rl_object_record r;
    msgpack_sbuffer_init(&sb);
    msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 7);
    msgpack_pack_int(&pk, 0), msgpack_pack_int(&pk, 1);
    msgpack_pack_int(&pk, 1), msgpack_pack_int(&pk, 1);
    msgpack_pack_int(&pk, 2), msgpack_pack_int(&pk, 1);
    msgpack_pack_int(&pk, 3), msgpack_pack_str(&pk, 5), msgpack_pack_str_body(&pk, "dev-1", 5);
    msgpack_pack_int(&pk, 4), msgpack_pack_nil(&pk);
    msgpack_pack_int(&pk, 5), msgpack_pack_int(&pk, 7);
    msgpack_pack_int(&pk, 6), msgpack_pack_int64(&pk, 1700000000);
    assert_int_equal(rl_object_decode(rl_span_of(sb.data, sb.size), &r), RL_OK);
    assert_true(r.exists && r.enabled && r.generation == 7 && r.last_seen == 1700000000);
    assert_true(r.compliance == RL_COMPLIANCE_UNSAID && r.management == RL_MANAGEMENT_UNSAID && !r.risk && !r.enrolled);
    assert_string_equal(r.name, "dev-1");
    rl_object_clear(&r);
    msgpack_sbuffer_destroy(&sb);
}

static void without_its_status_a_certificate_is_corrupt_not_good(void **state)
{
    (void)state;
    rl_cert_record r;
    rl_cert_status status;
    assert_int_equal(rl_cert_decode(RL_SPAN_LIT("\x80"), &r), RL_ECORRUPT);
    assert_int_equal(rl_cert_decode_status(RL_SPAN_LIT("\x80"), &status), RL_ECORRUPT);
    assert_int_equal(rl_cert_decode_status(RL_SPAN_LIT("\x83\x00\x01\x06\x00\x07\x7f"), &status), RL_ECORRUPT);
    assert_int_equal(rl_cert_decode_status(RL_SPAN_LIT("\x84\x00\x01\x06\x00\x07\x7f\x09\x00"), &status), RL_OK);
    assert_int_equal(rl_cert_decode_status(RL_SPAN_LIT("\x84\x00\x01\x06\x00\x07\x7f\x09\x03"), &status),
                     RL_ECORRUPT); /* no such status */
}

static void damage_is_corrupt_whatever_it_is(void **state)
{
    (void)state;
    rl_buf b = {0};
    rl_cert_record r = full_cert(), out;
    rl_cert_status status;
    assert_int_equal(rl_cert_encode(&r, &b), RL_OK);
    for (size_t n = 0; n < b.n; n++) { /* cut anywhere */
        assert_int_equal(rl_cert_decode(rl_span_of(b.p, n), &out), RL_ECORRUPT);
        assert_int_equal(rl_cert_decode_status(rl_span_of(b.p, n), &status), RL_ECORRUPT);
    }
    assert_int_equal(rl_buf_append(&b, "\0", 1), RL_OK); /* something behind it */
    assert_int_equal(rl_cert_decode(rl_buf_span(&b), &out), RL_ECORRUPT);
    rl_buf_free(&b);

    static const rl_span bad[] = {
        RL_SPAN_LIT("\xdf\xff\xff\xff\xff"),                                         /* a map of 4 billion pairs */
        RL_SPAN_LIT("\x81\x1f\xdd\xff\xff\xff\xff"),                                 /* an unknown array likewise */
        RL_SPAN_LIT("\x81\x1f\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x00"), /* too deep */
        RL_SPAN_LIT("\x81\x01\xdb\xff\xff\xff\xff"),                                 /* a text longer than memory */
        RL_SPAN_LIT("\x81\x01\xca\x00\x00\x00\x00"),                                 /* a float */
        RL_SPAN_LIT("\x81\xa1x\x00"),                                                /* a key that is no number */
        RL_SPAN_LIT("\x84\x06\x00\x07\x7f\x09\x00\x01\xa3"
                    "a\0b"), /* a NUL in a text */
        RL_SPAN_LIT("\x84\x06\x00\x07\x7f\x09\x00\x04\x92\x01\xa3"
                    "a\0b"),                                     /* a NUL in a binding */
        RL_SPAN_LIT("\x84\x06\x00\x07\x7f\x09\x00\x04\x91\x01"), /* half a binding */
        RL_SPAN_LIT(
            "\x84\x06\x00\x07\x7f\x09\x00\x04\x9a\x01\xa1x\x01\xa1x\x01\xa1x\x01\xa1x\x01\xa1x"), /* five bindings */
        RL_SPAN_LIT("\x91\x00"),
        RL_SPAN_LIT("\xc1"),
        RL_SPAN_LIT(""),
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rl_cert_decode(bad[i], &out) != RL_ECORRUPT)
            fail_msg("case %zu was taken", i);
}

static void no_half_record_is_ever_left_in_a_buffer(void **state)
{
    (void)state;
    rl_cert_record r = full_cert();
    rl_buf whole = {0};
    assert_int_equal(rl_cert_encode(&r, &whole), RL_OK);
    for (size_t limit = 4; limit < whole.n; limit++) {
        rl_buf b = {.limit = limit};
        assert_int_equal(rl_buf_append(&b, "abc", 3), RL_OK);
        assert_int_equal(rl_cert_encode(&r, &b), RL_ERANGE);
        assert_int_equal(b.n, 3);
        rl_buf_free(&b);
    }
    char *huge = malloc(65538);
    memset(huge, 'x', 65537);
    huge[65537] = 0;
    r.subject = huge; /* it could not be read again */
    rl_buf_reset(&whole);
    assert_int_equal(rl_cert_encode(&r, &whole), RL_ERANGE);
    huge[65536] = 0;
    assert_int_equal(rl_cert_encode(&r, &whole), RL_OK);
    assert_int_equal(rl_cert_decode(rl_buf_span(&whole), &r), RL_OK);
    rl_cert_clear(&r);
    free(huge);
    rl_buf_free(&whole);
}

static void names_of_reasons_are_those_of_rfc_5280(void **state)
{
    (void)state;
    static const char *const names[] = {
        "unspecified",   "keyCompromise",        "cACompromise",    "affiliationChanged",
        "superseded",    "cessationOfOperation", "certificateHold", NULL,
        "removeFromCRL", "privilegeWithdrawn",   "aACompromise"};
    rl_reason r;
    char number[4];
    for (int i = 0; i < (int)COUNT(names); i++) {
        snprintf(number, sizeof(number), "%d", i);
        assert_int_equal(rl_reason_parse(number, &r), names[i] ? RL_OK : RL_EINVAL);
        if (!names[i])
            continue;
        assert_int_equal(r, i);
        assert_string_equal(rl_reason_name((rl_reason)i), names[i]);
        assert_int_equal(rl_reason_parse(names[i], &r), RL_OK);
        assert_int_equal(r, i);
    }
    assert_int_equal(rl_reason_parse("KEYCOMPROMISE", &r), RL_OK);
    static const char *const bad[] = {"", "11", "-1", "+1", " 1", "1x", "compromise", "4294967297"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(rl_reason_parse(bad[i], &r), RL_EINVAL);
}

/* From a state, with a mask, at time 500: what status, reason and date follow. A certificate that was not good is so
 * since 100. */
static void a_foreign_list_gives_reason_and_date(void **state)
{
    (void)state;
    static const struct {
        uint32_t more;
        rl_reason listed;
        rl_status status;
        rl_reason reason;
        int64_t revoked_at;
    } cases[] = {
        {0, RL_REASON_KEY_COMPROMISE, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 77},
        {0, RL_REASON_HOLD, RL_STATUS_HOLD, RL_REASON_HOLD, 77},
        /* with another reason the date is that of leaving good */
        {RL_WHY_DISABLED, RL_REASON_SUPERSEDED, RL_STATUS_REVOKED, RL_REASON_SUPERSEDED, 100},
        {RL_WHY_DISABLED, RL_REASON_HOLD, RL_STATUS_HOLD, RL_REASON_HOLD, 100},
        {RL_WHY_DELETED, RL_REASON_HOLD, RL_STATUS_REVOKED, RL_REASON_CESSATION, 100},
        {RL_WHY_ENDPOINT_LIST, RL_REASON_SUPERSEDED, RL_STATUS_REVOKED, RL_REASON_PRIVILEGE_WITHDRAWN, 100},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rl_cert_record r = {.why = RL_WHY_FOREIGN_CRL | cases[i].more,
                            .crl_reason = cases[i].listed,
                            .crl_date = 77,
                            .status = RL_STATUS_HOLD,
                            .reason = RL_REASON_HOLD,
                            .revoked_at = 100};
        rl_cert_settle(&r, 500);
        if (r.status != cases[i].status || r.reason != cases[i].reason || r.revoked_at != cases[i].revoked_at)
            fail_msg("case %zu: %d %d %lld", i, r.status, r.reason, (long long)r.revoked_at);
    }
}

static void the_status_follows_from_the_mask(void **state)
{
    (void)state;
    static const struct {
        rl_status before;
        uint32_t why;
        rl_reason manual;
        rl_status status;
        rl_reason reason;
        int64_t revoked_at;
    } cases[] = {
        {RL_STATUS_GOOD, 0, 0, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0},
        {RL_STATUS_GOOD, RL_WHY_DISABLED, 0, RL_STATUS_HOLD, RL_REASON_HOLD, 500},
        {RL_STATUS_GOOD, RL_WHY_NOT_COMPLIANT, 0, RL_STATUS_HOLD, RL_REASON_HOLD, 500},
        {RL_STATUS_GOOD, RL_WHY_USER_RISK, 0, RL_STATUS_HOLD, RL_REASON_HOLD, 500},
        {RL_STATUS_GOOD, RL_WHY_DELETED, 0, RL_STATUS_REVOKED, RL_REASON_CESSATION, 500},
        {RL_STATUS_GOOD, RL_WHY_WIPED, 0, RL_STATUS_REVOKED, RL_REASON_CESSATION, 500},
        {RL_STATUS_GOOD, RL_WHY_ENDPOINT_LIST, 0, RL_STATUS_REVOKED, RL_REASON_PRIVILEGE_WITHDRAWN, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL, RL_REASON_KEY_COMPROMISE, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL, RL_REASON_UNSPECIFIED, RL_STATUS_REVOKED, RL_REASON_UNSPECIFIED, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL, RL_REASON_HOLD, RL_STATUS_HOLD, RL_REASON_HOLD, 500},
        /* permanent before reversible, the admin's word before a directory's */
        {RL_STATUS_GOOD, RL_WHY_DISABLED | RL_WHY_DELETED, 0, RL_STATUS_REVOKED, RL_REASON_CESSATION, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL | RL_WHY_DELETED, RL_REASON_KEY_COMPROMISE, RL_STATUS_REVOKED,
         RL_REASON_KEY_COMPROMISE, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL | RL_WHY_DELETED, RL_REASON_HOLD, RL_STATUS_REVOKED, RL_REASON_CESSATION, 500},
        {RL_STATUS_GOOD, RL_WHY_MANUAL | RL_WHY_DISABLED, RL_REASON_SUPERSEDED, RL_STATUS_REVOKED, RL_REASON_SUPERSEDED,
         500},
        /* the date is that of leaving good */
        {RL_STATUS_HOLD, RL_WHY_DISABLED | RL_WHY_USER_RISK, 0, RL_STATUS_HOLD, RL_REASON_HOLD, 100},
        {RL_STATUS_HOLD, RL_WHY_DISABLED | RL_WHY_DELETED, 0, RL_STATUS_REVOKED, RL_REASON_CESSATION, 100},
        {RL_STATUS_HOLD, RL_WHY_MANUAL, RL_REASON_KEY_COMPROMISE, RL_STATUS_REVOKED, RL_REASON_KEY_COMPROMISE, 100},
        {RL_STATUS_REVOKED, RL_WHY_DELETED | RL_WHY_WIPED, 0, RL_STATUS_REVOKED, RL_REASON_CESSATION, 100},
        {RL_STATUS_HOLD, 0, 0, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0},
        {RL_STATUS_REVOKED, 0, 0, RL_STATUS_GOOD, RL_REASON_UNSPECIFIED, 0}, /* a foreign CRL that took it back */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rl_cert_record r = {.status = cases[i].before, .why = cases[i].why, .manual_reason = cases[i].manual};
        r.revoked_at = cases[i].before == RL_STATUS_GOOD ? 0 : 100;
        r.reason = cases[i].before == RL_STATUS_GOOD ? RL_REASON_UNSPECIFIED : RL_REASON_HOLD;
        const rl_cert_record before = r;
        bool changed = rl_cert_settle(&r, 500);
        if (r.status != cases[i].status || r.reason != cases[i].reason || r.revoked_at != cases[i].revoked_at)
            fail_msg("case %zu: %d %d %lld", i, r.status, r.reason, (long long)r.revoked_at);
        assert_int_equal(changed,
                         r.status != before.status || r.reason != before.reason || r.revoked_at != before.revoked_at);
        assert_false(rl_cert_settle(&r, 600)); /* settled is settled */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_reads_back),
        cmocka_unit_test(the_other_records_read_back),
        cmocka_unit_test(a_held_change_reads_back),
        cmocka_unit_test(records_are_msgpack_maps_with_a_version),
        cmocka_unit_test(a_newer_record_is_read_past_what_is_unknown),
        cmocka_unit_test(an_older_object_is_read),
        cmocka_unit_test(without_its_status_a_certificate_is_corrupt_not_good),
        cmocka_unit_test(damage_is_corrupt_whatever_it_is),
        cmocka_unit_test(no_half_record_is_ever_left_in_a_buffer),
        cmocka_unit_test(names_of_reasons_are_those_of_rfc_5280),
        cmocka_unit_test(the_status_follows_from_the_mask),
        cmocka_unit_test(a_foreign_list_gives_reason_and_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
