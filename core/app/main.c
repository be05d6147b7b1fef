/* The command line: one table of commands with their operands and options, parsed, explained and run from here. */
#include <stdio.h>
#include <stdlib.h>

#include "app/cli.h"

static const cli_option no_options[] = {{0}};
static const cli_option serve_options[] = {
    {"banner", NULL, "print the URLs, the fingerprint and a generated challenge on standard output"}, {0}};
static const cli_option init_options[] = {
    {"subject", "NAME", "subject of the CA (default: REVLINE_CA_SUBJECT; of a new key, the present one's)"},
    {"key", "TYPE", "rsa2048 rsa3072 rsa4096 ec-p256 ec-p384 (default: REVLINE_CA_KEY)"},
    {"rollover", NULL, "give a CA that exists a new key and certificate, with the same subject"},
    {"intermediate", NULL, "no root CA, but one below another: print the request for its certificate"},
    {"chain", "FILE", "with --intermediate: take that certificate, and those of the CAs above it"},
    {NULL, NULL,
     "An intermediate CA begins with a request (PKCS#10, PEM), which the other CA signs as a CA's (CA:TRUE,\n"
     "keyCertSign); its key is made here and stays here. No root CA is made as long as the request waits, and asking\n"
     "again prints it again. Then --chain takes the certificate with those above it up to the root, in any order, PEM\n"
     "or PKCS #7, from a file or - (standard input):\n\n"
     "  revline init --intermediate --subject 'CN=Example Issuing CA' > ca.csr\n"
     "  revline init --intermediate --chain chain.pem\n\n"
     "After a rollover new certificates come from the new key. Those of the old one stay valid, and are answered for\n"
     "by OCSP as before; clients that trust one root are led to the other. A root whose key was stolen is to be\n"
     "revoked before, so that the new one does not vouch for it. The server has to be stopped meanwhile. An\n"
     "intermediate CA's new key, or a root's successor below another CA, is asked for with both words:\n"
     "--intermediate --rollover.\n"}};
static const cli_option config_options[] = {
    {"check", NULL, "validate only: exits 1 with every error at once"}, {"markdown", NULL, "write the reference"}, {0}};
#define PROFILES "server, client (default), subca, or one of enrollment: static, static-aad, jamf, dc, intune, …"
#define SUBCA_OPTIONS                                                                                                  \
    {"permit", "NAMES...", "subca: dns:DOMAIN, ip:NETWORK or email:ADDRESS that it may certify; may be repeated"},     \
        {"exclude", "NAMES...", "subca: likewise, what it may not certify of these"},                                  \
        {"any-name", NULL, "subca: instead of --permit, any name that is not excluded"},                               \
        {"eku", "USAGE...",                                                                                            \
         "subca: the extended key usages of its certificates (default serverAuth); may be repeated"},                  \
    {                                                                                                                  \
        "path-length", "N", "subca: how many CAs may follow below it (default 0)"                                      \
    }
#define SUBCA_HELP                                                                                                     \
    "A subordinate CA (subca) signs certificates itself, which clients of this CA then trust: so it gets told for\n"   \
    "which names. Of DNS names, IPv4 addresses, IPv6 addresses and mail addresses, those kinds of which nothing is\n"  \
    "permitted are shut. Names of users (UPN) cannot be constrained: give clientAuth only to a CA that may have any\n" \
    "of them.\n"
static const cli_option issue_options[] = {
    {"profile", "NAME", PROFILES},
    {"cn", "NAME", "common name of the subject"},
    {"san", "KIND:VALUE...", "DNS:, IP:, email:, URI: or UPN: name; may be repeated"},
    {"key", "TYPE", "rsa2048 (default) rsa3072 rsa4096 ec-p256 ec-p384"},
    {"validity", "TIME", "such as 90d; the profile's ceiling when not given"},
    {"out", "FILE", "where the certificate goes (default: standard output)"},
    {"key-out", "FILE", "where the private key goes, mode 0600 (required)"},
    SUBCA_OPTIONS,
    {NULL, NULL, SUBCA_HELP}};
static const cli_option sign_options[] = {
    {"profile", "NAME", PROFILES},
    {"validity", "TIME", "such as 90d (default: what the request asks for, or the profile's ceiling)"},
    {"out", "FILE", "where the certificate goes (default: standard output)"},
    SUBCA_OPTIONS,
    {NULL, NULL, SUBCA_HELP}};
static const cli_option revoke_options[] = {
    {"reason", "REASON", "RFC 5280 reason: keyCompromise, superseded, certificateHold, … (default: unspecified)"},
    {"issuer", "ISSUER", "the CA, when several have such a certificate: number, fingerprint or common name"},
    {0}};
static const cli_option serial_options[] = {
    {"issuer", "ISSUER", "the CA, when several have such a certificate: number, fingerprint or common name"}, {0}};
static const cli_option import_options[] = {
    {"issuer", "ISSUER", "whose an index.txt is: number, fingerprint or common name"},
    {NULL, NULL,
     "A CA's certificate makes its issuer known here, one for which OCSP is answered once it has certified our\n"
     "responder: revline ocsp csr. Any other certificate is taken in below its issuer, which must be known or come\n"
     "along, and is good until it is revoked. Of each file all certificates are taken or none, and what is known\n"
     "already stays as it is.\n\n"
     "Certificates are PEM, DER, or a PKCS #7 bundle. A revocation list (PEM or DER) is applied to the certificates "
     "of\n"
     "the known CA that signed it, as a polled one is: REVLINE_SYNC_CRL_URLS. An index.txt of OpenSSL's ca command\n"
     "makes known what that CA has issued, and revokes what it has revoked.\n\n"
     "What revline export wrote becomes the database of a data folder that has none: issuers, certificates with all\n"
     "that is known of their status, what they are bound to, held changes, and the directories' objects; each source\n"
     "then begins with a full round. The history (delta, audit) is not taken over. Private keys are in no export: "
     "copy\n"
     "the files *.key from the other data folder first. An issuer whose key is not there becomes another CA's.\n"}};
static const cli_option export_options[] = {
    {NULL, NULL,
     "One JSON object a line on standard output, in a fixed order, so that two databases can be compared with diff.\n"
     "The last line, of type end, says how many there were. A running server goes on serving: it makes a copy of that\n"
     "moment in the folder export of its data folder, which is read and deleted. Private keys are not in it, nor are\n"
     "signed OCSP answers. revline import takes it into a new data folder.\n"}};
static const cli_option backup_options[] = {
    {NULL, NULL,
     "FOLDER is new or empty, and becomes a copy of the data folder as it is at one moment, while a server goes on:\n"
     "database, private keys, and the other files in it. It is for its owner alone (0700, files 0600): keep it as "
     "safe\n"
     "as the keys. revline restore makes a data folder of it.\n"}};
static const cli_option restore_options[] = {
    {NULL, NULL,
     "FOLDER is what revline backup has made. REVLINE_DATA_DIR must not exist, or be empty, and is complete or as it\n"
     "was. What happened since the backup is not known: sources go on from where they stood then; certificates issued\n"
     "since are unknown, and what was revoked by hand since is good. The numbers of our revocation lists go on\n"
     "1,000,000,000 later, so that none comes twice. Never run the old data folder beside the restored one.\n"}};
#define LIST_OPTIONS                                                                                                   \
    {"status", "STATUS", "only good, hold or revoked"}, {"limit", "N", "at most N (default 50, at most 1000)"},        \
        {"issuer", "ISSUER", "only this CA's: number, fingerprint or common name"},                                    \
    {                                                                                                                  \
        "after", "SERIAL", "go on behind this one, as \"more\" or \"next\" names it"                                   \
    }
static const cli_option list_options[] = {LIST_OPTIONS, {0}};
static const cli_option search_options[] = {
    LIST_OPTIONS,
    {NULL, NULL,
     "TEXT is looked for in serial number, subject, requester, and the ids of the directory objects that the\n"
     "certificate is bound to, in upper or lower case. Every certificate is looked at.\n"}};
static const cli_option sync_options[] = {
    {"full", NULL, "compare the whole source"},
    {"no-wait", NULL, "only ask for it"},
    {NULL, NULL,
     "Without SOURCE it shows how each source is: its last success, lag, objects handled, certificates changed, "
     "requests,\n"
     "time waited because the upstream said so, when it runs next; what fails, and what to do about it.\n\n"
     "With SOURCE, or all, it has a round made now and waits until that has ended: exit status 1 when it fails. With\n"
     "an option all need not be said.\n\n"
     "Sources: entra-device, entra-user, intune-device, user-risk, endpoint-list, endpoint-profiles, endpoint-report,\n"
     "revocation-requests, jamf-computer, jamf-device, jamf-user, crl-1 and so on; reweigh weighs every certificate "
     "by\n"
     "the status rules, guard looks for new devices that never came.\n\n"
     "  revline sync hold         lists the mass changes that wait for a decision: more certificates than\n"
     "                            REVLINE_SYNC_MASS_LIMIT would have been revoked or put on hold by one round\n"
     "  revline sync release ID   applies one, by what the directories say now\n"
     "  revline sync drop ID      leaves its certificates as they are, until the next full round finds the same\n\n"
     "  revline sync rules   prints these rules as they apply under the settings: which state of which object makes\n"
     "                       a certificate revoked or on hold\n"}};

static const cli_option events_options[] = {
    {NULL, NULL,
     "Each certificate that is issued or changes status is a line, as soon as the change is on the disk:\n"
     "sequence, at, event (issued or status), issuer, serial, from, to, reason, why, origin (who: admin, scep, "
     "sync:…).\n"
     "A reader that is too slow gets {\"missed\": N} in place of N changes. It ends when the server does.\n"}};

static const cli_option crl_options[] = {
    {NULL, NULL,
     "ISSUER is one of our own: number, fingerprint or common name; without it, the one that issues now. The list is\n"
     "the one that is published at /crl; with no server running it is made here.\n"}};

static const cli_option ocsp_options[] = {
    {"cert", "FILE", "the certificate in question (PEM or DER)"},
    {"issuer", "FILE", "the CA that issued it, or a chain in which it is (PEM or DER)"},
    {"trust", "FILE", "CAs at which the signer's chain may end (PEM; default: the issuer)"},
    {"hash", "NAME", "hash of the request's CertID: sha1 (default) sha224 sha256 sha384 sha512"},
    {"nonce", NULL, "send a nonce of 32 octets (the default)"},
    {"no-nonce", NULL, "send none, as clients do that take answers from caches"},
    {"get", NULL, "ask by GET instead of POST"},
    {"timeout", "TIME", "such as 5s (default 10s), at most 10m"},
    {NULL, NULL,
     "URL is a responder's, http:// or https://, and needs --cert and --issuer. Without it the URL is taken from\n"
     "the certificate (AIA extension). FILE is a stored answer in DER, - is standard input; without --issuer its\n"
     "signer is not verified, and without --cert every certificate in it counts.\n\n"
     "The answer is believed when the issuer or its delegate signed it, it has not expired, is about the\n"
     "certificate, and has no other nonce than was sent. No settings and no data folder are needed.\n\n"
     "Exit status: 0 good, 3 revoked (a hold, too), 4 unknown, 1 no answer, or one that is not believed or not\n"
     "verified, 2 wrong usage.\n\n"
     "Two words come before a file of that name, for answering in the place of another CA (revline import):\n"
     "  revline ocsp csr ISSUER    prints the request for our responder's certificate; ISSUER is a number, a\n"
     "                             fingerprint or a common name, see revline issuers\n"
     "  revline ocsp install CERT  takes the certificate that the CA made of it, with its chain or without, and "
     "answers by it\n"}};

static const cli_command commands[] = {
    {"serve", "", 0, 0, "run the server (what happens when no command is given)", serve_options, cli_serve},
    {"init", "", 0, 0, "make the CA, a root or below another one, or give it a new key", init_options, cli_init},
    {"config", "", 0, 0, "every setting: value, default, range, where it came from, meaning", config_options,
     cli_config},
    {"status", "", 0, 0, "the state of every part", no_options, cli_status},
    {"issue", "", 0, 0, "a certificate by form, with a new key", issue_options, cli_issue},
    {"sign", "CSR", 1, 1, "a certificate from a certificate request (PEM or DER)", sign_options, cli_sign},
    {"revoke", "SERIAL", 1, 1, "revoke a certificate", revoke_options, cli_change},
    {"unrevoke", "SERIAL", 1, 1, "take a certificate off manual hold", serial_options, cli_change},
    {"show", "SERIAL", 1, 1, "one certificate", serial_options, cli_show},
    {"list", "", 0, 0, "certificates, by serial number", list_options, cli_list},
    {"search", "TEXT", 1, 1, "certificates that say this", search_options, cli_search},
    {"issuers", "", 0, 0, "the CAs that are answered for, our own and others", no_options, cli_issuers},
    {"crl", "[ISSUER]", 0, 1, "the current revocation list, in PEM", crl_options, cli_crl},
    {"import", "FILE...", 1, CLI_OPERANDS_MAX,
     "take in other CAs' certificates, revocation lists, index.txt; an export", import_options, cli_import},
    {"export", "", 0, 0, "the whole database as JSON lines", export_options, cli_export},
    {"backup", "FOLDER", 1, 1, "copy the data folder, database and keys, while a server goes on", backup_options,
     cli_backup},
    {"restore", "FOLDER", 1, 1, "make the data folder of a backup", restore_options, cli_restore},
    {"sync", "[SOURCE|all]", 0, 2, "how the sources are; run one or all now", sync_options, cli_sync},
    {"events", "", 0, 0, "follow the changes of certificates, a JSON object a line", events_options, cli_events},
    {"ocsp", "[URL|FILE]", 0, 2, "ask an OCSP responder, or read a stored answer, and explain it", ocsp_options,
     cli_ocsp},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_commands(FILE *to)
{
    fprintf(to, "usage: revline [COMMAND] [OPTIONS]\n\nRevocation at line rate for managed fleets: a small CA and OCSP "
                "responder.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %-12s %s\n", commands[i].name, commands[i].operands, commands[i].help);
    fprintf(to, "\nEvery command has --help and --json. Settings are environment variables: revline config.\n"
                "Exit status: 0 success, 1 failure, 2 wrong usage; revline ocsp has more.\n");
}

static void print_command(const cli_command *c)
{
    const cli_option *o;
    printf("usage: revline %s%s%s [OPTIONS]\n\n%s\n\n", c->name, c->operands[0] ? " " : "", c->operands, c->help);
    for (o = c->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-22s %s\n", left, o->help);
    }
    printf("  %-22s %s\n  %-22s %s\n", "--json", "answer as JSON", "--help", "this text");
    if (o->help)
        printf("\n%s", o->help);
}

static const cli_option *find_option(const cli_command *c, const char *name, size_t n)
{
    for (const cli_option *o = c->options; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return o;
    return NULL;
}

/* An option that is given again becomes a list. */
static void add_option(json_t *options, const char *name, json_t *value)
{
    json_t *before = json_object_get(options, name);
    if (json_is_array(before)) {
        json_array_append_new(before, value);
    } else if (before) {
        json_object_set_new(options, name, json_pack("[O,o]", before, value));
    } else {
        json_object_set_new(options, name, value);
    }
}

/* Fills the call; 0, or the exit code when it ends here (2 wrong usage, -1 after --help). */
static int parse(const cli_command *c, int argc, char **argv, cli_call *call)
{
    for (int i = 0; i < argc; i++)
        call->json |= strcmp(argv[i], "--json") == 0;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_command(c);
            return -1;
        }
        if (strcmp(arg, "--json") == 0)
            continue;
        if (arg[0] != '-' || !arg[1]) {
            if (call->operands_n == c->operands_max)
                return cli_usage(call, "too many operands", arg);
            call->operands[call->operands_n++] = arg;
            continue;
        }
        size_t n = strcspn(arg, "=");
        const cli_option *o = n > 2 && arg[1] == '-' ? find_option(c, arg + 2, n - 2) : NULL;
        if (!o || (!o->value && arg[n]))
            return cli_usage(call, "unknown option", arg);
        if (o->value && !arg[n] && i + 1 == argc)
            return cli_usage(call, "an option needs a value", arg);
        if (json_object_get(call->options, o->name) && !(o->value && strstr(o->value, "...")))
            return cli_usage(call, "an option is given twice", o->name);
        add_option(call->options, o->name, o->value ? json_string(arg[n] ? arg + n + 1 : argv[++i]) : json_true());
    }
    return call->operands_n < c->operands_min ? cli_usage(call, "an operand is missing", c->operands) : 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "serve";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_commands(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        printf("revline %s\n", REVLINE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        cli_call call = {.command = name, .options = json_object()};
        int skip = argc > 1 ? 2 : 1;
        int code = parse(&commands[i], argc - skip, argv + skip, &call);
        if (code == 0)
            code = cli_run(&commands[i], &call);
        json_decref(call.options);
        return code < 0 ? 0 : code;
    }
    fprintf(stderr, "revline: unknown command '%s'\n\n", name);
    print_commands(stderr);
    return 2;
}
