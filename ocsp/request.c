/* OCSP request parser: one function for each type of RFC 6960 §4.1.1, from the outside in.
 *
 * Three leniences, for they occur and harm nothing: a DEFAULT that is written out (version v1, critical FALSE), a list
 * of extensions with none in it (clients are seen that always send both lists), and a signed request without the
 * requestor's name. The requestor's signature is read for its shape and not verified: answers are public, so nobody is
 * turned away or trusted for who they are.
 *
 * Extensions (§4.4) that are known here and may be critical; in the wrong list, or not known, a critical one is
 * refused and any other ignored. All but the nonce are read for their shape and change no answer:
 * - acceptable responses (§4.4.3): whatever the list says, a client has to take id-pkix-ocsp-basic, which is all that
 *   is sent
 * - preferred signature algorithms (§4.4.7.2.1): a responder signs with an algorithm that it supports, and our one key
 *   has one. A client that lists another one gets ours, as one that lists none does.
 * - service locator (§4.4.6): asks to pass the request on to the responder in charge. For a CertID of ours that is
 *   this one; for another nothing is said but unknown or unauthorized. */
#include "ocsp/request.h"

#include "crypto/der.h"

/* id-pkix-ocsp (1.3.6.1.5.5.7.48.1) and one arc below it */
#define OCSP_OID(arc) RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x01" arc)
#define OID_NONCE     OCSP_OID("\x02")
#define OID_RESPONSE  OCSP_OID("\x04")
#define OID_LOCATOR   OCSP_OID("\x07")
#define OID_PREF_ALGS OCSP_OID("\x08")

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

bool ocsp_request_frame_set(ocsp_request_frame *f, rl_span der, const ocsp_request *request)
{
    enum { INTEGER_HEAD = 2 };
    const ocsp_cert_id *id = &request->ids[0];
    if (request->ids_n != 1 || id->serial.p + id->serial.n != der.p + der.n)
        return false;
    size_t before_n = der.n - id->serial.n - INTEGER_HEAD;
    if (before_n > sizeof(f->before))
        return false;
    f->n = der.n;
    f->before_n = before_n;
    memcpy(f->before, der.p, before_n);
    return true;
}

/* As long as the other, and the same up to the serial number: so all lengths around it are right when it reaches to the
 * end as well. */
bool ocsp_request_in_frame(const ocsp_request_frame *f, rl_span der, rl_span *serial)
{
    bool negative;
    if (der.n == 0 || der.n != f->n || memcmp(der.p, f->before, f->before_n) != 0)
        return false;
    rl_span rest = rl_span_of(der.p + f->before_n, der.n - f->before_n);
    return rl_der_serial(&rest, serial, &negative) == RL_OK && rest.n == 0;
}

/* Version ::= INTEGER { v1(0) } */
static rl_err read_version(rl_span in)
{
    uint64_t version;
    RL_TRY(rl_der_uint(&in, &version));
    RL_TRY(rl_span_end(&in));
    return version == 0 ? RL_OK : RL_EUNSUPPORTED;
}

/* GeneralName (RFC 5280 §4.2.1.6): a choice of nine context tags, of which otherName, x400Address, directoryName and
 * ediPartyName are constructed. Which one asks makes no difference. */
static rl_err check_general_name(rl_span in)
{
    static const bool constructed[] = {[0] = true, [3] = true, [4] = true, [5] = true, [8] = false};
    rl_span name;
    uint8_t tag;
    RL_TRY(rl_der_any(&in, &tag, &name, NULL));
    RL_TRY(rl_span_end(&in));
    uint8_t kind = tag & 0x1f;
    return kind <= 8 && tag == (constructed[kind] ? RL_DER_CONTEXT_CONSTRUCTED(kind) : RL_DER_CONTEXT(kind))
               ? RL_OK
               : RL_EBADMSG;
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
    RL_TRY(rl_der_octets(&value, &octets));
    RL_TRY(rl_span_end(&value));
    if (octets.n == 0 || octets.n > OCSP_NONCE_MAX)
        return RL_EBADMSG;
    *nonce = octets;
    return RL_OK;
}

/* AcceptableResponses ::= SEQUENCE OF OBJECT IDENTIFIER */
static rl_err check_acceptable_responses(rl_span value)
{
    rl_span list, oid;
    RL_TRY(rl_der_sequence(&value, &list));
    while (list.n)
        RL_TRY(rl_der_oid(&list, &oid));
    return rl_span_end(&value);
}

/* AlgorithmIdentifier and SMIMECapability alike: SEQUENCE { OID, parameters ANY OPTIONAL } */
static rl_err check_algorithm(rl_span *in)
{
    rl_span algorithm, oid, parameters;
    uint8_t tag;
    RL_TRY(rl_der_sequence(in, &algorithm));
    RL_TRY(rl_der_oid(&algorithm, &oid));
    if (algorithm.n)
        RL_TRY(rl_der_any(&algorithm, &tag, &parameters, NULL));
    return rl_span_end(&algorithm);
}

/* PreferredSignatureAlgorithms ::= SEQUENCE OF SEQUENCE { sigIdentifier AlgorithmIdentifier,
 *                                                         pubKeyAlgIdentifier SMIMECapability OPTIONAL } */
static rl_err check_preferred_algorithms(rl_span value)
{
    rl_span list, preferred;
    RL_TRY(rl_der_sequence(&value, &list));
    while (list.n) {
        RL_TRY(rl_der_sequence(&list, &preferred));
        RL_TRY(check_algorithm(&preferred));
        if (preferred.n)
            RL_TRY(check_algorithm(&preferred));
        RL_TRY(rl_span_end(&preferred));
    }
    return rl_span_end(&value);
}

/* ServiceLocator ::= SEQUENCE { issuer Name, locator AuthorityInfoAccessSyntax OPTIONAL }, both SEQUENCEs */
static rl_err check_service_locator(rl_span value)
{
    rl_span locator, field;
    RL_TRY(rl_der_sequence(&value, &locator));
    RL_TRY(rl_der_sequence(&locator, &field));
    if (locator.n)
        RL_TRY(rl_der_sequence(&locator, &field));
    RL_TRY(rl_span_end(&locator));
    return rl_span_end(&value);
}

/* RFC 5280 §4.2: no extension comes twice. */
static rl_err note_extension(rl_span oid, rl_span *seen, size_t *n)
{
    if (*n == OCSP_EXTENSIONS_MAX)
        return RL_ERANGE;
    for (size_t i = 0; i < *n; i++)
        if (rl_span_eq(seen[i], oid))
            return RL_EBADMSG;
    seen[(*n)++] = oid;
    return RL_OK;
}

/* Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension. `nonce` is NULL for a single request's, where a nonce has
 * no meaning (RFC 6960 §4.4.1 puts it into requestExtensions). */
static rl_err read_extensions(rl_span in, rl_span *nonce)
{
    rl_span list, oid, value, seen[OCSP_EXTENSIONS_MAX];
    size_t n = 0;
    bool critical;
    RL_TRY(rl_der_sequence(&in, &list));
    RL_TRY(rl_span_end(&in));
    while (list.n) {
        RL_TRY(read_extension(&list, &oid, &critical, &value));
        RL_TRY(note_extension(oid, seen, &n));
        if (nonce && rl_span_eq(oid, OID_NONCE))
            RL_TRY(read_nonce(value, nonce));
        else if (nonce && rl_span_eq(oid, OID_RESPONSE))
            RL_TRY(check_acceptable_responses(value));
        else if (nonce && rl_span_eq(oid, OID_PREF_ALGS))
            RL_TRY(check_preferred_algorithms(value));
        else if (!nonce && rl_span_eq(oid, OID_LOCATOR))
            RL_TRY(check_service_locator(value));
        else if (critical)
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
    rl_span signature, field, value;
    RL_TRY(rl_der_sequence(&in, &signature));
    RL_TRY(rl_span_end(&in));
    RL_TRY(check_algorithm(&signature));
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
