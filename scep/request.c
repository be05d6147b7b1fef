/* Reading a pkiMessage: outer signature and transaction attributes; envelope.c and content.c go on. Pure but for
 * memory.
 *
 * The attributes are read before the signature is checked, since a refusal has to name them; nothing else in
 * the message is trusted until the signature holds. */
#include <openssl/err.h>
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
    why->guessed = true;
}

rl_err scep_not_opened(const scep_request *r, scep_refusal *why)
{
    if (r->type != SCEP_PKCS_REQ && r->type != SCEP_RENEWAL_REQ) {
        scep_refuse_unknown(why);
        return RL_EDENIED;
    }
    why->guessed = true;
    return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK,
                       "the envelope does not open to a certificate request with a valid signature");
}

/* ---- transaction attributes, RFC 8894 §3.2.1 ---- */
static bool printable(rl_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return s.n > 0;
}

static rl_err read_attributes(const scep_signed *s, scep_request *out, scep_refusal *why)
{
    rl_span id, nonce, all = s->attributes, skip;
    for (size_t n = 0; all.n > 0; n++)
        if (n == SCEP_ATTRIBUTES_MAX)
            return unreadable(why, "too many signed attributes");
        else if (rl_der_sequence(&all, &skip) != RL_OK)
            return unreadable(why, "the body is no CMS SignedData");
    if (!scep_signed_value(s, scep_attribute_oid(SCEP_ATTR_TRANSACTION_ID), RL_DER_PRINTABLE, &id) ||
        id.n > SCEP_TRANSACTION_MAX || !printable(id))
        return unreadable(why, "transactionID is missing or is not one PrintableString of 1 to 255 characters");
    if (!scep_signed_value(s, scep_attribute_oid(SCEP_ATTR_SENDER_NONCE), RL_DER_OCTET_STRING, &nonce) ||
        nonce.n == 0 || nonce.n > SCEP_NONCE_MAX)
        return unreadable(why, "senderNonce is missing or is not one OCTET STRING of 1 to 64 octets");
    memcpy(out->transaction, id.p, id.n);
    out->transaction[id.n] = 0;
    memcpy(out->nonce, nonce.p, nonce.n);
    out->nonce_n = nonce.n;
    return RL_OK;
}

static rl_err read_type(const scep_signed *s, scep_request *out, scep_refusal *why)
{
    rl_span text;
    if (!scep_signed_value(s, scep_attribute_oid(SCEP_ATTR_MESSAGE_TYPE), RL_DER_PRINTABLE, &text) || text.n == 0 ||
        text.n > 3)
        return scep_refuse(why, SCEP_BAD_REQUEST, "messageType is missing or is not one short PrintableString");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return scep_refuse(why, SCEP_BAD_REQUEST, "messageType is no decimal number");
        out->type = 10 * out->type + (text.p[i] - '0');
    }
    return RL_OK;
}

/* RFC 5652 §11.3: optional. */
static rl_err read_signing_time(const scep_signed *s, scep_request *out, scep_refusal *why)
{
    const rl_span oid = RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05");
    rl_span value;
    bool utc = scep_signed_value(s, oid, RL_DER_UTC_TIME, &value);
    if (scep_signed_count(s, oid, &value) == 0)
        return RL_OK;
    bool ok = utc ? scep_signed_value(s, oid, RL_DER_UTC_TIME, &value)
                  : scep_signed_value(s, oid, RL_DER_GENERALIZED_TIME, &value);
    ASN1_TIME *time = ok ? ASN1_STRING_type_new(utc ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME) : NULL;
    ok = time && ASN1_STRING_set(time, value.p, (int)value.n) == 1 && rl_x509_time(time, &out->signed_at) == RL_OK;
    ASN1_TIME_free(time);
    return ok ? RL_OK : scep_refuse(why, SCEP_BAD_TIME, "signingTime is no time");
}

/* ---- the outer signature ---- */
static rl_err read_digest(const scep_signed *s, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    rl_hash hash;
    if (rl_hash_from_oid(s->digest, &hash) != RL_OK || hash == RL_SHA224)
        return scep_refuse(why, SCEP_BAD_ALG, "the digest algorithm is not accepted: use SHA-256");
    if (hash == RL_SHA1 && !self->allow_legacy)
        return scep_refuse(why, SCEP_BAD_ALG, "SHA-1 is not accepted: use SHA-256");
    out->digest = hash;
    return RL_OK;
}

/* The signer's certificate has to be in the message: RFC 8894 §3.1. */
static rl_err find_signer(const scep_signed *s, scep_request *out, scep_refusal *why)
{
    scep_cert found;
    switch (scep_signed_cert(s, &found)) {
    case RL_OK: /* longer there than the message, when that came in BER */
        RL_TRY(rl_buf_append(&out->sender_der, found.der.p, found.der.n));
        return scep_cert_read(rl_buf_span(&out->sender_der), &out->sender);
    case RL_ERANGE:
        return scep_refuse(why, SCEP_BAD_REQUEST, "too many certificates in the message");
    case RL_EBADMSG:
        return unreadable(why, "the body is no CMS SignedData");
    default:
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's certificate is not in the message");
    }
}

static rl_err check_signer_key(scep_request *r, scep_refusal *why)
{
    const rl_key *key = r->signer_key = rl_key_read(r->sender.spki);
    /* RFC 8894 §3.1 would have the answer encrypted by the challenge for a key that cannot decrypt. Who sees the
     * answer could then try passwords against it, and the challenge is one for the whole fleet: RSA only. */
    if (!key || !rl_key_is_rsa(key))
        return scep_refuse(why, SCEP_BAD_ALG, "the signer's key cannot receive the encrypted answer: use an RSA key");
    int bits = rl_key_bits(key);
    if (bits < SIGNER_BITS_MIN || bits > SIGNER_BITS_MAX)
        return scep_refuse(why, SCEP_BAD_ALG, "the signer's RSA key has an unacceptable size");
    return RL_OK;
}

/* RFC 5652 §11.1, §11.2: of both there is one, and type and digest are those of the content. */
static bool is_of_content(const scep_signed *s, rl_hash hash)
{
    const rl_span content_type = RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"),
                  message_digest = RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04");
    uint8_t digest[RL_HASH_MAX];
    rl_span told, type;
    return scep_signed_value(s, message_digest, RL_DER_OCTET_STRING, &told) &&
           scep_signed_value(s, content_type, RL_DER_OID, &type) && rl_span_eq(type, s->type) &&
           rl_hash_digest(hash, s->content, digest) == RL_OK &&
           rl_span_eq(rl_span_of(digest, rl_hash_size(hash)), told);
}

/* RFC 5652 §5.4: what is signed are the attributes as a SET OF; in the order in which they came, since some clients do
 * not sort them. */
static rl_err encode_attributes(const scep_signed *s, rl_buf *out)
{
    uint8_t head[RL_DER_HEAD_MAX];
    RL_TRY(rl_buf_append(out, head, rl_der_head(RL_DER_SET, s->attributes.n, head)));
    return rl_buf_append(out, s->attributes.p, s->attributes.n);
}

/* The algorithm of the signature with its digest: CMS has that apart (RFC 3370 §3.2), or the same in both. NULL when it
 * is none that an RSA key signs by. */
static X509_ALGOR *signature_algorithm(const X509_ALGOR *told, rl_hash hash)
{
    int nid = OBJ_obj2nid(told->algorithm), key = nid, both;
    const int digest = OBJ_sn2nid(rl_hash_name(hash));
    if (nid == NID_rsassaPss)
        return rl_pss_digest(told) == digest ? X509_ALGOR_dup(told) : NULL;
    OBJ_find_sigid_algs(nid, NULL, &key);
    X509_ALGOR *out =
        key == NID_rsaEncryption && OBJ_find_sigid_by_algs(&both, digest, key) == 1 ? X509_ALGOR_new() : NULL;
    if (out)
        X509_ALGOR_set0(out, OBJ_nid2obj(both), V_ASN1_NULL, NULL);
    return out;
}

static bool is_signed(const scep_signed *s, const scep_request *r)
{
    const unsigned char *p = s->algorithm.p;
    X509_ALGOR *told = d2i_X509_ALGOR(NULL, &p, (long)s->algorithm.n),
               *algorithm = told ? signature_algorithm(told, r->digest) : NULL;
    rl_buf attributes = {0};
    bool ok = algorithm && encode_attributes(s, &attributes) == RL_OK &&
              rl_signature_holds(rl_buf_span(&attributes), algorithm, s->signature, r->signer_key);
    rl_buf_free(&attributes);
    X509_ALGOR_free(algorithm);
    X509_ALGOR_free(told);
    return ok;
}

static rl_err verify(const scep_signed *s, const scep_request *r, scep_refusal *why)
{
    /* Who the signer is does not matter, the challenge authorises; that it holds its key does. */
    if (!s->has_content || !is_of_content(s, r->digest) || !is_signed(s, r))
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the message's signature is not valid");
    if (scep_is_self_issued(&r->sender) && !scep_cert_holds(&r->sender, r->signer_key))
        return scep_refuse(why, SCEP_BAD_MESSAGE_CHECK, "the signer's self-signed certificate has no valid signature");
    return RL_OK;
}

static rl_err read_enveloped(rl_span content, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    rl_buf plain = {0};
    rl_err err = scep_open_envelope(content, self, out, &plain, why);
    if (err == RL_OK)
        err = scep_read_content(rl_buf_span(&plain), out, why);
    if (plain.p)
        OPENSSL_cleanse(plain.p, plain.cap); /* the challenge is in it */
    rl_buf_free(&plain);
    return err;
}

/* What is no request of RFC 8894 §3.2.1.2 is refused before its envelope is opened. */
static rl_err check_type(const scep_request *r, scep_refusal *why)
{
    if (r->type == SCEP_RENEWAL_REQ || (r->type >= SCEP_PKCS_REQ && r->type <= SCEP_GET_CRL))
        return RL_OK;
    return scep_refuse(why, SCEP_BAD_REQUEST, "this messageType is no request");
}

static rl_err read_all(const scep_signed *s, const scep_identity *self, scep_request *out, scep_refusal *why)
{
    if (s->signers != 1)
        return unreadable(why, "the message has not exactly one signer");
    RL_TRY(read_attributes(s, out, why));
    RL_TRY(read_digest(s, self, out, why));
    RL_TRY(find_signer(s, out, why));
    RL_TRY(check_signer_key(out, why));
    RL_TRY(verify(s, out, why));
    RL_TRY(read_type(s, out, why));
    RL_TRY(check_type(out, why));
    RL_TRY(read_signing_time(s, out, why));
    return read_enveloped(s->content, self, out, why);
}

rl_err scep_request_read(const scep_identity *self, rl_span der, scep_request *out, scep_refusal *why)
{
    scep_signed s;
    *out = (scep_request){.digest = RL_SHA256, .self = self};
    *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = ""};
    rl_err err = scep_signed_read(der, &s) == RL_OK ? read_all(&s, self, out, why)
                                                    : unreadable(why, "the body is no CMS SignedData");
    scep_signed_clear(&s);
    ERR_clear_error();
    return err;
}

void scep_request_clear(scep_request *r)
{
    rl_buf_free(&r->sender_der);
    X509_free(r->signer);
    if (r->key != r->signer_key)
        rl_key_free(r->key);
    rl_key_free(r->signer_key);
    X509_REQ_free(r->csr);
    X509_NAME_free(r->issuer);
    X509_NAME_free(r->subject);
    if (r->challenge)
        OPENSSL_cleanse(r->challenge, strlen(r->challenge));
    free(r->challenge);
    *r = (scep_request){0};
}
