/* What CertPoll, GetCert and GetCRL ask by, without the cryptography around it. What is read is written by OpenSSL
 * again and must then be the same. */
#include <openssl/x509.h>

#include "../../unit/scep/client.h"
#include "scep/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void same_again(const X509_NAME *name)
{
    unsigned char *der = NULL;
    int n = i2d_X509_NAME(name, &der);
    const unsigned char *p = der;
    X509_NAME *again = n > 0 ? d2i_X509_NAME(NULL, &p, n) : NULL;
    CLIENT_MUST(again && X509_NAME_cmp(again, name) == 0);
    X509_NAME_free(again);
    OPENSSL_free(der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    X509_NAME *issuer, *subject;
    rl_serial serial;
    rl_err err = scep_issuer_and_subject(rl_span_of(data, n), &issuer, &subject);
    CLIENT_MUST(err == RL_OK ? issuer && subject : err == RL_EBADMSG && !issuer && !subject);
    if (err == RL_OK) {
        same_again(issuer);
        same_again(subject);
    }
    X509_NAME_free(issuer);
    X509_NAME_free(subject);
    err = scep_issuer_and_serial(rl_span_of(data, n), &issuer, &serial);
    CLIENT_MUST(err == RL_OK ? issuer && serial.n <= RL_SERIAL_MAX
                             : (err == RL_EBADMSG || err == RL_ERANGE) && !issuer);
    if (err == RL_OK)
        same_again(issuer);
    X509_NAME_free(issuer);
    return 0;
}
