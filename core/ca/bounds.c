/* What is beyond a request whatever its profile allows: the name of this server, and what the CA's own certificate and
 * those above it do not let it certify. Any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>

#include "base/network.h"

enum { HOST_MAX = 256 };

/* Without an extension it may be anything. */
static bool may_be_a_servers(const EXTENDED_KEY_USAGE *eku)
{
    bool may = sk_ASN1_OBJECT_num(eku) <= 0;
    for (int i = 0; !may && i < sk_ASN1_OBJECT_num(eku); i++) {
        int nid = OBJ_obj2nid(sk_ASN1_OBJECT_value(eku, i));
        may = nid == NID_server_auth || nid == NID_anyExtendedKeyUsage;
    }
    return may;
}

X509 *ca_probe(const X509_NAME *subject, const GENERAL_NAMES *names)
{
    X509 *probe = X509_new();
    bool ok = probe && X509_set_subject_name(probe, subject) == 1 &&
              (sk_GENERAL_NAME_num(names) <= 0 ||
               X509_add1_ext_i2d(probe, NID_subject_alt_name, (void *)(uintptr_t)names, 0, X509V3_ADD_DEFAULT) == 1);
    if (!ok) {
        X509_free(probe);
        return NULL;
    }
    X509_check_purpose(probe, -1, 0); /* for its side effect: the check of constraints reads names cached by it */
    return probe;
}

/* As a client of OpenSSL's would take it for us, and the common name in any case: others look at it even beside DNS
 * names. */
rl_err ca_not_ourselves(const char *base_url, const ca_csr *c, rl_error *e)
{
    char host[HOST_MAX];
    const rl_span name = rl_host_of(base_url);
    if (!may_be_a_servers(c->eku))
        return RL_OK;
    snprintf(host, sizeof(host), "%.*s", (int)name.n, (const char *)name.p);
    X509 *probe = ca_probe(c->subject, c->names);
    if (!probe)
        return rl_fail(e, RL_ENOMEM, "csr", "out of memory");
    bool ours = X509_check_host(probe, host, 0, X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT, NULL) == 1 ||
                X509_check_ip_asc(probe, host, 0) == 1;
    X509_free(probe);
    ERR_clear_error();
    return ours ? rl_fail(e, RL_EINVAL, "csr",
                          "a server's certificate for %s would be this server's own: 'revline issue --profile server' "
                          "makes it",
                          host)
                : RL_OK;
}

/* ---- what the CA's own certificate says ---- */
void ca_bounds_open(rl_ca *ca)
{
    const rl_issuer *at = ca->own;
    for (size_t i = 0; at && i < RL_CA_CHAIN_MAX; i++) {
        const rl_issuer *above = rl_ca_signer_of(ca, at->cert);
        ca_bound *bound = &ca->bounds[ca->bounds_n];
        bound->names = X509_get_ext_d2i(at->cert, NID_name_constraints, NULL, NULL);
        bound->eku = X509_get_ext_d2i(at->cert, NID_ext_key_usage, NULL, NULL);
        ca->bounds_n += bound->names || bound->eku;
        at = above == at ? NULL : above;
    }
    ERR_clear_error();
}

void ca_bounds_free(rl_ca *ca)
{
    for (size_t i = 0; i < ca->bounds_n; i++) {
        NAME_CONSTRAINTS_free(ca->bounds[i].names);
        ca_eku_free(ca->bounds[i].eku);
    }
}

static bool has_usage(const EXTENDED_KEY_USAGE *list, const ASN1_OBJECT *usage)
{
    for (int i = 0; i < sk_ASN1_OBJECT_num(list); i++) {
        const ASN1_OBJECT *one = sk_ASN1_OBJECT_value(list, i);
        if (OBJ_cmp(one, usage) == 0 || OBJ_obj2nid(one) == NID_anyExtendedKeyUsage)
            return true;
    }
    return false;
}

/* RFC 5280 does not say so, but verifiers take the usages of a CA's certificate for a limit of those below it (Baseline
 * Requirements §7.1.2.2). What lies beyond is left out, as what lies beyond the profile. */
static rl_err limit_usages(const rl_ca *ca, EXTENDED_KEY_USAGE *eku, rl_error *e)
{
    const bool any = sk_ASN1_OBJECT_num(eku) > 0;
    for (size_t k = 0; k < ca->bounds_n; k++)
        for (int i = sk_ASN1_OBJECT_num(eku) - 1; ca->bounds[k].eku && i >= 0; i--)
            if (!has_usage(ca->bounds[k].eku, sk_ASN1_OBJECT_value(eku, i)))
                ASN1_OBJECT_free(sk_ASN1_OBJECT_delete(eku, i));
    return !any || sk_ASN1_OBJECT_num(eku) > 0
               ? RL_OK
               : rl_fail(e, RL_EINVAL, "ca",
                         "by its own certificate the CA may certify for none of the extended key usages");
}

/* A kind of constraint that OpenSSL does not know (on UPNs, say) is for those who do to judge. */
static int verdict_on(const rl_ca *ca, X509 *probe, bool common_name)
{
    int verdict = X509_V_OK;
    for (size_t i = 0; i < ca->bounds_n; i++) {
        NAME_CONSTRAINTS *names = ca->bounds[i].names;
        if (names)
            verdict = NAME_CONSTRAINTS_check(probe, names);
        if (names && verdict == X509_V_OK && common_name)
            verdict = NAME_CONSTRAINTS_check_CN(probe, names);
        if (verdict == X509_V_ERR_PERMITTED_VIOLATION || verdict == X509_V_ERR_EXCLUDED_VIOLATION ||
            verdict == X509_V_ERR_OUT_OF_MEM)
            return verdict;
    }
    return X509_V_OK;
}

/* As OpenSSL does it for an end entity: its common name counts when it has no DNS name. */
static rl_err check_names(const rl_ca *ca, const X509_NAME *subject, const GENERAL_NAMES *names, rl_error *e)
{
    X509 *probe = ca_probe(subject, names);
    bool has_dns = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        has_dns = has_dns || sk_GENERAL_NAME_value(names, i)->type == GEN_DNS;
    int verdict = probe ? verdict_on(ca, probe, !has_dns) : X509_V_ERR_OUT_OF_MEM;
    X509_free(probe);
    ERR_clear_error();
    if (verdict == X509_V_OK)
        return RL_OK;
    return rl_fail(e, verdict == X509_V_ERR_OUT_OF_MEM ? RL_ENOMEM : RL_EINVAL, "ca",
                   "by its own certificate the CA may not certify these names: %s",
                   X509_verify_cert_error_string(verdict));
}

rl_err ca_bounds_check(const rl_ca *ca, ca_csr *c, rl_error *e)
{
    if (ca->bounds_n == 0)
        return RL_OK;
    RL_TRY(limit_usages(ca, c->eku, e));
    return check_names(ca, c->subject, c->names, e);
}

bool rl_ca_may_name(const rl_ca *ca, const char *host)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    X509_NAME *nobody = X509_NAME_new();
    rl_address address;
    const int kind = rl_address_parse(rl_span_str(host), &address) == RL_OK ? GEN_IPADD : GEN_DNS;
    GENERAL_NAME *name = a2i_GENERAL_NAME(NULL, NULL, NULL, kind, host, 0);
    bool may = names && nobody && name && sk_GENERAL_NAME_push(names, name) > 0;
    if (!may)
        GENERAL_NAME_free(name);
    may = may && check_names(ca, nobody, names, NULL) == RL_OK;
    X509_NAME_free(nobody);
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return may;
}
