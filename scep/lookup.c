/* CertPoll, GetCert and GetCRL, RFC 8894 §3.3.3, §4.4 to §4.6: what the store has. */
#include "scep/scep_priv.h"

enum {
    CANDIDATES_MAX = 64,         /* certificates of one transactionID and subject: each renewal adds one */
    LIST_MAX = 16 * 1024 * 1024, /* octets of a list: each answer is encrypted, and takes five times that meanwhile */
};

static rl_err unknown(scep_refusal *why)
{
    scep_refuse_unknown(why);
    return RL_EDENIED;
}

static bool is_own(const rl_issuer *i, const X509_NAME *name)
{
    return i->signer && X509_NAME_cmp(X509_get_subject_name(i->cert), name) == 0;
}

/* ---- GetCert ---- */
/* After a rollover several issuers of ours have one name, so that the serial number decides; newest first.
 * RL_ENOTFOUND. */
static rl_err find_serial(const rl_scep *s, const scep_request *r, rl_cert_id *id)
{
    for (rl_issuer_id n = (rl_issuer_id)rl_ca_issuers(s->ca); n >= 1; n--) {
        rl_cert_status status;
        *id = (rl_cert_id){.issuer = n, .serial_n = r->serial.n};
        memcpy(id->serial, r->serial.b, r->serial.n);
        if (!is_own(rl_ca_by_id(s->ca, n), r->issuer))
            continue;
        rl_err err = rl_store_cert_status(s->store, id, &status);
        if (err != RL_ENOTFOUND)
            return err;
    }
    return RL_ENOTFOUND;
}

static rl_err get_cert(const rl_scep *s, const scep_request *r, rl_buf *out, scep_refusal *why, rl_error *e)
{
    rl_cert_id id;
    rl_buf der = {0};
    rl_err err = find_serial(s, r, &id);
    if (err == RL_OK)
        err = rl_store_der(s->store, &id, &der);
    if (err == RL_OK)
        err = scep_certs_only(&(rl_span){der.p, der.n}, 1, out, e);
    rl_buf_free(&der);
    return err == RL_ENOTFOUND ? unknown(why) : err;
}

/* ---- GetCRL ---- */
/* The list is the issuer's; the serial number only tells issuers of one name apart. Clients ask by a certificate's, the
 * CA's own or none that was ever issued. */
static rl_err get_crl(const rl_scep *s, const scep_request *r, rl_buf *out, scep_refusal *why, rl_error *e)
{
    rl_cert_id id;
    rl_buf crl = {0};
    rl_issuer_id issuer = 0;
    rl_err err = find_serial(s, r, &id);
    if (err == RL_OK)
        issuer = id.issuer;
    else if (err != RL_ENOTFOUND)
        return err;
    for (rl_issuer_id n = (rl_issuer_id)rl_ca_issuers(s->ca); issuer == 0 && n >= 1; n--)
        issuer = is_own(rl_ca_by_id(s->ca, n), r->issuer) ? n : 0;
    if (issuer == 0)
        return unknown(why);
    err = s->crl(s->crl_ctx, issuer, &crl);
    if (err == RL_OK && crl.n > LIST_MAX) {
        *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = "the list is too long for SCEP: it is at /crl by HTTP"};
        err = RL_EDENIED;
    }
    if (err == RL_OK)
        err = scep_crl_only(rl_buf_span(&crl), out, e);
    rl_buf_free(&crl);
    return err;
}

/* ---- CertPoll ---- */
struct choice {
    rl_issuer_id issuer;
    rl_buf der; /* empty: there is none yet */
    int64_t issued_at;
    bool for_signer; /* the certificate has the poll's key */
};

static bool is_better(const struct choice *a, const struct choice *than)
{
    if (!than->der.n)
        return true;
    return a->for_signer != than->for_signer ? a->for_signer : a->issued_at > than->issued_at;
}

/* What decides about a certificate. */
static rl_err read_choice(const rl_scep *s, const scep_request *r, const rl_cert_id *id, struct choice *out)
{
    rl_cert_record record;
    X509 *cert = NULL;
    RL_TRY(rl_store_cert(s->store, id, &record));
    out->issued_at = record.issued_at;
    rl_cert_clear(&record);
    RL_TRY(rl_store_der(s->store, id, &out->der));
    if (rl_x509_from_der(rl_buf_span(&out->der), &cert, NULL) != RL_OK)
        return RL_ECORRUPT;
    rl_key *key = rl_key_in(X509_get_X509_PUBKEY(cert));
    out->for_signer = rl_key_eq(r->signer_key, key);
    rl_key_free(key);
    X509_free(cert);
    return RL_OK;
}

/* Takes `id` for `best` when it is from the issuer named and fits better. */
static rl_err consider(const rl_scep *s, const scep_request *r, const rl_cert_id *id, struct choice *best)
{
    const rl_issuer *issuer = rl_ca_by_id(s->ca, id->issuer);
    struct choice one = {.issuer = id->issuer}, rest;
    if (!issuer || !is_own(issuer, r->issuer))
        return RL_OK;
    rl_err err = read_choice(s, r, id, &one);
    bool better = err == RL_OK && is_better(&one, best);
    rest = better ? *best : one;
    if (better)
        *best = one;
    rl_buf_free(&rest.der);
    return err;
}

/* The newest certificate of the transaction, before all one for the key that signs the poll: others may have chosen the
 * same transactionID and subject. None of those that wait for Intune's word: whether it has come only the whole request
 * can tell. */
static rl_err cert_poll(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_buf *out, scep_refusal *why,
                        rl_error *e)
{
    char front[SCEP_TRANSACTION_FRONT + 1];
    rl_cert_id found[CANDIDATES_MAX];
    struct choice best = {0};
    size_t n = 0;
    if (p->id == RL_PROFILE_INTUNE && s->settings->scep.intune_wait)
        return unknown(why);
    RL_TRY(scep_transaction_front(p, r, r->subject, front));
    rl_err err = rl_store_bindings_named(s->store, RL_SOURCE_TRANSACTION, front, SCEP_TRANSACTION_KEY, found,
                                         CANDIDATES_MAX, &n);
    for (size_t i = 0; err == RL_OK && i < n; i++)
        err = consider(s, r, &found[i], &best);
    if (err == RL_OK && !best.der.n)
        err = unknown(why);
    if (err == RL_OK) {
        rl_span certs[1 + RL_CA_CHAIN_MAX] = {rl_buf_span(&best.der)};
        n = scep_chain(s, best.issuer, certs + 1);
        err = scep_certs_only(certs, 1 + n, out, e);
    }
    rl_buf_free(&best.der);
    return err;
}

rl_err scep_look_up(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_buf *out, scep_refusal *why,
                    rl_error *e)
{
    switch (r->type) {
    case SCEP_CERT_POLL:
        return cert_poll(s, p, r, out, why, e);
    case SCEP_GET_CERT:
        return get_cert(s, r, out, why, e);
    default:
        return get_crl(s, r, out, why, e);
    }
}
