/* Any octets as a certificate request, PEM or DER, checked for the bound profile and the free ones: what passes has a
 * key and names that a certificate may hold. */
#include <stdlib.h>

#include "ca/ca_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void read_for(const rl_settings *s, rl_profile_id id, X509_REQ *csr)
{
    rl_profile profile;
    ca_csr c;
    rl_error e;
    check(rl_profile_get(s, id, &profile));
    if (ca_csr_read(&profile, csr, NULL, NULL, &c, &e) != RL_OK) {
        check(c.names == NULL && c.eku == NULL && e.message[0]);
        return;
    }
    check(EVP_PKEY_get_security_bits(rl_key_pkey(c.key)) >= 112);
    check(X509_NAME_entry_count(c.subject) > 0 || sk_GENERAL_NAME_num(c.names) > 0);
    check((c.key_usage & ~ca_key_usage(profile.rules)) == 0 && c.key_usage != 0);
    check(profile.bind == RL_BIND_NONE || c.device[0] || c.user[0]);
    ca_csr_clear(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rl_settings settings;
    static rl_buf errors;
    X509_REQ *csr;
    if (!settings.priv)
        check(rl_settings_load(&settings, (char *[]){NULL}, &errors) == RL_OK);
    if (rl_csr_from_any(rl_span_of(data, size), &csr, NULL) != RL_OK)
        return 0;
    read_for(&settings, RL_PROFILE_STATIC_AAD, csr);
    read_for(&settings, RL_PROFILE_JAMF, csr);
    read_for(&settings, RL_PROFILE_CLIENT, csr);
    check(ca_read_validity(csr, 1790000000) >= 0);
    rl_identity who;
    if (rl_identity_read(X509_REQ_get_subject_name(csr), NULL, &who, NULL) == RL_OK)
        rl_identity_free(&who);
    X509_REQ_free(csr);
    return 0;
}
