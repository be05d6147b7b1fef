/* Building certificates (RFC 5280 §4): fields, extensions, signature. Pure but for the signer; any thread.
 *
 * Extensions are written from structures, never from OpenSSL's configuration text, in which a name from outside
 * could say more than a name. */
#include "ca/ca_priv.h"

#include <stdlib.h>

#include "crypto/key.h"

static rl_err out_of_memory(rl_error *e)
{
    return rl_fail(e, RL_ENOMEM, "ca", "out of memory");
}

/* ---- validity ---- */
rl_err ca_validity(const rl_ca *ca, const rl_issuer *issuer, int64_t now, rl_duration validity, ca_template *t,
                   rl_error *e)
{
    int64_t first, last;
    if (rl_x509_time(X509_get0_notBefore(issuer->cert), &first) != RL_OK ||
        rl_x509_time(X509_get0_notAfter(issuer->cert), &last) != RL_OK)
        return rl_fail_openssl(e, "ca", "the CA certificate's validity cannot be read");
    if (last <= now)
        return rl_fail(e, RL_EDENIED, "ca",
                       "the CA certificate has expired: unless this machine's clock is wrong, revline init --rollover");
    if (validity < 1000)
        return rl_fail(e, RL_EINVAL, "ca", "a validity under one second makes no certificate");
    t->not_before = now - ca->settings->ca.clock_skew / 1000;
    t->not_after = now + validity / 1000;
    if (t->not_before < first)
        t->not_before = first;
    if (t->not_after > last)
        t->not_after = last;
    return RL_OK;
}

/* ---- extensions, RFC 5280 §4.2 ---- */
void ca_extension_open(rl_der_writer *w, rl_span oid, bool critical)
{
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, oid);
    if (critical)
        rl_der_put_bool(w, true);
    rl_der_open(w, RL_DER_OCTET_STRING);
}

void ca_extension_close(rl_der_writer *w)
{
    rl_der_close(w);
    rl_der_close(w);
}

/* `path_length` < 0: without. */
static void put_basic_constraints(rl_der_writer *w, bool ca, int path_length)
{
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x13"), true);
    rl_der_open(w, RL_DER_SEQUENCE);
    if (ca)
        rl_der_put_bool(w, true);
    if (path_length >= 0)
        rl_der_put_uint(w, (uint64_t)path_length);
    rl_der_close(w);
    ca_extension_close(w);
}

static rl_err key_bits(rl_span spki, rl_span *bits)
{
    rl_span seq, skip;
    RL_TRY(rl_der_sequence(&spki, &seq));
    RL_TRY(rl_der_sequence(&seq, &skip));
    RL_TRY(rl_der_expect(&seq, RL_DER_BIT_STRING, bits));
    return rl_span_take(bits, 1, &skip); /* how many bits of the last octet are unused: none */
}

/* RFC 5280 §4.2.1.2, method 1: SHA-1 of the subjectPublicKey. */
static void put_ski(rl_der_writer *w, rl_key *key)
{
    uint8_t digest[RL_HASH_MAX];
    rl_span bits;
    if (key_bits(rl_key_spki(key), &bits) != RL_OK || rl_hash_digest(RL_SHA1, bits, digest) != RL_OK)
        w->err = RL_ECRYPTO;
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x0e"), false);
    rl_der_put(w, RL_DER_OCTET_STRING, rl_span_of(digest, rl_hash_size(RL_SHA1)));
    ca_extension_close(w);
}

/* The identifier that the issuer's certificate has; another CA may have made it without: then by method 1, too. */
static void put_aki(rl_der_writer *w, const rl_issuer *issuer)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(issuer->cert);
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x23"), false);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put(w, RL_DER_CONTEXT(0),
               id ? ca_span_of(id) : rl_span_of(issuer->key_hash[RL_SHA1], rl_hash_size(RL_SHA1)));
    rl_der_close(w);
    ca_extension_close(w);
}

/* KU_*: the first bit is the highest of the octet. Zeros at the end are left out (X.690 §11.2.2). */
static void put_key_usage(rl_der_writer *w, uint32_t usage)
{
    uint8_t bits[2] = {0, (uint8_t)usage};
    while (bits[1] && !(bits[1] >> bits[0] & 1))
        bits[0]++;
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x0f"), true);
    rl_der_put(w, RL_DER_BIT_STRING, rl_span_of(bits, bits[1] ? 2 : 1));
    ca_extension_close(w);
}

static void put_eku(rl_der_writer *w, const EXTENDED_KEY_USAGE *eku)
{
    if (sk_ASN1_OBJECT_num(eku) <= 0)
        return;
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x25"), false);
    rl_der_open(w, RL_DER_SEQUENCE);
    for (int i = 0; i < sk_ASN1_OBJECT_num(eku); i++) {
        const ASN1_OBJECT *one = sk_ASN1_OBJECT_value(eku, i);
        rl_der_put_oid(w, rl_span_of(OBJ_get0_data(one), OBJ_length(one)));
    }
    rl_der_close(w);
    ca_extension_close(w);
}

/* What OpenSSL has encoded. */
static void put_encoded(rl_der_writer *w, rl_span oid, bool critical, rl_span value)
{
    if (value.n == 0)
        return;
    ca_extension_open(w, oid, critical);
    rl_der_put_raw(w, value);
    ca_extension_close(w);
}

/* A GeneralName, RFC 5280 §4.2.1.6. */
static void put_uri(rl_der_writer *w, const char *base_url, const char *path)
{
    rl_der_open(w, RL_DER_CONTEXT(6));
    rl_der_put_raw(w, rl_span_str(base_url));
    rl_der_put_raw(w, rl_span_str(path));
    rl_der_close(w);
}

/* RFC 5280 §4.2.2.1 */
static void put_aia(rl_der_writer *w, const char *base_url, rl_issuer_id issuer)
{
    char ca[24];
    snprintf(ca, sizeof(ca), "/ca/%u.cer", issuer); /* of this key, also after a rollover */
    ca_extension_open(w, RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x01\x01"), false);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x01")); /* id-ad-ocsp */
    put_uri(w, base_url, "/ocsp");
    rl_der_close(w);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_oid(w, RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x02")); /* id-ad-caIssuers */
    put_uri(w, base_url, ca);
    rl_der_close(w);
    rl_der_close(w);
    ca_extension_close(w);
}

/* RFC 5280 §4.2.1.13: one DistributionPoint with a fullName. */
static void put_crl_point(rl_der_writer *w, const char *base_url, rl_issuer_id issuer)
{
    char crl[24];
    snprintf(crl, sizeof(crl), "/crl/%u.crl", issuer);
    ca_extension_open(w, RL_SPAN_LIT("\x55\x1d\x1f"), false);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    put_uri(w, base_url, crl);
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
    ca_extension_close(w);
}

/* Where its status is told, or that it is not (RFC 6960 §4.2.2.2.1). */
static void put_status_services(rl_der_writer *w, const rl_settings *s, const rl_issuer *issuer, const ca_template *t)
{
    if (t->ocsp_nocheck) {
        ca_extension_open(w, RL_SPAN_LIT("\x2b\x06\x01\x05\x05\x07\x30\x01\x05"), false);
        rl_der_put_null(w);
        ca_extension_close(w);
        return;
    }
    put_aia(w, s->http.base_url, issuer->id);
    if (s->crl.distribution_point)
        put_crl_point(w, s->http.base_url, issuer->id);
}

/* ---- the whole ---- */
/* What OpenSSL encodes of a template; empty when there is none of it. */
struct encoded {
    rl_span names, constraints; /* owned */
};

static bool encode(const ca_template *t, struct encoded *out)
{
    unsigned char *der = NULL;
    int n = sk_GENERAL_NAME_num(t->names) > 0 ? i2d_GENERAL_NAMES(t->names, &der) : 0;
    out->names = rl_span_of(der, n > 0 ? (size_t)n : 0);
    der = NULL;
    int m = t->sub && t->sub->names
                ? ASN1_item_i2d((const ASN1_VALUE *)t->sub->names, &der, ASN1_ITEM_rptr(NAME_CONSTRAINTS))
                : 0;
    out->constraints = rl_span_of(der, m > 0 ? (size_t)m : 0);
    return n >= 0 && m >= 0;
}

static void put_extensions(rl_der_writer *w, const rl_ca *ca, const rl_issuer *issuer, const ca_template *t,
                           const struct encoded *en)
{
    /* RFC 5280 §4.2.1.6: with an empty subject the alternative names are critical. */
    const bool nameless = X509_NAME_entry_count(t->subject) == 0, root = issuer == NULL;
    put_basic_constraints(w, root || t->sub, t->sub ? t->sub->path_length : -1);
    put_ski(w, t->key);
    if (!root)
        put_aki(w, issuer);
    put_key_usage(w, t->key_usage);
    put_eku(w, t->eku);
    put_encoded(w, RL_SPAN_LIT("\x55\x1d\x11"), nameless, en->names);
    put_encoded(w, RL_SPAN_LIT("\x55\x1d\x1e"), true, en->constraints);
    if (t->tenant)
        ca_put_tenant(w, t->tenant);
    if (t->device)
        ca_put_device(w, t->device);
    if (t->sid)
        ca_put_sid(w, t->sid);
    if (!root)
        put_status_services(w, ca->settings, issuer, t);
}

static void put_serial(rl_der_writer *w, const rl_serial *serial)
{
    rl_der_open(w, RL_DER_INTEGER);
    if (serial->n == 0 || serial->b[0] >= 0x80)
        rl_der_put_raw(w, RL_SPAN_LIT("\0"));
    rl_der_put_raw(w, rl_span_of(serial->b, serial->n));
    rl_der_close(w);
}

static rl_span name_of(const X509_NAME *name)
{
    const unsigned char *der = NULL;
    size_t n = 0;
    return X509_NAME_get0_der(name, &der, &n) == 1 ? rl_span_of(der, n) : (rl_span){NULL, 0};
}

/* `issuer` NULL: a root. */
static void put_tbs(rl_der_writer *w, const rl_ca *ca, const rl_issuer *issuer, const rl_signer *signer,
                    const ca_template *t, const struct encoded *en)
{
    rl_span subject = name_of(t->subject), above = issuer ? name_of(X509_get_subject_name(issuer->cert)) : subject,
            spki = rl_key_spki(t->key);
    if (subject.n == 0 || above.n == 0 || spki.n == 0)
        w->err = RL_ECRYPTO;
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(0));
    rl_der_put_uint(w, 2); /* version 3 */
    rl_der_close(w);
    put_serial(w, &t->serial);
    rl_der_put_raw(w, rl_signer_algorithm(signer));
    rl_der_put_raw(w, above);
    rl_der_open(w, RL_DER_SEQUENCE);
    rl_der_put_time(w, t->not_before);
    rl_der_put_time(w, t->not_after);
    rl_der_close(w);
    rl_der_put_raw(w, subject);
    rl_der_put_raw(w, spki);
    rl_der_open(w, RL_DER_CONTEXT_CONSTRUCTED(3));
    rl_der_open(w, RL_DER_SEQUENCE);
    put_extensions(w, ca, issuer, t, en);
    rl_der_close(w);
    rl_der_close(w);
    rl_der_close(w);
}

/* Room for a certificate, more than it takes. */
static size_t room_for(const rl_ca *ca, const rl_issuer *issuer, const ca_template *t, const struct encoded *en)
{
    enum { FIXED = 2048, AROUND_OID = 8 };
    size_t n = FIXED + name_of(t->subject).n + rl_key_spki(t->key).n + en->names.n + en->constraints.n;
    for (int i = 0; i < sk_ASN1_OBJECT_num(t->eku); i++)
        n += OBJ_length(sk_ASN1_OBJECT_value(t->eku, i)) + AROUND_OID;
    return issuer ? n + name_of(X509_get_subject_name(issuer->cert)).n + 3 * strlen(ca->settings->http.base_url)
                  : n + name_of(t->subject).n;
}

static rl_err sign(rl_signer *signer, rl_span tbs, uint8_t **der, size_t *n, rl_error *e)
{
    enum { SIGNATURE_MAX = 1024, AROUND = 64 };
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_n = sizeof(signature), room = tbs.n + SIGNATURE_MAX + AROUND;
    rl_der_writer w;
    rl_span whole;
    RL_TRY(rl_signer_sign(signer, tbs, signature, &signature_n, e));
    uint8_t *memory = malloc(room);
    if (!memory)
        return out_of_memory(e);
    rl_der_init(&w, memory, room);
    rl_der_open(&w, RL_DER_SEQUENCE);
    rl_der_put_raw(&w, tbs);
    rl_der_put_raw(&w, rl_signer_algorithm(signer));
    rl_der_put_bits(&w, rl_span_of(signature, signature_n));
    rl_der_close(&w);
    rl_err err = rl_der_finish(&w, &whole);
    if (err != RL_OK) {
        free(memory);
        return rl_fail(e, err, "ca", "the certificate cannot be encoded");
    }
    *der = memory;
    *n = whole.n;
    return RL_OK;
}

static rl_err build(const rl_ca *ca, const rl_issuer *issuer, rl_signer *signer, const ca_template *t, uint8_t **der,
                    size_t *n, rl_error *e)
{
    struct encoded en;
    rl_der_writer w;
    rl_span tbs;
    bool encoded = encode(t, &en);
    size_t room = room_for(ca, issuer, t, &en);
    uint8_t *memory = malloc(room);
    rl_err err = memory ? RL_OK : out_of_memory(e);
    if (err == RL_OK) {
        rl_der_init(&w, memory, room);
        put_tbs(&w, ca, issuer, signer, t, &en);
        err = encoded ? rl_der_finish(&w, &tbs) : RL_ECRYPTO;
        err = err == RL_OK ? sign(signer, tbs, der, n, e) : rl_fail_openssl(e, "ca", "the certificate cannot be made");
    }
    free(memory);
    OPENSSL_free((void *)(uintptr_t)en.names.p);
    OPENSSL_free((void *)(uintptr_t)en.constraints.p);
    return err;
}

rl_err ca_build(const rl_ca *ca, const rl_issuer *issuer, const ca_template *t, uint8_t **der, size_t *n, rl_error *e)
{
    return build(ca, issuer, issuer->signer, t, der, n, e);
}

rl_err ca_build_root(rl_signer *signer, const ca_template *t, uint8_t **der, size_t *n, rl_error *e)
{
    return build(NULL, NULL, signer, t, der, n, e);
}

rl_err ca_record(const ca_template *t, const char *profile, const char *requester, int64_t now, rl_cert_record *out)
{
    *out = (rl_cert_record){.subject = rl_name_text(t->subject),
                            .profile = strdup(profile),
                            .requester = strdup(requester),
                            .issued_at = now,
                            .not_before = t->not_before,
                            .not_after = t->not_after};
    if (out->subject && out->profile && out->requester)
        return RL_OK;
    rl_cert_clear(out);
    return RL_ENOMEM;
}

rl_err ca_name_below(const rl_issuer *issuer, const char *cn, X509_NAME **out, rl_error *e)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(issuer->cert));
    if (!name || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0) != 1) {
        X509_NAME_free(name);
        return rl_fail_openssl(e, "ca", "the certificate's name cannot be made");
    }
    *out = name;
    return RL_OK;
}

rl_err rl_ca_sign_responder(const rl_ca *ca, const rl_issuer *issuer, EVP_PKEY *key, rl_duration validity, int64_t now,
                            X509 **out, rl_error *e)
{
    rl_profile profile;
    rl_profile_get(ca->settings, RL_PROFILE_OCSP, &profile);
    rl_key *own = rl_key_of(key);
    ca_template t = {.key = own, .key_usage = ca_key_usage(profile.rules), .ocsp_nocheck = true};
    X509_NAME *subject = NULL;
    uint8_t *der = NULL;
    size_t n;
    EXTENDED_KEY_USAGE *eku = ca_eku_list(&profile.rules->eku);
    rl_err err = eku && own ? ca_validity(ca, issuer, now, validity, &t, e) : out_of_memory(e);
    if (err == RL_OK)
        err = ca_name_below(issuer, "OCSP responder", &subject, e);
    if (err == RL_OK && rl_serial_random(&t.serial) != RL_OK)
        err = rl_fail_openssl(e, "ca", "no random serial number");
    t.eku = eku;
    t.subject = subject;
    if (err == RL_OK)
        err = ca_build(ca, issuer, &t, &der, &n, e);
    if (err == RL_OK)
        err = rl_x509_from_der(rl_span_of(der, n), out, e);
    free(der);
    rl_key_free(own);
    ca_eku_free(eku);
    X509_NAME_free(subject);
    return err;
}
