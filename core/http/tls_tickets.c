/* Keys of session tickets: random, in memory only, shared by all loops and outliving a change of the certificate.
 *
 * A ticket is sealed with the newest key, which serves for an hour; older ones still open tickets until the last that
 * they sealed has ended. So who steals the memory reads at most the sessions of three hours, and a ticket works on
 * every loop. The lock is held for copying a key. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/clock.h"
#include "http/tls_priv.h"

enum {
    SESSION_S = 2 * 3600, /* how long a session may be resumed */
    NEWEST_S = 3600,      /* how long a key seals */
    KEYS = 1 + (SESSION_S + NEWEST_S) / NEWEST_S,
    NAME = 16, /* OpenSSL's */
    SECRET = 32,
};

typedef struct ticket_key {
    uint8_t name[NAME], cipher[SECRET], mac[SECRET];
    uint64_t made_s; /* of the monotonic clock */
} ticket_key;

struct http_tickets {
    pthread_mutex_t lock;
    size_t n;
    ticket_key keys[KEYS]; /* the newest first */
};

static uint64_t now_s(void)
{
    return rl_mono_ns() / 1000000000u;
}

/* Under the lock, or before anybody else knows them. */
static bool add_key(http_tickets *t)
{
    ticket_key fresh = {.made_s = now_s()};
    if (RAND_bytes(fresh.name, NAME) != 1 || RAND_priv_bytes(fresh.cipher, SECRET) != 1 ||
        RAND_priv_bytes(fresh.mac, SECRET) != 1)
        return false;
    t->n = t->n < KEYS ? t->n + 1 : KEYS;
    memmove(&t->keys[1], &t->keys[0], (t->n - 1) * sizeof t->keys[0]);
    t->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return true;
}

rl_err http_tickets_new(http_tickets **out, rl_error *e)
{
    http_tickets *t = OPENSSL_zalloc(sizeof *t);
    if (t == NULL)
        return rl_fail(e, RL_ENOMEM, "tls", "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    if (!add_key(t)) {
        http_tickets_free(t);
        return rl_fail(e, RL_EIO, "tls", "no random numbers for the keys of session tickets");
    }
    *out = t;
    return RL_OK;
}

void http_tickets_free(http_tickets *t)
{
    if (t == NULL)
        return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_clear_free(t, sizeof *t);
}

/* The newest; when no new one can be made, the one there is goes on. */
static void sealing_key(http_tickets *t, ticket_key *out)
{
    pthread_mutex_lock(&t->lock);
    if (now_s() - t->keys[0].made_s >= NEWEST_S)
        (void)add_key(t);
    *out = t->keys[0];
    pthread_mutex_unlock(&t->lock);
}

/* False: it is not ours, or too old. */
static bool opening_key(http_tickets *t, const uint8_t *name, ticket_key *out, bool *newest)
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n && !found; i++) {
        found = memcmp(t->keys[i].name, name, NAME) == 0 && now_s() - t->keys[i].made_s < SESSION_S + NEWEST_S;
        if (found)
            *out = t->keys[i];
        *newest = i == 0;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool set_mac(EVP_MAC_CTX *mac, ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, SECRET),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 go on, 2 go on and give a new ticket, 0 a full handshake, -1 failure. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int sealing)
{
    http_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    ticket_key key;
    bool newest = true, ok;
    if (sealing) {
        sealing_key(t, &key);
        memcpy(name, key.name, NAME);
        ok = RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
             EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 && set_mac(mac, &key);
    } else {
        if (!opening_key(t, name, &key, &newest))
            return 0;
        ok = set_mac(mac, &key) && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return !ok ? -1 : newest ? 1 : 2;
}

void http_tickets_use(http_tickets *t, SSL_CTX *ctx)
{
    SSL_CTX_set_app_data(ctx, t);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_timeout(ctx, SESSION_S);
}
