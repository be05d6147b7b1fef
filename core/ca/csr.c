/* What a certificate request may ask for: its key, its names, its usages. Pure; any thread.
 *
 * The order bounds the cost: sizes first, then the key's kind and size, then the one signature check, whose cost the
 * key's limits have bounded. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "crypto/key.h"

enum { EXTENSIONS_MAX = 32 };

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
        *out = NULL;
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
    if (profile->asked_usages)
        RL_TRY(decode(exts, NID_key_usage, &bits, e));
    for (int bit = 0; bits && bit < 8; bit++)
        if (ASN1_BIT_STRING_get_bit(bits, bit))
            asked |= 0x80u >> bit;
    ASN1_BIT_STRING_free(bits);
    /* RFC 3279 §2.3.1, §2.3.5, RFC 8813 §3: an EC key enciphers nothing, and with an RSA key nothing is agreed on. */
    const uint32_t never = rl_key_is_rsa(c->key) ? KU_KEY_AGREEMENT : KU_KEY_ENCIPHERMENT | KU_DATA_ENCIPHERMENT,
                   ceiling = ca_key_usage(profile->rules) & ~never;
    if (ceiling == 0) /* RFC 5280 §4.2.1.3: at least one bit is set */
        return rl_fail(e, RL_EUNSUPPORTED, "csr", "the profile's key usages are none of %s key",
                       rl_key_is_rsa(c->key) ? "an RSA" : "an EC");
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
    if (profile->asked_usages)
        RL_TRY(decode(exts, NID_ext_key_usage, &asked, e));
    EXTENDED_KEY_USAGE *allowed = ca_eku_list(asked ? &profile->rules->asked_eku : &profile->rules->eku);
    for (int i = asked ? sk_ASN1_OBJECT_num(allowed) - 1 : -1; i >= 0; i--)
        if (!has_object(asked, sk_ASN1_OBJECT_value(allowed, i)))
            ASN1_OBJECT_free(sk_ASN1_OBJECT_delete(allowed, i));
    if (allowed && asked && sk_ASN1_OBJECT_num(allowed) == 0) {
        ca_eku_free(allowed);
        allowed = ca_eku_list(&profile->rules->eku);
    }
    ca_eku_free(asked);
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
void ca_read_device(const char *cn, char out[RL_OBJECT_ID_MAX + 1])
{
    size_t n = strlen(cn);
    if (n == 38 && cn[0] == '{' && cn[37] == '}') {
        cn++;
        n = 36;
    }
    char text[37] = "";
    if (n == 36)
        lower(text, cn, n);
    if (ca_is_guid(text))
        memcpy(out, text, sizeof(text));
}

static int count_kind(const GENERAL_NAMES *names, int type)
{
    int n = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        n += sk_GENERAL_NAME_value(names, i)->type == type;
    return n;
}

/* With two names of a kind a certificate would outlive the object behind the one it is not bound to. */
static rl_err not_clear(rl_error *e)
{
    return rl_fail(e, RL_EINVAL, "csr",
                   "the request names more than one device, UPN or mail address: it can be bound to one of a kind");
}

/* The device is in one of the common names, and others may stand beside it: Jamf Pro renews profiles whose subject has
 * CN=$PROFILE_IDENTIFIER as well. */
static rl_err read_common_names(ca_csr *c, void (*read)(const char *cn, char out[RL_OBJECT_ID_MAX + 1]), rl_error *e)
{
    for (int i = -1; (i = X509_NAME_get_index_by_NID(c->subject, NID_commonName, i)) >= 0;) {
        char device[RL_OBJECT_ID_MAX + 1] = "";
        unsigned char *utf8 = NULL;
        if (ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(c->subject, i))) > 0)
            read((char *)utf8, device); /* it is text without a NUL: ca_subject_check */
        OPENSSL_free(utf8);
        if (device[0] && c->device[0] && strcmp(device, c->device) != 0)
            return not_clear(e);
        if (device[0])
            memcpy(c->device, device, sizeof(device));
    }
    return RL_OK;
}

static rl_err read_user(const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    const int upns = count_kind(c->names, GEN_OTHERNAME), mails = count_kind(c->names, GEN_EMAIL);
    rl_identity who;
    if (upns > 1 || (upns == 0 && mails > 1))
        return not_clear(e);
    RL_TRY(rl_identity_read(NULL, exts, &who, e));
    const char *user = who.upn ? who.upn : who.mail;
    if (user && strlen(user) <= RL_OBJECT_ID_MAX)
        lower(c->user, user, strlen(user));
    rl_identity_free(&who);
    return RL_OK;
}

/* "IntuneDeviceId://{{DeviceId}}": how Intune's profiles name the device, for access control on networks as well, where
 * the subject is something else, such as the device's name. .NET writes a slash behind it. RL_EINVAL: it names two. */
static rl_err read_managed(ca_csr *c, rl_error *e)
{
    const rl_span scheme = RL_SPAN_LIT("IntuneDeviceId://");
    char device[RL_OBJECT_ID_MAX + 1], text[40];
    for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->names, i);
        rl_span uri = name->type == GEN_URI ? ca_span_of(name->d.uniformResourceIdentifier) : (rl_span){NULL, 0}, front;
        if (rl_span_take(&uri, scheme.n, &front) != RL_OK || !rl_span_ieq(front, scheme))
            continue;
        uri.n -= uri.n > 0 && uri.p[uri.n - 1] == '/';
        device[0] = 0;
        if (uri.n < sizeof(text)) {
            memcpy(text, uri.p, uri.n);
            text[uri.n] = 0;
            ca_read_device(text, device);
        }
        if (device[0] && c->device[0] && strcmp(device, c->device) != 0)
            return not_clear(e);
        if (device[0])
            memcpy(c->device, device, sizeof(device));
    }
    c->managed = c->device[0] != 0;
    return RL_OK;
}

static rl_err read_entra(const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    RL_TRY(read_common_names(c, ca_read_device, e));
    RL_TRY(read_user(exts, c, e));
    if (!c->device[0] && !c->user[0])
        RL_TRY(read_managed(c, e));
    if (c->device[0] || c->user[0])
        return RL_OK;
    return rl_fail(e, RL_EINVAL, "csr",
                   "the request names no Entra object: neither a device id as CN nor a UPN, mail address or "
                   "IntuneDeviceId:// as alternative name");
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
        rl_span unit = ca_span_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
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
    if (!kind)
        return rl_fail(e, RL_EINVAL, "csr",
                       "the request is not of one kind: OU=computers, devices, users-on-computers or users-on-devices");
    c->jamf = kind->source;
    RL_TRY(read_common_names(c, read_number, e));
    if (kind->user)
        RL_TRY(read_user(exts, c, e));
    if (!c->device[0])
        return rl_fail(e, RL_EINVAL, "csr", "the request names no object of Jamf Pro: its CN is not $JSSID, a number");
    if (kind->user && !c->user[0])
        return rl_fail(e, RL_EINVAL, "csr",
                       "the request names no user of Jamf Pro: no UPN or mail address as alternative name");
    return RL_OK;
}

/* ---- the whole ---- */
static rl_err read_binding(const rl_profile *profile, const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    return profile->bind == RL_BIND_ENTRA  ? read_entra(exts, c, e)
           : profile->bind == RL_BIND_JAMF ? read_jamf(exts, c, e)
                                           : RL_OK;
}

/* Leaves only the common names. */
static void shorten_subject(X509_NAME *subject)
{
    for (int i = X509_NAME_entry_count(subject) - 1; i >= 0; i--)
        if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(X509_NAME_get_entry(subject, i))) != NID_commonName)
            X509_NAME_ENTRY_free(X509_NAME_delete_entry(subject, i));
}

static rl_err read_all(const rl_profile *profile, const STACK_OF(X509_EXTENSION) * exts, ca_csr *c, rl_error *e)
{
    RL_TRY(decode(exts, NID_subject_alt_name, &c->names, e));
    RL_TRY(ca_subject_check(c->subject, e));
    RL_TRY(ca_names_check(profile, c->names, e));
    RL_TRY(read_key_usage(profile, exts, c, e));
    RL_TRY(read_eku(profile, exts, c, e));
    if (profile->rules->asked_sid)
        RL_TRY(ca_read_sid(exts, c->sid, e));
    RL_TRY(read_binding(profile, exts, c, e));
    if (profile->rules->cn_only)
        shorten_subject(c->subject);
    RL_TRY(ca_subject_names_check(profile->rules, c->subject, e));
    if (X509_NAME_entry_count(c->subject) == 0 && sk_GENERAL_NAME_num(c->names) <= 0)
        return rl_fail(e, RL_EINVAL, "csr", "the request has neither a subject nor an alternative name");
    return RL_OK;
}

/* Some clients renew by a request that has the subject alone. */
static rl_err keep_names(const X509 *old, STACK_OF(X509_EXTENSION) * *exts, rl_error *e)
{
    const int at = X509_get_ext_by_NID(old, NID_subject_alt_name, -1);
    if (at < 0 || X509v3_get_ext_by_NID(*exts, NID_subject_alt_name, -1) >= 0)
        return RL_OK;
    return X509v3_add_ext(exts, X509_get_ext(old, at), -1) ? RL_OK : rl_fail(e, RL_ENOMEM, "csr", "out of memory");
}

rl_err ca_csr_read(const rl_profile *profile, X509_REQ *csr, rl_key *proven, const X509 *old, ca_csr *out, rl_error *e)
{
    STACK_OF(X509_EXTENSION) *exts = NULL;
    *out = (ca_csr){.own_key = proven ? NULL : rl_key_in(X509_REQ_get_X509_PUBKEY(csr))};
    out->key = proven ? proven : out->own_key;
    rl_err err = ca_key_check(out->key, profile->rules->keys, e);
    if (err == RL_OK)
        err = read_extensions(csr, &exts, e);
    if (err == RL_OK && old)
        err = keep_names(old, &exts, e);
    if (err == RL_OK && !(out->subject = X509_NAME_dup(X509_REQ_get_subject_name(csr))))
        err = rl_fail(e, RL_ENOMEM, "csr", "out of memory");
    if (err == RL_OK)
        err = read_all(profile, exts, out, e);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    if (err == RL_OK && !proven && !rl_csr_holds(csr, out->key))
        err = rl_fail(e, RL_EBADMSG, "csr", "the request's signature does not match its key: no proof of possession");
    if (err != RL_OK)
        ca_csr_clear(out);
    return err;
}

void ca_csr_clear(ca_csr *c)
{
    rl_key_free(c->own_key);
    X509_NAME_free(c->subject);
    GENERAL_NAMES_free(c->names);
    ca_eku_free(c->eku);
    *c = (ca_csr){0};
}
