/* Opening the pkcsPKIEnvelope, RFC 8894 §3.2.2: content cipher, key transport, and to whom it is encrypted. Pure but
 * for memory. */
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/der.h"
#include "scep/message_priv.h"

/* ---- the content cipher ---- */
/* The content cipher's OID. OpenSSL has no accessor for it, so it is read from OpenSSL's own encoding, which is
 * DER however the client wrote it. RFC 5652 §6.1. */
static rl_err walk_to_cipher(rl_span der, rl_span *algorithm)
{
    rl_span info, wrapped, data, content, skip;
    uint64_t version;
    RL_TRY(rl_der_sequence(&der, &info));
    RL_TRY(rl_der_oid(&info, &skip));
    RL_TRY(rl_der_expect(&info, RL_DER_CONTEXT_CONSTRUCTED(0), &wrapped));
    RL_TRY(rl_der_sequence(&wrapped, &data));
    RL_TRY(rl_der_uint(&data, &version));
    if (rl_der_peek(&data, RL_DER_CONTEXT_CONSTRUCTED(0))) /* originatorInfo */
        RL_TRY(rl_der_expect(&data, RL_DER_CONTEXT_CONSTRUCTED(0), &skip));
    RL_TRY(rl_der_expect(&data, RL_DER_SET, &skip)); /* recipientInfos */
    RL_TRY(rl_der_sequence(&data, &content));
    RL_TRY(rl_der_oid(&content, &skip));
    return rl_der_sequence(&content, algorithm);
}

static rl_err envelope_cipher(const CMS_ContentInfo *env, int *nid)
{
    unsigned char *der = NULL;
    rl_span algorithm, oid;
    uint8_t tag;
    int n = i2d_CMS_ContentInfo(env, &der);
    rl_err err = walk_to_cipher(rl_span_of(der, n > 0 ? (size_t)n : 0), &algorithm);
    if (err == RL_OK && rl_der_peek(&algorithm, RL_DER_OID) &&
        (err = rl_der_any(&algorithm, &tag, &(rl_span){0}, &oid)) == RL_OK) {
        const unsigned char *p = oid.p;
        ASN1_OBJECT *object = d2i_ASN1_OBJECT(NULL, &p, (long)oid.n);
        *nid = object ? OBJ_obj2nid(object) : NID_undef;
        ASN1_OBJECT_free(object);
    }
    OPENSSL_free(der);
    return err;
}

static rl_err read_cipher(const CMS_ContentInfo *env, scep_request *out, scep_refusal *why)
{
    int nid = NID_undef;
    if (envelope_cipher(env, &nid) != RL_OK)
        return scep_not_opened(out, why);
    switch (nid) {
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

static rl_err read_transport(CMS_RecipientInfo *ri, scep_request *out, scep_refusal *why)
{
    X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *oid = NULL;
    if (CMS_RecipientInfo_type(ri) == CMS_RECIPINFO_TRANS &&
        CMS_RecipientInfo_ktri_get0_algs(ri, NULL, NULL, &algorithm) == 1)
        X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    int nid = oid ? OBJ_obj2nid(oid) : NID_undef;
    if (nid == NID_rsaEncryption || (nid == NID_rsaesOaep && read_oaep(algorithm, out)))
        return RL_OK;
    return scep_refuse(why, SCEP_BAD_ALG,
                       "the key transport is not accepted: use RSA, PKCS #1 v1.5 or OAEP with SHA-1 or SHA-2");
}

/* To whom the envelope is encrypted: us of today, or of an older root that the client still holds. What names neither
 * is tried with today's key, so that a registration authority's certificate may be made anew for its key. */
static rl_err find_recipient(const CMS_ContentInfo *env, const scep_identity *self, scep_request *out,
                             scep_refusal *why)
{
    STACK_OF(CMS_RecipientInfo) *all = CMS_get0_RecipientInfos((CMS_ContentInfo *)(uintptr_t)env);
    CMS_RecipientInfo *ours = sk_CMS_RecipientInfo_value(all, 0);
    if (sk_CMS_RecipientInfo_num(all) > SCEP_RECIPIENTS_MAX)
        return scep_refuse(why, SCEP_BAD_REQUEST, "the envelope has too many recipients");
    if (!ours)
        return scep_not_opened(out, why);
    for (const scep_identity *who = self; who; who = who->older)
        for (int i = 0; i < sk_CMS_RecipientInfo_num(all); i++) {
            CMS_RecipientInfo *ri = sk_CMS_RecipientInfo_value(all, i);
            if (CMS_RecipientInfo_type(ri) != CMS_RECIPINFO_TRANS || CMS_RecipientInfo_ktri_cert_cmp(ri, who->cert))
                continue;
            out->self = who;
            return read_transport(ri, out, why);
        }
    return read_transport(ours, out, why);
}

/* Without a certificate given, CMS_decrypt tries the key with each recipient, and goes on with a random key when key
 * transport fails, so that this shows only as content that does not decrypt. */
rl_err scep_open_envelope(rl_span der, const scep_identity *self, scep_request *out, BIO *plain, scep_refusal *why)
{
    CMS_ContentInfo *env = scep_parse(der, NID_pkcs7_enveloped, NULL);
    rl_err err = env ? find_recipient(env, self, out, why)
                     : scep_refuse(why, SCEP_BAD_REQUEST, "the signed content is no EnvelopedData");
    if (err == RL_OK)
        err = read_cipher(env, out, why);
    if (err == RL_OK && CMS_decrypt(env, out->self->key, NULL, NULL, plain, CMS_BINARY) != 1)
        err = scep_not_opened(out, why);
    CMS_ContentInfo_free(env);
    return err;
}
