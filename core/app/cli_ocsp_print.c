/* `revline ocsp`, the words: the report as a person reads it, a line for each thing that was looked at. */
#include <stdio.h>

#include "app/cli_ocsp.h"
#include "base/json.h"

static void print_lines(const json_t *report, const char *list, const char *label)
{
    size_t i;
    const json_t *line;
    json_array_foreach(json_object_get(report, list), i, line) printf("%-13s %s\n", label, json_string_value(line));
}

static void print_http(const json_t *http)
{
    static const struct {
        const char *member, *name;
    } headers[] = {{"contentType", "Content-Type"},
                   {"cacheControl", "Cache-Control"},
                   {"etag", "ETag"},
                   {"lastModified", "Last-Modified"},
                   {"expires", "Expires"},
                   {"age", "Age"}};
    if (!http)
        return;
    printf("http          status %lld\n", (long long)rl_json_int(http, "status", 0));
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (rl_json_str(http, headers[i].member))
            printf("              %s: %s\n", headers[i].name, rl_json_str(http, headers[i].member));
}

/* "2026-01-05T09:58:11Z, 3 s ago" */
static void print_time(const json_t *of, const char *name, const char *label)
{
    char member[32], when[OCSP_SPAN_TEXT];
    if (!rl_json_str(of, name))
        return;
    snprintf(member, sizeof(member), "%sFromNowSeconds", name);
    cli_ocsp_when_text(rl_json_int(of, member, 0), when);
    printf("%-13s %s, %s\n", label, rl_json_str(of, name), when);
}

static void print_status(const json_t *c, const char *claimed)
{
    const char *status = rl_json_str(c, "status"), *reason = rl_json_str(c, "reason");
    if (!status)
        printf("  status      withheld: the answer is not to be believed\n");
    else if (strcmp(status, "good") == 0)
        printf("  status      %sgood: it is not revoked\n", claimed);
    else if (strcmp(status, "unknown") == 0)
        printf("  status      %sunknown: the responder does not know it, or says nothing about it\n", claimed);
    else if (reason && strcmp(reason, "certificateHold") == 0)
        printf("  status      %srevoked: on hold (certificateHold), which can be lifted\n", claimed);
    else
        printf("  status      %srevoked for ever, %s%s\n", claimed, reason ? "reason " : "without a reason",
               reason ? reason : "");
}

static void print_certificate(const json_t *c, const char *claimed)
{
    printf("certificate   %s%s\n", rl_json_str(c, "serial"),
           rl_json_bool(c, "asked", false) ? "" : " (not the one that was asked for)");
    print_status(c, claimed);
    print_time(c, "revokedAt", "  revoked");
    print_time(c, "thisUpdate", "  thisUpdate");
    if (rl_json_str(c, "nextUpdate"))
        print_time(c, "nextUpdate", "  nextUpdate");
    else
        printf("  nextUpdate  none\n");
}

static void print_signer(const json_t *signer)
{
    const char *kind = signer ? rl_json_str(signer, "kind") : "";
    if (!signer) {
        printf("signer        not in the answer\n");
        return;
    }
    printf("signer        %s", rl_json_str(signer, "subject"));
    if (rl_json_str(signer, "serial"))
        printf(", serial %s", rl_json_str(signer, "serial"));
    printf("\n");
    if (strcmp(kind, "issuer") == 0)
        printf("              the issuer itself\n");
    else
        printf("              %s; OCSPSigning: %s; ocsp-nocheck: %s\n",
               strcmp(kind, "delegate") == 0   ? "a delegate that the issuer has certified"
               : strcmp(kind, "stranger") == 0 ? "not certified by the issuer"
                                               : "not compared with an issuer",
               rl_json_bool(signer, "ocspSigning", false) ? "yes" : "no",
               rl_json_bool(signer, "noCheck", false) ? "yes" : "no");
    if (rl_json_str(signer, "notAfter"))
        printf("              valid from %s to %s\n", rl_json_str(signer, "notBefore"),
               rl_json_str(signer, "notAfter"));
}

static void print_signature(const json_t *signature)
{
    const json_t *verified = json_object_get(signature, "verified");
    if (signature)
        printf("signature     %s, %s\n", rl_json_str(signature, "algorithm"),
               json_is_true(verified)    ? "verifies with the signer's key"
               : json_is_false(verified) ? "does not verify"
                                         : "not verified");
}

static void print_nonce(const char *word)
{
    static const struct {
        const char *word, *meaning;
    } nonces[] = {
        {"repeated", "repeated: the answer was made for this request"},
        {"absent", "not repeated: the answer may have been made earlier, for anybody"},
        {"different", "another than was sent"},
        {"unasked", "in the answer, though none was sent"},
        {"none", "none was sent, none is in the answer"},
        {"unchecked", "in the answer; the request it belongs to is not at hand"},
    };
    for (size_t i = 0; word && i < sizeof(nonces) / sizeof(nonces[0]); i++)
        if (strcmp(word, nonces[i].word) == 0)
            printf("nonce         %s\n", nonces[i].meaning);
}

/* What a basic response holds. */
static void print_basic(const json_t *report)
{
    size_t i;
    const json_t *c, *id = json_object_get(report, "responderId");
    bool verified = json_array_size(json_object_get(report, "notVerified")) == 0;
    print_time(report, "producedAt", "producedAt");
    if (rl_json_str(id, "value"))
        printf("responder     by%s: %s\n", strcmp(rl_json_str(id, "by"), "key") == 0 ? "Key" : "Name",
               rl_json_str(id, "value"));
    print_signer(json_object_get(report, "signer"));
    print_signature(json_object_get(report, "signature"));
    print_nonce(rl_json_str(report, "nonce"));
    json_array_foreach(json_object_get(report, "certificates"), i, c)
        print_certificate(c, verified ? "" : "(not verified) ");
}

void cli_ocsp_print(const ocsp_report *r)
{
    const char *url = rl_json_str(r->json, "url"), *status = rl_json_str(r->json, "responseStatus");
    if (url)
        printf("asked         %s (%s, a request of %lld octets)\n", url, rl_json_str(r->json, "method"),
               (long long)rl_json_int(r->json, "requestOctets", 0));
    else if (rl_json_str(r->json, "file"))
        printf("file          %s\n", rl_json_str(r->json, "file"));
    print_http(json_object_get(r->json, "http"));
    if (status)
        printf("answer        %s: %s\n", status, rl_json_str(r->json, "responseStatusMeaning"));
    if (json_object_get(r->json, "certificates"))
        print_basic(r->json);
    print_lines(r->json, "notes", "note");
    print_lines(r->json, "notVerified", "not verified");
    print_lines(r->json, "problems", "problem");
    printf("verdict       %s\n", rl_json_str(r->json, "verdict"));
}
