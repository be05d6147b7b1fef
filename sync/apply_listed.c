/* Certificates that one of Intune's lists says to be revoked. Writer thread, inside the page's transaction.
 *
 * Each becomes an object that its certificate is bound to, so that the brake can weigh it like any other. Those that
 * were listed before get the new generation only. Each list has objects of its own, so that none ends what another
 * says; the binding is the same for all. */
#include "crypto/hash.h"
#include "sync/apply.h"
#include "sync/ours.h"

/* ---- whose it is ---- */
static rl_err has_thumbprint(rl_store_txn *t, const rl_cert_id *id, const char *thumbprint, bool *has)
{
    uint8_t sha1[RL_HASH_MAX];
    char text[2 * RL_HASH_MAX + 1];
    rl_buf der = {0};
    rl_err err = rl_txn_der(t, id, &der);
    if (err == RL_OK)
        err = rl_hash_digest(RL_SHA1, rl_buf_span(&der), sha1);
    if (err == RL_OK)
        err = rl_hex(rl_span_of(sha1, rl_hash_size(RL_SHA1)), text, sizeof(text));
    *has = err == RL_OK && strcmp(text, thumbprint) == 0;
    rl_buf_free(&der);
    return err == RL_ENOTFOUND ? RL_OK : err; /* only its number is known */
}

/* Ours by number and thumbprint: other CAs count their certificates, too. */
static rl_err find(rl_store_txn *t, rl_page_job *job, const rl_listed_cert *listed, rl_cert_id *id)
{
    rl_serial serial = {.n = listed->serial_n};
    rl_cert_record cert;
    bool has = false;
    memcpy(serial.b, listed->serial, listed->serial_n);
    RL_TRY(rl_ours_find(t, &job->ours, &serial, id, &cert));
    rl_cert_clear(&cert);
    RL_TRY(has_thumbprint(t, id, listed->thumbprint, &has));
    return has ? RL_OK : RL_ENOTFOUND;
}

/* ---- the object ---- */
/* There is room: besides, a certificate is bound to a device by two names and to a user. */
static bool bind(rl_cert_record *cert, const void *thumbprint)
{
    if (rl_cert_binding(cert, RL_SOURCE_LISTED_CERT) || cert->bindings_n == RL_CERT_BINDINGS_MAX)
        return false;
    rl_binding *b = &cert->bindings[cert->bindings_n++];
    *b = (rl_binding){.source = RL_SOURCE_LISTED_CERT};
    memcpy(b->id, thumbprint, strlen(thumbprint) + 1);
    return true;
}

rl_err rl_listed_put(rl_store_txn *t, rl_page_job *job, const rl_graph_item *item)
{
    rl_object_record old = {0};
    rl_cert_id id;
    if (!item->revoking)
        return RL_OK;
    rl_err err = item->listed ? find(t, job, item->listed, &id) : RL_ENOTFOUND;
    if (err == RL_ENOTFOUND) {
        job->skipped++;
        return RL_OK;
    }
    RL_TRY(err);
    const char *thumbprint = item->listed->thumbprint;
    err = rl_txn_object(t, job->kind->source, thumbprint, &old);
    if (err != RL_OK && err != RL_ENOTFOUND)
        return err;
    const rl_object_record o = {
        .exists = true, .enabled = true, .generation = job->next.generation, .last_seen = job->now};
    bool is_new = !old.exists;
    rl_object_clear(&old);
    RL_TRY(rl_txn_put_object(t, job->kind->source, thumbprint, &o));
    return is_new ? rl_weigh_stored(t, &job->weigher, &id, bind, thumbprint) : RL_OK;
}

/* What was revoked stays so; what waits for an admin's decision does so no longer. */
rl_err rl_listed_gone(rl_store_txn *t, rl_page_job *job, const char *thumbprint, const rl_object_record *o)
{
    rl_object_record gone = *o; /* strings stay the caller's */
    gone.exists = false;
    RL_TRY(rl_txn_put_object(t, job->kind->source, thumbprint, &gone));
    return rl_txn_each_binding(t, RL_SOURCE_LISTED_CERT, thumbprint, rl_weigh_each, &job->weigher);
}
