/* SCEP messages (RFC 8894 §3): a pkiMessage is SignedData over EnvelopedData; knows nothing of HTTP, store or CA.
 *
 * Reading verifies the signature, decrypts, and checks a CSR's proof of possession; building makes the CertRep.
 * Both are pure functions of their arguments, safe on any thread. */
#ifndef RL_SCEP_MESSAGE_H
#define RL_SCEP_MESSAGE_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "crypto/key.h"
#include "crypto/signer.h"
#include "crypto/x509.h"

enum {
    SCEP_TRANSACTION_MAX = 255,
    SCEP_NONCE_SIZE = 16,           /* RFC 8894 §3.2.1.5: what we send */
    SCEP_NONCE_MAX = 64,            /* what we echo */
    SCEP_CHALLENGE_MAX = 32 * 1024, /* Intune's are signed and encrypted texts of some thousand characters */
    SCEP_CSR_MAX = 64 * 1024,
    SCEP_CERTS_MAX = 8,      /* certificates in the outer SignedData */
    SCEP_RECIPIENTS_MAX = 4, /* of the envelope */
    SCEP_ATTRIBUTES_MAX = 32,
};

/* RFC 8894 §3.2.1.2 */
typedef enum {
    SCEP_CERT_REP = 3,
    SCEP_RENEWAL_REQ = 17,
    SCEP_PKCS_REQ = 19,
    SCEP_CERT_POLL = 20,
    SCEP_GET_CERT = 21,
    SCEP_GET_CRL = 22,
} scep_message_type;

/* RFC 8894 §3.2.1.4 */
typedef enum {
    SCEP_BAD_ALG = 0,
    SCEP_BAD_MESSAGE_CHECK = 1,
    SCEP_BAD_REQUEST = 2,
    SCEP_BAD_TIME = 3,
    SCEP_BAD_CERT_ID = 4,
} scep_fail_info;
const char *scep_fail_info_name(scep_fail_info f); /* "badAlg", … */

/* Who decrypts requests and signs answers, and what it accepts; borrowed. The key is RSA. */
typedef struct scep_identity {
    X509 *cert;
    rl_signer *signer;
    bool allow_legacy;                 /* SHA-1 and 3DES */
    const struct scep_identity *older; /* from before a rollover, to which clients may still encrypt; or NULL */
} scep_identity;

/* Why a message is refused: what the client is told. `text` is ASCII, static or in `room`. */
typedef struct scep_refusal {
    scep_fail_info info;
    bool guessed; /* for its challenge, or for what our key does not open */
    const char *text;
    char room[RL_ERROR_MESSAGE_MAX];
} scep_refusal;

/* A certificate that came in a message, read as far as a message needs it: elements of its DER, RFC 5280 §4.1. */
typedef struct scep_cert {
    rl_span der, tbs, serial, issuer, subject, spki;
    rl_span tbs_algorithm, algorithm; /* of the signature: inside what is signed, and beside it */
    rl_span signature;                /* contents of the BIT STRING */
} scep_cert;

typedef struct scep_request {
    char transaction[SCEP_TRANSACTION_MAX + 1]; /* printable ASCII */
    uint8_t nonce[SCEP_NONCE_MAX];
    size_t nonce_n;
    int type;          /* scep_message_type, or what else the client wrote */
    int64_t signed_at; /* signingTime, Unix seconds; 0 = not told */
    rl_buf sender_der;
    scep_cert sender; /* in sender_der: who signs, and for whom the answer is encrypted */
    rl_key *signer_key;
    X509 *signer; /* the sender, when it can be by its certificate that it asks: a RenewalReq, or no challenge */
    const scep_identity *self; /* whom the client encrypted to: signs the answer */
    rl_hash digest;            /* the client's; SHA-256 until it is known to be acceptable */
    const EVP_CIPHER *cipher;  /* the client's */
    const EVP_MD *oaep, *mgf1; /* the hashes of its RSA-OAEP; NULL: RSA key transport by PKCS #1 v1.5 */
    /* PKCSReq, RenewalReq */
    X509_REQ *csr;
    rl_key *key;     /* the request's, with which its signature was checked; can be signer_key */
    char *challenge; /* UTF-8, without NUL inside; NULL when there is none */
    /* CertPoll: both; GetCert, GetCRL: issuer and serial */
    X509_NAME *issuer, *subject;
    rl_serial serial;
} scep_request;

/* RL_OK: `out` is whole. RL_EDENIED: `why` goes into a FAILURE CertRep, for which `out` has transaction, nonce, digest
 * and self. RL_EBADMSG: not even those could be read; `why->text` says it. RL_ENOMEM.
 * Every way in which a changed message can fail to be opened gives one and the same refusal for its type, so that the
 * answer is no oracle for the padding of key transport or content. Clear `out` in every case. */
rl_err scep_request_read(const scep_identity *self, rl_span der, scep_request *out, scep_refusal *why);
void scep_request_clear(scep_request *r);
/* What does not open, and what names no certificate, is one refusal: with a difference, a CertPoll or GetCert around
 * another's ciphertext would be a question about its plain text. */
void scep_refuse_unknown(scep_refusal *why);

/* What CertPoll asks by, RFC 8894 §3.3.3: SEQUENCE { issuer, subject }. The caller frees both names. RL_EBADMSG on
 * anything but DER that fills `der`. */
rl_err scep_issuer_and_subject(rl_span der, X509_NAME **issuer, X509_NAME **subject);
/* What GetCert and GetCRL ask by, RFC 5652 §10.2.4: SEQUENCE { issuer, serialNumber }. Likewise; RL_ERANGE for a serial
 * number that is negative or longer than 20 octets. */
rl_err scep_issuer_and_serial(rl_span der, X509_NAME **issuer, rl_serial *serial);

/* CertRep with pkiStatus SUCCESS: `degenerate` (of scep_certs_only or scep_crl_only) encrypted for the signer of the
 * request, in the digest, cipher and key transport that it used. DER is appended to `out`. */
rl_err scep_reply_success(const scep_request *r, rl_span degenerate, rl_buf *out, rl_error *e);
/* CertRep with pkiStatus FAILURE, RFC 8894 §3.3.2.2: signed, with nothing inside. */
rl_err scep_reply_failure(const scep_request *r, const scep_refusal *why, rl_buf *out, rl_error *e);

/* Degenerate SignedData, RFC 8894 §3.4: certificates in the order given, or one list, all DER. Appended to `out`. */
rl_err scep_certs_only(const rl_span *certs, size_t n, rl_buf *out, rl_error *e);
rl_err scep_crl_only(rl_span crl, rl_buf *out, rl_error *e);
/* The answer to GetNextCACert, RFC 8894 §4.7.1: `degenerate` signed by the CA that clients hold. Likewise. */
rl_err scep_sign_next(X509 *cert, EVP_PKEY *key, rl_span degenerate, rl_buf *out, rl_error *e);

/* What both directions name: 2.16.840.1.113733.1.9.x and id-scep-failInfoText. Static; thread-safe. */
typedef enum {
    SCEP_ATTR_MESSAGE_TYPE,
    SCEP_ATTR_PKI_STATUS,
    SCEP_ATTR_FAIL_INFO,
    SCEP_ATTR_SENDER_NONCE,
    SCEP_ATTR_RECIPIENT_NONCE,
    SCEP_ATTR_TRANSACTION_ID,
    SCEP_ATTR_FAIL_INFO_TEXT,
} scep_attribute;
rl_span scep_attribute_oid(scep_attribute a); /* OID contents */

#endif
