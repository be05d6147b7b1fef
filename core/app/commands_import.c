/* Commands that take in what other CAs know of their certificates: a revocation list, an index.txt. As in commands.c:
 * any thread, JSON both ways, acknowledged when they return. */
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "sync/crl_apply.h"

/* The member "data", base64; the caller frees it. */
static rl_err read_data(const json_t *request, uint8_t **out, size_t *n, rl_error *e)
{
    const char *text = rl_json_str(request, "data");
    size_t cap = text ? strlen(text) : 0;
    if (!(*out = malloc(cap + 1)))
        return rl_fail(e, RL_ENOMEM, "import", "out of memory");
    if (cap && rl_base64_decode(rl_span_str(text), false, *out, cap, n) == RL_OK)
        return RL_OK;
    free(*out);
    return rl_fail(e, RL_EBADMSG, "import", "the data is no base64");
}

/* ---- a revocation list ---- */
static json_t *list_json(const rl_crl *crl, const rl_crl_job *job)
{
    char number[2 * RL_CRL_NUMBER + 1], this_update[RL_TIME_TEXT], next_update[RL_TIME_TEXT];
    rl_hex(rl_span_of(crl->number, sizeof(crl->number)), number, sizeof(number));
    size_t zeros = strspn(number, "0");
    rl_time_rfc3339(crl->this_update, this_update);
    rl_time_rfc3339(crl->next_update, next_update);
    return json_pack("{s:i,s:s,s:s,s:s,s:b,s:I,s:I,s:I}", "issuer", (int)job->issuer, "number",
                     number[zeros] ? number + zeros : "0", "thisUpdate", this_update, "nextUpdate", next_update,
                     "known", job->known, "entries", (json_int_t)crl->n, "skipped", (json_int_t)crl->skipped, "changed",
                     (json_int_t)job->changed);
}

static rl_err apply_list(rl_app *app, const rl_crl *crl, rl_crl_job *job, rl_error *e)
{
    RL_TRY(rl_crl_find_issuer(app->store, crl, app->settings->sync.crl_sha1, rl_wall_s(), &job->issuer, e));
    while (!job->done)
        RL_TRY(rl_store_run(app->store, rl_crl_apply, job, e));
    if (app->ocsp)
        rl_crl_show(job->issuer, crl->next_update);
    log_info("import.crl", "issuer", job->issuer, "entries", crl->n, "changed", job->changed);
    return RL_OK;
}

/* {"data": base64 of a list, DER or PEM} */
rl_err rl_command_import_crl(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    uint8_t *data;
    size_t n = 0;
    rl_crl crl;
    rl_error why = {0};
    RL_TRY(read_data(request, &data, &n, e));
    rl_err err = rl_crl_read(rl_span_of(data, n), n, &crl, &why);
    free(data);
    if (err == RL_OK) {
        rl_crl_job job = {.crl = &crl, .origin = "import", .now = rl_wall_s()};
        err = apply_list(app, &crl, &job, &why);
        if (err == RL_OK && !(*reply = list_json(&crl, &job)))
            err = rl_fail(&why, RL_ENOMEM, "import", "out of memory");
        rl_crl_clear(&crl);
    }
    return err == RL_OK ? RL_OK : rl_fail(e, err, "import", "the revocation list is refused: %.400s", why.message);
}

/* ---- an index.txt ---- */
/* {"issuer": …, "data": base64 of the text} */
rl_err rl_command_import_index(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    const char *name = rl_json_str(request, "issuer");
    const rl_issuer *issuer;
    rl_ca_indexed got;
    uint8_t *data;
    size_t n = 0;
    RL_TRY(rl_ca_lookup(app->ca, name ? name : "", &issuer, e));
    RL_TRY(read_data(request, &data, &n, e));
    rl_err err = rl_ca_import_index(app->ca, issuer, rl_span_of(data, n), &got, e);
    free(data);
    if (err == RL_OK && !(*reply = json_pack("{s:i,s:I,s:I,s:I}", "issuer", (int)issuer->id, "certificates",
                                             (json_int_t)got.certificates, "added", (json_int_t)got.added, "changed",
                                             (json_int_t)got.changed)))
        err = rl_fail(e, RL_ENOMEM, "import", "out of memory");
    return err;
}
