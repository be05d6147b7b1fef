/* What a certificate request may ask for: its key, its names, its usages. Pure; any thread.
 *
 * The order bounds the cost: sizes first, then the key's kind and size, then the one signature check, whose cost the
 * key's limits have bounded. */
#include "ca/ca_priv.h"

#include <ctype.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <stdlib.h>

enum {
    EXTENSIONS_MAX = 32,
    NAMES_MAX = 64, /* alternative names */
    SUBJECT_ENTRIES_MAX = 32,
    TEXT_MAX = 255, /* octets of one name in UTF-8; a directory binding is one (RL_OBJECT_ID_MAX) */
    URI_MAX = 2048,
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 8192,
    RSA_EXPONENT_BITS_MAX = 64,
};

/* ---- the key ---- */
/* An exponent above 2^16, odd and short: a long one would make each verification as dear as a signature. */
static rl_err check_rsa(const EVP_PKEY *key, rl_error *e)
{
    BIGNUM *n = NULL, *exponent = NULL;
    int bits = EVP_PKEY_get_bits(key);
    bool sane = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
                EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 && BN_is_odd(n) &&
                BN_is_odd(exponent) && BN_num_bits(exponent) > 16 && BN_num_bits(exponent) <= RSA_EXPONENT_BITS_MAX;
    BN_free(n);
    BN_free(exponent);
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "an RSA key of %d bits: %d to %d are accepted", bits, RSA_BITS_MIN,
                       RSA_BITS_MAX);
    return sane ? RL_OK
                : rl_fail(e, RL_EINVAL, "csr",
                          "the RSA key's numbers are not sane (exponent: odd, 65537 or more, at most 64 bits)");
}

static rl_err check_ec(const EVP_PKEY *key, rl_error *e)
{
    static const char *const curves[] = {SN_X9_62_prime256v1, SN_secp384r1, SN_secp521r1};
    char group[64] = "unnamed";
    int spelled_out = 0;
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out) == 1 &&
        !spelled_out && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1)
        for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
            if (strcmp(group, curves[i]) == 0)
                return RL_OK;
    return rl_fail(e, RL_EUNSUPPORTED, "csr", "an EC key on curve %s: P-256, P-384 and P-521 by name are accepted",
                   group);
}

static rl_err check_key(EVP_PKEY *key, rl_error *e)
{
    if (!key) {
        ERR_clear_error();
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "the request's public key is of no kind that can be read");
    }
    if (EVP_PKEY_is_a(key, "RSA"))
        return check_rsa(key, e);
    if (EVP_PKEY_is_a(key, "EC"))
        return check_ec(key, e);
    return rl_fail(e, RL_EUNSUPPORTED, "csr", "a %s key: RSA and EC are accepted", EVP_PKEY_get0_type_name(key));
}

/* ---- names ---- */
static bool is_text(int type)
{
    return type == V_ASN1_UTF8STRING || type == V_ASN1_PRINTABLESTRING || type == V_ASN1_T61STRING ||
           type == V_ASN1_IA5STRING || type == V_ASN1_BMPSTRING || type == V_ASN1_UNIVERSALSTRING ||
           type == V_ASN1_NUMERICSTRING;
}

/* True when `s` is text of 1 to TEXT_MAX octets of UTF-8 without C0 and C1 control characters. */
static bool sane_text(const ASN1_STRING *s)
{
    unsigned char *utf8 = NULL;
    int n = is_text(ASN1_STRING_type(s)) && ASN1_STRING_length(s) <= 4 * TEXT_MAX ? ASN1_STRING_to_UTF8(&utf8, s) : -1;
    bool sane = n > 0 && n <= TEXT_MAX;
    for (int i = 0; sane && i < n; i++)
        sane = utf8[i] >= 0x20 && utf8[i] != 0x7f && !(utf8[i] == 0xc2 && i + 1 < n && utf8[i + 1] < 0xa0);
    OPENSSL_free(utf8);
    ERR_clear_error();
    return sane;
}

static rl_err check_subject(const X509_NAME *subject, rl_error *e)
{
    int n = X509_NAME_entry_count(subject);
    if (n > SUBJECT_ENTRIES_MAX)
        return rl_fail(e, RL_ERANGE, "csr", "the subject has %d attributes: at most %d are accepted", n,
                       SUBJECT_ENTRIES_MAX);
    for (int i = 0; i < n; i++)
        if (!sane_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i))))
            return rl_fail(e, RL_EBADMSG, "csr",
                           "attribute %d of the subject is not 1 to %d octets of text without control characters",
                           i + 1, TEXT_MAX);
    return RL_OK;
}

static rl_span span_of(const ASN1_STRING *s)
{
    return rl_span_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

/* Printable ASCII without spaces. */
static bool is_visible(rl_span s, size_t max)
{
    bool ok = s.n > 0 && s.n <= max;
    for (size_t i = 0; ok && i < s.n; i++)
        ok = s.p[i] > 0x20 && s.p[i] < 0x7f;
    return ok;
}

/* RFC 1034 §3.5 with RFC 5280 §4.2.1.6: labels of letters, digits, hyphens (and underscores, as people use them); a
 * whole first label may be '*'. */
static bool is_dns(rl_span s)
{
    size_t label = 0, first = 0;
    bool ok = s.n > 0 && s.n <= 253;
    if (s.n > 2 && s.p[0] == '*' && s.p[1] == '.')
        first = 2;
    for (size_t i = first; ok && i < s.n; i++) {
        bool dot = s.p[i] == '.';
        ok = dot ? label > 0 : isalnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '_';
        label = dot ? 0 : label + 1;
        ok = ok && s.p[i] < 0x80 && label <= 63;
    }
    return ok && label > 0;
}

static bool is_mail(rl_span s)
{
    const uint8_t *at = s.n ? memchr(s.p, '@', s.n) : NULL;
    return is_visible(s, TEXT_MAX) && at && at > s.p && at < s.p + s.n - 1;
}

static bool is_uri(rl_span s)
{
    const uint8_t *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    return is_visible(s, URI_MAX) && colon && colon > s.p;
}

static bool is_upn(const OTHERNAME *other)
{
    return OBJ_obj2nid(other->type_id) == NID_ms_upn && other->value->type == V_ASN1_UTF8STRING &&
           sane_text(other->value->value.utf8string);
}

static bool is_sane_name(const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS:
        return is_dns(span_of(name->d.dNSName));
    case GEN_EMAIL:
        return is_mail(span_of(name->d.rfc822Name));
    case GEN_URI:
        return is_uri(span_of(name->d.uniformResourceIdentifier));
    case GEN_IPADD:
        return ASN1_STRING_length(name->d.iPAddress) == 4 || ASN1_STRING_length(name->d.iPAddress) == 16;
    case GEN_OTHERNAME:
        return is_upn(name->d.otherName);
    default:
        return false;
    }
}

static rl_err check_names(const GENERAL_NAMES *names, rl_error *e)
{
    int n = sk_GENERAL_NAME_num(names);
    if (n > NAMES_MAX)
        return rl_fail(e, RL_ERANGE, "csr", "%d alternative names: at most %d are accepted", n, NAMES_MAX);
    for (int i = 0; i < n; i++)
        if (!is_sane_name(sk_GENERAL_NAME_value(names, i)))
            return rl_fail(e, RL_EBADMSG, "csr",
                           "alternative name %d is no DNS name, mail address, URI, IP address or UPN", i + 1);
    return RL_OK;
}

/* ---- requested extensions ---- */
/* The extensionRequest attribute (RFC 2985 §5.4.2) or Microsoft's own, which is the same; at most one of a kind. */
static rl_err read_extensions(X509_REQ *csr, STACK_OF(X509_EXTENSION) * *out, rl_error *e)
{
    static const int kinds[] = {NID_ext_req, NID_ms_ext_req};
    bool asked = false, twice = false;
    for (size_t i = 0; i < 2; i++) {
        int at = X509_REQ_get_attr_by_NID(csr, kinds[i], -1);
        asked |= at >= 0;
        twice |= at >= 0 && X509_REQ_get_attr_by_NID(csr, kinds[i], at) >= 0;
    }
    *out = asked && !twice ? X509_REQ_get_extensions(csr) : NULL;
    ERR_clear_error();
    if (asked && !*out)
        return rl_fail(e, RL_EBADMSG, "csr", "the requested extensions are malformed");
    if (sk_X509_EXTENSION_num(*out) > EXTENSIONS_MAX) {
        sk_X509_EXTENSION_pop_free(*out, X509_EXTENSION_free);
        return rl_fail(e, RL_ERANGE, "csr", "more than %d extensions are asked for", EXTENSIONS_MAX);
    }
    return RL_OK;
}

/* One extension decoded, NULL when absent; RL_EBADMSG when malformed or there twice. */
static rl_err decode(const STACK_OF(X509_EXTENSION) * exts, int nid, void *out, rl_error *e)
{
    int critical = -1;
    void *value = exts ? X509V3_get_d2i(exts, nid, &critical, NULL) : NULL;
    ERR_clear_error();
    if (!value && critical != -1)
        return rl_fail(e, RL_EBADMSG, "csr", "the requested %s extension is malformed or there twice", OBJ_nid2ln(nid));
    *(void **)out = value;
    return RL_OK;
}

static rl_err read_key_usage(const rl_profile *profile, const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    ASN1_BIT_STRING *bits = NULL;
    uint32_t asked = 0;
    if (profile->eku_from_csr)
        RL_TRY(decode(exts, NID_key_usage, &bits, e));
    for (int bit = 0; bits && bit < 8; bit++)
        if (ASN1_BIT_STRING_get_bit(bits, bit))
            asked |= 0x80u >> bit;
    ASN1_BIT_STRING_free(bits);
    /* RFC 3279 §2.3.5, RFC 8813 §3: an EC key enciphers nothing. */
    uint32_t ceiling = profile->key_usage;
    if (!EVP_PKEY_is_a(c->key, "RSA"))
        ceiling &= ~(uint32_t)KU_KEY_ENCIPHERMENT;
    c->key_usage = asked & ceiling ? asked & ceiling : ceiling;
    return RL_OK;
}

static bool has_object(const EXTENDED_KEY_USAGE *list, const ASN1_OBJECT *object)
{
    for (int i = 0; i < sk_ASN1_OBJECT_num(list); i++)
        if (OBJ_cmp(sk_ASN1_OBJECT_value(list, i), object) == 0)
            return true;
    return false;
}

/* What is asked for and allowed, or else the profile's default. */
static rl_err read_eku(const rl_profile *profile, const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    EXTENDED_KEY_USAGE *asked = NULL;
    if (profile->eku_from_csr)
        RL_TRY(decode(exts, NID_ext_key_usage, &asked, e));
    EXTENDED_KEY_USAGE *allowed = ca_eku_parse(asked ? profile->eku_from_csr : profile->eku);
    for (int i = asked ? sk_ASN1_OBJECT_num(allowed) - 1 : -1; i >= 0; i--)
        if (!has_object(asked, sk_ASN1_OBJECT_value(allowed, i)))
            sk_ASN1_OBJECT_delete(allowed, i);
    if (allowed && sk_ASN1_OBJECT_num(allowed) == 0) {
        sk_ASN1_OBJECT_free(allowed);
        allowed = ca_eku_parse(profile->eku);
    }
    sk_ASN1_OBJECT_pop_free(asked, ASN1_OBJECT_free);
    c->eku = allowed;
    return allowed ? RL_OK : rl_fail(e, RL_ENOMEM, "csr", "out of memory");
}

/* ---- binding: what both kinds share ---- */
static void lower(char *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
    out[n] = 0;
}

/* 8-4-4-4-12 hexadecimal digits, in braces or not: an Entra deviceId. */
static void read_device(const char *cn, char out[RL_OBJECT_ID_MAX + 1])
{
    size_t n = strlen(cn);
    if (n == 38 && cn[0] == '{' && cn[37] == '}') {
        cn++;
        n = 36;
    }
    bool guid = n == 36;
    for (size_t i = 0; guid && i < n; i++)
        guid = i == 8 || i == 13 || i == 18 || i == 23 ? cn[i] == '-' : isxdigit((unsigned char)cn[i]) != 0;
    if (guid)
        lower(out, cn, n);
}

static int count_kind(const GENERAL_NAMES *names, int type)
{
    int n = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        n += sk_GENERAL_NAME_value(names, i)->type == type;
    return n;
}

/* With two names of a kind a certificate would outlive the object behind the one it is not bound to. */
static rl_err check_clear(const ca_csr *c, bool user, rl_error *e)
{
    int first = X509_NAME_get_index_by_NID(c->subject, NID_commonName, -1);
    int upns = count_kind(c->names, GEN_OTHERNAME), mails = count_kind(c->names, GEN_EMAIL);
    bool two = first >= 0 && X509_NAME_get_index_by_NID(c->subject, NID_commonName, first) >= 0;
    if (two || (user && (upns > 1 || (upns == 0 && mails > 1))))
        return rl_fail(e, RL_EINVAL, "csr",
                       "the request names more than one CN, UPN or mail address: it can be bound to one of a kind");
    return RL_OK;
}

static void read_user(const rl_identity *who, ca_csr *c)
{
    const char *user = who->upn ? who->upn : who->mail;
    if (user && strlen(user) <= RL_OBJECT_ID_MAX)
        lower(c->user, user, strlen(user));
}

static rl_err read_entra(const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    rl_identity who;
    RL_TRY(check_clear(c, true, e));
    RL_TRY(rl_identity_read(c->subject, exts, &who, e));
    if (who.cn)
        read_device(who.cn, c->device);
    read_user(&who, c);
    rl_identity_free(&who);
    if (c->device[0] || c->user[0])
        return RL_OK;
    return rl_fail(
        e, RL_EINVAL, "csr",
        "the request names no Entra object: neither a device id as CN nor a UPN or mail address as alternative name");
}

/* ---- binding to Jamf Pro: CN=$JSSID,OU=computers ---- */
static const struct jamf_kind {
    const char *unit;
    rl_source source;
    bool user; /* the certificate is a user's: it goes when either goes */
} jamf_kinds[] = {
    {"computers", RL_SOURCE_JAMF_COMPUTER, false},
    {"devices", RL_SOURCE_JAMF_DEVICE, false},
    {"users-on-computers", RL_SOURCE_JAMF_COMPUTER, true},
    {"users-on-devices", RL_SOURCE_JAMF_DEVICE, true},
};

/* The kind that an organizational unit names, without case. Other units are the admin's own. NULL when none does, or
 * more than one. */
static const struct jamf_kind *find_jamf_kind(const X509_NAME *subject)
{
    const struct jamf_kind *found = NULL;
    size_t units = 0;
    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_organizationalUnitName, i)) >= 0;) {
        rl_span unit = span_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
        for (size_t k = 0; k < sizeof(jamf_kinds) / sizeof(jamf_kinds[0]); k++) {
            if (!rl_span_ieq(unit, rl_span_str(jamf_kinds[k].unit)))
                continue;
            found = &jamf_kinds[k];
            units++;
        }
    }
    return units == 1 ? found : NULL;
}

/* Jamf Pro counts its objects from 1. */
static void read_number(const char *cn, char out[RL_OBJECT_ID_MAX + 1])
{
    size_t n = strlen(cn);
    if (n > 0 && n <= 18 && cn[0] != '0' && strspn(cn, "0123456789") == n)
        memcpy(out, cn, n + 1);
}

static rl_err read_jamf(const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    const struct jamf_kind *kind = find_jamf_kind(c->subject);
    rl_identity who;
    if (!kind)
        return rl_fail(e, RL_EINVAL, "csr",
                       "the request is not of one kind: OU=computers, devices, users-on-computers or users-on-devices");
    RL_TRY(check_clear(c, kind->user, e));
    RL_TRY(rl_identity_read(c->subject, exts, &who, e));
    c->jamf = kind->source;
    if (who.cn)
        read_number(who.cn, c->device);
    if (kind->user)
        read_user(&who, c);
    rl_identity_free(&who);
    if (!c->device[0])
        return rl_fail(e, RL_EINVAL, "csr", "the request names no object of Jamf Pro: its CN is not $JSSID, a number");
    if (kind->user && !c->user[0])
        return rl_fail(e, RL_EINVAL, "csr",
                       "the request names no user of Jamf Pro: no UPN or mail address as alternative name");
    return RL_OK;
}

/* ---- the whole ---- */
static rl_err read_all(const rl_profile *profile, const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    RL_TRY(decode(exts, NID_subject_alt_name, &c->names, e));
    RL_TRY(check_subject(c->subject, e));
    RL_TRY(check_names(c->names, e));
    if (X509_NAME_entry_count(c->subject) == 0 && sk_GENERAL_NAME_num(c->names) <= 0)
        return rl_fail(e, RL_EINVAL, "csr", "the request has neither a subject nor an alternative name");
    RL_TRY(read_key_usage(profile, exts, c, e));
    RL_TRY(read_eku(profile, exts, c, e));
    return profile->bind == RL_BIND_ENTRA  ? read_entra(exts, c, e)
           : profile->bind == RL_BIND_JAMF ? read_jamf(exts, c, e)
                                           : RL_OK;
}

rl_err ca_csr_read(const rl_profile *profile, X509_REQ *csr, ca_csr *out, rl_error *e)
{
    STACK_OF(X509_EXTENSION) *exts = NULL;
    *out = (ca_csr){.key = X509_REQ_get0_pubkey(csr), .subject = X509_REQ_get_subject_name(csr)};
    RL_TRY(check_key(out->key, e));
    RL_TRY(read_extensions(csr, &exts, e));
    rl_err err = read_all(profile, exts, out, e);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    if (err == RL_OK && X509_REQ_verify(csr, out->key) != 1) {
        ERR_clear_error();
        err = rl_fail(e, RL_EBADMSG, "csr", "the request's signature does not match its key: no proof of possession");
    }
    if (err != RL_OK)
        ca_csr_clear(out);
    return err;
}

void ca_csr_clear(ca_csr *c)
{
    GENERAL_NAMES_free(c->names);
    sk_ASN1_OBJECT_free(c->eku);
    *c = (ca_csr){0};
}
