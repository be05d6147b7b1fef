/* The outer SignedData of a pkiMessage, RFC 5652 §5, read into spans. Pure but for memory.
 *
 * What came in BER (X.690 §8) is read from OpenSSL's DER of it. Nothing is checked here but the form. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/der.h"
#include "crypto/key.h"
#include "scep/message_priv.h"

/* ---- a certificate's name: who signs, or for whom it is encrypted ---- */
rl_err scep_who_read(rl_span *in, scep_who *out)
{
    rl_span who, skip;
    uint8_t tag;
    *out = (scep_who){.key_id = {NULL, 0}};
    if (rl_der_peek(in, RL_DER_CONTEXT(0)))
        return rl_der_expect(in, RL_DER_CONTEXT(0), &out->key_id);
    RL_TRY(rl_der_sequence(in, &who));
    RL_TRY(rl_der_any(&who, &tag, &skip, &out->issuer));
    out->serial = who;
    RL_TRY(rl_der_expect(&who, RL_DER_INTEGER, &skip)); /* of any length */
    return rl_span_end(&who);
}

/* Names are compared as RFC 5280 §7.1 has it. */
static bool is_issuer(rl_span name, const X509_NAME *issuer)
{
    const unsigned char *der, *p = name.p;
    size_t n;
    if (X509_NAME_get0_der(issuer, &der, &n) == 1 && rl_span_eq(name, rl_span_of(der, n)))
        return true;
    X509_NAME *told = d2i_X509_NAME(NULL, &p, (long)name.n);
    bool same = told && X509_NAME_cmp(told, issuer) == 0;
    X509_NAME_free(told);
    return same;
}

static bool has_key_id(rl_span told, const X509 *cert)
{
    ASN1_OCTET_STRING *id = X509_get_ext_d2i(cert, NID_subject_key_identifier, NULL, NULL);
    bool same = id && rl_span_eq(told, rl_span_of(ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)));
    ASN1_OCTET_STRING_free(id);
    return same;
}

bool scep_who_is(const scep_who *who, const X509 *cert)
{
    unsigned char *serial = NULL;
    if (who->issuer.n == 0)
        return has_key_id(who->key_id, cert);
    int n = i2d_ASN1_INTEGER(X509_get0_serialNumber(cert), &serial);
    bool same = n > 0 && rl_span_eq(who->serial, rl_span_of(serial, (size_t)n)) &&
                is_issuer(who->issuer, X509_get_issuer_name(cert));
    OPENSSL_free(serial);
    return same;
}

/* ---- the whole ---- */
static rl_err read_signer(rl_span in, scep_signed *out)
{
    rl_span algorithm, skip;
    uint64_t version;
    uint8_t tag;
    RL_TRY(rl_der_uint(&in, &version));
    RL_TRY(scep_who_read(&in, &out->signer));
    RL_TRY(rl_der_sequence(&in, &algorithm));
    RL_TRY(rl_der_oid(&algorithm, &out->digest));
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(0)))
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(0), &out->attributes));
    RL_TRY(rl_der_any(&in, &tag, &skip, &out->algorithm));
    RL_TRY(rl_der_octets(&in, &out->signature));
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(1))) /* unsignedAttrs */
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(1), &skip));
    return rl_span_end(&in);
}

/* EncapsulatedContentInfo; the content may be missing. */
static rl_err read_content(rl_span in, scep_signed *out)
{
    rl_span content;
    RL_TRY(rl_der_oid(&in, &out->type));
    if (in.n == 0)
        return RL_OK;
    RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(0), &content));
    RL_TRY(rl_span_end(&in));
    RL_TRY(rl_der_octets(&content, &out->content));
    out->has_content = true;
    return rl_span_end(&content);
}

static rl_err read_all(rl_span der, scep_signed *out)
{
    static const uint8_t signed_data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02};
    rl_span info, type, content, data, skip, signers, first = {0};
    uint64_t version;
    RL_TRY(rl_der_sequence(&der, &info));
    RL_TRY(rl_span_end(&der));
    RL_TRY(rl_der_oid(&info, &type));
    if (!rl_span_eq(type, rl_span_of(signed_data, sizeof(signed_data))))
        return RL_EBADMSG;
    RL_TRY(rl_der_expect(&info, RL_DER_CONTEXT_CONSTRUCTED(0), &content));
    RL_TRY(rl_der_sequence(&content, &data));
    RL_TRY(rl_der_uint(&data, &version));
    RL_TRY(rl_der_expect(&data, RL_DER_SET, &skip)); /* digestAlgorithms */
    RL_TRY(rl_der_sequence(&data, &content));
    RL_TRY(read_content(content, out));
    if (rl_der_peek(&data, RL_DER_CONTEXT_CONSTRUCTED(0)))
        RL_TRY(rl_der_expect(&data, RL_DER_CONTEXT_CONSTRUCTED(0), &out->certificates));
    if (rl_der_peek(&data, RL_DER_CONTEXT_CONSTRUCTED(1))) /* crls */
        RL_TRY(rl_der_expect(&data, RL_DER_CONTEXT_CONSTRUCTED(1), &skip));
    RL_TRY(rl_der_expect(&data, RL_DER_SET, &signers));
    RL_TRY(rl_span_end(&data));
    for (out->signers = 0; signers.n > 0; out->signers++)
        RL_TRY(rl_der_sequence(&signers, out->signers ? &skip : &first));
    return out->signers ? read_signer(first, out) : RL_OK;
}

size_t scep_ber_to_der(rl_span ber, unsigned char **der)
{
    const unsigned char *p = ber.p;
    CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(rl_no_algorithms(), NULL);
    bool ok = cms && ber.n && ber.n <= 1 << 24 && d2i_CMS_ContentInfo(&cms, &p, (long)ber.n) && p == ber.p + ber.n;
    int n = ok ? i2d_CMS_ContentInfo(cms, der) : 0;
    CMS_ContentInfo_free(cms); /* NULL when d2i has */
    ERR_clear_error();
    return n > 0 ? (size_t)n : 0;
}

rl_err scep_signed_read(rl_span der, scep_signed *out)
{
    *out = (scep_signed){.again = NULL};
    if (read_all(der, out) == RL_OK)
        return RL_OK;
    *out = (scep_signed){.again = NULL};
    size_t n = scep_ber_to_der(der, &out->again);
    return n > 0 ? read_all(rl_span_of(out->again, n), out) : RL_EBADMSG;
}

void scep_signed_clear(scep_signed *s)
{
    OPENSSL_free(s->again);
    *s = (scep_signed){.again = NULL};
}

/* ---- signed attributes ---- */
size_t scep_signed_count(const scep_signed *s, rl_span oid, rl_span *values)
{
    rl_span all = s->attributes, one, type, set;
    size_t n = 0;
    while (all.n > 0 && rl_der_sequence(&all, &one) == RL_OK)
        if (rl_der_oid(&one, &type) == RL_OK && rl_span_eq(type, oid) &&
            rl_der_expect(&one, RL_DER_SET, &set) == RL_OK) {
            *values = set;
            n++;
        }
    return n;
}

bool scep_signed_value(const scep_signed *s, rl_span oid, uint8_t tag, rl_span *value)
{
    rl_span values;
    return scep_signed_count(s, oid, &values) == 1 && rl_der_expect(&values, tag, value) == RL_OK && values.n == 0;
}

/* ---- the signer's certificate ---- */
static rl_err read_tbs(rl_span tbs, scep_cert *out)
{
    rl_span in, skip;
    uint8_t tag;
    RL_TRY(rl_der_sequence(&tbs, &in));
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(0))) /* version */
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(0), &skip));
    RL_TRY(rl_der_any(&in, &tag, &skip, &out->serial));
    RL_TRY(rl_der_any(&in, &tag, &skip, &out->tbs_algorithm));
    RL_TRY(rl_der_any(&in, &tag, &skip, &out->issuer));
    RL_TRY(rl_der_sequence(&in, &skip)); /* validity */
    RL_TRY(rl_der_any(&in, &tag, &skip, &out->subject));
    return rl_der_any(&in, &tag, &skip, &out->spki);
}

rl_err scep_cert_read(rl_span der, scep_cert *out)
{
    rl_span in = der, cert, skip;
    uint8_t tag;
    *out = (scep_cert){.der = der};
    RL_TRY(rl_der_sequence(&in, &cert));
    RL_TRY(rl_span_end(&in));
    RL_TRY(rl_der_any(&cert, &tag, &skip, &out->tbs));
    RL_TRY(rl_der_any(&cert, &tag, &skip, &out->algorithm));
    RL_TRY(rl_der_expect(&cert, RL_DER_BIT_STRING, &out->signature));
    RL_TRY(rl_span_end(&cert));
    return read_tbs(out->tbs, out);
}

/* As it is told, or as OpenSSL understands it. */
static bool is_named(const scep_who *who, const scep_cert *cert)
{
    const unsigned char *p = cert->der.p;
    if (rl_span_eq(who->issuer, cert->issuer) && rl_span_eq(who->serial, cert->serial))
        return true;
    X509 *whole = X509_new_ex(rl_no_algorithms(), NULL);
    bool same = whole && d2i_X509(&whole, &p, (long)cert->der.n) && scep_who_is(who, whole);
    X509_free(whole); /* NULL when d2i has */
    return same;
}

rl_err scep_signed_cert(const scep_signed *s, scep_cert *out)
{
    rl_span all = s->certificates, skip, whole;
    uint8_t tag;
    bool found = false;
    for (size_t n = 0; all.n > 0; n++) {
        scep_cert cert;
        RL_TRY(rl_der_any(&all, &tag, &skip, &whole));
        if (n == SCEP_CERTS_MAX)
            return RL_ERANGE;
        if (found || tag != RL_DER_SEQUENCE || scep_cert_read(whole, &cert) != RL_OK || !is_named(&s->signer, &cert))
            continue;
        *out = cert;
        found = true;
    }
    ERR_clear_error();
    return found ? RL_OK : RL_ENOTFOUND;
}

/* Names are compared as RFC 5280 §7.1 has it. */
bool scep_is_self_issued(const scep_cert *cert)
{
    const unsigned char *p = cert->subject.p;
    if (rl_span_eq(cert->subject, cert->issuer))
        return true;
    X509_NAME *subject = d2i_X509_NAME(NULL, &p, (long)cert->subject.n);
    bool same = subject && is_issuer(cert->issuer, subject);
    X509_NAME_free(subject);
    ERR_clear_error();
    return same;
}

bool scep_cert_holds(const scep_cert *cert, rl_key *key)
{
    const unsigned char *p = cert->algorithm.p;
    rl_span signature = cert->signature, unused;
    if (!rl_span_eq(cert->algorithm, cert->tbs_algorithm)) /* RFC 5280 §4.1.1.2 */
        return false;
    if (rl_span_take(&signature, 1, &unused) != RL_OK || unused.p[0] != 0)
        return false;
    X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &p, (long)cert->algorithm.n);
    bool holds = algorithm && rl_signature_holds(cert->tbs, algorithm, signature, key);
    X509_ALGOR_free(algorithm);
    ERR_clear_error();
    return holds;
}
