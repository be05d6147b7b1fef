/* Between the files that read a pkiMessage. Private. */
#ifndef RL_SCEP_MESSAGE_PRIV_H
#define RL_SCEP_MESSAGE_PRIV_H

#include "scep/message.h"

enum {
    SIGNER_BITS_MIN = 1024, /* below, an RSA key cannot carry the answer; what is issued is the CA's business */
    SIGNER_BITS_MAX = 8192, /* the cost of one verification */
};

/* ---- request.c ---- */
/* RL_EDENIED, with `text` (static, or in why->room) for the client; clears OpenSSL's errors. */
rl_err scep_refuse(scep_refusal *why, scep_fail_info info, const char *text);
/* The one refusal for everything between the envelope's first octet and the end of what is in it. */
rl_err scep_not_opened(const scep_request *r, scep_refusal *why);

/* ---- signed.c ---- */
/* IssuerAndSerialNumber as two elements, or the contents of a subjectKeyIdentifier, which is [0] (RFC 5652 §5.3,
 * §6.2.1). */
typedef struct scep_who {
    rl_span issuer, serial, key_id;
} scep_who;
rl_err scep_who_read(rl_span *in, scep_who *out);
bool scep_who_is(const scep_who *who, const X509 *cert);
/* A CMS object in BER that fills `ber`, as OpenSSL encodes it; OPENSSL_free *der. 0 when it is none. */
size_t scep_ber_to_der(rl_span ber, unsigned char **der);

/* SignedData, RFC 5652 §5.1; of the first signer, when there are more. The spans are in what was read, or in `again`.
 */
typedef struct scep_signed {
    unsigned char *again; /* what came in BER, in DER; or NULL */
    rl_span type;         /* OID contents of eContentType */
    rl_span content;      /* eContent, when has_content */
    bool has_content;
    rl_span certificates; /* one element after the other */
    size_t signers;       /* how many; all below is without meaning when there is none */
    scep_who signer;
    rl_span digest;               /* OID contents */
    rl_span attributes;           /* of the signed attributes, one element after the other */
    rl_span algorithm, signature; /* element; contents */
} scep_signed;
/* DER or BER that fills `der`; RL_EBADMSG. Clear in every case. */
rl_err scep_signed_read(rl_span der, scep_signed *out);
void scep_signed_clear(scep_signed *s);
/* How often a signed attribute is there, and its values: those of the last. */
size_t scep_signed_count(const scep_signed *s, rl_span oid, rl_span *values);
/* The value of a signed attribute that is there exactly once, with one value of type `tag`. */
bool scep_signed_value(const scep_signed *s, rl_span oid, uint8_t tag, rl_span *value);
/* The signer's certificate. RL_ENOTFOUND, RL_ERANGE: more than SCEP_CERTS_MAX; RL_EBADMSG. */
rl_err scep_signed_cert(const scep_signed *s, scep_cert *out);
rl_err scep_cert_read(rl_span der, scep_cert *out);
bool scep_is_self_issued(const scep_cert *cert);
/* Whether this key has signed it. */
bool scep_cert_holds(const scep_cert *cert, rl_key *key);

/* ---- envelope.c ---- */
/* Decrypts the pkcsPKIEnvelope into `plain`, with its padding, which the caller wipes; sets cipher, key transport and
 * self. RL_EDENIED, RL_ENOMEM. */
rl_err scep_open_envelope(rl_span der, const scep_identity *self, scep_request *out, rl_buf *plain, scep_refusal *why);

/* ---- content.c ---- */
/* The messageData of the request's type, with its padding. RL_EDENIED, RL_ENOMEM. */
rl_err scep_read_content(rl_span plain, scep_request *out, scep_refusal *why);

#endif
