/* Opening the pkcsPKIEnvelope, RFC 8894 §3.2.2: content cipher, key transport, and to whom it is encrypted. Pure but
 * for memory. */
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "scep/message_priv.h"

/* EnvelopedData, RFC 5652 §6.1, in spans of what was read, or of `again`. */
struct recipient {
    bool transport; /* KeyTransRecipientInfo (§6.2.1); else all below is without meaning */
    scep_who who;
    rl_span algorithm, key; /* element; contents */
};
struct enveloped {
    unsigned char *again; /* what came in BER, in DER; or NULL */
    size_t n;             /* all there are, also those above the limit */
    struct recipient to[SCEP_RECIPIENTS_MAX];
    rl_span cipher, iv; /* OID contents; contents, empty when it is no OCTET STRING */
    rl_span content;
};

/* ---- reading ---- */
static rl_err read_recipient(rl_span *in, struct recipient *out)
{
    rl_span info, skip;
    uint64_t version;
    uint8_t tag;
    *out = (struct recipient){.transport = rl_der_peek(in, RL_DER_SEQUENCE)};
    RL_TRY(rl_der_any(in, &tag, &info, &skip));
    if (!out->transport)
        return RL_OK;
    RL_TRY(rl_der_uint(&info, &version));
    RL_TRY(scep_who_read(&info, &out->who));
    RL_TRY(rl_der_any(&info, &tag, &skip, &out->algorithm));
    RL_TRY(rl_der_octets(&info, &out->key));
    return rl_span_end(&info);
}

static rl_err read_encrypted(rl_span in, struct enveloped *out)
{
    rl_span algorithm, skip;
    RL_TRY(rl_der_oid(&in, &skip));
    RL_TRY(rl_der_sequence(&in, &algorithm));
    RL_TRY(rl_der_oid(&algorithm, &out->cipher));
    if (rl_der_peek(&algorithm, RL_DER_OCTET_STRING))
        RL_TRY(rl_der_octets(&algorithm, &out->iv));
    if (in.n > 0)
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT(0), &out->content));
    return rl_span_end(&in);
}

static rl_err read_all(rl_span der, struct enveloped *out)
{
    static const uint8_t enveloped_data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03};
    rl_span info, type, content, data, skip, recipients, encrypted;
    uint64_t version;
    struct recipient more;
    RL_TRY(rl_der_sequence(&der, &info));
    RL_TRY(rl_span_end(&der));
    RL_TRY(rl_der_oid(&info, &type));
    if (!rl_span_eq(type, rl_span_of(enveloped_data, sizeof(enveloped_data))))
        return RL_EBADMSG;
    RL_TRY(rl_der_expect(&info, RL_DER_CONTEXT_CONSTRUCTED(0), &content));
    RL_TRY(rl_der_sequence(&content, &data));
    RL_TRY(rl_der_uint(&data, &version));
    if (rl_der_peek(&data, RL_DER_CONTEXT_CONSTRUCTED(0))) /* originatorInfo */
        RL_TRY(rl_der_expect(&data, RL_DER_CONTEXT_CONSTRUCTED(0), &skip));
    RL_TRY(rl_der_expect(&data, RL_DER_SET, &recipients));
    for (out->n = 0; recipients.n > 0; out->n++)
        RL_TRY(read_recipient(&recipients, out->n < SCEP_RECIPIENTS_MAX ? &out->to[out->n] : &more));
    RL_TRY(rl_der_sequence(&data, &encrypted));
    if (rl_der_peek(&data, RL_DER_CONTEXT_CONSTRUCTED(1))) /* unprotectedAttrs */
        RL_TRY(rl_der_expect(&data, RL_DER_CONTEXT_CONSTRUCTED(1), &skip));
    RL_TRY(rl_span_end(&data));
    return read_encrypted(encrypted, out);
}

/* Clear in every case. */
static rl_err read_enveloped(rl_span der, struct enveloped *out)
{
    *out = (struct enveloped){.again = NULL};
    if (read_all(der, out) == RL_OK)
        return RL_OK;
    *out = (struct enveloped){.again = NULL};
    size_t n = scep_ber_to_der(der, &out->again);
    return n > 0 ? read_all(rl_span_of(out->again, n), out) : RL_EBADMSG;
}

/* ---- the content cipher ---- */
static int nid_of(rl_span oid)
{
    const unsigned char *p;
    uint8_t der[2 + 32] = {RL_DER_OID, (uint8_t)oid.n};
    if (oid.n > sizeof(der) - 2)
        return NID_undef;
    memcpy(der + 2, oid.p, oid.n);
    p = der;
    ASN1_OBJECT *object = d2i_ASN1_OBJECT(NULL, &p, (long)(2 + oid.n));
    int nid = object ? OBJ_obj2nid(object) : NID_undef;
    ASN1_OBJECT_free(object);
    return nid;
}

static rl_err read_cipher(const struct enveloped *env, scep_request *out, scep_refusal *why)
{
    switch (nid_of(env->cipher)) {
    case NID_aes_128_cbc:
        out->cipher = EVP_aes_128_cbc();
        return RL_OK;
    case NID_aes_192_cbc:
        out->cipher = EVP_aes_192_cbc();
        return RL_OK;
    case NID_aes_256_cbc:
        out->cipher = EVP_aes_256_cbc();
        return RL_OK;
    case NID_des_ede3_cbc:
        if (!out->self->allow_legacy)
            return scep_refuse(why, SCEP_BAD_ALG, "3DES is not accepted: use AES-128-CBC or AES-256-CBC");
        out->cipher = EVP_des_ede3_cbc();
        return RL_OK;
    default:
        return scep_refuse(why, SCEP_BAD_ALG, "the content cipher is not accepted: use AES-128-CBC or AES-256-CBC");
    }
}

/* ---- key transport ---- */
/* A hash of RSA-OAEP: SHA-1 when absent (RFC 8017 §A.2.1). SHA-1 is as good as others there, no setting allows it. */
static const EVP_MD *oaep_hash(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *oid = NULL;
    if (!algorithm)
        return EVP_sha1();
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    switch (OBJ_obj2nid(oid)) {
    case NID_sha1:
        return EVP_sha1();
    case NID_sha256:
        return EVP_sha256();
    case NID_sha384:
        return EVP_sha384();
    case NID_sha512:
        return EVP_sha512();
    default:
        return NULL;
    }
}

/* MGF1 with the hash in its parameters; SHA-1 when absent. */
static const EVP_MD *mgf1_hash(const X509_ALGOR *generator)
{
    const ASN1_OBJECT *oid;
    int type = V_ASN1_UNDEF;
    const void *value = NULL;
    if (!generator)
        return EVP_sha1();
    X509_ALGOR_get0(&oid, &type, &value, generator);
    if (OBJ_obj2nid(oid) != NID_mgf1 || type != V_ASN1_SEQUENCE)
        return NULL;
    X509_ALGOR *hash = ASN1_item_unpack(value, ASN1_ITEM_rptr(X509_ALGOR));
    const EVP_MD *md = hash ? oaep_hash(hash) : NULL;
    X509_ALGOR_free(hash);
    return md;
}

static bool read_oaep(const X509_ALGOR *algorithm, scep_request *out)
{
    int type;
    const void *value;
    X509_ALGOR_get0(NULL, &type, &value, algorithm);
    RSA_OAEP_PARAMS *params = type == V_ASN1_SEQUENCE ? ASN1_item_unpack(value, ASN1_ITEM_rptr(RSA_OAEP_PARAMS)) : NULL;
    if (params) {
        out->oaep = oaep_hash(params->hashFunc);
        out->mgf1 = mgf1_hash(params->maskGenFunc);
    }
    RSA_OAEP_PARAMS_free(params);
    return out->oaep && out->mgf1;
}

static rl_err read_transport(const struct recipient *to, scep_request *out, scep_refusal *why)
{
    const unsigned char *p = to->algorithm.p;
    const ASN1_OBJECT *oid = NULL;
    X509_ALGOR *algorithm = to->transport ? d2i_X509_ALGOR(NULL, &p, (long)to->algorithm.n) : NULL;
    if (algorithm)
        X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    int nid = oid ? OBJ_obj2nid(oid) : NID_undef;
    bool ok = nid == NID_rsaEncryption || (nid == NID_rsaesOaep && read_oaep(algorithm, out));
    X509_ALGOR_free(algorithm);
    return ok ? RL_OK
              : scep_refuse(why, SCEP_BAD_ALG,
                            "the key transport is not accepted: use RSA, PKCS #1 v1.5 or OAEP with SHA-1 or SHA-2");
}

/* To whom the envelope is encrypted: us of today, or of an older root that the client still holds. What names neither
 * is tried with today's key (`ours` is NULL then), so that a registration authority's certificate may be made anew for
 * its key. */
static rl_err find_recipient(const struct enveloped *env, const scep_identity *self, scep_request *out,
                             const struct recipient **ours, scep_refusal *why)
{
    *ours = NULL;
    if (env->n > SCEP_RECIPIENTS_MAX)
        return scep_refuse(why, SCEP_BAD_REQUEST, "the envelope has too many recipients");
    if (env->n == 0)
        return scep_not_opened(out, why);
    for (const scep_identity *who = self; who; who = who->older)
        for (size_t i = 0; i < env->n; i++)
            if (env->to[i].transport && scep_who_is(&env->to[i].who, who->cert)) {
                out->self = who;
                *ours = &env->to[i];
                return read_transport(*ours, out, why);
            }
    return read_transport(&env->to[0], out, why);
}

/* ---- the content's key ---- */
/* RSAES-PKCS1-v1_5 (RFC 8017 §7.2.2) for a plain text of `n` octets: replaces `key` when the padding is right. In the
 * same time whether it is or not, without a branch or an address that depends on it. */
static void take_key(const uint8_t *block, size_t k, uint8_t *key, size_t n)
{
    const size_t zero = k - n - 1; /* where the padding ends */
    unsigned bad = block[0] | (block[1] ^ 2u) | block[zero];
    for (size_t i = 2; i < zero; i++)
        bad |= (block[i] - 1u) >> 8; /* a zero too early */
    const uint8_t good = (uint8_t) ~(0u - (((0u - (bad & 0xffffffu)) >> 31) & 1u));
    for (size_t i = 0; i < n; i++)
        key[i] = (uint8_t)((block[zero + 1 + i] & good) | (key[i] & ~good));
}

static bool open_oaep(const scep_request *r, rl_span in, uint8_t *out, size_t *n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(rl_signer_pkey(r->self->signer), NULL);
    bool ok = ctx && EVP_PKEY_decrypt_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_oaep_md(ctx, r->oaep) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, r->mgf1) == 1 &&
              EVP_PKEY_decrypt(ctx, out, n, in.p, in.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* What does not open leaves `key` as it was, and shows only as content that does not decrypt: RFC 3218 §2.3.2. */
static void open_key(const scep_request *r, const struct recipient *to, uint8_t *key, size_t n)
{
    enum { PADDING_MIN = 11 };
    uint8_t block[RL_SIGNATURE_MAX];
    size_t k = sizeof(block);
    if (r->oaep) {
        if (open_oaep(r, to->key, block, &k) && k == n)
            memcpy(key, block, n);
    } else if (rl_signer_decrypt(r->self->signer, to->key, block, &k, NULL) == RL_OK && k >= n + PADDING_MIN) {
        take_key(block, k, key, n);
    }
    OPENSSL_cleanse(block, sizeof(block));
    ERR_clear_error();
}

/* ---- the whole ---- */
/* The padding stays on: content.c looks at it last. */
static rl_err decrypt(const EVP_CIPHER *cipher, const uint8_t *key, const struct enveloped *env, rl_buf *plain)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, last = 0;
    if (!ctx || env->content.n > INT_MAX - EVP_MAX_BLOCK_LENGTH ||
        !(plain->p = malloc(env->content.n + EVP_MAX_BLOCK_LENGTH))) {
        EVP_CIPHER_CTX_free(ctx);
        return RL_ENOMEM;
    }
    plain->cap = env->content.n + EVP_MAX_BLOCK_LENGTH;
    bool ok = EVP_DecryptInit_ex(ctx, cipher, NULL, key, env->iv.p) == 1 && EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
              EVP_DecryptUpdate(ctx, plain->p, &n, env->content.p, (int)env->content.n) == 1 &&
              EVP_DecryptFinal_ex(ctx, plain->p + n, &last) == 1;
    plain->n = ok ? (size_t)n + (size_t)last : 0;
    EVP_CIPHER_CTX_free(ctx);
    return ok ? RL_OK : RL_EBADMSG;
}

static rl_err open_content(const struct enveloped *env, const struct recipient *ours, scep_request *out, rl_buf *plain,
                           scep_refusal *why)
{
    uint8_t key[EVP_MAX_KEY_LENGTH];
    const size_t n = (size_t)EVP_CIPHER_get_key_length(out->cipher);
    if (env->iv.n != (size_t)EVP_CIPHER_get_iv_length(out->cipher) || env->content.n == 0)
        return scep_not_opened(out, why);
    if (RAND_priv_bytes(key, (int)n) != 1)
        return RL_ENOMEM;
    for (size_t i = 0; i < env->n; i++)
        if (env->to[i].transport && (!ours || ours == &env->to[i]))
            open_key(out, &env->to[i], key, n);
    rl_err err = decrypt(out->cipher, key, env, plain);
    OPENSSL_cleanse(key, sizeof(key));
    return err == RL_EBADMSG ? scep_not_opened(out, why) : err;
}

rl_err scep_open_envelope(rl_span der, const scep_identity *self, scep_request *out, rl_buf *plain, scep_refusal *why)
{
    struct enveloped env;
    const struct recipient *ours;
    rl_err err = read_enveloped(der, &env) == RL_OK
                     ? find_recipient(&env, self, out, &ours, why)
                     : scep_refuse(why, SCEP_BAD_REQUEST, "the signed content is no EnvelopedData");
    if (err == RL_OK)
        err = read_cipher(&env, out, why);
    if (err == RL_OK)
        err = open_content(&env, ours, out, plain, why);
    OPENSSL_free(env.again);
    return err;
}
