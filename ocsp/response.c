/* OCSP response builder: the writer goes through RFC 6960 §4.2.1 from the outside in; ResponseData is signed where
 * it lies, before the elements around it are closed. */
#include "ocsp/response.h"

#include "crypto/der.h"

/* id-pkix-ocsp (1.3.6.1.5.5.7.48.1) and one arc below it */
#define OCSP_OID(arc)       RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x01" arc)
#define OID_BASIC           OCSP_OID("\x01")
#define OID_NONCE           OCSP_OID("\x02")
#define OID_ARCHIVE_CUTOFF  OCSP_OID("\x06")
#define OID_EXTENDED_REVOKE OCSP_OID("\x09")

enum {
    SINGLE_MAX = 144, /* a SingleResponse without its CertID: headers, status, three times, archive cutoff */
    AROUND_MAX = 256, /* everything else of constant size */
};

/* OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED } */
rl_span ocsp_error_response(ocsp_response_status status)
{
    switch (status) {
    case OCSP_MALFORMED_REQUEST:
        return RL_SPAN_LIT("\x30\x03\x0a\x01\x01");
    case OCSP_TRY_LATER:
        return RL_SPAN_LIT("\x30\x03\x0a\x01\x03");
    case OCSP_UNAUTHORIZED:
        return RL_SPAN_LIT("\x30\x03\x0a\x01\x06");
    case OCSP_SUCCESSFUL: /* has a body: never asked for here */
    case OCSP_INTERNAL_ERROR:
        break;
    }
    return RL_SPAN_LIT("\x30\x03\x0a\x01\x02");
}

size_t ocsp_response_bound(const ocsp_response *r, const ocsp_identity *who)
{
    size_t n = AROUND_MAX + who->cert.n + who->name.n + RL_SIGNATURE_MAX + r->nonce.n;
    for (size_t i = 0; i < r->singles_n; i++)
        n += r->singles[i].cert_id.n + SINGLE_MAX;
    return n;
}

/* CertStatus ::= CHOICE { good [0] IMPLICIT NULL, revoked [1] IMPLICIT RevokedInfo, unknown [2] IMPLICIT NULL } */
static void put_cert_status(rl_der_writer *w, const ocsp_single *s)
{
    if (s->status != OCSP_REVOKED) {
        rl_der_put(w, s->status == OCSP_GOOD ? RL_DER_CONTEXT(0) : RL_DER_CONTEXT(2), (rl_span){0});
        return;
    }
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(1));
    rl_der_put_generalized_time(w, s->revoked_at);
    if (s->reason != RL_REASON_UNSPECIFIED) {
        rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
        rl_der_put_enum(w, (uint8_t)s->reason);
        rl_der_close(w);
    }
    rl_der_close(w);
}

/* Extension without `critical`; between the two calls the value's DER is written. */
static void open_extension(rl_der_writer *w, rl_span oid)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid);
    rl_der_open(w, RL_DER_OCTET_STRING);
}

static void close_extension(rl_der_writer *w)
{
    rl_der_close(w);
    rl_der_close(w);
}

/* ArchiveCutoff ::= GeneralizedTime, in singleExtensions [1] EXPLICIT (RFC 6960 §4.4.4) */
static void put_archive_cutoff(rl_der_writer *w, int64_t cutoff)
{
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(1));
    rl_der_open(w, RL_DER_SEQUENCE);
    open_extension(w, OID_ARCHIVE_CUTOFF);
    rl_der_put_generalized_time(w, cutoff);
    close_extension(w);
    rl_der_close(w);
    rl_der_close(w);
}

/* SingleResponse ::= SEQUENCE { certID, certStatus, thisUpdate, nextUpdate [0] EXPLICIT,
 *                               singleExtensions [1] EXPLICIT OPTIONAL } */
static void put_single(rl_der_writer *w, const ocsp_single *s, int64_t this_update)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_raw(w, s->cert_id);
    put_cert_status(w, s);
    rl_der_put_generalized_time(w, this_update);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put_generalized_time(w, s->next_update);
    rl_der_close(w);
    if (s->archived)
        put_archive_cutoff(w, s->archive_cutoff);
    rl_der_close(w);
}

static void put_extensions(rl_der_writer *w, const ocsp_response *r)
{
    if (!r->nonce.p && !r->extended_revoke)
        return;
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(1));
    rl_der_open(w, RL_DER_SEQUENCE);
    if (r->nonce.p) {
        open_extension(w, OID_NONCE);
        rl_der_put(w, RL_DER_OCTET_STRING, r->nonce);
        close_extension(w);
    }
    if (r->extended_revoke) {
        open_extension(w, OID_EXTENDED_REVOKE);
        rl_der_put_null(w);
        close_extension(w);
    }
    rl_der_close(w);
    rl_der_close(w);
}

/* ResponderID ::= CHOICE { byName [1] Name, byKey [2] KeyHash }, both EXPLICIT */
static void put_responder_id(rl_der_writer *w, const ocsp_identity *who)
{
    rl_der_open(w, who->name.p ? RL_DER_CONTEXT_CONSTRUCTED(1) : RL_DER_CONTEXT_CONSTRUCTED(2));
    if (who->name.p)
        rl_der_put_raw(w, who->name);
    else
        rl_der_put(w, RL_DER_OCTET_STRING, rl_span_of(who->key_hash, sizeof(who->key_hash)));
    rl_der_close(w);
}

/* ResponseData ::= SEQUENCE { version DEFAULT v1, responderID, producedAt, responses SEQUENCE OF SingleResponse,
 *                             responseExtensions [1] EXPLICIT OPTIONAL } */
static void put_response_data(rl_der_writer *w, const ocsp_response *r, const ocsp_identity *who)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    put_responder_id(w, who);
    rl_der_put_generalized_time(w, r->produced_at);
    rl_der_open(w, RL_DER_SEQUENCE);
    for (size_t i = 0; i < r->singles_n; i++)
        put_single(w, &r->singles[i], r->produced_at);
    rl_der_close(w);
    put_extensions(w, r);
    rl_der_close(w);
}

/* BasicOCSPResponse ::= SEQUENCE { tbsResponseData, signatureAlgorithm, signature, certs [0] EXPLICIT OPTIONAL } */
static rl_err put_basic(rl_der_writer *w, const ocsp_response *r, const ocsp_identity *who, rl_error *e)
{
    uint8_t signature[RL_SIGNATURE_MAX];
    size_t signature_n = sizeof(signature);
    rl_der_open(w, RL_DER_SEQUENCE);
    size_t tbs_at = w->n;
    put_response_data(w, r, who);
    if (w->err != RL_OK)
        return rl_fail(e, w->err, "ocsp", "the response does not fit");
    RL_TRY(rl_signer_sign(who->signer, rl_span_of(w->p + tbs_at, w->n - tbs_at), signature, &signature_n, e));
    rl_der_put_raw(w, rl_signer_algorithm(who->signer));
    rl_der_put_bits(w, rl_span_of(signature, signature_n));
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put(w, RL_DER_SEQUENCE, who->cert);
    rl_der_close(w);
    rl_der_close(w);
    return RL_OK;
}

/* OCSPResponse ::= SEQUENCE { responseStatus, responseBytes [0] EXPLICIT SEQUENCE { responseType, response OCTET STRING
 * } } */
rl_err ocsp_response_build(const ocsp_response *r, const ocsp_identity *who, uint8_t *memory, size_t cap, rl_span *out,
                           rl_error *e)
{
    rl_der_writer w;
    rl_der_init(&w, memory, cap);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_enum(&w, OCSP_SUCCESSFUL);
    rl_der_open(&w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_oid(&w, OID_BASIC);
    rl_der_open(&w, RL_DER_OCTET_STRING);
    RL_TRY(put_basic(&w, r, who, e));
    for (unsigned depth = w.depth; depth > 0; depth--)
        rl_der_close(&w);
    rl_err err = rl_der_finish(&w, out);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "ocsp", "the response does not fit");
}

/* ---- reading what was built ---- */
/* To the contents of BasicOCSPResponse. */
static rl_err open_basic(rl_span response, rl_span *basic)
{
    rl_span in = response, whole, field, bytes;
    uint8_t tag;
    RL_TRY(rl_der_sequence(&in, &whole));
    RL_TRY(rl_der_any(&whole, &tag, &field, NULL)); /* responseStatus */
    RL_TRY(rl_der_expect(&whole, RL_DER_CONTEXT_CONSTRUCTED(0), &field));
    RL_TRY(rl_der_sequence(&field, &bytes));
    RL_TRY(rl_der_oid(&bytes, &field));
    RL_TRY(rl_der_octets(&bytes, &field));
    return rl_der_sequence(&field, basic);
}

rl_span ocsp_response_certs(rl_span response)
{
    rl_span basic, field;
    uint8_t tag;
    bool ok = open_basic(response, &basic) == RL_OK;
    for (unsigned i = 0; ok && i < 3; i++) /* tbsResponseData, signatureAlgorithm, signature */
        ok = rl_der_any(&basic, &tag, &field, NULL) == RL_OK;
    return ok && basic.n > 0 && basic.p + basic.n == response.p + response.n ? basic : (rl_span){0};
}

rl_err ocsp_response_cert_id(rl_span response, ocsp_cert_id *id)
{
    rl_span basic, data, field, single;
    uint8_t tag;
    RL_TRY(open_basic(response, &basic));
    RL_TRY(rl_der_sequence(&basic, &data));
    RL_TRY(rl_der_any(&data, &tag, &field, NULL)); /* responderID: the version is the default */
    RL_TRY(rl_der_any(&data, &tag, &field, NULL)); /* producedAt */
    RL_TRY(rl_der_sequence(&data, &field));
    RL_TRY(rl_der_sequence(&field, &single));
    return ocsp_read_cert_id(&single, id);
}
