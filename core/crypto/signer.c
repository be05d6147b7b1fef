/* Signers: keys in memory, from a file or made here. Immutable after creation but for the reference count, which is
 * atomic, and contexts that are kept. */
#include "crypto/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/ecdsa.h"
#include "crypto/key.h"
#include "crypto/rsa_lanes.h"
#include "crypto/x509.h"

enum { SPARE_MAX = 64 }; /* threads that sign at once */

/* What one thread signs with; it takes a while to get ready. Of the first two one is there: p256 for keys of that
 * kind. Lanes come with an RSA key's first numbers that are there at once. */
typedef struct {
    EVP_PKEY_CTX *evp;
    rl_ecdsa *p256;
    rl_rsa_lanes *lanes;
} context;

/* A number that an RSA key is to be used on. It is on the stack of its thread, which waits. */
typedef struct number {
    struct number *next;
    rl_span in;
    uint8_t *out;
    bool leads, done, right;
    pthread_cond_t turn; /* one of the first two */
} number;

struct rl_signer {
    _Atomic int refs;
    EVP_PKEY *pkey;
    rl_key_type type;
    pthread_mutex_t lock; /* all below: contexts that nobody signs with */
    size_t spare_n;
    context spare[SPARE_MAX];
    /* Numbers that nobody works on. While somebody leads the first of them is the leader's or will be a leader's. */
    number *waiting, **waiting_end;
    unsigned waiting_n;
    bool led, alone; /* alone: this key or processor has no lanes */
};

_Static_assert((int)RL_SIGNER_TOGETHER == RL_RSA_LANES, "a core's threads fill the lanes");

static const struct {
    const char *name, *curve;
    unsigned bits;
} types[] = {
    [RL_KEY_RSA2048] = {"rsa2048", NULL, 2048},      [RL_KEY_RSA3072] = {"rsa3072", NULL, 3072},
    [RL_KEY_RSA4096] = {"rsa4096", NULL, 4096},      [RL_KEY_EC_P256] = {"ec-p256", SN_X9_62_prime256v1, 0},
    [RL_KEY_EC_P384] = {"ec-p384", SN_secp384r1, 0}, [RL_KEY_AUTO] = {"auto", NULL, 0},
};

const char *rl_key_type_name(rl_key_type t)
{
    return types[t].name;
}

static rl_err wrap(EVP_PKEY *pkey, rl_key_type type, rl_signer **out, rl_error *e)
{
    rl_signer *s = calloc(1, sizeof(*s));
    if (!s) {
        EVP_PKEY_free(pkey);
        return rl_fail(e, RL_ENOMEM, "signer", "out of memory");
    }
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    s->pkey = pkey;
    s->type = type;
    s->waiting_end = &s->waiting;
    s->alone = types[type].curve != NULL;
    *out = s;
    return RL_OK;
}

rl_err rl_signer_generate(rl_key_type type, rl_signer **out, rl_error *e)
{
    if (type >= RL_KEY_AUTO)
        return rl_fail(e, RL_EINVAL, "signer", "no key type was chosen");
    EVP_PKEY *pkey = types[type].curve ? EVP_EC_gen(types[type].curve) : EVP_RSA_gen(types[type].bits);
    return pkey ? wrap(pkey, type, out, e) : rl_fail_openssl(e, "signer", "the key cannot be made");
}

/* ---- files ---- */
static rl_err recognise(const EVP_PKEY *pkey, rl_key_type *type)
{
    char group[64] = "";
    bool ec = EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1;
    bool rsa = EVP_PKEY_is_a(pkey, "RSA");
    for (unsigned t = 0; t < RL_KEY_AUTO; t++) {
        if (types[t].curve ? ec && strcmp(group, types[t].curve) == 0
                           : rsa && EVP_PKEY_get_bits(pkey) == (int)types[t].bits) {
            *type = (rl_key_type)t;
            return RL_OK;
        }
    }
    return RL_EUNSUPPORTED;
}

rl_err rl_signer_of(EVP_PKEY *pkey, rl_signer **out, rl_error *e)
{
    rl_key_type type;
    if (recognise(pkey, &type) == RL_OK)
        return wrap(pkey, type, out, e);
    EVP_PKEY_free(pkey);
    return rl_fail(e, RL_EUNSUPPORTED, "signer", "a key of another kind than rsa2048 rsa3072 rsa4096 ec-p256 ec-p384");
}

rl_err rl_signer_load(const char *path, rl_signer **out, rl_error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rl_err err = rl_fail(e, errno == ENOENT ? RL_ENOTFOUND : RL_EIO, "signer", "key file %s cannot be read: %s",
                             path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    if (st.st_mode & 077) {
        close(fd);
        return rl_fail(e, RL_EDENIED, "signer", "key file %s can be read by others than its owner: chmod 600 it", path);
    }
    FILE *f = fdopen(fd, "r");
    if (!f) {
        close(fd);
        return rl_fail(e, RL_ENOMEM, "signer", "out of memory");
    }
    EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, (void *)"");
    fclose(f);
    if (!pkey) {
        ERR_clear_error();
        return rl_fail(e, RL_ECORRUPT, "signer", "key file %s holds no private key in PEM without a pass phrase", path);
    }
    rl_err err = rl_signer_of(pkey, out, e);
    return err == RL_EUNSUPPORTED
               ? rl_fail(e, err, "signer",
                         "key file %s holds a key of another kind than rsa2048 rsa3072 rsa4096 ec-p256 ec-p384", path)
               : err;
}

/* The name in its folder is durable only when the folder is. */
static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return failed;
}

/* Under another name first, whole and synced, then linked to its own: a crash leaves no half key file, and link(2)
 * fails when the file exists. */
static rl_err write_file(const char *path, const char *data, size_t n, rl_error *e)
{
    char *temporary = NULL;
    rl_err err = RL_OK;
    int fd = asprintf(&temporary, "%s.XXXXXX", path) > 0 ? mkostemp(temporary, O_CLOEXEC) : -1; /* mode 0600 */
    if (fd < 0 || write(fd, data, n) != (ssize_t)n || fsync(fd) != 0)
        err = rl_fail(e, RL_EIO, "signer", "key file %s cannot be written: %s", path, strerror(errno));
    else if (link(temporary, path) != 0)
        err = rl_fail(e, errno == EEXIST ? RL_EEXISTS : RL_EIO, "signer", "key file %s cannot be made: %s", path,
                      strerror(errno));
    if (fd >= 0) {
        unlink(temporary);
        close(fd);
    }
    if (err == RL_OK && sync_folder(path))
        err = rl_fail(e, RL_EIO, "signer", "the folder of key file %s cannot be synced: %s", path, strerror(errno));
    free(temporary);
    return err;
}

rl_err rl_signer_save(const rl_signer *s, const char *path, rl_error *e)
{
    char *pem;
    BIO *bio = BIO_new(BIO_s_secmem());
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, s->pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return rl_fail_openssl(e, "signer", "the key cannot be written as PKCS#8");
    }
    long n = BIO_get_mem_data(bio, &pem);
    rl_err err = write_file(path, pem, (size_t)n, e);
    OPENSSL_cleanse(pem, (size_t)n);
    BIO_free(bio);
    return err;
}

static void free_context(context c)
{
    EVP_PKEY_CTX_free(c.evp);
    rl_ecdsa_free(c.p256);
    rl_rsa_lanes_free(c.lanes);
}

rl_signer *rl_signer_ref(rl_signer *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void rl_signer_free(rl_signer *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        while (s->spare_n > 0)
            free_context(s->spare[--s->spare_n]);
        pthread_mutex_destroy(&s->lock);
        EVP_PKEY_free(s->pkey); /* OpenSSL clears private numbers as it frees them */
        free(s);
    }
}

EVP_PKEY *rl_signer_pkey(const rl_signer *s)
{
    return s->pkey;
}
rl_key_type rl_signer_type(const rl_signer *s)
{
    return s->type;
}
bool rl_signer_is_rsa(const rl_signer *s)
{
    return types[s->type].curve == NULL;
}
rl_hash rl_signer_hash(const rl_signer *s)
{
    return s->type == RL_KEY_EC_P384 ? RL_SHA384 : RL_SHA256;
}

/* RFC 4055 §5 (with NULL parameters), RFC 5758 §3.2 (without). */
rl_span rl_signer_algorithm(const rl_signer *s)
{
    if (rl_signer_is_rsa(s))
        return RL_SPAN_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00");
    return s->type == RL_KEY_EC_P384 ? RL_SPAN_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03")
                                     : RL_SPAN_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02");
}

/* ---- signing ---- */
static bool new_context(const rl_signer *s, context *c)
{
    *c = (context){0};
    if (s->type == RL_KEY_EC_P256) {
        c->p256 = rl_ecdsa_new(s->pkey);
        return c->p256 != NULL;
    }
    c->evp = EVP_PKEY_CTX_new(s->pkey, NULL);
    if (c->evp && EVP_PKEY_sign_init(c->evp) == 1 &&
        (rl_signer_is_rsa(s) ? EVP_PKEY_CTX_set_rsa_padding(c->evp, RSA_NO_PADDING)
                             : EVP_PKEY_CTX_set_signature_md(c->evp, EVP_sha384())) == 1)
        return true;
    EVP_PKEY_CTX_free(c->evp);
    return false;
}

static bool take_context(rl_signer *s, context *c)
{
    pthread_mutex_lock(&s->lock);
    bool found = s->spare_n > 0;
    if (found)
        *c = s->spare[--s->spare_n];
    pthread_mutex_unlock(&s->lock);
    return found || new_context(s, c);
}

static void give_context(rl_signer *s, context c)
{
    pthread_mutex_lock(&s->lock);
    bool room = s->spare_n < SPARE_MAX;
    if (room)
        s->spare[s->spare_n++] = c;
    pthread_mutex_unlock(&s->lock);
    if (!room)
        free_context(c);
}

static bool use_context(const context *c, rl_span in, uint8_t *out, size_t *n)
{
    return c->p256 ? rl_ecdsa_sign(c->p256, in.p, out, n) == RL_OK : EVP_PKEY_sign(c->evp, out, n, in.p, in.n) == 1;
}

/* ---- several numbers at once ---- */

/* Those that the others will bring who are about to: a thread that finds no leader is one and lets the others run for
 * as long as that brings more. Under the lock. */
static void gather(rl_signer *s)
{
    for (unsigned seen = 0; seen < s->waiting_n && s->waiting_n < RL_RSA_LANES;) {
        seen = s->waiting_n;
        pthread_mutex_unlock(&s->lock);
        sched_yield();
        pthread_mutex_lock(&s->lock);
    }
}

/* Takes the first numbers and leaves the next to lead. Under the lock. */
static unsigned take_numbers(rl_signer *s, number *taken[RL_RSA_LANES])
{
    unsigned n = 0;
    while (n < RL_RSA_LANES && s->waiting != NULL) {
        taken[n++] = s->waiting;
        s->waiting = s->waiting->next;
    }
    s->waiting_n -= n;
    s->led = s->waiting != NULL;
    if (s->led) {
        s->waiting->leads = true;
        pthread_cond_signal(&s->waiting->turn);
    } else {
        s->waiting_end = &s->waiting;
    }
    return n;
}

static void use_lanes(rl_signer *s, context *c, number *const taken[], unsigned n)
{
    const uint8_t *in[RL_RSA_LANES];
    uint8_t *out[RL_RSA_LANES];
    for (unsigned i = 0; i < n; i++) {
        in[i] = taken[i]->in.p;
        out[i] = taken[i]->out;
    }
    if (!c->lanes && !(c->lanes = rl_rsa_lanes_new(s->pkey))) {
        pthread_mutex_lock(&s->lock);
        s->alone = true;
        pthread_mutex_unlock(&s->lock);
        return;
    }
    unsigned right = rl_rsa_lanes_use(c->lanes, in, out, n);
    for (unsigned i = 0; i < n; i++)
        taken[i]->right = right >> i & 1;
}

/* What the lanes do not give is OpenSSL's to do or to refuse. */
static void use_numbers(rl_signer *s, number *const taken[], unsigned n)
{
    context c;
    if (!take_context(s, &c))
        return;
    if (n > 1)
        use_lanes(s, &c, taken, n);
    for (unsigned i = 0; i < n; i++) {
        size_t length = taken[i]->in.n;
        if (!taken[i]->right)
            taken[i]->right = use_context(&c, taken[i]->in, taken[i]->out, &length);
        if (!taken[i]->right && i > 0)
            ERR_clear_error(); /* not the leader's */
    }
    give_context(s, c);
}

static bool use_together(rl_signer *s, rl_span in, uint8_t *out)
{
    number mine = {.in = in, .out = out}, *taken[RL_RSA_LANES];
    pthread_cond_init(&mine.turn, NULL);
    pthread_mutex_lock(&s->lock);
    *s->waiting_end = &mine;
    s->waiting_end = &mine.next;
    s->waiting_n++;
    mine.leads = !s->led;
    s->led = true;
    while (!mine.leads && !mine.done)
        pthread_cond_wait(&mine.turn, &s->lock);
    if (mine.leads) {
        gather(s);
        unsigned n = take_numbers(s, taken);
        pthread_mutex_unlock(&s->lock);
        use_numbers(s, taken, n);
        pthread_mutex_lock(&s->lock);
        for (unsigned i = 1; i < n; i++) { /* the first is the leader's */
            taken[i]->done = true;
            pthread_cond_signal(&taken[i]->turn);
        }
    }
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&mine.turn);
    return mine.right;
}

static bool use_alone(rl_signer *s, rl_span in, uint8_t *out, size_t *n)
{
    context c;
    if (!take_context(s, &c))
        return false;
    bool right = use_context(&c, in, out, n);
    if (right)
        give_context(s, c);
    else
        free_context(c);
    return right;
}

/* Of an EC key `in` is a digest; of an RSA key it is a number of the modulus' length, and what is done with it is the
 * same whether that is to sign (RSASP1, RFC 8017 §5.2.1) or to decrypt (RSADP). It is blinded, and what comes of it is
 * checked. */
static rl_err use_key(rl_signer *s, rl_span in, uint8_t *out, size_t *n, rl_error *e)
{
    pthread_mutex_lock(&s->lock);
    bool alone = s->alone;
    pthread_mutex_unlock(&s->lock);
    if (alone ? use_alone(s, in, out, n) : use_together(s, in, out)) {
        *n = alone ? *n : in.n;
        return RL_OK;
    }
    return rl_fail_openssl(e, "signer", "the private key cannot be used");
}

rl_err rl_signer_sign_by(rl_signer *s, rl_hash hash, rl_span tbs, uint8_t *sig, size_t *n, rl_error *e)
{
    uint8_t in[RL_SIGNATURE_MAX];
    const bool rsa = rl_signer_is_rsa(s);
    const size_t k = (size_t)EVP_PKEY_get_size(s->pkey), in_n = rsa ? k : rl_hash_size(hash);
    if (*n < k || k > sizeof(in))
        return rl_fail(e, RL_ERANGE, "signer", "no room for the signature");
    if (!rsa && hash != rl_signer_hash(s))
        return rl_fail(e, RL_EINVAL, "signer", "an EC key signs by the hash of its size");
    if (rsa ? !rl_pkcs1_encode(hash, tbs, in, k) : rl_hash_digest(hash, tbs, in) != RL_OK)
        return rl_fail_openssl(e, "signer", "signing failed");
    return use_key(s, rl_span_of(in, in_n), sig, n, e);
}

rl_err rl_signer_sign(rl_signer *s, rl_span tbs, uint8_t *sig, size_t *n, rl_error *e)
{
    return rl_signer_sign_by(s, rl_signer_hash(s), tbs, sig, n, e);
}

rl_err rl_signer_decrypt(rl_signer *s, rl_span in, uint8_t *out, size_t *n, rl_error *e)
{
    uint8_t block[RL_SIGNATURE_MAX] = {0};
    const size_t k = (size_t)EVP_PKEY_get_size(s->pkey);
    if (!rl_signer_is_rsa(s) || k > sizeof(block) || in.n > k)
        return rl_fail(e, RL_ECRYPTO, "signer", "what is to be decrypted is not of the key's length");
    memcpy(block + k - in.n, in.p, in.n);
    *n = k;
    return use_key(s, rl_span_of(block, k), out, n, e);
}
