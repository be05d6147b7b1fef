/* The status rules (design §6) as one table: bound object × state → reason. Pure. */
#include "sync/rules.h"

#include <stdio.h>

/* Reasons that end when their cause ends. */
static const uint32_t reversible = RL_WHY_DISABLED | RL_WHY_NOT_COMPLIANT | RL_WHY_USER_RISK;

/* ---- the settings ---- */
static bool watches_entra(const rl_settings *s)
{
    return s->rules.directory != RL_DIRECTORY_INTUNE;
}

static bool watches_intune(const rl_settings *s)
{
    return s->rules.directory != RL_DIRECTORY_AAD;
}

static bool only_intune(const rl_settings *s)
{
    return !watches_entra(s);
}

static bool always(const rl_settings *s)
{
    (void)s;
    return true;
}

static bool on_wipe(const rl_settings *s)
{
    return watches_intune(s) && s->rules.revoke_on_wipe;
}

static bool on_compliance(const rl_settings *s)
{
    return watches_intune(s) && s->rules.compliance == RL_CHECK_ALWAYS;
}

static bool on_entra_compliance(const rl_settings *s)
{
    return watches_entra(s) && s->rules.compliance == RL_CHECK_ALWAYS;
}

static bool on_endpoint_list(const rl_settings *s)
{
    return s->rules.directory == RL_DIRECTORY_ENDPOINT_LIST;
}

static bool on_risk(const rl_settings *s)
{
    return s->rules.user_risk == RL_CHECK_ALWAYS && s->rules.untolerated_risks != 0;
}

/* ---- the states ---- */
struct weighing {
    const rl_settings *s;
    const rl_bound *bound;
    int64_t now;
};

static bool is_there(const struct weighing *w, rl_bound_kind kind)
{
    return w->bound->object[kind] && w->bound->object[kind]->exists;
}

static bool is_deleted(const struct weighing *w, const rl_object_record *o)
{
    (void)w;
    return !o->exists;
}

/* AADAndIntune: it is enough that the id which the certificate bears exists in one of the two. */
static bool is_deleted_entra_device(const struct weighing *w, const rl_object_record *o)
{
    return !o->exists && !(watches_intune(w->s) && is_there(w, RL_BOUND_INTUNE_DEVICE));
}

static bool is_deleted_intune_device(const struct weighing *w, const rl_object_record *o)
{
    return !o->exists && !(watches_entra(w->s) && is_there(w, RL_BOUND_ENTRA_DEVICE));
}

static bool is_disabled(const struct weighing *w, const rl_object_record *o)
{
    (void)w;
    return o->exists && !o->enabled;
}

/* SCEPman's list. What a record said before it was deleted must not meet the certificates of the device's next
 * enrolment; those of the last one have the reason already. */
static bool is_wiped(const struct weighing *w, const rl_object_record *o)
{
    (void)w;
    if (!o->exists)
        return false;
    switch (o->management) {
    case RL_MANAGEMENT_RETIRE_PENDING:
    case RL_MANAGEMENT_RETIRE_FAILED:
    case RL_MANAGEMENT_WIPE_PENDING:
    case RL_MANAGEMENT_WIPE_FAILED:
    case RL_MANAGEMENT_UNHEALTHY:
    case RL_MANAGEMENT_DELETE_PENDING:
    case RL_MANAGEMENT_RETIRE_ISSUED:
    case RL_MANAGEMENT_WIPE_ISSUED:
        return true;
    default:
        return false;
    }
}

/* As Conditional Access has it, a device in the policy's own grace period is compliant still, and Configuration Manager
 * answers for its own. A word that nobody has said says nothing. */
static bool is_not_compliant(const rl_object_record *o)
{
    switch (o->compliance) {
    case RL_COMPLIANCE_UNKNOWN:
    case RL_COMPLIANCE_NONCOMPLIANT:
    case RL_COMPLIANCE_CONFLICT:
    case RL_COMPLIANCE_ERROR:
        return o->exists;
    default:
        return false;
    }
}

static bool is_not_compliant_past_grace(const struct weighing *w, const rl_object_record *o)
{
    return is_not_compliant(o) && w->now >= rl_rules_grace_end(w->s, o);
}

static bool has_word_on_compliance(const struct weighing *w, rl_bound_kind kind)
{
    return is_there(w, kind) && w->bound->object[kind]->compliance != RL_COMPLIANCE_UNSAID;
}

/* It may have enrolled after Intune was listed: then its grace has just begun. */
static bool may_be_in_grace(const struct weighing *w)
{
    return w->s->rules.grace > 0 && !w->bound->object[RL_BOUND_INTUNE_DEVICE] &&
           !w->bound->object[RL_BOUND_MANAGED_DEVICE];
}

/* What Entra ID has of it is Intune's word, later and without the date of enrolment, or that of another management:
 * asked where Intune is not, and where it has none. Else a device would be rid of a hold by leaving Intune. */
static bool is_not_compliant_in_entra(const struct weighing *w, const rl_object_record *o)
{
    bool unsaid = w->bound->intune_listed && !has_word_on_compliance(w, RL_BOUND_INTUNE_DEVICE) &&
                  !has_word_on_compliance(w, RL_BOUND_MANAGED_DEVICE) && !may_be_in_grace(w);
    return (!watches_intune(w->s) || w->bound->without_intune || unsaid) && is_not_compliant_past_grace(w, o);
}

static bool is_listed(const struct weighing *w, const rl_object_record *o)
{
    (void)w;
    return o->exists;
}

static bool is_at_risk(const struct weighing *w, const rl_object_record *o)
{
    return o->exists && o->risk != RL_RISK_NONE && w->s->rules.untolerated_risks & (1u << (o->risk - RL_RISK_LOW));
}

/* ---- the table ---- */
static const char *const objects[RL_BOUND_KINDS] = {
    [RL_BOUND_INTUNE_DEVICE] = "Intune device",
    [RL_BOUND_ENTRA_DEVICE] = "Entra device",
    [RL_BOUND_MANAGED_DEVICE] = "Entra device in Intune",
    [RL_BOUND_ENTRA_USER] = "Entra user",
    [RL_BOUND_USER_RISK] = "Entra user",
    [RL_BOUND_JAMF_COMPUTER] = "Jamf computer",
    [RL_BOUND_JAMF_DEVICE] = "Jamf mobile device",
    [RL_BOUND_JAMF_USER] = "Jamf user",
    [RL_BOUND_LISTED_CERT] = "certificate in Intune",
};

static const struct rule {
    rl_bound_kind kind;
    const char *state;
    bool (*holds)(const struct weighing *w, const rl_object_record *o);
    uint32_t why;
    bool (*applies)(const rl_settings *s);
    const char *setting;
} rules[] = {
    {RL_BOUND_INTUNE_DEVICE, "deleted", is_deleted_intune_device, RL_WHY_DELETED, watches_intune,
     "REVLINE_DEVICE_DIRECTORY"},
    {RL_BOUND_INTUNE_DEVICE, "wiped or retired", is_wiped, RL_WHY_WIPED, on_wipe, "REVLINE_REVOKE_ON_WIPE"},
    {RL_BOUND_INTUNE_DEVICE, "not compliant", is_not_compliant_past_grace, RL_WHY_NOT_COMPLIANT, on_compliance,
     "REVLINE_COMPLIANCE_CHECK"},
    {RL_BOUND_ENTRA_DEVICE, "deleted", is_deleted_entra_device, RL_WHY_DELETED, watches_entra,
     "REVLINE_DEVICE_DIRECTORY"},
    {RL_BOUND_ENTRA_DEVICE, "disabled", is_disabled, RL_WHY_DISABLED, watches_entra, "REVLINE_DEVICE_DIRECTORY"},
    {RL_BOUND_ENTRA_DEVICE, "not compliant", is_not_compliant_in_entra, RL_WHY_NOT_COMPLIANT, on_entra_compliance,
     "REVLINE_COMPLIANCE_CHECK"},
    {RL_BOUND_MANAGED_DEVICE, "deleted", is_deleted, RL_WHY_DELETED, only_intune, "REVLINE_DEVICE_DIRECTORY"},
    {RL_BOUND_MANAGED_DEVICE, "wiped or retired", is_wiped, RL_WHY_WIPED, on_wipe, "REVLINE_REVOKE_ON_WIPE"},
    {RL_BOUND_MANAGED_DEVICE, "not compliant", is_not_compliant_past_grace, RL_WHY_NOT_COMPLIANT, on_compliance,
     "REVLINE_COMPLIANCE_CHECK"},
    {RL_BOUND_ENTRA_USER, "deleted", is_deleted, RL_WHY_DELETED, always, ""},
    {RL_BOUND_ENTRA_USER, "disabled", is_disabled, RL_WHY_DISABLED, always, ""},
    {RL_BOUND_USER_RISK, "at risk", is_at_risk, RL_WHY_USER_RISK, on_risk, "REVLINE_USER_RISK_CHECK"},
    {RL_BOUND_JAMF_COMPUTER, "deleted", is_deleted, RL_WHY_DELETED, always, ""},
    {RL_BOUND_JAMF_DEVICE, "deleted", is_deleted, RL_WHY_DELETED, always, ""},
    {RL_BOUND_JAMF_USER, "deleted", is_deleted, RL_WHY_DELETED, always, ""},
    {RL_BOUND_LISTED_CERT, "revoked", is_listed, RL_WHY_ENDPOINT_LIST, on_endpoint_list, "REVLINE_DEVICE_DIRECTORY"},
};
enum { RULES = sizeof(rules) / sizeof(rules[0]) };

rl_verdict rl_rules_weigh(const rl_settings *s, const rl_bound *bound, int64_t now)
{
    const struct weighing w = {s, bound, now};
    rl_verdict v = {0};
    for (size_t i = 0; i < RULES; i++) {
        const rl_object_record *o = bound->object[rules[i].kind];
        if (!o)
            continue;
        v.scope |= rules[i].why;
        if (rules[i].applies(s) && rules[i].holds(&w, o))
            v.why |= rules[i].why;
    }
    return v;
}

uint32_t rl_rules_merge(uint32_t cert_why, rl_verdict v)
{
    return (cert_why & ~(v.scope & reversible)) | (v.why & v.scope);
}

int64_t rl_rules_grace_end(const rl_settings *s, const rl_object_record *o)
{
    bool graced = o->enrolled > 0 && s->rules.grace > 0 && is_not_compliant(o);
    return graced ? o->enrolled + s->rules.grace / 1000 : 0;
}

/* ---- bootstrap certificates ---- */
enum { BOOTSTRAP_LEAST = 300 }; /* seconds; a shorter one is of no use */

static bool asks_intune(const rl_settings *s, const rl_bound *bound)
{
    return watches_intune(s) && !bound->without_intune;
}

const char *rl_rules_bootstrap_source(const rl_settings *s, const rl_bound *bound)
{
    bool any = s->rules.compliance == RL_CHECK_ALWAYS && s->rules.grace == 0 && s->rules.bootstrap > 0;
    return !any ? NULL : asks_intune(s, bound) ? "intune-device" : "entra-device";
}

/* The record that speaks against it, or else one that speaks for it. */
static const rl_object_record *compliance_of(const rl_settings *s, const rl_bound *bound)
{
    const rl_object_record *own = bound->object[RL_BOUND_INTUNE_DEVICE],
                           *managed = bound->object[RL_BOUND_MANAGED_DEVICE];
    if (!asks_intune(s, bound))
        return bound->object[RL_BOUND_ENTRA_DEVICE];
    return own && own->exists && (is_not_compliant(own) || !managed || !managed->exists) ? own
           : managed                                                                     ? managed
                                                                                         : own;
}

/* A device that has been there for long is not compliant, not enrolling: its time is counted from its enrolment, so it
 * cannot live on bootstrap certificates. */
int64_t rl_rules_bootstrap_end(const rl_settings *s, const rl_bound *bound, int64_t now)
{
    const rl_object_record *o = compliance_of(s, bound), *entra = bound->object[RL_BOUND_ENTRA_DEVICE];
    int64_t from = now;
    if (!rl_rules_bootstrap_source(s, bound))
        return 0;
    if (o && o->exists) {
        if (!is_not_compliant(o) || o->enrolled <= 0)
            return 0;
        from = o->enrolled < now ? o->enrolled : now;
    } else if (entra && entra->exists && !bound->from_intune) {
        return 0; /* Entra ID alone is enough: it has been there before it was in Intune, or is not to be in there */
    }
    int64_t end = from + s->rules.bootstrap / 1000;
    return end >= now + BOOTSTRAP_LEAST ? end : 0;
}

bool rl_rules_watch(const rl_settings *s, rl_bound_kind kind)
{
    switch (kind) {
    case RL_BOUND_ENTRA_DEVICE:
        return watches_entra(s);
    case RL_BOUND_INTUNE_DEVICE:
    case RL_BOUND_MANAGED_DEVICE:
        return watches_intune(s);
    case RL_BOUND_USER_RISK:
        return on_risk(s);
    case RL_BOUND_LISTED_CERT:
        return on_endpoint_list(s);
    default:
        return true;
    }
}

/* ---- for people ---- */
bool rl_rules_row(const rl_settings *s, size_t i, rl_rule_text *out)
{
    if (i >= RULES)
        return false;
    const struct rule *r = &rules[i];
    const char *effect = !r->applies(s) ? "-" : r->why & reversible ? "on hold" : "revoked";
    *out = (rl_rule_text){objects[r->kind], r->state, effect, rl_why_name(r->why), r->setting};
    return true;
}

/* The number in front is that of the rules themselves: it grows when the table changes. */
void rl_rules_fingerprint(const rl_settings *s, bool intune_listed, char out[RL_RULES_TEXT])
{
    bool matters = watches_intune(s) &&
                   (s->rules.compliance == RL_CHECK_ALWAYS || s->rules.directory == RL_DIRECTORY_OPPORTUNISTIC);
    snprintf(out, RL_RULES_TEXT, "3 directory=%d compliance=%d grace=%lld wipe=%d risk=%d levels=%u%s",
             (int)s->rules.directory, (int)s->rules.compliance, (long long)s->rules.grace, s->rules.revoke_on_wipe,
             (int)s->rules.user_risk, s->rules.untolerated_risks, intune_listed && matters ? " intune" : "");
}
