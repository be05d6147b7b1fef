/* Reads and verifies certificate revocation lists; see crl.h. The grammar is RFC 5280 §5.1. */
#include "crypto/crl.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "crypto/key.h"

/* The shortest entry that DER allows: SEQUENCE { INTEGER of one octet, UTCTime }. */
enum { ENTRY_MIN = 2 + 3 + 15, EXTENSIONS_MAX = 32 };

/* ---- extensions ---- */
/* Extension ::= SEQUENCE { extnID, critical DEFAULT FALSE, extnValue }. An explicit FALSE is passed, as OpenSSL does.
 */
static rl_err read_extension(rl_span *list, rl_span *oid, bool *critical, rl_span *value)
{
    rl_span ext;
    *critical = false;
    RL_TRY(rl_der_sequence(list, &ext));
    RL_TRY(rl_der_oid(&ext, oid));
    if (rl_der_peek(&ext, RL_DER_BOOLEAN))
        RL_TRY(rl_der_bool(&ext, critical));
    RL_TRY(rl_der_octets(&ext, value));
    return rl_span_end(&ext);
}

/* id-ce, 2.5.29.x */
static unsigned id_ce(rl_span oid)
{
    return oid.n == 3 && oid.p[0] == 0x55 && oid.p[1] == 0x1d ? oid.p[2] : 0;
}
enum {
    CE_CRL_NUMBER = 20,
    CE_REASON_CODE = 21,
    CE_DELTA_INDICATOR = 27,
    CE_DISTRIBUTION_POINT = 28,
    CE_CERTIFICATE_ISSUER = 29
};

static rl_err unknown_critical(rl_span oid, rl_error *e)
{
    char text[80] = "";
    rl_hex((rl_span){oid.p, oid.n < 32 ? oid.n : 32}, text, sizeof(text));
    return rl_fail(e, RL_EUNSUPPORTED, "crl", "a critical extension is not known (OID octets %s)", text);
}

/* ---- entries ---- */
static rl_err read_reason(rl_span value, uint8_t *reason)
{
    rl_span v;
    RL_TRY(rl_der_expect(&value, RL_DER_ENUMERATED, &v));
    /* removeFromCRL is for delta lists; 7 is not used. */
    if (v.n != 1 || v.p[0] > 10 || v.p[0] == 7 || v.p[0] == 8)
        return RL_EBADMSG;
    *reason = v.p[0];
    return rl_span_end(&value);
}

/* RFC 5280 §5.3. The invalidity date and a hold instruction change nothing here. */
static rl_err read_entry_extensions(rl_span *entry, rl_crl_entry *out, rl_error *e)
{
    rl_span list, oid, value;
    bool critical;
    RL_TRY(rl_der_sequence(entry, &list));
    for (unsigned i = 0; list.n > 0; i++) {
        if (i == EXTENSIONS_MAX)
            return RL_EBADMSG;
        RL_TRY(read_extension(&list, &oid, &critical, &value));
        if (id_ce(oid) == CE_REASON_CODE)
            RL_TRY(read_reason(value, &out->reason));
        else if (id_ce(oid) == CE_CERTIFICATE_ISSUER)
            return rl_fail(e, RL_EUNSUPPORTED, "crl",
                           "it is an indirect list: an entry is about another issuer's "
                           "certificate");
        else if (critical)
            return unknown_critical(oid, e);
    }
    return RL_OK;
}

static rl_err read_entry(rl_span *list, rl_crl *c, rl_error *e)
{
    rl_span entry, serial;
    rl_crl_entry *out = &c->entries[c->n];
    *out = (rl_crl_entry){0};
    RL_TRY(rl_der_sequence(list, &entry));
    RL_TRY(rl_der_expect(&entry, RL_DER_INTEGER, &serial));
    RL_TRY(rl_der_time(&entry, &out->revoked_at));
    if (entry.n > 0)
        RL_TRY(read_entry_extensions(&entry, out, e));
    RL_TRY(rl_span_end(&entry));
    if (rl_serial_from_der(serial, &out->serial) == RL_OK)
        c->n++;
    else if (serial.n > 0)
        c->skipped++;
    else
        return RL_EBADMSG;
    return RL_OK;
}

int rl_crl_order(const rl_serial *a, const rl_serial *b)
{
    int order = memcmp(a->b, b->b, a->n < b->n ? a->n : b->n);
    return order ? order : (int)a->n - (int)b->n;
}

/* Of one serial number a revocation for good comes before a hold, and the earlier date before a later one. */
static int by_serial(const void *x, const void *y)
{
    const rl_crl_entry *a = x, *b = y;
    int order = rl_crl_order(&a->serial, &b->serial);
    if (order)
        return order;
    if ((a->reason == CRL_REASON_CERTIFICATE_HOLD) != (b->reason == CRL_REASON_CERTIFICATE_HOLD))
        return a->reason == CRL_REASON_CERTIFICATE_HOLD ? 1 : -1;
    return a->revoked_at < b->revoked_at ? -1 : a->revoked_at > b->revoked_at;
}

static void sort_entries(rl_crl *c)
{
    size_t kept = 0;
    if (c->n > 0)
        qsort(c->entries, c->n, sizeof(c->entries[0]), by_serial);
    for (size_t i = 0; i < c->n; i++)
        if (kept == 0 || !rl_serial_eq(&c->entries[kept - 1].serial, &c->entries[i].serial))
            c->entries[kept++] = c->entries[i];
    c->n = kept;
}

static rl_err read_entries(rl_span *tbs, rl_crl *c, rl_error *e)
{
    rl_span list;
    if (!rl_der_peek(tbs, RL_DER_SEQUENCE))
        return RL_OK;
    RL_TRY(rl_der_sequence(tbs, &list));
    c->entries = malloc((list.n / ENTRY_MIN + 1) * sizeof(c->entries[0]));
    if (!c->entries)
        return RL_ENOMEM;
    while (list.n > 0)
        RL_TRY(read_entry(&list, c, e));
    sort_entries(c);
    rl_crl_entry *fit = realloc(c->entries, (c->n + 1) * sizeof(c->entries[0]));
    c->entries = fit ? fit : c->entries;
    return RL_OK;
}

/* ---- the list's extensions, RFC 5280 §5.2 ---- */
static rl_err read_number(rl_span value, rl_crl *c)
{
    rl_span number;
    bool negative;
    RL_TRY(rl_der_serial(&value, &number, &negative));
    if (negative)
        return RL_EBADMSG;
    if (number.n > RL_CRL_NUMBER) /* the octet that keeps the sign */
        number = (rl_span){number.p + 1, number.n - 1};
    memcpy(c->number + RL_CRL_NUMBER - number.n, number.p, number.n);
    return rl_span_end(&value);
}

/* IssuingDistributionPoint ::= SEQUENCE { [0] distributionPoint, [1] onlyContainsUserCerts, [2] onlyContainsCACerts,
 * [3] onlySomeReasons, [4] indirectCRL, [5] onlyContainsAttributeCerts }. With a distribution point, or for users' or
 * CAs' certificates only, other revoked certificates may be in other lists. */
static rl_err read_distribution_point(rl_span value, rl_crl *c, rl_error *e)
{
    rl_span idp, v, whole = value;
    uint8_t tag;
    RL_TRY(rl_der_sequence(&value, &idp));
    RL_TRY(rl_span_end(&value));
    while (idp.n > 0) {
        RL_TRY(rl_der_any(&idp, &tag, &v, NULL));
        bool set = v.n == 1 && v.p[0] != 0;
        if (tag == RL_DER_CONTEXT(3))
            return rl_fail(e, RL_EUNSUPPORTED, "crl", "it is for some revocation reasons only");
        if (set && tag == RL_DER_CONTEXT(4))
            return rl_fail(e, RL_EUNSUPPORTED, "crl",
                           "it is an indirect list: it may be about other issuers' "
                           "certificates");
        if (set && tag == RL_DER_CONTEXT(5))
            return rl_fail(e, RL_EUNSUPPORTED, "crl", "it is about attribute certificates only");
        if (tag == RL_DER_CONTEXT_CONSTRUCTED(0) || (set && (tag == RL_DER_CONTEXT(1) || tag == RL_DER_CONTEXT(2))))
            c->partial = true;
        else if (tag < RL_DER_CONTEXT(1) || tag > RL_DER_CONTEXT(5))
            return RL_EBADMSG;
    }
    uint8_t digest[RL_HASH_MAX];
    if (c->partial) {
        RL_TRY(rl_hash_digest(RL_SHA256, whole, digest));
        memcpy(c->scope, digest, sizeof(c->scope));
    }
    return RL_OK;
}

static rl_err read_extensions(rl_span *tbs, rl_crl *c, rl_error *e)
{
    rl_span outer, list, oid, value;
    bool critical;
    RL_TRY(rl_der_expect(tbs, RL_DER_CONTEXT_CONSTRUCTED(0), &outer));
    RL_TRY(rl_der_sequence(&outer, &list));
    RL_TRY(rl_span_end(&outer));
    uint32_t seen = 0;
    for (unsigned i = 0; list.n > 0; i++) {
        if (i == EXTENSIONS_MAX)
            return RL_EBADMSG;
        RL_TRY(read_extension(&list, &oid, &critical, &value));
        unsigned id = id_ce(oid);
        if (id > 0 && id < 32 && (seen & (uint32_t)1 << id)) /* §4.2: each once */
            return RL_EBADMSG;
        seen |= id < 32 ? (uint32_t)1 << id : 0;
        if (id == CE_CRL_NUMBER)
            RL_TRY(read_number(value, c));
        else if (id == CE_DISTRIBUTION_POINT)
            RL_TRY(read_distribution_point(value, c, e));
        else if (id == CE_DELTA_INDICATOR)
            return rl_fail(e, RL_EUNSUPPORTED, "crl", "it is a delta list");
        else if (critical)
            return unknown_critical(oid, e);
    }
    return RL_OK;
}

/* ---- the list ---- */
/* AlgorithmIdentifier, Name: read by OpenSSL where they are used. */
static rl_err take_element(rl_span *in, rl_span *whole)
{
    rl_span contents;
    uint8_t tag;
    return rl_der_peek(in, RL_DER_SEQUENCE) ? rl_der_any(in, &tag, &contents, whole) : RL_EBADMSG;
}

static rl_err read_issuer(rl_span *tbs, rl_crl *c)
{
    rl_span name;
    RL_TRY(take_element(tbs, &name));
    const unsigned char *p = name.p;
    c->issuer = d2i_X509_NAME(NULL, &p, (long)name.n);
    ERR_clear_error();
    return c->issuer && p == name.p + name.n ? RL_OK : RL_EBADMSG;
}

/* TBSCertList ::= SEQUENCE { version OPTIONAL, signature, issuer, thisUpdate, nextUpdate OPTIONAL,
 * revokedCertificates OPTIONAL, [0] crlExtensions OPTIONAL } */
static rl_err read_tbs(rl_span tbs, rl_crl *c, rl_error *e)
{
    rl_span algorithm;
    uint64_t version = 0;
    if (rl_der_peek(&tbs, RL_DER_INTEGER))
        RL_TRY(rl_der_uint(&tbs, &version));
    if (version > 1)
        return RL_EBADMSG;
    RL_TRY(take_element(&tbs, &algorithm));
    if (!rl_span_eq(algorithm, c->signature_algorithm)) /* §5.1.1.2: the same in both places */
        return RL_EBADMSG;
    RL_TRY(read_issuer(&tbs, c));
    RL_TRY(rl_der_time(&tbs, &c->this_update));
    c->next_update = c->this_update + RL_CRL_LIFE_DEFAULT;
    if (rl_der_peek(&tbs, RL_DER_UTC_TIME) || rl_der_peek(&tbs, RL_DER_GENERALIZED_TIME))
        RL_TRY(rl_der_time(&tbs, &c->next_update));
    if (c->next_update < c->this_update)
        return RL_EBADMSG;
    RL_TRY(read_entries(&tbs, c, e));
    if (tbs.n > 0)
        RL_TRY(read_extensions(&tbs, c, e));
    return rl_span_end(&tbs);
}

static rl_err read_list(rl_span der, rl_crl *c, rl_error *e)
{
    rl_span list, tbs, bits;
    uint8_t tag;
    RL_TRY(rl_der_sequence(&der, &list));
    RL_TRY(rl_span_end(&der));
    if (!rl_der_peek(&list, RL_DER_SEQUENCE))
        return RL_EBADMSG;
    RL_TRY(rl_der_any(&list, &tag, &tbs, &c->tbs));
    RL_TRY(take_element(&list, &c->signature_algorithm));
    RL_TRY(rl_der_expect(&list, RL_DER_BIT_STRING, &bits));
    RL_TRY(rl_span_end(&list));
    if (bits.n < 2 || bits.p[0] != 0) /* no unused bits */
        return RL_EBADMSG;
    c->signature = (rl_span){bits.p + 1, bits.n - 1};
    return read_tbs(tbs, c, e);
}

/* Into memory of the list's own. */
static rl_err copy_der(rl_span text, uint8_t **der, size_t *n)
{
    if (text.n > 0 && text.p[0] == RL_DER_SEQUENCE) {
        *der = malloc(text.n);
        *n = text.n;
        return *der ? memcpy(*der, text.p, text.n), RL_OK : RL_ENOMEM;
    }
    unsigned char *found = NULL;
    long length = 0;
    BIO *bio = text.n > 0 && text.n <= INT_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
    /* With an (empty) pass phrase at hand OpenSSL asks nobody at a terminal for one. */
    bool ok = bio && PEM_bytes_read_bio(&found, &length, NULL, PEM_STRING_X509_CRL, bio, NULL, (void *)"") == 1;
    rl_err err = ok && length > 0 ? RL_OK : RL_EBADMSG;
    if (err == RL_OK && !(*der = malloc((size_t)length)))
        err = RL_ENOMEM;
    if (err == RL_OK) {
        memcpy(*der, found, (size_t)length);
        *n = (size_t)length;
    }
    ERR_clear_error();
    OPENSSL_free(found);
    BIO_free(bio);
    return err;
}

rl_err rl_crl_read(rl_span text, size_t limit, rl_crl *out, rl_error *e)
{
    rl_error why = {0};
    size_t n = 0;
    *out = (rl_crl){0};
    if (text.n > limit)
        return rl_fail(e, RL_ERANGE, "crl", "it is larger than the %zu octets allowed", limit);
    rl_err err = copy_der(text, &out->der, &n);
    if (err == RL_OK)
        err = read_list(rl_span_of(out->der, n), out, &why);
    if (err == RL_OK)
        return RL_OK;
    rl_crl_clear(out);
    if (err == RL_ENOMEM)
        return rl_fail(e, err, "crl", "out of memory");
    if (why.message[0])
        return rl_fail(e, err, "crl", "%s", why.message);
    return rl_fail(e, RL_EBADMSG, "crl", "these octets are no certificate revocation list, neither DER nor PEM");
}

void rl_crl_clear(rl_crl *c)
{
    X509_NAME_free(c->issuer);
    free(c->entries);
    free(c->der);
    *c = (rl_crl){0};
}

/* ---- the signature ---- */
static rl_err check_algorithm(const X509_ALGOR *algorithm, bool sha1, rl_error *e)
{
    char name[80];
    int digest = NID_undef, nid = OBJ_obj2nid(algorithm->algorithm);
    OBJ_obj2txt(name, sizeof(name), algorithm->algorithm, 0);
    if (nid == NID_ED25519 || nid == NID_ED448)
        return RL_OK;
    if (nid == NID_rsassaPss)
        digest = rl_pss_digest(algorithm);
    else
        OBJ_find_sigid_algs(nid, &digest, NULL);
    if (digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512 || (digest == NID_sha1 && sha1))
        return RL_OK;
    if (digest == NID_sha1)
        return rl_fail(e, RL_EUNSUPPORTED, "crl",
                       "its signature is made with SHA-1 (%s), which only REVLINE_SYNC_CRL_SHA1 lets pass", name);
    return rl_fail(e, RL_EUNSUPPORTED, "crl", "its signature algorithm, %s, is not accepted", name);
}

rl_err rl_crl_verify(const rl_crl *c, X509 *issuer, bool sha1, rl_error *e)
{
    const unsigned char *p = c->signature_algorithm.p;
    if (X509_NAME_cmp(c->issuer, X509_get_subject_name(issuer)) != 0)
        return rl_fail(e, RL_ENOTFOUND, "crl", "it is another CA's");
    X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &p, (long)c->signature_algorithm.n);
    rl_key *key = rl_key_of(X509_get0_pubkey(issuer));
    rl_err err = algorithm && key ? check_algorithm(algorithm, sha1, e)
                                  : rl_fail(e, RL_EBADMSG, "crl", "its signature algorithm cannot be read");
    if (err == RL_OK && !rl_signature_holds(c->tbs, algorithm, c->signature, key))
        err = rl_fail(e, RL_ENOTFOUND, "crl", "its signature is not by the key of the CA that it names");
    /* RFC 5280 §6.3.3 (f) */
    if (err == RL_OK && !(X509_get_key_usage(issuer) & KU_CRL_SIGN))
        err = rl_fail(e, RL_EDENIED, "crl", "its CA's key usage does not let it sign revocation lists");
    rl_key_free(key);
    X509_ALGOR_free(algorithm);
    ERR_clear_error();
    return err;
}
