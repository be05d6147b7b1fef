/* Reads Intune's requests to revoke certificates, writes their results. Pure but for memory.
 *
 * A request that names nothing is no reason to leave the others undone: it is left out or answered as wrong, by itself.
 */
#include "sync/requests_page.h"

#include <stdlib.h>

#include "base/json.h"
#include "sync/ours.h"

enum { ANSWER_MAX = 64 * 1024 };

/* ---- download ---- */
rl_err rl_requests_put_download(rl_buf *out)
{
    return rl_buf_printf(out, "{\"downloadParameters\":{\"maxRequests\":%d,\"issuerName\":null}}", RL_REQUESTS_ASKED);
}

static rl_err read_request(const json_t *v, rl_revocation_requests *out)
{
    const char *context = rl_json_str(v, "requestContext"), *serial = rl_json_str(v, "serialNumber"),
               *issuer = rl_json_str(v, "issuerName");
    size_t n = context ? strlen(context) : 0;
    if (n == 0 || n > RL_REQUEST_CONTEXT_MAX) {
        out->nameless++;
        return RL_OK;
    }
    rl_revocation_request *r = &out->items[out->n++];
    *r = (rl_revocation_request){.context = rl_arena_strndup(&out->arena, context, n)};
    if (issuer && issuer[0])
        r->issuer = rl_arena_strndup(&out->arena, issuer, strlen(issuer));
    if (!serial || rl_number_read(serial, &r->serial) != RL_OK)
        r->serial.n = 0;
    return r->context && (r->issuer || !issuer || !issuer[0]) ? RL_OK : RL_ENOMEM;
}

static rl_err read_list(const json_t *list, rl_revocation_requests *out, rl_error *e)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list))
        return rl_fail(e, RL_EBADMSG, "intune", "there is no list \"value\"");
    if (n > RL_REQUESTS_MAX)
        return rl_fail(e, RL_ERANGE, "intune", "%zu at once, more than the %d allowed", n, RL_REQUESTS_MAX);
    if (n == 0)
        return RL_OK;
    out->items = rl_arena_alloc(&out->arena, n * sizeof(*out->items));
    rl_err err = out->items ? RL_OK : RL_ENOMEM;
    for (size_t i = 0; err == RL_OK && i < n; i++)
        err = read_request(json_array_get(list, i), out);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "intune", "out of memory");
}

rl_err rl_requests_parse(rl_span body, size_t limit, rl_revocation_requests *out, rl_error *e)
{
    json_t *root;
    *out = (rl_revocation_requests){0};
    RL_TRY(rl_json_parse(body, limit, &root, e));
    rl_arena_init(&out->arena, 0); /* bounded by the body, which is */
    rl_err err = read_list(json_object_get(root, "value"), out, e);
    json_decref(root);
    if (err != RL_OK)
        rl_requests_free(out);
    return err;
}

void rl_requests_free(rl_revocation_requests *r)
{
    rl_arena_free(&r->arena);
    *r = (rl_revocation_requests){0};
}

/* ---- upload ---- */
static const struct {
    const char *name, *message;
} results[RL_RESULTS] = {
    [RL_RESULT_REVOKED] = {"None", NULL},
    [RL_RESULT_BAD_NUMBER] = {"ParameterDataInvalidError", "the serial number is not a hexadecimal number"},
    [RL_RESULT_NOT_FOUND] = {"CertificateNotFoundError", "no certificate of this CA has the serial number"},
    [RL_RESULT_CONFLICT] = {"ConflictError", "the certificate was revoked before"},
};

const char *rl_request_result_name(rl_request_result r)
{
    return results[r].name;
}

rl_err rl_request_result_parse(const char *name, rl_request_result *r)
{
    for (unsigned i = 0; name && i < RL_RESULTS; i++)
        if (strcmp(name, results[i].name) == 0) {
            *r = (rl_request_result)i;
            return RL_OK;
        }
    return RL_EBADMSG;
}

rl_err rl_requests_put_upload(const char *const *contexts, const rl_request_result *codes, size_t n, rl_buf *out)
{
    json_t *list = json_array(), *root = json_pack("{s:O}", "results", list);
    rl_err err = root ? RL_OK : RL_ENOMEM;
    for (size_t i = 0; err == RL_OK && i < n; i++) {
        json_t *one =
            json_pack("{s:s,s:b,s:s,s:s?}", "requestContext", contexts[i], "succeeded", codes[i] == RL_RESULT_REVOKED,
                      "errorCode", results[codes[i]].name, "errorMessage", results[codes[i]].message);
        if (json_array_append_new(list, one) != 0)
            err = RL_ENOMEM;
    }
    char *text = err == RL_OK ? json_dumps(root, JSON_COMPACT) : NULL;
    err = text ? rl_buf_append(out, text, strlen(text)) : RL_ENOMEM;
    free(text);
    json_decref(root);
    json_decref(list);
    return err;
}

bool rl_requests_recorded(rl_span body)
{
    json_t *root = NULL;
    bool recorded = rl_json_parse(body, ANSWER_MAX, &root, NULL) == RL_OK && rl_json_bool(root, "value", false);
    json_decref(root);
    return recorded;
}
