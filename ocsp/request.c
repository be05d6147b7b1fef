/* OCSP request parser: one function for each type of RFC 6960 §4.1.1, from the outside in.
 *
 * Two leniences against DER, for they occur and harm nothing: a DEFAULT that is written out (version v1,
 * critical FALSE). The requestor's signature is read for its shape and not verified: answers are public, so
 * nobody is turned away or trusted for who they are. */
#include "ocsp/request.h"

#include "crypto/der.h"

/* id-pkix-ocsp (1.3.6.1.5.5.7.48.1) and one arc below it */
#define OCSP_OID(arc) RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x01" arc)
#define OID_NONCE     OCSP_OID("\x02")
/* RFC 6960 §4.4.3 Acceptable Response Types: every client has to take id-pkix-ocsp-basic, which is all we send. */
#define OID_RESPONSE OCSP_OID("\x04")

static rl_err read_tbs(rl_span in, size_t max_ids, ocsp_request *out);
static rl_err check_signature(rl_span in);

/* OCSPRequest ::= SEQUENCE { tbsRequest, optionalSignature [0] EXPLICIT OPTIONAL } */
rl_err ocsp_request_parse(rl_span der, size_t max_ids, ocsp_request *out)
{
    rl_span request, tbs, signature;
    out->ids_n = 0;
    out->nonce = (rl_span){0};
    RL_TRY(rl_der_sequence(&der, &request));
    RL_TRY(rl_span_end(&der));
    RL_TRY(rl_der_sequence(&request, &tbs));
    if (rl_der_peek(&request, RL_DER_CONTEXT_CONSTRUCTED(0))) {
        RL_TRY(rl_der_expect(&request, RL_DER_CONTEXT_CONSTRUCTED(0), &signature));
        RL_TRY(check_signature(signature));
    }
    RL_TRY(rl_span_end(&request));
    return read_tbs(tbs, max_ids < OCSP_CERT_IDS_MAX ? max_ids : OCSP_CERT_IDS_MAX, out);
}

/* Version ::= INTEGER { v1(0) } */
static rl_err read_version(rl_span in)
{
    uint64_t version;
    RL_TRY(rl_der_uint(&in, &version));
    RL_TRY(rl_span_end(&in));
    return version == 0 ? RL_OK : RL_EUNSUPPORTED;
}

/* GeneralName (RFC 5280 §4.2.1.6): a choice of nine context tags. Which one asks makes no difference. */
static rl_err check_general_name(rl_span in)
{
    rl_span name;
    uint8_t tag;
    RL_TRY(rl_der_any(&in, &tag, &name, NULL));
    RL_TRY(rl_span_end(&in));
    return (tag & 0xc0) == 0x80 && (tag & 0x1f) <= 8 ? RL_OK : RL_EBADMSG;
}

/* Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } */
static rl_err read_extension(rl_span *in, rl_span *oid, bool *critical, rl_span *value)
{
    rl_span extension;
    RL_TRY(rl_der_sequence(in, &extension));
    RL_TRY(rl_der_oid(&extension, oid));
    *critical = false;
    if (rl_der_peek(&extension, RL_DER_BOOLEAN))
        RL_TRY(rl_der_bool(&extension, critical));
    RL_TRY(rl_der_octets(&extension, value));
    return rl_span_end(&extension);
}

/* RFC 9654 §2.1: Nonce ::= OCTET STRING(SIZE(1..128)); any other size is malformedRequest. */
static rl_err read_nonce(rl_span value, rl_span *nonce)
{
    rl_span octets;
    if (nonce->p)
        return RL_EBADMSG;
    RL_TRY(rl_der_octets(&value, &octets));
    RL_TRY(rl_span_end(&value));
    if (octets.n == 0 || octets.n > OCSP_NONCE_MAX)
        return RL_EBADMSG;
    *nonce = octets;
    return RL_OK;
}

/* Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension. `nonce` is NULL for a single request's, where a nonce has
 * no meaning (RFC 6960 §4.4.1 puts it into requestExtensions). */
static rl_err read_extensions(rl_span in, rl_span *nonce)
{
    rl_span list, oid, value;
    bool critical;
    RL_TRY(rl_der_sequence(&in, &list));
    RL_TRY(rl_span_end(&in));
    if (list.n == 0)
        return RL_EBADMSG;
    while (list.n) {
        RL_TRY(read_extension(&list, &oid, &critical, &value));
        if (nonce && rl_span_eq(oid, OID_NONCE))
            RL_TRY(read_nonce(value, nonce));
        else if (critical && !(nonce && rl_span_eq(oid, OID_RESPONSE)))
            return RL_EUNSUPPORTED;
    }
    return RL_OK;
}

/* AlgorithmIdentifier ::= SEQUENCE { algorithm OID, parameters ANY OPTIONAL }. RFC 5754 §2: a hash's parameters
 * are absent or NULL. */
static rl_err read_hash_algorithm(rl_span *in, ocsp_cert_id *id)
{
    rl_span algorithm, oid, value;
    uint8_t tag;
    RL_TRY(rl_der_sequence(in, &algorithm));
    RL_TRY(rl_der_oid(&algorithm, &oid));
    id->known_hash = rl_hash_from_oid(oid, &id->hash) == RL_OK;
    id->null_parameters = algorithm.n > 0;
    if (algorithm.n && id->known_hash)
        RL_TRY(rl_der_null(&algorithm));
    else if (algorithm.n)
        RL_TRY(rl_der_any(&algorithm, &tag, &value, NULL));
    return rl_span_end(&algorithm);
}

/* CertID ::= SEQUENCE { hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber } */
rl_err ocsp_read_cert_id(rl_span *in, ocsp_cert_id *id)
{
    rl_span rest = *in, fields;
    uint8_t tag;
    RL_TRY(rl_der_any(&rest, &tag, &fields, &id->whole));
    if (tag != RL_DER_SEQUENCE)
        return RL_EBADMSG;
    RL_TRY(read_hash_algorithm(&fields, id));
    RL_TRY(rl_der_octets(&fields, &id->issuer_name_hash));
    RL_TRY(rl_der_octets(&fields, &id->issuer_key_hash));
    if (id->known_hash &&
        (id->issuer_name_hash.n != rl_hash_size(id->hash) || id->issuer_key_hash.n != rl_hash_size(id->hash)))
        return RL_EBADMSG;
    RL_TRY(rl_der_serial(&fields, &id->serial, &id->negative));
    RL_TRY(rl_span_end(&fields));
    *in = rest;
    return RL_OK;
}

/* Request ::= SEQUENCE { reqCert CertID, singleRequestExtensions [0] EXPLICIT Extensions OPTIONAL } */
static rl_err read_request(rl_span *in, ocsp_cert_id *id)
{
    rl_span request, extensions;
    RL_TRY(rl_der_sequence(in, &request));
    RL_TRY(ocsp_read_cert_id(&request, id));
    if (rl_der_peek(&request, RL_DER_CONTEXT_CONSTRUCTED(0))) {
        RL_TRY(rl_der_expect(&request, RL_DER_CONTEXT_CONSTRUCTED(0), &extensions));
        RL_TRY(read_extensions(extensions, NULL));
    }
    return rl_span_end(&request);
}

/* TBSRequest ::= SEQUENCE { version [0] EXPLICIT DEFAULT v1, requestorName [1] EXPLICIT OPTIONAL,
 *                           requestList SEQUENCE OF Request, requestExtensions [2] EXPLICIT OPTIONAL } */
static rl_err read_tbs(rl_span in, size_t max_ids, ocsp_request *out)
{
    rl_span field, list;
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(0))) {
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(0), &field));
        RL_TRY(read_version(field));
    }
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(1))) {
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(1), &field));
        RL_TRY(check_general_name(field));
    }
    RL_TRY(rl_der_sequence(&in, &list));
    if (list.n == 0)
        return RL_EBADMSG;
    while (list.n) {
        if (out->ids_n == max_ids)
            return RL_ERANGE;
        RL_TRY(read_request(&list, &out->ids[out->ids_n]));
        out->ids_n++;
    }
    if (rl_der_peek(&in, RL_DER_CONTEXT_CONSTRUCTED(2))) {
        RL_TRY(rl_der_expect(&in, RL_DER_CONTEXT_CONSTRUCTED(2), &field));
        RL_TRY(read_extensions(field, &out->nonce));
    }
    return rl_span_end(&in);
}

/* Signature ::= SEQUENCE { signatureAlgorithm, signature BIT STRING, certs [0] EXPLICIT SEQUENCE OF OPTIONAL } */
static rl_err check_signature(rl_span in)
{
    rl_span signature, field, oid, value;
    uint8_t tag;
    RL_TRY(rl_der_sequence(&in, &signature));
    RL_TRY(rl_span_end(&in));
    RL_TRY(rl_der_sequence(&signature, &field));
    RL_TRY(rl_der_oid(&field, &oid));
    if (field.n)
        RL_TRY(rl_der_any(&field, &tag, &value, NULL));
    RL_TRY(rl_span_end(&field));
    RL_TRY(rl_der_expect(&signature, RL_DER_BIT_STRING, &field));
    if (field.n == 0 || field.p[0] > 7 || (field.n == 1 && field.p[0] != 0)) /* X.690 §8.6.2.2: unused bits */
        return RL_EBADMSG;
    if (rl_der_peek(&signature, RL_DER_CONTEXT_CONSTRUCTED(0))) {
        RL_TRY(rl_der_expect(&signature, RL_DER_CONTEXT_CONSTRUCTED(0), &field));
        RL_TRY(rl_der_sequence(&field, &value));
        RL_TRY(rl_span_end(&field));
        while (value.n)
            RL_TRY(rl_der_sequence(&value, &field));
    }
    return rl_span_end(&signature);
}
