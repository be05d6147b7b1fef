/* The clock, and the three date formats of HTTP plus RFC 3339. Calendar arithmetic is our own: no time
 * zone, no locale, no lock, and the proleptic Gregorian calendar for every year of four digits. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

static _Atomic(const rl_clock *) tests_clock;

void rl_clock_set(const rl_clock *c)
{
    atomic_store_explicit(&tests_clock, c, memory_order_release);
}

int64_t rl_wall_ms(void)
{
    const rl_clock *c = atomic_load_explicit(&tests_clock, memory_order_acquire);
    if (c != NULL && c->wall_ms != NULL)
        return c->wall_ms(c->ctx);
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The kernel's tick (clock_gettime(2)): no counter is read and scaled for what seconds do not show. */
int64_t rl_wall_s(void)
{
    const rl_clock *c = atomic_load_explicit(&tests_clock, memory_order_acquire);
    if (c != NULL && c->wall_ms != NULL)
        return c->wall_ms(c->ctx) / 1000;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (int64_t)t.tv_sec;
}

uint64_t rl_mono_ns(void)
{
    const rl_clock *c = atomic_load_explicit(&tests_clock, memory_order_acquire);
    if (c != NULL && c->mono_ns != NULL)
        return c->mono_ns(c->ctx);
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- calendar ---- */

enum { DAY = 86400 };
static const int64_t first_second = -62167219200; /* 0000-01-01T00:00:00Z */
static const int64_t last_second = 253402300799;  /* 9999-12-31T23:59:59Z */
static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

typedef struct civil {
    int64_t year;
    int month, day;                    /* from 1 */
    int hour, minute, second, weekday; /* 0 = Sunday */
} civil;

/* Days since 1970-01-01. The year is taken to begin in March, so that the leap day is its last and the
 * months' lengths follow (153 m + 2) / 5. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static civil civil_from_unix(int64_t unix_s)
{
    if (unix_s < first_second) /* outside, the formats have no digits for it */
        unix_s = first_second;
    if (unix_s > last_second)
        unix_s = last_second;
    int64_t days = unix_s / DAY, rest = unix_s % DAY;
    if (rest < 0) {
        rest += DAY;
        days--;
    }
    civil c = {.hour = (int)(rest / 3600), .minute = (int)(rest / 60 % 60), .second = (int)(rest % 60)};
    c.weekday = (int)((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    c.day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    c.month = (int)(month < 10 ? month + 3 : month - 9);
    c.year = year_of_era + era * 400 + (c.month <= 2);
    return c;
}

static bool civil_valid(const civil *c)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->month < 1 || c->month > 12)
        return false;
    bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;
    int length = lengths[c->month - 1] + (c->month == 2 && leap);
    /* second 60: a leap second, counted as the first of the next minute */
    return c->day >= 1 && c->day <= length && c->hour <= 23 && c->minute <= 59 && c->second <= 60;
}

static int64_t civil_to_unix(const civil *c)
{
    return days_from_civil(c->year, c->month, c->day) * DAY + c->hour * 3600 + c->minute * 60 + c->second;
}

/* ---- writing: digit by digit, since printf takes longer than all else that an answer's dates need ---- */

static char *put_digits(char *out, int count, int64_t value)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + count;
}

static char *put_text(char *out, const char *text, size_t n)
{
    return (char *)memcpy(out, text, n) + n;
}

static char *put_time_of_day(char *out, const civil *c, const char *between)
{
    size_t n = strlen(between);
    out = put_text(put_digits(out, 2, c->hour), between, n);
    out = put_text(put_digits(out, 2, c->minute), between, n);
    return put_digits(out, 2, c->second);
}

static char *put_date(char *out, const civil *c, const char *between)
{
    size_t n = strlen(between);
    out = put_text(put_digits(out, 4, c->year), between, n);
    out = put_text(put_digits(out, 2, c->month), between, n);
    return put_digits(out, 2, c->day);
}

void rl_time_rfc3339(int64_t unix_s, char out[RL_TIME_TEXT])
{
    civil c = civil_from_unix(unix_s);
    out = put_text(put_date(out, &c, "-"), "T", 1);
    (void)put_text(put_time_of_day(out, &c, ":"), "Z", 2);
}

void rl_time_digits(int64_t unix_s, char out[RL_TIME_TEXT])
{
    civil c = civil_from_unix(unix_s);
    *put_time_of_day(put_date(out, &c, ""), &c, "") = '\0';
}

void rl_time_http(int64_t unix_s, char out[RL_TIME_TEXT])
{
    civil c = civil_from_unix(unix_s);
    out = put_text(put_text(out, day_names + 3 * c.weekday, 3), ", ", 2);
    out = put_text(put_digits(out, 2, c.day), " ", 1);
    out = put_text(put_text(out, month_names + 3 * (c.month - 1), 3), " ", 1);
    out = put_text(put_digits(out, 4, c.year), " ", 1);
    (void)put_text(put_time_of_day(out, &c, ":"), " GMT", 5);
}

/* ---- reading: each helper takes its piece off the front of *p, or fails ---- */

static bool digits(const char **p, int count, int *out)
{
    int v = 0;
    for (int i = 0; i < count; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (c - '0');
    }
    *p += count;
    *out = v;
    return true;
}

static bool literal(const char **p, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(*p, text, n) != 0)
        return false;
    *p += n;
    return true;
}

/* Index of the three-letter name at *p in `names`, or -1. */
static int name3(const char **p, const char *names)
{
    for (int i = 0; names[3 * i] != '\0'; i++) {
        if (strncmp(*p, names + 3 * i, 3) == 0) {
            *p += 3;
            return i;
        }
    }
    return -1;
}

static bool month(const char **p, civil *c)
{
    c->month = name3(p, month_names) + 1;
    return c->month > 0;
}

static bool time_of_day(const char **p, civil *c)
{
    return digits(p, 2, &c->hour) && literal(p, ":") && digits(p, 2, &c->minute) && literal(p, ":") &&
           digits(p, 2, &c->second);
}

static bool year4(const char **p, civil *c)
{
    int y = 0;
    bool ok = digits(p, 4, &y);
    c->year = y;
    return ok;
}

/* RFC 9110 §5.6.7: a two-digit year that seems more than 50 years ahead is the last century's. */
static bool year2(const char **p, civil *c)
{
    int y = 0;
    if (!digits(p, 2, &y))
        return false;
    int64_t now = civil_from_unix(rl_wall_s()).year;
    c->year = now - now % 100 + y;
    if (c->year > now + 50)
        c->year -= 100;
    return true;
}

/* IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool imf_fixdate(const char *p, civil *c)
{
    return name3(&p, day_names) >= 0 && literal(&p, ", ") && digits(&p, 2, &c->day) && literal(&p, " ") &&
           month(&p, c) && literal(&p, " ") && year4(&p, c) && literal(&p, " ") && time_of_day(&p, c) &&
           literal(&p, " GMT") && *p == '\0';
}

/* RFC 850: "Sunday, 06-Nov-94 08:49:37 GMT" */
static bool rfc850_date(const char *p, civil *c)
{
    static const char *const names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    size_t i = 0;
    while (i < 7 && !literal(&p, names[i]))
        i++;
    return i < 7 && literal(&p, ", ") && digits(&p, 2, &c->day) && literal(&p, "-") && month(&p, c) &&
           literal(&p, "-") && year2(&p, c) && literal(&p, " ") && time_of_day(&p, c) && literal(&p, " GMT") &&
           *p == '\0';
}

/* asctime: "Sun Nov  6 08:49:37 1994" */
static bool asctime_date(const char *p, civil *c)
{
    if (name3(&p, day_names) < 0 || !literal(&p, " ") || !month(&p, c) || !literal(&p, " "))
        return false;
    bool day = literal(&p, " ") ? digits(&p, 1, &c->day) : digits(&p, 2, &c->day);
    return day && literal(&p, " ") && time_of_day(&p, c) && literal(&p, " ") && year4(&p, c) && *p == '\0';
}

rl_err rl_time_parse_http(const char *text, int64_t *unix_s)
{
    civil c = {0};
    if (!imf_fixdate(text, &c) && !rfc850_date(text, &c) && !asctime_date(text, &c))
        return RL_EBADMSG;
    if (!civil_valid(&c))
        return RL_EBADMSG;
    *unix_s = civil_to_unix(&c);
    return RL_OK;
}

/* Seconds east of UTC. */
static bool offset(const char **p, int64_t *out)
{
    *out = 0;
    if (literal(p, "Z") || literal(p, "z"))
        return true;
    int sign = literal(p, "+") ? 1 : literal(p, "-") ? -1 : 0;
    int hours = 0, minutes = 0;
    if (sign == 0 || !digits(p, 2, &hours) || !literal(p, ":") || !digits(p, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *out = sign * (hours * 3600 + minutes * 60);
    return true;
}

rl_err rl_time_parse_rfc3339(const char *text, int64_t *unix_s)
{
    const char *p = text;
    civil c = {0};
    if (!year4(&p, &c) || !literal(&p, "-") || !digits(&p, 2, &c.month) || !literal(&p, "-") ||
        !digits(&p, 2, &c.day) || !(literal(&p, "T") || literal(&p, "t")) || !time_of_day(&p, &c))
        return RL_EBADMSG;
    if (literal(&p, ".")) { /* whole seconds are enough; the fraction only has to be one */
        int digit = 0, count = 0;
        while (digits(&p, 1, &digit))
            count++;
        if (count < 1 || count > 7)
            return RL_EBADMSG;
    }
    int64_t east = 0;
    if (!offset(&p, &east) || *p != '\0' || !civil_valid(&c))
        return RL_EBADMSG;
    *unix_s = civil_to_unix(&c) - east;
    return RL_OK;
}
