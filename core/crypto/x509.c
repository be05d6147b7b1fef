/* X.509 helpers: serial numbers, names, DER, hashes, identities. Pure but for memory. */
#include "crypto/x509.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/der.h"
#include "crypto/key.h"

enum { INPUT_MAX = 1 << 20 }; /* octets of a certificate or request */

/* ---- serial numbers ---- */
rl_err rl_serial_from_der(rl_span contents, rl_serial *out)
{
    if (contents.n == 0 || contents.p[0] >= 0x80)
        return RL_ERANGE;
    while (contents.n > 1 && contents.p[0] == 0)
        contents = (rl_span){contents.p + 1, contents.n - 1};
    if (contents.n > RL_SERIAL_MAX)
        return RL_ERANGE;
    *out = (rl_serial){.n = (uint8_t)contents.n};
    memcpy(out->b, contents.p, contents.n);
    return RL_OK;
}

rl_err rl_serial_from_text(const char *text, rl_serial *out)
{
    char digits[2 * RL_SERIAL_MAX + 3] = "0";
    size_t n = 1;
    uint8_t octets[RL_SERIAL_MAX + 1];
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        text += 2;
    for (; *text; text++) {
        if (*text == ':')
            continue;
        if (!isxdigit((unsigned char)*text) || (n == 2 * RL_SERIAL_MAX + 1 && digits[1] != '0'))
            return RL_EBADMSG;
        if (n == 2 && digits[1] == '0') /* leading zeros do not count */
            n = 1;
        digits[n++] = *text;
    }
    if (n == 1 || n > 2 * RL_SERIAL_MAX + 1)
        return RL_EBADMSG;
    /* digits[0] is a spare '0' that makes the count even when needed */
    size_t from = n % 2 ? 1 : 0, count;
    RL_TRY(rl_unhex(rl_span_of(digits + from, n - from), octets, sizeof(octets), &count));
    size_t skip = count > 1 && octets[0] == 0 ? 1 : 0;
    if (count - skip > RL_SERIAL_MAX)
        return RL_EBADMSG;
    *out = (rl_serial){.n = (uint8_t)(count - skip)};
    memcpy(out->b, octets + skip, count - skip);
    return RL_OK;
}

void rl_serial_text(const rl_serial *s, char out[2 * RL_SERIAL_MAX + 1])
{
    for (size_t i = 0; i < s->n; i++)
        snprintf(out + 2 * i, 3, "%02X", s->b[i]);
    if (s->n == 0)
        out[0] = 0;
}

rl_err rl_serial_random(rl_serial *out)
{
    *out = (rl_serial){.n = 16};
    if (RAND_bytes(out->b, 16) != 1)
        return RL_ECRYPTO;
    out->b[0] = (uint8_t)((out->b[0] & 0x3f) | 0x40);
    return RL_OK;
}

bool rl_serial_eq(const rl_serial *a, const rl_serial *b)
{
    return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

rl_err rl_x509_serial(const X509 *cert, rl_serial *out)
{
    /* OpenSSL keeps the magnitude, without the sign octet that DER puts before a high bit. */
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int n = ASN1_STRING_length(serial);
    if (ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER || n < 1 || n > RL_SERIAL_MAX)
        return RL_ERANGE;
    *out = (rl_serial){.n = (uint8_t)n};
    memcpy(out->b, ASN1_STRING_get0_data(serial), (size_t)n);
    return RL_OK;
}

rl_err rl_x509_time(const ASN1_TIME *t, int64_t *unix_s)
{
    const rl_span text = rl_span_of(ASN1_STRING_get0_data(t), (size_t)ASN1_STRING_length(t));
    if (ASN1_STRING_type(t) == (text.n == 13 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME) &&
        rl_der_time_text(text, unix_s) == RL_OK)
        return RL_OK; /* as RFC 5280 §4.1.2.5 writes it: OpenSSL knows other forms, and takes longer */
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    int ok = epoch && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    if (!ok)
        return RL_ECRYPTO;
    *unix_s = (int64_t)days * 86400 + seconds;
    return RL_OK;
}

/* ---- errors ---- */
rl_err rl_fail_openssl(rl_error *e, const char *domain, const char *what)
{
    char text[160] = "no cause given";
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return rl_fail(e, RL_ECRYPTO, domain, "%s (%s)", what, text);
}

/* ---- names ---- */
/* The octet behind a backslash: two hexadecimal digits, or the character itself. Returns how many characters it took.
 */
static size_t unescape(const char *text, char *octet)
{
    uint8_t value;
    size_t n;
    if (isxdigit((unsigned char)text[0]) && rl_unhex(rl_span_of(text, strnlen(text, 2)), &value, 1, &n) == RL_OK) {
        *octet = (char)value;
        return 2;
    }
    *octet = text[0];
    return 1;
}

/* Takes one "type=value" up to an unescaped comma into `type` and `value`; returns where the next begins. */
static const char *take_attribute(const char *text, char *type, size_t type_cap, char *value, size_t value_cap)
{
    size_t n = 0;
    while (*text == ' ')
        text++;
    while (*text && *text != '=' && n + 1 < type_cap)
        type[n++] = *text++;
    type[n] = 0;
    if (*text++ != '=' || n == 0)
        return NULL;
    for (n = 0; *text && *text != ',';) {
        if (n + 1 >= value_cap)
            return NULL;
        if (*text == '\\' && text[1])
            text += 1 + unescape(text + 1, &value[n]);
        else
            value[n] = *text++;
        if (value[n++] == 0)
            return NULL;
    }
    value[n] = 0;
    bool more = *text == ',';
    return n == 0 || (more && !text[1]) ? NULL : text + more;
}

/* RFC 4514 §2.1: the text begins with the last RelativeDistinguishedName, so each goes in at the front. */
rl_err rl_name_parse(const char *text, X509_NAME **out, rl_error *e)
{
    char type[64], value[512];
    const char *at = text;
    X509_NAME *name = X509_NAME_new();
    if (!name)
        return rl_fail(e, RL_ENOMEM, "name", "out of memory");
    do {
        at = take_attribute(at, type, sizeof(type), value, sizeof(value));
        if (!at || X509_NAME_add_entry_by_txt(name, type, MBSTRING_UTF8, (const unsigned char *)value, -1, 0, 0) != 1) {
            X509_NAME_free(name);
            ERR_clear_error();
            return rl_fail(e, RL_EINVAL, "name", "'%s' is no distinguished name (such as CN=Example,O=Example)", text);
        }
    } while (*at);
    *out = name;
    return RL_OK;
}

char *rl_name_text(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *out = NULL;
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0) {
        long n = BIO_get_mem_data(bio, &data);
        out = strndup(n > 0 ? data : "", n > 0 ? (size_t)n : 0);
    }
    BIO_free(bio);
    return out;
}

/* ---- DER ---- */
rl_err rl_x509_from_der(rl_span der, X509 **out, rl_error *e)
{
    const unsigned char *p = der.p;
    X509 *cert = der.n && der.n <= INPUT_MAX ? d2i_X509(NULL, &p, (long)der.n) : NULL;
    if (cert && p != der.p + der.n) {
        X509_free(cert);
        cert = NULL;
    }
    if (!cert) {
        ERR_clear_error();
        return rl_fail(e, RL_EBADMSG, "x509", "these octets are no certificate in DER");
    }
    *out = cert;
    return RL_OK;
}

rl_err rl_x509_to_der(const X509 *cert, uint8_t **out, size_t *n, rl_error *e)
{
    int length = i2d_X509(cert, NULL);
    if (length <= 0)
        return rl_fail_openssl(e, "x509", "the certificate cannot be encoded");
    uint8_t *der = malloc((size_t)length), *at = der;
    if (!der)
        return rl_fail(e, RL_ENOMEM, "x509", "out of memory");
    i2d_X509(cert, &at);
    *out = der;
    *n = (size_t)length;
    return RL_OK;
}

rl_err rl_csr_from_der(rl_span der, X509_REQ **out, rl_error *e)
{
    const unsigned char *p = der.p;
    X509_REQ *csr = NULL;
    if (der.n && der.n <= INPUT_MAX)
        csr = (X509_REQ *)ASN1_item_d2i_ex(NULL, &p, (long)der.n, ASN1_ITEM_rptr(X509_REQ), rl_no_algorithms(), NULL);
    if (csr && p != der.p + der.n) {
        X509_REQ_free(csr);
        csr = NULL;
    }
    if (!csr) {
        ERR_clear_error();
        return rl_fail(e, RL_EBADMSG, "csr", "these octets are no certificate request in DER");
    }
    *out = csr;
    return RL_OK;
}

rl_err rl_csr_from_any(rl_span text, X509_REQ **out, rl_error *e)
{
    if (text.n && text.p[0] == 0x30)
        return rl_csr_from_der(text, out, e);
    unsigned char *der = NULL;
    long n = 0;
    BIO *bio = text.n && text.n <= INPUT_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
    /* With an (empty) pass phrase at hand OpenSSL asks nobody at a terminal for one. */
    bool found = bio && PEM_bytes_read_bio(&der, &n, NULL, PEM_STRING_X509_REQ, bio, NULL, (void *)"") == 1;
    rl_err err = found ? rl_csr_from_der(rl_span_of(der, (size_t)n), out, e)
                       : rl_fail(e, RL_EBADMSG, "csr", "this is no certificate request, neither PEM nor DER");
    ERR_clear_error();
    OPENSSL_free(der);
    BIO_free(bio);
    return err;
}

/* ---- hashes of an issuer ---- */
rl_err rl_x509_name_hash(const X509 *issuer, rl_hash h, uint8_t *out)
{
    const unsigned char *der;
    size_t n;
    if (X509_NAME_get0_der(X509_get_subject_name(issuer), &der, &n) != 1)
        return RL_ECRYPTO;
    return rl_hash_digest(h, rl_span_of(der, n), out);
}

rl_err rl_x509_key_hash(const X509 *issuer, rl_hash h, uint8_t *out)
{
    const ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(issuer);
    return key ? rl_hash_digest(h, rl_span_of(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key)), out)
               : RL_ECRYPTO;
}

/* ---- identity ---- */
/* As UTF-8, malloced; no NUL inside, valid, not empty. */
static rl_err text_of(const ASN1_STRING *s, char **out)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, s);
    rl_err err = RL_EBADMSG;
    if (n > 0 && !memchr(utf8, 0, (size_t)n) && (*out = strndup((char *)utf8, (size_t)n)) != NULL)
        err = RL_OK;
    OPENSSL_free(utf8);
    ERR_clear_error();
    return err;
}

static rl_err read_sans(const GENERAL_NAMES *names, rl_identity *out)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char oid[64];
        if (name->type == GEN_EMAIL && !out->mail) {
            RL_TRY(text_of(name->d.rfc822Name, &out->mail));
        } else if (name->type == GEN_OTHERNAME && !out->upn) {
            OBJ_obj2txt(oid, sizeof(oid), name->d.otherName->type_id, 1);
            const ASN1_TYPE *value = name->d.otherName->value;
            if (strcmp(oid, "1.3.6.1.4.1.311.20.2.3") != 0)
                continue;
            if (value->type != V_ASN1_UTF8STRING && value->type != V_ASN1_IA5STRING)
                return RL_EBADMSG;
            RL_TRY(text_of(value->value.asn1_string, &out->upn));
        }
    }
    return RL_OK;
}

rl_err rl_identity_read(const X509_NAME *subject, const STACK_OF(X509_EXTENSION) * exts, rl_identity *out, rl_error *e)
{
    rl_err err = RL_OK;
    int critical;
    *out = (rl_identity){0};
    int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
    if (at >= 0)
        err = text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), &out->cn);
    GENERAL_NAMES *names = exts ? X509V3_get_d2i(exts, NID_subject_alt_name, &critical, NULL) : NULL;
    if (err == RL_OK && names)
        err = read_sans(names, out);
    else if (err == RL_OK && exts && critical != -1)
        err = RL_EBADMSG; /* malformed, or there twice */
    GENERAL_NAMES_free(names);
    if (err != RL_OK) {
        rl_identity_free(out);
        return rl_fail(e, err, "x509", "a name in the subject or the alternative names is malformed");
    }
    return RL_OK;
}

void rl_identity_free(rl_identity *i)
{
    free(i->cn);
    free(i->upn);
    free(i->mail);
    *i = (rl_identity){0};
}
