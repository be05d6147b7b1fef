/* Microsoft's certificate extensions: ids of tenant and device as in Entra ID's own device certificates, and the
 * security identifier by which Windows maps a certificate to an account ([MS-WCCE] §2.2.2.7.7.4). Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>

#define OID_TENANT     "1.2.840.113556.5.14"
#define OID_DEVICE     "1.2.840.113556.1.5.284.2"
#define OID_SID        "1.3.6.1.4.1.311.25.2"
#define OID_SID_OBJECT "1.3.6.1.4.1.311.25.2.1"

bool ca_is_guid(const char *text)
{
    char lower[RL_GUID_SIZE];
    return rl_guid_read(rl_span_str(text), lower) == RL_OK;
}

/* ---- writing ---- */
/* The extension's value is DER. */
static bool add(X509 *cert, const char *oid, const uint8_t *der, size_t n)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    bool ok = object && value && ASN1_OCTET_STRING_set(value, der, (int)n) == 1 &&
              (extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value)) != NULL &&
              X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    return ok;
}

/* An OCTET STRING of the GUID's 16 octets as Windows keeps them: the first three fields little-endian. */
static bool add_guid(X509 *cert, const char *oid, const char *guid)
{
    static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char digits[33];
    uint8_t octets[16], der[18] = {V_ASN1_OCTET_STRING, 16};
    size_t n = 0;
    for (const char *c = guid; *c && n < 32; c++)
        if (*c != '-')
            digits[n++] = *c;
    if (rl_unhex(rl_span_of(digits, n), octets, sizeof(octets), &n) != RL_OK || n != 16)
        return false;
    for (size_t i = 0; i < 16; i++)
        der[2 + place[i]] = octets[i];
    return add(cert, oid, der, sizeof(der));
}

bool ca_add_tenant(X509 *cert, const char *guid)
{
    return add_guid(cert, OID_TENANT, guid);
}

bool ca_add_device(X509 *cert, const char *guid)
{
    return add_guid(cert, OID_DEVICE, guid);
}

/* GeneralNames with one otherName, whose value is the identifier's text in an OCTET STRING. */
bool ca_add_sid(X509 *cert, const char *sid)
{
    unsigned char *der = NULL;
    int n = -1;
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OBJECT *kind = OBJ_txt2obj(OID_SID_OBJECT, 1);
    ASN1_OCTET_STRING *text = ASN1_OCTET_STRING_new();
    ASN1_TYPE *value = ASN1_TYPE_new();
    bool ok =
        names && name && kind && text && value && ASN1_OCTET_STRING_set(text, (const uint8_t *)sid, (int)strlen(sid));
    if (ok) { /* each is the next one's from here on */
        ASN1_TYPE_set(value, V_ASN1_OCTET_STRING, text);
        text = NULL;
        ok = GENERAL_NAME_set0_othername(name, kind, value) == 1;
        kind = ok ? NULL : kind;
        value = ok ? NULL : value;
        ok = ok && sk_GENERAL_NAME_push(names, name) > 0;
        name = ok ? NULL : name;
    }
    if (ok)
        n = i2d_GENERAL_NAMES(names, &der);
    ok = n > 0 && add(cert, OID_SID, der, (size_t)n);
    OPENSSL_free(der);
    ASN1_TYPE_free(value);
    ASN1_OCTET_STRING_free(text);
    ASN1_OBJECT_free(kind);
    GENERAL_NAME_free(name);
    GENERAL_NAMES_free(names);
    return ok;
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
