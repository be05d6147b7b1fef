/* Builds a revocation list with the writer of core/crypto/der.h: an entry costs some 40 octets, and nothing is made of
 * objects. */
#include "ocsp/crl_build.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/clock.h"
#include "crypto/der.h"

enum { ENTRY_MAX = 96, AROUND_MAX = 512 + OCSP_CRL_URL_MAX };

#define OID_REASON_CODE   RL_SPAN_LIT("\x55\x1d\x15")
#define OID_CRL_NUMBER    RL_SPAN_LIT("\x55\x1d\x14")
#define OID_DELTA         RL_SPAN_LIT("\x55\x1d\x1b")
#define OID_AUTHORITY_KEY RL_SPAN_LIT("\x55\x1d\x23")
#define OID_FRESHEST      RL_SPAN_LIT("\x55\x1d\x2e")

/* RFC 5280 §5.1.2.4: UTCTime through 2049, GeneralizedTime after that. */
static void put_time(rl_der_writer *w, int64_t unix_s)
{
    static const int64_t y2050 = 2524608000;
    char text[RL_TIME_TEXT], utc[16];
    if (unix_s >= y2050) {
        rl_der_put_generalized_time(w, unix_s);
        return;
    }
    rl_time_rfc3339(unix_s, text); /* 2026-01-05T09:58:11Z */
    snprintf(utc, sizeof(utc), "%.2s%.2s%.2s%.2s%.2s%.2sZ", text + 2, text + 5, text + 8, text + 11, text + 14,
             text + 17);
    rl_der_put(w, RL_DER_UTC_TIME, rl_span_str(utc));
}

static void put_serial(rl_der_writer *w, const rl_cert_id *id)
{
    uint8_t octets[1 + RL_STORE_SERIAL_MAX] = {0};
    size_t sign = id->serial[0] & 0x80 ? 1 : 0;
    memcpy(octets + sign, id->serial, id->serial_n);
    rl_der_put(w, RL_DER_INTEGER, (rl_span){octets, sign + id->serial_n});
}

rl_err ocsp_crl_entry(rl_buf *entries, const rl_cert_id *id, int64_t revoked_at, rl_reason reason)
{
    uint8_t memory[ENTRY_MAX];
    rl_der_writer w;
    rl_span entry;
    rl_der_init(&w, memory, sizeof(memory));
    rl_der_open(&w, RL_DER_SEQUENCE);
    put_serial(&w, id);
    put_time(&w, revoked_at);
    if (reason != RL_REASON_UNSPECIFIED) { /* §5.3.1: left out when unspecified */
        rl_der_open(&w, RL_DER_SEQUENCE);
        rl_der_open(&w, RL_DER_SEQUENCE);
        rl_der_put_oid(&w, OID_REASON_CODE);
        rl_der_open(&w, RL_DER_OCTET_STRING);
        rl_der_put_enum(&w, (uint8_t)reason);
        rl_der_close(&w);
        rl_der_close(&w);
        rl_der_close(&w);
    }
    rl_der_close(&w);
    RL_TRY(rl_der_finish(&w, &entry));
    return rl_buf_append(entries, entry.p, entry.n);
}

/* §5.2.1: the key identifier that the issuer's certificate has, or would have (RFC 5280 §4.2.1.2, method 1). */
static void put_authority_key(rl_der_writer *w, const rl_issuer *issuer)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(issuer->cert);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, OID_AUTHORITY_KEY);
    rl_der_open(w, RL_DER_OCTET_STRING);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put(w, RL_DER_CONTEXT(0),
               id ? rl_span_of(ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id))
                  : rl_span_of(issuer->key_hash[RL_SHA1], rl_hash_size(RL_SHA1)));
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
}

/* §5.2.3, and §5.2.4, which is critical. */
static void put_number(rl_der_writer *w, rl_span oid, bool critical, uint64_t number)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid);
    if (critical)
        rl_der_put_bool(w, true);
    rl_der_open(w, RL_DER_OCTET_STRING);
    rl_der_put_uint(w, number);
    rl_der_close(w);
    rl_der_close(w);
}

/* §5.2.6: CRLDistributionPoints of one DistributionPoint { distributionPoint [0] { fullName [0] { URI [6] } } } */
static void put_freshest(rl_der_writer *w, const char *url)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, OID_FRESHEST);
    rl_der_open(w, RL_DER_OCTET_STRING);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put(w, RL_DER_CONTEXT(6), rl_span_str(url));
    for (unsigned depth = 0; depth < 6; depth++)
        rl_der_close(w);
}

static void put_tbs(rl_der_writer *w, const rl_issuer *issuer, rl_span name, const ocsp_crl_fields *f)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_uint(w, 1); /* v2 */
    rl_der_put_raw(w, rl_signer_algorithm(issuer->signer));
    rl_der_put_raw(w, name);
    put_time(w, f->this_update);
    put_time(w, f->next_update);
    if (f->entries.n > 0) /* §5.1.2.6: absent when there are none */
        rl_der_put(w, RL_DER_SEQUENCE, f->entries);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(w, RL_DER_SEQUENCE);
    put_authority_key(w, issuer);
    put_number(w, OID_CRL_NUMBER, false, f->number);
    if (f->base)
        put_number(w, OID_DELTA, true, f->base);
    if (f->freshest)
        put_freshest(w, f->freshest);
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
}

static rl_err sign_list(const rl_issuer *issuer, rl_span tbs, rl_buf *out, rl_error *e)
{
    uint8_t signature[RL_SIGNATURE_MAX];
    size_t signature_n = sizeof(signature), cap = tbs.n + AROUND_MAX + RL_SIGNATURE_MAX;
    rl_der_writer w;
    rl_span list;
    RL_TRY(rl_signer_sign(issuer->signer, tbs, signature, &signature_n, e));
    uint8_t *memory = malloc(cap);
    if (!memory)
        return rl_fail(e, RL_ENOMEM, "crl", "out of memory");
    rl_der_init(&w, memory, cap);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_raw(&w, tbs);
    rl_der_put_raw(&w, rl_signer_algorithm(issuer->signer));
    rl_der_put_bits(&w, (rl_span){signature, signature_n});
    rl_der_close(&w);
    rl_err err = rl_der_finish(&w, &list);
    if (err == RL_OK)
        err = rl_buf_append(out, list.p, list.n);
    free(memory);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "crl", "the list cannot be made");
}

rl_err ocsp_crl_build(const rl_issuer *issuer, const ocsp_crl_fields *f, rl_buf *out, rl_error *e)
{
    uint8_t *name = NULL;
    rl_der_writer w;
    rl_span tbs;
    int name_n = i2d_X509_NAME(X509_get_subject_name(issuer->cert), &name);
    if (name_n <= 0)
        return rl_fail_openssl(e, "crl", "the issuer's name cannot be written");
    size_t cap = (size_t)name_n + f->entries.n + AROUND_MAX;
    uint8_t *memory = malloc(cap);
    rl_err err = memory ? RL_OK : rl_fail(e, RL_ENOMEM, "crl", "out of memory");
    if (err == RL_OK) {
        rl_der_init(&w, memory, cap);
        put_tbs(&w, issuer, (rl_span){name, (size_t)name_n}, f);
        err = rl_der_finish(&w, &tbs);
        err = err == RL_OK ? sign_list(issuer, tbs, out, e) : rl_fail(e, err, "crl", "the list cannot be made");
    }
    free(memory);
    OPENSSL_free(name);
    return err;
}
