/* Between the files that read a pkiMessage. Private. */
#ifndef RL_SCEP_MESSAGE_PRIV_H
#define RL_SCEP_MESSAGE_PRIV_H

#include <openssl/cms.h>

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
/* A CMS object (DER or BER) of this type that fills `der`, in this library context; NULL. */
CMS_ContentInfo *scep_parse(rl_span der, int nid, OSSL_LIB_CTX *library);
bool scep_is_self_issued(const X509 *cert);

/* ---- envelope.c ---- */
/* Decrypts the pkcsPKIEnvelope into `plain`; sets cipher, key transport and self. RL_EDENIED. */
rl_err scep_open_envelope(rl_span der, const scep_identity *self, scep_request *out, BIO *plain, scep_refusal *why);

/* ---- content.c ---- */
/* The messageData of the request's type. RL_EDENIED, RL_ENOMEM. */
rl_err scep_read_content(rl_span plain, scep_request *out, scep_refusal *why);

#endif
