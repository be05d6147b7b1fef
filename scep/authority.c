/* What SCEP tells of the CA: GetCACaps, GetCACert, GetNextCACert; and who decrypts and signs. */
#include <stdlib.h>

#include "base/clock.h"
#include "scep/scep_priv.h"

static int64_t end_of(const X509 *cert)
{
    int64_t end;
    return rl_x509_time(X509_get0_notAfter(cert), &end) == RL_OK ? end : 0;
}

/* ---- identities ---- */
static void add_older(rl_scep *s, X509 *cert, rl_signer *signer)
{
    scep_identity *last = s->older_n ? &s->older[s->older_n - 1] : &s->self, *next = &s->older[s->older_n++];
    *next = (scep_identity){.cert = cert, .signer = signer, .allow_legacy = s->self.allow_legacy};
    last->older = next;
}

/* The CA or its registration authority; behind it an RSA CA that has one, for clients that take its certificate all the
 * same, and those from before a rollover that are still valid, the RSA CAs of our own and the RA as they certified it:
 * clients encrypt to the one they know, and take its answer only. */
static void find_identities(rl_scep *s)
{
    rl_signer *signer;
    X509 *cert;
    rl_ca_scep_identity(s->ca, &s->self.cert, &s->self.signer);
    s->self.allow_legacy = s->settings->scep.allow_legacy;
    for (rl_issuer_id id = rl_ca_issuer(s->ca)->id; id >= 1; id--) {
        const rl_issuer *i = rl_ca_by_id(s->ca, id);
        if (i->cert == s->self.cert || !i->signer || !rl_signer_is_rsa(i->signer) || end_of(i->cert) <= rl_wall_s())
            continue;
        add_older(s, i->cert, i->signer);
    }
    for (size_t i = 0; rl_ca_scep_older(s->ca, i, &cert, &signer); i++)
        add_older(s, cert, signer);
}

/* ---- GetCACert, RFC 8894 §4.2.1 ---- */
size_t scep_chain(const rl_scep *s, rl_issuer_id issuer, rl_span out[RL_CA_CHAIN_MAX])
{
    if (issuer != rl_ca_issuer(s->ca)->id)
        return rl_ca_chain(s->ca, rl_ca_by_id(s->ca, issuer), out);
    memcpy(out, s->chain, s->chain_n * sizeof(*out));
    return s->chain_n;
}

/* The recipient first: the registration authority, when there is one; the CA and those above it. */
struct ca_certs {
    uint8_t *ra; /* DER, owned */
    rl_span all[1 + RL_CA_CHAIN_MAX];
    size_t n;
};

static rl_err read_ca_certs(const rl_scep *s, struct ca_certs *out, rl_error *e)
{
    const rl_issuer *issuer = rl_ca_issuer(s->ca);
    size_t ra_n;
    *out = (struct ca_certs){.n = 0};
    if (s->self.cert != issuer->cert) {
        RL_TRY(rl_x509_to_der(s->self.cert, &out->ra, &ra_n, e));
        out->all[out->n++] = rl_span_of(out->ra, ra_n);
    }
    out->n += scep_chain(s, issuer->id, out->all + out->n);
    return RL_OK;
}

/* One certificate as it is. */
static rl_err write_ca_cert(rl_scep *s, const struct ca_certs *certs, rl_error *e)
{
    s->ca_cert_alone = certs->n == 1;
    return s->ca_cert_alone ? rl_buf_append(&s->ca_cert, certs->all[0].p, certs->all[0].n)
                            : scep_certs_only(certs->all, certs->n, &s->ca_cert, e);
}

/* ---- GetNextCACert, RFC 8894 §4.7 ---- */
/* A rollover makes the new root the issuing one at once, so "next" is what it is for a client that holds the root
 * before: the issuing root, signed by that one as long as it is valid; and the registration authority, which the client
 * encrypts to from then on. */
static rl_err write_next_ca(rl_scep *s, const struct ca_certs *certs, rl_error *e)
{
    const rl_issuer *issuer = rl_ca_issuer(s->ca), *before = NULL;
    rl_buf degenerate = {0};
    for (rl_issuer_id id = issuer->id - 1; !before && id >= 1; id--)
        before = rl_ca_by_id(s->ca, id)->signer ? rl_ca_by_id(s->ca, id) : NULL;
    if (!before || end_of(before->cert) <= rl_wall_s())
        return RL_OK;
    s->next_ca_until = end_of(before->cert);
    rl_err err = scep_certs_only(certs->all, certs->n, &degenerate, e);
    if (err == RL_OK)
        err = scep_sign_next(before->cert, rl_signer_pkey(before->signer), rl_buf_span(&degenerate), &s->next_ca, e);
    rl_buf_free(&degenerate);
    return err;
}

bool scep_has_next_ca(const rl_scep *s)
{
    return s->next_ca.n > 0 && rl_wall_s() < s->next_ca_until;
}

/* ---- GetCACaps ---- */
/* RFC 8894 §3.5.2 has no SHA-384, and clients pass over what they do not know; strongSwan 5.9.8 finds no AES without.
 */
rl_err scep_caps(const rl_scep *s, const scep_profile *p, rl_buf *out)
{
    const rl_cert_record of_profile = {.profile = (char *)(uintptr_t)p->certificate.name};
    return rl_buf_printf(out, "POSTPKIOperation\nSHA-256\nSHA-384\nSHA-512\nAES\nSCEPStandard\n%s%s%s",
                         scep_renewal_allowed(s, p, &of_profile) ? "Renewal\n" : "",
                         scep_has_next_ca(s) ? "GetNextCACert\n" : "", s->self.allow_legacy ? "SHA-1\nDES3\n" : "");
}

rl_err scep_authority_open(rl_scep *s, rl_error *e)
{
    struct ca_certs certs;
    find_identities(s);
    s->chain_n = rl_ca_chain(s->ca, rl_ca_issuer(s->ca), s->chain);
    rl_err err = read_ca_certs(s, &certs, e);
    if (err == RL_OK)
        err = write_ca_cert(s, &certs, e);
    if (err == RL_OK)
        err = write_next_ca(s, &certs, e);
    free(certs.ra);
    return err;
}
