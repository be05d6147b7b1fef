/* What is inside the envelope: a certificate request, or what a CertPoll, GetCert or GetCRL asks by. Pure but for
 * memory. */
#include <openssl/err.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "crypto/key.h"
#include "scep/message_priv.h"

/* ---- the certificate request, RFC 8894 §3.3.1 ---- */
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
        err = scep_refuse(why, SCEP_BAD_REQUEST, "challengePassword is malformed");
    else if (!(out->challenge = strndup(n > 0 ? (char *)utf8 : "", (size_t)n)))
        err = RL_ENOMEM;
    OPENSSL_clear_free(utf8, n > 0 ? (size_t)n : 0);
    return err;
}

/* As with a device's first request (RFC 8894 §2.3); then the key is read, and made ready to verify with, once. Not so
 * with an MDM that asks in the place of its devices: Jamf Pro signs by a certificate of its own, which may be
 * self-signed. */
static bool is_signers_key(const scep_request *r)
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(r->csr), &der);
    bool same = n > 0 && rl_span_eq(r->sender.spki, rl_span_of(der, (size_t)n));
    OPENSSL_free(der);
    return same;
}

/* Whether a certificate authorises is asked of one that OpenSSL understands, with its key. */
static rl_err read_sender(scep_request *out, scep_refusal *why)
{
    if (out->type != SCEP_RENEWAL_REQ && out->challenge && out->challenge[0])
        return RL_OK;
    return rl_x509_from_der(out->sender.der, &out->signer, NULL) == RL_OK
               ? RL_OK
               : scep_refuse(why, SCEP_BAD_REQUEST, "the signer's certificate cannot be read");
}

static rl_err read_csr(rl_span der, bool padded, scep_request *out, scep_refusal *why)
{
    if (der.n > SCEP_CSR_MAX || rl_csr_from_der(der, &out->csr, NULL) != RL_OK)
        return scep_not_opened(out, why);
    out->key = is_signers_key(out) ? out->signer_key : rl_key_in(X509_REQ_get_X509_PUBKEY(out->csr));
    /* A changed ciphertext can still decrypt to something that parses, so the CSR's own signature belongs to the
     * opening. A key that cannot be read (an unknown curve, say) or is too large is the same to us. */
    if (!out->key || rl_key_bits(out->key) > SIGNER_BITS_MAX || !rl_csr_holds(out->csr, out->key) || !padded)
        return scep_not_opened(out, why);
    RL_TRY(read_challenge(out, why));
    return read_sender(out, why);
}

/* ---- IssuerAndSubject, IssuerAndSerialNumber ---- */
/* Next element, which must be a Name. */
static rl_err read_name(rl_span *in, X509_NAME **out)
{
    uint8_t tag;
    rl_span contents, whole;
    RL_TRY(rl_der_any(in, &tag, &contents, &whole));
    const unsigned char *p = whole.p;
    *out = tag == RL_DER_SEQUENCE ? d2i_X509_NAME(NULL, &p, (long)whole.n) : NULL;
    ERR_clear_error();
    return *out && p == whole.p + whole.n ? RL_OK : RL_EBADMSG;
}

/* The names are the caller's on success only. */
static rl_err drop_names(rl_err err, X509_NAME **one, X509_NAME **other)
{
    if (err != RL_OK) {
        X509_NAME_free(*one);
        *one = NULL;
        if (other) {
            X509_NAME_free(*other);
            *other = NULL;
        }
    }
    return err;
}

static rl_err read_pair(rl_span der, X509_NAME **issuer, X509_NAME **subject)
{
    rl_span seq;
    RL_TRY(rl_der_sequence(&der, &seq));
    RL_TRY(rl_span_end(&der));
    RL_TRY(read_name(&seq, issuer));
    RL_TRY(read_name(&seq, subject));
    return rl_span_end(&seq);
}

rl_err scep_issuer_and_subject(rl_span der, X509_NAME **issuer, X509_NAME **subject)
{
    *issuer = *subject = NULL;
    return drop_names(read_pair(der, issuer, subject), issuer, subject);
}

static rl_err read_serial(rl_span der, X509_NAME **issuer, rl_serial *serial)
{
    rl_span seq, contents;
    bool negative;
    RL_TRY(rl_der_sequence(&der, &seq));
    RL_TRY(rl_span_end(&der));
    RL_TRY(read_name(&seq, issuer));
    RL_TRY(rl_der_serial(&seq, &contents, &negative));
    RL_TRY(rl_span_end(&seq));
    return negative ? RL_ERANGE : rl_serial_from_der(contents, serial);
}

rl_err scep_issuer_and_serial(rl_span der, X509_NAME **issuer, rl_serial *serial)
{
    *issuer = NULL;
    return drop_names(read_serial(der, issuer, serial), issuer, NULL);
}

/* ---- the padding, RFC 5652 §6.3 ---- */
/* What is encrypted is one element, so that its end is known without the padding. That is looked at when all else is
 * right: at first, the time that an answer takes would tell of it, and so, octet by octet, what somebody else's
 * ciphertext says (S. Vaudenay, Security Flaws Induced by CBC Padding). */
static rl_span take_element(rl_span *plain)
{
    const unsigned char *p = plain->p;
    rl_span element = *plain;
    long n = 0;
    int tag, class, kind = ASN1_get_object(&p, &n, &tag, &class, (long)plain->n);
    if ((kind & 0x81) == 0) /* neither malformed nor of indefinite length */
        (void)rl_span_take(plain, (size_t)(p - plain->p) + (size_t)n, &element);
    ERR_clear_error();
    return element;
}

static bool is_padding(rl_span rest, size_t block)
{
    unsigned wrong = rest.n == 0 || rest.n > block;
    for (size_t i = 0; i < rest.n && i < block; i++)
        wrong |= rest.p[i] ^ (unsigned)rest.n;
    return wrong == 0;
}

rl_err scep_read_content(rl_span plain, scep_request *out, scep_refusal *why)
{
    rl_err err;
    const rl_span element = take_element(&plain);
    const bool padded = is_padding(plain, (size_t)EVP_CIPHER_get_block_size(out->cipher));
    switch (out->type) {
    case SCEP_CERT_POLL:
        err = scep_issuer_and_subject(element, &out->issuer, &out->subject);
        break;
    case SCEP_GET_CERT:
    case SCEP_GET_CRL:
        err = scep_issuer_and_serial(element, &out->issuer, &out->serial);
        break;
    default:
        return read_csr(element, padded, out, why);
    }
    return err == RL_OK && padded ? RL_OK : scep_not_opened(out, why);
}
