/* The names in a request: subject and alternative names, their form and what the profile allows. Pure; any thread. */
#include "ca/ca_priv.h"

#include <ctype.h>
#include <openssl/err.h>

#include "base/network.h"

enum {
    NAMES_MAX = 64, /* alternative names */
    SUBJECT_ENTRIES_MAX = 32,
    TEXT_MAX = 255, /* octets of one name in UTF-8; a directory binding is one (RL_OBJECT_ID_MAX) */
    URI_MAX = 2048,
};

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

rl_err ca_subject_check(const X509_NAME *subject, rl_error *e)
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

rl_span ca_span_of(const ASN1_STRING *s)
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
bool ca_is_dns(rl_span s)
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

bool ca_is_mail(rl_span s)
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

/* An address that is written where a host name belongs: there are verifiers that take it for what it looks like. */
static bool is_address(rl_span text)
{
    rl_address address;
    return rl_address_parse(text, &address) == RL_OK;
}

/* Its kind, when it is well-formed, else 0; `domain` is what the rule on domains is about, empty when nothing. */
static unsigned kind_of(const GENERAL_NAME *name, rl_span *domain)
{
    rl_span text;
    const uint8_t *at;
    *domain = (rl_span){NULL, 0};
    switch (name->type) {
    case GEN_DNS:
        text = ca_span_of(name->d.dNSName);
        if (!ca_is_dns(text))
            return 0;
        if (is_address(text))
            return RL_NAME_IP;
        *domain = text.p[0] == '*' ? (rl_span){text.p + 2, text.n - 2} : text;
        return text.p[0] == '*' ? RL_NAME_WILDCARD : RL_NAME_DNS;
    case GEN_EMAIL:
        text = ca_span_of(name->d.rfc822Name);
        break;
    case GEN_URI:
        return is_uri(ca_span_of(name->d.uniformResourceIdentifier)) ? RL_NAME_URI : 0;
    case GEN_IPADD:
        return ASN1_STRING_length(name->d.iPAddress) == 4 || ASN1_STRING_length(name->d.iPAddress) == 16 ? RL_NAME_IP
                                                                                                         : 0;
    case GEN_OTHERNAME:
        if (!is_upn(name->d.otherName))
            return 0;
        text = ca_span_of(name->d.otherName->value->value.utf8string);
        break;
    default:
        return 0;
    }
    if (name->type == GEN_EMAIL && !ca_is_mail(text))
        return 0;
    at = memrchr(text.p, '@', text.n);
    *domain = at ? rl_span_of(at + 1, text.n - (size_t)(at + 1 - text.p)) : text;
    return name->type == GEN_EMAIL ? RL_NAME_MAIL : RL_NAME_UPN;
}

/* The domain itself or one below it. */
static bool is_in(rl_span name, rl_span domain)
{
    if (name.n < domain.n || (name.n > domain.n && name.p[name.n - domain.n - 1] != '.'))
        return false;
    return rl_span_ieq((rl_span){name.p + (name.n - domain.n), domain.n}, domain);
}

static bool is_allowed(const rl_text_list *domains, rl_span name)
{
    for (size_t i = 0; i < domains->n; i++)
        if (is_in(name, rl_span_str(domains->items[i])))
            return true;
    return domains->n == 0;
}

static const char *kind_name(unsigned kind)
{
    return kind == RL_NAME_DNS        ? "DNS names"
           : kind == RL_NAME_WILDCARD ? "wildcards"
           : kind == RL_NAME_IP       ? "IP addresses"
           : kind == RL_NAME_MAIL     ? "mail addresses"
           : kind == RL_NAME_URI      ? "URIs"
                                      : "UPNs";
}

/* "tag:microsoft.com,2022-09-14:sid:S-1-5-…": to Windows that is who somebody is, as the SID extension. */
static bool is_sid(const GENERAL_NAME *name)
{
    const rl_span tag = RL_SPAN_LIT("tag:microsoft.com,");
    rl_span uri = name->type == GEN_URI ? ca_span_of(name->d.uniformResourceIdentifier) : (rl_span){NULL, 0};
    return uri.n >= tag.n && rl_span_ieq(rl_span_of(uri.p, tag.n), tag);
}

static rl_err outside(rl_error *e, const char *what, int i)
{
    return rl_fail(e, RL_EINVAL, "csr", "%s %d is outside the profile's domains", what, i + 1);
}

static rl_err not_allowed(rl_error *e, const char *what, int i, unsigned kind)
{
    return rl_fail(e, RL_EINVAL, "csr", "%s %d: the profile allows no %s", what, i + 1, kind_name(kind));
}

/* ---- names in the subject ---- */
/* Host names as a verifier would take them, also with '*' within a label; a single label is no domain's. */
static bool is_host(rl_span text)
{
    char plain[TEXT_MAX + 1];
    if (text.n == 0 || text.n > TEXT_MAX || !memchr(text.p, '.', text.n))
        return false;
    for (size_t i = 0; i < text.n; i++)
        plain[i] = text.p[i] == '*' ? 'x' : (char)text.p[i];
    return ca_is_dns(rl_span_of(plain, text.n));
}

static rl_err check_text(const rl_profile_rules *rules, bool mail, rl_span text, int i, rl_error *e)
{
    static const char what[] = "subject attribute";
    const uint8_t *at = text.n ? memrchr(text.p, '@', text.n) : NULL;
    bool host = !mail && is_host(text), address = ca_is_mail(text);
    if (mail && !(rules->names & RL_NAME_MAIL))
        return not_allowed(e, what, i, RL_NAME_MAIL);
    if (host && memchr(text.p, '*', text.n) && !(rules->names & RL_NAME_WILDCARD))
        return not_allowed(e, what, i, RL_NAME_WILDCARD);
    if (!mail && is_address(text) && !(rules->names & RL_NAME_IP))
        return not_allowed(e, what, i, RL_NAME_IP);
    rl_span domain = address ? rl_span_of(at + 1, text.n - (size_t)(at + 1 - text.p)) : text;
    if (host && text.p[0] == '*' && text.p[1] == '.')
        domain = rl_span_of(text.p + 2, text.n - 2);
    return (!mail && !host && !address) || is_allowed(&rules->domains, domain) ? RL_OK : outside(e, what, i);
}

/* A verifier that finds no DNS name among the alternative names takes the common name for one (RFC 6125 §6.4.4), and
 * one that finds no mail address there the subject's. So the rules for wildcards and domains are for these as well. A
 * common name that could be neither is nobody's. */
rl_err ca_subject_names_check(const rl_profile_rules *rules, const X509_NAME *subject, rl_error *e)
{
    rl_err err = RL_OK;
    for (int i = 0; err == RL_OK && i < X509_NAME_entry_count(subject); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        unsigned char *utf8 = NULL;
        if (nid != NID_commonName && nid != NID_pkcs9_emailAddress)
            continue;
        int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
        err = check_text(rules, nid == NID_pkcs9_emailAddress, rl_span_of(utf8, n > 0 ? (size_t)n : 0), i, e);
        OPENSSL_free(utf8);
    }
    ERR_clear_error();
    return err;
}

/* ---- alternative names ---- */
rl_err ca_names_check(const rl_profile *profile, const GENERAL_NAMES *names, rl_error *e)
{
    const rl_profile_rules *rules = profile->rules;
    int n = sk_GENERAL_NAME_num(names);
    rl_span domain;
    if (n > NAMES_MAX)
        return rl_fail(e, RL_ERANGE, "csr", "%d alternative names: at most %d are accepted", n, NAMES_MAX);
    for (int i = 0; i < n; i++) {
        unsigned kind = kind_of(sk_GENERAL_NAME_value(names, i), &domain);
        if (kind == 0)
            return rl_fail(e, RL_EBADMSG, "csr",
                           "alternative name %d is no DNS name, mail address, URI, IP address or UPN", i + 1);
        if (!(rules->names & kind))
            return not_allowed(e, "alternative name", i, kind);
        if (is_sid(sk_GENERAL_NAME_value(names, i)) && !rules->asked_sid && !profile->names_are_judged)
            return rl_fail(e, RL_EINVAL, "csr",
                           "alternative name %d is a security identifier: the profile takes none from requests", i + 1);
        if (domain.p && !is_allowed(&rules->domains, domain))
            return outside(e, "alternative name", i);
    }
    return RL_OK;
}
