/* What is beyond a request whatever its profile allows: the name of this server. Pure; any thread. */
#include "ca/ca_priv.h"

#include <openssl/err.h>

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

/* The host of a URL, without brackets. */
static void read_host(const char *url, char out[HOST_MAX])
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    const bool bracketed = host[0] == '[';
    snprintf(out, HOST_MAX, "%.*s", (int)strcspn(host + bracketed, bracketed ? "]" : ":/"), host + bracketed);
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
    if (!may_be_a_servers(c->eku))
        return RL_OK;
    X509 *probe = ca_probe(c->subject, c->names);
    if (!probe)
        return rl_fail(e, RL_ENOMEM, "csr", "out of memory");
    read_host(base_url, host);
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
