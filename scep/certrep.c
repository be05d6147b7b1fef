/* Building a CertRep, RFC 8894 §3.3.2, and the degenerate SignedData inside it. Pure but for memory. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "base/clock.h"
#include "crypto/der.h"
#include "scep/message.h"

#define OID(s)                                                                                                         \
    {                                                                                                                  \
        (const uint8_t *)(s), sizeof(s) - 1                                                                            \
    }
#define VERISIGN(n) OID("\x60\x86\x48\x01\x86\xf8\x45\x01\x09" n)
static const struct {
    rl_span oid;
    uint8_t tag;
} attributes[] = {
    [SCEP_ATTR_MESSAGE_TYPE] = {VERISIGN("\x02"), RL_DER_PRINTABLE},
    [SCEP_ATTR_PKI_STATUS] = {VERISIGN("\x03"), RL_DER_PRINTABLE},
    [SCEP_ATTR_FAIL_INFO] = {VERISIGN("\x04"), RL_DER_PRINTABLE},
    [SCEP_ATTR_SENDER_NONCE] = {VERISIGN("\x05"), RL_DER_OCTET_STRING},
    [SCEP_ATTR_RECIPIENT_NONCE] = {VERISIGN("\x06"), RL_DER_OCTET_STRING},
    [SCEP_ATTR_TRANSACTION_ID] = {VERISIGN("\x07"), RL_DER_PRINTABLE},
    [SCEP_ATTR_FAIL_INFO_TEXT] = {OID("\x2b\x06\x01\x05\x05\x07\x18\x01"), RL_DER_UTF8},
};
static const char *const fail_infos[] = {"badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId"};

rl_span scep_attribute_oid(scep_attribute a)
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
    enum { AROUND = 96 }; /* for all that is around them */
    static const uint8_t signed_data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02},
                         data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01};
    rl_der_writer w;
    rl_span der;
    uint8_t *memory = malloc(elements.n + AROUND);
    if (!memory)
        return rl_fail(e, RL_ENOMEM, "scep", "out of memory");
    rl_der_init(&w, memory, elements.n + AROUND);
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

/* ---- what both sides of a CertRep are written with ---- */
/* Room beside what is of any length: the failInfoText is the longest. */
enum {
    ROOM = 4096,
    SIGNATURE_MAX = 1024, /* octets of one, and of an encrypted key: RSA with 8192 bits */
};

static rl_span oid_of(int nid)
{
    const ASN1_OBJECT *object = OBJ_nid2obj(nid);
    return rl_span_of(OBJ_get0_data(object), OBJ_length(object));
}

/* AlgorithmIdentifier with NULL as its parameters, as RFC 3370 §2 and §3.2 have it for RSA and allow it for digests. */
static void put_algorithm(rl_der_writer *w, rl_span oid)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid);
    rl_der_put_null(w);
    rl_der_close(w);
}

/* IssuerAndSerialNumber, RFC 5652 §10.2.4. */
static void put_who(rl_der_writer *w, X509 *cert)
{
    const unsigned char *name = NULL;
    unsigned char *serial = NULL;
    size_t name_n = 0;
    int n = i2d_ASN1_INTEGER(X509_get0_serialNumber(cert), &serial);
    if (n <= 0 || X509_NAME_get0_der(X509_get_issuer_name(cert), &name, &name_n) != 1)
        w->err = RL_ENOMEM;
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_raw(w, rl_span_of(name, name_n));
    rl_der_put_raw(w, rl_span_of(serial, n > 0 ? (size_t)n : 0));
    rl_der_close(w);
    OPENSSL_free(serial);
}

static size_t name_room(const X509 *cert)
{
    const unsigned char *name;
    size_t n = 0;
    return X509_NAME_get0_der(X509_get_issuer_name(cert), &name, &n) == 1 ? n : 0;
}

/* ContentInfo { type, [0] content }, the content being a SEQUENCE that begins with `version`. */
static void open_content(rl_der_writer *w, int type, uint64_t version)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid_of(type));
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_uint(w, version);
}

static rl_err close_content(rl_der_writer *w, rl_buf *out)
{
    rl_span der;
    for (int i = 0; i < 3; i++)
        rl_der_close(w);
    RL_TRY(rl_der_finish(w, &der));
    return rl_buf_append(out, der.p, der.n);
}

/* ---- the signed outside, RFC 5652 §5 ---- */
enum { SIGNED_MAX = 16 };
struct attributes {
    uint8_t memory[2048];
    rl_der_writer w;
    rl_span each[SIGNED_MAX]; /* in `memory` */
    size_t n;
};

/* Attribute { type, SET { value } }. Returns where it begins. */
static size_t open_attribute(struct attributes *a, rl_span oid)
{
    size_t from = a->w.n;
    rl_der_open(&a->w, RL_DER_SEQUENCE);
    rl_der_put_oid(&a->w, oid);
    rl_der_open(&a->w, RL_DER_SET);
    return from;
}

static void close_attribute(struct attributes *a, size_t from)
{
    rl_der_close(&a->w);
    rl_der_close(&a->w);
    if (a->n == SIGNED_MAX)
        a->w.err = RL_ERANGE;
    else if (a->w.err == RL_OK)
        a->each[a->n++] = rl_span_of(a->memory + from, a->w.n - from);
}

static void put_attribute(struct attributes *a, rl_span oid, uint8_t tag, rl_span value)
{
    size_t from = open_attribute(a, oid);
    rl_der_put(&a->w, tag, value);
    close_attribute(a, from);
}

static void put(struct attributes *a, scep_attribute which, rl_span value)
{
    put_attribute(a, attributes[which].oid, attributes[which].tag, value);
}

/* RFC 5652 §11.3: UTCTime up to 2049. */
static void put_signing_time(struct attributes *a)
{
    size_t from = open_attribute(a, oid_of(NID_pkcs9_signingTime));
    rl_der_put_time(&a->w, rl_wall_s());
    close_attribute(a, from);
}

/* RFC 5652 §11.1 to §11.3, RFC 8894 §3.2.1 */
static bool put_attributes(struct attributes *a, const scep_request *r, rl_span content, const scep_refusal *why)
{
    uint8_t nonce[SCEP_NONCE_SIZE], digest[RL_HASH_MAX];
    const char info = (char)('0' + (why ? why->info : 0));
    bool ok = RAND_bytes(nonce, sizeof(nonce)) == 1 && rl_hash_digest(r->digest, content, digest) == RL_OK;
    put_signing_time(a);
    put_attribute(a, oid_of(NID_pkcs9_contentType), RL_DER_OID, oid_of(NID_pkcs7_data));
    put_attribute(a, oid_of(NID_pkcs9_messageDigest), RL_DER_OCTET_STRING, rl_span_of(digest, rl_hash_size(r->digest)));
    put(a, SCEP_ATTR_MESSAGE_TYPE, RL_SPAN_LIT("3"));
    put(a, SCEP_ATTR_TRANSACTION_ID, rl_span_str(r->transaction));
    put(a, SCEP_ATTR_SENDER_NONCE, rl_span_of(nonce, sizeof(nonce)));
    put(a, SCEP_ATTR_RECIPIENT_NONCE, rl_span_of(r->nonce, r->nonce_n));
    put(a, SCEP_ATTR_PKI_STATUS, why ? RL_SPAN_LIT("2") : RL_SPAN_LIT("0"));
    if (why) {
        put(a, SCEP_ATTR_FAIL_INFO, rl_span_of(&info, 1));
        put(a, SCEP_ATTR_FAIL_INFO_TEXT, rl_span_str(why->text));
    }
    return ok && a->w.err == RL_OK;
}

/* X.690 §11.6: the elements of a SET OF in the order of their octets. */
static int compare(const void *one, const void *other)
{
    const rl_span *a = one, *b = other;
    int order = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static void put_set(rl_der_writer *w, uint8_t tag, const struct attributes *a)
{
    rl_der_open(w, tag);
    for (size_t i = 0; i < a->n; i++)
        rl_der_put_raw(w, a->each[i]);
    rl_der_close(w);
}

/* RSA, PKCS #1 v1.5. What is signed are the attributes as a SET OF (§5.4). */
static rl_err sign_attributes(const scep_request *r, const struct attributes *a, uint8_t *signature, size_t *n,
                              rl_error *e)
{
    uint8_t memory[sizeof(a->memory) + RL_DER_HEAD_MAX];
    rl_der_writer w;
    rl_span set;
    rl_der_init(&w, memory, sizeof(memory));
    put_set(&w, RL_DER_SET, a);
    rl_err err = rl_der_finish(&w, &set);
    return err == RL_OK ? rl_signer_sign_by(r->self->signer, r->digest, set, signature, n, e)
                        : rl_fail(e, err, "scep", "the CertRep's attributes cannot be encoded");
}

static void put_signer(rl_der_writer *w, const scep_request *r, const struct attributes *a, rl_span signature)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_uint(w, 1);
    put_who(w, r->self->cert);
    put_algorithm(w, rl_hash_oid(r->digest));
    put_set(w, RL_DER_CONTEXT_CONSTRUCTED(0), a);
    put_algorithm(w, oid_of(NID_rsaEncryption));
    rl_der_put(w, RL_DER_OCTET_STRING, signature);
    rl_der_close(w);
}

static rl_err write_signed(const scep_request *r, rl_span content, rl_span cert, const struct attributes *a,
                           rl_span signature, rl_buf *out)
{
    size_t room = content.n + cert.n + name_room(r->self->cert) + signature.n + ROOM;
    uint8_t *memory = malloc(room);
    rl_der_writer w;
    if (!memory)
        return RL_ENOMEM;
    rl_der_init(&w, memory, room);
    open_content(&w, NID_pkcs7_signed, 1);
    rl_der_open(&w, RL_DER_SET); /* digestAlgorithms */
    put_algorithm(&w, rl_hash_oid(r->digest));
    rl_der_close(&w);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_oid(&w, oid_of(NID_pkcs7_data));
    rl_der_open(&w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put(&w, RL_DER_OCTET_STRING, content);
    rl_der_close(&w);
    rl_der_close(&w);
    rl_der_put(&w, RL_DER_CONTEXT_CONSTRUCTED(0), cert);
    rl_der_open(&w, RL_DER_SET);
    put_signer(&w, r, a, signature);
    rl_der_close(&w);
    rl_err err = close_content(&w, out);
    free(memory);
    return err;
}

/* SignedData over `content`. A FAILURE (`why`) has none: its eContent is an empty OCTET STRING, since PKCS #7 clients
 * (certmonger is one) take an absent one for a detached signature and do not verify it. */
static rl_err sign(const scep_request *r, rl_span content, const scep_refusal *why, rl_buf *out, rl_error *e)
{
    struct attributes a = {.n = 0};
    uint8_t signature[SIGNATURE_MAX];
    size_t n = sizeof(signature);
    unsigned char *cert = NULL;
    int cert_n = i2d_X509(r->self->cert, &cert);
    rl_der_init(&a.w, a.memory, sizeof(a.memory));
    rl_err err = cert_n > 0 && put_attributes(&a, r, content, why)
                     ? RL_OK
                     : rl_fail_openssl(e, "scep", "the CertRep's attributes cannot be made");
    if (err == RL_OK) {
        qsort(a.each, a.n, sizeof(a.each[0]), compare);
        err = sign_attributes(r, &a, signature, &n, e);
    }
    if (err == RL_OK) {
        err = write_signed(r, content, rl_span_of(cert, (size_t)cert_n), &a, rl_span_of(signature, n), out);
        if (err != RL_OK)
            rl_fail(e, err, "scep", "the CertRep cannot be encoded");
    }
    OPENSSL_free(cert);
    return err;
}

rl_err scep_reply_failure(const scep_request *r, const scep_refusal *why, rl_buf *out, rl_error *e)
{
    return sign(r, (rl_span){NULL, 0}, why, out, e);
}

/* ---- the encrypted inside, RFC 5652 §6 ---- */
struct secret {
    uint8_t key[EVP_MAX_KEY_LENGTH], iv[EVP_MAX_IV_LENGTH];
};

/* With padding, RFC 5652 §6.3. */
static rl_err encrypt_content(const EVP_CIPHER *cipher, const struct secret *s, rl_span plain, rl_buf *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const size_t room = plain.n + EVP_MAX_BLOCK_LENGTH;
    int n = 0, last = 0;
    out->p = malloc(room);
    bool ok = ctx && out->p && plain.n <= INT_MAX - EVP_MAX_BLOCK_LENGTH &&
              EVP_EncryptInit_ex(ctx, cipher, NULL, s->key, s->iv) == 1 &&
              EVP_EncryptUpdate(ctx, out->p, &n, plain.p, (int)plain.n) == 1 &&
              EVP_EncryptFinal_ex(ctx, out->p + n, &last) == 1;
    out->cap = out->p ? room : 0;
    out->n = ok ? (size_t)n + (size_t)last : 0;
    EVP_CIPHER_CTX_free(ctx);
    return ok ? RL_OK : RL_ECRYPTO;
}

/* The content's key for the signer of the request, by the key transport that the request used. */
static bool encrypt_key(const scep_request *r, rl_span key, uint8_t *out, size_t *n)
{
    if (!r->oaep && rl_key_encrypt(r->signer_key, key, out, n))
        return true;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, rl_key_pkey(r->signer_key), NULL);
    bool ok = ctx && EVP_PKEY_encrypt_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, r->oaep ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING) == 1 &&
              (!r->oaep ||
               (EVP_PKEY_CTX_set_rsa_oaep_md(ctx, r->oaep) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, r->mgf1) == 1)) &&
              EVP_PKEY_encrypt(ctx, out, n, key.p, key.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* RFC 8017 §A.2.1: SHA-1 is the default of both hashes, and a default is not written. */
static void put_transport(rl_der_writer *w, const scep_request *r)
{
    if (!r->oaep) {
        put_algorithm(w, oid_of(NID_rsaEncryption));
        return;
    }
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid_of(NID_rsaesOaep));
    rl_der_open(w, RL_DER_SEQUENCE);
    if (EVP_MD_get_type(r->oaep) != NID_sha1) {
        rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
        put_algorithm(w, oid_of(EVP_MD_get_type(r->oaep)));
        rl_der_close(w);
    }
    if (EVP_MD_get_type(r->mgf1) != NID_sha1) {
        rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(1));
        rl_der_open(w, RL_DER_SEQUENCE);
        rl_der_put_oid(w, oid_of(NID_mgf1));
        put_algorithm(w, oid_of(EVP_MD_get_type(r->mgf1)));
        rl_der_close(w);
        rl_der_close(w);
    }
    rl_der_close(w);
    rl_der_close(w);
}

/* KeyTransRecipientInfo */
static void put_recipient(rl_der_writer *w, const scep_request *r, rl_span key)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_uint(w, 0);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_raw(w, r->sender.issuer);
    rl_der_put_raw(w, r->sender.serial);
    rl_der_close(w);
    put_transport(w, r);
    rl_der_put(w, RL_DER_OCTET_STRING, key);
    rl_der_close(w);
}

static rl_err write_enveloped(const scep_request *r, rl_span key, rl_span iv, rl_span content, rl_buf *out)
{
    size_t room = content.n + r->sender.issuer.n + r->sender.serial.n + key.n + ROOM;
    uint8_t *memory = malloc(room);
    rl_der_writer w;
    if (!memory)
        return RL_ENOMEM;
    rl_der_init(&w, memory, room);
    open_content(&w, NID_pkcs7_enveloped, 0);
    rl_der_open(&w, RL_DER_SET);
    put_recipient(&w, r, key);
    rl_der_close(&w);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_oid(&w, oid_of(NID_pkcs7_data));
    rl_der_open(&w, RL_DER_SEQUENCE); /* RFC 3565 §4.1, RFC 3370 §5.1 */
    rl_der_put_oid(&w, oid_of(EVP_CIPHER_get_type(r->cipher)));
    rl_der_put(&w, RL_DER_OCTET_STRING, iv);
    rl_der_close(&w);
    rl_der_put(&w, RL_DER_CONTEXT(0), content);
    rl_der_close(&w);
    rl_err err = close_content(&w, out);
    free(memory);
    return err;
}

static rl_err encrypt(const scep_request *r, rl_span plain, rl_buf *out, rl_error *e)
{
    struct secret s;
    rl_buf content = {0};
    uint8_t key[SIGNATURE_MAX];
    size_t n = sizeof(key);
    const size_t key_n = (size_t)EVP_CIPHER_get_key_length(r->cipher),
                 iv_n = (size_t)EVP_CIPHER_get_iv_length(r->cipher);
    bool ok = RAND_priv_bytes((unsigned char *)&s, (int)sizeof(s)) == 1 && /* both at once: each draw takes a while */
              encrypt_content(r->cipher, &s, plain, &content) == RL_OK &&
              encrypt_key(r, rl_span_of(s.key, key_n), key, &n);
    rl_err err =
        ok ? write_enveloped(r, rl_span_of(key, n), rl_span_of(s.iv, iv_n), rl_buf_span(&content), out) : RL_ECRYPTO;
    OPENSSL_cleanse(&s, sizeof(s));
    rl_buf_free(&content);
    return err == RL_OK ? RL_OK : rl_fail_openssl(e, "scep", "the answer cannot be encrypted");
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
