/* Any octets as a revocation list: what is accepted is sorted, within its limits, and never signed by a stranger. */
#include <stdlib.h>

#include "crypto/crl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static X509 *stranger(const X509_NAME *name)
{
    static EVP_PKEY *key;
    X509 *cert = X509_new();
    if (!key)
        key = EVP_EC_gen("P-256");
    if (!cert || !key || X509_set_subject_name(cert, name) != 1 || X509_set_pubkey(cert, key) != 1)
        abort();
    return cert;
}

static void check(const rl_crl *c, size_t size)
{
    if (c->n > size || c->next_update < c->this_update)
        abort();
    for (size_t i = 0; i < c->n; i++) {
        const rl_crl_entry *entry = &c->entries[i];
        if (entry->serial.n < 1 || entry->serial.n > RL_SERIAL_MAX || entry->reason > 10)
            abort();
        if (i > 0 && rl_crl_order(&c->entries[i - 1].serial, &entry->serial) >= 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rl_crl c;
    rl_error e = {0};
    if (rl_crl_read(rl_span_of(data, size), 1 << 20, &c, &e) != RL_OK) {
        if (!e.message[0] || c.der || c.entries || c.issuer)
            abort();
        return 0;
    }
    check(&c, size);
    X509 *cert = stranger(c.issuer);
    if (rl_crl_verify(&c, cert, true, &e) == RL_OK)
        abort();
    X509_free(cert);
    rl_crl_clear(&c);
    return 0;
}
