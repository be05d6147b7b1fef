/* A user's own certificate: who asks has proven who they are, so the certificate may name them and nobody else.
 *
 * Relying parties take a name from wherever they look for it. So everything in the certificate that is a name has to
 * be the user's or the device's, not only the one by which it is bound. */
#include "ca/ca_priv.h"

#include <openssl/err.h>
#include <strings.h>

static bool is_user(const ca_csr *c, const ASN1_STRING *name)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, name);
    bool is = n > 0 && rl_span_ieq(rl_span_of(utf8, (size_t)n), rl_span_str(c->user));
    OPENSSL_free(utf8);
    ERR_clear_error();
    return is;
}

/* The device's id, of which there is but one (csr.c). */
static bool is_device(const ca_csr *c, const ASN1_STRING *name)
{
    char device[RL_OBJECT_ID_MAX + 1] = "";
    unsigned char *utf8 = NULL;
    if (ASN1_STRING_to_UTF8(&utf8, name) > 0)
        ca_read_device((char *)utf8, device);
    OPENSSL_free(utf8);
    ERR_clear_error();
    return device[0] && strcmp(device, c->device) == 0;
}

static rl_err check_subject(const ca_csr *c, rl_error *e)
{
    for (int i = 0; i < X509_NAME_entry_count(c->subject); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(c->subject, i);
        const ASN1_STRING *name = X509_NAME_ENTRY_get_data(entry);
        if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_commonName)
            return rl_fail(e, RL_EDENIED, "ca",
                           "in a user's own request the subject is a common name and nothing else");
        if (!is_device(c, name) && !is_user(c, name))
            return rl_fail(e, RL_EDENIED, "ca",
                           "in a user's own request the common name is the user's principal name, or the device's id");
    }
    return RL_OK;
}

static rl_err check_names(const ca_csr *c, rl_error *e)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->names, i);
        const ASN1_STRING *text = name->type == GEN_OTHERNAME ? name->d.otherName->value->value.utf8string
                                  : name->type == GEN_EMAIL   ? name->d.rfc822Name
                                                              : NULL;
        if (!text || !is_user(c, text))
            return rl_fail(e, RL_EDENIED, "ca",
                           "in a user's own request alternative name %d is not the user's principal name", i + 1);
    }
    return RL_OK;
}

rl_err ca_own_check(const rl_ca_owner *owner, const rl_profile *profile, const ca_csr *c, rl_error *e)
{
    if (profile->bind != RL_BIND_ENTRA)
        return rl_fail(e, RL_EDENIED, "ca", "the profile '%s' binds no certificate to Entra's users and devices",
                       profile->name);
    if (c->device[0] && strcmp(c->device, owner->device) != 0)
        return rl_fail(e, RL_EDENIED, "ca", "the device %s is not the one that the user has signed in on", c->device);
    RL_TRY(check_subject(c, e));
    return check_names(c, e);
}

/* A token outlives its user's rights by up to a day. */
static rl_err check_still_there(rl_store_txn *t, const rl_ca_owner *owner, rl_error *e)
{
    rl_object_record user;
    rl_err err = rl_txn_object(t, RL_SOURCE_ENTRA_USER, owner->user, &user);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    if (err != RL_OK)
        return rl_fail(e, err, "ca", "the user who asks cannot be looked up: %s", rl_err_name(err));
    bool active = user.exists && user.enabled;
    rl_object_clear(&user);
    return active ? RL_OK : rl_fail(e, RL_EDENIED, "ca", "the user who asks is disabled or deleted in the directory");
}

rl_err ca_own_bound(rl_store_txn *t, const rl_ca_owner *owner, const ca_csr *c, const rl_cert_record *record,
                    rl_error *e)
{
    const char *user = rl_cert_binding(record, RL_SOURCE_ENTRA_USER);
    RL_TRY(check_still_there(t, owner, e));
    if (!c->user[0] || (user && strcmp(user, owner->user) == 0))
        return RL_OK;
    if (user || strcmp(c->user, owner->name) != 0)
        return rl_fail(e, RL_EDENIED, "ca", "%s is not the user who asks", c->user);
    return rl_fail(e, RL_ENOTFOUND, "ca", "the user %s is not known here yet", c->user);
}
