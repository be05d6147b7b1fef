/* PKIOperation: a pkiMessage becomes a certificate, or a refusal in SCEP's own terms. Runs on the thread pool.
 *
 * A failure of ours (store, memory, shutdown) is not told as a FAILURE CertRep: a client takes that as final.
 * It gets an HTTP error instead and comes again, and its transaction then finds what was issued meanwhile. Intune's
 * devices are other clients: to them a FAILURE is not final, since Intune has them try again, and an error page is no
 * CA at all. So they get one, whether it is Intune that cannot be asked or the disk that is full. */
#include "base/clock.h"
#include "scep/scep_priv.h"

enum {
    RENEWALS_MAX = 32,             /* certificates that one transaction goes through, see below */
    SIGNED_WITHIN = 7 * 24 * 3600, /* seconds that a message's signingTime may be off */
};

/* ---- issuing ---- */
/* Whether the transaction's certificate is one that nobody can mean any more: it was revoked, or more than half of its
 * life has passed, counted from when it was issued: the notBefore of a short one lies far back by comparison. On hold
 * it is still the one. */
static rl_err is_over(const rl_scep *s, const rl_issued *issued, bool renews, bool *over)
{
    rl_cert_record cert;
    if (rl_store_cert(s->store, &issued->id, &cert) != RL_OK)
        return RL_ECORRUPT;
    *over = cert.status == RL_STATUS_REVOKED ||
            (!renews && rl_wall_s() > cert.issued_at + (cert.not_after - cert.issued_at) / 2);
    rl_cert_clear(&cert);
    return RL_OK;
}

/* The transaction's certificate, which is the one it got before if it was here before. Some clients take their
 * transactionID from their key and keep the key: what looks like a retransmission when the certificate
 * has less than half of its life left, or was revoked, is their way to get another. It gets a new certificate, under a
 * transaction that follows from the old one, so that its own retransmissions find it too. Who renews by certificate
 * says what it follows (`renews`), and gets one successor of that and no more. */
static rl_err issue(const rl_scep *s, const scep_profile *p, const scep_request *r, const rl_cert_id *renews,
                    rl_challenge_use *once, rl_issued *issued, rl_error *e)
{
    char key[SCEP_TRANSACTION_KEY + 1];
    const rl_issue_request ask = {.profile = p->id,
                                  .csr = r->csr,
                                  .proven = r->key,
                                  .requester = "scep",
                                  .renews = renews,
                                  .transaction = key,
                                  .also = once->name[0] ? rl_challenge_spend : NULL,
                                  .also_ctx = once,
                                  .look_up = true};
    rl_cert_id after;
    for (unsigned i = 0; i < RENEWALS_MAX; i++) {
        RL_TRY(scep_transaction_key(p, r, i ? &after : renews, key));
        RL_TRY(rl_ca_issue(s->ca, &ask, issued, e));
        bool over = false;
        rl_err err = issued->repeated ? is_over(s, issued, renews != NULL, &over) : RL_OK;
        if (err == RL_OK && !over)
            return RL_OK;
        after = issued->id;
        rl_issued_clear(issued);
        RL_TRY(err);
    }
    return rl_fail(e, RL_EDENIED, "scep", "this transaction was renewed too often: use another transactionID");
}

/* ---- answering ---- */
static void fail(scep_outcome *out, rl_err err)
{
    bool later = err == RL_ENOMEM || err == RL_EBUSY || err == RL_ECANCELED || err == RL_ETIMEDOUT;
    out->status = later ? 503 : 500;
    out->result = later ? SCEP_BUSY : SCEP_FAILED;
    out->text = later ? "the server cannot answer now, try again" : "the server failed, try again";
}

static void log_refused(const scep_profile *p, const scep_request *r, const char *code, const char *why,
                        const char *peer)
{
    log_client_warn("scep.refused", "profile", p->certificate.name, "transaction", r->transaction, "fail", code,
                    "reason", why, "peer", peer);
}

static void answer_refusal(const scep_profile *p, const scep_request *r, const scep_refusal *why, const char *peer,
                           scep_outcome *out)
{
    rl_error e = {0};
    log_refused(p, r, scep_fail_info_name(why->info), why->text, peer);
    out->guessed = why->guessed;
    rl_err err = scep_reply_failure(r, why, &out->body, &e);
    if (err == RL_OK) {
        out->status = 200;
        out->result = SCEP_REFUSED;
        return;
    }
    log_error("scep.failed", "transaction", r->transaction, "error", e.message, "peer", peer);
    fail(out, err);
}

/* The CA's reason as text for the client; true when the request is to blame, or (RL_ETIMEDOUT) a directory that cannot
 * be asked about it: as when Intune cannot, a FAILURE, and the client comes again. */
static bool blame(rl_err err, const rl_error *e, scep_refusal *why)
{
    if (err != RL_EINVAL && err != RL_EBADMSG && err != RL_ERANGE && err != RL_EUNSUPPORTED && err != RL_EDENIED &&
        err != RL_ETIMEDOUT)
        return false;
    why->info = err == RL_EUNSUPPORTED ? SCEP_BAD_ALG : SCEP_BAD_REQUEST;
    snprintf(why->room, sizeof(why->room), "%s", e->message[0] ? e->message : rl_err_name(err));
    for (char *c = why->room; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* names come from the request, in whatever encoding */
            *c = '?';
    why->text = why->room;
    return true;
}

static void answer_failed(const scep_profile *p, const scep_request *r, rl_err err, const rl_error *e, const char *peer,
                          scep_outcome *out)
{
    const scep_refusal later = {.info = SCEP_BAD_REQUEST, .text = "the server cannot answer now: try again later"};
    rl_error none;
    log_error("scep.failed", "profile", p->certificate.name, "transaction", r->transaction, "error",
              e->message[0] ? e->message : rl_err_name(err), "peer", peer);
    rl_buf_free(&out->body);
    fail(out, err);
    if (p->id == RL_PROFILE_INTUNE && scep_reply_failure(r, &later, &out->body, &none) == RL_OK)
        out->status = 200;
}

/* The new certificate and its CA's, RFC 8894 §3.3.2.1. */
static rl_err answer_issued(const rl_scep *s, const scep_request *r, const rl_issued *issued, rl_buf *out, rl_error *e)
{
    rl_span certs[1 + RL_CA_CHAIN_MAX] = {rl_span_of(issued->der, issued->der_n)};
    rl_buf degenerate = {0};
    size_t n = scep_chain(s, issued->id.issuer, certs + 1);
    rl_err err = scep_certs_only(certs, 1 + n, &degenerate, e);
    if (err == RL_OK)
        err = scep_reply_success(r, rl_buf_span(&degenerate), out, e);
    rl_buf_free(&degenerate);
    return err;
}

void scep_serial_text(const rl_cert_id *id, char out[2 * RL_SERIAL_MAX + 1])
{
    rl_serial serial = {.n = id->serial_n};
    memcpy(serial.b, id->serial, serial.n);
    rl_serial_text(&serial, out);
}

/* The log has what a certificate renews: whoever revokes one that was stolen looks for what came of it. */
static void enroll(const rl_scep *s, const scep_profile *p, const scep_request *r, const rl_cert_id *renews,
                   rl_challenge_use *once, scep_refusal *why, const char *peer, scep_outcome *out)
{
    rl_issued issued = {0};
    rl_error e = {0};
    const bool by_intune = p->id == RL_PROFILE_INTUNE && !renews;
    *why = (scep_refusal){.text = ""};
    rl_err err = by_intune ? scep_intune_enroll(s, p, r, &issued, why, &e) : issue(s, p, r, renews, once, &issued, &e);
    if (err == RL_EDENIED && why->text[0]) {
        answer_refusal(p, r, why, peer, out);
    } else if (blame(err, &e, why)) {
        answer_refusal(p, r, why, peer, out);
    } else if (err != RL_OK || (err = answer_issued(s, r, &issued, &out->body, &e)) != RL_OK) {
        answer_failed(p, r, err, &e, peer, out);
    } else {
        char text[2 * RL_SERIAL_MAX + 1], old[2 * RL_SERIAL_MAX + 1] = "-";
        scep_serial_text(&issued.id, text);
        if (renews)
            scep_serial_text(renews, old);
        log_info("scep.issued", "profile", p->certificate.name, "transaction", r->transaction, "serial", text, "renews",
                 old, "repeated", issued.repeated, "peer", peer);
        out->status = 200;
        out->result = issued.repeated ? SCEP_REPEATED : SCEP_ISSUED;
    }
    rl_issued_clear(&issued);
}

bool scep_challenge_holds(const rl_profile_rules *rules, const char *given)
{
    if (!given || !rules->challenge || !rules->challenge[0])
        return false;
    bool holds = rl_secret_eq(rl_span_str(rules->challenge), rl_span_str(given));
    for (const char *at = rules->old_challenges; at && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        holds |= n > 0 && rl_secret_eq(rl_span_of(at, n), rl_span_str(given));
        at += n;
    }
    return holds;
}

/* A PKCSReq by the challenge, or by a one-time challenge, which `once` has then; a RenewalReq, and a PKCSReq without
 * challenge that a certificate of ours has signed (RFC 8894 §2.3), by that certificate: then `renews` says which.
 * RL_EDENIED with `why`. */
static rl_err authorise(const rl_scep *s, const scep_profile *p, const scep_request *r, rl_cert_id *old,
                        const rl_cert_id **renews, rl_challenge_use *once, scep_refusal *why)
{
    char key[SCEP_TRANSACTION_KEY + 1];
    rl_err err = RL_OK;
    bool given = r->challenge && r->challenge[0], holds = scep_challenge_holds(p->certificate.rules, r->challenge);
    if (p->id == RL_PROFILE_INTUNE && given)
        return RL_OK; /* Intune judges the whole request */
    if (!holds && given && scep_transaction_key(p, r, NULL, key) == RL_OK) {
        holds = rl_challenge_holds(s->store, &p->certificate, r->challenge, r->csr, key, once);
        once->name[0] = holds ? once->name[0] : 0;
    }
    if (r->type == SCEP_RENEWAL_REQ || (!given && scep_signer_is_ours(s, r))) {
        *renews = old;
        err = scep_renewal_check(s, p, r, holds, old, why);
    } else if (!holds) {
        *why = (scep_refusal){.info = SCEP_BAD_REQUEST, .text = "the challenge password is wrong or missing"};
        err = RL_EDENIED;
    }
    why->guessed = err == RL_EDENIED && given && !holds;
    return err;
}

static void certify(const rl_scep *s, const scep_profile *p, const scep_request *r, scep_refusal *why, const char *peer,
                    scep_outcome *out)
{
    const rl_error none = {0};
    const rl_cert_id *renews = NULL;
    rl_cert_id old;
    rl_challenge_use once = {.name = ""};
    rl_err err = authorise(s, p, r, &old, &renews, &once, why);
    if (err == RL_OK)
        enroll(s, p, r, renews, &once, why, peer, out);
    else if (err == RL_EDENIED)
        answer_refusal(p, r, why, peer, out);
    else
        answer_failed(p, r, err, &none, peer, out);
}

/* CertPoll, GetCert, GetCRL. */
static void look_up(const rl_scep *s, const scep_profile *p, const scep_request *r, scep_refusal *why, const char *peer,
                    scep_outcome *out)
{
    rl_error e = {0};
    rl_buf found = {0};
    rl_err err = scep_look_up(s, p, r, &found, why, &e);
    if (err == RL_OK)
        err = scep_reply_success(r, rl_buf_span(&found), &out->body, &e);
    if (err == RL_OK) {
        log_client_info("scep.found", "profile", p->certificate.name, "transaction", r->transaction, "type", r->type,
                        "peer", peer);
        out->status = 200;
        out->result = SCEP_ANSWERED;
    } else if (err == RL_EDENIED) {
        answer_refusal(p, r, why, peer, out);
    } else {
        answer_failed(p, r, err, &e, peer, out);
    }
    rl_buf_free(&found);
}

/* RFC 8894 §3.2.1.4, badTime. An old message that somebody has kept would else renew what it once asked for. A week is
 * more than time zones and queues come to. */
static bool is_timely(const scep_request *r)
{
    int64_t off = r->signed_at - rl_wall_s();
    return r->signed_at == 0 || (off >= -SIGNED_WITHIN && off <= SIGNED_WITHIN);
}

void scep_pki_operation(const rl_scep *s, const scep_profile *p, rl_span message, const char *peer, scep_outcome *out)
{
    scep_request r;
    scep_refusal why = {.text = ""};
    *out = (scep_outcome){.status = 500};
    rl_err err = scep_request_read(&s->self, message, &r, &why);
    if (err == RL_OK && !is_timely(&r)) {
        why = (scep_refusal){.info = SCEP_BAD_TIME, .text = "signingTime is more than a week off: set the clock"};
        err = RL_EDENIED;
    }
    if (err == RL_OK && r.csr) {
        certify(s, p, &r, &why, peer, out);
    } else if (err == RL_OK) {
        look_up(s, p, &r, &why, peer, out);
    } else if (err == RL_EDENIED) {
        answer_refusal(p, &r, &why, peer, out);
    } else if (err == RL_EBADMSG) {
        log_refused(p, &r, "unreadable", why.text, peer);
        *out = (scep_outcome){.status = 400, .result = SCEP_MALFORMED, .text = why.text};
    } else {
        log_error("scep.failed", "error", rl_err_name(err), "peer", peer);
        fail(out, err);
    }
    scep_request_clear(&r);
}
