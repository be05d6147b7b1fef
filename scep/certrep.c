/* Building a CertRep, RFC 8894 §3.3.2, and the certificates-only SignedData inside it. Pure but for memory. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/rand.h>

#include "crypto/x509.h"
#include "scep/message.h"

static const struct {
    const char *oid;
    int tag;
} attributes[] = {
    [SCEP_ATTR_MESSAGE_TYPE] = {"2.16.840.1.113733.1.9.2", V_ASN1_PRINTABLESTRING},
    [SCEP_ATTR_PKI_STATUS] = {"2.16.840.1.113733.1.9.3", V_ASN1_PRINTABLESTRING},
    [SCEP_ATTR_FAIL_INFO] = {"2.16.840.1.113733.1.9.4", V_ASN1_PRINTABLESTRING},
    [SCEP_ATTR_SENDER_NONCE] = {"2.16.840.1.113733.1.9.5", V_ASN1_OCTET_STRING},
    [SCEP_ATTR_RECIPIENT_NONCE] = {"2.16.840.1.113733.1.9.6", V_ASN1_OCTET_STRING},
    [SCEP_ATTR_TRANSACTION_ID] = {"2.16.840.1.113733.1.9.7", V_ASN1_PRINTABLESTRING},
    [SCEP_ATTR_FAIL_INFO_TEXT] = {"1.3.6.1.5.5.7.24.1", V_ASN1_UTF8STRING},
};
static const char *const fail_infos[] = {"badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId"};

const char *scep_attribute_oid(scep_attribute a)
{
    return attributes[a].oid;
}
const char *scep_fail_info_name(scep_fail_info f)
{
    return fail_infos[f];
}

/* ---- certificates only ---- */
rl_err scep_certs_only(X509 *const *certs, size_t n, rl_buf *out, rl_error *e)
{
    unsigned char *der = NULL;
    int der_n = -1;
    PKCS7 *p7 = PKCS7_new();
    /* The content's type without content: PKCS7_content_new would put an empty OCTET STRING there. */
    bool ok = p7 && PKCS7_set_type(p7, NID_pkcs7_signed) == 1;
    if (ok)
        p7->d.sign->contents->type = OBJ_nid2obj(NID_pkcs7_data);
    for (size_t i = 0; ok && i < n; i++)
        ok = PKCS7_add_certificate(p7, certs[i]) == 1;
    if (ok)
        der_n = i2d_PKCS7(p7, &der);
    rl_err err = der_n > 0 ? rl_buf_append(out, der, (size_t)der_n)
                           : rl_fail_openssl(e, "scep", "the certificates cannot be encoded");
    OPENSSL_free(der);
    PKCS7_free(p7);
    return err;
}

/* ---- the signed outside ---- */
static bool put(CMS_SignerInfo *si, scep_attribute a, const void *p, size_t n)
{
    return CMS_signed_add1_attr_by_txt(si, attributes[a].oid, attributes[a].tag, p, (int)n) == 1;
}

static bool put_text(CMS_SignerInfo *si, scep_attribute a, const char *text)
{
    return put(si, a, text, strlen(text));
}

/* RFC 8894 §3.2.1 */
static bool put_attributes(CMS_SignerInfo *si, const scep_request *r, const scep_refusal *why)
{
    uint8_t nonce[SCEP_NONCE_SIZE];
    char info[2] = {why ? (char)('0' + why->info) : '0', 0};
    return RAND_bytes(nonce, sizeof(nonce)) == 1 && put_text(si, SCEP_ATTR_MESSAGE_TYPE, "3") &&
           put_text(si, SCEP_ATTR_TRANSACTION_ID, r->transaction) &&
           put(si, SCEP_ATTR_SENDER_NONCE, nonce, sizeof(nonce)) &&
           put(si, SCEP_ATTR_RECIPIENT_NONCE, r->nonce, r->nonce_n) &&
           put_text(si, SCEP_ATTR_PKI_STATUS, why ? "2" : "0") &&
           (!why || (put_text(si, SCEP_ATTR_FAIL_INFO, info) && put_text(si, SCEP_ATTR_FAIL_INFO_TEXT, why->text)));
}

/* SignedData over `content`. A FAILURE (`why`) has none: its eContent is an empty OCTET STRING, since PKCS #7 clients
 * (certmonger is one) take an absent one for a detached signature and do not verify it. */
static rl_err sign(const scep_identity *self, const scep_request *r, rl_span content, const scep_refusal *why,
                   rl_buf *out, rl_error *e)
{
    const unsigned flags = CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP;
    unsigned char *der = NULL;
    int der_n = -1;
    BIO *in = BIO_new_mem_buf(content.n ? (const void *)content.p : "", (int)content.n);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    CMS_SignerInfo *si = in && cms ? CMS_add1_signer(cms, self->cert, self->key, r->digest, flags) : NULL;
    if (si && put_attributes(si, r, why) && CMS_final(cms, in, NULL, CMS_BINARY) == 1)
        der_n = i2d_CMS_ContentInfo(cms, &der);
    rl_err err =
        der_n > 0 ? rl_buf_append(out, der, (size_t)der_n) : rl_fail_openssl(e, "scep", "the CertRep cannot be signed");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return err;
}

rl_err scep_reply_failure(const scep_identity *self, const scep_request *r, const scep_refusal *why, rl_buf *out,
                          rl_error *e)
{
    return sign(self, r, (rl_span){NULL, 0}, why, out, e);
}

/* ---- the encrypted inside ---- */
static rl_err encrypt(const scep_request *r, rl_span plain, rl_buf *out, rl_error *e)
{
    unsigned char *der = NULL;
    int der_n = -1;
    CMS_ContentInfo *cms = NULL;
    BIO *in = BIO_new_mem_buf(plain.p, (int)plain.n);
    STACK_OF(X509) *recipients = sk_X509_new_null();
    if (in && recipients && sk_X509_push(recipients, r->signer) > 0)
        cms = CMS_encrypt(recipients, in, r->cipher, CMS_BINARY);
    if (cms)
        der_n = i2d_CMS_ContentInfo(cms, &der);
    rl_err err = der_n > 0 ? rl_buf_append(out, der, (size_t)der_n)
                           : rl_fail_openssl(e, "scep", "the answer cannot be encrypted");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    sk_X509_free(recipients);
    BIO_free(in);
    return err;
}

rl_err scep_reply_success(const scep_identity *self, const scep_request *r, X509 *issued, X509 *ca, rl_buf *out,
                          rl_error *e)
{
    rl_buf certs = {0}, envelope = {0};
    rl_err err = scep_certs_only((X509 *const[]){issued, ca}, 2, &certs, e);
    if (err == RL_OK)
        err = encrypt(r, rl_buf_span(&certs), &envelope, e);
    if (err == RL_OK)
        err = sign(self, r, rl_buf_span(&envelope), NULL, out, e);
    rl_buf_free(&envelope);
    rl_buf_free(&certs);
    return err;
}
