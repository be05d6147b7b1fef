/* Certificate profiles, as data. Pure. */
#include "ca/ca_priv.h"

#include <stdlib.h>

#define SIGN_AND_RECEIVE (KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT)
/* What a device may ask for. Never OCSPSigning or anyExtendedKeyUsage: they would speak for the CA. */
#define DEVICE_EKUS "clientAuth,serverAuth,emailProtection,msSmartcardLogin,ipsecIKE"

static const rl_profile profiles[RL_PROFILE_COUNT] = {
    [RL_PROFILE_SERVER] = {.name = "server", .key_usage = SIGN_AND_RECEIVE, .eku = "serverAuth"},
    [RL_PROFILE_CLIENT] = {.name = "client", .key_usage = SIGN_AND_RECEIVE, .eku = "clientAuth"},
    [RL_PROFILE_STATIC] = {.name = "static",
                           .key_usage = SIGN_AND_RECEIVE,
                           .eku = "clientAuth",
                           .eku_from_csr = DEVICE_EKUS},
    [RL_PROFILE_STATIC_AAD] = {.name = "static-aad",
                               .key_usage = SIGN_AND_RECEIVE,
                               .eku = "clientAuth",
                               .eku_from_csr = DEVICE_EKUS,
                               .bind = RL_BIND_ENTRA},
    [RL_PROFILE_JAMF] = {.name = "jamf",
                         .key_usage = SIGN_AND_RECEIVE,
                         .eku = "clientAuth",
                         .eku_from_csr = DEVICE_EKUS,
                         .bind = RL_BIND_JAMF},
    [RL_PROFILE_OCSP] = {.name = "ocsp", .key_usage = KU_DIGITAL_SIGNATURE, .eku = "OCSPSigning"},
    [RL_PROFILE_SCEP_RA] = {.name = "scep-ra", .key_usage = SIGN_AND_RECEIVE, .eku = ""},
};

const rl_profile *rl_profile_get(rl_profile_id id)
{
    return &profiles[id];
}

rl_err rl_profile_find(const char *name, rl_profile_id *id)
{
    for (unsigned i = 0; i < RL_PROFILE_COUNT; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            *id = (rl_profile_id)i;
            return RL_OK;
        }
    }
    return RL_ENOTFOUND;
}

EXTENDED_KEY_USAGE *ca_eku_parse(const char *list)
{
    EXTENDED_KEY_USAGE *out = sk_ASN1_OBJECT_new_null();
    char *words = strdup(list), *at = words, *word;
    bool ok = out && words;
    while (ok && (word = strsep(&at, ",")) != NULL)
        if (word[0])
            ok = sk_ASN1_OBJECT_push(out, OBJ_nid2obj(OBJ_sn2nid(word))) > 0; /* a static object: nothing to free */
    free(words);
    if (!ok) {
        sk_ASN1_OBJECT_free(out);
        return NULL;
    }
    return out;
}
