/* One-time challenges; see challenge.h. */
#include "scep/challenge.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/network.h"
#include "crypto/hash.h"

enum { ENTRY_MAX = 16 * 1024, SUBJECT_MAX = 1024, NAMES_MAX = 4096, EXPIRED_AT_ONCE = 1000 };

/* A blank is in no profile's name. */
static rl_err name_of(const char *profile, const char *challenge, char *out, size_t cap)
{
    uint8_t digest[RL_HASH_MAX];
    rl_buf text = {0};
    rl_err err = rl_buf_printf(&text, "%s %s", profile, challenge);
    if (err == RL_OK)
        err = rl_hash_digest(RL_SHA256, rl_buf_span(&text), digest);
    if (text.p)
        explicit_bzero(text.p, text.n);
    rl_buf_free(&text);
    size_t n = strlen(RL_CHALLENGE_PREFIX);
    memcpy(out, RL_CHALLENGE_PREFIX, n + 1);
    return err == RL_OK ? rl_hex(rl_span_of(digest, rl_hash_size(RL_SHA256)), out + n, cap - n) : err;
}

/* ---- making ---- */
struct making {
    const char *name;
    rl_buf value;
    char expired[EXPIRED_AT_ONCE][sizeof(RL_CHALLENGE_PREFIX) + 64];
    size_t expired_n;
    int64_t now;
};

static bool is_challenge(const char *name)
{
    return strncmp(name, RL_CHALLENGE_PREFIX, strlen(RL_CHALLENGE_PREFIX)) == 0;
}

static bool find_expired(const char *name, rl_span value, void *ctx)
{
    struct making *m = ctx;
    json_t *root = NULL;
    if (!is_challenge(name) || strlen(name) >= sizeof(m->expired[0]))
        return true;
    if (rl_json_parse(value, ENTRY_MAX, &root, NULL) != RL_OK || rl_json_int(root, "expires", 0) < m->now)
        snprintf(m->expired[m->expired_n++], sizeof(m->expired[0]), "%s", name);
    json_decref(root);
    return m->expired_n < EXPIRED_AT_ONCE;
}

static rl_err put(rl_store_txn *t, void *arg, rl_error *e)
{
    struct making *m = arg;
    rl_err err = rl_txn_queue_put(t, m->name, rl_buf_span(&m->value));
    for (size_t i = 0; err == RL_OK && i < m->expired_n; i++)
        err = rl_txn_queue_delete(t, m->expired[i]);
    if (err == RL_OK)
        err = rl_txn_audit(t, "api", "challenge.make", m->name);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "challenge", "it cannot be stored: %s", rl_err_name(err));
}

static rl_err write_entry(const char *profile, const char *subject, const char *names, int64_t expires,
                          const char *used, rl_buf *out)
{
    json_t *root = json_pack("{s:s,s:s?,s:s?,s:I,s:s?}", "profile", profile, "subject", subject, "names", names,
                             "expires", (json_int_t)expires, "used", used);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    rl_err err = text ? rl_buf_append(out, text, strlen(text)) : RL_ENOMEM;
    free(text);
    json_decref(root);
    return err;
}

static rl_err check(const rl_settings *s, const char *profile, const char *subject, int64_t life, rl_error *e)
{
    rl_profile_id id;
    rl_profile p;
    if (rl_profile_find(s, profile, &id) != RL_OK || (unsigned)id >= RL_ENROLL_MAX || id == RL_PROFILE_INTUNE ||
        !rl_profile_get(s, id, &p) || !p.rules->challenge[0])
        return rl_fail(e, RL_EINVAL, "challenge", "'%.40s' is no enrollment profile with a challenge that is on",
                       profile);
    if (subject && (!subject[0] || strlen(subject) > SUBJECT_MAX))
        return rl_fail(e, RL_ERANGE, "challenge", "a subject has 1 to %d characters", SUBJECT_MAX);
    if (life < RL_CHALLENGE_LIFE_MIN || life > RL_CHALLENGE_LIFE_MAX)
        return rl_fail(e, RL_ERANGE, "challenge", "a challenge holds for 1m to 30d");
    return RL_OK;
}

/* ---- names: "DNS:laptop-1.example.test, UPN:ada@example.test" ---- */
/* Takes the next off `list`, without the blanks around it. */
static rl_span next_name(rl_span *list)
{
    const uint8_t *comma = list->n ? memchr(list->p, ',', list->n) : NULL;
    rl_span one, skip;
    (void)rl_span_take(list, comma ? (size_t)(comma - list->p) : list->n, &one);
    (void)rl_span_take(list, list->n ? 1 : 0, &skip);
    while (one.n > 0 && one.p[0] == ' ')
        (void)rl_span_take(&one, 1, &skip);
    while (one.n > 0 && one.p[one.n - 1] == ' ')
        one.n--;
    return one;
}

/* "IP:" and an address, of which there are several spellings. */
static bool is_address(rl_span one, rl_address *out)
{
    const rl_span kind = RL_SPAN_LIT("IP:");
    rl_span front;
    return rl_span_take(&one, kind.n, &front) == RL_OK && rl_span_ieq(front, kind) &&
           rl_address_parse(one, out) == RL_OK;
}

static bool is_name(rl_span one)
{
    static const char *const kinds[] = {"DNS:", "UPN:", "email:", "URI:"};
    rl_address address;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (one.n > strlen(kinds[i]) && rl_span_ieq(rl_span_of(one.p, strlen(kinds[i])), rl_span_str(kinds[i])))
            return true;
    return is_address(one, &address);
}

static bool same_name(rl_span one, rl_span other)
{
    rl_address a, b;
    if (is_address(one, &a) && is_address(other, &b))
        return memcmp(&a, &b, sizeof(a)) == 0;
    return rl_span_ieq(one, other);
}

static rl_err check_names(const char *names, rl_error *e)
{
    rl_span list = rl_span_str(names);
    if (list.n == 0 || list.n > NAMES_MAX)
        return rl_fail(e, RL_ERANGE, "challenge", "names have 1 to %d characters", NAMES_MAX);
    while (list.n > 0) {
        rl_span one = next_name(&list);
        if (!is_name(one))
            return rl_fail(e, RL_EINVAL, "challenge",
                           "'%.*s' of names is no alternative name: DNS:, UPN:, email:, URI: or IP: and what it is",
                           (int)(one.n < 80 ? one.n : 80), (const char *)one.p);
    }
    return RL_OK;
}

/* As rl_name_text writes the request's, with which it is compared. */
static rl_err read_subject(const char *text, char **out, rl_error *e)
{
    X509_NAME *name;
    RL_TRY(rl_name_parse(text, &name, e));
    *out = rl_name_text(name);
    X509_NAME_free(name);
    return *out ? RL_OK : rl_fail(e, RL_ENOMEM, "challenge", "out of memory");
}

rl_err rl_challenge_make(rl_store *store, const rl_settings *s, const char *profile, const char *subject,
                         const char *names, int64_t life, char out[RL_CHALLENGE_SIZE], int64_t *expires, rl_error *e)
{
    uint8_t random[20];
    char *wanted = NULL, name[sizeof(RL_CHALLENGE_PREFIX) + 64];
    RL_TRY(check(s, profile, subject, life, e));
    if (names)
        RL_TRY(check_names(names, e));
    if (subject)
        RL_TRY(read_subject(subject, &wanted, e));
    struct making *m = calloc(1, sizeof(*m));
    if (!m) {
        free(wanted);
        return rl_fail(e, RL_ENOMEM, "challenge", "out of memory");
    }
    m->name = name;
    m->now = rl_wall_s();
    *expires = m->now + life;
    arc4random_buf(random, sizeof(random));
    rl_err err = rl_hex(rl_span_of(random, sizeof(random)), out, RL_CHALLENGE_SIZE);
    if (err == RL_OK)
        err = name_of(profile, out, name, sizeof(name));
    if (err == RL_OK)
        err = write_entry(profile, wanted, names, *expires, NULL, &m->value);
    if (err == RL_OK)
        err = rl_store_each_queued(store, find_expired, m);
    err = err == RL_OK ? rl_store_run(store, put, m, e) : rl_fail(e, err, "challenge", "%s", rl_err_name(err));
    explicit_bzero(random, sizeof(random));
    rl_buf_free(&m->value);
    free(wanted);
    free(m);
    return err;
}

/* ---- using ---- */
/* An alternative name as `names` has it; false for kinds that those have not. */
static bool write_name(const GENERAL_NAME *name, rl_buf *out)
{
    char address[INET6_ADDRSTRLEN];
    const ASN1_STRING *text = NULL;
    const char *kind = name->type == GEN_DNS ? "DNS" : name->type == GEN_EMAIL ? "email" : "URI";
    if (name->type == GEN_DNS || name->type == GEN_EMAIL || name->type == GEN_URI)
        text = name->d.ia5;
    if (name->type == GEN_OTHERNAME && OBJ_obj2nid(name->d.otherName->type_id) == NID_ms_upn &&
        name->d.otherName->value->type == V_ASN1_UTF8STRING) {
        kind = "UPN";
        text = name->d.otherName->value->value.utf8string;
    }
    if (name->type == GEN_IPADD) {
        int n = ASN1_STRING_length(name->d.iPAddress);
        return (n == 4 || n == 16) &&
               inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), address,
                         sizeof(address)) &&
               rl_buf_printf(out, "IP:%s", address) == RL_OK;
    }
    return text && rl_buf_printf(out, "%s:", kind) == RL_OK &&
           rl_buf_append(out, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)) == RL_OK;
}

/* `text` is one of `names`, or says what the common name says. */
static bool is_named(rl_span text, const char *names, const X509_NAME *subject)
{
    rl_span list = rl_span_str(names ? names : ""), value = text;
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const ASN1_STRING *cn = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;
    while (list.n > 0)
        if (same_name(next_name(&list), text))
            return true;
    const uint8_t *colon = memchr(text.p, ':', text.n);
    (void)rl_span_take(&value, (size_t)(colon - text.p) + 1, &list);
    return cn && rl_span_ieq(value, rl_span_of(ASN1_STRING_get0_data(cn), (size_t)ASN1_STRING_length(cn)));
}

/* Microsoft's security identifier says who somebody is, too. */
static bool asks_for_sid(const STACK_OF(X509_EXTENSION) * exts)
{
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.311.25.2", 1);
    bool asks = !oid || X509v3_get_ext_by_OBJ(exts, oid, -1) >= 0;
    ASN1_OBJECT_free(oid);
    return asks;
}

/* Of a challenge for a subject or names the request has no others: by an alternative name it would be another's. */
static bool are_named(const json_t *root, const rl_profile *profile, X509_REQ *csr)
{
    const char *names = rl_json_str(root, "names"), *subject = rl_json_str(root, "subject");
    STACK_OF(X509_EXTENSION) *exts = subject || names ? X509_REQ_get_extensions(csr) : NULL;
    int critical = -1;
    GENERAL_NAMES *all = exts ? X509V3_get_d2i(exts, NID_subject_alt_name, &critical, NULL) : NULL;
    bool named = all || critical == -1; /* else malformed, or there twice */
    for (int i = 0; named && i < sk_GENERAL_NAME_num(all); i++) {
        rl_buf text = {0};
        named = write_name(sk_GENERAL_NAME_value(all, i), &text) &&
                is_named(rl_buf_span(&text), names, subject ? X509_REQ_get_subject_name(csr) : NULL);
        rl_buf_free(&text);
    }
    if (exts && profile->rules->asked_sid && asks_for_sid(exts))
        named = false;
    GENERAL_NAMES_free(all);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    ERR_clear_error();
    return named;
}

static bool is_for(const json_t *root, const rl_profile *profile, X509_REQ *csr)
{
    const char *wanted = rl_json_str(root, "subject");
    char *text = wanted ? rl_name_text(X509_REQ_get_subject_name(csr)) : NULL;
    bool same = (!wanted || (text && strcmp(text, wanted) == 0)) && are_named(root, profile, csr);
    free(text);
    return same;
}

bool rl_challenge_holds(rl_store *store, const rl_profile *profile, const char *given, X509_REQ *csr,
                        const char *transaction, rl_challenge_use *use)
{
    rl_buf value = {0};
    json_t *root = NULL;
    *use = (rl_challenge_use){.name = ""};
    if (!given || strlen(given) != RL_CHALLENGE_SIZE - 1 ||
        name_of(profile->name, given, use->name, sizeof(use->name)) != RL_OK)
        return false;
    snprintf(use->transaction, sizeof(use->transaction), "%s", transaction);
    bool holds = rl_store_queued(store, use->name, &value) == RL_OK &&
                 rl_json_parse(rl_buf_span(&value), ENTRY_MAX, &root, NULL) == RL_OK &&
                 rl_json_int(root, "expires", 0) >= rl_wall_s() && is_for(root, profile, csr);
    const char *used = rl_json_str(root, "used");
    holds = holds && (!used || (transaction[0] && strcmp(used, transaction) == 0));
    json_decref(root);
    rl_buf_free(&value);
    return holds;
}

rl_err rl_challenge_spend(rl_store_txn *t, const rl_cert_id *id, rl_span der, void *arg)
{
    const rl_challenge_use *use = arg;
    rl_buf value = {0}, next = {0};
    json_t *root = NULL;
    (void)id, (void)der;
    rl_err err = rl_txn_queued(t, use->name, &value);
    if (err == RL_OK)
        err = rl_json_parse(rl_buf_span(&value), ENTRY_MAX, &root, NULL) == RL_OK ? RL_OK : RL_ECORRUPT;
    if (err == RL_ENOTFOUND || (err == RL_OK && rl_json_str(root, "used")))
        err = RL_EDENIED;
    if (err == RL_OK)
        err = write_entry(rl_json_str(root, "profile"), rl_json_str(root, "subject"), rl_json_str(root, "names"),
                          rl_json_int(root, "expires", 0), use->transaction[0] ? use->transaction : "none", &next);
    if (err == RL_OK)
        err = rl_txn_queue_put(t, use->name, rl_buf_span(&next));
    json_decref(root);
    rl_buf_free(&next);
    rl_buf_free(&value);
    return err;
}
