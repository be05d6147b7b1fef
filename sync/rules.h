/* The status rules: from the states of the objects that a certificate is bound to, to the reasons against it. One table
 * (rules.c), read under the settings. Pure.
 *
 * A certificate may be bound to several objects, and two of them may set the same bit. So its mask is computed over all
 * of them: `scope` and `why` are the OR over those that are known. Any that speaks against it wins. */
#ifndef RL_SYNC_RULES_H
#define RL_SYNC_RULES_H

#include "base/settings.h"
#include "store/records.h"

/* What governs a certificate; in rl_bound each by its state. */
typedef enum {
    RL_BOUND_INTUNE_DEVICE,  /* the managed device whose Intune id the certificate bears */
    RL_BOUND_ENTRA_DEVICE,   /* the Entra device whose deviceId it bears */
    RL_BOUND_MANAGED_DEVICE, /* Intune's record of that Entra device */
    RL_BOUND_ENTRA_USER,     /* the user whom it names */
    RL_BOUND_USER_RISK,      /* Identity Protection's record of that user */
    RL_BOUND_JAMF_COMPUTER,  /* the computer whose number in Jamf Pro it bears */
    RL_BOUND_JAMF_DEVICE,    /* likewise the mobile device */
    RL_BOUND_JAMF_USER,      /* Jamf Pro's user whom it names, besides one of these two */
    RL_BOUND_LISTED_CERT,    /* the certificate itself, in Intune's list of certificates */
    RL_BOUND_KINDS
} rl_bound_kind;

/* NULL: not known, which says nothing. */
typedef struct rl_bound {
    const rl_object_record *object[RL_BOUND_KINDS];
    bool without_intune; /* with AADAndIntuneOpportunistic: Intune has never been listed as a whole */
    bool intune_listed;  /* it has been: that it has no record of the device means something; told where that counts */
    bool from_intune;    /* it is Intune that wants the device to have the certificate, so the device is in there */
} rl_bound;

typedef struct rl_verdict {
    uint32_t scope; /* the bits that these objects may set or clear, whatever the settings */
    uint32_t why;   /* those that the rules set at this time */
} rl_verdict;

/* `now` in Unix seconds. */
rl_verdict rl_rules_weigh(const rl_settings *s, const rl_bound *bound, int64_t now);
/* The certificate's new mask: reversible bits of the scope follow the verdict, permanent bits never go away. */
uint32_t rl_rules_merge(uint32_t cert_why, rl_verdict v);
/* The time at which this device's state begins to count though it does not change: the end of its grace. Unix seconds,
 * 0 = none. */
int64_t rl_rules_grace_end(const rl_settings *s, const rl_object_record *o);

/* The source that tells of this device's compliance, when a device may get a bootstrap certificate until it does.
 * NULL: none may. */
const char *rl_rules_bootstrap_source(const rl_settings *s, const rl_bound *bound);
/* Until when the certificate of a device lasts that is still enrolling: not known yet, or not compliant yet. Unix
 * seconds, 0 = it is not enrolling, and gets an ordinary one. */
int64_t rl_rules_bootstrap_end(const rl_settings *s, const rl_bound *bound, int64_t now);

/* What the directories' settings make of the sources: which of them count, and so are to be watched. */
bool rl_rules_watch(const rl_settings *s, rl_bound_kind kind);

/* ---- the table, for people ---- */
typedef struct rl_rule_text {
    const char *object;  /* "Entra device" */
    const char *state;   /* "disabled" */
    const char *effect;  /* "revoked", "on hold", "-" when the settings turn it off */
    const char *reason;  /* "disabled": as `revline show` names it */
    const char *setting; /* that turns it on or off */
} rl_rule_text;
/* The row with this number as it applies under `s`; false behind the last. */
bool rl_rules_row(const rl_settings *s, size_t i, rl_rule_text *out);

/* The rules' settings as one line of text: certificates were weighed under the same rules when it is the same. Where it
 * matters, so is whether all managed devices have been listed once: from then on Entra ID's word counts for those that
 * are not among them. */
enum { RL_RULES_TEXT = 128 };
void rl_rules_fingerprint(const rl_settings *s, bool intune_listed, char out[RL_RULES_TEXT]);

#endif
