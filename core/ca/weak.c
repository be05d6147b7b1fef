/* Keys that are never certified, whoever asks: those that an admin lists since others have them, those whose
 * certificate was revoked since others have them, and the CA's own. */
#include "ca/ca_priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGEST = 32, KEYS_MAX = 10000000 };

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST);
}

/* 64 hexadecimal digits, whatever stands behind a blank; an empty line or one that begins with '#' is passed over. */
static bool read_line(const char *line, uint8_t digest[DIGEST], bool *is_key)
{
    size_t n = strcspn(line, " \t\r\n");
    size_t octets;
    *is_key = n > 0 && line[0] != '#';
    return !*is_key || (n == 2 * DIGEST && rl_unhex(rl_span_of(line, n), digest, DIGEST, &octets) == RL_OK);
}

static rl_err read_keys(FILE *file, rl_ca *ca, rl_error *e)
{
    char line[256];
    size_t room = 0;
    for (size_t number = 1; fgets(line, sizeof(line), file); number++) {
        uint8_t digest[DIGEST];
        bool is_key;
        if (!read_line(line, digest, &is_key))
            return rl_fail(e, RL_EINVAL, "ca", "REVLINE_WEAK_KEYS: line %zu of '%s' is no SHA-256 in hexadecimal",
                           number, ca->settings->ca.weak_keys);
        if (!is_key)
            continue;
        if (ca->weak_n == room) {
            room = room ? 2 * room : 1024;
            void *more = room <= 2 * KEYS_MAX ? realloc(ca->weak, room * DIGEST) : NULL;
            if (!more)
                return rl_fail(e, RL_ENOMEM, "ca", "REVLINE_WEAK_KEYS: '%s' is too large", ca->settings->ca.weak_keys);
            ca->weak = more;
        }
        memcpy(ca->weak[ca->weak_n++], digest, DIGEST);
    }
    return ferror(file) ? rl_fail(e, RL_EIO, "ca", "REVLINE_WEAK_KEYS: '%s' cannot be read", ca->settings->ca.weak_keys)
                        : RL_OK;
}

rl_err ca_weak_load(rl_ca *ca, rl_error *e)
{
    const char *path = ca->settings->ca.weak_keys;
    if (!path || !path[0])
        return RL_OK;
    FILE *file = fopen(path, "re");
    if (!file)
        return rl_fail(e, RL_EIO, "ca", "REVLINE_WEAK_KEYS: '%s' cannot be read: %s", path, strerror(errno));
    rl_err err = read_keys(file, ca, e);
    fclose(file);
    if (ca->weak_n)
        qsort(ca->weak, ca->weak_n, DIGEST, compare);
    return err;
}

static bool digest_of(rl_key *key, uint8_t digest[RL_HASH_MAX])
{
    rl_span spki = key ? rl_key_spki(key) : (rl_span){NULL, 0};
    return spki.n > 0 && rl_hash_digest(RL_SHA256, spki, digest) == RL_OK;
}

/* ---- whose certificate was revoked for that ---- */
bool ca_key_of(X509 *cert, char name[CA_KEY_NAME])
{
    uint8_t digest[RL_HASH_MAX];
    rl_key *key = rl_key_in(X509_get_X509_PUBKEY(cert));
    bool named = digest_of(key, digest) && rl_hex(rl_span_of(digest, DIGEST), name, CA_KEY_NAME) == RL_OK;
    rl_key_free(key);
    ERR_clear_error();
    return named;
}

/* cACompromise is of a CA's own key (X.509 on reasonCode); of an end entity it says that its CA's is, and nothing of
 * its. */
bool ca_compromised(rl_span der, rl_reason reason, char name[RL_OBJECT_ID_MAX + 1])
{
    X509 *cert = NULL;
    bool is = rl_x509_from_der(der, &cert, NULL) == RL_OK &&
              (reason == RL_REASON_KEY_COMPROMISE || X509_check_ca(cert) > 0) && ca_key_of(cert, name);
    X509_free(cert);
    return is;
}

static rl_err refuse_for(rl_err found, rl_error *e)
{
    return found == RL_ENOTFOUND ? RL_OK
           : found == RL_OK
               ? rl_fail(e, RL_EINVAL, "ca", "the key's certificate was revoked for its compromise: make another key")
               : rl_fail(e, found, "ca", "whether the key was compromised cannot be read: %s", rl_err_name(found));
}

rl_err ca_key_is_sound(rl_store_txn *t, const char *name, rl_error *e)
{
    rl_cert_id id;
    return refuse_for(rl_txn_binding_first(t, RL_SOURCE_COMPROMISED_KEY, name, &id), e);
}

/* ---- whoever asks ---- */
static bool is_of_a_ca(const rl_ca *ca, const rl_key *key)
{
    bool found = rl_key_eq(key, ca->ra_key);
    for (size_t i = 0; !found && i < rl_ca_issuers(ca); i++)
        found = rl_key_eq(key, ca->issuers[i].key);
    return found;
}

rl_err ca_weak_check(const rl_ca *ca, rl_key *key, char name[CA_KEY_NAME], rl_error *e)
{
    uint8_t digest[RL_HASH_MAX];
    rl_cert_id id;
    if (!digest_of(key, digest) || rl_hex(rl_span_of(digest, DIGEST), name, CA_KEY_NAME) != RL_OK)
        return rl_fail_openssl(e, "ca", "the key cannot be looked at");
    if (ca->weak_n && bsearch(digest, ca->weak, ca->weak_n, DIGEST, compare))
        return rl_fail(e, RL_EINVAL, "ca", "the key is on the list of keys that others have (REVLINE_WEAK_KEYS)");
    if (is_of_a_ca(ca, key))
        return rl_fail(e, RL_EINVAL, "ca", "the key is that of a CA");
    return refuse_for(rl_store_binding_first(ca->store, RL_SOURCE_COMPROMISED_KEY, name, &id), e);
}
