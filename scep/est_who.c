/* Who may have a certificate by EST: who knows the profile's challenge, has a token of Microsoft Entra ID with the
 * right role, or holds the certificate that is renewed. Runs on the thread pool. */
#include "scep/est_priv.h"

#define ROLE_SERVICE "CSR.Request.Db"  /* applications: whatever the profile certifies */
#define ROLE_SELF    "CSR.SelfService" /* users: for themselves */

/* ---- enrollment ---- */
void est_read_credentials(est_job *job, rl_http_request *req)
{
    job->password = est_basic_password(rl_http_header(req, "Authorization"), req->arena);
    job->token = rl_http_bearer(req);
}

static bool may_by_challenge(est_job *job, X509_REQ *csr)
{
    char wish[SCEP_TRANSACTION_FRONT + 1] = "";
    const rl_profile_rules *rules = job->profile->certificate.rules;
    if (rules->challenge && scep_challenge_holds(rules, job->password))
        return true;
    /* A key that we make exists in one answer only, so there such a challenge is good for one request. */
    if ((job->operation == EST_KEYGEN || est_wish(job, csr, wish) == RL_OK) &&
        rl_challenge_holds(job->est->scep->store, &job->profile->certificate, job->password, csr, wish, &job->once))
        return true;
    job->once.name[0] = 0;
    job->guessed = job->password != NULL;
    est_refuse(job, 401,
               job->password         ? "the password is not the profile's challenge"
               : rules->entra_tokens ? "enrollment needs a bearer token of Entra ID, or HTTP Basic with the profile's "
                                       "challenge, if it has one, as password"
                                     : "enrollment needs HTTP Basic with the profile's challenge as password");
    return false;
}

/* The profile for a path without a label: the first of these that takes tokens, and for a user's own certificate one in
 * which there is such a thing. NULL when there is none. */
static const scep_profile *profile_for_holder(const est_job *job)
{
    static const char *const labels[] = {"static", "static-aad"};
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
        const scep_profile *p = est_find_profile(job->est, rl_span_str(labels[i]));
        if (p && p->certificate.rules->entra_tokens &&
            (job->caller.application || p->certificate.bind == RL_BIND_ENTRA))
            return p;
    }
    return NULL;
}

static bool may_by_token(est_job *job)
{
    rl_error e = {0};
    if (!job->est->bearer || (job->labelled && !job->profile->certificate.rules->entra_tokens)) {
        est_refuse(job, 401, "this profile takes no bearer token");
        return false;
    }
    rl_err err = rl_bearer_check(job->est->bearer, job->token, &job->caller, &e);
    if (err == RL_EDENIED) {
        job->bad_token = job->guessed = true;
        est_refuse(job, 401, e.message);
    } else if (err == RL_EBUSY) {
        job->retry_after = RL_BEARER_RETRY;
        est_refuse(job, 503, e.message);
    } else if (err != RL_OK) {
        est_refuse_for(job, err, &e);
    } else if (!rl_caller_has(&job->caller, job->caller.application ? ROLE_SERVICE : ROLE_SELF)) {
        est_refuse(job, 403,
                   job->caller.application ? "an application needs the role " ROLE_SERVICE
                                           : "a user needs the role " ROLE_SELF);
    } else if (!job->labelled && !(job->profile = profile_for_holder(job))) {
        est_refuse(job, 403, "by a token there is no such certificate without a profile's name in the path");
    } else {
        return true;
    }
    return false;
}

bool est_may_enroll(est_job *job, X509_REQ *csr)
{
    return job->token.p ? may_by_token(job) : may_by_challenge(job, csr);
}

/* ---- renewal ---- */
/* The profile in which the certificate was issued. */
static const scep_profile *profile_of(const rl_est *est, X509 *cert)
{
    const rl_issuer *issuer = rl_ca_signer_of(est->scep->ca, cert);
    rl_cert_record record;
    rl_serial serial;
    if (!issuer || rl_x509_serial(cert, &serial) != RL_OK)
        return NULL;
    rl_cert_id id = {.issuer = issuer->id, .serial_n = serial.n};
    memcpy(id.serial, serial.b, serial.n);
    if (rl_store_cert(est->scep->store, &id, &record) != RL_OK)
        return NULL;
    const scep_profile *p = est_find_profile(est, rl_span_str(record.profile));
    rl_cert_clear(&record);
    return p;
}

bool est_may_renew(est_job *job, rl_span der, X509_REQ *csr)
{
    scep_request r = {.csr = csr};
    scep_refusal why;
    rl_error e = {0};
    bool may = false;
    if (der.n == 0) {
        est_refuse(job, 401, "a renewal needs the TLS client certificate that is renewed (REVLINE_EST_LISTEN)");
        return false;
    }
    /* RFC 7030 §4.2.2, RFC 6402 §2.8: else the client would get the names that it wants no more. */
    if (est_has_attribute(csr, "1.3.6.1.5.5.7.7.36")) { /* id-cmc-changeSubjectName */
        est_refuse(job, 403, "a renewal changes no names (ChangeSubjectName): enroll anew");
        return false;
    }
    if (rl_x509_from_der(der, &r.signer, &e) != RL_OK) {
        est_refuse(job, 403, "the client certificate cannot be read");
        return false;
    }
    if (!job->profile)
        job->profile = profile_of(job->est, r.signer);
    rl_err err =
        job->profile ? scep_renewal_check(job->est->scep, job->profile, &r, false, &job->renews, &why) : RL_EDENIED;
    if (!job->profile)
        est_refuse(job, 403, "the client certificate is none of an enrollment profile that is on here");
    else if (err == RL_EDENIED)
        est_refuse(job, 403, why.text);
    else if (err != RL_OK)
        est_refuse_for(job, err, &e);
    may = err == RL_OK;
    job->guessed = err == RL_EDENIED;
    X509_free(r.signer);
    return may;
}
