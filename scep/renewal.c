/* Renewal, RFC 8894 §2.3: a certificate of ours that is good now authorises its successor.
 *
 * The successor has the same names: who may be what was decided when the old certificate was issued, and nobody decides
 * again. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "scep/scep_priv.h"

/* Microsoft's SID of an account: domain controllers take its word for who somebody is. */
#define SID "1.3.6.1.4.1.311.25.2"

static rl_err refuse(scep_refusal *why, const char *text)
{
    *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = text};
    return RL_EDENIED;
}

static const rl_issuer *own_issuer(const rl_scep *s, const scep_request *r)
{
    const rl_issuer *issuer = rl_ca_signer_of(s->ca, r->signer);
    return issuer && issuer->signer ? issuer : NULL;
}

bool scep_signer_is_ours(const rl_scep *s, const scep_request *r)
{
    return own_issuer(s, r) != NULL;
}

static bool is_bound(const rl_cert_record *cert, rl_source object, rl_source name)
{
    return rl_cert_binding(cert, object) || rl_cert_binding(cert, name);
}

static rl_cert_kind jamf_kind(const rl_cert_record *cert)
{
    bool computer = rl_cert_binding(cert, RL_SOURCE_JAMF_COMPUTER) != NULL;
    if (is_bound(cert, RL_SOURCE_JAMF_USER, RL_SOURCE_JAMF_USER_NAME))
        return computer ? RL_KIND_JAMF_USER_WITH_COMPUTER : RL_KIND_JAMF_USER_WITH_DEVICE;
    return computer ? RL_KIND_JAMF_COMPUTER : RL_KIND_JAMF_DEVICE;
}

/* Whose it is, in the words of the setting. False: of no enrollment profile. */
static bool kind_of(const rl_scep *s, const rl_cert_record *cert, rl_cert_kind *kind)
{
    rl_profile_id id;
    rl_profile p;
    if (rl_profile_find(s->settings, cert->profile, &id) != RL_OK || (unsigned)id >= RL_ENROLL_MAX ||
        !rl_profile_get(s->settings, id, &p))
        return false;
    *kind = id == RL_PROFILE_DC                                               ? RL_KIND_DC
            : p.bind == RL_BIND_JAMF                                          ? jamf_kind(cert)
            : p.bind == RL_BIND_NONE                                          ? RL_KIND_STATIC
            : is_bound(cert, RL_SOURCE_ENTRA_USER, RL_SOURCE_ENTRA_USER_NAME) ? RL_KIND_INTUNE_USER
                                                                              : RL_KIND_INTUNE_DEVICE;
    return true;
}

bool scep_renewal_allowed(const rl_scep *s, const scep_profile *p, const rl_cert_record *old)
{
    const rl_profile_rules *rules = p->certificate.rules;
    rl_cert_kind kind;
    if (!rules->renewals || strcmp(old->profile, p->certificate.name) == 0)
        return rules->renewals;
    return kind_of(s, old, &kind) && (rules->renewal_kinds & (1u << kind));
}

/* ---- the same names ---- */
/* The request's subject, cut to what the profile makes of it. */
static bool same_subject(const scep_profile *p, const scep_request *r)
{
    const X509_NAME *old = X509_get_subject_name(r->signer);
    X509_NAME *asked = X509_NAME_dup(X509_REQ_get_subject_name(r->csr));
    bool same = asked && X509_NAME_cmp(asked, old) == 0;
    for (int i = p->certificate.rules->cn_only ? X509_NAME_entry_count(asked) - 1 : -1; !same && i >= 0; i--)
        if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(X509_NAME_get_entry(asked, i))) != NID_commonName)
            X509_NAME_ENTRY_free(X509_NAME_delete_entry(asked, i));
    same = same || (asked && X509_NAME_cmp(asked, old) == 0);
    X509_NAME_free(asked);
    return same;
}

static bool has_all(const GENERAL_NAMES *all, const GENERAL_NAMES *some)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(some); i++) {
        bool found = false;
        for (int k = 0; !found && k < sk_GENERAL_NAME_num(all); k++)
            found = GENERAL_NAME_cmp(sk_GENERAL_NAME_value(some, i), sk_GENERAL_NAME_value(all, k)) == 0;
        if (!found)
            return false;
    }
    return true;
}

/* None may come, and none may go: with its UPN a certificate would lose the user whose fate it shares. A request that
 * says nothing of them means those that there are, which the CA puts in; but not by a challenge, which may be for none.
 */
static bool same_alternatives(const STACK_OF(X509_EXTENSION) * exts, X509 *old, bool challenged)
{
    enum { MANY = 64 }; /* no certificate of ours has more; comparing is quadratic */
    if (!challenged && X509v3_get_ext_by_NID(exts, NID_subject_alt_name, -1) < 0)
        return true;
    GENERAL_NAMES *asked = exts ? X509V3_get_d2i(exts, NID_subject_alt_name, NULL, NULL) : NULL,
                  *had = X509_get_ext_d2i(old, NID_subject_alt_name, NULL, NULL);
    bool same = sk_GENERAL_NAME_num(asked) <= MANY && has_all(had, asked) && has_all(asked, had);
    GENERAL_NAMES_free(asked);
    GENERAL_NAMES_free(had);
    return same;
}

/* A SID that is asked for has to be the old certificate's. */
static bool same_sid(const STACK_OF(X509_EXTENSION) * exts, const X509 *old)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(SID, 1);
    int asked = oid && exts ? X509v3_get_ext_by_OBJ(exts, oid, -1) : -1;
    int had = oid && asked >= 0 ? X509_get_ext_by_OBJ(old, oid, -1) : -1;
    bool same =
        oid && (asked < 0 || (had >= 0 && ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509v3_get_ext(exts, asked)),
                                                                X509_EXTENSION_get_data(X509_get_ext(old, had))) == 0));
    ASN1_OBJECT_free(oid);
    return same;
}

static bool same_names(const scep_profile *p, const scep_request *r, bool challenged)
{
    STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(r->csr);
    bool same = same_subject(p, r) && same_alternatives(exts, r->signer, challenged) && same_sid(exts, r->signer);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    ERR_clear_error();
    return same;
}

/* ---- the same usages ---- */
static bool has_usage(const EXTENDED_KEY_USAGE *list, const ASN1_OBJECT *usage)
{
    for (int i = 0; i < sk_ASN1_OBJECT_num(list); i++)
        if (OBJ_cmp(sk_ASN1_OBJECT_value(list, i), usage) == 0)
            return true;
    return false;
}

/* Of what the profile grants to requests, this one asks for nothing that the old certificate has not. */
static bool no_more_usages(const scep_profile *p, const scep_request *r)
{
    const rl_text_list *grants = &p->certificate.rules->asked_eku;
    STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(r->csr);
    EXTENDED_KEY_USAGE *asked = exts ? X509V3_get_d2i(exts, NID_ext_key_usage, NULL, NULL) : NULL,
                       *had = X509_get_ext_d2i(r->signer, NID_ext_key_usage, NULL, NULL);
    bool no_more = true;
    for (size_t i = 0; no_more && i < grants->n; i++) {
        ASN1_OBJECT *usage = OBJ_txt2obj(grants->items[i], 0);
        no_more = usage && (!has_usage(asked, usage) || has_usage(had, usage));
        ASN1_OBJECT_free(usage);
    }
    EXTENDED_KEY_USAGE_free(had);
    EXTENDED_KEY_USAGE_free(asked);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    ERR_clear_error();
    return no_more;
}

/* ---- the old certificate ---- */
/* It is the one that is in the store, and not another with its number: that could be signed by who has stolen the key
 * of a root of ours that was revoked. */
static rl_err is_the_stored(const rl_scep *s, const rl_cert_id *id, X509 *cert, bool *is)
{
    rl_buf stored = {0};
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    rl_err err = n > 0 ? rl_store_der(s->store, id, &stored) : RL_ENOMEM;
    *is = err == RL_OK && rl_span_eq(rl_buf_span(&stored), rl_span_of(der, (size_t)n));
    OPENSSL_free(der);
    rl_buf_free(&stored);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

static rl_err check_record(const rl_scep *s, const scep_profile *p, const scep_request *r, bool challenged,
                           const rl_cert_record *old, scep_refusal *why)
{
    int64_t now = rl_wall_s();
    if (!challenged && !scep_renewal_allowed(s, p, old))
        return refuse(why, "this profile renews no such certificate without a challenge password");
    if (now < old->not_before || now >= old->not_after)
        return refuse(why, "the signer's certificate is not valid now");
    if (old->status != RL_STATUS_GOOD)
        return refuse(why, old->status == RL_STATUS_HOLD ? "the signer's certificate is on hold"
                                                         : "the signer's certificate was revoked");
    if (!same_names(p, r, challenged))
        return refuse(why, "a renewal has the subject and alternative names of the signer's certificate");
    /* Intune has looked at the first request's usages, and nobody does at this one's. */
    if (p->id == RL_PROFILE_INTUNE && !no_more_usages(p, r))
        return refuse(why, "a renewal asks for no extended key usage that the signer's certificate has not");
    return RL_OK;
}

rl_err scep_renewal_check(const rl_scep *s, const scep_profile *p, const scep_request *r, bool challenged,
                          rl_cert_id *old, scep_refusal *why)
{
    const rl_issuer *issuer = own_issuer(s, r);
    rl_cert_record record;
    rl_serial serial;
    if (!issuer || rl_x509_serial(r->signer, &serial) != RL_OK)
        return refuse(why, "a renewal is signed by a certificate of this CA");
    *old = (rl_cert_id){.issuer = issuer->id, .serial_n = serial.n};
    memcpy(old->serial, serial.b, serial.n);
    bool known;
    RL_TRY(is_the_stored(s, old, r->signer, &known));
    rl_err err = known ? rl_store_cert(s->store, old, &record) : RL_ENOTFOUND;
    if (err == RL_ENOTFOUND)
        return refuse(why, "the signer's certificate is not known here");
    if (err != RL_OK)
        return err;
    err = check_record(s, p, r, challenged, &record, why);
    rl_cert_clear(&record);
    return err;
}
