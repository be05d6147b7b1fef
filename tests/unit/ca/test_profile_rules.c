/* What a profile's rules say of keys, names and usages; and keys that are never certified. The moduli were made with
 * Python's integers, from the descriptions of the weaknesses. */
#include "requests.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

/* Two primes of the form k·M + (65537^a mod M), M the product of the first 126 primes (CVE-2017-15361). */
static const char roca[] =
    "D5B6802FC0CE9957E3A9C4ED9557AFA5ED9B800BD588EC261DA191B9F38E1BCB706600F6B93CE30BE30E3CF28F7B9378"
    "7940D59F7793AB278F97D5892A8CF172BC72F76BAC069D5B504E697D0C32897C402BD294797F45640133A2054E1AE172"
    "BD7FF3F65078C1A9E131DC7DE658BD98B4165DF19AD8C4512F123F99CD274FBF94BD46314BEB424A720CDC4556DE428C"
    "6B274A8068FAC01E5530FC37BB9CEF04948AB872A4601692B53E21CBC24B1A079B0C1DD0F7C134797AFF7EF9436C1607"
    "35DB1253450220078C407E8273C7421E7398CF3B6198BBC9C4B5AD6194AA740EB20AA965DBA02A025F5DB17FAFF249DA"
    "EDBA71CFD9432F88FEEBD6E6F0691F23";

/* A prime of 1024 bits and the next one. */
static const char close_primes[] =
    "A335BFD55FAF3BA2CC32D1B6190736D2378574F1279BA63E63EE4D5A31BD2572F102C01D4B361517C4C05569CD5C981C"
    "33591C9B1FFCEA41C32E34D55E97F9529D42D83C0654E4E0FCC1C0FBC2C07FEC5376EF22239A444DEBD18ED54A478F1F"
    "CF4DE70C5D1F41D6C5B3CDD033CAE936EED1675330345B82D5A19F0CF799EC70DB2462A94E9FBB8B79F6F93887A3DB1E"
    "61D4FED2B3519BCB3C014018EDFABA31403AAE58F9AB42DEB69F3C0A757C9B5AAD2F948C73EB66AB8AA9488CAFAE4AD5"
    "D223C50C3032330A6F518BCFB225C011A2EA6518378A7F6A451B887C17F64C01457AA090E337C82526890AE1BCC60A39"
    "4416FFDE8E7B68DF0A52AF187829D953";

/* Fermat's method finds the factors at the hundredth a above √n, and at the one after it. */
static const char close_by_hundred[] =
    "CEAEF416ED48AF03945EB1315E965B88EA2CFF552B2BFF923AEF1C686DCBCCEADA6339E431F1DB0D888DBDB0F66877C9"
    "4ACC430A3DC206A36E6E0215AF37602B7FFA5090D2EAD67AE9E419D62B412F7D72A0AC5B92B1F22586945B810D77D1F0"
    "D229BCE1DCE7B21A1046C4BA20903036E75F5DCDCF6F6F11165D9ECE9FA954B46BB577515DE9F9CA2DAF70C3F0AEAF92"
    "F6A6EF7AF49B68A543015F6B94E9F1CE67D684BE342EB520422645AACA50822376C1E289C98AC574C33831C74E813ADB"
    "54FD6F11F1D8D7DF79863A33211E75615AC2D6DB64DAEA1125CC4EB9A3CF81BB754C195AB0B49C96CC2139207A773F4B"
    "C8FF796A0F798CE2686E21B5A02F59B5";
static const char close_by_more[] =
    "ACB9F842486C93336742B9F430F5D362ABB76D65E565959D89D15B142CB6D984BA56B1B6D27F48994447453BF1B6855A"
    "69D81D9C6C61C948C109FF2C5130946754336ECDCA9475D695531C93C8A36590830E93BE62E437697EBBE940031CA293"
    "5A144E9F5BF9D7593A813E390F80CC6412EAD2E0D413C7596DA6A7769EFB5618C46738C84B3BD71BCC70C017FD1BA80E"
    "22FBE5C69D2E1AD8BC1784E6008BE0E43AAFD6EB190EB6E2FAA97CD518BF24FDBEC8A4862C73C8A442BB645C06C4D519"
    "31AF1038F3DCE27440536AF493CA303E70148D2551DB97A6AE367F73CFF725C1FECA65EF5286E454E27F0A15622BF64D"
    "74EE5E1CA16AB68DBC208E749D696421";

/* 743 times an odd number. */
static const char small_factor[] =
    "D2C1CDC21620F936DE11A9C4173F3452138DD1108DAF8A51BBEB1BFBBB7379BF8EA4F9CCD3D2D1ABFB6AA31230412076"
    "359490D81CAFD817CE9077FB1BCF0B7256763EF5D37D9C67F03460B958074F03009CCC5D7545A728CE8011C2481D6C66"
    "A4B835705D5883A65BC7187C54B7DA0A1E88CDADCA399F49FA68559C388CDC50C8D726D44B4EA4DD8ACC3ACB06D62FBF"
    "3D232F91119C456666EDFE586436B681D39A29938042538F601FD84AAB9A04A52F35DF43A08EEE1D3EB1190C024C0E86"
    "CA0A5A3857BB94229D3221A580094F8955C208B71CAFC6C4EB805F97A7546AF56A33597D7A71B701A435BEDE3518D447"
    "5DE5A1572E0EC56F22817651A929C97B";

static rl_profile_rules *rules(fixture *f)
{
    return &f->settings.scep.profiles[RL_ENROLL_STATIC];
}

static X509 *issued(fixture *f, const csr_spec *spec)
{
    rl_issued out;
    X509_REQ *csr = make_csr(spec);
    rl_issue_request r = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "scep"};
    assert_ok(rl_ca_issue(f->ca, &r, &out, &f->e), &f->e);
    X509 *cert = decode(out.der, out.der_n);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
    return cert;
}

static void assert_issued(fixture *f, const csr_spec *spec)
{
    X509_free(issued(f, spec));
}

static void assert_refused(fixture *f, const csr_spec *spec, rl_err err, const char *message)
{
    assert_refused_csr(f, RL_PROFILE_STATIC, make_csr(spec), err, message);
}

/* ---- keys ---- */
static EVP_PKEY *key_of(const char *modulus)
{
    BIGNUM *n = NULL, *e = NULL;
    EVP_PKEY *key = NULL;
    BN_hex2bn(&n, modulus);
    BN_dec2bn(&e, "65537");
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    BN_free(n);
    BN_free(e);
    return key;
}

/* The key is looked at before the signature, which nobody can make for these keys. */
static void assert_key_refused(fixture *f, EVP_PKEY *key, rl_err err, const char *message)
{
    csr_spec spec = {.key = ec, .cn = "weak"};
    X509_REQ *csr = make_csr(&spec);
    assert_int_equal(X509_REQ_set_pubkey(csr, key), 1);
    assert_refused_csr(f, RL_PROFILE_STATIC, csr, err, message);
}

static void test_keys_that_others_can_find_out_are_refused(void **state)
{
    static const struct {
        const char *modulus, *message;
    } weak[] = {{roca, "ROCA"}, {close_primes, "too close"}, {small_factor, "small factor"}};
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *key = key_of(weak[i].modulus);
        assert_key_refused(*state, key, RL_EINVAL, weak[i].message);
        EVP_PKEY_free(key);
    }
}

/* Of the second, whose signature is wrong, too, the factors are not found. */
static void test_primes_are_too_close_up_to_the_hundredth_try(void **state)
{
    EVP_PKEY *last = key_of(close_by_hundred), *next = key_of(close_by_more);
    assert_key_refused(*state, last, RL_EINVAL, "too close");
    assert_key_refused(*state, next, RL_EBADMSG, "proof of possession");
    EVP_PKEY_free(last);
    EVP_PKEY_free(next);
}

/* Fermat's method from the first a above √n on passes these by. */
static void test_one_prime_twice_is_refused(void **state)
{
    BIGNUM *p = NULL, *n = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    assert_int_equal(EVP_PKEY_get_bn_param(rsa, OSSL_PKEY_PARAM_RSA_FACTOR1, &p), 1);
    assert_int_equal(BN_sqr(n, p, ctx), 1);
    char *modulus = BN_bn2hex(n);
    EVP_PKEY *key = key_of(modulus);
    assert_key_refused(*state, key, RL_EINVAL, "too close");
    EVP_PKEY_free(key);
    OPENSSL_free(modulus);
    BN_CTX_free(ctx);
    BN_free(n);
    BN_clear_free(p);
}

/* A modulus that is good, times each odd prime below 752. */
static void test_every_small_factor_is_found(void **state)
{
    BIGNUM *good = NULL, *n = BN_new(), *p = BN_new();
    assert_int_equal(EVP_PKEY_get_bn_param(rsa, OSSL_PKEY_PARAM_RSA_N, &good), 1);
    for (unsigned long prime = 3; prime < 752; prime += 2) {
        BN_set_word(p, prime);
        if (BN_check_prime(p, NULL, NULL) != 1)
            continue;
        assert_int_equal(BN_copy(n, good) != NULL && BN_mul_word(n, prime), 1);
        char *modulus = BN_bn2hex(n);
        EVP_PKEY *key = key_of(modulus);
        assert_key_refused(*state, key, RL_EINVAL, "small factor");
        EVP_PKEY_free(key);
        OPENSSL_free(modulus);
    }
    BN_free(good);
    BN_free(n);
    BN_free(p);
}

static void test_a_profile_says_which_keys(void **state)
{
    fixture *f = *state;
    csr_spec of_rsa = {.key = rsa, .cn = "a"}, of_ec = {.key = ec, .cn = "a"};
    rules(f)->keys = RL_KEYS_RSA3072 | RL_KEYS_P384;
    assert_refused(f, &of_rsa, RL_EUNSUPPORTED, "3072 to 8192");
    assert_refused(f, &of_ec, RL_EUNSUPPORTED, "P-256: this profile accepts none");
    rules(f)->keys = RL_KEYS_P256;
    assert_refused(f, &of_rsa, RL_EUNSUPPORTED, "this profile accepts none");
    assert_issued(f, &of_ec);
}

static void test_the_cas_own_keys_are_refused(void **state)
{
    fixture *f = *state;
    X509 *ra;
    rl_signer *signer;
    rl_ca_scep_identity(f->ca, &ra, &signer);
    csr_spec of_ca = {.key = rl_signer_pkey(rl_ca_issuer(f->ca)->signer), .cn = "mole"},
             of_ra = {.key = rl_signer_pkey(signer), .cn = "mole"};
    assert_refused(f, &of_ca, RL_EINVAL, "that of a CA");
    assert_refused(f, &of_ra, RL_EINVAL, "that of a CA");
}

/* The digest is made by openssl. */
static void test_listed_keys_are_refused(void **state)
{
    fixture *f = *state;
    char path[128];
    csr_spec spec = {.key = ec, .cn = "a"}, other = {.key = rsa, .cn = "a"};
    path_in(f, "public.pem", path);
    FILE *out = fopen(path, "w");
    assert_int_equal(PEM_write_PUBKEY(out, ec), 1);
    fclose(out);
    run(f, "{ echo '# found on a web page'; echo; openssl pkey -pubin -in public.pem -outform DER | openssl sha256 -r; "
           "seq 3000 | while read i; do printf '%064d\\n' $i; done; } > weak.txt");
    path_in(f, "weak.txt", path);
    rl_ca_close(f->ca);
    f->settings.ca.weak_keys = path;
    assert_ok(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), &f->e);
    assert_refused(f, &spec, RL_EINVAL, "REVLINE_WEAK_KEYS");
    assert_issued(f, &other);
    rl_ca_close(f->ca);
    f->ca = NULL;
    run(f, "echo nonsense >> weak.txt");
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), RL_EINVAL);
    assert_has(f->e.message, "line 3004");
    run(f, "rm weak.txt");
    assert_int_equal(rl_ca_open(f->store, &f->settings, &f->ca, &f->e), RL_EIO);
}

/* ---- keys whose certificate was revoked ---- */
struct revocation {
    rl_cert_id id;
    rl_reason reason;
};

static rl_err revoke_in(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct revocation *r = arg;
    return rl_txn_revoke(t, &r->id, r->reason, NOW, "test", e);
}

/* A certificate for the key, revoked for the reason. */
static rl_cert_id revoked_for(fixture *f, rl_reason reason, rl_profile_id profile, EVP_PKEY *key)
{
    rl_issued out;
    csr_spec spec = {.key = key, .cn = "a"};
    const rl_sub_ca any = {.any_name = true};
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {
        .profile = profile, .csr = csr, .requester = "test", .sub_ca = profile == RL_PROFILE_SUBCA ? &any : NULL};
    assert_ok(rl_ca_issue(f->ca, &r, &out, &f->e), &f->e);
    struct revocation revocation = {out.id, reason};
    assert_ok(rl_store_run(f->store, revoke_in, &revocation, &f->e), &f->e);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
    return revocation.id;
}

/* Its name is made by openssl. */
static void test_a_compromised_key_is_never_certified_again(void **state)
{
    fixture *f = *state;
    char path[128];
    rl_cert_id id, known;
    csr_spec spec = {.key = ec, .cn = "b"}, other = {.key = rsa, .cn = "b"};
    revoked_for(f, RL_REASON_SUPERSEDED, RL_PROFILE_STATIC, ec);
    revoked_for(f, RL_REASON_CA_COMPROMISE, RL_PROFILE_STATIC, ec); /* says nothing of its key */
    id = revoked_for(f, RL_REASON_KEY_COMPROMISE, RL_PROFILE_CLIENT, ec);
    for (rl_profile_id p = RL_PROFILE_STATIC; p <= RL_PROFILE_CLIENT; p++)
        if (p == RL_PROFILE_STATIC || p >= RL_PROFILE_SERVER)
            assert_refused_csr(f, p, make_csr(&spec), RL_EINVAL, "make another key");
    assert_issued(f, &other);
    path_in(f, "public.pem", path);
    FILE *out = fopen(path, "w");
    assert_int_equal(PEM_write_PUBKEY(out, ec), 1);
    fclose(out);
    const char *name = run(f, "openssl pkey -pubin -in public.pem -outform DER | openssl sha256 -r | head -c 64");
    assert_int_equal(rl_store_binding_first(f->store, RL_SOURCE_COMPROMISED_KEY, name, &known), RL_OK);
    assert_memory_equal(&known, &id, sizeof(id));
}

static void test_a_compromised_cas_key_is_never_certified_again(void **state)
{
    fixture *f = *state;
    csr_spec spec = {.key = rsa, .cn = "b"};
    revoked_for(f, RL_REASON_CA_COMPROMISE, RL_PROFILE_SUBCA, rsa);
    assert_refused(f, &spec, RL_EINVAL, "make another key");
}

/* It is revoked after the key was looked at. */
static rl_err revoke_meanwhile(void *ctx, rl_source source, const char *id, rl_error *e)
{
    (void)source, (void)id, (void)e;
    revoked_for(ctx, RL_REASON_KEY_COMPROMISE, RL_PROFILE_STATIC, ec);
    return RL_OK;
}

static void test_a_key_may_be_compromised_while_it_is_certified(void **state)
{
    fixture *f = *state;
    rl_issued out;
    csr_spec spec = {.key = ec, .cn = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"};
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {.profile = RL_PROFILE_STATIC_AAD, .csr = csr, .requester = "test", .look_up = true};
    rl_ca_on_look(f->ca, revoke_meanwhile, f);
    assert_int_equal(rl_ca_issue(f->ca, &r, &out, &f->e), RL_EINVAL);
    assert_has(f->e.message, "make another key");
    X509_REQ_free(csr);
}

/* ---- names ---- */
static void test_a_profile_says_which_names(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *san, *message;
        unsigned kind;
    } names[] = {{"DNS:a.example.test", "DNS names", RL_NAME_DNS},
                 {"DNS:*.example.test", "wildcards", RL_NAME_WILDCARD},
                 {"IP:192.0.2.1", "IP addresses", RL_NAME_IP},
                 {"email:a@example.test", "mail addresses", RL_NAME_MAIL},
                 {"URI:https://example.test/x", "URIs", RL_NAME_URI},
                 {"otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@example.test", "UPNs", RL_NAME_UPN}};
    for (size_t i = 0; i < 6; i++) {
        csr_spec spec = {.key = ec, .cn = "a", {{"subjectAltName", names[i].san}}};
        rules(f)->names = RL_NAME_ALL & ~names[i].kind;
        assert_refused(f, &spec, RL_EINVAL, names[i].message);
        rules(f)->names = names[i].kind;
        assert_issued(f, &spec);
    }
}

/* As a host name or as common name it is one all the same. */
static void test_an_address_is_an_address_wherever_it_is_written(void **state)
{
    fixture *f = *state;
    const csr_spec dns = {.key = ec, .cn = "a", {{"subjectAltName", "DNS:192.0.2.1"}}},
                   cn4 = {.key = ec, .cn = "192.0.2.1"}, cn6 = {.key = ec, .cn = "2001:db8::1"},
                   host = {.key = ec, .cn = "1.2.3", {{"subjectAltName", "DNS:192.0.2.1.example,DNS:1234"}}};
    rules(f)->names = RL_NAME_ALL & ~RL_NAME_IP;
    assert_refused(f, &dns, RL_EINVAL, "alternative name 1: the profile allows no IP addresses");
    assert_refused(f, &cn4, RL_EINVAL, "subject attribute 1: the profile allows no IP addresses");
    assert_refused(f, &cn6, RL_EINVAL, "subject attribute 1: the profile allows no IP addresses");
    assert_issued(f, &host);
    rules(f)->names = RL_NAME_IP;
    assert_issued(f, &dns);
    assert_issued(f, &cn4);
}

static void test_a_device_gets_no_wildcard_unless_the_profile_says_so(void **state)
{
    csr_spec spec = {.key = ec, .cn = "a", {{"subjectAltName", "DNS:*.example.test"}}};
    assert_refused(*state, &spec, RL_EINVAL, "wildcards");
}

static void test_names_have_to_be_in_the_profiles_domains(void **state)
{
    fixture *f = *state;
    char *domains[] = {"example.test", "corp.example"};
    rules(f)->domains = (rl_text_list){domains, 2};
    rules(f)->names = RL_NAME_ALL;
    static const char *const inside[] = {"DNS:example.test",
                                         "DNS:a.Corp.Example",
                                         "DNS:*.example.test",
                                         "email:a@example.test",
                                         "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@b.corp.example",
                                         "IP:192.0.2.1"};
    static const char *const outside[] = {"DNS:badexample.test",
                                          "DNS:example.test.evil.test",
                                          "DNS:*.test",
                                          "email:a@example.test.evil.test",
                                          "email:corp.example@evil.test",
                                          "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@evil.test",
                                          "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:nobody",
                                          "DNS:a.example.test,DNS:evil.test"};
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        csr_spec spec = {.key = ec, .cn = "a", {{"subjectAltName", inside[i]}}};
        assert_issued(f, &spec);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        csr_spec spec = {.key = ec, .cn = "a", {{"subjectAltName", outside[i]}}};
        assert_refused(f, &spec, RL_EINVAL, "outside the profile's domains");
    }
}

/* Where there is no DNS name, verifiers take the common name for one: OpenSSL's X509_check_host, for one. */
static void test_the_common_name_is_no_way_around_the_rules(void **state)
{
    fixture *f = *state;
    static const char *const wildcards[] = {"*.example.test", "*.test", "a*.example.test", "*a.example.test"};
    for (size_t i = 0; i < sizeof(wildcards) / sizeof(wildcards[0]); i++) {
        csr_spec spec = {.key = ec, .cn = wildcards[i]};
        rules(f)->names = RL_NAME_ALL & ~RL_NAME_WILDCARD;
        assert_refused(f, &spec, RL_EINVAL, "wildcards");
        rules(f)->names = RL_NAME_ALL;
        assert_issued(f, &spec);
    }
    char *domains[] = {"example.test"};
    static const char *const inside[] = {"a.example.test",  "*.Example.Test", "ada@example.test",
                                         "laptop-1",        "Ada Lovelace",   "7f9a2b14-0000-4000-8000-000000000001",
                                         "v1. of * things", "Dr. Who"};
    static const char *const outside[] = {"evil.test", "a.example.test.evil.test", "*.test", "ada@evil.test",
                                          "b*.evil.test"};
    rules(f)->domains = (rl_text_list){domains, 1};
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
        assert_issued(f, &(csr_spec){.key = ec, .cn = inside[i]});
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        assert_refused(f, &(csr_spec){.key = ec, .cn = outside[i]}, RL_EINVAL, "outside the profile's domains");
}

static X509_REQ *with_mail(const char *address)
{
    X509_REQ *csr = make_csr(&(csr_spec){.key = ec, .cn = "a"});
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "emailAddress", MBSTRING_UTF8,
                                                (const unsigned char *)address, -1, -1, 0),
                     1);
    assert_true(X509_REQ_sign(csr, ec, EVP_sha256()) > 0);
    return csr;
}

static void test_a_mail_address_in_the_subject_is_one(void **state)
{
    fixture *f = *state;
    char *domains[] = {"example.test"};
    rules(f)->names = RL_NAME_ALL & ~RL_NAME_MAIL;
    assert_refused_csr(f, RL_PROFILE_STATIC, with_mail("a@example.test"), RL_EINVAL, "mail addresses");
    rules(f)->names = RL_NAME_ALL;
    rules(f)->domains = (rl_text_list){domains, 1};
    assert_refused_csr(f, RL_PROFILE_STATIC, with_mail("a@evil.test"), RL_EINVAL, "outside the profile's domains");
    assert_refused_csr(f, RL_PROFILE_STATIC, with_mail("evil.test"), RL_EINVAL, "outside the profile's domains");
    rules(f)->cn_only = true; /* it is left out */
    X509_REQ *csr = with_mail("a@evil.test");
    const rl_issue_request r = {.profile = RL_PROFILE_STATIC, .csr = csr, .requester = "test"};
    rl_issued out;
    assert_ok(rl_ca_issue(f->ca, &r, &out, &f->e), &f->e);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
}

static void test_the_cas_own_name_is_refused(void **state)
{
    fixture *f = *state;
    X509_REQ *csr = make_csr(&(csr_spec){.key = ec, .cn = "any"});
    assert_int_equal(X509_REQ_set_subject_name(csr, X509_get_subject_name(rl_ca_issuer(f->ca)->cert)), 1);
    assert_true(X509_REQ_sign(csr, ec, EVP_sha256()) > 0);
    assert_refused_csr(f, RL_PROFILE_STATIC, csr, RL_EINVAL, "issuer 1 has this subject");
}

/* The host of REVLINE_BASE_URL, whatever a verifier would take for it. */
static void test_nobody_enrolls_as_this_server(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *url, *cn, *san;
        bool ours;
    } rows[] = {
        {"http://ca.example.test:8080", "a", "DNS:a.example.test,DNS:CA.example.test", true},
        {"http://ca.example.test", "a", "DNS:*.example.test", true},
        {"https://ca.example.test/pki", "Ca.Example.Test", NULL, true},
        {"https://ca.example.test", "ca.example.test", "DNS:a.example.test", true},
        {"https://ca.example.test", "*.example.test", NULL, true},
        {"https://192.0.2.1:8443", "a", "IP:192.0.2.1", true},
        {"https://192.0.2.1:8443", "192.0.2.1", NULL, true},
        {"https://[2001:db8::1]:8443", "a", "IP:2001:db8:0:0::1", true},
        {"https://ca.example.test", "a", "DNS:a.ca.example.test,DNS:example.test,DNS:*.a.example.test", false},
        {"https://192.0.2.1:8443", "a", "IP:192.0.2.2", false},
    };
    rules(f)->names |= RL_NAME_WILDCARD;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        csr_spec spec = {.key = ec, .cn = rows[i].cn, {{"extendedKeyUsage", "clientAuth,serverAuth"}}};
        if (rows[i].san) {
            spec.extensions[1][0] = "subjectAltName";
            spec.extensions[1][1] = rows[i].san;
        }
        f->settings.http.base_url = (char *)(uintptr_t)rows[i].url;
        if (rows[i].ours)
            assert_refused(f, &spec, RL_EINVAL, "would be this server's own");
        else
            assert_issued(f, &spec);
        spec.extensions[0][1] = "clientAuth";
        assert_issued(f, &spec);
    }
    csr_spec spec = {.key = ec, .cn = "ca.example.test"};
    rl_issued out;
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {.profile = RL_PROFILE_SERVER, .csr = csr, .requester = "admin"};
    f->settings.http.base_url = (char *)(uintptr_t)rows[0].url;
    assert_ok(rl_ca_issue(f->ca, &r, &out, &f->e), &f->e);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
    rules(f)->eku = (rl_text_list){NULL, 0}; /* no extension: good for all */
    assert_refused(f, &spec, RL_EINVAL, "would be this server's own");
}

static void test_of_the_subject_only_the_common_name(void **state)
{
    fixture *f = *state;
    char text[256];
    csr_spec spec = {.key = ec, .cn = "device", .ou = "Domain Admins"};
    X509 *whole = issued(f, &spec);
    X509_NAME_oneline(X509_get_subject_name(whole), text, sizeof(text));
    assert_string_equal(text, "/CN=device/OU=Domain Admins");
    rules(f)->cn_only = true;
    X509 *cut = issued(f, &spec);
    X509_NAME_oneline(X509_get_subject_name(cut), text, sizeof(text));
    assert_string_equal(text, "/CN=device");
    X509_free(whole);
    X509_free(cut);
    spec.cn = NULL; /* nothing is left */
    assert_refused(f, &spec, RL_EINVAL, "neither a subject nor");
}

/* ---- usages ---- */
static void test_a_profile_says_which_usages(void **state)
{
    fixture *f = *state;
    char *mine[] = {"1.3.6.1.4.1.99999.1", "codeSigning"}, *asked[] = {"timeStamping", "1.3.6.1.4.1.99999.2"};
    csr_spec plain = {.key = ec, .cn = "a"},
             asking = {.key = ec,
                       .cn = "a",
                       {{"extendedKeyUsage", "serverAuth,1.3.6.1.4.1.99999.2"}, {"keyUsage", "keyAgreement"}}};
    rules(f)->eku = (rl_text_list){mine, 2};
    rules(f)->asked_eku = (rl_text_list){asked, 2};
    rules(f)->key_usage = 1 | 16; /* digitalSignature, keyAgreement */
    X509 *a = issued(f, &plain);
    write_pem(f, "a.pem", a);
    const char *text = run(f, "openssl x509 -in a.pem -noout -ext extendedKeyUsage,keyUsage");
    assert_has(text, "1.3.6.1.4.1.99999.1, Code Signing");
    assert_has(text, "Digital Signature, Key Agreement");
    X509 *b = issued(f, &asking);
    write_pem(f, "b.pem", b);
    text = run(f, "openssl x509 -in b.pem -noout -ext extendedKeyUsage,keyUsage");
    assert_has(text, "1.3.6.1.4.1.99999.2");
    assert_has_not(text, "TLS Web Server");
    assert_has_not(text, "Digital Signature");
    f->settings.ca.asked_usages = false;
    X509 *c = issued(f, &asking);
    write_pem(f, "c.pem", c);
    text = run(f, "openssl x509 -in c.pem -noout -ext extendedKeyUsage,keyUsage");
    assert_has(text, "1.3.6.1.4.1.99999.1, Code Signing");
    assert_has(text, "Digital Signature, Key Agreement");
    X509_free(a);
    X509_free(b);
    X509_free(c);
}

/* RFC 3279 §2.3: there are some for each kind of key; RFC 5280 §4.2.1.3: and none at all is no key usage. */
static void test_a_key_gets_no_usage_that_it_cannot_have(void **state)
{
    fixture *f = *state;
    const csr_spec of_rsa = {.key = rsa, .cn = "host"}, of_ec = {.key = ec, .cn = "host"};
    rules(f)->key_usage = 1 | 4 | 16; /* digitalSignature, keyEncipherment, keyAgreement */
    X509 *a = issued(f, &of_rsa), *b = issued(f, &of_ec);
    assert_int_equal(X509_get_key_usage(a), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    assert_int_equal(X509_get_key_usage(b), KU_DIGITAL_SIGNATURE | KU_KEY_AGREEMENT);
    X509_free(a);
    X509_free(b);
    rules(f)->key_usage = 4;
    assert_issued(f, &of_rsa);
    assert_refused(f, &of_ec, RL_EUNSUPPORTED, "none of an EC key");
    rules(f)->key_usage = 16;
    assert_issued(f, &of_ec);
    assert_refused(f, &of_rsa, RL_EUNSUPPORTED, "none of an RSA key");
}

static void test_a_domain_controller_gets_its_usages(void **state)
{
    fixture *f = *state;
    rl_issued out;
    csr_spec spec = {.key = rsa, .cn = "dc1.example.test", {{"subjectAltName", "DNS:dc1.example.test"}}};
    X509_REQ *csr = make_csr(&spec);
    rl_issue_request r = {.profile = RL_PROFILE_DC, .csr = csr, .requester = "scep"};
    assert_ok(rl_ca_issue(f->ca, &r, &out, &f->e), &f->e);
    X509 *cert = decode(out.der, out.der_n);
    write_pem(f, "dc.pem", cert);
    assert_has(run(f, "openssl x509 -in dc.pem -noout -ext extendedKeyUsage"),
               "TLS Web Client Authentication, TLS Web Server Authentication, Microsoft Smartcard Login, Signing KDC "
               "Response");
    X509_free(cert);
    rl_issued_clear(&out);
    X509_REQ_free(csr);
}

/* Else what one of them has issued would be renewed by the other. */
static void test_no_named_profile_has_the_name_of_another(void **state)
{
    fixture *f = *state;
    for (unsigned id = 0; id < RL_PROFILE_COUNT; id++) {
        rl_profile p;
        if (!rl_profile_get(&f->settings, (rl_profile_id)id, &p))
            continue;
        char name[64], *env[] = {name, NULL};
        rl_settings s;
        rl_buf errors = {0};
        snprintf(name, sizeof(name), "REVLINE_SCEP_PROFILES=%s", p.name);
        if (rl_settings_load(&s, env, &errors) != RL_EINVAL)
            fail_msg("%s is allowed", name);
        rl_settings_free(&s);
        rl_buf_free(&errors);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        WITH(test_keys_that_others_can_find_out_are_refused),
        WITH(test_primes_are_too_close_up_to_the_hundredth_try),
        WITH(test_one_prime_twice_is_refused),
        WITH(test_every_small_factor_is_found),
        WITH(test_a_profile_says_which_keys),
        WITH(test_the_cas_own_keys_are_refused),
        WITH(test_listed_keys_are_refused),
        WITH(test_a_compromised_key_is_never_certified_again),
        WITH(test_a_compromised_cas_key_is_never_certified_again),
        WITH(test_a_key_may_be_compromised_while_it_is_certified),
        WITH(test_a_profile_says_which_names),
        WITH(test_an_address_is_an_address_wherever_it_is_written),
        WITH(test_a_device_gets_no_wildcard_unless_the_profile_says_so),
        WITH(test_the_common_name_is_no_way_around_the_rules),
        WITH(test_a_mail_address_in_the_subject_is_one),
        WITH(test_the_cas_own_name_is_refused),
        WITH(test_names_have_to_be_in_the_profiles_domains),
        WITH(test_nobody_enrolls_as_this_server),
        WITH(test_of_the_subject_only_the_common_name),
        WITH(test_a_profile_says_which_usages),
        WITH(test_a_key_gets_no_usage_that_it_cannot_have),
        WITH(test_a_domain_controller_gets_its_usages),
        WITH(test_no_named_profile_has_the_name_of_another),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
