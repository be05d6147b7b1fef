/* Reading a pkiMessage: outer signature, transaction attributes, envelope, CSR. Pure but for memory.
 *
 * The attributes are read before the signature is checked, since a refusal has to name them; nothing else in
 * the message is trusted until the signature holds. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "scep/message.h"

enum {
    SIGNER_BITS_MIN = 1024, /* below, an RSA key cannot carry the answer; what is issued is the CA's business */
    SIGNER_BITS_MAX = 8192, /* the cost of one verification */
};

static rl_err refuse(scep_refusal *why, scep_fail_info info, const char *text)
{
    why->info = info;
    why->text = text;
    ERR_clear_error();
    return RL_EDENIED;
}

static rl_err unreadable(scep_refusal *why, const char *text)
{
    refuse(why, SCEP_BAD_REQUEST, text);
    return RL_EBADMSG;
}

/* The one refusal for everything between the envelope's first octet and the CSR's signature. */
static rl_err not_opened(scep_refusal *why)
{
    return refuse(why, SCEP_BAD_MESSAGE_CHECK,
                  "the envelope does not open to a certificate request with a valid signature");
}

static bool is_type(const CMS_ContentInfo *cms, int nid)
{
    return OBJ_obj2nid(CMS_get0_type(cms)) == nid;
}

/* A CMS object that fills `der` exactly. */
static CMS_ContentInfo *parse(rl_span der)
{
    const unsigned char *p = der.p;
    CMS_ContentInfo *cms = der.n && der.n <= 1 << 24 ? d2i_CMS_ContentInfo(NULL, &p, (long)der.n) : NULL;
    if (cms && p != der.p + der.n) {
        CMS_ContentInfo_free(cms);
        cms = NULL;
    }
    return cms;
}

/* ---- transaction attributes, RFC 8894 §3.2.1 ---- */
/* The value of a signed attribute that is there exactly once, with one value of type `tag`. */
static rl_span signed_value(CMS_SignerInfo *si, scep_attribute a, int tag)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(scep_attribute_oid(a), 1);
    const ASN1_STRING *value = oid ? CMS_signed_get0_data_by_OBJ(si, oid, -3, tag) : NULL;
    ASN1_OBJECT_free(oid);
    return value ? rl_span_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)) : (rl_span){NULL, 0};
}

static bool printable(rl_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return s.n > 0;
}

static rl_err read_attributes(CMS_SignerInfo *si, scep_request *out, scep_refusal *why)
{
    if (CMS_signed_get_attr_count(si) > SCEP_ATTRIBUTES_MAX)
        return unreadable(why, "too many signed attributes");
    rl_span id = signed_value(si, SCEP_ATTR_TRANSACTION_ID, V_ASN1_PRINTABLESTRING);
    if (id.n > SCEP_TRANSACTION_MAX || !printable(id))
        return unreadable(why, "transactionID is missing or is not one PrintableString of 1 to 255 characters");
    rl_span nonce = signed_value(si, SCEP_ATTR_SENDER_NONCE, V_ASN1_OCTET_STRING);
    if (nonce.n == 0 || nonce.n > SCEP_NONCE_MAX)
        return unreadable(why, "senderNonce is missing or is not one OCTET STRING of 1 to 64 octets");
    memcpy(out->transaction, id.p, id.n);
    out->transaction[id.n] = 0;
    memcpy(out->nonce, nonce.p, nonce.n);
    out->nonce_n = nonce.n;
    return RL_OK;
}

static rl_err read_type(CMS_SignerInfo *si, scep_request *out, scep_refusal *why)
{
    rl_span text = signed_value(si, SCEP_ATTR_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING);
    if (text.n == 0 || text.n > 3)
        return refuse(why, SCEP_BAD_REQUEST, "messageType is missing or is not one short PrintableString");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return refuse(why, SCEP_BAD_REQUEST, "messageType is no decimal number");
        out->type = 10 * out->type + (text.p[i] - '0');
    }
    return RL_OK;
}

/* ---- the outer signature ---- */
static rl_err read_digest(CMS_SignerInfo *si, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    X509_ALGOR *algorithm;
    const ASN1_OBJECT *oid;
    CMS_SignerInfo_get0_algs(si, NULL, NULL, &algorithm, NULL);
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    switch (OBJ_obj2nid(oid)) {
    case NID_sha256:
        out->digest = EVP_sha256();
        return RL_OK;
    case NID_sha384:
        out->digest = EVP_sha384();
        return RL_OK;
    case NID_sha512:
        out->digest = EVP_sha512();
        return RL_OK;
    case NID_sha1:
        if (!self->allow_legacy)
            return refuse(why, SCEP_BAD_ALG, "SHA-1 is not accepted: use SHA-256");
        out->digest = EVP_sha1();
        return RL_OK;
    default:
        return refuse(why, SCEP_BAD_ALG, "the digest algorithm is not accepted: use SHA-256");
    }
}

/* The signer's certificate has to be in the message: RFC 8894 §3.1. */
static rl_err find_signer(CMS_ContentInfo *cms, CMS_SignerInfo *si, scep_request *out, scep_refusal *why)
{
    rl_err err = RL_OK;
    STACK_OF(X509) *certs = CMS_get1_certs(cms);
    if (sk_X509_num(certs) > SCEP_CERTS_MAX)
        err = refuse(why, SCEP_BAD_REQUEST, "too many certificates in the message");
    for (int i = 0; err == RL_OK && !out->signer && i < sk_X509_num(certs); i++) {
        X509 *cert = sk_X509_value(certs, i);
        if (CMS_SignerInfo_cert_cmp(si, cert) == 0 && X509_up_ref(cert) == 1)
            out->signer = cert;
    }
    sk_X509_pop_free(certs, X509_free);
    if (err == RL_OK && !out->signer)
        err = refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's certificate is not in the message");
    return err;
}

static rl_err check_signer_key(const scep_request *r, scep_refusal *why)
{
    EVP_PKEY *key = X509_get0_pubkey(r->signer);
    /* RFC 8894 §3.1 would have the answer encrypted by the challenge for a key that cannot decrypt. Who sees the
     * answer could then try passwords against it, and the challenge is one for the whole fleet: RSA only. */
    if (!key || !EVP_PKEY_is_a(key, "RSA"))
        return refuse(why, SCEP_BAD_ALG, "the signer's key cannot receive the encrypted answer: use an RSA key");
    int bits = EVP_PKEY_get_bits(key);
    if (bits < SIGNER_BITS_MIN || bits > SIGNER_BITS_MAX)
        return refuse(why, SCEP_BAD_ALG, "the signer's RSA key has an unacceptable size");
    return RL_OK;
}

static bool is_self_issued(const X509 *cert)
{
    return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

static rl_err verify(CMS_ContentInfo *cms, const scep_request *r, BIO *content, scep_refusal *why)
{
    /* Who the signer is does not matter, the challenge authorises; that it holds its key does. */
    if (CMS_verify(cms, NULL, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY) != 1)
        return refuse(why, SCEP_BAD_MESSAGE_CHECK, "the message's signature is not valid");
    if (is_self_issued(r->signer) && X509_verify(r->signer, X509_get0_pubkey(r->signer)) != 1)
        return refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's self-signed certificate has no valid signature");
    return RL_OK;
}

/* ---- the envelope, RFC 8894 §3.2.2 ---- */
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

static rl_err read_cipher(const CMS_ContentInfo *env, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    int nid = NID_undef;
    if (envelope_cipher(env, &nid) != RL_OK)
        return not_opened(why);
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
        if (!self->allow_legacy)
            return refuse(why, SCEP_BAD_ALG, "3DES is not accepted: use AES-128-CBC or AES-256-CBC");
        out->cipher = EVP_des_ede3_cbc();
        return RL_OK;
    default:
        return refuse(why, SCEP_BAD_ALG, "the content cipher is not accepted: use AES-128-CBC or AES-256-CBC");
    }
}

/* The CSR's DER into `plain`. With a certificate given, CMS_decrypt goes on with a random key when key transport
 * fails, so that this shows only as content that does not decrypt. */
static rl_err open_envelope(rl_span der, const scep_identity *self, scep_request *out, BIO *plain, scep_refusal *why)
{
    rl_err err = RL_OK;
    CMS_ContentInfo *env = parse(der);
    if (!env || !is_type(env, NID_pkcs7_enveloped))
        err = refuse(why, SCEP_BAD_REQUEST, "the signed content is no EnvelopedData");
    else if (sk_CMS_RecipientInfo_num(CMS_get0_RecipientInfos(env)) > SCEP_RECIPIENTS_MAX)
        err = refuse(why, SCEP_BAD_REQUEST, "the envelope has too many recipients");
    else
        err = read_cipher(env, self, out, why);
    if (err == RL_OK && CMS_decrypt(env, self->key, self->cert, NULL, plain, CMS_BINARY) != 1)
        err = not_opened(why);
    CMS_ContentInfo_free(env);
    return err;
}

/* ---- the CSR ---- */
/* PKCS #9 challengePassword (RFC 2985 §5.4.1): one attribute with one value, or none. */
static rl_err read_challenge(scep_request *out, scep_refusal *why)
{
    int at = X509_REQ_get_attr_by_NID(out->csr, NID_pkcs9_challengePassword, -1);
    if (at < 0)
        return RL_OK;
    X509_ATTRIBUTE *attribute = X509_REQ_get_attr(out->csr, at);
    const ASN1_TYPE *value = X509_ATTRIBUTE_count(attribute) == 1 ? X509_ATTRIBUTE_get0_type(attribute, 0) : NULL;
    int type = value ? ASN1_TYPE_get(value) : V_ASN1_UNDEF;
    bool text = type == V_ASN1_UTF8STRING || type == V_ASN1_PRINTABLESTRING || type == V_ASN1_IA5STRING ||
                type == V_ASN1_T61STRING || type == V_ASN1_BMPSTRING || type == V_ASN1_UNIVERSALSTRING;
    unsigned char *utf8 = NULL;
    int n = text ? ASN1_STRING_to_UTF8(&utf8, value->value.asn1_string) : -1;
    rl_err err = RL_OK;
    if (X509_REQ_get_attr_by_NID(out->csr, NID_pkcs9_challengePassword, at) >= 0 || n < 0 || n > SCEP_CHALLENGE_MAX ||
        (n > 0 && memchr(utf8, 0, (size_t)n)))
        err = refuse(why, SCEP_BAD_REQUEST, "challengePassword is malformed");
    else if (!(out->challenge = strndup(n > 0 ? (char *)utf8 : "", (size_t)n)))
        err = RL_ENOMEM;
    OPENSSL_clear_free(utf8, n > 0 ? (size_t)n : 0);
    return err;
}

static rl_err read_csr(rl_span der, scep_request *out, scep_refusal *why)
{
    const unsigned char *p = der.p;
    if (der.n == 0 || der.n > SCEP_CSR_MAX || !(out->csr = d2i_X509_REQ(NULL, &p, (long)der.n)) || p != der.p + der.n)
        return not_opened(why);
    EVP_PKEY *key = X509_REQ_get0_pubkey(out->csr);
    /* A changed ciphertext can still decrypt to something that parses, so the CSR's own signature belongs to the
     * opening. A key that cannot be read (an unknown curve, say) or is too large is the same to us. */
    if (!key || EVP_PKEY_get_bits(key) > SIGNER_BITS_MAX || X509_REQ_verify(out->csr, key) != 1)
        return not_opened(why);
    /* RFC 8894 §2.3: a self-signed signer certificate is for the key that is being certified. The answer is
     * encrypted for it, so another's request cannot be sent under one's own certificate. */
    if (is_self_issued(out->signer) && EVP_PKEY_eq(key, X509_get0_pubkey(out->signer)) != 1)
        return refuse(why, SCEP_BAD_REQUEST,
                      "the self-signed signer certificate is not for the key of the certificate request");
    return read_challenge(out, why);
}

static rl_span memory_of(BIO *bio)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    return rl_span_of(p, n > 0 ? (size_t)n : 0);
}

static rl_err read_enveloped_csr(rl_span content, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    BIO *plain = BIO_new(BIO_s_mem());
    rl_err err = plain ? open_envelope(content, self, out, plain, why) : RL_ENOMEM;
    if (err == RL_OK)
        err = read_csr(memory_of(plain), out, why);
    if (plain) { /* the challenge is in it */
        rl_span used = memory_of(plain);
        OPENSSL_cleanse((void *)(uintptr_t)used.p, used.n);
    }
    BIO_free(plain);
    return err;
}

/* A message type that we do not offer is refused before its envelope is opened: it holds no CSR. */
static rl_err check_type(const scep_request *r, scep_refusal *why)
{
    const char *name = r->type == SCEP_RENEWAL_REQ ? "RenewalReq"
                       : r->type == SCEP_CERT_POLL ? "CertPoll"
                       : r->type == SCEP_GET_CERT  ? "GetCert"
                       : r->type == SCEP_GET_CRL   ? "GetCRL"
                                                   : "this messageType";
    if (r->type == SCEP_PKCS_REQ)
        return RL_OK;
    snprintf(why->room, sizeof(why->room), "%s is not offered", name);
    return refuse(why, SCEP_BAD_REQUEST, why->room);
}

rl_err scep_request_read(const scep_identity *self, rl_span der, scep_request *out, scep_refusal *why)
{
    rl_err err = RL_OK;
    BIO *content = NULL;
    *out = (scep_request){.digest = EVP_sha256()};
    *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = ""};
    CMS_ContentInfo *cms = parse(der);
    STACK_OF(CMS_SignerInfo) *signers = cms && is_type(cms, NID_pkcs7_signed) ? CMS_get0_SignerInfos(cms) : NULL;
    if (!signers)
        err = unreadable(why, "the body is no CMS SignedData");
    else if (sk_CMS_SignerInfo_num(signers) != 1)
        err = unreadable(why, "the message has not exactly one signer");
    if (err != RL_OK)
        goto out;
    CMS_SignerInfo *si = sk_CMS_SignerInfo_value(signers, 0);
    if ((err = read_attributes(si, out, why)) != RL_OK || (err = read_digest(si, self, out, why)) != RL_OK ||
        (err = find_signer(cms, si, out, why)) != RL_OK || (err = check_signer_key(out, why)) != RL_OK)
        goto out;
    content = BIO_new(BIO_s_mem());
    if (!content)
        err = RL_ENOMEM;
    else if ((err = verify(cms, out, content, why)) == RL_OK && (err = read_type(si, out, why)) == RL_OK &&
             (err = check_type(out, why)) == RL_OK)
        err = read_enveloped_csr(memory_of(content), self, out, why);
out:
    BIO_free(content);
    CMS_ContentInfo_free(cms);
    ERR_clear_error();
    return err;
}

void scep_request_clear(scep_request *r)
{
    X509_free(r->signer);
    X509_REQ_free(r->csr);
    if (r->challenge)
        OPENSSL_cleanse(r->challenge, strlen(r->challenge));
    free(r->challenge);
    *r = (scep_request){0};
}
