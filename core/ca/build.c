/* Building certificates (RFC 5280 §4): fields, extensions, signature. Pure but for the signer; any thread.
 *
 * Extensions are built from structures, never from OpenSSL's configuration text, in which a name from outside
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
        return rl_fail(e, RL_EDENIED, "ca", "the CA certificate has expired");
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

/* ---- extensions ---- */
static bool add(X509 *cert, int nid, const void *value, bool critical)
{
    return value && X509_add1_ext_i2d(cert, nid, (void *)value, critical, X509V3_ADD_DEFAULT) == 1;
}

/* RFC 5280 §4.2.1.2, method 1: SHA-1 of the subjectPublicKey. */
static bool add_ski(X509 *cert)
{
    uint8_t digest[RL_HASH_MAX];
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool ok = id && rl_x509_key_hash(cert, RL_SHA1, digest) == RL_OK &&
              ASN1_OCTET_STRING_set(id, digest, (int)rl_hash_size(RL_SHA1)) == 1 &&
              add(cert, NID_subject_key_identifier, id, false);
    ASN1_OCTET_STRING_free(id);
    return ok;
}

static bool add_aki(X509 *cert, const rl_issuer *issuer)
{
    ASN1_OCTET_STRING *ski = X509_get_ext_d2i(issuer->cert, NID_subject_key_identifier, NULL, NULL);
    AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
    if (aki && ski) {
        aki->keyid = ski;
        ski = NULL;
    }
    bool ok = aki && aki->keyid && add(cert, NID_authority_key_identifier, aki, false);
    ASN1_OCTET_STRING_free(ski);
    AUTHORITY_KEYID_free(aki);
    return ok;
}

static bool add_key_usage(X509 *cert, uint32_t usage)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = bits != NULL;
    for (int bit = 0; ok && bit < 8; bit++) /* KU_*: the first bit is the highest of the octet */
        if (usage & (0x80u >> bit))
            ok = ASN1_BIT_STRING_set_bit(bits, bit, 1) == 1;
    ok = ok && add(cert, NID_key_usage, bits, true);
    ASN1_BIT_STRING_free(bits);
    return ok;
}

/* `path_length` < 0: without. */
static bool add_basic_constraints(X509 *cert, bool ca, int path_length)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    bool ok = constraints != NULL;
    if (ok)
        constraints->ca = ca ? 0xff : 0;
    if (ok && path_length >= 0)
        ok = (constraints->pathlen = ASN1_INTEGER_new()) != NULL && ASN1_INTEGER_set(constraints->pathlen, path_length);
    ok = ok && add(cert, NID_basic_constraints, constraints, true);
    BASIC_CONSTRAINTS_free(constraints);
    return ok;
}

static bool push_access(AUTHORITY_INFO_ACCESS *aia, int method, const char *base_url, const char *path)
{
    ACCESS_DESCRIPTION *access = ACCESS_DESCRIPTION_new();
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    rl_buf url = {0};
    bool ok = access && uri && rl_buf_printf(&url, "%s%s", base_url, path) == RL_OK &&
              ASN1_STRING_set(uri, url.p, (int)url.n) == 1 && sk_ACCESS_DESCRIPTION_push(aia, access) > 0;
    rl_buf_free(&url);
    if (!ok) {
        ACCESS_DESCRIPTION_free(access);
        ASN1_IA5STRING_free(uri);
        return false;
    }
    ASN1_OBJECT_free(access->method);
    access->method = OBJ_nid2obj(method);
    GENERAL_NAME_set0_value(access->location, GEN_URI, uri);
    return true;
}

/* RFC 5280 §4.2.2.1 */
static bool add_aia(X509 *cert, const char *base_url, rl_issuer_id issuer)
{
    char ca[24];
    AUTHORITY_INFO_ACCESS *aia = AUTHORITY_INFO_ACCESS_new();
    snprintf(ca, sizeof(ca), "/ca/%u.cer", issuer); /* of this key, also after a rollover */
    bool ok = aia && push_access(aia, NID_ad_OCSP, base_url, "/ocsp") &&
              push_access(aia, NID_ad_ca_issuers, base_url, ca) && add(cert, NID_info_access, aia, false);
    AUTHORITY_INFO_ACCESS_free(aia);
    return ok;
}

/* RFC 5280 §4.2.1.13 */
static bool add_crl_point(X509 *cert, const char *base_url, rl_issuer_id issuer)
{
    CRL_DIST_POINTS *points = CRL_DIST_POINTS_new();
    DIST_POINT *point = DIST_POINT_new();
    DIST_POINT_NAME *name = DIST_POINT_NAME_new();
    GENERAL_NAME *location = GENERAL_NAME_new();
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    rl_buf url = {0};
    bool ok = points && point && name && location && uri && (name->name.fullname = GENERAL_NAMES_new()) &&
              rl_buf_printf(&url, "%s/crl/%u.crl", base_url, issuer) == RL_OK &&
              ASN1_STRING_set(uri, url.p, (int)url.n) == 1;
    rl_buf_free(&url);
    if (ok) { /* each is the next one's from here on */
        GENERAL_NAME_set0_value(location, GEN_URI, uri);
        uri = NULL;
        ok = sk_GENERAL_NAME_push(name->name.fullname, location) > 0;
        location = ok ? NULL : location;
        name->type = 0; /* fullName */
        point->distpoint = name;
        name = NULL;
        ok = ok && sk_DIST_POINT_push(points, point) > 0;
        point = ok ? NULL : point;
    }
    ok = ok && add(cert, NID_crl_distribution_points, points, false);
    ASN1_IA5STRING_free(uri);
    GENERAL_NAME_free(location);
    DIST_POINT_NAME_free(name);
    DIST_POINT_free(point);
    CRL_DIST_POINTS_free(points);
    return ok;
}

/* Where its status is told. */
static bool add_status_services(X509 *cert, const rl_settings *s, const rl_issuer *issuer)
{
    return add_aia(cert, s->http.base_url, issuer->id) &&
           (!s->crl.distribution_point || add_crl_point(cert, s->http.base_url, issuer->id));
}

static bool add_nocheck(X509 *cert)
{
    ASN1_NULL *null = ASN1_NULL_new();
    bool ok = add(cert, NID_id_pkix_OCSP_noCheck, null, false);
    ASN1_NULL_free(null);
    return ok;
}

/* ---- the whole ---- */
static bool fill(X509 *cert, const ca_template *t, const X509_NAME *issuer)
{
    BIGNUM *serial = BN_bin2bn(t->serial.b, t->serial.n, NULL);
    bool ok = serial && X509_set_version(cert, X509_VERSION_3) == 1 &&
              BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL &&
              X509_set_issuer_name(cert, issuer) == 1 && X509_set_subject_name(cert, t->subject) == 1 &&
              ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)t->not_before) != NULL &&
              ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)t->not_after) != NULL &&
              (t->for_der ? rl_key_write(cert, t->key) : X509_set_pubkey(cert, t->key) == 1);
    BN_free(serial);
    return ok;
}

static bool sign(X509 *cert, const rl_signer *signer)
{
    return X509_sign(cert, rl_signer_pkey(signer), EVP_get_digestbyname(rl_hash_name(rl_signer_hash(signer)))) > 0;
}

rl_err ca_build(const rl_ca *ca, const rl_issuer *issuer, const ca_template *t, X509 **out, rl_error *e)
{
    X509 *cert = X509_new();
    if (!cert)
        return out_of_memory(e);
    /* RFC 5280 §4.2.1.6: with an empty subject the alternative names are critical. */
    bool nameless = X509_NAME_entry_count(t->subject) == 0;
    bool ok = fill(cert, t, X509_get_subject_name(issuer->cert)) &&
              add_basic_constraints(cert, t->sub != NULL, t->sub ? t->sub->path_length : -1) && add_ski(cert) &&
              add_aki(cert, issuer) && add_key_usage(cert, t->key_usage) &&
              (sk_ASN1_OBJECT_num(t->eku) <= 0 || add(cert, NID_ext_key_usage, t->eku, false)) &&
              (sk_GENERAL_NAME_num(t->names) <= 0 || add(cert, NID_subject_alt_name, t->names, nameless)) &&
              (!t->sub || !t->sub->names || add(cert, NID_name_constraints, t->sub->names, true)) &&
              (!t->tenant || ca_add_tenant(cert, t->tenant)) && (!t->device || ca_add_device(cert, t->device)) &&
              (!t->sid || ca_add_sid(cert, t->sid)) &&
              (t->ocsp_nocheck ? add_nocheck(cert) : add_status_services(cert, ca->settings, issuer)) &&
              sign(cert, issuer->signer);
    if (!ok) {
        X509_free(cert);
        return rl_fail_openssl(e, "ca", "the certificate cannot be made");
    }
    *out = cert;
    return RL_OK;
}

rl_err ca_build_root(rl_signer *signer, const ca_template *t, X509 **out, rl_error *e)
{
    X509 *cert = X509_new();
    if (!cert)
        return out_of_memory(e);
    bool ok = fill(cert, t, t->subject) && add_basic_constraints(cert, true, -1) && add_ski(cert) &&
              add_key_usage(cert, t->key_usage) && sign(cert, signer);
    if (!ok) {
        X509_free(cert);
        return rl_fail_openssl(e, "ca", "the root certificate cannot be made");
    }
    *out = cert;
    return RL_OK;
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
    ca_template t = {.key = key, .key_usage = ca_key_usage(profile.rules), .ocsp_nocheck = true};
    X509_NAME *subject = NULL;
    EXTENDED_KEY_USAGE *eku = ca_eku_list(&profile.rules->eku);
    rl_err err = eku ? ca_validity(ca, issuer, now, validity, &t, e) : out_of_memory(e);
    if (err == RL_OK)
        err = ca_name_below(issuer, "OCSP responder", &subject, e);
    if (err == RL_OK && rl_serial_random(&t.serial) != RL_OK)
        err = rl_fail_openssl(e, "ca", "no random serial number");
    t.eku = eku;
    t.subject = subject;
    if (err == RL_OK)
        err = ca_build(ca, issuer, &t, out, e);
    ca_eku_free(eku);
    X509_NAME_free(subject);
    return err;
}
