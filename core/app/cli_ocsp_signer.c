/* `revline ocsp`, the signer: the issuer itself or its delegate (RFC 6960 §4.2.2.2), and the signature.
 *
 * Each condition is looked at here on its own, so that a person is told which one fails; that the answer is believed
 * needs OpenSSL's verification of the chain besides. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "app/cli_ocsp.h"
#include "base/clock.h"
#include "base/json.h"

static void not_verified(ocsp_report *r, const char *what)
{
    json_array_append_new(json_object_get(r->json, "notVerified"), json_string(what));
}

static bool same_holder(const X509 *a, const X509 *b)
{
    return X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)) == 0 &&
           EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1;
}

bool cli_ocsp_is_issued_by(X509 *cert, const X509 *issuer)
{
    bool yes = X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(issuer)) == 0 &&
               X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return yes;
}

static bool may_sign_answers(X509 *cert)
{
    return (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) && (X509_get_extended_key_usage(cert) & XKU_OCSP_SIGN);
}

static void check_validity(ocsp_report *r, json_t *s, const X509 *signer)
{
    const char *const names[] = {"notBefore", "notAfter"};
    const ASN1_TIME *const times[] = {X509_get0_notBefore(signer), X509_get0_notAfter(signer)};
    int64_t at[2], now = rl_wall_s();
    char text[RL_TIME_TEXT];
    for (int i = 0; i < 2; i++) {
        if (rl_x509_time(times[i], &at[i]) != RL_OK) {
            cli_ocsp_problem(r, RL_EBADMSG, "%s of the signer's certificate is no time", names[i]);
            return;
        }
        rl_time_rfc3339(at[i], text);
        json_object_set_new(s, names[i], json_string(text));
    }
    if (now < at[0] || now > at[1])
        cli_ocsp_problem(r, RL_EDENIED, "the signer's certificate %s",
                         now < at[0] ? "is not valid yet" : "has expired");
}

/* RFC 6960 §4.2.2.2: issued by the issuer itself, with the extended key usage; §4.2.2.2.1: id-pkix-ocsp-nocheck.
 * RFC 5280 §4.2.1.12: a key usage must allow signatures. */
static void check_delegate(ocsp_report *r, json_t *s, X509 *signer, const X509 *issuer, const char *subject)
{
    bool no_check = X509_get_ext_by_NID(signer, NID_id_pkix_OCSP_noCheck, -1) >= 0;
    bool usage = may_sign_answers(signer);
    json_object_set_new(s, "ocspSigning", json_boolean(usage));
    json_object_set_new(s, "noCheck", json_boolean(no_check));
    if (!issuer)
        return;
    if (!cli_ocsp_is_issued_by(signer, issuer)) {
        json_object_set_new(s, "kind", json_string("stranger"));
        cli_ocsp_problem(r, RL_EDENIED,
                         "the answer is signed by somebody else: %s is neither the issuer nor "
                         "certified by it",
                         subject);
        return;
    }
    json_object_set_new(s, "kind", json_string("delegate"));
    if (!usage)
        cli_ocsp_problem(r, RL_EDENIED,
                         "%s is no delegate for OCSP: its certificate lacks the extended key usage "
                         "OCSPSigning (RFC 6960 §4.2.2.2)",
                         subject);
    if (!(X509_get_key_usage(signer) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)))
        cli_ocsp_problem(r, RL_EDENIED, "the key usage of %s does not allow signatures", subject);
    if (!no_check)
        cli_ocsp_note(r, "the delegate's certificate has no id-pkix-ocsp-nocheck: whether it is revoked itself was not "
                         "asked");
}

/* The newest OpenSSL error in its own words. */
static const char *openssl_reason(void)
{
    const char *data = NULL, *reason;
    int flags = 0;
    unsigned long code = ERR_peek_last_error_data(&data, &flags);
    reason = code ? ERR_reason_error_string(code) : NULL;
    if (data && (flags & ERR_TXT_STRING) && data[0])
        return data;
    return reason ? reason : "it does not sign for this issuer";
}

/* The chain from the signer to what is trusted, as OpenSSL judges it. */
static void check_chain(ocsp_report *r, const ocsp_question *q, OCSP_BASICRESP *basic, STACK_OF(X509) * known)
{
    X509_STORE *store = X509_STORE_new();
    bool ok = store != NULL;
    for (int i = 0; ok && i < sk_X509_num(q->trust); i++)
        ok = X509_STORE_add_cert(store, sk_X509_value(q->trust, i)) == 1;
    ERR_clear_error();
    if (!ok || OCSP_basic_verify(basic, known, store, OCSP_PARTIAL_CHAIN | OCSP_NOEXPLICIT) != 1)
        cli_ocsp_problem(r, RL_EDENIED, "the signer's chain does not verify: %s", ok ? openssl_reason() : "no memory");
    ERR_clear_error();
    X509_STORE_free(store);
}

static void explain_certificate(ocsp_report *r, const ocsp_question *q, X509 *signer)
{
    char *subject = rl_name_text(X509_get_subject_name(signer));
    json_t *s = json_pack("{s:s,s:o}", "kind", "unchecked", "subject", cli_ocsp_text(subject));
    rl_serial serial;
    char text[2 * RL_SERIAL_MAX + 1];
    json_object_set_new(r->json, "signer", s);
    if (rl_x509_serial(signer, &serial) == RL_OK) {
        rl_serial_text(&serial, text);
        json_object_set_new(s, "serial", json_string(text));
    }
    if (q->issuer && same_holder(signer, q->issuer))
        json_object_set_new(s, "kind", json_string("issuer"));
    else
        check_delegate(r, s, signer, q->issuer, subject ? subject : "");
    check_validity(r, s, signer);
    free(subject);
}

/* It is not refused here, for old responders make no others. */
static void note_weak_hash(ocsp_report *r, const ASN1_OBJECT *algorithm)
{
    int digest = NID_undef;
    OBJ_find_sigid_algs(OBJ_obj2nid(algorithm), &digest, NULL);
    if (digest == NID_sha1 || digest == NID_md5)
        cli_ocsp_note(r, "the signature is made with %s, which clients take no longer or not for long",
                      digest == NID_sha1 ? "SHA-1" : "MD5");
}

static void explain_signature(ocsp_report *r, OCSP_BASICRESP *basic, STACK_OF(X509) * known, bool has_signer)
{
    const X509_ALGOR *algorithm = OCSP_resp_get0_tbs_sigalg(basic);
    const ASN1_OBJECT *oid;
    char name[80];
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    OBJ_obj2txt(name, sizeof(name), oid, 0);
    note_weak_hash(r, oid);
    bool ok = has_signer && OCSP_basic_verify(basic, known, NULL, OCSP_NOVERIFY) == 1;
    json_object_set_new(
        r->json, "signature",
        json_pack("{s:s,s:o}", "algorithm", name, "verified", has_signer ? json_boolean(ok) : json_null()));
    if (has_signer && !ok)
        cli_ocsp_problem(r, RL_ECRYPTO, "the signature is wrong: the signer's key did not make it over this answer");
    ERR_clear_error();
}

void cli_ocsp_explain_signer(ocsp_report *r, const ocsp_question *q, OCSP_BASICRESP *basic)
{
    X509 *signer = NULL;
    STACK_OF(X509) *known = sk_X509_new_null(); /* certificates besides those in the answer; borrowed */
    if (!known || (q->issuer && !sk_X509_push(known, q->issuer))) {
        cli_ocsp_problem(r, RL_ENOMEM, "out of memory");
        goto out;
    }
    bool has_signer = OCSP_resp_get0_signer(basic, &signer, known) == 1;
    if (has_signer)
        explain_certificate(r, q, signer);
    explain_signature(r, basic, known, has_signer);
    if (!has_signer && q->issuer)
        cli_ocsp_problem(r, RL_EDENIED,
                         "the answer is signed by somebody else: its signer is not the issuer, and its "
                         "certificate is not in the answer");
    if (!q->issuer)
        not_verified(r, has_signer ? "whether the signer may sign for the issuer: there is no --issuer"
                                   : "the signature and the signer: there is no --issuer, and the signer's certificate "
                                     "is not in the answer");
    else if (r->error.code == RL_OK)
        check_chain(r, q, basic, known);
out:
    ERR_clear_error();
    sk_X509_free(known);
}
