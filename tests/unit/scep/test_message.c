/* SCEP messages against OpenSSL's CMS as the other side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client.h"
#include "scep/message.h"

static const unsigned char nonce[16] = "0123456789abcdef";
static const client_attributes usual = {.transaction = "txn-1", .type = "19", .nonce = nonce, .nonce_n = 16};

static client_party server, client, ec_client;
static rl_signer *server_signer;

static int make_parties(void **state)
{
    (void)state;
    server = client_party_new(EVP_RSA_gen(2048), "Test CA", NULL);
    if (rl_signer_of(EVP_PKEY_dup(server.key), &server_signer, NULL) != RL_OK)
        return -1;
    client = client_party_new(EVP_RSA_gen(2048), "Test Client", NULL);
    ec_client = client_party_new(EVP_EC_gen("P-256"), "Test EC Client", NULL);
    return 0;
}

static int free_parties(void **state)
{
    (void)state;
    rl_signer_free(server_signer);
    client_party_free(&server);
    client_party_free(&client);
    client_party_free(&ec_client);
    return 0;
}

static scep_identity identity(bool legacy)
{
    return (scep_identity){.cert = server.cert, .signer = server_signer, .allow_legacy = legacy};
}

/* What a test varies of a message; zero is the usual thing. */
typedef struct recipe {
    const client_party *signer;
    EVP_PKEY *key;
    const EVP_MD *md;
    client_wrapping wrapping;
    const client_attributes *attributes;
    const char *challenge;
    const client_party *recipient;
    client_bytes content; /* instead of a certificate request; borrowed */
    void (*spoil_csr)(client_bytes *), (*spoil_envelope)(client_bytes *);
} recipe;

static client_bytes message(const recipe *r)
{
    const client_party *signer = r->signer ? r->signer : &client;
    client_bytes csr =
        client_csr(r->key ? r->key : signer->key, "device", r->challenge ? r->challenge : "secret-word", NULL);
    if (r->spoil_csr)
        r->spoil_csr(&csr);
    client_bytes content = r->content.p ? r->content : csr;
    client_bytes envelope =
        client_wrap(content.p, content.n, (r->recipient ? r->recipient : &server)->cert, r->wrapping);
    if (r->spoil_envelope)
        r->spoil_envelope(&envelope);
    client_bytes out =
        client_sign(envelope, signer, r->md ? r->md : EVP_sha256(), r->attributes ? r->attributes : &usual);
    free(envelope.p);
    OPENSSL_free(csr.p);
    return out;
}

/* Reads the message; expects `err`, and with RL_EDENIED `info`. `text`, if given, has to be in the reason. */
static void expect(bool legacy, client_bytes m, rl_err err, int info, const char *text)
{
    scep_identity self = identity(legacy);
    scep_request r;
    scep_refusal why;
    assert_int_equal(scep_request_read(&self, rl_span_of(m.p, m.n), &r, &why), err);
    if (err == RL_EDENIED)
        assert_int_equal(why.info, info);
    if (text && !strstr(why.text, text))
        fail_msg("'%s' does not say '%s'", why.text, text);
    scep_request_clear(&r);
    free(m.p);
}

static void expect_recipe(bool legacy, recipe r, rl_err err, int info, const char *text)
{
    expect(legacy, message(&r), err, info, text);
}

/* ---- reading ---- */
static void test_a_request_is_read_whole(void **state)
{
    (void)state;
    const EVP_MD *digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    const EVP_CIPHER *ciphers[] = {EVP_aes_128_cbc(), EVP_aes_192_cbc(), EVP_aes_256_cbc()};
    for (int i = 0; i < 3; i++) {
        client_bytes m = message(&(recipe){.md = digests[i], .wrapping.cipher = ciphers[i]});
        scep_identity self = identity(false);
        scep_request r;
        scep_refusal why;
        assert_int_equal(scep_request_read(&self, rl_span_of(m.p, m.n), &r, &why), RL_OK);
        assert_string_equal(r.transaction, "txn-1");
        assert_int_equal(r.type, SCEP_PKCS_REQ);
        assert_int_equal(r.nonce_n, 16);
        assert_memory_equal(r.nonce, nonce, 16);
        assert_int_equal(OBJ_sn2nid(rl_hash_name(r.digest)), EVP_MD_get_type(digests[i]));
        assert_int_equal(EVP_CIPHER_get_nid(r.cipher), EVP_CIPHER_get_nid(ciphers[i]));
        assert_string_equal(r.challenge, "secret-word");
        client_bytes cert = client_der(client.cert);
        assert_true(rl_span_eq(r.sender.der, rl_span_of(cert.p, cert.n)));
        OPENSSL_free(cert.p);
        assert_int_equal(EVP_PKEY_eq(rl_key_pkey(r.key), client.key), 1);
        scep_request_clear(&r);
        free(m.p);
    }
}

static void test_legacy_algorithms_need_the_setting(void **state)
{
    (void)state;
    const recipe sha1 = {.md = EVP_sha1()}, des3 = {.wrapping.cipher = EVP_des_ede3_cbc()};
    expect_recipe(false, sha1, RL_EDENIED, SCEP_BAD_ALG, "SHA-1");
    expect_recipe(false, des3, RL_EDENIED, SCEP_BAD_ALG, "3DES");
    expect_recipe(true, sha1, RL_OK, 0, NULL);
    expect_recipe(true, des3, RL_OK, 0, NULL);
    expect_recipe(true, (recipe){.md = EVP_md5()}, RL_EDENIED, SCEP_BAD_ALG, "digest");
    expect_recipe(true, (recipe){.md = EVP_sha224()}, RL_EDENIED, SCEP_BAD_ALG, "digest");
    expect_recipe(true, (recipe){.wrapping.cipher = EVP_camellia_128_cbc()}, RL_EDENIED, SCEP_BAD_ALG, "cipher");
    expect_recipe(true, (recipe){.wrapping.cipher = EVP_aes_128_ofb()}, RL_EDENIED, SCEP_BAD_ALG, "cipher");
}

static void test_an_ec_signer_is_told_to_use_rsa(void **state)
{
    (void)state;
    expect_recipe(false, (recipe){.signer = &ec_client}, RL_EDENIED, SCEP_BAD_ALG, "RSA");
}

static void test_an_ec_key_can_be_certified_under_an_rsa_signer_that_is_issued(void **state)
{
    (void)state;
    client_party issued = client_party_new(EVP_RSA_gen(2048), "Some Device", &server);
    expect_recipe(false, (recipe){.signer = &issued, .key = ec_client.key}, RL_OK, 0, NULL);
    client_party_free(&issued);
}

/* As Jamf Pro signs for its devices. */
static void test_a_self_signed_signer_may_ask_for_anothers_key(void **state)
{
    (void)state;
    expect_recipe(false, (recipe){.key = ec_client.key}, RL_OK, 0, NULL);
}

static void test_a_self_signed_signer_must_have_signed_itself(void **state)
{
    (void)state;
    client_party forged = client_party_new(EVP_PKEY_dup(client.key), "Forged", NULL);
    CLIENT_MUST(X509_sign(forged.cert, server.key, EVP_sha256()));
    expect_recipe(false, (recipe){.signer = &forged}, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, "self-signed");
    client_party_free(&forged);
}

static void test_a_changed_signature_is_refused(void **state)
{
    (void)state;
    client_bytes m = message(&(recipe){0});
    m.p[m.n - 20] ^= 1; /* the signature is the last element */
    expect(false, m, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, "signature");
}

static void test_changed_content_is_refused(void **state)
{
    (void)state;
    client_bytes m = message(&(recipe){0});
    m.p[200] ^= 1; /* inside the encapsulated envelope's encrypted key */
    expect(false, m, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, "signature");
}

/* One refusal for all of these, octet for octet. */
#define UNKNOWN    "no certificate of this CA is what the request names"
#define NOT_OPENED "the envelope does not open to a certificate request with a valid signature"

static void spoil_last_block(client_bytes *b)
{
    b->p[b->n - 1] ^= 1;
}
static void spoil_padding(client_bytes *b)
{
    b->p[b->n - 17] ^= 1;
}
static void spoil_middle(client_bytes *b)
{
    b->p[b->n - 200] ^= 1;
}
/* The encrypted key begins behind the recipient's issuer and serial, well within these. */
static void spoil_key(client_bytes *b)
{
    b->p[160] ^= 1;
}
static void spoil_proof(client_bytes *csr)
{
    csr->p[csr->n - 1] ^= 1;
}
static void cut(client_bytes *csr)
{
    csr->n -= 1;
}
static void lengthen(client_bytes *csr)
{
    csr->p = OPENSSL_realloc(csr->p, csr->n + 1);
    csr->p[csr->n++] = 0;
}
static void nonsense(client_bytes *csr)
{
    memset(csr->p, 'x', csr->n);
}
static void empty(client_bytes *csr)
{
    csr->n = 0;
}

static void test_every_failure_to_open_is_the_same_refusal(void **state)
{
    (void)state;
    void (*envelopes[])(client_bytes *) = {spoil_last_block, spoil_padding, spoil_middle, spoil_key};
    void (*csrs[])(client_bytes *) = {spoil_proof, cut, lengthen, nonsense, empty};
    for (size_t i = 0; i < sizeof(envelopes) / sizeof(envelopes[0]); i++)
        expect_recipe(false, (recipe){.spoil_envelope = envelopes[i]}, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
    for (size_t i = 0; i < sizeof(csrs) / sizeof(csrs[0]); i++)
        expect_recipe(false, (recipe){.spoil_csr = csrs[i]}, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
    expect_recipe(false, (recipe){.recipient = &client}, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
}

#define CN_A "\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01" /* and one character */

/* A last block that is padding and nothing else: its content is whole, and the padding is looked at nevertheless. */
static void test_what_is_right_but_for_its_padding_does_not_open(void **state)
{
    (void)state;
    for (size_t n = 8; n < 8 + 16; n++) /* one of them makes whole blocks */
        expect_recipe(false,
                      (recipe){.challenge = &"a-challenge-that-is-longer"[26 - n], .spoil_envelope = spoil_last_block},
                      RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
    unsigned char question[] = "\x30\x1e" CN_A "a\x02\x0e\x01serial number";
    client_attributes get_cert = usual;
    get_cert.type = "21";
    recipe r = {.attributes = &get_cert, .content = {question, sizeof(question) - 1}};
    assert_int_equal(r.content.n, 32);
    expect_recipe(false, r, RL_OK, 0, NULL);
    r.spoil_envelope = spoil_last_block;
    expect_recipe(false, r, RL_EDENIED, SCEP_BAD_CERT_ID, UNKNOWN);
}

/* The envelope's key is opened to its padding, `how` changes that, and it is encrypted again. */
static client_bytes padded_again(void (*how)(uint8_t block[256]))
{
    client_bytes csr = client_csr(client.key, "device", "secret-word", NULL),
                 envelope = client_envelope(csr.p, csr.n, server.cert, EVP_aes_256_cbc(), 1);
    unsigned char *key = memmem(envelope.p, envelope.n, "\x04\x82\x01\x00", 4), block[256];
    size_t n = sizeof(block);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(server.key, NULL);
    CLIENT_MUST(key && EVP_PKEY_decrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
                EVP_PKEY_decrypt(ctx, block, &n, key + 4, 256) == 1 && n == 256);
    assert_memory_equal(block, "\0\2", 2);
    assert_int_equal(block[256 - 32 - 1], 0);
    how(block);
    CLIENT_MUST(EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
                EVP_PKEY_encrypt(ctx, key + 4, &n, block, 256) == 1);
    EVP_PKEY_CTX_free(ctx);
    client_bytes m = client_sign(envelope, &client, EVP_sha256(), &usual);
    free(envelope.p);
    OPENSSL_free(csr.p);
    return m;
}

static void leave(uint8_t block[256])
{
    (void)block;
}
static void of_a_signature(uint8_t block[256])
{
    block[1] = 1;
}
static void zero_in_the_first_eight(uint8_t block[256])
{
    block[2] = 0;
}
static void zero_in_the_last(uint8_t block[256])
{
    block[256 - 32 - 2] = 0; /* the key is longer by an octet then */
}
static void no_zero(uint8_t block[256])
{
    block[256 - 32 - 1] = 0x80;
}
static void other_first_octet(uint8_t block[256])
{
    block[0] = 1; /* still below a modulus that begins with more */
}

/* RFC 8017 §7.2.2; the key itself is right in all of them. */
static void test_padding_that_is_not_right_does_not_open(void **state)
{
    (void)state;
    void (*wrong[])(uint8_t *) = {of_a_signature, zero_in_the_first_eight, zero_in_the_last, no_zero,
                                  other_first_octet};
    expect(false, padded_again(leave), RL_OK, 0, NULL);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect(false, padded_again(wrong[i]), RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
}

static void test_without_transaction_or_nonce_there_is_nothing_to_answer(void **state)
{
    (void)state;
    char long_id[300];
    memset(long_id, 'a', sizeof(long_id));
    long_id[256] = 0;
    const unsigned char long_nonce[65] = {0};
    const client_attributes bad[] = {
        {.type = "19", .nonce = nonce, .nonce_n = 16},
        {.transaction = "", .type = "19", .nonce = nonce, .nonce_n = 16},
        {.transaction = "tab\there", .type = "19", .nonce = nonce, .nonce_n = 16},
        {.transaction = long_id, .type = "19", .nonce = nonce, .nonce_n = 16},
        {.transaction = "t", .type = "19", .nonce = nonce, .nonce_n = 16, .twice = true},
        {.transaction = "t", .type = "19"},
        {.transaction = "t", .type = "19", .nonce = long_nonce, .nonce_n = 65},
        {.transaction = "t", .type = "19", .nonce = nonce, .nonce_n = 16, .signers = 2},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_recipe(false, (recipe){.attributes = &bad[i]}, RL_EBADMSG, 0, NULL);
    long_id[255] = 0;
    const client_attributes longest = {.transaction = long_id, .type = "19", .nonce = long_nonce, .nonce_n = 64};
    expect_recipe(false, (recipe){.attributes = &longest}, RL_OK, 0, NULL);
}

static void test_what_is_no_request_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text;
    } types[] = {{"3", "no request"}, {"18", "no request"}, {"23", "no request"}, {"999", "no request"},
                 {NULL, "missing"},   {"1x", "no decimal"}, {"1919", "short"}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        client_attributes a = usual;
        a.type = types[i].type;
        expect_recipe(false, (recipe){.attributes = &a}, RL_EDENIED, SCEP_BAD_REQUEST, types[i].text);
    }
}

static void test_the_signers_certificate_is_in_the_message(void **state)
{
    (void)state;
    client_attributes a = usual;
    a.without_cert = true;
    expect_recipe(false, (recipe){.attributes = &a}, RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, "not in the message");
}

static void test_recipients_are_limited(void **state)
{
    (void)state;
    expect_recipe(false, (recipe){.wrapping.copies = SCEP_RECIPIENTS_MAX}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.wrapping.copies = SCEP_RECIPIENTS_MAX + 1}, RL_EDENIED, SCEP_BAD_REQUEST,
                  "recipients");
}

static void test_signed_content_that_is_no_envelope_is_refused(void **state)
{
    (void)state;
    unsigned char text[] = "hello";
    expect(false, client_sign((client_bytes){text, 5}, &client, EVP_sha256(), &usual), RL_EDENIED, SCEP_BAD_REQUEST,
           "EnvelopedData");
    expect(false, client_sign((client_bytes){text, 0}, &client, EVP_sha256(), &usual), RL_EDENIED, SCEP_BAD_REQUEST,
           "EnvelopedData");
}

static void test_truncated_and_extended_messages_are_unreadable(void **state)
{
    (void)state;
    client_bytes m = message(&(recipe){0});
    scep_identity self = identity(false);
    scep_request r;
    scep_refusal why;
    for (size_t n = 0; n < m.n; n += 1 + n / 16) {
        unsigned char *exact = malloc(n ? n : 1); /* so that a read past the end is seen */
        memcpy(exact, m.p, n);
        assert_int_equal(scep_request_read(&self, rl_span_of(exact, n), &r, &why), RL_EBADMSG);
        scep_request_clear(&r);
        free(exact);
    }
    m.p = realloc(m.p, m.n + 1);
    m.p[m.n++] = 0;
    expect(false, m, RL_EBADMSG, 0, NULL);
}

/* ---- signed attributes that are signed, and wrong ---- */
/* The message with other signed attributes, signed again by the client: without the attribute `without`, with one more
 * digest of other content, and with another content type. NID_undef, false: as it was. */
static client_bytes signed_again(int without, bool second_digest, int type)
{
    client_bytes m = message(&(recipe){0});
    const unsigned char *p = m.p;
    unsigned char *set = NULL, other[32] = {0};
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)m.n);
    CMS_SignerInfo *si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
    if (without != NID_undef)
        X509_ATTRIBUTE_free(CMS_signed_delete_attr(si, CMS_signed_get_attr_by_NID(si, without, -1)));
    if (second_digest)
        CLIENT_MUST(CMS_signed_add1_attr_by_NID(si, NID_pkcs9_messageDigest, V_ASN1_OCTET_STRING, other, 32));
    if (type != NID_undef)
        CLIENT_MUST(CMS_signed_add1_attr_by_NID(si, NID_pkcs9_contentType, V_ASN1_OBJECT, OBJ_nid2obj(type), -1));
    STACK_OF(X509_ATTRIBUTE) *all = sk_X509_ATTRIBUTE_new_null();
    for (int i = 0; i < CMS_signed_get_attr_count(si); i++)
        sk_X509_ATTRIBUTE_push(all, CMS_signed_get_attr(si, i));
    const int set_n = ASN1_item_i2d((ASN1_VALUE *)all, &set, ASN1_ITEM_rptr(PKCS7_ATTR_SIGN)); /* SET OF */
    unsigned char signature[512];
    size_t signature_n = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CLIENT_MUST(set_n > 0 && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, client.key) == 1 &&
                EVP_DigestSign(ctx, signature, &signature_n, set, (size_t)set_n) == 1 &&
                ASN1_STRING_set(CMS_SignerInfo_get0_signature(si), signature, (int)signature_n) == 1);
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(set);
    free(m.p);
    sk_X509_ATTRIBUTE_free(all);
    BIO *out = BIO_new(BIO_s_mem());
    CLIENT_MUST(i2d_CMS_bio(out, cms));
    CMS_ContentInfo_free(cms);
    return client_take(out);
}

/* Without the digest among what is signed the content could be anybody's. */
static void test_the_signed_attributes_are_of_the_content(void **state)
{
    (void)state;
    static const struct {
        int without;
        bool second_digest;
        int type;
        bool good;
    } changed[] = {
        {NID_undef, false, NID_undef, true},
        {NID_pkcs9_signingTime, false, NID_undef, true},
        {NID_pkcs9_contentType, false, NID_pkcs7_data, true},
        {NID_pkcs9_messageDigest, false, NID_undef, false},
        {NID_pkcs9_messageDigest, true, NID_undef, false},
        {NID_undef, true, NID_undef, false},
        {NID_pkcs9_contentType, false, NID_undef, false},
        {NID_pkcs9_contentType, false, NID_pkcs7_enveloped, false}, /* the content says data: RFC 5652 §11.1 */
        {NID_undef, false, NID_pkcs7_data, false},                  /* twice */
    };
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
        client_bytes m = signed_again(changed[i].without, changed[i].second_digest, changed[i].type);
        expect(false, m, changed[i].good ? RL_OK : RL_EDENIED, SCEP_BAD_MESSAGE_CHECK,
               changed[i].good ? NULL : "signature");
    }
}

static void test_a_pss_signature_is_read(void **state)
{
    (void)state;
    client_attributes pss = usual;
    pss.pss = true;
    expect_recipe(false, (recipe){.attributes = &pss}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.attributes = &pss, .md = EVP_sha512()}, RL_OK, 0, NULL);
}

/* Recipients and signers by key identifier, RFC 5652 §6.2.1 and §5.3; indefinite lengths, as streaming encoders write
 * them, inside and outside. */
static void test_every_encoding_that_clients_use_is_read(void **state)
{
    (void)state;
    client_attributes by_ski = usual, ber = usual;
    by_ski.by_ski = ber.ber = true;
    expect_recipe(false, (recipe){.attributes = &by_ski}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.wrapping.by_ski = true}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.wrapping.ber = true}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.attributes = &ber}, RL_OK, 0, NULL);
    expect_recipe(false, (recipe){.attributes = &ber, .wrapping = {.ber = true, .by_ski = true}}, RL_OK, 0, NULL);
    expect_recipe(true, (recipe){.attributes = &ber, .wrapping = {.ber = true, .cipher = EVP_des_ede3_cbc()}}, RL_OK, 0,
                  NULL);
    expect_recipe(false, (recipe){.attributes = &ber, .wrapping = {.ber = true, .cipher = EVP_des_ede3_cbc()}},
                  RL_EDENIED, SCEP_BAD_ALG, "3DES");
    /* They really are what they say. */
    client_bytes m = message(&(recipe){.attributes = &ber, .wrapping.ber = true});
    assert_memory_equal(m.p, "\x30\x80", 2);
    free(m.p);
}

static void test_another_identity_for_our_key_opens(void **state)
{
    (void)state;
    client_party remade = client_party_new(EVP_PKEY_dup(server.key), "The RA, made anew", NULL);
    expect_recipe(false, (recipe){.recipient = &remade}, RL_OK, 0, NULL);
    client_party_free(&remade);
}

static const struct {
    const char *md, *mgf1;
    bool ok;
} oaeps[] = {{"SHA1", "SHA1", true},     {"SHA256", "SHA256", true}, {"SHA256", "SHA1", true},
             {"SHA512", "SHA512", true}, {"SHA384", "SHA1", true},   {"SHA224", "SHA224", false},
             {"SHA256", "SHA224", false}};

static void test_oaep_is_read_with_the_hashes_that_are_offered(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oaeps) / sizeof(oaeps[0]); i++) {
        const recipe r = {
            .wrapping = {.oaep = EVP_get_digestbyname(oaeps[i].md), .mgf1 = EVP_get_digestbyname(oaeps[i].mgf1)}};
        expect_recipe(false, r, oaeps[i].ok ? RL_OK : RL_EDENIED, SCEP_BAD_ALG, oaeps[i].ok ? NULL : "key transport");
    }
    expect_recipe(false,
                  (recipe){.wrapping = {.oaep = EVP_sha256(), .mgf1 = EVP_sha256()}, .spoil_envelope = spoil_key},
                  RL_EDENIED, SCEP_BAD_MESSAGE_CHECK, NOT_OPENED);
}

static void test_signing_time_is_read(void **state)
{
    (void)state;
    const time_t times[] = {1, 1111111111, 4102444800}; /* the last is a GeneralizedTime */
    for (size_t i = 0; i < 3; i++) {
        client_attributes a = usual;
        a.signed_at = times[i];
        client_bytes m = message(&(recipe){.attributes = &a});
        scep_identity self = identity(false);
        scep_request r;
        scep_refusal why;
        assert_int_equal(scep_request_read(&self, rl_span_of(m.p, m.n), &r, &why), RL_OK);
        assert_int_equal(r.signed_at, times[i]);
        scep_request_clear(&r);
        free(m.p);
    }
}

/* ---- what CertPoll, GetCert and GetCRL ask by ---- */

static rl_err read_pair(const char *der, size_t n)
{
    X509_NAME *issuer, *subject;
    unsigned char *exact = malloc(n ? n : 1);
    memcpy(exact, der, n);
    rl_err err = scep_issuer_and_subject(rl_span_of(exact, n), &issuer, &subject);
    assert_true((err == RL_OK) == (issuer != NULL) && (err == RL_OK) == (subject != NULL));
    X509_NAME_free(issuer);
    X509_NAME_free(subject);
    free(exact);
    return err;
}

static rl_err read_number(const char *der, size_t n, rl_serial *serial)
{
    X509_NAME *issuer;
    unsigned char *exact = malloc(n ? n : 1);
    memcpy(exact, der, n);
    rl_err err = scep_issuer_and_serial(rl_span_of(exact, n), &issuer, serial);
    assert_true((err == RL_OK) == (issuer != NULL));
    X509_NAME_free(issuer);
    free(exact);
    return err;
}

static void test_issuer_and_subject_is_two_names_and_no_more(void **state)
{
    (void)state;
    const char whole[] = "\x30\x1c" CN_A "a" CN_A "b";
    assert_int_equal(read_pair(whole, sizeof(whole) - 1), RL_OK);
    for (size_t n = 0; n < sizeof(whole) - 1; n++)
        assert_int_equal(read_pair(whole, n), RL_EBADMSG);
    assert_int_equal(read_pair(whole, sizeof(whole)), RL_EBADMSG);     /* one octet more */
    assert_int_equal(read_pair("\x30\x04\x30\x00\x30\x00", 6), RL_OK); /* empty names are names */
    assert_int_equal(read_pair("\x30\x06\x30\x00\x30\x00\x30\x00", 8), RL_EBADMSG);
    assert_int_equal(read_pair("\x30\x04\x30\x00\x31\x00", 6), RL_EBADMSG);
    assert_int_equal(read_pair("\x30\x80\x30\x00\x30\x00\x00\x00", 8), RL_EBADMSG);
}

static void test_issuer_and_serial_is_a_name_and_a_serial_number(void **state)
{
    (void)state;
    rl_serial serial;
    const char whole[] = "\x30\x12" CN_A "a\x02\x02\x00\x80";
    assert_int_equal(read_number(whole, sizeof(whole) - 1, &serial), RL_OK);
    assert_int_equal(serial.n, 1);
    assert_int_equal(serial.b[0], 0x80);
    for (size_t n = 0; n < sizeof(whole) - 1; n++)
        assert_int_equal(read_number(whole, n, &serial), RL_EBADMSG);
    assert_int_equal(read_number(whole, sizeof(whole), &serial), RL_EBADMSG);
    assert_int_equal(read_number("\x30\x05\x30\x00\x02\x01\xff", 7, &serial), RL_ERANGE);
    assert_int_equal(read_number("\x30\x06\x30\x00\x02\x02\x00\x01", 8, &serial), RL_EBADMSG); /* not minimal */
    char exact[6 + 21];
    memset(exact, 0x11, sizeof(exact));
    memcpy(exact, "\x30\x19\x30\x00\x02\x15", 6);
    assert_int_equal(read_number(exact, sizeof(exact), &serial), RL_ERANGE);
}

/* The envelope of another's request, signed by somebody else as a question, is no oracle: what does not decrypt, does
 * not parse and is not known are one refusal. The last is in test_operations.c. */
static void test_a_question_that_does_not_open_is_like_one_that_finds_nothing(void **state)
{
    (void)state;
    static const char *const types[] = {"20", "21", "22"};
    void (*envelopes[])(client_bytes *) = {spoil_last_block, spoil_padding, spoil_middle, spoil_key};
    for (size_t i = 0; i < 3; i++) {
        client_attributes a = usual;
        a.type = types[i];
        expect_recipe(false, (recipe){.attributes = &a}, RL_EDENIED, SCEP_BAD_CERT_ID, UNKNOWN); /* a CSR inside */
        expect_recipe(false, (recipe){.attributes = &a, .recipient = &client}, RL_EDENIED, SCEP_BAD_CERT_ID, UNKNOWN);
        for (size_t k = 0; k < 4; k++)
            expect_recipe(false, (recipe){.attributes = &a, .spoil_envelope = envelopes[k]}, RL_EDENIED,
                          SCEP_BAD_CERT_ID, UNKNOWN);
    }
}

static void test_a_request_without_challenge_has_none(void **state)
{
    (void)state;
    client_bytes csr = client_csr(client.key, "device", NULL, NULL);
    client_bytes envelope = client_envelope(csr.p, csr.n, server.cert, EVP_aes_128_cbc(), 1);
    client_bytes m = client_sign(envelope, &client, EVP_sha256(), &usual);
    scep_identity self = identity(false);
    scep_request r;
    scep_refusal why;
    assert_int_equal(scep_request_read(&self, rl_span_of(m.p, m.n), &r, &why), RL_OK);
    assert_null(r.challenge);
    scep_request_clear(&r);
    free(m.p);
    free(envelope.p);
    OPENSSL_free(csr.p);
}

/* ---- answering ---- */
static client_reply answer(const recipe *how, bool legacy, const scep_refusal *refusal)
{
    client_bytes m = message(how);
    scep_identity self = identity(legacy);
    scep_request r;
    scep_refusal why;
    rl_buf out = {0};
    assert_int_equal(scep_request_read(&self, rl_span_of(m.p, m.n), &r, &why), RL_OK);
    client_party issued = client_party_new(EVP_PKEY_dup(client.key), "device", &server);
    if (refusal) {
        assert_int_equal(scep_reply_failure(&r, refusal, &out, NULL), RL_OK);
    } else {
        rl_buf certs = {0};
        const client_bytes ders[] = {client_der(issued.cert), client_der(server.cert)};
        const rl_span both[] = {rl_span_of(ders[0].p, ders[0].n), rl_span_of(ders[1].p, ders[1].n)};
        assert_int_equal(scep_certs_only(both, 2, &certs, NULL), RL_OK);
        OPENSSL_free(ders[0].p);
        OPENSSL_free(ders[1].p);
        assert_int_equal(scep_reply_success(&r, rl_buf_span(&certs), &out, NULL), RL_OK);
        rl_buf_free(&certs);
    }
    client_reply reply = client_read(out.p, out.n, server.cert, how->signer ? how->signer : &client);
    assert_string_equal(reply.transaction, "txn-1");
    assert_string_equal(reply.type, "3");
    assert_int_equal(reply.recipient_nonce_n, 16);
    assert_memory_equal(reply.recipient_nonce, nonce, 16);
    assert_int_equal(reply.sender_nonce_n, 16);
    if (!refusal) {
        assert_int_equal(reply.certs_n, 2);
        assert_int_equal(X509_cmp(reply.issued, issued.cert), 0);
        assert_int_equal(X509_cmp(reply.ca, server.cert), 0);
    }
    client_party_free(&issued);
    rl_buf_free(&out);
    scep_request_clear(&r);
    free(m.p);
    return reply;
}

static void test_success_answers_in_kind(void **state)
{
    (void)state;
    const EVP_MD *digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512(), EVP_sha1()};
    const EVP_CIPHER *ciphers[] = {EVP_aes_128_cbc(), EVP_aes_192_cbc(), EVP_aes_256_cbc(), EVP_des_ede3_cbc()};
    unsigned char before[16] = {0};
    for (int i = 0; i < 4; i++) {
        client_reply reply = answer(&(recipe){.md = digests[i], .wrapping.cipher = ciphers[i]}, true, NULL);
        assert_string_equal(reply.status, "0");
        assert_string_equal(reply.fail_info, "");
        assert_int_equal(reply.digest, EVP_MD_get_type(digests[i]));
        assert_int_equal(reply.cipher, EVP_CIPHER_get_nid(ciphers[i]));
        assert_memory_not_equal(reply.sender_nonce, before, 16); /* fresh */
        memcpy(before, reply.sender_nonce, 16);
        client_reply_free(&reply);
    }
}

/* It is the CA that has a word on what it certifies; to ask for a certificate or a list any key does. */
static void test_a_signers_exponent_may_be_any(void **state)
{
    (void)state;
    static const char *const exponents[] = {"3", "10001", "10000000000000000d"};
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
        BIGNUM *exponent = NULL;
        EVP_PKEY *key = NULL;
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        CLIENT_MUST(BN_hex2bn(&exponent, exponents[i]) > 0 && EVP_PKEY_keygen_init(ctx) == 1 &&
                    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
                    EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent) == 1 && EVP_PKEY_generate(ctx, &key) == 1);
        client_party party = client_party_new(key, "odd", NULL);
        client_reply reply = answer(&(recipe){.signer = &party}, false, NULL);
        assert_string_equal(reply.status, "0");
        client_reply_free(&reply);
        client_party_free(&party);
        EVP_PKEY_CTX_free(ctx);
        BN_free(exponent);
    }
}

static void test_oaep_is_answered_by_oaep(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oaeps) / sizeof(oaeps[0]); i++) {
        const EVP_MD *md = EVP_get_digestbyname(oaeps[i].md), *mgf1 = EVP_get_digestbyname(oaeps[i].mgf1);
        if (!oaeps[i].ok)
            continue;
        client_reply reply = answer(&(recipe){.wrapping = {.oaep = md, .mgf1 = mgf1}}, false, NULL);
        assert_string_equal(reply.status, "0");
        assert_int_equal(reply.oaep, EVP_MD_get_type(md));
        assert_int_equal(reply.mgf1, EVP_MD_get_type(mgf1));
        client_reply_free(&reply);
    }
    client_reply plain = answer(&(recipe){0}, false, NULL);
    assert_int_equal(plain.oaep, 0);
    client_reply_free(&plain);
}

static void test_failure_is_signed_and_empty(void **state)
{
    (void)state;
    static const char *const digits[] = {"0", "1", "2", "3", "4"};
    for (int info = SCEP_BAD_ALG; info <= SCEP_BAD_CERT_ID; info++) {
        const scep_refusal why = {.info = (scep_fail_info)info, .text = "because"};
        client_reply reply = answer(&(recipe){.md = EVP_sha512()}, false, &why);
        assert_string_equal(reply.status, "2");
        assert_string_equal(reply.fail_info, digits[info]);
        assert_string_equal(reply.fail_text, "because");
        assert_false(reply.has_content);
        assert_int_equal(reply.digest, NID_sha512);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_read_whole),
        cmocka_unit_test(test_legacy_algorithms_need_the_setting),
        cmocka_unit_test(test_an_ec_signer_is_told_to_use_rsa),
        cmocka_unit_test(test_an_ec_key_can_be_certified_under_an_rsa_signer_that_is_issued),
        cmocka_unit_test(test_a_self_signed_signer_may_ask_for_anothers_key),
        cmocka_unit_test(test_a_self_signed_signer_must_have_signed_itself),
        cmocka_unit_test(test_a_changed_signature_is_refused),
        cmocka_unit_test(test_changed_content_is_refused),
        cmocka_unit_test(test_every_failure_to_open_is_the_same_refusal),
        cmocka_unit_test(test_without_transaction_or_nonce_there_is_nothing_to_answer),
        cmocka_unit_test(test_what_is_no_request_is_refused),
        cmocka_unit_test(test_the_signers_certificate_is_in_the_message),
        cmocka_unit_test(test_the_signed_attributes_are_of_the_content),
        cmocka_unit_test(test_what_is_right_but_for_its_padding_does_not_open),
        cmocka_unit_test(test_padding_that_is_not_right_does_not_open),
        cmocka_unit_test(test_a_pss_signature_is_read),
        cmocka_unit_test(test_recipients_are_limited),
        cmocka_unit_test(test_signed_content_that_is_no_envelope_is_refused),
        cmocka_unit_test(test_truncated_and_extended_messages_are_unreadable),
        cmocka_unit_test(test_a_request_without_challenge_has_none),
        cmocka_unit_test(test_success_answers_in_kind),
        cmocka_unit_test(test_every_encoding_that_clients_use_is_read),
        cmocka_unit_test(test_another_identity_for_our_key_opens),
        cmocka_unit_test(test_oaep_is_read_with_the_hashes_that_are_offered),
        cmocka_unit_test(test_signing_time_is_read),
        cmocka_unit_test(test_issuer_and_subject_is_two_names_and_no_more),
        cmocka_unit_test(test_issuer_and_serial_is_a_name_and_a_serial_number),
        cmocka_unit_test(test_a_question_that_does_not_open_is_like_one_that_finds_nothing),
        cmocka_unit_test(test_a_signers_exponent_may_be_any),
        cmocka_unit_test(test_oaep_is_answered_by_oaep),
        cmocka_unit_test(test_failure_is_signed_and_empty),
    };
    return cmocka_run_group_tests(tests, make_parties, free_parties);
}
