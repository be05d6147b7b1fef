/* Building a CertRep, RFC 8894 §3.3.2, and the degenerate SignedData inside it. Pure but for memory. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "crypto/der.h"
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

/* ---- degenerate SignedData ---- */
/* RFC 5652 §5.1 without signers and without content; `implicit` is the tag of `elements`: [0] certificates, [1] lists.
 */
static rl_err degenerate(uint8_t implicit, rl_span elements, rl_buf *out, rl_error *e)
{
    enum { ROOM = 96 }; /* for all that is around them */
    static const uint8_t signed_data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02},
                         data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01};
    rl_der_writer w;
    rl_span der;
    uint8_t *memory = malloc(elements.n + ROOM);
    if (!memory)
        return rl_fail(e, RL_ENOMEM, "scep", "out of memory");
    rl_der_init(&w, memory, elements.n + ROOM);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_oid(&w, rl_span_of(signed_data, sizeof(signed_data)));
    rl_der_open(&w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_uint(&w, 1);
    rl_der_put(&w, RL_DER_SET, (rl_span){NULL, 0}); /* digestAlgorithms */
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_oid(&w, rl_span_of(data, sizeof(data)));
    rl_der_close(&w);
    rl_der_put(&w, implicit, elements);
    rl_der_put(&w, RL_DER_SET, (rl_span){NULL, 0}); /* signerInfos */
    rl_der_close(&w);
    rl_der_close(&w);
    rl_der_close(&w);
    rl_err err = rl_der_finish(&w, &der);
    if (err == RL_OK)
        err = rl_buf_append(out, der.p, der.n);
    free(memory);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "scep", "the answer cannot be encoded");
}

rl_err scep_certs_only(const rl_span *certs, size_t n, rl_buf *out, rl_error *e)
{
    rl_buf elements = {0};
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < n; i++)
        err = rl_buf_append(&elements, certs[i].p, certs[i].n);
    if (err == RL_OK)
        err = degenerate(RL_DER_CONTEXT_CONSTRUCTED(0), rl_buf_span(&elements), out, e);
    else
        rl_fail(e, err, "scep", "out of memory");
    rl_buf_free(&elements);
    return err;
}

rl_err scep_crl_only(rl_span crl, rl_buf *out, rl_error *e)
{
    return degenerate(RL_DER_CONTEXT_CONSTRUCTED(1), crl, out, e);
}

/* ---- the answer to GetNextCACert ---- */
rl_err scep_sign_next(X509 *cert, EVP_PKEY *key, rl_span content, rl_buf *out, rl_error *e)
{
    unsigned char *der = NULL;
    BIO *in = BIO_new_mem_buf(content.p, (int)content.n);
    CMS_ContentInfo *cms = in ? CMS_sign(cert, key, NULL, in, CMS_BINARY | CMS_NOSMIMECAP) : NULL;
    int der_n = cms ? i2d_CMS_ContentInfo(cms, &der) : -1;
    rl_err err = der_n > 0 ? rl_buf_append(out, der, (size_t)der_n)
                           : rl_fail_openssl(e, "scep", "the next CA certificate cannot be signed");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
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
static rl_err sign(const scep_request *r, rl_span content, const scep_refusal *why, rl_buf *out, rl_error *e)
{
    const scep_identity *self = r->self;
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

rl_err scep_reply_failure(const scep_request *r, const scep_refusal *why, rl_buf *out, rl_error *e)
{
    return sign(r, (rl_span){NULL, 0}, why, out, e);
}

/* ---- the encrypted inside ---- */
/* The signer of the request as recipient, by the key transport that the request used. */
static bool add_recipient(CMS_ContentInfo *cms, const scep_request *r)
{
    if (!r->oaep)
        return CMS_add1_recipient_cert(cms, r->signer, 0) != NULL;
    CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, r->signer, CMS_KEY_PARAM);
    EVP_PKEY_CTX *ctx = ri ? CMS_RecipientInfo_get0_pkey_ctx(ri) : NULL;
    return ctx && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(ctx, r->oaep) > 0 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, r->mgf1) > 0;
}

static rl_err encrypt(const scep_request *r, rl_span plain, rl_buf *out, rl_error *e)
{
    unsigned char *der = NULL;
    int der_n = -1;
    BIO *in = BIO_new_mem_buf(plain.p, (int)plain.n);
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, r->cipher, CMS_BINARY | CMS_PARTIAL);
    if (in && cms && add_recipient(cms, r) && CMS_final(cms, in, NULL, CMS_BINARY) == 1)
        der_n = i2d_CMS_ContentInfo(cms, &der);
    rl_err err = der_n > 0 ? rl_buf_append(out, der, (size_t)der_n)
                           : rl_fail_openssl(e, "scep", "the answer cannot be encrypted");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return err;
}

rl_err scep_reply_success(const scep_request *r, rl_span degenerate_data, rl_buf *out, rl_error *e)
{
    rl_buf envelope = {0};
    rl_err err = encrypt(r, degenerate_data, &envelope, e);
    if (err == RL_OK)
        err = sign(r, rl_buf_span(&envelope), NULL, out, e);
    rl_buf_free(&envelope);
    return err;
}
