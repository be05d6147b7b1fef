/* Microsoft's certificate extensions: ids of tenant and device as in Entra ID's own device certificates, and the
 * security identifier by which Windows maps a certificate to an account ([MS-WCCE] §2.2.2.7.7.4). Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>

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
