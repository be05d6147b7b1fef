/* The settings table's row. Private to the settings files. */
#ifndef RL_BASE_SETTINGS_TABLE_H
#define RL_BASE_SETTINGS_TABLE_H

#include "base/settings.h"

typedef enum {
    RL_T_STRING,
    RL_T_DURATION,
    RL_T_SIZE,
    RL_T_INT,
    RL_T_PERCENT,
    RL_T_SHARE, /* a percentage, or a number; `max` is the number's */
    RL_T_BOOL,
    RL_T_ENUM,
    RL_T_ENUM_SET, /* comma-separated choices; a bit for each */
    RL_T_URL,      /* is kept without slashes at its end */
    RL_T_URL_LIST, /* comma-separated, like the next four; `max` is how many */
    RL_T_EKU_LIST, /* a choice, or an object identifier */
    RL_T_DOMAIN_LIST,
    RL_T_NAME_LIST,    /* of profiles */
    RL_T_NETWORK_LIST, /* none of them everything */
    RL_T_ADDRESS
} rl_setting_type;

typedef struct rl_setting_row {
    const char *name;
    rl_setting_type type;
    size_t offset;              /* into rl_settings */
    const char *def;            /* as one would write it */
    const char *def_text;       /* how the reference names the default, when it depends on the machine */
    const char *min, *max;      /* in the type's own text; NULL = none. Strings: their length. */
    const char *const *choices; /* ENUM, ENUM_SET: in the order of the C enum, NULL-terminated */
    bool secret;
    const char *alias;      /* SCEPman's name */
    const char *alias_unit; /* what a bare number there counts: "s", "m", "h", "d"; "" = as ours */
    const char *group;
    const char *help;
} rl_setting_row;

extern const rl_setting_row rl_setting_rows[];
extern const size_t rl_setting_rows_n;

/* What each named profile has: its rows are these, with its name in the place of RL_PROFILE_PLACE and the offset of its
 * own rules. */
#define RL_PROFILE_PLACE "{NAME}"
extern const rl_setting_row rl_named_rows[];
extern const size_t rl_named_rows_n;

/* The rows of these settings, those of named profiles behind the table's, and where each value came from. */
enum { RL_ORIGIN_MAX = 320 };
struct rl_settings_priv {
    rl_setting_row *rows;
    size_t n;
    char **names; /* of the named profiles' rows and groups: owned */
    size_t names_n;
    char (*origin)[RL_ORIGIN_MAX];
};

/* Text → field. On failure *allowed is filled with what would be allowed. */
rl_err rl_setting_parse(const rl_setting_row *row, rl_span text, rl_settings *s, char *allowed, size_t cap);
void rl_setting_allowed(const rl_setting_row *row, char *out, size_t cap);
bool rl_setting_is_list(const rl_setting_row *row); /* its field is an rl_text_list */
void rl_text_list_free(rl_text_list *list);
/* Field → text, in the form a person would write. */
rl_err rl_setting_text(const rl_setting_row *row, const rl_settings *s, rl_buf *out);

#endif
