/* Public keys from and into SubjectPublicKeyInfo, and signatures that they verify. Pure but for memory.
 *
 * RSA keys and EC keys on the curves that are certified are read and written here; whatever else there is, and whatever
 * is encoded in another way, is left to OpenSSL. */
#include "crypto/key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <pthread.h>

#include "crypto/der.h"

enum { RSA_OCTETS_MAX = 2048 }; /* of a modulus */

static OSSL_LIB_CTX *no_algorithms;

static void make_no_algorithms(void)
{
    OSSL_LIB_CTX *made = OSSL_LIB_CTX_new();
    if (made && OSSL_PROVIDER_load(made, "null"))
        no_algorithms = made;
    else
        OSSL_LIB_CTX_free(made); /* the default context does as well, only slower */
}

OSSL_LIB_CTX *rl_no_algorithms(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_no_algorithms);
    return no_algorithms;
}

/* ---- reading ---- */
static EVP_PKEY *from_params(const char *type, const OSSL_PARAM *params)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)(uintptr_t)params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* The next INTEGER, above zero and in its shortest form. */
static rl_err read_number(rl_span *in, BIGNUM **out)
{
    rl_span v;
    RL_TRY(rl_der_expect(in, RL_DER_INTEGER, &v));
    if (v.n == 0 || v.n > RSA_OCTETS_MAX + 1 || v.p[0] >= 0x80 || (v.p[0] == 0 && (v.n == 1 || v.p[1] < 0x80)))
        return RL_EBADMSG;
    *out = BN_bin2bn(v.p, (int)v.n, NULL);
    return *out ? RL_OK : RL_ENOMEM;
}

/* RFC 8017 §A.1.1 */
static rl_err read_rsa_numbers(rl_span der, BIGNUM **n, BIGNUM **exponent)
{
    rl_span numbers;
    RL_TRY(rl_der_sequence(&der, &numbers));
    RL_TRY(rl_span_end(&der));
    RL_TRY(read_number(&numbers, n));
    RL_TRY(read_number(&numbers, exponent));
    return rl_span_end(&numbers);
}

static EVP_PKEY *read_rsa(rl_span der)
{
    BIGNUM *n = NULL, *exponent = NULL;
    EVP_PKEY *key = NULL;
    if (read_rsa_numbers(der, &n, &exponent) == RL_OK) {
        OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        OSSL_PARAM *params = builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
                                     OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1
                                 ? OSSL_PARAM_BLD_to_param(builder)
                                 : NULL;
        key = from_params("RSA", params);
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(builder);
    }
    BN_free(n);
    BN_free(exponent);
    return key;
}

static bool is_certified_curve(int nid)
{
    return nid == NID_X9_62_prime256v1 || nid == NID_secp384r1 || nid == NID_secp521r1;
}

/* RFC 5480 §2.1.1, §2.2 */
static EVP_PKEY *read_ec(const ASN1_OBJECT *curve, rl_span point)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)OBJ_nid2sn(OBJ_obj2nid(curve)),
                                         0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point.p, point.n),
        OSSL_PARAM_construct_end()};
    /* in the form that OpenSSL writes back as it was: not compressed */
    return is_certified_curve(OBJ_obj2nid(curve)) && point.n > 0 && point.p[0] == 4 ? from_params("EC", params) : NULL;
}

static EVP_PKEY *read_by_openssl(const X509_PUBKEY *spki)
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(spki, &der);
    const unsigned char *p = der;
    EVP_PKEY *key = n > 0 ? d2i_PUBKEY(NULL, &p, n) : NULL;
    OPENSSL_free(der);
    return key;
}

EVP_PKEY *rl_key_read(const X509_PUBKEY *spki)
{
    ASN1_OBJECT *oid;
    const unsigned char *octets;
    int n, type = V_ASN1_UNDEF;
    X509_ALGOR *algorithm;
    const void *parameters = NULL;
    EVP_PKEY *key = NULL;
    if (!spki || X509_PUBKEY_get0_param(&oid, &octets, &n, &algorithm, spki) != 1)
        return NULL;
    X509_ALGOR_get0(NULL, &type, &parameters, algorithm);
    rl_span bits = rl_span_of(octets, n > 0 ? (size_t)n : 0);
    if (OBJ_obj2nid(oid) == NID_rsaEncryption && type == V_ASN1_NULL)
        key = read_rsa(bits);
    else if (OBJ_obj2nid(oid) == NID_X9_62_id_ecPublicKey && type == V_ASN1_OBJECT)
        key = read_ec(parameters, bits);
    if (!key)
        key = read_by_openssl(spki);
    ERR_clear_error();
    return key;
}

bool rl_key_same(const X509_PUBKEY *a, const X509_PUBKEY *b)
{
    const unsigned char *octets[2];
    int n[2];
    X509_ALGOR *algorithms[2];
    return X509_PUBKEY_get0_param(NULL, &octets[0], &n[0], &algorithms[0], a) == 1 &&
           X509_PUBKEY_get0_param(NULL, &octets[1], &n[1], &algorithms[1], b) == 1 && n[0] > 0 && n[0] == n[1] &&
           memcmp(octets[0], octets[1], (size_t)n[0]) == 0 && X509_ALGOR_cmp(algorithms[0], algorithms[1]) == 0;
}

/* ---- writing ---- */
static void put_number(rl_der_writer *w, const BIGNUM *v)
{
    uint8_t octets[RSA_OCTETS_MAX + 1] = {0};
    int n = BN_num_bits(v) / 8 + 1; /* with a sign bit in front */
    if (BN_bn2binpad(v, octets, n <= (int)sizeof(octets) ? n : 0) == n)
        rl_der_put(w, RL_DER_INTEGER, rl_span_of(octets, (size_t)n));
    else
        w->err = RL_ERANGE;
}

static bool write_rsa(X509_PUBKEY *spki, EVP_PKEY *key)
{
    enum { ROOM = 2 * RSA_OCTETS_MAX + 16 };
    BIGNUM *n = NULL, *exponent = NULL;
    uint8_t *memory = OPENSSL_malloc(ROOM);
    rl_der_writer w;
    rl_span der;
    bool ok = memory && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1;
    if (ok) {
        rl_der_init(&w, memory, ROOM);
        rl_der_open(&w, RL_DER_SEQUENCE);
        put_number(&w, n);
        put_number(&w, exponent);
        rl_der_close(&w);
        ok = rl_der_finish(&w, &der) == RL_OK &&
             X509_PUBKEY_set0_param(spki, OBJ_nid2obj(NID_rsaEncryption), V_ASN1_NULL, NULL, memory, (int)der.n) == 1;
    }
    if (!ok)
        OPENSSL_free(memory);
    BN_free(n);
    BN_free(exponent);
    return ok;
}

static bool write_ec(X509_PUBKEY *spki, EVP_PKEY *key)
{
    char group[64] = "";
    size_t n = 0;
    int spelled_out = 1;
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out) != 1 ||
        spelled_out || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        !is_certified_curve(OBJ_txt2nid(group)) ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, NULL, 0, &n) != 1)
        return false;
    uint8_t *point = OPENSSL_malloc(n);
    bool ok = point && EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, n, &n) == 1 &&
              X509_PUBKEY_set0_param(spki, OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT,
                                     OBJ_nid2obj(OBJ_txt2nid(group)), point, (int)n) == 1;
    if (!ok)
        OPENSSL_free(point);
    return ok;
}

bool rl_key_write(X509 *cert, EVP_PKEY *key)
{
    X509_PUBKEY *spki = X509_get_X509_PUBKEY(cert);
    bool ok = EVP_PKEY_is_a(key, "RSA") ? write_rsa(spki, key) : EVP_PKEY_is_a(key, "EC") && write_ec(spki, key);
    return ok || X509_set_pubkey(cert, key) == 1;
}

/* ---- signatures ---- */
int rl_pss_digest(const X509_ALGOR *algorithm)
{
    RSA_PSS_PARAMS *pss = algorithm->parameter && algorithm->parameter->type == V_ASN1_SEQUENCE
                              ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter)
                              : NULL;
    int digest = !pss ? NID_undef : pss->hashAlgorithm ? OBJ_obj2nid(pss->hashAlgorithm->algorithm) : NID_sha1;
    RSA_PSS_PARAMS_free(pss);
    return digest;
}

/* The signed octets as they came: OpenSSL's ANY gives a sequence back octet by octet. */
bool rl_signature_holds(rl_span tbs, const X509_ALGOR *algorithm, rl_span signature, EVP_PKEY *key)
{
    ASN1_TYPE *any = ASN1_TYPE_new();
    ASN1_STRING *octets = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = false;
    if (any && octets && bits && tbs.n <= INT_MAX && signature.n <= INT_MAX &&
        ASN1_STRING_set(octets, tbs.p, (int)tbs.n) == 1 && ASN1_STRING_set(bits, signature.p, (int)signature.n) == 1) {
        ASN1_TYPE_set(any, V_ASN1_SEQUENCE, octets); /* takes it over */
        octets = NULL;
        ok = ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), algorithm, bits, any, key) == 1;
    }
    ASN1_STRING_free(octets);
    ASN1_TYPE_free(any);
    ASN1_BIT_STRING_free(bits);
    ERR_clear_error();
    return ok;
}

/* What certificates and requests are alike: SEQUENCE { what is signed, algorithm, signature }. OpenSSL gives the first
 * back as it came. */
static bool holds(int n, unsigned char *der, const X509_ALGOR *algorithm, const ASN1_BIT_STRING *signature,
                  EVP_PKEY *key)
{
    rl_span in = rl_span_of(der, n > 0 ? (size_t)n : 0), seq, contents, tbs;
    uint8_t tag;
    bool whole = (signature->flags & 7) == 0; /* no unused bits */
    bool ok =
        key && whole && rl_der_sequence(&in, &seq) == RL_OK && rl_der_any(&seq, &tag, &contents, &tbs) == RL_OK &&
        rl_signature_holds(tbs, algorithm,
                           rl_span_of(ASN1_STRING_get0_data(signature), (size_t)ASN1_STRING_length(signature)), key);
    OPENSSL_free(der);
    return ok;
}

bool rl_x509_holds(const X509 *cert, EVP_PKEY *key)
{
    const ASN1_BIT_STRING *signature;
    const X509_ALGOR *algorithm;
    unsigned char *der = NULL;
    X509_get0_signature(&signature, &algorithm, cert);
    if (X509_ALGOR_cmp(algorithm, X509_get0_tbs_sigalg(cert)) != 0) /* RFC 5280 §4.1.1.2 */
        return false;
    int n = i2d_X509(cert, &der);
    return holds(n, der, algorithm, signature, key);
}

bool rl_csr_holds(const X509_REQ *csr, EVP_PKEY *key)
{
    const ASN1_BIT_STRING *signature;
    const X509_ALGOR *algorithm;
    unsigned char *der = NULL;
    X509_REQ_get0_signature(csr, &signature, &algorithm);
    int n = i2d_X509_REQ(csr, &der);
    return holds(n, der, algorithm, signature, key);
}
