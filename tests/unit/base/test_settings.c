/* What rl_settings_load promises: values, their origin, every error at once, secrets kept quiet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/settings.h"
#include "base/settings_table.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A loaded environment: `first` and up to three more "NAME=value". */
struct loaded {
    rl_settings s;
    rl_buf errors;
    rl_err err;
};

static struct loaded load(const char *first, const char *second, const char *third)
{
    struct loaded l = {0};
    char *env[4] = {(char *)first, (char *)second, (char *)third, NULL};
    l.err = rl_settings_load(&l.s, env, &l.errors);
    assert_int_equal(rl_buf_append(&l.errors, "", 1), RL_OK); /* a C string */
    return l;
}

static void unload(struct loaded *l)
{
    rl_settings_free(&l->s);
    rl_buf_free(&l->errors);
}

#define ERRORS(l) ((const char *)(l)->errors.p)

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* A file of this test's own with the given content and mode. */
static char *file_with(const char *content, size_t n, mode_t mode)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/revline-settings-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, n), (ssize_t)n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void every_default_is_allowed_and_is_what_the_design_says(void **state)
{
    (void)state;
    struct loaded l = load(NULL, NULL, NULL);
    assert_int_equal(l.err, RL_OK);
    assert_string_equal(ERRORS(&l), "");
    assert_string_equal(l.s.data_dir, "./data");
    assert_string_equal(l.s.http.listen, "0.0.0.0:8080");
    assert_string_equal(l.s.http.base_url, "http://localhost:8080");
    assert_in_range(l.s.http.workers, 1, 256);
    assert_int_equal(l.s.http.header_limit, 16384);
    assert_int_equal(l.s.log.level, RL_LOG_INFO);
    assert_int_equal(l.s.log.format, RL_LOG_LOGFMT);
    assert_int_equal(l.s.ca.key, RL_KEY_RSA4096);
    assert_string_equal(l.s.ca.subject, "CN=Revline Root CA");
    assert_int_equal(l.s.ocsp.key, RL_KEY_AUTO);
    assert_int_equal(l.s.ocsp.responder_validity, 86400000);
    assert_int_equal(l.s.ocsp.validity_good, 600000);
    assert_int_equal(l.s.ocsp.validity_hold, 300000);
    assert_int_equal(l.s.ocsp.validity_revoked, 86400000);
    assert_int_equal(l.s.ocsp.validity_unknown, 60000);
    assert_int_equal(l.s.ocsp.nonce, RL_NONCE_ECHO);
    assert_int_equal(l.s.ocsp.unissued, RL_UNISSUED_UNKNOWN);
    assert_int_equal(l.s.ocsp.cache_size, 268435456);
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC].challenge, "");
    assert_int_equal(l.s.sync.entra_interval, 30000);
    assert_int_equal(l.s.sync.full_interval, 86400000);
    assert_int_equal(l.s.sync.jitter_percent, 10);
    assert_string_equal(l.s.azure.graph_url, "https://graph.microsoft.com");
    assert_null(l.s.ignored);
    unload(&l);
}

static void durations_are_whole_numbers_with_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"250ms", 250},      {"30s", 30000}, {"5m", 300000}, {"24h", 86400000}, {"7d", 604800000},
                {"2y", 63072000000}, {"0", 0},       {"0s", 0},      {"007s", 7000}};
    static const char *const bad[] = {"",
                                      "s",
                                      "5",
                                      "5 s",
                                      " 5s",
                                      "5s ",
                                      "-5s",
                                      "+5s",
                                      "1.5h",
                                      "5M",
                                      "5sec",
                                      "5s5",
                                      "1h30m",
                                      "9223372036854775807ms",
                                      "999999999999999999d",
                                      "0x10s",
                                      "\xd9\xa3s"};
    rl_duration d;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(rl_parse_duration(rl_span_str(good[i].text), &d), RL_OK);
        assert_int_equal(d, good[i].ms);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(rl_parse_duration(rl_span_str(bad[i]), &d), RL_EINVAL);
}

static void sizes_are_octets_or_binary_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t octets;
    } good[] = {{"16384", 16384}, {"64KiB", 65536}, {"256MiB", 268435456}, {"1GiB", 1073741824}, {"12B", 12}, {"0", 0}};
    static const char *const bad[] = {"", "KiB", "64KB", "64kib", "64 KiB", "-1", "1e6", "0.5MiB", "9999999999GiB"};
    int64_t n;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(rl_parse_size(rl_span_str(good[i].text), &n), RL_OK);
        assert_int_equal(n, good[i].octets);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(rl_parse_size(rl_span_str(bad[i]), &n), RL_EINVAL);
}

static void each_type_takes_what_it_should_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *setting;
        bool good;
    } cases[] = {
        {"REVLINE_SCEP_LEGACY=true", true},
        {"REVLINE_SCEP_LEGACY=False", true},
        {"REVLINE_SCEP_LEGACY=on", true},
        {"REVLINE_SCEP_LEGACY=0", true},
        {"REVLINE_SCEP_LEGACY=2", false},
        {"REVLINE_SCEP_LEGACY=", false},
        {"REVLINE_CA_KEY=ec-p384", true},
        {"REVLINE_CA_KEY=EC-P384", true},
        {"REVLINE_CA_KEY=EC-P38", false},
        {"REVLINE_UNTOLERATED_USER_RISKS=", true},
        {"REVLINE_UNTOLERATED_USER_RISKS=High, low,medium", true},
        {"REVLINE_UNTOLERATED_USER_RISKS=high,", false},
        {"REVLINE_UNTOLERATED_USER_RISKS=high;low", false},
        {"REVLINE_UNTOLERATED_USER_RISKS=hidden", false},
        {"REVLINE_DEVICE_DIRECTORY=AADAndIntuneAndEndpointList", true},
        {"REVLINE_DEVICE_DIRECTORY=AAD,Intune", false},
        {"REVLINE_CA_KEY=auto", false},
        {"REVLINE_OCSP_KEY=auto", true},
        {"REVLINE_WORKERS=0", false},
        {"REVLINE_WORKERS=256", true},
        {"REVLINE_WORKERS=257", false},
        {"REVLINE_WORKERS=4 ", false},
        {"REVLINE_SYNC_JITTER=50%", true},
        {"REVLINE_SYNC_JITTER=50", true},
        {"REVLINE_SYNC_JITTER=51%", false},
        {"REVLINE_SYNC_MASS_LIMIT=1%", true},
        {"REVLINE_SYNC_MASS_LIMIT=100%", true},
        {"REVLINE_SYNC_MASS_LIMIT=0%", false},
        {"REVLINE_SYNC_MASS_LIMIT=101%", false},
        {"REVLINE_SYNC_MASS_LIMIT=0", true},
        {"REVLINE_SYNC_MASS_LIMIT=200", true},
        {"REVLINE_SYNC_MASS_LIMIT=1000000001", false},
        {"REVLINE_SYNC_MASS_LIMIT=", false},
        {"REVLINE_SYNC_MASS_LIMIT=10 %", false},
        {"REVLINE_HTTP_LISTEN=127.0.0.1:80", true},
        {"REVLINE_HTTP_LISTEN=[::1]:8080", true},
        {"REVLINE_HTTP_LISTEN=localhost:0", true},
        {"REVLINE_HTTP_LISTEN=::1:8080", false},
        {"REVLINE_HTTP_LISTEN=[::1]", false},
        {"REVLINE_HTTP_LISTEN=[nonsense]:80", false},
        {"REVLINE_HTTP_LISTEN=[abc:80", false},
        {"REVLINE_HTTP_LISTEN=a b:80", false},
        {"REVLINE_HTTP_LISTEN=:80", false},
        {"REVLINE_HTTP_LISTEN=host:", false},
        {"REVLINE_HTTP_LISTEN=host:65536", false},
        {"REVLINE_HTTP_LISTEN=", false},
        {"REVLINE_HTTPS_LISTEN=", true},
        {"REVLINE_HTTPS_LISTEN=[::]:443", true},
        {"REVLINE_EST_LISTEN=", true},
        {"REVLINE_EST_LISTEN=8443", false},
        {"REVLINE_TLS_CERT=/etc/revline/tls.pem", true},
        {"REVLINE_TLS_KEY=/etc/revline/tls.pem", false}, /* without a certificate */
        {"REVLINE_BASE_URL=http://pki.example.com", true},
        {"REVLINE_BASE_URL=https://[::1]:8443/base", true},
        {"REVLINE_BASE_URL=", true},
        {"REVLINE_BASE_URL=ftp://pki.example.com", false},
        {"REVLINE_BASE_URL=pki.example.com", false},
        {"REVLINE_BASE_URL=http://", false},
        {"REVLINE_BASE_URL=http:///path", false},
        {"REVLINE_BASE_URL=http://:80", false},
        {"REVLINE_BASE_URL=http://host:port/", false},
        {"REVLINE_BASE_URL=http://user@host", false},
        {"REVLINE_BASE_URL=http://host/?q", false},
        {"REVLINE_BASE_URL=http://host/a b", false},
        {"REVLINE_SYNC_CRL_URLS=", true},
        {"REVLINE_SYNC_CRL_URLS=http://a.example/a%20b.crl , https://[::1]:8443/x,http://c.example/", true},
        {"REVLINE_SYNC_CRL_URLS=http://a.example/,", false},
        {"REVLINE_SYNC_CRL_URLS=,http://a.example/", false},
        {"REVLINE_SYNC_CRL_URLS=http://a.example/,ldap://b.example/", false},
        {"REVLINE_SYNC_CRL_URLS=http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,http:/"
         "/a,"
         "http://a,http://a,http://a,http://a,http://a,http://a",
         true},
        {"REVLINE_SYNC_CRL_URLS=http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,http:/"
         "/a,"
         "http://a,http://a,http://a,http://a,http://a,http://a,http://a",
         false},
        {"REVLINE_TRUSTED_PROXIES=", true},
        {"REVLINE_TRUSTED_PROXIES=192.0.2.7, 10.0.0.0/8,2001:db8::/32,::1", true},
        {"REVLINE_TRUSTED_PROXIES=192.0.2.7,", false},
        {"REVLINE_TRUSTED_PROXIES=proxy.example.com", false},
        {"REVLINE_TRUSTED_PROXIES=10.0.0.1/8", false},
        {"REVLINE_TRUSTED_PROXIES=10.0.0.0/33", false},
        {"REVLINE_TRUSTED_PROXIES=0.0.0.0/0", false}, /* everybody is no proxy */
        {"REVLINE_TRUSTED_PROXIES=::/0", false},
        {"REVLINE_GRAPH_URL=", false}, /* has a default and cannot do without */
        {"REVLINE_CA_SUBJECT=CN=Caf\xc3\xa9", true},
        {"REVLINE_CA_SUBJECT=CN=Caf\xe9", false},
        {"REVLINE_CA_SUBJECT=CN=a\nb", false},
        {"REVLINE_CA_SUBJECT=CN", false},
        {"REVLINE_STATIC_CHALLENGE=1234567", false},
        {"REVLINE_STATIC_CHALLENGE=12345678", true},
        {"REVLINE_STATIC_CHALLENGE=", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct loaded l = load(cases[i].setting, NULL, NULL);
        if ((l.err == RL_OK) != cases[i].good || lines(ERRORS(&l)) != !cases[i].good)
            fail_msg("%s: %d %s", cases[i].setting, l.err, ERRORS(&l));
        unload(&l);
    }
}

static void a_bad_value_names_variable_value_and_what_is_allowed(void **state)
{
    (void)state;
    struct loaded l =
        load("REVLINE_OCSP_VALIDITY_GOOD=10min", "REVLINE_LOG_LEVEL=loud", "REVLINE_WORKERS=many\nREVLINE_X: forged");
    assert_int_equal(l.err, RL_EINVAL);
    assert_string_equal(ERRORS(&l),
                        "REVLINE_WORKERS: 'many?REVLINE_X: forged' is not allowed; allowed is: number 1 to 256\n"
                        "REVLINE_LOG_LEVEL: 'loud' is not allowed; allowed is: debug, info, warn, error, off\n"
                        "REVLINE_OCSP_VALIDITY_GOOD: '10min' is not allowed; allowed is: duration 1s to 30d\n");
    unload(&l);
}

static void an_unknown_name_is_refused_with_the_nearest_one(void **state)
{
    (void)state;
    struct loaded l =
        load("REVLINE_OCSP_NONSE=echo", "REVLINE_STATIC_CHALENGE_FILE=/x", "REVLINE_OCSP_NONCE_FILE_FILE=/x");
    assert_int_equal(l.err, RL_EINVAL);
    assert_non_null(strstr(ERRORS(&l), "REVLINE_OCSP_NONSE: is not a setting; the nearest is REVLINE_OCSP_NONCE\n"));
    assert_non_null(strstr(
        ERRORS(&l), "REVLINE_STATIC_CHALENGE_FILE: is not a setting; the nearest is REVLINE_STATIC_CHALLENGE_FILE\n"));
    assert_non_null(strstr(ERRORS(&l), "REVLINE_OCSP_NONCE_FILE_FILE: is not a setting;"));
    assert_int_equal(lines(ERRORS(&l)), 3);
    unload(&l);
}

static void other_peoples_variables_are_left_alone(void **state)
{
    (void)state;
    struct loaded l = load("PATH=/bin", "AZURE_SOMETHING=1", "revline_lower=1");
    assert_int_equal(l.err, RL_OK);
    unload(&l);
}

static void a_file_gives_the_value_without_its_line_end(void **state)
{
    (void)state;
    char setting[128];
    static const struct {
        const char *content;
        const char *value; /* NULL: refused */
    } cases[] = {{"from-a-file", "from-a-file"},
                 {"from-a-file\n", "from-a-file"},
                 {"from-a-file\r\n", "from-a-file"},
                 {"from-a-file\n\n", NULL},
                 {"", ""},
                 {"short", NULL}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *path = file_with(cases[i].content, strlen(cases[i].content), 0644);
        snprintf(setting, sizeof(setting), "REVLINE_STATIC_CHALLENGE_FILE=%s", path);
        struct loaded l = load(setting, NULL, NULL);
        assert_int_equal(l.err, cases[i].value ? RL_OK : RL_EINVAL);
        if (cases[i].value)
            assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC].challenge, cases[i].value);
        unload(&l);
        unlink(path);
    }
}

static void a_file_that_is_none_is_refused(void **state)
{
    (void)state;
    struct loaded l = load("REVLINE_LOG_LEVEL_FILE=/nonexistent/file", "REVLINE_LOG_FORMAT_FILE=/", NULL);
    assert_int_equal(l.err, RL_EINVAL);
    assert_non_null(
        strstr(ERRORS(&l), "REVLINE_LOG_LEVEL_FILE: '/nonexistent/file' cannot be read: No such file or directory\n"));
    assert_non_null(strstr(ERRORS(&l), "REVLINE_LOG_FORMAT_FILE: '/' is not a file\n"));
    unload(&l);

    char setting[128], *big = calloc(1, 65536);
    memset(big, 'x', 65536);
    char *path = file_with(big, 65536, 0600);
    snprintf(setting, sizeof(setting), "REVLINE_STATIC_CHALLENGE_FILE=%s", path);
    l = load(setting, NULL, NULL);
    assert_non_null(strstr(ERRORS(&l), "is not smaller than 64KiB"));
    unload(&l);
    unlink(path);
    free(big);

    path = file_with("12345678\0x", 10, 0600);
    snprintf(setting, sizeof(setting), "REVLINE_STATIC_CHALLENGE_FILE=%s", path);
    l = load(setting, NULL, NULL);
    assert_non_null(strstr(ERRORS(&l), "holds a NUL octet"));
    unload(&l);
    unlink(path);
}

static void a_value_and_its_file_together_are_an_error(void **state)
{
    (void)state;
    struct loaded l = load("REVLINE_LOG_LEVEL=info", "REVLINE_LOG_LEVEL_FILE=/dev/null", NULL);
    assert_int_equal(l.err, RL_EINVAL);
    assert_string_equal(ERRORS(&l), "REVLINE_LOG_LEVEL: is set twice: directly and by its _FILE form\n");
    unload(&l);
}

static void scepmans_names_count_in_scepmans_units(void **state)
{
    (void)state;
    struct loaded l =
        load("AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists=600",
             "AppConfig__OCSP__AuthorizedResponderValidityHours=24.5", "AppConfig__ValidityClockSkewMinutes=1440");
    assert_int_equal(l.err, RL_OK);
    assert_int_equal(l.s.ocsp.validity_good, 600000);
    assert_int_equal(l.s.ocsp.responder_validity, 88200000);
    assert_int_equal(l.s.ca.clock_skew, 86400000);
    unload(&l);
    l = load("AppConfig__ValidityPeriodDays=365", "AppConfig__ConcurrentSCEPRequestLimit=7",
             "AppConfig__StaticValidation__RequestPassword=from-scepman");
    assert_int_equal(l.err, RL_OK);
    assert_int_equal(l.s.ca.cert_validity, INT64_C(365) * 86400000);
    assert_int_equal(l.s.scep.concurrent_limit, 7);
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC].challenge, "from-scepman");
    unload(&l);
    l = load("AppConfig__IntuneValidation__ComplianceCheck=Always",
             "AppConfig__IntuneValidation__ComplianceGracePeriodMinutes=90",
             "AppConfig__IntuneValidation__UntoleratedUserRisks=Medium,High");
    assert_int_equal(l.err, RL_OK);
    assert_int_equal(l.s.rules.compliance, RL_CHECK_ALWAYS);
    assert_int_equal(l.s.rules.grace, 90 * 60000);
    assert_int_equal(l.s.rules.untolerated_risks, 6);
    unload(&l);
    static const char *const bad[] = {
        "AppConfig__ValidityPeriodDays=1y",  "AppConfig__ValidityPeriodDays=",      "AppConfig__ValidityPeriodDays=-1",
        "AppConfig__ValidityPeriodDays=nan", "AppConfig__ValidityPeriodDays=1e300", "AppConfig__ValidityPeriodDays=0"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        l = load(bad[i], NULL, NULL);
        assert_int_equal(l.err, RL_EINVAL);
        assert_non_null(strstr(ERRORS(&l), "AppConfig__ValidityPeriodDays"));
        unload(&l);
    }
}

static void scepmans_lists_have_other_separators(void **state)
{
    static const char *const texts[] = {"1.3.6.1.5.5.7.3.2;1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2 1.3.6.1.5.5.7.3.1",
                                        " 1.3.6.1.5.5.7.3.2, 1.3.6.1.5.5.7.3.1;"};
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char setting[128];
        snprintf(setting, sizeof(setting), "AppConfig__DCValidation__DefaultEkus=%s", texts[i]);
        struct loaded l = load(setting, NULL, NULL);
        const rl_text_list *eku = &l.s.scep.profiles[RL_ENROLL_DC].eku;
        assert_int_equal(l.err, RL_OK);
        assert_int_equal(eku->n, 2);
        assert_string_equal(eku->items[0], "1.3.6.1.5.5.7.3.2");
        assert_string_equal(eku->items[1], "1.3.6.1.5.5.7.3.1");
        unload(&l);
    }
}

static void a_profile_that_is_turned_off_has_no_challenge(void **state)
{
    static const struct {
        const char *off;
        int profile;
    } rows[] = {{"AppConfig__StaticValidation__Enabled=false", RL_ENROLL_STATIC},
                {"AppConfig__StaticAADValidation__Enabled=False", RL_ENROLL_STATIC_AAD},
                {"AppConfig__JamfValidation__Enabled=false", RL_ENROLL_JAMF},
                {"AppConfig__DCValidation__Enabled=false", RL_ENROLL_DC},
                {"REVLINE_STATIC_ENABLED=false", RL_ENROLL_STATIC}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *env[] = {(char *)(uintptr_t)rows[i].off,
                       "REVLINE_STATIC_CHALLENGE=static-word",
                       "REVLINE_STATIC_AAD_CHALLENGE=aad-challenge",
                       "REVLINE_JAMF_CHALLENGE=jamf-challenge",
                       "AppConfig__DCValidation__RequestPassword=dc-challenge",
                       NULL};
        rl_buf errors = {0};
        rl_settings s;
        assert_int_equal(rl_settings_load(&s, env, &errors), RL_OK);
        assert_null(s.ignored);
        for (int p = 0; p < 4; p++) {
            static const int profiles[] = {RL_ENROLL_STATIC, RL_ENROLL_STATIC_AAD, RL_ENROLL_JAMF, RL_ENROLL_DC};
            assert_int_equal(s.scep.profiles[profiles[p]].challenge[0] != 0, profiles[p] != rows[i].profile);
        }
        rl_settings_free(&s);
        rl_buf_free(&errors);
    }
}

static void our_name_wins_over_scepmans(void **state)
{
    (void)state;
    struct loaded l =
        load("AppConfig__OCSP__CacheTimeOutSecondsIfDeviceExists=nonsense", "REVLINE_OCSP_VALIDITY_GOOD=1m", NULL);
    assert_int_equal(l.err, RL_OK);
    assert_int_equal(l.s.ocsp.validity_good, 60000);
    unload(&l);
}

static void scepmans_other_names_are_ignored_and_listed(void **state)
{
    (void)state;
    struct loaded l = load("AppConfig__CRL__Source=Storage", "AppConfig__BaseUrl=https://pki.example.com/",
                           "AppConfig__EnableCertificateStorage=true");
    rl_buf out = {0};
    assert_int_equal(l.err, RL_OK);
    assert_string_equal(l.s.http.base_url, "https://pki.example.com");
    assert_string_equal(l.s.ignored, "AppConfig__CRL__Source AppConfig__EnableCertificateStorage");
    assert_int_equal(rl_settings_print(&l.s, &out), RL_OK);
    assert_int_equal(rl_buf_append(&out, "", 1), RL_OK);
    assert_non_null(strstr(
        (char *)out.p, "Set, but of no meaning here: AppConfig__CRL__Source AppConfig__EnableCertificateStorage\n"));
    rl_buf_free(&out);
    unload(&l);
}

static void a_secret_is_neither_in_an_error_nor_in_the_printout(void **state)
{
    (void)state;
    struct loaded l = load("REVLINE_STATIC_CHALLENGE=hush", "AZURE_CLIENT_SECRET_FILE=hush",
                           "AppConfig__StaticAADValidation__RequestPassword=hush");
    assert_int_equal(l.err, RL_EINVAL);
    assert_int_equal(lines(ERRORS(&l)), 3);
    assert_null(strstr(ERRORS(&l), "hush"));
    unload(&l);

    l = load("REVLINE_STATIC_CHALLENGE=keep-this-quiet", "AZURE_CLIENT_SECRET=keep-this-quiet", NULL);
    rl_buf text = {0}, json = {0};
    assert_int_equal(rl_settings_print(&l.s, &text), RL_OK);
    assert_int_equal(rl_settings_print_json(&l.s, &json), RL_OK);
    assert_int_equal(rl_buf_append(&text, "", 1) | rl_buf_append(&json, "", 1), RL_OK);
    assert_null(strstr((char *)text.p, "keep-this-quiet"));
    assert_null(strstr((char *)json.p, "keep-this-quiet"));
    assert_non_null(strstr((char *)text.p, "REVLINE_STATIC_CHALLENGE=********\n"));
    rl_buf_free(&text);
    rl_buf_free(&json);
    unload(&l);
}

/* Blanks divide them: a challenge of some words would let in who knows one of the words. */
static void old_challenges_are_as_long_as_others(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } all[] = {{"last-years-word", true}, {" last-years-word  8-before ", true}, {" ", true},
               {"short", false},          {"last-years-word 7-befor", false},    {"winter is coming-2024", false}};
    for (size_t i = 0; i < COUNT(all); i++) {
        char one[96], other[96];
        snprintf(one, sizeof(one), "REVLINE_JAMF_OLD_CHALLENGES=%s", all[i].text);
        snprintf(other, sizeof(other), "REVLINE_SCEP_WIFI_OLD_CHALLENGES=%s", all[i].text);
        struct loaded l = load(one, other, "REVLINE_SCEP_PROFILES=wifi");
        assert_int_equal(l.err, all[i].good ? RL_OK : RL_EINVAL);
        assert_int_equal(lines(ERRORS(&l)), all[i].good ? 0 : 2);
        if (!all[i].good) {
            assert_non_null(strstr(ERRORS(&l), "REVLINE_JAMF_OLD_CHALLENGES: "));
            assert_non_null(strstr(ERRORS(&l), "REVLINE_SCEP_WIFI_OLD_CHALLENGES: "));
            assert_null(strstr(ERRORS(&l), all[i].text)); /* a secret */
        }
        unload(&l);
    }
}

static void the_generated_challenge_fills_what_is_not_set_and_is_shown(void **state)
{
    (void)state;
    char dir[] = "/tmp/revline-settings-XXXXXX", path[64], setting[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/static-challenge", dir);
    snprintf(setting, sizeof(setting), "REVLINE_DATA_DIR=%s", dir);
    FILE *f = fopen(path, "w");
    fputs("generated-secret\n", f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);

    struct loaded l = load(setting, NULL, NULL);
    rl_buf text = {0};
    assert_int_equal(l.err, RL_OK);
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC].challenge, "generated-secret");
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC_AAD].challenge, "generated-secret");
    assert_string_equal(l.s.generated_challenge_path, path);
    assert_int_equal(rl_settings_print(&l.s, &text), RL_OK);
    assert_int_equal(rl_buf_append(&text, "", 1), RL_OK);
    assert_non_null(strstr((char *)text.p, "REVLINE_STATIC_CHALLENGE=generated-secret\n"));
    rl_buf_free(&text);
    unload(&l);

    /* set, or set to nothing (the profile is off): the file does not overrule an admin */
    l = load(setting, "REVLINE_STATIC_CHALLENGE=", "REVLINE_STATIC_AAD_CHALLENGE=my-own-secret");
    assert_int_equal(l.err, RL_OK);
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC].challenge, "");
    assert_string_equal(l.s.scep.profiles[RL_ENROLL_STATIC_AAD].challenge, "my-own-secret");
    assert_null(l.s.generated_challenge_path);
    unload(&l);

    assert_int_equal(chmod(path, 0644), 0);
    l = load(setting, NULL, NULL);
    assert_int_equal(l.err, RL_EINVAL);
    assert_non_null(strstr(ERRORS(&l), "can be read by others than its owner"));
    assert_null(strstr(ERRORS(&l), "generated-secret"));
    unload(&l);
    unlink(path);
    rmdir(dir);
}

static void the_base_url_follows_from_the_listener(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"REVLINE_HTTP_LISTEN=0.0.0.0:80", "http://localhost:80"},
                                           {"REVLINE_HTTP_LISTEN=[::]:8080", "http://localhost:8080"},
                                           {"REVLINE_HTTP_LISTEN=[::1]:8080", "http://[::1]:8080"},
                                           {"REVLINE_HTTP_LISTEN=10.1.2.3:81", "http://10.1.2.3:81"},
                                           {"REVLINE_BASE_URL=https://a.example//", "https://a.example"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct loaded l = load(cases[i][0], NULL, NULL);
        assert_int_equal(l.err, RL_OK);
        assert_string_equal(l.s.http.base_url, cases[i][1]);
        unload(&l);
    }
}

static void json_has_every_setting_with_its_origin(void **state)
{
    (void)state;
    char setting[128], origin[128];
    char *path = file_with("debug\n", 6, 0644);
    snprintf(setting, sizeof(setting), "REVLINE_LOG_LEVEL_FILE=%s", path);
    snprintf(origin, sizeof(origin), "file %s", path);
    struct loaded l = load(setting, "REVLINE_OCSP_VALIDITY_GOOD=90s", "AppConfig__ValidityPeriodDays=365");
    rl_buf out = {0};
    json_error_t e;
    size_t i;
    json_t *row;
    assert_int_equal(rl_settings_print_json(&l.s, &out), RL_OK);
    json_t *all = json_loadb((char *)out.p, out.n, 0, &e);
    assert_int_equal(json_array_size(all), rl_setting_rows_n);
    json_array_foreach(all, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *value = json_string_value(json_object_get(row, "value"));
        const char *from = json_string_value(json_object_get(row, "source"));
        assert_string_equal(name, rl_setting_rows[i].name);
        assert_non_null(json_string_value(json_object_get(row, "help")));
        assert_non_null(json_string_value(json_object_get(row, "range")));
        if (strcmp(name, "REVLINE_LOG_LEVEL") == 0) {
            assert_string_equal(value, "debug");
            assert_string_equal(from, origin);
        } else if (strcmp(name, "REVLINE_OCSP_VALIDITY_GOOD") == 0) {
            assert_string_equal(value, "90s");
            assert_string_equal(from, "environment");
        } else if (strcmp(name, "REVLINE_CERT_VALIDITY") == 0) {
            assert_string_equal(value, "365d");
            assert_string_equal(from, "alias AppConfig__ValidityPeriodDays");
        } else {
            assert_string_equal(from, "default");
        }
    }
    json_decref(all);
    rl_buf_free(&out);
    unload(&l);
    unlink(path);
}

/* What is printed as a value can be given as one: the printed form of every default parses back to the same field. */
static void a_printed_value_reads_back(void **state)
{
    (void)state;
    struct loaded a = load(NULL, NULL, NULL), b = load(NULL, NULL, NULL);
    char allowed[256];
    for (size_t i = 0; i < rl_setting_rows_n; i++) {
        const rl_setting_row *row = &rl_setting_rows[i];
        rl_buf first = {0}, second = {0};
        assert_int_equal(rl_setting_text(row, &a.s, &first), RL_OK);
        assert_int_equal(rl_setting_parse(row, rl_buf_span(&first), &b.s, allowed, sizeof(allowed)), RL_OK);
        assert_int_equal(rl_setting_text(row, &b.s, &second), RL_OK);
        assert_true(rl_span_eq(rl_buf_span(&first), rl_buf_span(&second)));
        rl_buf_free(&first);
        rl_buf_free(&second);
    }
    unload(&a);
    unload(&b);
}

static void the_reference_has_a_row_for_every_setting(void **state)
{
    (void)state;
    rl_buf out = {0};
    assert_int_equal(rl_settings_print_markdown(&out), RL_OK);
    assert_int_equal(rl_buf_append(&out, "", 1), RL_OK);
    for (size_t i = 0; i < rl_setting_rows_n; i++) {
        char start[96];
        snprintf(start, sizeof(start), "\n| `%s` | ", rl_setting_rows[i].name);
        assert_non_null(strstr((char *)out.p, start));
    }
    /* each table row has its four cells */
    for (char *line = strtok((char *)out.p, "\n"); line; line = strtok(NULL, "\n")) {
        size_t bars = 0;
        for (char *p = line; *p; p++)
            bars += *p == '|';
        assert_true(bars == 0 || bars == 5);
    }
    rl_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_allowed_and_is_what_the_design_says),
        cmocka_unit_test(durations_are_whole_numbers_with_a_unit),
        cmocka_unit_test(sizes_are_octets_or_binary_units),
        cmocka_unit_test(each_type_takes_what_it_should_and_nothing_else),
        cmocka_unit_test(a_bad_value_names_variable_value_and_what_is_allowed),
        cmocka_unit_test(an_unknown_name_is_refused_with_the_nearest_one),
        cmocka_unit_test(other_peoples_variables_are_left_alone),
        cmocka_unit_test(a_file_gives_the_value_without_its_line_end),
        cmocka_unit_test(a_file_that_is_none_is_refused),
        cmocka_unit_test(a_value_and_its_file_together_are_an_error),
        cmocka_unit_test(scepmans_names_count_in_scepmans_units),
        cmocka_unit_test(our_name_wins_over_scepmans),
        cmocka_unit_test(scepmans_lists_have_other_separators),
        cmocka_unit_test(a_profile_that_is_turned_off_has_no_challenge),
        cmocka_unit_test(scepmans_other_names_are_ignored_and_listed),
        cmocka_unit_test(a_secret_is_neither_in_an_error_nor_in_the_printout),
        cmocka_unit_test(old_challenges_are_as_long_as_others),
        cmocka_unit_test(the_generated_challenge_fills_what_is_not_set_and_is_shown),
        cmocka_unit_test(the_base_url_follows_from_the_listener),
        cmocka_unit_test(json_has_every_setting_with_its_origin),
        cmocka_unit_test(a_printed_value_reads_back),
        cmocka_unit_test(the_reference_has_a_row_for_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
