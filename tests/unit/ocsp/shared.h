/* One responder for the tests of a file, and certificates of their own for each. */
#ifndef TESTS_OCSP_SHARED_H
#define TESTS_OCSP_SHARED_H

#include "harness.h"

enum { YEAR = 365 * 86400 };
static harness h; /* opening a database is what takes time. Each test has certificates of its own. */

static inline int open_harness(void **state)
{
    harness_open(&h, *state);
    return 0;
}

static inline int close_harness(void **state)
{
    (void)state;
    harness_close(&h);
    return 0;
}

static inline uint32_t unused_serial(void)
{
    static uint32_t last = 0x40000000;
    return ++last;
}

static inline uint32_t new_cert(int64_t not_after)
{
    uint32_t serial = unused_serial();
    harness_add(&h, serial, not_after);
    return serial;
}

static inline const X509 *issuer(void)
{
    return rl_ca_issuer(h.ca)->cert;
}

#endif
