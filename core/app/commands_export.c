/* The server's side of `revline export`: a copy of the database for the client to read. Who has the lock of the
 * folder `data_dir`/export may have the copy in it: the client takes it before it asks, and deletes the copy. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"
#include "base/log.h"
#include "store/export.h"

rl_err rl_export_paths(const rl_settings *s, rl_export_places *out, rl_error *e)
{
    int n = snprintf(out->copy, sizeof(out->copy), "%s/export/db", s->data_dir);
    if (n < 0 || (size_t)n >= sizeof(out->copy))
        return rl_fail(e, RL_ERANGE, "export", "the path %s is too long", s->data_dir);
    snprintf(out->folder, sizeof(out->folder), "%s/export", s->data_dir);
    return RL_OK;
}

int rl_export_lock(const rl_export_places *at)
{
    int fd = open(at->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

rl_err rl_export_prepare(const rl_settings *s, rl_error *e)
{
    rl_export_places at;
    RL_TRY(rl_export_paths(s, &at, e));
    if (mkdir(at.folder, 0700) != 0 && errno != EEXIST)
        return rl_fail(e, RL_EIO, "export", "%s cannot be made: %s", at.folder, strerror(errno));
    int fd = rl_export_lock(&at);
    if (fd < 0)
        return RL_OK; /* somebody still reads a copy of the server before this one */
    rl_err err = rl_store_delete_copy(at.copy, e);
    close(fd);
    return err;
}

/* {}: makes the copy; the client knows where. */
rl_err rl_command_export(rl_app *app, const json_t *request, json_t **reply, rl_error *e)
{
    rl_export_places at;
    (void)request;
    RL_TRY(rl_export_paths(app->settings, &at, e));
    RL_TRY(rl_store_delete_copy(at.copy, e));
    RL_TRY(rl_store_copy(app->store, at.copy, e));
    *reply = json_object();
    return *reply ? RL_OK : rl_fail(e, RL_ENOMEM, "export", "out of memory");
}
