/* The client's side of SCEP for tests and fuzzing, on OpenSSL's CMS API alone: nothing here uses the server's code.
 * Every function aborts when OpenSSL fails: a test's tools have no failures of their own. */
#ifndef RL_TEST_SCEP_CLIENT_H
#define RL_TEST_SCEP_CLIENT_H

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_TYPE            "2.16.840.1.113733.1.9.2"
#define CLIENT_STATUS          "2.16.840.1.113733.1.9.3"
#define CLIENT_FAIL_INFO       "2.16.840.1.113733.1.9.4"
#define CLIENT_SENDER_NONCE    "2.16.840.1.113733.1.9.5"
#define CLIENT_RECIPIENT_NONCE "2.16.840.1.113733.1.9.6"
#define CLIENT_TRANSACTION     "2.16.840.1.113733.1.9.7"
#define CLIENT_FAIL_TEXT       "1.3.6.1.5.5.7.24.1"

#define CLIENT_MUST(x)                                                                                                 \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                                    \
            ERR_print_errors_fp(stderr);                                                                               \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

typedef struct client_bytes { /* malloced */
    unsigned char *p;
    size_t n;
} client_bytes;

typedef struct client_party {
    EVP_PKEY *key;
    X509 *cert;
} client_party;

static inline client_bytes client_take(BIO *bio)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    client_bytes out = {malloc(n > 0 ? (size_t)n : 1), n > 0 ? (size_t)n : 0};
    CLIENT_MUST(out.p);
    if (out.n)
        memcpy(out.p, p, out.n);
    BIO_free(bio);
    return out;
}

/* A certificate for `key` in the name of `cn`, signed by `issuer` or, when that is NULL, by itself. Takes the key. */
static inline client_party client_party_new(EVP_PKEY *key, const char *cn, const client_party *issuer)
{
    client_party p = {key, X509_new()};
    X509_NAME *name = X509_NAME_new();
    CLIENT_MUST(key && p.cert && name && X509_set_version(p.cert, X509_VERSION_3));
    CLIENT_MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
    CLIENT_MUST(X509_set_subject_name(p.cert, name));
    CLIENT_MUST(X509_set_issuer_name(p.cert, issuer ? X509_get_subject_name(issuer->cert) : name));
    CLIENT_MUST(ASN1_INTEGER_set(X509_get_serialNumber(p.cert), 4711) && X509_set_pubkey(p.cert, key));
    CLIENT_MUST(X509_gmtime_adj(X509_getm_notBefore(p.cert), -60) &&
                X509_gmtime_adj(X509_getm_notAfter(p.cert), 86400));
    X509_EXTENSION *ski =
        X509V3_EXT_conf_nid(NULL, &(X509V3_CTX){.subject_cert = p.cert}, NID_subject_key_identifier, "hash");
    CLIENT_MUST(ski && X509_add_ext(p.cert, ski, -1));
    X509_EXTENSION_free(ski);
    CLIENT_MUST(X509_sign(p.cert, issuer ? issuer->key : key, EVP_sha256()));
    X509_NAME_free(name);
    return p;
}

static inline void client_party_free(client_party *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
}

/* Free with OPENSSL_free. */
static inline client_bytes client_der(const X509 *cert)
{
    client_bytes out = {NULL, 0};
    int n = i2d_X509(cert, &out.p);
    CLIENT_MUST(n > 0);
    out.n = (size_t)n;
    return out;
}

/* PKCS#10 in DER; no challenge when it is NULL or empty, no UPN when it is NULL. */
static inline client_bytes client_csr(EVP_PKEY *key, const char *cn, const char *challenge, const char *upn)
{
    X509_REQ *csr = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    client_bytes out = {NULL, 0};
    CLIENT_MUST(csr && name &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
    CLIENT_MUST(X509_REQ_set_subject_name(csr, name) && X509_REQ_set_pubkey(csr, key));
    if (challenge && challenge[0])
        CLIENT_MUST(X509_REQ_add1_attr_by_NID(csr, NID_pkcs9_challengePassword, MBSTRING_UTF8,
                                              (const unsigned char *)challenge, -1));
    if (upn) {
        char text[300];
        STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
        snprintf(text, sizeof(text), "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:%s", upn);
        X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
        CLIENT_MUST(exts && san && sk_X509_EXTENSION_push(exts, san) && X509_REQ_add_extensions(csr, exts));
        sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    }
    CLIENT_MUST(X509_REQ_sign(csr, key, EVP_sha256()));
    int n = i2d_X509_REQ(csr, &out.p);
    CLIENT_MUST(n > 0);
    out.n = (size_t)n;
    X509_NAME_free(name);
    X509_REQ_free(csr);
    return out;
}

/* How an envelope is made; zero is the usual: AES-256-CBC, one recipient by issuer and serial, PKCS #1 v1.5, DER. */
typedef struct client_wrapping {
    const EVP_CIPHER *cipher;
    int copies;                /* how many times the recipient is in it; 0 is 1 */
    const EVP_MD *oaep, *mgf1; /* RSA-OAEP with these hashes */
    bool by_ski, ber;
} client_wrapping;

/* Definite lengths, or the indefinite ones and constructed strings of streaming encoders. */
static inline client_bytes client_encode(CMS_ContentInfo *cms, BIO *in, unsigned flags, bool ber)
{
    BIO *out = BIO_new(BIO_s_mem());
    if (ber)
        CLIENT_MUST(i2d_CMS_bio_stream(out, cms, in, (int)flags | CMS_STREAM));
    else
        CLIENT_MUST(CMS_final(cms, in, NULL, flags) && i2d_CMS_bio(out, cms));
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return client_take(out);
}

static inline client_bytes client_wrap(const void *plain, size_t n, X509 *recipient, client_wrapping how)
{
    const unsigned flags = CMS_BINARY | CMS_PARTIAL | (how.ber ? CMS_STREAM : 0);
    BIO *in = BIO_new_mem_buf(n ? plain : "", (int)n);
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, how.cipher ? how.cipher : EVP_aes_256_cbc(), flags);
    for (int i = 0; i < (how.copies ? how.copies : 1); i++) {
        CMS_RecipientInfo *ri =
            CMS_add1_recipient_cert(cms, recipient, (how.by_ski ? CMS_USE_KEYID : 0) | (how.oaep ? CMS_KEY_PARAM : 0));
        CLIENT_MUST(ri);
        if (!how.oaep)
            continue;
        EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(ri);
        CLIENT_MUST(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
                    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, how.oaep) > 0 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, how.mgf1) > 0);
    }
    return client_encode(cms, in, flags, how.ber);
}

static inline client_bytes client_envelope(const void *plain, size_t n, X509 *recipient, const EVP_CIPHER *cipher,
                                           int copies)
{
    return client_wrap(plain, n, recipient, (client_wrapping){.cipher = cipher, .copies = copies});
}

/* What goes into the signed attributes; NULL or 0 leaves one out. */
typedef struct client_attributes {
    const char *transaction, *type;
    const unsigned char *nonce;
    size_t nonce_n;
    bool twice;        /* transactionID two times */
    int signers;       /* 0 is 1 */
    bool without_cert; /* the signer's certificate is left out */
    time_t signed_at;  /* signingTime; 0 is now */
    bool by_ski, ber;  /* the signer is named by its key identifier; indefinite lengths */
    bool pss;          /* RSASSA-PSS instead of PKCS #1 v1.5 */
} client_attributes;

static inline client_bytes client_sign(client_bytes content, const client_party *who, const EVP_MD *md,
                                       const client_attributes *a)
{
    const unsigned flags = CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP | (a->without_cert ? CMS_NOCERTS : 0) |
                           (a->by_ski ? CMS_USE_KEYID : 0) | (a->ber ? CMS_STREAM : 0) | (a->pss ? CMS_KEY_PARAM : 0);
    BIO *in = BIO_new_mem_buf(content.n ? (void *)content.p : (void *)"", (int)content.n);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    for (int i = 0; i < (a->signers ? a->signers : 1); i++) {
        CMS_SignerInfo *si = CMS_add1_signer(cms, who->cert, who->key, md, flags | (i ? CMS_NOCERTS : 0));
        CLIENT_MUST(si);
        CLIENT_MUST(!a->pss ||
                    EVP_PKEY_CTX_set_rsa_padding(CMS_SignerInfo_get0_pkey_ctx(si), RSA_PKCS1_PSS_PADDING) == 1);
        for (int k = 0; a->transaction && k < (a->twice ? 2 : 1); k++)
            CLIENT_MUST(CMS_signed_add1_attr_by_txt(si, CLIENT_TRANSACTION, V_ASN1_PRINTABLESTRING, a->transaction,
                                                    (int)strlen(a->transaction)));
        if (a->type)
            CLIENT_MUST(
                CMS_signed_add1_attr_by_txt(si, CLIENT_TYPE, V_ASN1_PRINTABLESTRING, a->type, (int)strlen(a->type)));
        if (a->nonce)
            CLIENT_MUST(
                CMS_signed_add1_attr_by_txt(si, CLIENT_SENDER_NONCE, V_ASN1_OCTET_STRING, a->nonce, (int)a->nonce_n));
        if (a->signed_at) {
            ASN1_TIME *t = ASN1_TIME_set(NULL, a->signed_at);
            CLIENT_MUST(t && CMS_signed_add1_attr_by_NID(si, NID_pkcs9_signingTime, t->type, t, -1));
            ASN1_TIME_free(t);
        }
    }
    return client_encode(cms, in, flags, a->ber);
}

/* ---- the answer ---- */
typedef struct client_reply {
    char transaction[256], type[8], status[8], fail_info[8], fail_text[512];
    unsigned char sender_nonce[64], recipient_nonce[64];
    size_t sender_nonce_n, recipient_nonce_n;
    int digest, cipher; /* NIDs */
    bool has_content;
    int oaep, mgf1;    /* NIDs of the hashes of RSA-OAEP; 0: PKCS #1 v1.5 */
    X509 *issued, *ca; /* first and second certificate of a SUCCESS */
    int certs_n;
    X509_CRL *crl; /* its first list */
} client_reply;

static inline size_t client_attribute(CMS_SignerInfo *si, const char *oid, int tag, void *out, size_t cap)
{
    ASN1_OBJECT *o = OBJ_txt2obj(oid, 1);
    const ASN1_STRING *v = CMS_signed_get0_data_by_OBJ(si, o, -3, tag);
    size_t n = v ? (size_t)ASN1_STRING_length(v) : 0;
    CLIENT_MUST(n < cap);
    if (v)
        memcpy(out, ASN1_STRING_get0_data(v), n);
    ASN1_OBJECT_free(o);
    return n;
}

static inline void client_read_attributes(CMS_SignerInfo *si, client_reply *r)
{
    client_attribute(si, CLIENT_TRANSACTION, V_ASN1_PRINTABLESTRING, r->transaction, sizeof(r->transaction));
    client_attribute(si, CLIENT_TYPE, V_ASN1_PRINTABLESTRING, r->type, sizeof(r->type));
    client_attribute(si, CLIENT_STATUS, V_ASN1_PRINTABLESTRING, r->status, sizeof(r->status));
    client_attribute(si, CLIENT_FAIL_INFO, V_ASN1_PRINTABLESTRING, r->fail_info, sizeof(r->fail_info));
    client_attribute(si, CLIENT_FAIL_TEXT, V_ASN1_UTF8STRING, r->fail_text, sizeof(r->fail_text));
    r->sender_nonce_n =
        client_attribute(si, CLIENT_SENDER_NONCE, V_ASN1_OCTET_STRING, r->sender_nonce, sizeof(r->sender_nonce));
    r->recipient_nonce_n = client_attribute(si, CLIENT_RECIPIENT_NONCE, V_ASN1_OCTET_STRING, r->recipient_nonce,
                                            sizeof(r->recipient_nonce));
}

/* The content cipher: the last AlgorithmIdentifier of a known cipher in what openssl prints. */
static inline int client_cipher_of(CMS_ContentInfo *env)
{
    BIO *out = BIO_new(BIO_s_mem());
    CLIENT_MUST(CMS_ContentInfo_print_ctx(out, env, 0, NULL));
    client_bytes text = client_take(out);
    text.p = realloc(text.p, text.n + 1);
    text.p[text.n] = 0;
    int nid = NID_undef;
    const int known[] = {NID_aes_128_cbc, NID_aes_192_cbc, NID_aes_256_cbc, NID_des_ede3_cbc};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "algorithm: %s (", OBJ_nid2ln(known[i]));
        if (strstr((char *)text.p, line))
            nid = known[i];
    }
    free(text.p);
    return nid;
}

static inline void client_transport_of(CMS_ContentInfo *env, client_reply *r)
{
    X509_ALGOR *algorithm;
    const ASN1_OBJECT *oid;
    const void *value;
    int type;
    STACK_OF(CMS_RecipientInfo) *all = CMS_get0_RecipientInfos(env);
    CLIENT_MUST(sk_CMS_RecipientInfo_num(all) == 1);
    CLIENT_MUST(CMS_RecipientInfo_ktri_get0_algs(sk_CMS_RecipientInfo_value(all, 0), NULL, NULL, &algorithm));
    X509_ALGOR_get0(&oid, &type, &value, algorithm);
    if (OBJ_obj2nid(oid) == NID_rsaEncryption)
        return;
    CLIENT_MUST(OBJ_obj2nid(oid) == NID_rsaesOaep);
    RSA_OAEP_PARAMS *p = ASN1_item_unpack(value, ASN1_ITEM_rptr(RSA_OAEP_PARAMS));
    CLIENT_MUST(p);
    X509_ALGOR *mask =
        p->maskGenFunc ? ASN1_item_unpack(p->maskGenFunc->parameter->value.sequence, ASN1_ITEM_rptr(X509_ALGOR)) : NULL;
    r->oaep = p->hashFunc ? OBJ_obj2nid(p->hashFunc->algorithm) : NID_sha1;
    r->mgf1 = mask ? OBJ_obj2nid(mask->algorithm) : NID_sha1;
    X509_ALGOR_free(mask);
    RSA_OAEP_PARAMS_free(p);
}

static inline void client_open(client_bytes content, const client_party *me, client_reply *r)
{
    const unsigned char *p = content.p;
    BIO *plain = BIO_new(BIO_s_mem());
    CMS_ContentInfo *env = d2i_CMS_ContentInfo(NULL, &p, (long)content.n);
    CLIENT_MUST(env && p == content.p + content.n);
    CLIENT_MUST(CMS_decrypt(env, me->key, me->cert, NULL, plain, CMS_BINARY));
    r->cipher = client_cipher_of(env);
    client_transport_of(env, r);
    CMS_ContentInfo *certs_only = d2i_CMS_bio(plain, NULL);
    CLIENT_MUST(certs_only && OBJ_obj2nid(CMS_get0_type(certs_only)) == NID_pkcs7_signed);
    CLIENT_MUST(sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(certs_only)) == 0 && *CMS_get0_content(certs_only) == NULL);
    STACK_OF(X509) *certs = CMS_get1_certs(certs_only);
    r->certs_n = certs ? sk_X509_num(certs) : 0;
    r->issued = sk_X509_shift(certs);
    r->ca = sk_X509_shift(certs);
    STACK_OF(X509_CRL) *crls = CMS_get1_crls(certs_only);
    r->crl = sk_X509_CRL_shift(crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    sk_X509_pop_free(certs, X509_free);
    CMS_ContentInfo_free(certs_only);
    CMS_ContentInfo_free(env);
    BIO_free(plain);
}

/* Verifies that a CertRep is signed by `server` and nobody else, and opens it for `me`. */
static inline client_reply client_read(const void *der, size_t n, X509 *server, const client_party *me)
{
    client_reply r = {0};
    const unsigned char *p = der;
    BIO *content = BIO_new(BIO_s_mem());
    STACK_OF(X509) *certs = sk_X509_new_null();
    X509_ALGOR *digest;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
    CLIENT_MUST(cms && p == (const unsigned char *)der + n && sk_X509_push(certs, server));
    CLIENT_MUST(*CMS_get0_content(cms));
    CLIENT_MUST(CMS_verify(cms, certs, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_NOINTERN | CMS_BINARY));
    CLIENT_MUST(sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) == 1);
    CMS_SignerInfo *si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
    CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
    r.digest = OBJ_obj2nid(digest->algorithm);
    client_read_attributes(si, &r);
    client_bytes inside = client_take(content);
    r.has_content = inside.n > 0;
    if (r.has_content)
        client_open(inside, me, &r);
    free(inside.p);
    sk_X509_free(certs);
    CMS_ContentInfo_free(cms);
    return r;
}

static inline void client_reply_free(client_reply *r)
{
    X509_free(r->issued);
    X509_free(r->ca);
    X509_CRL_free(r->crl);
}

#endif
