/* What the load generator makes of the octets that come back: HTTP responses, and whether an OCSP answer is the one
 * that was asked for. No sockets, no memory of its own; any thread. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    ANSWER_MORE, /* not whole yet */
    ANSWER_WHOLE,
    ANSWER_BAD, /* not HTTP/1.x, or without a Content-Length */
} answer_state;

typedef struct answer {
    unsigned status;
    const uint8_t *body;
    size_t body_n;
    size_t total; /* octets of the whole response */
    bool closes;  /* the server ends the connection behind it */
} answer;

/* Reads the first response of p[0..n). */
answer_state answer_read(const uint8_t *p, size_t n, answer *a);

/* True when `body` is a whole, successful OCSPResponse (RFC 6960 §4.2.1) whose first SingleResponse begins with the
 * octets `expect`: its CertID and certStatus in DER. */
bool answer_is_ocsp(const uint8_t *body, size_t body_n, const uint8_t *expect, size_t expect_n);

#endif
