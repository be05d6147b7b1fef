/* Subordinate CAs: what an admin lets one certify, as name constraints (RFC 5280 §4.2.1.10), extended key usages and
 * a path length. Pure; any thread.
 *
 * A permitted subtree says nothing about other kinds of names: a CA that may certify example.com could certify any
 * address. So, as the Baseline Requirements §7.1.5 ask for, a kind without a permitted subtree is shut as a whole. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "base/network.h"

enum { PATH_LENGTH_MAX = 9, SUBTREES_MAX = 64, EKUS_MAX = 16 };

/* ---- one subtree ---- */
static rl_err bad_subtree(rl_error *e, const char *text, const char *expected)
{
    return rl_fail(e, RL_EINVAL, "subca", "'%.100s' is no %s", text, expected);
}

static GENERAL_NAME *text_name(int type, rl_span text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    if (!name || !value || ASN1_STRING_set(value, text.p, (int)text.n) != 1) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

/* Address and mask, RFC 5280 §4.2.1.10: 8 octets, or 32. */
static GENERAL_NAME *network_name(const uint8_t *address, size_t n, size_t prefix)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    uint8_t octets[32] = {0};
    memcpy(octets, address, n);
    for (size_t bit = 0; bit < prefix; bit++)
        octets[n + bit / 8] |= (uint8_t)(0x80u >> bit % 8);
    if (!name || !value || ASN1_STRING_set(value, octets, (int)(2 * n)) != 1) {
        GENERAL_NAME_free(name);
        ASN1_OCTET_STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, GEN_IPADD, value);
    return name;
}

static bool is_domain(rl_span s)
{
    return s.n > 0 && s.p[0] != '*' && ca_is_dns(s);
}

static rl_err read_network(const char *text, GENERAL_NAME **out, rl_error *e)
{
    rl_network network;
    rl_err err = rl_network_parse(rl_span_str(text), &network);
    size_t skip = strchr(text, ':') ? 0 : 12; /* of the form that IPv4 has there */
    if (err == RL_ERANGE)
        return rl_fail(e, RL_EINVAL, "subca", "the network '%.100s' has bits behind its prefix", text);
    if (err != RL_OK)
        return bad_subtree(e, text, "network (such as 10.0.0.0/8 or 2001:db8::/32)");
    *out = network_name(network.address.octets + skip, 16 - skip, network.prefix - 8 * skip);
    return RL_OK;
}

/* A host, a domain's hosts (".example.com") or one address. */
static rl_err read_mail(const char *text, GENERAL_NAME **out, rl_error *e)
{
    rl_span all = rl_span_str(text), host = all;
    const uint8_t *at = all.n ? memchr(all.p, '@', all.n) : NULL;
    size_t skip = at ? (size_t)(at - all.p) + 1 : all.n && all.p[0] == '.' ? 1 : 0;
    host = (rl_span){all.p + skip, all.n - skip};
    if ((at && !ca_is_mail(all)) || !is_domain(host))
        return bad_subtree(e, text, "mail address, host, or domain with a dot in front");
    *out = text_name(GEN_EMAIL, all);
    return RL_OK;
}

static rl_err read_subtree(const char *text, GENERAL_NAME **out, rl_error *e)
{
    *out = NULL;
    if (strncmp(text, "dns:", 4) == 0) {
        if (!is_domain(rl_span_str(text + 4)))
            return bad_subtree(e, text + 4, "domain (without '*' or a dot in front: its subdomains are in it)");
        *out = text_name(GEN_DNS, rl_span_str(text + 4));
    } else if (strncmp(text, "ip:", 3) == 0) {
        RL_TRY(read_network(text + 3, out, e));
    } else if (strncmp(text, "email:", 6) == 0) {
        RL_TRY(read_mail(text + 6, out, e));
    } else {
        return bad_subtree(e, text, "name constraint: dns:DOMAIN, ip:NETWORK or email:ADDRESS");
    }
    return *out ? RL_OK : rl_fail(e, RL_ENOMEM, "subca", "out of memory");
}

/* ---- all of them ---- */
/* Takes `base`, which may be NULL. */
static bool push(STACK_OF(GENERAL_SUBTREE) * *trees, GENERAL_NAME *base)
{
    GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
    if (!*trees)
        *trees = sk_GENERAL_SUBTREE_new_null();
    if (base && tree && *trees && sk_GENERAL_SUBTREE_push(*trees, tree) > 0) {
        GENERAL_NAME_free(tree->base);
        tree->base = base;
        return true;
    }
    GENERAL_SUBTREE_free(tree);
    GENERAL_NAME_free(base);
    return false;
}

static rl_err read_subtrees(const rl_text_list *texts, STACK_OF(GENERAL_SUBTREE) * *trees, rl_error *e)
{
    GENERAL_NAME *base;
    if (texts->n > SUBTREES_MAX)
        return rl_fail(e, RL_ERANGE, "subca", "more than %d name constraints of a kind", SUBTREES_MAX);
    for (size_t i = 0; i < texts->n; i++) {
        RL_TRY(read_subtree(texts->items[i], &base, e));
        if (!push(trees, base))
            return rl_fail(e, RL_ENOMEM, "subca", "out of memory");
    }
    return RL_OK;
}

/* Whether there is one of this type and, of networks, this size. */
static bool has_kind(STACK_OF(GENERAL_SUBTREE) * trees, int type, int octets)
{
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
        const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(trees, i)->base;
        if (base->type == type && (!octets || ASN1_STRING_length(base->d.iPAddress) == octets))
            return true;
    }
    return false;
}

/* All names of a kind are in the DNS subtree "" and in a network without a prefix. For mail addresses validators
 * disagree about "" (OpenSSL's matches nothing), so the one permitted host is one that nobody can have
 * (RFC 2606 §2). */
static bool shut_other_kinds(NAME_CONSTRAINTS *names)
{
    static const uint8_t zeros[16];
    STACK_OF(GENERAL_SUBTREE) *permitted = names->permittedSubtrees;
    bool v4 = has_kind(permitted, GEN_IPADD, 8), v6 = has_kind(permitted, GEN_IPADD, 32);
    return (has_kind(permitted, GEN_DNS, 0) || push(&names->excludedSubtrees, text_name(GEN_DNS, RL_SPAN_LIT("")))) &&
           (v4 || push(&names->excludedSubtrees, network_name(zeros, 4, 0))) &&
           (v6 || push(&names->excludedSubtrees, network_name(zeros, 16, 0))) &&
           (has_kind(permitted, GEN_EMAIL, 0) ||
            push(&names->permittedSubtrees, text_name(GEN_EMAIL, RL_SPAN_LIT("invalid"))));
}

static rl_err read_names(const rl_sub_ca *asked, ca_sub *sub, rl_error *e)
{
    if (asked->any_name && asked->permit.n > 0)
        return rl_fail(e, RL_EINVAL, "subca", "either the permitted names are listed or any name is");
    if (!asked->any_name && asked->permit.n == 0)
        return rl_fail(e, RL_EINVAL, "subca",
                       "a subordinate CA needs the names that it may certify (--permit dns:example.com), or to be told "
                       "that it may certify any (--any-name)");
    if (asked->any_name && asked->exclude.n == 0)
        return RL_OK;
    sub->names = NAME_CONSTRAINTS_new();
    if (!sub->names)
        return rl_fail(e, RL_ENOMEM, "subca", "out of memory");
    RL_TRY(read_subtrees(&asked->permit, &sub->names->permittedSubtrees, e));
    RL_TRY(read_subtrees(&asked->exclude, &sub->names->excludedSubtrees, e));
    if (!asked->any_name && !shut_other_kinds(sub->names))
        return rl_fail(e, RL_ENOMEM, "subca", "out of memory");
    return RL_OK;
}

/* ---- usages ---- */
/* With OCSPSigning its certificate would be our own responder's (RFC 6960 §4.2.2.2); anyExtendedKeyUsage is no limit.
 */
static rl_err read_eku(const rl_sub_ca *asked, ca_sub *sub, rl_error *e)
{
    static char server_auth[] = "serverAuth";
    static char *only[] = {server_auth};
    const rl_text_list list = asked->eku.n > 0 ? asked->eku : (rl_text_list){only, 1};
    if (list.n > EKUS_MAX)
        return rl_fail(e, RL_ERANGE, "subca", "more than %d extended key usages", EKUS_MAX);
    for (size_t i = 0; i < list.n; i++) {
        ASN1_OBJECT *object = OBJ_txt2obj(list.items[i], 0);
        int nid = object ? OBJ_obj2nid(object) : NID_undef;
        ASN1_OBJECT_free(object);
        ERR_clear_error();
        if (!object || nid == NID_OCSP_sign || nid == NID_anyExtendedKeyUsage)
            return rl_fail(e, RL_EINVAL, "subca", "'%.100s' is no extended key usage that a subordinate CA can have",
                           list.items[i]);
    }
    sub->eku = ca_eku_list(&list);
    return sub->eku ? RL_OK : rl_fail(e, RL_ENOMEM, "subca", "out of memory");
}

/* ---- below its issuer ---- */
static rl_err check_usages(const EXTENDED_KEY_USAGE *eku, X509 *issuer, rl_error *e)
{
    EXTENDED_KEY_USAGE *ceiling = X509_get_ext_d2i(issuer, NID_ext_key_usage, NULL, NULL);
    bool inside = true;
    for (int i = 0; ceiling && i < sk_ASN1_OBJECT_num(eku); i++) {
        bool found = false;
        for (int k = 0; !found && k < sk_ASN1_OBJECT_num(ceiling); k++)
            found = OBJ_cmp(sk_ASN1_OBJECT_value(ceiling, k), sk_ASN1_OBJECT_value(eku, i)) == 0 ||
                    OBJ_obj2nid(sk_ASN1_OBJECT_value(ceiling, k)) == NID_anyExtendedKeyUsage;
        inside = inside && found;
    }
    ca_eku_free(ceiling);
    return inside ? RL_OK
                  : rl_fail(e, RL_EINVAL, "subca", "the issuing CA itself may not certify for this extended key usage");
}

static bool push_name(GENERAL_NAMES *names, GENERAL_NAME *name)
{
    if (name && sk_GENERAL_NAME_push(names, name) > 0)
        return true;
    GENERAL_NAME_free(name);
    return false;
}

/* The first and the last address of a network. */
static bool push_ends(GENERAL_NAMES *names, const ASN1_OCTET_STRING *network)
{
    const uint8_t *p = ASN1_STRING_get0_data(network);
    size_t n = (size_t)ASN1_STRING_length(network) / 2;
    uint8_t end[16];
    for (int last = 0; last < 2; last++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
        for (size_t i = 0; i < n; i++)
            end[i] = (uint8_t)(p[i] | (last ? ~p[n + i] : 0));
        if (!name || !value || ASN1_STRING_set(value, end, (int)n) != 1) {
            ASN1_OCTET_STRING_free(value);
            GENERAL_NAME_free(name);
            return false;
        }
        GENERAL_NAME_set0_value(name, GEN_IPADD, value);
        if (!push_name(names, name))
            return false;
    }
    return true;
}

/* A mail address of a host, or of a host in a domain. */
static bool push_address(GENERAL_NAMES *names, const ASN1_IA5STRING *base)
{
    rl_buf address = {0};
    rl_span text = ca_span_of(base);
    const char *before = memchr(text.p, '@', text.n) ? "" : text.p[0] == '.' ? "a@a" : "a@";
    bool ok = rl_buf_printf(&address, "%s%.*s", before, (int)text.n, (const char *)text.p) == RL_OK &&
              push_name(names, text_name(GEN_EMAIL, rl_buf_span(&address)));
    rl_buf_free(&address);
    return ok;
}

/* A certificate that has names out of every permitted subtree. */
static X509 *make_probe(const X509_NAME *subject, const ca_sub *sub)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    STACK_OF(GENERAL_SUBTREE) *permitted = sub->names ? sub->names->permittedSubtrees : NULL;
    bool ok = names != NULL;
    for (int i = 0; ok && i < sk_GENERAL_SUBTREE_num(permitted); i++) {
        const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(permitted, i)->base;
        if (base->type == GEN_DNS)
            ok = push_name(names, GENERAL_NAME_dup(base));
        else if (base->type == GEN_IPADD)
            ok = push_ends(names, base->d.iPAddress);
        else if (!rl_span_eq(ca_span_of(base->d.rfc822Name), RL_SPAN_LIT("invalid")))
            ok = push_address(names, base->d.rfc822Name);
    }
    X509 *probe = ok ? ca_probe(subject, names) : NULL;
    GENERAL_NAMES_free(names);
    return probe;
}

/* Validators intersect the constraints of a chain: one that reaches beyond the issuer's would be void, not dangerous.
 * It is refused all the same, since nobody wants such a CA. */
static rl_err check_names(const X509_NAME *subject, const ca_sub *sub, X509 *issuer, rl_error *e)
{
    NAME_CONSTRAINTS *ceiling = X509_get_ext_d2i(issuer, NID_name_constraints, NULL, NULL);
    rl_err err = RL_OK;
    if (ceiling) {
        X509 *probe = make_probe(subject, sub);
        int verdict = probe ? NAME_CONSTRAINTS_check(probe, ceiling) : X509_V_ERR_OUT_OF_MEM;
        if (verdict != X509_V_OK)
            err = rl_fail(e, verdict == X509_V_ERR_OUT_OF_MEM ? RL_ENOMEM : RL_EINVAL, "subca",
                          "the issuing CA itself may not certify these names: %s",
                          X509_verify_cert_error_string(verdict));
        X509_free(probe);
    }
    NAME_CONSTRAINTS_free(ceiling);
    ERR_clear_error();
    return err;
}

static rl_err check_path(const rl_sub_ca *asked, X509 *issuer, rl_error *e)
{
    long ceiling = X509_get_pathlen(issuer); /* -1: none */
    if (asked->path_length < 0 || asked->path_length > PATH_LENGTH_MAX)
        return rl_fail(e, RL_EINVAL, "subca", "a path length is 0 to %d", PATH_LENGTH_MAX);
    if (ceiling >= 0 && asked->path_length >= ceiling)
        return rl_fail(e, RL_EINVAL, "subca", "the issuing CA may have at most %ld CAs below it, one behind the other",
                       ceiling);
    return RL_OK;
}

rl_err ca_sub_read(const rl_ca *ca, const rl_issuer *issuer, const X509_NAME *subject, const rl_sub_ca *asked,
                   ca_sub *out, rl_error *e)
{
    *out = (ca_sub){.path_length = asked->path_length};
    rl_err err = X509_NAME_entry_count(subject) > 0 ? ca_subject_is_free(ca, subject, e)
                                                    : rl_fail(e, RL_EINVAL, "subca", "a CA has a subject");
    if (err == RL_OK)
        err = check_path(asked, issuer->cert, e);
    if (err == RL_OK)
        err = read_names(asked, out, e);
    if (err == RL_OK)
        err = read_eku(asked, out, e);
    if (err == RL_OK)
        err = check_usages(out->eku, issuer->cert, e);
    if (err == RL_OK)
        err = check_names(subject, out, issuer->cert, e);
    if (err != RL_OK)
        ca_sub_clear(out);
    return err;
}

void ca_sub_clear(ca_sub *sub)
{
    NAME_CONSTRAINTS_free(sub->names);
    ca_eku_free(sub->eku);
    *sub = (ca_sub){0};
}
