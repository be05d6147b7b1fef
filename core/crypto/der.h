/* DER (X.690) reader and writer over spans: strict, bounded, no allocation, no recursion of its own.
 *
 * A reader is a span that only shrinks: each read either succeeds whole and leaves `in` behind the
 * element, or fails with RL_EBADMSG and leaves `in` as it was. Definite, minimal lengths only. */
#ifndef RL_CRYPTO_DER_H
#define RL_CRYPTO_DER_H

#include "base/span.h"

enum {
    RL_DER_BOOLEAN = 0x01,
    RL_DER_INTEGER = 0x02,
    RL_DER_BIT_STRING = 0x03,
    RL_DER_OCTET_STRING = 0x04,
    RL_DER_NULL = 0x05,
    RL_DER_OID = 0x06,
    RL_DER_ENUMERATED = 0x0a,
    RL_DER_UTF8 = 0x0c,
    RL_DER_SEQUENCE = 0x30,
    RL_DER_SET = 0x31,
    RL_DER_PRINTABLE = 0x13,
    RL_DER_IA5 = 0x16,
    RL_DER_UTC_TIME = 0x17,
    RL_DER_GENERALIZED_TIME = 0x18,
};
#define RL_DER_CONTEXT(n)             (0x80 | (n)) /* primitive, implicit */
#define RL_DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n)) /* constructed or explicit */

/* Next element of any kind: tag octet (low-tag form only), contents, and the whole element if `whole` != NULL. */
rl_err rl_der_any(rl_span *in, uint8_t *tag, rl_span *contents, rl_span *whole);
/* True when the next element has `tag` (looks only at the first octet). */
static inline bool rl_der_peek(const rl_span *in, uint8_t tag)
{
    return in->n > 0 && in->p[0] == tag;
}
/* Next element, which must have `tag`. */
static inline rl_err rl_der_expect(rl_span *in, uint8_t tag, rl_span *contents)
{
    uint8_t found;
    return rl_der_peek(in, tag) ? rl_der_any(in, &found, contents, NULL) : RL_EBADMSG;
}
static inline rl_err rl_der_sequence(rl_span *in, rl_span *contents)
{
    return rl_der_expect(in, RL_DER_SEQUENCE, contents);
}
static inline rl_err rl_der_octets(rl_span *in, rl_span *contents)
{
    return rl_der_expect(in, RL_DER_OCTET_STRING, contents);
}
rl_err rl_der_oid(rl_span *in, rl_span *oid_contents);
rl_err rl_der_bool(rl_span *in, bool *value);     /* 0x00 or 0xff only */
rl_err rl_der_uint(rl_span *in, uint64_t *value); /* minimal, non-negative; RL_ERANGE above 2^63-1 */
/* INTEGER as its content octets, minimal form checked (a leading 00 kept when the high bit needs it).
 * RL_ERANGE when longer than 20 octets (RFC 5280 §4.1.2.2) not counting that 00; negative is allowed
 * to be read and flagged, since a responder must answer for whatever serial it is asked. */
rl_err rl_der_serial(rl_span *in, rl_span *contents, bool *negative);
rl_err rl_der_null(rl_span *in);
/* UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 writes them: YYMMDDHHMMSSZ (1950 to 2049), YYYYMMDDHHMMSSZ. And such
 * a text by itself. */
rl_err rl_der_time(rl_span *in, int64_t *unix_s);
rl_err rl_der_time_text(rl_span text, int64_t *unix_s);

/* ---- writer: appends to a caller's fixed memory, from front to back; nested elements are opened and
 * closed, lengths patched. Errors stick: check rl_der_finish only. ---- */
typedef struct rl_der_writer {
    uint8_t *p;
    size_t n, cap;
    size_t open[16]; /* offsets of open elements' length octet */
    unsigned depth;
    rl_err err;
} rl_der_writer;

void rl_der_init(rl_der_writer *w, void *memory, size_t cap);
void rl_der_open(rl_der_writer *w, uint8_t tag);
void rl_der_close(rl_der_writer *w);
void rl_der_put(rl_der_writer *w, uint8_t tag, rl_span contents);
void rl_der_put_raw(rl_der_writer *w, rl_span element); /* ready DER */
void rl_der_put_oid(rl_der_writer *w, rl_span oid_contents);
void rl_der_put_bool(rl_der_writer *w, bool value);
void rl_der_put_uint(rl_der_writer *w, uint64_t value);
void rl_der_put_enum(rl_der_writer *w, uint8_t value);
void rl_der_put_null(rl_der_writer *w);
void rl_der_put_bits(rl_der_writer *w, rl_span octets);             /* no unused bits */
void rl_der_put_generalized_time(rl_der_writer *w, int64_t unix_s); /* YYYYMMDDHHMMSSZ */
/* RFC 5280 §4.1.2.5: UTCTime (YYMMDDHHMMSSZ) from 1950 to 2049, else GeneralizedTime. */
void rl_der_put_time(rl_der_writer *w, int64_t unix_s);
/* Tag and length of an element with `n` octets of contents (below 2^32); returns how many octets they take. */
enum { RL_DER_HEAD_MAX = 6 };
size_t rl_der_head(uint8_t tag, size_t n, uint8_t out[RL_DER_HEAD_MAX]);
/* RL_OK and the result, RL_ERANGE when memory was too small, RL_EINVAL on unbalanced open/close. */
rl_err rl_der_finish(rl_der_writer *w, rl_span *out);

#endif
