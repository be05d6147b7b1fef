/* `revline issuers`, `revline crl`, and the two words of `revline ocsp` by which another CA lets us answer for it. */
#include <stdio.h>

#include "app/cli.h"
#include "base/json.h"

static int print_issuers(const cli_call *call, const json_t *reply)
{
    size_t n;
    const json_t *i;
    (void)call;
    printf("%-3s  %-7s  %-20s  %-20s  %s\n", "ID", "KIND", "EXPIRES", "RESPONDER EXPIRES", "SUBJECT");
    json_array_foreach(json_object_get(reply, "items"), n, i)
    {
        const char *end = rl_json_str(i, "delegateNotAfter");
        printf("%-3lld  %-7s  %-20s  %-20s  %s\n", (long long)rl_json_int(i, "id", 0),
               rl_json_bool(i, "issuing", false) ? "issuing" : rl_json_str(i, "kind"), rl_json_str(i, "notAfter"),
               end ? end : "-", rl_json_str(i, "subject"));
    }
    return 0;
}

int cli_issuers(cli_call *call)
{
    return cli_ask_and(call, json_pack("{s:s}", "command", "issuers"), print_issuers);
}

static int print_crl(const cli_call *call, const json_t *reply)
{
    (void)call;
    printf("%s", rl_json_str(reply, "crl"));
    return 0;
}

int cli_crl(cli_call *call)
{
    return cli_ask_and(call,
                       json_pack("{s:s,s:s*}", "command", "crl", "issuer", call->operands_n ? call->operands[0] : NULL),
                       print_crl);
}

/* ---- ocsp csr, ocsp install ---- */
static bool is_word(const cli_call *call, const char *word)
{
    return call->operands_n > 0 && strcmp(call->operands[0], word) == 0;
}

bool cli_ocsp_manages(const cli_call *call)
{
    return is_word(call, "csr") || is_word(call, "install");
}

static int print_csr(const cli_call *call, const json_t *reply)
{
    (void)call;
    printf("%s", rl_json_str(reply, "csr"));
    return 0;
}

static int print_installed(const cli_call *call, const json_t *reply)
{
    (void)call;
    printf("answers for issuer %lld (%s) until %s\n", (long long)rl_json_int(reply, "issuer", 0),
           rl_json_str(reply, "subject"), rl_json_str(reply, "notAfter"));
    if (!rl_json_bool(reply, "noCheck", false))
        printf(
            "the certificate has no id-pkix-ocsp-nocheck: clients may ask for its own status (RFC 6960 §4.2.2.2.1)\n");
    return 0;
}

static int install(cli_call *call)
{
    rl_error e = {0};
    json_t *certs;
    rl_err err = cli_read_certs(call->operands[1], &certs, &e);
    if (err != RL_OK)
        return cli_fail(call, &e);
    json_t *request = json_pack("{s:s,s:o}", "command", "ocsp-install", "certificates", certs);
    return cli_ask_and(call, request, print_installed);
}

int cli_ocsp_manage(cli_call *call)
{
    bool csr = is_word(call, "csr");
    if (call->operands_n != 2 || json_object_size(call->options) > 0)
        return cli_usage(call, csr ? "csr ISSUER and no option is wanted" : "install CERT and no option is wanted",
                         NULL);
    if (!csr)
        return install(call);
    return cli_ask_and(call, json_pack("{s:s,s:s}", "command", "ocsp-csr", "issuer", call->operands[1]), print_csr);
}
