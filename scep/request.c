/* Reading a pkiMessage: outer signature and transaction attributes; envelope.c and content.c go on. Pure but for
 * memory.
 *
 * The attributes are read before the signature is checked, since a refusal has to name them; nothing else in
 * the message is trusted until the signature holds. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "crypto/key.h"
#include "scep/message_priv.h"

rl_err scep_refuse(scep_refusal *why, scep_fail_info info, const char *text)
{
    why->info = info;
    why->text = text;
    ERR_clear_error();
    return RL_EDENIED;
}

static rl_err unreadable(scep_refusal *why, const char *text)
{
    scep_refuse(why, SCEP_BAD_REQUEST, text);
    return RL_EBADMSG;
}

void scep_refuse_unknown(scep_refusal *why)
{
    scep_refuse(why, SCEP_BAD_CERT_ID, "no certificate of this CA is what the request names");
}

rl_err scep_not_opened(const scep_request *r, scep_refusal *why)
{
    if (r->type == SCEP_PKCS_REQ || r->type == SCEP_RENEWAL_REQ)
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK,
                           "the envelope does not open to a certificate request with a valid signature");
    scep_refuse_unknown(why);
    return RL_EDENIED;
}

CMS_ContentInfo *scep_parse(rl_span der, int nid, OSSL_LIB_CTX *library)
{
    const unsigned char *p = der.p;
    CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(library, NULL);
    bool ok = cms && der.n && der.n <= 1 << 24 && d2i_CMS_ContentInfo(&cms, &p, (long)der.n) && p == der.p + der.n;
    if (!ok || OBJ_obj2nid(CMS_get0_type(cms)) != nid) {
        CMS_ContentInfo_free(cms); /* NULL when d2i has */
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
        return scep_refuse(why, SCEP_BAD_REQUEST, "messageType is missing or is not one short PrintableString");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return scep_refuse(why, SCEP_BAD_REQUEST, "messageType is no decimal number");
        out->type = 10 * out->type + (text.p[i] - '0');
    }
    return RL_OK;
}

/* RFC 5652 §11.3: optional. */
static rl_err read_signing_time(CMS_SignerInfo *si, scep_request *out, scep_refusal *why)
{
    const int at = CMS_signed_get_attr_by_NID(si, NID_pkcs9_signingTime, -1);
    if (at < 0)
        return RL_OK;
    X509_ATTRIBUTE *attribute = CMS_signed_get_attr(si, at);
    bool once = CMS_signed_get_attr_by_NID(si, NID_pkcs9_signingTime, at) < 0 && X509_ATTRIBUTE_count(attribute) == 1;
    const ASN1_TYPE *value = once ? X509_ATTRIBUTE_get0_type(attribute, 0) : NULL;
    int type = value ? ASN1_TYPE_get(value) : V_ASN1_UNDEF;
    if ((type != V_ASN1_UTCTIME && type != V_ASN1_GENERALIZEDTIME) ||
        rl_x509_time(value->value.asn1_string, &out->signed_at) != RL_OK)
        return scep_refuse(why, SCEP_BAD_TIME, "signingTime is no time");
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
            return scep_refuse(why, SCEP_BAD_ALG, "SHA-1 is not accepted: use SHA-256");
        out->digest = EVP_sha1();
        return RL_OK;
    default:
        return scep_refuse(why, SCEP_BAD_ALG, "the digest algorithm is not accepted: use SHA-256");
    }
}

/* RFC 5652 §5.3. OpenSSL's own look at the key identifier needs the certificate's key. */
static bool is_named(CMS_SignerInfo *si, X509 *cert)
{
    ASN1_OCTET_STRING *told = NULL;
    CMS_SignerInfo_get0_signer_id(si, &told, NULL, NULL);
    if (!told)
        return CMS_SignerInfo_cert_cmp(si, cert) == 0;
    ASN1_OCTET_STRING *own = X509_get_ext_d2i(cert, NID_subject_key_identifier, NULL, NULL);
    bool same = own && ASN1_OCTET_STRING_cmp(told, own) == 0;
    ASN1_OCTET_STRING_free(own);
    return same;
}

/* The signer's certificate has to be in the message: RFC 8894 §3.1. */
static rl_err find_signer(CMS_ContentInfo *cms, CMS_SignerInfo *si, scep_request *out, scep_refusal *why)
{
    rl_err err = RL_OK;
    STACK_OF(X509) *certs = CMS_get1_certs(cms);
    if (sk_X509_num(certs) > SCEP_CERTS_MAX)
        err = scep_refuse(why, SCEP_BAD_REQUEST, "too many certificates in the message");
    for (int i = 0; err == RL_OK && !out->signer && i < sk_X509_num(certs); i++) {
        X509 *cert = sk_X509_value(certs, i);
        if (is_named(si, cert) && X509_up_ref(cert) == 1)
            out->signer = cert;
    }
    sk_X509_pop_free(certs, X509_free);
    if (err == RL_OK && !out->signer)
        err = scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's certificate is not in the message");
    return err;
}

static rl_err check_signer_key(scep_request *r, scep_refusal *why)
{
    const EVP_PKEY *key = r->signer_key = rl_key_read(X509_get_X509_PUBKEY(r->signer));
    /* RFC 8894 §3.1 would have the answer encrypted by the challenge for a key that cannot decrypt. Who sees the
     * answer could then try passwords against it, and the challenge is one for the whole fleet: RSA only. */
    if (!key || !EVP_PKEY_is_a(key, "RSA"))
        return scep_refuse(why, SCEP_BAD_ALG, "the signer's key cannot receive the encrypted answer: use an RSA key");
    int bits = EVP_PKEY_get_bits(key);
    if (bits < SIGNER_BITS_MIN || bits > SIGNER_BITS_MAX)
        return scep_refuse(why, SCEP_BAD_ALG, "the signer's RSA key has an unacceptable size");
    return RL_OK;
}

bool scep_is_self_issued(const X509 *cert)
{
    return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

/* RFC 5652 §11.1, §11.2: of both there is one, and the digest is that of the content. */
static bool is_of_content(CMS_SignerInfo *si, rl_span content, const EVP_MD *md)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n;
    const ASN1_STRING *told =
        CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_messageDigest), -3, V_ASN1_OCTET_STRING);
    return told && CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT) &&
           EVP_Digest(content.p, content.n, digest, &n, md, NULL) == 1 &&
           rl_span_eq(rl_span_of(digest, n), rl_span_of(ASN1_STRING_get0_data(told), (size_t)ASN1_STRING_length(told)));
}

/* RFC 5652 §5.4: what is signed are the attributes as a SET OF. In DER, but in the order in which they came, since some
 * clients do not sort them. */
static rl_err encode_attributes(const CMS_SignerInfo *si, rl_buf *out)
{
    rl_buf elements = {0};
    uint8_t head[RL_DER_HEAD_MAX];
    rl_err err = RL_OK;
    for (int i = 0; err == RL_OK && i < CMS_signed_get_attr_count(si); i++) {
        unsigned char *der = NULL;
        int n = i2d_X509_ATTRIBUTE(CMS_signed_get_attr(si, i), &der);
        err = n > 0 ? rl_buf_append(&elements, der, (size_t)n) : RL_ENOMEM;
        OPENSSL_free(der);
    }
    if (err == RL_OK)
        err = rl_buf_append(out, head, rl_der_head(RL_DER_SET, elements.n, head));
    if (err == RL_OK)
        err = rl_buf_append(out, elements.p, elements.n);
    rl_buf_free(&elements);
    return err;
}

/* The algorithm of the signature with its digest: CMS has that apart (RFC 3370 §3.2), or the same in both. NULL when it
 * is none that an RSA key signs by. */
static X509_ALGOR *signature_algorithm(const X509_ALGOR *told, const EVP_MD *md)
{
    int nid = OBJ_obj2nid(told->algorithm), key = nid, both;
    if (nid == NID_rsassaPss)
        return rl_pss_digest(told) == EVP_MD_get_type(md) ? X509_ALGOR_dup(told) : NULL;
    OBJ_find_sigid_algs(nid, NULL, &key);
    X509_ALGOR *out = key == NID_rsaEncryption && OBJ_find_sigid_by_algs(&both, EVP_MD_get_type(md), key) == 1
                          ? X509_ALGOR_new()
                          : NULL;
    if (out)
        X509_ALGOR_set0(out, OBJ_nid2obj(both), V_ASN1_NULL, NULL);
    return out;
}

static bool is_signed(CMS_SignerInfo *si, const scep_request *r)
{
    X509_ALGOR *told;
    CMS_SignerInfo_get0_algs(si, NULL, NULL, NULL, &told);
    X509_ALGOR *algorithm = signature_algorithm(told, r->digest);
    const ASN1_STRING *signature = CMS_SignerInfo_get0_signature(si);
    rl_buf attributes = {0};
    bool ok = algorithm && encode_attributes(si, &attributes) == RL_OK &&
              rl_signature_holds(rl_buf_span(&attributes), algorithm,
                                 rl_span_of(ASN1_STRING_get0_data(signature), (size_t)ASN1_STRING_length(signature)),
                                 r->signer_key);
    rl_buf_free(&attributes);
    X509_ALGOR_free(algorithm);
    return ok;
}

static rl_err verify(CMS_SignerInfo *si, const scep_request *r, rl_span content, scep_refusal *why)
{
    /* Who the signer is does not matter, the challenge authorises; that it holds its key does. */
    if (!content.p || !is_of_content(si, content, r->digest) || !is_signed(si, r))
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the message's signature is not valid");
    if (scep_is_self_issued(r->signer) && !rl_x509_holds(r->signer, r->signer_key))
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's self-signed certificate has no valid signature");
    return RL_OK;
}

static rl_span memory_of(BIO *bio)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    return rl_span_of(p, n > 0 ? (size_t)n : 0);
}

static rl_err read_enveloped(rl_span content, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    BIO *plain = BIO_new(BIO_s_mem());
    rl_err err = plain ? scep_open_envelope(content, self, out, plain, why) : RL_ENOMEM;
    if (err == RL_OK)
        err = scep_read_content(memory_of(plain), out, why);
    if (plain) { /* the challenge is in it */
        rl_span used = memory_of(plain);
        OPENSSL_cleanse((void *)(uintptr_t)used.p, used.n);
    }
    BIO_free(plain);
    return err;
}

/* Without an address when there is none. */
static rl_span content_of(CMS_ContentInfo *cms)
{
    ASN1_OCTET_STRING **content = CMS_get0_content(cms);
    if (!content || !*content)
        return (rl_span){NULL, 0};
    int n = ASN1_STRING_length(*content);
    return n > 0 ? rl_span_of(ASN1_STRING_get0_data(*content), (size_t)n) : RL_SPAN_LIT("");
}

/* What is no request of RFC 8894 §3.2.1.2 is refused before its envelope is opened. */
static rl_err check_type(const scep_request *r, scep_refusal *why)
{
    if (r->type == SCEP_RENEWAL_REQ || (r->type >= SCEP_PKCS_REQ && r->type <= SCEP_GET_CRL))
        return RL_OK;
    return scep_refuse(why, SCEP_BAD_REQUEST, "this messageType is no request");
}

rl_err scep_request_read(const scep_identity *self, rl_span der, scep_request *out, scep_refusal *why)
{
    rl_err err = RL_OK;
    *out = (scep_request){.digest = EVP_sha256(), .self = self};
    *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = ""};
    CMS_ContentInfo *cms = scep_parse(der, NID_pkcs7_signed, rl_no_algorithms());
    STACK_OF(CMS_SignerInfo) *signers = cms ? CMS_get0_SignerInfos(cms) : NULL;
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
    rl_span content = content_of(cms);
    if ((err = verify(si, out, content, why)) == RL_OK && (err = read_type(si, out, why)) == RL_OK &&
        (err = check_type(out, why)) == RL_OK && (err = read_signing_time(si, out, why)) == RL_OK)
        err = read_enveloped(content, self, out, why);
out:
    CMS_ContentInfo_free(cms);
    ERR_clear_error();
    return err;
}

void scep_request_clear(scep_request *r)
{
    X509_free(r->signer);
    EVP_PKEY_free(r->signer_key);
    X509_REQ_free(r->csr);
    EVP_PKEY_free(r->key);
    X509_NAME_free(r->issuer);
    X509_NAME_free(r->subject);
    if (r->challenge)
        OPENSSL_cleanse(r->challenge, strlen(r->challenge));
    free(r->challenge);
    *r = (scep_request){0};
}
