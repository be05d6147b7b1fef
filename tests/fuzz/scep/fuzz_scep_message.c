/* The whole reading of a pkiMessage, with a fixed key. A signature or an encryption would stop every mutation at the
 * door, so an input is taken at the layer it looks like: SignedData is read as it is, an EnvelopedData is signed first,
 * anything else is encrypted and signed first, which makes it the CSR, or what a CertPoll, GetCert or GetCRL asks by.
 * The length says which type of message it is, so that every type meets every input sooner or later. */
#include <openssl/pem.h>

#include "../../unit/scep/client.h"
#include "fuzz_key.h"
#include "scep/message.h"

static client_party server;
static rl_signer *server_signer;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    BIO *key = BIO_new_mem_buf(fuzz_key_pem, -1), *cert = BIO_new_mem_buf(fuzz_cert_pem, -1);
    server.key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
    server.cert = PEM_read_bio_X509(cert, NULL, NULL, NULL);
    CLIENT_MUST(server.key && server.cert);
    CLIENT_MUST(rl_signer_of(EVP_PKEY_dup(server.key), &server_signer, NULL) == RL_OK);
    BIO_free(key);
    BIO_free(cert);
    return 0;
}

static void read_message(client_bytes message)
{
    const scep_identity self = {.cert = server.cert, .signer = server_signer, .allow_legacy = true};
    scep_request r;
    scep_refusal why;
    rl_buf out = {0}, certs = {0};
    rl_err err = scep_request_read(&self, rl_span_of(message.p, message.n), &r, &why);
    if (err == RL_OK) {
        bool asks = r.type >= SCEP_CERT_POLL;
        CLIENT_MUST(asks == (r.issuer != NULL) && asks == (r.csr == NULL));
        CLIENT_MUST((r.type == SCEP_CERT_POLL) == (r.subject != NULL));
        client_bytes der = client_der(server.cert);
        CLIENT_MUST(scep_certs_only(&(rl_span){der.p, der.n}, 1, &certs, NULL) == RL_OK);
        OPENSSL_free(der.p);
        CLIENT_MUST(scep_reply_success(&r, rl_buf_span(&certs), &out, NULL) == RL_OK);
    }
    if (err == RL_EDENIED)
        CLIENT_MUST(scep_reply_failure(&r, &why, &out, NULL) == RL_OK && out.n > 0);
    else if (err != RL_OK)
        CLIENT_MUST(err == RL_EBADMSG && why.text[0]);
    rl_buf_free(&out);
    rl_buf_free(&certs);
    scep_request_clear(&r);
}

static bool has_type(const uint8_t *data, size_t n, const char *oid)
{
    return memmem(data, n < 24 ? n : 24, oid, 11) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const types[] = {"19", "17", "20", "21", "22"};
    const client_attributes attributes = {
        .transaction = "fuzz", .type = types[n % 5], .nonce = (const unsigned char *)"0123456789abcdef", .nonce_n = 16};
    const char *signed_data = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
               *enveloped = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
    client_bytes input = {(unsigned char *)(uintptr_t)data, n};
    if (has_type(data, n, signed_data)) {
        read_message(input);
        return 0;
    }
    bool is_envelope = has_type(data, n, enveloped);
    client_bytes envelope = is_envelope ? input : client_envelope(data, n, server.cert, EVP_aes_128_cbc(), 1);
    client_bytes message = client_sign(envelope, &server, EVP_sha256(), &attributes);
    read_message(message);
    free(message.p);
    if (!is_envelope)
        free(envelope.p);
    return 0;
}
