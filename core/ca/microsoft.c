/* Microsoft's certificate extensions: ids of tenant and device as in Entra ID's own device certificates, and the
 * security identifier by which Windows maps a certificate to an account ([MS-WCCE] §2.2.2.7.7.4); and an attribute of
 * requests. Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define OID_SID        "1.3.6.1.4.1.311.25.2"
#define OID_SID_OBJECT "1.3.6.1.4.1.311.25.2.1"

bool ca_is_guid(const char *text)
{
    char lower[RL_GUID_SIZE];
    return rl_guid_read(rl_span_str(text), lower) == RL_OK;
}

/* ---- writing ---- */
/* An OCTET STRING of the GUID's 16 octets as Windows keeps them: the first three fields little-endian. */
static void put_guid(rl_der_writer *w, rl_span oid, const char *guid)
{
    static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char digits[33];
    uint8_t octets[16], value[16];
    size_t n = 0;
    for (const char *c = guid; *c && n < 32; c++)
        if (*c != '-')
            digits[n++] = *c;
    if (rl_unhex(rl_span_of(digits, n), octets, sizeof(octets), &n) != RL_OK || n != 16) {
        w->err = RL_EINVAL;
        return;
    }
    for (size_t i = 0; i < 16; i++)
        value[place[i]] = octets[i];
    ca_extension_open(w, oid, false);
    rl_der_put(w, RL_DER_OCTET_STRING, rl_span_of(value, sizeof(value)));
    ca_extension_close(w);
}

void ca_put_tenant(rl_der_writer *w, const char *guid)
{
    put_guid(w, RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x14\x05\x0e"), guid); /* 1.2.840.113556.5.14 */
}

void ca_put_device(rl_der_writer *w, const char *guid)
{
    put_guid(w, RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x14\x01\x05\x82\x1c\x02"), guid); /* 1.2.840.113556.1.5.284.2 */
}

/* GeneralNames with one otherName, whose value is the identifier's text in an OCTET STRING. */
void ca_put_sid(rl_der_writer *w, const char *sid)
{
    ca_extension_open(w, RL_SPAN_LIT("\x2b\x06\x01\x04\x01\x82\x37\x19\x02"), false);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put_oid(w, RL_SPAN_LIT("\x2b\x06\x01\x04\x01\x82\x37\x19\x02\x01"));
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put(w, RL_DER_OCTET_STRING, rl_span_str(sid));
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
    ca_extension_close(w);
}

/* ---- reading ---- */
static bool is_sid_name(const GENERAL_NAME *name)
{
    char oid[64];
    return name->type == GEN_OTHERNAME && OBJ_obj2txt(oid, sizeof(oid), name->d.otherName->type_id, 1) > 0 &&
           strcmp(oid, OID_SID_OBJECT) == 0 && name->d.otherName->value->type == V_ASN1_OCTET_STRING;
}

static bool read_value(const ASN1_OCTET_STRING *octets, char out[RL_SID_MAX + 1])
{
    const unsigned char *at = ASN1_STRING_get0_data(octets), *end = at + ASN1_STRING_length(octets);
    GENERAL_NAMES *names = d2i_GENERAL_NAMES(NULL, &at, end - at);
    bool ok = names && at == end && sk_GENERAL_NAME_num(names) == 1 && is_sid_name(sk_GENERAL_NAME_value(names, 0));
    if (ok) {
        rl_span text = ca_span_of(sk_GENERAL_NAME_value(names, 0)->d.otherName->value->value.octet_string);
        ok = text.n > 0 && text.n <= RL_SID_MAX && !memchr(text.p, 0, text.n);
        memcpy(out, text.p, ok ? text.n : 0);
        out[ok ? text.n : 0] = 0;
        ok = ok && rl_sid_valid(out);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return ok;
}

rl_err ca_read_sid(const STACK_OF(X509_EXTENSION) * exts, char out[RL_SID_MAX + 1], rl_error *e)
{
    ASN1_OBJECT *object = OBJ_txt2obj(OID_SID, 1);
    int at = object ? X509v3_get_ext_by_OBJ(exts, object, -1) : -1;
    bool twice = at >= 0 && X509v3_get_ext_by_OBJ(exts, object, at) >= 0;
    out[0] = 0;
    ASN1_OBJECT_free(object);
    if (!object)
        return rl_fail(e, RL_ENOMEM, "csr", "out of memory");
    if (at < 0 || (!twice && read_value(X509_EXTENSION_get_data(X509v3_get_ext(exts, at)), out)))
        return RL_OK;
    out[0] = 0;
    return rl_fail(e, RL_EBADMSG, "csr", "the requested security identifier is malformed or there twice");
}

/* ---- how long it is wished to be valid ---- */
/* EnrollmentNameValuePair ::= SEQUENCE { name BMPString, value BMPString }; as ASCII, whatever else is in them is none.
 */
static bool read_pair(const ASN1_TYPE *value, char name[32], char text[32])
{
    bool ok = ASN1_TYPE_get(value) == V_ASN1_SEQUENCE;
    rl_span der = ok ? ca_span_of(value->value.sequence) : (rl_span){NULL, 0}, pair, part;
    char *const out[] = {name, text};
    ok = ok && rl_der_sequence(&der, &pair) == RL_OK;
    for (size_t i = 0; ok && i < 2; i++) {
        ok = rl_der_expect(&pair, V_ASN1_BMPSTRING, &part) == RL_OK && part.n % 2 == 0 && part.n / 2 < 32;
        for (size_t k = 0; ok && k < part.n / 2; k++) {
            ok = part.p[2 * k] == 0 && part.p[2 * k + 1] > 0x20 && part.p[2 * k + 1] < 0x7f;
            out[i][k] = (char)part.p[2 * k + 1];
        }
        if (ok)
            out[i][part.n / 2] = 0;
    }
    return ok && rl_span_end(&pair) == RL_OK;
}

/* From `now` on, in ms; 0: no such unit. Months and years are the calendar's. */
static rl_duration span_of(const char *unit, unsigned n, int64_t now)
{
    static const struct {
        const char *name;
        int64_t seconds;
        int months;
    } units[] = {{"seconds", 1, 0},           {"minutes", 60, 0}, {"hours", 3600, 0}, {"days", 24 * 3600, 0},
                 {"weeks", 7 * 24 * 3600, 0}, {"months", 0, 1},   {"years", 0, 12}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        struct tm end;
        time_t at = (time_t)now;
        if (strcasecmp(unit, units[i].name) != 0)
            continue;
        if (units[i].months == 0 || !gmtime_r(&at, &end))
            return (rl_duration)n * units[i].seconds * 1000;
        end.tm_mon += (int)n * units[i].months;
        return ((rl_duration)timegm(&end) - now) * 1000;
    }
    return 0;
}

rl_duration ca_read_validity(X509_REQ *csr, int64_t now)
{
    enum { PAIRS_MAX = 16, DIGITS_MAX = 5 };
    char name[32], text[32], unit[32] = "";
    unsigned n = 0;
    ASN1_OBJECT *type = OBJ_txt2obj("1.3.6.1.4.1.311.13.2.1", 1); /* szOID_ENROLLMENT_NAME_VALUE_PAIR */
    int at = type ? X509_REQ_get_attr_by_OBJ(csr, type, -1) : -1;
    for (int i = 0; at >= 0 && i < PAIRS_MAX; i++, at = X509_REQ_get_attr_by_OBJ(csr, type, at)) {
        X509_ATTRIBUTE *attribute = X509_REQ_get_attr(csr, at);
        for (int k = 0; k < X509_ATTRIBUTE_count(attribute) && k < PAIRS_MAX; k++) {
            if (!read_pair(X509_ATTRIBUTE_get0_type(attribute, k), name, text))
                continue;
            if (strcasecmp(name, "ValidityPeriod") == 0)
                memcpy(unit, text, sizeof(unit));
            else if (strcasecmp(name, "ValidityPeriodUnits") == 0 && strlen(text) <= DIGITS_MAX &&
                     strspn(text, "0123456789") == strlen(text))
                n = (unsigned)strtoul(text, NULL, 10);
        }
    }
    ASN1_OBJECT_free(type);
    return n > 0 ? span_of(unit, n, now) : 0;
}
