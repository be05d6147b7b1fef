/* Issuing: check, build and sign on the caller's thread, then one transaction that decides.
 *
 * The signature is slow and the writer thread is everybody's, so a certificate is signed before its transaction runs.
 * The transaction looks up the directory objects and whether the SCEP transaction has a certificate already; then the
 * fresh one is thrown away unseen. */
#include "ca/ca_priv.h"

#include <stdlib.h>

#include "base/clock.h"

struct issue {
    const rl_ca *ca;
    const rl_issue_request *request;
    rl_profile profile;
    X509 *old; /* the certificate that is renewed, or NULL */
    ca_csr csr;
    ca_sub sub;
    char key[CA_KEY_NAME], old_key[CA_KEY_NAME]; /* names: of its key, and of the renewed certificate's */
    rl_cert_record record;
    rl_issued *out; /* the fresh certificate; its id becomes the earlier one's when that is found */
    int64_t now;
    int64_t until; /* of a bootstrap certificate: its end; else 0 */
    bool again;    /* it is to be one, and has to be signed anew */
};

/* ---- in the transaction ---- */
static void bind_to(struct issue *i, rl_source source, const char *id)
{
    rl_binding *binding = &i->record.bindings[i->record.bindings_n++];
    binding->source = source;
    snprintf(binding->id, sizeof(binding->id), "%s", id);
}

/* Binds to the object that `name` points at, or to the name until sync sees such an object. */
static rl_err bind_name(rl_store_txn *t, struct issue *i, rl_source name_source, const char *name, rl_source source)
{
    rl_object_record pointer = {0};
    rl_err err = rl_txn_object(t, name_source, name, &pointer);
    bool known = err == RL_OK && pointer.target;
    if (known || err == RL_OK || err == RL_ENOTFOUND)
        bind_to(i, known ? source : name_source, known ? pointer.target : name);
    rl_object_clear(&pointer);
    return err == RL_ENOTFOUND ? RL_OK : err;
}

/* A common name is Entra's id of the device, or Intune's (on iOS and macOS until the registration is done). Jamf Pro's
 * number is that of the object itself, be it known or not. */
static rl_err bind_device(rl_store_txn *t, struct issue *i)
{
    rl_object_record managed;
    if (i->csr.jamf) {
        bind_to(i, i->csr.jamf, i->csr.device);
        return RL_OK;
    }
    RL_TRY(bind_name(t, i, RL_SOURCE_ENTRA_DEVICE_NAME, i->csr.device, RL_SOURCE_ENTRA_DEVICE));
    rl_err err = rl_txn_object(t, RL_SOURCE_INTUNE_DEVICE, i->csr.device, &managed);
    if (err == RL_ENOTFOUND)
        return RL_OK;
    RL_TRY(err);
    bind_to(i, RL_SOURCE_INTUNE_DEVICE, i->csr.device);
    rl_object_clear(&managed);
    return RL_OK;
}

/* What certificates are bound to, and by which name they wait for it. */
static const struct bound_kind {
    rl_source object, name;
} bound_kinds[] = {{RL_SOURCE_ENTRA_DEVICE, RL_SOURCE_ENTRA_DEVICE_NAME},
                   {RL_SOURCE_ENTRA_USER, RL_SOURCE_ENTRA_USER_NAME},
                   {RL_SOURCE_JAMF_USER, RL_SOURCE_JAMF_USER_NAME},
                   {RL_SOURCE_INTUNE_DEVICE, RL_SOURCE_NONE},
                   {RL_SOURCE_JAMF_COMPUTER, RL_SOURCE_NONE},
                   {RL_SOURCE_JAMF_DEVICE, RL_SOURCE_NONE}};

/* A name may be another's by now, or nobody's: the certificate from before then gives no right to it. Where the new
 * profile binds to nothing of the kind, what the certificate was bound to stays. */
static rl_err keep_binding(struct issue *i, const struct bound_kind *kind, const rl_cert_record *old, rl_error *e)
{
    const char *had = rl_cert_binding(old, kind->object), *had_name = rl_cert_binding(old, kind->name),
               *has = rl_cert_binding(&i->record, kind->object), *has_name = rl_cert_binding(&i->record, kind->name);
    if (had && (has ? strcmp(had, has) != 0 : has_name != NULL))
        return rl_fail(e, RL_EDENIED, "ca",
                       "a name of the certificate is no longer its holder's in the directory: enroll anew");
    if (has || has_name || (!had && !had_name))
        return RL_OK;
    if (i->record.bindings_n == RL_CERT_BINDINGS_MAX)
        return rl_fail(e, RL_ERANGE, "ca", "the certificate would be bound to too much: enroll anew");
    bind_to(i, had ? kind->object : kind->name, had ? had : had_name);
    return RL_OK;
}

static rl_err no_old(rl_err err, rl_error *e)
{
    return rl_fail(e, err == RL_ENOTFOUND ? RL_EDENIED : err, "ca",
                   "the certificate that is renewed cannot be read: %s", rl_err_name(err));
}

static rl_err read_old(struct issue *i, rl_error *e)
{
    rl_buf der = {0};
    rl_err err = rl_store_der(i->ca->store, i->request->renews, &der);
    if (err == RL_OK)
        err = rl_x509_from_der(rl_buf_span(&der), &i->old, NULL);
    if (err == RL_OK && !ca_key_of(i->old, i->old_key))
        err = RL_ECRYPTO;
    rl_buf_free(&der);
    return err == RL_OK ? RL_OK : no_old(err, e);
}

/* The certificate that is renewed was looked at before; what counts is what it is now. */
static rl_err follow(rl_store_txn *t, struct issue *i, rl_error *e)
{
    rl_cert_record old;
    rl_err err = rl_txn_cert(t, i->request->renews, &old);
    if (err != RL_OK)
        return no_old(err, e);
    if (old.status != RL_STATUS_GOOD)
        err = rl_fail(e, RL_EDENIED, "ca", "the certificate that is renewed is not good any more");
    else if (old.held.why) /* the new one would not be among those that are decided about */
        err = rl_fail(e, RL_EDENIED, "ca", "whether the certificate that is renewed stays good is to be decided");
    /* Another certificate for that key may have been revoked for it: then this one is a thief's, too. */
    if (err == RL_OK)
        err = ca_key_is_sound(t, i->old_key, e);
    if (err == RL_EINVAL)
        err = rl_fail(e, RL_EDENIED, "ca", "the key of the certificate that is renewed was compromised: enroll anew");
    i->record.first_issued_at = rl_cert_first_issued(&old);
    for (size_t k = 0; err == RL_OK && k < sizeof(bound_kinds) / sizeof(bound_kinds[0]); k++)
        err = keep_binding(i, &bound_kinds[k], &old, e);
    rl_cert_clear(&old);
    return err;
}

static rl_err bind(rl_store_txn *t, struct issue *i, rl_error *e)
{
    const uint32_t for_good = RL_WHY_DELETED | RL_WHY_WIPED | RL_WHY_ENDPOINT_LIST;
    rl_err err = i->csr.device[0] ? bind_device(t, i) : RL_OK;
    if (err == RL_OK && i->csr.user[0])
        err = i->csr.jamf ? bind_name(t, i, RL_SOURCE_JAMF_USER_NAME, i->csr.user, RL_SOURCE_JAMF_USER)
                          : bind_name(t, i, RL_SOURCE_ENTRA_USER_NAME, i->csr.user, RL_SOURCE_ENTRA_USER);
    if (err == RL_OK && i->request->owner)
        RL_TRY(ca_own_bound(t, i->request->owner, &i->csr, &i->record, e));
    if (err == RL_OK && i->request->renews)
        RL_TRY(follow(t, i, e));
    if (err == RL_OK && i->ca->weigh)
        err = i->ca->weigh(t, &i->record, i->now, i->ca->weigh_ctx);
    if (err != RL_OK)
        return rl_fail(e, err, "ca", "the objects that the request names cannot be read: %s", rl_err_name(err));
    if (i->record.why & for_good)
        return rl_fail(e, RL_EDENIED, "ca", "what the request names (%s%s%s) was %s its directory", i->csr.device,
                       i->csr.device[0] && i->csr.user[0] ? ", " : "", i->csr.user,
                       i->record.why & RL_WHY_DELETED ? "deleted from" : "wiped or revoked in");
    i->again = i->record.bootstrap && !i->until;
    if (!i->again)
        return RL_OK;
    i->until = i->record.not_after;
    return RL_ECANCELED;
}

static rl_err add(rl_store_txn *t, struct issue *i, rl_error *e)
{
    const rl_issue_request *r = i->request;
    char serial[2 * RL_STORE_SERIAL_MAX + 1];
    RL_TRY(ca_key_is_sound(t, i->key, e));
    RL_TRY(bind(t, i, e));
    rl_cert_settle(&i->record, i->now);
    rl_err err = rl_txn_add_cert(t, &i->out->id, &i->record, rl_span_of(i->out->der, i->out->der_n), r->requester);
    if (err == RL_OK && r->transaction)
        err = rl_txn_put_binding(t, RL_SOURCE_TRANSACTION, r->transaction, &i->out->id);
    if (err == RL_OK && r->also)
        err = r->also(t, &i->out->id, rl_span_of(i->out->der, i->out->der_n), r->also_ctx);
    if (err == RL_OK)
        err = rl_hex(rl_span_of(i->out->id.serial, i->out->id.serial_n), serial, sizeof(serial));
    if (err == RL_OK)
        err = rl_txn_audit(t, r->requester, "cert.issue", serial);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "ca", "the certificate cannot be stored: %s", rl_err_name(err));
}

static rl_err apply(rl_store_txn *t, void *arg, rl_error *e)
{
    struct issue *i = arg;
    rl_cert_id earlier;
    rl_err err = i->request->transaction
                     ? rl_txn_binding_first(t, RL_SOURCE_TRANSACTION, i->request->transaction, &earlier)
                     : RL_ENOTFOUND;
    if (err == RL_ENOTFOUND)
        return add(t, i, e);
    if (err != RL_OK)
        return rl_fail(e, err, "ca", "the transaction cannot be looked up: %s", rl_err_name(err));
    i->out->id = earlier;
    i->out->repeated = true;
    return RL_OK;
}

/* ---- before it ---- */
static rl_err check_request(struct issue *i, rl_error *e)
{
    const rl_issue_request *r = i->request;
    if (r->profile >= RL_PROFILE_OCSP || !rl_profile_get(i->ca->settings, r->profile, &i->profile))
        return rl_fail(e, RL_EINVAL, "ca", "no certificate of the CA's own profiles is issued on request");
    if ((r->profile == RL_PROFILE_SUBCA) != (r->sub_ca != NULL))
        return rl_fail(e, RL_EINVAL, "ca", "what a CA may certify is said of subordinate CAs, and of each");
    if (!r->transaction)
        return RL_OK;
    size_t n = strlen(r->transaction);
    bool ok = n > 0 && n <= RL_OBJECT_ID_MAX;
    for (size_t k = 0; ok && k < n; k++)
        ok = r->transaction[k] >= 0x20 && r->transaction[k] < 0x7f;
    return ok ? RL_OK
              : rl_fail(e, RL_EINVAL, "ca", "a transaction is named by 1 to %d printable characters", RL_OBJECT_ID_MAX);
}

/* RFC 5280 §4.1.2.6: a name is one entity's. With a CA's it would be taken for that by who goes by names. */
rl_err ca_subject_is_free(const rl_ca *ca, const X509_NAME *subject, rl_error *e)
{
    for (rl_issuer_id id = 1; id <= rl_ca_issuers(ca); id++)
        if (X509_NAME_cmp(X509_get_subject_name(rl_ca_by_id(ca, id)->cert), subject) == 0)
            return rl_fail(e, RL_EINVAL, "ca", "issuer %u has this subject: a CA's has to be its own", id);
    return RL_OK;
}

static rl_duration ceiling(const rl_settings *s, const rl_issue_request *r, const rl_profile *p)
{
    if (r->profile == RL_PROFILE_SUBCA)
        return s->ca.subca_validity;
    rl_duration own = p->rules->validity;
    return own && own < s->ca.cert_validity ? own : s->ca.cert_validity;
}

/* ---- what the directory knows and the certificate says ---- */
/* Of the object that the name points to; NULL when there is none, or it has none. The caller frees. */
static char *sid_of(const rl_ca *ca, rl_source name_source, const char *name, rl_source source)
{
    rl_object_record pointer = {0}, object = {0};
    char *sid = NULL;
    if (rl_store_object(ca->store, name_source, name, &pointer) == RL_OK && pointer.target &&
        rl_store_object(ca->store, source, pointer.target, &object) == RL_OK && object.exists && object.sid)
        sid = strdup(object.sid);
    rl_object_clear(&object);
    rl_object_clear(&pointer);
    return sid;
}

/* A user's certificate speaks for the user, on whatever device. */
static char *directory_sid(const struct issue *i)
{
    if (!i->ca->settings->ca.sid_extension || i->profile.bind != RL_BIND_ENTRA)
        return NULL;
    return i->csr.user[0] ? sid_of(i->ca, RL_SOURCE_ENTRA_USER_NAME, i->csr.user, RL_SOURCE_ENTRA_USER)
                          : sid_of(i->ca, RL_SOURCE_ENTRA_DEVICE_NAME, i->csr.device, RL_SOURCE_ENTRA_DEVICE);
}

/* The id can be Intune's (on iOS and macOS also as common name): Entra's is another then. */
static bool is_entra_device(const struct issue *i)
{
    rl_object_record managed;
    if (!i->csr.device[0] || i->csr.managed)
        return false;
    if (rl_store_object(i->ca->store, RL_SOURCE_INTUNE_DEVICE, i->csr.device, &managed) != RL_OK)
        return true;
    rl_object_clear(&managed);
    return false;
}

static void say_whose(const struct issue *i, ca_template *t)
{
    const rl_settings *s = i->ca->settings;
    if (!s->ca.aad_extensions || i->profile.bind != RL_BIND_ENTRA)
        return;
    if (s->azure.tenant_id && ca_is_guid(s->azure.tenant_id))
        t->tenant = s->azure.tenant_id;
    if (is_entra_device(i))
        t->device = i->csr.device;
}

/* Users of Jamf Pro are listed by name, and not asked for by it. */
static rl_err look_up(const struct issue *i, rl_error *e)
{
    const rl_ca *ca = i->ca;
    const rl_source device = i->csr.jamf ? i->csr.jamf : RL_SOURCE_ENTRA_DEVICE_NAME;
    if (!ca->look || !i->request->look_up)
        return RL_OK;
    if (i->csr.device[0])
        RL_TRY(ca->look(ca->look_ctx, device, i->csr.device, e));
    return i->csr.user[0] && !i->csr.jamf ? ca->look(ca->look_ctx, RL_SOURCE_ENTRA_USER_NAME, i->csr.user, e) : RL_OK;
}

/* Fills the record and the fresh certificate. */
static rl_err make(struct issue *i, rl_error *e)
{
    const rl_issue_request *r = i->request;
    const rl_issuer *issuer = rl_ca_issuer(i->ca);
    const rl_duration most = ceiling(i->ca->settings, r, &i->profile),
                      asked = r->validity ? r->validity : ca_read_validity(r->csr, i->now);
    ca_template t = {.subject = i->csr.subject,
                     .key = i->csr.key,
                     .key_usage = i->csr.key_usage,
                     .eku = i->csr.eku,
                     .names = i->csr.names};
    if (r->sub_ca) {
        RL_TRY(ca_sub_read(i->ca, issuer, i->csr.subject, r->sub_ca, &i->sub, e));
        t.sub = &i->sub;
        t.eku = i->sub.eku;
    }
    RL_TRY(ca_validity(i->ca, issuer, i->now, asked && asked < most ? asked : most, &t, e));
    if (t.not_before > i->now) /* the issuer's; it could end before it begins */
        return rl_fail(e, RL_EBUSY, "ca", "the CA certificate is not valid yet: this machine's clock is behind");
    if (i->until && i->until < t.not_after)
        t.not_after = i->until;
    if (rl_serial_random(&t.serial) != RL_OK)
        return rl_fail_openssl(e, "ca", "no random serial number");
    if (ca_record(&t, i->profile.name, r->requester, i->now, &i->record) != RL_OK)
        return rl_fail(e, RL_ENOMEM, "ca", "out of memory");
    i->record.bootstrap = i->until != 0;
    say_whose(i, &t);
    char *sid = directory_sid(i);
    t.sid = sid ? sid : i->csr.sid[0] ? i->csr.sid : NULL;
    rl_err err = ca_build(i->ca, issuer, &t, &i->out->der, &i->out->der_n, e);
    free(sid);
    i->out->id = ca_cert_id(issuer->id, &t.serial);
    return err;
}

static rl_err make_and_store(struct issue *i, rl_error *e)
{
    RL_TRY(make(i, e));
    return rl_store_run(i->ca->store, apply, i, e);
}

/* ---- after it, or instead of it ---- */
static rl_err load_earlier(const rl_ca *ca, rl_issued *out, rl_error *e)
{
    rl_buf der = {0};
    rl_err err = rl_store_der(ca->store, &out->id, &der);
    if (err != RL_OK) {
        rl_buf_free(&der);
        return rl_fail(e, err, "ca", "the transaction's earlier certificate cannot be read: %s", rl_err_name(err));
    }
    free(out->der);
    out->der = der.p;
    out->der_n = der.n;
    out->repeated = true;
    return RL_OK;
}

rl_err rl_ca_issue(rl_ca *ca, const rl_issue_request *r, rl_issued *out, rl_error *e)
{
    struct issue i = {.ca = ca, .request = r, .out = out, .now = rl_wall_s()};
    *out = (rl_issued){0};
    RL_TRY(check_request(&i, e));
    rl_err err = r->renews ? read_old(&i, e) : RL_OK;
    if (err == RL_OK)
        err = ca_csr_read(&i.profile, r->csr, r->proven, i.old, &i.csr, e);
    if (err == RL_OK && r->owner)
        err = ca_own_check(r->owner, &i.profile, &i.csr, e);
    if (err == RL_OK && (unsigned)r->profile < RL_ENROLL_MAX) /* the admin may say otherwise */
        err = ca_not_ourselves(ca->settings->http.base_url, &i.csr, e);
    if (err == RL_OK && !r->sub_ca) /* of which ca_sub_read says more */
        err = ca_bounds_check(ca, &i.csr, e);
    if (err == RL_OK)
        err = ca_weak_check(ca, i.csr.key, i.key, e);
    if (err == RL_OK)
        err = ca_subject_is_free(ca, i.csr.subject, e);
    if (err != RL_OK)
        goto out;
    if (r->owner) /* who may say who he is, not what he is to Windows: that is for the directory to say */
        i.csr.sid[0] = 0;
    if (r->transaction && rl_store_binding_first(ca->store, RL_SOURCE_TRANSACTION, r->transaction, &out->id) == RL_OK) {
        err = load_earlier(ca, out, e); /* a retransmission costs no signature */
        goto out;
    }
    err = look_up(&i, e);
    if (err == RL_OK)
        err = make_and_store(&i, e);
    if (err == RL_ECANCELED && i.again) {
        free(out->der);
        *out = (rl_issued){0};
        rl_cert_clear(&i.record);
        err = make_and_store(&i, e);
    }
    if (err == RL_OK && out->repeated)
        err = load_earlier(ca, out, e);
out:
    if (err != RL_OK)
        rl_issued_clear(out);
    rl_cert_clear(&i.record);
    ca_sub_clear(&i.sub);
    ca_csr_clear(&i.csr);
    X509_free(i.old);
    return err;
}

void rl_ca_on_issue(rl_ca *ca, rl_ca_weigh weigh, const void *ctx)
{
    ca->weigh = weigh;
    ca->weigh_ctx = ctx;
}

void rl_ca_on_look(rl_ca *ca, rl_ca_look look, void *ctx)
{
    ca->look = look;
    ca->look_ctx = ctx;
}

void rl_issued_clear(rl_issued *i)
{
    free(i->der);
    *i = (rl_issued){0};
}
