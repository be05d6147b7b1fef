/* Public keys from and into SubjectPublicKeyInfo, and signatures that they verify. Pure but for memory.
 *
 * RSA keys and EC keys on the curves that are certified are read here; whatever else there is, and whatever is encoded
 * in another way, is left to OpenSSL. With RSA keys PKCS #1 v1.5 is done here, RSASSA-PSS and OAEP are OpenSSL's. */
#include "crypto/key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "crypto/hash.h"

enum {
    RSA_OCTETS_MAX = 2048, /* of a modulus */
    RSA_BITS_MIN = 512,
    EXPONENT_BITS_MAX = 64,
    PADDING_MIN = 11, /* RFC 8017 §7.2.1, §9.2: three octets and at least eight between them */
    DIGEST_INFO_MAX = 128,
};

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

struct rl_key {
    rl_span spki; /* owned; empty: not yet made of pkey */
    EVP_PKEY *pkey;
    /* of an RSA key: */
    BIGNUM *n, *exponent;
    BN_MONT_CTX *mont; /* of n, which is odd then; NULL: all is left to OpenSSL */
};

static void clear(rl_key *key)
{
    OPENSSL_free((void *)(uintptr_t)key->spki.p);
    EVP_PKEY_free(key->pkey);
    BN_free(key->n);
    BN_free(key->exponent);
    BN_MONT_CTX_free(key->mont);
    *key = (rl_key){.pkey = NULL};
}

void rl_key_free(rl_key *key)
{
    if (key)
        clear(key);
    free(key);
}

/* ---- reading ---- */
static rl_span oid_of(int nid)
{
    const ASN1_OBJECT *object = OBJ_nid2obj(nid);
    return rl_span_of(OBJ_get0_data(object), OBJ_length(object));
}

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
static rl_err read_rsa(rl_span der, rl_key *key)
{
    rl_span numbers;
    RL_TRY(rl_der_sequence(&der, &numbers));
    RL_TRY(rl_span_end(&der));
    RL_TRY(read_number(&numbers, &key->n));
    RL_TRY(read_number(&numbers, &key->exponent));
    return rl_span_end(&numbers);
}

/* RFC 5480 §2.1.1, §2.2 */
static EVP_PKEY *read_ec(rl_span curve, rl_span point)
{
    static const int curves[] = {NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
        if (rl_span_eq(curve, oid_of(curves[i])))
            name = OBJ_nid2sn(curves[i]);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point.p, point.n),
        OSSL_PARAM_construct_end()};
    /* in the form that OpenSSL writes back as it was: not compressed */
    return name && point.n > 0 && point.p[0] == 4 ? from_params("EC", params) : NULL;
}

/* A key in the encoding that is the one to write. */
static rl_err read_plain(rl_span spki, rl_key *key)
{
    rl_span whole = spki, seq, algorithm, oid, bits, unused, curve;
    RL_TRY(rl_der_sequence(&spki, &seq));
    RL_TRY(rl_span_end(&spki));
    RL_TRY(rl_der_sequence(&seq, &algorithm));
    RL_TRY(rl_der_expect(&seq, RL_DER_BIT_STRING, &bits));
    RL_TRY(rl_span_end(&seq));
    RL_TRY(rl_span_take(&bits, 1, &unused));
    RL_TRY(rl_der_oid(&algorithm, &oid));
    if (unused.p[0] != 0)
        return RL_EBADMSG;
    if (rl_span_eq(oid, oid_of(NID_rsaEncryption))) { /* RFC 3279 §2.3.1 */
        RL_TRY(rl_der_null(&algorithm));
        RL_TRY(read_rsa(bits, key));
    } else if (rl_span_eq(oid, oid_of(NID_X9_62_id_ecPublicKey))) {
        RL_TRY(rl_der_oid(&algorithm, &curve));
        key->pkey = read_ec(curve, bits);
    }
    if ((!key->n && !key->pkey) || algorithm.n > 0)
        return RL_EUNSUPPORTED;
    key->spki = rl_span_of(OPENSSL_memdup(whole.p, whole.n), whole.n);
    return key->spki.p ? RL_OK : RL_ENOMEM;
}

/* The arithmetic is for numbers whose exponent cannot make it as dear as a signature. */
static void make_ready(rl_key *key)
{
    BN_CTX *ctx = BN_CTX_new();
    bool fit = BN_is_odd(key->n) && BN_num_bits(key->n) >= RSA_BITS_MIN && BN_num_bits(key->n) <= 8 * RSA_OCTETS_MAX &&
               BN_is_odd(key->exponent) && BN_num_bits(key->exponent) > 1 &&
               BN_num_bits(key->exponent) <= EXPONENT_BITS_MAX;
    if (fit && ctx && (key->mont = BN_MONT_CTX_new()) && BN_MONT_CTX_set(key->mont, key->n, ctx) != 1) {
        BN_MONT_CTX_free(key->mont);
        key->mont = NULL;
    }
    BN_CTX_free(ctx);
}

static bool take_pkey(rl_key *key, EVP_PKEY *pkey)
{
    key->pkey = pkey;
    return pkey &&
           (!EVP_PKEY_is_a(pkey, "RSA") || (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &key->n) == 1 &&
                                            EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &key->exponent) == 1));
}

static rl_key *complete(rl_key *key, bool ok)
{
    if (ok && key->n)
        make_ready(key);
    ERR_clear_error();
    if (ok)
        return key;
    rl_key_free(key);
    return NULL;
}

rl_key *rl_key_read(rl_span spki)
{
    const unsigned char *p = spki.p;
    rl_key *key = calloc(1, sizeof(*key));
    if (!key)
        return NULL;
    if (read_plain(spki, key) == RL_OK)
        return complete(key, true);
    clear(key);
    return complete(key, take_pkey(key, spki.n <= LONG_MAX ? d2i_PUBKEY(NULL, &p, (long)spki.n) : NULL));
}

rl_key *rl_key_in(const X509_PUBKEY *spki)
{
    unsigned char *der = NULL;
    int n = spki ? i2d_X509_PUBKEY(spki, &der) : 0;
    rl_key *key = n > 0 ? rl_key_read(rl_span_of(der, (size_t)n)) : NULL;
    OPENSSL_free(der);
    return key;
}

rl_key *rl_key_of(EVP_PKEY *pkey)
{
    rl_key *key = pkey && EVP_PKEY_up_ref(pkey) == 1 ? calloc(1, sizeof(*key)) : NULL;
    return key ? complete(key, take_pkey(key, pkey)) : NULL;
}

/* ---- what it is ---- */
bool rl_key_is_rsa(const rl_key *key)
{
    return key->n != NULL;
}
int rl_key_bits(const rl_key *key)
{
    return key->n ? BN_num_bits(key->n) : EVP_PKEY_get_bits(key->pkey);
}
const BIGNUM *rl_key_modulus(const rl_key *key)
{
    return key->n;
}
const BIGNUM *rl_key_exponent(const rl_key *key)
{
    return key->exponent;
}

rl_span rl_key_spki(rl_key *key)
{
    unsigned char *der = NULL;
    if (key->spki.n == 0 && key->pkey) {
        int n = i2d_PUBKEY(key->pkey, &der);
        key->spki = rl_span_of(der, n > 0 ? (size_t)n : 0);
        ERR_clear_error();
    }
    return key->spki;
}

EVP_PKEY *rl_key_pkey(rl_key *key)
{
    if (key->pkey)
        return key->pkey;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, key->n) == 1 &&
                                 OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, key->exponent) == 1
                             ? OSSL_PARAM_BLD_to_param(builder)
                             : NULL;
    key->pkey = from_params("RSA", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    return key->pkey;
}

bool rl_key_eq(const rl_key *a, const rl_key *b)
{
    bool same = false;
    if (a && b && a->n && b->n)
        same = BN_cmp(a->n, b->n) == 0 && BN_cmp(a->exponent, b->exponent) == 0;
    else if (a && b && !a->n && !b->n)
        same = EVP_PKEY_eq(a->pkey, b->pkey) == 1;
    ERR_clear_error();
    return same;
}

/* ---- RSA ---- */
/* result = base to the power of an odd exponent above 1. The last product takes the base as it is, and so is no number
 * of Montgomery's any more: with BN_mod_exp_mont it takes two more of 19 to get into that form and out of it. */
static bool power(const rl_key *key, BIGNUM *result, const BIGNUM *base, BIGNUM *of_montgomery, BN_CTX *ctx)
{
    bool ok = BN_to_montgomery(of_montgomery, base, key->mont, ctx) == 1 && BN_copy(result, of_montgomery);
    for (int bit = BN_num_bits(key->exponent) - 2; ok && bit >= 0; bit--) {
        ok = BN_mod_mul_montgomery(result, result, result, key->mont, ctx) == 1;
        if (ok && BN_is_bit_set(key->exponent, bit))
            ok = BN_mod_mul_montgomery(result, result, bit ? of_montgomery : base, key->mont, ctx) == 1;
    }
    return ok;
}

/* `octets` as a number below the modulus, to the power of the exponent, in as many octets as the modulus has. */
static bool raise(const rl_key *key, rl_span octets, uint8_t *out)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *base = BN_bin2bn(octets.p, (int)octets.n, NULL), *same = BN_new(), *result = BN_new();
    bool ok = ctx && base && same && result && BN_ucmp(base, key->n) < 0 && power(key, result, base, same, ctx) &&
              BN_bn2binpad(result, out, BN_num_bytes(key->n)) > 0;
    BN_free(result);
    BN_clear_free(same);
    BN_clear_free(base);
    BN_CTX_free(ctx);
    return ok;
}

/* RFC 8017 §9.2, notes: the DigestInfo of SHA-2 and SHA-1. */
static void put_digest_info(rl_der_writer *w, rl_hash hash, const uint8_t *digest)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, rl_hash_oid(hash));
    rl_der_put_null(w);
    rl_der_close(w);
    rl_der_put(w, RL_DER_OCTET_STRING, rl_span_of(digest, rl_hash_size(hash)));
    rl_der_close(w);
}

bool rl_pkcs1_encode(rl_hash hash, rl_span tbs, uint8_t *out, size_t k)
{
    uint8_t digest[RL_HASH_MAX], info[DIGEST_INFO_MAX];
    rl_der_writer w;
    rl_span t;
    rl_der_init(&w, info, sizeof(info));
    if (rl_hash_digest(hash, tbs, digest) != RL_OK)
        return false;
    put_digest_info(&w, hash, digest);
    if (rl_der_finish(&w, &t) != RL_OK || k < t.n + PADDING_MIN)
        return false;
    memset(out, 0xff, k);
    out[0] = 0;
    out[1] = 1;
    out[k - t.n - 1] = 0;
    memcpy(out + k - t.n, t.p, t.n);
    return true;
}

/* RSASSA-PKCS1-v1_5, RFC 8017 §8.2.2: what was signed is made anew and compared, and not read. */
static bool is_signed_by(const rl_key *key, rl_hash hash, rl_span tbs, rl_span signature)
{
    uint8_t told[RSA_OCTETS_MAX], made[RSA_OCTETS_MAX];
    const size_t k = (size_t)BN_num_bytes(key->n);
    return signature.n == k && rl_pkcs1_encode(hash, tbs, made, k) && raise(key, signature, told) &&
           memcmp(told, made, k) == 0;
}

/* Random octets, none of them zero. Some more are drawn at once, since each draw takes a while. */
static bool fill_padding(uint8_t *at, size_t n)
{
    uint8_t drawn[64];
    size_t left = 0;
    bool ok = RAND_bytes(at, (int)n) == 1;
    for (size_t i = 0; ok && i < n; i++)
        while (ok && at[i] == 0) {
            ok = left > 0 || RAND_bytes(drawn, sizeof(drawn)) == 1;
            left = left > 0 ? left - 1 : sizeof(drawn) - 1;
            at[i] = drawn[left];
        }
    return ok;
}

bool rl_key_encrypt(const rl_key *key, rl_span plain, uint8_t *out, size_t *n)
{
    uint8_t block[RSA_OCTETS_MAX] = {0, 2};
    const size_t k = key->mont ? (size_t)BN_num_bytes(key->n) : 0;
    if (k == 0 || *n < k || k < plain.n + PADDING_MIN)
        return false;
    memcpy(block + k - plain.n, plain.p, plain.n);
    bool ok = fill_padding(block + 2, k - plain.n - 3) && raise(key, rl_span_of(block, k), out);
    OPENSSL_cleanse(block, k);
    *n = k;
    return ok;
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

/* The hash of RSASSA-PKCS1-v1_5 by one of those that rl_hash knows. */
static bool is_pkcs1(const X509_ALGOR *algorithm, rl_hash *hash)
{
    int digest = NID_undef, key = NID_undef;
    const ASN1_OBJECT *oid;
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    if (OBJ_find_sigid_algs(OBJ_obj2nid(oid), &digest, &key) != 1 || key != NID_rsaEncryption || digest == NID_undef)
        return false;
    return rl_hash_from_oid(oid_of(digest), hash) == RL_OK;
}

/* The signed octets as they came: OpenSSL's ANY gives a sequence back octet by octet. */
static bool holds_by_openssl(rl_span tbs, const X509_ALGOR *algorithm, rl_span signature, EVP_PKEY *key)
{
    ASN1_TYPE *any = ASN1_TYPE_new();
    ASN1_STRING *octets = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = false;
    if (key && any && octets && bits && tbs.n <= INT_MAX && signature.n <= INT_MAX &&
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

bool rl_signature_holds(rl_span tbs, const X509_ALGOR *algorithm, rl_span signature, rl_key *key)
{
    rl_hash hash;
    return key->mont && is_pkcs1(algorithm, &hash) ? is_signed_by(key, hash, tbs, signature)
                                                   : holds_by_openssl(tbs, algorithm, signature, rl_key_pkey(key));
}

/* What certificates and requests are alike: SEQUENCE { what is signed, algorithm, signature }. OpenSSL gives the first
 * back as it came. */
static bool holds(int n, unsigned char *der, const X509_ALGOR *algorithm, const ASN1_BIT_STRING *signature, rl_key *key)
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

bool rl_x509_holds(const X509 *cert, rl_key *key)
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

bool rl_csr_holds(const X509_REQ *csr, rl_key *key)
{
    const ASN1_BIT_STRING *signature;
    const X509_ALGOR *algorithm;
    unsigned char *der = NULL;
    X509_REQ_get0_signature(csr, &signature, &algorithm);
    int n = i2d_X509_REQ(csr, &der);
    return holds(n, der, algorithm, signature, key);
}
