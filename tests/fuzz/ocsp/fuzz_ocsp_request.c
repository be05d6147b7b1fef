/* The OCSP request parser on any octets: stays inside them, and what it takes can be answered. */
#include <stdlib.h>

#include "ocsp/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t n);

static void within(rl_span inner, const uint8_t *octets, size_t n)
{
    if (inner.n > n || (inner.n && (inner.p < octets || inner.p + inner.n > octets + n)))
        abort();
}

/* What has the last request's frame is a request, with the serial number that the parser finds. The frame is kept
 * between inputs, as it is between requests: an input that follows another in the corpus differs in few octets. */
static void check_frame(rl_span der, rl_err err, const ocsp_request *r)
{
    static ocsp_request_frame last;
    rl_span serial;
    if (ocsp_request_in_frame(&last, der, &serial) &&
        (err != RL_OK || r->ids_n != 1 || r->nonce.p || !rl_span_eq(serial, r->ids[0].serial)))
        abort();
    if (err == RL_OK && ocsp_request_frame_set(&last, der, r) && !ocsp_request_in_frame(&last, der, &serial))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t n)
{
    ocsp_request r;
    rl_err err = ocsp_request_parse(rl_span_of(octets, n), 16, &r);
    check_frame(rl_span_of(octets, n), err, &r);
    if (err != RL_OK)
        return 0;
    if (r.ids_n < 1 || r.ids_n > 16 || r.nonce.n > OCSP_NONCE_MAX || (r.nonce.p && !r.nonce.n))
        abort();
    within(r.nonce, octets, n);
    for (size_t i = 0; i < r.ids_n; i++) {
        const ocsp_cert_id *id = &r.ids[i];
        rl_span whole = id->whole;
        ocsp_cert_id again;
        within(whole, octets, n);
        within(id->serial, whole.p, whole.n);
        /* The CertID alone is what the answer repeats: it reads the same. */
        if (ocsp_read_cert_id(&whole, &again) != RL_OK || whole.n != 0 || !rl_span_eq(again.serial, id->serial))
            abort();
        if (id->known_hash && id->issuer_key_hash.n != rl_hash_size(id->hash))
            abort();
    }
    return 0;
}
