/* One setting's value: text to field and back. Pure but for the memory of strings. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/network.h"
#include "base/settings_table.h"

/* Digits, at most 18 of them (so that no product below can overflow unseen); *unit is what follows. */
static rl_err number(rl_span text, int64_t *value, rl_span *unit)
{
    size_t n = 0;
    *value = 0;
    while (n < text.n && n < 18 && isdigit(text.p[n]))
        *value = *value * 10 + (text.p[n++] - '0');
    *unit = (rl_span){text.p + n, text.n - n};
    return n > 0 && (n == text.n || !isdigit(text.p[n])) ? RL_OK : RL_EINVAL;
}

struct unit {
    const char *name;
    int64_t factor;
};

static rl_err with_unit(rl_span text, const struct unit *units, size_t n, int64_t *out)
{
    int64_t value;
    rl_span unit;
    RL_TRY(number(text, &value, &unit));
    if (value == 0 && unit.n == 0) {
        *out = 0;
        return RL_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (rl_span_eq(unit, rl_span_str(units[i].name)))
            return __builtin_mul_overflow(value, units[i].factor, out) ? RL_EINVAL : RL_OK;
    return RL_EINVAL;
}

static const struct unit duration_units[] = {{"y", 31536000000}, {"d", 86400000}, {"h", 3600000},
                                             {"m", 60000},       {"s", 1000},     {"ms", 1}};
static const struct unit size_units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}};

rl_err rl_parse_duration(rl_span text, rl_duration *out)
{
    return with_unit(text, duration_units, 6, out);
}
rl_err rl_parse_size(rl_span text, int64_t *out)
{
    return with_unit(text, size_units, 5, out);
}

static rl_err parse_plain(rl_span text, const char *suffix, int64_t *out)
{
    rl_span unit;
    RL_TRY(number(text, out, &unit));
    return unit.n == 0 || rl_span_eq(unit, rl_span_str(suffix)) ? RL_OK : RL_EINVAL;
}

static rl_err parse_scalar(rl_setting_type type, rl_span text, int64_t *out)
{
    switch (type) {
    case RL_T_DURATION:
        return rl_parse_duration(text, out);
    case RL_T_SIZE:
        return rl_parse_size(text, out);
    case RL_T_PERCENT:
        return parse_plain(text, "%", out);
    default:
        return parse_plain(text, "", out);
    }
}

static rl_err in_range(const rl_setting_row *row, int64_t value)
{
    int64_t bound;
    rl_setting_type type = row->type == RL_T_STRING ? RL_T_INT : row->type;
    if (row->min && parse_scalar(type, rl_span_str(row->min), &bound) == RL_OK && value < bound)
        return RL_ERANGE;
    if (row->max && parse_scalar(type, rl_span_str(row->max), &bound) == RL_OK && value > bound)
        return RL_ERANGE;
    return RL_OK;
}

static rl_err parse_bool(rl_span text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (rl_span_ieq(text, rl_span_str(yes[i])) || rl_span_ieq(text, rl_span_str(no[i]))) {
            *out = rl_span_ieq(text, rl_span_str(yes[i]));
            return RL_OK;
        }
    }
    return RL_EINVAL;
}

/* host:port or [v6]:port; whether the host exists shows when it is bound. */
static rl_err check_host(rl_span host)
{
    char v6[INET6_ADDRSTRLEN];
    struct in6_addr unused;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']' && host.n - 2 < sizeof(v6)) {
        memcpy(v6, host.p + 1, host.n - 2);
        v6[host.n - 2] = 0;
        return inet_pton(AF_INET6, v6, &unused) == 1 ? RL_OK : RL_EINVAL;
    }
    for (size_t i = 0; i < host.n; i++)
        if (!isalnum(host.p[i]) && host.p[i] != '.' && host.p[i] != '-' && host.p[i] != '_')
            return RL_EINVAL;
    return host.n > 0 ? RL_OK : RL_EINVAL;
}

static rl_err check_address(rl_span text)
{
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    if (!colon)
        return RL_EINVAL;
    size_t host = (size_t)((const uint8_t *)colon - text.p);
    int64_t port;
    RL_TRY(parse_plain((rl_span){text.p + host + 1, text.n - host - 1}, "", &port));
    return port <= 65535 ? check_host((rl_span){text.p, host}) : RL_EINVAL;
}

static rl_err check_url(rl_span text)
{
    size_t scheme = text.n > 8 && memcmp(text.p, "https://", 8) == 0  ? 8
                    : text.n > 7 && memcmp(text.p, "http://", 7) == 0 ? 7
                                                                      : 0;
    if (scheme == 0)
        return RL_EINVAL;
    for (size_t i = scheme; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] >= 0x7f || strchr("@?#\"<>\\", text.p[i]))
            return RL_EINVAL;
    rl_span authority = {text.p + scheme, text.n - scheme};
    const uint8_t *path = memchr(authority.p, '/', authority.n);
    if (path)
        authority.n = (size_t)(path - authority.p);
    bool has_port = authority.n && memrchr(authority.p, ':', authority.n) && authority.p[authority.n - 1] != ']';
    return has_port ? check_address(authority) : check_host(authority);
}

/* UTF-8 without control characters: it goes into logs, JSON and headers, and a stray line end in a secret's file
 * would be hard to find later. */
static rl_err check_text(rl_span text)
{
    while (text.n > 0) {
        size_t n = rl_utf8_length(text);
        if (n == 0 || rl_utf8_is_control(text.p, n))
            return RL_EINVAL;
        text = (rl_span){text.p + n, text.n - n};
    }
    return RL_OK;
}

static rl_err parse_string(const rl_setting_row *row, rl_span text, char **field)
{
    bool may_be_empty = row->def[0] == 0;
    RL_TRY(check_text(text));
    if (row->type == RL_T_URL && (text.n || !may_be_empty)) {
        while (text.n && text.p[text.n - 1] == '/')
            text.n--;
        RL_TRY(check_url(text));
    }
    if (row->type == RL_T_ADDRESS && (text.n || !may_be_empty))
        RL_TRY(check_address(text));
    if (row->type == RL_T_STRING && (text.n || !may_be_empty))
        RL_TRY(in_range(row, (int64_t)text.n));
    char *copy = strndup(text.p ? (const char *)text.p : "", text.n);
    if (!copy)
        return RL_ENOMEM;
    free(*field);
    *field = copy;
    return RL_OK;
}

void rl_text_list_free(rl_text_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (rl_text_list){0};
}

bool rl_setting_is_list(const rl_setting_row *row)
{
    return row->type == RL_T_URL_LIST || row->type == RL_T_EKU_LIST || row->type == RL_T_DOMAIN_LIST ||
           row->type == RL_T_NAME_LIST || row->type == RL_T_NETWORK_LIST;
}

static rl_span trimmed(rl_span text)
{
    while (text.n && text.p[0] == ' ')
        text = (rl_span){text.p + 1, text.n - 1};
    while (text.n && text.p[text.n - 1] == ' ')
        text.n--;
    return text;
}

/* A word's place among the choices. Without case: an admin brings SCEPman's "Always" along. */
static rl_err parse_choice(const rl_setting_row *row, rl_span text, unsigned *out)
{
    for (*out = 0; row->choices[*out]; ++*out)
        if (rl_span_ieq(text, rl_span_str(row->choices[*out])))
            return RL_OK;
    return RL_EINVAL;
}

/* ---- lists ---- */
/* "1.3.6.1.5.5.7.3.2": three arcs or more. */
static rl_err check_oid(rl_span text)
{
    size_t arcs = 0, digits = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool dot = text.p[i] == '.';
        if ((!dot && !isdigit(text.p[i])) || (dot && digits == 0) || (digits == 1 && !dot && text.p[i - 1] == '0'))
            return RL_EINVAL;
        arcs += dot;
        digits = dot ? 0 : digits + 1;
        if (digits > 9)
            return RL_EINVAL;
    }
    return arcs >= 2 && digits > 0 && text.n <= 64 && text.p[0] <= '2' && text.p[1] == '.' ? RL_OK : RL_EINVAL;
}

/* anyExtendedKeyUsage and OCSPSigning would speak for the CA. */
static rl_err check_eku(const rl_setting_row *row, rl_span *text)
{
    unsigned choice;
    if (parse_choice(row, *text, &choice) == RL_OK) {
        *text = rl_span_str(row->choices[choice]);
        return RL_OK;
    }
    if (rl_span_eq(*text, RL_SPAN_LIT("2.5.29.37.0")) || rl_span_eq(*text, RL_SPAN_LIT("1.3.6.1.5.5.7.3.9")))
        return RL_EINVAL;
    return check_oid(*text);
}

static rl_err check_domain(rl_span *text)
{
    size_t label = 0;
    if (text->n && text->p[0] == '.')
        *text = (rl_span){text->p + 1, text->n - 1};
    for (size_t i = 0; i < text->n; i++) {
        bool dot = text->p[i] == '.';
        if ((dot && label == 0) || (!dot && !isalnum(text->p[i]) && text->p[i] != '-') || text->p[i] >= 0x80)
            return RL_EINVAL;
        label = dot ? 0 : label + 1;
    }
    return label > 0 && text->n <= 253 ? RL_OK : RL_EINVAL;
}

/* Lower case: it is part of a path, and in upper case of its settings' names. Certificates are stored with their
 * profile's name, so it must not be that of another kind. */
static rl_err check_profile_name(rl_span text)
{
    static const char *const taken[] = {"static", "static-aad", "jamf",    "dc", "intune",   "server", "client",
                                        "subca",  "ocsp",       "scep-ra", "ca", "imported", "index",  "crl"};
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        if (rl_span_eq(text, rl_span_str(taken[i])))
            return RL_EINVAL;
    bool ok = text.n > 0 && text.n <= 32 && islower(text.p[0]) && text.p[text.n - 1] != '-';
    for (size_t i = 0; ok && i < text.n; i++)
        ok = islower(text.p[i]) || isdigit(text.p[i]) || text.p[i] == '-';
    return ok ? RL_OK : RL_EINVAL;
}

/* Everything is no network of somebody's. */
static rl_err check_network(rl_span text)
{
    rl_network network;
    RL_TRY(rl_network_parse(text, &network));
    return network.prefix == 0 || (rl_address_is_v4(&network.address) && network.prefix == 96) ? RL_EINVAL : RL_OK;
}

/* One item; may be changed to another form of the same. */
static rl_err check_item(const rl_setting_row *row, rl_span *item, const rl_text_list *before)
{
    switch (row->type) {
    case RL_T_EKU_LIST:
        return check_eku(row, item);
    case RL_T_DOMAIN_LIST:
        return check_domain(item);
    case RL_T_NAME_LIST:
        for (size_t i = 0; i < before->n; i++)
            if (rl_span_eq(*item, rl_span_str(before->items[i])))
                return RL_EINVAL;
        return check_profile_name(*item);
    case RL_T_NETWORK_LIST:
        return check_network(*item);
    default:
        return check_url(*item);
    }
}

/* Spaces around an item are passed over; a comma inside a URL is written %2C. Empty is an empty list. */
static rl_err parse_list(const rl_setting_row *row, rl_span text, rl_text_list *field)
{
    rl_text_list list = {0};
    int64_t max;
    rl_err err = parse_scalar(RL_T_INT, rl_span_str(row->max), &max);
    bool more = err == RL_OK && text.n > 0;
    if (more && !(list.items = calloc((size_t)max, sizeof(*list.items))))
        err = RL_ENOMEM;
    while (more && err == RL_OK) {
        const uint8_t *comma = memchr(text.p, ',', text.n);
        rl_span item = {text.p, comma ? (size_t)(comma - text.p) : text.n};
        more = comma != NULL;
        text = more ? (rl_span){comma + 1, text.n - item.n - 1} : (rl_span){0};
        item = trimmed(item);
        err = (int64_t)list.n == max ? RL_ERANGE : check_item(row, &item, &list);
        if (err == RL_OK && !(list.items[list.n] = strndup((const char *)item.p, item.n)))
            err = RL_ENOMEM;
        list.n += err == RL_OK;
    }
    if (err != RL_OK) {
        rl_text_list_free(&list);
        return err;
    }
    rl_text_list_free(field);
    *field = list;
    return RL_OK;
}

/* "10%", "200"; a percentage is 1 to 100. */
static rl_err parse_share(const rl_setting_row *row, rl_span text, rl_share *out)
{
    rl_span unit;
    int64_t value;
    RL_TRY(number(text, &value, &unit));
    bool percent = rl_span_eq(unit, rl_span_str("%"));
    if (!percent && unit.n > 0)
        return RL_EINVAL;
    if (percent && (value < 1 || value > 100))
        return RL_ERANGE;
    if (!percent)
        RL_TRY(in_range(row, value));
    *out = (rl_share){value, percent};
    return RL_OK;
}

/* Empty is the empty set. */
static rl_err parse_choices(const rl_setting_row *row, rl_span text, unsigned *out)
{
    unsigned set = 0, choice;
    for (bool more = text.n > 0; more;) {
        const uint8_t *comma = memchr(text.p, ',', text.n);
        rl_span item = {text.p, comma ? (size_t)(comma - text.p) : text.n};
        more = comma != NULL;
        text = more ? (rl_span){comma + 1, text.n - item.n - 1} : (rl_span){0};
        RL_TRY(parse_choice(row, trimmed(item), &choice));
        set |= 1u << choice;
    }
    *out = set;
    return RL_OK;
}

static rl_err parse_field(const rl_setting_row *row, rl_span text, void *field)
{
    int64_t value;
    unsigned choice;
    switch (row->type) {
    case RL_T_STRING:
    case RL_T_URL:
    case RL_T_ADDRESS:
        return parse_string(row, text, field);
    case RL_T_URL_LIST:
    case RL_T_EKU_LIST:
    case RL_T_DOMAIN_LIST:
    case RL_T_NAME_LIST:
    case RL_T_NETWORK_LIST:
        return parse_list(row, text, field);
    case RL_T_BOOL:
        return parse_bool(text, field);
    case RL_T_ENUM:
        RL_TRY(parse_choice(row, text, &choice));
        memcpy(field, &choice, sizeof(choice)); /* every enum of the struct is an unsigned int to gcc and clang */
        return RL_OK;
    case RL_T_ENUM_SET:
        return parse_choices(row, text, field);
    case RL_T_SHARE:
        return parse_share(row, text, field);
    default:
        RL_TRY(parse_scalar(row->type, text, &value));
        RL_TRY(in_range(row, value));
        memcpy(field, &value, sizeof(value));
        return RL_OK;
    }
}

void rl_setting_allowed(const rl_setting_row *row, char *out, size_t cap)
{
    static const char *const kinds[] = {[RL_T_STRING] = "text",
                                        [RL_T_DURATION] = "duration",
                                        [RL_T_SIZE] = "size",
                                        [RL_T_INT] = "number",
                                        [RL_T_PERCENT] = "percentage",
                                        [RL_T_SHARE] = "1% to 100%, or a number",
                                        [RL_T_BOOL] = "true or false",
                                        [RL_T_ENUM] = "",
                                        [RL_T_ENUM_SET] = "",
                                        [RL_T_URL] = "URL (http or https)",
                                        [RL_T_ADDRESS] = "host:port",
                                        [RL_T_URL_LIST] = "URLs (http or https) with commas between them,",
                                        [RL_T_DOMAIN_LIST] = "domains with commas between them,",
                                        [RL_T_NAME_LIST] =
                                            "names (lower-case letters, digits, hyphens) with commas between them,",
                                        [RL_T_NETWORK_LIST] = "networks (such as 192.0.2.7, 10.0.0.0/8, "
                                                              "2001:db8::/32) with commas between them,"};
    size_t n = 0;
    if (row->choices) {
        n = (size_t)snprintf(out, cap, "%s", row->type == RL_T_ENUM ? "" : "with commas between them: ");
        for (size_t i = 0; row->choices[i] && n < cap; i++)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? ", " : "", row->choices[i]);
        if (row->type == RL_T_EKU_LIST && n < cap)
            snprintf(out + n, cap - n, ", or object identifiers");
        return;
    }
    const char *of = row->type == RL_T_STRING ? " of " : " ", *unit = row->type == RL_T_STRING ? " characters" : "";
    if (row->min && row->max)
        snprintf(out, cap, "%s%s%s to %s%s", kinds[row->type], of, row->min, row->max, unit);
    else if (row->max)
        snprintf(out, cap, "%s%sat most %s%s", kinds[row->type], of, row->max, unit);
    else
        snprintf(out, cap, "%s", kinds[row->type]);
    n = strlen(out);
    if (n < cap && row->def[0] == 0 &&
        (row->type == RL_T_STRING || row->type == RL_T_URL || row->type == RL_T_ADDRESS || rl_setting_is_list(row)))
        snprintf(out + n, cap - n, ", or empty");
}

rl_err rl_setting_parse(const rl_setting_row *row, rl_span text, rl_settings *s, char *allowed, size_t cap)
{
    rl_err err = parse_field(row, text, (char *)s + row->offset);
    if (err != RL_OK)
        rl_setting_allowed(row, allowed, cap);
    return err;
}

static rl_err unit_text(int64_t value, const struct unit *units, size_t n, rl_buf *out)
{
    for (size_t i = 0; i < n; i++)
        if (value && value % units[i].factor == 0)
            return rl_buf_printf(out, "%lld%s", (long long)(value / units[i].factor), units[i].name);
    return rl_buf_printf(out, "0");
}

rl_err rl_setting_text(const rl_setting_row *row, const rl_settings *s, rl_buf *out)
{
    const void *field = (const char *)s + row->offset;
    const char *text = NULL;
    int64_t value = 0;
    unsigned choice = 0;
    switch (row->type) {
    case RL_T_STRING:
    case RL_T_URL:
    case RL_T_ADDRESS:
        memcpy(&text, field, sizeof(text));
        return rl_buf_printf(out, "%s", text ? text : "");
    case RL_T_URL_LIST:
    case RL_T_EKU_LIST:
    case RL_T_DOMAIN_LIST:
    case RL_T_NAME_LIST:
    case RL_T_NETWORK_LIST:
        for (size_t i = 0; i < ((const rl_text_list *)field)->n; i++)
            RL_TRY(rl_buf_printf(out, "%s%s", i ? "," : "", ((const rl_text_list *)field)->items[i]));
        return RL_OK;
    case RL_T_BOOL:
        return rl_buf_printf(out, "%s", *(const bool *)field ? "true" : "false");
    case RL_T_ENUM:
        memcpy(&choice, field, sizeof(choice));
        return rl_buf_printf(out, "%s", row->choices[choice]);
    case RL_T_ENUM_SET:
        for (unsigned i = 0, n = 0; row->choices[i]; i++)
            if (*(const unsigned *)field & (1u << i))
                RL_TRY(rl_buf_printf(out, "%s%s", n++ ? "," : "", row->choices[i]));
        return RL_OK;
    case RL_T_SHARE:
        return rl_buf_printf(out, "%lld%s", (long long)((const rl_share *)field)->value,
                             ((const rl_share *)field)->percent ? "%" : "");
    default:
        break;
    }
    memcpy(&value, field, sizeof(value));
    if (row->type == RL_T_DURATION) /* years are for reading only: 3650d stays 3650d */
        return unit_text(value, duration_units + 1, 5, out);
    if (row->type == RL_T_SIZE)
        return unit_text(value, size_units, 4, out);
    return rl_buf_printf(out, "%lld%s", (long long)value, row->type == RL_T_PERCENT ? "%" : "");
}
