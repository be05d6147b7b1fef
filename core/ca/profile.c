/* Certificate profiles: the rules of enrollment come from the settings, those of the admin and of the CA itself are
 * here. Pure. */
#include "ca/ca_priv.h"

static char server_auth[] = "serverAuth", client_auth[] = "clientAuth", ocsp_signing[] = "OCSPSigning";
static char *server_ekus[] = {server_auth}, *client_ekus[] = {client_auth}, *ocsp_ekus[] = {ocsp_signing};

enum {
    SIGN = 1,
    SIGN_AND_RECEIVE = 1 | 4, /* digitalSignature, keyEncipherment */
    CERTIFY = 32 | 64,        /* keyCertSign, cRLSign */
    ANY_KEY = RL_KEYS_RSA2048 | RL_KEYS_P256 | RL_KEYS_P384 | RL_KEYS_P521,
};

static const struct {
    const char *name;
    rl_profile_rules rules;
} fixed[] = {
    [RL_PROFILE_SERVER -
     RL_ENROLL_MAX] = {"server",
                       {.key_usage = SIGN_AND_RECEIVE, .eku = {server_ekus, 1}, .keys = ANY_KEY, .names = RL_NAME_ALL}},
    [RL_PROFILE_CLIENT - RL_ENROLL_MAX] =
        {"client", {.key_usage = SIGN_AND_RECEIVE, .eku = {client_ekus, 1}, .keys = ANY_KEY, .names = RL_NAME_ALL}},
    /* What else it may do and for how long: rl_sub_ca, REVLINE_SUBCA_VALIDITY. */
    [RL_PROFILE_SUBCA - RL_ENROLL_MAX] = {"subca", {.key_usage = CERTIFY, .keys = ANY_KEY}},
    [RL_PROFILE_OCSP - RL_ENROLL_MAX] = {"ocsp", {.key_usage = SIGN, .eku = {ocsp_ekus, 1}}},
    [RL_PROFILE_SCEP_RA - RL_ENROLL_MAX] = {"scep-ra", {.key_usage = SIGN_AND_RECEIVE}},
};

static const struct {
    const char *name;
    rl_bind bind;
} enrolling[RL_ENROLL_NAMED] = {
    [RL_ENROLL_STATIC] = {"static", RL_BIND_NONE},  [RL_ENROLL_STATIC_AAD] = {"static-aad", RL_BIND_ENTRA},
    [RL_ENROLL_JAMF] = {"jamf", RL_BIND_JAMF},      [RL_ENROLL_DC] = {"dc", RL_BIND_NONE},
    [RL_ENROLL_INTUNE] = {"intune", RL_BIND_ENTRA},
};

bool rl_profile_get(const rl_settings *s, rl_profile_id id, rl_profile *out)
{
    if ((unsigned)id >= RL_ENROLL_MAX) {
        *out = (rl_profile){.name = fixed[id - RL_ENROLL_MAX].name, .rules = &fixed[id - RL_ENROLL_MAX].rules};
        return true;
    }
    const rl_profile_rules *rules = &s->scep.profiles[id];
    size_t named = (size_t)id - RL_ENROLL_NAMED;
    bool is_named = (unsigned)id >= RL_ENROLL_NAMED;
    if (is_named && named >= s->scep.named.n)
        return false;
    *out = (rl_profile){.name = is_named ? s->scep.named.items[named] : enrolling[id].name,
                        .rules = rules,
                        .bind = is_named ? rules->bind : enrolling[id].bind,
                        .names_are_judged = id == RL_PROFILE_INTUNE,
                        .asked_usages = s->ca.asked_usages && rules->asked_eku.n > 0};
    return true;
}

rl_err rl_profile_find(const rl_settings *s, const char *name, rl_profile_id *id)
{
    rl_profile p;
    for (unsigned i = 0; i < RL_PROFILE_COUNT; i++) {
        if (rl_profile_get(s, (rl_profile_id)i, &p) && strcmp(p.name, name) == 0) {
            *id = (rl_profile_id)i;
            return RL_OK;
        }
    }
    return RL_ENOTFOUND;
}

uint32_t ca_key_usage(const rl_profile_rules *rules)
{
    uint32_t usage = 0;
    for (unsigned i = 0; i < 8; i++)
        if (rules->key_usage & (1u << i))
            usage |= 0x80u >> i;
    return usage;
}

EXTENDED_KEY_USAGE *ca_eku_list(const rl_text_list *list)
{
    EXTENDED_KEY_USAGE *out = sk_ASN1_OBJECT_new_null();
    for (size_t i = 0; out && i < list->n; i++) {
        ASN1_OBJECT *object = OBJ_txt2obj(list->items[i], 0);
        if (object && sk_ASN1_OBJECT_push(out, object) > 0)
            continue;
        ASN1_OBJECT_free(object);
        ca_eku_free(out);
        return NULL;
    }
    return out;
}

void ca_eku_free(EXTENDED_KEY_USAGE *list)
{
    sk_ASN1_OBJECT_pop_free(list, ASN1_OBJECT_free);
}
